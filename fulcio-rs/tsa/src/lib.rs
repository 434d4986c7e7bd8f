//! A timestamp authority (RFC 3161): it signs that a digest existed at a time, and keeps nothing.
//!
//! Specifications: RFC 3161 and RFC 5816 (request, answer, token), sigstore/timestamp-authority (paths, JSON form, error bodies).
//!
//! ```text
//! POST /api/v1/timestamp             http   bytes -> admit -> tsp::prepare -signer-> TimeStampResp
//! GET  /api/v1/timestamp/certchain   PEM, leaf first
//! GET  /ping /healthz /metrics
//! ```
//!
//! Invariants:
//! - a token is made only while the whole chain is valid, so nobody is handed one that every verifier would refuse;
//! - the chain is checked on start: the leaf is the signer's, made for timestamps and nothing else, and each certificate is signed by
//!   the next;
//! - a token's time is the clock's, read once, after the request is admitted.
//!
//! Deliberately not here: watching NTP servers (the machine's time service does, and RFC 3161 leaves the source open), token extensions,
//! ordering.

pub mod admit;
pub mod app;
pub mod config;
mod http;

pub use app::service;
