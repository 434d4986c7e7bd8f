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

use std::path::Path as FilePath;
use std::str::FromStr as _;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, StreamExt as _};
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgListener, PgPool, PgPoolOptions, PgSslMode};
use sqlx::{Connection as _, Postgres, Row as _, Transaction};
use url::{Host, Url};

use crate::error::ClusterError;
use crate::settings::{DatabaseSettings, LeaseSettings};

/// Of the tables below.
const VERSION: i32 = 1;
/// Two instances that start together make the tables one after the other. Any number that is ours.
const MAKING: i64 = 0x6b65_796c_6573_7301;
/// A piece is at most so long; far from the gigabyte that a value may have, and few rows for a long file.
pub(crate) const PIECE: usize = 1 << 20;
/// A connection that rested longer than this is tried before it is used: the server may have been restarted.
const RESTED: Duration = Duration::from_millis(500);
/// The sequencer, its writer, a tile that waits, the mover.
const WRITERS: u32 = 4;
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

/// One statement is one transaction and one round trip, so no process can be paused in the middle of it. When the row is locked by a
/// take-over, PostgreSQL waits for that and looks again, and does not find our fence.
const APPEND: &str = concat!(
    "WITH mine AS MATERIALIZED (
        SELECT ",
    durable!(),
    " FROM cluster_leases WHERE tree = $1 AND fence = $2 FOR UPDATE
    ), added AS (
        INSERT INTO cluster_pieces (tree, path, at, bytes)
        SELECT $1, $3, piece.at, piece.bytes FROM mine, unnest($4::bigint[], $5::bytea[]) AS piece (at, bytes)
        RETURNING 1
    )
    SELECT count(*) FROM added"
);

const FENCED: &str = concat!(
    "WITH mine AS MATERIALIZED (
        SELECT ",
    durable!(),
    " FROM cluster_leases WHERE tree = $1 AND fence = $2 FOR UPDATE
    )
    SELECT count(*) FROM mine"
);

/// What commits are announced on.
pub(crate) const CHANNEL: &str = "cluster_changed";

/// The server, by purpose: commits do not wait behind questions, nor renewals behind commits.
#[derive(Clone, Debug)]
pub(crate) struct Database {
    questions: PgPool,
    commits: PgPool,
    leases: PgPool,
    pub(crate) timeout: Duration,
    may_lose_commits: bool,
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
        let pool = |connections: u32| {
            PgPoolOptions::new()
                .min_connections(0)
                .max_connections(connections.max(1))
                .acquire_timeout(settings.timeout)
                .test_before_acquire(false)
                .before_acquire(|connection, about| {
                    Box::pin(async move {
                        Ok(about.idle_for < RESTED || connection.ping().await.is_ok())
                    })
                })
                .connect_lazy_with(options.clone())
        };
        let database = Self {
            questions: pool(settings.readers),
            commits: pool(WRITERS),
            leases: pool(LEASERS),
            timeout: settings.timeout,
            may_lose_commits: settings.may_lose_commits,
        };
        database.check_server().await?;
        database.make_tables().await?;
        Ok(database)
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

    /// Adds to the end of a file that has bytes.
    ///
    /// If we, the network or the server break off before the server has committed, nothing is there. After that, all of it is. Without an
    /// answer nobody knows which, and the caller must not try again.
    pub(crate) async fn append(
        &self,
        turn: &Turn,
        path: &str,
        at: u64,
        bytes: &[u8],
    ) -> Result<(), ClusterError> {
        let (places, pieces) = cut(at, bytes);
        let count = sqlx::query(APPEND)
            .bind(&turn.tree)
            .bind(turn.fence)
            .bind(path)
            .bind(&places)
            .bind(&pieces);
        let commit = async {
            let mut connection = Borrowed::from(&self.commits).await?;
            // All of the answer, and not the row alone: the row is made before the commit, and whether that went well comes after it.
            let rows = count.fetch_all(&mut *connection.inner).await?;
            connection.healthy = true;
            let row = rows.first().ok_or(sqlx::Error::RowNotFound)?;
            row.try_get::<i64, _>(0)
        }
        .boxed();
        let added = self.timed("commit", commit).await?;
        if usize::try_from(added) == Ok(places.len()) {
            return Ok(());
        }
        Err(taken_over(turn))
    }

