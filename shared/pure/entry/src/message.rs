//! What signatures are over, hashed once for all of them.

use std::cell::OnceCell;

use keys::{Algorithm, Digest, HashAlgorithm, PublicKey};

/// A message whose signatures are checked. It may have megabytes, and up to a hundred pairs of signature and key are tried on it.
#[derive(Debug)]
pub struct Message {
    bytes: Vec<u8>,
    digests: [OnceCell<Digest>; HashAlgorithm::ALL.len()],
}

impl Message {
    /// A message of these bytes.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self {
            bytes,
            digests: Default::default(),
        }
    }

    /// The pre-authentication encoding of an envelope (DSSE 1.0).
    pub fn pae(payload_type: &str, payload: &[u8]) -> Self {
        Self::new(dsse::pae(payload_type, payload))
    }

    /// Whether a signature is by this key with this algorithm. Pure Ed25519 has to read all of it each time.
    pub fn is_signed_by(&self, key: &PublicKey, algorithm: Algorithm, signature: &[u8]) -> bool {
        match algorithm.hash() {
            Some(hash) => {
                let verified = self.digest(hash);
                let verified =
                    verified.map(|digest| key.verify_digest(algorithm, digest, signature));
                verified.is_some_and(|verified| verified.is_ok())
            }
            None => key.verify(algorithm, &self.bytes, signature).is_ok(),
        }
    }

    fn digest(&self, hash: HashAlgorithm) -> Option<&Digest> {
        let position = HashAlgorithm::ALL.iter().position(|known| *known == hash)?;
        let cell = self.digests.get(position)?;
        Some(cell.get_or_init(|| hash.digest(&self.bytes)))
    }
}
