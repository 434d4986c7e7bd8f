//! The client against mirrors on this machine: what is asked, what is kept, and what happens when the mirror, the disk or the clock fails.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic in a test is its failure report"
)]

#[path = "../../../pure/tuf/tests/common/mod.rs"]
mod common;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use common::{Repository, in_days, now};
use jiff::{SignedDuration, Timestamp};
use keys::{Digest, HashAlgorithm};
use serde_json::json;
use tempfile::TempDir;
use tuf::{TargetPath, UpdateError};
use tuf_client::{
    Cache, Client, Follow, FollowError, Followed, Mirror, MirrorError, Refresh, Source, Warning,
};

/// A mirror that can be told to misbehave, and counts.
#[derive(Clone, Default)]
struct Server(Arc<Mutex<Inside>>);

#[derive(Default)]
struct Inside {
    files: BTreeMap<String, Vec<u8>>,
    /// Statuses for a path, one a request, before it is answered well.
    trouble: BTreeMap<String, Vec<u16>>,
    asked: Vec<String>,
    sent: usize,
}

impl Server {
    async fn start(repository: &Repository) -> (Self, String) {
        let server = Self::default();
        server.publish(repository);
        let router = Router::new().fallback(answer).with_state(server.clone());
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .unwrap();
        let address = format!("http://{}/repo", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        (server, address)
    }

    fn publish(&self, repository: &Repository) {
        self.0.lock().unwrap().files.clone_from(&repository.files);
    }

    fn trouble(&self, path: &str, statuses: &[u16]) {
        let mut inside = self.0.lock().unwrap();
        inside.trouble.insert(path.to_owned(), statuses.to_vec());
    }

    /// What was asked since the last time, and the bytes of the answers.
    fn asked(&self) -> (Vec<String>, usize) {
        let mut inside = self.0.lock().unwrap();
        let sent = std::mem::take(&mut inside.sent);
        (std::mem::take(&mut inside.asked), sent)
    }
}

async fn answer(State(server): State<Server>, request: Request) -> Response {
    let path = request.uri().path().trim_start_matches("/repo/").to_owned();
    let mut inside = server.0.lock().unwrap();
    inside.asked.push(path.clone());
    let trouble = inside.trouble.get_mut(&path).and_then(Vec::pop);
    let status = |status| StatusCode::from_u16(status).unwrap().into_response();
    match (trouble, inside.files.get(&path).cloned()) {
        (Some(trouble), _) => status(trouble),
        (None, Some(bytes)) => {
            inside.sent += bytes.len();
            bytes.into_response()
        }
        (None, None) => status(404),
    }
}

fn agent() -> client::Agent {
    let mut settings = tuf_client::agent(Vec::new()).settings().clone();
    settings.first_pause = Duration::ZERO;
    client::Agent::new(settings)
}

fn client(repository: &Repository, address: &str, cache: &Cache) -> Client {
    let mirror = Mirror::new(address, agent()).unwrap();
    Client::new(
        repository.files["1.root.json"].clone(),
        mirror,
        cache.clone(),
    )
}

fn cache() -> (TempDir, Cache) {
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::new(folder.path().join("a/b"));
    (folder, cache)
}

const fn with(refresh: Refresh, now: Timestamp) -> Follow {
    Follow { refresh, now }
}

async fn target(client: &Client, followed: &mut Followed, refresh: Refresh) -> Vec<u8> {
    let path = TargetPath::new("folder/trusted root.json").unwrap();
    let follow = with(refresh, followed.trusted().now());
    client.target(followed, path, follow).await.unwrap()
}

fn in_hours(hours: i64) -> String {
    (now() + SignedDuration::from_hours(hours)).to_string()
}

fn repository() -> Repository {
    let mut repository = Repository::new();
    repository.add_target("targets", "folder/trusted root.json", b"whom to trust");
    // As a server sees its name.
    let (path, content) = repository
        .files
        .iter()
        .find(|(path, _)| path.starts_with("targets/"))
        .map(|(path, content)| (path.replace(' ', "%20"), content.clone()))
        .unwrap();
    repository.files.insert(path, content);
    repository.publish(&["targets", "snapshot", "timestamp"]);
    repository
}

#[tokio::test]
async fn a_cold_start_takes_five_requests_a_warm_refresh_two_of_less_than_a_kilobyte_and_a_young_cache_none()
 {
    let repository = repository();
    let (server, address) = Server::start(&repository).await;
    let (_folder, cache) = cache();
    let client = client(&repository, &address, &cache);
    let daily = with(Refresh::Daily, now());
    let mut followed = client.follow(daily).await.unwrap();
    assert_eq!(followed.source(), Source::Repository);
    assert_eq!(
        target(&client, &mut followed, Refresh::Daily).await,
        b"whom to trust"
    );
    assert_eq!(server.asked().0.len(), 5);

    for refresh in [Refresh::Daily, Refresh::UntilExpiry] {
        let mut followed = client.follow(with(refresh, now())).await.unwrap();
        assert_eq!(followed.source(), Source::Cache);
        target(&client, &mut followed, refresh).await;
    }
    assert_eq!(server.asked().0.len(), 0);

    let tomorrow = now() + SignedDuration::from_hours(24);
    for follow in [with(Refresh::Always, now()), with(Refresh::Daily, tomorrow)] {
        let mut followed = client.follow(follow).await.unwrap();
        target(&client, &mut followed, follow.refresh).await;
        let (asked, sent) = server.asked();
        assert_eq!(asked, ["2.root.json", "timestamp.json"]);
        assert!(sent < 1000, "{sent}");
    }
    // Its end, and not its age, counts for who says so.
    let later = now() + SignedDuration::from_hours(24 * 29);
    let until = with(Refresh::UntilExpiry, later);
    client.follow(until).await.unwrap();
    assert_eq!(server.asked().0.len(), 0);
}

/// A team's role, which nobody asked for while the cache was filled, ends while the cache is young and is renewed meanwhile.
#[tokio::test]
async fn a_young_cache_of_the_top_does_not_stand_in_for_roles_below_it() {
    let mut repository = repository();
    repository.delegate("targets", "team", json!({ "paths": ["team/*"] }));
    repository.add_target("team", "team/one", b"one");
    repository.set("team", "expires", in_hours(3).into());
    repository.publish_all();
    let (server, address) = Server::start(&repository).await;
    let (_folder, cache) = cache();
    let client = client(&repository, &address, &cache);
    client.follow(with(Refresh::Daily, now())).await.unwrap();
    server.asked();
    let path = || TargetPath::new("team/one").unwrap();
    let get = async |refresh, now| {
        let mut followed = client.follow(with(refresh, now)).await.unwrap();
        assert_eq!(followed.source(), Source::Cache);
        client
            .target(&mut followed, path(), with(refresh, now))
            .await
    };
    let offline = Refresh::Offline {
        allow_expired: false,
    };
    let error = get(offline, now()).await.unwrap_err();
    assert!(error.is_nothing_there(), "{error}");
    assert_eq!(server.asked().0, Vec::<String>::new());
    assert_eq!(get(Refresh::Daily, now()).await.unwrap(), b"one");
    let (asked, _) = server.asked();
    assert_eq!(asked[0], "1.team.json");
    assert_eq!(asked.len(), 2, "the role and the target: {asked:?}");

    let later = now() + SignedDuration::from_hours(4);
    for refresh in [Refresh::Daily, Refresh::UntilExpiry] {
        let error = get(refresh, later).await.unwrap_err();
        assert!(
            matches!(error, FollowError::Update(UpdateError::Expired { .. })),
            "{error}"
        );
    }
    repository.set("team", "expires", in_days(30).into());
    repository.add_target("team", "team/one", b"two");
    repository.publish(&["team", "snapshot", "timestamp"]);
    server.publish(&repository);
    let mut followed = client.follow(with(Refresh::Daily, later)).await.unwrap();
    let found = client
        .find(&mut followed, path(), with(Refresh::Daily, later))
        .await
        .unwrap();
    assert_eq!(followed.source(), Source::Repository);
    assert_eq!(
        found.sha256(),
        Some(Digest::of(HashAlgorithm::Sha256, b"two"))
    );
    let by = found.by();
    assert_eq!((by.role.as_str(), by.version.get()), ("team", 2));
    assert_eq!((by.threshold, by.keys), (1, 1));
}

/// A server asks hours after its update.
#[tokio::test]
async fn a_search_is_judged_at_the_time_of_the_question_and_not_at_that_of_the_update() {
    let mut repository = repository();
    repository.delegate("targets", "team", json!({ "paths": ["team/*"] }));
    repository.add_target("team", "team/one", b"one");
    repository.set("team", "expires", in_hours(3).into());
    repository.set("timestamp", "expires", in_hours(12).into());
    repository.publish_all();
    let (server, address) = Server::start(&repository).await;
    let (_folder, cache) = cache();
    let client = client(&repository, &address, &cache);
    let after = |hours| now() + SignedDuration::from_hours(hours);
    let mut held = client.follow(with(Refresh::Daily, now())).await.unwrap();
    let mut find = async |refresh, now| {
        let path = TargetPath::new("team/one").unwrap();
        let found = client.find(&mut held, path, with(refresh, now)).await;
        found.map(|target| target.by().version.get())
    };
    let expired = |found: Result<u64, FollowError>, file: &str| {
        let error = found.unwrap_err().to_string();
        assert!(error.starts_with(&format!("{file} expired at ")), "{error}");
    };
    assert_eq!(find(Refresh::Daily, now()).await.unwrap(), 1);
    server.asked();
    // The role ends, which was read before, and is renewed.
    let offline = |allow_expired| Refresh::Offline { allow_expired };
    expired(find(offline(false), after(4)).await, "1.team.json");
    assert!(server.asked().0.is_empty());
    expired(find(Refresh::Daily, after(4)).await, "1.team.json");
    repository.set("team", "expires", in_days(9).into());
    repository.publish(&["team", "snapshot", "timestamp"]);
    server.publish(&repository);
    assert_eq!(find(Refresh::Daily, after(5)).await.unwrap(), 2);
    server.asked();
    assert_eq!(find(Refresh::Daily, after(6)).await.unwrap(), 2);
    assert!(server.asked().0.is_empty());
    // A clock that goes back brings nothing back, and one that goes on ends the timestamp.
    assert_eq!(find(Refresh::Daily, now()).await.unwrap(), 2);
    expired(find(offline(false), after(13)).await, "timestamp.json");
    expired(
        find(Refresh::UntilExpiry, after(13)).await,
        "timestamp.json",
    );
    assert_eq!(find(offline(true), after(13)).await.unwrap(), 2);
    repository.set("timestamp", "expires", in_days(5).into());
    repository.publish(&["timestamp"]);
    server.publish(&repository);
    server.asked();
    assert_eq!(find(Refresh::UntilExpiry, after(14)).await.unwrap(), 2);
    assert_eq!(server.asked().0, ["2.root.json", "timestamp.json"]);
    // A day later the repository is asked, by those who want that.
    assert_eq!(find(Refresh::UntilExpiry, after(40)).await.unwrap(), 2);
    assert!(server.asked().0.is_empty());
    assert_eq!(find(Refresh::Daily, after(40)).await.unwrap(), 2);
    assert_eq!(server.asked().0, ["2.root.json", "timestamp.json"]);
}

#[tokio::test]
async fn offline_nobody_is_asked_whatever_is_missing() {
    let repository = repository();
    let (server, address) = Server::start(&repository).await;
    let (folder, cache) = cache();
    let client = client(&repository, &address, &cache);
    let offline = Refresh::Offline {
        allow_expired: false,
    };
    for now in [now(), now() + SignedDuration::from_hours(24 * 365)] {
        let error = client.follow(with(offline, now)).await.unwrap_err();
        assert!(
            matches!(error, FollowError::Update(UpdateError::NotCached { .. })),
            "{error}"
        );
        assert!(error.is_nothing_there());
    }
    assert!(!folder.path().join("a").exists(), "and nothing is written");
    client.follow(with(Refresh::Daily, now())).await.unwrap();
    server.asked();
    let mut followed = client.follow(with(offline, now())).await.unwrap();
    let path = TargetPath::new("folder/trusted root.json").unwrap();
    let error = client
        .target(&mut followed, path, with(offline, now()))
        .await;
    assert!(matches!(
        error.unwrap_err(),
        FollowError::TargetNotCached(_)
    ));
    let none = TargetPath::new("none").unwrap();
    let error = client
        .target(&mut followed, none, with(offline, now()))
        .await;
    assert!(matches!(error.unwrap_err(), FollowError::NoTarget(_)));
    assert_eq!(server.asked().0, Vec::<String>::new());

    let later = now() + SignedDuration::from_hours(24 * 31);
    let error = client.follow(with(offline, later)).await.unwrap_err();
    assert!(
        error.to_string().starts_with("1.root.json expired at "),
        "{error}"
    );
    let allowed = Refresh::Offline {
        allow_expired: true,
    };
    let followed = client.follow(with(allowed, later)).await.unwrap();
    assert_eq!(followed.warnings().len(), 4);
    assert!(
        followed
            .warnings()
            .iter()
            .all(|warning| matches!(warning, Warning::Expired { .. }))
    );
    assert_eq!(server.asked().0, Vec::<String>::new());
}

#[tokio::test]
async fn only_a_next_root_may_be_absent_and_trouble_passes_or_fails() {
    let repository = repository();
    for (path, statuses, expected) in [
        ("2.root.json", &[][..], Ok(())),
        ("2.root.json", &[403], Ok(())),
        // Twice trouble, then an answer.
        ("2.root.json", &[500, 503], Ok(())),
        ("timestamp.json", &[502], Ok(())),
        ("2.root.json", &[500, 500, 500, 500], Err(500)),
        ("2.root.json", &[400], Err(400)),
        ("2.root.json", &[204], Err(204)),
        ("timestamp.json", &[403], Err(403)),
        ("timestamp.json", &[404], Err(404)),
        ("2.snapshot.json", &[404], Err(404)),
    ] {
        let (server, address) = Server::start(&repository).await;
        server.trouble(path, statuses);
        let (_folder, cache) = cache();
        let client = client(&repository, &address, &cache);
        let outcome = client.follow(with(Refresh::Daily, now())).await;
        match (outcome, expected) {
            (Ok(_), Ok(())) => {}
            (Err(FollowError::Mirror(MirrorError::Status { status, .. })), Err(expected)) => {
                assert_eq!(status, expected, "{path}");
            }
            (outcome, expected) => panic!("{path} {statuses:?}: {outcome:?}, not {expected:?}"),
        }
    }
}

#[tokio::test]
async fn an_outage_is_bridged_by_what_is_cached_until_it_expires_and_never_what_does_not_hold() {
    let mut repository = repository();
    let (server, address) = Server::start(&repository).await;
    let (_folder, cache) = cache();
    let client = client(&repository, &address, &cache);
    client.follow(with(Refresh::Daily, now())).await.unwrap();

    let down = || server.trouble("2.root.json", &[503, 503, 503]);
    let later = now() + SignedDuration::from_hours(48);
    down();
    let mut followed = client.follow(with(Refresh::Daily, later)).await.unwrap();
    assert_eq!(followed.source(), Source::Cache);
    let warnings = followed.warnings();
    assert!(matches!(warnings, [Warning::Outage { .. }]), "{warnings:?}");
    // It is not waited for again for each target.
    server.asked();
    target(&client, &mut followed, Refresh::Daily).await;
    assert!(
        server
            .asked()
            .0
            .iter()
            .all(|path| path.starts_with("targets/"))
    );
    let soon = with(Refresh::Daily, later + SignedDuration::from_mins(2));
    let path = TargetPath::new("folder/trusted root.json").unwrap();
    client.find(&mut followed, path, soon).await.unwrap();
    assert_eq!(followed.source(), Source::Repository);
    // Who wants it fresh does not get it old.
    down();
    let error = client.follow(with(Refresh::Always, later)).await;
    assert!(matches!(
        error.unwrap_err(),
        FollowError::Mirror(MirrorError::Status { status: 503, .. })
    ));
    down();
    let over = now() + SignedDuration::from_hours(24 * 31);
    let error = client.follow(with(Refresh::Daily, over)).await.unwrap_err();
    assert!(
        matches!(error, FollowError::Update(UpdateError::Expired { .. })),
        "{error}"
    );
    assert!(!error.is_nothing_there());

    repository.signers.get_mut("timestamp").unwrap().clear();
    repository.publish(&["timestamp"]);
    server.publish(&repository);
    let error = client.follow(with(Refresh::Daily, later)).await;
    assert!(matches!(
        error.unwrap_err(),
        FollowError::Update(UpdateError::Metadata { .. })
    ));
}

/// The timestamp has come, and the connection is gone, or the process: the next one would find a timestamp whose snapshot is not there.
#[tokio::test]
async fn an_update_that_was_cut_off_takes_nothing_away_from_who_comes_after_it() {
    let mut repository = repository();
    let (server, address) = Server::start(&repository).await;
    let (_folder, cache) = cache();
    let client = client(&repository, &address, &cache);
    client.follow(with(Refresh::Daily, now())).await.unwrap();
    repository.add_target("targets", "other", b"new");
    repository.publish(&["targets", "snapshot", "timestamp"]);
    server.publish(&repository);
    let later = now() + SignedDuration::from_hours(48);
    let number = |followed: &Followed| {
        followed
            .trusted()
            .roles()
            .map(|(_, version, _)| version.get())
    };
    let before = number(&client.offline(now(), false).unwrap());
    let offline = Refresh::Offline {
        allow_expired: false,
    };
    let version = |file: &str| {
        let files = repository.files.keys();
        let versions = files.filter_map(|name| name.strip_suffix(file)?.parse::<u64>().ok());
        format!("{}{file}", versions.max().unwrap())
    };
    for cut in [version(".snapshot.json"), version(".targets.json")] {
        server.trouble(&cut, &[503, 503, 503]);
        let error = client.follow(with(Refresh::Always, later)).await;
        assert!(matches!(error, Err(FollowError::Mirror(_))), "{cut}");
        let followed = client.follow(with(offline, later)).await.unwrap();
        assert_eq!(number(&followed), before, "{cut}");
        server.trouble(&cut, &[503, 503, 503]);
        let followed = client.follow(with(Refresh::Daily, later)).await.unwrap();
        assert_eq!(number(&followed), before, "{cut}");
        assert!(matches!(followed.warnings(), [Warning::Outage { .. }]));
        // It holds no longer than it ever did.
        let over = now() + SignedDuration::from_hours(24 * 31);
        let error = client.offline(over, false).unwrap_err();
        assert!(matches!(error, UpdateError::Expired { .. }), "{error}");
    }
    // And the newer timestamp that was seen is not taken back.
    let whole = client.follow(with(Refresh::Daily, later)).await.unwrap();
    assert_eq!(whole.source(), Source::Repository);
    let after = number(&whole);
    assert!(after[1] > before[1] && after[3] > before[3]);
    assert_eq!(number(&client.offline(later, false).unwrap()), after);
}

#[tokio::test]
async fn a_clock_that_went_back_is_a_warning() {
    let repository = repository();
    let (server, address) = Server::start(&repository).await;
    let (_folder, cache) = cache();
    let client = client(&repository, &address, &cache);
    client.follow(with(Refresh::Daily, now())).await.unwrap();
    server.asked();
    let before = now() - SignedDuration::from_secs(1);
    let followed = client.follow(with(Refresh::Daily, before)).await.unwrap();
    assert!(matches!(followed.warnings(), [Warning::Clock { .. }]));
    assert_eq!(server.asked().0.len(), 2);
}

#[tokio::test]
async fn ten_at_once_on_a_cold_cache_all_succeed_and_one_of_them_asks() {
    let repository = repository();
    let (server, address) = Server::start(&repository).await;
    let (_folder, cache) = cache();
    let mut running = tokio::task::JoinSet::new();
    for _client in 0..10 {
        let client = client(&repository, &address, &cache);
        running.spawn(async move {
            let mut followed = client.follow(with(Refresh::Daily, now())).await.unwrap();
            target(&client, &mut followed, Refresh::Daily).await
        });
    }
    while let Some(content) = running.join_next().await {
        assert_eq!(content.unwrap(), b"whom to trust");
    }
    let (asked, _) = server.asked();
    let metadata = asked.iter().filter(|path| !path.starts_with("targets/"));
    assert_eq!(metadata.count(), 4, "{asked:?}");
}

#[tokio::test]
async fn where_nothing_can_be_written_nothing_is_cached_and_all_is_well() {
    let repository = repository();
    let (server, address) = Server::start(&repository).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "no folder").unwrap();
    let cache = Cache::new(file.join("cache"));
    let client = client(&repository, &address, &cache);
    for _run in 0..2 {
        let mut followed = client.follow(with(Refresh::Daily, now())).await.unwrap();
        target(&client, &mut followed, Refresh::Daily).await;
        assert!(
            matches!(followed.warnings(), [Warning::NotKept { .. }]),
            "told once: {:?}",
            followed.warnings()
        );
        assert_eq!(server.asked().0.len(), 5);
    }
}

