//! Certificates behind one another, as a public key is sent.

use crate::PgpError;
use crate::armor::{self, PRIVATE_KEY, PUBLIC_KEY};
use crate::certificate::{Certificate, Signer};
use crate::packet::{self, Budget, MAX_BYTES, Packet};

/// The certificates of one or several blocks of armor, or of one run of packets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keyring {
    certificates: Vec<Certificate>,
}

impl Keyring {
    /// Reads armor that begins at once, or packets. A certificate of an unknown version or whose own signatures do not hold is left out, as long as there
    /// is another one; with one whose signatures cannot be verified here nothing is read.
    pub fn parse(bytes: &[u8]) -> Result<Self, PgpError> {
        if bytes.len() > MAX_BYTES * 2 {
            return Err(PgpError::TooLarge {
                what: "bytes of a public key",
                limit: MAX_BYTES * 2,
            });
        }
        let mut budget = Budget::new();
        let mut certificates = Vec::new();
        let mut last = PgpError::Malformed("public key: there is none");
        let mut take = |bytes: &[u8]| -> Result<(), PgpError> {
            for found in read(bytes, &mut budget)? {
                match found {
                    Ok(certificate) => certificates.push(certificate),
                    // It may well be a good one: without it the keyring would be another one.
                    Err(error @ (PgpError::Unsupported(_) | PgpError::TooLarge { .. })) => {
                        return Err(error);
                    }
                    Err(error) => last = error,
                }
            }
            Ok(())
        };
        if bytes.starts_with(b"-----BEGIN PGP") {
            for text in blocks(bytes) {
                let block = armor::decode(text)?.ok_or(PgpError::Malformed("armor"))?;
                match block.label.as_str() {
                    PUBLIC_KEY => take(&block.data)?,
                    PRIVATE_KEY => return Err(PgpError::PrivateKey),
                    _ => return Err(PgpError::Malformed("public key: armor of something else")),
                }
            }
        } else {
            take(bytes)?;
        }
        if certificates.is_empty() {
            return Err(last);
        }
        Ok(Self { certificates })
    }

    /// The one form that stands in a log: armor without headers, with a checksum, of what counts in each certificate. User ids stay in
    /// the order in which they came.
    pub fn to_armor(&self) -> String {
        let mut packets = Vec::new();
        for certificate in &self.certificates {
            certificate.write(&mut packets);
        }
        armor::encode(PUBLIC_KEY, &packets)
    }

    /// All certificates, at least one.
    pub fn certificates(&self) -> &[Certificate] {
        &self.certificates
    }

    pub(crate) fn signers(&self, id: u64) -> impl Iterator<Item = Signer<'_>> {
        self.certificates
            .iter()
            .flat_map(move |certificate| certificate.signers(id))
    }
}

/// Texts that end with a line that begins with `-----END PGP`; what follows the last one is nothing.
fn blocks(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let mut length = 0;
        for line in rest.split_inclusive(|byte| *byte == b'\n') {
            length += line.len();
            if line.starts_with(b"-----END PGP") {
                let (block, after) = rest.split_at_checked(length)?;
                rest = after;
                return Some(block);
            }
        }
        None
    })
}

/// Each certificate, or why it is none.
fn read(bytes: &[u8], budget: &mut Budget) -> Result<Vec<Result<Certificate, PgpError>>, PgpError> {
    let mut groups: Vec<Result<(_, Vec<Packet>), PgpError>> = Vec::new();
    for packet in packet::read_all(bytes, budget)? {
        match (packet, groups.last_mut()) {
            (Ok(Packet::PrimaryKey(key)), _) => groups.push(Ok((key, Vec::new()))),
            (Ok(packet), Some(Ok((_, packets)))) => packets.push(packet),
            (Ok(_), None) => groups.push(Err(PgpError::Malformed(
                "public key: it begins with something else",
            ))),
            (Ok(_), Some(Err(_))) | (Err(_), _) => {}
        }
    }
    let certificates = groups.into_iter().map(|group| {
        let (key, packets) = group?;
        budget.certificate()?;
        Certificate::read(key, packets, budget)
    });
    Ok(certificates.collect())
}
