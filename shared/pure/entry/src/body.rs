//! Bodies of entries: reading them, and what each binds.

use dsse::Envelope;
use keys::{Algorithm, Digest, HashAlgorithm, PublicKey, pem};
use pki::Certificate;
use serde::Deserialize;
use thiserror::Error;
use wire::common::HashOutput;
use wire::encoding::{Bytes, EnumValue};
use wire::rekor as v2;

use crate::propose::canonical;

/// Who is said to have signed: a certificate or a bare key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verifier {
    /// The leaf.
    Certificate(Certificate),
    /// The key.
    Key(PublicKey),
}

impl Verifier {
    /// The key that verifies.
    pub fn key(&self) -> &PublicKey {
        match self {
            Self::Certificate(certificate) => certificate.public_key(),
            Self::Key(key) => key,
        }
    }

    fn from_pem(text: &[u8]) -> Result<Self, BodyError> {
        let text = std::str::from_utf8(text).map_err(|_| BodyError::Verifier("not text".into()))?;
        let wrong = |error: &dyn std::fmt::Display| BodyError::Verifier(error.to_string());
        let first = pem::decode_all(text)
            .map_err(|error| wrong(&error))?
            .into_iter()
            .next();
        match first {
            Some(block) if block.label == "CERTIFICATE" => Certificate::from_der(&block.der)
                .map(Self::Certificate)
                .map_err(|error| wrong(&error)),
            _ => PublicKey::from_pem(text)
                .map(Self::Key)
                .map_err(|error| wrong(&error)),
        }
    }

    pub(crate) fn from_wire(verifier: &v2::Verifier) -> Result<(Self, Algorithm), BodyError> {
        let who = match (&verifier.x509_certificate, &verifier.public_key) {
            (Some(certificate), None) => Certificate::from_der(&certificate.raw_bytes.0)
                .map(Self::Certificate)
                .map_err(|error| BodyError::Verifier(error.to_string()))?,
            (None, Some(key)) => PublicKey::from_spki_der(&key.raw_bytes.0)
                .map(Self::Key)
                .map_err(|error| BodyError::Verifier(error.to_string()))?,
            _ => {
                return Err(BodyError::Verifier(
                    "neither or both of key and certificate".into(),
                ));
            }
        };
        let algorithm = match &verifier.key_details {
            EnumValue::Name(name) => Algorithm::from_wire_name(name),
            EnumValue::Number(number) => Algorithm::from_wire_number(*number),
        }
        .ok_or_else(|| {
            BodyError::Verifier(format!("unknown keyDetails {}", verifier.key_details))
        })?;
        if algorithm.key_type() != who.key().key_type() {
            return Err(BodyError::Verifier(format!(
                "keyDetails {} are not those of the key",
                verifier.key_details
            )));
        }
        Ok((who, algorithm))
    }

    pub(crate) fn to_wire(&self, algorithm: Algorithm) -> v2::Verifier {
        let (certificate, key) = match self {
            Self::Certificate(certificate) => (
                Some(wire::common::X509Certificate {
                    raw_bytes: certificate.der().into(),
                }),
                None,
            ),
            Self::Key(key) => (
                None,
                Some(v2::RawKey {
                    raw_bytes: key.spki_der().into(),
                }),
            ),
        };
        v2::Verifier {
            public_key: key,
            x509_certificate: certificate,
            key_details: EnumValue::name(algorithm.wire_name()),
        }
    }
}

/// A signature with who made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// The signature.
    pub signature: Vec<u8>,
    /// Who is said to have made it.
    pub verifier: Verifier,
}

