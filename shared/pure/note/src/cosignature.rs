//! C2SP tlog-cosignature 1.0.1: a witness says that it saw a checkpoint, and that it is consistent with all it saw before.
//!
//! ```text
//! line:      timestamp s (8, big endian) | Ed25519 signature (64) or ML-DSA-44 signature (2420)
//! Ed25519:   "cosignature/v1\n" "time <timestamp>\n" <text of the note>
//! ML-DSA-44: "subtree/v1\n\0" | len u8, cosigner name | timestamp u64 | len u8, origin | start u64 = 0 | end u64 = size | root (32)
//! ```
//!
//! A cosigner that signs with both is two keys of one name. Only [`CosignerKey::find`] and [`Prepared::seal`] make a [`Cosignature`],
//! after its signature held.

use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keys::{KeyType, MlDsa44Key, PublicKey, SignatureError, sha256};

use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::key::{KeyError, KeyHint, MAX_VKEY, is_key_name, split_vkey};
use crate::signed::{Note, SignatureLine};

/// Signature types of C2SP signed-note.
const TYPE_ED25519: u8 = 0x04;
const TYPE_ML_DSA_44: u8 = 0x06;
/// Timestamps go up to 2^63 - 1.
const MAX_TIMESTAMP: u64 = u64::MAX >> 1;
const HEADER: &str = "cosignature/v1";
const LABEL: &[u8; 12] = b"subtree/v1\n\0";

/// A witness's public key, with the name under which it cosigns.
#[derive(Clone, Debug)]
pub struct CosignerKey {
    name: String,
    hint: KeyHint,
    key: Key,
}

/// With what a witness signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CosignerKind {
    /// Signature type 0x04.
    Ed25519,
    /// Signature type 0x06.
    MlDsa44,
}

#[derive(Clone, Debug)]
enum Key {
    Ed25519(PublicKey),
    MlDsa44(MlDsa44Key),
}

/// A cosignature that holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cosignature {
    line: SignatureLine,
    timestamp: u64,
}

/// Why there is no cosignature.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CosignatureError {
    /// The text of the note is no checkpoint.
    #[error("malformed checkpoint")]
    Checkpoint(#[source] CheckpointError),
    /// Cosigner name or origin do not fit into the signed message of ML-DSA-44, which has a byte for each length.
    #[error("the name of the cosigner or of the log is longer than 255 bytes")]
    LongName,
    /// Zero, or beyond 2^63 - 1.
    #[error("{0} is not the time of a cosignature")]
    Time(u64),
    /// No line has the name and hint of the key.
    #[error("no signature line is by {0}")]
    Missing(String),
    /// A line has the name and hint of the key, and does not verify.
    #[error("the signature line by {signer} does not verify")]
    Wrong {
        /// Name and hint.
        signer: String,
    },
}

impl CosignerKey {
    /// An Ed25519 key.
    pub fn ed25519(name: &str, key: PublicKey) -> Result<Self, KeyError> {
        if key.key_type() != KeyType::Ed25519 {
            return Err(KeyError::NoCosigner(key.key_type()));
        }
        Self::new(name, Key::Ed25519(key))
    }

    /// An ML-DSA-44 key.
    pub fn ml_dsa_44(name: &str, key: MlDsa44Key) -> Result<Self, KeyError> {
        Self::new(name, Key::MlDsa44(key))
    }

    fn new(name: &str, key: Key) -> Result<Self, KeyError> {
        if !is_key_name(name) {
            return Err(KeyError::Name);
        }
        let (kind, raw) = key.parts();
        let id = sha256(&[name.as_bytes(), b"\n", &[kind], raw].concat());
        Ok(Self {
            hint: KeyHint::of(&id).ok_or(KeyError::ShortId)?,
            name: name.to_owned(),
            key,
        })
    }

    /// Name of the key: the witness's schema-less URL by custom.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// First four bytes of the key id.
    pub const fn hint(&self) -> KeyHint {
        self.hint
    }

