//! The HTTP interface: bytes in, one call, bytes out.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{self, Path, Query};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use entry::Proposed;
use sequencer::{AppendError, Appended, Inclusion, Leaf as _, Log, Resource};
use serde::Deserialize;
use serve::{Code, Health, Problem};
use tower_http::cors::{Any, CorsLayer};
use wire::bundle::{Checkpoint, InclusionProof, KindVersion, TransparencyLogEntryReply};
use wire::common::LogId;
use wire::encoding::Int64;

use crate::admit::{Admitted, Door, Refusal};
use crate::config::Duplicates;
use crate::forward::Forward;
use crate::leaf::Entry;
use crate::witnessing::{WithoutQuorum, Witnessing};

/// Tiles of any width are fixed for ever (rekor-tiles' bucket sets the same value).
const FOR_EVER: &str = "max-age=604800, immutable";

/// rekor-tiles' words: clients show them.
pub(crate) const FROZEN: &str = "This log has been frozen, please switch to the latest log.";

/// Who writes the log.
#[derive(Clone, Debug)]
pub(crate) enum Writes {
    /// This process.
    Here,
    /// Another one, perhaps with a way there.
    Elsewhere(Option<Arc<Forward>>),
    /// This process was told not to; rekor-tiles answers such a request as one to a frozen log.
    Nowhere,
}

pub(crate) const ELSEWHERE: &str = "this instance only reads the log: another one writes it, and this one does when that has ended";

/// What the handlers need.
#[derive(Clone, Debug)]
pub(crate) struct State {
    pub(crate) log: Log<Entry>,
    pub(crate) door: Door,
    pub(crate) writes: Writes,
    pub(crate) witnessing: Option<Witnessing>,
    pub(crate) duplicates: Duplicates,
    /// The public key, PEM.
    pub(crate) public_key: String,
    /// `logId.keyId`: the whole hash whose first four bytes are the note's key hint.
    pub(crate) log_id: Vec<u8>,
}

/// Monitors read at the root, witnesses are set up with `/api/v2/`; the public instances answer both.
pub(crate) fn routes(state: State) -> Router {
    let reads = Router::new()
        .route("/checkpoint", get(checkpoint))
        .route("/checkpoint/latest", get(latest))
        .route("/tile/{*path}", get(tile));
    Router::new()
        .route("/api/v2/log/entries", post(add))
        .route("/api/v2/log/publicKey", get(public_key))
        .nest("/api/v2", reads.clone())
        .merge(reads)
        .with_state(state)
}

/// `GET /api/v2/log/publicKey`: for whoever makes a trusted root, who compares it with what this machine says. Verifiers do not ask for it.
async fn public_key(extract::State(state): extract::State<State>) -> Response {
    (
        [(header::CONTENT_TYPE, "application/x-pem-file")],
        state.public_key.clone(),
    )
        .into_response()
}

/// `GET /readyz`: whether entries can be added here. (`/healthz` says whether the process can do its work at all, which may be reading.)
pub(crate) fn readiness(writes: Writes, health: Health) -> Router {
    let ready = async move || match (&writes, health.failure()) {
        (Writes::Here, None) => (StatusCode::OK, "ready\n").into_response(),
        (Writes::Here, Some(_)) => (StatusCode::SERVICE_UNAVAILABLE, "not ready\n").into_response(),
        (Writes::Elsewhere(Some(_)), None) => {
            (StatusCode::OK, "ready, and sends entries on\n").into_response()
        }
        _ => (StatusCode::SERVICE_UNAVAILABLE, "reads only\n").into_response(),
    };
    Router::new().route("/readyz", get(ready))
}

/// What is answered here, for programs (OpenAPI 3.0).
pub(crate) const OPENAPI: &str = include_str!("openapi.json");

/// `GET /openapi.json`
pub(crate) fn description() -> Router {
    let headers = [(header::CONTENT_TYPE, "application/json")];
    Router::new().route("/openapi.json", get(async move || (headers, OPENAPI)))
}

/// `GET /`: for a person who came with a browser.
const FRONT_PAGE: &str = "<!DOCTYPE html>\n<html lang=\"en\"><title>Transparency log</title>\n<h1>A transparency log of signatures</h1>\n\
    <p>It is for programs: <a href=\"/checkpoint\">its last checkpoint</a>, \
    <a href=\"/openapi.json\">what else can be asked</a>.\n</html>\n";

pub(crate) fn front_page() -> Router {
    Router::new().route("/", get(async || Html(FRONT_PAGE)))
}

