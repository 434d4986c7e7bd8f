//! The TUF repository of the stack: made on the first start, kept current afterwards, served as plain files.
//!
//! Two keys, as in Sigstore's own: one for root and targets, one for snapshot and timestamp. A start reads what is published,
//! verifies it like a client, and writes only what changed: a new targets version when a target changed, a new timestamp always.
//! The timestamp goes last, so that a client in the middle sees the old repository as a whole.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Weak};

use axum::Router;
use axum::extract::{Path as UrlPath, State as Shared};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use jiff::{SignedDuration, Timestamp as Time};
use signer::Signer;
use thiserror::Error;
use tuf::{
    AuthorError, Envelope, EnvelopeError, Key, KeyError, Metadata, MetadataError, Role, RoleKeys,
    Root, Signed, Snapshot, TargetFile, TargetName, Targets, Timestamp, Version,
};

use crate::state::{State, StateError};

/// What is served; beside it in the repository's own state folder are the keys.
pub const FOLDER: &str = "published";

/// Root, targets and snapshot: long, since a development stack has nobody to renew them by hand, and renewed by a start when half
/// of it is over.
const LONG: SignedDuration = SignedDuration::from_hours(24 * 365);

/// The timestamp, as in production (root-signing: timestamp expiry period).
const SHORT: SignedDuration = SignedDuration::from_hours(24 * 7);

/// How often a running repository looks whether the timestamp is due; it is when a day old.
const CHECK_EVERY: std::time::Duration = std::time::Duration::from_hours(1);
const RESIGN_AFTER: SignedDuration = SignedDuration::from_hours(24);

