//! One tree as a [`Disk`].

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use store::{AppendFile, Disk, Lock, Path};

use crate::cluster::Inner;
use crate::database::{Database, Turn};
use crate::error::ClusterError;
use crate::lease::{Leader, Lease, Post, Standing};
use crate::tiles::{FOLDER, Tiles};

/// The longest tile or bundle.
const LONGEST_TILE: u64 = 64 << 20;
/// A file that has grown by so much since its last sync is written at once: far above a batch, so that those stay whole, and below what is
/// bad to have in memory (the index of a large log that is made again).
const UNSYNCED: usize = 32 << 20;
/// Says which bucket was seen to put nothing over what is there.
const BUCKET: &str = "bucket";
/// Most names of a folder in the database: segments, and tiles that wait.
const NAMES: i64 = 1 << 20;

/// The files of one tree. Reading is for everybody; writing for whoever holds the [lease](Disk::lock).
///
/// The methods of [`Disk`] block and must not be called by a worker of the runtime: use a thread of one's own or `spawn_blocking`,
/// as the engine does.
#[derive(Clone, Debug)]
pub struct Tree {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    cluster: Arc<Inner>,
    name: String,
    post: Arc<Post>,
    tiles: Arc<Tiles>,
    /// What was appended and not yet synced. It outlives the handle that appended, as with a real file.
    tails: Mutex<HashMap<Path, Arc<Mutex<Tail>>>>,
}

/// The end of a file that grows.
#[derive(Debug)]
struct Tail {
    turn: Turn,
    /// Bytes in the database.
    durable: u64,
    /// And those that follow.
    bytes: Arc<Vec<u8>>,
    /// A write failed: what is in the database is not known.
    broken: bool,
}

