//! The client's update (TUF specification 5.3 to 5.6) in the form plan, fetch, compute: [`Update::wants`] says which file it needs and where from,
//! the caller gets it, [`Update::feed`] checks it.
//!
//! ```text
//! pinned root -> cached roots -> roots of the repository (each signed by the one before and by itself) -> is the last one expired?
//!   -> timestamp -> snapshot -> targets:  the cached file first, which says how far back nobody may go; then the repository's
//! finish -> Trusted -> search(path) -> delegated roles, only those on the way -> Target
//! ```
//!
//! | rule | why |
//! | --- | --- |
//! | the walk begins at the pinned root at each start | a root in the cache that somebody replaced is no anchor |
//! | a cached file is checked against the role that names its keys now | new keys clear what the old ones signed: recovery after a fast-forward attack (5.3.11) |
//! | a cached timestamp or snapshot that is expired still says which versions were seen | else waiting would undo the protection against rollback |
//! | a timestamp of the same version leaves the old one in place | the old one is what was acted upon (5.4.3.1) |
//! | one time for the whole update | a file cannot expire between two steps |
//!
//! What goes into the cache is handed out by [`Update::feed`] as bytes as they came, and only after they were checked.

use std::fmt;

use jiff::Timestamp as Time;
use keys::HashAlgorithm;
use thiserror::Error;

use crate::envelope::{Envelope, EnvelopeError};
use crate::key::RoleKeys;
use crate::metadata::{MetadataError, Role, Version};
use crate::path::{self, TargetPath};
use crate::received::{Claim, Mismatch, Root, Snapshot, Targets, Timestamp};
use crate::search::Search;

/// New roots that one update takes from a repository: python-tuf's and go-tuf's number. Public roots rotate twice a year.
const NEW_ROOTS_MAX: u32 = 256;
/// Roots that are taken from the cache: many updates' worth, and an end all the same.
const CACHED_ROOTS_MAX: u32 = 4096;

/// How an update gets on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The repository is asked.
    Online,
    /// Only the cache is: no [`Want`] names the repository.
    Offline {
        /// Take metadata whose time is over; [`Trusted::expired`] tells which. For air gaps, where a person answers for the age.
        allow_expired: bool,
    },
}

/// Where a file is to come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// What earlier updates kept. A file that is not there, or cannot be read, is no error.
    Cache,
    /// The repository, over whatever there is between.
    Repository,
}

/// A metadata file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum File {
    /// A root of a version, which the repository keeps for ever.
    Root(Version),
    /// The newest root in the cache, as other clients keep it.
    NewestRoot,
    /// The timestamp.
    Timestamp,
    /// The snapshot; with a version where the repository keeps several.
    Snapshot(Option<Version>),
    /// A targets role, at the top or delegated.
    Targets {
        /// Its name.
        role: String,
        /// As of the snapshot.
        version: Option<Version>,
    },
}

impl File {
    /// The path below the repository's metadata, ready for a URL.
    pub fn in_repository(&self) -> String {
        let numbered = |version: &Option<Version>, name: &str| {
            version.map_or_else(
                || format!("{name}.json"),
                |version| format!("{version}.{name}.json"),
            )
        };
        match self {
            Self::Root(version) => format!("{version}.root.json"),
            Self::NewestRoot => "root.json".to_owned(),
            Self::Timestamp => "timestamp.json".to_owned(),
            Self::Snapshot(version) => numbered(version, "snapshot"),
            Self::Targets { role, version } => numbered(version, &path::encoded(role)),
        }
    }

    /// The name in a cache, which keeps one version of each role but all roots (`/` only behind `root_history`).
    pub fn in_cache(&self) -> String {
        match self {
            Self::Root(version) => format!("root_history/{version}.root.json"),
            Self::NewestRoot => "root.json".to_owned(),
            Self::Timestamp => "timestamp.json".to_owned(),
            Self::Snapshot(_) => "snapshot.json".to_owned(),
            Self::Targets { role, .. } => format!("{}.json", path::encoded(role)),
        }
    }
}

