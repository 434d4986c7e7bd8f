//! From the bytes of a submission to a certificate that may go into the log.
//!
//! The log checks as much as it takes to keep out what no authority of its roots has issued: signatures and names up to a root, CA flags, key
//! usage, and the code-signing purpose. Whether a certificate is valid now is not looked at: the entry of an expired one is as true as any.
//! A log that is a shard takes those whose end lies in its window.

use ct::{AddChainRequest, CtError, Entry, LeafEntry, entry_of_precertificate};
use jiff::Timestamp;
use keys::sha256;
use pki::profile::Precertificate;
use pki::{CertError, Certificate, oid};
use std::sync::Arc;
use thiserror::Error;

use crate::leaf::CertificateLeaf;
use crate::roots::{RootSet, Roots, VerifiedChain};

/// The longest chain that is looked at.
pub(crate) const MAX_CHAIN: usize = 10;

/// Which kind of submission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// add-chain.
    Certificate,
    /// add-pre-chain.
    Precertificate,
}

/// Which certificates a log takes, of those that its roots have issued: a shard takes those whose `notAfter` lies in its window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Window {
    /// The first `notAfter` that is taken.
    pub start: Option<Timestamp>,
    /// The first `notAfter` that is not taken any more.
    pub limit: Option<Timestamp>,
}

impl Window {
    /// Whether a certificate that ends then is one for this log.
    pub fn holds(&self, not_after: Timestamp) -> bool {
        self.start.is_none_or(|start| not_after >= start)
            && self.limit.is_none_or(|limit| not_after < limit)
    }
}

/// Why a submission is refused.
#[derive(Debug, Error)]
pub enum Refusal {
    /// Not the JSON.
    #[error("not an add-chain request: {0}")]
    Json(String),
    /// No certificate.
    #[error("the chain is empty: expected 1 to {MAX_CHAIN} certificates, the leaf first")]
    Empty,
    /// Too many certificates.
    #[error("a chain of {0} certificates, expected 1 to {MAX_CHAIN}")]
    TooLong(usize),
    /// One certificate is none.
    #[error("certificate {position} of the chain: {source}")]
    Certificate {
        /// Which, counted from 0.
        position: usize,
        /// Why.
        source: CertError,
    },
    /// One certificate may not sign the one before it, or has not.
    #[error("certificate {position} of the chain {what}")]
    Link {
        /// Which, counted from 0.
        position: usize,
        /// What is wrong with it.
        what: &'static str,
    },
    /// One certificate is for something else.
    #[error("certificate {position} of the chain {what}")]
    Purpose {
        /// Which, counted from 0.
        position: usize,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The chain ends elsewhere.
    #[error("the chain ends in {0:?}, which is not one of this log's roots")]
    UnknownRoot(String),
    /// A precertificate where a certificate is expected, or the other way round.
    #[error("the first certificate: {0}")]
    Kind(CtError),
    /// The certificate belongs into another shard.
    #[error(
        "the certificate ends at {0}, and this log takes other ones: there is another shard for it"
    )]
    Window(Timestamp),
}

impl Refusal {
    /// The word for programs.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Json(_) | Self::Empty => "REQUEST_MALFORMED",
            Self::TooLong(_) => "CHAIN_TOO_LONG",
            Self::Certificate { .. } => "CERTIFICATE_MALFORMED",
            Self::Link { .. } => "CHAIN_BROKEN",
            Self::Purpose { .. } => "WRONG_PURPOSE",
            Self::UnknownRoot(_) => "UNKNOWN_ROOT",
            Self::Kind(_) => "WRONG_KIND",
            Self::Window(_) => "NOT_AFTER_OUTSIDE_WINDOW",
        }
    }
}

/// A submission that may go in.
#[derive(Debug)]
pub(crate) struct Admitted {
    /// What the log keeps.
    pub(crate) leaf: CertificateLeaf,
    /// What the SCT is about.
    pub(crate) entry: Entry,
    /// The certificates above it.
    pub(crate) chain: Arc<VerifiedChain>,
}

/// The certificates of a request's body, DER, leaf first.
pub fn parse(request: &[u8]) -> Result<Vec<Vec<u8>>, Refusal> {
    let request: AddChainRequest =
        wire::parse(request).map_err(|error| Refusal::Json(error.to_string()))?;
    Ok(request.chain.into_iter().map(|der| der.0).collect())
}

/// Whether a log with these roots would take a request's body; nothing is kept of it.
pub fn would_take(request: &[u8], kind: Kind, roots: &Roots) -> Result<(), Refusal> {
    let chain = parse(request)?;
    admit(&chain, kind, &roots.now(), Window::default(), true).map(drop)
}

/// Checks a submission.
pub(crate) fn admit(
    chain: &[Vec<u8>],
    kind: Kind,
    roots: &RootSet,
    window: Window,
    leaf_index: bool,
) -> Result<Admitted, Refusal> {
    let (leaf, above) = chain.split_first().ok_or(Refusal::Empty)?;
    if chain.len() > MAX_CHAIN {
        return Err(Refusal::TooLong(chain.len()));
    }
    let leaf = certificate(0, leaf)?;
    let chain = roots.chain(&leaf, above)?;
    let issuer = chain.issuers.first().ok_or(Refusal::Empty)?;
    check_leaf(&leaf)?;
    // What the memory of chains spares is every signature but this one.
    check_link(&leaf, issuer).map_err(at(1))?;
    take(&leaf, kind, chain, window, leaf_index)
}

