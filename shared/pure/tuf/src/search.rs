//! The search for a target (TUF specification 5.6.7): depth first, each role before those that it delegates to, in their order.

use std::collections::BTreeSet;

use jiff::Timestamp as Time;
use keys::{Digest, HashAlgorithm};
use thiserror::Error;

use crate::key::RoleKeys;
use crate::metadata::{MetadataError, Role, Version};
use crate::path::TargetPath;
use crate::received::{Child, Content, Mismatch, Targets};
use crate::update::{
    File, Keep, Mode, Place, Trusted, UpdateError, Want, at_most, check_expiry, keep, read_targets,
    told,
};

/// Delegated roles that one search asks: python-tuf's, go-tuf's and tuf-js's number.
const ROLES_MAX: usize = 32;
/// The largest target. A trusted root has 7 kB; a target is held in memory until its hash is known.
pub const TARGET_MAX: u64 = 32 << 20;

/// A search on its way.
#[derive(Debug)]
pub struct Search<'a> {
    trusted: &'a mut Trusted,
    mode: Mode,
    path: TargetPath,
    /// The next role is the last one here.
    ahead: Vec<Child>,
    visited: BTreeSet<String>,
    found: Option<Target>,
    /// The role that is being read, and where from.
    reading: Option<(Child, Place)>,
}

/// A target that the metadata vouches for. Only a [`Search`] makes one.
#[derive(Clone, Debug)]
pub struct Target {
    path: TargetPath,
    content: Content,
    in_repository: String,
    by: Voucher,
}

/// The role that lists a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Voucher {
    /// Its name; `targets` at the top.
    pub role: String,
    /// Its version.
    pub version: Version,
    /// When its word ends.
    pub expires: Time,
    /// How many of its keys have signed at least.
    pub threshold: usize,
    /// How many keys it has.
    pub keys: usize,
}

/// What stands in for a target.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TargetError {
    /// Larger than what is held in memory.
    #[error("{path} has {length} bytes; at most {TARGET_MAX} are read")]
    TooLarge {
        /// The target.
        path: TargetPath,
        /// What the metadata says.
        length: u64,
    },
    /// Not what the metadata vouches for.
    #[error("{path} is not what the metadata vouches for: {what}")]
    Content {
        /// The target.
        path: TargetPath,
        /// What differs.
        what: String,
    },
}

impl<'a> Search<'a> {
    pub(crate) fn new(trusted: &'a mut Trusted, path: TargetPath, mode: Mode) -> Self {
        let mut search = Self {
            mode,
            path,
            ahead: Vec::new(),
            visited: BTreeSet::new(),
            found: None,
            reading: None,
            trusted,
        };
        let top = search.trusted.targets.clone();
        let keys = search.trusted.top_signers();
        search.look_into(Role::Targets.name(), &keys, &top);
        search
    }

    /// What is needed next; nothing when the search is over.
    pub fn wants(&mut self) -> Result<Option<Want>, UpdateError> {
        loop {
            if self.found.is_some() {
                return Ok(None);
            }
            if let Some((child, place)) = &self.reading {
                return Ok(Some(self.want(child, *place)));
            }
            let Some(child) = self.ahead.pop() else {
                return Ok(None);
            };
            // A role that was asked before would say the same again: so a circle of delegations ends.
            if !self.visited.insert(child.name.clone()) {
                continue;
            }
            if self.visited.len() > ROLES_MAX {
                return Err(UpdateError::TooManyRoles(
                    ROLES_MAX,
                    self.path.as_str().to_owned(),
                ));
            }
            // What the snapshot does not list is not published, so nobody is asked for it.
            if self.trusted.snapshot.claim(&child.name).is_none() {
                if child.terminating {
                    self.ahead.clear();
                }
                continue;
            }
            // Read before in this update: it is checked again, since another role may delegate to it under other keys, and its time may be over by now.
            if let Some(bytes) = self.trusted.delegated.get(&child.name).cloned()
                && let Ok(targets) = self.read(&child, &bytes)
                && targets.head.expires > self.trusted.now
            {
                self.enter(&child, &targets);
                continue;
            }
            self.reading = Some((child, Place::Cache));
        }
    }

