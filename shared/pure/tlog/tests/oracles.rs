//! Proofs, roots and tiles against a naive tree and against two other implementations.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "a panic is a test's report"
)]

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::OnceLock;

use ct_merkle::mem_backed_tree::MemoryBackedTree;
use proptest::prelude::*;
use rs_merkle::MerkleTree;
use sha2::Sha256;
use tlog::proof::{
    consistency, inclusion, tiles_for_consistency, tiles_for_inclusion, tiles_for_root,
    verify_consistency, verify_inclusion,
};
use tlog::{
    Edge, Hash, LeafIndex, ProofError, Tile, TileId, TileSet, TreeHead, TreeSize, hash, proof,
};

/// Enough for three levels of tiles.
const MANY: u64 = 70_000;

/// A log of `MANY` leaves, grown in batches of changing length, with all its full tiles.
struct Log {
    hashes: Vec<Hash>,
    tiles: TileSet<std::sync::Arc<Tile>>,
}

fn log() -> &'static Log {
    static LOG: OnceLock<Log> = OnceLock::new();
    LOG.get_or_init(|| {
        let hashes: Vec<_> = (0..MANY).map(leaf).collect();
        let mut tiles = TileSet::new();
        let mut edge = Edge::empty();
        let mut rest = &hashes[..];
        let mut step = 1;
        while !rest.is_empty() {
            let (batch, after) = rest.split_at(step.min(rest.len()));
            let update = edge.append(batch);
            for (id, tile) in update.full {
                tiles.insert(id.level, id.index, tile);
            }
            (edge, rest, step) = (update.edge, after, step * 7 % 997 + 1);
        }
        Log { hashes, tiles }
    })
}

fn leaf(number: u64) -> Hash {
    hash::leaf(&number.to_be_bytes())
}

/// RFC 6962 2.1, word for word.
fn naive_root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => hash::EMPTY,
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(naive_split(leaves.len()));
            hash::node(&naive_root(left), &naive_root(right))
        }
    }
}

fn naive_split(len: usize) -> usize {
    len.next_power_of_two() / 2
}

fn head(leaves: &[Hash]) -> TreeHead {
    TreeHead {
        size: TreeSize::new(leaves.len() as u64),
        root: naive_root(leaves),
    }
}

/// The edge of a prefix, and the tiles that a proof asked for, at their exact widths.
fn fetch(log: &Log, wanted: &[TileId], size: u64) -> TileSet {
    let edge = edge(log, size);
    let mut fetched = TileSet::new();
    for id in wanted {
        assert!(
            id.is_in(TreeSize::new(size)),
            "{id} is not in a tree of {size}"
        );
        let bytes = match log.tiles.get(id.level, id.index) {
            Some(tile) => tile.bytes(id.width),
            None => edge.tile(id.level).and_then(|tile| tile.bytes(id.width)),
        };
        fetched.insert(id.level, id.index, Tile::parse(&bytes.unwrap()).unwrap());
    }
    fetched
}

fn edge(log: &Log, size: u64) -> Edge {
    // Tiles that are full by now are wide enough for any smaller tree; the newest come from an append.
    let whole = size / 256 * 256;
    let roots = |id: TileId| -> Option<Tile> {
        let first = id.index * 256;
        let bytes: Vec<u8> = (first..first + u64::from(id.width.get()))
            .flat_map(|index| {
                log.tiles
                    .get(id.level - 1, index)
                    .unwrap()
                    .root()
                    .unwrap()
                    .into_bytes()
            })
            .collect();
        Tile::parse(&bytes).ok()
    };
    let mut tiles = TileSet::new();
    for id in Edge::tiles_for(TreeSize::new(whole)) {
        tiles.insert(id.level, id.index, roots(id).unwrap());
    }
    let edge = Edge::from_tiles(TreeSize::new(whole), |id| tiles.get(id.level, id.index)).unwrap();
    edge.append(&log.hashes[whole as usize..size as usize]).edge
}

/// A tree as RFC 6962 draws it; subtrees that two trees share are one.
struct Node {
    hash: Hash,
    len: usize,
    below: Option<(Rc<Node>, Rc<Node>)>,
}

