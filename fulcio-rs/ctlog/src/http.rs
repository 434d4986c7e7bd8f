//! The HTTP interface: bytes in, one call, bytes out.

use std::io::Write as _;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{self, Path};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router, middleware};
use ct::AddChainReply;
use flate2::write::GzEncoder;
use jiff::Timestamp;
use note::VerifierKey;
use sequencer::{Leaf as _, LeafHashes, Log, Resource};
use serde::Serialize;
use serve::{Code, Problem};
use wire::encoding::Bytes as Base64;

use crate::admit::{self, Kind, Refusal, Window};
use crate::config::MERGE_DELAY;
use crate::figures;
use crate::issuers::Issuers;
use crate::leaf::CertificateLeaf;
use crate::read;
use crate::roots::Roots;
use crate::submit::{AddError, Submissions};

/// Tiles of any width and issuers are fixed for ever.
const FOR_EVER: &str = "max-age=604800, immutable";

/// What the handlers need.
#[derive(Clone, Debug)]
pub(crate) struct State {
    pub(crate) log: Log<CertificateLeaf>,
    pub(crate) submissions: Submissions,
    pub(crate) verifier: VerifierKey,
    pub(crate) roots: Roots,
    pub(crate) issuers: Issuers,
    pub(crate) hashes: LeafHashes,
    pub(crate) about: Arc<About>,
}

/// The log below the path of its URL, and at the root besides, if it is to have it.
pub(crate) fn routes(state: State, prefix: Option<&str>, at_root: bool) -> Router {
    let counted = middleware::from_fn_with_state(state.about.origin.clone(), figures::count);
    let log = Router::new()
        .route("/ct/v1/add-pre-chain", post(add_pre_chain))
        .route("/ct/v1/add-chain", post(add_chain))
        .route("/ct/v1/get-sth", get(read::tree_head))
        .route("/ct/v1/get-sth-consistency", get(read::consistency))
        .route("/ct/v1/get-proof-by-hash", get(read::proof_by_hash))
        .route("/ct/v1/get-entries", get(read::entries))
        .route("/ct/v1/get-roots", get(read::roots))
        .route("/ct/v1/get-entry-and-proof", get(read::entry_and_proof))
        .route("/checkpoint", get(checkpoint))
        .route("/tile/{*path}", get(tile))
        .route("/issuer/{fingerprint}", get(issuer))
        .route("/log.v3.json", get(about))
        .method_not_allowed_fallback(async || {
            Problem::with_status(
                StatusCode::METHOD_NOT_ALLOWED,
                Code::Unimplemented,
                "the method is not allowed here",
            )
        })
        .route_layer(counted);
    let router = match (prefix, at_root) {
        (Some(prefix), true) => Router::new().nest(prefix, log.clone()).merge(log),
        (Some(prefix), false) => Router::new().nest(prefix, log),
        (None, _) => log,
    };
    router.layer(serve::cors::public()).with_state(state)
}

async fn add_pre_chain(
    extract::State(state): extract::State<State>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    add(state, Kind::Precertificate, body?).await
}

async fn add_chain(
    extract::State(state): extract::State<State>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    add(state, Kind::Certificate, body?).await
}

async fn add(state: State, kind: Kind, body: Bytes) -> Result<Response, Problem> {
    let chain = admit::parse(&body)?;
    let sct = state.submissions.add(kind, chain).await?;
    let reply = AddChainReply::new(&sct).map_err(|error| Problem::internal(&error))?;
    Ok(Json(reply).into_response())
}

async fn checkpoint(extract::State(state): extract::State<State>) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, state.log.published().checkpoint.to_vec()).into_response()
}

/// `/tile/<L>/<N>[.p/<W>]` and `/tile/data/<N>[.p/<W>]`
async fn tile(
    extract::State(state): extract::State<State>,
    Path(path): Path<String>,
    asked: HeaderMap,
) -> Result<Response, Problem> {
    let missing = || Problem::new(Code::NotFound, "the log has no such tile");
    let resource =
        Resource::parse(&format!("tile/{path}"), CertificateLeaf::BUNDLE).ok_or_else(missing)?;
    let bytes = state
        .log
        .read(&resource)
        .await
        .map_err(|error| Problem::internal(&error))?;
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream"),
        (header::CACHE_CONTROL, FOR_EVER),
    ];
    let bytes = bytes.ok_or_else(missing)?;
    // static-ct-api: data tiles should be compressed; hashes cannot be.
    if !matches!(resource, Resource::Bundle(_)) {
        return Ok((headers, bytes).into_response());
    }
    let vary = (header::VARY, "accept-encoding");
    if !takes_gzip(&asked) {
        return Ok((headers, [vary], bytes).into_response());
    }
    let packed = tokio::task::spawn_blocking(move || gzip(&bytes)).await;
    let packed = packed.map_err(std::io::Error::from).flatten();
    let packed = packed.map_err(|error| Problem::internal(&error))?;
    let packing = [(header::CONTENT_ENCODING, "gzip"), vary];
    Ok((headers, packing, packed).into_response())
}

