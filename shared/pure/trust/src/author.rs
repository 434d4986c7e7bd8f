//! Writing trusted roots and signing configs: new instances, rollouts, ends.
//!
//! The edits work on the JSON shapes, so that what they are not about stays as it is. A rollout of a service goes in four steps (rekor-tiles:
//! SHARDING.md, as the public log did it in 2025):
//!
//! 1. the trusted root gets the new instance, valid from its creation on: verifiers learn of it;
//! 2. the signing config gets the new service with a start in the future, when every client has the new trusted root: not before publication,
//!    the life of a timestamp, and a margin for slow signers of the metadata;
//! 3. at that same moment the window of the old service closes, for of two open services clients take different ones
//!    (sigstore-python the old one, sigstore-go the new one);
//! 4. when nothing is written to the old instance any more, its window in the trusted root is closed. It stays listed for ever.

use jiff::{SignedDuration, Timestamp};
use keys::PublicKey;
use note::VerifierKey;
use pki::Certificate;
use thiserror::Error;
use wire::common::TimeRange;
use wire::encoding::EnumValue;
use wire::trustroot::{self as shape, Service, ServiceConfiguration};

use crate::root::{CertificateAuthority, LogInstance, TrustedRoot, Validity};
use crate::{CLIENT_TRUST_CONFIG_V01, SELECT_ANY, SIGNING_CONFIG_V02, ServiceKind};

/// Why an edit makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AuthorError {
    /// It is there already.
    #[error("{kind} {name} is listed already with this key")]
    Listed {
        /// `log`, `authority`, `service`.
        kind: &'static str,
        /// Its URL.
        name: String,
    },
    /// There is nothing of that name.
    #[error("no {kind} {name} with an open window is listed; there is {known}")]
    Unknown {
        /// `log`, `authority`, `service`.
        kind: &'static str,
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// A start before every client can know of it.
    #[error(
        "{start} is too soon: clients may not know of it before {earliest} (publication now, {life} for the timestamps that are out, {margin} of margin)"
    )]
    TooSoon {
        /// What was asked for.
        start: Timestamp,
        /// The first moment that is safe.
        earliest: Timestamp,
        /// Life of a timestamp.
        life: String,
        /// For the slowest signer.
        margin: String,
    },
    /// A window that would end before it starts.
    #[error("{name} starts at {start}, and would end at {end}")]
    Backwards {
        /// Which instance.
        name: String,
        /// Its start.
        start: Timestamp,
        /// The end asked for.
        end: Timestamp,
    },
    /// Signing goes on there.
    #[error(
        "the signing config still sends clients to {name} at {end}: open another service first, and close this one when nothing is written to it any more"
    )]
    InUse {
        /// Which instance.
        name: String,
        /// The end asked for.
        end: Timestamp,
    },
    /// A URL that clients cannot call.
    #[error("'{url}' cannot stand in a trusted root: {what}")]
    Url {
        /// The text.
        url: String,
        /// What is wrong.
        what: &'static str,
    },
    /// A key that cannot sign there.
    #[error("{url}: {what}")]
    Key {
        /// Of which log.
        url: String,
        /// What is wrong.
        what: String,
    },
}

/// The logs of a trusted root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogKind {
    /// Rekor, API version 1: the id is the hash of the key.
    RekorV1,
    /// Rekor, API version 2: the id is the C2SP note key id for the host name of its URL.
    RekorV2,
    /// A CT log.
    Ct,
}

/// The authorities of a trusted root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthorityKind {
    /// Certificates (Fulcio).
    Certificates,
    /// Timestamps.
    Timestamps,
}

/// The part of a trusted root that an instance stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Transparency logs.
    Tlogs,
    /// CT logs.
    Ctlogs,
    /// Certificate authorities.
    CertificateAuthorities,
    /// Timestamp authorities.
    TimestampAuthorities,
}

/// Waiting times of a rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rollout {
    /// Life of a timestamp: a client that has a fresh one asks for nothing until it ends.
    pub life: SignedDuration,
    /// From proposing to publishing, for the slowest signer.
    pub margin: SignedDuration,
}

impl Rollout {
    /// The first moment at which every client knows what is proposed now.
    pub fn earliest(&self, now: Timestamp) -> Timestamp {
        now.checked_add(self.life + self.margin)
            .unwrap_or(Timestamp::MAX)
    }

