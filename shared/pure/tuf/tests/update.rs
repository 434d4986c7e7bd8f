//! The client's update, rule by rule: what tuf-conformance checks from outside, and more.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic in a test is its failure report"
)]
#![allow(clippy::disallowed_methods, reason = "tests read testdata")]

mod common;

use common::{Follower, Repository, Secret, TOP, in_days, now};
use jiff::SignedDuration;
use serde_json::{Value, json};
use tuf::{File, Mode, Update, UpdateError};

const ALL: [&str; 4] = ["root", "targets", "snapshot", "timestamp"];

fn kept(pairs: &[(&str, u64)]) -> Vec<(String, u64)> {
    pairs
        .iter()
        .map(|(role, version)| ((*role).to_owned(), *version))
        .collect()
}

#[test]
fn a_first_refresh_asks_for_four_files_and_a_warm_one_for_two_of_less_than_a_kilobyte() {
    let repository = Repository::new();
    let mut follower = Follower::of(&repository);
    follower.refresh(&repository).unwrap();
    assert_eq!(
        follower.asked,
        [
            "2.root.json",
            "timestamp.json",
            "1.snapshot.json",
            "1.targets.json"
        ]
    );
    for role in &TOP[1..] {
        let name = format!("{role}.json");
        let published = repository
            .files
            .iter()
            .find(|(path, _)| path.ends_with(&name));
        assert_eq!(&follower.cache[&name], published.unwrap().1, "as it came");
    }
    follower.refresh(&repository).unwrap();
    assert_eq!(follower.asked, ["2.root.json", "timestamp.json"]);
    assert!(repository.files["timestamp.json"].len() < 1000);
    // The same again without the repository.
    let trusted = follower.offline(false).unwrap();
    assert_eq!(trusted.root_version().get(), 1);
    assert!(follower.asked.is_empty());
}

#[test]
fn without_consistent_snapshots_files_have_no_version_in_their_names() {
    let mut repository = Repository::new();
    repository.set("root", "consistent_snapshot", json!(false));
    repository.add_target("targets", "folder/file", b"content");
    repository.publish(&ALL);
    let mut follower = Follower::of(&repository);
    let mut trusted = follower.refresh(&repository).unwrap();
    assert_eq!(
        follower.asked[2..],
        [
            "3.root.json",
            "timestamp.json",
            "snapshot.json",
            "targets.json"
        ][..]
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()[1..]
    );
    let target = follower
        .search(Some(&repository), &mut trusted, "folder/file")
        .unwrap()
        .unwrap();
    assert_eq!(target.in_repository(), "folder/file");
}

#[test]
fn what_is_signed_too_little_is_refused_and_what_came_before_it_is_kept() {
    for (role, expected) in [
        ("root", kept(&[])),
        ("timestamp", kept(&[("root", 2)])),
        ("snapshot", kept(&[("root", 2), ("timestamp", 2)])),
        (
            "targets",
            kept(&[("root", 2), ("snapshot", 2), ("timestamp", 2)]),
        ),
    ] {
        let mut repository = Repository::new();
        repository.signers.get_mut(role).unwrap().clear();
        repository.publish(&ALL);
        let mut follower = Follower::of(&repository);
        let error = follower.refresh(&repository).unwrap_err();
        assert_eq!(error.code(), "metadata", "{role}: {error}");
        assert_eq!(follower.kept(), expected, "{role}");
    }
}

/// What a signature is worth for the old keys says nothing about the new ones, also where both go by one id.
#[test]
fn a_new_root_has_to_be_signed_by_its_own_keys_also_where_another_key_takes_over_an_id() {
    let mut repository = Repository::new();
    let old = repository.signers["root"][0].clone();
    let new = repository.new_key();
    repository.says.get_mut("root").unwrap()["keys"][old.id()] = new.public();
    repository.publish(&["root"]);
    let error = Follower::of(&repository).refresh(&repository).unwrap_err();
    assert_eq!(error.code(), "metadata", "{error}");
    // Three of four new keys, of which the old ones are two: both sides are reached, and one signature less is too few.
    let mut repository = Repository::new();
    repository.set_keys("root", &[1, 2], 2, &[1, 2]);
    repository
        .signers
        .get_mut("root")
        .unwrap()
        .push(Secret(101));
    repository.publish(&["root"]);
    for (signers, holds) in [
        (&[4, 1, 3, 2][..], true),
        (&[1, 2, 3], true),
        (&[1, 2], false),
        (&[1, 3, 4], false),
        (&[3, 4], false),
    ] {
        let mut follower = Follower::of(&repository);
        follower.refresh(&repository).unwrap();
        let mut next = Repository::new();
        next.says.clone_from(&repository.says);
        next.files.clone_from(&repository.files);
        next.signers.clone_from(&repository.signers);
        next.set_keys("root", &[1, 2, 3, 4], 3, signers);
        next.publish(&["root"]);
        let outcome = follower.refresh(&next);
        assert_eq!(outcome.is_ok(), holds, "{signers:?}: {outcome:?}");
    }
}

