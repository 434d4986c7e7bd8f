//! Manifests and descriptors, as far as signatures need them (image spec 1.1).

use std::collections::BTreeMap;

use bytes::Bytes;
use keys::{Digest, HashAlgorithm};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::platform::Platform;

/// An image.
pub const IMAGE_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
/// Images for several platforms, or a list of referrers.
pub const INDEX_TYPE: &str = "application/vnd.oci.image.index.v1+json";
/// An image as Docker writes it.
pub const DOCKER_IMAGE_TYPE: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Images for several platforms as Docker writes them.
pub const DOCKER_INDEX_TYPE: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// The empty JSON object.
pub const EMPTY_TYPE: &str = "application/vnd.oci.empty.v1+json";
/// What the media type of each bundle begins with.
pub const BUNDLE_TYPE_PREFIX: &str = "application/vnd.dev.sigstore.bundle";
/// The largest manifest: what registries have to take (distribution spec 1.1, "Pushing manifests").
pub const MANIFEST_MAX: usize = 4 * 1024 * 1024;

/// The types of manifests that can be signed.
pub(crate) const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json";

/// What something is, its digest and size: how content names other content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What it is.
    pub media_type: String,
    /// Its digest.
    #[serde(
        serialize_with = "digest_to_text",
        deserialize_with = "digest_from_text"
    )]
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// Of a manifest: what it holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// Further facts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<BTreeMap<String, String>>,
    /// Of an image in an index: what it runs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
}

impl Descriptor {
    /// Of these bytes.
    pub fn of(media_type: &str, content: &[u8]) -> Self {
        Self {
            media_type: media_type.to_owned(),
            digest: Digest::of(HashAlgorithm::Sha256, content),
            size: u64::try_from(content.len()).unwrap_or(u64::MAX),
            artifact_type: None,
            annotations: None,
            platform: None,
        }
    }

    /// Several images, of which each is a manifest of its own.
    pub fn is_index(&self) -> bool {
        [INDEX_TYPE, DOCKER_INDEX_TYPE].contains(&self.media_type.as_str())
    }

    /// A manifest, and no blob.
    pub fn is_manifest(&self) -> bool {
        self.is_index() || [IMAGE_TYPE, DOCKER_IMAGE_TYPE].contains(&self.media_type.as_str())
    }
}

fn digest_to_text<S: Serializer>(digest: &Digest, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(digest)
}

fn digest_from_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Digest, D::Error> {
    let text = String::deserialize(deserializer)?;
    Digest::parse(&text).map_err(serde::de::Error::custom)
}

/// A manifest that we hold: its bytes, and the digest that we computed from them.
#[derive(Debug, Clone)]
pub struct Image {
    /// Media type, digest, size.
    pub descriptor: Descriptor,
    /// The manifest, byte for byte.
    pub manifest: Bytes,
}

impl Image {
    /// A manifest of which we computed the digest.
    pub(crate) fn of(media_type: &str, digest: Digest, manifest: Bytes) -> Self {
        Self {
            descriptor: Descriptor {
                digest,
                ..Descriptor::of(media_type, &manifest)
            },
            manifest,
        }
    }

    /// The images of an index; none where this is one image.
    pub fn children(&self) -> Result<Vec<Descriptor>, serde_json::Error> {
        if !self.descriptor.is_index() {
            return Ok(Vec::new());
        }
        let index: Index = serde_json::from_slice(&self.manifest)?;
        index
            .manifests
            .into_iter()
            .map(serde_json::from_value)
            .collect()
    }
}

/// An image manifest that refers to another one, as far as it is read.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Manifest {
    #[serde(default)]
    pub(crate) artifact_type: Option<String>,
    #[serde(default)]
    pub(crate) config: Option<Descriptor>,
    #[serde(default)]
    pub(crate) layers: Vec<Descriptor>,
    #[serde(default)]
    pub(crate) subject: Option<Descriptor>,
    #[serde(default)]
    pub(crate) annotations: Option<BTreeMap<String, String>>,
}

/// An index as far as it is read; the entries one by one, so that one that cannot be read does not hide the others.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Index {
    #[serde(default)]
    pub(crate) manifests: Vec<serde_json::Value>,
}

/// The media type that stands in the document itself.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Typed {
    #[serde(default)]
    pub(crate) media_type: Option<String>,
}