impl Node {
    fn of(from: usize, leaves: &[Hash], known: &mut HashMap<(usize, usize), Rc<Self>>) -> Rc<Self> {
        let len = leaves.len();
        if let Some(node) = known.get(&(from, len)) {
            return node.clone();
        }
        let node = if len == 1 {
            Self {
                hash: leaves[0],
                len,
                below: None,
            }
        } else {
            let k = naive_split(len);
            let left = Self::of(from, &leaves[..k], known);
            let right = Self::of(from + k, &leaves[k..], known);
            Self {
                hash: hash::node(&left.hash, &right.hash),
                len,
                below: Some((left, right)),
            }
        };
        let node = Rc::new(node);
        if len.is_power_of_two() {
            known.insert((from, len), node.clone());
        }
        node
    }

    /// RFC 6962 2.1.1: PATH.
    fn path(&self, index: usize) -> Vec<Hash> {
        let Some((left, right)) = &self.below else {
            return Vec::new();
        };
        let (mut path, sibling) = if index < left.len {
            (left.path(index), right.hash)
        } else {
            (right.path(index - left.len), left.hash)
        };
        path.push(sibling);
        path
    }

    /// RFC 6962 2.1.2: SUBPROOF.
    fn subproof(&self, old: usize, known: bool) -> Vec<Hash> {
        if old == self.len {
            return if known { Vec::new() } else { vec![self.hash] };
        }
        let (left, right) = self.below.as_ref().unwrap();
        let (mut proof, sibling) = if old <= left.len {
            (left.subproof(old, known), right.hash)
        } else {
            (right.subproof(old - left.len, false), left.hash)
        };
        proof.push(sibling);
        proof
    }
}

/// Every inclusion and every consistency proof of every tree of up to 2,000 leaves.
#[test]
fn all_proofs_of_small_trees_are_the_naive_ones() {
    const MOST: usize = 2000;
    let log = log();
    let mut known = HashMap::new();
    let mut heads = vec![TreeHead::EMPTY];
    for size in 1..=MOST {
        let leaves = &log.hashes[..size];
        let update = Edge::empty().append(leaves);
        let tree = Node::of(0, leaves, &mut known);
        let tree_size = TreeSize::new(size as u64);
        let head = TreeHead {
            size: tree_size,
            root: tree.hash,
        };
        assert_eq!(update.head, head, "size {size}");
        heads.push(head);
        for (index, leaf) in leaves.iter().enumerate() {
            let at = LeafIndex::new(index as u64);
            let proof = inclusion(at, tree_size, &update).unwrap();
            assert_eq!(proof, tree.path(index), "leaf {index} of {size}");
            verify_inclusion(leaf, at, &proof, &head).unwrap();
        }
        for (old, before) in heads.iter().enumerate().skip(1) {
            let proof = consistency(before.size, tree_size, &update).unwrap();
            assert_eq!(proof, tree.subproof(old, true), "{old} of {size}");
            verify_consistency(before, &head, &proof).unwrap();
        }
    }
}

/// The same proofs by two other implementations: all of ct-merkle's, and of rs_merkle (which has no consistency proofs) some of each size, as
/// it makes each anew from all leaves.
#[test]
fn other_implementations_agree() {
    let mut ct: MemoryBackedTree<Sha256, Vec<u8>> = MemoryBackedTree::new();
    let mut rs: MerkleTree<Rs> = MerkleTree::new();
    let log = log();
    for size in 1..=2000_u64 {
        ct.push((size - 1).to_be_bytes().to_vec());
        rs.insert(leaf(size - 1).into_bytes()).commit();
        let update = Edge::empty().append(&log.hashes[..size as usize]);
        let head = update.head;
        let root = head.root.as_bytes();
        assert_eq!(ct.root().as_bytes().as_slice(), root, "size {size}");
        assert_eq!(rs.root().as_ref(), Some(root), "size {size}");
        for index in 0..size {
            let at = LeafIndex::new(index);
            let proof = bytes(&inclusion(at, head.size, &update).unwrap());
            assert_eq!(proof, ct.prove_inclusion(index as usize).as_bytes());
            if size < 20 || [0, size / 3, size - 1].contains(&index) {
                assert_eq!(proof, rs.proof(&[index as usize]).to_bytes());
            }
        }
        for old in 1..size {
            let proof = consistency(TreeSize::new(old), head.size, &update).unwrap();
            let additions = (size - old) as usize;
            assert_eq!(bytes(&proof), ct.prove_consistency(additions).as_bytes());
        }
    }
}