#[test]
fn a_version_other_than_the_one_that_was_asked_for_is_refused() {
    for role in ["root", "snapshot", "targets"] {
        let mut repository = Repository::new();
        // Version 3 under the name of version 2, and so named above.
        repository.set(role, "version", json!(2));
        let version = repository.version(role) + 1;
        repository.set(role, "version", json!(version));
        repository.put(role, 2);
        for above in ["targets", "snapshot", "timestamp"] {
            if above != role {
                repository.publish(&[above]);
            }
        }
        if role != "root" {
            // The role above says version 3, whose file is not there.
            let error = Follower::of(&repository).refresh(&repository).unwrap_err();
            assert_eq!(error.code(), "missing", "{role}: {error}");
            let says = if role == "snapshot" {
                "timestamp"
            } else {
                "snapshot"
            };
            repository.says.get_mut(says).unwrap()["meta"][format!("{role}.json")]["version"] =
                json!(2);
            repository.publish(if says == "snapshot" {
                &["snapshot", "timestamp"]
            } else {
                &["timestamp"]
            });
        }
        let error = Follower::of(&repository).refresh(&repository).unwrap_err();
        assert!(
            matches!(error, UpdateError::Version { .. }),
            "{role}: {error:?}"
        );
    }
}

#[test]
fn a_file_that_is_missing_is_an_error_and_a_next_root_that_is_missing_is_none() {
    for (file, code) in [
        ("timestamp.json", "missing"),
        ("1.snapshot.json", "missing"),
        ("1.targets.json", "missing"),
    ] {
        let mut repository = Repository::new();
        let mut follower = Follower::of(&repository);
        repository.files.remove(file);
        let error = follower.refresh(&repository).unwrap_err();
        assert_eq!(error.code(), code, "{file}: {error}");
        assert_eq!(follower.asked.last().unwrap(), file);
    }
}

#[test]
fn what_is_expired_is_refused_and_not_kept_but_a_root() {
    for (role, expected) in [
        (
            "root",
            [
                ("root", 2),
                ("snapshot", 1),
                ("targets", 1),
                ("timestamp", 1),
            ],
        ),
        (
            "timestamp",
            [
                ("root", 2),
                ("snapshot", 1),
                ("targets", 1),
                ("timestamp", 1),
            ],
        ),
        (
            "snapshot",
            [
                ("root", 2),
                ("snapshot", 1),
                ("targets", 1),
                ("timestamp", 2),
            ],
        ),
        (
            "targets",
            [
                ("root", 2),
                ("snapshot", 2),
                ("targets", 1),
                ("timestamp", 2),
            ],
        ),
    ] {
        let mut repository = Repository::new();
        let mut follower = Follower::of(&repository);
        follower.refresh(&repository).unwrap();
        // To the second: at its end it is over.
        repository.set(role, "expires", json!(in_days(0)));
        repository.publish(&ALL);
        let error = follower.refresh(&repository).unwrap_err();
        assert!(
            matches!(error, UpdateError::Expired { .. }),
            "{role}: {error}"
        );
        assert_eq!(follower.kept(), kept(&expected), "{role}");
    }
}

