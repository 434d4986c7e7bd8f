//! The registry's files. Every write of a name is a rename, so a reader sees the old content or the new one.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use keys::{HashAlgorithm, Hasher};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::fs;
use tokio::io::AsyncWriteExt as _;

use super::name::{Digest, Reference, Repository, Tag};

/// Largest manifest (OCI distribution 1.1, "Pushing manifests": registries should take at least 4 MiB).
pub(super) const MANIFEST_MAX: usize = 4 << 20;

/// Largest blob: a development image's layer.
pub(super) const BLOB_MAX: u64 = 1 << 30;

/// Uploads in progress at one time.
const UPLOADS_MAX: usize = 256;

/// An upload that began this long ago may make room for another.
const ABANDONED: Duration = Duration::from_mins(15);

/// Most parts of one manifest.
const PARTS_MAX: usize = 10_000;

/// Most names listed in one folder before we answer; the answer is paged above.
const LIST_MAX: usize = 100_000;

/// Why the registry cannot do it.
#[derive(Debug, Error)]
pub enum StorageError {
    /// No such blob, manifest, tag, repository or upload.
    #[error("{0} is not here")]
    NotFound(&'static str),
    /// The content has another digest than was claimed.
    #[error("the content has the digest {actual}, not {claimed}")]
    DigestMismatch {
        /// What the client said.
        claimed: Digest,
        /// What we calculated.
        actual: Digest,
    },
    /// The upload goes on at another place.
    #[error("the upload has {offset} bytes so far")]
    Offset {
        /// Where it goes on.
        offset: u64,
    },
    /// Too large.
    #[error("more than {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// Too many uploads at one time.
    #[error("too many uploads in progress")]
    Busy,
    /// Not a manifest.
    #[error("not a manifest: {0}")]
    Manifest(String),
    /// A manifest names something that was not pushed before it.
    #[error("the manifest names {0}, which this repository does not have")]
    MissingPart(Digest),
    /// The disk.
    #[error("storage failed")]
    Io(#[from] io::Error),
    /// No randomness for a name.
    #[error("no randomness")]
    Random(#[from] signer::SignerError),
}

/// One entry of an index; what the referrers API lists.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Descriptor {
    pub(super) media_type: String,
    pub(super) digest: String,
    pub(super) size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) artifact_type: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) annotations: BTreeMap<String, String>,
}

/// The parts of a manifest or index that a registry looks at.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    media_type: Option<String>,
    artifact_type: Option<String>,
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Vec<Descriptor>,
    #[serde(default)]
    manifests: Vec<Descriptor>,
    subject: Option<Descriptor>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

/// A manifest as it is sent.
pub(super) struct StoredManifest {
    pub(super) digest: Digest,
    pub(super) media_type: String,
    pub(super) content: Vec<u8>,
}

/// A manifest as it was taken.
pub(super) struct TakenManifest {
    pub(super) digest: Digest,
    pub(super) subject: Option<Digest>,
}

/// The registry's folder.
#[derive(Debug)]
pub struct Storage {
    folder: PathBuf,
    /// Each upload has its own lock, held while bytes are written; this one is held only to find it.
    uploads: Mutex<HashMap<String, Running>>,
}

#[derive(Clone, Debug)]
struct Running {
    since: Instant,
    upload: Arc<tokio::sync::Mutex<Upload>>,
}

struct Upload {
    path: PathBuf,
    file: fs::File,
    hasher: Hasher,
    length: u64,
}

impl std::fmt::Debug for Upload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upload")
            .field("path", &self.path)
            .field("length", &self.length)
            .finish_non_exhaustive()
    }
}

impl Storage {
    /// Opens the folder, makes it if there is none, and forgets unfinished uploads.
    pub async fn open(folder: &Path) -> Result<Self, StorageError> {
        let uploads = folder.join("uploads");
        match fs::remove_dir_all(&uploads).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        for part in [uploads, folder.join("blobs"), folder.join("repositories")] {
            fs::create_dir_all(part).await?;
        }
        Ok(Self {
            folder: folder.to_owned(),
            uploads: Mutex::default(),
        })
    }

    fn repository(&self, repository: &Repository, part: &str) -> PathBuf {
        self.folder
            .join("repositories")
            .join(repository.as_str())
            .join(part)
    }

    fn blob(&self, digest: &Digest) -> PathBuf {
        self.folder.join("blobs").join(digest.hex())
    }

