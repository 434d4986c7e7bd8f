//! Which requests get a token.

use const_oid::ObjectIdentifier as Oid;
use jiff::Timestamp;
use pki::Certificate;
use thiserror::Error;
use tsp::{Authority, Request, RequestError, Resolution, Stated};

use crate::time::{Doubt, Timekeeper};

/// The two forms of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A DER `TimeStampReq`.
    Der,
    /// The JSON form of Sigstore's authority.
    Json,
}

/// A request that gets a token, and what that says about time.
#[derive(Debug)]
pub struct Admitted {
    request: Request,
    stated: Stated,
}

/// Why a request gets none.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refusal {
    /// The request itself.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// A policy that is not on the list.
    #[error("the policy {0} is not one of this authority's")]
    Policy(Oid),
    /// A certificate of the chain is not valid now: every verifier would refuse the token.
    #[error("the authority's certificate chain is not valid at {0}")]
    OutOfTime(Timestamp),
    /// Nobody knows what time it is.
    #[error(transparent)]
    Time(#[from] Doubt),
}

/// The rules.
#[derive(Clone, Debug)]
pub struct Door {
    accepted_policies: Vec<Oid>,
    resolution: Resolution,
    time: Timekeeper,
}

impl Door {
    /// `accepted_policies` are those besides the authority's own.
    pub fn new(accepted_policies: Vec<Oid>, resolution: Resolution, time: Timekeeper) -> Self {
        Self {
            accepted_policies,
            resolution,
            time,
        }
    }

    /// Reads a request and decides.
    pub fn admit(
        &self,
        authority: &Authority,
        form: Form,
        body: &[u8],
    ) -> Result<Admitted, Refusal> {
        let request = match form {
            Form::Der => Request::parse_der(body)?,
            Form::Json => Request::parse_json(body)?,
        };
        if let Some(policy) = request.policy
            && policy != authority.policy()
            && !self.accepted_policies.contains(&policy)
        {
            return Err(Refusal::Policy(policy));
        }
        let stated = self.time(authority)?;
        Ok(Admitted { request, stated })
    }

    /// What a token would say now, where the whole chain is valid then.
    pub fn time(&self, authority: &Authority) -> Result<Stated, Refusal> {
        let moment = self.time.now()?;
        let stated = Stated::new(moment.at, moment.error, self.resolution);
        // The token's time and not the clock's: that is what verifiers will ask about.
        if is_valid_at(authority.chain(), stated.time()) {
            Ok(stated)
        } else {
            Err(Refusal::OutOfTime(stated.time()))
        }
    }
}

/// Whether all of these certificates are valid then.
pub(crate) fn is_valid_at(chain: &[Certificate], at: Timestamp) -> bool {
    chain.iter().all(|certificate| certificate.is_valid_at(at))
}

impl Admitted {
    /// What is stamped.
    pub const fn request(&self) -> &Request {
        &self.request
    }

    /// When, and how far that may be off.
    pub const fn stated(&self) -> Stated {
        self.stated
    }
}
