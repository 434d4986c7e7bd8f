//! A log that another process writes: recovered from its files without a lock, and followed by reading the end of its write-ahead log.
//!
//! Nothing is written here. What is read may not be durable yet: the writer's bytes can be seen before its fdatasync. So a record is shown
//! only after this process has synced its file too. (After a failed fdatasync of the writer the bytes may be gone from the disk and still be
//! seen by both; the writer has stopped then, and on its next start writes what it sees once more. If power is lost in between, a reader may have
//! shown a head that nobody has any more: the kernel tells of a failed write once, and only to who had the file open. A disk that
//! fails to write is a reason to look at the readers, too.)

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use note::VerifierKey;
use store::{Disk, Path};
use tlog::{TreeHead, TreeSize, Update, Width};

use crate::error::{OpenError, disk};
use crate::layout;
use crate::leaf::Leaf;
use crate::record::{self, Record};
use crate::recover;
use crate::shared::{Published, Shared, Snapshot};
use crate::state::{Filled, State};

/// From one look at the end of the log to the next.
const LOOK: Duration = Duration::from_millis(50);
/// The same while the files cannot be read.
const PAUSE: Duration = Duration::from_secs(1);
/// A writer that is at work makes what is read part by part look damaged; what is damaged stays so.
const ATTEMPTS: usize = 20;
/// How often a reader that has shown a log finds it damaged, [`ATTEMPTS`] each time, before it believes that: about a minute. A busy writer, a copy that is being
/// put back or a share that shows half of its files looks like it.
const DOUBTS: u32 = 30;
/// Bytes of the log that are read at a time; a record may be longer, and then as much as it takes.
const PIECE: usize = 8 << 20;
/// Looks without anything new after which it is checked whether the log was frozen.
const QUIET: u32 = 20;

/// The thread that follows the writer. Dropping it does not stop it; [`Following::stop`] does.
#[derive(Debug)]
pub(crate) struct Following {
    ended: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Following {
    /// Tells the thread to end, and returns it for joining.
    pub(crate) fn stop(self) -> JoinHandle<()> {
        self.ended.store(true, Ordering::Release);
        self.thread.thread().unpark();
        self.thread
    }
}

/// Opens a log for reading. Blocks.
pub(crate) fn start<L: Leaf>(
    files: Arc<dyn Disk>,
    verifier: VerifierKey,
) -> Result<(Arc<Shared>, Following), OpenError> {
    let mut reader = Reader::open::<L>(files, verifier)?;
    let shared = reader.shared.clone();
    let ended = Arc::new(AtomicBool::new(false));
    let end = ended.clone();
    let follow = move || {
        let mut told = false;
        let mut doubts = 0;
        while !end.load(Ordering::Acquire) {
            let looked = reader.look::<L>();
            if looked.is_ok() {
                told = false;
                doubts = 0;
            }
            match looked {
                Ok(true) => {}
                Ok(false) => thread::park_timeout(LOOK),
                // A database that restarts, a share that is away: what was shown stays, and this goes on when it is back.
                Err(OpenError::Disk { action, source }) => {
                    if !std::mem::replace(&mut told, true) {
                        tracing::warn!(action, error = %source, "cannot follow the writer of the log, trying again");
                    }
                    thread::park_timeout(PAUSE);
                }
                Err(error @ OpenError::Damaged(_)) if doubts < DOUBTS => {
                    doubts = doubts.saturating_add(1);
                    if !std::mem::replace(&mut told, true) {
                        tracing::warn!(%error, "the log looks damaged to who follows it, looking again");
                    }
                    thread::park_timeout(PAUSE);
                }
                Err(error) => {
                    let shared = &reader.shared;
                    shared.fail("following the writer of the log", &error);
                    return;
                }
            }
        }
    };
    let thread = thread::Builder::new().name("log-reader".to_owned());
    let thread = thread.spawn(follow).map_err(OpenError::Thread)?;
    Ok((shared, Following { ended, thread }))
}

struct Reader {
    shared: Arc<Shared>,
    verifier: VerifierKey,
    state: State,
    head: TreeHead,
    /// The segment at whose end we are, and how much of it was read.
    segment: Path,
    at: u64,
    /// What was read and not shown yet.
    unshown: Option<Unshown>,
    quiet: u32,
}

/// Batches that were read, and whose file still is to be synced.
struct Unshown {
    published: Published,
    update: Update,
    filled: Filled,
}

/// What a folder says to somebody who only looks.
struct Found {
    state: State,
    published: Published,
    filled: Filled,
    segment: Path,
    at: u64,
    frozen: bool,
}

impl Reader {
    fn open<L: Leaf>(files: Arc<dyn Disk>, verifier: VerifierKey) -> Result<Self, OpenError> {
        let found = find::<L>(&*files, &verifier, TreeHead::EMPTY)?;
        let snapshot = Snapshot {
            published: found.published.clone(),
            update: found.state.edge.append(&[]),
            open: found.state.open.clone(),
        };
        let shared = Shared::new(files, found.state.known.clone(), snapshot, found.frozen);
        let shared = Arc::new(shared);
        let snapshot = shared.snapshot();
        shared.publish(snapshot, &found.filled);
        Ok(Self {
            shared,
            verifier,
            state: found.state,
            head: found.published.head,
            segment: found.segment,
            at: found.at,
            unshown: None,
            quiet: 0,
        })
    }

