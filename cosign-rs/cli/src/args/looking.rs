//! The commands that look: at the environment, at what works and what does not, at bundles.

use std::path::PathBuf;

use clap::{ArgAction, Args, Subcommand};

use super::registry::Registry;
use super::signing::Identity;
use super::trust::{Services, Trust};
use super::verifying::Output;

/// Print the variables that this program reads, and their values
#[derive(Debug, Args)]
pub(crate) struct Env {
    /// Say what each is for
    #[arg(long, default_value_t = true, action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub(crate) show_descriptions: bool,
    /// Print passwords and tokens too
    #[arg(long)]
    pub(crate) show_sensitive_values: bool,
}

/// Look into what this program finds by itself
#[derive(Debug, Args)]
pub(crate) struct Debug {
    #[command(subcommand)]
    pub(crate) command: DebugCommand,
}

/// What can be looked into.
#[derive(Debug, Subcommand)]
pub(crate) enum DebugCommand {
    /// Which surroundings could give an identity token here
    Providers,
}

/// Look for what keeps signing and verifying from working, and say what to do about it; exit code 1 if there is something
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// Can this image be read, and its signatures be found?
    #[arg(long, value_name = "IMAGE")]
    pub(crate) image: Option<String>,
    /// How to print the result [default: text]
    #[arg(short, long, value_enum)]
    pub(crate) output: Option<Output>,
    #[command(flatten)]
    pub(crate) identity: Identity,
    #[command(flatten)]
    pub(crate) trust: Trust,
    #[command(flatten)]
    pub(crate) services: Services,
    #[command(flatten)]
    pub(crate) registry: Registry,
}

/// Make, show and renew bundles
#[derive(Debug, Args)]
pub(crate) struct BundleCommands {
    #[command(subcommand)]
    pub(crate) command: BundleCommand,
}

/// What can be done with a bundle as such.
#[derive(Debug, Subcommand)]
pub(crate) enum BundleCommand {
    /// Make a bundle of the pieces that older cosigns wrote. Nothing in it is verified: verify it afterwards
    Create(BundleCreate),
    /// Show what is in a bundle. Nothing of it is verified, and nobody is called
    Inspect {
        /// The bundle
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// How to print it [default: text]
        #[arg(short, long, value_enum)]
        output: Option<Output>,
    },
    /// Write a bundle of version 0.1 or 0.2 as one of version 0.3; a proof that it lacks is asked of the log
    Upgrade(BundleUpgrade),
}

/// `bundle create`.
#[derive(Debug, Args)]
pub(crate) struct BundleCreate {
    /// What was signed
    #[arg(long, value_name = "FILE")]
    pub(crate) artifact: PathBuf,
    /// Bundle of an older cosign: signature, certificate and promise of the log
    #[arg(long, value_name = "FILE", required_unless_present_any = ["signature", "attestation"])]
    pub(crate) bundle: Option<PathBuf>,
    /// The signature, base64
    #[arg(long, value_name = "FILE", conflicts_with = "attestation")]
    pub(crate) signature: Option<PathBuf>,
    /// The signed statement: an envelope
    #[arg(long, value_name = "FILE")]
    pub(crate) attestation: Option<PathBuf>,
    /// The signer's certificate, PEM or base64 of it
    #[arg(long, value_name = "FILE", conflicts_with = "key")]
    pub(crate) certificate: Option<PathBuf>,
    /// The signer's public key, where a key signed: a file (PEM), env://NAME, pkcs11:..., hashivault://NAME, or k8s://NAMESPACE/NAME
    #[arg(long, value_name = "KEY")]
    pub(crate) key: Option<String>,
    /// The timestamp: what --rfc3161-timestamp wrote, or the answer of the authority
    #[arg(long, value_name = "FILE")]
    pub(crate) rfc3161_timestamp: Option<PathBuf>,
    /// The signature is in no log: ask none
    #[arg(long)]
    pub(crate) ignore_tlog: bool,
    /// Log that has the signature, of Rekor version 1
    #[arg(long, value_name = "URL", default_value = PUBLIC_REKOR)]
    pub(crate) rekor_url: url::Url,
    /// Where to write the bundle, instead of to standard output
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Whom the log's answer is checked by
    #[command(flatten)]
    pub(crate) trust: Trust,
}

/// The log that most bundles of versions 0.1 and 0.2 are in.
pub(crate) const PUBLIC_REKOR: &str = "https://rekor.sigstore.dev";

/// `bundle upgrade`.
#[derive(Debug, Args)]
pub(crate) struct BundleUpgrade {
    /// The bundle
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Log that has the signature, of Rekor version 1
    #[arg(long, value_name = "URL", default_value = PUBLIC_REKOR)]
    pub(crate) rekor_url: url::Url,
    /// Where to write the bundle, instead of to standard output
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Whom the log's answer is checked by
    #[command(flatten)]
    pub(crate) trust: Trust,
}
