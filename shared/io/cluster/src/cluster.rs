//! A database and a bucket, open.

use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use store::Path;
use tokio::runtime::{Builder, Handle, Runtime};

use crate::bucket::Bucket;
use crate::database::{Database, options};
use crate::error::ClusterError;
use crate::settings::Settings;
use crate::tiles::PATIENCE;
use crate::tree::Tree;

/// Threads for questions and answers; what takes long is on the servers.
const THREADS: usize = 2;

/// An open database and an open bucket, for any number of trees. Clones are the same.
#[derive(Clone, Debug)]
pub struct Cluster {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) settings: Settings,
    pub(crate) database: Database,
    pub(crate) bucket: Bucket,
    pub(crate) runtime: Handle,
    _own: Own,
}

/// The runtime on which everything here runs: the engine's threads wait for it, also while the program's own runtime is coming to its end and
/// waits for them.
#[derive(Debug)]
struct Own(Option<Runtime>);

impl Drop for Own {
    fn drop(&mut self) {
        // Waiting for it is not allowed on a thread of a runtime, and there is nothing to wait for: whoever uses it keeps it.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl Cluster {
    /// Connects to the database, looks whether it is fit for a log, and makes the tables when there are none; and looks whether the bucket lets us in, if it
    /// answers. Must be called within a tokio
    /// runtime; what is opened runs on one of its own.
    pub async fn open(settings: Settings) -> Result<Self, ClusterError> {
        let lease = settings.lease;
        if lease.renewed.is_zero() || lease.lasts < lease.renewed.saturating_mul(2) {
            return Err(ClusterError::Settings(
                "a lease must last at least twice as long as the time between renewals, else one that is late ends the turn".to_owned(),
            ));
        }
        let runtime = Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("cluster")
            .enable_all()
            .build();
        let own = runtime.map_err(|error| {
            ClusterError::Settings(format!("cannot start the threads of the cluster: {error}"))
        })?;
        let runtime = own.handle().clone();
        let own = Own(Some(own));
        let places = settings.clone();
        let opened = runtime.spawn(async move {
            let bucket = Bucket::new(&places.bucket)?;
            let database = Database::open(&places.database, &lease).await?;
            match tokio::time::timeout(PATIENCE, bucket.check()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) if !error.passes() => return Err(error),
                // Which is no reason not to read, or not to lead: see `tiles`.
                Ok(Err(error)) => {
                    tracing::warn!(%error, cause = ?error, "the bucket is away");
                }
                Err(_) => tracing::warn!(
                    "the bucket is away: no answer within {} s",
                    PATIENCE.as_secs()
                ),
            }
            Ok::<_, ClusterError>((bucket, database))
        });
        let (bucket, database) = opened
            .await
            .map_err(|error| ClusterError::Settings(format!("opening ended early: {error}")))??;
        let inner = Inner {
            settings,
            database,
            bucket,
            runtime,
            _own: own,
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// How others connect to the same database, by the same rules, and the longest statement there: for what is derived from the logs and kept beside
    /// them. Reads the password's file.
    pub fn connection(&self) -> Result<(PgConnectOptions, Duration), ClusterError> {
        let settings = &self.inner.settings;
        let options = options(&settings.database, &settings.lease)?;
        Ok((options, settings.database.timeout))
    }

    /// One tree, to read, and to write once its [lease](store::Disk::lock) is taken. The name is one of letters, digits, `.`, `-` and `_`, and for ever: it
    /// is in every key. Each call makes another handle with a lease of its own.
    pub fn tree(&self, name: &str) -> Result<Tree, ClusterError> {
        let plain = Path::new(name).filter(|path| path.parent().is_none());
        if plain.is_none() || name.len() > 200 {
            return Err(ClusterError::Settings(format!(
                "{name:?} cannot name a tree: use letters, digits, '.', '-' and '_', at most 200"
            )));
        }
        Ok(Tree::new(self.inner.clone(), name))
    }
}
