//! What a Rekor v1 log is asked to keep: hashedrekord 0.0.1 and dsse 0.0.1 (sigstore/rekor: `pkg/types/*/v0.0.1`).

use dsse::Envelope;
use keys::Digest;
use serde_json::{Value, json};
use wire::encoding::Bytes;

use crate::body::{Signed, Verifier};

/// A proposal to a Rekor v1 log, as a client sends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProposedV1(Value);

impl ProposedV1 {
    /// A signature over a digest.
    pub fn hashedrekord(digest: &Digest, signed: &Signed) -> Self {
        Self(json!({
            "apiVersion": "0.0.1",
            "kind": "hashedrekord",
            "spec": {
                "data": { "hash": { "algorithm": digest.algorithm().name(), "value": digest.to_hex() } },
                "signature": {
                    "content": Bytes::encode(&signed.signature),
                    "publicKey": { "content": pem(&signed.verifier) },
                },
            },
        }))
    }

    /// An envelope with its signature. The log keeps digests of it, and looks at the whole to make them.
    pub fn dsse(envelope: &Envelope, verifier: &Verifier) -> Result<Self, serde_json::Error> {
        Ok(Self(json!({
            "apiVersion": "0.0.1",
            "kind": "dsse",
            "spec": { "proposedContent": {
                "envelope": serde_json::to_string(&envelope.to_wire())?,
                "verifiers": [pem(verifier)],
            } },
        })))
    }

    /// The request's bytes.
    pub fn to_json(&self) -> Vec<u8> {
        self.0.to_string().into_bytes()
    }
}

/// Base64 of PEM, which is text already.
fn pem(verifier: &Verifier) -> String {
    let text = match verifier {
        Verifier::Certificate(leaf) => leaf.to_pem(),
        Verifier::Key(key) => key.to_pem(),
    };
    Bytes::encode(text.as_bytes())
}
