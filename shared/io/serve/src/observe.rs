//! Around every request: an id, a log line, a count, a deadline.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http::{HeaderName, HeaderValue, StatusCode, header};
use tracing::Instrument as _;

use crate::grpc;
use crate::problem::{Code, Problem};
use crate::routes::Manner;

/// The header that carries a request's id, in both directions.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Longest id taken from a caller: room for a UUID, a ULID or a trace id.
const REQUEST_ID_MAX: usize = 64;

/// The id of the request, in its extensions: the caller's if it is short and plain, else one of ours. It finds log lines
/// again; it is not a secret and proves nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(HeaderValue);

impl RequestId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }

    /// Of the request that is being answered; none outside of one, or in a task that it has started.
    pub fn current() -> Option<Self> {
        CURRENT.try_with(|current| current.id.clone()).ok()
    }

    fn of(request: &Request) -> Self {
        let given = request.headers().get(REQUEST_ID).filter(|value| {
            (1..=REQUEST_ID_MAX).contains(&value.len())
                && value
                    .as_bytes()
                    .iter()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte))
        });
        Self(given.cloned().unwrap_or_else(next_id))
    }
}

/// When the request that is being answered is given up ([`crate::Limits::request`]); none outside of one, or in a task that it has started.
pub fn deadline() -> Option<Instant> {
    CURRENT.try_with(|current| current.deadline).ok()
}

tokio::task_local! {
    static CURRENT: Current;
}

#[derive(Clone)]
struct Current {
    id: RequestId,
    deadline: Instant,
}

/// Unique while the process lives, and most likely beyond: a number of this start, then a count.
fn next_id() -> HeaderValue {
    static START: LazyLock<u64> = LazyLock::new(|| RandomState::new().build_hasher().finish());
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let text = format!(
        "{:016x}-{:x}",
        *START,
        COUNT.fetch_add(1, Ordering::Relaxed)
    );
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("none"))
}

/// Where the lines about requests come from.
pub(crate) const TARGET: &str = module_path!();

/// The label of a request that no route matches.
const NO_ROUTE: &str = "-";

/// Only the route's pattern is named: a path or a query may carry a token, and a label of a counter must come from a
/// small set.
pub(crate) async fn observe(
    service: &'static str,
    limit: Duration,
    manner: Option<Manner>,
    mut request: Request,
    next: Next,
) -> Response {
    let id = RequestId::of(&request);
    let method = method_label(request.method());
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or_else(|| NO_ROUTE.to_owned(), |path| path.as_str().to_owned());
    let quiet = matches!(route.as_str(), "/healthz" | "/readyz" | "/metrics");
    let span = tracing::info_span!("request", service, id = id.as_str(), method, route);
    request.extensions_mut().insert(id.clone());
    let start = Instant::now();
    let grpc = grpc::is_asked(request.headers());
    let current = Current {
        id: id.clone(),
        deadline: start + limit,
    };
    let answering = CURRENT.scope(current.clone(), next.run(request).instrument(span.clone()));
    let mut response = match tokio::time::timeout(limit, answering).await {
        Ok(response) => response,
        Err(_elapsed) => CURRENT.sync_scope(current.clone(), || {
            Problem::new(Code::DeadlineExceeded, "the request took too long")
                .with_detail("REQUEST_TIMEOUT")
                .into_response()
        }),
    };
    if grpc {
        let known = route != NO_ROUTE;
        response = CURRENT.sync_scope(current, || grpc::said_again(response, known));
    } else if let Some(manner) = manner
        && let Some(problem) = response.extensions().get::<Problem>()
        && let Some(mut said) = manner(&route, problem)
    {
        // What the refusal says in its head (when to come back, how to sign in) holds in every manner; the body's own headers do not.
        for name in response.headers().keys() {
            if !said.headers().contains_key(name) && name != header::CONTENT_LENGTH {
                // A name may stand there several times: there may be several ways to sign in.
                for value in response.headers().get_all(name) {
                    said.headers_mut().append(name, value.clone());
                }
            }
        }
        response = said;
    }
    let took = start.elapsed();
    let status = response.status();
    span.in_scope(|| {
        let milliseconds = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        if quiet {
            // Asked every few seconds; what is wrong was logged when it went wrong.
            tracing::debug!(status = status.as_u16(), milliseconds, "answered");
        } else if status.is_server_error() {
            tracing::warn!(status = status.as_u16(), milliseconds, "answered");
        } else {
            tracing::info!(status = status.as_u16(), milliseconds, "answered");
        }
    });
    let status_label = status_label(status);
    metrics::counter!("http_requests_total", "service" => service, "method" => method, "route" => route.clone(), "code" => status_label)
        .increment(1);
    metrics::histogram!("http_request_seconds", "service" => service, "route" => route)
        .record(took.as_secs_f64());
    response.headers_mut().insert(REQUEST_ID, id.0);
    response
}

/// A panic is our fault and says nothing to the client; the panic hook has printed where it was.
pub(crate) fn panicked(_cause: Box<dyn std::any::Any + Send + 'static>) -> Response {
    tracing::error!("a handler panicked");
    Problem::new(
        Code::Internal,
        "internal error; the service's log has more under this request's id",
    )
    .into_response()
}

/// A method as Prometheus' Go library writes it; a label must come from a small set.
pub fn method_label(method: &http::Method) -> &'static str {
    match method.as_str() {
        "GET" => "get",
        "HEAD" => "head",
        "POST" => "post",
        "PUT" => "put",
        "PATCH" => "patch",
        "DELETE" => "delete",
        "OPTIONS" => "options",
        _ => "unknown",
    }
}

fn status_label(status: StatusCode) -> String {
    status.as_str().to_owned()
}
