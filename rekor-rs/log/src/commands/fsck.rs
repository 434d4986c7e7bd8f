//! `rekor-rs fsck --config FILE`: recomputes all logs of a settings file, for operators. They must not be running.

use std::io;
use std::path::Path;

use anyhow::{Context as _, ensure};
use sequencer::FsckReport;
use store::Disk;

use super::Site;
use crate::v1::shards::{MARK_MAX, SUCCESSOR, Successor};
use crate::{leaf, v1};

/// Checks the logs of a settings file and prints what it found.
pub fn run(settings: &Path) -> anyhow::Result<()> {
    let site = Site::open(settings)?;
    site.outlast_leases();
    for place in &site.places {
        let _lock = place.lock()?;
        let copy = place.checkpoint_copy()?;
        let (files, copy) = (&*place.files, copy.as_deref());
        let report = match place.tree {
            None => sequencer::fsck_on::<leaf::Entry>(files, copy, place.verifier()),
            Some(_) => sequencer::fsck_on::<v1::leaf::Entry>(files, copy, place.verifier()),
        };
        let report = report.with_context(|| place.origin.clone())?;
        if place.tree.is_some() {
            check_mark(files, report.head.size.get()).with_context(|| place.origin.clone())?;
        }
        print(&place.origin, &report, &mut io::stdout().lock()).context("standard output")?;
    }
    Ok(())
}

/// A tree that was followed ends where the next one's indexes begin.
fn check_mark(files: &dyn Disk, size: u64) -> anyhow::Result<()> {
    let path = store::Path::new(SUCCESSOR).context("the name of the mark")?;
    let Some(bytes) = files.read(&path, MARK_MAX)? else {
        return Ok(());
    };
    let mark = Successor::parse(&bytes);
    let mark = mark.with_context(|| format!("{path} names no tree that followed"))?;
    if let Some(entries) = mark.entries {
        ensure!(
            entries == size,
            "tree {} followed it when it had {entries} entries, and it has {size}",
            mark.tree_id
        );
    }
    Ok(())
}

pub(super) fn print(origin: &str, report: &FsckReport, out: &mut dyn io::Write) -> io::Result<()> {
    writeln!(out, "log        {origin}")?;
    writeln!(out, "entries    {}", report.head.size)?;
    writeln!(out, "root       {}", report.head.root)?;
    writeln!(out, "bundled    {}", report.bundled)?;
    writeln!(out, "tiles      {}", report.tiles)?;
    writeln!(out, "replayed   {}", report.in_write_ahead_log)?;
    for note in &report.notes {
        writeln!(out, "note       {note}")?;
    }
    writeln!(
        out,
        "sound: all hashes recomputed, the last checkpoint is about this tree"
    )
}
