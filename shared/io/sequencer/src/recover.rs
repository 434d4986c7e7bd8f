//! From the files of a folder to the state of the log. This part only reads; [`crate::open`] repairs and goes on.

use std::io;
use std::sync::Arc;

use note::VerifierKey;
use store::{AppendFile, Disk, Path};
use tlog::tile::FULL_WIDTH;
use tlog::{Edge, Hash, LeafIndex, Tile, TileId, TileSet, TreeHead, TreeSize, Update, proof};

use crate::error::{OpenError, disk};
use crate::known::Known;
use crate::layout::{self, ROW};
use crate::leaf::Leaf;
use crate::record::{self, Batch, Chain, Record, Start};
use crate::state::{Filled, State};

/// Longest write-ahead segment that is read: far above any setting, so that a changed setting reads old segments.
pub(crate) const MAX_SEGMENT: u64 = 1 << 30;
/// Longest bundle that is read: 256 static-ct entries with certificates of the largest size that logs take.
pub(crate) const MAX_BUNDLE: u64 = 64 << 20;
/// Bytes of a full tile.
pub(crate) const MAX_TILE: u64 = 256 * 32;
/// Rows of the index that are read at a time.
const ROWS_AT_A_TIME: usize = 16_384;

/// What the files say.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub(crate) state: State,
    pub(crate) head: TreeHead,
    /// The last signed checkpoint, opened with the log's key; its head is `head`.
    pub(crate) checkpoint: Vec<u8>,
    /// Tree size where the first write-ahead segment starts: everything before is in full tiles, bundles and the index.
    pub(crate) base: TreeSize,
    /// What the batches of the write-ahead log fill. These files may be missing or torn, and are written again.
    pub(crate) filled: Filled,
    /// Segments in use, oldest first.
    pub(crate) segments: Vec<Segment>,
    /// Segment files that nothing needs.
    pub(crate) leftovers: Vec<Path>,
    /// Position and bytes of the last record.
    pub(crate) last_record: (u64, Vec<u8>),
    /// Whether index rows before `base` are missing.
    pub(crate) index_is_short: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Segment {
    pub(crate) path: Path,
    /// Tree size after its last batch.
    pub(crate) end: u64,
    /// Bytes of whole records; what follows is a torn one.
    pub(crate) good: u64,
    pub(crate) torn: bool,
}

/// Reads a folder that nobody writes; `None` when there is no log in it.
pub(crate) fn recover<L: Leaf>(
    files: &dyn Disk,
    verifier: &VerifierKey,
) -> Result<Option<Recovered>, OpenError> {
    let recovered = recover_beside_writer::<L>(files, verifier)?;
    let Some(found) = &recovered else {
        return Ok(recovered);
    };
    // Tiles are written after their leaves are durable, so the first tile that the tree has not filled has no file.
    let unfilled = layout::tile(0, found.head.size.get() / u64::from(FULL_WIDTH));
    let unfilled_is_there = files
        .read_range(&unfilled, 0, 1)
        .map_err(disk(format!("read {unfilled}")))?
        .is_some();
    if unfilled_is_there {
        return Err(OpenError::Damaged(format!(
            "{unfilled} is there, and the write-ahead log ends at {} entries: it was rolled back",
            found.head.size
        )));
    }
    Ok(recovered)
}

