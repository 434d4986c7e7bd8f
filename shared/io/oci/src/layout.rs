//! Image layouts (image spec 1.1, "Image Layout Specification"): images and their signatures in a folder, without a registry.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use keys::{Digest, Hasher};
use serde_json::{Map, Value, json};
use tempfile::TempDir;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use crate::OciError;
use crate::legacy::{LAYERS_MAX, LegacyKind, LegacyLayer, check_image_type, layers_listed};
use crate::manifest::{Descriptor, IMAGE_TYPE, INDEX_TYPE, Image, MANIFEST_MAX, Manifest, Typed};
use crate::referrers::{
    Attached, BUNDLE_MAX, Budget, Found, REFERRERS_MAX, bundle_layer, entries, legacy_layers,
};

/// The most blobs that are looked through for signatures.
const BLOBS_MAX: usize = 100_000;
/// cosign's mark on an index entry.
const KIND: &str = "kind";
const KINDS: [&str; 2] = [
    "dev.cosignproject.cosign/image",
    "dev.cosignproject.cosign/imageIndex",
];
/// What names an entry of the index (image spec 1.1, "Pre-Defined Annotation Keys").
const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// The pieces in which blobs are read and written.
const PIECE: usize = 1 << 18;
/// The list of images in what `docker save` writes.
const DOCKER_SAVED: &str = "manifest.json";
const LAYOUT: &str = "{\"imageLayoutVersion\":\"1.0.0\"}";

/// A folder with images.
#[derive(Debug, Clone)]
pub struct Layout {
    folder: PathBuf,
    /// An archive is unpacked into a folder of its own, which goes when nobody needs it any more.
    unpacked: Option<Arc<Unpacked>>,
}

#[derive(Debug)]
struct Unpacked {
    archive: PathBuf,
    _folder: TempDir,
}

