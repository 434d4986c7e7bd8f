//! Payloads of intoto entries and messages of cose entries, kept beside the log under their digest.

use std::io;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use keys::{Digest, HashAlgorithm};
use kinds::Attestation;
use sequencer::OpenError;
use store::{Disk, Lock};

use super::shards::Access;
use crate::storage::Ground;

/// A folder of attestations: `<first two digits>/<SHA-256, hexadecimal>`. Clones are the same folder.
#[derive(Clone, Debug)]
pub(crate) struct Attestations {
    ground: Ground,
    files: Arc<dyn Disk>,
    largest: usize,
    right: Arc<Right>,
}

/// The right to write, until it is given up or the last clone is dropped.
#[derive(Debug, Default)]
struct Right(Mutex<Option<Box<dyn Lock>>>);

/// Gives the right to write up, if somebody still has it; it does not keep it.
#[derive(Clone, Debug)]
pub(crate) struct GiveUp(Weak<Right>);

impl GiveUp {
    pub(crate) async fn now(self) {
        let Some(right) = self.0.upgrade() else {
            return;
        };
        // A lease waits for the database. It fails only when the runtime is going away.
        let _ = tokio::task::spawn_blocking(move || {
            let mut right = right.0.lock().unwrap_or_else(PoisonError::into_inner);
            drop(right.take());
        })
        .await;
    }
}

impl Attestations {
    /// Attestations in a folder or a tree of a database; to write them in the latter, this process must be the only one. Blocks.
    pub(crate) fn open(ground: Ground, access: Access, largest: usize) -> Result<Self, OpenError> {
        let files = ground.files();
        let lock = match (access, &ground) {
            (Access::Read, _) => None,
            (Access::Write, Ground::Tree(_)) => Some(locked(&*files)?.ok_or(OpenError::Locked)?),
            // A folder needs none: attestations are named after what is in them, and whoever writes them has the log's lock.
            (Access::Write, Ground::Folder(_)) => locked(&*files)?,
        };
        Ok(Self {
            ground,
            files,
            largest,
            right: Arc::new(Right(Mutex::new(lock))),
        })
    }

    /// Waits until this process has lost the right to write, which then another one may have. Does not keep it.
    pub(crate) fn lost(&self) -> impl Future<Output = ()> + Send + use<> {
        let ground = self.ground.clone();
        async move { ground.lost().await }
    }

    pub(crate) fn give_up(&self) -> GiveUp {
        GiveUp(Arc::downgrade(&self.right))
    }

    /// Keeps an attestation, unless it is too large; it is durable afterwards. One that is there already is left alone.
    pub(crate) async fn keep(&self, attestation: Attestation) -> io::Result<()> {
        if attestation.payload.len() > self.largest {
            return Ok(());
        }
        let files = self.files.clone();
        blocking(move || {
            let path = path(&attestation.digest)?;
            let kept = files.read(&path, 16 << 20)?;
            if kept.as_deref() == Some(attestation.payload.as_slice()) {
                return Ok(());
            }
            files.replace_durable(&path, &attestation.payload)
        })
        .await
    }

    /// The attestation with this digest, if it was kept.
    pub(crate) async fn find(&self, digest: Digest) -> io::Result<Option<Vec<u8>>> {
        let files = self.files.clone();
        // One that was kept under a larger limit is still there.
        let bytes = blocking(move || files.read(&path(&digest)?, 16 << 20)).await?;
        // A file that was interrupted in its first writing may be short.
        Ok(bytes.filter(|bytes| Digest::of(HashAlgorithm::Sha256, bytes) == digest))
    }
}

fn locked(files: &dyn Disk) -> Result<Option<Box<dyn Lock>>, OpenError> {
    files.lock().map_err(|source| OpenError::Disk {
        action: "lock the attestations".to_owned(),
        source,
    })
}

fn path(digest: &Digest) -> io::Result<store::Path> {
    let name = digest.to_hex();
    let folder = name.get(..2).unwrap_or_default();
    store::Path::new(format!("{folder}/{name}")).ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await?
}
