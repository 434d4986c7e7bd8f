//! Image references: `host[:port]/name[:tag][@digest]`, with Docker's shorthands.

use std::fmt;
use std::str::FromStr;

use keys::Digest;
use thiserror::Error;
use url::Url;

/// The name that Docker Hub's images carry.
const DOCKER_HUB: &str = "index.docker.io";
/// The longest repository name (distribution spec: host and name together have 255 characters in Docker's implementation).
const NAME_MAX: usize = 255;
/// The longest tag (distribution spec 1.1, "Pulling manifests").
const TAG_MAX: usize = 128;

/// A repository on a registry.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Repository {
    host: String,
    name: String,
}

/// An image, by tag, by digest, or by both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// Where.
    pub repository: Repository,
    /// The tag; `latest` where neither tag nor digest was given.
    pub tag: Option<String>,
    /// The digest; where it is given, the tag decides nothing.
    pub digest: Option<Digest>,
}

/// Why text is no reference.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{text:?} is no image reference: {why}")]
pub struct ReferenceError {
    text: String,
    why: &'static str,
}

impl Repository {
    /// Parses `host/name`; a name without a host is on Docker Hub.
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        Self::read(text).map_err(|why| wrong(text, why))
    }

    fn read(text: &str) -> Result<Self, &'static str> {
        let (host, name) = match text.split_once('/') {
            // Docker's rule: the first part is a host if it looks like one.
            Some((host, name))
                if host.contains(['.', ':', '[']) || host.eq_ignore_ascii_case("localhost") =>
            {
                (host.to_ascii_lowercase(), name.to_owned())
            }
            _ => (DOCKER_HUB.to_owned(), text.to_owned()),
        };
        let host = match host.as_str() {
            "docker.io" | "registry-1.docker.io" => DOCKER_HUB.to_owned(),
            _ => host,
        };
        let name = if host == DOCKER_HUB && !name.contains('/') {
            format!("library/{name}")
        } else {
            name
        };
        check_host(&host)?;
        check_name(&name)?;
        Ok(Self { host, name })
    }

    /// The registry, as images name it.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The name on the registry.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The host that serves the registry's API.
    pub(crate) fn api_host(&self) -> &str {
        if self.host == DOCKER_HUB {
            "registry-1.docker.io"
        } else {
            &self.host
        }
    }

    /// The key of the registry in Docker's configuration.
    pub(crate) fn credential_key(&self) -> &str {
        if self.host == DOCKER_HUB {
            "https://index.docker.io/v1/"
        } else {
            &self.host
        }
    }

    /// This repository's image with a digest.
    pub fn at(&self, digest: Digest) -> Reference {
        Reference {
            repository: self.clone(),
            tag: None,
            digest: Some(digest),
        }
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.host, self.name)
    }
}

impl Reference {
    /// Parses a reference.
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        Self::read(text).map_err(|why| wrong(text, why))
    }

    fn read(text: &str) -> Result<Self, &'static str> {
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => {
                let digest = Digest::parse(digest)
                    .map_err(|_| "the digest is not sha256: and 64 lower-case hex digits")?;
                (rest, Some(digest))
            }
            None => (text, None),
        };
        // A colon before the last slash belongs to a port.
        let (name, tag) = match rest.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag.to_owned())),
            _ => (rest, None),
        };
        if tag.as_deref().is_some_and(|tag| !is_tag(tag)) {
            return Err("the tag has characters that a tag cannot have");
        }
        let tag = tag.or_else(|| digest.is_none().then(|| "latest".to_owned()));
        Ok(Self {
            repository: Repository::read(name)?,
            tag,
            digest,
        })
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        Self::parse(text)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.repository.fmt(formatter)?;
        if let Some(tag) = &self.tag {
            write!(formatter, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(formatter, "@{digest}")?;
        }
        Ok(())
    }
}

fn wrong(text: &str, why: &'static str) -> ReferenceError {
    ReferenceError {
        text: text.chars().take(NAME_MAX).collect(),
        why,
    }
}

