//! Who signs: key and certificates, which can be replaced while requests are under way.

use std::sync::{Arc, PoisonError, RwLock};

use jiff::Timestamp;
use pki::{Certificate, PathError};
use signer::{Signer, SignerError, Watch};
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
        // A wrong token convinces nobody: the client verifies it as well as we do.
        if !self.watch.looks(&self.signer) {
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
