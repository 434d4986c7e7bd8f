//! `fulcio/v2`: asking for a certificate. Fulcio tolerates members it does not know, so these do too.

use serde::{Deserialize, Serialize};

use crate::encoding::{Bytes, nullable};

/// `CreateSigningCertificateRequest`.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SigningCertificateRequest {
    /// The token, where it is not in the header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<Credentials>,
    /// A key with proof of possession.
    #[serde(
        default,
        alias = "public_key_request",
        skip_serializing_if = "Option::is_none"
    )]
    pub public_key_request: Option<PublicKeyRequest>,
    /// A PKCS#10 request in PEM.
    #[serde(
        default,
        alias = "certificate_signing_request",
        deserialize_with = "nullable",
        skip_serializing_if = "is_empty"
    )]
    pub certificate_signing_request: Bytes,
}

fn is_empty(bytes: &Bytes) -> bool {
    bytes.0.is_empty()
}

/// `Credentials`. Deliberately without `Debug`: a token must not end up in a log.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Credentials {
    /// The identity token.
    #[serde(default, alias = "oidc_identity_token", deserialize_with = "nullable")]
    pub oidc_identity_token: String,
}

/// `PublicKeyRequest`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PublicKeyRequest {
    /// The key.
    #[serde(default, alias = "public_key", deserialize_with = "nullable")]
    pub public_key: PublicKey,
    /// Signature over the token's subject.
    #[serde(default, alias = "proof_of_possession", deserialize_with = "nullable")]
    pub proof_of_possession: Bytes,
}

/// `PublicKey`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PublicKey {
    /// `ECDSA`, `RSA_PSS`, `ED25519` or what a client made up; never used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<serde_json::Value>,
    /// PEM.
    #[serde(default, deserialize_with = "nullable")]
    pub content: String,
}

/// `SigningCertificate`: one of two.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SigningCertificate {
    /// The SCT is in the certificate.
    #[serde(
        default,
        alias = "signed_certificate_embedded_sct",
        skip_serializing_if = "Option::is_none"
    )]
    pub signed_certificate_embedded_sct: Option<EmbeddedSct>,
    /// The SCT is beside it, or there is none.
    #[serde(
        default,
        alias = "signed_certificate_detached_sct",
        skip_serializing_if = "Option::is_none"
    )]
    pub signed_certificate_detached_sct: Option<DetachedSct>,
}

/// `SigningCertificateEmbeddedSCT`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EmbeddedSct {
    /// Leaf first, root last.
    pub chain: Chain,
}

/// `SigningCertificateDetachedSCT`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DetachedSct {
    /// Leaf first, root last.
    pub chain: Chain,
    /// The log's answer, JSON; empty without a log.
    #[serde(
        default,
        alias = "signed_certificate_timestamp",
        deserialize_with = "nullable"
    )]
    pub signed_certificate_timestamp: Bytes,
}

/// `CertificateChain`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chain {
    /// PEM.
    #[serde(default, deserialize_with = "nullable")]
    pub certificates: Vec<String>,
}

/// `TrustBundle`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrustBundle {
    /// Every chain that certificates may end in.
    #[serde(default, deserialize_with = "nullable")]
    pub chains: Vec<Chain>,
}

/// `Configuration`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Configuration {
    /// The issuers whose tokens are taken.
    #[serde(default, deserialize_with = "nullable")]
    pub issuers: Vec<Issuer>,
}

/// `OIDCIssuer`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Issuer {
    /// Its URL: one of two.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer_url: Option<String>,
    /// A pattern: the other.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wildcard_issuer_url: Option<String>,
    /// What its tokens must be made for.
    pub audience: String,
    /// The claim that the proof of possession signs.
    pub challenge_claim: String,
    /// SPIFFE only.
    pub spiffe_trust_domain: String,
    /// `email`, `github-workflow` and so on.
    pub issuer_type: String,
    /// URI and username only.
    pub subject_domain: String,
    /// Email only: addresses count that the issuer has not verified.
    pub skip_email_verification: bool,
}
