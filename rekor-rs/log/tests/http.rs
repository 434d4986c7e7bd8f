//! The HTTP interface as clients see it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs,
    reason = "a panic is a test's report"
)]

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http_body_util::BodyExt as _;
use keys::{Algorithm, sha256};
use note::VerifierKey;
use rekor_rs::app::{self, App, BuildError, Deps};
use rekor_rs::config::{Duplicates, LogConfig};
use rekor_rs::storage::Storage;
use serde_json::{Value, json};
use serve::Clock;
use signer::Signer;
use tempfile::TempDir;
use tlog::{Hash, LeafIndex, TreeHead, TreeSize, proof};
use tower::ServiceExt as _;

struct Instance {
    router: Router,
    verifier: VerifierKey,
    signer: Signer,
    config: LogConfig,
    folder: TempDir,
}

async fn instance(change: impl FnOnce(&mut LogConfig)) -> Instance {
    let folder = tempfile::tempdir().unwrap();
    let mut config = LogConfig {
        origin: "localhost".to_owned(),
        key: signer::KeyRef::file("unused"),
        home: folder.path().join("log").into(),
        checkpoint_copy: None,
        duplicates: Duplicates::Conflict,
        dsse: true,
        queue: 64,
    };
    change(&mut config);
    let signer = Signer::generate(Algorithm::Ed25519).unwrap();
    let App { router, .. } = app::build(&config, deps(&signer)).await.unwrap();
    let verifier = VerifierKey::new("localhost", signer.public_key().clone()).unwrap();
    Instance {
        router,
        verifier,
        signer,
        config,
        folder,
    }
}

fn deps(signer: &Signer) -> Deps {
    Deps {
        signer: signer.clone(),
        v1: None,
        search: None,
        witnessing: None,
        storage: Storage::Folders,
        clock: Clock::fixed("2026-11-23T12:00:00Z".parse().unwrap()),
    }
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

    fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }
}

impl Instance {
    async fn call(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (head, body) = response.into_parts();
        Answer {
            status: head.status,
            headers: head.headers,
            body: body.collect().await.unwrap().to_bytes().to_vec(),
        }
    }

    async fn get(&self, path: &str) -> Answer {
        self.call(Request::get(path).body(Body::empty()).unwrap())
            .await
    }

    async fn post(&self, body: impl Into<Body>) -> Answer {
        let request =
            Request::post("/api/v2/log/entries").header("content-type", "application/json");
        self.call(request.body(body.into()).unwrap()).await
    }

    async fn add(&self, request: &Value) -> Answer {
        self.post(request.to_string()).await
    }

    /// What a client does with a 201.
    fn check(&self, answer: &Answer) -> (u64, TreeHead) {
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.json());
        let entry = answer.json();
        let number = |value: &Value| value.as_str().unwrap().parse::<u64>().unwrap();
        let bytes = |value: &Value| STANDARD.decode(value.as_str().unwrap()).unwrap();
        let hash = |value: &Value| Hash::from_slice(&bytes(value)).unwrap();
        let inclusion = &entry["inclusionProof"];
        let envelope = inclusion["checkpoint"]["envelope"].as_str().unwrap();
        let opened = note::open(envelope.as_bytes(), std::slice::from_ref(&self.verifier)).unwrap();
        let head = *opened.head();
        assert_eq!(opened.origin(), "localhost");
        assert_eq!(hash(&inclusion["rootHash"]), head.root);
        assert_eq!(number(&inclusion["treeSize"]), head.size.get());
        assert_eq!(inclusion["logIndex"], entry["logIndex"]);
        let index = number(&entry["logIndex"]);
        let leaf = tlog::hash::leaf(&bytes(&entry["canonicalizedBody"]));
        let hashes: Vec<_> = inclusion["hashes"]
            .as_array()
            .unwrap()
            .iter()
            .map(hash)
            .collect();
        proof::verify_inclusion(&leaf, LeafIndex::new(index), &hashes, &head).unwrap();
        assert_eq!(bytes(&entry["logId"]["keyId"]), self.verifier.id());
        // Unset members are there, and 64-bit numbers are strings.
        assert_eq!(entry["integratedTime"], "0");
        assert_eq!(entry["inclusionPromise"], Value::Null);
        assert!(entry.as_object().unwrap().contains_key("inclusionPromise"));
        (index, head)
    }
}

