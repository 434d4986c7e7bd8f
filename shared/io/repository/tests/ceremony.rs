//! Ceremonies: several signers, each with a folder of their own, in every order; and those who have no part in it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic in a test is its failure report"
)]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use common::{
    all_clients, beginning, content, days, key, open, people, policy, published, restarted,
    sign_all, signers, start,
};
use keys::Algorithm;
use repository::{Repository, RepositoryError, review, sign_file};
use store::Disk as _;
use store::sim::SimDisk;
use tuf::{CeremonyError, Request, RoleName};

#[test]
fn keys_that_are_named_after_the_beginning_are_named_to_those_who_sign_it() {
    let (three, online) = (people(3), key(Algorithm::EcdsaP256Sha256));
    let disk = SimDisk::new();
    let repository = Repository::init(
        Arc::new(disk.clone()),
        Path::new("t"),
        &policy(),
        &beginning(&three, 2, &online),
        start(),
    )
    .unwrap();
    let writer = repository.write().unwrap();
    for (name, signer) in ["ann", "ben", "cem"].into_iter().zip(&three) {
        writer.add_key(name, signer.public_key()).unwrap();
    }
    let staged = store::Path::new("staged/root.json".to_owned()).unwrap();
    let request = Request::parse(&disk.files()[&staged]).unwrap();
    let words = review(&request, start()).unwrap().words;
    for name in ["ann (", "ben (", "cem ("] {
        assert!(words.iter().any(|word| word.contains(name)), "{words:?}");
    }
}

/// All orders of five.
fn orders(of: &[usize]) -> Vec<Vec<usize>> {
    if of.is_empty() {
        return vec![Vec::new()];
    }
    of.iter()
        .flat_map(|first| {
            let rest: Vec<usize> = of.iter().copied().filter(|other| other != first).collect();
            orders(&rest)
                .into_iter()
                .map(|mut order| {
                    order.insert(0, *first);
                    order
                })
                .collect::<Vec<_>>()
        })
        .collect()
}

#[tokio::test]
async fn three_of_five_with_mixed_keys_in_five_folders_merge_in_every_order() {
    let (five, online) = (people(5), key(Algorithm::EcdsaP256Sha256));
    let folders = tempfile::tempdir().unwrap();
    let fresh = SimDisk::new();
    let begun = beginning(&five, 3, &online);
    Repository::init(
        Arc::new(fresh.clone()),
        Path::new("t"),
        &policy(),
        &begun,
        start(),
    )
    .unwrap();
    let staged = |disk: &SimDisk, role: &str| {
        disk.files()[&store::Path::new(format!("staged/{role}.json")).unwrap()].clone()
    };

    // Each signer gets the two files, and gives them back with one signature more; nobody sees another's.
    let returned = |at: usize, role: &str| {
        folders
            .path()
            .join(at.to_string())
            .join(format!("{role}.json"))
    };
    for role in ["root", "targets"] {
        let file = staged(&fresh, role);
        for (at, one) in five.iter().enumerate() {
            fs::create_dir_all(returned(at, role).parent().unwrap()).unwrap();
            let (signed, review) = sign_file(&file, one, start()).await.unwrap();
            assert!(
                review
                    .words
                    .iter()
                    .any(|word| word.contains("first version")),
                "{:?}",
                review.words
            );
            assert!(
                review
                    .progress
                    .iter()
                    .all(|progress| progress.have == 1 && progress.threshold == 3)
            );
            fs::write(returned(at, role), signed.to_text()).unwrap();
        }
    }

    let mut finished = Vec::new();
    for order in orders(&[0, 1, 2, 3, 4]) {
        let disk = restarted(&fresh);
        let repository = open(&disk);
        let writer = repository.write().unwrap();
        for (position, at) in order.iter().enumerate() {
            let complete = repository
                .staged(start())
                .unwrap()
                .iter()
                .all(|one| one.ceremony.is_complete());
            assert_eq!(complete, position >= 3, "after {position} signatures");
            for role in ["root", "targets"] {
                let bytes = fs::read(returned(*at, role)).unwrap();
                assert_eq!(writer.merge(&bytes, start()).unwrap().1, 1);
                // A second time brings nothing, and does no harm.
                assert_eq!(writer.merge(&bytes, start()).unwrap().1, 0);
            }
        }
        finished.push((staged(&disk, "root"), staged(&disk, "targets")));
        if finished.len() == 120 {
            writer
                .publish(std::slice::from_ref(&online), start())
                .await
                .unwrap();
            let seen = all_clients(&disk, start());
            assert_eq!(seen.contents["artifact.txt"], b"one");
            assert!(
                repository
                    .list("staged")
                    .unwrap()
                    .iter()
                    .all(|name| name == "targets")
            );
        }
    }
    assert_eq!(finished.len(), 120);
    finished.dedup();
    assert_eq!(finished.len(), 1, "the order shows");
}

