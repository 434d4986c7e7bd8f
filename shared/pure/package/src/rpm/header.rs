//! The header structure: an index of tags, and a store with their values.

use super::{MAX_STORE, MAX_TAGS};
use crate::PackageError;

/// The beginning of a header: magic, version, reserved bytes, number of tags, length of the store.
const INTRO: usize = 16;
/// One tag in a header's index.
const INDEX_ENTRY: usize = 16;

/// How a tag's value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Null,
    /// `BIN`: bytes.
    Bytes,
    /// An integer of so many bytes; `CHAR` is one, too.
    Integer(u8),
    /// `STRING`, `STRING_ARRAY`, `I18NSTRING`: texts that end in NUL.
    Text,
}

struct Tag {
    number: u32,
    kind: Kind,
    offset: usize,
    count: usize,
}

/// A header structure, each tag of which lies within its store.
pub(super) struct Header<'a> {
    /// All of it, from magic to the end of the store: what header signatures and header digests are over.
    pub(super) bytes: &'a [u8],
    pub(super) store: &'a [u8],
    tags: Vec<Tag>,
}

impl<'a> Header<'a> {
    /// Reads a header; what follows it is returned too.
    pub(super) fn read(
        input: &'a [u8],
        what: &'static str,
    ) -> Result<(Self, &'a [u8]), PackageError> {
        let malformed = PackageError::Malformed(what);
        let (intro, after) = input.split_at_checked(INTRO).ok_or(malformed.clone())?;
        if !intro.starts_with(&[0x8e, 0xad, 0xe8, 1, 0, 0, 0, 0]) {
            return Err(malformed);
        }
        let (count, length) = (word(intro, 8), word(intro, 12));
        for (number, limit) in [(count, MAX_TAGS), (length, MAX_STORE)] {
            if number > limit {
                return Err(PackageError::TooLarge {
                    what,
                    limit: limit.into(),
                });
            }
        }
        let size = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
        let index_length = size(count).saturating_mul(INDEX_ENTRY);
        let (index, after) = after
            .split_at_checked(index_length)
            .ok_or(malformed.clone())?;
        let (store, rest) = after
            .split_at_checked(size(length))
            .ok_or(malformed.clone())?;
        let bytes = input
            .get(..input.len().saturating_sub(rest.len()))
            .unwrap_or_default();
        let mut header = Self {
            bytes,
            store,
            tags: Vec::with_capacity(size(count)),
        };
        // Values lie side by side in the store, but for the entry that marks a region. Twice its length is enough for any honest header, and
        // texts that are pointed at again and again cost no more than that.
        let mut budget = store.len().saturating_mul(2);
        for entry in index.chunks_exact(INDEX_ENTRY) {
            let tag = Tag {
                number: word(entry, 0),
                kind: kind(word(entry, 4)).ok_or(malformed.clone())?,
                offset: size(word(entry, 8)),
                count: size(word(entry, 12)),
            };
            let length = header.length_of(&tag).ok_or(malformed.clone())?;
            budget = budget.checked_sub(length).ok_or(malformed.clone())?;
            header.tags.push(tag);
        }
        let mut numbers: Vec<u32> = header.tags.iter().map(|tag| tag.number).collect();
        numbers.sort_unstable();
        if numbers
            .windows(2)
            .any(|two| matches!(two, [one, other] if one == other))
        {
            return Err(malformed);
        }
        Ok((header, rest))
    }

    /// The length of a value, if it lies within the store and has at least one item.
    fn length_of(&self, tag: &Tag) -> Option<usize> {
        let value = self.store.get(tag.offset..)?;
        if value.is_empty() || tag.count == 0 {
            return None;
        }
        let length = match tag.kind {
            Kind::Null => 0,
            Kind::Bytes => tag.count,
            Kind::Integer(width) => tag.count.checked_mul(width.into())?,
            Kind::Text => {
                let mut left = tag.count;
                let last = value.iter().position(|byte| {
                    left = left.saturating_sub((*byte == 0).into());
                    left == 0
                })?;
                last.checked_add(1)?
            }
        };
        (length <= value.len()).then_some(length)
    }

    pub(super) fn has(&self, number: u32) -> bool {
        self.find(number).is_some()
    }

    fn find(&self, number: u32) -> Option<(&Tag, &'a [u8])> {
        let tag = self.tags.iter().find(|tag| tag.number == number)?;
        Some((tag, self.store.get(tag.offset..)?))
    }

    pub(super) fn bytes_of(&self, number: u32) -> Option<&'a [u8]> {
        let (tag, value) = self.find(number)?;
        value.get(..tag.count).filter(|_| tag.kind == Kind::Bytes)
    }

    /// The first text, without its NUL.
    pub(super) fn text_of(&self, number: u32) -> Option<&'a [u8]> {
        let (tag, value) = self.find(number)?;
        value
            .split(|byte| *byte == 0)
            .next()
            .filter(|_| tag.kind == Kind::Text)
    }

    /// The first integer.
    pub(super) fn integer_of(&self, number: u32) -> Option<u64> {
        let (tag, value) = self.find(number)?;
        let Kind::Integer(width) = tag.kind else {
            return None;
        };
        let bytes = value.get(..width.into())?;
        Some(
            bytes
                .iter()
                .fold(0, |number, byte| (number << 8) | u64::from(*byte)),
        )
    }
}

const fn kind(number: u32) -> Option<Kind> {
    Some(match number {
        0 => Kind::Null,
        7 => Kind::Bytes,
        1 | 2 => Kind::Integer(1),
        3 => Kind::Integer(2),
        4 => Kind::Integer(4),
        5 => Kind::Integer(8),
        6 | 8 | 9 => Kind::Text,
        _ => return None,
    })
}

/// A big-endian number of four bytes.
fn word(bytes: &[u8], at: usize) -> u32 {
    bytes
        .get(at..at + 4)
        .and_then(|bytes| bytes.try_into().ok())
        .map_or(0, u32::from_be_bytes)
}
