//! Several instances on one database and one bucket: real processes, real servers, and a leader that is killed under load.
//!
//! `cargo xtask peers test` starts the servers and says where they are; without them the test says that it was skipped.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    missing_docs,
    reason = "a panic is a test's report"
)]

mod common;

use std::collections::BTreeMap;
use std::env;
use std::fmt::Write as _;
use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use common::{Service, Site, fails, free_port, works};
use note::VerifierKey;
use serde_json::Value;
use tlog::{Hash, LeafIndex, TreeSize, hash, proof};

/// How long a leader that was killed is believed to be alive.
const LEASE: u64 = 2;

/// A site whose logs are in the servers of these tests, under a name that no other run has. Its search index is in the database.
fn site() -> Option<(Site, String)> {
    site_in("postgres")
}

/// [`site`] in a database of this name.
fn site_in(name: &str) -> Option<(Site, String)> {
    let (Ok(database), Ok(bucket)) = (
        env::var("CLUSTER_TEST_DATABASE"),
        env::var("CLUSTER_TEST_BUCKET"),
    ) else {
        eprintln!(
            "skipped: no servers (CLUSTER_TEST_DATABASE, CLUSTER_TEST_BUCKET); cargo xtask peers test starts them"
        );
        return None;
    };
    let site = Site::init(&[]);
    let roots = env::var("CLUSTER_TEST_ROOTS").ok();
    let (ssl, scheme, ca) = match &roots {
        Some(roots) => (
            format!("?sslmode=verify-full&sslrootcert={roots}"),
            "https",
            format!("bucket_ca = \"{roots}\"\n"),
        ),
        None => ("?sslmode=disable".to_owned(), "http", String::new()),
    };
    let prefix = format!("{:x}", std::process::id());
    // Trees are named after the host, so each run has a host of its own.
    let host = format!("rekor-{prefix}-{}.example", site.port);
    let text = fs::read_to_string(site.settings()).unwrap();
    let mut text: String = text
        .lines()
        .filter(|line| {
            let here = ["folder", "attestations", "file"];
            !here.iter().any(|key| line.starts_with(key))
        })
        .flat_map(|line| [line, "\n"])
        .collect();
    text = text.replace("\"localhost\"\n", &format!("\"{host}\"\n"));
    let _ = write!(
        text,
        "\n[cluster]\ndatabase = \"postgres://log@{database}/{name}{ssl}\"\nbucket = \"logs\"\nregion = \"us-east-1\"\n\
         prefix = \"{prefix}\"\nendpoint = \"{scheme}://{bucket}\"\n{ca}lease_seconds = {LEASE}\n"
    );
    fs::write(site.settings(), text).unwrap();
    Some((site, host))
}

/// The settings of one instance: its own port and address.
fn instance(site: &Site, name: &str) -> (String, u16) {
    let port = free_port();
    let settings = site.settings_at(name, port);
    let text = fs::read_to_string(&settings).unwrap();
    let address = format!("[cluster]\naddress = \"http://localhost:{port}\"");
    fs::write(&settings, text.replace("[cluster]", &address)).unwrap();
    (settings, port)
}

/// [`instance`] with an index of its own.
fn instance_with_index(site: &Site, name: &str) -> (String, u16) {
    let (settings, port) = instance(site, name);
    let text = fs::read_to_string(&settings).unwrap();
    let own = format!("[search]\nfile = \"{name}.sqlite\"");
    fs::write(&settings, text.replace("[search]", &own)).unwrap();
    (settings, port)
}

fn check(verifier: &VerifierKey, entry: &Value) {
    let inclusion = &entry["inclusionProof"];
    let envelope = inclusion["checkpoint"]["envelope"].as_str().unwrap();
    let opened = note::open(envelope.as_bytes(), std::slice::from_ref(verifier)).unwrap();
    let bytes = |value: &Value| STANDARD.decode(value.as_str().unwrap()).unwrap();
    let hashes = inclusion["hashes"].as_array().unwrap().iter();
    let hashes: Vec<Hash> = hashes
        .map(|hash| Hash::from_slice(&bytes(hash)).unwrap())
        .collect();
    let index = inclusion["logIndex"].as_str().unwrap().parse().unwrap();
    let leaf = hash::leaf(&bytes(&entry["canonicalizedBody"]));
    proof::verify_inclusion(&leaf, LeafIndex::new(index), &hashes, opened.head()).unwrap();
}

