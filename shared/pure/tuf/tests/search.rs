//! The search through delegations: who is asked, in which order, and who may speak for what.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic in a test is its failure report"
)]

mod common;

use common::{Follower, Repository, Secret, in_days};
use serde_json::json;
use tuf::{TargetError, UpdateError};

/// Who was asked beyond the top, by file name.
fn asked(follower: &Follower) -> Vec<&str> {
    let after = follower
        .asked
        .iter()
        .position(|file| file.ends_with(".targets.json"))
        .map_or(0, |position| position + 1);
    follower.asked[after..]
        .iter()
        .map(|file| file.trim_end_matches(".json"))
        .map(|file| file.split_once('.').unwrap().1)
        .collect()
}

#[test]
fn roles_are_asked_depth_first_in_their_order_each_once() {
    const ALL: &str = "*";
    /// From, to, terminating, path.
    type Edge = (&'static str, &'static str, bool, &'static str);
    let cases: &[(&[Edge], &[&str])] = &[
        (&[("targets", "A", false, ALL)], &["A"]),
        (
            &[("targets", "A", false, ALL), ("targets", "B", false, ALL)],
            &["A", "B"],
        ),
        (
            &[
                ("targets", "A", false, ALL),
                ("targets", "B", false, ALL),
                ("B", "C", false, ALL),
            ],
            &["A", "B", "C"],
        ),
        (
            &[
                ("targets", "A", false, ALL),
                ("targets", "B", false, ALL),
                ("A", "C", false, ALL),
                ("A", "D", false, ALL),
            ],
            &["A", "C", "D", "B"],
        ),
        (
            &[
                ("targets", "A", false, ALL),
                ("targets", "B", false, ALL),
                ("A", "C", false, ALL),
                ("C", "D", false, ALL),
            ],
            &["A", "C", "D", "B"],
        ),
        (
            &[
                ("targets", "A", false, ALL),
                ("targets", "B", false, ALL),
                ("A", "C", true, ALL),
                ("A", "D", false, ALL),
            ],
            &["A", "C"],
        ),
        (
            &[
                ("targets", "A", false, ALL),
                ("targets", "B", false, ALL),
                ("A", "C", true, ALL),
                ("C", "D", false, ALL),
            ],
            &["A", "C", "D"],
        ),
        (
            &[
                ("targets", "A", false, "*.py"),
                ("targets", "B", false, ALL),
                ("A", "C", false, ALL),
            ],
            &["B"],
        ),
        (
            &[
                ("targets", "A", false, ALL),
                ("targets", "B", false, ALL),
                ("A", "C", false, "*.py"),
                ("C", "D", false, ALL),
            ],
            &["A", "B"],
        ),
        (
            &[
                ("targets", "A", false, ALL),
                ("targets", "B", false, ALL),
                ("B", "C", false, ALL),
                ("C", "D", false, ALL),
                ("D", "B", false, ALL),
            ],
            &["A", "B", "C", "D"],
        ),
        (
            &[
                ("targets", "A", false, ALL),
                ("targets", "B", false, ALL),
                ("B", "C", false, ALL),
                ("A", "C", false, ALL),
            ],
            &["A", "C", "B"],
        ),
        (
            &[
                ("targets", "A", false, ALL),
                ("targets", "B", false, ALL),
                ("B", "C", false, ALL),
                ("A", "C", false, "*.py"),
            ],
            &["A", "B", "C"],
        ),
    ];
    for (edges, expected) in cases {
        let mut repository = Repository::new();
        for (from, to, terminating, path) in *edges {
            repository.delegate(
                from,
                to,
                json!({ "paths": [path], "terminating": terminating }),
            );
        }
        repository.publish_all();
        let mut follower = Follower::of(&repository);
        let mut trusted = follower.refresh(&repository).unwrap();
        let found = follower.search(Some(&repository), &mut trusted, "missingpath");
        assert!(found.unwrap().is_none());
        assert_eq!(asked(&follower), *expected, "{edges:?}");
        // The second time everything is there.
        let mut trusted = follower.refresh(&repository).unwrap();
        follower
            .search(Some(&repository), &mut trusted, "missingpath")
            .unwrap();
        assert_eq!(follower.asked.len(), 2, "{:?}", follower.asked);
        let mut trusted = follower.offline(false).unwrap();
        assert!(
            follower
                .search(None, &mut trusted, "missingpath")
                .unwrap()
                .is_none()
        );
    }
}

#[test]
fn patterns_decide_who_may_speak_for_a_target() {
    let mut repository = Repository::new();
    for (from, to, paths) in [
        ("targets", "A", &["*.doc", "*.md", "foo-?.tgz"][..]),
        ("targets", "B", &["releases/*/*"]),
        ("B", "C", &["releases/x/*"]),
        ("B", "D", &["releases/y/*.zip"]),
    ] {
        repository.delegate(from, to, json!({ "paths": paths }));
    }
    for (role, path) in [
        ("targets", "targetfile"),
        ("A", "README.md"),
        ("A", "releases/README.md"),
        ("A", "foo-1.tgz"),
        ("A", "foo-alpha.tgz"),
        ("C", "releases/x/x_v1"),
        ("D", "releases/y/y_v1.zip"),
        ("D", "releases/z/z_v1.zip"),
    ] {
        repository.add_target(role, path, path.as_bytes());
    }
    repository.publish_all();
    for (path, found, expected) in [
        ("targetfile", true, &[][..]),
        ("README.md", true, &["A"]),
        ("releases/x/x_v1", true, &["B", "C"]),
        ("releases/y/y_v1.zip", true, &["B", "D"]),
        ("releases/z/z_v1.zip", false, &["B"]),
        ("releases/README.md", false, &[]),
        ("foo-1.tgz", true, &["A"]),
        ("foo-alpha.tgz", false, &[]),
        ("README.MD", false, &[]),
    ] {
        let mut follower = Follower::of(&repository);
        let mut trusted = follower.refresh(&repository).unwrap();
        let target = follower
            .search(Some(&repository), &mut trusted, path)
            .unwrap();
        assert_eq!(target.is_some(), found, "{path}");
        assert_eq!(asked(&follower), expected, "{path}");
        if let Some(target) = target {
            let content = &repository.files[&format!("targets/{}", target.in_repository())];
            target.check(content).unwrap();
            let mut more = content.clone();
            more.push(b' ');
            assert!(matches!(
                target.check(&more),
                Err(TargetError::Content { .. })
            ));
            more.pop();
            more[0] ^= 1;
            let error = target.check(&more).unwrap_err().to_string();
            assert!(error.ends_with("another sha256 hash"), "{error}");
        }
    }
}

#[test]
fn a_role_is_checked_against_whoever_leads_to_it() {
    let mut repository = Repository::new();
    repository.delegate("targets", "parent-a", json!({ "paths": ["team-a/*"] }));
    repository.delegate("targets", "parent-b", json!({ "paths": ["team-b/*"] }));
    repository.delegate("parent-a", "release", json!({ "paths": ["team-a/*"] }));
    repository.delegate("parent-b", "release", json!({ "paths": ["team-b/*"] }));
    // Signed by the key that parent-a names, and not by parent-b's.
    repository.signers.get_mut("release").unwrap().truncate(1);
    repository.add_target("release", "team-a/root", b"a");
    repository.add_target("release", "team-b/root", b"b");
    repository.publish_all();
    let mut follower = Follower::of(&repository);
    for offline in [false, true] {
        let mut trusted = if offline {
            follower.offline(false).unwrap()
        } else {
            follower.refresh(&repository).unwrap()
        };
        let from = (!offline).then_some(&repository);
        let found = follower.search(from, &mut trusted, "team-a/root").unwrap();
        assert!(found.is_some());
        let error = follower
            .search(from, &mut trusted, "team-b/root")
            .unwrap_err();
        let code = if offline { "not-cached" } else { "metadata" };
        assert_eq!(error.code(), code, "{error}");
        assert!(
            follower
                .search(from, &mut trusted, "team-a/root")
                .unwrap()
                .is_some()
        );
    }
}

#[test]
fn a_delegate_that_is_broken_stops_only_who_asks_it() {
    for harm in [
        "unsigned",
        "expired",
        "missing",
        "other-version",
        "malformed",
    ] {
        let mut repository = Repository::new();
        repository.delegate("targets", "team", json!({ "paths": ["team/*"] }));
        repository.add_target("targets", "top", b"top");
        repository.add_target("team", "team/one", b"one");
        match harm {
            "unsigned" => repository.signers.get_mut("team").unwrap().clear(),
            "expired" => repository.set("team", "expires", json!(in_days(-1))),
            "malformed" => repository.set("team", "targets", json!([])),
            _ => {}
        }
        repository.publish_all();
        match harm {
            "missing" => drop(repository.files.remove("1.team.json")),
            "other-version" => {
                repository.set("team", "version", json!(2));
                let bytes = repository.sealed("team");
                repository.files.insert("1.team.json".to_owned(), bytes);
            }
            _ => {}
        }
        let mut follower = Follower::of(&repository);
        let mut trusted = follower.refresh(&repository).unwrap();
        let mut search = |path: &str| follower.search(Some(&repository), &mut trusted, path);
        assert!(search("top").unwrap().is_some(), "{harm}");
        assert!(search("team/one").is_err(), "{harm}");
        assert!(search("top").unwrap().is_some(), "{harm}");
        assert_eq!(follower.version("team"), None, "{harm}");
    }
}

#[test]
fn a_role_that_the_snapshot_does_not_list_is_not_asked() {
    for terminating in [false, true] {
        let mut repository = Repository::new();
        repository.delegate(
            "targets",
            "gone",
            json!({ "paths": ["*"], "terminating": terminating }),
        );
        repository.delegate("targets", "next", json!({ "paths": ["*"] }));
        repository.add_target("next", "file", b"x");
        repository.publish(&["gone", "next", "targets"]);
        repository.says.get_mut("snapshot").unwrap()["meta"]
            .as_object_mut()
            .unwrap()
            .remove("gone.json");
        repository.publish(&["snapshot", "timestamp"]);
        let mut follower = Follower::of(&repository);
        let mut trusted = follower.refresh(&repository).unwrap();
        let found = follower
            .search(Some(&repository), &mut trusted, "file")
            .unwrap();
        // A terminating role has the last word, also when it is not there to say it.
        assert_eq!(found.is_some(), !terminating);
        let expected: &[&str] = if terminating { &[] } else { &["next"] };
        assert_eq!(asked(&follower), expected);
    }
}

#[test]
fn hash_prefixes_and_bins_decide_by_the_hash_of_the_path() {
    // SHA-256 of "file" begins with 3b9c358f.
    let mut repository = Repository::new();
    repository.delegate(
        "targets",
        "no",
        json!({ "path_hash_prefixes": ["3b9d", "00"] }),
    );
    repository.delegate("targets", "yes", json!({ "path_hash_prefixes": ["3b9c"] }));
    repository.add_target("yes", "file", b"x");
    repository.publish_all();
    let mut follower = Follower::of(&repository);
    let mut trusted = follower.refresh(&repository).unwrap();
    assert!(
        follower
            .search(Some(&repository), &mut trusted, "file")
            .unwrap()
            .is_some()
    );
    assert_eq!(asked(&follower), ["yes"]);

    let mut repository = Repository::new();
    let bin = repository.delegate("targets", "bin-07", json!({ "paths": [] }));
    repository.says.get_mut("targets").unwrap()["delegations"] = json!({
        "keys": { bin.id(): bin.public() },
        "succinct_roles": { "keyids": [bin.id()], "threshold": 1, "bit_length": 5, "name_prefix": "bin" },
    });
    repository.add_target("bin-07", "file", b"x");
    repository.publish_all();
    let mut follower = Follower::of(&repository);
    let mut trusted = follower.refresh(&repository).unwrap();
    assert!(
        follower
            .search(Some(&repository), &mut trusted, "file")
            .unwrap()
            .is_some()
    );
    assert_eq!(asked(&follower), ["bin-07"]);
}

#[test]
fn names_of_roles_are_encoded_and_never_those_of_the_top() {
    for (name, file) in [
        ("?", "1.%3F.json"),
        ("#", "1.%23.json"),
        ("/delegatedrole", "1.%2Fdelegatedrole.json"),
        ("../delegatedrole", "1...%2Fdelegatedrole.json"),
        ("ä b", "1.%C3%A4%20b.json"),
    ] {
        let mut repository = Repository::new();
        repository.delegate("targets", name, json!({ "paths": ["*"] }));
        repository.publish_all();
        let mut follower = Follower::of(&repository);
        let mut trusted = follower.refresh(&repository).unwrap();
        let found = follower.search(Some(&repository), &mut trusted, "nonexistent target");
        assert!(found.unwrap().is_none());
        assert_eq!(follower.asked.last().unwrap(), file);
        assert!(
            follower
                .cache
                .keys()
                .all(|name| { name.starts_with("root_history/") || !name.contains('/') })
        );
    }
    for name in [
        "root",
        "timestamp",
        "Snapshot",
        "targets",
        "",
        &"r".repeat(300),
    ] {
        let mut repository = Repository::new();
        let (key, delegations) = (Secret(1), "delegations");
        repository.set(
            "targets",
            delegations,
            json!({ "keys": { key.id(): key.public() }, "roles": [
                { "name": name, "keyids": [key.id()], "threshold": 1, "terminating": false, "paths": ["*"] }
            ]}),
        );
        repository.publish(&["targets", "snapshot", "timestamp"]);
        let error = Follower::of(&repository).refresh(&repository).unwrap_err();
        assert_eq!(error.code(), "metadata", "{name}");
    }
}

#[test]
fn a_chain_of_delegations_has_an_end() {
    let mut repository = Repository::new();
    let mut from = "targets".to_owned();
    for number in 1..=33 {
        let to = format!("r{number}");
        repository.delegate(&from, &to, json!({ "paths": ["*"] }));
        from = to;
    }
    repository.add_target("r32", "near", b"x");
    repository.add_target("r33", "far", b"x");
    repository.publish_all();
    let mut follower = Follower::of(&repository);
    let mut trusted = follower.refresh(&repository).unwrap();
    assert!(
        follower
            .search(Some(&repository), &mut trusted, "near")
            .unwrap()
            .is_some()
    );
    let error = follower
        .search(Some(&repository), &mut trusted, "far")
        .unwrap_err();
    assert_eq!(error, UpdateError::TooManyRoles(32, "far".to_owned()));
}

#[test]
fn a_target_needs_a_hash_that_we_can_compare_and_each_one_that_we_can_must_hold() {
    let sha256 = hex::encode(keys::sha256(b"content"));
    let sha512 = keys::Digest::of(keys::HashAlgorithm::Sha512, b"content").to_hex();
    for (hashes, prefix) in [
        (json!({ "sha256": sha256 }), Some(&sha256)),
        (json!({ "sha512": sha512 }), Some(&sha512)),
        (json!({ "sha256": sha256, "sha512": sha512 }), Some(&sha256)),
        (json!({ "sha256": sha256, "sha512": "0".repeat(128) }), None),
        (json!({ "sha256": sha256, "blake9": "00" }), Some(&sha256)),
        (json!({ "blake9": "00" }), None),
        (json!({}), None),
        (json!({ "sha256": "00" }), None),
    ] {
        let mut repository = Repository::new();
        repository.says.get_mut("targets").unwrap()["targets"]["a/file"] =
            json!({ "length": 7, "hashes": hashes, "custom": {} });
        repository.publish(&["targets", "snapshot", "timestamp"]);
        let mut follower = Follower::of(&repository);
        let target = follower
            .refresh(&repository)
            .and_then(|mut trusted| follower.search(Some(&repository), &mut trusted, "a/file"));
        let held = target
            .as_ref()
            .is_ok_and(|target| target.as_ref().unwrap().check(b"content").is_ok());
        assert_eq!(held, prefix.is_some(), "{hashes}");
        if let Some(prefix) = prefix {
            let target = target.unwrap().unwrap();
            assert_eq!(target.in_repository(), format!("a/{prefix}.file"));
        }
    }
}
