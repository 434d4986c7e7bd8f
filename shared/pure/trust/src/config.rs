//! The signing config: which services to call, now.

use jiff::Timestamp;
use thiserror::Error;
use wire::encoding::EnumValue;
use wire::trustroot::{self as shape, Service, ServiceConfiguration};

use crate::root::{RootError, TrustedRoot};
use crate::{CLIENT_TRUST_CONFIG_V01, SIGNING_CONFIG_V02};

/// `ServiceSelector.ALL`.
pub const SELECT_ALL: &str = "ALL";
/// `ServiceSelector.ANY`.
pub const SELECT_ANY: &str = "ANY";
/// `ServiceSelector.EXACT`.
pub const SELECT_EXACT: &str = "EXACT";

/// Why a document is no signing config, or names no service to call.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// Not JSON of this shape.
    #[error("not a signing config: {0}")]
    Wire(#[from] wire::WireError),
    /// A version that is not known.
    #[error("unknown version {found:?}, expected {expected}")]
    MediaType {
        /// In the document.
        found: String,
        /// What is read.
        expected: &'static str,
    },
    /// The trusted root inside is wrong.
    #[error(transparent)]
    Root(#[from] RootError),
    /// A selector that is not known.
    #[error("unknown selector {0}, expected ALL, ANY or EXACT")]
    Selector(EnumValue),
    /// No service of the kind is valid now in a version that we speak.
    #[error(
        "the signing config names {wanted} {kind:?} service(s) to use and has {found} that are valid at {at} in a version we speak ({versions:?})"
    )]
    NoService {
        /// What was looked for.
        kind: ServiceKind,
        /// How many are needed.
        wanted: usize,
        /// How many there are.
        found: usize,
        /// When.
        at: Timestamp,
        /// The API versions that we speak.
        versions: &'static [u32],
    },
}

/// What a service does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServiceKind {
    /// Certificate authority.
    Fulcio,
    /// Identity provider.
    Oidc,
    /// Transparency log.
    Rekor,
    /// Timestamp authority.
    Tsa,
}

impl ServiceKind {
    /// The major API versions that this project's client speaks.
    pub const fn versions(self) -> &'static [u32] {
        match self {
            // Fulcio's entry says 1 although its path says v2: every client selects 1.
            Self::Fulcio | Self::Oidc | Self::Tsa => &[1],
            Self::Rekor => &[1, 2],
        }
    }
}

/// Whom to call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SigningConfig(shape::SigningConfig);

impl SigningConfig {
    /// Reads a signing config.
    pub fn parse(bytes: &[u8]) -> Result<Self, ConfigError> {
        Self::from_wire(wire::parse(bytes)?)
    }

    /// Takes the JSON shape.
    pub fn from_wire(config: shape::SigningConfig) -> Result<Self, ConfigError> {
        if config.media_type != SIGNING_CONFIG_V02 {
            return Err(ConfigError::MediaType {
                found: config.media_type,
                expected: SIGNING_CONFIG_V02,
            });
        }
        Ok(Self(config))
    }

    /// The JSON shape.
    pub const fn to_wire(&self) -> &shape::SigningConfig {
        &self.0
    }

