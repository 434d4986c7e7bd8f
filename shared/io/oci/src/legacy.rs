//! What cosign before version 3 attaches to an image: one manifest under a tag that is made of the image's digest, a layer for each signature
//! or attestation, and annotations at each layer (sigstore/cosign: specs/SIGNATURE_SPEC.md).

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use client::Answer;
use futures_util::{StreamExt as _, stream};
use keys::Digest;
use serde::Deserialize as _;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use crate::error::OciError;
use crate::manifest::{
    ACCEPT, DOCKER_IMAGE_TYPE, Descriptor, EMPTY_TYPE, IMAGE_TYPE, MANIFEST_MAX,
};
use crate::reference::Repository;
use crate::referrers::{AT_A_TIME, BUNDLE_MAX, Budget, Found};
use crate::registry::Registry;

/// The most layers of one such manifest that are read; cosign's own bound.
pub(crate) const LAYERS_MAX: usize = 1000;
/// The largest bill of materials: cosign's bound for attachments.
const SBOM_MAX: usize = 128 << 20;
/// How often the manifest behind a tag is merged before we give up. Each round one writer at least gets through.
const ATTEMPTS: u32 = 400;
/// The longest wait for other writers.
const SETTLE_MAX: Duration = Duration::from_secs(5);
/// A container image's configuration, which such a manifest has to have.
const CONFIG_TYPE: &str = "application/vnd.oci.image.config.v1+json";
/// Where a layer's signature stands; two signatures may be over one payload.
const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
/// The tag under which there is nothing any more.
const EMPTIED: &str = "dev.cosign-rs.emptied";

/// What a tag of the old kind holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LegacyKind {
    /// Simple signatures.
    Signature,
    /// Envelopes around statements.
    Attestation,
    /// A software bill of materials, unsigned.
    Sbom,
}

impl LegacyKind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Signature, Self::Attestation, Self::Sbom];

    /// The end of the tag.
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::Signature => "sig",
            Self::Attestation => "att",
            Self::Sbom => "sbom",
        }
    }

    /// The largest layer that is read.
    pub(crate) const fn largest(self) -> usize {
        match self {
            Self::Signature | Self::Attestation => BUNDLE_MAX,
            Self::Sbom => SBOM_MAX,
        }
    }

    /// The tag for an image: `sha256-<hex>.sig`.
    pub fn tag(self, image: &Digest) -> String {
        format!(
            "{}-{}.{}",
            image.algorithm().name(),
            image.to_hex(),
            self.suffix()
        )
    }
}

impl fmt::Display for LegacyKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Signature => "signature",
            Self::Attestation => "attestation",
            Self::Sbom => "sbom",
        })
    }
}

/// A layer of such a manifest. Nothing is known about it but that these are the bytes.
#[derive(Debug, Clone)]
pub struct LegacyLayer {
    /// The digest of the manifest.
    pub manifest: Digest,
    /// Where it stands.
    pub kind: LegacyKind,
    /// The layer's media type, digest and size.
    pub descriptor: Descriptor,
    /// The layer.
    pub content: Bytes,
}

impl LegacyLayer {
    /// What the manifest says about the layer; for a signature that is the signature itself.
    pub fn annotations(&self) -> &BTreeMap<String, String> {
        static NONE: BTreeMap<String, String> = BTreeMap::new();
        self.descriptor.annotations.as_ref().unwrap_or(&NONE)
    }
}

impl Registry {
    /// Reads what stands under one tag into `found`.
    pub(crate) async fn legacy_layers(
        &self,
        at: &Repository,
        image: &Digest,
        kind: LegacyKind,
        budget: &Budget,
    ) -> Found {
        let mut found = Found::default();
        let tag = kind.tag(image);
        let read = self.legacy_manifest(at, &tag).await;
        let Some(Some((manifest, layers))) = found.take(&format!("the tag {tag}"), read) else {
            return found;
        };
        let mut layers = layers;
        if layers.len() > LAYERS_MAX {
            let why = OciError::TooMany {
                what: format!("{} layers of {tag} in {at}", layers.len()),
                limit: LAYERS_MAX,
            };
            found.take::<()>(&format!("the tag {tag}"), Err(why));
            layers.truncate(LAYERS_MAX);
        }
        let mut reading = stream::iter(layers)
            .map(async |descriptor| {
                let content = budget.blob(self, at, &descriptor, kind.largest()).await;
                (descriptor, content)
            })
            .buffered(AT_A_TIME);
        while let Some((descriptor, content)) = reading.next().await {
            let what = format!("layer {} of {tag}", descriptor.digest);
            if let Some(content) = found.take(&what, content) {
                found.legacy.push(LegacyLayer {
                    manifest,
                    kind,
                    descriptor,
                    content,
                });
            }
        }
        found
    }