impl fmt::Display for File {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.in_repository())
    }
}

/// A file that is needed next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Want {
    /// Which one.
    pub file: File,
    /// Where from.
    pub place: Place,
    /// A larger file is refused, best before it is read.
    pub max_bytes: usize,
}

impl Want {
    /// May the repository lack it? Only the root after the newest one: then there is none. Every other file that is missing is an error.
    pub const fn may_be_absent(&self) -> bool {
        matches!(
            (&self.file, self.place),
            (File::Root(_), Place::Repository) | (_, Place::Cache)
        )
    }
}

/// A checked file for the cache, to be written before the next step, as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keep {
    /// Which one. A root is kept twice: under its version, and as the newest.
    pub files: Vec<File>,
    /// The content.
    pub bytes: Vec<u8>,
}

/// Why the update ends without a result. What was kept before holds, and the next one begins there.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum UpdateError {
    /// The root to start from is not one.
    #[error("the pinned root does not hold")]
    Pinned(#[source] EnvelopeError),
    /// Not signed as it must be, or malformed.
    #[error("{file} does not hold")]
    Metadata {
        /// The file.
        file: File,
        /// What is wrong.
        #[source]
        source: EnvelopeError,
    },
    /// Another version than its name or its delegator says.
    #[error("{file} is of version {found}, expected {expected}")]
    Version {
        /// The file.
        file: File,
        /// As it was asked for.
        expected: Version,
        /// What it says.
        found: Version,
    },
    /// Not the bytes that the role above vouches for.
    #[error("{file} has {actual} bytes, where {expected} are promised")]
    Length {
        /// The file.
        file: File,
        /// As promised.
        expected: u64,
        /// What came.
        actual: u64,
    },
    /// Not the bytes that the role above vouches for.
    #[error("{file} has another {} hash than promised", algorithm.name())]
    Hash {
        /// The file.
        file: File,
        /// The hash that differs.
        algorithm: HashAlgorithm,
    },
    /// Older than what was seen before.
    #[error("{what} was seen in version {seen}, and the repository offers {offered}: a rollback")]
    Rollback {
        /// A role's file.
        what: String,
        /// Seen before.
        seen: Version,
        /// Offered now.
        offered: Version,
    },
    /// A role that the snapshot knew is gone from it.
    #[error("{what} was in the snapshot and is gone from the new one: a rollback")]
    Removed {
        /// The role's file.
        what: String,
    },
    /// Its time is over.
    #[error("{file} expired at {expires}; it is {now}")]
    Expired {
        /// The file.
        file: File,
        /// Its end.
        expires: Time,
        /// The time of this update.
        now: Time,
    },
    /// The repository does not have it.
    #[error("the repository does not have {file}")]
    Missing {
        /// The file.
        file: File,
    },
    /// Offline, and not in the cache as it is needed.
    #[error("{file} is not in the cache, or not as it is needed: {why}")]
    NotCached {
        /// The file.
        file: File,
        /// What is there instead.
        why: String,
    },
    /// The snapshot does not list the targets role.
    #[error("the snapshot does not list targets.json")]
    Unlisted,
    /// Too much that is new. What was taken is kept, so that another update goes on from there.
    #[error("more than {NEW_ROOTS_MAX} new roots in one update")]
    TooManyRoots,
    /// A delegation graph without end.
    #[error("more than {0} delegated roles on the way to {1}")]
    TooManyRoles(usize, String),
}

