//! The log's side: what is proposed, whether it may go in, and the bytes that go in.

use keys::{Algorithm, Digest, HashAlgorithm, KeyType, PublicKey};
use thiserror::Error;
use wire::common::HashOutput;
use wire::encoding::{Bytes, EnumValue};
use wire::rekor::{self as v2, CreateEntryRequest};

use crate::body::{Signed, Verifier};
use crate::message::Message;

/// What a Rekor v2 log takes by default: the algorithms of rekor-tiles.
pub const REKOR_V2_ALGORITHMS: [Algorithm; 7] = [
    Algorithm::RsaPkcs1Sha256_2048,
    Algorithm::RsaPkcs1Sha256_3072,
    Algorithm::RsaPkcs1Sha256_4096,
    Algorithm::EcdsaP256Sha256,
    Algorithm::EcdsaP384Sha384,
    Algorithm::EcdsaP521Sha512,
    Algorithm::Ed25519Ph,
];
/// The most signatures, and the most verifiers, of one envelope.
const MAX_SIGNATURES: usize = 10;

/// An entry that somebody wants in the log.
#[derive(Debug, Clone)]
pub enum Proposed {
    /// hashedrekord 0.0.2.
    HashedRekord(v2::HashedRekordRequest),
    /// dsse 0.0.2.
    Dsse(v2::DsseRequest),
}

/// An entry whose signatures were checked, in the bytes that the log keeps. Only [`Proposed::admit`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    kind: &'static str,
    body: Vec<u8>,
}

/// Why an entry may not go in.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AdmitError {
    /// Not the JSON of a request.
    #[error("invalid request: {0}")]
    Malformed(String),
    /// A member that must be there is not, or is not what it should be.
    #[error("invalid {what}: {why}")]
    Invalid {
        /// Which member.
        what: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// The log does not take this algorithm.
    #[error("unsupported algorithm {0}: this log takes {1}")]
    Algorithm(&'static str, String),
    /// A signature that does not hold.
    #[error("the signature does not verify with the given key or certificate")]
    Signature,
}

impl Accepted {
    /// `hashedrekord` or `dsse`.
    pub const fn kind(&self) -> &'static str {
        self.kind
    }

    /// Always `0.0.2`.
    pub const fn version(&self) -> &'static str {
        "0.0.2"
    }

    /// The leaf: RFC 8785 canonical JSON.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// The leaf, given away.
    pub fn into_body(self) -> Vec<u8> {
        self.body
    }
}

impl Proposed {
    /// Reads a request.
    pub fn parse(bytes: &[u8]) -> Result<Self, AdmitError> {
        let request: CreateEntryRequest =
            wire::parse(bytes).map_err(|error| AdmitError::Malformed(error.to_string()))?;
        match (
            request.hashed_rekord_request_v002,
            request.dsse_request_v002,
        ) {
            (Some(request), None) => Ok(Self::HashedRekord(request)),
            (None, Some(request)) => Ok(Self::Dsse(request)),
            _ => Err(AdmitError::Malformed(
                "expected one of hashedRekordRequestV002 and dsseRequestV002".into(),
            )),
        }
    }

    /// Checks the signatures and makes the bytes. CPU work of some tens of microseconds and more: not for an async worker.
    pub fn admit(self, allowed: &[Algorithm]) -> Result<Accepted, AdmitError> {
        match self {
            Self::HashedRekord(request) => admit_hashedrekord(request, allowed),
            Self::Dsse(request) => admit_dsse(&request, allowed),
        }
    }

    /// The request for a signature over a digest, as a client sends it.
    pub fn hashedrekord(digest: &Digest, signed: &Signed, algorithm: Algorithm) -> Self {
        Self::HashedRekord(v2::HashedRekordRequest {
            digest: digest.bytes().into(),
            signature: signature(signed, algorithm),
        })
    }

    /// The JSON shape.
    pub fn to_wire(&self) -> CreateEntryRequest {
        match self.clone() {
            Self::HashedRekord(request) => CreateEntryRequest {
                hashed_rekord_request_v002: Some(request),
                dsse_request_v002: None,
            },
            Self::Dsse(request) => CreateEntryRequest {
                hashed_rekord_request_v002: None,
                dsse_request_v002: Some(request),
            },
        }
    }
}

/// The algorithm under which a key's signatures go into a hashedrekord: its default one, but Ed25519ph for Ed25519, since a log that sees only
/// the digest cannot verify pure Ed25519.
pub const fn hashedrekord_algorithm(key: &PublicKey) -> Algorithm {
    match key.key_type() {
        KeyType::Ed25519 => Algorithm::Ed25519Ph,
        _ => key.default_algorithm(),
    }
}

fn admit_hashedrekord(
    request: v2::HashedRekordRequest,
    allowed: &[Algorithm],
) -> Result<Accepted, AdmitError> {
    let (verifier, algorithm) = verifier(&request.signature.verifier, allowed)?;
    let hash = algorithm
        .hash()
        .ok_or_else(|| not_allowed(algorithm, allowed))?;
    let digest = Digest::new(hash, &request.digest.0).map_err(|error| invalid("digest", &error))?;
    let content = request.signature.content;
    if content.0.is_empty() {
        return Err(invalid("signature.content", &"it is empty"));
    }
    verifier
        .key()
        .verify_digest(algorithm, &digest, &content.0)
        .map_err(|_| AdmitError::Signature)?;
    let signed = Signed {
        signature: content.0,
        verifier,
    };
    let spec = v2::Spec {
        hashed_rekord_v002: Some(v2::HashedRekordEntry {
            data: output(&digest),
            signature: signature(&signed, algorithm),
        }),
        dsse_v002: None,
    };
    accept("hashedrekord", spec)
}