#[tokio::test]
async fn a_stranger_is_refused_by_name() {
    let (three, online) = (people(3), key(Algorithm::EcdsaP256Sha256));
    let disk = SimDisk::new();
    let begun = beginning(&three, 2, &online);
    let repository = Repository::init(
        Arc::new(disk.clone()),
        Path::new("t"),
        &policy(),
        &begun,
        start(),
    )
    .unwrap();
    let stranger = key(Algorithm::Ed25519);
    let id = tuf::Key::new(stranger.public_key().clone()).unwrap().id();
    let file = disk.files()[&store::Path::new("staged/root.json").unwrap()].clone();

    let error = sign_file(&file, &stranger, start()).await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains(&format!("the key {id} is no signer of root 1")),
        "{error}"
    );

    // One who writes a signature into the file is found when it comes back.
    let mut request = Request::parse(&file).unwrap();
    request.metadata["signatures"] = serde_json::json!([{ "keyid": id.as_str(), "sig": "00ff" }]);
    let error = repository
        .write()
        .unwrap()
        .merge(request.to_text().as_bytes(), start())
        .unwrap_err();
    assert!(
        matches!(&error, RepositoryError::Ceremony(CeremonyError::Foreign { key, .. }) if *key == id),
        "{error}"
    );

    // As is a signer's over something else.
    let own = tuf::Key::new(three[0].public_key().clone()).unwrap().id();
    let signature = three[0].sign(b"something else").await.unwrap();
    request.metadata["signatures"] =
        serde_json::json!([{ "keyid": own.as_str(), "sig": hex::encode(&signature) }]);
    let error = repository
        .write()
        .unwrap()
        .merge(request.to_text().as_bytes(), start())
        .unwrap_err();
    assert!(
        matches!(
            error,
            RepositoryError::Ceremony(CeremonyError::Wrong { .. })
        ),
        "{error}"
    );

    // And signatures over a changed document do not come over.
    request.metadata["signed"]["version"] = 2.into();
    let error = repository
        .write()
        .unwrap()
        .merge(request.to_text().as_bytes(), start())
        .unwrap_err();
    assert!(
        matches!(
            error,
            RepositoryError::Ceremony(CeremonyError::Other { .. })
        ),
        "{error}"
    );
}

