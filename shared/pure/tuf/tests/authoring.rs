//! Documents of others that are edited and stay what they were, and what the lint refuses.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic in a test is its failure report"
)]

use ed25519_dalek::SigningKey;
use ed25519_dalek::pkcs8::EncodePublicKey as _;
use jiff::Timestamp as Time;
use keys::PublicKey;
use serde_json::{Value, json};
use tuf::document::{check_target_name, target_path};
use tuf::{
    Delegation, Document, DocumentError, Key, KeyId, RoleName, TargetFile, Version, diff, lint,
};

fn end() -> Time {
    "2027-01-01T00:00:00Z".parse().unwrap()
}

fn key(seed: u8) -> Key {
    let der = SigningKey::from_bytes(&[seed; 32])
        .verifying_key()
        .to_public_key_der()
        .unwrap();
    Key::new(PublicKey::from_spki_der(der.as_bytes()).unwrap()).unwrap()
}

fn root() -> Document {
    let mut root = Document::new(RoleName::ROOT, Version::ONE, end());
    for role in [RoleName::ROOT, RoleName::TARGETS] {
        root.set_signers(&role, &[key(1), key(2), key(3)], 2)
            .unwrap();
    }
    for role in [RoleName::SNAPSHOT, RoleName::TIMESTAMP] {
        root.set_signers(&role, &[key(9)], 1).unwrap();
    }
    root
}

/// As tuf-on-ci writes roots: fields of its own in keys and roles, ids over them, and another version of the specification.
fn foreign() -> Value {
    let mut value = root().to_value();
    value["spec_version"] = json!("1.0.31");
    value["x-tuf-on-ci-expiry-period"] = json!(197);
    value["roles"]["root"]["x-tuf-on-ci-signing-period"] = json!(46);
    let id = key(1).id().to_string();
    let mut held = value["keys"].as_object_mut().unwrap().remove(&id).unwrap();
    held["x-tuf-on-ci-keyowner"] = json!("@alice");
    value["keys"]["declared"] = held;
    for role in ["root", "targets"] {
        let ids: Vec<Value> = value["roles"][role]["keyids"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| {
                if *one == json!(id) {
                    json!("declared")
                } else {
                    one.clone()
                }
            })
            .collect();
        value["roles"][role]["keyids"] = json!(ids);
    }
    value
}

#[test]
fn what_an_author_does_not_know_stays() {
    let before = foreign();
    let mut document = Document::read(RoleName::ROOT, &before).unwrap();
    document.set_version(Version::new(2).unwrap());
    // One goes, one comes; alice keeps the id that somebody gave her.
    document
        .set_signers(&RoleName::ROOT, &[key(1), key(2), key(4)], 2)
        .unwrap();
    let after = document.to_value();
    assert_eq!(after["spec_version"], "1.0.31");
    assert_eq!(after["x-tuf-on-ci-expiry-period"], 197);
    assert_eq!(after["roles"]["root"]["x-tuf-on-ci-signing-period"], 46);
    assert_eq!(after["keys"]["declared"], before["keys"]["declared"]);
    let ids = document.key_ids(&RoleName::ROOT).unwrap();
    assert!(ids.iter().any(|id| id.as_str() == "declared") && ids.contains(&key(4).id()));
    // The one that left root still signs targets, and so stays.
    assert!(document.key_value(&key(3).id()).is_some());
    document
        .set_signers(&RoleName::TARGETS, &[key(1), key(2), key(4)], 2)
        .unwrap();
    assert!(document.key_value(&key(3).id()).is_none());
}

#[test]
fn a_threshold_that_the_keys_cannot_reach_is_no_threshold() {
    for (keys, threshold) in [
        (vec![key(1)], 2),
        (vec![key(1), key(1)], 2),
        (vec![], 1),
        (vec![key(1)], 0),
    ] {
        assert!(
            root()
                .set_signers(&RoleName::ROOT, &keys, threshold)
                .is_err(),
            "{threshold} of {}",
            keys.len()
        );
    }
}

#[test]
fn a_new_root_has_nothing_that_a_client_stumbles_over() {
    assert_eq!(lint::document(&root()), []);
}

type Change<'a> = dyn Fn(&mut Value) + 'a;

#[test]
fn lint_names_what_breaks_and_whom() {
    let codes = |value: &Value, role: RoleName| -> Vec<&'static str> {
        let document = Document::read(role, value).unwrap();
        lint::document(&document)
            .iter()
            .map(|finding| finding.code)
            .collect()
    };
    let id = key(1).id().to_string();
    let cases: [(&str, &Change<'_>); 8] = [
        ("consistent-snapshot", &|root| {
            root["consistent_snapshot"] = json!(false);
        }),
        ("spec-version", &|root| {
            root["spec_version"] = json!("2.0.0");
        }),
        ("date", &|root| {
            root["expires"] = json!("2027-01-01T00:00:00.5Z");
        }),
        ("integer", &|root| root["x"] = json!(1_u64 << 53)),
        ("canonical", &|root| root["x"] = json!(0.5)),
        ("key-field", &|root| {
            root["keys"][&id]["x-owner"] = json!("alice");
        }),
        ("threshold", &|root| {
            root["roles"]["timestamp"]["threshold"] = json!(2);
        }),
        ("key-type", &|root| {
            root["keys"][&id]["scheme"] = json!("rsa-pkcs1v15-sha256");
        }),
    ];
    for (expected, change) in cases {
        let mut value = root().to_value();
        change(&mut value);
        let found = codes(&value, RoleName::ROOT);
        assert!(found.contains(&expected), "{expected}: {found:?}");
    }
    assert!(codes(&foreign(), RoleName::ROOT).contains(&"key-id"));
}

