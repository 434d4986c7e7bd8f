//! Rekor v1: what a client proposes, whether it may go in, the bytes that go in, and by what it can be found.
//!
//! Specification: sigstore/rekor `openapi.yaml` and the schemas of `pkg/types`. Every kind of Rekor 1.5.
//!
//! ```text
//! { "kind": .., "apiVersion": .., "spec": { .. } } --parse--> Proposed --admit--> Accepted { body, keys, attestation }
//! ```
//!
//! The bodies are byte for byte those of upstream: a leaf that was proved there is proved here. (Of an OpenPGP key with several user ids upstream
//! makes one of several bodies, by chance; here they keep their order.) In some things we are stricter on purpose. Members of an object that
//! stand there twice are refused. An intoto 0.0.2 proposal without payload is refused: upstream takes it, with a payload digest that nobody has
//! checked; and each signature in one is by the key beside it, where upstream only asks that every key has made one of them. A provenance file of several charts is refused: upstream takes the digest of one of them, by chance. And a key or signature of
//! an algorithm that is broken or that nobody can check here is refused, each with its name in the answer.

mod alpine;
mod cose;
mod envelope;
mod format;
mod hashedrekord;
mod helm;
mod jar;
mod minisign;
mod pgp;
mod rekord;
mod rfc3161;
mod rpm;
mod signer;
mod ssh;
mod tuf;

pub use format::Format;

use std::collections::HashSet;

use jiff::Timestamp;
use keys::{Algorithm, Digest};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// What a Rekor v1 log has taken at any time: its proposals of today, and hashes of SHA-256 under larger curves. A lookup takes them all.
const KNOWN_ALGORITHMS: [Algorithm; 9] = {
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
/// The most bytes of search keys that are kept with one entry, with one between two of them: as much as its place in a bundle has. That is some 900 digests
/// of SHA-256; a statement with more subjects is found by the first ones, and [`Accepted::left_out`] says how many are not among them.
pub const MAX_KEYS: usize = 65_535;
/// The longest search key: a SHA-512 with its name, or the name of a workflow.
const MAX_KEY: usize = 1024;

/// A kind of entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A signature over the digest of a file.
    HashedRekord,
    /// A DSSE envelope.
    Dsse,
    /// A DSSE envelope, kept beside the log as an attestation.
    Intoto,
    /// A signature over a file that is sent along, with keys of X.509, SSH, minisign or PGP.
    Rekord,
    /// A timestamp token.
    Rfc3161,
    /// A COSE_Sign1 message.
    Cose,
    /// TUF metadata with the root that it is signed under.
    Tuf,
    /// A signed JAR file.
    Jar,
    /// An Alpine package.
    Alpine,
    /// An RPM package.
    Rpm,
    /// The provenance file of a Helm chart.
    Helm,
}

/// What parses one kind in one version.
type Read = fn(&[u8]) -> Result<Proposed, ProposeError>;

/// Every kind in every version.
const TABLE: [(Kind, &str, Read); 12] = [
    (Kind::HashedRekord, "0.0.1", read::<hashedrekord::Spec>),
    (Kind::Dsse, "0.0.1", read::<envelope::DsseSpec>),
    (Kind::Intoto, "0.0.1", read::<envelope::Intoto1Spec>),
    (Kind::Intoto, "0.0.2", read::<envelope::Intoto2Spec>),
    (Kind::Rekord, "0.0.1", read::<rekord::Spec>),
    (Kind::Rfc3161, "0.0.1", read::<rfc3161::Spec>),
    (Kind::Cose, "0.0.1", read::<cose::Spec>),
    (Kind::Tuf, "0.0.1", read::<tuf::Spec>),
    (Kind::Jar, "0.0.1", read::<jar::Spec>),
    (Kind::Alpine, "0.0.1", read::<alpine::Spec>),
    (Kind::Rpm, "0.0.1", read::<rpm::Spec>),
    (Kind::Helm, "0.0.1", read::<helm::Spec>),
];

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 11] = [
        Self::HashedRekord,
        Self::Dsse,
        Self::Intoto,
        Self::Rekord,
        Self::Rfc3161,
        Self::Cose,
        Self::Tuf,
        Self::Jar,
        Self::Alpine,
        Self::Rpm,
        Self::Helm,
    ];

    /// As it stands in entries.
    pub const fn name(self) -> &'static str {
        match self {
            Self::HashedRekord => "hashedrekord",
            Self::Dsse => "dsse",
            Self::Intoto => "intoto",
            Self::Rekord => "rekord",
            Self::Rfc3161 => "rfc3161",
            Self::Cose => "cose",
            Self::Tuf => "tuf",
            Self::Jar => "jar",
            Self::Alpine => "alpine",
            Self::Rpm => "rpm",
            Self::Helm => "helm",
        }
    }

    /// The kind of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// What is taken.
#[derive(Debug, Clone, Copy)]
pub struct Rules<'a> {
    algorithms: &'a [Algorithm],
    now: Option<Timestamp>,
}

impl<'a> Rules<'a> {
    /// Of a new entry: the algorithms of hashedrekord entries, and the time, as metadata that has expired is not taken.
    pub const fn of_admission(algorithms: &'a [Algorithm], now: Timestamp) -> Self {
        Self {
            algorithms,
            now: Some(now),
        }
    }

