//! What a client asks for.

use const_oid::ObjectIdentifier;
use der::{Any, Decode, Encode};
use keys::{Digest, HashAlgorithm};
use pki::tlv;
use serde::Deserialize;
use serde_json::value::RawValue;
use spki::AlgorithmIdentifierOwned;
use thiserror::Error;
use wire::encoding::Bytes;

use crate::{Malformed, hash_of, hash_oid, tag};

/// With the default length, said once.
type Oid = ObjectIdentifier;

/// The largest DER request that is read.
pub const MAX_REQUEST: usize = 16 * 1024;
/// The largest JSON request that is read: the limit of Sigstore's authority.
pub const MAX_JSON: usize = 1024;
/// The longest nonce, in bytes of the number. RFC 3161 2.4.1 names 64 bits; clients send up to 160.
pub const MAX_NONCE: usize = 128;
/// As many decimal digits as a nonce of that length can have.
const MAX_NONCE_DIGITS: usize = 308;

/// A request for a timestamp.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// What is to be stamped.
    pub imprint: Digest,
    /// Under which policy; none for the authority's own.
    pub policy: Option<Oid>,
    /// Echoed in the token: the contents octets of a non-negative INTEGER.
    pub nonce: Option<Vec<u8>>,
    /// Should the token bring the authority's certificate?
    pub certificates: bool,
}

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RequestError {
    /// No bytes at all.
    #[error("the request has no body")]
    Empty,
    /// More bytes than any request has.
    #[error("the request has {found} bytes, at most {most} are read")]
    TooLarge {
        /// Its length.
        found: usize,
        /// The limit of its form.
        most: usize,
    },
    /// Not the structure.
    #[error("the request cannot be read: {0}")]
    Malformed(String),
    /// SHA-1.
    #[error("SHA-1 is no longer accepted: take sha256, sha384 or sha512")]
    WeakHash,
    /// A hash algorithm that is unknown here.
    #[error("the hash algorithm {0:?} is not known: take sha256, sha384 or sha512")]
    UnknownHash(String),
    /// A digest of another length than its algorithm's.
    #[error("the digest has {found} bytes, {} has {}", algorithm.name(), algorithm.output_len())]
    DigestLength {
        /// The algorithm that the request names.
        algorithm: HashAlgorithm,
        /// The length of the digest in it.
        found: usize,
    },
    /// A nonce that is too long or negative.
    #[error("the nonce must be a number from 0, of at most {MAX_NONCE} bytes")]
    Nonce,
    /// An object identifier beyond all measure, or none at all.
    #[error("the policy is no object identifier of usual length")]
    Oid,
    /// Any extension at all.
    #[error("the extension {0} is not known, and none is")]
    Extension(String),
}

impl From<der::Error> for RequestError {
    fn from(error: der::Error) -> Self {
        Self::Malformed(error.to_string())
    }
}

const SHA1: &str = "1.3.14.3.2.26";

impl Request {
    /// Reads a DER `TimeStampReq`.
    pub fn parse_der(der: &[u8]) -> Result<Self, RequestError> {
        if der.is_empty() {
            return Err(RequestError::Empty);
        }
        if der.len() > MAX_REQUEST {
            return Err(RequestError::TooLarge {
                found: der.len(),
                most: MAX_REQUEST,
            });
        }
        let mut members = tlv::members(tlv::contents(tag::SEQUENCE, der)?)?
            .into_iter()
            .peekable();
        if members.next() != Some(&[tag::INTEGER, 1, 1]) {
            return Err(RequestError::Malformed("version is not 1".into()));
        }
        let imprint = imprint(
            members
                .next()
                .ok_or_else(|| RequestError::Malformed("no messageImprint".into()))?,
        )?;
        let mut request = Self {
            imprint,
            policy: None,
            nonce: None,
            certificates: false,
        };
        if let Some(policy) = members.next_if(|member| member.first() == Some(&tag::OID)) {
            request.policy = Some(Oid::from_der(policy).map_err(|_| RequestError::Oid)?);
        }
        if let Some(nonce) = members.next_if(|member| member.first() == Some(&tag::INTEGER)) {
            let contents = tlv::contents(tag::INTEGER, nonce)?;
            request.nonce = Some(check_nonce(contents)?.to_vec());
        }
        if let Some(flag) = members.next_if(|member| member.first() == Some(&tag::BOOLEAN)) {
            request.certificates = bool::from_der(flag)?;
        }
        if let Some(extensions) = members.next_if(|member| member.first() == Some(&tag::CONTEXT_0))
        {
            let first = tlv::members(tlv::contents(tag::CONTEXT_0, extensions)?)?
                .first()
                .copied()
                .unwrap_or_default();
            let id = tlv::contents(tag::SEQUENCE, first)
                .and_then(tlv::members)
                .ok()
                .and_then(|parts| Oid::from_der(parts.first()?).ok());
            return Err(RequestError::Extension(
                id.map_or_else(|| "unreadable".into(), |id| id.to_string()),
            ));
        }
        match members.next() {
            None => Ok(request),
            Some(_) => Err(RequestError::Malformed(
                "members that do not belong there".into(),
            )),
        }
    }

