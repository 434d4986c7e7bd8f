//! The HTTP interface: bytes in, one call, bytes out.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{self, Path};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use sequencer::{AppendError, Appended, Leaf as _, Log, Resource};
use serve::{Code, Problem};
use tower_http::cors::{Any, CorsLayer};
use wire::bundle::{Checkpoint, InclusionProof, KindVersion, TransparencyLogEntryReply};
use wire::common::LogId;
use wire::encoding::Int64;

use crate::admit::{Admitted, Door, Refusal};
use crate::config::Duplicates;
use crate::leaf::Entry;

/// Tiles of any width are fixed for ever (rekor-tiles' bucket sets the same value).
const FOR_EVER: &str = "max-age=604800, immutable";

/// rekor-tiles' words: clients show them.
pub(crate) const FROZEN: &str = "This log has been frozen, please switch to the latest log.";

/// What the handlers need.
#[derive(Clone, Debug)]
pub(crate) struct State {
    pub(crate) log: Log<Entry>,
    pub(crate) door: Door,
    pub(crate) duplicates: Duplicates,
    /// `logId.keyId`: the whole hash whose first four bytes are the note's key hint.
    pub(crate) log_id: Vec<u8>,
}

/// Monitors read at the root, witnesses are set up with `/api/v2/`; the public instances answer both.
pub(crate) fn routes(state: State) -> Router {
    let reads = Router::new()
        .route("/checkpoint", get(checkpoint))
        .route("/tile/{*path}", get(tile));
    Router::new()
        .route("/api/v2/log/entries", post(add))
        .nest("/api/v2", reads.clone())
        .merge(reads)
        .with_state(state)
}

/// Pages from anywhere may read the log and write to it, as everybody else: nothing here depends on who asks.
pub(crate) fn browsers() -> CorsLayer {
    let exposed = [
        "etag",
        "location",
        "retry-after",
        "x-log-index",
        "x-request-id",
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
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let Admitted {
        leaf,
        body,
        kind,
        version,
    } = {
        // Before anything is looked at: a frozen log owes nobody a signature check.
        if state.log.is_frozen() {
            return Ok(frozen());
        }
        state.door.admit(body?).await?
    };
    let appended = match state.log.append(leaf).await {
        Ok(appended) => appended,
        Err(AppendError::Frozen) => return Ok(frozen()),
        Err(error) => return Err(not_appended(&error)),
    };
    if appended.duplicate && state.duplicates == Duplicates::Conflict {
        return Ok(conflict(&appended));
    }
    if !appended.duplicate {
        // The names are rekor-tiles'.
        match kind {
            "dsse" => metrics::counter!("rekor_v2_new_dsse_entries").increment(1),
            _ => metrics::counter!("rekor_v2_new_hashedrekord_entries").increment(1),
        }
    }
    let kind_version = KindVersion {
        kind: kind.to_owned(),
        version: version.to_owned(),
    };
    let reply = reply(&appended, kind_version, &body, &state.log_id)?;
    Ok((StatusCode::CREATED, Json(reply)).into_response())
}

async fn checkpoint(extract::State(state): extract::State<State>) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, state.log.published().checkpoint.to_vec()).into_response()
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

/// rekor-tiles: the entry is not returned, its index is, in the text and in a header.
fn conflict(appended: &Appended) -> Response {
    let index = appended.inclusion.index.get();
    let message =
        format!("an equivalent entry already exists in the transparency log with index {index}");
    let mut response = Problem::new(Code::AlreadyExists, message).into_response();
    let headers = response.headers_mut();
    headers.insert("x-log-index", HeaderValue::from(index));
    response
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
        ] {
            let response = problem.into_response();
            assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
            assert_eq!(response.headers()[header::RETRY_AFTER], seconds);
        }
    }
}
