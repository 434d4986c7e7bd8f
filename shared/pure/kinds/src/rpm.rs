//! rpm 0.0.1: an RPM package under an OpenPGP key, of which the log keeps the digest and what it is called.

use std::collections::BTreeMap;

use openpgp::Signature;
use package::Rpm;
use serde::{Deserialize, Serialize};
use wire::encoding::Bytes;

use crate::rekord::hash_of;
use crate::{Accepted, Admit, Hash, Kind, ProposeError, Rules, invalid, pgp};

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
    headers: &'a BTreeMap<&'static str, String>,
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
        let keyring = pgp::keyring(&self.public_key.content.0)?;
        let package = Rpm::parse(content).map_err(invalid)?;
        for signed in package.signatures() {
            let signature = Signature::from_packets(signed.packets).map_err(invalid)?;
            if signature.count() != 1 {
                return Err(invalid(format!(
                    "rpm: tag {} has {} signatures, expected one",
                    signed.tag,
                    signature.count()
                )));
            }
            let verified = signature.verify(&keyring, signed.signed);
            verified.map_err(|error| pgp::unverified(&error))?;
        }
        let mut known = pgp::known(&keyring);
        known.keys.push(hash.key());
        let stored = Stored {
            package: StoredPackage {
                hash,
                headers: package.headers(),
            },
            public_key: Key {
                content: Bytes(known.canonical),
            },
        };
        Accepted::new(Kind::Rpm, "0.0.1", stored, known.keys)
    }
}
