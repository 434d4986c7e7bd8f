//! A repository that says whatever a test wants, signed as the test wants, and a client with a cache in memory.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::needless_pass_by_value,
    dead_code,
    unreachable_pub,
    missing_docs,
    reason = "shared by several tests, each of which uses a part"
)]

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use p256::ecdsa::signature::Signer as _;
use p256::pkcs8::EncodePublicKey as _;
use serde_json::{Value, json};
use tuf::{Mode, Place, Target, TargetPath, Trusted, Update, UpdateError, Want, canonical};

pub const TOP: [&str; 4] = ["root", "timestamp", "snapshot", "targets"];

pub fn now() -> Timestamp {
    "2026-11-22T10:00:00Z".parse().unwrap()
}

pub fn in_days(days: i64) -> String {
    (now() + SignedDuration::from_hours(24 * days)).to_string()
}

/// A P-256 key by its number.
#[derive(Clone)]
pub struct Secret(pub u16);

impl Secret {
    fn key(&self) -> p256::ecdsa::SigningKey {
        let mut seed = [7; 32];
        seed[30..].copy_from_slice(&(self.0 + 1).to_be_bytes());
        p256::ecdsa::SigningKey::from_slice(&seed).unwrap()
    }

    pub fn public(&self) -> Value {
        let key = p256::PublicKey::from(self.key().verifying_key());
        let pem = key.to_public_key_pem(p256::pkcs8::LineEnding::LF).unwrap();
        json!({ "keytype": "ecdsa", "scheme": "ecdsa-sha2-nistp256", "keyval": { "public": pem } })
    }

    pub fn id(&self) -> String {
        format!("key-{}", self.0)
    }

    pub fn sign(&self, message: &[u8]) -> Value {
        let signature: p256::ecdsa::Signature = self.key().sign(message);
        json!({ "keyid": self.id(), "sig": hex::encode(signature.to_der().as_bytes()) })
    }
}

/// What each role will say, who will sign it, and what is published.
pub struct Repository {
    pub says: BTreeMap<String, Value>,
    pub signers: BTreeMap<String, Vec<Secret>>,
    pub files: BTreeMap<String, Vec<u8>>,
    /// With length and hashes in snapshot and timestamp.
    pub hashes: bool,
    next_key: u16,
}

impl Default for Repository {
    fn default() -> Self {
        Self::new()
    }
}

impl Repository {
    /// Version 1 of all four, each with a key of its own.
    pub fn new() -> Self {
        let mut repository = Self {
            says: BTreeMap::new(),
            signers: BTreeMap::new(),
            files: BTreeMap::new(),
            hashes: false,
            next_key: 100,
        };
        let common = |role: &str, more: Value| {
            let mut value = json!({ "_type": role, "spec_version": "1.0.31", "version": 0, "expires": in_days(30) });
            value
                .as_object_mut()
                .unwrap()
                .extend(more.as_object().unwrap().clone());
            value
        };
        let roles: BTreeMap<_, _> = TOP
            .iter()
            .map(|role| ((*role).to_owned(), json!({ "keyids": [], "threshold": 1 })))
            .collect();
        for (role, value) in [
            (
                "root",
                common(
                    "root",
                    json!({ "consistent_snapshot": true, "keys": {}, "roles": roles }),
                ),
            ),
            ("timestamp", common("timestamp", json!({ "meta": {} }))),
            ("snapshot", common("snapshot", json!({ "meta": {} }))),
            ("targets", common("targets", json!({ "targets": {} }))),
        ] {
            repository.says.insert(role.to_owned(), value);
        }
        for role in TOP {
            let secret = repository.new_key();
            repository.add_key(role, &secret);
            repository.signers.insert(role.to_owned(), vec![secret]);
        }
        repository.publish(&["root", "targets", "snapshot", "timestamp"]);
        repository
    }

    pub fn new_key(&mut self) -> Secret {
        self.next_key += 1;
        Secret(self.next_key)
    }

