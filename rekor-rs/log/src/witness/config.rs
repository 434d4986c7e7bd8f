//! Settings of the witness.

use std::path::{Path, PathBuf};

use note::VerifierKey;
use serde::Deserialize;
use serve::{Limits, Server, ServerSettings, SettingsError, settings};
use signer::KeyRef;

use crate::config::key_ref;

/// The settings file, as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawConfig {
    server: ServerSettings,
    witness: RawWitness,
    logs: Vec<RawLog>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawWitness {
    name: String,
    key: String,
    key_secret_file: Option<PathBuf>,
    post_quantum_key: Option<PathBuf>,
    folder: PathBuf,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLog {
    vkey: String,
    origin: Option<String>,
}

/// Checked settings.
#[derive(Debug)]
pub struct WitnessConfig {
    /// The `[server]` table.
    pub server: Server,
    /// Name of the keys: the witness's URL without scheme, by custom.
    pub name: String,
    /// The Ed25519 key.
    pub key: KeyRef,
    /// File of the ML-DSA-44 key, PKCS#8 PEM.
    pub post_quantum_key: Option<PathBuf>,
    /// Folder of the witness's memory.
    pub folder: PathBuf,
    /// The logs that it cosigns.
    pub logs: Vec<KnownLog>,
}

/// A log that the witness cosigns.
#[derive(Clone, Debug)]
pub struct KnownLog {
    /// First line of its checkpoints.
    pub origin: String,
    /// Its keys; one line of them is enough. There is at least one.
    pub keys: Vec<VerifierKey>,
}

impl WitnessConfig {
    /// Reads and checks a settings file. Paths in it are relative to its folder.
    pub fn load(path: &Path) -> Result<Self, SettingsError> {
        let raw: RawConfig = settings::load(path)?;
        let limits = Limits {
            body: witness::MAX_SUBMISSION,
            ..Limits::default()
        };
        let beside = |named: &Path| settings::beside(path, named);
        Ok(Self {
            server: raw.server.checked(limits)?,
            logs: logs(raw.logs)?,
            name: raw.witness.name,
            key: key_ref(
                "witness.key",
                &raw.witness.key,
                raw.witness.key_secret_file.as_deref(),
                path,
            )?,
            post_quantum_key: raw.witness.post_quantum_key.as_deref().map(beside),
            folder: beside(&raw.witness.folder),
        })
    }
}

fn logs(raw: Vec<RawLog>) -> Result<Vec<KnownLog>, SettingsError> {
    let mut logs: Vec<KnownLog> = Vec::new();
    for RawLog { vkey, origin } in raw {
        let key: VerifierKey = vkey
            .parse()
            .map_err(|error| SettingsError::value("logs.vkey", format!("{vkey:.80}: {error}")))?;
        let origin = origin.unwrap_or_else(|| key.name().to_owned());
        match logs.iter_mut().find(|log| log.origin == origin) {
            Some(log) => log.keys.push(key),
            None => logs.push(KnownLog {
                origin,
                keys: vec![key],
            }),
        }
    }
    if logs.is_empty() {
        return Err(SettingsError::value(
            "logs",
            "expected at least one [[logs]] with the vkey of a log to cosign",
        ));
    }
    Ok(logs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_file_loads() {
        let path = Path::new(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/rekor-rs.witness.example.toml"
        ));
        let config = WitnessConfig::load(path).unwrap();
        assert_eq!(config.name, "witness.example.org/w1");
        let origins: Vec<&str> = config.logs.iter().map(|log| log.origin.as_str()).collect();
        assert_eq!(
            origins,
            [
                "log2025-1.rekor.sigstore.dev",
                "rekor.sigstore.dev - 1193050959916656506"
            ]
        );
        assert_eq!(config.server.limits.body, witness::MAX_SUBMISSION);
    }

    #[test]
    fn a_witness_of_nothing_is_a_mistake() {
        assert!(logs(Vec::new()).is_err());
        let odd = RawLog {
            vkey: "log+00000000+AAAA".to_owned(),
            origin: None,
        };
        let error = logs(vec![odd]).unwrap_err().to_string();
        assert!(error.starts_with("logs.vkey: log+00000000+AAAA"), "{error}");
    }
}
