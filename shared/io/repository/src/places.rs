//! Copies of the published folder elsewhere: other folders, tar files, buckets, registries.
//!
//! Everywhere the same order: contents of targets, delegated roles, targets, snapshots, then the timestamp, then roots, so that a reader in the
//! middle sees the old repository as a whole; see [`publish`](crate::publish) for why roots come last. Where a copy has neither been behind a
//! root, nor has a timestamp for it, that is: where it begins, roots come first.

use std::collections::BTreeSet;
use std::path::Path;

use object_store::aws::AmazonS3Builder;
use object_store::path::Path as Key;
use object_store::{
    Attribute, Attributes, ObjectStore, ObjectStoreExt as _, PutOptions, PutPayload,
};
use store::Disk;
use store::fs::Folder;
use tuf::RoleName;
use tuf::document::target_path;

use crate::error::RepositoryError;
use crate::policy::{Bucket, Place};
use crate::published::{self, Held};
use crate::repository::{Repository, Writer, path};

/// Files that decide what is current: no cache may hold them back.
const FRESH: &str = "no-store";
/// Files whose name says what is in them.
const IMMUTABLE: &str = "public, max-age=31536000, immutable";
/// Largest file.
const FILE_MAX: u64 = 16 << 20;

/// What a cache between us and a client may do with a file.
pub fn cache_control(name: &str) -> &'static str {
    if name == "timestamp.json" || name.ends_with("root.json") {
        FRESH
    } else {
        IMMUTABLE
    }
}

/// Whether that is what a registry says where there is nothing, or something that is no repository: then it is replaced.
const fn is_no_repository(error: &oci::OciError) -> bool {
    matches!(
        error,
        oci::OciError::NotFound { .. }
            | oci::OciError::Malformed { .. }
            | oci::OciError::Digest { .. }
    )
}

/// What became of the copies, place by place.
#[derive(Debug, Default)]
pub struct Copied {
    /// Where one is, and what was written for it.
    pub done: Vec<String>,
    /// Where none could be made, and why.
    pub failed: Vec<String>,
}

impl Copied {
    /// An error where a place has no copy.
    pub fn whole(self) -> Result<(), RepositoryError> {
        if self.failed.is_empty() {
            Ok(())
        } else {
            Err(RepositoryError::Places(self.failed))
        }
    }
}

impl Writer<'_> {
    /// Copies everything to every place of the policy; a place that is away keeps no other one from its copy. Only who may write does: two that
    /// copy at the same time could put an older timestamp over a newer one. What failed is made up for by the next call, as each compares what is
    /// there.
    pub async fn copy_out(&self) -> Copied {
        let mut copied = Copied::default();
        for place in &self.repository().policy().places {
            match self.copy_to(place).await {
                Ok(done) => copied.done.push(done),
                Err(error) => copied.failed.push(published::chain(&error)),
            }
        }
        copied
    }

    async fn copy_to(&self, place: &Place) -> Result<String, RepositoryError> {
        let repository = self.repository();
        Ok(match place {
            Place::Folder(folder) => format!(
                "{}: {} files",
                folder.display(),
                repository.copy_to_folder(folder)?
            ),
            Place::Tar(file) => {
                repository.copy_to_tar(file)?;
                format!("{}: written", file.display())
            }
            Place::Registry(reference) => {
                let (digest, written) = repository.copy_to_registry(reference).await?;
                let word = if written { "written" } else { "there already" };
                format!("oci://{reference}: {word}, {digest}")
            }
            Place::Bucket(bucket) => {
                let files = repository.copy_to_bucket(bucket).await?;
                format!("bucket {}: {files} files", bucket.bucket)
            }
        })
    }
}

impl Repository {
    /// All published files, in the order in which they are copied.
    pub fn published_names(&self) -> Result<Vec<String>, RepositoryError> {
        let mut names = Vec::new();
        self.walk_folder("published", &mut names)?;
        let mut names: Vec<String> = names
            .iter()
            .filter_map(|name| name.strip_prefix("published/").map(str::to_owned))
            .collect();
        names.sort_by_key(|name| (rank(name), number(name), name.clone()));
        Ok(names)
    }