    /// Reads the JSON form of Sigstore's authority. Members that are missing are what Go has for them.
    pub fn parse_json(json: &[u8]) -> Result<Self, RequestError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Json {
            #[serde(default)]
            artifact_hash: Option<Bytes>,
            #[serde(default)]
            hash_algorithm: String,
            #[serde(default)]
            certificates: bool,
            /// Of any length, so not a number of serde's; and never read before the whole is known to be small.
            nonce: Option<Box<RawValue>>,
            #[serde(rename = "tsaPolicyOID")]
            policy: Option<String>,
        }
        if json.is_empty() {
            return Err(RequestError::Empty);
        }
        if json.len() > MAX_JSON {
            return Err(RequestError::TooLarge {
                found: json.len(),
                most: MAX_JSON,
            });
        }
        let json: Json =
            wire::parse(json).map_err(|error| RequestError::Malformed(error.to_string()))?;
        let name = json.hash_algorithm.to_ascii_lowercase();
        let hash = match HashAlgorithm::from_name(&name) {
            Some(hash) => hash,
            None if name == "sha1" => return Err(RequestError::WeakHash),
            None => return Err(RequestError::UnknownHash(name.chars().take(32).collect())),
        };
        let policy = json.policy.filter(|policy| !policy.is_empty());
        let policy = policy
            .map(|policy| Oid::new(&policy).map_err(|_| RequestError::Oid))
            .transpose()?;
        let nonce = json.nonce.map(|nonce| decimal(nonce.get())).transpose()?;
        let digest = json.artifact_hash.map(|bytes| bytes.0).unwrap_or_default();
        Ok(Self {
            imprint: digest_of(hash, &digest)?,
            policy,
            nonce,
            certificates: json.certificates,
        })
    }

    /// Writes a DER `TimeStampReq`.
    pub fn to_der(&self) -> Result<Vec<u8>, der::Error> {
        let mut body = vec![tag::INTEGER, 1, 1];
        body.extend(imprint_to_der(&self.imprint)?);
        if let Some(policy) = self.policy {
            body.extend(policy.to_der()?);
        }
        if let Some(nonce) = &self.nonce {
            body.extend(tlv::wrap(tag::INTEGER, nonce)?);
        }
        if self.certificates {
            body.extend(true.to_der()?);
        }
        tlv::wrap(tag::SEQUENCE, &body)
    }
}

fn digest_of(algorithm: HashAlgorithm, bytes: &[u8]) -> Result<Digest, RequestError> {
    Digest::new(algorithm, bytes).map_err(|_| RequestError::DigestLength {
        algorithm,
        found: bytes.len(),
    })
}

/// The contents octets of the INTEGER that a decimal number is.
fn decimal(text: &str) -> Result<Vec<u8>, RequestError> {
    // JSON has seen to it that this is not empty and has no zero before another digit. The work grows with the square of the length.
    if text.len() > MAX_NONCE_DIGITS || !text.bytes().all(|digit| digit.is_ascii_digit()) {
        return Err(RequestError::Nonce);
    }
    let mut number = vec![0_u8];
    for digit in text.bytes() {
        let mut carry = u16::from(digit.saturating_sub(b'0'));
        for octet in number.iter_mut().rev() {
            let [high, low] = u16::from(*octet)
                .saturating_mul(10)
                .saturating_add(carry)
                .to_be_bytes();
            *octet = low;
            carry = u16::from(high);
        }
        if carry > 0 {
            number.insert(0, carry.to_be_bytes()[1]);
        }
    }
    if number.first().is_some_and(|first| *first >= 0x80) {
        number.insert(0, 0);
    }
    check_nonce(&number).map(<[u8]>::to_vec)
}

fn check_nonce(contents: &[u8]) -> Result<&[u8], RequestError> {
    // DER: the shortest form; a first byte from 0x80 on means a negative number.
    let negative = contents.first().is_none_or(|first| *first >= 0x80);
    let padded = matches!(contents, [0, second, ..] if *second < 0x80);
    if negative || padded || contents.len() > MAX_NONCE {
        Err(RequestError::Nonce)
    } else {
        Ok(contents)
    }
}

fn imprint(der: &[u8]) -> Result<Digest, RequestError> {
    let parts = tlv::members(tlv::contents(tag::SEQUENCE, der)?)?;
    let [algorithm, digest] = parts.as_slice() else {
        return Err(RequestError::Malformed("messageImprint".into()));
    };
    let AlgorithmIdentifierOwned { oid, parameters } = Decode::from_der(algorithm)?;
    // RFC 5754 2: NULL or none. With others the token's imprint would not be the one that was asked for.
    if parameters.is_some_and(|parameters| parameters != Any::null()) {
        return Err(RequestError::Malformed(
            "messageImprint: parameters of a hash algorithm".into(),
        ));
    }
    let Some(hash) = hash_of(oid) else {
        let name = oid.to_string();
        return Err(if name == SHA1 {
            RequestError::WeakHash
        } else {
            RequestError::UnknownHash(name)
        });
    };
    digest_of(hash, tlv::contents(tag::OCTET_STRING, digest)?)
}

/// A `MessageImprint`; the algorithm's parameters are NULL, as Sigstore's authority writes them.
pub(crate) fn imprint_to_der(imprint: &Digest) -> Result<Vec<u8>, der::Error> {
    let mut body = algorithm_to_der(hash_oid(imprint.algorithm()), true)?;
    body.extend(tlv::wrap(tag::OCTET_STRING, imprint.bytes())?);
    tlv::wrap(tag::SEQUENCE, &body)
}

/// An `AlgorithmIdentifier` with NULL parameters or none.
pub(crate) fn algorithm_to_der(oid: Oid, null: bool) -> Result<Vec<u8>, der::Error> {
    let mut body = oid.to_der()?;
    if null {
        body.extend([tag::NULL, 0]);
    }
    tlv::wrap(tag::SEQUENCE, &body)
}

/// The digest of a `MessageImprint` that somebody else wrote.
pub(crate) fn read_imprint(der: &[u8]) -> Result<Digest, Malformed> {
    imprint(der).map_err(|_| Malformed("message imprint (or not SHA-2)"))
}
