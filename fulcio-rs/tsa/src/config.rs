//! Settings.

use std::path::{Path, PathBuf};
use std::time::Duration;

use const_oid::ObjectIdentifier as Oid;
use serde::Deserialize;
use serve::{Limits, Server, ServerSettings, SettingsError, settings};
use signer::KeyRef;
use tsp::Resolution;

use crate::time::{Servers, Watch};

/// Upstream's limit of a request is 1 MiB; a DER request with a long nonce and policy has 200 bytes.
const BODY: usize = 64 << 10;

/// The port of NTP.
const NTP_PORT: u16 = 123;
/// More servers than anybody asks once a minute.
const NTP_MAX: usize = 16;

/// The settings file, as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawConfig {
    server: ServerSettings,
    tsa: RawTsa,
    #[serde(default)]
    time: RawTime,
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
    resolution: Option<RawResolution>,
    http_201: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum RawResolution {
    Seconds,
    Milliseconds,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTime {
    ntp: Option<Vec<String>>,
    quorum: Option<usize>,
    max_error_milliseconds: Option<u64>,
    every_seconds: Option<u64>,
    lasts_seconds: Option<u64>,
    timeout_seconds: Option<u64>,
    state_file: Option<PathBuf>,
    clock_error_milliseconds: Option<u64>,
}

/// Checked settings.
#[derive(Clone, Debug)]
pub struct Config {
    /// The `[server]` table.
    pub server: Server,
    /// The private key.
    pub key: KeyRef,
    /// File of the chain, PEM, leaf first.
    pub chain: PathBuf,
    /// What goes into tokens.
    pub tsa: TsaConfig,
    /// What the clock is held against.
    pub time: TimeConfig,
}

/// Settings of the time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TimeConfig {
    /// Servers, or none.
    pub watch: Watch,
    /// Where the latest time is kept across restarts.
    pub state_file: Option<PathBuf>,
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
    /// How finely a token states its time.
    pub resolution: Resolution,
    /// Whether tokens are answered with the status 201 instead of 200.
    pub created: bool,
}

impl Default for TsaConfig {
    fn default() -> Self {
        Self {
            policy: tsp::DEFAULT_POLICY,
            accepted_policies: Vec::new(),
            certificates: Certificates::default(),
            resolution: Resolution::default(),
            created: false,
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
                resolution: match raw.tsa.resolution {
                    None | Some(RawResolution::Seconds) => Resolution::Seconds,
                    Some(RawResolution::Milliseconds) => Resolution::Milliseconds,
                },
                created: raw.tsa.http_201.unwrap_or_default(),
            },
            time: raw.time.checked(path)?,
        })
    }
}

impl RawTime {
    fn checked(self, path: &Path) -> Result<TimeConfig, SettingsError> {
        let state_file = self.state_file.as_ref();
        let state_file = state_file.map(|file| settings::beside(path, file));
        let alone = [
            ("time.quorum", self.quorum.is_some()),
            (
                "time.max_error_milliseconds",
                self.max_error_milliseconds.is_some(),
            ),
            ("time.every_seconds", self.every_seconds.is_some()),
            ("time.lasts_seconds", self.lasts_seconds.is_some()),
            ("time.timeout_seconds", self.timeout_seconds.is_some()),
        ];
        let watch = match &self.ntp {
            None => {
                if let Some((key, _)) = alone.into_iter().find(|(_, set)| *set) {
                    return Err(SettingsError::value(key, "goes with time.ntp"));
                }
                let assumed = self.clock_error_milliseconds.unwrap_or_default();
                Watch {
                    servers: None,
                    assumed: milliseconds("time.clock_error_milliseconds", assumed, 0)?,
                }
            }
            Some(_) if self.clock_error_milliseconds.is_some() => {
                return Err(SettingsError::value(
                    "time.clock_error_milliseconds",
                    "goes without time.ntp: with it the error is measured",
                ));
            }
            Some(names) => Watch {
                servers: Some(self.servers(names)?),
                assumed: Duration::ZERO,
            },
        };
        Ok(TimeConfig { watch, state_file })
    }

    fn servers(&self, names: &[String]) -> Result<Servers, SettingsError> {
        let wrong = |key, message: String| Err(SettingsError::value(key, message));
        let mut servers: Vec<String> = Vec::new();
        for name in names {
            let name = address(name)?;
            if servers.contains(&name) {
                return wrong("time.ntp", format!("{name} stands there twice"));
            }
            servers.push(name);
        }
        let count = servers.len();
        if !(1..=NTP_MAX).contains(&count) {
            return wrong(
                "time.ntp",
                format!(
                    "{count} servers, expected 1 to {NTP_MAX}; to believe the machine's clock, take the setting out"
                ),
            );
        }
        let majority = count / 2 + 1;
        let quorum = self.quorum.unwrap_or(majority);
        if !(majority..=count).contains(&quorum) {
            return wrong(
                "time.quorum",
                format!(
                    "{quorum} of {count} servers, expected {majority} to {count}: with half of them or less the wrong ones could decide"
                ),
            );
        }
        let seconds = |key, value: u64, low: u64, high: u64| {
            if (low..=high).contains(&value) {
                Ok(Duration::from_secs(value))
            } else {
                Err(SettingsError::value(
                    key,
                    format!("{value} is not between {low} and {high}"),
                ))
            }
        };
        let every = self.every_seconds.unwrap_or(60);
        let lasts = self.lasts_seconds.unwrap_or(every.saturating_mul(5));
        let limit = self.timeout_seconds.unwrap_or(5);
        Ok(Servers {
            names: servers,
            quorum,
            most: milliseconds(
                "time.max_error_milliseconds",
                self.max_error_milliseconds.unwrap_or(1000),
                1,
            )?,
            every: seconds("time.every_seconds", every, 15, 3600)?,
            lasts: seconds("time.lasts_seconds", lasts, every, 86_400)?,
            limit: seconds("time.timeout_seconds", limit, 1, 10)?,
        })
    }
}

