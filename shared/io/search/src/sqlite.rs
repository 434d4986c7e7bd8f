//! The index in one file. One process fills it; others of the same machine may ask.

use std::path::Path;

use sqlx::pool::PoolConnection;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};

use crate::{BUSY, Columns, IndexError, Key, Mark, Part, READERS, Row, VERSION, number};

const TABLES: [&str; 3] = [
    "CREATE TABLE trees (
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        indexed INTEGER NOT NULL,
        last BLOB,
        log BLOB
    ) STRICT",
    "CREATE TABLE places (
        key BLOB NOT NULL,
        tree INTEGER NOT NULL,
        leaf INTEGER NOT NULL,
        PRIMARY KEY (key, tree, leaf)
    ) STRICT, WITHOUT ROWID",
    "PRAGMA user_version = 2",
];
/// Version 1 did not know whose a tree is; whoever opens it first says so.
const FROM_ONE: [&str; 2] = [
    "ALTER TABLE trees ADD COLUMN log BLOB",
    "PRAGMA user_version = 2",
];
/// The first statement of whoever writes takes the lock of writing.
const WRITING: &str = "BEGIN IMMEDIATE";

/// Its connections.
#[derive(Clone, Debug)]
pub(crate) struct Sqlite {
    /// For questions.
    pool: SqlitePool,
    /// One connection: however much is asked, what is new goes in.
    writer: SqlitePool,
}

pub(crate) type Reader = PoolConnection<sqlx::Sqlite>;

impl Sqlite {
    /// With `make` it is made or brought to this version; else it has to be there.
    pub(crate) async fn open(file: &Path, make: bool) -> Result<Self, IndexError> {
        let options = SqliteConnectOptions::new()
            .filename(file)
            .create_if_missing(make)
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
        if make {
            make_tables(&writer).await?;
        } else {
            let version: i64 = sqlx::query_scalar("PRAGMA user_version")
                .fetch_one(&writer)
                .await?;
            if version != VERSION {
                return Err(IndexError::Version(version));
            }
        }
        let pool = connect(READERS).await?;
        Ok(Self { pool, writer })
    }

    pub(crate) async fn reader(&self) -> Result<Reader, IndexError> {
        Ok(self.pool.acquire().await?)
    }

    /// The tree of a name, and the log that it belongs to, if that is known.
    pub(crate) async fn row(
        &self,
        name: &str,
    ) -> Result<Option<(Row, Option<Vec<u8>>)>, IndexError> {
        let row: Option<Columns> =
            sqlx::query_as("SELECT id, indexed, last, log FROM trees WHERE name = ?")
                .bind(name)
                .fetch_optional(&self.pool)
                .await?;
        Ok(row.map(Row::of))
    }

    /// Makes the tree where it is not there.
    pub(crate) async fn make(&self, name: &str, log: &[u8]) -> Result<(), IndexError> {
        sqlx::query(
            "INSERT INTO trees (name, indexed, log) VALUES (?, 0, ?)
             ON CONFLICT (name) DO UPDATE SET log = excluded.log WHERE log IS NULL",
        )
        .bind(name)
        .bind(log)
        .execute(&self.writer)
        .await?;
        Ok(())
    }

    /// It gets another number, which no tree had: numbers only grow, as no row is ever removed. Old places go in the same transaction; nobody else waits
    /// for this file.
    pub(crate) async fn begin_anew(&self, name: &str, log: &[u8]) -> Result<Row, IndexError> {
        let mut transaction = self.writer.begin_with(WRITING).await?;
        sqlx::query("DELETE FROM places WHERE tree IN (SELECT id FROM trees WHERE name = ?)")
            .bind(name)
            .execute(&mut *transaction)
            .await?;
        let id: i64 = sqlx::query_scalar(
            "INSERT INTO trees (name, indexed, log) VALUES (?, 0, ?)
             ON CONFLICT (name) DO UPDATE
             SET id = (SELECT max(id) + 1 FROM trees), indexed = 0, last = NULL, log = excluded.log RETURNING id",
        )
        .bind(name)
        .bind(log)
        .fetch_one(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(Row {
            id,
            indexed: 0,
            last: None,
        })
    }

    pub(crate) async fn marks(&self, names: &[&str]) -> Result<Vec<Mark>, IndexError> {
        let rows: Vec<(i64, String, Option<Vec<u8>>, i64)> =
            sqlx::query_as("SELECT id, name, log, indexed FROM trees ORDER BY id")
                .fetch_all(&self.pool)
                .await?;
        let mut marks = Vec::new();
        for (tree, name, log, indexed) in rows {
            if names.contains(&name.as_str()) {
                marks.push(Mark {
                    tree,
                    name,
                    log: log.unwrap_or_default(),
                    indexed: number(indexed)?,
                });
            }
        }
        Ok(marks)
    }

    pub(crate) async fn add(
        &self,
        before: &Row,
        after: &Row,
        rows: &[(Key, i64)],
    ) -> Result<(), IndexError> {
        let mut transaction = self.writer.begin_with(WRITING).await?;
        let moved = sqlx::query(
            "UPDATE trees SET indexed = ?, last = ? WHERE id = ? AND indexed = ? AND last IS ?",
        )
        .bind(after.indexed)
        .bind(&after.last)
        .bind(before.id)
        .bind(before.indexed)
        .bind(&before.last)
        .execute(&mut *transaction)
        .await?;
        if moved.rows_affected() != 1 {
            return Err(IndexError::Moved);
        }
        for (key, leaf) in rows {
            sqlx::query(
                "INSERT INTO places (key, tree, leaf) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
            )
            .bind(key.as_slice())
            .bind(before.id)
            .bind(leaf)
            .execute(&mut *transaction)
            .await?;
        }
        transaction.commit().await?;
        Ok(())
    }
}

async fn make_tables(writer: &SqlitePool) -> Result<(), IndexError> {
    let mut transaction = writer.begin_with(WRITING).await?;
    let version: i64 = sqlx::query_scalar("PRAGMA user_version")
        .fetch_one(&mut *transaction)
        .await?;
    let statements: &[&str] = match version {
        0 => &TABLES,
        1 => &FROM_ONE,
        VERSION => &[],
        other => return Err(IndexError::Version(other)),
    };
    for statement in statements.iter().copied() {
        sqlx::query(statement).execute(&mut *transaction).await?;
    }
    transaction.commit().await?;
    Ok(())
}

/// Tree and leaf of the first places of a key in these parts, in their order.
pub(crate) async fn places(
    connection: &mut Reader,
    key: &Key,
    parts: &[Part],
    limit: i64,
) -> Result<Vec<(i64, i64)>, IndexError> {
    let mut places = Vec::new();
    let mut left = limit;
    for part in parts {
        if left <= 0 {
            break;
        }
        let leaves: Vec<i64> = sqlx::query_scalar(
            "SELECT leaf FROM places WHERE key = ? AND tree = ? AND leaf >= ? AND leaf < ? ORDER BY leaf LIMIT ?",
        )
        .bind(key.as_slice())
        .bind(part.tree)
        .bind(part.from)
        .bind(part.until)
        .bind(left)
        .fetch_all(&mut **connection)
        .await?;
        let count = i64::try_from(leaves.len()).unwrap_or(i64::MAX);
        left = left.saturating_sub(count);
        places.extend(leaves.into_iter().map(|leaf| (part.tree, leaf)));
    }
    Ok(places)
}