/// Why a folder could not be read or written as a layout.
#[derive(Debug, Error)]
pub enum LayoutError {
    /// The file system says no.
    #[error("{path}")]
    File {
        /// What.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Not a layout, or not of this version.
    #[error("{path} is no OCI image layout: {why}")]
    NotALayout {
        /// Which folder.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// It has none, or several.
    #[error("{path} holds {found} images, expected exactly one")]
    Images {
        /// Which folder.
        path: PathBuf,
        /// How many.
        found: usize,
    },
    /// An archive that was unpacked, of which the copy goes when the program ends.
    #[error("{path} is an archive, in which nothing can be written")]
    Archive {
        /// Which archive.
        path: PathBuf,
    },
    /// Other bytes than the name says, or too many.
    #[error("{path} is not what its name says")]
    Digest {
        /// Which file.
        path: PathBuf,
    },
}

impl Layout {
    /// Opens a folder that is a layout.
    pub fn open(folder: &Path) -> Result<Self, LayoutError> {
        let layout = Self::at(folder);
        let marker = layout.json("oci-layout")?;
        match marker.get("imageLayoutVersion").and_then(Value::as_str) {
            Some(version) if version.starts_with("1.") => Ok(layout),
            other => Err(layout.not_a_layout(format!("version {other:?}, expected 1.x"))),
        }
    }

    fn at(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            unpacked: None,
        }
    }

    /// Opens an archive (tar) with a layout in it, which is what `docker save` writes since Docker 25, `podman save --format oci-archive` and others.
    ///
    /// Only what a layout consists of is taken out, into a temporary folder: a name in an archive is somebody else's choice.
    pub fn open_archive(path: &Path) -> Result<Self, LayoutError> {
        let file = |source| LayoutError::File {
            path: path.to_owned(),
            source,
        };
        let not_a_layout = |why: &str| LayoutError::NotALayout {
            path: path.to_owned(),
            why: why.to_owned(),
        };
        if let Some(packed) = compressed(path).map_err(file)? {
            return Err(not_a_layout(&format!(
                "the archive is compressed with {packed}: unpack it to a tar archive first"
            )));
        }
        let unpacked = tempfile::tempdir().map_err(file)?;
        let folder = unpacked.path();
        let mut archive = tar::Archive::new(File::open(path).map_err(file)?);
        let mut count = 0;
        let mut saved = None;
        for entry in archive.entries().map_err(file)? {
            let mut entry = entry.map_err(file)?;
            let name = entry.path().map_err(file)?.to_string_lossy().into_owned();
            let name = name.trim_start_matches("./");
            if name == DOCKER_SAVED && entry.header().entry_type().is_file() {
                let mut text = Vec::new();
                let bound = u64::try_from(MANIFEST_MAX).unwrap_or(u64::MAX);
                entry
                    .by_ref()
                    .take(bound)
                    .read_to_end(&mut text)
                    .map_err(file)?;
                saved = Some(text);
                continue;
            }
            if !entry.header().entry_type().is_file() || !belongs_to_a_layout(name) {
                continue;
            }
            count += 1;
            if count > BLOBS_MAX {
                return Err(not_a_layout("too many blobs"));
            }
            let to = folder.join(name);
            if let Some(parent) = to.parent() {
                fs::create_dir_all(parent).map_err(file)?;
            }
            let mut out = File::create(&to).map_err(file)?;
            io::copy(&mut entry, &mut out).map_err(file)?;
        }
        if !folder.join("oci-layout").is_file() {
            return Err(not_a_layout(&match saved {
                Some(saved) => docker_archive(&saved),
                None => "the archive holds no oci-layout".to_owned(),
            }));
        }
        let opened = Self::open(folder)?;
        Ok(Self {
            unpacked: Some(Arc::new(Unpacked {
                archive: path.to_owned(),
                _folder: unpacked,
            })),
            ..opened
        })
    }

    /// Makes a folder into an empty layout.
    pub fn create(folder: &Path) -> Result<Self, LayoutError> {
        let layout = Self::at(folder);
        let blobs = folder.join("blobs").join("sha256");
        fs::create_dir_all(&blobs).map_err(|source| LayoutError::File {
            path: blobs,
            source,
        })?;
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [] });
        layout.replace("index.json", index.to_string().as_bytes())?;
        layout.replace("oci-layout", LAYOUT.as_bytes())?;
        Ok(layout)
    }

    /// The one image: what cosign marked as it, or the only entry that refers to nothing else.
    pub fn image(&self) -> Result<Image, LayoutError> {
        let descriptors = self.entries()?;
        let marked = |descriptor: &&Descriptor| {
            let kind = descriptor
                .annotations
                .as_ref()
                .and_then(|all| all.get(KIND));
            kind.is_some_and(|kind| KINDS.contains(&kind.as_str()))
        };
        let mut images: Vec<&Descriptor> = descriptors.iter().filter(marked).collect();
        if images.is_empty() {
            images = descriptors
                .iter()
                .filter(|descriptor| !self.refers(descriptor))
                .collect();
        }
        let [descriptor] = images.as_slice() else {
            return Err(LayoutError::Images {
                path: self.folder.clone(),
                found: images.len(),
            });
        };
        let manifest = self.blob(&descriptor.digest, MANIFEST_MAX)?;
        Ok(Image {
            descriptor: Descriptor {
                media_type: descriptor.media_type.clone(),
                digest: descriptor.digest,
                ..Descriptor::of("", &manifest)
            },
            manifest,
        })
    }

    fn refers(&self, descriptor: &Descriptor) -> bool {
        self.blob(&descriptor.digest, MANIFEST_MAX)
            .is_ok_and(|bytes| {
                serde_json::from_slice::<Manifest>(&bytes)
                    .is_ok_and(|manifest| manifest.subject.is_some())
            })
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Fails for an archive: what is written beside its unpacked copy would be lost with it, so nobody may write there, and whoever is going to
    /// asks before he makes what is to be written.
    pub fn check_writable(&self) -> Result<(), LayoutError> {
        match &self.unpacked {
            Some(unpacked) => Err(LayoutError::Archive {
                path: unpacked.archive.clone(),
            }),
            None => Ok(()),
        }
    }

    /// A manifest.
    pub fn manifest(&self, digest: &Digest) -> Result<Bytes, LayoutError> {
        self.blob(digest, MANIFEST_MAX)
    }

    /// What refers to a manifest: all manifests in the folder are looked at, since tools differ in whether they list them.
    pub fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>, LayoutError> {
        let mut found = Vec::new();
        let mut spoiled = None;
        self.each_manifest(|digest, read| {
            let (manifest, size) = match read {
                Ok(read) => read,
                Err(error) => {
                    spoiled.get_or_insert(error);
                    return;
                }
            };
            if manifest.subject.as_ref().map(|about| about.digest) == Some(*subject) {
                found.push(Descriptor {
                    digest,
                    size,
                    artifact_type: manifest.artifact_type,
                    annotations: manifest.annotations,
                    ..Descriptor::of(IMAGE_TYPE, b"")
                });
            }
        })?;
        spoiled.map_or(Ok(found), Err)
    }

    /// Everything in the folder that may be a manifest, with its size; an error where it was changed, since then it may have been one that refers to
    /// anything.
    fn each_manifest(
        &self,
        mut take: impl FnMut(Digest, Result<(Manifest, u64), LayoutError>),
    ) -> Result<(), LayoutError> {
        let folder = self.folder.join("blobs").join("sha256");
        let file = |source| LayoutError::File {
            path: folder.clone(),
            source,
        };
        let most = u64::try_from(MANIFEST_MAX).unwrap_or(u64::MAX);
        let mut names = BTreeMap::new();
        for entry in fs::read_dir(&folder).map_err(file)? {
            let entry = entry.map_err(file)?;
            let small = entry
                .metadata()
                .is_ok_and(|data| data.is_file() && data.len() <= most);
            let name = entry.file_name().to_string_lossy().into_owned();
            if let (true, Ok(digest)) = (small, Digest::parse(&format!("sha256:{name}"))) {
                names.insert(name, digest);
            }
            if names.len() > BLOBS_MAX {
                return Err(self.not_a_layout(format!("more than {BLOBS_MAX} blobs")));
            }
        }
        for digest in names.into_values() {
            // A file that is no manifest is a configuration or a layer.
            let path = self.path_of(&digest);
            let mut first = [0; 1];
            let opens_an_object = File::open(&path)
                .and_then(|mut file| file.read(&mut first))
                .is_ok()
                && matches!(first, [b'{' | b' ' | b'\n' | b'\r' | b'\t']);
            if !opens_an_object {
                continue;
            }
            let bytes = match self.blob(&digest, MANIFEST_MAX) {
                Ok(bytes) => bytes,
                Err(error) => {
                    take(digest, Err(error));
                    continue;
                }
            };
            if let Ok(manifest) = serde_json::from_slice::<Manifest>(&bytes) {
                let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
                take(digest, Ok((manifest, size)));
            }
        }
        Ok(())
    }

    /// The bundles that are attached to an image.
    pub fn bundles(&self, subject: &Digest) -> Result<Found, LayoutError> {
        self.attached(subject, &[])
    }

    /// What is attached to an image: bundles, and what of these old kinds refers to it or stands under their tags. As much is read as of a
    /// registry.
    pub fn attached(&self, subject: &Digest, kinds: &[LegacyKind]) -> Result<Found, LayoutError> {
        let (mut found, budget) = (Found::default(), Budget::default());
        let mut count: usize = 0;
        self.each_manifest(|digest, read| {
            let (manifest, size) = match read {
                Ok(read) => read,
                Err(error) => {
                    let why = OciError::Malformed {
                        what: format!("reading {digest}"),
                        why: error.to_string(),
                    };
                    found.take::<()>(&digest.to_string(), Err(why));
                    return;
                }
            };
            if manifest.subject.as_ref().map(|about| about.digest) != Some(*subject) {
                return;
            }
            count = count.saturating_add(1);
            if count <= REFERRERS_MAX {
                let what = format!("reading {digest}");
                let read = budget
                    .spend(&what, size)
                    .and_then(|()| self.referrer(digest, manifest, subject, kinds, &budget));
                if let Some((attached, legacy)) = found.take(&digest.to_string(), read) {
                    found.attached.extend(attached);
                    found.legacy.extend(legacy);
                }
            }
        })?;
        if count > REFERRERS_MAX {
            let why = OciError::TooMany {
                what: format!(
                    "{count} referrers of {subject} in {}",
                    self.folder.display()
                ),
                limit: REFERRERS_MAX,
            };
            found.take::<()>(&format!("the referrers of {subject}"), Err(why));
        }
        let is_root = self
            .image()
            .is_ok_and(|image| image.descriptor.digest == *subject);
        for kind in kinds {
            if let Some(manifest) = self.legacy(&kind.tag(subject), *kind, is_root)? {
                self.tagged(&manifest, *kind, subject, &budget, &mut found);
            }
        }
        Ok(found)
    }

    /// What one manifest attaches.
    fn referrer(
        &self,
        digest: Digest,
        manifest: Manifest,
        subject: &Digest,
        kinds: &[LegacyKind],
        budget: &Budget,
    ) -> Result<(Option<Attached>, Vec<LegacyLayer>), OciError> {
        if let Some(layer) = bundle_layer(&manifest, subject) {
            let attached = Attached {
                manifest: digest,
                media_type: layer.media_type.clone(),
                bundle: self.blob_within(layer, BUNDLE_MAX, budget)?,
                annotations: manifest.annotations.clone().unwrap_or_default(),
            };
            return Ok((Some(attached), Vec::new()));
        }
        let what = format!("reading {digest}");
        let layers = legacy_layers(&what, manifest, subject, kinds)?
            .into_iter()
            .map(|(descriptor, kind)| {
                Ok(LegacyLayer {
                    manifest: digest,
                    kind,
                    content: self.blob_within(&descriptor, kind.largest(), budget)?,
                    descriptor,
                })
            });
        Ok((None, layers.collect::<Result<_, OciError>>()?))
    }

    /// What the manifest under an old tag holds.
    fn tagged(
        &self,
        manifest: &Image,
        kind: LegacyKind,
        subject: &Digest,
        budget: &Budget,
        found: &mut Found,
    ) {
        let what = format!("the tag {}", kind.tag(subject));
        let digest = manifest.descriptor.digest;
        let reading = format!("reading {digest}");
        let read =
            check_image_type(&reading, &manifest.descriptor.media_type).and_then(|()| {
                let manifest: Map<String, Value> = serde_json::from_slice(&manifest.manifest)
                    .map_err(|error| OciError::Malformed {
                        what: reading.clone(),
                        why: error.to_string(),
                    })?;
                layers_listed(&reading, manifest.get("layers"))
            });
        let Some(mut layers) = found.take(&what, read) else {
            return;
        };
        if layers.len() > LAYERS_MAX {
            let why = OciError::TooMany {
                what: format!("{} layers of {digest}", layers.len()),
                limit: LAYERS_MAX,
            };
            found.take::<()>(&what, Err(why));
            layers.truncate(LAYERS_MAX);
        }
        for descriptor in layers {
            let content = self.blob_within(&descriptor, kind.largest(), budget);
            if let Some(content) = found.take(&descriptor.digest.to_string(), content) {
                found.legacy.push(LegacyLayer {
                    manifest: digest,
                    kind,
                    descriptor,
                    content,
                });
            }
        }
    }

    /// A blob of the size that its descriptor says, if there may be so much.
    fn blob_within(
        &self,
        descriptor: &Descriptor,
        limit: usize,
        budget: &Budget,
    ) -> Result<Bytes, OciError> {
        budget.spend(&format!("reading {}", descriptor.digest), descriptor.size)?;
        let size = usize::try_from(descriptor.size).unwrap_or(usize::MAX);
        self.blob(&descriptor.digest, size.min(limit))
            .map_err(|error| unreadable(&descriptor.digest, &error))
    }

    /// The manifest under an old tag: named so, or what cosign marked as belonging to the one image.
    pub(crate) fn legacy(
        &self,
        tag: &str,
        kind: LegacyKind,
        is_root: bool,
    ) -> Result<Option<Image>, LayoutError> {
        let mut marked = None;
        for descriptor in self.entries()? {
            let annotations = descriptor.annotations.clone().unwrap_or_default();
            if annotations.get(REF_NAME).is_some_and(|name| name == tag) {
                return self.image_of(&descriptor).map(Some);
            }
            let unnamed = is_root && !annotations.contains_key(REF_NAME);
            let is_marked = |mark| annotations.get(KIND).is_some_and(|found| found == mark);
            if unnamed && mark(kind).is_some_and(is_marked) {
                marked = Some(descriptor);
            }
        }
        marked
            .map(|descriptor| self.image_of(&descriptor))
            .transpose()
    }

    fn image_of(&self, descriptor: &Descriptor) -> Result<Image, LayoutError> {
        let bytes = self.blob(&descriptor.digest, MANIFEST_MAX)?;
        let typed: Option<Typed> = serde_json::from_slice(&bytes).ok();
        let media_type = typed
            .and_then(|typed| typed.media_type)
            .unwrap_or_else(|| descriptor.media_type.clone());
        Ok(Image::of(&media_type, descriptor.digest, bytes))
    }

    fn entries(&self) -> Result<Vec<Descriptor>, LayoutError> {
        Ok(entries(&self.json("index.json")?)
            .into_iter()
            .filter_map(|entry| serde_json::from_value(entry).ok())
            .collect())
    }

    /// Is the blob there, as far as its size tells? What is read is compared with its digest.
    pub(crate) async fn has(&self, blob: &Descriptor) -> bool {
        tokio::fs::metadata(self.path_of(&blob.digest))
            .await
            .is_ok_and(|data| data.len() == blob.size)
    }

    /// Reads a blob of any size, piece by piece. What was written to `sink` is the blob only if this succeeds.
    pub(crate) async fn blob_into(
        &self,
        blob: &Descriptor,
        sink: &mut (impl AsyncWrite + Unpin),
    ) -> Result<(), LayoutError> {
        let path = self.path_of(&blob.digest);
        let failed = |source| LayoutError::File {
            path: path.clone(),
            source,
        };
        let mut file = tokio::fs::File::open(&path).await.map_err(failed)?;
        let mut hasher = Hasher::new(blob.digest.algorithm());
        let mut piece = vec![0; PIECE];
        let mut size: u64 = 0;
        loop {
            let read = file.read(&mut piece).await.map_err(failed)?;
            let Some(read) = piece.get(..read).filter(|read| !read.is_empty()) else {
                break;
            };
            hasher.update(read);
            size = size.saturating_add(u64::try_from(read.len()).unwrap_or(u64::MAX));
            sink.write_all(read).await.map_err(failed)?;
        }
        sink.flush().await.map_err(failed)?;
        if hasher.finish() != blob.digest || size != blob.size {
            return Err(LayoutError::Digest { path });
        }
        Ok(())
    }

    /// Adds a blob from a stream. It has its name only when all of it is on the disk and has this digest.
    pub(crate) async fn put_blob_from(
        &self,
        blob: &Descriptor,
        source: &mut (impl AsyncRead + Unpin),
    ) -> Result<(), LayoutError> {
        self.check_writable()?;
        let path = self.path_of(&blob.digest);
        let beside = path.with_extension(format!("{}.new", std::process::id()));
        let failed = |source| LayoutError::File {
            path: path.clone(),
            source,
        };
        if let Some(folder) = path.parent() {
            tokio::fs::create_dir_all(folder).await.map_err(failed)?;
        }
        let mut file = tokio::fs::File::create(&beside).await.map_err(failed)?;
        let mut hasher = Hasher::new(blob.digest.algorithm());
        let mut piece = vec![0; PIECE];
        let mut size: u64 = 0;
        loop {
            let read = source.read(&mut piece).await.map_err(failed)?;
            let Some(read) = piece.get(..read).filter(|read| !read.is_empty()) else {
                break;
            };
            hasher.update(read);
            size = size.saturating_add(u64::try_from(read.len()).unwrap_or(u64::MAX));
            if size > blob.size {
                break;
            }
            file.write_all(read).await.map_err(failed)?;
        }
        if size != blob.size || hasher.finish() != blob.digest {
            let _left_behind = tokio::fs::remove_file(&beside).await;
            return Err(LayoutError::Digest { path });
        }
        file.sync_all().await.map_err(failed)?;
        tokio::fs::rename(&beside, &path).await.map_err(failed)
    }

    /// Names a manifest that is there in the index.
    pub(crate) fn list(&self, descriptor: &Descriptor) -> Result<(), LayoutError> {
        let mut index = self.json("index.json")?;
        let mut manifests = entries(&index);
        let entry = serde_json::to_value(descriptor)
            .map_err(|error| self.not_a_layout(error.to_string()))?;
        let named = |entry: &Value| {
            let name = entry
                .pointer("/annotations/org.opencontainers.image.ref.name")
                .cloned();
            (entry.get("digest").cloned(), name)
        };
        manifests.retain(|other| named(other) != named(&entry));
        manifests.push(entry);
        index.insert("manifests".to_owned(), Value::Array(manifests));
        let text =
            serde_json::to_vec(&index).map_err(|error| self.not_a_layout(error.to_string()))?;
        self.replace("index.json", &text)
    }

    pub(crate) fn put_legacy(
        &self,
        manifest: &Image,
        tag: &str,
        kind: LegacyKind,
        is_root: bool,
    ) -> Result<(), LayoutError> {
        self.put_blob(&manifest.descriptor.media_type, &manifest.manifest)?;
        let mut annotations = BTreeMap::from([(REF_NAME.to_owned(), tag.to_owned())]);
        // cosign has one image in a folder, and knows what belongs to it by this mark.
        if let (true, Some(mark)) = (is_root, mark(kind)) {
            annotations.insert(KIND.to_owned(), mark.to_owned());
        }
        self.list(&Descriptor {
            annotations: Some(annotations),
            ..manifest.descriptor.clone()
        })
    }

    /// Makes a manifest that is there the image of this folder.
    pub(crate) fn mark(&self, image: &Image, tag: Option<&str>) -> Result<(), LayoutError> {
        let [one, several] = KINDS;
        let kind = if image.descriptor.is_index() {
            several
        } else {
            one
        };
        let mut annotations = BTreeMap::from([(KIND.to_owned(), kind.to_owned())]);
        if let Some(tag) = tag {
            annotations.insert(REF_NAME.to_owned(), tag.to_owned());
        }
        self.list(&Descriptor {
            annotations: Some(annotations),
            ..image.descriptor.clone()
        })
    }

    fn path_of(&self, digest: &Digest) -> PathBuf {
        self.folder
            .join("blobs")
            .join(digest.algorithm().name())
            .join(digest.to_hex())
    }

    /// A blob of at most `limit` bytes, compared with its digest.
    pub fn blob(&self, digest: &Digest, limit: usize) -> Result<Bytes, LayoutError> {
        let path = self.path_of(digest);
        let content = read(&path, limit)?;
        if Digest::of(digest.algorithm(), &content) == *digest {
            Ok(content.into())
        } else {
            Err(LayoutError::Digest { path })
        }
    }

    /// Adds a blob.
    pub fn put_blob(&self, media_type: &str, content: &[u8]) -> Result<Descriptor, LayoutError> {
        let descriptor = Descriptor::of(media_type, content);
        let name = format!("blobs/sha256/{}", descriptor.digest.to_hex());
        self.replace(&name, content)?;
        Ok(descriptor)
    }

    /// Adds a manifest, and an entry for it to the index.
    pub fn put_manifest(
        &self,
        media_type: &str,
        content: &[u8],
    ) -> Result<Descriptor, LayoutError> {
        let descriptor = self.put_blob(media_type, content)?;
        self.list(&descriptor)?;
        Ok(descriptor)
    }

    fn json(&self, name: &str) -> Result<Map<String, Value>, LayoutError> {
        let content = read(&self.folder.join(name), MANIFEST_MAX)?;
        serde_json::from_slice(&content)
            .map_err(|error| self.not_a_layout(format!("{name}: {error}")))
    }

    /// Writes beside and renames, so that nobody reads half a file.
    fn replace(&self, name: &str, content: &[u8]) -> Result<(), LayoutError> {
        self.check_writable()?;
        let path = self.folder.join(name);
        let beside = path.with_extension(format!("{}.new", std::process::id()));
        let write = || {
            let mut file = File::create(&beside)?;
            file.write_all(content)?;
            file.sync_all()?;
            fs::rename(&beside, &path)
        };
        write().map_err(|source| LayoutError::File { path, source })
    }

    fn not_a_layout(&self, why: String) -> LayoutError {
        LayoutError::NotALayout {
            path: self.folder.clone(),
            why,
        }
    }
}

