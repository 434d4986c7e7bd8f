//! Images in folders, in both formats; and the login that docker shares.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic in a test is its failure report"
)]

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use bundle::Content;
use bundle::legacy::{Legacy, SimpleSigning};
use dsse::{Envelope, IN_TOTO};
use entry::Verifier;
use keys::{Algorithm, Digest};
use oci::{Descriptor, IMAGE_TYPE, INDEX_TYPE, Layout, LegacyKind};
use serde_json::{Value, json};
use signer::Signer;
use tempfile::TempDir;
use testkit::{PromisingLog, Sigstore};
use trust::Validity;

const SIGN: &str = "https://sigstore.dev/cosign/sign/v1";
const SLSA: &str = "https://slsa.dev/provenance/v1";

struct Scene {
    folder: TempDir,
    sigstore: Sigstore,
    log: PromisingLog,
    layout: Layout,
}

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let sigstore = Sigstore::default();
        let log = PromisingLog::new("https://rekor-v1.example.org");
        let mut root = sigstore.root();
        root.tlogs
            .push(log.trusted(Validity::since(sigstore.since)));
        std::fs::write(folder.path().join("root.json"), root.to_json().unwrap()).unwrap();
        let layout = Layout::create(&folder.path().join("image")).unwrap();
        Self {
            folder,
            sigstore,
            log,
            layout,
        }
    }

    fn bundle(&self, about: &Descriptor, predicate: &str) {
        let minted = self.sigstore.attest(&statement(&about.digest, predicate));
        let media_type = bundle::MEDIA_TYPE;
        let json = minted.bundle.to_json().unwrap();
        let layer = self.layout.put_blob(media_type, &json).unwrap();
        let manifest = json!({
            "schemaVersion": 2, "mediaType": IMAGE_TYPE, "artifactType": media_type,
            "layers": [layer], "subject": about,
        });
        self.layout
            .put_manifest(IMAGE_TYPE, manifest.to_string().as_bytes())
            .unwrap();
    }

    /// A signature or an attestation of before cosign 3.
    fn old(&self, about: &Descriptor, predicate: Option<&str>) {
        let signer = Signer::generate(Algorithm::EcdsaP256Sha256).unwrap();
        let leaf = self.sigstore.issue(self.sigstore.leaf(&signer));
        let by = Verifier::Certificate(leaf.clone());
        let now = self.sigstore.now;
        let (layer, content, entry, kind, media_type) = match predicate {
            None => {
                let optional = BTreeMap::from([("a".to_owned(), json!("b"))]);
                let payload = SimpleSigning::new("x/y", &about.digest, optional)
                    .to_json()
                    .unwrap();
                let signature = signer.sign_local(&payload).unwrap();
                let entry = self.log.hashedrekord(&payload, &signature, &by, now);
                let content = Content::Message {
                    signature,
                    digest: None,
                };
                let media_type = bundle::legacy::SIMPLE_SIGNING;
                (payload, content, entry, LegacyKind::Signature, media_type)
            }
            Some(predicate) => {
                let payload = statement(&about.digest, predicate);
                let envelope = Envelope {
                    signature: signer.sign_local(&dsse::pae(IN_TOTO, &payload)).unwrap(),
                    payload_type: IN_TOTO.to_owned(),
                    keyid: String::new(),
                    payload,
                };
                let layer = serde_json::to_vec(&envelope.to_wire()).unwrap();
                let entry = self
                    .log
                    .dsse(&layer, &envelope.payload, &envelope.signature, &by, now);
                let media_type = bundle::legacy::ENVELOPE;
                let content = Content::Envelope(envelope);
                (layer, content, entry, LegacyKind::Attestation, media_type)
            }
        };
        let item = Legacy {
            layer,
            signer: bundle::Signer::Certificate {
                leaf,
                intermediates: Vec::new(),
            },
            entries: vec![entry],
            timestamps: Vec::new(),
            content,
        };
        let layer = Descriptor {
            annotations: Some(item.annotations(&[])),
            ..self.layout.put_blob(media_type, &item.layer).unwrap()
        };
        let manifest =
            json!({ "schemaVersion": 2, "mediaType": IMAGE_TYPE, "layers": [layer] }).to_string();
        let manifest = self
            .layout
            .put_blob(IMAGE_TYPE, manifest.as_bytes())
            .unwrap();
        self.list(
            &manifest,
            &[(
                "org.opencontainers.image.ref.name",
                &kind.tag(&about.digest),
            )],
        );
    }

    fn list(&self, manifest: &Descriptor, annotations: &[(&str, &str)]) {
        let path = self.layout.folder().join("index.json");
        let mut index: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let mut entry = serde_json::to_value(manifest).unwrap();
        for (name, value) in annotations {
            entry["annotations"][*name] = json!(value);
        }
        index["manifests"].as_array_mut().unwrap().push(entry);
        std::fs::write(path, index.to_string()).unwrap();
    }

    /// An image, marked as the one of this folder.
    fn image(&self, media_type: &str, manifest: &Value) -> Descriptor {
        let image = self
            .layout
            .put_blob(media_type, manifest.to_string().as_bytes())
            .unwrap();
        self.list(&image, &[("kind", "dev.cosignproject.cosign/image")]);
        image
    }

    fn verify(&self, command: &str, flags: &[&str]) -> Output {
        program(self.folder.path())
            .args([command, "--local-image", "--trusted-root", "root.json"])
            .args(["--certificate-identity", Sigstore::SUBJECT])
            .args(["--certificate-oidc-issuer", Sigstore::ISSUER])
            .args(flags)
            .arg("image")
            .output()
            .unwrap()
    }
}

