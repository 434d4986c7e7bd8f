//! Metadata as a client reads it: what the update needs and no more, so that repositories of others may say things that we would not write.
//!
//! Unknown fields, hashes of other algorithms beside a known one, keys of unknown types and entries for files that are gone are left aside; the
//! signature is over the value as it came ([`Envelope`](crate::Envelope)).

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp as Time;
use keys::{Digest, HashAlgorithm};
use serde::Deserialize;
use serde_json::Value;

use crate::glob;
use crate::key::{Key, KeyId, RoleKeys};
use crate::metadata::{MetadataError, Role, Signers, Version};
use crate::path::{self, TargetPath};

/// Bits of a bin's number at most (TAP 15).
const BIT_LENGTH_MAX: u32 = 32;

/// What every file begins with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head {
    pub(crate) version: Version,
    pub(crate) expires: Time,
}

/// Who signs what.
#[derive(Clone, Debug)]
pub(crate) struct Root {
    pub(crate) head: Head,
    pub(crate) consistent_snapshot: bool,
    signers: Signers,
}

/// Which snapshot is current.
#[derive(Clone, Debug)]
pub(crate) struct Timestamp {
    pub(crate) head: Head,
    pub(crate) snapshot: Claim,
}

/// Which version of each targets role is current.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    pub(crate) head: Head,
    meta: BTreeMap<String, Claim>,
}

/// Targets, and who may name more of them.
#[derive(Clone, Debug)]
pub(crate) struct Targets {
    pub(crate) head: Head,
    listed: BTreeMap<String, Content>,
    delegations: Option<Delegations>,
}

/// What a role says of another metadata file. Length and hashes may be left out.
#[derive(Clone, Debug)]
pub(crate) struct Claim {
    pub(crate) version: Version,
    pub(crate) length: Option<u64>,
    hashes: Option<Hashes>,
}

/// What a role says of a target's content.
#[derive(Clone, Debug)]
pub(crate) struct Content {
    pub(crate) length: u64,
    pub(crate) hashes: Hashes,
}

/// The hashes of known algorithms.
#[derive(Clone, Debug)]
pub(crate) struct Hashes(Vec<Digest>);

#[derive(Clone, Debug)]
struct Delegations {
    keys: BTreeMap<KeyId, Value>,
    roles: Delegates,
}

#[derive(Clone, Debug)]
enum Delegates {
    Named(Vec<Delegate>),
    Bins(Bins),
}

#[derive(Clone, Debug)]
struct Delegate {
    name: String,
    keyids: Vec<KeyId>,
    threshold: usize,
    terminating: bool,
    paths: Paths,
}

#[derive(Clone, Debug)]
enum Paths {
    Patterns(Vec<String>),
    /// Hex, of the SHA-256 of the path.
    HashPrefixes(Vec<String>),
}

/// TAP 15: `2^bit_length` roles with the same keys, each for the paths whose hash begins with its number.
#[derive(Clone, Debug)]
struct Bins {
    keyids: Vec<KeyId>,
    threshold: usize,
    bit_length: u32,
    prefix: String,
}

/// A role that may know a target.
#[derive(Clone, Debug)]
pub(crate) struct Child {
    pub(crate) name: String,
    /// Who signs it, as the role says that delegates to it.
    pub(crate) keys: Result<RoleKeys, MetadataError>,
    pub(crate) terminating: bool,
}

/// What stands in for a file that was promised.
pub(crate) enum Mismatch {
    Length { expected: u64, actual: u64 },
    Hash(HashAlgorithm),
}

impl Root {
    pub(crate) fn read(value: &Value) -> Result<Self, MetadataError> {
        #[derive(Deserialize)]
        struct Wire {
            #[serde(default)]
            consistent_snapshot: bool,
            #[serde(flatten)]
            signers: Signers,
        }
        let (head, wire): (_, Wire) = read(Role::Root, value)?;
        Ok(Self {
            head,
            consistent_snapshot: wire.consistent_snapshot,
            signers: wire.signers,
        })
    }

    /// The same with the keys of the root before, where they are the same.
    pub(crate) fn read_after(before: &Self, value: &Value) -> Result<Self, MetadataError> {
        let mut root = Self::read(value)?;
        root.signers.share(&before.signers);
        Ok(root)
    }

