//! Witnesses: ours as others see it, and a log that asks several of them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs,
    reason = "a panic is a test's report"
)]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use axum::response::IntoResponse as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http_body_util::BodyExt as _;
use keys::{Algorithm, sha256};
use note::{Checkpoint, CosignerKey, Note, VerifierKey};
use rekor_rs::app::{self, App, Deps, Role};
use rekor_rs::config::{Duplicates, LogConfig};
use rekor_rs::storage::Storage;
use rekor_rs::witness::config::KnownLog;
use rekor_rs::witness::{self, WitnessConfig};
use rekor_rs::witnessing::{WithoutQuorum, WitnessingConfig};
use serde_json::{Value, json};
use serve::{Clock, Limits, ListenAddress, Listeners, Server, Stop, StopHandle};
use signer::{MlDsa44Signer, Signer};
use tempfile::TempDir;
use tlog::{Edge, Hash, LeafIndex, TreeHead, TreeSize, hash, proof};
use tower::ServiceExt as _;

const NOW: &str = "2026-11-23T12:00:00Z";

struct Answer {
    status: StatusCode,
    kind: String,
    index: Option<u64>,
    body: Vec<u8>,
}

impl Answer {
    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

async fn call(router: &Router, request: Request<Body>) -> Answer {
    let response = router.clone().oneshot(request).await.unwrap();
    let (head, body) = response.into_parts();
    let text = |name: &str| head.headers.get(name).map(|value| value.to_str().unwrap());
    Answer {
        status: head.status,
        kind: text("content-type").unwrap_or_default().to_owned(),
        index: text("x-log-index").map(|index| index.parse().unwrap()),
        body: body.collect().await.unwrap().to_bytes().to_vec(),
    }
}

async fn get(router: &Router, path: &str) -> Answer {
    call(router, Request::get(path).body(Body::empty()).unwrap()).await
}

async fn post(router: &Router, path: &str, body: impl Into<Body>) -> Answer {
    call(router, Request::post(path).body(body.into()).unwrap()).await
}

/// A log that signs whatever a test wants.
struct Liar {
    signer: Signer,
    key: VerifierKey,
}

impl Liar {
    fn new() -> Self {
        let signer = Signer::generate(Algorithm::Ed25519).unwrap();
        let key = VerifierKey::new("log.example", signer.public_key().clone()).unwrap();
        Self { signer, key }
    }

    fn head(leaves: &[&str]) -> TreeHead {
        let hashes: Vec<Hash> = leaves
            .iter()
            .map(|leaf| hash::leaf(leaf.as_bytes()))
            .collect();
        Edge::empty().append(&hashes).head
    }

    /// A submission from the first `old` of these leaves to all of them.
    fn submission(&self, old: usize, leaves: &[&str]) -> Vec<u8> {
        let prepared = note::prepare(&self.key, Self::head(leaves));
        let signature = self.signer.sign_local(prepared.to_be_signed()).unwrap();
        let note = Note::parse(&prepared.seal(signature).unwrap()).unwrap();
        let tile: Vec<u8> = leaves
            .iter()
            .flat_map(|leaf| hash::leaf(leaf.as_bytes()).into_bytes())
            .collect();
        let mut tiles = tlog::TileSet::new();
        tiles.insert(0, 0, tlog::Tile::parse(&tile).unwrap());
        let size = |size: usize| TreeSize::new(u64::try_from(size).unwrap());
        let proof = proof::consistency(size(old), size(leaves.len()), &tiles).unwrap();
        ::witness::Submission::new(size(old), proof, note)
            .unwrap()
            .to_bytes()
    }

