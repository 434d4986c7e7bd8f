//! Inclusion and consistency proofs: made from stored hashes, and verified.
//!
//! Verification follows RFC 9162 sections 2.1.3.2 and 2.1.4.2; making them follows the recursion of RFC 6962 sections
//! 2.1.1 and 2.1.2, unrolled.

use std::collections::BTreeSet;
use std::ops::Range;

use crate::hash::{self, Hash};
use crate::tile::TileId;
use crate::tree::{self, LeafIndex, Node, Nodes, TreeHead, TreeSize};

/// No proof is longer: a path has at most 64 hashes, and a consistency proof one more.
pub const MAX_PROOF_HASHES: usize = 65;

/// Why a proof does not show what it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// The leaf cannot be in a tree of this size.
    #[error("leaf {index} is outside a tree of {size} leaves")]
    IndexOutsideTree {
        /// The leaf that was asked for.
        index: LeafIndex,
        /// The tree it should be in.
        size: TreeSize,
    },
    /// The later tree is smaller than the earlier one.
    #[error("a tree of {old} leaves cannot be a prefix of one of {new}")]
    SizesReversed {
        /// Size of the earlier tree.
        old: TreeSize,
        /// Size of the later tree.
        new: TreeSize,
    },
    /// The number of hashes does not fit the positions.
    #[error("the proof has {got} hashes, and its positions need {expected}")]
    WrongLength {
        /// Hashes that the proof should have.
        expected: usize,
        /// Hashes that it has.
        got: usize,
    },
    /// The hashes lead to another root.
    #[error("the proof leads to root {calculated}, the tree head has {expected}")]
    RootMismatch {
        /// Root that follows from the proof.
        calculated: Hash,
        /// Root of the tree head.
        expected: Hash,
    },
    /// A hash that a proof needs was not among the given ones.
    #[error("the subtree at level {}, position {} is not available", .0.level, .0.index)]
    MissingNode(Node),
}

/// Checks that the leaf hash stands at `index` of the tree with this head.
pub fn verify_inclusion(
    leaf: &Hash,
    index: LeafIndex,
    proof: &[Hash],
    head: &TreeHead,
) -> Result<(), ProofError> {
    let calculated = root_from_inclusion(leaf, index, proof, head.size)?;
    same_root(calculated, head.root)
}

/// The root that an inclusion proof leads to, for callers that have no head to compare with yet.
pub fn root_from_inclusion(
    leaf: &Hash,
    index: LeafIndex,
    proof: &[Hash],
    size: TreeSize,
) -> Result<Hash, ProofError> {
    if !size.holds(index) {
        return Err(ProofError::IndexOutsideTree { index, size });
    }
    let expected = inclusion_ranges(index, size).len();
    if proof.len() != expected {
        return Err(ProofError::WrongLength {
            expected,
            got: proof.len(),
        });
    }
    // RFC 9162 2.1.3.2: fn and sn walk up from the leaf and from the last leaf.
    let mut position = index.get();
    let mut last = size.get().saturating_sub(1);
    let mut root = *leaf;
    for sibling in proof {
        if position & 1 == 1 || position == last {
            root = hash::node(sibling, &root);
            if position & 1 == 0 {
                let skip = position.trailing_zeros();
                position = position.checked_shr(skip).unwrap_or(0);
                last = last.checked_shr(skip).unwrap_or(0);
            }
        } else {
            root = hash::node(&root, sibling);
        }
        position >>= 1;
        last >>= 1;
    }
    Ok(root)
}

/// Checks that the earlier tree is a prefix of the later one.
pub fn verify_consistency(
    old: &TreeHead,
    new: &TreeHead,
    proof: &[Hash],
) -> Result<(), ProofError> {
    if old.size > new.size {
        return Err(ProofError::SizesReversed {
            old: old.size,
            new: new.size,
        });
    }
    let expected = consistency_ranges(old.size, new.size).len();
    if proof.len() != expected {
        return Err(ProofError::WrongLength {
            expected,
            got: proof.len(),
        });
    }
    if old.size == TreeSize::EMPTY {
        same_root(hash::EMPTY, old.root)?;
        // Any tree continues the empty one; the empty tree has one root.
        if new.size == TreeSize::EMPTY {
            same_root(hash::EMPTY, new.root)?;
        }
        return Ok(());
    }
    if old.size == new.size {
        return same_root(old.root, new.root);
    }
    // RFC 9162 2.1.4.2. An old tree that is a perfect subtree is not repeated in the proof.
    let (first, rest) = if old.size.get().is_power_of_two() {
        (old.root, proof)
    } else {
        match proof.split_first() {
            Some((first, rest)) => (*first, rest),
            None => {
                return Err(ProofError::WrongLength {
                    expected: 1,
                    got: 0,
                });
            }
        }
    };
    let mut position = old.size.get().saturating_sub(1);
    let mut last = new.size.get().saturating_sub(1);
    let skip = position.trailing_ones();
    position = position.checked_shr(skip).unwrap_or(0);
    last = last.checked_shr(skip).unwrap_or(0);
    let (mut old_root, mut new_root) = (first, first);
    for sibling in rest {
        if position & 1 == 1 || position == last {
            old_root = hash::node(sibling, &old_root);
            new_root = hash::node(sibling, &new_root);
            if position & 1 == 0 {
                let skip = position.trailing_zeros();
                position = position.checked_shr(skip).unwrap_or(0);
                last = last.checked_shr(skip).unwrap_or(0);
            }
        } else {
            new_root = hash::node(&new_root, sibling);
        }
        position >>= 1;
        last >>= 1;
    }
    same_root(old_root, old.root)?;
    same_root(new_root, new.root)
}

