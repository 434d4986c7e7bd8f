//! The writer behind the commit: full tiles and bundles into their files, the index, the second copy of the checkpoint,
//! and the end of write-ahead segments that nothing needs any more.
//!
//! Nobody waits for it. Until a file is durable, its contents are in a write-ahead segment, so any crash here costs only
//! the work of writing again.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use store::{AppendFile, Disk, Path};
use tlog::tile::FULL_WIDTH;
use tlog::{TreeSize, Width};

use crate::layout;
use crate::shared::{Published, Shared};
use crate::state::Filled;

/// Batches that may wait for the writer. When they do, the sequencer waits too, and its queue refuses what is too much.
pub(crate) const WORK_QUEUE: usize = 64;

pub(crate) enum Work {
    /// A batch was committed.
    Committed {
        filled: Filled,
        published: Published,
    },
    /// The sequencer has started a new segment; this one ends at the given tree size.
    SegmentClosed { path: Path, end: u64 },
}

/// Where the second copy of the checkpoint goes.
#[derive(Clone, Debug)]
pub(crate) struct CopyPlace {
    pub(crate) files: Arc<dyn Disk>,
    pub(crate) path: Path,
}

pub(crate) struct Writer {
    pub(crate) shared: Arc<Shared>,
    pub(crate) bundle_name: &'static str,
    pub(crate) index: Box<dyn AppendFile>,
    pub(crate) copy: Option<CopyPlace>,
    pub(crate) copy_interval: Duration,
    /// Leaves in full tiles that are in files.
    pub(crate) full: u64,
    /// Files written since the last sync.
    pub(crate) unsynced: Vec<Path>,
    /// Closed segments, oldest first, and the tree size where each ends.
    pub(crate) closed: VecDeque<(Path, u64)>,
}

impl Writer {
    /// Runs until the sequencer is gone and everything is written.
    pub(crate) fn run(mut self, work: &Receiver<Work>) {
        let mut copied = Instant::now();
        let mut uncopied: Option<Published> = None;
        loop {
            // While there is a checkpoint to copy, wake up when its time has come.
            let wait = if uncopied.is_some() && self.copy.is_some() {
                self.copy_interval.saturating_sub(copied.elapsed())
            } else {
                Duration::MAX
            };
            let next = match work.recv_timeout(wait) {
                Ok(next) => Some(next),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => break,
            };
            let result = match next {
                Some(Work::Committed { filled, published }) => {
                    uncopied = Some(published);
                    self.write(&filled)
                }
                Some(Work::SegmentClosed { path, end }) => {
                    self.closed.push_back((path, end));
                    Ok(())
                }
                None => Ok(()),
            };
            let result = result.and_then(|()| self.retire_segments());
            let result = match uncopied.take_if(|_| copied.elapsed() >= self.copy_interval) {
                Some(published) => {
                    copied = Instant::now();
                    result.and_then(|()| self.copy(&published))
                }
                None => result,
            };
            if let Err(error) = result {
                // A file that could not be written is still in the write-ahead log, which now stays as it is.
                self.shared.fail("writing tiles behind the log", &error);
                return;
            }
        }
        let last = uncopied
            .map_or(Ok(()), |published| self.copy(&published))
            .and_then(|()| self.sync());
        if let Err(error) = last {
            self.shared.fail("writing the last tiles", &error);
        }
    }

    /// Writes what a batch filled. If we crash here, a part of the files is there, perhaps torn; the batch is in the
    /// write-ahead log, and the next start writes all of them again.
    pub(crate) fn write(&mut self, filled: &Filled) -> io::Result<()> {
        let files = self.shared.files.clone();
        for (index, bundle) in &filled.bundles {
            let path = layout::bundle(self.bundle_name, *index);
            files.replace(&path, bundle)?;
            self.unsynced.push(path);
            self.shared.unwritten().bundles.remove(index);
        }
        for (id, tile) in &filled.tiles {
            let path = layout::tile(id.level, id.index);
            files.replace(&path, &tile.bytes(Width::FULL).unwrap_or_default())?;
            self.unsynced.push(path);
            self.shared.unwritten().tiles.remove(&(id.level, id.index));
            if id.level == 0 {
                self.full = id
                    .index
                    .saturating_add(1)
                    .saturating_mul(u64::from(FULL_WIDTH));
            }
        }
        self.index.append(&filled.rows)?;
        self.shared.known.written(filled.rows.len() / layout::ROW);
        Ok(())
    }

    /// Removes the segments whose leaves are all in full tiles, once those and the index are durable.
    ///
    /// If we crash before the sync, the segment is still there. After it, a segment that is left over, or that comes
    /// back because its removal was not durable, is found to be no longer needed on start.
    fn retire_segments(&mut self) -> io::Result<()> {
        while let Some((path, _)) = self.closed.pop_front_if(|(_, end)| *end <= self.full) {
            self.sync()?;
            self.shared.files.remove(&path)?;
        }
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut paths = std::mem::take(&mut self.unsynced);
        paths.push(layout::index());
        self.index.sync_data()?;
        self.shared.files.sync(&paths)
    }

    /// If we crash here the copy is older than the log, or missing: it only has to be behind, never ahead.
    pub(crate) fn copy(&self, published: &Published) -> io::Result<()> {
        let Some(CopyPlace { files, path }) = &self.copy else {
            return Ok(());
        };
        if published.head.size == TreeSize::EMPTY {
            return Ok(());
        }
        files.replace_durable(path, &published.checkpoint)
    }
}
