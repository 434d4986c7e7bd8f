//! The command line. Flags that cosign has are named as in cosign 3 and mean the same.

#![expect(
    clippy::struct_field_names,
    reason = "the fields are named as the flags are"
)]

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::BoolishValueParser;
use clap::{ArgAction, Args, CommandFactory as _, Parser, Subcommand, ValueEnum};
use jiff::Timestamp;
use keys::Algorithm;

/// Sign and verify container images and files without keeping a key.
#[derive(Debug, Parser)]
#[command(
    name = "cosign-rs",
    version,
    propagate_version = true,
    max_term_width = 100,
    after_help = "Every flag can be given as a variable: --certificate-identity is COSIGN_CERTIFICATE_IDENTITY."
)]
pub(crate) struct Arguments {
    /// Say on standard error which calls are made and how long they take
    #[arg(short = 'd', long, global = true)]
    pub(crate) verbose: bool,
    /// Give up after this time, as 90s or 3m0s
    #[arg(short, long, global = true, value_name = "DURATION", default_value = "3m", value_parser = duration)]
    pub(crate) timeout: Duration,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Sign container images in their registry
    Sign(Sign),
    /// Verify the signatures of container images
    Verify(Verify),
    /// Attach a signed statement about a container image
    Attest(Attest),
    /// Verify attached statements, and print them
    VerifyAttestation(VerifyAttestation),
    /// Sign a file
    SignBlob(SignBlob),
    /// Verify the signature of a file
    VerifyBlob(VerifyBlob),
    /// Sign a statement about a file
    AttestBlob(AttestBlob),
    /// Verify a signed statement about a file
    VerifyBlobAttestation(VerifyBlobAttestation),
    /// Make a pair of keys: the private one encrypted under a password
    GenerateKeyPair(GenerateKeyPair),
    /// Take over a private key that another program made
    ImportKeyPair(ImportKeyPair),
    /// Print the public half of a key
    PublicKey(PublicKey),
    /// Set up a trust domain: where its repository is, and the root that everything is verified from
    Initialize(Initialize),
    /// Look after the trust domains: whom we trust, since when, until when
    Trust(TrustCommands),
    /// Run a trust root of your own: a TUF repository, from its first ceremony on
    Root(crate::root::args::Root),
    /// Print the version
    Version {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Print a completion script for a shell
    Completion {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Write man pages into a folder
    Man {
        /// The folder
        folder: PathBuf,
    },
    /// The verifying half of the sigstore-conformance protocol
    #[command(hide = true)]
    VerifyBundle(VerifyBundle),
    /// The signing half of the sigstore-conformance protocol
    #[command(hide = true)]
    SignBundle(SignBundle),
    /// The client of the tuf-conformance protocol
    #[command(hide = true)]
    TufConformance(TufConformance),
}

impl Command {
    /// Whether JSON was asked for, and not only given by default: then a failure is told in JSON too.
    pub(crate) const fn wants_json(&self) -> bool {
        let output = match self {
            Self::Verify(verify) => verify.output,
            Self::VerifyAttestation(verify) => verify.output,
            Self::VerifyBlob(verify) => verify.output,
            Self::VerifyBlobAttestation(verify) => verify.output,
            _ => None,
        };
        matches!(output, Some(Output::Json))
    }
}

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
}

/// A key of one's own, instead of an identity.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Key")]
pub(crate) struct SigningKey {
    /// Private key to sign with instead of an identity: a file (PEM, as generate-key-pair writes it or not encrypted), env://NAME,
    /// pkcs11:..., or hashivault://NAME. The password of an encrypted one is $COSIGN_PASSWORD, or asked for
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
    /// Public key of the signer, instead of an identity: a file (PEM), env://NAME, pkcs11:..., or hashivault://NAME
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

/// How registries are called.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Registry")]
pub(crate) struct Registry {
    /// Call registries on other machines without TLS too (those on this machine always are)
    #[arg(long)]
    pub(crate) allow_http_registry: bool,
    /// Take any TLS certificate of a registry
    #[arg(long)]
    pub(crate) allow_insecure_registry: bool,
    /// Name for the registry, instead of Docker's configuration
    #[arg(long, value_name = "NAME", requires = "registry_password")]
    pub(crate) registry_username: Option<String>,
    /// Password for the registry
    #[arg(
        long,
        value_name = "PASSWORD",
        requires = "registry_username",
        hide_env_values = true
    )]
    pub(crate) registry_password: Option<String>,
    /// Bearer token for the registry
    #[arg(
        long,
        value_name = "TOKEN",
        conflicts_with = "registry_username",
        hide_env_values = true
    )]
    pub(crate) registry_token: Option<String>,
    /// Certificate authorities for registries besides the system's, PEM
    #[arg(long, value_name = "FILE")]
    pub(crate) registry_cacert: Option<PathBuf>,
    /// Repository that holds the signatures, instead of the image's own
    #[arg(
        long = "signature-repository",
        env = "COSIGN_REPOSITORY",
        value_name = "REPOSITORY"
    )]
    pub(crate) signature_repository: Option<String>,
}

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For programs: on standard output
    Json,
    /// For people: on standard error
    Text,
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