#[tokio::test]
async fn production_takes_two_of_three_and_publishes_nothing_unsigned() {
    let (three, online) = (people(3), key(Algorithm::EcdsaP256Sha256));
    for (people, threshold) in [(&three[..2], 2), (&three[..], 1)] {
        let begun = beginning(people, threshold, &online);
        let error = Repository::init(
            Arc::new(SimDisk::new()),
            Path::new("t"),
            &policy(),
            &begun,
            start(),
        )
        .unwrap_err();
        assert!(error.to_string().contains("at least 2 of 3"), "{error}");
    }
    let development = policy().replace("\"production\"", "\"development\"");
    let begun = beginning(&three[..1], 1, &online);
    Repository::init(
        Arc::new(SimDisk::new()),
        Path::new("t"),
        &development,
        &begun,
        start(),
    )
    .unwrap();

    let disk = SimDisk::new();
    let begun = beginning(&three, 2, &online);
    let repository = Repository::init(
        Arc::new(disk.clone()),
        Path::new("t"),
        &policy(),
        &begun,
        start(),
    )
    .unwrap();
    sign_all(&repository, &three[..1], start()).await;
    let error = repository
        .write()
        .unwrap()
        .publish(&[online], start())
        .await
        .unwrap_err();
    assert!(
        matches!(&error, RepositoryError::Unsigned(missing) if missing.len() == 2),
        "{error}"
    );
    assert!(repository.published().unwrap().is_none());
    let status = repository.status(start()).unwrap();
    assert_eq!(status.level.exit_code(), 3);
    assert_eq!(status.waiting.len(), 2);
}

/// Old keys and new keys sign a new root; targets are signed again where the new root would not take their signatures.
#[tokio::test]
async fn roots_rotate_one_key_all_keys_and_thresholds() {
    let disk = SimDisk::new();
    let online = key(Algorithm::EcdsaP256Sha256);
    let mut everybody = people(5);
    published(&disk, &everybody[..3], &online, start()).await;
    let mut now = start();
    let mut expected = 1;
    let steps: [(std::ops::Range<usize>, usize); 5] =
        [(1..4, 2), (1..5, 3), (2..5, 2), (5..8, 2), (5..8, 3)];
    everybody.extend(people(3));
    for (range, threshold) in steps {
        now += days(3);
        let repository = open(&disk);
        let chosen = signers(&everybody[range.clone()], threshold);
        for role in [RoleName::ROOT, RoleName::TARGETS] {
            repository
                .write()
                .unwrap()
                .set_signers(&role, &chosen, now)
                .unwrap();
        }
        // The new ones alone cannot do it.
        sign_all(&repository, &everybody[range], now).await;
        sign_all(&repository, &everybody, now).await;
        let done = repository
            .write()
            .unwrap()
            .publish(std::slice::from_ref(&online), now)
            .await
            .unwrap();
        assert!(done.notes.is_empty(), "{:?}", done.notes);
        expected += 1;
        assert_eq!(all_clients(&disk, now).root.get(), expected);
    }
}

#[tokio::test]
async fn the_new_keys_alone_do_not_make_a_root() {
    let disk = SimDisk::new();
    let (old, new, online) = (people(3), people(3), key(Algorithm::EcdsaP256Sha256));
    published(&disk, &old, &online, start()).await;
    let repository = open(&disk);
    let writer = repository.write().unwrap();
    writer
        .set_signers(&RoleName::ROOT, &signers(&new, 2), start())
        .unwrap();
    drop(writer);
    sign_all(&repository, &new, start()).await;
    let error = repository
        .write()
        .unwrap()
        .publish(&[online], start())
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("root 2: 0 of 2 for root 1"),
        "{error}"
    );
}

