//! Copies to other places, and repositories of other tools.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic in a test is its failure report"
)]

mod common;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use common::{
    all_clients, client, content, days, key, open, people, policy, published, sign_all, signers,
    start,
};
use keys::Algorithm;
use repository::{ImportFiles, Repository, walk};
use serde_json::json;
use signer::Signer;
use store::sim::SimDisk;
use tuf::metadata::Version;
use tuf::{Ceremony, Document, Required, RoleName, TargetFile};

#[tokio::test]
async fn a_copy_in_a_folder_is_read_like_the_original_and_a_tar_is_the_same_twice() {
    let disk = SimDisk::new();
    let (three, online) = (people(3), key(Algorithm::EcdsaP256Sha256));
    published(&disk, &three, &online, start()).await;
    let repository = open(&disk);
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("www");
    let read = |name: &str| Ok(std::fs::read(copy.join(name)).ok());
    assert_eq!(repository.copy_to_folder(&copy).unwrap(), 6);
    let seen = walk(&read, Version::ONE, start()).unwrap();
    assert_eq!(seen, client(&disk, 1, start()).unwrap());
    assert_eq!(repository.copy_to_folder(&copy).unwrap(), 0);

    // All keys change: the copy follows, with the root last.
    let new = people(3);
    for role in [RoleName::ROOT, RoleName::TARGETS] {
        repository
            .write()
            .unwrap()
            .set_signers(&role, &signers(&new, 2), start())
            .unwrap();
    }
    sign_all(&repository, &three, start()).await;
    sign_all(&repository, &new, start()).await;
    repository
        .write()
        .unwrap()
        .publish(std::slice::from_ref(&online), start())
        .await
        .unwrap();
    let names = repository.published_names().unwrap();
    let place = |name: &str| names.iter().position(|other| other == name).unwrap();
    assert!(
        place("2.targets.json") < place("2.snapshot.json")
            && place("2.snapshot.json") < place("timestamp.json")
    );
    assert!(place("timestamp.json") < place("2.root.json"));
    assert_eq!(repository.copy_to_folder(&copy).unwrap(), 5);
    assert_eq!(walk(&read, Version::ONE, start()).unwrap().root.get(), 2);
    assert_eq!(repository.tar().unwrap(), repository.tar().unwrap());
    for (name, cached) in [
        ("timestamp.json", "no-store"),
        ("2.root.json", "no-store"),
        ("root.json", "no-store"),
        ("2.snapshot.json", "immutable"),
    ] {
        assert!(
            repository::places::cache_control(name).contains(cached),
            "{name}"
        );
    }
}

/// Of two places one is away: the other one has its copy all the same, or it would expire.
#[tokio::test]
async fn a_place_that_is_away_keeps_no_other_from_its_copy() {
    let disk = SimDisk::new();
    let (three, online) = (people(3), key(Algorithm::EcdsaP256Sha256));
    let folder = tempfile::tempdir().unwrap();
    let (away, there) = (folder.path().join("away"), folder.path().join("there"));
    std::fs::write(&away, "a file, and no folder").unwrap();
    let policy = format!(
        "{}\n[[publish]]\nfolder = \"{}\"\n[[publish]]\nfolder = \"{}\"\n",
        common::policy(),
        away.display(),
        there.display()
    );
    common::published_with(&disk, &policy, &three, &online, start()).await;
    let repository = open(&disk);
    let copied = repository.write().unwrap().copy_out().await;
    assert_eq!(copied.done, [format!("{}: 6 files", there.display())]);
    let error = copied.whole().unwrap_err().to_string();
    assert!(
        error.starts_with("not copied everywhere") && error.contains(&away.display().to_string()),
        "{error}"
    );
    let read = |name: &str| Ok(std::fs::read(there.join(name)).ok());
    walk(&read, Version::ONE, start()).unwrap();
}

/// A repository as tuf-on-ci keeps it: unversioned files, a history of roots, targets under their plain names, and fields of its own.
struct OnCi {
    offline: Vec<Signer>,
    online: Signer,
    files: ImportFiles,
}

