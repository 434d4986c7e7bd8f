//! Sessions against the services of `testkit` on loopback: honest ones, and one that cheats at a time.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a panic is a test's way to fail"
)]

use std::error::Error as _;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bundle::Bundle;
use client::{Agent, IdentityToken, RekorError, Settings, TokenError};
use entry::{Proposed, REKOR_V2_ALGORITHMS};
use jiff::{SignedDuration, Timestamp};
use keys::{Algorithm, Digest, HashAlgorithm, PublicKey};
use sign::{
    Logged, OwnCertificate, OwnCertificateError, Services, ServicesError, Session, SignError,
    SignedBundle,
};
use signer::Signer;
use testkit::{Log, SctList, Sigstore, Tsa, statement};
use tokio::sync::Barrier;
use trust::{ConfigError, SigningConfig};
use url::Url;
use verify::{Artifact, Expect, IdentityPolicy, Matcher, Step};
use wire::fulcio::{Chain, EmbeddedSct, SigningCertificate, SigningCertificateRequest};

/// What is wrong with the services.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    /// Fulcio says no.
    Forbidden,
    /// Fulcio certifies a key of its own.
    OtherKey,
    /// Fulcio's certificate is in no CT log.
    NoSct,
    /// The timestamp authority is not the one that is trusted.
    StrangeTsa,
    /// The timestamp is of another year.
    WrongTime,
    /// The timestamp authority is down.
    TsaDown,
    /// The log's checkpoint is by somebody else.
    StrangeLog,
    /// The log answers with somebody else's entry.
    OtherEntry,
    /// The log says once, or always, that it has the entry already.
    Duplicate {
        always: bool,
    },
}

struct World {
    sigstore: Sigstore,
    fault: Fault,
    /// Where those who ask the timestamp authority wait for each other, if they do.
    meet: Option<Barrier>,
    certificates: AtomicUsize,
    timestamps: AtomicUsize,
    entries: AtomicUsize,
}

type Shared = State<Arc<World>>;

async fn certificate(State(world): Shared, headers: HeaderMap, body: Bytes) -> Response {
    world.certificates.fetch_add(1, Ordering::SeqCst);
    let bearer = headers[header::AUTHORIZATION].to_str().unwrap();
    assert!(bearer.starts_with("Bearer "));
    let request: SigningCertificateRequest = wire::parse(&body).unwrap();
    let request = request.public_key_request.unwrap();
    let key = PublicKey::from_pem(&request.public_key.content).unwrap();
    key.verify(
        key.default_algorithm(),
        Sigstore::SUBJECT.as_bytes(),
        &request.proof_of_possession.0,
    )
    .expect("proof of possession");
    let own = Signer::generate(Algorithm::EcdsaP256Sha256).unwrap();
    let mut leaf = world.sigstore.leaf(&own);
    if world.fault != Fault::OtherKey {
        leaf.key = key;
    }
    let ct = [&world.sigstore.ct];
    let scts = match world.fault {
        Fault::Forbidden => {
            let refusal = r#"{"code":7,"message":"not today","details":[]}"#;
            return (StatusCode::FORBIDDEN, refusal).into_response();
        }
        Fault::NoSct => SctList::None,
        _ => SctList::Of(&ct),
    };
    let mut certificates = vec![world.sigstore.ca.issue(leaf, scts)];
    certificates.extend(world.sigstore.ca.chain());
    let certificates = certificates
        .iter()
        .map(pki::Certificate::to_pem)
        .collect::<Vec<_>>();
    Json(SigningCertificate {
        signed_certificate_embedded_sct: Some(EmbeddedSct {
            chain: Chain { certificates },
        }),
        signed_certificate_detached_sct: None,
    })
    .into_response()
}

