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
/// The most certificates that are remembered; a log of this kind sees a handful.
const REMEMBERED: usize = 256;
/// What `pki` reads of a certificate at the most.
pub(crate) const MAX_ISSUER: u64 = 64 * 1024;

/// Certificates in files named by their SHA-256.
#[derive(Clone, Debug)]
pub(crate) struct Issuers {
    folder: Arc<Folder>,
    remembered: Arc<Mutex<Remembered>>,
}

/// Certificates by their fingerprints, and whether this process has made them durable: what was only read may be gone after a loss of power, if
/// an earlier process was killed while it wrote.
type Remembered = BTreeMap<[u8; 32], (Arc<[u8]>, bool)>;

impl Issuers {
    pub(crate) fn open(folder: &std::path::Path) -> io::Result<Self> {
        Ok(Self {
            folder: Arc::new(Folder::open(folder)?),
            remembered: Arc::default(),
        })
    }

    /// Keeps the certificates of a chain; durable when this returns, which is before the entry that names them is appended. A crash between the two
    /// leaves a certificate that nothing refers to, and one before leaves nothing, or a file that the next submission writes again.
    pub(crate) fn keep(&self, chain: &VerifiedChain) -> io::Result<()> {
        for (fingerprint, certificate) in chain.fingerprints.iter().zip(&chain.issuers) {
            if self.is_durable(fingerprint) {
                continue;
            }
            // Also one that is there: once for each start, a sync of a small file.
            self.folder
                .replace_durable(&path(fingerprint)?, certificate.der())?;
            self.remember(*fingerprint, certificate.der().into(), true);
        }
        Ok(())
    }

    /// Whether [`keep`](Self::keep) has nothing to do.
    pub(crate) fn keeps(&self, chain: &VerifiedChain) -> bool {
        let mut fingerprints = chain.fingerprints.iter();
        fingerprints.all(|fingerprint| self.is_durable(fingerprint))
    }

    fn is_durable(&self, fingerprint: &[u8; 32]) -> bool {
        matches!(self.remembered().get(fingerprint), Some((_, true)))
    }

    /// A certificate by its fingerprint, if it is in memory.
    pub(crate) fn known(&self, fingerprint: &[u8; 32]) -> Option<Arc<[u8]>> {
        let remembered = self.remembered();
        remembered.get(fingerprint).map(|(der, _)| der.clone())
    }

    /// A certificate by its fingerprint, from its file, and compared with it.
    pub(crate) fn read(&self, fingerprint: &[u8; 32]) -> io::Result<Option<Arc<[u8]>>> {
        let Some(bytes) = self.folder.read(&path(fingerprint)?, MAX_ISSUER)? else {
            return Ok(None);
        };
        if sha256(&bytes) != *fingerprint {
            let what = format!("the issuer {} is damaged", hex::encode(fingerprint));
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
        let der: Arc<[u8]> = bytes.into();
        self.remember(*fingerprint, der.clone(), false);
        Ok(Some(der))
    }

    fn remember(&self, fingerprint: [u8; 32], der: Arc<[u8]>, durable: bool) {
        let mut remembered = self.remembered();
        let known = remembered.contains_key(&fingerprint);
        if known && !durable {
            return;
        }
        if !known && remembered.len() >= REMEMBERED {
            // What is written once more costs a sync, and nothing else.
            remembered.clear();
        }
        remembered.insert(fingerprint, (der, durable));
    }

    fn remembered(&self) -> std::sync::MutexGuard<'_, Remembered> {
        self.remembered
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) fn path(fingerprint: &[u8; 32]) -> io::Result<store::Path> {
    store::Path::new(hex::encode(fingerprint))
        .ok_or_else(|| io::Error::other("a fingerprint is no path"))
}
