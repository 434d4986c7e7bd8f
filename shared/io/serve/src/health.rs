//! `/healthz`: may a load balancer send us work?

use std::sync::{Arc, Mutex, PoisonError};

use axum::Json;
use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Router, extract::State};
use http::StatusCode;
use serde::Deserialize;
use serde_json::json;

use crate::problem::{Code, Problem};

/// Whether this service can do its work. Cloning is cheap; clones speak of the same service.
#[derive(Clone, Debug, Default)]
pub struct Health {
    failure: Arc<Mutex<Option<String>>>,
    services: &'static [&'static str],
}

impl Health {
    /// A service that works until [`Health::fail`] says otherwise.
    pub fn serving() -> Self {
        Self::default()
    }

    /// The gRPC services that it has; health may be asked of each by its name.
    #[must_use]
    pub fn with_services(self, services: &'static [&'static str]) -> Self {
        Self { services, ..self }
    }

    /// Whether this service is one of ours; no name means all together.
    pub fn knows(&self, service: &str) -> bool {
        service.is_empty() || self.services.contains(&service)
    }

    /// From now on `/healthz` answers 503; the reason goes to the log only, the world need not know it.
    pub fn fail(&self, reason: impl Into<String>) {
        let reason = reason.into();
        tracing::error!(%reason, "no longer serving");
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason);
    }

    /// The trouble is over.
    pub fn recover(&self) {
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Why the service cannot work, if so.
    pub fn failure(&self) -> Option<String> {
        self.failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// `GET /healthz`, with `?service=` too (the body is that of the gRPC health service in JSON, which Fulcio and Rekor answer; where it is
    /// not well, a gateway's error besides), and `GET /metrics`. Merge it into the service's router.
    pub fn routes(&self) -> Router {
        Router::new()
            .route("/healthz", get(healthz))
            .with_state(self.clone())
            .route("/metrics", get(async || crate::metrics::render()))
    }
}

#[derive(Deserialize)]
struct Asked {
    #[serde(default)]
    service: String,
}

async fn healthz(
    State(health): State<Health>,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(Asked { service }) = asked?;
    if !health.knows(&service) {
        return Err(Problem::new(Code::NotFound, "unknown service"));
    }
    if health.failure().is_none() {
        return Ok(Json(json!({ "status": "SERVING" })).into_response());
    }
    let body = json!({
        "code": Code::Unavailable.number(),
        "message": "not serving",
        "details": [],
        "status": "NOT_SERVING",
    });
    Ok((StatusCode::SERVICE_UNAVAILABLE, Json(body)).into_response())
}
