//! Names of targets, and names as parts of URLs and files.

use std::fmt;

use thiserror::Error;

/// Longest target path. It becomes one file name, so its encoded form has the limit of those too.
const PATH_MAX: usize = 1024;
/// Longest encoded name of a file, less what is put around it (`N.` and `.json`, or a hash).
pub(crate) const NAME_MAX: usize = 220;

/// The path of a target as metadata lists it and callers ask for it: parts between slashes, none of them empty, `.` or `..` (TUF specification 4.5,
/// `TARGETPATH`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TargetPath(String);

/// Not the path of a target.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0:?} cannot be the path of a target")]
pub struct TargetPathError(String);

impl TargetPath {
    /// Checks a path.
    pub fn new(path: &str) -> Result<Self, TargetPathError> {
        let plain = path.split('/').all(|part| !["", ".", ".."].contains(&part));
        if plain && path.len() <= PATH_MAX && encoded(path).len() <= NAME_MAX {
            Ok(Self(path.to_owned()))
        } else {
            Err(TargetPathError(path.chars().take(100).collect()))
        }
    }

    /// The path as it is listed.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The path below a repository's targets, for a URL: with a hash before the last part if it has consistent snapshots.
    pub(crate) fn in_repository(&self, prefix: Option<&str>) -> String {
        let (folder, name) = self.0.rsplit_once('/').unwrap_or(("", &self.0));
        let mut url = String::new();
        for part in folder.split('/').filter(|part| !part.is_empty()) {
            url.push_str(&encoded(part));
            url.push('/');
        }
        if let Some(prefix) = prefix {
            url.push_str(prefix);
            url.push('.');
        }
        url.push_str(&encoded(name));
        url
    }

    /// One file name, for a cache.
    pub fn file_name(&self) -> String {
        encoded(&self.0)
    }
}

impl fmt::Display for TargetPath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Percent-encoded but for what RFC 3986 2.3 calls unreserved.
pub(crate) fn encoded(name: &str) -> String {
    use fmt::Write as _;
    let mut encoded = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            let _written = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_below_the_targets() {
        for path in [
            "",
            "/a",
            "a/",
            "a//b",
            "..",
            "a/../b",
            "./a",
            &"a".repeat(221),
            &"ä".repeat(37),
        ] {
            assert!(TargetPath::new(path).is_err(), "{path}");
        }
        let path = TargetPath::new("registry.npmjs.org/a b?.json").unwrap();
        assert_eq!(path.file_name(), "registry.npmjs.org%2Fa%20b%3F.json");
        assert_eq!(
            path.in_repository(Some("ab")),
            "registry.npmjs.org/ab.a%20b%3F.json"
        );
        assert_eq!(path.in_repository(None), "registry.npmjs.org/a%20b%3F.json");
        assert_eq!(
            TargetPath::new("a").unwrap().in_repository(Some("ab")),
            "ab.a"
        );
    }
}
