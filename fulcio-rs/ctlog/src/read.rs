//! The reading side of RFC 6962 (sections 4.3 to 4.8), over the tree whose tiles static-ct-api shows.
//!
//! Statuses, limits and caching are CTFE's, which monitors know: 400 for parameters that make no sense or go beyond the tree, 404 for a leaf that
//! is not there.

use std::collections::HashMap;
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{self, Query};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use ct::{
    Consistency, Entries, EntryAndProof, LeafAndExtra, ParsedTileLeaf, ProofByHash, Roots,
    SignedTreeHead, parse_tile_leaf,
};
use note::Note;
use sequencer::{Found, ReadError};
use serve::{Code, Problem};
use tlog::{BundleId, Hash, LeafIndex, ProofError, TreeSize};
use tokio::sync::Semaphore;
use wire::encoding::Bytes as Base64;

use crate::http::State;

/// The most entries of one answer; CTFE's is 1000, and four bundles are 1024.
const MAX_ENTRIES: u64 = 1024;
/// No entry is added to an answer that has this many bytes, leaves and chains together.
const MAX_BYTES: usize = 4 << 20;
/// How many answers with whole entries are put together at a time: each takes some megabytes meanwhile. Others wait, as long as a request may.
static READERS: Semaphore = Semaphore::const_new(8);
/// Entries of a bundle.
const BUNDLE: u64 = 256;
/// How long a question waits for leaves that are not indexed yet; after a commit that takes less than a millisecond.
const INDEXING: Duration = Duration::from_secs(2);

/// What will never be another answer.
const FIXED: &str = "public, max-age=86400";
/// Fewer entries than were asked for: there may be more later.
const PARTIAL: &str = "public, max-age=60";
const NOW: &str = "no-cache";

type Parameters = Result<Query<HashMap<String, String>>, QueryRejection>;

/// `GET /ct/v1/get-sth`: what the published checkpoint says, in the other encoding.
pub(crate) async fn tree_head(
    extract::State(state): extract::State<State>,
) -> Result<Response, Problem> {
    let published = state.log.published();
    let head = signed_tree_head(&state, &published.checkpoint)?;
    Ok(cached(NOW, Json(head)))
}

fn signed_tree_head(state: &State, checkpoint: &[u8]) -> Result<SignedTreeHead, Problem> {
    let broken =
        |what: &'static str| Problem::internal(&std::io::Error::other(format!("{what}: run fsck")));
    let opened = note::open(checkpoint, std::slice::from_ref(&state.verifier))
        .map_err(|error| Problem::internal(&error))?;
    let parsed = Note::parse(checkpoint).map_err(|error| Problem::internal(&error))?;
    let hint = note::KeyHint::of(state.verifier.id());
    // RFC6962NoteSignature (static-ct-api): timestamp (8) | TreeHeadSignature. `open` has verified this line.
    let line = parsed
        .signatures()
        .iter()
        .find(|line| line.name() == state.verifier.name() && Some(line.hint()) == hint);
    let (time, signature) = line
        .and_then(|line| line.signature().split_first_chunk::<8>())
        .ok_or_else(|| broken("the checkpoint has no tree head signature"))?;
    let timestamp = u64::from_be_bytes(*time);
    if opened.timestamp_ms() != Some(timestamp) {
        return Err(broken("the checkpoint has two times"));
    }
    let head = opened.head();
    Ok(SignedTreeHead {
        tree_size: head.size.get(),
        timestamp,
        sha256_root_hash: head.root.as_bytes().as_slice().into(),
        tree_head_signature: signature.into(),
    })
}

/// `GET /ct/v1/get-sth-consistency?first=&second=`
pub(crate) async fn consistency(
    extract::State(state): extract::State<State>,
    parameters: Parameters,
) -> Result<Response, Problem> {
    let Query(parameters) = parameters?;
    let first = number(&parameters, "first")?;
    let second = number(&parameters, "second")?;
    if first > second {
        return Err(bad(format!("first ({first}) is beyond second ({second})")));
    }
    let (old, new) = (TreeSize::new(first), TreeSize::new(second));
    let size = state.log.published().head.size;
    if new > size {
        return Err(beyond(second, size));
    }
    // Every tree begins with the empty one: there is nothing to prove.
    let proof = if first == 0 {
        Vec::new()
    } else {
        let (proof, published) = state
            .log
            .consistency_between(old, new)
            .await
            .map_err(|error| unread(&error))?;
        proof.ok_or_else(|| beyond(second, published.head.size))?
    };
    let consistency = path(&proof);
    Ok(cached(FIXED, Json(Consistency { consistency })))
}

