//! What verifying says to scripts: one case for each exit code, results that keep to their schema, policies, and the story of each step.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic in a test is its failure report"
)]

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use bundle::{Bundle, Content, Signer as Who};
use entry::Verifier;
use keys::{Algorithm, Digest, HashAlgorithm};
use pki::SubjectName;
use serde_json::{Value, json};
use signer::Signer;
use tempfile::TempDir;
use testkit::{Leaf, Minted, SctList, Sigstore, statement};

const FILE: &[u8] = b"a file that somebody signed\n";
const ALICE: [&str; 4] = [
    "--certificate-identity",
    Sigstore::SUBJECT,
    "--certificate-oidc-issuer",
    Sigstore::ISSUER,
];

struct Scene {
    folder: TempDir,
    sigstore: Sigstore,
}

struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Scene {
    fn new() -> Self {
        let scene = Self {
            folder: tempfile::tempdir().unwrap(),
            sigstore: Sigstore::default(),
        };
        let root = scene.sigstore.root().to_json().unwrap();
        scene.write("root.json", root.as_bytes());
        scene.write("file", FILE);
        scene.write("other", b"another file\n");
        let signed = scene.sigstore.sign(FILE);
        scene.bundle("signed.json", &signed.bundle);
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.path(name), bytes).unwrap();
    }

    fn bundle(&self, name: &str, bundle: &Bundle) {
        self.write(name, &bundle.to_json().unwrap());
    }

    /// The file, signed by somebody else of the same provider.
    fn signed_by(&self, name: &str) -> Minted {
        let signer = Signer::generate(Algorithm::EcdsaP256Sha256).unwrap();
        let subject = SubjectName::Email(format!("{name}@example.org"));
        let usual = self.sigstore.leaf(&signer);
        let leaf = Leaf::new(
            signer.public_key(),
            subject,
            Sigstore::ISSUER,
            usual.not_before,
        );
        let leaf = self.sigstore.issue(leaf);
        self.sigstore.sign_with(FILE, signer, leaf)
    }

    /// The file, signed with a key and no certificate.
    fn signed_with_a_key(&self) -> (Bundle, Signer) {
        let minted = self.sigstore.sign(FILE);
        let signer = Signer::generate(Algorithm::EcdsaP256Sha256).unwrap();
        let digest = Digest::of(HashAlgorithm::Sha256, FILE);
        let signature = signer.sign_local(FILE).unwrap();
        let key = signer.public_key().clone();
        let entry = self
            .sigstore
            .record(&digest, &signature, Verifier::Key(key));
        let bundle = Bundle {
            signer: Who::Key {
                hint: "hint".into(),
            },
            entries: vec![entry],
            timestamps: Vec::new(),
            content: Content::Message {
                signature,
                digest: Some(digest),
            },
            ..minted.bundle
        };
        (bundle, signer)
    }

    fn run(&self, arguments: &[&str]) -> Said {
        let output = Command::new(env!("CARGO_BIN_EXE_cosign-rs"))
            .args(arguments)
            .current_dir(self.folder.path())
            .env_clear()
            .env("HOME", self.folder.path())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        Said {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Verifies the file with this bundle.
    fn verify(&self, bundle: &str, file: &str, rest: &[&str]) -> Said {
        let mut arguments = vec![
            "verify-blob",
            "--trusted-root",
            "root.json",
            "--bundle",
            bundle,
            file,
        ];
        arguments.extend(rest);
        self.run(&arguments)
    }
}

fn with(one: &[&'static str], two: &[&'static str]) -> Vec<&'static str> {
    one.iter().chain(two).copied().collect()
}

