//! What `tsa-rs init` makes: it serves, its fragments are what clients read, and OpenSSL agrees.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs,
    reason = "a panic is a test's report"
)]

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use clap::Parser as _;
use keys::Algorithm;
use pki::{Certificate, Csr, Purpose};
use serde_json::Value;
use signer::Signer;
use tsa_rs::args::{Arguments, Command as Subcommand};
use tsa_rs::commands::init;

async fn run(folder: &Path, more: &[&str]) -> anyhow::Result<()> {
    let folder = folder.to_str().unwrap();
    let fixed = [
        "tsa-rs",
        "init",
        "--url",
        "https://tsa.example.org/",
        "--folder",
        folder,
    ];
    let arguments = Arguments::try_parse_from(fixed.iter().chain(more))?;
    let Some(Subcommand::Init(arguments)) = arguments.command else {
        panic!("init");
    };
    init::run(&arguments).await
}

fn chain(folder: &Path) -> Vec<Certificate> {
    let text = std::fs::read_to_string(folder.join("chain.pem")).unwrap();
    Certificate::chain_from_pem(&text).unwrap()
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[tokio::test]
async fn a_new_authority_serves() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().join("tsa");
    run(
        &at,
        &["--operator", "Example", "--intermediate", "--curve", "p384"],
    )
    .await
    .unwrap();
    assert!(tsa_rs::service(&at.join("tsa-rs.toml")).await.is_ok());
    let mode = std::fs::metadata(at.join("key.pem"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);

    let chain = chain(&at);
    let [leaf, intermediate, root] = &chain[..] else {
        panic!("three certificates")
    };
    assert_eq!(
        leaf.public_key().default_algorithm(),
        Algorithm::EcdsaP384Sha384
    );
    let now = jiff::Timestamp::now();
    let between = std::slice::from_ref(intermediate);
    let anchors = std::slice::from_ref(root);
    let verified = pki::path::verify(leaf, between, anchors, now, Purpose::TimeStamping);
    assert!(verified.is_ok());
    assert!(pki::path::verify(leaf, between, anchors, now, Purpose::CodeSigning).is_err());
    let (critical, purposes) = leaf.purposes().unwrap();
    assert_eq!((critical, purposes), (true, &[pki::oid::TIME_STAMPING][..]));

    let root = json(&at.join("trusted_root.fragment.json"));
    let authority = &root["timestampAuthorities"][0];
    assert_eq!(authority["uri"], "https://tsa.example.org/api/v1/timestamp");
    assert_eq!(authority["subject"]["organization"], "Example");
    assert_eq!(authority["subject"]["commonName"], "timestamp authority");
    assert_eq!(
        authority["certChain"]["certificates"]
            .as_array()
            .unwrap()
            .len(),
        3
    );
    let signing = json(&at.join("signing_config.fragment.json"));
    assert_eq!(signing["tsaUrls"][0]["url"], authority["uri"]);
    assert_eq!(signing["tsaUrls"][0]["operator"], "Example");

    let again = run(&at, &[]).await.unwrap_err().to_string();
    assert!(again.contains("has an authority already"), "{again}");
}

/// A root that was kept signs a second authority, and clients need no new one.
#[tokio::test]
async fn a_root_that_was_kept_signs_again() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let path = |name: &str| at(name).to_str().unwrap().to_owned();
    run(&at("one"), &["--root-key", &path("root.pem")])
        .await
        .unwrap();
    let first = chain(&at("one"));
    std::fs::write(at("root.crt"), first[1].to_pem()).unwrap();
    let issuer = [
        "--issuer-key",
        &path("root.pem"),
        "--issuer-chain",
        &path("root.crt"),
    ];
    run(&at("two"), &issuer).await.unwrap();
    let second = chain(&at("two"));
    assert_eq!(first[1], second[1]);
    assert_ne!(first[0].public_key(), second[0].public_key());
    assert!(second[0].not_after() <= second[1].not_after());
    assert!(
        tsa_rs::service(&at("two").join("tsa-rs.toml"))
            .await
            .is_ok()
    );

    let other = [
        "--issuer-key",
        &path("one/key.pem"),
        "--issuer-chain",
        &path("root.crt"),
    ];
    let error = run(&at("three"), &other).await.unwrap_err().to_string();
    assert!(error.contains("is not that of --issuer-key"), "{error}");
    // The leaf of an authority signs nobody.
    let leaf = [
        "--issuer-key",
        &path("one/key.pem"),
        "--issuer-chain",
        &path("one/chain.pem"),
    ];
    let error = run(&at("three"), &leaf).await.unwrap_err().to_string();
    assert!(error.contains("may not sign certificates"), "{error}");
    assert!(!at("three").join("tsa-rs.toml").exists());
}

