//! hashedrekord 0.0.1: a signature over a digest.

use keys::{Digest, HashAlgorithm};
use serde::{Deserialize, Serialize};
use wire::encoding::Bytes;

use crate::signer::Signer;
use crate::{Accepted, Admit, Hash, Kind, ProposeError, Rules, invalid};

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Spec {
    data: Data,
    signature: Signature,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Data {
    hash: Hash,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Signature {
    content: Bytes,
    public_key: Key,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Key {
    content: Bytes,
}

impl Admit for Spec {
    fn admit(mut self, rules: &Rules<'_>) -> Result<Accepted, ProposeError> {
        let Hash { algorithm, value } = &self.data.hash;
        let algorithm = HashAlgorithm::from_name(algorithm).ok_or_else(|| {
            invalid(format!(
                "data.hash.algorithm in body should be one of [sha256 sha384 sha512], not {algorithm:?}"
            ))
        })?;
        let bytes =
            hex::decode(value).map_err(|_| invalid("invalid value for hash: not hexadecimal"))?;
        let digest = Digest::new(algorithm, &bytes)
            .map_err(|error| invalid(format!("invalid value for hash: {error}")))?;
        if self.signature.content.0.is_empty() {
            return Err(invalid("signature.content in body is required"));
        }
        let signer = Signer::from_pem(&self.signature.public_key.content.0)?;
        signer.verify_digest(&digest, &self.signature.content.0, rules.algorithms)?;
        self.signature.public_key.content = Bytes(signer.to_pem().into_bytes());

        let mut keys = Vec::new();
        signer.chain_keys(&mut keys);
        Accepted::new(Kind::HashedRekord, "0.0.1", self, keys)
    }
}
