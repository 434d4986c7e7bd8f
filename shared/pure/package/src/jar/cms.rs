//! PKCS#7 / CMS SignedData (RFC 2315, RFC 5652) below a JAR file's signature.
//!
//! What a JAR needs is little: signers by issuer and serial number, with or without signed attributes, and RFC 3161 tokens in the unsigned ones. Nobody is
//! trusted here: a signature holds under a certificate that the message itself brings along. Upstream writes the message anew for the log, and what it
//! would write differently (members that it does not know, lengths and numbers that are not in their shortest form) is refused, so that
//! [`SignedData::detached`] can put the same bytes together from the ones that came.

use const_oid::ObjectIdentifier as Oid;
use der::{Decode, Encode, Reader as _, SliceReader};
use pki::{Certificate, tlv};

use super::algorithm;
use crate::PackageError;
use crate::crypto::{self, Hash};

/// The most certificates that a message may bring along.
const MAX_CERTIFICATES: u64 = 32;
/// The most signers of one message, each of which costs a signature check or two.
const MAX_SIGNERS: u64 = 4;
/// The most attributes of one signer.
const MAX_ATTRIBUTES: u64 = 64;

const SIGNED_DATA: Oid = Oid::new_unwrap("1.2.840.113549.1.7.2");
/// id-data.
pub(super) const DATA: Oid = Oid::new_unwrap("1.2.840.113549.1.7.1");
/// id-ct-TSTInfo.
pub(super) const TST_INFO: Oid = Oid::new_unwrap("1.2.840.113549.1.9.16.1.4");
const MESSAGE_DIGEST: Oid = Oid::new_unwrap("1.2.840.113549.1.9.4");

/// Identifier octets.
pub(super) mod tag {
    pub(crate) const INTEGER: u8 = 0x02;
    pub(crate) const OCTET_STRING: u8 = 0x04;
    pub(crate) const SEQUENCE: u8 = 0x30;
    pub(crate) const SET: u8 = 0x31;
    pub(crate) const CONTEXT_0: u8 = 0xa0;
    pub(crate) const CONTEXT_1: u8 = 0xa1;
}

const MALFORMED: PackageError = PackageError::Malformed("PKCS#7 signature");

/// The members of a value with this identifier octet.
pub(super) fn members(identifier: u8, der: &[u8]) -> Result<Vec<&[u8]>, PackageError> {
    tlv::contents(identifier, der)
        .and_then(tlv::members)
        .map_err(|_| MALFORMED)
}

pub(super) fn contents(identifier: u8, der: &[u8]) -> Result<&[u8], PackageError> {
    tlv::contents(identifier, der).map_err(|_| MALFORMED)
}

/// An object identifier that is encoded as DER has it.
pub(super) fn oid(der: &[u8]) -> Result<Oid, PackageError> {
    let oid = Oid::from_der(der).map_err(|_| MALFORMED)?;
    if oid.to_der().is_ok_and(|again| again == der) {
        Ok(oid)
    } else {
        Err(MALFORMED)
    }
}

/// The octets of an integer in its shortest form.
fn integer(der: &[u8]) -> Result<&[u8], PackageError> {
    let octets = contents(tag::INTEGER, der)?;
    match octets {
        [] | [0, 0..=0x7f, ..] | [0xff, 0x80..=0xff, ..] => Err(MALFORMED),
        _ => Ok(octets),
    }
}

fn starts(der: &[u8], identifier: u8) -> bool {
    der.first() == Some(&identifier)
}

fn at_most(what: &'static str, limit: u64, found: usize) -> Result<(), PackageError> {
    if u64::try_from(found).is_ok_and(|found| found <= limit) {
        Ok(())
    } else {
        Err(PackageError::TooLarge { what, limit })
    }
}

/// A message, taken apart; nothing in it is verified.
pub(super) struct SignedData<'a> {
    version: &'a [u8],
    digest_algorithms: Vec<&'a [u8]>,
    content_type: (&'a [u8], Oid),
    /// The octets that are signed, where the message carries them.
    pub(super) content: Option<&'a [u8]>,
    /// The encodings of the certificates, in their order.
    pub(super) certificates: Vec<&'a [u8]>,
    has_crls: bool,
    pub(super) signers: Vec<Signer<'a>>,
}

impl<'a> SignedData<'a> {
    /// Reads a message that may be followed by zeros, which some signers pad with.
    pub(super) fn parse_padded(bytes: &'a [u8]) -> Result<Self, PackageError> {
        let mut reader = SliceReader::new(bytes).map_err(|_| MALFORMED)?;
        let message = reader.tlv_bytes().map_err(|_| MALFORMED)?;
        let behind = bytes.get(message.len()..).unwrap_or_default();
        if behind.iter().any(|byte| *byte != 0) {
            return Err(MALFORMED);
        }
        Self::parse(message)
    }

