//! Settings: a TOML file becomes a checked value once, in `main`.
//!
//! A service declares `RawConfig` with `#[serde(deny_unknown_fields)]`, so that a misspelt or renamed key is an error and not
//! silently the default, and turns it into its own `Config` (files read, addresses parsed, ranges checked). Secrets are
//! named by file paths.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use crate::limits::{Limits, Rate};
use crate::listen::ListenAddress;
use crate::logging::{self, Format};
use crate::tls::TlsFiles;

/// Largest settings file: a few hundred issuers fit in.
const FILE_MAX: u64 = 1 << 20;

/// The settings cannot be used.
#[derive(Debug, Error)]
pub enum SettingsError {
    /// The file cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is larger than settings are.
    #[error("{path} has more than {max} bytes: this is not a settings file")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The limit in bytes.
        max: u64,
    },
    /// The file is not TOML, or has a key or value that we do not know.
    #[error("{path}: {message}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Place and complaint, over several lines.
        message: String,
    },
    /// A value is of the right type and makes no sense.
    #[error("{key}: {message}")]
    Value {
        /// The key, with its table: `server.listen`.
        key: &'static str,
        /// What is wrong and what would be right.
        message: String,
    },
}

impl SettingsError {
    /// A value that makes no sense.
    pub fn value(key: &'static str, message: impl Into<String>) -> Self {
        Self::Value {
            key,
            message: message.into(),
        }
    }
}

/// Reads a settings file.
pub fn load<T: DeserializeOwned>(path: &Path) -> Result<T, SettingsError> {
    let read = |source| SettingsError::Read {
        path: path.to_owned(),
        source,
    };
    let file = std::fs::File::open(path).map_err(read)?;
    let mut text = String::new();
    file.take(FILE_MAX + 1)
        .read_to_string(&mut text)
        .map_err(read)?;
    if u64::try_from(text.len()).unwrap_or(u64::MAX) > FILE_MAX {
        return Err(SettingsError::TooLarge {
            path: path.to_owned(),
            max: FILE_MAX,
        });
    }
    parse(path, &text)
}

/// Settings from a text; `path` only names it in errors.
pub fn parse<T: DeserializeOwned>(path: &Path, text: &str) -> Result<T, SettingsError> {
    toml::from_str(text).map_err(|error| SettingsError::Syntax {
        path: path.to_owned(),
        message: error.to_string(),
    })
}

/// `named` as seen from the folder of the settings file; an absolute path stays what it is. So a folder with settings, keys
/// and data can be moved as a whole.
pub fn beside(settings: &Path, named: &Path) -> PathBuf {
    settings.parent().unwrap_or(Path::new("")).join(named)
}

/// The `[server]` table that every service's settings have.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerSettings {
    /// `localhost:5555`, `0.0.0.0:5555`, ...
    pub listen: ListenAddress,
    /// The certificate chain for TLS, PEM; default none, and plain HTTP.
    #[serde(default)]
    pub tls_certificate: Option<PathBuf>,
    /// Its key, PEM.
    #[serde(default)]
    pub tls_key: Option<PathBuf>,
    /// Seconds for a whole request; default 30.
    #[serde(default)]
    pub request_seconds: Option<u64>,
    /// Seconds for a request's head; default 15.
    #[serde(default)]
    pub header_seconds: Option<u64>,
    /// Open connections; default 1024.
    #[serde(default)]
    pub connections: Option<usize>,
    /// Bytes of a request body; the default is the service's.
    #[serde(default)]
    pub body_bytes: Option<usize>,
    /// Requests a second of one client; default no limit.
    #[serde(default)]
    pub client_rate: Option<usize>,
    /// Requests of one client at once; default ten times the rate.
    #[serde(default)]
    pub client_burst: Option<usize>,
    /// Whether a proxy says who the client is; default no.
    #[serde(default)]
    pub behind_proxy: bool,
    /// `text` (default) or `json`.
    #[serde(default)]
    pub log_format: Format,
    /// A tracing directive; default `info`. The environment variable `RUST_LOG` goes before it.
    #[serde(default)]
    pub log: Option<String>,
}

/// Starts logging as a service's settings file says, before the service itself reads all of it. What is wrong in the file is said there.
pub fn start_logging(settings: &Path) {
    /// Of any service's settings the table that all have.
    #[derive(Deserialize)]
    struct Common {
        server: ServerSettings,
    }
    if let Ok(Common { server }) = load(settings) {
        let filter = server.log.as_deref().unwrap_or(logging::FILTER);
        logging::init(server.log_format, filter);
    }
}

/// A checked `[server]` table.
#[derive(Clone, Debug)]
pub struct Server {
    /// Where to listen.
    pub listen: ListenAddress,
    /// Where the TLS certificate is, as the settings say it: relative paths are relative to the settings file.
    pub tls: Option<TlsFiles>,
    /// The end of everything.
    pub limits: Limits,
    /// The shape of log lines.
    pub log_format: Format,
    /// What is logged.
    pub log: String,
}

