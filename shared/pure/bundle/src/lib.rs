//! The Sigstore bundle: every version in, the newest out.
//!
//! Parsing checks structure only: which version, one signer, one content, the counts, and what each version says must be there. Whether any of
//! it is true is the verifier's question.
//!
//! | version | signer | each log entry must have |
//! | --- | --- | --- |
//! | 0.1 | certificate chain or key hint | a promise |
//! | 0.2 | certificate chain or key hint | a proof with a checkpoint |
//! | 0.3 | one certificate or key hint | a proof with a checkpoint |
//!
//! What cosign attached before there were bundles is in [`legacy`].

pub mod legacy;

use dsse::{Envelope, EnvelopeError};
use entry::{EntryError, LogEntry};
use keys::{Digest, HashAlgorithm};
use pki::{CertError, Certificate};
use thiserror::Error;
use wire::bundle as shape;
use wire::common::{HashOutput, X509Certificate};
use wire::encoding::{Bytes, EnumValue};

/// The media type that is written.
pub const MEDIA_TYPE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
/// What every version's media type begins with.
pub const MEDIA_TYPE_PREFIX: &str = "application/vnd.dev.sigstore.bundle";
/// The most log entries, and the most timestamps: sigstore-go's bounds.
pub const MAX_WITNESSES: usize = 32;

/// The version of a bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// 0.1.
    V01,
    /// 0.2.
    V02,
    /// 0.3.
    V03,
}

const MEDIA_TYPES: [(&str, Version); 4] = [
    (MEDIA_TYPE, Version::V03),
    (
        "application/vnd.dev.sigstore.bundle+json;version=0.3",
        Version::V03,
    ),
    (
        "application/vnd.dev.sigstore.bundle+json;version=0.2",
        Version::V02,
    ),
    (
        "application/vnd.dev.sigstore.bundle+json;version=0.1",
        Version::V01,
    ),
];

/// Who signed, as the bundle says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signer {
    /// Somebody with a certificate.
    Certificate {
        /// The leaf.
        leaf: Certificate,
        /// What the bundle brings along; never a root.
        intermediates: Vec<Certificate>,
    },
    /// Somebody with a key that the verifier must have; the hint helps to find it.
    Key {
        /// The hint; not believed.
        hint: String,
    },
}

/// What was signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// A file.
    Message {
        /// The signature over it.
        signature: Vec<u8>,
        /// A hint that must agree with the file and proves nothing.
        digest: Option<Digest>,
    },
    /// An envelope.
    Envelope(Envelope),
}

impl Content {
    /// The signature.
    pub fn signature(&self) -> &[u8] {
        match self {
            Self::Message { signature, .. } => signature,
            Self::Envelope(envelope) => &envelope.signature,
        }
    }
}

/// A bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    /// The version it was read from.
    pub version: Version,
    /// Who signed.
    pub signer: Signer,
    /// Log entries.
    pub entries: Vec<LogEntry>,
    /// RFC 3161 responses, DER.
    pub timestamps: Vec<Vec<u8>>,
    /// What was signed.
    pub content: Content,
}

