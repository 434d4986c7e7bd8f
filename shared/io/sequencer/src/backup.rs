//! A copy of a log, taken while it runs or not; the same copy brings it back.
//!
//! The order is what makes it whole. First the write-ahead segments are read: they are only appended to, so what is read of one is a prefix of it, and
//! a torn end is what every start copes with. A segment goes away only when all it had is in durable tiles; so whatever was not in a
//! segment when it was read is in the tiles that are copied after it. Tiles of entries that came later are left out: a log does not start
//! beside tiles that its write-ahead log does not know.
//!
//! An older copy stays one that opens until the newer one is whole: segments, and the first tile that the older one has not filled, wait beside it
//! (see `incoming`), are looked at there, and are then put in place.

use std::io;

use note::VerifierKey;
use store::{Disk, Path};
use tlog::tile::FULL_WIDTH;
use tlog::{TreeHead, TreeSize};

use crate::error::{OpenError, disk};
use crate::incoming::{self, Incoming};
use crate::layout::{self, ROW};
use crate::leaf::Leaf;
use crate::record;
use crate::recover::{self, MAX_BUNDLE, MAX_SEGMENT, MAX_TILE};

/// Bytes of the index that are copied at a time.
const PIECE: usize = 4 << 20;
/// How often a log that outruns us is looked at again.
const ATTEMPTS: usize = 20;
/// Files after which what was copied is made durable.
const SYNC: usize = 512;

/// What was copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyReport {
    /// Head of the copy; its checkpoint is in it.
    pub head: TreeHead,
    /// Files that were copied now.
    pub copied: u64,
}

/// Copies a log to an empty disk, or brings an older copy of the same log up to date. Blocks; `tell` hears of each file.
pub fn copy<L: Leaf>(
    from: &dyn Disk,
    to: &dyn Disk,
    verifier: &VerifierKey,
    mut tell: impl FnMut(u64, u64),
) -> Result<CopyReport, OpenError> {
    mend(to)?;
    incoming::forget(to)?;
    let old = segments(to)?;
    let new = segments(from)?;
    // A copy is never made older.
    not_older(from, to, &old, &new)?;
    let (before, opens) = match recover::recover::<L>(to, verifier) {
        // It is made whole now. What the log has signed is in it all the same.
        Err(OpenError::Damaged(_)) => (last_signed(to, &old, verifier)?, false),
        before => (before?.map(|before| before.head), true),
    };
    // A log that is not the one that was copied must not take the place of it: the copy may be all that is left of that.
    if let Some(before) = before {
        continues::<L>(from, before, verifier)?;
    }
    // Before the segments: what they end with is then what was frozen, or later.
    let frozen = layout::frozen();
    let last = from
        .read(&frozen, MAX_TILE)
        .map_err(disk(format!("read {frozen}")))?;

    // 1. The write-ahead log, beside the copy. If we crash in here, or in the next step, the copy is what it was.
    let mut incoming = Incoming::new(to);
    let taken = take_segments(from, &mut incoming, new)?;
    let mut copied = u64::try_from(taken.len()).unwrap_or(u64::MAX);
    if let Some(bytes) = last {
        incoming.keep(frozen, &bytes)?;
    }

    // 2. What stands before the log that was copied. The index may have more rows, and is cut when the copy is opened.
    let rows = from
        .read_range(&layout::index(), 0, 1)
        .map_err(disk("read the index"))?;
    if rows.is_some() {
        copy_index(from, to)?;
    }
    let base = taken.first().copied().unwrap_or(0);
    // The tile and the bundle in which the first segment begins are full ones.
    let bundles = base.div_ceil(u64::from(FULL_WIDTH));
    let done = mark(to)?.min(bundles);
    // With this one the older copy would be a log that was rolled back.
    let unfilled = before.filter(|_| opens);
    let unfilled = unfilled.map(|head| head.size.get() / u64::from(FULL_WIDTH));
    let mut unsynced = Vec::new();
    for index in done..bundles {
        let files = files_at::<L>(from, index)?;
        copied = copied.saturating_add(u64::try_from(files.len()).unwrap_or(u64::MAX));
        for (path, bytes) in files {
            if unfilled == Some(index) {
                incoming.keep(path, &bytes)?;
            } else {
                to.replace(&path, &bytes)
                    .map_err(disk(format!("write {path}")))?;
                unsynced.push(path);
            }
        }
        let next = index.saturating_add(1);
        if unsynced.len() >= SYNC || next == bundles {
            to.sync(&unsynced).map_err(disk("make the copy durable"))?;
            unsynced.clear();
            set_mark(to, unfilled.map_or(next, |unfilled| next.min(unfilled)))?;
        }
        tell(next, bundles);
    }

    // 3. What it will be must open, and continue what it was.
    let preview = incoming.preview();
    let head = match recover::recover::<L>(&preview, verifier)? {
        Some(recovered) => {
            recover::read_frozen(&preview, recovered.head, verifier)?;
            recovered.head
        }
        None => TreeHead::EMPTY,
    };
    if let Some(before) = before
        && before.size > head.size
    {
        return Err(OpenError::RolledBack {
            copy: before.size,
            folder: head.size,
        });
    }

    // 4. From here on it is the new one, also if we crash.
    incoming.decide()?;
    if done < bundles {
        set_mark(to, bundles)?;
    }
    Ok(CopyReport { head, copied })
}

