//! The Rekor v1 interface as clients see it.
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
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http_body_util::BodyExt as _;
use keys::{Algorithm, sha256};
use kinds::Kind;
use note::VerifierKey;
use rekor_rs::app::{self, App, Deps};
use rekor_rs::config::{Duplicates, LogConfig};
use rekor_rs::search::SearchPlace;
use rekor_rs::storage::Storage;
use rekor_rs::v1::config::{ShardConfig, V1Config};
use serde_json::{Value, json};
use serve::Clock;
use signer::Signer;
use tlog::{Hash, LeafIndex, TreeHead, TreeSize, proof};
use tower::ServiceExt as _;

const NOW: &str = "2026-11-23T12:00:00.9Z";

struct Instance {
    router: Router,
    shards: Vec<(u64, Signer)>,
}

async fn open(folder: &Path, shards: &[(u64, Signer)], now: &str) -> anyhow::Result<Instance> {
    open_for(folder, shards, now, &Kind::ALL).await
}

async fn open_for(
    folder: &Path,
    shards: &[(u64, Signer)],
    now: &str,
    kinds: &[Kind],
) -> anyhow::Result<Instance> {
    let config = LogConfig {
        origin: "localhost".to_owned(),
        key: signer::KeyRef::file("unused"),
        home: folder.join("v2").into(),
        checkpoint_copy: None,
        duplicates: Duplicates::Conflict,
        dsse: true,
        queue: 64,
    };
    let v2 = folder.join("v2.pem");
    let signer = Signer::load_or_create(&v2, Algorithm::Ed25519)?;
    let v1 = V1Config {
        host: "localhost".to_owned(),
        attestations: Some(folder.join("attestations").into()),
        attestation_bytes: 1000,
        kinds: kinds.to_vec(),
        shards: shards
            .iter()
            .map(|(tree_id, _)| ShardConfig {
                tree_id: *tree_id,
                key: signer::KeyRef::file("unused"),
                home: folder.join(tree_id.to_string()).into(),
                checkpoint_copy: None,
            })
            .collect(),
        queue: 64,
    };
    let signers = shards.iter().map(|(_, signer)| signer.clone()).collect();
    let deps = Deps {
        signer,
        v1: Some((v1, signers)),
        search: Some(SearchPlace::File(folder.join("search.sqlite"))),
        witnessing: None,
        storage: Storage::Folders,
        clock: Clock::fixed(now.parse()?),
    };
    let App { router, .. } = app::build(&config, deps).await?;
    Ok(Instance {
        router,
        shards: shards.to_vec(),
    })
}

fn shard(tree_id: u64) -> (u64, Signer) {
    (
        tree_id,
        Signer::generate(Algorithm::EcdsaP256Sha256).unwrap(),
    )
}

