//! The repository as a service: it serves the published folder, and signs snapshot and timestamp again as they become due.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Path as UrlPath, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use serve::{Clock, Health};
use tokio::task::JoinHandle;

use crate::error::RepositoryError;
use crate::places::cache_control;
use crate::publish::Timestamp;
use crate::repository::Repository;
use crate::status::Level;

/// How often it looks whether something is due.
const CHECK_EVERY: Duration = Duration::from_mins(15);

/// Longest name of a file: that of most file systems.
const FILE_NAME_MAX: usize = 255;

struct Served {
    repository: Arc<Repository>,
    keeper: JoinHandle<()>,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

/// Brings it to life. The right to write is taken for each look and given back, so that `sign` and `publish` work beside it. What is not there is 404,
/// never 403: clients ask for the next root until it is missing.
pub fn build(repository: Repository, clock: Clock) -> Router {
    let repository = Arc::new(repository);
    let health = Health::serving();
    let keeper = tokio::spawn(keep(repository.clone(), clock, health.clone()));
    let served = Arc::new(Served { repository, keeper });
    Router::new()
        .route("/{*file}", get(file))
        .with_state(served)
        .merge(health.routes())
        .layer(serve::cors::public())
}

async fn keep(repository: Arc<Repository>, clock: Clock, health: Health) {
    let mut turn = tokio::time::interval(CHECK_EVERY);
    loop {
        turn.tick().await;
        let now = clock.now();
        // A failure is logged and tried again: the old timestamp holds for days.
        if let Err(error) = look(&repository, now).await {
            metrics::counter!("tuf_refresh_failures_total").increment(1);
            tracing::error!(error = shown(&error), "not refreshed");
        }
        match repository.status(now) {
            Ok(status) => {
                figures(&status, now);
                if status.clients.iter().any(|client| client.error.is_some()) {
                    health.fail("clients fail");
                } else {
                    health.recover();
                }
                if status.level > Level::Ok {
                    tracing::warn!(
                        notes = status.notes.join("; "),
                        "the repository needs somebody"
                    );
                }
            }
            Err(error) => {
                // Or a monitor would go on with what was found out when it could.
                metrics::gauge!("tuf_status").set(f64::from(Level::Broken.exit_code()));
                tracing::error!(error = shown(&error), "the repository cannot be read");
            }
        }
    }
}

/// With the policy and the online keys as they are by now: a key may have been exchanged since.
async fn look(repository: &Repository, now: jiff::Timestamp) -> Result<(), RepositoryError> {
    if repository.published()?.is_none() {
        return Ok(());
    }
    let repository = repository.reopened()?;
    let (online, notes) = repository.online_signers().await;
    for note in notes {
        tracing::warn!(note, "a key is missing");
    }
    let writer = match repository.write() {
        // Somebody publishes, and refreshes with it.
        Err(RepositoryError::Locked) => return Ok(()),
        writer => writer?,
    };
    let done = writer.refresh(&online, Timestamp::WhenDue, now).await?;
    if !done.written.is_empty() {
        tracing::info!(written = done.written.join(" "), "refreshed");
    }
    for note in done.notes {
        tracing::warn!(note, "the repository needs somebody");
    }
    // At each look: a place that was away, or a publisher that was killed, must not wait for the next timestamp.
    let copied = writer.copy_out().await;
    for place in &copied.done {
        tracing::debug!(place, "copied");
    }
    copied.whole()
}

#[expect(
    clippy::cast_precision_loss,
    clippy::as_conversions,
    reason = "seconds since 1970 and versions are far below 2^52"
)]
fn figures(status: &crate::Status, now: jiff::Timestamp) {
    metrics::gauge!("tuf_status").set(f64::from(status.level.exit_code()));
    for role in &status.roles {
        let name = role.role.clone();
        metrics::gauge!("tuf_role_version", "role" => name.clone()).set(role.version as f64);
        metrics::gauge!("tuf_role_expires_timestamp_seconds", "role" => name.clone())
            .set(role.expires.as_second() as f64);
        metrics::gauge!("tuf_role_due_timestamp_seconds", "role" => name)
            .set(role.due.as_second() as f64);
    }
    let waiting = status.waiting.iter().filter(|one| !one.complete).count();
    let failing = status
        .clients
        .iter()
        .filter(|one| one.error.is_some())
        .count();
    metrics::gauge!("tuf_waiting_for_signatures").set(waiting as f64);
    metrics::gauge!("tuf_clients_failing").set(failing as f64);
    metrics::gauge!("tuf_status_timestamp_seconds").set(now.as_second() as f64);
}

async fn file(State(served): State<Arc<Served>>, UrlPath(name): UrlPath<String>) -> Response {
    // No file system has it, and none of our names comes near: no failure of ours.
    if name.split('/').any(|part| part.len() > FILE_NAME_MAX) {
        return StatusCode::NOT_FOUND.into_response();
    }
    let read = {
        let (repository, name) = (served.repository.clone(), name.clone());
        tokio::task::spawn_blocking(move || repository.published_file(&name)).await
    };
    match read {
        Ok(Ok(Some(bytes))) => {
            let media = if std::path::Path::new(&name)
                .extension()
                .is_some_and(|ending| ending == "json")
            {
                "application/json"
            } else {
                "application/octet-stream"
            };
            (
                [
                    (header::CONTENT_TYPE, media),
                    (header::CACHE_CONTROL, cache_control(&name)),
                ],
                bytes,
            )
                .into_response()
        }
        // A name that is no file of ours is not there.
        Ok(Ok(None) | Err(RepositoryError::Refused(_))) => StatusCode::NOT_FOUND.into_response(),
        Ok(Err(error)) => {
            tracing::error!(error = shown(&error), "a file cannot be read");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

fn shown(error: &RepositoryError) -> String {
    use std::error::Error as _;
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
