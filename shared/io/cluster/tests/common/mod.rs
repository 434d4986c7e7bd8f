//! The servers that the tests run against, and a wire between us and them that can break.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    missing_docs,
    unreachable_pub,
    reason = "each test file uses its part; a panic is a test's report"
)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cluster::{Cluster, LeaseSettings, Settings, Tree};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard, watch};

/// `host:port` of a PostgreSQL server that the user `log` may enter without a password; database `postgres`.
pub const DATABASE: &str = "CLUSTER_TEST_DATABASE";
/// `host:port` of an S3 server; bucket `logs`, region `us-east-1`, the account in AWS's own variables.
pub const BUCKET: &str = "CLUSTER_TEST_BUCKET";
/// File of the authority of both servers' certificates; without it they are spoken to without TLS.
pub const ROOTS: &str = "CLUSTER_TEST_ROOTS";
/// A shell command that restarts the database as after a crash.
pub const RESTART: &str = "CLUSTER_TEST_RESTART";

/// Most tests share the servers; some break them for all.
static SERVERS: RwLock<()> = RwLock::const_new(());

pub struct Servers {
    pub database: SocketAddr,
    pub bucket: SocketAddr,
    shared: Option<RwLockReadGuard<'static, ()>>,
    alone: Option<RwLockWriteGuard<'static, ()>>,
}

/// `None` when nobody has started them: `cargo xtask peers test` does, and reports what is not installed.
pub async fn servers() -> Option<Servers> {
    let mut servers = find()?;
    servers.shared = Some(SERVERS.read().await);
    Some(servers)
}

pub async fn servers_alone() -> Option<Servers> {
    let mut servers = find()?;
    servers.alone = Some(SERVERS.write().await);
    Some(servers)
}

fn find() -> Option<Servers> {
    let address = |name| std::env::var(name).ok()?.parse().ok();
    let (Some(database), Some(bucket)) = (address(DATABASE), address(BUCKET)) else {
        eprintln!("skipped: no servers ({DATABASE}, {BUCKET}); cargo xtask peers test starts them");
        return None;
    };
    Some(Servers {
        database,
        bucket,
        shared: None,
        alone: None,
    })
}

impl Servers {
    pub fn settings(&self) -> Settings {
        settings(self.database, self.bucket)
    }

    pub async fn cluster(&self) -> Cluster {
        Cluster::open(self.settings()).await.unwrap()
    }

    /// A handle of its own, as another instance has it.
    pub async fn tree(&self, name: &str) -> Tree {
        self.cluster().await.tree(name).unwrap()
    }
}

pub fn settings(database: SocketAddr, bucket: SocketAddr) -> Settings {
    let roots = std::env::var_os(ROOTS).map(std::path::PathBuf::from);
    let (scheme, tls) = match &roots {
        Some(roots) => (
            "https",
            format!("verify-full&sslrootcert={}", roots.display()),
        ),
        None => ("http", "disable".to_owned()),
    };
    let mut settings = Settings::new(
        format!("postgres://log@{database}/postgres?sslmode={tls}"),
        "logs",
        "us-east-1",
    );
    settings.bucket.endpoint = Some(format!("{scheme}://{bucket}"));
    settings.bucket.extra_roots = roots;
    "test".clone_into(&mut settings.bucket.prefix);
    settings.bucket.attempts = 2;
    settings.lease = LeaseSettings {
        lasts: Duration::from_millis(1500),
        renewed: Duration::from_millis(300),
    };
    "http://one.example".clone_into(&mut settings.address);
    "one".clone_into(&mut settings.holder);
    settings
}

/// A name that no other test and no other run has.
pub fn fresh() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
    format!("t{}-{}-{number}", now.as_micros(), std::process::id())
}

pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

/// What the wire does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    /// Carries everything.
    Whole,
    /// Carries nothing, and nothing breaks: the process is paused, or packets get lost.
    Held,
    /// Carries requests; the first byte of an answer breaks the connection instead.
    LosesAnswers,
    /// Nobody is there.
    Cut,
}

pub struct Proxy {
    pub address: SocketAddr,
    mode: Arc<watch::Sender<Wire>>,
    accepted: Arc<AtomicU64>,
}

impl Proxy {
    pub async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let mode = Arc::new(watch::Sender::new(Wire::Whole));
        let modes = mode.clone();
        let accepted = Arc::new(AtomicU64::new(0));
        let count = accepted.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::Relaxed);
                if *modes.borrow() == Wire::Cut {
                    continue;
                }
                let modes = modes.subscribe();
                tokio::spawn(async move {
                    let Ok(server) = TcpStream::connect(server).await else {
                        return;
                    };
                    let (from_client, to_client) = client.into_split();
                    let (from_server, to_server) = server.into_split();
                    // When one direction ends, both do.
                    tokio::select! {
                        () = carry(from_client, to_server, modes.clone(), false) => {}
                        () = carry(from_server, to_client, modes, true) => {}
                    }
                });
            }
        });
        Self {
            address,
            mode,
            accepted,
        }
    }

    /// How many were made so far.
    pub fn connections(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    pub fn set(&self, wire: Wire) {
        self.mode.send_replace(wire);
    }
}

async fn carry(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mut modes: watch::Receiver<Wire>,
    answers: bool,
) {
    let mut bytes = vec![0; 64 << 10];
    loop {
        let count = tokio::select! {
            read = from.read(&mut bytes) => match read {
                Ok(0) | Err(_) => return,
                Ok(count) => count,
            },
            _ = modes.wait_for(|mode| *mode == Wire::Cut) => return,
        };
        let Ok(mode) = modes
            .wait_for(|mode| *mode != Wire::Held)
            .await
            .map(|mode| *mode)
        else {
            return;
        };
        if mode == Wire::Cut || (answers && mode == Wire::LosesAnswers) {
            return;
        }
        if to.write_all(&bytes[..count]).await.is_err() {
            return;
        }
    }
}
