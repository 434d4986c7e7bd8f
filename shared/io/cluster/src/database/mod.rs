//! PostgreSQL: the tables, and the few statements that touch them.
//!
//! ```text
//! cluster_version   version                                  one row
//! cluster_leases    tree | fence holder address expires      one row a tree
//! cluster_pieces    tree path at | bytes                     a file is its pieces in order, without holes; an empty one has one empty piece
//! ```
//!
//! Whole small files are files of one piece: one table, one rule for what exists, and a segment that begins as a whole file
//! and then grows is no special case. Pieces are not merged: the write-ahead log is read from its beginning and soon removed, and the
//! index grows once a segment (so by hundreds of kilobytes at a time), not once a commit. They are stored uncompressed and out of line
//! (`EXTERNAL`), so that `substring` fetches the two kilobytes it needs of a long piece.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgPool, PgPoolOptions};
use sqlx::{Connection as _, Postgres};

use crate::error::ClusterError;
use crate::settings::{DatabaseSettings, LeaseSettings};

/// Of the tables below.
const VERSION: i32 = 1;
/// Two instances that start together make the tables one after the other. Any number that is ours.
const MAKING: i64 = 0x6b65_796c_6573_7301;
/// A connection that rested longer than this is tried before it is used: the server may have been restarted.
const RESTED: Duration = Duration::from_millis(500);
/// The sequencers and the writers behind them.
const WRITERS: u32 = 4;
/// Tiles that the bucket does not take: a commit never waits behind them for a connection.
const PUTTERS: u32 = 2;
/// A renewal never waits behind a commit for a connection.
const LEASERS: u32 = 2;
/// How often a question is asked again when the connection broke.
const QUESTIONS: u32 = 4;
/// Between two of them; it doubles.
const PAUSE: Duration = Duration::from_millis(100);

const TABLES: [&str; 5] = [
    "CREATE TABLE cluster_version (
        one boolean PRIMARY KEY DEFAULT true CHECK (one),
        version integer NOT NULL
    )",
    r#"CREATE TABLE cluster_leases (
        tree text COLLATE "C" PRIMARY KEY,
        fence bigint NOT NULL,
        holder text NOT NULL,
        address text NOT NULL,
        expires timestamptz NOT NULL
    )"#,
    r#"CREATE TABLE cluster_pieces (
        tree text COLLATE "C" NOT NULL,
        path text COLLATE "C" NOT NULL,
        at bigint NOT NULL,
        bytes bytea NOT NULL,
        PRIMARY KEY (tree, path, at)
    )"#,
    "ALTER TABLE cluster_pieces ALTER COLUMN bytes SET STORAGE EXTERNAL",
    "INSERT INTO cluster_version (version) VALUES (1)",
];

/// Holds for the transaction it is in. `remote_apply` is stronger than `on` and stays.
macro_rules! durable {
    () => {
        "set_config('synchronous_commit', CASE current_setting('synchronous_commit') \
         WHEN 'remote_apply' THEN 'remote_apply' ELSE 'on' END, true)"
    };
}

// Below the macro, which they use.
mod connect;
mod leases;
mod pieces;

pub(crate) use connect::{options, secret};

/// The server, by purpose: commits do not wait behind questions, nor renewals behind commits.
#[derive(Clone, Debug)]
pub(crate) struct Database {
    questions: PgPool,
    commits: PgPool,
    tiles: PgPool,
    leases: PgPool,
    pub(crate) timeout: Duration,
    may_lose_commits: bool,
    oldest: Oldest,
}

/// Since when connections must have been made. One that was made before a fail-over of PostgreSQL may lead to the old primary, which may still answer.
#[derive(Clone, Debug)]
struct Oldest(Arc<RwLock<Instant>>);

impl Oldest {
    fn allows(&self, age: Duration) -> bool {
        let since = *self.0.read().unwrap_or_else(PoisonError::into_inner);
        age <= since.elapsed()
    }

    fn now(&self) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }
}

/// Who writes: a tree, and the turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Turn {
    pub(crate) tree: String,
    pub(crate) fence: i64,
}

impl Database {
    /// Connects, looks whether the server keeps what it commits, and makes the tables.
    pub(crate) async fn open(
        settings: &DatabaseSettings,
        lease: &LeaseSettings,
    ) -> Result<Self, ClusterError> {
        let options = options(settings, lease)?;
        let oldest = Oldest(Arc::new(RwLock::new(Instant::now())));
        let pool = |connections: u32| {
            let oldest = oldest.clone();
            PgPoolOptions::new()
                .min_connections(0)
                .max_connections(connections.max(1))
                .acquire_timeout(settings.timeout)
                .test_before_acquire(false)
                .before_acquire(move |connection, about| {
                    let young = oldest.allows(about.age);
                    Box::pin(async move {
                        Ok(young && (about.idle_for < RESTED || connection.ping().await.is_ok()))
                    })
                })
                .connect_lazy_with(options.clone())
        };
        let database = Self {
            questions: pool(settings.readers),
            commits: pool(WRITERS),
            tiles: pool(PUTTERS),
            leases: pool(LEASERS),
            timeout: settings.timeout,
            may_lose_commits: settings.may_lose_commits,
            oldest: oldest.clone(),
        };
        database.check_server().await?;
        database.make_tables().await?;
        Ok(database)
    }

