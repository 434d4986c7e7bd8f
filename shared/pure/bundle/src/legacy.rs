//! Signatures and attestations as cosign before version 3 attaches them (sigstore/cosign: specs/SIGNATURE_SPEC.md): a layer of an image
//! manifest, and what the layer's annotations say about it.
//!
//! ```text
//! layer  application/vnd.dev.cosign.simplesigning.v1+json   what was signed: names the image by its digest
//!        application/vnd.dsse.envelope.v1+json              an envelope around a statement
//!   dev.cosignproject.cosign/signature      base64 of the signature over the layer's bytes; empty beside an envelope, which has its own
//!   dev.sigstore.cosign/certificate         the signer's certificate, PEM
//!   dev.sigstore.cosign/chain               the certificates above it, PEM
//!   dev.sigstore.cosign/bundle              the log's promise: {"SignedEntryTimestamp", "Payload": {body, integratedTime, logIndex, logID}}
//!   dev.sigstore.cosign/rfc3161timestamp    {"SignedRFC3161Timestamp"}, over the signature, or over the layer where that is an envelope
//! ```
//!
//! This is a type of its own and no bundle: other bytes are stamped, there is never an inclusion proof, and what a simple signature is about
//! stands in its payload. Reading checks structure only, as with bundles.

use std::collections::BTreeMap;

use dsse::{Envelope, EnvelopeError};
use entry::LogEntry;
use jiff::Timestamp;
use keys::Digest;
use pki::{CertError, Certificate};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use wire::encoding::Bytes;

use crate::{Bundle, Content, Signer, Version};

/// The media type of a layer with a simple signature's payload.
pub const SIMPLE_SIGNING: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
/// The media type of a layer with an envelope.
pub const ENVELOPE: &str = "application/vnd.dsse.envelope.v1+json";
/// The annotation with the signature.
pub const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
/// The annotation with the signer's certificate.
pub const CERTIFICATE: &str = "dev.sigstore.cosign/certificate";
/// The annotation with the certificates above it.
pub const CHAIN: &str = "dev.sigstore.cosign/chain";
/// The annotation with the log's promise.
pub const PROMISE: &str = "dev.sigstore.cosign/bundle";
/// The annotation with the timestamp.
pub const TIMESTAMP: &str = "dev.sigstore.cosign/rfc3161timestamp";
/// The annotation of an envelope's layer that says of what type the statement is; not signed.
pub const PREDICATE_TYPE: &str = "predicateType";
/// What every payload of a simple signature says that it is.
pub const SIGNATURE_TYPE: &str = "cosign container image signature";
/// The largest payload or envelope: cosign's own bound for attachments (`COSIGN_MAX_ATTACHMENT_SIZE`) is 128 MiB; what a log took is smaller.
pub const MAX_LAYER: usize = wire::MAX_DOCUMENT;

/// A signature or attestation of the old kind; read, not believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Legacy {
    /// The layer, byte for byte.
    pub layer: Vec<u8>,
    /// Who signed.
    pub signer: Signer,
    /// The log's promise, as an entry without a proof; at most one.
    pub entries: Vec<LogEntry>,
    /// RFC 3161 responses, DER; at most one.
    pub timestamps: Vec<Vec<u8>>,
    /// The signature over the layer, or the envelope that the layer is.
    pub content: Content,
}

