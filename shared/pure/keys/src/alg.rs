//! The algorithm registry: one row for each algorithm, with its names on every wire.

use crate::digest::Digest;

/// A hash function of the Sigstore formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HashAlgorithm {
    /// SHA-256 (FIPS 180-4), 32 bytes.
    Sha256,
    /// SHA-384 (FIPS 180-4), 48 bytes.
    Sha384,
    /// SHA-512 (FIPS 180-4), 64 bytes.
    Sha512,
}

impl HashAlgorithm {
    /// All of them, smallest first.
    pub const ALL: [Self; 3] = [Self::Sha256, Self::Sha384, Self::Sha512];

    /// The lower-case name used in digests of images, in-toto subjects and Rekor v1 entries.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
        }
    }

    /// The name in protobuf-specs' `HashAlgorithm`.
    pub const fn wire_name(self) -> &'static str {
        match self {
            Self::Sha256 => "SHA2_256",
            Self::Sha384 => "SHA2_384",
            Self::Sha512 => "SHA2_512",
        }
    }

    /// The number in protobuf-specs' `HashAlgorithm`.
    pub const fn wire_number(self) -> i32 {
        match self {
            Self::Sha256 => 1,
            Self::Sha384 => 2,
            Self::Sha512 => 3,
        }
    }

    /// Finds it by [`name`](Self::name).
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|hash| hash.name() == name)
    }

    /// Finds it by [`wire_name`](Self::wire_name).
    pub fn from_wire_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|hash| hash.wire_name() == name)
    }

    /// Finds it by [`wire_number`](Self::wire_number).
    pub fn from_wire_number(number: i32) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|hash| hash.wire_number() == number)
    }

    /// Length of a digest in bytes.
    pub const fn output_len(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }

    /// Hashes a message.
    pub fn digest(self, message: &[u8]) -> Digest {
        Digest::of(self, message)
    }
}

/// What kind of key it is, with its size where that matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyType {
    /// ECDSA on NIST P-256 (secp256r1).
    EcdsaP256,
    /// ECDSA on NIST P-384 (secp384r1).
    EcdsaP384,
    /// ECDSA on NIST P-521 (secp521r1).
    EcdsaP521,
    /// Ed25519 (RFC 8032).
    Ed25519,
    /// RSA with a modulus of 2048 bits.
    Rsa2048,
    /// RSA with a modulus of 3072 bits.
    Rsa3072,
    /// RSA with a modulus of 4096 bits.
    Rsa4096,
}

/// A signature algorithm together with its key type and hash: protobuf-specs' `PublicKeyDetails`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// ECDSA P-256 with SHA-256.
    EcdsaP256Sha256,
    /// ECDSA P-384 with SHA-384.
    EcdsaP384Sha384,
    /// ECDSA P-521 with SHA-512.
    EcdsaP521Sha512,
    /// ECDSA P-384 with SHA-256: old clients hashed with SHA-256 whatever the curve.
    EcdsaP384Sha256,
    /// ECDSA P-521 with SHA-256, for the same old clients.
    EcdsaP521Sha256,
    /// Ed25519 over the message itself.
    Ed25519,
    /// Ed25519ph: over the SHA-512 of the message, with an empty context.
    Ed25519Ph,
    /// RSA PKCS#1 v1.5, 2048 bits, SHA-256.
    RsaPkcs1Sha256_2048,
    /// RSA PKCS#1 v1.5, 3072 bits, SHA-256.
    RsaPkcs1Sha256_3072,
    /// RSA PKCS#1 v1.5, 4096 bits, SHA-256.
    RsaPkcs1Sha256_4096,
    /// RSA PSS, 2048 bits, SHA-256.
    RsaPssSha256_2048,
    /// RSA PSS, 3072 bits, SHA-256.
    RsaPssSha256_3072,
    /// RSA PSS, 4096 bits, SHA-256.
    RsaPssSha256_4096,
}

/// One row of the registry.
struct Row {
    algorithm: Algorithm,
    /// Name in `PublicKeyDetails`.
    wire: &'static str,
    /// Number in `PublicKeyDetails`.
    number: i32,
    /// Name in Sigstore's algorithm registry, as flags and settings spell it.
    registry: &'static str,
    key: KeyType,
    hash: Option<HashAlgorithm>,
}

use Algorithm as A;
use HashAlgorithm as H;
use KeyType as K;

