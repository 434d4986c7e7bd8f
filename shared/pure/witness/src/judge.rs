//! What a witness makes of a submission.

use note::{Note, VerifierKey};
use tlog::{ProofError, TreeHead, TreeSize, proof};

use crate::submission::Submission;

/// A submission that may be cosigned, once its head has been remembered in place of the one it was judged against.
#[derive(Clone, Debug)]
pub struct Judged {
    head: TreeHead,
    note: Note,
    key: VerifierKey,
}

/// Why a submission is not cosigned. The statuses are those of C2SP tlog-witness.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// 403: no signature of a key that is trusted for this log, or one that does not hold.
    #[error("the checkpoint is not signed by a key of this log")]
    Signature(#[source] note::OpenError),
    /// 400: the old size is beyond the checkpoint's.
    #[error("the old size {old} is larger than the checkpoint's, {new}")]
    OldIsLarger {
        /// Stated old size.
        old: TreeSize,
        /// Size in the checkpoint.
        new: TreeSize,
    },
    /// 409: the witness knows another tree, of this size.
    #[error("the last checkpoint that was cosigned has the size {known}, not {old}")]
    Conflict {
        /// Stated old size.
        old: TreeSize,
        /// Size that the witness knows.
        known: TreeSize,
    },
    /// 422: the tree is not a continuation of the one that is known.
    #[error("the checkpoint is not consistent with the last one that was cosigned")]
    Inconsistent(#[source] ProofError),
    /// 422: an empty tree with another root.
    #[error("the checkpoint of the empty tree has not the root of the empty tree")]
    EmptyRoot,
}

/// Judges a submission to a log whose keys are `keys`, and of which `known` was cosigned last.
///
/// The keys are those of the submission's origin; a log that the witness does not know is refused before this.
pub fn judge(
    submission: &Submission,
    keys: &[VerifierKey],
    known: Option<TreeHead>,
) -> Result<Judged, Refusal> {
    let opened = note::open(&submission.note.to_bytes(), keys).map_err(Refusal::Signature)?;
    let head = *opened.head();
    let known = known.unwrap_or(TreeHead::EMPTY);
    let old = submission.old;
    if old > head.size {
        return Err(Refusal::OldIsLarger {
            old,
            new: head.size,
        });
    }
    if old != known.size {
        return Err(Refusal::Conflict {
            old,
            known: known.size,
        });
    }
    if head.size == TreeSize::EMPTY && head != TreeHead::EMPTY {
        return Err(Refusal::EmptyRoot);
    }
    proof::verify_consistency(&known, &head, &submission.proof).map_err(Refusal::Inconsistent)?;
    Ok(Judged {
        head,
        // Signatures of strangers are not handed on.
        note: submission.note.keeping(|line| {
            line.name() == opened.key().name() && line.hint() == opened.key().hint()
        }),
        key: opened.key().clone(),
    })
}

impl Judged {
    /// The head to remember.
    pub const fn head(&self) -> TreeHead {
        self.head
    }

    /// The checkpoint with the log's signature and no other.
    pub const fn note(&self) -> &Note {
        &self.note
    }

    /// The key whose signature held.
    pub const fn key(&self) -> &VerifierKey {
        &self.key
    }
}
