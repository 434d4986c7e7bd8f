//! The append plan: from the right edge and new leaf hashes to the next edge, the next head and the tiles that got full.

use std::ops::Range;
use std::sync::Arc;

use crate::hash::{self, Hash};
use crate::proof::{self, ProofError};
use crate::tile::{FULL_WIDTH, HEIGHT, Tile, TileId, Width};
use crate::tree::{LeafIndex, Node, Nodes, TreeHead, TreeSize};

/// The unfinished tile of every level: all that is needed to append.
///
/// Invariant: level L has `(size >> 8L) % 256` hashes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edge {
    size: u64,
    levels: Vec<Tile>,
}

/// What an append changes.
#[derive(Clone, Debug)]
pub struct Update {
    /// The leaves that were added.
    pub leaves: Range<u64>,
    /// The edge afterwards.
    pub edge: Edge,
    /// The head afterwards.
    pub head: TreeHead,
    /// Tiles that this append filled, lowest level first.
    pub full: Vec<(TileId, Arc<Tile>)>,
}

impl Edge {
    /// Edge of the tree without leaves.
    pub fn empty() -> Self {
        Self::default()
    }

    /// The tiles from which [`Edge::from_tiles`] rebuilds the edge of a tree of `size` leaves: the unfinished tile of
    /// each level, at its width there. Any wider version of the tile will do.
    pub fn tiles_for(size: TreeSize) -> Vec<TileId> {
        let mut wanted = Vec::new();
        let mut complete = size.get();
        for level in 0..HEIGHT {
            let width = u16::try_from(complete % u64::from(FULL_WIDTH))
                .ok()
                .and_then(Width::new);
            if let Some(width) = width {
                wanted.push(TileId {
                    level,
                    index: complete / u64::from(FULL_WIDTH),
                    width,
                });
            }
            complete /= u64::from(FULL_WIDTH);
        }
        wanted
    }

    /// Rebuilds the edge of a tree of `size` leaves from stored tiles; `tile` answers for each of [`Edge::tiles_for`].
    ///
    /// The caller compares [`Edge::head`] with a head that it trusts.
    pub fn from_tiles<'a>(
        size: TreeSize,
        tile: impl Fn(TileId) -> Option<&'a Tile>,
    ) -> Result<Self, ProofError> {
        let mut edge = Self {
            size: size.get(),
            levels: Vec::new(),
        };
        for id in Self::tiles_for(size) {
            let missing = || {
                ProofError::MissingNode(Node {
                    level: id.level.saturating_mul(HEIGHT),
                    index: id.index,
                })
            };
            let hashes = tile(id).ok_or_else(missing)?.hashes();
            let hashes = hashes
                .get(..usize::from(id.width.get()))
                .ok_or_else(missing)?;
            let target = edge.level(usize::from(id.level));
            for hash in hashes {
                target.push(*hash);
            }
        }
        Ok(edge)
    }

    /// Number of leaves so far.
    pub const fn size(&self) -> TreeSize {
        TreeSize::new(self.size)
    }

    /// Head of the tree as it is.
    pub fn head(&self) -> TreeHead {
        // By the invariant each piece of the range 0..size is in the edge, so this cannot be missing; a wrong root would
        // not be signed either, as the sequencer checks each proof it hands out.
        let root = proof::root(self.size(), self).unwrap_or(hash::EMPTY);
        TreeHead {
            size: self.size(),
            root,
        }
    }

    /// The unfinished tile of a level; `None` when that level has no hash on the edge.
    pub fn tile(&self, level: u8) -> Option<&Tile> {
        self.levels
            .get(usize::from(level))
            .filter(|tile| tile.width() > 0)
    }

    /// Plans the addition of `leaves`. The edge itself stays: the caller takes the update's edge when it is durable.
    pub fn append(&self, leaves: &[Hash]) -> Update {
        let mut edge = self.clone();
        let mut full = Vec::new();
        for leaf in leaves {
            edge.push(*leaf, &mut full);
        }
        full.sort_by_key(|(id, _)| *id);
        Update {
            leaves: self.size..edge.size,
            head: edge.head(),
            edge,
            full,
        }
    }

    fn push(&mut self, leaf: Hash, full: &mut Vec<(TileId, Arc<Tile>)>) {
        self.size = self.size.saturating_add(1);
        let mut carry = Some(leaf);
        for level in 0..HEIGHT {
            let Some(hash) = carry.take() else { return };
            let complete = self.size >> (u32::from(level) * u32::from(HEIGHT));
            let tile = self.level(usize::from(level));
            tile.push(hash);
            if let Some(root) = tile.root() {
                let id = TileId {
                    level,
                    index: (complete / u64::from(FULL_WIDTH)).saturating_sub(1),
                    width: Width::FULL,
                };
                full.push((id, Arc::new(std::mem::take(tile))));
                carry = Some(root);
            }
        }
    }

    fn level(&mut self, level: usize) -> &mut Tile {
        if self.levels.len() <= level {
            self.levels.resize_with(level.saturating_add(1), Tile::new);
        }
        // The resize above made the place; the fallback is never taken.
        let last = self.levels.len().saturating_sub(1);
        #[expect(
            clippy::indexing_slicing,
            reason = "resized just above to more than `level` tiles"
        )]
        &mut self.levels[level.min(last)]
    }
}

impl Nodes for Edge {
    fn node(&self, at: Node) -> Option<Hash> {
        let level = at.level / HEIGHT;
        let row = at.level % HEIGHT;
        let complete = self
            .size
            .checked_shr(u32::from(level) * u32::from(HEIGHT))
            .unwrap_or(0);
        let index = at.index >> (HEIGHT - row);
        if index != complete / u64::from(FULL_WIDTH) {
            return None;
        }
        self.tile(level)?
            .subtree(row, at.index.checked_sub(index << (HEIGHT - row))?)
    }
}

impl Update {
    /// Inclusion proof of one of the added leaves in the new tree, from memory alone.
    ///
    /// A path runs through tiles that hold the leaf (filled now, or on the edge) and through the edge.
    pub fn inclusion(&self, index: LeafIndex) -> Result<Vec<Hash>, ProofError> {
        proof::inclusion(index, self.head.size, self)
    }
}

impl Nodes for Update {
    fn node(&self, at: Node) -> Option<Hash> {
        let row = at.level % HEIGHT;
        let (level, index) = (at.level / HEIGHT, at.index >> (HEIGHT - row));
        self.edge.node(at).or_else(|| {
            let place = self
                .full
                .binary_search_by_key(&(level, index), |(id, _)| (id.level, id.index))
                .ok()?;
            self.full
                .get(place)?
                .1
                .subtree(row, at.index.checked_sub(index << (HEIGHT - row))?)
        })
    }
}
