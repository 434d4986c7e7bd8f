//! How often one client may ask: a bucket of tokens for each address.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http::HeaderMap;

use crate::limits::Rate;
use crate::problem::Problem;

/// Buckets that are kept; when there are more clients at a time, the new ones share one.
const CLIENTS_MAX: usize = 1 << 16;

/// Between two looks for clients that can be forgotten.
const SWEEP: Duration = Duration::from_secs(1);

/// Who opened the connection, in a request's extensions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) IpAddr);

/// The buckets of one service.
#[derive(Clone, Debug)]
pub(crate) struct Buckets(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    rate: Rate,
    begun: Instant,
    clients: Mutex<Clients>,
}

#[derive(Debug, Default)]
struct Clients {
    buckets: HashMap<IpAddr, Bucket>,
    /// When the full ones were last looked for: that takes as long as there are many.
    swept: Option<Duration>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    tokens: f64,
    /// When it had so many, since the beginning.
    at: Duration,
}

impl Bucket {
    /// Filled up to now.
    fn filled(self, rate: &Rate, now: Duration) -> Self {
        let passed = now.saturating_sub(self.at).as_secs_f64();
        let tokens = self.tokens + passed * f64::from(rate.per_second);
        Self {
            tokens: tokens.min(f64::from(rate.burst)),
            at: now,
        }
    }
}

impl Buckets {
    pub(crate) fn new(rate: Rate) -> Self {
        Self(Arc::new(Inner {
            rate,
            begun: Instant::now(),
            clients: Mutex::default(),
        }))
    }

    /// Takes a token; the seconds until there is one when there is none.
    fn take(&self, client: IpAddr, now: Duration) -> Result<(), u32> {
        let Inner { rate, clients, .. } = &*self.0;
        let full = Bucket {
            tokens: f64::from(rate.burst),
            at: now,
        };
        let mut clients = clients.lock().unwrap_or_else(PoisonError::into_inner);
        let Clients { buckets, swept } = &mut *clients;
        let mut key = narrowed(client);
        if buckets.len() >= CLIENTS_MAX && !buckets.contains_key(&key) {
            if swept.is_none_or(|swept| now.saturating_sub(swept) >= SWEEP) {
                *swept = Some(now);
                // A full bucket is as good as none.
                buckets.retain(|_, bucket| bucket.filled(rate, now).tokens < full.tokens);
            }
            if buckets.len() >= CLIENTS_MAX {
                key = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
            }
        }
        let bucket = buckets.entry(key).or_insert(full);
        *bucket = bucket.filled(rate, now);
        if bucket.tokens >= 1.0 {
            bucket.tokens -= 1.0;
            return Ok(());
        }
        let wait = (1.0 - bucket.tokens) / f64::from(rate.per_second.max(1));
        let wait = Duration::try_from_secs_f64(wait.ceil()).unwrap_or(Duration::MAX);
        Err(u32::try_from(wait.as_secs()).unwrap_or(u32::MAX).max(1))
    }
}

/// Who has an IPv6 address has the 2^64 beside it too.
fn narrowed(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// The address that the proxy before us saw. What stands before it in the list, anybody may have written.
fn forwarded(headers: &HeaderMap) -> Option<IpAddr> {
    let last = headers.get_all("x-forwarded-for").iter().next_back()?;
    last.to_str().ok()?.rsplit(',').next()?.trim().parse().ok()
}

/// Lets a request through when its client has a token left.
pub(crate) async fn limit(buckets: Buckets, request: Request, next: Next) -> Response {
    if matches!(request.uri().path(), "/healthz" | "/metrics") {
        return next.run(request).await;
    }
    let peer = request.extensions().get::<Peer>().map(|Peer(peer)| *peer);
    let forwarded = forwarded(request.headers()).filter(|_| buckets.0.rate.behind_proxy);
    let client = forwarded
        .or(peer)
        .unwrap_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED));
    match buckets.take(client, buckets.0.begun.elapsed()) {
        Ok(()) => next.run(request).await,
        Err(seconds) => {
            Problem::too_many("too many requests from this address, try again", seconds)
                .into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate {
        per_second: 2,
        burst: 4,
        behind_proxy: false,
    };

    fn at(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn a_burst_and_then_the_rate() {
        let buckets = Buckets::new(RATE);
        let (one, other) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        for _ in 0..4 {
            assert_eq!(buckets.take(one, at(1000)), Ok(()));
        }
        assert_eq!(buckets.take(one, at(1000)), Err(1));
        assert_eq!(buckets.take(other, at(1000)), Ok(()), "somebody else");
        assert_eq!(buckets.take(one, at(1499)), Err(1));
        assert_eq!(buckets.take(one, at(1500)), Ok(()));
        assert_eq!(buckets.take(one, at(1500)), Err(1));
        for _ in 0..4 {
            assert_eq!(
                buckets.take(one, at(60_000)),
                Ok(()),
                "no more than the burst is saved up"
            );
        }
        assert_eq!(buckets.take(one, at(60_000)), Err(1));
    }

    #[test]
    fn a_client_is_an_ipv4_address_or_an_ipv6_network() {
        let same = |one: &str, other: &str| {
            narrowed(one.parse().unwrap()) == narrowed(other.parse().unwrap())
        };
        assert!(same("2001:db8:1:2::3", "2001:db8:1:2:ffff::"));
        assert!(!same("2001:db8:1:2::3", "2001:db8:1:3::3"));
        assert!(same("::ffff:192.0.2.1", "192.0.2.1"));
        assert!(!same("192.0.2.1", "192.0.2.2"));
    }

    #[test]
    fn only_what_the_proxy_wrote_counts() {
        let mut headers = HeaderMap::new();
        assert_eq!(forwarded(&headers), None);
        headers.append("x-forwarded-for", "198.51.100.9".parse().unwrap());
        headers.append("x-forwarded-for", "203.0.113.7, 192.0.2.1".parse().unwrap());
        assert_eq!(forwarded(&headers), "192.0.2.1".parse().ok());
        headers.append("x-forwarded-for", "nonsense".parse().unwrap());
        assert_eq!(forwarded(&headers), None);
    }

    #[test]
    fn memory_has_an_end() {
        let buckets = Buckets::new(RATE);
        let client = |number: u32| IpAddr::from(number.to_be_bytes());
        for number in 0..70_000 {
            let _taken = buckets.take(client(number), at(0));
        }
        assert!(buckets.0.clients.lock().unwrap().buckets.len() <= CLIENTS_MAX + 1);
        // Later all of them are full again, and are forgotten when there are new ones.
        assert_eq!(buckets.take(client(1_000_000), at(10_000)), Ok(()));
        assert!(buckets.0.clients.lock().unwrap().buckets.len() < 10);
    }
}
