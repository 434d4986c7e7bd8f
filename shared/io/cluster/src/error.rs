//! What can go wrong, by who has to act.

use std::io;
use std::time::Duration;

/// Why something of the cluster cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// A setting that cannot be meant.
    #[error("{0}")]
    Settings(String),
    /// A file that a setting names.
    #[error("cannot read {path}")]
    File {
        /// Which file.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The database refused, or its connection broke. What was under way may have happened.
    #[error("the database cannot {action}")]
    Database {
        /// What was asked of it.
        action: &'static str,
        /// Why not.
        #[source]
        source: sqlx::Error,
    },
    /// The database did not answer. What was under way may have happened, or may still.
    #[error("the database did not {action} within {} ms", .after.as_millis())]
    Slow {
        /// What was asked of it.
        action: &'static str,
        /// How long was waited.
        after: Duration,
    },
    /// A server that would lose what it has committed, or a store that would overwrite what it has.
    #[error("this is not fit for a log: {0}")]
    Unfit(String),
    /// Tables of another version of this program.
    #[error(
        "the tables in the database are of version {found}, and this program knows version {known}: use the program that made them, or \
         update all instances"
    )]
    Version {
        /// In the database.
        found: i32,
        /// Of this program.
        known: i32,
    },
    /// The bucket refused or was not reached, also after trying again.
    #[error("the bucket cannot {action} {key}")]
    Bucket {
        /// What was asked of it.
        action: &'static str,
        /// About which object.
        key: String,
        /// Why not.
        #[source]
        source: Box<object_store::Error>,
    },
    /// The bucket sent more than anything in it can be long.
    #[error("{key} in the bucket is longer than {max} bytes")]
    TooLarge {
        /// Which object.
        key: String,
        /// The limit.
        max: u64,
    },
    /// An object is there already, and it is another one.
    #[error(
        "{key} is in the bucket with other bytes: it is of a second history of this tree, or of another log under the same name. Nothing was \
         overwritten; find out who wrote it before anything else is signed"
    )]
    Forked {
        /// Which object.
        key: String,
    },
    /// This process does not lead the tree, so it only reads.
    #[error(
        "this instance does not lead {tree} and may not write it: open the log here when its lease is free, or send the request to its leader"
    )]
    NotLeader {
        /// Which tree.
        tree: String,
    },
    /// This process led the tree, and another one may have taken over.
    #[error(
        "another instance has taken over {tree}, or its lease (turn {fence}) has ended: nothing was written; close this log and open it again"
    )]
    TakenOver {
        /// Which tree.
        tree: String,
        /// The turn that has ended.
        fence: i64,
    },
    /// A file in the database that is not what it must be.
    #[error("{path} of {tree} in the database is damaged: {what}")]
    Damaged {
        /// Of which tree.
        tree: String,
        /// Which file.
        path: String,
        /// In what way.
        what: &'static str,
    },
    /// An earlier write of this file failed, so that nobody knows what is there.
    #[error("an earlier write of {0} failed: open the log again, which reads what is there")]
    Broken(String),
}

impl ClusterError {
    /// Whether a bucket may well answer the same request later: it did not answer, or with 5xx or 429.
    pub(crate) fn passes(&self) -> bool {
        matches!(self, Self::Bucket { source, .. } if matches!(**source, object_store::Error::Generic { .. }))
    }
}

impl From<ClusterError> for io::Error {
    fn from(error: ClusterError) -> Self {
        let kind = match &error {
            ClusterError::NotLeader { .. } | ClusterError::TakenOver { .. } => {
                io::ErrorKind::PermissionDenied
            }
            ClusterError::Forked { .. } => io::ErrorKind::AlreadyExists,
            ClusterError::TooLarge { .. } => io::ErrorKind::FileTooLarge,
            ClusterError::Damaged { .. } => io::ErrorKind::InvalidData,
            ClusterError::Slow { .. } => io::ErrorKind::TimedOut,
            _ => io::ErrorKind::Other,
        };
        // The engine shows an error and not its causes.
        Self::new(kind, Told(error))
    }
}

/// An error that shows its causes, for readers who see only one line.
#[derive(Debug)]
struct Told(ClusterError);

impl std::fmt::Display for Told {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}", self.0)?;
        let mut cause = std::error::Error::source(&self.0);
        while let Some(error) = cause {
            write!(out, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

impl std::error::Error for Told {}
