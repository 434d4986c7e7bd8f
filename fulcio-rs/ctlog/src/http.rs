//! The HTTP interface: bytes in, one call, bytes out.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{self, Path};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use ct::{AddChainReply, LeafEntry, Sct, to_be_signed};
use pki::Certificate;
use sequencer::{AppendError, Leaf as _, Log, Resource};
use serde::Serialize;
use serve::{Code, Problem};
use signer::Signer;
use wire::encoding::Bytes as Base64;

use crate::admit::{self, Kind, Refusal};
use crate::issuers::Issuers;
use crate::leaf::{CertificateLeaf, extensions};

/// Tiles of any width and issuers are fixed for ever.
const FOR_EVER: &str = "max-age=604800, immutable";

/// What the handlers need.
#[derive(Clone, Debug)]
pub(crate) struct State {
    pub(crate) log: Log<CertificateLeaf>,
    pub(crate) signer: Signer,
    pub(crate) roots: Arc<[Certificate]>,
    pub(crate) issuers: Issuers,
    pub(crate) leaf_index: bool,
}

/// The log at the root, and the same below the path of its URL.
pub(crate) fn routes(state: State, prefix: Option<&str>) -> Router {
    let log = Router::new()
        .route("/ct/v1/add-pre-chain", post(add_pre_chain))
        .route("/ct/v1/add-chain", post(add_chain))
        .route("/ct/v1/get-roots", get(roots))
        .route("/log.v3.json", get(description))
        .route("/checkpoint", get(checkpoint))
        .route("/tile/{*path}", get(tile))
        .route("/issuer/{fingerprint}", get(issuer));
    let router = match prefix {
        Some(prefix) => Router::new().nest(prefix, log.clone()).merge(log),
        None => log,
    };
    router.layer(serve::cors::public()).with_state(state)
}

/// The members of a log list (v3) that a trusted root is made of.
#[derive(Serialize)]
struct Description {
    log_id: Base64,
    key: Base64,
}

/// `GET /log.v3.json`: key and id, for whoever makes a trusted root. Verifiers do not ask for it.
async fn description(extract::State(state): extract::State<State>) -> Json<Description> {
    let key = state.signer.public_key();
    Json(Description {
        log_id: Base64(key.key_id().to_vec()),
        key: Base64(key.spki_der().to_vec()),
    })
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
    let (roots, issuers, leaf_index) =
        (state.roots.clone(), state.issuers.clone(), state.leaf_index);
    // Signatures of the chain, and for a new issuer a sync of the disk: not on the threads that serve connections.
    let admitted = tokio::task::spawn_blocking(move || {
        let admitted = admit::admit(&body, kind, &roots, leaf_index)?;
        issuers
            .keep(&admitted.issuers)
            .map_err(|error| Problem::internal(&error))?;
        Ok::<_, Problem>(admitted)
    });
    let admitted = admitted
        .await
        .map_err(|_| Problem::unavailable("the log is going down", 5))??;
    let appended = state
        .log
        .append(admitted.leaf)
        .await
        .map_err(|error| not_appended(&error))?;
    // From here on the entry is durable; a crash before the answer costs the client a repetition, which gets the same time and index.
    let extensions = extensions(leaf_index, appended.inclusion.index);
    let malformed = |error: ct::CtError| Problem::internal(&error);
    // An SCT for a leaf that is not in the tree would be a lie for ever: time and index come from files, the leaf hash from the tree.
    let leaf = LeafEntry {
        entry: admitted.entry.clone(),
        precertificate: None,
        chain: Vec::new(),
    };
    let leaf = leaf
        .merkle_tree_leaf(appended.timestamp_ms, &extensions)
        .map_err(malformed)?;
    if tlog::hash::leaf(&leaf) != appended.inclusion.leaf {
        let index = appended.inclusion.index;
        let what = format!("the time kept for entry {index} is not the one in the tree: run fsck");
        return Err(Problem::internal(&std::io::Error::other(what)));
    }
    let signed =
        to_be_signed(&admitted.entry, appended.timestamp_ms, &extensions).map_err(malformed)?;
    let signature = state.signer.sign(&signed).await.map_err(|cause| {
        tracing::error!(%cause, "the SCT was not signed");
        Problem::unavailable("the log cannot sign now, try again", 5)
    })?;
    let sct = Sct::new(
        state.signer.public_key(),
        appended.timestamp_ms,
        extensions,
        signature,
    );
    sct.verify(&admitted.entry, state.signer.public_key())
        .map_err(malformed)?;
    if !appended.duplicate {
        metrics::counter!("ctlog_new_entries").increment(1);
    }
    Ok(Json(AddChainReply::new(&sct).map_err(malformed)?).into_response())
}

#[derive(Serialize)]
struct Roots {
    certificates: Vec<Base64>,
}

async fn roots(extract::State(state): extract::State<State>) -> Json<Roots> {
    Json(Roots {
        certificates: state.roots.iter().map(|root| root.der().into()).collect(),
    })
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
    Ok((headers, bytes.ok_or_else(missing)?).into_response())
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
    let read = tokio::task::spawn_blocking(move || state.issuers.read(&bytes));
    let der = read
        .await
        .map_err(|_| missing())?
        .map_err(|error| Problem::internal(&error))?;
    let headers = [
        (header::CONTENT_TYPE, "application/pkix-cert"),
        (header::CACHE_CONTROL, FOR_EVER),
    ];
    Ok((headers, der.ok_or_else(missing)?).into_response())
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let reason = match refusal {
            Refusal::Json(_) | Refusal::Length(_) => "REQUEST_MALFORMED",
            Refusal::Certificate { .. } => "CERTIFICATE_MALFORMED",
            Refusal::Link { .. } => "CHAIN_BROKEN",
            Refusal::UnknownRoot(_) => "UNKNOWN_ROOT",
            Refusal::Kind(_) => "WRONG_KIND",
        };
        Self::invalid_argument(refusal.to_string()).with_detail(reason)
    }
}

fn not_appended(error: &AppendError) -> Problem {
    match error {
        AppendError::Overloaded { retry_after } => {
            let seconds = u32::try_from(retry_after.as_secs()).unwrap_or(u32::MAX);
            Problem::unavailable("the log is overloaded, try again", seconds.max(1))
        }
        AppendError::NotSigned(_) => Problem::unavailable("the log cannot sign now, try again", 5),
        AppendError::Stopped(_) | AppendError::Closed | AppendError::Frozen => {
            Problem::unavailable("the log takes no entries now", 30)
        }
        AppendError::Proof(_) | AppendError::Unreadable(_) => Problem::internal(error),
    }
}
