//! URIs as they stand in certificates: read and written as upstream does it, which is Go's `net/url`.
//!
//! Verifiers compare names byte by byte, so a branch with an umlaut or a doubled slash must come out as it does there. What upstream lets
//! through and no identity needs (user names, no host, the steps `.` and `..` in any spelling) is refused: a verifier who trusts everything
//! below `https://a.example/team/` must not take `https://a.example/team/../other` for one of it. Known answers of Go's are in
//! `testdata/fulcio-issuers`.

use std::fmt;
use std::fmt::Write as _;

/// The longest URI that is read or written.
const MAX_ADDRESS: usize = 4096;

/// A URI with scheme and host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    scheme: String,
    host: String,
    path: Part,
    query: Option<String>,
    fragment: Part,
}

/// A path or fragment: what it means, and how it was written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Part {
    means: Vec<u8>,
    written: String,
}

/// Which characters stand for themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Path,
    Fragment,
}

impl Address {
    /// Reads a URI; `None` where it cannot name anybody, as one that is not plainly where it says it is.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if text.len() > MAX_ADDRESS || text.bytes().any(|byte| byte < 0x20 || byte == 0x7f) {
            return None;
        }
        let (rest, fragment) = text.split_once('#').unwrap_or((text, ""));
        let (scheme, rest) = rest.split_once("://")?;
        let mut letters = scheme.bytes();
        let first = letters
            .next()
            .is_some_and(|byte| byte.is_ascii_alphabetic());
        let others = letters.all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
        if !first || !others {
            return None;
        }
        let (rest, query) = match rest.split_once('?') {
            Some((rest, query)) => (rest, Some(query.to_owned())),
            None => (rest, None),
        };
        let (host, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        Some(Self {
            scheme: scheme.to_ascii_lowercase(),
            host: is_host(host).then(|| host.to_owned())?,
            path: Part::parse(path, Place::Path).filter(Part::stays)?,
            query,
            fragment: Part::parse(fragment, Place::Fragment)?,
        })
    }

    /// The URI with further steps in its path; doubled slashes become one. `None` where a step is `.` or `..`, which Go would walk, or is no
    /// text of a path.
    pub(super) fn join(&self, steps: &[&str]) -> Option<Self> {
        let mut path = String::new();
        let base = self.path.to_text(Place::Path);
        for step in std::iter::once(base.as_str())
            .chain(steps.iter().copied())
            .flat_map(|part| part.split('/'))
            .filter(|step| !step.is_empty())
        {
            path.push('/');
            path.push_str(step);
        }
        if steps.last().is_some_and(|last| last.ends_with('/')) {
            path.push('/');
        }
        if path.len() > MAX_ADDRESS || path.bytes().any(|byte| byte < 0x20 || byte == 0x7f) {
            return None;
        }
        Some(Self {
            path: Part::parse(&path, Place::Path).filter(Part::stays)?,
            ..self.clone()
        })
    }

    pub(super) fn scheme(&self) -> &str {
        &self.scheme
    }

    /// The host without its port.
    pub(super) fn host_name(&self) -> &str {
        match self.host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
            _ => &self.host,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "{}://{}{}",
            self.scheme,
            self.host,
            self.path.to_text(Place::Path)
        )?;
        if let Some(query) = &self.query {
            write!(out, "?{query}")?;
        }
        if !self.fragment.means.is_empty() {
            write!(out, "#{}", self.fragment.to_text(Place::Fragment))?;
        }
        Ok(())
    }
}

/// A name or an address, and perhaps a port.
fn is_host(text: &str) -> bool {
    let (name, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, rest)) => {
            if address.parse::<std::net::Ipv6Addr>().is_err() {
                return false;
            }
            ("ip", rest)
        }
        None => text
            .find(':')
            .map_or((text, ""), |colon| text.split_at(colon)),
    };
    let port = port.is_empty()
        || port
            .strip_prefix(':')
            .is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    let name_fits = name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
    port && name_fits && !name.is_empty()
}

impl Part {
    fn parse(text: &str, place: Place) -> Option<Self> {
        let means = unescape(text)?;
        let written = if escape(&means, place) == text {
            String::new()
        } else {
            text.to_owned()
        };
        Some(Self { means, written })
    }

    /// Does no step of it lead to where it is, or upwards? Whoever unescapes before he walks (RFC 3986 6.2.2) would go there.
    fn stays(&self) -> bool {
        let mut steps = self.means.split(|byte| *byte == b'/');
        !steps.any(|step| matches!(step, b"." | b".."))
    }

    /// As it was written, if that is allowed, and else escaped anew.
    fn to_text(&self, place: Place) -> String {
        let allowed = |byte: u8| {
            byte == b'%' || b"!$&'()*+,;=:@[]".contains(&byte) || stands_for_itself(byte, place)
        };
        if !self.written.is_empty() && self.written.bytes().all(allowed) {
            return self.written.clone();
        }
        escape(&self.means, place)
    }
}

fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let high = char::from(rest.next()?).to_digit(16)?;
            let low = char::from(rest.next()?).to_digit(16)?;
            bytes.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    Some(bytes)
}

fn escape(bytes: &[u8], place: Place) -> String {
    let mut text = String::with_capacity(bytes.len());
    for byte in bytes {
        if stands_for_itself(*byte, place) {
            text.push(char::from(*byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

/// RFC 3986 2.2 and 2.3, with the choices of Go's `shouldEscape`.
fn stands_for_itself(byte: u8, place: Place) -> bool {
    byte.is_ascii_alphanumeric()
        || b"-_.~$&+,/:;=@".contains(&byte)
        || (place == Place::Fragment && b"?!()*".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Deserialize)]
    struct Case {
        address: String,
        #[serde(default)]
        steps: Vec<String>,
        /// What Go writes.
        text: Option<String>,
        /// Go takes it and we do not.
        #[serde(default)]
        stricter: bool,
    }

    #[test]
    fn addresses_are_written_as_go_writes_them() {
        let file = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../testdata/fulcio-issuers/addresses.jsonl"
        );
        let mut cases = 0;
        for line in std::fs::read_to_string(file).unwrap().lines() {
            let case: Case = serde_json::from_str(line).unwrap();
            let address = Address::parse(&case.address).and_then(|address| {
                let steps: Vec<&str> = case.steps.iter().map(String::as_str).collect();
                if steps.is_empty() {
                    Some(address)
                } else {
                    address.join(&steps)
                }
            });
            let expected = case.text.filter(|_| !case.stricter);
            assert_eq!(
                address.map(|address| address.to_string()),
                expected,
                "{line}"
            );
            cases += 1;
        }
        assert!(cases > 100);
    }
}
