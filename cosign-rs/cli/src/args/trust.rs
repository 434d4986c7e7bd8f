//! Whom to trust and whom to call; the commands that look after it.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use jiff::Timestamp;

use super::verifying::Output;

/// Whom to trust and whom to call.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Trust")]
pub(crate) struct Trust {
    /// Trusted root: whose certificates, logs and timestamps are believed. Without it that of the trust domain
    #[arg(long, value_name = "FILE", conflicts_with_all = ["trust_config", "trust_domain"])]
    pub(crate) trusted_root: Option<PathBuf>,
    /// Trusted root and signing config in one file (`ClientTrustConfig`)
    #[arg(long, value_name = "FILE", conflicts_with = "trust_domain")]
    pub(crate) trust_config: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) following: Following,
    /// There is no other format
    #[arg(long, hide = true, num_args = 0..=1, default_missing_value = "true", require_equals = true, value_parser = only_true)]
    pub(crate) new_bundle_format: Option<bool>,
}

impl Trust {
    /// Where no other trust is named.
    pub(crate) fn default_to_staging(&mut self) {
        if self.trusted_root.is_none() && self.trust_config.is_none() {
            let domain = &mut self.following.trust_domain;
            domain.get_or_insert_with(|| "staging".to_owned());
        }
    }
}

/// Which repository says whom to trust, and when it is asked.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Trust")]
pub(crate) struct Following {
    /// Trust domain: public-good, staging, github, or a name or address that initialize was told. Without it $TUF_MIRROR, the one that was initialised last, or public-good
    #[arg(long, value_name = "NAME|URL")]
    pub(crate) trust_domain: Option<String>,
    /// When the trust domain's repository is asked
    #[arg(long, value_enum, default_value_t = TrustRefresh::Daily)]
    pub(crate) trust_refresh: TrustRefresh,
    /// Open no connection, but to a registry that holds the image: trust what is cached, or built in
    #[arg(long)]
    pub(crate) offline: bool,
    /// Go on with cached trust whose time is over. For air gaps: what was revoked since then is not known
    #[arg(long, requires = "offline")]
    pub(crate) allow_expired_trust: bool,
    /// Certificate authorities for calls to the trust domain's repository besides the system's, PEM. Without it those that initialize was told
    #[arg(long, value_name = "FILE")]
    pub(crate) mirror_cacert: Option<PathBuf>,
    /// Judge as of this time whether trust is expired, as 2026-08-22 or 2026-08-22T12:00:00Z. For tests and air gaps
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(crate) now: Option<Timestamp>,
}

/// When a repository is asked whom to trust.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum TrustRefresh {
    /// When it was last asked more than a day ago, or what is cached is expired
    Daily,
    /// Each time
    Always,
    /// When what is cached is expired
    UntilExpiry,
}

/// Whom to call when signing.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Trust")]
pub(crate) struct Services {
    /// Which services sign with you; goes with --trusted-root. Without both, those of the trust domain
    #[arg(long, value_name = "FILE", conflicts_with = "trust_config")]
    pub(crate) signing_config: Option<PathBuf>,
    /// Services are always named by one
    #[arg(long, hide = true, num_args = 0..=1, default_missing_value = "true", require_equals = true, value_parser = only_config)]
    pub(crate) use_signing_config: Option<bool>,
    #[command(flatten)]
    pub(crate) timestamps: TimestampTls,
}

/// How timestamp authorities are called that are not open to everybody.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Timestamp authority")]
pub(crate) struct TimestampTls {
    /// Certificate authorities for calls to timestamp authorities besides the system's, PEM
    #[arg(long, value_name = "FILE")]
    pub(crate) timestamp_client_cacert: Option<PathBuf>,
    /// Certificate that we show to timestamp authorities (mutual TLS), PEM, with those above it
    #[arg(long, value_name = "FILE", requires = "timestamp_client_key")]
    pub(crate) timestamp_client_cert: Option<PathBuf>,
    /// Its private key, PEM
    #[arg(long, value_name = "FILE", requires = "timestamp_client_cert")]
    pub(crate) timestamp_client_key: Option<PathBuf>,
    /// Name that the TLS certificate of a timestamp authority must be for, instead of the name it is called by
    #[arg(long, value_name = "NAME")]
    pub(crate) timestamp_server_name: Option<String>,
}

