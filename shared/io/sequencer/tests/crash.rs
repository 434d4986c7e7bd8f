//! What the engine promises when everything breaks: no acknowledged entry missing, no second history signed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs,
    reason = "a panic is a test's report"
)]

mod common;

use std::collections::BTreeMap;

use common::{
    Named, check, config, naive_root, name_of, named, open_sim, open_with_copy, read_all, verifier,
};
use sequencer::{AppendError, Appended, Config, Leaf as _, Log, OpenError, fsck_on};
use store::sim::{Form, Loss, SimDisk};
use store::{Disk as _, Path};
use tlog::{Hash, LeafIndex};

/// A record that is cut anywhere is cut away; whatever was whole before stays.
#[tokio::test(flavor = "multi_thread")]
async fn the_write_ahead_log_may_end_at_each_byte() {
    let segment = Path::new(format!("wal/{:020}.wal", 0)).unwrap();
    let disk = SimDisk::new();
    let log = open_sim(&disk, config()).await.unwrap();
    let mut ends = vec![disk.files()[&segment].len()];
    for number in 0..6 {
        log.append(named(number)).await.unwrap();
        ends.push(disk.files()[&segment].len());
    }
    log.close().await;
    for cut in 0..=*ends.last().unwrap() {
        let torn = disk.restart(Loss::Nothing);
        torn.tamper(&segment, |bytes| bytes.truncate(cut));
        let found = fsck_on::<Named>(&torn, None, &verifier());
        let Some(whole) = ends.iter().rposition(|end| *end <= cut) else {
            // The start was synced long ago, so this is no crash; the index tells that there was a log.
            assert!(found.is_err(), "cut at {cut}");
            continue;
        };
        let report = found.unwrap();
        assert_eq!(
            report.head.size.get(),
            u64::try_from(whole).unwrap(),
            "cut at {cut}"
        );
        assert_eq!(report.notes.is_empty(), ends.contains(&cut), "cut at {cut}");
        if cut % 41 == 0 || ends.contains(&cut) {
            let log = open_sim(&torn, config()).await.unwrap();
            assert_eq!(read_all(&log).await.len(), whole);
            check(&log.append(named(100)).await.unwrap());
            log.close().await;
            assert!(
                fsck_on::<Named>(&torn, None, &verifier())
                    .unwrap()
                    .notes
                    .is_empty()
            );
        }
    }
}

