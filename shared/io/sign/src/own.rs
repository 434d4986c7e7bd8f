//! A certificate for a key of one's own, by whatever authority.

use jiff::Timestamp;
use keys::PublicKey;
use pki::{Certificate, PathError, Purpose, path};
use thiserror::Error;

/// A certificate that is for the key that signs, and was given by the authorities that are named with it. Only [`new`](Self::new) makes one. Whether
/// anybody trusts these is not known here: verifiers have a trusted root that they are in, or the key.
#[derive(Debug, Clone)]
pub struct OwnCertificate {
    leaf: Certificate,
    above: Vec<Certificate>,
}

/// Why a certificate is not one to sign with.
#[derive(Debug, Error)]
pub enum OwnCertificateError {
    /// Of another key.
    #[error("the certificate is for another key than the one that signs")]
    OtherKey,
    /// Nobody would believe a signature of now.
    #[error("the certificate is valid from {not_before} to {not_after}, which is not now")]
    NotNow {
        /// First moment.
        not_before: Timestamp,
        /// Last moment.
        not_after: Timestamp,
    },
    /// An authority's certificate.
    #[error("the certificate is an authority's, not a signer's")]
    Authority,
    /// The chain is another one's, or not one.
    #[error("the certificate does not lead over the chain to its last certificate")]
    Chain(#[source] PathError),
}

impl OwnCertificate {
    /// `above` are the certificates of the authorities, the lowest first, the root last; where there are none, nothing of them is looked at.
    pub fn new(
        leaf: Certificate,
        above: Vec<Certificate>,
        key: &PublicKey,
        now: Timestamp,
    ) -> Result<Self, OwnCertificateError> {
        if leaf.public_key() != key {
            return Err(OwnCertificateError::OtherKey);
        }
        if leaf.is_ca() {
            return Err(OwnCertificateError::Authority);
        }
        let own = Self {
            above: above.into_iter().filter(|one| *one != leaf).collect(),
            leaf,
        };
        own.check_time(now)?;
        if let Some((anchor, between)) = own.above.split_last() {
            let anchors = std::slice::from_ref(anchor);
            path::verify(&own.leaf, between, anchors, now, Purpose::CodeSigning)
                .map_err(OwnCertificateError::Chain)?;
        }
        Ok(own)
    }

    pub(crate) fn check_time(&self, now: Timestamp) -> Result<(), OwnCertificateError> {
        if self.leaf.is_valid_at(now) {
            return Ok(());
        }
        Err(OwnCertificateError::NotNow {
            not_before: self.leaf.not_before(),
            not_after: self.leaf.not_after(),
        })
    }

    /// The certificate.
    pub const fn leaf(&self) -> &Certificate {
        &self.leaf
    }

    /// The authorities' certificates, the lowest first, as far as they were named.
    pub fn above(&self) -> &[Certificate] {
        &self.above
    }
}