/// Why a document is no bundle.
#[derive(Debug, Error)]
pub enum BundleError {
    /// Not JSON of this shape.
    #[error("not a Sigstore bundle: {0}")]
    Wire(#[from] wire::WireError),
    /// A version that is not known.
    #[error("unknown bundle version {0:?}, expected {MEDIA_TYPE} or an older one")]
    Version(String),
    /// Two things that exclude one another, or neither.
    #[error("the bundle must have exactly one of {0}")]
    OneOf(&'static str),
    /// A member that its version does not have.
    #[error("a bundle of version {version:?} has no {member}")]
    NotInVersion {
        /// The version.
        version: Version,
        /// The member.
        member: &'static str,
    },
    /// A member that its version demands.
    #[error("each log entry of a bundle of version {version:?} needs {member}")]
    NeededInVersion {
        /// The version.
        version: Version,
        /// The member.
        member: &'static str,
    },
    /// Too many.
    #[error("{found} {what}, at most {MAX_WITNESSES}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many.
        found: usize,
    },
    /// A certificate that is none.
    #[error("the bundle's certificate: {0}")]
    Certificate(#[from] CertError),
    /// An empty chain.
    #[error("the bundle's certificate chain is empty")]
    EmptyChain,
    /// A root in the bundle, which must come from the trusted root.
    #[error("the bundle carries the root certificate {0:?}; roots come from the trusted root only")]
    Root(String),
    /// A malformed entry.
    #[error("log entry {position}: {source}")]
    Entry {
        /// Which, counted from 0.
        position: usize,
        /// What is wrong.
        source: EntryError,
    },
    /// A malformed envelope.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// No signature, or a hint that is no digest.
    #[error("the message signature: {0}")]
    Message(String),
}

impl Bundle {
    /// Reads a bundle of any version.
    pub fn parse(bytes: &[u8]) -> Result<Self, BundleError> {
        Self::from_wire(wire::parse(bytes)?)
    }

    fn from_wire(bundle: shape::Bundle) -> Result<Self, BundleError> {
        let Some((_, version)) = MEDIA_TYPES
            .into_iter()
            .find(|(name, _)| *name == bundle.media_type)
        else {
            return Err(BundleError::Version(bundle.media_type));
        };
        let content = content(bundle.message_signature, bundle.dsse_envelope)?;
        let mut material = bundle.verification_material;
        let timestamps = material
            .timestamp_verification_data
            .take()
            .unwrap_or_default()
            .rfc3161_timestamps;
        for (what, found) in [
            ("log entries", material.tlog_entries.len()),
            ("timestamps", timestamps.len()),
        ] {
            if found > MAX_WITNESSES {
                return Err(BundleError::TooMany { what, found });
            }
        }
        let entries = std::mem::take(&mut material.tlog_entries)
            .into_iter()
            .enumerate()
            .map(|(position, entry)| {
                LogEntry::from_wire(entry).map_err(|source| BundleError::Entry { position, source })
            })
            .collect::<Result<Vec<_>, _>>()?;
        for entry in &entries {
            check_entry(version, entry)?;
        }
        Ok(Self {
            version,
            signer: signer(version, material)?,
            entries,
            timestamps: timestamps
                .into_iter()
                .map(|timestamp| timestamp.signed_timestamp.0)
                .collect(),
            content,
        })
    }

    /// The JSON of the newest version, on one line. A bundle of an old version must have been completed first: intermediates do not survive.
    pub fn to_json(&self) -> Result<Vec<u8>, serde_json::Error> {
        let (certificate, public_key) = match &self.signer {
            Signer::Certificate { leaf, .. } => (
                Some(X509Certificate {
                    raw_bytes: leaf.der().into(),
                }),
                None,
            ),
            Signer::Key { hint } => (
                None,
                Some(shape::PublicKeyIdentifier { hint: hint.clone() }),
            ),
        };
        let timestamps: Vec<_> = self
            .timestamps
            .iter()
            .map(|der| shape::Rfc3161SignedTimestamp {
                signed_timestamp: Bytes(der.clone()),
            })
            .collect();
        let (message_signature, dsse_envelope) = match &self.content {
            Content::Message { signature, digest } => {
                let message_digest = digest.map(|digest| HashOutput {
                    algorithm: EnumValue::name(digest.algorithm().wire_name()),
                    digest: digest.bytes().into(),
                });
                (
                    Some(shape::MessageSignature {
                        message_digest,
                        signature: Bytes(signature.clone()),
                    }),
                    None,
                )
            }
            Content::Envelope(envelope) => (None, Some(envelope.to_wire())),
        };
        serde_json::to_vec(&shape::Bundle {
            media_type: MEDIA_TYPE.into(),
            verification_material: shape::VerificationMaterial {
                public_key,
                x509_certificate_chain: None,
                certificate,
                tlog_entries: self.entries.iter().map(LogEntry::to_wire).collect(),
                timestamp_verification_data: (!timestamps.is_empty()).then_some(
                    shape::TimestampVerificationData {
                        rfc3161_timestamps: timestamps,
                    },
                ),
            },
            message_signature,
            dsse_envelope,
        })
    }
}

fn check_entry(version: Version, entry: &LogEntry) -> Result<(), BundleError> {
    let needed = |member| Err(BundleError::NeededInVersion { version, member });
    match (version, &entry.proof) {
        (Version::V01, _) if entry.promise.is_none() => needed("an inclusion promise"),
        (Version::V01, _) => Ok(()),
        (_, None) => needed("an inclusion proof"),
        (_, Some(proof)) if proof.checkpoint.is_empty() => needed("a checkpoint"),
        (_, Some(_)) => Ok(()),
    }
}

fn signer(version: Version, material: shape::VerificationMaterial) -> Result<Signer, BundleError> {
    match (
        material.certificate,
        material.x509_certificate_chain,
        material.public_key,
    ) {
        (Some(certificate), None, None) => {
            if version < Version::V03 {
                return Err(BundleError::NotInVersion {
                    version,
                    member: "certificate",
                });
            }
            let leaf = not_root(Certificate::from_der(&certificate.raw_bytes.0)?)?;
            Ok(Signer::Certificate {
                leaf,
                intermediates: Vec::new(),
            })
        }
        (None, Some(chain), None) => {
            if version == Version::V03 {
                return Err(BundleError::NotInVersion {
                    version,
                    member: "x509CertificateChain",
                });
            }
            let found = chain.certificates.len();
            if found > pki::cert::MAX_CHAIN {
                return Err(CertError::TooLong(found).into());
            }
            let mut certificates = chain
                .certificates
                .iter()
                .map(|certificate| not_root(Certificate::from_der(&certificate.raw_bytes.0)?));
            let leaf = certificates.next().ok_or(BundleError::EmptyChain)??;
            Ok(Signer::Certificate {
                leaf,
                intermediates: certificates.collect::<Result<_, _>>()?,
            })
        }
        (None, None, Some(key)) => Ok(Signer::Key { hint: key.hint }),
        _ => Err(BundleError::OneOf(
            "certificate, x509CertificateChain and publicKey",
        )),
    }
}

fn not_root(certificate: Certificate) -> Result<Certificate, BundleError> {
    if certificate.is_self_issued() && certificate.is_ca() {
        return Err(BundleError::Root(certificate.subject_text()));
    }
    Ok(certificate)
}

fn content(
    message: Option<shape::MessageSignature>,
    envelope: Option<shape::Envelope>,
) -> Result<Content, BundleError> {
    match (message, envelope) {
        (Some(message), None) => {
            if message.signature.0.is_empty() {
                return Err(BundleError::Message("it is empty".into()));
            }
            let digest = message
                .message_digest
                .map(|digest| hint(&digest))
                .transpose()?;
            Ok(Content::Message {
                signature: message.signature.0,
                digest,
            })
        }
        (None, Some(envelope)) => Ok(Content::Envelope(Envelope::from_wire(envelope)?)),
        _ => Err(BundleError::OneOf("messageSignature and dsseEnvelope")),
    }
}

fn hint(digest: &HashOutput) -> Result<Digest, BundleError> {
    let algorithm = match &digest.algorithm {
        EnumValue::Name(name) => HashAlgorithm::from_wire_name(name),
        EnumValue::Number(number) => HashAlgorithm::from_wire_number(*number),
    }
    .ok_or_else(|| {
        BundleError::Message(format!("unknown digest algorithm {}", digest.algorithm))
    })?;
    Digest::new(algorithm, &digest.digest.0)
        .map_err(|error| BundleError::Message(error.to_string()))
}
