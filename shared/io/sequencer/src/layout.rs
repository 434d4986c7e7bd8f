//! Names of the files in a log folder.
//!
//! ```text
//! wal/<size, 20 digits>.wal    write-ahead segments; the number is the tree size at the segment's start
//! index                        40 bytes per leaf: dedup key (32) | timestamp ms (8); rebuilt when it is short
//! copied                       of a copy: how many bundles of it are durable
//! incoming/                    of a copy: files that are to be put in place
//! frozen                       the last checkpoint, of a log that takes no entries any more
//! tile/<L>/<N>                 full tiles, C2SP tlog-tiles
//! tile/<entries|data>/<N>      full bundles
//! ```

use store::Path;
use tlog::{BundleId, TileId, Width};

/// Bytes of a row of the index.
pub(crate) const ROW: usize = 40;

/// Makes a path of parts that are ours.
pub(crate) fn path(text: impl Into<String>) -> Path {
    // Each caller below writes digits and fixed words, which a path takes; the fallback names a file that nobody has.
    #[expect(clippy::expect_used, reason = "fixed words and digits only")]
    Path::new(text).expect("our own file names are plain")
}

pub(crate) fn wal_folder() -> Path {
    path("wal")
}

pub(crate) fn segment(size: u64) -> Path {
    path(format!("wal/{size:020}.wal"))
}

/// The size in a segment's name; `None` for other files.
pub(crate) fn segment_size(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".wal")?;
    (digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit()))
        .then(|| digits.parse().ok())
        .flatten()
}

pub(crate) fn index() -> Path {
    path("index")
}

pub(crate) fn copied() -> Path {
    path("copied")
}

pub(crate) fn incoming_folder() -> Path {
    path("incoming")
}

pub(crate) fn incoming(number: usize) -> Path {
    path(format!("incoming/{number}"))
}

pub(crate) fn whole() -> Path {
    path("incoming/whole")
}

pub(crate) fn frozen() -> Path {
    path("frozen")
}

pub(crate) fn tile(level: u8, index: u64) -> Path {
    path(
        TileId {
            level,
            index,
            width: Width::FULL,
        }
        .to_string(),
    )
}

pub(crate) fn bundle(name: &str, index: u64) -> Path {
    path(
        BundleId {
            index,
            width: Width::FULL,
        }
        .path(name),
    )
}

pub(crate) fn row(dedup_key: &[u8; 32], timestamp_ms: u64) -> [u8; ROW] {
    let mut row = [0; ROW];
    let (key, time) = row.split_at_mut(32);
    key.copy_from_slice(dedup_key);
    time.copy_from_slice(&timestamp_ms.to_be_bytes());
    row
}

pub(crate) fn parse_row(row: &[u8; ROW]) -> Option<([u8; 32], u64)> {
    let (key, time) = row.split_first_chunk::<32>()?;
    Some((*key, u64::from_be_bytes(time.try_into().ok()?)))
}