    fn known(&self) -> KnownLog {
        KnownLog {
            origin: "log.example".to_owned(),
            keys: vec![self.key.clone()],
        }
    }
}

struct Bench {
    config: WitnessConfig,
    signer: Signer,
    key: CosignerKey,
    post_quantum: PathBuf,
}

/// A witness of these logs with both kinds of key.
fn bench(folder: &Path, name: &str, logs: Vec<KnownLog>) -> Bench {
    let signer = Signer::generate(Algorithm::Ed25519).unwrap();
    let key = CosignerKey::ed25519(name, signer.public_key().clone()).unwrap();
    let post_quantum = folder.join(format!("{}.pem", name.replace('/', "-")));
    MlDsa44Signer::create(&post_quantum).unwrap();
    let config = WitnessConfig {
        server: Server {
            listen: ListenAddress::localhost(0),
            limits: Limits::default(),
            tls: None,
            log_format: serve::logging::Format::Text,
            log: String::new(),
        },
        name: name.to_owned(),
        key: signer::KeyRef::file("unused"),
        post_quantum_key: None,
        folder: folder.join(name.replace('/', "-")),
        logs,
    };
    Bench {
        config,
        signer,
        key,
        post_quantum,
    }
}

impl Bench {
    async fn open(&self) -> anyhow::Result<Router> {
        let deps = witness::Deps {
            signer: self.signer.clone(),
            post_quantum: Some(MlDsa44Signer::load(&self.post_quantum).unwrap()),
            clock: Clock::fixed(NOW.parse().unwrap()),
        };
        witness::build(&self.config, deps).await
    }