async fn instance(folder: &Path) -> Instance {
    open(folder, &[shard(1234)], NOW).await.unwrap()
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

    /// Status, code and message of an error.
    fn error(&self) -> (u16, u64, String) {
        let body = self.json();
        let code = body["code"].as_u64().unwrap();
        let message = body["message"].as_str().unwrap().to_owned();
        assert_eq!(body.as_object().unwrap().len(), 2, "{body}");
        (self.status.as_u16(), code, message)
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
        let path = format!("/api/v1/log{path}");
        self.call(Request::get(path).body(Body::empty()).unwrap())
            .await
    }

    async fn post(&self, path: &str, body: &Value) -> Answer {
        let request = Request::post(format!("/api/v1/log/entries{path}"));
        let request = request.header("content-type", "application/json");
        self.call(request.body(body.to_string().into()).unwrap())
            .await
    }

    async fn add(&self, proposal: &Value) -> (String, Value) {
        let answer = self.post("", proposal).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.json());
        self.check(&answer.json())
    }

    /// What a client does with an entry: promise, checkpoint and proof must hold, and agree.
    fn check(&self, entries: &Value) -> (String, Value) {
        let entries = entries.as_object().unwrap();
        assert_eq!(entries.len(), 1);
        let (id, entry) = entries.iter().next().unwrap();
        let (tree, uuid) = id.split_at(16);
        let tree = u64::from_str_radix(tree, 16).unwrap();
        let (_, signer) = self.shards.iter().find(|(id, _)| *id == tree).unwrap();
        let key = signer.public_key();
        let body = STANDARD.decode(entry["body"].as_str().unwrap()).unwrap();
        let leaf = tlog::hash::leaf(&body);
        assert_eq!(uuid, hex::encode(leaf.as_bytes()));

        let log_id = hex::decode(entry["logID"].as_str().unwrap()).unwrap();
        assert_eq!(log_id, key.key_id());
        let time = entry["integratedTime"].as_i64().unwrap();
        let index = entry["logIndex"].as_u64().unwrap();
        let promised = entry::promise(&body, time, &log_id, index).unwrap();
        let verification = &entry["verification"];
        let promise = verification["signedEntryTimestamp"].as_str().unwrap();
        let promise = STANDARD.decode(promise).unwrap();
        key.verify(Algorithm::EcdsaP256Sha256, &promised, &promise)
            .unwrap();

        let inclusion = &verification["inclusionProof"];
        let checkpoint = inclusion["checkpoint"].as_str().unwrap();
        let verifier = VerifierKey::rekor_v1("localhost", key.clone()).unwrap();
        let opened = note::open(checkpoint.as_bytes(), &[verifier]).unwrap();
        assert_eq!(opened.origin(), format!("localhost - {tree}"));
        assert_eq!(checkpoint.matches('\u{2014}').count(), 1, "one line");
        let hash = |value: &Value| {
            Hash::from_slice(&hex::decode(value.as_str().unwrap()).unwrap()).unwrap()
        };
        let head = TreeHead {
            size: TreeSize::new(inclusion["treeSize"].as_u64().unwrap()),
            root: hash(&inclusion["rootHash"]),
        };
        assert_eq!(*opened.head(), head);
        let path: Vec<_> = inclusion["hashes"]
            .as_array()
            .unwrap()
            .iter()
            .map(hash)
            .collect();
        let local = LeafIndex::new(inclusion["logIndex"].as_u64().unwrap());
        proof::verify_inclusion(&leaf, local, &path, &head).unwrap();
        (id.clone(), entry.clone())
    }
}

fn b64(bytes: impl AsRef<[u8]>) -> String {
    STANDARD.encode(bytes)
}

fn proposal(signer: &Signer, message: &str) -> Value {
    json!({"kind": "hashedrekord", "apiVersion": "0.0.1", "spec": {
        "data": {"hash": {"algorithm": "sha256", "value": hex::encode(sha256(message.as_bytes()))}},
        "signature": {
            "content": b64(signer.sign_local(message.as_bytes()).unwrap()),
            "publicKey": {"content": b64(signer.public_key().to_pem())},
        },
    }})
}

fn client() -> Signer {
    Signer::generate(Algorithm::EcdsaP256Sha256).unwrap()
}

#[tokio::test]
async fn an_entry_is_added_and_found_again() {
    let folder = tempfile::tempdir().unwrap();
    let log = instance(folder.path()).await;
    let client = client();
    for message in ["a", "b", "c"] {
        log.add(&proposal(&client, message)).await;
    }
    let wanted = proposal(&client, "d");
    let answer = log.post("", &wanted).await;
    assert_eq!(answer.status, StatusCode::CREATED);
    let (id, entry) = log.check(&answer.json());
    assert_eq!(answer.header("etag"), id, "clients look the entry up by it");
    assert_eq!(
        answer.header("location"),
        format!("/api/v1/log/entries/{id}")
    );
    assert_eq!(entry["logIndex"], 3);
    assert_eq!(entry["integratedTime"], 1_795_435_200);
    assert!(id.starts_with("00000000000004d2"));
    log.add(&proposal(&client, "e")).await;

    let same = |found: &Value| {
        let (found_id, found) = log.check(found);
        assert_eq!(found_id, id);
        for member in ["body", "integratedTime", "logID", "logIndex"] {
            assert_eq!(found[member], entry[member], "{member}");
        }
        assert_eq!(
            found["verification"]["inclusionProof"]["treeSize"], 5,
            "a fresh proof"
        );
        assert!(found.get("attestation").is_none());
    };
    for path in [
        "/entries?logIndex=3".to_owned(),
        format!("/entries/{id}"),
        format!("/entries/{}", &id[16..]),
        format!("/entries/{}", id.to_uppercase()),
    ] {
        let answer = log.get(&path).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}");
        assert_eq!(answer.header("cache-control"), "no-cache");
        same(&answer.json());
    }
    for (path, query) in [
        ("/retrieve", json!({"logIndexes": [3]})),
        ("/retrieve/", json!({"entryUUIDs": [id]})),
        (
            "/retrieve",
            json!({"entryUUIDs": [id[16..]], "logIndexes": null}),
        ),
        ("/retrieve", json!({"entries": [wanted]})),
        (
            "/retrieve",
            json!({"logIndexes": [3, 99], "entryUUIDs": ["ab".repeat(32)], "entries": [proposal(&client, "never")]}),
        ),
    ] {
        let answer = log.post(path, &query).await;
        assert_eq!(answer.status, StatusCode::OK, "{query}");
        let found = answer.json();
        assert_eq!(found.as_array().unwrap().len(), 1, "{query}");
        same(&found[0]);
    }
    assert_eq!(log.post("/retrieve", &json!({})).await.json(), json!([]));
}

