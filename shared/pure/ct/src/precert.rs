//! What a log signs about a certificate: for a precertificate, its issuer's key and its body without the CT extensions.

use der::{AnyRef, Decode, Encode, Reader as _, SliceReader, Tag, Tagged as _};
use pki::{Certificate, oid};

use crate::CtError;
use crate::sct::Sct;
use crate::tls;

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
    let list = AnyRef::from_der(value).map_err(|_| CtError::Malformed("SCT extension"))?;
    if list.tag() != Tag::OctetString {
        return Err(CtError::Malformed("SCT extension"));
    }
    let scts = Sct::parse_list(list.value())?;
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
    let body = AnyRef::from_der(tbs)?;
    body.tag().assert_eq(Tag::Sequence)?;
    let mut kept = Vec::new();
    for member in members(body.value())? {
        let any = AnyRef::from_der(member)?;
        // extensions [3] EXPLICIT, the last member
        if member.first() == Some(&0xa3) {
            let list = AnyRef::from_der(any.value())?;
            let mut extensions = Vec::new();
            for extension in members(list.value())? {
                if !is_ct(extension)? {
                    extensions.extend_from_slice(extension);
                }
            }
            let list = AnyRef::new(Tag::Sequence, &extensions)?.to_der()?;
            kept.extend(AnyRef::new(any.tag(), &list)?.to_der()?);
        } else {
            kept.extend_from_slice(member);
        }
    }
    AnyRef::new(Tag::Sequence, &kept)?.to_der()
}

/// The encodings inside a constructed value.
fn members(contents: &[u8]) -> Result<Vec<&[u8]>, der::Error> {
    let mut reader = SliceReader::new(contents)?;
    let mut members = Vec::new();
    while !reader.is_finished() {
        members.push(reader.tlv_bytes()?);
    }
    Ok(members)
}

fn is_ct(extension: &[u8]) -> Result<bool, der::Error> {
    let any = AnyRef::from_der(extension)?;
    let first = members(any.value())?.first().copied().unwrap_or_default();
    let id = der::asn1::ObjectIdentifier::from_der(first)?;
    Ok(id == oid::CT_POISON || id == oid::CT_SCTS)
}
