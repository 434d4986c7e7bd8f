//! What a log keeps: the one thing in which a Rekor log and a CT log differ.

use tlog::{Hash, LeafIndex};

/// An entry that was admitted and waits for its place in the log.
///
/// The engine asks a leaf for nothing but bytes and hashes; what they mean is the business of the log that owns the type.
///
/// ```text
/// admitted leaf --dedup_key--> already there?  yes: its index again
///                                              no:  seal(index, time) -> SealedLeaf { entry, hash }
/// bundle bytes  --entry_len--> entry --open--> StoredLeaf { hash, dedup_key, .. }     (reading back, recovery, fsck)
/// ```
pub trait Leaf: Send + 'static {
    /// Name of the bundles in paths: `entries` (C2SP tlog-tiles) or `data` (static-ct-api).
    const BUNDLE: &'static str;

    /// Whether somebody is promised the time at which an entry was added. A log whose clock is far behind its last entry then takes nothing: the
    /// promised time would be one that is still to come.
    const TIMED: bool = true;

    /// Two leaves with the same key are the same entry: the second gets the index of the first.
    ///
    /// Must not depend on index or time, and must equal [`StoredLeaf::dedup_key`] of the sealed entry.
    fn dedup_key(&self) -> [u8; 32];

    /// Gives the leaf its place. `timestamp_ms` counts milliseconds since 1970 and never runs backwards within a log.
    fn seal(self, index: LeafIndex, timestamp_ms: u64) -> SealedLeaf;

    /// Length in bytes of the first entry of a bundle (framing included); `None` when the bytes do not begin with one.
    fn entry_len(bundle: &[u8]) -> Option<usize>;

    /// Reads back one entry, exactly as [`SealedLeaf::entry`] had it; `None` when it is malformed or not made for
    /// this index.
    fn open(entry: &[u8], index: LeafIndex) -> Option<StoredLeaf>;
}

/// A leaf with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedLeaf {
    /// The bytes as they stand in a bundle, with the framing of the format.
    pub entry: Vec<u8>,
    /// Merkle leaf hash: RFC 6962, SHA-256(0x00 ‖ leaf bytes).
    pub hash: Hash,
}

/// What an entry in a bundle says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredLeaf {
    /// Merkle leaf hash.
    pub hash: Hash,
    /// See [`Leaf::dedup_key`].
    pub dedup_key: [u8; 32],
    /// The timestamp given to [`Leaf::seal`], if the entry carries it.
    pub timestamp_ms: Option<u64>,
}