/// The online key was stolen: a new one goes into the root, and with it clients forget what the thief had signed.
#[tokio::test]
async fn a_stolen_online_key_is_exchanged() {
    let disk = SimDisk::new();
    let (three, stolen, fresh) = (
        people(3),
        key(Algorithm::EcdsaP256Sha256),
        key(Algorithm::Ed25519),
    );
    published(&disk, &three, &stolen, start()).await;
    for at_hand in [true, false] {
        let disk = common::restarted(&disk);
        let repository = open(&disk);
        let writer = repository.write().unwrap();
        for role in [RoleName::SNAPSHOT, RoleName::TIMESTAMP] {
            writer
                .set_signers(&role, &signers(std::slice::from_ref(&fresh), 1), start())
                .unwrap();
        }
        drop(writer);
        sign_all(&repository, &three, start()).await;
        let online = if at_hand {
            vec![stolen.clone(), fresh.clone()]
        } else {
            vec![fresh.clone()]
        };
        let done = repository
            .write()
            .unwrap()
            .publish(&online, start())
            .await
            .unwrap();
        let place = |name: &str| {
            done.written
                .iter()
                .position(|written| written == name)
                .unwrap()
        };
        // With both keys nobody sees anything between; without the old one the root has to be first, and that is said.
        assert_eq!(place("timestamp.json") < place("2.root.json"), at_hand);
        assert_eq!(done.notes.is_empty(), at_hand);
        let seen = all_clients(&disk, start());
        assert_eq!(seen.root.get(), 2);
        // From here on the old key is worth nothing.
        let later = start() + days(2);
        let error = repository
            .write()
            .unwrap()
            .refresh(
                std::slice::from_ref(&stolen),
                repository::Timestamp::WhenDue,
                later,
            )
            .await
            .unwrap_err();
        assert!(
            error.to_string().contains("0 of the 1 signatures"),
            "{error}"
        );
        repository
            .write()
            .unwrap()
            .refresh(
                std::slice::from_ref(&fresh),
                repository::Timestamp::WhenDue,
                later,
            )
            .await
            .unwrap();
        all_clients(&disk, later);
    }
}

#[tokio::test]
async fn a_team_answers_for_its_tags() {
    let disk = SimDisk::new();
    let (three, team, online) = (people(3), people(2), key(Algorithm::EcdsaP256Sha256));
    published(&disk, &three, &online, start()).await;
    let repository = open(&disk);
    let role = RoleName::parse("team-a").unwrap();
    let delegation = tuf::Delegation {
        name: role.clone(),
        paths: vec!["registry.example.com/team-a/*".to_owned()],
        terminating: true,
    };
    repository
        .write()
        .unwrap()
        .delegate(&delegation, &signers(&team, 2), start())
        .unwrap();
    let digest = tuf::TargetFile::from_parts(527, [7; 32]);
    for (name, fits) in [
        ("registry.example.com/team-a/app:v1", true),
        ("registry.example.com/other/app:v1", false),
    ] {
        let repository = open(&disk);
        repository
            .write()
            .unwrap()
            .edit_delegated(&role, start(), |document| {
                Ok(document.set_target(name, &digest)?)
            })
            .unwrap();
        let file = disk.files()[&store::Path::new("staged/team-a.json").unwrap()].clone();
        let signed = sign_file(&file, &team[0], start()).await;
        assert_eq!(signed.is_ok(), fits, "{name}");
    }
    // Without the foreign tag.
    repository
        .write()
        .unwrap()
        .edit_delegated(&role, start(), |document| {
            Ok(document.remove_target("registry.example.com/other/app:v1")?)
        })
        .unwrap();
    sign_all(&repository, &three, start()).await;
    sign_all(&repository, &team, start()).await;
    repository
        .write()
        .unwrap()
        .publish(std::slice::from_ref(&online), start())
        .await
        .unwrap();
    all_clients(&disk, start());
    let held = repository
        .published()
        .unwrap()
        .unwrap()
        .delegated
        .remove(&role)
        .unwrap();
    assert_eq!(
        held.document.targets().unwrap()["registry.example.com/team-a/app:v1"],
        digest
    );

    // What the team changes is shown against what is in force, unless its delegation itself waits for signatures.
    let words = || {
        let file = disk.files()[&store::Path::new("staged/team-a.json").unwrap()].clone();
        let request = tuf::Request::parse(&file).unwrap();
        repository::review(&request, start()).unwrap().words
    };
    let tag = "registry.example.com/team-a/app:v2";
    let edit = || {
        let writer = repository.write().unwrap();
        writer.edit_delegated(&role, start(), |document| {
            Ok(document.set_target(tag, &digest)?)
        })
    };
    edit().unwrap();
    let shown = words();
    assert!(!shown.iter().any(|word| word.contains("v1")), "{shown:?}");
    repository
        .write()
        .unwrap()
        .edit_targets(start(), &content("two"), |_| Ok(()))
        .unwrap();
    edit().unwrap();
    let shown = words();
    assert!(shown[0].starts_with("not verified: team-a"), "{shown:?}");
    assert!(shown.iter().any(|word| word.contains("v1")), "{shown:?}");
}

