//! The sequencer: one thread that gives leaves their places.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use store::{AppendFile, Path};
use tlog::{Hash, LeafIndex};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

use crate::checkpoint_signer::{self, CheckpointSigner};
use crate::config::{Clock, Config};
use crate::error::AppendError;
use crate::known::{MAX_LEAVES, Place};
use crate::layout;
use crate::leaf::Leaf;
use crate::record::{self, Batch, BatchLeaf, Record, Start};
use crate::shared::{Published, Shared, Snapshot};
use crate::state::State;
use crate::write_behind::Work;

/// A clock may be set back by so much: the time of the last entry is given meanwhile. It is half of the life of a certificate that Fulcio issues, so
/// what was signed a moment ago still verifies at that time.
const SET_BACK: Duration = Duration::from_mins(5);
/// The longest time from one look at the age of the last checkpoint to the next.
const LONGEST_LOOK: Duration = Duration::from_mins(1);

/// A leaf in the queue, and who asked.
pub(crate) struct Waiter<L> {
    pub(crate) leaf: L,
    pub(crate) reply: oneshot::Sender<Result<Placed, AppendError>>,
}

/// The answer to a waiter.
#[derive(Debug)]
pub(crate) struct Placed {
    pub(crate) place: Place,
    /// The entry was there before, or was asked for by two waiters of one batch.
    pub(crate) duplicate: bool,
    /// Leaf hash and the commit that holds the leaf; `None` when the leaf is older, and its proof has to be read.
    pub(crate) commit: Option<(Hash, Arc<Snapshot>)>,
}

pub(crate) struct Sequencer<L> {
    pub(crate) queue: mpsc::Receiver<Waiter<L>>,
    pub(crate) state: State,
    pub(crate) segment: Segment,
    pub(crate) signer: Arc<dyn CheckpointSigner>,
    pub(crate) clock: Clock,
    pub(crate) runtime: Handle,
    pub(crate) shared: Arc<Shared>,
    pub(crate) work: SyncSender<Work>,
    pub(crate) config: Config,
    /// The clock was far behind when the last leaf came.
    pub(crate) late: bool,
}

/// What the sequencer waits for.
enum Next<L> {
    Leaf(Waiter<L>),
    /// Nobody can send any more.
    Ended,
    /// A write has failed, here or in the writer of tiles.
    Failed,
    /// Nothing came for a while: is the last checkpoint too old?
    Look,
}

/// The write-ahead segment that takes batches.
pub(crate) struct Segment {
    pub(crate) path: Path,
    pub(crate) file: Box<dyn AppendFile>,
    pub(crate) bytes: u64,
}

/// A batch that is made and not yet written.
struct Draft {
    batch: Batch,
    hashes: Vec<Hash>,
    /// Waiters of new leaves, and of leaves that are in this batch already.
    waiters: Vec<DraftWaiter>,
}

struct DraftWaiter {
    position: usize,
    duplicate: bool,
    reply: oneshot::Sender<Result<Placed, AppendError>>,
}

impl<L: Leaf> Sequencer<L> {
    /// Runs until the queue is closed and empty, or the log has failed: then nothing may be written any more, and the right to do so is
    /// somebody else's.
    ///
    /// Group commit needs no timer: whatever has queued up while the last batch was synced is the next batch.
    pub(crate) fn run(mut self) {
        let mut backlog = VecDeque::new();
        let mut failures = self.shared.failures();
        let look = self.config.refresh.map(|refresh| {
            let look = (refresh / 8).clamp(Duration::from_millis(1), LONGEST_LOOK);
            (look, refresh)
        });
        // At once: nobody knows how long the log was closed.
        let mut next_look = Instant::now();
        loop {
            if self.shared.failure().is_some() {
                return self.refuse(backlog);
            }
            if backlog.is_empty() {
                let next = async {
                    let due = async {
                        match look {
                            Some(_) => tokio::time::sleep_until(next_look.into()).await,
                            None => std::future::pending().await,
                        }
                    };
                    tokio::select! {
                        biased;
                        _ = failures.wait_for(Option::is_some) => Next::Failed,
                        waiter = self.queue.recv() => waiter.map_or(Next::Ended, Next::Leaf),
                        () = due => Next::Look,
                    }
                };
                match self.runtime.block_on(next) {
                    Next::Leaf(waiter) => backlog.push_back(waiter),
                    Next::Ended => return,
                    Next::Failed => continue,
                    Next::Look => {
                        if let Some((look, refresh)) = look {
                            next_look = Instant::now() + look;
                            self.refresh(refresh);
                        }
                        continue;
                    }
                }
            }
            while backlog.len() < self.config.batch_leaves {
                match self.queue.try_recv() {
                    Ok(waiter) => backlog.push_back(waiter),
                    Err(_) => break,
                }
            }
            self.commit(&mut backlog);
        }
    }