async fn sealed(document: Document, roots: &[&Document], keys: &[&Signer]) -> Vec<u8> {
    let role = document.role().clone();
    let required = roots
        .iter()
        .map(|root| Required {
            by: root.version().to_string(),
            keys: root.signers(&role).unwrap(),
        })
        .collect();
    let mut ceremony = Ceremony::new(document, required, start()).unwrap();
    for key in keys {
        let signature = key.sign(ceremony.to_be_signed()).await.unwrap();
        for id in ceremony.ids_of(key.public_key().spki_der()) {
            ceremony.add(&id, signature.clone()).unwrap();
        }
    }
    ceremony.seal().unwrap().bytes().to_vec()
}

impl OnCi {
    async fn make() -> Self {
        let (offline, online) = (people(3), key(Algorithm::EcdsaP256Sha256));
        let all: Vec<&Signer> = offline.iter().collect();
        let end = start() + days(100);
        let tuf_keys = |keys: &[Signer]| -> Vec<tuf::Key> {
            keys.iter()
                .map(|key| tuf::Key::new(key.public_key().clone()).unwrap())
                .collect()
        };
        let mut first = Document::new(RoleName::ROOT, Version::ONE, end);
        for (role, keys, threshold) in [
            (RoleName::ROOT, tuf_keys(&offline), 2),
            (RoleName::TARGETS, tuf_keys(&offline), 2),
            (
                RoleName::SNAPSHOT,
                tuf_keys(std::slice::from_ref(&online)),
                1,
            ),
            (
                RoleName::TIMESTAMP,
                tuf_keys(std::slice::from_ref(&online)),
                1,
            ),
        ] {
            first.set_signers(&role, &keys, threshold).unwrap();
        }
        let mut value = first.to_value();
        value["spec_version"] = json!("1.0.31");
        value["x-tuf-on-ci-expiry-period"] = json!(197);
        for (at, key) in value["keys"]
            .as_object_mut()
            .unwrap()
            .values_mut()
            .enumerate()
        {
            key["x-tuf-on-ci-keyowner"] = json!(format!("@person{at}"));
        }
        let first = Document::read(RoleName::ROOT, &value).unwrap();
        let mut second = first.clone();
        second.set_version(Version::new(2).unwrap());
        let mut targets = Document::new(RoleName::TARGETS, Version::new(7).unwrap(), end);
        targets
            .set_target("artifact.txt", &TargetFile::of(b"theirs"))
            .unwrap();
        let mut snapshot = Document::new(RoleName::SNAPSHOT, Version::new(30).unwrap(), end);
        let targets_file = sealed(targets.clone(), &[&second], &all).await;
        snapshot.set_meta(
            "targets.json",
            targets.version(),
            &TargetFile::of(&targets_file),
        );
        // Sigstore's names such a file to this day.
        snapshot.set_meta(
            "rekor.json",
            Version::new(4).unwrap(),
            &TargetFile::of(b"gone"),
        );
        let snapshot_file = sealed(snapshot.clone(), &[&second], &[&online]).await;
        let mut timestamp = Document::new(RoleName::TIMESTAMP, Version::new(400).unwrap(), end);
        timestamp.set_meta(
            "snapshot.json",
            snapshot.version(),
            &TargetFile::of(&snapshot_file),
        );
        let first_file = sealed(first.clone(), &[&first], &all).await;
        let second_file = sealed(second.clone(), &[&first, &second], &all).await;
        let files = BTreeMap::from([
            ("metadata/root_history/1.root.json".to_owned(), first_file),
            (
                "metadata/root_history/2.root.json".to_owned(),
                second_file.clone(),
            ),
            ("metadata/root.json".to_owned(), second_file),
            ("metadata/targets.json".to_owned(), targets_file),
            ("metadata/snapshot.json".to_owned(), snapshot_file),
            (
                "metadata/timestamp.json".to_owned(),
                sealed(timestamp, &[&second], &[&online]).await,
            ),
            ("targets/artifact.txt".to_owned(), b"theirs".to_vec()),
        ]);
        Self {
            offline,
            online,
            files,
        }
    }
}