fn search(service: &Service, number: u32) -> Option<Value> {
    search_at(service.port, number)
}

/// What `/api/v2/search` says of the entry that `common::v2(number)` makes.
fn search_at(port: u16, number: u32) -> Option<Value> {
    let hash = hex::encode(keys::sha256(&number.to_be_bytes()));
    let question = serde_json::json!({ "hash": hash }).to_string();
    let (status, body) = common::ask(port, "POST", "/api/v2/search", &question)?;
    (status == 200).then(|| serde_json::from_str(&body).unwrap())
}

/// Whether an answer has the entry at this index of the v2 log, and whether it says that this log is indexed beyond it.
fn told(answer: &Value, host: &str, index: u64) -> (bool, bool) {
    let here = |hit: &Value| {
        hit["origin"] == host && hit["entry"]["logIndex"].as_str().unwrap() == index.to_string()
    };
    let rows = answer["indexed"].as_array().unwrap();
    let row = rows.iter().find(|row| row["origin"] == host).unwrap();
    let number = |of: &str| -> u64 { row[of].as_str().unwrap().parse().unwrap() };
    assert!(number("indexed") <= number("treeSize"), "{row}");
    let found = answer["entries"].as_array().unwrap().iter().any(here);
    (found, number("indexed") > index)
}

