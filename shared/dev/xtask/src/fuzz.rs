//! One target of the crate `fuzz` before libFuzzer, for as long as one likes. Not part of the test command, which runs the same targets over
//! changed test data.

use std::fs;

use anyhow::{Context as _, Result, bail};

use crate::run::{self, live};

/// How long, unless the command says so.
const SECONDS: u32 = 60;

pub(crate) fn run(options: &[&str]) -> Result<bool> {
    let (target, seconds) = match options {
        [] => {
            live(&mut run::cargo([
                "run", "--quiet", "-p", "fuzz", "--bin", "targets",
            ]))?;
            return Ok(true);
        }
        [target] => (*target, SECONDS),
        [target, seconds] => (
            *target,
            seconds.parse().context("SECONDS is a whole number")?,
        ),
        _ => bail!("usage: cargo xtask fuzz [TARGET] [SECONDS]"),
    };
    if !run::installed("cargo-fuzz") {
        bail!(
            "cargo-fuzz is not installed: cargo install cargo-fuzz (and rustup toolchain install nightly)"
        );
    }
    // Its own folder for each target: what libFuzzer finds interesting stays for the next run.
    let corpus = run::target().join("fuzz").join(target);
    fs::create_dir_all(&corpus)?;
    live(
        run::cargo([
            "run", "--quiet", "-p", "fuzz", "--bin", "targets", "--", target,
        ])
        .arg(&corpus),
    )
    .context("writing the seeds")?;
    let folder = run::root().join("shared/dev/fuzz/libfuzzer");
    live(
        run::cargo(["+nightly", "fuzz", "run", "--fuzz-dir"])
            .arg(&folder)
            .arg("door")
            .arg(&corpus)
            .args([
                "--",
                &format!("-max_total_time={seconds}"),
                "-timeout=10",
                "-rss_limit_mb=2048",
            ])
            .env("FUZZ_TARGET", target)
            .env_remove("RUSTUP_TOOLCHAIN")
            .env_remove("CARGO"),
    )?;
    Ok(true)
}