    /// Puts pieces in place of everything in a file from `at` on, where a piece begins.
    ///
    /// One transaction: a crash at any point leaves all the old pieces or all the new ones.
    pub(crate) async fn splice(
        &self,
        turn: &Turn,
        path: &str,
        at: u64,
        bytes: &[u8],
    ) -> Result<(), ClusterError> {
        let (mut places, mut pieces) = cut(at, bytes);
        // An empty file is one that is there.
        if places.is_empty() && at == 0 {
            places.push(0);
            pieces.push(&[]);
        }
        let work = async {
            let mut connection = Borrowed::from(&self.commits).await?;
            let Some(mut transaction) = begin(&mut connection, turn).await? else {
                return Ok(false);
            };
            sqlx::query("DELETE FROM cluster_pieces WHERE tree = $1 AND path = $2 AND at >= $3")
                .bind(&turn.tree)
                .bind(path)
                .bind(signed(at))
                .execute(&mut *transaction)
                .await?;
            sqlx::query(
                "INSERT INTO cluster_pieces (tree, path, at, bytes)
                 SELECT $1, $2, piece.at, piece.bytes FROM unnest($3::bigint[], $4::bytea[]) AS piece (at, bytes)",
            )
            .bind(&turn.tree)
            .bind(path)
            .bind(&places)
            .bind(&pieces)
            .execute(&mut *transaction)
            .await?;
            transaction.commit().await?;
            connection.healthy = true;
            Ok(true)
        }
.boxed();
        self.fenced(turn, "write a file", work).await
    }

    /// Makes an empty file unless there is one.
    pub(crate) async fn touch(&self, turn: &Turn, path: &str) -> Result<(), ClusterError> {
        let work = async {
            let mut connection = Borrowed::from(&self.commits).await?;
            let Some(mut transaction) = begin(&mut connection, turn).await? else {
                return Ok(false);
            };
            sqlx::query(
                "INSERT INTO cluster_pieces (tree, path, at, bytes) VALUES ($1, $2, 0, '') ON CONFLICT DO NOTHING",
            )
            .bind(&turn.tree)
            .bind(path)
            .execute(&mut *transaction)
            .await?;
            transaction.commit().await?;
            connection.healthy = true;
            Ok(true)
        }
.boxed();
        self.fenced(turn, "make a file", work).await
    }

    /// Removes a file, if there is one.
    pub(crate) async fn remove(&self, turn: &Turn, path: &str) -> Result<(), ClusterError> {
        let work = async {
            let mut connection = Borrowed::from(&self.commits).await?;
            let Some(mut transaction) = begin(&mut connection, turn).await? else {
                return Ok(false);
            };
            sqlx::query("DELETE FROM cluster_pieces WHERE tree = $1 AND path = $2")
                .bind(&turn.tree)
                .bind(path)
                .execute(&mut *transaction)
                .await?;
            transaction.commit().await?;
            connection.healthy = true;
            Ok(true)
        }
        .boxed();
        self.fenced(turn, "remove a file", work).await
    }

    /// Waits for a [transaction of ours](begin) and says whether it was.
    async fn fenced(
        &self,
        turn: &Turn,
        action: &'static str,
        work: BoxFuture<'_, Result<bool, sqlx::Error>>,
    ) -> Result<(), ClusterError> {
        if self.timed(action, work).await? {
            return Ok(());
        }
        Err(taken_over(turn))
    }

    /// The bytes of a file; `None` when there is no such file.
    pub(crate) async fn read(
        &self,
        tree: &str,
        path: &str,
        max: u64,
    ) -> Result<Option<Vec<u8>>, ClusterError> {
        let ask = || {
            async {
                let mut rows = sqlx::query_as::<_, (i64, Vec<u8>)>(
                "SELECT at, bytes FROM cluster_pieces WHERE tree = $1 AND path = $2 ORDER BY at",
            )
            .bind(tree)
            .bind(path)
            .fetch(&self.questions);
                let mut file: Option<Vec<u8>> = None;
                while let Some(row) = rows.next().await {
                    let (at, piece) = row?;
                    let file = file.get_or_insert_default();
                    if usize::try_from(at) != Ok(file.len()) {
                        return Ok(Err("a piece is missing"));
                    }
                    file.extend(piece);
                    if length(file.len()) > max {
                        break;
                    }
                }
                Ok(Ok(file))
            }
            .boxed()
        };
        let file = self.asked("read a file", ask).await?;
        let file = file.map_err(|what| ClusterError::Damaged {
            tree: tree.to_owned(),
            path: path.to_owned(),
            what,
        })?;
        match file {
            Some(file) if length(file.len()) > max => Err(ClusterError::TooLarge {
                key: path.to_owned(),
                max,
            }),
            file => Ok(file),
        }
    }

