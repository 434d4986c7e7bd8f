//! Keys as TUF metadata holds them, and the counting of signatures.

use std::collections::BTreeMap;

use keys::{Algorithm, KeyType, PublicKey};
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
    Ed25519,
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
        let (keytype, scheme, public) = match self.scheme {
            Scheme::EcdsaP256 => ("ecdsa", "ecdsa-sha2-nistp256", self.key.to_pem()),
            Scheme::Ed25519 => ("ed25519", "ed25519", hex::encode(self.key.raw())),
        };
        json!({ "keytype": keytype, "scheme": scheme, "keyval": { "public": public } })
    }

    pub(crate) fn from_json(value: &Value) -> Result<Self, KeyError> {
        let wire = WireKey::deserialize(value).map_err(|_| KeyError::Malformed {
            keytype: String::new(),
        })?;
        let malformed = || KeyError::Malformed {
            keytype: wire.keytype.clone(),
        };
        let key = match (wire.keytype.as_str(), wire.scheme.as_str()) {
            // Roots 5 to 8 of the public repository repeat the scheme as the type.
            ("ecdsa" | "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp256") => {
                PublicKey::from_pem(&wire.keyval.public).map_err(|_| malformed())?
            }
            ("ed25519", "ed25519") => {
                let raw = hex::decode(&wire.keyval.public).map_err(|_| malformed())?;
                PublicKey::from_raw(KeyType::Ed25519, &raw).map_err(|_| malformed())?
            }
            (keytype, scheme) => return Err(KeyError::Unsupported(format!("{keytype}/{scheme}"))),
        };
        Self::new(key)
    }

    /// Whether `signature` over `message` is this key's.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let algorithm = match self.scheme {
            Scheme::EcdsaP256 => Algorithm::EcdsaP256Sha256,
            Scheme::Ed25519 => Algorithm::Ed25519,
        };
        self.key.verify(algorithm, message, signature).is_ok()
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
        let mut signers: Vec<&[u8]> = signatures
            .into_iter()
            .filter_map(|(id, signature)| {
                self.keys
                    .get(id)
                    .filter(|key| key.verifies(message, signature))
            })
            .map(|key| key.key.spki_der())
            .collect();
        signers.sort_unstable();
        signers.dedup();
        signers.len()
    }
}
