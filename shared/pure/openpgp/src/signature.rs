//! Signatures (RFC 9580 5.2), version 4.

use crate::PgpError;
use crate::armor::{self, SIGNATURE};
use crate::crypto::{Digest, Hash, verifies};
use crate::key::{Key, algorithm};
use crate::keyring::Keyring;
use crate::packet::{self, Budget};
use crate::reader::Reader;
use crate::subpacket::Subpackets;

/// Types of signatures (RFC 9580 5.2.1).
pub(crate) mod kind {
    pub(crate) const BINARY: u8 = 0x00;
    pub(crate) const TEXT: u8 = 0x01;
    pub(crate) const CERTIFICATION: u8 = 0x10;
    pub(crate) const POSITIVE_CERTIFICATION: u8 = 0x13;
    pub(crate) const SUBKEY_BINDING: u8 = 0x18;
    pub(crate) const PRIMARY_KEY_BINDING: u8 = 0x19;
    pub(crate) const KEY_REVOCATION: u8 = 0x20;
    pub(crate) const SUBKEY_REVOCATION: u8 = 0x28;
    pub(crate) const CERTIFICATION_REVOCATION: u8 = 0x30;
}

/// A key that somebody else has: a revocation for this counts from ever.
const COMPROMISED: u8 = 2;
/// Hashes that go-crypto reads: what is signed with another one is passed over. SHA-224 and SHA-3 are read, and not verified.
const HASHES: [u8; 7] = [2, 8, 9, 10, 11, 12, 14];

/// One signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Packet {
    kind: u8,
    algorithm: u8,
    hash: u8,
    /// From the version to the end of the hashed subpackets.
    hashed: Vec<u8>,
    says: Subpackets,
    created: u32,
    /// The beginning of the hash, and the numbers.
    rest: Vec<u8>,
    numbers: Vec<Vec<u8>>,
}

impl Packet {
    pub(crate) fn parse(body: &[u8]) -> Result<Self, PgpError> {
        Self::read(body, true)
    }

    /// Of the kind with which a subkey answers its primary key.
    pub(crate) fn parse_embedded(body: &[u8]) -> Result<Self, PgpError> {
        let packet = Self::read(body, false)?;
        if packet.kind == kind::PRIMARY_KEY_BINDING {
            Ok(packet)
        } else {
            Err(PgpError::Malformed("embedded signature"))
        }
    }

    fn read(body: &[u8], may_embed: bool) -> Result<Self, PgpError> {
        use algorithm as a;
        let mut reader = Reader::new(body, "signature");
        let unsupported = |what: &str, number: u8| {
            PgpError::Unsupported(format!("a signature of {what} {number}"))
        };
        let version = reader.byte()?;
        if version != 4 {
            return Err(unsupported("version", version));
        }
        let (kind, algorithm, hash) = (reader.byte()?, reader.byte()?, reader.byte()?);
        let numbers = match algorithm {
            a::RSA | a::RSA_SIGN => 1,
            a::DSA | a::ECDSA | a::EDDSA_LEGACY => 2,
            a::ED25519 | a::ED448 => 0,
            other => return Err(unsupported("public-key algorithm", other)),
        };
        if !HASHES.contains(&hash) {
            return Err(unsupported("hash function", hash));
        }
        let area = reader.string16()?;
        let hashed = body.get(..area.len() + 6).unwrap_or_default().to_vec();
        let mut says = Subpackets::default();
        says.read(area, true, may_embed)?;
        let created = says.created.ok_or_else(|| reader.malformed())?;
        says.read(reader.string16()?, false, may_embed)?;
        let rest = reader.rest().to_vec();
        reader.take(2)?;
        let numbers = match algorithm {
            a::ED25519 => vec![reader.take(64)?.to_vec()],
            a::ED448 => vec![reader.take(114)?.to_vec()],
            _ => (0..numbers)
                .map(|_| reader.mpi().map(<[u8]>::to_vec))
                .collect::<Result<_, _>>()?,
        };
        reader.end()?;
        Ok(Self {
            kind,
            algorithm,
            hash,
            hashed,
            says,
            created,
            rest,
            numbers,
        })
    }

