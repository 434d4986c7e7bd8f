//! The end of everything.

use std::time::Duration;

/// How long, how large, how many. Each value is a maximum; none can be switched off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// From the opening of a connection, or the end of the last answer on it, to the last byte of the next request's head.
    /// An idle kept-alive connection ends with it too.
    pub header: Duration,
    /// From the head of a request to the head of its answer; reading the body and the work are inside.
    pub request: Duration,
    /// A connection's whole life. At its end it takes no new request and then has `drain` to finish.
    pub connection: Duration,
    /// What running requests get after a stop, or at the end of a connection's life.
    pub drain: Duration,
    /// Bytes of a request body; more is answered 413.
    pub body: usize,
    /// Bytes of all large bodies that are on their way; one more is answered 503.
    pub bodies: usize,
    /// Bytes of all large answers that are on their way; one more is answered 503.
    pub answers: usize,
    /// From the head of a large answer to its last byte. What somebody has not taken by then is thrown away.
    pub answer: Duration,
    /// Open connections; further ones wait. While all are taken, one on which nothing is asked for a second is closed; and while one client (an IPv4
    /// address, an IPv6 /64) has more than half of them, one of its connections makes room for another client's: that which has waited longest for the
    /// client to send something, if only the rest of a body, and none with a request that is worked on. Who waits is seen 64 at a time; where these
    /// are all of one client, one that has waited for it for five seconds makes room too. Behind a proxy everybody is one client.
    pub connections: usize,
    /// Streams on one HTTP/2 connection.
    pub streams: u32,
    /// How often one client may ask; the only limit that an operator has to set, as it depends on who the clients are.
    pub rate: Option<Rate>,
}

/// How often one client (an IPv4 address, an IPv6 /64) may ask; one request more is answered 429.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Requests a second, in the long run.
    pub per_second: u32,
    /// Requests at once.
    pub burst: u32,
    /// The client is who the proxy before us says it is (the last address in `X-Forwarded-For`), and not the proxy.
    pub behind_proxy: bool,
}

impl Default for Limits {
    /// For a service with small requests: the largest honest body, a Rekor entry with an attestation, is well under 1 MiB.
    fn default() -> Self {
        Self {
            header: Duration::from_secs(15),
            request: Duration::from_secs(30),
            connection: Duration::from_mins(10),
            drain: Duration::from_secs(10),
            body: 1 << 20,
            bodies: 256 << 20,
            answers: 256 << 20,
            answer: Duration::from_mins(2),
            connections: 1024,
            streams: 128,
            rate: None,
        }
    }
}
