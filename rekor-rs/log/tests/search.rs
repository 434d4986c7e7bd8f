//! Finding entries of both versions.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs,
    reason = "a panic is a test's report"
)]

use std::path::Path;

use axum::Router;
use axum::http::{Request, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http_body_util::BodyExt as _;
use keys::{Algorithm, sha256};
use rekor_rs::app::{self, App, Deps};
use rekor_rs::config::{Duplicates, LogConfig};
use rekor_rs::search::SearchPlace;
use rekor_rs::storage::Storage;
use rekor_rs::v1::config::{ShardConfig, V1Config};
use serde_json::{Value, json};
use serve::Clock;
use signer::Signer;
use tower::ServiceExt as _;

struct Instance {
    router: Router,
}

/// The keys are made once and stay.
async fn open(folder: &Path, index: bool) -> Instance {
    open_with(folder, index, &[7]).await
}

async fn open_with(folder: &Path, index: bool, trees: &[u64]) -> Instance {
    let config = LogConfig {
        origin: "localhost".to_owned(),
        key: signer::KeyRef::file("unused"),
        home: folder.join("v2").into(),
        checkpoint_copy: None,
        duplicates: Duplicates::Conflict,
        dsse: true,
        queue: 64,
    };
    let key =
        |name: &str, algorithm| Signer::load_or_create(&folder.join(name), algorithm).unwrap();
    let shard = |tree_id: &u64| ShardConfig {
        tree_id: *tree_id,
        key: signer::KeyRef::file("unused"),
        home: folder.join(format!("v1-{tree_id}")).into(),
        checkpoint_copy: None,
    };
    let v1 = V1Config {
        host: "localhost".to_owned(),
        attestations: None,
        attestation_bytes: 0,
        kinds: kinds::Kind::ALL.to_vec(),
        shards: trees.iter().map(shard).collect(),
        queue: 64,
    };
    let deps = Deps {
        signer: key("v2.pem", Algorithm::Ed25519),
        v1: Some((
            v1,
            vec![key("v1.pem", Algorithm::EcdsaP256Sha256); trees.len()],
        )),
        search: index.then(|| SearchPlace::File(folder.join("search.sqlite"))),
        witnessing: None,
        storage: Storage::Folders,
        clock: Clock::fixed("2026-11-23T12:00:00Z".parse().unwrap()),
    };
    let App { router, .. } = app::build(&config, deps).await.unwrap();
    Instance { router }
}

impl Instance {
    async fn post(&self, path: &str, body: &Value) -> (StatusCode, Value) {
        let request = Request::post(path).header("content-type", "application/json");
        let request = request
            .body(axum::body::Body::from(body.to_string()))
            .unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (
            status,
            serde_json::from_slice(&bytes).unwrap_or(Value::Null),
        )
    }

    async fn retrieve(&self, query: &Value) -> Vec<String> {
        let (status, ids) = self.post("/api/v1/index/retrieve", query).await;
        assert_eq!(status, StatusCode::OK, "{ids}");
        serde_json::from_value(ids).unwrap()
    }

    /// Ids, and where to go on.
    async fn retrieve_some(&self, query: &Value) -> (Vec<String>, Option<String>) {
        let request = Request::post("/api/v1/index/retrieve");
        let request = request
            .header("content-type", "application/json")
            .body(axum::body::Body::from(query.to_string()))
            .unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        let next = response.headers().get("x-search-next");
        let next = next.map(|next| next.to_str().unwrap().to_owned());
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (serde_json::from_slice(&bytes).unwrap(), next)
    }

    async fn search(&self, query: &Value) -> Value {
        let (status, answer) = self.post("/api/v2/search", query).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        answer
    }

    /// Adds one entry to each log; the id of the v1 entry.
    async fn add(&self, signed: &Signed, message: &str) -> String {
        let signature = b64(signed.signer.sign_local(message.as_bytes()).unwrap());
        let digest = sha256(message.as_bytes());
        let (status, entry) = self
            .post(
                "/api/v1/log/entries",
                &json!({"kind": "hashedrekord", "apiVersion": "0.0.1", "spec": {
                    "data": {"hash": {"algorithm": "sha256", "value": hex::encode(digest)}},
                    "signature": {"content": signature, "publicKey": {"content": b64(&signed.pem)}},
                }}),
            )
            .await;
        assert_eq!(status, StatusCode::CREATED, "{entry}");
        let (status, added) = self
            .post(
                "/api/v2/log/entries",
                &json!({"hashedRekordRequestV002": {"digest": b64(digest), "signature": {
                    "content": signature,
                    "verifier": {"x509Certificate": {"rawBytes": b64(&signed.der)}, "keyDetails": "PKIX_ECDSA_P256_SHA_256"},
                }}}),
            )
            .await;
        assert_eq!(status, StatusCode::CREATED, "{added}");
        entry.as_object().unwrap().keys().next().unwrap().clone()
    }
}

/// Somebody with a certificate.
struct Signed {
    signer: Signer,
    pem: String,
    der: Vec<u8>,
}

fn person(email: &str) -> Signed {
    person_of(email, None)
}

/// Somebody whose certificate says who vouched for the name (Fulcio's extension 1.3.6.1.4.1.57264.1.8, a DER `UTF8String`).
fn person_of(email: &str, issuer: Option<&str>) -> Signed {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut parameters = rcgen::CertificateParams::new(Vec::new()).unwrap();
    parameters.subject_alt_names = vec![rcgen::SanType::Rfc822Name(email.try_into().unwrap())];
    parameters.custom_extensions.extend(issuer.map(|issuer| {
        let length = u8::try_from(issuer.len()).unwrap();
        let text = [&[0x0c, length][..], issuer.as_bytes()].concat();
        rcgen::CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 57264, 1, 8], text)
    }));
    let certificate = parameters.self_signed(&key).unwrap();
    let der = certificate.der().to_vec();
    let pem = pki::cert::Certificate::from_der(&der).unwrap().to_pem();
    Signed {
        signer: Signer::from_pkcs8_pem(&key.serialize_pem()).unwrap(),
        pem,
        der,
    }
}

