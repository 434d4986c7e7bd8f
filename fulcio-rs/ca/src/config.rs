//! Settings.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use jiff::SignedDuration;
use keys::Algorithm;
use serde::Deserialize;
use serve::{Limits, Server, ServerSettings, SettingsError, settings};
use signer::KeyRef;

use crate::ctlog::settings::{CtLogConfig, RawCtLog};
use crate::issue::Policy;

/// A token has 16 KiB at most, a request for RSA-4096 another 6.
pub(crate) const BODY: usize = 256 << 10;

/// Seconds that a certificate may live. Under a minute no client would be done with it; what lives longer than an hour needs revocation, which
/// nobody here has.
const LIFETIME: RangeInclusive<u32> = 60..=3600;
/// Seconds that its validity may begin in the past.
const BACKDATE: RangeInclusive<u32> = 0..=300;
/// Certificates a minute, and at once.
const MAX_RATE: u32 = 1_000_000;

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
    key: Option<String>,
    key_secret_file: Option<PathBuf>,
    chain: Option<PathBuf>,
    #[serde(default)]
    ephemeral: bool,
    #[serde(default)]
    next: Vec<PathBuf>,
    #[serde(default)]
    retired: Vec<PathBuf>,
    issuers: PathBuf,
    #[serde(default)]
    single_use_tokens: bool,
    #[serde(default)]
    required_issuers: Vec<String>,
    lifetime_seconds: Option<u32>,
    backdate_seconds: Option<u32>,
    client_signing_algorithms: Option<Vec<String>>,
    identity_rate: Option<u32>,
    identity_burst: Option<u32>,
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

/// The authority: everything here may change while it runs.
#[derive(Debug, Clone)]
pub struct AuthorityConfig {
    /// What issues.
    pub issuing: IssuingConfig,
    /// Chains that will issue, PEM as `chain`.
    pub next: Vec<PathBuf>,
    /// Chains that have issued.
    pub retired: Vec<PathBuf>,
    /// Identity providers, in upstream's form.
    pub issuers: PathBuf,
    /// Is each token good for one certificate only?
    pub single_use_tokens: bool,
    /// Issuers without whose keys the service is not ready.
    pub required_issuers: Vec<String>,
    /// What is issued.
    pub policy: Policy,
}

/// The issuing key and its chain.
#[derive(Debug, Clone)]
pub enum IssuingConfig {
    /// A key that stays.
    Kept {
        /// The private key.
        key: KeyRef,
        /// File of the chain, PEM, the issuing certificate first and the root last.
        chain: PathBuf,
    },
    /// Made at the start and gone with the process: for development.
    Ephemeral,
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
        Ok(Self {
            server,
            authority: raw.ca.checked(path)?,
            ct_log,
        })
    }
}

impl RawAuthority {
    fn checked(self, path: &Path) -> Result<AuthorityConfig, SettingsError> {
        let folder = settings::beside(path, Path::new(""));
        let beside = |named: &PathBuf| settings::beside(path, named);
        let policy = self.policy()?;
        let issuing = match (&self.key, &self.chain, self.ephemeral) {
            (Some(key), Some(chain), false) => IssuingConfig::Kept {
                key: KeyRef::parse(key, self.key_secret_file.as_deref(), &folder)
                    .map_err(|error| SettingsError::value("ca.key", error.to_string()))?,
                chain: beside(chain),
            },
            (None, None, true) if self.key_secret_file.is_none() => IssuingConfig::Ephemeral,
            _ => {
                return Err(SettingsError::value(
                    "ca.key",
                    "give key and chain, or ephemeral = true for a key that is made at the start and gone with the process",
                ));
            }
        };
        Ok(AuthorityConfig {
            issuing,
            next: self.next.iter().map(beside).collect(),
            retired: self.retired.iter().map(beside).collect(),
            issuers: beside(&self.issuers),
            single_use_tokens: self.single_use_tokens,
            required_issuers: self.required_issuers,
            policy,
        })
    }