impl UpdateError {
    /// A stable word for programs.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Pinned(_) => "pinned-root",
            Self::Metadata { .. } => "metadata",
            Self::Version { .. } => "version",
            Self::Length { .. } | Self::Hash { .. } => "content",
            Self::Rollback { .. } | Self::Removed { .. } => "rollback",
            Self::Expired { .. } => "expired",
            Self::Missing { .. } => "missing",
            Self::NotCached { .. } => "not-cached",
            Self::Unlisted => "unlisted",
            Self::TooManyRoots | Self::TooManyRoles(..) => "too-many",
        }
    }

    fn metadata(file: &File, source: impl Into<EnvelopeError>) -> Self {
        Self::Metadata {
            file: file.clone(),
            source: source.into(),
        }
    }
}

/// An update on its way.
#[derive(Clone, Debug)]
pub struct Update {
    now: Time,
    mode: Mode,
    root: Root,
    cached_roots: u32,
    new_roots: u32,
    timestamp: Option<Timestamp>,
    /// Signed by the snapshot role as it is now, whatever its age: no role may be older than there.
    floor: Option<Snapshot>,
    snapshot: Option<Snapshot>,
    targets: Option<Targets>,
    expired: Vec<(File, Time)>,
    /// Why a cached file was not taken, for those who have no other.
    unfit: Option<String>,
    step: Step,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    CachedRoot,
    NewestCachedRoot,
    NewRoot,
    CachedTimestamp,
    NewTimestamp,
    CachedSnapshot,
    NewSnapshot,
    CachedTargets,
    NewTargets,
    Done,
}

/// The whole of a repository's top level, checked, at one time. Only [`Update::finish`] makes one.
#[derive(Clone, Debug)]
pub struct Trusted {
    pub(crate) now: Time,
    pub(crate) mode: Mode,
    root: Root,
    timestamp: Timestamp,
    pub(crate) snapshot: Snapshot,
    pub(crate) targets: Targets,
    pub(crate) expired: Vec<(File, Time)>,
    /// Delegated roles as they came. Each is checked against whoever delegates to it, each time.
    pub(crate) delegated: std::collections::BTreeMap<String, Vec<u8>>,
}

impl Update {
    /// Begins at a root that the caller has from a place that it trusts. Its age does not matter, its signatures do.
    pub fn start(pinned: &[u8], now: Time, mode: Mode) -> Result<Self, UpdateError> {
        let root = own_root(pinned).map_err(UpdateError::Pinned)?;
        Ok(Self {
            now,
            mode,
            root,
            cached_roots: 0,
            new_roots: 0,
            timestamp: None,
            floor: None,
            snapshot: None,
            targets: None,
            expired: Vec::new(),
            unfit: None,
            step: Step::CachedRoot,
        })
    }

    /// What is needed next; nothing when the update is through.
    pub fn wants(&self) -> Option<Want> {
        let want = |file, place, max_bytes| {
            Some(Want {
                file,
                place,
                max_bytes,
            })
        };
        let max = Role::size_max;
        match self.step {
            Step::CachedRoot => want(self.next_root(), Place::Cache, max(Role::Root)),
            Step::NewestCachedRoot => want(File::NewestRoot, Place::Cache, max(Role::Root)),
            Step::NewRoot => want(self.next_root(), Place::Repository, max(Role::Root)),
            Step::CachedTimestamp => want(File::Timestamp, Place::Cache, max(Role::Timestamp)),
            Step::NewTimestamp => want(File::Timestamp, Place::Repository, max(Role::Timestamp)),
            Step::CachedSnapshot => want(self.snapshot_file(), Place::Cache, max(Role::Snapshot)),
            Step::NewSnapshot => want(
                self.snapshot_file(),
                Place::Repository,
                at_most(
                    self.timestamp.as_ref().map(|known| &known.snapshot),
                    Role::Snapshot,
                ),
            ),
            Step::CachedTargets => want(self.targets_file(), Place::Cache, max(Role::Targets)),
            Step::NewTargets => want(
                self.targets_file(),
                Place::Repository,
                at_most(self.targets_claim(), Role::Targets),
            ),
            Step::Done => None,
        }
    }