#[tokio::test]
async fn what_is_there_already_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let log = instance(folder.path()).await;
    let proposal = proposal(&client(), "a");
    let (id, _) = log.add(&proposal).await;
    let again = log.post("", &proposal).await;
    let (status, code, message) = again.error();
    assert_eq!((status, code), (409, 409));
    assert_eq!(
        message,
        format!("an equivalent entry already exists in the transparency log with UUID {id}")
    );
    assert_eq!(
        again.header("location"),
        format!("/api/v1/log/entries/{id}")
    );
}

#[tokio::test]
async fn what_is_wrong_is_refused_as_upstream_does() {
    let folder = tempfile::tempdir().unwrap();
    let log = instance(folder.path()).await;
    let good = proposal(&client(), "a");
    let changed = |change: &dyn Fn(&mut Value)| {
        let mut proposal = good.clone();
        change(&mut proposal);
        proposal
    };
    for (proposal, status, code, reason) in [
        (
            json!({}),
            422,
            602,
            "proposedEntry.kind in body is required",
        ),
        (json!([]), 400, 400, "parsing proposedEntry body"),
        (
            changed(&|p| p["kind"] = json!("nonsense")),
            422,
            606,
            "invalid kind value",
        ),
        (
            changed(&|p| p["apiVersion"] = json!("x")),
            422,
            605,
            "semantic version",
        ),
        (
            changed(&|p| p["apiVersion"] = json!("0.0.7")),
            400,
            400,
            "error processing entry",
        ),
        (
            changed(&|p| p["spec"]["signature"]["content"] = json!("AAAA")),
            400,
            400,
            "verifying signature",
        ),
        (
            changed(&|p| p["spec"]["data"]["hash"]["value"] = json!("AAAA")),
            400,
            400,
            "invalid value for hash",
        ),
    ] {
        let (found_status, found_code, message) = log.post("", &proposal).await.error();
        assert_eq!((found_status, found_code), (status, code), "{message}");
        assert!(message.contains(reason), "{message}");
    }
    for (path, status, code) in [
        ("/entries?logIndex=-1", 422, 609),
        ("/entries?logIndex=x", 422, 601),
        ("/entries", 422, 602),
        ("/entries/xyz", 422, 605),
        ("/proof", 422, 602),
        ("/proof?lastSize=0", 422, 609),
        ("/proof?firstSize=2&lastSize=1", 400, 400),
        ("/proof?lastSize=1", 400, 400),
        ("/proof?lastSize=1&treeID=x", 422, 605),
        ("/proof?lastSize=1&treeID=99", 400, 400),
        ("/publicKey?treeID=99", 400, 400),
        ("/nothing", 404, 404),
    ] {
        let (found_status, found_code, message) = log.get(path).await.error();
        assert_eq!(
            (found_status, found_code),
            (status, code),
            "{path}: {message}"
        );
    }
    for path in [
        "/entries?logIndex=0".to_owned(),
        "/entries?logIndex=9223372036854775807".to_owned(),
        format!("/entries/{}", "ab".repeat(32)),
        format!("/entries/{:016x}{}", 1234, "ab".repeat(32)),
        format!("/entries/{:016x}{}", 1235, "ab".repeat(32)),
    ] {
        let missing = log.get(&path).await;
        assert_eq!(missing.status, StatusCode::NOT_FOUND, "{path}");
        assert!(missing.body.is_empty() && !missing.headers.contains_key("content-type"));
    }
    for (query, code) in [
        (json!({"logIndexes": vec![0; 11]}), 611),
        (
            json!({"logIndexes": vec![0; 6], "entryUUIDs": vec!["ab".repeat(32); 5]}),
            422,
        ),
        (json!({"entries": vec![json!(vec![0; 100]); 11]}), 611),
        (json!({"entryUUIDs": vec!["xyz"; 11]}), 611),
        (json!({"entryUUIDs": ["xyz"]}), 605),
        (json!({"logIndexes": [-1]}), 609),
    ] {
        let (status, found, message) = log.post("/retrieve", &query).await.error();
        assert_eq!((status, found), (422, code), "{message}");
    }
    let forged = changed(&|p| p["spec"]["signature"]["content"] = json!("AAAA"));
    let (status, ..) = log
        .post("/retrieve", &json!({"entries": [forged]}))
        .await
        .error();
    assert_eq!(status, 400, "a lookup checks signatures too");
    for (path, name) in [
        ("/log/entries", "proposedEntry"),
        ("/log/entries/retrieve", "entry"),
    ] {
        let nothing = Request::post(format!("/api/v1{path}"));
        let nothing = nothing.header("content-type", "application/json");
        let refused = log.call(nothing.body(Body::empty()).unwrap()).await;
        let required = (422, 602, format!("{name} in body is required"));
        assert_eq!(refused.error(), required, "{path}");
    }
    let yaml = Request::post("/api/v1/log/entries").header("content-type", "text/plain");
    let refused = log.call(yaml.body(good.to_string().into()).unwrap()).await;
    assert_eq!(refused.error().0, 415);
    let deleted = Request::delete("/api/v1/log/entries").body(Body::empty());
    assert_eq!(log.call(deleted.unwrap()).await.error().0, 405);
    assert_eq!(
        log.get("").await.json()["treeSize"],
        0,
        "nothing of it went in"
    );
}

