//! The `[v1]` table of the settings.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serve::{SettingsError, settings};
use signer::KeyRef;

use crate::config::{check_host, key_ref};

/// As it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawV1 {
    host: String,
    attestation_bytes: Option<usize>,
    attestations: Option<PathBuf>,
    shards: Vec<RawShard>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawShard {
    tree_id: u64,
    key: String,
    key_secret_file: Option<PathBuf>,
    folder: PathBuf,
    checkpoint_copy: Option<PathBuf>,
}

/// Settings of the Rekor v1 log.
#[derive(Clone, Debug)]
pub struct V1Config {
    /// Host name of the base URL that clients have: name of the key, and beginning of each checkpoint's origin.
    pub host: String,
    /// Folder of the attestations; without it they are not kept.
    pub attestations: Option<PathBuf>,
    /// The largest attestation that is kept, in bytes.
    pub attestation_bytes: usize,
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
    /// Folder of the tree.
    pub folder: PathBuf,
    /// Second copy of its last checkpoint.
    pub checkpoint_copy: Option<PathBuf>,
}

impl RawV1 {
    pub(crate) fn checked(self, settings: &Path, queue: usize) -> Result<V1Config, SettingsError> {
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
        Ok(V1Config {
            host: self.host,
            attestations: self.attestations.as_deref().map(beside),
            attestation_bytes,
            shards: self
                .shards
                .into_iter()
                .map(|shard| {
                    let secret = shard.key_secret_file.as_deref();
                    Ok(ShardConfig {
                        tree_id: shard.tree_id,
                        key: key_ref("v1.shards.key", &shard.key, secret, settings)?,
                        folder: beside(&shard.folder),
                        checkpoint_copy: shard.checkpoint_copy.as_deref().map(beside),
                    })
                })
                .collect::<Result<_, SettingsError>>()?,
            queue,
        })
    }
}

impl ShardConfig {
    /// What the engine has to know.
    pub fn engine(&self, config: &V1Config) -> sequencer::Config {
        sequencer::Config {
            checkpoint_copy: self.checkpoint_copy.clone(),
            queue: config.queue,
            ..sequencer::Config::new(&self.folder)
        }
    }
}
