//! An identity provider's keys: found by discovery (OpenID Connect Discovery 1.0 section 4), cached, and asked for again with restraint.
//!
//! One request is under way at a time for each provider, and it goes on when the client that caused it has gone. A token with an unknown key
//! makes us ask again at most every [`INTERVAL`]: otherwise anybody with nonsense tokens could make us flood the provider. While it is
//! down, or slow, the keys that we have go on working for up to [`LIFE`], nobody who has keys waits for it, and it is asked again at most
//! every [`PAUSE`].

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use client::{Agent, Call, CallError, Settings};
use jiff::{SignedDuration, Timestamp};
use oidc::{Jwks, JwksError, MAX_JWKS};
use serde::Deserialize;
use thiserror::Error;
use tokio::sync::OwnedMutexGuard;
use url::Url;

/// How often a provider is asked for new keys at most.
const INTERVAL: SignedDuration = SignedDuration::from_secs(10);
/// How often a provider that did not answer is asked again.
const PAUSE: SignedDuration = SignedDuration::from_secs(5);
/// After this time keys are asked for anew, so that a withdrawn one does not work for ever.
const AGE: SignedDuration = SignedDuration::from_hours(1);
/// After this time keys are not used any more, though the provider cannot be asked: whoever has a withdrawn key could see to that.
const LIFE: SignedDuration = SignedDuration::from_hours(24);
/// How long both documents may take together.
const ASK_MAX: Duration = Duration::from_secs(10);
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
    /// Its documents did not come in time.
    #[error("its discovery document and keys did not come within {} s", ASK_MAX.as_secs())]
    Slow,
    /// It did not answer a moment ago, and is not asked again yet.
    #[error("it did not answer a moment ago: {0}")]
    Again(String),
}

#[derive(Debug)]
pub(super) struct KeySource(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    issuer: String,
    discovery: Url,
    agent: Agent,
    state: Mutex<State>,
    /// Held while the provider is asked.
    asking: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Clone, Debug, Default)]
struct State {
    keys: Option<Arc<Jwks>>,
    fetched: Option<Timestamp>,
    failed: Option<(Timestamp, String)>,
}

impl State {
    /// The keys that may still be used.
    fn usable(&self, now: Timestamp) -> Option<Arc<Jwks>> {
        let fetched = self.fetched.filter(|at| now.duration_since(*at) < LIFE);
        fetched.and(self.keys.clone())
    }

    fn is_fresh(&self, now: Timestamp) -> bool {
        self.fetched.is_some_and(|at| now.duration_since(at) < AGE)
    }

    /// Why the provider is not asked now.
    fn paused(&self, now: Timestamp) -> Option<&str> {
        let (at, why) = self.failed.as_ref()?;
        (now.duration_since(*at) < PAUSE).then_some(why)
    }
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
        Ok(Self(Arc::new(Inner {
            issuer: issuer.to_owned(),
            discovery,
            agent: Agent::new(settings),
            state: Mutex::default(),
            asking: Arc::default(),
        })))
    }

    /// The keys that we have, unless they are old.
    pub(super) async fn current(&self, now: Timestamp) -> Result<Arc<Jwks>, KeyError> {
        let state = self.0.state();
        if let Some(keys) = state.usable(now) {
            if state.is_fresh(now) || state.paused(now).is_some() {
                return Ok(keys);
            }
            // Old ones do for now if somebody else is asking already.
            let Ok(turn) = self.0.asking.clone().try_lock_owned() else {
                return Ok(keys);
            };
            return self.fetch(turn, now).await;
        }
        let turn = self.0.asking.clone().lock_owned().await;
        let state = self.0.state();
        match state.usable(now) {
            // Whoever had the turn before has found them.
            Some(keys) if state.is_fresh(now) => Ok(keys),
            _ => self.fetch(turn, now).await,
        }
    }

    /// Other keys than `known`, fetched just now; none where the provider was asked a moment ago and had no others.
    pub(super) async fn newer(
        &self,
        known: &Arc<Jwks>,
        now: Timestamp,
    ) -> Result<Option<Arc<Jwks>>, KeyError> {
        let recent = |state: &State| {
            let fetched = state.fetched;
            fetched.is_some_and(|at| now.duration_since(at) < INTERVAL)
        };
        let others = |state: &State| {
            let keys = state.usable(now);
            keys.filter(|keys| !Arc::ptr_eq(keys, known))
        };
        let state = self.0.state();
        if recent(&state) {
            return Ok(others(&state));
        }
        let turn = self.0.asking.clone().lock_owned().await;
        let state = self.0.state();
        if recent(&state) {
            return Ok(others(&state));
        }
        Ok(Some(self.fetch(turn, now).await?))
    }

    /// Asks the provider, unless it failed a moment ago. The task is its own: a client that goes away does not end it.
    async fn fetch(
        &self,
        turn: OwnedMutexGuard<()>,
        now: Timestamp,
    ) -> Result<Arc<Jwks>, KeyError> {
        let state = self.0.state();
        if let Some(why) = state.paused(now) {
            return state
                .usable(now)
                .ok_or_else(|| KeyError::Again(why.to_owned()));
        }
        let inner = self.0.clone();
        let task = tokio::spawn(async move {
            let fetched = inner.refresh(now).await;
            drop(turn);
            fetched
        });
        task.await
            .map_err(|_| KeyError::Again("the request was interrupted".to_owned()))?
    }
}

impl Inner {
    fn state(&self) -> State {
        let state = self.state.lock();
        state.unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn refresh(&self, now: Timestamp) -> Result<Arc<Jwks>, KeyError> {
        let begun = Instant::now();
        let asked = tokio::time::timeout(ASK_MAX, self.ask()).await;
        let asked = asked.unwrap_or(Err(KeyError::Slow));
        let outcome = if asked.is_ok() { "ok" } else { "failed" };
        metrics::counter!("fulcio_issuer_key_fetches", "issuer" => self.issuer.clone(), "outcome" => outcome).increment(1);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match asked {
            Ok(keys) => {
                let keys = Arc::new(keys);
                *state = State {
                    keys: Some(keys.clone()),
                    fetched: Some(now),
                    failed: None,
                };
                Ok(keys)
            }
            Err(error) => {
                tracing::warn!(issuer = self.issuer, error = %error, "cannot fetch the issuer's keys");
                // The pause begins when it has failed, and not when somebody came.
                let at = SignedDuration::try_from(begun.elapsed()).unwrap_or_default();
                let at = now.checked_add(at).unwrap_or(now);
                state.failed = Some((at, error.to_string()));
                state.usable(now).ok_or(error)
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