    /// Who signs a role. An error if it cannot be signed: a threshold of none, or more than there are usable keys.
    pub(crate) fn signers(&self, role: Role) -> Result<RoleKeys, MetadataError> {
        self.signers.of(role)
    }
}

impl Timestamp {
    pub(crate) fn read(value: &Value) -> Result<Self, MetadataError> {
        let (head, wire): (_, WireMeta) = read(Role::Timestamp, value)?;
        let snapshot = wire
            .meta
            .get("snapshot.json")
            .ok_or_else(|| malformed(Role::Timestamp, "snapshot.json is not listed".to_owned()))?;
        Ok(Self {
            head,
            snapshot: snapshot.checked(Role::Timestamp)?,
        })
    }
}

impl Snapshot {
    pub(crate) fn read(value: &Value) -> Result<Self, MetadataError> {
        let (head, wire): (_, WireMeta) = read(Role::Snapshot, value)?;
        let meta = wire
            .meta
            .into_iter()
            .map(|(name, claim)| Ok((name, claim.checked(Role::Snapshot)?)))
            .collect::<Result<_, MetadataError>>()?;
        Ok(Self { head, meta })
    }

    /// What it says of a targets role's file.
    pub(crate) fn claim(&self, role: &str) -> Option<&Claim> {
        self.meta.get(&format!("{role}.json"))
    }

    /// Every file that it lists.
    pub(crate) fn files(&self) -> impl Iterator<Item = (&str, Version)> {
        self.meta
            .iter()
            .map(|(name, claim)| (name.as_str(), claim.version))
    }

    pub(crate) fn version_of_file(&self, file: &str) -> Option<Version> {
        self.meta.get(file).map(|claim| claim.version)
    }
}

impl Targets {
    pub(crate) fn read(value: &Value) -> Result<Self, MetadataError> {
        let (head, wire): (_, WireTargets) = read(Role::Targets, value)?;
        let listed = wire
            .targets
            .into_iter()
            .map(|(name, file)| {
                let hashes = Hashes::read(Role::Targets, &file.hashes)?;
                Ok((
                    name,
                    Content {
                        length: file.length,
                        hashes,
                    },
                ))
            })
            .collect::<Result<_, MetadataError>>()?;
        Ok(Self {
            head,
            listed,
            delegations: wire.delegations.map(WireDelegations::checked).transpose()?,
        })
    }

    pub(crate) fn target(&self, path: &TargetPath) -> Option<&Content> {
        self.listed.get(path.as_str())
    }

    /// The names of all targets that this role lists itself.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.listed.keys().map(String::as_str)
    }

    /// The roles that may know `path`, in the order in which they are asked.
    pub(crate) fn children(&self, path: &TargetPath) -> Vec<Child> {
        let Some(delegations) = &self.delegations else {
            return Vec::new();
        };
        match &delegations.roles {
            Delegates::Named(roles) => roles
                .iter()
                .filter(|role| role.paths.cover(path))
                .map(|role| Child {
                    name: role.name.clone(),
                    keys: delegations.signers(&role.keyids, role.threshold),
                    terminating: role.terminating,
                })
                .collect(),
            Delegates::Bins(bins) => vec![Child {
                name: bins.role_of(path),
                keys: delegations.signers(&bins.keyids, bins.threshold),
                // TAP 15: each path has exactly one bin.
                terminating: true,
            }],
        }
    }
}

impl Claim {
    pub(crate) fn check(&self, bytes: &[u8]) -> Result<(), Mismatch> {
        if let Some(length) = self.length {
            check_length(length, bytes)?;
        }
        self.hashes
            .as_ref()
            .map_or(Ok(()), |hashes| hashes.check(bytes))
    }
}

impl Content {
    pub(crate) fn check(&self, bytes: &[u8]) -> Result<(), Mismatch> {
        check_length(self.length, bytes)?;
        self.hashes.check(bytes)
    }
}

fn check_length(expected: u64, bytes: &[u8]) -> Result<(), Mismatch> {
    let actual = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    if actual == expected {
        Ok(())
    } else {
        Err(Mismatch::Length { expected, actual })
    }
}