async fn timestamp(State(world): Shared, body: Bytes) -> Response {
    world.timestamps.fetch_add(1, Ordering::SeqCst);
    if let Some(meet) = &world.meet {
        meet.wait().await;
    }
    let request = tsp::Request::parse_der(&body).unwrap();
    let (sigstore, now) = (&world.sigstore, world.sigstore.now);
    let reply = match world.fault {
        Fault::TsaDown => return StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        Fault::StrangeTsa => Tsa::new(sigstore.since).answer(&request, now),
        Fault::WrongTime => sigstore
            .tsa
            .answer(&request, now + SignedDuration::from_hours(1)),
        _ => sigstore.tsa.answer(&request, now),
    };
    let headers = [(header::CONTENT_TYPE, "application/timestamp-reply")];
    (StatusCode::CREATED, headers, reply).into_response()
}

/// A log that takes nothing.
async fn full() -> StatusCode {
    StatusCode::INSUFFICIENT_STORAGE
}

async fn add(State(world): Shared, body: Bytes) -> Response {
    let accepted = Proposed::parse(&body)
        .unwrap()
        .admit(&REKOR_V2_ALGORITHMS)
        .unwrap();
    let add = |log: &Log, body: &[u8]| log.add(accepted.kind(), accepted.version(), body);
    let before = world.entries.fetch_add(1, Ordering::SeqCst);
    let log = &world.sigstore.log;
    let entry = match world.fault {
        Fault::Duplicate { always } if always || before == 0 => {
            return (StatusCode::CONFLICT, [("x-log-index", "7")]).into_response();
        }
        Fault::StrangeLog => {
            let mut entry = add(log, accepted.body());
            let forged = add(&Log::new("rekor.example.org"), accepted.body());
            entry.proof = forged.proof;
            entry
        }
        Fault::OtherEntry => {
            let other = world.sigstore.sign(b"other").bundle;
            other.entries[0].clone()
        }
        _ => add(log, accepted.body()),
    };
    (StatusCode::CREATED, Json(entry.to_wire())).into_response()
}

struct Running {
    world: Arc<World>,
    base: Url,
    agent: Agent,
}

impl Running {
    async fn start(fault: Fault) -> Self {
        Self::start_with(fault, None).await
    }

    async fn start_with(fault: Fault, meet: Option<Barrier>) -> Self {
        let world = Arc::new(World {
            sigstore: Sigstore::default(),
            fault,
            meet,
            certificates: AtomicUsize::new(0),
            timestamps: AtomicUsize::new(0),
            entries: AtomicUsize::new(0),
        });
        let router = Router::new()
            .route("/api/v2/signingCert", post(certificate))
            .route("/api/v1/timestamp", post(timestamp))
            .route("/api/v2/log/entries", post(add))
            .route("/full/api/v2/log/entries", post(full))
            .with_state(Arc::clone(&world));
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self {
            world,
            base: Url::parse(&base).unwrap(),
            agent: Agent::new(Settings {
                attempts: 1,
                ..Settings::default()
            }),
        }
    }

    fn now(&self) -> Timestamp {
        self.world.sigstore.now
    }

    fn tsa(&self) -> Url {
        self.base.join("api/v1/timestamp").unwrap()
    }

    fn services(&self) -> Services {
        let (base, tsa) = (self.base.clone(), self.tsa());
        Services::new(base.clone(), vec![base], vec![tsa]).unwrap()
    }

    async fn session(&self) -> Result<Session, SignError> {
        let token = token(Some(self.now() + SignedDuration::from_mins(20)));
        let root = self.world.sigstore.root();
        Session::start(&self.agent, self.services(), root, token, self.now()).await
    }

    async fn sign(&self) -> Result<SignedBundle, SignError> {
        let session = self.session().await?;
        session.sign_digest(digest(b"file"), self.now()).await
    }

    /// Verifies bytes as somebody who was told only who should have signed.
    fn verify(&self, json: &[u8], file: &[u8]) {
        let bundle = Bundle::parse(json).unwrap();
        let expect = Expect::Identity(IdentityPolicy {
            subject: Matcher::Exact(Sigstore::SUBJECT.into()),
            issuer: Matcher::Exact(Sigstore::ISSUER.into()),
            extensions: Vec::new(),
        });
        let artifact = Artifact::from_bytes(file);
        verify::bundle(&bundle, &artifact, &self.world.sigstore.root(), &expect).unwrap();
    }
}

