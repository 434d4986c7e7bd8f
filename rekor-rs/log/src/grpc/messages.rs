//! The protobuf messages, field by field as the `.proto` files number them: sigstore/rekor-tiles `api/proto/rekor/v2`, sigstore/protobuf-specs
//! `sigstore_rekor.proto`, in-toto `envelope.proto`; and those that every service has.

use prost::{Message, Oneof};
pub use serve::grpc::messages::{Empty, HealthCheckRequest, HealthCheckResponse, HttpBody};
use wire::bundle::{Envelope, EnvelopeSignature, TransparencyLogEntryReply};
use wire::common::X509Certificate;
use wire::encoding::EnumValue;
use wire::rekor as json;

/// `dev.sigstore.rekor.v2.CreateEntryRequest`
#[derive(Clone, PartialEq, Eq, Message)]
pub struct CreateEntryRequest {
    /// What is to be logged.
    #[prost(oneof = "RequestSpec", tags = "1, 2")]
    pub spec: Option<RequestSpec>,
}

/// One of two.
#[derive(Clone, PartialEq, Eq, Oneof)]
pub enum RequestSpec {
    /// A signature over a digest.
    #[prost(message, tag = "1")]
    HashedRekord(HashedRekordRequest),
    /// A signed envelope.
    #[prost(message, tag = "2")]
    Dsse(DsseRequest),
}

/// `HashedRekordRequestV002`
#[derive(Clone, PartialEq, Eq, Message)]
pub struct HashedRekordRequest {
    /// The digest.
    #[prost(bytes = "vec", tag = "1")]
    pub digest: Vec<u8>,
    /// The signature over it.
    #[prost(message, optional, tag = "2")]
    pub signature: Option<Signature>,
}

/// `DSSERequestV002`
#[derive(Clone, PartialEq, Eq, Message)]
pub struct DsseRequest {
    /// The envelope.
    #[prost(message, optional, tag = "1")]
    pub envelope: Option<DsseEnvelope>,
    /// A verifier for each of its signatures.
    #[prost(message, repeated, tag = "2")]
    pub verifiers: Vec<Verifier>,
}

/// `io.intoto.Envelope`
#[derive(Clone, PartialEq, Eq, Message)]
pub struct DsseEnvelope {
    /// What is signed.
    #[prost(bytes = "vec", tag = "1")]
    pub payload: Vec<u8>,
    /// Its media type.
    #[prost(string, tag = "2")]
    pub payload_type: String,
    /// The signatures.
    #[prost(message, repeated, tag = "3")]
    pub signatures: Vec<DsseSignature>,
}

/// `io.intoto.Signature`
#[derive(Clone, PartialEq, Eq, Message)]
pub struct DsseSignature {
    /// The signature.
    #[prost(bytes = "vec", tag = "1")]
    pub sig: Vec<u8>,
    /// A hint for the key.
    #[prost(string, tag = "2")]
    pub keyid: String,
}

/// `dev.sigstore.rekor.v2.Signature`
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Signature {
    /// The signature.
    #[prost(bytes = "vec", tag = "1")]
    pub content: Vec<u8>,
    /// What verifies it.
    #[prost(message, optional, tag = "2")]
    pub verifier: Option<Verifier>,
}

/// `dev.sigstore.rekor.v2.Verifier`
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Verifier {
    /// Key or certificate.
    #[prost(oneof = "Key", tags = "1, 2")]
    pub verifier: Option<Key>,
    /// `dev.sigstore.common.v1.PublicKeyDetails`
    #[prost(int32, tag = "3")]
    pub key_details: i32,
}

/// One of two.
#[derive(Clone, PartialEq, Eq, Oneof)]
pub enum Key {
    /// SubjectPublicKeyInfo, DER.
    #[prost(message, tag = "1")]
    PublicKey(RawBytes),
    /// X.509, DER.
    #[prost(message, tag = "2")]
    X509Certificate(RawBytes),
}

/// `PublicKey` and `dev.sigstore.common.v1.X509Certificate` alike.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct RawBytes {
    /// DER.
    #[prost(bytes = "vec", tag = "1")]
    pub raw_bytes: Vec<u8>,
}

/// `dev.sigstore.rekor.v1.TransparencyLogEntry`
#[derive(Clone, PartialEq, Eq, Message)]
pub struct TransparencyLogEntry {
    /// Index of the entry.
    #[prost(int64, tag = "1")]
    pub log_index: i64,
    /// Which log.
    #[prost(message, optional, tag = "2")]
    pub log_id: Option<LogId>,
    /// Kind and version of the body.
    #[prost(message, optional, tag = "3")]
    pub kind_version: Option<KindVersion>,
    /// Seconds since 1970; 0 in Rekor v2.
    #[prost(int64, tag = "4")]
    pub integrated_time: i64,
    // 5 is the promise, which Rekor v2 does not make.
    /// Proof and checkpoint.
    #[prost(message, optional, tag = "6")]
    pub inclusion_proof: Option<InclusionProof>,
    /// The leaf.
    #[prost(bytes = "vec", tag = "7")]
    pub canonicalized_body: Vec<u8>,
}

