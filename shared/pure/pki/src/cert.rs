//! A parsed certificate that keeps its bytes.

use std::fmt;
use std::sync::{Arc, OnceLock};

use const_oid::ObjectIdentifier;
use der::{Decode, Encode, Reader as _, SliceReader};
use jiff::Timestamp;
use keys::{Algorithm, KeyType, PublicKey, pem};
use rustls_pki_types::AlgorithmIdentifier;
use spki::AlgorithmIdentifierOwned;
use thiserror::Error;
use x509_cert::ext::pkix::{
    AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectKeyIdentifier,
};

use crate::name::{self, SubjectName};
use crate::oid;

/// The largest certificate that is read. Fulcio's have 1 to 3 kB.
pub const MAX_CERTIFICATE: usize = 64 * 1024;
/// The longest chain that is read from PEM.
pub const MAX_CHAIN: usize = 10;

/// Why bytes are no certificate of ours.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CertError {
    /// More than [`MAX_CERTIFICATE`] bytes.
    #[error("a certificate of {0} bytes is over the limit of {MAX_CERTIFICATE}")]
    TooLarge(usize),
    /// A chain of more than [`MAX_CHAIN`] certificates.
    #[error("a chain of {0} certificates is over the limit of {MAX_CHAIN}")]
    TooLong(usize),
    /// Not PEM with the label CERTIFICATE.
    #[error(transparent)]
    Pem(#[from] pem::PemError),
    /// Not the DER of a certificate.
    #[error("malformed certificate: {0}")]
    Malformed(String),
    /// One extension stands there twice.
    #[error("the extension {0} appears twice")]
    Duplicate(ObjectIdentifier),
    /// The public key is not one that we can verify with.
    #[error("the certificate's key: {0}")]
    Key(#[from] keys::KeyError),
}

impl From<der::Error> for CertError {
    fn from(error: der::Error) -> Self {
        Self::Malformed(error.to_string())
    }
}

/// A certificate. Cloning is cheap.
#[derive(Clone)]
pub struct Certificate(Arc<Parsed>);

struct Parsed {
    der: Vec<u8>,
    tbs: Vec<u8>,
    inner: x509_cert::Certificate,
    key: PublicKey,
    not_before: Timestamp,
    not_after: Timestamp,
    subject: Vec<u8>,
    issuer: Vec<u8>,
    names: Vec<SubjectName>,
    basic: Option<BasicConstraints>,
    usage: Option<KeyUsage>,
    purposes: Option<(bool, Vec<ObjectIdentifier>)>,
    /// Whose signature it was found to bear, once it was.
    signed: OnceLock<SigningKey>,
}

/// A key as webpki names it: the algorithms of the key and of its signature, and the bits of the key.
#[derive(PartialEq, Eq)]
pub(crate) struct SigningKey {
    pub(crate) key_algorithm: AlgorithmIdentifier,
    pub(crate) signature_algorithm: AlgorithmIdentifier,
    pub(crate) bits: Vec<u8>,
}

impl Certificate {
    /// Reads one certificate from DER.
    pub fn from_der(der: &[u8]) -> Result<Self, CertError> {
        if der.len() > MAX_CERTIFICATE {
            return Err(CertError::TooLarge(der.len()));
        }
        let inner = x509_cert::Certificate::from_der(der)?;
        let tbs = tbs_of(der)?.to_vec();
        let body = inner.tbs_certificate();
        let extensions = body.extensions().map(Vec::as_slice).unwrap_or_default();
        // RFC 5280 4.2: a certificate MUST NOT include more than one instance of an extension. Strangers' certificates may have thousands.
        let mut seen: Vec<&ObjectIdentifier> = extensions.iter().map(|e| &e.extn_id).collect();
        seen.sort_unstable();
        if let Some([twice, _]) = seen.array_windows().find(|[one, other]| one == other) {
            return Err(CertError::Duplicate(**twice));
        }
        if inner.signature_algorithm() != body.signature() {
            return Err(CertError::Malformed(
                "two different signature algorithms are named".into(),
            ));
        }
        let find = |wanted: ObjectIdentifier| {
            extensions
                .iter()
                .find(|extension| extension.extn_id == wanted)
        };
        let names = match find(oid::SUBJECT_ALT_NAME) {
            Some(extension) => name::parse(extension.extn_value.as_bytes())?,
            None => Vec::new(),
        };
        let basic = find(oid::BASIC_CONSTRAINTS)
            .map(|e| BasicConstraints::from_der(e.extn_value.as_bytes()))
            .transpose()?;
        let usage = find(oid::KEY_USAGE)
            .map(|e| KeyUsage::from_der(e.extn_value.as_bytes()))
            .transpose()?;
        let purposes = find(oid::EXTENDED_KEY_USAGE)
            .map(|e| {
                ExtendedKeyUsage::from_der(e.extn_value.as_bytes())
                    .map(|usage| (e.critical, usage.0))
            })
            .transpose()?;
        let key = PublicKey::from_spki_der(&body.subject_public_key_info().to_der()?)?;
        Ok(Self(Arc::new(Parsed {
            der: der.to_vec(),
            tbs,
            key,
            not_before: timestamp(body.validity().not_before)?,
            not_after: timestamp(body.validity().not_after)?,
            subject: body.subject().to_der()?,
            issuer: body.issuer().to_der()?,
            names,
            basic,
            usage,
            purposes,
            inner,
            signed: OnceLock::new(),
        })))
    }

    /// Reads one certificate from PEM.
    pub fn from_pem(text: &str) -> Result<Self, CertError> {
        Self::from_der(&pem::decode(text, &["CERTIFICATE"])?.der)
    }

    /// Reads a chain from PEM, in the order of the text.
    pub fn chain_from_pem(text: &str) -> Result<Vec<Self>, CertError> {
        let blocks = pem::decode_all(text)?;
        if blocks.len() > MAX_CHAIN {
            return Err(CertError::TooLong(blocks.len()));
        }
        blocks
            .into_iter()
            .map(|block| {
                if block.label == "CERTIFICATE" {
                    Self::from_der(&block.der)
                } else {
                    Err(pem::PemError::Label {
                        found: block.label,
                        expected: "CERTIFICATE".into(),
                    }
                    .into())
                }
            })
            .collect()
    }

    /// The bytes that it was read from.
    pub fn der(&self) -> &[u8] {
        &self.0.der
    }

    /// PEM with a newline at the end.
    pub fn to_pem(&self) -> String {
        pem::encode("CERTIFICATE", &self.0.der)
    }

    /// The signed part, byte for byte.
    pub fn tbs_der(&self) -> &[u8] {
        &self.0.tbs
    }

    /// The key that the certificate is about.
    pub fn public_key(&self) -> &PublicKey {
        &self.0.key
    }

    /// First moment of validity, included.
    pub fn not_before(&self) -> Timestamp {
        self.0.not_before
    }

    /// Last moment of validity, included (RFC 5280 4.1.2.5).
    pub fn not_after(&self) -> Timestamp {
        self.0.not_after
    }

    /// Is `at` inside the validity?
    pub fn is_valid_at(&self, at: Timestamp) -> bool {
        self.0.not_before <= at && at <= self.0.not_after
    }

    /// The serial number's contents octets.
    pub fn serial(&self) -> &[u8] {
        self.0.inner.tbs_certificate().serial_number().as_bytes()
    }

    /// The subject, DER.
    pub fn subject_der(&self) -> &[u8] {
        &self.0.subject
    }

    /// The issuer, DER.
    pub fn issuer_der(&self) -> &[u8] {
        &self.0.issuer
    }

    /// The subject as RFC 4514 text, for messages.
    pub fn subject_text(&self) -> String {
        self.0.inner.tbs_certificate().subject().to_string()
    }

    /// Subject and issuer are the same name: a root, or something that pretends to be one.
    pub fn is_self_issued(&self) -> bool {
        self.0.subject == self.0.issuer && !self.0.inner.tbs_certificate().subject().is_empty()
    }

    /// basicConstraints says CA.
    pub fn is_ca(&self) -> bool {
        self.0.basic.as_ref().is_some_and(|basic| basic.ca)
    }

    /// How many authorities may follow between this one and a leaf; none where there is no limit (RFC 5280 4.2.1.9).
    pub fn path_length(&self) -> Option<u8> {
        self.0
            .basic
            .as_ref()
            .and_then(|basic| basic.path_len_constraint)
    }

    /// The alternative names, in their order.
    pub fn subject_names(&self) -> &[SubjectName] {
        &self.0.names
    }

    /// keyUsage allows signing data; true where there is no keyUsage.
    pub fn may_sign_data(&self) -> bool {
        self.0
            .usage
            .as_ref()
            .is_none_or(KeyUsage::digital_signature)
    }

    /// keyUsage allows signing certificates; true where there is no keyUsage.
    pub fn may_sign_certificates(&self) -> bool {
        self.0.usage.as_ref().is_none_or(KeyUsage::key_cert_sign)
    }

    /// extKeyUsage: is it critical, and which purposes; none where the extension is absent.
    pub fn purposes(&self) -> Option<(bool, &[ObjectIdentifier])> {
        self.0
            .purposes
            .as_ref()
            .map(|(critical, purposes)| (*critical, purposes.as_slice()))
    }

    /// The value of an extension and whether it is critical.
    pub fn extension(&self, wanted: ObjectIdentifier) -> Option<(bool, &[u8])> {
        self.extensions()
            .find(|(found, _, _)| *found == wanted)
            .map(|(_, critical, value)| (critical, value))
    }

    /// All extensions in their order: identifier, critical, value.
    pub fn extensions(&self) -> impl Iterator<Item = (ObjectIdentifier, bool, &[u8])> {
        self.0
            .inner
            .tbs_certificate()
            .extensions()
            .map(Vec::as_slice)
            .unwrap_or_default()
            .iter()
            .map(|extension| {
                (
                    extension.extn_id,
                    extension.critical,
                    extension.extn_value.as_bytes(),
                )
            })
    }

    /// The subject key identifier, where there is one.
    pub fn subject_key_id(&self) -> Option<Vec<u8>> {
        let (_, value) = self.extension(oid::SUBJECT_KEY_ID)?;
        Some(
            SubjectKeyIdentifier::from_der(value)
                .ok()?
                .0
                .into_bytes()
                .into(),
        )
    }

    /// The issuer's key identifier, where there is one.
    pub fn authority_key_id(&self) -> Option<Vec<u8>> {
        let (_, value) = self.extension(oid::AUTHORITY_KEY_ID)?;
        Some(
            AuthorityKeyIdentifier::from_der(value)
                .ok()?
                .key_identifier?
                .into_bytes()
                .into(),
        )
    }

    /// Whose signature it was found to bear. The certificate never changes, and so this holds for all of its clones and for ever.
    pub(crate) fn signed(&self) -> &OnceLock<SigningKey> {
        &self.0.signed
    }

    /// The certificate's own signature.
    pub fn signature(&self) -> &[u8] {
        self.0.inner.signature().raw_bytes()
    }

    /// Does `issuer`'s key verify this certificate's signature? Names are the caller's business.
    pub fn is_signed_by(&self, issuer: &PublicKey) -> bool {
        algorithm_of(self.0.inner.signature_algorithm(), issuer).is_some_and(|algorithm| {
            issuer
                .verify(algorithm, self.tbs_der(), self.signature())
                .is_ok()
        })
    }
}

impl PartialEq for Certificate {
    fn eq(&self, other: &Self) -> bool {
        self.0.der == other.0.der
    }
}

impl Eq for Certificate {}

impl fmt::Debug for Certificate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "Certificate(serial {}, {:?})",
            hex::encode(self.serial()),
            self.subject_names()
        )
    }
}

