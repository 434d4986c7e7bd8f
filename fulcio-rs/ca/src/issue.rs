//! Making the certificate: prepared, signed, witnessed, prepared again, signed again, compared.

use ct::{CtError, Sct};
use jiff::{SignedDuration, Timestamp};
use pki::Certificate;
use pki::profile::{self, LeafParameters, ProfileError};
use signer::{Signer, SignerError, random};
use thiserror::Error;

use crate::admit::Admitted;
use crate::ctlog::{CtLog, CtLogError};

/// How long a certificate lives.
const LIFETIME: SignedDuration = SignedDuration::from_mins(10);

/// Why the certificate could not be made. None of it is the client's fault but values that do not fit.
#[derive(Debug, Error)]
pub(crate) enum IssueError {
    #[error("the certificate's profile")]
    Profile(#[from] ProfileError),
    #[error("the authority's key")]
    Signer(#[from] SignerError),
    #[error("the CT log")]
    CtLog(#[from] CtLogError),
    #[error("the SCT list")]
    Sct(#[from] CtError),
    #[error("a certificate of the chain is not valid for ten minutes from now: {0:?}")]
    Expired(String),
    #[error("the clock shows a time beyond all measure")]
    Clock,
}

/// The authority's key, its certificates and its witness.
#[derive(Debug, Clone)]
pub(crate) struct Authority {
    pub(crate) signer: Signer,
    /// Issuing certificate first, root last; never empty.
    pub(crate) chain: Vec<Certificate>,
    /// None by an explicit word of the operator.
    pub(crate) ct_log: Option<CtLog>,
}

/// A certificate, and whether a log vouches for it.
#[derive(Debug)]
pub(crate) struct Issued {
    pub(crate) leaf: Certificate,
    pub(crate) witnessed: bool,
}

impl Authority {
    /// Issues a certificate to somebody who was admitted.
    pub(crate) async fn issue(
        &self,
        admitted: Admitted,
        now: Timestamp,
    ) -> Result<Issued, IssueError> {
        let issuer = self.chain.first().ok_or(IssueError::Clock)?;
        let (principal, key) = admitted.into_parts();
        let parameters = LeafParameters {
            subject: principal.subject,
            key,
            extensions: principal.extensions,
            serial: random::bytes()?,
            not_before: now,
            not_after: now.checked_add(LIFETIME).map_err(|_| IssueError::Clock)?,
        };
        // Nobody would believe a certificate that outlives those above it.
        for authority in &self.chain {
            if !authority.is_valid_at(now) || !authority.is_valid_at(parameters.not_after) {
                return Err(IssueError::Expired(authority.subject_text()));
            }
        }
        let Some(ct_log) = &self.ct_log else {
            let unsigned = profile::prepare_leaf_without_ct(&parameters, issuer)?;
            let signature = self.signer.sign(unsigned.to_be_signed()).await?;
            return Ok(Issued {
                leaf: unsigned.seal(&signature)?,
                witnessed: false,
            });
        };
        let prepared = profile::prepare_leaf(parameters, issuer)?;
        let signature = self.signer.sign(prepared.to_be_signed()).await?;
        let precertificate = prepared.seal(&signature)?;
        // A crash from here on leaves a precertificate in the log without a certificate: harmless, nobody has one for it.
        let sct = ct_log
            .add(precertificate.certificate(), &self.chain)
            .await?;
        let prepared = precertificate.with_scts(&Sct::encode_list(&[sct])?)?;
        let signature = self.signer.sign(prepared.to_be_signed()).await?;
        Ok(Issued {
            leaf: prepared.seal(&signature)?,
            witnessed: true,
        })
    }
}
