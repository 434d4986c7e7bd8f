//! Every outgoing call of this project, through one hardened agent.
//!
//! [`Agent`] is the only maker of connections: timeouts, size limits, bounded retries, no redirect to another host, TLS everywhere but on
//! this machine. On it stand the clients of the services that a signer calls ([`Fulcio`], [`Rekor`], [`Tsa`]) and, with the feature `sign-in`, the ways
//! to an identity token: from the surroundings (`ambient`), or by signing in (`sign_in`).
//!
//! What somebody could do who controls the other end: a CA, log or timestamp authority can answer nonsense or nothing; its answers are
//! parsed with limits here and believed only after `verify` has checked them. An identity provider sees where one signs in, and can name
//! anybody in its tokens, which is its office. None of them can send us elsewhere, make us keep a large answer, or keep us waiting
//! beyond the timeouts.
//!
//! Tokens are never logged, are not in errors, and their types do not print them.

mod agent;
#[cfg(feature = "sign-in")]
pub mod ambient;
mod fulcio;
mod identity;
mod rekor;
#[cfg(feature = "sign-in")]
pub mod sign_in;
mod tls;
mod tsa;

pub use agent::{
    Agent, Answer, Call, CallError, Proxies, Redirects, Refused, Repeat, Settings, Versions,
    is_loopback, printable, up_to,
};
#[cfg(feature = "sign-in")]
pub use ambient::{Ambient, AmbientError};
pub use fulcio::{Fulcio, FulcioError};
pub use identity::{IdentityToken, TokenError};
pub use rekor::{Rekor, RekorError, RekorV1};
/// An answer that is read piece by piece.
pub use reqwest::Response;
/// A header's name, as a [`Call`] takes it.
pub use reqwest::header::HeaderName;
pub use tsa::{Tsa, TsaError};
