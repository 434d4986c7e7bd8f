//! Attaching a bundle to an image (sigstore/cosign: specs/BUNDLE_SPEC.md; distribution spec 1.1, "Pushing Manifests with Subject").
//!
//! Order: the blobs, then the manifest that names them, then, on a registry that does not keep referrers itself, the index behind the
//! fallback tag. If we are interrupted between two of them, what was written is found by nobody and harms nobody; doing it all again
//! writes nothing twice.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use keys::Digest;
use serde::Serialize;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use crate::error::OciError;
use crate::manifest::{Descriptor, IMAGE_TYPE, INDEX_TYPE, MANIFEST_MAX};
use crate::reference::Repository;
use crate::referrers::{empty, entries, fallback_tag};
use crate::registry::Registry;

/// When it was attached.
pub const CREATED: &str = "org.opencontainers.image.created";
/// `dsse-envelope` or `message-signature`.
pub const BUNDLE_CONTENT: &str = "dev.sigstore.bundle.content";
/// The predicate type of the statement in the bundle.
pub const BUNDLE_PREDICATE_TYPE: &str = "dev.sigstore.bundle.predicateType";

/// Digest and size of the bundle's blob, as `sha256:<hex> <bytes>`: registries copy a manifest's annotations into their lists, and with this
/// one a reader needs one request for a bundle and not two. Nobody else writes or needs it.
pub(crate) const BUNDLE_BLOB: &str = "dev.cosign-rs.bundle.blob";

/// How often the index behind a fallback tag is merged before we give up. Each round one writer at least gets through.
const ATTEMPTS: u32 = 400;
/// The longest wait for other writers.
const SETTLE_MAX: Duration = Duration::from_secs(5);

/// What the manifest says about the bundle.
pub type Annotations = BTreeMap<String, String>;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Written<'a> {
    schema_version: u8,
    media_type: &'a str,
    artifact_type: &'a str,
    config: &'a Descriptor,
    layers: [&'a Descriptor; 1],
    subject: &'a Descriptor,
    annotations: &'a Annotations,
}

impl Registry {
    /// Attaches `bundle` to the image `subject`, in the repository `at`, and gives the descriptor of the manifest that does it.
    pub async fn attach(
        &self,
        at: &Repository,
        subject: &Descriptor,
        media_type: &str,
        bundle: Bytes,
        annotations: &Annotations,
    ) -> Result<Descriptor, OciError> {
        let (layer, empty) = (
            Descriptor::of(media_type, &bundle),
            Bytes::from_static(b"{}"),
        );
        let (descriptor, manifest) = attaching(subject, &layer, annotations)?;
        self.push_blob(at, media_type, bundle).await?;
        self.push_blob(at, crate::EMPTY_TYPE, empty).await?;
        self.push_referrer(at, subject, &descriptor, manifest.into())
            .await?;
        Ok(descriptor)
    }

    /// Writes a manifest that refers to `subject`, and on a registry that does not keep referrers itself an entry behind the fallback tag.
    pub(crate) async fn push_referrer(
        &self,
        at: &Repository,
        subject: &Descriptor,
        descriptor: &Descriptor,
        manifest: Bytes,
    ) -> Result<(), OciError> {
        let target = descriptor.digest.to_string();
        let noted = self
            .push_manifest(at, &target, &descriptor.media_type, manifest)
            .await?;
        if !noted && !self.lists(at, subject, &target).await? {
            self.record(at, &fallback_tag(&subject.digest), descriptor)
                .await?;
        }
        Ok(())
    }

    /// Takes entries out of the index behind a fallback tag, for manifests that are deleted; the tag goes with the last one.
    pub async fn unlist(
        &self,
        at: &Repository,
        subject: &Digest,
        gone: &[Digest],
    ) -> Result<(), OciError> {
        let tag = fallback_tag(subject);
        let Some(mut index) = self.tagged_index(at, &tag).await? else {
            return Ok(());
        };
        let all = entries(&index);
        let is_gone = |entry: &Value| {
            let digest = entry.get("digest").and_then(Value::as_str);
            digest.is_some_and(|digest| gone.iter().any(|gone| gone.to_string() == digest))
        };
        let left: Vec<Value> = all
            .iter()
            .filter(|entry| !is_gone(entry))
            .cloned()
            .collect();
        if left.len() == all.len() {
            return Ok(());
        }
        if left.is_empty() {
            match self.delete_manifest(at, &tag).await {
                // Some registries delete by digest only: then the list stays, and is empty.
                Err(OciError::Refused { .. }) => {}
                outcome => return outcome.map(drop),
            }
        }
        index.insert("manifests".to_owned(), Value::Array(left));
        let text = Value::Object(index).to_string();
        self.push_manifest(at, &tag, INDEX_TYPE, text.into())
            .await
            .map(drop)
    }

