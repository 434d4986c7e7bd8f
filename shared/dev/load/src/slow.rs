//! A Rekor v2 log on a disk of a known speed: what a machine's own disk does not show.
//!
//! It is rekor-rs's own application. Only the disk below is wrapped: it does everything for real, and a sync takes at least as long as it was told.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use keys::Algorithm;
use rekor_rs::app::{self, Deps};
use rekor_rs::config::{Duplicates, LogConfig};
use rekor_rs::storage::{Opener, Storage};
use serve::{Clock, Limits, ListenAddress, Listeners, Stop};
use signer::{KeyRef, Signer};
use store::fs::Folder;
use store::{AppendFile, Disk, Lock};

/// Serves a new log in an empty folder until a signal.
pub async fn serve(listen: &ListenAddress, folder: &Path, sync: Duration) -> Result<()> {
    let listeners = Listeners::bind(listen).await?;
    let stop = Stop::on_signals().context("watching for signals")?;
    let config = LogConfig {
        origin: "log.example.org".to_owned(),
        key: KeyRef::file("unused"),
        home: folder.to_owned().into(),
        checkpoint_copy: None,
        duplicates: Duplicates::Conflict,
        dsse: true,
        queue: 4096,
    };
    let open = move |folder: &Path| {
        let disk = Arc::new(Folder::open(folder)?);
        let slow: Arc<dyn Disk> = Arc::new(Slow { disk, sync });
        Ok(slow)
    };
    let deps = Deps {
        signer: Signer::generate(Algorithm::Ed25519)?,
        v1: None,
        search: None,
        witnessing: None,
        storage: Storage::Opened(Opener::new(open)),
        clock: Clock::system(),
    };
    let router = app::build(&config, deps).await?.router;
    serve::run(listeners, "slow", router, Limits::default(), stop).await;
    Ok(())
}

/// A disk whose syncs take at least some time.
#[derive(Debug)]
struct Slow {
    disk: Arc<dyn Disk>,
    sync: Duration,
}

/// A file on it.
#[derive(Debug)]
struct SlowFile {
    file: Box<dyn AppendFile>,
    sync: Duration,
}

/// Does it, and waits until it has taken so long.
fn lasting<T>(least: Duration, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let begun = Instant::now();
    let done = work();
    thread::sleep(least.saturating_sub(begun.elapsed()));
    done
}

impl Disk for Slow {
    fn read(&self, path: &store::Path, max: u64) -> io::Result<Option<Vec<u8>>> {
        self.disk.read(path, max)
    }

    fn read_range(&self, path: &store::Path, at: u64, len: usize) -> io::Result<Option<Vec<u8>>> {
        self.disk.read_range(path, at, len)
    }

    fn list(&self, folder: &store::Path) -> io::Result<Vec<String>> {
        self.disk.list(folder)
    }

    fn replace(&self, path: &store::Path, bytes: &[u8]) -> io::Result<()> {
        self.disk.replace(path, bytes)
    }

    fn replace_durable(&self, path: &store::Path, bytes: &[u8]) -> io::Result<()> {
        lasting(self.sync, || self.disk.replace_durable(path, bytes))
    }

    fn sync(&self, paths: &[store::Path]) -> io::Result<()> {
        lasting(self.sync, || self.disk.sync(paths))
    }

    fn remove(&self, path: &store::Path) -> io::Result<()> {
        self.disk.remove(path)
    }

    fn append(&self, path: &store::Path) -> io::Result<Box<dyn AppendFile>> {
        let file = self.disk.append(path)?;
        let sync = self.sync;
        Ok(Box::new(SlowFile { file, sync }))
    }

    fn lock(&self) -> io::Result<Option<Box<dyn Lock>>> {
        self.disk.lock()
    }
}

impl AppendFile for SlowFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.append(bytes)
    }

    fn overwrite(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.overwrite(at, bytes)
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        self.file.truncate(len)
    }

    fn sync_data(&mut self) -> io::Result<()> {
        lasting(self.sync, || self.file.sync_data())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_disk_and_syncs_take_their_time() {
        let folder = tempfile::tempdir().unwrap();
        let sync = Duration::from_millis(2);
        let disk = Slow {
            disk: Arc::new(Folder::open(folder.path()).unwrap()),
            sync,
        };
        store::contract::check(&disk);
        let path = store::Path::new("file").unwrap();
        let mut file = disk.append(&path).unwrap();
        let begun = Instant::now();
        file.append(b"x").unwrap();
        file.sync_data().unwrap();
        disk.sync(&[path]).unwrap();
        assert!(begun.elapsed() >= sync * 2);
    }
}
