//! The commands that verify, and what they expect.

use std::path::PathBuf;

use clap::{ArgAction, Args, ValueEnum};
use pki::Field;

use super::key_value;
use super::platforms::Platforms;
use super::registry::Registry;
use super::tag_trust::TagTrust;
use super::trust::Trust;

/// Who must have signed. An identity (with its issuer) or a key: there is no "anybody".
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Who must have signed")]
pub(crate) struct Expected {
    /// Identity in the certificate: a mail address, or the URI of a workflow; may be repeated, and any of them is enough
    #[arg(
        long,
        alias = "cert-identity",
        value_name = "ID",
        action = ArgAction::Append,
        conflicts_with = "certificate_identity_regexp"
    )]
    pub(crate) certificate_identity: Vec<String>,
    /// The same as a regular expression, which the whole identity must match; may be repeated
    #[arg(long, alias = "cert-identity-regexp", value_name = "REGEX", action = ArgAction::Append)]
    pub(crate) certificate_identity_regexp: Vec<String>,
    /// Provider that vouched for the identity
    #[arg(
        long,
        alias = "cert-oidc-issuer",
        value_name = "URL",
        conflicts_with = "certificate_oidc_issuer_regexp"
    )]
    pub(crate) certificate_oidc_issuer: Option<String>,
    /// The same as a regular expression, which the whole URL must match
    #[arg(long, alias = "cert-oidc-issuer-regexp", value_name = "REGEX")]
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
    /// GitHub repository that was built, OWNER/NAME or its address: a workflow of it must have signed
    #[arg(long, value_name = "OWNER/NAME")]
    pub(crate) github_repo: Option<String>,
    /// With --github-repo: the workflow's file, or OWNER/NAME/PATH of a reusable one elsewhere
    #[arg(long, value_name = "FILE")]
    pub(crate) github_workflow: Option<String>,
    /// With --github-repo: git ref that was built, as refs/heads/main or refs/tags/v*
    #[arg(long, value_name = "REF")]
    pub(crate) github_ref: Option<String>,
    /// GitLab project that was built, GROUP/PROJECT or its address: a pipeline of it must have signed
    #[arg(long, value_name = "GROUP/PROJECT")]
    pub(crate) gitlab_project: Option<String>,
    /// Value of an extension of the certificate, by number or name, as 12=https://github.com/o/r or buildTrigger=push; may be repeated
    #[arg(long, value_name = "N=VALUE", value_parser = crate::expectation::oid, action = ArgAction::Append)]
    pub(crate) oid: Vec<(Field, String)>,
    /// Public key of the signer, instead of an identity: a file (PEM), env://NAME, pkcs11:..., hashivault://NAME, or
    /// awskms://... and others by a plug-in
    #[arg(
        long,
        value_name = "KEY",
        conflicts_with_all = ["certificate_identity", "certificate_identity_regexp", "certificate_oidc_issuer", "certificate_oidc_issuer_regexp", "github_repo", "gitlab_project"]
    )]
    pub(crate) key: Option<String>,
    /// With --key: take a signature that is in no log. Nobody can see then that the key was used
    #[arg(long)]
    pub(crate) insecure_ignore_tlog: bool,
    /// With an identity: take a certificate that no CT log has seen, as of an authority of your own. Nobody can see then which certificates it gives. Where
    /// it writes no provider into them, --certificate-oidc-issuer-regexp '^$' says that there is none
    #[arg(long)]
    pub(crate) insecure_ignore_sct: bool,
}

impl Expected {
    /// Whether any flag says who; a policy does otherwise.
    pub(crate) fn names_somebody(&self) -> bool {
        let given = |value: &Option<String>| value.as_ref().is_some_and(|value| !value.is_empty());
        let any = |values: &[String]| values.iter().any(|value| !value.is_empty());
        any(&self.certificate_identity)
            || any(&self.certificate_identity_regexp)
            || !self.oid.is_empty()
            || self.insecure_ignore_tlog
            || self.insecure_ignore_sct
            || [
                &self.certificate_oidc_issuer,
                &self.certificate_oidc_issuer_regexp,
                &self.certificate_github_workflow_trigger,
                &self.certificate_github_workflow_sha,
                &self.certificate_github_workflow_name,
                &self.certificate_github_workflow_repository,
                &self.certificate_github_workflow_ref,
                &self.github_repo,
                &self.github_workflow,
                &self.github_ref,
                &self.gitlab_project,
                &self.key,
            ]
            .into_iter()
            .any(given)
    }
}

