//! A private key in the memory of this process.

use std::fmt;

use aws_lc_rs::digest;
use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, ECDSA_P521_SHA512_ASN1_SIGNING,
    EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256,
    RSA_PSS_SHA256, RsaEncoding, RsaKeyPair,
};
use ed25519_dalek::pkcs8::DecodePrivateKey as _;
use keys::{Algorithm, Digest, HashAlgorithm, KeyType, PublicKey, pem};
use zeroize::Zeroizing;

use crate::{SignerError, check_digest, encrypted, private_pem};

/// A private key, its public half and the algorithm it signs with.
pub struct LocalKey {
    pair: Pair,
    public: PublicKey,
    algorithm: Algorithm,
    pkcs8: Zeroizing<Vec<u8>>,
}

enum Pair {
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Rsa(Box<RsaKeyPair>),
}

const CURVES: [(KeyType, &EcdsaSigningAlgorithm); 3] = [
    (KeyType::EcdsaP256, &ECDSA_P256_SHA256_ASN1_SIGNING),
    (KeyType::EcdsaP384, &ECDSA_P384_SHA384_ASN1_SIGNING),
    (KeyType::EcdsaP521, &ECDSA_P521_SHA512_ASN1_SIGNING),
];

impl LocalKey {
    /// Makes a new key, which signs with this algorithm. Not with SHA-256 on the larger curves, as old clients did.
    pub fn generate(algorithm: Algorithm) -> Result<Self, SignerError> {
        let rsa = |size| {
            RsaKeyPair::generate(size)
                .and_then(|pair| pair.as_der())
                .map(|der: Pkcs8V1Der<'_>| der.as_ref().to_vec())
        };
        let curve = |algorithm| {
            EcdsaKeyPair::generate(algorithm)
                .and_then(|pair| pair.to_pkcs8v1())
                .map(|der| der.as_ref().to_vec())
        };
        let der = match algorithm {
            Algorithm::EcdsaP256Sha256 => curve(&ECDSA_P256_SHA256_ASN1_SIGNING),
            Algorithm::EcdsaP384Sha384 => curve(&ECDSA_P384_SHA384_ASN1_SIGNING),
            Algorithm::EcdsaP521Sha512 => curve(&ECDSA_P521_SHA512_ASN1_SIGNING),
            Algorithm::Ed25519 | Algorithm::Ed25519Ph => Ed25519KeyPair::generate()
                .and_then(|pair| pair.to_pkcs8v1())
                .map(|der| der.as_ref().to_vec()),
            Algorithm::RsaPkcs1Sha256_2048 | Algorithm::RsaPssSha256_2048 => rsa(KeySize::Rsa2048),
            Algorithm::RsaPkcs1Sha256_3072 | Algorithm::RsaPssSha256_3072 => rsa(KeySize::Rsa3072),
            Algorithm::RsaPkcs1Sha256_4096 | Algorithm::RsaPssSha256_4096 => rsa(KeySize::Rsa4096),
            other => return Err(SignerError::Unsupported(other)),
        };
        Self::from_pkcs8_der(Zeroizing::new(der.map_err(|_| SignerError::Failed)?))?
            .with_algorithm(algorithm)
    }

    /// The same key, which signs with another algorithm that goes with it: Ed25519ph instead of Ed25519, PSS instead of PKCS#1 v1.5.
    pub fn with_algorithm(mut self, algorithm: Algorithm) -> Result<Self, SignerError> {
        let known = !matches!(
            algorithm,
            Algorithm::EcdsaP384Sha256 | Algorithm::EcdsaP521Sha256
        );
        if !known || algorithm.key_type() != self.public.key_type() {
            return Err(SignerError::OtherAlgorithm {
                key: self.public.default_algorithm(),
                asked: algorithm,
            });
        }
        self.algorithm = algorithm;
        Ok(self)
    }

    /// A second object of the same key.
    pub(crate) fn copy(&self) -> Result<Self, SignerError> {
        Self::from_pkcs8_der(self.pkcs8.clone())?.with_algorithm(self.algorithm)
    }

    /// Reads a key that is not encrypted from PEM, of any kind that is read here.
    pub fn from_pem(text: &str) -> Result<Self, SignerError> {
        private_pem::read(text, None)
    }

    /// Reads an `ECPrivateKey` (RFC 5915, PEM label `EC PRIVATE KEY`), which must name its curve.
    pub(crate) fn from_sec1_der(der: &[u8]) -> Result<Self, SignerError> {
        for (_, algorithm) in CURVES {
            if let Ok(pair) = EcdsaKeyPair::from_private_key_der(algorithm, der) {
                let pkcs8 = pair.to_pkcs8v1().map_err(|_| SignerError::Failed)?;
                return Self::from_pkcs8_der(Zeroizing::new(pkcs8.as_ref().to_vec()));
            }
        }
        Err(SignerError::Malformed(
            "no ECPrivateKey on P-256, P-384 or P-521 that names its curve".into(),
        ))
    }

    /// Reads an `RSAPrivateKey` (RFC 8017 A.1.2, PEM label `RSA PRIVATE KEY`).
    pub(crate) fn from_pkcs1_der(der: &[u8]) -> Result<Self, SignerError> {
        let pair = RsaKeyPair::from_der(der)
            .map_err(|_| SignerError::Malformed("no RSAPrivateKey of 2048 to 4096 bits".into()))?;
        let pkcs8: Pkcs8V1Der<'_> = pair.as_der().map_err(|_| SignerError::Failed)?;
        Self::from_pkcs8_der(Zeroizing::new(pkcs8.as_ref().to_vec()))
    }

    pub(crate) fn from_pkcs8_der(pkcs8: Zeroizing<Vec<u8>>) -> Result<Self, SignerError> {
        let (pair, public) = parse(&pkcs8)?;
        Ok(Self {
            algorithm: public.default_algorithm(),
            pair,
            public,
            pkcs8,
        })
    }

    /// The public half.
    pub fn public_key(&self) -> &PublicKey {
        &self.public
    }

    /// What [`sign`](Self::sign) signs with: the default algorithm of the key's type, or what [`with_algorithm`](Self::with_algorithm) named.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    fn padding(&self) -> &'static dyn RsaEncoding {
        match self.algorithm {
            Algorithm::RsaPssSha256_2048
            | Algorithm::RsaPssSha256_3072
            | Algorithm::RsaPssSha256_4096 => &RSA_PSS_SHA256,
            _ => &RSA_PKCS1_SHA256,
        }
    }

