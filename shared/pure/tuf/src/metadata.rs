//! The four roles: what each says, as values and as JSON (TUF specification, section 4).

use std::collections::BTreeMap;
use std::fmt;
use std::sync::OnceLock;

use jiff::Timestamp as Time;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use thiserror::Error;

use crate::canonical::INTEGER_MAX;
use crate::key::{Key, KeyId, RoleKeys};

/// tough reads exactly this one, the others any 1.x.
const SPEC_VERSION: &str = "1.0.0";

/// Longest name of a target: within a file name even behind a hash and a dot.
const TARGET_NAME_MAX: usize = 180;

/// The value is not the metadata that it should be.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum MetadataError {
    /// Another role.
    #[error("this is {found} metadata, expected {expected}")]
    Type {
        /// The role that was asked for.
        expected: Role,
        /// What `_type` says.
        found: String,
    },
    /// A field is missing or has another shape.
    #[error("malformed {role} metadata: {message}")]
    Malformed {
        /// The role.
        role: Role,
        /// What is wrong.
        message: String,
    },
    /// A version that is zero or beyond 2^53-1.
    #[error("{0} is not a version")]
    Version(u64),
    /// A name of a target that would not be one plain file.
    #[error(
        "'{0}' is not the name of a target: one file name of letters, digits, '.', '-' and '_'"
    )]
    TargetName(String),
}

/// The top-level roles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Names the keys of all roles, itself included.
    Root,
    /// Lists the targets.
    Targets,
    /// Which version of targets is current.
    Snapshot,
    /// Which version of snapshot is current, and that it still is.
    Timestamp,
}

impl Role {
    /// The name in metadata and file names.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Targets => "targets",
            Self::Snapshot => "snapshot",
            Self::Timestamp => "timestamp",
        }
    }

    /// The largest file that python-tuf, go-tuf and sigstore-tuf read, in bytes.
    pub const fn size_max(self) -> usize {
        match self {
            Self::Root => 512_000,
            Self::Targets => 5_000_000,
            Self::Snapshot => 2_000_000,
            Self::Timestamp => 16_384,
        }
    }

    /// The file of this role and version in a repository with consistent snapshots.
    pub fn file_name(self, version: Version) -> String {
        match self {
            Self::Timestamp => "timestamp.json".to_owned(),
            _ => format!("{version}.{self}.json"),
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A version: 1 and up, and no more than JavaScript can count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(u64);

impl Version {
    /// The first.
    pub const ONE: Self = Self(1);

    /// A version from a number.
    pub const fn new(number: u64) -> Result<Self, MetadataError> {
        if number == 0 || number > INTEGER_MAX {
            Err(MetadataError::Version(number))
        } else {
            Ok(Self(number))
        }
    }

    /// The next one.
    pub const fn next(self) -> Result<Self, MetadataError> {
        Self::new(self.0 + 1)
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The name of a target in our repositories: one plain file name. (Names with `/` exist elsewhere, for delegations.)
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TargetName(String);

impl TargetName {
    /// Checks a name.
    pub fn new(name: &str) -> Result<Self, MetadataError> {
        let plain = name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte));
        if plain && (1..=TARGET_NAME_MAX).contains(&name.len()) && !name.starts_with('.') {
            Ok(Self(name.to_owned()))
        } else {
            Err(MetadataError::TargetName(
                name.chars().take(TARGET_NAME_MAX).collect(),
            ))
        }
    }

    /// The name as clients ask for it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Length and hash of a target's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetFile {
    length: u64,
    sha256: [u8; 32],
}

impl TargetFile {
    /// Measures `content`.
    pub fn of(content: &[u8]) -> Self {
        Self {
            length: u64::try_from(content.len()).unwrap_or(u64::MAX),
            sha256: keys::sha256(content),
        }
    }

    /// Length and hash that metadata names.
    pub const fn from_parts(length: u64, sha256: [u8; 32]) -> Self {
        Self { length, sha256 }
    }

    /// Bytes of the content.
    pub const fn length(&self) -> u64 {
        self.length
    }

    /// SHA-256 of the content.
    pub const fn sha256(&self) -> &[u8; 32] {
        &self.sha256
    }

    /// The file below `targets/` that holds the target called `name`.
    pub fn file_name(&self, name: &TargetName) -> String {
        format!("{}.{}", hex::encode(self.sha256), name.0)
    }
}

/// Version, length and hash of a metadata file that another one vouches for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileMeta {
    /// The version.
    pub version: Version,
    /// Length and hash of exactly those bytes.
    pub file: TargetFile,
}

/// Names the keys of every role. Consistent snapshots are always on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root {
    /// Counts by one.
    pub version: Version,
    /// To the second.
    pub expires: Time,
    /// Who signs root metadata.
    pub root: RoleKeys,
    /// Who signs targets metadata.
    pub targets: RoleKeys,
    /// Who signs snapshots.
    pub snapshot: RoleKeys,
    /// Who signs timestamps.
    pub timestamp: RoleKeys,
}