/// In the words of grpc-gateway, which rekor-tiles answers with; and who speaks gRPC itself is told in gRPC.
pub(crate) async fn unknown_path(headers: HeaderMap) -> Response {
    let kind = headers.get(header::CONTENT_TYPE);
    if kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc")) {
        return tonic::Status::unimplemented("unknown service or method").into_http();
    }
    Problem::new(Code::NotFound, "Not Found").into_response()
}

/// grpc-gateway says 501 here; what HTTP has for it is kept, with the same code.
pub(crate) async fn unknown_method() -> Problem {
    let status = StatusCode::METHOD_NOT_ALLOWED;
    Problem::with_status(status, Code::Unimplemented, "Method Not Allowed")
}

/// Pages from anywhere may read the log and write to it, as everybody else: nothing here depends on who asks.
pub(crate) fn browsers() -> CorsLayer {
    let exposed = [
        "etag",
        "location",
        "retry-after",
        "x-log-index",
        "x-request-id",
        "x-search-keys-left-out",
        "x-search-next",
    ];
    CorsLayer::new()
        .allow_origin(Any)
        .allow_methods([Method::GET, Method::POST])
        .allow_headers([header::ACCEPT, header::CONTENT_TYPE])
        .expose_headers(exposed.map(HeaderName::from_static))
        .max_age(Duration::from_hours(24))
}

/// `POST /api/v2/log/entries`
async fn add(
    extract::State(state): extract::State<State>,
    query: Result<Query<Options>, QueryRejection>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let Query(options) = query?;
    // Before anything is looked at: a frozen log owes nobody a signature check.
    if state.log.is_frozen() {
        return Ok(frozen());
    }
    match add_entry(&state, Given::Json(body?), options.wait, &headers).await {
        Ok(reply) => Ok((StatusCode::CREATED, Json(reply)).into_response()),
        Err(NotAdded { problem, .. }) if problem.message() == FROZEN => Ok(frozen()),
        Err(NotAdded {
            problem,
            index: None,
        }) => Err(problem),
        Err(NotAdded {
            problem,
            index: Some(index),
        }) => {
            let mut response = problem.into_response();
            let headers = response.headers_mut();
            headers.insert("x-log-index", HeaderValue::from(index));
            Ok(response)
        }
    }
}

/// A request in one of the two forms in which it comes.
pub(crate) enum Given {
    /// The body of a POST.
    Json(Bytes),
    /// From protobuf.
    Proposed(Proposed),
}

/// Why the answer is no entry, and the index of the entry if it is there.
pub(crate) struct NotAdded {
    pub(crate) problem: Problem,
    pub(crate) index: Option<u64>,
}

impl<P: Into<Problem>> From<P> for NotAdded {
    fn from(problem: P) -> Self {
        Self {
            problem: problem.into(),
            index: None,
        }
    }
}

/// Adds an entry, and waits for what the request wants.
pub(crate) async fn add_entry(
    state: &State,
    given: Given,
    wait: Option<Wait>,
    headers: &HeaderMap,
) -> Result<TransparencyLogEntryReply, NotAdded> {
    let Admitted {
        leaf,
        body,
        kind,
        version,
    } = {
        match &state.writes {
            Writes::Here => {}
            Writes::Elsewhere(None) => return Err(Problem::unavailable(ELSEWHERE, 1).into()),
            Writes::Elsewhere(Some(forward)) => {
                return send_on(forward, given, wait, headers).await;
            }
            Writes::Nowhere => return Err(not_appended(&AppendError::Frozen).into()),
        }
        if state.log.is_frozen() {
            return Err(not_appended(&AppendError::Frozen).into());
        }
        if wait == Some(Wait::Witnessed) && state.witnessing.is_none() {
            // Said before anything is added: who waits for witnesses would not know what to do with an entry that has none.
            let message = "wait=witnessed: this log has no witnesses";
            return Err(Problem::invalid_argument(message).into());
        }
        match given {
            Given::Json(body) => state.door.admit(body).await?,
            Given::Proposed(proposed) => state.door.admit_proposed(proposed).await?,
        }
    };
    let appended = state.log.append(leaf).await;
    let mut appended = appended.map_err(|error| not_appended(&error))?;
    let index = appended.inclusion.index.get();
    if appended.duplicate && state.duplicates == Duplicates::Conflict {
        // rekor-tiles: the entry is not returned, its index is, in the text and in a header.
        let message = format!(
            "an equivalent entry already exists in the transparency log with index {index}"
        );
        return Err(NotAdded {
            problem: Problem::new(Code::AlreadyExists, message),
            index: Some(index),
        });
    }
    if !appended.duplicate {
        // The names are rekor-tiles'.
        match kind {
            "dsse" => metrics::counter!("rekor_v2_new_dsse_entries").increment(1),
            _ => metrics::counter!("rekor_v2_new_hashedrekord_entries").increment(1),
        }
    }
    if let Some(witnessing) = &state.witnessing
        && wait.map_or(witnessing.by_default(), |wait| wait == Wait::Witnessed)
    {
        match witnessed(&state.log, witnessing, &appended).await? {
            Some(inclusion) => appended.inclusion = inclusion,
            None if witnessing.without_quorum() == WithoutQuorum::Publish => {}
            None => {
                // The entry is there; its index tells the client where to look for it later.
                let message = format!(
                    "the entry is in the log with index {index}, and no quorum of witnesses has cosigned it within {} seconds",
                    witnessing.patience().as_secs()
                );
                return Err(NotAdded {
                    problem: Problem::unavailable(message, 5),
                    index: Some(index),
                });
            }
        }
    }
    let kind_version = KindVersion {
        kind: kind.to_owned(),
        version: version.to_owned(),
    };
    Ok(reply(&appended, kind_version, &body, &state.log_id)?)
}

