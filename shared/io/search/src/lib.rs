//! Search keys to places: which leaves of which tree are about a digest, a key, a name.
//!
//! ```text
//! let index = Index::open(path).await?;
//! let mut tree = index.tree("rekor.example.org").await?;      // tree.indexed(): all leaves before this one are in
//! tree.add(&[vec!["sha256:..", "dev@example.com"], ..], b"..").await?;   // keys of the next leaves, one list for each
//! index.find(&["dev@example.com"], Mode::Any, None, 100).await?   // places, in the order of trees and leaves
//! ```
//!
//! Invariants:
//! - the keys of a leaf and the mark that it is in are one transaction, so no leaf is left out and none is there twice;
//! - everything in it can be made again from the log: a file that is lost, or behind, only costs time;
//! - keys are kept as the first 16 bytes of their SHA-256: no mail address lies about in clear, and each row is short.
//!   Somebody who makes two keys that collide (2^64 work) gets an entry of his own found twice.
//!
//! SQLite, one file, in write-ahead mode. It is not in the path of a commit: a batch of rows takes it tens of milliseconds.

use std::path::Path;
use std::time::Duration;

use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use thiserror::Error;

/// Steps of a search for places that have several keys: each is one look into the file. Who asks on gets further.
const MAX_STEPS: usize = 500;
/// Questions that are looked up at the same time.
const READERS: u32 = 4;
/// How long one statement waits for another's lock.
const BUSY: Duration = Duration::from_secs(10);
/// Of the tables below.
const VERSION: i64 = 1;

const TABLES: [&str; 2] = [
    "CREATE TABLE IF NOT EXISTS trees (
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        indexed INTEGER NOT NULL,
        last BLOB
    ) STRICT",
    "CREATE TABLE IF NOT EXISTS places (
        key BLOB NOT NULL,
        tree INTEGER NOT NULL,
        leaf INTEGER NOT NULL,
        PRIMARY KEY (key, tree, leaf)
    ) STRICT, WITHOUT ROWID",
];

/// An index over any number of trees. Clones are the same index.
#[derive(Clone, Debug)]
pub struct Index {
    /// For questions.
    pool: SqlitePool,
    /// One connection: however much is asked, what is new goes in.
    writer: SqlitePool,
}

/// One tree of an index: the only way to add to it. There must be one writer of a tree at a time.
#[derive(Debug)]
pub struct Tree {
    pool: SqlitePool,
    id: i64,
    indexed: i64,
    last: Option<Vec<u8>>,
}

/// A leaf that was found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Number of the tree in this index.
    pub tree: i64,
    /// Index of the leaf in its tree.
    pub leaf: u64,
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
    /// SQLite says no.
    #[error("the search index cannot be read or written")]
    Database(#[from] sqlx::Error),
    /// Somebody else has added to the tree.
    #[error("the search index has moved under its writer: another one is writing it")]
    Moved,
    /// A file of a version that this program does not know.
    #[error(
        "the search index is of version {0}, and this program writes version {VERSION}: remove the file, it is made again"
    )]
    Version(i64),
    /// More leaves than SQLite counts.
    #[error("a leaf index above 2^63")]
    TooLarge,
}

impl Index {
    /// Opens an index, or makes an empty one.
    pub async fn open(file: &Path) -> Result<Self, IndexError> {
        let options = SqliteConnectOptions::new()
            .filename(file)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // A crash may lose the last transactions, never a part of one; they are made again from the log.
            .synchronous(SqliteSynchronous::Normal)
            .busy_timeout(BUSY);
        let connect = |connections| {
            SqlitePoolOptions::new()
                .max_connections(connections)
                .acquire_timeout(BUSY)
                .connect_with(options.clone())
        };
        let writer = connect(1).await?;
        let version: i64 = sqlx::query_scalar("PRAGMA user_version")
            .fetch_one(&writer)
            .await?;
        if version != 0 && version != VERSION {
            return Err(IndexError::Version(version));
        }
        for table in TABLES {
            sqlx::query(table).execute(&writer).await?;
        }
        sqlx::query("PRAGMA user_version = 1")
            .execute(&writer)
            .await?;
        let pool = connect(READERS).await?;
        Ok(Self { pool, writer })
    }

