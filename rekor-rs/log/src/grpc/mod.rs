//! The same log over gRPC, on the same port: `dev.sigstore.rekor.v2.Rekor` and `grpc.health.v1.Health`.
//!
//! Specification: sigstore/rekor-tiles `api/proto/rekor/v2/rekor_service.proto`. Its three reading methods are answered here too (rekor-tiles
//! says `UNIMPLEMENTED`). What the JSON interface says in headers is in the metadata: `x-log-index` beside `ALREADY_EXISTS`, `retry-after`;
//! and a request may say `wait: witnessed`.
//!
//! Messages are few and small, so they are written out in [`messages`] and need no compiler for `.proto` files.

pub mod messages;

use std::any::Any;
use std::future::Future;
use std::pin::Pin;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::{MethodRouter, post};
use prost::Message;
use sequencer::{Leaf as _, Resource};
use serve::{Health, Problem};
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::server::{Grpc, UnaryService};
use tonic::{Code, Status};
use tonic_prost::ProstCodec;
use tower_http::catch_panic::CatchPanicLayer;

use self::messages::{
    CreateEntryRequest, Empty, EntryBundleRequest, HealthCheckRequest, HealthCheckResponse,
    HttpBody, TileRequest, TransparencyLogEntry,
};
use crate::figures;
use crate::http::{self, NotAdded, Wait};
use crate::leaf::Entry;

const SERVICE: &str = "dev.sigstore.rekor.v2.Rekor";
const SERVING: i32 = 1;
const NOT_SERVING: i32 = 2;

/// The methods as routes. `limit` is the largest request in bytes, as over JSON.
pub(crate) fn routes(state: http::State, health: Health, limit: usize) -> Router {
    let service = Service {
        state,
        health,
        limit,
    };
    Router::new()
        .route(
            "/dev.sigstore.rekor.v2.Rekor/CreateEntry",
            method(create_entry),
        )
        .route("/dev.sigstore.rekor.v2.Rekor/GetTile", method(get_tile))
        .route(
            "/dev.sigstore.rekor.v2.Rekor/GetEntryBundle",
            method(get_entry_bundle),
        )
        .route(
            "/dev.sigstore.rekor.v2.Rekor/GetCheckpoint",
            method(get_checkpoint),
        )
        .route("/grpc.health.v1.Health/Check", method(check))
        .with_state(service)
        .layer(CatchPanicLayer::custom(panicked))
}

/// A panic is our fault, says nothing to the client, and is an answer that its library reads.
fn panicked(_cause: Box<dyn Any + Send + 'static>) -> Response {
    tracing::error!("a handler panicked");
    metrics::counter!("rekor_v2_grpc_req_panics_recovered_total").increment(1);
    Status::internal("internal error; the service's log has more").into_http()
}

fn method<I, O>(run: fn(Service, tonic::Request<I>) -> Answer<O>) -> MethodRouter<Service>
where
    I: Message + Default + Send + 'static,
    O: Message + Send + 'static,
{
    post(move |State(service): State<Service>, request: Request| service.answer(request, run))
}

#[derive(Clone, Debug)]
struct Service {
    state: http::State,
    health: Health,
    limit: usize,
}

type Answer<T> = Pin<Box<dyn Future<Output = Result<tonic::Response<T>, Status>> + Send>>;

/// A method of the service.
struct Method<I, O> {
    service: Service,
    /// `/package.Service/Method`
    path: String,
    run: fn(Service, tonic::Request<I>) -> Answer<O>,
}

impl<I: Message, O> UnaryService<I> for Method<I, O> {
    type Response = O;
    type Future = Answer<O>;

    fn call(&mut self, request: tonic::Request<I>) -> Self::Future {
        if let Some((service, method)) = figures::grpc_method(&self.path) {
            let labels = [
                ("grpc_service", service.to_owned()),
                ("grpc_method", method.to_owned()),
                ("grpc_packet_part", "payload".to_owned()),
            ];
            let size = u32::try_from(request.get_ref().encoded_len()).unwrap_or(u32::MAX);
            metrics::histogram!("rekor_v2_grpc_api_request_size", &labels).record(f64::from(size));
        }
        (self.run)(self.service.clone(), request)
    }
}

