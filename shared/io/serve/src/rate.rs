//! How often one may ask: a bucket of tokens for each address, and for whatever else a service counts by.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hash};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http::HeaderMap;
use jiff::Timestamp;

use crate::limits::Rate;
use crate::problem::Problem;

/// Buckets that are kept; when there are more holders at a time, the new ones share one.
const HOLDERS_MAX: usize = 1 << 16;

/// Between two looks for holders that can be forgotten.
const SWEEP: Duration = Duration::from_secs(1);

/// Who opened the connection, in a request's extensions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) IpAddr);

/// A bucket of tokens for each of many holders.
#[derive(Debug)]
struct Buckets<K> {
    /// Tokens a second.
    refill: f64,
    /// Tokens at most.
    burst: f64,
    /// Whom new holders share a bucket with when there are too many.
    shared: K,
    holders: Mutex<Holders<K>>,
}

#[derive(Debug)]
struct Holders<K> {
    buckets: HashMap<K, Bucket>,
    /// When the full ones were last looked for: that takes as long as there are many.
    swept: Option<Duration>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    tokens: f64,
    /// When it had so many, since the beginning.
    at: Duration,
}

impl<K: Copy + Eq + Hash> Buckets<K> {
    fn new(refill: f64, burst: u32, shared: K) -> Self {
        Self {
            refill,
            burst: f64::from(burst),
            shared,
            holders: Mutex::new(Holders {
                buckets: HashMap::new(),
                swept: None,
            }),
        }
    }

    /// Filled up to now.
    fn filled(&self, bucket: Bucket, now: Duration) -> Bucket {
        let passed = now.saturating_sub(bucket.at).as_secs_f64();
        let tokens = bucket.tokens + passed * self.refill;
        Bucket {
            tokens: tokens.min(self.burst),
            at: now,
        }
    }

    /// Takes a token; the seconds until there is one when there is none.
    fn take(&self, holder: K, now: Duration) -> Result<(), u32> {
        let full = Bucket {
            tokens: self.burst,
            at: now,
        };
        let mut holders = self.holders.lock().unwrap_or_else(PoisonError::into_inner);
        let Holders { buckets, swept } = &mut *holders;
        let mut key = holder;
        if buckets.len() >= HOLDERS_MAX && !buckets.contains_key(&key) {
            if swept.is_none_or(|swept| now.saturating_sub(swept) >= SWEEP) {
                *swept = Some(now);
                // A full bucket is as good as none.
                buckets.retain(|_, bucket| self.filled(*bucket, now).tokens < full.tokens);
            }
            if buckets.len() >= HOLDERS_MAX {
                key = self.shared;
            }
        }
        let bucket = buckets.entry(key).or_insert(full);
        *bucket = self.filled(*bucket, now);
        if bucket.tokens >= 1.0 {
            bucket.tokens -= 1.0;
            return Ok(());
        }
        let wait = (1.0 - bucket.tokens) / self.refill;
        let wait = Duration::try_from_secs_f64(wait.ceil()).unwrap_or(Duration::MAX);
        Err(u32::try_from(wait.as_secs()).unwrap_or(u32::MAX).max(1))
    }
}

/// The buckets of a service's clients.
#[derive(Clone, Debug)]
pub(crate) struct Clients(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    behind_proxy: bool,
    begun: Instant,
    buckets: Buckets<IpAddr>,
}

impl Clients {
    pub(crate) fn new(rate: Rate) -> Self {
        let refill = f64::from(rate.per_second.max(1));
        Self(Arc::new(Inner {
            behind_proxy: rate.behind_proxy,
            begun: Instant::now(),
            buckets: Buckets::new(refill, rate.burst, IpAddr::V6(Ipv6Addr::UNSPECIFIED)),
        }))
    }

    fn take(&self, client: IpAddr, now: Duration) -> Result<(), u32> {
        self.0.buckets.take(narrowed(client), now)
    }
}

/// So much a minute, and so much at once, for each of many: identities, accounts. What it is for is the caller's business, and so is the
/// time. Its memory has an end; beyond it newcomers share one allowance.
#[derive(Debug)]
pub struct Allowance {
    hasher: RandomState,
    buckets: Buckets<u64>,
}

impl Allowance {
    /// An allowance of so much.
    pub fn new(per_minute: u32, burst: u32) -> Self {
        Self {
            hasher: RandomState::new(),
            buckets: Buckets::new(f64::from(per_minute.max(1)) / 60.0, burst.max(1), 0),
        }
    }

    /// Takes one; the seconds until there is one when there is none. `holder` is whatever tells one from the other, and only a keyed
    /// hash of it is kept.
    pub fn take(&self, holder: &impl Hash, now: Timestamp) -> Result<(), u32> {
        let since = u64::try_from(now.as_microsecond()).unwrap_or_default();
        self.buckets
            .take(self.hasher.hash_one(holder), Duration::from_micros(since))
    }
}

/// Who has an IPv6 address has the 2^64 beside it too.
pub(crate) fn narrowed(address: IpAddr) -> IpAddr {
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
pub(crate) async fn limit(clients: Clients, request: Request, next: Next) -> Response {
    if matches!(request.uri().path(), "/healthz" | "/readyz" | "/metrics") {
        return next.run(request).await;
    }
    let peer = request.extensions().get::<Peer>().map(|Peer(peer)| *peer);
    let forwarded = forwarded(request.headers()).filter(|_| clients.0.behind_proxy);
    let client = forwarded
        .or(peer)
        .unwrap_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED));
    match clients.take(client, clients.0.begun.elapsed()) {
        Ok(()) => next.run(request).await,
        Err(seconds) => {
            Problem::too_many("too many requests from this address, try again", seconds)
                .with_detail("CLIENT_RATE")
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
        let buckets = Clients::new(RATE);
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
        let buckets = Clients::new(RATE);
        let client = |number: u32| IpAddr::from(number.to_be_bytes());
        for number in 0..70_000 {
            let _taken = buckets.take(client(number), at(0));
        }
        assert!(buckets.0.buckets.holders.lock().unwrap().buckets.len() <= HOLDERS_MAX + 1);
        // Later all of them are full again, and are forgotten when there are new ones.
        assert_eq!(buckets.take(client(1_000_000), at(10_000)), Ok(()));
        assert!(buckets.0.buckets.holders.lock().unwrap().buckets.len() < 10);
    }

    #[test]
    fn an_allowance_is_each_holders_own() {
        let at = |second: i64| Timestamp::from_second(1_800_000_000 + second).unwrap();
        let allowance = Allowance::new(6, 2);
        let (one, other) = (("issuer", "one"), ("issuer", "other"));
        for _ in 0..2 {
            assert_eq!(allowance.take(&one, at(0)), Ok(()));
        }
        assert_eq!(allowance.take(&one, at(0)), Err(10));
        assert_eq!(allowance.take(&other, at(0)), Ok(()));
        assert_eq!(allowance.take(&one, at(9)), Err(1));
        assert_eq!(allowance.take(&one, at(10)), Ok(()));
        // A clock that goes back gives nothing and breaks nothing.
        assert_eq!(allowance.take(&one, at(5)), Err(10));
    }
}
