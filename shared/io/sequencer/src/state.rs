//! The state of a log, and the one function that changes it: for a batch that was just committed, and for a batch that
//! is replayed on start.

use std::sync::Arc;

use tlog::tile::FULL_WIDTH;
use tlog::{Edge, Hash, Tile, TileId, TreeHead, Update};

use crate::known::{Known, Place};
use crate::layout;
use crate::record::{Batch, Chain};

/// Everything the sequencer needs to make the next batch. Owned by the sequencer's thread alone.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) edge: Edge,
    /// Entries of the bundle that is not full yet, in order.
    pub(crate) open: Vec<Arc<[u8]>>,
    pub(crate) known: Arc<Known>,
    /// Time of the last batch; the next one is not earlier.
    pub(crate) timestamp_ms: u64,
    /// Where the next record of the write-ahead log stands.
    pub(crate) chain: Chain,
}

/// What a batch filled: files to write behind the commit.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filled {
    pub(crate) tiles: Vec<(TileId, Arc<Tile>)>,
    pub(crate) bundles: Vec<(u64, Arc<[u8]>)>,
    /// Rows of the index for each leaf of the batch.
    pub(crate) rows: Vec<u8>,
}

impl State {
    pub(crate) fn head(&self) -> TreeHead {
        self.edge.head()
    }

    /// Plans a batch: what the tree would be with these leaves. Changes nothing.
    pub(crate) fn plan(&self, hashes: &[Hash]) -> Update {
        self.edge.append(hashes)
    }

    /// Takes over a batch that is durable. `update` is the plan for exactly these leaves.
    pub(crate) fn absorb(&mut self, batch: Batch, update: &Update, chain: Chain) -> Filled {
        let mut filled = Filled {
            tiles: update.full.clone(),
            ..Filled::default()
        };
        let mut index = batch.before.get();
        for leaf in batch.leaves {
            self.known.insert(
                leaf.dedup_key,
                Place {
                    index,
                    timestamp_ms: batch.timestamp_ms,
                },
            );
            filled
                .rows
                .extend(layout::row(&leaf.dedup_key, batch.timestamp_ms));
            self.open.push(leaf.entry.into());
            if self.open.len() >= usize::from(FULL_WIDTH) {
                filled
                    .bundles
                    .push((index / u64::from(FULL_WIDTH), self.open.concat().into()));
                self.open.clear();
            }
            index = index.saturating_add(1);
        }
        self.edge = update.edge.clone();
        self.timestamp_ms = batch.timestamp_ms;
        self.chain = chain;
        filled
    }
}
