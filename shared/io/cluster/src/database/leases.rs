//! The row that says whose turn it is.

use std::time::Duration;

use futures_util::FutureExt as _;
use sqlx::Connection as _;
use sqlx::postgres::PgListener;

use super::{Borrowed, Database, Turn};
use crate::error::ClusterError;

/// What the ends of leases are announced on.
pub(crate) const CHANNEL: &str = "cluster_changed";

impl Database {
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

    /// Whether those who read and those who commit are on the server that gave this turn: its fence is in the row that each of them sees.
    pub(crate) async fn confirm(&self, turn: &Turn) -> Result<(), ClusterError> {
        for pool in [&self.questions, &self.commits] {
            let ask = sqlx::query_scalar("SELECT fence FROM cluster_leases WHERE tree = $1")
                .bind(&turn.tree)
                .fetch_optional(pool)
                .boxed();
            let seen: Option<i64> = self.timed("confirm the lease", ask).await?;
            if seen != Some(turn.fence) {
                return Err(ClusterError::Unfit(format!(
                    "the lease of {} is turn {}, and another connection sees {seen:?}: there are two database servers under one name, as                      while one takes over from the other",
                    turn.tree, turn.fence
                )));
            }
        }
        Ok(())
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

    /// A connection of its own that hears of leases that are given up.
    pub(crate) async fn listen(&self) -> Result<PgListener, ClusterError> {
        let listen = async {
            let mut listener = PgListener::connect_with(&self.questions).await?;
            listener.listen(CHANNEL).await?;
            Ok(listener)
        }
        .boxed();
        self.timed("announce the ends of leases", listen).await
    }
}

fn milliseconds(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}
