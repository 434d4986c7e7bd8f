//! The witness against a real log behind a door that does what logs do on bad days.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use ct::parse_leaf_index;
use ctlog_rs::app::{self, App, Deps};
use ctlog_rs::config::LogConfig;
use ctlog_rs::roots::Roots;
use jiff::Timestamp;
use keys::{Algorithm, PublicKey};
use pki::profile::{self, Authority, AuthorityParameters, LeafParameters, Precertificate};
use pki::{Certificate, FulcioExtensions, SubjectName};
use serve::Clock;
use signer::Signer;

use super::*;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

struct Ca {
    chain: Vec<Certificate>,
    key: Signer,
}

impl Ca {
    /// A root that signs leaves: what stands between makes no difference here.
    fn new() -> Self {
        let key = Signer::generate(Algorithm::EcdsaP256Sha256).unwrap();
        let parameters = AuthorityParameters {
            authority: Authority::Root,
            organization: "Example".into(),
            common_name: "Root".into(),
            key: key.public_key().clone(),
            serial: [3; 20],
            not_before: at("2026-01-01T00:00:00Z"),
            not_after: at("2036-01-01T00:00:00Z"),
        };
        let unsigned = profile::prepare_authority(&parameters, None).unwrap();
        let signature = key.sign_local(unsigned.to_be_signed()).unwrap();
        let root = unsigned.seal(&signature).unwrap();
        Self {
            chain: vec![root],
            key,
        }
    }

    fn precertificate(&self, number: u8) -> Precertificate {
        let own = Signer::generate(Algorithm::EcdsaP256Sha256).unwrap();
        let leaf = LeafParameters {
            subject: SubjectName::Email("dev@example.com".into()),
            key: own.public_key().clone(),
            extensions: FulcioExtensions::default(),
            serial: [number.max(1); 20],
            not_before: at("2026-11-23T12:00:00Z"),
            not_after: at("2026-11-23T12:10:00Z"),
        };
        let prepared = profile::prepare_leaf(leaf, &self.chain[0]).unwrap();
        let signature = self.key.sign_local(prepared.to_be_signed()).unwrap();
        prepared.seal(&signature).unwrap()
    }
}

/// As the authority does it.
async fn add(
    log: &CtLog,
    precertificate: &Precertificate,
    chain: &[Certificate],
) -> Result<Sct, CtLogError> {
    add_until(log, precertificate, chain, None).await
}

/// While a client waits so long.
async fn add_until(
    log: &CtLog,
    precertificate: &Precertificate,
    chain: &[Certificate],
    until: Option<Instant>,
) -> Result<Sct, CtLogError> {
    let entry = ct::entry_of_precertificate(precertificate.certificate(), &chain[0]).unwrap();
    log.add(precertificate, &entry, chain, until).await
}

