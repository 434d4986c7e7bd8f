//! Settings.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serve::{Limits, Server, ServerSettings, SettingsError, settings};
use signer::KeyRef;
use url::Url;

/// A token has 16 KiB at most, a request for RSA-4096 another 6.
const BODY: usize = 256 << 10;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawConfig {
    server: ServerSettings,
    ca: RawAuthority,
    ct_log: RawCtLog,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawAuthority {
    key: String,
    key_secret_file: Option<PathBuf>,
    chain: PathBuf,
    issuers: PathBuf,
    #[serde(default)]
    single_use_tokens: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCtLog {
    url: Option<String>,
    public_key: Option<PathBuf>,
    #[serde(default)]
    none: bool,
}

/// Checked settings.
#[derive(Debug)]
pub struct Config {
    /// The `[server]` table.
    pub server: Server,
    /// The `[ca]` table.
    pub authority: AuthorityConfig,
    /// The `[ct_log]` table.
    pub ct_log: CtLogConfig,
}

/// Files of the authority.
#[derive(Debug, Clone)]
pub struct AuthorityConfig {
    /// The private key.
    pub key: KeyRef,
    /// Chain, PEM, the issuing certificate first and the root last.
    pub chain: PathBuf,
    /// Identity providers, in upstream's form.
    pub issuers: PathBuf,
    /// Is each token good for one certificate only?
    pub single_use_tokens: bool,
}

/// Who witnesses certificates.
#[derive(Debug, Clone)]
pub enum CtLogConfig {
    /// This log.
    Log {
        /// Its submission URL.
        url: Url,
        /// File of its public key, PEM.
        public_key: PathBuf,
    },
    /// Nobody, by an explicit word: certificates without SCT, which most clients refuse.
    Nobody,
}

impl Config {
    /// Reads and checks a settings file. Paths in it are relative to its folder.
    pub fn load(path: &Path) -> Result<Self, SettingsError> {
        let raw: RawConfig = settings::load(path)?;
        let ct_log = match (raw.ct_log.url, raw.ct_log.public_key, raw.ct_log.none) {
            (None, None, true) => CtLogConfig::Nobody,
            (Some(url), Some(key), false) => CtLogConfig::Log {
                url: http_url(&url).map_err(|error| {
                    SettingsError::value("ct_log.url", format!("{url:?} {error}"))
                })?,
                public_key: settings::beside(path, &key),
            },
            _ => {
                return Err(SettingsError::value(
                    "ct_log",
                    "give url and public_key, or none = true to issue certificates that no log witnesses",
                ));
            }
        };
        let folder = settings::beside(path, Path::new(""));
        let key = KeyRef::parse(&raw.ca.key, raw.ca.key_secret_file.as_deref(), &folder)
            .map_err(|error| SettingsError::value("ca.key", error.to_string()))?;
        Ok(Self {
            server: raw.server.checked(Limits {
                body: BODY,
                ..Limits::default()
            })?,
            authority: AuthorityConfig {
                key,
                chain: settings::beside(path, &raw.ca.chain),
                issuers: settings::beside(path, &raw.ca.issuers),
                single_use_tokens: raw.ca.single_use_tokens,
            },
            ct_log,
        })
    }
}

fn http_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("is no URL: {error}"))?;
    if matches!(url.scheme(), "http" | "https") && url.has_host() {
        return Ok(url);
    }
    Err("is no address of a service: expected http:// or https:// and a host".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_file_loads() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
        let config = Config::load(&folder.join("fulcio-rs.example.toml")).unwrap();
        assert!(matches!(config.ct_log, CtLogConfig::Log { .. }));
        assert_eq!(config.authority.chain, Path::new("/etc/fulcio/chain.pem"));
        let issuers = std::fs::read(folder.join("issuers.example.yaml")).unwrap();
        let issuers = crate::Issuers::parse(&issuers, &client::Settings::default()).unwrap();
        assert!(issuers.warnings().is_empty(), "{:?}", issuers.warnings());
        let types: std::collections::BTreeSet<String> = issuers
            .describe()
            .into_iter()
            .map(|issuer| issuer.issuer_type)
            .collect();
        assert_eq!(types.len(), 11, "one of each type");
    }

    #[test]
    fn running_without_a_log_takes_an_explicit_word() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fulcio.toml");
        let load = |ct: &str| {
            let text = format!(
                "[server]\nlisten = 'localhost:0'\n[ca]\nkey = 'k'\nchain = 'c'\nissuers = 'i'\n[ct_log]\n{ct}\n"
            );
            std::fs::write(&path, text).unwrap();
            Config::load(&path)
        };
        assert!(matches!(
            load("none = true").unwrap().ct_log,
            CtLogConfig::Nobody
        ));
        for wrong in [
            "",
            "url = 'http://localhost/x'",
            "none = true\nurl = 'http://localhost'\npublic_key = 'k'",
            "url = 'x'\npublic_key = 'k'",
        ] {
            assert!(
                matches!(load(wrong), Err(SettingsError::Value { .. })),
                "{wrong}"
            );
        }
    }
}