/// The repository cannot be made or continued.
#[derive(Debug, Error)]
pub enum RepositoryError {
    /// The disk.
    #[error(transparent)]
    State(#[from] StateError),
    /// A key that cannot sign here.
    #[error("TUF key")]
    Key(#[from] KeyError),
    /// A file of ours that we would not accept as a client.
    #[error(
        "published/{file} of the TUF repository is not acceptable: move the folder away to start a new repository, which clients have to be told about"
    )]
    Published {
        /// The file.
        file: String,
        /// Why.
        #[source]
        source: EnvelopeError,
    },
    /// A file that must be there is not.
    #[error(
        "published/{0} of the TUF repository is missing: move the folder away to start a new repository, which clients have to be told about"
    )]
    Missing(String),
    /// A version at its end, or a name that is no target.
    #[error("TUF metadata")]
    Metadata(#[from] MetadataError),
    /// We would write what clients refuse.
    #[error("TUF metadata")]
    Author(#[from] AuthorError),
    /// The private key could not sign.
    #[error("TUF signature")]
    Sign(#[from] signer::SignerError),
}

/// The private keys.
#[derive(Clone, Debug)]
pub struct Signers {
    /// Root and targets.
    pub offline: Signer,
    /// Snapshot and timestamp.
    pub online: Signer,
}

/// Makes the repository, or continues it, with exactly these targets.
pub async fn refresh(
    state: &State,
    signers: &Signers,
    contents: &BTreeMap<&str, Vec<u8>>,
    now: Time,
) -> Result<(), RepositoryError> {
    let author = Author {
        state,
        signers,
        now,
    };
    let root = author.root().await?;
    let targets = author.targets(&root, contents).await?;
    let snapshot = author.snapshot(&root, &targets).await?;
    author.timestamp(&root, &snapshot, true).await
}

/// Signs a new timestamp if the old one is a day old.
async fn keep_fresh(state: &State, signers: &Signers, now: Time) -> Result<(), RepositoryError> {
    let author = Author {
        state,
        signers,
        now,
    };
    let root = author.root().await?;
    let old: Timestamp = author
        .published("timestamp.json", &root.timestamp)?
        .ok_or_else(|| RepositoryError::Missing("timestamp.json".to_owned()))?
        .0;
    let snapshot = author
        .published::<Snapshot>(
            &Role::Snapshot.file_name(old.snapshot.version),
            &root.snapshot,
        )?
        .ok_or_else(|| RepositoryError::Missing("snapshot.json".to_owned()))?;
    author.timestamp(&root, &snapshot, false).await
}

/// The bytes of a file that was verified or sealed.
type Content = Vec<u8>;

struct Author<'a> {
    state: &'a State,
    signers: &'a Signers,
    now: Time,
}

impl Author<'_> {
    fn roles(&self) -> Result<(RoleKeys, RoleKeys), KeyError> {
        let role = |signer: &Signer| Ok(RoleKeys::single(Key::new(signer.public_key().clone())?));
        Ok((role(&self.signers.offline)?, role(&self.signers.online)?))
    }

    /// The newest root, each verified by the one before it, as clients walk them.
    async fn root(&self) -> Result<Root, RepositoryError> {
        let (offline, online) = self.roles()?;
        let Some((mut root, _)) = self.published::<Root>("1.root.json", &offline)? else {
            let root = Root {
                version: Version::ONE,
                expires: self.end(LONG),
                root: offline.clone(),
                targets: offline,
                snapshot: online.clone(),
                timestamp: online,
            };
            self.publish_root(&root, &[&root.root]).await?;
            return Ok(root);
        };
        while let Some((next, _)) =
            self.published::<Root>(&Role::Root.file_name(root.version.next()?), &root.root)?
        {
            root = next;
        }
        if self.is_ending(root.expires, LONG) {
            let renewed = Root {
                version: root.version.next()?,
                expires: self.end(LONG),
                ..root.clone()
            };
            self.publish_root(&renewed, &[&root.root, &renewed.root])
                .await?;
            return Ok(renewed);
        }
        Ok(root)
    }

    async fn publish_root(&self, root: &Root, by: &[&RoleKeys]) -> Result<(), RepositoryError> {
        let signed = self.sign(root, by, &self.signers.offline).await?;
        self.write(&signed.file_name(), signed.bytes())?;
        // Clients never ask for it; it is what people hand to `cosign initialize --root`.
        self.write("root.json", signed.bytes())
    }

    /// Targets that list exactly `contents`, with the files in place.
    async fn targets(
        &self,
        root: &Root,
        contents: &BTreeMap<&str, Vec<u8>>,
    ) -> Result<(Targets, Content), RepositoryError> {
        let mut wanted = BTreeMap::new();
        for (name, content) in contents {
            let name = TargetName::new(name)?;
            let file = TargetFile::of(content);
            self.write(&format!("targets/{}", file.file_name(&name)), content)?;
            wanted.insert(name, file);
        }
        let newest = self.newest(Role::Targets)?;
        if let Some(version) = newest
            && let Some((old, bytes)) =
                self.published::<Targets>(&Role::Targets.file_name(version), &root.targets)?
            && old.targets == wanted
            && !self.is_ending(old.expires, LONG)
        {
            return Ok((old, bytes));
        }
        let version = newest.map_or(Ok(Version::ONE), Version::next)?;
        let targets = Targets {
            version,
            expires: self.end(LONG),
            targets: wanted,
        };
        let signed = self
            .sign(&targets, &[&root.targets], &self.signers.offline)
            .await?;
        self.write(&signed.file_name(), signed.bytes())?;
        Ok((targets, signed.bytes().to_vec()))
    }

    async fn snapshot(
        &self,
        root: &Root,
        (targets, bytes): &(Targets, Content),
    ) -> Result<(Snapshot, Content), RepositoryError> {
        let meta = tuf::FileMeta {
            version: targets.version,
            file: TargetFile::of(bytes),
        };
        let newest = self.newest(Role::Snapshot)?;
        if let Some(version) = newest
            && let Some((old, bytes)) =
                self.published::<Snapshot>(&Role::Snapshot.file_name(version), &root.snapshot)?
            && old.targets == meta
            && !self.is_ending(old.expires, LONG)
        {
            return Ok((old, bytes));
        }
        let version = newest.map_or(Ok(Version::ONE), Version::next)?;
        let snapshot = Snapshot {
            version,
            expires: self.end(LONG),
            targets: meta,
        };
        let signed = self
            .sign(&snapshot, &[&root.snapshot], &self.signers.online)
            .await?;
        self.write(&signed.file_name(), signed.bytes())?;
        Ok((snapshot, signed.bytes().to_vec()))
    }

    async fn timestamp(
        &self,
        root: &Root,
        (snapshot, bytes): &(Snapshot, Content),
        always: bool,
    ) -> Result<(), RepositoryError> {
        let old = self.published::<Timestamp>("timestamp.json", &root.timestamp)?;
        let due = |old: &Timestamp| old.expires - SHORT + RESIGN_AFTER <= self.now;
        if !always && old.as_ref().is_some_and(|(old, _)| !due(old)) {
            return Ok(());
        }
        let version = old.map_or(Ok(Version::ONE), |(old, _)| old.version.next())?;
        let meta = tuf::FileMeta {
            version: snapshot.version,
            file: TargetFile::of(bytes),
        };
        let timestamp = Timestamp {
            version,
            expires: self.end(SHORT),
            snapshot: meta,
        };
        let signed = self
            .sign(&timestamp, &[&root.timestamp], &self.signers.online)
            .await?;
        self.write(&signed.file_name(), signed.bytes())
    }

    async fn sign<M: Metadata>(
        &self,
        metadata: &M,
        by: &[&RoleKeys],
        signer: &Signer,
    ) -> Result<Signed, RepositoryError> {
        let mut prepared = tuf::prepare(metadata, by, self.now)?;
        let signature = signer.sign(prepared.to_be_signed()).await?;
        prepared.sign(&Key::new(signer.public_key().clone())?.id(), signature)?;
        Ok(prepared.seal()?)
    }

    /// A published file, verified as a client does, with its bytes.
    fn published<M: Metadata>(
        &self,
        file: &str,
        by: &RoleKeys,
    ) -> Result<Option<(M, Content)>, RepositoryError> {
        let Some(bytes) = self.state.read(&format!("{FOLDER}/{file}"))? else {
            return Ok(None);
        };
        let opened =
            Envelope::parse(&bytes, M::ROLE.size_max()).and_then(|envelope| envelope.open::<M>(by));
        match opened {
            Ok(metadata) => Ok(Some((metadata, bytes))),
            Err(source) => Err(RepositoryError::Published {
                file: file.to_owned(),
                source,
            }),
        }
    }

    /// The highest version of a role that has a file, published or not: a number is never used for two contents.
    fn newest(&self, role: Role) -> Result<Option<Version>, RepositoryError> {
        let suffix = format!(".{role}.json");
        let numbers = self
            .state
            .list(FOLDER)?
            .into_iter()
            .filter_map(|name| name.strip_suffix(&suffix)?.parse().ok());
        Ok(numbers.max().map(Version::new).transpose()?)
    }

    fn write(&self, file: &str, content: &[u8]) -> Result<(), RepositoryError> {
        Ok(self
            .state
            .write_if_changed(&format!("{FOLDER}/{file}"), content)?)
    }

    /// `life` from now, to the second.
    fn end(&self, life: SignedDuration) -> Time {
        let end = self.now + life;
        Time::from_second(end.as_second()).unwrap_or(end)
    }

    fn is_ending(&self, end: Time, life: SignedDuration) -> bool {
        end - life / 2 <= self.now
    }
}

