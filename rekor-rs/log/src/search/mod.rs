//! Finding entries: an index that follows the logs.
//!
//! ```text
//! log --follow--> entries --keys--> search::Index        one task for each tree; starts where the index ends
//! POST /api/v2/search, /api/v1/index/retrieve  --keys-->  places --> entries with fresh proofs
//! ```
//!
//! The index says how far it is, and nothing beyond that, or beyond what this instance has of a log, is in an answer. It is in one of two places:
//!
//! - a file of this machine. The process that writes the logs fills it, others beside it only ask; in a cluster each instance may have one and fill it. A file
//!   that is lost is made again, and one that does not fit its log (which was restored, or is another one) is begun anew;
//! - the cluster's PostgreSQL, one for all instances. The instance that leads the logs fills it, all answer from it. While one takes over from another both may
//!   believe to lead: the mark moves for one of them, by comparison, and the other one goes on from there. An index that does not fit its log is
//!   refused, as it may be somebody else's: `rekor-rs reindex` begins it anew.

pub(crate) mod http;
pub(crate) mod question;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use search::{Found, Index, IndexError, Mark, Mode, Place, Span, Tree};
use sequencer::{Follower, Leaf, Log, ReadError};
use thiserror::Error;
use tlog::LeafIndex;

use crate::figures;
use crate::storage::Storage;

/// Between two tries when the index or the log cannot be read or written.
const PAUSE: Duration = Duration::from_secs(5);
/// How long a question waits for the index to have what the log had when it was asked.
const PATIENCE: Duration = Duration::from_secs(2);
/// Between two looks whether it has; later ones come less often.
const LOOK: Duration = Duration::from_millis(10);
const LOOKS: u32 = 5;
/// While nothing is added to a log: between two looks whether somebody else has begun its index anew.
const IDLE: Duration = Duration::from_secs(1);
/// Search keys that are added at once, and those of one entry more.
const KEYS: usize = 10_000;

/// Where the index is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SearchPlace {
    /// In this file.
    File(PathBuf),
    /// In the cluster's PostgreSQL.
    Cluster,
}

/// The index of all logs of this process.
#[derive(Clone, Debug)]
pub struct Search {
    index: Index,
    fills: bool,
}

/// A tree that is in the index.
#[derive(Clone, Debug)]
pub struct Followed {
    /// The origin of its checkpoints: its name in the index.
    pub origin: String,
    /// The id of its key, by which the index must know it. `None` where the index is known to be of another history.
    log_id: Option<Vec<u8>>,
}

/// Which log a tree of the index belongs to.
#[derive(Clone, Copy, Debug)]
pub struct Identity<'a> {
    /// The origin of its checkpoints.
    pub origin: &'a str,
    /// The id of its key.
    pub log_id: &'a [u8],
}

/// What the index and this instance have of each log.
#[derive(Clone, Debug, Default)]
pub(crate) struct View {
    marks: Vec<Mark>,
    /// By origin: the log, and what this instance has of it.
    logs: BTreeMap<String, (Option<Vec<u8>>, u64)>,
}

impl View {
    /// The origin of a place's tree.
    pub(crate) fn origin(&self, place: &Place) -> Option<&str> {
        let mark = self.marks.iter().find(|mark| mark.tree == place.tree);
        mark.map(|mark| mark.name.as_str())
    }

    /// All entries of a log before this one are found, and how many it has here.
    pub(crate) fn progress(&self, origin: &str) -> (u64, u64) {
        let size = self.size(origin);
        let mark = self.marks.iter().find(|mark| mark.name == origin);
        let indexed = mark.map_or(0, |mark| mark.indexed);
        (indexed.min(size), size)
    }

    fn size(&self, origin: &str) -> u64 {
        self.logs.get(origin).map_or(0, |(_, size)| *size)
    }