impl Tree {
    pub(crate) fn new(cluster: Arc<Inner>, name: &str) -> Self {
        let shared = Shared {
            tiles: Arc::new(Tiles::new(cluster.clone(), name)),
            post: Arc::new(Post::new(name)),
            tails: Mutex::default(),
            name: name.to_owned(),
            cluster,
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// Who leads now, if anybody does. As old as the answer: a write that is sent there may be refused.
    pub async fn leader(&self) -> Result<Option<Leader>, ClusterError> {
        let leader = self.database().leader(&self.shared.name).await?;
        Ok(leader.map(|(holder, address, fence, left)| Leader {
            address,
            holder,
            fence,
            expires_in: Duration::from_millis(u64::try_from(left).unwrap_or(0)),
        }))
    }

    /// The turn that this process has, when it leads through this handle.
    pub fn fence(&self) -> Option<i64> {
        self.shared.post.turn().ok().map(|turn| turn.fence)
    }

    /// Waits until nobody leads. Several may see that; one of them gets the lease.
    pub async fn vacant(&self) -> Result<(), ClusterError> {
        let mut listener = self.database().listen().await.ok();
        loop {
            let Some(leader) = self.leader().await? else {
                return Ok(());
            };
            // A lease that is given up is announced; one that expires is not.
            let wait = leader
                .expires_in
                .min(self.shared.cluster.settings.lease.renewed);
            let wait = wait.max(Duration::from_millis(10));
            let announced = async {
                let Some(listener) = &mut listener else {
                    return std::future::pending().await;
                };
                let others = |payload: &str| payload != self.shared.name;
                while listener
                    .recv()
                    .await
                    .is_ok_and(|announcement| others(announcement.payload()))
                {}
                // Should its connection break again and again: not more than twenty looks a second.
                tokio::time::sleep(Duration::from_millis(50)).await;
            };
            let _ = tokio::time::timeout(wait, announced).await;
        }
    }

    /// Waits until this handle has lost a lease that it had: another instance may lead, and this one's log has to be closed. Does not
    /// end when the lease is given up.
    pub async fn lost(&self) {
        let mut standings = self.shared.post.standings();
        // The sender lives as long as we.
        drop(
            standings
                .wait_for(|standing| matches!(standing, Standing::Lost(_)))
                .await,
        );
    }

    /// How many tiles stand in the database, as the bucket did not take them.
    pub async fn tiles_put_aside(&self) -> Result<u64, ClusterError> {
        self.database().count(&self.shared.name, FOLDER).await
    }

    /// Looks, once in the life of a tree, whether the bucket is one that keeps what it has. It is remembered in the database, so that a leader can be
    /// replaced while the bucket is away.
    ///
    /// If we crash before that, the next leader looks again.
    fn check_bucket(&self, turn: &Turn) -> io::Result<()> {
        let (database, bucket) = (self.database(), &self.shared.cluster.bucket);
        let name = bucket.describe();
        self.block_on(async {
            let longest = length(name.len()).saturating_add(1);
            let seen = database.read(&self.shared.name, BUCKET, longest).await;
            // Of another length it is another one.
            if matches!(seen, Ok(Some(seen)) if seen == name.as_bytes()) {
                return Ok(());
            }
            bucket.check_write_once().await?;
            database
                .splice(turn, BUCKET, (0, None), name.as_bytes())
                .await
        })
    }

    fn database(&self) -> &Database {
        &self.shared.cluster.database
    }

    fn block_on<T>(&self, work: impl Future<Output = Result<T, ClusterError>>) -> io::Result<T> {
        Ok(self.shared.cluster.runtime.block_on(work)?)
    }

    fn tails(&self) -> MutexGuard<'_, HashMap<Path, Arc<Mutex<Tail>>>> {
        self.shared
            .tails
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn tail(&self, path: &Path) -> Option<Arc<Mutex<Tail>>> {
        self.tails().get(path).cloned()
    }

    /// What a reader of this process sees of an unsynced end: where it begins, and its bytes. Not after a failure, nor when the turn is over:
    /// what is in the file is then for the database to say.
    fn unsynced(&self, path: &Path) -> Option<(u64, Arc<Vec<u8>>)> {
        let tail = self.tail(path)?;
        let tail = tail.lock().unwrap_or_else(PoisonError::into_inner);
        let ours = !tail.broken && self.shared.post.still(&tail.turn).is_ok();
        (ours && !tail.bytes.is_empty()).then(|| (tail.durable, tail.bytes.clone()))
    }

    /// Commits the end of a file, in one transaction.
    ///
    /// If we crash before the commit, the file ends where it did; after it, it has all of it. If the outcome is not known, the file is
    /// broken for this turn, and the next one reads what is there.
    fn flush(&self, path: &Path, tail: &Mutex<Tail>) -> io::Result<()> {
        let (turn, durable, bytes) = {
            let tail = tail.lock().unwrap_or_else(PoisonError::into_inner);
            tail.usable(path)?;
            (tail.turn.clone(), tail.durable, tail.bytes.clone())
        };
        self.shared.post.still(&turn)?;
        if bytes.is_empty() {
            return Ok(());
        }
        // Readers go on meanwhile; there is one writer.
        let written = self.block_on(async {
            let (database, path) = (self.database(), path.as_str());
            if durable == 0 {
                // In place of the empty piece.
                database.splice(&turn, path, (0, Some(0)), &bytes).await
            } else {
                database.append(&turn, path, durable, &bytes).await
            }
        });
        let mut tail = tail.lock().unwrap_or_else(PoisonError::into_inner);
        match written {
            Ok(()) => {
                tail.durable = tail.durable.saturating_add(length(bytes.len()));
                tail.bytes = Arc::default();
                Ok(())
            }
            Err(error) => {
                tail.broken = true;
                Err(error)
            }
        }
    }
}

impl Tail {
    fn usable(&self, path: &Path) -> Result<(), ClusterError> {
        if self.broken {
            return Err(ClusterError::Broken(path.to_string()));
        }
        Ok(())
    }
}

fn is_tile(path: &Path) -> bool {
    path.as_str().starts_with(FOLDER)
}

fn length(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

impl Disk for Tree {
    fn read(&self, path: &Path, max: u64) -> io::Result<Option<Vec<u8>>> {
        if is_tile(path) {
            return self.block_on(self.shared.tiles.read(path, max));
        }
        // First the end, then the rest: what is committed in between is in the end already.
        let unsynced = self.unsynced(path);
        let name = &self.shared.name;
        let Some(mut bytes) = self.block_on(self.database().read(name, path.as_str(), max))? else {
            return Ok(None);
        };
        if let Some((durable, unsynced)) = unsynced {
            bytes.truncate(usize::try_from(durable).unwrap_or(usize::MAX));
            bytes.extend_from_slice(&unsynced);
        }
        if length(bytes.len()) > max {
            let key = path.to_string();
            return Err(ClusterError::TooLarge { key, max }.into());
        }
        Ok(Some(bytes))
    }

    fn read_range(&self, path: &Path, at: u64, len: usize) -> io::Result<Option<Vec<u8>>> {
        if is_tile(path) {
            let bytes = self.read(path, LONGEST_TILE)?;
            let cut = |bytes: &Vec<u8>| {
                let from = usize::try_from(at).unwrap_or(usize::MAX);
                bytes.iter().skip(from).take(len).copied().collect()
            };
            return Ok(bytes.as_ref().map(cut));
        }
        let name = &self.shared.name;
        let Some((durable, unsynced)) = self.unsynced(path) else {
            return self.block_on(self.database().read_range(name, path.as_str(), at, len));
        };
        let end = at.saturating_add(length(len));
        let mut bytes = Vec::new();
        if at < durable {
            let count = usize::try_from(durable.min(end).saturating_sub(at)).unwrap_or(usize::MAX);
            let read = self.database().read_range(name, path.as_str(), at, count);
            bytes = self.block_on(read)?.unwrap_or_default();
        }
        let skip = usize::try_from(at.saturating_sub(durable)).unwrap_or(usize::MAX);
        let rest = len.saturating_sub(bytes.len());
        bytes.extend(unsynced.iter().skip(skip).take(rest));
        Ok(Some(bytes))
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        let name = &self.shared.name;
        let beginning = format!("{folder}/");
        let paths = self.block_on(self.database().paths(name, &beginning, NAMES))?;
        let mut names: BTreeSet<String> = paths
            .iter()
            .filter_map(|path| path.strip_prefix(&beginning)?.split('/').next())
            .map(str::to_owned)
            .collect();
        if beginning.starts_with(FOLDER) {
            names.extend(self.block_on(self.shared.cluster.bucket.list(name, folder.as_str()))?);
        }
        Ok(names.into_iter().collect())
    }

    /// A file in the database is durable when this returns. A tile is on its way, see [`Disk::sync`].
    fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let turn = self.shared.post.turn()?;
        if is_tile(path) {
            return Ok(self.shared.tiles.replace(&turn, path, bytes)?);
        }
        self.tails().remove(path);
        let database = self.database();
        self.block_on(database.splice(&turn, path.as_str(), (0, None), bytes))
    }

    fn sync(&self, paths: &[Path]) -> io::Result<()> {
        for path in paths {
            let there = if is_tile(path) {
                self.shared.tiles.sync(path)? || self.block_on(self.shared.tiles.has(path))?
            } else if let Some(tail) = self.tail(path) {
                self.flush(path, &tail)?;
                true
            } else {
                let name = &self.shared.name;
                self.block_on(self.database().last_piece(name, path.as_str()))?
                    .is_some()
            };
            if !there {
                return Err(io::Error::new(
                    io::ErrorKind::NotFound,
                    format!("{path} is not there and cannot be made durable"),
                ));
            }
        }
        Ok(())
    }

    /// A tile is never removed: a removal in the bucket could not be fenced, so one that was sent before a turn ended might
    /// land in the next. The log removes none.
    fn remove(&self, path: &Path) -> io::Result<()> {
        let turn = self.shared.post.turn()?;
        if is_tile(path) {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                format!("{path} is kept for ever: tiles are never removed"),
            ));
        }
        self.tails().remove(path);
        self.block_on(self.database().remove(&turn, path.as_str()))
    }

