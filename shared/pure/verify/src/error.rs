//! Why a bundle is refused: which step, which reason, which values.

use jiff::Timestamp;
use keys::HashAlgorithm;
use pki::{PathError, Purpose};
use thiserror::Error;

/// The step that refused. Later ones went further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// Are the entries in their logs?
    Record,
    /// When was it signed?
    Time,
    /// Was the certificate good at that time?
    Leaf,
    /// Is the signature good?
    Signature,
    /// Are the entries about this signature?
    Binding,
    /// Is it who we expect?
    Identity,
}

impl Step {
    /// The step's name in messages and JSON output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Record => "record",
            Self::Time => "time",
            Self::Leaf => "certificate",
            Self::Signature => "signature",
            Self::Binding => "binding",
            Self::Identity => "identity",
        }
    }
}

/// Why a bundle is refused.
#[derive(Debug, Error)]
pub enum VerifyError {
    /// No entry, or none of a log that the trusted root names.
    #[error(
        "no log entry of a trusted log: the bundle has {found} entries, of the logs {logs:?}; an entry in one of {trusted:?} is needed"
    )]
    NoEntry {
        /// How many entries there are.
        found: usize,
        /// Their logs' ids, hex.
        logs: Vec<String>,
        /// The logs that are trusted.
        trusted: Vec<String>,
    },
    /// Two entries at one place.
    #[error("the bundle has the log entry {index} twice")]
    DuplicateEntry {
        /// Its index.
        index: u64,
    },
    /// Neither a proof nor a promise, or not the one that is needed.
    #[error("log entry {index} of {log}: {what}")]
    Unproven {
        /// Its index.
        index: u64,
        /// Its log.
        log: String,
        /// What is missing.
        what: &'static str,
    },
    /// The checkpoint is not one of this log.
    #[error("log entry {index} of {log}: the checkpoint is not signed by this log")]
    Checkpoint {
        /// Its index.
        index: u64,
        /// Its log.
        log: String,
        /// Why not.
        source: note::OpenError,
    },
    /// The proof is not about the checkpoint's tree.
    #[error(
        "log entry {index} of {log}: the inclusion proof is for another tree than the checkpoint (size {proof} and {checkpoint}, or another root)"
    )]
    OtherTree {
        /// Its index.
        index: u64,
        /// Its log.
        log: String,
        /// Size in the proof.
        proof: u64,
        /// Size in the checkpoint.
        checkpoint: u64,
    },
    /// The proof does not lead to the root.
    #[error("log entry {index} of {log}: the inclusion proof does not hold")]
    Inclusion {
        /// Its index.
        index: u64,
        /// Its log.
        log: String,
        /// Why not.
        source: tlog::ProofError,
    },
    /// The promise is not by this log.
    #[error("log entry {index} of {log}: the signed entry timestamp does not verify")]
    Promise {
        /// Its index.
        index: u64,
        /// Its log.
        log: String,
    },
    /// The log did not sign at that time.
    #[error(
        "log entry {index} of {log}: the log's key signs {validity}, not at {}",
        .at.map_or_else(|| "a time that nobody states".to_owned(), |at| at.to_string())
    )]
    LogNotValidAt {
        /// Its index.
        index: u64,
        /// Its log.
        log: String,
        /// The key's validity.
        validity: String,
        /// The time; none when there is no trusted one, and the key is retired.
        at: Option<Timestamp>,
    },
    /// No source of time.
    #[error(
        "no trusted time: neither a timestamp of a trusted authority nor a promise of a log that states a time"
    )]
    NoTime,
    /// A time is there, and not of the kind that the caller asks for.
    #[error(
        "no timestamp of a trusted timestamp authority, and one is asked for: the time is a log's promise, or nobody's"
    )]
    NoTimestamp,
    /// A timestamp that no authority of the trusted root made.
    #[error(
        "timestamp {position} is not a valid one of any of the {authorities} trusted timestamp authorities"
    )]
    Timestamp {
        /// Which, counted from 0.
        position: usize,
        /// How many authorities were tried.
        authorities: usize,
        /// The failure that went furthest.
        source: tsp::TspError,
    },
    /// The authority is not trusted at the time that it states.
    #[error("timestamp {position}: the authority {authority} is trusted {validity}, not at {at}")]
    AuthorityNotValidAt {
        /// Which, counted from 0.
        position: usize,
        /// Its URL.
        authority: String,
        /// When it is trusted.
        validity: String,
        /// The time.
        at: Timestamp,
    },
    /// The trusted root names no authority for that time.
    #[error("no certificate authority is trusted at {at}")]
    NoAuthorityAt {
        /// The time.
        at: Timestamp,
    },
    /// The certificate has no path at one of the times.
    #[error("the certificate does not hold at {at}, the time of {witness}")]
    Chain {
        /// The time.
        at: Timestamp,
        /// Who says that it was then.
        witness: String,
        /// Why not.
        source: PathError,
    },
    /// No CT log vouches for it.
    #[error("no trusted CT log vouches for the certificate: {why}")]
    Sct {
        /// Why not.
        why: String,
    },
    /// There is no certificate where an identity is expected.
    #[error(
        "the bundle is signed with a key (hint {hint:?}) and has no certificate, so no identity: pass the key with --key"
    )]
    NoCertificate {
        /// The bundle's hint.
        hint: String,
    },
    /// Another key than the expected one.
    #[error("the bundle's certificate is for another key than the expected one")]
    OtherKey,
    /// The artifact is not at hand in the form that the signature is over.
    #[error(
        "the signature is over {needed}, and only {given} of the artifact is known: pass the file itself"
    )]
    NeedsArtifact {
        /// `the bytes themselves`, or a digest algorithm.
        needed: &'static str,
        /// What the caller passed.
        given: String,
    },
    /// The signature does not hold.
    #[error("the signature is not by the {signer} key over this {what}")]
    Signature {
        /// `certificate's` or `given`.
        signer: &'static str,
        /// `artifact` or `envelope`.
        what: &'static str,
    },
    /// The bundle's hint is about something else.
    #[error("the bundle says that it is about {stated}, the artifact is {actual}")]
    DigestHint {
        /// In the bundle.
        stated: String,
        /// Of the artifact.
        actual: String,
    },
    /// The payload is no statement.
    #[error("the envelope's payload is not an in-toto statement: {0}")]
    Statement(String),
    /// The payload of a simple signature is none.
    #[error("what was signed is no simple signature: {0}")]
    Claims(bundle::legacy::LegacyError),
    /// The simple signature is about another image.
    #[error("the signature is about the image {stated}, not about {image}")]
    OtherImage {
        /// What was signed.
        stated: String,
        /// What was asked for.
        image: String,
    },
    /// The statement is about something else.
    #[error("the statement is about {subjects:?}, not about {artifact}")]
    Subject {
        /// The first few subjects.
        subjects: Vec<String>,
        /// What was asked for.
        artifact: String,
    },
    /// The entry's body cannot be read.
    #[error("log entry {index}: {source}")]
    Body {
        /// Its index.
        index: u64,
        /// Why not.
        source: entry::BodyError,
    },
    /// The entry is about something else.
    #[error("log entry {index}: {source}")]
    Binding {
        /// Its index.
        index: u64,
        /// How it differs.
        source: entry::BindError,
    },
    /// The certificate states no identity, or not as it should.
    #[error("the certificate states no {0}")]
    NoIdentity(&'static str),
    /// Another signer.
    #[error("signed by {found}, expected {expected} (issuer {})", if *.issuer_matches { "matches" } else { "differs as well" })]
    Subjects {
        /// In the certificate.
        found: String,
        /// What was expected.
        expected: String,
        /// Is the issuer as expected?
        issuer_matches: bool,
    },
    /// Another identity provider.
    #[error("signed by {subject} of issuer {found}, expected issuer {expected}")]
    Issuer {
        /// Who signed.
        subject: String,
        /// In the certificate.
        found: String,
        /// What was expected.
        expected: String,
    },
    /// Another value in one of Fulcio's extensions.
    #[error("the certificate's {field} is {}, expected {expected}", .found.as_deref().unwrap_or("missing"))]
    Extension {
        /// Which.
        field: &'static str,
        /// In the certificate.
        found: Option<String>,
        /// What was expected.
        expected: String,
    },
    /// Not the certificate that this signature was made with.
    #[error("the bundle has another certificate than the one that was used")]
    OtherCertificate,
}

