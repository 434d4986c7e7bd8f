//! Names as the distribution specification writes them. Each becomes part of a path, so each is checked once, here.

use std::fmt;

/// Longest repository name: clients limit it together with the host to 255.
const REPOSITORY_MAX: usize = 255;

/// Longest tag (OCI distribution 1.1, "Pulling manifests").
const TAG_MAX: usize = 128;

/// A repository: lower-case path components. None can begin with `_`, so our own folders beside them cannot be met.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Repository(String);

/// A SHA-256 digest in hex.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Digest(String);

/// A tag.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tag(String);

/// What follows `manifests/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    /// By content.
    Digest(Digest),
    /// By name.
    Tag(Tag),
}

impl Repository {
    /// Checks a name: `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*` between slashes.
    pub fn parse(text: &str) -> Option<Self> {
        (text.len() <= REPOSITORY_MAX && text.split('/').all(component))
            .then(|| Self(text.to_owned()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn component(text: &str) -> bool {
    let plain = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else {
        return false;
    };
    plain(first)
        && plain(last)
        && bytes
            .iter()
            .all(|byte| plain(byte) || b"._-".contains(byte))
        && text
            .split(|symbol: char| symbol.is_ascii_alphanumeric())
            .all(|separator| {
                matches!(separator, "" | "." | "_" | "__")
                    || separator.bytes().all(|byte| byte == b'-')
            })
}

impl Digest {
    /// Checks `sha256:` and 64 lower-case hex digits.
    pub fn parse(text: &str) -> Option<Self> {
        Self::from_hex(text.strip_prefix("sha256:")?)
    }

    pub(super) fn from_hex(hex: &str) -> Option<Self> {
        let valid = hex.len() == 64
            && hex
                .bytes()
                .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
        valid.then(|| Self(hex.to_owned()))
    }

    /// The digest of `content`.
    pub fn of(content: &[u8]) -> Self {
        Self(hex::encode(keys::sha256(content)))
    }

    /// Without the algorithm.
    pub fn hex(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.0)
    }
}

impl Tag {
    /// Checks `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`.
    pub fn parse(text: &str) -> Option<Self> {
        let first = text.bytes().next()?;
        let valid = text.len() <= TAG_MAX
            && (first.is_ascii_alphanumeric() || first == b'_')
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
        valid.then(|| Self(text.to_owned()))
    }

    /// The tag.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Reference {
    /// Whatever has a colon is a digest.
    pub fn parse(text: &str) -> Option<Self> {
        if text.contains(':') {
            Digest::parse(text).map(Self::Digest)
        } else {
            Tag::parse(text).map(Self::Tag)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repositories() {
        for good in ["a", "library/alpine", "a/b/c/d", "a.b_c__d-e---f/0"] {
            assert!(Repository::parse(good).is_some(), "{good}");
        }
        for bad in [
            "", "/", "a/", "/a", "a//b", "A", "a/_tags", "_blobs", "..", "a/../b", "a..b", "a___b",
            "-a", "a-", "a._b", "ä", "a b", "a\0",
        ] {
            assert!(Repository::parse(bad).is_none(), "{bad}");
        }
        assert!(Repository::parse(&"a".repeat(256)).is_none());
    }

    #[test]
    fn references() {
        let hex = "0".repeat(64);
        assert!(matches!(
            Reference::parse(&format!("sha256:{hex}")),
            Some(Reference::Digest(_))
        ));
        assert!(matches!(
            Reference::parse(&format!("sha256-{hex}")),
            Some(Reference::Tag(_))
        ));
        for bad in [
            "",
            ".",
            "..",
            "-a",
            "a/b",
            "sha256:00",
            "sha512:00",
            &format!("sha256:{}", "A".repeat(64)),
            &"a".repeat(129),
        ] {
            assert!(Reference::parse(bad).is_none(), "{bad}");
        }
    }
}
