//! The error body of Fulcio, Rekor and every other service with a gRPC ancestor.

use std::collections::BTreeMap;

use axum::extract::rejection::{BytesRejection, JsonRejection, PathRejection, QueryRejection};
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;

use crate::observe::RequestId;

/// Longest message sent to a client: enough for a sentence and the value it complains of.
const MESSAGE_MAX: usize = 1000;

/// The word for a request that has more bytes than one may have.
pub(crate) const TOO_LARGE: &str = "REQUEST_TOO_LARGE";

/// gRPC status codes (google/rpc/code.proto), by their numbers on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Code {
    /// 1: the caller went away.
    Cancelled = 1,
    /// 2: no better code fits.
    Unknown = 2,
    /// 3: the request is wrong, whatever the state of the system.
    InvalidArgument = 3,
    /// 4: the time was up before the work was done.
    DeadlineExceeded = 4,
    /// 5: no such thing.
    NotFound = 5,
    /// 6: there is one already.
    AlreadyExists = 6,
    /// 7: known, and not allowed.
    PermissionDenied = 7,
    /// 8: too much of something.
    ResourceExhausted = 8,
    /// 9: right request, wrong state of the system.
    FailedPrecondition = 9,
    /// 10: try again.
    Aborted = 10,
    /// 11: past the end.
    OutOfRange = 11,
    /// 12: not offered here.
    Unimplemented = 12,
    /// 13: our fault.
    Internal = 13,
    /// 14: not now.
    Unavailable = 14,
    /// 15: our fault, and data is gone.
    DataLoss = 15,
    /// 16: unknown caller.
    Unauthenticated = 16,
}

impl Code {
    /// The number on the wire.
    pub const fn number(self) -> u8 {
        #[expect(
            clippy::as_conversions,
            reason = "the discriminant of a repr(u8) enum, and From is not const"
        )]
        {
            self as u8
        }
    }

    /// The code of a number on the wire.
    pub const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Cancelled,
            2 => Self::Unknown,
            3 => Self::InvalidArgument,
            4 => Self::DeadlineExceeded,
            5 => Self::NotFound,
            6 => Self::AlreadyExists,
            7 => Self::PermissionDenied,
            8 => Self::ResourceExhausted,
            9 => Self::FailedPrecondition,
            10 => Self::Aborted,
            11 => Self::OutOfRange,
            12 => Self::Unimplemented,
            13 => Self::Internal,
            14 => Self::Unavailable,
            15 => Self::DataLoss,
            16 => Self::Unauthenticated,
            _ => return None,
        })
    }

    /// The HTTP status that the gRPC gateway gives to this code.
    pub const fn status(self) -> StatusCode {
        match self {
            Self::InvalidArgument | Self::FailedPrecondition | Self::OutOfRange => {
                StatusCode::BAD_REQUEST
            }
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
            Self::PermissionDenied => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Cancelled => StatusCode::REQUEST_TIMEOUT,
            Self::AlreadyExists | Self::Aborted => StatusCode::CONFLICT,
            Self::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
            Self::Unknown | Self::Internal | Self::DataLoss => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Unimplemented => StatusCode::NOT_IMPLEMENTED,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        }
    }
}

/// An error answer: `{"code":3,"message":"..","details":[]}` with an HTTP status (google/rpc/status.proto as JSON).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    status: StatusCode,
    code: Code,
    message: String,
    reasons: Vec<Reason>,
    retry_after: Option<u32>,
}

/// A word for machines, and what it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reason {
    pub(crate) word: String,
    pub(crate) about: BTreeMap<&'static str, String>,
}

/// google/rpc/error_details.proto.
#[derive(Serialize)]
#[serde(tag = "@type")]
enum Detail<'a> {
    /// A word for machines.
    #[serde(rename = "type.googleapis.com/google.rpc.ErrorInfo")]
    ErrorInfo {
        reason: &'a str,
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        metadata: &'a BTreeMap<&'static str, String>,
    },
    /// What to tell the operator.
    #[serde(rename = "type.googleapis.com/google.rpc.RequestInfo")]
    RequestInfo {
        #[serde(rename = "requestId")]
        request_id: &'a str,
    },
}

#[derive(Serialize)]
struct Body<'a> {
    code: u8,
    message: &'a str,
    details: Vec<Detail<'a>>,
}