    fn walk_folder(&self, folder: &str, names: &mut Vec<String>) -> Result<(), RepositoryError> {
        for name in self.list(folder)? {
            let whole = format!("{folder}/{name}");
            if self.published_is_file(&whole)? {
                names.push(whole);
            } else {
                self.walk_folder(&whole, names)?;
            }
        }
        Ok(())
    }

    fn published_is_file(&self, name: &str) -> Result<bool, RepositoryError> {
        let there = self.disk().read_range(&path(name)?, 0, 1);
        there
            .map(|found| found.is_some())
            .map_err(|source| RepositoryError::Disk {
                path: name.to_owned(),
                action: "reading it",
                source,
            })
    }

    /// Copies to another folder of this machine; how many files were written.
    pub fn copy_to_folder(&self, folder: &Path) -> Result<usize, RepositoryError> {
        let failed = |what: std::io::Error| RepositoryError::Place {
            place: folder.display().to_string(),
            what: what.to_string(),
        };
        let disk = Folder::open(folder).map_err(failed)?;
        let mut names = self.published_names()?;
        match disk
            .read(&path("timestamp.json")?, FILE_MAX)
            .map_err(failed)?
        {
            None => begin(&mut names),
            Some(there) => self
                .not_behind(&there)
                .map_err(|what| failed(std::io::Error::other(what)))?,
        }
        let mut written = 0;
        for name in names {
            let Some(content) = self.published_file(&name)? else {
                continue;
            };
            let to = path(&name)?;
            if disk
                .read(&to, FILE_MAX)
                .map_err(failed)?
                .is_some_and(|there| there == content)
            {
                continue;
            }
            disk.replace_durable(&to, &content).map_err(failed)?;
            written += 1;
        }
        Ok(written)
    }

    /// All files in one gzipped tar file, the same bytes for the same files: no times, no owners.
    pub fn tar(&self) -> Result<Vec<u8>, RepositoryError> {
        let failed = |what: std::io::Error| RepositoryError::Place {
            place: "a tar file".to_owned(),
            what: what.to_string(),
        };
        let gzip = flate2::GzBuilder::new()
            .mtime(0)
            .write(Vec::new(), flate2::Compression::best());
        let mut tar = tar::Builder::new(gzip);
        let mut names = self.published_names()?;
        names.sort_unstable();
        for name in names {
            let Some(content) = self.published_file(&name)? else {
                continue;
            };
            let mut header = tar::Header::new_ustar();
            header.set_size(u64::try_from(content.len()).unwrap_or(u64::MAX));
            header.set_mode(0o644);
            header.set_mtime(0);
            tar.append_data(&mut header, &name, content.as_slice())
                .map_err(failed)?;
        }
        tar.into_inner()
            .and_then(flate2::write::GzEncoder::finish)
            .map_err(failed)
    }

    fn copy_to_tar(&self, file: &Path) -> Result<(), RepositoryError> {
        let failed = |what: String| RepositoryError::Place {
            place: file.display().to_string(),
            what,
        };
        let name = file
            .file_name()
            .and_then(|name| name.to_str())
            .ok_or_else(|| failed("no file name".to_owned()))?;
        let folder = file.parent().unwrap_or(Path::new("."));
        let disk = Folder::open(folder).map_err(|error| failed(error.to_string()))?;
        disk.replace_durable(&path(name)?, &self.tar()?)
            .map_err(|error| failed(error.to_string()))
    }