/// `generate-key-pair`.
#[derive(Debug, Args)]
pub(crate) struct GenerateKeyPair {
    /// Where to write: PREFIX.key and PREFIX.pub
    #[arg(long, value_name = "PREFIX", default_value = "cosign")]
    pub(crate) output_key_prefix: PathBuf,
    /// What the key signs with
    #[arg(long, value_name = "ALGORITHM", default_value = "ecdsa-sha2-256-nistp256", value_parser = key_algorithm)]
    pub(crate) signing_algorithm: Algorithm,
}

/// `import-key-pair`.
#[derive(Debug, Args)]
pub(crate) struct ImportKeyPair {
    /// The private key, PEM: PKCS#8, SEC1 or PKCS#1; an encrypted one takes the password in $COSIGN_IMPORT_PASSWORD
    #[arg(short, long, value_name = "FILE")]
    pub(crate) key: PathBuf,
    /// Where to write: PREFIX.key and PREFIX.pub
    #[arg(short, long, value_name = "PREFIX", default_value = "import-cosign")]
    pub(crate) output_key_prefix: PathBuf,
}

/// `public-key`.
#[derive(Debug, Args)]
pub(crate) struct PublicKey {
    /// The private key: a file, env://NAME, pkcs11:..., or hashivault://NAME
    #[arg(long, value_name = "KEY")]
    pub(crate) key: String,
    /// Where to write it instead of to standard output
    #[arg(long, value_name = "FILE")]
    pub(crate) outfile: Option<PathBuf>,
}

/// `verify-bundle`: sigstore-conformance `docs/cli_protocol.md`.
#[derive(Debug, Args)]
pub(crate) struct VerifyBundle {
    /// Use the staging instance
    #[arg(long)]
    pub(crate) staging: bool,
    /// The bundle
    #[arg(long)]
    pub(crate) bundle: PathBuf,
    /// The file, or sha256:HEX if there is no file of that name
    pub(crate) file: String,
    #[command(flatten)]
    pub(crate) expected: Expected,
    #[command(flatten)]
    pub(crate) trust: Trust,
}

/// `sign-bundle`: sigstore-conformance `docs/cli_protocol.md`.
#[derive(Debug, Args)]
pub(crate) struct SignBundle {
    /// Use the staging instance
    #[arg(long)]
    pub(crate) staging: bool,
    /// The file is an in-toto statement
    #[arg(long)]
    pub(crate) in_toto: bool,
    /// Where to write the bundle
    #[arg(long)]
    pub(crate) bundle: PathBuf,
    /// The file
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) identity: Identity,
    #[command(flatten)]
    pub(crate) trust: Trust,
    #[command(flatten)]
    pub(crate) services: Services,
}

/// `initialize`.
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

/// `trust`.
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
    /// What is cached of a trust domain, and until when it holds; exit code 1 if it does not
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

