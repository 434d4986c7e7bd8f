//! Against a real PostgreSQL and a real S3 server, which may break. Without them each test says that it was skipped.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    missing_docs,
    reason = "a panic is a test's report; a child talks to its parent over stdout"
)]

mod common;
#[path = "../../sequencer/tests/common/mod.rs"]
mod engine;

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cluster::{Cluster, ClusterError, Tree};
use common::{Proxy, Servers, Wire, blocking, fresh, servers, servers_alone, settings};
use engine::{Named, check, clock, name_of, named, read_all, signer, verifier};
use sequencer::{AppendError, Config, Log, OpenError, fsck_on};
use store::{Disk, Path};
use tlog::LeafIndex;

fn path(text: &str) -> Path {
    Path::new(text).unwrap()
}

fn config() -> Config {
    Config {
        segment_bytes: 40_000,
        copy_interval: Duration::from_millis(50),
        ..Config::new("unused")
    }
}

async fn open(tree: &Tree) -> Result<Log<Named>, OpenError> {
    let disk: Arc<dyn Disk> = Arc::new(tree.clone());
    let copy = Some((disk.clone(), path("checkpoint")));
    Log::open_on(disk, copy, config(), signer(), clock()).await
}

/// Opens the log as soon as nobody else leads.
async fn take_over(tree: &Tree) -> Log<Named> {
    loop {
        tree.vacant().await.unwrap();
        match open(tree).await {
            Err(OpenError::Locked) => {}
            other => return other.unwrap(),
        }
    }
}

/// What an operator's check says of a tree that nobody writes; it needs no lease.
async fn sound(tree: &Tree) -> u64 {
    let tree = tree.clone();
    blocking(move || {
        let copy = tree.read(&path("checkpoint"), 1 << 20).unwrap();
        let report = fsck_on::<Named>(&tree, copy.as_deref(), &verifier()).unwrap();
        report.head.size.get()
    })
    .await
}

