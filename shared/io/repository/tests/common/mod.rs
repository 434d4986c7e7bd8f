//! A repository on a disk in memory, and the people who sign for it.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    unreachable_pub,
    reason = "helpers of tests: a panic is the report, and not every test uses all"
)]

pub mod poll;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp as Time};
use keys::Algorithm;
use repository::{Beginning, Repository, RepositoryError, Seen, Signers, walk};
use signer::Signer;
use store::sim::{Loss, SimDisk};
use tuf::RoleName;
use tuf::metadata::Version;

pub fn start() -> Time {
    "2026-11-28T10:00:00Z".parse().unwrap()
}

pub fn days(number: i64) -> SignedDuration {
    SignedDuration::from_hours(24 * number)
}

pub fn key(algorithm: Algorithm) -> Signer {
    Signer::generate(algorithm).unwrap()
}

pub fn people(number: usize) -> Vec<Signer> {
    (0..number)
        .map(|at| {
            key(if at % 2 == 0 {
                Algorithm::EcdsaP256Sha256
            } else {
                Algorithm::Ed25519
            })
        })
        .collect()
}

pub fn signers(people: &[Signer], threshold: usize) -> Signers {
    Signers {
        keys: people.iter().map(|one| one.public_key().clone()).collect(),
        threshold,
    }
}

pub fn policy() -> String {
    repository::policy::EXAMPLE.to_owned()
}

pub fn content(text: &str) -> BTreeMap<String, Vec<u8>> {
    BTreeMap::from([("artifact.txt".to_owned(), text.as_bytes().to_vec())])
}

pub fn beginning(root: &[Signer], threshold: usize, online: &Signer) -> Beginning {
    Beginning {
        root: signers(root, threshold),
        targets: signers(root, threshold),
        online: online.public_key().clone(),
        contents: content("one"),
    }
}

pub fn open(disk: &SimDisk) -> Repository {
    Repository::open(Arc::new(disk.clone()), Path::new("trust")).unwrap()
}

/// A repository that is published, 2 of 3.
pub async fn published(disk: &SimDisk, root: &[Signer], online: &Signer, now: Time) {
    published_with(disk, &policy(), root, online, now).await;
}

/// The same with another policy.
pub async fn published_with(
    disk: &SimDisk,
    policy: &str,
    root: &[Signer],
    online: &Signer,
    now: Time,
) {
    let begun = beginning(root, 2, online);
    let disk = Arc::new(disk.clone());
    let repository = Repository::init(disk, Path::new("trust"), policy, &begun, now).unwrap();
    sign_all(&repository, &root[..2], now).await;
    let online = std::slice::from_ref(online);
    repository
        .write()
        .unwrap()
        .publish(online, now)
        .await
        .unwrap();
}

/// Everybody signs whatever waits for them.
pub async fn sign_all(repository: &Repository, people: &[Signer], now: Time) {
    for staged in repository.staged(now).unwrap() {
        for one in people {
            if !staged
                .ceremony
                .ids_of(one.public_key().spki_der())
                .is_empty()
            {
                repository
                    .write()
                    .unwrap()
                    .sign(&staged.role, one, now)
                    .await
                    .unwrap();
            }
        }
    }
}

/// What a client sees that starts at this root.
pub fn client(disk: &SimDisk, start: u64, now: Time) -> Result<Seen, RepositoryError> {
    let repository = open(disk);
    walk(
        &|name| repository.published_file(name),
        Version::new(start).unwrap(),
        now,
    )
}

/// Clients of every root see the same, and nothing expired.
pub fn all_clients(disk: &SimDisk, now: Time) -> Seen {
    let repository = open(disk);
    let roots = repository.versions(&RoleName::ROOT).unwrap();
    let mut seen: Vec<Seen> = roots
        .iter()
        .map(|root| {
            client(disk, root.get(), now)
                .unwrap_or_else(|error| panic!("from root {root} at {now}: {error}"))
        })
        .collect();
    seen.dedup();
    assert_eq!(seen.len(), 1, "clients see different things");
    seen.remove(0)
}

/// The disk as the next process finds it after a kill.
pub fn restarted(disk: &SimDisk) -> SimDisk {
    disk.restart(Loss::Nothing)
}
