//! Settings.

use std::path::{Path, PathBuf};

use keys::Algorithm;
use serde::Deserialize;
use serve::{Limits, Server, ServerSettings, SettingsError, settings};
use signer::KeyRef;

use crate::search::SearchPlace;
use crate::storage::{Home, RawCluster};
use crate::v1::config::{RawV1, V1Config};
use crate::witnessing::{RawWitnessing, WitnessingConfig};

/// rekor-tiles' limit of a request: 4 MiB. Only an envelope with a large payload gets near it.
pub(crate) const BODY: usize = 4 << 20;

/// The settings file, as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawConfig {
    server: ServerSettings,
    log: RawLog,
    v1: Option<RawV1>,
    search: Option<RawSearch>,
    witnessing: Option<RawWitnessing>,
    cluster: Option<RawCluster>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSearch {
    file: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLog {
    origin: String,
    key: String,
    key_secret_file: Option<PathBuf>,
    folder: Option<PathBuf>,
    checkpoint_copy: Option<PathBuf>,
    duplicates: Option<Duplicates>,
    dsse: Option<bool>,
    queue: Option<usize>,
}

/// Checked settings.
#[derive(Debug)]
pub struct Config {
    /// The `[server]` table.
    pub server: Server,
    /// The `[log]` table.
    pub log: LogConfig,
    /// The `[v1]` table.
    pub v1: Option<V1Config>,
    /// The `[search]` table: where the index is.
    pub search: Option<SearchPlace>,
    /// The `[witnessing]` table.
    pub witnessing: Option<WitnessingConfig>,
    /// The `[cluster]` table.
    pub cluster: Option<cluster::Settings>,
}

/// Settings of the log itself.
#[derive(Clone, Debug)]
pub struct LogConfig {
    /// Name of the log in its checkpoints: the host name of its base URL, without scheme and port.
    pub origin: String,
    /// The Ed25519 key.
    pub key: KeyRef,
    /// Where the log is.
    pub home: Home,
    /// Second copy of the last checkpoint.
    pub checkpoint_copy: Option<PathBuf>,
    /// What happens to an entry that is there already.
    pub duplicates: Duplicates,
    /// Whether dsse requests are taken.
    pub dsse: bool,
    /// Entries that may wait for the sequencer.
    pub queue: usize,
}

/// The answer to an entry that the log has already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Duplicates {
    /// 409 with the index, as rekor-tiles answers.
    #[default]
    Conflict,
    /// 201 with the old index and a fresh proof.
    Proof,
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
        let limits = Limits {
            body: BODY,
            ..Limits::default()
        };
        let queue = raw.log.queue.unwrap_or(4096);
        if !(1..=1 << 20).contains(&queue) {
            return Err(SettingsError::value("log.queue", "expected 1 to 1048576"));
        }
        check_host("log.origin", &raw.log.origin)?;
        let beside = |named: &Path| settings::beside(path, named);
        let cluster = raw.cluster.map(|table| table.checked(path)).transpose()?;
        let folder = home("log.folder", path, raw.log.folder, cluster.is_some())?;
        let witnessing = raw.witnessing.map(|table| table.checked(path));
        let v1 = raw.v1.map(|v1| v1.checked(path, queue, cluster.is_some()));
        let v1 = v1.transpose()?;
        let search = raw.search.map(|search| match search.file {
            Some(file) => Ok(SearchPlace::File(beside(&file))),
            None if cluster.is_some() => Ok(SearchPlace::Cluster),
            None => {
                let message = "expected the file of the index; only with [cluster] it may be left out, and the index is in its database";
                Err(SettingsError::value("search.file", message))
            }
        });
        let secret = raw.log.key_secret_file.as_deref();
        let key = key_ref("log.key", &raw.log.key, secret, path)?;
        Ok(Self {
            server: raw.server.checked(limits)?,
            v1,
            search: search.transpose()?,
            witnessing: witnessing.transpose()?,
            cluster,
            log: LogConfig {
                home: Home {
                    folder,
                    tree: raw.log.origin.clone(),
                },
                origin: raw.log.origin,
                key,
                checkpoint_copy: raw.log.checkpoint_copy.as_deref().map(beside),
                duplicates: raw.log.duplicates.unwrap_or_default(),
                dsse: raw.log.dsse.unwrap_or(true),
                queue,
            },
        })
    }
}

impl LogConfig {
    /// What the engine has to know.
    pub fn engine(&self) -> sequencer::Config {
        sequencer::Config {
            checkpoint_copy: self.checkpoint_copy.clone(),
            queue: self.queue,
            ..sequencer::Config::new(&self.home.folder)
        }
    }
}

/// The folder of a log, which must be named where there is no `[cluster]`, and only there.
pub(crate) fn home(
    key: &'static str,
    settings: &Path,
    folder: Option<PathBuf>,
    in_cluster: bool,
) -> Result<PathBuf, SettingsError> {
    match (folder, in_cluster) {
        (Some(folder), false) => Ok(settings::beside(settings, &folder)),
        (None, true) => Ok(PathBuf::new()),
        (None, false) => Err(SettingsError::value(key, "expected the folder of the log")),
        (Some(_), true) => Err(SettingsError::value(
            key,
            "with [cluster] the logs are in the database and the bucket: leave the folder out",
        )),
    }
}

