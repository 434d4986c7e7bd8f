//! Who asks, and does he hold the key? Checks in upstream's order: token, key, strength, proof.

use jiff::Timestamp;
use keys::{Algorithm, KeyError, PublicKey};
use pki::{Csr, CsrError};
use thiserror::Error;
use wire::fulcio::SigningCertificateRequest;

use crate::issuers::{IdentityError, Issuers, Principal};

/// Somebody whose token and key were checked. Only [`admit`] makes one.
#[derive(Debug)]
pub(crate) struct Admitted {
    principal: Principal,
    key: PublicKey,
}

impl Admitted {
    pub(crate) fn into_parts(self) -> (Principal, PublicKey) {
        (self.principal, self.key)
    }
}

/// Why somebody gets no certificate.
#[derive(Debug, Error)]
pub(crate) enum AdmitError {
    #[error("identity")]
    Identity(#[from] IdentityError),
    #[error("no token")]
    NoToken,
    #[error("certificate request: {0}")]
    Csr(CsrError),
    #[error("public key: {0}")]
    Key(String),
    #[error("weak key: {0}")]
    Weak(String),
    #[error("the proof of possession does not verify")]
    Proof,
    #[error("signing algorithm not permitted: {0}")]
    Algorithm(String),
}

/// The default of upstream's `client-signing-algorithms`.
const ALLOWED: [Algorithm; 7] = [
    Algorithm::EcdsaP256Sha256,
    Algorithm::EcdsaP384Sha384,
    Algorithm::EcdsaP521Sha512,
    Algorithm::RsaPkcs1Sha256_2048,
    Algorithm::RsaPkcs1Sha256_3072,
    Algorithm::RsaPkcs1Sha256_4096,
    Algorithm::Ed25519,
];

/// Checks a request. The header's token counts only where the body has none.
pub(crate) async fn admit(
    issuers: &Issuers,
    request: SigningCertificateRequest,
    header_token: Option<&str>,
    now: Timestamp,
) -> Result<Admitted, AdmitError> {
    let body_token = request
        .credentials
        .map(|credentials| credentials.oidc_identity_token)
        .filter(|token| !token.is_empty());
    let token = body_token
        .as_deref()
        .or(header_token)
        .ok_or(AdmitError::NoToken)?;
    let principal = issuers.identify(token, now).await?;
    let csr = request.certificate_signing_request.0;
    let key = if csr.is_empty() {
        let request = request
            .public_key_request
            .ok_or_else(|| AdmitError::Key("the request has neither a key nor a CSR".into()))?;
        let key = PublicKey::from_pem(&request.public_key.content).map_err(key_error)?;
        check_proof(&principal, &key, &request.proof_of_possession.0)?;
        key
    } else {
        let text = std::str::from_utf8(&csr)
            .map_err(|_| AdmitError::Csr(CsrError::Malformed("not text".into())))?;
        Csr::from_pem(text).map_err(csr_error)?.public_key().clone()
    };
    let algorithm = key.default_algorithm();
    if !ALLOWED.contains(&algorithm) {
        return Err(AdmitError::Algorithm(algorithm.registry_name().to_owned()));
    }
    // Last: a request that is refused for its key does not use the token up.
    issuers.spend(&principal, now)?;
    Ok(Admitted { principal, key })
}

fn check_proof(principal: &Principal, key: &PublicKey, proof: &[u8]) -> Result<(), AdmitError> {
    let algorithm = key.default_algorithm();
    let holds = |name: &String| key.verify(algorithm, name.as_bytes(), proof).is_ok();
    if principal.proofs.iter().any(holds) {
        Ok(())
    } else {
        Err(AdmitError::Proof)
    }
}

fn key_error(error: KeyError) -> AdmitError {
    match error {
        KeyError::Malformed(why) => AdmitError::Key(why),
        KeyError::Insecure(why) => AdmitError::Weak(why),
    }
}

fn csr_error(error: CsrError) -> AdmitError {
    match error {
        CsrError::Key(error) => key_error(error),
        CsrError::Signature => AdmitError::Proof,
        CsrError::Algorithm(name) => AdmitError::Algorithm(name),
        malformed @ CsrError::Malformed(_) => AdmitError::Csr(malformed),
    }
}