#[tokio::test]
async fn the_log_says_how_it_grew() {
    let folder = tempfile::tempdir().unwrap();
    let log = instance(folder.path()).await;
    let client = client();
    let mut roots = vec![Hash::from_slice(&sha256(b"")).unwrap()];
    let hash =
        |value: &Value| Hash::from_slice(&hex::decode(value.as_str().unwrap()).unwrap()).unwrap();
    for count in 0..20 {
        log.add(&proposal(&client, &count.to_string())).await;
        let info = log.get("").await.json();
        assert_eq!(info["treeID"], "1234");
        assert_eq!(info["treeSize"], count + 1);
        assert_eq!(info["inactiveShards"], Value::Null);
        assert!(
            info["signedTreeHead"]
                .as_str()
                .unwrap()
                .starts_with("localhost - 1234\n")
        );
        roots.push(hash(&info["rootHash"]));
    }
    for last in 1..=20_usize {
        for first in 1..=last {
            let answer = log
                .get(&format!(
                    "/proof?firstSize={first}&lastSize={last}&treeID=1234"
                ))
                .await;
            assert_eq!(answer.status, StatusCode::OK);
            let path: Vec<_> = answer.json()["hashes"]
                .as_array()
                .unwrap()
                .iter()
                .map(hash)
                .collect();
            let head = |size: usize| TreeHead {
                size: TreeSize::new(size.try_into().unwrap()),
                root: roots[size],
            };
            proof::verify_consistency(&head(first), &head(last), &path).unwrap();
            assert_eq!(
                hash(&answer.json()["rootHash"]),
                roots[20],
                "of the newest tree"
            );
        }
    }
    let key = log.get("/publicKey").await;
    assert_eq!(key.header("content-type"), "application/x-pem-file");
    assert_eq!(key.body, log.shards[0].1.public_key().to_pem().into_bytes());
}

