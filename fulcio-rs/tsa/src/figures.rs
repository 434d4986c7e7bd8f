//! Figures under the names that upstream's dashboards and alerts use (sigstore/timestamp-authority `pkg/api/metrics.go`), and our own.

use std::time::{Duration, Instant};

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use jiff::Timestamp;
use metrics::{counter, gauge, histogram};
use pki::Certificate;

/// Counts a request and how long it took.
pub(crate) async fn count(request: Request, next: Next) -> Response {
    // A label must come from a small set, which is upstream's.
    let path = match request.uri().path() {
        "/ping" => "/ping",
        "/api/v1/timestamp" => "/api/v1/timestamp",
        "/api/v1/timestamp/certchain" => "/api/v1/timestamp/certchain",
        _ => "unrecognized",
    };
    let method = match request.method().as_str() {
        "GET" => "GET",
        "POST" => "POST",
        "HEAD" => "HEAD",
        "OPTIONS" => "OPTIONS",
        _ => "unrecognized",
    };
    let begun = Instant::now();
    let response = next.run(request).await;
    let nanoseconds = begun.elapsed().as_secs_f64() * 1e9;
    let code = response.status().as_str().to_owned();
    counter!("timestamp_authority_http_requests_total", "path" => path, "method" => method, "code" => code.clone())
        .increment(1);
    histogram!("timestamp_authority_api_latency", "path" => path, "code" => code.clone())
        .record(nanoseconds);
    histogram!("timestamp_authority_api_latency_summary", "path" => path, "code" => code)
        .record(nanoseconds);
    histogram!("timestamp_authority_latency_by_api", "path" => path, "method" => method)
        .record(nanoseconds);
    response
}

/// A token was made.
pub(crate) fn token() {
    counter!("timestamp_authority_tokens_total").increment(1);
}

/// A request got none.
pub(crate) fn refused(reason: &'static str) {
    counter!("timestamp_authority_refusals_total", "reason" => reason).increment(1);
}

/// An NTP server was asked.
pub(crate) fn asked(host: &str, failed: bool, took: Duration) {
    let host = host.to_owned();
    let failed = if failed { "true" } else { "false" };
    counter!("timestamp_authority_ntp_sync_total", "host" => host.clone(), "failed" => failed)
        .increment(1);
    histogram!("timestamp_authority_ntp_latency", "host" => host).record(took.as_secs_f64() * 1e9);
}

/// A check of the clock found nothing out, or something bad.
pub(crate) fn check_failed(reason: &'static str) {
    counter!("timestamp_authority_ntp_errors_total", "reason" => reason).increment(1);
}

/// By how much the clock may be off.
pub(crate) fn clock_error(error: Duration) {
    gauge!("timestamp_authority_clock_error_seconds").set(error.as_secs_f64());
}

/// What is true now, at the moment when somebody reads the figures.
pub(crate) fn standing(chain: &[Certificate], now: Timestamp, doubt: Option<&'static str>) {
    let ends = chain.iter().map(Certificate::not_after);
    if let Some(first) = ends.min() {
        let days = first.duration_since(now).as_secs_f64() / 86_400.0;
        gauge!("timestamp_authority_certificate_valid_days_remaining").set(days);
    }
    gauge!("timestamp_authority_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    for reason in ["unchecked", "stale", "off", "backwards"] {
        let so = f64::from(u8::from(doubt == Some(reason)));
        gauge!("timestamp_authority_clock_in_doubt", "reason" => reason).set(so);
    }
}
