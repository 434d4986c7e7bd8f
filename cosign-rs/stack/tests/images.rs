//! The command line at images: what counts as a signature, what does not, and that trouble with a registry is never "not signed".
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic in a test is its failure report"
)]

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use oci::{Annotations, Descriptor, EMPTY_TYPE, IMAGE_TYPE, INDEX_TYPE, Reference, Registry};
use serde_json::{Value, json};
use sigstack::args::Token;
use sigstack::state::Addresses;
use sigstack::up::{Options, Stack};
use sigstack::{scripts, token};
use tempfile::TempDir;
use tokio::process::Command;

const ALICE: &str = "alice@example.org";

struct Scene {
    folder: TempDir,
    stack: Stack,
}

struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Said {
    fn accepted(self) -> Self {
        assert_eq!(self.code, Some(0), "{}{}", self.out, self.err);
        self
    }

    fn refused(self, reason: &str) -> Self {
        assert!(
            self.code.is_some_and(|code| code > 0),
            "{}{}",
            self.out,
            self.err
        );
        assert!(self.err.contains(reason), "expected {reason}: {}", self.err);
        self
    }

    fn rows(&self) -> usize {
        let rows: Vec<Value> = serde_json::from_str(&self.out).unwrap();
        rows.len()
    }
}

/// A token of hers.
async fn alice(state: &Path) -> String {
    let asked = Token {
        state: state.to_owned(),
        email: Some(ALICE.to_owned()),
        github: None,
        audience: "sigstore".to_owned(),
        seconds: 60,
    };
    token::make(&asked, jiff::Timestamp::now()).await.unwrap()
}

impl Scene {
    async fn new(referrers: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = Options {
            referrers,
            ..Options::free(folder.path().join("state"))
        };
        let stack = Stack::start(&options).await.unwrap();
        Self { folder, stack }
    }

    fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    fn addresses(&self) -> &Addresses {
        self.stack.addresses()
    }

    async fn image(&self, name: &str) -> String {
        scripts::image(&self.state(), name).await.unwrap()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sigstack"));
        command
            .arg("cosign")
            .args(arguments)
            .env_clear()
            .env("HOME", self.folder.path())
            .current_dir(self.folder.path())
            .stdin(Stdio::null());
        command
    }

