//! The reading side of RFC 6962 against the tiles of the same log, and against the tree of the RFC's text.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs,
    reason = "a panic is a test's report"
)]

mod common;

use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use common::{Ca, Log, START_MS, config, key, log, log_of, naive_root};
use ct::{
    Consistency, Entries, EntryAndProof, ProofByHash, SignedTreeHead, parse_extra_data,
    parse_tile_leaf,
};
use keys::Algorithm;
use serde::de::DeserializeOwned;
use tlog::{Hash, LeafIndex, TreeHead, TreeSize, hash, proof};
use url::form_urlencoded::byte_serialize;
use wire::encoding::Bytes;

async fn ask<T: DeserializeOwned>(log: &Log, path: &str) -> T {
    serde_json::from_value(log.ask(&format!("/test/ct/v1/{path}")).await).unwrap()
}

fn hashes(bytes: &[Bytes]) -> Vec<Hash> {
    let hash = |bytes: &Bytes| Hash::from_slice(&bytes.0).unwrap();
    bytes.iter().map(hash).collect()
}

fn escaped(hash: &Hash) -> String {
    byte_serialize(Bytes::encode(hash.as_bytes()).as_bytes()).collect()
}

/// All leaves, as get-entries shows them.
async fn all(log: &Log, size: u64) -> Entries {
    let mut entries = Vec::new();
    let all = usize::try_from(size).unwrap();
    while entries.len() < all {
        let path = format!("get-entries?start={}&end={}", entries.len(), size - 1);
        entries.extend(ask::<Entries>(log, &path).await.entries);
    }
    Entries { entries }
}

/// Entries of the larger log: a full tile and some more.
const SIZE: u64 = 270;

#[tokio::test(flavor = "multi_thread")]
async fn both_reading_sides_show_one_tree() {
    let (folder, ca) = (tempfile::tempdir().unwrap(), Ca::new());
    let log = log(folder.path(), &ca, &key()).await;
    let mut heads = Vec::new();
    for number in 0..u32::try_from(SIZE).unwrap() {
        if number % 3 == 0 {
            log.sct_at("/test/ct/v1/add-chain", &ca.final_submission(number))
                .await;
        } else {
            log.sct(&ca.submission(number)).await;
        }
        if [0, 1, 6, 254, 255, 256, 269].contains(&number) {
            heads.push(ask::<SignedTreeHead>(&log, "get-sth").await);
        }
    }
    let entries = all(&log, SIZE).await;
    let leaves: Vec<Hash> = entries
        .entries
        .iter()
        .map(|entry| hash::leaf(&entry.leaf_input.0))
        .collect();
    // The tiles have the same leaves.
    let (_, tile) = log.get("/tile/0/000").await;
    let tile: Vec<Hash> = tile
        .as_chunks::<32>()
        .0
        .iter()
        .map(|hash| Hash::new(*hash))
        .collect();
    assert_eq!(tile, leaves[..256]);
    let (_, data) = log.get("/tile/data/000").await;
    let first = parse_tile_leaf(&data).unwrap();
    let input = first
        .leaf
        .merkle_tree_leaf(first.timestamp_ms, &first.extensions)
        .unwrap();
    assert_eq!(entries.entries[0].leaf_input.0, input);

    // Each tree head is signed, and about the tree of the RFC's text.
    for head in &heads {
        let count = usize::try_from(head.tree_size).unwrap();
        let root = naive_root(&leaves[..count]);
        assert_eq!(head.sha256_root_hash.0, root.as_bytes());
        assert_eq!(head.timestamp, START_MS);
        let mut signed = vec![0, 1];
        signed.extend(head.timestamp.to_be_bytes());
        signed.extend(head.tree_size.to_be_bytes());
        signed.extend(root.as_bytes());
        // DigitallySigned: SHA-256, ECDSA, a length.
        let (algorithms, rest) = head.tree_head_signature.0.split_at(2);
        let (length, signature) = rest.split_at(2);
        assert_eq!(algorithms, [4, 3]);
        assert_eq!(usize::from(length[1]), signature.len());
        let key = log.key.public_key();
        key.verify(Algorithm::EcdsaP256Sha256, &signed, signature)
            .unwrap();
    }
    let sizes: Vec<u64> = heads.iter().map(|head| head.tree_size).collect();
    assert_eq!(sizes, [1, 2, 7, 255, 256, 257, 270]);
    // The checkpoint is the same tree head.
    let (_, checkpoint) = log.get("/checkpoint").await;
    let opened = note::open(&checkpoint, &[log.verifier()]).unwrap();
    let last = heads.last().unwrap();
    assert_eq!(opened.timestamp_ms(), Some(last.timestamp));
    assert_eq!(
        opened.head().root.as_bytes(),
        last.sha256_root_hash.0.as_slice()
    );
    let line = note::Note::parse(&checkpoint).unwrap().signatures()[0]
        .signature()
        .to_vec();
    assert_eq!(line[8..], last.tree_head_signature.0);

    let head = |size: u64| TreeHead {
        size: TreeSize::new(size),
        root: naive_root(&leaves[..usize::try_from(size).unwrap()]),
    };
    for (first, second) in [
        (1, 2),
        (1, 270),
        (6, 7),
        (200, 256),
        (256, 257),
        (269, 270),
        (99, 99),
    ] {
        let path = format!("get-sth-consistency?first={first}&second={second}");
        let answer: Consistency = ask(&log, &path).await;
        let proof = hashes(&answer.consistency);
        proof::verify_consistency(&head(first), &head(second), &proof).unwrap();
    }
    let from_nothing = ask::<Consistency>(&log, "get-sth-consistency?first=0&second=7").await;
    assert!(from_nothing.consistency.is_empty());

    for (index, size) in [
        (0, 1),
        (0, 270),
        (5, 6),
        (5, 200),
        (255, 256),
        (256, 270),
        (269, 270),
    ] {
        let at = LeafIndex::new(index);
        let leaf = leaves[usize::try_from(index).unwrap()];
        let path = format!("get-proof-by-hash?hash={}&tree_size={size}", escaped(&leaf));
        let answer: ProofByHash = ask(&log, &path).await;
        assert_eq!(answer.leaf_index, index);
        let proof = hashes(&answer.audit_path);
        proof::verify_inclusion(&leaf, at, &proof, &head(size)).unwrap();
        let path = format!("get-entry-and-proof?leaf_index={index}&tree_size={size}");
        let answer: EntryAndProof = ask(&log, &path).await;
        assert_eq!(hash::leaf(&answer.leaf_input.0), leaf);
        assert_eq!(hashes(&answer.audit_path), proof);
        let entry = &entries.entries[usize::try_from(index).unwrap()];
        assert_eq!(answer.extra_data, entry.extra_data);
    }
    // Unescaped plus signs reach everybody as blanks.
    let plus = leaves
        .iter()
        .find(|leaf| Bytes::encode(leaf.as_bytes()).contains('+'))
        .unwrap();
    let hash = Bytes::encode(plus.as_bytes());
    let path = format!("get-proof-by-hash?hash={hash}&tree_size={SIZE}");
    ask::<ProofByHash>(&log, &path).await;
}