    /// Tells everybody that still waits, and takes no more.
    fn refuse(mut self, backlog: VecDeque<Waiter<L>>) {
        let failure = self.shared.failure().unwrap_or_default();
        let refused = || Err(AppendError::Stopped(failure.clone()));
        for waiter in backlog {
            answer(waiter.reply, refused());
        }
        self.queue.close();
        // Not `try_recv`: a leaf whose sender has its place in the queue, and has not put it there yet, would lie there for ever, and its waiter
        // wait. This ends when all of them have.
        while let Some(waiter) = self.runtime.block_on(self.queue.recv()) {
            answer(waiter.reply, refused());
        }
    }

    /// Takes leaves from the backlog, commits them, and answers. The order of the steps is the whole point.
    fn commit(&mut self, backlog: &mut VecDeque<Waiter<L>>) {
        // 1. Give each new leaf its place. Known leaves are answered, or wait for the batch that has them.
        //    If we crash here, nothing was written and nobody was told anything.
        if let Some(draft) = self.draft(backlog) {
            self.commit_batch(draft);
        }
    }

    /// The steps from the second one on.
    fn commit_batch(&mut self, draft: Draft) {
        let Draft {
            mut batch,
            hashes,
            waiters,
        } = draft;
        let update = self.state.plan(&hashes);

        // 2. Sign the new head. If we crash here, or the key answers too late, a signature existed that nobody has seen and nothing
        //    refers to. The batch is refused as a whole, and the next one begins where this one did.
        batch.head = update.head;
        let signing = checkpoint_signer::sign_within(
            self.config.sign_time,
            &*self.signer,
            update.head,
            batch.timestamp_ms,
        );
        match self.runtime.block_on(signing) {
            Ok(checkpoint) => batch.checkpoint = checkpoint,
            Err(error) => {
                tracing::error!(%error, cause = ?error, "the checkpoint could not be signed");
                return answer_all(waiters, &AppendError::NotSigned(error.to_string()));
            }
        }
        let Some((bytes, chain)) = record::encode(&Record::Batch(batch.clone()), self.state.chain)
        else {
            return answer_all(
                waiters,
                &AppendError::NotSigned("the batch is too long for one record".to_owned()),
            );
        };

        // 3. Append leaves, head and checkpoint as one record. If we crash here, the record is absent, torn or whole.
        //    Absent or torn: the next start cuts it away; the checkpoint never left. Whole: the next start takes it, with
        //    the same checkpoint; nobody was told, and who asks again gets this place.
        // 4. Sync. When it has returned, the batch is committed: from here on it survives everything but the disk.
        //    If either fails, nobody knows what the disk has. We stop: no further batch may build on this one or
        //    replace it before a restart has read what is there.
        let written = self
            .segment
            .file
            .append(&bytes)
            .and_then(|()| self.segment.file.sync_data());
        if let Err(error) = written {
            self.shared.fail("writing the write-ahead log", &error);
            return answer_all(
                waiters,
                &AppendError::Stopped("writing the write-ahead log failed".to_owned()),
            );
        }
        self.segment.bytes = self
            .segment
            .bytes
            .saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));

        // 5. Take it over and show it. If we crash here or later, the next start does the same from the record.
        let published = Published {
            head: batch.head,
            checkpoint: batch.checkpoint.as_slice().into(),
            timestamp_ms: batch.timestamp_ms,
        };
        let (first, timestamp_ms) = (batch.before.get(), batch.timestamp_ms);
        let filled = self.state.absorb(batch, &update, chain);
        let snapshot = Arc::new(Snapshot {
            published: published.clone(),
            update,
            open: self.state.open.clone(),
        });
        self.shared.publish(snapshot.clone(), &filled);

        // 6. Only now anybody hears of it.
        for DraftWaiter {
            position,
            duplicate,
            reply,
        } in waiters
        {
            let index = first.saturating_add(u64::try_from(position).unwrap_or(u64::MAX));
            let hash = hashes.get(position).copied().unwrap_or(tlog::hash::EMPTY);
            let commit = Some((hash, snapshot.clone()));
            answer(
                reply,
                Ok(Placed {
                    place: Place {
                        index,
                        timestamp_ms,
                    },
                    duplicate,
                    commit,
                }),
            );
        }

        // 7. The files behind. When the writer is gone it has said why, and the next batch will not be taken.
        let _ = self.work.send(Work::Committed {
            filled,
            published: published.clone(),
        });
        // A segment is named after the size of the tree, so the next one needs a leaf at least.
        if self.segment.bytes >= self.config.segment_bytes
            && !hashes.is_empty()
            && let Err(error) = self.next_segment(&published)
        {
            self.shared.fail("starting a write-ahead segment", &error);
        }
    }

    /// Signs the head again when its checkpoint is older than `refresh`. It is a batch without leaves, and committed as one: so the time of
    /// checkpoints never runs backwards, over crashes neither.
    fn refresh(&mut self, refresh: Duration) {
        let now = u64::try_from((self.clock)().as_millisecond()).unwrap_or(0);
        let age = Duration::from_millis(now.saturating_sub(self.state.timestamp_ms));
        if age < refresh || self.shared.is_frozen() {
            return;
        }
        let batch = Batch {
            before: self.state.edge.size(),
            timestamp_ms: now,
            head: self.state.head(),
            checkpoint: Vec::new(),
            leaves: Vec::new(),
        };
        // A signature that was not to be had is asked for again at the next look.
        self.commit_batch(Draft {
            batch,
            hashes: Vec::new(),
            waiters: Vec::new(),
        });
    }

    /// Seals leaves until the batch is full. `None` when none of them is new.
    fn draft(&mut self, backlog: &mut VecDeque<Waiter<L>>) -> Option<Draft> {
        let before = self.state.edge.size();
        let now = u64::try_from((self.clock)().as_millisecond()).unwrap_or(0);
        let timestamp_ms = now.max(self.state.timestamp_ms);
        let behind = self.behind(timestamp_ms.saturating_sub(now));
        let mut leaves = Vec::new();
        let mut hashes = Vec::new();
        let mut waiters = Vec::new();
        let mut positions = HashMap::new();
        let mut bytes = 0_usize;
        while bytes < self.config.batch_bytes
            && let Some(Waiter { leaf, reply }) = backlog.pop_front()
        {
            let dedup_key = leaf.dedup_key();
            let found = match self.state.known.find(&*self.shared.files, &dedup_key) {
                Ok(found) => found,
                // Whether the entry is there is not known, so nothing may be added any more.
                Err(error) => {
                    self.shared.fail("reading the index", &error);
                    let stopped = AppendError::Stopped("reading the index failed".to_owned());
                    answer(reply, Err(stopped.clone()));
                    answer_all(waiters, &stopped);
                    return None;
                }
            };
            if let Some(place) = found {
                answer(
                    reply,
                    Ok(Placed {
                        place,
                        duplicate: true,
                        commit: None,
                    }),
                );
                continue;
            }
            if let Some(position) = positions.get(&dedup_key) {
                waiters.push(DraftWaiter {
                    position: *position,
                    duplicate: true,
                    reply,
                });
                continue;
            }
            if let Some(behind) = behind {
                answer(reply, Err(AppendError::Clock(behind)));
                continue;
            }
            let position = leaves.len();
            let index = before
                .get()
                .saturating_add(u64::try_from(position).unwrap_or(u64::MAX));
            if index >= MAX_LEAVES {
                let full = "the tree is full: begin a new one".to_owned();
                answer(reply, Err(AppendError::Stopped(full)));
                continue;
            }
            let sealed = leaf.seal(LeafIndex::new(index), timestamp_ms);
            bytes = bytes.saturating_add(sealed.entry.len());
            hashes.push(sealed.hash);
            leaves.push(BatchLeaf {
                dedup_key,
                entry: sealed.entry,
            });
            positions.insert(dedup_key, position);
            waiters.push(DraftWaiter {
                position,
                duplicate: false,
                reply,
            });
        }
        if leaves.is_empty() {
            return None;
        }
        let head = self.state.head();
        Some(Draft {
            batch: Batch {
                before,
                timestamp_ms,
                head,
                checkpoint: Vec::new(),
                leaves,
            },
            hashes,
            waiters,
        })
    }

    /// How far the clock is behind, when that is too far. Said once.
    fn behind(&mut self, milliseconds: u64) -> Option<Duration> {
        let behind = Duration::from_millis(milliseconds);
        let late = L::TIMED && behind > SET_BACK;
        if late && !std::mem::replace(&mut self.late, true) {
            tracing::error!(
                seconds = behind.as_secs(),
                "the clock is behind the log's last entry, and no entry is taken until it is right; if it was ahead when that entry came, \
                 a new tree has to take this one's place"
            );
        }
        if !late && std::mem::replace(&mut self.late, false) {
            tracing::info!("the clock is right again: entries are taken");
        }
        late.then_some(behind)
    }

    /// Starts the next segment. If we crash before it is durable, the next start finds the old one as the last, or a
    /// torn new one that holds no batch.
    fn next_segment(&mut self, published: &Published) -> std::io::Result<()> {
        let (segment, chain) = new_segment(&*self.shared.files, published, self.state.chain)?;
        self.state.chain = chain;
        let old = std::mem::replace(&mut self.segment, segment);
        let _ = self.work.send(Work::SegmentClosed {
            path: old.path,
            end: published.head.size.get(),
        });
        Ok(())
    }
}