    async fn finish(mut command: Command) -> Said {
        let output = command.output().await.unwrap();
        Said {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// `sign`, `attest` and so on, as Alice.
    async fn sign(&self, arguments: &[&str]) -> Said {
        let mut command = self.command(arguments);
        command
            .args(["--trust-config", "state/client_trust_config.json"])
            .env("SIGSTORE_ID_TOKEN", alice(&self.state()).await);
        Self::finish(command).await
    }

    /// `verify` and so on, expecting Alice.
    async fn verify(&self, arguments: &[&str]) -> Said {
        let mut command = self.command(arguments);
        command.args([
            "--trusted-root",
            "state/trusted_root.json",
            "--certificate-identity",
            ALICE,
            "--certificate-oidc-issuer",
            &self.addresses().issuer,
        ]);
        Self::finish(command).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn several_images_are_signed_with_one_certificate() {
    let scene = Scene::new(true).await;
    let (one, two) = (
        scene.image("team/one:v1").await,
        scene.image("team/two:v1").await,
    );
    scene
        .sign(&["sign", "-a", "stage=test", &one, &two])
        .await
        .accepted();
    let said = scene
        .verify(&["verify", "-a", "stage=test", &one, &two])
        .await
        .accepted();
    assert_eq!(said.out.lines().count(), 2, "one array for each image");
    let certificates = reqwest::get(format!("{}/checkpoint", scene.addresses().ctlog))
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    assert_eq!(certificates.lines().nth(1), Some("1"), "{certificates}");

    let row: Vec<Value> = serde_json::from_str(said.out.lines().next().unwrap()).unwrap();
    let digest = one.split_once('@').unwrap().1;
    assert_eq!(
        row[0]["critical"]["image"]["docker-manifest-digest"],
        digest
    );
    assert_eq!(
        row[0]["critical"]["type"],
        "https://sigstore.dev/cosign/sign/v1"
    );
    assert_eq!(row[0]["optional"]["stage"], "test");
    assert_eq!(row[0]["verified"]["identity"]["subject"], ALICE);
    scene
        .verify(&["verify", "-a", "stage=production", &one])
        .await
        .refused("without the annotations asked for");
    // By tag: the signature is about the digest that the tag names now.
    let tagged = format!("{}:v1", one.split_once('@').unwrap().0);
    scene.verify(&["verify", &tagged]).await.accepted();
    scene.stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attestation_is_no_signature_and_a_signature_no_attestation() {
    let scene = Scene::new(true).await;
    let image = scene.image("team/app:v1").await;
    scene
        .verify(&["verify", &image])
        .await
        .refused("nothing is signed about");

    let document = r#"{"spdxVersion": "SPDX-2.3", "SPDXID": "SPDXRef-DOCUMENT"}"#;
    std::fs::write(scene.folder.path().join("predicate.json"), document).unwrap();
    let attest = [
        "attest",
        "--type",
        "spdxjson",
        "--predicate",
        "predicate.json",
        &image,
    ];
    scene.sign(&attest).await.accepted();
    scene
        .verify(&["verify", &image])
        .await
        .refused("none of its 1 bundles is the signature that is asked for");
    let said = scene
        .verify(&["verify-attestation", "--type", "spdx", &image])
        .await
        .accepted();
    let envelope: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(envelope["payloadType"], "application/vnd.in-toto+json");
    assert_eq!(envelope["signatures"].as_array().unwrap().len(), 1);

    scene.sign(&["sign", &image]).await.accepted();
    assert_eq!(scene.verify(&["verify", &image]).await.accepted().rows(), 1);
    scene
        .verify(&["verify-attestation", "--type", "vuln", &image])
        .await
        .refused("none of its 2 bundles is the attestation of type");
    scene
        .sign(&[
            "attest",
            "--type",
            "https://sigstore.dev/cosign/sign/v1",
            "--predicate",
            "predicate.json",
            &image,
        ])
        .await
        .refused("is the type of signatures");
    scene.stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_referrers_api_signers_at_the_same_time_keep_each_others_signatures() {
    let scene = Scene::new(false).await;
    let image = scene.image("team/app:v1").await;
    let sign = ["sign", image.as_str()];
    let all = tokio::join!(scene.sign(&sign), scene.sign(&sign), scene.sign(&sign));
    for said in [all.0, all.1, all.2] {
        said.accepted();
    }
    assert_eq!(scene.verify(&["verify", &image]).await.accepted().rows(), 3);
    scene.stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn signatures_may_be_in_another_repository_or_in_a_file() {
    let scene = Scene::new(true).await;
    let image = scene.image("team/app:v1").await;
    let elsewhere = format!("{}/signatures", image.split_once('/').unwrap().0);
    scene
        .sign(&["sign", "--signature-repository", &elsewhere, &image])
        .await
        .accepted();
    scene
        .verify(&["verify", &image])
        .await
        .refused("nothing is signed about");
    scene
        .verify(&["verify", "--signature-repository", &elsewhere, &image])
        .await
        .accepted();

    scene
        .sign(&["sign", "--upload=false", &image])
        .await
        .refused("the signature would be nowhere");
    scene
        .sign(&["sign", "--upload=false", "--bundle", "image.json", &image])
        .await
        .accepted();
    scene
        .verify(&["verify", &image])
        .await
        .refused("nothing is signed about");
    let digest = image.split_once('@').unwrap().1;
    scene
        .verify(&["verify-blob-attestation", "--bundle", "image.json", digest])
        .await
        .accepted();
    scene.stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_attached_is_about_the_image() {
    let scene = Scene::new(true).await;
    let image = scene.image("team/app:v1").await;
    let (name, _) = image.split_once('@').unwrap();
    let at = Reference::parse(name).unwrap().repository;
    let registry = Registry::default();
    let empty = Bytes::from_static(b"{}");
    let config = registry.push_blob(&at, EMPTY_TYPE, empty).await.unwrap();
    let manifest =
        json!({ "schemaVersion": 2, "mediaType": IMAGE_TYPE, "config": config, "layers": [] });
    registry
        .push_manifest(&at, "other", IMAGE_TYPE, manifest.to_string().into())
        .await
        .unwrap();
    let other = format!("{at}:other");
    scene
        .sign(&["sign", "--upload=false", "--bundle", "image.json", &image])
        .await
        .accepted();
    let attach = async |words: &[&str]| {
        let attach = ["attach", "signature", "--bundle", "image.json"];
        Scene::finish(scene.command(&[&attach[..], words].concat())).await
    };
    attach(&[&other])
        .await
        .refused("the statement is about something else");
    scene
        .verify(&["verify", &other])
        .await
        .refused("nothing is signed about");
    attach(&[&image]).await.accepted();
    scene.verify(&["verify", &image]).await.accepted();
    // Whoever insists gets what he asks for, which still says nothing about the image.
    attach(&[&other, "--force"]).await.accepted();
    scene
        .verify(&["verify", &other])
        .await
        .refused("reason: wrong-subject");
    let download = scene.command(&["download", "signature", &other]);
    let said = Scene::finish(download).await.accepted();
    assert_eq!(said.out.lines().count(), 1);
    scene.stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clean_takes_away_what_verify_counts() {
    for referrers in [true, false] {
        let scene = Scene::new(referrers).await;
        let image = scene.image("team/app:v1").await;
        let path = |name: &str| scene.folder.path().join(name);
        scene
            .sign(&["sign", "--upload=false", "--bundle", "image.json", &image])
            .await
            .accepted();
        std::fs::write(path("predicate.json"), "{}").unwrap();
        scene
            .sign(&["attest", "--predicate", "predicate.json", &image])
            .await
            .accepted();
        let reference = Reference::parse(&image).unwrap();
        let (registry, at) = (Registry::default(), &reference.repository);
        let subject = registry.image(&reference).await.unwrap().descriptor;
        let attach = async |bundle: Vec<u8>| {
            let (kind, none) = (
                "application/vnd.dev.sigstore.bundle.v0.3+json",
                Annotations::new(),
            );
            registry
                .attach(at, &subject, kind, bundle.into(), &none)
                .await
                .unwrap()
                .digest
                .to_string()
        };
        // Its manifest does not say what it holds.
        let unnamed = attach(std::fs::read(path("image.json")).unwrap()).await;
        // A run that was interrupted after it had deleted this one.
        let lost = attach(b"lost".to_vec()).await;
        registry.delete_manifest(at, &lost).await.unwrap();
        // A signature of before cosign 3 as a referrer.
        let payload = registry
            .push_blob(
                at,
                "application/vnd.dev.cosign.simplesigning.v1+json",
                Bytes::from_static(b"{}"),
            )
            .await
            .unwrap();
        let old = json!({
            "schemaVersion": 2, "mediaType": IMAGE_TYPE, "subject": subject, "layers": [payload],
            "config": Descriptor::of(EMPTY_TYPE, b"{}"),
        });
        let old = old.to_string();
        let digest = Descriptor::of("", old.as_bytes()).digest.to_string();
        registry
            .push_manifest(at, &digest, IMAGE_TYPE, old.into())
            .await
            .unwrap();

        let run = async |arguments: &[&str]| Scene::finish(scene.command(arguments)).await;
        scene.verify(&["verify", &image]).await.accepted();
        let tree = run(&["tree", &image]).await.accepted();
        assert!(tree.out.contains(&unnamed), "{}", tree.out);
        assert_eq!(tree.out.contains(&digest), referrers, "{}", tree.out);
        assert_eq!(tree.err.contains(&lost), !referrers, "{}", tree.err);
        run(&["clean", "--force", "--type", "signature", &image])
            .await
            .accepted();
        scene.verify(&["verify", &image]).await.refused("");
        scene
            .verify(&["verify-attestation", "--type", "custom", &image])
            .await
            .accepted();
        let tree = run(&["tree", &image]).await.accepted();
        for gone in [&unnamed, &digest] {
            assert!(!tree.out.contains(gone), "{}", tree.out);
        }
        assert!(!tree.err.contains(&lost), "{}", tree.err);
        run(&["clean", "--force", &image]).await.accepted();
        let tree = run(&["tree", &image]).await.accepted();
        assert!(tree.out.contains("nothing is attached"), "{}", tree.out);
        scene.stack.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_never_an_unsigned_image() {
    let scene = Scene::new(true).await;
    let image = scene.image("team/app:v1").await;
    scene.sign(&["sign", &image]).await.accepted();
    let missing = format!(
        "{}@sha256:{}",
        image.split_once('@').unwrap().0,
        "0".repeat(64)
    );
    let said = scene.verify(&["verify", &missing]).await.refused("error: ");
    assert!(!said.err.contains("nothing is signed"), "{}", said.err);
    let said = scene.sign(&["sign", &missing]).await.refused("error: ");
    assert!(
        !said.err.contains("signed "),
        "nothing is logged for it: {}",
        said.err
    );

    let issuer = scene.addresses().issuer.clone();
    let folder = scene.folder;
    scene.stack.stop().await;
    let mut command = Command::new(env!("CARGO_BIN_EXE_sigstack"));
    command
        .args([
            "cosign",
            "verify",
            "--trusted-root",
            "state/trusted_root.json",
            "--timeout",
            "20s",
        ])
        .args([
            "--certificate-identity",
            ALICE,
            "--certificate-oidc-issuer",
            &issuer,
            &image,
        ])
        .env_clear()
        .env("HOME", folder.path())
        .current_dir(folder.path());
    let said = Scene::finish(command).await.refused("error: ");
    assert!(!said.err.contains("nothing is signed"), "{}", said.err);
}

/// What stands between signers and the stack: counts who comes, and may hold the answers of the log back.
struct Gate {
    tokens: AtomicUsize,
    entries: AtomicUsize,
    rekor: String,
    state: PathBuf,
    held: Option<Duration>,
}

async fn gate_token(axum::extract::State(gate): axum::extract::State<Arc<Gate>>) -> String {
    gate.tokens.fetch_add(1, Ordering::SeqCst);
    json!({ "value": alice(&gate.state).await }).to_string()
}

async fn gate_log(
    axum::extract::State(gate): axum::extract::State<Arc<Gate>>,
    body: Bytes,
) -> (axum::http::StatusCode, Bytes) {
    gate.entries.fetch_add(1, Ordering::SeqCst);
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let answer = client
        .post(format!("{}/api/v2/log/entries", gate.rekor))
        .header("content-type", "application/json")
        .body(body)
        .send()
        .await
        .unwrap();
    let (status, body) = (answer.status(), answer.bytes().await.unwrap());
    if let Some(held) = gate.held {
        tokio::time::sleep(held).await;
    }
    (status, body)
}

impl Gate {
    /// Opens it, and writes `gate.json`: the trust config of those who go through it.
    async fn open(scene: &Scene, held: Option<Duration>) -> (Arc<Self>, String) {
        let gate = Arc::new(Self {
            tokens: AtomicUsize::new(0),
            entries: AtomicUsize::new(0),
            rekor: scene.addresses().rekor.clone(),
            state: scene.state(),
            held,
        });
        let router = axum::Router::new()
            .route("/token", axum::routing::get(gate_token))
            .route("/api/v2/log/entries", axum::routing::post(gate_log))
            .with_state(Arc::clone(&gate));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        let config = std::fs::read(scene.state().join("client_trust_config.json")).unwrap();
        let mut config: Value = serde_json::from_slice(&config).unwrap();
        config["signingConfig"]["rekorTlogUrls"][0]["url"] = base.clone().into();
        std::fs::write(scene.folder.path().join("gate.json"), config.to_string()).unwrap();
        (gate, base)
    }
}

impl Scene {
    /// How many certificates the CT log has seen.
    async fn certificates(&self) -> u64 {
        let url = format!("{}/checkpoint", self.addresses().ctlog);
        let checkpoint = reqwest::get(url).await.unwrap().text().await.unwrap();
        checkpoint.lines().nth(1).unwrap().parse().unwrap()
    }

    /// Pushes an index of so many images.
    async fn index(&self, name: &str, platforms: usize) -> String {
        let image = self.image(&format!("{name}:base")).await;
        let reference = Reference::parse(&image).unwrap();
        let (registry, at) = (Registry::default(), &reference.repository);
        let base = registry.image(&reference).await.unwrap();
        let base: Value = serde_json::from_slice(&base.manifest).unwrap();
        let mut manifests = Vec::new();
        for platform in 0..platforms {
            let mut one = base.clone();
            one["annotations"] = json!({ "platform": platform.to_string() });
            let one = one.to_string().into_bytes();
            let mut child = serde_json::to_value(Descriptor::of(IMAGE_TYPE, &one)).unwrap();
            let digest = child["digest"].as_str().unwrap().to_owned();
            child["platform"] =
                json!({ "os": "linux", "architecture": "arm", "variant": format!("v{platform}") });
            registry
                .push_manifest(at, &digest, IMAGE_TYPE, one.into())
                .await
                .unwrap();
            manifests.push(child);
        }
        let kind = "application/vnd.oci.image.index.v1+json";
        let index = json!({ "schemaVersion": 2, "mediaType": kind, "manifests": manifests });
        let index = index.to_string();
        let digest = Descriptor::of(kind, index.as_bytes()).digest.to_string();
        registry
            .push_manifest(at, &digest, kind, index.into())
            .await
            .unwrap();
        format!("{}@{digest}", image.split_once('@').unwrap().0)
    }
}

/// Signed and attested to in one run: one token, one certificate, and two log entries for each image and the index.
#[tokio::test(flavor = "multi_thread")]
async fn an_index_takes_one_token_and_one_certificate() {
    const PLATFORMS: usize = 4;
    let scene = Scene::new(true).await;
    let (gate, base) = Gate::open(&scene, None).await;
    let index = scene.index("team/many", PLATFORMS).await;
    std::fs::write(scene.folder.path().join("predicate.json"), "{}").unwrap();
    let attest = [
        "attest",
        "--sign",
        "--recursive",
        "--predicate",
        "predicate.json",
        "--trust-config",
        "gate.json",
        &index,
    ];
    let run = async |more: &[&str]| {
        let mut command = scene.command(&attest);
        command
            .args(more)
            .env("ACTIONS_ID_TOKEN_REQUEST_URL", format!("{base}/token?x=1"))
            .env("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "job");
        Scene::finish(command).await.accepted()
    };
    let said = run(&[]).await;
    let entries = 2 * (PLATFORMS + 1);
    let summary = format!("{entries} signed, 0 were before");
    assert!(said.err.contains(&summary), "{}", said.err);
    let asked = |count: &AtomicUsize| count.load(Ordering::SeqCst);
    assert_eq!(asked(&gate.tokens), 1);
    assert_eq!(scene.certificates().await, 1);
    assert_eq!(asked(&gate.entries), entries);
    for command in [&["verify"][..], &["verify-attestation", "--type", "custom"]] {
        let mut words = command.to_vec();
        words.extend(["--recursive", &index]);
        scene.verify(&words).await.accepted();
    }
    // Who has nothing to sign gets no certificate and logs nothing.
    let said = run(&["--if-missing"]).await;
    let summary = format!("0 signed, {entries} were before");
    assert!(said.err.contains(&summary), "{}", said.err);
    assert_eq!(asked(&gate.tokens), 2);
    assert_eq!(scene.certificates().await, 1);
    assert_eq!(asked(&gate.entries), entries);
    scene.stack.stop().await;
}

/// In a log that makes promises, for those who ask for them: both formats, which hold with the promise alone and with the proof.
#[tokio::test(flavor = "multi_thread")]
async fn an_identity_signs_for_cosign_before_3_in_a_rekor_v1_log() {
    let scene = Scene::new(true).await;
    let image = scene.image("team/app:v1").await;
    std::fs::write(scene.folder.path().join("predicate.json"), "{}").unwrap();
    let predicate = ["--predicate", "predicate.json"];
    scene
        .sign(&["sign", "--format", "both", &image])
        .await
        .refused("names no Rekor v1 log");
    for (command, more, verify, kind) in [
        ("sign", &[][..], "verify", &[][..]),
        (
            "attest",
            &predicate,
            "verify-attestation",
            &["--type", "custom"],
        ),
    ] {
        let mut command = scene.command(&[command, "--format", "both"]);
        command
            .args(["--trust-config", "state/client_trust_config_rekor_v1.json"])
            .args(more)
            .arg(&image)
            .env("SIGSTORE_ID_TOKEN", alice(&scene.state()).await);
        Scene::finish(command).await.accepted();
        let mut words = vec![verify];
        words.extend(kind);
        words.push(&image);
        let said = scene.verify(&words).await.accepted();
        // One array of signatures, or an attestation a line.
        let found = if kind.is_empty() {
            said.rows()
        } else {
            said.out.lines().count()
        };
        assert_eq!(found, 2, "{}{}", said.out, said.err);
    }
    scene.stack.stop().await;
}

/// A mirror may bring the fallback tag to a registry that keeps referrers and lists others.
#[tokio::test(flavor = "multi_thread")]
async fn a_signature_behind_the_tag_alone_counts_where_referrers_are_listed() {
    let scene = Scene::new(true).await;
    let image = scene.image("team/app:v1").await;
    std::fs::write(scene.folder.path().join("predicate.json"), "{}").unwrap();
    let listed = ["attest", "--predicate", "predicate.json", &image];
    scene.sign(&listed).await.accepted();
    let apart = ["sign", "--upload=false", "--bundle", "apart.json", &image];
    scene.sign(&apart).await.accepted();
    let unsigned = scene.verify(&["verify", &image]).await;
    assert_eq!(unsigned.code, Some(12), "{}", unsigned.err);

    let (registry, reference) = (Registry::default(), Reference::parse(&image).unwrap());
    let bundle = std::fs::read(scene.folder.path().join("apart.json")).unwrap();
    let media_type = "application/vnd.dev.sigstore.bundle.v0.3+json";
    let at = &reference.repository;
    let blob = registry.push_blob(at, media_type, bundle.into());
    let blob = blob.await.unwrap();
    let entry = json!({
        "mediaType": IMAGE_TYPE, "digest": reference.digest.unwrap().to_string(), "size": 2, "artifactType": media_type,
        "annotations": { "dev.cosign-rs.bundle.blob": format!("{} {}", blob.digest, blob.size) },
    });
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [entry] });
    let tag = format!("sha256-{}", reference.digest.unwrap().to_hex());
    let written = registry.push_manifest(at, &tag, INDEX_TYPE, index.to_string().into());
    written.await.unwrap();
    let said = scene.verify(&["verify", &image]).await.accepted();
    assert_eq!(said.rows(), 1, "{}", said.out);
    scene.stack.stop().await;
}

/// What a policy asks for beside a signature may be an attestation of before cosign 3.
#[tokio::test(flavor = "multi_thread")]
async fn a_policy_finds_attestations_of_before_cosign_3_beside_signatures() {
    let scene = Scene::new(true).await;
    let image = scene.image("team/app:v1").await;
    std::fs::write(scene.folder.path().join("predicate.json"), "{}").unwrap();
    let policy = json!({
        "certificateIdentities": { "identities": [{ "issuer": scene.addresses().issuer, "san": { "value": ALICE } }] },
        "requirements": { "predicateTypes": ["https://cosign.sigstore.dev/attestation/v1"] },
    });
    std::fs::write(scene.folder.path().join("policy.json"), policy.to_string()).unwrap();
    scene.sign(&["sign", &image]).await.accepted();
    let verify = ["verify", "--policy", "policy.json", &image];
    let said = scene.verify(&verify).await;
    assert_eq!(said.code, Some(20), "{}", said.err);
    let mut attest = scene.command(&["attest", "--format", "legacy"]);
    attest
        .args(["--trust-config", "state/client_trust_config_rekor_v1.json"])
        .args(["--predicate", "predicate.json", &image])
        .env("SIGSTORE_ID_TOKEN", alice(&scene.state()).await);
    Scene::finish(attest).await.accepted();
    let said = scene.verify(&verify).await.accepted();
    assert_eq!(said.rows(), 1, "{}", said.out);
    scene.stack.stop().await;
}

/// A run that was broken off between the two formats, or one format of long ago, is no reason to leave out the other one.
#[tokio::test(flavor = "multi_thread")]
async fn if_missing_makes_the_format_that_is_missing_and_no_other() {
    let scene = Scene::new(true).await;
    let image = scene.image("team/app:v1").await;
    std::fs::write(scene.folder.path().join("predicate.json"), "{}").unwrap();
    let predicate = ["--predicate", "predicate.json"];
    for (command, more, tag) in [
        ("sign", &[][..], "signatures"),
        ("attest", &predicate, "attestations"),
    ] {
        for (format, already) in [("bundle", false), ("both", false), ("both", true)] {
            let mut command = scene.command(&[command, "--if-missing", "--format", format]);
            command
                .args(["--trust-config", "state/client_trust_config_rekor_v1.json"])
                .args(more)
                .arg(&image)
                .env("SIGSTORE_ID_TOKEN", alice(&scene.state()).await);
            let said = Scene::finish(command).await.accepted();
            assert_eq!(
                said.err.contains(" already"),
                already,
                "{tag}: {}",
                said.err
            );
        }
    }
    let found = scene.verify(&["verify", &image]).await.accepted();
    assert_eq!(found.rows(), 2, "{}", found.out);
    let words = ["verify-attestation", "--type", "custom", &image];
    let found = scene.verify(&words).await.accepted();
    assert_eq!(found.out.lines().count(), 2, "{}", found.out);
    scene.stack.stop().await;
}

/// The answers of the log come when the time is over already. What it has taken by then gets its bundle all the same, and nothing else is begun.
#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_the_time_loses_no_bundle() {
    let scene = Scene::new(true).await;
    let (gate, _) = Gate::open(&scene, Some(Duration::from_secs(12))).await;
    let files: Vec<String> = (0..6).map(|number| format!("file-{number}")).collect();
    for file in &files {
        std::fs::write(scene.folder.path().join(file), file).unwrap();
    }
    let mut words = vec!["sign-blob", "--timeout", "8s", "--max-workers", "2"];
    words.extend(["--trust-config", "gate.json"]);
    words.extend(files.iter().map(String::as_str));
    let mut command = scene.command(&words);
    command.env("SIGSTORE_ID_TOKEN", alice(&scene.state()).await);
    let said = Scene::finish(command).await.refused("not done after 8 s");
    assert!(said.err.contains("2 of 6 are signed"), "{}", said.err);
    assert_eq!(gate.entries.load(Ordering::SeqCst), 2);
    for (number, file) in files.iter().enumerate() {
        let bundle = format!("{file}.sigstore.json");
        let there = scene.folder.path().join(&bundle).exists();
        assert_eq!(there, number < 2, "{file}: {}", said.err);
        let became = if there { "signed" } else { "not begun" };
        let line = format!("  {file}: {became}");
        assert!(said.err.contains(&line), "{line}: {}", said.err);
        if there {
            scene
                .verify(&["verify-blob", "--bundle", &bundle, file])
                .await
                .accepted();
        }
    }
    scene.stack.stop().await;
}

/// The whole story of the README's first command.
#[tokio::test(flavor = "multi_thread")]
async fn the_demo_does_what_it_says() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sigstack"));
    command.arg("demo").stdin(Stdio::null());
    let said = Scene::finish(command).await.accepted();
    for step in [
        "sign as a person",
        "verify the signature",
        "refused",
        "steps did what they should",
    ] {
        let all = format!("{}{}", said.out, said.err).to_lowercase();
        assert!(all.contains(step), "{step}: {all}");
    }
}
