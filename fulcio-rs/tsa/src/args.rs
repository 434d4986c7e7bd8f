//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use serve::ListenAddress;
use url::Url;

/// An RFC 3161 timestamp authority
///
/// `tsa-rs --config FILE` is `tsa-rs serve --config FILE`. GET /healthz, /readyz and /metrics answer on the same port as the authority.
#[derive(Debug, Parser)]
#[command(name = "tsa-rs", version, args_conflicts_with_subcommands = true)]
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
    /// Serve the authority of a settings file
    Serve(Serve),
    /// Make key, certificates, settings and trust fragments for a new authority, and test them; or a request for its certificate
    Init(Box<Init>),
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

/// What is served.
#[derive(Debug, Args)]
pub struct Serve {
    /// The settings, TOML; tsa-rs.example.toml in the source names and explains all of them
    #[arg(long, short, value_name = "FILE", required = false)]
    pub config: Option<PathBuf>,
}

/// What is made for a new authority.
#[derive(Debug, Args)]
pub struct Init {
    /// Base URL that clients will have; signing configs name URL/api/v1/timestamp
    #[arg(long)]
    pub url: Url,
    /// Where everything is put; it must not have settings yet
    #[arg(long, default_value = ".")]
    pub folder: PathBuf,
    /// Where the service listens
    #[arg(long, default_value = "localhost:3004")]
    pub listen: ListenAddress,
    /// Who runs it: in the certificates, and in the signing config, where clients count operators. The default is the URL's host
    #[arg(long)]
    pub operator: Option<String>,
    /// Kind of the new key
    #[arg(long, value_enum, default_value_t = Curve::P256)]
    pub curve: Curve,
    /// A key that is there, instead of a new one in a file: as in the setting `key`, such as pkcs11:... or hashivault://NAME
    #[arg(long, value_name = "KEY", conflicts_with = "curve")]
    pub key: Option<String>,
    /// File of what opens that key: its password, PIN or token
    #[arg(long, value_name = "FILE", requires = "key")]
    pub key_secret_file: Option<PathBuf>,
    /// Years that new certificates are valid
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=30))]
    pub years: u16,
    /// An intermediate between root and authority
    #[arg(long)]
    pub intermediate: bool,
    /// Keep the key of the new root in this new file, and take it offline: without this it is forgotten as soon as it has signed, and a
    /// further certificate needs a new root
    #[arg(long, value_name = "FILE", conflicts_with_all = ["csr", "issuer_key"])]
    pub root_key: Option<PathBuf>,
    /// Instead of making a root, have this key sign: as in the setting `key`
    #[arg(long, value_name = "KEY", requires = "issuer_chain")]
    pub issuer_key: Option<String>,
    /// File of what opens the issuer's key
    #[arg(long, value_name = "FILE", requires = "issuer_key")]
    pub issuer_secret_file: Option<PathBuf>,
    /// Certificates of the issuer, PEM: its own, then each the issuer of the one before, the root last
    #[arg(long, value_name = "FILE", requires = "issuer_key")]
    pub issuer_chain: Option<PathBuf>,
    /// Make no certificates, but csr.pem (PKCS#10), for an authority elsewhere
    #[arg(long, conflicts_with_all = ["intermediate", "issuer_key", "years"])]
    pub csr: bool,
}

/// Kind of a key. sigstore-js verifies timestamps by ECDSA keys only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Curve {
    /// ECDSA on P-256
    P256,
    /// ECDSA on P-384
    P384,
}