#[rustfmt::skip]
const ROWS: [Row; 13] = [
    Row { algorithm: A::EcdsaP256Sha256, wire: "PKIX_ECDSA_P256_SHA_256", number: 5, registry: "ecdsa-sha2-256-nistp256", key: K::EcdsaP256, hash: Some(H::Sha256) },
    Row { algorithm: A::EcdsaP384Sha384, wire: "PKIX_ECDSA_P384_SHA_384", number: 12, registry: "ecdsa-sha2-384-nistp384", key: K::EcdsaP384, hash: Some(H::Sha384) },
    Row { algorithm: A::EcdsaP521Sha512, wire: "PKIX_ECDSA_P521_SHA_512", number: 13, registry: "ecdsa-sha2-512-nistp521", key: K::EcdsaP521, hash: Some(H::Sha512) },
    Row { algorithm: A::EcdsaP384Sha256, wire: "PKIX_ECDSA_P384_SHA_256", number: 19, registry: "ecdsa-sha2-256-nistp384", key: K::EcdsaP384, hash: Some(H::Sha256) },
    Row { algorithm: A::EcdsaP521Sha256, wire: "PKIX_ECDSA_P521_SHA_256", number: 20, registry: "ecdsa-sha2-256-nistp521", key: K::EcdsaP521, hash: Some(H::Sha256) },
    Row { algorithm: A::Ed25519, wire: "PKIX_ED25519", number: 7, registry: "ed25519", key: K::Ed25519, hash: None },
    Row { algorithm: A::Ed25519Ph, wire: "PKIX_ED25519_PH", number: 8, registry: "ed25519-ph", key: K::Ed25519, hash: Some(H::Sha512) },
    Row { algorithm: A::RsaPkcs1Sha256_2048, wire: "PKIX_RSA_PKCS1V15_2048_SHA256", number: 9, registry: "rsa-sign-pkcs1-2048-sha256", key: K::Rsa2048, hash: Some(H::Sha256) },
    Row { algorithm: A::RsaPkcs1Sha256_3072, wire: "PKIX_RSA_PKCS1V15_3072_SHA256", number: 10, registry: "rsa-sign-pkcs1-3072-sha256", key: K::Rsa3072, hash: Some(H::Sha256) },
    Row { algorithm: A::RsaPkcs1Sha256_4096, wire: "PKIX_RSA_PKCS1V15_4096_SHA256", number: 11, registry: "rsa-sign-pkcs1-4096-sha256", key: K::Rsa4096, hash: Some(H::Sha256) },
    Row { algorithm: A::RsaPssSha256_2048, wire: "PKIX_RSA_PSS_2048_SHA256", number: 16, registry: "rsa-sign-pss-2048-sha256", key: K::Rsa2048, hash: Some(H::Sha256) },
    Row { algorithm: A::RsaPssSha256_3072, wire: "PKIX_RSA_PSS_3072_SHA256", number: 17, registry: "rsa-sign-pss-3072-sha256", key: K::Rsa3072, hash: Some(H::Sha256) },
    Row { algorithm: A::RsaPssSha256_4096, wire: "PKIX_RSA_PSS_4096_SHA256", number: 18, registry: "rsa-sign-pss-4096-sha256", key: K::Rsa4096, hash: Some(H::Sha256) },
];

impl Algorithm {
    /// All of them, in the registry's order.
    pub fn all() -> impl Iterator<Item = Self> {
        ROWS.iter().map(|row| row.algorithm)
    }

    fn row(self) -> &'static Row {
        // The table has a row for each variant (tested), so the first one is never really the answer to a miss.
        ROWS.iter()
            .find(|row| row.algorithm == self)
            .unwrap_or(&ROWS[0])
    }

    /// The name in protobuf-specs' `PublicKeyDetails`, such as `PKIX_ECDSA_P256_SHA_256`.
    pub fn wire_name(self) -> &'static str {
        self.row().wire
    }

    /// The number in protobuf-specs' `PublicKeyDetails`.
    pub fn wire_number(self) -> i32 {
        self.row().number
    }

    /// The name in Sigstore's algorithm registry, such as `ecdsa-sha2-256-nistp256`.
    pub fn registry_name(self) -> &'static str {
        self.row().registry
    }

    /// The type of key that it goes with.
    pub fn key_type(self) -> KeyType {
        self.row().key
    }

    /// The hash that the message goes through first; none for pure Ed25519, which takes the message itself.
    pub fn hash(self) -> Option<HashAlgorithm> {
        self.row().hash
    }

    /// Finds it by [`wire_name`](Self::wire_name).
    pub fn from_wire_name(name: &str) -> Option<Self> {
        ROWS.iter()
            .find(|row| row.wire == name)
            .map(|row| row.algorithm)
    }

    /// Finds it by [`wire_number`](Self::wire_number).
    pub fn from_wire_number(number: i32) -> Option<Self> {
        ROWS.iter()
            .find(|row| row.number == number)
            .map(|row| row.algorithm)
    }

    /// Finds it by [`registry_name`](Self::registry_name).
    pub fn from_registry_name(name: &str) -> Option<Self> {
        ROWS.iter()
            .find(|row| row.registry == name)
            .map(|row| row.algorithm)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_algorithm_has_its_own_row_and_every_name_finds_it() {
        for algorithm in Algorithm::all() {
            assert_eq!(algorithm.row().algorithm, algorithm);
            assert_eq!(
                Algorithm::from_wire_name(algorithm.wire_name()),
                Some(algorithm)
            );
            assert_eq!(
                Algorithm::from_wire_number(algorithm.wire_number()),
                Some(algorithm)
            );
            assert_eq!(
                Algorithm::from_registry_name(algorithm.registry_name()),
                Some(algorithm)
            );
        }
        assert_eq!(Algorithm::all().count(), 13);
        assert_eq!(
            Algorithm::RsaPssSha256_4096.wire_name(),
            "PKIX_RSA_PSS_4096_SHA256"
        );
        assert_eq!(Algorithm::from_wire_name("PKIX_ECDSA_P224_SHA_224"), None);
    }

    #[test]
    fn each_hash_is_found_by_every_name() {
        for hash in HashAlgorithm::ALL {
            assert_eq!(HashAlgorithm::from_name(hash.name()), Some(hash));
            assert_eq!(HashAlgorithm::from_wire_name(hash.wire_name()), Some(hash));
            assert_eq!(
                HashAlgorithm::from_wire_number(hash.wire_number()),
                Some(hash)
            );
            assert_eq!(hash.digest(b"").bytes().len(), hash.output_len());
        }
        assert_eq!(HashAlgorithm::from_name("sha1"), None);
    }
}
