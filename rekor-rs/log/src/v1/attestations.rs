//! Payloads of intoto entries and messages of cose entries, kept beside the log under their digest.

use std::io;
use std::sync::Arc;

use keys::{Digest, HashAlgorithm};
use kinds::Attestation;
use store::{Disk, Lock};

use super::shards::Access;

/// A folder of attestations: `<first two digits>/<SHA-256, hexadecimal>`.
#[derive(Clone, Debug)]
pub(crate) struct Attestations {
    files: Arc<dyn Disk>,
    largest: usize,
    _lock: Option<Arc<dyn Lock>>,
}

impl Attestations {
    /// Attestations in a folder or a tree of a database; to write them, this process must be the only one. Blocks.
    pub(crate) fn open(files: Arc<dyn Disk>, access: Access, largest: usize) -> io::Result<Self> {
        let lock = match access {
            Access::Read => None,
            // A folder needs none: attestations are named after what is in them, and whoever writes them has the log's lock.
            Access::Write => files.lock()?,
        };
        Ok(Self {
            files,
            largest,
            _lock: lock.map(Arc::from),
        })
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
