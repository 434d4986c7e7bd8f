//! The protobuf messages, field by field as the `.proto` files number them: sigstore/fulcio `fulcio.proto` (`dev.sigstore.fulcio.v2`) and
//! `fulcio_legacy.proto` (`dev.sigstore.fulcio.v1beta`).

use prost::{Message, Oneof};
use wire::fulcio as json;

/// `dev.sigstore.fulcio.v2.CreateSigningCertificateRequest`
#[derive(Clone, PartialEq, Eq, Message)]
#[prost(skip_debug)]
pub struct CreateSigningCertificateRequest {
    /// Who asks; the token may be in the metadata instead.
    #[prost(message, optional, tag = "1")]
    pub credentials: Option<Credentials>,
    /// The key, and that he has it.
    #[prost(oneof = "RequestKey", tags = "2, 3")]
    pub key: Option<RequestKey>,
}

/// One of two.
#[derive(Clone, PartialEq, Eq, Oneof)]
pub enum RequestKey {
    /// A key with a proof of possession.
    #[prost(message, tag = "2")]
    PublicKeyRequest(PublicKeyRequest),
    /// PKCS#10, PEM.
    #[prost(bytes, tag = "3")]
    CertificateSigningRequest(Vec<u8>),
}

/// `dev.sigstore.fulcio.v2.Credentials`. Without `Debug` of its contents: a token must not end up in a log.
#[derive(Clone, PartialEq, Eq, Message)]
#[prost(skip_debug)]
pub struct Credentials {
    /// One of one.
    #[prost(oneof = "Credential", tags = "1")]
    pub credentials: Option<Credential>,
}

/// One of one.
#[derive(Clone, PartialEq, Eq, Oneof)]
#[prost(skip_debug)]
pub enum Credential {
    /// The identity token.
    #[prost(string, tag = "1")]
    OidcIdentityToken(String),
}

impl std::fmt::Debug for CreateSigningCertificateRequest {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("CreateSigningCertificateRequest")
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Credentials")
    }
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("OidcIdentityToken")
    }
}

/// `dev.sigstore.fulcio.v2.PublicKeyRequest`
#[derive(Clone, PartialEq, Eq, Message)]
pub struct PublicKeyRequest {
    /// The key.
    #[prost(message, optional, tag = "1")]
    pub public_key: Option<PublicKey>,
    /// Signature over the challenge claim.
    #[prost(bytes = "vec", tag = "2")]
    pub proof_of_possession: Vec<u8>,
}

/// `dev.sigstore.fulcio.v2.PublicKey`
#[derive(Clone, PartialEq, Eq, Message)]
pub struct PublicKey {
    /// `PublicKeyAlgorithm`, which is never used.
    #[prost(int32, tag = "1")]
    pub algorithm: i32,
    /// PEM.
    #[prost(string, tag = "2")]
    pub content: String,
}

/// `dev.sigstore.fulcio.v2.SigningCertificate`
#[derive(Clone, PartialEq, Eq, Message)]
pub struct SigningCertificate {
    /// One of two.
    #[prost(oneof = "Certificate", tags = "1, 2")]
    pub certificate: Option<Certificate>,
}

/// One of two.
#[derive(Clone, PartialEq, Eq, Oneof)]
pub enum Certificate {
    /// The SCT is beside it, or there is none.
    #[prost(message, tag = "1")]
    DetachedSct(DetachedSct),
    /// The SCT is in the certificate.
    #[prost(message, tag = "2")]
    EmbeddedSct(EmbeddedSct),
}

/// `dev.sigstore.fulcio.v2.SigningCertificateDetachedSCT`
#[derive(Clone, PartialEq, Eq, Message)]
pub struct DetachedSct {
    /// Leaf first, root last.
    #[prost(message, optional, tag = "1")]
    pub chain: Option<CertificateChain>,
    /// The log's answer, JSON; empty without a log.
    #[prost(bytes = "vec", tag = "2")]
    pub signed_certificate_timestamp: Vec<u8>,
}

/// `dev.sigstore.fulcio.v2.SigningCertificateEmbeddedSCT`
#[derive(Clone, PartialEq, Eq, Message)]
pub struct EmbeddedSct {
    /// Leaf first, root last.
    #[prost(message, optional, tag = "1")]
    pub chain: Option<CertificateChain>,
}

/// `dev.sigstore.fulcio.v2.CertificateChain`
#[derive(Clone, PartialEq, Eq, Message)]
pub struct CertificateChain {
    /// PEM.
    #[prost(string, repeated, tag = "1")]
    pub certificates: Vec<String>,
}

/// `dev.sigstore.fulcio.v2.TrustBundle`
#[derive(Clone, PartialEq, Eq, Message)]
pub struct TrustBundle {
    /// Every chain that certificates may end in.
    #[prost(message, repeated, tag = "1")]
    pub chains: Vec<CertificateChain>,
}

