//! The algorithms, among them SHA-1, which [`keys`] does not know: fingerprints of version 4 are made with it, and so are the self-signatures of
//! older keys.

use aws_lc_rs::digest;
use aws_lc_rs::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use keys::{KeyType, PublicKey};

/// A hash function (RFC 9580 9.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hash {
    Sha1,
    Sha256,
    Sha384,
    Sha512,
}

impl Hash {
    pub(crate) const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            2 => Self::Sha1,
            8 => Self::Sha256,
            9 => Self::Sha384,
            10 => Self::Sha512,
            _ => return None,
        })
    }

    /// Of `parts`, behind one another.
    pub(crate) fn digest(self, parts: &[&[u8]]) -> Digest {
        let mut context = digest::Context::new(self.algorithm());
        for part in parts {
            context.update(part);
        }
        Digest {
            hash: self,
            value: context.finish(),
        }
    }

    const fn algorithm(self) -> &'static digest::Algorithm {
        match self {
            Self::Sha1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => &digest::SHA256,
            Self::Sha384 => &digest::SHA384,
            Self::Sha512 => &digest::SHA512,
        }
    }
}

/// A digest, with its function.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Digest {
    hash: Hash,
    value: digest::Digest,
}

/// SHA-1, of which a fingerprint is made.
pub(crate) fn sha1(message: &[u8]) -> [u8; 20] {
    let digest = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, message);
    digest.as_ref().try_into().unwrap_or_default()
}

/// Whether `signature` is one by `key` over a digest. RSA: PKCS#1 v1.5, as long as the modulus. ECDSA: DER.
/// Ed25519: 64 bytes, over the digest as a message (RFC 9580 5.2.3.3).
pub(crate) fn verifies(key: &PublicKey, digest: &Digest, signature: &[u8]) -> bool {
    let Some(algorithm) = implementation(key.key_type(), digest.hash) else {
        return false;
    };
    let key_bytes = UnparsedPublicKey::new(algorithm, key.raw());
    let verified = if key.key_type() == KeyType::Ed25519 {
        key_bytes.verify(digest.value.as_ref(), signature)
    } else {
        key_bytes.verify_digest(&digest.value, signature)
    };
    verified.is_ok()
}

fn implementation(key: KeyType, hash: Hash) -> Option<&'static dyn VerificationAlgorithm> {
    use Hash as H;
    use KeyType as K;
    Some(match (key, hash) {
        (K::Ed25519, _) => &signature::ED25519,
        (K::Rsa2048 | K::Rsa3072 | K::Rsa4096, H::Sha1) => {
            &signature::RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY
        }
        (K::Rsa2048 | K::Rsa3072 | K::Rsa4096, H::Sha256) => &signature::RSA_PKCS1_2048_8192_SHA256,
        (K::Rsa2048 | K::Rsa3072 | K::Rsa4096, H::Sha384) => &signature::RSA_PKCS1_2048_8192_SHA384,
        (K::Rsa2048 | K::Rsa3072 | K::Rsa4096, H::Sha512) => &signature::RSA_PKCS1_2048_8192_SHA512,
        (K::EcdsaP256, H::Sha1) => &signature::ECDSA_P256_SHA1_ASN1,
        (K::EcdsaP256, H::Sha256) => &signature::ECDSA_P256_SHA256_ASN1,
        (K::EcdsaP256, H::Sha384) => &signature::ECDSA_P256_SHA384_ASN1,
        (K::EcdsaP256, H::Sha512) => &signature::ECDSA_P256_SHA512_ASN1,
        (K::EcdsaP384, H::Sha256) => &signature::ECDSA_P384_SHA256_ASN1,
        (K::EcdsaP384, H::Sha384) => &signature::ECDSA_P384_SHA384_ASN1,
        (K::EcdsaP384, H::Sha512) => &signature::ECDSA_P384_SHA512_ASN1,
        (K::EcdsaP521, H::Sha1) => &signature::ECDSA_P521_SHA1_ASN1,
        (K::EcdsaP521, H::Sha256) => &signature::ECDSA_P521_SHA256_ASN1,
        (K::EcdsaP521, H::Sha384) => &signature::ECDSA_P521_SHA384_ASN1,
        (K::EcdsaP521, H::Sha512) => &signature::ECDSA_P521_SHA512_ASN1,
        (K::EcdsaP384, H::Sha1) => return None,
    })
}
