//! Files of one repository in a folder.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tuf::Version;

/// How long somebody else's refresh is waited for: longer than one takes whose every call is tried to its end.
const LOCK_PATIENCE: Duration = Duration::from_mins(2);
/// How often is looked.
const LOCK_PAUSE: Duration = Duration::from_millis(20);
/// A temporary file as old as this is nobody's any more: writing one takes milliseconds.
const LEFT_BEHIND: Duration = Duration::from_hours(1);
/// Names that one tidying looks at in a folder.
const NAMES_MAX: usize = 10_000;
/// The largest of the small files beside the metadata.
const NOTE_MAX: usize = 64 * 1024;

/// The cache of one repository.
#[derive(Debug, Clone)]
pub struct Cache {
    metadata: PathBuf,
    targets: PathBuf,
    /// `HOST-PATH.json` and `HOST-PATH.lock` beside the folder.
    beside: PathBuf,
}

/// Held while the cache is refreshed; given back when it goes, also when the process ends.
#[derive(Debug)]
pub(crate) struct Held {
    _file: File,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct LastRefresh {
    last_timestamp: Timestamp,
}

impl Cache {
    /// The cache of a repository in a folder of its own, with its targets below.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        let metadata = folder.into();
        Self {
            targets: metadata.join("targets"),
            beside: metadata.clone(),
            metadata,
        }
    }

    /// With the targets elsewhere.
    #[must_use]
    pub fn targets_in(mut self, folder: impl Into<PathBuf>) -> Self {
        self.targets = folder.into();
        self
    }

    /// The folder with the metadata.
    pub fn folder(&self) -> &Path {
        &self.metadata
    }

    /// A metadata file; none if it is not there, cannot be read, or is larger than it may be.
    pub(crate) fn read(&self, name: &str, limit: usize) -> Option<Vec<u8>> {
        read(&self.metadata.join(name), limit)
    }

    /// A target, by its file name.
    pub(crate) fn read_target(&self, name: &str, limit: usize) -> Option<Vec<u8>> {
        read(&self.targets.join(name), limit)
    }

    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        replace(&self.metadata.join(name), bytes)
    }

    pub(crate) fn write_target(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        replace(&self.targets.join(name), bytes)
    }

    /// When it was refreshed last, as sigstore-go keeps it.
    pub fn refreshed(&self) -> Option<Timestamp> {
        let bytes = read(&self.beside("json"), NOTE_MAX)?;
        let note: LastRefresh = serde_json::from_slice(&bytes).ok()?;
        Some(note.last_timestamp)
    }

    pub(crate) fn set_refreshed(&self, now: Timestamp) -> io::Result<()> {
        let note = LastRefresh {
            last_timestamp: now,
        };
        replace(&self.beside("json"), &serde_json::to_vec(&note)?)
    }

    /// Waits until nobody else refreshes it. Nothing where there can be no lock, since there is nothing to protect then.
    pub(crate) async fn lock(&self) -> io::Result<Option<Held>> {
        let path = self.beside("lock");
        let opened = || {
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder)?;
            }
            OpenOptions::new().create(true).append(true).open(&path)
        };
        let Ok(file) = opened() else {
            return Ok(None);
        };
        let waited = async {
            loop {
                match file.try_lock() {
                    Ok(()) => return Ok(true),
                    Err(TryLockError::WouldBlock) => tokio::time::sleep(LOCK_PAUSE).await,
                    // A file system without locks.
                    Err(TryLockError::Error(_)) => return Ok(false),
                }
            }
        };
        let locked = tokio::time::timeout(LOCK_PATIENCE, waited)
            .await
            .unwrap_or_else(|_| {
                Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    format!(
                        "another process has held {} for two minutes",
                        path.display()
                    ),
                ))
            })?;
        Ok(locked.then_some(Held { _file: file }))
    }

    /// Takes away what no update reads again: roots up to the one that updates begin at (`pinned`, or what `initialize` was told, whichever is older)
    /// and behind the newest one, and what a process left that was killed while it wrote. So a cache does not grow with the years. What cannot be
    /// taken away stays: it does no harm.
    pub(crate) fn tidy(&self, pinned: Version, newest: Version) {
        let history = self.metadata.join("root_history");
        let told = read(
            &history.join("pinned.root.json"),
            tuf::Role::Root.size_max(),
        )
        .and_then(|root| tuf::describe_root(&root).ok())
        .map_or(pinned, |(version, _)| version);
        let first = pinned.min(told);
        for path in names(&history) {
            let number = path
                .file_name()
                .and_then(|name| name.to_str()?.strip_suffix(".root.json")?.parse().ok());
            let read_again = |number: u64| (first.get() + 1..=newest.get()).contains(&number);
            if number.is_some_and(|number| !read_again(number)) {
                let _stays = fs::remove_file(path);
            }
        }
        for folder in [&self.metadata, &self.targets, &history] {
            for path in names(folder) {
                if is_left_behind(&path) {
                    let _stays = fs::remove_file(path);
                }
            }
        }
    }

    /// Takes everything away that is there.
    pub fn forget(&self) -> io::Result<()> {
        let gone = |result: io::Result<()>| match result {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        };
        gone(fs::remove_dir_all(&self.metadata))?;
        gone(fs::remove_file(self.beside("json")))?;
        gone(fs::remove_file(self.beside("lock")))
    }

    /// Takes the place of another cache, of which nothing is left.
    pub(crate) fn replace(&self, other: &Self) -> io::Result<()> {
        let refreshed = self.refreshed();
        other.forget()?;
        fs::rename(&self.metadata, &other.metadata)?;
        self.forget()?;
        match refreshed {
            Some(time) => other.set_refreshed(time),
            None => Ok(()),
        }
    }

    fn beside(&self, extension: &str) -> PathBuf {
        let mut name = self.beside.clone().into_os_string();
        name.push(".");
        name.push(extension);
        PathBuf::from(name)
    }
}

fn names(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let entries = entries.take(NAMES_MAX);
    entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect()
}

/// A file of [`replace`] that was never renamed.
fn is_left_behind(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    let temporary = name.is_some_and(|name| name.starts_with('.'))
        && path.extension().is_some_and(|extension| extension == "tmp");
    let age = || fs::metadata(path).ok()?.modified().ok()?.elapsed().ok();
    temporary && age().is_some_and(|age| age > LEFT_BEHIND)
}

/// A whole file of at most `limit` bytes.
pub(crate) fn read(path: &Path, limit: usize) -> Option<Vec<u8>> {
    let most = u64::try_from(limit).ok()?.checked_add(1)?;
    let mut bytes = Vec::new();
    let file = File::open(path).ok()?;
    file.take(most).read_to_end(&mut bytes).ok()?;
    (bytes.len() <= limit).then_some(bytes)
}

/// Puts a file in the place of the one that is there, whole or not at all: a crash leaves the old one, and perhaps a file of another name.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let folder = path
        .parent()
        .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    fs::create_dir_all(folder)?;
    // Another process has another number, another thread too.
    let mine = NUMBER.fetch_add(1, Ordering::Relaxed);
    let beside = folder.join(format!(".{}.{mine}.tmp", std::process::id()));
    let written = File::create(&beside).and_then(|mut file| {
        file.write_all(bytes)?;
        // Else the name could be on the disk before the content.
        file.sync_data()
    });
    let placed = written.and_then(|()| fs::rename(&beside, path));
    if placed.is_err() {
        let _gone = fs::remove_file(&beside);
    }
    placed
}
