//! `ctlog-rs init`: everything that a new log needs, made together so that it fits together, and tested before anybody relies on it.
//!
//! ```text
//! FOLDER/ctlog-rs.toml                  settings
//! FOLDER/keys/<name>.pem, .pub.pem      private key, mode 0600, and the public one, for the CA
//! FOLDER/<name>/                        the log
//! FOLDER/checkpoints/<name>             copy of the last checkpoint: best moved to another volume
//! FOLDER/roots.pem                      what --roots named
//! FOLDER/trusted_root.fragment.json     for verifiers: the `ctlogs` of a trusted root
//! ```

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, ensure};
use jiff::Timestamp;
use keys::{Algorithm, PublicKey};
use serde_json::{Value, json};
use serve::Clock;
use signer::Signer;
use url::Url;
use wire::encoding::Bytes;

use super::name;
use crate::app::{self, Deps};
use crate::args::{Init, Shard};
use crate::config::{Config, LogConfig};
use crate::roots;

const SETTINGS: &str = "ctlog-rs.toml";

/// Makes it all, opens the log once, and compares what it says with the fragment.
pub(super) async fn run(init: &Init) -> anyhow::Result<()> {
    check_url(&init.shard.url)?;
    let folder = &init.folder;
    let settings = folder.join(SETTINGS);
    ensure!(
        !settings.exists(),
        "{} is there: this folder has a log already (the next one is begun by ctlog-rs rotate)",
        settings.display()
    );
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let mut own = String::new();
    if let Some(from) = &init.roots {
        let text = fs::read_to_string(from).with_context(|| from.display().to_string())?;
        write(folder, "roots.pem", &text)?;
        own.push_str("roots = \"roots.pem\"\n");
    }
    if let Some(url) = &init.trust_bundle {
        // A String takes everything.
        let _ = writeln!(own, "trust_bundle = \"{url}\"");
    }
    if init.without_leaf_index {
        own.push_str("leaf_index = false\n");
    }
    let plan = Plan::new(&init.shard, &own);
    let text = format!(
        "# Made by `ctlog-rs init`. ctlog-rs.example.toml in the source names and explains all keys. Paths are relative to this file.\n\n\
         [server]\nlisten = \"{}\"\n{}",
        init.listen, plan.table
    );
    // What would be written is read first.
    let config = Config::parse(&settings, &text)?;
    let log = config.log(None).context("one log")?;
    let made = plan.make(folder)?;
    write(folder, SETTINGS, &text)?;
    let fragment = made.fragment();
    write(
        folder,
        "trusted_root.fragment.json",
        &format!("{fragment:#}\n"),
    )?;
    test(log, &made.signer).await?;
    let out = &mut std::io::stdout();
    writeln!(out, "settings    {}", settings.display())?;
    writeln!(out, "origin      {}", log.origin())?;
    writeln!(out, "log id      {}", made.log_id())?;
    writeln!(
        out,
        "tested      the log was opened, and its checkpoint is that of the key in trusted_root.fragment.json"
    )?;
    writeln!(out, "next        ctlog-rs --config {}", settings.display())?;
    Ok(())
}

pub(super) fn check_url(url: &Url) -> anyhow::Result<()> {
    let fits = matches!(url.scheme(), "http" | "https")
        && url.has_host()
        && url.query().is_none()
        && url.fragment().is_none();
    ensure!(
        fits,
        "--url {url}: expected http or https, a host, and perhaps a path"
    );
    Ok(())
}

/// A new log that has no key yet.
pub(super) struct Plan {
    /// Its table of the settings.
    pub(super) table: String,
    url: Url,
    name: String,
}

impl Plan {
    /// `more` are further lines of the table. Paths are seen from the folder.
    pub(super) fn new(shard: &Shard, more: &str) -> Self {
        let url = &shard.url;
        let text = url.as_str().trim_end_matches('/');
        let name = name(text.split_once("://").map_or(text, |(_, rest)| rest));
        let mut table = format!(
            "\n[[log]]\nurl = \"{text}\"\nkey = \"keys/{name}.pem\"\nfolder = \"{name}\"\n\
             # Best on another volume: with it a log folder that was restored from an old backup is refused.\n\
             checkpoint_copy = \"checkpoints/{name}\"\n{more}"
        );
        for (key, time) in [
            ("not_after_start", shard.not_after_start),
            ("not_after_limit", shard.not_after_limit),
        ] {
            if let Some(time) = time {
                // A String takes everything.
                let _ = writeln!(table, "{key} = \"{time}\"");
            }
        }
        Self {
            table,
            url: url.clone(),
            name,
        }
    }

    /// Makes the key.
    pub(super) fn make(&self, folder: &Path) -> anyhow::Result<Made> {
        let keys = folder.join("keys");
        fs::create_dir_all(&keys).with_context(|| format!("cannot make {}", keys.display()))?;
        let name = &self.name;
        let path = keys.join(format!("{name}.pem"));
        let signer = Signer::create(&path, Algorithm::EcdsaP256Sha256)?;
        write(
            folder,
            &format!("keys/{name}.pub.pem"),
            &signer.public_key().to_pem(),
        )?;
        Ok(Made {
            signer,
            url: self.url.clone(),
        })
    }
}

/// A new log: its key.
pub(super) struct Made {
    pub(super) signer: Signer,
    url: Url,
}

impl Made {
    pub(super) fn log_id(&self) -> String {
        Bytes::encode(&self.signer.public_key().key_id())
    }

    /// The `ctlogs` of a trusted root.
    pub(super) fn fragment(&self) -> Value {
        json!({ "ctlogs": [instance(&self.url, self.signer.public_key(), Timestamp::now())] })
    }
}

fn instance(url: &Url, key: &PublicKey, now: Timestamp) -> Value {
    json!({
        "baseUrl": url.as_str().trim_end_matches('/'),
        "hashAlgorithm": "SHA2_256",
        "publicKey": {
            "rawBytes": Bytes::encode(key.spki_der()),
            "keyDetails": key.default_algorithm().wire_name(),
            "validFor": { "start": now.to_string() },
        },
        "logId": { "keyId": Bytes::encode(&key.key_id()) },
    })
}

fn write(folder: &Path, name: &str, text: &str) -> anyhow::Result<()> {
    let path = folder.join(name);
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// Opens the log as the service will, and opens its checkpoint with the key that is in the fragment. No entry is added.
pub(super) async fn test(config: &LogConfig, signer: &Signer) -> anyhow::Result<()> {
    let deps = Deps {
        signer: Signer::open(&config.key).await.context("log.key")?,
        roots: roots::open(&config.roots, &config.folder, &[]).await?,
        clock: Clock::system(),
    };
    let app = app::build(config, deps).await?;
    let origin = config.origin();
    let verifier = note::VerifierKey::rfc6962(&origin, signer.public_key().clone())?;
    note::open(&app.log.published().checkpoint, &[verifier])?;
    app.log.close().await;
    Ok(())
}
