//! The command line.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::{Args, Parser, Subcommand, ValueEnum};
use serve::ListenAddress;
use store::Disk;
use url::Url;

use crate::bare;
use crate::drive::{self, Plan};
use crate::figures::Figures;
use crate::requests::Kind;
use crate::slow;
use crate::{process, raw};

/// Asks one service as fast as it answers, and says how fast that was. Exit code 1 when a request failed.
#[derive(Debug, Parser)]
#[command(name = "load", version)]
struct Arguments {
    #[command(subcommand)]
    target: Target,
}

#[derive(Debug, Subcommand)]
enum Target {
    /// A Rekor v2 log: hashedrekord entries
    Log(How),
    /// A Rekor v1 log: hashedrekord entries
    LogV1(How),
    /// The log engine alone, in this process
    Raw(Raw),
    /// Serves what a log does before it keeps anything, until a signal: to be asked with `log`
    Bare {
        /// host:port
        #[arg(long)]
        listen: ListenAddress,
    },
    /// Serves a Rekor v2 log on a disk of a known speed, until a signal: to be asked with `log`
    Slow {
        /// host:port
        #[arg(long)]
        listen: ListenAddress,
        /// An empty folder
        #[arg(long)]
        folder: PathBuf,
        /// Milliseconds that a sync takes at least
        #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(0..=1000))]
        sync_ms: u16,
    },
    /// A certificate authority: certificates for new keys
    Ca {
        #[command(flatten)]
        how: How,
        /// File of identity tokens, one a line, used in turn
        #[arg(long)]
        tokens: PathBuf,
    },
    /// A timestamp authority: RFC 3161 tokens
    Tsa(How),
    /// A command, as many times as asked, one after another
    Process(Processes),
}

#[derive(Debug, Args)]
struct How {
    /// Base URL of the service, http
    url: Url,
    /// How many connections ask at the same time
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=4096))]
    connections: u16,
    /// How long
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=3600))]
    seconds: u16,
    /// Requests a second, whatever the service does; without it a connection asks again when it has its answer
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rate: Option<u32>,
    /// How many requests are made beforehand; the run ends when they are used up
    #[arg(long, default_value_t = 50_000, value_parser = clap::value_parser!(u32).range(2..=5_000_000))]
    requests: u32,
    /// For people or for programs
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

#[derive(Debug, Args)]
struct Processes {
    /// How many times
    #[arg(long, default_value_t = 41, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    runs: u16,
    /// For people or for programs
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
    /// The program and its arguments
    #[arg(required = true, last = true)]
    command: Vec<OsString>,
}

#[derive(Debug, Args)]
struct Raw {
    /// An empty folder on the disk that is to be measured
    #[arg(required_unless_present = "database", conflicts_with = "database")]
    folder: Option<PathBuf>,
    /// Instead of a folder: a PostgreSQL server, postgres://user@host/database
    #[arg(long, requires = "bucket")]
    database: Option<String>,
    /// With --database: a bucket, whose account is in AWS's variables
    #[arg(long, requires = "database")]
    bucket: Option<String>,
    /// With --bucket: where it is, unless at AWS
    #[arg(long, requires = "bucket")]
    endpoint: Option<String>,
    /// With --bucket: its region
    #[arg(long, default_value = "us-east-1")]
    region: String,
    /// How many leaves
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(40_000..=1_000_000_000))]
    leaves: u64,
    /// Bytes of a leaf
    #[arg(long, default_value_t = 900, value_parser = clap::value_parser!(u16).range(8..))]
    bytes: u16,
    /// How many are on their way at the same time
    #[arg(long, default_value_t = 4096, value_parser = clap::value_parser!(u16).range(1..))]
    in_flight: u16,
    /// For people or for programs
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    /// One line
    Text,
    /// One object
    Json,
}