/// The files that clients may fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Targets {
    /// Grows.
    pub version: Version,
    /// To the second.
    pub expires: Time,
    /// What there is.
    pub targets: BTreeMap<TargetName, TargetFile>,
}

/// The current version of `targets.json`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Grows.
    pub version: Version,
    /// To the second.
    pub expires: Time,
    /// `targets.json`.
    pub targets: FileMeta,
}

/// The current snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timestamp {
    /// Grows.
    pub version: Version,
    /// To the second.
    pub expires: Time,
    /// `snapshot.json`.
    pub snapshot: FileMeta,
}

/// What the four roles have in common.
pub trait Metadata: Sized {
    /// Which role this is.
    const ROLE: Role;

    /// The version.
    fn version(&self) -> Version;

    /// The last moment at which clients take it.
    fn expires(&self) -> Time;

    /// The value that is signed.
    fn to_json(&self) -> Value;

    /// Reads the signed value; unknown fields are left aside.
    fn from_json(value: &Value) -> Result<Self, MetadataError>;
}

impl Metadata for Root {
    const ROLE: Role = Role::Root;

    fn version(&self) -> Version {
        self.version
    }

    fn expires(&self) -> Time {
        self.expires
    }

    fn to_json(&self) -> Value {
        let roles = [
            (Role::Root, &self.root),
            (Role::Targets, &self.targets),
            (Role::Snapshot, &self.snapshot),
            (Role::Timestamp, &self.timestamp),
        ];
        let keys: BTreeMap<&str, Value> = roles
            .iter()
            .flat_map(|(_, role)| role.keys())
            .map(|(id, key)| (id.as_str(), key.to_json()))
            .collect();
        let signers: BTreeMap<&str, Value> = roles
            .iter()
            .map(|(role, signers)| {
                let ids: Vec<&str> = signers.keys().map(|(id, _)| id.as_str()).collect();
                (
                    role.name(),
                    json!({ "keyids": ids, "threshold": signers.threshold() }),
                )
            })
            .collect();
        json!({
            "_type": Self::ROLE.name(),
            "spec_version": SPEC_VERSION,
            "consistent_snapshot": true,
            "version": self.version.0,
            "expires": date(self.expires),
            "keys": keys,
            "roles": signers,
        })
    }

    fn from_json(value: &Value) -> Result<Self, MetadataError> {
        let (head, wire): (Head, WireRoot) = read(Self::ROLE, value)?;
        let malformed = |message: String| MetadataError::Malformed {
            role: Self::ROLE,
            message,
        };
        if !wire.consistent_snapshot {
            return Err(malformed("consistent snapshots are off".to_owned()));
        }
        let role = |role: Role| wire.signers.of(role);
        Ok(Self {
            version: head.version()?,
            expires: head.expires,
            root: role(Role::Root)?,
            targets: role(Role::Targets)?,
            snapshot: role(Role::Snapshot)?,
            timestamp: role(Role::Timestamp)?,
        })
    }
}