/// Finishes what an interrupted run had decided on: before such a copy is opened or brought back. Nothing where there is nothing to finish.
pub fn mend(copy: &dyn Disk) -> Result<(), OpenError> {
    incoming::put_in_place(copy)
}

/// The latest head that the log has signed, of those in the segments of a copy that does not open.
fn last_signed(
    files: &dyn Disk,
    sizes: &[u64],
    verifier: &VerifierKey,
) -> Result<Option<TreeHead>, OpenError> {
    let mut last: Option<TreeHead> = None;
    for size in sizes {
        let path = layout::segment(*size);
        let bytes = files
            .read(&path, MAX_SEGMENT)
            .map_err(disk(format!("read {path}")))?
            .unwrap_or_default();
        for found in record::likenesses_in(&bytes) {
            let later = last.map_or(TreeSize::EMPTY, |last| last.size) < found.head.size;
            if later && found.is_signed(verifier) {
                last = Some(found.head);
            }
        }
    }
    Ok(last)
}

/// The log, which may be growing, must have grown out of an earlier head.
fn continues<L: Leaf>(
    files: &dyn Disk,
    earlier: TreeHead,
    verifier: &VerifierKey,
) -> Result<(), OpenError> {
    let mut last = OpenError::Damaged("the log changes too quickly to be read".to_owned());
    for _ in 0..ATTEMPTS {
        let recovered = match recover::recover_beside_writer::<L>(files, verifier) {
            Ok(Some(recovered)) => recovered,
            Ok(None) => {
                return Err(OpenError::RolledBack {
                    copy: earlier.size,
                    folder: TreeSize::EMPTY,
                });
            }
            // A segment may have gone while it was read.
            Err(error @ OpenError::Damaged(_)) => {
                last = error;
                continue;
            }
            Err(error) => return Err(error),
        };
        if recovered.head.size < earlier.size {
            return Err(OpenError::RolledBack {
                copy: earlier.size,
                folder: recovered.head.size,
            });
        }
        return recover::check_grown(files, &recovered, earlier);
    }
    Err(last)
}

/// The newest segment tells, and its length.
fn not_older(from: &dyn Disk, to: &dyn Disk, old: &[u64], new: &[u64]) -> Result<(), OpenError> {
    let (Some(old), new) = (old.last(), new.last().copied().unwrap_or(0)) else {
        return Ok(());
    };
    let older = OpenError::RolledBack {
        copy: TreeSize::new(*old),
        folder: TreeSize::new(new),
    };
    if *old > new {
        return Err(older);
    }
    if *old == new {
        let path = layout::segment(new);
        let read = |files: &dyn Disk| {
            let bytes = files.read(&path, MAX_SEGMENT);
            bytes.map_err(disk(format!("read {path}")))
        };
        let (from, to) = (
            read(from)?.unwrap_or_default(),
            read(to)?.unwrap_or_default(),
        );
        // What follows the last whole record may have been cut since.
        if !from.starts_with(whole_records(&to)) {
            return Err(older);
        }
    }
    Ok(())
}

fn whole_records(bytes: &[u8]) -> &[u8] {
    let mut at = 0_usize;
    while let Some(framed) = bytes.get(at..).and_then(record::decode) {
        at = at.saturating_add(framed.len);
    }
    bytes.get(..at).unwrap_or_default()
}

fn segments(files: &dyn Disk) -> Result<Vec<u64>, OpenError> {
    let names = files
        .list(&layout::wal_folder())
        .map_err(disk("list the write-ahead segments"))?;
    let mut sizes: Vec<u64> = names
        .iter()
        .filter_map(|name| layout::segment_size(name))
        .collect();
    sizes.sort_unstable();
    Ok(sizes)
}

