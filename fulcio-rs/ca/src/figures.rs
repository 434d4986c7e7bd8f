//! Figures under the names that upstream's dashboards and alerts use: sigstore/fulcio `pkg/server/metrics.go`. `http_requests_total{code,method}` and
//! `grpc_server_*` are counted in `serve`, for every service.

use std::time::Instant;

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use jiff::Timestamp;
use metrics::{gauge, histogram};

use crate::chain::Chain;
use crate::issue::Authority;
use crate::issuers::IssuerStatus;

/// How long a request took, by its outcome.
pub(crate) async fn time(request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let counts = path.starts_with("/api/");
    let method = serve::method_label(request.method());
    let begun = Instant::now();
    let response = next.run(request).await;
    if counts {
        let code = response.status().as_str().to_owned();
        histogram!("fulcio_api_latency", "code" => code, "method" => method)
            .record(begun.elapsed().as_secs_f64());
    }
    response
}

/// What this is, as a figure that is always 1.
pub(crate) fn build_info() {
    gauge!("fulcio_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
}

/// The certificates of which figures are shown, by their labels.
#[derive(Debug, Default)]
pub(crate) struct Shown(Vec<[(&'static str, String); 3]>);

impl Shown {
    /// How many days each certificate of each chain is still valid: below zero when it is not any more. A certificate that has left its chain
    /// is no number from then on, so that nobody goes on watching it.
    pub(crate) fn show(&mut self, authority: &Authority, now: Timestamp) {
        let mut shown = Vec::new();
        let mut show = |kind: &'static str, chain: &Chain| {
            for certificate in chain.certificates() {
                let left = certificate.not_after().duration_since(now);
                let labels = [
                    ("chain", kind.to_owned()),
                    ("subject", certificate.subject_text()),
                    ("serial", hex::encode(certificate.serial())),
                ];
                gauge!(DAYS, &labels).set(left.as_secs_f64() / 86_400.0);
                shown.push(labels);
            }
        };
        show("active", &authority.chain);
        for chain in &authority.next {
            show("next", chain);
        }
        for chain in &authority.retired {
            show("retired", chain);
        }
        for gone in self.0.iter().filter(|labels| !shown.contains(labels)) {
            gauge!(DAYS, gone).set(f64::NAN);
        }
        self.0 = shown;
    }
}

/// The issuers of which figures are shown.
#[derive(Debug, Default)]
pub(crate) struct ShownIssuers(Vec<String>);

impl ShownIssuers {
    /// Whether each named issuer has keys that tokens are verified with, and since when. One that is not configured any more is no number from
    /// then on.
    pub(crate) fn show(&mut self, issuers: &[IssuerStatus], now: Timestamp) {
        let mut shown = Vec::new();
        for status in issuers {
            let label = ("issuer", status.issuer.clone());
            let usable = if status.has_keys(now) { 1.0 } else { 0.0 };
            gauge!(KEYS, std::slice::from_ref(&label)).set(usable);
            #[expect(
                clippy::as_conversions,
                clippy::cast_precision_loss,
                reason = "a gauge is a float; seconds are exact for the next 285 million years"
            )]
            let since = status
                .keys_since
                .map_or(f64::NAN, |at| at.as_second() as f64);
            gauge!(KEYS_SINCE, &[label]).set(since);
            shown.push(status.issuer.clone());
        }
        for gone in self.0.iter().filter(|issuer| !shown.contains(issuer)) {
            let label = ("issuer", gone.clone());
            gauge!(KEYS, std::slice::from_ref(&label)).set(f64::NAN);
            gauge!(KEYS_SINCE, &[label]).set(f64::NAN);
        }
        self.0 = shown;
    }
}

const KEYS: &str = "fulcio_issuer_keys_usable";
const KEYS_SINCE: &str = "fulcio_issuer_keys_timestamp_seconds";
const DAYS: &str = "fulcio_certificate_valid_days_remaining";
