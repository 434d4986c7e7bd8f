//! The lock file against a dated RustSec snapshot, without a network.
//!
//! The snapshot is a `rustsec-DATE.tar.gz` of the advisory database's `crates/` folder, in the folder that `RUSTSEC_SNAPSHOT`
//! names or else in `../shared/advisory-db`. Where there is none the check says so and the rest runs.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use semver::{Version, VersionReq};
use serde::Deserialize;

use crate::report::Report;
use crate::run;

/// Advisories that we looked at and live with, each with its reason.
const ACCEPTED: &[(&str, &str)] = &[(
    "RUSTSEC-2023-0071",
    "rsa comes with openidconnect in the CLI, which holds no RSA private key; there is no fixed release",
)];

#[derive(Deserialize)]
struct Lock {
    package: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: Version,
    source: Option<String>,
}

#[derive(Deserialize)]
struct Document {
    advisory: Advisory,
    versions: Versions,
}

#[derive(Deserialize)]
struct Advisory {
    id: String,
    withdrawn: Option<toml::Value>,
    informational: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Versions {
    patched: Vec<VersionReq>,
    unaffected: Vec<VersionReq>,
}

pub(crate) fn check(report: &mut Report) -> Result<()> {
    let Some(snapshot) = snapshot()? else {
        println!(
            "   note    no RustSec snapshot found: the lock file was not compared with advisories"
        );
        return Ok(());
    };
    report.check(
        &format!(
            "advisories ({})",
            snapshot.file_name().unwrap_or_default().to_string_lossy()
        ),
        || compare(&snapshot),
    );
    Ok(())
}

fn snapshot() -> Result<Option<PathBuf>> {
    let folder = std::env::var_os("RUSTSEC_SNAPSHOT")
        .map_or_else(|| run::root().join("../shared/advisory-db"), PathBuf::from);
    if !folder.is_dir() {
        return Ok(None);
    }
    let mut found: Vec<PathBuf> = std::fs::read_dir(&folder)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.to_string_lossy().ends_with(".tar.gz"))
        .collect();
    found.sort();
    Ok(found.pop())
}

fn compare(snapshot: &std::path::Path) -> Result<()> {
    let folder = tempfile::tempdir()?;
    run::live(
        Command::new("tar")
            .arg("-xzf")
            .arg(snapshot)
            .arg("-C")
            .arg(folder.path()),
    )?;
    let lock: Lock = toml::from_str(&std::fs::read_to_string(run::root().join("Cargo.lock"))?)?;
    let (mut read, mut hits) = (0_usize, Vec::new());
    for package in lock
        .package
        .iter()
        .filter(|package| package.source.is_some())
    {
        let Ok(advisories) = std::fs::read_dir(folder.path().join("crates").join(&package.name))
        else {
            continue;
        };
        for file in advisories {
            let path = file?.path();
            let document = parse(&std::fs::read_to_string(&path)?)
                .with_context(|| path.display().to_string())?;
            read = read.saturating_add(1);
            if let Some(hit) = hit(package, &document) {
                hits.push(hit);
            }
        }
    }
    if read == 0 {
        bail!(
            "the snapshot {} has no advisory for any locked crate: is it whole?",
            snapshot.display()
        );
    }
    if !hits.is_empty() {
        bail!("{}", hits.join("\n"));
    }
    Ok(())
}

fn parse(text: &str) -> Result<Document> {
    let front = text
        .split_once("```toml")
        .and_then(|(_, rest)| rest.split_once("```"))
        .context("no toml block")?;
    Ok(toml::from_str(front.0)?)
}

fn hit(package: &Package, document: &Document) -> Option<String> {
    let advisory = &document.advisory;
    // Informational notices ("unmaintained", "notice") are for the yearly look at the dependencies; "unsound" counts.
    let counts = advisory.withdrawn.is_none()
        && advisory
            .informational
            .as_deref()
            .is_none_or(|kind| kind == "unsound");
    let safe = document
        .versions
        .patched
        .iter()
        .chain(&document.versions.unaffected)
        .any(|range| range.matches(&package.version));
    if !counts || safe || ACCEPTED.iter().any(|(id, _)| *id == advisory.id) {
        return None;
    }
    Some(format!(
        "{}: {} {}",
        advisory.id, package.name, package.version
    ))
}
