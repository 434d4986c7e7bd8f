//! What operators rely on: files that are followed without losing a request, chains of past and future, readiness, limits, figures, and back ends
//! that fail.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a panic is a test's report"
)]

mod common;

use std::os::unix::fs::{PermissionsExt, symlink};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use axum::body::Body;
use axum::http::{Request, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use common::{EMAIL, Log, Pair, Provider, Running, Site, key, request, transit};
use fulcio_rs::{Deps, Issuers, Policy};
use jiff::{SignedDuration, Timestamp};
use keys::Algorithm;
use pki::Certificate;
use serde_json::{Value, json};
use serve::Clock;
use signer::{KeyRef, Signer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tower::ServiceExt as _;

fn chains(running: &common::Answer) -> Vec<String> {
    let bundle = running.json();
    let chains = bundle["chains"].as_array().unwrap().iter();
    chains
        .map(|chain| {
            let certificates = chain["certificates"].as_array().unwrap();
            certificates
                .iter()
                .map(|pem| pem.as_str().unwrap())
                .collect()
        })
        .collect()
}

#[tokio::test]
async fn a_rotation_is_seen_by_clients_before_and_after_it_happens() {
    let site = Site::new("next = ['next.pem']\nretired = ['old.pem']").await;
    let (next, old) = (Pair::new("next"), Pair::new("old"));
    site.put("next.pem", &next.chain_pem());
    site.put("old.pem", &old.chain_pem());
    let mut running = site.open().await;
    let bundle = running.get("/api/v2/trustBundle").await;
    let first = [&site.pair, &next, &old].map(Pair::chain_pem);
    assert_eq!(chains(&bundle), first);
    let roots = running.get("/api/v1/rootCert").await.text();
    assert_eq!(roots, first.concat());
    let token = site.provider.token();
    let key = key();
    let body = request(&key, EMAIL);
    let leaf = running.sign(&token, &body).await.leaf();
    assert!(site.pair.issued(&leaf));
    assert!(!running.follower.look().await, "nothing is new");

    // The turn: the next one issues, and the old one is one of the past. It stands in both lists for a while, and in the bundle once.
    site.put("retired.pem", &site.pair.chain_pem());
    site.put_key("next.key.pem", &next.key);
    let ca = "issuers = 'issuers.yaml'\nkey = 'next.key.pem'\nchain = 'next.pem'\nnext = ['next.pem']\nretired = ['retired.pem', 'old.pem']";
    site.put_settings(ca);
    assert!(running.follower.look().await);
    let bundle = running.get("/api/v2/trustBundle").await;
    let second = [&next, &site.pair, &old].map(Pair::chain_pem);
    assert_eq!(chains(&bundle), second);
    let leaf = running.sign(&token, &body).await.leaf();
    assert!(next.issued(&leaf));
    let figures = running.get("/metrics").await.text();
    for kind in ["active", "retired"] {
        let line = format!("fulcio_certificate_valid_days_remaining{{chain=\"{kind}\",");
        assert!(figures.contains(&line), "{line}");
    }
}

#[tokio::test]
async fn what_cannot_be_used_changes_nothing_and_is_shown() {
    let site = Site::new("").await;
    let mut running = site.open().await;
    let token = site.provider.token();
    let key = key();
    let body = request(&key, EMAIL);
    let other = Pair::new("other");
    let issues = async |running: &Running| {
        let answer = running.sign(&token, &body).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        answer.leaf()
    };
    let failing = async |running: &Running, what: &str| {
        let figures = running.get("/metrics").await.text();
        let line = format!("reload_failing{{what=\"{what}\"}} ");
        let line = figures.lines().find_map(|found| found.strip_prefix(&line));
        line.unwrap_or_else(|| panic!("{figures}")) == "1"
    };
    // The key without its chain, and other nonsense.
    site.put_key("key.pem", &other.key);
    for chain in [
        site.pair.chain_pem(),
        String::new(),
        "no chain".to_owned(),
        site.pair.chain[0].to_pem(),
        [other.chain[1].to_pem(), other.chain[0].to_pem()].concat(),
    ] {
        site.put("chain.pem", &chain);
        assert!(!running.follower.look().await);
        assert!(failing(&running, "CA key and chains").await);
        assert!(site.pair.issued(&issues(&running).await));
    }
    // Now they fit.
    site.put("chain.pem", &other.chain_pem());
    assert!(running.follower.look().await);
    assert!(!failing(&running, "CA key and chains").await);
    assert!(other.issued(&issues(&running).await));

    // The issuers are followed by themselves.
    site.put("issuers.yaml", "oidc-issuers: {}");
    assert!(!running.follower.look().await);
    assert!(failing(&running, "issuers").await);
    issues(&running).await;
    let new = Provider::start().await;
    let both = site.issuers()
        + &site
            .issuers()
            .replace("oidc-issuers:\n", "")
            .replace(&site.provider.url, &new.url);
    site.put("issuers.yaml", &both);
    assert!(running.follower.look().await);
    assert!(!failing(&running, "issuers").await);
    issues(&running).await;
    let answer = running.sign(&new.token(), &body).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    // Settings that do not load leave all as it is.
    site.put("fulcio.toml", "[ca]\nkey = 1");
    assert!(!running.follower.look().await);
    assert!(failing(&running, "CA key and chains").await);
    issues(&running).await;
}

#[tokio::test]
async fn a_pipe_in_the_place_of_a_file_stops_no_following() {
    let site = Site::new("").await;
    let mut running = site.open().await;
    let token = site.provider.token();
    let body = request(&key(), EMAIL);
    for name in ["issuers.yaml", "key.pem", "chain.pem", "fulcio.toml"] {
        let path = site.folder.path().join(name);
        let good = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let made = std::process::Command::new("mkfifo")
            .args(["-m", "600"])
            .arg(&path)
            .status();
        assert!(made.unwrap().success());
        let looked =
            tokio::time::timeout(std::time::Duration::from_secs(20), running.follower.look());
        assert!(!looked.await.expect("it waits for the pipe"), "{name}");
        let figures = running.get("/metrics").await.text();
        let failing = |line: &&str| line.starts_with("reload_failing{") && line.ends_with(" 1");
        assert!(
            figures.lines().any(|line| failing(&line)),
            "{name}: {figures}"
        );
        let answer = running.sign(&token, &body).await;
        assert_eq!(answer.status, StatusCode::OK, "{name}: {}", answer.text());
        std::fs::remove_file(&path).unwrap();
        site.put(name, std::str::from_utf8(&good).unwrap());
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        running.follower.look().await;
        let figures = running.get("/metrics").await.text();
        assert!(
            !figures.lines().any(|line| failing(&line)),
            "{name}: {figures}"
        );
    }
    // It goes on following.
    let other = Pair::new("other");
    site.put_key("key.pem", &other.key);
    site.put("chain.pem", &other.chain_pem());
    assert!(running.follower.look().await);
    let answer = running.sign(&token, &body).await;
    assert!(other.issued(&answer.leaf()));
}

#[tokio::test]
async fn a_folder_that_is_swapped_by_a_link_is_followed() {
    let site = Site::new("").await;
    let other = Pair::new("other");
    // As Kubernetes mounts secrets: key.pem -> ..data/key.pem, ..data -> a folder of one version.
    for (folder, pair) in [("v1", &site.pair), ("v2", &other)] {
        std::fs::create_dir(site.path(folder)).unwrap();
        site.put_key(&format!("{folder}/key.pem"), &pair.key);
        site.put(&format!("{folder}/chain.pem"), &pair.chain_pem());
    }
    symlink("v1", site.path("..data")).unwrap();
    for name in ["key.pem", "chain.pem"] {
        std::fs::remove_file(site.path(name)).unwrap();
        symlink(format!("..data/{name}"), site.path(name)).unwrap();
    }
    let mut running = site.open().await;
    let body = request(&key(), EMAIL);
    let leaf = running.sign(&site.provider.token(), &body).await.leaf();
    assert!(site.pair.issued(&leaf));
    symlink("v2", site.path("..data_tmp")).unwrap();
    std::fs::rename(site.path("..data_tmp"), site.path("..data")).unwrap();
    assert!(running.follower.look().await);
    let leaf = running.sign(&site.provider.token(), &body).await.leaf();
    assert!(other.issued(&leaf));
}

#[tokio::test]
async fn changes_under_load_lose_no_request() {
    let site = Site::new("").await;
    let mut running = site.open().await;
    let served = running.serve(None).await;
    let pairs = [site.pair.clone(), Pair::new("second"), Pair::new("third")];
    let over = Arc::new(AtomicBool::new(false));
    let answered = Arc::new(AtomicUsize::new(0));
    let key = key();
    let body = request(&key, EMAIL).to_string();
    let token = site.provider.token();
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let (over, answered, pairs) = (over.clone(), answered.clone(), pairs.clone());
            let (body, token, port) = (body.clone(), token.clone(), served.port);
            tokio::spawn(async move {
                let mut used = [0; 3];
                while !over.load(Ordering::SeqCst) {
                    let (status, answer) = post(port, "/api/v2/signingCert", &token, &body).await;
                    assert_eq!(status, 200, "{answer}");
                    let answer: Value = serde_json::from_str(&answer).unwrap();
                    let chain = &answer["signedCertificateEmbeddedSct"]["chain"]["certificates"];
                    let pem =
                        |at: usize| Certificate::from_pem(chain[at].as_str().unwrap()).unwrap();
                    // Leaf and chain are of one authority, whenever it was asked.
                    let issuer = pairs.iter().position(|pair| pair.issued(&pem(0))).unwrap();
                    assert_eq!(pem(1), pairs[issuer].chain[0]);
                    used[issuer] += 1;
                    answered.fetch_add(1, Ordering::SeqCst);
                }
                used
            })
        })
        .collect();
    let some_more = async || {
        let goal = answered.load(Ordering::SeqCst) + 25;
        while answered.load(Ordering::SeqCst) < goal {
            tokio::task::yield_now().await;
        }
    };
    for pair in pairs.iter().cycle().skip(1).take(6) {
        some_more().await;
        site.put_key("key.pem", &pair.key);
        running.follower.look().await;
        some_more().await;
        site.put("chain.pem", &pair.chain_pem());
        site.put(
            "issuers.yaml",
            &format!("{}# {}\n", site.issuers(), answered.load(Ordering::SeqCst)),
        );
        assert!(running.follower.look().await);
        some_more().await;
    }
    over.store(true, Ordering::SeqCst);
    let mut used = [0; 3];
    for client in clients {
        for (sum, one) in used.iter_mut().zip(client.await.unwrap()) {
            *sum += one;
        }
    }
    assert!(used.iter().all(|count| *count > 0), "{used:?}");
}