#[test]
fn delegations_are_linted_from_both_sides() {
    let role = RoleName::parse("team").unwrap();
    let mut targets = Document::new(RoleName::TARGETS, Version::ONE, end());
    let delegation = Delegation {
        name: role.clone(),
        paths: vec!["registry.example.com/team/*".to_owned()],
        terminating: true,
    };
    targets
        .set_delegation(&delegation, &[key(5), key(6)], 2)
        .unwrap();
    assert_eq!(lint::document(&targets), []);
    assert_eq!(targets.delegations().unwrap(), [delegation]);
    assert_eq!(targets.signers(&role).unwrap().threshold(), 2);
    let mut delegate = Document::new(role.clone(), Version::ONE, end());
    let file = TargetFile::from_parts(1, [1; 32]);
    delegate
        .set_target("registry.example.com/team/app:v1", &file)
        .unwrap();
    assert_eq!(lint::delegate(&delegate, &targets), []);
    delegate
        .set_target("registry.example.com/team/sub/app:v1", &file)
        .unwrap();
    let found = lint::delegate(&delegate, &targets);
    assert!(
        found.len() == 1 && found[0].code == "outside-paths",
        "{found:?}"
    );

    let mut value = targets.to_value();
    value["delegations"]["roles"][0]["x-expiry"] = json!(1);
    value["delegations"]["roles"][0]
        .as_object_mut()
        .unwrap()
        .remove("terminating");
    let found = lint::document(&Document::read(RoleName::TARGETS, &value).unwrap());
    assert_eq!(
        found
            .iter()
            .filter(|finding| finding.code == "delegation-field")
            .count(),
        2
    );

    targets.remove_delegation(&role).unwrap();
    assert_eq!(
        targets.to_value(),
        Document::new(RoleName::TARGETS, Version::ONE, end()).to_value()
    );
}

#[test]
fn changes_are_told_and_none_is_left_out() {
    let old = root();
    let mut new = old.clone();
    new.set_version(Version::new(2).unwrap());
    new.set_signers(&RoleName::ROOT, &[key(1), key(2), key(3), key(4)], 3)
        .unwrap();
    let name = |id: &KeyId| (*id == key(4).id()).then(|| "dave".to_owned());
    let words = diff::words(Some(&old), &new, &name).unwrap();
    assert_eq!(words.len(), 3, "{words:?}");
    assert!(words[0].starts_with("root 2 takes the place of 1"));
    assert!(words[1].starts_with("dave (") && words[1].ends_with("may sign root from now on"));
    assert_eq!(words[2], "root needs 3 of 4 signatures (so far 2 of 3)");

    let mut value = old.to_value();
    value["consistent_snapshot"] = json!(false);
    let changed = Document::read(RoleName::ROOT, &value).unwrap();
    let words = diff::words(Some(&old), &changed, &name).unwrap();
    assert!(
        words.contains(&"consistent_snapshot is false (so far true)".to_owned()),
        "{words:?}"
    );
    // What has no sentence is at least not called nothing.
    let mut value = old.to_value();
    value["roles"]["root"]["x"] = json!(1);
    let changed = Document::read(RoleName::ROOT, &value).unwrap();
    let words = diff::words(Some(&old), &changed, &name).unwrap();
    assert!(words[1].contains("compare the two files"), "{words:?}");
    assert_eq!(
        diff::words(Some(&old), &old, &name).unwrap()[1],
        "nothing else changes"
    );
}

#[test]
fn names_have_their_bounds() {
    for name in ["", "/a", "a//b", "a/../b", ".", "a b", "ä", "a\\b", "a\n"] {
        assert!(
            matches!(check_target_name(name), Err(DocumentError::TargetName(_))),
            "{name}"
        );
    }
    for name in [
        "trusted_root.json",
        "registry.npmjs.org/keys.json",
        "registry.example.com:5000/team/app:v1",
    ] {
        check_target_name(name).unwrap();
    }
    for name in ["", "1.root", "a/b", "a b", "ä", ".."] {
        assert!(RoleName::parse(name).is_err(), "{name}");
    }
    let file = TargetFile::from_parts(1, [0xab; 32]);
    assert_eq!(
        target_path("a/b.json", &file),
        format!("a/{}.b.json", "ab".repeat(32))
    );
}