impl Problem {
    /// A problem with the status that its code implies. The message is read by people and goes to strangers: no secrets,
    /// no file names, no causes from inside.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self::with_status(code.status(), code, message)
    }

    /// A problem with a status of its own (413, 415, ...).
    pub fn with_status(status: StatusCode, code: Code, message: impl Into<String>) -> Self {
        let mut message = message.into();
        if let Some((end, _)) = message.char_indices().nth(MESSAGE_MAX) {
            message.truncate(end);
        }
        Self {
            status,
            code,
            message,
            reasons: Vec::new(),
            retry_after: None,
        }
    }

    /// The request is wrong: 400, code 3.
    pub fn invalid_argument(message: impl Into<String>) -> Self {
        Self::new(Code::InvalidArgument, message)
    }

    /// Something broke on our side: 500, code 13. The cause goes to the log, and the client gets a sentence without it.
    pub fn internal(cause: &dyn std::error::Error) -> Self {
        let mut chain = cause.to_string();
        let mut next = cause.source();
        while let Some(error) = next {
            chain.push_str(": ");
            chain.push_str(&error.to_string());
            next = error.source();
        }
        tracing::error!(cause = chain, "internal error");
        Self::new(
            Code::Internal,
            "internal error; the service's log has more under this request's id",
        )
    }

    /// Not now; come back after so many seconds: 503, code 14, `Retry-After`.
    pub fn unavailable(message: impl Into<String>, retry_after_seconds: u32) -> Self {
        Self {
            retry_after: Some(retry_after_seconds),
            ..Self::new(Code::Unavailable, message)
        }
    }

    /// Too much from this client; come back after so many seconds: 429, code 8, `Retry-After`.
    pub fn too_many(message: impl Into<String>, retry_after_seconds: u32) -> Self {
        Self {
            retry_after: Some(retry_after_seconds),
            ..Self::new(Code::ResourceExhausted, message)
        }
    }

    /// Adds a stable word for machines, in capitals by custom (`TOKEN_EXPIRED`).
    #[must_use]
    pub fn with_detail(mut self, reason: impl Into<String>) -> Self {
        self.reasons.push(Reason {
            word: reason.into(),
            about: BTreeMap::new(),
        });
        self
    }

    /// As [`with_detail`](Self::with_detail), and what the word is about: the name of the claim that is missing, say.
    #[must_use]
    pub fn with_detail_about(
        mut self,
        reason: impl Into<String>,
        about: impl IntoIterator<Item = (&'static str, String)>,
    ) -> Self {
        self.reasons.push(Reason {
            word: reason.into(),
            about: about.into_iter().collect(),
        });
        self
    }

    /// The HTTP status.
    pub const fn status(&self) -> StatusCode {
        self.status
    }

    /// The gRPC code.
    pub const fn code(&self) -> Code {
        self.code
    }

    /// Seconds after which it makes sense to try again.
    pub const fn retry_after(&self) -> Option<u32> {
        self.retry_after
    }

    /// The sentence for people.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The words for machines.
    pub(crate) fn reasons(&self) -> &[Reason] {
        &self.reasons
    }
}

impl IntoResponse for Problem {
    /// Within a request its id is among the details, for whoever asks the operator.
    fn into_response(self) -> Response {
        let id = RequestId::current();
        let reasons = self.reasons.iter();
        let mut details: Vec<_> = reasons
            .map(|Reason { word, about }| Detail::ErrorInfo {
                reason: word,
                metadata: about,
            })
            .collect();
        details.extend(id.as_ref().map(|id| Detail::RequestInfo {
            request_id: id.as_str(),
        }));
        let body = Body {
            code: self.code.number(),
            message: &self.message,
            details,
        };
        let mut response = (self.status, axum::Json(body)).into_response();
        if let Some(seconds) = self.retry_after {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            // RFC 9110 15.5.2: a 401 names the scheme.
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        // For a caller that speaks gRPC it is said again.
        response.extensions_mut().insert(self);
        response
    }
}

impl From<BytesRejection> for Problem {
    fn from(rejection: BytesRejection) -> Self {
        unread(rejection.status(), rejection.body_text())
    }
}

impl From<JsonRejection> for Problem {
    fn from(rejection: JsonRejection) -> Self {
        unread(rejection.status(), rejection.body_text())
    }
}

/// Of a body that cannot be read.
fn unread(status: StatusCode, message: String) -> Problem {
    if status == StatusCode::PAYLOAD_TOO_LARGE {
        Problem::with_status(status, Code::ResourceExhausted, message).with_detail(TOO_LARGE)
    } else {
        Problem::with_status(status, Code::InvalidArgument, message)
    }
}

impl From<PathRejection> for Problem {
    fn from(rejection: PathRejection) -> Self {
        Self::invalid_argument(rejection.body_text())
    }
}

impl From<QueryRejection> for Problem {
    fn from(rejection: QueryRejection) -> Self {
        Self::invalid_argument(rejection.body_text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn text(problem: Problem) -> String {
        let body = http_body_util::BodyExt::collect(problem.into_response().into_body())
            .await
            .unwrap()
            .to_bytes();
        String::from_utf8(body.to_vec()).unwrap()
    }

    #[tokio::test]
    async fn the_body_is_that_of_the_gateway() {
        assert_eq!(
            text(Problem::invalid_argument("no token")).await,
            r#"{"code":3,"message":"no token","details":[]}"#
        );
        assert_eq!(
            text(Problem::new(Code::Unauthenticated, "late").with_detail("TOKEN_EXPIRED")).await,
            r#"{"code":16,"message":"late","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"TOKEN_EXPIRED"}]}"#
        );
        let about = [("claim", "sha".to_owned())];
        let missing = Problem::invalid_argument("no").with_detail_about("MISSING", about);
        assert_eq!(
            text(missing).await,
            r#"{"code":3,"message":"no","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"MISSING","metadata":{"claim":"sha"}}]}"#
        );
    }

    #[tokio::test]
    async fn a_message_has_an_end_even_between_wide_characters() {
        let body = text(Problem::invalid_argument("ä".repeat(5000))).await;
        assert_eq!(body.matches('ä').count(), MESSAGE_MAX);
    }
}
