//! Step 2: when was it signed, and who says so?

use jiff::Timestamp;
use trust::TrustedRoot;

use crate::error::VerifyError;
use crate::record::{Recorded, named};

/// Times that trusted witnesses state. Only `observe` makes it.
#[derive(Debug)]
pub struct ObservedTimes(Vec<ObservedTime>);

/// A time and its witness.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedTime {
    /// When the signature existed.
    pub time: Timestamp,
    /// Who says so.
    pub witness: Witness,
    /// Who runs the witness, where the trusted root says so.
    pub operator: Option<String>,
}

/// Who states a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Witness {
    /// A timestamp authority, by its URL.
    TimestampAuthority(String),
    /// A log's promise, by the log's URL.
    Log(String),
}

impl std::fmt::Display for Witness {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TimestampAuthority(url) => write!(formatter, "the timestamp authority {url}"),
            Self::Log(url) => write!(formatter, "the log {url}"),
        }
    }
}

impl ObservedTimes {
    pub(crate) fn times(&self) -> &[ObservedTime] {
        &self.0
    }

    pub(crate) fn into_vec(self) -> Vec<ObservedTime> {
        self.0
    }
}

/// Checks every source of time that is present; there may be none, and then no certificate can be trusted.
pub(crate) fn observe(
    tokens: &[Vec<u8>],
    signature: &[u8],
    recorded: &Recorded,
    root: &TrustedRoot,
) -> Result<ObservedTimes, VerifyError> {
    let mut times = Vec::new();
    for (position, token) in tokens.iter().enumerate() {
        times.push(stamped(position, token, signature, root)?);
    }
    for entry in recorded.entries() {
        if let Some(time) = entry.promised_at() {
            times.push(ObservedTime {
                time,
                witness: Witness::Log(entry.log().to_owned()),
                operator: entry.operator().map(str::to_owned),
            });
        }
    }
    check_logs(recorded, &times)?;
    Ok(ObservedTimes(times))
}

/// The authority that made the token, at a time at which it is trusted.
fn stamped(
    position: usize,
    token: &[u8],
    signature: &[u8],
    root: &TrustedRoot,
) -> Result<ObservedTime, VerifyError> {
    let mut furthest: Option<VerifyError> = None;
    let mut last = tsp::TspError::NoAuthority;
    for authority in &root.timestamp_authorities {
        match tsp::verify(token, signature, &authority.chain) {
            Ok(stamp) if authority.validity.contains(stamp.time()) => {
                return Ok(ObservedTime {
                    time: stamp.time(),
                    witness: Witness::TimestampAuthority(authority.uri.clone()),
                    operator: named(&authority.operator),
                });
            }
            Ok(stamp) => {
                furthest = Some(VerifyError::AuthorityNotValidAt {
                    position,
                    authority: authority.uri.clone(),
                    validity: authority.validity.to_string(),
                    at: stamp.time(),
                });
            }
            // "Signed by somebody else" says least: with several authorities all but one answer so.
            Err(error)
                if last == tsp::TspError::NoAuthority || last == tsp::TspError::OtherSigner =>
            {
                last = error;
            }
            Err(_) => {}
        }
    }
    Err(furthest.unwrap_or(VerifyError::Timestamp {
        position,
        authorities: root.timestamp_authorities.len(),
        source: last,
    }))
}

/// A log that promised no time (Rekor v2) must have been in use when the signature was made. A time in an entry that nobody signed is
/// nobody's word. Without any time, which only a signature by a given key may have, the log must be in use still.
fn check_logs(recorded: &Recorded, times: &[ObservedTime]) -> Result<(), VerifyError> {
    let unpromised = recorded.entries().iter();
    for entry in unpromised.filter(|entry| entry.promised_at().is_none()) {
        let validity = entry.validity();
        let holds = if times.is_empty() {
            validity.end.is_none()
        } else {
            times
                .iter()
                .any(|observed| validity.contains(observed.time))
        };
        if !holds {
            return Err(VerifyError::LogNotValidAt {
                index: entry.index(),
                log: entry.log().to_owned(),
                validity: validity.to_string(),
                at: times.first().map(|first| first.time),
            });
        }
    }
    Ok(())
}
