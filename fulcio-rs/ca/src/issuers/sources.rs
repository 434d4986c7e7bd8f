//! The keys of issuers that match a pattern: as many as there are tenants, so they are kept within bounds.
//!
//! Anybody can send tokens that name issuers which do not exist, and a tenant may be hostile. So those whose keys we have, and those that were
//! only named, are kept apart, and the second never push out the first. Few of the second are asked at a time, of one host fewer still, and
//! an issuer that several clients name at once is asked for one of them: who hangs keeps his own places, and not those of others. And where
//! room is needed, it is taken from the host that has most of it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use client::Settings;
use jiff::Timestamp;
use oidc::Jwks;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use url::Url;

use super::keys::{KeyError, KeySource};

/// How many issuers of a pattern are kept: those with keys, and those without.
const MAX_KNOWN: usize = 1000;
const MAX_NAMED: usize = 200;
/// How many issuers without keys are asked at a time, and how many at one host: a request takes milliseconds where nobody means harm, and at
/// the most the ten seconds of `keys`.
const FIRST_MEETINGS: usize = 64;
const MEETINGS_OF_A_HOST: usize = 8;
/// How long one waits for its turn.
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(super) struct Sources {
    pattern: String,
    settings: Settings,
    state: Mutex<State>,
    meetings: Arc<Semaphore>,
}

#[derive(Debug, Default)]
struct State {
    turn: u64,
    known: HashMap<String, Held>,
    named: HashMap<String, Held>,
    /// Of hosts where somebody is asked for the first time just now.
    hosts: HashMap<String, Arc<Semaphore>>,
}

#[derive(Clone, Debug)]
struct Held {
    /// When it was last asked for.
    used: u64,
    host: String,
    source: KeySource,
    /// Held by the one client for whom an issuer is met.
    door: Arc<tokio::sync::Mutex<()>>,
}

impl Sources {
    pub(super) fn new(pattern: &str, settings: Settings) -> Self {
        Self {
            pattern: pattern.to_owned(),
            settings,
            state: Mutex::default(),
            meetings: Arc::new(Semaphore::new(FIRST_MEETINGS)),
        }
    }

    /// The issuer's keys, and where newer ones come from.
    pub(super) async fn current(
        &self,
        issuer: &str,
        now: Timestamp,
    ) -> Result<(KeySource, Arc<Jwks>), KeyError> {
        let (held, known) = self.held(issuer)?;
        if known {
            let keys = held.source.current(now).await?;
            return Ok((held.source, keys));
        }
        // Whoever stands here waits for the answer that another client is getting.
        let _first = held.door.lock().await;
        // No place is needed for what needs no question: it failed a moment ago, or was met while we waited.
        let keys = if held.source.would_ask(now) {
            let place = self.place(&held.host).await?;
            let source = held.source.clone();
            // The question goes on when the client goes, and its place is taken until it has ended.
            let asking = tokio::spawn(async move {
                let _place = place;
                source.current(now).await
            });
            let keys = asking.await;
            keys.map_err(|_| KeyError::Again("the request was interrupted".to_owned()))??
        } else {
            held.source.current(now).await?
        };
        let mut state = self.state();
        state.named.remove(issuer);
        let source = held.source.clone();
        state.keep_known(issuer, held.clone());
        Ok((source, keys))
    }

    /// A place for a first meeting, among those of the host and then among all.
    async fn place(&self, host: &str) -> Result<Place, KeyError> {
        let of_host = {
            let mut state = self.state();
            state
                .hosts
                .retain(|_, places| Arc::strong_count(places) > 1);
            let places = state.hosts.entry(host.to_owned());
            places
                .or_insert_with(|| Arc::new(Semaphore::new(MEETINGS_OF_A_HOST)))
                .clone()
        };
        let both = async {
            let host = of_host.acquire_owned().await.ok()?;
            let all = self.meetings.clone().acquire_owned().await.ok()?;
            Some(Place {
                _host: host,
                _all: all,
            })
        };
        let place = tokio::time::timeout(PATIENCE, both).await;
        place.ok().flatten().ok_or(KeyError::Busy)
    }

