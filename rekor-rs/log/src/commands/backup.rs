//! `rekor-rs backup` and `rekor-rs restore`.
//!
//! ```text
//! FOLDER/v2/            the v2 log, as it stands in its folder
//! FOLDER/v1-<tree>/     each v1 tree
//! FOLDER/attestations/  what intoto entries attest
//! ```
//!
//! Keys and settings are not in it, and the search index is made again from the logs.

use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use note::Note;
use sequencer::{CopyReport, Leaf, OpenError};
use store::Disk;
use store::fs::Folder;

use super::{Place, Progress, Site, fsck};
use crate::args::Restore;
use crate::v1::shards::{MARK_MAX, SUCCESSOR, Successor};
use crate::{leaf, v1};

const ATTESTATIONS: &str = "attestations";

/// Copies all logs of a settings file, and recomputes the copy.
pub fn run(settings: &Path, to: &Path, check: bool) -> anyhow::Result<()> {
    let site = Site::open(settings)?;
    // First what entries refer to: an attestation is written before its entry.
    if let Some(from) = site.attestations()? {
        copy_attestations(&*from, &open(&to.join(ATTESTATIONS))?)?;
    }
    let out = &mut std::io::stdout();
    for place in &site.places {
        let folder = to.join(&place.name);
        let files = open(&folder)?;
        let lock = files.lock()?;
        ensure!(
            lock.is_some(),
            "another process uses the folder of the copy"
        );
        let report = copy(place, &*place.files, &files)?;
        writeln!(out, "copied     {} to {}", place.origin, folder.display())?;
        if check {
            let report = match place.tree {
                None => sequencer::fsck_on::<leaf::Entry>(&files, None, place.verifier()),
                Some(_) => sequencer::fsck_on::<v1::leaf::Entry>(&files, None, place.verifier()),
            };
            fsck::print(&place.origin, &report?, out)?;
        } else {
            writeln!(out, "entries    {}", report.head.size)?;
            writeln!(out, "root       {}", report.head.root)?;
        }
    }
    Ok(())
}

/// Brings all logs of a settings file back.
pub fn restore(restore: &Restore) -> anyhow::Result<()> {
    let site = Site::open(&restore.settings.config)?;
    site.outlast_leases();
    // Everything that speaks against it comes before the first write.
    let mut locks = Vec::new();
    for place in &site.places {
        let from = restore.from.join(&place.name);
        ensure!(
            from.is_dir(),
            "{} has no copy of {}",
            restore.from.display(),
            place.origin
        );
        let empty = ["wal", "tile"].iter().all(|folder| {
            let folder = store::Path::new(*folder);
            folder.is_some_and(|folder| {
                place
                    .files
                    .list(&folder)
                    .is_ok_and(|names| names.is_empty())
            })
        });
        ensure!(
            empty,
            "{} is not empty: a log that is there is not replaced; move it away first",
            place.at
        );
        sequencer::mend(&open(&from)?)?;
        guard(place, &from, restore.without_guard).with_context(|| place.origin.clone())?;
        locks.push(place.lock()?);
    }
    let out = &mut std::io::stdout();
    let kept = restore.from.join(ATTESTATIONS);
    if let Some(to) = site.attestations()?
        && kept.is_dir()
    {
        let lock = to.lock().context("the attestations")?;
        let _lock = lock.context("another process uses the attestations")?;
        copy_attestations(&open(&kept)?, &*to)?;
    }
    for place in &site.places {
        let from = open(&restore.from.join(&place.name))?;
        let report = copy(place, &from, &*place.files)?;
        sequencer::finish(&*place.files)?;
        writeln!(out, "restored   {} to {}", place.origin, place.at)?;
        writeln!(out, "entries    {}", report.head.size)?;
        writeln!(out, "root       {}", report.head.root)?;
    }
    Ok(())
}

