//! Durable files: what a log needs from a disk, behind one small trait.
//!
//! Two forms of writing, and no other:
//! - an [`AppendFile`] grows at its end and is made durable by one `fdatasync`;
//! - [`Disk::replace`] puts a whole file in place by temporary file and rename, so that a reader sees the old or the new
//!   bytes and nothing between them. It is durable after [`Disk::sync`] of its path.
//!
//! [`fs::Folder`] is the real one. [`sim::SimDisk`] lives in memory, loses what was not synced when told to crash, and
//! fails chosen operations either before or after doing them. Both pass [`contract::check`].
//!
//! Paths are relative, with `/` between names. Each name is one of ours or a decimal number, never a visitor's text.

pub mod contract;
pub mod fs;
pub mod sim;

use std::fmt;
use std::io;

/// A folder on a disk.
///
/// All methods block; callers run them on a thread that may.
pub trait Disk: Send + Sync + fmt::Debug {
    /// The bytes of a file, or `None` when there is no such file. A file longer than `max` bytes is an error
    /// ([`io::ErrorKind::FileTooLarge`]): nobody reads an unbounded file into memory.
    fn read(&self, path: &Path, max: u64) -> io::Result<Option<Vec<u8>>>;

    /// At most `len` bytes of a file from position `at` on; fewer, or none, at its end. `None` when there is no such file.
    fn read_range(&self, path: &Path, at: u64, len: usize) -> io::Result<Option<Vec<u8>>>;

    /// Names in a folder, sorted; empty when there is no such folder.
    fn list(&self, folder: &Path) -> io::Result<Vec<String>>;

    /// Puts a file in place as a whole, making its folders. After a crash the path holds the old bytes, the new ones,
    /// or (new file) nothing or an empty or partly written file, until [`Disk::sync`] of this path has returned.
    fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()>;

    /// [`Disk::replace`] and [`Disk::sync`] of one path in one: after a crash the path holds the old bytes or the new ones, also while this
    /// is under way. For a file whose old bytes are still needed; it costs a sync of the disk.
    fn replace_durable(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.replace(path, bytes)?;
        self.sync(std::slice::from_ref(path))
    }

    /// Makes replaced files durable, with their names and the folders on the way. Earlier removals in the same folder are
    /// durable then, too.
    fn sync(&self, paths: &[Path]) -> io::Result<()>;

    /// Removes a file; no error when it is not there. Durable after the next [`Disk::sync`] in that folder.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Opens a file for appending, making it (and its folders) when it is not there. A new file's name is durable
    /// only after [`Disk::sync`].
    fn append(&self, path: &Path) -> io::Result<Box<dyn AppendFile>>;

    /// Takes the folder for this process alone, until the lock is dropped. `Ok(None)` when somebody else has it.
    fn lock(&self) -> io::Result<Option<Box<dyn Lock>>>;
}

/// A file that grows at its end. Nothing is durable before [`AppendFile::sync_data`] returned.
pub trait AppendFile: Send + fmt::Debug {
    /// Length in bytes.
    fn len(&self) -> io::Result<u64>;

    /// Whether there is nothing in it.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Adds bytes at the end. After an error any prefix of them may have been added.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Writes bytes over existing ones; the range must lie within the file.
    fn overwrite(&mut self, at: u64, bytes: &[u8]) -> io::Result<()>;

    /// Cuts the file to `len` bytes.
    fn truncate(&mut self, len: u64) -> io::Result<()>;

    /// Makes content and length durable. After an error nobody knows which bytes are on the disk, and asking again
    /// proves nothing: the system may have dropped the dirty pages (see "fsyncgate", PostgreSQL 2018).
    fn sync_data(&mut self) -> io::Result<()>;
}

/// An exclusive lock, held until dropped.
pub trait Lock: Send + Sync + fmt::Debug {}

/// A relative path: names joined by `/`, each made of ASCII letters, digits, `.`, `-` and `_`, none of them `.` or `..`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Path(String);

impl Path {
    /// Checks a path; `None` when it could lead out of the folder or is not in the plain alphabet.
    pub fn new(path: impl Into<String>) -> Option<Self> {
        let path = path.into();
        let plain = |name: &str| {
            !name.is_empty()
                && name != "."
                && name != ".."
                && name
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'))
        };
        path.split('/').all(plain).then_some(Self(path))
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The folder that holds it; `None` for the top.
    pub fn parent(&self) -> Option<Self> {
        self.0
            .rsplit_once('/')
            .map(|(parent, _)| Self(parent.to_owned()))
    }
}

impl fmt::Display for Path {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl fmt::Debug for Path {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, out)
    }
}

#[cfg(test)]
mod tests {
    use super::Path;

    #[test]
    fn paths_stay_inside() {
        for path in [
            "", "/", "/a", "a/", "a//b", ".", "..", "a/../b", "a/./b", "a\\b", "a b", "ä", "a\0",
        ] {
            assert!(Path::new(path).is_none(), "{path:?}");
        }
        for path in [
            "a",
            "tile/0/x001/234.p/5",
            "wal/00000000000000000000.wal",
            "a/..b",
        ] {
            assert_eq!(Path::new(path).unwrap().as_str(), path);
        }
        assert_eq!(Path::new("a/b/c").unwrap().parent(), Path::new("a/b"));
        assert_eq!(Path::new("a").unwrap().parent(), None);
    }
}
