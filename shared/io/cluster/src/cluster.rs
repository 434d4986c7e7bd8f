//! A database and a bucket, open.

use std::sync::Arc;

use store::Path;
use tokio::runtime::Handle;

use crate::bucket::Bucket;
use crate::database::Database;
use crate::error::ClusterError;
use crate::settings::Settings;
use crate::tree::Tree;

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
}

impl Cluster {
    /// Connects to both, looks whether they are fit for a log, and makes the tables when there are none. Must be called within a tokio
    /// runtime of several threads, which has to live as long as the cluster.
    pub async fn open(settings: Settings) -> Result<Self, ClusterError> {
        let lease = settings.lease;
        if lease.renewed.is_zero() || lease.lasts < lease.renewed.saturating_mul(2) {
            return Err(ClusterError::Settings(
                "a lease must last at least twice as long as the time between renewals, else one that is late ends the turn".to_owned(),
            ));
        }
        let bucket = Bucket::new(&settings.bucket)?;
        let database = Database::open(&settings.database, &lease).await?;
        bucket.check().await?;
        let inner = Inner {
            settings,
            database,
            bucket,
            runtime: Handle::current(),
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
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
