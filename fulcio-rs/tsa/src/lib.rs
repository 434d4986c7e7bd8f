//! A timestamp authority (RFC 3161): it signs that a digest existed at a time, and keeps nothing.
//!
//! Specifications: RFC 3161 and RFC 5816 (request, answer, token), sigstore/timestamp-authority (paths, JSON form, error bodies), RFC 4330 and
//! RFC 5905 (asking others what time it is).
//!
//! ```text
//! POST /api/v1/timestamp             http   bytes -> admit -> tsp::prepare -signer-> TimeStampResp
//! GET  /api/v1/timestamp/certchain   PEM, leaf first
//! GET  /ping /healthz /readyz /metrics
//! ```
//!
//! Invariants:
//! - a token is made only while the whole chain is valid, so nobody is handed one that every verifier would refuse;
//! - the chain is checked on start, and again when it is replaced: the leaf is the signer's, made for timestamps and nothing else, and each
//!   certificate is signed by the next;
//! - a token's time is the clock's, read once, after the request is admitted; never earlier than that of a token before it; and where the
//!   settings name witnesses, only while those agree with it ([`time`]);
//! - a token's accuracy is what is known: what the cutting costs, and the bound on the clock's error.
//!
//! Deliberately not here: token extensions, ordering (that a quorum of servers may set right a clock that was ahead is worth more).

pub mod admit;
pub mod app;
pub mod args;
pub mod commands;
pub mod config;
pub mod desk;
mod figures;
mod http;
pub mod time;

pub use app::service;
