//! Keys and signatures of minisign and of OpenBSD's signify.
//!
//! Both are base64 of `algorithm (2) | key id (8) | key (32) or signature (64)`, under a comment line. The algorithm of a signature is `Ed` over
//! the file, or `ED` over its BLAKE2b-512. What minisign signs besides, its trusted comment, does not go into the log and is not checked.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use blake2::{Blake2b512, Digest as _};
use keys::{Algorithm, KeyType, PublicKey};

use crate::format::Known;
use crate::rekord::unverified;
use crate::{ProposeError, invalid};

const PLAIN: [u8; 2] = *b"Ed";
const HASHED: [u8; 2] = *b"ED";
/// Of a key that came without its id.
const NO_ID: [u8; 8] = [0; 8];
/// `algorithm | key id`.
const HEAD: usize = 10;

/// A public key.
#[derive(Debug)]
pub(crate) struct MinisignKey {
    head: [u8; HEAD],
    key: PublicKey,
}

/// A signature.
#[derive(Debug)]
pub(crate) struct MinisignSignature {
    head: [u8; HEAD],
    signature: [u8; 64],
}

impl MinisignKey {
    /// A key file, its second line alone, or, as entries of 2021 have it, the 32 bytes of the key.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, ProposeError> {
        let text = std::str::from_utf8(bytes).ok();
        let line = text.map(|text| text.split_once('\n').map_or(text, |(_, second)| second));
        let whole = text.and_then(decode).or_else(|| line.and_then(decode));
        let (head, raw) = if let Some(whole) = whole {
            split(&whole).ok_or_else(no_key)?
        } else {
            let raw: [u8; 32] = bytes.try_into().map_err(|_| no_key())?;
            let mut head = [0; HEAD];
            head.iter_mut().zip(PLAIN).for_each(|(to, from)| *to = from);
            (head, raw)
        };
        if !head.starts_with(&PLAIN) {
            return Err(no_key());
        }
        let key = PublicKey::from_raw(KeyType::Ed25519, &raw)
            .map_err(|error| invalid(format!("unable to read minisign public key: {error}")))?;
        Ok(Self { head, key })
    }

    pub(crate) fn known(&self) -> Known {
        let canonical = STANDARD.encode([self.head.as_slice(), self.key.raw()].concat());
        Known::new(canonical.into_bytes(), None)
    }
}

impl MinisignSignature {
    /// A signature file, of which the second line is read.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, ProposeError> {
        let wrong = || {
            invalid(
                "invalid minisign signature: expected a comment line, and a line of base64 of 74 bytes",
            )
        };
        let text = std::str::from_utf8(bytes).map_err(|_| wrong())?;
        let line = text.lines().nth(1).ok_or_else(wrong)?;
        let whole = decode(line).ok_or_else(wrong)?;
        let (head, signature) = split(&whole).ok_or_else(wrong)?;
        Ok(Self { head, signature })
    }

    pub(crate) fn canonical(&self) -> Vec<u8> {
        let encoded = STANDARD.encode([self.head.as_slice(), &self.signature].concat());
        format!("untrusted comment:\n{encoded}").into_bytes()
    }

    pub(crate) fn verify(&self, key: &MinisignKey, data: &[u8]) -> Result<(), ProposeError> {
        let (_, id) = self.head.split_at(2);
        let (_, key_id) = key.head.split_at(2);
        if id != key_id && key_id != NO_ID {
            return Err(invalid(format!(
                "invalid minisign signature: it is by the key {}, and the given one is {}",
                hex::encode(id),
                hex::encode(key_id)
            )));
        }
        let verify = |message: &[u8]| {
            key.key
                .verify(Algorithm::Ed25519, message, &self.signature)
                .map_err(|_| unverified("the given minisign key"))
        };
        match self.head.split_first_chunk() {
            Some((&PLAIN, _)) => verify(data),
            Some((&HASHED, _)) => verify(&Blake2b512::digest(data)),
            _ => Err(invalid(
                "invalid minisign signature: its algorithm is neither Ed nor ED",
            )),
        }
    }
}

fn no_key() -> ProposeError {
    invalid(
        "unable to read minisign public key: expected base64 of 42 bytes that begin with Ed, under a comment line or alone",
    )
}

fn decode(line: &str) -> Option<Vec<u8>> {
    STANDARD.decode(line.trim_end()).ok()
}

fn split<const N: usize>(whole: &[u8]) -> Option<([u8; HEAD], [u8; N])> {
    let (head, rest) = whole.split_first_chunk()?;
    Some((*head, rest.try_into().ok()?))
}
