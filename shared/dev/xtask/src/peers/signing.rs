//! What cosign-rs signs, in every way that it can, before cosign; the pieces of older cosigns, made into bundles; and cosign's flags.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

use super::stack::{IDENTITY, Stack};
use super::{cosign, cosign_program, present, refused, rekor_v1};
use crate::report::Report;
use crate::run::{self, quiet};

/// What cosign 3.1 verifies of keyed signatures in bundles.
const THEY_VERIFY: [&str; 4] = [
    "ecdsa-sha2-256-nistp256",
    "rsa-sign-pkcs1-2048-sha256",
    "rsa-sign-pkcs1-3072-sha256",
    "rsa-sign-pkcs1-4096-sha256",
];
const PASSWORD: (&str, &str) = ("COSIGN_PASSWORD", "");

pub(crate) fn check(report: &mut Report, stack: &Stack) -> Result<()> {
    let title = "many files, one login and one certificate: cosign verifies each";
    if present("cosign") {
        report.check(title, || many(stack));
        let title = "many images, one login: none is signed twice, and cosign verifies each; a statement is signed as it is";
        report.check(title, || images(stack));
        let title = "keys of every algorithm that a log takes: cosign and cosign-rs verify what the other signs";
        report.check(title, || algorithms(stack));
        let title =
            "statements of every type and both versions: cosign verifies what cosign-rs attests";
        report.check(title, || statements(stack));
        let title = "every flag of cosign is one of ours, or is refused with what took its place";
        report.check(title, flags);
    } else {
        report.skip(title, "cosign");
    }
    let title = "bundle create and upgrade: pieces of cosign 2.5 become a bundle that cosign and cosign-rs verify";
    if present("cosign 2.5") && present("cosign") {
        report.check(title, || pieces(stack));
    } else {
        report.skip(title, "cosign 2.5");
    }
    report.check(
        "doctor finds the stack healthy, and says what is wrong with another trusted root",
        || doctor(stack),
    );
    Ok(())
}

fn ours(stack: &Stack, command: &str) -> Command {
    let mut ours = Command::new(run::ours("cosign-rs"));
    ours.arg(command)
        .arg("--trust-config")
        .arg(stack.client_trust_config())
        .env("HOME", stack.path("home"));
    ours
}

fn theirs(stack: &Stack, command: &str, bundle: &Path, who: &[String]) -> Command {
    let mut theirs = cosign(stack, command);
    theirs
        .arg("--trusted-root")
        .arg(stack.trusted_root())
        .args(who)
        .arg("--bundle")
        .arg(bundle);
    theirs
}

fn beside(file: &Path) -> PathBuf {
    let mut name = file.to_owned().into_os_string();
    name.push(".sigstore.json");
    name.into()
}

fn many(stack: &Stack) -> Result<()> {
    let files: Vec<PathBuf> = (0..12)
        .map(|number| stack.file(&format!("many-{number}"), &format!("file {number}\n")))
        .collect::<Result<_>>()?;
    let token = stack.token()?;
    let sign = || {
        let mut sign = ours(stack, "sign-blob");
        sign.args(["--identity-token", &token, "--if-missing"])
            .args(&files);
        quiet(&mut sign)?.expect(0)
    };
    ensure!(
        sign()?.stderr.contains("12 signed, 0 were before"),
        "not all were signed"
    );
    let mut certificates = Vec::new();
    for file in &files {
        let who = stack.expect(IDENTITY);
        quiet(theirs(stack, "verify-blob", &beside(file), &who).arg(file))?.expect(0)?;
        let bundle: serde_json::Value = serde_json::from_slice(&fs::read(beside(file))?)?;
        let pointer = "/verificationMaterial/certificate/rawBytes";
        certificates.push(bundle.pointer(pointer).context("certificate")?.clone());
    }
    certificates.dedup();
    ensure!(
        certificates.len() == 1,
        "{} certificates for one run",
        certificates.len()
    );
    ensure!(
        sign()?.stderr.contains("0 signed, 12 were before"),
        "what was signed is signed again"
    );
    Ok(())
}

