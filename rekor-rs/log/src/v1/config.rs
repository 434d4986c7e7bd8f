//! The `[v1]` table of the settings.

use std::path::{Path, PathBuf};

use kinds::Kind;
use serde::Deserialize;
use serve::{SettingsError, settings};
use signer::KeyRef;

use crate::config::{check_host, home, key_ref};

use crate::storage::Home;

/// As it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawV1 {
    host: String,
    attestation_bytes: Option<usize>,
    attestations: Option<PathBuf>,
    kinds: Option<Vec<String>>,
    shards: Vec<RawShard>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawShard {
    tree_id: u64,
    key: String,
    key_secret_file: Option<PathBuf>,
    folder: Option<PathBuf>,
    checkpoint_copy: Option<PathBuf>,
}

/// Settings of the Rekor v1 log.
#[derive(Clone, Debug)]
pub struct V1Config {
    /// Host name of the base URL that clients have: name of the key, and beginning of each checkpoint's origin.
    pub host: String,
    /// Where attestations are; without it they are not kept.
    pub attestations: Option<Home>,
    /// The largest attestation that is kept, in bytes.
    pub attestation_bytes: usize,
    /// The kinds of entries that are taken; all are read.
    pub kinds: Vec<Kind>,
    /// The trees, the oldest first; the last one takes entries.
    pub shards: Vec<ShardConfig>,
    /// Entries that may wait for the sequencer.
    pub queue: usize,
}

/// One tree.
#[derive(Clone, Debug)]
pub struct ShardConfig {
    /// Its number: not 0, below 2^63, another one for each tree.
    pub tree_id: u64,
    /// The ECDSA P-256 key.
    pub key: KeyRef,
    /// Where the tree is.
    pub home: Home,
    /// Second copy of its last checkpoint.
    pub checkpoint_copy: Option<PathBuf>,
}

impl RawV1 {
    pub(crate) fn checked(
        self,
        settings: &Path,
        queue: usize,
        in_cluster: bool,
    ) -> Result<V1Config, SettingsError> {
        let beside = |named: &Path| settings::beside(settings, named);
        check_host("v1.host", &self.host)?;
        if self.shards.is_empty() {
            return Err(SettingsError::value(
                "v1.shards",
                "expected at least one [[v1.shards]]; the last one takes entries",
            ));
        }
        let mut seen = Vec::new();
        for shard in &self.shards {
            if shard.tree_id == 0 || i64::try_from(shard.tree_id).is_err() {
                return Err(SettingsError::value(
                    "v1.shards.tree_id",
                    "expected 1 to 2^63 - 1",
                ));
            }
            if seen.contains(&shard.tree_id) {
                return Err(SettingsError::value(
                    "v1.shards.tree_id",
                    format!("{} is there twice", shard.tree_id),
                ));
            }
            seen.push(shard.tree_id);
        }
        let attestation_bytes = self.attestation_bytes.unwrap_or(100 << 10);
        if attestation_bytes > 4 << 20 {
            return Err(SettingsError::value(
                "v1.attestation_bytes",
                "expected at most 4194304",
            ));
        }
        let kinds = match self.kinds {
            None => Kind::ALL.to_vec(),
            Some(names) => kinds_of(&names)?,
        };
        let attestations = match (self.attestations, in_cluster) {
            (None, false) => None,
            (Some(folder), false) => Some(beside(&folder)),
            // Several machines have no folder in common.
            (None, true) => Some(PathBuf::new()),
            (Some(_), true) => {
                return Err(SettingsError::value(
                    "v1.attestations",
                    "with [cluster] attestations are in the database: leave the folder out",
                ));
            }
        };
        let mut shards = Vec::new();
        for shard in self.shards {
            shards.push(ShardConfig {
                tree_id: shard.tree_id,
                key: key_ref(
                    "v1.shards.key",
                    &shard.key,
                    shard.key_secret_file.as_deref(),
                    settings,
                )?,
                home: Home {
                    folder: home("v1.shards.folder", settings, shard.folder, in_cluster)?,
                    tree: format!("{}.v1.{}", self.host, shard.tree_id),
                },
                checkpoint_copy: shard.checkpoint_copy.as_deref().map(beside),
            });
        }
        Ok(V1Config {
            attestations: attestations.map(|folder| Home {
                folder,
                tree: format!("{}.v1.attestations", self.host),
            }),
            host: self.host,
            attestation_bytes,
            kinds,
            shards,
            queue,
        })
    }
}

fn kinds_of(names: &[String]) -> Result<Vec<Kind>, SettingsError> {
    let known = || Kind::ALL.map(Kind::name).join(", ");
    if names.is_empty() {
        let message = format!("expected at least one of {}", known());
        return Err(SettingsError::value("v1.kinds", message));
    }
    let kind = |name: &String| {
        Kind::from_name(name).ok_or_else(|| {
            let message = format!("no kind {name:?}: expected some of {}", known());
            SettingsError::value("v1.kinds", message)
        })
    };
    names.iter().map(kind).collect()
}

impl ShardConfig {
    /// What the engine has to know.
    pub fn engine(&self, config: &V1Config) -> sequencer::Config {
        sequencer::Config {
            checkpoint_copy: self.checkpoint_copy.clone(),
            queue: config.queue,
            ..sequencer::Config::new(&self.home.folder)
        }
    }
}
