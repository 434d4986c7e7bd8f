//! Rekor v1: what a client proposes, whether it may go in, the bytes that go in, and by what it can be found.
//!
//! Specification: sigstore/rekor `openapi.yaml` and the schemas of `pkg/types`. Kinds: hashedrekord 0.0.1, dsse 0.0.1, intoto 0.0.1 and
//! 0.0.2: all that the clients of today send.
//!
//! ```text
//! { "kind": .., "apiVersion": .., "spec": { .. } } --parse--> Proposed --admit--> Accepted { body, keys, attestation }
//! ```
//!
//! Two things differ from upstream on purpose. Members of an object that stand there twice are refused. An intoto 0.0.2
//! proposal without payload is refused: upstream takes it, with a payload digest that nobody has checked.

mod envelope;
mod hashedrekord;
mod signer;

pub use signer::public_key_key;

use keys::{Algorithm, Digest};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::propose::canonical_json;

/// What a Rekor v1 log has taken at any time: its proposals of today, and hashes of SHA-256 under larger curves. A lookup takes them all.
pub const KNOWN_ALGORITHMS: [Algorithm; 9] = {
    use Algorithm as A;
    [
        A::RsaPkcs1Sha256_2048,
        A::RsaPkcs1Sha256_3072,
        A::RsaPkcs1Sha256_4096,
        A::EcdsaP256Sha256,
        A::EcdsaP384Sha384,
        A::EcdsaP521Sha512,
        A::Ed25519Ph,
        A::EcdsaP384Sha256,
        A::EcdsaP521Sha256,
    ]
};
/// The most search keys of one entry; a statement with more subjects is found by the first ones.
pub const MAX_KEYS: usize = 1024;
/// The longest search key: a SHA-512 with its name, or the name of a workflow.
const MAX_KEY: usize = 1024;

/// An entry that somebody wants in a Rekor v1 log. Read, not believed.
#[derive(Debug, Clone)]
pub struct Proposed(Spec);

#[derive(Debug, Clone)]
enum Spec {
    HashedRekord(hashedrekord::Spec),
    Dsse(envelope::DsseSpec),
    Intoto1(envelope::Intoto1Spec),
    Intoto2(envelope::Intoto2Spec),
}

/// An entry whose signatures were checked. Only [`Proposed::admit`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    kind: &'static str,
    version: &'static str,
    body: Vec<u8>,
    keys: Vec<String>,
    attestation: Option<Attestation>,
}

/// What an intoto entry says, which the log keeps beside the entry and not in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attestation {
    /// SHA-256 of the payload; it is in the entry.
    pub digest: Digest,
    /// The payload.
    pub payload: Vec<u8>,
}

/// Why a proposal is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ProposeError {
    /// Not JSON, or a member of another type.
    #[error("parsing proposedEntry body from \"\" failed, because {0}")]
    Malformed(String),
    /// The outer members break the schema. The code is that of go-openapi, which upstream answers with: 602 a required member is
    /// missing, 605 a text does not match its pattern, 606 a value is not one of those allowed.
    #[error("{message}")]
    Schema {
        /// 602, 605 or 606.
        code: u16,
        /// Says which member.
        message: String,
    },
    /// The kind is known and the version is not.
    #[error("error processing entry: {0}")]
    Invalid(String),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    kind: Option<String>,
    api_version: Option<String>,
    #[serde(default)]
    spec: Present,
}

/// Whether a member is there, whatever it is.
#[derive(Default)]
struct Present(bool);

impl<'de> Deserialize<'de> for Present {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Option::<serde::de::IgnoredAny>::deserialize(deserializer)
            .map(|member| Self(member.is_some()))
    }
}

#[derive(Deserialize)]
struct Outer<T> {
    spec: T,
}

/// The canonical entry.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Entry<T> {
    api_version: &'static str,
    kind: &'static str,
    spec: T,
}

/// A digest as v1 writes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Hash {
    algorithm: String,
    /// Hexadecimal, in the case in which it was sent.
    value: String,
}

impl Hash {
    fn of(digest: &Digest) -> Self {
        Self {
            algorithm: digest.algorithm().name().to_owned(),
            value: digest.to_hex(),
        }
    }

    fn key(&self) -> String {
        format!("{}:{}", self.algorithm, self.value)
    }
}

