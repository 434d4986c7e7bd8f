//! The HTTP interface of the witness. The statuses are those of C2SP tlog-witness.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{self, Path};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use note::{Cosignature, Note};
use serve::{Clock, Code, Health, Problem};
use witness::{Refusal, Submission};

use super::Cosigner;
use super::memory::Memory;

const SIZE_TYPE: &str = "text/x.tlog.size";

#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) memory: Arc<Memory>,
    pub(super) cosigner: Arc<Cosigner>,
    pub(super) clock: Clock,
    pub(super) health: Health,
}

pub(super) fn routes(state: State) -> Router {
    Router::new()
        .route("/add-checkpoint", post(add_checkpoint))
        .route("/{origin}/checkpoint", get(checkpoint))
        .with_state(state)
}

/// `POST /add-checkpoint`
async fn add_checkpoint(
    extract::State(state): extract::State<State>,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let response = match add(state, body).await {
        Ok(response) => response,
        Err(problem) => problem.into_response(),
    };
    let code = response.status().as_str().to_owned();
    metrics::counter!("rekor_witness_add_checkpoint_total", "code" => code).increment(1);
    response
}

async fn add(state: State, body: Result<Bytes, BytesRejection>) -> Result<Response, Problem> {
    let submission =
        Submission::parse(&body?).map_err(|error| Problem::invalid_argument(because(&error)))?;
    // A name from outside goes no further than this look-up.
    let origin = submission.checkpoint().origin.clone();
    let Some(_) = state.memory.log(&origin) else {
        return Err(Problem::new(
            Code::NotFound,
            "this witness does not know the origin of the checkpoint",
        ));
    };
    // A task of its own, as a client that hangs up must not leave the memory half written and unlocked.
    let done = tokio::spawn(async move { cosign(&state, &submission, &origin).await });
    done.await.map_err(|error| Problem::internal(&error))?
}

async fn cosign(state: &State, submission: &Submission, origin: &str) -> Result<Response, Problem> {
    let Some(slot) = state.memory.log(origin) else {
        return Err(Problem::new(Code::NotFound, "unknown origin"));
    };
    // From here on nobody else judges a checkpoint of this log.
    let mut seen = slot.seen.lock().await;
    let known = seen.as_ref().map(|seen| seen.head);
    let judged = match witness::judge(submission, &slot.log.keys, known) {
        Ok(judged) => judged,
        Err(refusal) => return refused(origin, &refusal),
    };
    let now = state.clock.now().as_second();
    let timestamp = u64::try_from(now).map_err(|error| Problem::internal(&error))?;
    let cosignatures = sign(&state.cosigner, judged.note(), timestamp).await;
    let cosignatures = cosignatures.map_err(|error| Problem::internal(&*error))?;
    let remembered = state
        .memory
        .remember(slot, &mut seen, judged.head(), judged.note(), &cosignatures)
        .await;
    if let Err(error) = remembered {
        // The cosignature has not left, so nothing contradicts the file, whichever of the two notes it has.
        state
            .health
            .fail(format!("the witness cannot write: {error}"));
        return Err(Problem::unavailable("the witness cannot write now", 30));
    }
    if state.health.failure().is_some() {
        state.health.recover();
    }
    let lines: String = cosignatures
        .iter()
        .map(|cosignature| cosignature.line().to_text())
        .collect();
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], lines).into_response())
}

async fn sign(
    cosigner: &Cosigner,
    note: &Note,
    timestamp: u64,
) -> Result<Vec<Cosignature>, Box<dyn std::error::Error + Send + Sync>> {
    let mut cosignatures = Vec::new();
    let prepared = cosigner.key.prepare(note, timestamp)?;
    let signature = cosigner.signer.sign(prepared.to_be_signed()).await?;
    cosignatures.push(prepared.seal(&signature)?);
    if let Some((signer, key)) = &cosigner.post_quantum {
        let prepared = key.prepare(note, timestamp)?;
        let signature = signer.sign(prepared.to_be_signed())?;
        cosignatures.push(prepared.seal(&signature)?);
    }
    Ok(cosignatures)
}

fn refused(origin: &str, refusal: &Refusal) -> Result<Response, Problem> {
    let problem = match refusal {
        Refusal::Conflict { known, .. } => {
            let headers = [(header::CONTENT_TYPE, SIZE_TYPE)];
            let size = format!("{known}\n");
            return Ok((StatusCode::CONFLICT, headers, size).into_response());
        }
        Refusal::Signature(_) => Problem::new(Code::PermissionDenied, because(refusal)),
        Refusal::OldIsLarger { .. } => Problem::invalid_argument(because(refusal)),
        Refusal::Inconsistent(_) | Refusal::EmptyRoot => {
            // The log's own signature is under it: worth a person's look.
            tracing::warn!(
                origin,
                reason = because(refusal),
                "a signed checkpoint that is inconsistent"
            );
            Problem::with_status(
                StatusCode::UNPROCESSABLE_ENTITY,
                Code::InvalidArgument,
                because(refusal),
            )
        }
    };
    Err(problem)
}

/// The error and its causes in a line.
fn because(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

/// `GET /<hex SHA-256 of origin>/checkpoint`
async fn checkpoint(
    extract::State(state): extract::State<State>,
    Path(hash): Path<String>,
) -> Result<Response, Problem> {
    let missing = || Problem::new(Code::NotFound, "no checkpoint of such a log was cosigned");
    let slot = state.memory.by_hash(&hash).ok_or_else(missing)?;
    let seen = slot.seen.lock().await.clone().ok_or_else(missing)?;
    let headers = [
        (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    Ok((headers, seen.note.to_vec()).into_response())
}