impl Metadata for Targets {
    const ROLE: Role = Role::Targets;

    fn version(&self) -> Version {
        self.version
    }

    fn expires(&self) -> Time {
        self.expires
    }

    fn to_json(&self) -> Value {
        let targets: BTreeMap<&str, Value> = self
            .targets
            .iter()
            .map(|(name, file)| (name.as_str(), json!({ "length": file.length, "hashes": { "sha256": hex::encode(file.sha256) } })))
            .collect();
        json!({
            "_type": Self::ROLE.name(),
            "spec_version": SPEC_VERSION,
            "version": self.version.0,
            "expires": date(self.expires),
            "targets": targets,
        })
    }

    fn from_json(value: &Value) -> Result<Self, MetadataError> {
        let (head, wire): (Head, WireTargets) = read(Self::ROLE, value)?;
        let targets = wire
            .targets
            .into_iter()
            .map(|(name, file)| Ok((TargetName::new(&name)?, file.checked(Self::ROLE)?)))
            .collect::<Result<_, MetadataError>>()?;
        Ok(Self {
            version: head.version()?,
            expires: head.expires,
            targets,
        })
    }
}

impl Metadata for Snapshot {
    const ROLE: Role = Role::Snapshot;

    fn version(&self) -> Version {
        self.version
    }

    fn expires(&self) -> Time {
        self.expires
    }

    fn to_json(&self) -> Value {
        pointer(
            Self::ROLE,
            self.version,
            self.expires,
            Role::Targets,
            &self.targets,
        )
    }

    fn from_json(value: &Value) -> Result<Self, MetadataError> {
        let (head, wire): (Head, WireMeta) = read(Self::ROLE, value)?;
        Ok(Self {
            version: head.version()?,
            expires: head.expires,
            targets: wire.only(Self::ROLE, Role::Targets)?,
        })
    }
}

impl Metadata for Timestamp {
    const ROLE: Role = Role::Timestamp;

    fn version(&self) -> Version {
        self.version
    }

    fn expires(&self) -> Time {
        self.expires
    }

    fn to_json(&self) -> Value {
        pointer(
            Self::ROLE,
            self.version,
            self.expires,
            Role::Snapshot,
            &self.snapshot,
        )
    }

    fn from_json(value: &Value) -> Result<Self, MetadataError> {
        let (head, wire): (Head, WireMeta) = read(Self::ROLE, value)?;
        Ok(Self {
            version: head.version()?,
            expires: head.expires,
            snapshot: wire.only(Self::ROLE, Role::Snapshot)?,
        })
    }
}

fn pointer(role: Role, version: Version, expires: Time, to: Role, meta: &FileMeta) -> Value {
    json!({
        "_type": role.name(),
        "spec_version": SPEC_VERSION,
        "version": version.0,
        "expires": date(expires),
        "meta": {
            format!("{to}.json"): {
                "version": meta.version.0,
                "length": meta.file.length,
                "hashes": { "sha256": hex::encode(meta.file.sha256) },
            },
        },
    })
}

/// TUF specification 4.2.1: `YYYY-MM-DDTHH:MM:SSZ`, no fraction.
fn date(time: Time) -> String {
    time.to_zoned(TimeZone::UTC)
        .strftime("%Y-%m-%dT%H:%M:%SZ")
        .to_string()
}

#[derive(Deserialize)]
struct Head {
    version: u64,
    expires: Time,
}

impl Head {
    const fn version(&self) -> Result<Version, MetadataError> {
        Version::new(self.version)
    }
}

#[derive(Deserialize)]
struct WireRoot {
    consistent_snapshot: bool,
    #[serde(flatten)]
    signers: Signers,
}

/// Who signs what, as the signed part of a root says: of any root, also of one that is no repository's of ours.
#[derive(Clone, Debug, Deserialize)]
pub struct Signers {
    keys: BTreeMap<KeyId, Listed>,
    roles: BTreeMap<String, WireRole>,
}