impl Proposed {
    /// Reads a proposal.
    pub fn parse(bytes: &[u8]) -> Result<Self, ProposeError> {
        let head: Head = parse(bytes)?;
        let kind = head.kind.ok_or_else(|| required("kind"))?;
        if !matches!(kind.as_str(), "hashedrekord" | "dsse" | "intoto") {
            return Err(ProposeError::Schema {
                code: 606,
                message: format!(
                    "invalid kind value: {kind:?}: this log takes hashedrekord, dsse and intoto"
                ),
            });
        }
        let version = head.api_version.ok_or_else(|| required("apiVersion"))?;
        if !is_version(&version) {
            return Err(ProposeError::Schema {
                code: 605,
                message: "proposedEntry.apiVersion in body should match a semantic version"
                    .to_owned(),
            });
        }
        if !head.spec.0 {
            return Err(required("spec"));
        }
        let spec = match (kind.as_str(), version.as_str()) {
            ("hashedrekord", "0.0.1") => Spec::HashedRekord(spec(bytes)?),
            ("dsse", "0.0.1") => Spec::Dsse(spec(bytes)?),
            ("intoto", "0.0.1") => Spec::Intoto1(spec(bytes)?),
            ("intoto", "0.0.2") => Spec::Intoto2(spec(bytes)?),
            _ => {
                return Err(ProposeError::Invalid(format!(
                    "entry kind '{kind}' has no version '{version}'"
                )));
            }
        };
        Ok(Self(spec))
    }

    /// Checks the signatures and makes the bytes. CPU work of some hundred microseconds: not for an async worker.
    ///
    /// The algorithms are those of hashedrekord entries; what signs an envelope is not restricted, as upstream.
    pub fn admit(self, allowed: &[Algorithm]) -> Result<Accepted, ProposeError> {
        match self.0 {
            Spec::HashedRekord(spec) => spec.admit(allowed),
            Spec::Dsse(spec) => spec.admit(),
            Spec::Intoto1(spec) => spec.admit(),
            Spec::Intoto2(spec) => spec.admit(),
        }
    }
}

impl Accepted {
    fn new<T: Serialize>(
        kind: &'static str,
        version: &'static str,
        spec: T,
        keys: Vec<String>,
    ) -> Result<Self, ProposeError> {
        let entry = Entry {
            api_version: version,
            kind,
            spec,
        };
        let body = canonical_json(&entry)
            .ok_or_else(|| ProposeError::Invalid("the entry has no canonical form".to_owned()))?;
        let mut unique = Vec::new();
        for key in keys {
            let key = key.to_lowercase();
            let plain = !key.is_empty() && key.len() <= MAX_KEY && !key.contains(char::is_control);
            if plain && unique.len() < MAX_KEYS && !unique.contains(&key) {
                unique.push(key);
            }
        }
        Ok(Self {
            kind,
            version,
            body,
            keys: unique,
            attestation: None,
        })
    }

    /// `hashedrekord`, `dsse` or `intoto`.
    pub const fn kind(&self) -> &'static str {
        self.kind
    }

    /// `0.0.1` or `0.0.2`.
    pub const fn version(&self) -> &'static str {
        self.version
    }

    /// The leaf: RFC 8785 canonical JSON.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// What the entry is found by besides [`crate::search_keys`] of its body, in lower case: digests that follow from what the log
    /// does not keep. So they must be stored with the entry.
    pub fn keys(&self) -> &[String] {
        &self.keys
    }

    /// The attestation of an intoto entry.
    pub const fn attestation(&self) -> Option<&Attestation> {
        self.attestation.as_ref()
    }
}

fn parse<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, ProposeError> {
    wire::parse(bytes).map_err(|error| ProposeError::Malformed(error.to_string()))
}

fn spec<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, ProposeError> {
    let outer: Outer<T> =
        wire::parse(bytes).map_err(|error| ProposeError::Invalid(error.to_string()))?;
    Ok(outer.spec)
}

fn required(member: &str) -> ProposeError {
    ProposeError::Schema {
        code: 602,
        message: format!("proposedEntry.{member} in body is required"),
    }
}

fn invalid(why: impl std::fmt::Display) -> ProposeError {
    ProposeError::Invalid(why.to_string())
}

/// `<number>.<number>.<number>`, with nothing behind it: no version of any kind has more.
fn is_version(text: &str) -> bool {
    let mut parts = text.split('.');
    let number = |part: Option<&str>| {
        part.is_some_and(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
    };
    number(parts.next()) && number(parts.next()) && number(parts.next()) && parts.next().is_none()
}
