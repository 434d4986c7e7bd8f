//! Waking up when a tree has grown.

use std::time::Duration;

use sqlx::postgres::PgListener;

use crate::database::Database;
use crate::error::ClusterError;

/// How long a reader goes on without having heard anything before it looks for itself: an announcement can be lost with its connection,
/// and some poolers let none through.
const LOOK: Duration = Duration::from_secs(1);

/// Commits of one tree, as seen by one reader.
#[derive(Debug)]
pub struct Changes {
    database: Database,
    tree: String,
    listener: Option<PgListener>,
    seen: Option<(String, i64)>,
}

impl Changes {
    pub(crate) async fn new(database: Database, tree: String) -> Result<Self, ClusterError> {
        let listener = match database.listen().await {
            Ok(listener) => Some(listener),
            Err(error) => {
                tracing::warn!(%tree, %error, "commits are not announced here, looking every second");
                None
            }
        };
        let seen = database.mark(&tree).await?;
        Ok(Self {
            database,
            tree,
            listener,
            seen,
        })
    }

    /// Waits until something was committed after this was made or last returned. Several commits may be one change.
    pub async fn changed(&mut self) -> Result<(), ClusterError> {
        loop {
            let mark = self.database.mark(&self.tree).await?;
            if mark != self.seen {
                self.seen = mark;
                return Ok(());
            }
            // Whatever ends the wait, the database is looked at.
            let _ = tokio::time::timeout(LOOK, self.announced()).await;
        }
    }

    async fn announced(&mut self) {
        let Some(listener) = &mut self.listener else {
            return std::future::pending().await;
        };
        loop {
            match listener.recv().await {
                Ok(announcement) if announcement.payload() == self.tree => return,
                Ok(_) => {}
                // It connects again by itself; until then there is the clock.
                Err(error) => {
                    tracing::debug!(%error, "the connection that hears of commits broke");
                    tokio::time::sleep(LOOK).await;
                }
            }
        }
    }
}
