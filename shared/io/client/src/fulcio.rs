//! Asking Fulcio for a certificate.

use keys::{KeyType, PublicKey};
use pki::{CertError, Certificate};
use thiserror::Error;
use url::Url;
use wire::encoding::Bytes;
use wire::fulcio::{self as shape, PublicKeyRequest, SigningCertificate};

use crate::agent::{Agent, Call, CallError, Refused, below};
use crate::identity::IdentityToken;

/// Fulcio's API, version 2.
#[derive(Debug, Clone)]
pub struct Fulcio {
    agent: Agent,
    url: Url,
}

/// Why there is no certificate.
#[derive(Debug, Error)]
pub enum FulcioError {
    /// No answer.
    #[error("asking for a certificate")]
    Call(#[from] CallError),
    /// No.
    #[error("the certificate authority refuses")]
    Refused(#[from] Refused),
    /// An answer that is none.
    #[error("the certificate authority's answer")]
    Answer(#[from] wire::WireError),
    /// An answer without a certificate.
    #[error("the certificate authority's answer has no certificate")]
    Empty,
    /// The promise of the certificate log is beside the certificate, where a bundle cannot take it.
    #[error("the certificate authority gives no certificate with an embedded SCT")]
    DetachedSct,
    /// Not certificates.
    #[error("the certificate authority's answer")]
    Certificate(#[from] CertError),
}

impl Fulcio {
    /// `base` is the URL without `/api/v2`.
    pub fn new(agent: &Agent, base: &Url) -> Self {
        Self {
            agent: agent.clone(),
            url: below(base, "api/v2/signingCert"),
        }
    }

    /// Asks for a certificate for `key`; `proof` is the key's signature over [`IdentityToken::subject_for_proof`].
    ///
    /// The chain comes as it was sent, leaf first, and is not verified: that is the caller's next step.
    pub async fn certificate(
        &self,
        token: &IdentityToken,
        key: &PublicKey,
        proof: &[u8],
    ) -> Result<Vec<Certificate>, FulcioError> {
        let request = shape::SigningCertificateRequest {
            credentials: None,
            public_key_request: Some(PublicKeyRequest {
                public_key: shape::PublicKey {
                    algorithm: Some(algorithm(key).into()),
                    content: key.to_pem(),
                },
                proof_of_possession: Bytes(proof.to_vec()),
            }),
            certificate_signing_request: Bytes::default(),
        };
        let body = serde_json::to_vec(&request).map_err(wire::WireError::Json)?;
        // A second certificate for the same key is no harm, so that this may be repeated.
        let call = Call::post(self.url.clone(), "application/json", body)
            .accept("application/json")
            .authorization("Bearer", token.as_str());
        let answer = self.agent.send(&call).await?.expect(&[200, 201])?;
        let answer: SigningCertificate = wire::parse(&answer.body)?;
        let chain = match (
            answer.signed_certificate_embedded_sct,
            answer.signed_certificate_detached_sct,
        ) {
            (Some(embedded), _) => embedded.chain,
            (None, Some(_)) => return Err(FulcioError::DetachedSct),
            (None, None) => return Err(FulcioError::Empty),
        };
        let chain = Certificate::chain_from_pem(&chain.certificates.join("\n"))?;
        if chain.is_empty() {
            return Err(FulcioError::Empty);
        }
        Ok(chain)
    }
}

/// Fulcio's name for the kind of key; it reads the key itself.
fn algorithm(key: &PublicKey) -> &'static str {
    match key.key_type() {
        KeyType::EcdsaP256 | KeyType::EcdsaP384 | KeyType::EcdsaP521 => "ECDSA",
        KeyType::Ed25519 => "ED25519",
        _ => "RSA_PSS",
    }
}
