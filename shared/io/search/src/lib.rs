//! Search keys to places: which leaves of which tree are about a digest, a key, a name.
//!
//! ```text
//! let index = Index::open(path).await?;                        // a file of this process
//! let index = Index::open_shared(options, timeout).await?;     // PostgreSQL, for any number of processes
//! let mut tree = index.tree("rekor.example.org", &log_id).await?;   // tree.indexed(): all leaves before this one are in
//! tree.add(&[vec!["sha256:..", "dev@example.com"], ..], b"..").await?;   // keys of the next leaves, one list for each
//! let marks = index.marks(&["rekor.example.org"]).await?;      // how far each is, and its number
//! index.find(&["dev@example.com"], Mode::Any, &[Span { tree: 1, until: 100 }], None, 100).await?
//! ```
//!
//! Invariants, the same of both:
//! - the keys of a leaf and the mark that it is in are one transaction, so no leaf is left out and none is there twice;
//! - the mark is only moved by who names where it was, and what the last leaf was told by: of several who add to a tree at the same time one does, and
//!   the others are told ([`IndexError::Moved`]) and go on from there. So it takes no lease to be right, only to do no work twice;
//! - a tree belongs to the log whose key it was begun with; another one of the same name is refused;
//! - a tree that is begun anew gets a number that none had, so that whoever still removes the old rows, or asks by the old number, has nothing to do with the
//!   new ones;
//! - everything in it can be made again from the log: a file that is lost, or behind, only costs time;
//! - keys are kept as the first 16 bytes of their SHA-256: no mail address lies about in clear, and each row is short.
//!   Somebody who makes two keys that collide (2^64 work) gets an entry of his own found twice.
//!
//! What someone could do who controls the database: leave entries out of answers, or name others than were asked for. Whoever answers reads each entry from
//! its log and proves it, so none can be made up.
//!
//! SQLite is one file, in write-ahead mode. Neither is in the path of a commit of a log: a batch of rows takes tens of milliseconds.

mod postgres;
mod sqlite;

use std::future::Future;
use std::path::Path;
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use thiserror::Error;

use crate::postgres::Postgres;
use crate::sqlite::Sqlite;

/// Steps of a search for places that have several keys: each is one look into the index. Who asks on gets further.
const MAX_STEPS: usize = 500;
/// Questions that are looked up at the same time.
const READERS: u32 = 4;
/// How long one statement waits for another's lock, and a question for a free connection.
const BUSY: Duration = Duration::from_secs(10);
/// Longest of all that one question may take, whatever it consists of.
const ANSWER: Duration = Duration::from_secs(15);
/// Of the tables.
const VERSION: i64 = 2;

/// An index over any number of trees. Clones are the same index.
#[derive(Clone, Debug)]
pub struct Index {
    store: Store,
}

#[derive(Clone, Debug)]
enum Store {
    Sqlite(Sqlite),
    Postgres(Postgres),
}

/// One tree of an index: the only way to add to it. There may be several of one tree, here and in other processes.
#[derive(Debug)]
pub struct Tree {
    store: Store,
    name: String,
    log: Vec<u8>,
    row: Row,
}

/// What an index knows of a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Row {
    id: i64,
    indexed: i64,
    last: Option<Vec<u8>>,
}

/// [`Row`] as it is read, and the log that the tree belongs to.
type Columns = (i64, i64, Option<Vec<u8>>, Option<Vec<u8>>);

impl Row {
    fn of((id, indexed, last, owner): Columns) -> (Self, Option<Vec<u8>>) {
        (Self { id, indexed, last }, owner)
    }
}

/// A leaf that was found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Number of the tree in this index.
    pub tree: i64,
    /// Index of the leaf in its tree.
    pub leaf: u64,
}

/// How far a tree is indexed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Its number in this index. Another one, when it was begun anew.
    pub tree: i64,
    /// Its name.
    pub name: String,
    /// The log that it belongs to, see [`Index::tree`]. Empty where nobody has said so yet.
    pub log: Vec<u8>,
    /// All leaves before this one are in the index.
    pub indexed: u64,
}

/// Where to look: the leaves of a tree before one. What an index has of other trees, or beyond, is not the asker's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Number of the tree in this index.
    pub tree: i64,
    /// The first leaf that is not looked at.
    pub until: u64,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// In the order of trees and leaves.
    pub places: Vec<Place>,
    /// Where to go on, when there may be more.
    pub next: Option<Place>,
}

