//! A real folder.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use crate::{AppendFile, Disk, Lock, Path};

/// Name of the file whose flock is the folder's lock.
const LOCK: &str = "lock";
/// Begins the names of files that are being written; [`Disk::list`] does not show them.
const TEMPORARY: &str = ".new-";
/// How many of them this process has made, over all folders: two handles may be on one.
static TEMPORARIES: AtomicU64 = AtomicU64::new(0);
/// Files that are synced at the same time.
const SYNCED_AT_ONCE: usize = 16;

/// A folder of the file system. Files it makes can be read by everybody: a log is public.
#[derive(Debug)]
pub struct Folder {
    root: PathBuf,
}

impl Folder {
    /// Opens a folder, making it when it is not there.
    pub fn open(root: impl Into<PathBuf>) -> io::Result<Self> {
        let root = root.into();
        let absent = |folder: &&std::path::Path| !folder.as_os_str().is_empty() && !folder.exists();
        let made: Vec<PathBuf> = root
            .ancestors()
            .take_while(absent)
            .map(std::path::Path::to_owned)
            .collect();
        fs::create_dir_all(&root)?;
        sync_folder(&root)?;
        // A folder is durable when the one that holds it is.
        for folder in made.iter().map(PathBuf::as_path).chain([root.as_path()]) {
            if let Some(parent) = folder
                .parent()
                .filter(|parent| !parent.as_os_str().is_empty())
            {
                sync_folder(parent)?;
            }
        }
        Ok(Self { root })
    }

    /// Writes a temporary file and gives it the name.
    fn put(
        &self,
        path: &Path,
        bytes: &[u8],
        before_rename: impl Fn(&File) -> io::Result<()>,
    ) -> io::Result<()> {
        self.make_parent(path)?;
        let target = self.at(path);
        // Other handles, also of other processes, may write other files into this folder (second copies of checkpoints): so the
        // name has the file's in it. A crash may leave the temporary file; numbers come again after a restart, so it is truncated.
        let number = TEMPORARIES.fetch_add(1, Ordering::Relaxed);
        let mut name = OsString::from(TEMPORARY);
        name.push(target.file_name().unwrap_or_default());
        name.push(format!(".{number}"));
        let temporary = target.with_file_name(name);
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o644)
            .open(&temporary)?;
        let written = file
            .write_all(bytes)
            .and_then(|()| before_rename(&file))
            .and_then(|()| fs::rename(&temporary, &target));
        if written.is_err() {
            // Nothing depends on the removal; the first error is the one to tell.
            let _ = fs::remove_file(&temporary);
        }
        written
    }

    fn sync_parents(&self, path: &Path) -> io::Result<()> {
        let mut parent = path.parent();
        while let Some(folder) = parent {
            sync_folder(&self.at(&folder))?;
            parent = folder.parent();
        }
        Ok(())
    }

    /// Many at a time: where one takes milliseconds, a disk with a queue or a journal has the others done by then.
    fn sync_files(&self, paths: &[Path]) -> io::Result<()> {
        let sync = |path: &Path| File::open(self.at(path))?.sync_all();
        if paths.len() < SYNCED_AT_ONCE {
            return paths.iter().try_for_each(sync);
        }
        thread::scope(|scope| {
            let shares = paths.chunks(paths.len().div_ceil(SYNCED_AT_ONCE));
            let threads: Vec<_> = shares
                .map(|share| {
                    let work = move || share.iter().try_for_each(sync);
                    thread::Builder::new().spawn_scoped(scope, work)
                })
                .collect::<io::Result<_>>()?;
            threads.into_iter().try_for_each(|thread| {
                let ended = |_| Err(io::Error::other("a thread that syncs files ended"));
                thread.join().unwrap_or_else(ended)
            })
        })
    }

    fn at(&self, path: &Path) -> PathBuf {
        self.root.join(path.as_str())
    }

    fn open_file(&self, path: &Path) -> io::Result<Option<File>> {
        match File::open(self.at(path)) {
            Ok(file) => Ok((!file.metadata()?.is_dir()).then_some(file)),
            // The second: `a` is a file and `a/b` was asked for.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn make_parent(&self, path: &Path) -> io::Result<()> {
        match path.parent() {
            Some(parent) => fs::create_dir_all(self.at(&parent)),
            None => Ok(()),
        }
    }
}

