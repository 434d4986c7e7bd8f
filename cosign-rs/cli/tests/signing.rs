//! Signing as scripts see it: many files in one run, what becomes public, and what is looked at before.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic in a test is its failure report"
)]

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use keys::Algorithm;
use serde_json::Value;
use signer::Signer;
use tempfile::TempDir;

struct Scene(TempDir);

struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Scene {
    /// Files to sign, and a key that is not encrypted: deriving a key from a password takes more memory than all else.
    fn new() -> Self {
        let scene = Self(tempfile::tempdir().unwrap());
        for name in ["a", "b", "c", "sub/a"] {
            scene.write(name, &format!("the file {name}\n"));
        }
        let key = Signer::generate(Algorithm::EcdsaP256Sha256).unwrap();
        scene.write("key.pem", &key.to_pkcs8_pem().unwrap());
        let owner = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(scene.path("key.pem"), owner).unwrap();
        scene.write("key.pub", &key.public_key().to_pem());
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn program(&self) -> Command {
        let mut program = Command::new(env!("CARGO_BIN_EXE_cosign-rs"));
        program
            .current_dir(self.0.path())
            .env_clear()
            .env("HOME", self.0.path())
            .stdin(Stdio::null());
        program
    }

    fn with(&self, variables: &[(&str, &str)], words: &str) -> Said {
        let mut program = self.program();
        program
            .envs(variables.iter().copied())
            .args(words.split_whitespace());
        let output = program.output().unwrap();
        Said {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    fn run(&self, words: &str) -> Said {
        self.with(&[], words)
    }

    fn verify(&self, bundle: &str, file: &str) {
        self.run(&format!(
            "verify-blob --insecure-ignore-tlog --key key.pub --bundle {bundle} {file}"
        ))
        .accepted();
    }
}

impl Said {
    fn accepted(self) -> Self {
        assert_eq!(self.code, Some(0), "{}{}", self.out, self.err);
        self
    }

    fn refused(self, reason: &str) -> Self {
        let refused = self.code.is_some_and(|code| code != 0);
        assert!(refused, "{:?}: {}{}", self.code, self.out, self.err);
        assert!(self.err.contains(reason), "expected {reason}: {}", self.err);
        self
    }
}

const KEYED: &str = "sign-blob --key key.pem --tlog-upload=false";

#[test]
fn each_of_many_files_gets_a_bundle_of_its_own() {
    let scene = Scene::new();
    let said = scene.run(&format!("{KEYED} a b c")).accepted();
    assert!(said.err.contains("3 signed, 0 were before"), "{}", said.err);
    for file in ["a", "b", "c"] {
        scene.verify(&format!("{file}.sigstore.json"), file);
    }
    let said = scene
        .run(&format!("{KEYED} --bundle one.json a b"))
        .refused("--bundle names one file, and 2 files are signed");
    assert_eq!(said.code, Some(2));
    assert!(!scene.path("one.json").exists());
    std::fs::create_dir(scene.path("out")).unwrap();
    scene
        .run(&format!(
            "{KEYED} --bundle-folder out --bundle-suffix .json b c"
        ))
        .accepted();
    scene.verify("out/b.json", "b");
    scene
        .run(&format!("{KEYED} --bundle-folder out a sub/a"))
        .refused("would both be out/a.sigstore.json");
    assert!(!scene.path("out/a.sigstore.json").exists());
    scene
        .run(&format!("{KEYED} --bundle-folder nowhere a b"))
        .refused("there is no such folder");
    scene.run(&format!("{KEYED} -")).refused("has no name");
}

#[test]
fn what_is_signed_already_is_left_out_and_what_is_not_is_signed() {
    let scene = Scene::new();
    scene.run(&format!("{KEYED} a")).accepted();
    let read = |name: &str| std::fs::read(scene.path(name)).unwrap();
    let first = read("a.sigstore.json");
    // Of another file, and so none of this one.
    std::fs::write(scene.path("b.sigstore.json"), &first).unwrap();
    let said = scene.run(&format!("{KEYED} --if-missing a b")).accepted();
    assert!(said.err.contains("1 signed, 1 were before"), "{}", said.err);
    assert_eq!(read("a.sigstore.json"), first);
    scene.verify("b.sigstore.json", "b");
    scene.write("a", "changed\n");
    scene.run(&format!("{KEYED} --if-missing a")).accepted();
    scene.verify("a.sigstore.json", "a");
}

#[test]
fn after_a_failure_the_same_command_goes_on() {
    let scene = Scene::new();
    let words = format!("{KEYED} --max-workers 1 a missing b");
    let said = scene.run(&words).refused("1 of 3 are signed");
    assert!(said.err.contains("reading missing"), "{}", said.err);
    assert!(!scene.path("b.sigstore.json").exists());
    scene.write("missing", "here now\n");
    let said = scene.run(&format!("{words} --if-missing")).accepted();
    assert!(said.err.contains("2 signed, 1 were before"), "{}", said.err);
}

#[test]
fn a_bundle_replaces_no_key_and_no_link() {
    let scene = Scene::new();
    scene.write("small", "small");
    let key = std::fs::read(scene.path("key.pem")).unwrap();
    let words = "sign-blob --key key.pem --tlog-upload=false --bundle key.pem small";
    scene.run(words).refused("is a file that is read");
    assert_eq!(std::fs::read(scene.path("key.pem")).unwrap(), key);
    scene.write("real.json", "");
    std::os::unix::fs::symlink("real.json", scene.path("link.json")).unwrap();
    let words = "sign-blob --key key.pem --tlog-upload=false --bundle link.json small";
    scene.run(words).accepted();
    assert!(scene.path("link.json").is_symlink());
    assert!(std::fs::metadata(scene.path("real.json")).unwrap().len() > 100);
    let words = "sign-blob --key key.pem --tlog-upload=false --bundle /dev/stdout small";
    assert!(scene.run(words).accepted().out.starts_with('{'));
}

/// The most memory that the process had, in kB (proc(5): VmHWM), as long as it could be seen.
fn peak(id: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

#[test]
fn a_large_file_takes_no_more_memory_than_a_small_one() {
    if !Path::new("/proc/self/status").exists() {
        return;
    }
    let scene = Scene::new();
    // The small one takes some time too, or its process is gone before anybody has seen what it takes.
    for (name, length) in [("small", 1 << 27), ("large", 1 << 30)] {
        let file = std::fs::File::create(scene.path(name)).unwrap();
        file.set_len(length).unwrap();
    }
    let most_of = |words: &str| {
        let mut child = scene
            .program()
            .args(words.split_whitespace())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut most = 0;
        let status = loop {
            most = peak(child.id()).unwrap_or(most).max(most);
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            std::thread::yield_now();
        };
        assert!(status.success(), "{words}");
        most
    };
    for words in [
        format!("{KEYED} FILE"),
        "verify-blob --insecure-ignore-tlog --key key.pub --bundle FILE.sigstore.json FILE"
            .to_owned(),
    ] {
        let [small, large] = ["small", "large"].map(|file| most_of(&words.replace("FILE", file)));
        // Buffers, and what is mapped of the program itself, which differs from run to run.
        assert!(
            small > 0 && large < small + (16 << 10),
            "{words}: {small} and {large} kB"
        );
    }
}

#[test]
fn keys_sign_with_every_algorithm_that_goes_with_them() {
    let scene = Scene::new();
    for (made, with) in [
        ("ed25519-ph", None),
        ("ecdsa-sha2-512-nistp521", None),
        ("rsa-sign-pss-2048-sha256", Some("rsa-sign-pss-2048-sha256")),
        ("rsa-sign-pss-2048-sha256", None),
        (
            "rsa-sign-pkcs1-3072-sha256",
            Some("rsa-sign-pss-3072-sha256"),
        ),
    ] {
        let password = [("COSIGN_PASSWORD", "")];
        let prefix = format!("k-{made}-{}", with.unwrap_or("own"));
        scene
            .with(
                &password,
                &format!(
                    "generate-key-pair --output-key-prefix {prefix} --signing-algorithm {made}"
                ),
            )
            .accepted();
        let algorithm = with.map_or(String::new(), |name| format!("--signing-algorithm {name}"));
        scene
            .with(&password, &format!("sign-blob --key {prefix}.key --tlog-upload=false {algorithm} --bundle {prefix}.json a"))
            .accepted();
        let verify =
            format!("verify-blob --insecure-ignore-tlog --key {prefix}.pub --bundle {prefix}.json");
        scene.run(&format!("{verify} a")).accepted();
        assert_ne!(scene.run(&format!("{verify} b")).code, Some(0));
    }
    scene
        .run("sign-blob --key key.pem --tlog-upload=false --signing-algorithm ed25519-ph a")
        .refused("does not sign with ed25519-ph");
    scene
        .run("sign-blob --signing-algorithm rsa-sign-pss-2048-sha256 a")
        .refused("no log takes signatures of algorithm rsa-sign-pss-2048-sha256");
    scene
        .run("sign-blob --key key.pem --signing-algorithm ecdsa-sha2-256-nistp384 a")
        .refused("does not sign with");
}

#[test]
fn a_secret_that_is_mounted_is_a_key() {
    let scene = Scene::new();
    for (name, of) in [("cosign.key", "key.pem"), ("cosign.pub", "key.pub")] {
        let text = std::fs::read_to_string(scene.path(of)).unwrap();
        scene.write(&format!("secrets/ci/release/{name}"), &text);
    }
    let key = scene.path("secrets/ci/release/cosign.key");
    let folder = scene.path("secrets").display().to_string();
    let mounted = [("COSIGN_K8S_SECRETS_DIR", folder.as_str())];
    let sign = "sign-blob --key k8s://ci/release --tlog-upload=false a";
    scene.with(&mounted, sign).refused("others may read it");
    std::fs::set_permissions(key, std::fs::Permissions::from_mode(0o400)).unwrap();
    scene.with(&mounted, sign).accepted();
    scene
        .with(
            &mounted,
            "verify-blob --insecure-ignore-tlog --key k8s://ci/release --bundle a.sigstore.json a",
        )
        .accepted();
    scene
        .with(&mounted, "public-key --key k8s://ci/other")
        .refused("nothing is mounted at");
    scene
        .with(&mounted, "public-key --key k8s://../release")
        .refused("names no Secret");
}

const MODULES: [&str; 3] = [
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
];

/// Without SoftHSM this test is skipped, which the test command reports by name.
#[test]
fn a_key_in_a_token_is_found_and_signs_by_the_uri_that_is_listed() {
    let module = MODULES.iter().find(|module| Path::new(module).is_file());
    let Some(module) = module else { return };
    let scene = Scene::new();
    std::fs::create_dir(scene.path("tokens")).unwrap();
    let settings = scene.path("softhsm2.conf").display().to_string();
    scene.write(
        "softhsm2.conf",
        &format!(
            "directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n",
            scene.path("tokens").display()
        ),
    );
    for words in [
        "--init-token --free --label release --pin 1234 --so-pin 5678".to_owned(),
        format!(
            "--import {} --token release --pin 1234 --label signing --id 0a",
            scene.path("key.pem").display()
        ),
    ] {
        let done = Command::new("softhsm2-util")
            .args(words.split_whitespace())
            .env("SOFTHSM2_CONF", &settings)
            .output()
            .unwrap();
        assert!(
            done.status.success(),
            "{words}: {}",
            String::from_utf8_lossy(&done.stderr)
        );
    }
    let variables = [
        ("SOFTHSM2_CONF", settings.as_str()),
        ("COSIGN_PKCS11_MODULE_PATH", module),
        ("COSIGN_PKCS11_PIN", "1234"),
    ];
    let tokens = scene.with(&variables, "pkcs11-tool list-tokens").accepted();
    assert!(tokens.out.contains("\tLabel: release\n"), "{}", tokens.out);
    let keys = scene
        .with(&variables, "pkcs11-tool list-keys-uris")
        .accepted();
    let uri = keys
        .out
        .lines()
        .find_map(|line| line.strip_prefix("\tURI: "));
    let uri = uri.unwrap_or_else(|| panic!("{}", keys.out));
    assert!(!uri.contains("1234"), "{uri}");
    scene
        .with(
            &variables,
            &format!("sign-blob --key {uri} --tlog-upload=false a"),
        )
        .accepted();
    scene.verify("a.sigstore.json", "a");
    scene
        .run("pkcs11-tool list-tokens --module-path /none.so")
        .refused("loading the module");
}

fn token(claims: &str) -> String {
    let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
    format!(
        "{}.{}.{}",
        part(r#"{"alg":"ES256"}"#),
        part(claims),
        part("x")
    )
}

#[test]
fn what_a_private_project_signs_is_published_only_when_somebody_agreed() {
    let scene = Scene::new();
    let private = token(
        r#"{"iss":"https://token.actions.githubusercontent.com","sub":"repo:octo/secret:ref:refs/heads/main","exp":1,"repository":"octo/secret","repository_visibility":"private","sha":"abc"}"#,
    );
    let sign = |variables: &[(&str, &str)], rest: &str| {
        let mut all = vec![("SIGSTORE_ID_TOKEN", private.as_str())];
        all.extend(variables);
        scene.with(&all, &format!("sign-blob --offline {rest} a"))
    };
    let said = sign(&[], "").refused("nobody is there to agree");
    for shown in [
        "repository: octo/secret",
        "sha: abc",
        "project octo/secret",
        "rekor.sigstore.dev",
    ] {
        assert!(said.err.contains(shown), "{shown}: {}", said.err);
    }
    // Who agreed is told only that the token is too old.
    sign(&[], "--yes").refused("expired");
    sign(&[("COSIGN_YES", "true")], "").refused("expired");
    sign(&[("COSIGN_PUBLIC_LOG_CONSENT", "project octo/secret")], "").refused("expired");
    sign(&[("COSIGN_PUBLIC_LOG_CONSENT", "project octo/sec")], "").refused("nobody is there");
    scene.write(
        ".config/cosign-rs/public-log-consent",
        "# ours\nproject octo\n",
    );
    sign(&[], "").refused("expired");
    let public = private_to_public(&private);
    scene
        .with(
            &[
                ("SIGSTORE_ID_TOKEN", public.as_str()),
                ("HOME", "/nonexistent"),
            ],
            "sign-blob --offline a",
        )
        .refused("expired");
}

fn private_to_public(token: &str) -> String {
    let parts: Vec<&str> = token.split('.').collect();
    let claims = String::from_utf8(URL_SAFE_NO_PAD.decode(parts[1]).unwrap()).unwrap();
    self::token(&claims.replace("private", "public"))
}

#[test]
fn where_a_token_comes_from_can_be_said() {
    let scene = Scene::new();
    let sign = |rest: &str| scene.run(&format!("sign-blob --offline --yes {rest} a"));
    sign("--oidc-provider goggle").refused("no surroundings are called goggle");
    sign("--oidc-provider spiffe").refused("nothing of it is here");
    sign("--fulcio-auth-flow token").refused("forbids to sign in");
    sign("--fulcio-auth-flow client_credentials").refused("--oidc-client-secret-file");
    let listed = scene
        .with(&[("SIGSTORE_ID_TOKEN", "x")], "debug providers")
        .accepted();
    assert!(
        listed
            .out
            .contains("envvar                    here, and the one that is asked\n"),
        "{}",
        listed.out
    );
    assert!(
        listed
            .out
            .contains("github-actions            not here: give the job"),
        "{}",
        listed.out
    );
}

#[test]
fn the_environment_is_shown_without_its_secrets() {
    let scene = Scene::new();
    let said = scene
        .with(
            &[
                ("COSIGN_PASSWORD", "s3cret"),
                ("COSIGN_OIDC_CLIENT_ID", "me"),
            ],
            "env",
        )
        .accepted();
    assert!(!said.out.contains("s3cret"), "{}", said.out);
    assert!(
        said.out.contains("COSIGN_OIDC_CLIENT_ID=\"me\"\n"),
        "{}",
        said.out
    );
}

#[test]
fn the_doctor_says_what_is_wrong_and_what_to_do() {
    let scene = Scene::new();
    let said = scene.run("doctor --offline -o json --identity-token nonsense");
    assert_eq!(said.code, Some(1), "{}", said.err);
    let findings: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(findings["healthy"], false);
    let checks = findings["checks"].as_array().unwrap();
    let check = |name: &str| checks.iter().find(|check| check["name"] == name).unwrap();
    assert_eq!(check("trusted root, transparency log")["state"], "ok");
    assert_eq!(check("services")["state"], "skipped");
    assert_eq!(check("identity token")["state"], "failed");
    assert!(check("identity token")["remedy"].is_string());
    scene.run("doctor --offline").accepted();
}

fn conformance(name: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../testdata/sigstore-conformance/bundle-verify");
    root.join(name).display().to_string()
}

#[test]
fn a_bundle_shows_itself_and_becomes_a_newer_one() {
    let scene = Scene::new();
    let old = conformance("happy-path-v0.2/bundle.sigstore.json");
    let text = scene.run(&format!("bundle inspect {old}")).accepted();
    for shown in [
        "- version: 0.2\n",
        "- logEntries: 1\n",
        "kind: message-signature\n",
        "checkpointOf: rekor.sigstore.dev",
    ] {
        assert!(text.out.contains(shown), "{shown}: {}", text.out);
    }
    assert!(
        text.err.contains("nothing of it was verified"),
        "{}",
        text.err
    );
    let json = scene
        .run(&format!("bundle inspect -o json {old}"))
        .accepted();
    let shown: Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(shown["logEntries"][0]["kind"], "hashedrekord 0.0.1");
    assert!(shown["certificate"]["names"][0].is_string());
    // It has its proof, and so no log is asked: the address leads nowhere.
    scene
        .run(&format!(
            "bundle upgrade --rekor-url http://localhost:1 --out new.json {old}"
        ))
        .accepted();
    let new: Value =
        serde_json::from_slice(&std::fs::read(scene.path("new.json")).unwrap()).unwrap();
    assert_eq!(
        new["mediaType"],
        "application/vnd.dev.sigstore.bundle.v0.3+json"
    );
    let verify = |bundle: &str| {
        scene
            .run(&format!(
                "verify-bundle --offline --bundle {bundle} --certificate-identity https://github.com/sigstore-conformance/extremely-dangerous-public-oidc-beacon/.github/workflows/extremely-dangerous-oidc-beacon.yml@refs/heads/main --certificate-oidc-issuer https://token.actions.githubusercontent.com {}",
                conformance("a.txt")
            ))
            .accepted();
    };
    verify(&old);
    verify("new.json");
    let said = scene.run("bundle inspect a").refused("the bundle a");
    assert_eq!(said.code, Some(2));
}

/// It is in a log already, as far as the program knows.
#[test]
fn a_bundle_that_cannot_be_written_is_kept_elsewhere() {
    if !Path::new("/dev/full").exists() {
        return;
    }
    let scene = Scene::new();
    let said = scene.run(&format!("{KEYED} --bundle /dev/full a"));
    let said = said.refused("its bundle is kept in ./cosign-rs-");
    assert!(said.err.contains("writing /dev/full"), "{}", said.err);
    let files = std::fs::read_dir(scene.path(".")).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    let kept: Vec<String> = names
        .filter(|name| name.starts_with("cosign-rs-"))
        .collect();
    let [kept] = kept.as_slice() else {
        panic!("{kept:?}")
    };
    scene.verify(kept, "a");
}

#[test]
fn what_somebody_else_signed_is_not_replaced_where_only_missing_ones_are_made() {
    let scene = Scene::new();
    let other = Signer::generate(Algorithm::EcdsaP256Sha256).unwrap();
    scene.write("other.pem", &other.to_pkcs8_pem().unwrap());
    let owner = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(scene.path("other.pem"), owner).unwrap();
    scene
        .run("sign-blob --key other.pem --tlog-upload=false b")
        .accepted();
    let theirs = std::fs::read(scene.path("b.sigstore.json")).unwrap();
    let words = format!("{KEYED} --if-missing a b c");
    scene.run(&words).refused("b.sigstore.json is a bundle by");
    assert_eq!(
        std::fs::read(scene.path("b.sigstore.json")).unwrap(),
        theirs
    );
    // Nothing was signed before that was known.
    assert!(!scene.path("a.sigstore.json").exists());
    scene.write("b.sigstore.json", "my notes");
    scene
        .run(&words)
        .refused("b.sigstore.json is there, and is no bundle");
    scene.write("b.sigstore.json", "");
    let said = scene.run(&words).accepted();
    assert!(said.err.contains("3 signed, 0 were before"), "{}", said.err);
    let said = scene.run(&words).accepted();
    assert!(said.err.contains("0 signed, 3 were before"), "{}", said.err);
}

/// The address of the certificate authority leads nowhere, and nobody has a token: who has nothing to sign meets neither.
#[test]
fn nobody_signs_in_to_be_told_that_nothing_is_missing() {
    let scene = Scene::new();
    let sigstore = testkit::Sigstore::default();
    scene.write("root.json", &sigstore.root().to_json().unwrap());
    let service = |version: u32| {
        serde_json::json!([{ "url": "http://localhost:1", "majorApiVersion": version,
            "validFor": { "start": "2021-01-01T00:00:00Z" }, "operator": "o" }])
    };
    let config = serde_json::json!({
        "mediaType": "application/vnd.dev.sigstore.signingconfig.v0.2+json",
        "caUrls": service(1), "oidcUrls": service(1), "tsaUrls": service(1), "rekorTlogUrls": service(2),
        "rekorTlogConfig": { "selector": "ANY" }, "tsaConfig": { "selector": "ANY" },
    });
    scene.write("config.json", &config.to_string());
    let sign = |variables: &[(&str, &str)], files: &str| {
        let words = "sign-blob --trusted-root root.json --signing-config config.json --if-missing";
        scene.with(variables, &format!("{words} {files}"))
    };
    for file in ["a", "b"] {
        let text = std::fs::read(scene.path(file)).unwrap();
        let json = sigstore.sign(&text).bundle.to_json().unwrap();
        scene.write(
            &format!("{file}.sigstore.json"),
            std::str::from_utf8(&json).unwrap(),
        );
    }
    let said = sign(&[], "a b").accepted();
    let who = "a is signed already, by alice@example.org";
    assert!(said.err.contains(who), "{}", said.err);
    sign(&[], "a b c").refused("no identity token");
    // Whose token it is follows from it.
    let token_of = |email: &str| {
        token(&format!(
            r#"{{"iss":"https://issuer.example.org","email":"{email}","email_verified":true}}"#
        ))
    };
    let alice = token_of("alice@example.org");
    sign(&[("SIGSTORE_ID_TOKEN", &alice)], "a b").accepted();
    let bob = token_of("bob@example.org");
    sign(&[("SIGSTORE_ID_TOKEN", &bob)], "a b").refused("no certificate from http://localhost:1");
}

#[test]
fn flags_that_would_not_be_obeyed_are_refused() {
    let scene = Scene::new();
    let issuer = r#"{"iss":"https://i","sub":"s","aud":"sigstore"}"#;
    scene.write("token", &token(issuer));
    for (flags, why) in [
        (
            "--identity-token token --fulcio-auth-flow device",
            "--fulcio-auth-flow beside --identity-token",
        ),
        (
            "--oidc-provider spiffe --fulcio-auth-flow normal",
            "--fulcio-auth-flow beside --oidc-provider",
        ),
        (
            "--identity-token token --oidc-redirect-url http://localhost:1/cb",
            "--oidc-redirect-url beside --identity-token",
        ),
        (
            "--fulcio-auth-flow device --oidc-redirect-url http://localhost:1/cb",
            "sends no browser back",
        ),
        (
            "--identity-token token --oidc-client-secret-file key.pem",
            "--oidc-client-secret-file beside",
        ),
        (
            "--identity-token token --oidc-audience other",
            "not made for --oidc-audience other",
        ),
        (
            "--identity-token token --oidc-issuer https://other",
            "the identity token is of https://i",
        ),
        (
            "--key key.pem --fulcio-auth-flow device",
            "cannot be used with",
        ),
        ("--key key.pem --oidc-audience x", "cannot be used with"),
    ] {
        let said = scene.run(&format!("sign-blob --offline --yes {flags} a"));
        said.refused(why);
    }
}

/// Whoever types nothing keeps nobody waiting for longer than was said.
#[test]
fn the_time_is_over_also_while_a_person_is_waited_for() {
    let scene = Scene::new();
    for words in [
        "login --username me --password-stdin --timeout 1s localhost:1".to_owned(),
        format!("{KEYED} --timeout 1s --bundle out.json -"),
    ] {
        let mut program = scene.program();
        let mut child = program
            .args(words.split_whitespace())
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // It stays open until the program has ended.
        let typed = child.stdin.take();
        let output = child.wait_with_output().unwrap();
        drop(typed);
        let err = String::from_utf8_lossy(&output.stderr);
        assert!(err.contains("not done after 1 s"), "{words}: {err}");
    }
}

/// A server that counts who comes, and tells everybody the same.
fn counting(answer: &'static str) -> (u16, std::sync::Arc<std::sync::atomic::AtomicUsize>) {
    use std::io::{Read as _, Write as _};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let count = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let seen = std::sync::Arc::clone(&count);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            seen.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            let mut stream = stream.unwrap();
            let mut request = [0; 4096];
            let _read = stream.read(&mut request);
            let _gone = stream.write_all(answer.as_bytes());
        }
    });
    (port, count)
}

#[test]
fn the_metadata_server_is_asked_by_no_proxy() {
    use std::sync::atomic::Ordering;
    let scene = Scene::new();
    let mark = "HTTP/1.1 200 OK\r\nmetadata-flavor: Google\r\nconnection: close\r\ncontent-length: 5\r\n\r\na.b.c";
    let (server, asked) = counting(mark);
    let (proxy, misled) = counting(mark);
    // An address of this machine that does not look like one.
    let host = format!("0.0.0.0:{server}");
    let by = format!("http://127.0.0.1:{proxy}");
    let variables = [
        ("GCE_METADATA_HOST", host.as_str()),
        ("HTTP_PROXY", &by),
        ("http_proxy", &by),
        ("ALL_PROXY", &by),
    ];
    let said = scene.with(&variables, "sign-blob --verbose --offline --yes a");
    let said = said.refused("the token of Google");
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    assert_eq!(misled.load(Ordering::SeqCst), 0);
    // Libraries say nothing.
    assert!(
        !said.err.contains("hyper") && !said.err.contains("reqwest"),
        "{}",
        said.err
    );
}

#[test]
fn a_doctor_who_is_to_stay_inside_calls_nobody() {
    use std::sync::atomic::Ordering;
    let scene = Scene::new();
    let (port, count) =
        counting("HTTP/1.1 404 Not Found\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
    let url = format!("http://127.0.0.1:{port}/?x=1");
    let variables = [
        ("ACTIONS_ID_TOKEN_REQUEST_URL", url.as_str()),
        ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "job"),
    ];
    let words = format!("doctor -o json --image 127.0.0.1:{port}/a/b");
    let said = scene
        .with(&variables, &format!("{words} --offline"))
        .accepted();
    let findings: Value = serde_json::from_str(&said.out).unwrap();
    for check in findings["checks"].as_array().unwrap() {
        let name = check["name"].as_str().unwrap();
        let outside =
            ["services", "identity token"].contains(&name) || name.starts_with("registry");
        assert_eq!(check["state"] == "skipped", outside, "{check}");
    }
    assert_eq!(count.load(Ordering::SeqCst), 0);
}