/// `GET /ct/v1/get-proof-by-hash?hash=&tree_size=`
pub(crate) async fn proof_by_hash(
    extract::State(state): extract::State<State>,
    parameters: Parameters,
) -> Result<Response, Problem> {
    let Query(parameters) = parameters?;
    // A client that did not escape the plus signs of base64 has sent blanks, to everybody who reads forms.
    let text = parameter(&parameters, "hash")?.replace(' ', "+");
    let hash = Base64::decode(&text)
        .ok()
        .and_then(|hash| Hash::from_slice(&hash.0))
        .ok_or_else(|| bad("hash is not the base64 of 32 bytes"))?;
    let asked = number(&parameters, "tree_size")?;
    if asked == 0 {
        return Err(bad("tree_size is 0: the empty tree has no leaf"));
    }
    let size = TreeSize::new(asked);
    let newest = state.log.published().head.size;
    if size > newest {
        let problem = beyond(asked, newest);
        return Err(Problem::new(Code::NotFound, problem.message()).with_detail("TREE_TOO_SMALL"));
    }
    let mut found = state.hashes.find(&state.log, &hash, size).await;
    if matches!(found, Ok(Found::NotYet { .. })) {
        // A client that has just got its SCT asks this; and a log that has just started is not through with its tiles.
        let _ = tokio::time::timeout(INDEXING, state.hashes.reached(size)).await;
        found = state.hashes.find(&state.log, &hash, size).await;
    }
    let index = match found.map_err(|error| unread(&error))? {
        Found::At(index) => index,
        Found::Absent => {
            let what = format!("the tree of {size} leaves has no leaf with this hash");
            return Err(Problem::new(Code::NotFound, what).with_detail("LEAF_NOT_FOUND"));
        }
        Found::NotYet { indexed } => {
            let what = format!("{indexed} of {size} leaves are indexed by now, try again");
            return Err(Problem::unavailable(what, 2).with_detail("INDEXING"));
        }
    };
    let proof = state.log.inclusion_at(index, size).await;
    let proof = proof
        .map_err(|error| unread(&error))?
        .ok_or_else(|| beyond(asked, newest))?;
    let answer = ProofByHash {
        leaf_index: index.get(),
        audit_path: path(&proof.proof),
    };
    Ok(cached(FIXED, Json(answer)))
}

/// `GET /ct/v1/get-entries?start=&end=`: both included; perhaps fewer than asked for, and never none.
pub(crate) async fn entries(
    extract::State(state): extract::State<State>,
    parameters: Parameters,
) -> Result<Response, Problem> {
    let Query(parameters) = parameters?;
    let start = number(&parameters, "start")?;
    let end = number(&parameters, "end")?;
    if start > end {
        return Err(bad(format!("start ({start}) is beyond end ({end})")));
    }
    let size = state.log.published().head.size;
    if start >= size.get() {
        return Err(beyond(start.saturating_add(1), size));
    }
    let last = last_of_range(start, end, size);
    let _turn = READERS.acquire().await;
    let mut entries = Vec::new();
    let mut bytes = 0_usize;
    let mut next = start;
    while next <= last && bytes < MAX_BYTES {
        let leaves = leaves(&state, LeafIndex::new(next), size).await?;
        for leaf in leaves {
            if next > last || bytes >= MAX_BYTES {
                break;
            }
            let entry = entry(&state, &leaf).await?;
            bytes = bytes
                .saturating_add(entry.leaf_input.0.len())
                .saturating_add(entry.extra_data.0.len());
            entries.push(entry);
            next = next.saturating_add(1);
        }
    }
    let whole = next > end;
    let caching = if whole { FIXED } else { PARTIAL };
    Ok(cached(caching, Json(Entries { entries })))
}

/// The last entry of an answer: what was asked for, what there is, and what fits. Who asks for more than fits gets an answer that ends with
/// a bundle, so that those who read the whole log come to ask for the same pieces.
fn last_of_range(start: u64, end: u64, size: TreeSize) -> u64 {
    let there = size.get().saturating_sub(1);
    let fits = start.saturating_add(MAX_ENTRIES - 1);
    if end.min(there) <= fits {
        return end.min(there);
    }
    let after = fits.saturating_add(1);
    after.saturating_sub(after % BUNDLE).saturating_sub(1)
}

/// `GET /ct/v1/get-entry-and-proof?leaf_index=&tree_size=`
pub(crate) async fn entry_and_proof(
    extract::State(state): extract::State<State>,
    parameters: Parameters,
) -> Result<Response, Problem> {
    let Query(parameters) = parameters?;
    let index = number(&parameters, "leaf_index")?;
    let asked = number(&parameters, "tree_size")?;
    if index >= asked {
        let what = format!("leaf_index {index} is not in a tree of {asked} leaves");
        return Err(bad(what));
    }
    let (index, size) = (LeafIndex::new(index), TreeSize::new(asked));
    let newest = state.log.published().head.size;
    if size > newest {
        return Err(beyond(asked, newest));
    }
    let proof = state.log.inclusion_at(index, size).await;
    let proof = proof
        .map_err(|error| unread(&error))?
        .ok_or_else(|| beyond(asked, newest))?;
    let _turn = READERS.acquire().await;
    let leaves = leaves(&state, index, newest).await?;
    let leaf = leaves.first().ok_or_else(|| beyond(asked, newest))?;
    let LeafAndExtra {
        leaf_input,
        extra_data,
    } = entry(&state, leaf).await?;
    let answer = EntryAndProof {
        leaf_input,
        extra_data,
        audit_path: path(&proof.proof),
    };
    Ok(cached(FIXED, Json(answer)))
}

