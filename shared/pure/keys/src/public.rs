//! Public keys as SubjectPublicKeyInfo, and verification with them.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::digest as library_digest;
use aws_lc_rs::signature::{self, ParsedPublicKey, UnparsedPublicKey, VerificationAlgorithm};
use const_oid::ObjectIdentifier;
use der::asn1::{BitString, UintRef};
use der::{Decode, Encode, Sequence};
use ed25519_dalek::VerifyingKey;
use spki::{AlgorithmIdentifier, SubjectPublicKeyInfoOwned, SubjectPublicKeyInfoRef};
use thiserror::Error;

use crate::alg::{Algorithm, HashAlgorithm, KeyType};
use crate::digest::{Digest, implementation, sha256};
use crate::pem;

/// The largest SPKI that is read: RSA-4096 has 550 bytes.
const MAX_SPKI: usize = 2048;

/// First octet of an uncompressed point (SEC 1 2.3.3).
const UNCOMPRESSED: u8 = 4;

const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const P521: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.35");
const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

/// A public key on the list of [`KeyType`], well formed; keeps the bytes it was read from. Cloning is cheap.
#[derive(Clone)]
pub struct PublicKey {
    key_type: KeyType,
    held: Arc<Held>,
}

struct Held {
    spki: Vec<u8>,
    /// The contents of the subjectPublicKey bit string.
    raw: Vec<u8>,
    /// The library's own form of it, for the default algorithm: services verify with the same few keys again and again. None for Ed25519, whose
    /// form is the raw one.
    library: Option<ParsedPublicKey>,
}

/// By the bytes that it was read from, which all the rest follows from.
impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.held.spki == other.held.spki
    }
}

impl Eq for PublicKey {}

impl std::hash::Hash for PublicKey {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        // Not by the trait's name: algorithms have a method of that name.
        std::hash::Hash::hash(&self.held.spki, state);
    }
}

/// Why bytes are no key of ours.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum KeyError {
    /// Not the DER (or PEM) of a SubjectPublicKeyInfo.
    #[error("not a SubjectPublicKeyInfo: {0}")]
    Malformed(String),
    /// An algorithm, curve or size that is not on the list, or a point that is not on its curve.
    #[error("a key of this kind is not accepted: {0}")]
    Insecure(String),
}

/// Why a signature is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SignatureError {
    /// The algorithm that was asked for does not go with the key.
    #[error("{} does not go with a key of type {key_type:?}", .algorithm.wire_name())]
    WrongAlgorithm {
        /// What the caller named.
        algorithm: Algorithm,
        /// What the key is.
        key_type: KeyType,
    },
    /// A digest was given where the algorithm takes another one, or the message itself.
    #[error("{} needs {}, not a digest of {}", .algorithm.wire_name(), .algorithm.hash().map_or("the message itself", HashAlgorithm::name), .found.name())]
    WrongDigest {
        /// What the caller named.
        algorithm: Algorithm,
        /// The digest's algorithm.
        found: HashAlgorithm,
    },
    /// The signature is not one by this key over this message.
    #[error("the signature does not verify")]
    Bad,
}

/// PKCS#1 `RSAPublicKey` (RFC 8017 A.1.1).
#[derive(Sequence)]
struct RsaPublicKey<'a> {
    modulus: UintRef<'a>,
    exponent: UintRef<'a>,
}

impl PublicKey {
    /// Reads the DER of a SubjectPublicKeyInfo.
    pub fn from_spki_der(der: &[u8]) -> Result<Self, KeyError> {
        if der.len() > MAX_SPKI {
            return Err(KeyError::Malformed(format!(
                "{} bytes, at most {MAX_SPKI}",
                der.len()
            )));
        }
        let spki = SubjectPublicKeyInfoRef::from_der(der)
            .map_err(|error| KeyError::Malformed(error.to_string()))?;
        let raw = spki
            .subject_public_key
            .as_bytes()
            .ok_or_else(|| KeyError::Malformed("the key is not a whole number of bytes".into()))?;
        let key_type = key_type(&spki, raw)?;
        Ok(Self {
            key_type,
            held: Arc::new(Held {
                library: check_point(key_type, raw)?,
                spki: der.to_vec(),
                raw: raw.to_vec(),
            }),
        })
    }