    /// With what it signs.
    pub const fn kind(&self) -> CosignerKind {
        match self.key {
            Key::Ed25519(_) => CosignerKind::Ed25519,
            Key::MlDsa44(_) => CosignerKind::MlDsa44,
        }
    }

    /// The raw bytes of the key, by which duplicates are found: the same key under two names is one witness.
    pub fn raw(&self) -> &[u8] {
        self.key.parts().1
    }

    /// The vkey text `name+hint+base64(type ‖ key)`.
    pub fn to_vkey(&self) -> String {
        let (kind, raw) = self.key.parts();
        let encoded = STANDARD.encode([&[kind], raw].concat());
        format!("{}+{}+{encoded}", self.name, self.hint)
    }

    /// Makes the message of a cosignature that waits for its signature. `timestamp` is in seconds since 1970.
    pub fn prepare(&self, note: &Note, timestamp: u64) -> Result<Prepared, CosignatureError> {
        Ok(Prepared {
            to_be_signed: self.to_be_signed(note, timestamp)?,
            key: self.clone(),
            timestamp,
        })
    }

    /// This key's cosignature among the signature lines, checked. A line that claims to be by this key must hold.
    pub fn find(
        &self,
        note: &Note,
        lines: &[SignatureLine],
    ) -> Result<Cosignature, CosignatureError> {
        let mut found = None;
        for line in lines.iter().filter(|line| self.made(line)) {
            let wrong = || CosignatureError::Wrong {
                signer: self.describe(),
            };
            let (timestamp, signature) = line
                .signature()
                .split_first_chunk::<8>()
                .ok_or_else(wrong)?;
            let timestamp = u64::from_be_bytes(*timestamp);
            let signed = self.to_be_signed(note, timestamp)?;
            self.key.verify(&signed, signature).map_err(|_| wrong())?;
            found = found.or(Some(Cosignature {
                line: line.clone(),
                timestamp,
            }));
        }
        found.ok_or_else(|| CosignatureError::Missing(self.describe()))
    }

    fn made(&self, line: &SignatureLine) -> bool {
        line.hint() == self.hint && line.name() == self.name
    }

    fn describe(&self) -> String {
        format!("{} (key {})", self.name, self.hint)
    }

    fn to_be_signed(&self, note: &Note, timestamp: u64) -> Result<Vec<u8>, CosignatureError> {
        // Zero says "no statement about the newest tree", and a witness has to make that statement (C2SP tlog-witness).
        if !(1..=MAX_TIMESTAMP).contains(&timestamp) {
            return Err(CosignatureError::Time(timestamp));
        }
        let checkpoint = Checkpoint::parse(note.text()).map_err(CosignatureError::Checkpoint)?;
        match self.key {
            Key::Ed25519(_) => {
                Ok(format!("{HEADER}\ntime {timestamp}\n{}", note.text()).into_bytes())
            }
            Key::MlDsa44(_) => {
                let mut message = LABEL.to_vec();
                let named = |text: &str| {
                    let len = u8::try_from(text.len()).map_err(|_| CosignatureError::LongName)?;
                    Ok([&[len], text.as_bytes()].concat())
                };
                message.extend(named(&self.name)?);
                message.extend(timestamp.to_be_bytes());
                message.extend(named(&checkpoint.origin)?);
                message.extend(0_u64.to_be_bytes());
                message.extend(checkpoint.head.size.get().to_be_bytes());
                message.extend(checkpoint.head.root.as_bytes());
                Ok(message)
            }
        }
    }
}

