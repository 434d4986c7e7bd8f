//! Where a repository's files are fetched: over HTTP, from a folder, or from a registry, where they are one OCI artifact ([`tuf::artifact`]).

use std::fs::File;
use std::io::{self, Read as _};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use client::{Agent, Call, CallError, Redirects, Settings};
use oci::{Artifact, ArtifactKind, Keychain, OciError, Reference, Registry};
use thiserror::Error;
use url::Url;

/// How the address of an artifact begins.
const OCI: &str = "oci://";
/// A repository as an artifact.
const KIND: ArtifactKind = ArtifactKind {
    artifact_type: tuf::artifact::ARTIFACT_TYPE,
    name: tuf::artifact::FILE_NAME,
};

/// A base below which files are.
#[derive(Debug, Clone)]
pub struct Mirror(Way);

#[derive(Debug, Clone)]
enum Way {
    /// `https`, `http` or `file`.
    Url { base: Url, agent: Agent },
    /// A tag or digest in a registry.
    Registry(Box<InRegistry>),
}

#[derive(Debug, Clone)]
struct InRegistry {
    address: String,
    reference: Reference,
    /// What stands before each name.
    prefix: String,
    registry: Registry,
    /// What the tag pointed to when it was looked at: one update reads one artifact, however the tag moves meanwhile.
    seen: Arc<Mutex<Option<Arc<Artifact>>>>,
}