impl Service {
    async fn answer<I, O>(
        self,
        request: Request,
        run: fn(Self, tonic::Request<I>) -> Answer<O>,
    ) -> Response
    where
        I: Message + Default + Send + 'static,
        O: Message + Send + 'static,
    {
        let limit = self.limit;
        let method = Method {
            service: self,
            path: request.uri().path().to_owned(),
            run,
        };
        let mut grpc = Grpc::new(ProstCodec::<O, I>::default()).max_decoding_message_size(limit);
        grpc.unary(method, request).await.map(Body::new)
    }
}

fn create_entry(
    service: Service,
    request: tonic::Request<CreateEntryRequest>,
) -> Answer<TransparencyLogEntry> {
    Box::pin(async move {
        let wait = match request.metadata().get("wait").map(MetadataValue::as_bytes) {
            None => None,
            Some(b"witnessed") => Some(Wait::Witnessed),
            Some(b"committed") => Some(Wait::Committed),
            Some(_) => {
                let known = "metadata wait: expected witnessed or committed";
                return Err(Status::invalid_argument(known));
            }
        };
        let headers = request.metadata().clone().into_headers();
        let proposed = request.into_inner().into_proposed().map_err(|missing| {
            Status::invalid_argument(format!("invalid request: missing {}", missing.0))
        })?;
        let added = http::add_entry(
            &service.state,
            http::Given::Proposed(proposed),
            wait,
            &headers,
        )
        .await;
        match added {
            Ok(reply) => Ok(tonic::Response::new(reply.into())),
            Err(NotAdded { problem, index }) => Err(status(&problem, index)),
        }
    })
}

fn get_tile(service: Service, request: tonic::Request<TileRequest>) -> Answer<HttpBody> {
    let TileRequest { level, index } = request.into_inner();
    Box::pin(async move { read(&service, &format!("tile/{level}/{index}")).await })
}

fn get_entry_bundle(
    service: Service,
    request: tonic::Request<EntryBundleRequest>,
) -> Answer<HttpBody> {
    let EntryBundleRequest { index } = request.into_inner();
    Box::pin(async move { read(&service, &format!("tile/{}/{index}", Entry::BUNDLE)).await })
}

fn get_checkpoint(service: Service, _request: tonic::Request<Empty>) -> Answer<HttpBody> {
    Box::pin(async move {
        let shown = http::shown(&service.state).map_err(|problem| status(&problem, None))?;
        Ok(tonic::Response::new(HttpBody {
            content_type: "text/plain; charset=utf-8".to_owned(),
            data: shown.to_vec(),
        }))
    })
}

async fn read(service: &Service, path: &str) -> Result<tonic::Response<HttpBody>, Status> {
    let missing = || Status::not_found("the log has no such tile");
    let resource = Resource::parse(path, Entry::BUNDLE).ok_or_else(missing)?;
    let bytes = service.state.log.read(&resource).await;
    let bytes = bytes.map_err(|error| status(&Problem::internal(&error), None))?;
    Ok(tonic::Response::new(HttpBody {
        content_type: "application/octet-stream".to_owned(),
        data: bytes.ok_or_else(missing)?,
    }))
}

fn check(
    service: Service,
    request: tonic::Request<HealthCheckRequest>,
) -> Answer<HealthCheckResponse> {
    Box::pin(async move {
        let asked = request.into_inner().service;
        if !asked.is_empty() && asked != SERVICE {
            return Err(Status::not_found("unknown service"));
        }
        let status = match service.health.failure() {
            None => SERVING,
            Some(_) => NOT_SERVING,
        };
        Ok(tonic::Response::new(HealthCheckResponse { status }))
    })
}

/// A problem as a gRPC status; the codes are the same ones.
fn status(problem: &Problem, index: Option<u64>) -> Status {
    let mut metadata = MetadataMap::new();
    if let Some(index) = index {
        metadata.insert("x-log-index", MetadataValue::from(index));
    }
    if let Some(seconds) = problem.retry_after() {
        metadata.insert("retry-after", MetadataValue::from(seconds));
    }
    let code = Code::from_i32(i32::from(problem.code().number()));
    Status::with_metadata(code, problem.message(), metadata)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::StatusCode;

    #[test]
    fn a_panic_is_a_status_that_says_nothing() {
        let response = panicked(Box::new("the key is 1234"));
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["grpc-status"], "13");
        let said = response.headers()["grpc-message"].to_str().unwrap();
        assert!(!said.contains("1234"), "{said}");
    }
}