    /// Begins an upload and names it.
    pub(super) async fn begin(&self) -> Result<String, StorageError> {
        let id = hex::encode(signer::random::bytes::<16>()?);
        self.make_room().await?;
        let path = self.folder.join("uploads").join(&id);
        let file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&path)
            .await?;
        let upload = Upload {
            path,
            file,
            hasher: Hasher::new(HashAlgorithm::Sha256),
            length: 0,
        };
        self.table().insert(
            id.clone(),
            Running {
                since: Instant::now(),
                upload: Arc::new(tokio::sync::Mutex::new(upload)),
            },
        );
        Ok(id)
    }

    /// Gives up the oldest upload if the table is full and nobody could still be working on it.
    async fn make_room(&self) -> Result<(), StorageError> {
        let oldest = {
            let table = self.table();
            if table.len() < UPLOADS_MAX {
                return Ok(());
            }
            table
                .iter()
                .min_by_key(|(_, running)| running.since)
                .map(|(id, running)| (id.clone(), running.since))
        };
        match oldest {
            Some((id, since)) if since.elapsed() > ABANDONED => self.cancel(&id).await,
            _ => Err(StorageError::Busy),
        }
    }

    fn table(&self) -> std::sync::MutexGuard<'_, HashMap<String, Running>> {
        self.uploads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn upload(&self, id: &str) -> Result<Arc<tokio::sync::Mutex<Upload>>, StorageError> {
        self.table()
            .get(id)
            .map(|running| Arc::clone(&running.upload))
            .ok_or(StorageError::NotFound("the upload"))
    }

    /// How many bytes the upload has.
    pub(super) async fn offset(&self, id: &str) -> Result<u64, StorageError> {
        Ok(self.upload(id)?.lock().await.length)
    }

    /// Adds bytes; `at` is where the client believes to be.
    pub(super) async fn append(
        &self,
        id: &str,
        at: Option<u64>,
        chunk: &Bytes,
    ) -> Result<u64, StorageError> {
        let upload = self.upload(id)?;
        let mut upload = upload.lock().await;
        if at.is_some_and(|at| at != upload.length) {
            return Err(StorageError::Offset {
                offset: upload.length,
            });
        }
        let length = upload
            .length
            .saturating_add(u64::try_from(chunk.len()).unwrap_or(u64::MAX));
        if length > BLOB_MAX {
            return Err(StorageError::TooLarge { limit: BLOB_MAX });
        }
        upload.file.write_all(chunk).await?;
        upload.hasher.update(chunk);
        upload.length = length;
        Ok(length)
    }

    /// Forgets an upload.
    pub(super) async fn cancel(&self, id: &str) -> Result<(), StorageError> {
        let upload = self
            .table()
            .remove(id)
            .ok_or(StorageError::NotFound("the upload"))?
            .upload;
        let upload = upload.lock().await;
        Ok(fs::remove_file(&upload.path).await?)
    }

    /// Ends an upload: what was sent becomes a blob of the repository, if it has the digest that the client says.
    pub(super) async fn finish(
        &self,
        id: &str,
        repository: &Repository,
        claimed: &Digest,
    ) -> Result<(), StorageError> {
        // Out of the table first: from here on nobody else finds it.
        let upload = self
            .table()
            .remove(id)
            .ok_or(StorageError::NotFound("the upload"))?
            .upload;
        let mut upload = upload.lock().await;
        let hasher = std::mem::replace(&mut upload.hasher, Hasher::new(HashAlgorithm::Sha256));
        let actual = Digest::from_hex(&hex::encode(hasher.finish().bytes()))
            .ok_or(StorageError::NotFound("the upload"))?;
        if actual != *claimed {
            fs::remove_file(&upload.path).await?;
            return Err(StorageError::DigestMismatch {
                claimed: claimed.clone(),
                actual,
            });
        }
        upload.file.flush().await?;
        upload.file.sync_data().await?;
        fs::rename(&upload.path, self.blob(claimed)).await?;
        self.link(repository, "_blobs", claimed.hex(), b"").await
    }

    /// Lets `repository` have a blob that `from` has; false if `from` has none.
    pub(super) async fn mount(
        &self,
        from: &Repository,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<bool, StorageError> {
        if !self.has_blob(from, digest).await? {
            return Ok(false);
        }
        self.link(repository, "_blobs", digest.hex(), b"").await?;
        Ok(true)
    }

    async fn has_blob(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<bool, StorageError> {
        Ok(fs::try_exists(self.repository(repository, "_blobs").join(digest.hex())).await?)
    }

    /// A blob of the repository, open for reading, and its length.
    pub(super) async fn read_blob(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<(fs::File, u64), StorageError> {
        if !self.has_blob(repository, digest).await? {
            return Err(StorageError::NotFound("the blob"));
        }
        let file = fs::File::open(self.blob(digest)).await?;
        let length = file.metadata().await?.len();
        Ok((file, length))
    }

    /// Takes a manifest under a tag or its digest.
    pub(super) async fn put_manifest(
        &self,
        repository: &Repository,
        reference: &Reference,
        content_type: &str,
        content: &[u8],
    ) -> Result<TakenManifest, StorageError> {
        if content.len() > MANIFEST_MAX {
            return Err(StorageError::TooLarge {
                limit: u64::try_from(MANIFEST_MAX).unwrap_or(u64::MAX),
            });
        }
        let digest = Digest::of(content);
        if let Reference::Digest(claimed) = reference
            && *claimed != digest
        {
            return Err(StorageError::DigestMismatch {
                claimed: claimed.clone(),
                actual: digest,
            });
        }
        let manifest: Manifest = serde_json::from_slice(content)
            .map_err(|error| StorageError::Manifest(error.to_string()))?;
        if manifest
            .media_type
            .as_deref()
            .is_some_and(|inside| inside != content_type)
        {
            return Err(StorageError::Manifest(
                "its media type is not that of the request".to_owned(),
            ));
        }
        self.check_parts(repository, &manifest).await?;
        let subject = match &manifest.subject {
            None => None,
            Some(subject) => Some(digest_of(subject)?),
        };
        write(&self.folder.join("uploads"), &self.blob(&digest), content).await?;
        self.link(
            repository,
            "_manifests",
            digest.hex(),
            content_type.as_bytes(),
        )
        .await?;
        if let Some(subject) = &subject {
            // Image specification 1.1: without an artifact type, that of the config stands for it.
            let artifact_type = manifest
                .artifact_type
                .or(manifest.config.map(|config| config.media_type));
            let descriptor = Descriptor {
                media_type: content_type.to_owned(),
                digest: digest.to_string(),
                size: u64::try_from(content.len()).unwrap_or(u64::MAX),
                artifact_type,
                annotations: manifest.annotations,
            };
            let text = serde_json::to_vec(&descriptor)
                .map_err(|error| StorageError::Manifest(error.to_string()))?;
            self.link(
                repository,
                &format!("_referrers/{}", subject.hex()),
                digest.hex(),
                &text,
            )
            .await?;
        }
        if let Reference::Tag(tag) = reference {
            self.link(
                repository,
                "_tags",
                tag.as_str(),
                digest.to_string().as_bytes(),
            )
            .await?;
        }
        Ok(TakenManifest { digest, subject })
    }

    async fn check_parts(
        &self,
        repository: &Repository,
        manifest: &Manifest,
    ) -> Result<(), StorageError> {
        if manifest.layers.len() + manifest.manifests.len() > PARTS_MAX {
            return Err(StorageError::Manifest(format!(
                "more than {PARTS_MAX} parts"
            )));
        }
        for blob in manifest.config.iter().chain(&manifest.layers) {
            let digest = digest_of(blob)?;
            if !self.has_blob(repository, &digest).await? {
                return Err(StorageError::MissingPart(digest));
            }
        }
        for child in &manifest.manifests {
            let digest = digest_of(child)?;
            if !fs::try_exists(self.repository(repository, "_manifests").join(digest.hex())).await?
            {
                return Err(StorageError::MissingPart(digest));
            }
        }
        Ok(())
    }

    /// A manifest by tag or digest.
    pub(super) async fn read_manifest(
        &self,
        repository: &Repository,
        reference: &Reference,
    ) -> Result<StoredManifest, StorageError> {
        const MISSING: StorageError = StorageError::NotFound("the manifest");
        let digest = match reference {
            Reference::Digest(digest) => digest.clone(),
            Reference::Tag(tag) => {
                let text = read_text(&self.repository(repository, "_tags").join(tag.as_str()))
                    .await?
                    .ok_or(MISSING)?;
                Digest::parse(&text).ok_or(MISSING)?
            }
        };
        let media_type = read_text(&self.repository(repository, "_manifests").join(digest.hex()))
            .await?
            .ok_or(MISSING)?;
        let content = fs::read(self.blob(&digest)).await?;
        Ok(StoredManifest {
            digest,
            media_type,
            content,
        })
    }

    /// Removes a tag, or a manifest with all that points to it here. Blobs stay: other repositories may have them.
    pub(super) async fn delete_manifest(
        &self,
        repository: &Repository,
        reference: &Reference,
    ) -> Result<(), StorageError> {
        match reference {
            Reference::Tag(tag) => {
                remove(&self.repository(repository, "_tags").join(tag.as_str())).await
            }
            Reference::Digest(digest) => {
                let stored = self.read_manifest(repository, reference).await?;
                let subject = serde_json::from_slice::<Manifest>(&stored.content)
                    .ok()
                    .and_then(|manifest| manifest.subject);
                if let Some(subject) = subject
                    .as_ref()
                    .and_then(|subject| Digest::parse(&subject.digest))
                {
                    let entry = self
                        .repository(repository, "_referrers")
                        .join(subject.hex())
                        .join(digest.hex());
                    match remove(&entry).await {
                        Ok(()) | Err(StorageError::NotFound(_)) => {}
                        Err(error) => return Err(error),
                    }
                }
                for tag in self.tags(repository).await? {
                    let path = self.repository(repository, "_tags").join(tag.as_str());
                    if read_text(&path)
                        .await?
                        .is_some_and(|text| text == digest.to_string())
                    {
                        remove(&path).await?;
                    }
                }
                remove(&self.repository(repository, "_manifests").join(digest.hex())).await
            }
        }
    }

    /// The tags of a repository, sorted.
    pub(super) async fn tags(&self, repository: &Repository) -> Result<Vec<Tag>, StorageError> {
        if !fs::try_exists(self.repository(repository, "_manifests")).await? {
            return Err(StorageError::NotFound("the repository"));
        }
        Ok(list(&self.repository(repository, "_tags"))
            .await?
            .iter()
            .filter_map(|name| Tag::parse(name))
            .collect())
    }

    /// The manifests whose subject is `digest`, sorted by digest. None known is an empty list, also for a subject that is not here.
    pub(super) async fn referrers(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<Vec<Descriptor>, StorageError> {
        let folder = self.repository(repository, "_referrers").join(digest.hex());
        let mut found = Vec::new();
        for name in list(&folder).await? {
            let text = read_text(&folder.join(&name)).await?.unwrap_or_default();
            if let Ok(descriptor) = serde_json::from_str(&text) {
                found.push(descriptor);
            }
        }
        Ok(found)
    }

    async fn link(
        &self,
        repository: &Repository,
        part: &str,
        name: &str,
        content: &[u8],
    ) -> Result<(), StorageError> {
        let folder = self.repository(repository, part);
        fs::create_dir_all(&folder).await?;
        write(&self.folder.join("uploads"), &folder.join(name), content).await
    }
}

fn digest_of(descriptor: &Descriptor) -> Result<Digest, StorageError> {
    Digest::parse(&descriptor.digest)
        .ok_or_else(|| StorageError::Manifest("a digest in it is not a sha256".to_owned()))
}

/// Writes a file so that it is there as a whole or not at all; `temporary` is a folder on the same disk.
async fn write(temporary: &Path, path: &Path, content: &[u8]) -> Result<(), StorageError> {
    let draft = temporary.join(format!(
        "{}.draft",
        hex::encode(signer::random::bytes::<16>()?)
    ));
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&draft)
        .await?;
    file.write_all(content).await?;
    file.flush().await?;
    file.sync_data().await?;
    fs::rename(&draft, path).await?;
    Ok(())
}

async fn remove(path: &Path) -> Result<(), StorageError> {
    match fs::remove_file(path).await {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(StorageError::NotFound("the manifest"))
        }
        Err(error) => Err(error.into()),
    }
}

async fn read_text(path: &Path) -> Result<Option<String>, StorageError> {
    match fs::read_to_string(path).await {
        Ok(text) => Ok(Some(text)),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

async fn list(folder: &Path) -> Result<Vec<String>, StorageError> {
    let mut entries = match fs::read_dir(folder).await {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    let mut names = Vec::new();
    while let Some(entry) = entries.next_entry().await? {
        if names.len() >= LIST_MAX {
            break;
        }
        names.extend(entry.file_name().into_string().ok());
    }
    names.sort_unstable();
    Ok(names)
}
