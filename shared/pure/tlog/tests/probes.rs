//! Proofs of somebody else's suite: those that hold, and those of which one thing was changed.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    missing_docs,
    reason = "a panic is a test's report; tests read files"
)]

use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tlog::{Hash, LeafIndex, TreeHead, TreeSize, proof};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Inclusion {
    leaf_idx: u64,
    tree_size: u64,
    root: String,
    leaf_hash: String,
    proof: Option<Vec<String>>,
    desc: String,
    want_err: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Consistency {
    size1: u64,
    size2: u64,
    root1: Option<String>,
    root2: Option<String>,
    proof: Option<Vec<String>>,
    desc: String,
    want_err: bool,
}

fn cases<T: DeserializeOwned>(folder: &str, least: usize) -> Vec<(PathBuf, T)> {
    fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, files);
            } else {
                files.push(path);
            }
        }
    }
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../testdata/merkle");
    let mut files = Vec::new();
    walk(&top.join(folder), &mut files);
    files.sort();
    assert!(files.len() >= least, "{} cases", files.len());
    let read = |path: PathBuf| {
        let case = serde_json::from_slice(&fs::read(&path).unwrap());
        let case = case.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        (path, case)
    };
    files.into_iter().map(read).collect()
}

/// Some roots are words and not 32 bytes, which our types cannot hold; their hashes are as equal or different as they are.
fn root(text: Option<&str>) -> Option<Hash> {
    let bytes = STANDARD.decode(text?).ok()?;
    Hash::from_slice(&bytes).or_else(|| (!bytes.is_empty()).then(|| tlog::hash::leaf(&bytes)))
}

/// `None` when it is no hash: such a proof is refused before it gets here.
fn hash(text: Option<&str>) -> Option<Hash> {
    Hash::from_slice(&STANDARD.decode(text?).ok()?)
}

fn hashes(texts: Option<Vec<String>>) -> Option<Vec<Hash>> {
    let texts = texts.unwrap_or_default();
    texts.iter().map(|text| hash(Some(text))).collect()
}

fn head(size: u64, root: Option<Hash>) -> Option<TreeHead> {
    Some(TreeHead {
        size: TreeSize::new(size),
        root: root?,
    })
}

#[test]
fn inclusion_proofs() {
    let (mut held, mut refused) = (0, 0);
    for (path, case) in cases::<Inclusion>("inclusion", 98) {
        let index = LeafIndex::new(case.leaf_idx);
        let holds = head(case.tree_size, root(Some(&case.root))).is_some_and(|head| {
            let leaf = hash(Some(&case.leaf_hash));
            let proof = hashes(case.proof);
            leaf.zip(proof).is_some_and(|(leaf, proof)| {
                proof::verify_inclusion(&leaf, index, &proof, &head).is_ok()
            })
        });
        assert_eq!(holds, !case.want_err, "{}: {}", path.display(), case.desc);
        *(if holds { &mut held } else { &mut refused }) += 1;
    }
    assert!(held > 4 && refused > 80, "{held} {refused}");
}

#[test]
fn consistency_proofs() {
    let (mut held, mut refused) = (0, 0);
    for (path, case) in cases::<Consistency>("consistency", 98) {
        let old = head(case.size1, root(case.root1.as_deref()));
        let new = head(case.size2, root(case.root2.as_deref()));
        let proof = hashes(case.proof);
        let holds = old.zip(new).zip(proof).is_some_and(|((old, new), proof)| {
            proof::verify_consistency(&old, &new, &proof).is_ok()
        });
        // The suite has no proofs from the empty tree. Ours, like a witness's (C2SP tlog-witness), are empty and hold for every tree.
        let from_nothing = path.ends_with("size1-is-zero-and-size2-is-not-zero.json");
        let expected = !case.want_err || from_nothing;
        assert_eq!(holds, expected, "{}: {}", path.display(), case.desc);
        *(if holds { &mut held } else { &mut refused }) += 1;
    }
    assert!(held > 4 && refused > 80, "{held} {refused}");
}