/// Where a key is; paths are seen from the settings file.
pub(crate) fn key_ref(
    setting: &'static str,
    text: &str,
    secret: Option<&Path>,
    settings: &Path,
) -> Result<KeyRef, SettingsError> {
    let folder = settings::beside(settings, Path::new(""));
    KeyRef::parse(text, secret, &folder)
        .map_err(|error| SettingsError::value(setting, error.to_string()))
}

/// Clients compare the origin with the host name in the trusted root's base URL (sigstore-go drops the port).
pub(crate) fn check_host(key: &'static str, host: &str) -> Result<(), SettingsError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-');
    if !host.is_empty() && host.bytes().all(plain) {
        return Ok(());
    }
    let message = "expected the host name of the log's base URL, without scheme, port and path";
    Err(SettingsError::value(key, message))
}

/// The key of a Rekor v2 log is Ed25519: witnesses and monitors take no other (C2SP tlog-tiles).
pub const KEY_ALGORITHM: Algorithm = Algorithm::Ed25519;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_file_loads() {
        let path = Path::new(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/rekor-rs.example.toml"
        ));
        let config = Config::load(path).unwrap();
        assert_eq!(config.log.origin, "rekor.example.org");
        assert_eq!(config.server.limits.body, BODY);
        assert_eq!(config.log.duplicates, Duplicates::Conflict);
        assert!(config.log.home.folder.is_absolute());
    }

    #[test]
    fn a_key_may_be_elsewhere_and_its_pin_is_not_shown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rekor.toml");
        let load = |key: &str, shard: &str| {
            let text = format!(
                "[server]\nlisten = 'localhost:0'\n[log]\norigin = 'localhost'\nfolder = 'l'\n{key}\n\
                 [v1]\nhost = 'localhost'\n[[v1.shards]]\ntree_id = 1\nfolder = 's'\n{shard}\n"
            );
            std::fs::write(&path, text).unwrap();
            Config::load(&path)
        };
        let token = "key = 'pkcs11:token=t;object=o?module-path=/m.so&pin-value=97531'";
        let file = "key = 'k'\nkey_secret_file = 'p'";
        let config = load(token, file).unwrap();
        let shown = format!("{config:?}");
        assert!(shown.contains("pkcs11:token=t;object=o") && !shown.contains("97531"));
        let secret = Some(Path::new("p"));
        let shard = config
            .v1
            .and_then(|v1| v1.shards.into_iter().next())
            .unwrap();
        assert_eq!(
            shard.key,
            KeyRef::parse("k", secret, folder.path()).unwrap()
        );
        for (key, shard, setting) in [
            ("key = 'k8s://k'", file, "log.key"),
            (file, "key = 'env:K'", "v1.shards.key"),
        ] {
            let error = load(key, shard).unwrap_err();
            assert!(
                matches!(&error, SettingsError::Value { key, .. } if *key == setting),
                "{error}"
            );
        }
    }

    #[test]
    fn the_index_of_a_cluster_is_in_its_database_unless_a_file_is_named() {
        let parse = |search: &str, cluster: bool| {
            let (folder, cluster) = if cluster {
                let cluster = "[cluster]\ndatabase = 'postgres://u@localhost/d'\nbucket = 'b'\nregion = 'r'\naddress = 'http://localhost:1'\n";
                ("", cluster)
            } else {
                ("folder = 'l'\n", "")
            };
            let text = format!(
                "[server]\nlisten = 'localhost:0'\n[log]\norigin = 'localhost'\nkey = 'k'\n{folder}{cluster}{search}"
            );
            Config::parse(Path::new("/x/rekor.toml"), &text).map(|config| config.search)
        };
        let file = Some(SearchPlace::File(PathBuf::from("/x/s.sqlite")));
        for cluster in [false, true] {
            assert_eq!(parse("", cluster).unwrap(), None);
            assert_eq!(
                parse("[search]\nfile = 's.sqlite'\n", cluster).unwrap(),
                file
            );
            assert!(parse("[search]\ndatabase = 'x'\n", cluster).is_err());
        }
        assert_eq!(
            parse("[search]\n", true).unwrap(),
            Some(SearchPlace::Cluster)
        );
        let error = parse("[search]\n", false).unwrap_err();
        assert!(
            matches!(
                &error,
                SettingsError::Value {
                    key: "search.file",
                    ..
                }
            ),
            "{error}"
        );
    }

    #[test]
    fn origins_are_host_names() {
        for origin in [
            "",
            "https://rekor.example",
            "rekor.example:3000",
            "a b",
            "a+b",
            "a/b",
        ] {
            assert!(check_host("log.origin", origin).is_err(), "{origin}");
        }
        assert!(
            check_host("log.origin", "localhost").is_ok()
                && check_host("log.origin", "log2026-1.rekor.example").is_ok()
        );
    }
}
