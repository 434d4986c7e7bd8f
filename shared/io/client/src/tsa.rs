//! Asking a timestamp authority (RFC 3161 over HTTP, RFC 3161 3.4).

use keys::{Digest, HashAlgorithm};
use thiserror::Error;
use url::Url;

use crate::agent::{Agent, Call, CallError, Refused};

/// The largest response: tokens that bring their certificates have about five kilobytes.
const RESPONSE_MAX: usize = 64 * 1024;

/// A timestamp authority.
#[derive(Debug, Clone)]
pub struct Tsa {
    agent: Agent,
    url: Url,
}

/// Why there is no timestamp.
#[derive(Debug, Error)]
pub enum TsaError {
    /// No answer.
    #[error("asking for a timestamp")]
    Call(#[from] CallError),
    /// No.
    #[error("the timestamp authority refuses")]
    Refused(#[from] Refused),
    /// The request cannot be written.
    #[error("writing the timestamp request: {0}")]
    Request(String),
    /// An answer of another kind.
    #[error("the timestamp authority answers with {0:?}, expected application/timestamp-reply")]
    MediaType(String),
}

impl Tsa {
    /// `url` is the whole endpoint, as it stands in a signing config.
    pub fn new(agent: &Agent, url: &Url) -> Self {
        Self {
            agent: agent.clone(),
            url: url.clone(),
        }
    }

    /// Asks for a timestamp over the bytes of a signature. The DER response is given as it came and is not verified: that is the
    /// caller's next step.
    pub async fn timestamp(&self, signature: &[u8]) -> Result<Vec<u8>, TsaError> {
        let request = tsp::Request {
            imprint: Digest::of(HashAlgorithm::Sha256, signature),
            policy: None,
            // The signature is new, so that an old response cannot fit; and the authority's certificate is in the trusted root.
            nonce: None,
            certificates: false,
        };
        let request = request
            .to_der()
            .map_err(|error| TsaError::Request(error.to_string()))?;
        let call = Call::post(self.url.clone(), "application/timestamp-query", request)
            .accept("application/timestamp-reply")
            .limit(RESPONSE_MAX);
        let answer = self.agent.send(&call).await?.expect(&[200, 201])?;
        let media_type = answer.media_type();
        if media_type != "application/timestamp-reply" {
            return Err(TsaError::MediaType(crate::printable(&media_type)));
        }
        Ok(answer.body.to_vec())
    }
}
