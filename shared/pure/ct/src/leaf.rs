//! What stands in the tree and in the tiles of a CT log.

use serde::{Deserialize, Serialize};
use wire::encoding::Bytes;

use crate::CtError;
use crate::precert::Entry;
use crate::tls::{self, Reader};

/// Type of the leaf_index extension (static-ct-api).
const LEAF_INDEX: u8 = 0;

/// What a log keeps about one submission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeafEntry {
    /// What is in the tree.
    pub entry: Entry,
    /// The precertificate itself, DER; none for a certificate.
    pub precertificate: Option<Vec<u8>>,
    /// SHA-256 of each certificate above it, lowest first.
    pub chain: Vec<[u8; 32]>,
}

impl LeafEntry {
    /// MerkleTreeLeaf (RFC 6962 section 3.4): what the leaf hash is taken over.
    pub fn merkle_tree_leaf(
        &self,
        timestamp_ms: u64,
        extensions: &[u8],
    ) -> Result<Vec<u8>, CtError> {
        // version v1, leaf_type timestamped_entry
        let mut bytes = vec![0, 0];
        self.entry
            .encode_timestamped(timestamp_ms, extensions, &mut bytes)?;
        Ok(bytes)
    }

    /// TileLeaf (static-ct-api): what stands in a data tile.
    pub fn tile_leaf(&self, timestamp_ms: u64, extensions: &[u8]) -> Result<Vec<u8>, CtError> {
        let mut bytes = Vec::new();
        self.entry
            .encode_timestamped(timestamp_ms, extensions, &mut bytes)?;
        if let Some(precertificate) = &self.precertificate {
            tls::push24(&mut bytes, precertificate, "precertificate")?;
        }
        tls::push16(&mut bytes, &self.chain.concat(), "chain fingerprints")?;
        Ok(bytes)
    }
}

/// A leaf read back from a data tile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParsedTileLeaf {
    /// What it holds.
    pub leaf: LeafEntry,
    /// Milliseconds since 1970.
    pub timestamp_ms: u64,
    /// `CtExtensions`.
    pub extensions: Vec<u8>,
    /// How many bytes it took.
    pub length: usize,
}

/// Reads the first leaf of a data tile's bytes.
pub fn parse_tile_leaf(bytes: &[u8]) -> Result<ParsedTileLeaf, CtError> {
    let mut reader = Reader::new(bytes, "tile leaf");
    let timestamp_ms = reader.u64()?;
    let entry = match reader.u16()? {
        0 => Entry::Certificate(reader.vector24()?.to_vec()),
        1 => Entry::Precertificate {
            issuer_key_hash: reader.array()?,
            tbs: reader.vector24()?.to_vec(),
        },
        _ => return Err(CtError::Malformed("tile leaf: entry type")),
    };
    let extensions = reader.vector16()?.to_vec();
    let precertificate = match &entry {
        Entry::Precertificate { .. } => Some(reader.vector24()?.to_vec()),
        Entry::Certificate(_) => None,
    };
    let fingerprints = reader.vector16()?;
    let (whole, rest) = fingerprints.as_chunks::<32>();
    if !rest.is_empty() {
        return Err(CtError::Malformed("tile leaf: chain fingerprints"));
    }
    let leaf = LeafEntry {
        entry,
        precertificate,
        chain: whole.to_vec(),
    };
    let length = leaf.tile_leaf(timestamp_ms, &extensions)?.len();
    Ok(ParsedTileLeaf {
        leaf,
        timestamp_ms,
        extensions,
        length,
    })
}

/// `CtExtensions` with the leaf's index: type 0, length 5, 40 bits. None beyond 2^40 leaves.
pub fn leaf_index_extension(index: u64) -> Option<Vec<u8>> {
    let [0, 0, 0, number @ ..] = index.to_be_bytes() else {
        return None;
    };
    let mut bytes = vec![LEAF_INDEX, 0, 5];
    bytes.extend(number);
    Some(bytes)
}

/// The leaf's index out of `CtExtensions`, where it is there.
pub fn parse_leaf_index(extensions: &[u8]) -> Result<Option<u64>, CtError> {
    let mut reader = Reader::new(extensions, "SCT extensions");
    while !reader.is_empty() {
        let (kind, value) = (reader.u8()?, reader.vector16()?);
        if kind == LEAF_INDEX {
            let number: [u8; 5] = value
                .try_into()
                .map_err(|_| CtError::Malformed("leaf_index extension"))?;
            let mut wide = [0; 8];
            for (to, from) in wide.iter_mut().skip(3).zip(number) {
                *to = from;
            }
            return Ok(Some(u64::from_be_bytes(wide)));
        }
    }
    Ok(None)
}

/// The body of add-chain and add-pre-chain.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AddChainRequest {
    /// DER, leaf first.
    pub chain: Vec<Bytes>,
}

/// The answer to add-chain and add-pre-chain.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AddChainReply {
    /// 0 for v1.
    pub sct_version: u8,
    /// The log.
    pub id: Bytes,
    /// Milliseconds since 1970.
    pub timestamp: u64,
    /// `CtExtensions`.
    pub extensions: Bytes,
    /// DigitallySigned.
    pub signature: Bytes,
}

impl AddChainReply {
    /// The answer that carries this SCT.
    pub fn new(sct: &crate::Sct) -> Result<Self, CtError> {
        Ok(Self {
            sct_version: 0,
            id: sct.log_id.as_slice().into(),
            timestamp: sct.timestamp_ms,
            extensions: Bytes(sct.extensions.clone()),
            signature: Bytes(sct.digitally_signed()?),
        })
    }

    /// The SCT in it.
    pub fn sct(&self) -> Result<crate::Sct, CtError> {
        if self.sct_version != 0 {
            return Err(CtError::Malformed("SCT version"));
        }
        let id = self
            .id
            .0
            .as_slice()
            .try_into()
            .map_err(|_| CtError::Malformed("SCT log id"))?;
        crate::Sct::from_parts(
            id,
            self.timestamp,
            self.extensions.0.clone(),
            &self.signature.0,
        )
    }
}