/// What comes back right away to a log that cannot take it for a while only keeps it busy.
#[tokio::test]
async fn who_is_turned_away_is_told_for_how_long() {
    let folder = tempfile::tempdir().unwrap();
    let (shards, client) = ([shard(1234)], client());
    let log = open(folder.path(), &shards, NOW).await.unwrap();
    log.add(&proposal(&client, "a")).await;
    drop(log);
    let early = "2020-01-01T00:00:00Z";
    let log = open(folder.path(), &shards, early).await.unwrap();
    let refused = log.post("", &proposal(&client, "b")).await;
    let (status, code, message) = refused.error();
    assert_eq!((status, code), (503, 503), "{message}");
    assert!(message.contains("clock is wrong"), "{message}");
    assert_eq!(refused.header("retry-after"), "60");
}

#[tokio::test]
async fn shards_count_on_and_time_stays() {
    let folder = tempfile::tempdir().unwrap();
    let shards = [shard(11), shard(22), shard(33)];
    let client = client();
    let old = open(folder.path(), &shards[..1], NOW).await.unwrap();
    let (first, entry) = old.add(&proposal(&client, "a")).await;
    old.add(&proposal(&client, "b")).await;
    drop(old);
    // The second shard gets nothing.
    drop(open(folder.path(), &shards[..2], NOW).await.unwrap());
    let log = open(folder.path(), &shards, "2026-12-01T00:00:00Z")
        .await
        .unwrap();
    let (third, added) = log.add(&proposal(&client, "c")).await;
    assert!(third.starts_with("0000000000000021"));
    assert_eq!(added["logIndex"], 2);
    assert_eq!(added["verification"]["inclusionProof"]["logIndex"], 0);
    let again = log.get("/entries?logIndex=0").await.json();
    let (id, found) = log.check(&again);
    assert_eq!(id, first);
    assert_eq!(found["integratedTime"], entry["integratedTime"]);
    for (path, id) in [
        (format!("/entries/{}", &first[16..]), &first),
        (format!("/entries/{third}"), &third),
        ("/entries?logIndex=2".to_owned(), &third),
    ] {
        assert_eq!(log.check(&log.get(&path).await.json()).0, *id, "{path}");
    }
    assert_eq!(
        log.get("/entries?logIndex=3").await.status,
        StatusCode::NOT_FOUND
    );
    let info = log.get("").await.json();
    assert_eq!(info["treeID"], "33");
    let inactive = info["inactiveShards"].as_array().unwrap();
    assert_eq!(inactive.len(), 2);
    assert_eq!(
        (&inactive[0]["treeID"], &inactive[0]["treeSize"]),
        (&json!("11"), &json!(2))
    );
    assert_eq!(inactive[1]["treeSize"], 0);
    let key = log.get("/publicKey?treeID=11").await.body;
    assert_eq!(key, shards[0].1.public_key().to_pem().into_bytes());
    drop(log);

    // The folder of another tree, or another key, is no start.
    let swapped = [(22, shards[0].1.clone()), (11, shards[1].1.clone())];
    std::fs::rename(folder.path().join("11"), folder.path().join("x")).unwrap();
    std::fs::rename(folder.path().join("22"), folder.path().join("11")).unwrap();
    std::fs::rename(folder.path().join("x"), folder.path().join("22")).unwrap();
    let refused = open(folder.path(), &swapped, NOW).await.err().unwrap();
    assert!(
        format!("{refused:#}").contains("is not tree 22 of localhost"),
        "{refused:#}"
    );
    let wrong = [(22, Signer::generate(Algorithm::Ed25519).unwrap())];
    let refused = open(folder.path(), &wrong, NOW).await.err().unwrap();
    assert!(
        format!("{refused:#}").contains("clients believe only"),
        "{refused:#}"
    );
}

#[tokio::test]
async fn attestations_are_kept_up_to_their_limit() {
    let folder = tempfile::tempdir().unwrap();
    let log = instance(folder.path()).await;
    let client = client();
    let propose = |payload: &[u8]| {
        let payload_type = "application/vnd.in-toto+json";
        let pae = format!(
            "DSSEv1 {} {payload_type} {} ",
            payload_type.len(),
            payload.len()
        );
        let pae = [pae.as_bytes(), payload].concat();
        let signature = b64(client.sign_local(&pae).unwrap());
        json!({"kind": "intoto", "apiVersion": "0.0.2", "spec": {"content": {
            "envelope": {
                "payloadType": payload_type,
                "payload": b64(b64(payload)),
                "signatures": [{"sig": b64(signature), "publicKey": b64(client.public_key().to_pem())}],
            },
            "hash": {"algorithm": "sha256", "value": hex::encode(sha256(payload))},
        }}})
    };
    for (payload, kept) in [(vec![b'x'; 1000], true), (vec![b'y'; 1001], false)] {
        let (id, added) = log.add(&propose(&payload)).await;
        assert!(added.get("attestation").is_none(), "only who reads gets it");
        let (_, found) = log.check(&log.get(&format!("/entries/{id}")).await.json());
        let data = found.get("attestation").map(|attestation| {
            STANDARD
                .decode(attestation["data"].as_str().unwrap())
                .unwrap()
        });
        assert_eq!(data, kept.then_some(payload));
    }
}

