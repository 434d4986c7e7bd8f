//! The interface of Rekor v1 over the same engine, with a tree (or several shards) and a key of its own.
//!
//! Specification: sigstore/rekor `openapi.yaml` and `pkg/api` (statuses, headers, error bodies).
//!
//! ```text
//! POST /api/v1/log/entries             201 entry with promise, proof and checkpoint; ETag and Location name it
//! GET  /api/v1/log/entries?logIndex=N  an entry by its index over all shards
//! GET  /api/v1/log/entries/{uuid}      an entry by its leaf hash, with or without tree
//! POST /api/v1/log/entries/retrieve    up to ten entries by index, id or proposal
//! GET  /api/v1/log                     size, root and checkpoint of the active tree, and of those before it
//! GET  /api/v1/log/proof               consistency of two sizes of a tree
//! GET  /api/v1/log/publicKey           the key of a tree
//! POST /api/v1/index/retrieve          ids of entries with a digest, a key, a name
//! ```
//!
//! Invariants:
//! - bodies of v1 and v2 are never in one tree: monitors parse every body of a tree by one rule;
//! - a v1 checkpoint has one signature line, as clients want each line to be the log's own;
//! - the time in a promise is the time of the batch that holds the entry, and is kept with it.
//!
//! Deliberately not here yet: entry kinds that no client of today sends.

mod attestations;
pub mod config;
mod few;
mod http;
pub mod id;
pub mod leaf;
pub mod shards;

pub(crate) use attestations::{Attestations, GiveUp};
pub(crate) use http::{V1, manner, routes};
pub use shards::{Access, Shards, Trees};