fn images(stack: &Stack) -> Result<()> {
    let images: Vec<String> = (0..3)
        .map(|number| stack.push_image(&format!("batch/image-{number}:v1")))
        .collect::<Result<_>>()?;
    let token = stack.token()?;
    let who = stack.expect(IDENTITY);
    let sign = |rest: &[&str]| -> Result<String> {
        let mut sign = ours(stack, "sign");
        sign.args(["--identity-token", &token, "--if-missing"])
            .args(rest)
            .args(&images);
        Ok(quiet(&mut sign)?.expect(0)?.stderr)
    };
    for (rest, told) in [
        (&[][..], "3 signed, 0 were before"),
        (&[], "0 signed, 3 were before"),
        (&["-a", "stage=release"], "3 signed, 0 were before"),
        (&["-a", "stage=release"], "0 signed, 3 were before"),
    ] {
        let said = sign(rest)?;
        ensure!(said.contains(told), "expected {told}: {said}");
    }
    for image in &images {
        let mut verify = cosign(stack, "verify");
        verify
            .arg("--trusted-root")
            .arg(stack.trusted_root())
            .args(&who)
            .args(["-a", "stage=release", image]);
        quiet(&mut verify)?.expect(0)?;
    }
    let [first, others @ ..] = images.as_slice() else {
        bail!("no images");
    };
    let statement = |digest: &str| {
        let text = format!(
            "{{\"_type\":\"https://in-toto.io/Statement/v1\",\"subject\":[{{\"name\":\"image\",\"digest\":{{\"sha256\":\"{digest}\"}}}}],\
             \"predicateType\":\"https://example.com/reviewed/v1\",\"predicate\":{{\"by\":\"somebody\"}}}}"
        );
        stack.file("image-statement.json", &text)
    };
    let attest = |path: &Path| {
        let mut attest = ours(stack, "attest");
        attest.args(["--identity-token", &token, "--statement"]);
        quiet(attest.arg(path).arg(first))
    };
    let (_, digest) = first.rsplit_once("sha256:").context("no digest")?;
    attest(&statement(digest)?)?.expect(0)?;
    let strange = attest(&statement(&"0".repeat(64))?)?;
    refused(&strange)?;
    ensure!(
        strange.stderr.contains("is not about"),
        "{}",
        strange.stderr
    );
    let verify = |image: &String| {
        let mut verify = cosign(stack, "verify-attestation");
        verify
            .arg("--trusted-root")
            .arg(stack.trusted_root())
            .args(&who)
            .args(["--type", "https://example.com/reviewed/v1", image]);
        quiet(&mut verify)
    };
    verify(first)?.expect(0)?;
    for other in others {
        refused(&verify(other)?)?;
    }
    Ok(())
}

