//! Keys as TUF metadata holds them, and the counting of signatures.

use std::collections::BTreeMap;

use keys::{Algorithm, Digest, HashAlgorithm, KeyType, PublicKey};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use thiserror::Error;

use crate::canonical;

/// Most keys of one role; the public root has five.
const ROLE_KEYS_MAX: usize = 64;

/// The name of a key. In what we write it is the SHA-256 of the key's canonical JSON, in hex; in what we read it is what the
/// metadata says, since production metadata has ids that do not match (root-signing, root 11).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyId(String);

impl KeyId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for KeyId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// A key cannot be used here.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum KeyError {
    /// A type that some Sigstore client cannot verify with.
    #[error(
        "keys of the type {0} cannot sign TUF metadata that every client reads; take ecdsa P-256 or ed25519"
    )]
    Unsupported(String),
    /// The text of the key is not what its type says.
    #[error("the {keytype} key is malformed")]
    Malformed {
        /// The `keytype` field.
        keytype: String,
    },
    /// A threshold of zero, or one that the keys cannot reach.
    #[error("a threshold of {threshold} with {keys} different keys makes no sense")]
    Threshold {
        /// Signatures asked for.
        threshold: usize,
        /// Different keys that could give them.
        keys: usize,
    },
}

/// A public key with the scheme it is used in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    scheme: Scheme,
    key: PublicKey,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scheme {
    EcdsaP256,
    EcdsaP384,
    Ed25519,
    RsaPss(HashAlgorithm),
    RsaPkcs1(HashAlgorithm),
}

impl Scheme {
    /// By the names in `keytype` and `scheme`. The types `ecdsa-sha2-...` are older spellings: roots 5 to 8 of the public repository repeat the
    /// scheme as the type.
    fn named(keytype: &str, scheme: &str) -> Option<Self> {
        Some(match (keytype, scheme) {
            ("ecdsa" | "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp256") => Self::EcdsaP256,
            ("ecdsa" | "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp384") => Self::EcdsaP384,
            ("ed25519", "ed25519") => Self::Ed25519,
            ("rsa", "rsassa-pss-sha256") => Self::RsaPss(HashAlgorithm::Sha256),
            ("rsa", "rsassa-pss-sha384") => Self::RsaPss(HashAlgorithm::Sha384),
            ("rsa", "rsassa-pss-sha512") => Self::RsaPss(HashAlgorithm::Sha512),
            ("rsa", "rsa-pkcs1v15-sha256") => Self::RsaPkcs1(HashAlgorithm::Sha256),
            ("rsa", "rsa-pkcs1v15-sha384") => Self::RsaPkcs1(HashAlgorithm::Sha384),
            ("rsa", "rsa-pkcs1v15-sha512") => Self::RsaPkcs1(HashAlgorithm::Sha512),
            _ => return None,
        })
    }

    /// The names that we write.
    const fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::EcdsaP256 => ("ecdsa", "ecdsa-sha2-nistp256"),
            Self::EcdsaP384 => ("ecdsa", "ecdsa-sha2-nistp384"),
            Self::Ed25519 => ("ed25519", "ed25519"),
            Self::RsaPss(HashAlgorithm::Sha256) => ("rsa", "rsassa-pss-sha256"),
            Self::RsaPss(HashAlgorithm::Sha384) => ("rsa", "rsassa-pss-sha384"),
            Self::RsaPss(HashAlgorithm::Sha512) => ("rsa", "rsassa-pss-sha512"),
            Self::RsaPkcs1(HashAlgorithm::Sha256) => ("rsa", "rsa-pkcs1v15-sha256"),
            Self::RsaPkcs1(HashAlgorithm::Sha384) => ("rsa", "rsa-pkcs1v15-sha384"),
            Self::RsaPkcs1(HashAlgorithm::Sha512) => ("rsa", "rsa-pkcs1v15-sha512"),
        }
    }

    /// Does a key of this type sign in this scheme?
    const fn takes(self, key: KeyType) -> bool {
        match self {
            Self::EcdsaP256 => matches!(key, KeyType::EcdsaP256),
            Self::EcdsaP384 => matches!(key, KeyType::EcdsaP384),
            Self::Ed25519 => matches!(key, KeyType::Ed25519),
            Self::RsaPss(_) | Self::RsaPkcs1(_) => {
                matches!(key, KeyType::Rsa2048 | KeyType::Rsa3072 | KeyType::Rsa4096)
            }
        }
    }

    /// Reads a public key as this scheme writes it: Ed25519 in hex, all others in PEM; those of ECDSA also as the hex of the uncompressed point, as
    /// roots 1 to 4 of the public repository do.
    fn read(self, text: &str) -> Option<PublicKey> {
        let raw = |key_type| PublicKey::from_raw(key_type, &hex::decode(text).ok()?).ok();
        let key = match self {
            Self::Ed25519 => raw(KeyType::Ed25519)?,
            Self::EcdsaP256 if !text.contains('-') => raw(KeyType::EcdsaP256)?,
            Self::EcdsaP384 if !text.contains('-') => raw(KeyType::EcdsaP384)?,
            _ => PublicKey::from_pem(text).ok()?,
        };
        self.takes(key.key_type()).then_some(key)
    }
}

#[derive(Deserialize)]
struct WireKey {
    keytype: String,
    scheme: String,
    keyval: WireValue,
}

#[derive(Deserialize)]
struct WireValue {
    public: String,
}

