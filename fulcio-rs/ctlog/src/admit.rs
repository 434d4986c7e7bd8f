//! From the bytes of a submission to a certificate that may go into the log.
//!
//! The log checks as much as it takes to keep out what no authority of its roots has issued: signatures and names up to a root, CA flags, key
//! usage, and the code-signing purpose. Times are not looked at: the entry of an expired certificate is as true as any.

use ct::{AddChainRequest, CtError, Entry, LeafEntry, entry_of_precertificate};
use keys::sha256;
use pki::{CertError, Certificate, oid};
use thiserror::Error;

use crate::leaf::CertificateLeaf;

/// The longest chain that is looked at.
const MAX_CHAIN: usize = 10;

/// Which kind of submission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// add-chain.
    Certificate,
    /// add-pre-chain.
    Precertificate,
}

/// Why a submission is refused.
#[derive(Debug, Error)]
pub enum Refusal {
    /// Not the JSON.
    #[error("not an add-chain request: {0}")]
    Json(String),
    /// No certificate, or too many.
    #[error("a chain of {0} certificates, expected 1 to {MAX_CHAIN}")]
    Length(usize),
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
    /// The chain ends elsewhere.
    #[error("the chain ends in {0:?}, which is not one of this log's roots")]
    UnknownRoot(String),
    /// A precertificate where a certificate is expected, or the other way round.
    #[error("the first certificate: {0}")]
    Kind(CtError),
}

/// A submission that may go in, with the certificates above it, lowest first and the root last.
#[derive(Debug)]
pub struct Admitted {
    /// What the log keeps.
    pub leaf: CertificateLeaf,
    /// What the SCT is about.
    pub entry: Entry,
    /// The certificates above it.
    pub issuers: Vec<Certificate>,
}

/// Checks a submission.
pub fn admit(
    request: &[u8],
    kind: Kind,
    roots: &[Certificate],
    leaf_index: bool,
) -> Result<Admitted, Refusal> {
    let request: AddChainRequest =
        serde_json::from_slice(request).map_err(|error| Refusal::Json(error.to_string()))?;
    if request.chain.is_empty() || request.chain.len() > MAX_CHAIN {
        return Err(Refusal::Length(request.chain.len()));
    }
    let mut chain = request
        .chain
        .iter()
        .enumerate()
        .map(|(position, der)| {
            Certificate::from_der(&der.0)
                .map_err(|source| Refusal::Certificate { position, source })
        })
        .collect::<Result<Vec<_>, _>>()?;
    let last = chain.last().ok_or(Refusal::Length(0))?;
    if !roots.contains(last) {
        // RFC 6962 3.1: the root itself may be left out.
        let root = roots.iter().find(|root| {
            root.subject_der() == last.issuer_der() && last.is_signed_by(root.public_key())
        });
        let root = root.ok_or_else(|| Refusal::UnknownRoot(last.subject_text()))?;
        chain.push(root.clone());
    }
    let (leaf, issuers) = chain.split_first().ok_or(Refusal::Length(0))?;
    check_leaf(leaf, issuers)?;
    for (position, issuer) in issuers.iter().enumerate() {
        let below = if position == 0 {
            leaf
        } else {
            issuers.get(position.saturating_sub(1)).unwrap_or(leaf)
        };
        check_link(below, issuer).map_err(|what| Refusal::Link {
            position: position.saturating_add(1),
            what,
        })?;
    }
    let issuer = issuers.first().ok_or(Refusal::Length(1))?;
    let (entry, precertificate) = match kind {
        Kind::Precertificate => (
            entry_of_precertificate(leaf, issuer).map_err(Refusal::Kind)?,
            Some(leaf.der().to_vec()),
        ),
        Kind::Certificate if leaf.extension(oid::CT_POISON).is_some() => {
            return Err(Refusal::Kind(CtError::Malformed(
                "certificate: it is a precertificate",
            )));
        }
        Kind::Certificate => (Entry::Certificate(leaf.der().to_vec()), None),
    };
    let fingerprints = issuers.iter().map(|issuer| sha256(issuer.der())).collect();
    let kept = LeafEntry {
        entry: entry.clone(),
        precertificate,
        chain: fingerprints,
    };
    let leaf = CertificateLeaf::new(kept, leaf_index).map_err(Refusal::Kind)?;
    Ok(Admitted {
        leaf,
        entry,
        issuers: issuers.to_vec(),
    })
}

fn check_leaf(leaf: &Certificate, issuers: &[Certificate]) -> Result<(), Refusal> {
    let wrong = |what| Err(Refusal::Link { position: 0, what });
    if issuers.is_empty() || leaf.is_ca() {
        return wrong("is an authority's, not a leaf");
    }
    if !leaf
        .purposes()
        .is_some_and(|(_, purposes)| purposes.contains(&oid::CODE_SIGNING))
    {
        return wrong("is not for code signing");
    }
    Ok(())
}

fn check_link(below: &Certificate, issuer: &Certificate) -> Result<(), &'static str> {
    if !issuer.is_ca() || !issuer.may_sign_certificates() {
        return Err("may not sign certificates");
    }
    if issuer
        .purposes()
        .is_some_and(|(_, purposes)| !purposes.contains(&oid::CODE_SIGNING))
    {
        return Err("may not sign certificates for code signing");
    }
    if below.issuer_der() != issuer.subject_der() || !below.is_signed_by(issuer.public_key()) {
        return Err("has not signed the one before it");
    }
    Ok(())
}