/// Rows never change, so only those that are missing are copied.
fn copy_index(from: &dyn Disk, to: &dyn Disk) -> Result<(), OpenError> {
    let path = layout::index();
    let mut file = to
        .append(&path)
        .map_err(disk("open the index of the copy"))?;
    let row = u64::try_from(ROW).unwrap_or(u64::MAX);
    let len = file.len().map_err(disk("read the index of the copy"))?;
    // Rows behind the mark may be what an interrupted run has left of them.
    let durable = mark(to)?.saturating_mul(u64::from(FULL_WIDTH));
    let mut at = durable.min(len / row).saturating_mul(row);
    let write = |result: io::Result<()>| result.map_err(disk("write the index of the copy"));
    write(file.truncate(at))?;
    loop {
        let bytes = from
            .read_range(&path, at, PIECE)
            .map_err(disk("read the index"))?
            .unwrap_or_default();
        let whole = bytes.len().saturating_sub(bytes.len() % ROW);
        let rows = bytes.get(..whole).unwrap_or_default();
        if rows.is_empty() {
            break;
        }
        write(file.append(rows))?;
        at = at.saturating_add(u64::try_from(rows.len()).unwrap_or(u64::MAX));
    }
    write(file.sync_data())?;
    write(to.sync(std::slice::from_ref(&path)))
}

/// Bundle and tiles that the 256 leaves of a bundle fill. They are written anew, whatever an interrupted run has left of them.
fn files_at<L: Leaf>(from: &dyn Disk, index: u64) -> Result<Vec<(Path, Vec<u8>)>, OpenError> {
    let mut paths = vec![(layout::bundle(L::BUNDLE, index), MAX_BUNDLE)];
    let (mut level, mut index) = (0_u8, index);
    loop {
        paths.push((layout::tile(level, index), MAX_TILE));
        let filled = index.saturating_add(1);
        if !filled.is_multiple_of(u64::from(FULL_WIDTH)) {
            break;
        }
        level = level.saturating_add(1);
        index = (filled / u64::from(FULL_WIDTH)).saturating_sub(1);
    }
    let read = |(path, max): (Path, u64)| {
        let bytes = from
            .read(&path, max)
            .map_err(disk(format!("read {path}")))?
            .ok_or_else(|| OpenError::Damaged(format!("{path} is missing")))?;
        Ok((path, bytes))
    };
    paths.into_iter().map(read).collect()
}

/// Takes the segments that are still there. When the log is so quick that none of them is, others are.
fn take_segments(
    from: &dyn Disk,
    incoming: &mut Incoming<'_>,
    mut sizes: Vec<u64>,
) -> Result<Vec<u64>, OpenError> {
    let mut taken = Vec::new();
    for _ in 0..ATTEMPTS {
        for size in &sizes {
            let path = layout::segment(*size);
            let bytes = from
                .read(&path, MAX_SEGMENT)
                .map_err(disk(format!("read {path}")))?;
            let Some(bytes) = bytes else { continue };
            incoming.keep(path, &bytes)?;
            taken.push(*size);
        }
        if !taken.is_empty() || sizes.is_empty() {
            break;
        }
        sizes = segments(from)?;
    }
    Ok(taken)
}

/// How many bundles of the copy are durable, with all tiles that they fill.
fn mark(to: &dyn Disk) -> Result<u64, OpenError> {
    let bytes = to
        .read(&layout::copied(), 20)
        .map_err(disk("read how far the copy is"))?;
    let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    Ok(text.and_then(|text| text.parse().ok()).unwrap_or(0))
}

fn set_mark(to: &dyn Disk, bundles: u64) -> Result<(), OpenError> {
    to.replace_durable(&layout::copied(), bundles.to_string().as_bytes())
        .map_err(disk("write how far the copy is"))
}

/// Makes a finished copy a log like any other: without the file that says how far the copy is.
pub fn finish(copy: &dyn Disk) -> Result<(), OpenError> {
    copy.remove(&layout::copied())
        .map_err(disk("remove how far the copy is"))
}

/// Refuses a copy that ends before a checkpoint that the log has given out: to go on from there would be a second history.
pub fn guard<L: Leaf>(
    files: &dyn Disk,
    checkpoint: &[u8],
    verifier: &VerifierKey,
) -> Result<TreeSize, OpenError> {
    let recovered = recover::recover::<L>(files, verifier)?;
    recover::check_copy(files, recovered.as_ref(), Some(checkpoint), verifier)?;
    Ok(recovered.map_or(TreeSize::EMPTY, |recovered| recovered.head.size))
}
