//! What the engine promises while nothing breaks.
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
use std::time::{Duration, Instant};

use common::{
    Named, check, clock, config, naive_root, name_of, named, note_signer, open_sim, open_with_copy,
    read_all, signer, verifier,
};
use sequencer::{
    AppendError, CheckpointSigner, Config, FreezeError, Leaf as _, Log, OpenError, Resource,
    SignError, SignFuture, TreeHeadSigner, fsck, fsck_on,
};
use store::sim::SimDisk;
use store::{Disk as _, Path};
use tlog::{BundleId, Hash, LeafIndex, TileId, TreeHead, TreeSize, Width, proof};

#[tokio::test(flavor = "multi_thread")]
async fn places_are_given_in_order_and_proven() {
    let log = open_sim(&SimDisk::new(), config()).await.unwrap();
    assert_eq!(log.published().head, TreeHead::EMPTY);
    for number in 0..20 {
        let appended = log.append(named(number)).await.unwrap();
        check(&appended);
        assert_eq!(appended.inclusion.index, LeafIndex::new(number));
        assert!(!appended.duplicate);
        assert_eq!(log.published().head, appended.inclusion.head);
    }
    assert_eq!(read_all(&log).await.len(), 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_at_once_share_batches_and_all_are_there() {
    let disk = SimDisk::new();
    let log = open_sim(
        &disk,
        Config {
            batch_leaves: 100,
            segment_bytes: 20_000,
            ..config()
        },
    )
    .await
    .unwrap();
    let tasks: Vec<_> = (0..1500_u64)
        .map(|number| {
            let log = log.clone();
            tokio::spawn(async move { log.append(named(number)).await.unwrap() })
        })
        .collect();
    let mut taken = vec![false; 1500];
    for (number, task) in tasks.into_iter().enumerate() {
        let appended = task.await.unwrap();
        check(&appended);
        let index = appended.inclusion.index;
        assert_eq!(
            name_of(&log.entry(index).await.unwrap().unwrap()),
            format!("entry {number}")
        );
        assert!(
            !std::mem::replace(&mut taken[usize::try_from(index.get()).unwrap()], true),
            "given twice"
        );
    }
    assert!(taken.iter().all(|taken| *taken));
    read_all(&log).await;
    log.close().await;
    // Segments whose leaves are all in durable tiles are gone.
    let segments = disk
        .files()
        .keys()
        .filter(|path| path.as_str().starts_with("wal/"))
        .count();
    assert!(segments < 5, "{segments} segments are left");
    let report = fsck_on::<Named>(&disk, None, &verifier()).unwrap();
    assert_eq!(
        (report.head.size.get(), report.bundled, report.tiles),
        (1500, 1280, 5)
    );
    assert_eq!(report.notes, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_is_added_once() {
    let disk = SimDisk::new();
    let log = open_sim(&disk, config()).await.unwrap();
    let first = log.append(named(1)).await.unwrap();
    for number in 2..400 {
        log.append(named(number)).await.unwrap();
    }
    let again = log.append(named(1)).await.unwrap();
    check(&again);
    assert!(again.duplicate);
    assert_eq!(
        (again.inclusion.index, again.timestamp_ms),
        (first.inclusion.index, first.timestamp_ms)
    );
    assert_eq!(again.inclusion.head.size.get(), 399, "with a fresh proof");
    log.close().await;
    let log = open_sim(&disk, config()).await.unwrap();
    let again = log.append(named(1)).await.unwrap();
    assert_eq!(
        (again.duplicate, again.timestamp_ms),
        (true, first.timestamp_ms)
    );
    // Two of the same in one batch.
    let (one, other) = tokio::join!(log.append(named(1000)), log.append(named(1000)));
    let (one, other) = (one.unwrap(), other.unwrap());
    assert_eq!(one.inclusion.index, other.inclusion.index);
    assert!(one.duplicate != other.duplicate);
}

#[tokio::test(flavor = "multi_thread")]
async fn tiles_and_bundles_follow_the_published_tree() {
    let log = open_sim(&SimDisk::new(), config()).await.unwrap();
    let mut hashes: Vec<Hash> = Vec::new();
    let read = |path: String| {
        let log = log.clone();
        async move { log.read(&Resource::parse(&path, "data")?).await.unwrap() }
    };
    for number in 0..600 {
        let appended = log.append(named(number)).await.unwrap();
        hashes.push(appended.inclusion.leaf);
        if ![1, 2, 255, 256, 257, 511, 512, 513, 600].contains(&hashes.len()) {
            continue;
        }
        for (place, chunk) in hashes.chunks(256).enumerate() {
            for width in [1, chunk.len() / 2, chunk.len()]
                .into_iter()
                .filter(|width| *width > 0)
            {
                let suffix = if width == 256 {
                    String::new()
                } else {
                    format!(".p/{width}")
                };
                let tile = read(format!("tile/0/{place:03}{suffix}"))
                    .await
                    .unwrap_or_else(|| panic!("{place}{suffix} of {}", hashes.len()));
                assert_eq!(
                    tile,
                    chunk[..width]
                        .iter()
                        .flat_map(|hash| *hash.as_bytes())
                        .collect::<Vec<_>>()
                );
                let bundle = read(format!("tile/data/{place:03}{suffix}")).await.unwrap();
                let mut rest = &bundle[..];
                for number in (place * 256..).take(width) {
                    let (entry, after) = rest.split_at(Named::entry_len(rest).unwrap());
                    assert_eq!(name_of(entry), format!("entry {number}"));
                    rest = after;
                }
                assert!(rest.is_empty());
            }
            if chunk.len() < 256 {
                assert_eq!(
                    read(format!("tile/0/{place:03}.p/{}", chunk.len() + 1)).await,
                    None
                );
                assert_eq!(read(format!("tile/0/{place:03}")).await, None);
                assert_eq!(
                    read(format!("tile/data/{place:03}.p/{}", chunk.len() + 1)).await,
                    None
                );
            }
        }
        assert_eq!(read("tile/0/003.p/1".to_owned()).await, None);
        assert_eq!(read("tile/1/000.p/3".to_owned()).await, None);
        assert_eq!(read("tile/63/000".to_owned()).await, None);
        assert_eq!(
            read("checkpoint".to_owned()).await.unwrap(),
            log.published().checkpoint.to_vec()
        );
    }
    let full = TileId {
        level: 1,
        index: 0,
        width: Width::new(2).unwrap(),
    };
    let expected = [naive_root(&hashes[..256]), naive_root(&hashes[256..512])];
    assert_eq!(
        log.tile(full).await.unwrap().unwrap(),
        expected.map(Hash::into_bytes).concat()
    );
    assert_eq!(log.entry(LeafIndex::new(600)).await.unwrap(), None);
    for index in [0, 255, 256, 511, 512, 599] {
        let inclusion = log.inclusion(LeafIndex::new(index)).await.unwrap();
        assert_eq!(inclusion.leaf, hashes[usize::try_from(index).unwrap()]);
    }
    assert!(log.inclusion(LeafIndex::new(600)).await.is_err());
    for old in [0_usize, 1, 255, 256, 300, 512, 599, 600] {
        let (proof, published) = log
            .consistency(TreeSize::new(u64::try_from(old).unwrap()))
            .await
            .unwrap();
        let old = TreeHead {
            size: TreeSize::new(u64::try_from(old).unwrap()),
            root: naive_root(&hashes[..old]),
        };
        proof::verify_consistency(&old, &published.head, &proof).unwrap();
    }
    assert!(log.consistency(TreeSize::new(601)).await.is_err());
    let wide = BundleId {
        index: 0,
        width: Width::FULL,
    };
    assert!(log.bundle(wide).await.unwrap().is_some());
}

#[test]
fn resources_have_one_name() {
    assert_eq!(
        Resource::parse("checkpoint", "entries"),
        Some(Resource::Checkpoint)
    );
    assert!(matches!(
        Resource::parse("tile/0/000", "entries"),
        Some(Resource::Tile(_))
    ));
    assert!(matches!(
        Resource::parse("tile/entries/000.p/3", "entries"),
        Some(Resource::Bundle(_))
    ));
    for path in [
        "",
        "tile/data/000",
        "tile/entries/0",
        "checkpoint/",
        "/checkpoint",
        "wal/0",
        "index",
        "tile/../index",
    ] {
        assert_eq!(Resource::parse(path, "entries"), None, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_log_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let copy = tempfile::tempdir().unwrap();
    let config = Config {
        checkpoint_copy: Some(copy.path().join("last.checkpoint")),
        segment_bytes: 4_000,
        ..Config::new(folder.path().join("log"))
    };
    let open = || Log::<Named>::open(config.clone(), signer(), clock());
    drop(open().await.unwrap());
    for run in 0..6_u64 {
        let log = open().await.unwrap();
        assert_eq!(log.published().head.size.get(), run * 150);
        assert!(matches!(open().await, Err(OpenError::Locked)));
        for number in 0..150 {
            check(&log.append(named(run * 150 + number)).await.unwrap());
        }
        assert_eq!(
            u64::try_from(read_all(&log).await.len()).unwrap(),
            (run + 1) * 150
        );
        log.close().await;
        assert_eq!(
            log.append(named(9999)).await.unwrap_err(),
            AppendError::Closed
        );
        assert!(
            log.entry(LeafIndex::new(0)).await.unwrap().is_some(),
            "reading goes on"
        );
        let report = fsck::<Named>(&config, &verifier()).unwrap();
        assert_eq!(report.head, log.published().head);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_refuses_and_loses_nothing() {
    let gate = Arc::new(Gate::default());
    let disk = Arc::new(SimDisk::new());
    let config = Config {
        queue: 4,
        batch_leaves: 1,
        ..config()
    };
    let log = Log::<Named>::open_on(disk, None, config, gate.clone(), clock())
        .await
        .unwrap();
    gate.shut();
    let tasks: Vec<_> = (0..50)
        .map(|number| {
            let log = log.clone();
            tokio::spawn(async move { log.append(named(number)).await })
        })
        .collect();
    while tasks.iter().filter(|task| task.is_finished()).count() < 40 {
        tokio::task::yield_now().await;
    }
    gate.open();
    let (mut added, mut refused) = (0, 0);
    for task in tasks {
        match task.await.unwrap() {
            Ok(appended) => {
                check(&appended);
                added += 1;
            }
            Err(AppendError::Overloaded { retry_after }) => {
                assert!(!retry_after.is_zero());
                refused += 1;
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert!(
        refused >= 40 && added >= 4,
        "{added} added, {refused} refused"
    );
    assert_eq!(log.published().head.size.get(), added);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signer_that_fails_costs_one_batch() {
    let gate = Arc::new(Gate::default());
    let log = Log::<Named>::open_on(
        Arc::new(SimDisk::new()),
        None,
        config(),
        gate.clone(),
        clock(),
    )
    .await
    .unwrap();
    gate.fail.store(true, std::sync::atomic::Ordering::SeqCst);
    assert!(matches!(
        log.append(named(0)).await,
        Err(AppendError::NotSigned(_))
    ));
    gate.fail.store(false, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(
        log.append(named(0)).await.unwrap().inclusion.index,
        LeafIndex::new(0)
    );
    assert_eq!(log.health(), Ok(()));
}

/// A key in a token or on another machine that hangs, again and again: each batch is refused in time, nothing of it is kept, and what the
/// log has published stays one history, over a restart too.
#[tokio::test(flavor = "multi_thread")]
async fn a_signer_that_hangs_is_refused_in_time_and_forks_nothing() {
    let (gate, disk) = (Arc::new(Gate::default()), SimDisk::new());
    let config = Config {
        sign_time: Duration::from_millis(50),
        ..config()
    };
    let open = || {
        Log::<Named>::open_on(
            Arc::new(disk.clone()),
            None,
            config.clone(),
            gate.clone(),
            clock(),
        )
    };
    let mut published = Vec::new();
    for round in 0..6 {
        let log = open().await.unwrap();
        let size = log.published().head.size.get();
        assert_eq!(size, 2 * round);
        gate.shut();
        let start = Instant::now();
        // Never the same entry at the same place: what a late signature would be about is another tree.
        let refused = log.append(named(100 + round)).await;
        assert!(
            matches!(&refused, Err(AppendError::NotSigned(why)) if why.contains("within")),
            "{refused:?}"
        );
        assert!(start.elapsed() < Duration::from_secs(5));
        // Reading goes on.
        assert_eq!(log.published().head.size.get(), size);
        assert_eq!(log.health(), Ok(()));
        gate.open();
        for number in [2 * round, 2 * round + 1] {
            let appended = log.append(named(number)).await.unwrap();
            check(&appended);
            assert_eq!(appended.inclusion.index, LeafIndex::new(number));
        }
        published.push(log.published().head);
    }
    let log = open().await.unwrap();
    let expected: Vec<_> = (0..12).map(|number| format!("entry {number}")).collect();
    assert_eq!(read_all(&log).await, expected);
    let hashes: Vec<Hash> = leaf_hashes(&log).await;
    for head in published {
        let size = usize::try_from(head.size.get()).unwrap();
        assert_eq!(naive_root(&hashes[..size]), head.root);
    }
    drop(log);
    fsck_on::<Named>(&disk, None, &verifier()).unwrap();
}

async fn leaf_hashes(log: &Log<Named>) -> Vec<Hash> {
    let mut hashes = Vec::new();
    for index in (0..log.published().head.size.get()).map(LeafIndex::new) {
        let entry = log.entry(index).await.unwrap().unwrap();
        hashes.push(Named::open(&entry, index).unwrap().hash);
    }
    hashes
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_log_whose_key_hangs_does_not_start() {
    let gate = Arc::new(Gate::default());
    gate.shut();
    let config = Config {
        sign_time: Duration::from_millis(50),
        ..config()
    };
    let disk = SimDisk::new();
    let opened =
        Log::<Named>::open_on(Arc::new(disk.clone()), None, config, gate.clone(), clock()).await;
    assert!(matches!(opened, Err(OpenError::Sign(SignError::Late(_)))));
    // Nothing was begun: the next start does it.
    gate.open();
    open_sim(&disk, common::config()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn rolled_back_and_forked_folders_are_refused() {
    let (disk, copy) = (SimDisk::new(), SimDisk::new());
    let log = open_with_copy(&disk, &copy, config()).await.unwrap();
    for number in 0..300 {
        log.append(named(number)).await.unwrap();
    }
    log.close().await;
    let backup = disk.restart(store::sim::Loss::Nothing);
    let log = open_with_copy(&disk, &copy, config()).await.unwrap();
    log.append(named(300)).await.unwrap();
    log.close().await;

    let refused = open_with_copy(&backup, &copy, config()).await.unwrap_err();
    assert!(
        matches!(refused, OpenError::RolledBack { copy, folder } if (copy.get(), folder.get()) == (301, 300))
    );
    let refused = open_with_copy(&SimDisk::new(), &copy, config())
        .await
        .unwrap_err();
    assert!(matches!(
        refused,
        OpenError::RolledBack {
            folder: TreeSize::EMPTY,
            ..
        }
    ));
    // The backup goes its own way where nobody compares, and comes back.
    let log = open_sim(&backup, config()).await.unwrap();
    for number in 400..500 {
        log.append(named(number)).await.unwrap();
    }
    log.close().await;
    let refused = open_with_copy(&backup, &copy, config()).await.unwrap_err();
    assert!(matches!(refused, OpenError::Forked { copy } if copy.size.get() == 301));
    // The folder that the copy is of opens.
    open_with_copy(&disk, &copy, config()).await.unwrap();
}

/// Without the second copy, tiles of a longer tree still give a roll-back away.
#[tokio::test(flavor = "multi_thread")]
async fn a_write_ahead_log_behind_its_tiles_is_refused() {
    let disk = SimDisk::new();
    let log = open_sim(&disk, config()).await.unwrap();
    for number in 0..100 {
        log.append(named(number)).await.unwrap();
    }
    log.close().await;
    let early = disk.files();
    let log = open_sim(&disk, config()).await.unwrap();
    for number in 100..300 {
        log.append(named(number)).await.unwrap();
    }
    log.close().await;
    let segment = Path::new(format!("wal/{:020}.wal", 0)).unwrap();
    disk.tamper(&segment, |bytes| bytes.clone_from(&early[&segment]));
    let refused = open_sim(&disk, config()).await.unwrap_err();
    assert!(
        matches!(&refused, OpenError::Damaged(what) if what.contains("rolled back")),
        "{refused}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn another_key_is_refused() {
    let disk = SimDisk::new();
    let log = open_sim(&disk, config()).await.unwrap();
    log.append(named(0)).await.unwrap();
    log.close().await;
    let other = signer::Signer::generate(keys::Algorithm::EcdsaP256Sha256).unwrap();
    let other = Arc::new(TreeHeadSigner::new("log.example", other).unwrap());
    let refused = Log::<Named>::open_on(Arc::new(disk), None, config(), other, clock())
        .await
        .unwrap_err();
    assert!(matches!(
        refused,
        OpenError::OtherKey(note::OpenError::NoTrustedSignature { .. })
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ct_log_signs_tree_heads() {
    let disk = SimDisk::new();
    let key = signer::Signer::generate(keys::Algorithm::EcdsaP256Sha256).unwrap();
    let signer = Arc::new(TreeHeadSigner::new("ct.example/2026", key).unwrap());
    let open = || {
        Log::<Named>::open_on(
            Arc::new(disk.clone()),
            None,
            config(),
            signer.clone(),
            clock(),
        )
    };
    let log = open().await.unwrap();
    let appended = log.append(named(0)).await.unwrap();
    let opened = note::open(&appended.inclusion.checkpoint, &[signer.verifier().clone()]).unwrap();
    assert_eq!(opened.timestamp_ms(), Some(appended.timestamp_ms));
    log.close().await;
    assert_eq!(open().await.unwrap().published().head.size.get(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_index_is_made_again() {
    let disk = SimDisk::new();
    let log = open_sim(
        &disk,
        Config {
            segment_bytes: 4_000,
            ..config()
        },
    )
    .await
    .unwrap();
    let first = log.append(named(0)).await.unwrap();
    for number in 1..600 {
        log.append(named(number)).await.unwrap();
    }
    log.close().await;
    disk.tamper(&Path::new("index").unwrap(), |bytes| bytes.truncate(1000));
    let log = open_sim(&disk, config()).await.unwrap();
    let again = log.append(named(0)).await.unwrap();
    assert_eq!(
        (again.duplicate, again.timestamp_ms),
        (true, first.timestamp_ms)
    );
    log.close().await;
    assert_eq!(
        fsck_on::<Named>(&disk, None, &verifier()).unwrap().notes,
        Vec::<String>::new()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_is_found() {
    let disk = SimDisk::new();
    let log = open_sim(
        &disk,
        Config {
            segment_bytes: 4_000,
            ..config()
        },
    )
    .await
    .unwrap();
    for number in 0..600 {
        log.append(named(number)).await.unwrap();
    }
    log.close().await;
    fsck_on::<Named>(&disk, None, &verifier()).unwrap();
    let paths: Vec<_> = disk
        .files()
        .into_iter()
        .filter(|(_, bytes)| !bytes.is_empty())
        .map(|(path, _)| path)
        .collect();
    assert!(paths.len() > 5, "{paths:?}");
    for path in paths {
        for position in [0, 2, 3] {
            let damaged = disk.restart(store::sim::Loss::Nothing);
            let mut gone = false;
            damaged.tamper(&path, |bytes| {
                let at = bytes.len() * position / 4;
                bytes[at] ^= 1;
                // The rows of the index past the write-ahead log's start are made again, so changing them is nothing.
                gone = path.as_str() == "index" && position > 0;
            });
            let found = fsck_on::<Named>(&damaged, None, &verifier());
            let noted = found.as_ref().is_ok_and(|report| !report.notes.is_empty());
            assert!(
                found.is_err() || noted || gone,
                "{path} at {position}/4 was changed unnoticed"
            );
        }
    }
}

/// A clock that is set back does not give an entry an earlier time than the one before it, not even after a restart.
#[tokio::test(flavor = "multi_thread")]
async fn time_does_not_run_backwards() {
    let disk = SimDisk::new();
    let mut last = 0;
    for (run, start) in [1000_i64, 800, 2000].into_iter().enumerate() {
        let now = std::sync::atomic::AtomicI64::new(start);
        let back: sequencer::Clock = Arc::new(move || {
            let now = now.fetch_sub(10, std::sync::atomic::Ordering::SeqCst);
            jiff::Timestamp::from_second(now).unwrap()
        });
        let open = Log::<Named>::open_on(Arc::new(disk.clone()), None, config(), signer(), back);
        let log = open.await.unwrap();
        for number in 0..5 {
            let name = u64::try_from(run).unwrap() * 100 + number;
            let appended = log.append(named(name)).await.unwrap();
            assert!(appended.timestamp_ms >= last);
            assert_eq!(log.published().timestamp_ms, appended.timestamp_ms);
            last = appended.timestamp_ms;
        }
        log.close().await;
    }
    assert_eq!(last, 2_000_000);
}

/// A clock that was years ahead for a moment must not date everything that follows: such a log takes nothing, and says why.
#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_far_behind_dates_nothing() {
    let disk = SimDisk::new();
    let now = Arc::new(std::sync::atomic::AtomicI64::new(1_000_000));
    let shown = now.clone();
    let clock: sequencer::Clock = Arc::new(move || {
        jiff::Timestamp::from_second(shown.load(std::sync::atomic::Ordering::SeqCst)).unwrap()
    });
    let set = |seconds| now.store(seconds, std::sync::atomic::Ordering::SeqCst);
    let open = Log::<Named>::open_on(Arc::new(disk.clone()), None, config(), signer(), clock);
    let log = open.await.unwrap();
    let first = log.append(named(0)).await.unwrap();
    set(1_000_000_000);
    let last = log.append(named(1)).await.unwrap();
    assert_eq!(last.timestamp_ms, 1_000_000_000_000);
    // As much as a clock may be set back.
    set(1_000_000_000 - 300);
    let appended = log.append(named(2)).await.unwrap();
    assert_eq!(appended.timestamp_ms, last.timestamp_ms);
    set(2000);
    let behind = std::time::Duration::from_secs(1_000_000_000 - 2000);
    assert_eq!(
        log.append(named(3)).await.unwrap_err(),
        AppendError::Clock(behind)
    );
    let again = log.append(named(0)).await.unwrap();
    assert!(again.duplicate && again.timestamp_ms == first.timestamp_ms);
    assert_eq!(log.published().head.size, TreeSize::new(3));
    set(1_000_000_001);
    check(&log.append(named(3)).await.unwrap());
    log.close().await;
}

/// A leaf that panics is a bug of its owner; nobody waits for ever, and the log says that it has stopped.
#[tokio::test(flavor = "multi_thread")]
async fn a_panic_stops_the_log() {
    let disk = SimDisk::new();
    let open = || Log::<Rotten>::open_on(Arc::new(disk.clone()), None, config(), signer(), clock());
    let log = open().await.unwrap();
    let stopped = log.stopped();
    assert!(matches!(
        log.append(Rotten).await,
        Err(AppendError::Stopped(_))
    ));
    assert!(stopped.await.unwrap().contains("panic"));
    assert!(log.health().is_err());
    log.close().await;
    open().await.unwrap();
}

struct Rotten;

impl sequencer::Leaf for Rotten {
    const BUNDLE: &'static str = "entries";

    fn dedup_key(&self) -> [u8; 32] {
        [0; 32]
    }

    fn seal(self, _index: LeafIndex, _timestamp_ms: u64) -> sequencer::SealedLeaf {
        panic!("rotten")
    }

    fn entry_len(_bundle: &[u8]) -> Option<usize> {
        None
    }

    fn open(_entry: &[u8], _index: LeafIndex) -> Option<sequencer::StoredLeaf> {
        None
    }
}

/// A signer that waits, or fails, on request.
#[derive(Default)]
struct Gate {
    held: std::sync::Mutex<Option<tokio::sync::OwnedMutexGuard<()>>>,
    passage: Arc<tokio::sync::Mutex<()>>,
    fail: std::sync::atomic::AtomicBool,
    verifier: std::sync::OnceLock<note::VerifierKey>,
}

impl Gate {
    fn shut(&self) {
        *self.held.lock().unwrap() = Some(self.passage.clone().try_lock_owned().unwrap());
    }

    fn open(&self) {
        drop(self.held.lock().unwrap().take());
    }
}

impl CheckpointSigner for Gate {
    fn verifier(&self) -> &note::VerifierKey {
        self.verifier.get_or_init(verifier)
    }

    fn sign(&self, head: TreeHead, timestamp_ms: u64) -> SignFuture<'_> {
        Box::pin(async move {
            drop(self.passage.lock().await);
            if self.fail.load(std::sync::atomic::Ordering::SeqCst) {
                return Err(SignError::Signer(signer::SignerError::Failed));
            }
            signer().sign(head, timestamp_ms).await
        })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_log_is_read_and_takes_nothing() {
    let disk = SimDisk::new();
    let log = open_sim(&disk, config()).await.unwrap();
    for number in 0..300 {
        log.append(named(number)).await.unwrap();
    }
    let head = log.published().head;
    log.freeze(&note_signer(), "2026-11-03T04:05:06Z".parse().unwrap())
        .await
        .unwrap();
    drop(log);
    for _ in 0..2 {
        let log = open_sim(&disk, config()).await.unwrap();
        assert!(log.is_frozen());
        assert_eq!(log.append(named(1)).await.err(), Some(AppendError::Frozen));
        assert_eq!(
            log.append(named(999)).await.err(),
            Some(AppendError::Frozen)
        );
        let published = log.published();
        assert_eq!(published.head, head);
        let opened = note::open(&published.checkpoint, &[verifier()]).unwrap();
        assert_eq!(opened.head(), &head);
        let line = &opened.checkpoint().extensions[0];
        assert_eq!(line, "Log frozen \u{2014} Tue Nov  3 04:05:06 UTC 2026");
        assert_eq!(log.inclusion(LeafIndex::new(7)).await.unwrap().head, head);
        // Once more changes nothing.
        log.freeze(&note_signer(), "2027-01-01T00:00:00Z".parse().unwrap())
            .await
            .unwrap();
    }
    fsck_on::<Named>(&disk, None, &verifier()).unwrap();

    // What is left of the file is damage: the log was closed for good.
    let frozen = Path::new("frozen").unwrap();
    let whole = disk.files()[&frozen].clone();
    for length in [1, 20, whole.len() - 1] {
        disk.tamper(&frozen, |bytes| *bytes = whole[..length].to_vec());
        let opened = open_sim(&disk, config()).await;
        assert!(
            matches!(&opened, Err(OpenError::Damaged(why)) if why.contains("frozen")),
            "{length}: {opened:?}"
        );
        assert!(fsck_on::<Named>(&disk, None, &verifier()).is_err());
    }
    // An empty one is a name without a file: nobody was told that the log is frozen.
    disk.tamper(&frozen, Vec::clear);
    let log = open_sim(&disk, config()).await.unwrap();
    log.append(named(1000)).await.unwrap();
    drop(log);
    // And a log that has grown beyond what it was frozen at is refused.
    disk.tamper(&frozen, |bytes| *bytes = whole);
    assert!(matches!(
        open_sim(&disk, config()).await,
        Err(OpenError::Damaged(_))
    ));
}

/// Whoever waits for the log to end must find it frozen, or would add to what was called its end.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_can_write_between_the_last_entry_and_the_freezing() {
    let disk = SimDisk::new();
    let log = open_sim(&disk, config()).await.unwrap();
    log.append(named(1)).await.unwrap();
    let waiting = {
        let disk = disk.clone();
        std::thread::spawn(move || {
            loop {
                if let Some(_lock) = disk.lock().unwrap() {
                    return disk.files().contains_key(&Path::new("frozen").unwrap());
                }
                std::thread::yield_now();
            }
        })
    };
    let at = "2026-11-03T04:05:06Z".parse().unwrap();
    log.freeze(&note_signer(), at).await.unwrap();
    assert!(log.is_frozen());
    assert!(waiting.join().unwrap(), "the lock was free before");
    // A log that somebody else may write by now is not ended by us.
    let other = SimDisk::new();
    let closed = open_sim(&other, config()).await.unwrap();
    closed.close().await;
    assert!(matches!(
        closed.freeze(&note_signer(), at).await,
        Err(FreezeError::Elsewhere)
    ));
}

/// Of an engine that cannot write any more nobody knows when it ends; another one can go on at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_has_failed_lets_go_of_the_folder() {
    for idle in [false, true] {
        let (disk, copies) = (SimDisk::new(), SimDisk::new());
        let log = open_with_copy(&disk, &copies, config()).await.unwrap();
        log.append(named(1)).await.unwrap();
        // Either the write-ahead log fails, or the writer of the copy, while the sequencer has nothing to do.
        let failing = if idle { &copies } else { &disk };
        failing.stop_after(failing.operations());
        let second = log.append(named(2)).await;
        // The copy of the first one may have been still to be made.
        assert!(idle || second.is_err());
        assert!(log.stopped().await.is_some());
        let free = async {
            while disk.lock().unwrap().is_none() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(20), free)
            .await
            .expect("the folder is still locked");
        assert!(matches!(
            log.append(named(3)).await,
            Err(AppendError::Stopped(_))
        ));
        // What was committed is still read.
        assert!(log.inclusion(LeafIndex::new(0)).await.is_ok());
    }
}