/// Runs the command line.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        // clap's own text: help to standard output with success, a mistake to standard error without.
        Err(error) => {
            let _unread = error.print();
            return if error.use_stderr() {
                ExitCode::FAILURE
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    let target = match arguments.target {
        Target::Raw(raw) => return measured_raw(&raw),
        Target::Process(processes) => return measured_processes(&processes),
        Target::Bare { listen } => return served(bare::serve(&listen)),
        Target::Slow {
            listen,
            folder,
            sync_ms,
        } => {
            let sync = Duration::from_millis(u64::from(sync_ms));
            return served(slow::serve(&listen, &folder, sync));
        }
        target => target,
    };
    match measured(target) {
        Ok(figures) if figures.errors == 0 => ExitCode::SUCCESS,
        Ok(figures) => {
            complain(&format!(
                "{} OF {} REQUESTS FAILED: these are no figures",
                figures.errors,
                figures.errors.saturating_add(figures.answered)
            ));
            ExitCode::FAILURE
        }
        Err(error) => {
            complain(&format!("load: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn measured(target: Target) -> Result<Figures> {
    let (kind, how) = match target {
        Target::Log(how) => (Kind::Log, how),
        Target::LogV1(how) => (Kind::LogV1, how),
        Target::Raw(_) | Target::Bare { .. } | Target::Slow { .. } | Target::Process(_) => {
            anyhow::bail!("not a service that is asked")
        }
        Target::Tsa(how) => (Kind::Tsa, how),
        Target::Ca { how, tokens } => {
            let text = std::fs::read_to_string(&tokens)
                .with_context(|| format!("reading {}", tokens.display()))?;
            let tokens = text
                .lines()
                .map(str::trim)
                .filter(|line| !line.is_empty())
                .map(str::to_owned)
                .collect();
            (Kind::Ca { tokens }, how)
        }
    };
    let requests = kind.make(usize::try_from(how.requests)?)?;
    let plan = Plan {
        connections: usize::from(how.connections),
        time: Duration::from_secs(u64::from(how.seconds)),
        rate: how.rate,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let figures = runtime.block_on(drive::run(&kind, &how.url, requests, plan))?;
    let mut out = std::io::stdout().lock();
    match how.output {
        Output::Text => write!(out, "{figures}")?,
        Output::Json => writeln!(out, "{}", serde_json::to_string(&figures)?)?,
    }
    Ok(figures)
}

fn measured_raw(raw: &Raw) -> ExitCode {
    let measure = || {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()?;
        let (leaves, bytes) = (raw.leaves, usize::from(raw.bytes));
        let run = async {
            let files = raw_files(raw).await?;
            raw::run(files, leaves, bytes, usize::from(raw.in_flight)).await
        };
        let figures = runtime.block_on(run)?;
        let mut out = std::io::stdout().lock();
        match raw.output {
            Output::Text => write!(out, "{figures}")?,
            Output::Json => writeln!(out, "{}", serde_json::to_string(&figures)?)?,
        }
        Ok::<(), anyhow::Error>(())
    };
    match measure() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("load: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn measured_processes(processes: &Processes) -> ExitCode {
    let measure = || {
        let figures = process::run(usize::from(processes.runs), &processes.command)?;
        let mut out = std::io::stdout().lock();
        match processes.output {
            Output::Text => write!(out, "{figures}")?,
            Output::Json => writeln!(out, "{}", serde_json::to_string(&figures)?)?,
        }
        Ok::<(), anyhow::Error>(())
    };
    match measure() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("load: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn served(service: impl Future<Output = Result<()>>) -> ExitCode {
    let serve = || {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()?;
        runtime.block_on(service)
    };
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("load: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Where the log is to be.
async fn raw_files(raw: &Raw) -> Result<Arc<dyn Disk>> {
    if let (Some(database), Some(bucket)) = (&raw.database, &raw.bucket) {
        let mut settings = cluster::Settings::new(database, bucket, &raw.region);
        settings.bucket.endpoint.clone_from(&raw.endpoint);
        let cluster = cluster::Cluster::open(settings).await?;
        // Each run has a tree of its own, and leaves it behind.
        let tree = format!("load-{}", jiff::Timestamp::now().as_microsecond());
        return Ok(Arc::new(cluster.tree(&tree)?));
    }
    let folder = raw.folder.as_ref().context("no folder")?;
    Ok(Arc::new(store::fs::Folder::open(folder)?))
}

fn complain(text: &str) {
    // Standard error may be closed; then nobody reads this anyway.
    let _unread = writeln!(std::io::stderr(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
        assert!(Arguments::try_parse_from(["load", "ca", "http://localhost:1"]).is_err());
        assert!(
            Arguments::try_parse_from(["load", "tsa", "http://localhost:1", "--seconds", "0"])
                .is_err()
        );
    }
}
