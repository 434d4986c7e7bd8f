//! `rekor-rs init`: everything that a new log needs, made together so that it fits together, and tested before anybody relies on it.
//!
//! ```text
//! FOLDER/rekor-rs.toml                  settings
//! FOLDER/keys/v2.pem, v1-<tree>.pem     private keys, mode 0600
//! FOLDER/keys/*.pub.pem                 the public ones
//! FOLDER/v2/, v1-<tree>/                the logs
//! FOLDER/checkpoints/                   copies of the last checkpoints: best moved to another volume
//! FOLDER/trusted_root.fragment.json     for verifiers: the `tlogs` of a trusted root
//! FOLDER/signing_config.fragment.json   for signers: the `rekorTlogUrls` of a signing config
//! FOLDER/log.vkey                       for witnesses and monitors: the verifier key of the v2 log
//! ```

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use keys::{Algorithm, PublicKey};
use note::VerifierKey;
use serde_json::{Value, json};
use serve::Clock;
use signer::Signer;
use tower::ServiceExt as _;

use crate::app::{self, App, Deps};
use crate::args::Init;
use crate::config::{Config, check_host};
use crate::storage::Storage;

const SETTINGS: &str = "rekor-rs.toml";
/// Beside the settings.
pub(super) const TRUSTED_ROOT: &str = "trusted_root.fragment.json";

/// The keys of a new log.
struct Keys {
    v2: Signer,
    v1: Option<(u64, Signer)>,
}

/// Makes it all, starts the log once, and compares what it says with the fragments.
pub async fn run(init: Init) -> anyhow::Result<()> {
    // First: what is before the colon of localhost:3000 is read as a scheme, and there is no host then.
    ensure!(
        matches!(init.url.scheme(), "http" | "https"),
        "--url {}: expected http or https, as in https://rekor.example.org",
        init.url
    );
    let host = init.url.host_str().unwrap_or_default().to_owned();
    check_host("--url", &host)?;
    let folder = &init.folder;
    let settings = folder.join(SETTINGS);
    ensure!(
        !settings.exists(),
        "{} is there: this folder has a log already",
        settings.display()
    );
    fs::create_dir_all(folder.join("keys"))
        .with_context(|| format!("cannot make {}", folder.join("keys").display()))?;
    let key = folder.join("keys/v2.pem");
    let v2 = Signer::create(&key, Algorithm::Ed25519)?;
    let v1 = if init.without_v1 {
        None
    } else {
        let tree_id = new_tree_id()?;
        let key = folder.join(format!("keys/v1-{tree_id}.pem"));
        Some((tree_id, Signer::create(&key, Algorithm::EcdsaP256Sha256)?))
    };
    let keys = Keys { v2, v1 };
    write(folder, "keys/v2.pub.pem", &keys.v2.public_key().to_pem())?;
    if let Some((tree_id, signer)) = &keys.v1 {
        let name = format!("keys/v1-{tree_id}.pub.pem");
        write(folder, &name, &signer.public_key().to_pem())?;
    }
    let now = Timestamp::now();
    let vkey = VerifierKey::new(&host, keys.v2.public_key().clone())?;
    let vkey = vkey.to_vkey().context("an Ed25519 key has a vkey")?;
    write(folder, SETTINGS, &text(&init, &host, &keys))?;
    let root = trusted_root(&init, &host, &keys, now)?;
    write(folder, TRUSTED_ROOT, &format!("{root:#}\n"))?;
    let signing = signing_config(&init, &host, &keys, now);
    write(
        folder,
        "signing_config.fragment.json",
        &format!("{signing:#}\n"),
    )?;
    write(folder, "log.vkey", &format!("{vkey}\n"))?;
    test(&settings, &root)
        .await
        .context("the log does not say what its trust fragments say")?;
    let out = &mut std::io::stdout();
    writeln!(out, "settings    {}", settings.display())?;
    writeln!(out, "origin      {host}")?;
    writeln!(out, "vkey        {vkey}")?;
    if let Some((tree_id, _)) = &keys.v1 {
        writeln!(out, "v1 tree     {tree_id}")?;
    }
    writeln!(
        out,
        "tested      the log was opened, and its checkpoints and keys are those of trusted_root.fragment.json"
    )?;
    writeln!(out, "next        rekor-rs --config {}", settings.display())?;
    Ok(())
}

/// Not 0, below 2^63; the chance that another tree of this log has it is nothing.
pub(super) fn new_tree_id() -> anyhow::Result<u64> {
    let id = u64::from_be_bytes(signer::random::bytes()?) >> 1;
    Ok(id.max(1))
}

