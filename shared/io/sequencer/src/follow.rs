//! Reading a log from its beginning on, and then as it grows.

use std::marker::PhantomData;
use std::sync::Arc;

use tlog::tile::FULL_WIDTH;
use tlog::{BundleId, LeafIndex};
use tokio::sync::watch;

use crate::error::ReadError;
use crate::leaf::Leaf;
use crate::log::read_bundle;
use crate::recover;
use crate::shared::{Shared, Size};

/// Hands out all published entries in order, each once. Does not keep the log open.
#[derive(Debug)]
pub struct Follower<L> {
    shared: Arc<Shared>,
    sizes: watch::Receiver<Size>,
    next: u64,
    leaf: PhantomData<fn() -> L>,
}

/// Entries that follow one another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Index of the first one.
    pub first: LeafIndex,
    /// As they stand in their bundle; never empty, at most 256.
    pub entries: Vec<Vec<u8>>,
}

impl<L: Leaf> Follower<L> {
    pub(crate) fn new(shared: Arc<Shared>, next: u64) -> Self {
        Self {
            sizes: shared.sizes(),
            shared,
            next,
            leaf: PhantomData,
        }
    }

    /// Goes on at another index.
    pub fn seek(&mut self, index: LeafIndex) {
        self.next = index.get();
    }

    /// The next entries, at most to the end of a bundle; waits until there are some. `None` when the log was closed and there are no
    /// more. After an error the same entries are tried again.
    pub async fn next(&mut self) -> Result<Option<Piece>, ReadError> {
        let next = self.next;
        let grown = self.sizes.wait_for(|size| match size {
            Size::Open(size) => *size > next,
            Size::Closed => true,
        });
        // The sender lives as long as what is shared.
        drop(grown.await);
        let snapshot = self.shared.snapshot();
        let size = snapshot.published.head.size;
        let Some(id) = BundleId::holding(LeafIndex::new(next), size) else {
            return Ok(None);
        };
        let damaged = || ReadError::Damaged(id.path(L::BUNDLE));
        let bytes = read_bundle::<L>(&self.shared, &snapshot, id).await?;
        let skip = usize::try_from(next % u64::from(FULL_WIDTH)).unwrap_or(usize::MAX);
        let entries: Vec<Vec<u8>> = recover::split_bundle::<L>(&bytes)
            .ok_or_else(damaged)?
            .into_iter()
            .skip(skip)
            .map(<[u8]>::to_vec)
            .collect();
        if entries.is_empty() {
            return Err(damaged());
        }
        self.next = next.saturating_add(u64::try_from(entries.len()).unwrap_or(u64::MAX));
        Ok(Some(Piece {
            first: LeafIndex::new(next),
            entries,
        }))
    }
}