    /// Reads what is new and shows it; whether there was anything.
    fn look<L: Leaf>(&mut self) -> Result<bool, OpenError> {
        let files = self.shared.files.clone();
        let Some(bytes) = self.more(&*files)? else {
            // The segment is gone, and so all it had is in tiles: others have it all.
            return self.again::<L>().map(|()| true);
        };
        let mut rest = bytes.as_slice();
        while let Some(framed) = record::decode(rest) {
            let Record::Batch(batch) = framed.record else {
                break;
            };
            if framed.at != self.state.chain {
                // What stands here does not continue what was shown: the log was put back to an earlier state, or is another one.
                return self.again::<L>().map(|()| true);
            }
            let update = recover::plan::<L>(&self.state, &batch).ok_or_else(|| {
                OpenError::Damaged(format!(
                    "{} has a batch at byte {} that does not fit the tree",
                    self.segment, self.at
                ))
            })?;
            let published = Published {
                head: batch.head,
                checkpoint: batch.checkpoint.as_slice().into(),
                timestamp_ms: batch.timestamp_ms,
            };
            let more = self.state.absorb(batch, &update, framed.next);
            let mut filled = self
                .unshown
                .take()
                .map_or_else(Filled::default, |unshown| unshown.filled);
            filled.tiles.extend(more.tiles);
            filled.bundles.extend(more.bundles);
            self.unshown = Some(Unshown {
                published,
                update,
                filled,
            });
            self.at = self
                .at
                .saturating_add(u64::try_from(framed.len).unwrap_or(u64::MAX));
            rest = rest.get(framed.len..).unwrap_or_default();
        }
        if self.show(&*files)? {
            self.quiet = 0;
            self.forget::<L>(&*files)?;
            return Ok(true);
        }
        if self.next_segment(&*files)? {
            return Ok(true);
        }
        self.quiet = self.quiet.saturating_add(1);
        if self.quiet == QUIET {
            self.forget::<L>(&*files)?;
            self.look_for_the_end(&*files);
            self.quiet = 0;
        }
        Ok(false)
    }