    pub(super) fn parse(message: &'a [u8]) -> Result<Self, PackageError> {
        let outer = members(tag::SEQUENCE, message)?;
        let [kind, data] = outer.as_slice() else {
            return Err(MALFORMED);
        };
        if oid(kind)? != SIGNED_DATA {
            return Err(MALFORMED);
        }
        let data = contents(tag::CONTEXT_0, data)?;
        let mut parts = members(tag::SEQUENCE, data)?.into_iter().peekable();
        let mut next = || parts.next().ok_or(MALFORMED);
        let version = next()?;
        integer(version)?;
        let digest_algorithms = members(tag::SET, next()?)?;
        at_most(
            "PKCS#7 signature: digest algorithms",
            MAX_SIGNERS,
            digest_algorithms.len(),
        )?;
        for identifier in &digest_algorithms {
            algorithm::Identifier::parse(identifier)?;
        }
        let content = members(tag::SEQUENCE, next()?)?;
        let (kind, content) = match content.as_slice() {
            [kind] => (*kind, None),
            [kind, content] => {
                let octets = contents(tag::CONTEXT_0, content)?;
                (*kind, Some(contents(tag::OCTET_STRING, octets)?))
            }
            _ => return Err(MALFORMED),
        };
        // certificates [0], crls [1], signerInfos: each once at most and in this order.
        let certificates = match parts.next_if(|part| starts(part, tag::CONTEXT_0)) {
            Some(set) => members(tag::CONTEXT_0, set)?,
            None => Vec::new(),
        };
        at_most(
            "PKCS#7 signature: certificates",
            MAX_CERTIFICATES,
            certificates.len(),
        )?;
        let has_crls = parts.next_if(|part| starts(part, tag::CONTEXT_1)).is_some();
        let (Some(signers), None) = (parts.next(), parts.next()) else {
            return Err(MALFORMED);
        };
        let signers = members(tag::SET, signers)?;
        at_most("PKCS#7 signature: signers", MAX_SIGNERS, signers.len())?;
        Ok(Self {
            version,
            digest_algorithms,
            content_type: (kind, oid(kind)?),
            content,
            certificates,
            has_crls,
            signers: signers
                .into_iter()
                .map(Signer::parse)
                .collect::<Result<_, _>>()?,
        })
    }

    /// What kind of content is signed.
    pub(super) fn content_type(&self) -> Oid {
        self.content_type.1
    }

    /// The message without its content, as upstream writes it: the members of sets in the order of DER, all else as it came.
    pub(super) fn detached(&self) -> Result<Vec<u8>, PackageError> {
        if self.has_crls {
            return Err(PackageError::Unsupported(
                "a PKCS#7 signature with revocation lists".into(),
            ));
        }
        let wrap = |identifier, parts: &[&[u8]]| {
            tlv::wrap(identifier, &parts.concat()).map_err(|_| MALFORMED)
        };
        let sorted = |mut set: Vec<&[u8]>| {
            set.sort_unstable();
            wrap(tag::SET, &set)
        };
        let data = [
            self.version,
            &sorted(self.digest_algorithms.clone())?,
            &wrap(tag::SEQUENCE, &[self.content_type.0])?,
            &wrap(tag::CONTEXT_0, &self.certificates)?,
            &sorted(self.signers.iter().map(|signer| signer.der).collect())?,
        ];
        let data = wrap(tag::SEQUENCE, &data)?;
        let kind = SIGNED_DATA.to_der().map_err(|_| MALFORMED)?;
        wrap(tag::SEQUENCE, &[&kind, &wrap(tag::CONTEXT_0, &[&data])?])
    }
}

/// One signer's part of a message.
pub(super) struct Signer<'a> {
    der: &'a [u8],
    issuer: &'a [u8],
    serial: &'a [u8],
    hash: Hash,
    /// The signed attributes, each an encoding.
    attributes: Option<Vec<&'a [u8]>>,
    scheme: algorithm::Identifier<'a>,
    /// The signature itself.
    pub(super) signature: &'a [u8],
    unsigned: Vec<&'a [u8]>,
}

