//! Settings.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serve::{Limits, Server, ServerSettings, SettingsError, settings};
use signer::KeyRef;
use url::Url;

use crate::admit::Window;
use crate::roots::{BundleSource, Sources};

/// TesseraCT's limit of a chain: 512 KiB. Fulcio's have 5 kB.
const BODY: usize = 512 << 10;
/// The most logs of one process.
const MAX_LOGS: usize = 16;
/// The maximum merge delay: entries are in the tree before their SCT is given, and RFC 6962 section 3.5 asks for a tree head that is not older.
pub(crate) const MERGE_DELAY: Duration = Duration::from_hours(24);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawConfig {
    server: ServerSettings,
    log: RawLogs,
}

/// `[log]`, or several `[[log]]`.
#[derive(Debug)]
struct RawLogs {
    tables: Vec<RawLog>,
    several: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLog {
    url: String,
    key: String,
    key_secret_file: Option<PathBuf>,
    roots: Option<PathBuf>,
    trust_bundle: Option<String>,
    trust_bundle_authorities: Option<PathBuf>,
    trust_bundle_seconds: Option<u64>,
    folder: PathBuf,
    checkpoint_copy: Option<PathBuf>,
    leaf_index: Option<bool>,
    queue: Option<usize>,
    not_after_start: Option<String>,
    not_after_limit: Option<String>,
    tree_head_seconds: Option<u64>,
}

impl<'de> Deserialize<'de> for RawLogs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Tables;
        impl<'de> Visitor<'de> for Tables {
            type Value = RawLogs;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a table [log], or tables [[log]]")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                let table = RawLog::deserialize(MapAccessDeserializer::new(map))?;
                Ok(RawLogs {
                    tables: vec![table],
                    several: false,
                })
            }

            fn visit_seq<A: SeqAccess<'de>>(self, sequence: A) -> Result<Self::Value, A::Error> {
                Ok(RawLogs {
                    tables: Vec::deserialize(SeqAccessDeserializer::new(sequence))?,
                    several: true,
                })
            }
        }
        // A table that is wrong is complained of in its own words.
        deserializer.deserialize_any(Tables)
    }
}

/// Checked settings.
#[derive(Debug)]
pub struct Config {
    /// The `[server]` table.
    pub server: Server,
    /// The `[log]` table, or the `[[log]]` tables, oldest first; at least one.
    pub logs: Vec<LogConfig>,
    /// They are `[[log]]` tables, to which new ones may be added while the service runs.
    pub may_grow: bool,
}

/// Settings of one log.
#[derive(Clone, Debug)]
pub struct LogConfig {
    /// The submission URL, under which clients know the log.
    pub url: Url,
    /// The ECDSA P-256 key.
    pub key: KeyRef,
    /// The certificates that chains must end in.
    pub roots: Sources,
    /// Folder of the log.
    pub folder: PathBuf,
    /// Second copy of the last checkpoint.
    pub checkpoint_copy: Option<PathBuf>,
    /// Does the SCT carry the leaf's index? static-ct-api demands it, and clients before 2026 refuse it.
    pub leaf_index: bool,
    /// Certificates that may wait for the sequencer.
    pub queue: usize,
    /// Which certificates the log takes.
    pub window: Window,
    /// When a tree head is this old, it is signed again.
    pub tree_head_age: Duration,
}

impl Config {
    /// Reads and checks a settings file. Paths in it are relative to its folder.
    pub fn load(path: &Path) -> Result<Self, SettingsError> {
        Self::checked(path, settings::load(path)?)
    }

    /// Checks the text of a settings file that would be at `path`.
    pub fn parse(path: &Path, text: &str) -> Result<Self, SettingsError> {
        Self::checked(path, settings::parse(path, text)?)
    }

