//! Which requests get a token.

use const_oid::ObjectIdentifier as Oid;
use jiff::Timestamp;
use serve::Clock;
use thiserror::Error;
use tsp::{Authority, Request, RequestError};

/// The two forms of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A DER `TimeStampReq`.
    Der,
    /// The JSON form of Sigstore's authority.
    Json,
}

/// A request that gets a token, and the time that the token states.
#[derive(Debug)]
pub struct Admitted {
    request: Request,
    at: Timestamp,
}

/// Why a request gets none. The texts are those of Sigstore's authority where it has one.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refusal {
    /// The request itself.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// A policy that is not on the list.
    #[error("unaccepted policy: {0}")]
    Policy(Oid),
    /// A certificate of the chain is not valid now: every verifier would refuse the token.
    #[error("the authority's certificate chain is not valid at {0}")]
    OutOfTime(Timestamp),
}

/// The rules.
#[derive(Clone, Debug)]
pub struct Door {
    authority: Authority,
    accepted_policies: Vec<Oid>,
    clock: Clock,
}

impl Door {
    /// `accepted_policies` are those besides the authority's own.
    pub fn new(authority: Authority, accepted_policies: Vec<Oid>, clock: Clock) -> Self {
        Self {
            authority,
            accepted_policies,
            clock,
        }
    }

    /// Whose tokens these are.
    pub const fn authority(&self) -> &Authority {
        &self.authority
    }

    /// Reads a request and decides.
    pub fn admit(&self, form: Form, body: &[u8]) -> Result<Admitted, Refusal> {
        let request = match form {
            Form::Der => Request::parse_der(body)?,
            Form::Json => Request::parse_json(body)?,
        };
        if let Some(policy) = request.policy
            && policy != self.authority.policy()
            && !self.accepted_policies.contains(&policy)
        {
            return Err(Refusal::Policy(policy));
        }
        Ok(Admitted {
            request,
            at: self.check_time()?,
        })
    }

    /// The time, where the whole chain is valid then.
    pub fn check_time(&self) -> Result<Timestamp, Refusal> {
        // A token has whole seconds, so this is the time that verifiers will ask about.
        let now = self.clock.now();
        let at = Timestamp::from_second(now.as_second()).unwrap_or(now);
        let valid = self
            .authority
            .chain()
            .iter()
            .all(|certificate| certificate.is_valid_at(at));
        valid.then_some(at).ok_or(Refusal::OutOfTime(at))
    }
}

impl Admitted {
    /// What is stamped.
    pub const fn request(&self) -> &Request {
        &self.request
    }

    /// The time that the token states, in whole seconds.
    pub const fn at(&self) -> Timestamp {
        self.at
    }
}
