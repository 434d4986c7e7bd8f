//! Who asks, and does he hold the key? Checks in upstream's order: token, key, strength, proof, algorithm.

use jiff::Timestamp;
use keys::{Algorithm, KeyError, PublicKey};
use pki::{Csr, CsrError, Field};
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
    /// Uses the token up, where each is good for one certificate: last, so that a request that is refused for anything else does not.
    pub(crate) fn spend(&self, issuers: &Issuers, now: Timestamp) -> Result<(), AdmitError> {
        Ok(issuers.spend(&self.principal, now)?)
    }

    /// Who: the token's issuer, and its subject there.
    pub(crate) fn identity(&self) -> (&str, &str) {
        let Principal {
            subject,
            extensions,
            ..
        } = &self.principal;
        (
            extensions.issuer().unwrap_or_default(),
            extensions
                .get(Field::TokenSubject)
                .unwrap_or(subject.value()),
        )
    }

    #[cfg(test)]
    pub(crate) const fn unproven(principal: Principal, key: PublicKey) -> Self {
        Self { principal, key }
    }

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
    #[error("unrecognized signature algorithm: {0}")]
    UnknownAlgorithm(String),
    #[error("signing algorithm not permitted: {0}")]
    Algorithm(&'static str),
}

/// The default of upstream's `client-signing-algorithms`.
pub(crate) const ALGORITHMS: [Algorithm; 7] = [
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
    permitted: &[Algorithm],
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
    let (key, algorithm) = if csr.is_empty() {
        let request = request
            .public_key_request
            .ok_or_else(|| AdmitError::Key("the request has neither a key nor a CSR".into()))?;
        let key = PublicKey::from_pem(&request.public_key.content).map_err(key_error)?;
        key.check_strength().map_err(key_error)?;
        let algorithm = check_proof(&principal, &key, permitted, &request.proof_of_possession.0)?;
        (key, algorithm)
    } else {
        let text = std::str::from_utf8(&csr)
            .map_err(|_| AdmitError::Csr(CsrError::Malformed("not text".into())))?;
        let csr = Csr::from_pem(text).map_err(csr_error)?;
        let key = csr.public_key().clone();
        key.check_strength().map_err(key_error)?;
        (key, csr.algorithm())
    };
    if !permitted.contains(&algorithm) {
        return Err(AdmitError::Algorithm(algorithm.registry_name()));
    }
    Ok(Admitted { principal, key })
}

/// With which algorithm the proof verifies: that which goes with the key, or another one that is permitted.
fn check_proof(
    principal: &Principal,
    key: &PublicKey,
    permitted: &[Algorithm],
    proof: &[u8],
) -> Result<Algorithm, AdmitError> {
    let usual = key.default_algorithm();
    let others = permitted
        .iter()
        .copied()
        .filter(|other| other.key_type() == key.key_type() && *other != usual);
    std::iter::once(usual)
        .chain(others)
        .find(|algorithm| {
            let mut names = principal.proofs.iter();
            names.any(|name| key.verify(*algorithm, name.as_bytes(), proof).is_ok())
        })
        .ok_or(AdmitError::Proof)
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
        CsrError::Algorithm(name) => AdmitError::UnknownAlgorithm(name),
        malformed @ CsrError::Malformed(_) => AdmitError::Csr(malformed),
    }
}
