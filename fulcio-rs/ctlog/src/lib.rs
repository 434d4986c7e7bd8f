//! A CT log for certificates of code signers: it takes in precertificates of the authorities it knows, and its SCT is the promise to show them.
//!
//! Specifications: RFC 6962 section 4 (submission), C2SP static-ct-api 1.1 (reading).
//!
//! ```text
//! POST <prefix>/ct/v1/add-pre-chain      http   bytes -> admit -> issuers stored -> sequencer -> SCT
//! POST <prefix>/ct/v1/add-chain
//! GET  <prefix>/ct/v1/get-roots
//! GET  <prefix>/checkpoint  /tile/<L>/<N>[.p/<W>]  /tile/data/<N>[.p/<W>]  /issuer/<fingerprint>
//! GET  /healthz /metrics
//! ```
//!
//! Invariants:
//! - an SCT leaves the process only after its entry, and every certificate above it, are durable;
//! - the same certificate gets the same time and index again.
//!
//! Deliberately not here yet: the RFC 6962 reading side (get-sth and its kin). A monitor takes a log that answers get-sth for one that has all of it.

pub mod admit;
pub mod app;
pub mod config;
pub mod fsck;
mod http;
mod issuers;
pub mod leaf;

pub use app::service;