/// `dev.sigstore.fulcio.v2.Configuration`
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Configuration {
    /// The issuers whose tokens are taken.
    #[prost(message, repeated, tag = "1")]
    pub issuers: Vec<OidcIssuer>,
}

/// `dev.sigstore.fulcio.v2.OIDCIssuer`
#[derive(Clone, PartialEq, Eq, Message)]
pub struct OidcIssuer {
    /// One of two.
    #[prost(oneof = "IssuerName", tags = "1, 2")]
    pub issuer: Option<IssuerName>,
    /// What its tokens must be made for.
    #[prost(string, tag = "3")]
    pub audience: String,
    /// The claim that the proof of possession signs.
    #[prost(string, tag = "4")]
    pub challenge_claim: String,
    /// SPIFFE only.
    #[prost(string, tag = "5")]
    pub spiffe_trust_domain: String,
    /// `email`, `github-workflow` and so on.
    #[prost(string, tag = "6")]
    pub issuer_type: String,
    /// URI and username only.
    #[prost(string, tag = "7")]
    pub subject_domain: String,
    /// Mail addresses are taken without the provider's word.
    #[prost(bool, tag = "8")]
    pub skip_email_verification: bool,
}

/// One of two.
#[derive(Clone, PartialEq, Eq, Oneof)]
pub enum IssuerName {
    /// Its URL.
    #[prost(string, tag = "1")]
    IssuerUrl(String),
    /// A pattern of URLs.
    #[prost(string, tag = "2")]
    WildcardIssuerUrl(String),
}

/// `dev.sigstore.fulcio.v1beta.CreateSigningCertificateRequest`
#[derive(Clone, PartialEq, Eq, Message)]
pub struct LegacyRequest {
    /// The key.
    #[prost(message, optional, tag = "1")]
    pub public_key: Option<LegacyKey>,
    /// The proof of possession.
    #[prost(bytes = "vec", tag = "2")]
    pub signed_email_address: Vec<u8>,
    /// PKCS#10, PEM.
    #[prost(bytes = "vec", tag = "3")]
    pub certificate_signing_request: Vec<u8>,
}

/// `dev.sigstore.fulcio.v1beta.PublicKey`
#[derive(Clone, PartialEq, Eq, Message)]
pub struct LegacyKey {
    /// Free text, which is never used.
    #[prost(string, tag = "1")]
    pub algorithm: String,
    /// PEM or DER.
    #[prost(bytes = "vec", tag = "2")]
    pub content: Vec<u8>,
}

impl From<CreateSigningCertificateRequest> for json::SigningCertificateRequest {
    /// The same request in the shape of the JSON interface, which is admitted by the same rules.
    fn from(request: CreateSigningCertificateRequest) -> Self {
        let token = request.credentials.and_then(|given| given.credentials);
        let credentials =
            token.map(
                |Credential::OidcIdentityToken(oidc_identity_token)| json::Credentials {
                    oidc_identity_token,
                },
            );
        let (public_key_request, csr) = match request.key {
            None => (None, Vec::new()),
            Some(RequestKey::CertificateSigningRequest(csr)) => (None, csr),
            Some(RequestKey::PublicKeyRequest(request)) => {
                let content = request.public_key.map(|key| key.content);
                let request = json::PublicKeyRequest {
                    public_key: json::PublicKey {
                        algorithm: None,
                        content: content.unwrap_or_default(),
                    },
                    proof_of_possession: request.proof_of_possession.into(),
                };
                (Some(request), Vec::new())
            }
        };
        Self {
            credentials,
            public_key_request,
            certificate_signing_request: csr.into(),
        }
    }
}

impl From<json::TrustBundle> for TrustBundle {
    fn from(bundle: json::TrustBundle) -> Self {
        let chains = bundle.chains.into_iter();
        Self {
            chains: chains
                .map(|chain| CertificateChain {
                    certificates: chain.certificates,
                })
                .collect(),
        }
    }
}

impl From<json::Configuration> for Configuration {
    fn from(configuration: json::Configuration) -> Self {
        Self {
            issuers: configuration.issuers.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<json::Issuer> for OidcIssuer {
    fn from(issuer: json::Issuer) -> Self {
        let name = issuer.issuer_url.map(IssuerName::IssuerUrl);
        let pattern = issuer
            .wildcard_issuer_url
            .map(IssuerName::WildcardIssuerUrl);
        Self {
            issuer: name.or(pattern),
            audience: issuer.audience,
            challenge_claim: issuer.challenge_claim,
            spiffe_trust_domain: issuer.spiffe_trust_domain,
            issuer_type: issuer.issuer_type,
            subject_domain: issuer.subject_domain,
            skip_email_verification: issuer.skip_email_verification,
        }
    }
}
