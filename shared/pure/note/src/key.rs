//! Verification keys of notes: their names, hints, and what their signatures cover.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keys::{KeyType, PublicKey, sha256};
use tlog::TreeHead;

use crate::signed::SignatureLine;
use crate::tree_head;

/// Signature types of C2SP signed-note.
const TYPE_ED25519: u8 = 0x01;
const TYPE_ECDSA: u8 = 0x02;
const TYPE_RFC6962: u8 = 0x05;
/// "Own" types carry their own name; this is the one that rekor-tiles gives RSA keys (pkg/note/note.go).
const TYPE_OTHER: u8 = 0xff;
const RSA_LABEL: &[u8] = b"PKIX-RSA-PKCS#1v1.5";
/// Longest accepted vkey text: an RSA-4096 key is about 750 base64 characters.
pub(crate) const MAX_VKEY: usize = 4096;

/// The four bytes before a signature that tell which key made it. A hint, not an identity: it can collide.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyHint([u8; 4]);

impl KeyHint {
    /// Wraps the four bytes.
    pub const fn new(bytes: [u8; 4]) -> Self {
        Self(bytes)
    }

    /// The four bytes.
    pub const fn as_bytes(&self) -> &[u8; 4] {
        &self.0
    }

    /// The first four bytes of a key or log id; `None` when it is shorter.
    pub fn of(id: &[u8]) -> Option<Self> {
        id.first_chunk().copied().map(Self)
    }
}

impl fmt::Display for KeyHint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:08x}", u32::from_be_bytes(self.0))
    }
}

impl fmt::Debug for KeyHint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "KeyHint({self})")
    }
}

/// A public key together with the name and hint under which it signs notes.
#[derive(Clone, Debug)]
pub struct VerifierKey {
    name: String,
    id: Vec<u8>,
    hint: KeyHint,
    key: PublicKey,
    covers: Covers,
}

/// What the signature is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Covers {
    /// The text of the note.
    Text,
    /// The tree head structure of RFC 6962, with a timestamp that stands in the signature line.
    TreeHead(tree_head::Algorithm),
}

/// Why a key cannot sign notes under this name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Empty, or with a space, a plus sign or a control character.
    #[error("not a key name: it is empty, or has white space or a plus sign")]
    Name,
    /// A log id of less than four bytes.
    #[error("the key id is shorter than its four-byte hint")]
    ShortId,
    /// RFC 6962 knows ECDSA P-256 and RSA keys only (static-ct-api keeps to that).
    #[error("a key of type {0:?} cannot sign RFC 6962 tree heads")]
    NoTreeHead(KeyType),
    /// Witnesses cosign with Ed25519 or ML-DSA-44 (C2SP tlog-cosignature).
    #[error("a key of type {0:?} cannot cosign checkpoints")]
    NoCosigner(KeyType),
    /// The text is no vkey.
    #[error("not a verifier key of the form name+hint+base64")]
    Text,
    /// The hint in the vkey does not belong to its key.
    #[error("the hint {stated} of the verifier key does not belong to it: {calculated} would")]
    Hint {
        /// Hint in the text.
        stated: KeyHint,
        /// Hint that follows from name and key.
        calculated: KeyHint,
    },
}

/// The signature does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WrongSignature;

impl VerifierKey {
    /// The key under the standard id of its kind: Ed25519 type 0x01, ECDSA type 0x02, RSA as rekor-tiles names it.
    pub fn new(name: &str, key: PublicKey) -> Result<Self, KeyError> {
        let id = standard_id(name, &key);
        Self::with_id(name, key, id)
    }

    /// A log's key as a trusted root states it: the hint is the start of the log id given there, whatever rule made it.
    ///
    /// This covers Rekor v1, whose id is SHA-256 of the public key for every kind of key, and Rekor v2 alike.
    pub fn with_log_id(name: &str, key: PublicKey, log_id: &[u8]) -> Result<Self, KeyError> {
        Self::with_id(name, key, log_id.to_vec())
    }

    /// The key under Rekor v1's rule: id = SHA-256(SubjectPublicKeyInfo), for every kind of key.
    pub fn rekor_v1(name: &str, key: PublicKey) -> Result<Self, KeyError> {
        let id = key.key_id().to_vec();
        Self::with_id(name, key, id)
    }

    /// A CT log's key: type 0x05, whose signature is an RFC 6962 tree head signature (static-ct-api 1.1).
    pub fn rfc6962(name: &str, key: PublicKey) -> Result<Self, KeyError> {
        let algorithm = match key.key_type() {
            KeyType::EcdsaP256 => tree_head::Algorithm::Ecdsa,
            KeyType::Rsa2048 | KeyType::Rsa3072 | KeyType::Rsa4096 => tree_head::Algorithm::Rsa,
            other => return Err(KeyError::NoTreeHead(other)),
        };
        // Key id = SHA-256(name ‖ "\n" ‖ 0x05 ‖ RFC 6962 log id), and the log id is SHA-256 of the public key.
        let id = hashed_id(name, TYPE_RFC6962, &key.key_id());
        let mut verifier = Self::with_id(name, key, id)?;
        verifier.covers = Covers::TreeHead(algorithm);
        Ok(verifier)
    }

    fn with_id(name: &str, key: PublicKey, id: Vec<u8>) -> Result<Self, KeyError> {
        if !is_key_name(name) {
            return Err(KeyError::Name);
        }
        let hint = KeyHint::of(&id).ok_or(KeyError::ShortId)?;
        Ok(Self {
            name: name.to_owned(),
            id,
            hint,
            key,
            covers: Covers::Text,
        })
    }

