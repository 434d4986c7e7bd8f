//! Records of the write-ahead log.
//!
//! ```text
//! record   magic "tlogwal1" (8) | kind (1) | number (8) | payload length (4) | previous chain (32) | chain (32) | payload
//! chain    SHA-256(kind ‖ number ‖ payload length ‖ previous chain ‖ SHA-256(payload))
//!
//! start    size (8) | root (32) | timestamp ms (8) | checkpoint length (4) | checkpoint
//! batch    size before (8) | number of leaves (4) | timestamp ms (8) | size after (8) | root after (32)
//!          | checkpoint length (4) | checkpoint | per leaf: dedup key (32) | entry length (4) | entry
//! ```
//! All numbers are big-endian. The chain hash finds a torn record, and ties each record to all before it.

use keys::sha256;
use note::VerifierKey;
use tlog::{Hash, TreeHead, TreeSize};

const MAGIC: &[u8; 8] = b"tlogwal1";
/// Bytes before the payload.
pub(crate) const HEADER: usize = 8 + 1 + 8 + 4 + 32 + 32;

/// What stands at the beginning of a segment: the state on which its batches build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Start {
    pub(crate) head: TreeHead,
    pub(crate) timestamp_ms: u64,
    pub(crate) checkpoint: Vec<u8>,
}

/// Leaves that were committed together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Batch {
    pub(crate) before: TreeSize,
    pub(crate) timestamp_ms: u64,
    pub(crate) head: TreeHead,
    pub(crate) checkpoint: Vec<u8>,
    pub(crate) leaves: Vec<BatchLeaf>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BatchLeaf {
    pub(crate) dedup_key: [u8; 32],
    pub(crate) entry: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Record {
    Start(Start),
    Batch(Batch),
}

/// Position in the chain: what the next record continues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Chain {
    pub(crate) number: u64,
    pub(crate) previous: [u8; 32],
}

impl Chain {
    pub(crate) const FIRST: Self = Self {
        number: 0,
        previous: [0; 32],
    };
}

/// A record with its place in the chain.
#[derive(Clone, Debug)]
pub(crate) struct Framed {
    pub(crate) record: Record,
    /// Where this record stood.
    pub(crate) at: Chain,
    /// Where the next one stands.
    pub(crate) next: Chain,
    /// Length in bytes with the header.
    pub(crate) len: usize,
}

/// Writes a record at its place; `None` when the payload does not fit its 32-bit length.
pub(crate) fn encode(record: &Record, at: Chain) -> Option<(Vec<u8>, Chain)> {
    let (kind, payload) = match record {
        Record::Start(start) => (1_u8, encode_start(start)?),
        Record::Batch(batch) => (2, encode_batch(batch)?),
    };
    let length = u32::try_from(payload.len()).ok()?;
    let chain = chain_hash(kind, at, length, &payload);
    let mut bytes = Vec::with_capacity(HEADER.saturating_add(payload.len()));
    bytes.extend(MAGIC);
    bytes.push(kind);
    bytes.extend(at.number.to_be_bytes());
    bytes.extend(length.to_be_bytes());
    bytes.extend(at.previous);
    bytes.extend(chain);
    bytes.extend(payload);
    Some((
        bytes,
        Chain {
            number: at.number.checked_add(1)?,
            previous: chain,
        },
    ))
}

/// Reads the record that `bytes` begins with; `None` when there is no whole, undamaged one.
pub(crate) fn decode(bytes: &[u8]) -> Option<Framed> {
    let mut reader = Reader(bytes);
    if reader.array::<8>()? != *MAGIC {
        return None;
    }
    let [kind] = reader.array()?;
    let number = reader.u64()?;
    let length = reader.u32()?;
    let at = Chain {
        number,
        previous: reader.array()?,
    };
    let chain: [u8; 32] = reader.array()?;
    let payload = reader.bytes(usize::try_from(length).ok()?)?;
    if chain_hash(kind, at, length, payload) != chain {
        return None;
    }
    let record = match kind {
        1 => Record::Start(decode_start(payload)?),
        2 => Record::Batch(decode_batch(payload)?),
        _ => return None,
    };
    let next = Chain {
        number: number.checked_add(1)?,
        previous: chain,
    };
    Some(Framed {
        record,
        at,
        next,
        len: HEADER.checked_add(payload.len())?,
    })
}

/// What looks like a record, and may be one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Likeness<'a> {
    pub(crate) kind: Kind,
    /// The head that it would have.
    pub(crate) head: TreeHead,
    /// And the checkpoint.
    pub(crate) checkpoint: &'a [u8],
    /// From its first byte on, for [`decode`].
    pub(crate) bytes: &'a [u8],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Start,
    Batch,
}