fn admit_dsse(request: &v2::DsseRequest, allowed: &[Algorithm]) -> Result<Accepted, AdmitError> {
    let (signatures, verifiers) = (&request.envelope.signatures, &request.verifiers);
    if signatures.is_empty() || signatures.len() > MAX_SIGNATURES {
        return Err(invalid(
            "envelope.signatures",
            &format!(
                "{} signatures, expected 1 to {MAX_SIGNATURES}",
                signatures.len()
            ),
        ));
    }
    if verifiers.is_empty() || verifiers.len() > MAX_SIGNATURES {
        return Err(invalid(
            "verifiers",
            &format!(
                "{} verifiers, expected 1 to {MAX_SIGNATURES}",
                verifiers.len()
            ),
        ));
    }
    if request.envelope.payload_type.is_empty() {
        return Err(invalid("envelope.payloadType", &"it is empty"));
    }
    let pae = Message::pae(&request.envelope.payload_type, &request.envelope.payload.0);
    let candidates = verifiers
        .iter()
        .map(|given| verifier(given, allowed))
        .collect::<Result<Vec<_>, _>>()?;
    let mut used = vec![false; candidates.len()];
    let mut entries = Vec::new();
    for given in signatures {
        // Every signature must hold under one of the verifiers, and every verifier must be needed.
        let found = candidates
            .iter()
            .zip(&mut used)
            .find(|((verifier, algorithm), _)| {
                // The public log's dsse entries know Ed25519 keys as pure ones: an envelope is at hand, unlike a digest.
                let algorithm = if *algorithm == Algorithm::Ed25519Ph {
                    Algorithm::Ed25519
                } else {
                    *algorithm
                };
                pae.is_signed_by(verifier.key(), algorithm, &given.sig.0)
            });
        let ((verifier, algorithm), used) = found.ok_or(AdmitError::Signature)?;
        *used = true;
        entries.push(signature(
            &Signed {
                signature: given.sig.0.clone(),
                verifier: verifier.clone(),
            },
            *algorithm,
        ));
    }
    if used.contains(&false) {
        return Err(invalid(
            "verifiers",
            &"a verifier made none of the signatures",
        ));
    }
    entries.sort_by(|one, other| one.content.0.cmp(&other.content.0));
    let payload_hash = output(&Digest::of(
        HashAlgorithm::Sha256,
        &request.envelope.payload.0,
    ));
    accept(
        "dsse",
        v2::Spec {
            hashed_rekord_v002: None,
            dsse_v002: Some(v2::DsseEntry {
                payload_hash,
                signatures: entries,
            }),
        },
    )
}

fn accept(kind: &'static str, spec: v2::Spec) -> Result<Accepted, AdmitError> {
    let entry = v2::Entry {
        api_version: "0.0.2".into(),
        kind: kind.into(),
        spec,
    };
    let body = canonical(&entry)
        .ok_or_else(|| AdmitError::Malformed("the entry has no canonical form".into()))?;
    Ok(Accepted { kind, body })
}

fn verifier(
    given: &v2::Verifier,
    allowed: &[Algorithm],
) -> Result<(Verifier, Algorithm), AdmitError> {
    let (verifier, algorithm) =
        Verifier::from_wire(given).map_err(|error| invalid("verifier", &error))?;
    if allowed.contains(&algorithm) {
        Ok((verifier, algorithm))
    } else {
        Err(not_allowed(algorithm, allowed))
    }
}

fn not_allowed(algorithm: Algorithm, allowed: &[Algorithm]) -> AdmitError {
    let names: Vec<_> = allowed
        .iter()
        .map(|algorithm| algorithm.wire_name())
        .collect();
    AdmitError::Algorithm(algorithm.wire_name(), names.join(", "))
}

fn invalid(what: &'static str, why: &dyn std::fmt::Display) -> AdmitError {
    AdmitError::Invalid {
        what,
        why: why.to_string(),
    }
}

fn signature(signed: &Signed, algorithm: Algorithm) -> v2::Signature {
    v2::Signature {
        content: Bytes(signed.signature.clone()),
        verifier: signed.verifier.to_wire(algorithm),
    }
}

fn output(digest: &Digest) -> HashOutput {
    HashOutput {
        algorithm: EnumValue::name(digest.algorithm().wire_name()),
        digest: digest.bytes().into(),
    }
}

/// RFC 8785. The shapes hold text only, so there is always a form.
pub(crate) fn canonical(entry: &v2::Entry) -> Option<Vec<u8>> {
    canonical_json(entry)
}

/// RFC 8785 JSON of a document; `None` when it holds a number that has no exact form there.
pub fn canonical_json<T: serde::Serialize>(document: &T) -> Option<Vec<u8>> {
    serde_json_canonicalizer::to_vec(document).ok()
}
