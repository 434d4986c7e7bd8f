//! The HTTP stack of a log with its signature checks, and no log behind it: how fast a log could be on this machine.
//!
//! What is the same as in rekor-rs: listener, limits, observation, parsing, the gate before the checks, the checks, the canonical body, and an answer of
//! the length that a log of a million entries gives. What is not there: anything that is kept.

use anyhow::{Context as _, Result};
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use axum::{Json, Router};
use rekor_rs::admit::Door;
use rekor_rs::gate::Gate;
use serde_json::{Value, json};
use serve::{Limits, ListenAddress, Listeners, Stop};
use wire::encoding::Bytes as Base64;

/// Of an inclusion proof in a tree of a million.
const HASHES: usize = 20;

/// Serves until a signal.
pub async fn serve(listen: &ListenAddress) -> Result<()> {
    let listeners = Listeners::bind(listen).await?;
    let stop = Stop::on_signals().context("watching for signals")?;
    serve::run(listeners, "bare", router(), Limits::default(), stop).await;
    Ok(())
}

/// What it serves.
pub fn router() -> Router {
    let state = (Door::new(Gate::new(), true), proof());
    Router::new()
        .route("/api/v2/log/entries", post(answer))
        .with_state(state)
}

async fn answer(State((door, proof)): State<(Door, Value)>, body: Bytes) -> Response {
    match door.admit(body).await {
        Ok(admitted) => {
            let reply = json!({
                "canonicalizedBody": Base64::encode(&admitted.body),
                "inclusionProof": proof,
                "kindVersion": {"kind": admitted.kind, "version": admitted.version},
                "logId": {"keyId": Base64::encode(&[0; 32])},
                "logIndex": "1000000",
            });
            (StatusCode::CREATED, Json(reply)).into_response()
        }
        Err(refusal) => (StatusCode::BAD_REQUEST, refusal.to_string()).into_response(),
    }
}

fn proof() -> Value {
    let hash = Base64::encode(&[0; 32]);
    let checkpoint = format!(
        "log.example.org\n1000001\n{hash}\n\n\u{2014} log.example.org {}\n",
        Base64::encode(&[0; 68])
    );
    json!({
        "checkpoint": {"envelope": checkpoint},
        "hashes": vec![hash.as_str(); HASHES],
        "logIndex": "1000000",
        "rootHash": hash,
        "treeSize": "1000001",
    })
}
