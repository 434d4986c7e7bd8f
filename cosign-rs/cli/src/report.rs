//! What was verified, for programs and for people.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::sync::OnceLock;

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use pki::SubjectName;
use policy::Decision;
use serde::Serialize;
use verify::{Verified, Witness};

use crate::explained::Explained;
use crate::failure::{in_line, usage};

/// A bundle that holds, as JSON.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Report<'a> {
    decision: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    artifact: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    identity: Option<Signer<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate: Option<Leaf<'a>>,
    /// SHA-256 of the key's SPKI.
    key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    predicate_type: Option<&'a str>,
    times: Vec<Observed<'a>>,
    log_entries: Vec<Entry<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<PolicyReport>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    explain: Vec<Explained>,
    /// Further bundles that were judged together with this one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    further: Vec<Report<'a>>,
}

/// What a policy said.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PolicyReport {
    accepted: bool,
    signers: Vec<String>,
    reasons: Vec<Why>,
    considered: Vec<Considered>,
}

#[derive(Debug, Serialize)]
struct Why {
    reason: &'static str,
    why: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Considered {
    signer: String,
    what: String,
    counts: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    why_not: Option<Why>,
}

impl PolicyReport {
    pub(crate) fn of(decision: &Decision) -> Self {
        Self {
            accepted: decision.is_accepted(),
            signers: decision.signers().iter().map(ToString::to_string).collect(),
            reasons: decision
                .reasons()
                .iter()
                .map(|reason| Why {
                    reason: reason.code(),
                    why: reason.to_string(),
                })
                .collect(),
            considered: decision
                .considered()
                .iter()
                .map(|considered| Considered {
                    signer: considered.who.to_string(),
                    what: considered.what.clone(),
                    counts: considered.why_not.is_none(),
                    why_not: considered.why_not.as_ref().map(|why| Why {
                        reason: why.code(),
                        why: why.to_string(),
                    }),
                })
                .collect(),
        }
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Leaf<'a> {
    serial: String,
    not_before: Timestamp,
    not_after: Timestamp,
    authority: &'a str,
    ct_logs: Vec<Seen<'a>>,
}

#[derive(Debug, Serialize)]
struct Seen<'a> {
    log: &'a str,
    time: Timestamp,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Checkpoint<'a> {
    origin: &'a str,
    tree_size: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Signer<'a> {
    subject: &'a str,
    subject_kind: &'static str,
    issuer: &'a str,
    extensions: BTreeMap<&'static str, &'a str>,
}

#[derive(Debug, Serialize)]
struct Observed<'a> {
    time: Timestamp,
    kind: &'static str,
    witness: &'a str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Entry<'a> {
    log: &'a str,
    log_id: String,
    index: u64,
    kind: &'a str,
    version: &'a str,
    inclusion_proven: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    promised_at: Option<Timestamp>,
    /// What the entry says of itself; only `promisedAt` is the log's word.
    #[serde(skip_serializing_if = "Option::is_none")]
    integrated_time: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    checkpoint: Option<Checkpoint<'a>>,
}

impl<'a> Report<'a> {
    pub(crate) fn of(verified: &'a Verified) -> Self {
        Self {
            decision: "accepted",
            artifact: None,
            certificate: verified.certified().map(|certified| Leaf {
                serial: hex::encode(certified.certificate().serial()),
                not_before: certified.certificate().not_before(),
                not_after: certified.certificate().not_after(),
                authority: certified.authority(),
                ct_logs: certified
                    .ct_logs()
                    .iter()
                    .map(|log| Seen {
                        log: &log.url,
                        time: log.time,
                    })
                    .collect(),
            }),
            key: format!("sha256:{}", hex::encode(verified.key().key_id())),
            policy: None,
            explain: Vec::new(),
            further: Vec::new(),
            identity: verified.identity().map(|identity| Signer {
                subject: identity.subject().value(),
                subject_kind: kind(identity.subject()),
                issuer: identity.issuer(),
                extensions: identity
                    .extensions()
                    .iter()
                    .map(|(field, value)| (field.name(), value))
                    .collect(),
            }),
            digest: verified.digest().map(ToString::to_string),
            predicate_type: verified
                .statement()
                .map(|statement| statement.predicate_type.as_str()),
            times: verified
                .times()
                .iter()
                .map(|observed| {
                    let (kind, witness) = match &observed.witness {
                        Witness::TimestampAuthority(url) => ("timestamp", url),
                        Witness::Log(url) => ("promise", url),
                    };
                    Observed {
                        time: observed.time,
                        kind,
                        witness,
                    }
                })
                .collect(),
            log_entries: verified
                .entries()
                .iter()
                .map(|entry| Entry {
                    log: entry.log(),
                    log_id: hex::encode(entry.log_id()),
                    index: entry.index(),
                    kind: entry.kind().0,
                    version: entry.kind().1,
                    inclusion_proven: entry.is_proven(),
                    promised_at: entry.promised_at(),
                    integrated_time: entry.integrated_time(),
                    checkpoint: entry.checkpoint().map(|seen| Checkpoint {
                        origin: seen.origin(),
                        tree_size: seen.size(),
                    }),
                })
                .collect(),
        }
    }