#[test]
fn what_expired_in_the_cache_is_fetched_anew_and_still_says_how_far_back_is_a_rollback() {
    let mut repository = Repository::new();
    repository.set("timestamp", "expires", json!(in_days(7)));
    repository.publish(&["snapshot", "timestamp"]);
    let mut follower = Follower::of(&repository);
    follower.refresh(&repository).unwrap();
    follower.now = now() + SignedDuration::from_hours(24 * 18);
    let error = follower.refresh(&repository).unwrap_err();
    assert_eq!(
        error.to_string(),
        "timestamp.json expired at 2026-11-29T10:00:00Z; it is 2026-12-10T10:00:00Z"
    );
    let mut older = Repository::new();
    older.set("timestamp", "expires", json!(in_days(29)));
    older.put("timestamp", 1);
    let error = follower.refresh(&older).unwrap_err();
    assert_eq!(
        error.to_string(),
        "timestamp.json was seen in version 2, and the repository offers 1: a rollback"
    );
    repository.set("timestamp", "expires", json!(in_days(21)));
    repository.publish(&["targets", "snapshot", "timestamp"]);
    follower.refresh(&repository).unwrap();
    assert_eq!(
        follower.kept(),
        kept(&[("snapshot", 3), ("targets", 2), ("timestamp", 3)])
    );
}

#[test]
fn a_rollback_of_any_role_is_refused_and_of_the_roles_that_a_snapshot_names() {
    for hashes in [false, true] {
        for role in ["timestamp", "snapshot", "targets"] {
            let mut repository = Repository::new();
            repository.hashes = hashes;
            repository.publish(&["targets", "snapshot", "timestamp"]);
            let mut follower = Follower::of(&repository);
            follower.refresh(&repository).unwrap();
            let before = follower.kept();
            repository.set(role, "version", json!(0));
            repository.publish(match role {
                "timestamp" => &["timestamp"],
                "snapshot" => &["snapshot", "timestamp"],
                _ => &["targets", "snapshot", "timestamp"],
            });
            let error = follower.refresh(&repository).unwrap_err();
            assert!(
                matches!(&error, UpdateError::Rollback { what, .. } if what.starts_with(role)),
                "{role}: {error}"
            );
            for (kept, version) in &before {
                // The timestamp itself is newer, and holds.
                if role != "targets" || kept != "timestamp" {
                    assert_eq!(follower.version(kept), Some(*version), "{role} {kept}");
                }
            }
        }
    }
    let mut repository = Repository::new();
    repository.delegate("targets", "team", json!({ "paths": ["team/*"] }));
    repository.publish_all();
    let mut follower = Follower::of(&repository);
    follower.refresh(&repository).unwrap();
    repository.says.get_mut("snapshot").unwrap()["meta"]
        .as_object_mut()
        .unwrap()
        .remove("team.json");
    repository.publish(&["snapshot", "timestamp"]);
    let error = follower.refresh(&repository).unwrap_err();
    assert_eq!(
        error,
        UpdateError::Removed {
            what: "team.json".to_owned()
        }
    );
}

#[test]
fn new_keys_undo_a_fast_forward() {
    for role in ["timestamp", "snapshot", "targets"] {
        let mut repository = Repository::new();
        repository.set(role, "version", json!(1_000));
        repository.publish(match role {
            "timestamp" => &["timestamp"],
            "snapshot" => &["snapshot", "timestamp"],
            _ => &["targets", "snapshot", "timestamp"],
        });
        let mut follower = Follower::of(&repository);
        follower.refresh(&repository).unwrap();
        assert_eq!(follower.version(role), Some(1_001));
        repository.set(role, "version", json!(0));
        repository.publish(&["targets", "snapshot", "timestamp"]);
        assert_eq!(
            follower.refresh(&repository).unwrap_err().code(),
            "rollback"
        );
        // TUF specification 5.3.11: the role that names the versions gets new keys.
        match role {
            "timestamp" => repository.rotate("timestamp"),
            "snapshot" => {
                repository.rotate("snapshot");
                repository.rotate("timestamp");
            }
            _ => repository.rotate("snapshot"),
        }
        repository.set(role, "version", json!(0));
        repository.publish(&ALL);
        follower.refresh(&repository).unwrap();
        assert_eq!(follower.version(role), Some(1), "{role}");
    }
}

#[test]
fn a_timestamp_of_the_same_version_with_another_content_changes_nothing() {
    let mut repository = Repository::new();
    let mut follower = Follower::of(&repository);
    follower.refresh(&repository).unwrap();
    let before = follower.cache.clone();
    repository.says.get_mut("timestamp").unwrap()["meta"]["snapshot.json"]["version"] = json!(100);
    repository.put("timestamp", 1);
    follower.refresh(&repository).unwrap();
    assert_eq!(follower.cache, before);
    assert_eq!(follower.asked, ["2.root.json", "timestamp.json"]);
}

