//! The state folder: one stack's keys, logs and trust files, for one process at a time.
//!
//! ```text
//! STATE/
//!   lock                     held while a stack runs
//!   addresses.json           where each service answers; read by `sigstack token` and by scripts
//!   trusted_root.json  signing_config.json  client_trust_config.json  (and the latter two with _rekor_v1)
//!   issuer/   issuer.toml   key.pem
//!   fulcio/   fulcio.toml   key.pem  chain.pem  issuers.yaml  ctlog.pub.pem
//!   ctlog/    ctlog.toml    key.pem  roots.pem  name  log/  last.checkpoint
//!   tsa/      tsa.toml      key.pem  chain.pem
//!   rekor/    rekor.toml    key.pem  log/  last.checkpoint  v1.pem  v1/  v1.checkpoint  attestations/  search.sqlite
//!   registry/ registry.toml data/
//!   tuf/      tuf.toml      offline.pem  online.pem  policy.toml  published/  lock
//! ```
//!
//! Each service has a folder of its own, with settings that name only what is in it: a container gets that folder and sees nobody
//! else's key.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use store::Disk as _;
use thiserror::Error;

/// Largest of our own files that are read back.
const FILE_MAX: u64 = 8 << 20;

/// The state folder cannot be used.
#[derive(Debug, Error)]
pub enum StateError {
    /// The disk said no.
    #[error("state folder {folder}")]
    Io {
        /// The folder.
        folder: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another stack is running on it.
    #[error("another sigstack is running on {0}: stop it, or take another folder with --state")]
    Locked(PathBuf),
    /// A file of ours is damaged.
    #[error("{file} in {folder} cannot be read: {reason}")]
    Damaged {
        /// The folder.
        folder: PathBuf,
        /// The file in it.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// There is no stack here yet.
    #[error("{0} is not a stack's state folder yet: start one with `sigstack up --state {0}`")]
    Missing(PathBuf),
}

/// A state folder that nobody else uses.
#[derive(Debug)]
pub struct State {
    folder: PathBuf,
    disk: store::fs::Folder,
    _lock: Box<dyn store::Lock>,
}

/// Where each service answers: base URLs without a slash at the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Addresses {
    /// The development identity provider, also the issuer of people's tokens.
    pub issuer: String,
    /// The certificate authority.
    pub fulcio: String,
    /// The CT log.
    pub ctlog: String,
    /// The timestamp authority.
    pub tsa: String,
    /// The transparency log.
    pub rekor: String,
    /// The container registry.
    pub registry: String,
    /// The TUF repository.
    pub tuf: String,
}

impl State {
    /// Opens the folder, makes it (for its owner alone) if there is none, and takes its lock.
    pub fn open(folder: &Path) -> Result<Self, StateError> {
        let failed = |source| StateError::Io {
            folder: folder.to_owned(),
            source,
        };
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(failed)?;
        let folder = fs::canonicalize(folder).map_err(failed)?;
        let disk = store::fs::Folder::open(&folder).map_err(failed)?;
        let lock = disk
            .lock()
            .map_err(failed)?
            .ok_or_else(|| StateError::Locked(folder.clone()))?;
        Ok(Self {
            folder,
            disk,
            _lock: lock,
        })
    }

    /// The folder, absolute.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A path in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Makes one of our folders, for its owner alone.
    pub fn make_folder(&self, name: &str) -> Result<(), StateError> {
        let made = fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(self.path(name));
        made.map_err(|source| StateError::Io {
            folder: self.folder.clone(),
            source,
        })
    }

    /// Puts a file in place as a whole; it is durable when this returns.
    pub fn write(&self, name: &str, content: &[u8]) -> Result<(), StateError> {
        let path = self.name(name)?;
        let written = self.disk.replace_durable(&path, content);
        written.map_err(|source| StateError::Io {
            folder: self.folder.clone(),
            source,
        })
    }

    /// Like [`State::write`], and leaves a file alone that has this content already.
    pub fn write_if_changed(&self, name: &str, content: &[u8]) -> Result<(), StateError> {
        if self.read(name)?.is_some_and(|old| old == content) {
            Ok(())
        } else {
            self.write(name, content)
        }
    }

    /// A file's content; `None` if there is none.
    pub fn read(&self, name: &str) -> Result<Option<Vec<u8>>, StateError> {
        let path = self.name(name)?;
        self.disk
            .read(&path, FILE_MAX)
            .map_err(|source| StateError::Io {
                folder: self.folder.clone(),
                source,
            })
    }

    /// Removes a file; none there is fine.
    pub fn remove(&self, name: &str) -> Result<(), StateError> {
        let path = self.name(name)?;
        self.disk.remove(&path).map_err(|source| StateError::Io {
            folder: self.folder.clone(),
            source,
        })
    }

