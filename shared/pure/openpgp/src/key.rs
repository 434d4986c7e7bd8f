//! Public keys and subkeys (RFC 9580 5.5.2), version 4.

use keys::{KeyType, PublicKey};

use self::algorithm as a;
use crate::PgpError;
use crate::crypto::sha1;
use crate::reader::Reader;

/// Numbers of algorithms (RFC 9580 9.1).
pub(crate) mod algorithm {
    pub(crate) const RSA: u8 = 1;
    pub(crate) const RSA_ENCRYPT: u8 = 2;
    pub(crate) const RSA_SIGN: u8 = 3;
    pub(crate) const ELGAMAL: u8 = 16;
    pub(crate) const DSA: u8 = 17;
    pub(crate) const ECDH: u8 = 18;
    pub(crate) const ECDSA: u8 = 19;
    pub(crate) const EDDSA_LEGACY: u8 = 22;
    pub(crate) const X25519: u8 = 25;
    pub(crate) const X448: u8 = 26;
    pub(crate) const ED25519: u8 = 27;
    pub(crate) const ED448: u8 = 28;
}

/// Object identifiers of curves (RFC 9580 9.2), without tag and length.
mod curve {
    pub(super) const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
    pub(super) const P384: &[u8] = &[0x2b, 0x81, 4, 0, 0x22];
    pub(super) const P521: &[u8] = &[0x2b, 0x81, 4, 0, 0x23];
    pub(super) const ED25519: &[u8] = &[0x2b, 6, 1, 4, 1, 0xda, 0x47, 0x0f, 1];
}

/// A key, which may be one that nothing can be verified with here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Key {
    body: Vec<u8>,
    created: u32,
    algorithm: u8,
    fingerprint: [u8; 20],
    /// To verify with.
    public: Option<PublicKey>,
}

impl Key {
    pub(crate) fn parse(body: &[u8]) -> Result<Self, PgpError> {
        let mut reader = Reader::new(body, "public key");
        let version = reader.byte()?;
        if version != 4 {
            return Err(PgpError::Unsupported(format!(
                "a public key of version {version}"
            )));
        }
        let created = reader.number32()?;
        let algorithm = reader.byte()?;
        let public = material(algorithm, &mut reader)?;
        reader.end()?;
        let length = u16::try_from(body.len()).map_err(|_| reader.malformed())?;
        let hashed = [&[0x99], length.to_be_bytes().as_slice(), body].concat();
        Ok(Self {
            fingerprint: sha1(&hashed),
            body: body.to_vec(),
            created,
            algorithm,
            public,
        })
    }

    /// The packet's body.
    pub(crate) fn body(&self) -> &[u8] {
        &self.body
    }

    /// When it was made, in seconds since 1970.
    pub(crate) const fn created(&self) -> u32 {
        self.created
    }

    pub(crate) const fn algorithm(&self) -> u8 {
        self.algorithm
    }

    pub(crate) const fn fingerprint(&self) -> &[u8; 20] {
        &self.fingerprint
    }

    /// The last eight bytes of the fingerprint.
    pub(crate) fn id(&self) -> u64 {
        let id = self.fingerprint.last_chunk();
        id.copied().map_or(0, u64::from_be_bytes)
    }

    pub(crate) const fn can_sign(&self) -> bool {
        use algorithm::{DSA, ECDSA, ED448, ED25519, EDDSA_LEGACY, RSA, RSA_SIGN};
        matches!(
            self.algorithm,
            RSA | RSA_SIGN | DSA | ECDSA | EDDSA_LEGACY | ED25519 | ED448
        )
    }

    pub(crate) const fn public(&self) -> Option<&PublicKey> {
        self.public.as_ref()
    }

    /// As it is hashed when something is signed about it (RFC 9580 5.2.4).
    pub(crate) fn hashed(&self, out: &mut Vec<u8>) {
        let length = u16::try_from(self.body.len()).unwrap_or(u16::MAX);
        out.push(0x99);
        out.extend(length.to_be_bytes());
        out.extend_from_slice(&self.body);
    }
}

/// Reads the numbers of a key, and makes a key of them if it is one to verify with.
fn material(algorithm: u8, reader: &mut Reader<'_>) -> Result<Option<PublicKey>, PgpError> {
    let unsupported =
        |what: &str| PgpError::Unsupported(format!("a public key with {what} ({algorithm})"));
    match algorithm {
        a::RSA | a::RSA_ENCRYPT | a::RSA_SIGN => {
            let (modulus, exponent) = (reader.mpi()?, reader.mpi()?);
            if exponent.len() > 3 {
                return Err(unsupported("a large exponent"));
            }
            let number = |bytes: &[u8]| {
                let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
                bytes.get(zeros..).unwrap_or_default().to_vec()
            };
            // Other sizes than three are no error: such a key may encrypt.
            Ok(PublicKey::from_rsa_components(&number(modulus), &number(exponent)).ok())
        }
        a::DSA => take_mpis(reader, 4),
        a::ELGAMAL => take_mpis(reader, 3),
        a::ECDSA => {
            let key_type = match reader.string8()? {
                curve::P256 => Some(KeyType::EcdsaP256),
                curve::P384 => Some(KeyType::EcdsaP384),
                curve::P521 => Some(KeyType::EcdsaP521),
                _ => None,
            };
            let point = reader.mpi()?;
            let Some(key_type) = key_type else {
                return Ok(None);
            };
            let key = PublicKey::from_raw(key_type, point);
            key.map(Some).map_err(|_| reader.malformed())
        }
        a::ECDH => {
            reader.string8()?;
            reader.mpi()?;
            reader.string8()?;
            Ok(None)
        }
        a::EDDSA_LEGACY => {
            let curve = reader.string8()?;
            let point = reader.mpi()?;
            // 0x40: the point as the curve itself writes it.
            match point.split_first() {
                Some((0x40, point)) if curve == curve::ED25519 => ed25519(point, reader),
                Some((0x40, _)) => Ok(None),
                _ => Err(unsupported("a point in another form than 0x40")),
            }
        }
        a::ED25519 => ed25519(reader.take(32)?, reader),
        a::X25519 => reader.take(32).map(|_| None),
        a::X448 => reader.take(56).map(|_| None),
        a::ED448 => reader.take(57).map(|_| None),
        _ => Err(unsupported("an unknown algorithm")),
    }
}

fn take_mpis(reader: &mut Reader<'_>, count: usize) -> Result<Option<PublicKey>, PgpError> {
    for _ in 0..count {
        reader.mpi()?;
    }
    Ok(None)
}

fn ed25519(point: &[u8], reader: &Reader<'_>) -> Result<Option<PublicKey>, PgpError> {
    let key = PublicKey::from_raw(KeyType::Ed25519, point);
    key.map(Some).map_err(|_| reader.malformed())
}
