//! Whose turn it is.
//!
//! ```text
//! free --take: fence + 1--> held --renewed each second--> held --dropped: fence + 1--> free
//!                             |
//!                             +-- not renewed in time, or another fence in the row --> lost, for good
//! ```
//!
//! If the process crashes or is cut off while it holds a turn, the row stays until it expires; then anybody takes the next turn. If it
//! only was slow, and comes back, its fence is not the row's any more and nothing it does has an effect. Between expiry and the
//! next turn nobody leads.

use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use store::Lock;
use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};

use crate::database::{Database, Turn};
use crate::error::ClusterError;
use crate::settings::LeaseSettings;

/// Who leads a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leader {
    /// Where it is reached, as it says itself.
    pub address: String,
    /// Its name, for people.
    pub holder: String,
    /// The number of its turn. It only grows: of two answers the one with the higher number is the newer.
    pub fence: i64,
    /// When its lease ends unless it is renewed, by PostgreSQL's clock.
    pub expires_in: Duration,
}

/// What this process knows of its turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It has none.
    Reader,
    /// It leads.
    Leader(Turn),
    /// It led, and another may do so now.
    Lost(Turn),
}

/// The standing of one [`Tree`](crate::Tree), shared by all who ask.
#[derive(Debug)]
pub(crate) struct Post {
    standing: watch::Sender<Standing>,
    tree: String,
}

impl Post {
    pub(crate) fn new(tree: &str) -> Self {
        Self {
            standing: watch::Sender::new(Standing::Reader),
            tree: tree.to_owned(),
        }
    }

    /// The turn that a write belongs to.
    pub(crate) fn turn(&self) -> Result<Turn, ClusterError> {
        match &*self.standing.borrow() {
            Standing::Leader(turn) => Ok(turn.clone()),
            Standing::Reader => Err(ClusterError::NotLeader {
                tree: self.tree.clone(),
            }),
            Standing::Lost(turn) => Err(ClusterError::TakenOver {
                tree: turn.tree.clone(),
                fence: turn.fence,
            }),
        }
    }

    /// An error when this turn, of something that was opened in it, is over.
    pub(crate) fn still(&self, turn: &Turn) -> Result<(), ClusterError> {
        if self.turn().is_ok_and(|current| current == *turn) {
            return Ok(());
        }
        Err(ClusterError::TakenOver {
            tree: turn.tree.clone(),
            fence: turn.fence,
        })
    }

    pub(crate) fn standings(&self) -> watch::Receiver<Standing> {
        self.standing.subscribe()
    }

    fn take(&self, turn: Turn) {
        self.standing.send_replace(Standing::Leader(turn));
    }

    /// Ends a turn, unless it is not the current one.
    fn end(&self, turn: &Turn, standing: Standing) {
        self.standing.send_if_modified(|current| {
            let ours = *current == Standing::Leader(turn.clone());
            if ours {
                *current = standing;
            }
            ours
        });
    }
}

/// A turn, until dropped. Dropping it ends the turn in the database at once, and waits for that: not for longer than a statement may take.
pub(crate) struct Lease {
    stop: Option<oneshot::Sender<()>>,
    stopped: Mutex<mpsc::Receiver<()>>,
    longest: Duration,
}

impl Lease {
    /// Takes the turn if it is free. Must be called where blocking is allowed.
    pub(crate) fn take(
        database: &Database,
        post: &Arc<Post>,
        settings: LeaseSettings,
        (holder, address): (&str, &str),
        runtime: &Handle,
    ) -> Result<Option<(Self, Turn)>, ClusterError> {
        let asked = Instant::now();
        // PostgreSQL may have failed over since we last asked: what is read from now on must be what is written to.
        database.connect_anew();
        let taken = async {
            database.check_server().await?;
            let fence = database
                .take(&post.tree, holder, address, settings.lasts)
                .await?;
            let Some(fence) = fence else { return Ok(None) };
            let turn = Turn {
                tree: post.tree.clone(),
                fence,
            };
            if let Err(error) = database.confirm(&turn).await {
                // Should this not arrive, the lease expires.
                let _ = database.release(&turn).await;
                return Err(error);
            }
            Ok(Some(turn))
        };
        let Some(turn) = runtime.block_on(taken)? else {
            return Ok(None);
        };
        let fence = turn.fence;
        tracing::info!(tree = %turn.tree, fence, "this instance leads");
        post.take(turn.clone());
        let (stop, stopping) = oneshot::channel();
        let (ended, stopped) = mpsc::channel();
        let renewing = Renewing {
            database: database.clone(),
            post: post.clone(),
            turn: turn.clone(),
            settings,
        };
        runtime.spawn(async move {
            renewing.run(asked, stopping).await;
            // Whoever waited for it may have gone.
            let _ = ended.send(());
        });
        let longest = database.timeout.saturating_mul(2);
        let lease = Self {
            stop: Some(stop),
            stopped: Mutex::new(stopped),
            longest,
        };
        Ok(Some((lease, turn)))
    }
}

impl Lock for Lease {}

impl std::fmt::Debug for Lease {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Lease").finish_non_exhaustive()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            // It is gone when the runtime is; then the lease expires by itself.
            let _ = stop.send(());
            let stopped = self
                .stopped
                .get_mut()
                .unwrap_or_else(PoisonError::into_inner);
            let _ = stopped.recv_timeout(self.longest);
        }
    }
}

struct Renewing {
    database: Database,
    post: Arc<Post>,
    turn: Turn,
    settings: LeaseSettings,
}

impl Renewing {
    /// Renews until told to stop, or until the turn is lost. `asked`: before the database was asked for the lease, so that by our clock it
    /// ends no later than by the database's.
    async fn run(self, mut asked: Instant, mut stopping: oneshot::Receiver<()>) {
        loop {
            let expires = asked + self.settings.lasts;
            tokio::select! {
                _ = &mut stopping => break,
                () = tokio::time::sleep(self.settings.renewed) => {}
            }
            let asking = Instant::now();
            let left = expires.saturating_duration_since(asking);
            let renewed = tokio::select! {
                _ = &mut stopping => break,
                renewed = tokio::time::timeout(left, self.database.renew(&self.turn, self.settings.lasts)) => renewed,
            };
            match renewed {
                Ok(Ok(true)) => asked = asking,
                Ok(Ok(false)) => return self.lose("another instance has taken over"),
                Ok(Err(error)) => {
                    tracing::warn!(tree = %self.turn.tree, %error, cause = ?error, "the lease was not renewed");
                    if Instant::now() >= expires {
                        return self.lose("it could not be renewed in time");
                    }
                }
                Err(_) => return self.lose("the database did not answer in time"),
            }
        }
        // First nothing of ours may begin any more, then others may.
        self.post.end(&self.turn, Standing::Reader);
        match self.database.release(&self.turn).await {
            Ok(()) => tracing::info!(tree = %self.turn.tree, "gave the lease up"),
            Err(error) => {
                tracing::warn!(tree = %self.turn.tree, %error, "the lease could not be given up, it expires");
            }
        }
    }

    fn lose(&self, why: &str) {
        tracing::error!(tree = %self.turn.tree, fence = self.turn.fence, why, "the lease is lost");
        self.post.end(&self.turn, Standing::Lost(self.turn.clone()));
    }
}
