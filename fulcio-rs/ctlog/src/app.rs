//! Bringing the log to life.

use std::io::{self, Read as _};
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use axum::Router;
use keys::{Algorithm, sha256};
use pki::Certificate;
use sequencer::{Log, OpenError, TreeHeadSigner};
use serve::{Clock, Health, Service};
use signer::Signer;
use thiserror::Error;

use crate::config::{Config, LogConfig};
use crate::http::{self, State};
use crate::issuers::Issuers;
use crate::leaf::CertificateLeaf;

/// The largest file of roots.
const MAX_ROOTS: u64 = 1 << 20;

/// What the log needs from outside.
#[derive(Clone, Debug)]
pub struct Deps {
    /// The log's key.
    pub signer: Signer,
    /// The certificates that chains must end in.
    pub roots: Vec<Certificate>,
    /// The time.
    pub clock: Clock,
}

/// Why the log cannot run.
#[derive(Debug, Error)]
pub enum BuildError {
    /// Not an ECDSA P-256 key.
    #[error("the log's key is {0}, and a CT log signs with ecdsa-sha2-256-nistp256")]
    Key(&'static str),
    /// No root: nothing could be submitted.
    #[error("the log has no roots")]
    NoRoots,
    /// A root that is none.
    #[error("the root {0:?} may not sign certificates")]
    Root(String),
    /// The log's name is no name of a key.
    #[error("the log's URL cannot be the name of a key")]
    Origin(#[source] note::KeyError),
    /// The engine refused.
    #[error("cannot open the log")]
    Open(#[source] OpenError),
    /// The folder of issuers cannot be opened.
    #[error("cannot open the folder of issuers")]
    Issuers(#[source] io::Error),
}

/// A running log. It is closed, with everything written, when the last clone of its router is gone.
#[derive(Debug)]
pub struct App {
    /// What it answers.
    pub router: Router,
    /// The engine below, for tools that run in the same process.
    pub log: Log<CertificateLeaf>,
}

/// Opens the log and makes its routes. Must be called within a tokio runtime.
pub async fn build(config: &LogConfig, deps: Deps) -> Result<App, BuildError> {
    let Deps {
        signer,
        roots,
        clock,
    } = deps;
    if signer.algorithm() != Algorithm::EcdsaP256Sha256 {
        return Err(BuildError::Key(signer.algorithm().registry_name()));
    }
    if roots.is_empty() {
        return Err(BuildError::NoRoots);
    }
    if let Some(root) = roots
        .iter()
        .find(|root| !root.is_ca() || !root.may_sign_certificates())
    {
        return Err(BuildError::Root(root.subject_text()));
    }
    let issuers = Issuers::open(&config.folder.join("issuers")).map_err(BuildError::Issuers)?;
    let checkpoints =
        TreeHeadSigner::new(&config.origin(), signer.clone()).map_err(BuildError::Origin)?;
    let clock: sequencer::Clock = Arc::new(move || clock.now());
    let log = Log::open(config.engine(), Arc::new(checkpoints), clock)
        .await
        .map_err(BuildError::Open)?;

    let health = Health::serving();
    let (stopped, watched) = (log.stopped(), health.clone());
    // Ends when the log ends.
    tokio::spawn(async move {
        if let Some(reason) = stopped.await {
            watched.fail(reason);
        }
    });
    let state = State {
        log: log.clone(),
        signer,
        roots: roots.into(),
        issuers,
        leaf_index: config.leaf_index,
    };
    let router = http::routes(state, config.prefix()).merge(health.routes());
    Ok(App { router, log })
}

/// The log of a settings file, ready to be put on a socket.
pub async fn service(settings: &Path) -> anyhow::Result<Service> {
    let config = Config::load(settings)?;
    let deps = Deps {
        signer: Signer::open(&config.log.key).await.context("log.key")?,
        roots: read_roots(&config.log.roots)
            .with_context(|| format!("log.roots: {}", config.log.roots.display()))?,
        clock: Clock::system(),
    };
    let App { router, log } = build(&config.log, deps).await?;
    let head = log.published().head;
    tracing::info!(origin = config.log.origin(), size = %head.size, root = %head.root, "the log is open");
    Ok(Service {
        closing: serve::Closing::default(),
        server: config.server,
        router: router.into(),
    })
}

fn read_roots(path: &Path) -> anyhow::Result<Vec<Certificate>> {
    let mut text = String::new();
    std::fs::File::open(path)?
        .take(MAX_ROOTS)
        .read_to_string(&mut text)?;
    let mut roots = Certificate::chain_from_pem(&text)?;
    roots.sort_by_key(|root| sha256(root.der()));
    roots.dedup();
    Ok(roots)
}
