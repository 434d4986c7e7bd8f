//! A private key in the memory of this process.

use std::fmt;

use aws_lc_rs::digest;
use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, ECDSA_P521_SHA512_ASN1_SIGNING,
    EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256,
    RsaKeyPair,
};
use keys::{Algorithm, Digest, HashAlgorithm, KeyType, PublicKey, pem};
use zeroize::Zeroizing;

use crate::{SignerError, check_digest, encrypted, private_pem};

/// A private key, its public half and the algorithm it signs with.
pub struct LocalKey {
    pair: Pair,
    public: PublicKey,
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
    /// Makes a new key. The algorithm must be its key type's default one.
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
            Algorithm::Ed25519 => Ed25519KeyPair::generate()
                .and_then(|pair| pair.to_pkcs8v1())
                .map(|der| der.as_ref().to_vec()),
            Algorithm::RsaPkcs1Sha256_2048 => rsa(KeySize::Rsa2048),
            Algorithm::RsaPkcs1Sha256_3072 => rsa(KeySize::Rsa3072),
            Algorithm::RsaPkcs1Sha256_4096 => rsa(KeySize::Rsa4096),
            other => return Err(SignerError::Unsupported(other)),
        };
        Self::from_pkcs8_der(Zeroizing::new(der.map_err(|_| SignerError::Failed)?))
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
            pair,
            public,
            pkcs8,
        })
    }

    /// The public half.
    pub fn public_key(&self) -> &PublicKey {
        &self.public
    }

    /// What [`sign`](Self::sign) signs with: the default algorithm of the key's type.
    pub fn algorithm(&self) -> Algorithm {
        self.public.default_algorithm()
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
            Pair::Ed25519(pair) => Ok(pair.sign(message).as_ref().to_vec()),
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature)
                    .map_err(|_| SignerError::Failed)?;
                Ok(signature)
            }
        }
    }

    /// Signs a message of which only the digest is at hand; its hash must be the algorithm's. Not with Ed25519.
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
                pair.sign_digest(&RSA_PKCS1_SHA256, &imported, &mut signature)
                    .map_err(|_| SignerError::Failed)?;
                Ok(signature)
            }
            Pair::Ed25519(_) => Err(SignerError::NoDigests(self.algorithm())),
        }
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