    /// Reads the bytes of a PKCS#1 `RSAPublicKey` (PEM label `RSA PUBLIC KEY`).
    pub fn from_pkcs1_der(der: &[u8]) -> Result<Self, KeyError> {
        let malformed = |error: der::Error| KeyError::Malformed(error.to_string());
        let info = SubjectPublicKeyInfoOwned {
            algorithm: AlgorithmIdentifier {
                oid: RSA,
                parameters: Some(der::Any::null()),
            },
            subject_public_key: BitString::from_bytes(der).map_err(malformed)?,
        };
        Self::from_spki_der(&info.to_der().map_err(malformed)?)
    }

    /// Makes a key from its raw form: the uncompressed point of a curve, or the 32 bytes of an Ed25519 key.
    pub fn from_raw(key_type: KeyType, raw: &[u8]) -> Result<Self, KeyError> {
        let malformed = |error: der::Error| KeyError::Malformed(error.to_string());
        let curve = |curve: ObjectIdentifier| Some(der::Any::from(curve));
        let (oid, parameters) = match key_type {
            KeyType::EcdsaP256 => (EC, curve(P256)),
            KeyType::EcdsaP384 => (EC, curve(P384)),
            KeyType::EcdsaP521 => (EC, curve(P521)),
            KeyType::Ed25519 => (ED25519, None),
            KeyType::Rsa2048 | KeyType::Rsa3072 | KeyType::Rsa4096 => {
                return Self::from_pkcs1_der(raw);
            }
        };
        let info = SubjectPublicKeyInfoOwned {
            algorithm: AlgorithmIdentifier { oid, parameters },
            subject_public_key: BitString::new(0, raw).map_err(malformed)?,
        };
        Self::from_spki_der(&info.to_der().map_err(malformed)?)
    }

    /// Makes an RSA key from modulus and exponent, big-endian, as a JSON Web Key carries them.
    pub fn from_rsa_components(modulus: &[u8], exponent: &[u8]) -> Result<Self, KeyError> {
        let malformed = |error: der::Error| KeyError::Malformed(error.to_string());
        let key = RsaPublicKey {
            modulus: UintRef::new(modulus).map_err(malformed)?,
            exponent: UintRef::new(exponent).map_err(malformed)?,
        };
        Self::from_pkcs1_der(&key.to_der().map_err(malformed)?)
    }

