//! The certificate authority: an identity token and proof of a key become a ten-minute certificate.
//!
//! ```text
//! http    bytes -> wire                     body limit, JSON dialect of Fulcio
//! admit   -> Admitted { who, key }          token verified by its issuer's rules, key strong, possession proven
//! issue   -> Precertificate -> SCT -> leaf  prepared, signed by the authority's key, witnessed by the CT log, compared, closed
//! ```
//!
//! HTTP interface: `fulcio.proto` v2 and the legacy v1 of sigstore/fulcio, with its status codes and texts, and the same over gRPC ([`grpc`]) on the
//! same listener. Reasons for programs are in `details`, with the request's id. Failures of the authority's own back ends are 5xx, which clients
//! repeat.
//!
//! What leaves was checked by code that did not make it: `pki::lint` reads the DER anew and compares it with what was meant, and precertificate and
//! certificate are compared as entries of the log.
//!
//! Key, chains, issuers and policy may change while it runs ([`Follower`]); a request is answered by those it found.

pub mod args;
pub mod commands;
pub mod grpc;

mod admit;
mod api;
mod app;
mod ceremony;
mod chain;
mod config;
mod ctlog;
mod figures;
mod follow;
mod http;
mod issue;
mod issuers;
mod ready;

pub use app::{BuildError, Deps, build, open, service};
pub use chain::ChainError;
pub use config::{AuthorityConfig, Config, IssuingConfig};
pub use ctlog::settings::CtLogConfig;
pub use ctlog::{CtLog, RemoteLog};
pub use follow::Follower;
pub use issue::Policy;
pub use issuers::{IssuerStatus, Issuers, IssuersError};
pub use issuers::{Pattern, SyntaxError, Template, TemplateError, Values};
