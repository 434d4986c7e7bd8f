//! The Update Framework (TUF specification 1.0.34): metadata shapes, canonical JSON, keys, thresholds; authoring in the order prepare, sign
//! outside, seal; and the client's update in the order plan, fetch, compute ([`update`], [`search`]).
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
//! What a client reads is more than what we write: see [`update`] for its rules. Not here: any file, socket or clock.

pub mod artifact;
pub mod author;
pub mod canonical;
pub mod ceremony;
pub mod diff;
pub mod document;
pub mod envelope;
mod glob;
pub mod key;
pub mod lint;
pub mod metadata;
mod path;
mod received;
pub mod request;
pub mod search;
pub mod update;

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
pub use path::{TargetPath, TargetPathError};
pub use request::{Request, RequestError};
pub use search::{Search, TARGET_MAX, Target, TargetError, Voucher};
pub use update::{File, Keep, Mode, Place, Trusted, Update, UpdateError, Want, describe_root};
