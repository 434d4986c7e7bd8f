//! Patterns of meta-issuers: a URL in which `*` stands for one or more letters, digits, hyphens or underscores.
//!
//! A pattern is compared with the whole URL, from the first character to the last: one that only had to occur somewhere would let
//! a token name a host of its own (GHSA-59jp-pj84-45mr). `*` never reaches over a dot, slash, colon, at sign or question mark, and may not
//! stand where it would let a stranger choose the host: in the scheme, the port, or the last two labels.

use std::collections::BTreeSet;
use std::fmt;

use url::Url;

/// The longest pattern, in bytes.
const MAX_PATTERN: usize = 256;
/// The longest URL that is compared.
const MAX_URL: usize = 1024;

/// A pattern of URLs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pattern {
    text: String,
}

impl Pattern {
    /// Reads a pattern; the error says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() > MAX_PATTERN || !text.is_ascii() {
            return Err(format!(
                "a pattern is at most {MAX_PATTERN} ASCII characters"
            ));
        }
        let (scheme, rest) = text
            .split_once("://")
            .ok_or("the pattern is no URL: it has no ://")?;
        if !matches!(scheme, "https" | "http") {
            return Err("the pattern does not begin with https://".to_owned());
        }
        let host = rest.split('/').next().unwrap_or_default();
        let labels: Vec<&str> = host.split(['.', ':']).rev().collect();
        let in_port = host
            .rsplit_once(':')
            .is_some_and(|(_, port)| port.contains('*'));
        // With a port, the last two labels are one further in.
        let fixed = if host.contains(':') { 3 } else { 2 };
        if in_port || labels.iter().take(fixed).any(|label| label.contains('*')) {
            return Err(
                "a * in the port or in the last two labels of the host would let anybody be an issuer"
                    .to_owned(),
            );
        }
        let example = Url::parse(&text.replace('*', "x"))
            .map_err(|error| format!("the pattern is no URL: {error}"))?;
        if !example.username().is_empty()
            || example.password().is_some()
            || example.query().is_some()
            || example.fragment().is_some()
        {
            return Err("a pattern has no user, query or fragment".to_owned());
        }
        Ok(Self {
            text: text.to_owned(),
        })
    }

    /// The pattern.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// How many characters of it stand for themselves: the pattern with most of them goes first.
    pub fn weight(&self) -> usize {
        self.text.bytes().filter(|byte| *byte != b'*').count()
    }

    /// Is the whole of `url` of this form?
    pub fn matches(&self, url: &str) -> bool {
        if url.len() > MAX_URL {
            return false;
        }
        let pattern = self.text.as_bytes();
        // The positions in the pattern where a reader of `url` may be by now.
        let mut places = BTreeSet::from([0]);
        for byte in url.bytes() {
            let mut next = BTreeSet::new();
            for place in places {
                match pattern.get(place) {
                    Some(b'*') if is_wild(byte) => {
                        next.insert(place.saturating_add(1));
                    }
                    Some(literal) if *literal == byte && byte != b'*' => {
                        next.insert(place.saturating_add(1));
                    }
                    _ => {}
                }
                if stays(pattern, place) && is_wild(byte) {
                    next.insert(place);
                }
            }
            if next.is_empty() {
                return false;
            }
            places = next;
        }
        places.contains(&pattern.len())
    }

    /// Is there a URL that both match?
    pub fn overlaps(&self, other: &Self) -> bool {
        let (ours, theirs) = (self.text.as_bytes(), other.text.as_bytes());
        let mut seen = BTreeSet::new();
        let mut open = vec![(0_usize, 0_usize)];
        while let Some((i, j)) = open.pop() {
            if (i, j) == (ours.len(), theirs.len()) {
                return true;
            }
            if !seen.insert((i, j)) {
                continue;
            }
            let (a, b) = (ours.get(i).copied(), theirs.get(j).copied());
            let (next_i, next_j) = (i.saturating_add(1), j.saturating_add(1));
            if let (Some(a), Some(b)) = (a, b)
                && (a == b || (a == b'*' && is_wild(b)) || (b == b'*' && is_wild(a)))
            {
                open.push((next_i, next_j));
            }
            // One of them reads on while the other's star goes on.
            if stays(ours, i) && b.is_some_and(|b| b == b'*' || is_wild(b)) {
                open.push((i, next_j));
            }
            if stays(theirs, j) && a.is_some_and(|a| a == b'*' || is_wild(a)) {
                open.push((next_i, j));
            }
        }
        false
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

/// Behind a star, more of the same may follow.
fn stays(pattern: &[u8], place: usize) -> bool {
    place
        .checked_sub(1)
        .is_some_and(|before| pattern.get(before) == Some(&b'*'))
}

const fn is_wild(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_star_stays_in_its_place() {
        let eks = Pattern::parse("https://oidc.eks.*.amazonaws.com/id/*").unwrap();
        for (url, expected) in [
            ("https://oidc.eks.us-west-2.amazonaws.com/id/B02C_9", true),
            ("https://oidc.eks.us-west-2.amazonaws.com/id/", false),
            ("https://oidc.eks..amazonaws.com/id/A", false),
            ("https://oidc.eks.a.b.amazonaws.com/id/A", false),
            ("https://oidc.eks.us-west-2.amazonaws.com/id/A/", false),
            ("https://oidc.eks.us-west-2.amazonaws.com/id/A?x", false),
            // GHSA-59jp-pj84-45mr: the pattern stands somewhere in the URL.
            (
                "http://localhost:3000?https://oidc.eks.us-west-2.amazonaws.com/id/A",
                false,
            ),
            (
                "http://evil.example/https://oidc.eks.us-west-2.amazonaws.com/id/A",
                false,
            ),
            (
                "https://oidc.eks.us-west-2.amazonaws.com/id/A\nhttps://evil.example",
                false,
            ),
            ("https://oidc.eks.evil.example/.amazonaws.com/id/A", false),
            ("https://oidc.eks.evil.example#.amazonaws.com/id/A", false),
            ("https://oidc.eks.evil@example.amazonaws.com/id/A", false),
            ("https://oidc.eks.*.amazonaws.com/id/*", false),
            ("HTTPS://oidc.eks.us-west-2.amazonaws.com/id/A", false),
        ] {
            assert_eq!(eks.matches(url), expected, "{url}");
        }
        assert!(!eks.matches(&format!(
            "https://oidc.eks.x.amazonaws.com/id/{}",
            "a".repeat(2000)
        )));
    }

    #[test]
    fn no_pattern_gives_the_host_away() {
        for bad in [
            "",
            "*",
            "*://host.example/",
            "https://*",
            "https://*/x",
            "https://*.com/x",
            "https://a.*.com/x",
            "https://a.com*/x",
            "https://a.com:*/x",
            "https://*.com:443/x",
            "https://user@a.com/*",
            "https://a.com/*?x=*",
            "https://a.com/*#x",
            "ftp://a.com/*",
            "https://ä.com/*",
        ] {
            assert!(Pattern::parse(bad).is_err(), "{bad}");
        }
        for good in [
            "https://*.a.com/x",
            "https://a.com/*/*/",
            "http://localhost:8080/*",
            "https://*.a.com:8443/*",
        ] {
            assert!(Pattern::parse(good).is_ok(), "{good}");
        }
    }

    #[test]
    fn overlaps_are_found() {
        let pattern = |text: &str| Pattern::parse(&format!("https://a.com/{text}")).unwrap();
        for (one, other, expected) in [
            ("*", "*", true),
            ("a*", "*b", true),
            ("a*", "b*", false),
            ("*", "*/*", false),
            ("*", "*/", false),
            ("*/a", "b/*", true),
            ("x*", "x", false),
            ("a-*-c", "a-b-*", true),
        ] {
            assert_eq!(
                pattern(one).overlaps(&pattern(other)),
                expected,
                "{one} {other}"
            );
            assert_eq!(
                pattern(other).overlaps(&pattern(one)),
                expected,
                "{other} {one}"
            );
        }
    }

    fn expression(pattern: &Pattern) -> regex::Regex {
        let quoted = regex::escape(pattern.as_str()).replace("\\*", "[-_a-zA-Z0-9]+");
        regex::Regex::new(&format!("^(?:{quoted})$")).unwrap()
    }

    proptest! {
        #[test]
        fn it_is_the_regular_expression(path in "[ab*/-]{0,8}", url in "[ab/*.-]{0,10}") {
            let pattern = Pattern::parse(&format!("https://a.com/{path}")).unwrap();
            let url = format!("https://a.com/{url}");
            prop_assert_eq!(pattern.matches(&url), expression(&pattern).is_match(&url));
        }

        #[test]
        fn whoever_matches_both_proves_an_overlap(one in "[ab*/]{0,6}", other in "[ab*/]{0,6}", url in "[ab/]{0,8}") {
            let parse = |path: &str| Pattern::parse(&format!("https://a.com/{path}")).unwrap();
            let (one, other, url) = (parse(&one), parse(&other), format!("https://a.com/{url}"));
            if one.matches(&url) && other.matches(&url) {
                prop_assert!(one.overlaps(&other));
            }
        }
    }
}