    /// The first moment at which every client knows what is published now.
    pub fn known(&self, published: Timestamp) -> Timestamp {
        published.checked_add(self.life).unwrap_or(Timestamp::MAX)
    }
}

/// An empty trusted root.
pub fn empty_root() -> shape::TrustedRoot {
    TrustedRoot::default().to_wire()
}

/// A signing config that names nobody, and asks for any one log and timestamp authority.
pub fn empty_config() -> shape::SigningConfig {
    let any = || {
        Some(ServiceConfiguration {
            selector: EnumValue::name(SELECT_ANY),
            count: 0,
        })
    };
    shape::SigningConfig {
        media_type: SIGNING_CONFIG_V02.to_owned(),
        ca_urls: Vec::new(),
        oidc_urls: Vec::new(),
        rekor_tlog_urls: Vec::new(),
        rekor_tlog_config: any(),
        tsa_urls: Vec::new(),
        tsa_config: any(),
    }
}

/// Both in one file.
pub fn client_trust_config(
    root: &shape::TrustedRoot,
    config: &shape::SigningConfig,
) -> shape::ClientTrustConfig {
    shape::ClientTrustConfig {
        media_type: CLIENT_TRUST_CONFIG_V01.to_owned(),
        trusted_root: root.clone(),
        signing_config: config.clone(),
    }
}

/// The id of a log: the hash of its key or, with an `origin` (the name in the checkpoints of Rekor v2), the C2SP note key id of both.
pub fn log_id(key: &PublicKey, origin: Option<&str>) -> Result<Vec<u8>, AuthorError> {
    let Some(origin) = origin else {
        return Ok(key.key_id().to_vec());
    };
    let named = VerifierKey::new(origin, key.clone());
    let named = named.map_err(|error| AuthorError::Key {
        url: origin.to_owned(),
        what: error.to_string(),
    })?;
    Ok(named.id().to_vec())
}

/// Lists a log, valid since `start`.
pub fn add_log(
    root: &mut shape::TrustedRoot,
    kind: LogKind,
    url: &str,
    key: &PublicKey,
    start: Timestamp,
) -> Result<(), AuthorError> {
    let url = base_url(url)?;
    let origin = match kind {
        LogKind::RekorV1 | LogKind::Ct => None,
        LogKind::RekorV2 => Some(host(&url)?),
    };
    let id = log_id(key, origin.as_deref())?;
    let instance = LogInstance {
        base_url: url.clone(),
        algorithm: key.default_algorithm(),
        key: key.clone(),
        checkpoint_id: id.clone(),
        id: id.clone(),
        validity: Validity::since(start),
        // A field of v0.2, which clients that were built before it refuse.
        operator: String::new(),
    };
    let list = match kind {
        LogKind::Ct => &mut root.ctlogs,
        LogKind::RekorV1 | LogKind::RekorV2 => &mut root.tlogs,
    };
    if list.iter().any(|log| {
        log.log_id
            .as_ref()
            .is_some_and(|known| known.key_id.0 == id)
    }) {
        return Err(AuthorError::Listed {
            kind: "log",
            name: url,
        });
    }
    let one = TrustedRoot {
        tlogs: vec![instance],
        ..TrustedRoot::default()
    };
    list.extend(one.to_wire().tlogs);
    list.sort_by_key(|log| start_of(log.public_key.valid_for));
    Ok(())
}

/// Lists an authority with its chain (lowest first), valid since `start`.
pub fn add_authority(
    root: &mut shape::TrustedRoot,
    kind: AuthorityKind,
    url: &str,
    chain: &[Certificate],
    start: Timestamp,
) -> Result<(), AuthorError> {
    let url = base_url(url)?;
    let list = match kind {
        AuthorityKind::Certificates => &mut root.certificate_authorities,
        AuthorityKind::Timestamps => &mut root.timestamp_authorities,
    };
    let lowest = chain.first().map(Certificate::der).unwrap_or_default();
    let same = |authority: &shape::CertificateAuthority| {
        let first = authority.cert_chain.certificates.first();
        first.is_some_and(|first| first.raw_bytes.0 == lowest)
    };
    if list.iter().any(same) {
        return Err(AuthorError::Listed {
            kind: "authority",
            name: url,
        });
    }
    let one = TrustedRoot {
        authorities: vec![CertificateAuthority {
            uri: url,
            chain: chain.to_vec(),
            validity: Validity::since(start),
            operator: String::new(),
        }],
        ..TrustedRoot::default()
    };
    list.extend(one.to_wire().certificate_authorities);
    list.sort_by_key(|authority| start_of(authority.valid_for));
    Ok(())
}

