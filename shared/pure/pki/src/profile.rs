//! The certificates that we issue: Fulcio's leaf with its precertificate, and the authorities.
//!
//! Each is prepared here, signed elsewhere, and sealed here: [`Unsigned::seal`] checks the signature with the issuer's key before a
//! certificate exists; only a precertificate can be closed without that, by [`PreparedPrecertificate::seal_unchecked`]. A leaf is sealed twice, and
//! the two are compared by code that builds neither (`same_but_for_ct`).

use const_oid::ObjectIdentifier;
use der::asn1::{Any, BitString, GeneralizedTime, OctetString, UtcTime, Utf8StringRef};
use der::{Decode, Encode, Sequence, asn1::SetOfVec};
use jiff::Timestamp;
use keys::{KeyType, PublicKey};
use sha1::{Digest as _, Sha1};
use spki::AlgorithmIdentifierOwned;
use thiserror::Error;
use x509_cert::attr::{Attribute, AttributeTypeAndValue};
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::{
    AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, KeyUsages,
    SubjectKeyIdentifier,
};
use x509_cert::request::CertReqInfo;
use x509_cert::time::{Time, Validity};

use crate::cert::{CertError, Certificate};
use crate::csr::Csr;
use crate::ext::FulcioExtensions;
use crate::name::SubjectName;
use crate::oid;

