//! PKCS#10 certification requests (RFC 2986): proof that the sender holds the key, and nothing else.
//!
//! Subject and attributes are not looked into, as in Fulcio: the identity comes from the token. sigstore-python asks for
//! basicConstraints, older ones put non-ASCII addresses into IA5 strings; so the information is read only as far as the key.

use der::asn1::{AnyRef, BitStringRef};
use der::{Decode, Encode, Sequence};
use keys::{Algorithm, PublicKey, pem};
use spki::AlgorithmIdentifierOwned;
use thiserror::Error;

use crate::cert::{algorithm_of, tbs_of};

/// The largest request that is read.
const MAX_REQUEST: usize = 16 * 1024;

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CsrError {
    /// Not PEM, or not DER, of a request.
    #[error("malformed certificate request: {0}")]
    Malformed(String),
    /// The key is of a kind that is not accepted.
    #[error("the request's key: {0}")]
    Key(#[from] keys::KeyError),
    /// The signature's algorithm is not one that goes with the key.
    #[error("the request's signature algorithm {0} is not accepted for its key")]
    Algorithm(String),
    /// The signature is not by the key.
    #[error("the request's signature does not verify")]
    Signature,
}

/// A request whose signature was checked with the key it carries.
#[derive(Debug, Clone)]
pub struct Csr {
    der: Vec<u8>,
    subject: Vec<u8>,
    key: PublicKey,
    algorithm: Algorithm,
}

#[derive(Sequence)]
struct Request<'a> {
    info: AnyRef<'a>,
    algorithm: AlgorithmIdentifierOwned,
    signature: BitStringRef<'a>,
}

#[derive(Sequence)]
struct Info<'a> {
    version: u8,
    subject: AnyRef<'a>,
    key: AnyRef<'a>,
    #[asn1(
        context_specific = "0",
        tag_mode = "IMPLICIT",
        constructed = "true",
        optional = "true"
    )]
    attributes: Option<Skipped<'a>>,
}

/// A set that is not looked into.
struct Skipped<'a>(#[expect(dead_code, reason = "read to be passed over")] AnyRef<'a>);

impl<'a> der::DecodeValue<'a> for Skipped<'a> {
    type Error = der::Error;

    fn decode_value<R: der::Reader<'a>>(reader: &mut R, header: der::Header) -> der::Result<Self> {
        AnyRef::decode_value(reader, header).map(Self)
    }
}

impl der::EncodeValue for Skipped<'_> {
    fn value_len(&self) -> der::Result<der::Length> {
        Err(der::ErrorKind::Failed.into())
    }

    fn encode_value(&self, _: &mut impl der::Writer) -> der::Result<()> {
        Err(der::ErrorKind::Failed.into())
    }
}

impl der::FixedTag for Skipped<'_> {
    const TAG: der::Tag = der::Tag::Set;
}

impl Csr {
    /// Reads PEM with the label `CERTIFICATE REQUEST` or `NEW CERTIFICATE REQUEST`.
    pub fn from_pem(text: &str) -> Result<Self, CsrError> {
        let block = pem::decode(text, &["CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST"])
            .map_err(|error| CsrError::Malformed(error.to_string()))?;
        Self::from_der(&block.der)
    }

    /// Reads DER and checks the signature.
    pub fn from_der(der: &[u8]) -> Result<Self, CsrError> {
        let malformed = |error: der::Error| CsrError::Malformed(error.to_string());
        if der.len() > MAX_REQUEST {
            return Err(CsrError::Malformed(format!(
                "{} bytes, at most {MAX_REQUEST}",
                der.len()
            )));
        }
        let request = Request::from_der(der).map_err(malformed)?;
        let signed = tbs_of(der).map_err(malformed)?;
        let info = Info::from_der(signed).map_err(malformed)?;
        let key = PublicKey::from_spki_der(&info.key.to_der().map_err(malformed)?)?;
        let algorithm = algorithm_of(&request.algorithm, &key)
            .ok_or_else(|| CsrError::Algorithm(request.algorithm.oid.to_string()))?;
        key.verify(algorithm, signed, request.signature.raw_bytes())
            .map_err(|_| CsrError::Signature)?;
        Ok(Self {
            der: der.to_vec(),
            subject: info.subject.to_der().map_err(malformed)?,
            key,
            algorithm,
        })
    }

    /// The key whose possession the request proves.
    pub fn public_key(&self) -> &PublicKey {
        &self.key
    }

    /// What the request is signed with.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The subject that it asks for, DER, which nobody has looked into.
    pub fn subject_der(&self) -> &[u8] {
        &self.subject
    }

    /// PEM with the label `CERTIFICATE REQUEST` and a newline at the end.
    pub fn to_pem(&self) -> String {
        pem::encode("CERTIFICATE REQUEST", &self.der)
    }
}
