//! `rekor-rs export`: what others can check or serve without us.

use std::io::{self, Write as _};
use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sequencer::{Leaf, Log, Resource};
use serde_json::json;
use store::Disk as _;
use store::fs::Folder;
use tlog::{BundleId, LeafIndex, TileId, TreeSize, Width};

use super::{Place, Progress, Site};
use crate::args::Export;
use crate::{leaf, v1};

/// Files after which what was written is made durable.
const SYNC: usize = 512;

/// Reads the log of a tree, beside the process that writes it or not.
pub fn run(export: Export) -> anyhow::Result<()> {
    let (Export::Proof { tree, .. } | Export::Entries { tree, .. } | Export::Tiles { tree, .. }) =
        &export;
    let site = Site::open(&tree.settings.config)?;
    let place = site.place(tree.tree)?;
    site.runtime.block_on(write(place, export))
}

async fn write(place: &Place, export: Export) -> anyhow::Result<()> {
    match (export, place.tree) {
        (Export::Proof { index, .. }, tree) => {
            let text = match tree {
                None => proof::<leaf::Entry>(place, index).await,
                Some(_) => proof::<v1::leaf::Entry>(place, index).await,
            }?;
            io::stdout()
                .write_all(text.as_bytes())
                .context("standard output")
        }
        (Export::Entries { first, count, .. }, tree) => {
            let count = count.unwrap_or(u64::MAX);
            match tree {
                None => entries::<leaf::Entry>(place, first, count, v2_line).await,
                Some(_) => entries::<v1::leaf::Entry>(place, first, count, v1_line).await,
            }
        }
        (Export::Tiles { to, .. }, None) => tiles::<leaf::Entry>(place, &to).await,
        (Export::Tiles { .. }, Some(_)) => bail!(
            "the bundles of a v1 tree have a form of our own, which no other program reads: export its entries"
        ),
    }
}

async fn open<L: Leaf>(place: &Place) -> anyhow::Result<Log<L>> {
    let log = Log::open_reader_on(place.files.clone(), place.verifier().clone()).await;
    log.with_context(|| place.origin.clone())
}

/// C2SP tlog-proof.
async fn proof<L: Leaf>(place: &Place, index: u64) -> anyhow::Result<String> {
    let log = open::<L>(place).await?;
    let size = log.published().head.size;
    ensure!(
        size.holds(LeafIndex::new(index)),
        "{} has {size} entries, and none with index {index}",
        place.origin
    );
    let inclusion = log.inclusion(LeafIndex::new(index)).await?;
    let mut text = format!("c2sp.org/tlog-proof@v1\nindex {index}\n");
    for hash in &inclusion.proof {
        STANDARD.encode_string(hash.as_bytes(), &mut text);
        text.push('\n');
    }
    text.push('\n');
    text.push_str(std::str::from_utf8(&inclusion.checkpoint)?);
    Ok(text)
}

fn v2_line(entry: &[u8], index: u64) -> Option<serde_json::Value> {
    let (_, body) = entry.split_first_chunk::<2>()?;
    Some(json!({ "logIndex": index.to_string(), "canonicalizedBody": STANDARD.encode(body) }))
}

fn v1_line(entry: &[u8], index: u64) -> Option<serde_json::Value> {
    let stored = v1::leaf::Stored::parse(entry)?;
    Some(json!({
        "logIndex": index.to_string(),
        "integratedTime": (stored.timestamp_ms / 1000).to_string(),
        "canonicalizedBody": STANDARD.encode(stored.body),
    }))
}

async fn entries<L: Leaf>(
    place: &Place,
    first: u64,
    count: u64,
    line: fn(&[u8], u64) -> Option<serde_json::Value>,
) -> anyhow::Result<()> {
    let log = open::<L>(place).await?;
    let size = log.published().head.size.get();
    ensure!(
        first <= size,
        "{} has {size} entries, and none with index {first}",
        place.origin
    );
    let end = first.saturating_add(count).min(size);
    let mut follower = log.follow(LeafIndex::new(first));
    let mut progress = Progress::new("entries");
    let mut out = io::BufWriter::new(io::stdout().lock());
    let mut index = first;
    while index < end {
        let Some(piece) = follower.next().await? else {
            break;
        };
        for entry in piece.entries {
            if index >= end {
                break;
            }
            let line = line(&entry, index);
            let line = line.with_context(|| format!("entry {index} is damaged"))?;
            writeln!(out, "{line}").context("standard output")?;
            index = index.saturating_add(1);
        }
        progress.tell(index.saturating_sub(first), end.saturating_sub(first));
    }
    out.flush().context("standard output")
}

/// All that C2SP tlog-tiles asks of a log at its last checkpoint; the checkpoint comes last, so that what it covers is there.
async fn tiles<L: Leaf>(place: &Place, to: &Path) -> anyhow::Result<()> {
    let log = open::<L>(place).await?;
    let published = log.published();
    let size = published.head.size;
    let files = Folder::open(to).with_context(|| format!("cannot open {}", to.display()))?;
    let wanted = resources(size);
    let all = u64::try_from(wanted.len()).unwrap_or(u64::MAX);
    let mut progress = Progress::new("files");
    let mut unsynced = Vec::new();
    for (resource, done) in wanted.iter().zip(1_u64..) {
        let name = match resource {
            Resource::Tile(id) => id.to_string(),
            Resource::Bundle(id) => id.path(L::BUNDLE),
            Resource::Checkpoint => continue,
        };
        let path = store::Path::new(name).context("a tile has a plain name")?;
        if files
            .read_range(&path, 0, 1)?
            .is_none_or(|byte| byte.is_empty())
        {
            let bytes = log.read(resource).await?;
            let bytes = bytes.with_context(|| format!("{path} is missing"))?;
            files.replace(&path, &bytes)?;
            unsynced.push(path);
        }
        if unsynced.len() >= SYNC {
            files.sync(&std::mem::take(&mut unsynced))?;
        }
        progress.tell(done, all);
    }
    if !unsynced.is_empty() {
        files.sync(&unsynced)?;
    }
    let path = store::Path::new("checkpoint").context("a plain name")?;
    files.replace_durable(&path, &published.checkpoint)?;
    writeln!(
        io::stdout(),
        "{} {} of {} in {}",
        size,
        if size.get() == 1 { "entry" } else { "entries" },
        place.origin,
        to.display()
    )
    .context("standard output")
}

/// Every tile and bundle of a tree of this size, full ones and those at its edge.
fn resources(size: TreeSize) -> Vec<Resource> {
    let mut resources = Vec::new();
    let mut count = size.get();
    let mut level = 0_u8;
    while count > 0 {
        let full = count / 256;
        let part = u16::try_from(count % 256).ok().and_then(Width::new);
        let full_ones = (0..full).map(|index| (index, Width::FULL));
        for (index, width) in full_ones.chain(part.map(|part| (full, part))) {
            if level == 0 {
                resources.push(Resource::Bundle(BundleId { index, width }));
            }
            resources.push(Resource::Tile(TileId {
                level,
                index,
                width,
            }));
        }
        count = full;
        level = level.saturating_add(1);
    }
    resources
}
