//! The HTTP interface: bytes in, one call, bytes out.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use entry::REKOR_V2_ALGORITHMS;
use keys::Digest;
use kinds::{Accepted, Kind, ProposeError, Proposed, Rules};
use search::{Found, IndexError};
use sequencer::{AppendError, ReadError};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use serve::Clock;
use tlog::{LeafIndex, TreeSize};
use tokio::sync::watch;
use wire::encoding::Bytes as Base64;
use wire::rekor_v1 as shape;

use super::attestations::Attestations;
use super::few::Few;
use super::id::EntryId;
use super::leaf::{Entry, MAX_BODY};
use super::shards::{Shard, Shards, ShowError, Trees};
use crate::forward::Forward;
use crate::gate::{Gate, Turned};
use crate::http::{ELSEWHERE, FROZEN, Writes, not_appended};
use crate::search::Search;
use crate::search::http::{cursor, on_from};
use crate::search::question::{Question, QuestionError};

/// The most entries of one `retrieve`.
const MAX_RETRIEVE: usize = 10;
/// The most ids that a search gives.
const MAX_FOUND: usize = 1000;
/// How often the index is asked for them: two keys that are often and rarely together would else keep it busy.
const MAX_ROUNDS: usize = 20;
/// With how many search keys an entry was not put into the index, where it has too many. (Not in upstream, whose index has no limit.)
const LEFT_OUT: HeaderName = HeaderName::from_static("x-search-keys-left-out");
/// Where to go on with a search, `after` of the next one, when an answer has not all that there is. (Not in upstream, which gives all.)
const NEXT: HeaderName = HeaderName::from_static("x-search-next");
/// Numbers that go-openapi gives to values that break a schema.
const WRONG_TYPE: u16 = 601;
const REQUIRED: u16 = 602;
const PATTERN: u16 = 605;
const TOO_SMALL: u16 = 609;
const TOO_MANY: u16 = 611;

/// What the handlers need.
#[derive(Clone, Debug)]
pub(crate) struct V1 {
    pub(crate) trees: Trees,
    /// Where new trees are put: it lives as long as the routes.
    #[expect(dead_code, reason = "only kept")]
    pub(crate) kept: Arc<watch::Sender<Shards>>,
    pub(crate) writes: Writes,
    pub(crate) gate: Gate,
    pub(crate) attestations: Option<Attestations>,
    /// What is taken.
    pub(crate) kinds: Vec<Kind>,
    pub(crate) clock: Clock,
    pub(crate) search: Option<Search>,
}

pub(crate) fn routes(state: V1) -> Router {
    let api = Router::new()
        .route("/log", get(info))
        .route("/log/publicKey", get(public_key))
        .route("/log/proof", get(proof))
        .route("/log/entries", get(by_index).post(add))
        .route("/log/entries/retrieve", post(retrieve))
        // sigstore-python writes it so.
        .route("/log/entries/retrieve/", post(retrieve))
        .route("/log/entries/{entryUUID}", get(by_uuid))
        .route("/index/retrieve", post(search_index))
        .fallback(unknown_path)
        .method_not_allowed_fallback(unknown_method)
        .with_state(state);
    Router::new()
        .nest("/api/v1", api)
        .route("/ping", get(async || "."))
}

/// What is refused before it comes to us (too large, too often, too late), as Rekor v1 writes it.
pub(crate) fn manner(route: &str, problem: &serve::Problem) -> Option<Response> {
    route
        .starts_with("/api/v1/")
        .then(|| Refused::new(problem.status(), problem.message()).into_response())
}

/// An error as Rekor v1 writes it: `{"code":..,"message":..}`.
#[derive(Debug)]
struct Refused {
    status: StatusCode,
    code: u16,
    message: String,
    location: Option<String>,
    retry_after: Option<u16>,
}

