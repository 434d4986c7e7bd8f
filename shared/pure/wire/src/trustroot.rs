//! `sigstore_trustroot.proto`: whom to trust and whom to call.

use serde::{Deserialize, Serialize};

use crate::common::{DistinguishedName, LogId, PublicKey, TimeRange, X509CertificateChain};
use crate::encoding::{EnumValue, nullable};

/// `TrustedRoot`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TrustedRoot {
    /// Which version it is.
    #[serde(alias = "media_type")]
    pub media_type: String,
    /// Transparency logs.
    #[serde(default, deserialize_with = "nullable")]
    pub tlogs: Vec<TransparencyLogInstance>,
    /// Certificate authorities.
    #[serde(
        default,
        alias = "certificate_authorities",
        deserialize_with = "nullable"
    )]
    pub certificate_authorities: Vec<CertificateAuthority>,
    /// CT logs.
    #[serde(default, deserialize_with = "nullable")]
    pub ctlogs: Vec<TransparencyLogInstance>,
    /// Timestamp authorities.
    #[serde(
        default,
        alias = "timestamp_authorities",
        deserialize_with = "nullable"
    )]
    pub timestamp_authorities: Vec<CertificateAuthority>,
}

/// `TransparencyLogInstance`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TransparencyLogInstance {
    /// Where it is.
    #[serde(default, alias = "base_url", deserialize_with = "nullable")]
    pub base_url: String,
    /// How it hashes.
    #[serde(default, alias = "hash_algorithm", deserialize_with = "nullable")]
    pub hash_algorithm: EnumValue,
    /// What it signs with.
    #[serde(alias = "public_key")]
    pub public_key: PublicKey,
    /// Its id.
    #[serde(default, alias = "log_id", skip_serializing_if = "Option::is_none")]
    pub log_id: Option<LogId>,
    /// The id that starts with the key hint of its checkpoints, where that is another one (v0.2).
    #[serde(
        default,
        alias = "checkpoint_key_id",
        skip_serializing_if = "Option::is_none"
    )]
    pub checkpoint_key_id: Option<LogId>,
    /// Who runs it (v0.2).
    #[serde(
        default,
        deserialize_with = "nullable",
        skip_serializing_if = "String::is_empty"
    )]
    pub operator: String,
}

/// `CertificateAuthority`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CertificateAuthority {
    /// Its name.
    #[serde(default)]
    pub subject: Option<DistinguishedName>,
    /// Where it is.
    #[serde(default, deserialize_with = "nullable")]
    pub uri: String,
    /// Lowest authority (TSA: the leaf) first, trusted certificate last.
    #[serde(alias = "cert_chain")]
    pub cert_chain: X509CertificateChain,
    /// When it issues.
    #[serde(default, alias = "valid_for", skip_serializing_if = "Option::is_none")]
    pub valid_for: Option<TimeRange>,
    /// Who runs it (v0.2).
    #[serde(
        default,
        deserialize_with = "nullable",
        skip_serializing_if = "String::is_empty"
    )]
    pub operator: String,
}

/// `SigningConfig` v0.2.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SigningConfig {
    /// Which version it is.
    #[serde(alias = "media_type")]
    pub media_type: String,
    /// Certificate authorities.
    #[serde(default, alias = "ca_urls", deserialize_with = "nullable")]
    pub ca_urls: Vec<Service>,
    /// Identity providers.
    #[serde(default, alias = "oidc_urls", deserialize_with = "nullable")]
    pub oidc_urls: Vec<Service>,
    /// Logs.
    #[serde(default, alias = "rekor_tlog_urls", deserialize_with = "nullable")]
    pub rekor_tlog_urls: Vec<Service>,
    /// How many of them.
    #[serde(
        default,
        alias = "rekor_tlog_config",
        skip_serializing_if = "Option::is_none"
    )]
    pub rekor_tlog_config: Option<ServiceConfiguration>,
    /// Timestamp authorities.
    #[serde(default, alias = "tsa_urls", deserialize_with = "nullable")]
    pub tsa_urls: Vec<Service>,
    /// How many of them.
    #[serde(default, alias = "tsa_config", skip_serializing_if = "Option::is_none")]
    pub tsa_config: Option<ServiceConfiguration>,
}

/// `Service`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Service {
    /// Base URL; of a TSA the whole endpoint.
    pub url: String,
    /// Which API it speaks.
    #[serde(default, alias = "major_api_version", deserialize_with = "nullable")]
    pub major_api_version: u32,
    /// When to use it.
    #[serde(default, alias = "valid_for", skip_serializing_if = "Option::is_none")]
    pub valid_for: Option<TimeRange>,
    /// Who runs it.
    #[serde(
        default,
        deserialize_with = "nullable",
        skip_serializing_if = "String::is_empty"
    )]
    pub operator: String,
}

/// `ServiceConfiguration`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServiceConfiguration {
    /// `ALL`, `ANY` or `EXACT`.
    #[serde(default, deserialize_with = "nullable")]
    pub selector: EnumValue,
    /// How many, for `EXACT`.
    #[serde(
        default,
        deserialize_with = "nullable",
        skip_serializing_if = "is_none"
    )]
    pub count: u32,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde calls it with a reference"
)]
fn is_none(count: &u32) -> bool {
    *count == 0
}

/// `ClientTrustConfig`: both in one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClientTrustConfig {
    /// Which version it is.
    #[serde(alias = "media_type")]
    pub media_type: String,
    /// Whom to trust.
    #[serde(alias = "trusted_root")]
    pub trusted_root: TrustedRoot,
    /// Whom to call.
    #[serde(alias = "signing_config")]
    pub signing_config: SigningConfig,
}
