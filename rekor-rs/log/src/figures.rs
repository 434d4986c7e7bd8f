//! Figures under the names that upstream's dashboards and alerts use: sigstore/rekor `pkg/api/metrics.go`, sigstore/rekor-tiles
//! `internal/server/metrics.go`.

use std::time::Instant;

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
    if route.starts_with("/api/v1/") {
        let method = method.to_uppercase();
        counter!("rekor_qps_by_api", "path" => route.clone(), "method" => method.clone(), "code" => code.clone()).increment(1);
        // Nanoseconds.
        let nanoseconds = took.as_secs_f64() * 1e9;
        histogram!("rekor_latency_by_api", "path" => route.clone(), "method" => method)
            .record(nanoseconds);
        histogram!("rekor_api_latency", "path" => route, "code" => code).record(nanoseconds);
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