impl VerifyError {
    /// The step that refused.
    pub const fn step(&self) -> Step {
        match self {
            Self::NoEntry { .. }
            | Self::DuplicateEntry { .. }
            | Self::Unproven { .. }
            | Self::Checkpoint { .. }
            | Self::OtherTree { .. }
            | Self::Inclusion { .. }
            | Self::Promise { .. }
            | Self::LogNotValidAt { .. } => Step::Record,
            Self::NoTime
            | Self::NoTimestamp
            | Self::Timestamp { .. }
            | Self::AuthorityNotValidAt { .. } => Step::Time,
            Self::NoAuthorityAt { .. }
            | Self::Chain { .. }
            | Self::Sct { .. }
            | Self::NoCertificate { .. }
            | Self::OtherKey => Step::Leaf,
            Self::NeedsArtifact { .. }
            | Self::Signature { .. }
            | Self::DigestHint { .. }
            | Self::Statement(_)
            | Self::Claims(_)
            | Self::OtherImage { .. }
            | Self::Subject { .. } => Step::Signature,
            Self::Body { .. } | Self::Binding { .. } => Step::Binding,
            Self::NoIdentity(_)
            | Self::Subjects { .. }
            | Self::Issuer { .. }
            | Self::Extension { .. }
            | Self::OtherCertificate => Step::Identity,
        }
    }

