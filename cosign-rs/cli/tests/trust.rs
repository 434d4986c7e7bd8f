//! Trust domains as scripts see them, over the public-good repository as it was on 2026-08-22, served from a folder.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic in a test is its failure report"
)]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

const THEN: [&str; 2] = ["--now", "2026-08-22"];

struct Scene {
    folder: TempDir,
}

struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Said {
    fn of(child: Child) -> Self {
        let output = child.wait_with_output().unwrap();
        Self {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

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
}

fn testdata(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../testdata")
        .join(path)
        .canonicalize()
        .unwrap()
}

fn repository() -> String {
    format!("file://{}", testdata("tuf/public-good").display())
}

fn root(version: u32) -> String {
    let path = testdata("tuf/public-good").join(format!("{version}.root.json"));
    path.display().to_string()
}

impl Scene {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn start(&self, words: &[&str], variables: &[(&str, &str)]) -> Child {
        self.start_in(
            Command::new(env!("CARGO_BIN_EXE_cosign-rs")),
            words,
            variables,
        )
    }

    fn start_in(&self, mut program: Command, words: &[&str], variables: &[(&str, &str)]) -> Child {
        program
            .args(words)
            .current_dir(self.folder.path())
            .env_clear()
            .env("HOME", self.folder.path())
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    fn run(&self, words: &[&str]) -> Said {
        Said::of(self.start(words, &[]))
    }

    fn then(&self, words: &[&str]) -> Said {
        self.run(&[words, &THEN].concat())
    }

    fn initialized() -> Self {
        let scene = Self::new();
        scene
            .then(&["initialize", "--mirror", &repository(), "--root", &root(5)])
            .accepted();
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// A signature made with the public-good instance.
fn verify<'a>(bundle: &'a str, file: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let words = [
        "verify-blob",
        "--bundle",
        bundle,
        "--certificate-identity-regexp",
        r"https://github\.com/sigstore-conformance/.*",
        "--certificate-oidc-issuer",
        "https://token.actions.githubusercontent.com",
        file,
    ];
    [&words[..], more].concat()
}

fn signed() -> (String, String) {
    let folder = testdata("sigstore-conformance/bundle-verify");
    (
        folder
            .join("happy-path-v0.3/bundle.sigstore.json")
            .display()
            .to_string(),
        folder.join("a.txt").display().to_string(),
    )
}

#[test]
fn what_was_initialised_is_trusted_from_then_on_with_and_without_the_repository() {
    let scene = Scene::initialized();
    let base = scene.path(".sigstore/root");
    let remote: Value =
        serde_json::from_slice(&std::fs::read(base.join("remote.json")).unwrap()).unwrap();
    assert_eq!(remote["mirror"], repository());

    let (bundle, file) = signed();
    let said = scene.then(&verify(&bundle, &file, &[])).accepted();
    assert!(said.err.contains("Verified OK"), "{}", said.err);
    assert!(
        said.err
            .starts_with("WARNING: whether trust is expired is judged as of 2026-08-22T00:00:00Z"),
        "{}",
        said.err
    );
    scene
        .then(&verify(&bundle, &file, &["--offline"]))
        .accepted();

    let said = scene
        .then(&["trust", "status", "--output", "json"])
        .accepted();
    let status: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(status["holds"], true);
    assert_eq!(status["refreshed"], "2026-08-22T00:00:00Z");
    assert_eq!(status["holdsUntil"], "2026-08-28T19:25:56Z");
    assert_eq!(status["roles"][0]["version"], 15);

    let said = scene.run(&["trust", "list"]).accepted();
    assert_eq!(said.out.lines().count(), 4, "{}", said.out);
    assert!(
        said.out.lines().last().unwrap().starts_with(&format!(
            "* {0}: {0}, from root 5 on, initialised here, cached",
            repository()
        )),
        "{}",
        said.out
    );
    let said = scene.then(&["trust", "diff"]).accepted();
    assert_eq!(said.out, "nothing would change\n");
    let other = testdata("sigstore-conformance/bundle-verify/happy-path-v0.3");
    assert!(other.is_dir());
    scene
        .then(&["trust", "export", "--to", "config.json"])
        .accepted();
    scene
        .run(&verify(&bundle, &file, &["--trust-config", "config.json"]))
        .accepted();
}

#[test]
fn what_is_expired_is_refused_by_role_date_and_command_unless_somebody_answers_for_it() {
    let scene = Scene::initialized();
    let (bundle, file) = signed();
    // The clock of this machine is later.
    let said = scene
        .run(&["trust", "status"])
        .refused("15.root.json expired at 2026-11-20T13:58:18Z");
    assert!(
        said.err.contains("cosign-rs trust refresh --trust-domain "),
        "{}",
        said.err
    );
    scene
        .run(&verify(&bundle, &file, &["--offline"]))
        .refused("expired at 2026-11-20T13:58:18Z");
    scene
        .run(&verify(&bundle, &file, &[]))
        .refused("expired at 2026-11-20T13:58:18Z");
    let allowed = ["--offline", "--allow-expired-trust"];
    let said = scene.run(&verify(&bundle, &file, &allowed)).accepted();
    assert!(
        said.err
            .contains("15.root.json expired at 2026-11-20T13:58:18Z and is trusted all the same"),
        "{}",
        said.err
    );
    scene
        .run(&verify(&bundle, &file, &["--allow-expired-trust"]))
        .code
        .filter(|code| *code != 0)
        .unwrap();
}

#[test]
fn without_connection_and_cache_what_is_built_in_verifies_with_a_warning() {
    let scene = Scene::new();
    let (bundle, file) = signed();
    let said = scene
        .run(&verify(&bundle, &file, &["--offline"]))
        .accepted();
    assert!(
        said.err.contains(
            "warning: public-good: nothing is cached, and nobody was asked (--offline); trusting what is built in, of 2026-08-21"
        ),
        "{}",
        said.err
    );
    // That is how things stand, and no error.
    let said = scene.run(&["trust", "status"]).accepted();
    assert!(
        said.out
            .contains("what is built in is trusted, of 2026-08-21"),
        "{}",
        said.out
    );
    let said = scene.run(&["trust", "status", "-o", "json"]).accepted();
    let status: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(status["builtIn"], "2026-08-21");
    assert_eq!(status["holds"], true);
    assert_eq!(status["problem"], Value::Null);
    scene
        .run(&["trust", "status", "--trust-domain", "github"])
        .refused("is not in the cache");
    assert!(!scene.path(".sigstore").exists());
    scene
        .run(&verify(
            &bundle,
            &file,
            &["--offline", "--trust-domain", "github"],
        ))
        .refused("nothing is built in");
    scene
        .run(&verify(
            &bundle,
            &file,
            &["--offline", "--trust-domain", "acme"],
        ))
        .refused("`cosign-rs trust list` shows those that are known");
}

/// Whoever keeps us from the repository must not take us back to what is built in, when we have seen more than that.
#[test]
fn an_outage_does_not_lead_from_a_cache_back_to_what_is_built_in() {
    let scene = Scene::new();
    let (bundle, file) = signed();
    let nowhere = [("HTTPS_PROXY", "http://127.0.0.1:1")];
    let cache = scene.path(".sigstore/root/tuf-repo-cdn.sigstore.dev");
    // A day is not over, so that what is cached would do, and is told what is wrong with it; else nobody answers.
    for (refresh, code) in [("daily", 1), ("always", 25), ("until-expiry", 25)] {
        let words = verify(&bundle, &file, &["--trust-refresh", refresh]);
        std::fs::create_dir_all(&cache).unwrap();
        std::fs::write(cache.join("timestamp.json"), "{}").unwrap();
        let said = Said::of(scene.start(&words, &nowhere));
        assert_eq!(said.code, Some(code), "{refresh}: {}", said.err);
        assert!(!said.err.contains("what is built in"), "{}", said.err);
        std::fs::remove_dir_all(scene.path(".sigstore")).unwrap();
        let said = Said::of(scene.start(&words, &nowhere)).accepted();
        assert!(
            said.err.contains("trusting what is built in"),
            "{}",
            said.err
        );
    }
}

#[test]
fn a_root_that_a_variable_names_is_used_or_it_is_an_error() {
    let scene = Scene::new();
    let anchor = root(5);
    let variables = [("TUF_ROOT_JSON", anchor.as_str())];
    for (more, reason) in [
        (&[][..], "nothing says of which repository"),
        (
            &["--trust-domain", "public-good"],
            "a domain that has its own",
        ),
    ] {
        let words = [&["trust", "status", "--offline"][..], more].concat();
        Said::of(scene.start(&words, &variables)).refused(reason);
    }
}

#[test]
fn a_repository_that_does_not_answer_is_no_mistake_of_the_command_line() {
    let scene = Scene::new();
    let anchor = root(5);
    let nobody = ["initialize", "--mirror", "http://localhost:1"];
    let said = scene.run(&[&nobody[..], &["--root", &anchor]].concat());
    assert_eq!(said.code, Some(25), "{}", said.err);
    assert!(said.err.contains("is there a connection?"), "{}", said.err);
    assert!(!said.err.contains("--offline"), "{}", said.err);
    let variables = [
        ("TUF_ROOT_JSON", anchor.as_str()),
        ("TUF_MIRROR", "http://localhost:1"),
    ];
    let said = Said::of(scene.start(&["trust", "refresh"], &variables));
    assert_eq!(said.code, Some(25), "{}", said.err);
    for wrong in [
        &nobody[..],
        &["initialize", "--mirror", "nowhere", "--root", &anchor],
    ] {
        let said = scene.run(wrong);
        assert_eq!(said.code, Some(2), "{wrong:?}: {}", said.err);
    }
}

#[test]
fn a_failed_initialize_leaves_what_was_there() {
    let scene = Scene::initialized();
    let base = scene.path(".sigstore/root");
    let files = || {
        let mut names: Vec<_> = std::fs::read_dir(&base)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        names.sort();
        names
    };
    let before = files();
    let empty = format!("file://{}", scene.folder.path().display());
    for (words, reason) in [
        (vec!["--mirror", &empty], "takes a root to begin from"),
        (
            vec!["--mirror", &empty, "--root", &root(5)],
            "5.root.json expired at ",
        ),
        (vec!["--mirror", &empty, "--root", &root(15)], "reading "),
        (
            vec!["--mirror", "gs-bucket", "--root", &root(5)],
            "is not the address of a repository",
        ),
        (
            vec!["--mirror", &repository(), "--root", &repository()],
            "reading ",
        ),
        (
            vec![
                "--mirror",
                &repository(),
                "--root",
                &root(5),
                "--root-checksum",
                "00",
            ],
            "has the SHA-256 ",
        ),
        (
            vec![
                "--mirror",
                &repository(),
                "--root",
                "http://localhost:1/root.json",
            ],
            "a root from a URL without --root-checksum",
        ),
        // Another root of the same repository whose keys the next one does not have.
        (
            vec![
                "--mirror",
                &repository(),
                "--root",
                &testdata("tuf/keys/ed25519.root.json").display().to_string(),
            ],
            "2.root.json does not hold",
        ),
    ] {
        let words: Vec<&str> = ["initialize"].into_iter().chain(words).collect();
        scene.then(&words).refused(reason);
        assert_eq!(files(), before, "{words:?}");
        scene.then(&["trust", "status"]).accepted();
    }
    // With the same root once more, and with another good one, by a name.
    let again = ["initialize", "--mirror", &repository(), "--root", &root(5)];
    scene.then(&again).accepted();
    let named = [
        "initialize",
        "--mirror",
        &repository(),
        "--root",
        &root(12),
        "--name",
        "acme",
        "--no-default",
    ];
    scene.then(&named).accepted();
    scene
        .then(&["trust", "status", "--trust-domain", "acme", "--offline"])
        .accepted();
}

#[test]
fn ten_processes_at_once_on_a_cold_cache_all_succeed() {
    let scene = Scene::new();
    let (bundle, file) = signed();
    let words = [verify(&bundle, &file, &[]), THEN.to_vec()].concat();
    let (mirror, anchor) = (repository(), root(1));
    let cache = scene.path("cache").display().to_string();
    let variables = [
        ("TUF_MIRROR", mirror.as_str()),
        ("TUF_ROOT_JSON", anchor.as_str()),
        ("TUF_ROOT", cache.as_str()),
    ];
    let running: Vec<_> = (0..10).map(|_| scene.start(&words, &variables)).collect();
    for child in running {
        let said = Said::of(child).accepted();
        assert_eq!(said.err.matches("warning").count(), 0, "{}", said.err);
    }
    assert!(scene.path("cache").is_dir() && !scene.path(".sigstore").exists());
}

/// A home that cannot be written, as in many containers: here one that is no folder.
#[test]
fn a_home_that_cannot_be_written_costs_the_cache_and_nothing_else() {
    let scene = Scene::new();
    let (bundle, file) = signed();
    let home = scene.path("home");
    std::fs::write(&home, "no folder").unwrap();
    let (home, mirror, anchor) = (home.display().to_string(), repository(), root(5));
    let variables = [
        ("HOME", home.as_str()),
        ("TUF_MIRROR", mirror.as_str()),
        ("TUF_ROOT_JSON", anchor.as_str()),
    ];
    let words = [verify(&bundle, &file, &[]), THEN.to_vec()].concat();
    for _run in 0..2 {
        let said = Said::of(scene.start(&words, &variables)).accepted();
        let told = said
            .err
            .matches("nothing is cached, and each call fetches again");
        assert_eq!(told.count(), 1, "{}", said.err);
    }
}

/// Which sockets a program makes, by the system's own word: a trust domain behind https, from its cache and from what is built in.
#[test]
fn offline_a_trust_domain_is_followed_without_a_socket() {
    let watched = || {
        let mut program = Command::new("strace");
        program.args([
            "-f",
            "-qq",
            "-e",
            "trace=socket,connect,sendto",
            "-o",
            "calls",
        ]);
        program
    };
    let scene = Scene::initialized();
    let mut works = watched();
    works
        .arg("true")
        .current_dir(scene.folder.path())
        .stderr(Stdio::null());
    if !works.status().is_ok_and(|status| status.success()) {
        eprintln!(
            "skipped: offline_a_trust_domain_is_followed_without_a_socket (strace is not installed, or not permitted here)"
        );
        return;
    }
    let program = env!("CARGO_BIN_EXE_cosign-rs");
    let sockets = |words: &[&str]| {
        let words = [&[program], words, &THEN].concat();
        let said = Said::of(scene.start_in(watched(), &words, &[]));
        let calls = std::fs::read_to_string(scene.path("calls")).unwrap();
        let inet: Vec<String> = calls
            .lines()
            .filter(|line| line.contains("AF_INET") || line.contains("connect("))
            .map(str::to_owned)
            .collect();
        (said, inet)
    };
    let (bundle, file) = signed();
    let offline = ["--offline", "--trust-domain", "public-good"];
    let words = verify(&bundle, &file, &offline);
    let none: Vec<String> = Vec::new();
    let (said, inet) = sockets(&words);
    assert_eq!(inet, none);
    assert!(said.accepted().err.contains("trusting what is built in"));
    // What the repository says, in the cache of the domain that is built in.
    let base = scene.path(".sigstore/root");
    let from = base.join(repository().replace(['/', ':'], "-").to_lowercase());
    let cache = base.join("tuf-repo-cdn.sigstore.dev");
    std::fs::rename(from, &cache).unwrap();
    std::fs::remove_dir_all(cache.join("root_history")).unwrap();
    for words in [&words[..], &[&["trust", "status"][..], &offline].concat()] {
        let (said, inet) = sockets(words);
        assert_eq!(inet, none);
        assert!(!said.accepted().err.contains("trusting what is built in"));
    }
    // And it is looked at: a byte that nobody signed.
    let timestamp = cache.join("timestamp.json");
    let good = std::fs::read_to_string(&timestamp).unwrap();
    let changed = good.replace("\"version\": 165", "\"version\": 166");
    assert_ne!(changed, good);
    std::fs::write(&timestamp, changed).unwrap();
    let (said, inet) = sockets(&words);
    assert_eq!(inet, none);
    said.refused("timestamp.json is not in the cache, or not as it is needed");
    // A call would be seen.
    let online = verify(&bundle, &file, &["--trust-domain", "public-good"]);
    let proxied = [("HTTPS_PROXY", "http://127.0.0.1:1")];
    let words = [&[program], &online[..], &THEN].concat();
    Said::of(scene.start_in(watched(), &words, &proxied));
    let calls = std::fs::read_to_string(scene.path("calls")).unwrap();
    assert!(calls.contains("connect("), "{calls}");
}

/// Its suite is on no registry, and so runs seldom.
#[test]
fn whatever_fails_tuf_conformance_is_told_the_one_code_of_its_protocol() {
    let scene = Scene::new();
    let run =
        |more: &[&str]| scene.run(&[&["tuf-conformance", "--metadata-dir", "m"], more].concat());
    run(&["init", &root(15)]).accepted();
    // Nobody listens there; elsewhere that is an outage, with a code of its own.
    let said = run(&["--metadata-url", "http://127.0.0.1:9/", "refresh"]).refused("127.0.0.1:9");
    assert_eq!(said.code, Some(1), "{}", said.err);
}
