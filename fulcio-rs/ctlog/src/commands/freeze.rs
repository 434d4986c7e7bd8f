//! `ctlog-rs freeze --config FILE [--url URL]`: closes a log for good, for operators. It must not be running.
//!
//! Its last tree head is one like the others: RFC 6962 has no word for it. The log is served as before, and answers submissions with 410.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use sequencer::Log;
use serve::Clock;
use signer::Signer;
use url::Url;

use super::{one, runtime};
use crate::app;
use crate::config::{Config, LogConfig};
use crate::leaf::CertificateLeaf;

/// Freezes a log of a settings file, and prints its last checkpoint.
pub(super) fn run(settings: &Path, url: Option<&Url>) -> anyhow::Result<()> {
    let config = one(&Config::load(settings)?, url)?;
    let checkpoint = runtime()?.block_on(freeze(&config))?;
    std::io::Write::write_all(&mut std::io::stdout(), &checkpoint).context("standard output")
}

async fn freeze(config: &LogConfig) -> anyhow::Result<Vec<u8>> {
    let clock = Clock::system();
    let key = Signer::open(&config.key).await.context("log.key")?;
    let signer = Arc::new(app::checkpoints(config, &key)?);
    let open = || {
        let clock = clock.clone();
        let engine = config.engine();
        Log::<CertificateLeaf>::open(engine, signer.clone(), Arc::new(move || clock.now()))
    };
    let log = open().await?;
    log.freeze(&*signer, clock.now()).await?;
    drop(log);
    // What the service will find.
    Ok(open().await?.published().checkpoint.to_vec())
}
