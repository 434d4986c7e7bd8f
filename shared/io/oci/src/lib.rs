//! Registries and image layouts (OCI distribution spec 1.1, image spec 1.1): finds and attaches signatures as opaque bytes.
//!
//! The registry client is our own because the checks are the point of it:
//! - everything that is read is compared with its digest; an image's digest is computed here from the bytes of its manifest;
//! - all pages of referrers are read, from the referrers API and from the fallback tag, and merged with what stands under the tags of before
//!   cosign 3;
//! - what cannot be read is an error or a [`Problem`], never "there is no signature";
//! - on a registry without the referrers API, the index behind the fallback tag is merged and confirmed, so that signers who work at the
//!   same time do not lose each other's entries;
//! - an image is copied with everything that belongs to it, blobs before manifests, in constant memory, and looked up in the end;
//! - every answer has a size limit, all that is read about one image too, every call a timeout, throttling is waited out (all by [`client::Agent`]).
//!
//! What somebody could do who controls a registry: withhold signatures, offer old ones, let a tag point to another image. Not: change
//! what a digest names, use our memory up, or have credentials sent to another registry.
//!
//! Deliberately not here: what a signature means.

mod artifact;
mod attach;
mod auth;
mod challenge;
mod copy;
mod credentials;
mod error;
mod layout;
mod legacy;
mod manifest;
mod platform;
mod reference;
mod referrers;
mod registry;
mod transfer;

pub use artifact::{Artifact, ArtifactFile, ArtifactKind};
pub use attach::{Annotations, BUNDLE_CONTENT, BUNDLE_PREDICATE_TYPE, CREATED};
pub use copy::{Copied, CopyError, Place, Select, copy};
pub use credentials::{Credentials, Keychain};
pub use error::OciError;
pub use layout::{Layout, LayoutError};
pub use legacy::{LegacyKind, LegacyLayer};
pub use manifest::{
    BUNDLE_TYPE_PREFIX, DOCKER_IMAGE_TYPE, DOCKER_INDEX_TYPE, Descriptor, EMPTY_TYPE, IMAGE_TYPE,
    INDEX_TYPE, Image, MANIFEST_MAX,
};
pub use platform::{Platform, PlatformError};
pub use reference::{Reference, ReferenceError, Repository};
pub use referrers::{Attached, Attachment, Found, Problem};
pub use registry::{Registry, Settings};
