//! What was verified, for programs and for people.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;

use anyhow::Result;
use jiff::Timestamp;
use pki::SubjectName;
use serde::Serialize;
use verify::{Verified, Witness};

use crate::failure::in_line;

/// A bundle that holds, as JSON.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Report<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    identity: Option<Signer<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    predicate_type: Option<&'a str>,
    times: Vec<Observed<'a>>,
    log_entries: Vec<Entry<'a>>,
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
}

impl<'a> Report<'a> {
    pub(crate) fn of(verified: &'a Verified) -> Self {
        Self {
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
                })
                .collect(),
        }
    }

    /// Who, when and where, a line each.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        match &self.identity {
            Some(signer) => {
                let _infallible = writeln!(
                    text,
                    "  signed by {} (issuer {})",
                    in_line(signer.subject),
                    in_line(signer.issuer)
                );
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

/// Writes data to standard output.
pub(crate) fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.write_all(b"\n")?;
    Ok(out.flush()?)
}

/// Writes data to standard output, as JSON on one line.
pub(crate) fn print_json(value: &impl Serialize) -> Result<()> {
    print(&serde_json::to_string(value)?)
}
