//! Our services and our CLI against the real clients and servers, in both directions.
//!
//! One `sigstack` runs for all checks. Each peer that is not installed is reported as skipped, by name.

pub(crate) mod cluster;
mod create;
pub(crate) mod ctlog;
mod identity;
mod image_policy;
mod images;
pub(crate) mod install;
mod issuers;
mod keyed;
mod keys;
pub(crate) mod record;
mod rekor_v1;
mod services;
mod sign_in;
mod signing;
pub(crate) mod sigstore_verify;
pub(crate) mod site;
pub(crate) mod stack;
mod storage;
mod timestamps;
mod tuf;
mod tuf_client;
mod tuf_probes;
mod tuf_repository;
pub(crate) mod upstream;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use crate::report::Report;
use crate::run::{self, Finished, quiet};
use stack::{IDENTITY, Stack};

pub(crate) fn check(report: &mut Report) -> Result<()> {
    cluster::check(report)?;
    identity::check(report)?;
    let mut stack = None;
    report.check("sigstack starts and answers", || {
        stack = Some(Stack::start()?);
        Ok(())
    });
    let Some(mut stack) = stack else {
        return Ok(());
    };
    blobs(report, &stack, "our services", &SIGNERS, &VERIFIERS)?;
    javascript_statement(report, &stack, "dsse")?;
    issuing_with(report, &stack)?;
    stack.sign_with_rekor(1);
    rekor_v1::check(report, &stack)?;
    stack.sign_with_rekor(2);
    tuf::check(report, &stack)?;
    tuf_client::check(report, &stack)?;
    tuf_probes::check(report)?;
    create::check(report, &stack)?;
    tuf_repository::check(report, &stack)?;
    record::check(report)?;
    services::check(report)?;
    ctlog::check(report)?;
    keyed::check(report, &stack)?;
    signing(report, &stack)?;
    keys::check(report)?;
    images::check(report, &stack)?;
    storage::check(report, &stack)
}

/// Those checks alone that are about where signatures are kept.
pub(crate) fn storage(report: &mut Report) -> Result<()> {
    storage::check(report, &Stack::start()?)
}

/// Those checks alone that are about certificates and timestamps.
pub(crate) fn issuing(report: &mut Report) -> Result<()> {
    issuing_with(report, &Stack::start()?)
}

fn issuing_with(report: &mut Report, stack: &Stack) -> Result<()> {
    issuers::check(report, stack)?;
    timestamps::check(report, stack)
}

/// Those checks alone that are about signing: who signs in how, and what older and other programs make of it.
pub(crate) fn signing_alone(report: &mut Report) -> Result<()> {
    signing(report, &Stack::start()?)
}

fn signing(report: &mut Report, stack: &Stack) -> Result<()> {
    crate::conformance::signing(report, stack);
    sign_in::check(report, stack)?;
    signing::check(report, stack)
}

/// The trust root alone, beside a stack of its own.
pub(crate) fn root(report: &mut Report) -> Result<()> {
    tuf_repository::check(report, &Stack::start()?)
}

/// What clients of others make of the same metadata, and of the same flags.
pub(crate) fn trust(report: &mut Report) -> Result<()> {
    tuf_probes::check(report)?;
    create::check(report, &Stack::start()?)
}

/// A program that can sign a file with our services.
#[derive(Clone, Copy)]
struct Signer {
    name: &'static str,
    sign: fn(&Stack, &Path, &Path) -> Result<Finished>,
}

/// A program that can verify a bundle with our trusted root.
#[derive(Clone, Copy)]
struct Verifier {
    name: &'static str,
    verify: fn(&Stack, &Path, &Path, &str) -> Result<Finished>,
}

const SIGNERS: [Signer; 5] = [
    Signer {
        name: "cosign-rs",
        sign: ours_sign,
    },
    Signer {
        name: "sigstore-python",
        sign: python_sign,
    },
    Signer {
        name: "sigstore-js",
        sign: javascript_sign,
    },
    Signer {
        name: "cosign",
        sign: cosign_sign,
    },
    Signer {
        name: "sigstore-go",
        sign: go_sign,
    },
];

const VERIFIERS: [Verifier; 5] = [
    Verifier {
        name: "cosign-rs",
        verify: ours_verify,
    },
    Verifier {
        name: "cosign",
        verify: cosign_verify,
    },
    Verifier {
        name: "sigstore-python",
        verify: python_verify,
    },
    Verifier {
        name: "sigstore-js",
        verify: javascript_verify,
    },
    Verifier {
        name: "sigstore-go",
        verify: go_verify,
    },
];