    /// As it stands in a log: unhashed subpackets with the shortest lengths, everything else as it came.
    pub(crate) fn body(&self) -> Vec<u8> {
        let length = u16::try_from(self.says.unhashed.len()).unwrap_or(u16::MAX);
        [
            self.hashed.as_slice(),
            &length.to_be_bytes(),
            &self.says.unhashed,
            &self.rest,
        ]
        .concat()
    }

    pub(crate) const fn kind(&self) -> u8 {
        self.kind
    }

    pub(crate) const fn says(&self) -> &Subpackets {
        &self.says
    }

    /// When it was made, in seconds since 1970.
    pub(crate) const fn created(&self) -> u32 {
        self.created
    }

    /// Whether it names this key as the one that made it.
    pub(crate) fn names(&self, key: &Key) -> bool {
        match &self.says.issuer_fingerprint {
            Some(fingerprint) => fingerprint == key.fingerprint(),
            None => self.says.issuer == Some(key.id()),
        }
    }

    /// Not yet made, or not valid any more.
    pub(crate) fn is_expired_at(&self, time: u32) -> bool {
        self.created > time || ends(self.created, self.says.lifetime) < u64::from(time)
    }

    /// As a revocation.
    pub(crate) fn revokes_at(&self, time: u32) -> bool {
        self.says.reason == Some(COMPROMISED) || !self.is_expired_at(time)
    }

    /// Whether `key` has made it over what begins with `signed`.
    pub(crate) fn is_by(&self, key: &Key, signed: &[u8]) -> Result<(), PgpError> {
        self.is_over(key, &self.digest(signed)?)
    }

    /// What is signed: the digest of what begins with `signed`.
    fn digest(&self, signed: &[u8]) -> Result<Digest, PgpError> {
        let hash = Hash::from_number(self.hash).ok_or_else(|| {
            PgpError::Unsupported(format!("a signature of hash function {}", self.hash))
        })?;
        let length = u32::try_from(self.hashed.len()).map_err(|_| PgpError::Signature)?;
        let trailer = [&[4, 0xff], length.to_be_bytes().as_slice()].concat();
        Ok(hash.digest(&[signed, &self.hashed, &trailer]))
    }

    /// Whether `key` has made it over this digest.
    fn is_over(&self, key: &Key, digest: &Digest) -> Result<(), PgpError> {
        use algorithm as a;
        if !key.can_sign() || key.algorithm() != self.algorithm {
            return Err(PgpError::Signature);
        }
        let public = key.public().ok_or_else(|| {
            PgpError::Unsupported(format!(
                "to verify with key {:016X}: its algorithm ({}), curve or size is not known here",
                key.id(),
                key.algorithm()
            ))
        })?;
        let value = match (self.algorithm, self.numbers.as_slice()) {
            (a::RSA | a::RSA_SIGN, [number]) => {
                let length = modulus_length(public);
                padded(number, length)
            }
            (a::ECDSA, [r, s]) => keys::ecdsa::to_der(r, s),
            (a::EDDSA_LEGACY, [r, s]) => padded(r, 32)
                .zip(padded(s, 32))
                .map(|(r, s)| [r, s].concat()),
            (a::ED25519, [value]) => Some(value.clone()),
            _ => None,
        };
        let value = value.ok_or(PgpError::Signature)?;
        if verifies(public, digest, &value) {
            Ok(())
        } else {
            Err(PgpError::Signature)
        }
    }

    fn is_of_data(&self) -> Result<(), PgpError> {
        match (self.kind, Hash::from_number(self.hash)) {
            (kind::BINARY | kind::TEXT, Some(Hash::Sha1)) => Err(PgpError::Unsupported(
                "a signature over data with SHA-1: sign it again with SHA-256".to_owned(),
            )),
            (kind::BINARY | kind::TEXT, _) => Ok(()),
            (other, _) => Err(PgpError::Unsupported(format!(
                "a signature of type {other:#04x} over data"
            ))),
        }
    }
}

/// The end of a period, in which 0 is for ever. Seconds since 1970.
pub(crate) fn ends(begin: u32, lasts: u32) -> u64 {
    match lasts {
        0 => u64::MAX,
        _ => u64::from(begin) + u64::from(lasts),
    }
}