/// The instance finds an entry of the v1 log.
fn finds(service: &Service, number: u32, id: &str) {
    let hash = hex::encode(keys::sha256(&number.to_be_bytes()));
    let question = serde_json::json!({ "hash": format!("sha256:{hash}") }).to_string();
    let begun = Instant::now();
    loop {
        let answer = service.ask("POST", "/api/v1/index/retrieve", &question);
        if answer.is_some_and(|(status, body)| status == 200 && body.contains(id)) {
            return;
        }
        assert!(begun.elapsed() < common::PATIENCE, "{id} is not found");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_leader_is_killed_under_load_and_nothing_that_was_acknowledged_is_lost() {
    let Some((site, host)) = site() else { return };
    let key = fs::read_to_string(site.path("log.vkey")).unwrap();
    let key: VerifierKey = key.trim_end().parse().unwrap();
    let verifier = VerifierKey::new(&host, key.public_key().clone()).unwrap();
    let mut settings = Vec::new();
    let mut running = Vec::new();
    for name in ["one.toml", "two.toml", "three.toml"] {
        // Two share the index in the database, the third one is configured otherwise.
        let (file, port) = match name {
            "three.toml" => instance_with_index(&site, name),
            _ => instance(&site, name),
        };
        running.push(Some(Service::start(&file, port, &[])));
        settings.push((file, port));
    }
    let ready = |service: &Service| service.get("/readyz").1;
    assert_eq!(ready(running[0].as_ref().unwrap()), "ready\n");
    for other in &running[1..] {
        assert_eq!(
            ready(other.as_ref().unwrap()),
            "ready, and sends entries on\n"
        );
    }
    let refused = fails(&["serve", "--no-standby", "--config", &settings[1].0]);
    assert!(
        refused.contains("another process uses this log folder"),
        "{refused}"
    );

    // Clients of all three, all the time. An answer of 201 is a promise; everything else is tried again by a client.
    let acknowledged: Arc<Mutex<BTreeMap<u64, (u32, Value)>>> = Arc::default();
    let (done, number) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU32::new(0)),
    );
    let clients: Vec<_> = settings
        .iter()
        .flat_map(|(_, port)| [*port, *port])
        .map(|port| {
            let (acknowledged, done, number) = (acknowledged.clone(), done.clone(), number.clone());
            let host = host.clone();
            std::thread::spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    let number = number.fetch_add(1, Ordering::Relaxed);
                    let answer =
                        common::ask(port, "POST", "/api/v2/log/entries", &common::v2(number));
                    let Some((201, body)) = answer else {
                        // Its instance is down, or nobody leads for a moment.
                        std::thread::sleep(Duration::from_millis(20));
                        continue;
                    };
                    let entry: Value = serde_json::from_str(&body).unwrap();
                    let index = entry["logIndex"].as_str().unwrap().parse().unwrap();
                    let before = acknowledged.lock().unwrap().insert(index, (number, entry));
                    assert!(before.is_none(), "index {index} was given twice");
                    // Whoever leads, and whoever is asked: the mark is never ahead of what is found.
                    if number % 4 == 0
                        && let Some(answer) = search_at(port, number)
                    {
                        let (found, indexed) = told(&answer, &host, index);
                        assert!(found || !indexed, "{index}: {answer}");
                    }
                }
            })
        })
        .collect();
    let count = || acknowledged.lock().unwrap().len();
    let grows = |by: usize| {
        let (from, begun) = (count(), Instant::now());
        while count() < from + by {
            assert!(
                begun.elapsed() < Duration::from_secs(40),
                "nothing is acknowledged any more"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
        begun.elapsed()
    };
    grows(100);
    let (mut promised, mut attested_by_all) = (Vec::new(), Vec::new());
    let mut slowest = Duration::ZERO;
    for round in 0..4 {
        let leads = |service: &Option<Service>| {
            let answer = service
                .as_ref()
                .and_then(|service| service.ask("GET", "/readyz", ""));
            answer.is_some_and(|(_, said)| said == "ready\n")
        };
        let leader = running.iter().position(leads).expect("somebody leads");
        running[leader].take().unwrap().kill();
        slowest = slowest.max(grows(1));
        grows(50);
        let (file, port) = &settings[leader];
        running[leader] = Some(Service::start(file, *port, &[]));
        // The restarted one reads at once what the others have acknowledged.
        let size = u64::try_from(count()).unwrap();
        running[leader]
            .as_ref()
            .unwrap()
            .until("/checkpoint", |_, body| {
                let opened = note::open(body.as_bytes(), std::slice::from_ref(&verifier));
                opened.is_ok_and(|opened| opened.head().size >= TreeSize::new(size))
            });
        let v1 = running[leader].as_ref().unwrap().add_v1(round);
        assert_eq!(v1.1, 2 * u64::from(round), "sent on to the leader");
        promised.push((round, v1.0));
        // Whoever leads has the right to write attestations as well.
        let attested = running[leader].as_ref().unwrap();
        attested_by_all.push(attested.propose(&common::intoto(round)).0);
    }
    done.store(true, Ordering::Relaxed);
    for client in clients {
        client.join().unwrap();
    }
    // A lease, and what it takes to open the logs on a machine that does much else.
    assert!(slowest < Duration::from_secs(LEASE + 8), "{slowest:?}");

    // All that was promised is there, in one tree, on every instance.
    let acknowledged = acknowledged.lock().unwrap();
    let last = acknowledged.keys().next_back().unwrap();
    let bodies: Vec<Service> = running.into_iter().flatten().collect();
    for (_, entry) in acknowledged.values() {
        check(&verifier, entry);
    }
    for service in bodies {
        for (number, id) in &promised {
            finds(&service, *number, id);
        }
        // All of them, whoever indexed them, and whoever was killed while he did.
        for (index, (number, _)) in acknowledged.iter() {
            let begun = Instant::now();
            loop {
                let answer = search(&service, *number);
                if answer.is_some_and(|answer| told(&answer, &host, *index).0) {
                    break;
                }
                assert!(begun.elapsed() < common::PATIENCE, "{index} is not found");
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        for id in &attested_by_all {
            service.until(&format!("/api/v1/log/entries/{id}"), |status, body| {
                status == 200 && body.contains("\"attestation\":{\"data\":")
            });
        }
        service.until("/checkpoint", |_, body| {
            let opened = note::open(body.as_bytes(), std::slice::from_ref(&verifier));
            opened.is_ok_and(|opened| opened.head().size.holds(LeafIndex::new(*last)))
        });
        service.stop();
    }
    let report = works(&["fsck", "--config", &settings[0].0]);
    assert_eq!(report.matches("sound:").count(), 2, "{report}");
    let entries = works(&["export", "entries", "--config", &settings[1].0]);
    let entries: Vec<Value> = entries
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    for (index, (_, promised)) in acknowledged.iter() {
        let kept = &entries[usize::try_from(*index).unwrap()];
        assert_eq!(
            kept["canonicalizedBody"], promised["canonicalizedBody"],
            "entry {index}"
        );
    }
    let copy = site.text("copy");
    let said = works(&["backup", "--config", &settings[2].0, "--to", &copy]);
    assert_eq!(said.matches("sound:").count(), 2, "{said}");
    // Frozen by any machine, for all of them.
    let last = works(&["freeze", "--config", &settings[0].0]);
    let report = works(&["fsck", "--config", &settings[1].0]);
    assert_eq!(report.matches("sound:").count(), 2, "{report}");
    let again = Service::start(&settings[2].0, settings[2].1, &[]);
    again.until("/checkpoint", |_, body| body == last);
    let (_, said) = again
        .ask("POST", "/api/v2/log/entries", &common::v2(1))
        .unwrap();
    assert!(said.contains("has been frozen"), "{said}");
    again.stop();
    let again = fails(&["restore", "--config", &settings[2].0, "--from", &copy]);
    assert!(again.contains("is not empty"), "{again}");
    eprintln!(
        "{} entries were acknowledged; the longest pause after a kill was {slowest:?}",
        acknowledged.len()
    );
}

/// The one that leads begins it, the other one reads it when its settings have it, and goes on with it when it leads.
#[test]
fn a_v1_tree_is_begun_on_several_machines() {
    let Some((site, _)) = site() else { return };
    let (settings, port) = instance(&site, "first.toml");
    let first = Service::start(&settings, port, &[]);
    let (other, port) = instance(&site, "second.toml");
    let second = Service::start(&other, port, &[]);
    assert_eq!(first.get("/readyz").1, "ready\n");
    assert_eq!(first.add_v1(0).1, 0);
    assert_eq!(second.add_v1(1).1, 1, "sent on");
    let before = fs::read_to_string(&settings).unwrap();
    works(&["rotate", "--config", &settings]);
    assert_eq!(first.add_v1(2).1, 2);
    assert_eq!(second.add_v1(3).1, 3, "sent on into the new tree");
    // What the operator brings to the other machine.
    let table = fs::read_to_string(&settings).unwrap();
    let table = table.strip_prefix(&before).unwrap();
    let text = fs::read_to_string(&other).unwrap();
    fs::write(&other, text + table).unwrap();
    let tree = |service: &Service| {
        let info: Value = serde_json::from_str(&service.get("/api/v1/log").1).unwrap();
        info["treeID"].as_str().unwrap().to_owned()
    };
    let new = tree(&first);
    second.until("/api/v1/log", |_, body| {
        body.contains(&format!("\"treeID\":\"{new}\",\"treeSize\":2"))
    });
    assert_eq!(tree(&second), new);
    let ids = |service: &Service| -> Vec<String> {
        let entry = |index| service.get(&format!("/api/v1/log/entries?logIndex={index}"));
        let id = |index| entry(index).1.chars().take(82).collect();
        (0..4).map(id).collect()
    };
    assert_eq!(ids(&second), ids(&first));
    let all = ids(&first);
    first.kill();
    second.until("/readyz", |_, body| body == "ready\n");
    assert_eq!(second.add_v1(4).1, 4);
    assert_eq!(ids(&second), all);
}

/// Entries that one instance sends on are counted as their clients', and not as one.
#[test]
fn who_asks_through_another_instance_is_counted_as_himself() {
    let Some((site, _)) = site() else { return };
    let text = fs::read_to_string(site.settings()).unwrap();
    let rate = "[server]\nclient_rate = 1\nclient_burst = 3\nbehind_proxy = true";
    fs::write(site.settings(), text.replace("[server]", rate)).unwrap();
    let (settings, port) = instance(&site, "first.toml");
    let _first = Service::start(&settings, port, &[]);
    let (settings, port) = instance(&site, "second.toml");
    let second = Service::start(&settings, port, &[]);
    let add = |client: &str, number: u32| {
        let path = if number.is_multiple_of(2) {
            ("/api/v2/log/entries", common::v2(number))
        } else {
            ("/api/v1/log/entries", common::v1(number))
        };
        common::ask_for(Some(client), second.port, "POST", path.0, &path.1).unwrap()
    };
    for number in 0..8 {
        let (status, body) = add(&format!("192.0.2.{number}"), number);
        assert_eq!(status, 201, "{number}: {body}");
    }
    let many: Vec<u16> = (8..24).map(|number| add("192.0.2.99", number).0).collect();
    assert!(many.contains(&429), "{many:?}");
}

async fn database() -> Option<sqlx::PgConnection> {
    use sqlx::Connection as _;
    let server = env::var("CLUSTER_TEST_DATABASE").ok()?;
    let ssl = match env::var("CLUSTER_TEST_ROOTS") {
        Ok(roots) => format!("sslmode=verify-full&sslrootcert={roots}"),
        Err(_) => "sslmode=disable".to_owned(),
    };
    let url = format!("postgres://log@{server}/postgres?{ssl}");
    Some(sqlx::PgConnection::connect(&url).await.unwrap())
}

fn sql(text: String) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let mut connection = database().await.unwrap();
        let statement = sqlx::query(sqlx::AssertSqlSafe(text));
        statement.execute(&mut connection).await.unwrap();
    });
}

