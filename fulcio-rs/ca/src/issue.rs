//! Making the certificate: prepared, signed, witnessed, prepared again, signed again, compared.

use std::sync::Arc;
use std::time::Instant;

use ct::{CtError, Sct};
use jiff::{SignedDuration, Timestamp};
use keys::Algorithm;
use pki::Certificate;
use pki::lint::{self, Expected, LintError, Transparency};
use pki::profile::{self, LeafParameters, ProfileError};
use serve::Allowance;
use signer::{Signer, SignerError, random};
use thiserror::Error;

use crate::admit::{self, Admitted};
use crate::chain::Chain;
use crate::ctlog::{CtLog, CtLogError};

/// What a certificate may be, and for whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// How long a certificate lives from now; ten minutes as everywhere.
    pub lifetime: SignedDuration,
    /// How long ago its validity begins, for clients whose clocks are late.
    pub backdate: SignedDuration,
    /// What a key may sign with.
    pub algorithms: Vec<Algorithm>,
    /// Certificates a minute, and at once, for one identity; none is no limit.
    pub identity_rate: Option<(u32, u32)>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            lifetime: SignedDuration::from_mins(10),
            backdate: SignedDuration::ZERO,
            algorithms: admit::ALGORITHMS.to_vec(),
            identity_rate: None,
        }
    }
}

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
    #[error("what was made")]
    Lint(#[from] LintError),
    #[error("precertificate and certificate are not the same entry of a CT log")]
    Correspondence,
    #[error("a certificate of the chain is not valid for as long as a certificate lives: {0:?}")]
    Expired(String),
    #[error("the clock shows a time beyond all measure")]
    Clock,
}

/// The authority's key, its certificates and its witness, as they are at one time. A request is answered by one of these from beginning to
/// end: the key that signed the precertificate signs the certificate.
#[derive(Debug)]
pub(crate) struct Authority {
    pub(crate) signer: Signer,
    pub(crate) chain: Chain,
    /// Key and chain were made by this process and end with it.
    pub(crate) ephemeral: bool,
    /// Chains that certificates will be issued under, and those that they were.
    pub(crate) next: Vec<Chain>,
    pub(crate) retired: Vec<Chain>,
    /// None by an explicit word of the operator.
    pub(crate) ct_log: Option<CtLog>,
    pub(crate) policy: Policy,
    /// How many certificates one identity gets; outlives a change of the rest.
    pub(crate) allowance: Option<Arc<Allowance>>,
}

/// A certificate, and whether a log vouches for it.
#[derive(Debug)]
pub(crate) struct Issued {
    pub(crate) leaf: Certificate,
    /// Of the authority that issued it.
    chain: Chain,
    pub(crate) witnessed: bool,
}

impl Issued {
    /// Leaf first, root last, PEM without the newline at the end.
    pub(crate) fn to_pems(&self) -> Vec<String> {
        let trimmed = |certificate: &Certificate| certificate.to_pem().trim_end().to_owned();
        std::iter::once(&self.leaf)
            .chain(self.chain.certificates())
            .map(trimmed)
            .collect()
    }
}

impl Authority {
    /// Every chain that certificates may end in: the active one, the next, the retired; each once.
    pub(crate) fn chains(&self) -> Vec<&Chain> {
        let mut chains = vec![&self.chain];
        for chain in self.next.iter().chain(&self.retired) {
            if !chains.contains(&chain) {
                chains.push(chain);
            }
        }
        chains
    }

    /// What its chains end in.
    pub(crate) fn roots(&self) -> Vec<Certificate> {
        let chains = self.chains().into_iter();
        let roots = chains.filter_map(|chain| chain.certificates().last());
        roots.cloned().collect()
    }

    /// Issues a certificate to somebody who was admitted, and who waits until then at most.
    pub(crate) async fn issue(
        &self,
        admitted: Admitted,
        now: Timestamp,
        until: Option<Instant>,
    ) -> Result<Issued, IssueError> {
        let issuer = self.chain.issuing();
        let (principal, key) = admitted.into_parts();
        let moved = |by| now.checked_add(by).map_err(|_| IssueError::Clock);
        let parameters = LeafParameters {
            subject: principal.subject,
            key,
            extensions: principal.extensions,
            serial: random::bytes()?,
            // A new authority did not exist before its own certificates.
            not_before: self
                .chain
                .certificates()
                .iter()
                .map(Certificate::not_before)
                .fold(moved(-self.policy.backdate)?, Timestamp::max),
            not_after: moved(self.policy.lifetime)?,
        };
        // Nobody would believe a certificate that outlives those above it.
        for at in [now, parameters.not_after] {
            if let Some(late) = self.chain.not_valid_at(at) {
                return Err(IssueError::Expired(late.subject_text()));
            }
        }
        // From here on what is made is compared with what was meant, by code that makes nothing.
        let meant = parameters.clone();
        let check = |certificate: &Certificate, transparency| {
            lint::leaf(
                certificate.der(),
                &Expected {
                    issuer,
                    key: &meant.key,
                    subject: &meant.subject,
                    extensions: &meant.extensions,
                    longest: self.policy.lifetime + self.policy.backdate,
                    transparency,
                },
            )
        };
        let issued = |leaf, witnessed| Issued {
            leaf,
            chain: self.chain.clone(),
            witnessed,
        };
        let Some(ct_log) = &self.ct_log else {
            let unsigned = profile::prepare_leaf_without_ct(&parameters, issuer)?;
            let signature = self.signer.sign(unsigned.to_be_signed()).await?;
            let leaf = unsigned.seal(&signature)?;
            check(&leaf, Transparency::None)?;
            return Ok(issued(leaf, false));
        };
        let prepared = profile::prepare_leaf(parameters, issuer)?;
        let signature = self.signer.sign(prepared.to_be_signed()).await?;
        let precertificate = prepared.seal(&signature)?;
        check(precertificate.certificate(), Transparency::Poison)?;
        let entry = ct::entry_of_precertificate(precertificate.certificate(), issuer)?;
        // A crash from here on leaves a precertificate in the log without a certificate: harmless, nobody has one for it.
        let sct = ct_log
            .add(&precertificate, &entry, self.chain.certificates(), until)
            .await?;
        let prepared = precertificate.with_scts(&Sct::encode_list(&[sct])?)?;
        let signature = self.signer.sign(prepared.to_be_signed()).await?;
        let leaf = prepared.seal(&signature)?;
        check(&leaf, Transparency::Embedded)?;
        // RFC 6962 3.1: what the log vouched for is this body, byte for byte, but for the poison and the list of SCTs.
        if ct::entry_of_leaf(&leaf, issuer)? != entry {
            return Err(IssueError::Correspondence);
        }
        Ok(issued(leaf, true))
    }
}
