//! Where a repository's files are fetched: over HTTP, or from a folder.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use client::{Agent, Call, CallError, Redirects, Settings};
use thiserror::Error;
use url::Url;

/// A base below which files are.
#[derive(Debug, Clone)]
pub struct Mirror {
    base: Url,
    agent: Agent,
}

/// A file could not be had.
#[derive(Debug, Error)]
pub enum MirrorError {
    /// Not an address of files.
    #[error("{0:?} is not the address of a repository: https://..., http://... or file:///...")]
    Address(String),
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
    pub const fn is_outage(&self) -> bool {
        match self {
            Self::Call(CallError::Unreachable { .. } | CallError::Timeout { .. }) => true,
            Self::Status { status, .. } => *status >= 500 || *status == 429,
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
        let base = Url::parse(address).map_err(|_| wrong())?;
        let plain = base.query().is_none() && base.fragment().is_none();
        let known = match base.scheme() {
            "http" | "https" => base.has_host(),
            "file" => base.to_file_path().is_ok(),
            _ => false,
        };
        if plain && known {
            Ok(Self { base, agent })
        } else {
            Err(wrong())
        }
    }

    /// The folder `name` below this one.
    #[must_use]
    pub fn folder(&self, name: &str) -> Self {
        let mut base = self.base.clone();
        base.set_path(&format!("{}/{name}", base.path().trim_end_matches('/')));
        Self {
            base,
            agent: self.agent.clone(),
        }
    }

    /// The address.
    pub fn address(&self) -> &str {
        self.base.as_str()
    }

    /// Gets a file; `path` is encoded for a URL. A file that is not there is none if it may be so: with status 404, and with 403, which is what
    /// buckets answer to those who may not list them.
    pub async fn get(
        &self,
        path: &str,
        limit: usize,
        may_be_absent: bool,
    ) -> Result<Option<Bytes>, MirrorError> {
        let mut url = self.base.clone();
        url.set_path(&format!("{}/{path}", url.path().trim_end_matches('/')));
        if url.scheme() == "file" {
            return read_file(&url, limit, may_be_absent);
        }
        let answer = self.agent.send(&Call::get(url.clone()).limit(limit)).await;
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
