//! The keys of issuers that match a pattern: as many as there are tenants, so they are kept within bounds.
//!
//! Anybody can send tokens that name issuers which do not exist, and a tenant may be hostile. So those whose keys we have, and those that were
//! only named, are kept apart, and the second never push out the first. Few of the second are asked at a time, of one host fewer still, and
//! an issuer that several clients name at once is asked once, with one answer for all of them: who hangs keeps his own places, and not those
//! of others, and nobody waits longer than for a place and for a question. And where room is needed, it is taken from the host that has most
//! of it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use client::Settings;
use jiff::Timestamp;
use oidc::Jwks;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use url::Url;

use super::keys::{KeyError, KeySource};

/// How many issuers of a pattern are kept: those with keys, and those without.
const MAX_KNOWN: usize = 1000;
const MAX_NAMED: usize = 200;
/// How many issuers without keys are asked at a time, and how many at one host: a request takes milliseconds where nobody means harm, and at
/// the most the ten seconds of `keys`.
const FIRST_MEETINGS: usize = 64;
const MEETINGS_OF_A_HOST: usize = 8;
/// How long a meeting waits for its turn.
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(super) struct Sources {
    pattern: String,
    settings: Settings,
    patience: Duration,
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
    door: Arc<Door>,
}

/// What all who come while an issuer is met are told.
type Met = Result<Arc<Jwks>, Arc<KeyError>>;

/// Where clients of an issuer wait that nobody has met: the meeting that is under way, and the last one when it is over.
#[derive(Debug, Default)]
struct Door(Mutex<Option<watch::Receiver<Option<Met>>>>);

impl Sources {
    pub(super) fn new(pattern: &str, settings: Settings) -> Self {
        Self {
            pattern: pattern.to_owned(),
            settings,
            patience: PATIENCE,
            state: Mutex::default(),
            meetings: Arc::new(Semaphore::new(FIRST_MEETINGS)),
        }
    }

    /// The issuer's keys, and where newer ones come from.
    pub(super) async fn current(
        self: &Arc<Self>,
        issuer: &str,
        now: Timestamp,
    ) -> Result<(KeySource, Arc<Jwks>), Arc<KeyError>> {
        let (held, known) = self.held(issuer)?;
        // No meeting is needed for what needs no question: the issuer failed a moment ago, or has just been met.
        let keys = if known || !held.source.would_ask(now) {
            held.source.current(now).await?
        } else {
            let mut meeting = self.meeting(issuer, &held, now);
            let met = meeting.wait_for(Option::is_some).await;
            met.ok().and_then(|met| met.clone()).unwrap_or_else(|| {
                Err(KeyError::Again("the request was interrupted".to_owned()).into())
            })?
        };
        Ok((held.source, keys))
    }

    /// The meeting with this issuer that is under way, or a new one.
    fn meeting(
        self: &Arc<Self>,
        issuer: &str,
        held: &Held,
        now: Timestamp,
    ) -> watch::Receiver<Option<Met>> {
        let mut door = held.door.0.lock().unwrap_or_else(PoisonError::into_inner);
        // One that is over has dropped its sender.
        if let Some(meeting) = door
            .as_ref()
            .filter(|meeting| meeting.has_changed().is_ok())
        {
            return meeting.clone();
        }
        let (tell, told) = watch::channel(None);
        *door = Some(told.clone());
        drop(door);
        // It goes on when its clients go, and its place is taken until the question has ended.
        let (sources, issuer, held) = (self.clone(), issuer.to_owned(), held.clone());
        tokio::spawn(async move {
            let met = sources.meet(&issuer, held, now).await;
            tell.send_replace(Some(met.map_err(Arc::new)));
        });
        told
    }

