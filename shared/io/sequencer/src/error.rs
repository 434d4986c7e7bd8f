//! What can go wrong, by who has to act.

use std::io;
use std::time::Duration;

use tlog::{ProofError, TreeHead, TreeSize};

use crate::checkpoint_signer::SignError;

/// Why a log was not opened. Nothing was changed, and nothing was signed over a tree that does not fit.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has the folder.
    #[error("another process uses this log folder")]
    Locked,
    /// The disk refused.
    #[error("cannot {action}")]
    Disk {
        /// What was tried.
        action: String,
        /// Why it failed.
        source: io::Error,
    },
    /// A file is missing or does not contain what the rest of the log says it must.
    #[error(
        "the log folder is damaged: {0}; restore it, do not start an empty log under the same key"
    )]
    Damaged(String),
    /// The last checkpoint was signed by another key or for another origin.
    #[error("the log's last checkpoint does not open with the configured key and origin")]
    OtherKey(#[source] note::OpenError),
    /// The second copy of the checkpoint is ahead of the folder: this folder is older than what the log has published.
    #[error(
        "the log has published {copy} entries, and this folder ends at {folder}: it was rolled back"
    )]
    RolledBack {
        /// Tree size in the second copy.
        copy: TreeSize,
        /// Tree size in the folder.
        folder: TreeSize,
    },
    /// The second copy of the checkpoint is of another tree.
    #[error("the second copy of the checkpoint has another root for the first {} entries than this folder", .copy.size)]
    Forked {
        /// Tree head in the second copy.
        copy: TreeHead,
    },
    /// The first checkpoint of a new log could not be signed.
    #[error("cannot sign the checkpoint of the empty log")]
    Sign(#[source] SignError),
    /// A thread could not be started.
    #[error("cannot start the sequencer")]
    Thread(#[source] io::Error),
}

/// Why a log was not frozen.
#[derive(Debug, thiserror::Error)]
pub enum FreezeError {
    /// A write had failed before: what is in the log shows only after a restart.
    #[error("the log has stopped: {0}")]
    Stopped(String),
    /// Only whoever writes a log can end it.
    #[error("this process does not write the log, or has closed it")]
    Elsewhere,
    /// Its last checkpoint could not be signed.
    #[error("cannot sign the last checkpoint")]
    Sign(#[source] SignError),
    /// It could not be written.
    #[error("cannot write the last checkpoint")]
    Disk(#[source] io::Error),
}

/// Why a leaf was not (or perhaps not) added.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// Too many leaves wait. Nothing happened; try again later.
    #[error("the log is overloaded, try again in {} s", .retry_after.as_secs())]
    Overloaded {
        /// When it makes sense to try again.
        retry_after: Duration,
    },
    /// The checkpoint could not be signed. Nothing happened; try again.
    #[error("the log could not sign its checkpoint: {0}")]
    NotSigned(String),
    /// The clock is far behind the last entry, so nobody could say when this one was added. Nothing happened.
    #[error("the clock is {} s behind the log's last entry", .0.as_secs())]
    Clock(Duration),
    /// A write failed. Whether this leaf is in the log shows after a restart; until then nothing is added.
    #[error("the log has stopped: {0}")]
    Stopped(String),
    /// The log is being closed. Nothing happened.
    #[error("the log is closing")]
    Closed,
    /// The log takes no entries any more, for good. Nothing happened.
    #[error("the log is frozen")]
    Frozen,
    /// The engine's own check of what it was about to answer failed.
    #[error("the log made an inclusion proof that does not hold")]
    Proof(#[source] ProofError),
    /// The leaf is in the log, and its proof could not be read.
    #[error("the entry is in the log, and its proof could not be read: {0}")]
    Unreadable(String),
}

/// Why something could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The disk refused, or a file is not what it should be.
    #[error("cannot read {what}")]
    Disk {
        /// Which file.
        what: String,
        /// Why.
        source: io::Error,
    },
    /// A file is missing or damaged.
    #[error("{0} is missing or damaged")]
    Damaged(String),
    /// The question makes no sense for the published tree.
    #[error(transparent)]
    Proof(#[from] ProofError),
}

/// What `fsck` found.
#[derive(Debug, thiserror::Error)]
pub enum FsckError {
    /// The log does not even open.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Something is missing, or is not what the checkpoint commits to.
    #[error("{0}")]
    Damaged(String),
}

pub(crate) fn disk(action: impl Into<String>) -> impl FnOnce(io::Error) -> OpenError {
    let action = action.into();
    move |source| OpenError::Disk { action, source }
}