    fn checked(path: &Path, raw: RawConfig) -> Result<Self, SettingsError> {
        let may_grow = raw.log.several;
        let logs = raw.log.tables.into_iter().map(|log| log.checked(path));
        let logs = logs.collect::<Result<Vec<_>, _>>()?;
        if logs.is_empty() || logs.len() > MAX_LOGS {
            let message = format!("expected 1 to {MAX_LOGS} logs");
            return Err(SettingsError::value("log", message));
        }
        check_apart(&logs)?;
        Ok(Self {
            server: raw.server.checked(Limits {
                body: BODY,
                ..Limits::default()
            })?,
            logs,
            may_grow,
        })
    }

    /// The log with this submission URL; without one, the only log.
    pub fn log(&self, url: Option<&Url>) -> Option<&LogConfig> {
        match (url, self.logs.as_slice()) {
            (None, [only]) => Some(only),
            (None, _) => None,
            (Some(url), logs) => logs.iter().find(|log| {
                log.url.as_str().trim_end_matches('/') == url.as_str().trim_end_matches('/')
            }),
        }
    }
}

/// Logs of one process share nothing: neither path, name, key nor folder.
fn check_apart(logs: &[LogConfig]) -> Result<(), SettingsError> {
    for (position, log) in logs.iter().enumerate() {
        for other in logs.iter().skip(position.saturating_add(1)) {
            let url = &other.url;
            if log.prefix() == other.prefix() {
                let message =
                    format!("{url}: two logs have this path, by which they are told apart");
                return Err(SettingsError::value("log.url", message));
            }
            if log.key == other.key {
                let message =
                    format!("{url}: two logs have this key, and clients know a log by its key");
                return Err(SettingsError::value("log.key", message));
            }
            if log.folder == other.folder {
                let message = format!("{url}: two logs have this folder");
                return Err(SettingsError::value("log.folder", message));
            }
            if log.checkpoint_copy.is_some() && log.checkpoint_copy == other.checkpoint_copy {
                let message = format!("{url}: two logs have this copy of the last checkpoint");
                return Err(SettingsError::value("log.checkpoint_copy", message));
            }
        }
    }
    Ok(())
}

impl RawLog {
    fn checked(self, path: &Path) -> Result<LogConfig, SettingsError> {
        let beside = |named: &Path| settings::beside(path, named);
        let queue = self.queue.unwrap_or(4096);
        if !(1..=1 << 20).contains(&queue) {
            return Err(SettingsError::value("log.queue", "expected 1 to 1048576"));
        }
        let url = Url::parse(&self.url)
            .ok()
            .filter(|url| url.has_host() && url.query().is_none() && url.fragment().is_none())
            .filter(is_plain)
            .ok_or_else(|| {
                let message = format!("{:?} is not the URL of a log", self.url);
                SettingsError::value("log.url", message)
            })?;
        let secret = self.key_secret_file.as_deref();
        let key = KeyRef::parse(&self.key, secret, &beside(Path::new("")))
            .map_err(|error| SettingsError::value("log.key", error.to_string()))?;
        let window = Window {
            start: time("log.not_after_start", self.not_after_start.as_deref())?,
            limit: time("log.not_after_limit", self.not_after_limit.as_deref())?,
        };
        if let (Some(start), Some(limit)) = (window.start, window.limit)
            && start >= limit
        {
            let message = format!("{limit} is not after not_after_start, {start}");
            return Err(SettingsError::value("log.not_after_limit", message));
        }
        let age = self.tree_head_seconds.unwrap_or(3600);
        if !(1..MERGE_DELAY.as_secs()).contains(&age) {
            let message =
                "expected 1 to 86399: a tree head may not be older than the merge delay, a day";
            return Err(SettingsError::value("log.tree_head_seconds", message));
        }
        let bundle = bundle(
            self.trust_bundle.as_deref(),
            self.trust_bundle_authorities.as_deref().map(beside),
            self.trust_bundle_seconds,
        )?;
        Ok(LogConfig {
            url,
            key,
            roots: Sources {
                file: self.roots.as_deref().map(beside),
                bundle,
            },
            folder: beside(&self.folder),
            checkpoint_copy: self.checkpoint_copy.as_deref().map(beside),
            leaf_index: self.leaf_index.unwrap_or(true),
            queue,
            window,
            tree_head_age: Duration::from_secs(age),
        })
    }
}