#[test]
fn each_exit_code() {
    let scene = Scene::new();
    let good = scene.sigstore.sign(FILE).bundle;
    let changed = |name: &str, change: &dyn Fn(&mut Bundle)| {
        let mut bundle = good.clone();
        change(&mut bundle);
        scene.bundle(name, &bundle);
    };
    changed("no-time.json", &|bundle| bundle.timestamps.clear());
    changed("no-log.json", &|bundle| bundle.entries.clear());
    let signer = Signer::generate(Algorithm::EcdsaP256Sha256).unwrap();
    let unseen = scene
        .sigstore
        .ca
        .issue(scene.sigstore.leaf(&signer), SctList::None);
    let unseen = scene.sigstore.sign_with(FILE, signer, unseen);
    scene.bundle("no-sct.json", &unseen.bundle);
    scene.bundle("keyed.json", &scene.signed_with_a_key().0);
    scene.write("garbage.json", b"{");
    scene.write(
        "policy.json",
        &std::fs::read(
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/policies/two-of-three.json"),
        )
        .unwrap(),
    );
    scene.bundle("carol.json", &scene.signed_by("carol").bundle);
    let bob: Vec<&str> = [&ALICE[..1], &["bob@example.org"], &ALICE[2..]].concat();
    let nobody: &[&str] = &[];

    for (bundle, file, flags, code, outcome, reason) in [
        ("signed.json", "file", &ALICE[..], 0, "", ""),
        ("missing.json", "file", &ALICE, 1, "other", ""),
        ("signed.json", "file", nobody, 2, "usage", ""),
        (
            "signed.json",
            "file",
            &bob,
            12,
            "no-match",
            "wrong-identity",
        ),
        (
            "keyed.json",
            "file",
            &ALICE,
            13,
            "no-certificate",
            "no-certificate",
        ),
        (
            "signed.json",
            "file",
            &["--policy", "policy.json"],
            20,
            "policy",
            "too-few-signers",
        ),
        (
            "carol.json",
            "file",
            &["--policy", "policy.json"],
            20,
            "policy",
            "wrong-identity",
        ),
        (
            "signed.json",
            "other",
            &ALICE,
            21,
            "bad-signature",
            "digest-mismatch",
        ),
        (
            "garbage.json",
            "file",
            &ALICE,
            21,
            "bad-signature",
            "malformed-bundle",
        ),
        ("no-log.json", "file", &ALICE, 22, "log", "no-log-entry"),
        ("no-time.json", "file", &ALICE, 23, "time", "no-time"),
        ("no-sct.json", "file", &ALICE, 24, "certificate", "bad-sct"),
    ] {
        let said = scene.verify(bundle, file, &[flags, &["-o", "json"]].concat());
        assert_eq!(said.code, Some(code), "{bundle}: {}", said.err);
        let json: Value = serde_json::from_str(&said.out).unwrap();
        check_schema(&json);
        if code == 0 {
            assert_eq!(json["decision"], "accepted");
            continue;
        }
        assert_eq!(json["decision"], "refused");
        assert_eq!(json["exitCode"], code);
        assert_eq!(json["outcome"], outcome);
        assert_eq!(json["reason"].as_str().unwrap_or_default(), reason);
    }
    // Flags that nobody knows have nothing to say on standard output.
    for wrong in [
        &["no-such-command"][..],
        &["verify-blob", "--no-such-flag"],
        &[],
    ] {
        let said = scene.run(wrong);
        assert_eq!(said.code, Some(2), "{wrong:?}: {}", said.err);
    }
}

/// A registry that has one image and nothing attached to it.
fn registry() -> u16 {
    const MANIFEST: &str = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.empty.v1+json","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2},"layers":[]}"#;
    let index = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let request = lines.next().unwrap().unwrap_or_default();
            while lines
                .next()
                .is_some_and(|line| line.is_ok_and(|line| !line.is_empty()))
            {}
            let path = request.split(' ').nth(1).unwrap_or_default();
            let digest = Digest::of(HashAlgorithm::Sha256, MANIFEST.as_bytes()).to_string();
            let (status, kind, body) = if path.ends_with("/manifests/there")
                || path.ends_with(&digest) && path.contains("/manifests/")
            {
                (
                    "200 OK",
                    "application/vnd.oci.image.manifest.v1+json",
                    MANIFEST,
                )
            } else if path.contains("/referrers/") {
                ("200 OK", "application/vnd.oci.image.index.v1+json", index)
            } else {
                ("404 Not Found", "application/json", "{}")
            };
            let _gone = write!(
                stream,
                "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
        }
    });
    port
}

