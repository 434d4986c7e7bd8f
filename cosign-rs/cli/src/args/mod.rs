//! The command line. Flags that cosign has are named as in cosign 3 and mean the same.

#![expect(
    clippy::struct_field_names,
    reason = "the fields are named as the flags are"
)]

mod conformance;
mod create;
mod key;
mod kit;
mod looking;
mod platforms;
mod registry;
mod server;
mod signing;
mod storage;
mod tag_trust;
mod trust;
mod variables;
mod verifying;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};

pub(crate) use conformance::{SignBundle, TufConformance, TufConformanceCommand, VerifyBundle};
pub(crate) use create::{
    CreateSigningConfig, CreateTrustedRoot, OlderTrustedRoot, SigningConfigCommand,
    SigningConfigCommands, TrustedRootCommand, TrustedRootCommands,
};
pub(crate) use key::{GenerateKeyPair, ImportKeyPair, Pkcs11Command, Pkcs11Tool, PublicKey};
pub(crate) use kit::{KitCommand, KitCommands, KitCreate, KitVerify};
pub(crate) use looking::{
    BundleCommand, BundleCommands, BundleCreate, BundleUpgrade, Debug as DebugCommands,
    DebugCommand, Doctor, Env,
};
pub(crate) use platforms::Platforms;
pub(crate) use registry::Registry;
pub(crate) use server::VerifyServer;
pub(crate) use signing::{
    Attest, AttestBlob, AuthFlow, Batching, Formats, Identity, Sign, SignBlob, SigningKey,
    StatementVersion,
};
pub(crate) use storage::{
    Attach, AttachAttestation, AttachSbom, AttachSignature, AttachWhat, Clean, Cleaned, Copy,
    Download, DownloadAttestation, DownloadSbom, DownloadSignature, DownloadWhat, Load, Login,
    Only, Save, SbomFormat, SbomType, Tree, Triangulate, Triangulated,
};
pub(crate) use tag_trust::TagTrust;
pub(crate) use trust::{
    ExportFormat, Following, Initialize, Services, Trust, TrustCommand, TrustCommands, TrustRefresh,
};
pub(crate) use variables::{variables_in_use, with_environment_of};
pub(crate) use verifying::{
    Expected, Judging, Output, Verify, VerifyAttestation, VerifyBlob, VerifyBlobAttestation,
};

/// Sign and verify container images and files without keeping a key.
#[derive(Debug, Parser)]
#[command(
    name = "cosign-rs",
    version,
    propagate_version = true,
    max_term_width = 100,
    after_help = "Every flag can be given as a variable: --certificate-identity is COSIGN_CERTIFICATE_IDENTITY.",
    after_long_help = crate::failure::help()
)]
pub(crate) struct Arguments {
    /// Say on standard error which calls are made and how long they take
    #[arg(short = 'd', long, global = true)]
    pub(crate) verbose: bool,
    /// Give up after this time, as 90s or 3m0s; what is being signed by then still gets its bundle
    #[arg(short, long, global = true, value_name = "DURATION", default_value = "3m", value_parser = duration)]
    pub(crate) timeout: Duration,
    /// Write to this file, which is made or emptied, what would go to standard output
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) output_file: Option<PathBuf>,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The commands. The flags of one come to be when it is named: those of all of them take longer than verifying a file. Its introduction is then that
/// of its struct, and so both say the same.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum Command {
    /// Sign container images in their registry
    Sign(Sign),
    /// Verify the signatures of container images
    Verify(Verify),
    /// Answer on a Unix socket whether images and files are signed, a line each
    VerifyServer(VerifyServer),
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
    /// Copy an image with everything that is attached to it
    Copy(Copy),
    /// Save an image with everything that is attached to it into a folder
    Save(Save),
    /// Load an image with everything that is attached to it from a folder
    Load(Load),
    /// Show what is attached to an image
    Tree(Tree),
    /// Delete what is attached to an image
    Clean(Clean),
    /// Print where things of an image are kept
    Triangulate(Triangulate),
    /// Attach things that were made elsewhere
    Attach(Attach),
    /// Print what is attached to an image
    Download(Download),
    /// Log in to a registry, in Docker's configuration
    Login(Login),
    /// Make a pair of keys: the private one encrypted under a password
    GenerateKeyPair(GenerateKeyPair),
    /// Take over a private key that another program made
    ImportKeyPair(ImportKeyPair),
    /// Print the public half of a key
    PublicKey(PublicKey),
    /// Look for keys in PKCS#11 tokens
    Pkcs11Tool(Pkcs11Tool),
    /// Set up a trust domain: where its repository is, and the root that everything is verified from
    Initialize(Initialize),
    /// Look after the trust domains: whom we trust, since when, until when
    Trust(TrustCommands),
    /// Make a trusted root: whom verifiers believe
    TrustedRoot(TrustedRootCommands),
    /// Make a signing config: whom signers call
    SigningConfig(SigningConfigCommands),
    /// Run a trust root of your own: a TUF repository, from its first ceremony on
    Root(crate::root::args::Root),
    /// Make, show and renew bundles
    Bundle(BundleCommands),
    /// Look for what keeps signing and verifying from working, and say what to do about it; exit code 1 if there is something
    Doctor(Doctor),
    /// Print the variables that this program reads, and their values
    Env(Env),
    /// Look into what this program finds by itself
    Debug(DebugCommands),
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
    /// Pack what it takes to verify something into one file, and verify it years later without a network
    Kit(KitCommands),
    /// Print a JSON Schema
    Schema {
        /// Of what
        #[arg(value_enum)]
        of: Schema,
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

/// Documents that have a schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Schema {
    /// What is printed with --output json
    Result,
    /// What --policy takes
    Policy,
}

impl Command {
    /// Whether JSON was asked for, and not only given by default: then a failure is told in JSON too.
    pub(crate) const fn wants_json(&self) -> bool {
        let output = match self {
            Self::Verify(verify) => verify.output,
            Self::VerifyAttestation(verify) => verify.output,
            Self::VerifyBlob(verify) => verify.output,
            Self::VerifyBlobAttestation(verify) => verify.output,
            Self::Tree(tree) => tree.output,
            Self::Kit(KitCommands {
                command: KitCommand::Verify(verify),
            }) => verify.output,
            Self::Doctor(doctor) => doctor.output,
            Self::Bundle(commands) => match commands.command {
                BundleCommand::Inspect { output, .. } => output,
                _ => None,
            },
            _ => None,
        };
        matches!(output, Some(Output::Json))
    }
}

fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("expected KEY=VALUE".into()),
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "expected a time such as 90s or 3m0s".to_owned();
    let parsed: jiff::SignedDuration = text.parse().map_err(|_| wrong())?;
    match Duration::try_from(parsed) {
        Ok(time) if !time.is_zero() => Ok(time),
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        variables::with_environment(Arguments::command()).debug_assert();
    }

    #[test]
    fn a_command_is_introduced_as_it_is_listed() {
        let listed = Arguments::command();
        let mut built = listed.clone();
        built.build();
        let about = |command: &clap::Command| command.get_about().map(ToString::to_string);
        let mut seen = 0;
        for command in listed.get_subcommands().filter(|one| !one.is_hide_set()) {
            let same = built.find_subcommand(command.get_name()).unwrap();
            assert_eq!(about(same), about(command), "{}", command.get_name());
            seen += 1;
        }
        assert!(seen > 25, "{seen} commands");
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
