//! Log entries: what a Rekor log keeps about a signature, and what an entry proves about a bundle.
//!
//! Kinds: hashedrekord 0.0.1 and 0.0.2, dsse 0.0.1 and 0.0.2, intoto 0.0.1 and 0.0.2 (sigstore/rekor `pkg/types`, sigstore/rekor-tiles). Bodies are RFC 8785
//! canonical JSON; the leaf hash is taken over those bytes, so the log's side makes them and the verifier's side reads them with one set of types.
//!
//! What a Rekor v2 log admits is here; what a Rekor v1 log admits, with its parsers of packages and of other worlds' keys, is in the crate `kinds`,
//! which no verifier needs.

mod body;
mod log_entry;
mod message;
mod promise;
mod propose;
mod propose_v1;
mod search;

pub use body::{BindError, Body, BodyError, Content, Signed, Verifier};
pub use log_entry::{EntryError, InclusionProof, LogEntry, MAX_PROOF};
pub use message::Message;
pub use promise::promise;
pub use propose::{
    Accepted, AdmitError, Proposed, REKOR_V2_ALGORITHMS, canonical_json, hashedrekord_algorithm,
};
pub use propose_v1::ProposedV1;
pub use search::{digest_keys, issuer_key, search_keys, signature_key, verifier_keys};
