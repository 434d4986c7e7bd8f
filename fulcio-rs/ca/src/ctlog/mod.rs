//! The CT log that witnesses every certificate: by its URL (RFC 6962 section 4.2; ours, CTFE, TesseraCT), or in this process.
//!
//! The SCT of a log elsewhere is verified with the key that was configured before it goes into a certificate. What somebody could do who controls
//! the log: refuse, or keep us waiting until the deadline; never put anything of theirs into a certificate.

mod remote;
pub(crate) mod settings;
#[cfg(test)]
mod tests;

use std::time::Instant;

use client::{CallError, Refused};
use ct::{CtError, Entry, Sct};
use ctlog_rs::submit::{AddError, BelieveError, Logs};
use jiff::Timestamp;
use pki::Certificate;
use pki::profile::Precertificate;
use thiserror::Error;

use remote::Remote;
pub use remote::RemoteLog;

/// Why the log did not vouch.
#[derive(Debug, Error)]
pub(crate) enum CtLogError {
    /// Nobody there, or the way is broken, until the deadline.
    #[error("the CT log cannot be reached ({attempts} attempts)")]
    Unreachable {
        attempts: u32,
        #[source]
        source: CallError,
    },
    /// It said "later" until the deadline: 408, 429 or 503.
    #[error("the CT log is busy ({attempts} attempts)")]
    Busy {
        attempts: u32,
        #[source]
        source: Refused,
    },
    /// No answer before the deadline.
    #[error("the CT log did not answer in time ({attempts} attempts)")]
    Late { attempts: u32 },
    /// It said no.
    #[error("the CT log refuses")]
    Refused(#[source] Refused),
    /// It cannot be asked, or what it answered is no SCT.
    #[error("the CT log's answer: {0}")]
    Answer(String),
    /// The call cannot be made at all.
    #[error("asking the CT log")]
    Call(#[source] CallError),
    /// The SCT is not one of this log for this certificate.
    #[error("the CT log's SCT")]
    Sct(#[from] CtError),
    /// The log in this process has taken something else.
    #[error("the CT log of this process has another entry than the one for this certificate")]
    OtherEntry,
    /// The log in this process.
    #[error("the CT log of this process")]
    Here(#[source] AddError),
}

impl CtLogError {
    /// The word for programs.
    pub(crate) const fn reason(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } => "CT_LOG_UNREACHABLE",
            Self::Busy { .. } => "CT_LOG_BUSY",
            Self::Late { .. } => "CT_LOG_TIMEOUT",
            Self::Refused(_) => "CT_LOG_REFUSED",
            Self::Answer(_) => "CT_LOG_ANSWER_MALFORMED",
            Self::Call(_) => "CT_LOG_CALL_FAILED",
            Self::Sct(_) | Self::OtherEntry => "CT_LOG_SCT_INVALID",
            Self::Here(error) => match error {
                AddError::Overloaded(_) => "CT_LOG_BUSY",
                AddError::Refused(_) | AddError::Frozen => "CT_LOG_REFUSED",
                AddError::Unavailable { .. } | AddError::Internal(_) => "CT_LOG_FAILED",
            },
        }
    }
}

/// The witness of a certificate authority.
#[derive(Debug, Clone)]
pub struct CtLog(Place);

#[derive(Debug, Clone)]
enum Place {
    There(Box<Remote>),
    Here(Logs),
}

impl CtLog {
    /// A log that is asked over HTTP.
    pub fn at(log: RemoteLog) -> Result<Self, url::ParseError> {
        Remote::new(log).map(Box::new).map(Place::There).map(Self)
    }

    /// The logs of this process: an SCT is of the oldest one that takes the certificate.
    pub fn here(logs: Logs) -> Self {
        Self(Place::Here(logs))
    }

    /// Has a precertificate witnessed before the client's request is given up at `until`. That the SCT is about `entry` was checked when this returns;
    /// and its signature, where the log is elsewhere.
    pub(crate) async fn add(
        &self,
        precertificate: &Precertificate,
        entry: &Entry,
        chain: &[Certificate],
        until: Option<Instant>,
    ) -> Result<Sct, CtLogError> {
        let der = |certificate: &Certificate| certificate.der().to_vec();
        match &self.0 {
            Place::There(remote) => {
                let chain = std::iter::once(precertificate.certificate()).chain(chain);
                let sct = remote.add(chain.map(der).collect(), until).await?;
                sct.verify(entry, remote.key())?;
                Ok(sct)
            }
            // It looks at its own signatures as closely as at anybody's (`signer::Watch`); it is left to see that this was signed.
            Place::Here(logs) => {
                let above = chain.iter().map(der).collect();
                let vouched = logs.add_issued(precertificate, above).await;
                let vouched = vouched.map_err(CtLogError::Here)?;
                if vouched.entry != *entry {
                    return Err(CtLogError::OtherEntry);
                }
                Ok(vouched.sct)
            }
        }
    }

    /// Does the log answer? One elsewhere is asked what roots it accepts (RFC 6962 4.7, and the submission side of static-ct-api), which changes
    /// nothing; one in this process whether it takes certificates that end then.
    pub(crate) async fn probe(&self, not_after: Timestamp) -> Result<(), CtLogError> {
        match &self.0 {
            Place::There(remote) => remote.probe().await,
            Place::Here(logs) => logs.probe(not_after).map_err(CtLogError::Here),
        }
    }

    /// A log in this process takes chains that end in these roots too from now on; others are told by their own operators.
    pub(crate) fn believe(
        &self,
        roots: &[Certificate],
        now: Timestamp,
    ) -> Result<(), BelieveError> {
        match &self.0 {
            Place::There(_) => Ok(()),
            Place::Here(logs) => logs.believe(roots, now),
        }
    }
}