#[tokio::test]
async fn extra_data_has_the_certificates_as_they_were_submitted() {
    let (folder, ca) = (tempfile::tempdir().unwrap(), Ca::new());
    let log = log(folder.path(), &ca, &key()).await;
    let pre = ca.submission(1);
    log.sct(&pre).await;
    let last = ca.final_submission(2);
    log.sct_at("/ct/v1/add-chain", &last).await;
    let entries = all(&log, 2).await.entries;
    let chain: Vec<Vec<u8>> = ca
        .chain
        .iter()
        .map(|certificate| certificate.der().to_vec())
        .collect();
    let extra = parse_extra_data(&entries[0].extra_data.0, true).unwrap();
    assert_eq!(extra.precertificate.as_deref(), Some(pre[0].der()));
    assert_eq!(extra.chain, chain);
    let extra = parse_extra_data(&entries[1].extra_data.0, false).unwrap();
    assert_eq!(extra.chain, chain);
    // MerkleTreeLeaf: version, leaf type, time, entry type, length, certificate.
    let input = &entries[1].leaf_input.0;
    assert_eq!(input[..2], [0, 0]);
    assert_eq!(input[10..12], [0, 0]);
    assert_eq!(input[15..15 + last[0].der().len()], *last[0].der());

    // An issuer that is gone or changed is our failure, and never a chain without it.
    let name = hex::encode(keys::sha256(ca.chain[0].der()));
    let file = folder.path().join("issuers").join(name);
    drop(log);
    std::fs::write(&file, b"something else").unwrap();
    let key = key();
    let other = tempfile::tempdir().unwrap();
    let log = common::log(other.path(), &ca, &key).await;
    log.sct(&pre).await;
    drop(log);
    std::fs::write(
        other.path().join("issuers").join(file.file_name().unwrap()),
        b"something else",
    )
    .unwrap();
    let log = common::log(other.path(), &ca, &key).await;
    let (status, _) = log.get("/ct/v1/get-entries?start=0&end=0").await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    // The next submission writes it again.
    log.sct(&pre).await;
    assert_eq!(
        log.get("/ct/v1/get-entries?start=0&end=0").await.0,
        StatusCode::OK
    );
}

