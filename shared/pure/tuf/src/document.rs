//! Metadata as its author sees it: the whole value that is signed, with checked edits.
//!
//! The typed roles of [`metadata`](crate::metadata) keep what a reader needs. An author who takes over somebody else's repository must keep the
//! rest too: fields that the specification does not know, key ids that are nobody's hash, the specification's version. So a [`Document`] is the
//! JSON value itself, and an edit changes the members that it is about.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::Timestamp as Time;
use jiff::tz::TimeZone;
use serde_json::{Map, Value, json};
use thiserror::Error;

use crate::key::{Key, KeyId, RoleKeys};
use crate::metadata::{Role, TargetFile, Version};

/// What new documents say. tough reads exactly this one, the others any 1.x.
const SPEC_VERSION: &str = "1.0.0";
/// Longest name of a delegated role; it becomes part of a file name.
const ROLE_NAME_MAX: usize = 100;
/// Longest name of a target.
const TARGET_NAME_MAX: usize = 1024;
/// The most roles that clients walk through when they look for a target (python-tuf, go-tuf: 32).
pub const DELEGATIONS_MAX: usize = 32;

/// A document is not what it should be, or an edit makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DocumentError {
    /// Another kind of metadata.
    #[error("this is {found} metadata, expected {expected}")]
    Type {
        /// What was asked for.
        expected: RoleName,
        /// What `_type` says.
        found: String,
    },
    /// A member is missing or has another shape.
    #[error("malformed {role} metadata: {what}")]
    Malformed {
        /// The role.
        role: RoleName,
        /// What is wrong.
        what: String,
    },
    /// A name that no role can have.
    #[error(
        "'{0}' cannot be the name of a role: a letter, then letters, digits, '.', '-' and '_', at most {ROLE_NAME_MAX}"
    )]
    RoleName(String),
    /// A name that no target can have.
    #[error(
        "'{0}' cannot be the name of a target: parts of letters, digits and .-_:@+ with / between them"
    )]
    TargetName(String),
    /// There is no such thing.
    #[error("{role} metadata has no {what}")]
    Absent {
        /// The role.
        role: RoleName,
        /// What was looked for.
        what: String,
    },
}

/// A role: one of the four at the top, or one that was delegated to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RoleName {
    /// At the top.
    Top(Role),
    /// Delegated by another targets role.
    Delegated(String),
}

impl RoleName {
    /// Root.
    pub const ROOT: Self = Self::Top(Role::Root);
    /// Targets at the top.
    pub const TARGETS: Self = Self::Top(Role::Targets);
    /// Snapshot.
    pub const SNAPSHOT: Self = Self::Top(Role::Snapshot);
    /// Timestamp.
    pub const TIMESTAMP: Self = Self::Top(Role::Timestamp);

    /// Reads a name.
    pub fn parse(name: &str) -> Result<Self, DocumentError> {
        for role in [Role::Root, Role::Targets, Role::Snapshot, Role::Timestamp] {
            if name == role.name() {
                return Ok(Self::Top(role));
            }
        }
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
        let letter = name.starts_with(|first: char| first.is_ascii_alphabetic());
        if letter && name.len() <= ROLE_NAME_MAX && name.bytes().all(plain) {
            Ok(Self::Delegated(name.to_owned()))
        } else {
            Err(DocumentError::RoleName(
                name.chars().take(ROLE_NAME_MAX).collect(),
            ))
        }
    }

    /// The name in metadata and file names.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Top(role) => role.name(),
            Self::Delegated(name) => name,
        }
    }

    /// What `_type` says in its metadata.
    pub const fn kind(&self) -> Role {
        match self {
            Self::Top(role) => *role,
            Self::Delegated(_) => Role::Targets,
        }
    }

    /// The file of this version in a repository with consistent snapshots.
    pub fn file_name(&self, version: Version) -> String {
        match self {
            Self::Top(Role::Timestamp) => "timestamp.json".to_owned(),
            _ => format!("{version}.{self}.json"),
        }
    }

    /// The name in snapshot metadata.
    pub fn meta_name(&self) -> String {
        format!("{self}.json")
    }

    /// Is it signed by keys that nobody but people has?
    pub const fn is_offline(&self) -> bool {
        !matches!(self, Self::Top(Role::Snapshot | Role::Timestamp))
    }
}

