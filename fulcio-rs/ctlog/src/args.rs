//! The command line.

use std::path::PathBuf;

use clap::{ArgGroup, Args, Parser, Subcommand};
use jiff::Timestamp;
use serve::ListenAddress;
use url::Url;

/// A CT log for code-signing certificates: RFC 6962 and static-ct-api over one tree
///
/// `ctlog-rs --config FILE` is `ctlog-rs serve --config FILE`. GET /healthz, /readyz and /metrics answer on the same port as the log.
#[derive(Debug, Parser)]
#[command(name = "ctlog-rs", version, args_conflicts_with_subcommands = true)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// What to serve, if nothing else is to be done.
    #[command(flatten)]
    pub serve: Serve,
    /// Ask a running service that listens without TLS; the exit code is 0 when it works
    #[arg(long, value_name = "HOST:PORT", conflicts_with = "config")]
    pub check_health: Option<ListenAddress>,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve the logs of a settings file
    Serve(Serve),
    /// Make key, settings and trust fragment for a new log, and test them
    Init(Init),
    /// Begin the next log (a shard) beside those of a settings file; a running service takes it up within seconds
    Rotate(Rotate),
    /// Close a log for good; the service must not be running
    Freeze(One),
    /// Recompute the logs of a settings file; they must not be running
    Fsck(Settings),
    /// Copy the logs of a settings file to a folder, while they run or not; a copy that is there is brought up to date
    Backup {
        /// The logs.
        #[command(flatten)]
        settings: Settings,
        /// Folder of the copy
        #[arg(long, value_name = "FOLDER")]
        to: PathBuf,
        /// Do not recompute the copy at the end, which reads all of it
        #[arg(long)]
        no_check: bool,
    },
    /// Bring the logs of a settings file back from a copy, unless that would begin a second history
    Restore(Restore),
    /// Print a completion script for a shell
    Completion {
        /// Which one
        shell: clap_complete::Shell,
    },
    /// Write the manual pages into a folder
    Man {
        /// Where
        folder: PathBuf,
    },
}

/// Which settings.
#[derive(Debug, Args)]
pub struct Settings {
    /// The settings, TOML; ctlog-rs.example.toml in the source names and explains all of them
    #[arg(long, short, value_name = "FILE")]
    pub config: PathBuf,
}

/// What is served.
#[derive(Debug, Args)]
pub struct Serve {
    /// The settings, TOML; ctlog-rs.example.toml in the source names and explains all of them
    #[arg(long, short, value_name = "FILE", required = false)]
    pub config: Option<PathBuf>,
}

/// Which log of which settings.
#[derive(Debug, Args)]
pub struct One {
    /// The logs.
    #[command(flatten)]
    pub settings: Settings,
    /// The log's URL in the settings; without it, the only one
    #[arg(long)]
    pub url: Option<Url>,
}

/// Which certificates a new log takes.
#[derive(Debug, Args)]
pub struct Shard {
    /// Submission URL that clients will have: host and path are the log's name, for life
    #[arg(long)]
    pub url: Url,
    /// Take certificates whose end is not before this time only
    #[arg(long, value_name = "TIME")]
    pub not_after_start: Option<Timestamp>,
    /// Take certificates whose end is before this time only
    #[arg(long, value_name = "TIME")]
    pub not_after_limit: Option<Timestamp>,
}

/// What is made for a new log.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("accepted").args(["roots", "trust_bundle"]).required(true).multiple(true))]
pub struct Init {
    /// The log.
    #[command(flatten)]
    pub shard: Shard,
    /// Where everything is put; it must not have settings yet
    #[arg(long, default_value = ".")]
    pub folder: PathBuf,
    /// Where the service listens
    #[arg(long, default_value = "localhost:6962")]
    pub listen: ListenAddress,
    /// File of the certificates that chains must end in, PEM
    #[arg(long, value_name = "FILE")]
    pub roots: Option<PathBuf>,
    /// Base URL of a Fulcio, whose trust bundle has them
    #[arg(long, value_name = "URL")]
    pub trust_bundle: Option<Url>,
    /// SCTs without the leaf's index, for sigstore-python up to 3.6.6 and 4.1.0
    #[arg(long)]
    pub without_leaf_index: bool,
}

/// The next log.
#[derive(Debug, Args)]
pub struct Rotate {
    /// The logs.
    #[command(flatten)]
    pub settings: Settings,
    /// The new one.
    #[command(flatten)]
    pub shard: Shard,
    /// Give up after so many seconds to wait for a running service
    #[arg(long, default_value_t = 60)]
    pub seconds: u64,
}

/// What is brought back.
#[derive(Debug, Args)]
pub struct Restore {
    /// The logs; their folders must be empty.
    #[command(flatten)]
    pub settings: Settings,
    /// Folder of the copy
    #[arg(long, value_name = "FOLDER")]
    pub from: PathBuf,
    /// There is no copy of the last checkpoint to compare with: I know that this log has given out no checkpoint beyond its backup
    #[arg(long)]
    pub without_guard: bool,
}