#[derive(Clone)]
struct Rs;

impl rs_merkle::Hasher for Rs {
    type Hash = [u8; 32];

    fn hash(data: &[u8]) -> [u8; 32] {
        hash::leaf(data).into_bytes()
    }

    fn concat_and_hash(left: &[u8; 32], right: Option<&[u8; 32]>) -> [u8; 32] {
        let left = Hash::new(*left);
        right
            .map_or(left, |right| hash::node(&left, &Hash::new(*right)))
            .into_bytes()
    }
}

fn bytes(hashes: &[Hash]) -> Vec<u8> {
    hashes.iter().flat_map(Hash::as_bytes).copied().collect()
}

/// Sizes with more weight near the tile boundaries.
fn sizes() -> impl Strategy<Value = u64> {
    let boundaries = [
        255_u64, 256, 257, 511, 512, 513, 65_535, 65_536, 65_537, 65_792, MANY,
    ];
    prop_oneof![1..MANY + 1, proptest::sample::select(boundaries.to_vec())]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn proofs_from_tiles_hold(size in sizes(), at in any::<prop::sample::Index>(), old in any::<prop::sample::Index>()) {
        let log = log();
        let head = edge(log, size).head();
        let index = LeafIndex::new(at.index(size as usize) as u64);
        let tiles = fetch(log, &tiles_for_inclusion(index, head.size).unwrap(), size);
        let proof = inclusion(index, head.size, &tiles).unwrap();
        verify_inclusion(&leaf(index.get()), index, &proof, &head).unwrap();

        let old = TreeSize::new(old.index(size as usize + 1) as u64);
        let tiles = fetch(log, &tiles_for_root(old, head.size).unwrap(), size);
        let old_head = TreeHead { size: old, root: proof::root(old, &tiles).unwrap() };
        prop_assert_eq!(old_head, edge(log, old.get()).head());
        let tiles = fetch(log, &tiles_for_consistency(old, head.size).unwrap(), size);
        let proof = consistency(old, head.size, &tiles).unwrap();
        verify_consistency(&old_head, &head, &proof).unwrap();
    }

    #[test]
    fn mutated_inclusion_proofs_fail(
        size in 1..3000_u64, at in any::<prop::sample::Index>(), place in any::<prop::sample::Index>(), bit in 0..256_usize,
    ) {
        let log = log();
        let head = edge(log, size).head();
        let index = LeafIndex::new(at.index(size as usize) as u64);
        let tiles = fetch(log, &tiles_for_inclusion(index, head.size).unwrap(), size);
        let good = inclusion(index, head.size, &tiles).unwrap();
        let own = leaf(index.get());
        prop_assert!(verify_inclusion(&own, index, &good, &head).is_ok());

        let refused = |leaf: &Hash, index, proof: &[Hash], head: &TreeHead| verify_inclusion(leaf, index, proof, head).is_err();
        prop_assert!(refused(&flip(own, bit), index, &good, &head));
        prop_assert!(refused(&own, index, &good, &rerooted(&head, bit)));
        let next = LeafIndex::new(index.get() + 1);
        prop_assert!(refused(&own, next, &good, &head));
        prop_assert!(refused(&own, LeafIndex::new(u64::MAX), &good, &head));
        let emptied = TreeHead { size: TreeSize::EMPTY, ..head };
        let longer = [&good[..], &[own]].concat();
        prop_assert!(refused(&own, index, &longer, &head));
        prop_assert!(refused(&own, index, &good, &emptied));
        if !good.is_empty() {
            let place = place.index(good.len());
            let mut proof = good.clone();
            proof[place] = flip(proof[place], bit);
            prop_assert!(refused(&own, index, &proof, &head));
            proof = good.clone();
            proof.remove(place);
            prop_assert!(refused(&own, index, &proof, &head));
            proof = good.clone();
            proof.rotate_left(1);
            prop_assert!(proof == good || refused(&own, index, &proof, &head));
        }
    }

    #[test]
    fn mutated_consistency_proofs_fail(
        size in 2..3000_u64, old in any::<prop::sample::Index>(), place in any::<prop::sample::Index>(), bit in 0..256_usize,
    ) {
        let log = log();
        let new = edge(log, size).head();
        let old = edge(log, 1 + old.index(size as usize - 1) as u64).head();
        let tiles = fetch(log, &tiles_for_consistency(old.size, new.size).unwrap(), size);
        let good = consistency(old.size, new.size, &tiles).unwrap();
        prop_assert!(verify_consistency(&old, &new, &good).is_ok());

        let refused = |old: &TreeHead, new: &TreeHead, proof: &[Hash]| verify_consistency(old, new, proof).is_err();
        prop_assert!(refused(&rerooted(&old, bit), &new, &good));
        prop_assert!(refused(&old, &rerooted(&new, bit), &good));
        prop_assert!(refused(&new, &old, &good));
        prop_assert!(refused(&old, &new, &[&good[..], &[old.root]].concat()));
        let place = place.index(good.len());
        let mut proof = good.clone();
        proof[place] = flip(proof[place], bit);
        prop_assert!(refused(&old, &new, &proof));
        proof = good;
        proof.remove(place);
        prop_assert!(refused(&old, &new, &proof));
    }

    #[test]
    fn no_proof_makes_it_panic(
        index in any::<u64>(), size in any::<u64>(), old in any::<u64>(),
        proof in prop::collection::vec(any::<[u8; 32]>().prop_map(Hash::new), 0..70),
    ) {
        let at = |size| TreeHead { size: TreeSize::new(size), root: hash::EMPTY };
        let _ = verify_inclusion(&hash::EMPTY, LeafIndex::new(index), &proof, &at(size));
        let _ = verify_consistency(&at(old), &at(size), &proof);
        let _ = tiles_for_inclusion(LeafIndex::new(index), TreeSize::new(size));
        let _ = tiles_for_consistency(TreeSize::new(old), TreeSize::new(size));
        let nothing: TileSet = TileSet::new();
        let _ = inclusion(LeafIndex::new(index), TreeSize::new(size), &nothing);
    }
}

