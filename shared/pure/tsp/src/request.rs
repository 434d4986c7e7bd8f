//! What a client asks for.

use const_oid::ObjectIdentifier;
use der::{Any, Decode, Encode};
use keys::{Digest, HashAlgorithm};
use pki::tlv;
use serde::Deserialize;
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
/// The longest nonce: RFC 3161 names 64 bits as enough.
const MAX_NONCE: usize = 32;

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

/// Why a request is refused. The texts are those of Sigstore's authority.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RequestError {
    /// Not the structure.
    #[error("Error parsing timestamp request: {0}")]
    Malformed(String),
    /// SHA-1, MD5 and the like.
    #[error("Weak hash algorithm in timestamp request")]
    WeakHash,
    /// A hash algorithm that is unknown here.
    #[error("Unsupported hash algorithm in timestamp request: {0}")]
    UnknownHash(String),
    /// A digest of another length than its algorithm's.
    #[error("Message digest has incorrect length for specified algorithm")]
    DigestLength,
    /// A nonce that is too long or negative.
    #[error("Invalid nonce in timestamp request")]
    Nonce,
    /// An object identifier beyond all measure.
    #[error("OID should be comprised of at most 128 components")]
    Oid,
    /// Any extension at all.
    #[error("unaccepted extension: {0}")]
    Extension(String),
}

impl From<der::Error> for RequestError {
    fn from(error: der::Error) -> Self {
        Self::Malformed(error.to_string())
    }
}

const SHA1: &str = "1.3.14.3.2.26";
const MD5: &str = "1.2.840.113549.2.5";

impl Request {
    /// Reads a DER `TimeStampReq`.
    pub fn parse_der(der: &[u8]) -> Result<Self, RequestError> {
        if der.len() > MAX_REQUEST {
            return Err(RequestError::Malformed(format!(
                "{} bytes, at most {MAX_REQUEST}",
                der.len()
            )));
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

    /// Reads the JSON form of Sigstore's authority.
    pub fn parse_json(json: &[u8]) -> Result<Self, RequestError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Json {
            artifact_hash: Bytes,
            hash_algorithm: String,
            #[serde(default)]
            certificates: bool,
            nonce: Option<u64>,
            #[serde(rename = "tsaPolicyOID")]
            policy: Option<String>,
        }
        if json.len() > MAX_JSON {
            return Err(RequestError::Malformed(format!(
                "{} bytes, at most {MAX_JSON}",
                json.len()
            )));
        }
        let json: Json = serde_json::from_slice(json)
            .map_err(|error| RequestError::Malformed(error.to_string()))?;
        let name = json.hash_algorithm.to_ascii_lowercase();
        let hash = match HashAlgorithm::from_name(&name) {
            Some(hash) => hash,
            None if ["sha1", "md5"].contains(&name.as_str()) => return Err(RequestError::WeakHash),
            None => return Err(RequestError::UnknownHash(name.chars().take(32).collect())),
        };
        let policy = match json.policy.filter(|policy| !policy.is_empty()) {
            Some(policy) if policy.split('.').count() > 128 => return Err(RequestError::Oid),
            Some(policy) => Some(
                Oid::new(&policy)
                    .map_err(|_| RequestError::Malformed("tsaPolicyOID is no OID".into()))?,
            ),
            None => None,
        };
        let nonce = json
            .nonce
            .map(|nonce| {
                Ok::<_, der::Error>(tlv::contents(tag::INTEGER, &nonce.to_der()?)?.to_vec())
            })
            .transpose()?;
        Ok(Self {
            imprint: Digest::new(hash, &json.artifact_hash.0)
                .map_err(|_| RequestError::DigestLength)?,
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
        return Err(if [SHA1, MD5].contains(&name.as_str()) {
            RequestError::WeakHash
        } else {
            RequestError::UnknownHash(name)
        });
    };
    Digest::new(hash, tlv::contents(tag::OCTET_STRING, digest)?)
        .map_err(|_| RequestError::DigestLength)
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