/// With what a file is compressed, by its first bytes.
fn compressed(path: &Path) -> io::Result<Option<&'static str>> {
    let mut first = Vec::new();
    File::open(path)?.take(6).read_to_end(&mut first)?;
    Ok(match first.as_slice() {
        [0x1f, 0x8b, ..] => Some("gzip"),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Some("zstd"),
        [0xfd, b'7', b'z', b'X', b'Z', 0] => Some("xz"),
        [b'B', b'Z', b'h', ..] => Some("bzip2"),
        _ => None,
    })
}

/// An archive as `docker save` wrote it before Docker 25, and `podman save` writes it without a format: configuration and layers, unpacked. The manifest
/// that was signed names layers as they are compressed in the registry, and cannot be computed from these.
fn docker_archive(saved: &[u8]) -> String {
    let images: Vec<Value> = serde_json::from_slice(saved).unwrap_or_default();
    let names: Vec<&str> = images
        .iter()
        .filter_map(|image| image.get("RepoTags")?.as_array())
        .flatten()
        .filter_map(Value::as_str)
        .take(3)
        .collect();
    let whose = if names.is_empty() {
        String::new()
    } else {
        format!(" of {}", names.join(", "))
    };
    format!(
        "it is a Docker archive{whose}, with configuration and layers but without the manifest that a signature is about, which only the registry has. Save the image          from the registry with `cosign-rs save --dir FOLDER IMAGE`, with `docker save` of Docker 25 or later with the containerd image store, or with `podman save          --format oci-archive`; or verify it in the registry"
    )
}

