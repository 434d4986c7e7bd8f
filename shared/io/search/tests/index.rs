//! One suite, on both places an index may be in: against a list of all leaves, with several who write, and with servers that stop.
//!
//! PostgreSQL is the server that `cargo xtask peers test` starts (`CLUSTER_TEST_DATABASE`); without it each test says that it was skipped there.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    missing_docs,
    reason = "a panic is the failure report"
)]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use search::{Found, Index, IndexError, Mode, Place, Span, Tree};
use sqlx::Connection as _;
use sqlx::SqliteConnection;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::sqlite::SqliteConnectOptions;
use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Longest statement in these tests.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Of the log that the trees belong to.
const LOG: &[u8] = b"id of a key";
/// One test restarts the server; the others share it.
static SERVER: RwLock<()> = RwLock::const_new(());

/// An empty place for an index, for one test.
enum Ground {
    File(tempfile::TempDir),
    /// A schema that no other test and no other run has.
    Schema(Box<PgConnectOptions>),
}

impl Ground {
    fn file() -> Self {
        Self::File(tempfile::tempdir().unwrap())
    }

    async fn schema() -> Option<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let Ok(server) = std::env::var("CLUSTER_TEST_DATABASE") else {
            eprintln!(
                "skipped on PostgreSQL: no CLUSTER_TEST_DATABASE; cargo xtask peers test starts it"
            );
            return None;
        };
        let tls = match std::env::var("CLUSTER_TEST_ROOTS") {
            Ok(roots) => format!("verify-full&sslrootcert={roots}"),
            Err(_) => "disable".to_owned(),
        };
        let url = format!("postgres://log@{server}/postgres?sslmode={tls}");
        let options: PgConnectOptions = url.parse().unwrap();
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
        let schema = format!("s{}_{}_{number}", now.as_micros(), std::process::id());
        let mut connection = PgConnection::connect_with(&options).await.unwrap();
        // The name is letters, digits and underscores.
        let make = sqlx::AssertSqlSafe(format!("CREATE SCHEMA {schema}"));
        sqlx::query(make).execute(&mut connection).await.unwrap();
        let options = options.options([("search_path", schema)]);
        Some(Self::Schema(Box::new(options)))
    }

    async fn open(&self) -> Index {
        self.try_open().await.unwrap()
    }

    async fn try_open(&self) -> Result<Index, IndexError> {
        match self {
            Self::File(folder) => Index::open(&folder.path().join("index")).await,
            Self::Schema(options) => Index::open_shared((**options).clone(), TIMEOUT).await,
        }
    }

    /// Besides the index.
    async fn connection(&self) -> PgConnection {
        match self {
            Self::File(_) => panic!("a file has none"),
            Self::Schema(options) => PgConnection::connect_with(options).await.unwrap(),
        }
    }
}

/// Runs a test on each.
async fn everywhere(test: impl AsyncFn(Arc<Ground>)) {
    test(Arc::new(Ground::file())).await;
    let _shared = SERVER.read().await;
    if let Some(schema) = Ground::schema().await {
        test(Arc::new(schema)).await;
    }
}

async fn on_the_server() -> Option<(Ground, RwLockReadGuard<'static, ()>)> {
    let shared = SERVER.read().await;
    Some((Ground::schema().await?, shared))
}

async fn alone_on_the_server() -> Option<(Ground, RwLockWriteGuard<'static, ()>)> {
    let alone = SERVER.write().await;
    Some((Ground::schema().await?, alone))
}

fn keys(leaf: &[u8]) -> Vec<String> {
    leaf.iter().map(|key| format!("Key{key}")).collect()
}

fn one(key: &str) -> Vec<String> {
    vec![key.to_owned()]
}

fn length(count: usize) -> u64 {
    u64::try_from(count).unwrap()
}

fn leaves(found: &Found) -> Vec<u64> {
    found.places.iter().map(|place| place.leaf).collect()
}

/// All leaves of a tree that have a key, as far as ten.
async fn found(index: &Index, key: &str, tree: i64) -> Vec<u64> {
    let (keys, scope) = (one(key), [whole(tree)]);
    let found = index.find(&keys, Mode::Any, &scope, None, 10).await;
    leaves(&found.unwrap())
}

