//! An image with everything that belongs to it, from one place to another: all platforms, what refers to any of them, what refers to that, and
//! what stands under the tags of before cosign 3.
//!
//! Order: blobs before the manifest that names them, the images of an index before the index, an image before what refers to it. Then everything is
//! looked up at the other place, and the tag is written last. So whoever reads in between, or after we were interrupted, finds nothing that is half
//! there, and doing it all again writes only what is missing.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use futures_util::{TryStreamExt as _, stream};
use keys::Digest;
use serde_json::Value;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};

use crate::attach::{Annotations, BUNDLE_PREDICATE_TYPE, attaching};
use crate::error::OciError;
use crate::layout::{Layout, LayoutError};
use crate::legacy::{LegacyKind, check_image_type, image_manifest, layers_of};
use crate::manifest::{ACCEPT, DOCKER_IMAGE_TYPE, Descriptor, IMAGE_TYPE, Image, Manifest, Typed};
use crate::reference::Repository;
use crate::referrers::{Attachment, Found};
use crate::registry::Registry;

/// The most manifests that belong to one image.
const MANIFESTS_MAX: usize = 10_000;
/// How deep indexes may stand in indexes.
const DEPTH_MAX: usize = 8;
/// The most bytes of manifests of one image, which are held until all of them are known.
const BYTES_MAX: usize = 128 << 20;
/// Blobs that are copied at a time.
const AT_A_TIME: usize = 4;
/// What is between reading and writing a blob.
const PIPE: usize = 1 << 18;
/// The predicate type of cosign's signatures.
const SIGNATURE: &str = "https://sigstore.dev/cosign/sign/v1";

/// Where images are.
#[derive(Debug, Clone)]
pub enum Place {
    /// A repository.
    Registry(Registry, Repository),
    /// A folder.
    Layout(Layout),
}

/// What is to be copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "any of them may be asked for with any other"
)]
pub struct Select {
    /// The image itself.
    pub image: bool,
    /// Signatures.
    pub signatures: bool,
    /// Attestations.
    pub attestations: bool,
    /// Bills of materials under the old tag.
    pub sboms: bool,
    /// What else refers to it.
    pub others: bool,
}

impl Select {
    /// Everything.
    pub const ALL: Self = Self {
        image: true,
        signatures: true,
        attestations: true,
        sboms: true,
        others: true,
    };

    const fn legacy(self, kind: LegacyKind) -> bool {
        match kind {
            LegacyKind::Signature => self.signatures,
            LegacyKind::Attestation => self.attestations,
            LegacyKind::Sbom => self.sboms,
        }
    }

    /// Of a referrer its manifest says what it is; a bundle that does not say so may be either.
    fn referrer(self, manifest: &Manifest) -> bool {
        let predicate = manifest
            .annotations
            .as_ref()
            .and_then(|annotations| annotations.get(BUNDLE_PREDICATE_TYPE));
        let of = |kind| match (kind, predicate.map(String::as_str)) {
            (Attachment::Bundle, Some(SIGNATURE)) => self.signatures,
            (Attachment::Bundle, Some(_)) => self.attestations,
            (Attachment::Bundle, None) => self.signatures || self.attestations,
            (Attachment::Legacy(kind), _) => self.legacy(kind),
        };
        let mut known = manifest
            .layers
            .iter()
            .filter_map(|layer| Attachment::of(&layer.media_type))
            .peekable();
        match known.peek() {
            Some(_) => known.any(of),
            None => self.others,
        }
    }
}

/// What was copied; what was there already counts too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Copied {
    /// Manifests of the image.
    pub manifests: usize,
    /// Manifests that refer to one of them.
    pub referrers: usize,
    /// Layers under tags of the old kinds.
    pub legacy: usize,
    /// Manifests that are listed as referring to it at the source and are not there.
    pub missing: usize,
}

/// Why an image could not be copied.
#[derive(Debug, Error)]
pub enum CopyError {
    /// A registry.
    #[error("{0}")]
    Registry(#[from] OciError),
    /// A folder.
    #[error("{0}")]
    Layout(#[from] LayoutError),
    /// A manifest that cannot be read.
    #[error("the manifest {digest}: {why}")]
    Manifest {
        /// Which.
        digest: Digest,
        /// What is wrong.
        why: String,
    },
    /// More than anybody has.
    #[error(
        "more belongs to the image than {MANIFESTS_MAX} manifests of {BYTES_MAX} bytes together, or {DEPTH_MAX} indexes in one another"
    )]
    TooMany,
    /// Tags are a registry's.
    #[error("{place}: what stands under tags of the old kind is attached in registries only")]
    OldKind {
        /// Where.
        place: String,
    },
    /// It was written, and is not there.
    #[error("{what} was written to {place} and is not there")]
    Lost {
        /// What.
        what: String,
        /// Where.
        place: String,
    },
}

