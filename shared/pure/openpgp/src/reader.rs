//! Numbers and strings from the front of a slice.

use crate::PgpError;

pub(crate) struct Reader<'a> {
    rest: &'a [u8],
    what: &'static str,
}

impl<'a> Reader<'a> {
    /// `what` is malformed when something is missing.
    pub(crate) const fn new(bytes: &'a [u8], what: &'static str) -> Self {
        Self { rest: bytes, what }
    }

    pub(crate) const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) const fn malformed(&self) -> PgpError {
        PgpError::Malformed(self.what)
    }

    pub(crate) fn take(&mut self, length: usize) -> Result<&'a [u8], PgpError> {
        let (taken, rest) = self
            .rest
            .split_at_checked(length)
            .ok_or_else(|| self.malformed())?;
        self.rest = rest;
        Ok(taken)
    }

    pub(crate) fn byte(&mut self) -> Result<u8, PgpError> {
        self.take(1)?
            .first()
            .copied()
            .ok_or_else(|| self.malformed())
    }

    pub(crate) fn number16(&mut self) -> Result<u16, PgpError> {
        let bytes = self.take(2)?;
        bytes
            .try_into()
            .map(u16::from_be_bytes)
            .map_err(|_| self.malformed())
    }

    pub(crate) fn number32(&mut self) -> Result<u32, PgpError> {
        let bytes = self.take(4)?;
        bytes
            .try_into()
            .map(u32::from_be_bytes)
            .map_err(|_| self.malformed())
    }

    /// As many bytes as a length of two bytes says.
    pub(crate) fn string16(&mut self) -> Result<&'a [u8], PgpError> {
        let length = self.number16()?;
        self.take(length.into())
    }

    /// A length of four bytes.
    pub(crate) fn length32(&mut self) -> Result<usize, PgpError> {
        usize::try_from(self.number32()?).map_err(|_| self.malformed())
    }

    /// A multiprecision integer (RFC 9580 3.2), big-endian; zeros in front of it are kept.
    pub(crate) fn mpi(&mut self) -> Result<&'a [u8], PgpError> {
        let bits: usize = self.number16()?.into();
        self.take(bits.div_ceil(8))
    }

    /// A string with a length of one byte (RFC 6637 9).
    pub(crate) fn string8(&mut self) -> Result<&'a [u8], PgpError> {
        match self.byte()? {
            0 | 0xff => Err(self.malformed()),
            length => self.take(length.into()),
        }
    }

    /// Nothing may follow.
    pub(crate) const fn end(&self) -> Result<(), PgpError> {
        if self.is_empty() {
            Ok(())
        } else {
            Err(self.malformed())
        }
    }
}