    /// Reads PEM with the label `PUBLIC KEY` or `RSA PUBLIC KEY`.
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        let block = pem::decode(text, &["PUBLIC KEY", "RSA PUBLIC KEY"])
            .map_err(|error| KeyError::Malformed(error.to_string()))?;
        if block.label == "RSA PUBLIC KEY" {
            Self::from_pkcs1_der(&block.der)
        } else {
            Self::from_spki_der(&block.der)
        }
    }

    /// The SubjectPublicKeyInfo, DER, byte for byte as it was read.
    pub fn spki_der(&self) -> &[u8] {
        &self.held.spki
    }

    /// PEM with the label `PUBLIC KEY`.
    pub fn to_pem(&self) -> String {
        pem::encode("PUBLIC KEY", &self.held.spki)
    }

    /// The contents of subjectPublicKey: a point, 32 bytes of Ed25519, or a PKCS#1 `RSAPublicKey`.
    pub fn raw(&self) -> &[u8] {
        &self.held.raw
    }

    /// Kind and size.
    pub const fn key_type(&self) -> KeyType {
        self.key_type
    }

    /// SHA-256 over the SPKI: the id of a CT log (RFC 6962 3.2) and of a Rekor v1 log.
    pub fn key_id(&self) -> [u8; 32] {
        sha256(&self.held.spki)
    }

    /// The algorithm that Sigstore's registry takes for this key when nobody says otherwise.
    pub const fn default_algorithm(&self) -> Algorithm {
        default_algorithm(self.key_type)
    }

    /// Verifies a signature over a message.
    pub fn verify(
        &self,
        algorithm: Algorithm,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), SignatureError> {
        let implementation = self.implementation(algorithm)?;
        if let Some(library) = self.library(algorithm) {
            let verified = library.verify_sig(message, signature);
            return verified.map_err(|_| SignatureError::Bad);
        }
        match (implementation, algorithm.hash()) {
            (Some(library), _) => UnparsedPublicKey::new(library, &self.held.raw)
                .verify(message, signature)
                .map_err(|_| SignatureError::Bad),
            (None, Some(hash)) => self.verify_prehashed(&hash.digest(message), signature),
            (None, None) => Err(SignatureError::Bad),
        }
    }

    /// Verifies a signature over a message of which only the digest is at hand. Pure Ed25519 cannot.
    pub fn verify_digest(
        &self,
        algorithm: Algorithm,
        digest: &Digest,
        signature: &[u8],
    ) -> Result<(), SignatureError> {
        let library = self.implementation(algorithm)?;
        if algorithm.hash() != Some(digest.algorithm()) {
            return Err(SignatureError::WrongDigest {
                algorithm,
                found: digest.algorithm(),
            });
        }
        let Some(library) = library else {
            return self.verify_prehashed(digest, signature);
        };
        let imported = library_digest::Digest::import_less_safe(
            digest.bytes(),
            implementation(digest.algorithm()),
        )
        .map_err(|_| SignatureError::Bad)?;
        let verified = match self.library(algorithm) {
            Some(library) => library.verify_digest_sig(&imported, signature),
            None => {
                UnparsedPublicKey::new(library, &self.held.raw).verify_digest(&imported, signature)
            }
        };
        verified.map_err(|_| SignatureError::Bad)
    }

    /// Verifies an RSA signature of RSASSA-PKCS1-v1_5 (RFC 8017 8.2) over a message, for formats that name the hash beside the key. Sigstore's
    /// registry has only SHA-256.
    pub fn verify_rsa(
        &self,
        hash: HashAlgorithm,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), SignatureError> {
        // For any other key it is an algorithm that does not go with it.
        self.implementation(match self.key_type {
            KeyType::Rsa3072 => Algorithm::RsaPkcs1Sha256_3072,
            KeyType::Rsa4096 => Algorithm::RsaPkcs1Sha256_4096,
            _ => Algorithm::RsaPkcs1Sha256_2048,
        })?;
        let library = match hash {
            HashAlgorithm::Sha256 => &signature::RSA_PKCS1_2048_8192_SHA256,
            HashAlgorithm::Sha384 => &signature::RSA_PKCS1_2048_8192_SHA384,
            HashAlgorithm::Sha512 => &signature::RSA_PKCS1_2048_8192_SHA512,
        };
        UnparsedPublicKey::new(library, &self.held.raw)
            .verify(message, signature)
            .map_err(|_| SignatureError::Bad)
    }

    /// Verifies an RSA signature of RSASSA-PSS (RFC 8017 8.1) over a message, with MGF1 over the same hash and a salt of its length, for formats
    /// that name the hash beside the key.
    pub fn verify_rsa_pss(
        &self,
        hash: HashAlgorithm,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), SignatureError> {
        // For any other key it is an algorithm that does not go with it.
        self.implementation(match self.key_type {
            KeyType::Rsa3072 => Algorithm::RsaPssSha256_3072,
            KeyType::Rsa4096 => Algorithm::RsaPssSha256_4096,
            _ => Algorithm::RsaPssSha256_2048,
        })?;
        let library = match hash {
            HashAlgorithm::Sha256 => &signature::RSA_PSS_2048_8192_SHA256,
            HashAlgorithm::Sha384 => &signature::RSA_PSS_2048_8192_SHA384,
            HashAlgorithm::Sha512 => &signature::RSA_PSS_2048_8192_SHA512,
        };
        UnparsedPublicKey::new(library, &self.held.raw)
            .verify(message, signature)
            .map_err(|_| SignatureError::Bad)
    }

    /// The library's form of the key, where it was made for this algorithm.
    fn library(&self, algorithm: Algorithm) -> Option<&ParsedPublicKey> {
        let library = self.held.library.as_ref();
        library.filter(|_| algorithm == self.default_algorithm())
    }

    /// The library's algorithm; none for Ed25519ph, which aws-lc-rs does not offer.
    fn implementation(
        &self,
        algorithm: Algorithm,
    ) -> Result<Option<&'static dyn VerificationAlgorithm>, SignatureError> {
        let key_type = self.key_type;
        if algorithm.key_type() != key_type {
            return Err(SignatureError::WrongAlgorithm {
                algorithm,
                key_type,
            });
        }
        Ok(implementation_of(algorithm))
    }

    fn verify_prehashed(&self, digest: &Digest, signature: &[u8]) -> Result<(), SignatureError> {
        let bytes: &[u8; 32] = self
            .held
            .raw
            .as_slice()
            .try_into()
            .map_err(|_| SignatureError::Bad)?;
        let key = VerifyingKey::from_bytes(bytes).map_err(|_| SignatureError::Bad)?;
        let signature =
            ed25519_dalek::Signature::from_slice(signature).map_err(|_| SignatureError::Bad)?;
        key.verify_prehashed_strict(Ready::new(digest), None, &signature)
            .map_err(|_| SignatureError::Bad)
    }
}