fn algorithms(stack: &Stack) -> Result<()> {
    let folder = stack.path("algorithms");
    fs::create_dir_all(&folder)?;
    let (file, other) = (
        stack.file("algorithms.txt", "a file for every key\n")?,
        stack.file("algorithms-other.txt", "another file\n")?,
    );
    for algorithm in [
        "ecdsa-sha2-256-nistp256",
        "ecdsa-sha2-384-nistp384",
        "ecdsa-sha2-512-nistp521",
        "ed25519-ph",
        "rsa-sign-pkcs1-2048-sha256",
        "rsa-sign-pkcs1-3072-sha256",
        "rsa-sign-pkcs1-4096-sha256",
    ] {
        let prefix = folder.join(algorithm);
        let with = |ending: &str| {
            let mut name = prefix.clone().into_os_string();
            name.push(ending);
            PathBuf::from(name)
        };
        let bundle = with(".json");
        let mut make = Command::new(run::ours("cosign-rs"));
        make.args(["generate-key-pair", "--signing-algorithm", algorithm])
            .arg("--output-key-prefix")
            .arg(&prefix)
            .env(PASSWORD.0, PASSWORD.1);
        quiet(&mut make)?.expect(0)?;
        quiet(
            ours(stack, "sign-blob")
                .arg("--key")
                .arg(with(".key"))
                .arg("--bundle")
                .arg(&bundle)
                .arg(&file)
                .env(PASSWORD.0, PASSWORD.1),
        )?
        .expect(0)
        .context(algorithm)?;
        let mut verify = stack.cosign_rs("verify-blob");
        verify.arg("--key").arg(with(".pub"));
        quiet(verify.arg("--bundle").arg(&bundle).arg(&file))?
            .expect(0)
            .context(algorithm)?;
        if THEY_VERIFY.contains(&algorithm) {
            let key = ["--key".to_owned(), with(".pub").display().to_string()];
            let verify = |file: &Path| quiet(theirs(stack, "verify-blob", &bundle, &key).arg(file));
            verify(&file)?.expect(0).context(algorithm)?;
            refused(&verify(&other)?)?;
            continue;
        }
        // cosign 3.1 does not take the signature that it has just made with such a key.
        if algorithm == "ed25519-ph" {
            continue;
        }
        // cosign 3.1 does not verify these even when it signed them itself, with SHA-256 whatever the key: so it signs, and we verify.
        let mut sign = cosign(stack, "sign-blob");
        sign.args(["--yes", "--signing-config"])
            .arg(stack.signing_config())
            .arg("--trusted-root")
            .arg(stack.trusted_root())
            .arg("--key")
            .arg(with(".key"))
            .arg("--bundle")
            .arg(&bundle)
            .arg(&other)
            .env(PASSWORD.0, PASSWORD.1);
        quiet(&mut sign)?.expect(0).context(algorithm)?;
        for (file, holds) in [(&other, true), (&file, false)] {
            let mut verify = stack.cosign_rs("verify-blob");
            verify.arg("--key").arg(with(".pub"));
            let verified = quiet(verify.arg("--bundle").arg(&bundle).arg(file))?;
            ensure!(
                (verified.code == Some(0)) == holds,
                "{algorithm}: {}",
                verified.all()
            );
        }
    }
    // Fresh keys of another algorithm, under a certificate.
    for algorithm in ["ecdsa-sha2-384-nistp384", "rsa-sign-pkcs1-2048-sha256"] {
        let bundle = folder.join("identity.json");
        quiet(
            ours(stack, "sign-blob")
                .args(["--identity-token", &stack.token()?])
                .args(["--signing-algorithm", algorithm, "--bundle"])
                .arg(&bundle)
                .arg(&file),
        )?
        .expect(0)
        .context(algorithm)?;
        let who = stack.expect(IDENTITY);
        quiet(theirs(stack, "verify-blob", &bundle, &who).arg(&file))?
            .expect(0)
            .context(algorithm)?;
    }
    Ok(())
}