    /// Of an entry that is looked for: whatever could have been taken at any time.
    pub const fn of_lookup() -> Self {
        Self {
            algorithms: &KNOWN_ALGORITHMS,
            now: None,
        }
    }
}

/// A kind's proposal, read and not believed.
trait Admit {
    /// Checks the signatures and makes the bytes.
    fn admit(self, rules: &Rules<'_>) -> Result<Accepted, ProposeError>;
}

type Admission = dyn FnOnce(&Rules<'_>) -> Result<Accepted, ProposeError> + Send;

/// An entry that somebody wants in a Rekor v1 log. Read, not believed.
pub struct Proposed(Box<Admission>);

/// An entry whose signatures were checked. Only [`Proposed::admit`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    kind: Kind,
    version: &'static str,
    body: Vec<u8>,
    keys: Vec<String>,
    left_out: usize,
    attestation: Option<Attestation>,
}

/// What an intoto or cose entry says, which the log keeps beside the entry and not in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attestation {
    /// SHA-256 of the payload; it is in the entry.
    pub digest: Digest,
    /// The payload of an envelope, or a whole COSE message.
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
    /// The kind is known, and the version is not or something in it does not hold.
    #[error("error processing entry: {0}")]
    Invalid(String),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "a proposed entry")]
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

    fn sha256(message: &[u8]) -> Self {
        Self::of(&Digest::of(keys::HashAlgorithm::Sha256, message))
    }

    fn key(&self) -> String {
        format!("{}:{}", self.algorithm, self.value)
    }
}

impl Proposed {
    /// Reads a proposal of one of the kinds that the log takes.
    pub fn parse(bytes: &[u8], taken: &[Kind]) -> Result<Self, ProposeError> {
        let head: Head = parse(bytes)?;
        let name = head.kind.ok_or_else(|| required("kind"))?;
        let kind = Kind::from_name(&name).filter(|kind| taken.contains(kind));
        let kind = kind.ok_or_else(|| {
            let names: Vec<_> = taken.iter().map(|kind| kind.name()).collect();
            ProposeError::Schema {
                code: 606,
                message: format!(
                    "invalid kind value: {name:?}: this log takes {}",
                    names.join(", ")
                ),
            }
        })?;
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
        let read = TABLE
            .iter()
            .find(|(known, of, _)| *known == kind && *of == version);
        match read {
            Some((_, _, read)) => read(bytes),
            None => Err(ProposeError::Invalid(format!(
                "entry kind '{name}' has no version '{version}'"
            ))),
        }
    }

    /// Checks the signatures and makes the bytes. CPU work of some hundred microseconds, of milliseconds where a package is in it: not for an
    /// async worker.
    ///
    /// The algorithms are those of hashedrekord entries; what signs in other kinds follows from their formats, as upstream.
    pub fn admit(self, rules: &Rules<'_>) -> Result<Accepted, ProposeError> {
        self.0(rules)
    }
}

impl std::fmt::Debug for Proposed {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Proposed")
    }
}

fn read<T: Admit + DeserializeOwned + Send + 'static>(
    bytes: &[u8],
) -> Result<Proposed, ProposeError> {
    let outer: Outer<T> =
        wire::parse(bytes).map_err(|error| ProposeError::Invalid(error.to_string()))?;
    Ok(Proposed(Box::new(|rules| outer.spec.admit(rules))))
}

impl Accepted {
    fn new<T: Serialize>(
        kind: Kind,
        version: &'static str,
        spec: T,
        keys: Vec<String>,
    ) -> Result<Self, ProposeError> {
        let entry = Entry {
            api_version: version,
            kind: kind.name(),
            spec,
        };
        let body = entry::canonical_json(&entry)
            .ok_or_else(|| ProposeError::Invalid("the entry has no canonical form".to_owned()))?;
        let (mut kept, mut left_out, mut length) = (Vec::new(), 0_usize, 0_usize);
        let mut seen = HashSet::new();
        for key in keys {
            let key = key.to_lowercase();
            if key.is_empty() || !seen.insert(key.clone()) {
                continue;
            }
            let separator = usize::from(!kept.is_empty());
            let with = length.saturating_add(separator).saturating_add(key.len());
            if key.len() <= MAX_KEY && !key.contains(char::is_control) && with <= MAX_KEYS {
                length = with;
                kept.push(key);
            } else {
                left_out = left_out.saturating_add(1);
            }
        }
        Ok(Self {
            kind,
            version,
            body,
            keys: kept,
            left_out,
            attestation: None,
        })
    }

    fn with_attestation(mut self, digest: Digest, payload: Vec<u8>) -> Self {
        self.attestation = Some(Attestation { digest, payload });
        self
    }

    /// What it is.
    pub const fn kind(&self) -> Kind {
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

    /// What the entry is found by besides [`entry::search_keys`] of its body, in lower case: digests that follow from what the log
    /// does not keep, and what stands in keys and packages of kinds that no verifier reads. So they must be stored with the entry.
    pub fn keys(&self) -> &[String] {
        &self.keys
    }

    /// How many more keys the entry would be found by if there were room for them: those beyond [`MAX_KEYS`], and those that are too long or have
    /// control characters in them.
    pub const fn left_out(&self) -> usize {
        self.left_out
    }

    /// The attestation of an intoto or cose entry.
    pub const fn attestation(&self) -> Option<&Attestation> {
        self.attestation.as_ref()
    }
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ProposeError> {
    wire::parse(bytes).map_err(|error| ProposeError::Malformed(error.to_string()))
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