/// The two files at the top, and blobs, which are named by hex digits.
fn belongs_to_a_layout(name: &str) -> bool {
    let blob = |name: &str| {
        let (algorithm, digits) = name.strip_prefix("blobs/")?.split_once('/')?;
        Digest::parse(&format!("{algorithm}:{digits}")).ok()
    };
    ["oci-layout", "index.json"].contains(&name) || blob(name).is_some()
}

/// cosign's mark on what belongs to the image; there is none for the others.
const fn mark(kind: LegacyKind) -> Option<&'static str> {
    match kind {
        LegacyKind::Signature => Some("dev.cosignproject.cosign/sigs"),
        LegacyKind::Attestation => Some("dev.cosignproject.cosign/atts"),
        LegacyKind::Sbom => None,
    }
}

fn unreadable(digest: &Digest, error: &LayoutError) -> OciError {
    OciError::Malformed {
        what: format!("reading {digest}"),
        why: error.to_string(),
    }
}

fn read(path: &Path, limit: usize) -> Result<Vec<u8>, LayoutError> {
    let file = |source| LayoutError::File {
        path: path.to_owned(),
        source,
    };
    let mut content = Vec::new();
    let bound = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    // A pipe would be waited for without end, and a link may lead to one.
    if fs::metadata(path).is_ok_and(|data| !data.is_file()) {
        return Err(file(io::Error::other("it is no regular file")));
    }
    File::open(path)
        .map_err(file)?
        .take(bound)
        .read_to_end(&mut content)
        .map_err(file)?;
    if content.len() > limit {
        return Err(LayoutError::Digest {
            path: path.to_owned(),
        });
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::IMAGE_TYPE;

    #[test]
    fn what_is_written_is_found_and_what_is_changed_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(
            Layout::open(folder.path()),
            Err(LayoutError::File { .. })
        ));
        Layout::create(folder.path()).unwrap();
        let layout = Layout::open(folder.path()).unwrap();
        assert!(matches!(
            layout.image(),
            Err(LayoutError::Images { found: 0, .. })
        ));
        let image = layout.put_manifest(IMAGE_TYPE, b"{\"layers\":[]}").unwrap();
        let bundle = layout
            .put_blob("application/vnd.dev.sigstore.bundle.v0.3+json", b"a bundle")
            .unwrap();
        let manifest = json!({ "layers": [bundle], "subject": image });
        layout
            .put_manifest(IMAGE_TYPE, manifest.to_string().as_bytes())
            .unwrap();
        let other = json!({ "layers": [bundle], "subject": Descriptor::of(IMAGE_TYPE, b"other") });
        layout
            .put_manifest(IMAGE_TYPE, other.to_string().as_bytes())
            .unwrap();

        assert_eq!(layout.image().unwrap().descriptor, image);
        let found = layout.bundles(&image.digest).unwrap();
        assert_eq!(found.attached.len(), 1);
        assert_eq!(&found.attached[0].bundle[..], b"a bundle");

        let path = folder
            .path()
            .join("blobs/sha256")
            .join(bundle.digest.to_hex());
        fs::write(&path, "a bumble").unwrap();
        let found = layout.bundles(&image.digest).unwrap();
        assert_eq!((found.attached.len(), found.problems.len()), (0, 1));

        // What was a manifest may be said of it no more; that nothing refers to the image is not known then.
        fs::write(&path, "a bundle").unwrap();
        let manifest = Descriptor::of(IMAGE_TYPE, manifest.to_string().as_bytes());
        let path = path.with_file_name(manifest.digest.to_hex());
        fs::write(&path, "{}").unwrap();
        let found = layout.bundles(&image.digest).unwrap();
        assert_eq!((found.attached.len(), found.problems.len()), (0, 1));
        assert!(layout.referrers(&image.digest).is_err());
    }

    #[test]
    fn what_is_no_file_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        Layout::create(folder.path()).unwrap();
        let index = folder.path().join("index.json");
        fs::remove_file(&index).unwrap();
        std::os::unix::fs::symlink("/dev/zero", &index).unwrap();
        let error = Layout::open(folder.path()).unwrap().image().unwrap_err();
        let LayoutError::File { source, .. } = error else {
            panic!("{error}");
        };
        assert_eq!(source.to_string(), "it is no regular file");
    }

    #[test]
    fn a_folder_that_offers_too_much_is_not_read_to_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::create(folder.path()).unwrap();
        let image = layout.put_manifest(IMAGE_TYPE, b"{\"layers\":[]}").unwrap();
        let bundle_type = "application/vnd.dev.sigstore.bundle.v0.3+json";
        let refer = |layers: &[&Descriptor], number: usize| {
            let manifest = json!({ "layers": layers, "subject": image, "number": number });
            layout
                .put_blob(IMAGE_TYPE, manifest.to_string().as_bytes())
                .unwrap()
        };
        // Each of them is not too large, and all of them are.
        let large = layout.put_blob(bundle_type, &vec![b'x'; 15 << 20]).unwrap();
        for number in 0..12 {
            refer(&[&large], number);
        }
        let found = layout.bundles(&image.digest).unwrap();
        assert_eq!((found.attached.len(), found.problems.len()), (8, 4));

        // A signature of before cosign 3 as a referrer is found here as in a registry, and not a thousand of them.
        let layout = Layout::create(&folder.path().join("other")).unwrap();
        let old = layout
            .put_blob("application/vnd.dev.cosign.simplesigning.v1+json", b"old")
            .unwrap();
        let refer = |layers: &[&Descriptor]| {
            let manifest = json!({ "layers": layers, "subject": image });
            layout
                .put_blob(IMAGE_TYPE, manifest.to_string().as_bytes())
                .unwrap();
        };
        refer(&[&old]);
        let of = |kind| layout.attached(&image.digest, &[kind]).unwrap();
        let found = of(LegacyKind::Signature);
        assert_eq!((found.legacy.len(), found.problems.len()), (1, 0));
        assert!(of(LegacyKind::Attestation).legacy.is_empty());
        refer(&vec![&old; 1001]);
        let found = of(LegacyKind::Signature);
        assert_eq!((found.legacy.len(), found.problems.len()), (1, 1));
        assert!(of(LegacyKind::Attestation).problems.is_empty());
    }
}