impl Disk for Folder {
    fn read(&self, path: &Path, max: u64) -> io::Result<Option<Vec<u8>>> {
        let Some(file) = self.open_file(path)? else {
            return Ok(None);
        };
        let mut bytes = Vec::new();
        file.take(max.saturating_add(1)).read_to_end(&mut bytes)?;
        if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > max {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("{path} is longer than {max} bytes"),
            ));
        }
        Ok(Some(bytes))
    }

    fn read_range(&self, path: &Path, at: u64, len: usize) -> io::Result<Option<Vec<u8>>> {
        let Some(mut file) = self.open_file(path)? else {
            return Ok(None);
        };
        file.seek(SeekFrom::Start(at))?;
        let mut bytes = Vec::new();
        file.take(u64::try_from(len).unwrap_or(u64::MAX))
            .read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(self.at(folder)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut names = Vec::new();
        for entry in entries {
            if let Ok(name) = entry?.file_name().into_string()
                && !name.starts_with(TEMPORARY)
            {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.put(path, bytes, |_| Ok(()))
    }

    /// The bytes are on the disk before they have the name.
    fn replace_durable(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.put(path, bytes, File::sync_all)?;
        self.sync_parents(path)?;
        sync_folder(&self.root)
    }

    fn sync(&self, paths: &[Path]) -> io::Result<()> {
        self.sync_files(paths)?;
        let mut folders = BTreeSet::new();
        for path in paths {
            let mut parent = path.parent();
            while let Some(folder) = parent {
                parent = folder.parent();
                folders.insert(folder);
            }
        }
        for folder in &folders {
            sync_folder(&self.at(folder))?;
        }
        sync_folder(&self.root)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        match fs::remove_file(self.at(path)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn append(&self, path: &Path) -> io::Result<Box<dyn AppendFile>> {
        self.make_parent(path)?;
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o644)
            .open(self.at(path))?;
        let len = file.metadata()?.len();
        Ok(Box::new(FolderFile { file, len }))
    }

    fn lock(&self) -> io::Result<Option<Box<dyn Lock>>> {
        let path = self.root.join(LOCK);
        // Whoever can open it can hold it.
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Box::new(FolderLock { _file: file }))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

/// The length is ours alone: the lock keeps other writers away, and a failed append may have grown the file further.
#[derive(Debug)]
struct FolderFile {
    file: File,
    len: u64,
}

impl AppendFile for FolderFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.len)
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, self.len)?;
        self.len = self
            .len
            .saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        Ok(())
    }

    fn overwrite(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        within(at, bytes.len(), self.len)?;
        self.file.write_all_at(bytes, at)
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        self.file.set_len(len)?;
        self.len = len;
        Ok(())
    }

    fn sync_data(&mut self) -> io::Result<()> {
        // fdatasync also writes the metadata that is needed to read the data back, so the length.
        self.file.sync_data()
    }
}

#[derive(Debug)]
struct FolderLock {
    _file: File,
}

impl Lock for FolderLock {}

pub(crate) fn within(at: u64, count: usize, len: u64) -> io::Result<()> {
    let end = u64::try_from(count)
        .ok()
        .and_then(|count| at.checked_add(count));
    if end.is_some_and(|end| end <= len) {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::InvalidInput,
        "the range to overwrite is not within the file",
    ))
}

fn sync_folder(folder: &std::path::Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_contract() {
        let folder = tempfile::tempdir().unwrap();
        crate::contract::check(&Folder::open(folder.path().join("new")).unwrap());
    }

    #[test]
    fn the_lock_is_exclusive_across_handles() {
        let folder = tempfile::tempdir().unwrap();
        let first = Folder::open(folder.path()).unwrap();
        let second = Folder::open(folder.path()).unwrap();
        let held = first.lock().unwrap().expect("free");
        assert!(second.lock().unwrap().is_none());
        drop(held);
        assert!(second.lock().unwrap().is_some());
    }

    /// As the second copies of two logs' checkpoints are.
    #[test]
    fn two_handles_write_two_files_of_one_folder() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &'static str| {
            let disk = Folder::open(folder.path()).unwrap();
            move || {
                let path = Path::new(name).unwrap();
                for _ in 0..2000 {
                    disk.replace(&path, name.as_bytes()).unwrap();
                    let read = disk.read(&path, 10).unwrap();
                    assert_eq!(read.as_deref(), Some(name.as_bytes()));
                }
            }
        };
        std::thread::scope(|scope| {
            scope.spawn(write("one"));
            scope.spawn(write("two"));
        });
        let left = fs::read_dir(folder.path()).unwrap();
        assert_eq!(left.count(), 2);
    }

    #[test]
    fn of_many_files_each_is_synced() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Folder::open(folder.path()).unwrap();
        let mut paths: Vec<_> = (0..SYNCED_AT_ONCE * 2 + 3)
            .map(|number| Path::new(format!("a/{number}")).unwrap())
            .collect();
        for path in &paths {
            disk.replace(path, b"1").unwrap();
        }
        disk.sync(&paths).unwrap();
        // One that cannot be synced is told of, wherever it stands.
        for at in [0, SYNCED_AT_ONCE, paths.len()] {
            paths.insert(at, Path::new("a/absent").unwrap());
            let told = disk.sync(&paths).unwrap_err();
            assert_eq!(told.kind(), io::ErrorKind::NotFound, "{at}");
            paths.remove(at);
        }
    }

    #[test]
    fn leaves_no_temporary_files() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Folder::open(folder.path()).unwrap();
        disk.replace(&Path::new("a/b").unwrap(), b"1").unwrap();
        let names: Vec<_> = fs::read_dir(folder.path().join("a"))
            .unwrap()
            .map(|e| e.unwrap().file_name())
            .collect();
        assert_eq!(names, ["b"]);
    }
}
