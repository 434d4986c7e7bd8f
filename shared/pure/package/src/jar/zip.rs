//! Zip archives in memory (PKWARE's APPNOTE 6.3), as far as JAR files need them.
//!
//! Our own reader instead of a crate: it has two methods (stored, deflated), no writing, no encryption, no zip64, and it can refuse what lets two readers
//! see two different archives: names that stand there twice, local headers that disagree with the directory, anything in front of the first or behind
//! the last byte of the archive, and between entries anything at all. (A reader of streams takes the entries as they stand behind one another, and
//! does not look at the directory.) The one exception is Android's signing block in front of the directory, which no entry can stand in.

use std::collections::BTreeSet;
use std::io::Read as _;

use flate2::Crc;
use flate2::bufread::DeflateDecoder;

use crate::PackageError;

/// The end of the central directory, without its comment.
const END: usize = 22;
/// The longest comment behind it.
const MAX_COMMENT: usize = 0xffff;
/// A local header, without name and extra field.
const LOCAL: usize = 30;
/// An entry of the central directory, without name, extra field and comment.
const CENTRAL: usize = 46;
/// The end of an APK Signing Block.
const SIGNING_BLOCK: &[u8] = b"APK Sig Block 42";
/// Flag: the contents are encrypted.
const ENCRYPTED: u16 = 1;
/// Flag: checksum and sizes stand behind the contents.
const DESCRIPTOR: u16 = 8;

const MALFORMED: PackageError = PackageError::Malformed("zip archive");

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Method {
    Stored,
    Deflated,
}

/// A file of an archive.
pub(super) struct Entry<'a> {
    /// The name, in which nothing is normalised.
    pub(super) name: &'a [u8],
    /// The length of the contents, as the directory states it. No more is ever read.
    pub(super) size: u64,
    method: Method,
    checksum: u32,
    /// The contents as they are stored.
    packed: &'a [u8],
    /// Where its local header begins, and where it ends with all that belongs to it.
    span: (usize, usize),
}

/// How many bytes may still be inflated and hashed, over all entries.
pub(super) struct Budget {
    left: u64,
    limit: u64,
}

impl Budget {
    pub(super) const fn new(limit: u64) -> Self {
        Self { left: limit, limit }
    }

    pub(super) fn spend(&mut self, bytes: u64) -> Result<(), PackageError> {
        self.left = self.left.checked_sub(bytes).ok_or(PackageError::TooLarge {
            what: "jar: bytes to inflate and to hash",
            limit: self.limit,
        })?;
        Ok(())
    }
}

impl Entry<'_> {
    /// Hands the contents to `sink` piece by piece. An error when length or checksum are not what the directory states.
    pub(super) fn read(
        &self,
        budget: &mut Budget,
        mut sink: impl FnMut(&[u8]),
    ) -> Result<(), PackageError> {
        budget.spend(self.size)?;
        let mut checksum = Crc::new();
        let mut length: u64 = 0;
        if self.method == Method::Stored {
            checksum.update(self.packed);
            length = u64::try_from(self.packed.len()).unwrap_or(u64::MAX);
            sink(self.packed);
        } else {
            let mut decoder = DeflateDecoder::new(self.packed);
            let mut piece = vec![0; 32 * 1024];
            loop {
                let read = decoder.read(&mut piece).map_err(|_| MALFORMED)?;
                if read == 0 {
                    break;
                }
                length = length.saturating_add(u64::try_from(read).unwrap_or(u64::MAX));
                if length > self.size {
                    return Err(MALFORMED);
                }
                let piece = piece.get(..read).unwrap_or_default();
                checksum.update(piece);
                sink(piece);
            }
            if !decoder.into_inner().is_empty() {
                return Err(MALFORMED);
            }
        }
        if length == self.size && checksum.sum() == self.checksum {
            Ok(())
        } else {
            Err(MALFORMED)
        }
    }
}

/// All entries, in the directory's order.
pub(super) fn entries(archive: &[u8]) -> Result<Vec<Entry<'_>>, PackageError> {
    let (end, record) = end_of_directory(archive)?;
    let (count, size, offset) = (half(record, 10), word(record, 12), word(record, 16));
    if half(record, 4) != 0 || half(record, 6) != 0 || half(record, 8) != count {
        return Err(PackageError::Unsupported("zip: an archive in parts".into()));
    }
    if count == u16::MAX || size == u32::MAX || offset == u32::MAX {
        return Err(PackageError::Unsupported("zip64".into()));
    }
    let start = length(offset);
    // The directory ends where its end record begins: nothing can hide between, and nothing was put in front of the archive.
    if start.checked_add(length(size)) != Some(end) {
        return Err(MALFORMED);
    }
    let mut directory = archive.get(start..end).ok_or(MALFORMED)?;
    let mut entries = Vec::new();
    let mut names = BTreeSet::new();
    for _ in 0..count {
        let (entry, rest) = entry(archive, start, directory)?;
        directory = rest;
        if !names.insert(entry.name) {
            return Err(PackageError::Unsupported(format!(
                "zip: the name {} twice",
                super::shown(entry.name)
            )));
        }
        entries.push(entry);
    }
    if !directory.is_empty() {
        return Err(MALFORMED);
    }
    let mut spans: Vec<(usize, usize)> = entries.iter().map(|entry| entry.span).collect();
    spans.sort_unstable();
    let mut reached = 0;
    for (begin, end) in spans {
        if begin < reached {
            return Err(PackageError::Unsupported(
                "zip: entries that overlap".into(),
            ));
        }
        if begin > reached {
            return Err(between());
        }
        reached = end;
    }
    let behind = archive.get(reached..start).ok_or(MALFORMED)?;
    if !behind.is_empty() && !is_signing_block(behind) {
        return Err(between());
    }
    Ok(entries)
}