/// A file could not be had.
#[derive(Debug, Error)]
pub enum MirrorError {
    /// Not an address of files.
    #[error(
        "{0:?} is not the address of a repository: https://..., http://..., file:///... or oci://REGISTRY/NAME:TAG"
    )]
    Address(String),
    /// The registry has no such artifact, or does not give it.
    #[error(transparent)]
    Registry(#[from] OciError),
    /// Nobody there, or the way is broken.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The file is not to be had, and it has to be.
    #[error("{url} answered {status}")]
    Status {
        /// What was asked.
        url: String,
        /// The answer.
        status: u16,
    },
    /// A folder that cannot be read.
    #[error("reading {path}")]
    File {
        /// Which file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A file in a folder that is larger than it may be.
    #[error("{path} is larger than {limit} bytes")]
    TooLarge {
        /// Which file.
        path: PathBuf,
        /// What is read at most.
        limit: usize,
    },
}

impl MirrorError {
    /// Is it the way that is broken, and not what came over it? Only then what is in the cache may stand in.
    pub fn is_outage(&self) -> bool {
        match self {
            Self::Call(CallError::Unreachable { .. } | CallError::Timeout { .. }) => true,
            Self::Status { status, .. } => *status >= 500 || *status == 429,
            Self::Registry(OciError::Call { source, .. }) => matches!(
                source,
                CallError::Unreachable { .. } | CallError::Timeout { .. }
            ),
            Self::Registry(OciError::Refused { refused, .. }) => {
                refused.status.is_server_error() || refused.status.as_u16() == 429
            }
            _ => false,
        }
    }
}

/// How a repository is called. Its files are signed, and so may come by any way: without TLS, and from wherever its host redirects to. `roots` are
/// certificate authorities besides the system's, PEM.
pub fn agent(roots: Vec<u8>) -> Agent {
    Agent::new(Settings {
        connect_timeout: Duration::from_secs(5),
        read_timeout: Duration::from_secs(10),
        call_timeout: Duration::from_secs(30),
        attempts: 3,
        first_pause: Duration::from_millis(200),
        longest_pause: Duration::from_secs(5),
        redirects: Redirects::AnyTls,
        plain_http: true,
        any_certificate: false,
        extra_roots_pem: roots,
        // Lengths are those of the files as they are signed.
        decompress: false,
        ..Settings::default()
    })
}

impl Mirror {
    /// A mirror at an address. Nothing is opened.
    pub fn new(address: &str, agent: Agent) -> Result<Self, MirrorError> {
        let wrong = || MirrorError::Address(address.to_owned());
        if let Some(name) = address.strip_prefix(OCI) {
            let reference = Reference::parse(name).map_err(|_| wrong())?;
            return Ok(Self(Way::Registry(Box::new(InRegistry {
                address: address.to_owned(),
                reference,
                prefix: String::new(),
                registry: registry(&agent),
                seen: Arc::default(),
            }))));
        }
        let base = Url::parse(address).map_err(|_| wrong())?;
        let plain = base.query().is_none() && base.fragment().is_none();
        let known = match base.scheme() {
            "http" | "https" => base.has_host(),
            "file" => base.to_file_path().is_ok(),
            _ => false,
        };
        if plain && known {
            Ok(Self(Way::Url { base, agent }))
        } else {
            Err(wrong())
        }
    }

    /// The folder `name` below this one.
    #[must_use]
    pub fn folder(&self, name: &str) -> Self {
        let mut below = self.clone();
        match &mut below.0 {
            Way::Url { base, .. } => {
                base.set_path(&format!("{}/{name}", base.path().trim_end_matches('/')));
            }
            Way::Registry(artifact) => artifact.prefix = format!("{}{name}/", artifact.prefix),
        }
        below
    }

    /// The address.
    pub fn address(&self) -> &str {
        match &self.0 {
            Way::Url { base, .. } => base.as_str(),
            Way::Registry(artifact) => &artifact.address,
        }
    }

    /// An update begins: a tag is looked at again, for this one and its folders.
    pub(crate) fn begin(&self) {
        if let Way::Registry(artifact) = &self.0 {
            *artifact.seen.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
    }

    /// Gets a file; `path` is encoded for a URL. A file that is not there is none if it may be so: with status 404, and with 403, which is what
    /// buckets answer to those who may not list them.
    pub async fn get(
        &self,
        path: &str,
        limit: usize,
        may_be_absent: bool,
    ) -> Result<Option<Bytes>, MirrorError> {
        let (base, agent) = match &self.0 {
            Way::Url { base, agent } => (base, agent),
            Way::Registry(artifact) => return artifact.get(path, limit, may_be_absent).await,
        };
        let mut url = base.clone();
        url.set_path(&format!("{}/{path}", url.path().trim_end_matches('/')));
        if url.scheme() == "file" {
            return read_file(&url, limit, may_be_absent);
        }
        let answer = agent.send(&Call::get(url.clone()).limit(limit)).await;
        let answer = match answer {
            Ok(answer) => answer,
            // A page that says that there is nothing may be longer than what was looked for.
            Err(error) => return Err(error.into()),
        };
        match answer.status.as_u16() {
            200 => Ok(Some(answer.body)),
            403 | 404 if may_be_absent => Ok(None),
            status => Err(MirrorError::Status {
                url: url.to_string(),
                status,
            }),
        }
    }
}

/// As [`agent`] calls, but with the login of Docker's configuration, and without TLS to this machine only.
fn registry(agent: &Agent) -> Registry {
    let settings = agent.settings();
    let ours = oci::Settings::default();
    Registry::new(oci::Settings {
        keychain: Keychain::Configured,
        agent: client::Settings {
            connect_timeout: settings.connect_timeout,
            read_timeout: settings.read_timeout,
            call_timeout: settings.call_timeout,
            attempts: settings.attempts,
            first_pause: settings.first_pause,
            longest_pause: settings.longest_pause,
            extra_roots_pem: settings.extra_roots_pem.clone(),
            ..ours.agent
        },
        ..ours
    })
}

impl InRegistry {
    async fn get(
        &self,
        path: &str,
        limit: usize,
        may_be_absent: bool,
    ) -> Result<Option<Bytes>, MirrorError> {
        let artifact = self.artifact().await?;
        let name = format!("{}{}", self.prefix, decoded(path));
        let found = self.registry.artifact_file(&artifact, &name, limit).await?;
        if found.is_none() && !may_be_absent {
            return Err(MirrorError::Status {
                url: format!("{} ({name})", self.address),
                status: 404,
            });
        }
        Ok(found)
    }

    async fn artifact(&self) -> Result<Arc<Artifact>, MirrorError> {
        let seen = || self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let known = seen().clone();
        if let Some(known) = known {
            return Ok(known);
        }
        let found = Arc::new(self.registry.artifact(&self.reference, KIND).await?);
        *seen() = Some(found.clone());
        Ok(found)
    }
}

/// What a server makes of a path in a URL (RFC 3986 2.1).
fn decoded(path: &str) -> String {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let hex = after.get(..2).filter(|_| first == b'%');
        let byte = hex.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        bytes.push(byte.unwrap_or(first));
        rest = if byte.is_some() {
            after.get(2..).unwrap_or_default()
        } else {
            after
        };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn read_file(url: &Url, limit: usize, may_be_absent: bool) -> Result<Option<Bytes>, MirrorError> {
    let path = url
        .to_file_path()
        .map_err(|()| MirrorError::Address(url.to_string()))?;
    let failed = |source| MirrorError::File {
        path: path.clone(),
        source,
    };
    let file = match File::open(&path) {
        Err(error) if may_be_absent && error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(failed)?,
    };
    let mut bytes = Vec::new();
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    file.take(most).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() > limit {
        return Err(MirrorError::TooLarge { path, limit });
    }
    Ok(Some(Bytes::from(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_as_a_server_reads_them() {
        for (path, expected) in [
            ("1.root.json", "1.root.json"),
            ("a%20b%2Fc", "a b/c"),
            ("100%", "100%"),
            ("%zz%4", "%zz%4"),
            ("%C3%A4", "\u{e4}"),
        ] {
            assert_eq!(decoded(path), expected);
        }
    }

    #[test]
    fn addresses_are_looked_at_and_nothing_is_opened() {
        let agent = || agent(Vec::new());
        for address in [
            "oci://registry.example.com/team/trust",
            "oci://localhost:5000/trust:latest",
            "https://tuf.example.com/a",
        ] {
            assert_eq!(
                Mirror::new(address, agent()).unwrap().address(),
                if address.starts_with("oci") {
                    address
                } else {
                    "https://tuf.example.com/a"
                }
            );
        }
        for address in ["oci://", "oci://registry.example.com/UPPER", "oci:registry"] {
            assert!(Mirror::new(address, agent()).is_err(), "{address}");
        }
    }
}
