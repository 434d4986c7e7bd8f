//! The stack as a whole: it starts, a second start continues it, and each service runs alone with the settings it was given.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic in a test is its failure report"
)]

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keys::Algorithm;
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use serve::{Listeners, Service, Stop};
use signer::Signer;
use sigstack::args::{Token, Up};
use sigstack::state::{Addresses, Name};
use sigstack::token;
use sigstack::up::{self, Options, Ports, Stack};

fn client() -> Client {
    Client::builder().no_proxy().build().unwrap()
}

async fn get(url: &str) -> Value {
    let response = client().get(url).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK, "{url}");
    response.json().await.unwrap()
}

/// A request to log a signature by a key, and its answer.
async fn log_something(addresses: &Addresses, message: &[u8]) -> Value {
    let signer = Signer::generate(Algorithm::EcdsaP256Sha256).unwrap();
    let signature = signer.sign_local(message).unwrap();
    let request = json!({ "hashedRekordRequestV002": {
        "digest": STANDARD.encode(keys::sha256(message)),
        "signature": {
            "content": STANDARD.encode(signature),
            "verifier": {
                "publicKey": { "rawBytes": STANDARD.encode(signer.public_key().spki_der()) },
                "keyDetails": "PKIX_ECDSA_P256_SHA_256",
            },
        },
    } });
    let response = client()
        .post(format!("{}/api/v2/log/entries", addresses.rekor))
        .json(&request)
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::CREATED);
    response.json().await.unwrap()
}

async fn post_certificate_request(
    addresses: &Addresses,
    token: &str,
    subject: &str,
) -> (StatusCode, Value) {
    let signer = Signer::generate(Algorithm::EcdsaP256Sha256).unwrap();
    let request = json!({
        "credentials": { "oidcIdentityToken": token },
        "publicKeyRequest": {
            "publicKey": { "algorithm": "ECDSA", "content": signer.public_key().to_pem() },
            "proofOfPossession": STANDARD.encode(signer.sign_local(subject.as_bytes()).unwrap()),
        },
    });
    let response = client()
        .post(format!("{}/api/v2/signingCert", addresses.fulcio))
        .json(&request)
        .send()
        .await
        .unwrap();
    (response.status(), response.json().await.unwrap())
}

fn person(state: &Path, email: &str) -> Token {
    Token {
        state: state.to_owned(),
        email: Some(email.to_owned()),
        github: None,
        audience: "sigstore".to_owned(),
        seconds: 60,
    }
}