/// Why a certificate could not be made.
#[derive(Debug, Error)]
pub enum ProfileError {
    /// A value does not fit into its field: not ASCII, too long, a time out of range.
    #[error("a value does not fit the certificate: {0}")]
    Value(#[from] der::Error),
    /// The issuing certificate is not one that may issue.
    #[error("the issuer {0:?} may not sign certificates")]
    Issuer(String),
    /// The signature that came back is not one by the issuer's key over these bytes.
    #[error("the signature that was returned is not the issuer's")]
    Signature,
    /// What was built does not read back.
    #[error("what was built does not read back: {0}")]
    ReadBack(#[from] CertError),
    /// A request for an authority's certificate names nobody.
    #[error("the request has no subject: an authority has a name")]
    NoName,
    /// Precertificate and certificate differ in more than poison and SCTs.
    #[error("precertificate and certificate differ in more than poison and SCT list")]
    Correspondence,
}

#[derive(Sequence)]
struct Tbs {
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT")]
    version: u8,
    serial: der::asn1::Int,
    signature: AlgorithmIdentifierOwned,
    issuer: Any,
    validity: Validity,
    subject: Any,
    key: Any,
    #[asn1(context_specific = "3", tag_mode = "EXPLICIT")]
    extensions: Vec<Extension>,
}

#[derive(Sequence)]
struct Signed {
    tbs: Any,
    algorithm: AlgorithmIdentifierOwned,
    signature: BitString,
}

/// The bytes of a certificate that nobody has signed yet, and who has to.
#[derive(Debug)]
pub struct Unsigned {
    tbs: Vec<u8>,
    algorithm: AlgorithmIdentifierOwned,
    issuer: PublicKey,
}

impl Unsigned {
    /// What the issuer's key signs, with its default algorithm.
    pub fn to_be_signed(&self) -> &[u8] {
        &self.tbs
    }

    /// Checks the signature and closes the certificate.
    pub fn seal(self, signature: &[u8]) -> Result<Certificate, ProfileError> {
        self.issuer
            .verify(self.issuer.default_algorithm(), &self.tbs, signature)
            .map_err(|_| ProfileError::Signature)?;
        self.close(signature)
    }

    fn close(self, signature: &[u8]) -> Result<Certificate, ProfileError> {
        let signed = Signed {
            tbs: Any::from_der(&self.tbs)?,
            algorithm: self.algorithm,
            signature: BitString::from_bytes(signature)?,
        };
        Ok(Certificate::from_der(&signed.to_der()?)?)
    }
}

/// What is special about one leaf.
#[derive(Debug, Clone)]
pub struct LeafParameters {
    /// Who it is about.
    pub subject: SubjectName,
    /// The key it certifies.
    pub key: PublicKey,
    /// What the token said.
    pub extensions: FulcioExtensions,
    /// Up to 20 bytes, big-endian, positive (RFC 5280 4.1.2.2); the caller's randomness.
    pub serial: [u8; 20],
    /// First moment of validity.
    pub not_before: Timestamp,
    /// Last moment of validity.
    pub not_after: Timestamp,
}

/// A leaf on its way: the precertificate is to be signed first.
#[derive(Debug)]
pub struct PreparedPrecertificate {
    leaf: LeafParameters,
    issuer: Certificate,
    unsigned: Unsigned,
}

/// A signed precertificate (RFC 6962 3.1), fit for a CT log and for nothing else.
#[derive(Debug)]
pub struct Precertificate {
    leaf: LeafParameters,
    issuer: Certificate,
    certificate: Certificate,
}

/// The leaf with its SCTs, to be signed.
#[derive(Debug)]
pub struct PreparedLeaf {
    precertificate: Certificate,
    unsigned: Unsigned,
}

/// Prepares the precertificate of a leaf in Fulcio's profile: version 3, empty subject, one critical alternative name, digitalSignature,
/// codeSigning, key identifiers, the token's claims, and the poison.
pub fn prepare_leaf(
    leaf: LeafParameters,
    issuer: &Certificate,
) -> Result<PreparedPrecertificate, ProfileError> {
    let poison = extension(oid::CT_POISON, true, der::asn1::Null.to_der()?)?;
    let unsigned = leaf_unsigned(&leaf, issuer, Some(poison))?;
    Ok(PreparedPrecertificate {
        leaf,
        issuer: issuer.clone(),
        unsigned,
    })
}

/// Prepares a leaf that no log witnesses: only for a deployment that has said that it runs without a CT log.
pub fn prepare_leaf_without_ct(
    leaf: &LeafParameters,
    issuer: &Certificate,
) -> Result<Unsigned, ProfileError> {
    leaf_unsigned(leaf, issuer, None)
}

impl PreparedPrecertificate {
    /// What the issuer's key signs.
    pub fn to_be_signed(&self) -> &[u8] {
        self.unsigned.to_be_signed()
    }

    /// Checks the signature and closes the precertificate.
    pub fn seal(self, signature: &[u8]) -> Result<Precertificate, ProfileError> {
        let certificate = self.unsigned.seal(signature)?;
        Ok(Precertificate {
            leaf: self.leaf,
            issuer: self.issuer,
            certificate,
        })
    }

    /// [`seal`](Self::seal) without its check: for one of a series of which some are checked. The leaf that comes of it is checked
    /// in any case ([`PreparedLeaf::seal`]).
    pub fn seal_unchecked(self, signature: &[u8]) -> Result<Precertificate, ProfileError> {
        let certificate = self.unsigned.close(signature)?;
        Ok(Precertificate {
            leaf: self.leaf,
            issuer: self.issuer,
            certificate,
        })
    }
}

impl Precertificate {
    /// The signed precertificate, as the log takes it.
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// Whose key has signed it: checked when it was sealed, unless whoever sealed it said otherwise.
    pub const fn issuer(&self) -> &Certificate {
        &self.issuer
    }

    /// Prepares the leaf itself with a TLS-encoded SignedCertificateTimestampList (RFC 6962 3.3) in the poison's place.
    pub fn with_scts(self, list: &[u8]) -> Result<PreparedLeaf, ProfileError> {
        let scts = extension(oid::CT_SCTS, false, OctetString::new(list)?.to_der()?)?;
        let unsigned = leaf_unsigned(&self.leaf, &self.issuer, Some(scts))?;
        Ok(PreparedLeaf {
            precertificate: self.certificate,
            unsigned,
        })
    }
}

impl PreparedLeaf {
    /// What the issuer's key signs.
    pub fn to_be_signed(&self) -> &[u8] {
        self.unsigned.to_be_signed()
    }

    /// Checks the signature, compares with the precertificate, and closes the leaf.
    pub fn seal(self, signature: &[u8]) -> Result<Certificate, ProfileError> {
        let certificate = self.unsigned.seal(signature)?;
        if same_but_for_ct(&self.precertificate, &certificate) {
            Ok(certificate)
        } else {
            Err(ProfileError::Correspondence)
        }
    }
}

/// Do two certificates say the same but for the CT extensions? Reads both back from their bytes and shares no code with the builder.
fn same_but_for_ct(one: &Certificate, other: &Certificate) -> bool {
    let without = |certificate: &Certificate| -> Vec<(ObjectIdentifier, bool, Vec<u8>)> {
        certificate
            .extensions()
            .filter(|(id, _, _)| *id != oid::CT_POISON && *id != oid::CT_SCTS)
            .map(|(id, critical, value)| (id, critical, value.to_vec()))
            .collect()
    };
    one.serial() == other.serial()
        && one.issuer_der() == other.issuer_der()
        && one.subject_der() == other.subject_der()
        && one.public_key() == other.public_key()
        && one.not_before() == other.not_before()
        && one.not_after() == other.not_after()
        && without(one) == without(other)
        && one.extension(oid::CT_POISON).is_some()
        && other.extension(oid::CT_POISON).is_none()
        && other.extension(oid::CT_SCTS).is_some()
}

fn leaf_unsigned(
    leaf: &LeafParameters,
    issuer: &Certificate,
    last: Option<Extension>,
) -> Result<Unsigned, ProfileError> {
    let mut extensions = vec![
        key_usage(KeyUsages::DigitalSignature)?,
        purposes(oid::CODE_SIGNING, false)?,
        subject_key_id(&leaf.key)?,
        authority_key_id(issuer)?,
        // Critical, because the subject is empty (RFC 5280 4.2.1.6).
        extension(
            oid::SUBJECT_ALT_NAME,
            true,
            leaf.subject.to_extension_der()?,
        )?,
    ];
    for (id, value) in leaf.extensions.to_extensions()? {
        extensions.push(extension(id, false, value)?);
    }
    extensions.extend(last);
    let empty = x509_cert::name::RdnSequence::default().to_der()?;
    unsigned(
        &leaf.serial,
        issuer,
        &empty,
        &leaf.key,
        leaf.not_before,
        leaf.not_after,
        extensions,
    )
}

/// An authority's certificate, or the leaf of a timestamp authority.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authority {
    /// A self-signed root.
    Root,
    /// An intermediate that issues leaves for code signing and nothing below.
    CodeSigningIntermediate,
    /// The certificate of a timestamp authority's key: critical timeStamping and nothing else (RFC 3161 2.3).
    TimestampingLeaf,
    /// An intermediate that issues such leaves and nothing below.
    TimestampingIntermediate,
}

/// What is special about one authority.
#[derive(Debug, Clone)]
pub struct AuthorityParameters {
    /// What it is.
    pub authority: Authority,
    /// organizationName.
    pub organization: String,
    /// commonName.
    pub common_name: String,
    /// The key it certifies.
    pub key: PublicKey,
    /// As in [`LeafParameters`].
    pub serial: [u8; 20],
    /// First moment of validity.
    pub not_before: Timestamp,
    /// Last moment of validity.
    pub not_after: Timestamp,
}

/// Prepares an authority's certificate; a root has no issuer and is signed by its own key.
pub fn prepare_authority(
    parameters: &AuthorityParameters,
    issuer: Option<&Certificate>,
) -> Result<Unsigned, ProfileError> {
    let subject = distinguished_name(&parameters.organization, &parameters.common_name)?;
    let mut extensions = match parameters.authority {
        Authority::Root => vec![
            key_usage(KeyUsages::KeyCertSign | KeyUsages::CRLSign)?,
            basic(Some(1))?,
        ],
        Authority::CodeSigningIntermediate => intermediate_extensions()?,
        Authority::TimestampingLeaf => vec![
            key_usage(KeyUsages::DigitalSignature)?,
            purposes(oid::TIME_STAMPING, true)?,
        ],
        Authority::TimestampingIntermediate => vec![
            key_usage(KeyUsages::KeyCertSign | KeyUsages::CRLSign)?,
            purposes(oid::TIME_STAMPING, false)?,
            basic(Some(0))?,
        ],
    };
    extensions.push(subject_key_id(&parameters.key)?);
    if let Some(issuer) = issuer {
        extensions.push(authority_key_id(issuer)?);
    }
    let (serial, key) = (&parameters.serial, &parameters.key);
    let (from, to) = (parameters.not_before, parameters.not_after);
    match (issuer, parameters.authority) {
        (None, Authority::Root) => {
            signed_by(serial, (&subject, key), &subject, key, from, to, extensions)
        }
        (Some(issuer), authority) if authority != Authority::Root => {
            unsigned(serial, issuer, &subject, key, from, to, extensions)
        }
        _ => Err(ProfileError::Issuer(parameters.common_name.clone())),
    }
}

/// Prepares the certificate of an intermediate as [`Authority::CodeSigningIntermediate`] for somebody who sent a request: with the name that it
/// asks for, and with the extensions of the profile, whatever it asks for.
pub fn prepare_requested_intermediate(
    request: &Csr,
    serial: &[u8; 20],
    not_before: Timestamp,
    not_after: Timestamp,
    issuer: &Certificate,
) -> Result<Unsigned, ProfileError> {
    let name = x509_cert::name::Name::from_der(request.subject_der())?;
    if name.is_empty() {
        // RFC 5280 4.1.2.6: a CA has a name.
        return Err(ProfileError::NoName);
    }
    let mut extensions = intermediate_extensions()?;
    extensions.push(subject_key_id(request.public_key())?);
    extensions.push(authority_key_id(issuer)?);
    unsigned(
        serial,
        issuer,
        request.subject_der(),
        request.public_key(),
        not_before,
        not_after,
        extensions,
    )
}

fn intermediate_extensions() -> Result<Vec<Extension>, der::Error> {
    Ok(vec![
        key_usage(KeyUsages::KeyCertSign | KeyUsages::CRLSign)?,
        purposes(oid::CODE_SIGNING, false)?,
        basic(Some(0))?,
    ])
}

/// A certification request (RFC 2986) that nobody has signed yet.
#[derive(Debug)]
pub struct UnsignedRequest {
    info: Vec<u8>,
    algorithm: AlgorithmIdentifierOwned,
}

/// Prepares the request of an intermediate for a root that is elsewhere. It asks for the extensions that the profile has, for authorities that
/// copy them from requests.
pub fn prepare_request(
    organization: &str,
    common_name: &str,
    key: &PublicKey,
) -> Result<UnsignedRequest, ProfileError> {
    let wanted = Attribute {
        oid: oid::EXTENSION_REQUEST,
        values: SetOfVec::try_from(vec![Any::encode_from(&intermediate_extensions()?)?])?,
    };
    let info = CertReqInfo {
        version: x509_cert::request::Version::V1,
        subject: x509_cert::name::Name::from_der(&distinguished_name(organization, common_name)?)?,
        public_key: spki::SubjectPublicKeyInfoOwned::from_der(key.spki_der())?,
        attributes: SetOfVec::try_from(vec![wanted])?,
    };
    Ok(UnsignedRequest {
        info: info.to_der()?,
        algorithm: signature_algorithm(key),
    })
}

impl UnsignedRequest {
    /// What the key signs.
    pub fn to_be_signed(&self) -> &[u8] {
        &self.info
    }

