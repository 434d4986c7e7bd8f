//! What a CT log asks of the engine besides: proofs in trees of any size, leaves by their hashes, and tree heads that do not grow old.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs,
    reason = "a panic is a test's report"
)]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use common::{Named, config, naive_root, named, open_sim};
use jiff::Timestamp;
use keys::Algorithm;
use note::VerifierKey;
use sequencer::{
    AppendError, CheckpointSigner as _, Config, Found, LeafHashes, Log, TreeHeadSigner, fsck_on,
};
use signer::Signer;
use store::sim::{Loss, SimDisk};
use tlog::{Hash, LeafIndex, TreeHead, TreeSize, hash, proof};

fn small() -> Config {
    Config {
        batch_leaves: 40,
        segment_bytes: 5_000,
        ..config()
    }
}

async fn add(log: &Log<Named>, numbers: std::ops::Range<u64>) -> Vec<Hash> {
    let mut hashes = Vec::new();
    for number in numbers {
        hashes.push(log.append(named(number)).await.unwrap().inclusion.leaf);
    }
    hashes
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leaf_is_proven_in_the_tree_of_every_size() {
    let log = open_sim(&SimDisk::new(), small()).await.unwrap();
    let leaves = add(&log, 0..600).await;
    for size in [1, 2, 3, 255, 256, 257, 300, 511, 512, 513, 599, 600] {
        let count = usize::try_from(size).unwrap();
        let root = naive_root(&leaves[..count]);
        let size = TreeSize::new(size);
        for index in [0, 1, 100, 255, 256, 511, 598, 599] {
            let at = LeafIndex::new(index);
            let found = log.inclusion_at(at, size).await;
            if index >= size.get() {
                assert!(found.is_err(), "{index} in {size}");
                continue;
            }
            let found = found.unwrap().unwrap();
            assert_eq!(found.root, root, "{index} in {size}");
            assert_eq!(found.leaf, leaves[usize::try_from(index).unwrap()]);
            proof::verify_inclusion(&found.leaf, at, &found.proof, &TreeHead { size, root })
                .unwrap();
        }
    }
    let beyond = log
        .inclusion_at(LeafIndex::new(0), TreeSize::new(601))
        .await;
    assert_eq!(beyond.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn leaves_are_found_by_hash_and_only_those_of_the_tree_that_was_asked() {
    let disk = SimDisk::new();
    let log = open_sim(&disk, small()).await.unwrap();
    let hashes = LeafHashes::follow(&log);
    let mut leaves = add(&log, 0..700).await;
    let all = TreeSize::new(700);
    hashes.reached(all).await;
    for (index, leaf) in (0..).zip(&leaves) {
        let at = LeafIndex::new(index);
        let found = hashes.find(&log, leaf, all).await.unwrap();
        assert_eq!(found, Found::At(at));
        // Not in the tree that ends before it.
        let found = hashes.find(&log, leaf, TreeSize::new(index)).await;
        assert_eq!(found.unwrap(), Found::Absent);
        let found = hashes.find(&log, leaf, TreeSize::new(index + 1)).await;
        assert_eq!(found.unwrap(), Found::At(at));
    }
    let nobody = hash::leaf(b"nobody's");
    assert_eq!(
        hashes.find(&log, &nobody, all).await.unwrap(),
        Found::Absent
    );
    // Of a tree that is not indexed as a whole nothing is denied.
    let found = hashes.find(&log, &nobody, TreeSize::new(701)).await;
    assert_eq!(found.unwrap(), Found::NotYet { indexed: all });
    log.close().await;
    drop(log);

    // The index is made again from the tiles, and from what only the write-ahead log has.
    let log = open_sim(&disk, small()).await.unwrap();
    let hashes = LeafHashes::follow(&log);
    leaves.extend(add(&log, 700..800).await);
    hashes.reached(TreeSize::new(800)).await;
    for (index, leaf) in (0..).zip(&leaves) {
        let found = hashes.find(&log, leaf, TreeSize::new(800)).await.unwrap();
        assert_eq!(found, Found::At(LeafIndex::new(index)));
    }
    // A closed log is still read.
    add(&log, 800..810).await;
    log.close().await;
    hashes.reached(TreeSize::new(810)).await;
    assert_eq!(hashes.indexed(), TreeSize::new(810));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_tile_is_an_error_and_no_answer() {
    let disk = SimDisk::new();
    let log = open_sim(&disk, small()).await.unwrap();
    let hashes = LeafHashes::follow(&log);
    let leaves = add(&log, 0..600).await;
    hashes.reached(TreeSize::new(600)).await;
    log.close().await;
    let tile = store::Path::new("tile/0/000").unwrap();
    disk.tamper(&tile, |bytes| bytes.truncate(40));
    assert!(
        hashes
            .find(&log, &leaves[3], TreeSize::new(600))
            .await
            .is_err()
    );
    // Other bytes at its place: the leaf is not there any more, and nothing else is said to be it.
    disk.tamper(&tile, |bytes| *bytes = vec![7; 8192]);
    let found = hashes.find(&log, &leaves[3], TreeSize::new(600)).await;
    assert_eq!(found.unwrap(), Found::Absent);
}

struct Heads {
    disk: SimDisk,
    now: Arc<AtomicI64>,
    signer: Arc<TreeHeadSigner>,
}

impl Heads {
    fn new() -> Self {
        let key = Signer::generate(Algorithm::EcdsaP256Sha256).unwrap();
        Self {
            disk: SimDisk::new(),
            now: Arc::new(AtomicI64::new(1_700_000_000_000)),
            signer: Arc::new(TreeHeadSigner::new("ct.example/1", key).unwrap()),
        }
    }

    async fn open(&self) -> Log<Named> {
        self.open_on(&self.disk).await
    }

    async fn open_on(&self, disk: &SimDisk) -> Log<Named> {
        let now = self.now.clone();
        let clock =
            Arc::new(move || Timestamp::from_millisecond(now.load(Ordering::SeqCst)).unwrap());
        let config = Config {
            refresh: Some(Duration::from_mins(1)),
            ..config()
        };
        Log::open_on(
            Arc::new(disk.clone()),
            None,
            config,
            self.signer.clone(),
            clock,
        )
        .await
        .unwrap()
    }

    fn verifier(&self) -> &VerifierKey {
        self.signer.verifier()
    }

    /// The time in the newest checkpoint.
    fn time(&self, log: &Log<Named>) -> i64 {
        let published = log.published();
        let keys = std::slice::from_ref(self.verifier());
        let opened = note::open(&published.checkpoint, keys).unwrap();
        assert_eq!(*opened.head(), published.head);
        assert!(opened.checkpoint().extensions.is_empty());
        i64::try_from(opened.timestamp_ms().unwrap()).unwrap()
    }

    fn set(&self, milliseconds: i64) {
        self.now.store(milliseconds, Ordering::SeqCst);
    }
}

/// The engine looks at its clock when it starts, so each look is a start here.
#[tokio::test(flavor = "multi_thread")]
async fn an_old_tree_head_is_signed_again_and_time_does_not_run_backwards() {
    let heads = Heads::new();
    let start = 1_700_000_000_000;
    let log = heads.open().await;
    log.append(named(1)).await.unwrap();
    let head = log.published().head;
    drop(log);
    // Young enough: nothing is signed.
    heads.set(start + 59_000);
    let log = heads.open().await;
    log.close().await;
    assert_eq!(heads.time(&log), start);
    drop(log);
    let mut last = start;
    for minutes in [1, 5, 600] {
        heads.set(start + minutes * 60_000);
        let log = heads.open().await;
        let expected = start + minutes * 60_000;
        tokio::time::timeout(Duration::from_secs(20), async {
            while heads.time(&log) != expected {
                tokio::task::yield_now().await;
            }
        })
        .await
        .expect("a new tree head");
        assert_eq!(log.published().head, head, "the tree is the same");
        assert!(expected > last);
        last = expected;
    }
    // It survives a loss of power, so nothing that follows is older.
    let log = heads.open().await;
    assert_eq!(heads.time(&log), last);
    let disk = heads.disk.restart(Loss::Unsynced { seed: 7 });
    drop(log);
    heads.set(last - 4 * 60_000);
    let log = heads.open_on(&disk).await;
    assert_eq!(heads.time(&log), last);
    log.append(named(2)).await.unwrap();
    assert_eq!(heads.time(&log), last, "the clock was set back");
    // Too far: entries would get a time that is still to come.
    heads.set(start);
    let refused = log.append(named(3)).await.err();
    assert!(
        matches!(refused, Some(AppendError::Clock(_))),
        "{refused:?}"
    );
    log.close().await;
    let report = fsck_on::<Named>(&disk, None, heads.verifier()).unwrap();
    assert_eq!(report.head.size, TreeSize::new(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_ct_log_has_a_last_plain_tree_head_and_it_stays() {
    let heads = Heads::new();
    let log = heads.open().await;
    log.append(named(1)).await.unwrap();
    let head = log.published().head;
    // Before the last one: the time does not run backwards here neither.
    let early = Timestamp::from_millisecond(1_600_000_000_000).unwrap();
    log.freeze(&*heads.signer, early).await.unwrap();
    drop(log);
    heads.set(1_800_000_000_000);
    let log = heads.open().await;
    assert!(log.is_frozen());
    assert_eq!(log.published().head, head);
    assert_eq!(log.append(named(2)).await.err(), Some(AppendError::Frozen));
    log.close().await;
    assert_eq!(heads.time(&log), 1_700_000_000_000);
    drop(log);
    fsck_on::<Named>(&heads.disk, None, heads.verifier()).unwrap();
}

/// Readers beside the writer see a tree head that was signed again.
#[tokio::test(flavor = "multi_thread")]
async fn a_reader_follows_a_tree_head_without_leaves() {
    let heads = Heads::new();
    let log = heads.open().await;
    log.append(named(1)).await.unwrap();
    drop(log);
    let reader =
        Log::<Named>::open_reader_on(Arc::new(heads.disk.clone()), heads.verifier().clone())
            .await
            .unwrap();
    heads.set(1_700_000_600_000);
    let log = heads.open().await;
    tokio::time::timeout(Duration::from_secs(20), async {
        while heads.time(&reader) != 1_700_000_600_000 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("the reader saw it");
    assert_eq!(reader.published().head, log.published().head);
}
