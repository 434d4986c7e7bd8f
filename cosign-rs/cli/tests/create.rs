//! Trusted roots and signing configs made by hand, over the public-good repository as it was on 2026-08-22.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic in a test is its failure report"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

fn testdata(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../testdata")
        .join(path);
    path.canonicalize().unwrap().display().to_string()
}

fn run(folder: &Path, words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_cosign-rs"))
        .args(words)
        .current_dir(folder)
        .env_clear()
        .env("HOME", folder)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn made(folder: &Path, words: &[&str]) -> Value {
    let output = run(folder, words);
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn refused(folder: &Path, words: &[&str], expected: &str) {
    let output = run(folder, words);
    assert_ne!(output.status.code(), Some(0), "{words:?}");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains(expected), "{expected}: {said}");
}

fn length(value: &Value) -> usize {
    value.as_array().map_or(0, Vec::len)
}

/// A key and a chain out of the public trusted root.
fn material(folder: &Path) -> (PathBuf, PathBuf) {
    let root: Value =
        serde_json::from_slice(&std::fs::read(testdata("trust/public-good.json")).unwrap())
            .unwrap();
    let pem = |label: &str, bytes: &Value| {
        let lines: Vec<String> = bytes
            .as_str()
            .unwrap()
            .as_bytes()
            .chunks(64)
            .map(|line| String::from_utf8(line.to_vec()).unwrap())
            .collect();
        let lines = lines.join("\n");
        format!("-----BEGIN {label}-----\n{lines}\n-----END {label}-----\n")
    };
    let (key, chain) = (folder.join("log.pem"), folder.join("tsa.pem"));
    let bytes = &root["tlogs"][1]["publicKey"]["rawBytes"];
    std::fs::write(&key, pem("PUBLIC KEY", bytes)).unwrap();
    let certificates = &root["timestampAuthorities"][0]["certChain"]["certificates"];
    let certificates = certificates.as_array().unwrap().iter();
    let chains: String = certificates
        .map(|one| pem("CERTIFICATE", &one["rawBytes"]))
        .collect();
    std::fs::write(&chain, chains).unwrap();
    (key, chain)
}

#[test]
fn a_trusted_root_begins_with_the_trust_domain_and_takes_what_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (mirror, root) = (
        format!("file://{}", testdata("tuf/public-good")),
        testdata("tuf/public-good/14.root.json"),
    );
    let now = ["--now", "2026-08-22"];
    let initialize = ["initialize", "--mirror", &mirror, "--root", &root];
    let output = run(folder, &[&initialize[..], &now].concat());
    assert!(output.status.success(), "{output:?}");
    material(folder);

    let create = ["trusted-root", "create"];
    let defaults = [&create[..], &["--with-default-services"], &now].concat();
    let whole = made(folder, &defaults);
    assert_eq!((length(&whole["tlogs"]), length(&whole["ctlogs"])), (2, 2));
    let log = "url=https://log.example.com,public-key=log.pem,start-time=2026-01-01T00:00:00Z,origin=log.example.com";
    let more = ["--no-default-ctfe", "--no-default-tsa", "--rekor", log];
    let changed = made(folder, &[&defaults[..], &more].concat());
    assert_eq!(length(&changed["tlogs"]), 3);
    assert_eq!(length(&changed["ctlogs"]), 0);
    assert_eq!(length(&changed["timestampAuthorities"]), 0);
    // Oldest first, and under another name the same key is another log.
    assert_eq!(changed["tlogs"][2]["baseUrl"], "https://log.example.com");
    assert_ne!(changed["tlogs"][2]["logId"], whole["tlogs"][1]["logId"]);

    let tsa = "url=https://tsa.example.com,certificate-chain=tsa.pem";
    let out = [&create[..], &["--tsa", tsa, "--out", "root.json"]].concat();
    assert!(run(folder, &out).status.success());
    let file: Value =
        serde_json::from_slice(&std::fs::read(folder.join("root.json")).unwrap()).unwrap();
    let authority = &file["timestampAuthorities"][0];
    assert_eq!(authority["uri"], "https://tsa.example.com");
    assert_eq!(authority["validFor"]["start"], "2025-04-08T06:59:43Z");

    // Who runs it, which policies count; a field that old clients do not know.
    let run_by = format!("{log},operator=example.com");
    let named = run(folder, &[&create[..], &["--rekor", &run_by]].concat());
    let file: Value = serde_json::from_slice(&named.stdout).unwrap();
    assert_eq!(file["tlogs"][0]["operator"], "example.com");
    assert!(String::from_utf8_lossy(&named.stderr).contains("version 0.2"));
    assert!(changed["tlogs"][2].get("operator").is_none());

    for (words, expected) in [
        (
            ["--rekor", "url=u,public-key=log.pem"],
            "start-time is missing",
        ),
        (["--tsa", "url=u,certificate-chain=log.pem"], "log.pem"),
        (["--fulcio", "url=u,certificate-chain=none.pem"], "none.pem"),
        (
            ["--rekor-url", "https://log.example.com"],
            "more values than there are --rekor-key",
        ),
    ] {
        refused(folder, &[&create[..], &words].concat(), expected);
    }
    let both = ["--rekor", log, "--rekor-key", "log.pem"];
    refused(
        folder,
        &[&create[..], &both].concat(),
        "cannot be used with",
    );
}

#[test]
fn a_signing_config_begins_with_another_one_and_takes_what_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let base = testdata("trust/public-good-signing.json");
    let create = ["signing-config", "create"];
    let service = "url=https://log.example.com,api-version=2,start-time=2026-09-01T00:00:00Z,operator=example.com";
    let begun = [&create[..], &["--base-config", &base]].concat();
    let rekor = ["--rekor", service, "--rekor-config", "ALL"];
    let more = made(folder, &[&begun[..], &rekor].concat());
    assert_eq!(length(&more["rekorTlogUrls"]), 3);
    assert_eq!(more["rekorTlogUrls"][0]["url"], "https://log.example.com");
    assert_eq!(more["rekorTlogConfig"]["selector"], "ALL");
    assert_eq!(length(&more["caUrls"]), 1);
    let without = ["--no-default-rekor", "--no-default-oidc"];
    let less = made(folder, &[&begun[..], &without, &rekor].concat());
    assert_eq!(length(&less["rekorTlogUrls"]), 1);
    assert_eq!(length(&less["oidcUrls"]), 0);
    let empty = made(folder, &create);
    assert_eq!(
        empty["mediaType"],
        "application/vnd.dev.sigstore.signingconfig.v0.2+json"
    );
    for (words, expected) in [
        (vec!["--rekor", service], "--rekor-config"),
        (vec!["--rekor-config", "EXACT"], "is none of ANY"),
        (vec!["--fulcio", "url=u"], "api-version is missing"),
        (vec!["--base-config", "none.json"], "none.json"),
    ] {
        refused(folder, &[&create[..], &words].concat(), expected);
    }
}
