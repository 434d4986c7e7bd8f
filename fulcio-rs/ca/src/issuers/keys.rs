//! An identity provider's keys: found by discovery (OpenID Connect Discovery 1.0 section 4), cached, and asked for again with restraint.
//!
//! One request is under way at a time for each provider, whoever waits. A token with an unknown key makes us ask again at most every
//! [`INTERVAL`]: otherwise anybody with nonsense tokens could make us flood the provider. While it is down the keys we have go on
//! working, and it is asked again at most every [`PAUSE`].

use std::sync::Arc;

use client::{Agent, Call, CallError, Settings};
use jiff::{SignedDuration, Timestamp};
use oidc::{Jwks, JwksError, MAX_JWKS};
use serde::Deserialize;
use thiserror::Error;
use tokio::sync::Mutex;
use url::Url;

/// How often a provider is asked for new keys at most.
const INTERVAL: SignedDuration = SignedDuration::from_secs(10);
/// How often a provider that did not answer is asked again.
const PAUSE: SignedDuration = SignedDuration::from_secs(5);
/// After this time keys are asked for anew, so that a withdrawn one does not work for ever.
const AGE: SignedDuration = SignedDuration::from_hours(1);
/// A discovery document has 2 kB.
const MAX_DOCUMENT: usize = 64 * 1024;

/// Why there are no keys.
#[derive(Debug, Error)]
pub(crate) enum KeyError {
    /// The provider's URL is none.
    #[error("not a URL: {0}")]
    Url(#[from] url::ParseError),
    /// It did not answer.
    #[error(transparent)]
    Call(#[from] CallError),
    /// It refused.
    #[error(transparent)]
    Refused(#[from] client::Refused),
    /// Its discovery document is none, or another provider's.
    #[error("the discovery document: {0}")]
    Document(String),
    /// Its key set is none.
    #[error(transparent)]
    Jwks(#[from] JwksError),
    /// It did not answer a moment ago, and is not asked again yet.
    #[error("it did not answer a moment ago: {0}")]
    Again(String),
}

#[derive(Debug)]
pub(super) struct KeySource {
    issuer: String,
    discovery: Url,
    agent: Agent,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    keys: Option<Arc<Jwks>>,
    fetched: Option<Timestamp>,
    failed: Option<(Timestamp, String)>,
}

#[derive(Deserialize)]
struct Document {
    issuer: String,
    jwks_uri: String,
}

impl KeySource {
    pub(super) fn new(issuer: &str, settings: Settings) -> Result<Self, KeyError> {
        let discovery = Url::parse(&format!(
            "{}/.well-known/openid-configuration",
            issuer.trim_end_matches('/')
        ))?;
        Ok(Self {
            issuer: issuer.to_owned(),
            discovery,
            agent: Agent::new(settings),
            state: Mutex::default(),
        })
    }

    /// The keys that we have, unless they are old.
    pub(super) async fn current(&self, now: Timestamp) -> Result<Arc<Jwks>, KeyError> {
        let mut state = self.state.lock().await;
        match (&state.keys, state.fetched) {
            (Some(keys), Some(at)) if now.duration_since(at) < AGE => Ok(keys.clone()),
            _ => self.fetch(&mut state, now).await,
        }
    }

    /// Keys that were fetched just now; none where the provider was asked a moment ago.
    pub(super) async fn newer(&self, now: Timestamp) -> Result<Option<Arc<Jwks>>, KeyError> {
        let mut state = self.state.lock().await;
        if state
            .fetched
            .is_some_and(|at| now.duration_since(at) < INTERVAL)
        {
            return Ok(None);
        }
        Ok(Some(self.fetch(&mut state, now).await?))
    }

    async fn fetch(&self, state: &mut State, now: Timestamp) -> Result<Arc<Jwks>, KeyError> {
        if let Some((at, why)) = &state.failed
            && now.duration_since(*at) < PAUSE
        {
            return state
                .keys
                .clone()
                .ok_or_else(|| KeyError::Again(why.clone()));
        }
        match self.ask().await {
            Ok(keys) => {
                let keys = Arc::new(keys);
                *state = State {
                    keys: Some(keys.clone()),
                    fetched: Some(now),
                    failed: None,
                };
                metrics::counter!("fulcio_issuer_key_fetches", "issuer" => self.issuer.clone(), "outcome" => "ok").increment(1);
                Ok(keys)
            }
            Err(error) => {
                tracing::warn!(issuer = self.issuer, error = %error, "cannot fetch the issuer's keys");
                metrics::counter!("fulcio_issuer_key_fetches", "issuer" => self.issuer.clone(), "outcome" => "failed").increment(1);
                state.failed = Some((now, error.to_string()));
                state.keys.clone().ok_or(error)
            }
        }
    }

    async fn ask(&self) -> Result<Jwks, KeyError> {
        let answer = self
            .agent
            .send(&Call::get(self.discovery.clone()).limit(MAX_DOCUMENT))
            .await?
            .expect(&[200])?;
        let document: Document = serde_json::from_slice(&answer.body)
            .map_err(|error| KeyError::Document(error.to_string()))?;
        // OpenID Connect Discovery 4.3: a document of another issuer must not be used.
        if document.issuer != self.issuer {
            return Err(KeyError::Document(format!(
                "it is of {:?}",
                document.issuer.chars().take(200).collect::<String>()
            )));
        }
        let keys = self
            .agent
            .send(&Call::get(Url::parse(&document.jwks_uri)?).limit(MAX_JWKS))
            .await?
            .expect(&[200])?;
        Ok(Jwks::parse(&keys.body)?)
    }
}
