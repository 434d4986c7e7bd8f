//! Manifests and signature files: sections of `Name: value` lines (JAR File Specification), read as upstream's library reads them.

use std::collections::BTreeMap;

use crate::{PackageError, text};

/// The attributes of one section, under their names in the spelling `Sha-256-Digest`; the last of equal names counts.
pub(super) type Section = BTreeMap<String, String>;

/// A parsed manifest.
pub(super) struct Manifest {
    pub(super) main: Section,
    /// The other sections under their attribute `Name`; the last of equal names counts.
    pub(super) files: BTreeMap<String, Section>,
}

impl Manifest {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, PackageError> {
        let mut sections = split(bytes)?.into_iter();
        let main = section(sections.next().ok_or(NO_END)?)?;
        let mut files = BTreeMap::new();
        for bytes in sections {
            let (name, section) = named(bytes)?;
            files.insert(name, section);
        }
        Ok(Self { main, files })
    }
}

const NO_END: PackageError =
    PackageError::Malformed("manifest: it does not end with an empty line");

/// Cuts a manifest into sections, each with the empty line at its end. As long as an empty line with CRLF follows somewhere, only such a
/// line ends a section, and after that any other.
pub(super) fn split(manifest: &[u8]) -> Result<Vec<&[u8]>, PackageError> {
    let mut sections = Vec::new();
    let mut rest = manifest;
    let mut crlf = true;
    while !rest.is_empty() {
        // Asked once in vain, and not again for each section: that would take quadratic time.
        let end = crlf.then(|| end_of(rest, b"\r\n\r\n")).flatten();
        crlf = end.is_some();
        let end = end.or_else(|| end_of(rest, b"\n\n")).ok_or(NO_END)?;
        let (section, after) = rest.split_at_checked(end).ok_or(NO_END)?;
        sections.push(section);
        rest = after;
    }
    Ok(sections)
}

fn end_of(bytes: &[u8], mark: &[u8]) -> Option<usize> {
    let at = bytes
        .windows(mark.len())
        .position(|window| window == mark)?;
    at.checked_add(mark.len())
}

/// A section other than the first, and its attribute `Name`, which must be UTF-8: two names could else be read alike.
pub(super) fn named(bytes: &[u8]) -> Result<(String, Section), PackageError> {
    let section = section(bytes)?;
    let name = section
        .get("Name")
        .filter(|name| !name.is_empty())
        .cloned()
        .ok_or(PackageError::Malformed("manifest: a section without Name"))?;
    if name.contains(char::REPLACEMENT_CHARACTER) {
        return Err(PackageError::Malformed(
            "manifest: a name that is not UTF-8",
        ));
    }
    Ok((name, section))
}

fn section(bytes: &[u8]) -> Result<Section, PackageError> {
    // A name may be cut in the middle of a character when it goes on in the next line: text it is only after that.
    let mut unfolded = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((first, after)) = rest.split_first() {
        rest = match rest {
            [b'\r', b'\n', b' ', after @ ..] | [b'\n', b' ', after @ ..] => after,
            [b'\r', b'\n', ..] => after,
            _ => {
                unfolded.push(*first);
                after
            }
        };
    }
    let text = text::replacing(&unfolded);
    let mut section = Section::new();
    for line in text.split('\n').filter(|line| !line.is_empty()) {
        let (name, value) = line
            .split_once(':')
            .ok_or(PackageError::Malformed("manifest: a line without a colon"))?;
        section.insert(canonical(name.trim()), value.trim().to_owned());
    }
    Ok(section)
}

/// The spelling of a header in HTTP: capitals at the start and behind hyphens, unless it has characters that no such header has.
fn canonical(name: &str) -> String {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if !name.bytes().all(token) {
        return name.to_owned();
    }
    let mut start = true;
    name.chars()
        .map(|character| {
            let spelled = if start {
                character.to_ascii_uppercase()
            } else {
                character.to_ascii_lowercase()
            };
            start = character == '-';
            spelled
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> String {
        named(text.as_bytes()).unwrap().0
    }

    #[test]
    fn lines_are_unfolded_and_names_spelled_alike() {
        assert_eq!(name("Name: a\r\n b\r\n  c\r\n\r\n"), "ab c");
        assert_eq!(name("nAmE: a\n\n"), "a");
        // The two bytes of one character, on two lines.
        assert_eq!(named(b"Name: \xc3\r\n \xa9\r\n\r\n").unwrap().0, "\u{e9}");
        assert_eq!(
            canonical("SHA-256-digest-MANIFEST"),
            "Sha-256-Digest-Manifest"
        );
        assert_eq!(canonical("SHA 256-Digest"), "SHA 256-Digest");
    }

    #[test]
    fn sections_end_where_upstream_ends_them() {
        let cut = |text: &'static str| -> Vec<usize> {
            split(text.as_bytes())
                .unwrap()
                .iter()
                .map(|s| s.len())
                .collect()
        };
        assert_eq!(cut("a: b\n\nName: c\n\n"), [6, 9]);
        assert_eq!(cut("a: b\r\n\r\nName: c\r\n\r\n"), [8, 11]);
        // An empty line with LF alone does not end a section in front of one with CRLF.
        assert_eq!(cut("a: b\n\nName: c\r\n\r\nName: d\n\n"), [17, 9]);
        assert_eq!(cut(""), [0_usize; 0]);
        assert_eq!(split(b"a: b\n"), Err(NO_END));
    }
}
