//! Who signed, as v1 clients send it: a key, a certificate or a chain, as PEM in base64.

use entry::{Message, Verifier};
use keys::{Algorithm, Digest, KeyType, PublicKey, pem};
use pki::Certificate;

use crate::format::Known;
use crate::{ProposeError, invalid};

/// The longest chain.
const MAX_CHAIN: usize = 10;

/// A key, or certificates with the leaf first.
#[derive(Debug, Clone)]
pub(crate) enum Signer {
    Key(PublicKey),
    Chain(Vec<Certificate>),
}

impl Signer {
    pub(crate) fn from_pem(bytes: &[u8]) -> Result<Self, ProposeError> {
        let text = std::str::from_utf8(bytes)
            .map_err(|_| invalid("invalid public key: failure decoding PEM"))?;
        let blocks = pem::decode_all(text.trim())
            .map_err(|error| invalid(format!("invalid public key: {error}")))?;
        match blocks.as_slice() {
            [block] if block.label == "PUBLIC KEY" => PublicKey::from_spki_der(&block.der)
                .map(Self::Key)
                .map_err(|error| invalid(format!("invalid public key: {error}"))),
            blocks if blocks.len() > MAX_CHAIN => Err(invalid(format!(
                "too many certificates specified in PEM block: {}, at most {MAX_CHAIN}",
                blocks.len()
            ))),
            blocks => {
                let chain = blocks
                    .iter()
                    .map(|block| match block.label.as_str() {
                        "CERTIFICATE" => Certificate::from_der(&block.der)
                            .map_err(|error| invalid(format!("invalid certificate: {error}"))),
                        other => Err(invalid(format!(
                            "invalid public key: cannot handle type {other}"
                        ))),
                    })
                    .collect::<Result<Vec<_>, _>>()?;
                check_chain(&chain)?;
                Ok(Self::Chain(chain))
            }
        }
    }

    pub(crate) fn key(&self) -> Option<&PublicKey> {
        match self {
            Self::Key(key) => Some(key),
            Self::Chain(chain) => chain.first().map(Certificate::public_key),
        }
    }

    /// PEM in the one form that goes into the log.
    pub(crate) fn to_pem(&self) -> String {
        match self {
            Self::Key(key) => key.to_pem(),
            Self::Chain(chain) => chain.iter().map(Certificate::to_pem).collect(),
        }
    }

    /// A signature over a digest. Ed25519 means Ed25519ph here.
    pub(crate) fn verify_digest(
        &self,
        digest: &Digest,
        signature: &[u8],
        allowed: &[Algorithm],
    ) -> Result<(), ProposeError> {
        let key = self.key().ok_or_else(|| invalid("no public key found"))?;
        let algorithm = allowed.iter().copied().find(|algorithm| {
            algorithm.key_type() == key.key_type() && algorithm.hash() == Some(digest.algorithm())
        });
        let algorithm = algorithm.ok_or_else(|| {
            invalid(format!(
                "entry algorithms are not allowed: {:?} with {}",
                key.key_type(),
                digest.algorithm().name()
            ))
        })?;
        key.verify_digest(algorithm, digest, signature)
            .map_err(|_| invalid("verifying signature: the signature does not verify with the given key or certificate"))
    }

    /// Whether a signature is this signer's. Upstream hashes with SHA-256 whatever the key; a P-384 or P-521 key's own hash is taken as
    /// well, as clients of today sign with it.
    pub(crate) fn signed(&self, message: &Message, signature: &[u8]) -> bool {
        let Some(key) = self.key() else { return false };
        let old = match key.key_type() {
            KeyType::EcdsaP384 => Some(Algorithm::EcdsaP384Sha256),
            KeyType::EcdsaP521 => Some(Algorithm::EcdsaP521Sha256),
            _ => None,
        };
        [Some(key.default_algorithm()), old]
            .into_iter()
            .flatten()
            .any(|algorithm| message.is_signed_by(key, algorithm, signature))
    }

    /// What an entry by this signer is found by and its body does not tell: the digest of a whole chain.
    pub(crate) fn chain_keys(&self, keys: &mut Vec<String>) {
        if let Self::Chain(chain) = self
            && chain.len() > 1
        {
            entry::digest_keys(self.to_pem().as_bytes(), keys);
        }
    }

    /// As a key of format x509.
    pub(crate) fn known(&self) -> Known {
        let mut known = Known::new(self.to_pem().into_bytes(), None);
        self.search_keys(&mut known.keys);
        known
    }

    /// All that an entry by this signer is found by.
    pub(crate) fn search_keys(&self, keys: &mut Vec<String>) {
        self.chain_keys(keys);
        let verifier = match self {
            Self::Key(key) => Some(Verifier::Key(key.clone())),
            Self::Chain(chain) => chain.first().cloned().map(Verifier::Certificate),
        };
        if let Some(verifier) = verifier {
            entry::verifier_keys(&verifier, keys);
        }
    }
}

/// Each certificate is signed by the next one, which is a CA, and all are valid when the leaf begins to be. This says nothing about trust: the
/// last one is whatever was sent.
fn check_chain(chain: &[Certificate]) -> Result<(), ProposeError> {
    let Some(leaf) = chain.first() else {
        return Err(invalid("no certificate chain provided"));
    };
    for (certificate, issuer) in chain.iter().zip(chain.iter().skip(1)) {
        let holds = issuer.is_ca()
            && certificate.issuer_der() == issuer.subject_der()
            && certificate.is_signed_by(issuer.public_key())
            && issuer.is_valid_at(leaf.not_before());
        if !holds {
            return Err(invalid(format!(
                "the certificate chain breaks at {:?}: expected leaf, intermediates, root, each signed by the next",
                issuer.subject_text()
            )));
        }
    }
    Ok(())
}