/// Of an RSA key, in bytes.
const fn modulus_length(key: &keys::PublicKey) -> usize {
    match key.key_type() {
        keys::KeyType::Rsa2048 => 256,
        keys::KeyType::Rsa3072 => 384,
        keys::KeyType::Rsa4096 => 512,
        _ => 0,
    }
}

/// A number with zeros in front of it, if it is not longer than `length`.
fn padded(number: &[u8], length: usize) -> Option<Vec<u8>> {
    let missing = length.checked_sub(number.len())?;
    Some([vec![0; missing].as_slice(), number].concat())
}

/// A detached signature (RFC 9580 10.4): one packet, or several of which the first by a known key counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    canonical: Vec<u8>,
    packets: Vec<Packet>,
}

impl Signature {
    /// Reads armor, or packets as they are.
    pub fn parse(bytes: &[u8]) -> Result<Self, PgpError> {
        match armor::decode(bytes) {
            Ok(Some(block)) if block.label == SIGNATURE => Ok(Self {
                canonical: bytes.to_vec(),
                packets: read(&block.data)?,
            }),
            Ok(Some(_)) => Err(PgpError::Malformed("signature: armor of something else")),
            // No packet begins with a character of ASCII.
            Err(error) if bytes.first().is_some_and(u8::is_ascii) => Err(error),
            Ok(None) | Err(_) => Self::from_packets(bytes),
        }
    }

    /// Reads packets.
    pub fn from_packets(bytes: &[u8]) -> Result<Self, PgpError> {
        Ok(Self {
            packets: read(bytes)?,
            canonical: armor::encode(SIGNATURE, bytes).into_bytes(),
        })
    }

    /// As it stands in a log: armor as it came, and packets in armor.
    pub fn canonical(&self) -> &[u8] {
        &self.canonical
    }

    /// How many signatures it has.
    pub fn count(&self) -> usize {
        self.packets.len()
    }

    /// Verifies the first signature by a signing key of `keyring`, over `data`, at the time at which it says it was made.
    pub fn verify(&self, keyring: &Keyring, data: &[u8]) -> Result<(), PgpError> {
        let mut unknown = None;
        for packet in &self.packets {
            let issuer = packet.says.issuer;
            let issuer = issuer.ok_or(PgpError::Malformed("signature: it has no issuer"))?;
            let signers: Vec<_> = keyring.signers(issuer).collect();
            if signers.is_empty() {
                unknown.get_or_insert(issuer);
                continue;
            }
            packet.is_of_data()?;
            let text;
            let data = if packet.kind == kind::TEXT {
                text = with_network_line_ends(data);
                &text
            } else {
                data
            };
            // The data may be large: they are hashed once, whatever the number of keys of this id.
            let digest = packet.digest(data)?;
            let mut failed = PgpError::Signature;
            let mut tried: Vec<&Key> = Vec::new();
            for signer in signers {
                let key = signer.key();
                if tried.contains(&key) {
                    continue;
                }
                match packet.is_over(key, &digest) {
                    Ok(()) => return signer.could_sign_at(packet),
                    Err(error) => failed = error,
                }
                tried.push(key);
            }
            return Err(failed);
        }
        Err(PgpError::UnknownIssuer(unknown.unwrap_or_default()))
    }
}

/// At least one, and nothing else; the first of a kind that is known.
fn read(bytes: &[u8]) -> Result<Vec<Packet>, PgpError> {
    let mut packets = Vec::new();
    for packet in packet::read_all(bytes, &mut Budget::new())? {
        match packet {
            Ok(packet::Packet::Signature(packet)) => packets.push(*packet),
            Ok(_) => return Err(PgpError::Malformed("signature: it has other packets in it")),
            Err(error) if packets.is_empty() => return Err(error),
            Err(_) => {}
        }
    }
    if packets.is_empty() {
        return Err(PgpError::Malformed("signature: there is none"));
    }
    Ok(packets)
}

/// Line feeds become CR LF, unless they are (RFC 9580 5.2.1.2).
fn with_network_line_ends(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut after_return = false;
    for byte in text {
        if *byte == b'\n' && !after_return {
            out.push(b'\r');
        }
        out.push(*byte);
        after_return = *byte == b'\r' && !after_return;
    }
    out
}
