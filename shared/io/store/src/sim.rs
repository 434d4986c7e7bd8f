//! A disk in memory that misbehaves on request, for tests of everything above it.
//!
//! It keeps what a real disk keeps apart: the bytes that programs see (page cache) and the bytes that survive a loss of
//! power. Three things can be asked of it:
//! - [`SimDisk::fail`]: one operation fails, in either form: not done, or done and yet reported as failed;
//! - [`SimDisk::stop_after`]: from some operation on nothing works, as if the process were killed there;
//! - [`SimDisk::restart`]: what a new process finds, after a kill (all that was written) or after a loss of power (what
//!   was synced for sure, of the rest any part: prefixes, single blocks, names without content).
//!
//! A failed sync drops the dirty pages: a later sync succeeds without writing them, as Linux does.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::fs::within;
use crate::{AppendFile, Disk, Lock, Path};

/// Unit in which a loss of power keeps or loses unsynced bytes.
const BLOCK: usize = 512;

/// A disk in memory. Clones are the same disk.
#[derive(Clone, Debug, Default)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

/// How an operation fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Failed, and not done. (An append: failed after half of its bytes.)
    NotDone,
    /// Failed, and yet done.
    YetDone,
}

/// What a new process finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// The process was killed: the system still has everything that was written.
    Nothing,
    /// Power was lost: of the unsynced bytes and names a part survives that the seed chooses.
    Unsynced {
        /// Chooses what survives.
        seed: u64,
    },
}

#[derive(Debug, Default)]
struct State {
    /// Names as programs see them.
    names: BTreeMap<Path, usize>,
    /// Names that survive a loss of power.
    durable_names: BTreeMap<Path, usize>,
    files: Vec<Contents>,
    locked: Option<Arc<()>>,
    operations: u64,
    fault: Option<(u64, Form)>,
    stop_after: Option<u64>,
    immutable: Option<fn(&Path) -> bool>,
    /// First complete bytes of each immutable file, over all restarts.
    history: BTreeMap<Path, Vec<u8>>,
    violations: Vec<String>,
}

#[derive(Clone, Debug, Default)]
struct Contents {
    seen: Vec<u8>,
    durable: Vec<u8>,
    /// Ranges of `seen` that a sync has to write.
    dirty: Vec<Range<usize>>,
    /// The length was changed by a cut since the last sync.
    cut: bool,
}

impl SimDisk {
    /// An empty disk.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty disk that notes a violation when a file for which `immutable` says true gets other bytes than it had.
    pub fn strict(immutable: fn(&Path) -> bool) -> Self {
        let disk = Self::default();
        disk.state().immutable = Some(immutable);
        disk
    }

    /// Number of changing operations so far; each write, cut, sync, replace and remove counts.
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    /// Lets the changing operation number `operation` (counted from 0) fail.
    pub fn fail(&self, operation: u64, form: Form) {
        self.state().fault = Some((operation, form));
    }

    /// Lets every operation from number `operation` on fail without effect.
    pub fn stop_after(&self, operation: u64) {
        self.state().stop_after = Some(operation);
    }