    /// Makes what is in force an artifact in a registry, and lets the tag point to it; its digest, and whether it was written. Versions that are not
    /// in force any more are left out, but for roots: a tag moves at once, so that nobody is in the middle of them.
    pub async fn copy_to_registry(
        &self,
        reference: &oci::Reference,
    ) -> Result<(keys::Digest, bool), RepositoryError> {
        let mut files = Vec::new();
        for name in self.names_in_force()? {
            if let Some(content) = self.published_file(&name)? {
                files.push(oci::ArtifactFile {
                    media_type: tuf::artifact::media_type(&name),
                    content: content.into(),
                    name,
                });
            }
        }
        let registry = oci::Registry::new(oci::Settings {
            keychain: oci::Keychain::Configured,
            ..oci::Settings::default()
        });
        let kind = oci::ArtifactKind {
            artifact_type: tuf::artifact::ARTIFACT_TYPE,
            name: tuf::artifact::FILE_NAME,
        };
        let failed = |what: String| RepositoryError::Place {
            place: format!("oci://{reference}"),
            what,
        };
        let timestamp = async {
            let limit = RoleName::TIMESTAMP.kind().size_max();
            let there = registry.artifact(reference, kind).await?;
            registry
                .artifact_file(&there, "timestamp.json", limit)
                .await
        };
        match timestamp.await {
            Ok(None) => {}
            Ok(Some(there)) => self.not_behind(&there).map_err(failed)?,
            Err(error) if is_no_repository(&error) => {}
            // A registry that does not answer may have a newer one.
            Err(error) => return Err(failed(published::chain(&error))),
        }
        let pushed = registry.push_artifact(reference, kind, &files).await;
        pushed.map_err(|error| failed(published::chain(&error)))
    }

    /// Is what a place has newer than what is here? Then somebody publishes there from another copy of this folder, and clients that have seen
    /// their timestamp would take ours for a rollback. What the online key has not signed as of our newest root is nobody's: it is replaced.
    fn not_behind(&self, there: &[u8]) -> Result<(), String> {
        let published = self.published().map_err(|error| published::chain(&error))?;
        let Some(published) = published else {
            return Ok(());
        };
        let Ok(there) = published::parse("timestamp.json", &RoleName::TIMESTAMP, there.to_vec())
        else {
            return Ok(());
        };
        let keys = published.root.document.signers(&RoleName::TIMESTAMP);
        let ours = keys.is_ok_and(|keys| {
            there
                .envelope()
                .is_ok_and(|envelope| envelope.verified(&keys).is_ok())
        });
        let (newer, here) = (there.document.version(), published.timestamp_version);
        match here {
            Some(here) if ours && newer > here => Err(format!(
                "it has timestamp {newer}, and this folder has {here}: somebody publishes there from another copy of it. Clients that have seen theirs \
                 would refuse ours as a rollback, so nothing was copied: take the files that are there into published/ first"
            )),
            _ => Ok(()),
        }
    }

    /// The files that a client reads who begins at any root.
    fn names_in_force(&self) -> Result<Vec<String>, RepositoryError> {
        let published = self
            .published()?
            .ok_or_else(|| RepositoryError::Missing("published/1.root.json".to_owned()))?;
        let file = |role: &RoleName, held: &Held| role.file_name(held.document.version());
        let mut wanted = BTreeSet::from(["timestamp.json".to_owned(), "root.json".to_owned()]);
        wanted.extend(
            self.versions(&RoleName::ROOT)?
                .into_iter()
                .map(|version| RoleName::ROOT.file_name(version)),
        );
        let top = [RoleName::TARGETS, RoleName::SNAPSHOT];
        let roles = top.iter().chain(published.delegated.keys());
        for role in roles {
            let held = published.of(role).ok_or_else(|| {
                RepositoryError::Missing(format!("{role} as the newest root accepts it"))
            })?;
            wanted.insert(file(role, held));
            if *role == RoleName::SNAPSHOT {
                continue;
            }
            for (name, content) in held.document.targets()? {
                wanted.insert(format!("targets/{}", target_path(&name, &content)));
            }
        }
        let mut names = self.published_names()?;
        names.retain(|name| wanted.contains(name));
        Ok(names)
    }

    /// Copies to a bucket; how many objects were put. What is there already in the same length and with a name that says its content stays.
    async fn copy_to_bucket(&self, place: &Bucket) -> Result<usize, RepositoryError> {
        let Bucket {
            bucket,
            prefix,
            region,
            endpoint,
            url,
        } = place;
        let failed = |what: String| RepositoryError::Place {
            place: format!("bucket {bucket}"),
            what,
        };
        let mut builder = AmazonS3Builder::from_env().with_bucket_name(bucket);
        builder = builder.with_region(region.as_deref().unwrap_or("us-east-1"));
        if let Some(endpoint) = endpoint {
            builder = builder
                .with_endpoint(endpoint.as_str().trim_end_matches('/'))
                .with_allow_http(client::is_loopback(endpoint));
        }
        let store = builder.build().map_err(|error| failed(error.to_string()))?;
        let put = self.copy_to_store(&store, prefix).await.map_err(&failed)?;
        if let Some(url) = url {
            self.probe(url).await?;
        }
        Ok(put)
    }

