//! Settings.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serve::{Limits, Server, ServerSettings, SettingsError, settings};
use signer::KeyRef;
use url::Url;

/// TesseraCT's limit of a chain: 512 KiB. Fulcio's have 5 kB.
const BODY: usize = 512 << 10;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawConfig {
    server: ServerSettings,
    log: RawLog,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLog {
    url: String,
    key: String,
    key_secret_file: Option<PathBuf>,
    roots: PathBuf,
    folder: PathBuf,
    checkpoint_copy: Option<PathBuf>,
    leaf_index: Option<bool>,
    queue: Option<usize>,
}

/// Checked settings.
#[derive(Debug)]
pub struct Config {
    /// The `[server]` table.
    pub server: Server,
    /// The `[log]` table.
    pub log: LogConfig,
}

/// Settings of the log itself.
#[derive(Clone, Debug)]
pub struct LogConfig {
    /// The submission URL, under which clients know the log.
    pub url: Url,
    /// The ECDSA P-256 key.
    pub key: KeyRef,
    /// File of the roots that chains must end in, PEM.
    pub roots: PathBuf,
    /// Folder of the log.
    pub folder: PathBuf,
    /// Second copy of the last checkpoint.
    pub checkpoint_copy: Option<PathBuf>,
    /// Does the SCT carry the leaf's index? static-ct-api demands it, and clients before 2026 refuse it.
    pub leaf_index: bool,
    /// Certificates that may wait for the sequencer.
    pub queue: usize,
}

impl Config {
    /// Reads and checks a settings file. Paths in it are relative to its folder.
    pub fn load(path: &Path) -> Result<Self, SettingsError> {
        let raw: RawConfig = settings::load(path)?;
        let queue = raw.log.queue.unwrap_or(4096);
        if !(1..=1 << 20).contains(&queue) {
            return Err(SettingsError::value("log.queue", "expected 1 to 1048576"));
        }
        let url = Url::parse(&raw.log.url)
            .ok()
            .filter(|url| url.has_host() && url.query().is_none() && url.fragment().is_none())
            .ok_or_else(|| {
                SettingsError::value(
                    "log.url",
                    format!("{:?} is not the URL of a log", raw.log.url),
                )
            })?;
        let beside = |named: &Path| settings::beside(path, named);
        let secret = raw.log.key_secret_file.as_deref();
        let key = KeyRef::parse(&raw.log.key, secret, &beside(Path::new("")))
            .map_err(|error| SettingsError::value("log.key", error.to_string()))?;
        Ok(Self {
            server: raw.server.checked(Limits {
                body: BODY,
                ..Limits::default()
            })?,
            log: LogConfig {
                url,
                key,
                roots: beside(&raw.log.roots),
                folder: beside(&raw.log.folder),
                checkpoint_copy: raw.log.checkpoint_copy.as_deref().map(beside),
                leaf_index: raw.log.leaf_index.unwrap_or(true),
                queue,
            },
        })
    }
}

impl LogConfig {
    /// static-ct-api: the submission prefix as a schema-less URL with no trailing slash.
    pub fn origin(&self) -> String {
        let text = self.url.as_str().trim_end_matches('/');
        text.split_once("://")
            .map_or(text, |(_, rest)| rest)
            .to_owned()
    }

    /// The path below which the log is served besides the root; none where its URL has no path.
    pub(crate) fn prefix(&self) -> Option<&str> {
        Some(self.url.path().trim_end_matches('/')).filter(|path| !path.is_empty())
    }

    /// What the engine has to know.
    pub(crate) fn engine(&self) -> sequencer::Config {
        sequencer::Config {
            checkpoint_copy: self.checkpoint_copy.clone(),
            queue: self.queue,
            ..sequencer::Config::new(self.folder.join("log"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_file_loads() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("ctlog-rs.example.toml");
        let config = Config::load(&path).unwrap();
        assert_eq!(config.log.origin(), "ctlog.example.org/2026");
        assert_eq!(config.log.prefix(), Some("/2026"));
        assert!(config.log.leaf_index);
        assert_eq!(config.server.limits.body, BODY);
    }
}