    /// At most `len` bytes of a file from `at` on; `None` when there is no such file.
    pub(crate) async fn read_range(
        &self,
        tree: &str,
        path: &str,
        at: u64,
        len: usize,
    ) -> Result<Option<Vec<u8>>, ClusterError> {
        // The last piece that begins at or before `at`, and those behind it that begin before the end: two steps in the primary key.
        let ask = || {
            async {
                let pieces: Vec<Vec<u8>> = sqlx::query_scalar(
                "SELECT substring(bytes FROM least(greatest($3 - at, 0), 2000000000)::integer + 1
                        FOR least(greatest($3 + $4 - greatest(at, $3), 0), 2000000000)::integer)
                 FROM cluster_pieces
                 WHERE tree = $1 AND path = $2 AND at < $3 + greatest($4, 1) AND at >= (
                    SELECT max(at) FROM cluster_pieces WHERE tree = $1 AND path = $2 AND at <= $3)
                 ORDER BY at",
            )
            .bind(tree)
            .bind(path)
            .bind(signed(at))
            .bind(i64::try_from(len).unwrap_or(i64::MAX).min(1 << 40))
            .fetch_all(&self.questions)
            .await?;
                Ok(pieces)
            }
            .boxed()
        };
        let pieces = self.asked("read a part of a file", ask).await?;
        Ok((!pieces.is_empty()).then(|| pieces.concat()))
    }

    /// Where the last piece of a file begins, and where the file ends; `None` when there is no such file.
    pub(crate) async fn last_piece(
        &self,
        tree: &str,
        path: &str,
    ) -> Result<Option<(u64, u64)>, ClusterError> {
        self.piece_at(tree, path, u64::MAX).await
    }

    /// Where the piece that has this byte begins and ends.
    pub(crate) async fn piece_at(
        &self,
        tree: &str,
        path: &str,
        at: u64,
    ) -> Result<Option<(u64, u64)>, ClusterError> {
        let ask = || {
            async {
            sqlx::query_as::<_, (i64, i64)>(
                "SELECT at, at + octet_length(bytes) FROM cluster_pieces WHERE tree = $1 AND path = $2 AND at <= $3
                 ORDER BY at DESC LIMIT 1",
            )
            .bind(tree)
            .bind(path)
            .bind(signed(at))
            .fetch_optional(&self.questions)
            .await
        }
.boxed()
        };
        let found = self.asked("measure a file", ask).await?;
        Ok(found.map(|(from, to)| (unsigned(from), unsigned(to))))
    }

    /// Paths of the files whose path begins so, in order, at most `limit`.
    pub(crate) async fn paths(
        &self,
        tree: &str,
        beginning: &str,
        limit: i64,
    ) -> Result<Vec<String>, ClusterError> {
        let ask = || {
            async {
            sqlx::query_scalar(
                "SELECT path FROM cluster_pieces WHERE tree = $1 AND at = 0 AND path >= $2 AND starts_with(path, $2)
                 ORDER BY path LIMIT $3",
            )
            .bind(tree)
            .bind(beginning)
            .bind(limit)
            .fetch_all(&self.questions)
            .await
        }
.boxed()
        };
        self.asked("list files", ask).await
    }

    /// How many files there are whose path begins so.
    pub(crate) async fn count(&self, tree: &str, beginning: &str) -> Result<u64, ClusterError> {
        let ask = || {
            async {
            sqlx::query_scalar::<_, i64>(
                "SELECT count(*) FROM cluster_pieces WHERE tree = $1 AND at = 0 AND path >= $2 AND starts_with(path, $2)",
            )
            .bind(tree)
            .bind(beginning)
            .fetch_one(&self.questions)
            .await
        }
.boxed()
        };
        self.asked("count files", ask).await.map(unsigned)
    }

    /// The newest segment of the write-ahead log and its end: another value after each commit.
    pub(crate) async fn mark(&self, tree: &str) -> Result<Option<(String, i64)>, ClusterError> {
        let ask = || {
            async {
            sqlx::query_as(
                "SELECT path, at + octet_length(bytes) FROM cluster_pieces WHERE tree = $1 AND path >= 'wal/' AND path < 'wal0'
                 ORDER BY tree DESC, path DESC, at DESC LIMIT 1",
            )
            .bind(tree)
            .fetch_optional(&self.questions)
            .await
        }
.boxed()
        };
        self.asked("tell how far the log is", ask).await
    }

    /// Takes the lease when it is free, and says which turn that is.
    ///
    /// If we crash here, nobody may have it until it expires. If the answer is lost, the same.
    pub(crate) async fn take(
        &self,
        tree: &str,
        holder: &str,
        address: &str,
        lasts: Duration,
    ) -> Result<Option<i64>, ClusterError> {
        // `clock_timestamp` and not `now`, which is when the statement began: it may have waited for a commit of the one before.
        let take = async {
            let mut connection = Borrowed::from(&self.leases).await?;
            let mut transaction = connection.inner.begin().await?;
            sqlx::query(concat!("SELECT ", durable!()))
                .execute(&mut *transaction)
                .await?;
            let fence = sqlx::query_scalar(
                "INSERT INTO cluster_leases AS held (tree, fence, holder, address, expires)
                 VALUES ($1, 1, $2, $3, clock_timestamp() + $4 * interval '1 millisecond')
                 ON CONFLICT (tree) DO UPDATE SET fence = held.fence + 1, holder = excluded.holder, address = excluded.address,
                    expires = clock_timestamp() + $4 * interval '1 millisecond'
                 WHERE held.expires <= clock_timestamp()
                 RETURNING fence",
            )
            .bind(tree)
            .bind(holder)
            .bind(address)
            .bind(milliseconds(lasts))
            .fetch_optional(&mut *transaction)
            .await?;
            transaction.commit().await?;
            connection.healthy = true;
            Ok(fence)
        }
.boxed();
        self.timed("give the lease", take).await
    }

    /// Makes the lease last longer; false when the turn is over. A renewal that a crash of the server takes back only ends the turn
    /// earlier, so nobody waits for its disk.
    pub(crate) async fn renew(&self, turn: &Turn, lasts: Duration) -> Result<bool, ClusterError> {
        let renew = async {
            let mut connection = Borrowed::from(&self.leases).await?;
            let done = sqlx::query(
                "UPDATE cluster_leases SET expires = clock_timestamp() + $3 * interval '1 millisecond'
                 WHERE tree = $1 AND fence = $2",
            )
            .bind(&turn.tree)
            .bind(turn.fence)
            .bind(milliseconds(lasts))
            .execute(&mut *connection.inner)
            .await?;
            connection.healthy = true;
            Ok(done.rows_affected() == 1)
        }
.boxed();
        self.timed("renew the lease", renew).await
    }

    /// Ends the turn now. The fence moves on, so that nothing which is still under way can land afterwards.
    pub(crate) async fn release(&self, turn: &Turn) -> Result<(), ClusterError> {
        let release = async {
            let mut connection = Borrowed::from(&self.leases).await?;
            sqlx::query(
                "WITH ended AS (
                    UPDATE cluster_leases SET fence = fence + 1, holder = '', address = '', expires = clock_timestamp()
                    WHERE tree = $1 AND fence = $2
                 )
                 SELECT pg_notify($3, $1)",
            )
            .bind(&turn.tree)
            .bind(turn.fence)
            .bind(CHANNEL)
            .execute(&mut *connection.inner)
            .await?;
            connection.healthy = true;
            Ok(())
        }