    /// The disk as a new process finds it. The old handle goes on with a disk of its own that matters to nobody.
    #[must_use]
    pub fn restart(&self, loss: Loss) -> Self {
        let old = self.state();
        let mut chance = Chance::new(match loss {
            Loss::Nothing => 0,
            Loss::Unsynced { seed } => seed,
        });
        let mut new = State {
            immutable: old.immutable,
            history: old.history.clone(),
            violations: old.violations.clone(),
            ..State::default()
        };
        let mut names = old.names.clone();
        if let Loss::Unsynced { .. } = loss {
            let all: BTreeSet<_> = old
                .names
                .keys()
                .chain(old.durable_names.keys())
                .cloned()
                .collect();
            for name in all {
                let survivor = if chance.coin() {
                    old.names.get(&name)
                } else {
                    old.durable_names.get(&name)
                };
                match survivor {
                    Some(file) => names.insert(name, *file),
                    None => names.remove(&name),
                };
            }
        }
        for (name, file) in names {
            let contents = old.files.get(file).cloned().unwrap_or_default();
            let seen = match loss {
                Loss::Nothing => contents.seen.clone(),
                Loss::Unsynced { .. } => contents.after_power_loss(&mut chance),
            };
            // After a kill the unsynced part is still unsynced; after a loss of power what is there is on the disk.
            let contents = match loss {
                Loss::Nothing => contents,
                Loss::Unsynced { .. } => Contents {
                    durable: seen.clone(),
                    seen,
                    ..Contents::default()
                },
            };
            if loss != Loss::Nothing || old.durable_names.get(&name) == Some(&file) {
                new.durable_names.insert(name.clone(), new.files.len());
            }
            new.names.insert(name, new.files.len());
            new.files.push(contents);
        }
        Self {
            state: Arc::new(Mutex::new(new)),
        }
    }

    /// Broken promises of the layer above: immutable files that were rewritten with other bytes.
    pub fn violations(&self) -> Vec<String> {
        self.state().violations.clone()
    }

    /// Cuts or changes a file behind everybody's back, and makes that durable.
    pub fn tamper(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.state();
        if let Some(contents) = state
            .names
            .get(path)
            .copied()
            .and_then(|file| state.files.get_mut(file))
        {
            change(&mut contents.seen);
            contents.durable.clone_from(&contents.seen);
            contents.dirty.clear();
        }
    }

    /// All files and their bytes, as programs see them.
    pub fn files(&self) -> BTreeMap<Path, Vec<u8>> {
        let state = self.state();
        let bytes = |file: &usize| {
            state
                .files
                .get(*file)
                .map(|contents| contents.seen.clone())
                .unwrap_or_default()
        };
        state
            .names
            .iter()
            .map(|(name, file)| (name.clone(), bytes(file)))
            .collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Counts an operation and says how it must fail. Reads fail only once the disk has stopped.
    fn begin(&mut self) -> io::Result<Option<Form>> {
        let number = self.operations;
        self.operations = number.saturating_add(1);
        self.alive()?;
        if self.stop_after.is_some_and(|stop| number >= stop) {
            return Err(stopped());
        }
        match self.fault {
            Some((operation, form)) if operation == number => Ok(Some(form)),
            _ => Ok(None),
        }
    }

    fn alive(&self) -> io::Result<()> {
        if self.stop_after.is_some_and(|stop| self.operations > stop) {
            Err(stopped())
        } else {
            Ok(())
        }
    }

    fn file(&mut self, file: usize) -> io::Result<&mut Contents> {
        self.files
            .get_mut(file)
            .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }

    fn create(&mut self, contents: Contents) -> usize {
        self.files.push(contents);
        self.files.len().saturating_sub(1)
    }

    fn watch(&mut self, path: &Path, bytes: &[u8]) {
        if !self.immutable.is_some_and(|immutable| immutable(path)) {
            return;
        }
        match self.history.get(path) {
            Some(before) if before != bytes => self
                .violations
                .push(format!("{path} was rewritten with other bytes")),
            Some(_) => {}
            None => {
                self.history.insert(path.clone(), bytes.to_vec());
            }
        }
    }
}

impl Contents {
    fn write(&mut self, at: usize, bytes: &[u8]) {
        let end = at.saturating_add(bytes.len());
        if self.seen.len() < end {
            self.seen.resize(end, 0);
        }
        if let Some(target) = self.seen.get_mut(at..end) {
            target.copy_from_slice(bytes);
        }
        self.dirty.push(at..end);
    }

    fn sync(&mut self) {
        if self.cut {
            self.durable.truncate(self.seen.len());
        }
        for range in std::mem::take(&mut self.dirty) {
            let end = range.end.min(self.seen.len());
            let Some(source) = self.seen.get(range.start..end) else {
                continue;
            };
            if self.durable.len() < end {
                self.durable.resize(end, 0);
            }
            if let Some(target) = self.durable.get_mut(range.start..end) {
                target.copy_from_slice(source);
            }
        }
        self.cut = false;
    }

