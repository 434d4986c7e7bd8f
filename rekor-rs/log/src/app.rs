//! Bringing the log to life.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use axum::{Router, middleware};
use sequencer::{CheckpointSigner as _, Leaf, Log, NoteSigner, OpenError};
use serve::{Clock, Health, Service};
use signer::Signer;
use thiserror::Error;

use crate::admit::Door;
use crate::config::{Config, KEY_ALGORITHM, LogConfig};
use crate::figures;
use crate::gate::Gate;
use crate::http::{self, State};
use crate::leaf::Entry;
use crate::search::http::{SearchApi, V2};
use crate::search::{self, Search};
use crate::v1::config::V1Config;
use crate::v1::{self, Attestations, Shards, V1};

/// What the logs need from outside.
#[derive(Clone, Debug)]
pub struct Deps {
    /// The v2 log's key.
    pub signer: Signer,
    /// The v1 log, with a key for each of its shards.
    pub v1: Option<(V1Config, Vec<Signer>)>,
    /// File of the search index.
    pub search: Option<PathBuf>,
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
    /// The v1 log cannot run.
    #[error("cannot open the v1 log")]
    V1(#[source] anyhow::Error),
    /// The index cannot be used.
    #[error("cannot open the search index")]
    Search(#[source] anyhow::Error),
}

/// A running log. It is closed, with everything written, when the last clone of its router is gone.
#[derive(Debug)]
pub struct App {
    /// What it answers.
    pub router: Router,
    /// The engine below, for tools that run in the same process.
    pub log: Log<Entry>,
    /// The trees of the v1 log.
    pub v1: Option<Shards>,
}

/// Opens the log and makes its routes. Must be called within a tokio runtime.
pub async fn build(config: &LogConfig, deps: Deps) -> Result<App, BuildError> {
    let algorithm = deps.signer.algorithm();
    if algorithm != KEY_ALGORITHM {
        return Err(BuildError::Key(algorithm.registry_name()));
    }
    let signer = NoteSigner::new(&config.origin, deps.signer).map_err(BuildError::Origin)?;
    let log_id = signer.verifier().id().to_vec();
    let v2_id = log_id.clone();
    let gate = Gate::new();
    let search = match &deps.search {
        Some(file) => Some(Search::open(file).await.map_err(BuildError::Search)?),
        None => None,
    };
    let v1 = match deps.v1 {
        Some((config, signers)) => {
            Some(open_v1(&config, signers, &deps.clock, &gate, search.clone()).await?)
        }
        None => None,
    };
    let clock = deps.clock;
    let clock: sequencer::Clock = Arc::new(move || clock.now());
    let log = Log::open(config.engine(), Arc::new(signer), clock).await;
    let log = log.map_err(BuildError::Open)?;

    let health = Health::serving();
    watch(&log, &health);
    let state = State {
        log: log.clone(),
        door: Door::new(gate, config.dsse),
        duplicates: config.duplicates,
        log_id,
    };
    let mut router = http::routes(state).merge(health.routes());
    if let Some(search) = search {
        let tree = search.follow(&config.origin, &log, v2_keys).await;
        let api = SearchApi {
            v2: V2 {
                tree: tree.map_err(BuildError::Search)?,
                log: log.clone(),
                log_id: v2_id,
            },
            v1: v1.as_ref().map(|v1| v1.shards.clone()),
            search,
        };
        router = router.merge(search::http::routes(api));
    }
    let v1 = v1.map(|state| {
        for shard in state.shards.all() {
            watch(&shard.log, &health);
        }
        let shards = state.shards.clone();
        router = std::mem::take(&mut router).merge(v1::routes(state));
        shards
    });
    metrics::gauge!("rekor_v2_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    let router = router
        .layer(middleware::from_fn(figures::count))
        .layer(http::browsers());
    Ok(App { router, log, v1 })
}

fn v2_keys(framed: &[u8]) -> Vec<String> {
    let body = framed.split_first_chunk::<2>().map(|(_, body)| body);
    body.map(entry::search_keys).unwrap_or_default()
}

/// The service is as healthy as each of its logs. Ends when the log ends.
fn watch<L: Leaf>(log: &Log<L>, health: &Health) {
    let stopped = log.stopped();
    let health = health.clone();
    tokio::spawn(async move {
        if let Some(reason) = stopped.await {
            health.fail(reason);
        }
    });
}

async fn open_v1(
    config: &V1Config,
    signers: Vec<Signer>,
    clock: &Clock,
    gate: &Gate,
    search: Option<Search>,
) -> Result<V1, BuildError> {
    let shards = Shards::open(config, signers, clock).await;
    let mut shards = shards.map_err(BuildError::V1)?;
    if let Some(search) = &search {
        let followed = shards.follow(search, &config.host).await;
        followed.map_err(BuildError::Search)?;
    }
    let attestations = config.attestations.as_deref().map(|folder| {
        Attestations::open(folder, config.attestation_bytes).context("v1.attestations")
    });
    Ok(V1 {
        shards,
        search,
        gate: gate.clone(),
        attestations: attestations.transpose().map_err(BuildError::V1)?,
    })
}

/// The log of a settings file, ready to be put on a socket.
pub async fn service(settings: &Path) -> anyhow::Result<Service> {
    let config = Config::load(settings)?;
    let signer = Signer::open(&config.log.key).await.context("log.key")?;
    let v1 = match config.v1 {
        None => None,
        Some(v1) => {
            let mut keys = Vec::new();
            for shard in &v1.shards {
                let key = Signer::open(&shard.key).await;
                keys.push(key.with_context(|| format!("v1.shards.key of tree {}", shard.tree_id))?);
            }
            Some((v1, keys))
        }
    };
    let deps = Deps {
        signer,
        v1,
        search: config.search,
        clock: Clock::system(),
    };
    let App { router, log, v1 } = build(&config.log, deps).await?;
    let head = log.published().head;
    tracing::info!(origin = config.log.origin, size = %head.size, root = %head.root, "the log is open");
    for shard in v1.iter().flat_map(Shards::all) {
        let head = shard.log.published().head;
        tracing::info!(tree = shard.tree_id, offset = shard.offset, size = %head.size, root = %head.root, "the v1 shard is open");
    }
    Ok(Service {
        server: config.server,
        router,
    })
}
