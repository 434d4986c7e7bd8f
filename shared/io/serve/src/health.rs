//! `/healthz`: may a load balancer send us work?

use std::sync::{Arc, Mutex, PoisonError};

use axum::Json;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Router, extract::State};
use http::StatusCode;
use serde_json::json;

/// Whether this service can do its work. Cloning is cheap; clones speak of the same service.
#[derive(Clone, Debug, Default)]
pub struct Health(Arc<Mutex<Option<String>>>);

impl Health {
    /// A service that works until [`Health::fail`] says otherwise.
    pub fn serving() -> Self {
        Self::default()
    }

    /// From now on `/healthz` answers 503; the reason goes to the log only, the world need not know it.
    pub fn fail(&self, reason: impl Into<String>) {
        let reason = reason.into();
        tracing::error!(%reason, "no longer serving");
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason);
    }

    /// The trouble is over.
    pub fn recover(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Why the service cannot work, if so.
    pub fn failure(&self) -> Option<String> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// `GET /healthz` (the body is that of the gRPC health service in JSON, which Fulcio and Rekor answer too) and
    /// `GET /metrics`. Merge it into the service's router.
    pub fn routes(&self) -> Router {
        Router::new()
            .route("/healthz", get(healthz))
            .with_state(self.clone())
            .route("/metrics", get(async || crate::metrics::render()))
    }
}

async fn healthz(State(health): State<Health>) -> Response {
    match health.failure() {
        None => Json(json!({ "status": "SERVING" })).into_response(),
        Some(_) => (
            StatusCode::SERVICE_UNAVAILABLE,
            Json(json!({ "status": "NOT_SERVING" })),
        )
            .into_response(),
    }
}
