//! Bringing the log to life.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use axum::Router;
use sequencer::{CheckpointSigner as _, Log, NoteSigner, OpenError};
use serve::{Clock, Health, Service};
use signer::Signer;
use thiserror::Error;

use crate::admit::Door;
use crate::config::{Config, KEY_ALGORITHM, LogConfig};
use crate::http::{self, State};
use crate::leaf::Entry;

/// What the log needs from outside.
#[derive(Clone, Debug)]
pub struct Deps {
    /// The log's key.
    pub signer: Signer,
    /// The time.
    pub clock: Clock,
}

/// Why the log cannot run.
#[derive(Debug, Error)]
pub enum BuildError {
    /// Not an Ed25519 key.
    #[error("the log's key is {0}, and a Rekor v2 log signs with ed25519")]
    Key(&'static str),
    /// The origin is no key name.
    #[error("the origin cannot be the name of a key")]
    Origin(#[source] note::KeyError),
    /// The engine refused.
    #[error("cannot open the log")]
    Open(#[source] OpenError),
}

/// A running log. It is closed, with everything written, when the last clone of its router is gone.
#[derive(Debug)]
pub struct App {
    /// What it answers.
    pub router: Router,
    /// The engine below, for tools that run in the same process.
    pub log: Log<Entry>,
}

/// Opens the log and makes its routes. Must be called within a tokio runtime.
pub async fn build(config: &LogConfig, deps: Deps) -> Result<App, BuildError> {
    let algorithm = deps.signer.algorithm();
    if algorithm != KEY_ALGORITHM {
        return Err(BuildError::Key(algorithm.registry_name()));
    }
    let signer = NoteSigner::new(&config.origin, deps.signer).map_err(BuildError::Origin)?;
    let log_id = signer.verifier().id().to_vec();
    let clock = deps.clock;
    let clock: sequencer::Clock = Arc::new(move || clock.now());
    let log = Log::open(config.engine(), Arc::new(signer), clock).await;
    let log = log.map_err(BuildError::Open)?;

    let health = Health::serving();
    let stopped = log.stopped();
    let watched = health.clone();
    // Ends when the log ends.
    tokio::spawn(async move {
        if let Some(reason) = stopped.await {
            watched.fail(reason);
        }
    });
    let state = State {
        log: log.clone(),
        door: Door::new(config.dsse),
        duplicates: config.duplicates,
        log_id,
    };
    let router = http::routes(state).merge(health.routes());
    Ok(App { router, log })
}

/// The log of a settings file, ready to be put on a socket.
pub async fn service(settings: &Path) -> anyhow::Result<Service> {
    let config = Config::load(settings)?;
    let signer = Signer::load(&config.log.key).context("log.key")?;
    let deps = Deps {
        signer,
        clock: Clock::system(),
    };
    let App { router, log } = build(&config.log, deps).await?;
    let head = log.published().head;
    tracing::info!(origin = config.log.origin, size = %head.size, root = %head.root, "the log is open");
    Ok(Service {
        server: config.server,
        router,
    })
}