    fn after_power_loss(&self, chance: &mut Chance) -> Vec<u8> {
        let mut bytes = self.durable.clone();
        if self.cut && chance.coin() {
            bytes.truncate(self.seen.len());
        }
        for range in &self.dirty {
            if chance.coin() {
                continue;
            }
            let mut at = range.start;
            let end = range.end.min(self.seen.len());
            // The length may be on the disk without the blocks, so lost blocks read as zeros or as what was there.
            let count = end.saturating_sub(at);
            let kept = if chance.coin() {
                count
            } else {
                chance.below(count)
            };
            let kept_length = at.saturating_add(kept);
            let all = chance.coin();
            while at < kept_length {
                let stop = (at / BLOCK)
                    .saturating_add(1)
                    .saturating_mul(BLOCK)
                    .min(kept_length);
                if bytes.len() < stop {
                    bytes.resize(stop, 0);
                }
                if (all || chance.coin())
                    && let (Some(target), Some(source)) =
                        (bytes.get_mut(at..stop), self.seen.get(at..stop))
                {
                    target.copy_from_slice(source);
                }
                at = stop;
            }
        }
        bytes
    }
}

impl Disk for SimDisk {
    fn read(&self, path: &Path, max: u64) -> io::Result<Option<Vec<u8>>> {
        let state = self.state();
        state.alive()?;
        let Some(contents) = state
            .names
            .get(path)
            .and_then(|file| state.files.get(*file))
        else {
            return Ok(None);
        };
        if u64::try_from(contents.seen.len()).unwrap_or(u64::MAX) > max {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("{path} is longer than {max} bytes"),
            ));
        }
        Ok(Some(contents.seen.clone()))
    }

    fn read_range(&self, path: &Path, at: u64, len: usize) -> io::Result<Option<Vec<u8>>> {
        let state = self.state();
        state.alive()?;
        let Some(contents) = state
            .names
            .get(path)
            .and_then(|file| state.files.get(*file))
        else {
            return Ok(None);
        };
        let rest = usize::try_from(at)
            .ok()
            .and_then(|at| contents.seen.get(at..))
            .unwrap_or_default();
        Ok(Some(rest.get(..len).unwrap_or(rest).to_vec()))
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        let state = self.state();
        state.alive()?;
        let names: BTreeSet<_> = state
            .names
            .keys()
            .filter_map(|path| {
                path.as_str()
                    .strip_prefix(folder.as_str())?
                    .strip_prefix('/')
            })
            .filter_map(|rest| rest.split('/').next())
            .map(str::to_owned)
            .collect();
        Ok(names.into_iter().collect())
    }

    fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        let form = state.begin()?;
        if form == Some(Form::NotDone) {
            return Err(injected("replace"));
        }
        state.watch(path, bytes);
        let mut contents = Contents::default();
        contents.write(0, bytes);
        let file = state.create(contents);
        state.names.insert(path.clone(), file);
        form.map_or(Ok(()), |_| Err(injected("replace")))
    }

    /// Three operations, as on a real disk: bytes, name, folder. Whenever it stops, the old bytes or the new ones are there.
    fn replace_durable(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        let mut contents = Contents::default();
        contents.write(0, bytes);
        let form = state.begin()?;
        if form == Some(Form::NotDone) {
            return Err(injected("replace"));
        }
        state.watch(path, bytes);
        contents.sync();
        let file = state.create(contents);
        if form.is_some() {
            return Err(injected("replace"));
        }
        let form = state.begin()?;
        if form == Some(Form::NotDone) {
            return Err(injected("replace"));
        }
        state.names.insert(path.clone(), file);
        if form.is_some() {
            return Err(injected("replace"));
        }
        let form = state.begin()?;
        if form != Some(Form::NotDone) {
            state.durable_names.insert(path.clone(), file);
            let State {
                names,
                durable_names,
                ..
            } = &mut *state;
            durable_names
                .retain(|name, _| name.parent() != path.parent() || names.contains_key(name));
        }
        form.map_or(Ok(()), |_| Err(injected("sync")))
    }

    fn sync(&self, paths: &[Path]) -> io::Result<()> {
        let mut state = self.state();
        let form = state.begin()?;
        for path in paths {
            let file = *state
                .names
                .get(path)
                .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
            let contents = state.file(file)?;
            if form == Some(Form::NotDone) {
                contents.dirty.clear();
                continue;
            }
            contents.sync();
            state.durable_names.insert(path.clone(), file);
            let State {
                names,
                durable_names,
                ..
            } = &mut *state;
            durable_names
                .retain(|name, _| name.parent() != path.parent() || names.contains_key(name));
        }
        form.map_or(Ok(()), |_| Err(injected("sync")))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        let form = state.begin()?;
        if form != Some(Form::NotDone) {
            state.names.remove(path);
        }
        form.map_or(Ok(()), |_| Err(injected("remove")))
    }

    fn append(&self, path: &Path) -> io::Result<Box<dyn AppendFile>> {
        let mut state = self.state();
        state.alive()?;
        let file = if let Some(file) = state.names.get(path) {
            *file
        } else {
            let file = state.create(Contents::default());
            state.names.insert(path.clone(), file);
            file
        };
        Ok(Box::new(SimFile {
            disk: self.clone(),
            file,
        }))
    }

    fn lock(&self) -> io::Result<Option<Box<dyn Lock>>> {
        let mut state = self.state();
        if state
            .locked
            .as_ref()
            .is_some_and(|held| Arc::strong_count(held) > 1)
        {
            return Ok(None);
        }
        let held = Arc::new(());
        state.locked = Some(held.clone());
        Ok(Some(Box::new(SimLock { _held: held })))
    }
}

