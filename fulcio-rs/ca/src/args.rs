//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use serve::ListenAddress;

/// A certificate authority that turns an identity token into a ten-minute certificate
///
/// `fulcio-rs --config FILE` is `fulcio-rs serve --config FILE`. GET /healthz, /readyz and /metrics answer on the same port as the authority, and so
/// does gRPC.
#[derive(Debug, Parser)]
#[command(name = "fulcio-rs", version, args_conflicts_with_subcommands = true)]
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
    /// Keys and certificates of an authority: best made on a machine that has no network
    #[command(subcommand)]
    Ca(Box<Ca>),
    /// Say what a token would get, or why it gets nothing
    ExplainToken(ExplainToken),
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
    /// The settings, TOML; fulcio-rs.example.toml in the source names and explains all of them
    #[arg(long, short, value_name = "FILE", required = false)]
    pub config: Option<PathBuf>,
}

/// A token before the rules of an authority, without the authority.
#[derive(Debug, Args)]
pub struct ExplainToken {
    /// The identity providers: the file that `issuers` of the settings names. The token's own is asked for its keys
    #[arg(long, value_name = "FILE")]
    pub issuers: PathBuf,
    /// File of the token; standard input unless named. It is not shown
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
}

/// Ceremonies.
#[derive(Debug, Subcommand)]
pub enum Ca {
    /// Make a root and an intermediate (P-384; the intermediate for code signing, path length 0), or a request for an intermediate
    Init(Init),
    /// Sign the intermediate of a request with a root's key, and write its chain
    SignIntermediate(SignIntermediate),
    /// Check that key and chain are ones that the service can use
    Check(Check),
}

/// What is made.
#[derive(Debug, Args)]
pub struct Init {
    /// Where everything is put: key.pem and chain.pem for the service, root.key.pem and root.pem to be kept elsewhere. Nothing is overwritten
    #[arg(long, default_value = ".")]
    pub folder: PathBuf,
    /// organizationName of both certificates
    #[arg(long)]
    pub organization: String,
    /// commonName of the root
    #[arg(long, default_value = "root")]
    pub root_name: String,
    /// commonName of the intermediate
    #[arg(long, default_value = "intermediate")]
    pub name: String,
    /// Years that the root is valid
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u8).range(1..=40))]
    pub root_years: u8,
    /// Years that the intermediate is valid
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u8).range(1..=40))]
    pub years: u8,
    /// A key that is there, instead of making root.key.pem: a file, pkcs11:... or hashivault://..., as in the settings
    #[arg(long, value_name = "KEY")]
    pub root_key: Option<String>,
    /// File of the password, PIN or token that opens it
    #[arg(long, value_name = "FILE", requires = "root_key")]
    pub root_key_secret_file: Option<PathBuf>,
    /// Put root.key.pem under the password in this file
    #[arg(long, value_name = "FILE", conflicts_with = "root_key")]
    pub root_password_file: Option<PathBuf>,
    /// A key that is there, instead of making key.pem
    #[arg(long, value_name = "KEY")]
    pub key: Option<String>,
    /// File of the password, PIN or token that opens it
    #[arg(long, value_name = "FILE", requires = "key")]
    pub key_secret_file: Option<PathBuf>,
    /// Put key.pem under the password in this file
    #[arg(long, value_name = "FILE", conflicts_with = "key")]
    pub password_file: Option<PathBuf>,
    /// No root: the intermediate's key, and intermediate.csr.pem for a root that is elsewhere
    #[arg(long, conflicts_with_all = ["root_name", "root_years", "root_key", "root_password_file", "years"])]
    pub csr_only: bool,
}

/// What is signed.
#[derive(Debug, Args)]
pub struct SignIntermediate {
    /// The request, PEM
    #[arg(long, value_name = "FILE")]
    pub csr: PathBuf,
    /// The root's certificate, PEM
    #[arg(long, value_name = "FILE")]
    pub root: PathBuf,
    /// The root's key: a file, pkcs11:... or hashivault://...
    #[arg(long, value_name = "KEY")]
    pub root_key: String,
    /// File of the password, PIN or token that opens it
    #[arg(long, value_name = "FILE")]
    pub root_key_secret_file: Option<PathBuf>,
    /// Years that the intermediate is valid
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u8).range(1..=40))]
    pub years: u8,
    /// File of the chain, which must not be there: the intermediate, then the root
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
}

/// What is checked.
#[derive(Debug, Args)]
pub struct Check {
    /// The chain, PEM, the issuing certificate first and the root last
    #[arg(long, value_name = "FILE")]
    pub chain: PathBuf,
    /// The issuing key: a file, pkcs11:... or hashivault://...; without it only the chain is checked
    #[arg(long, value_name = "KEY")]
    pub key: Option<String>,
    /// File of the password, PIN or token that opens it
    #[arg(long, value_name = "FILE", requires = "key")]
    pub key_secret_file: Option<PathBuf>,
}
