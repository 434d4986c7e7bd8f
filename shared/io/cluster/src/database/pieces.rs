//! Files, as pieces: each write is one transaction that finds its own fence, or writes nothing.

use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, StreamExt as _};
use sqlx::{Connection as _, Postgres, Row as _, Transaction};

use super::{Borrowed, Database, Turn, length, signed, taken_over, unsigned};
use crate::error::ClusterError;

/// A piece is at most so long; far from the gigabyte that a value may have, and few rows for a long file.
pub(crate) const PIECE: usize = 1 << 20;

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

/// Pieces of a tile that is kept already are those of the same tile.
const PUT_ASIDE: &str = concat!(
    "WITH mine AS MATERIALIZED (
        SELECT ",
    durable!(),
    " FROM cluster_leases WHERE tree = $1 AND fence = $2 FOR UPDATE
    ), cleared AS (
        DELETE FROM cluster_pieces USING mine WHERE tree = $1 AND path = $3 AND at <> ALL ($4::bigint[])
    ), added AS (
        INSERT INTO cluster_pieces (tree, path, at, bytes)
        SELECT $1, $3, piece.at, piece.bytes FROM mine, unnest($4::bigint[], $5::bytea[]) AS piece (at, bytes)
        ON CONFLICT (tree, path, at) DO UPDATE SET bytes = excluded.bytes
        RETURNING 1
    )
    SELECT count(*) FROM added"
);

const TAKE_BACK: &str = concat!(
    "WITH mine AS MATERIALIZED (
        SELECT ",
    durable!(),
    " FROM cluster_leases WHERE tree = $1 AND fence = $2 FOR UPDATE
    ), gone AS (
        DELETE FROM cluster_pieces USING mine WHERE tree = $1 AND path = $3
    )
    SELECT count(*) FROM mine"
);

const FENCED: &str = concat!(
    "WITH mine AS MATERIALIZED (
        SELECT ",
    durable!(),
    " FROM cluster_leases WHERE tree = $1 AND fence = $2 FOR UPDATE
    )
    SELECT count(*) FROM mine"
);

/// What became of a splice.
enum Spliced {
    Done,
    TakenOver,
    EndsElsewhere,
}

impl Database {
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

    /// Puts pieces in place of everything in a file from `at` on, where a piece begins. With `end`, only of a file that ends there: what is removed is
    /// what the caller has seen, and not what another server has and did not show.
    ///
    /// One transaction: a crash at any point leaves all the old pieces or all the new ones.
    pub(crate) async fn splice(
        &self,
        turn: &Turn,
        path: &str,
        (at, end): (u64, Option<u64>),
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
                return Ok(Spliced::TakenOver);
            };
            if let Some(end) = end {
                let there: Option<i64> = sqlx::query_scalar(
                    "SELECT at + octet_length(bytes) FROM cluster_pieces WHERE tree = $1 AND path = $2
                     ORDER BY at DESC LIMIT 1",
                )
                .bind(&turn.tree)
                .bind(path)
                .fetch_optional(&mut *transaction)
                .await?;
                if there.unwrap_or(0) != signed(end) {
                    return Ok(Spliced::EndsElsewhere);
                }
            }
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
            Ok(Spliced::Done)
        }
.boxed();
        match self.timed("write a file", work).await? {
            Spliced::Done => Ok(()),
            Spliced::TakenOver => Err(taken_over(turn)),
            Spliced::EndsElsewhere => Err(ClusterError::Damaged {
                tree: turn.tree.clone(),
                path: path.to_owned(),
                what: "it does not end where it was read to end, so nothing of it was replaced; is there another server under the database's name?",
            }),
        }
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

    /// Keeps a tile in place of the bucket, in one statement.
    ///
    /// Before the commit nothing is there, after it the tile; without an answer it may be either, and is put once more.
    pub(crate) async fn put_aside(
        &self,
        turn: &Turn,
        path: &str,
        bytes: &[u8],
    ) -> Result<(), ClusterError> {
        let (places, pieces) = cut(0, bytes);
        let put = sqlx::query(PUT_ASIDE)
            .bind(&turn.tree)
            .bind(turn.fence)
            .bind(path)
            .bind(&places)
            .bind(&pieces);
        let put = self.counted(put).boxed();
        let added = self.timed("keep a tile", put).await?;
        if usize::try_from(added) == Ok(places.len()) {
            return Ok(());
        }
        Err(taken_over(turn))
    }

    /// Removes a tile that the bucket has by now, in one statement.
    pub(crate) async fn take_back(&self, turn: &Turn, path: &str) -> Result<(), ClusterError> {
        let take = sqlx::query(TAKE_BACK)
            .bind(&turn.tree)
            .bind(turn.fence)
            .bind(path);
        let take = self.counted(take).boxed();
        if self.timed("remove a tile", take).await? == 1 {
            return Ok(());
        }
        Err(taken_over(turn))
    }

    /// The number that a statement about a tile answers with.
    async fn counted(
        &self,
        query: sqlx::query::Query<'_, Postgres, sqlx::postgres::PgArguments>,
    ) -> Result<i64, sqlx::Error> {
        let mut connection = Borrowed::from(&self.tiles).await?;
        // All of the answer: whether the commit went well comes after the row.
        let rows = query.fetch_all(&mut *connection.inner).await?;
        connection.healthy = true;
        rows.first().ok_or(sqlx::Error::RowNotFound)?.try_get(0)
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

/// Pieces of bytes that begin at `at`, and where each begins.
fn cut(at: u64, bytes: &[u8]) -> (Vec<i64>, Vec<&[u8]>) {
    let pieces: Vec<&[u8]> = bytes.chunks(PIECE).collect();
    let places = (0..length(pieces.len()))
        .map(|number| signed(at.saturating_add(number.saturating_mul(length(PIECE)))))
        .collect();
    (places, pieces)
}

#[cfg(test)]
mod tests {
    use super::*;

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
