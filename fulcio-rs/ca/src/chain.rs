//! Chains of authorities, checked where they come in.

use std::sync::Arc;

use jiff::Timestamp;
use keys::{KeyError, KeyType, PublicKey};
use pki::{Certificate, oid};
use thiserror::Error;

/// Why certificates are no chain that this authority can use or name.
#[derive(Debug, Error)]
pub enum ChainError {
    /// No certificate.
    #[error("the chain is empty")]
    Empty,
    /// The first certificate is about another key.
    #[error("the first certificate of the chain is not the key's")]
    Key,
    /// The key of the first certificate is weak.
    #[error("the key of the first certificate: {0}")]
    Weak(#[from] KeyError),
    /// A certificate of the chain may not do what it has to.
    #[error("the certificate {subject:?} of the chain {what}")]
    Certificate {
        /// Its subject.
        subject: String,
        /// What is wrong with it.
        what: &'static str,
    },
}

/// Certificates of authorities, the issuing one first and the root last, of which each is signed by the next. Only the functions here make one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chain {
    issuing: Certificate,
    /// With the issuing one.
    certificates: Vec<Certificate>,
    /// The same, as every answer has them.
    pems: Arc<[String]>,
}

impl Chain {
    /// A chain to issue with: its first certificate is about this key, and all of them are valid now.
    pub(crate) fn active(
        certificates: Vec<Certificate>,
        key: &PublicKey,
        now: Timestamp,
    ) -> Result<Self, ChainError> {
        let chain = Self::known(certificates)?;
        if chain.issuing.public_key() != key {
            return Err(ChainError::Key);
        }
        key.check_strength()?;
        if let Some(late) = chain.not_valid_at(now) {
            return Err(wrong(late, "is not valid now"));
        }
        if key.key_type() == KeyType::Ed25519 {
            tracing::warn!(
                "the issuing key is an Ed25519 key: sigstore-python and others refuse the certificates of such authorities"
            );
        }
        Ok(chain)
    }

    /// A chain that clients are told of, and that nothing is issued with: it may be one of the past or of the future.
    pub(crate) fn known(certificates: Vec<Certificate>) -> Result<Self, ChainError> {
        let issuing = certificates.first().ok_or(ChainError::Empty)?.clone();
        // Where there is a root above it, the purpose has to come down the chain (as in upstream's check).
        if certificates.len() > 1 && issuing.purposes().is_none() {
            return Err(wrong(
                &issuing,
                "is not for code signing: it has no extKeyUsage",
            ));
        }
        for (below, certificate) in certificates.iter().enumerate() {
            // The last one is a root.
            let issuer = certificates
                .get(below.saturating_add(1))
                .unwrap_or(certificate);
            if !certificate.is_ca() || !certificate.may_sign_certificates() {
                return Err(wrong(certificate, "may not sign certificates"));
            }
            let purposes = certificate.purposes();
            if purposes.is_some_and(|(_, purposes)| !purposes.contains(&oid::CODE_SIGNING)) {
                return Err(wrong(certificate, "is not for code signing"));
            }
            // RFC 5280 4.2.1.9: it limits how many authorities follow.
            if certificate
                .path_length()
                .is_some_and(|limit| usize::from(limit) < below)
            {
                return Err(wrong(
                    certificate,
                    "has a path length that the chain is too long for",
                ));
            }
            if certificate.issuer_der() != issuer.subject_der()
                || !certificate.is_signed_by(issuer.public_key())
            {
                return Err(wrong(certificate, "is not signed by the next one"));
            }
        }
        Ok(Self {
            issuing,
            pems: certificates.iter().map(Certificate::to_pem).collect(),
            certificates,
        })
    }

    /// The one that issues leaves.
    pub(crate) const fn issuing(&self) -> &Certificate {
        &self.issuing
    }

    /// The issuing one first, the root last.
    pub(crate) fn certificates(&self) -> &[Certificate] {
        &self.certificates
    }

    /// A certificate that is not valid then, if there is one.
    pub(crate) fn not_valid_at(&self, at: Timestamp) -> Option<&Certificate> {
        self.certificates
            .iter()
            .find(|certificate| !certificate.is_valid_at(at))
    }

    /// PEM, each with a newline at its end.
    pub(crate) fn pems(&self) -> &[String] {
        &self.pems
    }
}

fn wrong(certificate: &Certificate, what: &'static str) -> ChainError {
    ChainError::Certificate {
        subject: certificate.subject_text(),
        what,
    }
}