/// The repository as a service: it serves the files and signs a new timestamp whenever one is due. It holds the folder's lock until the
/// router is dropped. What is not there is 404, never 403: clients ask for the next root until it is missing.
pub fn build(state: State, signers: Signers, clock: serve::Clock) -> Router {
    let state = Arc::new(state);
    // The keeper must not keep the folder locked after the service has gone.
    let keeper = tokio::spawn(keep(Arc::downgrade(&state), signers, clock));
    let served = Arc::new(Served {
        folder: state.path(FOLDER),
        _state: state,
        keeper,
    });
    Router::new()
        .route("/{file}", get(metadata))
        .route("/targets/{file}", get(target))
        .with_state(served)
        .merge(serve::Health::serving().routes())
        .layer(serve::cors::public())
}

struct Served {
    folder: PathBuf,
    _state: Arc<State>,
    keeper: tokio::task::JoinHandle<()>,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

/// A failure is logged and tried again: the old timestamp holds for six days more.
async fn keep(state: Weak<State>, signers: Signers, clock: serve::Clock) {
    let mut turn = tokio::time::interval(CHECK_EVERY);
    loop {
        turn.tick().await;
        let Some(state) = state.upgrade() else { return };
        if let Err(error) = keep_fresh(&state, &signers, clock.now()).await {
            tracing::error!(
                error = format!("{:#}", anyhow::Error::from(error)),
                "TUF timestamp not renewed"
            );
        }
    }
}

async fn metadata(Shared(served): Shared<Arc<Served>>, UrlPath(file): UrlPath<String>) -> Response {
    // Root and timestamp decide what is current; a cache in between would hold everybody back.
    let cache = if file.contains("timestamp") || file.contains("root") {
        "no-store"
    } else {
        "max-age=3600"
    };
    respond(served.folder.join(plain(&file)), "application/json", cache).await
}

async fn target(Shared(served): Shared<Arc<Served>>, UrlPath(file): UrlPath<String>) -> Response {
    respond(
        served.folder.join("targets").join(plain(&file)),
        "application/octet-stream",
        "max-age=3600",
    )
    .await
}

/// The name if it is one plain file name, else one that no file has.
fn plain(file: &str) -> &str {
    let plain = file
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte))
        && !file.starts_with('.');
    if plain { file } else { "not-found" }
}