/// `dev.sigstore.common.v1.LogId`
#[derive(Clone, PartialEq, Eq, Message)]
pub struct LogId {
    /// The whole hash whose start is the note's key hint.
    #[prost(bytes = "vec", tag = "1")]
    pub key_id: Vec<u8>,
}

/// `dev.sigstore.rekor.v1.KindVersion`
#[derive(Clone, PartialEq, Eq, Message)]
pub struct KindVersion {
    /// `hashedrekord` or `dsse`.
    #[prost(string, tag = "1")]
    pub kind: String,
    /// `0.0.2`.
    #[prost(string, tag = "2")]
    pub version: String,
}

/// `dev.sigstore.rekor.v1.InclusionProof`
#[derive(Clone, PartialEq, Eq, Message)]
pub struct InclusionProof {
    /// Index of the entry.
    #[prost(int64, tag = "1")]
    pub log_index: i64,
    /// Root of the tree.
    #[prost(bytes = "vec", tag = "2")]
    pub root_hash: Vec<u8>,
    /// Its size.
    #[prost(int64, tag = "3")]
    pub tree_size: i64,
    /// From the leaf upwards.
    #[prost(bytes = "vec", repeated, tag = "4")]
    pub hashes: Vec<Vec<u8>>,
    /// The signed note.
    #[prost(message, optional, tag = "5")]
    pub checkpoint: Option<Checkpoint>,
}

/// `dev.sigstore.rekor.v1.Checkpoint`
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Checkpoint {
    /// The signed note.
    #[prost(string, tag = "1")]
    pub envelope: String,
}

/// `dev.sigstore.rekor.v2.TileRequest`
#[derive(Clone, PartialEq, Eq, Message)]
pub struct TileRequest {
    /// Level.
    #[prost(uint32, tag = "1")]
    pub level: u32,
    /// Index and width, as in the path.
    #[prost(string, tag = "2")]
    pub index: String,
}

/// `dev.sigstore.rekor.v2.EntryBundleRequest`
#[derive(Clone, PartialEq, Eq, Message)]
pub struct EntryBundleRequest {
    /// Index and width, as in the path.
    #[prost(string, tag = "1")]
    pub index: String,
}

/// A member that must be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Missing(pub(super) &'static str);

impl CreateEntryRequest {
    /// The same request in the shape of the JSON interface, which is admitted by the same rules.
    pub(super) fn into_proposed(self) -> Result<entry::Proposed, Missing> {
        match self.spec.ok_or(Missing("spec"))? {
            RequestSpec::HashedRekord(request) => {
                let signature = request.signature.ok_or(Missing("signature"))?;
                Ok(entry::Proposed::HashedRekord(json::HashedRekordRequest {
                    digest: request.digest.as_slice().into(),
                    signature: json::Signature {
                        content: signature.content.as_slice().into(),
                        verifier: signature
                            .verifier
                            .ok_or(Missing("signature.verifier"))?
                            .into_json(),
                    },
                }))
            }
            RequestSpec::Dsse(request) => {
                let envelope = request.envelope.ok_or(Missing("envelope"))?;
                let signatures = envelope.signatures.into_iter();
                Ok(entry::Proposed::Dsse(json::DsseRequest {
                    envelope: Envelope {
                        payload: envelope.payload.as_slice().into(),
                        payload_type: envelope.payload_type,
                        signatures: signatures
                            .map(|signature| EnvelopeSignature {
                                sig: signature.sig.as_slice().into(),
                                keyid: signature.keyid,
                            })
                            .collect(),
                    },
                    verifiers: request
                        .verifiers
                        .into_iter()
                        .map(Verifier::into_json)
                        .collect(),
                }))
            }
        }
    }
}

impl Verifier {
    fn into_json(self) -> json::Verifier {
        let (public_key, x509_certificate) = match self.verifier {
            None => (None, None),
            Some(Key::PublicKey(RawBytes { raw_bytes })) => (
                Some(json::RawKey {
                    raw_bytes: raw_bytes.as_slice().into(),
                }),
                None,
            ),
            Some(Key::X509Certificate(RawBytes { raw_bytes })) => (
                None,
                Some(X509Certificate {
                    raw_bytes: raw_bytes.as_slice().into(),
                }),
            ),
        };
        json::Verifier {
            public_key,
            x509_certificate,
            key_details: EnumValue::Number(self.key_details),
        }
    }
}

impl From<TransparencyLogEntryReply> for TransparencyLogEntry {
    fn from(reply: TransparencyLogEntryReply) -> Self {
        let proof = reply.inclusion_proof;
        Self {
            log_index: reply.log_index.0,
            log_id: Some(LogId {
                key_id: reply.log_id.key_id.0,
            }),
            kind_version: Some(KindVersion {
                kind: reply.kind_version.kind,
                version: reply.kind_version.version,
            }),
            integrated_time: reply.integrated_time.0,
            inclusion_proof: Some(InclusionProof {
                log_index: proof.log_index.0,
                root_hash: proof.root_hash.0,
                tree_size: proof.tree_size.0,
                hashes: proof.hashes.into_iter().map(|hash| hash.0).collect(),
                checkpoint: proof.checkpoint.map(|checkpoint| Checkpoint {
                    envelope: checkpoint.envelope,
                }),
            }),
            canonicalized_body: reply.canonicalized_body.0,
        }
    }
}
