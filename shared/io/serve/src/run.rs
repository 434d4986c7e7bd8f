//! The accept loop.
//!
//! `axum::serve` waits for ever for the rest of a half-sent request head, and hyper-util's protocol detection for ever for
//! the first byte; so the loop is our own, with a clock on each of them.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::MissedTickBehavior;
use tokio_rustls::TlsAcceptor;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::limit::RequestBodyLimitLayer;

use crate::answers::{self, Answers};
use crate::limits::Limits;
use crate::listen::Listeners;
use crate::observe;
use crate::places::{DOOR, Places, Running, Seat, Watched};
use crate::rate::{self, Clients, Peer};
use crate::room::{self, Room};
use crate::routes::{Manner, Routes};
use crate::stop::Stop;
use crate::tls::Tls;

/// A pause after the kernel had no socket for us (too many open files): without it the loop would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// While all connections are taken, one that nothing was asked on for so long, and nothing is asked on now, makes room for others: whoever opens
/// connections and is silent would else keep everybody out.
const CROWDED_IDLE: Duration = Duration::from_secs(1);

/// How often it is looked again for a connection that makes room, while somebody waits for a place.
const CROWDED_LOOK: Duration = Duration::from_millis(100);

/// Bytes of a request's head: hyper's buffer limit for one connection. Tokens of CI systems have several kilobytes.
const HEAD_MAX: usize = 64 << 10;

/// Serves the routes until `stop`, then lets running requests finish for [`Limits::drain`]. `service` names it in logs and
/// figures.
pub async fn run(
    listeners: Listeners,
    service: &'static str,
    routes: impl Into<Routes>,
    limits: Limits,
    stop: Stop,
) {
    crate::metrics::init();
    let mut routes = routes.into();
    let bodies = Room::new(&limits);
    let answers = Answers::new(&limits);
    let buckets = limits.rate.map(Clients::new);
    let manner = routes.manner();
    let dress = |router: Router| {
        let room = (&bodies, &answers);
        dressed(router, service, limits, room, buckets.as_ref(), manner)
    };
    let (dressed, router) = watch::channel(dress(routes.now()));
    let permits = Arc::new(Semaphore::new(limits.connections));
    let tls = listeners.tls.clone();
    tracing::info!(service, address = %listeners.address(), tls = tls.is_some(), "listening");

    let serving = accept(
        &listeners.sockets,
        &router,
        tls.as_ref(),
        limits,
        &permits,
        stop,
    );
    let upkeep = async {
        let mut turn = tokio::time::interval(crate::metrics::UPKEEP);
        loop {
            turn.tick().await;
            crate::metrics::upkeep();
        }
    };
    let replacing = async {
        loop {
            let next = routes.next().await;
            let old = dressed.send_replace(dress(next));
            // What hangs on it may end with it, and that may take its time: not in the loop that takes connections.
            tokio::task::spawn_blocking(move || drop(old));
        }
    };
    let certificates = async {
        match tls.clone() {
            Some(tls) => tls.watch().await,
            None => std::future::pending().await,
        }
    };
    let mut connections = tokio::select! {
        connections = serving => connections,
        never = upkeep => never,
        never = replacing => never,
        () = certificates => return,
    };
    drop(listeners);
    // Each connection hears the stop itself and ends within `drain`.
    while connections.join_next().await.is_some() {}
    tracing::info!(service, "stopped");
    // Whoever has called may end the process now, and the line above may be none that is logged.
    crate::logging::flush();
}