impl Hashes {
    /// At least one of them is of an algorithm that we know: hashes that nobody can compare would be no check.
    fn read(role: Role, wire: &BTreeMap<String, String>) -> Result<Self, MetadataError> {
        let mut known = Vec::new();
        for (name, algorithm) in [
            ("sha256", HashAlgorithm::Sha256),
            ("sha512", HashAlgorithm::Sha512),
        ] {
            let Some(text) = wire.get(name) else { continue };
            let digest = hex::decode(text)
                .ok()
                .and_then(|bytes| Digest::new(algorithm, &bytes).ok());
            known.push(
                digest.ok_or_else(|| malformed(role, format!("a {name} hash is malformed")))?,
            );
        }
        if known.is_empty() {
            let names: Vec<&str> = wire.keys().take(3).map(String::as_str).collect();
            return Err(malformed(
                role,
                format!("no hash of a known algorithm among {names:?}"),
            ));
        }
        Ok(Self(known))
    }

    fn check(&self, bytes: &[u8]) -> Result<(), Mismatch> {
        for expected in &self.0 {
            let algorithm = expected.algorithm();
            if Digest::of(algorithm, bytes) != *expected {
                return Err(Mismatch::Hash(algorithm));
            }
        }
        Ok(())
    }

    /// The one in the file's name in a repository with consistent snapshots.
    pub(crate) fn prefix(&self) -> String {
        self.0.first().map(Digest::to_hex).unwrap_or_default()
    }

    pub(crate) fn of(&self, algorithm: HashAlgorithm) -> Option<Digest> {
        let mut known = self.0.iter();
        known
            .find(|digest| digest.algorithm() == algorithm)
            .copied()
    }
}

impl Delegations {
    fn signers(&self, ids: &[KeyId], threshold: usize) -> Result<RoleKeys, MetadataError> {
        // A key of an unknown type is kept out here and so never counted.
        let keys = ids
            .iter()
            .filter_map(|id| Some((id.clone(), Key::from_json(self.keys.get(id)?).ok()?)))
            .collect();
        RoleKeys::named(keys, threshold)
            .map_err(|error| malformed(Role::Targets, format!("delegation: {error}")))
    }
}

impl Paths {
    fn cover(&self, path: &TargetPath) -> bool {
        match self {
            Self::Patterns(patterns) => patterns
                .iter()
                .any(|pattern| glob::covers(pattern, path.as_str())),
            Self::HashPrefixes(prefixes) => {
                let hash = hex::encode(keys::sha256(path.as_str().as_bytes()));
                prefixes.iter().any(|prefix| hash.starts_with(prefix))
            }
        }
    }
}

impl Bins {
    fn role_of(&self, path: &TargetPath) -> String {
        let [one, two, three, four, ..] = keys::sha256(path.as_str().as_bytes());
        let first = u32::from_be_bytes([one, two, three, four]);
        let bin = first >> (u32::BITS - self.bit_length);
        // As many digits as the last bin's number has.
        let digits = usize::try_from(self.bit_length.div_ceil(4)).unwrap_or_default();
        format!("{}-{bin:0digits$x}", self.prefix)
    }
}

// --- the JSON -------------------------------------------------------------------------------------------------------

#[derive(Deserialize)]
struct WireHead {
    spec_version: String,
    version: u64,
    expires: Time,
}

#[derive(Deserialize)]
struct WireMeta {
    meta: BTreeMap<String, WireClaim>,
}

#[derive(Deserialize)]
struct WireClaim {
    version: u64,
    length: Option<u64>,
    hashes: Option<BTreeMap<String, String>>,
}

impl WireClaim {
    fn checked(&self, role: Role) -> Result<Claim, MetadataError> {
        Ok(Claim {
            version: Version::new(self.version)?,
            length: self.length,
            hashes: self
                .hashes
                .as_ref()
                .map(|hashes| Hashes::read(role, hashes))
                .transpose()?,
        })
    }
}

#[derive(Deserialize)]
struct WireTargets {
    targets: BTreeMap<String, WireContent>,
    delegations: Option<WireDelegations>,
}

