//! The Rekor v1 log: the clients that still sign with it, and upstream's own tool for it.

mod kinds;

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::report::Report;
use crate::run::{Finished, quiet};

use super::stack::{IDENTITY, Stack};
use super::upstream::REKOR_CLI;
use super::{
    SIGNERS, Signer, VERIFIERS, Verifier, blobs, cosign, install, javascript_statement, present,
};

/// `stack` is set to sign with Rekor v1.
pub(crate) fn check(report: &mut Report, stack: &Stack) -> Result<()> {
    // A bundle of entry 0 has no index in JSON, and some verifiers want one: so the first entry is not one for all of them.
    javascript_statement(report, stack, "dsse")?;
    let mut signers = SIGNERS.to_vec();
    signers.push(Signer {
        name: "cosign 2.5",
        sign: cosign_2_sign,
    });
    let mut verifiers = VERIFIERS.to_vec();
    verifiers.push(Verifier {
        name: "cosign 2.5",
        verify: cosign_2_verify,
    });
    blobs(report, stack, "our Rekor v1", &signers, &verifiers)?;
    javascript_statement(report, stack, "intoto")?;
    attestation(report, stack)?;
    rekor_cli(report, stack)?;
    kinds::check(report, stack)
}

/// In the folder of the peers.
pub(super) const COSIGN_2: &str = "trixie/usr/bin/cosign";

fn cosign_2(stack: &Stack, command: &str) -> Result<Command> {
    let mut cosign = cosign_2_plain(stack, command)?;
    cosign.arg("--new-bundle-format");
    Ok(cosign)
}

/// It knows no signing configuration, and has the keys of its services in variables.
pub(super) fn cosign_2_plain(stack: &Stack, command: &str) -> Result<Command> {
    let mut cosign = Command::new(install::folder().join(COSIGN_2));
    cosign
        .arg(command)
        .env("HOME", stack.path("home"))
        .env("TUF_ROOT", stack.path("tuf-cache-2"));
    let root: Value = serde_json::from_slice(&fs::read(stack.trusted_root())?)?;
    for (variable, label, pointer) in [
        (
            "SIGSTORE_CT_LOG_PUBLIC_KEY_FILE",
            "PUBLIC KEY",
            "/ctlogs/0/publicKey/rawBytes",
        ),
        // The first one is the v2 log's.
        (
            "SIGSTORE_REKOR_PUBLIC_KEY",
            "PUBLIC KEY",
            "/tlogs/1/publicKey/rawBytes",
        ),
        (
            "SIGSTORE_ROOT_FILE",
            "CERTIFICATE",
            "/certificateAuthorities/0/certChain/certificates/1/rawBytes",
        ),
    ] {
        let raw = root.pointer(pointer).and_then(Value::as_str);
        let raw = raw.with_context(|| format!("the trusted root has no {pointer}"))?;
        let mut pem = format!("-----BEGIN {label}-----\n");
        for line in raw.as_bytes().chunks(64) {
            pem.push_str(std::str::from_utf8(line)?);
            pem.push('\n');
        }
        writeln!(pem, "-----END {label}-----")?;
        let file = stack.file(&format!("{variable}.pem"), &pem)?;
        cosign.env(variable, file);
    }
    Ok(cosign)
}

fn cosign_2_sign(stack: &Stack, artifact: &Path, bundle: &Path) -> Result<Finished> {
    quiet(
        cosign_2(stack, "sign-blob")?
            .args(["--yes", "--identity-token", &stack.token()?])
            .args(["--fulcio-url", &stack.address("fulcio")?])
            .args(["--rekor-url", &stack.address("rekor")?])
            .arg("--bundle")
            .arg(bundle)
            .arg(artifact),
    )
}

