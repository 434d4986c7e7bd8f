//! The commands that sign, and with what.

use std::path::PathBuf;

use clap::{ArgAction, Args, ValueEnum};
use keys::Algorithm;

use super::key_value;
use super::platforms::Platforms;
use super::registry::Registry;
use super::trust::{Services, Trust};

/// A key of one's own, instead of an identity.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Key")]
pub(crate) struct SigningKey {
    /// Private key to sign with instead of an identity: a file (PEM, as generate-key-pair writes it or not encrypted), env://NAME,
    /// pkcs11:..., hashivault://NAME, k8s://NAMESPACE/NAME (a mounted Secret), or awskms://... and others by a plug-in. The password of an encrypted
    /// one is $COSIGN_PASSWORD, or asked for
    #[arg(long, value_name = "KEY", conflicts_with_all = ["identity_token", "oidc_issuer", "oidc_client_secret_file", "oidc_audience", "oidc_redirect_url", "oidc_provider", "fulcio_auth_flow"])]
    pub(crate) key: Option<String>,
    /// Certificate for --key, PEM or DER, of an authority of your own. It stands in bundle and log instead of the key, and who has that authority in the trusted
    /// root verifies by the name in it, with --insecure-ignore-sct where no CT log has seen it; cosign-rs verifies with the key too, cosign does not
    #[arg(long, alias = "cert", value_name = "FILE", requires = "key")]
    pub(crate) certificate: Option<PathBuf>,
    /// Certificates above --certificate, PEM, the lowest first and the root last: it must lead there now. What cosign before 3 reads has all of them, a bundle
    /// has none: verifiers need them in their trusted root
    #[arg(
        long,
        alias = "cert-chain",
        value_name = "FILE",
        requires = "certificate"
    )]
    pub(crate) certificate_chain: Option<PathBuf>,
    /// With =false (and --key): put the signature into no log. Nobody can see then that the key was used; verify such a signature with
    /// --insecure-ignore-tlog
    #[arg(long, default_value_t = true, action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub(crate) tlog_upload: bool,
    /// What to sign with, by its name in Sigstore's algorithm registry. Without it: ecdsa-sha2-256-nistp256, or with --key what the key signs with
    #[arg(long, value_name = "ALGORITHM", value_parser = signing_algorithm)]
    pub(crate) signing_algorithm: Option<Algorithm>,
}

/// Those with which a digest can be signed; a file is read as a stream.
pub(crate) fn signing_algorithm(text: &str) -> Result<Algorithm, String> {
    let known = || Algorithm::all().filter(|algorithm| algorithm.hash().is_some());
    known()
        .find(|algorithm| algorithm.registry_name() == text)
        .ok_or_else(|| {
            let names: Vec<&str> = known().map(Algorithm::registry_name).collect();
            format!("expected one of {}", names.join(", "))
        })
}

/// How many things are signed in one run.
#[derive(Debug, Clone, Args)]
pub(crate) struct Batching {
    /// Leave out what the same signer has signed already
    #[arg(long)]
    pub(crate) if_missing: bool,
    /// How many are signed at a time
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=100))]
    pub(crate) max_workers: u16,
}

/// How to get an identity token.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Identity")]
pub(crate) struct Identity {
    /// An identity token, or a file that holds one. Without it: what the surroundings have ($SIGSTORE_ID_TOKEN, GitHub Actions and others: see
    /// debug providers), or signing in
    #[arg(long, value_name = "TOKEN|FILE", hide_env_values = true)]
    pub(crate) identity_token: Option<String>,
    /// Identity provider to sign in at, instead of the signing config's
    #[arg(long, value_name = "URL")]
    pub(crate) oidc_issuer: Option<String>,
    /// Who we are at the provider, and the audience of the token
    #[arg(long, value_name = "ID", default_value = client::sign_in::CLIENT_ID)]
    pub(crate) oidc_client_id: String,
    /// File with the secret that the provider gave this client, if it gave one
    #[arg(long, value_name = "FILE")]
    pub(crate) oidc_client_secret_file: Option<PathBuf>,
    /// Whom the token is to be for, where the certificate authority wants another audience than the client id
    #[arg(long, value_name = "AUDIENCE")]
    pub(crate) oidc_audience: Option<String>,
    /// Where the provider sends the browser back to, if it knows one address only: http://localhost:PORT/PATH [default: a free port, /auth/callback]
    #[arg(long, value_name = "URL")]
    pub(crate) oidc_redirect_url: Option<url::Url>,
    /// Take the token of these surroundings and of no others: envvar, github-actions, filesystem, buildkite-agent, google, spiffe
    #[arg(long, value_name = "NAME", conflicts_with_all = ["identity_token", "oidc_disable_ambient_providers"])]
    pub(crate) oidc_provider: Option<String>,
    /// Do not look for a token in the surroundings
    #[arg(long)]
    pub(crate) oidc_disable_ambient_providers: bool,
    /// How to sign in [default: by what there is: a token of the surroundings, a browser, a code for another device]
    #[arg(long, value_enum)]
    pub(crate) fulcio_auth_flow: Option<AuthFlow>,
    /// Agree to put what stands in public logs there, without being asked
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
    /// With a browser anywhere, and a code to copy from it
    Oob,
    /// As the client itself, with --oidc-client-secret-file
    #[value(name = "client_credentials", alias = "client-credentials")]
    ClientCredentials,
    /// With --identity-token or the surroundings only
    Token,
}

