//! An identity provider's keys: found by discovery (OpenID Connect Discovery 1.0 section 4), cached, and asked for again with restraint.
//!
//! One request is under way at a time for each provider, and it goes on when the client that caused it has gone. A token with an unknown key
//! makes us ask again at most every [`INTERVAL`]: otherwise anybody with nonsense tokens could make us flood the provider. While it is
//! down, or slow, the keys that we have go on working for up to [`LIFE`], nobody who has keys waits for it, and it is asked again at most
//! every [`PAUSE`].
//!
//! Who controls a provider names its key set, and nothing more: no redirect leads to another host (GHSA-f5mr-q85p-6hh6), no key set is fetched
//! from this machine or without TLS for a provider elsewhere, and a large or slow answer is none.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use client::{Agent, Call, CallError, Settings};
use jiff::{SignedDuration, Timestamp};
use oidc::{Jwks, JwksError, MAX_JWKS};
use serde::Deserialize;
use thiserror::Error;
use tokio::sync::OwnedMutexGuard;
use url::{Host, Url};

use super::cluster::Cluster;

/// How often a provider is asked for new keys at most.
const INTERVAL: SignedDuration = SignedDuration::from_secs(10);
/// How often a provider that did not answer is asked again.
const PAUSE: SignedDuration = SignedDuration::from_secs(5);
/// After this time keys are asked for anew, so that a withdrawn one does not work for ever.
const AGE: SignedDuration = SignedDuration::from_hours(1);
/// After this time keys are not used any more, though the provider cannot be asked: whoever has a withdrawn key could see to that.
const LIFE: SignedDuration = SignedDuration::from_hours(24);
/// How much later than now something may be that has happened: more than a request has in all.
const WAITED: SignedDuration = SignedDuration::from_mins(2);
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
    /// The files of the cluster that this runs in.
    #[error("cannot read {path}, which the cluster's own issuer needs")]
    Cluster {
        /// Which file.
        path: std::path::PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// Too many providers that nobody has heard of are being asked.
    #[error("too many issuers of this pattern are asked for the first time just now")]
    Busy,
    /// Its documents did not come in time.
    #[error("its discovery document and keys did not come within {} s", ASK_MAX.as_secs())]
    Slow,
    /// It did not answer a moment ago, and is not asked again yet.
    #[error("it did not answer a moment ago: {0}")]
    Again(String),
}

#[derive(Debug, Clone)]
pub(super) struct KeySource(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    issuer: String,
    /// What figures call it: its URL, or the pattern that it matches.
    label: String,
    discovery: Url,
    agent: Agent,
    cluster: Option<Cluster>,
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

/// How it stands with an issuer's keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuerStatus {
    /// Its URL.
    pub issuer: String,
    /// When its keys came; none if they never did.
    pub keys_since: Option<Timestamp>,
    /// When and why it last failed to answer, unless it has answered since.
    pub failure: Option<(Timestamp, String)>,
}

impl IssuerStatus {
    /// Are there keys that tokens are still verified with?
    pub fn has_keys(&self, now: Timestamp) -> bool {
        self.keys_since.is_some_and(|at| are_usable(at, now))
    }
}

/// Keys that came then.
fn are_usable(fetched: Timestamp, now: Timestamp) -> bool {
    now.duration_since(fetched).abs() < LIFE
}

/// Was it no longer ago than that? Requests that had to wait come from a little before. From long before they come when the clock was set back
/// meanwhile: then nobody knows how long ago it was, and it was too long.
fn is_within(time: SignedDuration, at: Timestamp, now: Timestamp) -> bool {
    let ago = now.duration_since(at);
    -WAITED <= ago && ago < time
}

impl State {
    /// The keys that may still be used.
    fn usable(&self, now: Timestamp) -> Option<Arc<Jwks>> {
        let fetched = self.fetched.filter(|at| are_usable(*at, now));
        fetched.and(self.keys.clone())
    }

    fn is_fresh(&self, now: Timestamp) -> bool {
        self.fetched.is_some_and(|at| is_within(AGE, at, now))
    }

    /// Why the provider is not asked now.
    fn paused(&self, now: Timestamp) -> Option<&str> {
        let (at, why) = self.failed.as_ref()?;
        is_within(PAUSE, *at, now).then_some(why)
    }
}

#[derive(Deserialize)]
struct Document {
    issuer: String,
    jwks_uri: String,
    id_token_signing_alg_values_supported: Option<Vec<String>>,
}

impl KeySource {
    /// `label` is what its figures are called; a pattern's name where there may be many of them.
    pub(super) fn new(issuer: &str, label: &str, settings: Settings) -> Result<Self, KeyError> {
        Self::with(issuer, label, settings, None)
    }

    /// Is it asked with the files of the pod?
    pub(super) fn is_in_cluster(&self) -> bool {
        self.0.cluster.is_some()
    }

    /// The cluster's own issuer, which is asked with the files of the pod.
    pub(super) fn in_cluster(
        issuer: &str,
        settings: Settings,
        cluster: Cluster,
    ) -> Result<Self, KeyError> {
        Self::with(issuer, issuer, settings, Some(cluster))
    }

    fn with(
        issuer: &str,
        label: &str,
        settings: Settings,
        cluster: Option<Cluster>,
    ) -> Result<Self, KeyError> {
        let discovery = Url::parse(&format!(
            "{}/.well-known/openid-configuration",
            issuer.strip_suffix('/').unwrap_or(issuer)
        ))?;
        Ok(Self(Arc::new(Inner {
            issuer: issuer.to_owned(),
            label: label.to_owned(),
            discovery,
            agent: Agent::new(settings),
            cluster,
            state: Mutex::default(),
            asking: Arc::default(),
        })))
    }