/// What else must hold, and how much is told.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "What must hold")]
pub(crate) struct Judging {
    /// Policy that must be met (JSON, see `schema policy`); it names who must have signed unless flags do, and then both must agree. With
    /// verify-attestation also Rego modules (.rego), as in cosign; may be repeated for them
    #[arg(long, value_name = "FILE", action = ArgAction::Append)]
    pub(crate) policy: Vec<PathBuf>,
    /// Ask for a timestamp of a timestamp authority, where the time that a log promises would do
    #[arg(long)]
    pub(crate) use_signed_timestamps: bool,
    /// Tell each step of the verification of each candidate, with its values
    #[arg(long)]
    pub(crate) explain: bool,
    /// A signature is always compared with what it is about
    #[arg(long, hide = true, num_args = 0..=1, default_missing_value = "true", require_equals = true, value_parser = checked_claims)]
    pub(crate) check_claims: Option<bool>,
}

/// As in cosign, where it may be turned off.
fn checked_claims(text: &str) -> Result<bool, String> {
    match text {
        "true" | "1" | "t" => Ok(true),
        _ => Err("a signature is always compared with what it is about".into()),
    }
}

fn workers(text: &str) -> Result<u16, String> {
    match text.parse() {
        Ok(count @ 1..=64) => Ok(count),
        _ => Err("expected 1 to 64".into()),
    }
}

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For programs: on standard output
    Json,
    /// For people: on standard error
    Text,
}

/// Verify the signatures of container images
#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// The images
    #[arg(required_unless_present = "stdin", value_name = "IMAGE")]
    pub(crate) images: Vec<String>,
    /// Read what to verify from standard input, an image or {"file": ..., "bundle": ...} a line, and answer with a line of JSON each
    #[arg(long, conflicts_with = "images")]
    pub(crate) stdin: bool,
    /// What the signature must say, key=value; may be repeated
    #[arg(short, long = "annotations", value_name = "KEY=VALUE", value_parser = key_value, action = ArgAction::Append)]
    pub(crate) annotations: Vec<(String, String)>,
    /// How to print the result [default: json]
    #[arg(short, long, value_enum)]
    pub(crate) output: Option<Output>,
    /// How many images are verified at a time
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = workers)]
    pub(crate) max_workers: u16,
    #[command(flatten)]
    pub(crate) expected: Expected,
    #[command(flatten)]
    pub(crate) judging: Judging,
    #[command(flatten)]
    pub(crate) trust: Trust,
    /// The images are folders with OCI image layouts, as save writes them, or archives of docker save
    #[arg(long)]
    pub(crate) local_image: bool,
    #[command(flatten)]
    pub(crate) platforms: Platforms,
    #[command(flatten)]
    pub(crate) tag_trust: TagTrust,
    #[command(flatten)]
    pub(crate) registry: Registry,
}

/// Verify attached statements, and print them
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
    /// How many images are verified at a time
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = workers)]
    pub(crate) max_workers: u16,
    #[command(flatten)]
    pub(crate) expected: Expected,
    #[command(flatten)]
    pub(crate) judging: Judging,
    #[command(flatten)]
    pub(crate) trust: Trust,
    /// The images are folders with OCI image layouts, as save writes them, or archives of docker save
    #[arg(long)]
    pub(crate) local_image: bool,
    #[command(flatten)]
    pub(crate) platforms: Platforms,
    #[command(flatten)]
    pub(crate) tag_trust: TagTrust,
    #[command(flatten)]
    pub(crate) registry: Registry,
}

/// Verify the signature of a file
#[derive(Debug, Args)]
pub(crate) struct VerifyBlob {
    /// The file; - for standard input, or sha256:HEX where only the digest is at hand
    #[arg(value_name = "FILE|DIGEST")]
    pub(crate) file: String,
    /// The bundle; with --policy there may be several, each with its --bundle
    #[arg(long, value_name = "FILE", required = true, action = ArgAction::Append)]
    pub(crate) bundle: Vec<PathBuf>,
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

/// Verify a signed statement about a file
#[derive(Debug, Args)]
pub(crate) struct VerifyBlobAttestation {
    /// The file; - for standard input, or sha256:HEX where only the digest is at hand
    #[arg(value_name = "FILE|DIGEST", required_unless_present = "digest")]
    pub(crate) file: Option<String>,
    /// Digest of the file, hex, where the file is not at hand
    #[arg(
        long,
        value_name = "HEX",
        conflicts_with = "file",
        requires = "digest_alg"
    )]
    pub(crate) digest: Option<String>,
    /// Algorithm of --digest: sha256, sha384, sha512
    #[arg(long = "digestAlg", value_name = "NAME", requires = "digest")]
    pub(crate) digest_alg: Option<String>,
    /// The bundle; with --policy there may be several, each with its --bundle
    #[arg(long, value_name = "FILE", required = true, action = ArgAction::Append)]
    pub(crate) bundle: Vec<PathBuf>,
    /// What kind of predicate it must be, as in attest; without it any kind
    #[arg(long = "type", value_name = "TYPE")]
    pub(crate) predicate_type: Option<String>,
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
