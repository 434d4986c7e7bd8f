//! The commands about where signatures are kept.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use oci::Platform;

use super::registry::Registry;
use super::verifying::Output;

/// Copy an image with everything that is attached to it
#[derive(Debug, Args)]
pub(crate) struct Copy {
    /// The image to copy
    #[arg(value_name = "SOURCE")]
    pub(crate) source: String,
    /// Its new name
    #[arg(value_name = "DESTINATION")]
    pub(crate) destination: String,
    /// Only what is attached, and only these kinds, separated by commas
    #[arg(long, value_enum, value_delimiter = ',', value_name = "KINDS")]
    pub(crate) only: Vec<Only>,
    /// Only the image for this platform
    #[arg(long, value_name = "PLATFORM")]
    pub(crate) platform: Option<Platform>,
    /// Let the name stand for this image from now on, if it stands for another
    #[arg(short, long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) registry: Registry,
}

/// Kinds of attachments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Only {
    /// Signatures
    Sig,
    /// Attestations
    Att,
    /// Bills of materials
    Sbom,
}

/// Save an image with everything that is attached to it into a folder
#[derive(Debug, Args)]
pub(crate) struct Save {
    /// The image
    #[arg(value_name = "IMAGE")]
    pub(crate) image: String,
    /// Folder to make, an OCI image layout
    #[arg(long, value_name = "FOLDER")]
    pub(crate) dir: PathBuf,
    #[command(flatten)]
    pub(crate) registry: Registry,
}

/// Load an image with everything that is attached to it from a folder
#[derive(Debug, Args)]
pub(crate) struct Load {
    /// The image's name in the registry
    #[arg(value_name = "IMAGE")]
    pub(crate) image: String,
    /// Folder with the image, an OCI image layout
    #[arg(long, value_name = "FOLDER")]
    pub(crate) dir: PathBuf,
    /// Let the name stand for this image from now on, if it stands for another
    #[arg(short, long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) registry: Registry,
}

/// Show what is attached to an image
#[derive(Debug, Args)]
pub(crate) struct Tree {
    /// The image
    #[arg(value_name = "IMAGE")]
    pub(crate) image: String,
    /// How to print it [default: text]
    #[arg(short, long, value_enum)]
    pub(crate) output: Option<Output>,
    #[command(flatten)]
    pub(crate) registry: Registry,
}

/// Delete what is attached to an image
#[derive(Debug, Args)]
pub(crate) struct Clean {
    /// The image
    #[arg(value_name = "IMAGE")]
    pub(crate) image: String,
    /// What to delete
    #[arg(long = "type", value_enum, default_value_t = Cleaned::All)]
    pub(crate) kind: Cleaned,
    /// Do not ask
    #[arg(short, long, alias = "yes")]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) registry: Registry,
}

/// What is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Cleaned {
    /// Signatures, attestations and bills of materials, wherever they are
    All,
    /// Signatures
    Signature,
    /// Attestations
    Attestation,
    /// Bills of materials under the old tag
    Sbom,
    /// Bundles that refer to the image
    Referrer,
}

/// Print where things of an image are kept
#[derive(Debug, Args)]
pub(crate) struct Triangulate {
    /// The image
    #[arg(value_name = "IMAGE")]
    pub(crate) image: String,
    /// What is looked for
    #[arg(long = "type", value_enum, default_value_t = Triangulated::Signature)]
    pub(crate) kind: Triangulated,
    #[command(flatten)]
    pub(crate) registry: Registry,
}

/// What stands under a tag that is made of a digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Triangulated {
    /// Simple signatures of before cosign 3
    Signature,
    /// Envelopes of before cosign 3
    Attestation,
    /// A bill of materials
    Sbom,
    /// The image itself, by its digest
    Digest,
    /// What refers to the image, on registries that keep no list themselves
    Referrers,
}

/// Attach things that were made elsewhere
#[derive(Debug, Args)]
pub(crate) struct Attach {
    /// What to attach
    #[command(subcommand)]
    pub(crate) what: AttachWhat,
}

/// What can be attached. Nothing is verified: whoever relies on it does that.
#[derive(Debug, Subcommand)]
pub(crate) enum AttachWhat {
    /// A signature that was made elsewhere
    Signature(AttachSignature),
    /// A signed statement that was made elsewhere
    Attestation(AttachAttestation),
    /// A bill of materials, unsigned
    Sbom(AttachSbom),
}