/// As in repositories of other tools: clients go on without a role that the snapshot does not list, and so do we.
#[tokio::test]
async fn a_delegation_that_nobody_signs_for_yet_keeps_the_others_from_nothing() {
    let disk = SimDisk::new();
    let (three, team, online) = (people(3), people(1), key(Algorithm::EcdsaP256Sha256));
    let by = std::slice::from_ref(&online);
    published(&disk, &three, &online, start()).await;
    let repository = open(&disk);
    let role = RoleName::parse("team").unwrap();
    let delegation = tuf::Delegation {
        name: role.clone(),
        paths: vec!["registry.example.com/team/*".to_owned()],
        terminating: false,
    };
    let delegated = repository
        .write()
        .unwrap()
        .delegate(&delegation, &signers(&team, 1), start());
    delegated.unwrap();
    repository.write().unwrap().discard(&role).unwrap();
    sign_all(&repository, &three, start()).await;
    let done = repository.write().unwrap().publish(by, start()).await;
    assert!(done.unwrap().written.contains(&"2.targets.json".to_owned()));
    let later = start() + days(6);
    let writer = repository.write().unwrap();
    let done = writer
        .refresh(by, repository::Timestamp::WhenDue, later)
        .await;
    assert_eq!(done.unwrap().written, ["timestamp.json"]);
    drop(writer);
    all_clients(&disk, later);
    let status = repository.status(later).unwrap();
    assert_eq!(status.level, repository::Level::Ok, "{:?}", status.notes);
}

/// Or its end, which nobody renews, would stay what `status` tells of for ever.
#[tokio::test]
async fn a_team_that_is_no_more_leaves_nothing_that_expires_and_its_name_goes_on_with_higher_versions()
 {
    let disk = SimDisk::new();
    let (three, team, online) = (people(3), people(1), key(Algorithm::EcdsaP256Sha256));
    let by = std::slice::from_ref(&online);
    published(&disk, &three, &online, start()).await;
    let repository = open(&disk);
    let role = RoleName::parse("team").unwrap();
    let delegation = tuf::Delegation {
        name: role.clone(),
        paths: vec!["registry.example.com/team/*".to_owned()],
        terminating: true,
    };
    let signers = signers(&team, 1);
    let publish = async |now| {
        sign_all(&repository, &three, now).await;
        sign_all(&repository, &team, now).await;
        let writer = repository.write().unwrap();
        writer.publish(by, now).await.unwrap();
    };
    repository
        .write()
        .unwrap()
        .delegate(&delegation, &signers, start())
        .unwrap();
    publish(start()).await;
    let late = start() + days(200);
    let refresh = async |now| {
        let writer = repository.write().unwrap();
        writer
            .refresh(by, repository::Timestamp::WhenDue, now)
            .await
            .unwrap();
    };
    refresh(late).await;
    let status = repository.status(late).unwrap();
    assert_eq!(status.level, repository::Level::Broken);
    repository.write().unwrap().undelegate(&role, late).unwrap();
    publish(late).await;
    let status = repository.status(late).unwrap();
    assert_eq!(status.level, repository::Level::Ok, "{:?}", status.notes);
    all_clients(&disk, late);
    let none = repository.write().unwrap().undelegate(&role, late);
    assert!(none.is_err());

    repository
        .write()
        .unwrap()
        .delegate(&delegation, &signers, late)
        .unwrap();
    publish(late).await;
    all_clients(&disk, late);
    let published = repository.published().unwrap().unwrap();
    assert_eq!(published.delegated[&role].document.version().get(), 2);
}