/// A service's router with what all services have around it.
fn dressed(
    router: Router,
    service: &'static str,
    limits: Limits,
    (bodies, answers): (&Room, &Answers),
    buckets: Option<&Clients>,
    manner: Option<Manner>,
) -> Router {
    let (bodies, answers) = (bodies.clone(), answers.clone());
    let router = router
        .layer(DefaultBodyLimit::disable())
        .layer(RequestBodyLimitLayer::new(limits.body))
        .layer(middleware::from_fn(move |request, next| {
            room::reserve(bodies.clone(), request, next)
        }))
        .layer(CatchPanicLayer::custom(observe::panicked))
        .layer(middleware::from_fn(move |request, next| {
            answers::hold(answers.clone(), request, next)
        }));
    let router = match buckets.cloned() {
        Some(buckets) => router.layer(middleware::from_fn(move |request, next| {
            rate::limit(buckets.clone(), request, next)
        })),
        None => router,
    };
    router.layer(middleware::from_fn(move |request, next| {
        observe::observe(service, limits.request, manner, request, next)
    }))
}

/// Takes connections until told to stop, and returns those that are still open.
async fn accept(
    sockets: &[TcpListener],
    router: &watch::Receiver<Router>,
    tls: Option<&Tls>,
    limits: Limits,
    permits: &Arc<Semaphore>,
    mut stop: Stop,
) -> JoinSet<()> {
    let mut connections = JoinSet::new();
    let mut places = Places::new(limits.connections);
    let mut door = VecDeque::new();
    loop {
        // Finished connections leave the set here, so it holds no more of them than are open.
        while let Some(ended) = connections.try_join_next_with_id() {
            places.leave(whose(&ended));
        }
        let crowded = !door.is_empty() && permits.available_permits() == 0;
        if crowded {
            let waiting = door.iter().map(|(_, peer)| *peer);
            places.make_room(Instant::now(), waiting);
        }
        // What we cannot serve waits at the door, and behind it in the kernel's queue. All sockets share this one loop, since a loop that waits on a
        // quiet socket would sit on a permit.
        tokio::select! {
            biased;
            () = stop.wait() => return connections,
            permit = Arc::clone(permits).acquire_owned(), if !door.is_empty() => {
                let Some((stream, peer)) = from_door(&mut door, &places) else {
                    continue;
                };
                let router = router.clone();
                let stop = stop.clone();
                let tls = tls.map(Tls::acceptor);
                let crowd = Arc::clone(permits);
                let seat = Arc::new(Seat::new());
                let own = Arc::clone(&seat);
                let connection = connections.spawn(async move {
                    opened(stream, peer, tls, router, limits, (&crowd, &own), stop).await;
                    drop(permit);
                });
                places.take(connection.id(), peer, seat);
            }
            Some(ended) = connections.join_next_with_id(), if crowded => places.leave(whose(&ended)),
            accepted = next(sockets), if door.len() < DOOR => match accepted {
                Ok((stream, peer)) => door.push_back((stream, peer.ip())),
                Err(error) => {
                    tracing::warn!(%error, "accept failed");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            // Who works on a request now may soon wait for its client.
            () = tokio::time::sleep(CROWDED_LOOK), if crowded => {}
        }
    }
}

/// Whoever has the fewest places is next, of several the one who came first.
fn from_door(
    door: &mut VecDeque<(TcpStream, IpAddr)>,
    places: &Places,
) -> Option<(TcpStream, IpAddr)> {
    let held = door.iter().map(|(_, peer)| places.held(*peer));
    let (next, _) = held.enumerate().min_by_key(|(_, held)| *held)?;
    door.remove(next)
}

fn whose(ended: &Result<(Id, ()), JoinError>) -> Id {
    match ended {
        Ok((id, ())) => *id,
        Err(error) => error.id(),
    }
}

async fn opened(
    stream: TcpStream,
    peer: IpAddr,
    tls: Option<TlsAcceptor>,
    router: watch::Receiver<Router>,
    limits: Limits,
    (crowd, seat): (&Semaphore, &Arc<Seat>),
    stop: Stop,
) {
    // Small answers should not wait for more: Nagle's algorithm off.
    let _best_effort = stream.set_nodelay(true);
    let Some(acceptor) = tls else {
        return connection(stream, peer, router, limits, (crowd, seat), stop).await;
    };
    let shake = tokio::time::timeout(limits.header, acceptor.accept(stream));
    let shaken = tokio::select! {
        shaken = shake => shaken,
        () = seat.told_to_leave() => {
            tracing::debug!("another client has no place; connection without a TLS handshake closed");
            return;
        }
    };
    match shaken {
        Ok(Ok(stream)) => connection(stream, peer, router, limits, (crowd, seat), stop).await,
        Ok(Err(error)) => tracing::debug!(%error, "no TLS handshake"),
        Err(_) => tracing::debug!("no TLS handshake in time"),
    }
}

/// The next connection on any of the sockets. There are two at most, and the first cannot starve the second for long: a
/// connection cap ends every flood.
async fn next(sockets: &[TcpListener]) -> io::Result<(TcpStream, SocketAddr)> {
    poll_fn(|context| {
        for socket in sockets {
            if let Poll::Ready(accepted) = socket.poll_accept(context) {
                return Poll::Ready(accepted);
            }
        }
        Poll::Pending
    })
    .await
}

async fn connection<S>(
    stream: S,
    peer: IpAddr,
    router: watch::Receiver<Router>,
    limits: Limits,
    (crowd, seat): (&Semaphore, &Arc<Seat>),
    mut stop: Stop,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header)
        .max_buf_size(HEAD_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams)
        .max_header_list_size(u32::try_from(HEAD_MAX).unwrap_or(u32::MAX))
        .keep_alive_interval(limits.header)
        .keep_alive_timeout(limits.header);

    let asking = Arc::clone(seat);
    let service = tower::service_fn(move |mut request: http::Request<_>| {
        request.extensions_mut().insert(Peer(peer));
        let running = Running::begin(&asking);
        let request = request.map(|body| Watched::new(body, &asking));
        // The one of now: a connection may outlive a router.
        let router = router.borrow().clone();
        let answer = tower::ServiceExt::oneshot(router, request);
        async move {
            let _until_answered = running;
            answer.await
        }
    });
    let served = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
    let mut served = std::pin::pin!(served);

    let life = tokio::time::sleep(limits.connection);
    let mut life = std::pin::pin!(life);
    // hyper-util reads the first bytes to tell HTTP/1 from HTTP/2, and that has no deadline of its own.
    let first = tokio::time::sleep(limits.header);
    let mut first = std::pin::pin!(first);
    let mut waiting_for_first = true;
    let mut look = tokio::time::interval(CROWDED_IDLE);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    look.reset();
    let mut before = 0;
    let mut drain = limits.drain;
    loop {
        tokio::select! {
            result = served.as_mut() => return ended(result),
            () = first.as_mut(), if waiting_for_first => {
                waiting_for_first = false;
                if seat.begun() == 0 {
                    tracing::debug!("no request in time; connection closed");
                    return;
                }
            }
            _ = look.tick() => {
                let begun = seat.begun();
                let idle = begun == before && seat.is_idle();
                before = begun;
                if idle && crowd.available_permits() == 0 {
                    tracing::debug!("all connections are taken, and this one is idle; connection closed");
                    if begun == 0 {
                        return;
                    }
                    // An answer that is still being sent has `drain` to be taken.
                    break;
                }
            }
            () = seat.told_to_leave() => {
                tracing::debug!("another client has no place; connection closed");
                if seat.begun() == 0 || seat.waits_on_client() && !seat.is_idle() {
                    return;
                }
                // What is worked on is answered.
                if seat.is_idle() {
                    drain = CROWDED_IDLE.min(drain);
                }
                break;
            }
            () = life.as_mut() => break,
            () = stop.wait() => break,
        }
    }
    served.as_mut().graceful_shutdown();
    if let Ok(result) = tokio::time::timeout(drain, served).await {
        ended(result);
    } else {
        tracing::debug!("connection cut while a request was running");
    }
}

/// Most of these are clients that hung up; nobody need read of them.
fn ended(result: Result<(), Box<dyn std::error::Error + Send + Sync>>) {
    if let Err(error) = result {
        tracing::debug!(%error, "connection ended");
    }
}
