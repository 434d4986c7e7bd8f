//! The files of flags about TLS: whom we believe, and who we are.

use std::path::PathBuf;

use anyhow::Result;
use zeroize::Zeroizing;

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
            settings.extra_roots_pem = read_at_most(path, PEM_MAX)?;
        }
        if let (Some(certificate), Some(key)) = (self.certificate, self.key) {
            let mut pem = Zeroizing::new(read_at_most(certificate, PEM_MAX)?);
            pem.push(b'\n');
            pem.extend_from_slice(&Zeroizing::new(read_at_most(key, PEM_MAX)?));
            settings.client_identity_pem = Some(pem);
        }
        Ok(())
    }
}
