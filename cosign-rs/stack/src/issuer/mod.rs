//! A development identity provider (OpenID Connect Core 1.0): whoever asks gets a token for whatever e-mail address they type.
//!
//! It exists so that the whole of keyless signing can be run on one machine, with the real flows: discovery, key set,
//! authorization code with PKCE (RFC 7636), device grant (RFC 8628). It proves nothing about anybody, so no trust root outside a
//! development machine may ever name it.
//!
//! Two issuers with one key: `BASE` for people (e-mail), `BASE/github` for tokens with the claims of a GitHub Actions job, which
//! only [`tokens::Minter`] makes.
//!
//! Tokens are RS256, because cosign takes a literal `--identity-token` only if it is. `sub` is the e-mail address, so that clients
//! that sign `sub` as proof of possession and clients that sign `email` agree.
//!
//! What holds: codes work once and for five minutes, PKCE is required, a redirect goes to loopback only, tables are bounded.

mod grants;
mod http;
mod pages;
pub mod tokens;

pub use http::{Settings, build};
pub use tokens::{GitHubJob, Minter, TokenError};
