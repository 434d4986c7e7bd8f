//! What a signature says about itself (RFC 9580 5.2.3.7).

use crate::PgpError;
use crate::packet::{put_length, two_bytes};
use crate::reader::Reader;
use crate::signature::Packet;

const CREATED: u8 = 2;
const LIFETIME: u8 = 3;
const EXPORTABLE: u8 = 4;
const TRUST: u8 = 5;
const REGULAR_EXPRESSION: u8 = 6;
const KEY_LIFETIME: u8 = 9;
const PREFERRED_CIPHERS: u8 = 11;
const ISSUER: u8 = 16;
const NOTATION: u8 = 20;
const PREFERRED_HASHES: u8 = 21;
const PREFERRED_COMPRESSION: u8 = 22;
const KEYSERVER_PREFERENCES: u8 = 23;
const PREFERRED_KEYSERVER: u8 = 24;
const PRIMARY_USER_ID: u8 = 25;
const POLICY: u8 = 26;
const KEY_FLAGS: u8 = 27;
const SIGNER_USER_ID: u8 = 28;
const REASON: u8 = 29;
const FEATURES: u8 = 30;
const EMBEDDED: u8 = 32;
const ISSUER_FINGERPRINT: u8 = 33;
const RECIPIENT: u8 = 35;
const PREFERRED_AEAD: u8 = 39;

/// Of a signature's lengths with five bytes: from here on.
const FIVE: usize = 16320;

/// What counts of the subpackets of one signature.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Subpackets {
    /// Seconds since 1970.
    pub(crate) created: Option<u32>,
    /// Seconds after that; 0 is for ever.
    pub(crate) lifetime: u32,
    /// Seconds after the key was made; 0 is for ever.
    pub(crate) key_lifetime: u32,
    pub(crate) issuer: Option<u64>,
    pub(crate) issuer_fingerprint: Option<Vec<u8>>,
    pub(crate) primary_user_id: bool,
    pub(crate) flags: Option<u8>,
    /// A notation that must be understood (RFC 9580 5.2.3.24). None is.
    pub(crate) critical_notation: bool,
    pub(crate) reason: Option<u8>,
    pub(crate) embedded: Option<Box<Packet>>,
    /// Those that are not hashed, as they are written again.
    pub(crate) unhashed: Vec<u8>,
}

impl Subpackets {
    /// Reads an area. Outside the hashed one only who signed counts, and the signature in return, which says itself whether it holds.
    pub(crate) fn read(
        &mut self,
        area: &[u8],
        hashed: bool,
        may_embed: bool,
    ) -> Result<(), PgpError> {
        let mut reader = Reader::new(area, "signature subpacket");
        while !reader.is_empty() {
            let length = match reader.byte()? {
                short @ ..192 => usize::from(short),
                high @ 192..255 => two_bytes(high, reader.byte()?),
                255 => reader.length32()?,
            };
            let whole = reader.take(length)?;
            let (first, contents) = whole.split_first().ok_or_else(|| reader.malformed())?;
            let (kind, critical) = (first & 0x7f, first & 0x80 != 0);
            if !hashed {
                put_length(length, FIVE, &mut self.unhashed);
                self.unhashed.extend_from_slice(whole);
                if !matches!(kind, ISSUER | ISSUER_FINGERPRINT | EMBEDDED) {
                    continue;
                }
            }
            self.take(kind, critical, contents, may_embed)?;
        }
        Ok(())
    }

    fn take(
        &mut self,
        kind: u8,
        critical: bool,
        contents: &[u8],
        may_embed: bool,
    ) -> Result<(), PgpError> {
        let malformed = PgpError::Malformed("signature subpacket");
        let number = || {
            let bytes = <[u8; 4]>::try_from(contents).map_err(|_| malformed.clone());
            bytes.map(u32::from_be_bytes)
        };
        match kind {
            CREATED => self.created = Some(number()?),
            LIFETIME => self.lifetime = number()?,
            KEY_LIFETIME => self.key_lifetime = number()?,
            EXPORTABLE => match contents {
                [] => return Err(malformed),
                [0, ..] => {
                    return Err(PgpError::Unsupported(
                        "a signature that its signer wants to be kept".to_owned(),
                    ));
                }
                _ => {}
            },
            TRUST if contents.len() != 2 => return Err(malformed),
            REGULAR_EXPRESSION if contents.last() != Some(&0) => return Err(malformed),
            ISSUER => {
                let id = contents.try_into().map_err(|_| malformed)?;
                self.issuer = Some(u64::from_be_bytes(id));
            }
            ISSUER_FINGERPRINT => {
                let (version, fingerprint) = contents.split_first().ok_or(malformed.clone())?;
                let id = match (*version, fingerprint.len()) {
                    (..5, 20) => fingerprint.last_chunk(),
                    (5.., 32) => fingerprint.first_chunk(),
                    _ => None,
                };
                self.issuer = Some(u64::from_be_bytes(*id.ok_or(malformed)?));
                self.issuer_fingerprint = Some(fingerprint.to_vec());
            }
            NOTATION => {
                let mut reader = Reader::new(contents, "notation data");
                reader.take(4)?;
                let name: usize = reader.number16()?.into();
                let value: usize = reader.number16()?.into();
                if reader.rest().len() != name + value {
                    return Err(malformed);
                }
                self.critical_notation |= critical;
            }
            PRIMARY_USER_ID => match contents {
                [yes] => self.primary_user_id = *yes > 0,
                _ => return Err(malformed),
            },
            KEY_FLAGS => {
                let flags = contents.first().copied().unwrap_or_default();
                self.flags = Some(self.flags.unwrap_or_default() | flags);
            }
            REASON => self.reason = Some(*contents.first().ok_or(malformed)?),
            EMBEDDED => {
                // A signature in return has none in it.
                if self.embedded.is_some() || !may_embed {
                    return Err(malformed);
                }
                self.embedded = Some(Box::new(Packet::parse_embedded(contents)?));
            }
            RECIPIENT => match contents.split_first() {
                Some((..5, fingerprint)) if fingerprint.len() == 20 => {}
                Some((5.., fingerprint)) if fingerprint.len() == 32 => {}
                _ => return Err(malformed),
            },
            PREFERRED_AEAD if !contents.len().is_multiple_of(2) => return Err(malformed),
            // What the owner of a key would like, and what is looked at above.
            TRUST
            | REGULAR_EXPRESSION
            | PREFERRED_AEAD
            | PREFERRED_CIPHERS
            | PREFERRED_HASHES
            | PREFERRED_COMPRESSION
            | KEYSERVER_PREFERENCES
            | PREFERRED_KEYSERVER
            | POLICY
            | SIGNER_USER_ID
            | FEATURES => {}
            _ if critical => {
                return Err(PgpError::Unsupported(format!(
                    "a critical signature subpacket of type {kind}"
                )));
            }
            _ => {}
        }
        Ok(())
    }
}
