//! Gathering signatures: one document, several keys, each on its own machine and at its own time.

use std::collections::BTreeMap;

use jiff::Timestamp as Time;
use serde_json::{Value, json};
use thiserror::Error;

use crate::canonical::{self, CanonicalError};
use crate::document::{Document, RoleName};
use crate::envelope::Envelope;
use crate::key::{KeyId, RoleKeys};
use crate::metadata::{TargetFile, Version};

/// The document cannot be signed like this.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CeremonyError {
    /// It would be expired when it is signed.
    #[error("{role} metadata would expire at {expires}, and it is {now}")]
    Expired {
        /// The role.
        role: RoleName,
        /// Its end.
        expires: Time,
        /// The time of signing.
        now: Time,
    },
    /// Nobody would have to sign it.
    #[error("{0} metadata that nobody has to sign")]
    NoSigners(RoleName),
    /// A number that clients read differently.
    #[error("no canonical form")]
    Canonical(#[from] CanonicalError),
    /// A signature by somebody who has no part in this.
    #[error(
        "{role} {version} has a signature by the key {key}, which is none of its signers: {signers}"
    )]
    Foreign {
        /// The role.
        role: RoleName,
        /// The version.
        version: Version,
        /// The stranger.
        key: KeyId,
        /// Who may sign.
        signers: String,
    },
    /// A signature that does not verify.
    #[error(
        "the signature of the key {key} is not over this {role} {version}: was the document changed after it was signed?"
    )]
    Wrong {
        /// The role.
        role: RoleName,
        /// The version.
        version: Version,
        /// Whose it claims to be.
        key: KeyId,
    },
    /// Signatures over another document.
    #[error("these are signatures over another {role} {version} than the one that waits for them")]
    Other {
        /// The role.
        role: RoleName,
        /// The version.
        version: Version,
    },
    /// Fewer signatures than needed.
    #[error("{role} {version} has {have} of the {threshold} signatures that {by} asks for")]
    Threshold {
        /// The role.
        role: RoleName,
        /// The version.
        version: Version,
        /// Who asks for them.
        by: String,
        /// Different keys that signed.
        have: usize,
        /// How many have to.
        threshold: usize,
    },
    /// Larger than clients read.
    #[error("{role} metadata of {actual} bytes; clients read at most {limit}")]
    TooLarge {
        /// The role.
        role: RoleName,
        /// Bytes of the finished file.
        actual: usize,
        /// What clients read.
        limit: usize,
    },
}

/// Who has to sign, and who says so: a new root is signed for the old root and for itself (TUF specification 5.3.4), and targets whose keys
/// change with the next root are signed for both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Required {
    /// For people: "root 3".
    pub by: String,
    /// The keys, and how many of them.
    pub keys: RoleKeys,
}

/// How far one of the required thresholds is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Who asks for the signatures.
    pub by: String,
    /// Different keys that signed.
    pub have: usize,
    /// How many have to.
    pub threshold: usize,
    /// Keys that have not signed.
    pub missing: Vec<KeyId>,
}

impl Progress {
    /// Is the threshold reached?
    pub const fn is_reached(&self) -> bool {
        self.have >= self.threshold
    }
}

/// A document that waits for signatures. They come in any order.
#[derive(Clone, Debug)]
pub struct Ceremony {
    document: Document,
    canonical: Vec<u8>,
    required: Vec<Required>,
    signatures: BTreeMap<KeyId, Vec<u8>>,
}

/// A finished file: enough keys signed for everybody who asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Sealed {
    document: Document,
    bytes: Vec<u8>,
}

impl Ceremony {
    /// Opens the ceremony of a document.
    pub fn new(
        document: Document,
        required: Vec<Required>,
        now: Time,
    ) -> Result<Self, CeremonyError> {
        if document.expires() <= now {
            return Err(CeremonyError::Expired {
                role: document.role().clone(),
                expires: document.expires(),
                now,
            });
        }
        if required.is_empty() {
            return Err(CeremonyError::NoSigners(document.role().clone()));
        }
        let canonical = canonical::encode(&document.to_value())?;
        Ok(Self {
            document,
            canonical,
            required,
            signatures: BTreeMap::new(),
        })
    }

    /// What is signed.
    pub const fn document(&self) -> &Document {
        &self.document
    }

    /// The bytes that each key signs.
    pub fn to_be_signed(&self) -> &[u8] {
        &self.canonical
    }

    /// Whether this key has a part in it.
    pub fn asks(&self, key: &KeyId) -> bool {
        self.required.iter().any(|one| one.keys.key(key).is_some())
    }