fn read(folder: &Path, file: &str) -> Vec<u8> {
    std::fs::read(folder.join(file)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_answers_and_says_that_it_works() {
    let folder = tempfile::tempdir().unwrap();
    let stack = Stack::start(&Options::free(folder.path())).await.unwrap();
    let addresses = stack.addresses();
    for name in Name::ALL {
        assert_eq!(
            get(&format!("{}/healthz", addresses.of(name))).await,
            json!({ "status": "SERVING" }),
            "{}",
            name.as_str()
        );
    }
    assert_eq!(Addresses::read(folder.path()).unwrap(), *addresses);
    let text = stack.describe();
    for name in Name::ALL {
        assert!(text.contains(addresses.of(name)), "{text}");
    }
    let second = Stack::start(&Options::free(folder.path()))
        .await
        .unwrap_err();
    assert!(
        second.to_string().contains("another sigstack is running"),
        "{second}"
    );
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_start_continues_the_same_logs_with_the_same_keys() {
    let folder = tempfile::tempdir().unwrap();
    let first = Stack::start(&Options::free(folder.path())).await.unwrap();
    assert_eq!(
        log_something(first.addresses(), b"one").await["logIndex"],
        "0"
    );
    let addresses = first.addresses().clone();
    let root = read(folder.path(), "trusted_root.json");
    first.stop().await;
    for name in Name::ALL {
        assert!(
            client().get(addresses.of(name)).send().await.is_err(),
            "{} still answers",
            name.as_str()
        );
    }

    let again = Options {
        ports: Ports::Kept,
        ..Options::free(folder.path())
    };
    let second = Stack::start(&again).await.unwrap();
    assert_eq!(*second.addresses(), addresses, "the ports are kept");
    assert_eq!(
        read(folder.path(), "trusted_root.json"),
        root,
        "and so are the keys"
    );
    let entry = log_something(second.addresses(), b"two").await;
    assert_eq!(entry["logIndex"], "1");
    let checkpoint = entry["inclusionProof"]["checkpoint"]["envelope"]
        .as_str()
        .unwrap();
    assert!(checkpoint.starts_with("localhost\n2\n"), "{checkpoint}");
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_for_scripts_are_taken_by_the_certificate_authority() {
    let folder = tempfile::tempdir().unwrap();
    let stack = Stack::start(&Options::free(folder.path())).await.unwrap();
    let now = jiff::Timestamp::now();
    let email = token::make(&person(folder.path(), "alice@example.org"), now)
        .await
        .unwrap();
    let (status, body) =
        post_certificate_request(stack.addresses(), &email, "alice@example.org").await;
    assert_eq!(status, StatusCode::OK, "{body}");
    let chain = body["signedCertificateEmbeddedSct"]["chain"]["certificates"]
        .as_array()
        .unwrap();
    assert_eq!(chain.len(), 3);

    let job = Token {
        email: None,
        github: Some("repo=octo/app".to_owned()),
        ..person(folder.path(), "")
    };
    let job = token::make(&job, now).await.unwrap();
    let (status, body) =
        post_certificate_request(stack.addresses(), &job, "repo:octo/app:ref:refs/heads/main")
            .await;
    assert_eq!(status, StatusCode::OK, "{body}");
    let leaf = body["signedCertificateEmbeddedSct"]["chain"]["certificates"][0]
        .as_str()
        .unwrap();
    let leaf = pki::cert::Certificate::from_pem(leaf).unwrap();
    let names = format!("{:?}", leaf.subject_names());
    assert!(
        names.contains("https://github.com/octo/app/.github/workflows/release.yml@refs/heads/main"),
        "{names}"
    );

    let other = Token {
        audience: "somebody-else".to_owned(),
        ..person(folder.path(), "alice@example.org")
    };
    let other = token::make(&other, now).await.unwrap();
    let (status, body) =
        post_certificate_request(stack.addresses(), &other, "alice@example.org").await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{body}");
    let (status, _) =
        post_certificate_request(stack.addresses(), &email, "mallory@example.org").await;
    assert_eq!(
        status,
        StatusCode::BAD_REQUEST,
        "the proof of possession is over another subject"
    );
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tuf_repository_gives_out_the_trust_files() {
    let folder = tempfile::tempdir().unwrap();
    let stack = Stack::start(&Options::free(folder.path())).await.unwrap();
    let base = &stack.addresses().tuf;
    let root = client()
        .get(format!("{base}/1.root.json"))
        .send()
        .await
        .unwrap();
    assert_eq!(root.headers()["cache-control"], "no-store");
    assert_eq!(
        client()
            .get(format!("{base}/2.root.json"))
            .send()
            .await
            .unwrap()
            .status(),
        StatusCode::NOT_FOUND
    );
    let targets = get(&format!("{base}/1.targets.json")).await;
    for (name, file) in [
        ("trusted_root.json", "trusted_root.json"),
        ("signing_config.v0.2.json", "signing_config.json"),
    ] {
        let hash = targets["signed"]["targets"][name]["hashes"]["sha256"]
            .as_str()
            .unwrap();
        let content = client()
            .get(format!("{base}/targets/{hash}.{name}"))
            .send()
            .await
            .unwrap()
            .bytes()
            .await
            .unwrap();
        assert_eq!(content, read(folder.path(), file));
        // Without the hash there is nothing: consistent snapshots.
        let plain = client()
            .get(format!("{base}/targets/{name}"))
            .send()
            .await
            .unwrap();
        assert_eq!(plain.status(), StatusCode::NOT_FOUND);
    }
    stack.stop().await;
}

/// What the services say of themselves makes the same trusted root and signing config as what the stack knows of them.
#[tokio::test(flavor = "multi_thread")]
async fn discovery_finds_what_the_stack_knows() {
    let folder = tempfile::tempdir().unwrap();
    let stack = Stack::start(&Options::free(folder.path())).await.unwrap();
    let addresses = stack.addresses();
    let url = |text: &str| url::Url::parse(text).unwrap();
    let services = repository::discover::Services {
        fulcio: vec![url(&addresses.fulcio)],
        ctlog: vec![(url(&addresses.ctlog), None)],
        rekor: vec![(url(&addresses.rekor), None)],
        rekor_v1: vec![(url(&addresses.rekor), None)],
        tsa: vec![url(&addresses.tsa)],
        oidc: vec![url(&addresses.issuer)],
    };
    let written: Value = serde_json::from_slice(&read(folder.path(), "trusted_root.json")).unwrap();
    let since = written["tlogs"][0]["publicKey"]["validFor"]["start"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    let agent = client::Agent::new(client::Settings::default());
    let found = repository::discover::discover(&agent, &services, "sigstack", since)
        .await
        .unwrap();
    let mut found_root = serde_json::to_value(&found.root).unwrap();
    let mut known_root = written;
    // The names of subjects are for people.
    for root in [&mut found_root, &mut known_root] {
        for part in ["certificateAuthorities", "timestampAuthorities"] {
            root[part][0].as_object_mut().unwrap().remove("subject");
        }
    }
    assert_eq!(found_root, known_root);
    let known: Value = serde_json::from_slice(&read(folder.path(), "signing_config.json")).unwrap();
    assert_eq!(serde_json::to_value(&found.config).unwrap(), known);
    assert!(trust::review::root(&serde_json::to_vec(&found.root).unwrap()).is_empty());
    stack.stop().await;
}

/// What each service's own `main` does, without the process around it.
async fn service(name: Name, settings: &Path) -> anyhow::Result<Service> {
    match name {
        Name::Fulcio => fulcio_rs::service(settings).await,
        Name::Ctlog => ctlog_rs::service(settings).await,
        Name::Tsa => tsa_rs::service(settings).await,
        Name::Rekor => rekor_rs::service(settings).await,
        Name::Issuer | Name::Registry | Name::Tuf => anyhow::bail!("a part of sigstack"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_service_runs_alone_with_the_settings_that_init_writes() {
    let folder = tempfile::tempdir().unwrap();
    let up = Up {
        state: folder.path().to_owned(),
        port_base: Some(17_710),
        listen: "0.0.0.0".to_owned(),
        no_referrers: false,
        log: "warn".to_owned(),
    };
    let addresses = up::init(&Options::of(&up)).await.unwrap();
    assert_eq!(
        (addresses.issuer.as_str(), addresses.tuf.as_str()),
        ("http://localhost:17710", "http://localhost:17716")
    );
    for name in [Name::Fulcio, Name::Ctlog, Name::Tsa, Name::Rekor] {
        let built = service(name, &folder.path().join(name.settings_file()))
            .await
            .unwrap();
        assert_eq!(
            built.server.listen.to_string(),
            format!("0.0.0.0:{}", addresses.port(name).unwrap())
        );
        // The port is asked for by this test's neighbours too, so it listens elsewhere.
        let listeners = Listeners::bind(&"localhost:0".parse().unwrap())
            .await
            .unwrap();
        let base = listeners.base_url();
        let (handle, stop) = Stop::new();
        let running = tokio::spawn(serve::run(
            listeners,
            name.as_str(),
            built.router,
            built.server.limits,
            stop,
        ));
        assert_eq!(
            get(&format!("{base}/healthz")).await,
            json!({ "status": "SERVING" }),
            "{}",
            name.as_str()
        );
        handle.stop();
        running.await.unwrap();
    }
    // A second init changes nothing but the timestamp.
    let root = read(folder.path(), "trusted_root.json");
    up::init(&Options::of(&up)).await.unwrap();
    assert_eq!(read(folder.path(), "trusted_root.json"), root);
}
