//! What the caller holds in its hands.

use keys::{Digest, HashAlgorithm};

/// An artifact: its digests, and its bytes where they are at hand.
#[derive(Debug, Clone)]
pub struct Artifact {
    digests: Vec<Digest>,
    bytes: Option<Vec<u8>>,
}

impl Artifact {
    /// A file in memory: everything is known about it.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        Self {
            digests: HashAlgorithm::ALL
                .into_iter()
                .map(|hash| hash.digest(bytes))
                .collect(),
            bytes: Some(bytes.to_vec()),
        }
    }

    /// Something of which only a digest is known.
    pub fn from_digest(digest: Digest) -> Self {
        Self {
            digests: vec![digest],
            bytes: None,
        }
    }

    /// A file that was read as a stream; one digest of each algorithm that may be asked for.
    pub fn from_digests(digests: Vec<Digest>) -> Self {
        Self {
            digests,
            bytes: None,
        }
    }

    /// Its digest by this algorithm, where it is known.
    pub fn digest(&self, hash: HashAlgorithm) -> Option<&Digest> {
        self.digests
            .iter()
            .find(|digest| digest.algorithm() == hash)
    }

    /// All digests that are known.
    pub fn digests(&self) -> &[Digest] {
        &self.digests
    }

    /// Its bytes, where they are at hand.
    pub fn bytes(&self) -> Option<&[u8]> {
        self.bytes.as_deref()
    }

    pub(crate) fn digest_of(&self, hash: Option<HashAlgorithm>) -> Option<&Digest> {
        self.digest(hash?)
    }

    /// For messages.
    pub(crate) fn describe(&self) -> String {
        self.digests
            .first()
            .map_or_else(|| "nothing".into(), ToString::to_string)
    }
}
