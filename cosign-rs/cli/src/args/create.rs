//! `trusted-root create` and `signing-config create`, with cosign's flags.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::trust::Following;

/// Make a trusted root: whom verifiers believe
#[derive(Debug, Args)]
pub(crate) struct TrustedRootCommands {
    #[command(subcommand)]
    pub(crate) command: TrustedRootCommand,
}

/// What can be done with trusted roots.
#[derive(Debug, Subcommand)]
pub(crate) enum TrustedRootCommand {
    /// Make a trusted root out of keys and certificates
    Create(Box<CreateTrustedRoot>),
}

/// Make a signing config: whom signers call
#[derive(Debug, Args)]
pub(crate) struct SigningConfigCommands {
    #[command(subcommand)]
    pub(crate) command: SigningConfigCommand,
}

/// What can be done with signing configs.
#[derive(Debug, Subcommand)]
pub(crate) enum SigningConfigCommand {
    /// Make a signing config that names services
    Create(Box<CreateSigningConfig>),
}

/// `trusted-root create`.
#[derive(Debug, Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "one for each of cosign's flags"
)]
pub(crate) struct CreateTrustedRoot {
    /// Certificate authority: url=URL,certificate-chain=FILE (lowest first, PEM) and, if need be, start-time=TIME [default: the root certificate's],
    /// end-time=TIME, operator=NAME (for policies; old clients refuse it); may be repeated
    #[arg(long, value_name = "KEY=VALUE,...", conflicts_with_all = ["certificate_chain", "fulcio_uri"])]
    pub(crate) fulcio: Vec<String>,
    /// Transparency log: url=URL,public-key=FILE (PEM),start-time=TIME and, if need be, end-time=TIME, operator=NAME (for policies; old clients refuse
    /// it); of Rekor v2 origin=NAME too, the name in its checkpoints; may be repeated
    #[arg(long, value_name = "KEY=VALUE,...", conflicts_with_all = ["rekor_key", "rekor_url", "rekor_start_time", "rekor_end_time"])]
    pub(crate) rekor: Vec<String>,
    /// CT log: url=URL,public-key=FILE (PEM),start-time=TIME and, if need be, end-time=TIME, operator=NAME (for policies; old clients
    /// refuse it); may be repeated
    #[arg(long, value_name = "KEY=VALUE,...", conflicts_with_all = ["ctfe_key", "ctfe_url", "ctfe_start_time", "ctfe_end_time"])]
    pub(crate) ctfe: Vec<String>,
    /// Timestamp authority: url=URL,certificate-chain=FILE (its own certificate first, PEM) and, if need be, start-time=TIME [default: its certificate's],
    /// end-time=TIME, operator=NAME (for policies; old clients refuse it); may be repeated
    #[arg(long, value_name = "KEY=VALUE,...", conflicts_with_all = ["timestamp_certificate_chain", "timestamp_uri"])]
    pub(crate) tsa: Vec<String>,
    /// Begin with what the trust domain's repository says
    #[arg(long)]
    pub(crate) with_default_services: bool,
    /// Of that no certificate authorities
    #[arg(long)]
    pub(crate) no_default_fulcio: bool,
    /// Of that no CT logs
    #[arg(long)]
    pub(crate) no_default_ctfe: bool,
    /// Of that no transparency logs
    #[arg(long)]
    pub(crate) no_default_rekor: bool,
    /// Of that no timestamp authorities
    #[arg(long)]
    pub(crate) no_default_tsa: bool,
    /// Where to write it instead of to standard output
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) following: Following,
    #[command(flatten)]
    pub(crate) older: OlderTrustedRoot,
}

/// The flags of cosign before specifications: the first value of each kind belongs to the first key or chain, and so on.
#[derive(Debug, Args)]
pub(crate) struct OlderTrustedRoot {
    /// Older form of --fulcio
    #[arg(long, hide = true)]
    pub(crate) certificate_chain: Vec<String>,
    /// Older form of --fulcio
    #[arg(long, hide = true)]
    pub(crate) fulcio_uri: Vec<String>,
    /// Older form of --ctfe
    #[arg(long, hide = true)]
    pub(crate) ctfe_key: Vec<String>,
    /// Older form of --ctfe
    #[arg(long, hide = true)]
    pub(crate) ctfe_url: Vec<String>,
    /// Older form of --ctfe
    #[arg(long, hide = true)]
    pub(crate) ctfe_start_time: Vec<String>,
    /// Older form of --ctfe
    #[arg(long, hide = true)]
    pub(crate) ctfe_end_time: Vec<String>,
    /// Older form of --rekor
    #[arg(long, hide = true)]
    pub(crate) rekor_key: Vec<String>,
    /// Older form of --rekor
    #[arg(long, hide = true)]
    pub(crate) rekor_url: Vec<String>,
    /// Older form of --rekor
    #[arg(long, hide = true)]
    pub(crate) rekor_start_time: Vec<String>,
    /// Older form of --rekor
    #[arg(long, hide = true)]
    pub(crate) rekor_end_time: Vec<String>,
    /// Older form of --tsa
    #[arg(long, hide = true)]
    pub(crate) timestamp_certificate_chain: Vec<String>,
    /// Older form of --tsa
    #[arg(long, hide = true)]
    pub(crate) timestamp_uri: Vec<String>,
}

/// `signing-config create`.
#[derive(Debug, Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "one for each of cosign's flags"
)]
pub(crate) struct CreateSigningConfig {
    /// Certificate authority: url=URL,api-version=NUMBER,start-time=TIME,operator=NAME and, if need be, end-time=TIME; may be repeated
    #[arg(long, value_name = "KEY=VALUE,...")]
    pub(crate) fulcio: Vec<String>,
    /// Transparency log, in the same way; may be repeated
    #[arg(long, value_name = "KEY=VALUE,...", requires = "rekor_config")]
    pub(crate) rekor: Vec<String>,
    /// Identity provider, in the same way; may be repeated
    #[arg(long, value_name = "KEY=VALUE,...")]
    pub(crate) oidc_provider: Vec<String>,
    /// Timestamp authority, in the same way; may be repeated
    #[arg(long, value_name = "KEY=VALUE,...", requires = "tsa_config")]
    pub(crate) tsa: Vec<String>,
    /// How many of the logs record a signature
    #[arg(long, value_name = "ANY|ALL|EXACT:NUMBER")]
    pub(crate) rekor_config: Option<String>,
    /// How many of the timestamp authorities state its time
    #[arg(long, value_name = "ANY|ALL|EXACT:NUMBER")]
    pub(crate) tsa_config: Option<String>,
    /// Begin with what the trust domain's repository says
    #[arg(long)]
    pub(crate) with_default_services: bool,
    /// Begin with what the trust domain's repository says to those who sign with Rekor v2
    #[arg(long, conflicts_with = "with_default_services")]
    pub(crate) with_default_rekor_v2: bool,
    /// Begin with this signing config
    #[arg(long, value_name = "FILE", conflicts_with_all = ["with_default_services", "with_default_rekor_v2"])]
    pub(crate) base_config: Option<PathBuf>,
    /// Of what it begins with no certificate authorities
    #[arg(long)]
    pub(crate) no_default_fulcio: bool,
    /// Of what it begins with no transparency logs
    #[arg(long)]
    pub(crate) no_default_rekor: bool,
    /// Of what it begins with no identity providers
    #[arg(long)]
    pub(crate) no_default_oidc: bool,
    /// Of what it begins with no timestamp authorities
    #[arg(long)]
    pub(crate) no_default_tsa: bool,
    /// Where to write it instead of to standard output
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) following: Following,
}
