//! Settings of one log.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

/// Where the engine asks for the time; tests pass their own.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Settings of one log. Each limit has a default; the folder has none.
#[derive(Clone, Debug)]
pub struct Config {
    /// Folder of the log, for this process alone.
    pub folder: PathBuf,
    /// File that gets a second copy of the last checkpoint, best on another volume. With it, a log folder that was
    /// restored from an old backup is noticed before a fork is signed. Written at most every [`Config::copy_interval`]
    /// and on close.
    pub checkpoint_copy: Option<PathBuf>,
    /// Leaves that may wait; one more is refused as overloaded. Rekor v2 pushes back at 4,096 too.
    pub queue: usize,
    /// Most leaves of one batch.
    pub batch_leaves: usize,
    /// No leaf is added to a batch that has reached this many bytes.
    pub batch_bytes: usize,
    /// A write-ahead segment that has reached this many bytes is closed, and removed once its tiles are durable.
    pub segment_bytes: u64,
    /// See [`Config::checkpoint_copy`].
    pub copy_interval: Duration,
    /// The longest wait for the signature of a checkpoint. A batch that has none by then is refused, so that a key that hangs (in a token, on
    /// another machine) makes the log answer "try again" before its clients give up.
    pub sign_time: Duration,
    /// When the last checkpoint is this old and nothing came, the same head is signed again with the time of then. RFC 6962 section 3.5 asks
    /// for one within the maximum merge delay; for checkpoints that have no time in them there is no use in it.
    pub refresh: Option<Duration>,
}

impl Config {
    /// The defaults, for a log in this folder.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            checkpoint_copy: None,
            queue: 4096,
            batch_leaves: 4096,
            batch_bytes: 8 << 20,
            segment_bytes: 32 << 20,
            copy_interval: Duration::from_secs(1),
            // A signer that is elsewhere has a limit of its own of ten seconds, with more to say.
            sign_time: Duration::from_secs(15),
            refresh: None,
        }
    }
}
