//! What can go wrong with a registry.

use client::{CallError, Refused};
use thiserror::Error;

use crate::reference::Repository;

/// Why a registry could not be read or written.
#[derive(Debug, Error)]
pub enum OciError {
    /// No answer.
    #[error("{what}")]
    Call {
        /// What was being done.
        what: String,
        /// Why there is none.
        #[source]
        source: CallError,
    },
    /// No.
    #[error("{what}: {refused}")]
    Refused {
        /// What was being done.
        what: String,
        /// The registry's words.
        refused: Refused,
    },
    /// These credentials, or none, are not enough.
    #[error("{what}: {registry} does not allow it {}: {refused}", if *anonymous { "without credentials" } else { "with these credentials" })]
    Denied {
        /// What was being done.
        what: String,
        /// Where.
        registry: String,
        /// No credentials were there to be sent.
        anonymous: bool,
        /// The registry's words.
        refused: Refused,
    },
    /// There is no such thing.
    #[error("{what}: there is none")]
    NotFound {
        /// What was being done.
        what: String,
    },
    /// Other bytes than the digest says.
    #[error("{what}: the registry sent something else, with digest {found}")]
    Digest {
        /// What was being done.
        what: String,
        /// What came.
        found: String,
    },
    /// Something that is not what it should be.
    #[error("{what}: {why}")]
    Malformed {
        /// What was being done.
        what: String,
        /// What is wrong.
        why: String,
    },
    /// More referrers than anybody reads.
    #[error("{what}: more than {limit}")]
    TooMany {
        /// What was being done.
        what: String,
        /// The limit.
        limit: usize,
    },
    /// Other writers always came in between.
    #[error(
        "{repository}: other writers changed the tag {tag} at every one of {attempts} attempts"
    )]
    Contended {
        /// Where.
        repository: Repository,
        /// Which tag.
        tag: String,
        /// How often it was tried.
        attempts: u32,
    },
}
