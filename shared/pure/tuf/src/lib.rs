//! The Update Framework (TUF specification 1.0.34), the part that writes a repository: metadata shapes, canonical JSON, keys,
//! thresholds, and authoring in the order prepare, sign outside, seal.
//!
//! ```text
//! {"signed":{"_type":"timestamp","expires":"..","meta":{..},"spec_version":"1.0.0","version":7},
//!  "signatures":[{"keyid":"<64 hex>","sig":"<hex>"}]}
//!   sig = signature over the canonical JSON of the value of "signed"
//! ```
//!
//! A repository made from this crate is one that every Sigstore client reads: consistent snapshots, so that metadata is
//! `N.role.json` and a target is `<sha256>.name`; keys only of the types `ecdsa` (P-256, PEM) and `ed25519` (hex); key ids
//! that are the hash of the key; no field that the specification does not know; files within the sizes that clients read.
//!
//! Invariants: [`Signed`] bytes carry enough valid signatures for every role that they were sealed for; signatures are counted
//! by distinct key, in one function for author and reader; what was parsed is verified over the value as received.
//!
//! Not here: the client's update procedure, delegations, and any file or socket.

pub mod author;
pub mod canonical;
pub mod ceremony;
pub mod diff;
pub mod document;
pub mod envelope;
pub mod key;
pub mod lint;
pub mod metadata;
pub mod request;

pub use author::{AuthorError, Prepared, Signed, prepare};
pub use canonical::CanonicalError;
pub use ceremony::{Ceremony, CeremonyError, Progress, Required, Sealed};
pub use document::{Delegation, Document, DocumentError, RoleName};
pub use envelope::{Envelope, EnvelopeError};
pub use key::{Key, KeyError, KeyId, RoleKeys};
pub use metadata::{
    FileMeta, Metadata, MetadataError, Role, Root, Signers, Snapshot, TargetFile, TargetName,
    Targets, Timestamp, Version,
};
pub use request::{Request, RequestError};