impl fmt::Display for RoleName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// A role's entry among delegations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delegation {
    /// The role.
    pub name: RoleName,
    /// Patterns of the targets that it may list; `*` and `?` do not cross a `/`.
    pub paths: Vec<String>,
    /// Whether the search for such a target ends with it.
    pub terminating: bool,
}

/// Metadata to be signed.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    role: RoleName,
    version: Version,
    expires: Time,
    signed: Map<String, Value>,
}

impl Document {
    /// A document that lists nothing yet.
    pub fn new(role: RoleName, version: Version, expires: Time) -> Self {
        let mut signed = Map::new();
        signed.insert("_type".into(), role.kind().name().into());
        signed.insert("spec_version".into(), SPEC_VERSION.into());
        match role.kind() {
            Role::Root => {
                signed.insert("consistent_snapshot".into(), true.into());
                signed.insert("keys".into(), json!({}));
                signed.insert("roles".into(), json!({}));
            }
            Role::Targets => {
                signed.insert("targets".into(), json!({}));
            }
            Role::Snapshot | Role::Timestamp => {
                signed.insert("meta".into(), json!({}));
            }
        }
        let mut document = Self {
            role,
            version,
            expires,
            signed,
        };
        document.set_version(version);
        document.set_expires(expires);
        document
    }