    fn post_quantum_key(&self) -> CosignerKey {
        let signer = MlDsa44Signer::load(&self.post_quantum).unwrap();
        CosignerKey::ml_dsa_44(&self.config.name, signer.public_key().clone()).unwrap()
    }
}

fn checkpoint_of(submission: &[u8]) -> Note {
    ::witness::Submission::parse(submission).unwrap().note
}

#[tokio::test]
async fn a_log_grows_before_the_eyes_of_a_witness_and_no_branch_of_it_does() {
    let folder = tempfile::tempdir().unwrap();
    let log = Liar::new();
    let bench = bench(folder.path(), "witness.example/w1", vec![log.known()]);
    let router = bench.open().await.unwrap();
    let origin = hex::encode(sha256(b"log.example"));
    let monitoring = format!("/{origin}/checkpoint");
    assert_eq!(
        get(&router, &monitoring).await.status,
        StatusCode::NOT_FOUND
    );

    let first = log.submission(0, &["a", "b", "c"]);
    let answer = post(&router, "/add-checkpoint", first.clone()).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    let lines = note::signature_lines(&answer.body).unwrap();
    assert_eq!(lines.len(), 2, "Ed25519 and ML-DSA-44");
    let note = checkpoint_of(&first);
    let at: jiff::Timestamp = NOW.parse().unwrap();
    for key in [&bench.key, &bench.post_quantum_key()] {
        let cosignature = key.find(&note, &lines).unwrap();
        assert_eq!(
            i64::try_from(cosignature.timestamp()).unwrap(),
            at.as_second()
        );
    }

    // The same once more, by a log that has lost what it knew: a conflict that tells the size, and then it is cosigned.
    let answer = post(&router, "/add-checkpoint", first.clone()).await;
    assert_eq!(answer.status, StatusCode::CONFLICT);
    assert_eq!(
        (answer.kind.as_str(), answer.text()),
        ("text/x.tlog.size", "3\n")
    );
    let again = log.submission(3, &["a", "b", "c"]);
    assert_eq!(
        post(&router, "/add-checkpoint", again).await.status,
        StatusCode::OK
    );

    let fork = log.submission(3, &["a", "b", "x", "d"]);
    let answer = post(&router, "/add-checkpoint", fork).await;
    assert_eq!(
        answer.status,
        StatusCode::UNPROCESSABLE_ENTITY,
        "{}",
        answer.text()
    );
    let shrunk = log.submission(2, &["a", "b"]);
    let answer = post(&router, "/add-checkpoint", shrunk).await;
    assert_eq!(
        (answer.status, answer.text()),
        (StatusCode::CONFLICT, "3\n")
    );

    let more = log.submission(3, &["a", "b", "c", "d", "e"]);
    assert_eq!(
        post(&router, "/add-checkpoint", more.clone()).await.status,
        StatusCode::OK
    );
    let shown = get(&router, &monitoring).await;
    let shown = Note::parse(&shown.body).unwrap();
    assert_eq!(shown.text(), checkpoint_of(&more).text());
    assert_eq!(
        shown.signatures().len(),
        3,
        "the log's line and both of ours"
    );
    note::open(&shown.to_bytes(), std::slice::from_ref(&log.key)).unwrap();
    bench.key.find(&shown, shown.signatures()).unwrap();

    // A restart remembers; two at a time are not possible; another one's file is refused.
    let second = bench.open().await.unwrap_err();
    assert!(
        format!("{second:#}").contains("another witness uses"),
        "{second:#}"
    );
    drop(router);
    let router = bench.open().await.unwrap();
    let answer = post(&router, "/add-checkpoint", first).await;
    assert_eq!(
        (answer.status, answer.text()),
        (StatusCode::CONFLICT, "5\n")
    );
    drop(router);
    let file = bench.config.folder.join(&origin);
    let good = std::fs::read(&file).unwrap();
    for damaged in [
        checkpoint_of(&log.submission(0, &["a"])).to_bytes(),
        String::from_utf8(good.clone())
            .unwrap()
            .replacen("\n5\n", "\n4\n", 1)
            .into_bytes(),
        Vec::new(),
    ] {
        std::fs::write(&file, damaged).unwrap();
        let error = bench.open().await.unwrap_err();
        assert!(
            format!("{error:#}").contains("is not what this witness wrote"),
            "{error:#}"
        );
    }
    std::fs::write(&file, good).unwrap();
    drop(bench.open().await.unwrap());
}

#[tokio::test]
async fn what_a_witness_refuses() {
    let folder = tempfile::tempdir().unwrap();
    let log = Liar::new();
    let bench = bench(folder.path(), "w", vec![log.known()]);
    let router = bench.open().await.unwrap();
    let stranger = Liar::new();
    let good = String::from_utf8(log.submission(0, &["a", "b"])).unwrap();
    for (body, status, why) in [
        (String::new(), 400, "no empty line"),
        (good.replacen("old 0", "old 00", 1), 400, "old"),
        (good.replacen("old 0", "old 3", 1), 400, "larger"),
        (
            good.replacen("log.example\n", "other.example\n", 1),
            404,
            "origin",
        ),
        (
            String::from_utf8(stranger.submission(0, &["a"])).unwrap(),
            403,
            "not signed by a key of this log",
        ),
        (good.replacen("\n2\n", "\n3\n", 1), 403, "wrong signature"),
        (
            good.replacen(
                "old 0\n",
                &format!("old 0\n{}\n", STANDARD.encode([7; 32])),
                1,
            ),
            422,
            "not consistent",
        ),
    ] {
        let answer = post(&router, "/add-checkpoint", body.clone()).await;
        assert_eq!(answer.status.as_u16(), status, "{body}: {}", answer.text());
        let message = answer.json()["message"].as_str().unwrap().to_owned();
        assert!(message.contains(why), "{message}");
    }
    assert_eq!(
        get(&router, "/add-checkpoint").await.status,
        StatusCode::METHOD_NOT_ALLOWED
    );
    assert_eq!(
        get(&router, "/00/checkpoint").await.status,
        StatusCode::NOT_FOUND
    );
}

/// Many at once: exactly one history is cosigned.
#[tokio::test(flavor = "multi_thread")]
async fn two_branches_race_and_one_wins() {
    let folder = tempfile::tempdir().unwrap();
    let log = Liar::new();
    let bench = bench(folder.path(), "w", vec![log.known()]);
    let router = bench.open().await.unwrap();
    let names: Vec<String> = (0..40).map(|number| format!("leaf {number}")).collect();
    let mut calls = tokio::task::JoinSet::new();
    for name in &names {
        let body = log.submission(0, &["a", name]);
        let router = router.clone();
        calls.spawn(async move { post(&router, "/add-checkpoint", body).await.status.as_u16() });
    }
    let mut statuses = calls.join_all().await;
    statuses.sort_unstable();
    let mut expected = vec![409; 40];
    expected[0] = 200;
    assert_eq!(statuses, expected);
}

struct Witnesses {
    stops: Vec<StopHandle>,
    keys: Vec<CosignerKey>,
    benches: Vec<Bench>,
    ports: Vec<u16>,
}

async fn serve_on(port: u16, router: Router) -> (u16, StopHandle) {
    let listeners = Listeners::bind(&ListenAddress::localhost(port))
        .await
        .unwrap();
    let port = listeners.address().port();
    let (handle, stop) = Stop::new();
    tokio::spawn(serve::run(
        listeners,
        "witness",
        router,
        Limits::default(),
        stop,
    ));
    (port, handle)
}

/// Real witnesses on sockets, each for this log.
async fn witnesses(folder: &Path, count: usize, log: &VerifierKey) -> Witnesses {
    let mut all = Witnesses {
        stops: Vec::new(),
        keys: Vec::new(),
        benches: Vec::new(),
        ports: Vec::new(),
    };
    for number in 0..count {
        let known = KnownLog {
            origin: log.name().to_owned(),
            keys: vec![log.clone()],
        };
        let bench = bench(folder, &format!("witness.example/{number}"), vec![known]);
        let (port, stop) = serve_on(0, bench.open().await.unwrap()).await;
        all.stops.push(stop);
        all.ports.push(port);
        all.keys.push(bench.key.clone());
        all.benches.push(bench);
    }
    all
}

impl Witnesses {
    fn policy(&self, rule: &str) -> ::witness::Policy {
        let mut text = String::new();
        for (number, key) in self.keys.iter().enumerate() {
            let port = self.ports[number];
            let _ = writeln!(
                text,
                "witness w{number} {} http://localhost:{port}/",
                key.to_vkey()
            );
        }
        ::witness::Policy::parse((text + rule).as_bytes()).unwrap()
    }