/// Neither the log's tables nor the index's are there, and several begin.
#[test]
fn instances_start_at_once_on_an_empty_database() {
    let name = format!("empty_{:x}", std::process::id());
    let Some((site, host)) = site_in(&name) else {
        return;
    };
    sql(format!("CREATE DATABASE {name}"));
    let settings: Vec<_> = ["one.toml", "two.toml", "three.toml"]
        .map(|name| instance(&site, name))
        .into();
    let starting: Vec<_> = settings
        .iter()
        .map(|(file, port)| {
            let (file, port) = (file.clone(), *port);
            std::thread::spawn(move || Service::start(&file, port, &[]))
        })
        .collect();
    let running: Vec<_> = starting
        .into_iter()
        .map(|started| started.join().unwrap())
        .collect();
    let leads = |service: &&Service| service.get("/readyz").1 == "ready\n";
    assert_eq!(running.iter().filter(leads).count(), 1);
    for (number, service) in (0_u32..).zip(&running) {
        assert_eq!(service.add(number), Some(u64::from(number)), "sent on");
    }
    for service in &running {
        for number in 0..3 {
            let begun = Instant::now();
            while !search(service, number)
                .is_some_and(|answer| told(&answer, &host, number.into()).0)
            {
                assert!(begun.elapsed() < common::PATIENCE, "{number} is not found");
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }
}

/// What the database has of another log, or of another history, is refused, and made again only when somebody says so.
#[test]
fn an_index_of_another_log_is_refused_until_it_is_begun_anew() {
    let Some((site, host)) = site() else { return };
    let (settings, port) = instance(&site, "one.toml");
    let first = Service::start(&settings, port, &[]);
    for number in 0..3 {
        assert_eq!(first.add(number), Some(number.into()));
    }
    let found = |service: &Service, number: u32| {
        let begun = Instant::now();
        while !search(service, number).is_some_and(|answer| told(&answer, &host, number.into()).0) {
            assert!(begun.elapsed() < common::PATIENCE, "{number} is not found");
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    found(&first, 2);
    // Under the service: it notices, though nothing is added to the log.
    let said = works(&["reindex", "--config", &settings]);
    assert!(
        said.contains(&format!("{host}: 3 entries were indexed")),
        "{said}"
    );
    found(&first, 0);
    first.stop();
    let spoiled = [
        ("log = decode('00', 'hex')", "of a log with another key"),
        (
            "last = decode('00', 'hex')",
            "they are not those of this log",
        ),
        ("indexed = 9", "they are not those of this log"),
    ];
    for (set, why) in spoiled {
        sql(format!(
            "UPDATE search_trees SET {set} WHERE name = '{host}'"
        ));
        let refused = fails(&["serve", "--config", &settings]);
        assert!(
            refused.contains(why) && refused.contains("rekor-rs reindex"),
            "{refused}"
        );
        works(&["reindex", "--config", &settings]);
        let again = Service::start(&settings, port, &[]);
        for number in 0..3 {
            found(&again, number);
        }
        again.stop();
    }
}
