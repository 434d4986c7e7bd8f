//! Where private keys live, and the only source of randomness.
//!
//! A [`Signer`] is a private key that somebody keeps: so far this process, from memory or from a file. Other keepers (PKCS#11, a key
//! service) will be further arms behind the same `sign`, which is why it is async.
//!
//! Files are PKCS#8 PEM (RFC 5958, label `PRIVATE KEY`), mode 0600; a file that others can read is refused, since a key that leaked is no
//! key. Key material is wiped from memory when it is dropped, as far as the library's own objects allow.

mod file;
mod local;
mod ml_dsa;
pub mod random;

use std::path::Path;

use keys::{Algorithm, Digest, HashAlgorithm, PublicKey};
use thiserror::Error;
use zeroize::Zeroizing;

pub use local::LocalKey;
pub use ml_dsa::MlDsa44Signer;

/// What can go wrong with a private key. No variant carries key material.
#[derive(Debug, Error)]
pub enum SignerError {
    /// The file cannot be read or written.
    #[error("key file {path}: {action}")]
    File {
        /// Which file.
        path: String,
        /// What was tried.
        action: &'static str,
        /// Why it failed.
        source: std::io::Error,
    },
    /// Group or others may read the file.
    #[error("key file {path} has mode {mode:04o}: others may read it; run chmod 600 {path}")]
    Exposed {
        /// Which file.
        path: String,
        /// Its permission bits.
        mode: u32,
    },
    /// The text is no private key that we read.
    #[error("not a PKCS#8 private key in PEM (label PRIVATE KEY): {0}")]
    Malformed(String),
    /// A key of this algorithm cannot be made or used here.
    #[error("no private keys of algorithm {} here", .0.registry_name())]
    Unsupported(Algorithm),
    /// This key cannot sign a message of which only the digest is at hand.
    #[error("a key of algorithm {} signs messages only, not their digests", .0.registry_name())]
    NoDigests(Algorithm),
    /// The digest is by another hash than the one the key signs with.
    #[error("a key of algorithm {} does not sign {} digests", algorithm.registry_name(), found.name())]
    OtherDigest {
        /// The key's algorithm.
        algorithm: Algorithm,
        /// Of the digest.
        found: HashAlgorithm,
    },
    /// The library refused to sign.
    #[error("signing failed")]
    Failed,
}

/// A private key that somebody keeps for us. Cloning it is cheap and does not copy the key.
#[derive(Clone, Debug)]
pub struct Signer(Keeper);

#[derive(Clone, Debug)]
enum Keeper {
    Local(std::sync::Arc<LocalKey>),
}

impl Signer {
    /// Makes a new key that lives as long as this process.
    pub fn generate(algorithm: Algorithm) -> Result<Self, SignerError> {
        Ok(Self::local(LocalKey::generate(algorithm)?))
    }

    /// Reads a key from the text of a PEM file.
    pub fn from_pkcs8_pem(text: &str) -> Result<Self, SignerError> {
        Ok(Self::local(LocalKey::from_pkcs8_pem(text)?))
    }

    /// Reads a key file, which only its owner may be able to read.
    pub fn load(path: &Path) -> Result<Self, SignerError> {
        Self::from_pkcs8_pem(&file::read(path)?)
    }

    /// Makes a new key and writes it to a new file; an existing file is an error. The key is durable when this returns.
    pub fn create(path: &Path, algorithm: Algorithm) -> Result<Self, SignerError> {
        let key = LocalKey::generate(algorithm)?;
        file::write_new(path, &key.to_pkcs8_pem())?;
        Ok(Self::local(key))
    }

    /// [`load`](Self::load) where there is a file, else [`create`](Self::create).
    pub fn load_or_create(path: &Path, algorithm: Algorithm) -> Result<Self, SignerError> {
        if path.exists() {
            Self::load(path)
        } else {
            Self::create(path, algorithm)
        }
    }

    fn local(key: LocalKey) -> Self {
        Self(Keeper::Local(std::sync::Arc::new(key)))
    }

    /// The public half.
    pub fn public_key(&self) -> &PublicKey {
        match &self.0 {
            Keeper::Local(key) => key.public_key(),
        }
    }

    /// What [`sign`](Self::sign) signs with.
    pub fn algorithm(&self) -> Algorithm {
        match &self.0 {
            Keeper::Local(key) => key.algorithm(),
        }
    }

    /// Signs a message. ECDSA signatures are ASN.1 DER.
    #[expect(
        clippy::unused_async,
        reason = "a key that another machine keeps answers later"
    )]
    pub async fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignerError> {
        self.sign_local(message)
    }

    /// Signs a message of which only the digest is at hand, as of a file that was read as a stream. ECDSA only.
    #[expect(
        clippy::unused_async,
        reason = "a key that another machine keeps answers later"
    )]
    pub async fn sign_digest(&self, digest: &Digest) -> Result<Vec<u8>, SignerError> {
        match &self.0 {
            Keeper::Local(key) => key.sign_digest(digest),
        }
    }

    /// Signs at once, where the key is in this process.
    pub fn sign_local(&self, message: &[u8]) -> Result<Vec<u8>, SignerError> {
        match &self.0 {
            Keeper::Local(key) => key.sign(message),
        }
    }

    /// The private key as PKCS#8 PEM: for keeping, never for showing.
    pub fn to_pkcs8_pem(&self) -> Zeroizing<String> {
        match &self.0 {
            Keeper::Local(key) => key.to_pkcs8_pem(),
        }
    }
}
