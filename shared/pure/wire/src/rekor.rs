//! `rekor/v2`: what is sent to a Rekor v2 log, and the bodies that it keeps.

use serde::{Deserialize, Serialize};

use crate::bundle::Envelope;
use crate::common::{HashOutput, X509Certificate};
use crate::encoding::{Bytes, EnumValue, nullable};

/// `CreateEntryRequest`: one of two.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CreateEntryRequest {
    /// A signature over a digest.
    #[serde(
        default,
        rename = "hashedRekordRequestV002",
        alias = "hashed_rekord_request_v002",
        skip_serializing_if = "Option::is_none"
    )]
    pub hashed_rekord_request_v002: Option<HashedRekordRequest>,
    /// A signed envelope.
    #[serde(
        default,
        rename = "dsseRequestV002",
        alias = "dsse_request_v002",
        skip_serializing_if = "Option::is_none"
    )]
    pub dsse_request_v002: Option<DsseRequest>,
}

/// `HashedRekordRequestV002`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HashedRekordRequest {
    /// The digest; its algorithm follows from the key details.
    pub digest: Bytes,
    /// The signature over it.
    pub signature: Signature,
}

/// `DSSERequestV002`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DsseRequest {
    /// The envelope.
    pub envelope: Envelope,
    /// A verifier for each of its signatures.
    #[serde(default, deserialize_with = "nullable")]
    pub verifiers: Vec<Verifier>,
}

/// `Signature` with its verifier.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Signature {
    /// The signature.
    pub content: Bytes,
    /// What verifies it.
    pub verifier: Verifier,
}

/// `Verifier`: a key or a certificate, and what the key is used with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Verifier {
    /// A key, SPKI.
    #[serde(default, alias = "public_key", skip_serializing_if = "Option::is_none")]
    pub public_key: Option<RawKey>,
    /// A certificate, DER.
    #[serde(
        default,
        rename = "x509Certificate",
        alias = "x509_certificate",
        skip_serializing_if = "Option::is_none"
    )]
    pub x509_certificate: Option<X509Certificate>,
    /// `PublicKeyDetails`.
    #[serde(default, alias = "key_details", deserialize_with = "nullable")]
    pub key_details: EnumValue,
}

/// `PublicKey` of rekor v2.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RawKey {
    /// SPKI, DER.
    #[serde(alias = "raw_bytes")]
    pub raw_bytes: Bytes,
}

/// `Entry`: the body that the log keeps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Entry {
    /// `0.0.2`.
    pub api_version: String,
    /// `hashedrekord` or `dsse`.
    pub kind: String,
    /// One of two.
    pub spec: Spec,
}

/// `Spec`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Spec {
    /// A signature over a digest.
    #[serde(
        default,
        rename = "hashedRekordV002",
        skip_serializing_if = "Option::is_none"
    )]
    pub hashed_rekord_v002: Option<HashedRekordEntry>,
    /// A signed envelope.
    #[serde(default, rename = "dsseV002", skip_serializing_if = "Option::is_none")]
    pub dsse_v002: Option<DsseEntry>,
}

/// `HashedRekordLogEntryV002`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HashedRekordEntry {
    /// What was signed.
    pub data: HashOutput,
    /// Its signature.
    pub signature: Signature,
}

/// `DSSELogEntryV002`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DsseEntry {
    /// Digest of the payload.
    pub payload_hash: HashOutput,
    /// The signatures, in the order of their bytes.
    pub signatures: Vec<Signature>,
}
