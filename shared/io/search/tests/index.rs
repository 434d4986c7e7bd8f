//! The index against a list of all leaves.
#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a panic is the failure report"
)]

use std::path::Path;

use proptest::prelude::*;
use search::{Found, Index, IndexError, Mode, Place};

fn keys(leaf: &[u8]) -> Vec<String> {
    leaf.iter().map(|key| format!("Key{key}")).collect()
}

async fn all(index: &Index, wanted: &[String], mode: Mode, limit: usize) -> Vec<Place> {
    let mut places = Vec::new();
    let mut from = None;
    loop {
        let found = index.find(wanted, mode, from, limit).await.unwrap();
        assert!(found.places.len() <= limit);
        places.extend(found.places);
        match found.next {
            Some(next) => from = Some(next),
            None => return places,
        }
    }
}

fn naive(trees: &[Vec<Vec<u8>>], ids: &[i64], wanted: &[u8], mode: Mode) -> Vec<Place> {
    let mut places = Vec::new();
    for (tree, id) in trees.iter().zip(ids) {
        for (leaf, keys) in tree.iter().enumerate() {
            let fits = match mode {
                Mode::Any => wanted.iter().any(|key| keys.contains(key)),
                Mode::All => !wanted.is_empty() && wanted.iter().all(|key| keys.contains(key)),
            };
            if fits {
                places.push(Place {
                    tree: *id,
                    leaf: leaf.try_into().unwrap(),
                });
            }
        }
    }
    places
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn finds_what_a_list_would(
        trees in prop::collection::vec(prop::collection::vec(prop::collection::vec(0_u8..6, 0..4), 0..20), 1..3),
        wanted in prop::collection::vec(0_u8..7, 0..4),
        limit in 1_usize..6,
        piece in 1_usize..7,
    ) {
        let folder = tempfile::tempdir().unwrap();
        runtime().block_on(async {
            let index = Index::open(&folder.path().join("index")).await.unwrap();
            let mut ids = Vec::new();
            for (name, leaves) in trees.iter().enumerate() {
                let mut tree = index.tree(&name.to_string()).await.unwrap();
                ids.push(tree.id());
                for piece in leaves.chunks(piece) {
                    let piece: Vec<_> = piece.iter().map(|leaf| keys(leaf)).collect();
                    tree.add(&piece, b"last").await.unwrap();
                }
                assert_eq!(tree.indexed(), u64::try_from(leaves.len()).unwrap());
            }
            for mode in [Mode::Any, Mode::All] {
                let found = all(&index, &keys(&wanted), mode, limit).await;
                assert_eq!(found, naive(&trees, &ids, &wanted, mode), "{mode:?}");
            }
        });
    }
}

async fn open(file: &Path) -> Index {
    Index::open(file).await.unwrap()
}

#[tokio::test]
async fn it_goes_on_where_it_was_and_has_one_writer() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("index");
    let key = vec!["KEY".to_owned()];
    let mut first = open(&file).await.tree("log").await.unwrap();
    first
        .add(&[key.clone(), Vec::new(), key.clone()], b"c")
        .await
        .unwrap();
    let index = open(&file).await;
    let mut second = index.tree("log").await.unwrap();
    assert_eq!((second.id(), second.indexed()), (first.id(), 3));
    assert_eq!(second.last(), Some(&b"c"[..]));
    second.add(std::slice::from_ref(&key), b"d").await.unwrap();
    assert!(matches!(
        first.add(std::slice::from_ref(&key), b"e").await,
        Err(IndexError::Moved)
    ));
    let lower = ["key".to_owned()];
    let leaves = |found: Found| {
        found
            .places
            .into_iter()
            .map(|place| place.leaf)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        leaves(index.find(&lower, Mode::Any, None, 10).await.unwrap()),
        [0, 2, 3]
    );
    second.clear().await.unwrap();
    assert_eq!(second.indexed(), 0);
    assert_eq!(
        index.find(&lower, Mode::Any, None, 10).await.unwrap(),
        Found::default()
    );
    assert_eq!(
        index.find(&[], Mode::All, None, 10).await.unwrap(),
        Found::default()
    );
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
}
