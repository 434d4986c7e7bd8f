//! Which crate may depend on which: the table of ARCHITECTURE.md, compared with `cargo metadata`.
//!
//! A new edge is a decision: it is written here, in the same commit, or the test command fails. An edge that is gone is taken
//! out, so that the table stays a picture of the code.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use crate::report::Report;
use crate::run;

/// Each package and the packages of ours that its non-test code uses, lowest floor first.
const EDGES: &[(&str, &str)] = &[
    // shared/pure
    ("chrono-tz", ""),
    ("keys", ""),
    ("tlog", ""),
    ("wire", ""),
    ("dsse", "keys wire"),
    ("note", "keys tlog"),
    ("witness", "tlog note"),
    ("oidc", "keys"),
    ("pki", "keys"),
    ("tuf", "keys"),
    ("ct", "keys wire pki"),
    ("entry", "keys tlog wire dsse pki"),
    ("trust", "keys wire note pki"),
    ("tsp", "keys wire pki"),
    ("package", "keys pki"),
    ("openpgp", "keys"),
    ("bundle", "keys wire dsse pki entry"),
    ("kinds", "keys wire dsse pki tsp tuf package openpgp entry"),
    (
        "verify",
        "keys tlog dsse note pki ct entry trust tsp bundle",
    ),
    ("policy", "keys wire note witness pki trust verify"),
    // shared/io
    ("serve", ""),
    ("store", ""),
    ("cluster", "store"),
    ("client", "keys wire pki entry tsp"),
    ("tuf-client", "tuf client oci"),
    ("signer", "keys pki client"),
    ("sequencer", "keys tlog note store signer"),
    ("search", "keys"),
    ("oci", "keys client"),
    (
        "sign",
        "keys dsse pki entry trust bundle verify signer client",
    ),
    (
        "repository",
        "keys wire pki tuf trust serve store signer client oci",
    ),
    // fulcio-rs
    (
        "ctlog-rs",
        "keys tlog wire note pki ct serve store signer sequencer client",
    ),
    ("tsa-rs", "keys pki tsp serve signer"),
    (
        "fulcio-rs",
        "keys wire oidc pki ct serve signer client ctlog-rs",
    ),
    // rekor-rs
    (
        "rekor-rs",
        "keys tlog wire note witness entry kinds serve store search signer sequencer cluster client",
    ),
    // cosign-rs
    (
        "cosign-rs",
        "keys wire dsse note pki tuf entry trust tsp bundle verify policy serve store signer client tuf-client oci sign repository",
    ),
    (
        "sigstack",
        "keys note pki tuf serve store signer repository ctlog-rs tsa-rs fulcio-rs rekor-rs cosign-rs",
    ),
    // shared/dev
    ("xtask", ""),
    (
        "load",
        "keys tlog wire oidc entry tsp serve signer sequencer store cluster rekor-rs",
    ),
    (
        "testkit",
        "keys tlog dsse note pki ct entry trust tsp bundle signer",
    ),
    (
        "fuzz",
        "keys wire tlog note witness pki ct tsp dsse oidc entry kinds bundle trust tuf openpgp package policy signer client oci fulcio-rs ctlog-rs cosign-rs",
    ),
];

/// What a pure crate may take from outside: formats and arithmetic. No runtime, no client, no source of randomness.
const PURE_EXTERNAL: &[&str] = &[
    // the crypto library, in keys and package only (CRYPTO_LIBRARY), and what it lacks: Ed25519ph, MD5
    "aws-lc-rs",
    "ed25519-dalek",
    "sha2",
    "sha1",
    "blake2",
    "coset",
    "md-5",
    // square roots of RSA moduli
    "crypto-bigint",
    // DER and certificates
    "der",
    "spki",
    "const-oid",
    "x509-cert",
    "rustls-webpki",
    "rustls-pki-types",
    // JSON and text
    "serde",
    "serde_json",
    "serde_json_canonicalizer",
    "base64",
    "hex",
    "regex",
    "serde-saphyr",
    "url",
    // inflating, from memory into memory
    "flate2",
    // time as a value
    "jiff",
    // the traits of chrono-tz, no clock
    "chrono",
    "thiserror",
];

/// The crates that touch the crypto library: public operations in `keys`, private keys and randomness in `signer`, and in `package` and
/// `openpgp` the legacy algorithms of these formats, which nobody else should find in `keys`.
const CRYPTO_LIBRARY: (&str, &[&str]) = ("aws-lc-rs", &["keys", "signer", "package", "openpgp"]);

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    manifest_path: String,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    kind: Option<String>,
    path: Option<String>,
}

pub(crate) fn check(report: &mut Report) -> Result<()> {
    let finished = run::quiet(&mut run::cargo([
        "metadata",
        "--no-deps",
        "--format-version",
        "1",
    ]))?
    .expect(0)?;
    let metadata: Metadata = serde_json::from_str(&finished.stdout).context("cargo metadata")?;
    report.check("crate edges are the table's", || edges(&metadata));
    report.check("ARCHITECTURE.md shows the same table", document);
    report.check("the graph has no cycle and shared/ never looks up", || {
        floors(&metadata)
    });
    report.check(
        "pure crates take only formats and arithmetic from outside",
        || pure(&metadata),
    );
    report.check(
        "only keys, signer, package and openpgp name the crypto library",
        || crypto(&metadata),
    );
    Ok(())
}

fn own(package: &Package) -> BTreeSet<&str> {
    package
        .dependencies
        .iter()
        .filter(|dependency| dependency.path.is_some() && dependency.kind.is_none())
        .map(|dependency| dependency.name.as_str())
        .collect()
}

