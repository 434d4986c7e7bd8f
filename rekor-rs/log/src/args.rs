//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use serve::ListenAddress;
use url::Url;

/// A transparency log of signatures: Rekor v2, and Rekor v1 beside it
///
/// `rekor-rs --config FILE` is `rekor-rs serve --config FILE`. GET /healthz, /readyz and /metrics answer on the same port as the log.
#[derive(Debug, Parser)]
#[command(name = "rekor-rs", version, args_conflicts_with_subcommands = true)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// What to serve, if nothing else is to be done.
    #[command(flatten)]
    pub serve: Serve,
    /// Ask a running service that listens without TLS; the exit code is 0 when it works
    #[arg(long, value_name = "HOST:PORT", conflicts_with_all = ["config", "read_only", "no_standby"])]
    pub check_health: Option<ListenAddress>,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve the logs of a settings file
    Serve(Serve),
    /// Make keys, settings and trust fragments for a new log, and test them
    Init(Init),
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
    /// Begin a new v1 tree; a running service takes it up within seconds, without turning anybody away
    Rotate(Rotate),
    /// Forget the search index of the logs of a settings file, while they run or not; it is made again from them
    Reindex(Settings),
    /// Close the v2 log, or a v1 tree, for good: its last checkpoint says so. It must not be running
    Freeze {
        /// The logs.
        #[command(flatten)]
        settings: Settings,
        /// A v1 tree instead of the v2 log
        #[arg(long, value_name = "ID")]
        tree: Option<u64>,
    },
    /// Write out proofs, entries or tiles, while the log runs or not
    #[command(subcommand)]
    Export(Export),
    /// Cosign the checkpoints of other logs
    Witness(Settings),
    /// Make a private key, and print its verifier key
    Keygen(Keygen),
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
    /// The settings, TOML; rekor-rs.example.toml in the source names and explains all of them
    #[arg(long, short, value_name = "FILE")]
    pub config: PathBuf,
}

/// What is served, and how.
#[derive(Debug, Args)]
pub struct Serve {
    /// The settings, TOML; rekor-rs.example.toml in the source names and explains all of them
    #[arg(long, short, value_name = "FILE", required = false)]
    pub config: Option<PathBuf>,
    /// Serve reads only, and refuse entries as a frozen log does; any number of such instances may run beside the one that writes
    #[arg(long)]
    pub read_only: bool,
    /// Do not start while another process writes the logs. (Without this, serve reads until that one has ended, and then take over.)
    #[arg(long, conflicts_with = "read_only")]
    pub no_standby: bool,
}

/// What is made for a new log.
#[derive(Debug, Args)]
pub struct Init {
    /// Base URL that clients will have: its host is the log's name, for life
    #[arg(long)]
    pub url: Url,
    /// Where everything is put; it must not have settings yet
    #[arg(long, default_value = ".")]
    pub folder: PathBuf,
    /// Where the service listens
    #[arg(long, default_value = "localhost:3000")]
    pub listen: ListenAddress,
    /// Who runs it, for the signing config: clients count operators
    #[arg(long)]
    pub operator: Option<String>,
    /// No Rekor v1 log beside it
    #[arg(long)]
    pub without_v1: bool,
    /// No search index
    #[arg(long)]
    pub without_search: bool,
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

/// A new tree.
#[derive(Debug, Args)]
pub struct Rotate {
    /// The logs.
    #[command(flatten)]
    pub settings: Settings,
    /// Give up after so many seconds to wait for a running service
    #[arg(long, default_value_t = 60)]
    pub seconds: u64,
}

/// What is written out.
#[derive(Debug, Subcommand)]
pub enum Export {
    /// The proof that an entry is in the log, with the last checkpoint: a .tlog-proof file (C2SP tlog-proof), on standard output
    Proof {
        /// Which tree.
        #[command(flatten)]
        tree: Tree,
        /// Index of the entry in its tree
        #[arg(long)]
        index: u64,
    },
    /// Entries, one JSON object a line, on standard output
    Entries {
        /// Which tree.
        #[command(flatten)]
        tree: Tree,
        /// Index of the first one
        #[arg(long, default_value_t = 0)]
        first: u64,
        /// How many; all that there are, if nothing is said
        #[arg(long)]
        count: Option<u64>,
    },
    /// A static copy of the log for any web server: checkpoint, tiles and entry bundles (C2SP tlog-tiles); run again, it adds what is new
    Tiles {
        /// Which tree.
        #[command(flatten)]
        tree: Tree,
        /// Where
        #[arg(long, value_name = "FOLDER")]
        to: PathBuf,
    },
}

/// Which tree.
#[derive(Debug, Args)]
pub struct Tree {
    /// The logs.
    #[command(flatten)]
    pub settings: Settings,
    /// A v1 tree instead of the v2 log
    #[arg(long, value_name = "ID")]
    pub tree: Option<u64>,
}

/// A new key.
#[derive(Debug, Args)]
pub struct Keygen {
    /// File of the key; it must not be there
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// What it signs with
    #[arg(long, value_enum, default_value_t = KeyKind::Ed25519)]
    pub kind: KeyKind,
    /// Name of the key in notes: the log's origin, or the name of a witness. Without it no verifier key is printed
    #[arg(long)]
    pub name: Option<String>,
    /// The key is one of a witness: its verifier key is of another type
    #[arg(long, requires = "name")]
    pub witness: bool,
}

/// With what a key signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum KeyKind {
    /// A v2 log or a witness
    Ed25519,
    /// A v1 tree
    EcdsaP256,
    /// A witness, besides Ed25519
    MlDsa44,
}
