//! The JSON of RFC 6962 section 4: what a log answers to those who read it, and `extra_data`, which it answers beside each leaf.
//!
//! ```text
//! extra_data of a certificate:      certificate_chain (3 + n) of certificates (3 + n)
//! extra_data of a precertificate:   pre_certificate (3 + n) | precertificate_chain (3 + n) of certificates (3 + n)
//! ```

use serde::{Deserialize, Serialize};
use wire::encoding::Bytes;

use crate::CtError;
use crate::leaf::LeafEntry;
use crate::tls::{self, Reader};

/// The answer to get-sth (section 4.3).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedTreeHead {
    /// Leaves of the tree.
    pub tree_size: u64,
    /// Milliseconds since 1970.
    pub timestamp: u64,
    /// The root.
    pub sha256_root_hash: Bytes,
    /// TreeHeadSignature: a DigitallySigned.
    pub tree_head_signature: Bytes,
}

/// The answer to get-sth-consistency (section 4.4).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Consistency {
    /// Hashes of the proof.
    pub consistency: Vec<Bytes>,
}

/// The answer to get-proof-by-hash (section 4.5).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProofByHash {
    /// Where the leaf is, from 0.
    pub leaf_index: u64,
    /// Hashes of the proof, from the leaf upwards.
    pub audit_path: Vec<Bytes>,
}

/// The answer to get-entries (section 4.6).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entries {
    /// One after the other, from the first index that was asked for.
    pub entries: Vec<LeafAndExtra>,
}

/// A leaf of [`Entries`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeafAndExtra {
    /// MerkleTreeLeaf.
    pub leaf_input: Bytes,
    /// See [`LeafEntry::extra_data`].
    pub extra_data: Bytes,
}

/// The answer to get-roots (section 4.7).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Roots {
    /// DER.
    pub certificates: Vec<Bytes>,
}

/// The answer to get-entry-and-proof (section 4.8).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryAndProof {
    /// MerkleTreeLeaf.
    pub leaf_input: Bytes,
    /// See [`LeafEntry::extra_data`].
    pub extra_data: Bytes,
    /// Hashes of the proof, from the leaf upwards.
    pub audit_path: Vec<Bytes>,
}

impl LeafEntry {
    /// What get-entries answers beside the leaf: the precertificate, if it is one, and the certificates above it, lowest first.
    pub fn extra_data(&self, chain: &[impl AsRef<[u8]>]) -> Result<Vec<u8>, CtError> {
        let mut certificates = Vec::new();
        for certificate in chain {
            tls::push24(&mut certificates, certificate.as_ref(), "certificate")?;
        }
        let mut bytes = Vec::new();
        if let Some(precertificate) = &self.precertificate {
            tls::push24(&mut bytes, precertificate, "precertificate")?;
        }
        tls::push24(&mut bytes, &certificates, "chain")?;
        Ok(bytes)
    }
}

/// The certificates in `extra_data`: the precertificate, where `precertificate` says that there is one, and those above it.
pub fn parse_extra_data(bytes: &[u8], precertificate: bool) -> Result<ExtraData, CtError> {
    const WHAT: &str = "extra data";
    let mut reader = Reader::new(bytes, WHAT);
    let precertificate = if precertificate {
        Some(reader.vector24()?.to_vec())
    } else {
        None
    };
    let mut certificates = Reader::new(reader.vector24()?, WHAT);
    reader.end()?;
    let mut chain = Vec::new();
    while !certificates.is_empty() {
        chain.push(certificates.vector24()?.to_vec());
    }
    Ok(ExtraData {
        precertificate,
        chain,
    })
}

/// What stands in `extra_data`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExtraData {
    /// DER.
    pub precertificate: Option<Vec<u8>>,
    /// DER, lowest first.
    pub chain: Vec<Vec<u8>>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Entry;

    fn leaf(precertificate: Option<Vec<u8>>) -> LeafEntry {
        LeafEntry {
            entry: Entry::Certificate(vec![1]),
            precertificate,
            chain: Vec::new(),
        }
    }

    #[test]
    fn extra_data_has_the_structures_of_the_rfc() {
        let chain = [&b"ab"[..], b"c"];
        let bytes = leaf(None).extra_data(&chain).unwrap();
        assert_eq!(bytes, b"\x00\x00\x09\x00\x00\x02ab\x00\x00\x01c");
        let bytes = leaf(Some(b"pre".to_vec())).extra_data(&chain).unwrap();
        assert_eq!(
            bytes,
            b"\x00\x00\x03pre\x00\x00\x09\x00\x00\x02ab\x00\x00\x01c"
        );
        let parsed = parse_extra_data(&bytes, true).unwrap();
        assert_eq!(parsed.precertificate.as_deref(), Some(&b"pre"[..]));
        assert_eq!(parsed.chain, chain);
        for cut in 0..bytes.len() {
            assert!(
                parse_extra_data(bytes.get(..cut).unwrap(), true).is_err(),
                "{cut}"
            );
        }
        assert!(parse_extra_data(&[&bytes[..], b"x"].concat(), true).is_err());
        let none: [&[u8]; 0] = [];
        assert_eq!(leaf(None).extra_data(&none).unwrap(), [0, 0, 0]);
        let long = vec![0; 1 << 24];
        assert_eq!(
            leaf(None).extra_data(&[long]),
            Err(CtError::TooLong("certificate"))
        );
    }
}