fn statements(stack: &Stack) -> Result<()> {
    let file = stack.file("stated.txt", "a file that much is said about\n")?;
    for (number, (kind, predicate)) in [
        ("slsaprovenance", r#"{"builder":{"id":"https://b"},"buildType":"https://t"}"#),
        ("slsaprovenance02", r#"{"builder":{"id":"https://b"},"buildType":"https://t"}"#),
        ("slsaprovenance1", r#"{"buildDefinition":{"buildType":"https://t"},"runDetails":{"builder":{"id":"https://b"}}}"#),
        ("link", r#"{"_type":"link","name":"n","materials":{},"products":{},"byproducts":{},"command":[],"environment":{}}"#),
        ("spdx", r#"{"spdxVersion":"SPDX-2.3","SPDXID":"SPDXRef-DOCUMENT"}"#),
        ("spdxjson", r#"{"spdxVersion":"SPDX-2.3","SPDXID":"SPDXRef-DOCUMENT"}"#),
        ("cyclonedx", r#"{"bomFormat":"CycloneDX","specVersion":"1.6"}"#),
        ("vuln", r#"{"invocation":{},"scanner":{},"metadata":{"scanStartedOn":"2026-01-01T00:00:00Z","scanFinishedOn":"2026-01-01T00:00:00Z"}}"#),
        ("openvex", r#"{"@context":"https://openvex.dev/ns/v0.2.0","@id":"https://v","author":"a","timestamp":"2026-01-01T00:00:00Z","version":1,"statements":[]}"#),
        ("custom", "anything"),
        ("https://example.com/own/v1", r#"{"own":1}"#),
    ]
    .into_iter()
    .enumerate()
    {
        let predicate = stack.file("stated-predicate", predicate)?;
        let version = if number % 2 == 0 { "v1" } else { "v0.1" };
        let bundle = stack.path("stated.json");
        quiet(
            ours(stack, "attest-blob")
                .args(["--identity-token", &stack.token()?, "--type", kind])
                .args(["--statement-version", version, "--predicate"])
                .arg(&predicate)
                .arg("--bundle")
                .arg(&bundle)
                .arg(&file),
        )?
        .expect(0)
        .context(kind)?;
        let verify = |kind: &str| {
            let who = stack.expect(IDENTITY);
            let mut verify = theirs(stack, "verify-blob-attestation", &bundle, &who);
            quiet(verify.args(["--type", kind]).arg(&file))
        };
        verify(kind)?.expect(0).context(kind)?;
        refused(&verify("https://example.com/other")?).context(kind)?;
    }
    Ok(())
}

fn pieces(stack: &Stack) -> Result<()> {
    let folder = stack.path("pieces");
    fs::create_dir_all(&folder)?;
    let file = stack.file("pieces.txt", "a file that an old cosign signs\n")?;
    let piece = |name: &str| folder.join(name);
    rekor_v1::in_pieces(stack, &file, &folder)?;
    let rekor = stack.address("rekor")?;
    let root = stack.trusted_root();
    let who = stack.expect(IDENTITY);
    let verified = |bundle: &Path| -> Result<()> {
        quiet(theirs(stack, "verify-blob", bundle, &who).arg(&file))?.expect(0)?;
        let mut verify = stack.cosign_rs("verify-blob");
        verify.args(&who).arg("--bundle").arg(bundle).arg(&file);
        quiet(&mut verify)?.expect(0).map(drop)
    };
    let create = |rest: &[(&str, &Path)], out: &Path| {
        let mut create = Command::new(run::ours("cosign-rs"));
        create.args(["bundle", "create", "--rekor-url", &rekor, "--artifact"]);
        create.arg(&file).arg("--out").arg(out);
        create.arg("--trusted-root").arg(&root);
        for (flag, path) in rest {
            create.arg(flag).arg(path);
        }
        quiet(&mut create)
    };
    // Of the old bundle, and of signature and certificate alone, for which the log is searched.
    let (old, signature, certificate) = (piece("old.json"), piece("sig"), piece("cert"));
    create(&[("--bundle", &old)], &piece("one.json"))?.expect(0)?;
    verified(&piece("one.json"))?;
    let alone = [
        ("--signature", signature.as_path()),
        ("--certificate", &certificate),
    ];
    create(&alone, &piece("two.json"))?.expect(0)?;
    verified(&piece("two.json"))?;
    // A bundle of the first version: its entry has a promise and no proof.
    let text = fs::read_to_string(piece("one.json"))?;
    let mut bundle: serde_json::Value = serde_json::from_str(&text)?;
    let mut put = |pointer: &str, value: serde_json::Value| -> Result<()> {
        *bundle.pointer_mut(pointer).context("the bundle")? = value;
        Ok(())
    };
    put(
        "/mediaType",
        "application/vnd.dev.sigstore.bundle+json;version=0.1".into(),
    )?;
    put(
        "/verificationMaterial/tlogEntries/0/inclusionProof",
        serde_json::Value::Null,
    )?;
    let leaf = bundle
        .pointer("/verificationMaterial/certificate")
        .context("certificate")?
        .clone();
    let material = bundle
        .pointer_mut("/verificationMaterial")
        .and_then(serde_json::Value::as_object_mut)
        .context("material")?;
    material.remove("certificate");
    material.insert(
        "x509CertificateChain".into(),
        serde_json::json!({ "certificates": [leaf] }),
    );
    fs::write(piece("v01.json"), bundle.to_string())?;
    let mut upgrade = Command::new(run::ours("cosign-rs"));
    upgrade
        .args(["bundle", "upgrade", "--rekor-url", &rekor, "--out"])
        .arg(piece("three.json"))
        .arg("--trusted-root")
        .arg(&root)
        .arg(piece("v01.json"));
    quiet(&mut upgrade)?.expect(0)?;
    verified(&piece("three.json"))?;
    // cosign's own makes a bundle that holds as well, of the same.
    let mut upgrade = Command::new(cosign_program());
    upgrade
        .args(["bundle", "upgrade", "--rekor-url", &rekor, "--out"])
        .arg(piece("theirs.json"))
        .arg(piece("v01.json"))
        .env("HOME", stack.path("home"));
    quiet(&mut upgrade)?.expect(0)?;
    verified(&piece("theirs.json"))
}

/// Each flag of each command that both have.
fn flags() -> Result<()> {
    // Some write what the flag names.
    let folder = tempfile::tempdir()?;
    let mut missing = Vec::new();
    let commands = [
        "sign",
        "sign-blob",
        "attest",
        "attest-blob",
        "verify",
        "verify-attestation",
        "verify-blob",
        "verify-blob-attestation",
        "generate-key-pair",
        "import-key-pair",
        "public-key",
        "initialize",
        "bundle create",
        "bundle upgrade",
        "env",
        "version",
        "download attestation",
        "download signature",
        "tree",
        "clean",
        "save",
        "load",
        "login",
        "trusted-root create",
        "signing-config create",
    ];
    let mut seen: usize = 0;
    for command in commands {
        let words: Vec<&str> = command.split(' ').collect();
        let help = quiet(Command::new(cosign_program()).args(&words).arg("--help"))?;
        for flag in help.all().lines().filter_map(flag_of) {
            seen = seen.saturating_add(1);
            let asked = format!("{flag}=x");
            let said = quiet(
                Command::new(run::ours("cosign-rs"))
                    .args(&words)
                    .arg(&asked)
                    .current_dir(folder.path()),
            )?;
            let unknown = said.stderr.contains("unexpected argument")
                || said.stderr.contains("unrecognized subcommand");
            if unknown && !said.stderr.contains("hint: ") {
                missing.push(format!("{command} {flag}"));
            }
        }
    }
    ensure!(seen > 300, "only {seen} flags in cosign's help");
    if !missing.is_empty() {
        bail!("unknown, and nothing is said about: {}", missing.join(", "));
    }
    Ok(())
}

/// `    -a, --annotations=[]:` and `  -t, --timeout duration`.
fn flag_of(line: &str) -> Option<String> {
    let line = line.trim_start();
    let long = match line.split_once(", ") {
        Some((short, rest)) if short.len() == 2 => rest,
        _ => line,
    };
    let name = long.strip_prefix("--")?;
    let end = name.find(|symbol: char| !symbol.is_ascii_alphanumeric() && symbol != '-');
    let name = name.get(..end.unwrap_or(name.len()))?;
    (!["help", ""].contains(&name)).then(|| format!("--{name}"))
}

fn doctor(stack: &Stack) -> Result<()> {
    let healthy = quiet(ours(stack, "doctor").args([
        "--output",
        "json",
        "--identity-token",
        &stack.token()?,
    ]))?
    .expect(0)?;
    for shown in [
        "\"healthy\":true",
        "transparency log http",
        "timestamp authority http",
        "clock, by",
    ] {
        ensure!(
            healthy.stdout.contains(shown),
            "{shown} is not in {}",
            healthy.stdout
        );
    }
    let mut strange = Command::new(run::ours("cosign-rs"));
    strange
        .args([
            "doctor",
            "--oidc-disable-ambient-providers",
            "--signing-config",
        ])
        .arg(stack.signing_config())
        .arg("--trusted-root")
        .arg(run::root().join("testdata/trust/public-good.json"))
        .env("HOME", stack.path("home"));
    let said = quiet(&mut strange)?.expect(1)?;
    for shown in [
        "its root is not in the trusted root",
        "-> signing config and trusted root must be of the same instance",
    ] {
        ensure!(
            said.stdout.contains(shown),
            "{shown} is not in {}",
            said.stdout
        );
    }
    Ok(())
}