/// Every signer's bundle goes through every verifier; each verifier must also refuse a wrong identity and a changed file.
fn blobs(
    report: &mut Report,
    stack: &Stack,
    services: &str,
    signers: &[Signer],
    verifiers: &[Verifier],
) -> Result<()> {
    let artifact = stack.file("artifact.txt", "a file that many programs sign\n")?;
    let changed = stack.file("changed.txt", "a file that nobody signed\n")?;
    for signer in signers {
        let title = format!("{} signs a blob with {services}", signer.name);
        if !present(signer.name) {
            report.skip(&title, signer.name);
            continue;
        }
        let bundle = stack.path(&format!("{}.sigstore.json", signer.name));
        let mut signed = false;
        report.check(&title, || {
            (signer.sign)(stack, &artifact, &bundle)?.expect(0)?;
            signed = true;
            Ok(())
        });
        if !signed {
            continue;
        }
        for verifier in verifiers {
            let title = format!(
                "{} verifies a blob that {} signed with {services}, and refuses another",
                verifier.name, signer.name
            );
            if !present(verifier.name) {
                report.skip(&title, verifier.name);
                continue;
            }
            report.check(&title, || {
                (verifier.verify)(stack, &artifact, &bundle, IDENTITY)?.expect(0)?;
                refused(&(verifier.verify)(
                    stack,
                    &artifact,
                    &bundle,
                    "mallory@example.com",
                )?)?;
                refused(&(verifier.verify)(stack, &changed, &bundle, IDENTITY)?)
            });
        }
    }
    Ok(())
}

/// sigstore-js sends entries of kind `dsse` or `intoto`, the former also to the newest Rekor v2, which refuses it; ours takes it.
fn javascript_statement(report: &mut Report, stack: &Stack, kind: &str) -> Result<()> {
    let title =
        &format!("sigstore-js signs an in-toto statement ({kind} entry), cosign-rs verifies it");
    if !present("sigstore-js") {
        report.skip(title, "sigstore-js");
        return Ok(());
    }
    let artifact = stack.file("built.txt", "a file with provenance\n")?;
    let digest = quiet(Command::new("sha256sum").arg(&artifact))?.expect(0)?;
    let statement = stack.file(
        "statement.json",
        &format!(
            "{{\"_type\":\"https://in-toto.io/Statement/v1\",\"subject\":[{{\"name\":\"built.txt\",\"digest\":{{\"sha256\":\"{}\"}}}}],\
             \"predicateType\":\"https://slsa.dev/provenance/v1\",\"predicate\":{{}}}}",
            digest.stdout.split(' ').next().unwrap_or_default()
        ),
    )?;
    let bundle = stack.path("statement.sigstore.json");
    report.check(title, || {
        node(
            stack,
            "sign.js",
            &[
                stack.signing_config(),
                stack.token()?.into(),
                kind.into(),
                statement,
                bundle.clone(),
            ],
        )?
        .expect(0)?;
        quiet(
            stack
                .cosign_rs("verify-blob-attestation")
                .args(["--type", "slsaprovenance1"])
                .args(stack.expect(IDENTITY))
                .arg("--bundle")
                .arg(&bundle)
                .arg(&artifact),
        )?
        .expect(0)?;
        Ok(())
    });
    Ok(())
}

fn refused(finished: &Finished) -> Result<()> {
    match finished.code {
        Some(0) => bail!("accepted what it must refuse:\n{}", finished.all()),
        Some(_) => Ok(()),
        None => bail!("ended by a signal:\n{}", finished.all()),
    }
}

/// Is the peer there? Our own program always is.
pub(crate) fn present(name: &str) -> bool {
    match name {
        "cosign" => cosign_program().is_file(),
        "cosign 2.5" => install::folder().join(rekor_v1::COSIGN_2).is_file(),
        "sigstore-python" | "python-tuf" => python_program().is_file(),
        "gh" => install::gh_program().is_file(),
        "sigstore-js" | "sigstore-js (TUF)" | "tuf-js" => {
            install::folder().join("js/node_modules/sigstore").is_dir() && run::installed("node")
        }
        "sigstore-go" => sigstore_go_program().is_file(),
        "gitsign" => debian_program("gitsign").is_file(),
        "sigstore-java" => install::java_is_there(),
        "oidc-provider" => install::provider_is_there() && run::installed("node"),
        "rekor-cli" => upstream::REKOR_CLI.program().is_some(),
        "docker-registry" => run::installed("docker-registry"),
        image_policy::NAME => image_policy::is_there(),
        "a registry with referrers (go-containerregistry)" => referrers_program().is_file(),
        _ => true,
    }
}

pub(crate) fn cosign_program() -> PathBuf {
    debian_program("cosign")
}

fn debian_program(name: &str) -> PathBuf {
    install::folder().join("debian/usr/bin").join(name)
}

fn python_program() -> PathBuf {
    install::folder().join("python/bin/sigstore")
}

fn referrers_program() -> PathBuf {
    install::folder().join("go/referrers-registry")
}

fn ours_sign(stack: &Stack, artifact: &Path, bundle: &Path) -> Result<Finished> {
    quiet(
        Command::new(run::ours("cosign-rs"))
            .args([
                "sign-blob",
                "--yes",
                "--identity-token",
                &stack.token()?,
                "--trust-config",
            ])
            .arg(stack.client_trust_config())
            .arg("--bundle")
            .arg(bundle)
            .arg(artifact),
    )
}