/// One request on a connection of its own.
async fn post(port: u16, path: &str, token: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer {token}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    // A server that has refused may close before all was sent.
    let _ = stream.write_all(head.as_bytes()).await;
    let _ = stream.write_all(body.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.split(' ').nth(1).unwrap_or_default();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
    assert!(!head.contains("chunked"), "{head}");
    (status.parse().unwrap_or_default(), body.to_owned())
}

#[tokio::test]
async fn readiness_names_what_does_not_work() {
    let site = Site::new("").await;
    let running = site.open().await;
    let answer = running.get("/readyz").await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    let checks = json!({"v1": "ok", "v2": "ok", "grpc": "ok", "chain": "ok", "signer": "ok", "ct_log": "ok", "required_issuers": "ok"});
    // Nobody has asked it yet.
    let mut issuers = json!({});
    issuers[&site.provider.url] = json!({"keys": "missing"});
    assert_eq!(
        answer.json(),
        json!({"status": "READY", "checks": checks, "issuers": issuers})
    );
    // The answer is one of the last seconds, so another instance is asked.
    site.log.down.store(true, Ordering::SeqCst);
    assert_eq!(running.get("/readyz").await.status, StatusCode::OK);
    let answer = site.open().await.get("/readyz").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.json()["checks"]["ct_log"], "failed");
    assert_eq!(answer.json()["checks"]["signer"], "ok");

    for (path, status) in [
        ("/healthz", 200),
        ("/healthz?service=", 200),
        ("/healthz?service=dev.sigstore.fulcio.v2.CA", 200),
        ("/healthz?service=dev.sigstore.fulcio.v1beta.CA", 200),
        ("/healthz?service=other", 404),
    ] {
        let answer = running.get(path).await;
        assert_eq!(answer.status.as_u16(), status, "{path}");
        if status == 404 {
            assert_eq!(answer.json()["code"], 5);
        } else {
            assert_eq!(answer.json(), json!({"status": "SERVING"}));
        }
    }
}

