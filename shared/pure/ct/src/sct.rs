//! Signed certificate timestamps (RFC 6962 section 3.2).

use keys::{Algorithm, KeyType, PublicKey};

use crate::CtError;
use crate::precert::Entry;
use crate::tls::{self, Reader};

/// The most SCTs of one certificate that are read; Fulcio's have one.
pub const MAX_SCTS: usize = 16;

/// HashAlgorithm sha256 of RFC 5246.
const SHA256: u8 = 4;
/// SignatureAlgorithm rsa and ecdsa of RFC 5246.
const RSA: u8 = 1;
const ECDSA: u8 = 3;

/// A log's promise to have taken in a certificate, version 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sct {
    /// SHA-256 of the log's key, SPKI.
    pub log_id: [u8; 32],
    /// Milliseconds since 1970.
    pub timestamp_ms: u64,
    /// `CtExtensions`; static-ct logs put the leaf's index here.
    pub extensions: Vec<u8>,
    /// SignatureAlgorithm of RFC 5246: 3 ECDSA, 1 RSA. The hash is always SHA-256.
    signature_algorithm: u8,
    /// The signature.
    pub signature: Vec<u8>,
}

impl Sct {
    /// Puts together what a log with this key signed.
    pub fn new(
        log_key: &PublicKey,
        timestamp_ms: u64,
        extensions: Vec<u8>,
        signature: Vec<u8>,
    ) -> Self {
        let signature_algorithm = if log_key.key_type() == KeyType::EcdsaP256 {
            ECDSA
        } else {
            RSA
        };
        Self {
            log_id: log_key.key_id(),
            timestamp_ms,
            extensions,
            signature_algorithm,
            signature,
        }
    }

    /// Puts together the members of an add-chain answer, whose `signature` is a whole DigitallySigned.
    pub fn from_parts(
        log_id: [u8; 32],
        timestamp_ms: u64,
        extensions: Vec<u8>,
        digitally_signed: &[u8],
    ) -> Result<Self, CtError> {
        let mut reader = Reader::new(digitally_signed, "SCT signature");
        let (signature_algorithm, signature) = signed(&mut reader)?;
        reader.end()?;
        Ok(Self {
            log_id,
            timestamp_ms,
            extensions,
            signature_algorithm,
            signature,
        })
    }

    /// Reads one SCT.
    pub fn parse(bytes: &[u8]) -> Result<Self, CtError> {
        let mut reader = Reader::new(bytes, "SCT");
        if reader.u8()? != 0 {
            return Err(CtError::Malformed("SCT version"));
        }
        let (log_id, timestamp_ms) = (reader.array()?, reader.u64()?);
        let extensions = reader.vector16()?.to_vec();
        let (signature_algorithm, signature) = signed(&mut reader)?;
        reader.end()?;
        Ok(Self {
            log_id,
            timestamp_ms,
            extensions,
            signature_algorithm,
            signature,
        })
    }

    /// Writes one SCT.
    pub fn encode(&self) -> Result<Vec<u8>, CtError> {
        let mut bytes = vec![0];
        bytes.extend(self.log_id);
        bytes.extend(self.timestamp_ms.to_be_bytes());
        tls::push16(&mut bytes, &self.extensions, "SCT extensions")?;
        bytes.extend(self.digitally_signed()?);
        Ok(bytes)
    }

    /// The signature as a DigitallySigned: algorithms, length, signature.
    pub fn digitally_signed(&self) -> Result<Vec<u8>, CtError> {
        let mut bytes = vec![SHA256, self.signature_algorithm];
        tls::push16(&mut bytes, &self.signature, "SCT signature")?;
        Ok(bytes)
    }

    /// Reads a SignedCertificateTimestampList.
    pub fn parse_list(bytes: &[u8]) -> Result<Vec<Self>, CtError> {
        let mut outer = Reader::new(bytes, "SCT list");
        let mut reader = Reader::new(outer.vector16()?, "SCT list");
        outer.end()?;
        let mut scts = Vec::new();
        while !reader.is_empty() {
            if scts.len() == MAX_SCTS {
                return Err(CtError::TooLong("SCT list"));
            }
            scts.push(Self::parse(reader.vector16()?)?);
        }
        Ok(scts)
    }

    /// Writes a SignedCertificateTimestampList.
    pub fn encode_list(scts: &[Self]) -> Result<Vec<u8>, CtError> {
        let mut inner = Vec::new();
        for sct in scts {
            tls::push16(&mut inner, &sct.encode()?, "SCT")?;
        }
        let mut bytes = Vec::new();
        tls::push16(&mut bytes, &inner, "SCT list")?;
        Ok(bytes)
    }

    /// Does the log with this key vouch for this entry?
    pub fn verify(&self, entry: &Entry, log_key: &PublicKey) -> Result<(), CtError> {
        if self.log_id != log_key.key_id() {
            return Err(CtError::OtherLog);
        }
        let algorithm = match (self.signature_algorithm, log_key.key_type()) {
            (ECDSA, KeyType::EcdsaP256) => Algorithm::EcdsaP256Sha256,
            (ECDSA, KeyType::EcdsaP384) => Algorithm::EcdsaP384Sha256,
            (RSA, KeyType::Rsa2048 | KeyType::Rsa3072 | KeyType::Rsa4096) => {
                log_key.default_algorithm()
            }
            _ => return Err(CtError::Signature),
        };
        let signed = to_be_signed(entry, self.timestamp_ms, &self.extensions)?;
        log_key
            .verify(algorithm, &signed, &self.signature)
            .map_err(|_| CtError::Signature)
    }
}

fn signed(reader: &mut Reader<'_>) -> Result<(u8, Vec<u8>), CtError> {
    if reader.u8()? != SHA256 {
        return Err(CtError::Malformed("SCT hash algorithm"));
    }
    Ok((reader.u8()?, reader.vector16()?.to_vec()))
}

/// The bytes that a log signs for an SCT.
pub fn to_be_signed(
    entry: &Entry,
    timestamp_ms: u64,
    extensions: &[u8],
) -> Result<Vec<u8>, CtError> {
    // version v1, signature_type certificate_timestamp
    let mut bytes = vec![0, 0];
    entry.encode_timestamped(timestamp_ms, extensions, &mut bytes)?;
    Ok(bytes)
}