/// All of a tree.
fn whole(tree: i64) -> Span {
    Span {
        tree,
        until: u64::try_from(i64::MAX).unwrap(),
    }
}

async fn all(
    index: &Index,
    wanted: &[String],
    mode: Mode,
    scope: &[Span],
    limit: usize,
) -> Vec<Place> {
    let mut places = Vec::new();
    let mut from = None;
    loop {
        let found = index.find(wanted, mode, scope, from, limit).await.unwrap();
        assert!(found.places.len() <= limit);
        places.extend(found.places);
        match found.next {
            Some(next) => from = Some(next),
            None => return places,
        }
    }
}

fn naive(trees: &[Vec<Vec<u8>>], scope: &[Span], wanted: &[u8], mode: Mode) -> Vec<Place> {
    let mut places = Vec::new();
    for (tree, span) in trees.iter().zip(scope) {
        for (leaf, keys) in (0..span.until).zip(tree) {
            let fits = match mode {
                Mode::Any => wanted.iter().any(|key| keys.contains(key)),
                Mode::All => !wanted.is_empty() && wanted.iter().all(|key| keys.contains(key)),
            };
            if fits {
                places.push(Place {
                    tree: span.tree,
                    leaf,
                });
            }
        }
    }
    places
}

#[tokio::test(flavor = "multi_thread")]
async fn finds_what_a_list_would() {
    everywhere(async |ground| {
        let index = ground.open().await;
        let runtime = tokio::runtime::Handle::current();
        let case = AtomicU64::new(0);
        let trees = prop::collection::vec(
            prop::collection::vec(prop::collection::vec(0_u8..6, 0..4), 0..20),
            1..4,
        );
        let strategy = (
            trees,
            prop::collection::vec(0_u64..25, 3),
            prop::collection::vec(0_u8..7, 0..4),
            (1_usize..6, 1_usize..7),
        );
        let check = |trees: &[Vec<Vec<u8>>], until: &[u64], wanted: &[u8], (limit, piece)| {
            let case = case.fetch_add(1, Ordering::Relaxed);
            runtime.block_on(async {
                let mut scope = Vec::new();
                for (number, leaves) in trees.iter().enumerate() {
                    let name = format!("{case}-{number}");
                    let mut tree = index.tree(&name, LOG).await.unwrap();
                    for piece in leaves.chunks(piece) {
                        let piece: Vec<_> = piece.iter().map(|leaf| keys(leaf)).collect();
                        tree.add(&piece, b"last").await.unwrap();
                    }
                    assert_eq!(tree.indexed(), length(leaves.len()));
                    scope.push(Span {
                        tree: tree.id(),
                        until: until[number],
                    });
                }
                // What it has of other trees is not ours, however much of it there is.
                for mode in [Mode::Any, Mode::All] {
                    let found = all(&index, &keys(wanted), mode, &scope, limit).await;
                    assert_eq!(found, naive(trees, &scope, wanted, mode), "{mode:?}");
                }
                let nowhere = index.find(&keys(wanted), Mode::Any, &[], None, 9).await;
                assert_eq!(nowhere.unwrap(), Found::default());
            });
        };
        tokio::task::block_in_place(|| {
            TestRunner::new(Config {
                failure_persistence: None,
                ..Config::with_cases(24)
            })
            .run(&strategy, |(trees, until, wanted, sizes)| {
                check(&trees, &until, &wanted, sizes);
                Ok(())
            })
            .unwrap();
        });
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_goes_on_where_it_was_and_the_mark_moves_for_one() {
    everywhere(async |ground| {
        let key = one("KEY");
        let mut first = ground.open().await.tree("log", LOG).await.unwrap();
        let three = [key.clone(), Vec::new(), key.clone()];
        first.add(&three, b"c").await.unwrap();
        first.add(&[], b"nothing").await.unwrap();
        assert_eq!(first.last(), Some(&b"c"[..]));
        let index = ground.open().await;
        let mut second = index.tree("log", LOG).await.unwrap();
        assert_eq!((second.id(), second.indexed()), (first.id(), 3));
        assert_eq!(second.last(), Some(&b"c"[..]));
        second.add(std::slice::from_ref(&key), b"d").await.unwrap();
        let late = first.add(std::slice::from_ref(&key), b"e").await;
        assert!(matches!(late, Err(IndexError::Moved)), "{late:?}");
        assert_eq!(found(&index, "key", second.id()).await, [0, 2, 3]);
        first.refresh().await.unwrap();
        assert_eq!((first.indexed(), first.last()), (4, Some(&b"d"[..])));
        let marks = index.marks(&["log", "nobody's"]).await.unwrap();
        assert_eq!((marks.len(), marks[0].indexed), (1, 4));
        assert_eq!((marks[0].tree, marks[0].name.as_str()), (first.id(), "log"));
        let scope = [whole(first.id())];
        let nothing = index.find(&[], Mode::All, &scope, None, 10).await;
        assert_eq!(nothing.unwrap(), Found::default());
    })
    .await;
}

/// The mark may be where it is expected, and the log another one: what the last leaf is told by is compared as well.
#[tokio::test(flavor = "multi_thread")]
async fn who_follows_another_history_adds_nothing() {
    everywhere(async |ground| {
        let index = ground.open().await;
        let mut ours = index.tree("log", LOG).await.unwrap();
        ours.add(&[one("a")], b"ours").await.unwrap();
        // As after a server's crash that took back what we added, and somebody else's addition.
        match &*ground {
            Ground::File(folder) => {
                let options = SqliteConnectOptions::new().filename(folder.path().join("index"));
                let mut file = SqliteConnection::connect_with(&options).await.unwrap();
                let other = sqlx::query("UPDATE trees SET last = x'00'");
                other.execute(&mut file).await.unwrap();
            }
            Ground::Schema(_) => {
                let other = sqlx::query("UPDATE search_trees SET last = decode('00', 'hex')");
                let mut connection = ground.connection().await;
                other.execute(&mut connection).await.unwrap();
            }
        }
        let late = ours.add(&[one("x")], b"more").await;
        assert!(matches!(late, Err(IndexError::Moved)), "{late:?}");
        assert!(found(&index, "x", ours.id()).await.is_empty());
        ours.refresh().await.unwrap();
        assert_eq!((ours.indexed(), ours.last()), (1, Some(&[0][..])));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tree_of_another_log_is_refused_until_it_is_begun_anew() {
    everywhere(async |ground| {
        let index = ground.open().await;
        let mut old = index.tree("log", LOG).await.unwrap();
        old.add(&[one("a"), one("a")], b"last").await.unwrap();
        let refused = index.tree("log", b"id of another key").await.unwrap_err();
        assert!(
            matches!(&refused, IndexError::OtherLog(name) if name == "log"),
            "{refused}"
        );
        assert!(!refused.passes());
        let new = index.begin_anew("log", b"id of another key").await.unwrap();
        assert_eq!((new.indexed(), new.last()), (0, None));
        assert!(new.id() > old.id(), "a number that none had");
        let late = old.add(&[one("a")], b"more").await;
        assert!(matches!(late, Err(IndexError::Moved)), "{late:?}");
        assert!(matches!(old.refresh().await, Err(IndexError::OtherLog(_))));
        for _ in 0..2 {
            assert!(found(&index, "a", new.id()).await.is_empty());
            index.sweep().await.unwrap();
        }
        if let Ground::Schema(_) = &*ground {
            // Nothing is left of it.
            let left =
                "SELECT (SELECT count(*) FROM search_places), (SELECT count(*) FROM search_trees)";
            let mut connection = ground.connection().await;
            let left: (i64, i64) = sqlx::query_as(left)
                .fetch_one(&mut connection)
                .await
                .unwrap();
            assert_eq!(left, (0, 1));
        }
        // One that was never there.
        let other = index.begin_anew("other", LOG).await.unwrap();
        assert_eq!(other.indexed(), 0);
        assert_ne!(other.id(), new.id());
    })
    .await;
}

/// A log of 400 leaves; each has the key that all have, and one of seven.
fn leaf(number: u64) -> Vec<String> {
    vec!["all".to_owned(), format!("k{}", number % 7)]
}

fn told(number: u64) -> Vec<u8> {
    number.to_be_bytes().to_vec()
}

/// As an instance does it: what it knows is added, and where the mark has moved it goes on from there.
async fn index_all(mut tree: Tree, size: u64, piece: u64) -> Result<(), IndexError> {
    while tree.indexed() < size {
        let end = tree.indexed().saturating_add(piece).min(size);
        let rows: Vec<_> = (tree.indexed()..end).map(leaf).collect();
        match tree.add(&rows, &told(end - 1)).await {
            Ok(()) => {}
            Err(IndexError::Moved) => tree.refresh().await?,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// What a front end says of the tree: all that is before the mark is found, if the tree has the same number before and after. How far that was.
async fn ask(index: &Index) -> Result<u64, IndexError> {
    let before = index.marks(&["log"]).await?;
    let Some(mark) = before.first() else {
        return Ok(0);
    };
    let span = Span {
        tree: mark.tree,
        until: mark.indexed,
    };
    let mut found = Vec::new();
    let mut from = None;
    loop {
        let page = index
            .find(&one("all"), Mode::Any, &[span], from, 150)
            .await?;
        found.extend(leaves(&page));
        match page.next {
            Some(next) => from = Some(next),
            None => break,
        }
    }
    let after = index.marks(&["log"]).await?;
    if after.first().map(|mark| mark.tree) == Some(mark.tree) && after[0].indexed >= mark.indexed {
        assert_eq!(found, (0..mark.indexed).collect::<Vec<_>>());
    }
    Ok(mark.indexed)
}

async fn complete(index: &Index, size: u64) {
    assert_eq!(ask(index).await.unwrap(), size);
    let tree = index.tree("log", LOG).await.unwrap();
    for key in 0..7 {
        let expected: Vec<_> = (0..size).filter(|leaf| leaf % 7 == key).collect();
        let scope = [whole(tree.id())];
        let places = all(index, &one(&format!("k{key}")), Mode::Any, &scope, 50).await;
        let found: Vec<_> = places.iter().map(|place| place.leaf).collect();
        assert_eq!(found, expected, "k{key}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn several_who_write_at_once_skip_nothing() {
    const SIZE: u64 = 400;
    everywhere(async |ground| {
        let done = Arc::new(AtomicBool::new(false));
        // An index each, as several processes have it.
        let mut writers = Vec::new();
        for piece in [1, 3, 7] {
            let tree = ground.open().await.tree("log", LOG).await.unwrap();
            writers.push(tokio::spawn(index_all(tree, SIZE, piece)));
        }
        let reader = ground.open().await;
        let asking = tokio::spawn({
            let (reader, done) = (reader.clone(), done.clone());
            async move {
                let mut furthest = 0;
                while !done.load(Ordering::Relaxed) {
                    let indexed = ask(&reader).await.unwrap();
                    assert!(indexed >= furthest, "the mark went back");
                    furthest = indexed;
                }
            }
        });
        for writer in writers {
            writer.await.unwrap().unwrap();
        }
        done.store(true, Ordering::Relaxed);
        asking.await.unwrap();
        complete(&reader, SIZE).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_is_begun_anew_under_its_writers_becomes_whole_again() {
    const SIZE: u64 = 300;
    everywhere(async |ground| {
        let index = ground.open().await;
        let done = Arc::new(AtomicBool::new(false));
        let mut tasks = Vec::new();
        for piece in [2, 5] {
            let (ground, done) = (ground.clone(), done.clone());
            tasks.push(tokio::spawn(async move {
                let index = ground.open().await;
                while !done.load(Ordering::Relaxed) {
                    let tree = index.tree("log", LOG).await.unwrap();
                    index_all(tree, SIZE, piece).await.unwrap();
                    tokio::task::yield_now().await;
                }
            }));
        }
        for _ in 0..2 {
            let (reader, done) = (index.clone(), done.clone());
            tasks.push(tokio::spawn(async move {
                while !done.load(Ordering::Relaxed) {
                    ask(&reader).await.unwrap();
                }
            }));
        }
        for _ in 0..5 {
            while ask(&index).await.unwrap() < SIZE / 2 {}
            index.begin_anew("log", LOG).await.unwrap();
            index.sweep().await.unwrap();
        }
        while ask(&index).await.unwrap() < SIZE {}
        done.store(true, Ordering::Relaxed);
        for task in tasks {
            task.await.unwrap();
        }
        complete(&index, SIZE).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_open_an_empty_place_at_once() {
    everywhere(async |ground| {
        let mut opening = Vec::new();
        for _ in 0..8 {
            let ground = ground.clone();
            opening.push(tokio::spawn(async move {
                let index = ground.try_open().await?;
                Ok::<_, IndexError>(index.tree("log", LOG).await?.id())
            }));
        }
        let mut ids = Vec::new();
        for opened in opening {
            ids.push(opened.await.unwrap().unwrap());
        }
        ids.dedup();
        assert_eq!(ids.len(), 1, "one tree for all");
    })
    .await;
}

#[tokio::test]
async fn a_file_that_is_no_index_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("index");
    std::fs::write(
        &file,
        "this is not a database, but long enough to be read as one".repeat(100),
    )
    .unwrap();
    assert!(matches!(
        Index::open(&file).await,
        Err(IndexError::Database(_))
    ));
    let nothing = folder.path().join("nothing");
    assert!(Index::open_existing(&nothing).await.is_err());
    assert!(!nothing.exists());
}

/// One process fills it, another one of this machine asks.
#[tokio::test]
async fn a_file_is_read_beside_its_writer() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("index");
    let mut tree = Index::open(&file)
        .await
        .unwrap()
        .tree("log", LOG)
        .await
        .unwrap();
    let reader = Index::open_existing(&file).await.unwrap();
    assert_eq!(ask(&reader).await.unwrap(), 0);
    tree.add(&[leaf(0)], &told(0)).await.unwrap();
    assert_eq!(ask(&reader).await.unwrap(), 1);
    assert_eq!(reader.tree("log", LOG).await.unwrap().indexed(), 1);
}

async fn file_of_version(file: &Path, version: i64) {
    let options = SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(true);
    let mut old = SqliteConnection::connect_with(&options).await.unwrap();
    for statement in [
        "CREATE TABLE trees (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, indexed INTEGER NOT NULL, last BLOB) STRICT",
        "CREATE TABLE places (key BLOB NOT NULL, tree INTEGER NOT NULL, leaf INTEGER NOT NULL, PRIMARY KEY (key, tree, leaf)) STRICT, WITHOUT ROWID",
        "INSERT INTO trees VALUES (1, 'log', 3, x'61')",
    ] {
        sqlx::query(statement).execute(&mut old).await.unwrap();
    }
    let mark = sqlx::AssertSqlSafe(format!("PRAGMA user_version = {version}"));
    sqlx::query(mark).execute(&mut old).await.unwrap();
    old.close().await.unwrap();
}

#[tokio::test]
async fn a_file_of_an_older_version_goes_on_and_one_of_a_newer_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("old");
    file_of_version(&file, 1).await;
    for _ in 0..2 {
        let index = Index::open(&file).await.unwrap();
        let tree = index.tree("log", LOG).await.unwrap();
        assert_eq!((tree.indexed(), tree.last()), (3, Some(&b"a"[..])));
        let refused = index.tree("log", b"another").await;
        assert!(matches!(refused, Err(IndexError::OtherLog(_))));
    }
    let file = folder.path().join("new");
    file_of_version(&file, 3).await;
    for opened in [Index::open(&file).await, Index::open_existing(&file).await] {
        assert!(matches!(opened, Err(IndexError::Version(3))));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_of_a_newer_version_are_refused() {
    let Some((ground, _shared)) = on_the_server().await else {
        return;
    };
    drop(ground.open().await);
    let mut connection = ground.connection().await;
    let newer = sqlx::query("UPDATE search_version SET version = 3");
    newer.execute(&mut connection).await.unwrap();
    let refused = ground.try_open().await;
    assert!(
        matches!(refused, Err(IndexError::Version(3))),
        "{refused:?}"
    );
}

/// What is locked is waited for, and not for ever; and nothing is left half done.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_waits_for_ever() {
    let Some((ground, _shared)) = on_the_server().await else {
        return;
    };
    let index = ground.open().await;
    let mut tree = index.tree("log", LOG).await.unwrap();
    let mut connection = ground.connection().await;
    let mut holding = connection.begin().await.unwrap();
    let lock = sqlx::query("SELECT FROM search_trees WHERE name = 'log' FOR UPDATE");
    lock.execute(&mut *holding).await.unwrap();
    let begun = Instant::now();
    let late = tree.add(&[leaf(0)], &told(0)).await;
    assert!(late.as_ref().is_err_and(IndexError::passes), "{late:?}");
    assert!(begun.elapsed() < 3 * TIMEOUT, "{:?}", begun.elapsed());
    // Questions do not wait for whoever writes.
    assert_eq!(ask(&index).await.unwrap(), 0);
    let table = sqlx::query("LOCK TABLE search_places IN ACCESS EXCLUSIVE MODE");
    table.execute(&mut *holding).await.unwrap();
    let scope = [whole(tree.id())];
    let begun = Instant::now();
    let asked = (0..8).map(|_| {
        let index = index.clone();
        tokio::spawn(async move { index.find(&one("all"), Mode::Any, &scope, None, 9).await })
    });
    for asked in asked.collect::<Vec<_>>() {
        let late = asked.await.unwrap();
        assert!(late.as_ref().is_err_and(IndexError::passes), "{late:?}");
    }
    assert!(begun.elapsed() < 4 * TIMEOUT, "{:?}", begun.elapsed());
    holding.rollback().await.unwrap();
    index_all(tree, 20, 7).await.unwrap();
    complete(&index, 20).await;
}

/// However many ask, the server has few connections of this process.
#[tokio::test(flavor = "multi_thread")]
async fn connections_are_bounded() {
    let Some((ground, _alone)) = alone_on_the_server().await else {
        return;
    };
    let mut connection = ground.connection().await;
    let mut count = async || -> i64 {
        let name = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'sigstore search index'";
        let count = sqlx::query_scalar(name).fetch_one(&mut connection);
        count.await.unwrap()
    };
    // Of the tests before, which are on their way out.
    while count().await > 0 {
        tokio::task::yield_now().await;
    }
    let index = ground.open().await;
    let tree = index.tree("log", LOG).await.unwrap();
    index_all(tree, 50, 10).await.unwrap();
    let asking: Vec<_> = (0..100)
        .map(|_| {
            let index = index.clone();
            tokio::spawn(async move { ask(&index).await.unwrap() })
        })
        .collect();
    for asked in asking {
        assert_eq!(asked.await.unwrap(), 50);
    }
    // Four for questions and two for who writes; what was needed once stays for a while.
    let count = count().await;
    assert!((2..=6).contains(&count), "{count}");
}

/// A crash of the server takes back whole transactions: what the mark says is there, and what is missing is added again.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_crashes_leaves_mark_and_rows_as_one() {
    const SIZE: u64 = 4000;
    let Ok(restart) = std::env::var("CLUSTER_TEST_RESTART") else {
        eprintln!("skipped: no CLUSTER_TEST_RESTART; cargo xtask peers test says how");
        return;
    };
    let Some((ground, _alone)) = alone_on_the_server().await else {
        return;
    };
    let ground = Arc::new(ground);
    let writer = tokio::spawn({
        let ground = ground.clone();
        async move {
            loop {
                let again = async {
                    let tree = ground.try_open().await?.tree("log", LOG).await?;
                    index_all(tree, SIZE, 3).await
                };
                match again.await {
                    Ok(()) => return,
                    Err(error) => assert!(error.passes(), "{error:?}"),
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    });
    let index = ground.open().await;
    let mut crashes = 0_u32;
    for past in [100, 1000, 2000] {
        while ask(&index).await.is_ok_and(|indexed| indexed < past) {}
        let command = restart.clone();
        let restarted = tokio::task::spawn_blocking(move || {
            let output = std::process::Command::new("sh")
                .args(["-c", &command])
                .output();
            output.unwrap().status.success()
        });
        assert!(restarted.await.unwrap());
        crashes += 1;
        loop {
            match ask(&index).await {
                Ok(_) => break,
                Err(error) => assert!(error.passes(), "{error:?}"),
            }
        }
    }
    writer.await.unwrap();
    assert_eq!(crashes, 3);
    complete(&index, SIZE).await;
}
