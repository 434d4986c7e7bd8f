//! Kits: all that it takes to verify something later, in one file.

use std::path::PathBuf;

use clap::{ArgAction, Args, Subcommand};

use super::registry::Registry;
use super::tag_trust::TagTrust;
use super::trust::Trust;
use super::verifying::{Expected, Judging, Output};

/// Pack what it takes to verify something into one file, and verify it years later without a network
#[derive(Debug, Args)]
pub(crate) struct KitCommands {
    #[command(subcommand)]
    pub(crate) command: KitCommand,
}

/// What can be done with kits.
#[derive(Debug, Subcommand)]
pub(crate) enum KitCommand {
    /// Pack what verifies an image or a file: its digest, its bundles, the trusted root, and the policy
    Create(Box<KitCreate>),
    /// Verify a kit. Opens no connection
    Verify(Box<KitVerify>),
}

/// `kit create`.
#[derive(Debug, Args)]
pub(crate) struct KitCreate {
    /// The image
    #[arg(
        required_unless_present = "blob",
        conflicts_with = "blob",
        value_name = "IMAGE"
    )]
    pub(crate) image: Option<String>,
    /// A file instead of an image; the kit has its digest, not the file
    #[arg(long, value_name = "FILE|DIGEST", requires = "bundle")]
    pub(crate) blob: Option<String>,
    /// With --blob: its bundle; with --policy there may be several
    #[arg(long, value_name = "FILE", action = ArgAction::Append, requires = "blob")]
    pub(crate) bundle: Vec<PathBuf>,
    /// Where to write the kit
    #[arg(long, value_name = "FILE")]
    pub(crate) to: PathBuf,
    #[command(flatten)]
    pub(crate) expected: Expected,
    #[command(flatten)]
    pub(crate) judging: Judging,
    #[command(flatten)]
    pub(crate) trust: Trust,
    #[command(flatten)]
    pub(crate) tag_trust: TagTrust,
    #[command(flatten)]
    pub(crate) registry: Registry,
}

/// `kit verify`.
#[derive(Debug, Args)]
pub(crate) struct KitVerify {
    /// The kit
    #[arg(value_name = "KIT")]
    pub(crate) kit: PathBuf,
    /// Digest of the kit, as kit create printed it: with it the trusted root and the policy in the kit are believed. Without it both must come
    /// from you, since whoever made the kit could have written them
    #[arg(long, value_name = "sha256:HEX")]
    pub(crate) kit_digest: Option<String>,
    /// The file itself, or the digest that it or the image must have
    #[arg(long, value_name = "FILE|DIGEST")]
    pub(crate) artifact: Option<String>,
    /// How to print the result [default: text]
    #[arg(short, long, value_enum)]
    pub(crate) output: Option<Output>,
    #[command(flatten)]
    pub(crate) expected: Expected,
    #[command(flatten)]
    pub(crate) judging: Judging,
    #[command(flatten)]
    pub(crate) trust: Trust,
}
