//! The program as an operator uses it: processes, signals and files.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs,
    reason = "a panic is a test's report"
)]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use common::{Service, Site, fails, free_port, run, v1, v2, works};
use note::VerifierKey;
use serde_json::Value;
use tlog::{Hash, LeafIndex, TreeSize, hash, proof};

/// The index is filled by who writes, answers whoever reads beside it, and may be begun anew under both.
#[test]
fn whoever_reads_beside_the_writer_searches_too() {
    let site = Site::init(&[]);
    let writer = site.serve(&[]);
    let ids: Vec<_> = (0..2).map(|number| writer.add_v1(number).0).collect();
    let port = free_port();
    let settings = site.settings_at("second.toml", port);
    let reader = Service::start(&settings, port, &["--read-only"]);
    let find = |service: &Service| {
        for (number, id) in (0_u32..).zip(&ids) {
            let hash = hex::encode(keys::sha256(&number.to_be_bytes()));
            let question = serde_json::json!({ "hash": hash }).to_string();
            let begun = Instant::now();
            loop {
                let answer = service.ask("POST", "/api/v1/index/retrieve", &question);
                if answer.is_some_and(|(status, body)| status == 200 && body.contains(id)) {
                    break;
                }
                assert!(begun.elapsed() < common::PATIENCE, "{id} is not found");
            }
        }
    };
    find(&writer);
    find(&reader);
    let (_, figures) = writer.get("/metrics");
    for name in [
        "rekor_build_info{version=",
        "rekor_checkpoint_publish{shard=",
        "rekor_index_storage_latency_summary_count{success=\"true\"}",
    ] {
        assert!(figures.contains(name), "{name} is not in\n{figures}");
    }
    let said = works(&["reindex", "--config", &settings]);
    assert!(
        said.contains(": 2 entries were indexed; the index begins anew"),
        "{said}"
    );
    find(&reader);
    find(&writer);
    let none = Site::init(&["--without-search"]);
    let said = fails(&["reindex", "--config", &none.settings()]);
    assert!(said.contains("there is no index"), "{said}");
}

/// Without it a log that was rolled back would sign a second history, and nobody would know.
#[test]
fn a_copy_of_the_last_checkpoint_that_is_not_there_is_told() {
    let site = Site::init(&[]);
    let told = |said: &str| {
        let file = site.path(said);
        let service = std::fs::File::create(&file).unwrap();
        let service = Service::start_saying(&site.settings(), site.port, &[], service.into());
        service.add(1);
        service.stop();
        let said = std::fs::read_to_string(&file).unwrap();
        let lines = said.lines();
        lines
            .filter(|line| line.contains("there is no copy of the last checkpoint"))
            .count()
    };
    assert_eq!(told("new"), 0, "there was nothing to copy");
    assert_eq!(told("copied"), 0);
    std::fs::remove_file(site.path("checkpoints/v2")).unwrap();
    assert_eq!(told("away"), 1);
    assert_eq!(told("copied again"), 0);
}

