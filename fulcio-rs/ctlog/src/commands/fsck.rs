//! `ctlog-rs fsck --config FILE`: recomputes all logs of a settings file, for operators. They must not be running.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use anyhow::{Context as _, ensure};
use ct::parse_tile_leaf;
use keys::sha256;
use sequencer::{FsckReport, Log};
use store::Disk as _;
use tlog::LeafIndex;

use super::{Place, Shelf};
use crate::issuers::{self, MAX_ISSUER};
use crate::leaf::CertificateLeaf;

/// Checks the logs of a settings file and prints what it found.
pub(super) fn run(settings: &Path) -> anyhow::Result<()> {
    let shelf = Shelf::open(settings)?;
    for place in &shelf.places {
        let origin = || place.config.origin();
        let lock = place.lock()?;
        let copy = place.checkpoint_copy()?;
        let report =
            sequencer::fsck_on::<CertificateLeaf>(&*place.files, copy.as_deref(), place.verifier());
        let report = report.with_context(origin)?;
        let issuers = shelf.runtime.block_on(check_issuers(place));
        let issuers = issuers.with_context(origin)?;
        drop(lock);
        print(&origin(), &report, issuers, &mut io::stdout().lock()).context("standard output")?;
    }
    Ok(())
}

/// Every certificate that a leaf names is there, and is that one; how many there are.
pub(super) async fn check_issuers(place: &Place) -> anyhow::Result<usize> {
    let log = Log::<CertificateLeaf>::open_reader_on(place.files.clone(), place.verifier().clone())
        .await?;
    let size = log.published().head.size.get();
    let mut follower = log.follow(LeafIndex::new(0));
    let mut next = 0_u64;
    let mut seen = BTreeSet::new();
    while next < size {
        let Some(piece) = follower.next().await? else {
            break;
        };
        for entry in &piece.entries {
            let leaf = parse_tile_leaf(entry)?;
            for fingerprint in leaf.leaf.chain {
                if seen.insert(fingerprint) {
                    check_issuer(place, &fingerprint).with_context(|| format!("entry {next}"))?;
                }
            }
            next = next.saturating_add(1);
        }
    }
    log.close().await;
    Ok(seen.len())
}

fn check_issuer(place: &Place, fingerprint: &[u8; 32]) -> anyhow::Result<()> {
    let path = issuers::path(fingerprint)?;
    let name = || format!("the issuer {path}");
    let der = place
        .issuers
        .files
        .read(&path, MAX_ISSUER)
        .with_context(name)?;
    let der = der.with_context(|| format!("{} is missing", name()))?;
    ensure!(sha256(&der) == *fingerprint, "{} is damaged", name());
    Ok(())
}

pub(super) fn print(
    origin: &str,
    report: &FsckReport,
    issuers: usize,
    out: &mut dyn io::Write,
) -> io::Result<()> {
    writeln!(out, "log        {origin}")?;
    writeln!(out, "entries    {}", report.head.size)?;
    writeln!(out, "root       {}", report.head.root)?;
    writeln!(out, "issuers    {issuers}")?;
    for note in &report.notes {
        writeln!(out, "note       {note}")?;
    }
    writeln!(
        out,
        "sound: all hashes recomputed, the last checkpoint is about this tree"
    )
}