/// The signed part of a certificate (or of a request: both begin the same way).
pub(crate) fn tbs_of(der: &[u8]) -> Result<&[u8], der::Error> {
    let mut outer = SliceReader::new(der)?;
    let header = der::Header::decode(&mut outer)?;
    header.tag().assert_eq(der::Tag::Sequence)?;
    outer.tlv_bytes()
}

/// The algorithm that an X.509 signature names, where it goes with the key.
pub(crate) fn algorithm_of(named: &AlgorithmIdentifierOwned, key: &PublicKey) -> Option<Algorithm> {
    let algorithm = match (named.oid, key.key_type()) {
        (oid::ECDSA_SHA256, KeyType::EcdsaP256) => Algorithm::EcdsaP256Sha256,
        (oid::ECDSA_SHA256, KeyType::EcdsaP384) => Algorithm::EcdsaP384Sha256,
        (oid::ECDSA_SHA256, KeyType::EcdsaP521) => Algorithm::EcdsaP521Sha256,
        (oid::ECDSA_SHA384, KeyType::EcdsaP384) => Algorithm::EcdsaP384Sha384,
        (oid::ECDSA_SHA512, KeyType::EcdsaP521) => Algorithm::EcdsaP521Sha512,
        (oid::ED25519, KeyType::Ed25519) => Algorithm::Ed25519,
        (oid::RSA_SHA256, KeyType::Rsa2048 | KeyType::Rsa3072 | KeyType::Rsa4096) => {
            key.default_algorithm()
        }
        _ => return None,
    };
    Some(algorithm)
}

fn timestamp(time: x509_cert::time::Time) -> Result<Timestamp, CertError> {
    i64::try_from(time.to_unix_duration().as_secs())
        .ok()
        .and_then(|seconds| Timestamp::from_second(seconds).ok())
        .ok_or_else(|| CertError::Malformed("a validity beyond the year 9999".into()))
}