async fn respond(path: PathBuf, content_type: &'static str, cache: &'static str) -> Response {
    match tokio::fs::read(&path).await {
        Ok(content) => (
            [
                (header::CONTENT_TYPE, content_type),
                (header::CACHE_CONTROL, cache),
            ],
            content,
        )
            .into_response(),
        Err(error) => {
            if error.kind() != std::io::ErrorKind::NotFound {
                tracing::warn!(%error, "TUF file");
            }
            StatusCode::NOT_FOUND.into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keys::Algorithm;

    fn signers() -> Signers {
        let make = || Signer::generate(Algorithm::EcdsaP256Sha256).unwrap();
        Signers {
            offline: make(),
            online: make(),
        }
    }

    fn start() -> Time {
        "2026-11-22T10:00:00.75Z".parse().unwrap()
    }

    fn targets(content: &str) -> BTreeMap<&'static str, Vec<u8>> {
        BTreeMap::from([("trusted_root.json", content.as_bytes().to_vec())])
    }

    fn names(state: &State) -> Vec<String> {
        state.list(FOLDER).unwrap()
    }

    /// What a client sees: root to target content, every signature and hash checked.
    fn walk(state: &State, signers: &Signers, now: Time) -> (u64, String) {
        let author = Author {
            state,
            signers,
            now,
        };
        let (offline, online) = author.roles().unwrap();
        let (root, _) = author
            .published::<Root>("1.root.json", &offline)
            .unwrap()
            .unwrap();
        assert_eq!(root.timestamp, online);
        let (timestamp, _) = author
            .published::<Timestamp>("timestamp.json", &root.timestamp)
            .unwrap()
            .unwrap();
        assert!(timestamp.expires > now);
        let (snapshot, bytes) = author
            .published::<Snapshot>(
                &Role::Snapshot.file_name(timestamp.snapshot.version),
                &root.snapshot,
            )
            .unwrap()
            .unwrap();
        assert_eq!(TargetFile::of(&bytes), timestamp.snapshot.file);
        let (targets, bytes) = author
            .published::<Targets>(
                &Role::Targets.file_name(snapshot.targets.version),
                &root.targets,
            )
            .unwrap()
            .unwrap();
        assert_eq!(TargetFile::of(&bytes), snapshot.targets.file);
        let (name, file) = targets.targets.first_key_value().unwrap();
        let content = state
            .read(&format!("published/targets/{}", file.file_name(name)))
            .unwrap()
            .unwrap();
        assert_eq!(TargetFile::of(&content), *file);
        (timestamp.version.get(), String::from_utf8(content).unwrap())
    }

    #[tokio::test]
    async fn a_second_start_writes_only_a_timestamp_and_a_new_target_all_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let state = State::open(folder.path()).unwrap();
        let signers = signers();
        refresh(&state, &signers, &targets("one"), start())
            .await
            .unwrap();
        assert_eq!(walk(&state, &signers, start()), (1, "one".to_owned()));
        let first = names(&state);
        assert_eq!(
            first,
            [
                "1.root.json",
                "1.snapshot.json",
                "1.targets.json",
                "root.json",
                "targets",
                "timestamp.json"
            ]
        );

        refresh(&state, &signers, &targets("one"), start())
            .await
            .unwrap();
        assert_eq!(walk(&state, &signers, start()), (2, "one".to_owned()));
        assert_eq!(names(&state), first);

        refresh(&state, &signers, &targets("two"), start())
            .await
            .unwrap();
        assert_eq!(walk(&state, &signers, start()), (3, "two".to_owned()));
        assert!(names(&state).contains(&"2.targets.json".to_owned()));
    }

    #[tokio::test]
    async fn a_timestamp_is_renewed_when_it_is_a_day_old() {
        let folder = tempfile::tempdir().unwrap();
        let state = State::open(folder.path()).unwrap();
        let signers = signers();
        refresh(&state, &signers, &targets("one"), start())
            .await
            .unwrap();
        let mut version = 1;
        for hours in [1, 23, 25, 26, 51] {
            let now = start() + SignedDuration::from_hours(hours);
            keep_fresh(&state, &signers, now).await.unwrap();
            version += u64::from(hours == 25 || hours == 51);
            assert_eq!(
                walk(&state, &signers, now).0,
                version,
                "after {hours} hours"
            );
        }
    }

    #[tokio::test]
    async fn after_half_a_year_everything_is_renewed_and_the_first_root_still_leads_there() {
        let folder = tempfile::tempdir().unwrap();
        let state = State::open(folder.path()).unwrap();
        let signers = signers();
        refresh(&state, &signers, &targets("one"), start())
            .await
            .unwrap();
        let later = start() + SignedDuration::from_hours(24 * 200);
        refresh(&state, &signers, &targets("one"), later)
            .await
            .unwrap();
        assert_eq!(walk(&state, &signers, later).1, "one");
        for file in ["2.root.json", "2.targets.json", "2.snapshot.json"] {
            assert!(names(&state).contains(&file.to_owned()), "{file}");
        }
        assert_eq!(
            state.read("published/root.json").unwrap(),
            state.read("published/2.root.json").unwrap()
        );
    }

    #[tokio::test]
    async fn a_damaged_repository_is_not_continued() {
        let folder = tempfile::tempdir().unwrap();
        let state = State::open(folder.path()).unwrap();
        refresh(&state, &signers(), &targets("one"), start())
            .await
            .unwrap();
        let error = refresh(&state, &signers(), &targets("one"), start())
            .await
            .unwrap_err();
        assert!(
            matches!(error, RepositoryError::Published { .. }),
            "{error}"
        );
    }

    #[test]
    fn only_plain_names_are_looked_up() {
        for (name, looked_up) in [
            ("1.root.json", "1.root.json"),
            ("..", "not-found"),
            ("a/b", "not-found"),
            (".lock", "not-found"),
            ("a\0", "not-found"),
        ] {
            assert_eq!(plain(name), looked_up);
        }
    }
}