/// How several keys belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// A leaf with one of them.
    Any,
    /// A leaf with all of them.
    All,
}

/// Why the index cannot be used.
#[derive(Debug, Error)]
pub enum IndexError {
    /// The database says no, or its connection broke.
    #[error("the search index cannot be read or written")]
    Database(#[from] sqlx::Error),
    /// The database says nothing.
    #[error("the search index did not answer within {} ms", .0.as_millis())]
    Slow(Duration),
    /// Somebody else has added to the tree, or begun it anew.
    #[error("the search index has moved under its writer: another one is writing it")]
    Moved,
    /// The tree of this name is another log's.
    #[error(
        "the search index has {0} of a log with another key: each log needs an index of its own, or, if this is the log now, have it made again \
         (rekor-rs reindex)"
    )]
    OtherLog(String),
    /// Tables of a version that this program does not know.
    #[error(
        "the search index is of version {0}, and this program writes version {VERSION}: use the newer program, or remove the index (the file, or the tables \
         that begin with search_), it is made again"
    )]
    Version(i64),
    /// More leaves than a database counts.
    #[error("a leaf index above 2^63")]
    TooLarge,
}

impl IndexError {
    /// Whether the same may well work later.
    pub const fn passes(&self) -> bool {
        matches!(self, Self::Database(_) | Self::Slow(_) | Self::Moved)
    }
}

impl Index {
    /// Opens an index in a file, or makes an empty one.
    pub async fn open(file: &Path) -> Result<Self, IndexError> {
        Ok(Self {
            store: Store::Sqlite(timed(ANSWER, Sqlite::open(file, true)).await?),
        })
    }

    /// Opens an index in a file that another process fills; an error where there is none.
    pub async fn open_existing(file: &Path) -> Result<Self, IndexError> {
        Ok(Self {
            store: Store::Sqlite(timed(ANSWER, Sqlite::open(file, false)).await?),
        })
    }

    /// Opens the index in a PostgreSQL database, and makes its tables (`search_..`) where there are none. Any number of processes may have it
    /// open, and begin at the same time. `timeout`: longest statement.
    pub async fn open_shared(
        options: PgConnectOptions,
        timeout: Duration,
    ) -> Result<Self, IndexError> {
        Ok(Self {
            store: Store::Postgres(Postgres::open(options, timeout).await?),
        })
    }

    /// Whether other machines have it too: then nobody may empty it just because it is not what he expects.
    pub const fn is_shared(&self) -> bool {
        matches!(self.store, Store::Postgres(_))
    }

    /// The tree of this name, made when it is not there. `log` tells logs of one name from one another: the id of its key.
    pub async fn tree(&self, name: &str, log: &[u8]) -> Result<Tree, IndexError> {
        let mut found = self.store.row(name).await?;
        // A tree is nobody's only where version 1 of the file made it.
        if !matches!(found, Some((_, Some(_)))) {
            match &self.store {
                Store::Sqlite(file) => timed(ANSWER, file.make(name, log)).await?,
                Store::Postgres(server) => server.make(name, log).await?,
            }
            found = self.store.row(name).await?;
        }
        let Some((row, Some(owner))) = found else {
            return Err(IndexError::Moved);
        };
        if owner != log {
            return Err(IndexError::OtherLog(name.to_owned()));
        }
        Ok(self.handle(name, log, row))
    }

    /// The tree of this name, begun anew for this log: all that is known of it is forgotten, whosever it was. Others who add to it are told
    /// ([`IndexError::Moved`]).
    pub async fn begin_anew(&self, name: &str, log: &[u8]) -> Result<Tree, IndexError> {
        let row = match &self.store {
            Store::Sqlite(file) => file.begin_anew(name, log).await?,
            Store::Postgres(server) => server.begin_anew(name, log).await?,
        };
        Ok(self.handle(name, log, row))
    }

    /// Removes the rows of trees that were begun anew. It may take long, or be stopped, and changes no answer.
    pub async fn sweep(&self) -> Result<(), IndexError> {
        match &self.store {
            // There they went at once.
            Store::Sqlite(_) => Ok(()),
            Store::Postgres(server) => server.sweep().await,
        }
    }