fn rerooted(head: &TreeHead, bit: usize) -> TreeHead {
    TreeHead {
        root: flip(head.root, bit),
        ..*head
    }
}

fn flip(hash: Hash, bit: usize) -> Hash {
    let mut bytes = hash.into_bytes();
    bytes[bit / 8] ^= 1 << (bit % 8);
    Hash::new(bytes)
}

#[test]
fn errors_say_what_is_wrong() {
    let one = head(&log().hashes[..1]);
    let two = head(&log().hashes[..2]);
    let at = LeafIndex::new;
    let leaf = leaf(0);
    assert_eq!(
        verify_inclusion(&leaf, at(1), &[], &one),
        Err(ProofError::IndexOutsideTree {
            index: at(1),
            size: one.size
        })
    );
    assert_eq!(
        verify_inclusion(&leaf, at(0), &[], &two),
        Err(ProofError::WrongLength {
            expected: 1,
            got: 0
        })
    );
    assert!(matches!(
        verify_inclusion(&leaf, at(0), &[leaf], &two),
        Err(ProofError::RootMismatch { .. })
    ));
    assert_eq!(
        verify_consistency(&two, &one, &[]),
        Err(ProofError::SizesReversed {
            old: two.size,
            new: one.size
        })
    );
    // Nothing is a prefix of everything, and of nothing else than the empty root.
    verify_consistency(&TreeHead::EMPTY, &two, &[]).unwrap();
    let wrong = TreeHead {
        size: TreeSize::EMPTY,
        root: leaf,
    };
    assert!(matches!(
        verify_consistency(&wrong, &two, &[]),
        Err(ProofError::RootMismatch { .. })
    ));
    verify_consistency(&two, &two, &[]).unwrap();
    let nothing: TileSet = TileSet::new();
    assert!(matches!(
        inclusion(at(0), two.size, &nothing),
        Err(ProofError::MissingNode(_))
    ));
    assert_eq!(at(u64::MAX).smallest_tree(), None);
}