/// Reads a vkey of type 0x04 or 0x06.
impl FromStr for CosignerKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        if text.len() > MAX_VKEY {
            return Err(KeyError::Text);
        }
        let (name, stated, bytes) = split_vkey(text)?;
        let key = match bytes.split_first() {
            Some((&TYPE_ED25519, key)) => PublicKey::from_raw(KeyType::Ed25519, key)
                .ok()
                .map(Key::Ed25519),
            Some((&TYPE_ML_DSA_44, key)) => MlDsa44Key::from_raw(key).map(Key::MlDsa44),
            _ => None,
        };
        let cosigner = Self::new(name, key.ok_or(KeyError::Text)?)?;
        if cosigner.hint != stated {
            return Err(KeyError::Hint {
                stated,
                calculated: cosigner.hint,
            });
        }
        Ok(cosigner)
    }
}

impl Key {
    fn parts(&self) -> (u8, &[u8]) {
        match self {
            Self::Ed25519(key) => (TYPE_ED25519, key.raw()),
            Self::MlDsa44(key) => (TYPE_ML_DSA_44, key.raw()),
        }
    }

    fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), SignatureError> {
        match self {
            Self::Ed25519(key) => key.verify(key.default_algorithm(), message, signature),
            Self::MlDsa44(key) => key.verify(message, signature),
        }
    }
}

/// A cosignature without its signature; [`Prepared::seal`] consumes it.
#[derive(Clone, Debug)]
pub struct Prepared {
    to_be_signed: Vec<u8>,
    key: CosignerKey,
    timestamp: u64,
}

impl Prepared {
    /// The bytes to sign with the private half of the key.
    pub fn to_be_signed(&self) -> &[u8] {
        &self.to_be_signed
    }

    /// Adds the signature, after checking it: a wrong key or signer shows here, not in public.
    pub fn seal(self, signature: &[u8]) -> Result<Cosignature, CosignatureError> {
        let Self {
            to_be_signed,
            key,
            timestamp,
        } = self;
        let verified = key.key.verify(&to_be_signed, signature);
        verified.map_err(|_| CosignatureError::Wrong {
            signer: key.describe(),
        })?;
        let bytes = [&timestamp.to_be_bytes(), signature].concat();
        Ok(Cosignature {
            line: SignatureLine::new(key.name, key.hint, bytes),
            timestamp,
        })
    }
}

impl Cosignature {
    /// The line of the note.
    pub const fn line(&self) -> &SignatureLine {
        &self.line
    }