    async fn stop(&mut self, number: usize) {
        self.stops[number].stop();
        let address = format!("127.0.0.1:{}", self.ports[number]);
        while tokio::net::TcpStream::connect(&address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    }

    async fn start(&mut self, number: usize) {
        // The last connection of the one before may still hold its memory.
        let router = loop {
            match self.benches[number].open().await {
                Ok(router) => break router,
                Err(error) => assert!(
                    format!("{error:#}").contains("another witness"),
                    "{error:#}"
                ),
            }
        };
        self.stops[number] = serve_on(self.ports[number], router).await.1;
    }
}

struct Instance {
    router: Router,
    verifier: VerifierKey,
    config: LogConfig,
    _folder: Arc<TempDir>,
}

fn log_config(folder: &Path) -> LogConfig {
    LogConfig {
        origin: "localhost".to_owned(),
        key: signer::KeyRef::file("unused"),
        home: folder.join("log").into(),
        checkpoint_copy: None,
        duplicates: Duplicates::Proof,
        dsse: true,
        queue: 64,
    }
}

async fn instance(
    folder: &Arc<TempDir>,
    signer: &Signer,
    witnessing: WitnessingConfig,
) -> Instance {
    let config = log_config(folder.path());
    let deps = Deps {
        signer: signer.clone(),
        v1: None,
        search: None,
        witnessing: Some(witnessing),
        storage: Storage::Folders,
        clock: Clock::fixed(NOW.parse().unwrap()),
    };
    let App { router, .. } = app::build(&config, deps).await.unwrap();
    Instance {
        router,
        verifier: VerifierKey::new("localhost", signer.public_key().clone()).unwrap(),
        config,
        _folder: folder.clone(),
    }
}

impl Instance {
    fn request(number: u32) -> String {
        let digest = sha256(&number.to_be_bytes());
        let key = Signer::generate(Algorithm::EcdsaP256Sha256).unwrap();
        let signature = key.sign_local(&number.to_be_bytes()).unwrap();
        json!({ "hashedRekordRequestV002": {
            "digest": STANDARD.encode(digest),
            "signature": { "content": STANDARD.encode(signature), "verifier": {
                "publicKey": { "rawBytes": STANDARD.encode(key.public_key().spki_der()) },
                "keyDetails": "PKIX_ECDSA_P256_SHA_256" } },
        }})
        .to_string()
    }

    async fn add(&self, number: u32, query: &str) -> Answer {
        let path = format!("/api/v2/log/entries{query}");
        post(&self.router, &path, Self::request(number)).await
    }

