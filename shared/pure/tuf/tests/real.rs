//! Repositories of others, from each of their roots on: production has key ids that match nothing, empty signatures, keys in hex, dates with
//! fractions, roots without consistent snapshots.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic in a test is its failure report"
)]
#![allow(clippy::disallowed_methods, reason = "tests read testdata")]

use std::fs;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use tuf::{Mode, Place, TargetPath, Update, UpdateError};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../../testdata/tuf")
        .join(name)
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// From this root to this target, with an empty cache; how many metadata files were asked for, and the version of the last root.
fn follow(
    repository: &Path,
    root: &[u8],
    target: &str,
    now: Timestamp,
) -> Result<(Vec<String>, u64), UpdateError> {
    let mut asked = Vec::new();
    let mut update = Update::start(root, now, Mode::Online)?;
    while let Some(want) = update.wants() {
        let found = match want.place {
            Place::Cache => None,
            Place::Repository => {
                asked.push(want.file.to_string());
                fs::read(repository.join(want.file.in_repository())).ok()
            }
        };
        update.feed(found.as_deref())?;
    }
    let mut trusted = update.finish().unwrap();
    let mut search = trusted.search(TargetPath::new(target).unwrap(), Mode::Online);
    while let Some(want) = search.wants()? {
        let found = match want.place {
            Place::Cache => None,
            Place::Repository => {
                asked.push(want.file.to_string());
                Some(fs::read(repository.join(want.file.in_repository())).unwrap())
            }
        };
        search.feed(found.as_deref())?;
    }
    let found = search.finish().unwrap();
    let content = fs::read(repository.join("targets").join(found.in_repository())).unwrap();
    found.check(&content).unwrap();
    assert!(found.check(b"else").is_err());
    Ok((asked, trusted.root_version().get()))
}

#[test]
fn every_published_root_leads_to_the_trusted_root_and_to_the_delegated_target() {
    for (name, newest) in [("public-good", 15), ("staging", 14)] {
        let repository = folder(name);
        for start in 1..=newest {
            let root = fs::read(repository.join(format!("{start}.root.json"))).unwrap();
            for (target, more) in [
                ("trusted_root.json", 0),
                ("registry.npmjs.org/keys.json", 1),
            ] {
                let (asked, version) =
                    follow(&repository, &root, target, at("2026-08-22T00:00:00Z"))
                        .unwrap_or_else(|error| panic!("{name} {start} {target}: {error:?}"));
                assert_eq!(version, newest, "{name} {start}");
                // Those after it and the one that is not there, timestamp, snapshot, targets; and the delegated role only if it is asked.
                let expected = usize::try_from(newest - start).unwrap() + 4 + more;
                assert_eq!(asked.len(), expected, "{name} {start} {target} {asked:?}");
            }
        }
    }
}

#[test]
fn a_repository_of_tuf_on_ci_is_read() {
    let repository = folder("tuf-on-ci");
    let root = fs::read(repository.join("1.root.json")).unwrap();
    follow(
        &repository,
        &root,
        "delegatedrole/artifact",
        at("2025-02-09T12:02:08Z"),
    )
    .unwrap();
}

#[test]
fn the_root_of_github_holds_and_one_byte_more_or_less_does_not() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../io/tuf-client/roots/github.json");
    let root = fs::read(path).unwrap();
    let now = at("2026-08-22T00:00:00Z");
    Update::start(&root, now, Mode::Online).unwrap();
    let text = String::from_utf8(root).unwrap();
    let changed = text.replacen("\"version\":9", "\"version\":8", 1);
    let changed = if changed == text {
        text.replacen("\"version\": 9", "\"version\": 8", 1)
    } else {
        changed
    };
    assert_ne!(changed, text);
    let error = Update::start(changed.as_bytes(), now, Mode::Online).unwrap_err();
    assert!(matches!(error, UpdateError::Pinned(_)), "{error}");
}

#[test]
fn after_its_time_a_repository_is_refused_by_role_and_date() {
    let repository = folder("public-good");
    let root = fs::read(repository.join("15.root.json")).unwrap();
    let after = |now| follow(&repository, &root, "trusted_root.json", at(now)).unwrap_err();
    let error = after("2026-09-01T00:00:00Z").to_string();
    assert!(
        error.starts_with("timestamp.json expired at 2026-08-2"),
        "{error}"
    );
    let error = after("2026-11-28T00:00:00Z").to_string();
    assert_eq!(
        error,
        "15.root.json expired at 2026-11-20T13:58:18Z; it is 2026-11-28T00:00:00Z"
    );
}
