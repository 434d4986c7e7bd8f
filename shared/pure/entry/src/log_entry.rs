//! `TransparencyLogEntry`: where an entry stands and how the log proves it.

use jiff::Timestamp;
use thiserror::Error;
use tlog::{Hash, LeafIndex, TreeSize};
use wire::bundle as shape;
use wire::common::LogId;
use wire::encoding::{Bytes, Int64};
use wire::rekor_v1;

/// An audit path of a tree of 2^63 leaves.
pub const MAX_PROOF: usize = 63;

/// An entry of a log as a bundle carries it; read, not believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// Index in the log; in Rekor v1 counted over all shards.
    pub index: u64,
    /// Which log.
    pub log_id: Vec<u8>,
    /// `hashedrekord`, `dsse`, `intoto`.
    pub kind: String,
    /// `0.0.1`, `0.0.2`.
    pub version: String,
    /// When the log took it in; Rekor v2 does not say.
    pub integrated_time: Option<Timestamp>,
    /// The signed entry timestamp.
    pub promise: Option<Vec<u8>>,
    /// The inclusion proof.
    pub proof: Option<InclusionProof>,
    /// The leaf.
    pub body: Vec<u8>,
}

/// An inclusion proof with the checkpoint that it leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InclusionProof {
    /// Index in the tree of the checkpoint.
    pub index: LeafIndex,
    /// Size that the proof states.
    pub size: TreeSize,
    /// Root that the proof states.
    pub root: Hash,
    /// The audit path.
    pub hashes: Vec<Hash>,
    /// The signed note; empty where there is none (v0.1 bundles).
    pub checkpoint: String,
}

