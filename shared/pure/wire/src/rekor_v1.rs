//! The HTTP interface of Rekor v1 (sigstore/rekor `openapi.yaml`): plain JSON, hashes in hexadecimal, numbers as numbers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::encoding::Bytes;

/// An entry under its 80-digit id: a map with one member.
pub type LogEntries = BTreeMap<String, LogEntry>;

/// `LogEntryAnon`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LogEntry {
    /// What was attested, of intoto entries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attestation: Option<Attestation>,
    /// The leaf.
    pub body: Bytes,
    /// Seconds since 1970.
    pub integrated_time: i64,
    /// SHA-256 of the log's public key, hexadecimal.
    #[serde(rename = "logID")]
    pub log_id: String,
    /// Counted over all shards.
    pub log_index: u64,
    /// Proof and promise.
    pub verification: Verification,
}

/// `LogEntryAnonAttestation`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attestation {
    /// The payload.
    pub data: Bytes,
}

/// `LogEntryAnonVerification`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Verification {
    /// Under a signed checkpoint.
    pub inclusion_proof: InclusionProof,
    /// The promise.
    pub signed_entry_timestamp: Bytes,
}

/// `InclusionProof`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InclusionProof {
    /// The signed note.
    pub checkpoint: String,
    /// The audit path, from the leaf upwards, hexadecimal.
    pub hashes: Vec<String>,
    /// Counted in its shard alone.
    pub log_index: u64,
    /// Root of the shard, hexadecimal.
    pub root_hash: String,
    /// Leaves of the shard.
    pub tree_size: u64,
}

/// `LogInfo`: the newest tree, and the shards before it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LogInfo {
    /// `null` when there is none.
    pub inactive_shards: Option<Vec<ShardInfo>>,
    /// The active shard.
    #[serde(flatten)]
    pub active: ShardInfo,
}

/// `InactiveShardLogInfo`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ShardInfo {
    /// Hexadecimal.
    pub root_hash: String,
    /// The checkpoint.
    pub signed_tree_head: String,
    /// Decimal, as text.
    #[serde(rename = "treeID")]
    pub tree_id: String,
    /// Leaves.
    pub tree_size: u64,
}

/// `ConsistencyProof`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConsistencyProof {
    /// Hexadecimal.
    pub hashes: Vec<String>,
    /// Root of the newest tree, whatever was asked for.
    pub root_hash: String,
}

/// `Error`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Error {
    /// The HTTP status, or of a value that breaks the schema a number of its own.
    pub code: u16,
    /// For people.
    pub message: String,
}
