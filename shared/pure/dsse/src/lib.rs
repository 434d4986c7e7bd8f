//! The DSSE envelope (secure-systems-lab/dsse v1.0.2) and the in-toto statement inside it (in-toto attestation v0.1 and v1).
//!
//! The signature covers the pre-authentication encoding of type and payload, never the JSON of the envelope. A statement is read from the
//! payload bytes only after they were verified; nothing is ever re-serialised before it is hashed.

mod statement;

use keys::{Algorithm, PublicKey, SignatureError};
use thiserror::Error;
use wire::bundle::{Envelope as WireEnvelope, EnvelopeSignature};
use wire::encoding::Bytes;

pub use statement::{
    MAX_DIGESTS, MAX_SUBJECTS, STATEMENT_V01, STATEMENT_V1, Statement, StatementError, Subject,
};

/// The payload type of in-toto statements.
pub const IN_TOTO: &str = "application/vnd.in-toto+json";

/// An envelope with exactly one signature, which is what Sigstore bundles hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// The signed bytes.
    pub payload: Vec<u8>,
    /// What they are.
    pub payload_type: String,
    /// The signature over [`pae`].
    pub signature: Vec<u8>,
    /// A hint; not signed, not believed.
    pub keyid: String,
}

/// Why an envelope is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum EnvelopeError {
    /// One signature, not none and not several: with several it would not be clear whose envelope it is.
    #[error("the envelope has {0} signatures, expected exactly one")]
    SignatureCount(usize),
    /// No type, or no signature bytes.
    #[error("the envelope's {0} is empty")]
    Empty(&'static str),
}

impl Envelope {
    /// Takes the envelope of a bundle.
    pub fn from_wire(envelope: WireEnvelope) -> Result<Self, EnvelopeError> {
        let count = envelope.signatures.len();
        let mut signatures = envelope.signatures.into_iter();
        let (Some(signature), None) = (signatures.next(), signatures.next()) else {
            return Err(EnvelopeError::SignatureCount(count));
        };
        if envelope.payload_type.is_empty() {
            return Err(EnvelopeError::Empty("payloadType"));
        }
        if signature.sig.0.is_empty() {
            return Err(EnvelopeError::Empty("signature"));
        }
        Ok(Self {
            payload: envelope.payload.0,
            payload_type: envelope.payload_type,
            signature: signature.sig.0,
            keyid: signature.keyid,
        })
    }

    /// The JSON shape.
    pub fn to_wire(&self) -> WireEnvelope {
        WireEnvelope {
            payload: Bytes(self.payload.clone()),
            payload_type: self.payload_type.clone(),
            signatures: vec![EnvelopeSignature {
                sig: Bytes(self.signature.clone()),
                keyid: self.keyid.clone(),
            }],
        }
    }

    /// What the signature is over.
    pub fn pae(&self) -> Vec<u8> {
        pae(&self.payload_type, &self.payload)
    }

    /// Verifies the signature.
    pub fn verify(&self, key: &PublicKey, algorithm: Algorithm) -> Result<(), SignatureError> {
        key.verify(algorithm, &self.pae(), &self.signature)
    }
}

/// The pre-authentication encoding: `DSSEv1`, then length and bytes of type and payload, separated by single spaces.
pub fn pae(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut encoded = format!(
        "DSSEv1 {} {payload_type} {} ",
        payload_type.len(),
        payload.len()
    )
    .into_bytes();
    encoded.extend_from_slice(payload);
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_answer_of_the_dsse_protocol() {
        assert_eq!(
            pae("http://example.com/HelloWorld", b"hello world"),
            b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
        );
        // Lengths count bytes, not characters.
        assert_eq!(pae("ü", "é".as_bytes()), "DSSEv1 2 ü 2 é".as_bytes());
    }

    #[test]
    fn an_envelope_has_exactly_one_signature() {
        let mut envelope = WireEnvelope {
            payload_type: IN_TOTO.into(),
            ..Default::default()
        };
        assert_eq!(
            Envelope::from_wire(envelope.clone()),
            Err(EnvelopeError::SignatureCount(0))
        );
        envelope.signatures = vec![
            EnvelopeSignature {
                sig: Bytes(vec![1]),
                keyid: String::new()
            };
            2
        ];
        assert_eq!(
            Envelope::from_wire(envelope.clone()),
            Err(EnvelopeError::SignatureCount(2))
        );
        envelope.signatures.truncate(1);
        let read = Envelope::from_wire(envelope.clone()).unwrap();
        assert_eq!(read.to_wire(), envelope);
        envelope.signatures = vec![EnvelopeSignature::default()];
        assert_eq!(
            Envelope::from_wire(envelope.clone()),
            Err(EnvelopeError::Empty("signature"))
        );
    }
}