    /// When the witness signed, in seconds since 1970.
    pub const fn timestamp(&self) -> u64 {
        self.timestamp
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ed25519_dalek::{Signer as _, SigningKey};

    /// The example of C2SP tlog-cosignature: its checkpoint and the lines that stand below it.
    const EXAMPLE: &str =
        "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";

    fn note() -> Note {
        let text = format!("{EXAMPLE}\n\u{2014} example.com/behind-the-sofa AAAAAQI=\n");
        Note::parse(text.as_bytes()).unwrap()
    }

    fn witness(seed: u8) -> (SigningKey, CosignerKey) {
        let key = SigningKey::from_bytes(&[seed; 32]);
        let public = PublicKey::from_raw(KeyType::Ed25519, key.verifying_key().as_bytes()).unwrap();
        (
            key,
            CosignerKey::ed25519("witness.example/w1", public).unwrap(),
        )
    }

    #[test]
    fn the_message_is_the_one_of_the_specification() {
        let prepared = witness(1).1.prepare(&note(), 1_679_315_147).unwrap();
        let expected = format!("cosignature/v1\ntime 1679315147\n{EXAMPLE}");
        assert_eq!(prepared.to_be_signed(), expected.as_bytes());
    }

    #[test]
    fn the_ml_dsa_message_is_the_structure_of_the_specification() {
        let key = MlDsa44Key::from_raw(&[9; 1312]).unwrap();
        let key = CosignerKey::ml_dsa_44("w", key).unwrap();
        assert_eq!(key.kind(), CosignerKind::MlDsa44);
        let message = key.prepare(&note(), 258).unwrap().to_be_signed;
        let root = STANDARD
            .decode("CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=")
            .unwrap();
        let expected = [
            &b"subtree/v1\n\0\x01w"[..],
            &[0, 0, 0, 0, 0, 0, 1, 2],
            b"\x1bexample.com/behind-the-sofa",
            &[0; 8],
            &20_852_163_u64.to_be_bytes(),
            &root,
        ]
        .concat();
        assert_eq!(message, expected);
        let long =
            CosignerKey::ml_dsa_44(&"w".repeat(256), MlDsa44Key::from_raw(&[9; 1312]).unwrap());
        assert_eq!(
            long.unwrap().prepare(&note(), 1).unwrap_err(),
            CosignatureError::LongName
        );
    }

    #[test]
    fn what_is_sealed_is_found_and_what_is_changed_is_not() {
        let (private, key) = witness(1);
        let note = note();
        let prepared = key.prepare(&note, 7).unwrap();
        let signature = private.sign(prepared.to_be_signed()).to_bytes();
        let sealed = prepared.seal(&signature).unwrap();
        assert_eq!(sealed.timestamp(), 7);
        let cosigned = note.with_signatures([sealed.line(), sealed.line()]);
        assert_eq!(cosigned.signatures().len(), 2, "each line once");
        assert_eq!(
            key.find(&cosigned, cosigned.signatures()),
            Ok(sealed.clone())
        );

        let wrong = CosignatureError::Wrong {
            signer: key.describe(),
        };
        let other = Note::parse(
            String::from_utf8(cosigned.to_bytes())
                .unwrap()
                .replace("20852163", "20852164")
                .as_bytes(),
        )
        .unwrap();
        assert_eq!(key.find(&other, other.signatures()), Err(wrong.clone()));
        let mut later = sealed.line().signature().to_vec();
        later[7] = 8;
        for bytes in [later, vec![1; 7], sealed.line().signature()[..71].to_vec()] {
            let line = SignatureLine::new(key.name.clone(), key.hint, bytes);
            assert_eq!(key.find(&note, &[line]), Err(wrong.clone()));
        }
        let (_, stranger) = witness(2);
        assert!(matches!(
            stranger.find(&cosigned, cosigned.signatures()),
            Err(CosignatureError::Missing(_))
        ));
        let prepared = stranger.prepare(&note, 7).unwrap();
        assert!(matches!(
            prepared.seal(&signature),
            Err(CosignatureError::Wrong { .. })
        ));
        for time in [0, MAX_TIMESTAMP + 1] {
            assert_eq!(
                key.prepare(&note, time).unwrap_err(),
                CosignatureError::Time(time)
            );
        }
    }

    #[test]
    fn vkeys_are_read_and_written() {
        let (_, key) = witness(1);
        let text = key.to_vkey();
        let read: CosignerKey = text.parse().unwrap();
        assert_eq!((read.to_vkey(), read.hint()), (text.clone(), key.hint()));
        let big = CosignerKey::ml_dsa_44("w", MlDsa44Key::from_raw(&[9; 1312]).unwrap()).unwrap();
        assert_eq!(
            big.to_vkey().parse::<CosignerKey>().unwrap().raw(),
            [9; 1312]
        );

        let log = crate::VerifierKey::new(
            "witness.example/w1",
            match &key.key {
                Key::Ed25519(key) => key.clone(),
                Key::MlDsa44(_) => panic!("it is an Ed25519 key"),
            },
        )
        .unwrap();
        assert_ne!(
            log.hint(),
            key.hint(),
            "a key that signs two things has two ids"
        );
        let log = log.to_vkey().unwrap();
        assert_eq!(log.parse::<CosignerKey>().unwrap_err(), KeyError::Text);
        let wrong_hint = text.replacen(&key.hint().to_string(), "00000000", 1);
        assert!(matches!(
            wrong_hint.parse::<CosignerKey>(),
            Err(KeyError::Hint { .. })
        ));
        for text in ["", "a+b", "name+00000000+", "name+00000000+BA=="] {
            assert_eq!(
                text.parse::<CosignerKey>().unwrap_err(),
                KeyError::Text,
                "{text}"
            );
        }
    }
}