    /// Checks the file that [`wants`](Self::wants) named; `None` where there is none. What is to be kept comes back.
    ///
    /// After an error the update is over.
    pub fn feed(&mut self, found: Option<&[u8]>) -> Result<Option<Keep>, UpdateError> {
        match (self.step, found) {
            (Step::CachedRoot, found) => {
                self.cached_root(found);
                Ok(None)
            }
            (Step::NewestCachedRoot, found) => self.newest_cached_root(found),
            (Step::NewRoot, Some(bytes)) => self.new_root(bytes).map(Some),
            (Step::NewRoot, None) => self.roots_done().map(|()| None),
            (Step::CachedTimestamp, found) => self.cached_timestamp(found).map(|()| None),
            (Step::NewTimestamp, Some(bytes)) => self.new_timestamp(bytes),
            (Step::CachedSnapshot, found) => self.cached_snapshot(found).map(|()| None),
            (Step::NewSnapshot, Some(bytes)) => self.new_snapshot(bytes).map(Some),
            (Step::CachedTargets, found) => self.cached_targets(found).map(|()| None),
            (Step::NewTargets, Some(bytes)) => self.new_targets(bytes).map(Some),
            (Step::NewTimestamp | Step::NewSnapshot | Step::NewTargets, None) => {
                Err(UpdateError::Missing {
                    file: self.wants().map_or(File::Timestamp, |want| want.file),
                })
            }
            (Step::Done, _) => Ok(None),
        }
    }

    /// The result, if the update is through.
    pub fn finish(self) -> Option<Trusted> {
        if self.step != Step::Done {
            return None;
        }
        Some(Trusted {
            now: self.now,
            mode: self.mode,
            root: self.root,
            timestamp: self.timestamp?,
            snapshot: self.snapshot?,
            targets: self.targets?,
            expired: self.expired,
            delegated: std::collections::BTreeMap::new(),
        })
    }

    const fn is_online(&self) -> bool {
        matches!(self.mode, Mode::Online)
    }

    // --- root (5.3) --------------------------------------------------------------------------------------------------

    fn next_root(&self) -> File {
        let version = self.root.head.version;
        // Behind the last version there is none, and nothing can be signed for it either.
        File::Root(version.next().unwrap_or(version))
    }

    fn cached_root(&mut self, found: Option<&[u8]>) {
        // One that does not follow is as good as none: the repository has the right one.
        let next = found.and_then(|bytes| self.root_after(bytes, &self.next_root()).ok());
        match next {
            Some(next) if self.cached_roots < CACHED_ROOTS_MAX => {
                self.cached_roots += 1;
                self.root = next;
            }
            _ => self.step = Step::NewestCachedRoot,
        }
    }

    /// Other clients keep one root only. If it is the one that follows, it saves a request, and is what there is offline.
    fn newest_cached_root(&mut self, found: Option<&[u8]>) -> Result<Option<Keep>, UpdateError> {
        let file = self.next_root();
        if let Some(bytes) = found
            && let Ok(next) = self.root_after(bytes, &file)
        {
            self.root = next;
            self.step = Step::CachedRoot;
            return Ok(Some(keep(vec![file], bytes)));
        }
        if self.is_online() {
            self.step = Step::NewRoot;
            Ok(None)
        } else {
            self.roots_done().map(|()| None)
        }
    }

    fn new_root(&mut self, bytes: &[u8]) -> Result<Keep, UpdateError> {
        if self.new_roots >= NEW_ROOTS_MAX {
            return Err(UpdateError::TooManyRoots);
        }
        let file = self.next_root();
        self.root = self.root_after(bytes, &file)?;
        self.new_roots += 1;
        Ok(keep(vec![file, File::NewestRoot], bytes))
    }

