//! gRPC on the listener of the service: `tonic` answers as an axum route, so there is one port, one set of limits and one log for both.
//!
//! Messages are few and small, so each service writes them out with their field numbers (see [`messages`] for those that all have) and needs
//! no compiler for `.proto` files. What a [`Problem`] says over HTTP, [`status`] says here: the same code and sentence, and in
//! `grpc-status-details-bin` the same details. Whatever refuses a request on its way to a handler (a rate, a deadline, a path that is not
//! there) is translated too, so that a client of gRPC never meets a body of JSON.
//!
//! Figures: `grpc_server_started_total`, `_msg_received_total`, `_msg_sent_total`, `_handled_total` and `grpc_server_handling_seconds`, with the
//! labels of go-grpc-prometheus.

pub mod messages;

use std::future::Future;
use std::pin::Pin;
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::{MethodRouter, post};
use http::{HeaderMap, StatusCode, header};
use metrics::{counter, histogram};
use prost::Message;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::server::{Grpc, UnaryService};
use tonic::{Code, Status};
use tonic_prost::ProstCodec;

use crate::health::Health;
use crate::observe::RequestId;
use crate::problem::Problem;

use self::messages::{
    Any, ErrorInfo, HealthCheckRequest, HealthCheckResponse, RequestInfo, RpcStatus,
};

const SERVING: i32 = 1;
const NOT_SERVING: i32 = 2;
/// A health request names a service.
const HEALTH_MAX: usize = 4 << 10;

/// What a method comes to.
pub type Answer<T> = Pin<Box<dyn Future<Output = Result<tonic::Response<T>, Status>> + Send>>;

/// A unary method as a route, to be put at `/package.Service/Method`. `limit` is the largest request in bytes.
pub fn method<S, I, O>(limit: usize, run: fn(S, tonic::Request<I>) -> Answer<O>) -> MethodRouter<S>
where
    S: Clone + Send + Sync + 'static,
    I: Message + Default + Send + 'static,
    O: Message + Send + 'static,
{
    post(
        move |State(service): State<S>, request: Request| async move {
            let count = Count::begin(request.uri().path());
            let method = Method {
                service,
                run,
                count: count.clone(),
            };
            let mut grpc =
                Grpc::new(ProstCodec::<O, I>::default()).max_decoding_message_size(limit);
            let response = grpc.unary(method, request).await.map(Body::new);
            count.end(&response);
            response
        },
    )
}

/// A method of a service.
struct Method<S, I, O> {
    service: S,
    run: fn(S, tonic::Request<I>) -> Answer<O>,
    count: Count,
}

impl<S: Clone, I, O> UnaryService<I> for Method<S, I, O> {
    type Response = O;
    type Future = Answer<O>;

    fn call(&mut self, request: tonic::Request<I>) -> Self::Future {
        self.count.one("grpc_server_msg_received_total");
        (self.run)(self.service.clone(), request)
    }
}

/// The figures of one call.
#[derive(Clone)]
struct Count {
    service: String,
    method: String,
    begun: Instant,
}

impl Count {
    /// `path` is a route's, and so comes from a small set.
    fn begin(path: &str) -> Self {
        let (service, method) = path
            .trim_start_matches('/')
            .split_once('/')
            .unwrap_or_default();
        let count = Self {
            service: service.to_owned(),
            method: method.to_owned(),
            begun: Instant::now(),
        };
        count.one("grpc_server_started_total");
        count
    }

