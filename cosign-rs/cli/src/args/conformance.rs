//! The protocols of the conformance suites, whose flags are theirs.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::signing::Identity;
use super::trust::{Services, Trust};
use super::verifying::Expected;

/// `verify-bundle`: sigstore-conformance `docs/cli_protocol.md`.
#[derive(Debug, Args)]
pub(crate) struct VerifyBundle {
    /// Use the staging instance
    #[arg(long)]
    pub(crate) staging: bool,
    /// The bundle
    #[arg(long)]
    pub(crate) bundle: PathBuf,
    /// The file, or sha256:HEX if there is no file of that name
    pub(crate) file: String,
    #[command(flatten)]
    pub(crate) expected: Expected,
    #[command(flatten)]
    pub(crate) trust: Trust,
}

/// `sign-bundle`: sigstore-conformance `docs/cli_protocol.md`.
#[derive(Debug, Args)]
pub(crate) struct SignBundle {
    /// Use the staging instance
    #[arg(long)]
    pub(crate) staging: bool,
    /// The file is an in-toto statement
    #[arg(long)]
    pub(crate) in_toto: bool,
    /// Where to write the bundle
    #[arg(long)]
    pub(crate) bundle: PathBuf,
    /// The file
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) identity: Identity,
    #[command(flatten)]
    pub(crate) trust: Trust,
    #[command(flatten)]
    pub(crate) services: Services,
}

/// `tuf-conformance`: tuf-conformance `CLIENT-CLI.md`.
#[derive(Debug, Args)]
pub(crate) struct TufConformance {
    #[arg(long)]
    pub(crate) metadata_dir: PathBuf,
    #[arg(long)]
    pub(crate) metadata_url: Option<String>,
    #[arg(long)]
    pub(crate) target_name: Vec<String>,
    #[arg(long)]
    pub(crate) target_base_url: Option<String>,
    #[arg(long)]
    pub(crate) target_dir: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) command: TufConformanceCommand,
}

/// The three commands of the protocol.
#[derive(Debug, Subcommand)]
pub(crate) enum TufConformanceCommand {
    /// Begin from a root
    Init { trusted_root: PathBuf },
    /// Update
    Refresh,
    /// Update, and get targets
    Download,
}
