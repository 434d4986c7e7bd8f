//! The public client suites, driven the way they drive a client: one process a call, by the suite's own command line.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

use crate::peers::stack::{IDENTITY as IDENTITY_OF_STACK, Stack};
use crate::report::Report;
use crate::run::{self, live, quiet};

/// What the suite expects of a bundle that names nobody else.
const IDENTITY: &str = "https://github.com/sigstore-conformance/extremely-dangerous-public-oidc-beacon/.github/workflows/extremely-dangerous-oidc-beacon.yml@refs/heads/main";
const ISSUER: &str = "https://token.actions.githubusercontent.com";
/// Folders in the version of the suite that `testdata/` holds: fewer means that data was lost.
const MINIMUM_FOLDERS: usize = 70;

/// The offline verification part of sigstore-conformance: each folder once by path and once by digest.
pub(crate) fn sigstore(report: &mut Report) -> Result<()> {
    let suite = run::root().join("testdata/sigstore-conformance/bundle-verify");
    let mut folders: Vec<PathBuf> = fs::read_dir(&suite)
        .with_context(|| suite.display().to_string())?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.is_dir())
        .collect();
    folders.sort();
    if folders.len() < MINIMUM_FOLDERS {
        bail!(
            "{} folders in {}, expected at least {MINIMUM_FOLDERS}",
            folders.len(),
            suite.display()
        );
    }
    let mut wrong = Vec::new();
    for folder in &folders {
        for by_digest in [false, true] {
            if let Err(error) = case(&suite, folder, by_digest) {
                let name = folder.file_name().unwrap_or_default().to_string_lossy();
                wrong.push(format!(
                    "{name} by {}: {error:#}",
                    if by_digest { "digest" } else { "path" }
                ));
            }
        }
    }
    report.check(
        &format!(
            "sigstore-conformance, verification: {} calls",
            folders.len().saturating_mul(2)
        ),
        || {
            if wrong.is_empty() {
                Ok(())
            } else {
                bail!("{}", wrong.join("\n"))
            }
        },
    );
    Ok(())
}

fn case(suite: &Path, folder: &Path, by_digest: bool) -> Result<()> {
    let own = |name: &str| Some(folder.join(name)).filter(|path| path.is_file());
    let text = |name: &str, default: &str| -> Result<String> {
        own(name).map_or_else(
            || Ok(default.to_owned()),
            |path| Ok(fs::read_to_string(path)?.trim().to_owned()),
        )
    };
    let mut command = Command::new(run::ours("cosign-rs"));
    command
        .arg("verify-bundle")
        // Whom to trust is in the folder, or what is built in.
        .arg("--offline")
        .env("TUF_ROOT", suite.join("no-cache"))
        .arg("--bundle")
        .arg(folder.join("bundle.sigstore.json"));
    if let Some(key) = own("key.pub") {
        command.arg("--key").arg(key);
    } else {
        command
            .args(["--certificate-identity", &text("identity", IDENTITY)?])
            .args(["--certificate-oidc-issuer", &text("issuer", ISSUER)?]);
    }
    if let Some(root) = own("trusted_root.json") {
        command.arg("--trusted-root").arg(root);
    }
    let artifact = own("artifact").unwrap_or_else(|| suite.join("a.txt"));
    if by_digest {
        let sum = quiet(Command::new("sha256sum").arg(&artifact))?.expect(0)?;
        command.arg(format!(
            "sha256:{}",
            sum.stdout.split(' ').next().unwrap_or_default()
        ));
    } else {
        command.arg(artifact);
    }
    let refuse = folder.to_string_lossy().ends_with("_fail");
    let finished = quiet(&mut command)?;
    if !refuse {
        finished.expect(0)?;
        return Ok(());
    }
    // Those of the exit codes that say no; the README has all of them.
    let said_no = matches!(finished.code, Some(1 | 10..=13 | 20..=25));
    let why = finished.stderr.contains("error: ") && !finished.stderr.contains("panicked");
    ensure!(said_no && why, "not refused in order: {}", finished.all());
    Ok(())
}

/// The signing part of sigstore-conformance, with its command line and its questions, against an instance of our own: the suite itself asks the public
/// staging instance.
pub(crate) fn signing(report: &mut Report, stack: &Stack) {
    report.check("sigstore-conformance, signing: a file and a statement, round trip, no root in the bundle, refusals", || {
        for in_toto in [false, true] {
            signed(stack, in_toto).with_context(|| format!("in-toto: {in_toto}"))?;
        }
        // A token that is none, and one that is for somebody else.
        let file = stack.file("conformance.txt", "a file\n")?;
        for token in ["no-token", &stack.token_for("somebody-else")?] {
            let bundle = stack.path("conformance-refused.json");
            let finished = quiet(sign_bundle(stack, token, &bundle, false).arg(&file))?;
            if finished.code == Some(0) || !finished.stderr.contains("error: ") || bundle.exists() {
                bail!("refused without a reason, or with a bundle: {}", finished.stderr);
            }
        }
        Ok(())
    });
}