    /// A stable word for programs.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NoEntry { .. } => "no-log-entry",
            Self::DuplicateEntry { .. } => "duplicate-log-entry",
            Self::Unproven { .. } => "log-entry-unproven",
            Self::Checkpoint { .. } => "bad-checkpoint",
            Self::OtherTree { .. } => "proof-for-other-tree",
            Self::Inclusion { .. } => "bad-inclusion-proof",
            Self::Promise { .. } => "bad-promise",
            Self::LogNotValidAt { .. } => "log-not-valid",
            Self::NoTime => "no-time",
            Self::NoTimestamp => "no-timestamp",
            Self::Timestamp { .. } => "bad-timestamp",
            Self::AuthorityNotValidAt { .. } => "timestamp-authority-not-valid",
            Self::NoAuthorityAt { .. } => "no-certificate-authority",
            Self::Chain { .. } => "bad-certificate",
            Self::Sct { .. } => "bad-sct",
            Self::NoCertificate { .. } => "no-certificate",
            Self::OtherKey => "wrong-key",
            Self::NeedsArtifact { .. } => "needs-artifact",
            Self::Signature { .. } => "bad-signature",
            Self::DigestHint { .. } => "digest-mismatch",
            Self::Statement(_) => "not-a-statement",
            Self::Claims(_) => "not-a-simple-signature",
            Self::OtherImage { .. } | Self::Subject { .. } => "wrong-subject",
            Self::Body { .. } => "bad-log-entry",
            Self::Binding { .. } => "log-entry-mismatch",
            Self::NoIdentity(_) => "no-identity",
            Self::Subjects { .. } => "wrong-identity",
            Self::Issuer { .. } => "wrong-issuer",
            Self::Extension { .. } => "wrong-extension",
            Self::OtherCertificate => "wrong-certificate",
        }
    }

    /// Of two refusals at one step, which was nearer to being accepted? For messages: larger is nearer.
    pub const fn nearness(&self) -> u8 {
        match self {
            Self::Extension { .. } => 3,
            Self::Subjects {
                issuer_matches: true,
                ..
            } => 2,
            Self::Issuer { .. } => 1,
            _ => 0,
        }
    }

    pub(crate) const fn needs(needed: Option<HashAlgorithm>, given: String) -> Self {
        let needed = match needed {
            Some(hash) => hash.name(),
            None => "the bytes themselves",
        };
        Self::NeedsArtifact { needed, given }
    }

    /// Did the certificate fail only for its purpose? For messages.
    pub const fn is_purpose(&self) -> bool {
        matches!(
            self,
            Self::Chain {
                source: PathError::Purpose(Purpose::CodeSigning),
                ..
            }
        )
    }
}
