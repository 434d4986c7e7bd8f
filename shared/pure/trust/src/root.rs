//! The trusted root.

use std::fmt;

use jiff::Timestamp;
use keys::{Algorithm, HashAlgorithm, PublicKey};
use note::VerifierKey;
use pki::Certificate;
use thiserror::Error;
use wire::common::{DistinguishedName, LogId, TimeRange, X509Certificate, X509CertificateChain};
use wire::encoding::{Bytes, EnumValue};
use wire::trustroot as shape;

use crate::TRUSTED_ROOT_V01;

/// The media types that are read; the first one is written.
const MEDIA_TYPES: [&str; 3] = [
    TRUSTED_ROOT_V01,
    "application/vnd.dev.sigstore.trustedroot.v0.1+json",
    "application/vnd.dev.sigstore.trustedroot.v0.2+json",
];
/// The most instances of one kind: a decade of yearly shards in several regions.
const MAX_INSTANCES: usize = 256;

/// Why a document is no trusted root.
#[derive(Debug, Error)]
pub enum RootError {
    /// Not JSON of this shape.
    #[error("not a trusted root: {0}")]
    Wire(#[from] wire::WireError),
    /// A version that is not known.
    #[error("unknown trusted root version {0:?}, expected {TRUSTED_ROOT_V01}")]
    MediaType(String),
    /// More instances than anybody has.
    #[error("{found} {kind}, at most {MAX_INSTANCES}")]
    TooMany {
        /// Of what.
        kind: &'static str,
        /// How many.
        found: usize,
    },
    /// One instance is wrong.
    #[error("{kind} {name}: {what}")]
    Instance {
        /// `tlog`, `ctlog`, `certificate authority`, `timestamp authority`.
        kind: &'static str,
        /// Its URL.
        name: String,
        /// What is wrong with it.
        what: String,
    },
}

/// A time range, closed at both ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// First moment.
    pub start: Timestamp,
    /// Last moment, included; none for "still".
    pub end: Option<Timestamp>,
}

impl Validity {
    /// From `start` on, with no end yet.
    pub const fn since(start: Timestamp) -> Self {
        Self { start, end: None }
    }

    /// Is `at` in the range? Both ends are.
    pub fn contains(&self, at: Timestamp) -> bool {
        self.start <= at && self.end.is_none_or(|end| at <= end)
    }

    fn from_wire(range: Option<TimeRange>) -> Result<Self, String> {
        // A missing start is a mistake, not "since for ever".
        let range = range.ok_or("validFor is missing")?;
        let start = range.start.ok_or("validFor has no start")?;
        if range.end.is_some_and(|end| end < start) {
            return Err("validFor ends before it starts".into());
        }
        Ok(Self {
            start,
            end: range.end,
        })
    }

    fn to_wire(self) -> TimeRange {
        TimeRange {
            start: Some(self.start),
            end: self.end,
        }
    }
}

impl fmt::Display for Validity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.end {
            Some(end) => write!(formatter, "{} to {end}", self.start),
            None => write!(formatter, "since {}", self.start),
        }
    }
}

/// A log, with the key and the time in which it signs.
#[derive(Debug, Clone)]
pub struct LogInstance {
    /// Where it is (or was).
    pub base_url: String,
    /// What it signs with.
    pub key: PublicKey,
    /// How it signs: for Ed25519 pure, for RSA PKCS#1.
    pub algorithm: Algorithm,
    /// Its id, as entries and SCTs name it.
    pub id: Vec<u8>,
    /// The id whose first four bytes are the hint of its checkpoint signatures.
    pub checkpoint_id: Vec<u8>,
    /// When it signs.
    pub validity: Validity,
    /// Who runs it.
    pub operator: String,
}

impl LogInstance {
    /// The keys that open this log's checkpoints: one key under the host name of the log's URL and, where the URL has a port, under both
    /// together. Rekor v2 and its clients leave the port out, self-hosted Rekor v1 puts it in.
    pub fn verifier_keys(&self) -> Vec<VerifierKey> {
        let Some(url) = url::Url::parse(&self.base_url).ok() else {
            return Vec::new();
        };
        let host = url.host_str().unwrap_or_default();
        let with_port = url.port().map(|port| format!("{host}:{port}"));
        [Some(host.to_owned()), with_port]
            .into_iter()
            .flatten()
            .filter_map(|name| {
                VerifierKey::with_log_id(&name, self.key.clone(), &self.checkpoint_id).ok()
            })
            .collect()
    }
}

