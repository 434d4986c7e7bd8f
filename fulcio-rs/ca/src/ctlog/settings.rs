//! The `[ct_log]` table of the settings.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serve::{SettingsError, settings};
use url::Url;

use super::remote::REST;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawCtLog {
    url: Option<String>,
    public_key: Option<PathBuf>,
    origin: Option<String>,
    authorities: Option<PathBuf>,
    seconds: Option<u64>,
    settings: Option<PathBuf>,
    #[serde(default)]
    none: bool,
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
        /// What it is called in the `Host` header, if not by the host of the URL.
        origin: Option<String>,
        /// File of the certificate authorities of its TLS certificate, besides the system's; PEM.
        authorities: Option<PathBuf>,
        /// How long it is asked again, all in all, and never longer than the client's own request has left.
        patience: Duration,
    },
    /// The logs of this settings file of ctlog-rs, run in this process.
    Here {
        /// The file.
        settings: PathBuf,
    },
    /// Nobody, by an explicit word: certificates without SCT, which most clients refuse.
    Nobody,
}

impl RawCtLog {
    /// Paths are relative to the folder of the settings; a request of a client lasts `request` at the most.
    pub(crate) fn checked(
        self,
        path: &Path,
        request: Duration,
    ) -> Result<CtLogConfig, SettingsError> {
        let extra = self.origin.is_some() || self.authorities.is_some() || self.seconds.is_some();
        match (self.url, self.public_key, self.settings, self.none) {
            (None, None, None, true) if !extra => Ok(CtLogConfig::Nobody),
            (None, None, Some(file), false) if !extra => Ok(CtLogConfig::Here {
                settings: settings::beside(path, &file),
            }),
            (Some(url), Some(key), None, false) => Ok(CtLogConfig::Log {
                url: http_url(&url).map_err(|error| {
                    SettingsError::value("ct_log.url", format!("{url:?} {error}"))
                })?,
                public_key: settings::beside(path, &key),
                origin: self.origin.map(origin).transpose()?,
                authorities: self.authorities.map(|file| settings::beside(path, &file)),
                patience: patience(self.seconds, request)?,
            }),
            _ => Err(SettingsError::value(
                "ct_log",
                "give url and public_key (with them origin, authorities and seconds, if need be), or settings, the file of a log that runs in \
                 this process, or none = true to issue certificates that no log witnesses",
            )),
        }
    }
}

fn patience(seconds: Option<u64>, request: Duration) -> Result<Duration, SettingsError> {
    let longest = request.saturating_sub(REST).max(Duration::from_secs(1));
    match seconds.map(Duration::from_secs) {
        None => Ok(longest),
        Some(given) if !given.is_zero() && given <= request => Ok(given),
        Some(_) => {
            let message = format!(
                "expected 1 to {}, which a whole request may take (server.request_seconds)",
                request.as_secs()
            );
            Err(SettingsError::value("ct_log.seconds", message))
        }
    }
}

/// As a `Host` header has it: a host, and perhaps a port.
fn origin(text: String) -> Result<String, SettingsError> {
    let parsed = Url::parse(&format!("http://{text}/")).ok();
    let plain = parsed.is_some_and(|url| {
        url.has_host()
            && url.path() == "/"
            && url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none()
    });
    if plain && !text.contains('/') {
        return Ok(text);
    }
    let message = format!("{text:?} is no host name: expected one as it stands in a Host header");
    Err(SettingsError::value("ct_log.origin", message))
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

    fn load(text: &str) -> Result<CtLogConfig, SettingsError> {
        let path = Path::new("/etc/fulcio/fulcio.toml");
        let raw: RawCtLog = settings::parse(path, text)?;
        raw.checked(path, Duration::from_secs(30))
    }

    #[test]
    fn a_log_is_there_or_here_or_nobody() {
        let url = "url = 'https://ctlog.example.org/2026'\npublic_key = 'k'\n";
        let CtLogConfig::Log {
            public_key,
            origin,
            patience,
            ..
        } = load(url).unwrap()
        else {
            panic!("not a log");
        };
        assert_eq!(public_key, Path::new("/etc/fulcio/k"));
        assert_eq!((origin, patience.as_secs()), (None, 28));
        let all =
            format!("{url}origin = 'ctlog.example.org:8443'\nauthorities = 'ca'\nseconds = 5");
        let CtLogConfig::Log {
            authorities,
            origin,
            patience,
            ..
        } = load(&all).unwrap()
        else {
            panic!("not a log");
        };
        assert_eq!(authorities.as_deref(), Some(Path::new("/etc/fulcio/ca")));
        assert_eq!(origin.as_deref(), Some("ctlog.example.org:8443"));
        assert_eq!(patience.as_secs(), 5);
        assert!(matches!(
            load("settings = 'ctlog.toml'").unwrap(),
            CtLogConfig::Here { settings } if settings == Path::new("/etc/fulcio/ctlog.toml")
        ));
        assert!(matches!(load("none = true").unwrap(), CtLogConfig::Nobody));
        for (wrong, key) in [
            ("", "ct_log"),
            ("url = 'http://localhost/x'", "ct_log"),
            (
                "none = true\nurl = 'http://localhost'\npublic_key = 'k'",
                "ct_log",
            ),
            ("none = true\nsettings = 's'", "ct_log"),
            (
                "settings = 's'\nurl = 'http://localhost'\npublic_key = 'k'",
                "ct_log",
            ),
            ("settings = 's'\nseconds = 3", "ct_log"),
            ("url = 'x'\npublic_key = 'k'", "ct_log.url"),
            (
                "url = 'http://h'\npublic_key = 'k'\norigin = 'h/2026'",
                "ct_log.origin",
            ),
            (
                "url = 'http://h'\npublic_key = 'k'\norigin = 'a b'",
                "ct_log.origin",
            ),
            (
                "url = 'http://h'\npublic_key = 'k'\nseconds = 31",
                "ct_log.seconds",
            ),
            (
                "url = 'http://h'\npublic_key = 'k'\nseconds = 0",
                "ct_log.seconds",
            ),
        ] {
            let error = load(wrong).unwrap_err();
            assert!(
                matches!(&error, SettingsError::Value { key: named, .. } if *named == key),
                "{wrong}: {error}"
            );
        }
    }
}