    /// Some registries keep referrers and do not say so when they take the manifest.
    async fn lists(
        &self,
        at: &Repository,
        subject: &Descriptor,
        digest: &str,
    ) -> Result<bool, OciError> {
        let listed = self.listed_referrers(at, &subject.digest).await?;
        Ok(listed.is_some_and(|listed| {
            listed
                .entries
                .iter()
                .any(|entry| entry.get("digest").and_then(Value::as_str) == Some(digest))
        }))
    }

    /// Adds an entry to the index behind a tag, although registries cannot change an index but only replace it.
    ///
    /// Two writers can read the same index, and the second then overwrites what the first wrote. So: read, merge, write, wait until
    /// whoever read before our write has written too, read again; and so on until our entry, and every entry that was there at any time, is
    /// there. Whoever was overwritten sees it and writes again, with both. What remains is a writer that takes longer than `settle`
    /// between its reading and its writing; the distribution spec has no conditional writes.
    async fn record(
        &self,
        at: &Repository,
        tag: &str,
        descriptor: &Descriptor,
    ) -> Result<(), OciError> {
        let malformed = |error: serde_json::Error| OciError::Malformed {
            what: format!("writing the tag {tag} of {at}"),
            why: error.to_string(),
        };
        let ours = serde_json::to_value(descriptor).map_err(malformed)?;
        let mut seen = BTreeMap::from([(key(&ours), ours)]);
        for _ in 0..ATTEMPTS {
            let begun = Instant::now();
            let index = self.tagged_index(at, tag).await?.unwrap_or_default();
            let there: BTreeMap<String, Value> = entries(&index)
                .into_iter()
                .map(|entry| (key(&entry), entry))
                .collect();
            let complete = seen.keys().all(|digest| there.contains_key(digest));
            if complete {
                return Ok(());
            }
            // An entry that is there stays as its writer wrote it, with members that we do not know.
            seen.extend(there);
            let merged = merge(index, &seen);
            let merged = serde_json::to_vec(&merged).map_err(malformed)?;
            if merged.len() > MANIFEST_MAX {
                return Err(OciError::TooMany {
                    what: format!("writing the tag {tag} of {at}: bytes of referrers"),
                    limit: MANIFEST_MAX,
                });
            }
            self.push_manifest(at, tag, INDEX_TYPE, merged.into())
                .await?;
            // Others are as far from the registry as we are, or a few times as far.
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
}

/// The manifest that attaches a bundle, and its descriptor.
pub(crate) fn attaching(
    subject: &Descriptor,
    layer: &Descriptor,
    annotations: &Annotations,
) -> Result<(Descriptor, Vec<u8>), OciError> {
    let media_type = layer.media_type.as_str();
    let mut annotations = annotations.clone();
    annotations.insert(
        BUNDLE_BLOB.to_owned(),
        format!("{} {}", layer.digest, layer.size),
    );
    // `cosign clean` knows its referrers by the type in the configuration's descriptor.
    let config = Descriptor {
        artifact_type: Some(media_type.to_owned()),
        ..empty()
    };
    let manifest = serde_json::to_vec(&Written {
        schema_version: 2,
        media_type: IMAGE_TYPE,
        artifact_type: media_type,
        config: &config,
        layers: [layer],
        // Only what names the image: annotations and the rest of a descriptor that came with it are not ours to repeat.
        subject: &Descriptor {
            artifact_type: None,
            annotations: None,
            platform: None,
            ..subject.clone()
        },
        annotations: &annotations,
    })
    .map_err(|error| OciError::Malformed {
        what: "writing the manifest".to_owned(),
        why: error.to_string(),
    })?;
    let descriptor = Descriptor {
        artifact_type: Some(media_type.to_owned()),
        annotations: Some(annotations),
        ..Descriptor::of(IMAGE_TYPE, &manifest)
    };
    Ok((descriptor, manifest))
}

/// By digest, as go-containerregistry sorts too: equal sets make equal indexes. An entry without a digest is kept under its own text.
fn key(entry: &Value) -> String {
    match entry.get("digest").and_then(Value::as_str) {
        Some(digest) => digest.to_owned(),
        None => entry.to_string(),
    }
}

fn merge(mut index: Map<String, Value>, seen: &BTreeMap<String, Value>) -> Map<String, Value> {
    index.insert("schemaVersion".to_owned(), json!(2));
    index.insert("mediaType".to_owned(), json!(INDEX_TYPE));
    let manifests = seen.values().cloned().collect();
    index.insert("manifests".to_owned(), Value::Array(manifests));
    index
}
