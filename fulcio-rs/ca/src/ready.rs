//! `GET /readyz`: does everything work that a certificate needs? Asked of the service itself, over its own routes, so that an interface that is
//! gone is found before its clients find it.
//!
//! | check | holds when |
//! | --- | --- |
//! | `v1`, `v2` | the roots, the trust bundle and the configuration are answered, and `signingCert` is there |
//! | `grpc` | both services answer |
//! | `chain` | every certificate of the active chain is valid for as long as a certificate would live |
//! | `signer` | the key signs |
//! | `ct_log` | the log answers, where there is one |
//! | `required_issuers` | the keys of every issuer that the settings name so are there |
//!
//! Beside the checks it says of each issuer whether its keys are there. One that fails makes nothing unready unless it is required: nobody
//! else has to do with it, and a restart, which is what an orchestrator has for a service that is not ready, would help nobody.
//!
//! The answer is one of the last few seconds, whoever asks and how often.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use tokio::sync::Mutex;
use tower::ServiceExt as _;

use crate::api::State;
use crate::issue::Authority;

/// How long an answer is good for.
const FRESH: Duration = Duration::from_secs(5);
/// How long one check may take.
const PATIENCE: Duration = Duration::from_secs(3);
/// The most that a route answers a probe with: a bundle of some chains.
const ANSWER_MAX: usize = 1 << 20;
/// What the key signs to show that it does. It is no certificate, and nobody takes it for one.
const PROBE: &[u8] = b"fulcio-rs readiness probe";

/// A message of gRPC without contents: not compressed, no bytes.
const EMPTY_MESSAGE: [u8; 5] = [0; 5];

#[derive(Clone)]
struct Readiness(Arc<Inner>);

struct Inner {
    /// The routes of the service, but this one.
    router: Router,
    state: State,
    last: Mutex<Option<(Instant, Found)>>,
}

/// What a look has found.
#[derive(Clone)]
struct Found {
    /// Each check and whether it holds.
    checks: Vec<(&'static str, bool)>,
    issuers: Map<String, Value>,
}

/// The route for a service with these routes.
pub(crate) fn route(router: Router, state: State) -> Router {
    let readiness = Readiness(Arc::new(Inner {
        router,
        state,
        last: Mutex::new(None),
    }));
    Router::new().route(
        "/readyz",
        get(async move || Box::pin(readiness.answer()).await),
    )
}

impl Readiness {
    async fn answer(self) -> Response {
        // One asks, and the others wait for it.
        let mut last = self.0.last.lock().await;
        let found = match &*last {
            Some((at, found)) if at.elapsed() < FRESH => found.clone(),
            _ => {
                let found = Box::pin(self.0.look()).await;
                *last = Some((Instant::now(), found.clone()));
                found
            }
        };
        drop(last);
        let ready = found.checks.iter().all(|(_, holds)| *holds);
        let checks: Map<String, Value> = found
            .checks
            .iter()
            .map(|(name, holds)| {
                let word = if *holds { "ok" } else { "failed" };
                ((*name).to_owned(), Value::from(word))
            })
            .collect();
        let (status, word) = if ready {
            (StatusCode::OK, "READY")
        } else {
            (StatusCode::SERVICE_UNAVAILABLE, "NOT_READY")
        };
        let body = json!({ "status": word, "checks": checks, "issuers": found.issuers });
        (status, Json(body)).into_response()
    }
}

impl Inner {
    async fn look(&self) -> Found {
        let authority = self.state.authority.now();
        let (v1, v2, grpc, signer, ct_log) = tokio::join!(
            in_time("v1", self.legacy()),
            in_time("v2", self.current()),
            in_time("grpc", self.grpc()),
            in_time("signer", signs(&authority)),
            in_time("ct_log", witnesses(&authority, self.state.clock.now())),
        );
        let chain = self.chain(&authority);
        if let Err(why) = &chain {
            tracing::warn!(check = "chain", why, "not ready");
        }
        let (issuers, required) = self.issuers();
        Found {
            checks: vec![
                ("v1", v1),
                ("v2", v2),
                ("grpc", grpc),
                ("chain", chain.is_ok()),
                ("signer", signer),
                ("ct_log", ct_log),
                ("required_issuers", required),
            ],
            issuers,
        }
    }

