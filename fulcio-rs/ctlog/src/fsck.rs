//! `ctlog-rs fsck --config FILE`: recomputes the whole log, for operators. The log must not be running.

use std::io::{self, Write as _};
use std::path::Path;

use anyhow::Context as _;
use note::VerifierKey;
use signer::Signer;

use crate::config::Config;
use crate::leaf::CertificateLeaf;

/// Checks the log of a settings file and prints what it found.
pub fn run(settings: &Path) -> anyhow::Result<()> {
    let config = Config::load(settings)?;
    // Only the public half is used; a keeper outside this process is asked for it.
    let runtime = tokio::runtime::Runtime::new()?;
    let signer = runtime.block_on(Signer::open(&config.log.key));
    let signer = signer.context("log.key")?;
    let verifier = VerifierKey::rfc6962(&config.log.origin(), signer.public_key().clone())?;
    let report = sequencer::fsck::<CertificateLeaf>(&config.log.engine(), &verifier)?;
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "entries    {}\nroot       {}",
        report.head.size, report.head.root
    )?;
    for note in &report.notes {
        writeln!(out, "note       {note}")?;
    }
    writeln!(
        out,
        "sound: all hashes recomputed, the last checkpoint is about this tree"
    )
    .context("standard output")
}
