//! Witnesses of transparency logs: what a log asks of them, how they judge, and how many of them are enough.
//!
//! Specifications: C2SP tlog-witness 1.0 (`add-checkpoint`), tlog-policy, and tlog-cosignature, which is in `note`.
//!
//! ```text
//! log      Submission { old size, consistency proof, checkpoint } --to_bytes-->  POST add-checkpoint
//! witness  bytes --Submission::parse--> --judge(keys of the log, last head seen)--> Judged --sign, remember--> signature line
//! log      signature line --note::CosignerKey::find--> Cosignature;  Policy::met_by(who cosigned) -> published
//! ```
//!
//! Invariants:
//! - only [`judge`] makes a [`Judged`]: the log's signature held, and the tree has the last one that was seen as a prefix;
//! - what was judged may be signed only after its head has been remembered durably, in place of the one it was judged against;
//! - a policy without a quorum line is no policy: [`Policy::parse`] refuses it.
//!
//! Deliberately not here: cosignatures of subtrees (`sign-subtree`), which no log of ours asks for.

mod judge;
mod policy;
mod submission;

pub use judge::{Judged, Refusal, judge};
pub use policy::{MAX_POLICY, Policy, PolicyError, PolicyLog, PolicyWitness};
pub use submission::{MAX_PROOF_LINES, MAX_SUBMISSION, Submission, SubmissionError};
