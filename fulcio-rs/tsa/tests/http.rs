//! The authority as clients see it: our own verification, and OpenSSL's where it is installed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs,
    reason = "a panic is a test's report"
)]

use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http_body_util::BodyExt as _;
use jiff::Timestamp;
use keys::{Algorithm, HashAlgorithm};
use pki::profile::{Authority, AuthorityParameters, prepare_authority};
use pki::{Certificate, tlv};
use serde_json::{Value, json};
use serve::Clock;
use signer::Signer;
use tower::ServiceExt as _;
use tsa_rs::app::{self, App, Deps};
use tsa_rs::config::{Certificates, TsaConfig};
use tsa_rs::desk::{BuildError, Desk, Officer};
use tsa_rs::time::Timekeeper;
use tsp::{Request as Query, Resolution, verify, verify_answer};

const DATA: &[u8] = b"the signature that is stamped";
const QUERY: &str = "application/timestamp-query";
const REPLY: &str = "application/timestamp-reply";
/// The most common of all key types, and the one that the stack uses.
const P256: Algorithm = Algorithm::EcdsaP256Sha256;

fn start() -> Timestamp {
    "2026-11-22T10:00:00Z".parse().unwrap()
}

/// A certificate for `key`, signed by `issuer` or by itself.
fn certificate(
    authority: Authority,
    key: &Signer,
    issuer: Option<(&Certificate, &Signer)>,
) -> Certificate {
    let parameters = AuthorityParameters {
        authority,
        organization: "Test".into(),
        common_name: format!("{authority:?}"),
        key: key.public_key().clone(),
        serial: [0xc5; 20],
        not_before: start(),
        not_after: "2036-11-22T10:00:00Z".parse().unwrap(),
    };
    let unsigned = prepare_authority(&parameters, issuer.map(|(issuer, _)| issuer)).unwrap();
    let signer = issuer.map_or(key, |(_, signer)| signer);
    let signature = signer.sign_local(unsigned.to_be_signed()).unwrap();
    unsigned.seal(&signature).unwrap()
}

struct Instance {
    router: Router,
    desk: Desk,
    chain: Vec<Certificate>,
    clock: Clock,
}

/// A key and its chain.
fn authority(algorithm: Algorithm) -> (Signer, Vec<Certificate>) {
    let (root_key, key) = (
        Signer::generate(P256).unwrap(),
        Signer::generate(algorithm).unwrap(),
    );
    let root = certificate(Authority::Root, &root_key, None);
    let leaf = certificate(Authority::TimestampingLeaf, &key, Some((&root, &root_key)));
    (key, vec![leaf, root])
}

fn instance(algorithm: Algorithm, config: &TsaConfig) -> Instance {
    let (signer, chain) = authority(algorithm);
    let clock = Clock::fixed(start() + Duration::from_millis(60_750));
    let deps = Deps {
        signer,
        chain: chain.clone(),
        clock: clock.clone(),
        time: Timekeeper::unwatched(clock.clone()),
    };
    let App { router, desk } = app::build(config, deps).unwrap();
    Instance {
        router,
        desk,
        chain,
        clock,
    }
}

