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
            let builder = PrometheusBuilder::new()
                .set_buckets_for_metric(matcher, SECONDS)
                .ok()?;
            builder.install_recorder().ok()
        })
        .as_ref()
}