/// [`recover`] of a folder in which another process may be writing: it may have filled a tile since its write-ahead log was read.
pub(crate) fn recover_beside_writer<L: Leaf>(
    files: &dyn Disk,
    verifier: &VerifierKey,
) -> Result<Option<Recovered>, OpenError> {
    let names = files
        .list(&layout::wal_folder())
        .map_err(disk("list the write-ahead segments"))?;
    let mut sizes: Vec<u64> = names
        .iter()
        .filter_map(|name| layout::segment_size(name))
        .collect();
    sizes.sort_unstable();

    let mut replay: Option<Replay> = None;
    let mut leftovers = Vec::new();
    let newest = sizes.last().copied();
    for size in sizes {
        let path = layout::segment(size);
        let bytes = files
            .read(&path, MAX_SEGMENT)
            .map_err(disk(format!("read {path}")))?
            .unwrap_or_default();
        let is_newest = newest == Some(size);
        let Some(first) = record::decode(&bytes) else {
            // A crash while a new segment was made leaves a torn one, which holds no batch: a segment takes batches only
            // after its start is durable. The segment before goes on. There may be several: the removal of an older one is
            // durable only with the next segment, whose making may be interrupted too. Should one of them have held batches,
            // then those are missing below: the next whole segment starts from tiles that must have them all.
            if !batch_follows(&bytes, TreeSize::new(size), verifier) {
                leftovers.push(path);
                continue;
            }
            return Err(OpenError::Damaged(format!(
                "{path} does not begin with a segment start"
            )));
        };
        let Record::Start(start) = first.record else {
            return Err(OpenError::Damaged(format!("{path} begins with a batch")));
        };
        let continued = match replay.take() {
            Some(replay) if replay.state.edge.size() == start.head.size => {
                if replay.state.chain != first.at || replay.head != start.head {
                    return Err(OpenError::Damaged(format!(
                        "{path} does not continue the segment before it"
                    )));
                }
                replay
            }
            // A removed segment that came back after a loss of power: all it had is in durable tiles, else the next one
            // would not be able to start from them.
            Some(stale) if stale.state.edge.size() < start.head.size => {
                leftovers.extend(stale.segments.into_iter().map(|segment| segment.path));
                Replay::begin::<L>(files, &start)?
            }
            Some(_) => {
                return Err(OpenError::Damaged(format!(
                    "{path} overlaps the segment before it"
                )));
            }
            None => Replay::begin::<L>(files, &start)?,
        };
        replay = Some(continued.read_segment::<L>(
            &path,
            &bytes,
            &first.next,
            (start, first.len),
            verifier,
            is_newest,
        )?);
    }
    let Some(replay) = replay else {
        return nothing_there(files, &leftovers).map(|()| None);
    };

    // The last checkpoint must be ours, and it must be about the tree that the files hold.
    let opened = note::open(&replay.checkpoint, std::slice::from_ref(verifier))
        .map_err(OpenError::OtherKey)?;
    if *opened.head() != replay.head {
        return Err(OpenError::Damaged(
            "the last checkpoint is not about the last batch".to_owned(),
        ));
    }
    let Replay {
        state,
        head,
        checkpoint,
        base,
        mut filled,
        segments,
        last_record,
    } = replay;
    keep_straddling::<L>(files, base, &mut filled)?;
    let index_is_short = !load_index(files, base, &state.known)?;
    Ok(Some(Recovered {
        state,
        head,
        checkpoint,
        base,
        filled,
        segments,
        leftovers,
        last_record,
        index_is_short,
    }))
}

/// Whether a batch of this log begins somewhere in `bytes`, which begin with a damaged record.
///
/// A record whose writing was interrupted is the last of all, so a batch behind it means that the disk lost something in
/// between. A visitor can put the bytes of a record into an entry, and cannot sign a checkpoint of a size that the log
/// had not reached: so only a batch with such a checkpoint counts.
fn batch_follows(bytes: &[u8], size: TreeSize, verifier: &VerifierKey) -> bool {
    record::likenesses_in(bytes).any(|found| {
        found.kind == record::Kind::Batch && found.head.size > size && found.is_signed(verifier)
    })
}

/// No segment is a new log, unless there are files of an old one.
fn nothing_there(files: &dyn Disk, torn_segments: &[Path]) -> Result<(), OpenError> {
    let tiles = files
        .list(&layout::path("tile"))
        .map_err(disk("list the tiles"))?;
    let index = files
        .read_range(&layout::index(), 0, 1)
        .map_err(disk("read the index"))?;
    if !tiles.is_empty() || index.is_some_and(|row| !row.is_empty()) {
        return Err(OpenError::Damaged(
            "there are tiles, and no write-ahead log".to_owned(),
        ));
    }
    // Only a log's first segment can be torn here; its making was interrupted before the log took anything. Any other one is
    // made after the one before it is whole.
    if torn_segments.iter().any(|path| *path != layout::segment(0)) {
        return Err(OpenError::Damaged(
            "no segment of the write-ahead log is whole".to_owned(),
        ));
    }
    Ok(())
}