#[tokio::test]
async fn an_issuer_that_fails_is_told_of_and_makes_nothing_unready_unless_it_is_required() {
    const CA: &str = "issuers = 'issuers.yaml'\nkey = 'key.pem'\nchain = 'chain.pem'\n";
    let site = Site::new("").await;
    let (good, gone) = (site.provider.url.clone(), "http://127.0.0.1:1");
    let more = site.issuers().replace("oidc-issuers:\n", "");
    let both = site.issuers() + &more.replace(&good, gone);
    site.put("issuers.yaml", &both);
    let required = |issuers: &[&str]| {
        site.put_settings(&format!("{CA}required_issuers = {issuers:?}"));
    };
    let ask = async || {
        let running = site.open().await;
        let body = request(&key(), EMAIL);
        let answer = running.sign(&site.provider.token(), &body).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        let other = site.provider.token_with(&json!({"iss": gone}));
        let answer = running.sign(&other, &body).await;
        assert_eq!(answer.reason(), "ISSUER_UNAVAILABLE");
        running.get("/readyz").await
    };
    for (issuers, status) in [
        (&[][..], 200),
        (&[good.as_str()], 200),
        (&[gone], 503),
        (&[good.as_str(), gone], 503),
    ] {
        required(issuers);
        let answer = ask().await;
        assert_eq!(answer.status.as_u16(), status, "{}", answer.text());
        let word = if status == 200 { "ok" } else { "failed" };
        let told = answer.json();
        assert_eq!(told["checks"]["required_issuers"], word);
        assert_eq!(told["checks"]["signer"], "ok");
        assert_eq!(told["issuers"][&good]["keys"], "ok");
        assert!(told["issuers"][&good]["failed_at"].is_null());
        assert_eq!(told["issuers"][gone]["keys"], "missing");
        for (issuer, at) in [(good.as_str(), "since"), (gone, "failed_at")] {
            let at = told["issuers"][issuer][at].as_str().unwrap();
            let at: Timestamp = at.parse().unwrap();
            let age = Timestamp::now().duration_since(at);
            assert!(age.unsigned_abs() < std::time::Duration::from_mins(2));
        }
    }
    // One that the file does not name could never be ready.
    required(&["https://other.example"]);
    let refused = site.refused().await;
    assert!(refused.contains("ca.required_issuers"), "{refused}");

    // The figures are those of the task that sees to the keys.
    required(&[]);
    let running = site.open().await;
    let following = tokio::spawn(running.follower.follow());
    let line = |issuer: &str, value: &str| {
        format!("fulcio_issuer_keys_usable{{issuer=\"{issuer}\"}} {value}\n")
    };
    let begun = std::time::Instant::now();
    loop {
        let request = Request::get("/metrics").body(Body::empty()).unwrap();
        let answer = running.router.clone().oneshot(request).await.unwrap();
        let body = axum::body::to_bytes(answer.into_body(), 1 << 20).await;
        let figures = String::from_utf8(body.unwrap().to_vec()).unwrap();
        if figures.contains(&line(&good, "1")) && figures.contains(&line(gone, "0")) {
            let since = format!("fulcio_issuer_keys_timestamp_seconds{{issuer=\"{good}\"}} ");
            assert!(figures.contains(&since), "{figures}");
            break;
        }
        assert!(begun.elapsed().as_secs() < 60, "{figures}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    following.abort();
}

#[tokio::test]
async fn a_log_that_is_down_or_lies_is_no_fault_of_the_client() {
    let site = Site::new("").await;
    let running = site.open().await;
    let (token, body) = (site.provider.token(), request(&key(), EMAIL));
    assert_eq!(running.sign(&token, &body).await.status, StatusCode::OK);
    site.log.down.store(true, Ordering::SeqCst);
    let answer = running.sign(&token, &body).await;
    assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(
        answer.json()["message"],
        "Error entering certificate in CTL"
    );
    assert_eq!(answer.reason(), "CT_LOG_REFUSED", "{}", answer.text());
    // An SCT by another key than that of the settings.
    let other = Log::start().await;
    site.log.down.store(false, Ordering::SeqCst);
    site.put("ctlog.pub.pem", &other.key.to_pem());
    let answer = site.open().await.sign(&token, &body).await;
    assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert!(answer.reason().starts_with("CT_LOG_"), "{}", answer.text());
}

#[tokio::test]
async fn a_key_that_does_not_sign_is_answered_503_and_without_insight() {
    let pair = Pair::new("transit");
    let down = Arc::new(AtomicBool::new(false));
    let address = transit(pair.key.clone(), down.clone()).await;
    let environment = |name: &str| match name {
        "VAULT_ADDR" => Some(address.clone()),
        "VAULT_TOKEN" => Some("a-token".to_owned()),
        _ => None,
    };
    let key_ref = KeyRef::parse("hashivault://ca", None, std::path::Path::new("")).unwrap();
    let signer = Signer::open_in(&key_ref, &environment).await.unwrap();
    let provider = Provider::start().await;
    let url = &provider.url;
    let issuers = format!(
        "oidc-issuers:\n  {url}:\n    issuer-url: {url}\n    client-id: sigstore\n    type: email\n"
    );
    let router = fulcio_rs::build(Deps {
        signer,
        chain: pair.chain.clone(),
        next: Vec::new(),
        retired: Vec::new(),
        ct_log: None,
        issuers: Issuers::parse(issuers.as_bytes(), &client::Settings::default()).unwrap(),
        policy: Policy::default(),
        clock: Clock::system(),
    });
    let router = router.unwrap();
    let sign = async || {
        let body = request(&key(), EMAIL).to_string();
        let request = Request::post("/api/v2/signingCert")
            .header("authorization", format!("Bearer {}", provider.token()))
            .body(Body::from(body));
        let answer = router.clone().oneshot(request.unwrap()).await.unwrap();
        let (status, headers) = (answer.status(), answer.headers().clone());
        let body = axum::body::to_bytes(answer.into_body(), 1 << 20)
            .await
            .unwrap();
        (
            status,
            headers,
            serde_json::from_slice::<Value>(&body).unwrap(),
        )
    };
    let (status, _, answer) = sign().await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    down.store(true, Ordering::SeqCst);
    let (status, headers, answer) = sign().await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(headers.contains_key("retry-after"));
    assert_eq!(answer["message"], "error communicating with CA backend");
    assert_eq!(answer["details"][0]["reason"], "CA_UNAVAILABLE");
    assert!(!answer.to_string().contains("127.0.0.1"), "{answer}");
    let ready = Request::get("/readyz").body(Body::empty()).unwrap();
    let answer = router.clone().oneshot(ready).await.unwrap();
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    down.store(false, Ordering::SeqCst);
    assert_eq!(sign().await.0, StatusCode::OK);
}

#[tokio::test]
async fn each_identity_has_its_own_rate() {
    let site = Site::new("identity_rate = 2\nidentity_burst = 3").await;
    let mut running = site.open().await;
    let body = request(&key(), EMAIL);
    let token = site.provider.token();
    for _ in 0..3 {
        assert_eq!(running.sign(&token, &body).await.status, StatusCode::OK);
    }
    // Who does not get in uses up nothing of anybody's.
    let bad = request(&key(), "mallory@example.com");
    let third = site.provider.token_with(&json!({"sub": "third"}));
    let answer = running.sign(&third, &bad).await;
    assert_eq!(answer.reason(), "PROOF_INVALID");
    let answer = running.sign(&token, &body).await;
    assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(answer.reason(), "IDENTITY_RATE");
    let wait: u32 = answer.headers["retry-after"]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!((1..=30).contains(&wait), "{wait}");
    let other = site.provider.token_with(&json!({"sub": "other"}));
    assert_eq!(running.sign(&other, &body).await.status, StatusCode::OK);
    // A new chain is no new allowance; a new rate is.
    let next = Pair::new("next");
    site.put_key("key.pem", &next.key);
    site.put("chain.pem", &next.chain_pem());
    assert!(running.follower.look().await);
    assert_eq!(
        running.sign(&token, &body).await.status,
        StatusCode::TOO_MANY_REQUESTS
    );
    site.put_settings("key = 'key.pem'\nchain = 'chain.pem'\nissuers = 'issuers.yaml'\n");
    assert!(running.follower.look().await);
    assert_eq!(running.sign(&token, &body).await.status, StatusCode::OK);
}

#[tokio::test]
async fn certificates_are_as_the_policy_says() {
    let ca = "lifetime_seconds = 300\nbackdate_seconds = 30\nclient_signing_algorithms = ['ecdsa-sha2-384-nistp384', 'ecdsa-sha2-256-nistp384', 'rsa-sign-pkcs1-2048-sha256']";
    let site = Site::new(ca).await;
    let running = site.open().await;
    let token = site.provider.token();
    let before = Timestamp::now();
    let key = Signer::generate(Algorithm::EcdsaP384Sha384).unwrap();
    let leaf = running.sign(&token, &request(&key, EMAIL)).await.leaf();
    let lasts = leaf.not_after().duration_since(leaf.not_before());
    assert_eq!(lasts, SignedDuration::from_secs(330));
    let from = leaf.not_before().duration_since(before) + SignedDuration::from_secs(30);
    assert!(from.abs() < SignedDuration::from_secs(20), "{from:?}");

    let answer = running.sign(&token, &request(&common::key(), EMAIL)).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert_eq!(answer.reason(), "ALGORITHM_NOT_PERMITTED");
    assert_eq!(
        answer.json()["message"],
        "signing algorithm not permitted: ecdsa-sha2-256-nistp256"
    );
    // A proof by SHA-256 on P-384 is as good where that is permitted.
    let answer = running.sign(&token, &p384_by_sha256()).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    // And where it is not, as by default, it is refused.
    let site = Site::new("").await;
    let running = site.open().await;
    let token = site.provider.token();
    let answer = running.sign(&token, &p384_by_sha256()).await;
    assert_eq!(answer.reason(), "PROOF_INVALID");
}

/// A request whose proof is by ECDSA on P-384 over a digest of SHA-256, made by OpenSSL with a key that is gone:
/// `openssl dgst -sha256 -sign key.pem` over `dev@example.com`.
fn p384_by_sha256() -> Value {
    json!({"publicKeyRequest": {
        "publicKey": {"content": P384_KEY},
        "proofOfPossession": P384_PROOF,
    }})
}

const P384_KEY: &str = "-----BEGIN PUBLIC KEY-----\nMHYwEAYHKoZIzj0CAQYFK4EEACIDYgAEswjFCANmwYi68Ctq/1hj6HbxRERREmXB\nyEj5C7LR1+A5spm3ljYdC+LSU4qGUHmoRU545ul52PgZl+YOQPksIAKgwGT63VVc\nWvWoLVL0zTYmBBDnArlRa9XZ8/Xob3sM\n-----END PUBLIC KEY-----\n";
const P384_PROOF: &str = "MGYCMQD1wnee8kyVpYCcWnoJhB4qkiByjD4LjGUdd0VOnQcbKPa9NkYCMolmcV2D++qC8acCMQClnpSH6Z2GIxnRn6b52HiilFMWAehuMFrCYx60SCZmSjepNql2pmQZwaMHZqXtGcY=";

#[tokio::test]
async fn weak_keys_and_tampered_requests_get_nothing() {
    let site = Site::new("").await;
    let running = site.open().await;
    let token = site.provider.token();
    let with_key = |pem: &str| json!({"publicKeyRequest": {"publicKey": {"content": pem}, "proofOfPossession": "AAAA"}});
    let rsa = |modulus: &str, exponent: &[u8]| {
        let modulus: Vec<u8> = (0..modulus.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&modulus[at..at + 2], 16).unwrap())
            .collect();
        let key = keys::PublicKey::from_rsa_components(&modulus, exponent).unwrap();
        with_key(&key.to_pem())
    };
    let odd = format!("80{}01", "00".repeat(254));
    for weak in [rsa(&odd, &[1, 0, 1]), rsa(&odd, &[3])] {
        let answer = running.sign(&token, &weak).await;
        assert_eq!(
            (answer.status, answer.reason().as_str()),
            (StatusCode::BAD_REQUEST, "KEY_INSECURE")
        );
        assert_eq!(
            answer.json()["message"],
            "The public key supplied in the request is insecure"
        );
    }
    let pair = rcgen::KeyPair::generate().unwrap();
    let mut parameters = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
    let name = rcgen::DnType::CommonName;
    parameters.distinguished_name.push(name, "somebody");
    let csr = parameters.serialize_request(&pair).unwrap();
    let pem = |der: &[u8]| STANDARD.encode(keys::pem::encode("NEW CERTIFICATE REQUEST", der));
    let sign = async |der: &[u8]| {
        let body = json!({"certificateSigningRequest": pem(der)});
        running.sign(&token, &body).await
    };
    assert_eq!(sign(csr.der()).await.status, StatusCode::OK);
    let mut tampered = csr.der().to_vec();
    let at = tampered
        .windows(8)
        .position(|window| window == b"somebody")
        .unwrap();
    tampered[at] = b'S';
    let answer = sign(&tampered).await;
    assert_eq!(
        (answer.status, answer.reason().as_str()),
        (StatusCode::BAD_REQUEST, "PROOF_INVALID")
    );
}

#[tokio::test]
async fn what_is_too_large_is_turned_away() {
    let site = Site::new("").await;
    let running = site.open().await;
    let served = running.serve(None).await;
    let key = key();
    let mut body = request(&key, EMAIL);
    body["credentials"] = json!({"oidcIdentityToken": "a".repeat(10 << 20)});
    let (status, answer) = post(
        served.port,
        "/api/v2/signingCert",
        "none",
        &body.to_string(),
    )
    .await;
    assert_eq!(status, 413, "{answer}");
    assert!(answer.contains("REQUEST_TOO_LARGE"), "{answer}");
    // Within a body that is taken, a token has an end of its own.
    body["credentials"] = json!({"oidcIdentityToken": format!("{}.a.b", "a".repeat(100_000))});
    let (status, answer) = post(
        served.port,
        "/api/v2/signingCert",
        "none",
        &body.to_string(),
    )
    .await;
    assert_eq!(status, 400);
    assert!(answer.contains("TOKEN_MALFORMED"), "{answer}");
    assert!(answer.contains(r#""requestId":""#), "{answer}");
    let (status, _) = post(
        served.port,
        "/api/v2/signingCert",
        &"a".repeat(70_000),
        "{}",
    )
    .await;
    assert_eq!(status, 431);
    // Nothing at all is a request without a token.
    let answer = running.sign("", &json!({})).await;
    assert_eq!(answer.reason(), "NO_TOKEN");
    for body in [json!([]), json!([null, null, ""]), json!("text"), json!(1)] {
        let answer = running.sign("", &body).await;
        assert_eq!(answer.reason(), "REQUEST_MALFORMED", "{body}");
    }
    let empty = Request::post("/api/v1/signingCert")
        .body(Body::empty())
        .unwrap();
    assert_eq!(running.send(empty).await.reason(), "NO_TOKEN");
}

#[tokio::test]
async fn an_authority_for_development_makes_its_own_key() {
    let site = Site::new("").await;
    site.put_settings("ephemeral = true\nissuers = 'issuers.yaml'");
    let mut running = site.open().await;
    let bundle = chains(&running.get("/api/v2/trustBundle").await);
    let chain = Certificate::chain_from_pem(&bundle[0]).unwrap();
    let body = request(&key(), EMAIL);
    let leaf = running.sign(&site.provider.token(), &body).await.leaf();
    let held = pki::path::verify(
        &leaf,
        &chain[..1],
        &chain[1..],
        Timestamp::now(),
        pki::Purpose::CodeSigning,
    );
    held.unwrap();
    // Other settings are no other authority; another start is.
    site.put_settings("ephemeral = true\nissuers = 'issuers.yaml'\nlifetime_seconds = 60");
    assert!(running.follower.look().await);
    assert_eq!(chains(&running.get("/api/v2/trustBundle").await), bundle);
    let again = site.open().await;
    assert_ne!(chains(&again.get("/api/v2/trustBundle").await), bundle);
}

#[tokio::test]
async fn figures_have_upstreams_names() {
    let site = Site::new("").await;
    let running = site.open().await;
    let served = running.serve(None).await;
    let key = key();
    let legacy = json!({
        "publicKey": {"content": STANDARD.encode(key.public_key().spki_der()), "algorithm": "ecdsa"},
        "signedEmailAddress": STANDARD.encode(key.sign_local(EMAIL.as_bytes()).unwrap()),
    });
    let token = site.provider.token();
    let (status, answer) = post(
        served.port,
        "/api/v1/signingCert",
        &token,
        &legacy.to_string(),
    )
    .await;
    assert_eq!(status, 201, "{answer}");
    let figures = running.get("/metrics").await.text();
    for line in [
        r#"fulcio_api_latency_bucket{code="201",method="post",le="0.005"}"#,
        r#"http_requests_total{service="fulcio-rs",method="post",route="/api/v1/signingCert",code="201"}"#,
        "# TYPE fulcio_new_certs counter",
        "fulcio_build_info{version=",
        r#"fulcio_certificate_valid_days_remaining{chain="active","#,
    ] {
        assert!(figures.contains(line), "{line} is not in {figures}");
    }
}

#[tokio::test]
async fn settings_that_name_no_usable_authority_are_refused_at_the_start() {
    let site = Site::new("").await;
    let other = Pair::new("other");
    site.put("chain.pem", &other.chain_pem());
    assert!(site.refused().await.contains("is not the key's"));
    site.put("chain.pem", "");
    assert!(site.refused().await.contains("ca.chain"));
    site.put("chain.pem", &site.pair.chain_pem());
    let ca = "key = 'key.pem'\nchain = 'chain.pem'\nissuers = 'issuers.yaml'\nnext = ['gone.pem']";
    site.put_settings(ca);
    assert!(site.refused().await.contains("ca.next"));
    let running = {
        site.put_settings("key = 'key.pem'\nchain = 'chain.pem'\nissuers = 'issuers.yaml'");
        site.open().await
    };
    let body = request(&key(), EMAIL);
    let leaf = running.sign(&site.provider.token(), &body).await.leaf();
    site.put("retired.pem", &leaf.to_pem());
    site.put_settings(&ca.replace("next = ['gone.pem']", "retired = ['retired.pem']"));
    assert!(site.refused().await.contains("may not sign certificates"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_explained_without_an_authority() {
    let site = Site::new("").await;
    let file = site.path("token");
    let explain = |token: &str| {
        common::put_secret(&file, token);
        let program = std::process::Command::new(env!("CARGO_BIN_EXE_fulcio-rs"))
            .args(["explain-token", "--issuers"])
            .arg(site.path("issuers.yaml"))
            .arg("--token-file")
            .arg(&file)
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let said = (text(program.stdout), text(program.stderr));
        // The token itself is nobody's business.
        let signature = token.rsplit('.').next().unwrap();
        assert!(!said.0.contains(signature) && !said.1.contains(signature));
        (program.status.code(), said.0, said.1)
    };
    let (code, told, said) = explain(&format!("{}\n", site.provider.token()));
    assert_eq!(code, Some(0), "{said}");
    for line in [
        "dev@example.com (rfc822Name)",
        &site.provider.url,
        "subject-7",
        "dev@example.com or subject-7",
    ] {
        assert!(told.contains(line), "{line}: {told}");
    }
    for (changes, wanted) in [
        (
            json!({"aud": "other"}),
            "TOKEN_WRONG_AUDIENCE expected=\"sigstore\" found=\"other\"",
        ),
        (
            json!({"exp": 1}),
            "TOKEN_EXPIRED expired=\"1970-01-01T00:00:01Z\"",
        ),
        (
            json!({"email": null}),
            "TOKEN_MISSING_CLAIM claim=\"email\"",
        ),
        (json!({"email_verified": false}), "EMAIL_NOT_VERIFIED"),
        (
            json!({"iss": "https://issuer.evil"}),
            "UNKNOWN_ISSUER issuer=\"https://issuer.evil\"",
        ),
        (json!({"iss": "\u{1b}[31m"}), "UNKNOWN_ISSUER"),
    ] {
        let (code, told, said) = explain(&site.provider.token_with(&changes));
        assert_eq!((code, told.as_str()), (Some(1), ""), "{said}");
        assert!(said.contains(wanted), "{wanted}: {said}");
        assert!(!said.contains('\u{1b}'), "{said:?}");
    }
    let (code, _, said) = explain("no token");
    assert!(
        code == Some(1) && said.contains("TOKEN_MALFORMED"),
        "{said}"
    );
}
