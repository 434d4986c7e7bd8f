//! Opening a log: recover, refuse or repair, and start the threads.

use std::collections::VecDeque;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Weak};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use store::{AppendFile, Disk, Lock};
use tlog::tile::FULL_WIDTH;
use tlog::{Edge, TreeHead, TreeSize};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use crate::checkpoint_signer::{self, CheckpointSigner};
use crate::config::{Clock, Config};
use crate::error::{OpenError, disk};
use crate::known::Known;
use crate::layout::{self, ROW};
use crate::leaf::Leaf;
use crate::record::Chain;
use crate::recover::{self, Recovered};
use crate::sequence::{self, Segment, Sequencer, Waiter};
use crate::shared::{Published, Shared, Snapshot};
use crate::state::{Filled, State};
use crate::write_behind::{CopyPlace, WORK_QUEUE, Work, Writer};

/// A running engine.
pub(crate) struct Started<L> {
    pub(crate) shared: Arc<Shared>,
    pub(crate) queue: mpsc::Sender<Waiter<L>>,
    pub(crate) threads: Vec<JoinHandle<()>>,
    /// What the threads hold.
    pub(crate) lock: Weak<dyn Lock>,
}

/// Opens the log in a folder. Blocks.
pub(crate) fn start<L: Leaf>(
    files: Arc<dyn Disk>,
    copy: Option<CopyPlace>,
    config: Config,
    signer: Arc<dyn CheckpointSigner>,
    clock: Clock,
    runtime: Handle,
) -> Result<Started<L>, OpenError> {
    let lock: Arc<dyn Lock> = files
        .lock()
        .map_err(disk("lock the log folder"))?
        .ok_or(OpenError::Locked)?
        .into();
    let recovered = recover::recover::<L>(&*files, signer.verifier())?;
    let copied = match &copy {
        Some(place) => recover::read_copy(&*place.files, &place.path)
            .map_err(disk("read the checkpoint copy"))?,
        None => None,
    };
    // Whoever restores an old backup, or points us at an empty folder, must not get a second history signed.
    recover::check_copy(
        &*files,
        recovered.as_ref(),
        copied.as_deref(),
        signer.verifier(),
    )?;
    if copy.is_some()
        && copied.is_none()
        && let Some(size) = recovered.as_ref().map(|recovered| recovered.head.size)
        && size > TreeSize::EMPTY
    {
        // Not refused: a log that crashed in its first seconds has none yet, nor has one that just got this setting, or a machine that is new.
        tracing::warn!(
            origin = signer.verifier().name(),
            %size,
            "there is no copy of the last checkpoint where the settings have it, so nothing tells whether this log was rolled back: is its volume mounted?"
        );
    }
    // Nothing was written so far.
    let Ready {
        state,
        published,
        segment,
        closed,
        filled,
        mut index,
        base,
    } = match recovered {
        Some(recovered) => repair::<L>(&*files, recovered)?,
        None => begin(&*files, &*signer, config.sign_time, &clock, &runtime)?,
    };

    let frozen = recover::read_frozen(&*files, published.head, signer.verifier())?;
    let is_frozen = frozen.is_some();
    let published = match frozen {
        Some(checkpoint) => Published {
            checkpoint: checkpoint.into(),
            ..published
        },
        None => published,
    };

    // The index keeps the rows before the write-ahead log, and gets the others again.
    index
        .truncate(base.saturating_mul(u64::try_from(ROW).unwrap_or(u64::MAX)))
        .map_err(disk("cut the index"))?;
    let update = state.edge.append(&[]);
    let snapshot = Snapshot {
        published: published.clone(),
        update,
        open: state.open.clone(),
    };
    let shared = Arc::new(Shared::new(files, state.known.clone(), snapshot, is_frozen));
    let mut writer = Writer {
        shared: shared.clone(),
        bundle_name: L::BUNDLE,
        index,
        copy,
        copy_interval: config.copy_interval,
        full: state.edge.size().get() / u64::from(FULL_WIDTH) * u64::from(FULL_WIDTH),
        unsynced: Vec::new(),
        closed,
    };
    // Files behind a crash may be torn or may not have reached the disk though they look whole: write all of them again.
    writer
        .write(&filled)
        .map_err(disk("write the tiles of the write-ahead log"))?;
    // Shows on start, and not an hour later, that the other place cannot be written.
    writer
        .copy(&published)
        .map_err(disk("write the checkpoint copy"))?;

    let (work, worklist) = sync_channel::<Work>(WORK_QUEUE);
    let (queue, waiting) = mpsc::channel(config.queue.max(1));
    let sequencer = Sequencer {
        queue: waiting,
        state,
        segment,
        signer,
        clock,
        runtime,
        shared: shared.clone(),
        work,
        config,
        late: false,
    };
    let guard = || Guard {
        shared: shared.clone(),
        _lock: lock.clone(),
    };
    let (writing, sequencing) = (guard(), guard());
    let write = move || {
        let _guard = writing;
        writer.run(&worklist);
    };
    let sequence = move || {
        let _guard = sequencing;
        sequencer.run();
    };
    let threads = vec![
        thread::Builder::new()
            .name("log-writer".to_owned())
            .spawn(write)
            .map_err(OpenError::Thread)?,
        thread::Builder::new()
            .name("log-sequencer".to_owned())
            .spawn(sequence)
            .map_err(OpenError::Thread)?,
    ];
    Ok(Started {
        shared,
        queue,
        threads,
        lock: Arc::downgrade(&lock),
    })
}