fn ours_verify(stack: &Stack, artifact: &Path, bundle: &Path, identity: &str) -> Result<Finished> {
    quiet(
        stack
            .cosign_rs("verify-blob")
            .args(stack.expect(identity))
            .arg("--offline")
            .arg("--bundle")
            .arg(bundle)
            .arg(artifact),
    )
}

/// cosign with a home of its own, so that nothing of this machine's configuration takes part.
fn cosign(stack: &Stack, command: &str) -> Command {
    let mut cosign = Command::new(cosign_program());
    cosign
        .arg(command)
        .env("HOME", stack.path("home"))
        .env("TUF_ROOT", stack.path("tuf-cache"));
    cosign
}

fn cosign_sign(stack: &Stack, artifact: &Path, bundle: &Path) -> Result<Finished> {
    quiet(
        cosign(stack, "sign-blob")
            .args([
                "--yes",
                "--identity-token",
                &stack.token()?,
                "--signing-config",
            ])
            .arg(stack.signing_config())
            .arg("--trusted-root")
            .arg(stack.trusted_root())
            .arg("--bundle")
            .arg(bundle)
            .arg(artifact),
    )
}

fn cosign_verify(
    stack: &Stack,
    artifact: &Path,
    bundle: &Path,
    identity: &str,
) -> Result<Finished> {
    quiet(
        cosign(stack, "verify-blob")
            .arg("--trusted-root")
            .arg(stack.trusted_root())
            .args(stack.expect(identity))
            .arg("--bundle")
            .arg(bundle)
            .arg(artifact),
    )
}

fn python(stack: &Stack) -> Command {
    let mut python = Command::new(python_program());
    python
        .arg("--trust-config")
        .arg(stack.client_trust_config())
        .env("HOME", stack.path("home"));
    python
}

fn python_sign(stack: &Stack, artifact: &Path, bundle: &Path) -> Result<Finished> {
    quiet(
        python(stack)
            .args([
                "sign",
                "--overwrite",
                "--identity-token",
                &stack.token()?,
                "--bundle",
            ])
            .arg(bundle)
            .arg(artifact),
    )
}

fn python_verify(
    stack: &Stack,
    artifact: &Path,
    bundle: &Path,
    identity: &str,
) -> Result<Finished> {
    quiet(
        python(stack)
            .args([
                "verify",
                "identity",
                "--offline",
                "--cert-identity",
                identity,
                "--cert-oidc-issuer",
                stack.issuer(),
                "--bundle",
            ])
            .arg(bundle)
            .arg(artifact),
    )
}

/// One of the scripts beside this crate, with the installed libraries.
fn node(_stack: &Stack, script: &str, arguments: &[PathBuf]) -> Result<Finished> {
    quiet(
        Command::new("node")
            .arg(
                Path::new(env!("CARGO_MANIFEST_DIR"))
                    .join("peers")
                    .join(script),
            )
            .args(arguments)
            .env("NODE_PATH", install::folder().join("js/node_modules")),
    )
}

fn javascript_sign(stack: &Stack, artifact: &Path, bundle: &Path) -> Result<Finished> {
    node(
        stack,
        "sign.js",
        &[
            stack.signing_config(),
            stack.token()?.into(),
            "message".into(),
            artifact.into(),
            bundle.into(),
        ],
    )
}

fn javascript_verify(
    stack: &Stack,
    artifact: &Path,
    bundle: &Path,
    identity: &str,
) -> Result<Finished> {
    node(
        stack,
        "verify.js",
        &[
            stack.trusted_root(),
            bundle.into(),
            artifact.into(),
            identity.into(),
            stack.issuer().into(),
        ],
    )
}

/// sigstore-go's own examples, as Debian packages them.
fn go_sign(stack: &Stack, artifact: &Path, bundle: &Path) -> Result<Finished> {
    let finished = quiet(
        Command::new(debian_program("sigstore-go-signing"))
            .args(["-rekor", "-tsa", "-id-token", &stack.token()?])
            .arg("-signing-config")
            .arg(stack.signing_config())
            .arg("-trusted-root")
            .arg(stack.trusted_root())
            .arg(artifact)
            .env("HOME", stack.path("home")),
    )?;
    // It prints its public key before the bundle.
    let json = finished.stdout.lines().find(|line| line.starts_with('{'));
    std::fs::write(bundle, json.unwrap_or_default())?;
    Ok(finished)
}

pub(crate) fn sigstore_go_program() -> PathBuf {
    debian_program("sigstore-go-verification")
}

fn go_verify(stack: &Stack, artifact: &Path, bundle: &Path, identity: &str) -> Result<Finished> {
    quiet(
        Command::new(sigstore_go_program())
            .arg("-artifact")
            .arg(artifact)
            .args(["-expectedIssuer", stack.issuer(), "-expectedSAN", identity])
            .arg("-trustedrootJSONpath")
            .arg(stack.trusted_root())
            .arg(bundle)
            .env("HOME", stack.path("home")),
    )
}
