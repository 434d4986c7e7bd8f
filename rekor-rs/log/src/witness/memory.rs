//! What the witness remembers: of each log the last checkpoint that it cosigned, in a file of its own.
//!
//! ```text
//! <hex SHA-256 of origin>   the note: the log's text and signature, then our cosignatures
//! ```

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use keys::sha256;
use note::{Checkpoint, Cosignature, CosignerKey, MAX_NOTE_BYTES, Note};
use store::{Disk, Lock};
use tlog::TreeHead;
use tokio::sync::Mutex;

use super::config::KnownLog;

/// All logs, by origin. The folder is ours as long as this lives.
#[derive(Debug)]
pub(super) struct Memory {
    files: Arc<dyn Disk>,
    logs: HashMap<String, Slot>,
    /// Hex hash of an origin to the origin.
    names: HashMap<String, String>,
    _lock: Box<dyn Lock>,
}

/// One log. The lock is held from judging a submission until its head is durable.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) log: KnownLog,
    file: store::Path,
    pub(super) seen: Mutex<Option<Seen>>,
}

/// The last checkpoint that was cosigned.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) head: TreeHead,
    pub(super) note: Arc<[u8]>,
}

impl Memory {
    pub(super) fn open(
        folder: &Path,
        logs: &[KnownLog],
        keys: &[CosignerKey],
    ) -> anyhow::Result<Self> {
        let files = store::fs::Folder::open(folder)
            .with_context(|| format!("cannot open {}", folder.display()))?;
        let Some(lock) = files.lock().context("cannot lock the witness's folder")? else {
            bail!("another witness uses {}", folder.display());
        };
        let mut memory = Self {
            files: Arc::new(files),
            logs: HashMap::new(),
            names: HashMap::new(),
            _lock: lock,
        };
        for log in logs {
            let name = hex::encode(sha256(log.origin.as_bytes()));
            let file = store::Path::new(name.clone()).context("a hash is a file name")?;
            let seen = memory.recall(&file, log, keys);
            let seen = seen.with_context(|| {
                format!(
                    "{}/{name} is not what this witness wrote about {}",
                    folder.display(),
                    log.origin
                )
            })?;
            let slot = Slot {
                log: log.clone(),
                file,
                seen: Mutex::new(seen),
            };
            memory.names.insert(name, log.origin.clone());
            memory.logs.insert(log.origin.clone(), slot);
        }
        Ok(memory)
    }

    /// What the file says, if there is one: it must be about this log, and cosigned by each of our keys that signs there.
    fn recall(
        &self,
        file: &store::Path,
        log: &KnownLog,
        keys: &[CosignerKey],
    ) -> anyhow::Result<Option<Seen>> {
        let max = u64::try_from(MAX_NOTE_BYTES)?;
        let Some(bytes) = self.files.read(file, max)? else {
            return Ok(None);
        };
        let note = Note::parse(&bytes)?;
        let checkpoint = Checkpoint::parse(note.text())?;
        if checkpoint.origin != log.origin {
            bail!("it is about {}", checkpoint.origin);
        }
        // The log's key may have been replaced since; that we cosigned it is what counts.
        let held = keys.iter().map(|key| key.find(&note, note.signatures()));
        let held: Vec<_> = held.collect();
        if !held.iter().any(Result::is_ok) {
            for result in held {
                result?;
            }
        }
        Ok(Some(Seen {
            head: checkpoint.head,
            note: bytes.into(),
        }))
    }

    pub(super) fn log(&self, origin: &str) -> Option<&Slot> {
        self.logs.get(origin)
    }

    pub(super) fn by_hash(&self, hash: &str) -> Option<&Slot> {
        self.logs.get(self.names.get(hash)?)
    }

    /// Makes a checkpoint the last one, durably. If we crash here, the file holds the old note or the new one; the cosignature of
    /// the new one has not left.
    pub(super) async fn remember(
        &self,
        slot: &Slot,
        seen: &mut Option<Seen>,
        head: TreeHead,
        note: &Note,
        cosignatures: &[Cosignature],
    ) -> std::io::Result<()> {
        let note: Arc<[u8]> = note
            .with_signatures(cosignatures.iter().map(Cosignature::line))
            .to_bytes()
            .into();
        let (files, file, bytes) = (self.files.clone(), slot.file.clone(), note.clone());
        let write = move || files.replace_durable(&file, &bytes);
        tokio::task::spawn_blocking(write)
            .await
            .map_err(std::io::Error::from)
            .flatten()?;
        *seen = Some(Seen { head, note });
        Ok(())
    }
}