/// What each of the two threads holds: the folder stays locked as long as one of them can write, and a thread that
/// panics stops the log.
struct Guard {
    shared: Arc<Shared>,
    _lock: Arc<dyn Lock>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        if thread::panicking() {
            let error = std::io::Error::other("panic");
            self.shared.fail("a thread of the log ended", &error);
        }
    }
}

/// A folder that is ready to go on.
struct Ready {
    state: State,
    published: Published,
    segment: Segment,
    closed: VecDeque<(store::Path, u64)>,
    filled: Filled,
    index: Box<dyn AppendFile>,
    /// Leaves whose index rows are good.
    base: u64,
}

/// The first segment of a new log, with a signed checkpoint of the empty tree.
///
/// If we crash here, there is no segment, a torn one, or a whole one without batches; the next start copes with each.
fn begin(
    files: &dyn Disk,
    signer: &dyn CheckpointSigner,
    sign_time: Duration,
    clock: &Clock,
    runtime: &Handle,
) -> Result<Ready, OpenError> {
    let timestamp_ms = u64::try_from(clock().as_millisecond()).unwrap_or(0);
    let checkpoint = runtime
        .block_on(checkpoint_signer::sign_within(
            sign_time,
            signer,
            TreeHead::EMPTY,
            timestamp_ms,
        ))
        .map_err(OpenError::Sign)?;
    let published = Published {
        head: TreeHead::EMPTY,
        checkpoint: checkpoint.into(),
        timestamp_ms,
    };
    let (segment, chain) = sequence::new_segment(files, &published, Chain::FIRST)
        .map_err(disk("begin the write-ahead log"))?;
    tracing::info!(
        origin = signer.verifier().name(),
        "started a new, empty log"
    );
    let state = State {
        edge: Edge::empty(),
        open: Vec::new(),
        known: Arc::new(Known::new(0)),
        timestamp_ms,
        chain,
    };
    let index = files
        .append(&layout::index())
        .map_err(disk("open the index"))?;
    Ok(Ready {
        state,
        published,
        segment,
        closed: VecDeque::new(),
        filled: Filled::default(),
        index,
        base: 0,
    })
}

/// Brings the files into the state that was recovered. Each step may be interrupted and done again.
fn repair<L: Leaf>(files: &dyn Disk, recovered: Recovered) -> Result<Ready, OpenError> {
    let Recovered {
        state,
        head,
        checkpoint,
        base,
        filled,
        segments,
        leftovers,
        last_record,
        index_is_short,
    } = recovered;
    let mut index = files
        .append(&layout::index())
        .map_err(disk("open the index"))?;
    if index_is_short {
        tracing::warn!("the index is short, making it again from the bundles");
        recover::rebuild_rows::<L>(files, base, &mut *index)?;
        if !recover::load_index(files, base, &state.known)? {
            let what = "the index that was just written is short".to_owned();
            return Err(OpenError::Damaged(what));
        }
    }
    let mut segments = VecDeque::from(segments);
    let last = segments
        .pop_back()
        .ok_or_else(|| OpenError::Damaged("the log has no segment".to_owned()))?;
    let mut file = files
        .append(&last.path)
        .map_err(disk(format!("open {}", last.path)))?;
    if last.torn {
        tracing::warn!(segment = %last.path, at = last.good, "cut a record whose writing was interrupted");
        file.truncate(last.good)
            .map_err(disk(format!("cut {}", last.path)))?;
    }
    // When the last run stopped because a sync failed, the system may show us bytes that it has given up writing. Written
    // again they are dirty again, and this sync tells the truth. At most the last record can be such a one.
    let (at, record) = last_record;
    file.overwrite(at, &record)
        .and_then(|()| file.sync_data())
        .map_err(disk(format!("sync {}", last.path)))?;
    files
        .sync(std::slice::from_ref(&last.path))
        .map_err(disk("sync the write-ahead folder"))?;
    for path in &leftovers {
        tracing::warn!(segment = %path, "removed a segment that nothing needs");
        files.remove(path).map_err(disk(format!("remove {path}")))?;
    }
    tracing::info!(size = %head.size, root = %head.root, segments = segments.len().saturating_add(1), "recovered the log");
    let published = Published {
        head,
        checkpoint: checkpoint.into(),
        timestamp_ms: state.timestamp_ms,
    };
    let closed = segments
        .into_iter()
        .map(|segment| (segment.path, segment.end))
        .collect();
    let segment = Segment {
        path: last.path,
        file,
        bytes: last.good,
    };
    Ok(Ready {
        state,
        published,
        segment,
        closed,
        filled,
        index,
        base: base.get(),
    })
}