#[test]
fn a_new_log_is_whole_and_not_made_twice() {
    let site = Site::init(&["--operator", "example.org"]);
    let root: Value =
        serde_json::from_str(&fs::read_to_string(site.path("trusted_root.fragment.json")).unwrap())
            .unwrap();
    assert_eq!(root["tlogs"].as_array().unwrap().len(), 2);
    let signing: Value = serde_json::from_str(
        &fs::read_to_string(site.path("signing_config.fragment.json")).unwrap(),
    )
    .unwrap();
    assert_eq!(signing["rekorTlogUrls"][0]["operator"], "example.org");
    assert_eq!(signing["rekorTlogUrls"][1]["majorApiVersion"], 1);
    let home = site.folder.path().to_str().unwrap();
    let again = fails(&["init", "--url", "http://localhost", "--folder", home]);
    assert!(again.contains("has a log already"), "{again}");
    let odd = fails(&[
        "init",
        "--url",
        "ftp://rekor.example.org",
        "--folder",
        "/nowhere",
    ]);
    assert!(odd.contains("expected http or https"), "{odd}");
    let bare = fails(&["init", "--url", "localhost:99", "--folder", "/nowhere"]);
    assert!(bare.contains("expected http or https"), "{bare}");
    let mut written = Vec::new();
    for file in fs::read_dir(site.path("keys")).unwrap() {
        let path = file.unwrap().path();
        if path.to_str().unwrap().ends_with(".pub.pem") {
            let key = keys::PublicKey::from_pem(&fs::read_to_string(path).unwrap()).unwrap();
            written.push(STANDARD.encode(key.spki_der()));
        }
    }
    assert_eq!(written.len(), 2);
    for log in root["tlogs"].as_array().unwrap() {
        let key = log["publicKey"]["rawBytes"].as_str().unwrap();
        assert!(written.iter().any(|one| one == key), "{log}");
    }

    let plain = Site::init(&["--without-v1", "--without-search"]);
    let service = plain.serve(&[]);
    assert_eq!(service.add(1), Some(0));
    assert_eq!(service.get("/api/v1/log").0, 404);
    assert_eq!(service.ask("POST", "/api/v2/search", "{}").unwrap().0, 404);
    let opened = note::open(service.get("/checkpoint").1.as_bytes(), &[plain.verifier()]).unwrap();
    assert_eq!(opened.head().size, TreeSize::new(1));
    service.stop();
    let report = works(&["fsck", "--config", &plain.settings()]);
    assert!(
        report.contains("entries    1\n") && report.contains("sound:"),
        "{report}"
    );
}

/// The disk that its log lines go to is full, as the log's own may be.
#[test]
fn a_service_outlives_whoever_reads_its_log_lines() {
    let site = Site::init(&["--without-search"]);
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let service = Service::start_saying(&site.settings(), site.port, &[], full.into());
    for number in 0..3 {
        assert_eq!(service.add(number), Some(number.into()));
    }
    assert_eq!(
        service.ask("POST", "/api/v2/log/entries", "{").unwrap().0,
        400
    );
    service.stop();
}