    /// Pretty JSON with a newline at the end.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        Ok(serde_json::to_string_pretty(&self.0)? + "\n")
    }

    /// The one service of a kind to call (CA, identity provider): the newest that is valid, in the highest version that we speak.
    pub fn service(&self, kind: ServiceKind, now: Timestamp) -> Result<&Service, ConfigError> {
        self.candidates(kind, kind.versions(), now)
            .first()
            .copied()
            .ok_or_else(|| no_service(kind, kind.versions(), 1, 0, now))
    }

    /// The services of a kind to call (logs, timestamp authorities), by the config's selector; `rotation` is the caller's randomness for
    /// choosing among equals.
    pub fn services(
        &self,
        kind: ServiceKind,
        now: Timestamp,
        rotation: usize,
    ) -> Result<Vec<&Service>, ConfigError> {
        self.services_in(kind, kind.versions(), now, rotation)
    }

    /// The same among those of these major API versions alone.
    pub fn services_in(
        &self,
        kind: ServiceKind,
        versions: &'static [u32],
        now: Timestamp,
        rotation: usize,
    ) -> Result<Vec<&Service>, ConfigError> {
        let configuration = match kind {
            ServiceKind::Rekor => self.0.rekor_tlog_config.as_ref(),
            ServiceKind::Tsa => self.0.tsa_config.as_ref(),
            ServiceKind::Fulcio | ServiceKind::Oidc => None,
        };
        let mut candidates = one_per_operator(self.candidates(kind, versions, now));
        let wanted = match configuration {
            Some(configuration) => wanted(configuration, candidates.len())?,
            None => 1,
        };
        if candidates.len() < wanted || wanted == 0 {
            let found = candidates.len();
            return Err(no_service(kind, versions, wanted.max(1), found, now));
        }
        if wanted < candidates.len() {
            let by = rotation.checked_rem(candidates.len()).unwrap_or(0);
            candidates.rotate_left(by);
            candidates.truncate(wanted);
        }
        Ok(candidates)
    }

    /// Does the config name any service of this kind at all?
    pub fn names(&self, kind: ServiceKind) -> bool {
        !self.list(kind).is_empty()
    }

    fn list(&self, kind: ServiceKind) -> &[Service] {
        match kind {
            ServiceKind::Fulcio => &self.0.ca_urls,
            ServiceKind::Oidc => &self.0.oidc_urls,
            ServiceKind::Rekor => &self.0.rekor_tlog_urls,
            ServiceKind::Tsa => &self.0.tsa_urls,
        }
    }

    /// Valid now, highest version that we speak, newest start first.
    fn candidates(&self, kind: ServiceKind, versions: &[u32], now: Timestamp) -> Vec<&Service> {
        let valid = |service: &&Service| {
            versions.contains(&service.major_api_version)
                && service.valid_for.is_some_and(|range| {
                    range.start.is_some_and(|start| start <= now)
                        && range.end.is_none_or(|end| now <= end)
                })
        };
        let highest = self
            .list(kind)
            .iter()
            .filter(valid)
            .map(|service| service.major_api_version)
            .max();
        let mut found: Vec<&Service> = self
            .list(kind)
            .iter()
            .filter(valid)
            .filter(|service| Some(service.major_api_version) == highest)
            .collect();
        found.sort_by_key(|service| {
            std::cmp::Reverse(service.valid_for.and_then(|range| range.start))
        });
        found
    }
}

/// Two services of one operator are not two witnesses. An operator without a name is one operator.
fn one_per_operator(services: Vec<&Service>) -> Vec<&Service> {
    let mut kept: Vec<&Service> = Vec::new();
    for service in services {
        if !kept.iter().any(|other| other.operator == service.operator) {
            kept.push(service);
        }
    }
    kept
}

fn wanted(configuration: &ServiceConfiguration, available: usize) -> Result<usize, ConfigError> {
    let selector = match &configuration.selector {
        EnumValue::Number(1) => SELECT_ALL,
        EnumValue::Number(2) => SELECT_ANY,
        EnumValue::Number(3) => SELECT_EXACT,
        EnumValue::Name(name) => name.as_str(),
        EnumValue::Number(_) => return Err(ConfigError::Selector(configuration.selector.clone())),
    };
    match selector {
        SELECT_ALL => Ok(available),
        SELECT_ANY => Ok(1),
        SELECT_EXACT => Ok(usize::try_from(configuration.count).unwrap_or(usize::MAX)),
        _ => Err(ConfigError::Selector(configuration.selector.clone())),
    }
}

fn no_service(
    kind: ServiceKind,
    versions: &'static [u32],
    wanted: usize,
    found: usize,
    at: Timestamp,
) -> ConfigError {
    ConfigError::NoService {
        kind,
        wanted,
        found,
        at,
        versions,
    }
}

/// Whom to trust and whom to call, in one file.
#[derive(Debug, Clone)]
pub struct ClientTrustConfig {
    /// Whom to trust.
    pub root: TrustedRoot,
    /// Whom to call.
    pub signing: SigningConfig,
}

