//! Settings.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serve::{Limits, Server, ServerSettings, SettingsError, settings};
use signer::KeyRef;

use crate::ctlog::settings::{CtLogConfig, RawCtLog};

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
}

impl Config {
    /// Reads and checks a settings file. Paths in it are relative to its folder.
    pub fn load(path: &Path) -> Result<Self, SettingsError> {
        let raw: RawConfig = settings::load(path)?;
        let server = raw.server.checked(Limits {
            body: BODY,
            ..Limits::default()
        })?;
        let ct_log = raw.ct_log.checked(path, server.limits.request)?;
        let folder = settings::beside(path, Path::new(""));
        let key = KeyRef::parse(&raw.ca.key, raw.ca.key_secret_file.as_deref(), &folder)
            .map_err(|error| SettingsError::value("ca.key", error.to_string()))?;
        Ok(Self {
            server,
            authority: AuthorityConfig {
                key,
                chain: settings::beside(path, &raw.ca.chain),
                issuers: settings::beside(path, &raw.ca.issuers),
            },
            ct_log,
        })
    }
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
        assert_eq!(issuers.describe().len(), 3);
    }
}
