//! A leaf type, keys, clocks and a naive tree for the engine's tests.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::panic,
    missing_docs,
    unreachable_pub,
    reason = "each test file uses its part; a panic is a test's report"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use jiff::Timestamp;
use note::VerifierKey;
use sequencer::{
    Appended, CheckpointSigner, Clock, Config, Leaf, Log, NoteSigner, OpenError, SealedLeaf,
    StoredLeaf,
};
use signer::Signer;
use store::sim::SimDisk;
use store::{Disk, Path};
use tlog::{Hash, LeafIndex, hash, proof};

/// `length u16 | index u64 | time u64 | name`: has place and time inside, as a CT leaf has.
#[derive(Clone, Debug)]
pub struct Named(pub String);

impl Leaf for Named {
    const BUNDLE: &'static str = "data";

    fn dedup_key(&self) -> [u8; 32] {
        keys::sha256(self.0.as_bytes())
    }

    fn seal(self, index: LeafIndex, timestamp_ms: u64) -> SealedLeaf {
        let mut body = index.get().to_be_bytes().to_vec();
        body.extend(timestamp_ms.to_be_bytes());
        body.extend(self.0.as_bytes());
        let mut entry = u16::try_from(body.len()).unwrap().to_be_bytes().to_vec();
        entry.extend(&body);
        SealedLeaf {
            entry,
            hash: hash::leaf(&body),
        }
    }

    fn entry_len(bundle: &[u8]) -> Option<usize> {
        let len = usize::from(u16::from_be_bytes(*bundle.first_chunk()?)) + 2;
        (len >= 18 && bundle.len() >= len).then_some(len)
    }

    fn open(entry: &[u8], index: LeafIndex) -> Option<StoredLeaf> {
        if Self::entry_len(entry)? != entry.len()
            || u64::from_be_bytes(entry[2..10].try_into().ok()?) != index.get()
        {
            return None;
        }
        Some(StoredLeaf {
            hash: hash::leaf(&entry[2..]),
            dedup_key: keys::sha256(&entry[18..]),
            timestamp_ms: Some(u64::from_be_bytes(entry[10..18].try_into().ok()?)),
        })
    }
}

pub fn named(number: u64) -> Named {
    Named(format!("entry {number}"))
}

pub fn name_of(entry: &[u8]) -> String {
    String::from_utf8(entry[18..].to_vec()).unwrap()
}

/// Always the same key, so that a restarted log has its own.
pub fn signer() -> Arc<dyn CheckpointSigner> {
    Arc::new(note_signer())
}

pub fn note_signer() -> NoteSigner {
    const KEY: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n-----END PRIVATE KEY-----\n";
    NoteSigner::new("log.example", Signer::from_pkcs8_pem(KEY).unwrap()).unwrap()
}

pub fn verifier() -> VerifierKey {
    signer().verifier().clone()
}

/// A millisecond later each time it is asked, also by the next log.
pub fn clock() -> Clock {
    static NOW: AtomicI64 = AtomicI64::new(1_700_000_000_000);
    Arc::new(|| Timestamp::from_millisecond(NOW.fetch_add(1, Ordering::Relaxed)).unwrap())
}

pub fn config() -> Config {
    Config {
        copy_interval: std::time::Duration::ZERO,
        ..Config::new("unused")
    }
}

pub async fn open_sim(disk: &SimDisk, config: Config) -> Result<Log<Named>, OpenError> {
    Log::open_on(Arc::new(disk.clone()), None, config, signer(), clock()).await
}

pub async fn open_with_copy(
    disk: &SimDisk,
    copy: &SimDisk,
    config: Config,
) -> Result<Log<Named>, OpenError> {
    let copy: (Arc<dyn Disk>, Path) = (Arc::new(copy.clone()), Path::new("last").unwrap());
    Log::open_on(
        Arc::new(disk.clone()),
        Some(copy),
        config,
        signer(),
        clock(),
    )
    .await
}

/// RFC 6962 2.1, word for word.
pub fn naive_root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => hash::EMPTY,
        [leaf] => *leaf,
        _ => {
            let mut k = 1;
            while k * 2 < leaves.len() {
                k *= 2;
            }
            hash::node(&naive_root(&leaves[..k]), &naive_root(&leaves[k..]))
        }
    }
}

/// What a client checks of an answer.
pub fn check(appended: &Appended) {
    let inclusion = &appended.inclusion;
    let opened = note::open(&inclusion.checkpoint, &[verifier()]).unwrap();
    assert_eq!(*opened.head(), inclusion.head);
    proof::verify_inclusion(
        &inclusion.leaf,
        inclusion.index,
        &inclusion.proof,
        &inclusion.head,
    )
    .unwrap();
}

/// Reads the whole log through its public interface, and recomputes the root.
pub async fn read_all(log: &Log<Named>) -> Vec<String> {
    let published = log.published();
    let opened = note::open(&published.checkpoint, &[verifier()]).unwrap();
    assert_eq!(*opened.head(), published.head);
    let mut names = Vec::new();
    let mut hashes = Vec::new();
    for index in 0..published.head.size.get() {
        let entry = log
            .entry(LeafIndex::new(index))
            .await
            .unwrap()
            .expect("below the published size");
        hashes.push(
            Named::open(&entry, LeafIndex::new(index))
                .expect("sealed for this place")
                .hash,
        );
        names.push(name_of(&entry));
    }
    assert_eq!(naive_root(&hashes), published.head.root);
    names
}
