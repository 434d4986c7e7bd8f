//! Memory for bodies that are on their way. Whoever sends little is always let in; whoever announces much, or does not
//! say how much, only while there is room: a thousand connections that each hold back the last byte of a large body
//! would else fill the machine.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, HttpBody as _};
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http::{StatusCode, Version, header};
use http_body_util::BodyExt as _;
use tokio::sync::Semaphore;

use crate::limits::Limits;
use crate::problem::{self, Code, Problem};

/// Bodies up to here need no room: [`Limits::connections`] bounds them. HTTP/2 has many requests on one connection, so
/// there all do.
const SMALL: u64 = 64 << 10;

/// Of a body that is too large, so much is read and thrown away, and for so long. Most clients write the whole body before they read: of an answer
/// that comes with the end of the connection before that they see only that it broke.
const THROWN_AWAY: u64 = 64 << 20;
const THROWING_AWAY: Duration = Duration::from_secs(5);

/// One permit is a kibibyte.
const UNIT: u64 = 1 << 10;

/// The room for the bodies of one service.
#[derive(Clone, Debug)]
pub(crate) struct Room {
    free: Arc<Semaphore>,
    largest: u64,
    /// How long somebody who sends too much is listened to.
    patience: Duration,
}

impl Room {
    /// There is always room for one body of the largest size.
    pub(crate) fn new(limits: &Limits) -> Self {
        let bytes = limits.bodies.max(limits.body);
        let units = bytes.div_ceil(1 << 10);
        Self {
            free: Arc::new(Semaphore::new(units.min(Semaphore::MAX_PERMITS))),
            largest: u64::try_from(limits.body).unwrap_or(u64::MAX),
            patience: THROWING_AWAY.min(limits.request / 2),
        }
    }
}

/// Lets a request through when its body has room, and keeps the room until the answer.
pub(crate) async fn reserve(room: Room, request: Request, next: Next) -> Response {
    let announced = request.body().size_hint().upper();
    // Before it is read. A body that does not say how long it is ends where the limit is.
    if let Some(announced) = announced
        && announced > room.largest
    {
        let message = format!(
            "the request has {announced} bytes, and a request has at most {}",
            room.largest
        );
        // HTTP/2 has a word for it, and whoever expects to be told has sent nothing yet.
        let sends = request.version() < Version::HTTP_2
            && !request.headers().contains_key(header::EXPECT)
            && announced <= THROWN_AWAY;
        if sends {
            let _in_time = tokio::time::timeout(room.patience, drain(request.into_body())).await;
        }
        let status = StatusCode::PAYLOAD_TOO_LARGE;
        return Problem::with_status(status, Code::ResourceExhausted, message)
            .with_detail(problem::TOO_LARGE)
            .into_response();
    }
    let bytes = announced.unwrap_or(room.largest);
    if bytes <= SMALL && request.version() < Version::HTTP_2 {
        return next.run(request).await;
    }
    let units = u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX);
    match room.free.try_acquire_many_owned(units) {
        Ok(_reserved) => next.run(request).await,
        Err(_full) => Problem::unavailable("too many large requests are under way, try again", 5)
            .with_detail("SERVER_BUSY")
            .into_response(),
    }
}

/// Reads to the end, and keeps nothing.
async fn drain(mut body: Body) {
    while let Some(Ok(_)) = body.frame().await {}
}