/// The path is one of routes, and of file names: plain words.
fn is_plain(url: &Url) -> bool {
    let path = url.path().trim_start_matches('/').trim_end_matches('/');
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    path.is_empty()
        || path
            .split('/')
            .all(|word| !word.is_empty() && word.bytes().all(plain))
}

fn time(key: &'static str, text: Option<&str>) -> Result<Option<Timestamp>, SettingsError> {
    let Some(text) = text else { return Ok(None) };
    text.parse().map(Some).map_err(|_| {
        let message = format!("{text:?} is no time: expected one as 2027-01-01T00:00:00Z");
        SettingsError::value(key, message)
    })
}

fn bundle(
    url: Option<&str>,
    authorities: Option<PathBuf>,
    seconds: Option<u64>,
) -> Result<Option<BundleSource>, SettingsError> {
    let Some(text) = url else {
        if authorities.is_some() || seconds.is_some() {
            let message = "trust_bundle_authorities and trust_bundle_seconds go with it";
            return Err(SettingsError::value("log.trust_bundle", message));
        }
        return Ok(None);
    };
    let url = Url::parse(text).ok().filter(|url| {
        matches!(url.scheme(), "http" | "https") && url.has_host() && url.query().is_none()
    });
    let url = url.ok_or_else(|| {
        let message = format!("{text:?} is not the base URL of a Fulcio");
        SettingsError::value("log.trust_bundle", message)
    })?;
    let seconds = seconds.unwrap_or(300);
    if !(5..=86_400).contains(&seconds) {
        let message = "expected 5 to 86400";
        return Err(SettingsError::value("log.trust_bundle_seconds", message));
    }
    Ok(Some(BundleSource {
        url,
        authorities,
        every: Duration::from_secs(seconds),
    }))
}