/// See [`PublicKey::default_algorithm`].
const fn default_algorithm(key_type: KeyType) -> Algorithm {
    match key_type {
        KeyType::EcdsaP256 => Algorithm::EcdsaP256Sha256,
        KeyType::EcdsaP384 => Algorithm::EcdsaP384Sha384,
        KeyType::EcdsaP521 => Algorithm::EcdsaP521Sha512,
        KeyType::Ed25519 => Algorithm::Ed25519,
        KeyType::Rsa2048 => Algorithm::RsaPkcs1Sha256_2048,
        KeyType::Rsa3072 => Algorithm::RsaPkcs1Sha256_3072,
        KeyType::Rsa4096 => Algorithm::RsaPkcs1Sha256_4096,
    }
}

fn implementation_of(algorithm: Algorithm) -> Option<&'static dyn VerificationAlgorithm> {
    match algorithm {
        Algorithm::EcdsaP256Sha256 => Some(&signature::ECDSA_P256_SHA256_ASN1),
        Algorithm::EcdsaP384Sha384 => Some(&signature::ECDSA_P384_SHA384_ASN1),
        Algorithm::EcdsaP521Sha512 => Some(&signature::ECDSA_P521_SHA512_ASN1),
        Algorithm::EcdsaP384Sha256 => Some(&signature::ECDSA_P384_SHA256_ASN1),
        Algorithm::EcdsaP521Sha256 => Some(&signature::ECDSA_P521_SHA256_ASN1),
        Algorithm::Ed25519 => Some(&signature::ED25519),
        Algorithm::Ed25519Ph => None,
        Algorithm::RsaPkcs1Sha256_2048
        | Algorithm::RsaPkcs1Sha256_3072
        | Algorithm::RsaPkcs1Sha256_4096 => Some(&signature::RSA_PKCS1_2048_8192_SHA256),
        Algorithm::RsaPssSha256_2048
        | Algorithm::RsaPssSha256_3072
        | Algorithm::RsaPssSha256_4096 => Some(&signature::RSA_PSS_2048_8192_SHA256),
    }
}