    /// Closes the request, and checks the signature with its key.
    pub fn seal(self, signature: &[u8]) -> Result<Csr, ProfileError> {
        let signed = Signed {
            tbs: Any::from_der(&self.info)?,
            algorithm: self.algorithm,
            signature: BitString::from_bytes(signature)?,
        };
        Csr::from_der(&signed.to_der()?).map_err(|_| ProfileError::Signature)
    }
}

fn unsigned(
    serial: &[u8; 20],
    issuer: &Certificate,
    subject: &[u8],
    key: &PublicKey,
    not_before: Timestamp,
    not_after: Timestamp,
    extensions: Vec<Extension>,
) -> Result<Unsigned, ProfileError> {
    if !issuer.is_ca() || !issuer.may_sign_certificates() {
        return Err(ProfileError::Issuer(issuer.subject_text()));
    }
    signed_by(
        serial,
        (issuer.subject_der(), issuer.public_key()),
        subject,
        key,
        not_before,
        not_after,
        extensions,
    )
}

fn signed_by(
    serial: &[u8; 20],
    (issuer, issuer_key): (&[u8], &PublicKey),
    subject: &[u8],
    key: &PublicKey,
    not_before: Timestamp,
    not_after: Timestamp,
    extensions: Vec<Extension>,
) -> Result<Unsigned, ProfileError> {
    let algorithm = signature_algorithm(issuer_key);
    let tbs = Tbs {
        version: 2,
        serial: serial_number(serial)?,
        signature: algorithm.clone(),
        issuer: Any::from_der(issuer)?,
        validity: Validity::new(time(not_before)?, time(not_after)?),
        subject: Any::from_der(subject)?,
        key: Any::from_der(key.spki_der())?,
        extensions,
    };
    Ok(Unsigned {
        tbs: tbs.to_der()?,
        algorithm,
        issuer: issuer_key.clone(),
    })
}

/// RFC 5280 4.1.2.2: positive and at most 20 octets. The top bit is cleared and the one below set, so that the number is neither negative nor
/// short and 158 bits are the caller's.
fn serial_number(random: &[u8; 20]) -> Result<der::asn1::Int, der::Error> {
    let mut serial = *random;
    let [first, ..] = &mut serial;
    *first = (*first & 0x7f) | 0x40;
    der::asn1::Int::new(&serial)
}

pub(crate) fn signature_algorithm(key: &PublicKey) -> AlgorithmIdentifierOwned {
    let (oid, parameters) = match key.key_type() {
        KeyType::EcdsaP256 => (oid::ECDSA_SHA256, None),
        KeyType::EcdsaP384 => (oid::ECDSA_SHA384, None),
        KeyType::EcdsaP521 => (oid::ECDSA_SHA512, None),
        KeyType::Ed25519 => (oid::ED25519, None),
        KeyType::Rsa2048 | KeyType::Rsa3072 | KeyType::Rsa4096 => {
            (oid::RSA_SHA256, Some(Any::null()))
        }
    };
    AlgorithmIdentifierOwned { oid, parameters }
}

/// RFC 5280 4.1.2.5: UTCTime through 2049, GeneralizedTime from 2050; whole seconds.
fn time(at: Timestamp) -> Result<Time, der::Error> {
    let seconds = u64::try_from(at.as_second()).map_err(|_| der::ErrorKind::DateTime)?;
    let since = std::time::Duration::from_secs(seconds);
    match UtcTime::from_unix_duration(since) {
        Ok(time) => Ok(Time::UtcTime(time)),
        Err(_) => Ok(Time::GeneralTime(GeneralizedTime::from_unix_duration(
            since,
        )?)),
    }
}

pub(crate) fn distinguished_name(
    organization: &str,
    common_name: &str,
) -> Result<Vec<u8>, der::Error> {
    let part = |id: &str, text: &str| -> Result<SetOfVec<AttributeTypeAndValue>, der::Error> {
        SetOfVec::try_from(vec![AttributeTypeAndValue {
            oid: ObjectIdentifier::new(id)?,
            value: Any::encode_from(&Utf8StringRef::new(text)?)?,
        }])
    };
    vec![
        part("2.5.4.10", organization)?,
        part("2.5.4.3", common_name)?,
    ]
    .to_der()
}

fn extension(
    id: ObjectIdentifier,
    critical: bool,
    value: Vec<u8>,
) -> Result<Extension, der::Error> {
    Ok(Extension {
        extn_id: id,
        critical,
        extn_value: OctetString::new(value)?,
    })
}

pub(crate) fn key_usage(
    usage: impl Into<der::flagset::FlagSet<KeyUsages>>,
) -> Result<Extension, der::Error> {
    extension(oid::KEY_USAGE, true, KeyUsage(usage.into()).to_der()?)
}

pub(crate) fn purposes(purpose: ObjectIdentifier, critical: bool) -> Result<Extension, der::Error> {
    extension(
        oid::EXTENDED_KEY_USAGE,
        critical,
        ExtendedKeyUsage(vec![purpose]).to_der()?,
    )
}

fn basic(path_len: Option<u8>) -> Result<Extension, der::Error> {
    let constraints = BasicConstraints {
        ca: true,
        path_len_constraint: path_len,
    };
    extension(oid::BASIC_CONSTRAINTS, true, constraints.to_der()?)
}

/// RFC 5280 4.2.1.2 method 1: SHA-1 over the subjectPublicKey bits. An identifier, not a security claim.
fn subject_key_id(key: &PublicKey) -> Result<Extension, der::Error> {
    let identifier = OctetString::new(Sha1::digest(key.raw()).as_slice())?;
    extension(
        oid::SUBJECT_KEY_ID,
        false,
        SubjectKeyIdentifier(identifier).to_der()?,
    )
}

fn authority_key_id(issuer: &Certificate) -> Result<Extension, der::Error> {
    let identifier = match issuer.subject_key_id() {
        Some(identifier) => identifier,
        None => Sha1::digest(issuer.public_key().raw()).to_vec(),
    };
    let value = AuthorityKeyIdentifier {
        key_identifier: Some(OctetString::new(identifier)?),
        ..Default::default()
    };
    extension(oid::AUTHORITY_KEY_ID, false, value.to_der()?)
}