#[tokio::test]
async fn questions_that_make_no_sense_are_answered_as_ctfe_does() {
    let (folder, ca) = (tempfile::tempdir().unwrap(), Ca::new());
    let log = log(folder.path(), &ca, &key()).await;
    let empty: SignedTreeHead = ask(&log, "get-sth").await;
    assert_eq!((empty.tree_size, empty.timestamp), (0, START_MS));
    assert_eq!(empty.sha256_root_hash.0, hash::EMPTY.as_bytes());
    assert_eq!(log.refused("/ct/v1/get-entries?start=0&end=0").await.0, 400);
    for number in 0..3 {
        log.sct(&ca.submission(number)).await;
    }
    let nobody = escaped(&hash::leaf(b"nobody's"));
    let first: Entries = ask(&log, "get-entries?start=0&end=0").await;
    let leaf = escaped(&hash::leaf(&first.entries[0].leaf_input.0));
    for (path, status, reason) in [
        (
            "get-sth-consistency?first=1".to_owned(),
            400,
            "second is missing",
        ),
        (
            "get-sth-consistency?first=&second=2".to_owned(),
            400,
            "first is missing",
        ),
        (
            "get-sth-consistency?first=3&second=2".to_owned(),
            400,
            "PARAMETER_INVALID",
        ),
        (
            "get-sth-consistency?first=-1&second=2".to_owned(),
            400,
            "PARAMETER_INVALID",
        ),
        (
            "get-sth-consistency?first=1&second=4".to_owned(),
            400,
            "TREE_TOO_SMALL",
        ),
        (
            "get-sth-consistency?first=0&second=4".to_owned(),
            400,
            "TREE_TOO_SMALL",
        ),
        (
            "get-sth-consistency?first=1&second=9223372036854775808".to_owned(),
            400,
            "PARAMETER_INVALID",
        ),
        (
            "get-proof-by-hash?tree_size=1".to_owned(),
            400,
            "hash is missing",
        ),
        (
            "get-proof-by-hash?hash=AAAA&tree_size=1".to_owned(),
            400,
            "32 bytes",
        ),
        (
            format!("get-proof-by-hash?hash={leaf}"),
            400,
            "tree_size is missing",
        ),
        (
            format!("get-proof-by-hash?hash={leaf}&tree_size=0"),
            400,
            "PARAMETER_INVALID",
        ),
        (
            format!("get-proof-by-hash?hash={leaf}&tree_size=4"),
            404,
            "TREE_TOO_SMALL",
        ),
        (
            format!("get-proof-by-hash?hash={nobody}&tree_size=3"),
            404,
            "LEAF_NOT_FOUND",
        ),
        (
            "get-entries?start=3&end=3".to_owned(),
            400,
            "TREE_TOO_SMALL",
        ),
        (
            "get-entries?start=2&end=1".to_owned(),
            400,
            "PARAMETER_INVALID",
        ),
        (
            "get-entries?start=0&end=x".to_owned(),
            400,
            "PARAMETER_INVALID",
        ),
        ("get-entries?start=1".to_owned(), 400, "end is missing"),
        (
            "get-entry-and-proof?leaf_index=3&tree_size=3".to_owned(),
            400,
            "PARAMETER_INVALID",
        ),
        (
            "get-entry-and-proof?leaf_index=0&tree_size=4".to_owned(),
            400,
            "TREE_TOO_SMALL",
        ),
        (
            "get-entry-and-proof?leaf_index=0&tree_size=0".to_owned(),
            400,
            "PARAMETER_INVALID",
        ),
    ] {
        let (answered, text) = log.refused(&format!("/ct/v1/{path}")).await;
        assert_eq!(answered, status, "{path}: {text}");
        assert!(text.contains(reason), "{path}: {text}");
    }
    let (status, text) = log.post("/ct/v1/get-sth", "").await;
    assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED, "{text}");
    // Fewer than asked for, and a cache may not keep that for long.
    for (path, count, caching) in [
        ("get-entries?start=0&end=2", 3, "public, max-age=86400"),
        ("get-entries?start=1&end=99", 2, "public, max-age=60"),
    ] {
        let request = Request::get(format!("/ct/v1/{path}"));
        let request = request.body(Body::empty()).unwrap();
        let (status, headers, body) = log.answer(request).await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!(headers[header::CACHE_CONTROL], caching);
        let entries: Entries = serde_json::from_slice(&body).unwrap();
        assert_eq!(entries.entries.len(), count);
    }
    // The newest is asked for right after its SCT.
    for number in 10..40 {
        log.sct(&ca.submission(number)).await;
        let size = ask::<SignedTreeHead>(&log, "get-sth").await.tree_size;
        let last = size - 1;
        let newest: Entries = ask(&log, &format!("get-entries?start={last}&end={last}")).await;
        let leaf = escaped(&hash::leaf(&newest.entries[0].leaf_input.0));
        let proof: ProofByHash = ask(
            &log,
            &format!("get-proof-by-hash?hash={leaf}&tree_size={size}"),
        )
        .await;
        assert_eq!(proof.leaf_index, last);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_was_opened_again_answers_about_old_leaves() {
    let (folder, ca, key) = (tempfile::tempdir().unwrap(), Ca::new(), key());
    let log = log(folder.path(), &ca, &key).await;
    for number in 0..260 {
        log.sct(&ca.submission(number)).await;
    }
    let before = all(&log, 260).await;
    drop(log);
    let mut again = config(folder.path());
    again.leaf_index = true;
    let log = log_of(&again, &ca, &key).await;
    assert_eq!(all(&log, 260).await, before);
    for (index, entry) in before.entries.iter().enumerate().step_by(37) {
        let leaf = escaped(&hash::leaf(&entry.leaf_input.0));
        let path = format!("get-proof-by-hash?hash={leaf}&tree_size=260");
        let proof: ProofByHash = ask(&log, &path).await;
        assert_eq!(usize::try_from(proof.leaf_index).unwrap(), index);
    }
}
