//! Log entries: what a Rekor log keeps about a signature, and what an entry proves about a bundle.
//!
//! Kinds: hashedrekord 0.0.1 and 0.0.2, dsse 0.0.1 and 0.0.2, intoto 0.0.1 and 0.0.2 (sigstore/rekor `pkg/types`, sigstore/rekor-tiles). Bodies are RFC 8785
//! canonical JSON; the leaf hash is taken over those bytes, so the log's side makes them and the verifier's side reads them with one set of types.
//!
//! An intoto 0.0.1 body names no signature and so binds none: a log takes it ([`v1`]), a verifier does not ([`Body`]).

mod body;
mod log_entry;
mod pae;
mod promise;
mod propose;
mod search;
pub mod v1;

pub use body::{BindError, Body, BodyError, Content, Signed, Verifier};
pub use log_entry::{EntryError, InclusionProof, LogEntry, MAX_PROOF};
pub use promise::promise;
pub use propose::{Accepted, AdmitError, Proposed, REKOR_V2_ALGORITHMS, hashedrekord_algorithm};
pub use search::{issuer_key, search_keys, signature_key};
