//! Logging a signature in a Rekor log, of version 2 or 1.

use entry::{EntryError, LogEntry, ProposedV1};
use thiserror::Error;
use url::Url;
use wire::bundle::TransparencyLogEntry;
use wire::rekor::CreateEntryRequest;
use wire::rekor_v1::LogEntries;

use crate::agent::{Agent, Answer, Call, CallError, Refused, below};

/// Rekor's API, version 2.
#[derive(Debug, Clone)]
pub struct Rekor {
    agent: Agent,
    url: Url,
}

/// Why there is no log entry.
#[derive(Debug, Error)]
pub enum RekorError {
    /// No answer.
    #[error("logging the signature")]
    Call(#[from] CallError),
    /// No.
    #[error("the log refuses the entry")]
    Refused(#[from] Refused),
    /// The log has exactly this entry and does not say it again.
    #[error("the log has this entry already{}", index.map(|index| format!(", at index {index}")).unwrap_or_default())]
    Duplicate {
        /// Where, if it says so.
        index: Option<u64>,
    },
    /// An answer that is none.
    #[error("the log's answer")]
    Answer(#[from] wire::WireError),
    /// An answer that is no entry.
    #[error("the log's answer")]
    Entry(#[from] EntryError),
}

impl Rekor {
    /// `base` is the URL without `/api/v2`.
    pub fn new(agent: &Agent, base: &Url) -> Self {
        Self {
            agent: agent.clone(),
            url: below(base, "api/v2/log/entries"),
        }
    }

    /// Adds an entry and gives it back with its proof and checkpoint, which are not verified: that is the caller's next step.
    pub async fn add(&self, request: &CreateEntryRequest) -> Result<LogEntry, RekorError> {
        let body = serde_json::to_vec(request).map_err(wire::WireError::Json)?;
        // The log knows an entry again, so that this may be repeated.
        let call = Call::post(self.url.clone(), "application/json", body)
            .accept("application/json")
            // The canonical body and a path of hashes: of the order of the request, with its certificate.
            .limit(wire::MAX_DOCUMENT);
        let answer = self.agent.send(&call).await?;
        if answer.status.as_u16() == 409 {
            return Err(RekorError::Duplicate {
                index: duplicate_of(&answer),
            });
        }
        let answer = answer.expect(&[200, 201])?;
        let entry: TransparencyLogEntry = wire::parse(&answer.body)?;
        Ok(LogEntry::from_wire(entry)?)
    }
}

/// Rekor's API, version 1.
#[derive(Debug, Clone)]
pub struct RekorV1 {
    agent: Agent,
    url: Url,
}

impl RekorV1 {
    /// `base` is the URL without `/api/v1`.
    pub fn new(agent: &Agent, base: &Url) -> Self {
        Self {
            agent: agent.clone(),
            url: below(base, "api/v1/log/entries"),
        }
    }

    /// Adds an entry and gives it back with its promise, proof and checkpoint, which are not verified: that is the caller's next step.
    pub async fn add(&self, request: &ProposedV1) -> Result<LogEntry, RekorError> {
        // The log knows an entry again, so that this may be repeated.
        let call = Call::post(self.url.clone(), "application/json", request.to_json())
            .accept("application/json")
            .limit(wire::MAX_DOCUMENT);
        let answer = self.agent.send(&call).await?;
        if answer.status.as_u16() == 409 {
            return Err(RekorError::Duplicate { index: None });
        }
        let answer = answer.expect(&[200, 201])?;
        let entries: LogEntries = wire::parse(&answer.body)?;
        let entry = entries.into_values().next();
        Ok(LogEntry::from_rekor_v1(
            entry.ok_or(EntryError::Missing("entry"))?,
        )?)
    }
}

fn duplicate_of(answer: &Answer) -> Option<u64> {
    answer.header("x-log-index")?.parse().ok()
}