/// The body of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// hashedrekord 0.0.1 or 0.0.2: a signature over a digest.
    HashedRekord {
        /// What was signed: of a file, or (0.0.2) of a DSSE pre-authentication encoding.
        digest: Digest,
        /// Its signature.
        signed: Signed,
        /// Is it 0.0.2?
        v2: bool,
    },
    /// dsse 0.0.1 or 0.0.2, or intoto 0.0.2: a signed envelope.
    Dsse {
        /// Digest of the payload.
        payload: Digest,
        /// Its signatures.
        signed: Vec<Signed>,
    },
    /// intoto 0.0.1: a document with an envelope in it, of which the log kept the digest and not the signature. cosign before 2.2 wrote this kind
    /// for attestations, and later ones with `--rekor-entry-type intoto`.
    Intoto {
        /// Digest of the document as it came, byte for byte.
        document: Digest,
        /// Digest of the payload; the oldest entries have none.
        payload: Option<Digest>,
        /// With whose key the log checked the signature.
        verifier: Verifier,
    },
}

/// Why bytes are no body that binds anything.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BodyError {
    /// A kind or version that is not read.
    #[error("entries of kind {kind} {version} are not supported")]
    Kind {
        /// As named.
        kind: String,
        /// As named.
        version: String,
    },
    /// The body says that it is of another kind than the entry.
    #[error("the body is a {body}, the entry says {entry}")]
    OtherKind {
        /// In the body.
        body: String,
        /// In the entry.
        entry: String,
    },
    /// Not JSON of the kind's shape.
    #[error("malformed body: {0}")]
    Malformed(String),
    /// A digest that is none.
    #[error("the body's digest: {0}")]
    Digest(String),
    /// A key or certificate that is none.
    #[error("the body's verifier: {0}")]
    Verifier(String),
    /// The bytes are not the canonical ones of what they say, so they say more or say it otherwise.
    #[error("the body is not in its canonical form")]
    NotCanonical,
}

/// What a bundle is about, for comparison with a body.
#[derive(Debug, Clone, Copy)]
pub enum Content<'a> {
    /// A file, by its digest.
    Message(&'a Digest),
    /// An envelope.
    Envelope(&'a Envelope),
    /// An envelope, and the document that it was read from.
    Document(&'a Envelope, &'a [u8]),
}

/// How an entry differs from the bundle that carries it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BindError {
    /// A message under an envelope's entry, or the other way round.
    #[error("the log entry is of a kind that does not go with this bundle's content")]
    Kind,
    /// Another artifact or payload.
    #[error("the log entry is about another digest than the bundle")]
    Digest,
    /// Another signature.
    #[error("the log entry is about another signature than the bundle's")]
    Signature,
    /// Another signer.
    #[error("the log entry names another certificate or key than the bundle")]
    Verifier,
    /// It could be about any signature of this signer over this payload.
    #[error(
        "the log entry keeps a digest of the whole document and no signature, and the document it is about is not at hand"
    )]
    NoSignature,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Outer<T> {
    api_version: String,
    kind: String,
    spec: T,
}

#[derive(Deserialize)]
struct HashedRekordV1 {
    data: DataV1,
    signature: SignatureV1,
}

#[derive(Deserialize)]
struct DataV1 {
    hash: HashV1,
}