/// What stands around all services refuses in the words of the API that was asked.
#[test]
fn each_api_refuses_in_its_own_manner() {
    let site = Site::init(&[]);
    let service = site.serve(&[]);
    let large = format!("{:?}", "x".repeat(17 << 20));
    let (status, v1) = service.ask("POST", "/api/v1/log/entries", &large).unwrap();
    assert_eq!(status, 413);
    assert!(v1.starts_with(r#"{"code":413,"message":"#), "{v1}");
    assert!(!v1.contains("details"), "{v1}");
    let (status, v2) = service.ask("POST", "/api/v2/log/entries", &large).unwrap();
    assert_eq!(status, 413);
    assert!(v2.starts_with(r#"{"code":8,"message":"#), "{v2}");
    service.stop();
}

#[test]
fn a_second_instance_reads_and_takes_over_when_the_first_is_killed() {
    let site = Site::init(&[]);
    let first = site.serve(&[]);
    let port = free_port();
    let other = site.settings_at("other.toml", port);
    let refused = fails(&["serve", "--no-standby", "--config", &other]);
    assert!(
        refused.contains("another process uses this log folder"),
        "{refused}"
    );
    let second = Service::start(&other, port, &[]);
    let port = free_port();
    let reader = Service::start(
        &site.settings_at("reader.toml", port),
        port,
        &["--read-only"],
    );
    assert_eq!(first.get("/readyz"), (200, "ready\n".to_owned()));
    for instance in [&second, &reader] {
        assert_eq!(instance.get("/readyz").0, 503);
        assert_eq!(instance.get("/healthz").0, 200);
    }

    for number in 0..30 {
        assert_eq!(first.add(number), Some(u64::from(number)));
    }
    let (id, _) = first.add_v1(1);
    let checkpoint = first.get("/checkpoint").1;
    for instance in [&second, &reader] {
        instance.until("/checkpoint", |_, body| body == checkpoint);
        let tile = "/tile/0/000.p/30";
        assert_eq!(instance.get(tile), first.get(tile));
        instance.until(&format!("/api/v1/log/entries/{id}"), |status, _| {
            status == 200
        });
    }
    let (status, said) = second.ask("POST", "/api/v2/log/entries", &v2(99)).unwrap();
    assert!(
        status == 503 && said.contains("only reads the log"),
        "{said}"
    );
    let (status, said) = second.ask("POST", "/api/v1/log/entries", &v1(99)).unwrap();
    assert!(
        status == 503 && said.contains("only reads the log"),
        "{said}"
    );
    let (status, said) = reader.ask("POST", "/api/v2/log/entries", &v2(99)).unwrap();
    assert!(status == 405 && said.contains("frozen"), "{said}");

    first.kill();
    second.until("/readyz", |status, _| status == 200);
    assert_eq!(second.add(30), Some(30));
    second.add_v1(2);
    let checkpoint = second.get("/checkpoint").1;
    let opened = note::open(checkpoint.as_bytes(), &[site.verifier()]).unwrap();
    assert_eq!(opened.head().size, TreeSize::new(31));
    reader.until("/checkpoint", |_, body| body == checkpoint);
    assert_eq!(reader.get("/readyz").0, 503, "it never writes");
}

#[test]
fn a_v1_tree_is_begun_while_clients_write() {
    let site = Site::init(&["--without-search"]);
    let service = site.serve(&[]);
    let old = service.add_v1(0);
    assert_eq!(old.1, 0);
    let rotate = {
        let settings = site.settings();
        std::thread::spawn(move || works(&["rotate", "--config", &settings]))
    };
    // Nobody is turned away, and no index is given twice or left out.
    let mut number = 1;
    while !rotate.is_finished() || number < 60 {
        assert_eq!(service.add_v1(number).1, u64::from(number));
        number += 1;
    }
    let said = rotate.join().unwrap();
    assert!(said.ends_with("service     has the new tree\n"), "{said}");
    let root: Value =
        serde_json::from_str(&fs::read_to_string(site.path("trusted_root.fragment.json")).unwrap())
            .unwrap();
    let base_url = root["tlogs"][0]["baseUrl"].as_str().unwrap();
    assert!(
        said.contains(&format!("\"baseUrl\": \"{base_url}\"")),
        "{said}"
    );
    let info: Value = serde_json::from_str(&service.get("/api/v1/log").1).unwrap();
    let inactive = info["inactiveShards"].as_array().unwrap();
    assert_eq!(inactive.len(), 1);
    let sizes = inactive[0]["treeSize"].as_u64().unwrap() + info["treeSize"].as_u64().unwrap();
    assert_eq!(sizes, u64::from(number));
    assert!(inactive[0]["treeID"] != info["treeID"]);
    assert_eq!(
        service.get(&format!("/api/v1/log/entries/{}", old.0)).0,
        200
    );
    service.stop();
    // The settings have it too.
    let service = site.serve(&[]);
    assert_eq!(service.add_v1(number).1, u64::from(number));
    let none = Site::init(&["--without-v1"]);
    let said = fails(&["rotate", "--config", &none.settings()]);
    assert!(said.contains("only v1 logs have several trees"), "{said}");
}

/// Who reads beside the writer goes over to a new tree without a restart, and never believes that one has begun before it has.
#[test]
fn readers_take_up_a_tree_that_was_begun() {
    let site = Site::init(&["--without-search"]);
    let writer = site.serve(&[]);
    assert_eq!(writer.add_v1(0).1, 0);
    let port = free_port();
    let reader = Service::start(
        &site.settings_at("reader.toml", port),
        port,
        &["--read-only"],
    );
    let active = |service: &Service| {
        let info: Value = serde_json::from_str(&service.get("/api/v1/log").1).unwrap();
        info["treeID"].as_str().unwrap().to_owned()
    };
    let entry = |service: &Service, index: u32| {
        let path = format!("/api/v1/log/entries?logIndex={index}");
        let entry = service.until(&path, |status, _| status == 200);
        let entry: BTreeMap<String, Value> = serde_json::from_str(&entry).unwrap();
        let (id, entry) = entry.into_iter().next().unwrap();
        (id, entry["logIndex"].clone(), entry["body"].clone())
    };
    let first = active(&writer);
    works(&["rotate", "--config", &site.settings()]);
    for number in 1..4 {
        assert_eq!(writer.add_v1(number).1, u64::from(number));
    }
    // Not before its settings have it.
    assert_eq!(active(&reader), first);
    assert_eq!(reader.get("/api/v1/log/entries?logIndex=1").0, 404);
    site.settings_at("reader.toml", port);
    reader.until("/api/v1/log", |_, body| body.contains(&active(&writer)));
    assert_eq!(active(&reader), active(&writer));
    for index in 0..4 {
        assert_eq!(entry(&reader, index), entry(&writer, index));
    }

    // A tree that the settings have and nobody has begun: who starts now reads the others, and that one later.
    let second = active(&writer);
    writer.stop();
    works(&["rotate", "--config", &site.settings()]);
    site.settings_at("reader.toml", port);
    let port = free_port();
    let early = Service::start(
        &site.settings_at("early.toml", port),
        port,
        &["--read-only"],
    );
    assert_eq!(active(&early), second);
    assert_eq!(entry(&early, 3), entry(&reader, 3));
    let writer = site.serve(&[]);
    assert_eq!(writer.add_v1(4).1, 4);
    for reader in [&early, &reader] {
        reader.until("/api/v1/log", |_, body| body.contains(&active(&writer)));
        for index in 0..5 {
            assert_eq!(entry(reader, index), entry(&writer, index));
        }
    }
    writer.stop();

    // A tree that is not as long as it was when it ended.
    let mark = site.path(&format!("v1-{first}/successor"));
    assert_eq!(fs::read_to_string(&mark).unwrap(), format!("{second} 1\n"));
    fs::write(&mark, format!("{second} 2\n")).unwrap();
    let refused = fails(&["serve", "--no-standby", "--config", &site.settings()]);
    assert!(
        refused.contains("ended with 2 entries, and has 1 now"),
        "{refused}"
    );
    let refused = fails(&["fsck", "--config", &site.settings()]);
    assert!(refused.contains("had 2 entries, and it has 1"), "{refused}");
    fs::write(&mark, format!("{second} 1\n")).unwrap();
    works(&["fsck", "--config", &site.settings()]);
}

/// A standby knows of the tree that was begun while it waited; one with older settings does not take over.
#[test]
fn a_tree_that_was_followed_never_grows_again() {
    let site = Site::init(&["--without-search"]);
    let first = site.serve(&[]);
    let port = free_port();
    let other = site.settings_at("other.toml", port);
    let stale = fs::read_to_string(&other).unwrap();
    let second = Service::start(&other, port, &[]);
    assert_eq!(first.add_v1(0).1, 0);
    works(&["rotate", "--config", &site.settings()]);
    assert_eq!(first.add_v1(1).1, 1);
    // Its settings do not have the new tree yet.
    first.kill();
    let wait = std::time::Instant::now();
    while wait.elapsed() < std::time::Duration::from_millis(2500) {
        assert_eq!(second.get("/readyz").0, 503);
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    site.settings_at("other.toml", port);
    second.until("/readyz", |status, _| status == 200);
    assert_eq!(second.add_v1(2).1, 2);
    second.stop();
    fs::write(&other, stale).unwrap();
    let refused = fails(&["serve", "--no-standby", "--config", &other]);
    assert!(refused.contains("takes no entries any more"), "{refused}");
}

#[test]
fn a_backup_of_a_running_log_comes_back_and_an_old_one_does_not() {
    let site = Site::init(&["--without-search"]);
    let service = site.serve(&[]);
    for number in 0..40 {
        service.add(number).unwrap();
    }
    let (id, _) = service.add_v1(1);
    works(&["rotate", "--config", &site.settings()]);
    let copy = site.text("copy");
    let said = works(&["backup", "--config", &site.settings(), "--to", &copy]);
    assert_eq!(said.matches("sound:").count(), 3, "{said}");
    service.add(40).unwrap();
    // The copy of the checkpoint is behind the log by a second at most, and up to date when it ends.
    service.stop();
    let refused = fails(&["restore", "--config", &site.settings(), "--from", &copy]);
    assert!(refused.contains("is not empty"), "{refused}");
    fs::remove_dir_all(site.path("v2")).unwrap();
    for entry in fs::read_dir(site.folder.path()).unwrap() {
        let path = entry.unwrap().path();
        if path
            .file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .starts_with("v1-")
        {
            fs::remove_dir_all(path).unwrap();
        }
    }
    let refused = fails(&["restore", "--config", &site.settings(), "--from", &copy]);
    assert!(
        refused.contains("ends at 40 entries") && refused.contains("up to 41"),
        "{refused}"
    );
    assert!(!site.path("v2/wal").exists(), "nothing was written");

    // On another machine that never saw entry 40, and whose operator is sure of it.
    let checkpoint = site.path("checkpoints/v2");
    fs::remove_file(&checkpoint).unwrap();
    let refused = fails(&["restore", "--config", &site.settings(), "--from", &copy]);
    assert!(refused.contains("--without-guard"), "{refused}");
    works(&[
        "restore",
        "--config",
        &site.settings(),
        "--from",
        &copy,
        "--without-guard",
    ]);
    // The tree that was followed is still one that never grows.
    let folders = fs::read_dir(site.folder.path()).unwrap();
    let marks = folders.filter(|entry| entry.as_ref().unwrap().path().join("successor").exists());
    assert_eq!(marks.count(), 1);
    let service = site.serve(&[]);
    assert_eq!(service.add(77), Some(40));
    assert_eq!(service.get(&format!("/api/v1/log/entries/{id}")).0, 200);
    // The log grew out of what was copied, so the copy grows with it.
    works(&[
        "backup",
        "--config",
        &site.settings(),
        "--to",
        &copy,
        "--no-check",
    ]);
    let missing = fails(&[
        "restore",
        "--config",
        &site.settings(),
        "--from",
        "/nowhere",
    ]);
    assert!(missing.contains("/nowhere has no copy"), "{missing}");
}

#[test]
fn what_is_exported_can_be_checked_by_others() {
    let site = Site::init(&[]);
    let service = site.serve(&[]);
    for number in 0..300 {
        service.add(number).unwrap();
    }
    service.add_v1(1);
    let settings = site.settings();
    let text = works(&["export", "proof", "--config", &settings, "--index", "7"]);
    let (head, checkpoint) = text.split_once("\n\n").unwrap();
    let mut lines = head.lines();
    assert_eq!(lines.next(), Some("c2sp.org/tlog-proof@v1"));
    assert_eq!(lines.next(), Some("index 7"));
    let hashes: Vec<Hash> = lines
        .map(|line| Hash::from_slice(&STANDARD.decode(line).unwrap()).unwrap())
        .collect();
    let opened = note::open(checkpoint.as_bytes(), &[site.verifier()]).unwrap();
    let entries = works(&[
        "export", "entries", "--config", &settings, "--first", "5", "--count", "10",
    ]);
    let entries: Vec<Value> = entries
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(entries.len(), 10);
    assert_eq!(entries[2]["logIndex"], "7");
    let body = STANDARD
        .decode(entries[2]["canonicalizedBody"].as_str().unwrap())
        .unwrap();
    proof::verify_inclusion(
        &hash::leaf(&body),
        LeafIndex::new(7),
        &hashes,
        opened.head(),
    )
    .unwrap();
    let beyond = fails(&["export", "proof", "--config", &settings, "--index", "300"]);
    assert!(beyond.contains("has 300 entries"), "{beyond}");

    let tiles = site.text("static");
    let said = works(&["export", "tiles", "--config", &settings, "--to", &tiles]);
    assert!(said.starts_with("300 entries of localhost"), "{said}");
    for path in [
        "checkpoint",
        "tile/0/000",
        "tile/0/001.p/44",
        "tile/1/000.p/1",
        "tile/entries/000",
        "tile/entries/001.p/44",
    ] {
        let there = fs::read(Path::new(&tiles).join(path)).unwrap();
        let (status, served) = service.get(&format!("/{path}"));
        assert_eq!(status, 200);
        if path == "checkpoint" {
            assert_eq!(served.as_bytes(), there);
        }
        assert!(!there.is_empty(), "{path}");
    }
    let tree = fs::read_to_string(&settings).unwrap();
    let tree = tree
        .lines()
        .find_map(|line| line.strip_prefix("tree_id = "))
        .unwrap()
        .to_owned();
    let entries = works(&["export", "entries", "--config", &settings, "--tree", &tree]);
    let entry: Value = serde_json::from_str(entries.trim_end()).unwrap();
    assert!(
        entry["integratedTime"]
            .as_str()
            .unwrap()
            .parse::<u64>()
            .unwrap()
            > 1_700_000_000
    );
    let refused = fails(&[
        "export", "tiles", "--config", &settings, "--tree", &tree, "--to", &tiles,
    ]);
    assert!(refused.contains("export its entries"), "{refused}");
    let refused = fails(&["export", "entries", "--config", &settings, "--tree", "5"]);
    assert!(refused.contains("no tree 5"), "{refused}");
}

#[test]
fn keys_are_made_with_their_verifier_keys() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let log = works(&[
        "keygen",
        "--out",
        &path("log.pem"),
        "--name",
        "rekor.example.org",
    ]);
    assert_eq!(
        log.trim_end().parse::<VerifierKey>().unwrap().name(),
        "rekor.example.org"
    );
    for (kind, file) in [("ed25519", "w1.pem"), ("ml-dsa44", "w2.pem")] {
        let vkey = works(&[
            "keygen",
            "--kind",
            kind,
            "--out",
            &path(file),
            "--name",
            "w",
            "--witness",
        ]);
        assert_eq!(
            vkey.trim_end().parse::<note::CosignerKey>().unwrap().name(),
            "w"
        );
    }
    assert_eq!(
        works(&["keygen", "--kind", "ecdsa-p256", "--out", &path("v1.pem")]),
        ""
    );
    let again = fails(&["keygen", "--out", &path("log.pem")]);
    assert!(again.contains("cannot create it"), "{again}");
    let odd = fails(&[
        "keygen",
        "--kind",
        "ecdsa-p256",
        "--out",
        &path("x.pem"),
        "--name",
        "w",
        "--witness",
    ]);
    assert!(odd.contains("ed25519 or ml-dsa44"), "{odd}");
}

#[test]
fn the_program_explains_itself() {
    let help = works(&["--help"]);
    for command in [
        "serve", "init", "fsck", "backup", "restore", "rotate", "freeze", "export", "witness",
        "keygen",
    ] {
        assert!(
            help.contains(&format!("\n  {command} ")),
            "{command}: {help}"
        );
    }
    assert!(works(&["completion", "bash"]).contains("rekor-rs"));
    let folder = tempfile::tempdir().unwrap();
    works(&["man", folder.path().to_str().unwrap()]);
    assert!(folder.path().join("rekor-rs-backup.1").is_file());
    let nothing = run(&[]);
    assert_eq!(nothing.status.code(), Some(2));
    let nothing = String::from_utf8(nothing.stderr).unwrap();
    assert!(nothing.contains("--config FILE"), "{nothing}");
}