    /// How far trees are indexed, in the order of their numbers; those that nobody has begun are left out.
    pub async fn marks(&self, names: &[&str]) -> Result<Vec<Mark>, IndexError> {
        match &self.store {
            Store::Sqlite(file) => timed(ANSWER, file.marks(names)).await,
            Store::Postgres(server) => server.marks(names).await,
        }
    }

    /// Leaves with any or all of some keys, from a place on, at most `limit`. No key finds nothing, nor does no span.
    ///
    /// What is not found although its tree's mark is beyond it is not there, if the tree has the same number in [`Self::marks`] before and after.
    pub async fn find(
        &self,
        keys: &[String],
        mode: Mode,
        scope: &[Span],
        from: Option<Place>,
        limit: usize,
    ) -> Result<Found, IndexError> {
        let mut keys: Vec<_> = keys.iter().map(|key| hashed(key)).collect();
        keys.sort_unstable();
        keys.dedup();
        let mut scope = scope.to_vec();
        scope.sort_unstable_by_key(|span| span.tree);
        scope.dedup_by_key(|span| span.tree);
        let from = from.unwrap_or(Place { tree: 0, leaf: 0 });
        if keys.is_empty() || scope.is_empty() {
            return Ok(Found::default());
        }
        timed(ANSWER, async {
            let reader = match &self.store {
                Store::Sqlite(file) => Reader::Sqlite(file.reader().await?),
                Store::Postgres(server) => Reader::Postgres(server.reader().await?),
            };
            let mut search = Search { reader, scope };
            let found = match mode {
                Mode::Any => search.any(&keys, from, limit).await?,
                Mode::All => search.all(&keys, from, limit).await?,
            };
            search.reader.done();
            Ok(found)
        })
        .await
    }

    fn handle(&self, name: &str, log: &[u8], row: Row) -> Tree {
        Tree {
            store: self.store.clone(),
            name: name.to_owned(),
            log: log.to_vec(),
            row,
        }
    }
}

impl Store {
    async fn row(&self, name: &str) -> Result<Option<(Row, Option<Vec<u8>>)>, IndexError> {
        match self {
            Self::Sqlite(file) => timed(ANSWER, file.row(name)).await,
            Self::Postgres(server) => server.row(name).await,
        }
    }
}

/// One question, on one connection.
struct Search {
    reader: Reader,
    /// In the order of trees.
    scope: Vec<Span>,
}

enum Reader {
    Sqlite(sqlite::Reader),
    Postgres(postgres::Borrowed),
}

impl Reader {
    fn done(&mut self) {
        match self {
            Self::Sqlite(_) => {}
            Self::Postgres(connection) => connection.done(),
        }
    }
}

/// A part of a tree.
#[derive(Clone, Copy, Debug)]
struct Part {
    tree: i64,
    from: i64,
    until: i64,
}

impl Search {
    /// The first `limit` places of each key, put together; what is before the end of the shortest full list is complete.
    async fn any(&mut self, keys: &[Key], from: Place, limit: usize) -> Result<Found, IndexError> {
        let mut places = Vec::new();
        for key in keys {
            places.extend(self.places(key, &from, limit.saturating_add(1)).await?);
        }
        places.sort_unstable();
        places.dedup();
        let next = places.get(limit).cloned();
        places.truncate(limit);
        Ok(Found { places, next })
    }

    /// Each key in turn is asked for its first place from the furthest one on, until all agree.
    async fn all(&mut self, keys: &[Key], from: Place, limit: usize) -> Result<Found, IndexError> {
        let mut found = Found::default();
        let mut candidate = from;
        let mut agreed = 0_usize;
        for key in keys.iter().cycle().take(MAX_STEPS) {
            if found.places.len() >= limit {
                found.next = Some(candidate);
                return Ok(found);
            }
            let Some(place) = self.places(key, &candidate, 1).await?.pop() else {
                return Ok(found);
            };
            agreed = if place == candidate {
                agreed.saturating_add(1)
            } else {
                1
            };
            candidate = place;
            if agreed >= keys.len() {
                found.places.push(candidate.clone());
                candidate.leaf = candidate.leaf.saturating_add(1);
                agreed = 0;
            }
        }
        found.next = Some(candidate);
        Ok(found)
    }