/// The tile and the bundle in which the write-ahead log begins are durable, and the only place of their first leaves. So
/// they are compared and not written again: a crash between the writing and its sync could lose them.
fn keep_straddling<L: Leaf>(
    files: &dyn Disk,
    base: TreeSize,
    filled: &mut Filled,
) -> Result<(), OpenError> {
    if base.get().is_multiple_of(u64::from(FULL_WIDTH)) {
        return Ok(());
    }
    let straddling = base.get() / u64::from(FULL_WIDTH);
    let compare = |path: Path, expected: &[u8]| {
        let bytes = files
            .read(&path, MAX_BUNDLE)
            .map_err(disk(format!("read {path}")))?;
        if bytes.as_deref() == Some(expected) {
            return Ok(());
        }
        Err(OpenError::Damaged(format!(
            "{path} is not what the write-ahead log makes of it"
        )))
    };
    for (_, bundle) in filled
        .bundles
        .extract_if(.., |(index, _)| *index == straddling)
    {
        compare(layout::bundle(L::BUNDLE, straddling), &bundle)?;
    }
    for (_, tile) in filled
        .tiles
        .extract_if(.., |(id, _)| (id.level, id.index) == (0, straddling))
    {
        compare(
            layout::tile(0, straddling),
            &tile.bytes(tlog::Width::FULL).unwrap_or_default(),
        )?;
    }
    Ok(())
}

struct Replay {
    state: State,
    head: TreeHead,
    checkpoint: Vec<u8>,
    base: TreeSize,
    filled: Filled,
    segments: Vec<Segment>,
    last_record: (u64, Vec<u8>),
}

impl Replay {
    /// The state at the start of a segment, from the tiles before it.
    fn begin<L: Leaf>(files: &dyn Disk, start: &Start) -> Result<Self, OpenError> {
        let size = start.head.size;
        let edge = edge_at(files, size)?;
        if edge.head() != start.head {
            return Err(OpenError::Damaged(format!(
                "the tiles lead to root {} for {size} entries, the write-ahead log says {}",
                edge.head().root,
                start.head.root
            )));
        }
        let state = State {
            edge,
            open: open_entries::<L>(files, size)?,
            known: Arc::new(Known::new(size.get())),
            timestamp_ms: start.timestamp_ms,
            chain: Chain::FIRST,
        };
        Ok(Self {
            state,
            head: start.head,
            checkpoint: start.checkpoint.clone(),
            base: size,
            filled: Filled::default(),
            segments: Vec::new(),
            last_record: (0, Vec::new()),
        })
    }

    fn read_segment<L: Leaf>(
        mut self,
        path: &Path,
        bytes: &[u8],
        next: &Chain,
        (start, start_len): (Start, usize),
        verifier: &VerifierKey,
        is_newest: bool,
    ) -> Result<Self, OpenError> {
        self.state.chain = *next;
        self.checkpoint = start.checkpoint;
        let mut at = start_len;
        let mut last = (0, start_len);
        let mut torn = false;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            let Some(framed) = record::decode(rest) else {
                // One record at a time is written, and the next only after the sync of the one before: so at most the
                // last one can be torn, nobody was told of it, and it may go. Anything else is damage.
                if !is_newest || batch_follows(rest, self.head.size, verifier) {
                    return Err(OpenError::Damaged(format!(
                        "{path} has a damaged record at byte {at}"
                    )));
                }
                torn = true;
                break;
            };
            let Record::Batch(batch) = framed.record else {
                return Err(OpenError::Damaged(format!(
                    "{path} has a segment start at byte {at}"
                )));
            };
            if framed.at != self.state.chain {
                return Err(OpenError::Damaged(format!(
                    "{path} has a record of another log at byte {at}"
                )));
            }
            self.batch::<L>(batch, framed.next).ok_or_else(|| {
                OpenError::Damaged(format!(
                    "{path} has a batch at byte {at} that does not fit the tree"
                ))
            })?;
            last = (at, framed.len);
            at = at.saturating_add(framed.len);
        }
        let record = bytes
            .get(last.0..)
            .and_then(|rest| rest.get(..last.1))
            .unwrap_or_default()
            .to_vec();
        self.last_record = (u64::try_from(last.0).unwrap_or(u64::MAX), record);
        let good = u64::try_from(at).unwrap_or(u64::MAX);
        self.segments.push(Segment {
            path: path.clone(),
            end: self.head.size.get(),
            good,
            torn,
        });
        Ok(self)
    }

    /// Applies a batch as the sequencer did when it made it; `None` when it is not what the sequencer would have made.
    fn batch<L: Leaf>(&mut self, batch: Batch, next: Chain) -> Option<()> {
        let update = plan::<L>(&self.state, &batch)?;
        self.head = batch.head;
        self.checkpoint.clone_from(&batch.checkpoint);
        let filled = self.state.absorb(batch, &update, next);
        self.filled.tiles.extend(filled.tiles);
        self.filled.bundles.extend(filled.bundles);
        self.filled.rows.extend(filled.rows);
        Some(())
    }
}