/// Signs as before there were bundles: `old.json` with everything, `sig` and `cert`.
pub(super) fn in_pieces(stack: &Stack, artifact: &Path, folder: &Path) -> Result<()> {
    let mut sign = cosign_2(stack, "sign-blob")?;
    let words: Vec<_> = sign.get_args().map(std::ffi::OsStr::to_owned).collect();
    let mut old = Command::new(sign.get_program());
    old.args(words.iter().filter(|word| *word != "--new-bundle-format"));
    for (name, value) in sign.get_envs() {
        if let Some(value) = value {
            old.env(name, value);
        }
    }
    sign = old;
    sign.args(["--yes", "--identity-token", &stack.token()?])
        .args(["--fulcio-url", &stack.address("fulcio")?])
        .args(["--rekor-url", &stack.address("rekor")?]);
    for (flag, name) in [
        ("--bundle", "old.json"),
        ("--output-signature", "sig"),
        ("--output-certificate", "cert"),
    ] {
        sign.arg(flag).arg(folder.join(name));
    }
    quiet(sign.arg(artifact))?.expect(0).map(drop)
}

fn cosign_2_verify(
    stack: &Stack,
    artifact: &Path,
    bundle: &Path,
    identity: &str,
) -> Result<Finished> {
    quiet(
        cosign_2(stack, "verify-blob")?
            .arg("--trusted-root")
            .arg(stack.trusted_root())
            .args(stack.expect(identity))
            .arg("--bundle")
            .arg(bundle)
            .arg(artifact),
    )
}

fn attestation(report: &mut Report, stack: &Stack) -> Result<()> {
    let title = "cosign attests to a blob with our Rekor v1, cosign-rs verifies it";
    if !present("cosign") {
        report.skip(title, "cosign");
        return Ok(());
    }
    let artifact = stack.file("attested.txt", "a file that somebody attests to\n")?;
    let predicate = stack.file("predicate.json", "{\"made\": \"by hand\"}\n")?;
    let bundle = stack.path("attestation.sigstore.json");
    report.check(title, || {
        quiet(
            cosign(stack, "attest-blob")
                .args([
                    "--yes",
                    "--type",
                    "custom",
                    "--identity-token",
                    &stack.token()?,
                ])
                .arg("--signing-config")
                .arg(stack.signing_config())
                .arg("--trusted-root")
                .arg(stack.trusted_root())
                .arg("--predicate")
                .arg(&predicate)
                .arg("--bundle")
                .arg(&bundle)
                .arg(&artifact),
        )?
        .expect(0)?;
        quiet(
            stack
                .cosign_rs("verify-blob-attestation")
                .args(["--type", "custom"])
                .args(stack.expect(IDENTITY))
                .arg("--bundle")
                .arg(&bundle)
                .arg(&artifact),
        )?
        .expect(0)
        .map(drop)
    });
    Ok(())
}

