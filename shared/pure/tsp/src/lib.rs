//! RFC 3161 timestamps: requests, tokens made, tokens verified.
//!
//! ```text
//! TimeStampResp { status, token }     token = CMS SignedData (RFC 5652) over TSTInfo, one SignerInfo with signed attributes
//! ```
//!
//! A token is verified against one authority of a trusted root: the signer must be that authority's own leaf, whatever certificates the
//! token brings along. SHA-2 only.

mod request;
mod response;
mod verify;

use const_oid::ObjectIdentifier as Oid;
use keys::HashAlgorithm;
use thiserror::Error;

pub use request::{MAX_JSON, MAX_NONCE, MAX_REQUEST, Request, RequestError};
pub use response::{Authority, Prepared, Rejection, Resolution, Stated, prepare, rejection};
pub use verify::{TspError, VerifiedTimestamp, verify, verify_answer, verify_embedded};

/// The policy under which Sigstore's authority signs.
pub const DEFAULT_POLICY: Oid = Oid::new_unwrap("1.3.6.1.4.1.57264.2");
/// id-ct-TSTInfo.
const TST_INFO: Oid = Oid::new_unwrap("1.2.840.113549.1.9.16.1.4");
/// id-signedData.
const SIGNED_DATA: Oid = Oid::new_unwrap("1.2.840.113549.1.7.2");
/// Attributes: contentType, messageDigest, signingTime, signingCertificate, signingCertificateV2.
const CONTENT_TYPE: Oid = Oid::new_unwrap("1.2.840.113549.1.9.3");
const MESSAGE_DIGEST: Oid = Oid::new_unwrap("1.2.840.113549.1.9.4");
const SIGNING_TIME: Oid = Oid::new_unwrap("1.2.840.113549.1.9.5");
const SIGNING_CERTIFICATE: Oid = Oid::new_unwrap("1.2.840.113549.1.9.16.2.12");
const SIGNING_CERTIFICATE_V2: Oid = Oid::new_unwrap("1.2.840.113549.1.9.16.2.47");
/// rsaEncryption.
const RSA_ENCRYPTION: Oid = Oid::new_unwrap("1.2.840.113549.1.1.1");
const RSA_SHA384: Oid = Oid::new_unwrap("1.2.840.113549.1.1.12");
const RSA_SHA512: Oid = Oid::new_unwrap("1.2.840.113549.1.1.13");
const EC_PUBLIC_KEY: Oid = Oid::new_unwrap("1.2.840.10045.2.1");

/// Identifier octets of DER.
mod tag {
    pub(crate) const BOOLEAN: u8 = 0x01;
    pub(crate) const INTEGER: u8 = 0x02;
    pub(crate) const OCTET_STRING: u8 = 0x04;
    pub(crate) const NULL: u8 = 0x05;
    pub(crate) const OID: u8 = 0x06;
    pub(crate) const SEQUENCE: u8 = 0x30;
    pub(crate) const SET: u8 = 0x31;
    pub(crate) const UTC_TIME: u8 = 0x17;
    pub(crate) const GENERALIZED_TIME: u8 = 0x18;
    /// `[0]`, constructed.
    pub(crate) const CONTEXT_0: u8 = 0xa0;
    /// `[1]`, constructed.
    pub(crate) const CONTEXT_1: u8 = 0xa1;
    /// `[0]`, primitive.
    pub(crate) const CONTEXT_0_PRIMITIVE: u8 = 0x80;
    /// `[1]`, primitive.
    pub(crate) const CONTEXT_1_PRIMITIVE: u8 = 0x81;
}

fn hash_oid(hash: HashAlgorithm) -> Oid {
    match hash {
        HashAlgorithm::Sha256 => Oid::new_unwrap("2.16.840.1.101.3.4.2.1"),
        HashAlgorithm::Sha384 => Oid::new_unwrap("2.16.840.1.101.3.4.2.2"),
        HashAlgorithm::Sha512 => Oid::new_unwrap("2.16.840.1.101.3.4.2.3"),
    }
}

fn hash_of(oid: Oid) -> Option<HashAlgorithm> {
    HashAlgorithm::ALL
        .into_iter()
        .find(|hash| hash_oid(*hash) == oid)
}

/// A structure is not what RFC 3161 and RFC 5652 say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("malformed {0}")]
pub struct Malformed(pub(crate) &'static str);
