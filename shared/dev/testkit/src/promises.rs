//! The log of before: Rekor v1, as far as its promises go.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use entry::{LogEntry, Verifier};
use jiff::Timestamp;
use keys::{Algorithm, Digest, HashAlgorithm};
use serde_json::json;
use signer::Signer;
use trust::{LogInstance, Validity};

/// A log that promises entries and proves none.
#[derive(Debug)]
pub struct PromisingLog {
    signer: Signer,
    url: String,
}

impl PromisingLog {
    /// A new log at this address.
    pub fn new(url: &str) -> Self {
        Self {
            signer: Signer::generate(Algorithm::EcdsaP256Sha256).unwrap(),
            url: url.to_owned(),
        }
    }

    /// Promises an entry of this body, at this time.
    pub fn promise(&self, kind: &str, body: &[u8], at: Timestamp) -> LogEntry {
        let log_id = self.signer.public_key().key_id().to_vec();
        let index = 7;
        let signed = entry::promise(body, at.as_second(), &log_id, index).unwrap();
        LogEntry {
            index,
            log_id,
            kind: kind.to_owned(),
            version: "0.0.1".to_owned(),
            integrated_time: Some(at),
            promise: Some(self.signer.sign_local(&signed).unwrap()),
            proof: None,
            body: body.to_vec(),
        }
    }

    /// Promises a signature over a file.
    pub fn hashedrekord(
        &self,
        file: &[u8],
        signature: &[u8],
        by: &Verifier,
        at: Timestamp,
    ) -> LogEntry {
        let body = json!({
            "apiVersion": "0.0.1", "kind": "hashedrekord",
            "spec": {
                "data": { "hash": hash(file) },
                "signature": { "content": STANDARD.encode(signature), "publicKey": { "content": pem(by) } },
            },
        });
        self.promise("hashedrekord", body.to_string().as_bytes(), at)
    }

    /// Promises an envelope.
    pub fn dsse(
        &self,
        envelope: &[u8],
        payload: &[u8],
        signature: &[u8],
        by: &Verifier,
        at: Timestamp,
    ) -> LogEntry {
        let body = json!({
            "apiVersion": "0.0.1", "kind": "dsse",
            "spec": {
                "envelopeHash": hash(envelope), "payloadHash": hash(payload),
                "signatures": [{ "signature": STANDARD.encode(signature), "verifier": pem(by) }],
            },
        });
        self.promise("dsse", body.to_string().as_bytes(), at)
    }

    /// Promises an envelope as cosign before 2.2 had it recorded; the oldest entries have no digest of the payload.
    pub fn intoto(
        &self,
        envelope: &[u8],
        payload: Option<&[u8]>,
        by: &Verifier,
        at: Timestamp,
    ) -> LogEntry {
        let content = match payload {
            Some(payload) => json!({ "hash": hash(envelope), "payloadHash": hash(payload) }),
            None => json!({ "hash": hash(envelope) }),
        };
        let body = json!({
            "apiVersion": "0.0.1", "kind": "intoto",
            "spec": { "content": content, "publicKey": pem(by) },
        });
        self.promise("intoto", body.to_string().as_bytes(), at)
    }

    /// Its place in a trusted root.
    pub fn trusted(&self, validity: Validity) -> LogInstance {
        let id = self.signer.public_key().key_id().to_vec();
        LogInstance {
            base_url: self.url.clone(),
            key: self.signer.public_key().clone(),
            algorithm: self.signer.algorithm(),
            checkpoint_id: id.clone(),
            id,
            validity,
            operator: "testkit".into(),
        }
    }
}

fn hash(bytes: &[u8]) -> serde_json::Value {
    json!({ "algorithm": "sha256", "value": Digest::of(HashAlgorithm::Sha256, bytes).to_hex() })
}

fn pem(by: &Verifier) -> String {
    STANDARD.encode(match by {
        Verifier::Certificate(certificate) => certificate.to_pem(),
        Verifier::Key(key) => key.to_pem(),
    })
}
