//! dsse 0.0.1, intoto 0.0.1 and 0.0.2: a signed envelope, of which the log keeps digests and signatures.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use entry::Message;
use keys::{Digest, HashAlgorithm};
use serde::{Deserialize, Serialize};
use wire::encoding::Bytes;

use crate::signer::Signer;
use crate::{Accepted, Admit, Hash, Kind, ProposeError, Rules, invalid};

/// The most signatures, and the most verifiers, of one envelope.
const MAX_SIGNATURES: usize = 10;

/// dsse 0.0.1, proposed. What only the server computes must not be there.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DsseSpec {
    proposed_content: Option<ProposedContent>,
    envelope_hash: Option<serde::de::IgnoredAny>,
    payload_hash: Option<serde::de::IgnoredAny>,
    signatures: Option<serde::de::IgnoredAny>,
}

#[derive(Debug, Clone, Deserialize)]
struct ProposedContent {
    /// JSON in a text: its digest is over these very bytes.
    envelope: String,
    verifiers: Vec<Bytes>,
}

/// dsse 0.0.1, as it stands in the log.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DsseEntry {
    envelope_hash: Hash,
    payload_hash: Hash,
    signatures: Vec<DsseSignature>,
}

#[derive(Serialize)]
struct DsseSignature {
    /// The text from the envelope.
    signature: String,
    /// PEM.
    verifier: Bytes,
}

/// intoto 0.0.1, proposed.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Intoto1Spec {
    content: Intoto1Content,
    public_key: Bytes,
}