fn digest(file: &[u8]) -> Digest {
    Digest::of(HashAlgorithm::Sha256, file)
}

fn token(expires: Option<Timestamp>) -> IdentityToken {
    let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let expires = expires
        .map(|at| format!(",\"exp\":{}", at.as_second()))
        .unwrap_or_default();
    let claims = format!(
        "{{\"iss\":\"{}\",\"email\":\"{}\",\"email_verified\":true{expires}}}",
        Sigstore::ISSUER,
        Sigstore::SUBJECT
    );
    let text = format!(
        "{}.{}.{}",
        part("{\"alg\":\"RS256\"}"),
        part(&claims),
        part("x")
    );
    IdentityToken::parse(&text).unwrap()
}

#[tokio::test]
async fn many_artifacts_at_once_share_one_certificate() {
    let running = Running::start(Fault::None).await;
    let session = running.session().await.unwrap();
    let (one, two, three) = tokio::try_join!(
        session.sign_digest(digest(b"one"), running.now()),
        session.sign_digest(digest(b"two"), running.now()),
        session.sign_statement(statement(&digest(b"three")), running.now()),
    )
    .unwrap();
    running.verify(one.json(), b"one");
    running.verify(two.json(), b"two");
    running.verify(three.json(), b"three");
    assert_eq!(running.world.certificates.load(Ordering::SeqCst), 1);
    assert_eq!(running.world.entries.load(Ordering::SeqCst), 3);
    let identity = one.verified().identity().unwrap();
    assert_eq!(
        identity.certificate(),
        &session.certificate().await.unwrap()
    );
    assert_eq!(one.verified().times()[0].time, running.now());
    assert_eq!(one.bundle(), &Bundle::parse(one.json()).unwrap());
    // An envelope is logged as a digest: the log does not learn what was attested.
    let body = String::from_utf8(three.bundle().entries[0].body.clone()).unwrap();
    assert_eq!(three.bundle().entries[0].kind, "hashedrekord");
    assert!(!body.contains("payload"), "{body}");
}

#[tokio::test]
async fn artifacts_at_the_same_time_are_stamped_at_the_same_time() {
    let running = Running::start_with(Fault::None, Some(Barrier::new(2))).await;
    let session = running.session().await.unwrap();
    let both = async {
        tokio::try_join!(
            session.sign_digest(digest(b"one"), running.now()),
            session.sign_digest(digest(b"two"), running.now()),
        )
    };
    // If one waited for the other's answer, neither would come.
    tokio::time::timeout(Duration::from_secs(20), both)
        .await
        .expect("the two calls are made one after the other")
        .unwrap();
}

/// An entry cannot be taken back, and without a bundle it is of no use to anybody.
#[tokio::test]
async fn nothing_is_logged_before_there_is_a_timestamp_that_holds() {
    for fault in [Fault::TsaDown, Fault::StrangeTsa, Fault::WrongTime] {
        let running = Running::start(fault).await;
        running.sign().await.expect_err("there is no timestamp");
        let asked = |count: &AtomicUsize| count.load(Ordering::SeqCst);
        assert_eq!(asked(&running.world.timestamps), 1, "{fault:?}");
        assert_eq!(asked(&running.world.entries), 0, "{fault:?}");
    }
}

#[tokio::test]
async fn what_one_log_took_is_told_when_another_one_refuses() {
    let running = Running::start(Fault::None).await;
    let full = running.base.join("full").unwrap();
    let logs = vec![full.clone(), running.base.clone()];
    let services = Services::new(running.base.clone(), logs, vec![running.tsa()]).unwrap();
    let token = token(Some(running.now() + SignedDuration::from_mins(20)));
    let root = running.world.sigstore.root();
    let session = Session::start(&running.agent, services, root, token, running.now())
        .await
        .unwrap();
    let signed = session.sign_digest(digest(b"file"), running.now()).await;
    let SignError::AfterLogging { logged, source } = signed.unwrap_err() else {
        panic!("the log that took it is not named")
    };
    let at = Logged {
        url: running.base.clone(),
        // Where the log of these tests begins.
        index: 7,
    };
    assert_eq!(logged, [at]);
    assert!(matches!(*source, SignError::Record { url, .. } if url == full));
}