/// Versions of in-toto statements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum StatementVersion {
    /// What cosign's attest writes
    #[value(name = "v0.1")]
    V01,
    /// The present one
    #[value(name = "v1")]
    V1,
}

/// In which format signatures are attached.
#[derive(Debug, Clone, Args)]
pub(crate) struct Formats {
    /// In which format to attach it: both are for the time in which some still verify with a cosign before version 3
    #[arg(long, value_enum, default_value_t = Format::Bundle, value_name = "FORMAT")]
    format: Format,
}

impl Formats {
    /// As a bundle, which refers to the image?
    pub(crate) const fn bundle(&self) -> bool {
        !matches!(self.format, Format::Legacy)
    }

    /// Under the old tag?
    pub(crate) const fn legacy(&self) -> bool {
        !matches!(self.format, Format::Bundle)
    }
}

/// Formats of signatures at images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// A bundle that refers to the image
    Bundle,
    /// What cosign before version 3 reads, under a tag that is made of the digest
    Legacy,
    /// Both, in one run
    Both,
}

/// Sign container images in their registry
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
    #[command(flatten)]
    pub(crate) batching: Batching,
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
    pub(crate) formats: Formats,
    /// The images are folders with OCI image layouts, and the signature goes into them
    #[arg(long)]
    pub(crate) local_image: bool,
    #[command(flatten)]
    pub(crate) platforms: Platforms,
    #[command(flatten)]
    pub(crate) registry: Registry,
}

/// Attach a signed statement about a container image
#[derive(Debug, Args)]
pub(crate) struct Attest {
    /// The images, best by digest
    #[arg(required = true, value_name = "IMAGE")]
    pub(crate) images: Vec<String>,
    /// File with the predicate, JSON (custom takes any text)
    #[arg(
        long,
        value_name = "FILE",
        required_unless_present = "statement",
        conflicts_with = "statement"
    )]
    pub(crate) predicate: Option<PathBuf>,
    /// File with a whole in-toto statement about the images, which is signed as it is
    #[arg(long, value_name = "FILE")]
    pub(crate) statement: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) batching: Batching,
    /// Version of the in-toto statement that is made
    #[arg(long, value_enum, default_value_t = StatementVersion::V1)]
    pub(crate) statement_version: StatementVersion,
    /// What kind of predicate: slsaprovenance, slsaprovenance02, slsaprovenance1, link, spdx, spdxjson, cyclonedx, vuln, openvex, custom, or a URI
    #[arg(long = "type", value_name = "TYPE", default_value = "custom")]
    pub(crate) predicate_type: String,
    /// Sign the images as well, by the same login and with the same certificate
    #[arg(long, conflicts_with_all = ["bundle", "no_upload"])]
    pub(crate) sign: bool,
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
    pub(crate) formats: Formats,
    /// The images are folders with OCI image layouts, and the signature goes into them
    #[arg(long)]
    pub(crate) local_image: bool,
    #[command(flatten)]
    pub(crate) platforms: Platforms,
    #[command(flatten)]
    pub(crate) registry: Registry,
}

/// Sign a file
#[derive(Debug, Args)]
pub(crate) struct SignBlob {
    /// The files; - for standard input
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Where to write the bundle, of one file; - for standard output. Without it each file's bundle is beside it
    #[arg(long, value_name = "FILE", conflicts_with_all = ["bundle_suffix", "bundle_folder"])]
    pub(crate) bundle: Option<PathBuf>,
    /// What a bundle's name has behind the file's
    #[arg(long, value_name = "SUFFIX", default_value = ".sigstore.json", value_parser = suffix)]
    pub(crate) bundle_suffix: String,
    /// Folder for the bundles, instead of those of the files
    #[arg(long, value_name = "FOLDER")]
    pub(crate) bundle_folder: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) batching: Batching,
    #[command(flatten)]
    pub(crate) key: SigningKey,
    #[command(flatten)]
    pub(crate) identity: Identity,
    #[command(flatten)]
    pub(crate) trust: Trust,
    #[command(flatten)]
    pub(crate) services: Services,
}

/// Sign a statement about a file
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
    /// Version of the in-toto statement that is made
    #[arg(long, value_enum, default_value_t = StatementVersion::V1)]
    pub(crate) statement_version: StatementVersion,
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

/// It goes into a file's name.
fn suffix(text: &str) -> Result<String, String> {
    if text.is_empty() || text.contains(['/', '\0']) {
        return Err("expected an ending such as .sigstore.json".to_owned());
    }
    Ok(text.to_owned())
}
