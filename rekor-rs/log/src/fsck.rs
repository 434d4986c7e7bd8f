//! `rekor-rs fsck --config FILE`: recomputes all logs of a settings file, for operators. They must not be running.

use std::io;
use std::path::Path;

use anyhow::Context as _;
use note::VerifierKey;
use sequencer::FsckReport;
use signer::Signer;

use crate::config::Config;
use crate::leaf::Entry;
use crate::v1;

/// Checks the logs of a settings file and prints what it found.
pub fn run(settings: &Path) -> anyhow::Result<()> {
    let config = Config::load(settings)?;
    // Only the public half is used; a keeper outside this process is asked for it.
    let runtime = tokio::runtime::Runtime::new()?;
    let signer = runtime.block_on(Signer::open(&config.log.key));
    let signer = signer.context("log.key")?;
    let verifier = VerifierKey::new(&config.log.origin, signer.public_key().clone())?;
    let report = sequencer::fsck::<Entry>(&config.log.engine(), &verifier)?;
    print(&config.log.origin, &report)?;
    let Some(v1) = &config.v1 else { return Ok(()) };
    for shard in &v1.shards {
        let tree = format!("{} - {}", v1.host, shard.tree_id);
        let signer = runtime.block_on(Signer::open(&shard.key));
        let signer = signer.with_context(|| tree.clone())?;
        let verifier = VerifierKey::rekor_v1(&v1.host, signer.public_key().clone())?;
        let report = sequencer::fsck::<v1::leaf::Entry>(&shard.engine(v1), &verifier);
        print(&tree, &report.with_context(|| tree.clone())?)?;
    }
    Ok(())
}

fn print(origin: &str, report: &FsckReport) -> anyhow::Result<()> {
    write(origin, report, &mut io::stdout().lock()).context("standard output")
}

fn write(origin: &str, report: &FsckReport, out: &mut dyn io::Write) -> io::Result<()> {
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