    /// Shows what was read, once it is durable; whether there was anything. After an error the next look tries again.
    fn show(&mut self, files: &dyn Disk) -> Result<bool, OpenError> {
        let Some(unshown) = &self.unshown else {
            return Ok(false);
        };
        let checkpoint = &unshown.published.checkpoint;
        let opened = note::open(checkpoint, std::slice::from_ref(&self.verifier))
            .map_err(OpenError::OtherKey)?;
        if *opened.head() != unshown.published.head {
            let what = "the last checkpoint is not about the last batch";
            return Err(OpenError::Damaged(what.to_owned()));
        }
        // Seen is not durable, see above.
        match files.sync(std::slice::from_ref(&self.segment)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(disk(format!("sync {}", self.segment))(error));
            }
            // Removed, and so durable in another form.
            _ => {}
        }
        if let Some(Unshown {
            published,
            update,
            filled,
        }) = self.unshown.take()
        {
            self.head = published.head;
            let snapshot = Arc::new(Snapshot {
                published,
                update,
                open: self.state.open.clone(),
            });
            self.shared.publish(snapshot, &filled);
        }
        Ok(true)
    }

    /// What stands behind the last record that was read; `None` when the file is gone.
    fn more(&self, files: &dyn Disk) -> Result<Option<Vec<u8>>, OpenError> {
        let read = |len| {
            files
                .read_range(&self.segment, self.at, len)
                .map_err(disk(format!("read {}", self.segment)))
        };
        let mut len = PIECE;
        loop {
            let Some(bytes) = read(len)? else {
                return Ok(None);
            };
            // A record that does not end within the piece: take more, as long as there is more.
            if bytes.len() < len || record::decode(&bytes).is_some() {
                return Ok(Some(bytes));
            }
            len = len.saturating_mul(2);
            if u64::try_from(len).unwrap_or(u64::MAX) > recover::MAX_SEGMENT {
                return Ok(Some(bytes));
            }
        }
    }

    /// The writer starts a segment when the last batch of the one before is durable, and names it after the tree's size.
    fn next_segment(&mut self, files: &dyn Disk) -> Result<bool, OpenError> {
        let path = layout::segment(self.head.size.get());
        if path == self.segment {
            return Ok(false);
        }
        let bytes = files
            .read_range(&path, 0, 1 << 20)
            .map_err(disk(format!("read {path}")))?;
        let Some(first) = bytes.as_deref().and_then(record::decode) else {
            return Ok(false);
        };
        let Record::Start(start) = &first.record else {
            return Ok(false);
        };
        if start.head != self.head || first.at != self.state.chain {
            return Ok(false);
        }
        self.state.chain = first.next;
        self.at = u64::try_from(first.len).unwrap_or(u64::MAX);
        self.segment = path;
        Ok(true)
    }

    /// Reads the folder from the start, when the writer was too far ahead.
    fn again<L: Leaf>(&mut self) -> Result<(), OpenError> {
        let found = find::<L>(&*self.shared.files, &self.verifier, self.head)?;
        self.unshown = None;
        self.shared.known.take(&found.state.known);
        let known = self.state.known.clone();
        self.state = State {
            known,
            ..found.state
        };
        self.head = found.published.head;
        self.segment = found.segment;
        self.at = found.at;
        let snapshot = Arc::new(Snapshot {
            published: found.published,
            update: self.state.edge.append(&[]),
            open: self.state.open.clone(),
        });
        self.shared.publish(snapshot, &found.filled);
        Ok(())
    }

    /// Lets go of what the writer has brought into files.
    fn forget<L: Leaf>(&self, files: &dyn Disk) -> Result<(), OpenError> {
        let (tiles, bundles): (Vec<_>, Vec<_>) = {
            let unwritten = self.shared.unwritten();
            (
                unwritten.tiles.keys().copied().collect(),
                unwritten.bundles.keys().copied().collect(),
            )
        };
        let same = |path: &Path, expected: &[u8]| {
            let bytes = files
                .read(path, recover::MAX_BUNDLE)
                .map_err(disk(format!("read {path}")))?;
            Ok(bytes.as_deref() == Some(expected))
        };
        for key in tiles {
            let tile = self.shared.unwritten().tiles.get(&key).cloned();
            let bytes = tile.and_then(|tile| tile.bytes(Width::FULL));
            let Some(bytes) = bytes else { continue };
            if !same(&layout::tile(key.0, key.1), &bytes)? {
                break;
            }
            self.shared.unwritten().tiles.remove(&key);
        }
        for index in bundles {
            let bundle = self.shared.unwritten().bundles.get(&index).cloned();
            let Some(bundle) = bundle else { continue };
            if !same(&layout::bundle(L::BUNDLE, index), &bundle)? {
                break;
            }
            self.shared.unwritten().bundles.remove(&index);
        }
        let (first, _) = self.shared.known.recent();
        let rows = self.oldest_segment(files, first)?.saturating_sub(first);
        let rows = usize::try_from(rows).unwrap_or(usize::MAX);
        self.shared.known.written(rows);
        Ok(())
    }