    /// The first places of a key from one on, in order.
    async fn places(
        &mut self,
        key: &Key,
        from: &Place,
        limit: usize,
    ) -> Result<Vec<Place>, IndexError> {
        let mut parts = Vec::new();
        for span in self.scope.iter().filter(|span| span.tree >= from.tree) {
            let first = if span.tree == from.tree { from.leaf } else { 0 };
            if first < span.until {
                parts.push(Part {
                    tree: span.tree,
                    from: integer(first)?,
                    until: integer(span.until)?,
                });
            }
        }
        if parts.is_empty() {
            return Ok(Vec::new());
        }
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = match &mut self.reader {
            Reader::Sqlite(connection) => sqlite::places(connection, key, &parts, limit).await?,
            Reader::Postgres(connection) => {
                postgres::places(connection, key, &parts, limit).await?
            }
        };
        let place = |(tree, leaf)| {
            Ok(Place {
                tree,
                leaf: number(leaf)?,
            })
        };
        rows.into_iter().map(place).collect()
    }
}

impl Tree {
    /// Its number in this index.
    pub const fn id(&self) -> i64 {
        self.row.id
    }

    /// All leaves before this one were in the index when this was last written or read.
    pub fn indexed(&self) -> u64 {
        self.row.indexed.unsigned_abs()
    }

    /// What the last leaf that was added is told by: an index of another log is noticed by it.
    pub fn last(&self) -> Option<&[u8]> {
        self.row.last.as_deref()
    }

    /// Adds the keys of the next leaves, one list for each leaf; durable as a whole or not at all. `last` tells the last one from others.
    ///
    /// After an error other than [`IndexError::Moved`] it may have happened or not: [`Self::refresh`] tells.
    pub async fn add(&mut self, leaves: &[Vec<String>], last: &[u8]) -> Result<(), IndexError> {
        if leaves.is_empty() {
            return Ok(());
        }
        let count = i64::try_from(leaves.len()).map_err(|_| IndexError::TooLarge)?;
        let indexed = self.row.indexed.checked_add(count);
        let after = Row {
            id: self.row.id,
            indexed: indexed.ok_or(IndexError::TooLarge)?,
            last: Some(last.to_vec()),
        };
        let leaf_of = self.row.indexed..;
        let rows: Vec<(Key, i64)> = leaf_of
            .zip(leaves)
            .flat_map(|(leaf, keys)| keys.iter().map(move |key| (hashed(key), leaf)))
            .collect();
        match &self.store {
            Store::Sqlite(file) => file.add(&self.row, &after, &rows).await?,
            Store::Postgres(server) => server.add(&self.row, &after, &rows).await?,
        }
        self.row = after;
        Ok(())
    }

    /// Reads again how far the index is: after an error, or to see whether somebody else moved it, which is no harm where that one follows the same log.
    pub async fn refresh(&mut self) -> Result<(), IndexError> {
        let index = Index {
            store: self.store.clone(),
        };
        *self = index.tree(&self.name, &self.log).await?;
        Ok(())
    }

    /// Forgets all leaves of the tree, see [`Index::begin_anew`].
    pub async fn begin_anew(&mut self) -> Result<(), IndexError> {
        let index = Index {
            store: self.store.clone(),
        };
        *self = index.begin_anew(&self.name, &self.log).await?;
        Ok(())
    }
}

type Key = [u8; 16];

/// Keys are the same in any case of their letters.
fn hashed(key: &str) -> Key {
    let digest = keys::sha256(key.to_lowercase().as_bytes());
    digest.first_chunk().copied().unwrap_or_default()
}

fn integer(number: u64) -> Result<i64, IndexError> {
    i64::try_from(number).map_err(|_| IndexError::TooLarge)
}

fn number(integer: i64) -> Result<u64, IndexError> {
    u64::try_from(integer).map_err(|_| IndexError::TooLarge)
}

/// Not longer than this. What was under way may have happened.
async fn timed<T>(
    longest: Duration,
    work: impl Future<Output = Result<T, IndexError>>,
) -> Result<T, IndexError> {
    // On the heap: whoever waits for it need not have room for what a driver keeps meanwhile.
    match tokio::time::timeout(longest, Box::pin(work)).await {
        Ok(done) => done,
        Err(_) => Err(IndexError::Slow(longest)),
    }
}
