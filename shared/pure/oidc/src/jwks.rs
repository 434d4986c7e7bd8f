//! Key sets.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use keys::{Algorithm, KeyType, PublicKey};
use serde::Deserialize;
use thiserror::Error;

/// The largest key set that is read: the largest issuers publish some 20 kB.
pub const MAX_JWKS: usize = 256 * 1024;
/// The most keys of one issuer.
const MAX_KEYS: usize = 100;

/// Bytes that are no key set.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum JwksError {
    /// Too large, or too many keys.
    #[error(
        "a key set of {bytes} bytes and {keys} keys is over the limit of {MAX_JWKS} bytes or {MAX_KEYS} keys"
    )]
    TooLarge {
        /// Its bytes.
        bytes: usize,
        /// Its keys.
        keys: usize,
    },
    /// Not the JSON.
    #[error("not a JSON Web Key Set: {0}")]
    Malformed(String),
    /// Nothing that a token could be verified with.
    #[error("the key set has no key that tokens can be verified with")]
    Empty,
}

/// The keys with which an issuer signs tokens; never empty.
#[derive(Debug, Clone)]
pub struct Jwks {
    keys: Vec<Key>,
    /// The algorithms that the issuer says it uses, where it says so.
    announced: Option<Vec<String>>,
}

#[derive(Debug, Clone)]
pub(crate) struct Key {
    pub(crate) id: Option<String>,
    pub(crate) algorithm: Option<String>,
    pub(crate) public: PublicKey,
}

#[derive(Deserialize)]
struct Set {
    keys: Vec<serde_json::Value>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl Jwks {
    /// Reads a key set. Keys of unknown or weak kinds are passed over, as RFC 7517 section 5 says.
    pub fn parse(bytes: &[u8]) -> Result<Self, JwksError> {
        if bytes.len() > MAX_JWKS {
            return Err(JwksError::TooLarge {
                bytes: bytes.len(),
                keys: 0,
            });
        }
        let set: Set = serde_json::from_slice(bytes)
            .map_err(|error| JwksError::Malformed(error.to_string()))?;
        if set.keys.len() > MAX_KEYS {
            return Err(JwksError::TooLarge {
                bytes: bytes.len(),
                keys: set.keys.len(),
            });
        }
        let keys: Vec<Key> = set
            .keys
            .into_iter()
            .filter_map(|key| key_of(serde_json::from_value(key).ok()?))
            .collect();
        if keys.is_empty() {
            Err(JwksError::Empty)
        } else {
            Ok(Self {
                keys,
                announced: None,
            })
        }
    }

    /// The same keys, for the algorithms only that the issuer announces in its discovery document
    /// (`id_token_signing_alg_values_supported`). It narrows our own list and never widens it.
    #[must_use]
    pub fn announced(mut self, algorithms: Vec<String>) -> Self {
        self.announced = Some(algorithms);
        self
    }

    /// Is the algorithm on our list, and among those that the issuer announced?
    pub(crate) fn takes(&self, algorithm: &str) -> bool {
        let announced = self
            .announced
            .as_ref()
            .is_none_or(|names| names.iter().any(|name| name == algorithm));
        is_known(algorithm) && announced
    }

    /// The keys that may have made a token with this key id; all of them for a token without one.
    pub(crate) fn candidates(&self, id: Option<&str>) -> impl Iterator<Item = &Key> {
        self.keys
            .iter()
            .filter(move |key| id.is_none() || key.id.is_none() || key.id.as_deref() == id)
    }
}

fn key_of(jwk: Jwk) -> Option<Key> {
    if jwk.usage.as_deref().is_some_and(|usage| usage != "sig") {
        return None;
    }
    let part = |text: &Option<String>| {
        URL_SAFE_NO_PAD
            .decode(text.as_deref()?.trim_end_matches('='))
            .ok()
    };
    let key = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
        ("RSA", _) => PublicKey::from_rsa_components(&part(&jwk.n)?, &part(&jwk.e)?).ok()?,
        ("OKP", Some("Ed25519")) => PublicKey::from_raw(KeyType::Ed25519, &part(&jwk.x)?).ok()?,
        ("EC", Some(curve)) => {
            let (kind, length) = match curve {
                "P-256" => (KeyType::EcdsaP256, 32),
                "P-384" => (KeyType::EcdsaP384, 48),
                "P-521" => (KeyType::EcdsaP521, 66),
                _ => return None,
            };
            let (x, y) = (part(&jwk.x)?, part(&jwk.y)?);
            if x.len() != length || y.len() != length {
                return None;
            }
            // An uncompressed point (SEC 1 section 2.3.3).
            PublicKey::from_raw(kind, &[&[4][..], &x, &y].concat()).ok()?
        }
        _ => return None,
    };
    Some(Key {
        id: jwk.kid,
        algorithm: jwk.alg,
        public: key,
    })
}

/// Our list (RFC 7518 section 3.1, RFC 8037): the algorithm that a token names, where it goes with the issuer's key.
pub(crate) fn algorithm(name: &str, key: &PublicKey) -> Option<Algorithm> {
    let kind = key.key_type();
    let rsa = matches!(kind, KeyType::Rsa2048 | KeyType::Rsa3072 | KeyType::Rsa4096);
    match (name, kind) {
        ("RS256", _) if rsa => Some(key.default_algorithm()),
        ("PS256", KeyType::Rsa2048) => Some(Algorithm::RsaPssSha256_2048),
        ("PS256", KeyType::Rsa3072) => Some(Algorithm::RsaPssSha256_3072),
        ("PS256", KeyType::Rsa4096) => Some(Algorithm::RsaPssSha256_4096),
        ("ES256", KeyType::EcdsaP256) => Some(Algorithm::EcdsaP256Sha256),
        ("ES384", KeyType::EcdsaP384) => Some(Algorithm::EcdsaP384Sha384),
        ("ES512", KeyType::EcdsaP521) => Some(Algorithm::EcdsaP521Sha512),
        ("EdDSA", KeyType::Ed25519) => Some(Algorithm::Ed25519),
        _ => None,
    }
}

/// Is it on our list at all?
fn is_known(name: &str) -> bool {
    ["RS256", "PS256", "ES256", "ES384", "ES512", "EdDSA"].contains(&name)
}