/// What a batch makes of the tree; `None` when it is not what the sequencer would have made.
pub(crate) fn plan<L: Leaf>(state: &State, batch: &Batch) -> Option<Update> {
    if batch.before != state.edge.size() || batch.timestamp_ms < state.timestamp_ms {
        return None;
    }
    let mut hashes = Vec::with_capacity(batch.leaves.len());
    for (leaf, index) in batch.leaves.iter().zip(batch.before.get()..) {
        let stored = L::open(&leaf.entry, LeafIndex::new(index))?;
        if stored.dedup_key != leaf.dedup_key {
            return None;
        }
        hashes.push(stored.hash);
    }
    let update = state.plan(&hashes);
    (update.head == batch.head).then_some(update)
}

/// The edge of the tree of the first `size` leaves, from durable tiles.
///
/// All leaves before a segment's start are in full level-0 tiles that are durable. The unfinished tiles above them follow
/// from the roots of the full tiles one level down, at most 255 of them per level. (A file for such a tile would be from
/// after the segment's start, and possibly torn.)
pub(crate) fn edge_at(files: &dyn Disk, size: TreeSize) -> Result<Edge, OpenError> {
    let mut tiles = TileSet::new();
    for id in Edge::tiles_for(size) {
        let tile = match id.level {
            0 => read_tile(files, 0, id.index)?.ok_or_else(|| missing_tile(id))?,
            _ => roots_below(files, id)?,
        };
        tiles.insert(id.level, id.index, tile);
    }
    Edge::from_tiles(size, |id| tiles.get(id.level, id.index)).map_err(|error| {
        OpenError::Damaged(format!(
            "the edge of {size} entries cannot be rebuilt: {error}"
        ))
    })
}

fn roots_below(files: &dyn Disk, id: TileId) -> Result<Tile, OpenError> {
    let below = id.level.saturating_sub(1);
    let first = id.index.saturating_mul(u64::from(FULL_WIDTH));
    let mut bytes = Vec::new();
    for index in (first..).take(usize::from(id.width.get())) {
        let lower = TileId {
            level: below,
            index,
            width: tlog::Width::FULL,
        };
        let tile = read_tile(files, below, index)?.ok_or_else(|| missing_tile(lower))?;
        bytes.extend(tile.root().ok_or_else(|| missing_tile(lower))?.into_bytes());
    }
    Tile::parse(&bytes).map_err(|_| missing_tile(id))
}

/// A full tile from its file; `None` when there is no such file.
pub(crate) fn read_tile(
    files: &dyn Disk,
    level: u8,
    index: u64,
) -> Result<Option<Tile>, OpenError> {
    let path = layout::tile(level, index);
    let Some(bytes) = files
        .read(&path, MAX_TILE)
        .map_err(disk(format!("read {path}")))?
    else {
        return Ok(None);
    };
    match Tile::parse(&bytes) {
        Ok(tile) if tile.is_full() => Ok(Some(tile)),
        _ => Err(OpenError::Damaged(format!("{path} is not a full tile"))),
    }
}

