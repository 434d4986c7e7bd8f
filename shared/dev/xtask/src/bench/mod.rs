//! Figures, never verdicts: each bench prints ours, and last the peer's where it is installed, from one run on one machine.
//!
//! | bench | what is measured | against |
//! | --- | --- | --- |
//! | log | entries a second of rekor-rs, each durable and proven when it is answered, with a search index and without | its HTTP stack without a log; rekor-tiles on a file system |
//! | latency | how long clients of rekor-rs wait where a sync takes 5 ms: alone, at half load, at full load | |
//! | raw | leaves a second of the log engine alone | Tessera's POSIX driver |
//! | ca | certificates a second of fulcio-rs, with a CT log (in its process, ctlog-rs, TesseraCT) and without | fulcio, with the same keys and the same CT logs |
//! | tsa | timestamps a second of tsa-rs | timestamp-server, with the same key |
//! | verify | one bundle in one process; one bundle with one process for it: time, processor time, memory | the crate sigstore-verify, sigstore-go and cosign, as whole processes |
//! | image | signing and verifying images in a registry, one and a thousand; a file of a gibibyte | cosign, as whole processes |
//!
//! `cargo xtask peers install` installs the peers. Continuous integration measures nothing: a figure from a shared machine is no figure.

mod clients;
mod machine;
mod raw;
mod service;
mod table;

use std::path::PathBuf;

use anyhow::{Result, bail};

use crate::run::{self, live};

pub(crate) fn run(what: &str) -> Result<bool> {
    match what {
        "log" => service::log(),
        "latency" => service::latency(),
        "raw" => raw::raw(),
        "ca" => service::ca(),
        "tsa" => service::tsa(),
        "verify" => clients::verify(),
        "image" => clients::image(),
        other => bail!("no bench {other}"),
    }
}

/// Where our optimised programs are.
fn programs() -> PathBuf {
    run::target().join("release")
}

/// Builds some of our programs as they are shipped.
fn build(packages: &[&str]) -> Result<()> {
    let mut command = run::cargo(["build", "--quiet", "--release"]);
    for package in packages {
        command.args(["-p", package]);
    }
    live(&mut command)
}