#[tokio::test]
async fn keys_that_clients_do_not_take_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("ed25519.pem");
    Signer::create(&key, Algorithm::Ed25519).unwrap();
    let error = run(folder.path(), &["--key", key.to_str().unwrap()])
        .await
        .unwrap_err();
    assert!(error.to_string().contains("sigstore-js"), "{error}");
    assert!(run(folder.path(), &["--years", "0"]).await.is_err());
    assert!(
        run(folder.path(), &["--csr", "--intermediate"])
            .await
            .is_err()
    );
}

/// OpenSSL is the authority elsewhere.
#[tokio::test]
async fn a_request_is_signed_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let key = Signer::create(&at("held.pem"), Algorithm::EcdsaP256Sha256).unwrap();
    let held = at("held.pem").to_str().unwrap().to_owned();
    run(
        folder.path(),
        &["--csr", "--operator", "Example", "--key", &held],
    )
    .await
    .unwrap();
    let request = std::fs::read_to_string(at("csr.pem")).unwrap();
    assert_eq!(
        Csr::from_pem(&request).unwrap().public_key(),
        key.public_key()
    );
    assert!(!at("chain.pem").exists());
    if Command::new("openssl").arg("version").output().is_err() {
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED a_request_is_signed_elsewhere: no openssl here"
        );
        return;
    }
    let openssl = |arguments: &[&str]| {
        let output = Command::new("openssl")
            .args(arguments)
            .current_dir(folder.path())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {text}");
        text
    };
    let shown = openssl(&["req", "-in", "csr.pem", "-noout", "-text", "-verify"]);
    for line in [
        "Subject: O = Example, CN = timestamp authority",
        "X509v3 Extended Key Usage: critical",
        "Time Stamping",
        "Digital Signature",
    ] {
        let line = line.replace(" = ", "");
        let plain = shown.replace(" = ", "");
        assert!(plain.contains(&line), "{line} in {shown}");
    }
    openssl(&[
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-keyout",
        "ca.key",
        "-out",
        "ca.pem",
        "-subj",
        "/O=Example/CN=elsewhere",
        "-days",
        "30",
        "-addext",
        "keyUsage=critical,keyCertSign,cRLSign",
    ]);
    openssl(&[
        "x509",
        "-req",
        "-in",
        "csr.pem",
        "-CA",
        "ca.pem",
        "-CAkey",
        "ca.key",
        "-copy_extensions",
        "copy",
        "-days",
        "7",
        "-out",
        "leaf.pem",
    ]);
    let pem = ["leaf.pem", "ca.pem"].map(|name| std::fs::read_to_string(at(name)).unwrap());
    std::fs::write(at("chain.pem"), pem.concat()).unwrap();
    assert!(tsa_rs::service(&at("tsa-rs.toml")).await.is_ok());
}

#[test]
fn the_old_command_line_holds() {
    let parse = |arguments: &[&str]| Arguments::try_parse_from(arguments);
    let plain = parse(&["tsa-rs", "--config", "tsa.toml"]).unwrap();
    assert!(plain.command.is_none());
    assert_eq!(plain.serve.config.unwrap(), Path::new("tsa.toml"));
    assert!(
        parse(&["tsa-rs", "--check-health", "localhost:3004"])
            .unwrap()
            .check_health
            .is_some()
    );
    assert!(
        parse(&["tsa-rs", "serve", "-c", "tsa.toml"])
            .unwrap()
            .command
            .is_some()
    );
    for wrong in [
        &["tsa-rs", "--config"][..],
        &["tsa-rs", "--config", "a", "--check-health", "localhost:1"],
        &["tsa-rs", "init"],
        &["tsa-rs", "init", "--url", "http://a", "--issuer-key", "k"],
    ] {
        assert!(parse(wrong).is_err(), "{wrong:?}");
    }
}
