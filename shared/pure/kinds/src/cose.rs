//! cose 0.0.1: a COSE_Sign1 message, of which the log keeps the digests and the signer (RFC 9052).

use coset::iana::{self, EnumI64 as _};
use coset::{ContentType, CoseSign1, RegisteredLabelWithPrivate, TaggedCborSerializable as _};
use keys::{Algorithm, Digest, HashAlgorithm, KeyType, ecdsa};
use serde::{Deserialize, Serialize};
use wire::encoding::Bytes;

use crate::envelope::statement_keys;
use crate::signer::Signer;
use crate::{Accepted, Admit, Hash, Kind, ProposeError, Rules, invalid};

/// COSE_Sign1 with its tag 18, an array of four.
const TAGGED: [u8; 2] = [0xd2, 0x84];

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Spec {
    data: Data,
    #[serde(default)]
    message: Bytes,
    public_key: Bytes,
}

#[derive(Debug, Deserialize)]
struct Data {
    /// What the signature covers besides.
    #[serde(default)]
    aad: Bytes,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Stored {
    data: Hashes,
    public_key: Bytes,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Hashes {
    envelope_hash: Hash,
    payload_hash: Hash,
}

impl Admit for Spec {
    fn admit(self, _rules: &Rules<'_>) -> Result<Accepted, ProposeError> {
        let Bytes(bytes) = self.message;
        if bytes.is_empty() {
            return Err(invalid("missing COSE Sign1 message"));
        }
        let signer = Signer::from_pem(&self.public_key.0)?;
        if !bytes.starts_with(&TAGGED) {
            return Err(invalid("cbor: invalid COSE_Sign1_Tagged object"));
        }
        let message = CoseSign1::from_tagged_slice(&bytes)
            .map_err(|error| invalid(format!("cbor: invalid COSE_Sign1 message: {error:?}")))?;
        verify(&message, &self.data.aad.0, &signer)?;
        let payload = message.payload.unwrap_or_default();

        let digest = Digest::of(HashAlgorithm::Sha256, &bytes);
        let (envelope_hash, payload_hash) = (Hash::of(&digest), Hash::sha256(&payload));
        let mut keys = vec![envelope_hash.key(), payload_hash.key()];
        signer.search_keys(&mut keys);
        if let Some(ContentType::Text(content_type)) = &message.protected.header.content_type {
            statement_keys(content_type, &payload, &mut keys);
        }
        let stored = Stored {
            data: Hashes {
                envelope_hash,
                payload_hash,
            },
            public_key: Bytes(signer.to_pem().into_bytes()),
        };
        let accepted = Accepted::new(Kind::Cose, "0.0.1", stored, keys)?;
        Ok(accepted.with_attestation(digest, bytes))
    }
}

/// ES256 under P-256 and PS256 under RSA, as upstream.
fn verify(message: &CoseSign1, aad: &[u8], signer: &Signer) -> Result<(), ProposeError> {
    if message.payload.is_none() {
        return Err(invalid("a COSE message without payload cannot be verified"));
    }
    // RFC 9052 3.1: what is critical must be understood. Only the algorithm and the type of the content are.
    let understood = [
        iana::HeaderParameter::Alg,
        iana::HeaderParameter::ContentType,
    ];
    let unknown = message.protected.header.crit.iter().find(|label| {
        !understood
            .iter()
            .any(|known| **label == RegisteredLabelWithPrivate::Assigned(*known))
    });
    if let Some(unknown) = unknown {
        return Err(invalid(format!(
            "the COSE header {unknown:?} is critical and not understood"
        )));
    }
    let key = signer.key().ok_or_else(|| invalid("no public key found"))?;
    let (algorithm, named) = match key.key_type() {
        KeyType::EcdsaP256 => (Algorithm::EcdsaP256Sha256, iana::Algorithm::ES256),
        KeyType::Rsa2048 => (Algorithm::RsaPssSha256_2048, iana::Algorithm::PS256),
        KeyType::Rsa3072 => (Algorithm::RsaPssSha256_3072, iana::Algorithm::PS256),
        KeyType::Rsa4096 => (Algorithm::RsaPssSha256_4096, iana::Algorithm::PS256),
        other => {
            return Err(invalid(format!(
                "unsupported algorithm type {other:?}: COSE messages are taken under P-256 and RSA"
            )));
        }
    };
    let expected = RegisteredLabelWithPrivate::Assigned(named);
    match &message.protected.header.alg {
        Some(found) if *found == expected => {}
        // RFC 9052 3.1: the algorithm may be left out where both sides know it from the data beside the message.
        None if !aad.is_empty() => {}
        found => {
            return Err(invalid(format!(
                "algorithm mismatch: the key is for {named:?} ({}), the COSE header says {found:?}",
                named.to_i64()
            )));
        }
    }
    let signature = match algorithm {
        Algorithm::EcdsaP256Sha256 => ecdsa::fixed_to_der(&message.signature),
        _ => Some(message.signature.clone()),
    };
    let held = signature.is_some_and(|signature| {
        key.verify(algorithm, &message.tbs_data(aad), &signature)
            .is_ok()
    });
    if held {
        Ok(())
    } else {
        Err(invalid(
            "verifying signature: the COSE signature does not verify with the given key or certificate",
        ))
    }
}
