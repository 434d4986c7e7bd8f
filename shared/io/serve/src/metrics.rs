//! Figures for Prometheus. Services count with the `metrics` macros; [`crate::Health::routes`] shows them at `/metrics`.

use std::sync::OnceLock;
use std::time::Duration;

use axum::response::{IntoResponse as _, Response};
use http::{StatusCode, header};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

/// Upper bounds in seconds of every histogram whose name ends in `_seconds`: from one fast signature to the request limit.
const SECONDS: &[f64] = &[
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];

/// Bounds of the histograms that have a name and a unit of upstream's; without bounds they would be summaries.
const UPSTREAM: &[(&str, &[f64])] = &[
    // Seconds: the Go library's own bounds.
    ("rekor_v2_http_api_latency", GO),
    ("fulcio_api_latency", GO),
    // Bytes.
    (
        "rekor_v2_http_api_request_size",
        &[256.0, 1024.0, 4096.0, 16_384.0, 65_536.0, 1e6, 4e6],
    ),
    (
        "rekor_v2_grpc_api_request_size",
        &[256.0, 1024.0, 4096.0, 16_384.0, 65_536.0, 1e6, 4e6],
    ),
    // Nanoseconds, from a millisecond to a minute.
    ("timestamp_authority_latency_by_api", NANOSECONDS),
    ("timestamp_authority_api_latency", NANOSECONDS),
    ("timestamp_authority_ntp_latency", NANOSECONDS),
    ("rekor_latency_by_api", NANOSECONDS),
    ("rekor_api_latency", NANOSECONDS),
];
const GO: &[f64] = &[
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];
const NANOSECONDS: &[f64] = &[
    1e6, 3.4e6, 1.15e7, 3.91e7, 1.33e8, 4.51e8, 1.53e9, 5.2e9, 1.77e10, 6e10,
];

/// How often histogram samples are folded into their buckets, so that they do not pile up where nobody scrapes.
pub(crate) const UPKEEP: Duration = Duration::from_secs(5);

static RECORDER: OnceLock<Option<PrometheusHandle>> = OnceLock::new();

/// Starts counting in this process. Further calls change nothing.
pub fn init() {
    recorder();
}

/// The figures as text. 501 if the process has another recorder, which only a test would do.
pub(crate) fn render() -> Response {
    match recorder() {
        Some(handle) => (
            [(
                header::CONTENT_TYPE,
                "text/plain; version=0.0.4; charset=utf-8",
            )],
            handle.render(),
        )
            .into_response(),
        None => StatusCode::NOT_IMPLEMENTED.into_response(),
    }
}

pub(crate) fn upkeep() {
    if let Some(handle) = recorder() {
        handle.run_upkeep();
    }
}

fn recorder() -> Option<&'static PrometheusHandle> {
    RECORDER
        .get_or_init(|| {
            let matcher = metrics_exporter_prometheus::Matcher::Suffix("_seconds".to_owned());
            let mut builder = PrometheusBuilder::new()
                .set_buckets_for_metric(matcher, SECONDS)
                .ok()?;
            for (name, bounds) in UPSTREAM {
                let matcher = metrics_exporter_prometheus::Matcher::Full((*name).to_owned());
                builder = builder.set_buckets_for_metric(matcher, bounds).ok()?;
            }
            builder.install_recorder().ok()
        })
        .as_ref()
}
