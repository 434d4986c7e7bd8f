//! What an image runs on (image spec 1.1, "Image Index Property Descriptions"), written `os/architecture[/variant][:os.version]` as in Docker
//! and cosign.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A platform, whole in an index, perhaps in part where one is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Platform {
    /// `linux`.
    #[serde(default)]
    pub os: String,
    /// `amd64`, `arm64`.
    #[serde(default)]
    pub architecture: String,
    /// `v8`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// Of Windows.
    #[serde(
        rename = "os.version",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub os_version: Option<String>,
    /// Of Windows.
    #[serde(
        rename = "os.features",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub os_features: Option<Vec<String>>,
}

/// Text that names no platform.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0:?} is no platform, expected OS/ARCHITECTURE[/VARIANT], as linux/arm64")]
pub struct PlatformError(String);

impl Platform {
    /// Is an image of `other` one for this platform? What this one does not say may be anything.
    pub fn takes(&self, other: &Self) -> bool {
        let same = |wanted: &Option<String>, found: &Option<String>| {
            wanted.is_none() || wanted.as_deref() == found.as_deref()
        };
        self.os == other.os
            && self.architecture == other.architecture
            && same(&self.variant, &other.variant)
            && same(&self.os_version, &other.os_version)
    }

    /// What builders call things in an index that are no images, but statements about them.
    pub fn is_unknown(&self) -> bool {
        self.os == "unknown" && self.architecture == "unknown"
    }
}

impl FromStr for Platform {
    type Err = PlatformError;

    fn from_str(text: &str) -> Result<Self, PlatformError> {
        let wrong = || PlatformError(text.chars().take(100).collect());
        let (name, os_version) = match text.split_once(':') {
            Some((name, version)) if !version.is_empty() => (name, Some(version.to_owned())),
            Some(_) => return Err(wrong()),
            None => (text, None),
        };
        let parts: Vec<&str> = name.split('/').collect();
        let (os, architecture, variant) = match parts.as_slice() {
            [os, architecture] => (os, architecture, None),
            [os, architecture, variant] => (os, architecture, Some((*variant).to_owned())),
            _ => return Err(wrong()),
        };
        if parts.iter().any(|part| part.is_empty()) {
            return Err(wrong());
        }
        Ok(Self {
            os: (*os).to_owned(),
            architecture: (*architecture).to_owned(),
            variant,
            os_version,
            os_features: None,
        })
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.os, self.architecture)?;
        if let Some(variant) = &self.variant {
            write!(formatter, "/{variant}")?;
        }
        if let Some(version) = &self.os_version {
            write!(formatter, ":{version}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platforms_are_read_and_compared() {
        for text in ["linux/amd64", "linux/arm/v7", "windows/amd64:10.0.17763.1"] {
            assert_eq!(text.parse::<Platform>().unwrap().to_string(), text);
        }
        for text in ["", "linux", "linux/", "/arm", "a/b/c/d", "linux/arm:"] {
            assert!(text.parse::<Platform>().is_err(), "{text}");
        }
        let platform = |text: &str| text.parse::<Platform>().unwrap();
        assert!(platform("linux/arm").takes(&platform("linux/arm/v7")));
        assert!(!platform("linux/arm/v6").takes(&platform("linux/arm/v7")));
        assert!(!platform("linux/arm/v6").takes(&platform("linux/arm")));
        assert!(!platform("linux/arm64").takes(&platform("linux/arm")));
    }
}