/// A [`Problem`] as the leader writes it.
#[derive(Deserialize)]
struct Said {
    code: u8,
    message: String,
}

/// Has the leader add an entry, and answers as it does.
async fn send_on(
    forward: &Forward,
    given: Given,
    wait: Option<Wait>,
    headers: &HeaderMap,
) -> Result<TransparencyLogEntryReply, NotAdded> {
    let body = match given {
        Given::Json(body) => body,
        Given::Proposed(proposed) => {
            let body = serde_json::to_vec(&proposed.to_wire());
            Bytes::from(body.map_err(|error| Problem::internal(&error))?)
        }
    };
    let path = match wait {
        None => "/api/v2/log/entries",
        Some(Wait::Committed) => "/api/v2/log/entries?wait=committed",
        Some(Wait::Witnessed) => "/api/v2/log/entries?wait=witnessed",
    };
    let answer = forward.send(path, body, headers).await?;
    if answer.status == StatusCode::CREATED {
        let reply = serde_json::from_slice(&answer.body);
        return Ok(reply.map_err(|error| Problem::internal(&error))?);
    }
    let number = |name| answer.header(name).and_then(|text| text.parse().ok());
    let problem = match serde_json::from_slice(&answer.body) {
        Ok(Said { code, message }) => {
            let code = Code::from_number(code).unwrap_or(Code::Unknown);
            match number("retry-after").and_then(|seconds: u64| u32::try_from(seconds).ok()) {
                Some(seconds) if code == Code::Unavailable => {
                    Problem::unavailable(message, seconds)
                }
                Some(seconds) if code == Code::ResourceExhausted => {
                    Problem::too_many(message, seconds)
                }
                _ => Problem::with_status(answer.status, code, message),
            }
        }
        // A frozen log answers in plain text.
        Err(_) if answer.status == StatusCode::METHOD_NOT_ALLOWED => {
            not_appended(&AppendError::Frozen)
        }
        Err(_) => Problem::unavailable(ELSEWHERE, 1),
    };
    Err(NotAdded {
        problem,
        index: number("x-log-index"),
    })
}

/// Parameters of a request to add an entry.
#[derive(Debug, Deserialize)]
struct Options {
    wait: Option<Wait>,
}

/// What a reply waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Wait {
    /// The entry is durable.
    Committed,
    /// A quorum of witnesses has cosigned a tree that has it.
    Witnessed,
}

/// The proof in the cosigned tree; `None` when there is no such tree in time.
async fn witnessed(
    log: &Log<Entry>,
    witnessing: &Witnessing,
    appended: &Appended,
) -> Result<Option<Inclusion>, Problem> {
    let index = appended.inclusion.index;
    let Some(shown) = witnessing.covering(index).await else {
        return Ok(None);
    };
    let inclusion = log.inclusion_in(index, shown.head, shown.checkpoint).await;
    inclusion
        .map(Some)
        .map_err(|error| Problem::internal(&error))
}

/// The newest checkpoint that is for everybody: with cosignatures, where witnesses are asked.
async fn checkpoint(extract::State(state): extract::State<State>) -> Result<Response, Problem> {
    shown(&state).map(|checkpoint| plain(&checkpoint))
}

pub(crate) fn shown(state: &State) -> Result<Arc<[u8]>, Problem> {
    let Some(witnessing) = &state.witnessing else {
        return Ok(state.log.published().checkpoint);
    };
    match (witnessing.shown(), witnessing.without_quorum()) {
        (Some(shown), _) => Ok(shown.checkpoint),
        (None, WithoutQuorum::Publish) => Ok(state.log.published().checkpoint),
        (None, WithoutQuorum::Hold) => Err(Problem::unavailable(
            "no quorum of witnesses has cosigned a checkpoint yet",
            1,
        )),
    }
}