#[tokio::test]
async fn a_certificate_that_is_about_to_end_is_replaced_while_the_token_is_good() {
    let running = Running::start(Fault::None).await;
    let session = running.session().await.unwrap();
    let first = session.certificate().await.unwrap();
    let certificates = || running.world.certificates.load(Ordering::SeqCst);

    // The leaf ends nine minutes from now.
    let later = running.now() + SignedDuration::from_mins(7);
    session.sign_digest(digest(b"a"), later).await.unwrap();
    assert_eq!(certificates(), 1);

    let late = running.now() + SignedDuration::from_mins(8);
    session.sign_digest(digest(b"b"), late).await.unwrap();
    assert_eq!(certificates(), 2);
    let second = session.certificate().await.unwrap();
    assert_ne!(
        first.public_key(),
        second.public_key(),
        "a new key each time"
    );

    let too_late = running.now() + SignedDuration::from_mins(20);
    let refused = session.sign_digest(digest(b"c"), too_late).await;
    assert!(matches!(
        refused,
        Err(SignError::Token(TokenError::Expired(_)))
    ));
    assert_eq!(certificates(), 2, "nothing is sent with an expired token");
}

#[tokio::test]
async fn what_cannot_be_signed_is_refused_before_anybody_is_asked() {
    let running = Running::start(Fault::None).await;
    let session = running.session().await.unwrap();
    let sha512 = Digest::of(HashAlgorithm::Sha512, b"file");
    let refused = session
        .sign_digest(sha512, running.now())
        .await
        .unwrap_err();
    assert!(matches!(
        refused,
        SignError::OtherHash {
            needed: HashAlgorithm::Sha256,
            found: HashAlgorithm::Sha512
        }
    ));
    let nonsense = session.sign_statement(b"{}".to_vec(), running.now()).await;
    assert!(matches!(nonsense, Err(SignError::Statement(_))));
    let unknown = br#"{"_type":"https://in-toto.io/Statement/v1","subject":[{"digest":{"gitCommit":"aa"}}],"predicateType":"x"}"#;
    let unknown = session
        .sign_statement(unknown.to_vec(), running.now())
        .await;
    assert!(matches!(unknown, Err(SignError::NoKnownDigest)));
    assert_eq!(running.world.entries.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn who_cheats_is_named_and_nothing_is_given_out() {
    for (fault, step, inner) in [
        (Fault::Forbidden, "certificate", None),
        (Fault::OtherKey, "certificate", None),
        (Fault::NoSct, "certificate", Some(Step::Leaf)),
        (Fault::TsaDown, "timestamp", None),
        (Fault::StrangeTsa, "bundle", Some(Step::Time)),
        (Fault::WrongTime, "bundle", Some(Step::Leaf)),
        (Fault::StrangeLog, "bundle", Some(Step::Record)),
        (Fault::OtherEntry, "bundle", Some(Step::Binding)),
    ] {
        let running = Running::start(fault).await;
        let error = running.sign().await.expect_err("a cheat was believed");
        assert_eq!(error.step(), step, "{fault:?}");
        let text = error.to_string();
        assert!(text.contains(running.base.as_str()), "{fault:?}: {text}");
        // Who cheats with the log's answer has the entry already.
        let logged = matches!(error, SignError::AfterLogging { .. });
        assert_eq!(logged, running.world.entries.load(Ordering::SeqCst) > 0);
        let error = match error {
            SignError::AfterLogging { source, .. } => *source,
            error => error,
        };
        match (&error, inner) {
            (SignError::Leaf { source, .. } | SignError::Refused { source, .. }, Some(inner)) => {
                assert_eq!(source.step(), inner, "{fault:?}: {source}");
            }
            (SignError::OtherKey { .. }, None) => {}
            (_, None) => assert!(error.source().is_some(), "{fault:?}"),
            (other, Some(_)) => panic!("{fault:?}: {other}"),
        }
    }
}

#[tokio::test]
async fn a_log_that_has_the_entry_already_gets_a_new_signature_once() {
    let running = Running::start(Fault::Duplicate { always: false }).await;
    let signed = running.sign().await.unwrap();
    running.verify(signed.json(), b"file");
    assert_eq!(running.world.entries.load(Ordering::SeqCst), 2);

    let running = Running::start(Fault::Duplicate { always: true }).await;
    let error = running.sign().await.unwrap_err();
    let SignError::Record { source, .. } = error else {
        panic!("{error}")
    };
    assert!(matches!(*source, RekorError::Duplicate { index: Some(7) }));
    assert_eq!(running.world.entries.load(Ordering::SeqCst), 2);
}

/// A key needs no certificate; what is not in a log is taken only by who says so, and then with or without somebody to ask for the time.
#[tokio::test]
async fn a_key_of_ones_own_signs_in_a_log_or_with_a_timestamp_alone() {
    let running = Running::start(Fault::None).await;
    let root = running.world.sigstore.root();
    let artifact = Artifact::from_bytes(b"file");
    for algorithm in [
        Algorithm::EcdsaP256Sha256,
        Algorithm::EcdsaP384Sha384,
        Algorithm::Ed25519Ph,
    ] {
        let signer = Signer::generate(algorithm).unwrap();
        let key = signer.public_key().clone();
        let file = Digest::of(algorithm.hash().unwrap(), b"file");
        for (services, logged) in [
            (running.services(), true),
            (running.services().without_logs(), false),
        ] {
            let session =
                Session::with_key(&running.agent, services, root.clone(), signer.clone()).unwrap();
            assert_eq!(session.hash(), algorithm.hash().unwrap());
            assert_eq!(session.certificate().await, None);
            let signed = session.sign_digest(file, running.now()).await.unwrap();
            let bundle = signed.bundle();
            assert_eq!(bundle.entries.len(), usize::from(logged));
            assert_eq!(bundle.timestamps.len(), 1);
            let verify = |root: &trust::TrustedRoot, expect: Expect| {
                verify::bundle(bundle, &artifact, root, &expect)
            };
            assert_eq!(verify(&root, Expect::Key(key.clone())).is_ok(), logged);
            let timed = verify(&root, Expect::UnloggedKey(key.clone())).unwrap();
            assert_eq!(timed.times().len(), 1);
            let nobody = trust::TrustedRoot::default();
            let untimed = verify(&nobody, Expect::UnloggedKey(key.clone())).unwrap();
            assert_eq!(untimed.times().len(), 0);
            let other = Signer::generate(algorithm).unwrap().public_key().clone();
            assert!(verify(&root, Expect::UnloggedKey(other)).is_err());
        }
    }
    assert_eq!(running.world.certificates.load(Ordering::SeqCst), 0);
    let pure = Signer::generate(Algorithm::Ed25519).unwrap();
    let refused = Session::with_key(&running.agent, running.services(), root, pure);
    assert!(matches!(refused, Err(SignError::Key(_))));
}

/// What another client of the same identity signed is its own too, and what somebody else did is not.
#[tokio::test]
async fn fresh_keys_may_be_of_another_algorithm_and_the_signer_knows_its_own() {
    let running = Running::start(Fault::None).await;
    let root = running.world.sigstore.root();
    let start = async |algorithm| {
        let token = token(Some(running.now() + SignedDuration::from_mins(20)));
        let (agent, services) = (&running.agent, running.services());
        Session::start_with(
            agent,
            services,
            root.clone(),
            token,
            algorithm,
            running.now(),
        )
        .await
    };
    let artifact = Artifact::from_bytes(b"file");
    let mut sessions = Vec::new();
    for algorithm in [
        Algorithm::EcdsaP256Sha256,
        Algorithm::EcdsaP384Sha384,
        Algorithm::RsaPkcs1Sha256_2048,
    ] {
        let session = start(algorithm).await.unwrap();
        let hash = algorithm.hash().unwrap();
        assert_eq!(session.hash(), hash);
        let file = Digest::of(hash, b"file");
        let signed = session.sign_digest(file, running.now()).await.unwrap();
        let key = session.certificate().await.unwrap().public_key().clone();
        assert_eq!(key.default_algorithm(), algorithm);
        running.verify(signed.json(), b"file");
        sessions.push((session, signed));
    }
    for (session, _) in &sessions {
        let own = session.own().await.unwrap();
        for (_, signed) in &sessions {
            verify::bundle(signed.bundle(), &artifact, session.root(), &own).unwrap();
        }
        let strange = Sigstore::default().sign(b"file").bundle;
        assert!(verify::bundle(&strange, &artifact, session.root(), &own).is_err());
    }
    let key = Signer::generate(Algorithm::EcdsaP256Sha256).unwrap();
    let keyed = Session::with_key(&running.agent, running.services(), root.clone(), key).unwrap();
    let own = keyed.own().await.unwrap();
    let (_, signed) = &sessions[0];
    assert!(verify::bundle(signed.bundle(), &artifact, &root, &own).is_err());
    let pure = start(Algorithm::Ed25519).await;
    assert!(matches!(pure, Err(SignError::Key(_))));
}

#[test]
fn services_come_from_the_signing_config() {
    let config = |tsa: &str| {
        let service = |url: &str, version: u32| {
            format!(
                "[{{\"url\":\"{url}\",\"majorApiVersion\":{version},\"validFor\":{{\"start\":\"2026-01-01T00:00:00Z\"}},\"operator\":\"o\"}}]"
            )
        };
        let text = format!(
            "{{\"mediaType\":\"{}\",\"caUrls\":{},\"rekorTlogUrls\":{},\"rekorTlogConfig\":{{\"selector\":\"ANY\"}},\"tsaUrls\":{tsa},\"tsaConfig\":{{\"selector\":\"ANY\"}}}}",
            trust::SIGNING_CONFIG_V02,
            service("https://fulcio.example.org", 1),
            service("https://rekor.example.org", 2),
        );
        SigningConfig::parse(text.as_bytes()).unwrap()
    };
    let tsa = |url: &str| {
        format!(
            "[{{\"url\":\"{url}\",\"majorApiVersion\":1,\"validFor\":{{\"start\":\"2026-01-01T00:00:00Z\"}},\"operator\":\"o\"}}]"
        )
    };
    let now: Timestamp = "2026-06-01T00:00:00Z".parse().unwrap();
    let good = config(&tsa("https://tsa.example.org/api/v1/timestamp"));
    let services = Services::select(&good, false, now, 0).unwrap();
    assert_eq!(
        services.fulcio().map(Url::as_str),
        Some("https://fulcio.example.org/")
    );
    assert_eq!(services.logs()[0].as_str(), "https://rekor.example.org/");
    assert_eq!(
        services.timestamp_authorities()[0].as_str(),
        "https://tsa.example.org/api/v1/timestamp"
    );
    assert!(matches!(
        Services::select(&good, false, "2025-01-01T00:00:00Z".parse().unwrap(), 0),
        Err(ServicesError::Config(ConfigError::NoService { .. }))
    ));
    assert!(matches!(
        Services::select(&config("[]"), false, now, 0),
        Err(ServicesError::NoTimestampAuthority)
    ));
    assert!(matches!(
        Services::select(&config(&tsa("nowhere")), false, now, 0),
        Err(ServicesError::Url { .. })
    ));
    let url = Url::parse("https://example.org").unwrap();
    assert!(matches!(
        Services::new(url.clone(), Vec::new(), vec![url]),
        Err(ServicesError::NoLog)
    ));
}

#[tokio::test]
async fn a_certificate_of_ones_own_goes_into_bundle_and_log() {
    let running = Running::start(Fault::None).await;
    let (sigstore, now) = (&running.world.sigstore, running.now());
    let signer = Signer::generate(Algorithm::EcdsaP256Sha256).unwrap();
    let own = Sigstore::default().ca;
    let leaf = own.issue(sigstore.leaf(&signer), SctList::None);
    let certificate =
        OwnCertificate::new(leaf.clone(), own.chain(), signer.public_key(), now).unwrap();
    assert_eq!(certificate.above(), own.chain());
    let services = running.services();
    // Nobody has to trust its authority, or to have seen it, for it to be signed with.
    let session = Session::with_certificate(
        &running.agent,
        services,
        sigstore.root(),
        signer.clone(),
        certificate.clone(),
    )
    .unwrap();
    let signed = session.sign_digest(digest(b"file"), now).await.unwrap();
    let bundle = Bundle::parse(signed.json()).unwrap();
    let bundle::Signer::Certificate { leaf: found, .. } = &bundle.signer else {
        panic!("there is no certificate in the bundle")
    };
    assert_eq!(*found, leaf);
    let logged = String::from_utf8(bundle.entries[0].body.clone()).unwrap();
    assert!(logged.contains("x509Certificate"), "{logged}");
    let file = Artifact::from_bytes(b"file");
    let by_key = Expect::Key(signer.public_key().clone());
    verify::bundle(&bundle, &file, &sigstore.root(), &by_key).unwrap();
    let mut root = sigstore.root();
    let validity = trust::Validity::since(sigstore.since);
    root.authorities
        .push(own.trusted("https://ca.example.org", validity));
    let by_name = verify::Identities::new(vec![IdentityPolicy {
        subject: Matcher::Exact(Sigstore::SUBJECT.into()),
        issuer: Matcher::Exact(Sigstore::ISSUER.into()),
        extensions: Vec::new(),
    }]);
    let by_name = Expect::UnwatchedCertificate(by_name.unwrap());
    let verified = verify::bundle(&bundle, &file, &root, &by_name).unwrap();
    let authority = verified.certified().unwrap().authority();
    assert_eq!(authority, "https://ca.example.org");
    // When its time is over, nothing is signed any more.
    let late = now + SignedDuration::from_hours(1);
    let refused = session.sign_digest(digest(b"file"), late).await;
    assert!(matches!(
        refused,
        Err(SignError::OwnCertificate(
            OwnCertificateError::NotNow { .. }
        ))
    ));
    let other = Signer::generate(Algorithm::EcdsaP256Sha256).unwrap();
    let refused = Session::with_certificate(
        &running.agent,
        running.services(),
        sigstore.root(),
        other,
        certificate,
    );
    assert!(matches!(
        refused,
        Err(SignError::OwnCertificate(OwnCertificateError::OtherKey))
    ));
}

#[test]
fn a_certificate_goes_with_its_key_its_chain_and_the_time() {
    let sigstore = Sigstore::default();
    let now = sigstore.now;
    let signer = Signer::generate(Algorithm::EcdsaP256Sha256).unwrap();
    let key = signer.public_key();
    let leaf = sigstore.ca.issue(sigstore.leaf(&signer), SctList::None);
    let own = |leaf: &pki::Certificate, above: &[pki::Certificate], at| {
        OwnCertificate::new(leaf.clone(), above.to_vec(), key, at)
    };
    let chain = sigstore.ca.chain();
    own(&leaf, &[], now).unwrap();
    // Some write the signer's own certificate into the chain too.
    let whole = [std::slice::from_ref(&leaf), &chain].concat();
    assert_eq!(own(&leaf, &whole, now).unwrap().above(), chain);
    let late = now + SignedDuration::from_hours(1);
    let refused = own(&leaf, &chain, late);
    assert!(matches!(refused, Err(OwnCertificateError::NotNow { .. })));
    let stranger = Sigstore::default().ca.chain();
    for above in [&stranger, &chain[1..]] {
        let refused = own(&leaf, above, now);
        assert!(matches!(refused, Err(OwnCertificateError::Chain(_))));
    }
    let refused = own(&chain[0], &[], now);
    assert!(matches!(refused, Err(OwnCertificateError::OtherKey)));
    let authority = OwnCertificate::new(chain[0].clone(), Vec::new(), chain[0].public_key(), now);
    assert!(matches!(authority, Err(OwnCertificateError::Authority)));
}
