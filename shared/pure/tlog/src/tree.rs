//! The shape of the tree: sizes, positions, and which perfect subtrees make up a range of leaves.

use std::fmt;
use std::ops::Range;

use crate::hash::{self, Hash};

/// Position of a leaf, counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeafIndex(u64);

/// Number of leaves of a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TreeSize(u64);

impl LeafIndex {
    /// The leaf at `index`.
    pub const fn new(index: u64) -> Self {
        Self(index)
    }

    /// As a number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The smallest tree that holds this leaf; `None` for the last number of all, which no tree can hold.
    pub const fn smallest_tree(self) -> Option<TreeSize> {
        match self.0.checked_add(1) {
            Some(size) => Some(TreeSize(size)),
            None => None,
        }
    }
}

impl TreeSize {
    /// The tree without leaves.
    pub const EMPTY: Self = Self(0);

    /// A tree of `size` leaves.
    pub const fn new(size: u64) -> Self {
        Self(size)
    }

    /// As a number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Whether a tree of this size holds the leaf.
    pub const fn holds(self, index: LeafIndex) -> bool {
        index.0 < self.0
    }
}

impl fmt::Display for LeafIndex {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

impl fmt::Display for TreeSize {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

/// What a log says about itself: how many leaves, and the root over them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TreeHead {
    /// Number of leaves.
    pub size: TreeSize,
    /// Merkle tree hash over all of them.
    pub root: Hash,
}

impl TreeHead {
    /// Head of the tree without leaves.
    pub const EMPTY: Self = Self {
        size: TreeSize::EMPTY,
        root: hash::EMPTY,
    };
}

/// Root of the perfect subtree over the leaves `index << level .. (index + 1) << level`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Node {
    /// Height above the leaves, 0 to 63.
    pub level: u8,
    /// Position among the nodes of that height.
    pub index: u64,
}

/// Something that knows hashes of perfect subtrees.
pub trait Nodes {
    /// The hash at `at`, or `None` when this source does not have it.
    fn node(&self, at: Node) -> Option<Hash>;
}

impl<N: Nodes + ?Sized> Nodes for &N {
    fn node(&self, at: Node) -> Option<Hash> {
        (**self).node(at)
    }
}

/// Asks the first source, then the second.
impl<A: Nodes, B: Nodes> Nodes for (A, B) {
    fn node(&self, at: Node) -> Option<Hash> {
        self.0.node(at).or_else(|| self.1.node(at))
    }
}

/// The perfect subtrees of a range that the RFC 6962 recursion produces, widest first.
///
/// Such a range starts at a multiple of a power of two that is at least as long as the range, so each piece is aligned.
pub(crate) fn pieces(range: &Range<u64>) -> impl Iterator<Item = Node> + use<> {
    let mut start = range.start;
    let end = range.end;
    std::iter::from_fn(move || {
        let left = end.checked_sub(start).filter(|left| *left > 0)?;
        let level = left.ilog2();
        let node = Node {
            level: u8::try_from(level).ok()?,
            index: start >> level,
        };
        start = start.checked_add(1 << level)?;
        Some(node)
    })
}

/// Merkle tree hash of such a range: the pieces folded from the right. `None` when `nodes` lacks one.
pub(crate) fn range_hash(range: &Range<u64>, nodes: &impl Nodes) -> Option<Hash> {
    let mut hashes = pieces(range)
        .map(|at| nodes.node(at))
        .collect::<Option<Vec<_>>>()?;
    let mut root = hashes.pop()?;
    while let Some(left) = hashes.pop() {
        root = hash::node(&left, &root);
    }
    Some(root)
}

/// Largest power of two below `size`; `size` must be at least 2.
pub(crate) fn split(size: u64) -> u64 {
    debug_assert!(size >= 2, "a tree of one leaf has no split");
    1 << size.saturating_sub(1).max(1).ilog2()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_the_binary_digits() {
        let at = |level, index| Node { level, index };
        assert_eq!(pieces(&(0..0)).collect::<Vec<_>>(), []);
        assert_eq!(pieces(&(0..1)).collect::<Vec<_>>(), [at(0, 0)]);
        assert_eq!(
            pieces(&(0..7)).collect::<Vec<_>>(),
            [at(2, 0), at(1, 2), at(0, 6)]
        );
        assert_eq!(pieces(&(8..11)).collect::<Vec<_>>(), [at(1, 4), at(0, 10)]);
        assert_eq!(pieces(&(0..u64::MAX)).count(), 64);
    }

    #[test]
    fn split_is_below_the_size() {
        for (size, expected) in [
            (2, 1),
            (3, 2),
            (4, 2),
            (5, 4),
            (8, 4),
            (9, 8),
            (u64::MAX, 1 << 63),
        ] {
            assert_eq!(split(size), expected, "size {size}");
        }
    }
}
