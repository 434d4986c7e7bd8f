//! A trust root in the hands of its operator, from the first ceremony on: services come and go, people and keys too, and after each change what a
//! verifier then has. All of it by the command line, as the documents say.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic in a test is its failure report"
)]

use std::path::{Path, PathBuf};
use std::process::Stdio;

use jiff::{SignedDuration, Timestamp};
use keys::Algorithm;
use serde_json::Value;
use signer::Signer;
use sigstack::up::{Options, Stack};
use tempfile::TempDir;
use tokio::process::Command;

struct Scene {
    folder: TempDir,
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

    fn refused(&self, words: &str) {
        assert_eq!(self.code, Some(1), "{}{}", self.out, self.err);
        assert!(self.err.contains(words), "expected {words}: {}", self.err);
    }
}

impl Scene {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    async fn run(&self, arguments: &[&str]) -> Said {
        self.at_home("home", arguments).await
    }

    async fn at_home(&self, home: &str, arguments: &[&str]) -> Said {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sigstack"));
        command
            .arg("cosign")
            .args(arguments)
            .env_clear()
            .env("HOME", self.path(home))
            .current_dir(self.folder.path())
            .stdin(Stdio::null());
        let output = command.output().await.unwrap();
        Said {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    async fn root(&self, arguments: &[&str]) -> Said {
        self.run(&[&["root"], arguments].concat()).await
    }

    /// `NAME=FILE` of a new public key.
    fn signer(&self, name: &str) -> String {
        let private = self.path(&format!("{name}.key"));
        let key = Signer::load_or_create(&private, Algorithm::EcdsaP256Sha256).unwrap();
        let file = self.path(&format!("{name}.pub"));
        std::fs::write(&file, key.public_key().to_pem()).unwrap();
        format!("{name}={}", file.display())
    }

    /// Each signer takes what waits to a folder of their own, signs it there, and gives it back; then it is published.
    async fn approve(&self, state: &str, people: &[&str]) {
        let staged = std::fs::read_dir(self.path(state).join("staged")).unwrap();
        let mut files: Vec<PathBuf> = staged.map(|entry| entry.unwrap().path()).collect();
        files.retain(|file| file.extension().is_some_and(|ending| ending == "json"));
        assert!(!files.is_empty(), "nothing waits");
        let waits = self.root(&["--state", state, "status"]).await;
        assert_eq!(waits.code, Some(3), "{}{}", waits.out, waits.err);
        for file in files {
            let mut signed = 0;
            for person in people {
                let (key, back) = (format!("{person}.key"), format!("{person}.json"));
                let file = file.display().to_string();
                let sign = ["sign", "--yes", "--key", &key, "--out", &back, &file];
                let said = self.root(&sign).await;
                if said.err.contains("is no signer of") {
                    continue;
                }
                said.accepted();
                self.root(&["--state", state, "merge", &back])
                    .await
                    .accepted();
                signed += 1;
            }
            assert!(signed > 0, "nobody signed {}", file.display());
        }
        self.root(&["--state", state, "publish"]).await.accepted();
    }

    /// Trusted root and signing config of a verifier who asks the repository now.
    async fn seen(&self, home: &str) -> (Value, Value) {
        let export = ["trust", "export", "--trust-refresh", "always", "--to", "-"];
        let said = self.at_home(home, &export).await.accepted();
        let mut both: Value = serde_json::from_str(&said.out).unwrap();
        (both["trustedRoot"].take(), both["signingConfig"].take())
    }

    async fn follow(&self, home: &str, mirror: &str, root: &str) {
        let initialize = ["initialize", "--mirror", mirror, "--root", root];
        self.at_home(home, &initialize).await.accepted();
    }

    fn unpack(&self, archive: &str, to: &str) -> String {
        let bytes = std::fs::read(self.path(archive)).unwrap();
        let folder = self.path(to);
        let mut tar = tar::Archive::new(flate2::read::GzDecoder::new(bytes.as_slice()));
        tar.unpack(&folder).unwrap();
        format!("file://{}", folder.display())
    }
}

fn time(value: &Value) -> Timestamp {
    value.as_str().unwrap().parse().unwrap()
}

/// Start and end of a window; none where it is open.
fn window(value: &Value) -> (Timestamp, Option<Timestamp>) {
    let end = &value["end"];
    (time(&value["start"]), (!end.is_null()).then(|| time(end)))
}

/// The services of a kind have changed hands: the newest is first, opens when all know of it, and then the one before it closes.
fn handed_over(list: &Value, new: &str) -> Timestamp {
    let list = list.as_array().unwrap();
    assert_eq!(list.len(), 2, "{list:?}");
    assert!(
        list[0]["url"].as_str().unwrap().starts_with(new),
        "{list:?}"
    );
    let ((start, open), (_, end)) = (window(&list[0]["validFor"]), window(&list[1]["validFor"]));
    assert_eq!((open, end), (None, Some(start)));
    // A week for the timestamps that are out, five days for the slowest signer.
    assert!(start > Timestamp::now() + SignedDuration::from_hours(12 * 24 - 1));
    start
}

fn ends(list: &Value, key: bool) -> Vec<Option<Timestamp>> {
    let windows = list.as_array().unwrap().iter();
    let windows = windows.map(|one| {
        if key {
            &one["publicKey"]["validFor"]
        } else {
            &one["validFor"]
        }
    });
    windows.map(|one| window(one).1).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn services_people_and_keys_come_and_go_and_verifiers_see_it() {
    let folder = tempfile::tempdir().unwrap();
    let stack = Stack::start(&Options::free(folder.path().join("first")))
        .await
        .unwrap();
    let second = Stack::start(&Options::free(folder.path().join("second")))
        .await
        .unwrap();
    let scene = Scene { folder };
    let (old, new) = (stack.addresses().clone(), second.addresses().clone());
    let host = old.registry.strip_prefix("http://").unwrap();

    // Names that no file can have are not there, as any other.
    let long = format!("{}/{}.json", old.tuf, "a".repeat(300));
    assert_eq!(reqwest::get(long).await.unwrap().status(), 404);

    // Three people, an online key; a tag in a registry and a tar file are its places.
    let people = ["alice", "bob", "carol"].map(|name| scene.signer(name));
    let mut init = vec!["init", "--operator", "example.org", "--threshold", "2"];
    for person in &people {
        init.extend(["--signer", person]);
    }
    scene.signer("online");
    init.extend(["--online", "../online.key", "--fulcio", &old.fulcio]);
    init.extend(["--ctlog", &old.ctlog, "--rekor", &old.rekor]);
    init.extend(["--tsa", &old.tsa, "--oidc", &old.issuer]);
    scene.root(&init).await.accepted();
    let policy = scene.path("trust/policy.toml");
    let places = format!(
        "{}\n[[publish]]\noci = \"{host}/team/trust:latest\"\n[[publish]]\ntar = \"../trust.tar.gz\"\n",
        std::fs::read_to_string(&policy).unwrap()
    );
    std::fs::write(&policy, places).unwrap();
    let unsigned = scene.root(&["publish"]).await;
    unsigned.refused("targets 1: 0 of 2 for root 1");
    scene.approve("trust", &["alice", "carol"]).await;
    let mirror = format!("oci://{host}/team/trust:latest");
    scene
        .follow("home", &mirror, "trust/published/1.root.json")
        .await;
    let (root, config) = scene.seen("home").await;
    assert_eq!(config["rekorTlogUrls"][0]["url"], old.rekor);
    assert_eq!(config["rekorTlogUrls"][0]["operator"], "example.org");
    for part in ["tlogs", "ctlogs"] {
        assert_eq!(ends(&root[part], true), [None], "{part}");
    }
    for part in ["certificateAuthorities", "timestampAuthorities"] {
        assert_eq!(ends(&root[part], false), [None], "{part}");
    }

    // A new shard, and the end of the old one.
    let soon = (Timestamp::now() + SignedDuration::from_hours(24)).to_string();
    let too_soon = scene
        .root(&["add-shard", &new.rekor, "--start", &soon])
        .await;
    too_soon.refused("is too soon: clients may not know of it before");
    scene.root(&["add-shard", &new.rekor]).await.accepted();
    let again = scene.root(&["add-shard", &new.rekor]).await;
    again.refused("is listed already with this key");
    scene.approve("trust", &["alice", "bob"]).await;
    let (root, config) = scene.seen("home").await;
    let start = handed_over(&config["rekorTlogUrls"], &new.rekor);
    assert_eq!(ends(&root["tlogs"], true), [None, None]);
    assert!(window(&root["tlogs"][1]["publicKey"]["validFor"]).0 <= Timestamp::now());
    let retire = ["retire", "rekor", &old.rekor];
    let in_use = scene.root(&retire).await;
    in_use.refused("the signing config still sends clients to");
    let end = start + SignedDuration::from_hours(24);
    let at_end = end.to_string();
    scene
        .root(&[&retire[..], &["--end", &at_end]].concat())
        .await
        .accepted();
    let gone = scene
        .root(&[&retire[..], &["--end", &at_end]].concat())
        .await;
    gone.refused(&format!("no instance {} with an open window", old.rekor));

    // A CT log that nobody is sent to, and new authorities, in the same version of targets.
    let added = scene.root(&["add-log", "ctlog", &new.ctlog]).await;
    let added = added.accepted().err;
    assert!(added.contains("let nothing rely on it sooner"), "{added}");
    let twice = scene.root(&["add-log", "ctlog", &new.ctlog]).await;
    twice.refused("is listed already with this key");
    let retire = ["retire", "ctlog", &old.ctlog, "--end"];
    let backwards = scene
        .root(&[&retire[..], &["2020-01-01T00:00:00Z"]].concat())
        .await;
    backwards.refused("and would end at 2020-01-01T00:00:00Z");
    scene
        .root(&[&retire[..], &[at_end.as_str()]].concat())
        .await
        .accepted();
    let added = scene.root(&["add-ca", &new.fulcio]).await.accepted().err;
    assert!(added.contains("clients call it from "), "{added}");
    let known = scene.root(&["add-ca", &new.fulcio]).await;
    known.refused("is listed already with its chain(s)");
    scene.root(&["add-ca", "--tsa", &new.tsa]).await.accepted();
    scene
        .root(&["retire", "fulcio", &old.fulcio])
        .await
        .refused("the signing config still sends clients to");
    scene
        .root(&["retire", "tsa", &format!("{}/api/v1/timestamp", old.tsa)])
        .await
        .refused("the signing config still sends clients to");
    let (unchanged, _) = scene.seen("home").await;
    assert_eq!(unchanged, root, "nothing is published without signatures");
    scene.approve("trust", &["bob", "carol"]).await;
    let (root, config) = scene.seen("home").await;
    assert_eq!(ends(&root["tlogs"], true), [Some(end), None]);
    assert_eq!(ends(&root["ctlogs"], true), [Some(end), None]);
    handed_over(&config["caUrls"], &new.fulcio);
    handed_over(&config["tsaUrls"], &new.tsa);
    for part in ["certificateAuthorities", "timestampAuthorities"] {
        assert_eq!(ends(&root[part], false), [None, None], "{part}");
    }

    // People and keys.
    let dave = scene.signer("dave");
    let rotate = ["rotate", "root,targets"];
    for (more, words) in [
        (&["--threshold", "1"][..], "take at least 2 of 3"),
        (&["--remove", "nobody"], "nobody is called nobody in keys/"),
        (&["--key", "online.key"], "--key is the new key of online"),
        (&[], "nothing would change"),
    ] {
        scene
            .root(&[&rotate[..], more].concat())
            .await
            .refused(words);
    }
    scene
        .root(&["rotate", "online", "--threshold", "2", "--key", "x"])
        .await
        .refused("online is rotated by itself");
    scene
        .root(&[&rotate[..], &["--add", &dave, "--remove", "carol"]].concat())
        .await
        .accepted();
    scene.approve("trust", &["alice", "bob", "dave"]).await;
    scene.signer("next");
    scene
        .root(&["rotate", "online", "--key", "../next.key"])
        .await
        .accepted();
    scene.approve("trust", &["bob", "dave"]).await;
    let early = scene.root(&["refresh"]).await.accepted();
    assert!(early.err.contains("nothing was due"), "{}", early.err);
    scene.root(&["refresh", "--force"]).await.accepted();
    let team = scene.signer("team");
    let delegate = ["delegate", "team", "--signer", &team, "--path"];
    scene
        .root(&[&delegate[..], &["docker.io/team/*"]].concat())
        .await
        .refused("covers no tag");
    scene
        .root(&[&delegate[..], &["registry.example.org/team/*"]].concat())
        .await
        .accepted();
    // Its signers change before anybody has signed it: its paths stay as proposed.
    let other = scene.signer("other");
    scene
        .root(&["rotate", "team", "--add", &other, "--remove", "team"])
        .await
        .accepted();
    scene.approve("trust", &["alice", "dave", "other"]).await;
    let (same, _) = scene.seen("home").await;
    assert_eq!(same, root);
    let status = ["trust", "status", "--output", "json"];
    let status: Value = serde_json::from_str(&scene.run(&status).await.out).unwrap();
    assert_eq!(status["roles"][0]["version"], 3);
    let delegated = std::fs::read_to_string(scene.path("trust/published/1.team.json"));
    assert!(delegated.is_ok());
    scene
        .root(&["discard", "targets"])
        .await
        .refused("is missing");

    // What goes to an air gap is what is in the registry.
    let mut jsonl = String::new();
    for (form, file) in [
        ("tar", "export.tar.gz"),
        ("root", "first.json"),
        ("trust-config", "config.json"),
        ("trusted-root-jsonl", "root.jsonl"),
    ] {
        scene.root(&["export", form, file]).await.accepted();
        jsonl = std::fs::read_to_string(scene.path(file)).unwrap_or_default();
    }
    assert_eq!(jsonl.trim_end().lines().count(), 1);
    assert_eq!(serde_json::from_str::<Value>(&jsonl).unwrap(), root);
    let bytes = |file: &str| std::fs::read(scene.path(file)).unwrap();
    assert_eq!(bytes("first.json"), bytes("trust/published/1.root.json"));
    assert_eq!(bytes("export.tar.gz"), bytes("trust.tar.gz"));
    let both: Value = serde_json::from_slice(&bytes("config.json")).unwrap();
    assert_eq!(both["trustedRoot"], root);
    let taken = scene.unpack("export.tar.gz", "taken");
    scene.follow("gap", &taken, "first.json").await;
    assert_eq!(scene.seen("gap").await.0, root);

    // Another machine takes it over, with the keys that its root names, and goes on.
    let import = ["--state", "moved", "import", "taken"];
    let import = [&import[..], &["--online", "../next.key"]].concat();
    scene.root(&import).await.accepted();
    scene.root(&import).await.refused("already");
    scene
        .root(&["--state", "moved", "refresh", "--force"])
        .await
        .accepted();
    let mirror = format!("file://{}", scene.path("moved/published").display());
    scene.follow("later", &mirror, "first.json").await;
    let log = [old.rekor.as_str(), "=", "key.pub"].concat();
    std::fs::copy(scene.path("online.pub"), scene.path("key.pub")).unwrap();
    let add = ["--state", "moved", "add-log", "rekor-v1", &log];
    scene.root(&add).await.accepted();
    scene.approve("moved", &["dave", "alice"]).await;
    let (root, _) = scene.seen("later").await;
    assert_eq!(ends(&root["tlogs"], true), [Some(end), None, None]);
    for state in ["trust", "moved"] {
        let status = scene.root(&["--state", state, "status"]).await.accepted();
        assert!(status.out.contains("all in all: ok"), "{}", status.out);
    }
    assert_eq!(leftovers(&scene.path("trust/staged")), 0);
    stack.stop().await;
    second.stop().await;
}

/// Proposals that are in force leave nothing.
fn leftovers(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder).unwrap();
    entries
        .filter(|entry| entry.as_ref().unwrap().file_type().unwrap().is_file())
        .count()
}
