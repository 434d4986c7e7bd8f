//! Kits, many questions in one process, and that what is called offline opens no connection.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a panic in a test is its failure report"
)]

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use bundle::legacy::{Legacy, SimpleSigning};
use keys::{Digest, HashAlgorithm};
use oci::{Descriptor, IMAGE_TYPE, Layout, LegacyKind};
use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::{PromisingLog, Sigstore, statement};

const FILE: &[u8] = b"a file that somebody signed\n";
const MANIFEST: &[u8] =
    br#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","layers":[]}"#;
/// What verifies without a network: a file, an image in a folder, and one in an archive.
const OFFLINE: [&[&str]; 3] = [
    &[
        "verify-blob",
        "--offline",
        "--trusted-root",
        "root.json",
        "--bundle",
        "signed.json",
        "file",
    ],
    &[
        "verify",
        "--offline",
        "--local-image",
        "--trusted-root",
        "root.json",
        "image",
    ],
    &[
        "verify",
        "--offline",
        "--local-image",
        "--trusted-root",
        "root.json",
        "image.tar",
    ],
];
const ALICE: [&str; 4] = [
    "--certificate-identity",
    Sigstore::SUBJECT,
    "--certificate-oidc-issuer",
    Sigstore::ISSUER,
];

struct Scene(TempDir);

struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Scene {
    fn new() -> Self {
        let scene = Self(tempfile::tempdir().unwrap());
        let sigstore = Sigstore::default();
        scene.write("root.json", sigstore.root().to_json().unwrap().as_bytes());
        let other = Sigstore::default();
        scene.write(
            "other-root.json",
            other.root().to_json().unwrap().as_bytes(),
        );
        scene.write("file", FILE);
        scene.write("other", b"another file\n");
        scene.write(
            "signed.json",
            &sigstore.sign(FILE).bundle.to_json().unwrap(),
        );
        let attested = sigstore.attest(&statement(&Digest::of(HashAlgorithm::Sha256, FILE)));
        scene.write("attested.json", &attested.bundle.to_json().unwrap());
        let policy = json!({ "certificateIdentities": { "identities": [
            { "issuer": Sigstore::ISSUER, "san": { "type": "EMAIL", "value": Sigstore::SUBJECT } },
        ] } });
        scene.write("policy.json", policy.to_string().as_bytes());
        scene.image(&sigstore);
        scene
    }

    /// An image in the folder `image` with a signature, and the same as the archive `image.tar`.
    fn image(&self, sigstore: &Sigstore) {
        let layout = Layout::create(&self.path("image")).unwrap();
        let image = layout.put_manifest(IMAGE_TYPE, MANIFEST).unwrap();
        let signed = json!({
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{ "digest": { "sha256": image.digest.to_hex() } }],
            "predicateType": "https://sigstore.dev/cosign/sign/v1", "predicate": {},
        });
        let signed = sigstore.attest(signed.to_string().as_bytes()).bundle;
        let layer = layout
            .put_blob(bundle::MEDIA_TYPE, &signed.to_json().unwrap())
            .unwrap();
        let manifest = json!({
            "schemaVersion": 2, "mediaType": IMAGE_TYPE, "artifactType": bundle::MEDIA_TYPE,
            "layers": [layer], "subject": image,
        });
        layout
            .put_manifest(IMAGE_TYPE, manifest.to_string().as_bytes())
            .unwrap();
        let file = std::fs::File::create(self.path("image.tar")).unwrap();
        let mut archive = tar::Builder::new(file);
        archive.append_dir_all(".", layout.folder()).unwrap();
        archive.finish().unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.path(name), bytes).unwrap();
    }

    fn command(&self, around: &[&str]) -> Command {
        let program = env!("CARGO_BIN_EXE_cosign-rs");
        let mut command = match around {
            [] => Command::new(program),
            [first, rest @ ..] => {
                let mut command = Command::new(first);
                command.args(rest).arg(program);
                command
            }
        };
        command
            .current_dir(self.0.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.0.path())
            .stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> Said {
        Self::finish(self.command(&[]).args(arguments))
    }

    fn finish(command: &mut Command) -> Said {
        let output = command.output().unwrap();
        Said {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// A kit of the file; its digest.
    fn kit(&self, name: &str) -> String {
        let said = self.run(&[
            "kit",
            "create",
            "--blob",
            "file",
            "--bundle",
            "signed.json",
            "--to",
            name,
            "--trusted-root",
            "root.json",
            "--policy",
            "policy.json",
            "--now",
            "2026-06-02T00:00:00Z",
        ]);
        assert_eq!(said.code, Some(0), "{}", said.err);
        let digest = said
            .err
            .lines()
            .find_map(|line| line.strip_prefix("kit digest "));
        digest.unwrap().to_owned()
    }
}

#[test]
fn a_kit_is_verified_years_later_by_whoever_knows_its_digest() {
    let scene = Scene::new();
    let digest = scene.kit("a.kit");
    let bytes = std::fs::read(scene.path("a.kit")).unwrap();
    assert_eq!(
        digest,
        Digest::of(HashAlgorithm::Sha256, &bytes).to_string()
    );
    assert_eq!(
        scene.kit("again.kit"),
        digest,
        "the same contents are the same bytes"
    );
    let verify = |rest: &[&str]| {
        scene.run(&[&["kit", "verify", "--now", "2046-01-01", "a.kit"][..], rest].concat())
    };
    let said = verify(&["--kit-digest", &digest]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert!(said.err.contains("Verified OK: file ("), "{}", said.err);
    let said = verify(&["--kit-digest", &digest, "--artifact", "file", "-o", "json"]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    let result: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(result["policy"]["accepted"], true);
    assert_eq!(result["identity"]["subject"], Sigstore::SUBJECT);
    // With trust and expectation of one's own the digest need not be known.
    let own = [&["--trusted-root", "root.json"], &ALICE[..]].concat();
    let said = verify(&[&own[..], &["-o", "json"]].concat());
    assert_eq!(said.code, Some(0), "{}", said.err);
    let result: Value = serde_json::from_str(&said.out).unwrap();
    assert!(
        result.get("artifact").is_none(),
        "a name that nobody vouches for"
    );
    let said = verify(&own);
    assert!(
        said.err.contains("nobody vouches for it: file,"),
        "{}",
        said.err
    );

    // Whoever made the kit wrote what is in it.
    let said = verify(&["--trusted-root", "root.json"]);
    assert_eq!(said.code, Some(2), "{}", said.err);
    assert!(
        said.err
            .contains("whoever made the kit wrote the policy in it"),
        "{}",
        said.err
    );
    let said = verify(&ALICE);
    assert_eq!(
        said.code,
        Some(22),
        "the root in the kit is not believed: {}",
        said.err
    );
    let wrong = format!("sha256:{}", "ab".repeat(32));
    for (flags, code, reason) in [
        (&["--kit-digest", &wrong][..], 21, "other-kit"),
        (
            &["--kit-digest", &digest, "--artifact", "other"],
            21,
            "other-artifact",
        ),
        (
            &["--kit-digest", &digest, "--trusted-root", "other-root.json"],
            22,
            "no-log-entry",
        ),
        (&["--kit-digest", "abc"], 2, "--kit-digest abc"),
    ] {
        let said = verify(flags);
        assert_eq!(said.code, Some(code), "{flags:?}: {}", said.err);
        assert!(said.err.contains(reason), "{flags:?}: {}", said.err);
    }
    let early = scene.run(&[
        "kit",
        "verify",
        "--now",
        "2026-06-01",
        "--kit-digest",
        &digest,
        "a.kit",
    ]);
    assert_eq!(early.code, Some(23), "{}", early.err);
}

/// A registry that has these things under these ends of paths, and nothing else.
fn registry(things: Vec<(String, &'static str, Vec<u8>)>) -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
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
            let found = things.iter().find(|(end, _, _)| path.ends_with(end));
            let (status, kind, body) = match found {
                Some((_, kind, body)) => ("200 OK", *kind, body.as_slice()),
                None => ("404 Not Found", "application/json", &b"{}"[..]),
            };
            let head = format!(
                "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                body.len()
            );
            let _gone = stream.write_all(&[head.as_bytes(), body].concat());
        }
    });
    port
}

#[test]
fn signatures_of_before_cosign_3_are_packed_too() {
    let scene = Scene::new();
    let (sigstore, log) = (
        Sigstore::default(),
        PromisingLog::new("https://rekor-v1.example.org"),
    );
    let mut root = sigstore.root();
    root.tlogs
        .push(log.trusted(trust::Validity::since(sigstore.since)));
    scene.write("old-root.json", root.to_json().unwrap().as_bytes());
    let image = Descriptor::of(IMAGE_TYPE, MANIFEST);
    let signer = signer::Signer::generate(keys::Algorithm::EcdsaP256Sha256).unwrap();
    let leaf = sigstore.issue(sigstore.leaf(&signer));
    let payload = SimpleSigning::new("x/y", &image.digest, BTreeMap::new())
        .to_json()
        .unwrap();
    let signature = signer.sign_local(&payload).unwrap();
    let by = entry::Verifier::Certificate(leaf.clone());
    let item = Legacy {
        entries: vec![log.hashedrekord(&payload, &signature, &by, sigstore.now)],
        layer: payload.clone(),
        signer: bundle::Signer::Certificate {
            leaf,
            intermediates: Vec::new(),
        },
        timestamps: Vec::new(),
        content: bundle::Content::Message {
            signature,
            digest: None,
        },
    };
    let layer = Descriptor {
        annotations: Some(item.annotations(&[])),
        ..Descriptor::of(bundle::legacy::SIMPLE_SIGNING, &payload)
    };
    let tagged = json!({ "schemaVersion": 2, "mediaType": IMAGE_TYPE, "layers": [layer] });
    let tag = LegacyKind::Signature.tag(&image.digest);
    let port = registry(vec![
        ("/manifests/v1".into(), IMAGE_TYPE, MANIFEST.to_vec()),
        (
            format!("/manifests/{tag}"),
            IMAGE_TYPE,
            tagged.to_string().into_bytes(),
        ),
        (
            format!("/blobs/{}", layer.digest),
            "application/octet-stream",
            payload,
        ),
    ]);
    let create = |root: &str| {
        scene.run(&[
            "kit",
            "create",
            &format!("127.0.0.1:{port}/app:v1"),
            "--to",
            "old.kit",
            "--trusted-root",
            root,
            "--policy",
            "policy.json",
            "--now",
            "2026-06-02T00:00:00Z",
        ])
    };
    assert_eq!(create("root.json").code, Some(22));
    let said = create("old-root.json");
    assert_eq!(said.code, Some(0), "{}", said.err);
    let digest = said
        .err
        .lines()
        .find_map(|line| line.strip_prefix("kit digest "))
        .unwrap();
    let verify = |flags: &[&str]| {
        scene.run(
            &[
                &["kit", "verify", "--now", "2046-01-01", "old.kit"][..],
                flags,
            ]
            .concat(),
        )
    };
    let said = verify(&["--kit-digest", digest, "-o", "json"]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    let result: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(result["digest"], image.digest.to_string());
    assert_eq!(result["identity"]["subject"], Sigstore::SUBJECT);
    let other = [
        "--policy",
        "policy.json",
        "--trusted-root",
        "other-root.json",
    ];
    assert_eq!(verify(&other).code, Some(22));
}

#[test]
fn a_kit_in_which_anything_was_changed_is_refused() {
    let scene = Scene::new();
    scene.kit("a.kit");
    let bytes = std::fs::read(scene.path("a.kit")).unwrap();
    let own = [&["--trusted-root", "root.json"], &ALICE[..]].concat();
    let mut members = 0;
    // Each member begins with a block that has its name.
    for (place, block) in bytes.chunks(512).enumerate().skip(1) {
        let text = String::from_utf8_lossy(block);
        if !["bundles/", "policy.json", "trusted_root.json"]
            .iter()
            .any(|name| text.starts_with(name))
        {
            continue;
        }
        members += 1;
        let mut changed = bytes.clone();
        changed[(place + 1) * 512 + 10] ^= 1;
        scene.write("b.kit", &changed);
        let said =
            scene.run(&[&["kit", "verify", "--now", "2046-01-01", "b.kit"][..], &own].concat());
        assert_eq!(said.code, Some(21), "{text}: {}", said.err);
        assert!(said.err.contains("was changed"), "{}", said.err);
    }
    assert_eq!(members, 3);
    scene.write("b.kit", b"no kit");
    let said = scene.run(&[&["kit", "verify", "b.kit"][..], &own].concat());
    assert_eq!(said.code, Some(21), "{}", said.err);
}

#[test]
fn nothing_is_packed_that_would_be_refused() {
    let scene = Scene::new();
    let create = |blob: &str, flags: &[&str]| {
        let said = scene.run(
            &[
                &[
                    "kit",
                    "create",
                    "--blob",
                    blob,
                    "--bundle",
                    "signed.json",
                    "--to",
                    "x.kit",
                ][..],
                flags,
            ]
            .concat(),
        );
        assert!(!scene.path("x.kit").exists());
        said.code
    };
    assert_eq!(
        create(
            "other",
            &["--trusted-root", "root.json", "--policy", "policy.json"]
        ),
        Some(21)
    );
    assert_eq!(
        create(
            "file",
            &[
                "--trusted-root",
                "other-root.json",
                "--policy",
                "policy.json"
            ]
        ),
        Some(22)
    );
    assert_eq!(create("file", &["--trusted-root", "root.json"]), Some(2));
    // Attestations are packed for whoever says in a policy which of them are meant.
    let attested = |policy: &str| {
        scene.run(&[
            "kit",
            "create",
            "--blob",
            "file",
            "--bundle",
            "attested.json",
            "--to",
            "y.kit",
            "--trusted-root",
            "root.json",
            "--policy",
            policy,
        ])
    };
    assert_eq!(attested("policy.json").code, Some(12));
    let mut policy: Value =
        serde_json::from_slice(&std::fs::read(scene.path("policy.json")).unwrap()).unwrap();
    policy["requirements"] = json!({ "predicateTypes": ["https://example.org/predicate/v1"] });
    scene.write("typed.json", policy.to_string().as_bytes());
    let said = attested("typed.json");
    assert_eq!(said.code, Some(0), "{}", said.err);
}

fn offline(kit_digest: &str) -> Vec<Vec<&str>> {
    let kit = [
        "kit",
        "verify",
        "--kit-digest",
        kit_digest,
        "--now",
        "2046-01-01",
        "a.kit",
    ];
    OFFLINE
        .iter()
        .map(|arguments| [*arguments, &ALICE].concat())
        .chain([kit.to_vec()])
        .collect()
}

/// In a network namespace of its own there is not even a loopback device that is up. Where that cannot be made, it is said.
#[test]
fn offline_needs_no_network() {
    let scene = Scene::new();
    let digest = scene.kit("a.kit");
    let alone = ["unshare", "--map-root-user", "--net", "--"];
    let possible = Command::new(alone[0])
        .args(&alone[1..])
        .arg("true")
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !possible {
        eprintln!(
            "skipped: offline_needs_no_network (unshare --map-root-user --net is not permitted here)"
        );
        return;
    }
    for arguments in offline(&digest) {
        let said = Scene::finish(scene.command(&alone).args(&arguments));
        assert_eq!(said.code, Some(0), "{arguments:?}: {}", said.err);
    }
    // It is no network indeed: what needs one fails there.
    let said = Scene::finish(
        scene
            .command(&alone)
            .args([
                "verify",
                "--trusted-root",
                "root.json",
                "127.0.0.1:1/app:v1",
            ])
            .args(ALICE),
    );
    assert_eq!(said.code, Some(25), "{}", said.err);
}

/// No route is one thing; here the system is asked which sockets were made at all.
#[test]
fn offline_opens_no_socket() {
    let scene = Scene::new();
    let digest = scene.kit("a.kit");
    let works = Command::new("strace")
        .args([
            "-f",
            "-qq",
            "-e",
            "trace=network",
            "-o",
            "/dev/null",
            "true",
        ])
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !works {
        eprintln!(
            "skipped: offline_opens_no_socket (strace is not installed, or not permitted here)"
        );
        return;
    }
    let watched = [
        "strace",
        "-f",
        "-qq",
        "-e",
        "trace=socket,connect",
        "-o",
        "calls",
    ];
    let calls = || std::fs::read_to_string(scene.path("calls")).unwrap();
    for arguments in offline(&digest) {
        let said = Scene::finish(scene.command(&watched).args(&arguments));
        assert_eq!(said.code, Some(0), "{arguments:?}: {}", said.err);
        let inet: Vec<String> = calls()
            .lines()
            .filter(|line| line.contains("socket(AF_INET"))
            .map(str::to_owned)
            .collect();
        assert!(inet.is_empty(), "{inet:?}");
        assert!(!calls().contains("connect("), "{}", calls());
    }
    // And it would be seen.
    let online = [
        "verify",
        "--trusted-root",
        "root.json",
        "127.0.0.1:1/app:v1",
    ];
    Scene::finish(scene.command(&watched).args(online).args(ALICE));
    assert!(calls().contains("socket(AF_INET"), "{}", calls());
}

const QUESTIONS: &str = concat!(
    r#"{"file": "file", "bundle": "signed.json", "id": "1"}"#,
    "\n",
    r#"{"file": "other", "bundle": "signed.json", "id": "2"}"#,
    "\n",
    "\n",
    r#"{"file": "file"}"#,
    "\n",
    r#"{"nonsense": 1}"#,
    "\n",
    "127.0.0.1:1/app:v1\n",
);

#[test]
fn each_line_gets_a_line_in_its_order() {
    let scene = Scene::new();
    let ask = |questions: &str| {
        let mut child = scene
            .command(&[])
            .args(["verify", "--stdin", "--trusted-root", "root.json"])
            .args(ALICE)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let _closed = child.stdin.take().unwrap().write_all(questions.as_bytes());
        let output = child.wait_with_output().unwrap();
        let answers: Vec<Value> = String::from_utf8(output.stdout)
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        (output.status.code(), answers)
    };
    let (code, answers) = ask(QUESTIONS);
    assert_eq!(code, Some(1), "they were refused for several reasons");
    let codes: Vec<u64> = answers
        .iter()
        .map(|answer| answer["exitCode"].as_u64().unwrap())
        .collect();
    assert_eq!(codes, [0, 21, 2, 2, 25]);
    assert_eq!(answers[0]["id"], "1");
    assert_eq!(
        answers[0]["results"][0]["identity"]["subject"],
        Sigstore::SUBJECT
    );
    assert_eq!(answers[1]["request"], "other");
    assert_eq!(answers[4]["outcome"], "transport");
    let schema: Value = serde_json::from_str(&scene.run(&["schema", "result"]).out).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    for answer in &answers {
        assert!(validator.is_valid(answer), "{answer}");
    }
    let first = QUESTIONS.lines().next().unwrap();
    assert_eq!(ask(first).0, Some(0));
    let second = QUESTIONS.lines().nth(1).unwrap();
    assert_eq!(ask(&format!("{first}\n{second}\n")).0, Some(21));
    // A statement about a file is no signature of it, unless it is asked for.
    let attested = r#"{"file": "file", "bundle": "attested.json"}"#;
    assert_eq!(ask(attested).0, Some(12));
    let typed = attested.replace('}', r#", "type": "https://example.org/predicate/v1"}"#);
    assert_eq!(ask(&typed).0, Some(0));
    assert_eq!(ask(&typed.replace("v1", "v2")).0, Some(12));
    assert_eq!(ask("").0, Some(2), "nothing was verified");
    let long = format!("{}\n{first}\n", "x".repeat(70_000));
    assert_eq!(ask(&long).0, Some(2));
}

/// Ends with the test, however that ends.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _gone = self.0.wait();
    }
}

impl Server {
    fn start(scene: &Scene) -> Self {
        let mut child = scene
            .command(&[])
            .args([
                "verify-server",
                "--socket",
                "s.sock",
                "--trusted-root",
                "root.json",
            ])
            .args(ALICE)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stderr.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        assert!(line.starts_with("listening on"), "{line}");
        Self(child)
    }
}

fn ask(socket: &Path, lines: &str) -> Vec<Value> {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.write_all(lines.as_bytes()).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    BufReader::new(stream)
        .lines()
        .map(|line| serde_json::from_str(&line.unwrap()).unwrap())
        .collect()
}

#[test]
fn a_server_answers_this_user_alone_and_leaves_no_socket() {
    let scene = Scene::new();
    let socket = scene.path("s.sock");
    let mut server = Server::start(&scene);
    let mode = std::fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let left: Vec<_> = std::fs::read_dir(scene.0.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("s.sock."))
        .collect();
    assert!(left.is_empty(), "{left:?}");
    let codes = |answers: &[Value]| -> Vec<u64> {
        answers
            .iter()
            .map(|answer| answer["exitCode"].as_u64().unwrap())
            .collect()
    };
    let questions = QUESTIONS.replace("\n\n", "\n");
    let asking: Vec<_> = (0..8)
        .map(|_| {
            let (socket, questions) = (socket.clone(), questions.clone());
            std::thread::spawn(move || ask(&socket, &questions))
        })
        .collect();
    for one in asking {
        assert_eq!(codes(&one.join().unwrap()), [0, 21, 2, 2, 25]);
    }
    // A line without end is answered once, and the client sent away.
    let long = ask(&socket, &"x".repeat(70_000));
    assert_eq!(codes(&long), [2]);
    // A second one does not take the place of the first.
    let second = scene.run(
        &[
            &[
                "verify-server",
                "--socket",
                "s.sock",
                "--trusted-root",
                "root.json",
            ][..],
            &ALICE,
        ]
        .concat(),
    );
    assert_eq!(second.code, Some(2), "{}", second.err);
    let pid = server.0.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-TERM", &pid])
            .status()
            .unwrap()
            .success()
    );
    assert!(server.0.wait().unwrap().success());
    assert!(!socket.exists());
    // What one left that was killed is no hindrance.
    let mut killed = Server::start(&scene);
    killed.0.kill().unwrap();
    killed.0.wait().unwrap();
    assert!(socket.exists());
    let again = Server::start(&scene);
    assert_eq!(
        codes(&ask(
            &socket,
            &format!("{}\n", questions.lines().next().unwrap())
        )),
        [0]
    );
    drop(again);
}
