//! `POST /api/v2/search`: entries of all logs, each with a fresh proof.

use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use entry::{InclusionProof, LogEntry};
use search::{Found, IndexError, Place};
use sequencer::{Inclusion, Log, ReadError};
use serde::{Deserialize, Serialize};
use serve::Problem;
use thiserror::Error;
use tlog::LeafIndex;
use wire::bundle::TransparencyLogEntry;

use super::question::{Question, QuestionError};
use super::{Followed, Search, View};
use crate::gate::Gate;
use crate::leaf::Entry;
use crate::v1::shards::ShowError;
use crate::v1::{Shards, Trees};

/// Entries of an answer, if nobody says otherwise, and at most.
const LIMIT: u16 = 20;
const MAX_LIMIT: u16 = 100;

/// What the handler needs.
#[derive(Clone, Debug)]
pub(crate) struct SearchApi {
    pub(crate) search: Search,
    pub(crate) v2: V2,
    pub(crate) v1: Option<Trees>,
    pub(crate) gate: Gate,
}

/// The v2 log.
#[derive(Clone, Debug)]
pub(crate) struct V2 {
    pub(crate) tree: Followed,
    pub(crate) log: Log<Entry>,
    pub(crate) log_id: Vec<u8>,
}

/// The answer.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    entries: Vec<Hit>,
    /// Where to go on; absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
    /// How far each log is indexed: what is not in here may only be found later.
    indexed: Vec<Progress>,
}

#[derive(Serialize)]
struct Hit {
    origin: String,
    entry: TransparencyLogEntry,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Progress {
    origin: String,
    indexed: String,
    tree_size: String,
}

#[derive(Debug, Error)]
enum HitError {
    #[error("cannot read the entry")]
    Read(#[from] ReadError),
    #[error("cannot show the entry")]
    Show(#[from] ShowError),
    #[error("the index has a place that no log has")]
    Nowhere,
    #[error("the entry is damaged")]
    Damaged,
}

pub(crate) fn routes(state: SearchApi) -> Router {
    Router::new()
        .route("/api/v2/search", post(search))
        .with_state(state)
}

async fn search(
    State(api): State<SearchApi>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let mut query: Question =
        wire::parse(&body?).map_err(|error| Problem::invalid_argument(error.to_string()))?;
    let (keys, mode) = query.keys(&api.gate).await.map_err(|error| match error {
        QuestionError::Turned(turned) => Problem::unavailable(turned.to_string(), 1),
        other => Problem::invalid_argument(other.to_string()),
    })?;
    if keys.is_empty() {
        return Err(Problem::invalid_argument(
            "nothing is asked for: give one of hash, email, subject, publicKey, issuer and signature",
        ));
    }
    let limit = query.limit.unwrap_or(LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(Problem::invalid_argument(format!(
            "limit is {limit}, expected 1 to {MAX_LIMIT}"
        )));
    }
    let from = match query.after.as_deref() {
        None => None,
        Some(text) => Some(cursor(text).ok_or_else(|| {
            Problem::invalid_argument("after is not the next of an earlier answer")
        })?),
    };
    let view = api.search.view(api.sizes()).await;
    let view = view.map_err(|error| unanswered(&error))?;
    let found = api
        .search
        .find(&view, &keys, mode, from, usize::from(limit));
    let Found { places, next } = found.await.map_err(|error| unanswered(&error))?;
    let mut entries = Vec::new();
    for place in places {
        let hit = api.hit(&view, &place).await;
        entries.push(hit.map_err(|error| Problem::internal(&error))?);
    }
    let answer = Answer {
        entries,
        next: next.as_ref().map(on_from),
        indexed: api.indexed(&view),
    };
    Ok(([(header::CACHE_CONTROL, "no-cache")], Json(answer)).into_response())
}

/// An index that is away, or was begun anew just now, is asked again.
fn unanswered(error: &IndexError) -> Problem {
    if error.passes() {
        let cause = super::chain(error);
        tracing::warn!(cause, "the search index does not answer");
        return Problem::unavailable("the search index cannot answer now, ask again", 1);
    }
    Problem::internal(error)
}

impl SearchApi {
    /// What this instance has of each log now.
    fn sizes(&self) -> Vec<(Followed, u64)> {
        let v2 = self.v2.log.published().head.size.get();
        let mut sizes = vec![(self.v2.tree.clone(), v2)];
        if let Some(trees) = &self.v1 {
            sizes.extend(trees.now().sizes());
        }
        sizes
    }

    fn indexed(&self, view: &View) -> Vec<Progress> {
        let row = |tree: &Followed| {
            let (indexed, size) = view.progress(&tree.origin);
            Progress {
                origin: tree.origin.clone(),
                indexed: indexed.to_string(),
                tree_size: size.to_string(),
            }
        };
        let shards = self.v1.as_ref().map(Trees::now);
        let v1 = shards.iter().flat_map(Shards::followed);
        let v1 = v1.map(|(tree, _)| row(tree));
        std::iter::once(row(&self.v2.tree)).chain(v1).collect()
    }

    async fn hit(&self, view: &View, place: &Place) -> Result<Hit, HitError> {
        let index = LeafIndex::new(place.leaf);
        let origin = view.origin(place).ok_or(HitError::Nowhere)?;
        if origin == self.v2.tree.origin {
            return Ok(Hit {
                origin: origin.to_owned(),
                entry: self.v2.entry(index).await?.to_wire(),
            });
        }
        let shards = self.v1.as_ref().map(Trees::now);
        let mut v1 = shards.iter().flat_map(Shards::followed);
        let (_, shard) = v1
            .find(|(tree, _)| tree.origin == origin)
            .ok_or(HitError::Nowhere)?;
        Ok(Hit {
            origin: origin.to_owned(),
            entry: shard.log_entry(index).await?.to_wire(),
        })
    }
}

impl V2 {
    async fn entry(&self, index: LeafIndex) -> Result<LogEntry, HitError> {
        let framed = self.log.entry(index).await?.ok_or(HitError::Nowhere)?;
        let (_, body) = framed.split_first_chunk::<2>().ok_or(HitError::Damaged)?;
        let inclusion = self.log.inclusion(index).await?;
        log_entry(&inclusion, body, inclusion.index.get(), &self.log_id).ok_or(HitError::Damaged)
    }
}

/// An entry as bundles carry it, without time and promise. `None` when the body does not say what it is.
pub(crate) fn log_entry(
    inclusion: &Inclusion,
    body: &[u8],
    index: u64,
    log_id: &[u8],
) -> Option<LogEntry> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Head {
        kind: String,
        api_version: String,
    }
    let head: Head = serde_json::from_slice(body).ok()?;
    Some(LogEntry {
        index,
        log_id: log_id.to_vec(),
        kind: head.kind,
        version: head.api_version,
        integrated_time: None,
        promise: None,
        proof: Some(InclusionProof {
            index: inclusion.index,
            size: inclusion.head.size,
            root: inclusion.head.root,
            hashes: inclusion.proof.clone(),
            checkpoint: String::from_utf8(inclusion.checkpoint.to_vec()).ok()?,
        }),
        body: body.to_vec(),
    })
}

/// Where to go on, for [`cursor`].
pub(crate) fn on_from(place: &Place) -> String {
    format!("{}:{}", place.tree, place.leaf)
}

pub(crate) fn cursor(text: &str) -> Option<Place> {
    let (tree, leaf) = text.split_once(':')?;
    Some(Place {
        tree: tree.parse().ok()?,
        leaf: leaf.parse().ok()?,
    })
}
