//! Whom a session calls.

use jiff::Timestamp;
use thiserror::Error;
use trust::{ConfigError, ServiceKind, SigningConfig};
use url::Url;

/// The interface of the logs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LogVersion {
    /// Rekor v1: with each entry a promise, which states a time. Verifiers of before version 3 of cosign ask for it.
    V1,
    /// Rekor v2: with each entry a proof.
    #[default]
    V2,
}

impl LogVersion {
    /// As signing configs have it, for those that are chosen among.
    const fn numbers(promising: bool) -> &'static [u32] {
        if promising { &[1] } else { &[1, 2] }
    }
}

/// The services of a session. With an identity: a certificate authority, at least one log and at least one timestamp authority. With a key of
/// one's own: whatever logs and timestamp authorities are named, and there may be none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Services {
    fulcio: Option<Url>,
    logs: Vec<Url>,
    log_version: LogVersion,
    timestamp_authorities: Vec<Url>,
}

/// Why these services are not enough to sign with, or cannot be called.
#[derive(Debug, Error)]
pub enum ServicesError {
    /// The signing config names none, or not enough, for now.
    #[error("choosing the services to call")]
    Config(#[from] ConfigError),
    /// An address that is none.
    #[error("the {kind} address {url:?} is no URL")]
    Url {
        /// What is there.
        kind: &'static str,
        /// As it was written.
        url: String,
        /// What is wrong with it.
        source: url::ParseError,
    },
    /// Without a log nobody can see that the identity was used.
    #[error("no log is named: a signature under a short-lived certificate must be in one")]
    NoLog,
    /// Rekor v2 states no time, and without a time a certificate of ten minutes proves nothing afterwards.
    #[error(
        "no timestamp authority is named: without a timestamp nobody can tell later that the short-lived certificate was valid"
    )]
    NoTimestampAuthority,
}

impl Services {
    /// These services. Fulcio and the logs by their base URL, timestamp authorities by their whole endpoint.
    pub fn new(
        fulcio: Url,
        logs: Vec<Url>,
        timestamp_authorities: Vec<Url>,
    ) -> Result<Self, ServicesError> {
        if logs.is_empty() {
            return Err(ServicesError::NoLog);
        }
        if timestamp_authorities.is_empty() {
            return Err(ServicesError::NoTimestampAuthority);
        }
        Ok(Self {
            fulcio: Some(fulcio),
            logs,
            log_version: LogVersion::V2,
            timestamp_authorities,
        })
    }

    /// Those for signatures with a key of one's own, which needs no certificate, and no time to hold at. A config that names no log and no
    /// timestamp authority at all asks for signatures that nobody else has seen. With `promising` among the logs that make promises.
    pub fn for_key(
        config: &SigningConfig,
        promising: bool,
        now: Timestamp,
        rotation: usize,
    ) -> Result<Self, ServicesError> {
        let (logs, log_version) = if config.names(ServiceKind::Rekor) {
            logs(config, promising, now, rotation)?
        } else {
            (Vec::new(), LogVersion::V2)
        };
        Ok(Self {
            fulcio: None,
            logs,
            log_version,
            timestamp_authorities: authorities(config, now, rotation)?,
        })
    }

    /// The same without the logs.
    #[must_use]
    pub fn without_logs(self) -> Self {
        Self {
            logs: Vec::new(),
            ..self
        }
    }

    /// Those that the signing config names for `now`, with `promising` among the logs that make promises; `rotation` is the caller's randomness for
    /// choosing among equals.
    pub fn select(
        config: &SigningConfig,
        promising: bool,
        now: Timestamp,
        rotation: usize,
    ) -> Result<Self, ServicesError> {
        let fulcio = &config.service(ServiceKind::Fulcio, now)?.url;
        let (logs, log_version) = logs(config, promising, now, rotation)?;
        if logs.is_empty() {
            return Err(ServicesError::NoLog);
        }
        let timestamp_authorities = authorities(config, now, rotation)?;
        // A promise states a time, a proof does not.
        if timestamp_authorities.is_empty() && log_version == LogVersion::V2 {
            return Err(ServicesError::NoTimestampAuthority);
        }
        Ok(Self {
            fulcio: Some(parse("certificate authority's", fulcio)?),
            logs,
            log_version,
            timestamp_authorities,
        })
    }

    /// Base URL of the certificate authority; none where a key of one's own signs.
    pub const fn fulcio(&self) -> Option<&Url> {
        self.fulcio.as_ref()
    }

    /// Base URLs of the logs.
    pub fn logs(&self) -> &[Url] {
        &self.logs
    }

    /// The interface of the logs.
    pub const fn log_version(&self) -> LogVersion {
        self.log_version
    }

    /// Endpoints of the timestamp authorities.
    pub fn timestamp_authorities(&self) -> &[Url] {
        &self.timestamp_authorities
    }
}

/// Those of the highest version that there is.
fn logs(
    config: &SigningConfig,
    promising: bool,
    now: Timestamp,
    rotation: usize,
) -> Result<(Vec<Url>, LogVersion), ServicesError> {
    let versions = LogVersion::numbers(promising);
    let found = config.services_in(ServiceKind::Rekor, versions, now, rotation)?;
    let first = found.iter().all(|log| log.major_api_version == 1);
    let urls = found.iter().map(|log| parse("log's", &log.url));
    let version = if first {
        LogVersion::V1
    } else {
        LogVersion::V2
    };
    Ok((urls.collect::<Result<_, _>>()?, version))
}

/// None where the config names none at all, which is told apart from one whose authorities are all out of date.
fn authorities(
    config: &SigningConfig,
    now: Timestamp,
    rotation: usize,
) -> Result<Vec<Url>, ServicesError> {
    if !config.names(ServiceKind::Tsa) {
        return Ok(Vec::new());
    }
    let found = config.services(ServiceKind::Tsa, now, rotation)?;
    let urls = found
        .iter()
        .map(|authority| parse("timestamp authority's", &authority.url));
    urls.collect()
}

fn parse(kind: &'static str, url: &str) -> Result<Url, ServicesError> {
    Url::parse(url).map_err(|source| ServicesError::Url {
        kind,
        url: url.to_owned(),
        source,
    })
}
