//! What a copy will be, beside what it is.
//!
//! ```text
//! incoming/<number>    a file that is to stand somewhere else
//! incoming/whole       where: a path for each number, one a line. All of them are durable then, and are put in place whatever happens
//! ```
//!
//! A copy that is brought up to date is the older one until `incoming/whole` is durable, and the newer one from then on: whoever finds that file puts the others in
//! place first. So whatever ends at any moment, the source or this process, leaves a copy that can be restored.

use std::io;

use store::{AppendFile, Disk, Lock, Path};

use crate::error::{OpenError, disk};
use crate::layout;
use crate::recover::{MAX_BUNDLE, MAX_SEGMENT};

/// Of the list, in bytes: a log has some segments.
const MAX_LIST: u64 = 1 << 20;

/// Files that wait to be put in place.
#[derive(Debug)]
pub(crate) struct Incoming<'a> {
    to: &'a dyn Disk,
    paths: Vec<Path>,
}

impl<'a> Incoming<'a> {
    pub(crate) const fn new(to: &'a dyn Disk) -> Self {
        Self {
            to,
            paths: Vec::new(),
        }
    }

    /// Keeps a file; it is durable afterwards.
    pub(crate) fn keep(&mut self, path: Path, bytes: &[u8]) -> Result<(), OpenError> {
        let kept = layout::incoming(self.paths.len());
        self.to
            .replace_durable(&kept, bytes)
            .map_err(disk(format!("write {kept}")))?;
        self.paths.push(path);
        Ok(())
    }

    /// The copy as it will be: to look at it before it is.
    pub(crate) fn preview(&self) -> Preview<'a> {
        Preview {
            to: self.to,
            paths: self.paths.clone(),
        }
    }

    /// From here on the copy is the new one.
    ///
    /// If we crash before the list is durable, the copy is what it was. After that [`put_in_place`] goes on.
    pub(crate) fn decide(self) -> Result<(), OpenError> {
        if self.paths.is_empty() {
            return Ok(());
        }
        let list: Vec<&str> = self.paths.iter().map(Path::as_str).collect();
        let list = list.join("\n");
        self.to
            .replace_durable(&layout::whole(), list.as_bytes())
            .map_err(disk("decide on the new copy"))?;
        put_in_place(self.to)
    }
}

/// Finishes what was decided; nothing otherwise. Each step may be interrupted and done again.
pub(crate) fn put_in_place(to: &dyn Disk) -> Result<(), OpenError> {
    let whole = layout::whole();
    let list = to
        .read(&whole, MAX_LIST)
        .map_err(disk(format!("read {whole}")))?;
    let Some(list) = list.filter(|list| !list.is_empty()) else {
        return Ok(());
    };
    let paths: Option<Vec<Path>> = std::str::from_utf8(&list)
        .ok()
        .and_then(|list| list.lines().map(Path::new).collect());
    let paths = paths.ok_or_else(|| OpenError::Damaged(format!("{whole} is no list of paths")))?;
    for (number, path) in paths.iter().enumerate() {
        let kept = layout::incoming(number);
        let bytes = to
            .read(&kept, longest())
            .map_err(disk(format!("read {kept}")))?
            .ok_or_else(|| OpenError::Damaged(format!("{kept} is missing")))?;
        to.replace_durable(path, &bytes)
            .map_err(disk(format!("write {path}")))?;
    }
    // What the segments of before had is in tiles that are durable here now.
    for name in to
        .list(&layout::wal_folder())
        .map_err(disk("list the write-ahead segments"))?
    {
        let path = layout::path(format!("{}/{name}", layout::wal_folder()));
        if !paths.contains(&path) {
            to.remove(&path).map_err(disk(format!("remove {path}")))?;
        }
    }
    // Removals are durable with the next sync in their folder; the list must not go before them.
    if let Some(path) = paths
        .iter()
        .find(|path| path.parent() == Some(layout::wal_folder()))
    {
        to.sync(std::slice::from_ref(path))
            .map_err(disk("make the copy durable"))?;
    }
    // The list is gone for good before the first of the files is: a list that came back after a loss of power would miss it.
    to.remove(&whole).map_err(disk(format!("remove {whole}")))?;
    to.sync(&[layout::incoming(0)])
        .map_err(disk("make the copy durable"))?;
    forget(to)
}

/// Removes what was kept, and never decided on. The next run keeps other files.
pub(crate) fn forget(to: &dyn Disk) -> Result<(), OpenError> {
    let folder = layout::incoming_folder();
    let names = to
        .list(&folder)
        .map_err(disk("list what an earlier run has left"))?;
    for name in names {
        let path = layout::path(format!("{folder}/{name}"));
        to.remove(&path).map_err(disk(format!("remove {path}")))?;
    }
    Ok(())
}

fn longest() -> u64 {
    MAX_SEGMENT.max(MAX_BUNDLE)
}

/// A copy as it will be. It is only read.
#[derive(Debug)]
pub(crate) struct Preview<'a> {
    to: &'a dyn Disk,
    paths: Vec<Path>,
}

impl Preview<'_> {
    fn kept(&self, path: &Path) -> Option<Path> {
        let number = self.paths.iter().position(|kept| kept == path)?;
        Some(layout::incoming(number))
    }

    /// Where a file is; `None` when it will be gone.
    fn place(&self, path: &Path) -> Option<Path> {
        let goes = path.parent() == Some(layout::wal_folder());
        self.kept(path).or_else(|| (!goes).then(|| path.clone()))
    }
}

fn only_read<T>() -> io::Result<T> {
    Err(io::ErrorKind::ReadOnlyFilesystem.into())
}

impl Disk for Preview<'_> {
    fn read(&self, path: &Path, max: u64) -> io::Result<Option<Vec<u8>>> {
        match self.place(path) {
            Some(path) => self.to.read(&path, max),
            None => Ok(None),
        }
    }

    fn read_range(&self, path: &Path, at: u64, len: usize) -> io::Result<Option<Vec<u8>>> {
        match self.place(path) {
            Some(path) => self.to.read_range(&path, at, len),
            None => Ok(None),
        }
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        if *folder != layout::wal_folder() {
            return self.to.list(folder);
        }
        let kept = self.paths.iter();
        let segments = kept.filter(|path| path.parent().as_ref() == Some(folder));
        let names = segments.filter_map(|path| path.as_str().rsplit('/').next());
        let mut names: Vec<String> = names.map(str::to_owned).collect();
        names.sort_unstable();
        Ok(names)
    }

    fn replace(&self, _path: &Path, _bytes: &[u8]) -> io::Result<()> {
        only_read()
    }

    fn sync(&self, _paths: &[Path]) -> io::Result<()> {
        only_read()
    }

    fn remove(&self, _path: &Path) -> io::Result<()> {
        only_read()
    }

    fn append(&self, _path: &Path) -> io::Result<Box<dyn AppendFile>> {
        only_read()
    }

    fn lock(&self) -> io::Result<Option<Box<dyn Lock>>> {
        only_read()
    }
}
