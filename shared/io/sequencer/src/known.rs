//! Which entries the log has: exact, in some 12 bytes of memory an entry.
//!
//! ```text
//! dedup key --32 bits--> slots { 32 bits of the key's hash | 32 bits of index }   candidates, nearly always none or one
//!                        row of that index: in memory while the file may not have it, else in the file -> compared as a whole
//! ```

use std::collections::VecDeque;
use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::sync::{PoisonError, RwLock};

use store::Disk;

use crate::layout::{self, ROW};

/// The most leaves of a tree: a slot has 32 bits for the index, and 0 is no index.
pub(crate) const MAX_LEAVES: u64 = 0xffff_fffe;

/// Where an entry stands, and since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) index: u64,
    pub(crate) timestamp_ms: u64,
}

/// Exact memory of all entries: dedup key to place. Written by the sequencer only, when a batch is durable.
#[derive(Debug)]
pub(crate) struct Known {
    rows: RwLock<Rows>,
}

#[derive(Debug)]
struct Rows {
    /// Another one in each process: nobody can choose entries that fall on one slot. Odd.
    secret: u64,
    table: Table,
    /// Index of the first of `recent`; the file has all rows before it.
    first: u64,
    /// Key and time of the leaves whose rows the file may not have yet.
    recent: VecDeque<([u8; 32], u64)>,
}

impl Known {
    /// Of a log whose first `base` rows are in the index file; they are still to be [loaded](Self::load).
    pub(crate) fn new(base: u64) -> Self {
        Self {
            rows: RwLock::new(Rows {
                secret: secret(),
                table: Table::for_entries(base),
                first: base,
                recent: VecDeque::new(),
            }),
        }
    }

    /// Where the entry with this key is. Reads a row of the file when there is a candidate.
    pub(crate) fn find(&self, files: &dyn Disk, dedup_key: &[u8; 32]) -> io::Result<Option<Place>> {
        let mut in_file = Vec::new();
        {
            let rows = self.rows.read().unwrap_or_else(PoisonError::into_inner);
            let mut candidates: Vec<u64> = rows.table.find(rows.hash(dedup_key)).collect();
            // The first place of an entry is the one that counts.
            candidates.sort_unstable();
            for index in candidates {
                let Some(position) = index.checked_sub(rows.first) else {
                    in_file.push(index);
                    continue;
                };
                let recent = usize::try_from(position).ok();
                let recent = recent.and_then(|position| rows.recent.get(position));
                if let Some((key, timestamp_ms)) = recent
                    && key == dedup_key
                    && in_file.is_empty()
                {
                    return Ok(Some(Place {
                        index,
                        timestamp_ms: *timestamp_ms,
                    }));
                }
                if recent.is_some_and(|(key, _)| key == dedup_key) {
                    // An older candidate in the file may be the same entry.
                    in_file.push(index);
                }
            }
        }
        for index in in_file {
            let (key, timestamp_ms) = self.row(files, index)?;
            if key == *dedup_key {
                return Ok(Some(Place {
                    index,
                    timestamp_ms,
                }));
            }
        }
        Ok(None)
    }

    /// Remembers the next entry; `place` follows the one before.
    pub(crate) fn insert(&self, dedup_key: [u8; 32], place: Place) {
        let mut rows = self.rows.write().unwrap_or_else(PoisonError::into_inner);
        let hash = rows.hash(&dedup_key);
        rows.table.insert(hash, place.index);
        rows.recent.push_back((dedup_key, place.timestamp_ms));
    }

    /// Takes up rows of the file, on start: the first one is that of leaf `first`.
    pub(crate) fn load(&self, first: u64, rows: &[[u8; ROW]]) {
        let mut known = self.rows.write().unwrap_or_else(PoisonError::into_inner);
        let indexes = first..;
        for (row, index) in rows.iter().zip(indexes) {
            if let Some((dedup_key, _)) = layout::parse_row(row) {
                let hash = known.hash(&dedup_key);
                known.table.insert(hash, index);
            }
        }
    }