    async fn meet(&self, issuer: &str, held: Held, now: Timestamp) -> Result<Arc<Jwks>, KeyError> {
        let _place = self.place(&held.host).await?;
        let keys = held.source.current(now).await?;
        let mut state = self.state();
        state.named.remove(issuer);
        // Nobody comes to this door any more, behind which the first keys would stay.
        let door = Arc::default();
        state.keep_known(issuer, Held { door, ..held });
        Ok(keys)
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
        let place = tokio::time::timeout(self.patience, both).await;
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
        let sources = Arc::new(Sources::new("http://127.0.0.1:1/*", settings));
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

    #[tokio::test]
    async fn clients_of_an_attacked_host_wait_together_and_not_one_after_the_other() {
        let sources = Sources::new("http://127.0.0.1:*/*", Settings::default());
        let patience = Duration::from_millis(50);
        let sources = Arc::new(Sources {
            patience,
            ..sources
        });
        let host = "127.0.0.1:1";
        let mut taken = Vec::new();
        for _ in 0..MEETINGS_OF_A_HOST {
            taken.push(sources.place(host).await.unwrap());
        }
        let mut clients = tokio::task::JoinSet::new();
        for _ in 0..20 {
            let sources = sources.clone();
            clients.spawn(async move {
                let issuer = format!("http://{host}/tenant");
                let asked = sources.current(&issuer, Timestamp::UNIX_EPOCH);
                asked.await.map(drop)
            });
        }
        let mut answers = vec![clients.join_next().await.unwrap()];
        // What the first one is told the others are told at once: nobody waits for a turn of his own.
        for _ in 0..1000 {
            tokio::task::yield_now().await;
        }
        answers.extend(std::iter::from_fn(|| clients.try_join_next()));
        assert_eq!(answers.len(), 20);
        for answer in answers {
            let error = answer.unwrap().unwrap_err();
            assert!(matches!(*error, KeyError::Busy), "{error}");
        }
    }

    #[tokio::test]
    async fn a_client_that_goes_away_does_not_give_its_place_back_while_its_question_goes_on() {
        let sources = Arc::new(Sources::new("http://127.0.0.1:*/*", Settings::default()));
        let (hostile, connections) = silent().await;
        let mut clients = tokio::task::JoinSet::new();
        for number in 0..MEETINGS_OF_A_HOST {
            let (sources, issuer) = (sources.clone(), format!("{hostile}/{number}"));
            clients.spawn(async move {
                let asked = sources.current(&issuer, Timestamp::UNIX_EPOCH);
                asked.await.map(drop)
            });
        }
        while connections.load(Ordering::SeqCst) < MEETINGS_OF_A_HOST {
            tokio::task::yield_now().await;
        }
        clients.shutdown().await;
        let host = hostile.strip_prefix("http://").unwrap();
        let places = sources.state().hosts.get(host).unwrap().clone();
        assert_eq!(places.available_permits(), 0);
        assert_eq!(
            sources.meetings.available_permits(),
            FIRST_MEETINGS - MEETINGS_OF_A_HOST
        );
    }

    #[tokio::test]
    async fn an_issuer_that_many_name_at_once_is_asked_once_and_known_though_they_go() {
        let sources = Arc::new(Sources::new("http://127.0.0.1:*/*", Settings::default()));
        let issuer = format!("{}/tenant", honest().await);
        let now = Timestamp::UNIX_EPOCH;
        let mut clients = tokio::task::JoinSet::new();
        for _ in 0..20 {
            let (sources, issuer) = (sources.clone(), issuer.clone());
            clients.spawn(async move { sources.current(&issuer, now).await.map(|(_, keys)| keys) });
        }
        // Some of them do not wait for the answer.
        tokio::select! {
            biased;
            _ = sources.current(&issuer, now) => panic!("nobody has answered yet"),
            () = std::future::ready(()) => {}
        }
        let mut met = Vec::new();
        while let Some(keys) = clients.join_next().await {
            met.push(keys.unwrap().unwrap());
        }
        let (_, keys) = sources.current(&issuer, now).await.unwrap();
        assert!(met.iter().all(|other| Arc::ptr_eq(other, &keys)));
        let state = sources.state();
        assert_eq!((state.known.len(), state.named.len()), (1, 0));
    }
}