#[derive(Deserialize)]
struct HashV1 {
    algorithm: String,
    value: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SignatureV1 {
    content: Bytes,
    public_key: KeyV1,
}

#[derive(Deserialize)]
struct KeyV1 {
    content: Bytes,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DsseV1 {
    payload_hash: HashV1,
    signatures: Vec<DsseSignatureV1>,
}

#[derive(Deserialize)]
struct DsseSignatureV1 {
    signature: Bytes,
    verifier: Bytes,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct IntotoV1 {
    content: IntotoV1Content,
    public_key: Bytes,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct IntotoV1Content {
    hash: HashV1,
    #[serde(default)]
    payload_hash: Option<HashV1>,
}

#[derive(Deserialize)]
struct IntotoV2 {
    content: IntotoContent,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct IntotoContent {
    envelope: IntotoEnvelope,
    payload_hash: HashV1,
}

#[derive(Deserialize)]
struct IntotoEnvelope {
    signatures: Vec<IntotoSignature>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct IntotoSignature {
    /// base64, twice.
    sig: Bytes,
    public_key: Bytes,
}

impl Body {
    /// Reads a body of the kind and version that its entry names.
    pub fn parse(kind: &str, version: &str, body: &[u8]) -> Result<Self, BodyError> {
        match (kind, version) {
            ("hashedrekord", "0.0.1") => {
                let spec: HashedRekordV1 = spec(kind, version, body)?;
                Ok(Self::HashedRekord {
                    digest: digest_v1(&spec.data.hash)?,
                    signed: Signed {
                        signature: spec.signature.content.0,
                        verifier: Verifier::from_pem(&spec.signature.public_key.content.0)?,
                    },
                    v2: false,
                })
            }
            ("dsse", "0.0.1") => {
                let spec: DsseV1 = spec(kind, version, body)?;
                let signed = spec.signatures.into_iter().map(|signature| {
                    Ok(Signed {
                        verifier: Verifier::from_pem(&signature.verifier.0)?,
                        signature: signature.signature.0,
                    })
                });
                Ok(Self::Dsse {
                    payload: digest_v1(&spec.payload_hash)?,
                    signed: signed.collect::<Result<_, _>>()?,
                })
            }
            ("intoto", "0.0.1") => {
                let spec: IntotoV1 = spec(kind, version, body)?;
                let payload = spec.content.payload_hash.as_ref();
                Ok(Self::Intoto {
                    document: digest_v1(&spec.content.hash)?,
                    payload: payload.map(digest_v1).transpose()?,
                    verifier: Verifier::from_pem(&spec.public_key.0)?,
                })
            }
            ("intoto", "0.0.2") => {
                let spec: IntotoV2 = spec(kind, version, body)?;
                let signed = spec
                    .content
                    .envelope
                    .signatures
                    .into_iter()
                    .map(|signature| {
                        let text = String::from_utf8(signature.sig.0)
                            .map_err(|_| BodyError::Malformed("sig".into()))?;
                        let inner = Bytes::decode(&text).map_err(|_| {
                            BodyError::Malformed("sig is base64 once, not twice".into())
                        })?;
                        Ok(Signed {
                            signature: inner.0,
                            verifier: Verifier::from_pem(&signature.public_key.0)?,
                        })
                    });
                Ok(Self::Dsse {
                    payload: digest_v1(&spec.content.payload_hash)?,
                    signed: signed.collect::<Result<_, _>>()?,
                })
            }
            ("hashedrekord" | "dsse", "0.0.2") => Self::parse_v2(kind, body),
            _ => Err(BodyError::Kind {
                kind: kind.into(),
                version: version.into(),
            }),
        }
    }

    fn parse_v2(kind: &str, body: &[u8]) -> Result<Self, BodyError> {
        let malformed = |error: wire::WireError| BodyError::Malformed(error.to_string());
        let entry: v2::Entry = wire::parse(body).map_err(malformed)?;
        // rekor v2 bodies are defined by their canonical bytes: reading back and writing must give what the log hashed.
        if canonical(&entry).as_deref() != Some(body) {
            return Err(BodyError::NotCanonical);
        }
        if entry.kind != kind || entry.api_version != "0.0.2" {
            return Err(BodyError::OtherKind {
                body: format!("{} {}", entry.kind, entry.api_version),
                entry: format!("{kind} 0.0.2"),
            });
        }
        let signed = |signature: &v2::Signature| -> Result<Signed, BodyError> {
            Ok(Signed {
                signature: signature.content.0.clone(),
                verifier: Verifier::from_wire(&signature.verifier)?.0,
            })
        };
        match (kind, entry.spec.hashed_rekord_v002, entry.spec.dsse_v002) {
            ("hashedrekord", Some(spec), None) => Ok(Self::HashedRekord {
                digest: digest_v2(&spec.data)?,
                signed: signed(&spec.signature)?,
                v2: true,
            }),
            ("dsse", None, Some(spec)) => Ok(Self::Dsse {
                payload: digest_v2(&spec.payload_hash)?,
                signed: spec
                    .signatures
                    .iter()
                    .map(signed)
                    .collect::<Result<_, _>>()?,
            }),
            _ => Err(BodyError::Malformed(
                "the spec is not that of the kind".into(),
            )),
        }
    }

    /// Is the entry about exactly this signature, by this signer, over this content?
    pub fn bind(
        &self,
        content: Content<'_>,
        signature: &[u8],
        signer: &Verifier,
    ) -> Result<(), BindError> {
        let check = |signed: &Signed| {
            if signed.signature != signature {
                Err(BindError::Signature)
            } else if signed.verifier != *signer {
                Err(BindError::Verifier)
            } else {
                Ok(())
            }
        };
        match (self, content) {
            (Self::HashedRekord { digest, signed, .. }, Content::Message(message)) => {
                if digest != message {
                    return Err(BindError::Digest);
                }
                check(signed)
            }
            // rekor-v2-spec 6.1.4: an envelope is logged as the digest of its pre-authentication encoding.
            (
                Self::HashedRekord {
                    digest,
                    signed,
                    v2: true,
                },
                Content::Envelope(envelope) | Content::Document(envelope, _),
            ) => {
                if *digest != Digest::of(digest.algorithm(), &envelope.pae()) {
                    return Err(BindError::Digest);
                }
                check(signed)
            }
            (
                Self::Dsse { payload, signed },
                Content::Envelope(envelope) | Content::Document(envelope, _),
            ) => {
                if *payload != Digest::of(payload.algorithm(), &envelope.payload) {
                    return Err(BindError::Digest);
                }
                // A bundle's envelope has one signature; an entry with others is about another envelope.
                match signed.as_slice() {
                    [signed] => check(signed),
                    _ => Err(BindError::Signature),
                }
            }
            (
                Self::Intoto {
                    document,
                    payload,
                    verifier,
                },
                Content::Document(envelope, bytes),
            ) => {
                let is_of = |digest: &Digest, bytes: &[u8]| {
                    *digest == Digest::of(digest.algorithm(), bytes)
                };
                if payload
                    .as_ref()
                    .is_some_and(|payload| !is_of(payload, &envelope.payload))
                {
                    return Err(BindError::Digest);
                }
                // The signature is in the document and nowhere else.
                if !is_of(document, bytes) {
                    return Err(BindError::Signature);
                }
                if verifier != signer {
                    return Err(BindError::Verifier);
                }
                Ok(())
            }
            (Self::Intoto { .. }, Content::Envelope(_)) => Err(BindError::NoSignature),
            _ => Err(BindError::Kind),
        }
    }
}

fn spec<T: for<'de> Deserialize<'de>>(
    kind: &str,
    version: &str,
    body: &[u8],
) -> Result<T, BodyError> {
    let outer: Outer<T> =
        wire::parse(body).map_err(|error| BodyError::Malformed(error.to_string()))?;
    if outer.kind != kind || outer.api_version != version {
        return Err(BodyError::OtherKind {
            body: format!("{} {}", outer.kind, outer.api_version),
            entry: format!("{kind} {version}"),
        });
    }
    Ok(outer.spec)
}

fn digest_v1(hash: &HashV1) -> Result<Digest, BodyError> {
    let algorithm = HashAlgorithm::from_name(&hash.algorithm)
        .ok_or_else(|| BodyError::Digest(format!("unknown algorithm {}", hash.algorithm)))?;
    let bytes = hex::decode(&hash.value).map_err(|_| BodyError::Digest("not hex".into()))?;
    Digest::new(algorithm, &bytes).map_err(|error| BodyError::Digest(error.to_string()))
}

pub(crate) fn digest_v2(hash: &HashOutput) -> Result<Digest, BodyError> {
    let algorithm = match &hash.algorithm {
        EnumValue::Name(name) => HashAlgorithm::from_wire_name(name),
        EnumValue::Number(number) => HashAlgorithm::from_wire_number(*number),
    }
    .ok_or_else(|| BodyError::Digest(format!("unknown algorithm {}", hash.algorithm)))?;
    Digest::new(algorithm, &hash.digest.0).map_err(|error| BodyError::Digest(error.to_string()))
}