/// Copies an image and what belongs to it, and looks all of it up in the end.
pub async fn copy(
    from: &Place,
    image: &Image,
    to: &Place,
    tag: Option<&str>,
    select: Select,
) -> Result<Copied, CopyError> {
    let tree = tree(from, image).await?;
    let mut copied = Copied::default();
    if select.image {
        for manifest in &tree {
            copy_manifest(from, manifest, to).await?;
        }
        copied.manifests = tree.len();
    }
    let mut written: Vec<(Digest, Digest)> = Vec::new();
    let mut seen: BTreeSet<String> = BTreeSet::new();
    let mut subjects: VecDeque<Digest> = tree
        .iter()
        .map(|manifest| manifest.descriptor.digest)
        .collect();
    while let Some(subject) = subjects.pop_front() {
        if !seen.insert(subject.to_string()) {
            continue;
        }
        for kind in LegacyKind::ALL {
            if select.legacy(kind) {
                copied.legacy += copy_legacy(from, image, &subject, kind, to).await?;
            }
        }
        for referrer in from.referrers(&subject).await? {
            if seen.len() > MANIFESTS_MAX || written.len() > MANIFESTS_MAX {
                return Err(CopyError::TooMany);
            }
            let referrer = match from.manifest(&referrer).await {
                // A list that names what was deleted hides nothing.
                Err(CopyError::Registry(OciError::NotFound { .. })) => {
                    copied.missing = copied.missing.saturating_add(1);
                    continue;
                }
                outcome => outcome?,
            };
            let parsed = parsed(&referrer)?;
            // A list may name what does not refer to the image.
            if parsed.subject.as_ref().map(|about| about.digest) != Some(subject)
                || !select.referrer(&parsed)
            {
                continue;
            }
            // A referrer may be an index itself.
            for manifest in self::tree(from, &referrer).await? {
                copy_manifest(from, &manifest, to).await?;
            }
            written.push((subject, referrer.descriptor.digest));
            subjects.push_back(referrer.descriptor.digest);
        }
    }
    copied.referrers = written.len();
    if select.image {
        for manifest in &tree {
            to.manifest(&manifest.descriptor).await?;
        }
    }
    // Those of one subject stand together.
    let mut listed: Option<(Digest, Vec<Descriptor>)> = None;
    for (subject, referrer) in written {
        let there = match listed.take() {
            Some((of, there)) if of == subject => there,
            _ => to.referrers(&subject).await?,
        };
        let is_there = there.iter().any(|entry| entry.digest == referrer);
        listed = Some((subject, there));
        if !is_there {
            return Err(CopyError::Lost {
                what: format!("the referrer {referrer} of {subject}"),
                place: to.to_string(),
            });
        }
    }
    // Now that all of it is there, it may be found by name.
    if select.image {
        to.name(image, tag).await?;
    }
    Ok(copied)
}

/// All manifests of an image, each after all that it names: an image may stand in several indexes, at several depths.
async fn tree(from: &Place, image: &Image) -> Result<Vec<Image>, CopyError> {
    let mut order = Vec::new();
    let mut bytes = image.manifest.len();
    let mut seen = BTreeSet::from([image.descriptor.digest.to_string()]);
    // From the image down to where we are, each with those of its children that were not looked at.
    let mut path = vec![(image.clone(), children(image)?.into_iter())];
    while let Some((_, rest)) = path.last_mut() {
        let Some(child) = rest.next() else {
            order.extend(path.pop().map(|(done, _)| done));
            continue;
        };
        if !seen.insert(child.digest.to_string()) {
            continue;
        }
        if seen.len() > MANIFESTS_MAX || path.len() > DEPTH_MAX {
            return Err(CopyError::TooMany);
        }
        let child = from.manifest(&child).await?;
        bytes = bytes.saturating_add(child.manifest.len());
        if bytes > BYTES_MAX {
            return Err(CopyError::TooMany);
        }
        let below = children(&child)?.into_iter();
        path.push((child, below));
    }
    Ok(order)
}