/// `attach signature`.
#[derive(Debug, Args)]
pub(crate) struct AttachSignature {
    /// The image
    #[arg(value_name = "IMAGE")]
    pub(crate) image: String,
    /// A bundle, instead of the pieces below
    #[arg(long, value_name = "FILE", conflicts_with_all = ["signature", "payload", "certificate", "certificate_chain", "rekor_response", "tsr"])]
    pub(crate) bundle: Option<PathBuf>,
    /// File with the signature, base64; - for standard input
    #[arg(long, value_name = "FILE", required_unless_present = "bundle")]
    pub(crate) signature: Option<PathBuf>,
    /// File with what was signed; without it the plain payload about this image
    #[arg(long, value_name = "FILE")]
    pub(crate) payload: Option<PathBuf>,
    /// File with the signer's certificate, PEM
    #[arg(long, alias = "cert", value_name = "FILE")]
    pub(crate) certificate: Option<PathBuf>,
    /// File with the certificates above it, PEM
    #[arg(long, alias = "cert-chain", value_name = "FILE")]
    pub(crate) certificate_chain: Option<PathBuf>,
    /// File with the log's promise, as cosign writes it: {"SignedEntryTimestamp", "Payload"}
    #[arg(long, value_name = "FILE")]
    pub(crate) rekor_response: Option<PathBuf>,
    /// File with an RFC 3161 response, DER
    #[arg(long, value_name = "FILE")]
    pub(crate) tsr: Option<PathBuf>,
    /// Attach it also if it is about another image, or does not say which
    #[arg(short, long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) registry: Registry,
}

/// `attach attestation`.
#[derive(Debug, Args)]
pub(crate) struct AttachAttestation {
    /// The image
    #[arg(value_name = "IMAGE")]
    pub(crate) image: String,
    /// File with a bundle, which becomes a referrer, or with an envelope, which goes under the old tag; may be repeated
    #[arg(long, value_name = "FILE", required = true)]
    pub(crate) attestation: Vec<PathBuf>,
    /// Attach it also if it is about another image, or does not say which
    #[arg(short, long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) registry: Registry,
}

/// `attach sbom`.
#[derive(Debug, Args)]
pub(crate) struct AttachSbom {
    /// The image
    #[arg(value_name = "IMAGE")]
    pub(crate) image: String,
    /// The file; - for standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) sbom: PathBuf,
    /// What it is
    #[arg(long = "type", value_enum, default_value_t = SbomType::Spdx)]
    pub(crate) kind: SbomType,
    /// How it is written [default: json for CycloneDX and Syft, text for SPDX]
    #[arg(long, value_enum)]
    pub(crate) input_format: Option<SbomFormat>,
    #[command(flatten)]
    pub(crate) registry: Registry,
}

/// Kinds of bills of materials.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SbomType {
    /// SPDX
    Spdx,
    /// CycloneDX
    Cyclonedx,
    /// Syft
    Syft,
}

/// How they are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SbomFormat {
    /// JSON
    Json,
    /// XML
    Xml,
    /// Tag and value
    Text,
}

/// Print what is attached to an image
#[derive(Debug, Args)]
pub(crate) struct Download {
    /// What to download
    #[command(subcommand)]
    pub(crate) what: DownloadWhat,
}

/// What can be downloaded. Nothing is verified.
#[derive(Debug, Subcommand)]
pub(crate) enum DownloadWhat {
    /// Signatures, each on a line: bundles, and those of before cosign 3 in its own form
    Signature(DownloadSignature),
    /// Attestations, each on a line: the envelopes
    Attestation(DownloadAttestation),
    /// The bill of materials under the old tag
    Sbom(DownloadSbom),
}

/// `download signature`.
#[derive(Debug, Args)]
pub(crate) struct DownloadSignature {
    /// The image
    #[arg(value_name = "IMAGE")]
    pub(crate) image: String,
    #[command(flatten)]
    pub(crate) registry: Registry,
}

/// `download attestation`.
#[derive(Debug, Args)]
pub(crate) struct DownloadAttestation {
    /// The image
    #[arg(value_name = "IMAGE")]
    pub(crate) image: String,
    /// Only those of this type, as in attest
    #[arg(long, value_name = "TYPE")]
    pub(crate) predicate_type: Option<String>,
    /// Of the image for this platform
    #[arg(long, value_name = "PLATFORM")]
    pub(crate) platform: Option<Platform>,
    #[command(flatten)]
    pub(crate) registry: Registry,
}

/// `download sbom`.
#[derive(Debug, Args)]
pub(crate) struct DownloadSbom {
    /// The image
    #[arg(value_name = "IMAGE")]
    pub(crate) image: String,
    /// Of the image for this platform
    #[arg(long, value_name = "PLATFORM")]
    pub(crate) platform: Option<Platform>,
    #[command(flatten)]
    pub(crate) registry: Registry,
}

/// Log in to a registry, in Docker's configuration
#[derive(Debug, Args)]
pub(crate) struct Login {
    /// The registry; Docker Hub without it
    #[arg(value_name = "SERVER", default_value = "index.docker.io")]
    pub(crate) server: String,
    /// Name
    #[arg(short, long, value_name = "NAME")]
    pub(crate) username: Option<String>,
    /// Password; whoever may list processes sees it, so rather --password-stdin
    #[arg(short, long, value_name = "PASSWORD", hide_env_values = true)]
    pub(crate) password: Option<String>,
    /// Read the password from standard input
    #[arg(long, conflicts_with_all = ["password", "registry_password"])]
    pub(crate) password_stdin: bool,
    /// Keep the password without asking the registry whether it lets us in
    #[arg(long)]
    pub(crate) unchecked: bool,
    #[command(flatten)]
    pub(crate) registry: Registry,
}
