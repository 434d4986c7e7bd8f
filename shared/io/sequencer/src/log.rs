//! The handle of a log: append and read.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use futures_util::future::try_join_all;
use jiff::Timestamp;
use note::VerifierKey;
use store::{Disk, Lock, Path};
use tlog::{
    BundleId, Hash, LeafIndex, ProofError, Tile, TileId, TileSet, TreeHead, TreeSize, proof,
};
use tokio::runtime::Handle;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};

use crate::checkpoint_signer::{CheckpointSigner, SignError};
use crate::config::{Clock, Config};
use crate::error::{AppendError, FreezeError, OpenError, ReadError};
use crate::follow::Follower;
use crate::layout;
use crate::leaf::Leaf;
use crate::open::{self, Started};
use crate::reader::{self, Following};
use crate::recover::{self, MAX_BUNDLE};
use crate::sequence::{Placed, Waiter};
use crate::shared::{Published, Shared, Size, Snapshot};
use crate::write_behind::CopyPlace;

/// What a client is told when the queue is full. A batch takes milliseconds; a whole queue is through in less than this.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// A running log. Clones are the same log.
pub struct Log<L> {
    inner: Arc<Inner<L>>,
}

/// A handle of a log that may be closed meanwhile; for tasks that live as long as it does.
pub struct WeakLog<L> {
    inner: Weak<Inner<L>>,
}

impl<L: Leaf> WeakLog<L> {
    /// The log, if somebody still has it open. Whoever keeps this keeps it open.
    pub fn upgrade(&self) -> Option<Log<L>> {
        self.inner.upgrade().map(|inner| Log { inner })
    }
}

impl<L> Clone for WeakLog<L> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
        }
    }
}

impl<L> std::fmt::Debug for WeakLog<L> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("WeakLog").finish_non_exhaustive()
    }
}

struct Inner<L> {
    shared: Arc<Shared>,
    /// `None` once closed.
    queue: RwLock<Option<mpsc::Sender<Waiter<L>>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// The right to write, as long as a thread holds it; none of a log that another process writes.
    lock: Option<Weak<dyn Lock>>,
    sign_time: Duration,
    /// Of a log that another process writes.
    following: Mutex<Option<Following>>,
}

/// Where an entry stands, and that it stands there.
#[derive(Clone, Debug)]
pub struct Appended {
    /// Position, proof and checkpoint. The proof was verified before this was made.
    pub inclusion: Inclusion,
    /// When the entry was added, in milliseconds since 1970; of a duplicate, when it was added first.
    pub timestamp_ms: u64,
    /// The same entry had been added before, or together with this one.
    pub duplicate: bool,
}

/// An inclusion proof under a signed checkpoint.
#[derive(Clone, Debug)]
pub struct Inclusion {
    /// Position of the leaf.
    pub index: LeafIndex,
    /// Its Merkle leaf hash.
    pub leaf: Hash,
    /// The proof, from the leaf upwards.
    pub proof: Vec<Hash>,
    /// The tree that the proof is for.
    pub head: TreeHead,
    /// The signed note over `head`.
    pub checkpoint: Arc<[u8]>,
}

/// An inclusion proof in a tree that was the newest one before, or lay between two that were published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PastInclusion {
    /// The leaf's Merkle hash.
    pub leaf: Hash,
    /// The proof, from the leaf upwards.
    pub proof: Vec<Hash>,
    /// Root of that tree, computed from the tiles.
    pub root: Hash,
}

/// A thing of the C2SP read interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// `checkpoint`
    Checkpoint,
    /// `tile/<L>/<N>[.p/<W>]`
    Tile(TileId),
    /// `tile/<entries|data>/<N>[.p/<W>]`
    Bundle(BundleId),
}

impl Resource {
    /// Reads a path below the log's prefix; `bundle` is [`Leaf::BUNDLE`]. `None` for every other path.
    pub fn parse(path: &str, bundle: &str) -> Option<Self> {
        if path == "checkpoint" {
            return Some(Self::Checkpoint);
        }
        let bundle = BundleId::parse(path, bundle).map(Self::Bundle);
        bundle.or_else(|_| path.parse().map(Self::Tile)).ok()
    }
}

