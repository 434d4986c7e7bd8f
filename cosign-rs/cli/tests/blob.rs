//! The program as scripts see it: exit codes, what goes to which stream, and the reason of each refusal.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic in a test is its failure report"
)]

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use keys::{Digest, HashAlgorithm};
use serde_json::Value;
use tempfile::TempDir;
use testkit::{Sigstore, statement};

const FILE: &[u8] = b"a file that somebody signed\n";

struct Scene {
    folder: TempDir,
}

struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Scene {
    /// A signed file, a statement about it, and the trusted root of the Sigstore that was used.
    fn new() -> Self {
        let scene = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        let sigstore = Sigstore::default();
        scene.write("root.json", sigstore.root().to_json().unwrap().as_bytes());
        scene.write("file", FILE);
        scene.write("other", b"another file\n");
        let signed = sigstore.sign(FILE);
        scene.write("signed.json", &signed.bundle.to_json().unwrap());
        scene.write("key.pem", signed.signer.public_key().to_pem().as_bytes());
        let digest = Digest::of(HashAlgorithm::Sha256, FILE);
        let attested = sigstore.attest(&statement(&digest));
        scene.write("attested.json", &attested.bundle.to_json().unwrap());
        let other = Sigstore::default();
        scene.write(
            "other-root.json",
            other.root().to_json().unwrap().as_bytes(),
        );
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.path(name), bytes).unwrap();
    }

    /// Runs a command in the scene's folder. Flags that are given later win over none: each case writes all it needs.
    fn run(&self, arguments: &[&str]) -> Said {
        self.run_with(arguments, &[], b"")
    }

    fn run_with(&self, arguments: &[&str], variables: &[(&str, &str)], input: &[u8]) -> Said {
        let mut child = program(self.folder.path())
            .args(arguments)
            .envs(variables.iter().copied())
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        // A program that does not read its input closes it.
        let _closed = child.stdin.take().unwrap().write_all(input);
        let output = child.wait_with_output().unwrap();
        Said {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// Without anything of this machine's.
fn program(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cosign-rs"));
    command
        .current_dir(folder)
        .env_clear()
        .env("HOME", folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

impl Said {
    fn accepted(self) -> Self {
        assert_eq!(self.code, Some(0), "{}{}", self.out, self.err);
        self
    }

    /// Another exit code than 0, nothing on standard output, and this in the reason. Which code stands in `verdicts.rs`.
    fn refused(self, reason: &str) -> Self {
        assert!(
            self.code.is_some_and(|code| code > 0),
            "{}{}",
            self.out,
            self.err
        );
        assert!(self.err.contains("error: "), "{}", self.err);
        assert!(self.err.contains(reason), "expected {reason}: {}", self.err);
        assert_eq!(self.out, "");
        self
    }
}

const ALICE: [&str; 4] = [
    "--certificate-identity",
    Sigstore::SUBJECT,
    "--certificate-oidc-issuer",
    Sigstore::ISSUER,
];

fn verify<'a>(bundle: &'a str, rest: &[&'a str]) -> Vec<&'a str> {
    let mut arguments = vec![
        "verify-blob",
        "--bundle",
        bundle,
        "--trusted-root",
        "root.json",
    ];
    arguments.extend(rest);
    arguments
}

fn by_alice<'a>(bundle: &'a str, rest: &[&'a str]) -> Vec<&'a str> {
    let mut arguments = verify(bundle, &ALICE);
    arguments.extend(rest);
    arguments
}

#[test]
fn a_signed_file_is_verified_by_path_by_digest_and_from_standard_input() {
    let scene = Scene::new();
    let said = scene.run(&by_alice("signed.json", &["file"])).accepted();
    assert!(
        said.err
            .starts_with("Verified OK\n  signed by alice@example.org"),
        "{}",
        said.err
    );
    assert_eq!(said.out, "", "talk goes to standard error");
    let digest = Digest::of(HashAlgorithm::Sha256, FILE).to_string();
    scene.run(&by_alice("signed.json", &[&digest])).accepted();
    scene
        .run_with(&by_alice("signed.json", &["-"]), &[], FILE)
        .accepted();
    scene
        .run(&verify("signed.json", &["--key", "key.pem", "file"]))
        .accepted();
    scene
        .run_with(
            &verify("signed.json", &["file"]),
            &[
                ("COSIGN_CERTIFICATE_IDENTITY", Sigstore::SUBJECT),
                ("COSIGN_CERTIFICATE_OIDC_ISSUER", Sigstore::ISSUER),
            ],
            b"",
        )
        .accepted();
}

#[test]
fn a_flag_that_would_not_be_obeyed_is_refused() {
    let scene = Scene::new();
    for flags in [
        &["--platform", "linux/amd64"][..],
        &["--all-platforms"],
        &["--recursive"],
        &["--local-image"],
        &["--annotations", "a=b"],
    ] {
        let questions = ["verify", "--stdin", "--trusted-root", "root.json"];
        let said = scene.run(&[&questions[..], &ALICE, flags].concat());
        assert_eq!(said.code, Some(2), "{}", said.err);
        let flag = flags[0].split('=').next().unwrap();
        said.refused(&format!("{flag} with --stdin"));
    }
    let kit = ["kit", "create", "--to", "a.kit", "--tag-trust=acme"];
    let blob = ["--blob", "file", "--bundle", "signed.json"];
    let said = scene.run(&[&kit[..], &blob, &ALICE].concat());
    assert_eq!(said.code, Some(2), "{}", said.err);
    said.refused("--tag-trust with --blob");
    let said = scene.run(&by_alice("signed.json", &["--policy", "", "file"]));
    assert_eq!(said.code, Some(2), "{}", said.err);
    let said = scene.run(&by_alice("signed.json", &["--policy=", "file"]));
    assert_eq!(said.code, Some(2), "{}", said.err);
}

#[test]
fn a_bundle_that_the_policy_did_not_count_is_not_told_of_as_verified() {
    let scene = Scene::new();
    let policy = serde_json::json!({
        "certificateIdentities": { "identities": [
            { "issuer": Sigstore::ISSUER, "san": { "value": Sigstore::SUBJECT } },
        ] },
    });
    scene.write("policy.json", policy.to_string().as_bytes());
    let flags = [
        "--bundle",
        "attested.json",
        "--policy",
        "policy.json",
        "--output",
        "json",
        "file",
    ];
    let said = scene.run(&by_alice("signed.json", &flags)).accepted();
    let result: Value = serde_json::from_str(&said.out).unwrap();
    assert!(result.get("further").is_none(), "{result}");
    assert_eq!(result["policy"]["considered"].as_array().unwrap().len(), 2);
}

#[test]
fn for_programs_the_result_is_one_line_of_json() {
    let scene = Scene::new();
    let said = scene
        .run(&by_alice("signed.json", &["--output", "json", "file"]))
        .accepted();
    let result: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(result["identity"]["subject"], Sigstore::SUBJECT);
    assert_eq!(result["identity"]["subjectKind"], "email");
    assert_eq!(result["identity"]["issuer"], Sigstore::ISSUER);
    assert_eq!(
        result["digest"],
        Digest::of(HashAlgorithm::Sha256, FILE).to_string()
    );
    assert_eq!(result["times"][0]["time"], "2026-06-01T13:00:00Z");
    assert_eq!(result["times"][0]["kind"], "timestamp");
    assert_eq!(result["logEntries"][0]["inclusionProven"], true);
    assert_eq!(result["logEntries"][0]["kind"], "hashedrekord");
    assert_eq!(said.out.lines().count(), 1);
}

#[test]
fn each_refusal_states_its_reason() {
    let scene = Scene::new();
    scene.write("garbage.json", b"{");
    let mut changed = std::fs::read_to_string(scene.path("signed.json")).unwrap();
    let at = changed.find("\"signedTimestamp\":\"").unwrap() + 200;
    changed.replace_range(at..=at, if &changed[at..=at] == "A" { "B" } else { "A" });
    scene.write("changed.json", changed.as_bytes());
    let huge = vec![b' '; (16 << 20) + 1];
    scene.write("huge.json", &huge);
    let other_key = signer::Signer::generate(keys::Algorithm::EcdsaP256Sha256).unwrap();
    scene.write("other.pem", other_key.public_key().to_pem().as_bytes());

    for (arguments, reason) in [
        (
            by_alice("signed.json", &["other"]),
            "reason: digest-mismatch",
        ),
        (by_alice("changed.json", &["file"]), "reason: bad-timestamp"),
        (by_alice("garbage.json", &["file"]), "not a Sigstore bundle"),
        (by_alice("huge.json", &["file"]), "is larger than"),
        (by_alice("missing.json", &["file"]), "reading missing.json"),
        (
            by_alice("signed.json", &["no-file"]),
            "there is no file no-file",
        ),
        (
            by_alice("attested.json", &["file"]),
            "verify-blob-attestation",
        ),
        (verify("signed.json", &["file"]), "nobody is named"),
        (
            verify("signed.json", &["--key", "other.pem", "file"]),
            "reason: wrong-key",
        ),
        (
            verify("signed.json", &["--key", "file", "file"]),
            "the public key file",
        ),
        (
            verify(
                "signed.json",
                &[
                    "--certificate-identity",
                    "bob@example.org",
                    "--certificate-oidc-issuer",
                    Sigstore::ISSUER,
                    "file",
                ],
            ),
            "reason: wrong-identity",
        ),
        (
            verify(
                "signed.json",
                &[
                    "--certificate-identity",
                    Sigstore::SUBJECT,
                    "--certificate-oidc-issuer",
                    "https://other.example",
                    "file",
                ],
            ),
            "reason: wrong-issuer",
        ),
        (
            verify(
                "signed.json",
                &[
                    "--certificate-identity-regexp",
                    "alice",
                    "--certificate-oidc-issuer-regexp",
                    ".*",
                    "file",
                ],
            ),
            "reason: wrong-identity",
        ),
        (
            by_alice(
                "signed.json",
                &[
                    "--certificate-github-workflow-ref",
                    "refs/heads/main",
                    "file",
                ],
            ),
            "reason: wrong-extension",
        ),
        (
            by_alice("signed.json", &["--insecure-ignore-tlog", "file"]),
            "cannot be left out",
        ),
    ] {
        scene.run(&arguments).refused(reason);
    }
    let mut other_root = vec![
        "verify-blob",
        "--bundle",
        "signed.json",
        "--trusted-root",
        "other-root.json",
        "file",
    ];
    other_root.extend(ALICE);
    scene.run(&other_root).refused("hint: ");
    other_root.drain(3..5);
    other_root.push("--offline");
    // The built-in root knows nothing of this log either, and says which one it is.
    let said = scene.run(&other_root).refused("reason: no-log-entry");
    assert!(
        said.err
            .contains("public-good: nothing is cached, and nobody was asked (--offline)"),
        "{}",
        said.err
    );
}

#[test]
fn a_statement_is_verified_with_its_type() {
    let scene = Scene::new();
    let attestation = |rest: &[&'static str]| {
        let mut arguments = vec![
            "verify-blob-attestation",
            "--trusted-root",
            "root.json",
            "--bundle",
        ];
        arguments.extend(rest);
        arguments.extend(ALICE);
        scene.run(&arguments)
    };
    let said = attestation(&["attested.json", "file", "--output", "json"]).accepted();
    let result: Value = serde_json::from_str(&said.out).unwrap();
    let kind = result["predicateType"].as_str().unwrap().to_owned();
    let kind: &'static str = kind.leak();
    attestation(&["attested.json", "file", "--type", kind]).accepted();
    attestation(&["attested.json", "file", "--type", "spdx"]).refused("https://spdx.dev/Document");
    attestation(&["attested.json", "file", "--type", "nonsense"]).refused("no predicate type");
    attestation(&["attested.json", "other"]).refused("reason: wrong-subject");
    attestation(&["signed.json", "file"]).refused("verify it with verify-blob");
}

/// A CPython release that the public Sigstore recorded, by its digest, with the root that is built in.
#[test]
fn a_signature_of_the_public_sigstore_verifies_with_the_built_in_root() {
    let scene = Scene::new();
    let releases =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/cpython/releases.jsonl.gz");
    let mut text = String::new();
    flate2::read::GzDecoder::new(std::fs::File::open(releases).unwrap())
        .read_to_string(&mut text)
        .unwrap();
    let release: Value = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .find(|release: &Value| {
            release["url"] == "https://www.python.org/ftp/python/3.14.0/Python-3.14.0.tgz"
        })
        .expect("a release of CPython 3.14.0");
    scene.write("python.json", release["bundle"].to_string().as_bytes());
    let digest = format!("sha256:{}", release["sha256"].as_str().unwrap());
    scene
        .run(&[
            "verify-blob",
            "--bundle",
            "python.json",
            "--certificate-identity",
            release["identity"].as_str().unwrap(),
            "--certificate-oidc-issuer",
            release["issuer"].as_str().unwrap(),
            &digest,
            "--offline",
        ])
        .accepted();
}

#[test]
fn signing_needs_services_an_identity_and_somebody_who_agrees() {
    let scene = Scene::new();
    let sign = |rest: &[&str], variables: &[(&str, &str)]| {
        let mut arguments = vec!["sign-blob", "--bundle", "out.json"];
        arguments.extend(rest);
        scene.run_with(&arguments, variables, b"")
    };
    // The public-good instance is what people mean who name none; without a token nobody is asked anything.
    let public =
        sign(&["--offline", "file"], &[]).refused("no terminal at which somebody could sign in");
    assert!(
        public.err.contains(
            "signing with the public-good instance: your identity goes into its public logs"
        ),
        "{}",
        public.err
    );
    let said = sign(&["--trusted-root", "root.json", "file"], &[])
        .refused("a trusted root without a signing config");
    assert_eq!(said.code, Some(2));
    let config = r#"{"mediaType": "application/vnd.dev.sigstore.signingconfig.v0.2+json"}"#;
    scene.write("empty.json", config.as_bytes());
    let empty = [
        "--signing-config",
        "empty.json",
        "--trusted-root",
        "root.json",
        "file",
    ];
    let said = sign(&["--signing-config", "empty.json", "file"], &[])
        .refused("a signing config without a trusted root");
    assert_eq!(said.code, Some(2));
    let said = sign(&["."], &[]).refused(". is a directory");
    assert_eq!(said.code, Some(2));
    sign(&empty, &[]).refused("names 1 Fulcio service(s) to use and has 0");
    // Nobody listens at port 1, and nobody is asked: without a token there is nothing to say.
    let service = |path: &str, version: u8| {
        format!(
            r#"[{{"url": "http://localhost:1{path}", "majorApiVersion": {version}, "validFor": {{"start": "2020-01-01T00:00:00Z"}}, "operator": "o"}}]"#
        )
    };
    let config = format!(
        r#"{{"mediaType": "application/vnd.dev.sigstore.signingconfig.v0.2+json", "caUrls": {}, "oidcUrls": {}, "rekorTlogUrls": {}, "tsaUrls": {},
            "rekorTlogConfig": {{"selector": "ANY"}}, "tsaConfig": {{"selector": "ANY"}}}}"#,
        service("", 1),
        service("", 1),
        service("", 2),
        service("/api/v1/timestamp", 1)
    );
    scene.write("config.json", config.as_bytes());
    let config = [
        "--signing-config",
        "config.json",
        "--trusted-root",
        "root.json",
        "file",
    ];
    sign(&config, &[]).refused("no terminal at which somebody could sign in");
    // Nobody is asked to agree: an instance of one's own is nobody else's business.
    sign(&config, &[("BROWSER", "false")]).refused("signing in at http://localhost:1");
    sign(&["--offline", "file"], &[("BROWSER", "false")]).refused("agree with --yes");
    sign(&config, &[("SIGSTORE_ID_TOKEN", "no-token")]).refused("SIGSTORE_ID_TOKEN");
    let expired = "eyJhbGciOiJub25lIn0.eyJpc3MiOiJodHRwczovL2kiLCJzdWIiOiJzIiwiZXhwIjoxfQ.eA";
    let said = sign(&config, &[("SIGSTORE_ID_TOKEN", expired)]).refused("expired");
    assert!(!said.err.contains(expired), "a token is not printed");
    assert!(!scene.path("out.json").exists());
}

#[test]
fn the_program_explains_itself() {
    let scene = Scene::new();
    let version = scene.run(&["version"]).accepted();
    assert!(version.out.contains(env!("CARGO_PKG_VERSION")));
    let version: Value =
        serde_json::from_str(&scene.run(&["version", "--json"]).accepted().out).unwrap();
    assert_eq!(version["version"], env!("CARGO_PKG_VERSION"));
    for shell in ["bash", "zsh", "fish"] {
        let script = scene.run(&["completion", shell]).accepted().out;
        assert!(script.contains("verify-attestation"), "{shell}");
    }
    scene.run(&["man", "man"]).accepted();
    let page = std::fs::read_to_string(scene.path("man/cosign-rs-verify-blob.1")).unwrap();
    assert!(page.contains("certificate\\-identity"), "{page}");
    assert!(
        !scene.path("man/cosign-rs-verify-bundle.1").exists(),
        "hidden"
    );
    assert!(scene.run(&["--help"]).accepted().out.contains("  debug "));
    assert_eq!(scene.run(&["no-such-command"]).code, Some(2));
    // Not with what the guess would take.
    let old = scene.run(&["verify-blob", "--signature", "a", "--certificate", "b", "f"]);
    let old = old.refused("everything is in one bundle");
    assert!(!old.err.contains("--github-ref"), "{}", old.err);
    assert_eq!(scene.run(&[]).code, Some(2));
}

#[test]
fn variables_stand_for_flags_unless_they_are_empty() {
    let scene = Scene::new();
    let verified = scene.run_with(
        &["verify-blob", "--bundle", "signed.json", "file"],
        &[
            ("COSIGN_TRUSTED_ROOT", "root.json"),
            ("COSIGN_CERTIFICATE_IDENTITY", Sigstore::SUBJECT),
            ("COSIGN_CERTIFICATE_OIDC_ISSUER", Sigstore::ISSUER),
            ("COSIGN_CERTIFICATE_IDENTITY_REGEXP", ""),
            ("COSIGN_OFFLINE", "1"),
        ],
        b"",
    );
    verified.accepted();
    let wrong = scene.run_with(
        &by_alice("signed.json", &["file"]),
        &[("COSIGN_CERTIFICATE_IDENTITY_REGEXP", "x")],
        b"",
    );
    assert_eq!(wrong.code, Some(2));
    assert!(
        wrong
            .err
            .contains("these variables count as flags: COSIGN_CERTIFICATE_IDENTITY_REGEXP"),
        "{}",
        wrong.err
    );
}

#[test]
fn for_programs_a_refusal_is_one_line_of_json_too() {
    let scene = Scene::new();
    let refused = scene.run(&by_alice("signed.json", &["-o", "json", "other"]));
    assert_eq!(refused.code, Some(21));
    let json: Value = serde_json::from_str(&refused.out).unwrap();
    assert_eq!(json["step"], "signature");
    assert!(
        json["reason"].is_string() && json["hint"].is_string(),
        "{json}"
    );
    assert!(
        json["error"][0].as_str().unwrap().starts_with("other: "),
        "{json}"
    );
    let quiet = scene.run(&by_alice("signed.json", &["other"]));
    assert_eq!(quiet.out, "", "text goes to standard error");
}

#[test]
fn a_bundle_that_cannot_be_written_is_noticed_before_anybody_is_asked() {
    let scene = Scene::new();
    scene.write(
        "config.json",
        &std::fs::read(scene.path("root.json")).unwrap(),
    );
    for (bundle, reason) in [
        ("no/such/folder/b.json", "writing no/such/folder/b.json"),
        ("file", "would be overwritten"),
        (".", "is a folder"),
    ] {
        let said = scene.run(&[
            "sign-blob",
            "--offline",
            "--yes",
            "--bundle",
            bundle,
            "file",
        ]);
        assert_eq!(said.code, Some(1));
        assert!(said.err.contains(reason), "{bundle}: {}", said.err);
    }
    assert_eq!(std::fs::read(scene.path("file")).unwrap(), FILE);
}
