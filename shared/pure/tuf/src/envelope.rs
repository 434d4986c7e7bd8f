//! `{"signed":..,"signatures":[..]}` as received: the value of `signed` is kept untyped and verified in its canonical form.

use std::collections::BTreeSet;

use keys::{Digest, HashAlgorithm};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

use crate::canonical::{self, CanonicalError};
use crate::key::{Key, KeyId, RoleKeys};
use crate::metadata::{Metadata, MetadataError};

/// Most signatures on one file; production files have seven.
const SIGNATURES_MAX: usize = 256;

/// Bytes are not metadata that we may rely on.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum EnvelopeError {
    /// Larger than clients read this role.
    #[error("{actual} bytes, where clients read at most {limit}")]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
        /// What there was.
        actual: usize,
    },
    /// Not JSON of this shape.
    #[error("not signed metadata: {0}")]
    Syntax(String),
    /// Two signatures with one key id, or too many of them.
    #[error("the list of signatures is malformed: {0}")]
    Signatures(&'static str),
    /// What is signed has no canonical form.
    #[error("the signed part has no canonical form")]
    Canonical(#[from] CanonicalError),
    /// Not enough keys signed.
    #[error("{valid} of the {threshold} signatures that are needed")]
    Threshold {
        /// Different keys with a valid signature.
        valid: usize,
        /// How many are needed.
        threshold: usize,
    },
    /// The signed part is another role or malformed.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
}

/// Metadata as it came, not yet trusted.
#[derive(Clone, Debug)]
pub struct Envelope {
    signed: Value,
    canonical: Vec<u8>,
    signatures: Vec<Signature>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Signature {
    pub(crate) keyid: KeyId,
    pub(crate) sig: String,
}

#[derive(Deserialize)]
struct Wire {
    signed: Value,
    signatures: Vec<Signature>,
}

impl Envelope {
    /// Reads metadata of at most `limit` bytes.
    pub fn parse(bytes: &[u8], limit: usize) -> Result<Self, EnvelopeError> {
        if bytes.len() > limit {
            return Err(EnvelopeError::TooLarge {
                limit,
                actual: bytes.len(),
            });
        }
        let wire: Wire = serde_json::from_slice(bytes)
            .map_err(|error| EnvelopeError::Syntax(error.to_string()))?;
        if wire.signatures.len() > SIGNATURES_MAX {
            return Err(EnvelopeError::Signatures("too many"));
        }
        let ids: BTreeSet<_> = wire
            .signatures
            .iter()
            .map(|signature| &signature.keyid)
            .collect();
        if ids.len() != wire.signatures.len() {
            // TUF specification 1.0.34, section 4.2.1: key ids in the list are unique.
            return Err(EnvelopeError::Signatures("one key id twice"));
        }
        let canonical = canonical::encode_received(&wire.signed)?;
        Ok(Self {
            signed: wire.signed,
            canonical,
            signatures: wire.signatures,
        })
    }

    /// Checks that the role's keys signed this, and reads it as `M`.
    pub fn open<M: Metadata>(&self, by: &RoleKeys) -> Result<M, EnvelopeError> {
        Ok(M::from_json(self.verified(by)?)?)
    }

    /// What the role's keys signed. An empty or undecodable signature counts as none: production roots 12 to 14 have empty ones.
    pub fn verified(&self, by: &RoleKeys) -> Result<&Value, EnvelopeError> {
        self.check().verified(by)
    }

    /// To ask for several roles' keys.
    pub(crate) fn check(&self) -> Check<'_> {
        Check {
            envelope: self,
            sha256: Digest::of(HashAlgorithm::Sha256, &self.canonical),
            signatures: self.signatures().collect(),
            known: Vec::new(),
        }
    }

    /// The signatures that can be read, each with the id of its key; unverified. Empty and undecodable ones are none.
    pub fn signatures(&self) -> impl Iterator<Item = (&KeyId, Vec<u8>)> {
        self.signatures
            .iter()
            .filter(|signature| !signature.sig.is_empty())
            .filter_map(|signature| Some((&signature.keyid, hex::decode(&signature.sig).ok()?)))
    }

    /// What somebody signed, without any check of who: for a root, which says itself who signs it.
    pub const fn unverified(&self) -> &Value {
        &self.signed
    }

    /// Reads the content without any check of who signed it: only for a root that the caller trusts by other means.
    pub fn content_unverified<M: Metadata>(&self) -> Result<M, EnvelopeError> {
        Ok(M::from_json(&self.signed)?)
    }
}

/// The signatures of one envelope, each of them verified once: a root has to be signed by the keys of the one before it and by its own, and these are
/// mostly the same. A client that begins ten roots back takes half the time so.
pub(crate) struct Check<'a> {
    envelope: &'a Envelope,
    sha256: Digest,
    signatures: Vec<(&'a KeyId, Vec<u8>)>,
    /// What came of it: a signature, a key, and whether it is that key's. Not by id: two roots may have different keys under one, and the public
    /// repository has one key under two.
    known: Vec<(Vec<u8>, Key, bool)>,
}

impl<'a> Check<'a> {
    /// As [`Envelope::verified`].
    pub(crate) fn verified(&mut self, by: &RoleKeys) -> Result<&'a Value, EnvelopeError> {
        let Self {
            envelope,
            sha256,
            signatures,
            known,
        } = self;
        // Those that are known to be good come first, so that no other is verified in their place.
        let (good, others): (Vec<_>, Vec<_>) = signatures
            .iter()
            .map(|(id, signature)| (*id, signature))
            .partition(|(_, signature)| {
                known
                    .iter()
                    .any(|(one, _, valid)| *valid && one == *signature)
            });
        let ordered = good.into_iter().chain(others);
        let valid = by.count_to(by.threshold(), ordered, |key, signature| {
            let verdict = known
                .iter()
                .find(|(one, other, _)| one == signature && other == key);
            if let Some((_, _, valid)) = verdict {
                return *valid;
            }
            let valid = key.verifies_hashed(&envelope.canonical, sha256, signature);
            known.push((signature.clone(), key.clone(), valid));
            valid
        });
        if valid < by.threshold() {
            return Err(EnvelopeError::Threshold {
                valid,
                threshold: by.threshold(),
            });
        }
        Ok(&envelope.signed)
    }
}
