//! The certificate authority: an identity token and proof of a key become a ten-minute certificate.
//!
//! ```text
//! http    bytes -> wire                     body limit, JSON dialect of Fulcio
//! admit   -> Admitted { who, key }          token verified by its issuer's rules, key strong, possession proven
//! issue   -> Precertificate -> SCT -> leaf  prepared, signed by the authority's key, witnessed by the CT log, compared, closed
//! ```
//!
//! HTTP interface: `fulcio.proto` v2 and the legacy v1 of sigstore/fulcio, with its status codes and texts. Reasons for programs are in `details`.
//! Failures of the authority's own back ends are 5xx, which clients repeat.
//!
//! Not here yet: gRPC.

mod admit;
mod app;
mod config;
mod ctlog;
mod http;
mod issue;
mod issuers;

pub use app::{BuildError, Deps, build, service};
pub use config::{AuthorityConfig, Config, CtLogConfig};
pub use issuers::{IssuerStatus, Issuers, IssuersError};
pub use issuers::{Pattern, SyntaxError, Template, TemplateError, Values};