fn b64(bytes: impl AsRef<[u8]>) -> String {
    STANDARD.encode(bytes)
}

#[tokio::test]
async fn entries_are_found_by_what_they_are_about() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path(), true).await;
    let (alice, bob) = (person("Alice@example.com"), person("bob@example.com"));
    let mut ids = Vec::new();
    for (person, message) in [
        (&alice, "one"),
        (&bob, "two"),
        (&alice, "two"),
        (&alice, "three"),
    ] {
        ids.push(log.add(person, message).await);
    }
    let digest = |message: &str| hex::encode(sha256(message.as_bytes()));
    let key = json!({"format": "x509", "content": b64(format!("\n{}\n", bob.pem))});
    for (query, expected) in [
        (json!({"email": "alice@EXAMPLE.com"}), vec![0, 2, 3]),
        (json!({"subject": "bob@example.com"}), vec![1]),
        (json!({"hash": digest("two")}), vec![1, 2]),
        (
            json!({"hash": format!("sha256:{}", digest("two").to_uppercase())}),
            vec![1, 2],
        ),
        (json!({"publicKey": key}), vec![1]),
        (
            json!({"hash": digest("two"), "email": "alice@example.com", "operator": "and"}),
            vec![2],
        ),
        (
            json!({"hash": digest("three"), "subject": "bob@example.com", "operator": "or"}),
            vec![1, 3],
        ),
        (
            json!({"hash": digest("three"), "subject": "bob@example.com", "operator": "and"}),
            vec![],
        ),
        (json!({"email": "carol@example.com"}), vec![]),
        (json!({}), vec![]),
    ] {
        let expected: Vec<_> = expected
            .into_iter()
            .map(|n: usize| ids[n].clone())
            .collect();
        assert_eq!(log.retrieve(&query).await, expected, "{query}");

        // The other interface finds the same in both logs.
        if query == json!({}) {
            assert_eq!(
                log.post("/api/v2/search", &query).await.0,
                StatusCode::BAD_REQUEST
            );
            continue;
        }
        let answer = log.search(&query).await;
        let hits = answer["entries"].as_array().unwrap();
        assert_eq!(hits.len(), expected.len() * 2, "{query}: {answer}");
        assert_eq!(answer["indexed"].as_array().unwrap().len(), 2);
        for row in answer["indexed"].as_array().unwrap() {
            assert_eq!(
                (&row["indexed"], &row["treeSize"]),
                (&json!("4"), &json!("4")),
                "{row}"
            );
        }
    }
    let (status, error) = log
        .post("/api/v1/index/retrieve", &json!({"hash": "xyz"}))
        .await;
    assert_eq!(
        (status, &error["code"]),
        (StatusCode::UNPROCESSABLE_ENTITY, &json!(605))
    );
    let (status, _) = log
        .post(
            "/api/v1/index/retrieve",
            &json!({"publicKey": {"format": "ssh"}}),
        )
        .await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn entries_are_found_by_issuer_and_by_signature() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path(), true).await;
    let issuer = "https://accounts.example.com";
    let alice = person_of("alice@example.com", Some(issuer));
    let bob = person_of("bob@example.com", Some("https://other.example.com"));
    let mut ids = Vec::new();
    for (person, message) in [(&alice, "one"), (&bob, "one"), (&alice, "two")] {
        ids.push(log.add(person, message).await);
    }
    let of_alice = [ids[0].clone(), ids[2].clone()];
    assert_eq!(log.retrieve(&json!({"issuer": issuer})).await, of_alice);
    // The same name without what makes it an issuer is none.
    assert!(log.retrieve(&json!({"subject": issuer})).await.is_empty());
    let answer = log.search(&json!({"issuer": issuer})).await;
    let hits = answer["entries"].as_array().unwrap();
    assert_eq!(hits.len(), 4, "two in each log: {answer}");
    let body = |hit: &Value| -> Value {
        let body = hit["entry"]["canonicalizedBody"].as_str().unwrap();
        serde_json::from_slice(&STANDARD.decode(body).unwrap()).unwrap()
    };
    for hit in hits {
        let spec = &body(hit)["spec"];
        let spec = spec.get("hashedRekordV002").unwrap_or(spec);
        let signature = &spec["signature"]["content"];
        let answer = log.search(&json!({"signature": signature})).await;
        let found = answer["entries"].as_array().unwrap();
        assert_eq!(found.len(), 2, "one in each log: {answer}");
        let origins: Vec<_> = found.iter().map(|hit| &hit["origin"]).collect();
        assert_eq!(origins, ["localhost - 7", "localhost"]);
        let same = |found: &Value| {
            body(found) == body(hit) && found["entry"]["logIndex"] == hit["entry"]["logIndex"]
        };
        assert!(found.iter().any(same), "{answer}");
    }
}