    fn policy(&self) -> Result<Policy, SettingsError> {
        let default = Policy::default();
        let seconds = |key, given: Option<u32>, range: RangeInclusive<u32>, default| match given {
            None => Ok(default),
            Some(given) if range.contains(&given) => Ok(SignedDuration::from_secs(given.into())),
            Some(given) => Err(SettingsError::value(
                key,
                format!(
                    "{given} is not between {} and {}",
                    range.start(),
                    range.end()
                ),
            )),
        };
        let rate = match (self.identity_rate, self.identity_burst) {
            (None, None) => None,
            (Some(rate @ 1..=MAX_RATE), burst) => match burst.unwrap_or(rate) {
                burst @ 1..=MAX_RATE => Some((rate, burst)),
                burst => return Err(out_of_rate("ca.identity_burst", burst)),
            },
            (Some(rate), _) => return Err(out_of_rate("ca.identity_rate", rate)),
            (None, Some(_)) => {
                return Err(SettingsError::value(
                    "ca.identity_burst",
                    "goes with identity_rate",
                ));
            }
        };
        Ok(Policy {
            lifetime: seconds(
                "ca.lifetime_seconds",
                self.lifetime_seconds,
                LIFETIME,
                default.lifetime,
            )?,
            backdate: seconds(
                "ca.backdate_seconds",
                self.backdate_seconds,
                BACKDATE,
                default.backdate,
            )?,
            algorithms: match &self.client_signing_algorithms {
                None => default.algorithms,
                Some(names) => algorithms(names)?,
            },
            identity_rate: rate,
        })
    }
}

fn out_of_rate(key: &'static str, given: u32) -> SettingsError {
    SettingsError::value(key, format!("{given} is not between 1 and {MAX_RATE}"))
}

fn algorithms(names: &[String]) -> Result<Vec<Algorithm>, SettingsError> {
    let key = "ca.client_signing_algorithms";
    if names.is_empty() {
        return Err(SettingsError::value(
            key,
            "names no algorithm: nobody could get a certificate",
        ));
    }
    let find = |name: &String| {
        Algorithm::from_registry_name(name).ok_or_else(|| {
            let known: Vec<_> = Algorithm::all().map(Algorithm::registry_name).collect();
            let known = known.join(", ");
            SettingsError::value(key, format!("{name:?} is none of {known}"))
        })
    };
    names.iter().map(find).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_file_loads() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
        let config = Config::load(&folder.join("fulcio-rs.example.toml")).unwrap();
        assert!(matches!(config.ct_log, CtLogConfig::Log { .. }));
        let IssuingConfig::Kept { chain, .. } = &config.authority.issuing else {
            panic!("the example has a key");
        };
        assert_eq!(chain, Path::new("/etc/fulcio/chain.pem"));
        assert_eq!(config.authority.policy, Policy::default());
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
    fn what_is_issued_has_bounds() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fulcio.toml");
        let load = |ca: &str| {
            let text = format!(
                "[server]\nlisten = 'localhost:0'\n[ca]\nissuers = 'i'\n{ca}\n[ct_log]\nnone = true\n"
            );
            std::fs::write(&path, text).unwrap();
            Config::load(&path).map(|config| config.authority)
        };
        let kept = "key = 'k'\nchain = 'c'\n";
        let loaded = load(&format!(
            "{kept}lifetime_seconds = 300\nbackdate_seconds = 30\nidentity_rate = 60\nnext = ['n']\nclient_signing_algorithms = ['ed25519']"
        ));
        let loaded = loaded.unwrap();
        let expected = Policy {
            lifetime: SignedDuration::from_secs(300),
            backdate: SignedDuration::from_secs(30),
            algorithms: vec![Algorithm::Ed25519],
            identity_rate: Some((60, 60)),
        };
        assert_eq!(loaded.policy, expected);
        assert_eq!(loaded.next, [folder.path().join("n")]);
        assert!(matches!(
            load("ephemeral = true").unwrap().issuing,
            IssuingConfig::Ephemeral
        ));
        for (wrong, key) in [
            (String::new(), "ca.key"),
            ("key = 'k'".to_owned(), "ca.key"),
            (format!("{kept}ephemeral = true"), "ca.key"),
            (
                "ephemeral = true\nkey_secret_file = 's'".to_owned(),
                "ca.key",
            ),
            (
                format!("{kept}lifetime_seconds = 59"),
                "ca.lifetime_seconds",
            ),
            (
                format!("{kept}lifetime_seconds = 3601"),
                "ca.lifetime_seconds",
            ),
            (
                format!("{kept}backdate_seconds = 301"),
                "ca.backdate_seconds",
            ),
            (format!("{kept}identity_rate = 0"), "ca.identity_rate"),
            (format!("{kept}identity_burst = 5"), "ca.identity_burst"),
            (
                format!("{kept}identity_rate = 5\nidentity_burst = 0"),
                "ca.identity_burst",
            ),
            (
                format!("{kept}client_signing_algorithms = []"),
                "ca.client_signing_algorithms",
            ),
            (
                format!("{kept}client_signing_algorithms = ['rsa']"),
                "ca.client_signing_algorithms",
            ),
        ] {
            match load(&wrong) {
                Err(SettingsError::Value { key: found, .. }) => assert_eq!(found, key, "{wrong}"),
                other => panic!("{wrong}: {other:?}"),
            }
        }
    }
}
