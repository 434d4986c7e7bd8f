//! The operator's check: every hash recomputed from the entries, and compared with every file that repeats it.

use note::VerifierKey;
use store::Disk;
use tlog::tile::FULL_WIDTH;
use tlog::{Edge, LeafIndex, Tile, TileId, TreeHead, Width};

use crate::config::Config;
use crate::error::{FsckError, OpenError, disk};
use crate::layout::{self, ROW};
use crate::leaf::Leaf;
use crate::log;
use crate::recover::{self, MAX_BUNDLE, MAX_TILE, Recovered};

/// What a sound log looks like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FsckReport {
    /// Head of the recomputed tree; the last signed checkpoint is about it.
    pub head: TreeHead,
    /// Entries that were read from full bundles.
    pub bundled: u64,
    /// Full tiles that were compared, of all levels.
    pub tiles: u64,
    /// Entries in write-ahead segments.
    pub in_write_ahead_log: u64,
    /// Things that the next start repairs by itself: what a crash may leave.
    pub notes: Vec<String>,
}

/// Checks the log in a folder and its checkpoint copy. Takes the folder's lock, and changes nothing. Blocks.
pub fn fsck<L: Leaf>(config: &Config, verifier: &VerifierKey) -> Result<FsckReport, FsckError> {
    let (files, copy) = log::folders(config)?;
    let _lock = files
        .lock()
        .map_err(disk("lock the log folder"))?
        .ok_or(OpenError::Locked)?;
    let copy = match copy {
        Some((files, path)) => {
            recover::read_copy(&*files, &path).map_err(disk("read the checkpoint copy"))?
        }
        None => None,
    };
    fsck_on::<L>(&*files, copy.as_deref(), verifier)
}

/// [`fsck`] on any disk that nobody else uses.
pub fn fsck_on<L: Leaf>(
    files: &dyn Disk,
    copy: Option<&[u8]>,
    verifier: &VerifierKey,
) -> Result<FsckReport, FsckError> {
    let recovered = recover::recover::<L>(files, verifier)?;
    recover::check_copy(files, recovered.as_ref(), copy, verifier)?;
    let Some(recovered) = recovered else {
        let report = FsckReport {
            head: TreeHead::EMPTY,
            bundled: 0,
            tiles: 0,
            in_write_ahead_log: 0,
            notes: vec!["there is no log in this folder".to_owned()],
        };
        return Ok(report);
    };
    recover::read_frozen(files, recovered.head, verifier)?;
    let mut check = Check::new(files, &recovered);
    check.bundles::<L>()?;
    check.open_entries::<L>()?;
    Ok(check.report)
}

struct Check<'a> {
    files: &'a dyn Disk,
    recovered: &'a Recovered,
    edge: Edge,
    report: FsckReport,
}

impl<'a> Check<'a> {
    fn new(files: &'a dyn Disk, recovered: &'a Recovered) -> Self {
        let head = recovered.head;
        let mut notes = Vec::new();
        notes.extend(
            recovered
                .leftovers
                .iter()
                .map(|path| format!("{path} is not needed")),
        );
        for segment in recovered.segments.iter().filter(|segment| segment.torn) {
            notes.push(format!(
                "{} has a torn record at byte {}",
                segment.path, segment.good
            ));
        }
        let in_write_ahead_log = head.size.get().saturating_sub(recovered.base.get());
        let mut report = FsckReport {
            head,
            bundled: 0,
            tiles: 0,
            in_write_ahead_log,
            notes,
        };
        if recovered.index_is_short {
            report
                .notes
                .push("the index is short and will be made again".to_owned());
        }
        Self {
            files,
            recovered,
            edge: Edge::empty(),
            report,
        }
    }

    fn bundles<L: Leaf>(&mut self) -> Result<(), FsckError> {
        for index in 0..self.recovered.head.size.get() / u64::from(FULL_WIDTH) {
            let path = layout::bundle(L::BUNDLE, index);
            let on_disk = self
                .files
                .read(&path, MAX_BUNDLE)
                .map_err(disk(format!("read {path}")))?;
            let in_log = self
                .recovered
                .filled
                .bundles
                .iter()
                .find(|(filled, _)| *filled == index);
            let bytes = match (on_disk, in_log) {
                (Some(on_disk), Some((_, in_log))) if *on_disk != **in_log => {
                    self.report.notes.push(format!(
                        "{path} differs from the write-ahead log, which makes it again"
                    ));
                    in_log.to_vec()
                }
                (Some(on_disk), _) => on_disk,
                (None, Some((_, in_log))) => {
                    self.report.notes.push(format!(
                        "{path} is still to be written from the write-ahead log"
                    ));
                    in_log.to_vec()
                }
                (None, None) => return Err(FsckError::Damaged(format!("{path} is missing"))),
            };
            let entries = recover::split_bundle::<L>(&bytes);
            let entries = entries.filter(|entries| entries.len() == usize::from(FULL_WIDTH));
            let entries = entries
                .ok_or_else(|| FsckError::Damaged(format!("{path} is not a full bundle")))?;
            self.entries::<L>(&entries)?;
            self.report.bundled = self.report.bundled.saturating_add(u64::from(FULL_WIDTH));
        }
        Ok(())
    }

