//! Figures under the names that upstream's dashboards and alerts use: sigstore/rekor `pkg/api/metrics.go`, sigstore/rekor-tiles
//! `internal/server/metrics.go`, and for gRPC those of go-grpc-middleware's `providers/prometheus`, which rekor-tiles has too.
//!
//! `rekor_publish_events` is left out: upstream shows a row of it only once an event was sent to a queue, and we have none to send to.

use std::time::{Duration, Instant};

use axum::body::HttpBody as _;
use axum::extract::{MatchedPath, Request};
use axum::middleware::Next;
use axum::response::Response;
use metrics::{counter, histogram};

/// Counts a request and how long it took, by the API that it asked.
pub(crate) async fn count(request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>();
    let route = route.map_or("-", MatchedPath::as_str).to_owned();
    let method = method(&request);
    let size = request.body().size_hint().exact();
    let begun = Instant::now();
    let response = next.run(request).await;
    let took = begun.elapsed();
    let code = response.status().as_str().to_owned();
    if let Some((service, name)) = grpc_method(&route) {
        // Of an answer that is none the status is in the head, else behind the message.
        let status = response.headers().get("grpc-status");
        let status = status.and_then(|status| status.to_str().ok()?.parse().ok());
        let labels = [
            ("grpc_type", "unary".to_owned()),
            ("grpc_service", service.to_owned()),
            ("grpc_method", name.to_owned()),
        ];
        histogram!("grpc_server_handling_seconds", &labels).record(took.as_secs_f64());
        let code = grpc_code(status.unwrap_or(0));
        let labels = labels.into_iter().chain([("grpc_code", code.to_owned())]);
        let labels: Vec<_> = labels.collect();
        counter!("grpc_server_handled_total", labels.as_slice()).increment(1);
    } else if route.starts_with("/api/v1/") {
        let method = method.to_uppercase();
        counter!("rekor_qps_by_api", "path" => route.clone(), "method" => method.clone(), "code" => code.clone()).increment(1);
        // Nanoseconds.
        let nanoseconds = took.as_secs_f64() * 1e9;
        histogram!("rekor_latency_by_api", "path" => route.clone(), "method" => method)
            .record(nanoseconds);
        let labels = [("path", route), ("code", code)];
        histogram!("rekor_api_latency", &labels).record(nanoseconds);
        histogram!("rekor_api_latency_summary", &labels).record(nanoseconds);
    } else if route != "/healthz" && route != "/metrics" {
        let labels = [("code", code), ("method", method.to_owned())];
        counter!("rekor_v2_http_requests_total", &labels).increment(1);
        histogram!("rekor_v2_http_api_latency", &labels).record(took.as_secs_f64());
        if let Some(size) = size.and_then(|size| u32::try_from(size).ok()) {
            histogram!("rekor_v2_http_api_request_size", &labels).record(f64::from(size));
        }
    }
    response
}

/// One addition to the search index, of up to 256 entries. (Upstream adds each entry by itself.) Like there, nanoseconds.
pub(crate) fn index_stored(took: Duration, success: bool) {
    let nanoseconds = took.as_secs_f64() * 1e9;
    histogram!("rekor_index_storage_latency_summary", "success" => success.to_string())
        .record(nanoseconds);
}

/// Newer checkpoints of a v1 tree are shown. The code is upstream's for what worked; the name is there from the start.
pub(crate) fn checkpoints_published(tree_id: u64, count: u64) {
    let shard = tree_id.to_string();
    counter!("rekor_checkpoint_publish", "shard" => shard, "code" => "0").increment(count);
}

/// Service and method of a route of gRPC: `/package.Service/Method`.
pub(crate) fn grpc_method(route: &str) -> Option<(&str, &str)> {
    let (service, method) = route.strip_prefix('/')?.split_once('/')?;
    (service.contains('.') && !method.contains('/')).then_some((service, method))
}

/// A status as the Go library of gRPC names it.
fn grpc_code(number: u8) -> &'static str {
    const NAMES: [&str; 17] = [
        "OK",
        "Canceled",
        "Unknown",
        "InvalidArgument",
        "DeadlineExceeded",
        "NotFound",
        "AlreadyExists",
        "PermissionDenied",
        "ResourceExhausted",
        "FailedPrecondition",
        "Aborted",
        "OutOfRange",
        "Unimplemented",
        "Internal",
        "Unavailable",
        "DataLoss",
        "Unauthenticated",
    ];
    NAMES.get(usize::from(number)).copied().unwrap_or("Unknown")
}

/// As Prometheus' Go library writes it; a label must come from a small set.
fn method(request: &Request) -> &'static str {
    match request.method().as_str() {
        "GET" => "get",
        "POST" => "post",
        "HEAD" => "head",
        "OPTIONS" => "options",
        "PUT" => "put",
        "DELETE" => "delete",
        _ => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_of_grpc_have_a_service_and_a_method() {
        let create = "/dev.sigstore.rekor.v2.Rekor/CreateEntry";
        let expected = ("dev.sigstore.rekor.v2.Rekor", "CreateEntry");
        assert_eq!(grpc_method(create), Some(expected));
        for other in ["/", "-", "/ping", "/tile/{*path}", "/api/v2/log/entries"] {
            assert_eq!(grpc_method(other), None, "{other}");
        }
        assert_eq!((grpc_code(6), grpc_code(99)), ("AlreadyExists", "Unknown"));
    }
}