    /// Checks the file that [`wants`](Self::wants) named; `None` where there is none. What is to be kept comes back.
    pub fn feed(&mut self, found: Option<&[u8]>) -> Result<Option<Keep>, UpdateError> {
        let Some((child, place)) = self.reading.take() else {
            return Ok(None);
        };
        let file = self.file(&child);
        let online = self.mode == Mode::Online;
        let read = found.map(|bytes| (self.read(&child, bytes), bytes));
        let (targets, bytes) = match (place, read) {
            (Place::Cache, Some((Ok(targets), bytes)))
                if !online || targets.head.expires > self.trusted.now =>
            {
                (targets, bytes)
            }
            (Place::Cache, _) if online => {
                self.reading = Some((child, Place::Repository));
                return Ok(None);
            }
            (Place::Cache, Some((Err(error), _))) => {
                return Err(UpdateError::NotCached {
                    file,
                    why: told(&error),
                });
            }
            (Place::Cache, _) => {
                return Err(UpdateError::NotCached {
                    file,
                    why: "there is none".to_owned(),
                });
            }
            (Place::Repository, None) => return Err(UpdateError::Missing { file }),
            (Place::Repository, Some((read, bytes))) => (read?, bytes),
        };
        let (mode, now) = (self.mode, self.trusted.now);
        let expired = &mut self.trusted.expired;
        check_expiry(mode, now, expired, file.clone(), targets.head.expires)?;
        self.trusted
            .delegated
            .insert(child.name.clone(), bytes.to_vec());
        self.enter(&child, &targets);
        Ok((place == Place::Repository).then(|| keep(vec![file], bytes)))
    }

    /// The target, if some role that may speak for it lists it. Ask when [`wants`](Self::wants) needs nothing more.
    pub fn finish(self) -> Option<Target> {
        self.found
    }

    fn want(&self, child: &Child, place: Place) -> Want {
        let max_bytes = match place {
            Place::Cache => Role::Targets.size_max(),
            Place::Repository => at_most(self.trusted.snapshot.claim(&child.name), Role::Targets),
        };
        Want {
            file: self.file(child),
            place,
            max_bytes,
        }
    }

    fn file(&self, child: &Child) -> File {
        File::Targets {
            role: child.name.clone(),
            version: self.version(child),
        }
    }

    fn version(&self, child: &Child) -> Option<Version> {
        self.trusted
            .snapshot
            .claim(&child.name)
            .map(|claim| claim.version)
            .filter(|_| self.trusted.is_consistent())
    }

    fn read(&self, child: &Child, bytes: &[u8]) -> Result<Targets, UpdateError> {
        let file = self.file(child);
        let claim = self
            .trusted
            .snapshot
            .claim(&child.name)
            .ok_or(UpdateError::Missing { file: file.clone() })?;
        let by = child.keys.as_ref().map_err(|error| UpdateError::Metadata {
            file: file.clone(),
            source: error.clone().into(),
        })?;
        read_targets(&file, bytes, claim, by)
    }

    /// A terminating delegation is the last word: what the roles before it have left to ask is left out.
    fn enter(&mut self, child: &Child, targets: &Targets) {
        if child.terminating {
            self.ahead.clear();
        }
        self.look_into(&child.name, &child.keys, targets);
    }

    fn look_into(&mut self, role: &str, keys: &Result<RoleKeys, MetadataError>, targets: &Targets) {
        if let Some(content) = targets.target(&self.path) {
            let prefix = content.hashes.prefix();
            let prefix = self.trusted.is_consistent().then_some(prefix.as_str());
            self.found = Some(Target {
                in_repository: self.path.in_repository(prefix),
                path: self.path.clone(),
                content: content.clone(),
                by: Voucher {
                    role: role.to_owned(),
                    version: targets.head.version,
                    expires: targets.head.expires,
                    // It was verified, so there are keys.
                    threshold: keys.as_ref().map_or(0, RoleKeys::threshold),
                    keys: keys.as_ref().map_or(0, |keys| keys.keys().count()),
                },
            });
            return;
        }
        self.ahead
            .extend(targets.children(&self.path).into_iter().rev());
    }
}

impl Target {
    /// The path that was searched for.
    pub const fn path(&self) -> &TargetPath {
        &self.path
    }

    /// Who lists it.
    pub const fn by(&self) -> &Voucher {
        &self.by
    }

    /// The SHA-256 of the content, if the metadata has it.
    pub fn sha256(&self) -> Option<Digest> {
        self.content.hashes.of(HashAlgorithm::Sha256)
    }

    /// Bytes of the content.
    pub const fn length(&self) -> u64 {
        self.content.length
    }

    /// The path below the repository's targets, ready for a URL.
    pub fn in_repository(&self) -> &str {
        &self.in_repository
    }

    /// How many bytes to read, if they are not too many.
    pub fn max_bytes(&self) -> Result<usize, TargetError> {
        usize::try_from(self.content.length)
            .ok()
            .filter(|_| self.content.length <= TARGET_MAX)
            .ok_or_else(|| TargetError::TooLarge {
                path: self.path.clone(),
                length: self.content.length,
            })
    }

    /// Is it this? Length and every hash of a known algorithm.
    pub fn check(&self, bytes: &[u8]) -> Result<(), TargetError> {
        self.content.check(bytes).map_err(|mismatch| {
            let what = match mismatch {
                Mismatch::Length { expected, actual } => {
                    format!("{actual} bytes instead of {expected}")
                }
                Mismatch::Hash(algorithm) => format!("another {} hash", algorithm.name()),
            };
            TargetError::Content {
                path: self.path.clone(),
                what,
            }
        })
    }
}