    /// Signed by the root before it and by itself, and of the version that follows.
    fn root_after(&self, bytes: &[u8], file: &File) -> Result<Root, UpdateError> {
        let wrong = |error: EnvelopeError| UpdateError::metadata(file, error);
        let envelope = Envelope::parse(bytes, Role::Root.size_max()).map_err(wrong)?;
        let by_old = self
            .root
            .signers(Role::Root)
            .map_err(|error| wrong(error.into()))?;
        let mut check = envelope.check();
        let next = check
            .verified(&by_old)
            .and_then(|value| Ok(Root::read_after(&self.root, value)?))
            .map_err(wrong)?;
        let by_itself = next
            .signers(Role::Root)
            .map_err(|error| wrong(error.into()))?;
        check.verified(&by_itself).map_err(wrong)?;
        let expected = self
            .root
            .head
            .version
            .next()
            .map_err(|error| wrong(error.into()))?;
        expect_version(file, expected, next.head.version)?;
        Ok(next)
    }

    fn roots_done(&mut self) -> Result<(), UpdateError> {
        self.not_expired(File::Root(self.root.head.version), self.root.head.expires)?;
        self.step = Step::CachedTimestamp;
        Ok(())
    }

    // --- timestamp (5.4) ---------------------------------------------------------------------------------------------

    fn cached_timestamp(&mut self, found: Option<&[u8]>) -> Result<(), UpdateError> {
        match found.map(|bytes| self.read_timestamp(bytes)) {
            Some(Ok(known)) => self.timestamp = Some(known),
            Some(Err(error)) => self.unfit(&error),
            None => {}
        }
        if self.is_online() {
            self.step = Step::NewTimestamp;
            return Ok(());
        }
        let Some(known) = &self.timestamp else {
            return Err(self.not_cached(File::Timestamp));
        };
        self.not_expired(File::Timestamp, known.head.expires)?;
        self.step = Step::CachedSnapshot;
        Ok(())
    }

    fn new_timestamp(&mut self, bytes: &[u8]) -> Result<Option<Keep>, UpdateError> {
        let new = self.read_timestamp(bytes)?;
        let known = self.timestamp.as_ref();
        if let Some(known) = known {
            not_before("timestamp.json", Some(known.head.version), new.head.version)?;
        }
        let same = known.filter(|known| known.head.version == new.head.version);
        if let Some(known) = same {
            self.not_expired(File::Timestamp, known.head.expires)?;
            self.step = Step::CachedSnapshot;
            return Ok(None);
        }
        not_before(
            "snapshot.json",
            known.map(|known| known.snapshot.version),
            new.snapshot.version,
        )?;
        self.not_expired(File::Timestamp, new.head.expires)?;
        self.timestamp = Some(new);
        self.step = Step::CachedSnapshot;
        Ok(Some(keep(vec![File::Timestamp], bytes)))
    }

    fn read_timestamp(&self, bytes: &[u8]) -> Result<Timestamp, UpdateError> {
        let file = File::Timestamp;
        let value = self.open(&file, bytes, Role::Timestamp)?;
        Timestamp::read(value.unverified()).map_err(|error| UpdateError::metadata(&file, error))
    }

    // --- snapshot (5.5) ----------------------------------------------------------------------------------------------

    fn snapshot_file(&self) -> File {
        let version = self
            .timestamp
            .as_ref()
            .map(|known| known.snapshot.version)
            .filter(|_| self.root.consistent_snapshot);
        File::Snapshot(version)
    }

    fn cached_snapshot(&mut self, found: Option<&[u8]>) -> Result<(), UpdateError> {
        let file = self.snapshot_file();
        match found.map(|bytes| (self.read_snapshot(bytes), bytes)) {
            Some((Ok(known), bytes)) => {
                let current = self.current_snapshot(&known, bytes);
                self.floor = Some(known.clone());
                match current {
                    Ok(()) if self.usable(known.head.expires) => {
                        self.not_expired(file, known.head.expires)?;
                        self.snapshot = Some(known);
                        self.step = Step::CachedTargets;
                        return Ok(());
                    }
                    Ok(()) => self.unfit = Some(format!("it expired at {}", known.head.expires)),
                    Err(error) => self.unfit(&error),
                }
            }
            Some((Err(error), _)) => self.unfit(&error),
            None => {}
        }
        if self.is_online() {
            self.step = Step::NewSnapshot;
            Ok(())
        } else {
            Err(self.not_cached(file))
        }
    }