#[test]
fn length_and_hash_are_compared_where_they_are_promised() {
    for role in ["snapshot", "targets"] {
        for (member, wrong, code) in [
            ("hashes", json!({ "sha256": "0".repeat(64) }), "content"),
            ("length", json!(10_000), "content"),
            ("hashes", json!({ "md5": "00" }), "metadata"),
            ("hashes", json!({}), "metadata"),
        ] {
            let mut repository = Repository::new();
            repository.hashes = true;
            repository.publish(&["targets", "snapshot", "timestamp"]);
            Follower::of(&repository).refresh(&repository).unwrap();
            let says = if role == "snapshot" {
                "timestamp"
            } else {
                "snapshot"
            };
            repository.says.get_mut(says).unwrap()["meta"][format!("{role}.json")][member] = wrong;
            repository.publish(if says == "snapshot" {
                &["snapshot", "timestamp"]
            } else {
                &["timestamp"]
            });
            let error = Follower::of(&repository).refresh(&repository).unwrap_err();
            assert_eq!(error.code(), code, "{role} {member}: {error:?}");
        }
    }
}

#[test]
fn a_role_in_the_place_of_another_is_refused() {
    let mut repository = Repository::new();
    let timestamp = repository.signers["timestamp"][0].clone();
    repository.add_key("snapshot", &timestamp);
    repository
        .signers
        .get_mut("snapshot")
        .unwrap()
        .push(timestamp);
    repository.set(
        "snapshot",
        "meta",
        json!({ "snapshot.json": { "version": 1 } }),
    );
    repository.publish(&["root", "snapshot"]);
    let snapshot = repository.files["2.snapshot.json"].clone();
    repository
        .files
        .insert("timestamp.json".to_owned(), snapshot);
    let mut follower = Follower::of(&repository);
    let error = follower.refresh(&repository).unwrap_err();
    let UpdateError::Metadata { source, .. } = error else {
        panic!("{error}")
    };
    assert_eq!(
        source.to_string(),
        "this is snapshot metadata, expected timestamp"
    );
    assert_eq!(follower.kept(), kept(&[("root", 2)]));
}

#[test]
fn what_the_specification_does_not_know_is_left_aside_and_another_major_version_is_not() {
    let mut repository = Repository::new();
    let mut key = repository.new_key().public();
    key["x-owner"] = json!({ "a": 1, "b": [2] });
    repository.says.get_mut("root").unwrap()["keys"]["odd"] = key;
    repository.says.get_mut("root").unwrap()["keys"]["none"] =
        json!({ "keytype": "ml-dsa", "scheme": "ml-dsa-44", "keyval": { "public": "" } });
    repository.role("root")["keyids"] =
        json!([repository.signers["root"][0].id(), "odd", "none", "gone"]);
    repository.role("root")["x-more"] = json!(1);
    repository.set("root", "x-more", json!("value"));
    repository.set("targets", "x-more", json!(u64::MAX / 2 / 1024));
    repository.publish(&ALL);
    let mut follower = Follower::of(&repository);
    follower.refresh(&repository).unwrap();
    for (spec_version, taken) in [
        ("1.0", true),
        ("1.99.0", true),
        ("2.0.0", false),
        ("", false),
    ] {
        repository.set("timestamp", "spec_version", json!(spec_version));
        repository.publish(&["timestamp"]);
        assert_eq!(
            follower.refresh(&repository).is_ok(),
            taken,
            "{spec_version}"
        );
    }
}

#[test]
fn a_key_counts_once_under_whatever_ids() {
    // One key under two ids, and a threshold of two.
    let mut repository = Repository::new();
    let secret = repository.signers["snapshot"][0].clone();
    repository.says.get_mut("root").unwrap()["keys"]["other"] = secret.public();
    let ids = json!([secret.id(), "other", secret.id()]);
    repository.role("snapshot")["keyids"] = ids;
    repository.role("snapshot")["threshold"] = json!(2);
    repository.publish(&["root", "snapshot", "timestamp"]);
    let path = "2.snapshot.json";
    let mut file: Value = serde_json::from_slice(&repository.files[path]).unwrap();
    let mut twin = file["signatures"][0].clone();
    twin["keyid"] = json!("other");
    file["signatures"].as_array_mut().unwrap().push(twin);
    repository
        .files
        .insert(path.to_owned(), file.to_string().into_bytes());
    let mut follower = Follower::of(&repository);
    let error = follower.refresh(&repository).unwrap_err();
    assert_eq!(error.code(), "metadata", "{error}");
    // The root itself holds, and is kept: only that role cannot be signed.
    assert_eq!(follower.kept(), kept(&[("root", 2), ("timestamp", 2)]));
}