    /// The names in one of our folders, sorted.
    pub fn list(&self, name: &str) -> Result<Vec<String>, StateError> {
        let path = self.name(name)?;
        self.disk.list(&path).map_err(|source| StateError::Io {
            folder: self.folder.clone(),
            source,
        })
    }

    /// Damage to one of our files, told with its name.
    pub fn damaged(&self, file: &str, reason: impl std::fmt::Display) -> StateError {
        StateError::Damaged {
            folder: self.folder.clone(),
            file: file.to_owned(),
            reason: reason.to_string(),
        }
    }

    fn name(&self, name: &str) -> Result<store::Path, StateError> {
        store::Path::new(name).ok_or_else(|| self.damaged(name, "not a plain file name"))
    }
}

impl Addresses {
    /// The file in the state folder.
    pub const FILE: &'static str = "addresses.json";

    /// Reads the addresses that the last start wrote, without taking the folder's lock.
    pub fn read(folder: &Path) -> Result<Self, StateError> {
        let text = match fs::read(folder.join(Self::FILE)) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(StateError::Missing(folder.to_owned()));
            }
            Err(source) => {
                return Err(StateError::Io {
                    folder: folder.to_owned(),
                    source,
                });
            }
        };
        serde_json::from_slice(&text).map_err(|error| StateError::Damaged {
            folder: folder.to_owned(),
            file: Self::FILE.to_owned(),
            reason: error.to_string(),
        })
    }
}

/// A service of the stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Name {
    /// The development identity provider.
    Issuer,
    /// The certificate authority.
    Fulcio,
    /// The CT log.
    Ctlog,
    /// The timestamp authority.
    Tsa,
    /// The transparency log.
    Rekor,
    /// The container registry.
    Registry,
    /// The TUF repository.
    Tuf,
}

impl Name {
    /// All, in the order of their ports.
    pub const ALL: [Self; 7] = [
        Self::Issuer,
        Self::Fulcio,
        Self::Ctlog,
        Self::Tsa,
        Self::Rekor,
        Self::Registry,
        Self::Tuf,
    ];

    /// The word for it, in file names and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Issuer => "issuer",
            Self::Fulcio => "fulcio",
            Self::Ctlog => "ctlog",
            Self::Tsa => "tsa",
            Self::Rekor => "rekor",
            Self::Registry => "registry",
            Self::Tuf => "tuf",
        }
    }

    /// Its settings file in the state folder.
    pub fn settings_file(self) -> String {
        format!("{0}/{0}.toml", self.as_str())
    }
}

impl Addresses {
    /// One service's base URL.
    pub fn of(&self, name: Name) -> &str {
        match name {
            Name::Issuer => &self.issuer,
            Name::Fulcio => &self.fulcio,
            Name::Ctlog => &self.ctlog,
            Name::Tsa => &self.tsa,
            Name::Rekor => &self.rekor,
            Name::Registry => &self.registry,
            Name::Tuf => &self.tuf,
        }
    }

    /// All on localhost, each at the port that `port` says.
    pub fn on_localhost(port: impl Fn(Name) -> u16) -> Self {
        let url = |name| format!("http://localhost:{}", port(name));
        Self {
            issuer: url(Name::Issuer),
            fulcio: url(Name::Fulcio),
            ctlog: url(Name::Ctlog),
            tsa: url(Name::Tsa),
            rekor: url(Name::Rekor),
            registry: url(Name::Registry),
            tuf: url(Name::Tuf),
        }
    }

    /// The port of one of them.
    pub fn port(&self, name: Name) -> Option<u16> {
        self.of(name).rsplit_once(':')?.1.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn one_process_at_a_time_and_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("state");
        let state = State::open(&folder).unwrap();
        assert!(matches!(State::open(&folder), Err(StateError::Locked(_))));
        assert_eq!(
            fs::metadata(&folder).unwrap().permissions().mode() & 0o777,
            0o700
        );
        drop(state);
        State::open(&folder).unwrap();
    }

    #[test]
    fn files_are_written_as_a_whole_and_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let state = State::open(folder.path()).unwrap();
        assert_eq!(state.read("tuf/root.json").unwrap(), None);
        state.write("tuf/root.json", b"{}").unwrap();
        state.write_if_changed("tuf/root.json", b"{}").unwrap();
        assert_eq!(state.read("tuf/root.json").unwrap().unwrap(), b"{}");
        assert_eq!(state.list("tuf").unwrap(), ["root.json"]);
        assert!(matches!(
            state.write("../x", b""),
            Err(StateError::Damaged { .. })
        ));
        assert!(matches!(
            Addresses::read(folder.path()),
            Err(StateError::Missing(_))
        ));
    }
}