/// A certificate authority or a timestamp authority.
#[derive(Debug, Clone)]
pub struct CertificateAuthority {
    /// Where it is (or was).
    pub uri: String,
    /// Lowest first (for a timestamp authority its leaf), trusted one last; never empty.
    pub chain: Vec<Certificate>,
    /// When it issues.
    pub validity: Validity,
    /// Who runs it.
    pub operator: String,
}

impl CertificateAuthority {
    /// The last certificate: the one that is trusted.
    pub fn anchor(&self) -> Option<&Certificate> {
        self.chain.last()
    }

    /// What stands between a leaf and the anchor.
    pub fn intermediates(&self) -> &[Certificate] {
        self.chain.split_last().map_or(&[], |(_, rest)| rest)
    }
}

/// Whom to trust, and when.
#[derive(Debug, Clone, Default)]
pub struct TrustedRoot {
    /// Transparency logs.
    pub tlogs: Vec<LogInstance>,
    /// CT logs.
    pub ctlogs: Vec<LogInstance>,
    /// Certificate authorities.
    pub authorities: Vec<CertificateAuthority>,
    /// Timestamp authorities.
    pub timestamp_authorities: Vec<CertificateAuthority>,
}

impl TrustedRoot {
    /// Reads a trusted root.
    pub fn parse(bytes: &[u8]) -> Result<Self, RootError> {
        Self::from_wire(wire::parse(bytes)?)
    }

    /// Takes the JSON shape; one wrong instance makes the whole root wrong.
    pub fn from_wire(root: shape::TrustedRoot) -> Result<Self, RootError> {
        if !MEDIA_TYPES.contains(&root.media_type.as_str()) {
            return Err(RootError::MediaType(root.media_type));
        }
        Ok(Self {
            tlogs: all("tlogs", root.tlogs, |instance| log("tlog", instance))?,
            ctlogs: all("ctlogs", root.ctlogs, |instance| log("ctlog", instance))?,
            authorities: all(
                "certificate authorities",
                root.certificate_authorities,
                |authority| self::authority("certificate authority", authority),
            )?,
            timestamp_authorities: all(
                "timestamp authorities",
                root.timestamp_authorities,
                |authority| self::authority("timestamp authority", authority),
            )?,
        })
    }

    /// The JSON shape, in the version that every client reads.
    pub fn to_wire(&self) -> shape::TrustedRoot {
        shape::TrustedRoot {
            media_type: TRUSTED_ROOT_V01.into(),
            tlogs: self.tlogs.iter().map(log_to_wire).collect(),
            certificate_authorities: self.authorities.iter().map(authority_to_wire).collect(),
            ctlogs: self.ctlogs.iter().map(log_to_wire).collect(),
            timestamp_authorities: self
                .timestamp_authorities
                .iter()
                .map(authority_to_wire)
                .collect(),
        }
    }

    /// Pretty JSON with a newline at the end.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        Ok(serde_json::to_string_pretty(&self.to_wire())? + "\n")
    }
}

fn all<A, B>(
    kind: &'static str,
    from: Vec<A>,
    to: impl Fn(A) -> Result<B, RootError>,
) -> Result<Vec<B>, RootError> {
    if from.len() > MAX_INSTANCES {
        return Err(RootError::TooMany {
            kind,
            found: from.len(),
        });
    }
    from.into_iter().map(to).collect()
}