#[derive(Debug, Clone, Deserialize)]
struct Intoto1Content {
    envelope: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Intoto1Entry {
    content: Hashes,
    public_key: Bytes,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Hashes {
    hash: Hash,
    payload_hash: Hash,
}

/// intoto 0.0.2, proposed.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Intoto2Spec {
    content: Intoto2Content,
}

#[derive(Debug, Clone, Deserialize)]
struct Intoto2Content {
    envelope: Intoto2Envelope,
    /// The client's digest of the envelope. Nobody can check it, as the envelope was taken apart.
    hash: Hash,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Intoto2Envelope {
    payload_type: String,
    /// base64, twice.
    #[serde(default)]
    payload: Bytes,
    signatures: Vec<Intoto2Signature>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Intoto2Signature {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    keyid: String,
    public_key: Bytes,
    /// base64, twice.
    sig: Bytes,
}

#[derive(Serialize)]
struct Intoto2Entry {
    content: Intoto2Stored,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Intoto2Stored {
    envelope: Intoto2StoredEnvelope,
    hash: Hash,
    payload_hash: Hash,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Intoto2StoredEnvelope {
    payload_type: String,
    signatures: Vec<Intoto2Signature>,
}

/// An envelope with all its signatures, as text: the log keeps what was written.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    payload_type: String,
    payload: Bytes,
    signatures: Vec<EnvelopeSignature>,
}

#[derive(Deserialize)]
struct EnvelopeSignature {
    sig: String,
}

impl Envelope {
    fn parse(text: &str) -> Result<Self, ProposeError> {
        let envelope: Self = wire::parse(text.as_bytes())
            .map_err(|error| invalid(format!("the envelope is {error}")))?;
        if envelope.signatures.is_empty() {
            return Err(invalid("DSSE envelope must contain 1 or more signatures"));
        }
        check_count("signatures", envelope.signatures.len())?;
        Ok(envelope)
    }

    fn payload_hash(&self) -> Digest {
        Digest::of(HashAlgorithm::Sha256, &self.payload.0)
    }
}

impl Admit for DsseSpec {
    fn admit(self, _rules: &Rules<'_>) -> Result<Accepted, ProposeError> {
        let Some(ProposedContent {
            envelope: text,
            verifiers,
        }) = self.proposed_content
        else {
            return Err(invalid("proposedContent is missing"));
        };
        if self.envelope_hash.is_some() || self.payload_hash.is_some() || self.signatures.is_some()
        {
            return Err(invalid(
                "either proposedContent or envelopeHash, payloadHash, and signatures must be present but not both",
            ));
        }
        check_count("verifiers", verifiers.len())?;
        let envelope = Envelope::parse(&text)?;
        let signatures = signed_by(&envelope, &verifiers)?;
        let mut keys = Vec::new();
        for signer in signatures.values() {
            signer.chain_keys(&mut keys);
        }
        let payload_hash = Hash::of(&envelope.payload_hash());
        let envelope_hash = Hash::of(&Digest::of(HashAlgorithm::Sha256, text.as_bytes()));
        keys.push(envelope_hash.key());
        statement_keys(&envelope.payload_type, &envelope.payload.0, &mut keys);
        let spec = DsseEntry {
            envelope_hash,
            payload_hash,
            signatures: signatures
                .into_iter()
                .map(|(signature, signer)| DsseSignature {
                    signature: signature.to_owned(),
                    verifier: Bytes(signer.to_pem().into_bytes()),
                })
                .collect(),
        };
        Accepted::new(Kind::Dsse, "0.0.1", spec, keys)
    }
}

impl Admit for Intoto1Spec {
    fn admit(self, _rules: &Rules<'_>) -> Result<Accepted, ProposeError> {
        let envelope = Envelope::parse(&self.content.envelope)?;
        let signer = Signer::from_pem(&self.public_key.0)?;
        let pae = Message::pae(&envelope.payload_type, &envelope.payload.0);
        let mut held = false;
        for EnvelopeSignature { sig } in &envelope.signatures {
            held |= signer.signed(&pae, &decode(sig)?);
        }
        if !held {
            return Err(invalid(
                "could not verify envelope: no signature is by the given key",
            ));
        }
        let digest = envelope.payload_hash();
        let payload_hash = Hash::of(&digest);
        let hash = Hash::of(&Digest::of(
            HashAlgorithm::Sha256,
            self.content.envelope.as_bytes(),
        ));
        let mut keys = vec![hash.key(), payload_hash.key()];
        signer.search_keys(&mut keys);
        statement_keys(&envelope.payload_type, &envelope.payload.0, &mut keys);
        let spec = Intoto1Entry {
            content: Hashes { hash, payload_hash },
            public_key: Bytes(signer.to_pem().into_bytes()),
        };
        let accepted = Accepted::new(Kind::Intoto, "0.0.1", spec, keys)?;
        Ok(accepted.with_attestation(digest, envelope.payload.0))
    }
}

impl Admit for Intoto2Spec {
    fn admit(self, _rules: &Rules<'_>) -> Result<Accepted, ProposeError> {
        let Intoto2Content { envelope, hash } = self.content;
        let well_formed = hash.algorithm == "sha256"
            && hash.value.len() == 64
            && hash.value.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !well_formed {
            return Err(invalid(
                "content.hash in body should be a sha256 digest in hexadecimal",
            ));
        }
        if envelope.signatures.is_empty() {
            return Err(invalid("missing signatures"));
        }
        check_count("signatures", envelope.signatures.len())?;
        if envelope.payload.0.is_empty() {
            return Err(invalid("content.envelope.payload in body is required"));
        }
        let payload = decode_twice("payload", &envelope.payload)?;
        let pae = Message::pae(&envelope.payload_type, &payload);
        let signers = envelope
            .signatures
            .iter()
            .map(|signature| Signer::from_pem(&signature.public_key.0))
            .collect::<Result<Vec<_>, _>>()?;
        check_pairs(&pae, &envelope.signatures, &signers)?;
        let mut keys = Vec::new();
        for signer in &signers {
            signer.chain_keys(&mut keys);
        }
        let digest = Digest::of(HashAlgorithm::Sha256, &payload);
        let payload_hash = Hash::of(&digest);
        keys.push(hash.key());
        statement_keys(&envelope.payload_type, &payload, &mut keys);
        let spec = Intoto2Entry {
            content: Intoto2Stored {
                envelope: Intoto2StoredEnvelope {
                    payload_type: envelope.payload_type,
                    signatures: envelope.signatures,
                },
                hash,
                payload_hash,
            },
        };
        let accepted = Accepted::new(Kind::Intoto, "0.0.2", spec, keys)?;
        Ok(accepted.with_attestation(digest, payload))
    }
}

/// Who has made each signature, in the order of its text. A verifier counts for the first signature that is its own, and the last verifier of a
/// signature goes in, as upstream; so a second signature by the same key has no verifier. Those behind the last one that is needed are not looked at.
fn signed_by<'a>(
    envelope: &'a Envelope,
    verifiers: &[Bytes],
) -> Result<BTreeMap<&'a str, Signer>, ProposeError> {
    let pae = Message::pae(&envelope.payload_type, &envelope.payload.0);
    let signatures = envelope.signatures.iter();
    let signatures =
        signatures.map(|signature| Ok((signature.sig.as_str(), decode(&signature.sig)?)));
    let signatures = signatures.collect::<Result<Vec<_>, ProposeError>>()?;
    let mut open: BTreeSet<&str> = signatures.iter().map(|(text, _)| *text).collect();
    let mut signed = BTreeMap::new();
    for (number, verifier) in (1..).zip(verifiers) {
        if open.is_empty() {
            break;
        }
        let signer = Signer::from_pem(&verifier.0)?;
        let own = signatures
            .iter()
            .find(|(_, bytes)| signer.signed(&pae, bytes));
        let (text, _) = own.ok_or_else(|| {
            invalid(format!(
                "could not verify envelope: verifier {number} has made none of the signatures"
            ))
        })?;
        open.remove(text);
        signed.insert(*text, signer);
    }
    if open.is_empty() {
        Ok(signed)
    } else {
        Err(invalid("all signatures must have a key that verifies it"))
    }
}

/// Each signature is by the key beside it: the entry says so, and is found by each of these keys and by the names in its certificate.
fn check_pairs(
    pae: &Message,
    signatures: &[Intoto2Signature],
    signers: &[Signer],
) -> Result<(), ProposeError> {
    for (number, (signature, signer)) in (1..).zip(signatures.iter().zip(signers)) {
        if !signer.signed(pae, &decode_twice("sig", &signature.sig)?) {
            return Err(invalid(format!(
                "could not verify envelope: signature {number} is not by its publicKey"
            )));
        }
        // As upstream, for which a key counts for one signature.
        let before = signatures.iter().zip(signers).take(number - 1);
        for (other, by) in before {
            if by.key() == signer.key() && other.sig != signature.sig {
                return Err(invalid(format!(
                    "all signatures must have a key that verifies it: signature {number} is a second one by the same key"
                )));
            }
        }
    }
    Ok(())
}

fn check_count(what: &str, count: usize) -> Result<(), ProposeError> {
    if count > MAX_SIGNATURES {
        return Err(invalid(format!("{count} {what}, at most {MAX_SIGNATURES}")));
    }
    Ok(())
}

fn decode(text: &str) -> Result<Vec<u8>, ProposeError> {
    Bytes::decode(text)
        .map(|bytes| bytes.0)
        .map_err(|error| invalid(format!("unable to base64 decode a signature: {error}")))
}

fn decode_twice(what: &str, once: &Bytes) -> Result<Vec<u8>, ProposeError> {
    let twice = std::str::from_utf8(&once.0)
        .ok()
        .and_then(|text| Bytes::decode(text).ok());
    twice.map(|bytes| bytes.0).ok_or_else(|| {
        invalid(format!(
            "content.envelope {what} is base64 once, expected twice"
        ))
    })
}

/// The digests of subjects and materials of an in-toto statement. A payload of another shape has none, and goes in all the same.
pub(crate) fn statement_keys(payload_type: &str, payload: &[u8], keys: &mut Vec<String>) {
    #[derive(Default, Deserialize)]
    struct Digests {
        #[serde(default)]
        digest: HashMap<String, String>,
    }
    #[derive(Deserialize)]
    struct Subjects {
        #[serde(default)]
        subject: Vec<Digests>,
    }
    #[derive(Deserialize)]
    struct Predicate {
        predicate: Materials,
    }
    #[derive(Deserialize)]
    struct Materials {
        #[serde(default)]
        materials: Vec<Digests>,
    }
    if payload_type != dsse::IN_TOTO {
        return;
    }
    let mut add = |found: Vec<Digests>| {
        for Digests { digest } in found {
            let mut digests: Vec<_> = digest.into_iter().collect();
            digests.sort();
            keys.extend(
                digests
                    .into_iter()
                    .map(|(algorithm, value)| format!("{algorithm}:{value}")),
            );
        }
    };
    if let Ok(statement) = wire::parse::<Subjects>(payload) {
        add(statement.subject);
    }
    if let Ok(statement) = wire::parse::<Predicate>(payload) {
        add(statement.predicate.materials);
    }
}