    fn open_entries<L: Leaf>(&mut self) -> Result<(), FsckError> {
        let open: Vec<&[u8]> = self
            .recovered
            .state
            .open
            .iter()
            .map(|entry| &**entry)
            .collect();
        self.entries::<L>(&open)?;
        if self.edge.head() == self.recovered.head {
            return Ok(());
        }
        Err(FsckError::Damaged(format!(
            "the entries lead to root {} for {} entries, the signed checkpoint says {} for {}",
            self.edge.head().root,
            self.edge.size(),
            self.recovered.head.root,
            self.recovered.head.size
        )))
    }

    fn entries<L: Leaf>(&mut self, entries: &[&[u8]]) -> Result<(), FsckError> {
        let first = self.edge.size().get();
        let mut hashes = Vec::with_capacity(entries.len());
        let mut keys = Vec::with_capacity(entries.len());
        for (entry, index) in entries.iter().zip(first..) {
            let stored = L::open(entry, LeafIndex::new(index));
            let stored =
                stored.ok_or_else(|| FsckError::Damaged(format!("entry {index} is malformed")))?;
            hashes.push(stored.hash);
            keys.push((stored.dedup_key, stored.timestamp_ms));
        }
        self.index(first, &keys)?;
        let update = self.edge.append(&hashes);
        for (id, tile) in &update.full {
            self.tile(*id, tile)?;
        }
        self.edge = update.edge;
        Ok(())
    }

    fn tile(&mut self, id: TileId, tile: &Tile) -> Result<(), FsckError> {
        let path = layout::tile(id.level, id.index);
        let on_disk = self
            .files
            .read(&path, MAX_TILE)
            .map_err(disk(format!("read {path}")))?;
        let replayed = self.recovered.filled.tiles.iter();
        let replayed = replayed
            .map(|(filled, _)| *filled)
            .any(|filled| filled == id);
        match on_disk {
            on_disk if on_disk.is_some() && on_disk == tile.bytes(Width::FULL) => {}
            None if replayed => self.report.notes.push(format!(
                "{path} is still to be written from the write-ahead log"
            )),
            Some(_) if replayed => self.report.notes.push(format!(
                "{path} differs from the write-ahead log, which makes it again"
            )),
            None => return Err(FsckError::Damaged(format!("{path} is missing"))),
            Some(_) => {
                return Err(FsckError::Damaged(format!(
                    "{path} is not what its entries hash to"
                )));
            }
        }
        self.report.tiles = self.report.tiles.saturating_add(1);
        Ok(())
    }

    /// The index decides what counts as a duplicate, so its keys must be those of the entries. Rows from the write-ahead
    /// log on are made again by each start.
    fn index(&self, first: u64, keys: &[([u8; 32], Option<u64>)]) -> Result<(), FsckError> {
        if self.recovered.index_is_short {
            return Ok(());
        }
        let at = first.saturating_mul(u64::try_from(ROW).unwrap_or(u64::MAX));
        let rows = self
            .files
            .read_range(&layout::index(), at, keys.len().saturating_mul(ROW))
            .map_err(disk("read the index"))?
            .unwrap_or_default();
        let mut rows = rows.as_chunks::<ROW>().0.iter();
        for ((key, time), index) in keys.iter().zip(first..self.recovered.base.get()) {
            let row = rows.next().and_then(layout::parse_row);
            // A leaf that does not carry its time has it in the index alone.
            let same = |(indexed, at): ([u8; 32], u64)| {
                indexed == *key && time.is_none_or(|time| time == at)
            };
            if !row.is_some_and(same) {
                return Err(FsckError::Damaged(format!(
                    "the index has another key or time for entry {index}"
                )));
            }
        }
        Ok(())
    }
}
