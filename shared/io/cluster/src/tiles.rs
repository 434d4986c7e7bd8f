//! Tiles on their way into the bucket.
//!
//! ```text
//! replace --> in memory --put--> the bucket                                   settled
//!                          |
//!                          +-- the bucket does not take it --> PostgreSQL     settled --mover--> the bucket, and out of PostgreSQL
//! ```
//!
//! [`store::Disk::replace`] returns when a tile is in memory, so many are put at the same time, and a bucket's 20 to 100 ms cost nobody
//! anything; [`store::Disk::sync`] returns when all of them are settled. Until then the write-ahead log has their leaves, so a crash
//! before that costs only the work.
//!
//! A bucket that is not there is absorbed here and not in the engine: the engine may rely on a disk that keeps what it has synced, and this one
//! does, as the tile stands in PostgreSQL. While the bucket is known to be away, tiles go there at once; the mover tries
//! one of them each second, and when that works, it moves the rest.
//!
//! If the mover crashes between the put and the removal, the next one puts the same bytes again, which is as good as once. Whoever reads
//! looks into the bucket first, then into PostgreSQL, and then once more into the bucket: a tile is in one of them at any time.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _, TryStreamExt as _, stream};
use store::Path;
use tokio::sync::{Notify, Semaphore};

use crate::cluster::Inner;
use crate::database::Turn;
use crate::error::ClusterError;
use crate::kept::Kept;
use crate::lease::{Post, Standing};

/// Requests of one tree that are under way together.
const AT_ONCE: usize = 16;
/// And statements: each holds the lease's row for a moment, which commits want too.
const STATEMENTS: usize = 2;
/// Bytes that may wait in memory. Then whoever brings more waits, too.
const WAITING: usize = 64 << 20;
/// Tiles that the mover takes at a time.
const MOVED: i64 = 64;
/// How long a tile is tried at the bucket before it goes into the database, or is looked for there: whoever syncs or reads waits for it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(3);
/// Between two looks of the mover.
const PAUSE: Duration = Duration::from_secs(1);
/// Folder of everything that goes into the bucket.
pub(crate) const FOLDER: &str = "tile/";

/// The tiles of one tree that this process has written and that are not settled.
#[derive(Debug)]
pub(crate) struct Tiles {
    cluster: Arc<Inner>,
    tree: String,
    state: Mutex<State>,
    /// What was read from the bucket.
    kept: Mutex<Kept>,
    settled: Condvar,
    requests: Semaphore,
    statements: Semaphore,
    /// The bucket did not take the last tile.
    away: AtomicBool,
    /// The bucket did not answer the last look for one.
    silent: AtomicBool,
    /// Tells the mover that something stands in the database.
    put_aside: Notify,
}

#[derive(Debug, Default)]
struct State {
    waiting: HashMap<Path, Bytes>,
    bytes: usize,
    /// Settled, and nobody has asked.
    written: HashSet<Path>,
    /// What could be put nowhere, and why.
    failed: HashMap<Path, String>,
    /// A second history was found.
    forked: Option<String>,
}

impl Tiles {
    pub(crate) fn new(cluster: Arc<Inner>, tree: &str) -> Self {
        Self {
            cluster,
            tree: tree.to_owned(),
            state: Mutex::default(),
            kept: Mutex::default(),
            settled: Condvar::new(),
            requests: Semaphore::new(AT_ONCE),
            statements: Semaphore::new(STATEMENTS),
            away: AtomicBool::new(false),
            silent: AtomicBool::new(false),
            put_aside: Notify::new(),
        }
    }

