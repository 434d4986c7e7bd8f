//! The tree head signature of RFC 6962 section 3.5, as a signature line of type 0x05 (static-ct-api 1.1, "Checkpoints").
//!
//! ```text
//! signed:   version 0 (1) | signature_type tree_hash = 1 (1) | timestamp ms (8) | tree_size (8) | root hash (32)
//! line:     timestamp ms (8) | hash algorithm (1) | signature algorithm (1) | length (2) | signature
//! ```

use tlog::TreeHead;

/// `HashAlgorithm.sha256` of RFC 5246.
const SHA256: u8 = 4;

/// `SignatureAlgorithm` of RFC 5246.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Algorithm {
    Rsa = 1,
    Ecdsa = 3,
}

/// The bytes that a CT log signs.
pub fn to_be_signed(head: &TreeHead, timestamp_ms: u64) -> Vec<u8> {
    let mut bytes = vec![0, 1];
    bytes.extend(timestamp_ms.to_be_bytes());
    bytes.extend(head.size.get().to_be_bytes());
    bytes.extend(head.root.as_bytes());
    bytes
}

/// The bytes of the signature line after the key hint, for an ECDSA signature (ASN.1 DER) over [`to_be_signed`].
///
/// `None` when the signature is longer than its 16-bit length field can say.
pub fn ecdsa_signature(timestamp_ms: u64, signature: &[u8]) -> Option<Vec<u8>> {
    encode(Algorithm::Ecdsa, timestamp_ms, signature)
}

fn encode(algorithm: Algorithm, timestamp_ms: u64, signature: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = timestamp_ms.to_be_bytes().to_vec();
    bytes.extend([SHA256, algorithm.number()]);
    bytes.extend(u16::try_from(signature.len()).ok()?.to_be_bytes());
    bytes.extend(signature);
    Some(bytes)
}

/// Timestamp and signature out of the bytes of a signature line; `None` when malformed or of another algorithm.
pub(crate) fn decode(algorithm: Algorithm, bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (timestamp, rest) = bytes.split_first_chunk::<8>()?;
    let (algorithms, rest) = rest.split_first_chunk::<2>()?;
    let (length, signature) = rest.split_first_chunk::<2>()?;
    let fits = usize::from(u16::from_be_bytes(*length)) == signature.len();
    (fits && *algorithms == [SHA256, algorithm.number()])
        .then(|| (u64::from_be_bytes(*timestamp), signature))
}

impl Algorithm {
    const fn number(self) -> u8 {
        match self {
            Self::Rsa => 1,
            Self::Ecdsa => 3,
        }
    }
}
