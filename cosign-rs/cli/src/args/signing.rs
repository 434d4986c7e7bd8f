//! The commands that sign, and with what.

use std::path::PathBuf;

use clap::{ArgAction, Args, ValueEnum};

use super::key_value;
use super::registry::Registry;
use super::trust::{Services, Trust};

/// A key of one's own, instead of an identity.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Key")]
pub(crate) struct SigningKey {
    /// Private key to sign with instead of an identity: a file (PEM, as generate-key-pair writes it or not encrypted), env://NAME,
    /// pkcs11:..., hashivault://NAME, or awskms://... and others by a plug-in. The password of an encrypted one is $COSIGN_PASSWORD, or asked
    /// for
    #[arg(long, value_name = "KEY", conflicts_with_all = ["identity_token", "oidc_issuer"])]
    pub(crate) key: Option<String>,
    /// With =false (and --key): put the signature into no log. Nobody can see then that the key was used; verify such a signature with
    /// --insecure-ignore-tlog
    #[arg(long, default_value_t = true, action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub(crate) tlog_upload: bool,
}

/// How to get an identity token.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Identity")]
pub(crate) struct Identity {
    /// An identity token, or a file that holds one. Without it: $SIGSTORE_ID_TOKEN, GitHub Actions, or the browser
    #[arg(long, value_name = "TOKEN|FILE", hide_env_values = true)]
    pub(crate) identity_token: Option<String>,
    /// Identity provider to sign in at, instead of the signing config's
    #[arg(long, value_name = "URL")]
    pub(crate) oidc_issuer: Option<String>,
    /// Who we are at the provider, and the audience of the token
    #[arg(long, value_name = "ID", default_value = client::sign_in::CLIENT_ID)]
    pub(crate) oidc_client_id: String,
    /// Do not look for a token in the surroundings
    #[arg(long)]
    pub(crate) oidc_disable_ambient_providers: bool,
    /// How to sign in
    #[arg(long, value_enum, default_value_t = AuthFlow::Normal)]
    pub(crate) fulcio_auth_flow: AuthFlow,
    /// Do not ask for consent to put the identity into public logs
    #[arg(short, long)]
    pub(crate) yes: bool,
}

/// Ways to sign in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum AuthFlow {
    /// With a browser on this machine
    Normal,
    /// With a code to type on another device
    Device,
    /// With --identity-token or the surroundings only
    Token,
}

/// `sign`.
#[derive(Debug, Args)]
pub(crate) struct Sign {
    /// The images, best by digest: a tag may point elsewhere tomorrow
    #[arg(required = true, value_name = "IMAGE")]
    pub(crate) images: Vec<String>,
    /// Say something more in the signature, key=value; may be repeated
    #[arg(short, long = "annotations", value_name = "KEY=VALUE", value_parser = key_value, action = ArgAction::Append)]
    pub(crate) annotations: Vec<(String, String)>,
    /// Write the bundle to a file as well (one image only)
    #[arg(long, value_name = "FILE")]
    pub(crate) bundle: Option<PathBuf>,
    /// Attach the signature in the registry
    #[arg(long, default_value_t = true, action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub(crate) upload: bool,
    #[command(flatten)]
    pub(crate) key: SigningKey,
    #[command(flatten)]
    pub(crate) identity: Identity,
    #[command(flatten)]
    pub(crate) trust: Trust,
    #[command(flatten)]
    pub(crate) services: Services,
    #[command(flatten)]
    pub(crate) registry: Registry,
}

/// `attest`.
#[derive(Debug, Args)]
pub(crate) struct Attest {
    /// The images, best by digest
    #[arg(required = true, value_name = "IMAGE")]
    pub(crate) images: Vec<String>,
    /// File with the predicate, JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) predicate: PathBuf,
    /// What kind of predicate: slsaprovenance, slsaprovenance02, slsaprovenance1, link, spdx, spdxjson, cyclonedx, vuln, openvex, custom, or a URI
    #[arg(long = "type", value_name = "TYPE", default_value = "custom")]
    pub(crate) predicate_type: String,
    /// Do not attach it in the registry; goes with --bundle
    #[arg(long, requires = "bundle")]
    pub(crate) no_upload: bool,
    /// Write the bundle to a file as well (one image only)
    #[arg(long, value_name = "FILE")]
    pub(crate) bundle: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) key: SigningKey,
    #[command(flatten)]
    pub(crate) identity: Identity,
    #[command(flatten)]
    pub(crate) trust: Trust,
    #[command(flatten)]
    pub(crate) services: Services,
    #[command(flatten)]
    pub(crate) registry: Registry,
}

/// `sign-blob`.
#[derive(Debug, Args)]
pub(crate) struct SignBlob {
    /// The file; - for standard input
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Where to write the bundle; - for standard output
    #[arg(long, value_name = "FILE")]
    pub(crate) bundle: PathBuf,
    #[command(flatten)]
    pub(crate) key: SigningKey,
    #[command(flatten)]
    pub(crate) identity: Identity,
    #[command(flatten)]
    pub(crate) trust: Trust,
    #[command(flatten)]
    pub(crate) services: Services,
}

/// `attest-blob`.
#[derive(Debug, Args)]
pub(crate) struct AttestBlob {
    /// The file
    #[arg(value_name = "FILE", required_unless_present_any = ["statement", "hash"], conflicts_with_all = ["statement", "hash"])]
    pub(crate) file: Option<PathBuf>,
    /// SHA-256 of the file in hex, instead of the file
    #[arg(long, value_name = "HEX", conflicts_with = "statement")]
    pub(crate) hash: Option<String>,
    /// File with the predicate, JSON
    #[arg(
        long,
        value_name = "FILE",
        required_unless_present = "statement",
        conflicts_with = "statement"
    )]
    pub(crate) predicate: Option<PathBuf>,
    /// File with a whole in-toto statement, which is signed as it is
    #[arg(long, value_name = "FILE")]
    pub(crate) statement: Option<PathBuf>,
    /// What kind of predicate, as in attest
    #[arg(long = "type", value_name = "TYPE", default_value = "custom")]
    pub(crate) predicate_type: String,
    /// Where to write the bundle; - for standard output
    #[arg(long, value_name = "FILE")]
    pub(crate) bundle: PathBuf,
    #[command(flatten)]
    pub(crate) key: SigningKey,
    #[command(flatten)]
    pub(crate) identity: Identity,
    #[command(flatten)]
    pub(crate) trust: Trust,
    #[command(flatten)]
    pub(crate) services: Services,
}
