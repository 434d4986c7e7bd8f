//! Entries of the kinds that rekor-cli makes of files: uploaded, verified, read and found by it.
//!
//! The files are those of `testdata/rekor-v1`: the members of a proposal, as rekor-cli takes them apart again.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::report::Report;
use crate::run::{self, quiet};

use super::super::present;
use super::super::stack::Stack;
use super::{command_of, text};

/// What rekor-cli is given.
struct Upload {
    kind: &'static str,
    /// Which line of the kind's file.
    case: &'static str,
    /// Flags, and which member of the proposal goes into their file.
    files: &'static [(&'static str, &'static str)],
    /// How keys are written.
    format: &'static str,
}

const REKORD: &[(&str, &str)] = &[
    ("--artifact", "/spec/data/content"),
    ("--signature", "/spec/signature/content"),
    ("--public-key", "/spec/signature/publicKey/content"),
];

const UPLOADS: &[Upload] = &[
    Upload {
        kind: "rekord",
        case: "x509-certificate",
        files: REKORD,
        format: "x509",
    },
    Upload {
        kind: "rekord",
        case: "ssh-ed25519",
        files: REKORD,
        format: "ssh",
    },
    Upload {
        kind: "rekord",
        case: "minisign-hashed",
        files: REKORD,
        format: "minisign",
    },
    Upload {
        kind: "rekord",
        case: "pgp-rsa",
        files: REKORD,
        format: "pgp",
    },
    Upload {
        kind: "helm",
        case: "rsa",
        files: &[
            ("--artifact", "/spec/chart/provenance/content"),
            ("--public-key", "/spec/publicKey/content"),
        ],
        format: "pgp",
    },
    Upload {
        kind: "rfc3161",
        case: "p256",
        files: &[("--artifact", "/spec/tsr/content")],
        format: "",
    },
    Upload {
        kind: "cose",
        case: "es256",
        files: &[
            ("--artifact", "/spec/message"),
            ("--public-key", "/spec/publicKey"),
        ],
        format: "x509",
    },
    Upload {
        kind: "jar",
        case: "jarsigner-ec-sha1",
        files: &[("--artifact", "/spec/archive/content")],
        format: "",
    },
    Upload {
        kind: "tuf",
        case: "timestamp",
        files: &[
            ("--artifact", "/spec/metadata/content"),
            ("--public-key", "/spec/root/content"),
        ],
        format: "tuf",
    },
    Upload {
        kind: "rpm",
        case: "header-and-payload",
        files: &[
            ("--artifact", "/spec/package/content"),
            ("--public-key", "/spec/publicKey/content"),
        ],
        format: "pgp",
    },
    Upload {
        kind: "alpine",
        case: "rsa-sha1",
        files: &[
            ("--artifact", "/spec/package/content"),
            ("--public-key", "/spec/publicKey/content"),
        ],
        format: "x509",
    },
];

pub(super) fn check(report: &mut Report, stack: &Stack) -> Result<()> {
    let rekor = stack.address("rekor")?;
    for upload in UPLOADS {
        let Upload { kind, case, .. } = upload;
        let title = format!("rekor-cli upload, verify, get and search: {kind} ({case})");
        if !present("rekor-cli") {
            report.skip(&title, "rekor-cli");
            continue;
        }
        report.check(&title, || through(stack, &rekor, upload));
    }
    Ok(())
}

fn through(stack: &Stack, rekor: &str, upload: &Upload) -> Result<()> {
    let Upload { kind, files, .. } = upload;
    let proposal = proposal(upload)?;
    let mut flags = vec!["--type".to_owned(), (*kind).to_owned()];
    let mut key: Option<PathBuf> = None;
    for (flag, pointer) in *files {
        let contents = match proposal.pointer(pointer) {
            Some(Value::String(encoded)) => STANDARD.decode(encoded)?,
            // Metadata of TUF stands there as it is.
            Some(json) => serde_json::to_vec(json)?,
            None => anyhow::bail!("no {pointer} in the proposal"),
        };
        let path = stack.path(&format!("{kind}{flag}"));
        fs::write(&path, contents)?;
        flags.extend([(*flag).to_owned(), path.display().to_string()]);
        if *flag == "--public-key" {
            key = Some(path);
        }
    }
    let format = ["--pki-format".to_owned(), upload.format.to_owned()];
    if !upload.format.is_empty() {
        flags.extend(format.clone());
    }
    let uploaded = quiet(command_of(stack, rekor, "upload").args(&flags))?.expect(0)?;
    let location = text(&uploaded, "Location")?;
    let uuid = location.rsplit('/').next().unwrap_or_default().to_owned();
    ensure!(uuid.len() == 80, "{location}");
    quiet(command_of(stack, rekor, "verify").args(&flags))?.expect(0)?;
    let got = quiet(command_of(stack, rekor, "get").args(["--uuid", &uuid]))?.expect(0)?;
    ensure!(got.stdout.contains(&uuid), "{}", got.all());
    if let Some(key) = key {
        let found = quiet(
            command_of(stack, rekor, "search")
                .args(&format)
                .arg("--public-key")
                .arg(key),
        )?
        .expect(0)?;
        ensure!(found.stdout.contains(&uuid), "{}", found.all());
    }
    Ok(())
}

fn proposal(upload: &Upload) -> Result<Value> {
    let path = run::root().join(format!("testdata/rekor-v1/{}.jsonl", upload.kind));
    for line in fs::read_to_string(path)?.lines() {
        let mut case: Value = serde_json::from_str(line)?;
        if case.get("name").and_then(Value::as_str) == Some(upload.case) {
            return case
                .get_mut("proposal")
                .map(Value::take)
                .context("no proposal");
        }
    }
    anyhow::bail!("no case {} of kind {}", upload.case, upload.kind)
}
