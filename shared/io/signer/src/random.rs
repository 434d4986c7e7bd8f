//! Randomness from the crypto library's generator, for keys, serial numbers, nonces and identifiers.

use crate::SignerError;

/// Fills a buffer.
pub fn fill(buffer: &mut [u8]) -> Result<(), SignerError> {
    aws_lc_rs::rand::fill(buffer).map_err(|_| SignerError::Failed)
}

/// An array of random bytes.
pub fn bytes<const N: usize>() -> Result<[u8; N], SignerError> {
    let mut buffer = [0; N];
    fill(&mut buffer)?;
    Ok(buffer)
}