/// Is the point on its curve, and the modulus one that the library takes? The library's form of the key, but for Ed25519.
fn check_point(key_type: KeyType, raw: &[u8]) -> Result<Option<ParsedPublicKey>, KeyError> {
    match implementation_of(default_algorithm(key_type)) {
        Some(library) if key_type != KeyType::Ed25519 => {
            let parsed = ParsedPublicKey::new(library, raw);
            parsed.map(Some).map_err(|_| {
                KeyError::Insecure(format!("{key_type:?}: the library refuses the key"))
            })
        }
        _ => {
            let bytes: &[u8; 32] = raw
                .try_into()
                .map_err(|_| KeyError::Malformed("an Ed25519 key has 32 bytes".into()))?;
            let off_curve = || KeyError::Insecure("the Ed25519 point is not on the curve".into());
            // RFC 8032 5.1.3: y must be below the prime 2^255 - 19; the library is lenient.
            let [low, middle @ .., high] = bytes;
            if *low >= 0xed && middle.iter().all(|byte| *byte == 0xff) && high | 0x80 == 0xff {
                return Err(off_curve());
            }
            let key = VerifyingKey::from_bytes(bytes).map_err(|_| off_curve())?;
            if key.is_weak() {
                return Err(KeyError::Insecure(
                    "the Ed25519 point has small order".into(),
                ));
            }
            Ok(None)
        }
    }
}

fn key_type(spki: &SubjectPublicKeyInfoRef<'_>, raw: &[u8]) -> Result<KeyType, KeyError> {
    let malformed = |error: der::Error| KeyError::Malformed(error.to_string());
    match spki.algorithm.oid {
        EC => {
            let curve = spki
                .algorithm
                .parameters_oid()
                .map_err(|error| KeyError::Malformed(error.to_string()))?;
            // RFC 5480 2.2 allows compressed points too. Nobody in this field writes them, and one key should have one SPKI: logs and
            // trusted roots know keys by the hash of it.
            if raw.first() != Some(&UNCOMPRESSED) {
                return Err(KeyError::Insecure(
                    "an elliptic curve point that is not in its uncompressed form".into(),
                ));
            }
            match curve {
                P256 => Ok(KeyType::EcdsaP256),
                P384 => Ok(KeyType::EcdsaP384),
                P521 => Ok(KeyType::EcdsaP521),
                other => Err(KeyError::Insecure(format!("elliptic curve {other}"))),
            }
        }
        ED25519 => {
            if spki.algorithm.parameters.is_some() {
                // RFC 8410 3: the parameters MUST be absent.
                return Err(KeyError::Malformed(
                    "an Ed25519 key has no parameters".into(),
                ));
            }
            Ok(KeyType::Ed25519)
        }
        RSA => {
            // RFC 3279 2.3.1: the parameters MUST be NULL.
            if !spki.algorithm.parameters.is_some_and(der::AnyRef::is_null) {
                return Err(KeyError::Malformed("the parameters of RSA are NULL".into()));
            }
            let key = RsaPublicKey::from_der(raw).map_err(malformed)?;
            let exponent = key.exponent.as_bytes();
            // Even exponents are no RSA, small ones invite padding attacks, large ones cost time: 65537 and its neighbours are what exists.
            let odd = exponent.last().is_some_and(|byte| byte & 1 == 1);
            if !odd || exponent.len() > 4 || exponent < [3].as_slice() && exponent.len() == 1 {
                return Err(KeyError::Insecure("RSA exponent".into()));
            }
            let modulus = key.modulus.as_bytes();
            match (modulus.len(), modulus.first()) {
                (256, Some(128..)) => Ok(KeyType::Rsa2048),
                (384, Some(128..)) => Ok(KeyType::Rsa3072),
                (512, Some(128..)) => Ok(KeyType::Rsa4096),
                (bytes, _) => Err(KeyError::Insecure(format!(
                    "RSA modulus of about {} bits: only 2048, 3072 and 4096",
                    bytes.saturating_mul(8)
                ))),
            }
        }
        other => Err(KeyError::Insecure(format!("key algorithm {other}"))),
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "PublicKey({:?} {})",
            self.key_type(),
            hex::encode(self.key_id())
        )
    }
}