#[derive(Debug)]
struct SimFile {
    disk: SimDisk,
    file: usize,
}

impl AppendFile for SimFile {
    fn len(&self) -> io::Result<u64> {
        let mut state = self.disk.state();
        state.alive()?;
        Ok(u64::try_from(state.file(self.file)?.seen.len()).unwrap_or(u64::MAX))
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.disk.state();
        let form = state.begin()?;
        let contents = state.file(self.file)?;
        let end = contents.seen.len();
        let half = bytes.get(..bytes.len() / 2).unwrap_or_default();
        contents.write(
            end,
            if form == Some(Form::NotDone) {
                half
            } else {
                bytes
            },
        );
        form.map_or(Ok(()), |_| Err(injected("append")))
    }

    fn overwrite(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.disk.state();
        let form = state.begin()?;
        let contents = state.file(self.file)?;
        within(
            at,
            bytes.len(),
            u64::try_from(contents.seen.len()).unwrap_or(u64::MAX),
        )?;
        if form != Some(Form::NotDone) {
            contents.write(usize::try_from(at).unwrap_or(usize::MAX), bytes);
        }
        form.map_or(Ok(()), |_| Err(injected("overwrite")))
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        let form = state.begin()?;
        let contents = state.file(self.file)?;
        if form != Some(Form::NotDone) {
            contents
                .seen
                .resize(usize::try_from(len).unwrap_or(usize::MAX), 0);
            contents.cut = true;
        }
        form.map_or(Ok(()), |_| Err(injected("truncate")))
    }

    fn sync_data(&mut self) -> io::Result<()> {
        let mut state = self.disk.state();
        let form = state.begin()?;
        let contents = state.file(self.file)?;
        match form {
            Some(Form::NotDone) => contents.dirty.clear(),
            _ => contents.sync(),
        }
        form.map_or(Ok(()), |_| Err(injected("fdatasync")))
    }
}

#[derive(Debug)]
struct SimLock {
    _held: Arc<()>,
}

