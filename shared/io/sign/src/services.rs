//! Whom a session calls.

use jiff::Timestamp;
use thiserror::Error;
use trust::{ConfigError, ServiceKind, SigningConfig};
use url::Url;

/// The services of a session. With an identity: a certificate authority, at least one log and at least one timestamp authority. With a key of
/// one's own: whatever logs and timestamp authorities are named, and there may be none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Services {
    fulcio: Option<Url>,
    logs: Vec<Url>,
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
            timestamp_authorities,
        })
    }

    /// Those for signatures with a key of one's own, which needs no certificate, and no time to hold at. A config that names no log and no
    /// timestamp authority at all asks for signatures that nobody else has seen.
    pub fn for_key(
        config: &SigningConfig,
        now: Timestamp,
        rotation: usize,
    ) -> Result<Self, ServicesError> {
        let several = |kind, what| {
            if config.names(kind) {
                several(config, kind, what, now, rotation)
            } else {
                Ok(Vec::new())
            }
        };
        Ok(Self {
            fulcio: None,
            logs: several(ServiceKind::Rekor, "log's")?,
            timestamp_authorities: several(ServiceKind::Tsa, "timestamp authority's")?,
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

    /// Those that the signing config names for `now`; `rotation` is the caller's randomness for choosing among equals.
    pub fn select(
        config: &SigningConfig,
        now: Timestamp,
        rotation: usize,
    ) -> Result<Self, ServicesError> {
        let fulcio = &config.service(ServiceKind::Fulcio, now)?.url;
        let several = |kind, what| several(config, kind, what, now, rotation);
        let logs = several(ServiceKind::Rekor, "log's")?;
        // A config without any authority is told apart from one whose authorities are all out of date.
        if !config.names(ServiceKind::Tsa) {
            return Err(ServicesError::NoTimestampAuthority);
        }
        let timestamp_authorities = several(ServiceKind::Tsa, "timestamp authority's")?;
        Self::new(
            parse("certificate authority's", fulcio)?,
            logs,
            timestamp_authorities,
        )
    }

    /// Base URL of the certificate authority; none where a key of one's own signs.
    pub const fn fulcio(&self) -> Option<&Url> {
        self.fulcio.as_ref()
    }

    /// Base URLs of the logs.
    pub fn logs(&self) -> &[Url] {
        &self.logs
    }

    /// Endpoints of the timestamp authorities.
    pub fn timestamp_authorities(&self) -> &[Url] {
        &self.timestamp_authorities
    }
}

fn several(
    config: &SigningConfig,
    kind: ServiceKind,
    what: &'static str,
    now: Timestamp,
    rotation: usize,
) -> Result<Vec<Url>, ServicesError> {
    config
        .services(kind, now, rotation)?
        .into_iter()
        .map(|service| parse(what, &service.url))
        .collect()
}

fn parse(kind: &'static str, url: &str) -> Result<Url, ServicesError> {
    Url::parse(url).map_err(|source| ServicesError::Url {
        kind,
        url: url.to_owned(),
        source,
    })
}