#[tokio::test]
async fn what_is_found_is_proven_and_comes_in_pages() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path(), true).await;
    let alice = person("alice@example.com");
    for message in ["a", "b", "c", "d", "e"] {
        log.add(&alice, message).await;
    }
    let mut query = json!({"email": "alice@example.com", "limit": 3});
    let mut indexes = Vec::new();
    loop {
        let answer = log.search(&query).await;
        for hit in answer["entries"].as_array().unwrap() {
            let entry: wire::bundle::TransparencyLogEntry =
                serde_json::from_value(hit["entry"].clone()).unwrap();
            let entry = entry::LogEntry::from_wire(entry).unwrap();
            let proof = entry.proof.unwrap();
            let head = tlog::TreeHead {
                size: proof.size,
                root: proof.root,
            };
            let leaf = tlog::hash::leaf(&entry.body);
            tlog::proof::verify_inclusion(&leaf, proof.index, &proof.hashes, &head).unwrap();
            let origin = hit["origin"].as_str().unwrap().to_owned();
            assert!(
                proof.checkpoint.starts_with(&format!("{origin}\n5\n")),
                "{}",
                proof.checkpoint
            );
            assert_eq!(entry.promise.is_some(), origin == "localhost - 7");
            indexes.push((origin, entry.index));
        }
        match answer.get("next") {
            Some(next) => query["after"] = next.clone(),
            None => break,
        }
    }
    indexes.sort();
    let expected: Vec<_> = ["localhost", "localhost - 7"]
        .into_iter()
        .flat_map(|origin| (0..5).map(move |index| (origin.to_owned(), index)))
        .collect();
    assert_eq!(indexes, expected);
    for wrong in [
        json!({"email": "a@b.c", "limit": 0}),
        json!({"email": "a@b.c", "after": "x"}),
        json!({"mail": "a@b.c"}),
    ] {
        assert_eq!(
            log.post("/api/v2/search", &wrong).await.0,
            StatusCode::BAD_REQUEST,
            "{wrong}"
        );
    }
}

#[tokio::test]
async fn the_index_goes_on_and_is_made_again_when_it_is_lost_or_another_ones() {
    let folder = tempfile::tempdir().unwrap();
    let alice = person("alice@example.com");
    let query = json!({"email": "alice@example.com"});
    let mut ids = Vec::new();
    // Entries that were added while there was no index are found as well.
    for (index, message) in [(true, "a"), (false, "b"), (true, "c")] {
        let log = open(folder.path(), index).await;
        ids.push(log.add(&alice, message).await);
        if !index {
            assert_eq!(
                log.post("/api/v1/index/retrieve", &query).await.0,
                StatusCode::NOT_IMPLEMENTED
            );
            assert_eq!(
                log.post("/api/v2/search", &query).await.0,
                StatusCode::NOT_FOUND
            );
        }
    }
    let found = open(folder.path(), true).await.retrieve(&query).await;
    assert_eq!(found, ids);
    let remove = |name: &str| {
        for suffix in ["", "-wal", "-shm"] {
            let _absent = std::fs::remove_file(folder.path().join(format!("{name}{suffix}")));
        }
    };
    remove("search.sqlite");
    let found = open(folder.path(), true).await.retrieve(&query).await;
    assert_eq!(found, ids, "made again");

    let other = tempfile::tempdir().unwrap();
    for file in ["v1.pem", "v2.pem", "search.sqlite", "search.sqlite-wal"] {
        let _absent = std::fs::copy(folder.path().join(file), other.path().join(file));
    }
    let log = open(other.path(), true).await;
    assert!(
        log.retrieve(&query).await.is_empty(),
        "the index knew more than the log has"
    );
    let id = log.add(&alice, "z").await;
    assert_eq!(log.retrieve(&query).await, [id]);
}