/// A key as it is listed, and read once when it is needed: that a point is on its curve takes as long to see as a part of a signature.
#[derive(Clone, Debug, Deserialize)]
#[serde(transparent)]
struct Listed {
    json: Value,
    /// None for one of an unknown type, which is never counted.
    #[serde(skip)]
    read: OnceLock<Option<Key>>,
}

impl Listed {
    fn key(&self) -> Option<&Key> {
        let read = || Key::from_json(&self.json).ok();
        self.read.get_or_init(read).as_ref()
    }
}

impl Signers {
    /// Reads the signed part of a root.
    pub fn from_json(root: &Value) -> Result<Self, MetadataError> {
        let (_, signers) = read(Role::Root, root)?;
        Ok(signers)
    }

    /// Who signs this role.
    pub fn of(&self, role: Role) -> Result<RoleKeys, MetadataError> {
        let malformed = |message: String| MetadataError::Malformed {
            role: Role::Root,
            message,
        };
        let signers = self
            .roles
            .get(role.name())
            .ok_or_else(|| malformed(format!("no role {role}")))?;
        // A key of an unknown type is kept out here and so never counted.
        let keys = signers
            .keyids
            .iter()
            .filter_map(|id| Some((id.clone(), self.keys.get(id)?.key()?.clone())))
            .collect();
        RoleKeys::named(keys, signers.threshold)
            .map_err(|error| malformed(format!("{role}: {error}")))
    }

    /// Takes over what is read already of keys that stand in `other` in the same words.
    pub(crate) fn share(&mut self, other: &Self) {
        for (id, listed) in &mut self.keys {
            if let Some(same) = other.keys.get(id)
                && same.json == listed.json
            {
                listed.read.clone_from(&same.read);
            }
        }
    }
}

#[derive(Clone, Debug, Deserialize)]
struct WireRole {
    keyids: Vec<KeyId>,
    threshold: usize,
}

#[derive(Deserialize)]
struct WireTargets {
    targets: BTreeMap<String, WireFile>,
}

#[derive(Deserialize)]
struct WireMeta {
    meta: BTreeMap<String, WireFile>,
}

#[derive(Deserialize)]
struct WireFile {
    #[serde(default)]
    version: u64,
    length: u64,
    hashes: WireHashes,
}

#[derive(Serialize, Deserialize)]
struct WireHashes {
    sha256: String,
}

impl WireFile {
    fn checked(&self, role: Role) -> Result<TargetFile, MetadataError> {
        let mut sha256 = [0; 32];
        hex::decode_to_slice(&self.hashes.sha256, &mut sha256).map_err(|_| {
            MetadataError::Malformed {
                role,
                message: "a hash is not 64 hex digits".to_owned(),
            }
        })?;
        Ok(TargetFile {
            length: self.length,
            sha256,
        })
    }
}

impl WireMeta {
    fn only(&self, role: Role, of: Role) -> Result<FileMeta, MetadataError> {
        let name = format!("{of}.json");
        let file = self
            .meta
            .get(&name)
            .ok_or_else(|| MetadataError::Malformed {
                role,
                message: format!("{name} is not listed"),
            })?;
        Ok(FileMeta {
            version: Version::new(file.version)?,
            file: file.checked(role)?,
        })
    }
}

fn read<'a, T: Deserialize<'a>>(role: Role, value: &'a Value) -> Result<(Head, T), MetadataError> {
    let found = value
        .get("_type")
        .and_then(Value::as_str)
        .unwrap_or("untyped");
    if found != role.name() {
        return Err(MetadataError::Type {
            expected: role,
            found: found.chars().take(50).collect(),
        });
    }
    let malformed = |error: serde_json::Error| MetadataError::Malformed {
        role,
        message: error.to_string(),
    };
    Ok((
        Head::deserialize(value).map_err(malformed)?,
        T::deserialize(value).map_err(malformed)?,
    ))
}
