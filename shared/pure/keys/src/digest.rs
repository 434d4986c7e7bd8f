//! Digests, and hashing of what does not fit into memory.

use std::fmt;

use aws_lc_rs::digest as library;
use thiserror::Error;

use crate::alg::HashAlgorithm;

/// The SHA-256 of a message.
pub fn sha256(message: &[u8]) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(library::digest(&library::SHA256, message).as_ref());
    bytes
}

/// A digest with the algorithm that made it; the length always fits the algorithm.
#[derive(Clone, Copy)]
pub struct Digest {
    algorithm: HashAlgorithm,
    /// The first `algorithm.output_len()` bytes count, the rest is zero.
    bytes: [u8; 64],
}

/// Bytes that are no digest.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DigestError {
    /// A digest of this algorithm has another length.
    #[error("a {} digest has {} bytes, not {found}", .algorithm.name(), .algorithm.output_len())]
    Length {
        /// What it was said to be.
        algorithm: HashAlgorithm,
        /// How many bytes there were.
        found: usize,
    },
    /// Not `algorithm:hex` with a known algorithm.
    #[error("{0:?} is no digest: expected sha256:, sha384: or sha512: and lower-case hex digits")]
    Text(String),
}

impl Digest {
    /// Hashes a message.
    pub fn of(algorithm: HashAlgorithm, message: &[u8]) -> Self {
        Self::filled(
            algorithm,
            library::digest(implementation(algorithm), message).as_ref(),
        )
    }

    /// Takes a digest that somebody else computed.
    pub fn new(algorithm: HashAlgorithm, bytes: &[u8]) -> Result<Self, DigestError> {
        if bytes.len() != algorithm.output_len() {
            return Err(DigestError::Length {
                algorithm,
                found: bytes.len(),
            });
        }
        Ok(Self::filled(algorithm, bytes))
    }

    /// Parses `sha256:` and hex digits, the form of OCI and of command lines.
    pub fn parse(text: &str) -> Result<Self, DigestError> {
        let wrong = || DigestError::Text(text.chars().take(160).collect());
        let (name, digits) = text.split_once(':').ok_or_else(wrong)?;
        let algorithm = HashAlgorithm::from_name(name).ok_or_else(wrong)?;
        if digits.len() != algorithm.output_len().saturating_mul(2)
            || digits.bytes().any(|byte| byte.is_ascii_uppercase())
        {
            return Err(wrong());
        }
        Self::new(algorithm, &hex::decode(digits).map_err(|_| wrong())?)
    }

    fn filled(algorithm: HashAlgorithm, from: &[u8]) -> Self {
        let mut bytes = [0; 64];
        for (to, from) in bytes.iter_mut().zip(from) {
            *to = *from;
        }
        Self { algorithm, bytes }
    }

    /// What made it.
    pub const fn algorithm(&self) -> HashAlgorithm {
        self.algorithm
    }

    /// The digest itself.
    pub fn bytes(&self) -> &[u8] {
        self.bytes
            .get(..self.algorithm.output_len())
            .unwrap_or_default()
    }

    /// The digest in lower-case hex, without the algorithm's name.
    pub fn to_hex(&self) -> String {
        hex::encode(self.bytes())
    }
}

impl PartialEq for Digest {
    fn eq(&self, other: &Self) -> bool {
        self.algorithm == other.algorithm && self.bytes() == other.bytes()
    }
}

impl Eq for Digest {}

impl fmt::Display for Digest {
    /// `sha256:` and hex digits.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.algorithm.name(), self.to_hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// Hashes a message that comes in pieces.
pub struct Hasher {
    algorithm: HashAlgorithm,
    context: library::Context,
}

impl Hasher {
    /// Starts with nothing.
    pub fn new(algorithm: HashAlgorithm) -> Self {
        Self {
            algorithm,
            context: library::Context::new(implementation(algorithm)),
        }
    }

    /// Takes the next piece.
    pub fn update(&mut self, piece: &[u8]) {
        self.context.update(piece);
    }

    /// The digest of all pieces.
    pub fn finish(self) -> Digest {
        Digest::filled(self.algorithm, self.context.finish().as_ref())
    }
}

pub(crate) fn implementation(algorithm: HashAlgorithm) -> &'static library::Algorithm {
    match algorithm {
        HashAlgorithm::Sha256 => &library::SHA256,
        HashAlgorithm::Sha384 => &library::SHA384,
        HashAlgorithm::Sha512 => &library::SHA512,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_answer_of_fips_180() {
        let digest = Digest::of(HashAlgorithm::Sha256, b"abc");
        let text = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(digest.to_string(), text);
        assert_eq!(Digest::parse(text), Ok(digest));
        assert_eq!(sha256(b"abc"), digest.bytes());
    }

    #[test]
    fn pieces_hash_like_the_whole() {
        for algorithm in HashAlgorithm::ALL {
            let mut hasher = Hasher::new(algorithm);
            hasher.update(b"ab");
            hasher.update(b"");
            hasher.update(b"c");
            assert_eq!(hasher.finish(), Digest::of(algorithm, b"abc"));
        }
    }

    #[test]
    fn what_is_no_digest_is_refused() {
        for text in [
            "",
            "sha256",
            "sha256:",
            "sha256:ab",
            "sha1:da39a3ee5e6b4b0d3255bfef95601890afd80709",
            "md5:00",
        ] {
            assert!(
                matches!(Digest::parse(text), Err(DigestError::Text(_))),
                "{text}"
            );
        }
        let upper = format!("sha256:{}", "AB".repeat(32));
        assert!(Digest::parse(&upper).is_err());
        assert_eq!(
            Digest::new(HashAlgorithm::Sha384, &[0; 32]),
            Err(DigestError::Length {
                algorithm: HashAlgorithm::Sha384,
                found: 32
            })
        );
    }
}
