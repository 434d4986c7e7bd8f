//! Who holds the places of a service, and who makes room when there are none left.
//!
//! One client that opens as many connections as there are places, and holds back the rest of a request on each, would else keep everybody out
//! until [`Limits::request`](crate::Limits::request). So while all places are taken and one client (an IPv4 address, an IPv6 /64) has more than half of
//! them, a newcomer of any other client gets one of these: that which has waited longest on what the client is to send. What we work on ourselves is
//! left alone. Clients behind one proxy are one client to us, and then nobody is another one.

use std::collections::HashMap;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::HttpBody;
use http_body::{Frame, SizeHint};
use tokio::sync::Notify;
use tokio::task::Id;

use crate::rate::narrowed;

/// Newcomers that are taken from the kernel's queue while there is no place for them: only so it is seen who they are.
pub(crate) const DOOR: usize = 64;

/// While so many wait that nobody sees who comes behind them, one that has waited on its client for so long makes room for any of them, also for one of
/// the same client: whoever fills the places and the queue too would else keep everybody out.
const SLOW: Duration = Duration::from_secs(5);

/// What a connection is about: written by itself, read by whoever looks for room.
#[derive(Debug)]
pub(crate) struct Seat {
    opened: Instant,
    begun: AtomicU64,
    ended: AtomicU64,
    /// Requests of which we have read what there is of the body, and there is to be more.
    held_back: AtomicU64,
    /// When a request began or was answered last, in milliseconds after `opened`. The bytes of a body do not count: they can be sent one by one.
    turned: AtomicU64,
    leave: Notify,
}

impl Seat {
    pub(crate) fn new() -> Self {
        Self {
            opened: Instant::now(),
            begun: AtomicU64::new(0),
            ended: AtomicU64::new(0),
            held_back: AtomicU64::new(0),
            turned: AtomicU64::new(0),
            leave: Notify::new(),
        }
    }

    /// How many requests have begun.
    pub(crate) fn begun(&self) -> u64 {
        self.begun.load(Ordering::Relaxed)
    }

    /// No request is being sent or worked on.
    pub(crate) fn is_idle(&self) -> bool {
        self.under_way() == 0
    }

    /// All requests that are under way wait for the rest of their bodies.
    pub(crate) fn waits_on_client(&self) -> bool {
        self.held_back.load(Ordering::Relaxed) >= self.under_way()
    }

    fn under_way(&self) -> u64 {
        let ended = self.ended.load(Ordering::Relaxed);
        self.begun().saturating_sub(ended)
    }

    /// Since when the client could have done something.
    fn turned(&self) -> Instant {
        let after = Duration::from_millis(self.turned.load(Ordering::Relaxed));
        self.opened.checked_add(after).unwrap_or(self.opened)
    }

    fn turn(&self) {
        let after = u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.turned.store(after, Ordering::Relaxed);
    }

    /// Waits until somebody else is to have the place.
    pub(crate) async fn told_to_leave(&self) {
        self.leave.notified().await;
    }
}

/// A request that is under way: until it is answered, or was given up by its client.
pub(crate) struct Running(Arc<Seat>);

impl Running {
    pub(crate) fn begin(seat: &Arc<Seat>) -> Self {
        seat.begun.fetch_add(1, Ordering::Relaxed);
        seat.turn();
        Self(Arc::clone(seat))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Ordering::Relaxed);
        self.0.turn();
    }
}

/// A request's body that says when it waits for its client.
pub(crate) struct Watched<B> {
    body: B,
    seat: Arc<Seat>,
    waits: bool,
}

impl<B> Watched<B> {
    pub(crate) fn new(body: B, seat: &Arc<Seat>) -> Self {
        Self {
            body,
            seat: Arc::clone(seat),
            waits: false,
        }
    }

    fn waits(&mut self, waits: bool) {
        match (self.waits, waits) {
            (false, true) => {
                self.seat.held_back.fetch_add(1, Ordering::Relaxed);
            }
            (true, false) => {
                self.seat.held_back.fetch_sub(1, Ordering::Relaxed);
            }
            _ => {}
        }
        self.waits = waits;
    }
}

impl<B> Drop for Watched<B> {
    fn drop(&mut self) {
        self.waits(false);
    }
}

impl<B: HttpBody + Unpin> HttpBody for Watched<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        self.waits(polled.is_pending());
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The open connections. The loop that accepts them owns this, so it needs no lock.
#[derive(Debug)]
pub(crate) struct Places {
    most: usize,
    taken: HashMap<Id, Taken>,
    /// How many of those that are not told to leave each client has.
    held: HashMap<IpAddr, usize>,
    /// How many were told to leave and have not left yet.
    leaving: usize,
}

#[derive(Debug)]
struct Taken {
    client: IpAddr,
    seat: Arc<Seat>,
    leaves: bool,
}

impl Places {
    pub(crate) fn new(most: usize) -> Self {
        Self {
            most,
            taken: HashMap::new(),
            held: HashMap::new(),
            leaving: 0,
        }
    }

    pub(crate) fn take(&mut self, id: Id, peer: IpAddr, seat: Arc<Seat>) {
        let client = narrowed(peer);
        let taken = Taken {
            client,
            seat,
            leaves: false,
        };
        self.taken.insert(id, taken);
        let held = self.held.entry(client).or_default();
        *held = held.saturating_add(1);
    }