impl Lock for SimLock {}

/// xorshift64*: enough to choose faults, and the same on every machine.
struct Chance(u64);

impl Chance {
    /// Spreads small seeds over all bits; the state must not be zero.
    const fn new(seed: u64) -> Self {
        Self(seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        let mut x = self.0;
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        self.0 = x;
        x.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn coin(&mut self) -> bool {
        self.next() >> 63 == 1
    }

    fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end.max(1)).unwrap_or(1);
        usize::try_from((self.next() >> 11) % end).unwrap_or(0)
    }
}

fn injected(operation: &str) -> io::Error {
    io::Error::other(format!("injected fault: {operation}"))
}

fn stopped() -> io::Error {
    io::Error::other("the simulated machine has stopped")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> Path {
        Path::new(text).unwrap()
    }

    #[test]
    fn keeps_the_contract() {
        crate::contract::check(&SimDisk::new());
    }

    #[test]
    fn a_kill_keeps_everything_and_a_power_loss_what_was_synced() {
        let disk = SimDisk::new();
        let mut file = disk.append(&path("wal")).unwrap();
        file.append(&[1; 2000]).unwrap();
        file.sync_data().unwrap();
        disk.sync(&[path("wal")]).unwrap();
        file.append(&[2; 2000]).unwrap();
        disk.replace(&path("tile"), &[3; 1000]).unwrap();
        assert_eq!(
            disk.restart(Loss::Nothing).files()[&path("wal")].len(),
            4000
        );
        let mut torn = BTreeSet::new();
        for seed in 1..200 {
            let files = disk.restart(Loss::Unsynced { seed }).files();
            assert_eq!(files[&path("wal")][..2000], [1; 2000]);
            torn.insert((
                files[&path("wal")].len(),
                files.get(&path("tile")).map(Vec::len),
            ));
        }
        assert!(torn.len() > 50, "the losses differ: {}", torn.len());
        assert!(
            torn.iter().any(|(_, tile)| tile.is_none())
                && torn.iter().any(|(_, tile)| *tile == Some(1000))
        );
    }

    #[test]
    fn a_failed_sync_drops_the_dirty_pages() {
        for form in [Form::NotDone, Form::YetDone] {
            let disk = SimDisk::new();
            let mut file = disk.append(&path("wal")).unwrap();
            disk.sync(&[path("wal")]).unwrap();
            file.append(b"abc").unwrap();
            disk.fail(disk.operations(), form);
            assert!(file.sync_data().is_err());
            file.sync_data().unwrap();
            assert_eq!(
                disk.files()[&path("wal")],
                b"abc",
                "the program still sees it"
            );
            let after = disk.restart(Loss::Unsynced { seed: 7 }).files();
            assert_eq!(after[&path("wal")].is_empty(), form == Form::NotDone);
        }
    }

    #[test]
    fn a_stopped_disk_does_nothing_more() {
        let disk = SimDisk::new();
        disk.replace(&path("a"), b"1").unwrap();
        disk.stop_after(1);
        assert!(disk.replace(&path("a"), b"2").is_err());
        assert!(disk.read(&path("a"), 9).is_err());
        assert_eq!(disk.restart(Loss::Nothing).files()[&path("a")], b"1");
    }

    #[test]
    fn rewriting_an_immutable_file_is_noticed() {
        let disk = SimDisk::strict(|path| path.as_str().starts_with("tile/"));
        disk.replace(&path("tile/0"), b"1").unwrap();
        disk.replace(&path("tile/0"), b"1").unwrap();
        disk.replace(&path("checkpoint"), b"1").unwrap();
        disk.replace(&path("checkpoint"), b"2").unwrap();
        assert!(disk.violations().is_empty());
        let disk = disk.restart(Loss::Unsynced { seed: 3 });
        disk.replace(&path("tile/0"), b"2").unwrap();
        assert_eq!(disk.violations().len(), 1);
    }
}
