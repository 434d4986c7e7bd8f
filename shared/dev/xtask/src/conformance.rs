//! The public client suites, driven the way they drive a client: one process a call, by the suite's own command line.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

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
    let finished = quiet(&mut command)?.expect(i32::from(refuse))?;
    if refuse && (!finished.stderr.contains("error: ") || finished.stderr.contains("panicked")) {
        bail!("refused without a reason: {}", finished.stderr);
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