fn log(
    kind: &'static str,
    instance: shape::TransparencyLogInstance,
) -> Result<LogInstance, RootError> {
    let name = instance.base_url.clone();
    let wrong = |what: String| RootError::Instance {
        kind,
        name: name.clone(),
        what,
    };
    let hash = match &instance.hash_algorithm {
        EnumValue::Name(name) => HashAlgorithm::from_wire_name(name),
        EnumValue::Number(number) => HashAlgorithm::from_wire_number(*number),
    };
    if hash != Some(HashAlgorithm::Sha256) {
        return Err(wrong(format!(
            "hash algorithm {} is not RFC 6962's SHA2_256",
            instance.hash_algorithm
        )));
    }
    let details = match &instance.public_key.key_details {
        EnumValue::Name(name) => name.clone(),
        EnumValue::Number(number) => number.to_string(),
    };
    let raw = &instance.public_key.raw_bytes.0;
    // The oldest RSA logs are listed with PKCS#1 keys (details 1, PKCS1_RSA_PKCS1V5).
    let key = if ["PKCS1_RSA_PKCS1V5", "1"].contains(&details.as_str()) {
        PublicKey::from_pkcs1_der(raw)
    } else {
        PublicKey::from_spki_der(raw)
    }
    .map_err(|error| wrong(error.to_string()))?;
    let id = instance
        .log_id
        .map(|id| id.key_id.0)
        .filter(|id| !id.is_empty())
        .ok_or_else(|| wrong("logId is missing".into()))?;
    let checkpoint_id = instance
        .checkpoint_key_id
        .map(|id| id.key_id.0)
        .filter(|id| !id.is_empty())
        .unwrap_or_else(|| id.clone());
    if id.len() < 4 || checkpoint_id.len() < 4 || id.len() > 64 || checkpoint_id.len() > 64 {
        return Err(wrong("logId is not the 32 bytes of a hash".into()));
    }
    Ok(LogInstance {
        base_url: instance.base_url,
        algorithm: key.default_algorithm(),
        key,
        id,
        checkpoint_id,
        validity: Validity::from_wire(instance.public_key.valid_for).map_err(wrong)?,
        operator: instance.operator,
    })
}

fn authority(
    kind: &'static str,
    authority: shape::CertificateAuthority,
) -> Result<CertificateAuthority, RootError> {
    let name = authority.uri.clone();
    let wrong = |what: String| RootError::Instance {
        kind,
        name: name.clone(),
        what,
    };
    let listed = authority.cert_chain.certificates;
    if listed.is_empty() || listed.len() > pki::cert::MAX_CHAIN {
        return Err(wrong(format!("a chain of {} certificates", listed.len())));
    }
    let chain = listed
        .iter()
        .map(|certificate| Certificate::from_der(&certificate.raw_bytes.0))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| wrong(error.to_string()))?;
    Ok(CertificateAuthority {
        uri: authority.uri,
        chain,
        validity: Validity::from_wire(authority.valid_for).map_err(wrong)?,
        operator: authority.operator,
    })
}

fn log_to_wire(log: &LogInstance) -> shape::TransparencyLogInstance {
    shape::TransparencyLogInstance {
        base_url: log.base_url.clone(),
        hash_algorithm: EnumValue::name(HashAlgorithm::Sha256.wire_name()),
        public_key: wire::common::PublicKey {
            raw_bytes: log.key.spki_der().into(),
            key_details: EnumValue::name(log.algorithm.wire_name()),
            valid_for: Some(log.validity.to_wire()),
        },
        log_id: Some(LogId {
            key_id: Bytes(log.id.clone()),
        }),
        checkpoint_key_id: (log.checkpoint_id != log.id).then(|| LogId {
            key_id: Bytes(log.checkpoint_id.clone()),
        }),
        operator: log.operator.clone(),
    }
}

fn authority_to_wire(authority: &CertificateAuthority) -> shape::CertificateAuthority {
    let subject = authority
        .chain
        .first()
        .map(|lowest| name_parts(&lowest.subject_text()))
        .unwrap_or_default();
    shape::CertificateAuthority {
        subject: Some(subject),
        uri: authority.uri.clone(),
        cert_chain: X509CertificateChain {
            certificates: authority
                .chain
                .iter()
                .map(|certificate| X509Certificate {
                    raw_bytes: certificate.der().into(),
                })
                .collect(),
        },
        valid_for: Some(authority.validity.to_wire()),
        operator: authority.operator.clone(),
    }
}

/// O and CN out of RFC 4514 text, for the reader's comfort: nobody compares them.
fn name_parts(text: &str) -> DistinguishedName {
    let part = |prefix: &str| {
        text.split(',')
            .find_map(|part| part.trim().strip_prefix(prefix))
            .unwrap_or_default()
            .to_owned()
    };
    DistinguishedName {
        organization: part("O="),
        common_name: part("CN="),
    }
}