/// Why an entry is malformed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum EntryError {
    /// A member that must be there is not.
    #[error("the log entry has no {0}")]
    Missing(&'static str),
    /// A number that counts something is negative.
    #[error("the log entry's {0} is negative: {1}")]
    Negative(&'static str, i64),
    /// A hash that is none.
    #[error("the log entry's {0} is not 32 bytes")]
    Hash(&'static str),
    /// A longer audit path than any tree has.
    #[error("an audit path of {0} hashes, at most {MAX_PROOF}")]
    TooLong(usize),
    /// A body that does not say what it is.
    #[error("the log entry's body has no kind and apiVersion")]
    Kind,
    /// A time that does not exist.
    #[error("the log entry's integratedTime {0} is no time")]
    Time(i64),
}

impl LogEntry {
    /// Takes an entry as the first version of Rekor gives it out.
    pub fn from_rekor_v1(entry: rekor_v1::LogEntry) -> Result<Self, EntryError> {
        #[derive(serde::Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Kind {
            kind: String,
            api_version: String,
        }
        let kind: Kind = serde_json::from_slice(&entry.body.0).map_err(|_| EntryError::Kind)?;
        let decode = |what, text: &str| {
            let decoded = hex::decode(text).map_err(|_| EntryError::Hash(what));
            decoded.map(Bytes)
        };
        let proof = entry.verification.inclusion_proof;
        Self::from_wire(shape::TransparencyLogEntry {
            log_index: int(entry.log_index),
            log_id: Some(LogId {
                key_id: decode("logID", &entry.log_id)?,
            }),
            kind_version: Some(shape::KindVersion {
                kind: kind.kind,
                version: kind.api_version,
            }),
            integrated_time: Int64(entry.integrated_time),
            inclusion_promise: Some(shape::InclusionPromise {
                signed_entry_timestamp: entry.verification.signed_entry_timestamp,
            }),
            inclusion_proof: Some(shape::InclusionProof {
                log_index: int(proof.log_index),
                root_hash: decode("rootHash", &proof.root_hash)?,
                tree_size: int(proof.tree_size),
                hashes: proof
                    .hashes
                    .iter()
                    .map(|hash| decode("hashes", hash))
                    .collect::<Result<_, _>>()?,
                checkpoint: Some(shape::Checkpoint {
                    envelope: proof.checkpoint,
                }),
            }),
            canonicalized_body: entry.body,
        })
    }

    /// Takes the JSON shape.
    pub fn from_wire(entry: shape::TransparencyLogEntry) -> Result<Self, EntryError> {
        let kind = entry
            .kind_version
            .ok_or(EntryError::Missing("kindVersion"))?;
        let log_id = entry
            .log_id
            .map(|id| id.key_id.0)
            .filter(|id| !id.is_empty())
            .ok_or(EntryError::Missing("logId"))?;
        let integrated_time = match entry.integrated_time.0 {
            0 => None,
            seconds if seconds < 0 => return Err(EntryError::Negative("integratedTime", seconds)),
            seconds => {
                Some(Timestamp::from_second(seconds).map_err(|_| EntryError::Time(seconds))?)
            }
        };
        if entry.canonicalized_body.0.is_empty() {
            return Err(EntryError::Missing("canonicalizedBody"));
        }
        Ok(Self {
            index: count("logIndex", entry.log_index)?,
            log_id,
            kind: kind.kind,
            version: kind.version,
            integrated_time,
            promise: entry
                .inclusion_promise
                .map(|promise| promise.signed_entry_timestamp.0)
                .filter(|set| !set.is_empty()),
            proof: entry
                .inclusion_proof
                .map(InclusionProof::from_wire)
                .transpose()?,
            body: entry.canonicalized_body.0,
        })
    }

    /// The JSON shape.
    pub fn to_wire(&self) -> shape::TransparencyLogEntry {
        shape::TransparencyLogEntry {
            log_index: int(self.index),
            log_id: Some(LogId {
                key_id: Bytes(self.log_id.clone()),
            }),
            kind_version: Some(shape::KindVersion {
                kind: self.kind.clone(),
                version: self.version.clone(),
            }),
            integrated_time: Int64(self.integrated_time.map_or(0, Timestamp::as_second)),
            inclusion_promise: self.promise.clone().map(|set| shape::InclusionPromise {
                signed_entry_timestamp: Bytes(set),
            }),
            inclusion_proof: self.proof.as_ref().map(InclusionProof::to_wire),
            canonicalized_body: Bytes(self.body.clone()),
        }
    }
}

impl InclusionProof {
    fn from_wire(proof: shape::InclusionProof) -> Result<Self, EntryError> {
        if proof.hashes.len() > MAX_PROOF {
            return Err(EntryError::TooLong(proof.hashes.len()));
        }
        let hash = |what, bytes: &Bytes| Hash::from_slice(&bytes.0).ok_or(EntryError::Hash(what));
        Ok(Self {
            index: LeafIndex::new(count("inclusionProof.logIndex", proof.log_index)?),
            size: TreeSize::new(count("inclusionProof.treeSize", proof.tree_size)?),
            root: hash("inclusionProof.rootHash", &proof.root_hash)?,
            hashes: proof
                .hashes
                .iter()
                .map(|bytes| hash("inclusionProof.hashes", bytes))
                .collect::<Result<_, _>>()?,
            checkpoint: proof
                .checkpoint
                .map(|checkpoint| checkpoint.envelope)
                .unwrap_or_default(),
        })
    }

    /// The JSON shape.
    pub fn to_wire(&self) -> shape::InclusionProof {
        shape::InclusionProof {
            log_index: int(self.index.get()),
            root_hash: self.root.as_ref().into(),
            tree_size: int(self.size.get()),
            hashes: self
                .hashes
                .iter()
                .map(|hash| hash.as_ref().into())
                .collect(),
            checkpoint: Some(shape::Checkpoint {
                envelope: self.checkpoint.clone(),
            }),
        }
    }
}

fn count(what: &'static str, number: Int64) -> Result<u64, EntryError> {
    u64::try_from(number.0).map_err(|_| EntryError::Negative(what, number.0))
}

fn int(number: u64) -> Int64 {
    Int64(i64::try_from(number).unwrap_or(i64::MAX))
}