/// Why a layer and its annotations are no signature.
#[derive(Debug, Error)]
pub enum LegacyError {
    /// More than anybody signs.
    #[error("a layer of {0} bytes, at most {MAX_LAYER}")]
    TooLarge(usize),
    /// An annotation that must be there.
    #[error("there is no annotation {0}")]
    Missing(&'static str),
    /// An annotation that is not what it should be.
    #[error("the annotation {name}: {why}")]
    Annotation {
        /// Which.
        name: &'static str,
        /// What is wrong.
        why: String,
    },
    /// A certificate that is none.
    #[error("the annotation {name}: {source}")]
    Certificate {
        /// Which.
        name: &'static str,
        /// What is wrong.
        source: CertError,
    },
    /// Not JSON of the shape.
    #[error("the layer is no {what}: {source}")]
    Layer {
        /// What it should be.
        what: &'static str,
        /// What is wrong.
        source: wire::WireError,
    },
    /// A malformed envelope.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// A payload that says that it is something else.
    #[error("the payload is of type {0:?}, expected {SIGNATURE_TYPE:?}")]
    Type(String),
    /// A payload that names no digest.
    #[error("the payload's docker-manifest-digest {0:?} is no digest")]
    Digest(String),
}

/// The payload of a simple signature (containers/image: docs/atomic-signature.md, without a signed name): which image, and what else the
/// signer says about it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SimpleSigning {
    critical: Critical,
    optional: Option<BTreeMap<String, serde_json::Value>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Critical {
    identity: DockerReference,
    image: ManifestDigest,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct DockerReference {
    docker_reference: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct ManifestDigest {
    docker_manifest_digest: String,
}

impl SimpleSigning {
    /// What to sign about an image. The reference is the name that the signer used; cosign writes the repository, and checks nothing.
    pub fn new(
        reference: &str,
        image: &Digest,
        optional: BTreeMap<String, serde_json::Value>,
    ) -> Self {
        Self {
            critical: Critical {
                identity: DockerReference {
                    docker_reference: reference.to_owned(),
                },
                image: ManifestDigest {
                    docker_manifest_digest: image.to_string(),
                },
                kind: SIGNATURE_TYPE.to_owned(),
            },
            optional: (!optional.is_empty()).then_some(optional),
        }
    }

    /// Reads a payload; the type must be that of a signature, and the digest one.
    pub fn parse(payload: &[u8]) -> Result<Self, LegacyError> {
        let read: Self = wire::parse(payload).map_err(|source| LegacyError::Layer {
            what: "payload of a signature",
            source,
        })?;
        if read.critical.kind != SIGNATURE_TYPE {
            return Err(LegacyError::Type(read.critical.kind));
        }
        if Digest::parse(&read.critical.image.docker_manifest_digest).is_err() {
            let stated = read.critical.image.docker_manifest_digest;
            return Err(LegacyError::Digest(stated));
        }
        Ok(read)
    }

    /// The bytes to sign.
    pub fn to_json(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(self)
    }

    /// The image's digest as it is written there.
    pub fn image(&self) -> &str {
        &self.critical.image.docker_manifest_digest
    }

    /// The name that the signer used for the image; nobody checks it.
    pub fn reference(&self) -> &str {
        &self.critical.identity.docker_reference
    }

    /// What else the signer says.
    pub const fn optional(&self) -> Option<&BTreeMap<String, serde_json::Value>> {
        self.optional.as_ref()
    }
}

impl Legacy {
    /// A layer with a simple signature's payload, and its annotations.
    pub fn signature(
        layer: Vec<u8>,
        annotations: &BTreeMap<String, String>,
    ) -> Result<Self, LegacyError> {
        let text = annotations
            .get(SIGNATURE)
            .ok_or(LegacyError::Missing(SIGNATURE))?;
        let signature = Bytes::decode(text.trim())
            .map_err(|error| annotation(SIGNATURE, &error))?
            .0;
        if signature.is_empty() {
            return Err(annotation(SIGNATURE, &"it is empty"));
        }
        let content = Content::Message {
            signature,
            digest: None,
        };
        Self::read(layer, annotations, content)
    }

    /// A layer with an envelope, and its annotations.
    pub fn attestation(
        layer: Vec<u8>,
        annotations: &BTreeMap<String, String>,
    ) -> Result<Self, LegacyError> {
        if layer.len() > MAX_LAYER {
            return Err(LegacyError::TooLarge(layer.len()));
        }
        let envelope = wire::parse(&layer).map_err(|source| LegacyError::Layer {
            what: "envelope",
            source,
        })?;
        let content = Content::Envelope(Envelope::from_wire(envelope)?);
        Self::read(layer, annotations, content)
    }

    fn read(
        layer: Vec<u8>,
        annotations: &BTreeMap<String, String>,
        content: Content,
    ) -> Result<Self, LegacyError> {
        if layer.len() > MAX_LAYER {
            return Err(LegacyError::TooLarge(layer.len()));
        }
        let present = |name: &str| annotations.get(name).filter(|text| !text.is_empty());
        Ok(Self {
            layer,
            signer: signer(present(CERTIFICATE), present(CHAIN))?,
            entries: present(PROMISE)
                .map(|text| promised(text))
                .transpose()?
                .into_iter()
                .collect(),
            timestamps: present(TIMESTAMP)
                .map(|text| stamped(text))
                .transpose()?
                .into_iter()
                .collect(),
            content,
        })
    }

    /// The same in the shape of a bundle, for those who look at its parts. It is none to verify: as a bundle it would be about its payload, and no
    /// image.
    pub fn to_bundle(&self) -> Bundle {
        Bundle {
            version: Version::V01,
            signer: self.signer.clone(),
            entries: self.entries.clone(),
            timestamps: self.timestamps.clone(),
            content: self.content.clone(),
        }
    }

    /// The annotations that say all of this, for writing: `above` are the certificates above the signer's, which old verifiers want to see.
    ///
    /// Only what an old verifier reads is there: an entry without a promise is left out.
    pub fn annotations(&self, above: &[Certificate]) -> BTreeMap<String, String> {
        let mut written = BTreeMap::new();
        let signature = match &self.content {
            Content::Message { signature, .. } => Bytes::encode(signature),
            Content::Envelope(_) => String::new(),
        };
        written.insert(SIGNATURE.to_owned(), signature);
        if let Signer::Certificate { leaf, .. } = &self.signer {
            written.insert(CERTIFICATE.to_owned(), leaf.to_pem());
            let chain: String = above.iter().map(Certificate::to_pem).collect();
            if !chain.is_empty() {
                written.insert(CHAIN.to_owned(), chain);
            }
        }
        if let Some(promise) = self.entries.iter().find_map(Promised::of)
            && let Ok(text) = serde_json::to_string(&promise)
        {
            written.insert(PROMISE.to_owned(), text);
        }
        if let Some(token) = self.timestamps.first()
            && let Ok(text) = serde_json::to_string(&Stamped {
                signed_rfc3161_timestamp: Bytes(token.clone()),
            })
        {
            written.insert(TIMESTAMP.to_owned(), text);
        }
        written
    }
}

fn annotation(name: &'static str, why: &dyn std::fmt::Display) -> LegacyError {
    LegacyError::Annotation {
        name,
        why: why.to_string(),
    }
}

fn signer(certificate: Option<&String>, chain: Option<&String>) -> Result<Signer, LegacyError> {
    let Some(certificate) = certificate else {
        // Nothing says which key it was; the verifier has it, or not.
        return Ok(Signer::Key {
            hint: String::new(),
        });
    };
    let wrong = |name| move |source| LegacyError::Certificate { name, source };
    let leaf = Certificate::from_pem(certificate).map_err(wrong(CERTIFICATE))?;
    let above = match chain {
        Some(chain) => Certificate::chain_from_pem(chain).map_err(wrong(CHAIN))?,
        None => Vec::new(),
    };
    Ok(Signer::Certificate {
        leaf,
        // Roots come from the trusted root. Here they stand beside the signature by custom, and nobody looks at them.
        intermediates: above
            .into_iter()
            .filter(|certificate| !(certificate.is_self_issued() && certificate.is_ca()))
            .collect(),
    })
}

/// The log's promise as cosign keeps it: no proto3 JSON, but what Go makes of its types.
#[derive(Serialize, Deserialize)]
struct Promised {
    #[serde(rename = "SignedEntryTimestamp")]
    signed_entry_timestamp: Bytes,
    #[serde(rename = "Payload")]
    payload: PromisedPayload,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PromisedPayload {
    body: Bytes,
    integrated_time: i64,
    log_index: i64,
    #[serde(rename = "logID")]
    log_id: String,
}

impl Promised {
    fn of(entry: &LogEntry) -> Option<Self> {
        Some(Self {
            signed_entry_timestamp: Bytes(entry.promise.clone()?),
            payload: PromisedPayload {
                body: Bytes(entry.body.clone()),
                integrated_time: entry.integrated_time?.as_second(),
                log_index: i64::try_from(entry.index).ok()?,
                log_id: hex::encode(&entry.log_id),
            },
        })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kind {
    api_version: String,
    kind: String,
}

fn promised(text: &str) -> Result<LogEntry, LegacyError> {
    let wrong = |why: &dyn std::fmt::Display| annotation(PROMISE, why);
    let read: Promised = wire::parse(text.as_bytes()).map_err(|error| wrong(&error))?;
    let payload = read.payload;
    let kind: Kind = wire::parse(&payload.body.0).map_err(|error| wrong(&error))?;
    if read.signed_entry_timestamp.0.is_empty() {
        return Err(wrong(&"the promise is empty"));
    }
    let log_id = hex::decode(&payload.log_id).map_err(|_| wrong(&"logID is not hex"))?;
    if log_id.is_empty() {
        return Err(wrong(&"logID is empty"));
    }
    // A promise is a promise of a time, and 0 is how others say that there is none.
    let time = Timestamp::from_second(payload.integrated_time)
        .ok()
        .filter(|time| *time > Timestamp::UNIX_EPOCH)
        .ok_or_else(|| wrong(&"integratedTime is no time"))?;
    Ok(LogEntry {
        index: u64::try_from(payload.log_index).map_err(|_| wrong(&"logIndex is negative"))?,
        log_id,
        kind: kind.kind,
        version: kind.api_version,
        integrated_time: Some(time),
        promise: Some(read.signed_entry_timestamp.0),
        proof: None,
        body: payload.body.0,
    })
}

#[derive(Serialize, Deserialize)]
struct Stamped {
    #[serde(rename = "SignedRFC3161Timestamp")]
    signed_rfc3161_timestamp: Bytes,
}

fn stamped(text: &str) -> Result<Vec<u8>, LegacyError> {
    let read: Stamped =
        wire::parse(text.as_bytes()).map_err(|error| annotation(TIMESTAMP, &error))?;
    if read.signed_rfc3161_timestamp.0.is_empty() {
        return Err(annotation(TIMESTAMP, &"it is empty"));
    }
    Ok(read.signed_rfc3161_timestamp.0)
}

#[cfg(test)]
mod tests {
    use keys::HashAlgorithm;

    use super::*;

    fn annotations(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    const PROMISE_TEXT: &str = r#"{"SignedEntryTimestamp":"c2V0","Payload":{"body":"eyJhcGlWZXJzaW9uIjoiMC4wLjEiLCJraW5kIjoiaGFzaGVkcmVrb3JkIiwic3BlYyI6e319","integratedTime":1700000000,"logIndex":7,"logID":"c0d23d6a"}}"#;

    #[test]
    fn a_payload_is_written_as_cosign_writes_it() {
        let digest = Digest::of(HashAlgorithm::Sha256, b"x");
        let payload = SimpleSigning::new("localhost:5000/a", &digest, BTreeMap::new());
        let json = payload.to_json().unwrap();
        assert_eq!(
            String::from_utf8(json.clone()).unwrap(),
            format!(
                r#"{{"critical":{{"identity":{{"docker-reference":"localhost:5000/a"}},"image":{{"docker-manifest-digest":"{digest}"}},"type":"cosign container image signature"}},"optional":null}}"#
            )
        );
        assert_eq!(SimpleSigning::parse(&json).unwrap(), payload);
    }

    #[test]
    fn a_payload_of_another_type_or_with_two_digests_is_refused() {
        let text = r#"{"critical":{"identity":{"docker-reference":""},"image":{"docker-manifest-digest":"sha256:2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"},"type":"atomic container signature"},"optional":{}}"#;
        let refused = SimpleSigning::parse(text.as_bytes()).unwrap_err();
        assert!(matches!(refused, LegacyError::Type(_)), "{refused}");
        let other = text.replace("atomic container signature", SIGNATURE_TYPE);
        assert!(SimpleSigning::parse(other.as_bytes()).is_ok());
        let none = other.replace("sha256:2d", "sha256:");
        let refused = SimpleSigning::parse(none.as_bytes()).unwrap_err();
        assert!(matches!(refused, LegacyError::Digest(_)), "{refused}");
        let twice = other.replace("\"type\"", "\"type\":\"x\",\"type\"");
        assert!(SimpleSigning::parse(twice.as_bytes()).is_err());
    }

    #[test]
    fn annotations_are_read_and_written() {
        let read = Legacy::signature(
            b"payload".to_vec(),
            &annotations(&[
                (SIGNATURE, "c2ln"),
                (PROMISE, PROMISE_TEXT),
                (TIMESTAMP, r#"{"SignedRFC3161Timestamp":"dHM="}"#),
                // cosign leaves these empty where a key signed.
                (CERTIFICATE, ""),
                (CHAIN, ""),
            ]),
        )
        .unwrap();
        assert_eq!(read.content.signature(), b"sig");
        assert!(matches!(read.signer, Signer::Key { .. }));
        assert_eq!(read.timestamps, [b"ts".to_vec()]);
        let entry = &read.entries[0];
        assert_eq!(
            (entry.kind.as_str(), entry.version.as_str(), entry.index),
            ("hashedrekord", "0.0.1", 7)
        );
        assert_eq!(entry.promise.as_deref(), Some(b"set".as_slice()));
        assert!(entry.proof.is_none());
        let written = read.annotations(&[]);
        assert_eq!(written[PROMISE], PROMISE_TEXT);
        let again = Legacy::signature(b"payload".to_vec(), &written).unwrap();
        assert_eq!(again, read);
    }

    #[test]
    fn annotations_that_are_not_what_they_should_be_are_refused() {
        for (name, value) in [
            (SIGNATURE, ""),
            (SIGNATURE, "%"),
            (CERTIFICATE, "x"),
            (PROMISE, "{}"),
            (TIMESTAMP, "{}"),
            (TIMESTAMP, r#"{"SignedRFC3161Timestamp":""}"#),
        ] {
            let mut with = annotations(&[(SIGNATURE, "c2ln")]);
            with.insert(name.to_owned(), value.to_owned());
            assert!(Legacy::signature(Vec::new(), &with).is_err(), "{name}");
        }
        for (from, to) in [
            ("c2V0", ""),
            ("1700000000", "0"),
            ("1700000000", "-1"),
            ("\"logIndex\":7", "\"logIndex\":-7"),
            ("c0d23d6a", ""),
            ("c0d23d6a", "xy"),
            ("\"body\":\"ey", "\"body\":\"x"),
        ] {
            let broken = PROMISE_TEXT.replace(from, to);
            assert_ne!(broken, PROMISE_TEXT);
            let with = annotations(&[(SIGNATURE, "c2ln"), (PROMISE, &broken)]);
            assert!(Legacy::signature(Vec::new(), &with).is_err(), "{to}");
        }
        assert!(matches!(
            Legacy::signature(Vec::new(), &BTreeMap::new()),
            Err(LegacyError::Missing(SIGNATURE))
        ));
        let two =
            br#"{"payloadType":"t","payload":"","signatures":[{"sig":"YQ=="},{"sig":"Yg=="}]}"#;
        assert!(matches!(
            Legacy::attestation(two.to_vec(), &BTreeMap::new()),
            Err(LegacyError::Envelope(EnvelopeError::SignatureCount(2)))
        ));
    }
}