    /// Digest and layers of the manifest under a tag; none if there is no such tag.
    async fn legacy_manifest(
        &self,
        at: &Repository,
        tag: &str,
    ) -> Result<Option<(Digest, Vec<Descriptor>)>, OciError> {
        let what = format!("reading the tag {tag} of {at}");
        // All types, so that what is there and is no image's manifest is not the same as nothing.
        let Some(answer) = self.manifest(&what, at, tag, ACCEPT).await? else {
            return Ok(None);
        };
        let (digest, manifest) = image_manifest(&what, &answer)?;
        let layers = layers_listed(&what, manifest.get("layers"))?;
        Ok(Some((digest, layers)))
    }

    /// Attaches layers to an image under the tag for their kind, beside those that are there already; gives the digest of the manifest.
    ///
    /// A tag can only be replaced, so this merges and confirms as with referrers on a fallback tag: what two writers add at the same time is
    /// there in the end.
    pub async fn attach_legacy(
        &self,
        at: &Repository,
        image: &Digest,
        kind: LegacyKind,
        layers: Vec<(Descriptor, Bytes)>,
    ) -> Result<Digest, OciError> {
        let mut seen: Vec<Value> = Vec::new();
        for (descriptor, content) in layers {
            let pushed = self
                .push_blob(at, &descriptor.media_type, content)
                .await?
                .digest;
            let what = format!("writing {} to {at}", descriptor.digest);
            if pushed != descriptor.digest {
                return Err(OciError::Digest {
                    what,
                    found: pushed.to_string(),
                });
            }
            seen.push(serde_json::to_value(&descriptor).map_err(|error| malformed(&what, &error))?);
        }
        self.merge_legacy(at, &kind.tag(image), seen).await
    }

    /// Takes away what stands under the tag of this kind, and the tag itself; false if the registry deletes nothing, so that the tag stays with
    /// nothing under it.
    ///
    /// Some registries delete by digest only, and the manifest may stand under other images' tags too, as that of a bill of materials which two
    /// images have. So the tag gets one first that no other tag can have. If we are interrupted after that, nothing is under the tag, and doing it
    /// again goes on from there.
    pub async fn delete_legacy(
        &self,
        at: &Repository,
        image: &Digest,
        kind: LegacyKind,
    ) -> Result<bool, OciError> {
        let tag = kind.tag(image);
        match self.delete_manifest(at, &tag).await {
            Err(error) if is_not_offered(&error) => {}
            outcome => return outcome.map(|_| true),
        }
        let config = self
            .push_blob(at, EMPTY_TYPE, Bytes::from_static(b"{}"))
            .await?;
        let manifest = json!({
            "schemaVersion": 2, "mediaType": IMAGE_TYPE, "config": config, "layers": [],
            "annotations": { EMPTIED: tag },
        });
        let manifest = Bytes::from(manifest.to_string());
        let digest = Descriptor::of(IMAGE_TYPE, &manifest).digest.to_string();
        self.push_manifest(at, &tag, IMAGE_TYPE, manifest).await?;
        match self.delete_manifest(at, &digest).await {
            Err(error) if is_not_offered(&error) => Ok(false),
            outcome => outcome.map(|_| true),
        }
    }

    /// Adds layers, of which the blobs are there, to the manifest behind a tag.
    pub(crate) async fn merge_legacy(
        &self,
        at: &Repository,
        tag: &str,
        ours: Vec<Value>,
    ) -> Result<Digest, OciError> {
        let what = format!("writing the tag {tag} of {at}");
        let mut seen = ours;
        for _ in 0..ATTEMPTS {
            let begun = Instant::now();
            let there = match self.manifest(&what, at, tag, ACCEPT).await? {
                Some(answer) => Some(image_manifest(&what, &answer)?),
                None => None,
            };
            if let Some((digest, manifest)) = &there {
                // Theirs first and as they wrote them.
                let mut merged = layers_of(manifest);
                let present = merged.len();
                for layer in seen {
                    if !merged.iter().any(|there| covers(there, &layer)) {
                        merged.push(layer);
                    }
                }
                if merged.len() == present {
                    return Ok(*digest);
                }
                seen = merged;
            }
            if seen.len() > LAYERS_MAX {
                return Err(OciError::TooMany {
                    what: format!("{what}: layers"),
                    limit: LAYERS_MAX,
                });
            }
            let annotations = there
                .as_ref()
                .and_then(|(_, manifest)| manifest.get("annotations"));
            let manifest = self.legacy_written(at, &seen, annotations).await?;
            self.push_manifest(at, tag, IMAGE_TYPE, manifest).await?;
            let settle = self
                .settle()
                .max(begun.elapsed().saturating_mul(3))
                .min(SETTLE_MAX);
            tokio::time::sleep(settle.saturating_add(client::up_to(settle))).await;
        }
        Err(OciError::Contended {
            repository: at.clone(),
            tag: tag.to_owned(),
            attempts: ATTEMPTS,
        })
    }