    /// Where the oldest segment starts, if that may be behind `known`. The index keeps the rows before it for good; those behind it the next
    /// writer cuts off and writes again, and until they are durable others may not see them: so that they stand in the file now says nothing.
    fn oldest_segment(&self, files: &dyn Disk, known: u64) -> Result<u64, OpenError> {
        let size = |path: &str| layout::segment_size(path.rsplit('/').next()?);
        if size(self.segment.as_str()).is_none_or(|own| own <= known) {
            return Ok(known);
        }
        let names = files
            .list(&layout::wal_folder())
            .map_err(disk("list the write-ahead segments"))?;
        let oldest = names.iter().filter_map(|name| size(name)).min();
        Ok(oldest.unwrap_or(known))
    }

    /// A log that was frozen has one more checkpoint, and no more batches.
    fn look_for_the_end(&self, files: &dyn Disk) {
        let Ok(Some(checkpoint)) = recover::read_frozen(files, self.head, &self.verifier) else {
            return;
        };
        self.shared.freeze();
        let snapshot = self.shared.snapshot();
        if *snapshot.published.checkpoint == *checkpoint {
            return;
        }
        let published = Published {
            checkpoint: checkpoint.into(),
            ..snapshot.published.clone()
        };
        let snapshot = Arc::new(Snapshot {
            published,
            update: self.state.edge.append(&[]),
            open: snapshot.open.clone(),
        });
        self.shared.publish(snapshot, &Filled::default());
    }
}

/// Recovers, and once more while a writer was in the way. The tree must have grown out of the one that was shown before.
fn find<L: Leaf>(
    files: &dyn Disk,
    verifier: &VerifierKey,
    before: TreeHead,
) -> Result<Found, OpenError> {
    let mut last = OpenError::Damaged("there is no log in this folder".to_owned());
    for attempt in 0..ATTEMPTS {
        if attempt > 0 {
            thread::park_timeout(LOOK);
        }
        match recover::recover_beside_writer::<L>(files, verifier) {
            Ok(Some(recovered)) if !recovered.index_is_short => {
                if recovered.head.size < before.size {
                    return Err(OpenError::Damaged(format!(
                        "the log ends at {} entries, and had {}: it was rolled back",
                        recovered.head.size, before.size
                    )));
                }
                if before.size != TreeSize::EMPTY {
                    recover::check_grown(files, &recovered, before)?;
                }
                let segment = recovered.segments.last();
                let Some(segment) = segment.cloned() else {
                    continue;
                };
                match files.sync(std::slice::from_ref(&segment.path)) {
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                    Err(error) => return Err(disk(format!("sync {}", segment.path))(error)),
                    Ok(()) => {}
                }
                let frozen = recover::read_frozen(files, recovered.head, verifier)?;
                return Ok(Found {
                    frozen: frozen.is_some(),
                    published: Published {
                        head: recovered.head,
                        checkpoint: frozen.unwrap_or(recovered.checkpoint).into(),
                        timestamp_ms: recovered.state.timestamp_ms,
                    },
                    state: recovered.state,
                    filled: recovered.filled,
                    segment: segment.path,
                    at: segment.good,
                });
            }
            Ok(Some(_)) => {
                last = OpenError::Damaged("the index is short".to_owned());
            }
            Ok(None) => {}
            Err(error @ OpenError::Damaged(_)) => last = error,
            Err(error) => return Err(error),
        }
    }
    Err(last)
}
