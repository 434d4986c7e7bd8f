//! `rekor-rs freeze --config FILE [--tree ID]`: closes a log for good, for operators. It must not be running.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use sequencer::{Leaf, Log};
use serve::Clock;

use super::{Place, Site};
use crate::{leaf, v1};

/// Freezes the v2 log of a settings file, or one tree of its v1 log, and prints the last checkpoint.
pub fn run(settings: &Path, tree: Option<u64>) -> anyhow::Result<()> {
    let site = Site::open(settings)?;
    site.outlast_leases();
    let place = site.place(tree)?;
    let checkpoint = site.runtime.block_on(async {
        match place.tree {
            None => freeze::<leaf::Entry>(place).await,
            Some(_) => freeze::<v1::leaf::Entry>(place).await,
        }
    })?;
    std::io::Write::write_all(&mut std::io::stdout(), &checkpoint).context("standard output")
}

async fn freeze<L: Leaf>(place: &Place) -> anyhow::Result<Vec<u8>> {
    let clock = Clock::system();
    let signer = Arc::new(place.signer.clone());
    let copy = sequencer::copy_place(&place.engine)?;
    let open = || {
        let clock = clock.clone();
        Log::<L>::open_on(
            place.files.clone(),
            copy.clone(),
            place.engine.clone(),
            signer.clone(),
            Arc::new(move || clock.now()),
        )
    };
    let log = open().await?;
    log.freeze(&*signer, clock.now()).await?;
    drop(log);
    // What the service will find.
    Ok(open().await?.published().checkpoint.to_vec())
}