    /// Signs a message.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignerError> {
        let random = SystemRandom::new();
        match &self.pair {
            Pair::Ecdsa(pair) => {
                let signature = pair
                    .sign(&random, message)
                    .map_err(|_| SignerError::Failed)?;
                Ok(signature.as_ref().to_vec())
            }
            Pair::Ed25519(_) if self.algorithm == Algorithm::Ed25519Ph => {
                self.sign_prehashed(&Digest::of(HashAlgorithm::Sha512, message))
            }
            Pair::Ed25519(pair) => Ok(pair.sign(message).as_ref().to_vec()),
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(self.padding(), &random, message, &mut signature)
                    .map_err(|_| SignerError::Failed)?;
                Ok(signature)
            }
        }
    }

    /// Signs a message of which only the digest is at hand; its hash must be the algorithm's. Not with pure Ed25519.
    pub fn sign_digest(&self, digest: &Digest) -> Result<Vec<u8>, SignerError> {
        check_digest(self.algorithm(), digest)?;
        let library = match digest.algorithm() {
            HashAlgorithm::Sha256 => &digest::SHA256,
            HashAlgorithm::Sha384 => &digest::SHA384,
            HashAlgorithm::Sha512 => &digest::SHA512,
        };
        let imported = digest::Digest::import_less_safe(digest.bytes(), library)
            .map_err(|_| SignerError::Failed)?;
        match &self.pair {
            Pair::Ecdsa(pair) => {
                let signature = pair
                    .sign_digest(&imported)
                    .map_err(|_| SignerError::Failed)?;
                Ok(signature.as_ref().to_vec())
            }
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign_digest(self.padding(), &imported, &mut signature)
                    .map_err(|_| SignerError::Failed)?;
                Ok(signature)
            }
            Pair::Ed25519(_) => self.sign_prehashed(digest),
        }
    }

    /// Ed25519ph with an empty context (RFC 8032 5.1), which aws-lc-rs does not offer.
    fn sign_prehashed(&self, digest: &Digest) -> Result<Vec<u8>, SignerError> {
        let key = ed25519_dalek::SigningKey::from_pkcs8_der(&self.pkcs8)
            .map_err(|_| SignerError::Failed)?;
        let signature = key
            .sign_prehashed(keys::Ready::new(digest), None)
            .map_err(|_| SignerError::Failed)?;
        Ok(signature.to_bytes().to_vec())
    }

    /// The private key as PKCS#8 PEM under a password.
    pub(crate) fn to_encrypted_pem(
        &self,
        password: &[u8],
    ) -> Result<Zeroizing<String>, SignerError> {
        encrypted::seal_pkcs8(&self.pkcs8, password)
    }

    /// The private key as PKCS#8 PEM.
    pub fn to_pkcs8_pem(&self) -> Zeroizing<String> {
        Zeroizing::new(pem::encode("PRIVATE KEY", &self.pkcs8))
    }

    /// The private key in the box of cosign, under a password, which may be empty.
    pub fn to_cosign_pem(&self, password: &[u8]) -> Result<String, SignerError> {
        let json = encrypted::seal_cosign(&self.pkcs8, password)?;
        Ok(pem::encode(private_pem::COSIGN, &json))
    }
}

fn parse(pkcs8: &[u8]) -> Result<(Pair, PublicKey), SignerError> {
    let refused = |error: keys::KeyError| SignerError::Malformed(error.to_string());
    for (key_type, algorithm) in CURVES {
        if let Ok(pair) = EcdsaKeyPair::from_pkcs8(algorithm, pkcs8) {
            let public =
                PublicKey::from_raw(key_type, pair.public_key().as_ref()).map_err(refused)?;
            return Ok((Pair::Ecdsa(pair), public));
        }
    }
    if let Ok(pair) = Ed25519KeyPair::from_pkcs8_maybe_unchecked(pkcs8) {
        let public =
            PublicKey::from_raw(KeyType::Ed25519, pair.public_key().as_ref()).map_err(refused)?;
        return Ok((Pair::Ed25519(pair), public));
    }
    if let Ok(pair) = RsaKeyPair::from_pkcs8(pkcs8) {
        let public = PublicKey::from_pkcs1_der(pair.public_key().as_ref()).map_err(refused)?;
        return Ok((Pair::Rsa(Box::new(pair)), public));
    }
    Err(SignerError::Malformed(
        "neither ECDSA on P-256, P-384 or P-521, nor Ed25519, nor RSA of 2048 to 4096 bits".into(),
    ))
}

impl fmt::Debug for LocalKey {
    /// Names the public key only.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "LocalKey({:?})", self.public)
    }
}
