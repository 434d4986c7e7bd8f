//! What a log signs about a certificate: for a precertificate, its issuer's key and its body without the CT extensions.

use der::Decode as _;
use pki::{Certificate, oid, tlv};

use crate::CtError;
use crate::sct::Sct;
use crate::tls;

/// Identifier octets of DER: SEQUENCE, OCTET STRING, and the extensions `[3]` of a TBSCertificate.
const SEQUENCE: u8 = 0x30;
const OCTET_STRING: u8 = 0x04;
const EXTENSIONS: u8 = 0xa3;

/// The entry of a log: what stands in the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// x509_entry: a certificate, DER.
    Certificate(Vec<u8>),
    /// precert_entry.
    Precertificate {
        /// SHA-256 of the issuer's key, SPKI.
        issuer_key_hash: [u8; 32],
        /// The body, DER, without poison and SCTs.
        tbs: Vec<u8>,
    },
}

impl Entry {
    /// Appends a TimestampedEntry (RFC 6962 section 3.4).
    pub(crate) fn encode_timestamped(
        &self,
        timestamp_ms: u64,
        extensions: &[u8],
        to: &mut Vec<u8>,
    ) -> Result<(), CtError> {
        to.extend(timestamp_ms.to_be_bytes());
        match self {
            Self::Certificate(der) => {
                to.extend([0, 0]);
                tls::push24(to, der, "certificate")?;
            }
            Self::Precertificate {
                issuer_key_hash,
                tbs,
            } => {
                to.extend([0, 1]);
                to.extend(issuer_key_hash);
                tls::push24(to, tbs, "certificate body")?;
            }
        }
        tls::push16(to, extensions, "extensions")
    }
}

/// The entry that a leaf with embedded SCTs stands for: its own body without them.
pub fn entry_of_leaf(leaf: &Certificate, issuer: &Certificate) -> Result<Entry, CtError> {
    entry(leaf, issuer)
}

/// The entry of a precertificate, which must have the critical poison.
pub fn entry_of_precertificate(
    precertificate: &Certificate,
    issuer: &Certificate,
) -> Result<Entry, CtError> {
    match precertificate.extension(oid::CT_POISON) {
        Some((true, [0x05, 0x00])) => entry(precertificate, issuer),
        _ => Err(CtError::NotPrecertificate),
    }
}

/// The SCTs inside a certificate; an error where there are none.
pub fn embedded_scts(leaf: &Certificate) -> Result<Vec<Sct>, CtError> {
    let (_, value) = leaf.extension(oid::CT_SCTS).ok_or(CtError::NoSct)?;
    let list =
        tlv::contents(OCTET_STRING, value).map_err(|_| CtError::Malformed("SCT extension"))?;
    let scts = Sct::parse_list(list)?;
    if scts.is_empty() {
        Err(CtError::NoSct)
    } else {
        Ok(scts)
    }
}

fn entry(certificate: &Certificate, issuer: &Certificate) -> Result<Entry, CtError> {
    let tbs =
        without_ct(certificate.tbs_der()).map_err(|_| CtError::Malformed("certificate body"))?;
    Ok(Entry::Precertificate {
        issuer_key_hash: issuer.public_key().key_id(),
        tbs,
    })
}

/// A TBSCertificate without the extensions of CT. Every other byte is kept as it is: only the lengths around it change.
fn without_ct(tbs: &[u8]) -> Result<Vec<u8>, der::Error> {
    let mut kept = Vec::new();
    for member in tlv::members(tlv::contents(SEQUENCE, tbs)?)? {
        let Ok(explicit) = tlv::contents(EXTENSIONS, member) else {
            kept.extend_from_slice(member);
            continue;
        };
        let mut extensions = Vec::new();
        for extension in tlv::members(tlv::contents(SEQUENCE, explicit)?)? {
            if !is_ct(extension)? {
                extensions.extend_from_slice(extension);
            }
        }
        kept.extend(tlv::wrap(EXTENSIONS, &tlv::wrap(SEQUENCE, &extensions)?)?);
    }
    tlv::wrap(SEQUENCE, &kept)
}

fn is_ct(extension: &[u8]) -> Result<bool, der::Error> {
    let first = tlv::members(tlv::contents(SEQUENCE, extension)?)?
        .first()
        .copied()
        .unwrap_or_default();
    let id = der::asn1::ObjectIdentifier::from_der(first)?;
    Ok(id == oid::CT_POISON || id == oid::CT_SCTS)
}
