//! Figures under CTFE's names, which dashboards of CT logs use, beside our own: google/certificate-transparency-go `trillian/ctfe/handlers.go`.

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use metrics::{counter, gauge};
use sequencer::{Published, WeakLog};
use std::sync::Arc;
use std::time::Duration;

use crate::leaf::CertificateLeaf;
use crate::submit::milliseconds;

/// How long a tree head may be shown after it was signed again.
const LOOK: Duration = Duration::from_secs(10);

/// Counts what was asked of one log, by entrypoint and status.
pub(crate) async fn count(
    State(origin): State<Arc<str>>,
    request: Request,
    next: Next,
) -> Response {
    let route = request.extensions().get::<MatchedPath>();
    let entrypoint = entrypoint(route.map_or("", MatchedPath::as_str));
    let response = next.run(request).await;
    if let Some(entrypoint) = entrypoint {
        let log = origin.to_string();
        let status = response.status().as_str().to_owned();
        counter!("http_reqs", "logid" => log.clone(), "ep" => entrypoint).increment(1);
        counter!("http_rsps", "logid" => log, "ep" => entrypoint, "rc" => status).increment(1);
    }
    response
}

/// CTFE's name of a route of RFC 6962.
fn entrypoint(route: &str) -> Option<&'static str> {
    let (_, name) = route.rsplit_once("/ct/v1/")?;
    Some(match name {
        "add-chain" => "AddChain",
        "add-pre-chain" => "AddPreChain",
        "get-sth" => "GetSTH",
        "get-sth-consistency" => "GetSTHConsistency",
        "get-proof-by-hash" => "GetProofByHash",
        "get-entries" => "GetEntries",
        "get-roots" => "GetRoots",
        "get-entry-and-proof" => "GetEntryAndProof",
        _ => return None,
    })
}

/// Shows how far a log has got, until it ends.
pub(crate) async fn follow(origin: String, log: WeakLog<CertificateLeaf>) {
    gauge!("known_logs", "logid" => origin.clone()).set(1.0);
    loop {
        let Some(open) = log.upgrade() else { break };
        let published = open.published();
        let grown = open.grown(published.head.size);
        drop(open);
        show(&origin, &published);
        // A tree head may be signed again without new leaves.
        if let Ok(false) = tokio::time::timeout(LOOK, grown).await {
            break;
        }
    }
    gauge!("known_logs", "logid" => origin).set(0.0);
}

fn show(origin: &str, published: &Published) {
    gauge!("last_sth_treesize", "logid" => origin.to_owned())
        .set(milliseconds(published.head.size.get()));
    gauge!("last_sth_timestamp", "logid" => origin.to_owned())
        .set(milliseconds(published.timestamp_ms));
}