#[test]
fn a_registry_that_answers_no_is_not_one_that_does_not_answer() {
    let scene = Scene::new();
    let port = registry();
    let closed = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    for (image, code, outcome) in [
        (format!("127.0.0.1:{port}/app:there"), 10, "no-signature"),
        (format!("127.0.0.1:{port}/app:gone"), 11, "not-found"),
        (format!("127.0.0.1:{closed}/app:there"), 25, "transport"),
    ] {
        let arguments = [
            &[
                "verify",
                &image,
                "--trusted-root",
                "root.json",
                "-o",
                "json",
            ][..],
            &ALICE,
        ]
        .concat();
        let said = scene.run(&arguments);
        assert_eq!(said.code, Some(code), "{image}: {}", said.err);
        let json: Value = serde_json::from_str(&said.out).unwrap();
        check_schema(&json);
        assert_eq!(json["outcome"], outcome);
    }
}

fn check_schema(value: &Value) {
    let schema: Value = serde_json::from_str(include_str!("../schema/result.json")).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let errors: Vec<String> = validator
        .iter_errors(value)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{errors:?}\n{value:#}");
}

#[test]
fn a_result_has_all_that_was_found() {
    let scene = Scene::new();
    let said = scene.verify("signed.json", "file", &with(&ALICE, &["-o", "json"]));
    let result: Value = serde_json::from_str(&said.out).unwrap();
    check_schema(&result);
    assert_eq!(result["artifact"], "file");
    assert_eq!(result["identity"]["extensions"]["issuer"], Sigstore::ISSUER);
    assert_eq!(result["certificate"]["notBefore"], "2026-06-01T12:59:00Z");
    assert_eq!(
        result["certificate"]["authority"],
        "https://fulcio.example.org"
    );
    assert_eq!(
        result["certificate"]["ctLogs"][0]["log"],
        "https://ctlog.example.org"
    );
    assert_eq!(
        result["logEntries"][0]["checkpoint"]["origin"],
        "rekor.example.org"
    );
    assert_eq!(
        result["times"][0]["witness"],
        "https://tsa.example.org/api/v1/timestamp"
    );
    // The schema is not one that takes anything.
    let schema: Value = serde_json::from_str(&scene.run(&["schema", "result"]).out).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    for member in ["decision", "key", "times"] {
        let mut broken = result.clone();
        broken.as_object_mut().unwrap().remove(member);
        assert!(!validator.is_valid(&broken), "{member}");
    }
    let mut broken = result;
    broken["identity"]["nonsense"] = json!(1);
    assert!(!validator.is_valid(&broken));
}

/// A name may begin or end like another one's.
#[test]
fn one_of_many_is_the_nearest_miss() {
    let scene = Scene::new();
    let other = scene.sigstore.sign(b"another file\n");
    for name in ["1.json", "1.json.json"] {
        scene.bundle(name, &other.bundle);
    }
    scene.bundle("11.json", &scene.signed_by("mallory").bundle);
    let policy = json!({ "certificateIdentities": { "identities": [
        { "issuer": Sigstore::ISSUER, "san": { "value": Sigstore::SUBJECT } },
    ] } });
    scene.write("alice.json", policy.to_string().as_bytes());
    let said = scene.run(&[
        "verify-blob",
        "--trusted-root",
        "root.json",
        "--policy",
        "alice.json",
        "--explain",
        "-o",
        "json",
        "--bundle",
        "1.json",
        "--bundle",
        "11.json",
        "--bundle",
        "1.json.json",
        "file",
    ]);
    assert_eq!(said.code, Some(20), "{}", said.err);
    let result: Value = serde_json::from_str(&said.out).unwrap();
    let nearest: Vec<&str> = result["explain"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|story| story["nearestMiss"] == true)
        .map(|story| story["candidate"].as_str().unwrap())
        .collect();
    assert_eq!(nearest, ["11.json"]);
}

#[test]
fn each_step_is_told_to_whoever_asks() {
    let scene = Scene::new();
    let good = scene.verify(
        "signed.json",
        "file",
        &with(&ALICE, &["--explain", "-o", "json"]),
    );
    assert_eq!(good.code, Some(0), "{}", good.err);
    let result: Value = serde_json::from_str(&good.out).unwrap();
    check_schema(&result);
    assert_eq!(result["explain"][0]["holds"], true);
    assert!(
        good.err.contains("explain signed.json: holds"),
        "{}",
        good.err
    );
    assert!(good.err.contains("certificate  held"), "{}", good.err);

    let mallory = [
        "--certificate-identity",
        "mallory@example.org",
        "--certificate-oidc-issuer",
        Sigstore::ISSUER,
    ];
    let bad = scene.verify(
        "signed.json",
        "file",
        &with(&mallory, &["--explain", "-o", "json"]),
    );
    assert_eq!(bad.code, Some(12));
    let result: Value = serde_json::from_str(&bad.out).unwrap();
    check_schema(&result);
    let story = &result["explain"][0];
    assert_eq!(story["nearestMiss"], true);
    let outcomes: Vec<&str> = story["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| step["outcome"].as_str().unwrap())
        .collect();
    assert_eq!(
        outcomes,
        ["held", "held", "held", "held", "held", "refused"]
    );
    assert_eq!(story["steps"][5]["reason"], "wrong-identity");
    assert!(bad.err.contains("(the nearest miss)"), "{}", bad.err);
    assert!(
        bad.err.contains("claimed      subject: alice@example.org"),
        "{}",
        bad.err
    );
    let quiet = scene.verify("signed.json", "file", &ALICE);
    assert!(!quiet.err.contains("explain"), "{}", quiet.err);
}

#[test]
fn two_of_three_is_the_policy_of_the_documents() {
    let scene = Scene::new();
    let example =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/policies/two-of-three.json");
    let example = example.to_str().unwrap();
    scene.bundle("bob.json", &scene.signed_by("bob").bundle);
    scene.bundle("again.json", &scene.signed_by("alice").bundle);
    scene.bundle("mallory.json", &scene.signed_by("mallory").bundle);
    let judge = |second: &str, rest: &[&str]| {
        let flags = [
            &["--bundle", second, "--policy", example, "-o", "json"][..],
            rest,
        ]
        .concat();
        let said = scene.verify("signed.json", "file", &flags);
        let json: Value = serde_json::from_str(&said.out).unwrap();
        check_schema(&json);
        (said, json)
    };
    let (said, json) = judge("bob.json", &[]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert_eq!(json["policy"]["accepted"], true);
    assert_eq!(json["policy"]["signers"].as_array().unwrap().len(), 2);
    assert_eq!(json["further"][0]["identity"]["subject"], "bob@example.org");
    for second in ["again.json", "mallory.json"] {
        let (said, json) = judge(second, &[]);
        assert_eq!(said.code, Some(20), "{second}: {}", said.err);
        assert_eq!(json["reason"], "too-few-signers");
        assert_eq!(json["policy"]["accepted"], false);
    }
    // Flags and policy must both agree: of the two bundles only one is by whom the flags name.
    let (said, _) = judge("bob.json", &ALICE);
    assert_eq!(said.code, Some(20), "{}", said.err);
    let policy = scene.run(&["schema", "policy"]).out;
    let validator = jsonschema::validator_for(&serde_json::from_str(&policy).unwrap()).unwrap();
    let example: Value = serde_json::from_str(&std::fs::read_to_string(example).unwrap()).unwrap();
    assert!(validator.is_valid(&example));
    let mut unknown = example;
    unknown["unknown"] = json!(1);
    assert!(!validator.is_valid(&unknown));
}

#[test]
fn what_cannot_be_asked_is_refused_by_name() {
    let scene = Scene::new();
    scene.write("p.cue", b"x: 1");
    scene.write("p.rego", b"package signature");
    scene.write(
        "p.json",
        br#"{"certificateIdentities": {"identities": []}}"#,
    );
    for (flags, expected) in [
        (&["--policy", "p.cue"][..], "CUE is not supported"),
        (&["--policy", "p.rego"], "verify-attestation takes it"),
        (&["--policy", "p.json"], "has 0 items"),
        (
            &["--policy", "p.json", "--policy", "p.json"],
            "which of them must be met",
        ),
        (&["--bundle", "signed.json"], "which of them must hold"),
        (&["--check-claims=false"], "always compared"),
        (&["--allow-certificate-chain"], "between it and the root"),
        (
            &["--signature-digest-algorithm", "sha256"],
            "follows from the key",
        ),
        (&["--oid", "99=x"], "no extension is called 99"),
    ] {
        let flags = [&ALICE[..], flags].concat();
        let said = scene.verify("signed.json", "file", &flags);
        assert_eq!(said.code, Some(2), "{flags:?}: {}", said.err);
        assert!(said.err.contains(expected), "{flags:?}: {}", said.err);
    }
    let fine = scene.verify(
        "signed.json",
        "file",
        &with(&ALICE, &["--check-claims", "--use-signed-timestamps"]),
    );
    assert_eq!(fine.code, Some(0), "{}", fine.err);
}

#[test]
fn loose_patterns_are_warned_of_and_extensions_compared() {
    let scene = Scene::new();
    let loose = [
        "--certificate-identity-regexp",
        ".*@example.org",
        "--certificate-oidc-issuer",
        Sigstore::ISSUER,
    ];
    let said = scene.verify("signed.json", "file", &loose);
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert!(
        said.err.contains(
            "warning: --certificate-identity-regexp .*@example.org: it begins with anything"
        ),
        "{}",
        said.err
    );
    assert!(
        said.err.contains("a dot matches any character"),
        "{}",
        said.err
    );
    let several = [
        "--certificate-identity",
        "bob@example.org",
        "--cert-identity",
        Sigstore::SUBJECT,
        "--cert-oidc-issuer",
        Sigstore::ISSUER,
    ];
    assert_eq!(scene.verify("signed.json", "file", &several).code, Some(0));
    let stated = format!("8={}", Sigstore::ISSUER);
    for (oid, code) in [
        (stated.as_str(), 0),
        ("issuer=https://other.example", 12),
        ("12=https://github.com/o/r", 12),
    ] {
        let said = scene.verify(
            "signed.json",
            "file",
            &[&ALICE[..], &["--oid", oid]].concat(),
        );
        assert_eq!(said.code, Some(code), "{oid}: {}", said.err);
    }
}

#[test]
fn a_digest_stands_for_a_file_that_is_not_at_hand() {
    let scene = Scene::new();
    let digest = Digest::of(HashAlgorithm::Sha256, FILE);
    let attested = scene.sigstore.attest(&statement(&digest));
    scene.bundle("attested.json", &attested.bundle);
    let verify = |rest: &[&str]| {
        let arguments = [
            &[
                "verify-blob-attestation",
                "--trusted-root",
                "root.json",
                "--bundle",
                "attested.json",
            ][..],
            &ALICE,
            rest,
        ]
        .concat();
        scene.run(&arguments).code
    };
    let hex = digest.to_hex();
    assert_eq!(
        verify(&["--digest", &hex, "--digestAlg", "sha256"]),
        Some(0)
    );
    assert_eq!(verify(&["--digest", &hex]), Some(2));
    assert_eq!(verify(&["--digest", &hex, "--digestAlg", "md5"]), Some(2));
    assert_eq!(
        verify(&["--digest", &hex.replace('a', "b"), "--digestAlg", "sha256"]),
        Some(21)
    );
    assert_eq!(verify(&[]), Some(2));
}