fn missing_tile(id: TileId) -> OpenError {
    OpenError::Damaged(format!("{} is missing", id.full()))
}

/// Entries of the bundle that `size` cuts, from the full bundle in its file.
fn open_entries<L: Leaf>(
    files: &dyn Disk,
    size: TreeSize,
) -> Result<Vec<std::sync::Arc<[u8]>>, OpenError> {
    let count = usize::try_from(size.get() % u64::from(FULL_WIDTH)).unwrap_or(usize::MAX);
    if count == 0 {
        return Ok(Vec::new());
    }
    let index = size.get() / u64::from(FULL_WIDTH);
    let path = layout::bundle(L::BUNDLE, index);
    let bytes = files
        .read(&path, MAX_BUNDLE)
        .map_err(disk(format!("read {path}")))?;
    let bytes = bytes.ok_or_else(|| OpenError::Damaged(format!("{path} is missing")))?;
    let entries =
        split_bundle::<L>(&bytes).filter(|entries| entries.len() == usize::from(FULL_WIDTH));
    let entries =
        entries.ok_or_else(|| OpenError::Damaged(format!("{path} is not a full bundle")))?;
    Ok(entries.into_iter().take(count).map(Into::into).collect())
}

/// The entries of a bundle; `None` when it is not made of whole entries, or of more than 256.
pub(crate) fn split_bundle<L: Leaf>(bundle: &[u8]) -> Option<Vec<&[u8]>> {
    let mut entries = Vec::new();
    let mut rest = bundle;
    while !rest.is_empty() {
        let (entry, after) = rest.split_at_checked(L::entry_len(rest).filter(|len| *len > 0)?)?;
        entries.push(entry);
        rest = after;
        if entries.len() > usize::from(FULL_WIDTH) {
            return None;
        }
    }
    Some(entries)
}

/// Reads the index rows of the leaves before `base` into the table; false when there are too few.
pub(crate) fn load_index(
    files: &dyn Disk,
    base: TreeSize,
    known: &Known,
) -> Result<bool, OpenError> {
    let mut index = 0_u64;
    while index < base.get() {
        let left = usize::try_from(base.get().saturating_sub(index))
            .unwrap_or(usize::MAX)
            .min(ROWS_AT_A_TIME);
        let at = index.saturating_mul(u64::try_from(ROW).unwrap_or(u64::MAX));
        let bytes = files
            .read_range(&layout::index(), at, left.saturating_mul(ROW))
            .map_err(disk("read the index"))?
            .unwrap_or_default();
        let (rows, _) = bytes.as_chunks::<ROW>();
        if rows.is_empty() {
            return Ok(false);
        }
        known.load(index, rows);
        index = index.saturating_add(u64::try_from(rows.len()).unwrap_or(u64::MAX));
    }
    Ok(true)
}

/// Writes the index rows of the leaves before `base` again, from the bundles: for an index that was lost.
///
/// Leaves that do not carry their time get 0, as nothing remembers it.
pub(crate) fn rebuild_rows<L: Leaf>(
    files: &dyn Disk,
    base: TreeSize,
    file: &mut dyn AppendFile,
) -> Result<(), OpenError> {
    file.truncate(0).map_err(disk("write the index again"))?;
    let mut index = 0_u64;
    while index < base.get() {
        let path = layout::bundle(L::BUNDLE, index / u64::from(FULL_WIDTH));
        let damaged = || OpenError::Damaged(format!("{path} is missing or no bundle of this log"));
        let bytes = files
            .read(&path, MAX_BUNDLE)
            .map_err(disk(format!("read {path}")))?
            .ok_or_else(damaged)?;
        let entries = split_bundle::<L>(&bytes)
            .filter(|entries| !entries.is_empty())
            .ok_or_else(damaged)?;
        let mut rows = Vec::new();
        for entry in entries {
            if index >= base.get() {
                break;
            }
            let stored = L::open(entry, LeafIndex::new(index)).ok_or_else(damaged)?;
            let timestamp_ms = stored.timestamp_ms.unwrap_or(0);
            rows.extend(layout::row(&stored.dedup_key, timestamp_ms));
            index = index.saturating_add(1);
        }
        file.append(&rows).map_err(disk("write the index again"))?;
    }
    file.sync_data().map_err(disk("write the index again"))
}