/// Closes the open window of an instance in the trusted root; it stays listed. Refused while the signing config sends clients there.
pub fn close(
    root: &mut shape::TrustedRoot,
    config: &shape::SigningConfig,
    part: Part,
    url: &str,
    end: Timestamp,
) -> Result<(), AuthorError> {
    let url = base_url(url)?;
    let services = match part {
        Part::Tlogs => &config.rekor_tlog_urls[..],
        Part::CertificateAuthorities => &config.ca_urls[..],
        Part::TimestampAuthorities => &config.tsa_urls[..],
        Part::Ctlogs => &[],
    };
    let mut windows: Vec<(&str, &mut Option<TimeRange>)> = match part {
        Part::Tlogs => log_windows(&mut root.tlogs),
        Part::Ctlogs => log_windows(&mut root.ctlogs),
        Part::CertificateAuthorities => authority_windows(&mut root.certificate_authorities),
        Part::TimestampAuthorities => authority_windows(&mut root.timestamp_authorities),
    };
    let known: Vec<String> = windows
        .iter()
        .filter(|(_, window)| window.is_some_and(|window| window.end.is_none()))
        .map(|(url, _)| (*url).to_owned())
        .collect();
    // Of several that are open under one URL (a new chain of the same CA), the oldest.
    let here = |name: &str| same_url(place_base(name), place_base(&url));
    let open = windows
        .iter_mut()
        .find(|(name, window)| here(name) && window.is_some_and(|window| window.end.is_none()));
    let Some((_, window)) = open else {
        return Err(AuthorError::Unknown {
            kind: "instance",
            name: url,
            known: known.join(", "),
        });
    };
    let in_use = services.iter().any(|service| {
        let window = service.valid_for.unwrap_or_default();
        here(&service.url) && window.end.is_none_or(|last| last > end)
    });
    let successor = known.iter().filter(|name| here(name)).count() > 1;
    if in_use && !successor {
        return Err(AuthorError::InUse { name: url, end });
    }
    let start = start_of(**window);
    if end < start {
        return Err(AuthorError::Backwards {
            name: url,
            start,
            end,
        });
    }
    **window = Some(TimeRange {
        start: Some(start),
        end: Some(end),
    });
    Ok(())
}

/// Sends clients to a service from `start` on, and no more to what there was of the same operator and version: its window closes at that
/// moment.
pub fn open_service(
    config: &mut shape::SigningConfig,
    kind: ServiceKind,
    url: &str,
    version: u32,
    operator: &str,
    start: Timestamp,
) -> Result<(), AuthorError> {
    let list = services_mut(config, kind);
    let same = |service: &&mut Service| {
        service.operator == operator && service.major_api_version == version
    };
    for service in list.iter_mut().filter(|service| same(service)) {
        let window = service.valid_for.unwrap_or_default();
        let open = window.end.is_none_or(|end| end > start);
        if open && same_url(&service.url, url) {
            return Err(AuthorError::Listed {
                kind: "service",
                name: url.to_owned(),
            });
        }
        let began = start_of(service.valid_for);
        if open && began >= start {
            return Err(AuthorError::Backwards {
                name: service.url.clone(),
                start: began,
                end: start,
            });
        }
        if open {
            service.valid_for = Some(TimeRange {
                start: Some(began),
                end: Some(start),
            });
        }
    }
    let service = Service {
        url: url.trim_end_matches('/').to_owned(),
        major_api_version: version,
        valid_for: Some(TimeRange {
            start: Some(start),
            end: None,
        }),
        operator: operator.to_owned(),
    };
    // Newest first, as the format asks for.
    list.insert(0, service);
    Ok(())
}

/// Sends clients to a service until `end`.
pub fn close_service(
    config: &mut shape::SigningConfig,
    kind: ServiceKind,
    url: &str,
    end: Timestamp,
) -> Result<(), AuthorError> {
    let list = services_mut(config, kind);
    let open = |service: &Service| service.valid_for.is_some_and(|window| window.end.is_none());
    let known: Vec<String> = list
        .iter()
        .filter(|service| open(service))
        .map(|service| service.url.clone())
        .collect();
    let found = list
        .iter_mut()
        .find(|service| open(service) && same_url(&service.url, url));
    let Some(service) = found else {
        return Err(AuthorError::Unknown {
            kind: "service",
            name: url.to_owned(),
            known: known.join(", "),
        });
    };
    let start = start_of(service.valid_for);
    if end < start {
        return Err(AuthorError::Backwards {
            name: service.url.clone(),
            start,
            end,
        });
    }
    service.valid_for = Some(TimeRange {
        start: Some(start),
        end: Some(end),
    });
    Ok(())
}