    /// Tiles do not grow.
    fn append(&self, path: &Path) -> io::Result<Box<dyn AppendFile>> {
        let turn = self.shared.post.turn()?;
        if is_tile(path) {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                format!("{path} is a tile, which is written as a whole"),
            ));
        }
        let known = self
            .tail(path)
            .filter(|tail| tail.lock().unwrap_or_else(PoisonError::into_inner).turn == turn);
        let tail = if let Some(tail) = known {
            tail
        } else {
            let name = &self.shared.name;
            let end = self.block_on(async {
                let database = self.database();
                let Some((_, end)) = database.last_piece(name, path.as_str()).await? else {
                    database.touch(&turn, path.as_str()).await?;
                    return Ok(0);
                };
                Ok(end)
            })?;
            let tail = Arc::new(Mutex::new(Tail {
                turn,
                durable: end,
                bytes: Arc::default(),
                broken: false,
            }));
            self.tails().insert(path.clone(), tail.clone());
            tail
        };
        Ok(Box::new(GrowingFile {
            tree: self.clone(),
            path: path.clone(),
            tail,
        }))
    }

    /// Takes the lease. `Ok(None)` when another instance (or another handle) has it and it has not expired.
    ///
    /// What this process knew of unsynced ends is forgotten: they are of an earlier turn.
    fn lock(&self) -> io::Result<Option<Box<dyn Lock>>> {
        let cluster = &self.shared.cluster;
        if self.shared.post.turn().is_ok() {
            return Ok(None);
        }
        let names = (
            cluster.settings.holder.as_str(),
            cluster.settings.address.as_str(),
        );
        let taken = Lease::take(
            self.database(),
            &self.shared.post,
            cluster.settings.lease,
            names,
            &cluster.runtime,
        )?;
        let Some((lease, turn)) = taken else {
            return Ok(None);
        };
        self.tails().clear();
        self.check_bucket(&turn)?;
        let mover = self
            .shared
            .tiles
            .clone()
            .run_mover(self.shared.post.clone(), turn);
        cluster.runtime.spawn(mover);
        Ok(Some(Box::new(lease)))
    }
}

