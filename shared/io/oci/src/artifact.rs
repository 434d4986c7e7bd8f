//! Files under names as one artifact: how a folder travels through a registry. What is in them is opaque here.

use std::collections::BTreeMap;

use bytes::Bytes;
use keys::Digest;
use serde::Deserialize;
use serde_json::json;

use crate::error::OciError;
use crate::manifest::{ACCEPT, Descriptor, EMPTY_TYPE, IMAGE_TYPE, MANIFEST_MAX};
use crate::reference::{Reference, Repository};
use crate::registry::Registry;

/// The most files of one artifact; a manifest of them has the size that registries take.
const FILES_MAX: usize = 10_000;
/// The annotation that tools write files by (image spec, "Pre-Defined Annotation Keys").
const TITLE: &str = "org.opencontainers.image.title";

/// What an artifact is, and where the names of its files stand.
#[derive(Debug, Clone, Copy)]
pub struct ArtifactKind {
    /// `artifactType`.
    pub artifact_type: &'static str,
    /// The annotation of a layer with its file's name.
    pub name: &'static str,
}

/// A file of an artifact to be.
#[derive(Debug, Clone)]
pub struct ArtifactFile {
    /// Its name.
    pub name: String,
    /// What it is.
    pub media_type: &'static str,
    /// Its content.
    pub content: Bytes,
}

/// Where the files of an artifact are.
#[derive(Debug, Clone)]
pub struct Artifact {
    repository: Repository,
    digest: Digest,
    files: BTreeMap<String, Descriptor>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Read {
    #[serde(default)]
    artifact_type: Option<String>,
    #[serde(default)]
    layers: Vec<Descriptor>,
}

impl Registry {
    /// Lets a tag point to an artifact of these files. The tag is written last, so that a reader sees the old one as a whole or the new one. The same
    /// files make the same manifest; where the tag is that one already, nothing is written, which is what comes back.
    pub async fn push_artifact(
        &self,
        at: &Reference,
        kind: ArtifactKind,
        files: &[ArtifactFile],
    ) -> Result<(Digest, bool), OciError> {
        let what = format!("writing {at}");
        let wrong = |why: String| OciError::Malformed {
            what: what.clone(),
            why,
        };
        let (Some(tag), None) = (&at.tag, &at.digest) else {
            return Err(wrong("an artifact is written under a tag".to_owned()));
        };
        let empty = Bytes::from_static(b"{}");
        let layers: Vec<Descriptor> = files
            .iter()
            .map(|file| Descriptor {
                annotations: Some(BTreeMap::from([
                    (kind.name.to_owned(), file.name.clone()),
                    (TITLE.to_owned(), file.name.clone()),
                ])),
                ..Descriptor::of(file.media_type, &file.content)
            })
            .collect();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": IMAGE_TYPE,
            "artifactType": kind.artifact_type,
            "config": Descriptor::of(EMPTY_TYPE, &empty),
            "layers": layers,
        });
        let manifest = Bytes::from(manifest.to_string());
        if files.len() > FILES_MAX || manifest.len() > MANIFEST_MAX {
            return Err(wrong(format!(
                "{} files are too many for one manifest",
                files.len()
            )));
        }
        let digest = Descriptor::of(IMAGE_TYPE, &manifest).digest;
        let there = self.manifest(&what, &at.repository, tag, ACCEPT).await?;
        if there.is_some_and(|there| there.body == manifest) {
            return Ok((digest, false));
        }
        self.push_blob(&at.repository, EMPTY_TYPE, empty).await?;
        for file in files {
            self.push_blob(&at.repository, file.media_type, file.content.clone())
                .await?;
        }
        self.push_manifest(&at.repository, tag, IMAGE_TYPE, manifest)
            .await?;
        Ok((digest, true))
    }

    /// Looks which files an artifact has. Of two of one name nobody could say which is meant, so that is an error.
    pub async fn artifact(&self, at: &Reference, kind: ArtifactKind) -> Result<Artifact, OciError> {
        let image = self.image(at).await?;
        let wrong = |why: String| OciError::Malformed {
            what: format!("reading {at}"),
            why,
        };
        let read: Read =
            serde_json::from_slice(&image.manifest).map_err(|error| wrong(error.to_string()))?;
        if read.artifact_type.as_deref() != Some(kind.artifact_type) {
            return Err(wrong(format!(
                "it is {}, and not {}",
                read.artifact_type.as_deref().unwrap_or("an image"),
                kind.artifact_type
            )));
        }
        if read.layers.len() > FILES_MAX {
            return Err(wrong(format!("more than {FILES_MAX} files")));
        }
        let mut files = BTreeMap::new();
        for mut layer in read.layers {
            let annotations = layer.annotations.take().unwrap_or_default();
            let Some(name) = annotations.get(kind.name) else {
                continue;
            };
            if files.insert(name.clone(), layer).is_some() {
                return Err(wrong(format!("it has two files {name:?}")));
            }
        }
        Ok(Artifact {
            repository: at.repository.clone(),
            digest: image.descriptor.digest,
            files,
        })
    }

    /// Reads a file of at most `limit` bytes; none if the artifact has none of this name.
    pub async fn artifact_file(
        &self,
        artifact: &Artifact,
        name: &str,
        limit: usize,
    ) -> Result<Option<Bytes>, OciError> {
        match artifact.files.get(name) {
            None => Ok(None),
            Some(descriptor) => self
                .blob(&artifact.repository, descriptor, limit)
                .await
                .map(Some),
        }
    }
}

impl Artifact {
    /// The digest of its manifest.
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// The names of its files.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }
}
