//! The client of tuf-conformance's protocol (`CLIENT-CLI.md`), on the crates that follow trust domains.

use std::fs;

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use tuf::TargetPath;
use tuf_client::{Cache, Client, Follow, Mirror, Refresh, agent};

use crate::args::{TufConformance, TufConformanceCommand};
use crate::{failure, trust_files};

pub(super) async fn run(arguments: TufConformance) -> Result<()> {
    // The protocol has one code for whatever fails; ours are several.
    follow(arguments).await.map_err(|error| {
        failure::tell(&error);
        failure::Exit(1).into()
    })
}

async fn follow(arguments: TufConformance) -> Result<()> {
    let folder = &arguments.metadata_dir;
    let history = folder.join("root_history");
    let pinned = history.join("pinned.root.json");
    if let TufConformanceCommand::Init { trusted_root } = &arguments.command {
        let root = trust_files::read(trusted_root)?;
        fs::create_dir_all(&history)?;
        fs::write(&pinned, &root)?;
        return Ok(fs::write(folder.join("root.json"), &root)?);
    }
    let mirror = |url: &Option<String>| -> Result<Mirror> {
        let url = url.as_deref().context("no URL")?;
        Ok(Mirror::new(url, agent(Vec::new()))?)
    };
    let mut cache = Cache::new(folder);
    if let Some(targets) = &arguments.target_dir {
        cache = cache.targets_in(targets);
    }
    let root = trust_files::read(&pinned)?;
    let mut client = Client::new(root, mirror(&arguments.metadata_url)?, cache);
    let follow = Follow {
        refresh: Refresh::Always,
        now: Timestamp::now(),
    };
    let mut followed = client.follow(follow).await?;
    if matches!(arguments.command, TufConformanceCommand::Download) {
        client = client.targets_at(mirror(&arguments.target_base_url)?);
        for name in &arguments.target_name {
            let path = TargetPath::new(name)?;
            client.target(&mut followed, path, follow).await?;
        }
    }
    Ok(())
}
