//! Taking over somebody else's repository.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp as Time;
use store::Disk;
use tuf::metadata::Version;
use tuf::{Document, Envelope, RoleName};

use crate::error::RepositoryError;
use crate::published::Published;
use crate::repository::Repository;

/// Files of another repository, by their names as they are served: `1.root.json`, `targets/<hash>.name`; also without versions and hashes, as
/// tuf-on-ci and go-tuf keep them (`metadata/root.json`, `targets/name`).
pub type Files = BTreeMap<String, Vec<u8>>;

impl Repository {
    /// Takes over a repository with its ids, versions and all that is in its documents. Its roots have to lead from one to the next; what it serves
    /// is kept byte for byte. From the next change on it is ours, which the keys in force still have to sign.
    pub fn import(
        disk: Arc<dyn Disk>,
        folder: &Path,
        policy: &str,
        files: &Files,
        now: Time,
    ) -> Result<(Self, Vec<String>), RepositoryError> {
        let served = served(files);
        let read = |name: &str| -> Result<Option<Vec<u8>>, RepositoryError> {
            Ok(served.get(name).cloned())
        };
        let oldest = served
            .keys()
            .filter_map(|name| Version::new(name.strip_suffix(".root.json")?.parse().ok()?).ok())
            .min();
        let published = Published::read(&read, oldest)?.ok_or_else(|| {
            RepositoryError::Missing(
                "a root (N.root.json, root_history/N.root.json or root.json)".to_owned(),
            )
        })?;
        let mut notes = Vec::new();
        if published.targets.is_none() {
            return Err(RepositoryError::Missing(
                "a timestamp, a snapshot and targets that it names".to_owned(),
            ));
        }
        if published.root.document.member("consistent_snapshot") != Some(&true.into()) {
            return Err(RepositoryError::Refused(
                "consistent snapshots are off in its root, and clients would ask for other file names than we write: turn them on with the tool that \
                 made it, and take it over then"
                    .to_owned(),
            ));
        }
        for role in [
            RoleName::ROOT,
            RoleName::TARGETS,
            RoleName::SNAPSHOT,
            RoleName::TIMESTAMP,
        ] {
            match published.of(&role) {
                None => notes.push(format!(
                    "{role} is not acceptable under the newest root: it is signed again"
                )),
                Some(held) if held.document.expires() <= now => {
                    notes.push(format!(
                        "{role} {} expired at {}",
                        held.document.version(),
                        held.document.expires()
                    ));
                }
                Some(_) => {}
            }
        }
        for held in [Some(&published.root), published.targets.as_ref()]
            .into_iter()
            .flatten()
        {
            let found = tuf::lint::document(&held.document);
            notes.extend(
                found
                    .iter()
                    .map(|finding| format!("kept as it is: {finding}")),
            );
        }
        for there in ["policy.toml", "published/1.root.json"] {
            if crate::repository::read(&*disk, there, 1 << 20)?.is_some() {
                return Err(RepositoryError::Exists(there.to_owned()));
            }
        }
        let put = |name: &str, content: &[u8]| {
            let path = crate::repository::path(name)?;
            disk.replace_durable(&path, content)
                .map_err(|source| RepositoryError::Disk {
                    path: name.to_owned(),
                    action: "writing it",
                    source,
                })
        };
        for (name, content) in &served {
            put(&format!("published/{name}"), content)?;
        }
        // Names of keys: those that the repository itself has for them.
        for (name, key) in owners(&published.root.document)? {
            put(&format!("keys/{name}.pem"), key.to_pem().as_bytes())?;
        }
        put("policy.toml", policy.as_bytes())?;
        put(".gitignore", b"lock\n.new-*\n*.key\n")?;
        Ok((Self::open(disk, folder)?, notes))
    }
}

/// The files under the names that they are served by, with versions and hashes before them where consistent snapshots have them.
fn served(files: &Files) -> BTreeMap<String, Vec<u8>> {
    let mut served = BTreeMap::new();
    let mut plain_targets = Vec::new();
    for (name, content) in files {
        let name = name.strip_prefix("metadata/").unwrap_or(name);
        let name = name.strip_prefix("repository/").unwrap_or(name);
        let name = name.strip_prefix("root_history/").unwrap_or(name);
        if let Some(target) = name.strip_prefix("targets/") {
            plain_targets.push((target.to_owned(), content.clone()));
        }
        let Some(stem) = name.strip_suffix(".json").filter(|_| !name.contains('/')) else {
            if name.starts_with("targets/") {
                served.insert(name.to_owned(), content.clone());
            }
            continue;
        };
        let versioned = stem
            .split_once('.')
            .is_some_and(|(number, _)| number.parse::<u64>().is_ok());
        if versioned || name == "timestamp.json" {
            served.insert(name.to_owned(), content.clone());
            continue;
        }
        let Ok(role) = RoleName::parse(stem) else {
            continue;
        };
        let Ok(envelope) = Envelope::parse(content, role.kind().size_max()) else {
            continue;
        };
        let Ok(document) = Document::read(role.clone(), envelope.unverified()) else {
            continue;
        };
        served.insert(role.file_name(document.version()), content.clone());
        if role == RoleName::ROOT {
            served.insert("root.json".to_owned(), content.clone());
        }
    }
    // Targets that are kept under their plain names are served under their hashes.
    for (name, content) in plain_targets {
        let file = tuf::TargetFile::of(&content);
        let hash = hex::encode(file.sha256());
        let last = name.rsplit('/').next().unwrap_or(&name);
        if !last.starts_with(&hash) {
            served.insert(
                format!("targets/{}", tuf::document::target_path(&name, &file)),
                content,
            );
        }
    }
    served
}

/// Keys with the owner's names that tuf-on-ci writes beside them, or else the beginning of their ids.
fn owners(root: &Document) -> Result<Vec<(String, keys::PublicKey)>, RepositoryError> {
    let mut owners = Vec::new();
    for (id, value) in root.key_values()? {
        let Ok(keys) = tuf::Key::read(value) else {
            continue;
        };
        let owner = value
            .get("x-tuf-on-ci-keyowner")
            .and_then(serde_json::Value::as_str);
        let plain: String = owner
            .unwrap_or_default()
            .chars()
            .filter(|character| character.is_ascii_alphanumeric() || *character == '-')
            .collect();
        let short = id.get(..8).unwrap_or(id);
        let name = if plain.is_empty() {
            short.to_owned()
        } else {
            plain
        };
        owners.push((name, keys.public_key().clone()));
    }
    Ok(owners)
}
