//! jar 0.0.1: a signed JAR file, of which the log keeps the digest, the signature without its content, and a certificate.

use package::jar::Jar;
use serde::{Deserialize, Serialize};
use wire::encoding::Bytes;

use crate::rekord::hash_of;
use crate::{Accepted, Admit, Hash, Kind, ProposeError, Rules, invalid};

#[derive(Debug, Deserialize)]
pub(crate) struct Spec {
    archive: Archive,
}

#[derive(Debug, Deserialize)]
struct Archive {
    #[serde(default)]
    content: Bytes,
    hash: Option<Hash>,
}

#[derive(Serialize)]
struct Stored {
    archive: StoredArchive,
    signature: Signature,
}

#[derive(Serialize)]
struct StoredArchive {
    hash: Hash,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Signature {
    content: Bytes,
    public_key: Key,
}

#[derive(Serialize)]
struct Key {
    content: Bytes,
}

impl Admit for Spec {
    fn admit(self, _rules: &Rules<'_>) -> Result<Accepted, ProposeError> {
        let content = &self.archive.content.0;
        if content.is_empty() {
            return Err(invalid("'content' must be specified for package"));
        }
        let hash = hash_of(content, self.archive.hash)?;
        let jar = Jar::verify(content).map_err(invalid)?;
        let (signature, certificate) = (jar.signature_pem(), jar.certificate_pem());
        let mut keys = vec![hash.key()];
        // Upstream finds it by the signature alone.
        entry::digest_keys(signature.as_bytes(), &mut keys);
        // The certificate in the body may be one that signed nothing.
        for signer in jar.signer_pems() {
            entry::digest_keys(signer.as_bytes(), &mut keys);
        }
        let stored = Stored {
            archive: StoredArchive { hash },
            signature: Signature {
                content: Bytes(signature.into_bytes()),
                public_key: Key {
                    content: Bytes(certificate.into_bytes()),
                },
            },
        };
        Accepted::new(Kind::Jar, "0.0.1", stored, keys)
    }
}