impl<L: Leaf> Log<L> {
    /// Opens the log in a folder, or begins one in an empty folder. Must be called within a tokio runtime, which has to
    /// live as long as the log, as it signs checkpoints there.
    pub async fn open(
        config: Config,
        signer: Arc<dyn CheckpointSigner>,
        clock: Clock,
    ) -> Result<Self, OpenError> {
        let (files, copy) = folders(&config)?;
        Self::open_on(files, copy, config, signer, clock).await
    }

    /// [`Log::open`] on any disk; `config.folder` and `config.checkpoint_copy` are not looked at.
    pub async fn open_on(
        files: Arc<dyn Disk>,
        copy: Option<(Arc<dyn Disk>, Path)>,
        config: Config,
        signer: Arc<dyn CheckpointSigner>,
        clock: Clock,
    ) -> Result<Self, OpenError> {
        let runtime = Handle::current();
        let copy = copy.map(|(files, path)| CopyPlace { files, path });
        let sign_time = config.sign_time;
        let start = move || open::start::<L>(files, copy, config, signer, clock, runtime);
        let Started {
            shared,
            queue,
            threads,
            lock,
        } = tokio::task::spawn_blocking(start)
            .await
            .map_err(|error| OpenError::Thread(error.into()))??;
        let inner = Inner {
            shared,
            queue: RwLock::new(Some(queue)),
            threads: Mutex::new(threads),
            lock: Some(lock),
            sign_time,
            following: Mutex::new(None),
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// Opens a log that another process writes, for reading: it grows as that one writes. There must be a log in the folder. Nothing is
    /// written, and there may be any number of readers.
    pub async fn open_reader(config: Config, verifier: VerifierKey) -> Result<Self, OpenError> {
        let (files, _) = folders(&config)?;
        Self::open_reader_on(files, verifier).await
    }

    /// [`Log::open_reader`] on any disk.
    pub async fn open_reader_on(
        files: Arc<dyn Disk>,
        verifier: VerifierKey,
    ) -> Result<Self, OpenError> {
        let start = move || reader::start::<L>(files, verifier);
        let (shared, following) = tokio::task::spawn_blocking(start)
            .await
            .map_err(|error| OpenError::Thread(error.into()))??;
        let inner = Inner {
            shared,
            queue: RwLock::new(None),
            threads: Mutex::default(),
            lock: None,
            sign_time: Duration::ZERO,
            following: Mutex::new(Some(following)),
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// Adds a leaf, and returns when it is durable. A leaf that is there already gets its old place.
    ///
    /// Dropping the future does not take the leaf back.
    pub async fn append(&self, leaf: L) -> Result<Appended, AppendError> {
        if let Some(failure) = self.inner.shared.failure() {
            return Err(AppendError::Stopped(failure));
        }
        if self.inner.shared.is_frozen() {
            return Err(AppendError::Frozen);
        }
        let (reply, answer) = oneshot::channel();
        {
            let queue = self
                .inner
                .queue
                .read()
                .unwrap_or_else(PoisonError::into_inner);
            let queue = queue.as_ref().ok_or(AppendError::Closed)?;
            queue
                .try_send(Waiter { leaf, reply })
                .map_err(|error| match error {
                    TrySendError::Full(_) => AppendError::Overloaded {
                        retry_after: RETRY_AFTER,
                    },
                    TrySendError::Closed(_) => self.ended(),
                })?;
        }
        let Placed {
            place,
            duplicate,
            commit,
        } = answer.await.map_err(|_| self.ended())??;
        let index = LeafIndex::new(place.index);
        let inclusion = match commit {
            Some((leaf, snapshot)) => {
                let proof = snapshot
                    .update
                    .inclusion(index)
                    .map_err(AppendError::Proof)?;
                included(index, leaf, proof, &snapshot).map_err(AppendError::Proof)?
            }
            None => self.inclusion(index).await.map_err(|error| match error {
                ReadError::Proof(error) => AppendError::Proof(error),
                other => AppendError::Unreadable(other.to_string()),
            })?,
        };
        Ok(Appended {
            inclusion,
            timestamp_ms: place.timestamp_ms,
            duplicate,
        })
    }

    fn ended(&self) -> AppendError {
        let why = self.inner.shared.failure();
        AppendError::Stopped(why.unwrap_or_else(|| "the sequencer has ended".to_owned()))
    }

    /// The newest head, with its signed checkpoint. It is durable.
    pub fn published(&self) -> Published {
        self.inner.shared.snapshot().published.clone()
    }

    /// Whether leaves can be added; the reason when not. Reading goes on either way.
    pub fn health(&self) -> Result<(), String> {
        self.inner.shared.failure().map_or(Ok(()), Err)
    }

    /// Waits until the log stops because a write failed, and says why; `None` when it ends without that. Does not keep
    /// the log open.
    pub fn stopped(&self) -> impl Future<Output = Option<String>> + Send + use<L> {
        let mut failures = self.inner.shared.failures();
        async move {
            let failure = failures.wait_for(Option::is_some).await.ok()?;
            failure.clone()
        }
    }

    /// Takes no more leaves, commits those that wait, writes and syncs everything, and lets go of the folder. Reading
    /// still works. Dropping the last handle does the same, and blocks its thread for that time.
    pub async fn close(&self) {
        let threads = self.inner.end_queue();
        // It fails only when the runtime is going away, and then nobody can wait.
        let _ = tokio::task::spawn_blocking(move || join(threads)).await;
        self.inner.shared.close();
    }

    /// [`Log::close`], without letting go of the folder: nobody else can write there as long as the returned lock is held. `None` when another
    /// process has it, or when this one gave it up before.
    pub async fn close_and_hold(&self) -> Option<Arc<dyn Lock>> {
        let right = self.inner.lock.as_ref().and_then(Weak::upgrade);
        self.close().await;
        right
    }

    /// Whether a leaf would find no place in the queue now. (A closed log is not full.)
    pub fn is_full(&self) -> bool {
        let queue = self.inner.queue.read();
        let queue = queue.unwrap_or_else(PoisonError::into_inner);
        queue.as_ref().is_some_and(|queue| queue.capacity() == 0)
    }

    /// Whether the log takes no entries any more.
    pub fn is_frozen(&self) -> bool {
        self.inner.shared.is_frozen()
    }

    /// Closes the log for good: it gets a last checkpoint, not older than the one before, and whoever opens it again can only read.
    /// If we crash before the file is durable, the log is not frozen, or it is, with the same tree.
    pub async fn freeze(
        &self,
        signer: &dyn CheckpointSigner,
        at: Timestamp,
    ) -> Result<(), FreezeError> {
        // Held until the file is durable: whoever waits for this log to end would add to what we call its end.
        let right = self.close_and_hold().await;
        if let Some(failure) = self.inner.shared.failure() {
            return Err(FreezeError::Stopped(failure));
        }
        if self.is_frozen() {
            return Ok(());
        }
        let Some(right) = right else {
            return Err(FreezeError::Elsewhere);
        };
        let Published {
            head, timestamp_ms, ..
        } = self.published();
        let before = i64::try_from(timestamp_ms).ok();
        let before = before.and_then(|before| Timestamp::from_millisecond(before).ok());
        let at = before.map_or(at, |before| at.max(before));
        let limit = self.inner.sign_time;
        let checkpoint = tokio::time::timeout(limit, signer.sign_last(head, at)).await;
        let checkpoint = checkpoint.map_err(|_| FreezeError::Sign(SignError::Late(limit)))?;
        let checkpoint = checkpoint.map_err(FreezeError::Sign)?;
        let files = self.inner.shared.files.clone();
        let write = move || {
            let written = files.replace_durable(&layout::frozen(), &checkpoint);
            drop(right);
            written
        };
        let written = tokio::task::spawn_blocking(write).await;
        written
            .map_err(std::io::Error::from)
            .flatten()
            .map_err(FreezeError::Disk)?;
        self.inner.shared.freeze();
        Ok(())
    }

    /// The bytes of a thing of the C2SP interface; `None` when the published tree does not have it.
    pub async fn read(&self, resource: &Resource) -> Result<Option<Vec<u8>>, ReadError> {
        match resource {
            Resource::Checkpoint => Ok(Some(self.published().checkpoint.to_vec())),
            Resource::Tile(id) => self.tile(*id).await,
            Resource::Bundle(id) => self.bundle(*id).await,
        }
    }

    /// The bytes of a tile; `None` when the published tree does not have it at this width.
    pub async fn tile(&self, id: TileId) -> Result<Option<Vec<u8>>, ReadError> {
        let snapshot = self.inner.shared.snapshot();
        if !id.is_in(snapshot.published.head.size) {
            return Ok(None);
        }
        Ok(self.load_tile(&snapshot, id).await?.bytes(id.width))
    }

    /// The bytes of a bundle; `None` when the published tree does not have it at this width.
    pub async fn bundle(&self, id: BundleId) -> Result<Option<Vec<u8>>, ReadError> {
        let snapshot = self.inner.shared.snapshot();
        if !id.is_in(snapshot.published.head.size) {
            return Ok(None);
        }
        let bytes = read_bundle::<L>(&self.inner.shared, &snapshot, id).await;
        bytes.map(Some)
    }

    /// Where the published tree has the entry with this dedup key (see [`Leaf::dedup_key`]).
    pub async fn find(&self, dedup_key: &[u8; 32]) -> Result<Option<LeafIndex>, ReadError> {
        let shared = self.inner.shared.clone();
        let key = *dedup_key;
        let find = move || shared.known.find(&*shared.files, &key);
        let found = tokio::task::spawn_blocking(find).await;
        let found = found.map_err(std::io::Error::from).flatten();
        let place = found.map_err(|source| ReadError::Disk {
            what: layout::index().to_string(),
            source,
        })?;
        // First the place, then the size: what was published in between is in both.
        let size = self.published().head.size;
        let index = place.map(|place| LeafIndex::new(place.index));
        Ok(index.filter(|index| size.holds(*index)))
    }

    /// All entries from this index on, in order.
    pub fn follow(&self, from: LeafIndex) -> Follower<L> {
        Follower::new(self.inner.shared.clone(), from.get())
    }

    /// One entry, as it stands in its bundle; `None` when the published tree does not have it.
    pub async fn entry(&self, index: LeafIndex) -> Result<Option<Vec<u8>>, ReadError> {
        let size = self.published().head.size;
        let Some(id) = BundleId::holding(index, size) else {
            return Ok(None);
        };
        let Some(bytes) = self.bundle(id).await? else {
            return Ok(None);
        };
        let entries = recover::split_bundle::<L>(&bytes)
            .ok_or_else(|| ReadError::Damaged(id.path(L::BUNDLE)))?;
        let position = usize::try_from(index.get() % 256).unwrap_or(usize::MAX);
        Ok(entries.get(position).map(|entry| entry.to_vec()))
    }

    /// The Merkle leaf hash of an entry; `None` when the published tree does not have it.
    pub async fn leaf_hash(&self, index: LeafIndex) -> Result<Option<Hash>, ReadError> {
        let snapshot = self.inner.shared.snapshot();
        let node = tlog::Node {
            level: 0,
            index: index.get(),
        };
        let Some(id) = TileId::holding(node, snapshot.published.head.size) else {
            return Ok(None);
        };
        let tile = self.load_tile(&snapshot, id).await?;
        let position = usize::try_from(index.get() % 256).unwrap_or(usize::MAX);
        Ok(tile.hashes().get(position).copied())
    }

    /// Inclusion proof of a leaf in the newest tree. It was verified.
    pub async fn inclusion(&self, index: LeafIndex) -> Result<Inclusion, ReadError> {
        let snapshot = self.inner.shared.snapshot();
        let size = snapshot.published.head.size;
        let mut wanted = proof::tiles_for_inclusion(index, size)?;
        let own = tlog::Node {
            level: 0,
            index: index.get(),
        };
        wanted.extend(TileId::holding(own, size));
        let tiles = self.load_tiles(&snapshot, &wanted).await?;
        let leaf = tlog::Nodes::node(&tiles, own).ok_or(ProofError::MissingNode(own))?;
        let proof = proof::inclusion(index, size, &tiles)?;
        Ok(included(index, leaf, proof, &snapshot)?)
    }

    /// Proof that the tree of `old` leaves is a prefix of the newest tree, and that tree's head.
    pub async fn consistency(&self, old: TreeSize) -> Result<(Vec<Hash>, Published), ReadError> {
        let snapshot = self.inner.shared.snapshot();
        let size = snapshot.published.head.size;
        let wanted = proof::tiles_for_consistency(old, size)?;
        let tiles = self.load_tiles(&snapshot, &wanted).await?;
        Ok((
            proof::consistency(old, size, &tiles)?,
            snapshot.published.clone(),
        ))
    }

    /// Proof that the tree of `old` leaves is a prefix of the tree of `new` leaves, and the newest tree's head; `None` when
    /// that has fewer than `new` leaves.
    pub async fn consistency_between(
        &self,
        old: TreeSize,
        new: TreeSize,
    ) -> Result<(Option<Vec<Hash>>, Published), ReadError> {
        let snapshot = self.inner.shared.snapshot();
        let published = snapshot.published.clone();
        if new > published.head.size {
            return Ok((None, published));
        }
        // The tiles of the newest tree are at least as wide.
        let wanted = proof::tiles_for_consistency(old, new)?;
        let tiles = self.load_tiles(&snapshot, &wanted).await?;
        Ok((Some(proof::consistency(old, new, &tiles)?), published))
    }

    /// Inclusion proof of a leaf in a tree that was published before, under its checkpoint. It was verified.
    pub async fn inclusion_in(
        &self,
        index: LeafIndex,
        head: TreeHead,
        checkpoint: Arc<[u8]>,
    ) -> Result<Inclusion, ReadError> {
        let snapshot = self.inner.shared.snapshot();
        let own = tlog::Node {
            level: 0,
            index: index.get(),
        };
        // The tiles of the newest tree are at least as wide.
        let mut wanted = proof::tiles_for_inclusion(index, head.size)?;
        wanted.extend(TileId::holding(own, head.size));
        let tiles = self.load_tiles(&snapshot, &wanted).await?;
        let leaf = tlog::Nodes::node(&tiles, own).ok_or(ProofError::MissingNode(own))?;
        let proof = proof::inclusion(index, head.size, &tiles)?;
        proof::verify_inclusion(&leaf, index, &proof, &head)?;
        Ok(Inclusion {
            index,
            leaf,
            proof,
            head,
            checkpoint,
        })
    }

    /// Inclusion proof of a leaf in the tree of the first `size` leaves, whatever sizes were published. It was verified; `None` when the newest
    /// tree has fewer than `size` leaves.
    pub async fn inclusion_at(
        &self,
        index: LeafIndex,
        size: TreeSize,
    ) -> Result<Option<PastInclusion>, ReadError> {
        let snapshot = self.inner.shared.snapshot();
        let newest = snapshot.published.head.size;
        if size > newest {
            return Ok(None);
        }
        let own = tlog::Node {
            level: 0,
            index: index.get(),
        };
        // The tiles of the newest tree are at least as wide.
        let mut wanted = proof::tiles_for_inclusion(index, size)?;
        wanted.extend(TileId::holding(own, size));
        wanted.extend(proof::tiles_for_root(size, newest)?);
        let tiles = self.load_tiles(&snapshot, &wanted).await?;
        let leaf = tlog::Nodes::node(&tiles, own).ok_or(ProofError::MissingNode(own))?;
        let proof = proof::inclusion(index, size, &tiles)?;
        let root = proof::root(size, &tiles)?;
        proof::verify_inclusion(&leaf, index, &proof, &TreeHead { size, root })?;
        Ok(Some(PastInclusion { leaf, proof, root }))
    }

    /// Waits until the published tree has more than `size` leaves; `false` when the log was closed before. Does not keep the log open.
    pub fn grown(&self, size: TreeSize) -> impl Future<Output = bool> + Send + use<L> {
        let mut sizes = self.inner.shared.sizes();
        async move {
            let grown = |seen: &Size| match seen {
                Size::Open(seen) => *seen > size.get(),
                Size::Closed => true,
            };
            let seen = sizes.wait_for(grown).await.map(|seen| *seen);
            matches!(seen, Ok(Size::Open(_)))
        }
    }

    /// A handle that does not keep the log open.
    pub fn downgrade(&self) -> WeakLog<L> {
        WeakLog {
            inner: Arc::downgrade(&self.inner),
        }
    }

    async fn load_tiles(
        &self,
        snapshot: &Snapshot,
        wanted: &[TileId],
    ) -> Result<TileSet<Arc<Tile>>, ReadError> {
        // All at the same time, and each once: a bucket's answer takes as long as a disk's does not.
        let wanted: BTreeSet<TileId> = wanted.iter().copied().collect();
        let load = async |id: TileId| Ok::<_, ReadError>((id, self.load_tile(snapshot, id).await?));
        let mut tiles = TileSet::new();
        for (id, tile) in try_join_all(wanted.into_iter().map(load)).await? {
            tiles.insert(id.level, id.index, tile);
        }
        Ok(tiles)
    }

    /// The leaf hashes from `index` on to the end of their tile or of the tree; none at the end of the tree.
    pub(crate) async fn leaf_hashes_from(&self, index: u64) -> Result<Vec<Hash>, ReadError> {
        let snapshot = self.inner.shared.snapshot();
        let own = tlog::Node { level: 0, index };
        let Some(id) = TileId::holding(own, snapshot.published.head.size) else {
            return Ok(Vec::new());
        };
        let tile = self.load_tile(&snapshot, id).await?;
        let width = TileId::width_in(0, id.index, snapshot.published.head.size);
        let width = width.map_or(0, |width| usize::from(width.get()));
        let skip = usize::try_from(index % 256).unwrap_or(usize::MAX);
        Ok(tile
            .hashes()
            .iter()
            .take(width)
            .skip(skip)
            .copied()
            .collect())
    }

    /// A tile that the snapshot's tree has: from its edge, from the tiles that have no file yet, or from the file.
    async fn load_tile(&self, snapshot: &Snapshot, id: TileId) -> Result<Arc<Tile>, ReadError> {
        let widest = TileId::width_in(id.level, id.index, snapshot.published.head.size);
        if widest.is_some_and(|widest| !widest.is_full())
            && let Some(tile) = snapshot.update.edge.tile(id.level)
        {
            return Ok(Arc::new(tile.clone()));
        }
        if let Some(tile) = self
            .inner
            .shared
            .unwritten()
            .tiles
            .get(&(id.level, id.index))
        {
            return Ok(tile.clone());
        }
        let path = layout::tile(id.level, id.index);
        let bytes = load(&self.inner.shared, path, recover::MAX_TILE).await?;
        let tile = Tile::parse(&bytes).ok().filter(Tile::is_full);
        tile.map(Arc::new)
            .ok_or_else(|| ReadError::Damaged(id.full().to_string()))
    }
}

/// A bundle that the snapshot's tree has: from memory, or from its file.
pub(crate) async fn read_bundle<L: Leaf>(
    shared: &Shared,
    snapshot: &Snapshot,
    id: BundleId,
) -> Result<Vec<u8>, ReadError> {
    let width = usize::from(id.width.get());
    let damaged = || ReadError::Damaged(id.full().path(L::BUNDLE));
    if snapshot.published.head.size.get() / 256 == id.index {
        let entries = snapshot.open.get(..width).ok_or_else(damaged)?;
        return Ok(entries.concat());
    }
    let unwritten = shared.unwritten().bundles.get(&id.index).cloned();
    let mut bytes = match unwritten {
        Some(bundle) => bundle.to_vec(),
        None => load(shared, layout::bundle(L::BUNDLE, id.index), MAX_BUNDLE).await?,
    };
    if !id.width.is_full() {
        let entries = recover::split_bundle::<L>(&bytes).ok_or_else(damaged)?;
        let len = entries
            .get(..width)
            .ok_or_else(damaged)?
            .iter()
            .map(|entry| entry.len())
            .sum();
        bytes.truncate(len);
    }
    Ok(bytes)
}

async fn load(shared: &Shared, path: Path, max: u64) -> Result<Vec<u8>, ReadError> {
    let files = shared.files.clone();
    let what = path.to_string();
    let read = tokio::task::spawn_blocking(move || files.read(&path, max)).await;
    match read.map_err(std::io::Error::from).flatten() {
        Ok(Some(bytes)) => Ok(bytes),
        Ok(None) => Err(ReadError::Damaged(what)),
        Err(source) => Err(ReadError::Disk { what, source }),
    }
}

impl<L> Inner<L> {
    /// Without senders the sequencer ends when its queue is empty, and the writer when the sequencer is gone.
    fn end_queue(&self) -> Vec<JoinHandle<()>> {
        drop(
            self.queue
                .write()
                .unwrap_or_else(PoisonError::into_inner)
                .take(),
        );
        let mut threads =
            std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        let mut following = self
            .following
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        threads.extend(following.take().map(Following::stop));
        threads
    }
}

/// A log that is dropped is closed: whoever opens it again right afterwards finds the folder free and the copy current.
impl<L> Drop for Inner<L> {
    fn drop(&mut self) {
        join(self.end_queue());
        self.shared.close();
    }
}

fn join(threads: Vec<JoinHandle<()>>) {
    for thread in threads {
        if thread.join().is_err() {
            tracing::error!("a thread of the log panicked");
        }
    }
}

impl<L> Clone for Log<L> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
        }
    }
}

impl<L> std::fmt::Debug for Log<L> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Log")
            .field("head", &self.inner.shared.snapshot().published.head)
            .finish_non_exhaustive()
    }
}

