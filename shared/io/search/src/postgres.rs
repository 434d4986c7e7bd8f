//! The index in PostgreSQL, for any number of processes.
//!
//! ```text
//! search_version   version                            one row
//! search_trees     id | name log indexed last         one row a tree; without a name: begun anew since, its places are to be removed
//! search_places    key tree leaf
//! ```
//!
//! Who adds to a tree locks its row first, by moving the mark from where he knows it to be; a second one waits for that lock, does not find the mark there any
//! more, and writes nothing. If we crash, or the connection breaks, before the commit, nothing of it has happened; if only the answer is lost, all of it has,
//! and the next attempt is told that the mark has moved.
//!
//! Commits are not waited for (`synchronous_commit = off`): a crash of the server takes back whole transactions, the newest ones, marks and
//! rows alike, and they are made again from the log. So the index costs the log's own commits next to nothing.

use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{Acquire as _, PgConnection};

use crate::{Columns, IndexError, Key, Mark, Part, READERS, Row, VERSION, number, timed};

/// Processes that start together make the tables one after the other; and trees are begun anew one at a time. Any number that is ours.
const MAKING: i64 = 0x6b65_796c_6573_7302;
/// One adds, the other one removes what was left.
const WRITERS: u32 = 2;
/// A connection does not get older: after a fail-over of PostgreSQL it may lead to what was the primary.
const OLDEST: Duration = Duration::from_mins(5);
/// Rows of one statement.
const ROWS: usize = 5000;
/// Statements of the largest addition, and then some.
const STATEMENTS: u32 = 6;

const TABLES: [&str; 4] = [
    "CREATE TABLE search_version (
        one boolean PRIMARY KEY DEFAULT true CHECK (one),
        version bigint NOT NULL
    )",
    r#"CREATE TABLE search_trees (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        name text COLLATE "C" UNIQUE,
        log bytea NOT NULL,
        indexed bigint NOT NULL CHECK (indexed >= 0),
        last bytea
    )"#,
    "CREATE TABLE search_places (
        key bytea NOT NULL,
        tree bigint NOT NULL,
        leaf bigint NOT NULL,
        PRIMARY KEY (key, tree, leaf)
    )",
    "INSERT INTO search_version (version) VALUES (2)",
];

/// Its connections, by purpose: what is new goes in, however much is asked.
#[derive(Clone, Debug)]
pub(crate) struct Postgres {
    questions: PgPool,
    writers: PgPool,
    /// The server's own limit comes first where the server is alive.
    timeout: Duration,
}

/// A connection that is thrown away unless everything on it was answered: what was given up may still be under way there.
pub(crate) struct Borrowed {
    inner: PoolConnection<sqlx::Postgres>,
    healthy: bool,
}

impl Borrowed {
    async fn from(pool: &PgPool) -> Result<Self, sqlx::Error> {
        let inner = pool.acquire().await?;
        Ok(Self {
            inner,
            healthy: false,
        })
    }

    pub(crate) fn done(&mut self) {
        self.healthy = true;
    }
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        if !self.healthy {
            self.inner.close_on_drop();
        }
    }
}

impl Postgres {
    pub(crate) async fn open(
        options: PgConnectOptions,
        timeout: Duration,
    ) -> Result<Self, IndexError> {
        let limit = timeout.as_millis().max(1).to_string();
        let options = options.application_name("sigstore search index").options([
            ("statement_timeout", limit.as_str()),
            ("lock_timeout", limit.as_str()),
            ("idle_in_transaction_session_timeout", limit.as_str()),
            // Who has waited for the row of a tree goes on with what is there then.
            ("default_transaction_isolation", "read committed"),
            ("synchronous_commit", "off"),
        ]);
        let pool = |connections: u32, options: PgConnectOptions| {
            PgPoolOptions::new()
                .min_connections(0)
                .max_connections(connections)
                .acquire_timeout(timeout)
                .max_lifetime(OLDEST)
                .connect_lazy_with(options)
        };
        // A key that half of all leaves have is still read in the order of the primary key, and only as far as is asked: there is no better plan.
        let asking = options.clone().options([
            ("enable_seqscan", "off"),
            ("enable_bitmapscan", "off"),
            ("jit", "off"),
        ]);
        let server = Self {
            questions: pool(READERS, asking),
            writers: pool(WRITERS, options),
            timeout: timeout.saturating_add(Duration::from_secs(1)),
        };
        server.make_tables().await?;
        Ok(server)
    }

