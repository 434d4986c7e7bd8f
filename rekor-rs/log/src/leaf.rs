//! What the log keeps: the canonical body of an entry.

use sequencer::{Leaf, SealedLeaf, StoredLeaf};
use tlog::{Hash, LeafIndex, hash};

/// The longest body: an entry bundle gives its length 16 bits (C2SP tlog-tiles).
pub const MAX_BODY: usize = 65_535;

/// An admitted body, framed for a bundle: `length u16 | body`. The leaf hash is over the body alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    framed: Vec<u8>,
    hash: Hash,
}

impl Entry {
    /// Frames a body; `None` when it is longer than [`MAX_BODY`].
    pub fn new(body: &[u8]) -> Option<Self> {
        let len = u16::try_from(body.len()).ok()?;
        Some(Self {
            framed: [&len.to_be_bytes(), body].concat(),
            hash: hash::leaf(body),
        })
    }
}

impl Leaf for Entry {
    const BUNDLE: &'static str = "entries";
    /// A Rekor v2 log says nothing of time: timestamp authorities do.
    const TIMED: bool = false;

    /// The same bytes are the same entry.
    fn dedup_key(&self) -> [u8; 32] {
        self.hash.into_bytes()
    }

    /// Neither index nor time is in the leaf of a Rekor v2 log.
    fn seal(self, _index: LeafIndex, _timestamp_ms: u64) -> SealedLeaf {
        SealedLeaf {
            entry: self.framed,
            hash: self.hash,
        }
    }

    fn entry_len(bundle: &[u8]) -> Option<usize> {
        let (len, rest) = bundle.split_first_chunk()?;
        let len = usize::from(u16::from_be_bytes(*len));
        (rest.len() >= len).then(|| len.saturating_add(2))
    }

    fn open(entry: &[u8], _index: LeafIndex) -> Option<StoredLeaf> {
        let (_, body) = entry.split_first_chunk::<2>()?;
        let hash = hash::leaf(body);
        (Self::entry_len(entry)? == entry.len()).then(|| StoredLeaf {
            hash,
            dedup_key: hash.into_bytes(),
            timestamp_ms: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back_what_it_seals() {
        for len in [0, 1, 300, MAX_BODY] {
            let leaf = Entry::new(&vec![7; len]).unwrap();
            let key = leaf.dedup_key();
            let sealed = leaf.seal(LeafIndex::new(5), 0);
            let mut bundle = sealed.entry.clone();
            bundle.extend(b"more");
            assert_eq!(Entry::entry_len(&bundle), Some(len + 2));
            let stored = Entry::open(&sealed.entry, LeafIndex::new(5)).unwrap();
            assert_eq!((stored.hash, stored.dedup_key), (sealed.hash, key));
            assert_eq!(Entry::open(&bundle, LeafIndex::new(5)), None);
            assert_eq!(Entry::open(&sealed.entry[..=len], LeafIndex::new(5)), None);
        }
        assert_eq!(Entry::new(&vec![7; MAX_BODY + 1]), None);
        assert_eq!(Entry::entry_len(&[0]), None);
    }
}