    /// Name of the key; the origin of the log, or for Rekor v1 its host name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// First four bytes of the id.
    pub const fn hint(&self) -> KeyHint {
        self.hint
    }

    /// The whole id whose start is the hint; this is `logId.keyId` in a Rekor entry.
    pub fn id(&self) -> &[u8] {
        &self.id
    }

    /// The key itself.
    pub const fn public_key(&self) -> &PublicKey {
        &self.key
    }

    /// The vkey text `name+hint+base64(type ‖ key)`; `None` for keys whose type has no such text.
    pub fn to_vkey(&self) -> Option<String> {
        let encoded = match (self.covers, self.key.key_type()) {
            (Covers::TreeHead(_), _) => [&[TYPE_RFC6962], self.key.spki_der()].concat(),
            (Covers::Text, KeyType::Ed25519) => [&[TYPE_ED25519], self.key.raw()].concat(),
            (Covers::Text, KeyType::EcdsaP256 | KeyType::EcdsaP384 | KeyType::EcdsaP521) => {
                [&[TYPE_ECDSA], self.key.spki_der()].concat()
            }
            (Covers::Text, KeyType::Rsa2048 | KeyType::Rsa3072 | KeyType::Rsa4096) => return None,
        };
        Some(format!(
            "{}+{}+{}",
            self.name,
            self.hint,
            STANDARD.encode(encoded)
        ))
    }

    /// Whether a line claims to be by this key.
    pub(crate) fn made(&self, line: &SignatureLine) -> bool {
        line.hint() == self.hint && line.name() == self.name
    }

    /// Checks a signature, and returns the time that it covers, if its type has one.
    pub(crate) fn verify(
        &self,
        text: &str,
        head: &TreeHead,
        signature: &[u8],
    ) -> Result<Option<u64>, WrongSignature> {
        match self.covers {
            Covers::Text => {
                self.key
                    .verify(self.key.default_algorithm(), text.as_bytes(), signature)
                    .map_err(|_| WrongSignature)?;
                Ok(None)
            }
            Covers::TreeHead(algorithm) => {
                let (timestamp_ms, signature) =
                    tree_head::decode(algorithm, signature).ok_or(WrongSignature)?;
                let signed = tree_head::to_be_signed(head, timestamp_ms);
                self.key
                    .verify(self.key.default_algorithm(), &signed, signature)
                    .map_err(|_| WrongSignature)?;
                Ok(Some(timestamp_ms))
            }
        }
    }
}

/// Reads a vkey of type 0x01 (Ed25519), 0x02 (ECDSA) or 0x05 (RFC 6962, with the public key in place of the log id).
impl FromStr for VerifierKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        if text.len() > MAX_VKEY {
            return Err(KeyError::Text);
        }
        let (name, stated, bytes) = split_vkey(text)?;
        let verifier = match bytes.split_first() {
            Some((&TYPE_ED25519, key)) => {
                PublicKey::from_raw(KeyType::Ed25519, key).map(|key| Self::new(name, key))
            }
            Some((&TYPE_ECDSA, key)) => {
                PublicKey::from_spki_der(key).map(|key| Self::new(name, key))
            }
            Some((&TYPE_RFC6962, key)) => {
                PublicKey::from_spki_der(key).map(|key| Self::rfc6962(name, key))
            }
            _ => return Err(KeyError::Text),
        };
        let verifier = verifier.map_err(|_| KeyError::Text)??;
        if verifier.hint != stated {
            return Err(KeyError::Hint {
                stated,
                calculated: verifier.hint,
            });
        }
        Ok(verifier)
    }
}

/// Name, hint and `type ‖ key` of a vkey text that is not too long.
pub(crate) fn split_vkey(text: &str) -> Result<(&str, KeyHint, Vec<u8>), KeyError> {
    let mut parts = text.splitn(3, '+');
    let (Some(name), Some(hint), Some(encoded)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(KeyError::Text);
    };
    let is_hex = hint.len() == 8
        && hint
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let hint = u32::from_str_radix(hint, 16)
        .ok()
        .filter(|_| is_hex)
        .ok_or(KeyError::Text)?;
    let stated = KeyHint::new(hint.to_be_bytes());
    let bytes = STANDARD.decode(encoded).map_err(|_| KeyError::Text)?;
    Ok((name, stated, bytes))
}

/// C2SP signed-note: non-empty, without Unicode spaces and plus signs. Control characters do not get this far.
pub(crate) fn is_key_name(name: &str) -> bool {
    !name.is_empty()
        && !name
            .chars()
            .any(|c| c.is_whitespace() || c.is_control() || c == '+')
}

/// The id that C2SP signed-note and rekor-tiles (pkg/note/note.go) give to a key of this kind.
fn standard_id(name: &str, key: &PublicKey) -> Vec<u8> {
    match key.key_type() {
        KeyType::Ed25519 => hashed_id(name, TYPE_ED25519, key.raw()),
        KeyType::EcdsaP256 | KeyType::EcdsaP384 | KeyType::EcdsaP521 => key.key_id().to_vec(),
        KeyType::Rsa2048 | KeyType::Rsa3072 | KeyType::Rsa4096 => {
            hashed_id(name, TYPE_OTHER, &[RSA_LABEL, key.spki_der()].concat())
        }
    }
}

fn hashed_id(name: &str, kind: u8, key: &[u8]) -> Vec<u8> {
    sha256(&[name.as_bytes(), b"\n", &[kind], key].concat()).to_vec()
}