/// Writes the start of a segment, durable with its name.
pub(crate) fn new_segment(
    files: &dyn store::Disk,
    published: &Published,
    chain: record::Chain,
) -> std::io::Result<(Segment, record::Chain)> {
    let start = Start {
        head: published.head,
        timestamp_ms: published.timestamp_ms,
        checkpoint: published.checkpoint.to_vec(),
    };
    let (bytes, chain) = record::encode(&Record::Start(start), chain)
        .ok_or_else(|| std::io::Error::other("the checkpoint is too long for a record"))?;
    let path = layout::segment(published.head.size.get());
    files.replace(&path, &bytes)?;
    files.sync(std::slice::from_ref(&path))?;
    let file = files.append(&path)?;
    Ok((
        Segment {
            path,
            file,
            bytes: u64::try_from(bytes.len()).unwrap_or(u64::MAX),
        },
        chain,
    ))
}

fn answer(
    reply: oneshot::Sender<Result<Placed, AppendError>>,
    answer: Result<Placed, AppendError>,
) {
    // A waiter that has gone away is no reason to stop.
    let _ = reply.send(answer);
}

fn answer_all(waiters: Vec<DraftWaiter>, error: &AppendError) {
    for waiter in waiters {
        answer(waiter.reply, Err(error.clone()));
    }
}