    async fn make_tables(&self) -> Result<(), IndexError> {
        let make = async |connection: &mut PgConnection| {
            let mut transaction = connection.begin().await?;
            one_at_a_time(&mut transaction).await?;
            let there: bool =
                sqlx::query_scalar("SELECT to_regclass('search_version') IS NOT NULL")
                    .fetch_one(&mut *transaction)
                    .await?;
            // Once they are there, an account that may not make tables is enough.
            if !there {
                for table in TABLES {
                    sqlx::query(table).execute(&mut *transaction).await?;
                }
            }
            let found: i64 = sqlx::query_scalar("SELECT version FROM search_version")
                .fetch_one(&mut *transaction)
                .await?;
            transaction.commit().await?;
            Ok(found)
        };
        let found = self.on(&self.writers, self.timeout, make).await?;
        if found == VERSION {
            return Ok(());
        }
        Err(IndexError::Version(found))
    }

    pub(crate) async fn reader(&self) -> Result<Borrowed, IndexError> {
        Ok(Borrowed::from(&self.questions).await?)
    }

    /// The tree of a name, and the log that it belongs to.
    pub(crate) async fn row(
        &self,
        name: &str,
    ) -> Result<Option<(Row, Option<Vec<u8>>)>, IndexError> {
        let find = async |connection: &mut PgConnection| {
            sqlx::query_as("SELECT id, indexed, last, log FROM search_trees WHERE name = $1")
                .bind(name)
                .fetch_optional(&mut *connection)
                .await
        };
        let row: Option<Columns> = self.on(&self.writers, self.timeout, find).await?;
        Ok(row.map(Row::of))
    }

    /// Makes the tree where it is not there.
    pub(crate) async fn make(&self, name: &str, log: &[u8]) -> Result<(), IndexError> {
        let make = async |connection: &mut PgConnection| {
            sqlx::query(
                "INSERT INTO search_trees (name, log, indexed) VALUES ($1, $2, 0) ON CONFLICT (name) DO NOTHING",
            )
            .bind(name)
            .bind(log)
            .execute(&mut *connection)
            .await
        };
        self.on(&self.writers, self.timeout, make).await?;
        Ok(())
    }

    /// The old row loses its name, and with it all who add by it; its places stay until [`Self::sweep`].
    pub(crate) async fn begin_anew(&self, name: &str, log: &[u8]) -> Result<Row, IndexError> {
        let begin = async |connection: &mut PgConnection| {
            let mut transaction = connection.begin().await?;
            one_at_a_time(&mut transaction).await?;
            // Waits for those who add to it just now.
            sqlx::query("UPDATE search_trees SET name = NULL WHERE name = $1")
                .bind(name)
                .execute(&mut *transaction)
                .await?;
            let id: i64 = sqlx::query_scalar(
                "INSERT INTO search_trees (name, log, indexed) VALUES ($1, $2, 0) RETURNING id",
            )
            .bind(name)
            .bind(log)
            .fetch_one(&mut *transaction)
            .await?;
            transaction.commit().await?;
            Ok(id)
        };
        let id = self.on(&self.writers, self.timeout, begin).await?;
        Ok(Row {
            id,
            indexed: 0,
            last: None,
        })
    }