    pub fn role(&mut self, role: &str) -> &mut Value {
        &mut self.says.get_mut("root").unwrap()["roles"][role]
    }

    /// Into the root, without making it a signer.
    pub fn add_key(&mut self, role: &str, secret: &Secret) {
        self.says.get_mut("root").unwrap()["keys"][secret.id()] = secret.public();
        let ids = self.role(role)["keyids"].as_array_mut().unwrap();
        ids.push(json!(secret.id()));
    }

    /// The keys of a role, by number, and who signs.
    pub fn set_keys(&mut self, role: &str, keys: &[u16], threshold: u64, signers: &[u16]) {
        self.role(role)["keyids"] = json!([]);
        for key in keys {
            self.add_key(role, &Secret(*key));
        }
        self.role(role)["threshold"] = json!(threshold);
        let signers = signers.iter().map(|number| Secret(*number)).collect();
        self.signers.insert(role.to_owned(), signers);
    }

    /// New keys in place of the old ones.
    pub fn rotate(&mut self, role: &str) {
        let secret = self.new_key();
        self.set_keys(role, &[secret.0], 1, &[secret.0]);
    }

    pub fn version(&self, role: &str) -> u64 {
        self.says[role]["version"].as_u64().unwrap()
    }

    pub fn set(&mut self, role: &str, member: &str, value: Value) {
        self.says.get_mut(role).unwrap()[member] = value;
    }

    /// Each role's next version, signed, named in the role above.
    pub fn publish(&mut self, roles: &[&str]) {
        for role in roles {
            let version = self.version(role) + 1;
            self.set(role, "version", json!(version));
            self.put(role, version);
        }
    }

    /// What a role says now, signed, under the name of a version.
    pub fn put(&mut self, role: &str, name: u64) {
        let bytes = self.sealed(role);
        let version = self.version(role);
        let mut meta = json!({ "version": version });
        if self.hashes {
            meta["length"] = json!(bytes.len());
            meta["hashes"] = json!({ "sha256": hex::encode(keys::sha256(&bytes)) });
        }
        match role {
            "root" | "timestamp" => {}
            "snapshot" => self.says.get_mut("timestamp").unwrap()["meta"]["snapshot.json"] = meta,
            _ => self.says.get_mut("snapshot").unwrap()["meta"][format!("{role}.json")] = meta,
        }
        let consistent = self.says["root"]["consistent_snapshot"] == true;
        let encoded = encoded(role);
        let path = if role == "timestamp" || (!consistent && role != "root") {
            format!("{encoded}.json")
        } else {
            format!("{name}.{encoded}.json")
        };
        self.files.insert(path, bytes);
    }

    pub fn sealed(&self, role: &str) -> Vec<u8> {
        let signed = &self.says[role];
        let message = canonical::encode(signed).unwrap();
        let signatures: Vec<Value> = self.signers[role]
            .iter()
            .map(|secret| secret.sign(&message))
            .collect();
        json!({ "signed": signed, "signatures": signatures })
            .to_string()
            .into_bytes()
    }

    pub fn add_target(&mut self, role: &str, path: &str, content: &[u8]) {
        let hash = hex::encode(keys::sha256(content));
        self.says.get_mut(role).unwrap()["targets"][path] =
            json!({ "length": content.len(), "hashes": { "sha256": hash } });
        let (folder, name) = path
            .rsplit_once('/')
            .map_or((String::new(), path), |(folder, name)| {
                (format!("{folder}/"), name)
            });
        self.files
            .insert(format!("targets/{folder}{hash}.{name}"), content.to_vec());
    }

    /// A role below another, with a key of its own.
    pub fn delegate(&mut self, from: &str, name: &str, more: Value) -> Secret {
        let secret = self.new_key();
        let delegations = &mut self.says.get_mut(from).unwrap()["delegations"];
        if delegations.is_null() {
            *delegations = json!({ "keys": {}, "roles": [] });
        }
        delegations["keys"][secret.id()] = secret.public();
        let mut role =
            json!({ "name": name, "keyids": [secret.id()], "threshold": 1, "terminating": false });
        role.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        delegations["roles"].as_array_mut().unwrap().push(role);
        self.says.entry(name.to_owned()).or_insert_with(|| {
            json!({ "_type": "targets", "spec_version": "1.0.31", "version": 0, "expires": in_days(30), "targets": {} })
        });
        self.signers
            .entry(name.to_owned())
            .or_default()
            .push(secret.clone());
        secret
    }

