//! Settings.

use std::path::{Path, PathBuf};

use const_oid::ObjectIdentifier as Oid;
use serde::Deserialize;
use serve::{Limits, Server, ServerSettings, SettingsError, settings};
use signer::KeyRef;

/// Upstream's limit of a request is 1 MiB; a DER request with a long nonce and policy has 200 bytes.
const BODY: usize = 64 << 10;

/// The settings file, as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawConfig {
    server: ServerSettings,
    tsa: RawTsa,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTsa {
    key: String,
    key_secret_file: Option<PathBuf>,
    chain: PathBuf,
    policy: Option<String>,
    accepted_policies: Option<Vec<String>>,
    certificates: Option<Certificates>,
}

/// Checked settings.
#[derive(Debug)]
pub struct Config {
    /// The `[server]` table.
    pub server: Server,
    /// The private key.
    pub key: KeyRef,
    /// File of the chain, PEM, leaf first.
    pub chain: PathBuf,
    /// What goes into tokens.
    pub tsa: TsaConfig,
}

/// Settings of the authority itself.
#[derive(Clone, Debug)]
pub struct TsaConfig {
    /// The policy of tokens whose request names none.
    pub policy: Oid,
    /// Further policies that a request may name.
    pub accepted_policies: Vec<Oid>,
    /// What a token brings along when the request asks for certificates.
    pub certificates: Certificates,
}

impl Default for TsaConfig {
    fn default() -> Self {
        Self {
            policy: tsp::DEFAULT_POLICY,
            accepted_policies: Vec::new(),
            certificates: Certificates::default(),
        }
    }
}

/// The certificates in a token whose request asks for them (`certReq`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Certificates {
    /// The signer's own, which RFC 3161 2.4.1 demands.
    #[default]
    Leaf,
    /// All up to the root.
    Chain,
}

impl Config {
    /// Reads and checks a settings file. Paths in it are relative to its folder.
    pub fn load(path: &Path) -> Result<Self, SettingsError> {
        let raw: RawConfig = settings::load(path)?;
        let limits = Limits {
            body: BODY,
            ..Limits::default()
        };
        let default = TsaConfig::default();
        let policy = raw.tsa.policy.map(|text| oid("tsa.policy", &text));
        let accepted = raw.tsa.accepted_policies.unwrap_or_default();
        let accepted = accepted
            .iter()
            .map(|text| oid("tsa.accepted_policies", text));
        let folder = settings::beside(path, Path::new(""));
        let key = KeyRef::parse(&raw.tsa.key, raw.tsa.key_secret_file.as_deref(), &folder)
            .map_err(|error| SettingsError::value("tsa.key", error.to_string()))?;
        Ok(Self {
            server: raw.server.checked(limits)?,
            key,
            chain: settings::beside(path, &raw.tsa.chain),
            tsa: TsaConfig {
                policy: policy.transpose()?.unwrap_or(default.policy),
                accepted_policies: accepted.collect::<Result<_, _>>()?,
                certificates: raw.tsa.certificates.unwrap_or_default(),
            },
        })
    }
}

fn oid(key: &'static str, text: &str) -> Result<Oid, SettingsError> {
    Oid::new(text).map_err(|error| {
        SettingsError::value(
            key,
            format!("{text:?} is no object identifier such as 1.3.6.1.4.1.57264.2: {error}"),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_file_loads() {
        let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tsa-rs.example.toml"));
        let config = Config::load(path).unwrap();
        assert_eq!(config.tsa.policy, tsp::DEFAULT_POLICY);
        assert_eq!(config.tsa.accepted_policies, []);
        assert_eq!(config.tsa.certificates, Certificates::Leaf);
        assert_eq!(config.server.limits.body, BODY);
        assert_eq!(config.key, KeyRef::file("/etc/tsa/key.pem"));
    }

    fn load(tsa: &str) -> Result<Config, SettingsError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tsa.toml");
        let text =
            format!("[server]\nlisten = 'localhost:0'\n[tsa]\nkey = 'k'\nchain = 'c'\n{tsa}\n");
        std::fs::write(&path, text).unwrap();
        Config::load(&path)
    }

    #[test]
    fn each_setting_is_read_and_nonsense_is_refused() {
        let config = load(
            "policy = '1.2.3'\naccepted_policies = ['1.2.4', '1.2.5']\ncertificates = 'chain'",
        )
        .unwrap();
        assert_eq!(config.tsa.policy, Oid::new_unwrap("1.2.3"));
        assert_eq!(config.tsa.accepted_policies.len(), 2);
        assert_eq!(config.tsa.certificates, Certificates::Chain);
        let key = config.key.to_string();
        assert!(Path::new(&key).is_absolute() && key.ends_with("/k"));
        assert!(matches!(
            load("policy = 'mine'"),
            Err(SettingsError::Value {
                key: "tsa.policy",
                ..
            })
        ));
        assert!(matches!(
            load("accepted_policies = ['']"),
            Err(SettingsError::Value {
                key: "tsa.accepted_policies",
                ..
            })
        ));
        let config = load("key_secret_file = '/run/pin'").unwrap();
        let folder = Path::new("/");
        let text = config.key.to_string();
        let secret = Some(Path::new("/run/pin"));
        assert_eq!(config.key, KeyRef::parse(&text, secret, folder).unwrap());
        for wrong in ["certificates = 'all'", "polcy = '1.2.3'"] {
            assert!(
                matches!(load(wrong), Err(SettingsError::Syntax { .. })),
                "{wrong}"
            );
        }
    }
}
