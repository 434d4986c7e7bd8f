//! What a service reads again while it runs: files are looked at every few seconds, and what they say now replaces what they said.
//!
//! Files are compared by what is in them and not by events or times: so it does not matter whether one was written, renamed into place, or
//! swapped with its whole folder by a symbolic link, as Kubernetes does. What cannot be used is said once, and what was there stays.

use std::collections::hash_map::RandomState;
use std::fmt::Display;
use std::fs::File;
use std::hash::{BuildHasher as _, Hasher as _};
use std::io::{self, ErrorKind, Read as _};
use std::path::Path;
use std::sync::{Arc, LazyLock, PoisonError, RwLock};
use std::time::Duration;

/// From one look at the files to the next.
pub const LOOK: Duration = Duration::from_secs(5);

/// Bytes of a file that are compared; no settings, key or chain has more.
const FILE_MAX: u64 = 4 << 20;

/// A value that may be another one for the next request. Who has taken it with [`Live::now`] keeps it to the end of what he does. Cloning
/// is cheap; clones are the same place.
#[derive(Debug)]
pub struct Live<T>(Arc<RwLock<Arc<T>>>);

impl<T> Live<T> {
    /// A first value.
    pub fn new(value: T) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(value))))
    }

    /// The value of now.
    pub fn now(&self) -> Arc<T> {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// From now on it is this one. The old one ends with the last request that has it.
    pub fn set(&self, value: T) {
        let mut place = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let old = std::mem::replace(&mut *place, Arc::new(value));
        drop(place);
        // Whatever hangs on it does not hold up readers.
        drop(old);
    }

    /// Whether anybody else has this place; who only keeps it up to date may end then.
    pub fn is_shared(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }
}

impl<T> Clone for Live<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

/// Files at one look: equal to another look when they say the same. A keyed hash, so that nothing of a secret is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look(u64);

impl Look {
    /// Reads the files. One that cannot be read is seen as that, and so is what is no regular file: the opening of a pipe waits until somebody writes, and
    /// a device has no end. Blocks.
    pub fn at<P: AsRef<Path>>(paths: impl IntoIterator<Item = P>) -> Self {
        static KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);
        let mut hasher = KEY.build_hasher();
        for path in paths {
            let path = path.as_ref();
            let mut bytes = zeroize::Zeroizing::new(Vec::new());
            let read = std::fs::metadata(path).and_then(|found| {
                if !found.is_file() {
                    return Err(ErrorKind::InvalidInput.into());
                }
                File::open(path)?.take(FILE_MAX).read_to_end(&mut bytes)
            });
            hasher.write(path.as_os_str().as_encoded_bytes());
            match read {
                Ok(size) => {
                    hasher.write_u8(1);
                    hasher.write_usize(size);
                    hasher.write(&bytes);
                }
                Err(error) => {
                    hasher.write_u8(0);
                    hasher.write(error.kind().to_string().as_bytes());
                }
            }
        }
        Self(hasher.finish())
    }
}

/// Refuses what is there and is no regular file: whoever opens a pipe waits until somebody writes, and follows nothing any more. What is not there says
/// so when it is read. Blocks.
///
/// # Errors
///
/// With the path, when something else is there.
pub fn check_regular(path: &Path) -> io::Result<()> {
    if std::fs::metadata(path).is_ok_and(|found| !found.is_file()) {
        let text = format!("{} is no regular file", path.display());
        return Err(io::Error::new(ErrorKind::InvalidInput, text));
    }
    Ok(())
}

/// Keeps account of one thing that is read again: log lines, and figures (`reloads_total`, `reload_failing`).
#[derive(Debug)]
pub struct Account {
    what: &'static str,
    told: String,
}

impl Account {
    /// `what` names it in log lines and figures.
    pub fn new(what: &'static str) -> Self {
        metrics::gauge!("reload_failing", "what" => what).set(0.0);
        Self {
            what,
            told: String::new(),
        }
    }

    /// Notes what a look came to: something new was taken, nothing was new, or the new cannot be used and the old stays.
    pub fn note<E: Display>(&mut self, outcome: &Result<bool, E>) {
        let what = self.what;
        let failing = match outcome {
            Ok(new) => {
                if *new {
                    tracing::info!(what, "took it anew");
                    metrics::counter!("reloads_total", "what" => what, "outcome" => "ok")
                        .increment(1);
                }
                self.told.clear();
                0.0
            }
            Err(error) => {
                // Once, and not every few seconds.
                let text = format!("{error:#}");
                if text != self.told {
                    tracing::warn!(
                        what,
                        error = text,
                        "the new one cannot be used, the old one stays"
                    );
                    metrics::counter!("reloads_total", "what" => what, "outcome" => "failed")
                        .increment(1);
                    self.told = text;
                }
                1.0
            }
        };
        metrics::gauge!("reload_failing", "what" => what).set(failing);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_sees_what_is_in_files_and_that_they_are_gone() {
        let folder = tempfile::tempdir().unwrap();
        let (one, other) = (folder.path().join("one"), folder.path().join("other"));
        let look = || Look::at([&one, &other]);
        let nothing = look();
        assert_eq!(look(), nothing);
        std::fs::write(&one, "text").unwrap();
        let first = look();
        assert_ne!(first, nothing);
        // The same bytes, elsewhere.
        std::fs::rename(&one, &other).unwrap();
        assert_ne!(look(), first);
        std::fs::rename(&other, &one).unwrap();
        assert_eq!(look(), first);
        std::fs::write(&one, "test").unwrap();
        assert_ne!(look(), first);
    }

    #[test]
    fn a_folder_that_is_swapped_by_a_link_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for (name, text) in [("v1", "old"), ("v2", "new")] {
            std::fs::create_dir(at(name)).unwrap();
            std::fs::write(at(name).join("file"), text).unwrap();
        }
        // As kubelet does it: file -> ..data/file, ..data -> the folder of now.
        std::os::unix::fs::symlink("v1", at("..data")).unwrap();
        std::os::unix::fs::symlink("..data/file", at("file")).unwrap();
        let old = Look::at([at("file")]);
        std::os::unix::fs::symlink("v2", at("..data_tmp")).unwrap();
        std::fs::rename(at("..data_tmp"), at("..data")).unwrap();
        assert_ne!(Look::at([at("file")]), old);
    }

    #[test]
    fn who_has_taken_a_value_keeps_it() {
        let place = Live::new(1);
        let other = place.clone();
        let taken = place.now();
        other.set(2);
        assert_eq!((*taken, *place.now()), (1, 2));
        assert!(place.is_shared());
        drop(other);
        assert!(!place.is_shared());
    }
}