#[tokio::test]
async fn requests_are_counted_under_upstreams_names() {
    serve::metrics::init();
    let folder = tempfile::tempdir().unwrap();
    let log = instance(folder.path()).await;
    log.add(&proposal(&client(), "a")).await;
    log.get("/entries?logIndex=0").await;
    log.get(&format!("/entries/{}", "ab".repeat(32))).await;
    log.call(Request::get("/checkpoint").body(Body::empty()).unwrap())
        .await;
    // It is indexed then.
    let question = json!({"hash": "ab".repeat(32)}).to_string();
    let question = Request::post("/api/v1/index/retrieve")
        .header("content-type", "application/json")
        .body(Body::from(question));
    log.call(question.unwrap()).await;
    let figures = log.call(Request::get("/metrics").body(Body::empty()).unwrap());
    let figures = String::from_utf8(figures.await.body).unwrap();
    // Upstream has no row of it either, unless it sends events somewhere.
    assert!(!figures.contains("rekor_publish_events"), "{figures}");
    for line in [
        r#"rekor_index_storage_latency_summary_count{success="true"}"#,
        r#"rekor_index_storage_latency_summary{success="true",quantile="0.5"}"#,
        r#"rekor_checkpoint_publish{shard="1234",code="0"}"#,
        r#"rekor_qps_by_api{path="/api/v1/log/entries",method="POST",code="201"}"#,
        r#"rekor_qps_by_api{path="/api/v1/log/entries/{entryUUID}",method="GET",code="404"}"#,
        r#"rekor_latency_by_api_bucket{path="/api/v1/log/entries",method="GET",le="1000000"}"#,
        r#"rekor_v2_http_requests_total{code="200",method="get"}"#,
        r#"rekor_v2_http_api_latency_bucket{code="200",method="get",le="0.005"}"#,
        "rekor_new_entries",
        "rekor_v2_build_info",
        "rekor_build_info",
        r#"rekor_api_latency_summary{path="/api/v1/log/entries",code="201",quantile="0.5"}"#,
    ] {
        assert!(figures.contains(line), "{line} is not in\n{figures}");
    }
}

/// The proposals in `testdata/rekor-v1` that upstream takes and so do we, with their bodies.
fn known_answers() -> Vec<(Kind, Value)> {
    let mut found = Vec::new();
    for kind in Kind::ALL {
        let file = format!("../../testdata/rekor-v1/{}.jsonl", kind.name());
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
        let Ok(text) = std::fs::read_to_string(path) else {
            continue;
        };
        let cases = text.lines().map(|line| serde_json::from_str(line).unwrap());
        let good = cases.filter(|case: &Value| case.get("error").is_none());
        found.extend(good.map(|case| (kind, case)));
    }
    found
}