    /// Has everything that is asked from now on asked on connections that are made from now on: all of them lead to the server that is behind the name now.
    pub(crate) fn connect_anew(&self) {
        self.oldest.now();
    }

    /// A server that answers before it has written, or that does not write at all, is no place for a log. Asked at each turn: a
    /// setting may have changed.
    pub(crate) async fn check_server(&self) -> Result<(), ClusterError> {
        let ask = sqlx::query_as(
            "SELECT current_setting('fsync'), current_setting('full_page_writes'), pg_is_in_recovery()",
        )
        .fetch_one(&self.questions)
        .boxed();
        let (fsync, pages, replica): (String, String, bool) =
            self.timed("tell its settings", ask).await?;
        if replica {
            let what =
                "the database server is a read-only replica; name the primary in the settings";
            return Err(ClusterError::Unfit(what.to_owned()));
        }
        if self.may_lose_commits || (fsync == "on" && pages == "on") {
            return Ok(());
        }
        Err(ClusterError::Unfit(format!(
            "the database server's fsync is {fsync} and its full_page_writes {pages}, so that a crash loses or damages what was committed; set both to on, or \
             allow it in the settings for a test"
        )))
    }

    async fn make_tables(&self) -> Result<(), ClusterError> {
        let make = async {
            let mut transaction = self.commits.begin().await?;
            sqlx::query("SELECT pg_advisory_xact_lock($1)")
                .bind(MAKING)
                .execute(&mut *transaction)
                .await?;
            let there: bool =
                sqlx::query_scalar("SELECT to_regclass('cluster_version') IS NOT NULL")
                    .fetch_one(&mut *transaction)
                    .await?;
            // Once they are there, an account that may not make tables is enough.
            if !there {
                for table in TABLES {
                    sqlx::query(table).execute(&mut *transaction).await?;
                }
            }
            let found: i32 = sqlx::query_scalar("SELECT version FROM cluster_version")
                .fetch_one(&mut *transaction)
                .await?;
            transaction.commit().await?;
            Ok(found)
        }
        .boxed();
        let found = self.timed("make its tables", make).await?;
        if found == VERSION {
            return Ok(());
        }
        Err(ClusterError::Version {
            found,
            known: VERSION,
        })
    }

    /// A question may be asked again when the connection broke; a restart of the server is over in a second or two.
    async fn asked<'q, T>(
        &self,
        action: &'static str,
        ask: impl Fn() -> BoxFuture<'q, Result<T, sqlx::Error>>,
    ) -> Result<T, ClusterError> {
        let mut pause = PAUSE;
        for _ in 1..QUESTIONS {
            match self.timed(action, ask()).await {
                Err(ClusterError::Database { source, .. }) if passes(&source) => {
                    tracing::debug!(action, error = %source, "asking the database again");
                    tokio::time::sleep(pause).await;
                    pause = pause.saturating_mul(2);
                }
                other => return other,
            }
        }
        self.timed(action, ask()).await
    }

    async fn timed<T>(
        &self,
        action: &'static str,
        work: BoxFuture<'_, Result<T, sqlx::Error>>,
    ) -> Result<T, ClusterError> {
        // The server's own limit comes first where the server is alive.
        let after = self.timeout.saturating_add(Duration::from_secs(1));
        match tokio::time::timeout(after, work).await {
            Ok(result) => result.map_err(|source| ClusterError::Database { action, source }),
            Err(_) => Err(ClusterError::Slow { action, after }),
        }
    }
}

/// A connection that is thrown away unless everything on it was answered: what was given up may still be under way there.
struct Borrowed {
    inner: PoolConnection<Postgres>,
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
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        if !self.healthy {
            self.inner.close_on_drop();
        }
    }
}

fn taken_over(turn: &Turn) -> ClusterError {
    ClusterError::TakenOver {
        tree: turn.tree.clone(),
        fence: turn.fence,
    }
}

/// A broken connection, or a server that is starting or stopping (class 57).
fn passes(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::Protocol(_) | sqlx::Error::PoolTimedOut => true,
        sqlx::Error::Database(error) => error
            .code()
            .is_some_and(|code| code.starts_with("57P") || code.starts_with("08")),
        _ => false,
    }
}

fn length(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// Half of the range is left for sums.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX).min(i64::MAX / 2)
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
