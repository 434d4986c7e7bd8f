//! TLS of a listener: certificate and key from files, read again when they change.
//!
//! TLS 1.2 and 1.3 with the library's defaults, HTTP/2 and HTTP/1.1 by ALPN. New files are taken when they can be read, fit each other and
//! differ from the old ones; until then, and when they do not fit, the old certificate stays. So it does not matter in which order the two
//! files are replaced, or whether a whole folder is swapped by a symbolic link as Kubernetes does.

use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use thiserror::Error;
use tokio_rustls::TlsAcceptor;

use crate::reload::{Account, LOOK};

/// The longest chain and key that are read, in bytes.
const FILE_MAX: u64 = 256 << 10;

/// Where certificate and key are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// PEM, the server's certificate first, then the intermediates.
    pub certificate: PathBuf,
    /// PEM: PKCS#8, SEC1 or PKCS#1.
    pub key: PathBuf,
}

/// The files cannot be used.
#[derive(Debug, Error)]
pub enum TlsError {
    /// One of them cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Everybody may read the key, or its group may write it.
    #[error("everybody may read {path}, the key of the TLS certificate, or its group write it: run chmod g-w,o-rwx {path}", path = .0.display())]
    Exposed(PathBuf),
    /// No certificate or key in the file.
    #[error("{path} has no {what} in PEM")]
    Pem {
        /// Which.
        path: PathBuf,
        /// Certificate, or private key.
        what: &'static str,
    },
    /// The two do not fit, or the key is of a kind that is not supported.
    #[error("certificate and key cannot be used together")]
    Pair(#[source] rustls::Error),
}

/// A server's side of TLS.
#[derive(Clone)]
pub struct Tls {
    files: TlsFiles,
    current: Arc<Current>,
    config: Arc<ServerConfig>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_tuple("Tls").field(&self.files).finish()
    }
}

#[derive(Debug)]
struct Current(RwLock<(Vec<u8>, Arc<CertifiedKey>)>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let current = self.0.read().unwrap_or_else(PoisonError::into_inner);
        Some(current.1.clone())
    }
}

impl Tls {
    /// Reads the files.
    pub fn load(files: &TlsFiles) -> Result<Self, TlsError> {
        let (certificate, key) = (read(&files.certificate)?, read_key(&files.key)?);
        let pair = pair(files, &certificate, &key)?;
        let current = Arc::new(Current(RwLock::new((certificate, pair))));
        let mut config =
            ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
                .with_safe_default_protocol_versions()
                .map_err(TlsError::Pair)?
                .with_no_client_auth()
                .with_cert_resolver(current.clone());
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self {
            files: files.clone(),
            current,
            config: Arc::new(config),
        })
    }

    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.config.clone())
    }

    /// Takes new files if there are; whether there were. Blocks.
    pub fn refresh(&self) -> Result<bool, TlsError> {
        let certificate = read(&self.files.certificate)?;
        {
            let current = self.current.0.read();
            if current.unwrap_or_else(PoisonError::into_inner).0 == certificate {
                return Ok(false);
            }
        }
        let pair = pair(&self.files, &certificate, &read_key(&self.files.key)?)?;
        let mut current = self
            .current
            .0
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        *current = (certificate, pair);
        Ok(true)
    }

    /// Looks at the files again and again, for ever.
    pub(crate) async fn watch(self) {
        let mut turn = tokio::time::interval(LOOK);
        let mut account = Account::new("TLS certificate");
        loop {
            turn.tick().await;
            let tls = self.clone();
            let Ok(outcome) = tokio::task::spawn_blocking(move || tls.refresh()).await else {
                return;
            };
            account.note(&outcome);
        }
    }
}

fn pair(files: &TlsFiles, certificate: &[u8], key: &[u8]) -> Result<Arc<CertifiedKey>, TlsError> {
    let missing = |path: &Path, what| TlsError::Pem {
        path: path.to_owned(),
        what,
    };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificate).collect();
    let chain = chain.ok().filter(|chain| !chain.is_empty());
    let chain = chain.ok_or_else(|| missing(&files.certificate, "certificate"))?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| missing(&files.key, "private key"))?;
    let pair = CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider());
    pair.map(Arc::new).map_err(TlsError::Pair)
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    let failed = |source| TlsError::Read {
        path: path.to_owned(),
        source,
    };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(FILE_MAX)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    Ok(bytes)
}

fn read_key(path: &Path) -> Result<zeroize::Zeroizing<Vec<u8>>, TlsError> {
    let failed = |source| TlsError::Read {
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(failed)?;
    // A group may read: that is how certificate managers share a key with a service.
    if file.metadata().map_err(failed)?.permissions().mode() & 0o037 != 0 {
        return Err(TlsError::Exposed(path.to_owned()));
    }
    let mut bytes = zeroize::Zeroizing::new(Vec::new());
    file.take(FILE_MAX)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    Ok(bytes)
}