    /// A log that is not in the index as far as this instance had it when it was asked, how far it is, and what the instance has.
    pub(crate) fn behind(&self) -> Option<(&str, u64, u64)> {
        let all = self.logs.keys().map(|origin| {
            let (indexed, size) = self.progress(origin);
            (origin.as_str(), indexed, size)
        });
        let mut behind = all.filter(|(_, indexed, size)| indexed < size);
        behind.next()
    }

    /// The marks of now. What the index has of other logs is as if it was not there.
    async fn marks(&self, index: &Index) -> Result<Vec<Mark>, IndexError> {
        let names: Vec<_> = self.logs.keys().map(String::as_str).collect();
        let mut marks = index.marks(&names).await?;
        marks.retain(|mark| {
            let log = self.logs.get(&mark.name).map(|(log, _)| log.as_deref());
            log == Some(Some(mark.log.as_slice()))
        });
        Ok(marks)
    }

    fn scope(&self) -> Vec<Span> {
        let span = |mark: &Mark| Span {
            tree: mark.tree,
            until: self.size(&mark.name),
        };
        self.marks.iter().map(span).collect()
    }
}

#[derive(Debug, Error)]
enum FollowError {
    #[error("the index")]
    Index(#[from] IndexError),
    #[error("the log")]
    Log(#[from] ReadError),
    #[error("the index is of another history of this log: rekor-rs reindex begins it anew")]
    OtherHistory,
}

impl Search {
    /// Opens the index to fill it, or begins an empty one.
    pub(crate) async fn open(place: &SearchPlace, storage: &Storage) -> anyhow::Result<Self> {
        Ok(Self {
            index: open(place, storage).await?,
            fills: true,
        })
    }

    /// Opens the index beside whoever writes the logs. `None` where that one has made none, or it cannot be read from here.
    pub(crate) async fn open_beside(
        place: &SearchPlace,
        storage: &Storage,
    ) -> anyhow::Result<Option<Self>> {
        let in_cluster = matches!(storage, Storage::Cluster(_));
        let fills = match place {
            SearchPlace::File(file) if !in_cluster => {
                return Ok(match Index::open_existing(file).await {
                    Ok(index) => Some(Self {
                        index,
                        fills: false,
                    }),
                    Err(error) => {
                        let file = file.display();
                        tracing::warn!(%file, cause = chain(&error), "no search beside the process that writes the logs");
                        None
                    }
                });
            }
            SearchPlace::File(_) => true,
            SearchPlace::Cluster => false,
        };
        let index = open(place, storage).await?;
        Ok(Some(Self { index, fills }))
    }

    /// Has a log in the index from now on, until it is closed. `keys` gives the search keys of an entry as it stands in its bundle.
    pub(crate) async fn follow<L: Leaf>(
        &self,
        identity: Identity<'_>,
        log: &Log<L>,
        keys: fn(&[u8]) -> Vec<String>,
    ) -> anyhow::Result<Followed> {
        let Identity { origin, log_id } = identity;
        let followed = Followed {
            origin: origin.to_owned(),
            log_id: Some(log_id.to_vec()),
        };
        let tree = match self.index.tree(origin, log_id).await {
            Err(IndexError::OtherLog(_)) if self.may_empty() => {
                tracing::warn!(
                    origin,
                    "the search index is of another log: making it again"
                );
                self.index.begin_anew(origin, log_id).await
            }
            // Who fills a file makes the tree, or makes it this log's.
            Err(error) if !self.fills && !self.index.is_shared() => {
                tracing::warn!(
                    origin,
                    cause = chain(&error),
                    "the search index does not have this log yet"
                );
                return Ok(followed);
            }
            other => other,
        };
        let mut tree = tree.context("search")?;
        // Whoever reads a log that another process writes may be behind the index.
        wait_for(|| log.published().head.size.get() >= tree.indexed()).await;
        let size = log.published().head.size.get();
        if !self.fills && size < tree.indexed() {
            tracing::warn!(
                origin,
                indexed = tree.indexed(),
                size,
                "this instance is behind the search index"
            );
            return Ok(followed);
        }
        let last = match tree.indexed().checked_sub(1) {
            None => None,
            Some(last) => log.entry(LeafIndex::new(last)).await?,
        };
        if tree.indexed() > 0 && last.map(|entry| told_by(&entry)).as_deref() != tree.last() {
            let indexed = tree.indexed();
            if self.index.is_shared() {
                bail!(
                    "search: the index of {origin} has {indexed} entries, and they are not those of this log, which has {size}: was it brought back from an older \
                     copy, or does another log of this name use the same database? rekor-rs reindex begins the index anew"
                );
            }
            let told = "the search index is of another log, or knows more than this one has";
            if !self.fills {
                tracing::warn!(
                    origin,
                    indexed,
                    size,
                    "{told}: nothing is found until it is made again"
                );
                return Ok(Followed {
                    log_id: None,
                    ..followed
                });
            }
            tracing::warn!(origin, indexed, size, "{told}: making it again");
            tree.begin_anew().await.context("search")?;
        }
        if self.fills {
            let follower = log.follow(LeafIndex::new(tree.indexed()));
            tokio::spawn(run(tree, follower, origin.to_owned(), keys));
        }
        Ok(followed)
    }

    /// Removes what is left of trees that were begun anew, when this instance fills the index; in the background.
    pub(crate) fn tidy(&self) {
        if !self.fills {
            return;
        }
        let index = self.index.clone();
        tokio::spawn(async move {
            if let Err(error) = index.sweep().await {
                tracing::warn!(
                    cause = chain(&error),
                    "rows of an index that was begun anew are left; they are in no answer"
                );
            }
        });
    }

    /// Nobody else has it, and it can be made again.
    const fn may_empty(&self) -> bool {
        self.fills && !self.index.is_shared()
    }

    /// What can be found: waits, though not for long, until all of these logs are indexed up to these sizes, and says how far they are.
    pub(crate) async fn view(
        &self,
        logs: impl IntoIterator<Item = (Followed, u64)>,
    ) -> Result<View, IndexError> {
        let log = |(followed, size): (Followed, u64)| (followed.origin, (followed.log_id, size));
        let mut view = View {
            marks: Vec::new(),
            logs: logs.into_iter().map(log).collect(),
        };
        let until = Instant::now() + PATIENCE;
        let mut looks = 0_u32;
        loop {
            view.marks = view.marks(&self.index).await?;
            if view.behind().is_none() || Instant::now() >= until {
                return Ok(view);
            }
            looks = looks.saturating_add(1).min(LOOKS);
            tokio::time::sleep(LOOK.saturating_mul(looks)).await;
        }
    }

    /// Places of entries in what was seen, see [`Index::find`]. [`IndexError::Moved`] when a tree was begun anew meanwhile: the rows that are looked for may
    /// have been removed.
    pub(crate) async fn find(
        &self,
        view: &View,
        keys: &[String],
        mode: Mode,
        from: Option<Place>,
        limit: usize,
    ) -> Result<Found, IndexError> {
        let scope = view.scope();
        let found = self.index.find(keys, mode, &scope, from, limit).await?;
        let now = view.marks(&self.index).await?;
        let same = |seen: &Mark| {
            let same = |mark: &Mark| mark.tree == seen.tree && mark.indexed >= seen.indexed;
            now.iter().any(same)
        };
        if view.marks.iter().all(same) {
            return Ok(found);
        }
        Err(IndexError::Moved)
    }
}

/// Opens an index, or makes an empty one.
async fn open(place: &SearchPlace, storage: &Storage) -> anyhow::Result<Index> {
    match (place, storage) {
        (SearchPlace::File(file), _) => {
            let index = Index::open(file).await;
            index.with_context(|| format!("search.file: {}", file.display()))
        }
        (SearchPlace::Cluster, Storage::Cluster(cluster)) => {
            let (options, timeout) = cluster.connection().context("search")?;
            let index = Index::open_shared(options, timeout).await;
            index.context("search: the index in the cluster's database")
        }
        (SearchPlace::Cluster, _) => bail!("search.file: expected the file of the index"),
    }
}

/// Forgets what the index has of a log, which whoever fills it notices at once and makes it again; for operators. The number of entries that it had.
pub(crate) async fn begin_anew(
    place: &SearchPlace,
    storage: &Storage,
    identity: Identity<'_>,
) -> anyhow::Result<u64> {
    let index = open(place, storage).await?;
    let marks = index.marks(&[identity.origin]).await?;
    index.begin_anew(identity.origin, identity.log_id).await?;
    index.sweep().await?;
    Ok(marks.first().map_or(0, |mark| mark.indexed))
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
    origin: String,
    keys: fn(&[u8]) -> Vec<String>,
) {
    // The last leaf of the index is the log's: [`Search::follow`] has looked.
    let mut same = true;
    let mut failing = false;
    loop {
        let failed = match step(&mut tree, &mut follower, keys, &mut same).await {
            Ok(Going::On) => {
                failing = false;
                continue;
            }
            Ok(Going::Ended) => return,
            // An earlier or a later leader fills the same index, or somebody has begun it anew.
            Err(FollowError::Index(IndexError::Moved)) => None,
            Err(error) => Some(error),
        };
        if let Some(error) = failed {
            metrics::counter!("rekor_index_failures").increment(1);
            if !failing {
                tracing::error!(origin, cause = %chain(&error), "cannot index entries, trying again");
            }
            failing = true;
            tokio::time::sleep(PAUSE).await;
        }
        // What failed may have happened.
        same = false;
        if let Err(error) = tree.refresh().await {
            tracing::warn!(origin, cause = %chain(&error), "the search index cannot be looked at, trying again");
            tokio::time::sleep(PAUSE).await;
        }
    }
}

enum Going {
    On,
    Ended,
}

/// Adds the next entries. What was read and not added is read again. `same`: whether the last leaf of the index is known to be the log's.
async fn step<L: Leaf>(
    tree: &mut Tree,
    follower: &mut Follower<L>,
    keys: fn(&[u8]) -> Vec<String>,
    same: &mut bool,
) -> Result<Going, FollowError> {
    // Then it is read again, before those that follow it.
    let known = tree.indexed().checked_sub(1).filter(|_| !*same);
    follower.seek(LeafIndex::new(known.unwrap_or(tree.indexed())));
    let piece = {
        let mut next = std::pin::pin!(follower.next());
        loop {
            tokio::select! {
                piece = &mut next => break piece?,
                () = tokio::time::sleep(IDLE) => {
                    let before = (tree.id(), tree.indexed());
                    tree.refresh().await?;
                    if (tree.id(), tree.indexed()) != before {
                        return Err(IndexError::Moved.into());
                    }
                }
            }
        }
    };
    let Some(piece) = piece else {
        return Ok(Going::Ended);
    };
    let mut entries = piece.entries.iter();
    if known.is_some() {
        let last = entries.next().map(|entry| told_by(entry));
        if last.as_deref() != tree.last() {
            return Err(FollowError::OtherHistory);
        }
    }
    *same = true;
    let (mut rows, mut count, mut last) = (Vec::new(), 0_usize, Vec::new());
    for entry in entries {
        if count >= KEYS {
            break;
        }
        let found = keys(entry);
        count = count.saturating_add(found.len());
        rows.push(found);
        last = told_by(entry);
    }
    if rows.is_empty() {
        return Ok(Going::On);
    }
    let begun = Instant::now();
    let added = tree.add(&rows, &last).await;
    figures::index_stored(begun.elapsed(), added.is_ok());
    added?;
    Ok(Going::On)
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
