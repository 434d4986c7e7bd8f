//! The certificates above the leaves, each kept once: static-ct-api names them by fingerprint only.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use keys::sha256;
use pki::Certificate;
use store::Disk as _;
use store::fs::Folder;

/// The most certificates that are remembered as kept; a log of this kind sees a handful.
const REMEMBERED: usize = 4096;
/// What `pki` reads of a certificate at the most.
const MAX_ISSUER: u64 = 64 * 1024;

/// Certificates in files named by their SHA-256.
#[derive(Clone, Debug)]
pub(crate) struct Issuers {
    folder: Arc<Folder>,
    kept: Arc<Mutex<BTreeSet<[u8; 32]>>>,
}

impl Issuers {
    pub(crate) fn open(folder: &std::path::Path) -> io::Result<Self> {
        Ok(Self {
            folder: Arc::new(Folder::open(folder)?),
            kept: Arc::default(),
        })
    }

    /// Keeps certificates; durable when this returns. A crash before leaves nothing, or a file that the next submission writes again.
    pub(crate) fn keep(&self, certificates: &[Certificate]) -> io::Result<()> {
        for certificate in certificates {
            let fingerprint = sha256(certificate.der());
            if self.kept().contains(&fingerprint) {
                continue;
            }
            let path = path(&fingerprint)?;
            // An earlier start has kept most of them.
            let kept = self.folder.read(&path, MAX_ISSUER)?;
            if kept.as_deref() != Some(certificate.der()) {
                self.folder.replace_durable(&path, certificate.der())?;
            }
            let mut kept = self.kept();
            if kept.len() < REMEMBERED {
                kept.insert(fingerprint);
            }
        }
        Ok(())
    }

    /// A certificate by its fingerprint.
    pub(crate) fn read(&self, fingerprint: &[u8; 32]) -> io::Result<Option<Vec<u8>>> {
        self.folder.read(&path(fingerprint)?, MAX_ISSUER)
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, BTreeSet<[u8; 32]>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn path(fingerprint: &[u8; 32]) -> io::Result<store::Path> {
    store::Path::new(hex::encode(fingerprint))
        .ok_or_else(|| io::Error::other("a fingerprint is no path"))
}