fn between() -> PackageError {
    PackageError::Unsupported("zip: bytes between entries".into())
}

/// Whether this is an APK Signing Block (Android's APK signature scheme v2): its length without these eight bytes, contents, the same length again
/// and a mark.
fn is_signing_block(bytes: &[u8]) -> bool {
    let inner = || {
        let (length, rest) = bytes.split_first_chunk::<8>()?;
        let (_, again) = rest.strip_suffix(SIGNING_BLOCK)?.split_last_chunk::<8>()?;
        let stated = usize::try_from(u64::from_le_bytes(*length)).ok()?;
        // A length can look like a local header.
        Some(length == again && stated == rest.len() && !bytes.starts_with(b"PK"))
    };
    inner() == Some(true)
}

/// The last record that looks like an end of a directory; it must be the archive's very end.
fn end_of_directory(archive: &[u8]) -> Result<(usize, &[u8]), PackageError> {
    let tail = archive.len().saturating_sub(END + MAX_COMMENT);
    let window = archive.get(tail..).unwrap_or_default();
    let at = window
        .windows(END)
        .rposition(|record| record.starts_with(b"PK\x05\x06"))
        .ok_or(MALFORMED)?;
    let record = window.get(at..).ok_or(MALFORMED)?;
    if record.len() != END + usize::from(half(record, 20)) {
        return Err(MALFORMED);
    }
    Ok((tail + at, record))
}

/// Reads the first entry of `directory`, and what it points to in front of the directory, which begins at `limit`.
fn entry<'a>(
    archive: &'a [u8],
    limit: usize,
    directory: &'a [u8],
) -> Result<(Entry<'a>, &'a [u8]), PackageError> {
    let (central, rest) = directory.split_at_checked(CENTRAL).ok_or(MALFORMED)?;
    if !central.starts_with(b"PK\x01\x02") {
        return Err(MALFORMED);
    }
    let (name, rest) = rest
        .split_at_checked(half(central, 28).into())
        .ok_or(MALFORMED)?;
    let skipped = usize::from(half(central, 30)) + usize::from(half(central, 32));
    let rest = rest.get(skipped..).ok_or(MALFORMED)?;
    let flags = half(central, 8);
    if flags & ENCRYPTED != 0 {
        return Err(PackageError::Unsupported("zip: an encrypted entry".into()));
    }
    let method = match half(central, 10) {
        0 => Method::Stored,
        8 => Method::Deflated,
        other => {
            return Err(PackageError::Unsupported(format!(
                "zip: compression method {other}"
            )));
        }
    };
    let (checksum, packed, size) = (word(central, 16), word(central, 20), word(central, 24));
    let offset = word(central, 42);
    if [packed, size, offset].contains(&u32::MAX) {
        return Err(PackageError::Unsupported("zip64".into()));
    }
    if method == Method::Stored && packed != size {
        return Err(MALFORMED);
    }
    let begin = length(offset);
    let local = archive
        .get(..limit)
        .and_then(|files| files.get(begin..))
        .ok_or(MALFORMED)?;
    let (header, after) = local.split_at_checked(LOCAL).ok_or(MALFORMED)?;
    let (local_name, after) = after
        .split_at_checked(half(header, 26).into())
        .ok_or(MALFORMED)?;
    let contents = after
        .get(usize::from(half(header, 28))..)
        .ok_or(MALFORMED)?;
    let (packed_contents, mut behind) =
        contents.split_at_checked(length(packed)).ok_or(MALFORMED)?;
    let stated = [checksum, packed, size];
    let mut agrees = header.starts_with(b"PK\x03\x04")
        && local_name == name
        && half(header, 8) == half(central, 10);
    if half(header, 6) & DESCRIPTOR == 0 {
        agrees &= [word(header, 14), word(header, 18), word(header, 22)] == stated;
    } else {
        behind = without_descriptor(behind, stated).ok_or(MALFORMED)?;
    }
    if !agrees {
        return Err(MALFORMED);
    }
    let end = limit.saturating_sub(behind.len());
    let entry = Entry {
        name,
        size: size.into(),
        method,
        checksum,
        packed: packed_contents,
        span: (begin, end),
    };
    Ok((entry, rest))
}

/// What follows a data descriptor (APPNOTE 4.3.9), which states these: the checksum, and the sizes in four bytes each, or in eight. Its own
/// signature is optional.
fn without_descriptor(bytes: &[u8], stated: [u32; 3]) -> Option<&[u8]> {
    let bytes = bytes.strip_prefix(b"PK\x07\x08").unwrap_or(bytes);
    let [checksum, packed, size] = stated.map(u32::to_le_bytes);
    let short = [checksum, packed, size].concat();
    let wide = [checksum, packed, [0; 4], size, [0; 4]].concat();
    bytes
        .strip_prefix(short.as_slice())
        .or_else(|| bytes.strip_prefix(wide.as_slice()))
}

/// A little-endian number of two bytes.
fn half(bytes: &[u8], at: usize) -> u16 {
    bytes
        .get(at..at + 2)
        .and_then(|bytes| bytes.try_into().ok())
        .map_or(0, u16::from_le_bytes)
}

/// A little-endian number of four bytes.
fn word(bytes: &[u8], at: usize) -> u32 {
    bytes
        .get(at..at + 4)
        .and_then(|bytes| bytes.try_into().ok())
        .map_or(0, u32::from_le_bytes)
}

fn length(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
