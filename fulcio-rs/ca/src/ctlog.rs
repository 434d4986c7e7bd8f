//! The CT log that witnesses every certificate, over HTTP (RFC 6962 section 4.2).

use client::{Agent, Call, CallError, Refused, Settings};
use ct::{AddChainReply, AddChainRequest, CtError, Sct};
use keys::PublicKey;
use pki::Certificate;
use std::time::Duration;
use thiserror::Error;
use url::Url;

/// Why the log did not vouch.
#[derive(Debug, Error)]
pub(crate) enum CtLogError {
    #[error(transparent)]
    Call(#[from] CallError),
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error("the CT log's answer: {0}")]
    Answer(String),
    #[error("the CT log's SCT")]
    Sct(#[from] CtError),
}

/// The log, with the key that its SCTs must verify with.
#[derive(Debug, Clone)]
pub(crate) struct CtLog {
    agent: Agent,
    add: Url,
    roots: Url,
    key: PublicKey,
}

impl CtLog {
    pub(crate) fn new(url: &Url, key: PublicKey) -> Result<Self, url::ParseError> {
        // A client waits a minute for a certificate: several short tries are worth more than one long one.
        let settings = Settings {
            connect_timeout: Duration::from_secs(3),
            read_timeout: Duration::from_secs(8),
            call_timeout: Duration::from_secs(10),
            attempts: 4,
            first_pause: Duration::from_millis(200),
            longest_pause: Duration::from_secs(5),
            ..Settings::default()
        };
        let at = |method: &str| {
            let base = url.as_str().trim_end_matches('/');
            Url::parse(&format!("{base}/ct/v1/{method}"))
        };
        Ok(Self {
            agent: Agent::new(settings),
            add: at("add-pre-chain")?,
            roots: at("get-roots")?,
            key,
        })
    }

    /// Has a precertificate witnessed. The SCT is checked before it goes into a certificate.
    pub(crate) async fn add(
        &self,
        precertificate: &Certificate,
        chain: &[Certificate],
    ) -> Result<Sct, CtLogError> {
        let request = AddChainRequest {
            chain: std::iter::once(precertificate)
                .chain(chain)
                .map(|certificate| certificate.der().into())
                .collect(),
        };
        let body =
            serde_json::to_vec(&request).map_err(|error| CtLogError::Answer(error.to_string()))?;
        let answer = self
            .agent
            .send(&Call::post(self.add.clone(), "application/json", body))
            .await?
            .expect(&[200])?;
        let reply: AddChainReply = serde_json::from_slice(&answer.body)
            .map_err(|error| CtLogError::Answer(error.to_string()))?;
        let sct = reply.sct()?;
        let issuer = chain.first().ok_or(CtError::NotPrecertificate)?;
        sct.verify(
            &ct::entry_of_precertificate(precertificate, issuer)?,
            &self.key,
        )?;
        Ok(sct)
    }

    /// Does the log answer? It is asked what roots it accepts (RFC 6962 4.7, and the submission side of static-ct-api), which changes nothing.
    pub(crate) async fn probe(&self) -> Result<(), CtLogError> {
        let roots = Call::get(self.roots.clone());
        self.agent.send(&roots).await?.expect(&[200])?;
        Ok(())
    }
}
