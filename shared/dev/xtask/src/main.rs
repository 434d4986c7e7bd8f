//! The project's everyday commands: `cargo xtask test` runs everything that continuous integration runs.
//!
//! | command | what it does |
//! | --- | --- |
//! | `cargo xtask test [--no-skip]` | format, lints, graph, purity, licences, docs, unit and end-to-end tests, conformance, real peers |
//! | `cargo xtask graph` | compares the crates' edges with the table in `graph.rs` |
//! | `cargo xtask purity` | shows that each line of `shared/pure/clippy.toml` fires |
//! | `cargo xtask peers install` | installs the real clients and servers that the tests talk to |
//! | `cargo xtask peers test` | our services and our CLI against those peers |
//! | `cargo xtask peers cluster` | of those, the log on PostgreSQL and an S3 bucket |
//! | `cargo xtask peers ctlog` | of those, the CT log before clients of others, and the CA with a log of others |
//! | `cargo xtask peers storage` | of those, images with signatures of older cosigns, copies, saved images |
//! | `cargo xtask peers root` | of those, clients that follow a trust root of our own |
//! | `cargo xtask peers trust` | of those, TUF clients over repositories with mistakes, and trust files made by hand |
//! | `cargo xtask peers record` | of those, a log before gRPC clients, fsck and witnesses of others |
//! | `cargo xtask peers issuers` | of those, who gets certificates and timestamps of ours |
//! | `cargo xtask peers signing` | of those, who signs in how, and what other programs make of what cosign-rs signs |
//! | `cargo xtask readme` | runs the commands that the documents show |
//! | `cargo xtask conformance sigstore\|tuf` | the public client suites against our CLI |
//! | `cargo xtask dist` | builds the command line as it is handed out: small, and quick to start |
//! | `cargo xtask fuzz [TARGET] [SECONDS]` | one parser before libFuzzer; without a target, their names |
//! | `cargo xtask bench log\|latency\|raw\|ca\|tsa\|verify\|image` | prints our figures, and the peer's where it is installed, last |
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command that talks to its terminal"
)]
#![expect(
    clippy::unnecessary_wraps,
    reason = "the steps of the test command share one signature"
)]

mod advisories;
mod bench;
mod conformance;
mod dist;
mod fuzz;
mod graph;
mod peers;
mod purity;
mod readme;
mod report;
mod run;

use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::report::Report;

const USAGE: &str = "usage: cargo xtask COMMAND
  test [--no-skip] [--only STEP]  everything that continuous integration runs
  graph | purity | readme         one check
  advisories                      the lock file against the RustSec snapshot beside the checkout
  peers install | peers test      the real clients and servers
  peers cluster                   the log on PostgreSQL and an S3 bucket
  peers ctlog                     the CT log before clients of others, and the CA with a log of others
  peers storage                   images with signatures of older cosigns, copies, saved images
  peers root                      clients that follow a trust root of our own
  peers trust                     TUF clients over repositories with mistakes, and trust files made by hand
  peers record                    a log before gRPC clients, fsck and witnesses of others
  peers issuers                   clients and identity providers of others before our issuers
  peers signing                   who signs in how, and what other programs make of what cosign-rs signs
  conformance sigstore | tuf      the public suites
  dist                            the command line as it is handed out
  fuzz [TARGET] [SECONDS]         one parser before libFuzzer
  bench log | latency | raw | ca | tsa | verify | image";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match dispatch(&words) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(words: &[&str]) -> Result<bool> {
    let mut report = Report::default();
    match words {
        ["test", options @ ..] => return test(options),
        ["graph"] => graph::check(&mut report)?,
        ["purity"] => purity::check(&mut report)?,
        ["readme"] => {
            run::build_debug(&mut report)?;
            readme::check(&mut report)?;
        }
        ["advisories"] => advisories::check(&mut report)?,
        ["peers", "install"] => {
            peers::install::all(&mut report)?;
            peers::install::tell();
        }
        ["--help" | "-h" | "help"] => {
            println!("{USAGE}");
            return Ok(true);
        }
        ["peers", "test"] => {
            run::build_debug(&mut report)?;
            peers::check(&mut report)?;
        }
        ["peers", "cluster"] => peers::cluster::check(&mut report)?,
        ["peers", "root"] => peers::root(&mut report)?,
        ["peers", "trust"] => peers::trust(&mut report)?,
        ["peers", "record"] => peers::record::check(&mut report)?,
        ["peers", "ctlog"] => peers::ctlog::check(&mut report)?,
        ["peers", "signing"] => peers::signing_alone(&mut report)?,
        ["peers", "storage"] => peers::storage(&mut report)?,
        ["peers", "issuers"] => peers::issuing(&mut report)?,
        ["conformance", "sigstore"] => {
            run::build_debug(&mut report)?;
            conformance::sigstore(&mut report)?;
        }
        ["conformance", "tuf"] => {
            run::build_debug(&mut report)?;
            conformance::tuf(&mut report)?;
        }
        ["dist"] => {
            let program = dist::build()?;
            let size = std::fs::metadata(&program)?.len();
            println!("{} ({size} bytes)", program.display());
            return Ok(true);
        }
        ["fuzz", options @ ..] => return fuzz::run(options),
        ["bench", what] => return bench::run(what),
        _ => bail!("{USAGE}"),
    }
    Ok(report.finish(false))
}

/// A named part of the test command.
type Step = (&'static str, fn(&mut Report) -> Result<()>);

/// In the order in which a developer wants to hear of them: cheap checks first, then the long road.
const STEPS: &[Step] = &[
    ("format", run::format),
    ("graph", graph::check),
    ("advisories", advisories::check),
    ("licences", run::licences),
    ("lints", run::lints),
    ("purity", purity::check),
    ("documentation", run::documentation),
    ("build", run::build_debug),
    ("tests", run::tests),
    ("conformance", conformance::sigstore),
    ("readme", readme::check),
    ("peers", peers::check),
];

fn test(options: &[&str]) -> Result<bool> {
    let (mut no_skip, mut only) = (std::env::var_os("CI").is_some(), None);
    let mut rest = options.iter();
    while let Some(option) = rest.next() {
        match *option {
            "--no-skip" => no_skip = true,
            "--only" => only = rest.next().copied(),
            other => bail!("unknown option {other}\n{USAGE}"),
        }
    }
    if let Some(name) = only
        && !STEPS.iter().any(|(step, _)| *step == name)
    {
        bail!("no step {name}; steps: {}", STEPS.map_names());
    }
    let mut report = Report::default();
    for (name, step) in STEPS {
        if only.is_none_or(|only| only == *name) {
            report.step(name, *step);
        }
    }
    Ok(report.finish(no_skip))
}

/// The names of a list of steps, for a message.
trait Names {
    fn map_names(&self) -> String;
}

impl Names for [Step] {
    fn map_names(&self) -> String {
        self.iter()
            .map(|(name, _)| *name)
            .collect::<Vec<_>>()
            .join(", ")
    }
}