/// The last checkpoint of a log that was frozen: it must be about the tree that is there. It was put in place as a whole, so a part of one is damage and
/// no sign that the log was not frozen: it would take entries again.
pub(crate) fn read_frozen(
    files: &dyn Disk,
    head: TreeHead,
    verifier: &VerifierKey,
) -> Result<Option<Vec<u8>>, OpenError> {
    let path = layout::frozen();
    let bytes = read_copy(files, &path).map_err(disk(format!("read {path}")))?;
    let Some(bytes) = bytes.filter(|bytes| !bytes.is_empty()) else {
        return Ok(None);
    };
    if let Err(error) = note::Note::parse(&bytes) {
        return Err(OpenError::Damaged(format!(
            "{path}, the last checkpoint of a frozen log, is no signed note ({error}): bring it back from a backup"
        )));
    }
    let opened = note::open(&bytes, std::slice::from_ref(verifier)).map_err(OpenError::OtherKey)?;
    if *opened.head() == head {
        return Ok(Some(bytes));
    }
    Err(OpenError::Damaged(format!(
        "the log was frozen at {} entries, and has {}",
        opened.head().size,
        head.size
    )))
}

/// Compares the second copy of the last checkpoint with the tree: it must be of this tree, and not ahead of it.
pub(crate) fn check_copy(
    files: &dyn Disk,
    recovered: Option<&Recovered>,
    copy: Option<&[u8]>,
    verifier: &VerifierKey,
) -> Result<(), OpenError> {
    let Some(copy) = copy else { return Ok(()) };
    let opened = note::open(copy, std::slice::from_ref(verifier)).map_err(OpenError::OtherKey)?;
    let copy = *opened.head();
    let folder = recovered.map_or(TreeHead::EMPTY, |recovered| recovered.head);
    if copy.size > folder.size {
        return Err(OpenError::RolledBack {
            copy: copy.size,
            folder: folder.size,
        });
    }
    let Some(recovered) = recovered else {
        return Ok(());
    };
    check_grown(files, recovered, copy)
}

/// An earlier head must be one of this tree.
pub(crate) fn check_grown(
    files: &dyn Disk,
    recovered: &Recovered,
    earlier: TreeHead,
) -> Result<(), OpenError> {
    if root_at(files, recovered, earlier.size)? == earlier.root {
        Ok(())
    } else {
        Err(OpenError::Forked { copy: earlier })
    }
}

/// Root of an earlier tree, from tiles in memory and on disk.
fn root_at(files: &dyn Disk, recovered: &Recovered, size: TreeSize) -> Result<Hash, OpenError> {
    let fail = |error: tlog::ProofError| {
        OpenError::Damaged(format!("the root of {size} entries is not known: {error}"))
    };
    let edge = &recovered.state.edge;
    let mut tiles: TileSet<std::sync::Arc<Tile>> = TileSet::new();
    for id in proof::tiles_for_root(size, edge.size()).map_err(fail)? {
        let filled = recovered
            .filled
            .tiles
            .iter()
            .find(|(filled, _)| *filled == id.full());
        if let Some((_, tile)) = filled {
            tiles.insert(id.level, id.index, tile.clone());
        } else if let Some(tile) = edge.tile(id.level).filter(|_| !id.width.is_full()) {
            tiles.insert(id.level, id.index, tile.clone().into());
        } else {
            let tile = read_tile(files, id.level, id.index)?.ok_or_else(|| missing_tile(id))?;
            tiles.insert(id.level, id.index, tile.into());
        }
    }
    proof::root(size, &tiles).map_err(fail)
}

/// The second copy as it stands in its folder.
pub(crate) fn read_copy(files: &dyn Disk, path: &Path) -> io::Result<Option<Vec<u8>>> {
    let longest = u64::try_from(note::MAX_NOTE_BYTES).unwrap_or(u64::MAX);
    // An empty file is what a crash while the copy was first made can leave.
    Ok(files.read(path, longest)?.filter(|bytes| !bytes.is_empty()))
}