/// Only the last record can be torn. A hole before it is damage, and nobody may cut acknowledged entries away.
#[tokio::test(flavor = "multi_thread")]
async fn a_hole_in_the_write_ahead_log_is_refused() {
    let segment = Path::new(format!("wal/{:020}.wal", 0)).unwrap();
    let disk = SimDisk::new();
    let log = open_sim(&disk, config()).await.unwrap();
    let start = disk.files()[&segment].len();
    log.append(named(0)).await.unwrap();
    let hole = start..disk.files()[&segment].len();
    log.append(named(1)).await.unwrap();
    log.close().await;
    for at in hole.clone() {
        let damaged = disk.restart(Loss::Nothing);
        damaged.tamper(&segment, |bytes| bytes[at] ^= 0xff);
        let refused = open_sim(&damaged, config()).await;
        assert!(matches!(refused, Err(OpenError::Damaged(_))), "byte {at}");
    }
    let damaged = disk.restart(Loss::Nothing);
    damaged.tamper(&segment, |bytes| bytes[hole].fill(0));
    assert!(matches!(
        open_sim(&damaged, config()).await,
        Err(OpenError::Damaged(_))
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_sync_stops_the_log() {
    for form in [Form::NotDone, Form::YetDone] {
        let disk = SimDisk::new();
        let log = open_sim(&disk, config()).await.unwrap();
        log.append(named(0)).await.unwrap();
        log.close().await;
        let log = open_sim(&disk, config()).await.unwrap();
        // The next two operations are the append and the sync of the batch.
        disk.fail(disk.operations() + 1, form);
        assert!(matches!(
            log.append(named(1)).await,
            Err(AppendError::Stopped(_))
        ));
        assert!(
            matches!(log.append(named(2)).await, Err(AppendError::Stopped(_))),
            "though the disk works again"
        );
        assert!(log.health().unwrap_err().contains("write-ahead log"));
        assert_eq!(
            read_all(&log).await,
            ["entry 0"],
            "and what was not acknowledged is not shown"
        );
        log.close().await;

        // The dropped pages look whole to the next process. It must write them again before it builds on them.
        let disk = disk.restart(Loss::Nothing);
        let log = open_sim(&disk, config()).await.unwrap();
        log.append(named(3)).await.unwrap();
        let names = read_all(&log).await;
        for seed in 0..20 {
            let disk = disk.restart(Loss::Unsynced { seed });
            let log = open_sim(&disk, config()).await.unwrap();
            assert_eq!(read_all(&log).await, names, "{form:?}, seed {seed}");
        }
    }
}

/// Each operation of a run fails, in both forms, on the disk of the log and on the one of the copy; then a kill or a loss of power.
#[tokio::test(flavor = "multi_thread")]
async fn each_operation_may_fail() {
    for of_copy in [false, true] {
        let mut faults = 0;
        'operations: for operation in 0_u64.. {
            for (number, form) in [Form::NotDone, Form::YetDone].into_iter().enumerate() {
                let number = operation * 2 + u64::try_from(number).unwrap();
                let broken = run(number, |disk, copy| {
                    let failing = if of_copy { copy } else { disk };
                    failing.fail(operation, form);
                });
                let Some(()) = broken.await else {
                    break 'operations;
                };
                faults += 1;
            }
        }
        assert!(
            faults > if of_copy { 15 } else { 60 },
            "{faults} faults, of the copy: {of_copy}"
        );
    }
}

/// The machine stops at each place that a run touches; then a kill or a loss of power.
#[tokio::test(flavor = "multi_thread")]
async fn the_machine_may_stop_at_each_operation() {
    let mut stops = 0;
    for operation in 0_u64.. {
        let Some(()) = run(operation, |disk, _| disk.stop_after(operation)).await else {
            break;
        };
        stops += 1;
    }
    assert!(stops > 30, "{stops} stops");
}

/// A torn segment that was removed can come back with a loss of power, beside another one that is torn, or before one that is whole.
#[tokio::test(flavor = "multi_thread")]
async fn torn_segments_may_come_back() {
    let disk = SimDisk::new();
    let log = open_sim(&disk, small_segments()).await.unwrap();
    for number in 0..150 {
        log.append(named(number)).await.unwrap();
    }
    let head = log.published().head;
    log.close().await;
    let segment = |size: u64| Path::new(format!("wal/{size:020}.wal")).unwrap();
    let sizes: Vec<u64> = disk
        .files()
        .keys()
        .filter_map(|path| {
            path.as_str()
                .strip_prefix("wal/")?
                .strip_suffix(".wal")?
                .parse()
                .ok()
        })
        .collect();
    let newest = *sizes.last().unwrap();
    assert!(newest > 1, "{sizes:?}");
    for torn in [
        vec![newest - 1],
        vec![newest + 1, newest + 2],
        vec![newest - 1, newest + 1],
    ] {
        let back = disk.restart(Loss::Nothing);
        for size in &torn {
            back.replace(&segment(*size), b"torn").unwrap();
        }
        let log = open_sim(&back, small_segments()).await.unwrap();
        assert_eq!(log.published().head, head, "{torn:?}");
        check(&log.append(named(1000)).await.unwrap());
        log.close().await;
        for size in &torn {
            assert!(!back.files().contains_key(&segment(*size)), "{torn:?}");
        }
        fsck_on::<Named>(&back, None, &verifier()).unwrap();
    }
    // But where no segment is whole, there was a log.
    let lost = SimDisk::new();
    for size in [0, 100] {
        lost.replace(&segment(size), b"torn").unwrap();
    }
    assert!(matches!(
        open_sim(&lost, small_segments()).await,
        Err(OpenError::Damaged(_))
    ));
}

/// Several crashes in a row on the same log: 8 for each seed, so more than a thousand. `SEQUENCER_CRASH_SEEDS=10000` makes it a longer search.
#[tokio::test(flavor = "multi_thread")]
async fn crashes_may_follow_each_other() {
    let seeds = std::env::var("SEQUENCER_CRASH_SEEDS").map_or(128, |seeds| seeds.parse().unwrap());
    let at_once = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut running = tokio::task::JoinSet::new();
    for seed in 0..seeds {
        if running.len() >= at_once {
            running.join_next().await.unwrap().unwrap();
        }
        running.spawn(crash_again_and_again(seed));
    }
    while let Some(done) = running.join_next().await {
        done.unwrap();
    }
}

async fn crash_again_and_again(seed: u64) {
    let (mut disk, mut copy) = (strict(), SimDisk::new());
    let mut seen = Seen::default();
    for round in 0..8_u64 {
        // Now this disk stops first, now the one with the copy.
        let stop = 3 + (seed * 31 + round * 17) % 40;
        if round % 4 == 3 {
            copy.stop_after(copy.operations() + stop % 12);
        } else {
            disk.stop_after(disk.operations() + stop);
        }
        seen.load(&disk, &copy, round * 1000).await;
        disk = disk.restart(loss(seed * 8 + round));
        copy = copy.restart(loss(seed * 8 + round + 1));
    }
    seen.check_after(&disk, &copy).await;
}

/// Loads a log on a disk that breaks, restarts, and checks. `None` when the load was over before the fault.
async fn run(number: u64, fault: impl FnOnce(&SimDisk, &SimDisk)) -> Option<()> {
    let (disk, copy) = (strict(), SimDisk::new());
    fault(&disk, &copy);
    let mut seen = Seen::default();
    let broken = seen.load(&disk, &copy, 0).await;
    let disk = disk.restart(loss(number));
    let copy = copy.restart(loss(number + 1));
    seen.check_after(&disk, &copy).await;
    broken.then_some(())
}

fn strict() -> SimDisk {
    SimDisk::strict(|path| path.as_str().starts_with("tile/"))
}

fn loss(number: u64) -> Loss {
    if number.is_multiple_of(3) {
        Loss::Nothing
    } else {
        Loss::Unsynced { seed: number }
    }
}

fn small_segments() -> Config {
    Config {
        segment_bytes: 9_000,
        batch_leaves: 40,
        ..config()
    }
}

/// What clients were told.
#[derive(Default)]
struct Seen {
    acknowledged: BTreeMap<u64, (String, Appended)>,
}

impl Seen {
    /// Three rounds of leaves at once; true when something broke.
    async fn load(&mut self, disk: &SimDisk, copy: &SimDisk, first: u64) -> bool {
        let Ok(log) = open_with_copy(disk, copy, small_segments()).await else {
            return true;
        };
        let mut broken = false;
        for round in 0..3 {
            let tasks: Vec<_> = (0..100)
                .map(|number| {
                    let (log, leaf) = (log.clone(), named(first + round * 100 + number));
                    tokio::spawn(async move { (leaf.0.clone(), log.append(leaf).await) })
                })
                .collect();
            for task in tasks {
                match task.await.unwrap() {
                    (name, Ok(appended)) => {
                        check(&appended);
                        self.acknowledged
                            .insert(appended.inclusion.index.get(), (name, appended));
                    }
                    (_, Err(AppendError::Stopped(_))) => broken = true,
                    (_, Err(other)) => panic!("{other}"),
                }
            }
        }
        log.close().await;
        broken || log.health().is_err()
    }

    /// After a restart everything that was acknowledged is there, under the same roots, and the log goes on.
    async fn check_after(&self, disk: &SimDisk, copy: &SimDisk) {
        let found = fsck_on::<Named>(disk, None, &verifier());
        let report = found.unwrap_or_else(|error| panic!("{error}: {:?}", disk.files().keys()));
        let log = open_with_copy(disk, copy, small_segments()).await.unwrap();
        assert_eq!(log.published().head, report.head);
        self.check(&log).await;
        let appended = log.append(named(77_777)).await.unwrap();
        check(&appended);
        // Whoever was not answered asks again, and gets a place.
        check(&log.append(named(0)).await.unwrap());
        self.check(&log).await;
        log.close().await;
        assert_eq!(
            fsck_on::<Named>(disk, None, &verifier()).unwrap().notes,
            Vec::<String>::new()
        );
        assert_eq!(disk.violations(), Vec::<String>::new());
    }

    async fn check(&self, log: &Log<Named>) {
        let mut hashes: Vec<Hash> = Vec::new();
        for index in 0..log.published().head.size.get() {
            let entry = log.entry(LeafIndex::new(index)).await.unwrap().unwrap();
            hashes.push(Named::open(&entry, LeafIndex::new(index)).unwrap().hash);
            if let Some((name, _)) = self.acknowledged.get(&index) {
                assert_eq!(name_of(&entry), *name, "entry {index} is another one now");
            }
        }
        let mut heads = BTreeMap::new();
        for (index, (name, appended)) in &self.acknowledged {
            assert!(
                usize::try_from(*index).unwrap() < hashes.len(),
                "{name} was acknowledged and is gone"
            );
            heads.insert(
                appended.inclusion.head.size.get(),
                appended.inclusion.head.root,
            );
        }
        for (size, root) in heads {
            assert_eq!(
                naive_root(&hashes[..usize::try_from(size).unwrap()]),
                root,
                "a fork at size {size}"
            );
        }
    }
}