impl Refused {
    fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            code: status.as_u16(),
            message: message.into(),
            location: None,
            retry_after: None,
        }
    }

    fn bad(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// A value that breaks the schema: 422, with a number of its own.
    fn schema(code: u16, message: impl Into<String>) -> Self {
        Self {
            code,
            ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, message)
        }
    }

    /// Ours: the cause goes to the log.
    fn internal(cause: &dyn std::error::Error) -> Self {
        let problem = serve::Problem::internal(cause);
        Self::new(problem.status(), problem.message())
    }

    fn unavailable(message: impl Into<String>, seconds: u16) -> Self {
        Self {
            retry_after: Some(seconds),
            ..Self::new(StatusCode::SERVICE_UNAVAILABLE, message)
        }
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let body = shape::Error {
            code: self.code,
            message: self.message.chars().take(1000).collect(),
        };
        let mut response = (self.status, Json(body)).into_response();
        let headers = response.headers_mut();
        if let Some(location) = self
            .location
            .and_then(|url| HeaderValue::try_from(url).ok())
        {
            headers.insert(header::LOCATION, location);
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

impl From<ProposeError> for Refused {
    fn from(error: ProposeError) -> Self {
        let message = error.to_string();
        match error {
            ProposeError::Malformed(_) | ProposeError::Invalid(_) => Self::bad(message),
            ProposeError::Schema { code, .. } => Self::schema(code, message),
        }
    }
}

impl From<Turned> for Refused {
    fn from(turned: Turned) -> Self {
        Self::unavailable(turned.to_string(), 1)
    }
}

impl From<ReadError> for Refused {
    fn from(error: ReadError) -> Self {
        Self::internal(&error)
    }
}

impl From<ShowError> for Refused {
    fn from(error: ShowError) -> Self {
        match &error {
            // The entry is in the log: who asks again gets it, with the promise.
            ShowError::Sign(cause) => {
                tracing::error!(%cause, "the promise was not signed");
                Self::unavailable("the log cannot sign now, try again", 5)
            }
            ShowError::Read(_) | ShowError::Damaged(..) => Self::internal(&error),
        }
    }
}

impl From<BytesRejection> for Refused {
    fn from(rejection: BytesRejection) -> Self {
        let status = rejection.into_response().status();
        let message = match status {
            StatusCode::PAYLOAD_TOO_LARGE => "the request is too large",
            _ => "the request could not be read",
        };
        Self::new(status, message)
    }
}

/// `POST /api/v1/log/entries`
async fn add(
    State(v1): State<V1>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Refused> {
    check_json(&headers)?;
    let body = required(body?, "proposedEntry")?;
    match &v1.writes {
        Writes::Here => {}
        Writes::Elsewhere(None) => return Err(Refused::unavailable(ELSEWHERE, 1)),
        Writes::Elsewhere(Some(forward)) => return send_on(forward, &headers, body).await,
        Writes::Nowhere => return Err(Refused::new(StatusCode::METHOD_NOT_ALLOWED, FROZEN)),
    }
    let (kinds, now) = (v1.kinds.clone(), v1.clock.now());
    let admit = move || -> Result<Accepted, ProposeError> {
        let rules = Rules::of_admission(&REKOR_V2_ALGORITHMS, now);
        Proposed::parse(&body, &kinds)?.admit(&rules)
    };
    let accepted = v1.gate.run(admit).await??;
    let entry = Entry::new(&accepted).ok_or_else(|| {
        Refused::bad(format!(
            "error processing entry: the entry has {} bytes, and an entry has at most {MAX_BODY}",
            accepted.body().len()
        ))
    })?;
    let mut shards = v1.trees.now();
    if shards.active().log.is_frozen() {
        return Err(Refused::new(StatusCode::METHOD_NOT_ALLOWED, FROZEN));
    }
    // Nothing is written for whoever would be turned away.
    if shards.active().log.is_full() {
        return Err(Refused::unavailable("the log is overloaded, try again", 1));
    }
    // First the attestation: a crash in between leaves a file that nobody refers to, and not an entry without its attestation.
    if let (Some(kept), Some(attestation)) = (&v1.attestations, accepted.attestation()) {
        let kept = kept.keep(attestation.clone()).await;
        kept.map_err(|error| Refused::internal(&error))?;
    }
    let body = entry.body().to_vec();
    let mut appended = shards.active().append(entry.clone()).await;
    if matches!(appended, Err(AppendError::Closed))
        && let Some(next) = v1.trees.after(shards.active().tree_id).await
    {
        // A new tree took its place.
        shards = next;
        appended = shards.active().append(entry).await;
    }
    let shard = shards.active();
    let appended = appended.map_err(|error| {
        let problem = not_appended(&error);
        // A frozen tree answers 405, as v2 does; upstream's v1 has no word for it.
        let retry_after = problem.retry_after().map(u16::try_from);
        Refused {
            retry_after: retry_after.map(|seconds| seconds.unwrap_or(u16::MAX)),
            ..Refused::new(problem.status(), problem.message())
        }
    })?;
    if appended.duplicate {
        let id = shard.id(appended.inclusion.leaf);
        return Err(Refused {
            location: Some(entry_url(&id)),
            ..Refused::new(
                StatusCode::CONFLICT,
                format!(
                    "an equivalent entry already exists in the transparency log with UUID {id}"
                ),
            )
        });
    }
    metrics::counter!("rekor_new_entries").increment(1);
    let shown = shard
        .render(&appended.inclusion, &body, appended.timestamp_ms)
        .await;
    let (id, entry) = shown?;
    let headers = [
        (header::ETAG, id.to_string()),
        (header::LOCATION, entry_url(&id)),
    ];
    let entries = shape::LogEntries::from([(id.to_string(), entry)]);
    let mut response = (StatusCode::CREATED, headers, Json(entries)).into_response();
    if accepted.left_out() > 0 {
        let left_out = HeaderValue::from(accepted.left_out());
        response.headers_mut().insert(LEFT_OUT, left_out);
    }
    Ok(response)
}

/// Has the leader add an entry, and answers as it does.
async fn send_on(forward: &Forward, headers: &HeaderMap, body: Bytes) -> Result<Response, Refused> {
    let sent = forward.send("/api/v1/log/entries", body, headers).await;
    let answer = sent.map_err(|problem| Refused::unavailable(problem.message(), 1))?;
    let mut response = (answer.status, answer.body.clone()).into_response();
    for name in [
        header::CONTENT_TYPE,
        header::ETAG,
        header::LOCATION,
        header::RETRY_AFTER,
        LEFT_OUT,
    ] {
        if let Some(value) = answer.headers.get(&name) {
            response.headers_mut().insert(name, value.clone());
        }
    }
    Ok(response)
}

/// `GET /api/v1/log/entries?logIndex=N`
async fn by_index(
    State(v1): State<V1>,
    Query(query): Query<BTreeMap<String, String>>,
) -> Result<Response, Refused> {
    let index = number(&query, "logIndex", 0)?
        .ok_or_else(|| Refused::schema(REQUIRED, "logIndex in query is required"))?;
    let shards = v1.trees.now();
    match shards.by_index(index) {
        Some((shard, index)) => Ok(uncached(v1.show(shard, index).await?)),
        None => Ok(not_found()),
    }
}

/// `GET /api/v1/log/entries/{uuid}`
async fn by_uuid(State(v1): State<V1>, Path(uuid): Path<String>) -> Result<Response, Refused> {
    let id: EntryId = uuid.parse().map_err(|_| {
        let pattern = "^([0-9a-fA-F]{64}|[0-9a-fA-F]{80})$";
        Refused::schema(
            PATTERN,
            format!("entryUUID in path should match '{pattern}'"),
        )
    })?;
    let shards = v1.trees.now();
    match shards.by_id(&id).await? {
        Some((shard, index)) => Ok(uncached(v1.show(shard, index).await?)),
        None => Ok(not_found()),
    }
}

/// `SearchLogQuery`. Proposals stay text until it is their turn: as values they would be many times as large.
#[derive(Debug, Deserialize)]
#[serde(
    rename_all = "camelCase",
    expecting = "an object with entryUUIDs, logIndexes or entries"
)]
struct SearchLogQuery {
    #[serde(rename = "entryUUIDs")]
    entry_uuids: Option<Few<String, MAX_RETRIEVE>>,
    log_indexes: Option<Few<i64, MAX_RETRIEVE>>,
    entries: Option<Few<Box<RawValue>, MAX_RETRIEVE>>,
}

/// `POST /api/v1/log/entries/retrieve`
async fn retrieve(
    State(v1): State<V1>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Refused> {
    check_json(&headers)?;
    let body = required(body?, "entry")?;
    let query: SearchLogQuery = wire::parse(&body).map_err(|error| {
        Refused::bad(format!(
            "parsing entry body from \"\" failed, because {error}"
        ))
    })?;
    let uuids = query.entry_uuids.unwrap_or_default();
    let indexes = query.log_indexes.unwrap_or_default();
    let proposals = query.entries.unwrap_or_default();
    for (name, len) in [
        ("entryUUIDs", uuids.count),
        ("logIndexes", indexes.count),
        ("entries", proposals.count),
    ] {
        if len > MAX_RETRIEVE {
            let message = format!("{name} in body should have at most {MAX_RETRIEVE} items");
            return Err(Refused::schema(TOO_MANY, message));
        }
    }
    let total = uuids
        .count
        .saturating_add(indexes.count)
        .saturating_add(proposals.count);
    if total > MAX_RETRIEVE {
        return Err(Refused::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            format!("more than max allowed {MAX_RETRIEVE} entries in request"),
        ));
    }
    let mut ids = Vec::new();
    for uuid in uuids.items {
        ids.push(uuid.parse().map_err(|_| {
            let pattern = "^([0-9a-fA-F]{64}|[0-9a-fA-F]{80})$";
            Refused::schema(
                PATTERN,
                format!("entryUUIDs in body should match '{pattern}'"),
            )
        })?);
    }
    let shards = v1.trees.now();
    let mut wanted = Vec::new();
    for index in indexes.items {
        let index = u64::try_from(index).map_err(|_| {
            Refused::schema(
                TOO_SMALL,
                "logIndexes in body should be greater than or equal to 0",
            )
        })?;
        wanted.extend(shards.by_index(index));
    }
    for proposal in proposals.items {
        let kinds = v1.kinds.clone();
        // Its signature is checked as if it were to go in, and each one waits for its turn.
        let check = move || -> Result<EntryId, ProposeError> {
            let proposed = Proposed::parse(proposal.get().as_bytes(), &kinds)?;
            let accepted = proposed.admit(&Rules::of_lookup())?;
            let leaf = tlog::hash::leaf(accepted.body());
            Ok(EntryId { tree: None, leaf })
        };
        ids.push(v1.gate.run(check).await??);
    }
    let mut found = Vec::new();
    for id in &ids {
        if let Some((shard, index)) = shards.by_id(id).await? {
            found.push(v1.show(shard, index).await?);
        }
    }
    for (shard, index) in wanted {
        found.push(v1.show(shard, index).await?);
    }
    Ok(uncached(found))
}

/// `GET /api/v1/log`
async fn info(State(v1): State<V1>) -> Response {
    let shards = v1.trees.now();
    let inactive: Vec<_> = shards.inactive().iter().map(Shard::info).collect();
    uncached(shape::LogInfo {
        inactive_shards: (!inactive.is_empty()).then_some(inactive),
        active: shards.active().info(),
    })
}

/// `GET /api/v1/log/proof?firstSize=1&lastSize=N&treeID=T`
async fn proof(
    State(v1): State<V1>,
    Query(query): Query<BTreeMap<String, String>>,
) -> Result<Response, Refused> {
    let first = number(&query, "firstSize", 1)?.unwrap_or(1);
    let last = number(&query, "lastSize", 1)?
        .ok_or_else(|| Refused::schema(REQUIRED, "lastSize in query is required"))?;
    if first > last {
        return Err(Refused::bad(format!(
            "firstSize({first}) must be less than lastSize({last})"
        )));
    }
    let shard = v1.shard_of(&query)?;
    let proof = shard
        .log
        .consistency_between(TreeSize::new(first), TreeSize::new(last))
        .await;
    let (hashes, published) = proof?;
    let hashes = hashes.ok_or_else(|| {
        Refused::bad(format!(
            "the tree size requested({last}) was greater than what is currently observable({})",
            published.head.size
        ))
    })?;
    Ok(uncached(shape::ConsistencyProof {
        hashes: hashes
            .iter()
            .map(|hash| hex::encode(hash.as_bytes()))
            .collect(),
        root_hash: hex::encode(published.head.root.as_bytes()),
    }))
}

/// `GET /api/v1/log/publicKey?treeID=T`
async fn public_key(
    State(v1): State<V1>,
    Query(query): Query<BTreeMap<String, String>>,
) -> Result<Response, Refused> {
    let pem = v1.shard_of(&query)?.public_key().to_pem();
    Ok(([(header::CONTENT_TYPE, "application/x-pem-file")], pem).into_response())
}

/// `POST /api/v1/index/retrieve`: ids of entries, at most [`MAX_FOUND`] at a time. Upstream's form has no room for "indexed up to here", so an index that
/// is behind is no answer: to whoever looks for misuse of a name, an empty list says that there is none.
async fn search_index(
    State(v1): State<V1>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Refused> {
    let Some(search) = &v1.search else {
        return Err(Refused::new(
            StatusCode::NOT_IMPLEMENTED,
            "Search Index API not enabled in this Rekor instance",
        ));
    };
    check_json(&headers)?;
    let body = required(body?, "query")?;
    let mut query: Question = wire::parse(&body).map_err(|error| {
        Refused::bad(format!(
            "parsing query body from \"\" failed, because {error}"
        ))
    })?;
    let (keys, mode) = query.keys(&v1.gate).await.map_err(|error| match error {
        QuestionError::Schema { code, message } => Refused::schema(code, message),
        QuestionError::Turned(turned) => turned.into(),
        other => Refused::bad(other.to_string()),
    })?;
    let unanswered = |error: IndexError| {
        if error.passes() {
            tracing::warn!(%error, cause = ?error, "the search index does not answer");
            return Refused::unavailable("the search index cannot answer now, ask again", 1);
        }
        Refused::internal(&error)
    };
    let most = query.limit.map_or(MAX_FOUND, usize::from).min(MAX_FOUND);
    if most == 0 {
        let message = "limit in body should be greater than or equal to 1";
        return Err(Refused::schema(TOO_SMALL, message));
    }
    let mut next = match query.after.as_deref() {
        None => None,
        Some(text) => Some(cursor(text).ok_or_else(|| {
            let message = "after in body should be the x-search-next of an earlier answer";
            Refused::schema(PATTERN, message)
        })?),
    };
    let shards = v1.trees.now();
    let view = search.view(shards.sizes()).await.map_err(unanswered)?;
    if let Some((origin, indexed, size)) = view.behind() {
        let message = format!(
            "the search index has {indexed} of the {size} entries of {origin}: ask again, or ask /api/v2/search, which says with each answer how far it is"
        );
        return Err(Refused::unavailable(message, 5));
    }
    let mut ids = Vec::new();
    for _ in 0..MAX_ROUNDS {
        let left = most.saturating_sub(ids.len());
        let found = search.find(&view, &keys, mode, next, left).await;
        let Found { places, next: on } = found.map_err(unanswered)?;
        for place in places {
            let origin = view.origin(&place);
            let mut trees = shards.followed();
            let shard = trees.find(|(tree, _)| Some(tree.origin.as_str()) == origin);
            if let Some((_, shard)) = shard {
                let leaf = shard.log.leaf_hash(LeafIndex::new(place.leaf)).await?;
                ids.extend(leaf.map(|leaf| shard.id(leaf).to_string()));
            }
        }
        next = on;
        if next.is_none() || ids.len() >= most {
            break;
        }
    }
    let mut response = uncached(ids);
    if let Some(next) = next {
        let value = HeaderValue::try_from(on_from(&next));
        let value = value.map_err(|error| Refused::internal(&error))?;
        response.headers_mut().insert(NEXT, value);
    }
    Ok(response)
}

async fn unknown_path(uri: Uri) -> Refused {
    let message = format!("path /api/v1{} was not found", uri.path());
    Refused::new(StatusCode::NOT_FOUND, message)
}

async fn unknown_method(method: Method) -> Refused {
    let message = format!("method {method} is not allowed");
    Refused::new(StatusCode::METHOD_NOT_ALLOWED, message)
}

impl V1 {
    async fn show(&self, shard: &Shard, index: LeafIndex) -> Result<shape::LogEntries, Refused> {
        let (id, mut entry) = shard.show(index).await?;
        if let Some(kept) = &self.attestations
            && let Some(digest) = attested(&entry.body.0)
        {
            let payload = kept.find(digest).await;
            let payload = payload.map_err(|error| Refused::internal(&error))?;
            entry.attestation = payload.map(|payload| shape::Attestation {
                data: Base64(payload),
            });
        }
        Ok(shape::LogEntries::from([(id.to_string(), entry)]))
    }

    fn shard_of(&self, query: &BTreeMap<String, String>) -> Result<Shard, Refused> {
        let Some(text) = query.get("treeID").filter(|text| !text.is_empty()) else {
            return Ok(self.trees.now().active().clone());
        };
        if !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(Refused::schema(
                PATTERN,
                "treeID in query should match '^[0-9]+$'",
            ));
        }
        let shards = self.trees.now();
        let tree = text.parse().ok();
        let shard = tree.and_then(|tree| shards.by_tree(tree).cloned());
        shard.ok_or_else(|| Refused::bad(format!("invalid tree ID specified: {text}")))
    }
}

/// The digest of the attestation that an entry of this body may have.
fn attested(body: &[u8]) -> Option<Digest> {
    #[derive(Deserialize)]
    struct Outer {
        kind: String,
        spec: Value,
    }
    let outer: Outer = serde_json::from_slice(body).ok()?;
    let hash = match Kind::from_name(&outer.kind)? {
        Kind::Intoto => outer.spec.pointer("/content/payloadHash/value")?,
        Kind::Cose => outer.spec.pointer("/data/envelopeHash/value")?,
        _ => return None,
    };
    Digest::parse(&format!("sha256:{}", hash.as_str()?)).ok()
}

/// A whole number of the query that is not below `least`; `None` when it is not there.
fn number(
    query: &BTreeMap<String, String>,
    name: &'static str,
    least: u64,
) -> Result<Option<u64>, Refused> {
    let Some(text) = query.get(name) else {
        return Ok(None);
    };
    let number: i64 = text.parse().map_err(|_| {
        let message = format!("{name} in query must be of type int64: {text:?}");
        Refused::schema(WRONG_TYPE, message)
    })?;
    let number = u64::try_from(number).ok().filter(|number| *number >= least);
    number.map(Some).ok_or_else(|| {
        let message = format!("{name} in query should be greater than or equal to {least}");
        Refused::schema(TOO_SMALL, message)
    })
}

/// Another type is refused; a client that names none is believed to send JSON.
fn check_json(headers: &HeaderMap) -> Result<(), Refused> {
    let Some(given) = headers.get(header::CONTENT_TYPE) else {
        return Ok(());
    };
    let given = given.to_str().unwrap_or("?");
    let kind = given.split(';').next().unwrap_or_default().trim();
    if kind.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    let message = format!("unsupported media type {given:?}, only [application/json] are allowed");
    Err(Refused::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message))
}

/// A body that is not empty: else upstream says that it is required, under the name that its schema has for it.
fn required(body: Bytes, name: &str) -> Result<Bytes, Refused> {
    if body.is_empty() {
        return Err(Refused::schema(
            REQUIRED,
            format!("{name} in body is required"),
        ));
    }
    Ok(body)
}

/// Path of an entry.
fn entry_url(id: &EntryId) -> String {
    format!("/api/v1/log/entries/{id}")
}

/// Upstream's 404 of an entry has neither body nor content type.
fn not_found() -> Response {
    StatusCode::NOT_FOUND.into_response()
}

fn uncached<T: serde::Serialize>(body: T) -> Response {
    ([(header::CACHE_CONTROL, "no-cache")], Json(body)).into_response()
}