    fn new_snapshot(&mut self, bytes: &[u8]) -> Result<Keep, UpdateError> {
        let file = self.snapshot_file();
        // Length and hash first: what nobody vouches for is not parsed.
        if let Some(timestamp) = &self.timestamp {
            promised(&file, timestamp.snapshot.check(bytes))?;
        }
        let new = self.read_snapshot(bytes)?;
        self.current_snapshot(&new, bytes)?;
        if let Some(floor) = &self.floor {
            for (name, seen) in floor.files() {
                let offered = new
                    .version_of_file(name)
                    .ok_or_else(|| UpdateError::Removed {
                        what: name.to_owned(),
                    })?;
                not_before(name, Some(seen), offered)?;
            }
        }
        self.not_expired(file.clone(), new.head.expires)?;
        self.snapshot = Some(new);
        self.step = Step::CachedTargets;
        Ok(keep(vec![file], bytes))
    }

    fn read_snapshot(&self, bytes: &[u8]) -> Result<Snapshot, UpdateError> {
        let file = self.snapshot_file();
        let value = self.open(&file, bytes, Role::Snapshot)?;
        Snapshot::read(value.unverified()).map_err(|error| UpdateError::metadata(&file, error))
    }

    /// Is it the one that the timestamp names?
    fn current_snapshot(&self, snapshot: &Snapshot, bytes: &[u8]) -> Result<(), UpdateError> {
        let file = self.snapshot_file();
        let claim = &self
            .timestamp
            .as_ref()
            .ok_or(UpdateError::Missing {
                file: File::Timestamp,
            })?
            .snapshot;
        expect_version(&file, claim.version, snapshot.head.version)?;
        promised(&file, claim.check(bytes))
    }

    // --- targets (5.6) -----------------------------------------------------------------------------------------------

    fn targets_claim(&self) -> Option<&Claim> {
        self.snapshot.as_ref()?.claim(Role::Targets.name())
    }

    fn targets_file(&self) -> File {
        File::Targets {
            role: Role::Targets.name().to_owned(),
            version: self
                .targets_claim()
                .map(|claim| claim.version)
                .filter(|_| self.root.consistent_snapshot),
        }
    }

    fn cached_targets(&mut self, found: Option<&[u8]>) -> Result<(), UpdateError> {
        let file = self.targets_file();
        match found.map(|bytes| self.read_targets(bytes)) {
            Some(Ok(known)) if self.usable(known.head.expires) => {
                self.not_expired(file, known.head.expires)?;
                self.targets = Some(known);
                self.step = Step::Done;
                return Ok(());
            }
            Some(Ok(known)) => self.unfit = Some(format!("it expired at {}", known.head.expires)),
            Some(Err(error)) => self.unfit(&error),
            None => {}
        }
        if self.is_online() {
            self.step = Step::NewTargets;
            Ok(())
        } else {
            Err(self.not_cached(file))
        }
    }

    fn new_targets(&mut self, bytes: &[u8]) -> Result<Keep, UpdateError> {
        let file = self.targets_file();
        let new = self.read_targets(bytes)?;
        self.not_expired(file.clone(), new.head.expires)?;
        self.targets = Some(new);
        self.step = Step::Done;
        Ok(keep(vec![file], bytes))
    }

    fn read_targets(&self, bytes: &[u8]) -> Result<Targets, UpdateError> {
        let claim = self.targets_claim().ok_or(UpdateError::Unlisted)?;
        let file = self.targets_file();
        let by = self
            .root
            .signers(Role::Targets)
            .map_err(|error| UpdateError::metadata(&file, error))?;
        read_targets(&file, bytes, claim, &by)
    }