#[derive(Deserialize)]
struct WireContent {
    length: u64,
    hashes: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct WireDelegations {
    keys: BTreeMap<KeyId, Value>,
    roles: Option<Vec<WireDelegate>>,
    succinct_roles: Option<WireBins>,
}

#[derive(Deserialize)]
struct WireDelegate {
    name: String,
    keyids: Vec<KeyId>,
    threshold: usize,
    terminating: bool,
    paths: Option<Vec<String>>,
    path_hash_prefixes: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct WireBins {
    keyids: Vec<KeyId>,
    threshold: usize,
    bit_length: u32,
    name_prefix: String,
}

impl WireDelegations {
    fn checked(self) -> Result<Delegations, MetadataError> {
        let wrong = |what: String| malformed(Role::Targets, what);
        let roles = match (self.roles, self.succinct_roles) {
            (Some(roles), None) => {
                let mut names = BTreeSet::new();
                let mut checked = Vec::with_capacity(roles.len());
                for role in roles {
                    let role = role.checked()?;
                    if !names.insert(role.name.clone()) {
                        return Err(wrong(format!("two delegations to {:?}", role.name)));
                    }
                    checked.push(role);
                }
                Delegates::Named(checked)
            }
            (None, Some(bins)) => Delegates::Bins(bins.checked()?),
            _ => {
                return Err(wrong(
                    "delegations have either roles or succinct_roles".to_owned(),
                ));
            }
        };
        Ok(Delegations {
            keys: self.keys,
            roles,
        })
    }
}

impl WireDelegate {
    fn checked(self) -> Result<Delegate, MetadataError> {
        check_role_name(&self.name)?;
        let paths = match (self.paths, self.path_hash_prefixes) {
            (Some(patterns), None) => Paths::Patterns(patterns),
            (None, Some(prefixes)) => Paths::HashPrefixes(prefixes),
            _ => {
                return Err(malformed(
                    Role::Targets,
                    format!(
                        "the delegation to {:?} has either paths or path_hash_prefixes",
                        self.name
                    ),
                ));
            }
        };
        Ok(Delegate {
            name: self.name,
            keyids: self.keyids,
            threshold: self.threshold,
            terminating: self.terminating,
            paths,
        })
    }
}

impl WireBins {
    fn checked(self) -> Result<Bins, MetadataError> {
        if !(1..=BIT_LENGTH_MAX).contains(&self.bit_length) {
            return Err(malformed(
                Role::Targets,
                format!("a bit_length of {}, not 1 to 32", self.bit_length),
            ));
        }
        check_role_name(&format!("{}-ffffffff", self.name_prefix))?;
        Ok(Bins {
            keyids: self.keyids,
            threshold: self.threshold,
            bit_length: self.bit_length,
            prefix: self.name_prefix,
        })
    }
}

/// A delegated role's file stands beside those at the top, so it must not be called like one of them; and its name is part of a file's.
fn check_role_name(name: &str) -> Result<(), MetadataError> {
    let top = [Role::Root, Role::Targets, Role::Snapshot, Role::Timestamp]
        .iter()
        .any(|role| role.name().eq_ignore_ascii_case(name));
    if top || name.is_empty() || path::encoded(name).len() > path::NAME_MAX {
        let shown: String = name.chars().take(50).collect();
        return Err(malformed(
            Role::Targets,
            format!("{shown:?} cannot be the name of a delegated role"),
        ));
    }
    Ok(())
}

fn malformed(role: Role, message: String) -> MetadataError {
    MetadataError::Malformed { role, message }
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
    let head = WireHead::deserialize(value).map_err(|error| malformed(role, error.to_string()))?;
    // TUF specification 4.3: another major version is another format. Production says "1.0".
    if head.spec_version.split('.').next() != Some("1") {
        let shown: String = head.spec_version.chars().take(20).collect();
        return Err(malformed(
            role,
            format!("spec_version {shown:?} is not one of 1.x"),
        ));
    }
    let head = Head {
        version: Version::new(head.version)?,
        expires: head.expires,
    };
    let content = T::deserialize(value).map_err(|error| malformed(role, error.to_string()))?;
    Ok((head, content))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_one_bin_and_its_number_as_many_digits_as_the_last_one() {
        let bins = |bit_length| Bins {
            keyids: Vec::new(),
            threshold: 1,
            bit_length,
            prefix: "bin".to_owned(),
        };
        // SHA-256 of "a" begins with ca978112.
        let path = TargetPath::new("a").unwrap();
        for (bit_length, expected) in [
            (1, "bin-1"),
            (4, "bin-c"),
            (5, "bin-19"),
            (8, "bin-ca"),
            (32, "bin-ca978112"),
        ] {
            assert_eq!(bins(bit_length).role_of(&path), expected);
        }
    }
}