/// A signer sees what would break clients, also where the trusted root stays as it is.
#[tokio::test]
async fn a_signing_config_is_held_against_the_trusted_root_before_it_is_signed() {
    const ROOT: &[u8] = include_bytes!("../../../../testdata/trust/public-good.json");
    const CONFIG: &[u8] = include_bytes!("../../../../testdata/trust/public-good-signing.json");
    let disk = SimDisk::new();
    let (three, online) = (people(3), key(Algorithm::EcdsaP256Sha256));
    let by = std::slice::from_ref(&online);
    published(&disk, &three, &online, start()).await;
    let repository = open(&disk);
    let propose = |name: &str, content: &[u8]| {
        let contents = BTreeMap::from([(name.to_owned(), content.to_vec())]);
        let writer = repository.write().unwrap();
        writer.edit_targets(start(), &contents, |_| Ok(())).unwrap();
        disk.files()[&store::Path::new("staged/targets.json").unwrap()].clone()
    };
    propose(repository::TRUSTED_ROOT, ROOT);
    propose(repository::SIGNING_CONFIG, CONFIG);
    sign_all(&repository, &three, start()).await;
    let done = repository.write().unwrap().publish(by, start()).await;
    done.unwrap();

    let text = String::from_utf8(CONFIG.to_vec()).unwrap();
    let elsewhere = text.replace("timestamp.sigstore.dev", "timestamp.example.com");
    let request = propose(repository::SIGNING_CONFIG, elsewhere.as_bytes());
    let refused = sign_file(&request, &three[0], start()).await.unwrap_err();
    assert!(
        matches!(&refused, RepositoryError::Lint(found) if found.len() == 1),
        "{refused}"
    );
    assert!(refused.to_string().contains("unknown-service"), "{refused}");
    let operator = text.replace(
        "\"operator\": \"sigstore.dev\"",
        "\"operator\": \"example.com\"",
    );
    assert_ne!(operator, text);
    let request = propose(repository::SIGNING_CONFIG, operator.as_bytes());
    let (_, review) = sign_file(&request, &three[0], start()).await.unwrap();
    // What stays is no news.
    let news = |word: &String| word.contains("clients trust");
    assert!(!review.words.iter().any(news), "{:?}", review.words);
}

/// A merge conflict in git, a team that never signed, a delegation that was taken back: none of it lets the repository expire, or hides that it will.
#[tokio::test]
async fn a_proposal_that_cannot_be_used_stops_neither_refresh_nor_status() {
    let disk = SimDisk::new();
    let (three, team, online) = (people(3), people(1), key(Algorithm::EcdsaP256Sha256));
    let by = std::slice::from_ref(&online);
    published(&disk, &three, &online, start()).await;
    let repository = open(&disk);
    let role = RoleName::parse("team").unwrap();
    let delegation = tuf::Delegation {
        name: role.clone(),
        paths: vec!["registry.example.com/team/*".to_owned()],
        terminating: false,
    };
    let staged = store::Path::new("staged/team.json").unwrap();
    let delegate = |now| {
        let writer = repository.write().unwrap();
        writer.delegate(&delegation, &signers(&team, 1), now)
    };
    let discard = |role: &RoleName| repository.write().unwrap().discard(role);
    let check = async |why: &str, now| {
        let status = repository.status(now).unwrap();
        assert!(status.roles.len() == 4 && !status.clients.is_empty());
        assert_eq!(status.level, repository::Level::Due, "{:?}", status.notes);
        let said = |note: &String| {
            note.contains("staged/team.json cannot be used")
                && note.contains("root discard team")
                && note.contains(why)
        };
        assert!(status.notes.iter().any(said), "{why}: {:?}", status.notes);
        let writer = repository.write().unwrap();
        let refreshed = writer.refresh(by, repository::Timestamp::Always, now).await;
        assert_eq!(refreshed.unwrap().written, ["timestamp.json"]);
        all_clients(&disk, now);
        // To publish without a word would be another thing.
        let published = writer.publish(by, now).await.unwrap_err();
        assert!(
            matches!(&published, RepositoryError::Staged { role, .. } if role == "team"),
            "{published}"
        );
    };

    delegate(start()).unwrap();
    discard(&RoleName::TARGETS).unwrap();
    check("delegations", start()).await;
    let again = discard(&RoleName::TARGETS).unwrap_err();
    assert!(matches!(again, RepositoryError::Missing(_)), "{again}");

    // Nobody signed it for longer than it would hold.
    discard(&role).unwrap();
    delegate(start()).unwrap();
    sign_all(&repository, &three, start()).await;
    let late = start() + days(300);
    repository
        .write()
        .unwrap()
        .edit_targets(late, &content("two"), |_| Ok(()))
        .unwrap();
    let much_later = start() + days(181);
    let writer = repository.write().unwrap();
    writer
        .refresh(by, repository::Timestamp::Always, much_later)
        .await
        .unwrap();
    drop(writer);
    check("would expire", much_later).await;

    // As git leaves it.
    disk.replace_durable(&staged, b"<<<<<<< HEAD\n{}\n")
        .unwrap();
    check("not a signing request", start()).await;
    // Others go on with what they propose.
    repository
        .write()
        .unwrap()
        .edit_targets(start(), &content("three"), |_| Ok(()))
        .unwrap();
    discard(&role).unwrap();
    let status = repository.status(start()).unwrap();
    assert!(status.notes.is_empty(), "{:?}", status.notes);
}