    // --- what the steps share ----------------------------------------------------------------------------------------

    fn open(&self, file: &File, bytes: &[u8], role: Role) -> Result<Envelope, UpdateError> {
        let wrong = |error: EnvelopeError| UpdateError::metadata(file, error);
        let by = self
            .root
            .signers(role)
            .map_err(|error: MetadataError| wrong(error.into()))?;
        let envelope = Envelope::parse(bytes, role.size_max()).map_err(wrong)?;
        envelope.verified(&by).map_err(wrong)?;
        Ok(envelope)
    }

    /// Online an expired file in the cache is one to fetch again; offline it is an error that names the date.
    fn usable(&self, expires: Time) -> bool {
        !self.is_online() || expires > self.now
    }

    fn not_expired(&mut self, file: File, expires: Time) -> Result<(), UpdateError> {
        check_expiry(self.mode, self.now, &mut self.expired, file, expires)
    }

    fn unfit(&mut self, error: &UpdateError) {
        self.unfit = Some(told(error));
    }

    fn not_cached(&self, file: File) -> UpdateError {
        UpdateError::NotCached {
            file,
            why: self
                .unfit
                .clone()
                .unwrap_or_else(|| "there is none".to_owned()),
        }
    }
}

impl Trusted {
    /// Looks for a target, beginning at the top. Roles on the way that are not in the cache are asked for as `mode` says, which may be another one
    /// than the update's: a cache that is young enough for the top need not have them.
    pub fn search(&mut self, path: TargetPath, mode: Mode) -> Search<'_> {
        Search::new(self, path, mode)
    }

    /// How the update was made.
    pub const fn mode(&self) -> Mode {
        self.mode
    }

    /// The time that everything here is judged at: that of the update, or a later one.
    pub const fn now(&self) -> Time {
        self.now
    }

    /// Judges what was found out again at a later time, which searches then go by too: a process may live for longer than metadata does. An
    /// earlier time does not count: what was over stays over.
    pub fn judge_at(&mut self, now: Time, mode: Mode) -> Result<(), UpdateError> {
        self.now = self.now.max(now);
        let numbered = |version: Version| self.root.consistent_snapshot.then_some(version);
        let roles = [
            (File::Root(self.root.head.version), self.root.head),
            (File::Timestamp, self.timestamp.head),
            (
                File::Snapshot(numbered(self.snapshot.head.version)),
                self.snapshot.head,
            ),
            (
                File::Targets {
                    role: Role::Targets.name().to_owned(),
                    version: numbered(self.targets.head.version),
                },
                self.targets.head,
            ),
        ];
        for (file, head) in roles {
            check_expiry(mode, self.now, &mut self.expired, file, head.expires)?;
        }
        Ok(())
    }

    pub(crate) fn top_signers(&self) -> Result<RoleKeys, MetadataError> {
        self.root.signers(Role::Targets)
    }

    /// The version of the root.
    pub const fn root_version(&self) -> Version {
        self.root.head.version
    }

    /// Version and end of each of the four.
    pub fn roles(&self) -> [(Role, Version, Time); 4] {
        [
            (Role::Root, self.root.head),
            (Role::Timestamp, self.timestamp.head),
            (Role::Snapshot, self.snapshot.head),
            (Role::Targets, self.targets.head),
        ]
        .map(|(role, head)| (role, head.version, head.expires))
    }

    /// When the first of them ends.
    pub fn expires(&self) -> Time {
        let [(_, _, first), rest @ ..] = self.roles();
        rest.iter()
            .fold(first, |end, (_, _, other)| end.min(*other))
    }

    /// What was taken although its time is over, which only [`Mode::Offline`] with `allow_expired` does.
    pub fn expired(&self) -> &[(File, Time)] {
        &self.expired
    }

    /// The targets that the role at the top lists itself.
    pub fn targets(&self) -> impl Iterator<Item = &str> {
        self.targets.names()
    }

    pub(crate) const fn is_consistent(&self) -> bool {
        self.root.consistent_snapshot
    }
}