fn standard() -> Instance {
    instance(P256, &TsaConfig::default())
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn kind(&self) -> &str {
        self.headers["content-type"].to_str().unwrap()
    }

    /// The failure bits of a rejection, as `openssl ts` prints them, out of the bytes.
    fn rejected(&self, status: StatusCode) -> String {
        assert_eq!(self.status, status);
        assert_eq!(self.kind(), REPLY);
        let inside = |der| tlv::members(tlv::contents(0x30, der).unwrap()).unwrap();
        let status = inside(inside(&self.body)[0])[0];
        assert_eq!(status, [2, 1, 2], "status is not rejection");
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

async fn send(router: &Router, request: Request<Body>) -> Answer {
    let response = router.clone().oneshot(request).await.unwrap();
    let (head, body) = response.into_parts();
    Answer {
        status: head.status,
        headers: head.headers,
        body: body.collect().await.unwrap().to_bytes().to_vec(),
    }
}

async fn post(router: &Router, kind: &str, body: impl Into<Body>) -> Answer {
    let request = Request::post("/api/v1/timestamp").header("content-type", kind);
    send(router, request.body(body.into()).unwrap()).await
}

async fn get(router: &Router, path: &str) -> Answer {
    send(router, Request::get(path).body(Body::empty()).unwrap()).await
}

fn query() -> Query {
    Query {
        imprint: HashAlgorithm::Sha256.digest(DATA),
        policy: None,
        nonce: None,
        certificates: false,
    }
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[tokio::test]
async fn a_der_request_gets_a_token_that_verifies() {
    let tsa = standard();
    for hash in HashAlgorithm::ALL {
        let query = Query {
            imprint: hash.digest(DATA),
            ..query()
        };
        let answer = post(&tsa.router, QUERY, query.to_der().unwrap()).await;
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(answer.kind(), REPLY);
        assert_eq!(answer.headers["cache-control"], "no-store");
        let verified = verify(&answer.body, DATA, &tsa.chain).unwrap();
        // The clock shows three quarters of a second more.
        assert_eq!(verified.time(), start() + Duration::from_mins(1));
        assert!(!contains(&answer.body, tsa.chain[0].der()));
    }
}

#[tokio::test]
async fn a_json_request_gets_the_same_kind_of_token() {
    let tsa = standard();
    let body = json!({
        "artifactHash": STANDARD.encode(HashAlgorithm::Sha512.digest(DATA).bytes()),
        "hashAlgorithm": "SHA512",
        "certificates": true,
        "nonce": 0x1234_5678,
        "tsaPolicyOID": "1.3.6.1.4.1.57264.2",
    });
    let answer = post(
        &tsa.router,
        "application/json; charset=utf-8",
        body.to_string(),
    )
    .await;
    assert_eq!((answer.status, answer.kind()), (StatusCode::OK, REPLY));
    assert!(verify(&answer.body, DATA, &tsa.chain).is_ok());
    assert!(contains(&answer.body, tsa.chain[0].der()));
    assert!(
        contains(&answer.body, &[2, 4, 0x12, 0x34, 0x56, 0x78]),
        "nonce"
    );
}

#[tokio::test]
async fn certificates_come_as_asked_for_and_as_set() {
    let asked = Query {
        certificates: true,
        ..query()
    };
    for (certificates, with_root) in [(Certificates::Leaf, false), (Certificates::Chain, true)] {
        let config = TsaConfig {
            certificates,
            ..TsaConfig::default()
        };
        let tsa = instance(P256, &config);
        let answer = post(&tsa.router, QUERY, asked.to_der().unwrap()).await;
        assert!(contains(&answer.body, tsa.chain[0].der()));
        assert_eq!(contains(&answer.body, tsa.chain[1].der()), with_root);
        let answer = post(&tsa.router, QUERY, query().to_der().unwrap()).await;
        assert!(!contains(&answer.body, tsa.chain[0].der()));
    }
}

#[tokio::test]
async fn two_tokens_never_share_a_serial_number() {
    let tsa = standard();
    let der = query().to_der().unwrap();
    let one = post(&tsa.router, QUERY, der.clone()).await;
    let other = post(&tsa.router, QUERY, der).await;
    assert_ne!(one.body, other.body);
}

#[tokio::test]
async fn policies_are_those_on_the_list() {
    let other = tsp::DEFAULT_POLICY.push_arc(7).unwrap();
    let asked = Query {
        policy: Some(other),
        ..query()
    };
    let der = asked.to_der().unwrap();
    let answer = post(&standard().router, QUERY, der.clone()).await;
    let text = answer.rejected(StatusCode::BAD_REQUEST);
    assert!(
        text.contains(
            "unaccepted policy: requested TSA policy is not supported by the TSA: the policy 1.3.6.1.4.1.57264.2.7 is"
        ),
        "{text}"
    );
    let config = TsaConfig {
        accepted_policies: vec![other],
        ..TsaConfig::default()
    };
    let tsa = instance(P256, &config);
    let answer = post(&tsa.router, QUERY, der).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert!(verify(&answer.body, DATA, &tsa.chain).is_ok());
}

#[tokio::test]
async fn refused_der_requests_get_a_rejection() {
    let tsa = standard();
    // A TimeStampReq over SHA-1: version 1, { { 1.3.14.3.2.26, NULL }, 20 bytes }.
    let mut sha1 = vec![0x30, 0x26, 2, 1, 1, 0x30, 0x21];
    sha1.extend([0x30, 9, 6, 5, 0x2b, 0x0e, 3, 2, 0x1a, 5, 0, 4, 20]);
    sha1.extend([7; 20]);
    let good = query().to_der().unwrap();
    let mut short = good.clone();
    short.pop();
    let mut version = good.clone();
    version[4] = 2;
    let with_extension = {
        let extension = [0xa0, 0x0c, 0x30, 0x0a, 6, 3, 0x2a, 3, 4, 4, 3, 1, 2, 3];
        let mut der = good.clone();
        der.extend(extension);
        der[1] += u8::try_from(extension.len()).unwrap();
        der
    };
    // The bit string behind the text: unused bits, then the bit of PKIFailureInfo.
    for (name, body, text, bits) in [
        (
            "cut",
            short,
            "Error generating timestamp response: the request cannot be read",
            &[3, 2, 2, 0x04][..],
        ),
        (
            "version",
            version,
            "Error generating timestamp response: the request cannot be read",
            &[3, 2, 2, 0x04],
        ),
        (
            "sha1",
            sha1,
            "Weak hash algorithm in timestamp request",
            &[3, 2, 7, 0x80],
        ),
        (
            "extension",
            with_extension,
            "unaccepted extension: requested extensions are not supported by the TSA: the extension 1.2.3.4",
            &[3, 4, 7, 0, 0, 0x80],
        ),
    ] {
        let answer = post(&tsa.router, QUERY, body).await;
        let found = answer.rejected(StatusCode::BAD_REQUEST);
        assert!(found.contains(text), "{name}: {found}");
        assert!(answer.body.ends_with(bits), "{name}: {:02x?}", answer.body);
    }
}

#[tokio::test]
async fn a_request_without_a_body_is_refused_as_upstream_does() {
    let tsa = standard();
    let answer = post(&tsa.router, QUERY, Vec::new()).await;
    let text = answer.rejected(StatusCode::UNPROCESSABLE_ENTITY);
    assert!(text.contains("request in body is required"), "{text}");
    let answer = post(&tsa.router, "application/json", Vec::new()).await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(answer.json()["code"], 602);
    assert_eq!(answer.json()["message"], "request in body is required");
}

#[tokio::test]
async fn refused_json_requests_get_json() {
    let tsa = standard();
    let hash = STANDARD.encode([7; 32]);
    let request = |more: Value| {
        let mut request = json!({"artifactHash": hash, "hashAlgorithm": "sha256"});
        let members = request.as_object_mut().unwrap();
        members.extend(more.as_object().unwrap().clone());
        request
    };
    let generating = "Error generating timestamp response";
    let length = "Message digest has incorrect length for specified algorithm";
    let oid = "OID should be comprised of at most 128 components";
    for (body, message, reason) in [
        (json!({}), generating, "unknown_hash"),
        (json!([]), generating, "malformed"),
        (
            request(json!({"hashAlgorithm": "sha1"})),
            "Weak hash algorithm in timestamp request",
            "weak_hash",
        ),
        (
            request(json!({"hashAlgorithm": "md5"})),
            generating,
            "unknown_hash",
        ),
        (
            request(json!({"hashAlgorithm": "sha384"})),
            length,
            "digest_length",
        ),
        (
            request(json!({"artifactHash": ""})),
            length,
            "digest_length",
        ),
        (
            request(json!({"artifactHash": "%"})),
            generating,
            "malformed",
        ),
        (
            request(json!({"tsaPolicyOID": "1.2.3"})),
            "unaccepted policy: requested TSA policy is not supported by the TSA",
            "unaccepted_policy",
        ),
        (
            request(json!({"tsaPolicyOID": "1.2".repeat(200)})),
            oid,
            "policy_oid",
        ),
        (request(json!({"tsaPolicyOID": "one"})), oid, "policy_oid"),
        (
            request(json!({"padding": "x".repeat(1024)})),
            "timestamp request is too large",
            "too_large",
        ),
        (request(json!({"nonce": -1})), generating, "nonce"),
        (request(json!({"nonce": "1"})), generating, "nonce"),
    ] {
        let answer = post(&tsa.router, "application/json", body.to_string()).await;
        let found = answer.json();
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{found}");
        assert_eq!(found["code"], 400);
        assert_eq!(found["message"], message, "{body}");
        assert_eq!(found["reason"], reason, "{body}");
        assert!(!found["details"].as_str().unwrap().is_empty());
    }
}

#[tokio::test]
async fn nonces_of_any_length_come_back() {
    let tsa = standard();
    for nonce in [&[0][..], &[0, 0x80], &[1; 20], &[0x7f; 128]] {
        let query = Query {
            nonce: Some(nonce.to_vec()),
            ..query()
        };
        let answer = post(&tsa.router, QUERY, query.to_der().unwrap()).await;
        assert!(verify_answer(&answer.body, &query, &tsa.chain).is_ok());
    }
    let query = Query {
        nonce: Some(vec![1; 129]),
        ..query()
    };
    let answer = post(&tsa.router, QUERY, query.to_der().unwrap()).await;
    let text = answer.rejected(StatusCode::BAD_REQUEST);
    assert!(text.contains("at most 128 bytes"), "{text}");
}

#[tokio::test]
async fn the_status_and_the_resolution_are_as_set() {
    let config = TsaConfig {
        resolution: Resolution::Milliseconds,
        created: true,
        ..TsaConfig::default()
    };
    let tsa = instance(P256, &config);
    let answer = post(&tsa.router, QUERY, query().to_der().unwrap()).await;
    assert_eq!(answer.status, StatusCode::CREATED);
    let verified = verify(&answer.body, DATA, &tsa.chain).unwrap();
    assert_eq!(verified.time(), start() + Duration::from_millis(60_749));
    assert_eq!(verified.accuracy(), Some(Duration::from_millis(2)));
}

#[tokio::test]
async fn a_new_key_and_chain_are_taken_between_two_requests() {
    let tsa = standard();
    let der = query().to_der().unwrap();
    assert_eq!(get(&tsa.router, "/readyz").await.status, StatusCode::OK);
    let (signer, chain) = authority(Algorithm::EcdsaP384Sha384);
    let now = tsa.clock.now();
    let config = TsaConfig::default();
    let wrong = Officer::new(&config, signer.clone(), tsa.chain.clone(), now);
    assert!(matches!(wrong, Err(BuildError::Key)));
    tsa.desk
        .replace(Officer::new(&config, signer, chain.clone(), now).unwrap());
    let answer = post(&tsa.router, QUERY, der).await;
    assert!(verify(&answer.body, DATA, &chain).is_ok());
    assert!(verify(&answer.body, DATA, &tsa.chain).is_err());
    let answer = get(&tsa.router, "/api/v1/timestamp/certchain").await;
    let text = String::from_utf8(answer.body).unwrap();
    assert_eq!(Certificate::chain_from_pem(&text).unwrap(), chain);
    assert_eq!(get(&tsa.router, "/readyz").await.status, StatusCode::OK);
}

#[tokio::test]
async fn figures_have_upstreams_names() {
    serve::metrics::init();
    let tsa = standard();
    post(&tsa.router, QUERY, query().to_der().unwrap()).await;
    post(&tsa.router, QUERY, "nonsense").await;
    get(&tsa.router, "/somewhere").await;
    let text = String::from_utf8(get(&tsa.router, "/metrics").await.body).unwrap();
    for line in [
        "timestamp_authority_http_requests_total{path=\"/api/v1/timestamp\",method=\"POST\",code=\"200\"}",
        "timestamp_authority_http_requests_total{path=\"/api/v1/timestamp\",method=\"POST\",code=\"400\"}",
        "timestamp_authority_http_requests_total{path=\"unrecognized\",method=\"GET\",code=\"404\"}",
        "timestamp_authority_api_latency_bucket{path=\"/api/v1/timestamp\",code=\"200\",le=\"1000000\"}",
        "timestamp_authority_api_latency_summary_sum{path=\"/api/v1/timestamp\",code=\"200\"}",
        "timestamp_authority_latency_by_api_count{path=\"/api/v1/timestamp\",method=\"POST\"}",
        "timestamp_authority_refusals_total{reason=\"malformed\"}",
        "timestamp_authority_build_info{version=",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
    let days = text.lines().find_map(|line| {
        line.strip_prefix("timestamp_authority_certificate_valid_days_remaining ")
    });
    let days: f64 = days.unwrap().parse().unwrap();
    assert!((3652.9..3653.1).contains(&days), "{days}");
}

#[tokio::test]
async fn media_types_methods_and_paths() {
    let tsa = standard();
    let der = query().to_der().unwrap();
    let answer = post(&tsa.router, "text/plain", der.clone()).await;
    assert_eq!(answer.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert_eq!(answer.json()["code"], 415);
    let request = Request::post("/api/v1/timestamp")
        .header("content-type", QUERY)
        .header("accept", "application/json");
    let answer = send(&tsa.router, request.body(der.into()).unwrap()).await;
    assert_eq!(
        (answer.status, &answer.json()["code"]),
        (StatusCode::NOT_ACCEPTABLE, &json!(406))
    );
    let answer = get(&tsa.router, "/api/v1/timestamp").await;
    assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(answer.headers["allow"], "POST");
    let answer = get(&tsa.router, "/api/v2/timestamp").await;
    assert_eq!(
        (answer.status, &answer.json()["code"]),
        (StatusCode::NOT_FOUND, &json!(404))
    );
    let answer = get(&tsa.router, "/ping").await;
    assert_eq!(
        (answer.status, answer.body.as_slice()),
        (StatusCode::OK, &b"."[..])
    );
}

#[tokio::test]
async fn the_chain_is_published_leaf_first() {
    let tsa = standard();
    let answer = get(&tsa.router, "/api/v1/timestamp/certchain").await;
    assert_eq!(answer.kind(), "application/pem-certificate-chain");
    let text = String::from_utf8(answer.body).unwrap();
    assert_eq!(Certificate::chain_from_pem(&text).unwrap(), tsa.chain);
}

#[tokio::test]
async fn no_token_is_made_once_the_chain_has_run_out() {
    let tsa = standard();
    let der = query().to_der().unwrap();
    assert_eq!(get(&tsa.router, "/healthz").await.status, StatusCode::OK);
    assert_eq!(get(&tsa.router, "/readyz").await.status, StatusCode::OK);
    tsa.clock.advance(Duration::from_hours(24 * 366 * 10));
    let text = post(&tsa.router, QUERY, der)
        .await
        .rejected(StatusCode::SERVICE_UNAVAILABLE);
    assert!(text.contains("not valid at 2036-"), "{text}");
    for path in ["/healthz", "/readyz"] {
        let answer = get(&tsa.router, path).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{path}");
    }
}

#[tokio::test]
async fn no_token_is_earlier_than_one_before_it() {
    let tsa = standard();
    let der = query().to_der().unwrap();
    assert_eq!(
        post(&tsa.router, QUERY, der.clone()).await.status,
        StatusCode::OK
    );
    tsa.clock.set(start() + Duration::from_millis(60_749));
    let answer = post(&tsa.router, QUERY, der.clone()).await;
    let text = answer.rejected(StatusCode::SERVICE_UNAVAILABLE);
    assert!(
        text.contains("it has said 2026-11-22T10:01:00.75Z before"),
        "{text}"
    );
    // timeNotAvailable (14)
    assert!(
        answer.body.ends_with(&[3, 3, 1, 0, 2]),
        "{:02x?}",
        answer.body
    );
    assert_eq!(
        get(&tsa.router, "/readyz").await.status,
        StatusCode::SERVICE_UNAVAILABLE
    );
    assert_eq!(get(&tsa.router, "/healthz").await.status, StatusCode::OK);
    tsa.clock.set(start() + Duration::from_millis(60_750));
    assert_eq!(post(&tsa.router, QUERY, der).await.status, StatusCode::OK);
}

#[test]
fn a_chain_that_clients_would_refuse_does_not_start() {
    let clock = Clock::fixed(start());
    let (root_key, key) = (
        Signer::generate(P256).unwrap(),
        Signer::generate(P256).unwrap(),
    );
    let root = certificate(Authority::Root, &root_key, None);
    let leaf = certificate(Authority::TimestampingLeaf, &key, Some((&root, &root_key)));
    let other = certificate(
        Authority::CodeSigningIntermediate,
        &key,
        Some((&root, &root_key)),
    );
    let stranger = certificate(Authority::Root, &key, None);
    let start = |signer: &Signer, chain: &[&Certificate], clock: &Clock| {
        let deps = Deps {
            signer: signer.clone(),
            chain: chain.iter().copied().cloned().collect(),
            clock: clock.clone(),
            time: Timekeeper::unwatched(clock.clone()),
        };
        app::build(&TsaConfig::default(), deps).map(|_| ())
    };
    assert!(start(&key, &[&leaf, &root], &clock).is_ok());
    assert!(matches!(
        start(&key, &[], &clock),
        Err(BuildError::Short(0))
    ));
    assert!(matches!(
        start(&key, &[&leaf], &clock),
        Err(BuildError::Short(1))
    ));
    assert!(matches!(
        start(&root_key, &[&leaf, &root], &clock),
        Err(BuildError::Key)
    ));
    for chain in [
        &[&leaf, &stranger][..],
        &[&other, &root],
        &[&leaf, &stranger, &root],
    ] {
        let refused = start(&key, chain, &clock);
        assert!(
            matches!(refused, Err(BuildError::Path(_))),
            "{chain:?} {refused:?}"
        );
    }
    let early = Clock::fixed("2026-11-22T09:59:59Z".parse().unwrap());
    assert!(matches!(
        start(&key, &[&leaf, &root], &early),
        Err(BuildError::Path(_))
    ));
}

#[tokio::test]
async fn a_settings_file_brings_it_to_life() {
    let folder = tempfile::tempdir().unwrap();
    let key = Signer::create(&folder.path().join("key.pem"), P256).unwrap();
    let root_key = Signer::generate(P256).unwrap();
    let root = certificate(Authority::Root, &root_key, None);
    let leaf = certificate(Authority::TimestampingLeaf, &key, Some((&root, &root_key)));
    std::fs::write(
        folder.path().join("chain.pem"),
        leaf.to_pem() + &root.to_pem(),
    )
    .unwrap();
    let settings = folder.path().join("tsa.toml");
    let text = "[server]\nlisten = 'localhost:0'\n[tsa]\nkey = 'key.pem'\nchain = 'chain.pem'\n";
    std::fs::write(&settings, text).unwrap();
    assert!(tsa_rs::service(&settings).await.is_ok());
    std::fs::write(folder.path().join("chain.pem"), "nothing").unwrap();
    let error = format!("{:#}", tsa_rs::service(&settings).await.unwrap_err());
    assert!(
        error.contains("tsa.chain") && error.contains("chain.pem"),
        "{error}"
    );
}

/// OpenSSL reads, verifies and prints our tokens; each key type once, with and without embedded certificates.
#[tokio::test]
async fn openssl_verifies_our_tokens() {
    if Command::new("openssl").arg("version").output().is_err() {
        let mut standard_error = std::io::stderr();
        let _ = writeln!(
            standard_error,
            "SKIPPED openssl_verifies_our_tokens: no openssl here"
        );
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("data"), DATA).unwrap();
    for algorithm in [
        P256,
        Algorithm::EcdsaP384Sha384,
        Algorithm::EcdsaP521Sha512,
        Algorithm::RsaPkcs1Sha256_2048,
    ] {
        let tsa = instance(algorithm, &TsaConfig::default());
        std::fs::write(path("root.pem"), tsa.chain[1].to_pem()).unwrap();
        std::fs::write(path("leaf.pem"), tsa.chain[0].to_pem()).unwrap();
        for options in [
            &[][..],
            &["-cert"],
            &["-no_nonce"],
            &["-cert", "-tspolicy", "1.3.6.1.4.1.57264.2"],
        ] {
            for hash in ["sha256", "sha384", "sha512"] {
                openssl(
                    folder.path(),
                    &[
                        &[
                            "ts",
                            "-query",
                            "-data",
                            "data",
                            &format!("-{hash}"),
                            "-out",
                            "query",
                        ],
                        options,
                    ]
                    .concat(),
                );
                let asked = std::fs::read(path("query")).unwrap();
                let answer = post(&tsa.router, QUERY, asked).await;
                assert_eq!(answer.status, StatusCode::OK);
                std::fs::write(path("reply"), &answer.body).unwrap();
                let at = start().as_second() + 60;
                let verified = openssl(
                    folder.path(),
                    &[
                        "ts",
                        "-verify",
                        "-queryfile",
                        "query",
                        "-in",
                        "reply",
                        "-CAfile",
                        "root.pem",
                        "-untrusted",
                        "leaf.pem",
                        "-attime",
                        &at.to_string(),
                    ],
                );
                assert!(verified.contains("Verification: OK"), "{verified}");
                let printed = openssl(folder.path(), &["ts", "-reply", "-in", "reply", "-text"]);
                for line in [
                    "Status: Granted.",
                    "Policy OID: 1.3.6.1.4.1.57264.2",
                    &*format!("Hash Algorithm: {hash}"),
                    "Time stamp: Nov 22 10:01:00 2026 GMT",
                    "Accuracy: 0x01 seconds, unspecified millis, unspecified micros",
                    "TSA: DirName:/O=Test/CN=TimestampingLeaf",
                ] {
                    assert!(printed.contains(line), "{line:?} in {printed}");
                }
            }
        }
    }
    let refused = post(&standard().router, QUERY, b"nonsense".to_vec()).await;
    std::fs::write(path("reply"), &refused.body).unwrap();
    let printed = openssl(folder.path(), &["ts", "-reply", "-in", "reply", "-text"]);
    assert!(printed.contains("Status: Rejected."), "{printed}");
    assert!(
        printed.contains("Failure info: the data submitted has the wrong format"),
        "{printed}"
    );
}

fn openssl(folder: &Path, arguments: &[&str]) -> String {
    let output = Command::new("openssl")
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {text}");
    text
}