    /// The index file has `count` more rows.
    pub(crate) fn written(&self, count: usize) {
        let mut rows = self.rows.write().unwrap_or_else(PoisonError::into_inner);
        let count = count.min(rows.recent.len());
        rows.recent.drain(..count);
        rows.first = rows
            .first
            .saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
        if rows.recent.capacity() > rows.recent.len().saturating_mul(4).max(1 << 16) {
            rows.recent.shrink_to_fit();
        }
    }

    /// Index of the first row that the file may not have yet, and how many there are.
    pub(crate) fn recent(&self) -> (u64, usize) {
        let rows = self.rows.read().unwrap_or_else(PoisonError::into_inner);
        (rows.first, rows.recent.len())
    }

    /// Knows from now on what `other`, of the same log and newer, knows.
    pub(crate) fn take(&self, other: &Self) {
        let mut other = other.rows.write().unwrap_or_else(PoisonError::into_inner);
        let mut rows = self.rows.write().unwrap_or_else(PoisonError::into_inner);
        std::mem::swap(&mut *rows, &mut *other);
    }

    fn row(&self, files: &dyn Disk, index: u64) -> io::Result<([u8; 32], u64)> {
        {
            let rows = self.rows.read().unwrap_or_else(PoisonError::into_inner);
            let position = index.checked_sub(rows.first);
            let position = position.and_then(|position| usize::try_from(position).ok());
            if let Some(row) = position.and_then(|position| rows.recent.get(position)) {
                return Ok(*row);
            }
        }
        let at = index.saturating_mul(u64::try_from(ROW).unwrap_or(u64::MAX));
        let row = files.read_range(&layout::index(), at, ROW)?;
        let row = row
            .unwrap_or_default()
            .first_chunk()
            .and_then(layout::parse_row);
        row.ok_or_else(|| {
            let what = format!("the index has no row {index}");
            io::Error::new(io::ErrorKind::UnexpectedEof, what)
        })
    }
}

impl Rows {
    fn hash(&self, dedup_key: &[u8; 32]) -> u32 {
        slot_hash(dedup_key, self.secret)
    }
}

/// A secret of this process for [`slot_hash`]. Odd.
pub(crate) fn secret() -> u64 {
    RandomState::new().hash_one(0) | 1
}

/// Multiplying what is a hash already by a secret number is enough to make its slot nobody's choice.
pub(crate) fn slot_hash(hash: &[u8; 32], secret: u64) -> u32 {
    let start = hash.first_chunk().copied();
    let start = start.map_or(0, u64::from_be_bytes);
    hash_of(start.wrapping_mul(secret))
}

/// Open addressing. The slot of a hash follows from its first bits, so that the table can grow without the keys.
pub(crate) struct Table {
    /// `hash << 32 | index + 1`; 0 is empty.
    slots: Vec<u64>,
    /// The length of `slots` is 2 to this.
    bits: u32,
    len: usize,
}

impl Table {
    pub(crate) fn for_entries(count: u64) -> Self {
        // At most three quarters full.
        let wanted = count.saturating_add(count / 3).max(1 << 10);
        let bits = wanted.next_power_of_two().trailing_zeros().min(32);
        Self {
            slots: vec![0; 1 << bits],
            bits,
            len: 0,
        }
    }

    fn start(&self, hash: u32) -> usize {
        // Of 64 bits, so that a shift by 32 is one.
        let first = u64::from(hash) >> (32_u32.saturating_sub(self.bits));
        usize::try_from(first).unwrap_or(0)
    }

    pub(crate) fn insert(&mut self, hash: u32, index: u64) {
        if self.len.saturating_mul(4) >= self.slots.len().saturating_mul(3) && self.bits < 32 {
            self.grow();
        }
        let slot = u64::from(hash) << 32 | index.saturating_add(1).min(u64::from(u32::MAX));
        self.place(slot);
        self.len = self.len.saturating_add(1);
    }