impl ClientTrustConfig {
    /// Reads the file.
    pub fn parse(bytes: &[u8]) -> Result<Self, ConfigError> {
        let config: shape::ClientTrustConfig = wire::parse(bytes)?;
        if config.media_type != CLIENT_TRUST_CONFIG_V01 {
            return Err(ConfigError::MediaType {
                found: config.media_type,
                expected: CLIENT_TRUST_CONFIG_V01,
            });
        }
        Ok(Self {
            root: TrustedRoot::from_wire(config.trusted_root)?,
            signing: SigningConfig::from_wire(config.signing_config)?,
        })
    }

    /// Pretty JSON with a newline at the end.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        let config = shape::ClientTrustConfig {
            media_type: CLIENT_TRUST_CONFIG_V01.into(),
            trusted_root: self.root.to_wire(),
            signing_config: self.signing.to_wire().clone(),
        };
        Ok(serde_json::to_string_pretty(&config)? + "\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(selector: &str, services: &[(&str, u32, &str, Option<&str>, &str)]) -> SigningConfig {
        let services: Vec<String> = services
            .iter()
            .map(|(url, version, start, end, operator)| {
                let end = end.map(|end| format!(",\"end\":\"{end}\"")).unwrap_or_default();
                format!("{{\"url\":\"{url}\",\"majorApiVersion\":{version},\"validFor\":{{\"start\":\"{start}\"{end}}},\"operator\":\"{operator}\"}}")
            })
            .collect();
        let text = format!(
            "{{\"mediaType\":\"{SIGNING_CONFIG_V02}\",\"rekorTlogUrls\":[{}],\"rekorTlogConfig\":{{\"selector\":\"{selector}\",\"count\":2}}}}",
            services.join(",")
        );
        SigningConfig::parse(text.as_bytes()).unwrap()
    }

    fn urls(config: &SigningConfig, rotation: usize) -> Result<Vec<String>, ConfigError> {
        let now = "2026-06-01T00:00:00Z".parse().unwrap();
        Ok(config
            .services(ServiceKind::Rekor, now, rotation)?
            .iter()
            .map(|service| service.url.clone())
            .collect())
    }

    const SERVICES: [(&str, u32, &str, Option<&str>, &str); 6] = [
        ("old", 2, "2025-01-01T00:00:00Z", None, "a"),
        ("new", 2, "2026-01-01T00:00:00Z", None, "a"),
        (
            "gone",
            2,
            "2025-01-01T00:00:00Z",
            Some("2025-12-31T00:00:00Z"),
            "c",
        ),
        ("future", 2, "2027-01-01T00:00:00Z", None, "d"),
        (
            "other",
            2,
            "2024-01-01T00:00:00Z",
            Some("2026-06-01T00:00:00Z"),
            "b",
        ),
        ("v1", 1, "2021-01-01T00:00:00Z", None, "e"),
    ];

    #[test]
    fn services_are_chosen_by_version_time_operator_and_selector() {
        assert_eq!(
            urls(&config("ALL", &SERVICES), 0).unwrap(),
            ["new", "other"]
        );
        assert_eq!(urls(&config("ANY", &SERVICES), 0).unwrap(), ["new"]);
        assert_eq!(urls(&config("ANY", &SERVICES), 3).unwrap(), ["other"]);
        assert_eq!(
            urls(&config("EXACT", &SERVICES), 0).unwrap(),
            ["new", "other"]
        );
        assert!(matches!(
            urls(&config("EXACT", &SERVICES[..2]), 0),
            Err(ConfigError::NoService {
                wanted: 2,
                found: 1,
                ..
            })
        ));
        assert_eq!(urls(&config("ALL", &SERVICES[5..]), 0).unwrap(), ["v1"]);
        let now = "2026-06-01T00:00:00Z".parse().unwrap();
        let all = config("ANY", &SERVICES);
        let v1 = all.services_in(ServiceKind::Rekor, &[1], now, 0).unwrap();
        assert_eq!(v1[0].url, "v1");
        let unknown = [("v3", 3, "2021-01-01T00:00:00Z", None, "e")];
        assert!(matches!(
            urls(&config("ALL", &unknown), 0),
            Err(ConfigError::NoService { .. })
        ));
        assert!(matches!(
            urls(&config("SOME", &SERVICES), 0),
            Err(ConfigError::Selector(_))
        ));
    }
}