    /// And whether it is one whose keys we had.
    fn held(&self, issuer: &str) -> Result<(Held, bool), KeyError> {
        let mut state = self.state();
        let used = state.next_turn();
        if let Some(held) = state.known.get_mut(issuer) {
            held.used = used;
            return Ok((held.clone(), true));
        }
        if let Some(held) = state.named.get_mut(issuer) {
            held.used = used;
            return Ok((held.clone(), false));
        }
        let held = Held {
            used,
            host: Url::parse(issuer)?.authority().to_owned(),
            source: KeySource::new(issuer, &self.pattern, self.settings.clone())?,
            door: Arc::default(),
        };
        keep(&mut state.named, MAX_NAMED, issuer, held.clone());
        Ok((held, false))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Two, which end together.
struct Place {
    _host: OwnedSemaphorePermit,
    _all: OwnedSemaphorePermit,
}

impl State {
    const fn next_turn(&mut self) -> u64 {
        self.turn = self.turn.saturating_add(1);
        self.turn
    }

    fn keep_known(&mut self, issuer: &str, held: Held) {
        let used = self.next_turn();
        keep(&mut self.known, MAX_KNOWN, issuer, Held { used, ..held });
    }
}

/// Keeps one more. If there is no room, the host that has most of it lets go of the one that was asked for longest ago: with new names for the
/// same host, nobody pushes out another's.
fn keep(sources: &mut HashMap<String, Held>, room: usize, issuer: &str, held: Held) {
    if sources.len() >= room && !sources.contains_key(issuer) {
        let mut counts: HashMap<&str, usize> = HashMap::new();
        for other in sources.values() {
            let count = counts.entry(other.host.as_str()).or_default();
            *count = count.saturating_add(1);
        }
        let most = counts.values().max().copied();
        let oldest = sources
            .iter()
            .filter(|(_, other)| counts.get(other.host.as_str()).copied() == most)
            .min_by_key(|(_, other)| other.used);
        if let Some(oldest) = oldest.map(|(issuer, _)| issuer.clone()) {
            sources.remove(&oldest);
        }
    }
    sources.insert(issuer.to_owned(), held);
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::*;

    #[tokio::test]
    async fn issuers_that_do_not_exist_push_out_nobody() {
        let settings = Settings {
            attempts: 1,
            connect_timeout: Duration::from_millis(200),
            ..Settings::default()
        };
        let sources = Sources::new("http://127.0.0.1:1/*", settings);
        let now = Timestamp::UNIX_EPOCH;
        let real = held("127.0.0.1:1", 0);
        sources
            .state()
            .known
            .insert("http://127.0.0.1:1/real".into(), real);
        for number in 0..MAX_NAMED + 50 {
            let issuer = format!("http://127.0.0.1:1/{number}");
            assert!(sources.current(&issuer, now).await.is_err());
        }
        let state = sources.state.lock().unwrap();
        assert_eq!((state.known.len(), state.named.len()), (1, MAX_NAMED));
    }

    fn held(host: &str, used: u64) -> Held {
        Held {
            used,
            host: host.to_owned(),
            source: KeySource::new("http://127.0.0.1:1/x", "", Settings::default()).unwrap(),
            door: Arc::default(),
        }
    }

    #[test]
    fn room_is_taken_from_the_host_that_has_most_of_it() {
        let mut sources = HashMap::new();
        keep(&mut sources, 10, "small", held("small", 0));
        for number in 1..=30 {
            let (issuer, used) = (format!("large/{number}"), number);
            keep(&mut sources, 10, &issuer, held("large", used));
        }
        let mut left: Vec<&str> = sources.keys().map(String::as_str).collect();
        left.sort_unstable();
        let newest = (22..=30).map(|number| format!("large/{number}"));
        let mut expected: Vec<String> = newest.chain(["small".into()]).collect();
        expected.sort_unstable();
        assert_eq!(left, expected);
        // One that is there already takes no room.
        keep(&mut sources, 10, "small", held("small", 31));
        assert_eq!(sources.len(), 10);
    }

    /// A provider that takes connections and never answers, and how many it has.
    async fn silent() -> (String, Arc<AtomicUsize>) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let count = Arc::new(AtomicUsize::new(0));
        let counted = count.clone();
        tokio::spawn(async move {
            let mut kept = Vec::new();
            while let Ok((stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                kept.push(stream);
            }
        });
        (format!("http://127.0.0.1:{port}"), count)
    }

    /// A provider that answers, with a key.
    async fn honest() -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://127.0.0.1:{}", listener.local_addr().unwrap().port());
        let key = signer::Signer::generate(keys::Algorithm::EcdsaP256Sha256).unwrap();
        let point = key.public_key().raw().to_vec();
        let part = |range: std::ops::Range<usize>| {
            URL_SAFE_NO_PAD.encode(point.get(range).unwrap_or_default())
        };
        let keys = serde_json::json!({"keys": [{"kty": "EC", "crv": "P-256", "kid": "a", "x": part(1..33), "y": part(33..65)}]});
        let base = address.clone();
        let router = axum::Router::new()
            .route("/keys", axum::routing::get(async move || keys.to_string()))
            .fallback(move |uri: axum::http::Uri| async move {
                let issuer = uri
                    .path()
                    .trim_end_matches("/.well-known/openid-configuration");
                let (issuer, keys) = (format!("{base}{issuer}"), format!("{base}/keys"));
                serde_json::json!({"issuer": issuer, "jwks_uri": keys}).to_string()
            });
        tokio::spawn(async move { axum::serve(listener, router).await });
        address
    }

    #[tokio::test]
    async fn a_hostile_tenant_keeps_its_own_places_only() {
        let sources = Arc::new(Sources::new("http://127.0.0.1:*/*", Settings::default()));
        let now = Timestamp::UNIX_EPOCH;
        let ((hostile, connections), honest) = (silent().await, honest().await);
        let mut clients = tokio::task::JoinSet::new();
        let mut send = |issuer: String| {
            let sources = sources.clone();
            clients.spawn(async move { sources.current(&issuer, now).await.map(drop) });
        };
        // One issuer that many name, and many issuers of one host.
        for number in 0..200 {
            send(format!("{hostile}/one"));
            send(format!("{hostile}/{number}"));
        }
        while connections.load(Ordering::SeqCst) < MEETINGS_OF_A_HOST {
            tokio::task::yield_now().await;
        }
        // The places are taken; somebody else comes, and is served at once.
        sources
            .current(&format!("{honest}/new"), now)
            .await
            .unwrap();
        assert_eq!(connections.load(Ordering::SeqCst), MEETINGS_OF_A_HOST);
        let state = sources.state();
        assert_eq!(state.known.len(), 1);
        assert!(state.named.len() <= MAX_NAMED);
    }
}
