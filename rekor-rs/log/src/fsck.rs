//! `rekor-rs fsck --config FILE`: recomputes the whole log, for operators. The log must not be running.

use std::io;
use std::path::Path;

use anyhow::Context as _;
use note::VerifierKey;
use sequencer::FsckReport;
use signer::Signer;

use crate::config::Config;
use crate::leaf::Entry;

/// Checks the log of a settings file and prints what it found.
pub fn run(settings: &Path) -> anyhow::Result<()> {
    let config = Config::load(settings)?;
    // Only the public half is used.
    let signer = Signer::load(&config.log.key).context("log.key")?;
    let verifier = VerifierKey::new(&config.log.origin, signer.public_key().clone())?;
    let report = sequencer::fsck::<Entry>(&config.log.engine(), &verifier)?;
    print(&report, &mut io::stdout().lock()).context("standard output")
}

fn print(report: &FsckReport, out: &mut dyn io::Write) -> io::Result<()> {
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
