//! Where the logs are kept: each in a folder of this machine, or all of them in PostgreSQL and an S3 bucket for several machines.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};

use anyhow::Context as _;
use cluster::{Cluster, Credentials, Settings, Tree};
use note::VerifierKey;
use sequencer::{CheckpointSigner, Clock, Config, Leaf, Log, OpenError};
use serde::Deserialize;
use serve::{SettingsError, settings};
use store::Disk;
use store::fs::Folder;

/// The `[cluster]` table, as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawCluster {
    database: String,
    database_password_file: Option<PathBuf>,
    plain_database: Option<bool>,
    bucket: String,
    region: String,
    prefix: Option<String>,
    endpoint: Option<String>,
    virtual_host: Option<bool>,
    credentials_file: Option<PathBuf>,
    bucket_ca: Option<PathBuf>,
    plain_bucket: Option<bool>,
    address: String,
    holder: Option<String>,
    lease_seconds: Option<u64>,
}

impl RawCluster {
    pub(crate) fn checked(self, path: &Path) -> Result<Settings, SettingsError> {
        let beside = |named: PathBuf| settings::beside(path, &named);
        let address: url::Url = self.address.parse().map_err(|error| {
            SettingsError::value("cluster.address", format!("{}: {error}", self.address))
        })?;
        if !matches!(address.scheme(), "http" | "https") {
            return Err(SettingsError::value(
                "cluster.address",
                "expected the http or https URL under which other instances reach this one",
            ));
        }
        let mut settings = Settings::new(self.database, self.bucket, self.region);
        settings.database.password_file = self.database_password_file.map(beside);
        settings.database.plain = self.plain_database.unwrap_or(false);
        settings.bucket.prefix = self.prefix.unwrap_or_default();
        settings.bucket.endpoint = self.endpoint;
        settings.bucket.virtual_host = self.virtual_host.unwrap_or(false);
        settings.bucket.extra_roots = self.bucket_ca.map(beside);
        settings.bucket.plain = self.plain_bucket.unwrap_or(false);
        if let Some(file) = self.credentials_file {
            settings.bucket.credentials = Credentials::File(beside(file));
        }
        address
            .as_str()
            .trim_end_matches('/')
            .clone_into(&mut settings.address);
        settings.holder = self.holder.unwrap_or_else(|| settings.address.clone());
        if let Some(seconds) = self.lease_seconds {
            if !(2..=60).contains(&seconds) {
                return Err(SettingsError::value(
                    "cluster.lease_seconds",
                    "expected 2 to 60",
                ));
            }
            settings.lease.lasts = Duration::from_secs(seconds);
            settings.lease.renewed = settings.lease.lasts / 5;
        }
        Ok(settings)
    }
}

/// Where the logs are kept.
#[derive(Clone, Debug, Default)]
pub enum Storage {
    /// Each in a folder of its own.
    #[default]
    Folders,
    /// Each a tree of one database and one bucket.
    Cluster(Cluster),
    /// Each on what this opens for its folder: another disk than the real one, for benchmarks and tests.
    Opened(Opener),
}

/// Opens the disk of a folder.
#[derive(Clone)]
pub struct Opener(Arc<Open>);

type Open = dyn Fn(&Path) -> io::Result<Arc<dyn Disk>> + Send + Sync;

impl Opener {
    /// Opens disks so.
    pub fn new(open: impl Fn(&Path) -> io::Result<Arc<dyn Disk>> + Send + Sync + 'static) -> Self {
        Self(Arc::new(open))
    }
}

impl fmt::Debug for Opener {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Opener")
    }
}

/// The place of one log: a folder, or the name of a tree.
#[derive(Clone, Debug)]
pub struct Home {
    /// Of [`Storage::Folders`] and [`Storage::Opened`].
    pub folder: PathBuf,
    /// Of [`Storage::Cluster`]. It is for ever: it is in every key.
    pub tree: String,
}

/// What one log stands on.
#[derive(Clone, Debug)]
pub(crate) enum Ground {
    Folder(Arc<dyn Disk>),
    Tree(Tree),
}

impl From<PathBuf> for Home {
    /// A folder.
    fn from(folder: PathBuf) -> Self {
        Self {
            folder,
            tree: String::new(),
        }
    }
}

impl Storage {
    /// Connects, where there is something to connect to. Must be called within a tokio runtime that lives as long as this.
    pub async fn open(settings: Option<&Settings>) -> anyhow::Result<Self> {
        match settings {
            None => Ok(Self::Folders),
            Some(settings) => {
                let cluster = Cluster::open(settings.clone()).await;
                Ok(Self::Cluster(cluster.context("cluster")?))
            }
        }
    }

    /// The place of one log, to be opened.
    pub(crate) fn ground(&self, home: &Home) -> Result<Ground, OpenError> {
        let failed = |source| OpenError::Disk {
            action: format!("open the folder {}", home.folder.display()),
            source,
        };
        match self {
            Self::Folders => {
                let folder = Folder::open(&home.folder).map_err(failed)?;
                Ok(Ground::Folder(Arc::new(folder)))
            }
            Self::Opened(Opener(open)) => open(&home.folder).map(Ground::Folder).map_err(failed),
            Self::Cluster(cluster) => {
                let tree = cluster.tree(&home.tree).map_err(|error| OpenError::Disk {
                    action: format!("use the tree {}", home.tree),
                    source: std::io::Error::other(error),
                })?;
                Ok(Ground::Tree(tree))
            }
        }
    }
}

impl Ground {
    /// As the engine sees it.
    pub(crate) fn files(&self) -> Arc<dyn Disk> {
        match self {
            Self::Folder(folder) => folder.clone(),
            Self::Tree(tree) => Arc::new(tree.clone()),
        }
    }

    /// Opens the log to write it.
    pub(crate) async fn write<L: Leaf>(
        &self,
        config: Config,
        signer: Arc<dyn CheckpointSigner>,
        clock: Clock,
    ) -> Result<Log<L>, OpenError> {
        let copy = sequencer::copy_place(&config)?;
        Log::open_on(self.files(), copy, config, signer, clock).await
    }

    /// Opens the log to read it.
    pub(crate) async fn read<L: Leaf>(&self, verifier: VerifierKey) -> Result<Log<L>, OpenError> {
        Log::open_reader_on(self.files(), verifier).await
    }

    /// Waits until this process does not lead the log any more. For ever in a folder, whose lock nobody can take away.
    pub(crate) async fn lost(&self) {
        match self {
            Self::Folder(_) => std::future::pending().await,
            Self::Tree(tree) => tree.lost().await,
        }
    }

    /// Waits until it makes sense to try to lead the log.
    pub(crate) async fn vacant(&self, turn: Duration) {
        match self {
            Self::Folder(_) => tokio::time::sleep(turn).await,
            Self::Tree(tree) => {
                if let Err(error) = tree.vacant().await {
                    tracing::warn!(%error, "cannot see who leads");
                    tokio::time::sleep(turn).await;
                }
            }
        }
    }
}
