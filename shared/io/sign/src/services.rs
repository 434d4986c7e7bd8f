//! Whom a session calls.

use jiff::Timestamp;
use thiserror::Error;
use trust::{ConfigError, ServiceKind, SigningConfig};
use url::Url;

/// The services of a session: one certificate authority, at least one log and at least one timestamp authority.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Services {
    fulcio: Url,
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
            fulcio,
            logs,
            timestamp_authorities,
        })
    }

    /// Those that the signing config names for `now`; `rotation` is the caller's randomness for choosing among equals.
    pub fn select(
        config: &SigningConfig,
        now: Timestamp,
        rotation: usize,
    ) -> Result<Self, ServicesError> {
        let fulcio = &config.service(ServiceKind::Fulcio, now)?.url;
        let several = |kind, named| {
            config
                .services(kind, now, rotation)?
                .into_iter()
                .map(|service| parse(named, &service.url))
                .collect::<Result<Vec<Url>, ServicesError>>()
        };
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

    /// Base URL of the certificate authority.
    pub const fn fulcio(&self) -> &Url {
        &self.fulcio
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

fn parse(kind: &'static str, url: &str) -> Result<Url, ServicesError> {
    Url::parse(url).map_err(|source| ServicesError::Url {
        kind,
        url: url.to_owned(),
        source,
    })
}