/// A start that was asked for, or the first that is safe. Sooner ones are refused.
pub fn start(
    asked: Option<Timestamp>,
    now: Timestamp,
    rollout: &Rollout,
) -> Result<Timestamp, AuthorError> {
    let earliest = rollout.earliest(now);
    // To the full minute, for people.
    let minute = 60 - earliest.as_second().rem_euclid(60);
    let rounded = Timestamp::from_second(earliest.as_second() + minute).unwrap_or(earliest);
    match asked {
        None => Ok(rounded),
        Some(start) if start >= earliest => Ok(start),
        Some(start) => Err(AuthorError::TooSoon {
            start,
            earliest,
            life: format!("{:#}", rollout.life),
            margin: format!("{:#}", rollout.margin),
        }),
    }
}

/// Pretty JSON with a newline at the end.
pub fn to_json(document: &impl serde::Serialize) -> Result<String, serde_json::Error> {
    Ok(serde_json::to_string_pretty(document)? + "\n")
}

/// The services of a kind.
pub fn services(config: &shape::SigningConfig, kind: ServiceKind) -> &[Service] {
    match kind {
        ServiceKind::Fulcio => &config.ca_urls,
        ServiceKind::Oidc => &config.oidc_urls,
        ServiceKind::Rekor => &config.rekor_tlog_urls,
        ServiceKind::Tsa => &config.tsa_urls,
    }
}

fn services_mut(config: &mut shape::SigningConfig, kind: ServiceKind) -> &mut Vec<Service> {
    match kind {
        ServiceKind::Fulcio => &mut config.ca_urls,
        ServiceKind::Oidc => &mut config.oidc_urls,
        ServiceKind::Rekor => &mut config.rekor_tlog_urls,
        ServiceKind::Tsa => &mut config.tsa_urls,
    }
}

/// A timestamp authority's service is the whole endpoint, its place in the trusted root the base, as we write it.
pub(crate) fn service_base(service: &Service) -> String {
    place_base(&service.url).to_owned()
}

/// The public repository, and cosign's examples, have the whole endpoint in the trusted root too.
pub(crate) fn place_base(url: &str) -> &str {
    let url = url.trim_end_matches('/');
    url.strip_suffix("/api/v1/timestamp").unwrap_or(url)
}

pub(crate) fn same_url(one: &str, other: &str) -> bool {
    one.trim_end_matches('/') == other.trim_end_matches('/')
}

fn log_windows(logs: &mut [shape::TransparencyLogInstance]) -> Vec<(&str, &mut Option<TimeRange>)> {
    logs.iter_mut()
        .map(|log| (log.base_url.as_str(), &mut log.public_key.valid_for))
        .collect()
}

fn authority_windows(
    authorities: &mut [shape::CertificateAuthority],
) -> Vec<(&str, &mut Option<TimeRange>)> {
    authorities
        .iter_mut()
        .map(|authority| (authority.uri.as_str(), &mut authority.valid_for))
        .collect()
}

fn start_of(window: Option<TimeRange>) -> Timestamp {
    window
        .and_then(|window| window.start)
        .unwrap_or(Timestamp::MIN)
}

fn base_url(text: &str) -> Result<String, AuthorError> {
    let wrong = |what| AuthorError::Url {
        url: text.chars().take(200).collect(),
        what,
    };
    let url = url::Url::parse(text).map_err(|_| wrong("not a URL"))?;
    if !["http", "https"].contains(&url.scheme()) {
        return Err(wrong("neither https nor http"));
    }
    if url.query().is_some() || url.fragment().is_some() || !url.username().is_empty() {
        return Err(wrong("a base URL has no query, no fragment and no user"));
    }
    Ok(text.trim_end_matches('/').to_owned())
}

fn host(url: &str) -> Result<String, AuthorError> {
    url::Url::parse(url)
        .ok()
        .and_then(|url| url.host_str().map(str::to_owned))
        .ok_or_else(|| AuthorError::Url {
            url: url.to_owned(),
            what: "it has no host",
        })
}