fn children(image: &Image) -> Result<Vec<Descriptor>, CopyError> {
    let children = image
        .children()
        .map_err(|error| unreadable(image, &error))?;
    Ok(children
        .into_iter()
        .filter(Descriptor::is_manifest)
        .collect())
}

fn parsed(image: &Image) -> Result<Manifest, CopyError> {
    serde_json::from_slice(&image.manifest).map_err(|error| unreadable(image, &error))
}

fn unreadable(image: &Image, error: &serde_json::Error) -> CopyError {
    CopyError::Manifest {
        digest: image.descriptor.digest,
        why: error.to_string(),
    }
}

/// The blobs, then the manifest.
async fn copy_manifest(from: &Place, manifest: &Image, to: &Place) -> Result<(), CopyError> {
    let read = parsed(manifest)?;
    // An index may name blobs too; its manifests have gone before.
    let named = children_that_are_blobs(manifest)?;
    let blobs: BTreeMap<String, Descriptor> = read
        .config
        .into_iter()
        .chain(read.layers)
        .chain(named)
        .filter(is_kept_in_registries)
        .map(|blob| (blob.digest.to_string(), blob))
        .collect();
    stream::iter(blobs.into_values().map(Ok::<_, CopyError>))
        .try_for_each_concurrent(AT_A_TIME, async |blob| copy_blob(from, &blob, to).await)
        .await?;
    to.put(manifest).await
}

fn children_that_are_blobs(image: &Image) -> Result<Vec<Descriptor>, CopyError> {
    let children = image
        .children()
        .map_err(|error| unreadable(image, &error))?;
    Ok(children
        .into_iter()
        .filter(|child| !child.is_manifest())
        .collect())
}

/// Layers that only their maker may give away are named in images and are in no registry.
fn is_kept_in_registries(blob: &Descriptor) -> bool {
    !blob.media_type.contains(".foreign.") && !blob.media_type.contains("nondistributable")
}

async fn copy_blob(from: &Place, blob: &Descriptor, to: &Place) -> Result<(), CopyError> {
    if to.has(blob).await? {
        return Ok(());
    }
    if let (Place::Registry(_, source), Place::Registry(registry, at)) = (from, to)
        && source.host() == at.host()
        // It may not be allowed; then it is uploaded.
        && registry.mount(at, &blob.digest, source).await.unwrap_or(false)
    {
        return Ok(());
    }
    let (mut reader, mut writer) = tokio::io::duplex(PIPE);
    // Whichever ends first with an error makes the other one fail.
    let first_to_fail = Cell::new(None);
    let fail = |side: &'static str| {
        if first_to_fail.get().is_none() {
            first_to_fail.set(Some(side));
        }
    };
    let reading = async {
        let outcome = from.read(blob, &mut writer).await;
        if outcome.is_err() {
            fail("reading");
        }
        let _other_side_is_gone = writer.shutdown().await;
        drop(writer);
        outcome
    };
    let writing = async {
        let outcome = to.write(blob, &mut reader).await;
        if outcome.is_err() {
            fail("writing");
        }
        drop(reader);
        outcome
    };
    let (read, written) = tokio::join!(reading, writing);
    if first_to_fail.get() == Some("writing") {
        return written;
    }
    read?;
    written
}

/// Copies what stands under one tag; gives the number of its layers.
async fn copy_legacy(
    from: &Place,
    root: &Image,
    subject: &Digest,
    kind: LegacyKind,
    to: &Place,
) -> Result<usize, CopyError> {
    let is_root = root.descriptor.digest == *subject;
    let Some(manifest) = from.legacy(subject, kind, is_root).await? else {
        return Ok(0);
    };
    let read = parsed(&manifest)?;
    for blob in read.config.iter().chain(&read.layers) {
        copy_blob(from, blob, to).await?;
    }
    to.put_legacy(&manifest, subject, kind, is_root).await?;
    Ok(read.layers.len())
}

impl std::fmt::Display for Place {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Registry(_, repository) => repository.fmt(formatter),
            Self::Layout(layout) => layout.folder().display().fmt(formatter),
        }
    }
}

