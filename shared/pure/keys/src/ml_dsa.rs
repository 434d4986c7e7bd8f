//! ML-DSA-44 public keys (FIPS 204): what cosigners of transparency logs sign with beside Ed25519.
//!
//! No certificate, bundle or log key of this project is one, so it is no [`crate::KeyType`]: nothing that verifies those can meet it.

use std::fmt;

use aws_lc_rs::signature::{ML_DSA_44, UnparsedPublicKey};

use crate::public::SignatureError;

/// Bytes of a public key (FIPS 204, table 2).
pub const PUBLIC_KEY_LEN: usize = 1312;
/// Bytes of a signature.
pub const SIGNATURE_LEN: usize = 2420;

/// An ML-DSA-44 public key as its 1312 raw bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct MlDsa44Key(Box<[u8; PUBLIC_KEY_LEN]>);

impl MlDsa44Key {
    /// Wraps the raw bytes; `None` when there are not [`PUBLIC_KEY_LEN`] of them. Every such string is an encoded key.
    pub fn from_raw(raw: &[u8]) -> Option<Self> {
        Some(Self(Box::new(raw.try_into().ok()?)))
    }

    /// The raw bytes.
    pub fn raw(&self) -> &[u8] {
        &*self.0
    }

    /// Checks a signature over a message, with an empty context string ("pure" ML-DSA).
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), SignatureError> {
        UnparsedPublicKey::new(&ML_DSA_44, self.raw())
            .verify(message, signature)
            .map_err(|_| SignatureError::Bad)
    }
}

impl fmt::Debug for MlDsa44Key {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let start = self.0.iter().take(8);
        out.write_str("MlDsa44Key(")?;
        for byte in start {
            write!(out, "{byte:02x}")?;
        }
        out.write_str("..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn length_is_all_that_makes_a_key() {
        assert!(MlDsa44Key::from_raw(&[7; PUBLIC_KEY_LEN]).is_some());
        for len in [0, 32, PUBLIC_KEY_LEN - 1, PUBLIC_KEY_LEN + 1] {
            assert!(MlDsa44Key::from_raw(&vec![7; len]).is_none(), "{len}");
        }
        let key = MlDsa44Key::from_raw(&[7; PUBLIC_KEY_LEN]).unwrap();
        for len in [0, 64, SIGNATURE_LEN, SIGNATURE_LEN + 1] {
            assert!(key.verify(b"message", &vec![7; len]).is_err(), "{len}");
        }
    }
}