.boxed();
        self.timed("end the lease", release).await
    }

    /// Holder, address, fence and milliseconds that are left.
    pub(crate) async fn leader(
        &self,
        tree: &str,
    ) -> Result<Option<(String, String, i64, i64)>, ClusterError> {
        let ask = || {
            async {
            sqlx::query_as(
                "SELECT holder, address, fence, ceil(extract(epoch FROM expires - clock_timestamp()) * 1000)::bigint
                 FROM cluster_leases WHERE tree = $1 AND expires > clock_timestamp()",
            )
            .bind(tree)
            .fetch_optional(&self.questions)
            .await
        }
.boxed()
        };
        self.asked("tell who leads", ask).await
    }

    /// Tells whoever listens that a tree has grown. Not a part of the commit: an announcement locks out all others in the database until its
    /// transaction ends, and several trees would wait for one another's disk. So it comes right after, and waits for no disk; when it
    /// is lost, readers look for themselves.
    pub(crate) async fn announce(&self, tree: &str) -> Result<(), ClusterError> {
        let announce = async {
            let mut connection = Borrowed::from(&self.leases).await?;
            sqlx::query("SELECT set_config('synchronous_commit', 'off', true), pg_notify($1, $2)")
                .bind(CHANNEL)
                .bind(tree)
                .execute(&mut *connection.inner)
                .await?;
            connection.healthy = true;
            Ok(())
        }
        .boxed();
        self.timed("announce a commit", announce).await
    }

    /// A connection of its own that hears of commits.
    pub(crate) async fn listen(&self) -> Result<PgListener, ClusterError> {
        let listen = async {
            let mut listener = PgListener::connect_with(&self.questions).await?;
            listener.listen(CHANNEL).await?;
            Ok(listener)
        }
        .boxed();
        self.timed("announce commits", listen).await
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

/// Begins a transaction that is ours only, or none: it holds the lease's row, with our fence in it, from the beginning to the commit. Should
/// this process be paused in the middle, then the server ends the transaction (`idle_in_transaction_session_timeout`), and a
/// take-over waits no longer than that.
async fn begin<'c>(
    connection: &'c mut Borrowed,
    turn: &Turn,
) -> Result<Option<Transaction<'c, Postgres>>, sqlx::Error> {
    let mut transaction = connection.inner.begin().await?;
    let mine: i64 = sqlx::query_scalar(FENCED)
        .bind(&turn.tree)
        .bind(turn.fence)
        .fetch_one(&mut *transaction)
        .await?;
    Ok((mine == 1).then_some(transaction))
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