/// A file in the database that grows.
struct GrowingFile {
    tree: Tree,
    path: Path,
    tail: Arc<Mutex<Tail>>,
}

impl std::fmt::Debug for GrowingFile {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_tuple("GrowingFile").field(&self.path).finish()
    }
}

impl GrowingFile {
    fn lock(&self) -> MutexGuard<'_, Tail> {
        self.tail.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes what the file is from `at` on, where a piece begins. What is unsynced is in `bytes`.
    fn rewrite(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        let (turn, end) = {
            let tail = self.lock();
            (tail.turn.clone(), tail.durable)
        };
        self.tree.shared.post.still(&turn)?;
        let database = self.tree.database();
        let splice = database.splice(&turn, self.path.as_str(), (at, Some(end)), bytes);
        let written = self.tree.block_on(splice);
        let mut tail = self.lock();
        match written {
            Ok(()) => {
                tail.durable = at.saturating_add(length(bytes.len()));
                tail.bytes = Arc::default();
                Ok(())
            }
            Err(error) => {
                tail.broken = true;
                Err(error)
            }
        }
    }

    /// Everything from the beginning of the piece that has byte `at` to byte `end`, and where that piece begins.
    fn since_piece(&self, at: u64, end: u64) -> io::Result<(u64, Vec<u8>)> {
        let (tree, path) = (&self.tree, self.path.as_str());
        let piece = tree.database().piece_at(&tree.shared.name, path, at);
        let from = tree.block_on(piece)?.map_or(0, |(from, _)| from);
        let count = usize::try_from(end.saturating_sub(from)).unwrap_or(usize::MAX);
        let bytes = tree
            .read_range(&self.path, from, count)?
            .unwrap_or_default();
        if bytes.len() == count {
            return Ok((from, bytes));
        }
        Err(ClusterError::Damaged {
            tree: tree.shared.name.clone(),
            path: path.to_owned(),
            what: "it is shorter than it was",
        }
        .into())
    }
}

impl AppendFile for GrowingFile {
    fn len(&self) -> io::Result<u64> {
        let tail = self.lock();
        Ok(tail.durable.saturating_add(length(tail.bytes.len())))
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let unsynced = {
            let mut tail = self.lock();
            tail.usable(&self.path)?;
            self.tree.shared.post.still(&tail.turn)?;
            Arc::make_mut(&mut tail.bytes).extend_from_slice(bytes);
            tail.bytes.len()
        };
        if unsynced > UNSYNCED {
            return self.tree.flush(&self.path, &self.tail);
        }
        Ok(())
    }

    /// In memory where that is enough. Else everything from there on is written again, also when it is the same: a commit whose answer was
    /// lost may be visible and not yet be where a synchronous replica has it, and the commit that follows it says that both are.
    fn overwrite(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        let end = self.len()?;
        let fits = at
            .checked_add(length(bytes.len()))
            .is_some_and(|last| last <= end);
        if !fits {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the range to overwrite is not within the file",
            ));
        }
        {
            let mut tail = self.lock();
            tail.usable(&self.path)?;
            if let Some(at) = at.checked_sub(tail.durable) {
                let at = usize::try_from(at).unwrap_or(usize::MAX);
                let unsynced = Arc::make_mut(&mut tail.bytes);
                if let Some(place) = unsynced.get_mut(at..at.saturating_add(bytes.len())) {
                    place.copy_from_slice(bytes);
                }
                return Ok(());
            }
        }
        let (from, mut whole) = self.since_piece(at, end)?;
        let at = usize::try_from(at.saturating_sub(from)).unwrap_or(usize::MAX);
        if let Some(place) = whole.get_mut(at..at.saturating_add(bytes.len())) {
            place.copy_from_slice(bytes);
        }
        self.rewrite(from, &whole)
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        let end = self.len()?;
        if len >= end {
            if len == end {
                return Ok(());
            }
            // As a file system has it.
            let missing = usize::try_from(len.saturating_sub(end)).unwrap_or(usize::MAX);
            return self.append(&vec![0; missing]);
        }
        {
            let mut tail = self.lock();
            tail.usable(&self.path)?;
            if let Some(kept) = len.checked_sub(tail.durable) {
                Arc::make_mut(&mut tail.bytes)
                    .truncate(usize::try_from(kept).unwrap_or(usize::MAX));
                return Ok(());
            }
        }
        let (from, whole) = self.since_piece(len, len)?;
        self.rewrite(from, &whole)
    }

    fn sync_data(&mut self) -> io::Result<()> {
        self.tree.flush(&self.path, &self.tail)
    }
}
