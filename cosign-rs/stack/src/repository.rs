//! The TUF repository of the stack: made on the first start, continued on every later one, by the same crate with which an operator runs a
//! trust root. Two keys, one for root and targets and one for snapshot and timestamp, are both at hand, so that a start proposes, signs and
//! publishes in one go.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use ::repository::{Beginning, Level, Repository, RepositoryError, Signers as RoleSigners, policy};
use axum::Router;
use jiff::Timestamp as Time;
use signer::Signer;
use store::Disk as _;
use store::fs::Folder;
use tuf::RoleName;

/// The private keys.
#[derive(Clone, Debug)]
pub struct Signers {
    /// Root and targets.
    pub offline: Signer,
    /// Snapshot and timestamp.
    pub online: Signer,
}

/// Makes the repository, or continues it, with exactly these targets.
pub async fn refresh(
    folder: &Path,
    signers: &Signers,
    contents: &BTreeMap<String, Vec<u8>>,
    now: Time,
) -> Result<(), RepositoryError> {
    let disk = Arc::new(Folder::open(folder).map_err(|source| failed("opening it", source))?);
    let repository = if is_there(&disk, "policy.toml")? {
        Repository::open(disk, folder)?
    } else if is_there(&disk, "published/1.root.json")? {
        // Of a stack before it had a policy: what is published has the same layout.
        let path = store::Path::new("policy.toml");
        let path = path.ok_or_else(|| RepositoryError::Missing("policy.toml".to_owned()))?;
        disk.replace_durable(&path, settings().as_bytes())
            .map_err(|source| failed("writing policy.toml", source))?;
        Repository::open(disk, folder)?
    } else {
        let offline = RoleSigners {
            keys: vec![signers.offline.public_key().clone()],
            threshold: 1,
        };
        let beginning = Beginning {
            root: offline.clone(),
            targets: offline,
            online: signers.online.public_key().clone(),
            contents: contents.clone(),
        };
        Repository::init(disk, folder, &settings(), &beginning, now)?
    };
    let writer = repository.write()?;
    if let Some(published) = repository.published()? {
        let status = repository.status(now)?;
        let due = |role: &RoleName| {
            status
                .roles
                .iter()
                .any(|one| one.role == role.as_str() && one.level != Level::Ok)
        };
        if due(&RoleName::ROOT) {
            writer.edit_root(now, |_| Ok(()))?;
        }
        let listed = match &published.targets {
            Some(held) => held.document.targets()?,
            None => BTreeMap::new(),
        };
        let wanted: BTreeMap<String, tuf::TargetFile> = contents
            .iter()
            .map(|(name, content)| (name.clone(), tuf::TargetFile::of(content)))
            .collect();
        if listed != wanted || due(&RoleName::TARGETS) {
            writer.edit_targets(now, contents, |targets| {
                for gone in listed.keys().filter(|name| !wanted.contains_key(*name)) {
                    targets.remove_target(gone)?;
                }
                Ok(())
            })?;
        }
    }
    let staged = repository.staged(now)?;
    for one in &staged {
        writer.sign(&one.role, &signers.offline, now).await?;
    }
    let online = std::slice::from_ref(&signers.online);
    if !staged.is_empty() {
        writer.publish(online, now).await?;
    }
    writer
        .refresh(online, ::repository::Timestamp::Always, now)
        .await
        .map(drop)
}

/// The repository as a service, which signs a new timestamp whenever one is due, with the key that its policy names.
pub fn build(folder: &Path, clock: serve::Clock) -> Result<Router, RepositoryError> {
    let disk = Arc::new(Folder::open(folder).map_err(|source| failed("opening it", source))?);
    let repository = Repository::open(disk, folder)?;
    Ok(::repository::service::build(repository, clock))
}

/// A development stack has nobody to renew by hand: a start does it when half of a year is over.
fn settings() -> String {
    policy::EXAMPLE
        .replacen("mode = \"production\"", "mode = \"development\"", 1)
        .replacen("operator = \"example.com\"", "operator = \"sigstack\"", 1)
        .replace("renew = \"60d\"", "renew = \"182d\"")
        + &::repository::online_entry("online.pem", None)
}

fn is_there(disk: &Folder, name: &str) -> Result<bool, RepositoryError> {
    let path = store::Path::new(name).ok_or_else(|| RepositoryError::Missing(name.to_owned()))?;
    let found = disk
        .read_range(&path, 0, 1)
        .map_err(|source| failed("reading it", source))?;
    Ok(found.is_some())
}

fn failed(action: &'static str, source: std::io::Error) -> RepositoryError {
    RepositoryError::Disk {
        path: "the TUF repository's folder".to_owned(),
        action,
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::SignedDuration;
    use keys::Algorithm;
    use tuf::Version;

    fn signers() -> Signers {
        let make = || Signer::generate(Algorithm::EcdsaP256Sha256).unwrap();
        Signers {
            offline: make(),
            online: make(),
        }
    }

    fn start() -> Time {
        "2026-11-22T10:00:00.75Z".parse().unwrap()
    }

    fn targets(content: &str) -> BTreeMap<String, Vec<u8>> {
        BTreeMap::from([("artifact.txt".to_owned(), content.as_bytes().to_vec())])
    }

    /// What a client sees that starts at the first root.
    fn walk(folder: &Path, now: Time) -> (u64, u64, String) {
        let disk = Arc::new(Folder::open(folder).unwrap());
        let repository = Repository::open(disk, folder).unwrap();
        let seen =
            ::repository::walk(&|name| repository.published_file(name), Version::ONE, now).unwrap();
        let content = String::from_utf8(seen.contents["artifact.txt"].clone()).unwrap();
        (seen.root.get(), seen.timestamp.get(), content)
    }

    #[tokio::test]
    async fn a_second_start_writes_only_a_timestamp_and_a_new_target_all_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let signers = signers();
        for (content, timestamp) in [("one", 2), ("one", 3), ("two", 5)] {
            refresh(folder.path(), &signers, &targets(content), start())
                .await
                .unwrap();
            assert_eq!(
                walk(folder.path(), start()),
                (1, timestamp, content.to_owned())
            );
        }
    }

    #[tokio::test]
    async fn after_half_a_year_everything_is_renewed_and_the_first_root_still_leads_there() {
        let folder = tempfile::tempdir().unwrap();
        let signers = signers();
        refresh(folder.path(), &signers, &targets("one"), start())
            .await
            .unwrap();
        let later = start() + SignedDuration::from_hours(24 * 200);
        refresh(folder.path(), &signers, &targets("one"), later)
            .await
            .unwrap();
        assert_eq!(walk(folder.path(), later).0, 2);
        for file in ["2.targets.json", "2.snapshot.json"] {
            assert!(
                folder.path().join("published").join(file).is_file(),
                "{file}"
            );
        }
    }

    #[tokio::test]
    async fn a_folder_without_a_policy_is_continued_and_other_keys_are_not_taken() {
        let folder = tempfile::tempdir().unwrap();
        let one = signers();
        refresh(folder.path(), &one, &targets("one"), start())
            .await
            .unwrap();
        std::fs::remove_file(folder.path().join("policy.toml")).unwrap();
        refresh(folder.path(), &one, &targets("one"), start())
            .await
            .unwrap();
        let error = refresh(folder.path(), &signers(), &targets("two"), start())
            .await
            .unwrap_err();
        assert!(
            error.to_string().contains("is no signer of targets 2"),
            "{error}"
        );
    }
}
