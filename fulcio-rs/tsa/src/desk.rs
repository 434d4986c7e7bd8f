//! Who signs: key and certificates, which can be replaced while requests are under way.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use jiff::Timestamp;
use keys::Algorithm;
use pki::{Certificate, PathError};
use signer::{Signer, SignerError};
use thiserror::Error;
use tsp::{Authority, Malformed, Request, Stated};

use crate::config::{Certificates, TsaConfig};

/// Why an authority cannot work with a key and a chain.
#[derive(Debug, Error)]
pub enum BuildError {
    /// A leaf alone, or nothing.
    #[error("the chain has {0} certificates; the signer's own and its root are the least")]
    Short(usize),
    /// The leaf is about another key.
    #[error("the first certificate of the chain is not the key's")]
    Key,
    /// A link does not hold, or the leaf is not made for timestamps alone.
    #[error("the chain cannot be used")]
    Path(#[source] PathError),
}

/// Why a token could not be made, and it is not the request's fault.
#[derive(Debug, Error)]
pub(crate) enum StampError {
    /// The key, or the source of serial numbers.
    #[error("the key does not sign")]
    Signer(#[from] SignerError),
    /// What was made is no token.
    #[error("the token does not close")]
    Token(#[from] Malformed),
}

/// One of so many signatures of a key in this process is verified before it leaves. Verifying takes more than twice as long as all else that a
/// token costs, and what it can find is a machine that computes wrongly: that will show in one of the next, and the client sees a
/// wrong token as well as we do. Signatures of a key elsewhere are all verified, by `signer`; and here those of RSA and Ed25519, of which a wrong one
/// can give the key away (an ECDSA signature has randomness of its own, so that a wrong one says nothing).
const CHECKED: u64 = 16;

/// How closely an officer's own signatures are looked at. Clones are the same.
#[derive(Clone, Debug, Default)]
struct Watch(Arc<WatchState>);

#[derive(Debug, Default)]
struct WatchState {
    made: AtomicU64,
    /// One did not verify: from then on every one is.
    wary: AtomicBool,
}

impl Watch {
    /// Whether the next signature is verified; the first one is.
    fn looks(&self) -> bool {
        let made = self.0.made.fetch_add(1, Ordering::Relaxed);
        made.is_multiple_of(CHECKED) || self.0.wary.load(Ordering::Relaxed)
    }

    fn found_a_wrong_one(&self) {
        self.0.wary.store(true, Ordering::Relaxed);
        tracing::error!(
            "a signature of the authority's own key does not verify: this machine computes wrongly; every signature is verified from now on"
        );
    }
}

/// A key and its chain, which were found to fit.
#[derive(Clone, Debug)]
pub struct Officer {
    authority: Authority,
    signer: Signer,
    watch: Watch,
    /// PEM, leaf first.
    pem: Arc<str>,
}

impl Officer {
    /// Checks that they fit, and that clients will take the chain at `now`.
    pub fn new(
        config: &TsaConfig,
        signer: Signer,
        chain: Vec<Certificate>,
        now: Timestamp,
    ) -> Result<Self, BuildError> {
        let leaf = match chain.as_slice() {
            [leaf, _, ..] => leaf,
            short => return Err(BuildError::Short(short.len())),
        };
        if leaf.public_key() != signer.public_key() {
            return Err(BuildError::Key);
        }
        let pem = chain.iter().map(Certificate::to_pem).collect::<String>();
        let whole = config.certificates == Certificates::Chain;
        let authority = Authority::new(chain, Some(config.policy), whole, now);
        Ok(Self {
            authority: authority.map_err(BuildError::Path)?,
            signer,
            watch: Watch::default(),
            pem: pem.into(),
        })
    }

    /// Whose tokens these are.
    pub const fn authority(&self) -> &Authority {
        &self.authority
    }

    pub(crate) fn pem(&self) -> &str {
        &self.pem
    }

    /// Makes a token: a whole `TimeStampResp`.
    pub(crate) async fn stamp(
        &self,
        request: &Request,
        stated: Stated,
    ) -> Result<Vec<u8>, StampError> {
        let serial = signer::random::bytes()?;
        let prepared = tsp::prepare(&self.authority, request, serial, stated)?;
        let signature = self.signer.sign(prepared.to_be_signed()).await?;
        let harmless = matches!(
            self.signer.algorithm(),
            Algorithm::EcdsaP256Sha256 | Algorithm::EcdsaP384Sha384 | Algorithm::EcdsaP521Sha512
        );
        if !self.signer.is_local() || harmless && !self.watch.looks() {
            return Ok(prepared.seal_unchecked(&signature)?);
        }
        let sealed = prepared.seal(&signature);
        if sealed.is_err() {
            self.watch.found_a_wrong_one();
        }
        Ok(sealed?)
    }
}

/// Where the officer sits. Clones are the same desk.
#[derive(Clone, Debug)]
pub struct Desk(Arc<RwLock<Arc<Officer>>>);

impl Desk {
    /// With its first officer.
    pub fn new(officer: Officer) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(officer))))
    }

    /// The one of now. A request that has begun is finished by whom it began with.
    pub fn officer(&self) -> Arc<Officer> {
        let officer = self.0.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&officer)
    }

    /// From now on another one.
    pub fn replace(&self, officer: Officer) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(officer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_signatures_are_looked_at_and_all_of_them_once_one_was_wrong() {
        let watch = Watch::default();
        let looked = |count: usize| (0..count).filter(|_| watch.looks()).count();
        // The first one, so that a start with a bad machine is noticed at once; then one of sixteen.
        assert_eq!((looked(1), looked(15), looked(1)), (1, 0, 1));
        assert_eq!(looked(1600), 100);
        watch.clone().found_a_wrong_one();
        assert_eq!(looked(100), 100);
    }
}