/// `tuf-conformance`: tuf-conformance `CLIENT-CLI.md`.
#[derive(Debug, Args)]
pub(crate) struct TufConformance {
    #[arg(long)]
    pub(crate) metadata_dir: PathBuf,
    #[arg(long)]
    pub(crate) metadata_url: Option<String>,
    #[arg(long)]
    pub(crate) target_name: Vec<String>,
    #[arg(long)]
    pub(crate) target_base_url: Option<String>,
    #[arg(long)]
    pub(crate) target_dir: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) command: TufConformanceCommand,
}

/// The three commands of the protocol.
#[derive(Debug, Subcommand)]
pub(crate) enum TufConformanceCommand {
    /// Begin from a root
    Init { trusted_root: PathBuf },
    /// Update
    Refresh,
    /// Update, and get targets
    Download,
}

fn domain_name(text: &str) -> Result<String, String> {
    let plain = text
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    if plain && !text.is_empty() && text.len() <= 64 {
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

fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("expected KEY=VALUE".into()),
    }
}

/// Those that a session signs with: a log takes the digest, and pure Ed25519 signs none.
fn key_algorithm(text: &str) -> Result<Algorithm, String> {
    let known = [
        Algorithm::EcdsaP256Sha256,
        Algorithm::EcdsaP384Sha384,
        Algorithm::EcdsaP521Sha512,
        Algorithm::RsaPkcs1Sha256_2048,
        Algorithm::RsaPkcs1Sha256_3072,
        Algorithm::RsaPkcs1Sha256_4096,
    ];
    known
        .into_iter()
        .find(|algorithm| algorithm.registry_name() == text)
        .ok_or_else(|| {
            let names = known.map(Algorithm::registry_name);
            format!("expected one of {}", names.join(", "))
        })
}

fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "expected a time such as 90s or 3m0s".to_owned();
    let parsed: jiff::SignedDuration = text.parse().map_err(|_| wrong())?;
    match Duration::try_from(parsed) {
        Ok(time) if !time.is_zero() => Ok(time),
        _ => Err(wrong()),
    }
}

/// The only format there is; scripts that say so are right.
fn only_true(text: &str) -> Result<bool, String> {
    match text {
        "true" => Ok(true),
        _ => Err("the format before bundles is not supported".to_owned()),
    }
}

/// Every flag has a variable, as in cosign: `--certificate-identity` is `COSIGN_CERTIFICATE_IDENTITY`.
pub(crate) fn with_environment(command: clap::Command) -> clap::Command {
    let command = command.mut_args(variable);
    let names: Vec<String> = command
        .get_subcommands()
        .map(|command| command.get_name().to_owned())
        .collect();
    names.iter().fold(command, |command, name| {
        command.mut_subcommand(name, with_environment)
    })
}

fn variable(argument: clap::Arg) -> clap::Arg {
    let Some(long) = argument.get_long() else {
        return argument;
    };
    if argument.get_env().is_some() || ["help", "version"].contains(&long) {
        return argument;
    }
    let name = format!("COSIGN_{}", long.replace('-', "_").to_ascii_uppercase());
    // What a script sets to nothing is not set.
    if std::env::var_os(&name).is_none_or(|value| value.is_empty()) {
        return argument;
    }
    // A variable cannot just be there, as a flag can: 1, t, true, yes and on mean that it is.
    let argument = if matches!(argument.get_action(), ArgAction::SetTrue) {
        argument.value_parser(BoolishValueParser::new())
    } else {
        argument
    };
    argument.env(name).hide_env(true)
}

/// The variables that are set and stand for a flag of one of the commands.
pub(crate) fn variables_in_use() -> Vec<String> {
    let command = with_environment(Arguments::command());
    let mut names = Vec::new();
    collect_variables(&command, &mut names);
    names.sort_unstable();
    names.dedup();
    names
}

fn collect_variables(command: &clap::Command, names: &mut Vec<String>) {
    let set = command
        .get_arguments()
        .filter_map(|argument| argument.get_env()?.to_str().map(str::to_owned))
        .filter(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()));
    names.extend(set);
    for command in command.get_subcommands() {
        collect_variables(command, names);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        with_environment(Arguments::command()).debug_assert();
    }

    #[test]
    fn durations_are_written_as_in_go() {
        assert_eq!(duration("3m0s"), Ok(Duration::from_mins(3)));
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        for wrong in ["", "3", "-3m", "0s", "soon"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