impl ServerSettings {
    /// Checks the ranges. `defaults` are the service's own.
    pub fn checked(self, defaults: Limits) -> Result<Server, SettingsError> {
        let limits = Limits {
            request: seconds(
                "server.request_seconds",
                self.request_seconds,
                defaults.request,
            )?,
            header: seconds(
                "server.header_seconds",
                self.header_seconds,
                defaults.header,
            )?,
            connections: within(
                "server.connections",
                self.connections,
                defaults.connections,
                1,
                1 << 16,
            )?,
            body: within(
                "server.body_bytes",
                self.body_bytes,
                defaults.body,
                1 << 10,
                1 << 30,
            )?,
            rate: rate(self.client_rate, self.client_burst, self.behind_proxy)?,
            ..defaults
        };
        let log = self.log.unwrap_or_else(|| logging::FILTER.to_owned());
        logging::check(&log).map_err(|why| SettingsError::value("server.log", why))?;
        let tls = match (self.tls_certificate, self.tls_key) {
            (Some(certificate), Some(key)) => Some(TlsFiles { certificate, key }),
            (None, None) => None,
            _ => {
                return Err(SettingsError::value(
                    "server.tls_certificate",
                    "goes with server.tls_key, and the other way round",
                ));
            }
        };
        Ok(Server {
            listen: self.listen,
            tls,
            limits,
            log_format: self.log_format,
            log,
        })
    }
}

fn rate(
    per_second: Option<usize>,
    burst: Option<usize>,
    behind_proxy: bool,
) -> Result<Option<Rate>, SettingsError> {
    const MAX: usize = 1_000_000;
    let Some(given) = per_second else {
        return match burst {
            None => Ok(None),
            Some(_) => Err(SettingsError::value(
                "server.client_burst",
                "goes with client_rate",
            )),
        };
    };
    let per_second = within("server.client_rate", per_second, 1, 1, MAX)?;
    let burst = within(
        "server.client_burst",
        burst,
        given.saturating_mul(10).min(MAX),
        1,
        MAX,
    )?;
    let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    Ok(Some(Rate {
        per_second: number(per_second),
        burst: number(burst),
        behind_proxy,
    }))
}

fn seconds(
    key: &'static str,
    value: Option<u64>,
    default: Duration,
) -> Result<Duration, SettingsError> {
    match value {
        None => Ok(default),
        Some(seconds) if (1..=3600).contains(&seconds) => Ok(Duration::from_secs(seconds)),
        Some(seconds) => Err(SettingsError::value(
            key,
            format!("{seconds} is not between 1 and 3600"),
        )),
    }
}

fn within(
    key: &'static str,
    value: Option<usize>,
    default: usize,
    low: usize,
    high: usize,
) -> Result<usize, SettingsError> {
    match value {
        None => Ok(default),
        Some(value) if (low..=high).contains(&value) => Ok(value),
        Some(value) => Err(SettingsError::value(
            key,
            format!("{value} is not between {low} and {high}"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Raw {
        server: ServerSettings,
    }

    fn read(text: &str) -> Result<Raw, SettingsError> {
        parse(Path::new("a.toml"), text)
    }

    #[test]
    fn unknown_keys_are_refused_with_their_place() {
        let error = read("[server]\nlisten = 'localhost:0'\nbody_byte = 5\n").unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("body_byte") && text.contains("line 3"),
            "{text}"
        );
    }

    #[test]
    fn a_log_filter_that_is_none_is_refused() {
        let raw = read("[server]\nlisten = 'localhost:0'\nlog = 'loud=very'\n").unwrap();
        let error = raw.server.checked(Limits::default()).unwrap_err();
        assert!(error.to_string().contains("server.log"), "{error}");
    }

    #[test]
    fn ranges_are_checked() {
        let raw = read("[server]\nlisten = 'localhost:0'\nrequest_seconds = 0\n").unwrap();
        let error = raw.server.checked(Limits::default()).unwrap_err();
        assert!(matches!(
            error,
            SettingsError::Value {
                key: "server.request_seconds",
                ..
            }
        ));
    }

    #[test]
    fn what_is_not_set_is_the_services_default() {
        let raw = read("[server]\nlisten = '127.0.0.1:80'\nbody_bytes = 4096\n").unwrap();
        let server = raw
            .server
            .checked(Limits {
                connections: 7,
                ..Limits::default()
            })
            .unwrap();
        assert_eq!(
            server.limits,
            Limits {
                connections: 7,
                body: 4096,
                ..Limits::default()
            }
        );
    }

    #[test]
    fn a_huge_file_is_refused_before_it_is_parsed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.toml");
        std::fs::write(&path, vec![b' '; (1 << 20) + 1]).unwrap();
        assert!(matches!(
            load::<Raw>(&path),
            Err(SettingsError::TooLarge { .. })
        ));
    }

    #[test]
    fn paths_are_seen_from_the_settings_file() {
        assert_eq!(
            beside(Path::new("/etc/rekor/rekor.toml"), Path::new("key.pem")),
            Path::new("/etc/rekor/key.pem")
        );
        assert_eq!(
            beside(Path::new("/etc/rekor/rekor.toml"), Path::new("/key.pem")),
            Path::new("/key.pem")
        );
    }
}
