//! `rekor-rs freeze --config FILE [--tree ID]`: closes a log for good, for operators. It must not be running.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use sequencer::{Leaf, Log, NoteSigner};
use serve::Clock;
use signer::Signer;

use crate::config::Config;
use crate::{leaf, v1};

/// Freezes the v2 log of a settings file, or one tree of its v1 log, and prints the last checkpoint.
pub fn run(settings: &Path, tree: Option<u64>) -> anyhow::Result<()> {
    let config = Config::load(settings)?;
    let clock = Clock::system();
    let work = async {
        let Some(tree) = tree else {
            let signer = Signer::open(&config.log.key).await.context("log.key")?;
            let signer = NoteSigner::new(&config.log.origin, signer)?;
            return freeze::<leaf::Entry>(config.log.engine(), signer, &clock).await;
        };
        let Some(v1) = &config.v1 else {
            bail!("there is no [v1] in {}", settings.display());
        };
        let shard = v1.shards.iter().find(|shard| shard.tree_id == tree);
        let shard = shard.with_context(|| format!("no tree {tree} in {}", settings.display()))?;
        let signer = Signer::open(&shard.key).await.context("v1.shards.key")?;
        let signer = NoteSigner::rekor_v1(&v1.host, tree, signer)?;
        freeze::<v1::leaf::Entry>(shard.engine(v1), signer, &clock).await
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let checkpoint = runtime.block_on(work)?;
    std::io::Write::write_all(&mut std::io::stdout(), &checkpoint).context("standard output")
}

async fn freeze<L: Leaf>(
    config: sequencer::Config,
    signer: NoteSigner,
    clock: &Clock,
) -> anyhow::Result<Vec<u8>> {
    let signer = Arc::new(signer);
    let open = || {
        let clock = clock.clone();
        Log::<L>::open(
            config.clone(),
            signer.clone(),
            Arc::new(move || clock.now()),
        )
    };
    let log = open().await?;
    log.freeze(&signer, clock.now()).await?;
    drop(log);
    // What the service will find.
    Ok(open().await?.published().checkpoint.to_vec())
}