/// The version of a root and when it ends, if it is signed by its own keys: for those who want to look at one before they pin it.
pub fn describe_root(bytes: &[u8]) -> Result<(Version, Time), EnvelopeError> {
    let root = own_root(bytes)?;
    Ok((root.head.version, root.head.expires))
}

/// A root that its own keys sign.
fn own_root(bytes: &[u8]) -> Result<Root, EnvelopeError> {
    let envelope = Envelope::parse(bytes, Role::Root.size_max())?;
    let root = Root::read(envelope.unverified())?;
    envelope.verified(&root.signers(Role::Root)?)?;
    Ok(root)
}

/// Reads a targets role: as the snapshot promises it, and signed by those whom its delegator names.
pub(crate) fn read_targets(
    file: &File,
    bytes: &[u8],
    claim: &Claim,
    by: &RoleKeys,
) -> Result<Targets, UpdateError> {
    promised(file, claim.check(bytes))?;
    let wrong = |error: EnvelopeError| UpdateError::metadata(file, error);
    let targets = Envelope::parse(bytes, Role::Targets.size_max())
        .and_then(|envelope| Ok(Targets::read(envelope.verified(by)?)?))
        .map_err(wrong)?;
    expect_version(file, claim.version, targets.head.version)?;
    Ok(targets)
}

/// TUF specification 5.3.10 and its like: a file is good before its end, not at it.
pub(crate) fn check_expiry(
    mode: Mode,
    now: Time,
    expired: &mut Vec<(File, Time)>,
    file: File,
    expires: Time,
) -> Result<(), UpdateError> {
    if expires > now {
        return Ok(());
    }
    if mode
        == (Mode::Offline {
            allow_expired: true,
        })
    {
        if !expired.contains(&(file.clone(), expires)) {
            expired.push((file, expires));
        }
        return Ok(());
    }
    Err(UpdateError::Expired { file, expires, now })
}

pub(crate) fn at_most(claim: Option<&Claim>, role: Role) -> usize {
    let promised = claim
        .and_then(|claim| claim.length)
        .and_then(|length| usize::try_from(length).ok());
    promised.map_or(role.size_max(), |length| length.min(role.size_max()))
}

pub(crate) fn keep(files: Vec<File>, bytes: &[u8]) -> Keep {
    Keep {
        files,
        bytes: bytes.to_vec(),
    }
}

/// An error with its causes, for a sentence.
pub(crate) fn told(error: &UpdateError) -> String {
    use std::error::Error as _;
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text.push_str(": ");
        text.push_str(&next.to_string());
        cause = next.source();
    }
    text
}

fn expect_version(file: &File, expected: Version, found: Version) -> Result<(), UpdateError> {
    if expected == found {
        return Ok(());
    }
    Err(UpdateError::Version {
        file: file.clone(),
        expected,
        found,
    })
}

fn not_before(what: &str, seen: Option<Version>, offered: Version) -> Result<(), UpdateError> {
    match seen {
        Some(seen) if offered < seen => Err(UpdateError::Rollback {
            what: what.to_owned(),
            seen,
            offered,
        }),
        _ => Ok(()),
    }
}

pub(crate) fn promised(file: &File, checked: Result<(), Mismatch>) -> Result<(), UpdateError> {
    checked.map_err(|mismatch| match mismatch {
        Mismatch::Length { expected, actual } => UpdateError::Length {
            file: file.clone(),
            expected,
            actual,
        },
        Mismatch::Hash(algorithm) => UpdateError::Hash {
            file: file.clone(),
            algorithm,
        },
    })
}
