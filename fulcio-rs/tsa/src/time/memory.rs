//! The latest time that was stated, kept across restarts.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use thiserror::Error;

/// Far more than a timestamp has.
const FILE_MAX: u64 = 64;

/// A file with one RFC 3339 time in it.
#[derive(Clone, Debug)]
pub struct Memory {
    path: PathBuf,
    /// One writes at a time: a write outlives whoever waited for it.
    writing: Arc<Mutex<()>>,
}

/// The file cannot be used.
#[derive(Debug, Error)]
pub enum MemoryError {
    /// Not read or written.
    #[error("cannot {action} {path}", path = path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// It is there, and no time is in it.
    #[error(
        "{path} has {found:?} in it, expected a time such as 2026-11-28T12:00:00Z: if the machine's clock is known to be right, remove the file",
        path = path.display()
    )]
    Damaged {
        /// Which.
        path: PathBuf,
        /// What is in it, as far as it was read.
        found: String,
    },
}

impl Memory {
    /// In this file, which need not be there yet.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            writing: Arc::default(),
        }
    }

    fn failed(&self, action: &'static str) -> impl Fn(io::Error) -> MemoryError {
        let path = self.path.clone();
        move |source| MemoryError::File {
            path: path.clone(),
            action,
            source,
        }
    }

    /// The time in it; none where there is no file.
    pub fn read(&self) -> Result<Option<Timestamp>, MemoryError> {
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.failed("read")(error)),
        };
        let mut bytes = Vec::new();
        file.take(FILE_MAX)
            .read_to_end(&mut bytes)
            .map_err(self.failed("read"))?;
        let text = String::from_utf8_lossy(&bytes);
        match text.trim_end().parse() {
            Ok(time) => Ok(Some(time)),
            Err(_) => Err(MemoryError::Damaged {
                path: self.path.clone(),
                found: text.into_owned(),
            }),
        }
    }

    /// Puts another time there, durably. A crash on the way leaves the old one, whole.
    pub fn write(&self, time: Timestamp) -> Result<(), MemoryError> {
        let _alone = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut name = self.path.clone().into_os_string();
        name.push(".new");
        let new = PathBuf::from(name);
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&new)
            .map_err(self.failed("write beside"))?;
        file.write_all(format!("{time}\n").as_bytes())
            .and_then(|()| file.sync_all())
            .map_err(self.failed("write beside"))?;
        // If we crash here, the old file stands.
        fs::rename(&new, &self.path).map_err(self.failed("replace"))?;
        // If we crash here, one of the two stands.
        let folder = self.path.parent().filter(|parent| *parent != Path::new(""));
        File::open(folder.unwrap_or(Path::new(".")))
            .and_then(|folder| folder.sync_all())
            .map_err(self.failed("sync the folder of"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("latest");
        let memory = Memory::at(&path);
        assert!(memory.read().unwrap().is_none());
        for text in ["2026-11-28T12:00:00.25Z", "2026-11-28T11:00:00Z"] {
            let time = text.parse().unwrap();
            memory.write(time).unwrap();
            assert_eq!(memory.read().unwrap(), Some(time));
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        for damaged in [
            "",
            "yesterday",
            "2026-11-28T12:00:00Z and more of it, and still more of it",
        ] {
            fs::write(&path, damaged).unwrap();
            assert!(
                matches!(memory.read(), Err(MemoryError::Damaged { .. })),
                "{damaged}"
            );
        }
        let nowhere = Memory::at(folder.path().join("no/such/folder"));
        let error = nowhere.write(Timestamp::UNIX_EPOCH).unwrap_err();
        assert!(error.to_string().contains("no/such/folder"), "{error}");
    }
}