fn edges(metadata: &Metadata) -> Result<()> {
    let table: BTreeMap<&str, BTreeSet<&str>> = EDGES
        .iter()
        .map(|(name, uses)| (*name, uses.split_whitespace().collect()))
        .collect();
    let mut wrong = Vec::new();
    for package in &metadata.packages {
        let Some(allowed) = table.get(package.name.as_str()) else {
            wrong.push(format!("{} is not in the table", package.name));
            continue;
        };
        let used = own(package);
        for new in used.difference(allowed) {
            wrong.push(format!("{} -> {new} is not in the table", package.name));
        }
        for gone in allowed.difference(&used) {
            wrong.push(format!(
                "{} -> {gone} is in the table and not in the code",
                package.name
            ));
        }
    }
    for name in table.keys() {
        if !metadata
            .packages
            .iter()
            .any(|package| package.name == **name)
        {
            wrong.push(format!("{name} is in the table and not in the workspace"));
        }
    }
    if wrong.is_empty() {
        Ok(())
    } else {
        bail!("{}", wrong.join("\n"))
    }
}

/// The rows `| `crate` | what it knows | what it depends on |` of the document against the table above.
fn document() -> Result<()> {
    let text = std::fs::read_to_string(run::root().join("ARCHITECTURE.md"))?;
    let shown: BTreeMap<&str, BTreeSet<&str>> = text
        .lines()
        .filter_map(|line| {
            let mut cells = line.strip_prefix("| `")?.split(" | ");
            let name = cells.next()?.strip_suffix('`')?;
            let edges = cells.nth(1)?.strip_suffix(" |")?;
            let edges = edges.split_whitespace().filter(|edge| *edge != "-");
            EDGES
                .iter()
                .any(|(known, _)| *known == name)
                .then(|| (name, edges.collect()))
        })
        .collect();
    let mut wrong = Vec::new();
    for (name, edges) in EDGES {
        let edges: BTreeSet<&str> = edges.split_whitespace().collect();
        match shown.get(name) {
            None => wrong.push(format!("{name} has no row")),
            Some(row) if *row != edges => {
                wrong.push(format!("{name}: the row says {row:?}, the table {edges:?}"));
            }
            Some(_) => {}
        }
    }
    if wrong.is_empty() {
        Ok(())
    } else {
        bail!("{}", wrong.join("\n"))
    }
}

/// Where a package lives decides what it may see.
#[derive(PartialEq, Eq, PartialOrd, Ord, Clone, Copy)]
enum Floor {
    Pure,
    Io,
    House,
    Dev,
}

fn floor(package: &Package) -> Floor {
    let path = package.manifest_path.as_str();
    if path.contains("/shared/pure/") {
        Floor::Pure
    } else if path.contains("/shared/io/") {
        Floor::Io
    } else if path.contains("/shared/dev/") {
        Floor::Dev
    } else {
        Floor::House
    }
}

fn floors(metadata: &Metadata) -> Result<()> {
    let by_name: BTreeMap<&str, &Package> = metadata
        .packages
        .iter()
        .map(|package| (package.name.as_str(), package))
        .collect();
    for package in &metadata.packages {
        for name in own(package) {
            let used = by_name
                .get(name)
                .with_context(|| format!("{name} is no member"))?;
            if floor(used) > floor(package) {
                bail!("{} -> {name} looks up", package.name);
            }
            // The CA may have its log in its own process: see the decision in ARCHITECTURE.md.
            let witness = package.name == "fulcio-rs" && name == "ctlog-rs";
            if floor(used) == Floor::House
                && package.name != "sigstack"
                && floor(package) == Floor::House
                && !witness
            {
                bail!(
                    "{} -> {name}: services meet over HTTP, only sigstack links them",
                    package.name
                );
            }
            if floor(used) == Floor::Dev {
                bail!("{} -> {name}: only tests use shared/dev", package.name);
            }
        }
        reaches_itself(package, &by_name)?;
    }
    Ok(())
}

fn reaches_itself(start: &Package, by_name: &BTreeMap<&str, &Package>) -> Result<()> {
    let mut seen = BTreeSet::new();
    let mut open: Vec<&str> = own(start).into_iter().collect();
    while let Some(name) = open.pop() {
        if name == start.name {
            bail!("{name} depends on itself through others");
        }
        if seen.insert(name)
            && let Some(package) = by_name.get(name)
        {
            open.extend(own(package));
        }
    }
    Ok(())
}

fn pure(metadata: &Metadata) -> Result<()> {
    let mut wrong = Vec::new();
    for package in metadata
        .packages
        .iter()
        .filter(|package| floor(package) == Floor::Pure)
    {
        for dependency in &package.dependencies {
            if dependency.path.is_none()
                && dependency.kind.is_none()
                && !PURE_EXTERNAL.contains(&dependency.name.as_str())
            {
                wrong.push(format!("{} -> {}", package.name, dependency.name));
            }
        }
    }
    if wrong.is_empty() {
        Ok(())
    } else {
        bail!("not on the list in graph.rs: {}", wrong.join(", "))
    }
}

fn crypto(metadata: &Metadata) -> Result<()> {
    let (library, allowed) = CRYPTO_LIBRARY;
    for package in &metadata.packages {
        let named = package
            .dependencies
            .iter()
            .any(|dependency| dependency.name == library && dependency.kind.is_none());
        if named && !allowed.contains(&package.name.as_str()) {
            bail!(
                "{} -> {library}: go through keys (verify, digest) or signer (sign, random)",
                package.name
            );
        }
    }
    Ok(())
}