impl Key {
    /// A key to sign with.
    pub fn new(key: PublicKey) -> Result<Self, KeyError> {
        let scheme = match key.default_algorithm() {
            Algorithm::EcdsaP256Sha256 => Scheme::EcdsaP256,
            Algorithm::Ed25519 => Scheme::Ed25519,
            other => return Err(KeyError::Unsupported(other.registry_name().to_owned())),
        };
        Ok(Self { scheme, key })
    }

    /// The public key.
    pub const fn public_key(&self) -> &PublicKey {
        &self.key
    }

    /// The id that we give to it: SHA-256 over its canonical JSON.
    pub fn id(&self) -> KeyId {
        // Three strings always have a canonical form.
        let bytes = canonical::encode(&self.to_json()).unwrap_or_default();
        KeyId(hex::encode(keys::sha256(&bytes)))
    }

    /// Reads a key as it stands in metadata.
    pub fn read(value: &Value) -> Result<Self, KeyError> {
        Self::from_json(value)
    }

    pub(crate) fn to_json(&self) -> Value {
        let (keytype, scheme) = self.scheme.names();
        let public = match self.scheme {
            Scheme::Ed25519 => hex::encode(self.key.raw()),
            _ => self.key.to_pem(),
        };
        json!({ "keytype": keytype, "scheme": scheme, "keyval": { "public": public } })
    }

    /// Reads a key of others, to verify with: of more types than we write.
    pub(crate) fn from_json(value: &Value) -> Result<Self, KeyError> {
        let wire = WireKey::deserialize(value).map_err(|_| KeyError::Malformed {
            keytype: String::new(),
        })?;
        let scheme = Scheme::named(&wire.keytype, &wire.scheme)
            .ok_or_else(|| KeyError::Unsupported(format!("{}/{}", wire.keytype, wire.scheme)))?;
        let key = scheme
            .read(&wire.keyval.public)
            .ok_or(KeyError::Malformed {
                keytype: wire.keytype,
            })?;
        Ok(Self { scheme, key })
    }

    /// Whether `signature` over `message` is this key's.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let verified = match self.scheme {
            Scheme::EcdsaP256 => self
                .key
                .verify(Algorithm::EcdsaP256Sha256, message, signature),
            Scheme::EcdsaP384 => self
                .key
                .verify(Algorithm::EcdsaP384Sha384, message, signature),
            Scheme::Ed25519 => self.key.verify(Algorithm::Ed25519, message, signature),
            Scheme::RsaPss(hash) => self.key.verify_rsa_pss(hash, message, signature),
            Scheme::RsaPkcs1(hash) => self.key.verify_rsa(hash, message, signature),
        };
        verified.is_ok()
    }

    /// The same over a message whose SHA-256 is at hand, which several keys need.
    pub(crate) fn verifies_hashed(
        &self,
        message: &[u8],
        sha256: &Digest,
        signature: &[u8],
    ) -> bool {
        match self.scheme {
            Scheme::EcdsaP256 => self
                .key
                .verify_digest(Algorithm::EcdsaP256Sha256, sha256, signature)
                .is_ok(),
            _ => self.verifies(message, signature),
        }
    }
}

/// Who signs a role: its keys by id, and how many of them have to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleKeys {
    keys: BTreeMap<KeyId, Key>,
    threshold: usize,
}

impl RoleKeys {
    /// The keys of a role that we write.
    pub fn new(keys: impl IntoIterator<Item = Key>, threshold: usize) -> Result<Self, KeyError> {
        Self::named(
            keys.into_iter().map(|key| (key.id(), key)).collect(),
            threshold,
        )
    }

    /// One key, which is enough.
    pub fn single(key: Key) -> Self {
        Self {
            keys: BTreeMap::from([(key.id(), key)]),
            threshold: 1,
        }
    }

    pub(crate) fn named(keys: BTreeMap<KeyId, Key>, threshold: usize) -> Result<Self, KeyError> {
        let mut different: Vec<&[u8]> = keys.values().map(|key| key.key.spki_der()).collect();
        different.sort_unstable();
        different.dedup();
        if threshold == 0 || threshold > different.len() || keys.len() > ROLE_KEYS_MAX {
            return Err(KeyError::Threshold {
                threshold,
                keys: different.len(),
            });
        }
        Ok(Self { keys, threshold })
    }

    /// Signatures that are needed.
    pub const fn threshold(&self) -> usize {
        self.threshold
    }

    /// The keys by their ids.
    pub fn keys(&self) -> impl Iterator<Item = (&KeyId, &Key)> {
        self.keys.iter()
    }

    /// A key by its id.
    pub fn key(&self, id: &KeyId) -> Option<&Key> {
        self.keys.get(id)
    }

    /// How many different keys of this role signed `message`. Ids do not count: one key under two ids is one signer.
    pub fn count<'a>(
        &self,
        message: &[u8],
        signatures: impl IntoIterator<Item = (&'a KeyId, &'a [u8])>,
    ) -> usize {
        self.count_to(usize::MAX, signatures, |key, signature| {
            key.verifies(message, signature)
        })
    }

    /// The same, and not further than to `most`: who needs three of five signatures verifies three. `verifies` says whether a signature is a key's.
    pub(crate) fn count_to<'a, S>(
        &self,
        most: usize,
        signatures: impl IntoIterator<Item = (&'a KeyId, S)>,
        mut verifies: impl FnMut(&Key, S) -> bool,
    ) -> usize {
        let mut signers: Vec<&[u8]> = Vec::new();
        for (id, signature) in signatures {
            if signers.len() >= most {
                break;
            }
            let Some(key) = self.keys.get(id) else {
                continue;
            };
            let signer = key.key.spki_der();
            if !signers.contains(&signer) && verifies(key, signature) {
                signers.push(signer);
            }
        }
        signers.len()
    }
}