impl LogConfig {
    /// A log with the defaults, for tests and tools: it takes the roots that it is given.
    pub fn new(url: Url, key: KeyRef, folder: impl Into<PathBuf>) -> Self {
        Self {
            url,
            key,
            roots: Sources {
                file: None,
                bundle: None,
            },
            folder: folder.into(),
            checkpoint_copy: None,
            leaf_index: true,
            queue: 4096,
            window: Window::default(),
            tree_head_age: Duration::from_hours(1),
        }
    }

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
            refresh: Some(self.tree_head_age),
            ..sequencer::Config::new(self.folder.join("log"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<Config, SettingsError> {
        let text = format!("[server]\nlisten = 'localhost:0'\n{text}");
        Config::parse(Path::new("/etc/ctlog/ctlog.toml"), &text)
    }

    #[test]
    fn the_example_file_loads() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
        let config = Config::load(&folder.join("ctlog-rs.example.toml")).unwrap();
        let log = config.log(None).unwrap();
        assert_eq!(log.origin(), "ctlog.example.org/2026");
        assert_eq!(log.prefix(), Some("/2026"));
        assert_eq!(config.server.limits.body, BODY);
        assert!(log.leaf_index);
    }

    #[test]
    fn a_url_without_a_path_is_served_at_the_root() {
        let config =
            load("[log]\nurl = 'http://localhost:6962/'\nkey = 'k'\nroots = 'r'\nfolder = 'd'");
        let log = &config.unwrap().logs[0];
        assert_eq!(
            (log.origin().as_str(), log.prefix()),
            ("localhost:6962", None)
        );
    }

    #[test]
    fn a_path_is_made_of_plain_words() {
        let load = |url: &str| load(&format!("[log]\nurl = '{url}'\nkey = 'k'\nfolder = 'd'"));
        for url in [
            "http://h/a/b-c_d.2026/",
            "https://h:8080",
            "http://[::1]:1/x",
        ] {
            load(url).unwrap();
        }
        for url in [
            "h/1",
            "http://h/{x}",
            "http://h/:x",
            "http://h/*x",
            "http://h/a//b",
            "http://h/?q",
            "http://h/#f",
            "http://h/a%20b",
        ] {
            assert!(load(url).is_err(), "{url}");
        }
    }

    #[test]
    fn several_logs_share_nothing() {
        let two = |second: &str| {
            load(&format!(
                "[[log]]\nurl = 'http://h/1'\nkey = 'k1'\nroots = 'r'\nfolder = 'f1'\ncheckpoint_copy = 'c1'\n\
                 [[log]]\nroots = 'r'\n{second}"
            ))
        };
        let good = two("url = 'http://h/2'\nkey = 'k2'\nfolder = 'f2'\ncheckpoint_copy = 'c2'");
        let good = good.unwrap();
        assert!(good.log(None).is_none());
        let url = "http://h/2/".parse().unwrap();
        assert_eq!(good.log(Some(&url)).unwrap().origin(), "h/2");
        for (second, key) in [
            ("url = 'http://g/1'\nkey = 'k2'\nfolder = 'f2'", "log.url"),
            ("url = 'http://h/2'\nkey = 'k1'\nfolder = 'f2'", "log.key"),
            (
                "url = 'http://h/2'\nkey = 'k2'\nfolder = 'f1'",
                "log.folder",
            ),
            (
                "url = 'http://h/2'\nkey = 'k2'\nfolder = 'f2'\ncheckpoint_copy = 'c1'",
                "log.checkpoint_copy",
            ),
        ] {
            let error = two(second).unwrap_err();
            assert!(
                matches!(&error, SettingsError::Value { key: named, .. } if *named == key),
                "{error}"
            );
        }
        // What is wrong in a table is said in its own words.
        let error = two("url = 'http://h/2'\nkey = 'k2'\nfolder = 'f2'\nqueu = 1").unwrap_err();
        assert!(error.to_string().contains("queu"), "{error}");
    }

    #[test]
    fn values_that_make_no_sense_are_named() {
        const LOG: &str = "[log]\nurl = 'http://h/1'\nkey = 'k'\nfolder = 'f'\n";
        for (text, key) in [
            ("roots = 'r'\nqueue = 0", "log.queue"),
            (
                "roots = 'r'\nnot_after_start = 'tomorrow'",
                "log.not_after_start",
            ),
            (
                "roots = 'r'\nnot_after_start = '2027-01-01T00:00:00Z'\nnot_after_limit = '2027-01-01T00:00:00Z'",
                "log.not_after_limit",
            ),
            (
                "roots = 'r'\ntree_head_seconds = 86400",
                "log.tree_head_seconds",
            ),
            ("trust_bundle = 'ftp://h'", "log.trust_bundle"),
            ("roots = 'r'\ntrust_bundle_seconds = 9", "log.trust_bundle"),
            (
                "trust_bundle = 'http://h'\ntrust_bundle_seconds = 1",
                "log.trust_bundle_seconds",
            ),
        ] {
            let error = load(&format!("{LOG}{text}")).unwrap_err();
            assert!(
                matches!(&error, SettingsError::Value { key: named, .. } if *named == key),
                "{text}: {error}"
            );
        }
        let window = load(&format!(
            "{LOG}roots = 'r'\nnot_after_start = '2026-07-01T00:00:00Z'\nnot_after_limit = '2027-01-01T00:00:00Z'"
        ));
        let window = window.unwrap().logs[0].window;
        let at = |text: &str| window.holds(text.parse().unwrap());
        assert!(at("2026-07-01T00:00:00Z") && at("2026-12-31T23:59:59Z"));
        assert!(!at("2026-06-30T23:59:59Z") && !at("2027-01-01T00:00:00Z"));
    }
}