#[tokio::test]
async fn one_writer_at_a_time() {
    let disk = SimDisk::new();
    let (three, online) = (people(3), key(Algorithm::EcdsaP256Sha256));
    published(&disk, &three, &online, start()).await;
    let (one, other) = (open(&disk), open(&disk));
    let held = one.write().unwrap();
    assert!(matches!(other.write(), Err(RepositoryError::Locked)));
    drop(held);
    other
        .write()
        .unwrap()
        .edit_targets(start(), &content("two"), |_| Ok(()))
        .unwrap();
}

/// Who hands the requests out is no signer, and must not be able to hide from the signers what they sign.
#[tokio::test]
async fn a_request_cannot_hide_what_changes() {
    let (three, online) = (people(3), key(Algorithm::EcdsaP256Sha256));
    let disk = SimDisk::new();
    published(&disk, &three, &online, start()).await;
    let repository = open(&disk);
    let contents = BTreeMap::from([("policy.json".to_owned(), b"{\"evil\": true}".to_vec())]);
    repository
        .write()
        .unwrap()
        .edit_targets(start(), &contents, |_| Ok(()))
        .unwrap();
    let staged = repository.staged(start()).unwrap();
    let honest = staged[0].request.clone();
    let signed = |request: &Request| {
        let (bytes, signer) = (request.to_text(), three[0].clone());
        async move { sign_file(bytes.as_bytes(), &signer, start()).await }
    };
    let (_, review) = signed(&honest).await.unwrap();
    assert!(
        review.words.iter().any(|line| line.contains("policy.json")),
        "{:?}",
        review.words
    );

    // The content is left out: nobody can look at it.
    let mut silent = honest.clone();
    silent.contents.clear();
    let error = signed(&silent).await.unwrap_err().to_string();
    assert!(error.contains("is not there to look at"), "{error}");

    // The version in force is made up to have it already, so that nothing seems to change.
    let mut forged = silent.clone();
    let mut before = honest.metadata.clone();
    before["signed"]["version"] = 1.into();
    before["signatures"] = serde_json::json!([]);
    forged.previous = Some(before.to_string());
    let error = signed(&forged).await.unwrap_err();
    assert!(
        matches!(&error, RepositoryError::Request(error) if error.to_string().contains("previous version")),
        "{error}"
    );

    // Without one, everything is new.
    let mut first = silent.clone();
    first.previous = None;
    let error = signed(&first).await.unwrap_err().to_string();
    assert!(error.contains("is not there to look at"), "{error}");

    // A content that is not the one.
    let mut other = honest.clone();
    other.contents.get_mut("policy.json").unwrap().new = Some("{}".to_owned());
    let error = signed(&other).await.unwrap_err().to_string();
    assert!(error.contains("another hash"), "{error}");
}
