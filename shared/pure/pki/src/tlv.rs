//! DER taken apart and put together one encoding at a time, for structures of which every byte must be kept as it is.

use der::{AnyRef, Decode, Reader as _, SliceReader};

/// The encodings inside the contents of a constructed value, in order.
pub fn members(contents: &[u8]) -> Result<Vec<&[u8]>, der::Error> {
    let mut reader = SliceReader::new(contents)?;
    let mut members = Vec::new();
    while !reader.is_finished() {
        members.push(reader.tlv_bytes()?);
    }
    Ok(members)
}

/// The contents of one encoding whose identifier octet is `tag` (a low-number tag), with nothing behind it.
pub fn contents(tag: u8, encoding: &[u8]) -> Result<&[u8], der::Error> {
    if encoding.first() != Some(&tag) {
        return Err(der::ErrorKind::Failed.into());
    }
    Ok(AnyRef::from_der(encoding)?.value())
}

/// Identifier octet, length and contents.
pub fn wrap(tag: u8, contents: &[u8]) -> Result<Vec<u8>, der::Error> {
    use der::Encode as _;
    let mut encoding = vec![tag];
    encoding.extend(der::Length::try_from(contents.len())?.to_der()?);
    encoding.extend_from_slice(contents);
    Ok(encoding)
}
