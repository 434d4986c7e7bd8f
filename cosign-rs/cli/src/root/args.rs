//! `cosign-rs root ...`: the command line of those who run a trust root.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use jiff::Timestamp;
use url::Url;

/// Run a trust root of your own: a TUF repository, from its first ceremony on
#[derive(Debug, Args)]
pub(crate) struct Root {
    /// The state folder: policy, public keys, what waits for signatures, what is published
    #[arg(long, global = true, value_name = "FOLDER", default_value = "trust")]
    pub(crate) state: PathBuf,
    /// What to do.
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Begin a repository: who signs, and which services there are
    Init(Init),
    /// Propose a change of targets, or a renewal
    Propose(Propose),
    /// Show what a signing request is about, and what would break
    Show(Show),
    /// Sign a signing request: one signer, one file, no network
    Sign(Sign),
    /// Take over the signatures of requests that came back
    Merge(Merge),
    /// Take a proposal back
    Discard {
        /// Its role
        role: String,
    },
    /// Who is missing, what ends when, what clients see. Exit code 0: nothing to do, 3: something is due or waits, 4: clients fail
    Status(Status),
    /// Put what has its signatures into force
    Publish,
    /// Sign snapshot and timestamp again where it is time, with the online key alone
    Refresh {
        /// A new timestamp in any case
        #[arg(long)]
        force: bool,
    },
    /// Serve the repository, and refresh it as it becomes due
    Serve {
        /// Where to listen
        #[arg(long, value_name = "HOST:PORT", default_value = "localhost:7800")]
        listen: String,
    },
    /// Change who signs: root, targets, online, or a delegated role
    Rotate(Rotate),
    /// Bring a new Rekor log: trusted at once, signed with when every client knows it
    AddShard(AddShard),
    /// Bring a new certificate or timestamp authority, or a new chain of one
    AddCa(AddCa),
    /// Trust one more log: a CT log, or a Rekor v1 log
    AddLog(AddLog),
    /// Say until when a log or an authority signed; it stays listed
    Retire(Retire),
    /// Let a team answer for targets of its own, such as the tags of its images
    Delegate(Delegate),
    /// Say to which digest a tag points, in a delegated role
    Tag(Tag),
    /// Take over a repository of another tool
    Import(Import),
    /// Write the repository, or the trust config, as one file
    Export(Export),
}

/// `init`.
#[derive(Debug, Args)]
pub(crate) struct Init {
    /// One key is enough, and is made here; for trying it out
    #[arg(long)]
    pub(crate) development: bool,
    /// A signer of root and targets: name and public key (PEM); may be repeated
    #[arg(long = "signer", value_name = "NAME=FILE", value_parser = named_file)]
    pub(crate) signers: Vec<(String, PathBuf)>,
    /// How many of them have to sign
    #[arg(long, value_name = "NUMBER")]
    pub(crate) threshold: Option<usize>,
    /// The key of snapshot and timestamp: a file, env://, pkcs11: or hashivault://
    #[arg(long, value_name = "KEY")]
    pub(crate) online: Option<String>,
    /// File with the password or PIN of that key
    #[arg(long, value_name = "FILE", requires = "online")]
    pub(crate) online_secret_file: Option<String>,
    /// Who runs the services
    #[arg(long, value_name = "NAME", default_value = "example.com")]
    pub(crate) operator: String,
    #[command(flatten)]
    pub(crate) services: Services,
    /// What the services signed since then is believed [default: now]
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<Timestamp>,
    /// Another target: name and file; may be repeated
    #[arg(long = "target", value_name = "NAME=FILE", value_parser = named_file)]
    pub(crate) targets: Vec<(String, PathBuf)>,
}

/// Services that run; what they are is asked from them.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Services")]
pub(crate) struct Services {
    /// Fulcio
    #[arg(long, value_name = "URL")]
    pub(crate) fulcio: Vec<Url>,
    /// CT log; with =FILE its public key, if it does not tell it
    #[arg(long, value_name = "URL[=FILE]", value_parser = log)]
    pub(crate) ctlog: Vec<Log>,
    /// Rekor, version 2
    #[arg(long, value_name = "URL[=FILE]", value_parser = log)]
    pub(crate) rekor: Vec<Log>,
    /// Rekor, version 1
    #[arg(long, value_name = "URL[=FILE]", value_parser = log)]
    pub(crate) rekor_v1: Vec<Log>,
    /// Timestamp authority
    #[arg(long, value_name = "URL")]
    pub(crate) tsa: Vec<Url>,
    /// Identity provider
    #[arg(long, value_name = "URL")]
    pub(crate) oidc: Vec<Url>,
}

/// A log, and its key where it does not tell it.
#[derive(Debug, Clone)]
pub(crate) struct Log {
    pub(crate) url: Url,
    pub(crate) key: Option<PathBuf>,
}