    fn place(&mut self, slot: u64) {
        let mask = self.slots.len().saturating_sub(1);
        let mut at = self.start(hash_of(slot));
        while let Some(here) = self.slots.get_mut(at) {
            if *here == 0 {
                *here = slot;
                return;
            }
            at = at.wrapping_add(1) & mask;
        }
    }

    fn grow(&mut self) {
        let bits = self.bits.saturating_add(1);
        let old = std::mem::replace(&mut self.slots, vec![0; 1 << bits]);
        self.bits = bits;
        for slot in old {
            if slot != 0 {
                self.place(slot);
            }
        }
    }

    /// Indexes of entries that may have this hash.
    pub(crate) fn find(&self, hash: u32) -> impl Iterator<Item = u64> + '_ {
        let mask = self.slots.len().saturating_sub(1);
        let start = self.start(hash);
        let slots = (0..self.slots.len())
            .map_while(move |step| self.slots.get(start.wrapping_add(step) & mask));
        slots
            .take_while(|slot| **slot != 0)
            .filter(move |slot| hash_of(**slot) == hash)
            .map(|slot| (slot & u64::from(u32::MAX)).saturating_sub(1))
    }
}

impl std::fmt::Debug for Table {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Table({} entries in 2^{} slots)", self.len, self.bits)
    }
}

fn hash_of(slot: u64) -> u32 {
    u32::try_from(slot >> 32).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use store::sim::SimDisk;

    use super::*;

    #[test]
    fn a_table_finds_what_went_in_and_little_else() {
        let mut table = Table::for_entries(0);
        // Sixteen bits: many collisions. They are the first ones, as the slot follows from those.
        let spread = |index: u64| (index.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48) << 16;
        let hash = |index: u64| u32::try_from(spread(index)).unwrap();
        for index in 0..5000 {
            table.insert(hash(index), index);
        }
        assert!(table.slots.len() >= 5000 * 4 / 3);
        for index in 0..5000 {
            assert!(
                table.find(hash(index)).any(|found| found == index),
                "{index}"
            );
        }
        let all = |hash: u32| table.find(hash).count();
        assert_eq!(
            (0..1 << 16).map(|hash| all(hash << 16)).sum::<usize>(),
            5000,
            "each once"
        );
    }

    fn key(number: u32) -> [u8; 32] {
        let mut key = [0; 32];
        key[..4].copy_from_slice(&number.to_be_bytes());
        key
    }

    /// Against a map, with rows that move from memory into the file bit by bit.
    #[test]
    fn it_knows_what_a_map_knows() {
        let disk = SimDisk::new();
        let mut file = disk.append(&layout::index()).unwrap();
        let known = Known::new(0);
        let mut map = HashMap::new();
        let mut unwritten = Vec::new();
        for index in 0..3000_u32 {
            let place = Place {
                index: u64::from(index),
                timestamp_ms: u64::from(index) * 7,
            };
            // Each third key is one that was there: the first place stays.
            let key = key(if index % 3 == 2 { index / 2 } else { index });
            known.insert(key, place);
            map.entry(key).or_insert(place);
            unwritten.extend(layout::row(&key, place.timestamp_ms));
            if index % 101 == 100 {
                let rows = unwritten.len() / ROW / 2;
                let bytes: Vec<u8> = unwritten.drain(..rows * ROW).collect();
                file.append(&bytes).unwrap();
                known.written(rows);
            }
        }
        for number in 0..4000 {
            let key = key(number);
            assert_eq!(
                known.find(&disk, &key).unwrap(),
                map.get(&key).copied(),
                "{number}"
            );
        }
    }

    #[test]
    fn a_row_that_cannot_be_read_is_an_error_and_not_a_new_entry() {
        let disk = SimDisk::new();
        let known = Known::new(1);
        known.load(0, &[layout::row(&key(5), 7)]);
        assert!(known.find(&disk, &key(5)).is_err());
        assert_eq!(known.find(&disk, &key(6)).unwrap(), None);
    }
}
