//! The presentation language of TLS (RFC 8446 section 3): vectors with a length in front.

use crate::CtError;

/// Reads from the front of a slice.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
    what: &'static str,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8], what: &'static str) -> Self {
        Self { rest: bytes, what }
    }

    pub(crate) fn bytes(&mut self, length: usize) -> Result<&'a [u8], CtError> {
        let (taken, rest) = self
            .rest
            .split_at_checked(length)
            .ok_or(CtError::Malformed(self.what))?;
        self.rest = rest;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], CtError> {
        self.bytes(N)?
            .try_into()
            .map_err(|_| CtError::Malformed(self.what))
    }

    pub(crate) fn u8(&mut self) -> Result<u8, CtError> {
        Ok(u8::from_be_bytes(self.array()?))
    }

    pub(crate) fn u16(&mut self) -> Result<u16, CtError> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    pub(crate) fn u64(&mut self) -> Result<u64, CtError> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    /// A vector with a two-byte length.
    pub(crate) fn vector16(&mut self) -> Result<&'a [u8], CtError> {
        let length = usize::from(self.u16()?);
        self.bytes(length)
    }

    /// A vector with a three-byte length.
    pub(crate) fn vector24(&mut self) -> Result<&'a [u8], CtError> {
        let [high, middle, low] = self.array()?;
        let length = usize::try_from(u32::from_be_bytes([0, high, middle, low]))
            .map_err(|_| CtError::Malformed(self.what))?;
        self.bytes(length)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn end(&self) -> Result<(), CtError> {
        if self.is_empty() {
            Ok(())
        } else {
            Err(CtError::Malformed(self.what))
        }
    }
}

/// Appends a vector with a two-byte length.
pub(crate) fn push16(to: &mut Vec<u8>, bytes: &[u8], what: &'static str) -> Result<(), CtError> {
    let length = u16::try_from(bytes.len()).map_err(|_| CtError::TooLong(what))?;
    to.extend(length.to_be_bytes());
    to.extend(bytes);
    Ok(())
}

/// Appends a vector with a three-byte length.
pub(crate) fn push24(to: &mut Vec<u8>, bytes: &[u8], what: &'static str) -> Result<(), CtError> {
    match u32::try_from(bytes.len()).map(u32::to_be_bytes) {
        Ok([0, high, middle, low]) => {
            to.extend([high, middle, low]);
            to.extend(bytes);
            Ok(())
        }
        _ => Err(CtError::TooLong(what)),
    }
}
