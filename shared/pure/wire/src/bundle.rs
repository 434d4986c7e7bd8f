//! `sigstore_bundle.proto` and `sigstore_rekor.proto`: the bundle.

use serde::{Deserialize, Serialize};

use crate::common::{HashOutput, LogId, X509Certificate, X509CertificateChain};
use crate::encoding::{Bytes, Int64, nullable};

/// `Bundle`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Bundle {
    /// Which version it is.
    #[serde(default, alias = "media_type", deserialize_with = "nullable")]
    pub media_type: String,
    /// What is needed to verify it.
    #[serde(alias = "verification_material")]
    pub verification_material: VerificationMaterial,
    /// A signature over a file: one of two.
    #[serde(
        default,
        alias = "message_signature",
        skip_serializing_if = "Option::is_none"
    )]
    pub message_signature: Option<MessageSignature>,
    /// A signed envelope: the other.
    #[serde(
        default,
        alias = "dsse_envelope",
        skip_serializing_if = "Option::is_none"
    )]
    pub dsse_envelope: Option<Envelope>,
}

/// `VerificationMaterial`; the first three exclude one another.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VerificationMaterial {
    /// A hint about a key that the verifier has.
    #[serde(default, alias = "public_key", skip_serializing_if = "Option::is_none")]
    pub public_key: Option<PublicKeyIdentifier>,
    /// Leaf and intermediates (v0.1, v0.2).
    #[serde(
        default,
        alias = "x509_certificate_chain",
        rename = "x509CertificateChain",
        skip_serializing_if = "Option::is_none"
    )]
    pub x509_certificate_chain: Option<X509CertificateChain>,
    /// The leaf (v0.3).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<X509Certificate>,
    /// Log entries.
    #[serde(
        default,
        alias = "tlog_entries",
        deserialize_with = "nullable",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub tlog_entries: Vec<TransparencyLogEntry>,
    /// Timestamps.
    #[serde(
        default,
        alias = "timestamp_verification_data",
        skip_serializing_if = "Option::is_none"
    )]
    pub timestamp_verification_data: Option<TimestampVerificationData>,
}

/// `PublicKeyIdentifier`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PublicKeyIdentifier {
    /// Only a hint.
    #[serde(default, deserialize_with = "nullable")]
    pub hint: String,
}

/// `TimestampVerificationData`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TimestampVerificationData {
    /// RFC 3161 responses.
    #[serde(default, alias = "rfc3161_timestamps", deserialize_with = "nullable")]
    pub rfc3161_timestamps: Vec<Rfc3161SignedTimestamp>,
}

/// `RFC3161SignedTimestamp`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rfc3161SignedTimestamp {
    /// A whole `TimeStampResp`, DER.
    #[serde(alias = "signed_timestamp")]
    pub signed_timestamp: Bytes,
}

/// `MessageSignature`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MessageSignature {
    /// An unauthenticated hint.
    #[serde(
        default,
        alias = "message_digest",
        skip_serializing_if = "Option::is_none"
    )]
    pub message_digest: Option<HashOutput>,
    /// The signature.
    #[serde(default, deserialize_with = "nullable")]
    pub signature: Bytes,
}

/// The DSSE envelope (io.intoto.Envelope).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Envelope {
    /// The signed bytes.
    #[serde(default, deserialize_with = "nullable")]
    pub payload: Bytes,
    /// Their type.
    #[serde(default, alias = "payload_type", deserialize_with = "nullable")]
    pub payload_type: String,
    /// The signatures.
    #[serde(default, deserialize_with = "nullable")]
    pub signatures: Vec<EnvelopeSignature>,
}

/// One signature of an envelope.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EnvelopeSignature {
    /// The signature.
    #[serde(default, deserialize_with = "nullable")]
    pub sig: Bytes,
    /// A hint.
    #[serde(
        default,
        deserialize_with = "nullable",
        skip_serializing_if = "String::is_empty"
    )]
    pub keyid: String,
}

/// `TransparencyLogEntry`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TransparencyLogEntry {
    /// Index in the log (v1: over all shards).
    #[serde(default, alias = "log_index", deserialize_with = "nullable")]
    pub log_index: Int64,
    /// Which log.
    #[serde(default, alias = "log_id", skip_serializing_if = "Option::is_none")]
    pub log_id: Option<LogId>,
    /// What kind of entry.
    #[serde(
        default,
        alias = "kind_version",
        skip_serializing_if = "Option::is_none"
    )]
    pub kind_version: Option<KindVersion>,
    /// Seconds since 1970; 0 in Rekor v2.
    #[serde(
        default,
        alias = "integrated_time",
        deserialize_with = "nullable",
        skip_serializing_if = "is_zero"
    )]
    pub integrated_time: Int64,
    /// The log's promise (v1).
    #[serde(
        default,
        alias = "inclusion_promise",
        skip_serializing_if = "Option::is_none"
    )]
    pub inclusion_promise: Option<InclusionPromise>,
    /// The log's proof.
    #[serde(
        default,
        alias = "inclusion_proof",
        skip_serializing_if = "Option::is_none"
    )]
    pub inclusion_proof: Option<InclusionProof>,
    /// The leaf.
    #[serde(default, alias = "canonicalized_body", deserialize_with = "nullable")]
    pub canonicalized_body: Bytes,
}

/// The same with the members that are not set, as the Rekor v2 service answers.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TransparencyLogEntryReply {
    /// See [`TransparencyLogEntry`].
    pub log_index: Int64,
    /// See [`TransparencyLogEntry`].
    pub log_id: LogId,
    /// See [`TransparencyLogEntry`].
    pub kind_version: KindVersion,
    /// Always 0.
    pub integrated_time: Int64,
    /// Always `null`.
    pub inclusion_promise: Option<InclusionPromise>,
    /// See [`TransparencyLogEntry`].
    pub inclusion_proof: InclusionProof,
    /// See [`TransparencyLogEntry`].
    pub canonicalized_body: Bytes,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde calls it with a reference"
)]
fn is_zero(number: &Int64) -> bool {
    number.0 == 0
}

/// `KindVersion`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KindVersion {
    /// `hashedrekord`, `dsse`, `intoto`.
    #[serde(default, deserialize_with = "nullable")]
    pub kind: String,
    /// `0.0.1`, `0.0.2`.
    #[serde(default, deserialize_with = "nullable")]
    pub version: String,
}

/// `InclusionPromise`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct InclusionPromise {
    /// The SET.
    #[serde(
        default,
        alias = "signed_entry_timestamp",
        deserialize_with = "nullable"
    )]
    pub signed_entry_timestamp: Bytes,
}

/// `InclusionProof`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct InclusionProof {
    /// Index in the tree that the checkpoint is about.
    #[serde(default, alias = "log_index", deserialize_with = "nullable")]
    pub log_index: Int64,
    /// Root of that tree.
    #[serde(default, alias = "root_hash", deserialize_with = "nullable")]
    pub root_hash: Bytes,
    /// Its size.
    #[serde(default, alias = "tree_size", deserialize_with = "nullable")]
    pub tree_size: Int64,
    /// Audit path, leaf to root.
    #[serde(default, deserialize_with = "nullable")]
    pub hashes: Vec<Bytes>,
    /// The signed note.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<Checkpoint>,
}

/// `Checkpoint`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Checkpoint {
    /// The note's text.
    #[serde(default, deserialize_with = "nullable")]
    pub envelope: String,
}
