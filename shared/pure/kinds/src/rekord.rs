//! rekord 0.0.1: a detached signature over data that is sent along, of which the log keeps the digest.

use entry::Message;
use serde::{Deserialize, Serialize};
use wire::encoding::Bytes;

use crate::format::{Format, Known};
use crate::minisign::{MinisignKey, MinisignSignature};
use crate::signer::Signer;
use crate::ssh::{SshKey, SshSignature};
use crate::{Accepted, Admit, Hash, Kind, ProposeError, Rules, invalid, pgp};

#[derive(Debug, Deserialize)]
pub(crate) struct Spec {
    data: Data,
    signature: Signature,
}

#[derive(Debug, Deserialize)]
struct Data {
    #[serde(default)]
    content: Bytes,
    hash: Option<Hash>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Signature {
    content: Bytes,
    format: String,
    public_key: Key,
}

#[derive(Debug, Serialize, Deserialize)]
struct Key {
    content: Bytes,
}

#[derive(Serialize)]
struct Stored {
    data: StoredData,
    signature: Signature,
}

#[derive(Serialize)]
struct StoredData {
    hash: Hash,
}

impl Admit for Spec {
    fn admit(self, _rules: &Rules<'_>) -> Result<Accepted, ProposeError> {
        let Signature {
            content: Bytes(signature),
            format,
            public_key: Key {
                content: Bytes(key),
            },
        } = self.signature;
        let data = self.data.content.0;
        for (what, bytes) in [
            ("signature", &signature),
            ("publicKey", &key),
            ("data", &data),
        ] {
            if bytes.is_empty() {
                return Err(invalid(format!("'content' must be specified for {what}")));
            }
        }
        let hash = hash_of(&data, self.data.hash)?;
        let (signature, key) = match Format::from_name(&format) {
            Some(Format::X509) => {
                let signer = Signer::from_pem(&key)?;
                if !signer.signed(&Message::new(data), &signature) {
                    return Err(unverified("the given key or certificate"));
                }
                (signature, signer.known())
            }
            Some(Format::Ssh) => {
                let key = SshKey::parse(&key)?;
                let signature = SshSignature::parse(&signature)?;
                signature.verify(&key, &data)?;
                (signature.to_pem(&key), key.known())
            }
            Some(Format::Minisign) => {
                let key = MinisignKey::parse(&key)?;
                let signature = MinisignSignature::parse(&signature)?;
                signature.verify(&key, &data)?;
                (signature.canonical(), key.known())
            }
            Some(Format::Pgp) => {
                let keyring = pgp::keyring(&key)?;
                let signature = openpgp::Signature::parse(&signature)
                    .map_err(|error| invalid(format!("invalid PGP signature: {error}")))?;
                let verified = signature.verify(&keyring, &data);
                verified.map_err(|error| pgp::unverified(&error))?;
                (signature.canonical().to_vec(), pgp::known(&keyring))
            }
            Some(Format::Tuf) | None => {
                return Err(invalid(format!(
                    "signature.format in body should be one of [pgp minisign x509 ssh], not {format:?}"
                )));
            }
        };
        let Known {
            canonical,
            mut keys,
        } = key;
        keys.push(hash.key());
        keys.push(entry::signature_key(&signature));
        let stored = Stored {
            data: StoredData { hash },
            signature: Signature {
                content: Bytes(signature),
                format,
                public_key: Key {
                    content: Bytes(canonical),
                },
            },
        };
        Accepted::new(Kind::Rekord, "0.0.1", stored, keys)
    }
}

/// The digest of the data, which the proposal may state too.
pub(crate) fn hash_of(data: &[u8], stated: Option<Hash>) -> Result<Hash, ProposeError> {
    let hash = Hash::sha256(data);
    match stated {
        Some(stated) if stated.algorithm != hash.algorithm => Err(invalid(format!(
            "hash.algorithm in body should be one of [sha256], not {:?}",
            stated.algorithm
        ))),
        Some(stated) if stated.value != hash.value => Err(invalid(format!(
            "SHA mismatch: {} != {}",
            hash.value, stated.value
        ))),
        _ => Ok(hash),
    }
}

pub(crate) fn unverified(key: &str) -> ProposeError {
    invalid(format!(
        "verifying signature: the signature does not verify with {key}"
    ))
}