#[tokio::test]
async fn a_repository_of_another_tool_goes_on_with_its_ids_and_versions() {
    let theirs = OnCi::make().await;
    // Without the history of roots, as a folder prefix of some tools leaves it out, it is the same files.
    let files: ImportFiles = theirs
        .files
        .iter()
        .map(|(name, bytes)| {
            (
                name.replace("metadata/root_history/", "root_history/"),
                bytes.clone(),
            )
        })
        .collect();
    let disk = SimDisk::new();
    let (repository, notes) = Repository::import(
        Arc::new(disk.clone()),
        Path::new("trust"),
        &policy(),
        &files,
        start(),
    )
    .unwrap();
    assert!(
        notes
            .iter()
            .any(|note| note.contains("x-tuf-on-ci-keyowner")),
        "{notes:?}"
    );
    let seen = all_clients(&disk, start());
    assert_eq!(
        (
            seen.root.get(),
            seen.targets.get(),
            seen.snapshot.get(),
            seen.timestamp.get()
        ),
        (2, 7, 30, 400)
    );
    assert_eq!(seen.contents["artifact.txt"], b"theirs");
    assert!(
        repository
            .list("keys")
            .unwrap()
            .contains(&"person0.pem".to_owned())
    );

    // One of theirs goes, one of ours comes, and a target changes.
    let newcomer = key(Algorithm::Ed25519);
    let mut staying = theirs.offline[..2].to_vec();
    staying.push(newcomer.clone());
    let writer = repository.write().unwrap();
    for role in [RoleName::ROOT, RoleName::TARGETS] {
        writer
            .set_signers(&role, &signers(&staying, 2), start())
            .unwrap();
    }
    writer
        .edit_targets(start(), &content("ours"), |_| Ok(()))
        .unwrap();
    drop(writer);
    sign_all(&repository, &theirs.offline, start()).await;
    sign_all(&repository, &[newcomer], start()).await;
    repository
        .write()
        .unwrap()
        .publish(std::slice::from_ref(&theirs.online), start())
        .await
        .unwrap();
    // TUF 5.5.5: clients that have seen it there would refuse a snapshot without it.
    let newest = all_clients(&disk, start()).snapshot.get();
    assert!(newest > 30);
    let snapshot = repository.published_file(&format!("{newest}.snapshot.json"));
    let snapshot: serde_json::Value = serde_json::from_slice(&snapshot.unwrap().unwrap()).unwrap();
    assert_eq!(snapshot["signed"]["meta"]["rekor.json"]["version"], 4);
    let seen = all_clients(&disk, start());
    assert_eq!(
        (
            seen.root.get(),
            seen.targets.get(),
            seen.snapshot.get(),
            seen.timestamp.get()
        ),
        (3, 8, 31, 401)
    );
    assert_eq!(seen.contents["artifact.txt"], b"ours");
    let root = repository.published().unwrap().unwrap().root.document;
    assert_eq!(root.member("spec_version"), Some(&json!("1.0.31")));
    assert_eq!(root.member("x-tuf-on-ci-expiry-period"), Some(&json!(197)));
}

#[tokio::test]
async fn a_repository_that_does_not_hold_is_not_taken_over() {
    let theirs = OnCi::make().await;
    let import = |files: &ImportFiles| {
        Repository::import(
            Arc::new(SimDisk::new()),
            Path::new("t"),
            &policy(),
            files,
            start(),
        )
        .map(drop)
    };
    import(&theirs.files).unwrap();
    let mut files = theirs.files.clone();
    files.remove("metadata/targets.json");
    assert!(
        import(&files)
            .unwrap_err()
            .to_string()
            .contains("7.targets.json is missing")
    );
    files.clear();
    assert!(import(&files).unwrap_err().to_string().contains("a root"));
    // A root that nobody before it signed.
    let mut files = theirs.files.clone();
    let stranger = OnCi::make().await;
    files.insert(
        "metadata/root_history/2.root.json".to_owned(),
        stranger.files["metadata/root_history/2.root.json"].clone(),
    );
    files.remove("metadata/root.json");
    let error = import(&files).unwrap_err();
    assert!(
        error.to_string().contains("2.root.json is not acceptable"),
        "{error}"
    );
}
