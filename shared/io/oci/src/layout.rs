//! Image layouts (image spec 1.1, "Image Layout Specification"): images and their signatures in a folder, without a registry.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use keys::Digest;
use serde_json::{Map, Value, json};
use thiserror::Error;

use crate::OciError;
use crate::manifest::{Descriptor, INDEX_TYPE, Image, MANIFEST_MAX, Manifest};
use crate::referrers::{Attached, Found, Problem, bundle_layer, entries};

/// The most blobs that are looked through for signatures.
const BLOBS_MAX: usize = 100_000;
/// cosign's mark on an index entry.
const KIND: &str = "kind";
const KINDS: [&str; 2] = [
    "dev.cosignproject.cosign/image",
    "dev.cosignproject.cosign/imageIndex",
];
const LAYOUT: &str = "{\"imageLayoutVersion\":\"1.0.0\"}";

/// A folder with images.
#[derive(Debug, Clone)]
pub struct Layout {
    folder: PathBuf,
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
        let layout = Self {
            folder: folder.to_owned(),
        };
        let marker = layout.json("oci-layout")?;
        match marker.get("imageLayoutVersion").and_then(Value::as_str) {
            Some(version) if version.starts_with("1.") => Ok(layout),
            other => Err(layout.not_a_layout(format!("version {other:?}, expected 1.x"))),
        }
    }

    /// Makes a folder into an empty layout.
    pub fn create(folder: &Path) -> Result<Self, LayoutError> {
        let layout = Self {
            folder: folder.to_owned(),
        };
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
        let descriptors: Vec<Descriptor> = entries(&self.json("index.json")?)
            .into_iter()
            .filter_map(|entry| serde_json::from_value(entry).ok())
            .collect();
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

    /// The bundles that are attached to an image: all manifests in the folder are looked at, since tools differ in whether they list them.
    pub fn bundles(&self, subject: &Digest) -> Result<Found, LayoutError> {
        let mut found = Found::default();
        let folder = self.folder.join("blobs").join("sha256");
        let file = |source| LayoutError::File {
            path: folder.clone(),
            source,
        };
        let mut names = BTreeMap::new();
        for entry in fs::read_dir(&folder).map_err(file)? {
            let entry = entry.map_err(file)?;
            let small = entry
                .metadata()
                .is_ok_and(|data| data.is_file() && data.len() <= 64 * 1024);
            let name = entry.file_name().to_string_lossy().into_owned();
            if let (true, Ok(digest)) = (small, Digest::parse(&format!("sha256:{name}"))) {
                names.insert(name, digest);
            }
            if names.len() > BLOBS_MAX {
                return Err(self.not_a_layout(format!("more than {BLOBS_MAX} blobs")));
            }
        }
        for digest in names.into_values() {
            // A small file that is no manifest is a configuration or a layer.
            let Ok(bytes) = self.blob(&digest, MANIFEST_MAX) else {
                continue;
            };
            let Ok(manifest) = serde_json::from_slice::<Manifest>(&bytes) else {
                continue;
            };
            let Some(layer) = bundle_layer(&manifest, subject) else {
                continue;
            };
            match self.blob(&layer.digest, 16 * 1024 * 1024) {
                Ok(bundle) => found.attached.push(Attached {
                    manifest: digest,
                    media_type: layer.media_type.clone(),
                    bundle,
                    annotations: manifest.annotations.clone().unwrap_or_default(),
                }),
                Err(error) => found.problems.push(Problem {
                    what: digest.to_string(),
                    why: OciError::Malformed {
                        what: format!("reading {}", layer.digest),
                        why: error.to_string(),
                    },
                }),
            }
        }
        Ok(found)
    }

    /// A blob of at most `limit` bytes, compared with its digest.
    pub fn blob(&self, digest: &Digest, limit: usize) -> Result<Bytes, LayoutError> {
        let path = self
            .folder
            .join("blobs")
            .join(digest.algorithm().name())
            .join(digest.to_hex());
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
        let mut index = self.json("index.json")?;
        let mut manifests = entries(&index);
        let entry = serde_json::to_value(&descriptor)
            .map_err(|error| self.not_a_layout(error.to_string()))?;
        if !manifests.contains(&entry) {
            manifests.push(entry);
        }
        index.insert("manifests".to_owned(), Value::Array(manifests));
        let text =
            serde_json::to_vec(&index).map_err(|error| self.not_a_layout(error.to_string()))?;
        self.replace("index.json", &text)?;
        Ok(descriptor)
    }

    fn json(&self, name: &str) -> Result<Map<String, Value>, LayoutError> {
        let content = read(&self.folder.join(name), MANIFEST_MAX)?;
        serde_json::from_slice(&content)
            .map_err(|error| self.not_a_layout(format!("{name}: {error}")))
    }

    /// Writes beside and renames, so that nobody reads half a file.
    fn replace(&self, name: &str, content: &[u8]) -> Result<(), LayoutError> {
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

fn read(path: &Path, limit: usize) -> Result<Vec<u8>, LayoutError> {
    let file = |source| LayoutError::File {
        path: path.to_owned(),
        source,
    };
    let mut content = Vec::new();
    let bound = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
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
    }
}
