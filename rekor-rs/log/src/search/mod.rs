//! Finding entries: an index that follows the logs.
//!
//! ```text
//! log --follow--> entries --keys--> search::Index        one task for each tree; starts where the index ends
//! GET /api/v2/search, POST /api/v1/index/retrieve  --keys-->  places --> entries with fresh proofs
//! ```
//!
//! The index is never ahead of a log and says how far it is. A file that is lost is made again; a log that is shorter than its index (it was
//! restored, or the file is another log's) is indexed anew.

pub(crate) mod http;
pub(crate) mod question;

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use search::{Found, Index, IndexError, Mode, Place, Tree};
use sequencer::{Follower, Leaf, Log, ReadError};
use thiserror::Error;
use tlog::LeafIndex;

/// Between two tries when the index or the log cannot be read or written.
const PAUSE: Duration = Duration::from_secs(5);
/// How long a question waits for the index to have what the log had when it was asked.
const PATIENCE: Duration = Duration::from_secs(2);
/// Between two looks whether it has.
const LOOK: Duration = Duration::from_millis(10);

/// The index of all logs of this process.
#[derive(Clone, Debug)]
pub struct Search {
    index: Index,
    trees: Arc<Mutex<Vec<Followed>>>,
}

/// A tree that is followed.
#[derive(Clone, Debug)]
pub struct Followed {
    /// Its number in the index.
    pub id: i64,
    /// The origin of its checkpoints.
    pub origin: String,
    indexed: Arc<AtomicU64>,
}

impl Followed {
    /// All entries before this one are in the index.
    pub fn indexed(&self) -> u64 {
        self.indexed.load(Ordering::Acquire)
    }
}

#[derive(Debug, Error)]
enum FollowError {
    #[error("the index")]
    Index(#[from] IndexError),
    #[error("the log")]
    Log(#[from] ReadError),
}

impl Search {
    /// Opens the index, or begins an empty one.
    pub async fn open(file: &Path) -> anyhow::Result<Self> {
        let index = Index::open(file).await;
        Ok(Self {
            index: index.with_context(|| format!("search.file: {}", file.display()))?,
            trees: Arc::default(),
        })
    }

    /// Follows a log from now on, until it is closed. `keys` gives the search keys of an entry as it stands in its bundle.
    pub async fn follow<L: Leaf>(
        &self,
        origin: &str,
        log: &Log<L>,
        keys: fn(&[u8]) -> Vec<String>,
    ) -> anyhow::Result<Followed> {
        let mut tree = self.index.tree(origin).await.context("search.file")?;
        // Whoever reads a log that another process writes may be behind the index that both of them fill.
        wait_for(|| log.published().head.size.get() >= tree.indexed()).await;
        let size = log.published().head.size.get();
        let last = match tree.indexed().checked_sub(1) {
            None => None,
            Some(last) => log.entry(LeafIndex::new(last)).await?,
        };
        if tree.indexed() > 0 && last.map(|entry| told_by(&entry)).as_deref() != tree.last() {
            tracing::warn!(
                origin,
                indexed = tree.indexed(),
                size,
                "the search index is of another log, or knows more than this one has: making it again"
            );
            tree.clear().await.context("search.file")?;
        }
        let followed = Followed {
            id: tree.id(),
            origin: origin.to_owned(),
            indexed: Arc::new(AtomicU64::new(tree.indexed())),
        };
        let follower = log.follow(LeafIndex::new(tree.indexed()));
        tokio::spawn(run(tree, follower, followed.clone(), keys));
        self.trees
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(followed.clone());
        Ok(followed)
    }

    /// The trees that are followed, in the order in which that began.
    pub fn trees(&self) -> Vec<Followed> {
        let trees = self.trees.lock();
        trees.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Places of entries, see [`Index::find`].
    pub async fn find(
        &self,
        keys: &[String],
        mode: Mode,
        from: Option<Place>,
        limit: usize,
    ) -> Result<Found, IndexError> {
        self.index.find(keys, mode, from, limit).await
    }

    /// Waits, though not for long, until a tree is indexed up to `size`. The answer says how far the index is.
    pub async fn catch_up(&self, tree: &Followed, size: u64) {
        wait_for(|| tree.indexed() >= size).await;
    }
}

/// Looks again and again, though not for long.
async fn wait_for(reached: impl Fn() -> bool) {
    let looking = async {
        while !reached() {
            tokio::time::sleep(LOOK).await;
        }
    };
    let _late = tokio::time::timeout(PATIENCE, looking).await;
}

async fn run<L: Leaf>(
    mut tree: Tree,
    mut follower: Follower<L>,
    followed: Followed,
    keys: fn(&[u8]) -> Vec<String>,
) {
    loop {
        match step(&mut tree, &mut follower, keys).await {
            Ok(true) => followed.indexed.store(tree.indexed(), Ordering::Release),
            Ok(false) => return,
            // An earlier or a later reader of the same log fills the same index.
            Err(FollowError::Index(IndexError::Moved)) if tree.refresh().await.is_ok() => {
                followed.indexed.store(tree.indexed(), Ordering::Release);
            }
            Err(error) => {
                metrics::counter!("rekor_index_failures").increment(1);
                tracing::error!(origin = followed.origin, cause = %chain(&error), "cannot index entries, trying again");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Adds the next entries; false when there will be no more. What was read and not added is read again.
async fn step<L: Leaf>(
    tree: &mut Tree,
    follower: &mut Follower<L>,
    keys: fn(&[u8]) -> Vec<String>,
) -> Result<bool, FollowError> {
    follower.seek(LeafIndex::new(tree.indexed()));
    let Some(piece) = follower.next().await? else {
        return Ok(false);
    };
    let rows: Vec<_> = piece.entries.iter().map(|entry| keys(entry)).collect();
    let last = piece.entries.last().map(|entry| told_by(entry));
    tree.add(&rows, &last.unwrap_or_default()).await?;
    Ok(true)
}

fn told_by(entry: &[u8]) -> Vec<u8> {
    keys::sha256(entry).to_vec()
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}
