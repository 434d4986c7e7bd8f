//! Identity tokens (OpenID Connect Core 1.0 section 2, RFC 7519): parsed, and verified against an issuer's key set (RFC 7517).
//!
//! Written on `keys` rather than on a JWT library: the algorithm follows from the issuer's key and from our own list, never from the token;
//! verification is one call into the same code that verifies everything else; limits come before any allocation; and a claim that
//! stands there twice is refused, since the next program might read the other one.
//!
//! Deliberately not here: fetching anything, encrypted tokens, HMAC, `none`.

mod jwks;
mod path;
mod token;

use thiserror::Error;

pub use jwks::{Jwks, JwksError, MAX_JWKS};
pub use path::{ClaimPath, PathError};
pub use token::{Claims, Expect, MAX_TOKEN, Token, written};

/// Why a token is not believed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TokenError {
    /// Not a compact JWS with a JSON payload.
    #[error("malformed token: {0}")]
    Malformed(&'static str),
    /// An algorithm that is not taken, or not with this key.
    #[error("the token's signature algorithm {0:?} is not accepted")]
    Algorithm(String),
    /// No key of the issuer has the token's key id.
    #[error("the issuer has no key {0:?}")]
    UnknownKey(String),
    /// The signature is not by the issuer.
    #[error("the token's signature does not verify")]
    Signature,
    /// Another issuer.
    #[error("the token is by {found:?}, expected {expected:?}")]
    Issuer {
        /// In the token.
        found: String,
        /// Asked for.
        expected: String,
    },
    /// Made for somebody else.
    #[error("the token is for {found:?}, expected {expected:?}")]
    Audience {
        /// In the token.
        found: Vec<String>,
        /// Asked for.
        expected: String,
    },
    /// Over.
    #[error("the token expired at {0}")]
    Expired(jiff::Timestamp),
    /// Not yet.
    #[error("the token is not valid before {0}")]
    NotYetValid(jiff::Timestamp),
    /// A claim that must be there is not.
    #[error("the token has no claim {0:?}")]
    MissingClaim(String),
}

impl TokenError {
    /// A stable word for programs.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "TOKEN_MALFORMED",
            Self::Algorithm(_) => "TOKEN_ALGORITHM",
            Self::UnknownKey(_) => "TOKEN_UNKNOWN_KEY",
            Self::Signature => "TOKEN_BAD_SIGNATURE",
            Self::Issuer { .. } => "TOKEN_WRONG_ISSUER",
            Self::Audience { .. } => "TOKEN_WRONG_AUDIENCE",
            Self::Expired(_) => "TOKEN_EXPIRED",
            Self::NotYetValid(_) => "TOKEN_NOT_YET_VALID",
            Self::MissingClaim(_) => "TOKEN_MISSING_CLAIM",
        }
    }

    /// Might a fresh key set of the issuer change the answer?
    pub const fn is_about_keys(&self) -> bool {
        matches!(self, Self::UnknownKey(_) | Self::Signature)
    }
}