    async fn copy_to_store(&self, store: &dyn ObjectStore, prefix: &str) -> Result<usize, String> {
        let mut names = self.published_names().map_err(|error| error.to_string())?;
        let key = |name: &str| Key::from(format!("{prefix}{name}"));
        // A bucket that does not answer is not an empty one, in which roots would come first.
        match store.get(&key("timestamp.json")).await {
            Err(object_store::Error::NotFound { .. }) => begin(&mut names),
            Err(error) => return Err(format!("timestamp.json: {error}")),
            Ok(there) if there.meta.size > FILE_MAX => {}
            Ok(there) => {
                let there = there.bytes().await;
                self.not_behind(&there.map_err(|error| format!("timestamp.json: {error}"))?)?;
            }
        }
        let mut put = 0;
        for name in names {
            let content = self
                .published_file(&name)
                .map_err(|error| error.to_string())?;
            let Some(content) = content else { continue };
            let cached = cache_control(&name);
            let key = key(&name);
            let there = store.head(&key).await.ok().map(|meta| meta.size);
            if there.is_some()
                && there == u64::try_from(content.len()).ok()
                && name != "root.json"
                && name != "timestamp.json"
            {
                continue;
            }
            let mut attributes = Attributes::new();
            attributes.insert(Attribute::CacheControl, cached.into());
            attributes.insert(Attribute::ContentType, "application/json".into());
            let options = PutOptions {
                attributes,
                ..PutOptions::default()
            };
            let payload = PutPayload::from(content);
            store
                .put_opts(&key, payload, options)
                .await
                .map_err(|error| format!("{name}: {error}"))?;
            put += 1;
        }
        Ok(put)
    }

    /// Clients ask for the next root until it is missing. Where that is not a 404 (S3 says 403 to those who may not list, some hosts answer
    /// with a page), go-tuf and what stands on it fail.
    pub async fn probe(&self, url: &url::Url) -> Result<(), RepositoryError> {
        let failed = |what: String| RepositoryError::Place {
            place: url.to_string(),
            what,
        };
        let newest = self.versions(&tuf::RoleName::ROOT)?.last().copied();
        let next = newest
            .and_then(|newest| newest.next().ok())
            .ok_or_else(|| failed("no root".to_owned()))?;
        let base = url.as_str().trim_end_matches('/');
        let agent = client::Agent::new(client::Settings::default());
        for (name, expected) in [
            ("timestamp.json".to_owned(), 200),
            (format!("{next}.root.json"), 404),
        ] {
            let asked = url::Url::parse(&format!("{base}/{name}"))
                .map_err(|error| failed(error.to_string()))?;
            let answer = agent
                .send(&client::Call::get(asked))
                .await
                .map_err(|error| failed(format!("{name}: {error}")))?;
            let status = answer.status.as_u16();
            if status != expected {
                return Err(failed(format!(
                    "{name} is answered with {status}, and clients need {expected}: let everybody list the bucket, or map what is missing to 404"
                )));
            }
        }
        Ok(())
    }
}

/// For a copy that begins: nobody reads it yet, and with the timestamp last there is nothing to read before all is there.
fn begin(names: &mut [String]) {
    names.sort_by_key(|name| {
        (
            name == "timestamp.json",
            rank(name),
            number(name),
            name.clone(),
        )
    });
}

fn rank(name: &str) -> u8 {
    match name {
        "timestamp.json" => 4,
        "root.json" => 6,
        _ if name.starts_with("targets/") => 0,
        _ if name.ends_with(".root.json") => 5,
        _ if name.ends_with(".snapshot.json") => 3,
        _ if name.ends_with(".targets.json") => 2,
        _ => 1,
    }
}

