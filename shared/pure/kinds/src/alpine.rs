//! alpine 0.0.1: an Alpine package under an RSA key, of which the log keeps the digest and `.PKGINFO`.

use std::collections::BTreeMap;

use package::apk::Apk;
use serde::{Deserialize, Serialize};
use wire::encoding::Bytes;

use crate::rekord::hash_of;
use crate::signer::Signer;
use crate::{Accepted, Admit, Hash, Kind, ProposeError, Rules, invalid};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Spec {
    package: Package,
    public_key: Key,
}

#[derive(Debug, Deserialize)]
struct Package {
    #[serde(default)]
    content: Bytes,
    hash: Option<Hash>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Key {
    content: Bytes,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Stored<'a> {
    package: StoredPackage<'a>,
    public_key: Key,
}

#[derive(Serialize)]
struct StoredPackage<'a> {
    hash: Hash,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pkginfo: &'a BTreeMap<String, String>,
}

impl Admit for Spec {
    fn admit(self, _rules: &Rules<'_>) -> Result<Accepted, ProposeError> {
        let content = &self.package.content.0;
        if content.is_empty() {
            return Err(invalid("'content' must be specified for package"));
        }
        if self.public_key.content.0.is_empty() {
            return Err(invalid("'content' must be specified for publicKey"));
        }
        let hash = hash_of(content, self.package.hash)?;
        let signer = Signer::from_pem(&self.public_key.content.0)?;
        let key = signer.key().ok_or_else(|| invalid("no public key found"))?;
        let apk = Apk::parse(content).map_err(invalid)?;
        apk.verify(key).map_err(invalid)?;
        let mut known = signer.known();
        known.keys.push(hash.key());
        let stored = Stored {
            package: StoredPackage {
                hash,
                pkginfo: apk.pkginfo(),
            },
            public_key: Key {
                content: Bytes(known.canonical),
            },
        };
        Accepted::new(Kind::Alpine, "0.0.1", stored, known.keys)
    }
}
