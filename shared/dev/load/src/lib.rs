//! A load tool for the services: so many connections, each with one request after the other, for so many seconds.
//!
//! The loop is closed: a connection sends its next request when it has the last answer. A server that is slow is therefore asked less
//! often, and its figure at few connections says how long one client waits rather than how much it could do; that is why a run is repeated
//! with more connections. With a rate it is open: requests are due at even distances whatever the server does, and each one's time counts from when it
//! was due, so that a server that stops for a moment cannot hide how many would have waited.
//!
//! Every request is valid and no two are alike: keys, digests, signatures and proofs are made before the clock starts. The same requests
//! go to our services and to the upstream ones, byte for byte in the same form. Answers are looked at only so far that a refusal is not counted
//! as work done; verifying them is for tests.
//!
//! And whole processes, one after another, for programs that are no services: time, processor time and memory of each.
//!
//! The tool itself runs on one thread: on a machine with two cores the server keeps at least one of them.

pub mod bare;
pub mod drive;
pub mod figures;
pub mod process;
pub mod program;
pub mod raw;
pub mod requests;
pub mod slow;
