//! `rekor-rs backup` and `rekor-rs restore`.
//!
//! ```text
//! FOLDER/v2/            the v2 log, as it stands in its folder
//! FOLDER/v1-<tree>/     each v1 tree
//! FOLDER/attestations/  what intoto entries attest
//! ```
//!
//! Keys and settings are not in it, and the search index is made again from the logs.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use note::Note;
use sequencer::{CopyReport, Leaf, OpenError};
use store::Disk as _;
use store::fs::Folder;

use super::{Place, Progress, fsck, places};
use crate::args::Restore;
use crate::config::Config;
use crate::{leaf, v1};

const ATTESTATIONS: &str = "attestations";

/// Copies all logs of a settings file, and recomputes the copy.
pub fn run(settings: &Path, to: &Path, check: bool) -> anyhow::Result<()> {
    let config = Config::load(settings)?;
    // First what entries refer to: an attestation is written before its entry.
    if let Some(from) = config.v1.as_ref().and_then(|v1| v1.attestations.as_deref()) {
        copy_files(from, &to.join(ATTESTATIONS))?;
    }
    let out = &mut std::io::stdout();
    for place in places(&config)? {
        let folder = to.join(&place.name);
        let report = copy(&place, &place.engine.folder, &folder)?;
        writeln!(out, "copied     {} to {}", place.origin, folder.display())?;
        if check {
            let engine = sequencer::Config {
                checkpoint_copy: None,
                ..sequencer::Config::new(&folder)
            };
            let report = match place.tree {
                None => sequencer::fsck::<leaf::Entry>(&engine, place.verifier()),
                Some(_) => sequencer::fsck::<v1::leaf::Entry>(&engine, place.verifier()),
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
    let config = Config::load(&restore.settings.config)?;
    let places = places(&config)?;
    // Everything that speaks against it comes before the first write.
    for place in &places {
        let from = restore.from.join(&place.name);
        ensure!(
            from.is_dir(),
            "{} has no copy of {}",
            restore.from.display(),
            place.origin
        );
        let folder = &place.engine.folder;
        let empty = fs::read_dir(folder).map_or(true, |mut files| files.next().is_none());
        ensure!(
            empty,
            "{} is not empty: a log that is there is not replaced; move it away first",
            folder.display()
        );
        guard(place, &from, restore.without_guard).with_context(|| place.origin.clone())?;
    }
    let out = &mut std::io::stdout();
    if let Some(to) = config.v1.as_ref().and_then(|v1| v1.attestations.as_deref()) {
        copy_files(&restore.from.join(ATTESTATIONS), to)?;
    }
    for place in &places {
        let folder = &place.engine.folder;
        let report = copy(place, &restore.from.join(&place.name), folder)?;
        sequencer::finish(&Folder::open(folder)?)?;
        writeln!(out, "restored   {} to {}", place.origin, folder.display())?;
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
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if without && error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => {
            return Err(error).with_context(|| {
                format!(
                    "cannot read {}, the copy of the last checkpoint (see --without-guard)",
                    path.display()
                )
            });
        }
    };
    Note::parse(&bytes).with_context(|| format!("{} is damaged", path.display()))?;
    let files = Folder::open(from)?;
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

fn copy(place: &Place, from: &Path, to: &Path) -> anyhow::Result<CopyReport> {
    fn copy<L: Leaf>(place: &Place, from: &Folder, to: &Folder) -> Result<CopyReport, OpenError> {
        let mut progress = Progress::new("bundles");
        let tell = |done, all| progress.tell(done, all);
        sequencer::copy::<L>(from, to, place.verifier(), tell)
    }
    ensure!(
        from.is_dir(),
        "{} has no log of {}",
        from.display(),
        place.origin
    );
    let open = |folder: &Path| {
        let opened = Folder::open(folder);
        opened.with_context(|| format!("cannot open {}", folder.display()))
    };
    let (from, to) = (open(from)?, open(to)?);
    let lock = to.lock()?;
    ensure!(
        lock.is_some(),
        "another process uses the folder of the copy"
    );
    let report = match place.tree {
        None => copy::<leaf::Entry>(place, &from, &to),
        Some(_) => copy::<v1::leaf::Entry>(place, &from, &to),
    };
    report.with_context(|| place.origin.clone())
}

/// Copies files that never change and are not there yet, folder by folder.
fn copy_files(from: &Path, to: &Path) -> anyhow::Result<()> {
    let Ok(entries) = fs::read_dir(from) else {
        return Ok(());
    };
    let failed = || format!("cannot copy {} to {}", from.display(), to.display());
    fs::create_dir_all(to).with_context(failed)?;
    for entry in entries {
        let entry = entry.with_context(failed)?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type().with_context(failed)?.is_dir() {
            copy_files(&source, &target)?;
        } else if entry.file_name() != "lock" && !target.exists() {
            let part = to.join(".part");
            fs::copy(&source, &part).with_context(failed)?;
            fs::File::open(&part)
                .and_then(|file| file.sync_all())
                .and_then(|()| fs::rename(&part, &target))
                .with_context(failed)?;
        }
    }
    fs::File::open(to)
        .and_then(|folder| folder.sync_all())
        .with_context(failed)
}
