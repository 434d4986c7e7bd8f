//! The algorithms of software packages, among them those that are too weak for anything else.
//!
//! Alpine signs with SHA-1 to this day (`abuild-sign` names it in its code) and old JAR files carry SHA-1 digests; MD5 stands in the signature header of
//! every RPM. A log of packages has to read them as they are. They stay in this file so that nothing else verifies with them by accident;
//! [`keys`] does not know them.

use aws_lc_rs::digest::{self, Context};
use aws_lc_rs::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use keys::{KeyType, PublicKey};
use md5::{Digest as _, Md5};

/// A hash function that is accepted below a signature or in a manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hash {
    /// SHA-1 (FIPS 180-4): collisions can be made, second preimages cannot.
    Sha1,
    Sha256,
    Sha384,
    Sha512,
}

impl Hash {
    const fn algorithm(self) -> &'static digest::Algorithm {
        match self {
            Self::Sha1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => &digest::SHA256,
            Self::Sha384 => &digest::SHA384,
            Self::Sha512 => &digest::SHA512,
        }
    }

    /// Begins to hash something that comes in pieces.
    pub(crate) fn context(self) -> Context {
        Context::new(self.algorithm())
    }

    /// Hashes a message.
    pub(crate) fn digest(self, message: &[u8]) -> digest::Digest {
        digest::digest(self.algorithm(), message)
    }
}

/// MD5 (RFC 1321), which proves nothing about who made a package.
pub(crate) fn md5(message: &[u8]) -> [u8; 16] {
    Md5::digest(message).into()
}

/// How a key signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// RSA PKCS#1 v1.5 (RFC 8017 8.2).
    Pkcs1,
    /// RSA PSS with MGF1 of the same hash and a salt as long as the hash (RFC 8017 8.1).
    Pss,
    /// ECDSA with a signature in DER.
    Ecdsa,
}

/// Does `signature` hold? `None` when the key, the scheme and the hash do not go together or the combination is not known.
pub(crate) fn verify(
    key: &PublicKey,
    scheme: Scheme,
    hash: Hash,
    message: &[u8],
    signature: &[u8],
) -> Option<bool> {
    let algorithm = implementation(key.key_type(), scheme, hash)?;
    Some(
        UnparsedPublicKey::new(algorithm, key.raw())
            .verify(message, signature)
            .is_ok(),
    )
}

fn implementation(
    key: KeyType,
    scheme: Scheme,
    hash: Hash,
) -> Option<&'static dyn VerificationAlgorithm> {
    use Hash as H;
    use KeyType as K;
    use Scheme as S;
    Some(match (key, scheme, hash) {
        (K::Rsa2048 | K::Rsa3072 | K::Rsa4096, S::Pkcs1, H::Sha1) => {
            &signature::RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY
        }
        (K::Rsa2048 | K::Rsa3072 | K::Rsa4096, S::Pkcs1, H::Sha256) => {
            &signature::RSA_PKCS1_2048_8192_SHA256
        }
        (K::Rsa2048 | K::Rsa3072 | K::Rsa4096, S::Pkcs1, H::Sha384) => {
            &signature::RSA_PKCS1_2048_8192_SHA384
        }
        (K::Rsa2048 | K::Rsa3072 | K::Rsa4096, S::Pkcs1, H::Sha512) => {
            &signature::RSA_PKCS1_2048_8192_SHA512
        }
        (K::Rsa2048 | K::Rsa3072 | K::Rsa4096, S::Pss, H::Sha256) => {
            &signature::RSA_PSS_2048_8192_SHA256
        }
        (K::Rsa2048 | K::Rsa3072 | K::Rsa4096, S::Pss, H::Sha384) => {
            &signature::RSA_PSS_2048_8192_SHA384
        }
        (K::Rsa2048 | K::Rsa3072 | K::Rsa4096, S::Pss, H::Sha512) => {
            &signature::RSA_PSS_2048_8192_SHA512
        }
        (K::EcdsaP256, S::Ecdsa, H::Sha1) => &signature::ECDSA_P256_SHA1_ASN1,
        (K::EcdsaP256, S::Ecdsa, H::Sha256) => &signature::ECDSA_P256_SHA256_ASN1,
        (K::EcdsaP256, S::Ecdsa, H::Sha384) => &signature::ECDSA_P256_SHA384_ASN1,
        (K::EcdsaP256, S::Ecdsa, H::Sha512) => &signature::ECDSA_P256_SHA512_ASN1,
        (K::EcdsaP384, S::Ecdsa, H::Sha256) => &signature::ECDSA_P384_SHA256_ASN1,
        (K::EcdsaP384, S::Ecdsa, H::Sha384) => &signature::ECDSA_P384_SHA384_ASN1,
        (K::EcdsaP384, S::Ecdsa, H::Sha512) => &signature::ECDSA_P384_SHA512_ASN1,
        (K::EcdsaP521, S::Ecdsa, H::Sha1) => &signature::ECDSA_P521_SHA1_ASN1,
        (K::EcdsaP521, S::Ecdsa, H::Sha256) => &signature::ECDSA_P521_SHA256_ASN1,
        (K::EcdsaP521, S::Ecdsa, H::Sha384) => &signature::ECDSA_P521_SHA384_ASN1,
        (K::EcdsaP521, S::Ecdsa, H::Sha512) => &signature::ECDSA_P521_SHA512_ASN1,
        _ => return None,
    })
}