    /// What a client does with a 201; returns the note.
    fn check(&self, answer: &Answer) -> Note {
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text());
        let entry = answer.json();
        let proof = &entry["inclusionProof"];
        let envelope = proof["checkpoint"]["envelope"].as_str().unwrap();
        let opened = note::open(envelope.as_bytes(), std::slice::from_ref(&self.verifier)).unwrap();
        let bytes = |value: &Value| STANDARD.decode(value.as_str().unwrap()).unwrap();
        let hashes = proof["hashes"].as_array().unwrap().iter();
        let hashes: Vec<Hash> = hashes
            .map(|hash| Hash::from_slice(&bytes(hash)).unwrap())
            .collect();
        let leaf = hash::leaf(&bytes(&entry["canonicalizedBody"]));
        let index = LeafIndex::new(proof["logIndex"].as_str().unwrap().parse().unwrap());
        proof::verify_inclusion(&leaf, index, &hashes, opened.head()).unwrap();
        Note::parse(envelope.as_bytes()).unwrap()
    }
}

fn quick(policy: ::witness::Policy, without_quorum: WithoutQuorum) -> WitnessingConfig {
    WitnessingConfig {
        interval: Duration::from_millis(10),
        without_quorum,
        ..WitnessingConfig::new(policy)
    }
}

fn cosigned(note: &Note, witnesses: &Witnesses) -> Vec<bool> {
    let held = witnesses
        .keys
        .iter()
        .map(|key| key.find(note, note.signatures()).is_ok());
    held.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_is_cosigned_and_holds_on_to_its_quorum() {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let signer = Signer::generate(Algorithm::Ed25519).unwrap();
    let verifier = VerifierKey::new("localhost", signer.public_key().clone()).unwrap();
    let mut all = witnesses(folder.path(), 3, &verifier).await;
    let policy = all.policy("group two 2 w0 w1 w2\nquorum two\n");
    let mut config = quick(policy, WithoutQuorum::Hold);
    config.patience = Duration::from_mins(1);
    let log = instance(&folder, &signer, config.clone()).await;

    // One that does not wait has the log's signature alone.
    let fast = log.check(&log.add(1, "").await);
    assert_eq!(fast.signatures().len(), 1);
    let slow = log.check(&log.add(2, "?wait=witnessed").await);
    assert!(
        cosigned(&slow, &all).iter().filter(|held| **held).count() >= 2,
        "{slow:?}"
    );
    assert_eq!(
        slow.signatures()[0].name(),
        "localhost",
        "the log's line is the first"
    );
    let again = log.check(&log.add(2, "?wait=committed").await);
    assert!(!again.text().is_empty());
    let odd = log.add(3, "?wait=forever").await;
    assert_eq!(odd.status, StatusCode::BAD_REQUEST, "{}", odd.text());

    let shown = Note::parse(&get(&log.router, "/checkpoint").await.body).unwrap();
    assert!(cosigned(&shown, &all).iter().filter(|held| **held).count() >= 2);
    let same = get(&log.router, "/api/v2/checkpoint").await;
    let same = Note::parse(&same.body).unwrap();
    assert!(cosigned(&same, &all).iter().filter(|held| **held).count() >= 2);

    // One witness down: still a quorum. Two down: what is shown stays where it was, and the log goes on.
    all.stop(2).await;
    let slow = log.check(&log.add(4, "?wait=witnessed").await);
    assert_eq!(cosigned(&slow, &all), [true, true, false]);
    all.stop(1).await;
    let before = Note::parse(&get(&log.router, "/checkpoint").await.body).unwrap();
    let entry = log.check(&log.add(5, "").await);
    let size = |note: &Note| Checkpoint::parse(note.text()).unwrap().head.size;
    let latest = Note::parse(&get(&log.router, "/checkpoint/latest").await.body).unwrap();
    assert_eq!(size(&latest), size(&entry));
    let after = Note::parse(&get(&log.router, "/checkpoint").await.body).unwrap();
    assert_eq!(size(&after), size(&before));
    assert!(size(&after) < size(&entry));

    // They come back, and have not forgotten; the log catches up by itself.
    all.start(1).await;
    all.start(2).await;
    let slow = log.check(&log.add(6, "?wait=witnessed").await);
    assert!(cosigned(&slow, &all).iter().filter(|held| **held).count() >= 2);

    // After a restart the last one is shown at once, even with nobody there.
    for number in 0..3 {
        all.stop(number).await;
    }
    let shown = get(&log.router, "/checkpoint").await.body;
    let Instance { router, .. } = log;
    drop(router);
    let log = instance(&folder, &signer, config).await;
    let kept = Note::parse(&get(&log.router, "/checkpoint").await.body).unwrap();
    assert_eq!(kept.text(), Note::parse(&shown).unwrap().text());
    assert!(log.config.home.folder.join("witnessed").is_file());
}

/// An instance that reads shows what was cosigned, and not what was only signed.
#[tokio::test(flavor = "multi_thread")]
async fn a_reader_shows_what_was_cosigned() {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let path = |name: &str| folder.path().join(name);
    let signer = Signer::create(&path("key.pem"), Algorithm::Ed25519).unwrap();
    let verifier = VerifierKey::new("localhost", signer.public_key().clone()).unwrap();
    let mut all = witnesses(folder.path(), 1, &verifier).await;
    let url = format!("http://localhost:{}/", all.ports[0]);
    let policy = format!("witness w {} {url}\nquorum w\n", all.keys[0].to_vkey());
    std::fs::write(path("policy"), policy).unwrap();
    let settings = "[server]\nlisten = \"localhost:0\"\n[log]\norigin = \"localhost\"\nkey = \"key.pem\"\nfolder = \"log\"\n\
                    [witnessing]\npolicy = \"policy\"\ninterval_seconds = 0.01\nwait_seconds = 1\n";
    std::fs::write(path("rekor.toml"), settings).unwrap();
    let writer = app::service_as(&path("rekor.toml"), Role::Writer)
        .await
        .unwrap();
    let (writer, closing) = (writer.router.now(), writer.closing);
    let add = "/api/v2/log/entries?wait=witnessed";
    let reply = post(&writer, add, Instance::request(1)).await;
    assert_eq!(reply.status, StatusCode::CREATED, "{}", reply.text());
    let reader = app::service_as(&path("rekor.toml"), Role::Reader)
        .await
        .unwrap();
    let reader = reader.router.now();
    let size = |bytes: &[u8]| {
        let note = Note::parse(bytes).unwrap();
        assert!(
            all.keys[0].find(&note, note.signatures()).is_ok(),
            "cosigned"
        );
        Checkpoint::parse(note.text()).unwrap().head.size.get()
    };
    let shown = async |router: &Router| {
        let answer = get(router, "/checkpoint").await;
        assert_eq!(answer.status, StatusCode::OK);
        size(&answer.body)
    };
    while shown(&reader).await != 1 {
        tokio::task::yield_now().await;
    }
    assert_eq!(
        post(&writer, add, Instance::request(2)).await.status,
        StatusCode::CREATED
    );
    while shown(&reader).await != 2 {
        tokio::task::yield_now().await;
    }
    all.stop(0).await;
    let slow = post(&writer, "/api/v2/log/entries", Instance::request(3)).await;
    assert_eq!(slow.status, StatusCode::CREATED);
    let latest = async |router: &Router| get(router, "/checkpoint/latest").await.body;
    while latest(&reader).await != latest(&writer).await {
        tokio::task::yield_now().await;
    }
    let shown = get(&reader, "/checkpoint").await;
    let note = Note::parse(&shown.body).unwrap();
    assert_eq!(
        Checkpoint::parse(note.text()).unwrap().head.size,
        TreeSize::new(2)
    );
    drop(closing);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_quorum_a_reply_says_so_and_the_entry_is_in() {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let signer = Signer::generate(Algorithm::Ed25519).unwrap();
    let verifier = VerifierKey::new("localhost", signer.public_key().clone()).unwrap();
    let mut all = witnesses(folder.path(), 1, &verifier).await;
    all.stop(0).await;
    let mut config = quick(all.policy("quorum w0\n"), WithoutQuorum::Hold);
    config.patience = Duration::from_millis(50);
    config.wait = true;
    let log = instance(&folder, &signer, config).await;
    let none = get(&log.router, "/checkpoint").await;
    assert_eq!(none.status, StatusCode::SERVICE_UNAVAILABLE);
    let request = Instance::request(1);
    let refused = post(&log.router, "/api/v2/log/entries", request.clone()).await;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refused.index, Some(0));
    assert!(
        refused.text().contains("no quorum of witnesses"),
        "{}",
        refused.text()
    );
    let committed = post(&log.router, "/api/v2/log/entries?wait=committed", request).await;
    let committed = log.check(&committed);
    assert_eq!(
        Checkpoint::parse(committed.text()).unwrap().head.size,
        TreeSize::new(1)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_publishes_anyway_shows_what_it_has() {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let signer = Signer::generate(Algorithm::Ed25519).unwrap();
    let verifier = VerifierKey::new("localhost", signer.public_key().clone()).unwrap();
    let mut all = witnesses(folder.path(), 2, &verifier).await;
    all.stop(1).await;
    let policy = all.policy("group both all w0 w1\nquorum both\n");
    let mut config = quick(policy, WithoutQuorum::Publish);
    config.patience = Duration::from_millis(50);
    let log = instance(&folder, &signer, config).await;
    let entry = log.check(&log.add(1, "?wait=witnessed").await);
    assert_eq!(entry.signatures().len(), 1);
    // The round that has it shows it with the one cosignature that there is.
    loop {
        let shown = Note::parse(&get(&log.router, "/checkpoint").await.body).unwrap();
        let size = Checkpoint::parse(shown.text()).unwrap().head.size;
        if size == TreeSize::new(1) && cosigned(&shown, &all) == [true, false] {
            break;
        }
        tokio::task::yield_now().await;
    }
}

/// A witness that answers with signatures over something else, with noise, or with the size of a larger tree.
#[tokio::test(flavor = "multi_thread")]
async fn a_witness_that_talks_nonsense_counts_for_nothing() {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let signer = Signer::generate(Algorithm::Ed25519).unwrap();
    let verifier = VerifierKey::new("localhost", signer.public_key().clone()).unwrap();
    let mut all = witnesses(folder.path(), 1, &verifier).await;
    let honest = Signer::generate(Algorithm::Ed25519).unwrap();
    let key = CosignerKey::ed25519("liar", honest.public_key().clone()).unwrap();
    for (status, kind, body) in [
        (
            StatusCode::OK,
            "text/plain",
            "\u{2014} liar AAAAAQI=\n".to_owned(),
        ),
        (StatusCode::OK, "text/plain", "nothing".to_owned()),
        (StatusCode::OK, "text/plain", "x".repeat(1 << 20)),
        (StatusCode::CONFLICT, "text/x.tlog.size", "99\n".to_owned()),
        (StatusCode::CONFLICT, "text/x.tlog.size", "-1\n".to_owned()),
        (StatusCode::CONFLICT, "text/x.tlog.size", "0\n".to_owned()),
        (
            StatusCode::INTERNAL_SERVER_ERROR,
            "text/plain",
            String::new(),
        ),
    ] {
        let answer = move || {
            let body = body.clone();
            async move { (status, [("content-type", kind)], body) }
        };
        let router = Router::new().route("/add-checkpoint", axum::routing::post(answer));
        let (port, _stop) = serve_on(0, router).await;
        all.keys.truncate(1);
        all.ports.truncate(1);
        all.keys.push(key.clone());
        all.ports.push(port);
        let policy = all.policy("group both all w0 w1\nquorum both\n");
        let mut config = quick(policy, WithoutQuorum::Hold);
        config.patience = Duration::from_millis(100);
        let log = instance(&folder, &signer, config).await;
        let refused = log.add(u32::from(port), "?wait=witnessed").await;
        assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE, "{kind}");
        let shown = get(&log.router, "/checkpoint").await;
        assert_eq!(shown.status, StatusCode::SERVICE_UNAVAILABLE);
    }
}

/// One wrong answer, or one that was right before somebody put the witness in order, does not end the asking.
#[tokio::test(flavor = "multi_thread")]
async fn a_witness_that_once_knew_a_larger_tree_is_asked_again() {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let signer = Signer::generate(Algorithm::Ed25519).unwrap();
    let verifier = VerifierKey::new("localhost", signer.public_key().clone()).unwrap();
    let mut all = witnesses(folder.path(), 0, &verifier).await;
    let known = KnownLog {
        origin: verifier.name().to_owned(),
        keys: vec![verifier.clone()],
    };
    let bench = bench(folder.path(), "witness.example/0", vec![known]);
    let real = bench.open().await.unwrap();
    let first = Arc::new(AtomicBool::new(true));
    let answer = move |request: Request<Body>| {
        let (real, first) = (real.clone(), first.clone());
        async move {
            if first.swap(false, Ordering::SeqCst) {
                return (StatusCode::CONFLICT, "99\n").into_response();
            }
            real.oneshot(request).await.unwrap()
        }
    };
    let router = Router::new().route("/add-checkpoint", axum::routing::post(answer));
    let (port, _stop) = serve_on(0, router).await;
    all.keys.push(bench.key.clone());
    all.ports.push(port);
    let config = quick(all.policy("quorum w0\n"), WithoutQuorum::Hold);
    let log = instance(&folder, &signer, config).await;
    let note = log.check(&log.add(1, "?wait=witnessed").await);
    assert_eq!(cosigned(&note, &all), [true]);
}
