//! helm 0.0.1: the provenance file of a Helm chart, of which the log keeps the chart's digest and the signature.

use std::collections::BTreeMap;

use keys::Digest;
use openpgp::Cleartext;
use serde::{Deserialize, Serialize};
use wire::encoding::Bytes;

use crate::{Accepted, Admit, Hash, Kind, ProposeError, Rules, invalid, pgp};

/// Stands between the parts of a provenance file: the metadata of the chart, and digests.
const SEPARATOR: &str = "\n...\n";

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Spec {
    chart: Chart,
    public_key: Key,
}

#[derive(Debug, Deserialize)]
struct Chart {
    hash: Option<Hash>,
    provenance: Provenance,
}

#[derive(Debug, Deserialize)]
struct Provenance {
    #[serde(default)]
    content: Bytes,
}

#[derive(Debug, Serialize, Deserialize)]
struct Key {
    content: Bytes,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Stored {
    chart: StoredChart,
    public_key: Key,
}

#[derive(Serialize)]
struct StoredChart {
    hash: Hash,
    provenance: StoredProvenance,
}

#[derive(Serialize)]
struct StoredProvenance {
    signature: Key,
}

/// The second part. Image digests may stand beside the files.
#[derive(Debug, Deserialize)]
struct Sums {
    files: BTreeMap<String, String>,
}

impl Admit for Spec {
    fn admit(self, _rules: &Rules<'_>) -> Result<Accepted, ProposeError> {
        if self.public_key.content.0.is_empty() {
            return Err(invalid("'content' must be specified for publicKey"));
        }
        if self.chart.provenance.content.0.is_empty() {
            return Err(invalid("'content' must be specified for provenance"));
        }
        let keyring = pgp::keyring(&self.public_key.content.0)?;
        let message = Cleartext::parse(&self.chart.provenance.content.0)
            .map_err(|error| invalid(format!("unable to decode provenance file: {error}")))?;
        let verified = message.signature.verify(&keyring, &message.signed);
        verified.map_err(|error| pgp::unverified(&error))?;
        let hash = chart_hash(&message.text)?;
        if let Some(stated) = self.chart.hash
            && stated != hash
        {
            return Err(invalid(format!(
                "chart hash mismatch: {} in the proposal, {} in the provenance file",
                stated.key(),
                hash.key()
            )));
        }
        let mut known = pgp::known(&keyring);
        known.keys.push(hash.key());
        known
            .keys
            .push(entry::signature_key(message.signature.canonical()));
        let stored = Stored {
            chart: StoredChart {
                hash,
                provenance: StoredProvenance {
                    signature: Key {
                        content: Bytes(message.signature.canonical().to_vec()),
                    },
                },
            },
            public_key: Key {
                content: Bytes(known.canonical),
            },
        };
        Accepted::new(Kind::Helm, "0.0.1", stored, known.keys)
    }
}

/// The digest of the one chart in a provenance file. With several files nobody could say which of them the entry is about.
fn chart_hash(text: &[u8]) -> Result<Hash, ProposeError> {
    let malformed = |why: &str| invalid(format!("error occurred parsing message block: {why}"));
    let text = std::str::from_utf8(text).map_err(|_| malformed("it is not UTF-8"))?;
    let sums = text.split(SEPARATOR).nth(1);
    let sums = sums.ok_or_else(|| malformed("message block must have at least two parts"))?;
    let sums: Sums = serde_saphyr::from_str(sums)
        .map_err(|_| malformed("its second part is not YAML with a mapping \"files\""))?;
    let mut files = sums.files.into_values();
    let (Some(sum), None) = (files.next(), files.next()) else {
        return Err(malformed("expected the checksum of one file"));
    };
    let hex = sum.strip_prefix("sha256:").unwrap_or_default();
    if hex.len() != 64 || Digest::parse(&sum).is_err() {
        return Err(invalid(format!(
            "invalid hash found in Provenance file: {sum:?}, expected \"sha256:\" and 64 hexadecimal digits"
        )));
    }
    Ok(Hash {
        algorithm: "sha256".to_owned(),
        value: hex.to_owned(),
    })
}
