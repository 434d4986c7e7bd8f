//! The certification request (RFC 2986) of a timestamp authority, for an issuer that is elsewhere.

use der::asn1::{Any, BitString, SetOfVec};
use der::{Decode, Encode, Sequence};
use keys::{PublicKey, pem};
use spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};
use x509_cert::attr::Attribute;
use x509_cert::ext::pkix::KeyUsages;
use x509_cert::name::Name;
use x509_cert::request::{CertReqInfo, Version};

use crate::csr::Csr;
use crate::oid;
use crate::profile::{ProfileError, distinguished_name, key_usage, purposes, signature_algorithm};

/// extensionRequest (RFC 2985 5.4.2).
const EXTENSION_REQUEST: const_oid::ObjectIdentifier =
    const_oid::ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.14");

#[derive(Sequence)]
struct Signed {
    info: Any,
    algorithm: AlgorithmIdentifierOwned,
    signature: BitString,
}

/// A request that nobody has signed yet.
#[derive(Debug)]
pub struct UnsignedRequest {
    info: Vec<u8>,
    algorithm: AlgorithmIdentifierOwned,
}

/// Prepares the request for the certificate of a timestamp authority's key: it asks for digitalSignature and for timeStamping alone, critical
/// (RFC 3161 2.3), so that issuers that copy extensions from requests make the right certificate.
pub fn prepare_timestamping(
    organization: &str,
    common_name: &str,
    key: &PublicKey,
) -> Result<UnsignedRequest, ProfileError> {
    let extensions = vec![
        key_usage(KeyUsages::DigitalSignature)?,
        purposes(oid::TIME_STAMPING, true)?,
    ];
    let wanted = Attribute {
        oid: EXTENSION_REQUEST,
        values: SetOfVec::try_from(vec![Any::encode_from(&extensions)?])?,
    };
    let info = CertReqInfo {
        version: Version::V1,
        subject: Name::from_der(&distinguished_name(organization, common_name)?)?,
        public_key: SubjectPublicKeyInfoOwned::from_der(key.spki_der())?,
        attributes: SetOfVec::try_from(vec![wanted])?,
    };
    Ok(UnsignedRequest {
        info: info.to_der()?,
        algorithm: signature_algorithm(key),
    })
}

impl UnsignedRequest {
    /// What the key signs, with its default algorithm.
    pub fn to_be_signed(&self) -> &[u8] {
        &self.info
    }

    /// Closes the request and checks the signature with the key in it. PEM.
    pub fn seal(self, signature: &[u8]) -> Result<String, ProfileError> {
        let signed = Signed {
            info: Any::from_der(&self.info)?,
            algorithm: self.algorithm,
            signature: BitString::from_bytes(signature)?,
        };
        let der = signed.to_der()?;
        Csr::from_der(&der).map_err(|_| ProfileError::Signature)?;
        Ok(pem::encode("CERTIFICATE REQUEST", &der))
    }
}
