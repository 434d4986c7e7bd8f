//! `rekor-rs rotate`: a new v1 tree, in the settings and in the service that runs.
//!
//! In a cluster the key and the table go to the settings of the other machines too, before one of them leads.
//!
//! The command makes a key and appends a table to the settings file. A service looks at its settings every few seconds, opens the new tree,
//! closes the old one with all it was given, and goes on; nobody is turned away. If we crash after the key, it is not used; after the
//! table, the service takes the tree up by itself, or on its next start.

use std::fs::{self, OpenOptions};
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use jiff::Timestamp;
use keys::Algorithm;
use serde_json::{Value, json};
use signer::Signer;
use url::Url;

use super::init::{TRUSTED_ROOT, instance_of, new_tree_id, shard};
use crate::args::Rotate;
use crate::config::Config;

/// From one question to the service to the next.
const LOOK: Duration = Duration::from_millis(250);

/// Largest fragment that is read: one of `init` has two logs.
const FRAGMENT_MAX: u64 = 1 << 20;

/// The base URL that clients have. The settings know its host alone; with scheme and port it is in the fragment that `init` left beside them.
fn base_url(settings: &Path, host: &str) -> String {
    let told = || {
        let file = fs::File::open(serve::settings::beside(settings, TRUSTED_ROOT.as_ref())).ok()?;
        let root: Value = serde_json::from_reader(file.take(FRAGMENT_MAX)).ok()?;
        let logs = root.get("tlogs")?.as_array()?;
        let mut urls = logs.iter().filter_map(|log| log.get("baseUrl")?.as_str());
        // Of a log that had another name the URL is another one.
        let same = |url: &&str| {
            url.parse::<Url>()
                .is_ok_and(|url| url.host_str() == Some(host))
        };
        urls.find(same).map(str::to_owned)
    };
    told().unwrap_or_else(|| format!("https://{host}"))
}

/// Adds a tree, and waits until the service has it.
pub fn run(rotate: &Rotate) -> anyhow::Result<()> {
    let path = &rotate.settings.config;
    let before = Config::load(path)?;
    let Some(v1) = &before.v1 else {
        bail!(
            "there is no [v1] in {}: only v1 logs have several trees; a new v2 log has a name and a key of its own (rekor-rs init)",
            path.display()
        );
    };
    let tree_id = new_tree_id()?;
    let key = serve::settings::beside(path, format!("keys/v1-{tree_id}.pem").as_ref());
    if let Some(folder) = key.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    let signer = Signer::create(&key, Algorithm::EcdsaP256Sha256)?;
    let public_file = key.with_extension("pub.pem");
    fs::write(&public_file, signer.public_key().to_pem())
        .with_context(|| format!("cannot write {}", public_file.display()))?;
    let table = shard(tree_id, before.cluster.is_some());
    let failed = || format!("cannot add the tree to {}", path.display());
    let old = fs::read_to_string(path).with_context(failed)?;
    // What would be written is read first.
    Config::parse(path, &format!("{old}{table}")).with_context(failed)?;
    let mut file = OpenOptions::new()
        .append(true)
        .open(path)
        .with_context(failed)?;
    file.write_all(table.as_bytes())
        .and_then(|()| file.sync_all())
        .with_context(failed)?;

    let out = &mut std::io::stdout();
    writeln!(out, "tree        {tree_id}")?;
    writeln!(out, "key         {}", key.display())?;
    let public = signer.public_key();
    writeln!(out, "public key  {}", public_file.display())?;
    let url = base_url(path, &v1.host);
    let fragment =
        json!({ "tlogs": [instance_of(&url, public, &public.key_id(), Timestamp::now())] });
    writeln!(
        out,
        "trusted root, before anybody signs with it:\n{fragment:#}"
    )?;
    let address = before.server.listen;
    let running = || serve::program::get(&address, "/api/v1/log").ok();
    if running().is_none() {
        writeln!(
            out,
            "service     not running (or with TLS) at {address}: the tree is taken up when it starts"
        )?;
        return Ok(());
    }
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(rotate.seconds) {
        let info = running().and_then(|text| serde_json::from_str::<Value>(&text).ok());
        let active = info.and_then(|info| Some(info.get("treeID")?.as_str()?.to_owned()));
        if active == Some(tree_id.to_string()) {
            writeln!(out, "service     has the new tree")?;
            return Ok(());
        }
        std::thread::sleep(LOOK);
    }
    bail!(
        "the service at {address} has not taken up the tree in {} s; its log says why",
        rotate.seconds
    )
}
