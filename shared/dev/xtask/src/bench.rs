//! Figures, never verdicts: each bench prints ours, and last the peer's where it is installed.

use anyhow::{Result, bail};

use crate::run::{self, live};

pub(crate) fn run(what: &str) -> Result<bool> {
    match what {
        "verify" => live(&mut run::cargo(["bench", "-p", "verify"]))?,
        other => bail!("no bench {other}"),
    }
    Ok(true)
}
