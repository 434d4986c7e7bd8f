//! `--tag-trust` of `verify` and of all others that take an image by its tag, over a repository folder that is served on this machine: the registry may let a tag point anywhere, and only what the team
//! signed is taken.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic in a test is its failure report"
)]

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use keys::Algorithm;
use serde_json::Value;
use signer::Signer;
use sigstack::args::Token;
use sigstack::up::{Options, Stack};
use sigstack::{scripts, token};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::process::Command;

const ALICE: &str = "alice@example.org";

struct Scene {
    folder: TempDir,
    stack: Stack,
    /// What the mirror shows.
    served: Arc<Mutex<PathBuf>>,
    mirror: String,
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

    fn refused(&self, reason: &str, words: &str) {
        // A question that cannot be asked, or a policy that is not met.
        let code = if reason == "tag-missing" { 2 } else { 20 };
        assert_eq!(self.code, Some(code), "{}{}", self.out, self.err);
        let failure: Value = serde_json::from_str(&self.out).unwrap();
        assert_eq!(failure["reason"], reason, "{}", self.err);
        assert_eq!(failure["step"], "tag");
        let hint = failure["hint"].as_str().unwrap();
        assert!(!hint.is_empty() && self.err.contains(words), "{}", self.err);
    }
}

impl Scene {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let stack = Stack::start(&Options::free(folder.path().join("state")))
            .await
            .unwrap();
        let served = Arc::new(Mutex::new(folder.path().join("trust/published")));
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .unwrap();
        let mirror = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(file).with_state(served.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self {
            folder,
            stack,
            served,
            mirror,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
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

    async fn run(&self, arguments: &[&str]) -> Said {
        finish(self.command(arguments)).await
    }

    /// Signed, and a statement about it.
    async fn sign(&self, image: &str) {
        std::fs::write(self.path("predicate.json"), "{}").unwrap();
        let attest = ["attest", "--predicate", "predicate.json", image];
        for signing in [&["sign", image][..], &attest] {
            self.sign_by(signing).await;
        }
    }

    async fn sign_by(&self, signing: &[&str]) {
        let asked = Token {
            state: self.path("state"),
            email: Some(ALICE.to_owned()),
            github: None,
            audience: "sigstore".to_owned(),
            seconds: 60,
        };
        let made = token::make(&asked, jiff::Timestamp::now()).await.unwrap();
        let mut command = self.command(signing);
        command
            .args(["--trust-config", "state/client_trust_config.json"])
            .env("SIGSTORE_ID_TOKEN", made);
        finish(command).await.accepted();
    }

    /// Alice's signature, and the team's word on the tag.
    async fn verify(&self, image: &str, more: &[&str]) -> Said {
        let verify = ["verify", "--output", "json", image];
        finish(self.expecting(&verify, more)).await
    }

    fn expecting(&self, command: &[&str], more: &[&str]) -> Command {
        let issuer = &self.stack.addresses().issuer;
        let mut command = self.command(command);
        command
            .args(["--certificate-identity", ALICE])
            .args(["--certificate-oidc-issuer", issuer])
            .args(more);
        command
    }

    /// The same by every other command that takes an image by its tag; `reason` says why not.
    async fn everywhere(&self, image: &str, tags: &[&str], reason: Option<&str>) {
        let code = match reason {
            None => 0,
            Some("tag-missing") => 2,
            Some(_) => 20,
        };
        let attestation = ["verify-attestation", "--output", "json", image];
        let said = finish(self.expecting(&attestation, tags)).await;
        assert_eq!(said.code, Some(code), "{}{}", said.out, said.err);
        match reason {
            Some(reason) => said.refused(reason, ""),
            None => assert!(said.err.contains("signed by 2 of 3"), "{}", said.err),
        }

        let kit = self.path("image.kit");
        let create = ["kit", "create", "--to", "image.kit", image];
        let said = finish(self.expecting(&create, tags)).await;
        assert_eq!(said.code, Some(code), "{}{}", said.out, said.err);
        assert_eq!(std::fs::remove_file(kit).is_ok(), reason.is_none());

        let questions = format!("{image}\n{{\"image\":\"{image}\",\"type\":\"custom\"}}\n");
        let mut one_by_one = self.expecting(&["verify", "--stdin"], tags);
        one_by_one.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = one_by_one.spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        input.write_all(questions.as_bytes()).await.unwrap();
        drop(input);
        let output = child.wait_with_output().await.unwrap();
        let mut answers = String::from_utf8(output.stdout).unwrap();

        let mut server = self.expecting(&["verify-server", "--socket", "s.sock"], tags);
        server.stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = server.spawn().unwrap();
        let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
        while let Some(line) = said.next_line().await.unwrap() {
            if line.starts_with("listening on") {
                break;
            }
        }
        let mut socket = UnixStream::connect(self.path("s.sock")).await.unwrap();
        socket.write_all(questions.as_bytes()).await.unwrap();
        socket.shutdown().await.unwrap();
        socket.read_to_string(&mut answers).await.unwrap();
        child.kill().await.unwrap();
        assert_eq!(answers.lines().count(), 4, "{answers}");
        for answer in answers.lines() {
            let answer: Value = serde_json::from_str(answer).unwrap();
            assert_eq!(answer["exitCode"], code, "{answer}");
            assert_eq!(answer["reason"].as_str(), reason, "{answer}");
            let role = reason.is_none().then_some("team");
            assert_eq!(answer["tag"]["role"].as_str(), role, "{answer}");
        }
    }

    /// Says where a tag points, with the keys of these people.
    async fn tag(&self, image: &str, digest: &str, size: u64, people: &[&str]) -> Said {
        let size = size.to_string();
        let tag = ["root", "tag", "team", image, digest, "--size", &size];
        self.run(&tag).await.accepted();
        for person in people {
            let key = format!("{person}.key");
            let file = "trust/staged/team.json";
            self.run(&["root", "sign", file, "--key", &key, "--yes"])
                .await
                .accepted();
        }
        self.run(&["root", "publish"]).await
    }

    /// Lets a tag of the registry point to a manifest; its digest and size.
    async fn push(&self, tag: &str, manifest: &[u8]) -> (String, u64) {
        let url = format!(
            "{}/v2/team/app/manifests/{tag}",
            self.stack.addresses().registry
        );
        let kind = "application/vnd.oci.image.manifest.v1+json";
        let put = reqwest::Client::new()
            .put(url)
            .header("Content-Type", kind)
            .body(manifest.to_vec());
        assert!(put.send().await.unwrap().status().is_success());
        let digest = hex::encode(keys::sha256(manifest));
        (
            format!("sha256:{digest}"),
            u64::try_from(manifest.len()).unwrap(),
        )
    }
}

async fn finish(mut command: Command) -> Said {
    let output = command.output().await.unwrap();
    Said {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

async fn file(State(served): State<Arc<Mutex<PathBuf>>>, request: Request) -> Response {
    let folder = served.lock().unwrap().clone();
    match std::fs::read(folder.join(request.uri().path().trim_start_matches('/'))) {
        Ok(bytes) => bytes.into_response(),
        Err(_) => StatusCode::NOT_FOUND.into_response(),
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_is_taken_only_where_the_team_lets_it_point() {
    let scene = Scene::new().await;
    let pushed = scripts::image(&scene.path("state"), "team/app:v1")
        .await
        .unwrap();
    let (name, digest) = pushed.split_once('@').unwrap();
    let image = format!("{name}:v1");
    let host = name.split_once('/').unwrap().0;
    let url = format!(
        "{}/v2/team/app/manifests/v1",
        scene.stack.addresses().registry
    );
    let old = reqwest::get(url).await.unwrap().bytes().await.unwrap();
    let mut changed: Value = serde_json::from_slice(&old).unwrap();
    changed["annotations"] = serde_json::json!({ "of": "the second version" });
    let new = changed.to_string().into_bytes();
    let (new_digest, new_size) = scene.push("v2", &new).await;
    scene.sign(&pushed).await;
    scene.sign(&format!("{name}@{new_digest}")).await;

    // A trust root with a role for the team, 2 of 3, whose word holds for two hours.
    scene
        .run(&[
            "root",
            "init",
            "--development",
            "--target",
            "trusted_root.json=state/trusted_root.json",
        ])
        .await
        .accepted();
    let policy = scene.path("trust/policy.toml");
    let text = std::fs::read_to_string(&policy).unwrap();
    let short = text.replace(
        "life = \"180d\"\nrenew = \"31d\"",
        "life = \"2h\"\nrenew = \"1h\"",
    );
    assert_ne!(text, short);
    std::fs::write(&policy, short).unwrap();
    let paths = format!("{host}/team/*");
    let mut delegate = vec!["root", "delegate", "team", "--path", &paths];
    for person in ["a=a.pub", "b=b.pub", "c=c.pub"] {
        let name = person.split_once('=').unwrap().0;
        let key = Signer::load_or_create(
            &scene.path(&format!("{name}.key")),
            Algorithm::EcdsaP256Sha256,
        );
        let public = key.unwrap().public_key().to_pem();
        std::fs::write(scene.path(&format!("{name}.pub")), public).unwrap();
        delegate.extend(["--signer", person]);
    }
    delegate.extend(["--threshold", "2"]);
    scene.run(&delegate).await.accepted();
    let sign = ["root", "sign", "trust/staged/targets.json"];
    scene
        .run(&[&sign[..], &["--key", "trust/offline.key", "--yes"]].concat())
        .await
        .accepted();
    let old_size = u64::try_from(old.len()).unwrap();
    let one = scene.tag(&image, digest, old_size, &["a"]).await;
    assert_eq!(one.code, Some(1), "one signature of two: {}", one.err);
    scene
        .tag(&image, digest, old_size, &["a", "b"])
        .await
        .accepted();

    let root = ["--root", "trust/published/1.root.json", "--name", "acme"];
    let initialize = ["initialize", "--no-default", "--mirror", &scene.mirror];
    scene
        .run(&[&initialize[..], &root].concat())
        .await
        .accepted();
    let tags = ["--tag-trust", "--trust-domain", "acme"];
    let said = scene.verify(&image, &tags).await.accepted();
    let rows: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(rows[0]["tag"]["role"], "team");
    assert_eq!(rows[0]["tag"]["version"], 1);
    assert_eq!(
        (&rows[0]["tag"]["threshold"], &rows[0]["tag"]["keys"]),
        (&2.into(), &3.into())
    );
    assert!(said.err.contains("signed by 2 of 3"), "{}", said.err);
    let also = format!("{image}@{digest}");
    scene.verify(&also, &tags).await.accepted();
    scene.everywhere(&image, &tags, None).await;
    let offline = [&tags[..], &["--offline"]].concat();
    scene.verify(&image, &offline).await.accepted();

    // Fail closed, each for its own reason.
    scene.everywhere(&pushed, &tags, Some("tag-missing")).await;
    scene
        .verify(&pushed, &tags)
        .await
        .refused("tag-missing", "names no tag");
    scene
        .verify(&format!("{name}:v2"), &tags)
        .await
        .refused("tag-unknown", "no role of the trust domain acme says");
    let later = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(3);
    let later = later.to_string();
    scene
        .verify(&image, &[&tags[..], &["--now", &later]].concat())
        .await
        .refused("tag-expired", "team.json expired at ");
    let files = ["--trusted-root", "state/trusted_root.json"];
    let unnamed = [&files[..], &["--tag-trust"]].concat();
    let said = scene.verify(&image, &unnamed).await;
    assert!(said.err.contains("--tag-trust=NAME"), "{}", said.err);
    let named = [&files[..], &["--tag-trust=acme"]].concat();
    scene.verify(&image, &named).await.accepted();

    // The registry lets the tag point to another image, well signed too.
    scene.push("v1", &new).await;
    scene
        .verify(&image, &tags)
        .await
        .refused("tag-digest", &format!("by team 1 of acme it is {digest}"));
    let without = scene.verify(&image, &["--trust-domain", "acme"]).await;
    without.accepted();
    scene.everywhere(&image, &tags, Some("tag-digest")).await;
    // The team says that it moved, and a repository of yesterday does not take that back.
    copy(&scene.path("trust/published"), &scene.path("yesterday"));
    scene
        .tag(&image, &new_digest, new_size, &["b", "c"])
        .await
        .accepted();
    scene.verify(&image, &tags).await.accepted();
    *scene.served.lock().unwrap() = scene.path("yesterday");
    let said = scene.verify(&image, &tags).await;
    assert_ne!(said.code, Some(0));
    assert!(said.err.contains("a rollback"), "{}", said.err);
    *scene.served.lock().unwrap() = scene.path("trust/published");
    // Nor does a registry of yesterday.
    scene.push("v1", &old).await;
    scene
        .verify(&image, &tags)
        .await
        .refused("tag-digest", &format!("it is {new_digest}"));
    // Somebody typed the wrong length.
    scene
        .tag(&image, digest, old_size + 1, &["a", "c"])
        .await
        .accepted();
    scene
        .verify(&image, &tags)
        .await
        .refused("tag-size", "bytes in the registry");
    scene.stack.stop().await;
}