fn write(folder: &Path, name: &str, text: &str) -> anyhow::Result<()> {
    let path = folder.join(name);
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// The settings; rekor-rs.example.toml explains these keys and all others.
fn text(init: &Init, host: &str, keys: &Keys) -> String {
    let mut text = format!(
        "# Made by `rekor-rs init`. rekor-rs.example.toml in the source names and explains all keys. Paths are relative to this file.\n\n\
         [server]\nlisten = \"{}\"\n\n\
         [log]\norigin = \"{host}\"\nkey = \"keys/v2.pem\"\nfolder = \"v2\"\n\
         # Best on another volume: with it a log folder that was restored from an old backup is refused.\n\
         checkpoint_copy = \"checkpoints/v2\"\n",
        init.listen
    );
    if !init.without_search {
        text.push_str("\n[search]\nfile = \"search.sqlite\"\n");
    }
    if let Some((tree_id, _)) = &keys.v1 {
        let _ = write!(
            text,
            "\n[v1]\nhost = \"{host}\"\nattestations = \"attestations\"\n"
        );
        text.push_str(&shard(*tree_id, false));
    }
    text
}

/// The table of a v1 tree.
pub(super) fn shard(tree_id: u64, in_cluster: bool) -> String {
    let folder = if in_cluster {
        String::new()
    } else {
        format!("folder = \"v1-{tree_id}\"\n")
    };
    format!(
        "\n[[v1.shards]]\ntree_id = {tree_id}\nkey = \"keys/v1-{tree_id}.pem\"\n{folder}\
         checkpoint_copy = \"checkpoints/v1-{tree_id}\"\n"
    )
}

fn trusted_root(init: &Init, host: &str, keys: &Keys, now: Timestamp) -> anyhow::Result<Value> {
    let v2 = keys.v2.public_key();
    let id = VerifierKey::new(host, v2.clone())?.id().to_vec();
    let mut tlogs = vec![instance(init, v2, &id, now)];
    if let Some((_, signer)) = &keys.v1 {
        let key = signer.public_key();
        tlogs.push(instance(init, key, &key.key_id(), now));
    }
    Ok(json!({ "tlogs": tlogs }))
}

fn base_url(init: &Init) -> &str {
    init.url.as_str().trim_end_matches('/')
}

pub(super) fn instance_of(base_url: &str, key: &PublicKey, id: &[u8], now: Timestamp) -> Value {
    json!({
        "baseUrl": base_url,
        "hashAlgorithm": "SHA2_256",
        "publicKey": {
            "rawBytes": STANDARD.encode(key.spki_der()),
            "keyDetails": key.default_algorithm().wire_name(),
            "validFor": { "start": now.to_string() },
        },
        "logId": { "keyId": STANDARD.encode(id) },
    })
}

fn instance(init: &Init, key: &PublicKey, id: &[u8], now: Timestamp) -> Value {
    instance_of(base_url(init), key, id, now)
}

fn signing_config(init: &Init, host: &str, keys: &Keys, now: Timestamp) -> Value {
    let operator = init.operator.as_deref().unwrap_or(host);
    let url = |version: u32| {
        json!({
            "url": base_url(init),
            "majorApiVersion": version,
            "validFor": { "start": now.to_string() },
            "operator": operator,
        })
    };
    let mut urls = vec![url(2)];
    if keys.v1.is_some() {
        urls.push(url(1));
    }
    json!({ "rekorTlogUrls": urls, "rekorTlogConfig": { "selector": "ANY" } })
}

/// Opens the logs as the service will, and asks them what clients ask. No entry is added.
async fn test(settings: &Path, root: &Value) -> anyhow::Result<()> {
    let config = Config::load(settings)?;
    let deps = Deps::of(&config, Storage::Folders, Clock::system()).await?;
    let App { router, .. } = app::build(&config.log, deps).await?;
    let ask = async |path: &str| -> anyhow::Result<Vec<u8>> {
        let request = Request::get(path).body(Body::empty())?;
        let answer = router.clone().oneshot(request).await?;
        ensure!(
            answer.status() == StatusCode::OK,
            "GET {path}: {}",
            answer.status()
        );
        Ok(to_bytes(answer.into_body(), 1 << 20).await?.to_vec())
    };
    let text = |value: &Value, at: &str| {
        let text = value.pointer(at).and_then(Value::as_str);
        text.unwrap_or_default().to_owned()
    };
    let tlogs = root.get("tlogs").and_then(Value::as_array);
    for tlog in tlogs.into_iter().flatten() {
        let bytes = |at| STANDARD.decode(text(tlog, at));
        let key = PublicKey::from_spki_der(&bytes("/publicKey/rawBytes")?)?;
        let id = bytes("/logId/keyId")?;
        let url: url::Url = text(tlog, "/baseUrl").parse()?;
        // As sigstore-go does it: the name is the host of the base URL.
        let host = url.host_str().unwrap_or_default();
        let verifier = VerifierKey::with_log_id(host, key.clone(), &id)?;
        let checkpoint = if key.default_algorithm() == Algorithm::Ed25519 {
            ask("/checkpoint").await?
        } else {
            let pem = String::from_utf8(ask("/api/v1/log/publicKey").await?)?;
            if PublicKey::from_pem(&pem)? != key {
                bail!("/api/v1/log/publicKey is another key");
            }
            let info: Value = serde_json::from_slice(&ask("/api/v1/log").await?)?;
            text(&info, "/signedTreeHead").into_bytes()
        };
        note::open(&checkpoint, std::slice::from_ref(&verifier))?;
    }
    ask("/readyz").await?;
    Ok(())
}
