//! Making the certificate: prepared, signed, witnessed, prepared again, signed again, compared.

use std::sync::Arc;
use std::time::Instant;

use ct::{CtError, Sct};
use jiff::{SignedDuration, Timestamp};
use keys::Algorithm;
use pki::Certificate;
use pki::lint::{self, Expected, LintError, Transparency};
use pki::profile::{self, LeafParameters, Precertificate, PreparedPrecertificate, ProfileError};
use serve::Allowance;
use signer::{Signer, SignerError, Watch, random};
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
    /// How closely the signatures of precertificates are looked at; outlives a change of the rest too, as the machine does.
    pub(crate) watch: Watch,
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
        let mut leaf = self.leaf.to_pem();
        leaf.truncate(leaf.trim_end().len());
        let above = self
            .chain
            .pems()
            .iter()
            .map(|pem| pem.trim_end().to_owned());
        std::iter::once(leaf).chain(above).collect()
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
        let precertificate = self.sign_precertificate(prepared).await?;
        check(precertificate.certificate(), Transparency::Poison)?;
        let entry = ct::entry_of_precertificate(precertificate.certificate(), issuer)?;
        // A crash from here on leaves a precertificate in the log without a certificate: harmless, nobody has one for it.
        let sct = ct_log
            .add(&precertificate, &entry, self.chain.certificates(), until)
            .await?;
        let prepared = precertificate.with_scts(&Sct::encode_list(&[sct])?)?;
        let signature = self.signer.sign(prepared.to_be_signed()).await?;
        let leaf = self.noted(prepared.seal(&signature))?;
        check(&leaf, Transparency::Embedded)?;
        // RFC 6962 3.1: what the log vouched for is this body, byte for byte, but for the poison and the list of SCTs.
        if ct::entry_of_leaf(&leaf, issuer)? != entry {
            return Err(IssueError::Correspondence);
        }
        Ok(issued(leaf, true))
    }

    /// A precertificate goes to the log and to nobody else, and the leaf's own signature by the same key is verified before it leaves: so some of
    /// these are verified, and all by a key elsewhere.
    async fn sign_precertificate(
        &self,
        prepared: PreparedPrecertificate,
    ) -> Result<Precertificate, IssueError> {
        let signature = self.signer.sign(prepared.to_be_signed()).await?;
        if self.signer.is_local() && !self.watch.looks(&self.signer) {
            return Ok(prepared.seal_unchecked(&signature)?);
        }
        Ok(self.noted(prepared.seal(&signature))?)
    }

    /// One signature that is wrong, and every one is verified.
    fn noted<T>(&self, sealed: Result<T, ProfileError>) -> Result<T, ProfileError> {
        if let Err(ProfileError::Signature) = sealed {
            self.watch.found_a_wrong_one();
        }
        sealed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use ctlog_rs::submit::AddError;
    use pki::{FulcioExtensions, SubjectName};
    use signer::Signer;

    use crate::ceremony::{self, Named};
    use crate::issuers::Principal;

    fn admitted() -> Admitted {
        let key = Signer::generate(Algorithm::EcdsaP256Sha256).unwrap();
        let mut extensions = FulcioExtensions::default();
        extensions.set_issuer("https://issuer.example");
        let subject = SubjectName::Email("dev@example.com".into());
        let principal = Principal::new(subject, extensions, "dev@example.com");
        Admitted::unproven(principal, key.public_key().clone())
    }

    /// An authority with its log beside it.
    async fn authority(
        folder: &std::path::Path,
        algorithm: Algorithm,
        now: Timestamp,
    ) -> Authority {
        let signer = Signer::generate(algorithm).unwrap();
        let named = Named {
            organization: "Example",
            common_name: "Root",
            not_before: now - SignedDuration::from_hours(1),
            not_after: now + SignedDuration::from_hours(1),
        };
        let root = ceremony::root(&named, &signer).await.unwrap();
        let settings = folder.join("ctlog.toml");
        Signer::create(&folder.join("key.pem"), Algorithm::EcdsaP256Sha256).unwrap();
        let text = "[server]\nlisten = '127.0.0.1:0'\n[log]\nurl = 'http://localhost/2026'\nkey = 'key.pem'\nfolder = 'log'\n";
        std::fs::write(&settings, text).unwrap();
        let closing = serve::Closing::default();
        let roots = std::slice::from_ref(&root);
        let logs = ctlog_rs::app::serve_beside(&settings, roots, &closing)
            .await
            .unwrap();
        Authority {
            chain: Chain::active(vec![root], signer.public_key(), now).unwrap(),
            signer,
            ephemeral: false,
            next: Vec::new(),
            retired: Vec::new(),
            ct_log: Some(CtLog::here(logs)),
            policy: Policy::default(),
            allowance: None,
            watch: Watch::default(),
        }
    }

    #[tokio::test]
    async fn a_wrong_signature_never_leaves_and_is_not_made_twice() {
        let (folder, now) = (tempfile::tempdir().unwrap(), Timestamp::now());
        let mut authority = authority(folder.path(), Algorithm::EcdsaP256Sha256, now).await;
        // The first precertificate is verified, and its chain is known to the log from here on.
        authority.issue(admitted(), now, None).await.unwrap();
        // A machine that computes wrongly: what it signs, the authority's key does not verify.
        authority.signer = Signer::generate(Algorithm::EcdsaP256Sha256).unwrap();
        let wrong =
            |error: &IssueError| matches!(error, IssueError::Profile(ProfileError::Signature));
        // This precertificate is not one of those that are verified; the certificate is.
        let error = authority.issue(admitted(), now, None).await.unwrap_err();
        assert!(wrong(&error), "{error:?}");
        // From here on no precertificate gets as far as the log.
        authority.ct_log = Some(CtLog::here(ctlog_rs::submit::Logs::default()));
        for _ in 0..20 {
            let error = authority.issue(admitted(), now, None).await.unwrap_err();
            assert!(wrong(&error), "{error:?}");
        }
        // With one that was never wrong, they do: one in sixteen does not.
        authority.watch = Watch::default();
        let mut seen = 0;
        for _ in 0..33 {
            match authority.issue(admitted(), now, None).await.unwrap_err() {
                IssueError::CtLog(CtLogError::Here(AddError::Frozen)) => {}
                error if wrong(&error) => {
                    seen += 1;
                    authority.watch = Watch::default();
                    assert!(authority.watch.looks(&authority.signer));
                }
                error => panic!("{error:?}"),
            }
        }
        assert_eq!(seen, 3);
    }

    #[tokio::test]
    async fn every_signature_of_a_key_that_a_wrong_one_gives_away_is_verified_before_the_log_has_it()
     {
        let (folder, now) = (tempfile::tempdir().unwrap(), Timestamp::now());
        let mut authority = authority(folder.path(), Algorithm::RsaPkcs1Sha256_2048, now).await;
        authority.issue(admitted(), now, None).await.unwrap();
        authority.signer = Signer::generate(Algorithm::RsaPkcs1Sha256_2048).unwrap();
        authority.ct_log = Some(CtLog::here(ctlog_rs::submit::Logs::default()));
        for _ in 0..20 {
            authority.watch = Watch::default();
            authority.watch.looks(&authority.signer);
            let error = authority.issue(admitted(), now, None).await.unwrap_err();
            assert!(
                matches!(error, IssueError::Profile(ProfileError::Signature)),
                "{error:?}"
            );
        }
    }
}