fn milliseconds(key: &'static str, value: u64, low: u64) -> Result<Duration, SettingsError> {
    const MOST: u64 = 3_600_000;
    if (low..=MOST).contains(&value) {
        Ok(Duration::from_millis(value))
    } else {
        Err(SettingsError::value(
            key,
            format!("{value} is not between {low} and {MOST}"),
        ))
    }
}

/// `host:port` of `host`, `host:port`, `[v6]` or `[v6]:port`.
fn address(text: &str) -> Result<String, SettingsError> {
    let wrong = || {
        SettingsError::value(
            "time.ntp",
            format!(
                "{text:?} is no server: expected a name or an address, and perhaps a port, as ntp.example.org:{NTP_PORT} or [2001:db8::1]"
            ),
        )
    };
    let (host, port) = match text.rsplit_once(':') {
        // The last colon of an address in brackets is one of the address.
        Some((_, last)) if text.starts_with('[') && last.ends_with(']') => (text, None),
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    };
    let port = match port {
        None => NTP_PORT,
        Some(port) => port
            .parse()
            .ok()
            .filter(|port| *port > 0)
            .ok_or_else(wrong)?,
    };
    let inner = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    let named = (1..=253).contains(&host.len()) && host.bytes().all(known);
    let fits = inner.map_or(named, |inner| inner.parse::<std::net::Ipv6Addr>().is_ok());
    if fits {
        Ok(format!("{host}:{port}"))
    } else {
        Err(wrong())
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
        // Nobody is asked for the time unless the operator says whom.
        assert_eq!(config.time, TimeConfig::default());
        assert_eq!(config.tsa.resolution, Resolution::Seconds);
        assert!(!config.tsa.created);
    }

    /// What the example shows in comments is what the settings are called.
    #[test]
    fn what_the_example_has_in_comments_loads_too() {
        let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tsa-rs.example.toml"));
        let text = std::fs::read_to_string(path).unwrap();
        let (_, time) = text.split_once("# [time]").unwrap();
        let lines = time
            .lines()
            .map(|line| line.strip_prefix("# ").unwrap_or(line))
            .filter(|line| line.contains(" = ") && !line.starts_with("clock_error"));
        let time = lines.collect::<Vec<_>>().join("\n");
        let config = load(&format!("[time]\n{time}")).unwrap();
        let servers = config.time.watch.servers.unwrap();
        assert_eq!((servers.names.len(), servers.quorum), (4, 3));
        assert_eq!(servers.most, Duration::from_secs(1));
        assert!(config.time.state_file.is_some());
    }

    #[test]
    fn the_time_is_checked_by_a_majority_or_not_at_all() {
        let watch = |text: &str| load(&format!("[time]\n{text}")).map(|config| config.time.watch);
        let servers = watch("ntp = ['a', 'b:1123', '[::1]', '[2001:db8::1]:99']").unwrap();
        let servers = servers.servers.unwrap();
        assert_eq!(
            servers.names,
            ["a:123", "b:1123", "[::1]:123", "[2001:db8::1]:99"]
        );
        assert_eq!(servers.quorum, 3);
        assert_eq!(servers.lasts, Duration::from_mins(5));
        let assumed = watch("clock_error_milliseconds = 250").unwrap();
        assert_eq!(assumed.assumed, Duration::from_millis(250));
        for (wrong, expected) in [
            ("ntp = []", "time.ntp"),
            ("ntp = ['']", "time.ntp"),
            ("ntp = ['a b']", "time.ntp"),
            ("ntp = ['a:0']", "time.ntp"),
            ("ntp = ['a:99999']", "time.ntp"),
            ("ntp = ['2001:db8::1']", "time.ntp"),
            ("ntp = ['[a]']", "time.ntp"),
            ("ntp = ['a', 'a:123']", "time.ntp"),
            ("ntp = ['a', 'b', 'c', 'd']\nquorum = 2", "time.quorum"),
            ("ntp = ['a', 'b']\nquorum = 3", "time.quorum"),
            ("quorum = 1", "time.quorum"),
            ("lasts_seconds = 60", "time.lasts_seconds"),
            ("ntp = ['a']\nlasts_seconds = 30", "time.lasts_seconds"),
            ("ntp = ['a']\nevery_seconds = 1", "time.every_seconds"),
            ("ntp = ['a']\ntimeout_seconds = 0", "time.timeout_seconds"),
            (
                "ntp = ['a']\nmax_error_milliseconds = 0",
                "time.max_error_milliseconds",
            ),
            (
                "ntp = ['a']\nclock_error_milliseconds = 5",
                "time.clock_error_milliseconds",
            ),
            (
                "clock_error_milliseconds = 4000000",
                "time.clock_error_milliseconds",
            ),
        ] {
            let error = watch(wrong).unwrap_err();
            assert!(
                matches!(error, SettingsError::Value { key, .. } if key == expected),
                "{wrong}: {error}"
            );
        }
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
            "policy = '1.2.3'\naccepted_policies = ['1.2.4', '1.2.5']\ncertificates = 'chain'\nresolution = 'milliseconds'\nhttp_201 = true",
        )
        .unwrap();
        assert_eq!(config.tsa.resolution, Resolution::Milliseconds);
        assert!(config.tsa.created);
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
