//! The public client suites, driven the way they drive a client: one process a call, by the suite's own command line.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::report::Report;
use crate::run::{self, quiet};

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

/// tuf-conformance tests a TUF client, which cosign-rs does not have yet.
pub(crate) fn tuf(report: &mut Report) {
    report.check("tuf-conformance", || {
        bail!("cosign-rs has no TUF client yet: it takes its trusted root from a file (--trusted-root)")
    });
}