    /// Goes through all rows in the order of the primary key, some at a time; there is no index by tree, as nothing else would need it.
    pub(crate) async fn sweep(&self) -> Result<(), IndexError> {
        let left = async |connection: &mut PgConnection| {
            sqlx::query_scalar("SELECT id FROM search_trees WHERE name IS NULL ORDER BY id")
                .fetch_all(&mut *connection)
                .await
        };
        let left: Vec<i64> = self.on(&self.writers, self.timeout, left).await?;
        if left.is_empty() {
            return Ok(());
        }
        let mut after: Option<(Vec<u8>, i64, i64)> = Some((Vec::new(), 0, -1));
        while let Some((key, tree, leaf)) = after {
            let page = async |connection: &mut PgConnection| {
                sqlx::query_as(
                    "WITH page AS MATERIALIZED (
                        SELECT key, tree, leaf FROM search_places WHERE (key, tree, leaf) > ($1, $2, $3) ORDER BY key, tree, leaf LIMIT $4
                     ), gone AS (
                        DELETE FROM search_places AS old USING page
                        WHERE page.tree = ANY ($5) AND old.key = page.key AND old.tree = page.tree AND old.leaf = page.leaf
                     )
                     SELECT key, tree, leaf FROM page ORDER BY key DESC, tree DESC, leaf DESC LIMIT 1",
                )
                .bind(&key)
                .bind(tree)
                .bind(leaf)
                .bind(i64::try_from(ROWS).unwrap_or(i64::MAX))
                .bind(&left)
                .fetch_optional(&mut *connection)
                .await
            };
            after = self.on(&self.writers, self.timeout, page).await?;
        }
        let forget = async |connection: &mut PgConnection| {
            sqlx::query("DELETE FROM search_trees WHERE name IS NULL AND id = ANY ($1)")
                .bind(&left)
                .execute(&mut *connection)
                .await
        };
        self.on(&self.writers, self.timeout, forget).await?;
        Ok(())
    }

    pub(crate) async fn marks(&self, names: &[&str]) -> Result<Vec<Mark>, IndexError> {
        let ask = async |connection: &mut PgConnection| {
            sqlx::query_as(
                "SELECT id, name, log, indexed FROM search_trees WHERE name = ANY ($1) ORDER BY id",
            )
            .bind(names)
            .fetch_all(&mut *connection)
            .await
        };
        let rows: Vec<(i64, String, Vec<u8>, i64)> =
            self.on(&self.questions, self.timeout, ask).await?;
        let mark = |(tree, name, log, indexed)| {
            Ok(Mark {
                tree,
                name,
                log,
                indexed: number(indexed)?,
            })
        };
        rows.into_iter().map(mark).collect()
    }

    pub(crate) async fn add(
        &self,
        before: &Row,
        after: &Row,
        rows: &[(Key, i64)],
    ) -> Result<(), IndexError> {
        let add = async |connection: &mut PgConnection| {
            let mut transaction = connection.begin().await?;
            let moved = sqlx::query(
                "UPDATE search_trees SET indexed = $1, last = $2
                 WHERE id = $3 AND name IS NOT NULL AND indexed = $4 AND last IS NOT DISTINCT FROM $5",
            )
            .bind(after.indexed)
            .bind(&after.last)
            .bind(before.id)
            .bind(before.indexed)
            .bind(&before.last)
            .execute(&mut *transaction)
            .await?;
            if moved.rows_affected() != 1 {
                transaction.rollback().await?;
                return Ok(false);
            }
            for rows in rows.chunks(ROWS) {
                let keys: Vec<&[u8]> = rows.iter().map(|(key, _)| key.as_slice()).collect();
                let leaves: Vec<i64> = rows.iter().map(|(_, leaf)| *leaf).collect();
                sqlx::query(
                    "INSERT INTO search_places (key, tree, leaf)
                     SELECT key, $1, leaf FROM unnest($2::bytea[], $3::bigint[]) AS new (key, leaf) ON CONFLICT DO NOTHING",
                )
                .bind(before.id)
                .bind(keys)
                .bind(leaves)
                .execute(&mut *transaction)
                .await?;
            }
            transaction.commit().await?;
            Ok(true)
        };
        let longest = self.timeout.saturating_mul(STATEMENTS);
        if self.on(&self.writers, longest, add).await? {
            Ok(())
        } else {
            Err(IndexError::Moved)
        }
    }

    /// Work on a connection of its own, which is given back when all was answered.
    async fn on<T>(
        &self,
        pool: &PgPool,
        longest: Duration,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, sqlx::Error>,
    ) -> Result<T, IndexError> {
        timed(longest, async {
            let mut connection = Borrowed::from(pool).await?;
            let done = work(&mut connection.inner).await?;
            connection.done();
            Ok(done)
        })
        .await
    }
}

/// Until the end of the transaction.
async fn one_at_a_time(transaction: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query("SELECT pg_advisory_xact_lock($1)")
        .bind(MAKING)
        .execute(transaction)
        .await?;
    Ok(())
}

/// Tree and leaf of the first places of a key in these parts, in their order.
pub(crate) async fn places(
    connection: &mut Borrowed,
    key: &Key,
    parts: &[Part],
    limit: i64,
) -> Result<Vec<(i64, i64)>, IndexError> {
    let column = |of: fn(&Part) -> i64| -> Vec<i64> { parts.iter().map(of).collect() };
    let rows = sqlx::query_as(
        "SELECT part.tree, place.leaf
         FROM unnest($2::bigint[], $3::bigint[], $4::bigint[]) AS part (tree, first, until)
         CROSS JOIN LATERAL (
            SELECT leaf FROM search_places
            WHERE key = $1 AND tree = part.tree AND leaf >= part.first AND leaf < part.until
            ORDER BY leaf LIMIT $5
         ) AS place
         ORDER BY part.tree, place.leaf LIMIT $5",
    )
    .bind(key.as_slice())
    .bind(column(|part| part.tree))
    .bind(column(|part| part.from))
    .bind(column(|part| part.until))
    .bind(limit)
    .fetch_all(&mut *connection.inner)
    .await?;
    Ok(rows)
}