    fn labels(&self) -> [(&'static str, String); 3] {
        [
            ("grpc_type", "unary".to_owned()),
            ("grpc_service", self.service.clone()),
            ("grpc_method", self.method.clone()),
        ]
    }

    fn one(&self, name: &'static str) {
        counter!(name, &self.labels()).increment(1);
    }

    fn end(&self, response: &Response) {
        let code = response
            .extensions()
            .get::<Status>()
            .map_or(Code::Ok, Status::code);
        if code == Code::Ok {
            self.one("grpc_server_msg_sent_total");
        }
        let [kind, service, method] = self.labels();
        let labels = [kind, service, method, ("grpc_code", name(code))];
        counter!("grpc_server_handled_total", &labels).increment(1);
        histogram!("grpc_server_handling_seconds", &self.labels())
            .record(self.begun.elapsed().as_secs_f64());
    }
}

/// As the Go library writes it: two are spelled otherwise here.
fn name(code: Code) -> String {
    match code {
        Code::Ok => "OK".to_owned(),
        Code::Cancelled => "Canceled".to_owned(),
        other => format!("{other:?}"),
    }
}

/// `grpc.health.v1.Health/Check`.
pub fn health(health: &Health) -> Router {
    Router::new()
        .route("/grpc.health.v1.Health/Check", method(HEALTH_MAX, check))
        .with_state(health.clone())
}

fn check(
    health: Health,
    request: tonic::Request<HealthCheckRequest>,
) -> Answer<HealthCheckResponse> {
    Box::pin(async move {
        if !health.knows(&request.into_inner().service) {
            return Err(Status::not_found("unknown service"));
        }
        let status = match health.failure() {
            None => SERVING,
            Some(_) => NOT_SERVING,
        };
        Ok(tonic::Response::new(HealthCheckResponse { status }))
    })
}

/// A problem as a gRPC status: the codes are the same ones, and so are the details.
pub fn status(problem: &Problem) -> Status {
    status_as(Code::from_i32(i32::from(problem.code().number())), problem)
}

fn status_as(code: Code, problem: &Problem) -> Status {
    let mut metadata = MetadataMap::new();
    if let Some(seconds) = problem.retry_after() {
        metadata.insert("retry-after", MetadataValue::from(seconds));
    }
    let reasons = problem.reasons().iter().map(|reason| {
        Any::of(
            "google.rpc.ErrorInfo",
            &ErrorInfo {
                reason: reason.word.clone(),
                metadata: reason
                    .about
                    .iter()
                    .map(|(name, value)| ((*name).to_owned(), value.clone()))
                    .collect(),
            },
        )
    });
    let id = RequestId::current().map(|id| {
        Any::of(
            "google.rpc.RequestInfo",
            &RequestInfo {
                request_id: id.as_str().to_owned(),
            },
        )
    });
    let details = RpcStatus {
        code: i32::from(code),
        message: problem.message().to_owned(),
        details: reasons.chain(id).collect(),
    };
    Status::with_details_and_metadata(
        code,
        problem.message(),
        details.encode_to_vec().into(),
        metadata,
    )
}

/// Does this request speak gRPC?
pub(crate) fn is_asked(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

/// A refusal in the manner of HTTP, said again in that of gRPC. `known` tells whether there is such a method.
pub(crate) fn said_again(mut response: Response, known: bool) -> Response {
    if response.status() == StatusCode::OK && is_asked(response.headers()) {
        return response;
    }
    let problem = response.extensions_mut().remove::<Problem>();
    let status = match (problem, known) {
        (_, false) => Status::unimplemented("unknown service or method"),
        (Some(problem), true) => status(&problem),
        (None, true) => {
            // gRPC over HTTP2, "HTTP to gRPC Status Code Mapping", and 413 which it leaves out.
            let code = match response.status() {
                StatusCode::BAD_REQUEST => Code::Internal,
                StatusCode::UNAUTHORIZED => Code::Unauthenticated,
                StatusCode::FORBIDDEN => Code::PermissionDenied,
                StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => Code::Unimplemented,
                StatusCode::PAYLOAD_TOO_LARGE => Code::ResourceExhausted,
                StatusCode::TOO_MANY_REQUESTS
                | StatusCode::BAD_GATEWAY
                | StatusCode::SERVICE_UNAVAILABLE
                | StatusCode::GATEWAY_TIMEOUT => Code::Unavailable,
                _ => Code::Unknown,
            };
            Status::new(code, "the request was refused")
        }
    };
    status.into_http()
}
