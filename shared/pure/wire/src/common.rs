//! Messages of `sigstore_common.proto`.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::encoding::{Bytes, EnumValue, nullable};

/// `HashOutput`: a digest with its algorithm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HashOutput {
    /// `SHA2_256` and so on.
    #[serde(default, deserialize_with = "nullable")]
    pub algorithm: EnumValue,
    /// The digest.
    #[serde(default, deserialize_with = "nullable")]
    pub digest: Bytes,
}

/// `LogId`: the id of a log, 32 bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LogId {
    /// The id.
    #[serde(default, alias = "key_id", deserialize_with = "nullable")]
    pub key_id: Bytes,
}

/// `X509Certificate`: DER.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct X509Certificate {
    /// The certificate.
    #[serde(alias = "raw_bytes")]
    pub raw_bytes: Bytes,
}

/// `X509CertificateChain`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct X509CertificateChain {
    /// Leaf (or lowest authority) first.
    #[serde(default, deserialize_with = "nullable")]
    pub certificates: Vec<X509Certificate>,
}

/// `TimeRange`, closed at both ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TimeRange {
    /// First moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<Timestamp>,
    /// Last moment; none for "still".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<Timestamp>,
}

/// `PublicKey` of a log: SPKI (or, for old RSA keys, PKCS#1).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PublicKey {
    /// The key.
    #[serde(alias = "raw_bytes")]
    pub raw_bytes: Bytes,
    /// `PublicKeyDetails`.
    #[serde(default, alias = "key_details", deserialize_with = "nullable")]
    pub key_details: EnumValue,
    /// When it signs.
    #[serde(default, alias = "valid_for", skip_serializing_if = "Option::is_none")]
    pub valid_for: Option<TimeRange>,
}

/// `DistinguishedName` of an authority.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DistinguishedName {
    /// O.
    #[serde(default, deserialize_with = "nullable")]
    pub organization: String,
    /// CN.
    #[serde(default, alias = "common_name", deserialize_with = "nullable")]
    pub common_name: String,
}
