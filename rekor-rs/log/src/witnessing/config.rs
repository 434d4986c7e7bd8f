//! The `[witnessing]` table of the settings.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serve::{SettingsError, settings};
use witness::{MAX_POLICY, Policy};

/// As it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawWitnessing {
    policy: PathBuf,
    interval_seconds: Option<f64>,
    timeout_seconds: Option<f64>,
    refresh_seconds: Option<u64>,
    without_quorum: Option<WithoutQuorum>,
    wait: Option<bool>,
    wait_seconds: Option<u64>,
}

/// What is shown when too few witnesses cosigned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WithoutQuorum {
    /// The last checkpoint that had a quorum.
    #[default]
    Hold,
    /// The newest one, with the cosignatures it has; rekor-tiles does so.
    Publish,
}

/// Settings of witnessing.
#[derive(Clone, Debug)]
pub struct WitnessingConfig {
    /// Who cosigns, and who is enough. Each witness has a URL.
    pub policy: Policy,
    /// From the begin of one round to the next.
    pub interval: Duration,
    /// For all that one witness does in a round.
    pub timeout: Duration,
    /// When a tree that does not grow is cosigned again, for a newer time.
    pub refresh: Duration,
    /// See there.
    pub without_quorum: WithoutQuorum,
    /// Whether every reply waits for a quorum.
    pub wait: bool,
    /// How long a reply waits.
    pub patience: Duration,
}

impl WitnessingConfig {
    /// The defaults.
    pub fn new(policy: Policy) -> Self {
        Self {
            policy,
            // Public witnesses take one checkpoint a second of a log (transparency-dev/witness-network).
            interval: Duration::from_secs(1),
            timeout: Duration::from_secs(5),
            refresh: Duration::from_mins(10),
            without_quorum: WithoutQuorum::Hold,
            wait: false,
            patience: Duration::from_secs(20),
        }
    }
}

impl RawWitnessing {
    pub(crate) fn checked(self, settings: &Path) -> Result<WitnessingConfig, SettingsError> {
        let path = settings::beside(settings, &self.policy);
        let value = |message: String| SettingsError::value("witnessing.policy", message);
        let read = read(&path).map_err(|error| value(format!("{}: {error}", path.display())))?;
        let policy = Policy::parse(&read)
            .map_err(|error| value(format!("{}: {}", path.display(), chain(&error))))?;
        if policy.witnesses().is_empty() {
            return Err(value(format!(
                "{} names no witness: leave [witnessing] out for a log without",
                path.display()
            )));
        }
        if let Some(silent) = policy.witnesses().iter().find(|one| one.url.is_none()) {
            let name = &silent.name;
            return Err(value(format!(
                "{}: witness {name} has no URL, and the log has to ask it",
                path.display()
            )));
        }
        let default = WitnessingConfig::new(policy);
        let seconds = |key, given: Option<f64>, default: Duration, least: f64| match given {
            None => Ok(default),
            Some(given) if (least..=3600.0).contains(&given) => Ok(Duration::from_secs_f64(given)),
            Some(_) => Err(SettingsError::value(
                key,
                format!("expected {least} to 3600 seconds"),
            )),
        };
        Ok(WitnessingConfig {
            interval: seconds(
                "witnessing.interval_seconds",
                self.interval_seconds,
                default.interval,
                0.01,
            )?,
            timeout: seconds(
                "witnessing.timeout_seconds",
                self.timeout_seconds,
                default.timeout,
                0.01,
            )?,
            refresh: self
                .refresh_seconds
                .map_or(default.refresh, Duration::from_secs)
                .max(default.interval),
            without_quorum: self.without_quorum.unwrap_or_default(),
            wait: self.wait.unwrap_or(false),
            patience: self
                .wait_seconds
                .map_or(default.patience, Duration::from_secs),
            policy: default.policy,
        })
    }
}

fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    let max = u64::try_from(MAX_POLICY).unwrap_or(u64::MAX);
    std::fs::File::open(path)?
        .take(max.saturating_add(1))
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn chain(error: &dyn std::error::Error) -> String {
    error
        .source()
        .map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"))
}
