//! The certificates above the leaves, each kept once: static-ct-api names them by fingerprint only.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use keys::sha256;
use store::Disk as _;
use store::fs::Folder;

use crate::roots::VerifiedChain;

/// Folder of the issuers, in the log's.
pub(crate) const FOLDER: &str = "issuers";
/// The most certificates that are remembered as kept; a log of this kind sees a handful.
const REMEMBERED: usize = 256;
/// What `pki` reads of a certificate at the most.
pub(crate) const MAX_ISSUER: u64 = 64 * 1024;

/// Certificates in files named by their SHA-256.
#[derive(Clone, Debug)]
pub(crate) struct Issuers {
    folder: Arc<Folder>,
    /// Durable ones, with their bytes.
    kept: Arc<Mutex<Kept>>,
}

/// Certificates by their fingerprints.
type Kept = BTreeMap<[u8; 32], Arc<[u8]>>;

impl Issuers {
    pub(crate) fn open(folder: &std::path::Path) -> io::Result<Self> {
        Ok(Self {
            folder: Arc::new(Folder::open(folder)?),
            kept: Arc::default(),
        })
    }

    /// Keeps the certificates of a chain; durable when this returns, which is before the entry that names them is appended. A crash between the two
    /// leaves a certificate that nothing refers to, and one before leaves nothing, or a file that the next submission writes again.
    pub(crate) fn keep(&self, chain: &VerifiedChain) -> io::Result<()> {
        for (fingerprint, certificate) in chain.fingerprints.iter().zip(&chain.issuers) {
            if self.kept().contains_key(fingerprint) {
                continue;
            }
            let path = path(fingerprint)?;
            // An earlier start has kept most of them. What is seen may not be durable yet, if that start was killed: written again it is.
            self.folder.replace_durable(&path, certificate.der())?;
            self.remember(*fingerprint, certificate.der().into());
        }
        Ok(())
    }

    /// A certificate by its fingerprint, compared with it.
    pub(crate) fn read(&self, fingerprint: &[u8; 32]) -> io::Result<Option<Arc<[u8]>>> {
        if let Some(kept) = self.kept().get(fingerprint) {
            return Ok(Some(kept.clone()));
        }
        let Some(bytes) = self.folder.read(&path(fingerprint)?, MAX_ISSUER)? else {
            return Ok(None);
        };
        if sha256(&bytes) != *fingerprint {
            let what = format!("the issuer {} is damaged", hex::encode(fingerprint));
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
        Ok(Some(bytes.into()))
    }

    fn remember(&self, fingerprint: [u8; 32], der: Arc<[u8]>) {
        let mut kept = self.kept();
        if kept.len() < REMEMBERED {
            kept.insert(fingerprint, der);
        }
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) fn path(fingerprint: &[u8; 32]) -> io::Result<store::Path> {
    store::Path::new(hex::encode(fingerprint))
        .ok_or_else(|| io::Error::other("a fingerprint is no path"))
}
