//! Where private keys live, and the only source of randomness.
//!
//! A [`Signer`] is a private key that somebody keeps: this process (from memory, a file or a variable), a PKCS#11 token, the Transit
//! engine of Vault or OpenBao, or a plug-in, which is a program beside us, as for the key management of a cloud. A setting's text becomes a
//! [`KeyRef`] at the door, and [`Signer::open`] goes and gets it.
//!
//! Files are PEM, mode 0600; a file that others can read is refused, since a key that leaked is no key. What is read: PKCS#8 (RFC 5958),
//! also under a password, SEC1 (RFC 5915), PKCS#1 (RFC 8017), these also in OpenSSL's old encryption, and the boxes that cosign writes. Key
//! material is wiped from memory when it is dropped, as far as the library's own objects allow.
//!
//! Where another keeper goes: a scheme and a variant in `reference::Place`, for what a setting says; a file beside `vault.rs` with what every
//! keeper has, which is `open`, `public_key`, `sign` and `sign_digest`; a variant of `Keeper`, and the compiler names the arms that are
//! missing. Nothing else knows where a key is. The SDKs of clouds are left out on purpose: their keys are asked of plug-ins.
//!
//! A signature by a keeper outside this process is verified with the public key that was read when the key was opened, before anybody gets
//! it: a token that was exchanged or a key that was rotated gives an error, never a signature that nobody can verify. And it has to come
//! within ten seconds.

mod encrypted;
pub mod env;
mod file;
mod local;
mod ml_dsa;
mod old_pem;
mod pkcs11;
mod pkcs11_list;
mod pkcs11_uri;
mod plugin;
mod private_pem;
pub mod random;
mod reference;
mod vault;
mod watch;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use keys::{Algorithm, Digest, HashAlgorithm, PublicKey, SignatureError};
use thiserror::Error;
use zeroize::Zeroizing;

use env::Environment;
use pkcs11::TokenKey;
use plugin::PluginKey;
use reference::Place;
use vault::TransitKey;

pub use local::LocalKey;
pub use ml_dsa::MlDsa44Signer;
pub use pkcs11_list::{KeyInfo, TokenInfo, token_keys, tokens};
pub use pkcs11_uri::UriError;
pub use reference::{KeyRef, RefError};
pub use watch::Watch;

/// Reads a password, a PIN or a token: the text of a file that others may not read, without the line break at its end.
pub fn read_secret(path: &Path) -> Result<Zeroizing<String>, SignerError> {
    file::read_secret(path)
}