/// Compares the copy with the last checkpoint that the log is known to have given out.
fn guard(place: &Place, from: &Path, without: bool) -> anyhow::Result<()> {
    let Some(path) = &place.engine.checkpoint_copy else {
        ensure!(
            without,
            "the settings name no checkpoint_copy, so nobody knows whether the log has given out checkpoints beyond this backup. If it \
             has, a log that goes on from the backup is a second history, and verifiers will notice. If you are sure that it has not: \
             --without-guard"
        );
        return Ok(());
    };
    let Some(bytes) = place.checkpoint_copy()? else {
        ensure!(
            without,
            "{}, the copy of the last checkpoint, is not there, so nobody knows whether the log has given out checkpoints beyond this \
             backup. If you are sure that it has not: --without-guard",
            path.display()
        );
        return Ok(());
    };
    Note::parse(&bytes).with_context(|| format!("{} is damaged", path.display()))?;
    let files = open(from)?;
    let guarded = match place.tree {
        None => sequencer::guard::<leaf::Entry>(&files, &bytes, place.verifier()),
        Some(_) => sequencer::guard::<v1::leaf::Entry>(&files, &bytes, place.verifier()),
    };
    match guarded {
        Ok(_) => Ok(()),
        Err(OpenError::RolledBack { copy, folder }) => bail!(
            "this backup ends at {folder} entries, and the log has given out checkpoints up to {copy} ({}). A log that goes on from \
             here would be a second history. Look for a newer backup; if there is none, this log is at its end: begin a new one with \
             a key and a name of its own",
            path.display()
        ),
        Err(error) => Err(error.into()),
    }
}

fn open(folder: &Path) -> anyhow::Result<Folder> {
    Folder::open(folder).with_context(|| format!("cannot open {}", folder.display()))
}

fn copy(place: &Place, from: &dyn Disk, to: &dyn Disk) -> anyhow::Result<CopyReport> {
    fn copy<L: Leaf>(
        place: &Place,
        from: &dyn Disk,
        to: &dyn Disk,
    ) -> Result<CopyReport, OpenError> {
        let mut progress = Progress::new("bundles");
        let tell = |done, all| progress.tell(done, all);
        sequencer::copy::<L>(from, to, place.verifier(), tell)
    }
    let copy = || {
        let report = match place.tree {
            None => copy::<leaf::Entry>(place, from, to),
            Some(_) => copy::<v1::leaf::Entry>(place, from, to),
        };
        report.with_context(|| place.origin.clone())
    };
    let report = copy()?;
    let ended = match place.tree {
        Some(_) => copy_mark(from, to)?.and_then(|mark| mark.entries),
        None => None,
    };
    // It may have been followed while it was copied, and the mark then counts entries that the copy has not.
    match ended {
        Some(entries) if entries > report.head.size.get() => copy(),
        _ => Ok(report),
    }
}

/// That another tree followed this one, which must then never grow again. The mark is only ever added to.
fn copy_mark(from: &dyn Disk, to: &dyn Disk) -> anyhow::Result<Option<Successor>> {
    let path = store::Path::new(SUCCESSOR).context("the name of the mark")?;
    let read = |files: &dyn Disk| files.read(&path, MARK_MAX);
    let Some(mark) = read(from).with_context(|| format!("reading {path}"))? else {
        return Ok(None);
    };
    if read(to)?.as_ref() != Some(&mark) {
        to.replace_durable(&path, &mark)
            .with_context(|| format!("writing {path}"))?;
    }
    Ok(Successor::parse(&mark))
}

/// Copies attestations that are not there yet; each is named after what is in it, and never changes.
fn copy_attestations(from: &dyn Disk, to: &dyn Disk) -> anyhow::Result<()> {
    for number in 0..=u8::MAX {
        let folder = store::Path::new(format!("{number:02x}")).context("a plain name")?;
        let there = to.list(&folder)?;
        for name in from.list(&folder)? {
            if there.contains(&name) {
                continue;
            }
            let path = store::Path::new(format!("{folder}/{name}")).context("a plain name")?;
            let bytes = from.read(&path, 16 << 20)?;
            if let Some(bytes) = bytes {
                to.replace_durable(&path, &bytes)?;
            }
        }
    }
    Ok(())
}