async fn holds(log: &Log<Named>, acknowledged: &BTreeMap<u64, String>) {
    for (index, name) in acknowledged {
        let entry = log.entry(LeafIndex::new(*index)).await.unwrap();
        assert_eq!(name_of(&entry.expect("acknowledged, so there")), *name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keeps_the_contract() {
    let Some(servers) = servers().await else {
        return;
    };
    let tree = servers.tree(&fresh()).await;
    blocking(move || store::contract::check(&tree)).await;
}

/// As when the server that was asked is not the one that is written to: what it did not show is not removed.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_seen_is_not_replaced() {
    use sqlx::Connection as _;
    let Some(servers) = servers().await else {
        return;
    };
    let name = fresh();
    let tree = servers.tree(&name).await;
    let writing = tree.clone();
    let (_held, mut file) = blocking(move || {
        let held = writing.lock().unwrap().unwrap();
        let mut file = writing.append(&path("wal/0")).unwrap();
        file.append(b"abc").unwrap();
        file.sync_data().unwrap();
        (held, file)
    })
    .await;
    let url = servers.settings().database.url;
    let mut connection = sqlx::PgConnection::connect(&url).await.unwrap();
    sqlx::query(
        "INSERT INTO cluster_pieces (tree, path, at, bytes) VALUES ($1, 'wal/0', 3, 'def')",
    )
    .bind(&name)
    .execute(&mut connection)
    .await
    .unwrap();
    blocking(move || {
        let refused = file.overwrite(0, b"x").unwrap_err().to_string();
        assert!(refused.contains("does not end where"), "{refused}");
        assert!(file.truncate(1).is_err(), "nor after that");
        assert_eq!(tree.read(&path("wal/0"), 9).unwrap().unwrap(), b"abcdef");
    })
    .await;
}

/// Connections that were there before may lead to a server that is not the primary any more.
#[tokio::test(flavor = "multi_thread")]
async fn a_turn_is_taken_on_new_connections() {
    let Some(servers) = servers().await else {
        return;
    };
    let wire = Proxy::to(servers.database).await;
    let cluster = Cluster::open(settings(wire.address, servers.bucket));
    let cluster = cluster.await.unwrap();
    let (one, two) = (
        cluster.tree(&fresh()).unwrap(),
        cluster.tree(&fresh()).unwrap(),
    );
    blocking(move || {
        let _one = one.lock().unwrap().unwrap();
        let before = wire.connections();
        let _two = two.lock().unwrap().unwrap();
        assert!(
            wire.connections() >= before + 3,
            "to ask, to lead and to commit"
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_lead_reads_and_does_not_write() {
    let Some(servers) = servers().await else {
        return;
    };
    let name = fresh();
    let (leader, reader) = (servers.tree(&name).await, servers.tree(&name).await);
    assert_eq!(reader.leader().await.unwrap(), None);
    let (writing, reading) = (leader.clone(), reader.clone());
    let held = blocking(move || {
        let held = writing.lock().unwrap().unwrap();
        assert!(reading.lock().unwrap().is_none());
        let mut file = writing.append(&path("wal/0")).unwrap();
        file.append(b"abc").unwrap();
        assert_eq!(
            reading.read(&path("wal/0"), 9).unwrap().unwrap(),
            b"",
            "not yet committed"
        );
        file.sync_data().unwrap();
        writing.replace(&path("tile/0/000"), b"tile").unwrap();
        writing.sync(&[path("tile/0/000")]).unwrap();
        held
    })
    .await;
    let told = reader.leader().await.unwrap().unwrap();
    assert_eq!(
        (told.address.as_str(), told.holder.as_str()),
        ("http://one.example", "one")
    );
    assert_eq!(Some(told.fence), leader.fence());
    assert!(told.expires_in <= Duration::from_millis(1500) && !told.expires_in.is_zero());
    let reading = reader.clone();
    blocking(move || {
        assert_eq!(reading.read(&path("wal/0"), 9).unwrap().unwrap(), b"abc");
        assert_eq!(
            reading.read_range(&path("wal/0"), 1, 1).unwrap().unwrap(),
            b"b"
        );
        assert_eq!(
            reading.read(&path("tile/0/000"), 9).unwrap().unwrap(),
            b"tile"
        );
        assert_eq!(
            reading
                .read_range(&path("tile/0/000"), 3, 9)
                .unwrap()
                .unwrap(),
            b"e"
        );
        assert_eq!(reading.list(&path("tile")).unwrap(), ["0"]);
        assert_eq!(reading.list(&path("wal")).unwrap(), ["0"]);
        let refused = [
            reading.append(&path("wal/0")).err(),
            reading.replace(&path("index"), b"1").err(),
            reading.replace(&path("tile/0/001"), b"1").err(),
            reading.remove(&path("wal/0")).err(),
        ];
        for error in refused {
            let error = error.expect("only the leader writes");
            assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied);
            assert!(error.to_string().contains("does not lead"), "{error}");
        }
    })
    .await;
    // Given up, it is free at once, and what the one before had open is of no use.
    let (writing, reading) = (leader.clone(), reader.clone());
    blocking(move || {
        let mut old = writing.append(&path("wal/0")).unwrap();
        drop(held);
        let held = reading.lock().unwrap().expect("free at once");
        assert!(old.append(b"x").is_err());
        drop(held);
        let held = writing.lock().unwrap().expect("free again");
        assert!(
            old.append(b"x").is_err(),
            "it is of another turn of the same process"
        );
        drop(held);
    })
    .await;
    assert_eq!(leader.leader().await.unwrap(), None);
}

/// Against a vector, with all that an engine may do to a file that grows.
#[tokio::test(flavor = "multi_thread")]
async fn files_that_grow_are_what_a_vector_is() {
    let Some(servers) = servers().await else {
        return;
    };
    let tree = servers.tree(&fresh()).await;
    blocking(move || {
        let held = tree.lock().unwrap().unwrap();
        let index = path("index");
        let mut model: Vec<u8> = Vec::new();
        let mut file = tree.append(&index).unwrap();
        let mut seed = 7_u64;
        let mut next = |below: usize| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            usize::try_from(seed >> 33).unwrap() % below.max(1)
        };
        for step in 0..160 {
            let len = model.len();
            match next(10) {
                0..4 => {
                    // Some are longer than a piece.
                    let most = if step % 20 == 0 { 3 << 20 } else { 5000 };
                    let byte = u8::try_from(step).unwrap();
                    let more = vec![byte; next(most)];
                    file.append(&more).unwrap();
                    model.extend(more);
                }
                4 | 5 => file.sync_data().unwrap(),
                6 => {
                    let at = next(len);
                    let bytes = vec![255; next((len - at).min(2 << 20))];
                    file.overwrite(u64::try_from(at).unwrap(), &bytes).unwrap();
                    model[at..at + bytes.len()].copy_from_slice(&bytes);
                }
                7 => {
                    let keep = len - next(len.min(4000));
                    file.truncate(u64::try_from(keep).unwrap()).unwrap();
                    model.truncate(keep);
                }
                8 => {
                    // The handle goes, what was appended stays.
                    drop(file);
                    file = tree.append(&index).unwrap();
                }
                _ => tree.sync(std::slice::from_ref(&index)).unwrap(),
            }
            assert_eq!(file.len().unwrap(), u64::try_from(model.len()).unwrap());
            let at = next(model.len() + 3);
            let len = next(200_000);
            let found = tree
                .read_range(&index, u64::try_from(at).unwrap(), len)
                .unwrap()
                .unwrap();
            let expected: Vec<u8> = model.iter().skip(at).take(len).copied().collect();
            assert!(found == expected, "step {step}, {len} bytes from {at}");
        }
        assert!(tree.read(&index, 1 << 30).unwrap().unwrap() == model);
        file.sync_data().unwrap();
        assert!(tree.read(&index, 1 << 30).unwrap().unwrap() == model);
        assert_eq!(
            tree.read(&index, 10).unwrap_err().kind(),
            std::io::ErrorKind::FileTooLarge
        );
        drop(held);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tile_is_put_once_and_stays() {
    let Some(servers) = servers().await else {
        return;
    };
    let name = fresh();
    let (tree, other) = (servers.tree(&name).await, servers.tree(&name).await);
    blocking(move || {
        let tile = path("tile/0/x001/234");
        let held = tree.lock().unwrap().unwrap();
        assert_eq!(tree.read(&tile, 9).unwrap(), None);
        assert!(tree.sync(std::slice::from_ref(&tile)).is_err());
        for _ in 0..3 {
            tree.replace(&tile, b"one").unwrap();
            tree.sync(std::slice::from_ref(&tile)).unwrap();
        }
        assert_eq!(other.read(&tile, 3).unwrap().unwrap(), b"one");
        assert_eq!(
            other.read(&tile, 2).unwrap_err().kind(),
            std::io::ErrorKind::FileTooLarge
        );
        assert_eq!(other.list(&path("tile/0")).unwrap(), ["x001"]);
        assert!(tree.remove(&tile).is_err() && tree.append(&tile).is_err());
        // Other bytes under the same name: a fork. Nothing is overwritten, and nothing more is taken.
        tree.replace(&tile, b"two").unwrap();
        let told = tree
            .sync(std::slice::from_ref(&tile))
            .unwrap_err()
            .to_string();
        assert!(
            told.contains("tile/0/x001/234") && told.contains("second history"),
            "{told}"
        );
        assert_eq!(other.read(&tile, 9).unwrap().unwrap(), b"one");
        assert!(tree.replace(&path("tile/0/x001/235"), b"three").is_err());
        drop(held);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_engine_runs_on_it() {
    let Some(servers) = servers().await else {
        return;
    };
    let name = fresh();
    let tree = servers.tree(&name).await;
    let log = open(&tree).await.unwrap();
    let tasks: Vec<_> = (0..32_u64)
        .map(|lane| {
            let log = log.clone();
            tokio::spawn(async move {
                for number in 0..100 {
                    check(&log.append(named(lane * 1000 + number)).await.unwrap());
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let again = log.append(named(7)).await.unwrap();
    assert!(
        again.duplicate,
        "also while its row is not in the database yet"
    );
    let head = log.published().head;
    assert_eq!(head.size.get(), 3200);
    assert!(matches!(
        open(&servers.tree(&name).await).await,
        Err(OpenError::Locked)
    ));
    log.close().await;
    let segments = {
        let tree = tree.clone();
        blocking(move || tree.list(&path("wal")).unwrap().len()).await
    };
    assert!(segments < 6, "{segments} segments are left");
    assert_eq!(sound(&servers.tree(&name).await).await, 3200);

    let other = servers.tree(&name).await;
    let log = open(&other).await.unwrap();
    assert_eq!(log.published().head, head);
    assert!(log.append(named(31_099)).await.unwrap().duplicate);
    assert_eq!(
        log.append(named(99_999)).await.unwrap().inclusion.index,
        LeafIndex::new(3200)
    );
    assert_eq!(read_all(&log).await.len(), 3201);
    log.close().await;
    assert_eq!(sound(&other).await, 3201);
    // A tree beside it has nothing of it.
    assert_eq!(sound(&servers.tree(&fresh()).await).await, 0);
}

/// Appends until the log stops, from several tasks; what was acknowledged.
fn load(log: &Log<Named>, first: u64) -> tokio::task::JoinHandle<BTreeMap<u64, String>> {
    let tasks: Vec<_> = (0..8_u64)
        .map(|lane| {
            let log = log.clone();
            tokio::spawn(async move {
                let mut acknowledged = Vec::new();
                for number in 0.. {
                    let leaf = named(first + lane * 1_000_000 + number);
                    let name = leaf.0.clone();
                    match log.append(leaf).await {
                        Ok(appended) => acknowledged.push((appended.inclusion.index.get(), name)),
                        Err(AppendError::Overloaded { .. }) => tokio::task::yield_now().await,
                        Err(_) => break,
                    }
                }
                acknowledged
            })
        })
        .collect();
    tokio::spawn(async move {
        let mut all = BTreeMap::new();
        for task in tasks {
            for (index, name) in task.await.unwrap() {
                assert_eq!(
                    all.insert(index, name),
                    None,
                    "place {index} was given twice"
                );
            }
        }
        all
    })
}

async fn grown_by(log: &Log<Named>, count: u64) {
    let from = log.published().head.size.get();
    while log.published().head.size.get() < from + count {
        assert_eq!(log.health(), Ok(()));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The leader is paused with a commit on its way. Another takes over; the commit arrives, and is refused.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_was_paused_commits_nothing() {
    let Some(servers) = servers().await else {
        return;
    };
    let name = fresh();
    let wire = Proxy::to(servers.database).await;
    let paused = Cluster::open(common::settings(wire.address, servers.bucket))
        .await
        .unwrap();
    let (old, new) = (paused.tree(&name).unwrap(), servers.tree(&name).await);
    let log = open(&old).await.unwrap();
    let working = load(&log, 0);
    grown_by(&log, 600).await;
    wire.set(Wire::Held);
    let began = Instant::now();
    let next = take_over(&new).await;
    assert!(
        began.elapsed() < Duration::from_secs(6),
        "{:?}",
        began.elapsed()
    );
    let taken_over_at = next.published().head;
    assert!(new.fence() > old.fence().or(Some(0)));
    let working_on = load(&next, 100_000_000);
    grown_by(&next, 300).await;
    wire.set(Wire::Whole);
    let acknowledged = working.await.unwrap();
    assert!(log.health().is_err(), "the old one has stopped");
    tokio::time::timeout(Duration::from_secs(5), old.lost())
        .await
        .expect("and knows it");
    assert!(matches!(
        log.append(named(5)).await,
        Err(AppendError::Stopped(_))
    ));
    // The old one wrote its last tiles, perhaps late; the new one goes on through that.
    log.close().await;
    grown_by(&next, 300).await;
    next.close().await;
    let later = working_on.await.unwrap();
    assert!(acknowledged.len() >= 600 && later.len() >= 600);
    assert!(
        acknowledged
            .keys()
            .all(|index| *index < taken_over_at.size.get())
    );
    let log = open(&servers.tree(&name).await).await.unwrap();
    holds(&log, &acknowledged).await;
    holds(&log, &later).await;
    log.close().await;
    sound(&new).await;
}

/// Each kind of write, sent before the turn ended and arriving after it, as a paused process or a slow network would have it.
#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_arrives_late_is_refused() {
    let Some(servers) = servers().await else {
        return;
    };
    let name = fresh();
    let wire = Proxy::to(servers.database).await;
    let slow = Cluster::open(common::settings(wire.address, servers.bucket))
        .await
        .unwrap();
    let (old, new) = (slow.tree(&name).unwrap(), servers.tree(&name).await);
    let preparing = old.clone();
    let (held, mut grows, mut shrinks) = blocking(move || {
        let held = preparing.lock().unwrap().unwrap();
        let file = |name: &str| {
            let mut file = preparing.append(&path(name)).unwrap();
            file.append(b"first").unwrap();
            file.sync_data().unwrap();
            file
        };
        file("removed");
        file("replaced");
        (held, file("grows"), file("shrinks"))
    })
    .await;
    wire.set(Wire::Held);
    let (replacing, removing) = (old.clone(), old.clone());
    let late = vec![
        tokio::task::spawn_blocking(move || {
            grows.append(b" and more").unwrap();
            grows.sync_data()
        }),
        tokio::task::spawn_blocking(move || shrinks.truncate(2)),
        tokio::task::spawn_blocking(move || replacing.replace(&path("replaced"), b"second")),
        tokio::task::spawn_blocking(move || removing.remove(&path("removed"))),
    ];
    new.vacant().await.unwrap();
    let taking = new.clone();
    let taken = blocking(move || taking.lock().unwrap().expect("vacant")).await;
    wire.set(Wire::Whole);
    for write in late {
        let told = write.await.unwrap().unwrap_err();
        assert!(told.to_string().contains("has taken over"), "{told}");
    }
    blocking(move || {
        for name in ["grows", "shrinks", "replaced", "removed"] {
            let bytes = new.read(&path(name), 99).unwrap();
            assert_eq!(bytes.as_deref(), Some(&b"first"[..]), "{name}");
        }
        // Ending the old turn does not end the new one.
        drop(held);
        assert!(new.lock().unwrap().is_none());
        new.replace(&path("replaced"), b"second").unwrap();
        drop(taken);
    })
    .await;
}

/// The commit was done and its answer lost. Nobody knows that; the log stops, and the next start finds out.
#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_outcome_stops_the_log() {
    let Some(servers) = servers().await else {
        return;
    };
    let name = fresh();
    let mut landed = 0;
    let mut acknowledged = BTreeMap::new();
    for round in 0..12_u64 {
        let wire = Proxy::to(servers.database).await;
        let settings = common::settings(wire.address, servers.bucket);
        let tree = Cluster::open(settings).await.unwrap().tree(&name).unwrap();
        let log = take_over(&tree).await;
        for number in 0..20 {
            let leaf = named(round * 100 + number);
            let name = leaf.0.clone();
            let appended = log.append(leaf).await.unwrap();
            acknowledged.insert(appended.inclusion.index.get(), name);
        }
        wire.set(Wire::LosesAnswers);
        let lost = log.append(named(round * 100 + 50)).await;
        assert!(matches!(lost, Err(AppendError::Stopped(_))), "{lost:?}");
        let after = log.append(named(round * 100 + 51)).await;
        assert!(matches!(after, Err(AppendError::Stopped(_))), "{after:?}");
        log.close().await;

        let direct = servers.tree(&name).await;
        let log = take_over(&direct).await;
        holds(&log, &acknowledged).await;
        let again = log.append(named(round * 100 + 50)).await.unwrap();
        landed += u64::from(again.duplicate);
        assert!(!log.append(named(round * 100 + 51)).await.unwrap().duplicate);
        log.close().await;
        sound(&direct).await;
        if landed > 1 {
            return;
        }
    }
    panic!("no commit landed whose answer was lost");
}

const KILLED: &str = "CLUSTER_TEST_KILLED";

/// Not a test of its own: the process that is killed. Without the variable it does nothing.
#[tokio::test(flavor = "multi_thread")]
async fn child() {
    let Ok(name) = std::env::var(KILLED) else {
        return;
    };
    let servers = servers().await.unwrap();
    let (name, first) = name.split_once(' ').unwrap();
    let log = open(&servers.tree(name).await).await.unwrap();
    let first: u64 = first.parse().unwrap();
    let tasks: Vec<_> = (0..16)
        .map(|lane| {
            let log = log.clone();
            tokio::spawn(async move {
                for number in 0.. {
                    let name = first + lane * 100_000 + number;
                    let appended = log.append(named(name)).await.unwrap();
                    println!("\nack {} {name}", appended.inclusion.index);
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_follows_a_leader_that_was_killed() {
    let Some(servers) = servers().await else {
        return;
    };
    let name = fresh();
    let mut acknowledged = BTreeMap::new();
    for round in 0..3_u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["child", "--exact", "--nocapture"])
            .env(KILLED, format!("{name} {}", round * 10_000_000))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let enough = 400 + round * 131;
        let (send, mut acks) = tokio::sync::mpsc::unbounded_channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let mut words = line.split_whitespace();
                if words.next() == Some("ack")
                    && let (Some(index), Some(name)) = (words.next(), words.next())
                    && let (Ok(index), Ok(name)) = (index.parse::<u64>(), name.parse::<u64>())
                {
                    let _ = send.send((index, format!("entry {name}")));
                }
            }
        });
        for _ in 0..enough {
            let (index, name) = acks.recv().await.expect("the child ended by itself");
            assert_eq!(acknowledged.insert(index, name), None);
        }
        child.kill().unwrap();
        let killed = Instant::now();
        child.wait().unwrap();
        let standby = servers.tree(&name).await;
        let log = take_over(&standby).await;
        let took = killed.elapsed();
        // A line that was cut may name another number; it was the last.
        while let Some((index, name)) = acks.recv().await {
            acknowledged.insert(index, name);
        }
        acknowledged.pop_last();
        holds(&log, &acknowledged).await;
        check(&log.append(named(90_000_000 + round)).await.unwrap());
        eprintln!(
            "taken over {took:?} after the kill, {} acknowledged so far",
            acknowledged.len()
        );
        assert!(took < Duration::from_secs(6), "{took:?}");
        log.close().await;
        sound(&standby).await;
        // The next child's acknowledgements begin behind what is there.
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_crashes_under_load_loses_nothing() {
    let Some(servers) = servers_alone().await else {
        return;
    };
    let Ok(restart) = std::env::var(common::RESTART) else {
        eprintln!(
            "skipped: nobody says how to restart the database ({})",
            common::RESTART
        );
        return;
    };
    // A server that answers before it has written, unless it is told otherwise, as we do.
    let (set, reset) = (
        "ALTER SYSTEM SET synchronous_commit = off",
        "ALTER SYSTEM RESET synchronous_commit",
    );
    alter(&servers, set, "synchronous_commit", "off").await;
    let name = fresh();
    let mut acknowledged = BTreeMap::new();
    for round in 0..3_u64 {
        let tree = servers.tree(&name).await;
        let log = take_over(&tree).await;
        let working = load(&log, round * 100_000_000);
        grown_by(&log, 500).await;
        let restart = restart.clone();
        let done = blocking(move || {
            Command::new("sh")
                .args(["-c", &restart])
                .stdout(Stdio::null())
                .status()
                .unwrap()
        })
        .await;
        assert!(done.success());
        // It may have stopped, or gone on; end it either way.
        tokio::time::sleep(Duration::from_millis(200)).await;
        log.close().await;
        acknowledged.extend(working.await.unwrap());
        let again = servers.tree(&name).await;
        let log = take_over(&again).await;
        holds(&log, &acknowledged).await;
        log.close().await;
        sound(&again).await;
    }
    assert!(acknowledged.len() >= 1500);
    alter(&servers, reset, "synchronous_commit", "on").await;
}

/// Tiles wait in the database while the bucket is away. The log takes entries all the time, and every entry can be read.
#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_is_away_costs_no_acknowledgement() {
    let Some(servers) = servers().await else {
        return;
    };
    let name = fresh();
    let wire = Proxy::to(servers.bucket).await;
    let cluster = Cluster::open(common::settings(servers.database, wire.address))
        .await
        .unwrap();
    let tree = cluster.tree(&name).unwrap();
    let log = open(&tree).await.unwrap();
    let phases = [(Wire::Whole, 0), (Wire::Held, 10_000), (Wire::Cut, 20_000)];
    for (state, first) in phases {
        wire.set(state);
        let tasks: Vec<_> = (0..16_u64)
            .map(|lane| {
                let log = log.clone();
                tokio::spawn(async move {
                    for number in 0..100 {
                        check(
                            &log.append(named(first + lane * 100 + number))
                                .await
                                .unwrap(),
                        );
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    }
    let aside = async |least| {
        for _ in 0..400 {
            let count = tree.tiles_put_aside().await.unwrap();
            if (least == 0 && count == 0) || (least > 0 && count >= least) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("tiles put aside: {}", tree.tiles_put_aside().await.unwrap());
    };
    // 4800 leaves are eighteen full tiles and as many bundles; two thirds of them are written without the bucket.
    aside(20).await;
    assert!(log.entry(LeafIndex::new(4000)).await.unwrap().is_some());
    assert_eq!(log.health(), Ok(()));
    let began = Instant::now();
    log.close().await;
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(log.health(), Ok(()), "also its end needs no bucket");

    // Another machine starts, reads and takes over, without the bucket.
    let began = Instant::now();
    let other = Cluster::open(common::settings(servers.database, wire.address))
        .await
        .unwrap();
    let other = other.tree(&name).unwrap();
    let reading = other.clone();
    blocking(move || {
        for tile in ["tile/0/010", "tile/0/011", "tile/0/012"] {
            assert!(
                reading.read(&path(tile), 1 << 20).unwrap().is_some(),
                "{tile}"
            );
        }
        // Of these, only the first one waits for the bucket.
        let again = Instant::now();
        for tile in ["tile/0/010", "tile/0/011", "tile/0/012"] {
            assert!(
                reading.read(&path(tile), 1 << 20).unwrap().is_some(),
                "{tile}"
            );
        }
        assert!(again.elapsed() < Duration::from_secs(1));
        let lease = reading.lock().unwrap();
        assert!(lease.is_some(), "it leads");
    })
    .await;
    assert!(
        began.elapsed() < Duration::from_secs(15),
        "{:?}",
        began.elapsed()
    );

    // What was read while the bucket was there is read without it, and at once.
    wire.set(Wire::Whole);
    let reading = other.clone();
    let first = blocking(move || reading.read(&path("tile/0/000"), 1 << 20).unwrap()).await;
    wire.set(Wire::Cut);
    let reading = other.clone();
    let again = Instant::now();
    let second = blocking(move || reading.read(&path("tile/0/000"), 1 << 20).unwrap()).await;
    assert!(again.elapsed() < Duration::from_secs(1));
    assert!(first.is_some() && first == second);
    let reading = other.clone();
    let limited = blocking(move || reading.read(&path("tile/0/000"), 10)).await;
    assert!(limited.is_err(), "a limit is one for what is kept, too");

    wire.set(Wire::Whole);
    assert_eq!(
        sound(&servers.tree(&name).await).await,
        4800,
        "readers find them there"
    );
    let log = open(&tree).await.unwrap();
    aside(0).await;
    for index in (0..4800).step_by(97) {
        assert!(log.entry(LeafIndex::new(index)).await.unwrap().is_some());
    }
    log.close().await;
    assert_eq!(sound(&servers.tree(&name).await).await, 4800);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_may_lose_commits_is_refused() {
    let Some(servers) = servers_alone().await else {
        return;
    };
    let client = servers.settings();
    alter(&servers, "ALTER SYSTEM SET fsync = off", "fsync", "off").await;
    let refused = Cluster::open(client.clone()).await.unwrap_err();
    assert!(
        matches!(&refused, ClusterError::Unfit(what) if what.contains("fsync is off")),
        "{refused}"
    );
    let mut allowed = client;
    allowed.database.may_lose_commits = true;
    let allowed = Cluster::open(allowed).await;
    alter(&servers, "ALTER SYSTEM RESET fsync", "fsync", "on").await;
    allowed.unwrap();
    servers.cluster().await;
}

/// Changes a setting of the server, and waits until it holds.
async fn alter(servers: &Servers, alter: &'static str, name: &str, value: &str) {
    use sqlx::Connection as _;
    let settings = servers.settings().database;
    let mut connection = sqlx::PgConnection::connect(&settings.url).await.unwrap();
    for statement in [alter, "SELECT pg_reload_conf()"] {
        sqlx::query(statement)
            .execute(&mut connection)
            .await
            .unwrap();
    }
    for _ in 0..200 {
        let now: String = sqlx::query_scalar("SELECT current_setting($1)")
            .bind(name)
            .fetch_one(&mut connection)
            .await
            .unwrap();
        if now == value {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{name} did not become {value}");
}
