//! The files of flags about TLS: whom we believe, and who we are.

use std::path::{Path, PathBuf};

use anyhow::Result;
use zeroize::Zeroizing;

use crate::failure::advice;
use crate::trust_files::read_at_most;

const PEM_MAX: u64 = 4 << 20;

/// As four flags name it.
pub(crate) struct TlsFiles<'a> {
    pub(crate) authorities: Option<&'a PathBuf>,
    pub(crate) certificate: Option<&'a PathBuf>,
    pub(crate) key: Option<&'a PathBuf>,
    pub(crate) server_name: Option<&'a String>,
}

impl TlsFiles<'_> {
    /// Whether any of them is there.
    pub(crate) const fn say_something(&self) -> bool {
        self.authorities.is_some()
            || self.certificate.is_some()
            || self.key.is_some()
            || self.server_name.is_some()
    }

    /// Calls are made so.
    pub(crate) fn put_into(&self, settings: &mut client::Settings) -> Result<()> {
        settings.server_name = self.server_name.cloned();
        if let Some(path) = self.authorities {
            settings.extra_roots_pem = certificates(path)?.to_vec();
        }
        if let (Some(certificate), Some(key)) = (self.certificate, self.key) {
            let mut pem = certificates(certificate)?;
            pem.push(b'\n');
            pem.extend_from_slice(&Zeroizing::new(read_at_most(key, PEM_MAX)?));
            settings.client_identity_pem = Some(pem);
        }
        Ok(())
    }
}

/// An empty list would silently be the system's alone, or nobody.
fn certificates(path: &Path) -> Result<Zeroizing<Vec<u8>>> {
    let pem = Zeroizing::new(read_at_most(path, PEM_MAX)?);
    let text = std::str::from_utf8(&pem);
    if text.is_ok_and(|text| text.contains("-----BEGIN CERTIFICATE-----")) {
        return Ok(pem);
    }
    Err(advice(
        format!("{} has no certificate in PEM", path.display()),
        "openssl x509 -inform der makes PEM of a certificate in DER",
    ))
}