#[tokio::test]
async fn the_cache_is_laid_out_as_other_clients_have_it() {
    let mut repository = repository();
    repository.publish(&["root"]);
    let (_server, address) = Server::start(&repository).await;
    let (folder, cache) = cache();
    let client = client(&repository, &address, &cache);
    let mut followed = client.follow(with(Refresh::Daily, now())).await.unwrap();
    target(&client, &mut followed, Refresh::Daily).await;
    let base = folder.path().join("a");
    for (path, published) in [
        ("b/root.json", "2.root.json"),
        ("b/root_history/2.root.json", "2.root.json"),
        ("b/timestamp.json", "timestamp.json"),
        ("b/snapshot.json", "2.snapshot.json"),
        ("b/targets.json", "2.targets.json"),
    ] {
        let bytes = std::fs::read(base.join(path)).unwrap();
        assert_eq!(bytes, repository.files[published], "{path}");
    }
    let target = base.join("b/targets/folder%2Ftrusted%20root.json");
    assert_eq!(std::fs::read(target).unwrap(), b"whom to trust");
    let note = std::fs::read_to_string(base.join("b.json")).unwrap();
    assert_eq!(note, r#"{"lastTimestamp":"2026-11-22T10:00:00Z"}"#);
    let left = std::fs::read_dir(base.join("b")).unwrap();
    assert!(
        left.map(|entry| entry.unwrap().path())
            .all(|path| path.extension().is_none_or(|extension| extension != "tmp"))
    );
}

#[tokio::test]
async fn a_target_in_the_cache_that_was_changed_is_fetched_again_and_one_of_the_mirror_refused() {
    let repository = repository();
    let (server, address) = Server::start(&repository).await;
    let (folder, cache) = cache();
    let client = client(&repository, &address, &cache);
    let daily = with(Refresh::Daily, now());
    let mut followed = client.follow(daily).await.unwrap();
    target(&client, &mut followed, Refresh::Daily).await;
    let path = folder
        .path()
        .join("a/b/targets/folder%2Ftrusted%20root.json");
    std::fs::write(&path, "whom to fear!").unwrap();
    server.asked();
    target(&client, &mut followed, Refresh::Daily).await;
    assert_eq!(server.asked().0.len(), 1);
    assert_eq!(std::fs::read(&path).unwrap(), b"whom to trust");

    std::fs::remove_file(&path).unwrap();
    let mut other = Repository::new();
    other.files.clone_from(&repository.files);
    for (name, content) in &mut other.files {
        if name.starts_with("targets/") {
            *content = b"whom to fear!".to_vec();
        }
    }
    server.publish(&other);
    let name = TargetPath::new("folder/trusted root.json").unwrap();
    let error = client.target(&mut followed, name, daily).await;
    assert!(matches!(error.unwrap_err(), FollowError::Target(_)));
    assert!(!path.exists());
}

#[tokio::test]
async fn a_cache_keeps_no_root_that_nobody_reads_again_and_nothing_of_a_killed_process() {
    let mut repository = repository();
    repository.publish(&["root", "root", "root", "root"]);
    let (_server, address) = Server::start(&repository).await;
    let (folder, cache) = cache();
    let from = |version: u32| {
        let mirror = Mirror::new(&address, agent()).unwrap();
        let root = repository.files[&format!("{version}.root.json")].clone();
        Client::new(root, mirror, cache.clone())
    };
    let always = with(Refresh::Always, now());
    from(1).follow(always).await.unwrap();
    let history = folder.path().join("a/b/root_history");
    let kept = || {
        let mut names: Vec<_> = std::fs::read_dir(&history)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            // The newest of each, which does not grow.
            .filter(|name| !name.starts_with("last."))
            .collect();
        names.sort();
        names
    };
    assert_eq!(
        kept(),
        ["2.root.json", "3.root.json", "4.root.json", "5.root.json"]
    );
    std::fs::write(history.join("7.root.json"), "{}").unwrap();
    std::fs::write(history.join("mirror.json"), "{}").unwrap();
    let (old, new) = (".1.0.tmp", ".1.1.tmp");
    for name in [old, new] {
        std::fs::write(history.join(name), "half").unwrap();
    }
    let hours = std::time::SystemTime::now() - Duration::from_hours(2);
    let file = std::fs::File::options().write(true).open(history.join(old));
    file.unwrap().set_modified(hours).unwrap();
    // A newer program begins at a newer root.
    from(3).follow(always).await.unwrap();
    assert_eq!(kept(), [new, "4.root.json", "5.root.json", "mirror.json"]);
    let offline = Refresh::Offline {
        allow_expired: false,
    };
    from(3).follow(with(offline, now())).await.unwrap();
    // While somebody was told to begin at the first one, all stay.
    let first = &repository.files["1.root.json"];
    std::fs::write(history.join("pinned.root.json"), first).unwrap();
    from(1).follow(always).await.unwrap();
    from(3).follow(always).await.unwrap();
    from(1).follow(with(offline, now())).await.unwrap();
}

#[tokio::test]
async fn a_folder_is_a_mirror_too() {
    let mut repository = repository();
    repository.set("timestamp", "expires", in_days(3).into());
    repository.publish(&["timestamp"]);
    let folder = tempfile::tempdir().unwrap();
    for (path, bytes) in &repository.files {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    let address = format!("file://{}", folder.path().display());
    let (_other, cache) = cache();
    let client = client(&repository, &address, &cache);
    let mut followed = client.follow(with(Refresh::Daily, now())).await.unwrap();
    target(&client, &mut followed, Refresh::Daily).await;
    let end = followed.trusted().expires().to_string();
    assert_eq!(end, in_days(3), "the first end counts");
    std::fs::remove_file(folder.path().join("timestamp.json")).unwrap();
    let error = client.follow(with(Refresh::Always, now())).await;
    assert!(matches!(
        error.unwrap_err(),
        FollowError::Mirror(MirrorError::File { .. })
    ));
    for address in ["", "bucket", "ftp://a/b", "https://a/b?c", "gs://b"] {
        assert!(Mirror::new(address, agent()).is_err(), "{address}");
    }
}