fn check_host(host: &str) -> Result<(), &'static str> {
    // The URL parser knows ports, IPv6 and what a host may contain; what it would change or drop is not a host.
    let why = "the registry is no host name";
    let url = Url::parse(&format!("https://{host}/")).map_err(|_| why)?;
    let plain = url.username().is_empty()
        && url.password().is_none()
        && url.path() == "/"
        && url.query().is_none()
        && url.fragment().is_none();
    let port = url
        .port()
        .map(|port| format!(":{port}"))
        .unwrap_or_default();
    let same = format!("{}{port}", url.host_str().unwrap_or_default());
    if plain && (same == host || format!("{same}:443") == host) {
        Ok(())
    } else {
        Err(why)
    }
}

/// distribution spec 1.1, "Pulling manifests": path components of lower-case letters, digits and single separators.
fn check_name(name: &str) -> Result<(), &'static str> {
    if name.len() > NAME_MAX {
        return Err("the repository's name is too long");
    }
    let component = |part: &str| {
        let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let mut separators = part.split(|character: char| {
            character.is_ascii() && u8::try_from(character).is_ok_and(alphanumeric)
        });
        let bounded = part.bytes().next().is_some_and(alphanumeric)
            && part.bytes().next_back().is_some_and(alphanumeric);
        bounded
            && separators.all(|separator| {
                matches!(separator, "" | "." | "_" | "__")
                    || separator.bytes().all(|byte| byte == b'-')
            })
    };
    if name.split('/').all(component) {
        Ok(())
    } else {
        Err(
            "a repository's name has lower-case letters, digits, and single separators between them",
        )
    }
}

fn is_tag(tag: &str) -> bool {
    tag.len() <= TAG_MAX
        && tag
            .bytes()
            .next()
            .is_some_and(|first| first.is_ascii_alphanumeric() || first == b'_')
        && tag
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn shorthands_are_spelled_out() {
        for (text, expected) in [
            ("alpine", "index.docker.io/library/alpine:latest"),
            ("alpine:3", "index.docker.io/library/alpine:3"),
            ("team/app", "index.docker.io/team/app:latest"),
            ("docker.io/team/app:1", "index.docker.io/team/app:1"),
            ("ghcr.io/a/b/c", "ghcr.io/a/b/c:latest"),
            ("GHCR.io/a/b", "ghcr.io/a/b:latest"),
            ("localhost/a", "localhost/a:latest"),
            ("localhost:5000/a", "localhost:5000/a:latest"),
            ("localhost:5000/a:v1", "localhost:5000/a:v1"),
            ("[::1]:5000/a:v1", "[::1]:5000/a:v1"),
            (
                "127.0.0.1:443/a__b/c--d.e",
                "127.0.0.1:443/a__b/c--d.e:latest",
            ),
        ] {
            assert_eq!(Reference::parse(text).unwrap().to_string(), expected);
        }
        let both = Reference::parse(&format!("ghcr.io/a/b:v1@{DIGEST}")).unwrap();
        assert_eq!(both.to_string(), format!("ghcr.io/a/b:v1@{DIGEST}"));
        let only = Reference::parse(&format!("ghcr.io/a/b@{DIGEST}")).unwrap();
        assert_eq!(only.tag, None);
    }

    #[test]
    fn what_is_no_reference_is_refused() {
        let long = format!("ghcr.io/{}", "a".repeat(NAME_MAX + 1));
        for text in [
            "",
            "/",
            "ghcr.io/",
            "Alpine",
            "ghcr.io/a//b",
            "ghcr.io/../b",
            "ghcr.io/a/./b",
            "ghcr.io/a_-b",
            "ghcr.io/a___b",
            "ghcr.io/-a",
            "ghcr.io/a-",
            "ghcr.io/a:",
            "ghcr.io/a:-x",
            "ghcr.io/a:x y",
            "ghcr.io/a?b",
            "ghcr.io/a#b",
            "user@ghcr.io/a",
            "ghcr.io:99999/a",
            "ghcr.io:x/a",
            "ghcr..io\\x/a",
            "https://ghcr.io/a",
            "ghcr.io/a@sha256:00",
            "ghcr.io/a@md5:d41d8cd98f00b204e9800998ecf8427e",
            "ghcr.io/ä",
            long.as_str(),
        ] {
            assert!(Reference::parse(text).is_err(), "{text}");
        }
        assert!(
            Repository::parse("ghcr.io/a:v1").is_err(),
            "a repository has no tag"
        );
    }
}