    /// How it stands with the keys of each issuer, and whether all that are required have some. What exactly an issuer said is in the log: it
    /// is nobody's business here.
    fn issuers(&self) -> (Map<String, Value>, bool) {
        let (now, issuers) = (self.state.clock.now(), self.state.issuers.now());
        let mut required = true;
        let told = issuers.status().into_iter().map(|status| {
            let usable = status.has_keys(now);
            if !usable && issuers.requires(&status.issuer) {
                tracing::warn!(
                    check = "required_issuers",
                    issuer = status.issuer,
                    "not ready"
                );
                required = false;
            }
            let mut words = Map::new();
            words.insert("keys".into(), if usable { "ok" } else { "missing" }.into());
            if let Some(since) = status.keys_since {
                words.insert("since".into(), since.to_string().into());
            }
            if let Some((at, _)) = status.failure {
                words.insert("failed_at".into(), at.to_string().into());
            }
            (status.issuer, Value::Object(words))
        });
        let told = told.collect();
        (told, required)
    }

    async fn legacy(&self) -> Result<(), String> {
        self.ask("GET", "/api/v1/rootCert", StatusCode::OK).await?;
        // No JSON: it comes as far as the handler, and is no refusal that anybody counts.
        self.ask("POST", "/api/v1/signingCert", StatusCode::BAD_REQUEST)
            .await
    }

    async fn current(&self) -> Result<(), String> {
        self.ask("GET", "/api/v2/trustBundle", StatusCode::OK)
            .await?;
        self.ask("GET", "/api/v2/configuration", StatusCode::OK)
            .await?;
        self.ask("POST", "/api/v2/signingCert", StatusCode::BAD_REQUEST)
            .await
    }

    async fn ask(&self, method: &str, path: &str, expected: StatusCode) -> Result<(), String> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .body(Body::from("no request"))
            .map_err(|error| error.to_string())?;
        let response = self.send(request).await;
        let status = response.status();
        let body = to_bytes(response.into_body(), ANSWER_MAX).await;
        let body = body.map_err(|error| error.to_string())?;
        if status == expected && !body.is_empty() {
            Ok(())
        } else {
            Err(format!("{method} {path}: {status}"))
        }
    }

    async fn grpc(&self) -> Result<(), String> {
        for path in [
            "/dev.sigstore.fulcio.v2.CA/GetTrustBundle",
            "/dev.sigstore.fulcio.v1beta.CA/GetRootCertificate",
        ] {
            let request = Request::post(path)
                .header(header::CONTENT_TYPE, "application/grpc")
                .header(header::TE, "trailers")
                .body(Body::from(EMPTY_MESSAGE.as_slice()))
                .map_err(|error| error.to_string())?;
            let response = self.send(request).await;
            if let Some(status) = response.headers().get("grpc-status") {
                return Err(format!("{path}: grpc-status {status:?}"));
            }
            let body = to_bytes(response.into_body(), ANSWER_MAX).await;
            let body = body.map_err(|error| error.to_string())?;
            if body.len() <= EMPTY_MESSAGE.len() {
                return Err(format!("{path}: an empty message"));
            }
        }
        Ok(())
    }

    async fn send(&self, request: Request<Body>) -> Response {
        match self.router.clone().oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }

    fn chain(&self, authority: &Authority) -> Result<(), String> {
        let now = self.state.clock.now();
        let end = now.checked_add(authority.policy.lifetime);
        let end = end.map_err(|error| error.to_string())?;
        match [now, end]
            .into_iter()
            .find_map(|at| authority.chain.not_valid_at(at))
        {
            None => Ok(()),
            Some(late) => Err(late.subject_text()),
        }
    }
}

async fn signs(authority: &Authority) -> Result<(), String> {
    let signed = authority.signer.sign(PROBE).await;
    signed.map(drop).map_err(|error| error.to_string())
}

async fn witnesses(authority: &Authority, now: Timestamp) -> Result<(), String> {
    let end = now.checked_add(authority.policy.lifetime);
    let end = end.map_err(|error| error.to_string())?;
    match &authority.ct_log {
        None => Ok(()),
        Some(ct_log) => ct_log.probe(end).await.map_err(|error| error.to_string()),
    }
}

/// Whether it held; why not stands in the log.
async fn in_time(check: &'static str, holds: impl Future<Output = Result<(), String>>) -> bool {
    let outcome = tokio::time::timeout(PATIENCE, holds).await;
    let outcome = outcome.unwrap_or_else(|_| Err("no answer in time".to_owned()));
    if let Err(why) = &outcome {
        tracing::warn!(check, why, "not ready");
    }
    outcome.is_ok()
}