    /// Takes a tile and sees to it. Blocks while too much waits already.
    pub(crate) fn replace(
        self: &Arc<Self>,
        turn: &Turn,
        path: &Path,
        bytes: &[u8],
    ) -> Result<(), ClusterError> {
        let bytes = Bytes::copy_from_slice(bytes);
        {
            let mut state = self.state();
            // Whatever waits is settled or failed in bounded time, as each request, statement and retry is bounded. What an earlier turn
            // left on its way may fail with that turn, so it is no substitute.
            while state.bytes > WAITING || state.waiting.contains_key(path) {
                state = self
                    .settled
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
            }
            state.unforked()?;
            state.failed.remove(path);
            state.written.remove(path);
            state.bytes = state.bytes.saturating_add(bytes.len());
            state.waiting.insert(path.clone(), bytes.clone());
        }
        let (tiles, turn, path) = (self.clone(), turn.clone(), path.clone());
        self.cluster.runtime.spawn(async move {
            let result = tiles.settle(&turn, &path, &bytes).await;
            tiles.done(&path, result);
        });
        Ok(())
    }

    /// Waits until a tile is settled; false when this process has not written it.
    pub(crate) fn sync(&self, path: &Path) -> Result<bool, ClusterError> {
        let mut state = self.state();
        while state.waiting.contains_key(path) {
            state = self
                .settled
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        state.unforked()?;
        if let Some(why) = state.failed.get(path) {
            return Err(ClusterError::Broken(format!("{path} ({why})")));
        }
        Ok(state.written.remove(path))
    }

    pub(crate) async fn read(
        &self,
        path: &Path,
        max: u64,
    ) -> Result<Option<Vec<u8>>, ClusterError> {
        if let Some(bytes) = self.state().waiting.get(path) {
            return Ok(Some(bytes.to_vec()));
        }
        let kept = || self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let remembered = kept().read(path);
        if let Some(bytes) = remembered {
            if bytes.len() > usize::try_from(max).unwrap_or(usize::MAX) {
                let key = path.to_string();
                return Err(ClusterError::TooLarge { key, max });
            }
            return Ok(Some(bytes.to_vec()));
        }
        let (tile, path) = (path, path.as_str());
        let aside = || self.cluster.database.read(&self.tree, path, max);
        let tried = || self.cluster.bucket.read(&self.tree, path, max);
        // Nobody waits for a bucket that is known to be away, when it can be helped.
        if (self.away.load(Ordering::SeqCst) || self.silent.load(Ordering::SeqCst))
            && let Some(bytes) = aside().await?
        {
            return Ok(Some(bytes));
        }
        match tokio::time::timeout(PATIENCE, tried()).await {
            Ok(Ok(Some(bytes))) => {
                self.silent.store(false, Ordering::SeqCst);
                // What stands in the bucket is never another one. (Of what stands in the database we only know that it will get there.)
                kept().keep(tile, &bytes);
                return Ok(Some(bytes));
            }
            Ok(Ok(None)) => self.silent.store(false, Ordering::SeqCst),
            Ok(Err(error)) if !error.passes() => return Err(error),
            Ok(Err(_)) | Err(_) => self.silent.store(true, Ordering::SeqCst),
        }
        if let Some(bytes) = aside().await? {
            return Ok(Some(bytes));
        }
        // The mover may have been faster than we, or the bucket is there again.
        tried().await
    }

    /// A tile goes from the database into the bucket and never back, so in this order it is not missed.
    pub(crate) async fn has(&self, path: &Path) -> Result<bool, ClusterError> {
        let (bucket, database) = (&self.cluster.bucket, &self.cluster.database);
        let aside = database.last_piece(&self.tree, path.as_str()).await?;
        Ok(aside.is_some() || bucket.has(&self.tree, path.as_str()).await?)
    }

    /// Brings what stands in the database into the bucket, as long as the turn lasts; what an earlier leader left, too.
    pub(crate) async fn run_mover(self: Arc<Self>, post: Arc<Post>, turn: Turn) {
        let mut standings = post.standings();
        let over = async {
            // The sender lives as long as the post.
            drop(
                standings
                    .wait_for(|standing| *standing != Standing::Leader(turn.clone()))
                    .await,
            );
        };
        let moving = async {
            loop {
                match self.move_some(&turn).await {
                    // What is put aside from here on, or was a moment ago, wakes us.
                    Ok(0) => {
                        self.away.store(false, Ordering::SeqCst);
                        self.put_aside.notified().await;
                        tokio::time::sleep(PAUSE).await;
                    }
                    Ok(count) => {
                        tracing::info!(tree = %self.tree, count, "moved tiles from the database into the bucket");
                    }
                    Err(error @ ClusterError::Forked { .. }) => {
                        tracing::error!(tree = %self.tree, %error, "a tile that waited in the database");
                        self.state().forked = Some(error.to_string());
                        return;
                    }
                    Err(error) => {
                        tracing::warn!(tree = %self.tree, %error, cause = ?error, "tiles wait in the database");
                        self.away.store(true, Ordering::SeqCst);
                        tokio::time::sleep(PAUSE).await;
                    }
                }
            }
        };
        tokio::select! {
            () = over => {}
            () = moving => {}
        }
    }

    async fn move_some(&self, turn: &Turn) -> Result<usize, ClusterError> {
        let paths = self
            .cluster
            .database
            .paths(&self.tree, FOLDER, MOVED)
            .await?;
        let count = paths.len();
        let waiting = if count == 0 {
            0
        } else {
            self.cluster.database.count(&self.tree, FOLDER).await?
        };
        let waiting = u32::try_from(waiting).unwrap_or(u32::MAX);
        metrics::gauge!("cluster_tiles_put_aside", "tree" => self.tree.clone())
            .set(f64::from(waiting));
        stream::iter(paths)
            .map(|path| self.move_one(turn, path).boxed())
            .buffer_unordered(AT_ONCE)
            .try_collect::<()>()
            .await?;
        Ok(count)
    }

    async fn move_one(&self, turn: &Turn, path: String) -> Result<(), ClusterError> {
        let (bucket, database) = (&self.cluster.bucket, &self.cluster.database);
        if let Some(bytes) = database.read(&self.tree, &path, u64::MAX).await? {
            bucket.put_new(&self.tree, &path, &bytes.into()).await?;
            // It works again: what comes from here on need not wait.
            self.away.store(false, Ordering::SeqCst);
            let _one = self.statements.acquire().await.ok();
            database.take_back(turn, &path).await?;
        }
        Ok(())
    }

    async fn settle(&self, turn: &Turn, path: &Path, bytes: &Bytes) -> Result<(), ClusterError> {
        // It is never closed.
        let _one = self.requests.acquire().await.ok();
        if !self.away.load(Ordering::SeqCst) {
            let put = self
                .cluster
                .bucket
                .put_new(&self.tree, path.as_str(), bytes);
            let why = match tokio::time::timeout(PATIENCE, put).await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(error @ ClusterError::Forked { .. })) => return Err(error),
                Ok(Err(error)) => std::io::Error::from(error).to_string(),
                // It may still arrive, and is the same then as what the mover puts.
                Err(_) => format!("no answer within {} s", PATIENCE.as_secs()),
            };
            tracing::warn!(tree = %self.tree, %path, why, "the bucket does not take it: the tile goes into the database for now");
            self.away.store(true, Ordering::SeqCst);
        }
        let _one = self.statements.acquire().await.ok();
        let database = &self.cluster.database;
        database.put_aside(turn, path.as_str(), bytes).await?;
        self.put_aside.notify_one();
        Ok(())
    }

    fn done(&self, path: &Path, result: Result<(), ClusterError>) {
        let mut state = self.state();
        let bytes = state.waiting.remove(path).map_or(0, |bytes| bytes.len());
        state.bytes = state.bytes.saturating_sub(bytes);
        match result {
            Ok(()) => {
                state.written.insert(path.clone());
            }
            Err(error) => {
                tracing::error!(tree = %self.tree, %path, %error, cause = ?error, "the tile could not be kept");
                if matches!(error, ClusterError::Forked { .. }) {
                    state.forked = Some(error.to_string());
                }
                state.failed.insert(path.clone(), error.to_string());
            }
        }
        self.settled.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn unforked(&self) -> Result<(), ClusterError> {
        match &self.forked {
            Some(what) => Err(ClusterError::Broken(format!("a tile ({what})"))),
            None => Ok(()),
        }
    }
}
