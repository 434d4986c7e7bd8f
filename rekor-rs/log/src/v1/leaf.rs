//! What the log keeps of a v1 entry.

use kinds::Accepted;
use sequencer::{Leaf, SealedLeaf, StoredLeaf};
use tlog::{Hash, LeafIndex, hash};

/// The longest body, as in Rekor v2: [`crate::leaf::MAX_BODY`].
pub const MAX_BODY: usize = crate::leaf::MAX_BODY;
/// Before the body: time (8), length of the body (2), length of the keys (2).
const HEAD: usize = 12;

/// An admitted entry. In a bundle it is `time ms u64 | body length u16 | keys length u16 | body | keys`; the leaf hash is over the body
/// alone. The search keys are kept because some follow from a payload that nothing else keeps; they are separated by newlines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    body: Vec<u8>,
    keys: String,
    hash: Hash,
}

/// An entry that was read back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored<'a> {
    /// When it was added, in milliseconds since 1970.
    pub timestamp_ms: u64,
    /// The leaf.
    pub body: &'a [u8],
    /// The search keys, separated by newlines.
    pub keys: &'a str,
}

impl Entry {
    /// Takes an entry in; `None` when its body is longer than [`MAX_BODY`].
    pub fn new(accepted: &Accepted) -> Option<Self> {
        let body = accepted.body().to_vec();
        if body.len() > MAX_BODY {
            return None;
        }
        // A key has no control characters, and all of them are at most `kinds::MAX_KEYS` bytes.
        let keys = accepted.keys().join("\n");
        Some(Self {
            hash: hash::leaf(&body),
            body,
            keys,
        })
    }

    /// The leaf.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// Its Merkle leaf hash: in Rekor v1 the UUID of the entry.
    pub const fn hash(&self) -> Hash {
        self.hash
    }
}

impl<'a> Stored<'a> {
    /// Reads one entry of a bundle; `None` when it is malformed.
    pub fn parse(entry: &'a [u8]) -> Option<Self> {
        let (time, rest) = entry.split_first_chunk()?;
        let (body_len, rest) = rest.split_first_chunk()?;
        let (keys_len, rest) = rest.split_first_chunk()?;
        let (body, keys) = rest.split_at_checked(usize::from(u16::from_be_bytes(*body_len)))?;
        if keys.len() != usize::from(u16::from_be_bytes(*keys_len)) {
            return None;
        }
        Some(Self {
            timestamp_ms: u64::from_be_bytes(*time),
            body,
            keys: std::str::from_utf8(keys).ok()?,
        })
    }
}

impl Leaf for Entry {
    /// Not `entries`: these bundles are not those of C2SP tlog-tiles.
    const BUNDLE: &'static str = "v1";

    fn dedup_key(&self) -> [u8; 32] {
        self.hash.into_bytes()
    }

    fn seal(self, _index: LeafIndex, timestamp_ms: u64) -> SealedLeaf {
        // Both lengths were checked when the entry was made.
        let len = |len: usize| u16::try_from(len).unwrap_or(u16::MAX).to_be_bytes();
        let entry = [
            timestamp_ms.to_be_bytes().as_slice(),
            &len(self.body.len()),
            &len(self.keys.len()),
            &self.body,
            self.keys.as_bytes(),
        ]
        .concat();
        SealedLeaf {
            entry,
            hash: self.hash,
        }
    }

    fn entry_len(bundle: &[u8]) -> Option<usize> {
        let (head, rest) = bundle.split_first_chunk::<HEAD>()?;
        let [.., body_high, body_low, keys_high, keys_low] = *head;
        let body = usize::from(u16::from_be_bytes([body_high, body_low]));
        let keys = usize::from(u16::from_be_bytes([keys_high, keys_low]));
        let len = body.saturating_add(keys);
        (rest.len() >= len).then(|| len.saturating_add(HEAD))
    }

    fn open(entry: &[u8], _index: LeafIndex) -> Option<StoredLeaf> {
        let stored = Stored::parse(entry)?;
        let hash = hash::leaf(stored.body);
        Some(StoredLeaf {
            hash,
            dedup_key: hash.into_bytes(),
            timestamp_ms: Some(stored.timestamp_ms),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(body: usize, keys: &str) -> Entry {
        let body = vec![7; body];
        Entry {
            hash: hash::leaf(&body),
            body,
            keys: keys.to_owned(),
        }
    }

    #[test]
    fn reads_back_what_it_seals() {
        for (len, keys) in [
            (0, ""),
            (1, "a"),
            (300, "sha256:ab\nc@d.e"),
            (MAX_BODY, "x"),
            (MAX_BODY, &"x".repeat(kinds::MAX_KEYS)),
        ] {
            let leaf = entry(len, keys);
            let (key, body) = (leaf.dedup_key(), leaf.body().to_vec());
            let sealed = leaf.seal(LeafIndex::new(5), 1_700_000_000_123);
            let mut bundle = sealed.entry.clone();
            bundle.extend(b"more");
            assert_eq!(Entry::entry_len(&bundle), Some(sealed.entry.len()));
            let opened = Entry::open(&sealed.entry, LeafIndex::new(5)).unwrap();
            assert_eq!((opened.hash, opened.dedup_key), (sealed.hash, key));
            assert_eq!(opened.timestamp_ms, Some(1_700_000_000_123));
            let stored = Stored::parse(&sealed.entry).unwrap();
            assert_eq!((stored.body, stored.keys), (body.as_slice(), keys));
            assert_eq!(Entry::open(&bundle, LeafIndex::new(5)), None, "too long");
            let (_, short) = sealed.entry.split_last().unwrap();
            assert_eq!(Entry::open(short, LeafIndex::new(5)), None, "too short");
            assert_eq!(Entry::entry_len(short), None);
        }
    }
}
