//! Memory for answers that are on their way. Whoever asks for much and takes nothing would else have the machine's memory for some frames of
//! HTTP/2: with windows that stay shut, one connection holds as many answers as it has streams.
//!
//! Large answers have room together, and a time to be taken in. They go to the connection in small pieces, each a copy, so that what it buffers
//! is little and does not keep the whole alive. Answers that are made while they are sent do not say how long they are: they wait for the
//! client by themselves.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http_body::{Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;

use crate::limits::Limits;
use crate::problem::Problem;

/// Answers up to here need no room: the connections and their streams bound them.
const SMALL: u64 = 16 << 10;
/// What a connection gets at a time.
const PIECE: usize = 16 << 10;
/// One permit is a kibibyte.
const UNIT: u64 = 1 << 10;

/// The room for the answers of one service.
#[derive(Clone, Debug)]
pub(crate) struct Answers {
    free: Arc<Semaphore>,
    units: u32,
    time: Duration,
}

impl Answers {
    pub(crate) fn new(limits: &Limits) -> Self {
        let units = limits.answers.div_ceil(1 << 10).min(Semaphore::MAX_PERMITS);
        Self {
            free: Arc::new(Semaphore::new(units)),
            units: u32::try_from(units).unwrap_or(u32::MAX),
            time: limits.answer,
        }
    }
}

/// Lets an answer go when it has room, and keeps the room until it is taken, or its time is over.
pub(crate) async fn hold(answers: Answers, request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    let Some(bytes) = response
        .body()
        .size_hint()
        .exact()
        .filter(|bytes| *bytes > SMALL)
    else {
        return response;
    };
    // One that is larger than all the room takes all of it.
    let units = u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX);
    let units = units.min(answers.units);
    let Ok(room) = answers.free.try_acquire_many_owned(units) else {
        return Problem::unavailable("too many large answers are under way, try again", 5)
            .with_detail("SERVER_BUSY")
            .into_response();
    };
    let (head, body) = response.into_parts();
    let content = Arc::new(Mutex::new(Some(Content {
        body,
        rest: Bytes::new(),
        _room: room,
    })));
    let clock = tokio::spawn({
        let content = content.clone();
        async move {
            tokio::time::sleep(answers.time).await;
            content
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take();
        }
    });
    Response::from_parts(
        head,
        Body::new(Held {
            content,
            left: bytes,
            clock,
        }),
    )
}

/// An answer, and the room that it takes.
#[derive(Debug)]
struct Content {
    body: Body,
    /// Of its last frame.
    rest: Bytes,
    _room: OwnedSemaphorePermit,
}

/// An answer as its connection sees it.
#[derive(Debug)]
struct Held {
    /// None when the time is over.
    content: Arc<Mutex<Option<Content>>>,
    left: u64,
    clock: JoinHandle<()>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.clock.abort();
    }
}

impl HttpBody for Held {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let shared = self.content.clone();
        let mut content = shared.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(Content { body, rest, .. }) = content.as_mut() else {
            let late = std::io::Error::from(std::io::ErrorKind::TimedOut);
            return Poll::Ready(Some(Err(axum::Error::new(late))));
        };
        if rest.is_empty() {
            match ready!(Pin::new(body).poll_frame(context)) {
                None => return Poll::Ready(None),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => *rest = data,
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
            }
        }
        let piece = rest.split_to(rest.len().min(PIECE));
        let piece = Bytes::copy_from_slice(&piece);
        drop(content);
        let taken = u64::try_from(piece.len()).unwrap_or(u64::MAX);
        self.left = self.left.saturating_sub(taken);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
