//! Certificate Transparency (RFC 6962) as Sigstore uses it: SCTs, precertificates, and the leaves of a log (also C2SP static-ct-api 1.1).
//!
//! ```text
//! signed by the log:   version 0 (1) | signature_type 0 (1) | timestamp ms (8) | entry type (2) | entry | extensions (2 + n)
//!   entry type 0:      certificate (3 + n)
//!   entry type 1:      SHA-256 of the issuer's key (32) | TBS without poison and SCTs (3 + n)
//! SCT:                 version 0 (1) | log id (32) | timestamp ms (8) | extensions (2 + n) | hash (1) | signature (1) | signature (2 + n)
//! Merkle tree leaf:    version 0 (1) | leaf type 0 (1) | timestamp ms (8) | entry type (2) | entry | extensions (2 + n)
//! ```

mod api;
mod leaf;
mod precert;
mod sct;
mod tls;

use thiserror::Error;

pub use api::{
    Consistency, Entries, EntryAndProof, ExtraData, LeafAndExtra, ProofByHash, Roots,
    SignedTreeHead, parse_extra_data,
};
pub use leaf::{
    AddChainReply, AddChainRequest, LeafEntry, ParsedTileLeaf, leaf_index_extension,
    parse_leaf_index, parse_tile_leaf,
};
pub use precert::{Entry, embedded_scts, entry_of_leaf, entry_of_precertificate};
pub use sct::{MAX_SCTS, Sct, to_be_signed};

/// What is wrong with an SCT or a leaf.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CtError {
    /// The bytes do not have the structure.
    #[error("malformed {0}")]
    Malformed(&'static str),
    /// A field is longer than its length can say.
    #[error("{0} is too long")]
    TooLong(&'static str),
    /// The certificate has no SCT extension.
    #[error("the certificate has no embedded SCT")]
    NoSct,
    /// A certificate that is not a precertificate.
    #[error("not a precertificate: it has no critical poison extension")]
    NotPrecertificate,
    /// The SCT is by another log.
    #[error("the SCT is by another log than this one")]
    OtherLog,
    /// The signature does not hold.
    #[error("the SCT's signature does not verify")]
    Signature,
}