impl<'a> Signer<'a> {
    fn parse(der: &'a [u8]) -> Result<Self, PackageError> {
        let mut parts = members(tag::SEQUENCE, der)?.into_iter().peekable();
        let mut next = |identifier| {
            parts
                .next_if(|part| starts(part, identifier))
                .ok_or(MALFORMED)
        };
        integer(next(tag::INTEGER)?)?;
        let named = members(tag::SEQUENCE, next(tag::SEQUENCE)?)?;
        let [issuer, serial] = named.as_slice() else {
            return Err(MALFORMED);
        };
        let hash = algorithm::Identifier::parse(next(tag::SEQUENCE)?)?;
        let attributes = next(tag::CONTEXT_0)
            .ok()
            .map(|set| attributes(tag::CONTEXT_0, set))
            .transpose()?;
        let scheme = algorithm::Identifier::parse(next(tag::SEQUENCE)?)?;
        let signature = contents(tag::OCTET_STRING, next(tag::OCTET_STRING)?)?;
        let unsigned = next(tag::CONTEXT_1)
            .ok()
            .map(|set| attributes_or_none(tag::CONTEXT_1, set))
            .transpose()?
            .unwrap_or_default();
        if parts.next().is_some() {
            return Err(MALFORMED);
        }
        Ok(Self {
            der,
            issuer,
            serial: integer(serial)?,
            hash: hash.hash()?,
            attributes,
            scheme,
            signature,
            unsigned,
        })
    }

    /// Verifies the signature over `content`, under the one of `certificates` that is given back.
    pub(super) fn verify(
        &self,
        content: &[u8],
        certificates: &[&[u8]],
    ) -> Result<Certificate, PackageError> {
        let certificate = certificates
            .iter()
            .filter_map(|der| Certificate::from_der(der).ok())
            .find(|certificate| {
                certificate.issuer_der() == self.issuer && certificate.serial() == self.serial
            })
            .ok_or(PackageError::Unsupported(
                "a PKCS#7 signature without its signer's certificate, or with one whose key is not accepted".into(),
            ))?;
        let message = match &self.attributes {
            None => content.to_vec(),
            Some(attributes) => {
                let stated = attribute(attributes, MESSAGE_DIGEST)?.ok_or(
                    PackageError::Malformed("PKCS#7 signature: no message digest"),
                )?;
                if contents(tag::OCTET_STRING, stated)? != self.hash.digest(content).as_ref() {
                    return Err(PackageError::Digest(
                        "the PKCS#7 signature's content".into(),
                    ));
                }
                // RFC 5652 5.4: what is signed is the DER of a SET, and so in its order.
                let mut set = attributes.clone();
                set.sort_unstable();
                tlv::wrap(tag::SET, &set.concat()).map_err(|_| MALFORMED)?
            }
        };
        let key = certificate.public_key();
        let scheme = self.scheme.scheme(self.hash)?;
        match crypto::verify(key, scheme, self.hash, &message, self.signature) {
            Some(true) => Ok(certificate),
            Some(false) => Err(PackageError::Signature("the PKCS#7 content")),
            None => Err(PackageError::Unsupported(format!(
                "{scheme:?} with {:?} under a key of type {:?}",
                self.hash,
                key.key_type()
            ))),
        }
    }

    /// The value of a signed attribute.
    pub(super) fn signed_attribute(&self, wanted: Oid) -> Result<Option<&'a [u8]>, PackageError> {
        attribute(self.attributes.as_deref().unwrap_or_default(), wanted)
    }

    /// The value of an unsigned attribute.
    pub(super) fn unsigned_attribute(&self, wanted: Oid) -> Result<Option<&'a [u8]>, PackageError> {
        attribute(&self.unsigned, wanted)
    }
}

/// Attributes that must be there when their wrapping is: an empty one would be taken for none when verifying, yet not when writing.
fn attributes(identifier: u8, set: &[u8]) -> Result<Vec<&[u8]>, PackageError> {
    let attributes = attributes_or_none(identifier, set)?;
    if attributes.is_empty() {
        Err(MALFORMED)
    } else {
        Ok(attributes)
    }
}

fn attributes_or_none(identifier: u8, set: &[u8]) -> Result<Vec<&[u8]>, PackageError> {
    let attributes = members(identifier, set)?;
    at_most(
        "PKCS#7 signature: attributes",
        MAX_ATTRIBUTES,
        attributes.len(),
    )?;
    for attribute in &attributes {
        let [kind, _] = members(tag::SEQUENCE, attribute)?[..] else {
            return Err(MALFORMED);
        };
        oid(kind)?;
    }
    Ok(attributes)
}

/// The one value of an attribute; an error when it has several or stands there twice (RFC 5652 11).
fn attribute<'a>(attributes: &[&'a [u8]], wanted: Oid) -> Result<Option<&'a [u8]>, PackageError> {
    let mut found = None;
    for attribute in attributes {
        let [kind, values] = members(tag::SEQUENCE, attribute)?[..] else {
            return Err(MALFORMED);
        };
        if oid(kind)? == wanted {
            let [value] = members(tag::SET, values)?[..] else {
                return Err(MALFORMED);
            };
            if found.replace(value).is_some() {
                return Err(MALFORMED);
            }
        }
    }
    Ok(found)
}