    /// The manifest of these layers, with a configuration that says what every image's says: which layers there are.
    async fn legacy_written(
        &self,
        at: &Repository,
        layers: &[Value],
        annotations: Option<&Value>,
    ) -> Result<Bytes, OciError> {
        let digests: Vec<&Value> = layers
            .iter()
            .filter_map(|layer| layer.get("digest"))
            .collect();
        let config = json!({
            "architecture": "", "os": "", "config": {}, "created": "0001-01-01T00:00:00Z",
            "history": layers.iter().map(|_| json!({ "created": "0001-01-01T00:00:00Z" })).collect::<Vec<_>>(),
            "rootfs": { "type": "layers", "diff_ids": digests },
        });
        let config = self
            .push_blob(at, CONFIG_TYPE, config.to_string().into())
            .await?;
        let mut manifest = json!({
            "schemaVersion": 2, "mediaType": IMAGE_TYPE, "config": config, "layers": layers,
        });
        if let (Some(annotations), Some(members)) = (annotations, manifest.as_object_mut()) {
            members.insert("annotations".to_owned(), annotations.clone());
        }
        let manifest = manifest.to_string();
        if manifest.len() > MANIFEST_MAX {
            return Err(OciError::TooMany {
                what: format!(
                    "writing a manifest of {} layers to {at}: bytes",
                    layers.len()
                ),
                limit: MANIFEST_MAX,
            });
        }
        Ok(manifest.into())
    }
}

/// The registry does not delete this way, as opposed to: not now, or not for us.
fn is_not_offered(error: &OciError) -> bool {
    matches!(error, OciError::Refused { refused, .. } if [400, 405, 501].contains(&refused.status.as_u16()))
}

fn malformed(what: &str, why: &serde_json::Error) -> OciError {
    OciError::Malformed {
        what: what.to_owned(),
        why: why.to_string(),
    }
}

pub(crate) fn layers_of(manifest: &Map<String, Value>) -> Vec<Value> {
    manifest
        .get("layers")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default()
}

/// The layers of a manifest. One that lists none is no manifest with no signatures.
pub(crate) fn layers_listed(
    what: &str,
    layers: Option<&Value>,
) -> Result<Vec<Descriptor>, OciError> {
    let layers = layers.ok_or_else(|| OciError::Malformed {
        what: what.to_owned(),
        why: "the manifest has no list of layers".to_owned(),
    })?;
    Vec::deserialize(layers).map_err(|error| malformed(what, &error))
}

/// The manifest under a tag, which is somebody else's matter if it is none of an image: it holds no signatures, and is not replaced.
pub(crate) fn image_manifest(
    what: &str,
    answer: &Answer,
) -> Result<(Digest, Map<String, Value>), OciError> {
    let manifest: Map<String, Value> =
        serde_json::from_slice(&answer.body).map_err(|error| malformed(what, &error))?;
    let stated = manifest.get("mediaType").and_then(Value::as_str);
    let media_type = stated.map_or_else(|| answer.media_type(), str::to_owned);
    check_image_type(what, &media_type)?;
    Ok((Descriptor::of("", &answer.body).digest, manifest))
}

/// What stands under a tag of the old kind is an image's manifest.
pub(crate) fn check_image_type(what: &str, media_type: &str) -> Result<(), OciError> {
    if [IMAGE_TYPE, DOCKER_IMAGE_TYPE].contains(&media_type) {
        return Ok(());
    }
    Err(OciError::Malformed {
        what: what.to_owned(),
        why: format!(
            "there is something of type {media_type:?} and no image's manifest ({IMAGE_TYPE})"
        ),
    })
}

/// Does a layer say all that ours says? The same payload and signature with less beside them, as without the certificate, may not be enough to
/// verify it; then ours stands beside it.
fn covers(there: &Value, ours: &Value) -> bool {
    fn annotations(layer: &Value) -> Option<&Map<String, Value>> {
        layer.get("annotations").and_then(Value::as_object)
    }
    if ours.get("digest").is_none() || there.get("digest") != ours.get("digest") {
        return there == ours;
    }
    let (there, ours) = (annotations(there), annotations(ours));
    ours.into_iter()
        .flatten()
        .all(|(name, value)| there.and_then(|there| there.get(name)) == Some(value))
        // A signature is another one than none.
        && there.and_then(|there| there.get(SIGNATURE)) == ours.and_then(|ours| ours.get(SIGNATURE))
}

#[cfg(test)]
mod tests {
    use keys::HashAlgorithm;

    use super::*;

    #[test]
    fn tags_are_cosigns() {
        let digest = Digest::of(HashAlgorithm::Sha256, b"");
        assert_eq!(
            LegacyKind::Signature.tag(&digest),
            "sha256-e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855.sig"
        );
    }
}
