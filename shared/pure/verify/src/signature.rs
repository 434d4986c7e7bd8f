//! Step 4: is the signature good?

use bundle::Content;
use dsse::{Envelope, IN_TOTO, Statement};
use keys::{Algorithm, Digest, HashAlgorithm, KeyType, PublicKey};

use crate::artifact::Artifact;
use crate::error::VerifyError;
use crate::leaf::TrustedLeaf;

/// A signature that holds over the artifact. Only `check` makes it.
#[derive(Debug)]
pub struct Signed {
    /// The hash that the signature is over; none for a signature over the bytes.
    hash: Option<HashAlgorithm>,
    /// The artifact's digest by that hash.
    digest: Option<Digest>,
    statement: Option<Statement>,
}

impl Signed {
    pub(crate) const fn hash(&self) -> Option<HashAlgorithm> {
        self.hash
    }

    pub(crate) const fn artifact_digest(&self) -> Option<Digest> {
        self.digest
    }

    pub(crate) const fn statement(&self) -> Option<&Statement> {
        self.statement.as_ref()
    }

    pub(crate) fn into_statement(self) -> Option<Statement> {
        self.statement
    }
}

pub(crate) fn check(
    content: &Content,
    artifact: &Artifact,
    leaf: &TrustedLeaf,
) -> Result<Signed, VerifyError> {
    match content {
        Content::Message { signature, digest } => {
            if let Some(stated) = digest
                && let Some(actual) = artifact.digest(stated.algorithm())
                && stated != actual
            {
                return Err(VerifyError::DigestHint {
                    stated: stated.to_string(),
                    actual: actual.to_string(),
                });
            }
            let hash = check_message(signature, artifact, leaf)?;
            Ok(Signed {
                hash,
                digest: artifact.digest_of(hash).copied(),
                statement: None,
            })
        }
        Content::Envelope(envelope) => check_envelope(envelope, artifact, leaf),
    }
}

/// The algorithms under which this key's signatures are found, the usual one first.
fn algorithms(key: &PublicKey, message: bool) -> &'static [Algorithm] {
    match key.key_type() {
        KeyType::EcdsaP256 => &[Algorithm::EcdsaP256Sha256],
        // Old clients hashed with SHA-256 whatever the curve.
        KeyType::EcdsaP384 => &[Algorithm::EcdsaP384Sha384, Algorithm::EcdsaP384Sha256],
        KeyType::EcdsaP521 => &[Algorithm::EcdsaP521Sha512, Algorithm::EcdsaP521Sha256],
        // A message that is logged as its digest is signed prehashed; an envelope is at hand and signed as it is.
        KeyType::Ed25519 if message => &[Algorithm::Ed25519Ph, Algorithm::Ed25519],
        KeyType::Ed25519 => &[Algorithm::Ed25519, Algorithm::Ed25519Ph],
        KeyType::Rsa2048 => &[Algorithm::RsaPkcs1Sha256_2048, Algorithm::RsaPssSha256_2048],
        KeyType::Rsa3072 => &[Algorithm::RsaPkcs1Sha256_3072, Algorithm::RsaPssSha256_3072],
        KeyType::Rsa4096 => &[Algorithm::RsaPkcs1Sha256_4096, Algorithm::RsaPssSha256_4096],
    }
}

fn check_message(
    signature: &[u8],
    artifact: &Artifact,
    leaf: &TrustedLeaf,
) -> Result<Option<HashAlgorithm>, VerifyError> {
    let mut missing = None;
    let mut tried = false;
    for algorithm in algorithms(leaf.key(), true) {
        let holds = match (algorithm.hash(), artifact.bytes()) {
            (Some(hash), _) => {
                if let Some(digest) = artifact.digest(hash) {
                    leaf.key()
                        .verify_digest(*algorithm, digest, signature)
                        .is_ok()
                } else {
                    missing = missing.or(Some(Some(hash)));
                    continue;
                }
            }
            (None, Some(bytes)) => leaf.key().verify(*algorithm, bytes, signature).is_ok(),
            (None, None) => {
                missing = missing.or(Some(None));
                continue;
            }
        };
        tried = true;
        if holds {
            return Ok(algorithm.hash());
        }
    }
    match (tried, missing) {
        (false, Some(needed)) => Err(VerifyError::needs(needed, artifact.describe())),
        _ => Err(VerifyError::Signature {
            signer: leaf.owner(),
            what: "artifact",
        }),
    }
}

fn check_envelope(
    envelope: &Envelope,
    artifact: &Artifact,
    leaf: &TrustedLeaf,
) -> Result<Signed, VerifyError> {
    let holds = algorithms(leaf.key(), false)
        .iter()
        .any(|algorithm| envelope.verify(leaf.key(), *algorithm).is_ok());
    if !holds {
        return Err(VerifyError::Signature {
            signer: leaf.owner(),
            what: "envelope",
        });
    }
    // Only now is the payload read.
    if envelope.payload_type != IN_TOTO {
        return Err(VerifyError::Statement(format!(
            "its type is {:?}, expected {IN_TOTO}",
            envelope.payload_type
        )));
    }
    let statement = Statement::parse(&envelope.payload)
        .map_err(|error| VerifyError::Statement(error.to_string()))?;
    let Some(digest) = artifact
        .digests()
        .iter()
        .find(|digest| statement.is_about(digest))
    else {
        return Err(VerifyError::Subject {
            subjects: statement
                .subject
                .iter()
                .take(3)
                .flat_map(|subject| {
                    subject
                        .digest
                        .iter()
                        .map(|(name, digits)| format!("{name}:{digits}"))
                })
                .collect(),
            artifact: artifact.describe(),
        });
    };
    Ok(Signed {
        hash: Some(digest.algorithm()),
        digest: Some(*digest),
        statement: Some(statement),
    })
}