/// `GET /ct/v1/get-roots`
pub(crate) async fn roots(extract::State(state): extract::State<State>) -> Response {
    let certificates = state.roots.certificates();
    let certificates = certificates.iter().map(|root| root.der().into());
    let certificates = certificates.collect();
    cached(NOW, Json(Roots { certificates }))
}

/// The leaves from `index` on to the end of their bundle.
async fn leaves(
    state: &State,
    index: LeafIndex,
    size: TreeSize,
) -> Result<Vec<ParsedTileLeaf>, Problem> {
    let Some(id) = BundleId::holding(index, size) else {
        return Ok(Vec::new());
    };
    let bytes = state.log.bundle(id).await;
    let bytes = bytes.map_err(|error| unread(&error))?.unwrap_or_default();
    let skip = usize::try_from(index.get() % BUNDLE).unwrap_or(usize::MAX);
    let mut rest = bytes.as_slice();
    let mut leaves = Vec::new();
    let mut position = 0_usize;
    while !rest.is_empty() {
        let leaf = parse_tile_leaf(rest).map_err(|error| Problem::internal(&error))?;
        rest = rest.get(leaf.length..).unwrap_or_default();
        if position >= skip {
            leaves.push(leaf);
        }
        position = position.saturating_add(1);
    }
    if leaves.is_empty() {
        return Err(unread(&ReadError::Damaged(id.path("data"))));
    }
    Ok(leaves)
}

/// A leaf with its certificates, which are read by their fingerprints.
async fn entry(state: &State, leaf: &ParsedTileLeaf) -> Result<LeafAndExtra, Problem> {
    let mut chain = Vec::new();
    for fingerprint in &leaf.leaf.chain {
        chain.push(state.issuer(*fingerprint).await?.ok_or_else(|| {
            let name = hex::encode(fingerprint);
            unread(&ReadError::Damaged(format!("the issuer {name}")))
        })?);
    }
    let broken = |error: ct::CtError| Problem::internal(&error);
    let input = leaf
        .leaf
        .merkle_tree_leaf(leaf.timestamp_ms, &leaf.extensions)
        .map_err(broken)?;
    let extra = leaf.leaf.extra_data(&chain).map_err(broken)?;
    Ok(LeafAndExtra {
        leaf_input: Base64(input),
        extra_data: Base64(extra),
    })
}

fn path(hashes: &[Hash]) -> Vec<Base64> {
    hashes
        .iter()
        .map(|hash| hash.as_bytes().as_slice().into())
        .collect()
}

fn cached(caching: &'static str, answer: impl IntoResponse) -> Response {
    ([(header::CACHE_CONTROL, caching)], answer).into_response()
}

fn parameter<'a>(
    parameters: &'a HashMap<String, String>,
    name: &'static str,
) -> Result<&'a str, Problem> {
    match parameters.get(name).map(String::as_str) {
        None | Some("") => Err(bad(format!("the parameter {name} is missing"))),
        Some(value) => Ok(value),
    }
}

/// Numbers are those of Go's int64 at CTFE.
fn number(parameters: &HashMap<String, String>, name: &'static str) -> Result<u64, Problem> {
    let text = parameter(parameters, name)?;
    let number = text.parse::<i64>().ok();
    number
        .and_then(|number| u64::try_from(number).ok())
        .ok_or_else(|| {
            let shown: String = text.chars().take(40).collect();
            bad(format!(
                "the parameter {name} is {shown:?}: expected a whole number, not below 0"
            ))
        })
}

fn bad(what: impl Into<String>) -> Problem {
    Problem::invalid_argument(what).with_detail("PARAMETER_INVALID")
}

fn beyond(asked: u64, size: TreeSize) -> Problem {
    Problem::invalid_argument(format!(
        "this needs a tree of {asked} leaves, and the log has published {size}"
    ))
    .with_detail("TREE_TOO_SMALL")
}

fn unread(error: &ReadError) -> Problem {
    match error {
        ReadError::Proof(
            ProofError::IndexOutsideTree { .. } | ProofError::SizesReversed { .. },
        ) => bad(error.to_string()),
        _ => Problem::internal(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_ranges_end_with_a_bundle_and_short_ones_where_they_end() {
        let size = TreeSize::new(10_000);
        for (start, end, last) in [
            (0, 0, 0),
            (0, 99, 99),
            (0, 1023, 1023),
            (0, 1024, 1023),
            (5, 1028, 1028),
            (5, 5000, 1023),
            (255, 5000, 1023),
            (256, 5000, 1279),
            (300, 9_223_372_036_854_775_807, 1279),
            (9_990, 20_000, 9_999),
            (9_999, 9_999, 9_999),
        ] {
            assert_eq!(last_of_range(start, end, size), last, "{start} to {end}");
        }
        for start in 0..3000 {
            let last = last_of_range(start, u64::MAX, size);
            assert!(last >= start && last - start < MAX_ENTRIES, "{start}");
        }
    }
}
