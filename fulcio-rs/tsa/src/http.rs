//! The HTTP interface: bytes in, one call, bytes out.

use axum::body::Bytes;
use axum::extract;
use axum::extract::rejection::BytesRejection;
use axum::http::header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_TYPE, PRAGMA};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Serialize;
use tsp::{Rejection, RequestError};

use crate::admit::{Door, Form, Refusal};
use crate::desk::{Desk, StampError};
use crate::figures;

const QUERY: &str = "application/timestamp-query";
const REPLY: &str = "application/timestamp-reply";
const JSON: &str = "application/json";

/// Characters of what a client sent that an error repeats.
const TEXT_SHOWN: usize = 200;

/// What upstream's framework calls a body that is not there.
const REQUIRED: u16 = 602;

/// What the handlers need.
#[derive(Clone, Debug)]
pub(crate) struct State {
    pub(crate) door: Door,
    pub(crate) desk: Desk,
    /// Tokens are answered with 201, for clients of before 2024.
    pub(crate) created: bool,
}

pub(crate) fn routes(state: State) -> Router {
    Router::new()
        .route("/api/v1/timestamp", post(timestamp).fallback(only_post))
        .route("/api/v1/timestamp/certchain", get(chain).fallback(only_get))
        .route("/ping", get(async || "."))
        .fallback(missing)
        .layer(serve::cors::public())
        .with_state(state)
}

