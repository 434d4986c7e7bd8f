//! What the log keeps: a TileLeaf of static-ct-api.

use ct::{CtError, LeafEntry, leaf_index_extension, parse_leaf_index, parse_tile_leaf};
use keys::sha256;
use sequencer::{Leaf, SealedLeaf, StoredLeaf};
use tlog::{LeafIndex, hash};

/// An admitted certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateLeaf {
    entry: LeafEntry,
    leaf_index: bool,
    key: [u8; 32],
}

impl CertificateLeaf {
    /// Checks that the entry fits its length fields. With `leaf_index` its SCT and leaf carry the index.
    pub fn new(entry: LeafEntry, leaf_index: bool) -> Result<Self, CtError> {
        // Encoding cannot fail later on: the longest extension is added here.
        entry.tile_leaf(0, &extensions(true, LeafIndex::new(0)))?;
        let key = dedup_key(&entry)?;
        Ok(Self {
            entry,
            leaf_index,
            key,
        })
    }
}

/// `CtExtensions` of the leaf with this index.
pub(crate) fn extensions(leaf_index: bool, index: LeafIndex) -> Vec<u8> {
    // 2^40 leaves are the end of static-ct-api, and of every disk.
    leaf_index
        .then(|| leaf_index_extension(index.get()))
        .flatten()
        .unwrap_or_default()
}

/// The same certificate is the same entry, whenever and with whatever chain it comes.
fn dedup_key(entry: &LeafEntry) -> Result<[u8; 32], CtError> {
    Ok(sha256(&entry.merkle_tree_leaf(0, &[])?))
}

impl Leaf for CertificateLeaf {
    const BUNDLE: &'static str = "data";

    fn dedup_key(&self) -> [u8; 32] {
        self.key
    }

    fn seal(self, index: LeafIndex, timestamp_ms: u64) -> SealedLeaf {
        let extensions = extensions(self.leaf_index, index);
        let leaf = self.entry.merkle_tree_leaf(timestamp_ms, &extensions);
        let entry = self.entry.tile_leaf(timestamp_ms, &extensions);
        // `new` has encoded both; nothing has become longer.
        SealedLeaf {
            entry: entry.unwrap_or_default(),
            hash: hash::leaf(&leaf.unwrap_or_default()),
        }
    }

    fn entry_len(bundle: &[u8]) -> Option<usize> {
        parse_tile_leaf(bundle).ok().map(|parsed| parsed.length)
    }

    fn open(entry: &[u8], index: LeafIndex) -> Option<StoredLeaf> {
        let parsed = parse_tile_leaf(entry)
            .ok()
            .filter(|parsed| parsed.length == entry.len())?;
        // A leaf that names another index than its own was not made for this place.
        if parse_leaf_index(&parsed.extensions)
            .ok()?
            .is_some_and(|named| named != index.get())
        {
            return None;
        }
        let leaf = parsed
            .leaf
            .merkle_tree_leaf(parsed.timestamp_ms, &parsed.extensions)
            .ok()?;
        Some(StoredLeaf {
            hash: hash::leaf(&leaf),
            dedup_key: dedup_key(&parsed.leaf).ok()?,
            timestamp_ms: Some(parsed.timestamp_ms),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back_what_it_seals() {
        for leaf_index in [true, false] {
            let entry = LeafEntry {
                entry: ct::Entry::Precertificate {
                    issuer_key_hash: [1; 32],
                    tbs: vec![2; 50],
                },
                precertificate: Some(vec![3; 60]),
                chain: vec![[4; 32]],
            };
            let leaf = CertificateLeaf::new(entry, leaf_index).unwrap();
            let key = leaf.dedup_key();
            let sealed = leaf.seal(LeafIndex::new(70_000), 12_345);
            let stored = CertificateLeaf::open(&sealed.entry, LeafIndex::new(70_000)).unwrap();
            assert_eq!(
                stored,
                StoredLeaf {
                    hash: sealed.hash,
                    dedup_key: key,
                    timestamp_ms: Some(12_345)
                }
            );
            assert_eq!(
                CertificateLeaf::open(&sealed.entry, LeafIndex::new(70_001)).is_none(),
                leaf_index
            );
            let bundle = [&sealed.entry[..], b"more"].concat();
            assert_eq!(
                CertificateLeaf::entry_len(&bundle),
                Some(sealed.entry.len())
            );
            assert_eq!(CertificateLeaf::open(&bundle, LeafIndex::new(70_000)), None);
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let entry = LeafEntry {
            entry: ct::Entry::Certificate(vec![0; 1 << 24]),
            precertificate: None,
            chain: Vec::new(),
        };
        assert!(matches!(
            CertificateLeaf::new(entry, true),
            Err(CtError::TooLong(_))
        ));
    }
}
