//! A witness that other logs can use: `rekor-rs witness --config FILE`.
//!
//! Specification: C2SP tlog-witness 1.0. The judgement is in the pure crate `witness`; here is what it costs: a socket, a memory that
//! survives, a key.
//!
//! ```text
//! POST /add-checkpoint                      bytes -> Submission -> judge -> remember (fsync) -> cosignature lines
//! GET  /<hex SHA-256 of origin>/checkpoint  the last checkpoint that was cosigned, with log signature and cosignatures
//! GET  /healthz /metrics
//! ```
//!
//! Invariants:
//! - a cosignature leaves the process only after the file that remembers its head is durable;
//! - one submission of a log is judged at a time, against what the one before left;
//! - what stands in the folder was cosigned by this witness, or the witness does not start.
//!
//! What someone could do who controls the disk: put an old file back, and have two branches of a log cosigned that part after it.

pub mod config;
mod http;
mod memory;

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use axum::Router;
use note::CosignerKey;
use serve::{Clock, Health, Service};
use signer::{MlDsa44Signer, Signer};

pub use config::WitnessConfig;
use memory::Memory;

/// What the witness needs from outside.
#[derive(Debug)]
pub struct Deps {
    /// Its Ed25519 key.
    pub signer: Signer,
    /// Its ML-DSA-44 key.
    pub post_quantum: Option<MlDsa44Signer>,
    /// The time.
    pub clock: Clock,
}

/// A witness's two keys, as others have to know them.
#[derive(Debug)]
struct Cosigner {
    signer: Signer,
    key: CosignerKey,
    post_quantum: Option<(MlDsa44Signer, CosignerKey)>,
}

impl Cosigner {
    fn new(name: &str, deps: Deps) -> anyhow::Result<(Self, Clock)> {
        let key = CosignerKey::ed25519(name, deps.signer.public_key().clone());
        let post_quantum = deps.post_quantum.map(|signer| {
            let key = CosignerKey::ml_dsa_44(name, signer.public_key().clone());
            key.map(|key| (signer, key))
        });
        let cosigner = Self {
            key: key.context("witness.key")?,
            signer: deps.signer,
            post_quantum: post_quantum
                .transpose()
                .context("witness.post_quantum_key")?,
        };
        Ok((cosigner, deps.clock))
    }

    fn keys(&self) -> impl Iterator<Item = &CosignerKey> {
        let second = self.post_quantum.iter().map(|(_, key)| key);
        std::iter::once(&self.key).chain(second)
    }
}

/// Opens the witness's memory and makes its routes. Must be called within a tokio runtime.
pub async fn build(config: &WitnessConfig, deps: Deps) -> anyhow::Result<Router> {
    let (cosigner, clock) = Cosigner::new(&config.name, deps)?;
    for key in cosigner.keys() {
        tracing::info!(vkey = key.to_vkey(), "the witness cosigns with this key");
    }
    let folder = config.folder.clone();
    let logs = config.logs.clone();
    let cosigner = Arc::new(cosigner);
    let own = cosigner.clone();
    let open = move || {
        let keys: Vec<CosignerKey> = own.keys().cloned().collect();
        Memory::open(&folder, &logs, &keys)
    };
    let memory = tokio::task::spawn_blocking(open).await??;
    let health = Health::serving();
    let state = http::State {
        memory: Arc::new(memory),
        cosigner,
        clock,
        health: health.clone(),
    };
    Ok(http::routes(state).merge(health.routes()))
}

/// The witness of a settings file, ready to be put on a socket.
pub async fn service(settings: &Path) -> anyhow::Result<Service> {
    let config = WitnessConfig::load(settings)?;
    let signer = Signer::open(&config.key).await.context("witness.key")?;
    let post_quantum = config.post_quantum_key.as_deref().map(MlDsa44Signer::load);
    let deps = Deps {
        signer,
        post_quantum: post_quantum
            .transpose()
            .context("witness.post_quantum_key")?,
        clock: Clock::system(),
    };
    Ok(Service {
        closing: serve::Closing::default(),
        router: build(&config, deps).await?.into(),
        server: config.server,
    })
}
