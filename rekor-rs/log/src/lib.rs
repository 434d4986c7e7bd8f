//! Rekor: what was signed, and a proof that the log has it. A v2 log, and beside it, with `[v1]` in the settings, a v1 log.
//!
//! Specifications: sigstore/architecture-docs rekor-v2-spec.md, sigstore/rekor-tiles (HTTP interface and error bodies), C2SP
//! tlog-tiles and tlog-checkpoint (reading).
//!
//! ```text
//! POST /api/v2/log/entries        http   bytes -> admit -> sequencer -> 201 with proof and checkpoint
//! GET  /checkpoint                at the root, and the same under /api/v2/; with cosignatures, see [`witnessing`]
//! GET  /checkpoint/latest         the newest one that the log signed
//! GET  /tile/<L>/<N>[.p/<W>]
//! GET  /tile/entries/<N>[.p/<W>]
//! GET  /healthz /metrics
//! gRPC, on the same port           see [`grpc`]
//! /api/v1/..                      see [`v1`]
//! POST /api/v2/search              see [`search`]
//! ```
//!
//! Invariants:
//! - a signature is checked before its entry gets a place, and not on the threads that serve connections;
//! - an answer of 201 is about an entry that is durable, with a proof that was verified.

pub mod admit;
pub mod app;
pub mod args;
pub mod commands;
pub mod config;
mod figures;
mod forward;
pub mod gate;
pub mod grpc;
mod http;
pub mod leaf;
pub mod search;
pub mod storage;
pub mod v1;
pub mod witness;
pub mod witnessing;

pub use app::service;