/// Every command of rekor-cli that reads or writes. It keeps the last tree that it saw, and checks that the next one grew out of it.
fn rekor_cli(report: &mut Report, stack: &Stack) -> Result<()> {
    if !present("rekor-cli") {
        report.skip(
            "rekor-cli: upload, verify, get, search, loginfo, logproof",
            "rekor-cli",
        );
        return Ok(());
    }
    let (key, public) = (stack.path("cli.pem"), stack.path("cli.pub.pem"));
    let artifact = stack.file("cli.txt", "a file of which rekor-cli knows the digest\n")?;
    let signature = stack.path("cli.sig");
    let mut digest = String::new();
    report.check("openssl signs a file for rekor-cli", || {
        openssl(
            &[
                "genpkey",
                "-algorithm",
                "EC",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
                "-out",
            ],
            &[&key],
        )?;
        openssl(
            &["pkey", "-pubout", "-in"],
            &[&key, Path::new("-out"), &public],
        )?;
        openssl(
            &["dgst", "-sha256", "-out"],
            &[&signature, Path::new("-sign"), &key, &artifact],
        )?;
        let printed = openssl(&["dgst", "-sha256", "-r"], &[&artifact])?;
        digest.extend(printed.stdout.split(' ').next());
        Ok(())
    });
    let rekor = stack.address("rekor")?;
    let cli = |command: &str| command_of(stack, &rekor, command);
    let entry = |command: &str| {
        let mut cli = cli(command);
        cli.args([
            "--type",
            "hashedrekord:0.0.1",
            "--pki-format",
            "x509",
            "--artifact-hash",
            &digest,
        ])
        .arg("--signature")
        .arg(&signature)
        .arg("--public-key")
        .arg(&public);
        quiet(&mut cli)
    };
    let mut uuid = String::new();
    report.check("rekor-cli loginfo", || {
        quiet(&mut cli("loginfo"))?.expect(0).map(drop)
    });
    report.check("rekor-cli upload, and again", || {
        let uploaded = entry("upload")?.expect(0)?;
        let location = text(&uploaded, "Location")?;
        uuid.extend(location.rsplit('/').next());
        ensure!(uuid.len() == 80, "{location}");
        let again = entry("upload")?.expect(0)?;
        ensure!(text(&again, "Location")? == location, "{}", again.all());
        Ok(())
    });
    report.check("rekor-cli verify", || entry("verify")?.expect(0).map(drop));
    report.check("rekor-cli get", || {
        let by_uuid = quiet(cli("get").args(["--uuid", &uuid]))?.expect(0)?;
        ensure!(by_uuid.stdout.contains(&digest), "{}", by_uuid.all());
        let index = number(&by_uuid, "LogIndex")?;
        let by_index = quiet(cli("get").args(["--log-index", &index.to_string()]))?.expect(0)?;
        ensure!(by_index.stdout.contains(&digest), "{}", by_index.all());
        Ok(())
    });
    report.check("rekor-cli search", || {
        let by_digest = quiet(cli("search").args(["--sha", &digest]))?.expect(0)?;
        ensure!(by_digest.stdout.contains(&uuid), "{}", by_digest.all());
        let by_key = quiet(
            cli("search")
                .args(["--pki-format", "x509", "--public-key"])
                .arg(&public),
        )?
        .expect(0)?;
        ensure!(by_key.stdout.contains(&uuid), "{}", by_key.all());
        // What the other clients signed, above.
        let by_email = quiet(cli("search").args(["--email", IDENTITY]))?.expect(0)?;
        ensure!(by_email.stdout.contains("UUIDs"), "{}", by_email.all());
        let both = ["--email", IDENTITY, "--sha", &digest, "--operator", "and"];
        let neither = quiet(cli("search").args(both))?;
        ensure!(!neither.stdout.contains(&uuid), "{}", neither.all());
        Ok(())
    });
    report.check("rekor-cli logproof and loginfo of the grown tree", || {
        let info = quiet(&mut cli("loginfo"))?.expect(0)?;
        let size = number(&info, "ActiveTreeSize")?;
        quiet(cli("logproof").args(["--first-size", "1", "--last-size", &size.to_string()]))?
            .expect(0)
            .map(drop)
    });
    Ok(())
}

/// rekor-cli, which speaks JSON and keeps what it saw in the checks' own folder.
fn command_of(stack: &Stack, rekor: &str, command: &str) -> Command {
    let mut cli = Command::new(REKOR_CLI.program().unwrap_or_default());
    cli.args([command, "--rekor_server", rekor, "--format", "json"])
        .env("HOME", stack.path("home"));
    cli
}

fn openssl(arguments: &[&str], files: &[&Path]) -> Result<Finished> {
    quiet(Command::new("openssl").args(arguments).args(files))?.expect(0)
}

fn member(finished: &Finished, name: &str) -> Result<serde_json::Value> {
    let line = finished.stdout.lines().find(|line| line.starts_with('{'));
    let json: serde_json::Value =
        serde_json::from_str(line.unwrap_or_default()).with_context(|| finished.all())?;
    let member = json
        .get(name)
        .with_context(|| format!("no {name} in {json}"))?;
    Ok(member.clone())
}

fn text(finished: &Finished, name: &str) -> Result<String> {
    let member = member(finished, name)?;
    Ok(member.as_str().context("not text")?.to_owned())
}

fn number(finished: &Finished, name: &str) -> Result<u64> {
    let member = member(finished, name)?;
    member
        .as_u64()
        .with_context(|| format!("{member} is no number"))
}