fn included(
    index: LeafIndex,
    leaf: Hash,
    proof: Vec<Hash>,
    snapshot: &Snapshot,
) -> Result<Inclusion, ProofError> {
    let Published {
        head, checkpoint, ..
    } = &snapshot.published;
    proof::verify_inclusion(&leaf, index, &proof, head)?;
    Ok(Inclusion {
        index,
        leaf,
        proof,
        head: *head,
        checkpoint: checkpoint.clone(),
    })
}

/// A file on some disk.
pub type FilePlace = (Arc<dyn Disk>, Path);

/// The folders that the settings name.
pub(crate) type Folders = (Arc<dyn Disk>, Option<FilePlace>);

pub(crate) fn folders(config: &Config) -> Result<Folders, OpenError> {
    Ok((open_folder(&config.folder)?, copy_place(config)?))
}

/// The file that [`Config::checkpoint_copy`] names, for [`Log::open_on`].
pub fn copy_place(config: &Config) -> Result<Option<FilePlace>, OpenError> {
    let Some(copy) = &config.checkpoint_copy else {
        return Ok(None);
    };
    let name = copy
        .file_name()
        .and_then(|name| name.to_str())
        .and_then(Path::new);
    let name = name.ok_or_else(|| OpenError::Disk {
        action: format!("use {} as the checkpoint copy", copy.display()),
        source: std::io::Error::from(std::io::ErrorKind::InvalidFilename),
    })?;
    let parent = copy
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    let folder = open_folder(parent.unwrap_or(std::path::Path::new(".")))?;
    Ok(Some((folder, name)))
}

fn open_folder(folder: &std::path::Path) -> Result<Arc<dyn Disk>, OpenError> {
    let opened = store::fs::Folder::open(folder).map_err(|source| OpenError::Disk {
        action: format!("open the folder {}", folder.display()),
        source,
    })?;
    Ok(Arc::new(opened))
}
