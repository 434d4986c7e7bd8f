//! `policy.toml`: what people decide, beside what the metadata itself says. Who signs and how many of them stands in the root only.

use std::path::{Path, PathBuf};

use jiff::SignedDuration;
use serde::Deserialize;
use signer::KeyRef;
use trust::author::Rollout;
use tuf::RoleName;
use tuf::metadata::Role;

use crate::error::RepositoryError;

/// The text of a new one.
pub const EXAMPLE: &str = include_str!("policy.toml");

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPolicy {
    mode: RawMode,
    operator: String,
    root: RawPeriod,
    targets: RawPeriod,
    delegated: RawPeriod,
    snapshot: RawPeriod,
    timestamp: RawPeriod,
    rollout: RawRollout,
    #[serde(default)]
    owners: std::collections::BTreeMap<String, String>,
    #[serde(default)]
    online: Vec<RawOnline>,
    #[serde(default)]
    publish: Vec<RawPlace>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum RawMode {
    Production,
    Development,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPeriod {
    life: String,
    renew: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRollout {
    margin: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawOnline {
    key: String,
    key_secret_file: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPlace {
    folder: Option<PathBuf>,
    tar: Option<PathBuf>,
    bucket: Option<String>,
    oci: Option<String>,
    #[serde(default)]
    prefix: String,
    region: Option<String>,
    endpoint: Option<url::Url>,
    url: Option<url::Url>,
}

/// How long a role's metadata holds, and how long before its end it is to be signed again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Period {
    /// From signing to end.
    pub life: SignedDuration,
    /// Before the end.
    pub renew: SignedDuration,
}

/// Where to publish besides the folder `published`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A folder of this machine, as a web server shows it.
    Folder(PathBuf),
    /// A gzipped tar file.
    Tar(PathBuf),
    /// An S3-compatible bucket.
    Bucket(Box<Bucket>),
    /// A tag in a registry: the repository is one artifact there.
    Registry(Box<oci::Reference>),
}

/// An S3-compatible bucket, and what is ours in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bucket {
    /// Its name.
    pub bucket: String,
    /// What stands before each key: empty, or ending in a slash.
    pub prefix: String,
    /// Region, if it has one.
    pub region: Option<String>,
    /// Endpoint of a store that is not Amazon's.
    pub endpoint: Option<url::Url>,
    /// Where clients read it: there the next root is asked for after an upload, which has to be a 404.
    pub url: Option<url::Url>,
}

/// The settings, checked.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Whether fewer than two signers of an offline role are refused.
    pub production: bool,
    /// Who runs the services: of two services of one operator clients take one.
    pub operator: String,
    /// Waiting times.
    pub rollout: Rollout,
    /// Names of keys to the people who have them.
    pub owners: std::collections::BTreeMap<String, String>,
    /// Keys of snapshot and timestamp; those that the root does not name are not used.
    pub online: Vec<KeyRef>,
    /// Where to publish.
    pub places: Vec<Place>,
    root: Period,
    targets: Period,
    delegated: Period,
    snapshot: Period,
    timestamp: Period,
}

impl Policy {
    /// Reads the file; paths in it are seen from `folder`.
    pub fn parse(text: &str, folder: &Path) -> Result<Self, RepositoryError> {
        let wrong = RepositoryError::Policy;
        let raw: RawPolicy = toml::from_str(text).map_err(|error| wrong(error.to_string()))?;
        let period = |name: &str, raw: &RawPeriod| {
            let period = Period {
                life: duration(&raw.life).map_err(|what| wrong(format!("{name}.life: {what}")))?,
                renew: duration(&raw.renew)
                    .map_err(|what| wrong(format!("{name}.renew: {what}")))?,
            };
            if period.renew >= period.life {
                return Err(wrong(format!(
                    "{name}: renewed {} before its end, and it lives only {}",
                    raw.renew, raw.life
                )));
            }
            Ok(period)
        };
        let online = raw
            .online
            .iter()
            .map(|online| {
                KeyRef::parse(&online.key, online.key_secret_file.as_deref(), folder)
                    .map_err(|error| wrong(format!("online.key '{}': {error}", online.key)))
            })
            .collect::<Result<_, _>>()?;
        if raw.operator.is_empty() {
            return Err(wrong(
                "operator is empty: clients count operators".to_owned(),
            ));
        }
        let timestamp = period("timestamp", &raw.timestamp)?;
        let margin = duration(&raw.rollout.margin)
            .map_err(|what| wrong(format!("rollout.margin: {what}")))?;
        Ok(Self {
            production: raw.mode == RawMode::Production,
            operator: raw.operator,
            rollout: Rollout {
                life: timestamp.life,
                margin,
            },
            owners: raw.owners,
            online,
            places: raw
                .publish
                .into_iter()
                .map(|place| place.checked(folder))
                .collect::<Result<_, _>>()?,
            root: period("root", &raw.root)?,
            targets: period("targets", &raw.targets)?,
            delegated: period("delegated", &raw.delegated)?,
            snapshot: period("snapshot", &raw.snapshot)?,
            timestamp,
        })
    }

    /// How long a role's metadata holds.
    pub const fn period(&self, role: &RoleName) -> Period {
        match role {
            RoleName::Top(Role::Root) => self.root,
            RoleName::Top(Role::Targets) => self.targets,
            RoleName::Top(Role::Snapshot) => self.snapshot,
            RoleName::Top(Role::Timestamp) => self.timestamp,
            RoleName::Delegated(_) => self.delegated,
        }
    }
}

impl RawPlace {
    fn checked(self, folder: &Path) -> Result<Place, RepositoryError> {
        let named = [
            self.folder.is_some(),
            self.tar.is_some(),
            self.bucket.is_some(),
            self.oci.is_some(),
        ];
        if named.iter().filter(|named| **named).count() != 1 {
            let what = "each [[publish]] names one of folder, tar, bucket and oci";
            return Err(RepositoryError::Policy(what.to_owned()));
        }
        if let Some(name) = &self.oci {
            let reference = oci::Reference::parse(name)
                .map_err(|error| RepositoryError::Policy(format!("publish.oci: {error}")))?;
            if reference.digest.is_some() {
                let what = format!("publish.oci: {name} has a digest, and is to move: name a tag");
                return Err(RepositoryError::Policy(what));
            }
            return Ok(Place::Registry(Box::new(reference)));
        }
        let prefix = self.prefix.trim_matches('/');
        Ok(match (self.folder, self.tar, self.bucket) {
            (Some(place), _, _) => Place::Folder(folder.join(place)),
            (_, Some(file), _) => Place::Tar(folder.join(file)),
            (_, _, bucket) => Place::Bucket(Box::new(Bucket {
                bucket: bucket.unwrap_or_default(),
                prefix: if prefix.is_empty() {
                    String::new()
                } else {
                    format!("{prefix}/")
                },
                region: self.region,
                endpoint: self.endpoint,
                url: self.url,
            })),
        })
    }
}

/// `36h`, `7d`.
fn duration(text: &str) -> Result<SignedDuration, String> {
    let wrong = || format!("'{text}' is no time such as 36h or 7d");
    let (number, unit) = text
        .split_at_checked(text.len().saturating_sub(1))
        .ok_or_else(wrong)?;
    let number: i64 = number.parse().map_err(|_| wrong())?;
    let hours = match unit {
        "h" => number,
        "d" => number.saturating_mul(24),
        _ => return Err(wrong()),
    };
    // Up to a hundred years.
    if (1..=24 * 36_525).contains(&hours) {
        Ok(SignedDuration::from_hours(hours))
    } else {
        Err(wrong())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_is_a_policy() {
        let policy = Policy::parse(EXAMPLE, Path::new("trust")).unwrap();
        assert!(policy.production);
        assert_eq!(
            policy.period(&RoleName::TIMESTAMP).life,
            SignedDuration::from_hours(24 * 7)
        );
        assert_eq!(policy.rollout.margin, SignedDuration::from_hours(24 * 5));
    }

    #[test]
    fn a_place_is_of_one_kind_and_a_tag_is_no_digest() {
        let place = |text: &str| {
            let policy = format!("{EXAMPLE}\n[[publish]]\n{text}\n");
            Policy::parse(&policy, Path::new("trust")).map(|policy| policy.places)
        };
        let reference = oci::Reference::parse("registry.example.com/team/trust:latest").unwrap();
        assert_eq!(
            place("oci = \"registry.example.com/team/trust\"").unwrap(),
            [Place::Registry(Box::new(reference))]
        );
        let digest = "0".repeat(64);
        for (text, expected) in [
            ("oci = \"a b\"".to_owned(), "publish.oci: "),
            (
                format!("oci = \"registry.example.com/trust@sha256:{digest}\""),
                "has a digest",
            ),
            ("oci = \"a\"\nfolder = \"b\"".to_owned(), "names one of"),
        ] {
            let error = place(&text).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_name() {
        for (from, to, expected) in [
            (
                "life = \"7d\"",
                "life = \"7 days\"",
                "timestamp.life: '7 days'",
            ),
            (
                "renew = \"6d\"",
                "renew = \"8d\"",
                "timestamp: renewed 8d before its end",
            ),
            (
                "mode = \"production\"",
                "mode = \"test\"",
                "unknown variant `test`",
            ),
            (
                "operator = \"example.com\"",
                "operator = \"\"",
                "operator is empty",
            ),
            (
                "[rollout]",
                "surprise = 1\n[rollout]",
                "unknown field `surprise`",
            ),
        ] {
            assert!(EXAMPLE.contains(from), "{from}");
            let error = Policy::parse(&EXAMPLE.replacen(from, to, 1), Path::new("")).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        }
    }
}