    /// Takes what is in an envelope. Every member stays; those that an author works with are checked.
    pub fn read(role: RoleName, signed: &Value) -> Result<Self, DocumentError> {
        let malformed = |what: String| DocumentError::Malformed {
            role: role.clone(),
            what,
        };
        let Value::Object(members) = signed else {
            return Err(malformed("it is no object".to_owned()));
        };
        let text = |name: &str| members.get(name).and_then(Value::as_str);
        let found = text("_type").unwrap_or("untyped");
        if found != role.kind().name() {
            return Err(DocumentError::Type {
                expected: role.clone(),
                found: found.chars().take(50).collect(),
            });
        }
        let version = members
            .get("version")
            .and_then(Value::as_u64)
            .and_then(|number| Version::new(number).ok())
            .ok_or_else(|| malformed("it has no version from 1 to 2^53-1".to_owned()))?;
        let expires = text("expires")
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| malformed("it has no date in expires".to_owned()))?;
        let document = Self {
            role,
            version,
            expires,
            signed: members.clone(),
        };
        match document.role.kind() {
            Role::Root => {
                document.object("keys")?;
                document.object("roles")?;
            }
            Role::Targets => {
                document.targets()?;
                document.delegations()?;
            }
            Role::Snapshot | Role::Timestamp => drop(document.meta()?),
        }
        Ok(document)
    }

    /// Which role.
    pub const fn role(&self) -> &RoleName {
        &self.role
    }

    /// Which version.
    pub const fn version(&self) -> Version {
        self.version
    }

    /// The last moment at which clients take it.
    pub const fn expires(&self) -> Time {
        self.expires
    }

    /// The value that is signed.
    pub fn to_value(&self) -> Value {
        Value::Object(self.signed.clone())
    }

    /// One member, as it stands.
    pub fn member(&self, name: &str) -> Option<&Value> {
        self.signed.get(name)
    }

    /// Gives it another version.
    pub fn set_version(&mut self, version: Version) {
        self.version = version;
        self.signed.insert("version".into(), version.get().into());
    }

    /// Gives it another end, to the second: `YYYY-MM-DDTHH:MM:SSZ` (TUF specification 4.2.1).
    pub fn set_expires(&mut self, expires: Time) {
        let whole = Time::from_second(expires.as_second()).unwrap_or(expires);
        self.expires = whole;
        let text = whole
            .to_zoned(TimeZone::UTC)
            .strftime("%Y-%m-%dT%H:%M:%SZ")
            .to_string();
        self.signed.insert("expires".into(), text.into());
    }

    /// Does it say the same as `other`, but for version and end?
    pub fn says_the_same(&self, other: &Self) -> bool {
        let without = |document: &Self| {
            let mut members = document.signed.clone();
            members.remove("version");
            members.remove("expires");
            members
        };
        self.role == other.role && without(self) == without(other)
    }

    // --- who signs what: root, and targets that delegate -----------------------------------------------------------------

    /// Who signs a role, as this root, or these delegations, say. Keys of a type that not every client reads are left out and so never
    /// counted.
    pub fn signers(&self, of: &RoleName) -> Result<RoleKeys, DocumentError> {
        let threshold = self.threshold(of)?;
        let known = self.key_values()?;
        let keys = self
            .key_ids(of)?
            .into_iter()
            .filter_map(|id| {
                let key = Key::from_json(known.get(id.as_str())?).ok()?;
                Some((id, key))
            })
            .collect();
        RoleKeys::named(keys, threshold)
            .map_err(|error| self.malformed(format!("the keys of {of}: {error}")))
    }

    /// How many have to sign a role.
    pub fn threshold(&self, of: &RoleName) -> Result<usize, DocumentError> {
        self.role_value(of)?
            .get("threshold")
            .and_then(Value::as_u64)
            .and_then(|number| usize::try_from(number).ok())
            .ok_or_else(|| self.malformed(format!("{of} has no threshold")))
    }

    /// The ids of a role's keys, also of those that we cannot verify with.
    pub fn key_ids(&self, of: &RoleName) -> Result<BTreeSet<KeyId>, DocumentError> {
        let ids = self.role_value(of)?.get("keyids").and_then(Value::as_array);
        ids.ok_or_else(|| self.malformed(format!("{of} has no list of key ids")))?
            .iter()
            .map(|id| serde_json::from_value(id.clone()))
            .collect::<Result<_, _>>()
            .map_err(|_| self.malformed(format!("a key id of {of} is no text")))
    }

    /// A key as this document has it.
    pub fn key_value(&self, id: &KeyId) -> Option<&Value> {
        self.key_values().ok()?.get(id.as_str())
    }

    /// All keys as they stand, by id.
    pub fn key_values(&self) -> Result<&Map<String, Value>, DocumentError> {
        match self.role.kind() {
            Role::Root => self.object("keys"),
            _ => self
                .signed
                .get("delegations")
                .and_then(|delegations| delegations.get("keys")?.as_object())
                .ok_or_else(|| self.malformed("delegations without keys".to_owned())),
        }
    }

    /// The roles whose signers stand here.
    pub fn signed_roles(&self) -> Result<Vec<RoleName>, DocumentError> {
        match self.role.kind() {
            Role::Root => self
                .object("roles")?
                .keys()
                .map(|name| RoleName::parse(name))
                .collect(),
            _ => Ok(self
                .delegations()?
                .into_iter()
                .map(|one| one.name)
                .collect()),
        }
    }

    /// Says who signs a role from now on. A key that stands here already, under whatever id, keeps that id and all that is said with it; a new
    /// one gets the hash of its canonical form. Keys that no role has any more are taken out.
    pub fn set_signers(
        &mut self,
        of: &RoleName,
        keys: &[Key],
        threshold: usize,
    ) -> Result<(), DocumentError> {
        RoleKeys::new(keys.iter().cloned(), threshold)
            .map_err(|error| self.malformed(format!("the keys of {of}: {error}")))?;
        let standing: BTreeMap<Vec<u8>, String> = self
            .key_values()?
            .iter()
            .filter_map(|(id, value)| {
                let key = Key::from_json(value).ok()?;
                Some((key.public_key().spki_der().to_vec(), id.clone()))
            })
            .collect();
        let mut ids = Vec::new();
        for key in keys {
            let id = if let Some(id) = standing.get(key.public_key().spki_der()) {
                id.clone()
            } else {
                let id = key.id().to_string();
                self.keys_mut()?.insert(id.clone(), key.to_json());
                id
            };
            ids.push(id);
        }
        ids.sort_unstable();
        ids.dedup();
        let role = self.role_mut(of)?;
        role.insert("keyids".into(), json!(ids));
        role.insert("threshold".into(), json!(threshold));
        self.drop_unused_keys()
    }

    fn drop_unused_keys(&mut self) -> Result<(), DocumentError> {
        let mut used = BTreeSet::new();
        for role in self.signed_roles()? {
            used.extend(self.key_ids(&role)?.iter().map(ToString::to_string));
        }
        self.keys_mut()?.retain(|id, _| used.contains(id));
        Ok(())
    }

    fn role_value(&self, of: &RoleName) -> Result<&Map<String, Value>, DocumentError> {
        let absent = || self.absent(format!("role {of}"));
        let value = match self.role.kind() {
            Role::Root => self.object("roles")?.get(of.as_str()),
            _ => self
                .delegated_roles()?
                .iter()
                .find(|role| role.get("name").and_then(Value::as_str) == Some(of.as_str())),
        };
        value.and_then(Value::as_object).ok_or_else(absent)
    }

    fn role_mut(&mut self, of: &RoleName) -> Result<&mut Map<String, Value>, DocumentError> {
        let error = self.absent(format!("role {of}"));
        let value = match self.role.kind() {
            Role::Root => self
                .signed
                .get_mut("roles")
                .and_then(Value::as_object_mut)
                .map(|roles| roles.entry(of.as_str()).or_insert_with(|| json!({}))),
            _ => self
                .signed
                .get_mut("delegations")
                .and_then(|delegations| delegations.get_mut("roles")?.as_array_mut())
                .and_then(|roles| {
                    roles
                        .iter_mut()
                        .find(|role| role.get("name").and_then(Value::as_str) == Some(of.as_str()))
                }),
        };
        value.and_then(Value::as_object_mut).ok_or(error)
    }

    fn keys_mut(&mut self) -> Result<&mut Map<String, Value>, DocumentError> {
        let error = self.malformed("it has no keys".to_owned());
        let keys = match self.role.kind() {
            Role::Root => self.signed.get_mut("keys"),
            _ => self
                .signed
                .get_mut("delegations")
                .and_then(|delegations| delegations.get_mut("keys")),
        };
        keys.and_then(Value::as_object_mut).ok_or(error)
    }

    // --- targets -----------------------------------------------------------------------------------------------------------

    /// The targets listed here.
    pub fn targets(&self) -> Result<BTreeMap<String, TargetFile>, DocumentError> {
        self.object("targets")?
            .iter()
            .map(|(name, file)| Ok((name.clone(), self.file(name, file)?)))
            .collect()
    }

    /// Lists a target. What else is said about it (`custom`) stays if it was listed before.
    pub fn set_target(&mut self, name: &str, file: &TargetFile) -> Result<(), DocumentError> {
        check_target_name(name)?;
        let error = self.malformed("it has no targets".to_owned());
        let targets = self
            .signed
            .get_mut("targets")
            .and_then(Value::as_object_mut);
        let entry = targets
            .ok_or(error)?
            .entry(name)
            .or_insert_with(|| json!({}));
        if let Some(entry) = entry.as_object_mut() {
            entry.insert("length".into(), json!(file.length()));
            entry.insert(
                "hashes".into(),
                json!({ "sha256": hex::encode(file.sha256()) }),
            );
        }
        Ok(())
    }

    /// Lists a target no more.
    pub fn remove_target(&mut self, name: &str) -> Result<(), DocumentError> {
        let error = self.absent(format!("target {name}"));
        let targets = self
            .signed
            .get_mut("targets")
            .and_then(Value::as_object_mut);
        targets
            .and_then(|targets| targets.remove(name))
            .map(drop)
            .ok_or(error)
    }

    /// To whom this role delegates, in the order in which clients ask them.
    pub fn delegations(&self) -> Result<Vec<Delegation>, DocumentError> {
        if self.signed.get("delegations").is_none() {
            return Ok(Vec::new());
        }
        self.delegated_roles()?
            .iter()
            .map(|role| {
                let name = role.get("name").and_then(Value::as_str);
                let name =
                    name.ok_or_else(|| self.malformed("a delegation has no name".to_owned()))?;
                let paths = role.get("paths").and_then(Value::as_array);
                let paths = paths
                    .into_iter()
                    .flatten()
                    .filter_map(|path| path.as_str().map(str::to_owned))
                    .collect();
                Ok(Delegation {
                    name: RoleName::parse(name)?,
                    paths,
                    terminating: role
                        .get("terminating")
                        .and_then(Value::as_bool)
                        .unwrap_or(false),
                })
            })
            .collect()
    }

    /// Delegates, or changes what was delegated: these keys may list targets of these paths.
    pub fn set_delegation(
        &mut self,
        delegation: &Delegation,
        keys: &[Key],
        threshold: usize,
    ) -> Result<(), DocumentError> {
        if let RoleName::Top(_) = delegation.name {
            return Err(DocumentError::RoleName(delegation.name.to_string()));
        }
        let name = delegation.name.as_str();
        if self.signed.get("delegations").is_none() {
            self.signed
                .insert("delegations".into(), json!({ "keys": {}, "roles": [] }));
        }
        if self.role_value(&delegation.name).is_err() {
            let error = self.malformed("delegations without roles".to_owned());
            let roles = self
                .signed
                .get_mut("delegations")
                .and_then(|delegations| delegations.get_mut("roles")?.as_array_mut());
            roles
                .ok_or(error)?
                .push(json!({ "name": name, "keyids": [], "threshold": 1 }));
        }
        let role = self.role_mut(&delegation.name)?;
        role.insert("paths".into(), json!(delegation.paths));
        role.insert("terminating".into(), json!(delegation.terminating));
        self.set_signers(&delegation.name, keys, threshold)
    }

    /// Delegates no more.
    pub fn remove_delegation(&mut self, name: &RoleName) -> Result<(), DocumentError> {
        self.role_value(name)?;
        let roles = self
            .signed
            .get_mut("delegations")
            .and_then(|delegations| delegations.get_mut("roles")?.as_array_mut());
        if let Some(roles) = roles {
            roles.retain(|role| role.get("name").and_then(Value::as_str) != Some(name.as_str()));
            if roles.is_empty() {
                self.signed.remove("delegations");
                return Ok(());
            }
        }
        self.drop_unused_keys()
    }

    fn delegated_roles(&self) -> Result<&[Value], DocumentError> {
        self.signed
            .get("delegations")
            .and_then(|delegations| delegations.get("roles")?.as_array())
            .map(Vec::as_slice)
            .ok_or_else(|| self.malformed("delegations without a list of roles".to_owned()))
    }

    // --- snapshot and timestamp --------------------------------------------------------------------------------------------

    /// Which version of each file is current.
    pub fn meta(&self) -> Result<BTreeMap<String, Version>, DocumentError> {
        self.object("meta")?
            .iter()
            .map(|(name, meta)| {
                let version = meta
                    .get("version")
                    .and_then(Value::as_u64)
                    .and_then(|number| Version::new(number).ok());
                let version =
                    version.ok_or_else(|| self.malformed(format!("{name} has no version")))?;
                Ok((name.clone(), version))
            })
            .collect()
    }

    /// Vouches for a file in this version. Length and hash stand there too: all clients that look at them agree on them.
    pub fn set_meta(&mut self, name: &str, version: Version, file: &TargetFile) {
        if let Some(meta) = self.signed.get_mut("meta").and_then(Value::as_object_mut) {
            let value = json!({
                "version": version.get(),
                "length": file.length(),
                "hashes": { "sha256": hex::encode(file.sha256()) },
            });
            meta.insert(name.to_owned(), value);
        }
    }

    /// Vouches for nothing.
    pub fn clear_meta(&mut self) {
        self.signed.insert("meta".into(), json!({}));
    }

    /// Length and hash that stand beside a version, if they do.
    pub fn meta_file(&self, name: &str) -> Option<TargetFile> {
        self.file(name, self.signed.get("meta")?.get(name)?).ok()
    }

    fn file(&self, name: &str, value: &Value) -> Result<TargetFile, DocumentError> {
        let length = value.get("length").and_then(Value::as_u64);
        let sha256 = value
            .get("hashes")
            .and_then(|hashes| hashes.get("sha256")?.as_str())
            .and_then(|text| hex::decode(text).ok())
            .and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
        match (length, sha256) {
            (Some(length), Some(sha256)) => Ok(TargetFile::from_parts(length, sha256)),
            _ => Err(self.malformed(format!("{name} has no length and SHA-256"))),
        }
    }

    fn object(&self, name: &str) -> Result<&Map<String, Value>, DocumentError> {
        self.signed
            .get(name)
            .and_then(Value::as_object)
            .ok_or_else(|| self.malformed(format!("it has no {name}")))
    }

    fn malformed(&self, what: String) -> DocumentError {
        DocumentError::Malformed {
            role: self.role.clone(),
            what,
        }
    }

    fn absent(&self, what: String) -> DocumentError {
        DocumentError::Absent {
            role: self.role.clone(),
            what,
        }
    }
}

/// A target's name: parts with `/` between them, none of them empty, `.` or `..`.
pub fn check_target_name(name: &str) -> Result<(), DocumentError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:@+".contains(&byte);
    let part =
        |part: &str| !part.is_empty() && part != "." && part != ".." && part.bytes().all(plain);
    if name.len() <= TARGET_NAME_MAX && name.split('/').all(part) {
        Ok(())
    } else {
        Err(DocumentError::TargetName(name.chars().take(200).collect()))
    }
}

/// Where a target's content is, below `targets/`, in a repository with consistent snapshots: the hash stands before the last part of the name.
pub fn target_path(name: &str, file: &TargetFile) -> String {
    let hash = hex::encode(file.sha256());
    match name.rsplit_once('/') {
        Some((folder, last)) => format!("{folder}/{hash}.{last}"),
        None => format!("{hash}.{name}"),
    }
}