    /// The same with the artifact's name.
    pub(crate) fn about(mut self, artifact: &'a str) -> Self {
        self.artifact = Some(artifact);
        self
    }

    /// The same with what a policy said of it.
    pub(crate) fn judged(mut self, decision: Option<&Decision>) -> Self {
        self.policy = decision.map(PolicyReport::of);
        self
    }

    /// The same with its story.
    pub(crate) fn explained(mut self, explained: Vec<Explained>) -> Self {
        self.explain = explained;
        self
    }

    /// The same with those that were judged with it.
    pub(crate) fn together_with(mut self, further: Vec<Self>) -> Self {
        self.further = further;
        self
    }

    /// Who, when and where, a line each.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        match &self.identity {
            Some(signer) => {
                let issuer = if signer.issuer.is_empty() {
                    "none".to_owned()
                } else {
                    in_line(signer.issuer)
                };
                let subject = in_line(signer.subject);
                let _infallible = writeln!(text, "  signed by {subject} (issuer {issuer})");
            }
            None => text.push_str("  signed with the given key\n"),
        }
        for time in &self.times {
            let _infallible = writeln!(
                text,
                "  at {} ({} of {})",
                time.time,
                time.kind,
                in_line(time.witness)
            );
        }
        for entry in &self.log_entries {
            let shown = if entry.inclusion_proven {
                "inclusion proven"
            } else {
                "promised"
            };
            let _infallible = writeln!(
                text,
                "  recorded at {} index {}, {shown}",
                in_line(entry.log),
                entry.index
            );
        }
        text.truncate(text.trim_end().len());
        text
    }
}

const fn kind(subject: &SubjectName) -> &'static str {
    match subject {
        SubjectName::Email(_) => "email",
        SubjectName::Uri(_) => "uri",
        SubjectName::UserName(_) => "username",
        SubjectName::Dns(_) => "dns",
        SubjectName::Other(_) => "other",
    }
}

/// What takes the place of standard output, if something does.
static INSTEAD: OnceLock<File> = OnceLock::new();

/// From now on data goes into this file, which is made or emptied, and not to standard output. A private key that is there stays: it may be the one that is
/// about to be read, and cannot be made again.
pub(crate) fn print_into(path: &Path) -> Result<()> {
    if is_private_key(path) {
        return Err(usage(
            format!("--output-file {} is a private key", path.display()),
            "name another file",
        ));
    }
    let file = File::create(path)
        .with_context(|| format!("writing the --output-file {}", path.display()))?;
    // It is said once, on the command line.
    let _once = INSTEAD.set(file);
    Ok(())
}

fn is_private_key(path: &Path) -> bool {
    let begin = File::open(path)
        .ok()
        .filter(|file| file.metadata().is_ok_and(|found| found.is_file()))
        .and_then(|file| {
            let mut begin = String::new();
            file.take(64).read_to_string(&mut begin).ok()?;
            Some(begin)
        });
    begin.is_some_and(|begin| {
        let line = begin.lines().next().unwrap_or_default();
        line.starts_with("-----BEGIN ") && line.contains("PRIVATE KEY")
    })
}

/// Writes data to standard output.
pub(crate) fn print(text: &str) -> Result<()> {
    print_bytes(&[text.as_bytes(), b"\n"].concat())
}

/// Writes data to standard output, as JSON on one line.
pub(crate) fn print_json(value: &impl Serialize) -> Result<()> {
    print(&serde_json::to_string(value)?)
}

/// Writes a file's content to standard output, as it is.
pub(crate) fn print_bytes(content: &[u8]) -> Result<()> {
    if let Some(mut file) = INSTEAD.get() {
        return file.write_all(content).context("writing the --output-file");
    }
    let mut out = std::io::stdout().lock();
    out.write_all(content)?;
    Ok(out.flush()?)
}