impl Place {
    /// A manifest that something names; its media type is what it says itself.
    pub async fn manifest(&self, named: &Descriptor) -> Result<Image, CopyError> {
        let digest = named.digest;
        let bytes = match self {
            Self::Registry(registry, at) => {
                return Ok(registry.image(&at.at(digest)).await?);
            }
            Self::Layout(layout) => layout.manifest(&digest)?,
        };
        let typed: Typed = serde_json::from_slice(&bytes).map_err(|error| CopyError::Manifest {
            digest,
            why: error.to_string(),
        })?;
        let media_type = typed.media_type.unwrap_or_else(|| named.media_type.clone());
        Ok(Image::of(&media_type, digest, bytes))
    }

    /// What is attached to an image: bundles, and what stands under these old tags.
    pub async fn attached(
        &self,
        subject: &Digest,
        kinds: &[LegacyKind],
    ) -> Result<Found, LayoutError> {
        match self {
            Self::Registry(registry, at) => Ok(registry.attached(at, subject, kinds).await),
            Self::Layout(layout) => layout.attached(subject, kinds),
        }
    }

    /// The same for who may have enough with what is found first; the rest is [further](Self::further_attached) away.
    pub async fn first_attached(
        &self,
        subject: &Digest,
        kinds: &[LegacyKind],
    ) -> Result<Found, LayoutError> {
        match self {
            Self::Registry(registry, at) => Ok(registry.first_attached(at, subject, kinds).await),
            Self::Layout(layout) => layout.attached(subject, kinds),
        }
    }

    /// Adds what [`first_attached`](Self::first_attached) left.
    pub async fn further_attached(
        &self,
        subject: &Digest,
        kinds: &[LegacyKind],
        found: &mut Found,
    ) {
        if let Self::Registry(registry, at) = self {
            registry.further_attached(at, subject, kinds, found).await;
        }
    }

    /// Whether something can be attached here at all, and of the old kind too: to be asked before anything is signed.
    pub fn check_attachable(&self, old_kind: bool) -> Result<(), CopyError> {
        let Self::Layout(layout) = self else {
            return Ok(());
        };
        layout.check_writable()?;
        if old_kind {
            return Err(CopyError::OldKind {
                place: layout.folder().display().to_string(),
            });
        }
        Ok(())
    }

    /// Attaches a bundle to an image.
    pub async fn attach(
        &self,
        subject: &Descriptor,
        media_type: &str,
        bundle: Bytes,
        annotations: &Annotations,
    ) -> Result<Descriptor, CopyError> {
        match self {
            Self::Registry(registry, at) => Ok(registry
                .attach(at, subject, media_type, bundle, annotations)
                .await?),
            Self::Layout(layout) => {
                let layer = layout.put_blob(media_type, &bundle)?;
                layout.put_blob(crate::EMPTY_TYPE, b"{}")?;
                let (descriptor, manifest) = attaching(subject, &layer, annotations)?;
                layout.put_blob(&descriptor.media_type, &manifest)?;
                layout.list(&descriptor)?;
                Ok(descriptor)
            }
        }
    }

    /// Attaches a layer of the old kind to an image.
    pub async fn attach_legacy(
        &self,
        image: &Digest,
        kind: LegacyKind,
        layer: Descriptor,
        content: Bytes,
    ) -> Result<Digest, CopyError> {
        match self {
            Self::Registry(registry, at) => Ok(registry
                .attach_legacy(at, image, kind, vec![(layer, content)])
                .await?),
            Self::Layout(layout) => Err(CopyError::OldKind {
                place: layout.folder().display().to_string(),
            }),
        }
    }

    /// What refers to a manifest, as far as lists say; an incomplete list is an error.
    pub async fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>, CopyError> {
        match self {
            Self::Registry(registry, at) => Ok(registry.referrers(at, subject).await?),
            Self::Layout(layout) => Ok(layout.referrers(subject)?),
        }
    }

    /// The manifest under one of the old tags.
    async fn legacy(
        &self,
        subject: &Digest,
        kind: LegacyKind,
        is_root: bool,
    ) -> Result<Option<Image>, CopyError> {
        let tag = kind.tag(subject);
        match self {
            Self::Registry(registry, at) => {
                let what = format!("reading the tag {tag} of {at}");
                let Some(answer) = registry.manifest(&what, at, &tag, ACCEPT).await? else {
                    return Ok(None);
                };
                let (digest, _) = image_manifest(&what, &answer)?;
                let media_type = match answer.media_type().as_str() {
                    DOCKER_IMAGE_TYPE => DOCKER_IMAGE_TYPE,
                    _ => IMAGE_TYPE,
                };
                Ok(Some(Image::of(media_type, digest, answer.body)))
            }
            Self::Layout(layout) => {
                let found = layout.legacy(&tag, kind, is_root)?;
                if let Some(found) = &found {
                    check_image_type(&format!("reading {tag}"), &found.descriptor.media_type)?;
                }
                Ok(found)
            }
        }
    }