/// `propose`.
#[derive(Debug, Args)]
pub(crate) struct Propose {
    /// A target that is new or changes: name and file; may be repeated
    #[arg(long = "target", value_name = "NAME=FILE", value_parser = named_file)]
    pub(crate) targets: Vec<(String, PathBuf)>,
    /// A target that is no more; may be repeated
    #[arg(long, value_name = "NAME")]
    pub(crate) remove_target: Vec<String>,
    /// The trusted root, made elsewhere
    #[arg(long, value_name = "FILE")]
    pub(crate) trusted_root: Option<PathBuf>,
    /// The signing config, made elsewhere
    #[arg(long, value_name = "FILE")]
    pub(crate) signing_config: Option<PathBuf>,
    /// The next version of a role as it is, with a new end; may be repeated
    #[arg(long, value_name = "ROLE")]
    pub(crate) renew: Vec<String>,
    /// Jump to this version of targets, past one that a thief signed
    #[arg(long, value_name = "NUMBER")]
    pub(crate) targets_version: Option<u64>,
}

/// `show`.
#[derive(Debug, Args)]
pub(crate) struct Show {
    /// The request
    pub(crate) file: PathBuf,
}

/// `sign`.
#[derive(Debug, Args)]
pub(crate) struct Sign {
    /// The requests
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// The private key: a file, env://, pkcs11: or hashivault://
    #[arg(long, value_name = "KEY")]
    pub(crate) key: String,
    /// File with its password or PIN
    #[arg(long, value_name = "FILE")]
    pub(crate) key_secret_file: Option<PathBuf>,
    /// Where to write the signed request (of one file) [default: the file itself]
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Refuse unless the root in force has this SHA-256
    #[arg(long, value_name = "HEX")]
    pub(crate) root_checksum: Option<String>,
    /// Sign without asking
    #[arg(short, long)]
    pub(crate) yes: bool,
}

/// `merge`.
#[derive(Debug, Args)]
pub(crate) struct Merge {
    /// The requests, in any order
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
}

/// `status`.
#[derive(Debug, Args)]
pub(crate) struct Status {
    /// How to print it
    #[arg(short, long, value_enum, default_value_t = StatusOutput::Text)]
    pub(crate) output: StatusOutput,
}

/// Forms of `status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum StatusOutput {
    /// For people
    Text,
    /// For programs
    Json,
    /// For Prometheus
    Prometheus,
}

/// `rotate`.
#[derive(Debug, Args)]
pub(crate) struct Rotate {
    /// Whose signers: root, targets, online, or a delegated role; several with commas, as root,targets
    #[arg(value_delimiter = ',', required = true, value_name = "ROLE")]
    pub(crate) roles: Vec<String>,
    /// One who may sign from now on: name and public key (PEM); may be repeated
    #[arg(long, value_name = "NAME=FILE", value_parser = named_file)]
    pub(crate) add: Vec<(String, PathBuf)>,
    /// One who may not any more: the name in keys/, or a key id; may be repeated
    #[arg(long, value_name = "NAME|ID")]
    pub(crate) remove: Vec<String>,
    /// How many have to sign
    #[arg(long, value_name = "NUMBER")]
    pub(crate) threshold: Option<usize>,
    /// For online: the new key, a file, env://, pkcs11: or hashivault://
    #[arg(long, value_name = "KEY")]
    pub(crate) key: Option<String>,
    /// File with the password or PIN of that key
    #[arg(long, value_name = "FILE", requires = "key")]
    pub(crate) key_secret_file: Option<String>,
}

/// `add-shard`.
#[derive(Debug, Args)]
pub(crate) struct AddShard {
    /// The log; with =FILE its public key, if it does not tell it
    #[arg(value_name = "URL[=FILE]", value_parser = log)]
    pub(crate) log: Log,
    /// When clients begin to sign with it [default: the first moment at which all know it]
    #[arg(long, value_name = "TIME")]
    pub(crate) start: Option<Timestamp>,
    /// What it signed since then is believed [default: now]
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<Timestamp>,
    /// Who runs it [default: the policy's operator]
    #[arg(long, value_name = "NAME")]
    pub(crate) operator: Option<String>,
}

/// `add-ca`.
#[derive(Debug, Args)]
pub(crate) struct AddCa {
    /// Where it is
    pub(crate) url: Url,
    /// It is a timestamp authority
    #[arg(long)]
    pub(crate) tsa: bool,
    /// Its chain, lowest certificate first (PEM), instead of asking it
    #[arg(long, value_name = "FILE")]
    pub(crate) chain: Option<PathBuf>,
    /// When clients begin to sign with it, if its URL is new [default: the first moment at which all know it]
    #[arg(long, value_name = "TIME")]
    pub(crate) start: Option<Timestamp>,
    /// What it signed since then is believed [default: now]
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<Timestamp>,
    /// Who runs it [default: the policy's operator]
    #[arg(long, value_name = "NAME")]
    pub(crate) operator: Option<String>,
}

