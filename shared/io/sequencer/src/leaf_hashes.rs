//! From the Merkle hash of a leaf to its index: what the reading side of RFC 6962 asks for (get-proof-by-hash).
//!
//! ```text
//! tile/0/<N>   the leaf hashes themselves: signed for by every checkpoint, durable, and kept anyway
//! memory       hash --32 bits--> candidates { 32 bits of the hash | 32 bits of index }, some 12 bytes a leaf
//! indexed      every leaf below it is in memory
//! ```
//!
//! There is no file that could be lost or fall behind: the table follows from the tiles, and is made from them after a start, in the background
//! (a tile has 256 hashes and 8 KiB). An answer is never wrong: a candidate counts only when the tile has exactly that hash at its
//! index, and "no such leaf" is said only of trees that are indexed as a whole; until then the answer is [`Found::NotYet`].

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tlog::{Hash, LeafIndex, TreeSize};
use tokio::sync::watch;

use crate::error::ReadError;
use crate::known::{self, Table};
use crate::leaf::Leaf;
use crate::log::{Log, WeakLog};

/// How long to wait after a tile could not be read.
const AGAIN: Duration = Duration::from_secs(1);

/// Where the leaves of one log are, by their Merkle hashes. Clones are the same.
#[derive(Clone, Debug)]
pub struct LeafHashes {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// Odd.
    secret: u64,
    table: RwLock<Table>,
    /// Leaves in the table. It grows after they went in.
    indexed: watch::Sender<u64>,
}

/// What is known of a hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// The leaf is there; of equal leaves this is the first.
    At(LeafIndex),
    /// The tree that was asked about has no such leaf.
    Absent,
    /// Nobody can say yet: only so many leaves are indexed.
    NotYet {
        /// How many.
        indexed: TreeSize,
    },
}

impl LeafHashes {
    /// Begins to index a log, and goes on as it grows. Does not keep the log open. Must be called within a tokio runtime.
    pub fn follow<L: Leaf>(log: &Log<L>) -> Self {
        let inner = Arc::new(Inner {
            secret: known::secret(),
            table: RwLock::new(Table::for_entries(log.published().head.size.get())),
            indexed: watch::Sender::new(0),
        });
        // Ends when the log ends.
        tokio::spawn(index(inner.clone(), log.downgrade()));
        Self { inner }
    }

    /// How many leaves are indexed.
    pub fn indexed(&self) -> TreeSize {
        TreeSize::new(*self.inner.indexed.borrow())
    }

    /// Waits until the leaves of a tree of this size are indexed; the caller says how long.
    pub async fn reached(&self, size: TreeSize) {
        let mut indexed = self.inner.indexed.subscribe();
        // The sender lives as long as we do.
        let _ = indexed.wait_for(|indexed| *indexed >= size.get()).await;
    }

    /// Where the tree of the first `size` leaves has the leaf with this hash. The log must be the one that is followed.
    pub async fn find<L: Leaf>(
        &self,
        log: &Log<L>,
        hash: &Hash,
        size: TreeSize,
    ) -> Result<Found, ReadError> {
        // First the mark, then the table: it has everything below the mark.
        let indexed = self.indexed();
        let slot = known::slot_hash(hash.as_bytes(), self.inner.secret);
        let mut candidates: Vec<u64> = {
            let table = self.inner.table.read();
            let table = table.unwrap_or_else(PoisonError::into_inner);
            table.find(slot).collect()
        };
        candidates.sort_unstable();
        for candidate in candidates {
            let index = LeafIndex::new(candidate);
            if size.holds(index) && log.leaf_hash(index).await?.as_ref() == Some(hash) {
                return Ok(Found::At(index));
            }
        }
        Ok(if indexed < size {
            Found::NotYet { indexed }
        } else {
            Found::Absent
        })
    }
}

async fn index<L: Leaf>(inner: Arc<Inner>, log: WeakLog<L>) {
    let mut next = 0_u64;
    let mut open = true;
    loop {
        let Some(log) = log.upgrade() else { return };
        match log.leaf_hashes_from(next).await {
            Ok(hashes) if !hashes.is_empty() => {
                let mut table = inner.table.write().unwrap_or_else(PoisonError::into_inner);
                for hash in hashes {
                    table.insert(known::slot_hash(hash.as_bytes(), inner.secret), next);
                    next = next.saturating_add(1);
                }
                drop(table);
                inner.indexed.send_replace(next);
            }
            // A log that was closed has grown to its end before it said so.
            Ok(_) if !open => return,
            Ok(_) => {
                let grown = log.grown(TreeSize::new(next));
                drop(log);
                open = grown.await;
            }
            Err(error) => {
                tracing::error!(cause = %error, at = next, "cannot index the leaf hashes; trying again");
                drop(log);
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}