/// Checks a precertificate of an authority in this process, as [`admit`] does. Only the leaf's own signature is not verified once more: the authority has
/// just made it with the key of the certificate that it names, and looks at its own signatures as we do at ours (`signer::Watch`).
pub(crate) fn admit_issued(
    issued: &Precertificate,
    above: &[Vec<u8>],
    roots: &RootSet,
    window: Window,
    leaf_index: bool,
) -> Result<Admitted, Refusal> {
    if above.len() >= MAX_CHAIN {
        return Err(Refusal::TooLong(above.len().saturating_add(1)));
    }
    let leaf = issued.certificate();
    let chain = roots.chain(leaf, above)?;
    let issuer = chain.issuers.first().ok_or(Refusal::Empty)?;
    check_leaf(leaf)?;
    // Issuers of a verified chain may sign certificates.
    if issuer != issued.issuer() {
        check_link(leaf, issuer).map_err(at(1))?;
    }
    take(leaf, Kind::Precertificate, chain, window, leaf_index)
}

/// A leaf whose signature and chain are verified.
fn take(
    leaf: &Certificate,
    kind: Kind,
    chain: Arc<VerifiedChain>,
    window: Window,
    leaf_index: bool,
) -> Result<Admitted, Refusal> {
    let issuer = chain.issuers.first().ok_or(Refusal::Empty)?;
    let (entry, precertificate) = match kind {
        Kind::Precertificate => {
            let entry = entry_of_precertificate(leaf, issuer).map_err(Refusal::Kind)?;
            // RFC 6962 3.1: what the log signs is the body without the poison; with SCTs in it there would be two readings of that.
            if leaf.extension(oid::CT_SCTS).is_some() {
                return Err(Refusal::Kind(CtError::Malformed(
                    "precertificate: it has SCTs",
                )));
            }
            (entry, Some(leaf.der().to_vec()))
        }
        Kind::Certificate if leaf.extension(oid::CT_POISON).is_some() => {
            return Err(Refusal::Kind(CtError::Malformed(
                "certificate: it is a precertificate",
            )));
        }
        Kind::Certificate => (Entry::Certificate(leaf.der().to_vec()), None),
    };
    if !window.holds(leaf.not_after()) {
        return Err(Refusal::Window(leaf.not_after()));
    }
    let kept = LeafEntry {
        entry: entry.clone(),
        precertificate,
        chain: chain.fingerprints.clone(),
    };
    let leaf = CertificateLeaf::new(kept, leaf_index).map_err(Refusal::Kind)?;
    Ok(Admitted { leaf, entry, chain })
}

/// The certificates above a leaf, read and verified up to a root, which is added where it was left out. Positions count from the leaf.
pub(crate) fn verify_chain(
    above: &[Vec<u8>],
    roots: &RootSet,
) -> Result<Vec<Certificate>, Refusal> {
    let mut chain = Vec::new();
    for (position, der) in (1..).zip(above) {
        chain.push(certificate(position, der)?);
    }
    let last = chain.last().ok_or(Refusal::Empty)?;
    if !roots.contains(last) {
        // RFC 6962 3.1: the root itself may be left out.
        let root = roots.above(last);
        let root = root.ok_or_else(|| Refusal::UnknownRoot(last.subject_text()))?;
        chain.push(root.clone());
    }
    let mut below: Option<&Certificate> = None;
    let mut seen = Vec::new();
    for (position, issuer) in (1..).zip(&chain) {
        let fingerprint = sha256(issuer.der());
        if seen.contains(&fingerprint) {
            let what = "is there twice";
            return Err(Refusal::Link { position, what });
        }
        seen.push(fingerprint);
        match below {
            Some(below) => check_link(below, issuer).map_err(at(position))?,
            None => check_issuer(issuer).map_err(at(position))?,
        }
        below = Some(issuer);
    }
    Ok(chain)
}

fn certificate(position: usize, der: &[u8]) -> Result<Certificate, Refusal> {
    Certificate::from_der(der).map_err(|source| Refusal::Certificate { position, source })
}

fn check_leaf(leaf: &Certificate) -> Result<(), Refusal> {
    if leaf.is_ca() {
        let what = "is an authority's, not a leaf";
        return Err(Refusal::Link { position: 0, what });
    }
    let purposes = leaf.purposes();
    if !purposes.is_some_and(|(_, purposes)| purposes.contains(&oid::CODE_SIGNING)) {
        let what = "is not for code signing";
        return Err(Refusal::Purpose { position: 0, what });
    }
    Ok(())
}

/// What is wrong, and whether it is about the purpose.
type Wrong = (&'static str, bool);

fn at(position: usize) -> impl FnOnce(Wrong) -> Refusal {
    move |(what, purpose)| {
        if purpose {
            Refusal::Purpose { position, what }
        } else {
            Refusal::Link { position, what }
        }
    }
}

fn check_issuer(issuer: &Certificate) -> Result<(), Wrong> {
    if !issuer.is_ca() || !issuer.may_sign_certificates() {
        return Err(("may not sign certificates", false));
    }
    if issuer
        .purposes()
        .is_some_and(|(_, purposes)| !purposes.contains(&oid::CODE_SIGNING))
    {
        return Err(("may not sign certificates for code signing", true));
    }
    Ok(())
}

pub(crate) fn check_link(below: &Certificate, issuer: &Certificate) -> Result<(), Wrong> {
    check_issuer(issuer)?;
    if below.issuer_der() != issuer.subject_der() || !below.is_signed_by(issuer.public_key()) {
        return Err(("has not signed the one before it", false));
    }
    Ok(())
}