    /// Would [`current`](Self::current) ask the provider now?
    pub(super) fn would_ask(&self, now: Timestamp) -> bool {
        let state = self.0.state();
        let fresh = state.is_fresh(now) && state.usable(now).is_some();
        !fresh && state.paused(now).is_none()
    }

    pub(super) fn status(&self) -> IssuerStatus {
        let state = self.0.state();
        IssuerStatus {
            issuer: self.0.issuer.clone(),
            keys_since: state.fetched,
            failure: state.failed,
        }
    }

    /// The keys that we have, unless they are old.
    pub(super) async fn current(&self, now: Timestamp) -> Result<Arc<Jwks>, KeyError> {
        let state = self.0.state();
        let turn = if let Some(keys) = state.usable(now) {
            if state.is_fresh(now) || state.paused(now).is_some() {
                return Ok(keys);
            }
            // Old ones do for now if somebody else is asking already.
            let Ok(turn) = self.0.asking.clone().try_lock_owned() else {
                return Ok(keys);
            };
            turn
        } else {
            self.0.asking.clone().lock_owned().await
        };
        let state = self.0.state();
        match state.usable(now) {
            // Whoever had the turn before, or since we looked, has found them.
            Some(keys) if state.is_fresh(now) => Ok(keys),
            _ => self.fetch(turn, now).await,
        }
    }

    /// Other keys than `known`, fetched just now; none where the provider was asked a moment ago and had no others. An error where it cannot be asked:
    /// nobody knows then whether it has others.
    pub(super) async fn newer(
        &self,
        known: &Arc<Jwks>,
        now: Timestamp,
    ) -> Result<Option<Arc<Jwks>>, KeyError> {
        let recent = |state: &State| {
            let fetched = state.fetched;
            fetched.is_some_and(|at| is_within(INTERVAL, at, now))
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
        let keys = self.fetch(turn, now).await?;
        if Arc::ptr_eq(&keys, known) {
            // What it has just answered would be another set, though with the same keys.
            let failed = self.0.state().failed;
            return Err(KeyError::Again(
                failed.map(|(_, why)| why).unwrap_or_default(),
            ));
        }
        Ok(Some(keys))
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
        metrics::counter!("fulcio_issuer_key_fetches", "issuer" => self.label.clone(), "outcome" => outcome).increment(1);
        // Their age is the time less this; it goes on while the provider is down.
        #[expect(clippy::as_conversions, clippy::cast_precision_loss, reason = "a gauge is a float; seconds are exact for the next 285 million years")]
        metrics::gauge!("fulcio_issuer_asked_timestamp_seconds", "issuer" => self.label.clone(), "outcome" => outcome).set(now.as_second() as f64);
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
        let (agent, bearer) = match &self.cluster {
            None => (self.agent.clone(), None),
            Some(cluster) => cluster.credentials(self.agent.settings()).await?,
        };
        let get = |url: Url, limit| {
            let call = Call::get(url).limit(limit);
            match &bearer {
                // The pod's token is for this host alone; the agent follows no redirect to another.
                Some(token) if call.url().origin() == self.discovery.origin() => {
                    call.authorization("Bearer", token)
                }
                _ => call,
            }
        };
        let answer = agent
            .send(&get(self.discovery.clone(), MAX_DOCUMENT))
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
        let keys = agent
            .send(&get(self.key_set(&document.jwks_uri)?, MAX_JWKS))
            .await?
            .expect(&[200])?;
        let keys = Jwks::parse(&keys.body)?;
        Ok(match document.id_token_signing_alg_values_supported {
            Some(algorithms) => keys.announced(algorithms),
            None => keys,
        })
    }

    /// Where the key set is: at the provider's own host, or elsewhere under a name with TLS, as Google's is.
    fn key_set(&self, text: &str) -> Result<Url, KeyError> {
        let url = Url::parse(text)?;
        let named = matches!(url.host(), Some(Host::Domain(_)));
        let elsewhere = url.scheme() == "https" && named && !client::is_loopback(&url);
        if url.host() == self.discovery.host() && url.scheme() == self.discovery.scheme() {
            return Ok(url);
        }
        if elsewhere {
            return Ok(url);
        }
        Err(KeyError::Document(format!(
            "its jwks_uri {:?} is not at the issuer's host and not under a public name with TLS",
            text.chars().take(200).collect::<String>()
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_back_stops_no_provider_from_being_asked() {
        let at = |seconds: i64| Timestamp::from_second(1_800_000_000 + seconds).unwrap();
        let key = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
        let state = State {
            keys: Some(Arc::new(Jwks::parse(key.as_bytes()).unwrap())),
            fetched: Some(at(0)),
            failed: Some((at(0), "it was away".into())),
        };
        let told = |seconds| {
            let now = at(seconds);
            (
                state.is_fresh(now),
                state.usable(now).is_some(),
                state.paused(now).is_some(),
            )
        };
        // Somebody who came before and had to wait.
        assert_eq!(told(-30), (true, true, true));
        assert_eq!(told(4), (true, true, true));
        assert_eq!(told(60), (true, true, false));
        assert_eq!(told(3_600), (false, true, false));
        assert_eq!(told(24 * 3_600), (false, false, false));
        // The clock was an hour ahead when they came, or a year.
        assert_eq!(told(-3_600), (false, true, false));
        assert_eq!(told(-365 * 24 * 3_600), (false, false, false));
    }
}