/// A digest that was computed elsewhere, in the shape of a hash function that is about to finish: what Ed25519ph is signed and verified with.
#[derive(Clone, Default)]
pub struct Ready(sha2::digest::Output<Self>);

impl Ready {
    /// Of a SHA-512 digest; any other is filled with zeros, and so verifies nothing.
    pub fn new(digest: &Digest) -> Self {
        let mut output = sha2::digest::Output::<Self>::default();
        for (to, from) in output.iter_mut().zip(digest.bytes()) {
            *to = *from;
        }
        Self(output)
    }
}

impl sha2::digest::HashMarker for Ready {}

impl sha2::digest::OutputSizeUser for Ready {
    type OutputSize = <sha2::Sha512 as sha2::digest::OutputSizeUser>::OutputSize;
}

impl sha2::digest::Update for Ready {
    /// The hashing is over: nothing may be added, and Ed25519ph adds nothing.
    fn update(&mut self, _: &[u8]) {}
}

impl sha2::digest::FixedOutput for Ready {
    fn finalize_into(self, output: &mut sha2::digest::Output<Self>) {
        *output = self.0;
    }
}

#[cfg(test)]
mod tests {
    use p256::ecdsa::signature::Signer as _;
    use p256::pkcs8::EncodePublicKey as _;

    use super::*;

    fn pair() -> (p256::ecdsa::SigningKey, PublicKey) {
        let secret = p256::ecdsa::SigningKey::from_slice(&[7; 32]).unwrap();
        let der = secret.verifying_key().to_public_key_der().unwrap();
        (secret, PublicKey::from_spki_der(der.as_bytes()).unwrap())
    }

    #[test]
    fn a_signature_of_the_oracle_verifies_and_nothing_else_does() {
        let (secret, key) = pair();
        let signature: p256::ecdsa::Signature = secret.sign(b"message");
        let der = signature.to_der();
        let algorithm = key.default_algorithm();
        assert_eq!(key.verify(algorithm, b"message", der.as_bytes()), Ok(()));
        assert_eq!(
            key.verify_digest(
                algorithm,
                &Digest::of(HashAlgorithm::Sha256, b"message"),
                der.as_bytes()
            ),
            Ok(())
        );
        assert_eq!(
            key.verify(algorithm, b"massage", der.as_bytes()),
            Err(SignatureError::Bad)
        );
        // The fixed form r || s, a cut and a padded signature are not Ecdsa-Sig-Value.
        assert_eq!(
            key.verify(algorithm, b"message", &signature.to_bytes()),
            Err(SignatureError::Bad)
        );
        for cut in 0..der.as_bytes().len() {
            assert_eq!(
                key.verify(algorithm, b"message", &der.as_bytes()[..cut]),
                Err(SignatureError::Bad)
            );
        }
        assert_eq!(
            key.verify(algorithm, b"message", &[der.as_bytes(), &[0]].concat()),
            Err(SignatureError::Bad)
        );
        // BER: the outer length in the long form although it fits the short one.
        let long = [&[0x30, 0x81], &der.as_bytes()[1..]].concat();
        assert_eq!(
            key.verify(algorithm, b"message", &long),
            Err(SignatureError::Bad)
        );
    }

