//! The command line at images: what counts as a signature, what does not, and that trouble with a registry is never "not signed".
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic in a test is its failure report"
)]

use std::path::PathBuf;
use std::process::Stdio;

use bytes::Bytes;
use oci::{Annotations, Descriptor, EMPTY_TYPE, IMAGE_TYPE, Reference, Registry};
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
        let token = token::make(
            &Token {
                state: self.state(),
                email: Some(ALICE.to_owned()),
                github: None,
                audience: "sigstore".to_owned(),
                seconds: 60,
            },
            jiff::Timestamp::now(),
        )
        .await
        .unwrap();
        let mut command = self.command(arguments);
        command
            .args(["--trust-config", "state/client_trust_config.json"])
            .env("SIGSTORE_ID_TOKEN", token);
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