fn sign_bundle(stack: &Stack, token: &str, bundle: &Path, in_toto: bool) -> Command {
    let mut sign = Command::new(run::ours("cosign-rs"));
    sign.arg("sign-bundle");
    if in_toto {
        sign.arg("--in-toto");
    }
    sign.args(["--identity-token", token, "--trusted-root"])
        .arg(stack.trusted_root())
        .arg("--signing-config")
        .arg(stack.signing_config())
        .arg("--bundle")
        .arg(bundle);
    sign
}

fn signed(stack: &Stack, in_toto: bool) -> Result<()> {
    let artifact = stack.file("conformance.txt", "a file that the suite would sign\n")?;
    let sum = quiet(Command::new("sha256sum").arg(&artifact))?.expect(0)?;
    let sum = sum.stdout.split(' ').next().unwrap_or_default().to_owned();
    let statement = format!(
        "{{\"_type\":\"https://in-toto.io/Statement/v1\",\"subject\":[{{\"name\":\"conformance.txt\",\"digest\":{{\"sha256\":\"{sum}\"}}}}],\
         \"predicateType\":\"https://example.com/predicate/v1\",\"predicate\":{{\"a\":1}}}}"
    );
    let statement = stack.file("conformance-statement.json", &statement)?;
    let bundle = stack.path("conformance.sigstore.json");
    let signed = if in_toto { &statement } else { &artifact };
    quiet(sign_bundle(stack, &stack.token()?, &bundle, in_toto).arg(signed))?.expect(0)?;
    let json: serde_json::Value = serde_json::from_slice(&fs::read(&bundle)?)?;
    let has = |pointer: &str| json.pointer(pointer).is_some();
    if has("/dsseEnvelope") != in_toto || has("/messageSignature") == in_toto {
        bail!("the bundle has other content: {json}");
    }
    // One certificate, which is a leaf, and no chain that could have a root in it.
    if !has("/verificationMaterial/certificate")
        || has("/verificationMaterial/x509CertificateChain")
    {
        bail!("the bundle has a chain: {json}");
    }
    for what in [artifact.display().to_string(), format!("sha256:{sum}")] {
        for (identity, holds) in [(IDENTITY_OF_STACK, true), ("mallory@example.com", false)] {
            let mut verify = Command::new(run::ours("cosign-rs"));
            verify
                .arg("verify-bundle")
                .arg("--bundle")
                .arg(&bundle)
                .args(["--certificate-identity", identity])
                .args(["--certificate-oidc-issuer", stack.issuer()])
                .arg("--trusted-root")
                .arg(stack.trusted_root())
                .arg(&what);
            let finished = quiet(&mut verify)?;
            if (finished.code == Some(0)) != holds {
                bail!("{identity}: {}", finished.all());
            }
        }
    }
    Ok(())
}

/// Where somebody has tuf-conformance: a folder with its package, whose `python3` can run it. It is on no registry, so it is not installed here.
const TUF_SUITE: &str = "TUF_CONFORMANCE";
/// Cases of version 2.4.0: fewer means that some were left out.
const TUF_CASES: usize = 113;

/// What tuf-conformance checks, as tests of ours over a repository that says the same things; and the suite itself where it is.
pub(crate) fn tuf(report: &mut Report) -> Result<()> {
    report.check("what tuf-conformance checks, as tests of ours", || {
        live(&mut run::cargo([
            "test", "--quiet", "-p", "tuf", "--test", "update", "--test", "search", "--test",
            "real",
        ]))
    });
    let title = format!("tuf-conformance: {TUF_CASES} cases, none expected to fail");
    let Some(suite) = std::env::var_os(TUF_SUITE).map(PathBuf::from) else {
        report.skip(&title, "tuf-conformance (its folder in $TUF_CONFORMANCE)");
        return Ok(());
    };
    if !run::installed("faketime") {
        report.skip(&title, "faketime");
        return Ok(());
    }
    report.check(&title, || {
        let client = format!("{} tuf-conformance", run::ours("cosign-rs").display());
        let finished = quiet(
            Command::new("python3")
                .args([
                    "-m",
                    "pytest",
                    "-q",
                    "--entrypoint",
                    &client,
                    "tuf_conformance",
                ])
                .current_dir(&suite),
        )?
        .expect(0)?;
        let passed = format!("{TUF_CASES} passed in ");
        if !finished.stdout.contains(&passed) {
            bail!("not {TUF_CASES} cases passed: {}", finished.stdout);
        }
        Ok(())
    });
    Ok(())
}