#[test]
fn a_signature_that_does_not_hold_costs_nothing_if_enough_others_do() {
    for sig in ["", "zz", "00", "3045022100ee"] {
        let mut repository = Repository::new();
        let other = repository.new_key();
        repository.add_key("timestamp", &other);
        repository.publish(&["root", "timestamp"]);
        let mut file: Value = serde_json::from_slice(&repository.files["timestamp.json"]).unwrap();
        let signatures = file["signatures"].as_array_mut().unwrap();
        signatures.insert(0, json!({ "keyid": other.id(), "sig": sig }));
        let bytes = file.to_string().into_bytes();
        repository.files.insert("timestamp.json".to_owned(), bytes);
        Follower::of(&repository).refresh(&repository).unwrap();
        // The same id twice is an error, though one of them holds.
        let signatures = file["signatures"].as_array_mut().unwrap();
        let twice = signatures[1].clone();
        signatures.push(twice);
        let bytes = file.to_string().into_bytes();
        repository.files.insert("timestamp.json".to_owned(), bytes);
        assert!(Follower::of(&repository).refresh(&repository).is_err());
    }
}

/// Keys, threshold, signers; and whether the last version is taken.
type Rotation = (&'static [(&'static [u16], u64, &'static [u16])], bool);

#[test]
fn a_root_is_signed_by_the_one_before_it_and_by_itself() {
    const FIVE: &[u16] = &[0, 1, 2, 3, 4];
    const ROTATED: &[u16] = &[0, 1, 3, 4, 5];
    let cases: &[Rotation] = &[
        (
            &[(&[1], 1, &[1]), (&[2], 1, &[2, 1]), (&[2], 1, &[2])],
            true,
        ),
        (
            &[
                (&[1], 1, &[3, 1, 4]),
                (&[2], 1, &[3, 2, 1, 4]),
                (&[2], 1, &[3, 2, 4]),
            ],
            true,
        ),
        (
            &[
                (FIVE, 3, &[0, 2, 4]),
                (FIVE, 3, &[0, 4, 1]),
                (FIVE, 3, &[0, 1, 3]),
                (FIVE, 3, &[0, 1, 3]),
            ],
            true,
        ),
        (&[(FIVE, 3, &[0, 2, 4]), (ROTATED, 3, &[0, 4, 1])], true),
        (
            &[
                (FIVE, 3, &[0, 2, 4]),
                (ROTATED, 3, &[0, 2, 4, 5]),
                (ROTATED, 3, &[0, 4, 5]),
            ],
            true,
        ),
        (
            &[
                (FIVE, 3, &[0, 2, 4]),
                (&[5, 6, 7, 8, 9], 3, &[0, 2, 4, 5, 6, 7]),
                (&[5, 6, 7, 8, 9], 3, &[5, 6, 7]),
            ],
            true,
        ),
        (&[(&[1, 2, 3], 1, &[1]), (&[1, 2, 3], 2, &[1, 2])], true),
        (
            &[
                (&[1, 2, 3], 2, &[1, 2]),
                (&[1, 2, 3], 1, &[1, 2]),
                (&[1, 2, 3], 1, &[1]),
            ],
            true,
        ),
        (&[(&[1], 1, &[1]), (&[1, 2], 2, &[1, 2])], true),
        (&[(&[1], 1, &[1]), (&[2], 1, &[2, 3, 4])], false),
        (&[(&[1], 1, &[1]), (&[2], 1, &[1, 3, 4])], false),
        (&[(FIVE, 3, &[0, 2, 4]), (ROTATED, 3, &[0, 2, 4])], false),
        (&[(FIVE, 3, &[0, 2, 4]), (ROTATED, 3, &[0, 4, 5])], false),
        (&[(&[1, 2, 3], 1, &[1]), (&[1, 2, 3], 2, &[2])], false),
        (&[(&[1, 2, 3], 2, &[1, 2]), (&[1, 2, 3], 1, &[1])], false),
    ];
    for (versions, taken) in cases {
        let mut repository = Repository::new();
        repository.set("root", "version", json!(0));
        for (keys, threshold, signers) in *versions {
            repository.set_keys("root", keys, *threshold, signers);
            repository.publish(&["root"]);
        }
        let last = u64::try_from(versions.len()).unwrap();
        let mut follower = Follower::of(&repository);
        let outcome = follower.refresh(&repository);
        assert_eq!(outcome.is_ok(), *taken, "{versions:?}: {outcome:?}");
        let expected = if *taken { last } else { last - 1 };
        assert_eq!(
            follower.version("root").unwrap_or(1),
            expected,
            "{versions:?}"
        );
    }
}

#[test]
fn every_other_role_is_signed_as_the_root_says_now() {
    const FIVE: &[u16] = &[0, 1, 2, 3, 4];
    const ROTATED: &[u16] = &[0, 1, 3, 4, 5];
    for role in ["timestamp", "snapshot", "targets"] {
        for (keys, threshold, signers, taken) in [
            (&[2][..], 1, &[2][..], true),
            (&[1], 1, &[3, 1, 4], true),
            (&[2], 1, &[1, 3, 4], false),
            (ROTATED, 3, &[0, 2, 4], false),
            (ROTATED, 3, &[0, 4], false),
            (FIVE, 3, &[0, 2, 4], true),
            (FIVE, 3, &[0, 4, 1], true),
            (FIVE, 3, &[0, 1, 3], true),
            (FIVE, 3, &[1, 2, 3], true),
            (FIVE, 3, &[2, 3, 4], true),
            (FIVE, 6, &[0, 1, 2, 3, 4], false),
            (FIVE, 0, &[], false),
        ] {
            let mut repository = Repository::new();
            let mut follower = Follower::of(&repository);
            follower.refresh(&repository).unwrap();
            repository.set_keys(role, keys, threshold, signers);
            repository.publish(&ALL);
            let outcome = follower.refresh(&repository);
            assert_eq!(outcome.is_ok(), taken, "{role} {keys:?} {signers:?}");
            assert_eq!(follower.version(role), Some(1 + u64::from(taken)));
        }
    }
}

#[test]
fn many_roots_are_walked_and_too_many_are_taken_up_again() {
    let mut repository = Repository::new();
    let add = |repository: &mut Repository, roots: u64| {
        for _root in 0..roots {
            repository.publish(&["root"]);
        }
    };
    add(&mut repository, 200);
    let mut follower = Follower::of(&repository);
    assert_eq!(
        follower.refresh(&repository).unwrap().root_version().get(),
        201
    );
    add(&mut repository, 260);
    assert_eq!(
        follower.refresh(&repository).unwrap_err(),
        UpdateError::TooManyRoots
    );
    assert_eq!(
        follower.refresh(&repository).unwrap().root_version().get(),
        461
    );
}

#[test]
fn a_root_in_the_cache_is_no_anchor() {
    let mut repository = Repository::new();
    repository.publish(&["root"]);
    let mut follower = Follower::of(&repository);
    follower.refresh(&repository).unwrap();
    // Somebody puts a whole repository of their own into the cache.
    let mut other = Repository::new();
    for role in TOP {
        other.set_keys(role, &[50], 1, &[50]);
    }
    other.set("root", "version", json!(0));
    other.publish(&["root", "root", "targets", "snapshot", "timestamp"]);
    for (cached, file) in [
        ("root.json", "2.root.json"),
        ("root_history/2.root.json", "2.root.json"),
        ("timestamp.json", "timestamp.json"),
        ("snapshot.json", "2.snapshot.json"),
        ("targets.json", "2.targets.json"),
    ] {
        follower
            .cache
            .insert(cached.to_owned(), other.files[file].clone());
    }
    let error = follower.offline(false).unwrap_err();
    assert!(
        matches!(&error, UpdateError::NotCached { file: File::Timestamp, why } if why.contains("0 of the 1 signatures")),
        "{error}"
    );
    // With the repository all is well again.
    follower.refresh(&repository).unwrap();
    follower.offline(false).unwrap();
}

#[test]
fn a_cache_that_another_client_filled_is_used_offline() {
    let mut repository = Repository::new();
    repository.publish(&["root"]);
    let mut follower = Follower::of(&repository);
    follower.refresh(&repository).unwrap();
    follower.cache.retain(|name, _| !name.contains('/'));
    let trusted = follower.offline(false).unwrap();
    assert_eq!(trusted.root_version().get(), 2);
    assert!(follower.cache.contains_key("root_history/2.root.json"));
}

#[test]
fn any_file_of_the_cache_may_be_broken_and_is_fetched_again() {
    for name in [
        "root.json",
        "root_history/2.root.json",
        "timestamp.json",
        "snapshot.json",
        "targets.json",
    ] {
        let mut repository = Repository::new();
        repository.publish(&["root"]);
        let mut follower = Follower::of(&repository);
        follower.refresh(&repository).unwrap();
        let whole = follower.cache.clone();
        for broken in [&b""[..], b"{", b"{}", &[0xff; 100]] {
            follower.cache.insert(name.to_owned(), broken.to_vec());
            follower.refresh(&repository).unwrap();
        }
        follower.cache.remove(name);
        follower.refresh(&repository).unwrap();
        if name != "root.json" {
            assert_eq!(follower.cache, whole, "{name}");
        }
    }
}

#[test]
fn offline_what_is_expired_is_an_error_with_its_date_unless_somebody_answers_for_it() {
    let mut repository = Repository::new();
    repository.set("timestamp", "expires", json!(in_days(7)));
    repository.publish(&["timestamp"]);
    let mut follower = Follower::of(&repository);
    assert_eq!(follower.offline(false).unwrap_err().code(), "not-cached");
    follower.refresh(&repository).unwrap();
    follower.now = now() + SignedDuration::from_hours(24 * 8);
    let error = follower.offline(false).unwrap_err();
    assert!(
        matches!(
            error,
            UpdateError::Expired {
                file: File::Timestamp,
                ..
            }
        ),
        "{error}"
    );
    let trusted = follower.offline(true).unwrap();
    assert_eq!(trusted.expired().len(), 1);
    follower.now = now() + SignedDuration::from_hours(24 * 365);
    assert_eq!(follower.offline(true).unwrap().expired().len(), 4);
    // But not what is not signed.
    follower
        .cache
        .insert("snapshot.json".to_owned(), b"{}".to_vec());
    assert_eq!(follower.offline(true).unwrap_err().code(), "not-cached");
}

#[test]
fn a_pinned_root_has_to_hold() {
    let repository = Repository::new();
    let whole = &repository.files["1.root.json"];
    let start = |root: &[u8]| Update::start(root, now(), Mode::Online);
    start(whole).unwrap();
    let text = String::from_utf8(whole.clone()).unwrap();
    for (from, to) in [
        ("\"version\":1", "\"version\":2"),
        ("\"version\":1", "\"x\":1"),
        ("\"_type\":\"root\"", "\"_type\":\"targets\""),
        ("\"sig\":\"30", "\"sig\":\"31"),
        ("\"consistent_snapshot\":true", "\"consistent_snapshot\":1"),
    ] {
        assert!(text.contains(from), "{text}");
        let changed = text.replace(from, to);
        let error = start(changed.as_bytes()).unwrap_err();
        assert_eq!(error.code(), "pinned-root", "{from}");
    }
    assert!(start(&vec![b' '; 600_000]).is_err());
    // A root that lacks a role is refused when the role is needed, and one without root keys at once.
    let mut repository = Repository::new();
    repository.role("root")["keyids"] = json!([]);
    repository.set("root", "version", json!(0));
    repository.publish(&["root"]);
    assert!(start(&repository.files["1.root.json"]).is_err());
    assert_eq!(Secret(3).id(), "key-3");
}

#[test]
fn keys_of_every_scheme_verify_what_python_tuf_signed_and_nothing_else() {
    let folder =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../testdata/tuf/keys");
    let mut schemes = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let root = std::fs::read(&path).unwrap();
        Update::start(&root, now(), Mode::Online)
            .unwrap_or_else(|error| panic!("{}: {error:?}", path.display()));
        let text = String::from_utf8(root).unwrap();
        let changed = text.replace("2044-01-01", "2045-01-01");
        let error = Update::start(changed.as_bytes(), now(), Mode::Online).unwrap_err();
        assert_eq!(error.code(), "pinned-root", "{}", path.display());
        // Under another scheme of the same key the signature is another one.
        let other = text.replace("sha256\"", "sha512\"");
        if other != text {
            assert!(Update::start(other.as_bytes(), now(), Mode::Online).is_err());
        }
        schemes += 1;
    }
    assert_eq!(schemes, 9);
}
