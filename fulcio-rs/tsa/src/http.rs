//! The HTTP interface: bytes in, one call, bytes out.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract;
use axum::extract::rejection::BytesRejection;
use axum::http::header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_TYPE, PRAGMA};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Serialize;
use signer::Signer;
use tsp::{Rejection, RequestError};

use crate::admit::{Door, Form, Refusal};

const QUERY: &str = "application/timestamp-query";
const REPLY: &str = "application/timestamp-reply";
const JSON: &str = "application/json";

/// Characters of an unknown path that an error repeats.
const PATH_SHOWN: usize = 200;

/// What the handlers need.
#[derive(Clone, Debug)]
pub(crate) struct State {
    pub(crate) door: Door,
    pub(crate) signer: Signer,
    /// PEM, leaf first.
    pub(crate) chain: Arc<str>,
}

pub(crate) fn routes(state: State) -> Router {
    Router::new()
        .route("/api/v1/timestamp", post(timestamp).fallback(only_post))
        .route("/api/v1/timestamp/certchain", get(chain).fallback(only_get))
        .route("/ping", get(async || "."))
        .fallback(missing)
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
    let form = form(&headers).ok_or_else(|| {
        let message = format!("unsupported media type, only [{QUERY} {JSON}] are allowed");
        Failure::plain(StatusCode::UNSUPPORTED_MEDIA_TYPE, message)
    })?;
    let body = body.map_err(|error| Failure::plain(error.status(), error.body_text()))?;
    let response = stamp(&state, form, &body)
        .await
        .map_err(|why| Failure::of(form, &why))?;
    metrics::counter!("timestamp_authority_tokens_total").increment(1);
    let headers = [
        (CONTENT_TYPE, REPLY),
        (CACHE_CONTROL, "no-store"),
        (PRAGMA, "no-cache"),
    ];
    Ok((headers, response).into_response())
}

async fn stamp(state: &State, form: Form, body: &[u8]) -> Result<Vec<u8>, Why> {
    let internal = |cause: &dyn std::error::Error| {
        tracing::error!(%cause, "no token could be made");
        Why::Internal
    };
    let admitted = state.door.admit(form, body).map_err(Why::Refused)?;
    let serial = signer::random::bytes().map_err(|error| internal(&error))?;
    let authority = state.door.authority();
    let prepared = tsp::prepare(authority, admitted.request(), serial, admitted.at())
        .map_err(|error| internal(&error))?;
    let signature = state.signer.sign(prepared.to_be_signed()).await;
    let signature = signature.map_err(|error| internal(&error))?;
    prepared.seal(&signature).map_err(|error| internal(&error))
}

/// `GET /api/v1/timestamp/certchain`
async fn chain(extract::State(state): extract::State<State>) -> Response {
    let headers = [
        (CONTENT_TYPE, "application/pem-certificate-chain"),
        (CACHE_CONTROL, "max-age=86400, immutable"),
    ];
    (headers, state.chain.to_string()).into_response()
}

async fn missing(uri: Uri) -> Failure {
    let path: String = uri.path().chars().take(PATH_SHOWN).collect();
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
fn form(headers: &HeaderMap) -> Option<Form> {
    let named = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    let essence = named.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case(QUERY) {
        Some(Form::Der)
    } else if essence.eq_ignore_ascii_case(JSON) {
        Some(Form::Json)
    } else {
        None
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
    Internal,
}

/// An answer that is no token: `{code,message}` with the HTTP status as code, or a `TimeStampResp` that says no.
struct Failure {
    status: StatusCode,
    message: String,
    rejection: Option<Rejection>,
}

#[derive(Serialize)]
struct Body<'a> {
    code: u16,
    message: &'a str,
}

impl Failure {
    fn plain(status: StatusCode, message: String) -> Self {
        Self {
            status,
            message,
            rejection: None,
        }
    }

    /// Who asks in DER understands `PKIStatusInfo`, who asks in JSON understands JSON.
    fn of(form: Form, why: &Why) -> Self {
        let (status, message, rejection) = match why {
            Why::Refused(refusal) => {
                let (status, rejection) = verdict(refusal);
                (status, refusal.to_string(), rejection)
            }
            // The reason went to the service's log; the text is upstream's.
            Why::Internal => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "Error generating timestamp response".to_owned(),
                Rejection::SystemFailure,
            ),
        };
        Self {
            status,
            message,
            rejection: (form == Form::Der).then_some(rejection),
        }
    }
}

fn verdict(refusal: &Refusal) -> (StatusCode, Rejection) {
    let rejection = match refusal {
        Refusal::Request(error) => match error {
            RequestError::WeakHash | RequestError::UnknownHash(_) => Rejection::BadAlgorithm,
            RequestError::Malformed(_)
            | RequestError::DigestLength
            | RequestError::Nonce
            | RequestError::Oid => Rejection::BadDataFormat,
            RequestError::Extension(_) => Rejection::UnacceptedExtension,
        },
        Refusal::Policy(_) => Rejection::UnacceptedPolicy,
        Refusal::OutOfTime(at) => {
            tracing::error!(%at, "the certificate chain is not valid: no tokens");
            return (StatusCode::SERVICE_UNAVAILABLE, Rejection::SystemFailure);
        }
    };
    (StatusCode::BAD_REQUEST, rejection)
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let der = self
            .rejection
            .and_then(|rejection| tsp::rejection(rejection, &self.message).ok());
        if let Some(der) = der {
            let headers = [(CONTENT_TYPE, REPLY), (CACHE_CONTROL, "no-store")];
            return (self.status, headers, der).into_response();
        }
        let body = Body {
            code: self.status.as_u16(),
            message: &self.message,
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
