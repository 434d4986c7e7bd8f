//! Packets (RFC 9580 4.2): which there are, and where each ends.

use crate::PgpError;
use crate::key::Key;
use crate::reader::Reader;
use crate::signature::Packet as SignaturePacket;

/// Of a keyring or of a signature in binary form, in bytes. An entry of a log has room for a quarter of it.
pub(crate) const MAX_BYTES: usize = 256 * 1024;
/// In all blocks of a keyring, or in a signature.
const MAX_PACKETS: usize = 1024;
/// In a keyring. Most have one; those of distributions have some dozens.
const MAX_CERTIFICATES: usize = 64;
/// What the keys of a keyring signed of themselves. Each costs the verification of a signature: at most some 300 microseconds.
const MAX_OWN_SIGNATURES: usize = 512;
/// Of a user id in bytes, the limit of GnuPG. It is hashed for each signature over it.
const MAX_USER_ID: usize = 2048;

const SIGNATURE: u8 = 2;
const PRIVATE_KEY: u8 = 5;
const PUBLIC_KEY: u8 = 6;
const PRIVATE_SUBKEY: u8 = 7;
const MARKER: u8 = 10;
const TRUST: u8 = 12;
const USER_ID: u8 = 13;
const PUBLIC_SUBKEY: u8 = 14;
const USER_ATTRIBUTE: u8 = 17;
const PADDING: u8 = 21;
/// Types from here on may be passed over by who does not know them (RFC 9580 4.3).
const NOT_CRITICAL: u8 = 40;

/// A packet that certificates and signatures are made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Packet {
    PrimaryKey(Key),
    Subkey(Key),
    UserId(Vec<u8>),
    /// A picture, mostly. It is not carried along, nor is what is signed of it.
    UserAttribute,
    Signature(Box<SignaturePacket>),
}

/// How much more of one input is read.
pub(crate) struct Budget {
    packets: usize,
    certificates: usize,
    own_signatures: usize,
}

impl Budget {
    pub(crate) const fn new() -> Self {
        Self {
            packets: MAX_PACKETS,
            certificates: MAX_CERTIFICATES,
            own_signatures: MAX_OWN_SIGNATURES,
        }
    }

    fn packet(&mut self) -> Result<(), PgpError> {
        spend(&mut self.packets, "OpenPGP packets", MAX_PACKETS)
    }

    pub(crate) fn certificate(&mut self) -> Result<(), PgpError> {
        let what = "certificates of a keyring";
        spend(&mut self.certificates, what, MAX_CERTIFICATES)
    }

    /// Before a signature by a key over itself is verified.
    pub(crate) fn own_signature(&mut self) -> Result<(), PgpError> {
        let what = "signatures by the keys of a keyring over themselves";
        spend(&mut self.own_signatures, what, MAX_OWN_SIGNATURES)
    }
}

fn spend(left: &mut usize, what: &'static str, limit: usize) -> Result<(), PgpError> {
    *left = left
        .checked_sub(1)
        .ok_or(PgpError::TooLarge { what, limit })?;
    Ok(())
}

/// All packets. `Err` within: one of a version or algorithm that is not known, which is passed over where the rest can do without it.
pub(crate) fn read_all(
    bytes: &[u8],
    budget: &mut Budget,
) -> Result<Vec<Result<Packet, PgpError>>, PgpError> {
    if bytes.len() > MAX_BYTES {
        return Err(PgpError::TooLarge {
            what: "bytes of OpenPGP packets",
            limit: MAX_BYTES,
        });
    }
    let mut reader = Reader::new(bytes, "packet header");
    let mut packets = Vec::new();
    while !reader.is_empty() {
        let (kind, body) = read(&mut reader)?;
        let packet = match kind {
            PRIVATE_KEY | PRIVATE_SUBKEY => return Err(PgpError::PrivateKey),
            PUBLIC_KEY => Key::parse(body).map(Packet::PrimaryKey),
            PUBLIC_SUBKEY => Key::parse(body).map(Packet::Subkey),
            USER_ID if body.len() > MAX_USER_ID => {
                return Err(PgpError::TooLarge {
                    what: "bytes of a user id",
                    limit: MAX_USER_ID,
                });
            }
            USER_ID => Ok(Packet::UserId(body.to_vec())),
            USER_ATTRIBUTE => Ok(Packet::UserAttribute),
            SIGNATURE => {
                SignaturePacket::parse(body).map(|packet| Packet::Signature(Box::new(packet)))
            }
            MARKER | TRUST | PADDING | NOT_CRITICAL.. => continue,
            _ => return Err(PgpError::Malformed("sequence of packets")),
        };
        match packet {
            Ok(_) | Err(PgpError::Unsupported(_)) => packets.push(packet),
            Err(error) => return Err(error),
        }
        budget.packet()?;
    }
    Ok(packets)
}

/// Type and body of one packet, with a header of either format. A length that is not known at the beginning is only for data.
fn read<'a>(reader: &mut Reader<'a>) -> Result<(u8, &'a [u8]), PgpError> {
    let first = reader.byte()?;
    if first & 0x80 == 0 {
        return Err(reader.malformed());
    }
    let (kind, length) = if first & 0x40 == 0 {
        let length = match first & 3 {
            0 => reader.byte()?.into(),
            1 => reader.number16()?.into(),
            2 => reader.length32()?,
            _ => return Err(reader.malformed()),
        };
        ((first & 0x3f) >> 2, length)
    } else {
        let length = match reader.byte()? {
            short @ ..192 => usize::from(short),
            high @ 192..224 => two_bytes(high, reader.byte()?),
            224..255 => return Err(reader.malformed()),
            255 => reader.length32()?,
        };
        (first & 0x3f, length)
    };
    Ok((kind, reader.take(length)?))
}

/// A length in two bytes, the first of which is at least 192.
pub(crate) fn two_bytes(high: u8, low: u8) -> usize {
    (usize::from(high).saturating_sub(192) << 8) + usize::from(low) + 192
}

pub(crate) fn put_key(primary: bool, key: &Key, out: &mut Vec<u8>) {
    put(
        if primary { PUBLIC_KEY } else { PUBLIC_SUBKEY },
        key.body(),
        out,
    );
}

pub(crate) fn put_user_id(id: &[u8], out: &mut Vec<u8>) {
    put(USER_ID, id, out);
}

pub(crate) fn put_signature(signature: &SignaturePacket, out: &mut Vec<u8>) {
    put(SIGNATURE, &signature.body(), out);
}

/// With a header of the new format, its length in as few bytes as it needs.
fn put(kind: u8, body: &[u8], out: &mut Vec<u8>) {
    out.push(0xc0 | kind);
    put_length(body.len(), 8384, out);
    out.extend_from_slice(body);
}

/// `five`: from which length on it takes five bytes. Packets and subpackets differ in that.
pub(crate) fn put_length(length: usize, five: usize, out: &mut Vec<u8>) {
    match (u8::try_from(length), u32::try_from(length)) {
        (Ok(short @ ..192), _) => out.push(short),
        _ if length < five => {
            let [.., high, low] = length.saturating_sub(192).to_be_bytes();
            out.extend([high.wrapping_add(192), low]);
        }
        (_, number) => {
            out.push(255);
            out.extend(number.unwrap_or(u32::MAX).to_be_bytes());
        }
    }
}
