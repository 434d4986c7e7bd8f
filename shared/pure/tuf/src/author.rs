//! Writing metadata: every check in [`prepare`], the signatures from outside, the finished file from [`Prepared::seal`].

use jiff::Timestamp as Time;
use serde_json::json;
use thiserror::Error;

use crate::canonical::{self, CanonicalError};
use crate::envelope::Signature;
use crate::key::{KeyId, RoleKeys};
use crate::metadata::{FileMeta, Metadata, Role, TargetFile, Version};

/// The metadata must not be published.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AuthorError {
    /// It would be expired when it is signed.
    #[error("{role} metadata would expire at {expires}, and it is {now}")]
    Expired {
        /// The role.
        role: Role,
        /// Its end.
        expires: Time,
        /// The time of signing.
        now: Time,
    },
    /// It would not be signed by anyone.
    #[error("no signers were named")]
    NoSigners,
    /// A number that clients read differently.
    #[error("no canonical form")]
    Canonical(#[from] CanonicalError),
    /// A signature by a key that none of the roles has.
    #[error("the key {0} does not belong to the role")]
    UnknownKey(KeyId),
    /// A signature that does not verify.
    #[error("the signature of the key {0} does not verify")]
    WrongSignature(KeyId),
    /// Fewer signatures than needed.
    #[error("{valid} of the {threshold} signatures that are needed")]
    Threshold {
        /// Different keys that signed.
        valid: usize,
        /// How many have to.
        threshold: usize,
    },
    /// Larger than clients read.
    #[error("{role} metadata of {actual} bytes; clients read at most {limit}")]
    TooLarge {
        /// The role.
        role: Role,
        /// Bytes of the finished file.
        actual: usize,
        /// What clients read.
        limit: usize,
    },
}

/// Metadata that was checked and waits for its signatures.
#[derive(Clone, Debug)]
pub struct Prepared {
    role: Role,
    version: Version,
    signed: serde_json::Value,
    canonical: Vec<u8>,
    signers: Vec<RoleKeys>,
    signatures: Vec<(KeyId, Vec<u8>)>,
}

/// A finished file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    role: Role,
    version: Version,
    bytes: Vec<u8>,
}

/// Checks `metadata` and makes the bytes to sign. Each of `signers` has to reach its own threshold: a new root is signed by the
/// keys of the old root and by its own (TUF specification 5.3.4), everything else by one role's keys.
pub fn prepare<M: Metadata>(
    metadata: &M,
    signers: &[&RoleKeys],
    now: Time,
) -> Result<Prepared, AuthorError> {
    if metadata.expires() <= now {
        return Err(AuthorError::Expired {
            role: M::ROLE,
            expires: metadata.expires(),
            now,
        });
    }
    if signers.is_empty() {
        return Err(AuthorError::NoSigners);
    }
    let signed = metadata.to_json();
    let canonical = canonical::encode(&signed)?;
    Ok(Prepared {
        role: M::ROLE,
        version: metadata.version(),
        signed,
        canonical,
        signers: signers.iter().map(|role| (*role).clone()).collect(),
        signatures: Vec::new(),
    })
}

impl Prepared {
    /// What each key signs.
    pub fn to_be_signed(&self) -> &[u8] {
        &self.canonical
    }

    /// Adds one key's signature (ASN.1 for ECDSA, 64 bytes for Ed25519). A second one by the same key takes the first one's place.
    pub fn sign(&mut self, key: &KeyId, signature: Vec<u8>) -> Result<(), AuthorError> {
        let known = self
            .signers
            .iter()
            .find_map(|role| role.key(key))
            .ok_or_else(|| AuthorError::UnknownKey(key.clone()))?;
        if !known.verifies(&self.canonical, &signature) {
            return Err(AuthorError::WrongSignature(key.clone()));
        }
        self.signatures.retain(|(id, _)| id != key);
        self.signatures.push((key.clone(), signature));
        Ok(())
    }

    /// Closes the file if enough keys signed.
    pub fn seal(self) -> Result<Signed, AuthorError> {
        for role in &self.signers {
            let valid = role.count(
                &self.canonical,
                self.signatures
                    .iter()
                    .map(|(id, signature)| (id, signature.as_slice())),
            );
            if valid < role.threshold() {
                return Err(AuthorError::Threshold {
                    valid,
                    threshold: role.threshold(),
                });
            }
        }
        let signatures: Vec<Signature> = self
            .signatures
            .into_iter()
            .map(|(keyid, signature)| Signature {
                keyid,
                sig: hex::encode(signature),
            })
            .collect();
        // Pretty, because people read these files; clients verify the canonical form of what they parse.
        let text = format!(
            "{:#}\n",
            json!({ "signed": self.signed, "signatures": signatures })
        );
        let limit = self.role.size_max();
        if text.len() > limit {
            return Err(AuthorError::TooLarge {
                role: self.role,
                actual: text.len(),
                limit,
            });
        }
        Ok(Signed {
            role: self.role,
            version: self.version,
            bytes: text.into_bytes(),
        })
    }
}

impl Signed {
    /// The file's content.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Which role.
    pub const fn role(&self) -> Role {
        self.role
    }

    /// Which version.
    pub const fn version(&self) -> Version {
        self.version
    }

    /// The file's name in the repository.
    pub fn file_name(&self) -> String {
        self.role.file_name(self.version)
    }

    /// How another role vouches for this file.
    pub fn meta(&self) -> FileMeta {
        FileMeta {
            version: self.version,
            file: TargetFile::of(&self.bytes),
        }
    }
}
