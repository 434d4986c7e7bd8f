//! Whom to trust, and when: the trusted root. Whom to call: the signing config. Both of protobuf-specs' trustroot v1.

pub mod author;
mod config;
pub mod review;
mod root;

pub use config::{
    ClientTrustConfig, ConfigError, SELECT_ALL, SELECT_ANY, SELECT_EXACT, ServiceKind,
    SigningConfig,
};
pub use root::{CertificateAuthority, LogInstance, RootError, TrustedRoot, Validity};

/// The media type that every client reads.
pub const TRUSTED_ROOT_V01: &str = "application/vnd.dev.sigstore.trustedroot+json;version=0.1";
/// Signing config v0.2.
pub const SIGNING_CONFIG_V02: &str = "application/vnd.dev.sigstore.signingconfig.v0.2+json";
/// Both in one file.
pub const CLIENT_TRUST_CONFIG_V01: &str =
    "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json";
