//! What the sequencer, the writer of tiles and the readers share.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use store::Disk;
use tlog::{Tile, TreeHead, Update};
use tokio::sync::watch;

use crate::known::Known;
use crate::state::Filled;

/// The newest state that was committed and may be shown.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) published: Published,
    /// The batch that led here: the edge, and the tiles it filled.
    pub(crate) update: Update,
    /// Entries of the unfinished bundle.
    pub(crate) open: Vec<Arc<[u8]>>,
}

/// A tree head that is durable, with its signed checkpoint.
#[derive(Clone, Debug)]
pub struct Published {
    /// Size and root.
    pub head: TreeHead,
    /// The signed note over exactly this head.
    pub checkpoint: Arc<[u8]>,
    /// When the batch was made, in milliseconds since 1970.
    pub timestamp_ms: u64,
}

/// Full tiles and bundles that are committed, and whose files are not written yet.
#[derive(Debug, Default)]
pub(crate) struct Unwritten {
    pub(crate) tiles: BTreeMap<(u8, u64), Arc<Tile>>,
    pub(crate) bundles: BTreeMap<u64, Arc<[u8]>>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) files: Arc<dyn Disk>,
    pub(crate) known: Arc<Known>,
    /// The log takes nothing any more.
    frozen: AtomicBool,
    /// Written by the sequencer only, after a commit.
    snapshot: RwLock<Arc<Snapshot>>,
    /// The sequencer adds before it publishes the snapshot, the writer removes after the rename.
    unwritten: Mutex<Unwritten>,
    /// Set once, when a write failed whose effect nobody knows.
    failure: watch::Sender<Option<String>>,
    /// Behind the snapshot.
    size: watch::Sender<Size>,
}

/// How far the log has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    /// Published leaves; there may be more.
    Open(u64),
    /// There will be no more.
    Closed,
}

impl Shared {
    pub(crate) fn new(
        files: Arc<dyn Disk>,
        known: Arc<Known>,
        snapshot: Snapshot,
        frozen: bool,
    ) -> Self {
        let size = Size::Open(snapshot.published.head.size.get());
        Self {
            files,
            known,
            frozen: AtomicBool::new(frozen),
            size: watch::Sender::new(size),
            snapshot: RwLock::new(Arc::new(snapshot)),
            unwritten: Mutex::default(),
            failure: watch::Sender::new(None),
        }
    }

    pub(crate) fn is_frozen(&self) -> bool {
        self.frozen.load(Ordering::Acquire)
    }

    pub(crate) fn freeze(&self) {
        self.frozen.store(true, Ordering::Release);
    }

    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Shows a committed state, with its full tiles and bundles readable from memory until they are in files.
    pub(crate) fn publish(&self, snapshot: Arc<Snapshot>, filled: &Filled) {
        {
            let mut unwritten = self.unwritten();
            unwritten.tiles.extend(
                filled
                    .tiles
                    .iter()
                    .map(|(id, tile)| ((id.level, id.index), tile.clone())),
            );
            unwritten.bundles.extend(filled.bundles.iter().cloned());
        }
        let size = Size::Open(snapshot.published.head.size.get());
        *self
            .snapshot
            .write()
            .unwrap_or_else(PoisonError::into_inner) = snapshot;
        self.size.send_replace(size);
    }

    pub(crate) fn sizes(&self) -> watch::Receiver<Size> {
        self.size.subscribe()
    }

    /// Tells followers that nothing more will come.
    pub(crate) fn close(&self) {
        self.size.send_replace(Size::Closed);
    }

    pub(crate) fn unwritten(&self) -> MutexGuard<'_, Unwritten> {
        self.unwritten
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn failure(&self) -> Option<String> {
        self.failure.borrow().clone()
    }

    pub(crate) fn failures(&self) -> watch::Receiver<Option<String>> {
        self.failure.subscribe()
    }

    /// Stops the log for good: the first failure stays.
    pub(crate) fn fail(&self, what: &str, error: &dyn std::error::Error) {
        let failure = format!("{what}: {error}");
        tracing::error!(
            failure,
            "the log has stopped; restart it to recover from the write-ahead log"
        );
        self.failure.send_if_modified(|first| {
            let is_first = first.is_none();
            if is_first {
                *first = Some(failure);
            }
            is_first
        });
    }
}