fn number(name: &str) -> u64 {
    name.split('.')
        .next()
        .and_then(|number| number.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use jiff::Timestamp;
    use keys::Algorithm;
    use object_store::memory::InMemory;
    use signer::Signer;
    use store::sim::SimDisk;

    use super::*;
    use crate::{Beginning, Signers};

    async fn repository(now: Timestamp) -> (Repository, Signer) {
        let make = || Signer::generate(Algorithm::EcdsaP256Sha256).unwrap();
        let (offline, online) = (make(), make());
        let signers = Signers {
            keys: vec![offline.public_key().clone()],
            threshold: 1,
        };
        let beginning = Beginning {
            root: signers.clone(),
            targets: signers,
            online: online.public_key().clone(),
            contents: BTreeMap::from([("artifact.txt".to_owned(), b"one".to_vec())]),
        };
        let policy = crate::policy::EXAMPLE.replace("\"production\"", "\"development\"");
        let disk = Arc::new(SimDisk::new());
        let repository = Repository::init(disk, Path::new("t"), &policy, &beginning, now).unwrap();
        let writer = repository.write().unwrap();
        for role in [tuf::RoleName::ROOT, tuf::RoleName::TARGETS] {
            writer.sign(&role, &offline, now).await.unwrap();
        }
        writer
            .publish(std::slice::from_ref(&online), now)
            .await
            .unwrap();
        drop(writer);
        (repository, online)
    }

    #[tokio::test]
    async fn a_bucket_gets_each_file_once_with_its_cache_headers() {
        let now: Timestamp = "2026-11-28T10:00:00Z".parse().unwrap();
        let (repository, online) = repository(now).await;
        let bucket = InMemory::new();
        assert_eq!(repository.copy_to_store(&bucket, "tuf/").await, Ok(6));
        for (name, cached) in [
            ("timestamp.json", FRESH),
            ("1.root.json", FRESH),
            ("root.json", FRESH),
            ("1.snapshot.json", IMMUTABLE),
            ("1.targets.json", IMMUTABLE),
        ] {
            let object = bucket.get(&Key::from(format!("tuf/{name}"))).await.unwrap();
            let header = object.attributes.get(&Attribute::CacheControl).cloned();
            assert_eq!(header, Some(cached.into()), "{name}");
            let bytes = object.bytes().await.unwrap();
            assert_eq!(
                repository.published_file(name).unwrap().unwrap(),
                bytes,
                "{name}"
            );
        }
        // A new timestamp is all that changes; root.json is written with it, as it has no version in its name.
        let writer = repository.write().unwrap();
        let online = std::slice::from_ref(&online);
        writer
            .refresh(online, crate::Timestamp::Always, now)
            .await
            .unwrap();
        drop(writer);
        assert_eq!(repository.copy_to_store(&bucket, "tuf/").await, Ok(2));
        let object = bucket.get(&Key::from("tuf/timestamp.json")).await.unwrap();
        let there = object.bytes().await.unwrap();
        assert_eq!(
            repository
                .published_file("timestamp.json")
                .unwrap()
                .unwrap(),
            there
        );
    }

    /// Somebody else has a copy of the state folder, and refreshed it since: what clients have seen is not taken back.
    #[tokio::test]
    async fn a_place_that_is_ahead_of_this_folder_is_left_as_it_is() {
        let now: Timestamp = "2026-11-28T10:00:00Z".parse().unwrap();
        let (repository, online) = repository(now).await;
        let (bucket, folder) = (InMemory::new(), tempfile::tempdir().unwrap());
        repository.copy_to_store(&bucket, "").await.unwrap();
        repository.copy_to_folder(folder.path()).unwrap();
        let old = repository
            .published_file("timestamp.json")
            .unwrap()
            .unwrap();
        let writer = repository.write().unwrap();
        let by = std::slice::from_ref(&online);
        writer
            .refresh(by, crate::Timestamp::Always, now)
            .await
            .unwrap();
        repository.copy_to_store(&bucket, "").await.unwrap();
        repository.copy_to_folder(folder.path()).unwrap();
        let newer = repository
            .published_file("timestamp.json")
            .unwrap()
            .unwrap();
        // As it is in the older copy.
        writer.put("published/timestamp.json", &old).unwrap();
        let refused = repository.copy_to_store(&bucket, "").await.unwrap_err();
        assert!(
            refused.contains("it has timestamp 2, and this folder has 1"),
            "{refused}"
        );
        let refused = repository.copy_to_folder(folder.path()).unwrap_err();
        assert!(refused.to_string().contains("as a rollback"), "{refused}");
        let key = Key::from("timestamp.json");
        let there = bucket.get(&key).await.unwrap().bytes().await.unwrap();
        assert_eq!(newer, there);
        // What nobody of us signed stands in no way, whatever version it claims.
        let text = String::from_utf8(newer).unwrap();
        let forged = text.replacen("\"version\": 2", "\"version\": 99", 1);
        assert_ne!(forged, text);
        for junk in [forged.as_str(), "<html>"] {
            std::fs::write(folder.path().join("timestamp.json"), junk).unwrap();
            bucket.put(&key, junk.to_owned().into()).await.unwrap();
            assert_eq!(repository.copy_to_folder(folder.path()).unwrap(), 1);
            repository.copy_to_store(&bucket, "").await.unwrap();
            let there = bucket.get(&key).await.unwrap().bytes().await.unwrap();
            assert_eq!(old, there);
        }
    }

    /// It has a repository and does not give its timestamp away: nobody knows whether that is newer than ours.
    #[tokio::test]
    async fn a_registry_that_does_not_say_what_it_has_is_not_written_to() {
        use axum::http::{Method, StatusCode};

        let now: Timestamp = "2026-11-28T10:00:00Z".parse().unwrap();
        let (repository, _) = repository(now).await;
        let timestamp = serde_json::json!({
            "mediaType": tuf::artifact::media_type("timestamp.json"),
            "digest": format!("sha256:{}", "0".repeat(64)),
            "size": 3,
            "annotations": { tuf::artifact::FILE_NAME: "timestamp.json" },
        });
        let manifest = serde_json::json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "artifactType": tuf::artifact::ARTIFACT_TYPE,
            "layers": [timestamp],
        })
        .to_string();
        // What the blob is answered with, and whether the registry is written to then.
        for (status, written) in [
            (StatusCode::FORBIDDEN, false),
            (StatusCode::NOT_FOUND, true),
        ] {
            let (writes, manifest) = (Arc::<AtomicUsize>::default(), manifest.clone());
            let seen = Arc::clone(&writes);
            let answer = move |method: Method, uri: axum::http::Uri| async move {
                if method != Method::GET && method != Method::HEAD {
                    seen.fetch_add(1, Ordering::SeqCst);
                    return (StatusCode::FORBIDDEN, String::new());
                }
                if uri.path().contains("/manifests/") {
                    (StatusCode::OK, manifest)
                } else {
                    (status, String::new())
                }
            };
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let at = format!("{}/team/root:latest", listener.local_addr().unwrap());
            let router = axum::Router::new().fallback(answer);
            tokio::spawn(async move { axum::serve(listener, router).await });
            let at = oci::Reference::parse(&at).unwrap();
            let refused = repository.copy_to_registry(&at).await.unwrap_err();
            assert!(
                matches!(refused, RepositoryError::Place { .. }),
                "{refused}"
            );
            assert_eq!(
                writes.load(Ordering::SeqCst) > 0,
                written,
                "{status}: {refused}"
            );
        }
    }

    #[test]
    fn the_order_of_copies_shows_no_reader_half_of_it() {
        let mut names: Vec<String> = [
            "2.root.json",
            "10.root.json",
            "root.json",
            "timestamp.json",
            "3.snapshot.json",
            "2.targets.json",
            "1.team.json",
            "targets/ab.x",
        ]
        .map(str::to_owned)
        .to_vec();
        names.sort_by_key(|name| (rank(name), number(name), name.clone()));
        assert_eq!(
            names,
            [
                "targets/ab.x",
                "1.team.json",
                "2.targets.json",
                "3.snapshot.json",
                "timestamp.json",
                "2.root.json",
                "10.root.json",
                "root.json"
            ]
        );
        begin(&mut names);
        assert_eq!(names.last().map(String::as_str), Some("timestamp.json"));
    }
}