/// `POST /api/v1/timestamp`
async fn timestamp(
    extract::State(state): extract::State<State>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Failure> {
    if !accepts_reply(&headers) {
        let message = format!("unsupported media type requested, only [{REPLY}] are available");
        return Err(Failure::plain(StatusCode::NOT_ACCEPTABLE, message));
    }
    let form = form(&headers)?;
    let body = body.map_err(|error| Failure::plain(error.status(), error.body_text()))?;
    let response = stamp(&state, form, &body)
        .await
        .map_err(|why| Failure::of(form, &why))?;
    figures::token();
    let status = if state.created {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    let headers = [
        (CONTENT_TYPE, REPLY),
        (CACHE_CONTROL, "no-store"),
        (PRAGMA, "no-cache"),
    ];
    Ok((status, headers, response).into_response())
}

async fn stamp(state: &State, form: Form, body: &[u8]) -> Result<Vec<u8>, Why> {
    let officer = state.desk.officer();
    let admitted = state.door.admit(officer.authority(), form, body);
    let admitted = admitted.map_err(Why::Refused)?;
    let token = officer.stamp(admitted.request(), admitted.stated()).await;
    token.map_err(Why::Internal)
}

/// `GET /api/v1/timestamp/certchain`
async fn chain(extract::State(state): extract::State<State>) -> Response {
    let headers = [
        (CONTENT_TYPE, "application/pem-certificate-chain"),
        (CACHE_CONTROL, "max-age=86400, immutable"),
    ];
    (headers, state.desk.officer().pem().to_owned()).into_response()
}

async fn missing(uri: Uri) -> Failure {
    let path: String = uri.path().chars().take(TEXT_SHOWN).collect();
    let message = format!("path {path} was not found");
    Failure::plain(StatusCode::NOT_FOUND, message)
}

async fn only_post(method: Method) -> Response {
    wrong_method(&method, "POST")
}

async fn only_get(method: Method) -> Response {
    wrong_method(&method, "GET")
}

fn wrong_method(method: &Method, allowed: &'static str) -> Response {
    let message = format!("method {method} is not allowed, but [{allowed}] are");
    let failure = Failure::plain(StatusCode::METHOD_NOT_ALLOWED, message);
    ([(ALLOW, allowed)], failure).into_response()
}

/// The form that the Content-Type names; parameters such as a charset do not matter.
fn form(headers: &HeaderMap) -> Result<Form, Failure> {
    let named = headers.get(CONTENT_TYPE);
    // Without one it is this (RFC 9110 8.3).
    let named = named.map_or(Ok("application/octet-stream"), |named| named.to_str());
    let essence = named.unwrap_or_default().split(';').next();
    let essence = essence.unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case(QUERY) {
        Ok(Form::Der)
    } else if essence.eq_ignore_ascii_case(JSON) {
        Ok(Form::Json)
    } else {
        let shown: String = essence.chars().take(TEXT_SHOWN).collect();
        let message =
            format!("unsupported media type {shown:?}, only [{QUERY} {JSON}] are allowed");
        Err(Failure::plain(StatusCode::UNSUPPORTED_MEDIA_TYPE, message))
    }
}

/// RFC 9110 12.5.1, as far as one kind of answer needs it: no Accept at all, or a range with our type that has not weight zero.
fn accepts_reply(headers: &HeaderMap) -> bool {
    let mut ranges = headers
        .get_all(ACCEPT)
        .iter()
        .flat_map(|value| value.to_str().unwrap_or_default().split(','))
        .map(str::trim)
        .filter(|range| !range.is_empty())
        .peekable();
    ranges.peek().is_none() || ranges.any(takes_reply)
}

fn takes_reply(range: &str) -> bool {
    let mut parts = range.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default();
    let ours = [REPLY, "application/*", "*/*"]
        .into_iter()
        .any(|range| essence.eq_ignore_ascii_case(range));
    let refused = parts
        .filter_map(|part| part.split_once('='))
        .any(|(name, weight)| {
            name.trim().eq_ignore_ascii_case("q") && weight.trim().parse() == Ok(0.0_f32)
        });
    ours && !refused
}

/// Why there is no token.
enum Why {
    Refused(Refusal),
    Internal(StampError),
}

/// An answer that is no token: `{code,message}`, or a `TimeStampResp` that says no.
struct Failure {
    status: StatusCode,
    /// In the body; the status but for one.
    code: u16,
    /// Upstream's text, to the letter.
    message: String,
    /// What upstream does not say.
    more: Option<More>,
}

struct More {
    /// For programs; never changes.
    reason: &'static str,
    /// For people.
    details: String,
    /// Who asks in DER understands `PKIStatusInfo`, who asks in JSON understands JSON.
    rejection: Option<Rejection>,
}

#[derive(Serialize)]
struct Body<'a> {
    code: u16,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<&'a str>,
}

/// What upstream says where the fault is the request's, and nothing else fits it.
const GENERATING: &str = "Error generating timestamp response";

impl Failure {
    fn plain(status: StatusCode, message: String) -> Self {
        Self {
            status,
            code: status.as_u16(),
            message,
            more: None,
        }
    }

    fn of(form: Form, why: &Why) -> Self {
        let (status, message, rejection, reason, details) = match why {
            Why::Refused(refusal) => {
                let (status, message, rejection, reason) = verdict(refusal);
                (status, message, rejection, reason, refusal.to_string())
            }
            // What exactly is wrong goes to the service's log.
            Why::Internal(error) => {
                let error = std::error::Error::source(error)
                    .map_or_else(|| error.to_string(), |source| format!("{error}: {source}"));
                tracing::error!(error, "no token could be made");
                (
                    StatusCode::INTERNAL_SERVER_ERROR,
                    GENERATING,
                    Rejection::SystemFailure,
                    "internal",
                    "the service's log has more under this request's id".to_owned(),
                )
            }
        };
        figures::refused(reason);
        let code = match status {
            StatusCode::UNPROCESSABLE_ENTITY => REQUIRED,
            other => other.as_u16(),
        };
        Self {
            status,
            code,
            message: message.to_owned(),
            more: Some(More {
                reason,
                details,
                rejection: (form == Form::Der).then_some(rejection),
            }),
        }
    }
}

/// Status, upstream's text, and the reason in RFC 3161's words and in ours.
fn verdict(refusal: &Refusal) -> (StatusCode, &'static str, Rejection, &'static str) {
    let (message, rejection, reason) = match refusal {
        Refusal::Request(RequestError::Empty) => {
            return (
                StatusCode::UNPROCESSABLE_ENTITY,
                "request in body is required",
                Rejection::BadDataFormat,
                "empty",
            );
        }
        Refusal::Request(error) => match error {
            RequestError::TooLarge { .. } => (
                "timestamp request is too large",
                Rejection::BadDataFormat,
                "too_large",
            ),
            RequestError::Empty | RequestError::Malformed(_) => {
                (GENERATING, Rejection::BadDataFormat, "malformed")
            }
            RequestError::WeakHash => (
                "Weak hash algorithm in timestamp request",
                Rejection::BadAlgorithm,
                "weak_hash",
            ),
            RequestError::UnknownHash(_) => (GENERATING, Rejection::BadAlgorithm, "unknown_hash"),
            RequestError::DigestLength { .. } => (
                "Message digest has incorrect length for specified algorithm",
                Rejection::BadDataFormat,
                "digest_length",
            ),
            RequestError::Nonce => (GENERATING, Rejection::BadDataFormat, "nonce"),
            RequestError::Oid => (
                "OID should be comprised of at most 128 components",
                Rejection::BadDataFormat,
                "policy_oid",
            ),
            RequestError::Extension(_) => (
                "unaccepted extension: requested extensions are not supported by the TSA",
                Rejection::UnacceptedExtension,
                "unaccepted_extension",
            ),
        },
        Refusal::Policy(_) => (
            "unaccepted policy: requested TSA policy is not supported by the TSA",
            Rejection::UnacceptedPolicy,
            "unaccepted_policy",
        ),
        Refusal::OutOfTime(at) => {
            tracing::error!(%at, "the certificate chain is not valid: no tokens");
            let status = StatusCode::SERVICE_UNAVAILABLE;
            return (
                status,
                GENERATING,
                Rejection::SystemFailure,
                "chain_not_valid",
            );
        }
        Refusal::Time(doubt) => {
            tracing::error!(%doubt, "the time is in doubt: no tokens");
            let status = StatusCode::SERVICE_UNAVAILABLE;
            return (
                status,
                GENERATING,
                Rejection::TimeNotAvailable,
                "time_not_available",
            );
        }
    };
    (StatusCode::BAD_REQUEST, message, rejection, reason)
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let more = self.more.as_ref();
        let der = more.and_then(|more| {
            let text = format!("{}: {}", self.message, more.details);
            tsp::rejection(more.rejection?, &text).ok()
        });
        if let Some(der) = der {
            let headers = [(CONTENT_TYPE, REPLY), (CACHE_CONTROL, "no-store")];
            return (self.status, headers, der).into_response();
        }
        let body = Body {
            code: self.code,
            message: &self.message,
            reason: more.map(|more| more.reason),
            details: more.map(|more| more.details.as_str()),
        };
        (self.status, [(CACHE_CONTROL, "no-store")], Json(body)).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accept(values: &[&'static str]) -> bool {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(ACCEPT, axum::http::HeaderValue::from_static(value));
        }
        accepts_reply(&headers)
    }

    #[test]
    fn accept_is_read_as_rfc_9110_says() {
        for good in [
            &[][..],
            &["*/*"],
            &["application/*;q=0.1"],
            &["text/html, Application/Timestamp-Reply"],
            &["text/html", "*/*"],
        ] {
            assert!(accept(good), "{good:?}");
        }
        for bad in [
            &["application/json"][..],
            &["text/html, text/plain"],
            &["application/timestamp-reply;q=0"],
            &["*/*; q=0.000"],
        ] {
            assert!(!accept(bad), "{bad:?}");
        }
    }
}