/// The newest checkpoint that the log has signed, whoever else has.
async fn latest(extract::State(state): extract::State<State>) -> Response {
    plain(&state.log.published().checkpoint)
}

fn plain(checkpoint: &[u8]) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, checkpoint.to_vec()).into_response()
}

/// `/tile/<L>/<N>[.p/<W>]` and `/tile/entries/<N>[.p/<W>]`
async fn tile(
    extract::State(state): extract::State<State>,
    Path(path): Path<String>,
) -> Result<Response, Problem> {
    let missing = || Problem::new(Code::NotFound, "the log has no such tile");
    let resource = Resource::parse(&format!("tile/{path}"), Entry::BUNDLE).ok_or_else(missing)?;
    let bytes = state.log.read(&resource).await;
    let bytes = bytes.map_err(|error| Problem::internal(&error))?;
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream"),
        (header::CACHE_CONTROL, FOR_EVER),
    ];
    Ok((headers, bytes.ok_or_else(missing)?).into_response())
}

fn reply(
    appended: &Appended,
    kind_version: KindVersion,
    body: &[u8],
    log_id: &[u8],
) -> Result<TransparencyLogEntryReply, Problem> {
    let inclusion = &appended.inclusion;
    let number = |number: u64| i64::try_from(number).map(Int64);
    let index = number(inclusion.index.get()).map_err(|error| Problem::internal(&error))?;
    let size = number(inclusion.head.size.get()).map_err(|error| Problem::internal(&error))?;
    let envelope = String::from_utf8(inclusion.checkpoint.to_vec());
    let envelope = envelope.map_err(|error| Problem::internal(&error))?;
    Ok(TransparencyLogEntryReply {
        log_index: index,
        log_id: LogId {
            key_id: log_id.into(),
        },
        kind_version,
        integrated_time: Int64(0),
        inclusion_promise: None,
        inclusion_proof: InclusionProof {
            log_index: index,
            root_hash: inclusion.head.root.as_ref().into(),
            tree_size: size,
            hashes: inclusion
                .proof
                .iter()
                .map(|hash| hash.as_ref().into())
                .collect(),
            checkpoint: Some(Checkpoint { envelope }),
        },
        canonicalized_body: body.into(),
    })
}

/// rekor-tiles answers so, in plain text.
fn frozen() -> Response {
    (StatusCode::METHOD_NOT_ALLOWED, FROZEN).into_response()
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Turned(_) => Self::unavailable(refusal.to_string(), 1),
            Refusal::Request(_) | Refusal::DsseIsOff | Refusal::TooLong(_) => {
                Self::invalid_argument(refusal.to_string())
            }
        }
    }
}

pub(crate) fn not_appended(error: &AppendError) -> Problem {
    match error {
        AppendError::Overloaded { retry_after } => {
            let seconds = u32::try_from(retry_after.as_secs()).unwrap_or(u32::MAX);
            Problem::unavailable("the log is overloaded, try again", seconds.max(1))
        }
        // The reasons went to the service's log when they arose; a stranger needs to know only that it is not now.
        AppendError::NotSigned(_) => Problem::unavailable("the log cannot sign now, try again", 5),
        AppendError::Clock(_) => Problem::unavailable(
            "the log's clock is wrong, and it takes no entries until it is right",
            60,
        ),
        AppendError::Frozen => {
            Problem::with_status(StatusCode::METHOD_NOT_ALLOWED, Code::Unimplemented, FROZEN)
        }
        AppendError::Stopped(_) | AppendError::Closed => {
            Problem::unavailable("the log takes no entries now", 30)
        }
        AppendError::Proof(_) => {
            metrics::counter!("rekor_v2_inclusion_proof_failure_total").increment(1);
            Problem::internal(error)
        }
        AppendError::Unreadable(_) => Problem::internal(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::Turned;

    #[test]
    fn a_client_is_told_when_to_come_back() {
        let retry_after = Duration::from_secs(2);
        let overloaded = not_appended(&AppendError::Overloaded { retry_after });
        let stopped = not_appended(&AppendError::Stopped("disk /dev/sda is on fire".to_owned()));
        assert!(!stopped.message().contains("fire"), "our troubles are ours");
        for (problem, seconds) in [
            (overloaded, "2"),
            (Problem::from(Refusal::Turned(Turned::Busy)), "1"),
            (stopped, "30"),
            (not_appended(&AppendError::Closed), "30"),
            (not_appended(&AppendError::Clock(retry_after)), "60"),
        ] {
            let response = problem.into_response();
            assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
            assert_eq!(response.headers()[header::RETRY_AFTER], seconds);
        }
    }
}