/// Everything that looks like a record anywhere in `bytes`. Visitors can have a great many of them written, inside of entries, each as long as all that
/// follows: so whoever looks for real ones asks first whether the checkpoint is signed, and only then has the bytes hashed.
pub(crate) fn likenesses_in(bytes: &[u8]) -> impl Iterator<Item = Likeness<'_>> {
    (0..bytes.len())
        .filter_map(move |at| bytes.get(at..))
        .filter(|rest| rest.starts_with(MAGIC))
        .filter_map(Likeness::of)
}

impl<'a> Likeness<'a> {
    fn of(bytes: &'a [u8]) -> Option<Self> {
        let mut reader = Reader(bytes.strip_prefix(MAGIC)?);
        let [kind] = reader.array()?;
        let _number = reader.u64()?;
        let length = reader.u32()?;
        let _chains = reader.bytes(64)?;
        let mut reader = Reader(reader.bytes(usize::try_from(length).ok()?)?);
        let (kind, size, root) = match kind {
            1 => {
                let (size, root) = (reader.u64()?, reader.array()?);
                let _timestamp_ms = reader.u64()?;
                (Kind::Start, size, root)
            }
            2 => {
                let _before = reader.u64()?;
                let _count = reader.u32()?;
                let _timestamp_ms = reader.u64()?;
                (Kind::Batch, reader.u64()?, reader.array()?)
            }
            _ => return None,
        };
        Some(Self {
            kind,
            head: TreeHead {
                size: TreeSize::new(size),
                root: Hash::new(root),
            },
            checkpoint: reader.counted()?,
            bytes,
        })
    }

    /// Whether it is a whole, undamaged record with a checkpoint of its head that this key has signed.
    pub(crate) fn is_signed(&self, verifier: &VerifierKey) -> bool {
        let opened = note::open(self.checkpoint, std::slice::from_ref(verifier));
        opened.is_ok_and(|opened| *opened.head() == self.head) && decode(self.bytes).is_some()
    }
}

fn chain_hash(kind: u8, at: Chain, length: u32, payload: &[u8]) -> [u8; 32] {
    let header = [
        &[kind][..],
        &at.number.to_be_bytes(),
        &length.to_be_bytes(),
        &at.previous,
        &sha256(payload),
    ];
    sha256(&header.concat())
}

fn encode_start(start: &Start) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    bytes.extend(start.head.size.get().to_be_bytes());
    bytes.extend(start.head.root.as_bytes());
    bytes.extend(start.timestamp_ms.to_be_bytes());
    bytes.extend(u32::try_from(start.checkpoint.len()).ok()?.to_be_bytes());
    bytes.extend(&start.checkpoint);
    Some(bytes)
}

fn decode_start(payload: &[u8]) -> Option<Start> {
    let mut reader = Reader(payload);
    let size = TreeSize::new(reader.u64()?);
    let root = Hash::new(reader.array()?);
    let timestamp_ms = reader.u64()?;
    let checkpoint = reader.counted()?.to_vec();
    reader.finish(Start {
        head: TreeHead { size, root },
        timestamp_ms,
        checkpoint,
    })
}

fn encode_batch(batch: &Batch) -> Option<Vec<u8>> {
    let entries = batch
        .leaves
        .iter()
        .map(|leaf| leaf.entry.len().saturating_add(36))
        .sum::<usize>();
    let mut bytes = Vec::with_capacity(
        entries
            .saturating_add(batch.checkpoint.len())
            .saturating_add(64),
    );
    bytes.extend(batch.before.get().to_be_bytes());
    bytes.extend(u32::try_from(batch.leaves.len()).ok()?.to_be_bytes());
    bytes.extend(batch.timestamp_ms.to_be_bytes());
    bytes.extend(batch.head.size.get().to_be_bytes());
    bytes.extend(batch.head.root.as_bytes());
    bytes.extend(u32::try_from(batch.checkpoint.len()).ok()?.to_be_bytes());
    bytes.extend(&batch.checkpoint);
    for leaf in &batch.leaves {
        bytes.extend(leaf.dedup_key);
        bytes.extend(u32::try_from(leaf.entry.len()).ok()?.to_be_bytes());
        bytes.extend(&leaf.entry);
    }
    Some(bytes)
}