/// What the door does with the next request instead of letting it in.
#[derive(Clone)]
enum Trouble {
    Status(u16, Option<&'static str>),
    /// Takes it in, and the answer is lost.
    AnswerLost,
    Says(&'static str),
    Redirect,
    Hangs,
}

#[derive(Clone, Default)]
struct Door {
    troubles: Arc<Mutex<VecDeque<Trouble>>>,
    /// The headers of all that came.
    came: Arc<Mutex<Vec<HeaderMap>>>,
}

struct Bench {
    ca: Ca,
    url: url::Url,
    key: PublicKey,
    door: Door,
    _folder: tempfile::TempDir,
}

async fn bench() -> Bench {
    let (folder, ca) = (tempfile::tempdir().unwrap(), Ca::new());
    let signer = Signer::generate(Algorithm::EcdsaP256Sha256).unwrap();
    let key = signer.public_key().clone();
    let config = LogConfig::new(
        "http://localhost/2026".parse().unwrap(),
        signer::KeyRef::file(folder.path().join("unused")),
        folder.path(),
    );
    let deps = Deps {
        signer,
        roots: Roots::new(&ca.chain).unwrap(),
        clock: Clock::fixed(at("2026-11-23T12:00:01Z")),
    };
    let App { router, .. } = app::build(&config, deps).await.unwrap();
    let door = Door::default();
    let url = serve(guarded(router, door.clone())).await;
    Bench {
        ca,
        url,
        key,
        door,
        _folder: folder,
    }
}

fn guarded(router: Router, door: Door) -> Router {
    router.layer(middleware::from_fn(move |request: Request, next: Next| {
        let door = door.clone();
        async move { guard(&door, request, next).await }
    }))
}

async fn guard(door: &Door, request: Request, next: Next) -> Response {
    door.came.lock().unwrap().push(request.headers().clone());
    let trouble = door.troubles.lock().unwrap().pop_front();
    match trouble {
        None => next.run(request).await,
        Some(Trouble::AnswerLost) => {
            assert!(next.run(request).await.status().is_success());
            StatusCode::SERVICE_UNAVAILABLE.into_response()
        }
        Some(Trouble::Status(status, after)) => {
            let mut answer = Response::builder().status(status);
            if let Some(after) = after {
                answer = answer.header("retry-after", after);
            }
            answer.body(Body::from("later, perhaps")).unwrap()
        }
        Some(Trouble::Says(text)) => text.into_response(),
        Some(Trouble::Redirect) => Response::builder()
            .status(307)
            .header("location", "http://localhost:1/elsewhere")
            .body(Body::empty())
            .unwrap(),
        Some(Trouble::Hangs) => std::future::pending().await,
    }
}

async fn serve(router: Router) -> url::Url {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://127.0.0.1:{port}/2026").parse().unwrap()
}

impl Bench {
    fn log(&self, patience: Duration) -> CtLog {
        self.log_with(&self.key, patience, None)
    }

    fn log_with(&self, key: &PublicKey, patience: Duration, origin: Option<&str>) -> CtLog {
        CtLog::at(RemoteLog {
            url: self.url.clone(),
            key: key.clone(),
            origin: origin.map(str::to_owned),
            authorities_pem: Vec::new(),
            patience,
        })
        .unwrap()
    }

    /// With these troubles before it works: the outcome, and how many requests there were.
    async fn outcome(
        &self,
        patience: Duration,
        troubles: &[Trouble],
    ) -> (Result<Sct, CtLogError>, usize) {
        self.door.came.lock().unwrap().clear();
        *self.door.troubles.lock().unwrap() = troubles.iter().cloned().collect();
        let precertificate = self.ca.precertificate(9);
        let sct = add(&self.log(patience), &precertificate, &self.ca.chain).await;
        self.door.troubles.lock().unwrap().clear();
        (sct, self.door.came.lock().unwrap().len())
    }
}

const LONG: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(300);

#[tokio::test(flavor = "multi_thread")]
async fn what_passes_is_waited_out() {
    let bench = bench().await;
    let (sct, asked) = bench.outcome(LONG, &[]).await;
    assert_eq!(asked, 1);
    assert_eq!(parse_leaf_index(&sct.unwrap().extensions), Ok(Some(0)));
    for trouble in [
        Trouble::Status(408, None),
        Trouble::Status(429, Some("0")),
        Trouble::Status(503, Some("0")),
        Trouble::Status(503, Some("Sat, 01 Jan 2000 00:00:00 GMT")),
    ] {
        let (sct, asked) = bench.outcome(LONG, &[trouble.clone(), trouble]).await;
        sct.unwrap();
        assert_eq!(asked, 3);
    }
    // An answer that was lost is the same answer the second time: one place.
    let (sct, asked) = bench.outcome(LONG, &[Trouble::AnswerLost]).await;
    let first = parse_leaf_index(&sct.unwrap().extensions).unwrap().unwrap();
    assert_eq!(asked, 2);
    let (sct, _) = bench.outcome(LONG, &[]).await;
    let next = parse_leaf_index(&sct.unwrap().extensions).unwrap().unwrap();
    assert_eq!(next, first + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_pass_is_said_at_once_with_its_reason() {
    let bench = bench().await;
    for (trouble, reason) in [
        (Trouble::Status(400, None), "CT_LOG_REFUSED"),
        (Trouble::Status(403, None), "CT_LOG_REFUSED"),
        (Trouble::Status(404, None), "CT_LOG_REFUSED"),
        (Trouble::Status(410, Some("0")), "CT_LOG_REFUSED"),
        (Trouble::Status(500, None), "CT_LOG_REFUSED"),
        (Trouble::Status(204, None), "CT_LOG_REFUSED"),
        (Trouble::Redirect, "CT_LOG_CALL_FAILED"),
        (Trouble::Says("{}"), "CT_LOG_ANSWER_MALFORMED"),
        (Trouble::Says("nonsense"), "CT_LOG_ANSWER_MALFORMED"),
        (
            Trouble::Says(
                "{\"sct_version\":1,\"id\":\"AA==\",\"timestamp\":1,\"extensions\":\"\",\"signature\":\"\"}",
            ),
            "CT_LOG_SCT_INVALID",
        ),
        // Later than anybody waits.
        (Trouble::Status(503, Some("3600")), "CT_LOG_BUSY"),
    ] {
        let (sct, asked) = bench.outcome(LONG, &[trouble]).await;
        let error = sct.unwrap_err();
        assert_eq!(error.reason(), reason, "{error}");
        assert_eq!(asked, 1, "{reason}");
    }
    let error = bench.outcome(SHORT, &[Trouble::Hangs]).await.0.unwrap_err();
    assert_eq!(error.reason(), "CT_LOG_TIMEOUT");
    let busy = vec![Trouble::Status(503, None); 9];
    let error = bench.outcome(SHORT, &busy).await.0.unwrap_err();
    assert!(
        matches!(error, CtLogError::Busy { attempts: 2.., .. }),
        "{error}"
    );
    // Nobody listens: asked again until the deadline.
    let mut gone = bench.log(SHORT);
    if let CtLog(Place::There(remote)) = &mut gone {
        **remote = Remote::new(RemoteLog {
            url: "http://127.0.0.1:1/".parse().unwrap(),
            key: bench.key.clone(),
            origin: None,
            authorities_pem: Vec::new(),
            patience: SHORT,
        })
        .unwrap();
    }
    let error = add(&gone, &bench.ca.precertificate(1), &bench.ca.chain).await;
    let error = error.unwrap_err();
    assert!(
        matches!(error, CtLogError::Unreachable { attempts: 2.., .. }),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn time_that_was_spent_before_is_not_there_any_more() {
    let bench = bench().await;
    let log = bench.log(LONG);
    let precertificate = bench.ca.precertificate(9);
    let trouble = |trouble| bench.door.troubles.lock().unwrap().push_back(trouble);
    // The log wants us back in five seconds, and in four the client is gone: he hears at once that the log is busy.
    trouble(Trouble::Status(503, Some("5")));
    let (begun, until) = (Instant::now(), Instant::now() + Duration::from_secs(4));
    let error = add_until(&log, &precertificate, &bench.ca.chain, Some(until)).await;
    assert_eq!(error.unwrap_err().reason(), "CT_LOG_BUSY");
    assert!(begun.elapsed() < Duration::from_secs(4));
    // A log that says nothing is given up before the client's request is.
    trouble(Trouble::Hangs);
    let until = Instant::now() + Duration::from_secs(1);
    let error = add_until(&log, &precertificate, &bench.ca.chain, Some(until)).await;
    assert_eq!(error.unwrap_err().reason(), "CT_LOG_TIMEOUT");
    assert!(Instant::now() < until);
    // Nothing is left: nothing is asked.
    let until = Instant::now();
    bench.door.came.lock().unwrap().clear();
    let error = add_until(&log, &precertificate, &bench.ca.chain, Some(until)).await;
    assert_eq!(error.unwrap_err().reason(), "CT_LOG_TIMEOUT");
    assert!(bench.door.came.lock().unwrap().is_empty());
    // And a client with more time than the settings give the log changes nothing.
    let short = bench.log(SHORT);
    trouble(Trouble::Hangs);
    let until = Instant::now() + LONG;
    let error = add_until(&short, &precertificate, &bench.ca.chain, Some(until)).await;
    assert_eq!(error.unwrap_err().reason(), "CT_LOG_TIMEOUT");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_sct_of_somebody_else_is_none() {
    let bench = bench().await;
    let other = Signer::generate(Algorithm::EcdsaP256Sha256).unwrap();
    let log = bench.log_with(other.public_key(), LONG, None);
    let sct = add(&log, &bench.ca.precertificate(1), &bench.ca.chain).await;
    assert!(matches!(
        sct.unwrap_err(),
        CtLogError::Sct(CtError::OtherLog)
    ));
    // Of this log, for another certificate: the door answers with what it said before.
    let said = Arc::new(Mutex::new(None));
    let (url, kept) = (bench.url.clone(), said.clone());
    let agent = client::Agent::default();
    let router = Router::new().fallback(move |body: axum::body::Bytes| {
        let (agent, kept, url) = (agent.clone(), kept.clone(), url.clone());
        async move {
            let before: Option<Vec<u8>> = kept.lock().unwrap().clone();
            if let Some(before) = before {
                return before;
            }
            let url: url::Url = format!("{url}/ct/v1/add-pre-chain").parse().unwrap();
            let call = client::Call::post(url, "application/json", body);
            let answer = agent.send(&call).await.unwrap().body.to_vec();
            *kept.lock().unwrap() = Some(answer.clone());
            answer
        }
    });
    let replaying = CtLog::at(RemoteLog {
        url: serve(router).await,
        key: bench.key.clone(),
        origin: None,
        authorities_pem: Vec::new(),
        patience: LONG,
    })
    .unwrap();
    let first = bench.ca.precertificate(1);
    add(&replaying, &first, &bench.ca.chain).await.unwrap();
    add(&replaying, &first, &bench.ca.chain).await.unwrap();
    let other = add(&replaying, &bench.ca.precertificate(2), &bench.ca.chain).await;
    assert!(matches!(
        other.unwrap_err(),
        CtLogError::Sct(CtError::Signature)
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_may_have_another_name_than_its_address() {
    let bench = bench().await;
    let precertificate = bench.ca.precertificate(1);
    for (origin, host) in [
        (None, bench.url.authority()),
        (Some("ctlog.example.org"), "ctlog.example.org"),
    ] {
        bench.door.came.lock().unwrap().clear();
        let log = bench.log_with(&bench.key, LONG, origin);
        add(&log, &precertificate, &bench.ca.chain).await.unwrap();
        assert_eq!(bench.door.came.lock().unwrap()[0]["host"], host);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_in_this_process_is_a_witness_like_another() {
    let folder = tempfile::tempdir().unwrap();
    let ca = Ca::new();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let mut keys = Vec::new();
    let mut text = format!("[server]\nlisten = \"localhost:{port}\"\n");
    for (name, window) in [
        ("1", "not_after_limit = \"2026-11-23T12:10:00Z\""),
        ("2", "not_after_start = \"2026-11-23T12:10:00Z\""),
    ] {
        let path = folder.path().join(format!("{name}.pem"));
        keys.push(Signer::create(&path, Algorithm::EcdsaP256Sha256).unwrap());
        let table = format!(
            "[[log]]\nurl = \"http://localhost:{port}/{name}\"\nkey = \"{name}.pem\"\nfolder = \"{name}\"\n{window}\n"
        );
        text.push_str(&table);
    }
    let settings = folder.path().join("ctlog.toml");
    std::fs::write(&settings, text).unwrap();
    let closing = serve::Closing::default();
    // The chain's end is a root without a further word.
    let logs = app::serve_beside(&settings, &ca.chain, &closing)
        .await
        .unwrap();
    let log = CtLog::here(logs);
    let precertificate = ca.precertificate(1);
    let sct = add(&log, &precertificate, &ca.chain).await.unwrap();
    // The one whose window it is.
    assert_eq!(sct.log_id, keys[1].public_key().key_id());
    let again = add(&log, &precertificate, &ca.chain).await.unwrap();
    assert_eq!(
        (again.timestamp_ms, again.extensions),
        (sct.timestamp_ms, sct.extensions)
    );
    // Another authority's certificate is refused here as there.
    let other = Ca::new();
    let error = add(&log, &other.precertificate(1), &other.chain).await;
    assert_eq!(error.unwrap_err().reason(), "CT_LOG_REFUSED");
    // Monitors read it at its own address, and a CA elsewhere may use it by its URL.
    let there = CtLog::at(RemoteLog {
        url: format!("http://localhost:{port}/2").parse().unwrap(),
        key: keys[1].public_key().clone(),
        origin: None,
        authorities_pem: Vec::new(),
        patience: LONG,
    })
    .unwrap();
    let same = add(&there, &precertificate, &ca.chain).await.unwrap();
    assert_eq!(same.timestamp_ms, again.timestamp_ms);
}