/// The longest wait for a signature of a keeper outside this process. A log commits nothing meanwhile, and its clients have 30 seconds.
const SIGN_TIME: Duration = Duration::from_secs(10);
/// The same for opening a key: a module may start a card, a server may be slow after its own start.
const OPEN_TIME: Duration = Duration::from_secs(30);

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
    /// Others may read the file, or its group may write it.
    #[error(
        "key file {path} has mode {mode:04o}: others may read it, or its group write it; run chmod 600 {path} (0640 and 0440 are allowed, for a \
         group that only this service is in)"
    )]
    Exposed {
        /// Which file.
        path: String,
        /// Its permission bits.
        mode: u32,
    },
    /// The text is no private key that we read.
    #[error("not a private key in PEM: {0}")]
    Malformed(String),
    /// The key is encrypted, in a way that we do not read, or its parameters are damaged.
    #[error("the key's encryption cannot be undone: {0}")]
    Encryption(String),
    /// The file's own parameters would take too much memory or time.
    #[error("the key's encryption is too costly to undo: {0}")]
    Costly(String),
    /// The key is encrypted, and there is no password.
    #[error("the key is encrypted: name the file of its password in key_secret_file")]
    NoPassword,
    /// There is a password, and the key is not encrypted.
    #[error(
        "key_secret_file is set, and the key is not encrypted: take the setting out, or encrypt the key (openssl pkcs8 -topk8 -scrypt)"
    )]
    NotEncrypted,
    /// The password is not the key's.
    #[error("the password in key_secret_file does not open the key (or the key was damaged)")]
    WrongPassword,
    /// An environment variable that is not there, or is not what it should be.
    #[error("the environment variable {name} {why}")]
    Variable {
        /// Which one.
        name: String,
        /// What is wrong, and what it is for.
        why: &'static str,
    },
    /// A PKCS#11 token, or the way to it.
    #[error("{place}: {what}")]
    Token {
        /// The URI, without the PIN.
        place: String,
        /// What was tried, and what the module said.
        what: String,
    },
    /// The Transit engine, or the way to it.
    #[error("{place}: {what}")]
    Vault {
        /// The key's name and the server.
        place: String,
        /// What was tried, and what the server said.
        what: String,
    },
    /// A plug-in, or the way to it.
    #[error("{place}: {what}")]
    Plugin {
        /// The key's name, with that of the plug-in.
        place: String,
        /// What was tried, and what the plug-in said.
        what: String,
    },
    /// The keeper did not answer.
    #[error("the keeper of the key did not answer within {} s", .0.as_secs())]
    Late(Duration),
    /// The keeper answered with something that is no signature by its key.
    #[error(
        "the keeper of the key answered with a signature that its public key does not verify: was the key exchanged?"
    )]
    Unverified(#[source] SignatureError),
    /// Only a key in this process can do this.
    #[error("the key is kept outside this process: it can be asked to sign, and nothing else")]
    Elsewhere,
    /// A key of this algorithm cannot be made or used here.
    #[error("no private keys of algorithm {} here", .0.registry_name())]
    Unsupported(Algorithm),
    /// This key cannot sign a message of which only the digest is at hand.
    #[error("a key of algorithm {} signs messages only, not their digests", .0.registry_name())]
    NoDigests(Algorithm),
    /// An algorithm that does not go with the key, or that its keeper is not asked for.
    #[error("a key of algorithm {} does not sign with {}", key.registry_name(), asked.registry_name())]
    OtherAlgorithm {
        /// What the key signs with.
        key: Algorithm,
        /// What was asked for.
        asked: Algorithm,
    },
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

impl SignerError {
    /// Whether it may be over when somebody tries again: the keeper of the key, or the way to it, is in trouble.
    pub const fn may_pass(&self) -> bool {
        matches!(
            self,
            Self::Late(_) | Self::Token { .. } | Self::Vault { .. } | Self::Plugin { .. }
        )
    }
}

/// A private key that somebody keeps for us. Cloning it is cheap and does not copy the key.
#[derive(Clone, Debug)]
pub struct Signer(Keeper);

/// Writes the text of a private key to a new file of mode 0600; an existing file is an error. It is durable when this returns.
pub fn write_private(path: &Path, text: &str) -> Result<(), SignerError> {
    file::write_new(path, text)
}

#[derive(Clone, Debug)]
enum Keeper {
    Local(Arc<LocalKey>),
    Token(Arc<TokenKey>),
    Transit(Arc<TransitKey>),
    Plugin(Arc<PluginKey>),
}

impl Signer {
    /// Makes a new key that lives as long as this process.
    pub fn generate(algorithm: Algorithm) -> Result<Self, SignerError> {
        Ok(Self::local(LocalKey::generate(algorithm)?))
    }

    /// Goes to where a setting says that the key is, with the environment of this process. Must be called within a tokio runtime.
    pub async fn open(key: &KeyRef) -> Result<Self, SignerError> {
        Self::open_in(key, &env::process).await
    }

    /// [`open`](Self::open) with another environment.
    pub async fn open_in(key: &KeyRef, environment: Environment<'_>) -> Result<Self, SignerError> {
        let secret_file = key.secret_file.as_deref();
        let from_text = |text: &str| {
            let password = secret_file.map(file::read_secret).transpose()?;
            let password = password.as_ref().map(|password| password.as_bytes());
            Self::from_pem(text, password)
        };
        let opening = async {
            match &key.place {
                Place::File(path) => from_text(&file::read(path)?),
                Place::Variable(name) => from_text(&env::read(name, environment)?),
                Place::Token(uri) => {
                    let key = TokenKey::open(uri, secret_file).await?;
                    Ok(Self(Keeper::Token(Arc::new(key))))
                }
                Place::Transit { name, version } => {
                    let secret_file = secret_file.map(Path::to_owned);
                    let key = TransitKey::open(name, *version, secret_file, environment).await?;
                    Ok(Self(Keeper::Transit(Arc::new(key))))
                }
                Place::Plugin { name, resource } => {
                    let key = PluginKey::open(name, resource, environment).await?;
                    Ok(Self(Keeper::Plugin(Arc::new(key))))
                }
            }
        };
        let opened = tokio::time::timeout(OPEN_TIME, opening).await;
        opened.map_err(|_| SignerError::Late(OPEN_TIME))?
    }

    /// Opens an encrypted key in a file or a variable under a password that is at hand, as one that somebody has typed.
    pub fn open_under(key: &KeyRef, password: &str) -> Result<Self, SignerError> {
        let text = match &key.place {
            Place::File(path) => file::read(path)?,
            Place::Variable(name) => env::read(name, &env::process)?,
            Place::Token(_) | Place::Transit { .. } | Place::Plugin { .. } => {
                return Err(SignerError::NotEncrypted);
            }
        };
        Self::from_pem(&text, Some(password.as_bytes()))
    }

    /// Reads a key from the text of a PEM file, of any kind that is read here; one that is encrypted needs its password.
    pub fn from_pem(text: &str, password: Option<&[u8]>) -> Result<Self, SignerError> {
        Ok(Self::local(private_pem::read(text, password)?))
    }

    /// Reads a key that is not encrypted from the text of a PEM file.
    pub fn from_pkcs8_pem(text: &str) -> Result<Self, SignerError> {
        Self::from_pem(text, None)
    }

    /// Reads a key file that is not encrypted, which only its owner may be able to read.
    pub fn load(path: &Path) -> Result<Self, SignerError> {
        Self::from_pem(&file::read(path)?, None)
    }

    /// Makes a new key and writes it to a new file; an existing file is an error. The key is durable when this returns.
    pub fn create(path: &Path, algorithm: Algorithm) -> Result<Self, SignerError> {
        let key = LocalKey::generate(algorithm)?;
        file::write_new(path, &key.to_pkcs8_pem())?;
        Ok(Self::local(key))
    }

    /// [`create`](Self::create), with the file under a password (PKCS#8, scrypt, AES-256).
    pub fn create_encrypted(
        path: &Path,
        algorithm: Algorithm,
        password: &[u8],
    ) -> Result<Self, SignerError> {
        if password.is_empty() {
            return Err(SignerError::NoPassword);
        }
        let key = LocalKey::generate(algorithm)?;
        file::write_new(path, &key.to_encrypted_pem(password)?)?;
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
        Self(Keeper::Local(Arc::new(key)))
    }

    /// The public half.
    pub fn public_key(&self) -> &PublicKey {
        match &self.0 {
            Keeper::Local(key) => key.public_key(),
            Keeper::Token(key) => key.public_key(),
            Keeper::Transit(key) => key.public_key(),
            Keeper::Plugin(key) => key.public_key(),
        }
    }

    /// What [`sign`](Self::sign) signs with: the default algorithm of the key's type, or what [`with_algorithm`](Self::with_algorithm) named.
    pub fn algorithm(&self) -> Algorithm {
        match &self.0 {
            Keeper::Local(key) => key.algorithm(),
            _ => self.public_key().default_algorithm(),
        }
    }

    /// The same key, which signs with another algorithm that goes with it: Ed25519ph instead of Ed25519, PSS instead of PKCS#1 v1.5. Only a key in
    /// this process; a keeper elsewhere signs with its key's default algorithm.
    pub fn with_algorithm(self, algorithm: Algorithm) -> Result<Self, SignerError> {
        if self.algorithm() == algorithm {
            return Ok(self);
        }
        match &self.0 {
            Keeper::Local(key) => Ok(Self::local(key.copy()?.with_algorithm(algorithm)?)),
            _ => Err(SignerError::OtherAlgorithm {
                key: self.algorithm(),
                asked: algorithm,
            }),
        }
    }

    /// Is the key in this process? If it is elsewhere, every signature is verified before [`sign`](Self::sign) returns it.
    pub const fn is_local(&self) -> bool {
        matches!(self.0, Keeper::Local(_))
    }

    /// Signs a message. ECDSA signatures are ASN.1 DER.
    ///
    /// A keeper outside this process has ten seconds, and its signature is verified before it is returned.
    pub async fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignerError> {
        let signature = match &self.0 {
            Keeper::Local(key) => return key.sign(message),
            Keeper::Token(key) => in_time(key.sign(message)).await?,
            Keeper::Transit(key) => in_time(key.sign(message)).await?,
            Keeper::Plugin(key) => in_time(key.sign(message)).await?,
        };
        let verified = self
            .public_key()
            .verify(self.algorithm(), message, &signature);
        verified.map_err(SignerError::Unverified)?;
        Ok(signature)
    }

    /// Signs a message of which only the digest is at hand, as of a file that was read as a stream. Not with pure Ed25519.
    pub async fn sign_digest(&self, digest: &Digest) -> Result<Vec<u8>, SignerError> {
        check_digest(self.algorithm(), digest)?;
        let signature = match &self.0 {
            Keeper::Local(key) => return key.sign_digest(digest),
            Keeper::Token(key) => in_time(key.sign_digest(digest)).await?,
            Keeper::Transit(key) => in_time(key.sign_digest(digest)).await?,
            Keeper::Plugin(key) => in_time(key.sign_digest(digest)).await?,
        };
        let verified = self
            .public_key()
            .verify_digest(self.algorithm(), digest, &signature);
        verified.map_err(SignerError::Unverified)?;
        Ok(signature)
    }

    /// Signs at once, where the key is in this process; else [`SignerError::Elsewhere`].
    pub fn sign_local(&self, message: &[u8]) -> Result<Vec<u8>, SignerError> {
        self.in_this_process()?.sign(message)
    }

    /// The private key as PKCS#8 PEM: for keeping, never for showing. A key outside this process stays there: [`SignerError::Elsewhere`].
    pub fn to_pkcs8_pem(&self) -> Result<Zeroizing<String>, SignerError> {
        Ok(self.in_this_process()?.to_pkcs8_pem())
    }

    /// The private key in cosign's box, as `cosign generate-key-pair` writes it (PEM label `ENCRYPTED SIGSTORE PRIVATE KEY`). Deriving the box's
    /// key takes some tenths of a second. A key outside this process stays there.
    pub fn to_cosign_pem(&self, password: &[u8]) -> Result<String, SignerError> {
        self.in_this_process()?.to_cosign_pem(password)
    }

    fn in_this_process(&self) -> Result<&LocalKey, SignerError> {
        match &self.0 {
            Keeper::Local(key) => Ok(key),
            Keeper::Token(_) | Keeper::Transit(_) | Keeper::Plugin(_) => {
                Err(SignerError::Elsewhere)
            }
        }
    }
}

async fn in_time(
    signing: impl Future<Output = Result<Vec<u8>, SignerError>>,
) -> Result<Vec<u8>, SignerError> {
    let signed = tokio::time::timeout(SIGN_TIME, signing).await;
    signed.map_err(|_| SignerError::Late(SIGN_TIME))?
}

/// All but pure Ed25519, which hashes for itself, sign a digest as well as a message, if it is by the algorithm's hash.
pub(crate) fn check_digest(algorithm: Algorithm, digest: &Digest) -> Result<(), SignerError> {
    let hash = algorithm.hash().ok_or(SignerError::NoDigests(algorithm))?;
    let found = digest.algorithm();
    if hash != found {
        return Err(SignerError::OtherDigest { algorithm, found });
    }
    Ok(())
}
