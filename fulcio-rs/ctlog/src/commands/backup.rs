//! `ctlog-rs backup` and `ctlog-rs restore`.
//!
//! ```text
//! FOLDER/<origin>/log/       the log, as it stands in its folder; / and : in the origin are _
//! FOLDER/<origin>/issuers/   the certificates above its leaves
//! ```
//!
//! Keys and settings are not in it, and roots of trust bundles are asked for again.

use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use note::Note;
use sequencer::OpenError;
use store::Disk;

use super::{Issuers, Place, Shelf, fsck, open};
use crate::args::Restore;
use crate::issuers::{FOLDER, MAX_ISSUER};
use crate::leaf::CertificateLeaf;

/// Copies all logs of a settings file, and recomputes the copies.
pub(super) fn run(settings: &Path, to: &Path, check: bool) -> anyhow::Result<()> {
    let shelf = Shelf::open(settings)?;
    let out = &mut std::io::stdout();
    for place in shelf.places {
        let folder = to.join(&place.name);
        let copy = Place {
            files: std::sync::Arc::new(open(&folder.join("log"))?),
            issuers: Issuers::open(folder.join(FOLDER))?,
            signer: place.signer,
            name: place.name,
            config: place.config,
        };
        let origin = copy.config.origin();
        let lock = copy.lock()?;
        let tell = |_done, _all| {};
        let report =
            sequencer::copy::<CertificateLeaf>(&*place.files, &*copy.files, copy.verifier(), tell);
        let report = report.with_context(|| origin.clone())?;
        // After the entries: whatever these refer to was there before them.
        copy_issuers(&place.issuers, &copy.issuers)?;
        writeln!(out, "copied     {origin} to {}", folder.display())?;
        if check {
            let files = &*copy.files;
            let report = sequencer::fsck_on::<CertificateLeaf>(files, None, copy.verifier())?;
            let issuers = shelf.runtime.block_on(fsck::check_issuers(&copy))?;
            fsck::print(&origin, &report, issuers, out)?;
        } else {
            writeln!(out, "entries    {}", report.head.size)?;
            writeln!(out, "root       {}", report.head.root)?;
        }
        drop(lock);
    }
    Ok(())
}

/// Brings all logs of a settings file back.
pub(super) fn restore(restore: &Restore) -> anyhow::Result<()> {
    let shelf = Shelf::open(&restore.settings.config)?;
    // Everything that speaks against it comes before the first write.
    let mut locks = Vec::new();
    for place in &shelf.places {
        let from = restore.from.join(&place.name);
        let origin = place.config.origin();
        ensure!(
            from.join("log").is_dir(),
            "{} has no copy of {origin}",
            restore.from.display()
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
            place.at()
        );
        sequencer::mend(&open(&from.join("log"))?)?;
        guard(place, &from, restore.without_guard).with_context(|| origin.clone())?;
        locks.push(place.lock()?);
    }
    let out = &mut std::io::stdout();
    for place in &shelf.places {
        let from = restore.from.join(&place.name);
        // Before the entries that refer to them.
        copy_issuers(&Issuers::open(from.join(FOLDER))?, &place.issuers)?;
        let tell = |_done, _all| {};
        let copied = open(&from.join("log"))?;
        let report =
            sequencer::copy::<CertificateLeaf>(&copied, &*place.files, place.verifier(), tell)?;
        sequencer::finish(&*place.files)?;
        writeln!(
            out,
            "restored   {} to {}",
            place.config.origin(),
            place.at()
        )?;
        writeln!(out, "entries    {}", report.head.size)?;
        writeln!(out, "root       {}", report.head.root)?;
    }
    Ok(())
}

/// Compares the copy with the last checkpoint that the log is known to have given out.
fn guard(place: &Place, from: &Path, without: bool) -> anyhow::Result<()> {
    let Some(bytes) = place.checkpoint_copy()? else {
        ensure!(
            without,
            "the settings name no checkpoint_copy that is there, so nobody knows whether the log has given out checkpoints beyond this \
             backup. If it has, a log that goes on from the backup is a second history, and monitors will notice. If you are sure that it has \
             not: --without-guard"
        );
        return Ok(());
    };
    Note::parse(&bytes).context("the copy of the last checkpoint is damaged")?;
    let files = open(&from.join("log"))?;
    match sequencer::guard::<CertificateLeaf>(&files, &bytes, place.verifier()) {
        Ok(_) => Ok(()),
        Err(OpenError::RolledBack { copy, folder }) => bail!(
            "this backup ends at {folder} entries, and the log has given out checkpoints up to {copy}. A log that goes on from here would \
             be a second history. Look for a newer backup; if there is none, this log is at its end: begin a new one with a key and a name \
             of its own"
        ),
        Err(error) => Err(error.into()),
    }
}

/// Copies certificates that are not there yet; each is named after what is in it, and never changes.
fn copy_issuers(from: &Issuers, to: &Issuers) -> anyhow::Result<()> {
    // The top folder cannot be listed through a path; names in it are digits of a hash.
    let (folder, from, to) = (&from.folder, &from.files, &to.files);
    for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let name = entry?.file_name();
        let Some(path) = name.to_str().and_then(store::Path::new) else {
            continue;
        };
        if path.as_str().len() != 64 {
            continue;
        }
        let there = to.read(&path, MAX_ISSUER)?;
        let Some(bytes) = from.read(&path, MAX_ISSUER)? else {
            continue;
        };
        if there.as_ref() != Some(&bytes) {
            to.replace_durable(&path, &bytes)?;
        }
    }
    Ok(())
}