    /// The ids under which a public key (its SPKI, DER) has a part in it. An old and a new root may know one key by two.
    pub fn ids_of(&self, spki: &[u8]) -> Vec<KeyId> {
        let mut ids: Vec<KeyId> = self
            .required
            .iter()
            .flat_map(|one| one.keys.keys())
            .filter(|(_, key)| key.public_key().spki_der() == spki)
            .map(|(id, _)| id.clone())
            .collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// Adds one key's signature (ASN.1 for ECDSA, 64 bytes for Ed25519); `false` when the key had signed already, whose first signature then
    /// stays.
    pub fn add(&mut self, key: &KeyId, signature: Vec<u8>) -> Result<bool, CeremonyError> {
        let (role, version) = (self.document.role().clone(), self.document.version());
        let known = self.required.iter().find_map(|one| one.keys.key(key));
        let Some(known) = known else {
            return Err(CeremonyError::Foreign {
                role,
                version,
                key: key.clone(),
                signers: self.signers(),
            });
        };
        if !known.verifies(&self.canonical, &signature) {
            return Err(CeremonyError::Wrong {
                role,
                version,
                key: key.clone(),
            });
        }
        if self.signatures.contains_key(key) {
            return Ok(false);
        }
        self.signatures.insert(key.clone(), signature);
        Ok(true)
    }

    /// Takes over the signatures that a copy of this document has got elsewhere, all or none; how many were new.
    pub fn merge(&mut self, copy: &Envelope) -> Result<usize, CeremonyError> {
        let other = canonical::encode(copy.unverified())?;
        if other != self.canonical {
            return Err(CeremonyError::Other {
                role: self.document.role().clone(),
                version: self.document.version(),
            });
        }
        let mut merged = self.clone();
        let mut new = 0;
        for (key, signature) in copy.signatures() {
            new += usize::from(merged.add(key, signature)?);
        }
        *self = merged;
        Ok(new)
    }

    /// How far it is, for everybody who asks for signatures.
    pub fn progress(&self) -> Vec<Progress> {
        self.required
            .iter()
            .map(|one| Progress {
                by: one.by.clone(),
                have: self.count(&one.keys),
                threshold: one.keys.threshold(),
                missing: one
                    .keys
                    .keys()
                    .filter(|(id, _)| !self.signatures.contains_key(id))
                    .map(|(id, _)| id.clone())
                    .collect(),
            })
            .collect()
    }

    /// Are all thresholds reached?
    pub fn is_complete(&self) -> bool {
        self.progress().iter().all(Progress::is_reached)
    }

    /// The keys that signed.
    pub fn signed_by(&self) -> impl Iterator<Item = &KeyId> {
        self.signatures.keys()
    }

    /// The file as far as it is, finished or not.
    pub fn to_text(&self) -> String {
        let signatures: Vec<Value> = self
            .signatures
            .iter()
            .map(|(key, signature)| json!({ "keyid": key.as_str(), "sig": hex::encode(signature) }))
            .collect();
        // Pretty, because people read these files; clients verify the canonical form of what they parse.
        format!(
            "{:#}\n",
            json!({ "signed": self.document.to_value(), "signatures": signatures })
        )
    }

    /// Closes the file if enough keys signed.
    pub fn seal(self) -> Result<Sealed, CeremonyError> {
        let (role, version) = (self.document.role().clone(), self.document.version());
        if let Some(short) = self.progress().into_iter().find(|one| !one.is_reached()) {
            return Err(CeremonyError::Threshold {
                role,
                version,
                by: short.by,
                have: short.have,
                threshold: short.threshold,
            });
        }
        let bytes = self.to_text().into_bytes();
        let limit = role.kind().size_max();
        if bytes.len() > limit {
            return Err(CeremonyError::TooLarge {
                role,
                actual: bytes.len(),
                limit,
            });
        }
        Ok(Sealed {
            document: self.document,
            bytes,
        })
    }

    fn count(&self, keys: &RoleKeys) -> usize {
        let signatures = self.signatures.iter();
        keys.count(
            &self.canonical,
            signatures.map(|(id, signature)| (id, signature.as_slice())),
        )
    }

    fn signers(&self) -> String {
        let mut ids: Vec<&str> = self
            .required
            .iter()
            .flat_map(|one| one.keys.keys().map(|(id, _)| id.as_str()))
            .collect();
        ids.sort_unstable();
        ids.dedup();
        ids.join(", ")
    }
}

impl Sealed {
    /// What was signed.
    pub const fn document(&self) -> &Document {
        &self.document
    }

    /// The file's content.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The file's name in the repository.
    pub fn file_name(&self) -> String {
        self.document.role().file_name(self.document.version())
    }

    /// Length and hash of the file.
    pub fn file(&self) -> TargetFile {
        TargetFile::of(&self.bytes)
    }
}
