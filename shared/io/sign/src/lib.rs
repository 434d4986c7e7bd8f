//! A signing session: from an identity token to bundles.
//!
//! ```text
//! token -> fresh key -> Fulcio -> certificate, checked before it is used
//!   for each artifact:  digest or statement -> signature -> timestamp authorities, checked -> logs -> bundle
//!                       -> verified as a stranger would -> bytes
//! ```
//!
//! One token and one certificate serve many artifacts while the certificate is valid; when it is about to end, the same token gets the
//! next one, for a new key. The private keys live in this process only and are gone with the session.
//!
//! Nothing that a service answers is believed: the certificate must be for our key, lead to the trusted root and be in a CT log, and the bytes of
//! each bundle are parsed and verified against the trusted root before they are given out, so that a bundle that we would refuse is
//! never written.
//!
//! Deliberately not here: how one comes by the token (`client`), where the bundle goes (`oci`, files), what the statement says (`dsse`).

mod error;
mod own;
mod services;
mod session;

pub use error::{Logged, SignError};
pub use own::{OwnCertificate, OwnCertificateError};
pub use services::{LogVersion, Services, ServicesError};
pub use session::{ALGORITHM, LOGGED, Session, SignedBundle};
