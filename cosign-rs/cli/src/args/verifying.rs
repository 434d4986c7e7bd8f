//! The commands that verify, and what they expect.

use std::path::PathBuf;

use clap::{ArgAction, Args, ValueEnum};

use super::key_value;
use super::registry::Registry;
use super::tag_trust::TagTrust;
use super::trust::Trust;

/// Who must have signed. An identity (with its issuer) or a key: there is no "anybody".
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Who must have signed")]
pub(crate) struct Expected {
    /// Identity in the certificate: a mail address, or the URI of a workflow
    #[arg(
        long,
        alias = "cert-identity",
        value_name = "ID",
        conflicts_with = "certificate_identity_regexp"
    )]
    pub(crate) certificate_identity: Option<String>,
    /// The same as a regular expression, which the whole identity must match
    #[arg(long, value_name = "REGEX")]
    pub(crate) certificate_identity_regexp: Option<String>,
    /// Provider that vouched for the identity
    #[arg(
        long,
        alias = "cert-oidc-issuer",
        value_name = "URL",
        conflicts_with = "certificate_oidc_issuer_regexp"
    )]
    pub(crate) certificate_oidc_issuer: Option<String>,
    /// The same as a regular expression, which the whole URL must match
    #[arg(long, value_name = "REGEX")]
    pub(crate) certificate_oidc_issuer_regexp: Option<String>,
    /// Event that started the GitHub workflow
    #[arg(long, value_name = "EVENT")]
    pub(crate) certificate_github_workflow_trigger: Option<String>,
    /// Commit of the GitHub workflow
    #[arg(long, value_name = "SHA")]
    pub(crate) certificate_github_workflow_sha: Option<String>,
    /// Name of the GitHub workflow
    #[arg(long, value_name = "NAME")]
    pub(crate) certificate_github_workflow_name: Option<String>,
    /// Repository of the GitHub workflow, OWNER/NAME
    #[arg(long, value_name = "REPOSITORY")]
    pub(crate) certificate_github_workflow_repository: Option<String>,
    /// Git ref of the GitHub workflow
    #[arg(long, value_name = "REF")]
    pub(crate) certificate_github_workflow_ref: Option<String>,
    /// Public key of the signer, instead of an identity: a file (PEM), env://NAME, pkcs11:..., hashivault://NAME, or
    /// awskms://... and others by a plug-in
    #[arg(
        long,
        value_name = "KEY",
        conflicts_with_all = ["certificate_identity", "certificate_identity_regexp", "certificate_oidc_issuer", "certificate_oidc_issuer_regexp"]
    )]
    pub(crate) key: Option<String>,
    /// With --key: take a signature that is in no log. Nobody can see then that the key was used
    #[arg(long)]
    pub(crate) insecure_ignore_tlog: bool,
}

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For programs: on standard output
    Json,
    /// For people: on standard error
    Text,
}

/// `verify`.
#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// The images
    #[arg(required = true, value_name = "IMAGE")]
    pub(crate) images: Vec<String>,
    /// What the signature must say, key=value; may be repeated
    #[arg(short, long = "annotations", value_name = "KEY=VALUE", value_parser = key_value, action = ArgAction::Append)]
    pub(crate) annotations: Vec<(String, String)>,
    /// How to print the result [default: json]
    #[arg(short, long, value_enum)]
    pub(crate) output: Option<Output>,
    #[command(flatten)]
    pub(crate) expected: Expected,
    #[command(flatten)]
    pub(crate) trust: Trust,
    #[command(flatten)]
    pub(crate) tag_trust: TagTrust,
    #[command(flatten)]
    pub(crate) registry: Registry,
}

/// `verify-attestation`.
#[derive(Debug, Args)]
pub(crate) struct VerifyAttestation {
    /// The images
    #[arg(required = true, value_name = "IMAGE")]
    pub(crate) images: Vec<String>,
    /// What kind of predicate must be there, as in attest
    #[arg(long = "type", value_name = "TYPE", default_value = "custom")]
    pub(crate) predicate_type: String,
    /// How to print the result: the envelopes, one on a line, or a report for people [default: json]
    #[arg(short, long, value_enum)]
    pub(crate) output: Option<Output>,
    #[command(flatten)]
    pub(crate) expected: Expected,
    #[command(flatten)]
    pub(crate) trust: Trust,
    #[command(flatten)]
    pub(crate) registry: Registry,
}

/// `verify-blob`.
#[derive(Debug, Args)]
pub(crate) struct VerifyBlob {
    /// The file; - for standard input, or sha256:HEX where only the digest is at hand
    #[arg(value_name = "FILE|DIGEST")]
    pub(crate) file: String,
    /// The bundle
    #[arg(long, value_name = "FILE")]
    pub(crate) bundle: PathBuf,
    /// How to print the result [default: text]
    #[arg(short, long, value_enum)]
    pub(crate) output: Option<Output>,
    #[command(flatten)]
    pub(crate) expected: Expected,
    #[command(flatten)]
    pub(crate) trust: Trust,
}

/// `verify-blob-attestation`.
#[derive(Debug, Args)]
pub(crate) struct VerifyBlobAttestation {
    /// The file; - for standard input, or sha256:HEX where only the digest is at hand
    #[arg(value_name = "FILE|DIGEST")]
    pub(crate) file: String,
    /// The bundle
    #[arg(long, value_name = "FILE")]
    pub(crate) bundle: PathBuf,
    /// What kind of predicate it must be, as in attest; without it any kind
    #[arg(long = "type", value_name = "TYPE")]
    pub(crate) predicate_type: Option<String>,
    /// How to print the result [default: text]
    #[arg(short, long, value_enum)]
    pub(crate) output: Option<Output>,
    #[command(flatten)]
    pub(crate) expected: Expected,
    #[command(flatten)]
    pub(crate) trust: Trust,
}