    pub(crate) fn leave(&mut self, id: Id) {
        match self.taken.remove(&id) {
            Some(taken) if taken.leaves => self.leaving = self.leaving.saturating_sub(1),
            Some(taken) => self.one_less(taken.client),
            None => {}
        }
    }

    fn one_less(&mut self, client: IpAddr) {
        if let Some(held) = self.held.get_mut(&client) {
            *held = held.saturating_sub(1);
            if *held == 0 {
                self.held.remove(&client);
            }
        }
    }

    /// How many the client of this address has.
    pub(crate) fn held(&self, peer: IpAddr) -> usize {
        self.held.get(&narrowed(peer)).copied().unwrap_or_default()
    }

    /// Tells connections of the client with more than half of the places to leave: one for each of the others that wait, and one when so many wait that
    /// there may be more behind them.
    pub(crate) fn make_room(&mut self, now: Instant, waiting: impl Iterator<Item = IpAddr>) {
        let greatest = self.held.iter().max_by_key(|(_, held)| **held);
        let Some((&client, &(mut held))) = greatest else {
            return;
        };
        let (mut all, mut others) = (0_usize, 0_usize);
        for peer in waiting {
            all = all.saturating_add(1);
            if narrowed(peer) != client {
                others = others.saturating_add(1);
            }
        }
        let wanted = others.max(usize::from(all >= DOOR));
        while held > self.most / 2 && self.leaving < wanted {
            let patience = if self.leaving < others {
                Duration::ZERO
            } else {
                SLOW
            };
            let slowest = self.taken.values_mut().filter(|taken| {
                taken.client == client && !taken.leaves && taken.seat.waits_on_client()
            });
            let slowest = slowest.min_by_key(|taken| taken.seat.turned());
            let Some(slowest) = slowest else { return };
            if now.saturating_duration_since(slowest.seat.turned()) < patience {
                return;
            }
            slowest.leaves = true;
            slowest.seat.leave.notify_one();
            self.leaving = self.leaving.saturating_add(1);
            self.one_less(client);
            held = held.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    const A: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const B: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    /// Places with connections of these clients, all idle, the first open for the longest.
    fn places(most: usize, peers: &[IpAddr]) -> (Places, Vec<(Id, Arc<Seat>)>) {
        let mut places = Places::new(most);
        let mut seats = Vec::new();
        for (number, peer) in (0..).zip(peers) {
            let id = tokio::spawn(std::future::pending::<()>()).id();
            let seat = Arc::new(Seat::new());
            seat.turned.store(number, Ordering::Relaxed);
            places.take(id, *peer, Arc::clone(&seat));
            seats.push((id, seat));
        }
        (places, seats)
    }

    async fn told(seat: &Seat) -> bool {
        tokio::time::timeout(Duration::ZERO, seat.told_to_leave())
            .await
            .is_ok()
    }

    #[tokio::test]
    async fn one_for_each_other_client_down_to_half() {
        let (mut places, seats) = places(4, &[B, A, A, A]);
        // The first has a request that we work on, so it is the second of them that goes.
        let running = Running::begin(&seats[1].1);
        places.make_room(Instant::now(), [B, A].into_iter());
        places.make_room(Instant::now(), [B, A].into_iter());
        let mut went = Vec::new();
        for (_, seat) in &seats {
            went.push(told(seat).await);
        }
        assert_eq!(went, [false, false, true, false]);
        assert_eq!((places.held(A), places.held(B), places.leaving), (2, 1, 1));
        drop(running);
        // It has half of them now, and keeps it.
        places.make_room(Instant::now(), [B, B, B].into_iter());
        assert_eq!(places.leaving, 1);
        for (id, _) in seats {
            places.leave(id);
        }
        assert_eq!((places.held(A), places.held(B), places.leaving), (0, 0, 0));
        assert!(places.held.is_empty());
    }

    #[tokio::test]
    async fn one_client_alone_makes_no_room_for_itself_until_the_door_is_full_of_it() {
        let (mut places, seats) = places(2, &[A, A]);
        let now = Instant::now();
        let late = now.checked_add(SLOW * 2).unwrap();
        places.make_room(late, std::iter::repeat_n(A, DOOR - 1));
        assert_eq!(places.leaving, 0);
        places.make_room(now, std::iter::repeat_n(A, DOOR));
        assert_eq!(places.leaving, 0);
        places.make_room(late, std::iter::repeat_n(A, DOOR));
        places.make_room(late, std::iter::repeat_n(A, DOOR));
        assert_eq!(places.leaving, 1);
        assert!(told(&seats[0].1).await);
    }

    #[tokio::test]
    async fn a_body_that_we_do_not_wait_for_is_ours() {
        let seat = Arc::new(Seat::new());
        assert!(seat.waits_on_client());
        let running = Running::begin(&seat);
        assert!(!seat.waits_on_client());
        let (mut sender, channel) = http_body_util::channel::Channel::<bytes::Bytes>::new(1);
        let mut body = Watched::new(channel, &seat);
        let early = tokio::time::timeout(Duration::ZERO, body.frame()).await;
        assert!(early.is_err());
        assert!(seat.waits_on_client() && !seat.is_idle());
        sender.send_data("x".into()).await.unwrap();
        assert!(body.frame().await.is_some());
        assert!(!seat.waits_on_client());
        drop(body);
        drop(running);
        assert!(seat.is_idle());
    }
}