/// `add-log`.
#[derive(Debug, Args)]
pub(crate) struct AddLog {
    /// Which kind of log
    #[arg(value_enum)]
    pub(crate) kind: TrustedLog,
    /// The log; with =FILE its public key, if it does not tell it
    #[arg(value_name = "URL[=FILE]", value_parser = log)]
    pub(crate) log: Log,
    /// What it signed since then is believed [default: now]
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<Timestamp>,
}

/// Logs that are trusted and not signed with by clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum TrustedLog {
    /// A CT log, which the certificate authority writes to
    Ctlog,
    /// A Rekor v1 log
    RekorV1,
    /// A Rekor v2 log that others sign with
    Rekor,
}

/// `retire`.
#[derive(Debug, Args)]
pub(crate) struct Retire {
    /// What it is
    #[arg(value_enum)]
    pub(crate) part: RetiredPart,
    /// Where it was
    pub(crate) url: String,
    /// The last moment at which it signed [default: now]
    #[arg(long, value_name = "TIME")]
    pub(crate) end: Option<Timestamp>,
}

/// Parts of a trusted root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum RetiredPart {
    /// A Rekor log
    Rekor,
    /// A CT log
    Ctlog,
    /// A certificate authority
    Fulcio,
    /// A timestamp authority
    Tsa,
}

/// `delegate`.
#[derive(Debug, Args)]
pub(crate) struct Delegate {
    /// Name of the role
    pub(crate) role: String,
    /// Targets that it answers for, as registry.example.com/team/*; may be repeated
    #[arg(
        long = "path",
        required_unless_present = "remove",
        value_name = "PATTERN"
    )]
    pub(crate) paths: Vec<String>,
    /// Who signs: name and public key (PEM); may be repeated
    #[arg(long = "signer", required_unless_present = "remove", value_name = "NAME=FILE", value_parser = named_file)]
    pub(crate) signers: Vec<(String, PathBuf)>,
    /// How many of them have to sign
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub(crate) threshold: usize,
    /// Nobody else answers for these targets
    #[arg(long)]
    pub(crate) terminating: bool,
    /// Delegate to it no more: what it said does not count from then on
    #[arg(long, conflicts_with_all = ["paths", "signers", "threshold", "terminating"])]
    pub(crate) remove: bool,
}

/// `tag`.
#[derive(Debug, Args)]
pub(crate) struct Tag {
    /// The delegated role
    pub(crate) role: String,
    /// The image with its tag, as registry.example.com/team/app:v1
    pub(crate) image: String,
    /// Digest of its manifest, sha256:HEX; without it the tag is taken away
    pub(crate) digest: Option<String>,
    /// Length of the manifest in bytes; without it the registry is asked
    #[arg(long, value_name = "BYTES", requires = "digest")]
    pub(crate) size: Option<u64>,
}

/// `import`.
#[derive(Debug, Args)]
pub(crate) struct Import {
    /// The folder with its metadata and targets
    pub(crate) folder: PathBuf,
    /// Who runs the services
    #[arg(long, value_name = "NAME", default_value = "example.com")]
    pub(crate) operator: String,
    /// The key of snapshot and timestamp: a file, env://, pkcs11: or hashivault://
    #[arg(long, value_name = "KEY")]
    pub(crate) online: Option<String>,
    /// File with the password or PIN of that key
    #[arg(long, value_name = "FILE", requires = "online")]
    pub(crate) online_secret_file: Option<String>,
    /// Offline roles may have fewer than 2 of 3 signers
    #[arg(long)]
    pub(crate) development: bool,
}

/// `export`.
#[derive(Debug, Args)]
pub(crate) struct Export {
    /// What
    #[arg(value_enum)]
    pub(crate) form: ExportForm,
    /// Where to; - for standard output
    pub(crate) file: PathBuf,
}

/// Forms of `export`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExportForm {
    /// The whole repository, tar.gz
    Tar,
    /// Trusted root and signing config in one file, for sigstore-python and cosign-rs
    TrustConfig,
    /// The trusted root on one line, as gh reads it
    TrustedRootJsonl,
    /// The first root, to hand to clients
    Root,
}

fn named_file(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((name, file)) if !name.is_empty() && !file.is_empty() => {
            Ok((name.to_owned(), file.into()))
        }
        _ => Err("expected NAME=FILE".into()),
    }
}

fn log(text: &str) -> Result<Log, String> {
    let (url, key) = match text.split_once('=') {
        Some((url, key)) => (url, Some(PathBuf::from(key))),
        None => (text, None),
    };
    let url = Url::parse(url).map_err(|error| error.to_string())?;
    Ok(Log { url, key })
}