/// There is no other way to name services; scripts that say so are right.
fn only_config(text: &str) -> Result<bool, String> {
    match text {
        "true" => Ok(true),
        _ => Err(
            "services are named in a signing config: --signing-config, or --trust-config".into(),
        ),
    }
}

/// Set up a trust domain: where its repository is, and the root that everything is verified from
#[derive(Debug, Args)]
pub(crate) struct Initialize {
    /// Repository of the trust domain
    #[arg(long, value_name = "URL", conflicts_with = "staging")]
    pub(crate) mirror: Option<String>,
    /// Root to begin from, a file or a URL; for a repository that is not built in it must be named
    #[arg(long, value_name = "FILE|URL")]
    pub(crate) root: Option<String>,
    /// SHA-256 of the root, in hex; for one from a URL it must be named
    #[arg(long, value_name = "HEX", requires = "root")]
    pub(crate) root_checksum: Option<String>,
    /// The staging instance
    #[arg(long)]
    pub(crate) staging: bool,
    /// Certificate authorities for calls to the repository besides the system's, PEM; they are remembered
    #[arg(long, value_name = "FILE")]
    pub(crate) mirror_cacert: Option<PathBuf>,
    /// What to call it; without it by its address
    #[arg(long, value_name = "NAME", value_parser = domain_name)]
    pub(crate) name: Option<String>,
    /// Do not make it the one that is meant where nobody names one
    #[arg(long)]
    pub(crate) no_default: bool,
    /// Judge as of this time whether trust is expired, as 2026-08-22 or 2026-08-22T12:00:00Z. For tests and air gaps
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(crate) now: Option<Timestamp>,
}

/// Look after the trust domains: whom we trust, since when, until when
#[derive(Debug, Args)]
pub(crate) struct TrustCommands {
    #[command(subcommand)]
    pub(crate) command: TrustCommand,
}

/// What can be done about trust domains.
#[derive(Debug, Subcommand)]
pub(crate) enum TrustCommand {
    /// Which trust domains there are
    List {
        /// How to print it [default: text]
        #[arg(short, long, value_enum)]
        output: Option<Output>,
    },
    /// What is cached of a trust domain, or else built in, and until when it holds; exit code 1 if it does not
    Status {
        /// How to print it [default: text]
        #[arg(short, long, value_enum)]
        output: Option<Output>,
        #[command(flatten)]
        following: Following,
    },
    /// Ask the repository now
    Refresh {
        #[command(flatten)]
        following: Following,
    },
    /// Say in words what another trusted root would change: the repository's newest one, or a file
    Diff {
        /// Trusted root to compare the cached one with
        #[arg(long, value_name = "FILE")]
        against: Option<PathBuf>,
        #[command(flatten)]
        following: Following,
    },
    /// Write what is trusted into a file, for --trusted-root or --trust-config elsewhere
    Export {
        /// The file; - for standard output
        #[arg(long, value_name = "FILE")]
        to: PathBuf,
        /// What to write
        #[arg(long, value_enum, default_value_t = ExportFormat::TrustConfig)]
        format: ExportFormat,
        #[command(flatten)]
        following: Following,
    },
}

/// What `trust export` writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExportFormat {
    /// Trusted root and signing config in one file
    TrustConfig,
    /// The trusted root alone
    TrustedRoot,
}

fn domain_name(text: &str) -> Result<String, String> {
    if tuf_client::is_name(text) {
        Ok(text.to_owned())
    } else {
        Err("a name has up to 64 letters, digits, '.', '-' and '_'".to_owned())
    }
}

fn time(text: &str) -> Result<Timestamp, String> {
    let day = |text: &str| {
        let date: jiff::civil::Date = text.parse().ok()?;
        Some(date.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp())
    };
    text.parse()
        .ok()
        .or_else(|| day(text))
        .ok_or_else(|| "expected a time such as 2026-08-22T12:00:00Z, or a day".to_owned())
}

/// The only format there is; scripts that say so are right.
fn only_true(text: &str) -> Result<bool, String> {
    match text {
        "true" => Ok(true),
        _ => Err("verify reads the format before bundles too, and sign and attest write it with --format legacy or both".to_owned()),
    }
}