#[tokio::test]
async fn entries_of_every_kind_go_in_and_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let log = instance(folder.path()).await;
    let mut kinds = std::collections::HashSet::new();
    let mut bodies = std::collections::HashSet::new();
    for (kind, case) in known_answers() {
        let name = format!("{} {}", kind.name(), case["name"]);
        let body = case["body"].as_str().unwrap();
        kinds.insert(kind.name());
        if !bodies.insert(body.to_owned()) {
            // The same entry in another form is there already.
            let again = log.post("", &case["proposal"]).await;
            assert_eq!(again.status, StatusCode::CONFLICT, "{name}");
            continue;
        }
        let (id, entry) = log.add(&case["proposal"]).await;
        assert_eq!(entry["body"], b64(body), "{name}");
        let retrieved = log
            .post("/retrieve", &json!({"entries": [case["proposal"]]}))
            .await;
        assert!(retrieved.json()[0].get(&id).is_some(), "{name}");
        let found = log.get(&format!("/entries/{id}")).await.json();
        let kept = found[&id].get("attestation").is_some();
        let attested = matches!(kind, Kind::Cose | Kind::Intoto);
        assert_eq!(kept, attested, "{name}");

        let spec = &case["proposal"]["spec"];
        let key = match kind {
            Kind::Rekord => {
                let signature = &spec["signature"];
                json!({"format": signature["format"], "content": signature["publicKey"]["content"]})
            }
            Kind::Cose => json!({"format": "x509", "content": spec["publicKey"]}),
            Kind::Alpine => {
                json!({"format": "x509", "content": spec["publicKey"]["content"]})
            }
            Kind::Rpm | Kind::Helm => {
                json!({"format": "pgp", "content": spec["publicKey"]["content"]})
            }
            Kind::Tuf if spec["root"]["content"].is_object() => {
                json!({"format": "tuf", "content": b64(spec["root"]["content"].to_string())})
            }
            _ => continue,
        };
        let request = Request::post("/api/v1/index/retrieve");
        let request = request.header("content-type", "application/json");
        let question = json!({ "publicKey": key }).to_string();
        let answer = log.call(request.body(question.into()).unwrap()).await;
        let ids: Vec<String> = serde_json::from_value(answer.json()).unwrap();
        assert!(ids.contains(&id), "{name}: not found by its key");
    }
    for kind in [
        "dsse", "intoto", "rekord", "rfc3161", "cose", "tuf", "jar", "alpine", "rpm", "helm",
    ] {
        assert!(kinds.contains(kind), "{kind}: data was lost");
    }
}

#[tokio::test]
async fn a_statement_of_many_files_is_found_by_them_and_the_rest_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let log = instance(folder.path()).await;
    let digest = |number: u32| hex::encode(sha256(&number.to_be_bytes()));
    let propose = async |count: u32| {
        let subjects: Vec<_> = (0..count)
            .map(|number| json!({"name": "a", "digest": {"sha256": digest(number)}}))
            .collect();
        let statement = json!({"subject": subjects}).to_string();
        let signer = client();
        let pae = dsse::pae(dsse::IN_TOTO, statement.as_bytes());
        let envelope = json!({"payloadType": dsse::IN_TOTO, "payload": b64(&statement),
            "signatures": [{"sig": b64(signer.sign_local(&pae).unwrap())}]});
        let answer = log
            .post("", &json!({"kind": "dsse", "apiVersion": "0.0.1", "spec": {"proposedContent": {
                "envelope": envelope.to_string(), "verifiers": [b64(signer.public_key().to_pem())]}}}))
            .await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.json());
        let left_out = answer.headers.get("x-search-keys-left-out");
        left_out.map(|count| count.to_str().unwrap().parse::<u32>().unwrap())
    };
    assert_eq!(propose(900).await, None);
    assert!(propose(2000).await.unwrap() > 1000);
    let request =
        Request::post("/api/v1/index/retrieve").header("content-type", "application/json");
    let query = json!({"hash": format!("sha256:{}", digest(899))});
    let found = log
        .call(request.body(query.to_string().into()).unwrap())
        .await;
    assert_eq!(
        found.json().as_array().unwrap().len(),
        2,
        "{}",
        found.json()
    );
}

#[tokio::test]
async fn only_kinds_of_the_settings_go_in() {
    let folder = tempfile::tempdir().unwrap();
    let shards = [shard(1234)];
    let kinds = &[Kind::HashedRekord, Kind::Dsse];
    let log = open_for(folder.path(), &shards, NOW, kinds).await.unwrap();
    log.add(&proposal(&client(), "a message")).await;
    for (kind, case) in known_answers() {
        if kinds.contains(&kind) {
            continue;
        }
        let refused = log.post("", &case["proposal"]).await;
        let message = format!(
            "invalid kind value: {:?}: this log takes hashedrekord, dsse",
            kind.name()
        );
        assert_eq!(refused.error(), (422, 606, message.clone()));
        // Nor is its signature checked for whoever only looks for it.
        let query = json!({"entries": [case["proposal"]]});
        let refused = log.post("/retrieve", &query).await;
        assert_eq!(refused.error(), (422, 606, message));
    }
}
