//! Clients that are under way while somebody publishes: each asks for one file, or a few, between two writes, and so has files of several moments.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

use jiff::Timestamp as Time;
use store::sim::SimDisk;
use store::{AppendFile, Disk, Lock, Path};
use tuf::{Mode, Place, Target, TargetPath, Update};

use super::content;

/// A client with its cache; the state machine is the one that `tuf-client` drives.
#[derive(Clone, Debug)]
pub struct Reader {
    pinned: Vec<u8>,
    cache: BTreeMap<String, Vec<u8>>,
    now: Time,
    /// Files that it asks for between two writes.
    pace: usize,
    place: Step,
    /// Version of the timestamp that it ended with.
    pub timestamp: u64,
}

#[derive(Clone, Debug)]
enum Step {
    Begin,
    Updating(Box<Update>),
    Target(Box<Target>),
    Done,
}

impl Reader {
    /// A client that knows the first root and nothing else.
    pub fn new(disk: &SimDisk) -> Self {
        Self {
            pinned: published(disk, "1.root.json").unwrap(),
            cache: BTreeMap::new(),
            now: super::start(),
            pace: 1,
            place: Step::Begin,
            timestamp: 0,
        }
    }

    /// The same client, beginning now, at a pace.
    pub fn begin(&self, now: Time, pace: usize) -> Self {
        Self {
            now,
            pace,
            place: Step::Begin,
            ..self.clone()
        }
    }

    /// All of it at this moment.
    pub fn finish_all(&mut self, disk: &SimDisk) {
        while !matches!(self.place, Step::Done) {
            self.ask(disk);
        }
    }

    /// As many questions as it asks between two writes.
    fn some(&mut self, disk: &SimDisk) {
        for _ in 0..self.pace {
            self.ask(disk);
        }
    }

    /// One file of the repository, and all that its own cache tells. What it is refused is a mistake of the publisher.
    fn ask(&mut self, disk: &SimDisk) {
        let now = self.now;
        let failed = |error: tuf::UpdateError| -> ! { panic!("a reader at {now}: {error:?}") };
        loop {
            match std::mem::replace(&mut self.place, Step::Done) {
                Step::Begin => {
                    let update = Update::start(&self.pinned, now, Mode::Online);
                    let update = update.unwrap_or_else(|error| failed(error));
                    self.place = Step::Updating(Box::new(update));
                }
                Step::Updating(mut update) => {
                    let Some(want) = update.wants() else {
                        self.place = Step::Target(Box::new(self.found(*update)));
                        continue;
                    };
                    let found = match want.place {
                        Place::Cache => self.cache.get(&want.file.in_cache()).cloned(),
                        Place::Repository => published(disk, &want.file.in_repository()),
                    };
                    let kept = update.feed(found.as_deref());
                    if let Some(kept) = kept.unwrap_or_else(|error| failed(error)) {
                        for file in kept.files {
                            self.cache.insert(file.in_cache(), kept.bytes.clone());
                        }
                    }
                    self.place = Step::Updating(update);
                    if want.place == Place::Repository {
                        return;
                    }
                }
                Step::Target(target) => {
                    let name = format!("targets/{}", target.in_repository());
                    let bytes = published(disk, &name).unwrap_or_else(|| panic!("no {name}"));
                    target.check(&bytes).unwrap();
                    return;
                }
                Step::Done => return,
            }
        }
    }

    fn found(&mut self, update: Update) -> Target {
        let mut trusted = update.finish().unwrap();
        let [_, (_, timestamp, _), ..] = trusted.roles();
        assert!(
            timestamp.get() >= self.timestamp,
            "the timestamp of a reader went back"
        );
        self.timestamp = timestamp.get();
        let name = content("").into_keys().next().unwrap();
        let mut search = trusted.search(TargetPath::new(&name).unwrap(), Mode::Online);
        assert!(search.wants().unwrap().is_none());
        search.finish().unwrap()
    }
}

fn published(disk: &SimDisk, name: &str) -> Option<Vec<u8>> {
    let path = Path::new(format!("published/{name}")).unwrap();
    disk.read(&path, 1 << 20).unwrap()
}

/// The publisher's disk: before each change, readers begin (those that are given, at several paces), and all that are under way ask.
#[derive(Debug)]
pub struct Polled {
    disk: SimDisk,
    begin: Vec<Reader>,
    now: Time,
    under_way: Mutex<Vec<Reader>>,
}

impl Polled {
    pub fn new(disk: &SimDisk, begin: Vec<Reader>, now: Time) -> Arc<Self> {
        Arc::new(Self {
            disk: disk.clone(),
            begin,
            now,
            under_way: Mutex::default(),
        })
    }

    /// How many there were, each brought to its end.
    pub fn finish(&self) -> usize {
        let mut under_way = self.under_way.lock().unwrap();
        for reader in under_way.iter_mut() {
            reader.finish_all(&self.disk);
        }
        under_way.len()
    }

    fn moment(&self) {
        let mut under_way = self.under_way.lock().unwrap();
        for reader in &self.begin {
            under_way.extend((1..=3).map(|pace| reader.begin(self.now, pace)));
        }
        for reader in under_way.iter_mut() {
            reader.some(&self.disk);
        }
    }
}

impl Disk for Polled {
    fn read(&self, path: &Path, max: u64) -> io::Result<Option<Vec<u8>>> {
        self.disk.read(path, max)
    }

    fn read_range(&self, path: &Path, at: u64, len: usize) -> io::Result<Option<Vec<u8>>> {
        self.disk.read_range(path, at, len)
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        self.disk.list(folder)
    }

    fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.moment();
        self.disk.replace(path, bytes)
    }

    fn replace_durable(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.moment();
        self.disk.replace_durable(path, bytes)
    }

    fn sync(&self, paths: &[Path]) -> io::Result<()> {
        self.disk.sync(paths)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.moment();
        self.disk.remove(path)
    }

    fn append(&self, path: &Path) -> io::Result<Box<dyn AppendFile>> {
        self.disk.append(path)
    }

    fn lock(&self) -> io::Result<Option<Box<dyn Lock>>> {
        self.disk.lock()
    }
}