/// Makes the inclusion proof of a leaf, from the leaf upwards.
///
/// `nodes` must have the subtrees of the tiles that [`tiles_for_inclusion`] names.
pub fn inclusion(
    index: LeafIndex,
    size: TreeSize,
    nodes: &impl Nodes,
) -> Result<Vec<Hash>, ProofError> {
    if !size.holds(index) {
        return Err(ProofError::IndexOutsideTree { index, size });
    }
    hashes(&inclusion_ranges(index, size), nodes)
}

/// Makes the proof that the tree of `old` leaves is a prefix of the tree of `new` leaves.
pub fn consistency(
    old: TreeSize,
    new: TreeSize,
    nodes: &impl Nodes,
) -> Result<Vec<Hash>, ProofError> {
    if old > new {
        return Err(ProofError::SizesReversed { old, new });
    }
    hashes(&consistency_ranges(old, new), nodes)
}

/// The root of the tree of the first `size` leaves.
pub fn root(size: TreeSize, nodes: &impl Nodes) -> Result<Hash, ProofError> {
    if size == TreeSize::EMPTY {
        return Ok(hash::EMPTY);
    }
    range_hash(&(0..size.get()), nodes)
}

/// The tiles, at their widths in a tree of `size` leaves, that [`inclusion`] reads.
pub fn tiles_for_inclusion(index: LeafIndex, size: TreeSize) -> Result<Vec<TileId>, ProofError> {
    if !size.holds(index) {
        return Err(ProofError::IndexOutsideTree { index, size });
    }
    Ok(tiles(&inclusion_ranges(index, size), size))
}

/// The tiles, at their widths in the later tree, that [`consistency`] reads.
pub fn tiles_for_consistency(old: TreeSize, new: TreeSize) -> Result<Vec<TileId>, ProofError> {
    if old > new {
        return Err(ProofError::SizesReversed { old, new });
    }
    Ok(tiles(&consistency_ranges(old, new), new))
}

/// The tiles, at their widths in a tree of `size` leaves, from which [`root`] of `old` leaves follows.
pub fn tiles_for_root(old: TreeSize, size: TreeSize) -> Result<Vec<TileId>, ProofError> {
    if old > size {
        return Err(ProofError::SizesReversed { old, new: size });
    }
    Ok(tiles(std::slice::from_ref(&(0..old.get())), size))
}

fn same_root(calculated: Hash, expected: Hash) -> Result<(), ProofError> {
    if calculated == expected {
        Ok(())
    } else {
        Err(ProofError::RootMismatch {
            calculated,
            expected,
        })
    }
}

/// RFC 6962 2.1.1 PATH: the siblings on the way, as ranges of leaves, from the leaf upwards.
fn inclusion_ranges(index: LeafIndex, size: TreeSize) -> Vec<Range<u64>> {
    let (mut start, mut end) = (0_u64, size.get());
    let mut siblings = Vec::new();
    while end.saturating_sub(start) > 1 {
        let middle = start.saturating_add(tree::split(end.saturating_sub(start)));
        if index.get() < middle {
            siblings.push(middle..end);
            end = middle;
        } else {
            siblings.push(start..middle);
            start = middle;
        }
    }
    siblings.reverse();
    siblings
}

/// RFC 6962 2.1.2 SUBPROOF, unrolled.
fn consistency_ranges(old: TreeSize, new: TreeSize) -> Vec<Range<u64>> {
    let mut ranges = Vec::new();
    if old == TreeSize::EMPTY {
        return ranges;
    }
    let (mut start, mut end) = (0_u64, new.get());
    let mut old_root_is_known = true;
    while old.get() != end {
        let middle = start.saturating_add(tree::split(end.saturating_sub(start)));
        if old.get() <= middle {
            ranges.push(middle..end);
            end = middle;
        } else {
            ranges.push(start..middle);
            start = middle;
            old_root_is_known = false;
        }
    }
    if !old_root_is_known {
        ranges.push(start..end);
    }
    ranges.reverse();
    ranges
}

fn hashes(ranges: &[Range<u64>], nodes: &impl Nodes) -> Result<Vec<Hash>, ProofError> {
    ranges
        .iter()
        .map(|range| range_hash(range, nodes))
        .collect()
}

fn range_hash(range: &Range<u64>, nodes: &impl Nodes) -> Result<Hash, ProofError> {
    tree::range_hash(range, nodes).ok_or_else(|| {
        let missing = tree::pieces(range).find(|at| nodes.node(*at).is_none());
        ProofError::MissingNode(missing.unwrap_or(Node {
            level: 0,
            index: range.start,
        }))
    })
}

fn tiles(ranges: &[Range<u64>], size: TreeSize) -> Vec<TileId> {
    let ids: BTreeSet<_> = ranges
        .iter()
        .flat_map(tree::pieces)
        .filter_map(|node| TileId::holding(node, size))
        .collect();
    ids.into_iter().collect()
}
