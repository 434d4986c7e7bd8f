//! Why there is no bundle.

use bundle::BundleError;
use client::{FulcioError, RekorError, TokenError, TsaError};
use dsse::StatementError;
use keys::HashAlgorithm;
use signer::SignerError;
use thiserror::Error;
use url::Url;
use verify::VerifyError;

use crate::own::OwnCertificateError;

/// Why there is no bundle: at which step, whose answer, what was wrong with it.
#[derive(Debug, Error)]
pub enum SignError {
    /// The token is not one to sign with.
    #[error("the identity token cannot be used")]
    Token(#[source] TokenError),
    /// The fresh key failed.
    #[error("the signing key")]
    Key(#[source] SignerError),
    /// Nobody to ask for a certificate.
    #[error("no certificate authority is named, and an identity needs a certificate")]
    NoAuthority,
    /// No certificate.
    #[error("no certificate from {url}")]
    Certificate {
        /// The certificate authority.
        url: Url,
        /// Why not.
        source: Box<FulcioError>,
    },
    /// A certificate for somebody else's key.
    #[error("the certificate from {url} is for another key than the one that was sent")]
    OtherKey {
        /// The certificate authority.
        url: Url,
    },
    /// A certificate that verifiers would refuse.
    #[error("the certificate from {url} does not hold against the trusted root")]
    Leaf {
        /// The certificate authority.
        url: Url,
        /// Why not.
        source: Box<VerifyError>,
    },
    /// The certificate for a key of one's own.
    #[error("the certificate for the key")]
    OwnCertificate(#[source] OwnCertificateError),
    /// The digest is not one that this key signs.
    #[error("the artifact's {} digest is given, and the key signs {} digests", found.name(), needed.name())]
    OtherHash {
        /// What the key signs.
        needed: HashAlgorithm,
        /// What was given.
        found: HashAlgorithm,
    },
    /// What should be attested is no statement.
    #[error("the statement cannot be signed")]
    Statement(#[source] StatementError),
    /// A statement about nothing that a verifier could name.
    #[error(
        "no subject of the statement has a digest of a known algorithm (sha256, sha384, sha512)"
    )]
    NoKnownDigest,
    /// No timestamp.
    #[error("no timestamp from {url}")]
    Timestamp {
        /// The timestamp authority.
        url: Url,
        /// Why not.
        source: Box<TsaError>,
    },
    /// No log entry.
    #[error("no log entry from {url}")]
    Record {
        /// The log.
        url: Url,
        /// Why not.
        source: Box<RekorError>,
    },
    /// It failed when the signature was in a log already, where it stays.
    #[error(
        "the signature is in {}, where it stays, and there is no bundle for it",
        places(logged)
    )]
    AfterLogging {
        /// Where it is: a log and an index in it.
        logged: Vec<Logged>,
        /// What failed.
        source: Box<SignError>,
    },
    /// The pieces make no bundle.
    #[error("the services' answers make no bundle")]
    Bundle(#[source] BundleError),
    /// The bundle does not verify: somebody answered with something that does not hold.
    #[error(
        "the finished bundle does not verify and is not given out{}",
        of(services)
    )]
    Refused {
        /// Whose answer the failed step is about.
        services: Vec<Url>,
        /// Why it is refused.
        source: Box<VerifyError>,
    },
}

/// Where a signature is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logged {
    /// The log.
    pub url: Url,
    /// The index that its answer states.
    pub index: u64,
}

impl SignError {
    /// The step that failed: `token`, `key`, `certificate`, `statement`, `timestamp`, `log` or `bundle`.
    pub fn step(&self) -> &'static str {
        match self {
            Self::AfterLogging { source, .. } => source.step(),
            Self::Token(_) => "token",
            Self::Key(_) | Self::OtherHash { .. } => "key",
            Self::NoAuthority
            | Self::Certificate { .. }
            | Self::OtherKey { .. }
            | Self::OwnCertificate(_)
            | Self::Leaf { .. } => "certificate",
            Self::Statement(_) | Self::NoKnownDigest => "statement",
            Self::Timestamp { .. } => "timestamp",
            Self::Record { .. } => "log",
            Self::Bundle(_) | Self::Refused { .. } => "bundle",
        }
    }
}

fn of(services: &[Url]) -> String {
    let services: Vec<&str> = services.iter().map(Url::as_str).collect();
    if services.is_empty() {
        String::new()
    } else {
        format!(": see the answer of {}", services.join(", "))
    }
}

fn places(logged: &[Logged]) -> String {
    let places = logged
        .iter()
        .map(|at| format!("the log {} at index {}", at.url, at.index));
    places.collect::<Vec<_>>().join(" and in ")
}
