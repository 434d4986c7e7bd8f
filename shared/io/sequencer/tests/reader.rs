//! A second process that reads while the first one writes.
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
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use common::{
    Named, clock, config, name_of, named, note_signer, open_sim, read_all, signer, verifier,
};
use jiff::Timestamp;
use sequencer::{AppendError, Config, Leaf as _, Log, OpenError};
use store::sim::SimDisk;
use store::{AppendFile, Disk, Lock, Path};
use tlog::{LeafIndex, TreeSize, proof};

async fn reader(disk: &SimDisk) -> Log<Named> {
    Log::open_reader_on(Arc::new(disk.clone()), verifier())
        .await
        .unwrap()
}

/// Waits until the reader has a size, and checks what it shows there.
async fn caught_up(reader: &Log<Named>, size: u64) {
    if size > 0 {
        assert!(reader.grown(TreeSize::new(size - 1)).await);
    }
    let published = reader.published();
    assert!(published.head.size >= TreeSize::new(size));
    note::open(&published.checkpoint, &[verifier()]).unwrap();
}

fn small() -> Config {
    Config {
        batch_leaves: 40,
        segment_bytes: 5_000,
        ..config()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_see_what_is_committed_and_nothing_else() {
    let disk = SimDisk::new();
    let log = open_sim(&disk, small()).await.unwrap();
    let early = reader(&disk).await;
    assert_eq!(early.published().head.size, TreeSize::EMPTY);
    let mut heads = vec![early.published().head];
    for round in 0..12_u64 {
        let tasks: Vec<_> = (0..300)
            .map(|number| {
                let log = log.clone();
                tokio::spawn(async move { log.append(named(round * 300 + number)).await.unwrap() })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        caught_up(&early, (round + 1) * 300).await;
        assert_eq!(early.published().head, log.published().head);
        heads.push(early.published().head);
    }
    // What it shows was one tree all the time.
    for pair in heads.windows(2) {
        let (proof, _) = early
            .consistency_between(pair[0].size, pair[1].size)
            .await
            .unwrap();
        proof::verify_consistency(&pair[0], &pair[1], &proof.unwrap()).unwrap();
    }
    let entries = read_all(&early).await;
    assert_eq!(entries, read_all(&log).await);
    assert_eq!(entries.len(), 3600);
    let late = reader(&disk).await;
    assert_eq!(late.published().head, log.published().head);
    for log in [&early, &late] {
        for number in (0..3600).step_by(97) {
            let key = named(number).dedup_key();
            let index = log.find(&key).await.unwrap().unwrap();
            let entry = log.entry(index).await.unwrap().unwrap();
            assert_eq!(name_of(&entry), format!("entry {number}"));
            let inclusion = log.inclusion(index).await.unwrap();
            assert_eq!(inclusion.head, log.published().head);
        }
        assert_eq!(log.find(&named(9999).dedup_key()).await.unwrap(), None);
        assert_eq!(
            log.append(named(1)).await.unwrap_err(),
            AppendError::Closed,
            "a reader does not write"
        );
        log.health().unwrap();
    }
}

/// Appending, restarting, and readers that come and go: each shows prefixes of the one tree.
#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_restarts_is_followed() {
    let disk = SimDisk::new();
    let mut log = open_sim(&disk, small()).await.unwrap();
    let first = reader(&disk).await;
    let mut number = 0;
    for round in 0..8 {
        for _ in 0..70 {
            log.append(named(number)).await.unwrap();
            number += 1;
        }
        let other = reader(&disk).await;
        caught_up(&other, number).await;
        caught_up(&first, number).await;
        log.close().await;
        if round % 2 == 0 {
            // The reader is there while nobody writes.
            assert_eq!(first.published().head, other.published().head);
        }
        drop(log);
        log = open_sim(&disk, small()).await.unwrap();
    }
    let names: Vec<String> = (0..number)
        .map(|number| format!("entry {number}"))
        .collect();
    assert_eq!(read_all(&first).await, names);
}

/// The next writer begins with cutting the rows of the write-ahead log off the index, and what it writes again is not seen by others before it is durable.
#[tokio::test(flavor = "multi_thread")]
async fn a_reader_finds_entries_while_the_next_writer_writes_the_index_again() {
    let disk = SimDisk::new();
    let mut log = open_sim(&disk, config()).await.unwrap();
    let reader = reader(&disk).await;
    for number in 0..50 {
        log.append(named(number)).await.unwrap();
        caught_up(&reader, number + 1).await;
    }
    log.close().await;
    let index = Path::new("index").unwrap();
    disk.append(&index).unwrap().truncate(0).unwrap();
    for number in 0..50 {
        let found = reader.find(&named(number).dedup_key()).await.unwrap();
        assert_eq!(found, Some(LeafIndex::new(number)));
    }
    // Whoever writes next has them all, and so has the reader, also of those whose segments are gone by then.
    log = open_sim(&disk, small()).await.unwrap();
    for number in 50..2000 {
        log.append(named(number)).await.unwrap();
    }
    caught_up(&reader, 2000).await;
    for number in (0..2000).step_by(7) {
        let found = reader.find(&named(number).dedup_key()).await.unwrap();
        assert_eq!(found, Some(LeafIndex::new(number)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_log_is_seen_as_one() {
    let disk = SimDisk::new();
    let log = open_sim(&disk, small()).await.unwrap();
    log.append(named(1)).await.unwrap();
    let watching = reader(&disk).await;
    let at: Timestamp = "2026-11-23T12:00:00Z".parse().unwrap();
    log.freeze(&note_signer(), at).await.unwrap();
    drop(log);
    let said = |log: &Log<Named>| {
        String::from_utf8(log.published().checkpoint.to_vec())
            .unwrap()
            .contains("Log frozen")
    };
    while !said(&watching) {
        tokio::task::yield_now().await;
    }
    let late = reader(&disk).await;
    assert!(said(&late) && late.is_frozen());
    assert_eq!(
        late.append(named(2)).await.unwrap_err(),
        AppendError::Frozen
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn there_must_be_something_to_read() {
    let error = Log::<Named>::open_reader_on(Arc::new(SimDisk::new()), verifier()).await;
    assert!(matches!(error, Err(OpenError::Damaged(_))), "{error:?}");
}

/// On a real folder, beside the one that holds its lock.
#[tokio::test(flavor = "multi_thread")]
async fn a_folder_has_one_writer_and_many_readers() {
    let folder = tempfile::tempdir().unwrap();
    let config = || Config {
        segment_bytes: 20_000,
        ..Config::new(folder.path())
    };
    let log = Log::<Named>::open(config(), signer(), clock())
        .await
        .unwrap();
    let second = Log::<Named>::open(config(), signer(), clock()).await;
    assert!(matches!(second, Err(OpenError::Locked)));
    let readers = [
        Log::<Named>::open_reader(config(), verifier())
            .await
            .unwrap(),
        Log::<Named>::open_reader(config(), verifier())
            .await
            .unwrap(),
    ];
    let tasks: Vec<_> = (0..2000)
        .map(|number| {
            let log = log.clone();
            tokio::spawn(async move { log.append(named(number)).await.unwrap() })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    for reader in &readers {
        caught_up(reader, 2000).await;
        assert_eq!(reader.published().head, log.published().head);
        assert_eq!(
            reader.entry(LeafIndex::new(1999)).await.unwrap(),
            log.entry(LeafIndex::new(1999)).await.unwrap()
        );
    }
    let [one, two] = readers;
    one.close().await;
    assert!(
        !one.grown(TreeSize::new(1 << 40)).await,
        "nothing more comes"
    );
    drop(two);
}

/// A disk that is away for a while, for one who looks.
#[derive(Debug)]
struct Flaky {
    disk: SimDisk,
    away: Arc<AtomicBool>,
    refused: Arc<AtomicU32>,
    /// It shows no files of the log, as a share does that was mounted a moment ago; and how often somebody looked.
    empty: Arc<AtomicBool>,
    looked: Arc<AtomicU32>,
}

impl Flaky {
    fn is_empty(&self) -> bool {
        self.empty.load(Ordering::SeqCst)
    }

    fn here(&self) -> std::io::Result<&SimDisk> {
        if self.away.load(Ordering::SeqCst) {
            self.refused.fetch_add(1, Ordering::SeqCst);
            return Err(std::io::ErrorKind::ConnectionReset.into());
        }
        Ok(&self.disk)
    }
}

impl Disk for Flaky {
    fn read(&self, path: &Path, max: u64) -> std::io::Result<Option<Vec<u8>>> {
        self.here()?.read(path, max)
    }

    fn read_range(&self, path: &Path, at: u64, len: usize) -> std::io::Result<Option<Vec<u8>>> {
        if self.is_empty() {
            return Ok(None);
        }
        self.here()?.read_range(path, at, len)
    }

    fn list(&self, folder: &Path) -> std::io::Result<Vec<String>> {
        if self.is_empty() {
            self.looked.fetch_add(1, Ordering::SeqCst);
            return Ok(Vec::new());
        }
        self.here()?.list(folder)
    }

    fn replace(&self, path: &Path, _: &[u8]) -> std::io::Result<()> {
        panic!("a reader writes {path}")
    }

    fn sync(&self, paths: &[Path]) -> std::io::Result<()> {
        self.here()?.sync(paths)
    }

    fn remove(&self, path: &Path) -> std::io::Result<()> {
        panic!("a reader removes {path}")
    }

    fn append(&self, path: &Path) -> std::io::Result<Box<dyn AppendFile>> {
        panic!("a reader appends to {path}")
    }

    fn lock(&self) -> std::io::Result<Option<Box<dyn Lock>>> {
        panic!("a reader locks")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_outlives_a_disk_that_is_away() {
    let disk = SimDisk::new();
    let log = open_sim(&disk, small()).await.unwrap();
    let (away, refused) = (Arc::new(AtomicBool::new(false)), Arc::default());
    let files = Arc::new(Flaky {
        disk: disk.clone(),
        away: away.clone(),
        refused: Arc::clone(&refused),
        empty: Arc::default(),
        looked: Arc::default(),
    });
    let reader = Log::<Named>::open_reader_on(files, verifier())
        .await
        .unwrap();
    let mut number = 0;
    for round in 1..=2 {
        away.store(true, Ordering::SeqCst);
        while refused.load(Ordering::SeqCst) < round {
            log.append(named(number)).await.unwrap();
            number += 1;
        }
        away.store(false, Ordering::SeqCst);
        log.append(named(number)).await.unwrap();
        number += 1;
        caught_up(&reader, number).await;
        reader.health().unwrap();
    }
    assert_eq!(read_all(&reader).await, read_all(&log).await);
}

/// For longer than what a writer at work can be the reason of.
#[tokio::test(flavor = "multi_thread")]
async fn a_reader_outlives_a_log_that_looks_damaged() {
    let disk = SimDisk::new();
    let log = open_sim(&disk, small()).await.unwrap();
    log.append(named(0)).await.unwrap();
    let (empty, looked) = (Arc::new(AtomicBool::new(false)), Arc::default());
    let files = Arc::new(Flaky {
        disk: disk.clone(),
        away: Arc::default(),
        refused: Arc::default(),
        empty: empty.clone(),
        looked: Arc::clone(&looked),
    });
    let reader = Log::<Named>::open_reader_on(files, verifier())
        .await
        .unwrap();
    caught_up(&reader, 1).await;
    empty.store(true, Ordering::SeqCst);
    let mut number = 1;
    // It has given up once when it looks as often as this.
    while looked.load(Ordering::SeqCst) < 25 {
        log.append(named(number)).await.unwrap();
        number += 1;
        reader.health().unwrap();
        assert_eq!(
            reader.published().head.size.get(),
            1,
            "what it has shown stays"
        );
    }
    empty.store(false, Ordering::SeqCst);
    caught_up(&reader, number).await;
    reader.health().unwrap();
    assert_eq!(read_all(&reader).await, read_all(&log).await);
}

/// Batches of one entry each and of one length, so that records stand in the same places in both histories.
#[tokio::test(flavor = "multi_thread")]
async fn a_reader_notices_a_second_history() {
    let (disk, other) = (SimDisk::new(), SimDisk::new());
    let log = open_sim(&disk, config()).await.unwrap();
    let second = open_sim(&other, config()).await.unwrap();
    for number in 10..40 {
        log.append(named(number)).await.unwrap();
        second.append(named(number + 50)).await.unwrap();
    }
    let reader = reader(&disk).await;
    caught_up(&reader, 30).await;
    log.close().await;
    for number in 10..40 {
        second.append(named(number)).await.unwrap();
    }
    second.close().await;
    let forked = other.files();
    for (path, bytes) in forked {
        if path.as_str().starts_with("wal/") || path.as_str() == "index" {
            disk.tamper(&path, |old| *old = bytes.clone());
        }
    }
    let why = reader.stopped().await.unwrap();
    assert!(reader.health().is_err(), "{why}");
    assert_eq!(reader.published().head, log.published().head);
}