fn decode_batch(payload: &[u8]) -> Option<Batch> {
    let mut reader = Reader(payload);
    let before = TreeSize::new(reader.u64()?);
    let count = reader.u32()?;
    let timestamp_ms = reader.u64()?;
    let size = TreeSize::new(reader.u64()?);
    let root = Hash::new(reader.array()?);
    let checkpoint = reader.counted()?.to_vec();
    let mut leaves = Vec::new();
    for _ in 0..count {
        let dedup_key = reader.array()?;
        leaves.push(BatchLeaf {
            dedup_key,
            entry: reader.counted()?.to_vec(),
        });
    }
    let grown = before.get().checked_add(u64::from(count))?;
    if grown != size.get() {
        return None;
    }
    reader.finish(Batch {
        before,
        timestamp_ms,
        head: TreeHead { size, root },
        checkpoint,
        leaves,
    })
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(bytes)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.bytes(N)?.try_into().ok()
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    fn counted(&mut self) -> Option<&'a [u8]> {
        let count = usize::try_from(self.u32()?).ok()?;
        self.bytes(count)
    }

    fn finish<T>(self, value: T) -> Option<T> {
        self.0.is_empty().then_some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn batch() -> Record {
        Record::Batch(Batch {
            before: TreeSize::new(5),
            timestamp_ms: 77,
            head: TreeHead {
                size: TreeSize::new(7),
                root: Hash::new([9; 32]),
            },
            checkpoint: b"note".to_vec(),
            leaves: vec![
                BatchLeaf {
                    dedup_key: [1; 32],
                    entry: b"one".to_vec(),
                },
                BatchLeaf {
                    dedup_key: [2; 32],
                    entry: Vec::new(),
                },
            ],
        })
    }

    #[test]
    fn reads_what_it_writes() {
        let start = Record::Start(Start {
            head: TreeHead::EMPTY,
            timestamp_ms: 3,
            checkpoint: b"c".to_vec(),
        });
        let (mut bytes, next) = encode(&start, Chain::FIRST).unwrap();
        let first = bytes.len();
        let (more, end) = encode(&batch(), next).unwrap();
        bytes.extend(more);
        let framed = decode(&bytes).unwrap();
        assert_eq!(
            (framed.record, framed.len, framed.next),
            (start, first, next)
        );
        let framed = decode(&bytes[first..]).unwrap();
        assert_eq!(
            (framed.record, framed.at, framed.next),
            (batch(), next, end)
        );
        let found: Vec<_> = likenesses_in(&bytes).collect();
        let expected = [(Kind::Start, &b"c"[..], 0), (Kind::Batch, b"note", first)];
        let expected = expected.map(|(kind, checkpoint, at)| Likeness {
            kind,
            head: match kind {
                Kind::Start => TreeHead::EMPTY,
                Kind::Batch => TreeHead {
                    size: TreeSize::new(7),
                    root: Hash::new([9; 32]),
                },
            },
            checkpoint,
            bytes: &bytes[at..],
        });
        assert_eq!(found, expected);
        assert_eq!(likenesses_in(&bytes[1..]).count(), 1);
        assert_eq!(likenesses_in(&bytes[first + 1..]).count(), 0);
    }

    /// An entry of somebody who wants the next start to take hours: it was many times all these bytes that were hashed.
    #[test]
    fn what_only_looks_like_records_is_not_hashed() {
        let verifier = {
            let key = signer::Signer::generate(keys::Algorithm::Ed25519).unwrap();
            VerifierKey::new("localhost", key.public_key().clone()).unwrap()
        };
        let (real, _) = encode(&batch(), Chain::FIRST).unwrap();
        let count = 40_000_u32;
        let mut bytes = Vec::new();
        for left in (1..=count).rev() {
            let mut one = real.clone();
            let longest = left.saturating_mul(u32::try_from(real.len()).unwrap());
            let longest = longest.saturating_sub(u32::try_from(HEADER).unwrap());
            one.splice(17..21, longest.to_be_bytes());
            bytes.extend(one);
        }
        let found: Vec<_> = likenesses_in(&bytes).collect();
        assert_eq!(found.len(), usize::try_from(count).unwrap());
        assert!(!found.iter().any(|found| found.is_signed(&verifier)));
    }

    #[test]
    fn refuses_each_cut_and_each_flipped_bit() {
        let (bytes, _) = encode(
            &batch(),
            Chain {
                number: 4,
                previous: [5; 32],
            },
        )
        .unwrap();
        for cut in 0..bytes.len() {
            assert!(decode(&bytes[..cut]).is_none(), "cut at {cut}");
        }
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&damaged).is_none(), "bit {bit}");
        }
    }

    proptest! {
        #[test]
        fn survives_any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode(&bytes);
            let mut framed = MAGIC.to_vec();
            framed.extend(&bytes);
            let _ = decode(&framed);
            let _ = decode_batch(&bytes);
        }
    }
}
