//! `rekor-rs reindex --config FILE`: forgets the search index of the logs, for operators. Who fills it makes it again from the logs; a service that runs
//! notices at once.

use std::io::Write as _;
use std::path::Path;

use anyhow::Context as _;

use super::{Place, Site};
use crate::search::{self, Identity};

/// Begins the index of each log of a settings file anew, and says how far it was.
pub fn run(settings: &Path) -> anyhow::Result<()> {
    let site = Site::open(settings)?;
    let place = site.config.search.as_ref();
    let place = place.context("these settings have no [search]: there is no index")?;
    let mut out = std::io::stdout();
    for log in &site.places {
        let Place { origin, .. } = log;
        let log_id = log.log_id();
        let identity = Identity {
            origin,
            log_id: &log_id,
        };
        let begun = search::begin_anew(place, &site.storage, identity);
        let indexed = site.runtime.block_on(begun)?;
        writeln!(
            out,
            "{origin}: {indexed} entries were indexed; the index begins anew"
        )
        .context("standard output")?;
    }
    Ok(())
}