    async fn has(&self, blob: &Descriptor) -> Result<bool, CopyError> {
        match self {
            Self::Registry(registry, at) => {
                let what = format!("looking for {} in {at}", blob.digest);
                Ok(registry.has_blob_to_write(&what, at, &blob.digest).await?)
            }
            Self::Layout(layout) => Ok(layout.has(blob).await),
        }
    }

    async fn read(
        &self,
        blob: &Descriptor,
        sink: &mut (impl AsyncWrite + Unpin),
    ) -> Result<(), CopyError> {
        match self {
            Self::Registry(registry, at) => Ok(registry.blob_into(at, blob, sink).await?),
            Self::Layout(layout) => Ok(layout.blob_into(blob, sink).await?),
        }
    }

    async fn write(
        &self,
        blob: &Descriptor,
        source: &mut (impl AsyncRead + Unpin),
    ) -> Result<(), CopyError> {
        match self {
            Self::Registry(registry, at) => Ok(registry.push_blob_from(at, blob, source).await?),
            Self::Layout(layout) => Ok(layout.put_blob_from(blob, source).await?),
        }
    }

    async fn put(&self, manifest: &Image) -> Result<(), CopyError> {
        let read = parsed(manifest)?;
        match self {
            Self::Registry(registry, at) => match read.subject {
                Some(subject) => {
                    let artifact_type = read
                        .artifact_type
                        .or_else(|| read.config.map(|config| config.media_type));
                    let listed = Descriptor {
                        artifact_type,
                        annotations: read.annotations,
                        ..manifest.descriptor.clone()
                    };
                    registry
                        .push_referrer(at, &subject, &listed, manifest.manifest.clone())
                        .await?;
                }
                None => {
                    registry
                        .push_manifest(
                            at,
                            &manifest.descriptor.digest.to_string(),
                            &manifest.descriptor.media_type,
                            manifest.manifest.clone(),
                        )
                        .await?;
                }
            },
            Self::Layout(layout) => {
                layout.put_blob(&manifest.descriptor.media_type, &manifest.manifest)?;
                // What refers to something is listed, or tools that tidy up would take it away.
                if read.subject.is_some() {
                    layout.list(&manifest.descriptor)?;
                }
            }
        }
        Ok(())
    }

    async fn put_legacy(
        &self,
        manifest: &Image,
        subject: &Digest,
        kind: LegacyKind,
        is_root: bool,
    ) -> Result<(), CopyError> {
        let tag = kind.tag(subject);
        match self {
            Self::Registry(registry, at) => {
                let what = format!("reading the tag {tag} of {at}");
                let there = registry.manifest(&what, at, &tag, ACCEPT).await?;
                if there.is_none() {
                    // As it is, so that its digest stays the same.
                    let media_type = manifest.descriptor.media_type.as_str();
                    registry
                        .push_manifest(at, &tag, media_type, manifest.manifest.clone())
                        .await?;
                }
                let layers: serde_json::Map<String, Value> =
                    serde_json::from_slice(&manifest.manifest)
                        .map_err(|error| unreadable(manifest, &error))?;
                // What others wrote there stays, and that ours are there is confirmed.
                registry.merge_legacy(at, &tag, layers_of(&layers)).await?;
            }
            Self::Layout(layout) => layout.put_legacy(manifest, &tag, kind, is_root)?,
        }
        Ok(())
    }

    /// Makes it the image of this name.
    async fn name(&self, image: &Image, tag: Option<&str>) -> Result<(), CopyError> {
        match self {
            Self::Registry(registry, at) => {
                if let Some(tag) = tag {
                    let bytes: Bytes = image.manifest.clone();
                    registry
                        .push_manifest(at, tag, &image.descriptor.media_type, bytes)
                        .await?;
                }
            }
            Self::Layout(layout) => layout.mark(image, tag)?,
        }
        Ok(())
    }
}
