//! The JSON shapes of Sigstore's protobuf-specs (bundle v1, trustroot v1) and of the service APIs: shapes only, no judgement.
//!
//! The dialect is proto3 JSON: members are read in lowerCamelCase and snake_case and written in the former; bytes are base64, read in
//! either alphabet with or without padding and written in the standard one with it; 64-bit integers are written as strings and
//! read as either; enumerations are written by name and read by name or number; `null` is the same as absent.
//!
//! Where readers differ, this one is strict: a member that stands there twice, an array in the place of an object and, in documents that are
//! verified, a member that nobody knows are errors. Two programs that read one document must not see two different things.

pub mod bundle;
pub mod common;
pub mod encoding;
pub mod fulcio;
pub mod rekor;
pub mod rekor_v1;
mod strict;
pub mod trustroot;

use serde::de::DeserializeOwned;
use thiserror::Error;

/// The largest document that is read: a bundle with the largest statement that a log took (about 12 MiB of base64).
pub const MAX_DOCUMENT: usize = 16 * 1024 * 1024;

/// Why bytes are not the document they should be.
#[derive(Debug, Error)]
pub enum WireError {
    /// More than [`MAX_DOCUMENT`] bytes.
    #[error("a document of {0} bytes is over the limit of {MAX_DOCUMENT}")]
    TooLarge(usize),
    /// Not JSON, or not of this shape; the text names line and column.
    #[error("not the expected JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// Reads one document.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, WireError> {
    if bytes.len() > MAX_DOCUMENT {
        return Err(WireError::TooLarge(bytes.len()));
    }
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let document = strict::deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(document)
}