    /// The tree of this name, made when it is not there.
    pub async fn tree(&self, name: &str) -> Result<Tree, IndexError> {
        sqlx::query("INSERT INTO trees (name, indexed) VALUES (?, 0) ON CONFLICT DO NOTHING")
            .bind(name)
            .execute(&self.writer)
            .await?;
        let (id, indexed, last) =
            sqlx::query_as("SELECT id, indexed, last FROM trees WHERE name = ?")
                .bind(name)
                .fetch_one(&self.writer)
                .await?;
        Ok(Tree {
            pool: self.writer.clone(),
            id,
            indexed,
            last,
        })
    }

    /// Leaves with any or all of some keys, from a place on, at most `limit`. No key finds nothing.
    pub async fn find(
        &self,
        keys: &[String],
        mode: Mode,
        from: Option<Place>,
        limit: usize,
    ) -> Result<Found, IndexError> {
        let mut keys: Vec<_> = keys.iter().map(|key| hashed(key)).collect();
        keys.sort_unstable();
        keys.dedup();
        let from = from.unwrap_or(Place { tree: 0, leaf: 0 });
        match mode {
            _ if keys.is_empty() => Ok(Found::default()),
            Mode::Any => self.any(&keys, from, limit).await,
            Mode::All => self.all(&keys, from, limit).await,
        }
    }

    /// The first `limit` places of each key, put together; what is before the end of the shortest full list is complete.
    async fn any(&self, keys: &[Key], from: Place, limit: usize) -> Result<Found, IndexError> {
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
    async fn all(&self, keys: &[Key], from: Place, limit: usize) -> Result<Found, IndexError> {
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

    async fn places(
        &self,
        key: &Key,
        from: &Place,
        limit: usize,
    ) -> Result<Vec<Place>, IndexError> {
        let rows: Vec<(i64, i64)> = sqlx::query_as(
            "SELECT tree, leaf FROM places WHERE key = ? AND (tree, leaf) >= (?, ?) ORDER BY tree, leaf LIMIT ?",
        )
        .bind(key.as_slice())
        .bind(from.tree)
        .bind(integer(from.leaf)?)
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_all(&self.pool)
        .await?;
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
        self.id
    }

    /// All leaves before this one are in the index.
    pub fn indexed(&self) -> u64 {
        self.indexed.unsigned_abs()
    }

    /// What the last leaf that was added is told by: an index of another log is noticed by it.
    pub fn last(&self) -> Option<&[u8]> {
        self.last.as_deref()
    }

    /// Adds the keys of the next leaves, one list for each leaf; durable as a whole or not at all. `last` tells the last one from others.
    pub async fn add(&mut self, leaves: &[Vec<String>], last: &[u8]) -> Result<(), IndexError> {
        let count = i64::try_from(leaves.len()).map_err(|_| IndexError::TooLarge)?;
        let after = self
            .indexed
            .checked_add(count)
            .ok_or(IndexError::TooLarge)?;
        let mut transaction = self.pool.begin().await?;
        // The first statement takes the lock of writing.
        let moved =
            sqlx::query("UPDATE trees SET indexed = ?, last = ? WHERE id = ? AND indexed = ?")
                .bind(after)
                .bind(last)
                .bind(self.id)
                .bind(self.indexed)
                .execute(&mut *transaction)
                .await?;
        if moved.rows_affected() != 1 {
            return Err(IndexError::Moved);
        }
        let mut leaf = self.indexed;
        for keys in leaves {
            for key in keys {
                sqlx::query(
                    "INSERT INTO places (key, tree, leaf) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
                )
                .bind(hashed(key).as_slice())
                .bind(self.id)
                .bind(leaf)
                .execute(&mut *transaction)
                .await?;
            }
            leaf = leaf.saturating_add(1);
        }
        transaction.commit().await?;
        self.indexed = after;
        self.last = Some(last.to_vec());
        Ok(())
    }

    /// Reads again how far the index is: after [`IndexError::Moved`], which is no harm where the other one follows the same log.
    pub async fn refresh(&mut self) -> Result<(), IndexError> {
        let (indexed, last) = sqlx::query_as("SELECT indexed, last FROM trees WHERE id = ?")
            .bind(self.id)
            .fetch_one(&self.pool)
            .await?;
        self.indexed = indexed;
        self.last = last;
        Ok(())
    }

    /// Forgets all leaves of the tree: the index knew more than the log has.
    pub async fn clear(&mut self) -> Result<(), IndexError> {
        let mut transaction = self.pool.begin().await?;
        sqlx::query("UPDATE trees SET indexed = 0, last = NULL WHERE id = ?")
            .bind(self.id)
            .execute(&mut *transaction)
            .await?;
        sqlx::query("DELETE FROM places WHERE tree = ?")
            .bind(self.id)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        self.indexed = 0;
        self.last = None;
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
