//! `kill -9` of a process under load, on a real file system: every entry that it acknowledged is there afterwards.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    missing_docs,
    reason = "a panic is a test's report; the child talks to its parent over stdout"
)]

mod common;

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use common::{Named, clock, name_of, named, read_all, signer, verifier};
use sequencer::{Config, Log, fsck};
use tlog::LeafIndex;

const FOLDER: &str = "SEQUENCER_KILL_TEST_FOLDER";
const FIRST: &str = "SEQUENCER_KILL_TEST_FIRST";

fn config(folder: &Path) -> Config {
    Config {
        segment_bytes: 40_000,
        checkpoint_copy: Some(folder.join("copy/last")),
        ..Config::new(folder.join("log"))
    }
}

/// Not a test of its own: the process that is killed. Without the variable it does nothing.
#[tokio::test(flavor = "multi_thread")]
async fn child() {
    let Some(folder) = std::env::var_os(FOLDER) else {
        return;
    };
    let first: u64 = std::env::var(FIRST).unwrap().parse().unwrap();
    let log = Log::<Named>::open(config(Path::new(&folder)), signer(), clock())
        .await
        .unwrap();
    let tasks: Vec<_> = (0..32)
        .map(|lane| {
            let log = log.clone();
            tokio::spawn(async move {
                for number in 0.. {
                    let name = first + lane * 100_000 + number;
                    let appended = log.append(named(name)).await.unwrap();
                    let line = format!("\nack {} {name}\n", appended.inclusion.index);
                    std::io::stdout().write_all(line.as_bytes()).unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let mut acknowledged = BTreeMap::new();
    for round in 0..4_u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["child", "--exact", "--nocapture"])
            .env(FOLDER, folder.path())
            .env(FIRST, (round * 10_000_000).to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        let mut heard = 0;
        while heard < 300 + round * 97 {
            line.clear();
            assert!(
                output.read_line(&mut line).unwrap() > 0,
                "the child ended by itself"
            );
            heard += u64::from(note(&line, &mut acknowledged));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let mut rest = String::new();
        output.read_to_string(&mut rest).unwrap();
        // The last line may be cut, and then it tells nothing.
        let whole = rest.rfind('\n').map_or("", |end| &rest[..end]);
        for line in whole.lines() {
            note(line, &mut acknowledged);
        }

        fsck::<Named>(&config(folder.path()), &verifier()).unwrap();
        let log = Log::<Named>::open(config(folder.path()), signer(), clock())
            .await
            .unwrap();
        for (index, name) in &acknowledged {
            let entry = log
                .entry(LeafIndex::new(*index))
                .await
                .unwrap()
                .expect("acknowledged, so there");
            assert_eq!(name_of(&entry), format!("entry {name}"));
        }
        read_all(&log).await;
        log.close().await;
        assert!(
            fsck::<Named>(&config(folder.path()), &verifier())
                .unwrap()
                .notes
                .is_empty()
        );
    }
    assert!(
        acknowledged.len() > 1000,
        "{} acknowledged",
        acknowledged.len()
    );
}

fn note(line: &str, acknowledged: &mut BTreeMap<u64, u64>) -> bool {
    let mut words = line.split_whitespace();
    if words.next() != Some("ack") {
        return false;
    }
    let (Some(index), Some(name)) = (words.next(), words.next()) else {
        return false;
    };
    let before = acknowledged.insert(index.parse().unwrap(), name.parse().unwrap());
    assert_eq!(before, None, "place {index} was given twice");
    true
}
