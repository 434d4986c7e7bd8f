//! The Merkle tree of a transparency log: hashing, proofs, tiles and the append plan.
//!
//! Specifications: RFC 6962 section 2 (hashing, proof shapes), RFC 9162 section 2.1 (the iterative verification
//! algorithms), C2SP tlog-tiles (tile contents, widths and paths).
//!
//! Everything here is a function of its arguments. Who needs hashes that are stored somewhere asks first which tiles
//! ([`proof::tiles_for_inclusion`]), fetches them, and then computes ([`proof::inclusion`] over a [`TileSet`]).
//!
//! Invariants:
//! - a [`Tile`] never holds more than 256 hashes, and each perfect subtree inside it is kept, so a proof costs look-ups
//!   and not hashing;
//! - an [`Edge`] is the whole state an appender needs: the unfinished tile of every level;
//! - the tree head comes from the same look-ups that proofs use, so a proof that was computed here verifies here.
//!
//! Not here: signatures on tree heads (crate `note`), the bytes of entries (the log's own crate), storage.

pub mod append;
pub mod hash;
pub mod proof;
pub mod tile;
mod tree;

pub use append::{Edge, Update};
pub use hash::Hash;
pub use proof::ProofError;
pub use tile::{BundleId, Tile, TileId, TileSet, Width};
pub use tree::{LeafIndex, Node, Nodes, TreeHead, TreeSize};