/// Whether `Accept-Encoding` names gzip and does not forbid it (RFC 9110 12.5.3).
fn takes_gzip(asked: &HeaderMap) -> bool {
    let values = asked.get_all(header::ACCEPT_ENCODING).iter();
    let values = values.filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
        let forbidden = ["0", "0.", "0.0", "0.00", "0.000"];
        let weight = weight.trim().strip_prefix("q=");
        name.trim().eq_ignore_ascii_case("gzip")
            && !weight.is_some_and(|weight| forbidden.contains(&weight.trim()))
    })
}

fn gzip(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut packing = GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packing.write_all(bytes)?;
    packing.finish()
}

/// `/issuer/<fingerprint>`
async fn issuer(
    extract::State(state): extract::State<State>,
    Path(fingerprint): Path<String>,
) -> Result<Response, Problem> {
    let missing = || Problem::new(Code::NotFound, "the log knows no such issuer");
    let bytes: [u8; 32] = hex::decode(&fingerprint)
        .ok()
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or_else(missing)?;
    let der = state.issuer(bytes).await?.ok_or_else(missing)?;
    let headers = [
        (header::CONTENT_TYPE, "application/pkix-cert"),
        (header::CACHE_CONTROL, FOR_EVER),
    ];
    Ok((headers, der.to_vec()).into_response())
}

impl State {
    /// A certificate above a leaf, by its fingerprint.
    pub(crate) async fn issuer(&self, fingerprint: [u8; 32]) -> Result<Option<Arc<[u8]>>, Problem> {
        if let Some(known) = self.issuers.known(&fingerprint) {
            return Ok(Some(known));
        }
        let issuers = self.issuers.clone();
        let read = tokio::task::spawn_blocking(move || issuers.read(&fingerprint)).await;
        let read = read.map_err(std::io::Error::from).flatten();
        read.map_err(|error| Problem::internal(&error))
    }
}

/// What a log says about itself to those who keep lists of logs (schema log-list v3 of the CT ecosystem).
#[derive(Debug)]
pub(crate) struct About {
    /// First line of its checkpoints.
    pub(crate) origin: Arc<str>,
    /// Where it takes entries and shows them.
    pub(crate) url: String,
    pub(crate) log_id: [u8; 32],
    /// SPKI.
    pub(crate) key: Vec<u8>,
    pub(crate) window: Window,
}

#[derive(Serialize)]
struct LogV3<'a> {
    description: &'a str,
    log_id: Base64,
    key: Base64,
    url: &'a str,
    submission_url: &'a str,
    monitoring_url: &'a str,
    mmd: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    temporal_interval: Option<Interval>,
}

#[derive(Serialize)]
struct Interval {
    start_inclusive: Timestamp,
    end_exclusive: Timestamp,
}

async fn about(extract::State(state): extract::State<State>) -> Response {
    let about = &state.about;
    let window = about.window.start.zip(about.window.limit);
    let answer = LogV3 {
        description: &about.origin,
        log_id: about.log_id.as_slice().into(),
        key: about.key.as_slice().into(),
        url: &about.url,
        submission_url: &about.url,
        monitoring_url: &about.url,
        mmd: MERGE_DELAY.as_secs(),
        temporal_interval: window.map(|(start_inclusive, end_exclusive)| Interval {
            start_inclusive,
            end_exclusive,
        }),
    };
    Json(answer).into_response()
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        Self::invalid_argument(refusal.to_string()).with_detail(refusal.reason())
    }
}

impl From<AddError> for Problem {
    fn from(error: AddError) -> Self {
        let reason = error.reason();
        let seconds =
            |time: std::time::Duration| u32::try_from(time.as_secs()).unwrap_or(u32::MAX).max(1);
        let problem = match error {
            AddError::Refused(refusal) => return refusal.into(),
            // What a log says that is over (RFC 9110 15.5.11): clients do not come back with the same.
            AddError::Frozen => Self::with_status(
                StatusCode::GONE,
                Code::FailedPrecondition,
                error.to_string(),
            ),
            AddError::Overloaded(after) => Self::unavailable(error.to_string(), seconds(after)),
            AddError::Unavailable {
                retry_after,
                source: ref cause,
                ..
            } => {
                tracing::error!(?cause, "{error}");
                Self::unavailable(error.to_string(), seconds(retry_after))
            }
            AddError::Internal(ref cause) => Self::internal(cause.as_ref()),
        };
        problem.with_detail(reason)
    }
}