    /// Everything that is not at the top, then the top.
    pub fn publish_all(&mut self) {
        let delegated: Vec<String> = self
            .says
            .keys()
            .filter(|role| !TOP.contains(&role.as_str()))
            .cloned()
            .collect();
        let delegated: Vec<&str> = delegated.iter().map(String::as_str).collect();
        self.publish(&delegated);
        self.publish(&["targets", "snapshot", "timestamp"]);
    }
}

fn encoded(name: &str) -> String {
    name.bytes()
        .map(|byte| {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect()
}

/// A client: the root that it was given, its cache, and what it asked for last.
pub struct Follower {
    pub pinned: Vec<u8>,
    pub cache: BTreeMap<String, Vec<u8>>,
    pub asked: Vec<String>,
    pub now: Timestamp,
}

impl Follower {
    pub fn of(repository: &Repository) -> Self {
        Self {
            pinned: repository.files["1.root.json"].clone(),
            cache: BTreeMap::new(),
            asked: Vec::new(),
            now: now(),
        }
    }

    pub fn refresh(&mut self, repository: &Repository) -> Result<Trusted, UpdateError> {
        self.run(Some(repository), Mode::Online)
    }

    pub fn offline(&mut self, allow_expired: bool) -> Result<Trusted, UpdateError> {
        self.run(None, Mode::Offline { allow_expired })
    }

    fn run(&mut self, repository: Option<&Repository>, mode: Mode) -> Result<Trusted, UpdateError> {
        self.asked.clear();
        let mut update = Update::start(&self.pinned, self.now, mode)?;
        while let Some(want) = update.wants() {
            let found = self.get(&want, repository);
            if let Some(keep) = update.feed(found.as_deref())? {
                for file in keep.files {
                    self.cache.insert(file.in_cache(), keep.bytes.clone());
                }
            }
        }
        Ok(update.finish().unwrap())
    }

    fn get(&mut self, want: &Want, repository: Option<&Repository>) -> Option<Vec<u8>> {
        let found = match want.place {
            Place::Cache => self.cache.get(&want.file.in_cache()).cloned(),
            Place::Repository => {
                self.asked.push(want.file.in_repository());
                let repository = repository.expect("offline, and the repository is asked");
                repository.files.get(&want.file.in_repository()).cloned()
            }
        };
        found.filter(|bytes| bytes.len() <= want.max_bytes)
    }

    pub fn search(
        &mut self,
        repository: Option<&Repository>,
        trusted: &mut Trusted,
        path: &str,
    ) -> Result<Option<Target>, UpdateError> {
        let mode = trusted.mode();
        let mut search = trusted.search(TargetPath::new(path).unwrap(), mode);
        while let Some(want) = search.wants()? {
            let found = self.get(&want, repository);
            if let Some(keep) = search.feed(found.as_deref())? {
                for file in keep.files {
                    self.cache.insert(file.in_cache(), keep.bytes.clone());
                }
            }
        }
        Ok(search.finish())
    }

    /// Role and version of what is kept.
    pub fn kept(&self) -> Vec<(String, u64)> {
        self.cache
            .iter()
            .filter(|(name, _)| !name.contains('/'))
            .map(|(name, bytes)| {
                let value: Value = serde_json::from_slice(bytes).unwrap();
                (
                    name.trim_end_matches(".json").to_owned(),
                    value["signed"]["version"].as_u64().unwrap(),
                )
            })
            .collect()
    }

    pub fn version(&self, role: &str) -> Option<u64> {
        self.kept()
            .into_iter()
            .find(|(name, _)| name == role)
            .map(|(_, version)| version)
    }
}