    #[test]
    fn an_algorithm_that_does_not_fit_is_an_error_of_its_own() {
        let (_, key) = pair();
        let wrong = SignatureError::WrongAlgorithm {
            algorithm: Algorithm::Ed25519,
            key_type: KeyType::EcdsaP256,
        };
        assert_eq!(key.verify(Algorithm::Ed25519, b"", b""), Err(wrong));
        let digest = Digest::of(HashAlgorithm::Sha384, b"");
        let wrong = SignatureError::WrongDigest {
            algorithm: Algorithm::EcdsaP256Sha256,
            found: HashAlgorithm::Sha384,
        };
        assert_eq!(
            key.verify_digest(Algorithm::EcdsaP256Sha256, &digest, b""),
            Err(wrong)
        );
    }

    #[test]
    fn known_answer_of_rfc_8032() {
        // RFC 8032 7.1 test 2 (Ed25519) and 7.3 (Ed25519ph).
        let key = PublicKey::from_raw(
            KeyType::Ed25519,
            &hex::decode("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c")
                .unwrap(),
        )
        .unwrap();
        let signature = hex::decode(
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
        )
        .unwrap();
        assert_eq!(key.verify(Algorithm::Ed25519, &[0x72], &signature), Ok(()));
        assert_eq!(
            key.verify(Algorithm::Ed25519Ph, &[0x72], &signature),
            Err(SignatureError::Bad)
        );
        let key = PublicKey::from_raw(
            KeyType::Ed25519,
            &hex::decode("ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf")
                .unwrap(),
        )
        .unwrap();
        let signature = hex::decode(
            "98a70222f0b8121aa9d30f813d683f809e462b469c7ff87639499bb94e6dae4131f85042463c2a355a2003d062adf5aaa10b8c61e636062aaad11c2a26083406",
        )
        .unwrap();
        assert_eq!(key.verify(Algorithm::Ed25519Ph, b"abc", &signature), Ok(()));
        assert_eq!(
            key.verify(Algorithm::Ed25519, b"abc", &signature),
            Err(SignatureError::Bad)
        );
    }

    #[test]
    fn keys_survive_pem_and_raw() {
        let (_, key) = pair();
        assert_eq!(PublicKey::from_pem(&key.to_pem()), Ok(key.clone()));
        assert_eq!(
            PublicKey::from_raw(KeyType::EcdsaP256, key.raw()),
            Ok(key.clone())
        );
        assert!(matches!(
            PublicKey::from_raw(KeyType::EcdsaP384, key.raw()),
            Err(KeyError::Insecure(_))
        ));
    }

    #[test]
    fn weak_and_odd_keys_are_refused() {
        let modulus = [&[0x80][..], &[1; 255]].concat();
        assert!(PublicKey::from_rsa_components(&modulus, &[1, 0, 1]).is_ok());
        assert!(matches!(
            PublicKey::from_rsa_components(&modulus, &[1]),
            Err(KeyError::Insecure(_))
        ));
        assert!(matches!(
            PublicKey::from_rsa_components(&modulus, &[1, 0, 0]),
            Err(KeyError::Insecure(_))
        ));
        assert!(matches!(
            PublicKey::from_rsa_components(&modulus[..128], &[1, 0, 1]),
            Err(KeyError::Insecure(_))
        ));
        assert!(matches!(
            PublicKey::from_raw(KeyType::Ed25519, &[0; 32]),
            Err(KeyError::Insecure(_))
        ));
        assert!(matches!(
            PublicKey::from_raw(KeyType::Ed25519, &[0; 31]),
            Err(KeyError::Malformed(_))
        ));
        assert!(matches!(
            PublicKey::from_raw(KeyType::EcdsaP256, &[4; 65]),
            Err(KeyError::Insecure(_))
        ));
        assert!(matches!(
            PublicKey::from_spki_der(&[0x30; 4096]),
            Err(KeyError::Malformed(_))
        ));
        let (_, key) = pair();
        let trailing = [key.spki_der(), &[0]].concat();
        assert!(matches!(
            PublicKey::from_spki_der(&trailing),
            Err(KeyError::Malformed(_))
        ));
    }
}
