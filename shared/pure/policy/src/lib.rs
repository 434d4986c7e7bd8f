//! Policies: how many of which signers, seen by how many witnesses, saying what. No I/O and no clock.
//!
//! A policy file is the JSON form of `ArtifactVerificationOptions` (protobuf-specs, `sigstore_verification.proto`), and what that message cannot
//! say stands beside it under `requirements`:
//!
//! ```text
//! certificateIdentities { identities [ { issuer, san { type, value | regexp }, oids [ { oid { id }, value } ] } ] }
//! publicKeys            { publicKeys [ { rawBytes, keyDetails, validFor } ] }
//! tlogOptions, ctlogOptions, tsaOptions, integratedTsOptions, observerOptions   { threshold }
//! requirements          { signers, predicateTypes, builders, sourceRepositories, notBefore, notAfter, witnesses }
//! ```
//!
//! ```text
//! bytes --Policy::parse--> Policy --expectations--> whom verify::bundle expects;   Verified ... --judge--> Decision
//! ```
//!
//! A signature *counts* if its signer is one of those that are named and it meets every threshold, list and time. The artifact is accepted if
//! the signatures that count are by enough distinct signers, for the kind that was asked for and for each predicate type that is required.
//!
//! Invariants:
//! - an empty list, a threshold of nothing and a member that nobody knows are errors, never "nothing to check";
//! - one signer is one, however often he signed: an identity is its issuer and subject, a workflow the same on each of its git refs;
//! - one witness is one, however many logs, authorities or keys it has: operators are counted, and the names of witnesses' keys;
//! - where builders, sources or times are restricted, a signature that states none does not count;
//! - only [`Policy::judge`] makes a [`Decision`].
//!
//! The message's `oneof` takes either identities or keys; here both may stand side by side. Deliberately not here: asking a log
//! (`performOnlineVerification`), and leaving out the CT log (`ctlogOptions.disable`).

mod judge;
mod parse;
mod provenance;
mod shape;

pub use judge::{Asked, Considered, Decision, Reason, Who, Why};
pub use parse::{MAX_POLICY, Policy, PolicyError};

/// The predicate type under which cosign 3 signs images: such a statement says nothing but "signed".
pub const SIGNATURE: &str = "https://sigstore.dev/cosign/sign/v1";