fn program(folder: &Path) -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_cosign-rs"));
    program
        .current_dir(folder)
        .env_clear()
        .env("HOME", folder)
        .env("PATH", folder);
    program
}

fn statement(digest: &Digest, predicate: &str) -> Vec<u8> {
    let statement = json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{ "digest": { "sha256": digest.to_hex() } }],
        "predicateType": predicate, "predicate": {},
    });
    statement.to_string().into_bytes()
}

#[track_caller]
fn accepted(output: &Output) -> String {
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{err}");
    err
}

#[track_caller]
fn refused(output: &Output) -> String {
    assert!(!output.status.success());
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn signatures_of_both_formats_are_found_together() {
    let scene = Scene::new();
    let image = scene.image(
        IMAGE_TYPE,
        &json!({ "mediaType": IMAGE_TYPE, "layers": [] }),
    );
    refused(&scene.verify("verify", &[]));
    scene.old(&image, None);
    assert!(accepted(&scene.verify("verify", &[])).contains("1 x signature"));
    accepted(&scene.verify("verify", &["-a", "a=b"]));
    refused(&scene.verify("verify", &["-a", "a=c"]));
    scene.bundle(&image, SIGN);
    let output = scene.verify("verify", &[]);
    assert!(accepted(&output).contains("2 x signature"));
    let rows: Value = serde_json::from_slice(&output.stdout).unwrap();
    let kinds: Vec<&str> = rows
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["critical"]["type"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, [SIGN, "cosign container image signature"]);
}

#[test]
fn an_attestation_of_another_type_or_image_is_none() {
    // GHSA-vjxv-45g9-9296
    let scene = Scene::new();
    let image = scene.image(
        IMAGE_TYPE,
        &json!({ "mediaType": IMAGE_TYPE, "layers": [] }),
    );
    scene.old(&image, Some(SLSA));
    let of = |predicate: &str| scene.verify("verify-attestation", &["--type", predicate]);
    let output = of("slsaprovenance1");
    accepted(&output);
    let envelope: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(envelope["payloadType"], IN_TOTO);
    for predicate in ["slsaprovenance", "spdx", "custom"] {
        refused(&of(predicate));
    }
    // And no signature either.
    refused(&scene.verify("verify", &[]));
    let other = Scene::new();
    let elsewhere = other.image(
        IMAGE_TYPE,
        &json!({ "mediaType": IMAGE_TYPE, "layers": [1] }),
    );
    assert_ne!(elsewhere.digest, image.digest);
    refused(&other.verify("verify-attestation", &["--type", "slsaprovenance1"]));
}

/// What `save` wrote, as one file, where there is no network.
#[test]
fn an_archive_is_verified_as_its_folder_is() {
    let scene = Scene::new();
    let image = scene.image(
        IMAGE_TYPE,
        &json!({ "mediaType": IMAGE_TYPE, "layers": [] }),
    );
    scene.old(&image, None);
    scene.bundle(&image, SIGN);
    scene.bundle(&image, SLSA);
    let folder = scene.folder.path();
    let file = std::fs::File::create(folder.join("image.tar")).unwrap();
    let mut archive = tar::Builder::new(file);
    archive.append_dir_all(".", scene.layout.folder()).unwrap();
    archive.finish().unwrap();
    let run = |command: &[&str], image: &str| {
        program(folder)
            .args(command)
            .args(["--local-image", "--offline", "--trusted-root", "root.json"])
            .args(["--certificate-identity", Sigstore::SUBJECT])
            .args(["--certificate-oidc-issuer", Sigstore::ISSUER])
            .arg(image)
            .output()
            .unwrap()
    };
    for image in ["image", "image.tar"] {
        let said = accepted(&run(&["verify"], image));
        assert!(said.contains("2 x signature"), "{said}");
        let attested = ["verify-attestation", "--type", "slsaprovenance1"];
        accepted(&run(&attested, image));
        let stranger = refused(&run(&["verify", "-a", "who=else"], image));
        assert!(stranger.contains("annotations"), "{stranger}");
    }
}

/// Of what Docker saved before it knew layouts, and of what is compressed, it is said what to do.
#[test]
fn an_archive_without_a_manifest_is_refused_with_what_to_do() {
    let scene = Scene::new();
    let folder = scene.folder.path();
    let file = std::fs::File::create(folder.join("docker.tar")).unwrap();
    let mut archive = tar::Builder::new(file);
    let saved = br#"[{"Config":"ab.json","RepoTags":["app:v1"],"Layers":["cd/layer.tar"]}]"#;
    for (name, content) in [
        ("ab.json", &b"{}"[..]),
        ("cd/layer.tar", b"layer"),
        ("manifest.json", saved),
    ] {
        let mut header = tar::Header::new_gnu();
        header.set_size(u64::try_from(content.len()).unwrap());
        header.set_mode(0o644);
        archive.append_data(&mut header, name, content).unwrap();
    }
    archive.finish().unwrap();
    std::fs::write(folder.join("image.tar.gz"), b"\x1f\x8b\x08\x00rest").unwrap();
    std::fs::write(folder.join("empty.tar"), [0; 1024]).unwrap();
    for (image, expected) in [
        (
            "docker.tar",
            &["a Docker archive of app:v1", "cosign-rs save"][..],
        ),
        ("image.tar.gz", &["compressed with gzip"]),
        ("empty.tar", &["no oci-layout"]),
    ] {
        let output = program(folder)
            .args(["verify", "--local-image", "--trusted-root", "root.json"])
            .args(["--certificate-identity", Sigstore::SUBJECT])
            .args(["--certificate-oidc-issuer", Sigstore::ISSUER])
            .arg(image)
            .output()
            .unwrap();
        let said = refused(&output);
        assert!(expected.iter().all(|part| said.contains(part)), "{said}");
    }
}

#[test]
fn the_images_of_an_index_are_verified_by_platform() {
    let scene = Scene::new();
    let child = |architecture: &str| {
        let manifest = json!({ "mediaType": IMAGE_TYPE, "layers": [], "for": architecture });
        let child = scene
            .layout
            .put_blob(IMAGE_TYPE, manifest.to_string().as_bytes())
            .unwrap();
        let mut entry = serde_json::to_value(&child).unwrap();
        entry["platform"] = json!({ "os": "linux", "architecture": architecture });
        (child, entry)
    };
    let ((amd64, first), (arm64, second)) = (child("amd64"), child("arm64"));
    let index = scene.image(
        INDEX_TYPE,
        &json!({ "mediaType": INDEX_TYPE, "manifests": [first, second] }),
    );
    scene.bundle(&amd64, SIGN);
    accepted(&scene.verify("verify", &["--platform", "linux/amd64"]));
    refused(&scene.verify("verify", &["--platform", "linux/arm64"]));
    let none = refused(&scene.verify("verify", &["--platform", "linux/s390x"]));
    assert!(none.contains("linux/amd64, linux/arm64"), "{none}");
    for flag in ["--all-platforms", "--recursive"] {
        refused(&scene.verify("verify", &[flag]));
    }
    scene.old(&arm64, None);
    accepted(&scene.verify("verify", &["--all-platforms"]));
    refused(&scene.verify("verify", &["--recursive"]));
    scene.bundle(&index, SIGN);
    let all = accepted(&scene.verify("verify", &["--recursive"]));
    assert_eq!(all.matches("Verified").count(), 3, "{all}");
}

#[test]
fn what_could_not_be_attached_is_not_signed() {
    let scene = Scene::new();
    scene.image(
        IMAGE_TYPE,
        &json!({ "mediaType": IMAGE_TYPE, "layers": [] }),
    );
    let folder = scene.folder.path();
    let mut archive = tar::Builder::new(std::fs::File::create(folder.join("image.tar")).unwrap());
    archive.append_dir_all(".", scene.layout.folder()).unwrap();
    archive.finish().unwrap();
    std::fs::write(folder.join("predicate.json"), "{}").unwrap();
    let key = Signer::generate(Algorithm::EcdsaP256Sha256).unwrap();
    std::fs::write(folder.join("key.pem"), key.to_pkcs8_pem().unwrap()).unwrap();
    let owner = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(folder.join("key.pem"), owner).unwrap();
    let run = |arguments: &str| {
        program(folder)
            .args(arguments.split(' '))
            .args(["--local-image", "--key", "key.pem", "--tlog-upload=false"])
            .output()
            .unwrap()
    };
    for command in ["sign", "attest --type custom --predicate predicate.json"] {
        let archive = refused(&run(&format!("{command} image.tar")));
        assert!(archive.contains("image.tar is an archive"), "{archive}");
        let off = if command == "sign" {
            "--upload=false"
        } else {
            "--no-upload"
        };
        for format in ["legacy", "both"] {
            let old = refused(&run(&format!("{command} --format {format} image")));
            assert!(old.contains("in registries only"), "{old}");
            let nowhere = refused(&run(&format!("{command} --format {format} {off} image")));
            assert!(nowhere.contains(off), "{nowhere}");
        }
        // What is not attached can be about an archive.
        accepted(&run(&format!(
            "{command} {off} --bundle bundle.json image.tar"
        )));
        std::fs::remove_file(folder.join("bundle.json")).unwrap();
    }
    accepted(&run("sign image"));
}

#[test]
fn a_login_is_kept_where_docker_keeps_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("docker/config.json");
    std::fs::create_dir_all(config.parent().unwrap()).unwrap();
    std::fs::write(
        &config,
        r#"{"other":{"kept":true},"auths":{"a.example":{"auth":"eA=="}}}"#,
    )
    .unwrap();
    let login = |server: &str, password: &str, path: &str| {
        let mut child = program(folder.path())
            .args([
                "login",
                "--unchecked",
                "-u",
                "user",
                "--password-stdin",
                server,
            ])
            .env("DOCKER_CONFIG", folder.path().join("docker"))
            .env("PATH", path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let _closed = child.stdin.take().unwrap().write_all(password.as_bytes());
        child.wait_with_output().unwrap()
    };
    let nowhere = folder.path().to_str().unwrap();
    let output = login("b.example:5000", "secret\n", nowhere);
    let said = accepted(&output);
    assert!(!said.contains("secret"), "{said}");
    let kept: Value = serde_json::from_slice(&std::fs::read(&config).unwrap()).unwrap();
    assert_eq!(
        kept,
        json!({
            "other": { "kept": true },
            "auths": {
                "a.example": { "auth": "eA==" },
                "b.example:5000": { "auth": "dXNlcjpzZWNyZXQ=" },
            },
        })
    );
    let mode = std::fs::metadata(&config).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    refused(&login("b.example:5000", "", nowhere));

    // A helper that the configuration names keeps it, and the file does not.
    let helper = folder.path().join("docker-credential-test");
    std::fs::write(&helper, "#!/bin/sh\n/bin/cat > \"$HOME/stored\"\n").unwrap();
    std::fs::set_permissions(&helper, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::write(&config, r#"{"credHelpers":{"c.example":"test"}}"#).unwrap();
    accepted(&login("https://c.example/v2/", "secret", nowhere));
    let stored = std::fs::read_to_string(folder.path().join("stored")).unwrap();
    let stored: Value = serde_json::from_str(&stored).unwrap();
    assert_eq!(
        stored,
        json!({ "ServerURL": "c.example", "Username": "user", "Secret": "secret" })
    );
    assert!(!std::fs::read_to_string(&config).unwrap().contains("auths"));
    // One that is not there is an error, and nothing is kept in the clear instead.
    std::fs::write(&config, r#"{"credsStore":"missing"}"#).unwrap();
    refused(&login("d.example", "secret", nowhere));
    assert!(!std::fs::read_to_string(&config).unwrap().contains("auths"));
    std::fs::write(&config, r#"{"credsStore":"../missing"}"#).unwrap();
    let odd = refused(&login("d.example", "secret", nowhere));
    assert!(odd.contains("credential helper"), "{odd}");
    assert!(!std::fs::read_to_string(&config).unwrap().contains("auths"));
    // A link to the file stays one.
    let linked = folder.path().join("linked.json");
    std::fs::write(&linked, "{}").unwrap();
    std::fs::remove_file(&config).unwrap();
    std::os::unix::fs::symlink(&linked, &config).unwrap();
    accepted(&login("e.example", "secret", nowhere));
    assert!(config.is_symlink());
    assert!(
        std::fs::read_to_string(&linked)
            .unwrap()
            .contains("e.example")
    );
    // One password, or the other.
    let both = program(folder.path())
        .args(["login", "-u", "user", "--password-stdin", "--unchecked"])
        .args(["--registry-username", "user", "--registry-password", "x"])
        .output()
        .unwrap();
    assert!(refused(&both).contains("cannot be used with"));
}
