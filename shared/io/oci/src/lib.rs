//! Registries and image layouts (OCI distribution spec 1.1, image spec 1.1): finds and attaches signatures as opaque bytes.
//!
//! The registry client is our own because the checks are the point of it:
//! - everything that is read is compared with its digest; an image's digest is computed here from the bytes of its manifest;
//! - all pages of referrers are read, from the referrers API and from the fallback tag, and merged;
//! - what cannot be read is an error or a [`Problem`], never "there is no signature";
//! - on a registry without the referrers API, the index behind the fallback tag is merged and confirmed, so that signers who work at the
//!   same time do not lose each other's entries;
//! - every answer has a size limit, every call a timeout, throttling is waited out (all by [`client::Agent`]).
//!
//! What somebody could do who controls a registry: withhold signatures, offer old ones, let a tag point to another image. Not: change
//! what a digest names, use our memory up, or have credentials sent to another registry.
//!
//! Deliberately not here: what a signature means.

mod artifact;
mod attach;
mod auth;
mod challenge;
mod credentials;
mod error;
mod layout;
mod manifest;
mod reference;
mod referrers;
mod registry;

pub use artifact::{Artifact, ArtifactFile, ArtifactKind};
pub use attach::{Annotations, BUNDLE_CONTENT, BUNDLE_PREDICATE_TYPE, CREATED};
pub use credentials::{Credentials, Keychain};
pub use error::OciError;
pub use layout::{Layout, LayoutError};
pub use manifest::{
    BUNDLE_TYPE_PREFIX, Descriptor, EMPTY_TYPE, IMAGE_TYPE, INDEX_TYPE, Image, MANIFEST_MAX,
};
pub use reference::{Reference, ReferenceError, Repository};
pub use referrers::{Attached, Found, Problem};
pub use registry::{Registry, Settings};
