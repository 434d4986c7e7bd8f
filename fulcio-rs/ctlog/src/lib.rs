//! A CT log for certificates of code signers: it takes in precertificates of the authorities it knows, and its SCT is the promise to show them.
//!
//! Specifications: RFC 6962 section 4 (submission and reading), C2SP static-ct-api 1.1 (reading).
//!
//! ```text
//! POST <prefix>/ct/v1/add-pre-chain      http   bytes -> submit: admit -> issuers stored -> sequencer -> SCT
//! POST <prefix>/ct/v1/add-chain
//! GET  <prefix>/ct/v1/get-roots  get-sth  get-sth-consistency  get-proof-by-hash  get-entries  get-entry-and-proof
//! GET  <prefix>/checkpoint  /tile/<L>/<N>[.p/<W>]  /tile/data/<N>[.p/<W>]  /issuer/<fingerprint>  /log.v3.json
//! GET  /healthz /readyz /metrics
//! ```
//!
//! Invariants:
//! - an SCT leaves the process only after its entry, and every certificate above it, are durable;
//! - the same certificate gets the same time and index again;
//! - both reading sides show one tree: the tree head of get-sth is that of the checkpoint, byte for byte;
//! - a leaf is said not to be there only of a tree that is indexed as a whole;
//! - a running log only ever gains roots.
//!
//! Deliberately not here: precertificates that a Precertificate Signing Certificate has signed, which static-ct-api lets a log refuse, and names
//! tiles, which are for the web's certificates.

pub mod admit;
pub mod app;
pub mod args;
pub mod commands;
pub mod config;
mod figures;
mod http;
mod issuers;
pub mod leaf;
mod read;
pub mod roots;
pub mod submit;

pub use app::service;
