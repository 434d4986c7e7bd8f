//! `ctlog-rs rotate --config FILE --url URL`: begins the next log beside those that are there.
//!
//! The command makes a key and appends a `[[log]]` table, with the roots of the newest log, to the settings file. A service looks at its settings
//! every few seconds, opens the new log, and goes on with all; nobody is turned away. If we crash after the key, it is not used; after the
//! table, the service takes the log up by itself, or on its next start.
//!
//! What remains is the operator's: the new key into the trusted root, then the CA to the new URL, and the old log frozen, when nobody sends to
//! it any more. (A CA with its logs in its own process goes on to the new one by itself, when the window of the old one is over or it is
//! frozen, and not before.)

use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};

use super::init::{Plan, check_url};
use crate::args::Rotate;
use crate::config::{Config, LogConfig};

/// From one question to the service to the next.
const LOOK: Duration = Duration::from_millis(250);

/// Adds a log, and waits until the service has it.
pub(super) fn run(rotate: &Rotate) -> anyhow::Result<()> {
    let path = &rotate.settings.config;
    check_url(&rotate.shard.url)?;
    let before = Config::load(path)?;
    let failed = || format!("cannot add the log to {}", path.display());
    let old = fs::read_to_string(path).with_context(failed)?;
    ensure!(
        old.lines().any(|line| line.trim() == "[[log]]"),
        "the log in {} is a table [log]: make it [[log]], so that there can be several",
        path.display()
    );
    let newest = before.logs.last().context("a log")?;
    let url = &rotate.shard.url;
    ensure!(
        before.log(Some(url)).is_none(),
        "there is a log {url} in the settings already"
    );
    let folder = serve::settings::beside(path, Path::new(""));
    let plan = Plan::new(&rotate.shard, &same(newest, &folder));
    // What would be written is read first.
    let parsed = Config::parse(path, &format!("{old}{}", plan.table)).with_context(failed)?;
    let log = parsed.log(Some(url)).context("the new log")?.clone();
    let made = plan.make(&folder)?;
    let mut file = OpenOptions::new()
        .append(true)
        .open(path)
        .with_context(failed)?;
    file.write_all(plan.table.as_bytes())
        .and_then(|()| file.sync_all())
        .with_context(failed)?;

    let out = &mut std::io::stdout();
    writeln!(out, "origin      {}", log.origin())?;
    writeln!(out, "log id      {}", made.log_id())?;
    writeln!(
        out,
        "trusted root, before anybody is given its SCTs:\n{:#}",
        made.fragment()
    )?;
    let address = before.server.listen;
    let running = |path: &str| serve::program::get(&address, path).ok();
    if running("/healthz").is_none() {
        writeln!(
            out,
            "service     not running (or with TLS) at {address}: the log is taken up when it starts"
        )?;
        return Ok(());
    }
    let checkpoint = format!("{}/checkpoint", log.prefix().unwrap_or_default());
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(rotate.seconds) {
        if running(&checkpoint).is_some_and(|text| text.lines().next() == Some(&log.origin())) {
            writeln!(out, "service     has the new log")?;
            return Ok(());
        }
        std::thread::sleep(LOOK);
    }
    bail!(
        "the service at {address} has not taken up the log in {} s; its log says why",
        rotate.seconds
    )
}

/// What the next log has in common with the newest one.
fn same(newest: &LogConfig, folder: &Path) -> String {
    let quoted = |path: &Path| quoted(path.strip_prefix(folder).unwrap_or(path));
    let mut text = String::new();
    // A String takes everything.
    if let Some(file) = &newest.roots.file {
        let _ = writeln!(text, "roots = {}", quoted(file));
    }
    if let Some(bundle) = &newest.roots.bundle {
        let _ = writeln!(text, "trust_bundle = \"{}\"", bundle.url);
        let _ = writeln!(text, "trust_bundle_seconds = {}", bundle.every.as_secs());
        if let Some(authorities) = &bundle.authorities {
            let _ = writeln!(text, "trust_bundle_authorities = {}", quoted(authorities));
        }
    }
    if !newest.leaf_index {
        text.push_str("leaf_index = false\n");
    }
    text
}

/// A string of TOML.
fn quoted(path: &Path) -> String {
    serde_json::Value::from(path.to_string_lossy().into_owned()).to_string()
}