/// Pieces of bytes that begin at `at`, and where each begins.
fn cut(at: u64, bytes: &[u8]) -> (Vec<i64>, Vec<&[u8]>) {
    let pieces: Vec<&[u8]> = bytes.chunks(PIECE).collect();
    let places = (0..length(pieces.len()))
        .map(|number| signed(at.saturating_add(number.saturating_mul(length(PIECE)))))
        .collect();
    (places, pieces)
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

fn milliseconds(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

/// What every connection is opened with.
fn options(
    settings: &DatabaseSettings,
    lease: &LeaseSettings,
) -> Result<PgConnectOptions, ClusterError> {
    let wrong = |what: String| ClusterError::Settings(what);
    // The text of a parser's error might repeat the address, and a password in it.
    let url = Url::parse(&settings.url)
        .ok()
        .filter(|url| matches!(url.scheme(), "postgres" | "postgresql"))
        .ok_or_else(|| {
            wrong("the database's URL is not of the form postgres://user@host/database".to_owned())
        })?;
    if url.password().is_some() || url.query_pairs().any(|(key, _)| key == "password") {
        return Err(wrong(
            "the database's URL has a password in it: put it into a file and name that (password_file)".to_owned(),
        ));
    }
    let mut options = PgConnectOptions::from_str(&settings.url)
        .map_err(|_| wrong("the database's URL has an option that is not known".to_owned()))?;
    let chosen = url
        .query_pairs()
        .any(|(key, _)| matches!(&*key, "sslmode" | "ssl-mode"));
    if !chosen && !is_local(&options) && !settings.plain {
        options = options.ssl_mode(PgSslMode::VerifyFull);
    }
    let verified = matches!(
        options.get_ssl_mode(),
        PgSslMode::VerifyFull | PgSslMode::VerifyCa
    );
    if !verified && !is_local(&options) && !settings.plain {
        return Err(wrong(format!(
            "the database on {} would be spoken to without verified TLS: use sslmode=verify-full (and sslrootcert for an authority of your              own) in its URL",
            options.get_host()
        )));
    }
    if let Some(path) = &settings.password_file {
        let password = secret(path)?;
        options = options.password(password.trim_end_matches(['\r', '\n']));
    }
    let limit = |time: Duration| time.as_millis().max(1).to_string();
    Ok(options.application_name("sigstore log").options([
        ("statement_timeout", limit(settings.timeout)),
        ("lock_timeout", limit(settings.timeout)),
        // A leader that is paused within a transaction holds the lease's row; not longer than its lease would last.
        (
            "idle_in_transaction_session_timeout",
            limit(lease.lasts.max(Duration::from_secs(1))),
        ),
    ]))
}

fn is_local(options: &PgConnectOptions) -> bool {
    let host = options.get_host();
    options.get_socket().is_some()
        || host.starts_with('/')
        || match Host::parse(host) {
            Ok(Host::Domain(name)) => name == "localhost",
            Ok(Host::Ipv4(address)) => address.is_loopback(),
            Ok(Host::Ipv6(address)) => address.is_loopback(),
            Err(_) => host
                .parse::<std::net::Ipv6Addr>()
                .is_ok_and(|address| address.is_loopback()),
        }
}

/// A file of this user alone: a secret that others can read is none.
pub(crate) fn secret(path: &FilePath) -> Result<String, ClusterError> {
    use std::io::Read as _;
    use std::os::unix::fs::PermissionsExt as _;
    const LONGEST: u64 = 64 << 10;
    let failed = |source| ClusterError::File {
        path: path.display().to_string(),
        source,
    };
    let file = std::fs::File::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(ClusterError::Settings(format!(
            "{} has mode {:04o}: others may read it; run chmod 600 on it",
            path.display(),
            mode & 0o7777
        )));
    }
    let mut text = String::new();
    file.take(LONGEST)
        .read_to_string(&mut text)
        .map_err(failed)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::settings::Settings;

    fn opened(url: &str, plain: bool) -> Result<PgConnectOptions, ClusterError> {
        let settings = DatabaseSettings {
            plain,
            ..Settings::new(url, "b", "r").database
        };
        options(&settings, &LeaseSettings::default())
    }

    #[test]
    fn another_machine_is_verified() {
        let mode = |url| opened(url, false).map(|options| options.get_ssl_mode());
        assert!(matches!(
            mode("postgres://u@db.example/l"),
            Ok(PgSslMode::VerifyFull)
        ));
        assert!(matches!(
            mode("postgres://u@db.example/l?sslmode=verify-ca"),
            Ok(PgSslMode::VerifyCa)
        ));
        for weak in ["disable", "allow", "prefer", "require"] {
            let url = format!("postgres://u@db.example/l?sslmode={weak}");
            assert!(opened(&url, false).is_err(), "{weak}");
            assert!(opened(&url, true).is_ok(), "{weak}");
        }
        for local in ["localhost", "127.0.0.1", "[::1]"] {
            assert!(
                opened(&format!("postgres://u@{local}/l"), false).is_ok(),
                "{local}"
            );
        }
    }

    #[test]
    fn a_password_has_no_place_in_the_settings() {
        for url in [
            "postgres://u:hunter2@localhost/l",
            "postgres://u@localhost/l?password=hunter2",
        ] {
            let told = opened(url, false).unwrap_err().to_string();
            assert!(
                told.contains("password_file") && !told.contains("hunter2"),
                "{told}"
            );
        }
        assert!(opened("mysql://localhost/l", false).is_err());
    }

    #[test]
    fn a_secret_that_others_can_read_is_refused() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path: PathBuf = folder.path().join("password");
        std::fs::write(&path, "hunter2\n").unwrap();
        let mode =
            |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        mode(0o644);
        assert!(secret(&path).unwrap_err().to_string().contains("chmod 600"));
        mode(0o600);
        assert_eq!(secret(&path).unwrap(), "hunter2\n");
    }

    #[test]
    fn pieces_follow_one_another() {
        let bytes = vec![7; PIECE * 2 + 5];
        let (places, pieces) = cut(40, &bytes);
        let piece = i64::try_from(PIECE).unwrap();
        assert_eq!(places, [40, 40 + piece, 40 + 2 * piece]);
        assert_eq!(pieces.concat(), bytes);
        assert_eq!(cut(3, &[]).0, Vec::<i64>::new());
    }
}