/// Whoever looks for misuse of a name takes an empty list for good news.
#[tokio::test]
async fn an_index_that_is_behind_is_no_answer() {
    use sqlx::{Connection as _, SqliteConnection};

    let folder = tempfile::tempdir().unwrap();
    let alice = person("alice@example.com");
    let query = json!({"email": "alice@example.com"});
    let log = open(folder.path(), true).await;
    let mut ids = vec![log.add(&alice, "a").await];
    assert_eq!(log.retrieve(&query).await, ids);
    let file = folder.path().join("search.sqlite");
    let mut other = SqliteConnection::connect(&format!("sqlite:{}", file.display()))
        .await
        .unwrap();
    let begin = sqlx::query("BEGIN IMMEDIATE");
    begin.execute(&mut other).await.unwrap();
    ids.push(log.add(&alice, "b").await);
    let (status, refused) = log.post("/api/v1/index/retrieve", &query).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{refused}");
    let message = refused["message"].as_str().unwrap();
    assert!(message.contains("has 1 of the 2 entries"), "{message}");
    let told = log.search(&query).await;
    assert_eq!(told["indexed"][1]["indexed"], "1", "{told}");
    let end = sqlx::query("ROLLBACK");
    end.execute(&mut other).await.unwrap();
    loop {
        let (status, found) = log.post("/api/v1/index/retrieve", &query).await;
        if status == StatusCode::OK {
            assert_eq!(found, json!(ids));
            break;
        }
    }
}

/// Rekor v1 gives all at once; here the rest is asked for.
#[tokio::test]
async fn an_answer_that_has_not_all_ids_says_where_to_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let alice = person("alice@example.com");
    let log = open(folder.path(), true).await;
    let mut ids = Vec::new();
    for message in ["a", "b", "c"] {
        ids.push(log.add(&alice, message).await);
    }
    let mut query = json!({"email": "alice@example.com", "limit": 2});
    let mut found = Vec::new();
    for rest in [true, false] {
        let (answer, next) = log.retrieve_some(&query).await;
        found.push(answer);
        assert_eq!(next.is_some(), rest);
        query["after"] = json!(next);
    }
    assert_eq!(found, [&ids[..2], &ids[2..]]);
    let (all, next) = log
        .retrieve_some(&json!({"email": "alice@example.com"}))
        .await;
    assert_eq!((all, next), (ids, None));
    for wrong in [json!({"limit": 0}), json!({"after": "x"})] {
        let (status, _) = log.post("/api/v1/index/retrieve", &wrong).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{wrong}");
    }
}

#[tokio::test]
async fn a_tree_that_was_begun_later_is_found_too() {
    let folder = tempfile::tempdir().unwrap();
    let alice = person("alice@example.com");
    let query = json!({"email": "alice@example.com"});
    // In the index the v2 log stands between the two trees.
    let log = open_with(folder.path(), true, &[7]).await;
    let mut ids = vec![log.add(&alice, "a").await];
    drop(log);
    let log = open_with(folder.path(), true, &[7, 8]).await;
    for message in ["b", "c", "d"] {
        ids.push(log.add(&alice, message).await);
    }
    assert_eq!(log.retrieve(&query).await, ids);
}

#[tokio::test]
async fn an_index_of_another_log_of_the_same_length_is_made_again() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (alice, bob) = (person("alice@example.com"), person("bob@example.com"));
    let log = open(one.path(), true).await;
    log.add(&alice, "a").await;
    assert_eq!(
        log.retrieve(&json!({"email": "alice@example.com"}))
            .await
            .len(),
        1
    );
    drop(log);
    let id = open(other.path(), false).await.add(&bob, "b").await;
    for file in ["search.sqlite", "search.sqlite-wal"] {
        let _absent = std::fs::copy(one.path().join(file), other.path().join(file));
    }
    let log = open(other.path(), true).await;
    assert!(
        log.retrieve(&json!({"email": "alice@example.com"}))
            .await
            .is_empty()
    );
    assert_eq!(
        log.retrieve(&json!({"email": "bob@example.com"})).await,
        [id]
    );
}