/// A hashedrekord request over some text, with a key of its own.
fn hashedrekord(text: &str) -> Value {
    let signer = Signer::generate(Algorithm::EcdsaP256Sha256).unwrap();
    let signature = signer.sign_local(text.as_bytes()).unwrap();
    json!({"hashedRekordRequestV002": {
        "digest": STANDARD.encode(sha256(text.as_bytes())),
        "signature": {
            "content": STANDARD.encode(signature),
            "verifier": {
                "publicKey": {"rawBytes": STANDARD.encode(signer.public_key().spki_der())},
                "keyDetails": "PKIX_ECDSA_P256_SHA_256",
            },
        },
    }})
}

fn dsse_request(payload: &[u8]) -> Value {
    let signer = Signer::generate(Algorithm::EcdsaP256Sha256).unwrap();
    let kind = "application/vnd.in-toto+json";
    let signature = signer.sign_local(&dsse::pae(kind, payload)).unwrap();
    json!({"dsseRequestV002": {
        "envelope": {
            "payload": STANDARD.encode(payload),
            "payloadType": kind,
            "signatures": [{"sig": STANDARD.encode(signature), "keyid": ""}],
        },
        "verifiers": [{
            "publicKey": {"rawBytes": STANDARD.encode(signer.public_key().spki_der())},
            "keyDetails": "PKIX_ECDSA_P256_SHA_256",
        }],
    }})
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_is_added_with_its_proof() {
    let log = instance(|_| {}).await;
    for number in 0..5_u64 {
        let answer = log.add(&hashedrekord(&format!("artifact {number}"))).await;
        let (index, head) = log.check(&answer);
        assert_eq!((index, head.size.get()), (number, number + 1));
        assert_eq!(answer.header("content-type"), "application/json");
    }
    let request = hashedrekord("the body");
    let answer = log.add(&request).await;
    let body = STANDARD
        .decode(answer.json()["canonicalizedBody"].as_str().unwrap())
        .unwrap();
    let given = &request["hashedRekordRequestV002"];
    // Facts of the format: members in order, no spaces, the digest with its algorithm.
    let expected = format!(
        r#"{{"apiVersion":"0.0.2","kind":"hashedrekord","spec":{{"hashedRekordV002":{{"data":{{"algorithm":"SHA2_256","digest":{}}},"signature":{{"content":{},"verifier":{{"keyDetails":"PKIX_ECDSA_P256_SHA_256","publicKey":{{"rawBytes":{}}}}}}}}}}}}}"#,
        given["digest"],
        given["signature"]["content"],
        given["signature"]["verifier"]["publicKey"]["rawBytes"],
    );
    assert_eq!(String::from_utf8(body).unwrap(), expected);
    assert_eq!(
        answer.json()["kindVersion"],
        json!({"kind": "hashedrekord", "version": "0.0.2"})
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn protojson_spellings_are_the_same_entry() {
    let log = instance(|log| log.duplicates = Duplicates::Proof).await;
    let request = hashedrekord("spelling");
    log.check(&log.add(&request).await);
    let given = &request["hashedRekordRequestV002"];
    let again = |value: &Value| {
        let bytes = STANDARD.decode(value.as_str().unwrap()).unwrap();
        URL_SAFE_NO_PAD.encode(bytes)
    };
    let other = json!({"hashed_rekord_request_v002": {
        "digest": again(&given["digest"]),
        "signature": {
            "content": again(&given["signature"]["content"]),
            "verifier": {
                "public_key": {"raw_bytes": again(&given["signature"]["verifier"]["publicKey"]["rawBytes"])},
                "key_details": 5,
            },
        },
    }});
    let (index, head) = log.check(&log.add(&other).await);
    assert_eq!((index, head.size.get()), (0, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_without_witnesses_does_not_pretend_to_have_some() {
    let instance = instance(|_| ()).await;
    let request = Request::post("/api/v2/log/entries?wait=witnessed");
    let refused = instance.call(request.body("{}".into()).unwrap()).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    let message = refused.json()["message"].as_str().unwrap().to_owned();
    assert!(message.contains("has no witnesses"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_duplicate_is_a_conflict_that_names_the_index() {
    let log = instance(|_| {}).await;
    log.check(&log.add(&hashedrekord("other")).await);
    let request = hashedrekord("twice");
    log.check(&log.add(&request).await);
    let answer = log.add(&request).await;
    assert_eq!(answer.status, StatusCode::CONFLICT);
    assert_eq!(answer.header("x-log-index"), "1");
    let body = answer.json();
    assert_eq!((&body["code"], &body["details"]), (&json!(6), &json!([])));
    let message = body["message"].as_str().unwrap();
    assert!(
        message.contains("already exists") && message.ends_with(" 1"),
        "{message}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_duplicate_may_get_a_fresh_proof() {
    let log = instance(|log| log.duplicates = Duplicates::Proof).await;
    let request = hashedrekord("twice");
    log.check(&log.add(&request).await);
    log.check(&log.add(&hashedrekord("between")).await);
    let (index, head) = log.check(&log.add(&request).await);
    assert_eq!((index, head.size.get()), (0, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn envelopes_are_taken_unless_switched_off() {
    let request = dsse_request(b"{}");
    let log = instance(|_| {}).await;
    let answer = log.add(&request).await;
    log.check(&answer);
    assert_eq!(
        answer.json()["kindVersion"],
        json!({"kind": "dsse", "version": "0.0.2"})
    );
    // A large payload makes a small entry, as only its digest is kept.
    log.check(&log.add(&dsse_request(&vec![b'x'; 200_000])).await);

    let log = instance(|log| log.dsse = false).await;
    let answer = log.add(&request).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert!(
        answer.json()["message"]
            .as_str()
            .unwrap()
            .contains("hashedRekordRequestV002")
    );
    log.check(&log.add(&hashedrekord("still taken")).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_requests_are_refused_and_leave_no_trace() {
    let log = instance(|_| {}).await;
    let good = hashedrekord("good");
    let with = |pointer: &str, value: Value| {
        let mut request = good.clone();
        *request.pointer_mut(pointer).unwrap() = value;
        request.to_string()
    };
    let digest = "/hashedRekordRequestV002/digest";
    let content = "/hashedRekordRequestV002/signature/content";
    let verifier = "/hashedRekordRequestV002/signature/verifier";
    let details = "/hashedRekordRequestV002/signature/verifier/keyDetails";
    let key = "/hashedRekordRequestV002/signature/verifier/publicKey/rawBytes";
    let p384 = Signer::generate(Algorithm::EcdsaP384Sha384).unwrap();
    for (what, body) in [
        ("nothing", String::new()),
        ("no JSON", "{".to_owned()),
        ("no request", "{}".to_owned()),
        ("another shape", r#"{"hashedRekordRequestV002": []}"#.to_owned()),
        ("an unknown member", with("", json!({"hashedRekordRequestV003": {}}))),
        ("both kinds", json!({"hashedRekordRequestV002": good["hashedRekordRequestV002"], "dsseRequestV002": dsse_request(b"x")["dsseRequestV002"]}).to_string()),
        ("an empty digest", with(digest, json!(""))),
        ("a short digest", with(digest, json!(STANDARD.encode([7; 31])))),
        ("a digest of another text", with(digest, json!(STANDARD.encode(sha256(b"other"))))),
        ("no base64", with(digest, json!("*"))),
        ("no signature", with(content, json!(""))),
        ("a wrong signature", with(content, json!(STANDARD.encode([7; 70])))),
        ("no verifier", with(verifier, json!({}))),
        ("a key that is none", with(key, json!("AAAA"))),
        ("another key", with(key, json!(STANDARD.encode(p384.public_key().spki_der())))),
        ("an unknown algorithm", with(details, json!("PKIX_ROT13"))),
        ("pure Ed25519", with(details, json!("PKIX_ED25519"))),
        ("an algorithm of another key", with(details, json!("PKIX_ECDSA_P384_SHA_384"))),
    ] {
        let answer = log.post(body).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{what}");
        let body = answer.json();
        assert_eq!(body["code"], 3, "{what}");
        assert!(!body["message"].as_str().unwrap().is_empty(), "{what}");
    }
    assert_eq!(
        log.get("/api/v2/log/entries").await.status,
        StatusCode::METHOD_NOT_ALLOWED
    );
    let (index, head) = log.check(&log.add(&good).await);
    assert_eq!((index, head.size.get()), (0, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_that_fits_no_bundle_is_refused() {
    let log = instance(|_| {}).await;
    let key = rcgen::KeyPair::generate().unwrap();
    let signer = Signer::from_pkcs8_pem(&key.serialize_pem()).unwrap();
    let request = |padding: usize| {
        let mut params = rcgen::CertificateParams::default();
        let padding = rcgen::CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![0; padding]);
        params.custom_extensions.push(padding);
        let certificate = params.self_signed(&key).unwrap();
        json!({"hashedRekordRequestV002": {
            "digest": STANDARD.encode(sha256(b"text")),
            "signature": {
                "content": STANDARD.encode(signer.sign_local(b"text").unwrap()),
                "verifier": {
                    "x509Certificate": {"rawBytes": STANDARD.encode(certificate.der())},
                    "keyDetails": "PKIX_ECDSA_P256_SHA_256",
                },
            },
        }})
    };
    let answer = log.add(&request(50_000)).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    let message = answer.json()["message"].as_str().unwrap().to_owned();
    assert!(message.contains("at most 65535"), "{message}");
    log.check(&log.add(&request(40_000)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tree_is_served_at_the_root_and_under_the_api() {
    let log = instance(|_| {}).await;
    assert!(
        log.get("/checkpoint")
            .await
            .body
            .starts_with(b"localhost\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n\n")
    );
    let mut leaves = Vec::new();
    let mut bundle = Vec::new();
    for number in 0..3 {
        let answer = log.add(&hashedrekord(&number.to_string())).await;
        let body = STANDARD
            .decode(answer.json()["canonicalizedBody"].as_str().unwrap())
            .unwrap();
        leaves.extend(tlog::hash::leaf(&body).into_bytes());
        bundle.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
        bundle.extend(body);
    }
    for prefix in ["", "/api/v2"] {
        let checkpoint = log.get(&format!("{prefix}/checkpoint")).await;
        assert_eq!(
            checkpoint.header("content-type"),
            "text/plain; charset=utf-8"
        );
        assert_eq!(checkpoint.header("cache-control"), "no-cache");
        let opened = note::open(&checkpoint.body, std::slice::from_ref(&log.verifier)).unwrap();
        assert_eq!(opened.head().size, TreeSize::new(3));

        let tile = log.get(&format!("{prefix}/tile/0/000.p/3")).await;
        assert_eq!((tile.status, &tile.body), (StatusCode::OK, &leaves));
        assert_eq!(tile.header("content-type"), "application/octet-stream");
        assert_eq!(tile.header("cache-control"), "max-age=604800, immutable");
        assert_eq!(
            log.get(&format!("{prefix}/tile/0/000.p/1")).await.body,
            leaves[..32]
        );
        let entries = log.get(&format!("{prefix}/tile/entries/000.p/3")).await;
        assert_eq!((entries.status, &entries.body), (StatusCode::OK, &bundle));
        for missing in [
            "tile/0/000",
            "tile/0/000.p/4",
            "tile/0/001.p/1",
            "tile/1/000.p/1",
            "tile/entries/000",
            "tile/entries/000.p/4",
            "tile/data/000.p/1",
            "tile/0/0",
            "tile/0/../0/000.p/1",
            "tile/0/000.p/3/",
            "tile/x",
        ] {
            let answer = log.get(&format!("{prefix}/{missing}")).await;
            assert_eq!(answer.status, StatusCode::NOT_FOUND, "{missing}");
        }
    }
    assert_eq!(
        log.get("/healthz").await.json(),
        json!({"status": "SERVING"})
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn many_clients_and_a_restart() {
    let log = instance(|log| log.queue = 4096).await;
    let tasks: Vec<_> = (0..300)
        .map(|number| {
            let router = log.router.clone();
            let request = hashedrekord(&number.to_string()).to_string();
            tokio::spawn(async move {
                let request = Request::post("/api/v2/log/entries")
                    .body(Body::from(request))
                    .unwrap();
                router.oneshot(request).await.unwrap().status()
            })
        })
        .collect();
    for task in tasks {
        assert_eq!(task.await.unwrap(), StatusCode::CREATED);
    }
    assert_eq!(log.get("/tile/0/000").await.body.len(), 256 * 32);
    let before = log.get("/checkpoint").await.body;

    let Instance {
        router,
        verifier,
        signer,
        config,
        folder,
    } = log;
    // The folder is free as soon as the last router is gone.
    drop(router);
    let App { router, .. } = app::build(&config, deps(&signer)).await.unwrap();
    let log = Instance {
        router,
        verifier,
        signer,
        config,
        folder,
    };
    assert_eq!(log.get("/checkpoint").await.body, before);
    let (index, _) = log.check(&log.add(&hashedrekord("after")).await);
    assert_eq!(index, 300);

    let second = app::build(&log.config, deps(&log.signer)).await;
    assert!(matches!(
        second,
        Err(BuildError::Open(sequencer::OpenError::Locked))
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_key_is_ed25519() {
    let log = instance(|_| {}).await;
    let signer = Signer::generate(Algorithm::EcdsaP256Sha256).unwrap();
    let refused = app::build(&log.config, deps(&signer)).await;
    assert!(matches!(
        refused,
        Err(BuildError::Key("ecdsa-sha2-256-nistp256"))
    ));
}

#[tokio::test]
async fn a_page_in_a_browser_may_ask() {
    let instance = instance(|_| {}).await;
    let ask = Request::options("/api/v2/log/entries")
        .header("origin", "https://search.example.org")
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "content-type")
        .body(Body::empty());
    let allowed = instance.call(ask.unwrap()).await;
    assert_eq!(allowed.status, StatusCode::OK);
    assert_eq!(allowed.header("access-control-allow-origin"), "*");
    assert!(
        allowed
            .header("access-control-allow-methods")
            .contains("POST")
    );
    let read = Request::get("/checkpoint").header("origin", "https://search.example.org");
    let read = instance.call(read.body(Body::empty()).unwrap()).await;
    assert_eq!(read.header("access-control-allow-origin"), "*");
    assert!(
        read.header("access-control-expose-headers")
            .contains("x-log-index")
    );
}

#[tokio::test]
async fn a_frozen_log_says_so_in_upstreams_words() {
    let instance = instance(|_| {}).await;
    instance.check(&instance.add(&hashedrekord("a")).await);
    let folder = instance.folder.path().to_owned();
    let key = folder.join("key.pem");
    std::fs::write(&key, instance.signer.to_pkcs8_pem().unwrap().as_bytes()).unwrap();
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&key, private).unwrap();
    let settings = folder.join("rekor.toml");
    let text = "[server]\nlisten = \"localhost:0\"\n[log]\norigin = \"localhost\"\nkey = \"key.pem\"\nfolder = \"log\"\n";
    std::fs::write(&settings, text).unwrap();

    let Instance {
        router,
        config,
        signer,
        verifier,
        folder,
        ..
    } = instance;
    drop(router);
    let freeze = move || rekor_rs::commands::freeze::run(&settings, None);
    tokio::task::spawn_blocking(freeze).await.unwrap().unwrap();
    let App { router, .. } = app::build(&config, deps(&signer)).await.unwrap();
    let frozen = Instance {
        router,
        verifier,
        signer,
        config,
        folder,
    };
    let refused = frozen.post("not even JSON").await;
    assert_eq!(refused.status, StatusCode::METHOD_NOT_ALLOWED);
    let words = "This log has been frozen, please switch to the latest log.";
    assert_eq!(refused.body, words.as_bytes());
    let checkpoint = String::from_utf8(frozen.get("/checkpoint").await.body).unwrap();
    assert!(
        checkpoint.contains("\nLog frozen \u{2014} "),
        "{checkpoint}"
    );
    assert_eq!(
        frozen.get("/tile/entries/000.p/1").await.status,
        StatusCode::OK
    );
}

/// A Transit engine with one Ed25519 key, which fails, and lies, on request.
#[derive(Clone)]
struct Transit {
    key: Signer,
    other: Signer,
    mode: std::sync::Arc<std::sync::atomic::AtomicU8>,
}

impl Transit {
    async fn answer(self, request: Request<Body>) -> axum::response::Response {
        use axum::Json;
        use axum::response::IntoResponse as _;
        let path = request.uri().path().to_owned();
        if path.ends_with("lookup-self") {
            return Json(json!({"data": {"ttl": 0, "renewable": false}})).into_response();
        }
        if path.starts_with("/v1/transit/keys/") {
            let public = STANDARD.encode(self.key.public_key().raw());
            let keys = json!({"1": {"public_key": public}});
            let data = json!({"type": "ed25519", "latest_version": 1, "keys": keys});
            return Json(json!({ "data": data })).into_response();
        }
        let body = request.into_body().collect().await.unwrap().to_bytes();
        let body: Value = serde_json::from_slice(&body).unwrap();
        let message = STANDARD.decode(body["input"].as_str().unwrap()).unwrap();
        let by = match self.mode.load(std::sync::atomic::Ordering::SeqCst) {
            0 => &self.key,
            1 => return (StatusCode::FORBIDDEN, "{\"errors\":[\"sealed\"]}").into_response(),
            _ => &self.other,
        };
        let signature = STANDARD.encode(by.sign_local(&message).unwrap());
        Json(json!({"data": {"signature": format!("vault:v1:{signature}")}})).into_response()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_elsewhere_and_fails_makes_the_log_wait() {
    use std::sync::atomic::Ordering;
    let transit = Transit {
        key: Signer::generate(Algorithm::Ed25519).unwrap(),
        other: Signer::generate(Algorithm::Ed25519).unwrap(),
        mode: std::sync::Arc::default(),
    };
    let answer = transit.clone();
    let server = Router::new().fallback(move |request| answer.clone().answer(request));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, server).await });
    let environment = move |name: &str| match name {
        "VAULT_ADDR" => Some(address.clone()),
        "VAULT_TOKEN" => Some("token".to_owned()),
        _ => None,
    };
    let key = signer::KeyRef::parse("hashivault://log", None, std::path::Path::new("/")).unwrap();
    let signer = Signer::open_in(&key, &environment).await.unwrap();

    let mut instance = instance(|_| {}).await;
    instance.config.home.folder = instance.folder.path().join("elsewhere");
    instance.verifier = VerifierKey::new("localhost", signer.public_key().clone()).unwrap();
    for round in 0..3 {
        let built = app::build(&instance.config, deps(&signer)).await.unwrap();
        instance.router = built.router;
        for mode in [1, 2] {
            transit.mode.store(mode, Ordering::SeqCst);
            let refused = instance.add(&hashedrekord("while the key is away")).await;
            assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
            assert_eq!(refused.header("retry-after"), "5");
            assert_eq!(built.log.published().head.size.get(), round);
        }
        // What it has signed is read meanwhile.
        let checkpoint = instance.get("/api/v2/checkpoint").await;
        assert_eq!(checkpoint.status, StatusCode::OK);
        transit.mode.store(0, Ordering::SeqCst);
        let added = instance.add(&hashedrekord("when it is back")).await;
        let (index, head) = instance.check(&added);
        assert_eq!((index, head.size.get()), (round, round + 1));
        // Closed before the next round opens the folder again.
        instance.router = Router::new();
    }
}
