//! A trust root in a registry: published as one artifact under a tag, followed by `oci://`, and nothing believed that a registry could make up.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic in a test is its failure report"
)]

use std::process::Stdio;

use serde_json::Value;
use sigstack::up::{Options, Stack};
use tempfile::TempDir;
use tokio::process::Command;

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

    fn refused(self, words: &str) {
        assert_ne!(self.code, Some(0), "{}{}", self.out, self.err);
        assert!(self.err.contains(words), "expected {words}: {}", self.err);
    }
}

impl Scene {
    async fn run(&self, arguments: &[&str]) -> Said {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sigstack"));
        command
            .arg("cosign")
            .args(arguments)
            .env_clear()
            .env("HOME", self.folder.path())
            .current_dir(self.folder.path())
            .stdin(Stdio::null());
        let output = command.output().await.unwrap();
        Said {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// The manifest that a tag points to.
    async fn manifest(&self, tag: &str) -> String {
        let kind = "application/vnd.oci.image.manifest.v1+json";
        let get = reqwest::Client::new()
            .get(self.url(tag))
            .header("Accept", kind);
        get.send().await.unwrap().text().await.unwrap()
    }

    /// Lets a tag point to a manifest.
    async fn put(&self, tag: &str, manifest: String) {
        let kind = "application/vnd.oci.image.manifest.v1+json";
        let put = reqwest::Client::new()
            .put(self.url(tag))
            .header("Content-Type", kind)
            .body(manifest);
        assert!(put.send().await.unwrap().status().is_success());
    }

    fn url(&self, tag: &str) -> String {
        let registry = &self.stack.addresses().registry;
        format!("{registry}/v2/team/trust/manifests/{tag}")
    }

    async fn exported(&self, more: &[&str]) -> Said {
        let words = [
            "trust",
            "export",
            "--format",
            "trusted-root",
            "--to",
            "-",
            "--trust-refresh",
            "always",
        ];
        self.run(&[&words, more].concat()).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trust_root_is_published_to_a_registry_and_followed_there() {
    let folder = tempfile::tempdir().unwrap();
    let stack = Stack::start(&Options::free(folder.path().join("state")))
        .await
        .unwrap();
    let scene = Scene { folder, stack };
    let registry = scene.stack.addresses().registry.clone();
    let host = registry.strip_prefix("http://").unwrap();
    let target = ["--target", "trusted_root.json=state/trusted_root.json"];
    let init = ["root", "init", "--development"];
    scene.run(&[&init[..], &target].concat()).await.accepted();
    let policy = scene.folder.path().join("trust/policy.toml");
    let text = std::fs::read_to_string(&policy).unwrap();
    let text = format!("{text}\n[[publish]]\noci = \"{host}/team/trust:latest\"\n");
    std::fs::write(&policy, text).unwrap();
    let said = scene.run(&["root", "refresh", "--force"]).await.accepted();
    assert!(said.err.contains(": written, sha256:"), "{}", said.err);
    let said = scene.run(&["root", "refresh"]).await.accepted();
    assert!(said.err.contains(": there already, "), "{}", said.err);

    let first = scene.manifest("latest").await;
    let document: Value = serde_json::from_str(&first).unwrap();
    assert_eq!(
        document["artifactType"],
        "application/vnd.tuf.repository.v1"
    );
    let layers = document["layers"].as_array().unwrap();
    let names: Vec<&str> = layers
        .iter()
        .map(|layer| layer["annotations"]["tuf.io/filename"].as_str().unwrap())
        .collect();
    assert_eq!(names.len(), 6, "{names:?}");
    assert!(
        layers
            .iter()
            .filter(|layer| layer["mediaType"] == "application/vnd.tuf.target")
            .count()
            == 1
    );
    assert!(
        !names.contains(&"1.snapshot.json") || !names.contains(&"2.snapshot.json"),
        "only what is in force: {names:?}"
    );

    let mirror = format!("oci://{host}/team/trust:latest");
    let root = ["--root", "trust/published/1.root.json", "--name", "acme"];
    let initialize = ["initialize", "--mirror", &mirror];
    scene
        .run(&[&initialize[..], &root].concat())
        .await
        .accepted();
    let before = scene.exported(&[]).await.accepted();
    assert!(before.out.contains("certificateAuthorities"));
    let said = scene.run(&["trust", "list"]).await.accepted();
    assert!(said.out.contains(&mirror), "{}", said.out);

    // What is published next is followed, with all roots on the way.
    let changed = before
        .out
        .replace("\"http://localhost", "\"http://LOCALHOST");
    assert_ne!(changed, before.out);
    std::fs::write(scene.folder.path().join("next.json"), &changed).unwrap();
    let propose = ["root", "propose", "--trusted-root", "next.json"];
    let renew = ["--renew", "root"];
    scene.run(&[&propose[..], &renew].concat()).await.accepted();
    for role in ["root", "targets"] {
        let file = format!("trust/staged/{role}.json");
        let sign = ["root", "sign", &file, "--key", "trust/offline.key", "--yes"];
        scene.run(&sign).await.accepted();
    }
    scene.run(&["root", "publish"]).await.accepted();
    let after = scene.exported(&[]).await.accepted();
    assert!(after.out.contains("http://LOCALHOST"), "{}", after.out);
    let status = ["trust", "status", "--output", "json"];
    let status: Value = serde_json::from_str(&scene.run(&status).await.out).unwrap();
    assert_eq!(status["roles"][0]["version"], 2);

    // A tag that goes back, and one that points to something else.
    let second = scene.manifest("latest").await;
    scene.put("latest", first.clone()).await;
    scene.exported(&[]).await.refused("a rollback");
    let mut other: Value = serde_json::from_str(&second).unwrap();
    other["artifactType"] = "application/vnd.example".into();
    scene.put("latest", other.to_string()).await;
    scene
        .exported(&[])
        .await
        .refused("and not application/vnd.tuf.repository.v1");
    scene.run(&["trust", "status"]).await.accepted();
    // A target in the place of another one.
    let mut swapped: Value = serde_json::from_str(&second).unwrap();
    let layers = swapped["layers"].as_array_mut().unwrap();
    let timestamp = layers
        .iter()
        .position(|layer| layer["annotations"]["tuf.io/filename"] == "timestamp.json")
        .unwrap();
    let digest = layers[0]["digest"].clone();
    let size = layers[0]["size"].clone();
    layers[timestamp]["digest"] = digest;
    layers[timestamp]["size"] = size;
    scene.put("latest", swapped.to_string()).await;
    let said = scene.exported(&[]).await;
    assert_ne!(said.code, Some(0), "{}", said.out);
    scene.put("latest", second.clone()).await;
    scene.exported(&[]).await.accepted();

    // Pinned by digest, for an air gap: the same for ever, until it ends.
    let digest = hex::encode(keys::sha256(second.as_bytes()));
    let pinned = format!("oci://{host}/team/trust@sha256:{digest}");
    let initialize = ["initialize", "--mirror", &pinned, "--no-default"];
    let root = ["--root", "trust/published/1.root.json", "--name", "pinned"];
    scene
        .run(&[&initialize[..], &root].concat())
        .await
        .accepted();
    scene
        .exported(&["--trust-domain", "pinned"])
        .await
        .accepted();
    scene.stack.stop().await;
    scene_without_registry(&scene.folder).await;
}

/// An outage of the registry is one like any other: what is cached holds, and says so.
async fn scene_without_registry(folder: &TempDir) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sigstack"));
    command
        .args(["cosign", "trust", "export", "--to", "-"])
        .args(["--format", "trusted-root", "--offline"])
        .env_clear()
        .env("HOME", folder.path())
        .current_dir(folder.path());
    let output = command.output().await.unwrap();
    assert!(output.status.success(), "{output:?}");
}
