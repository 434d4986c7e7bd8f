//! Copies of a log: taken while it is written, brought up to date, interrupted, and opened again.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs,
    reason = "a panic is a test's report"
)]

mod common;

use common::{Named, config, named, open_sim, open_with_copy, read_all, verifier};
use sequencer::{Config, Log, OpenError, copy, fsck_on, guard, mend};
use store::sim::{Form, Loss, SimDisk};

fn small() -> Config {
    Config {
        batch_leaves: 40,
        segment_bytes: 5_000,
        ..config()
    }
}

async fn append(log: &Log<Named>, numbers: std::ops::Range<u64>) {
    let tasks: Vec<_> = numbers
        .map(|number| {
            let log = log.clone();
            tokio::spawn(async move { log.append(named(number)).await.unwrap() })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
}

fn back_up(from: &SimDisk, to: &SimDisk) -> Result<sequencer::CopyReport, OpenError> {
    copy::<Named>(from, to, &verifier(), |_, _| {})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_a_running_log_is_a_log() {
    let disk = SimDisk::new();
    let log = open_sim(&disk, small()).await.unwrap();
    let backup = SimDisk::new();
    let mut last = 0;
    for round in 0..6_u64 {
        // While others write.
        let writing = {
            let log = log.clone();
            tokio::spawn(async move { append(&log, round * 400..(round + 1) * 400).await })
        };
        let (from, to) = (disk.clone(), backup.clone());
        let report = tokio::task::spawn_blocking(move || back_up(&from, &to))
            .await
            .unwrap()
            .unwrap();
        assert!(report.head.size.get() >= last, "it never goes back");
        last = report.head.size.get();
        writing.await.unwrap();
        fsck_on::<Named>(&backup, None, &verifier()).unwrap();
    }
    let report = back_up(&disk, &backup).unwrap();
    assert_eq!(report.head, log.published().head);
    let again = back_up(&disk, &backup).unwrap();
    assert_eq!(again.head, report.head);
    assert!(
        again.copied <= 3,
        "what was copied before is not copied again: {again:?}"
    );
    let names = read_all(&log).await;
    log.close().await;
    let restored = open_sim(&backup, small()).await.unwrap();
    assert_eq!(read_all(&restored).await, names);
    let appended = restored.append(named(7)).await.unwrap();
    assert!(appended.duplicate, "it knows what it has");
    append(&restored, 2400..2500).await;
    assert_eq!(restored.published().head.size.get(), 2500);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_copy_is_not_made_of_a_newer_one() {
    let disk = SimDisk::new();
    let log = open_sim(&disk, small()).await.unwrap();
    append(&log, 0..100).await;
    let old = SimDisk::new();
    back_up(&disk, &old).unwrap();
    append(&log, 100..900).await;
    let new = SimDisk::new();
    back_up(&disk, &new).unwrap();
    let error = back_up(&old, &new).unwrap_err();
    assert!(
        matches!(error, OpenError::RolledBack { .. } | OpenError::Damaged(_)),
        "{error}"
    );
}

/// The log goes on after the backup; who opens the backup under the last checkpoint is stopped.
#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_is_too_old_is_noticed() {
    let (disk, copies) = (SimDisk::new(), SimDisk::new());
    let log = open_with_copy(&disk, &copies, small()).await.unwrap();
    append(&log, 0..500).await;
    let backup = SimDisk::new();
    back_up(&disk, &backup).unwrap();
    let early = log.published().checkpoint;
    assert_eq!(
        guard::<Named>(&backup, &early, &verifier()).unwrap().get(),
        500
    );
    append(&log, 500..600).await;
    let late = log.published().checkpoint;
    log.close().await;
    let error = guard::<Named>(&backup, &late, &verifier()).unwrap_err();
    assert!(
        matches!(error, OpenError::RolledBack { copy, folder } if copy.get() == 600 && folder.get() == 500),
        "{error}"
    );
    let opened = open_with_copy(&backup, &copies, small()).await;
    assert!(matches!(opened, Err(OpenError::RolledBack { .. })));
}

/// Killed at any write: what is there is the older copy or the newer one, and the next run finishes it.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_was_interrupted_is_finished() {
    let disk = SimDisk::new();
    let log = open_sim(&disk, small()).await.unwrap();
    append(&log, 0..700).await;
    let first = SimDisk::new();
    back_up(&disk, &first).unwrap();
    let early = log.published().checkpoint;
    append(&log, 700..1600).await;
    let mut finished = 0;
    let mut sizes = std::collections::BTreeSet::new();
    for step in (0..200).step_by(3) {
        for form in [Form::NotDone, Form::YetDone] {
            let backup = first.restart(Loss::Nothing);
            backup.fail(backup.operations() + step, form);
            match back_up(&disk, &backup) {
                Ok(_) => finished += 1,
                Err(error) => assert!(matches!(error, OpenError::Disk { .. }), "{error}"),
            }
            let backup = backup.restart(Loss::Unsynced { seed: step });
            mend(&backup).unwrap();
            sizes.insert(guard::<Named>(&backup, &early, &verifier()).unwrap().get());
            fsck_on::<Named>(&backup, None, &verifier()).unwrap();
            let report = back_up(&disk, &backup).unwrap();
            assert_eq!(report.head, log.published().head, "step {step}");
            fsck_on::<Named>(&backup, None, &verifier()).unwrap();
        }
    }
    assert!(finished > 0, "fewer steps than a copy has");
    assert_eq!(sizes, [700, 1600].into(), "one or the other");
}

/// A copy that does not open any more still says what it was signed for.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_backup_is_not_overwritten_by_a_second_history() {
    let disk = SimDisk::new();
    let log = open_sim(&disk, small()).await.unwrap();
    append(&log, 0..600).await;
    let restored = SimDisk::new();
    back_up(&disk, &restored).unwrap();
    append(&log, 600..1500).await;
    let backup = SimDisk::new();
    back_up(&disk, &backup).unwrap();
    let second = open_sim(&restored, small()).await.unwrap();
    append(&second, 2000..5000).await;
    second.close().await;
    let tiles = backup.files().into_keys();
    for path in tiles.filter(|path| path.as_str().starts_with("tile/0/")) {
        backup.tamper(&path, |bytes| bytes[5] ^= 1);
    }
    let refused = guard::<Named>(&backup, &log.published().checkpoint, &verifier());
    assert!(matches!(refused, Err(OpenError::Damaged(_))), "{refused:?}");
    let kept = backup.files();
    let error = back_up(&restored, &backup).unwrap_err();
    assert!(matches!(error, OpenError::Forked { .. }), "{error}");
    assert_eq!(backup.files(), kept);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_disk_is_an_empty_copy() {
    let report = back_up(&SimDisk::new(), &SimDisk::new()).unwrap();
    assert_eq!((report.head.size.get(), report.copied), (0, 0));
}

/// The log was put back to an old state and has grown past the backup on another way: the backup may be all that is left of the first one.
#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_not_overwritten_by_a_second_history() {
    for early in [10, 600] {
        let disk = SimDisk::new();
        let log = open_sim(&disk, small()).await.unwrap();
        append(&log, 0..early).await;
        let restored = SimDisk::new();
        back_up(&disk, &restored).unwrap();
        append(&log, early..1500).await;
        let backup = SimDisk::new();
        back_up(&disk, &backup).unwrap();
        let (good, kept) = (log.published().checkpoint, backup.files());

        let second = open_sim(&restored, small()).await.unwrap();
        append(&second, 2000..5000).await;
        second.close().await;
        let error = back_up(&restored, &backup).unwrap_err();
        assert!(matches!(error, OpenError::Forked { .. }), "{error}");
        assert_eq!(backup.files(), kept);
        guard::<Named>(&backup, &good, &verifier()).unwrap();
    }
}
