//! A certificate for a key of one's own, from files.

use std::path::Path;

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use keys::PublicKey;
use pki::Certificate;
use sign::{OwnCertificate, OwnCertificateError};

use crate::args::SigningKey;
use crate::failure::advice;
use crate::trust_files::read_at_most;

/// The largest file of certificates.
const FILE_MAX: u64 = 1 << 20;

/// The certificate that the flags name, if they name one, when it goes with the key and the chain.
pub(super) fn read(flags: &SigningKey, key: &PublicKey) -> Result<Option<OwnCertificate>> {
    let Some(path) = &flags.certificate else {
        return Ok(None);
    };
    let (leaf, beside) = signers(path)?;
    let above = match &flags.certificate_chain {
        Some(chain) => authorities(chain)?,
        None if beside => {
            return Err(advice(
                format!("--certificate {} has several certificates", path.display()),
                "put those above the signer's into a file of their own, the root last, and name it with --certificate-chain",
            ));
        }
        None => Vec::new(),
    };
    OwnCertificate::new(leaf, above, key, Timestamp::now())
        .map(Some)
        .map_err(|error| {
            let next = match &error {
                OwnCertificateError::OtherKey => "name the certificate of this --key, or the key of this certificate",
                OwnCertificateError::NotNow { .. } => "have the authority renew it; see also whether this machine's clock is right",
                OwnCertificateError::Authority => "name the certificate of the one who signs; an authority's goes into --certificate-chain",
                OwnCertificateError::Chain(_) => "--certificate-chain has the authority that signed the certificate first and the root last, and the certificate has to be for code signing",
            };
            let shown = path.display();
            advice(format!("--certificate {shown}: {:#}", anyhow::Error::from(error)), next)
        })
}

/// The first certificate of a file, PEM or DER, and whether there are more.
fn signers(path: &Path) -> Result<(Certificate, bool)> {
    let reading = || format!("the certificate {}", path.display());
    let bytes = read_at_most(path, FILE_MAX)?;
    if !bytes.starts_with(b"-----") {
        let leaf = Certificate::from_der(&bytes);
        return leaf.with_context(reading).map(|leaf| (leaf, false));
    }
    let text = std::str::from_utf8(&bytes).with_context(reading)?;
    let found = Certificate::chain_from_pem(text).with_context(reading)?;
    let several = found.len() > 1;
    let leaf = found.into_iter().next();
    let leaf = leaf.with_context(|| format!("{} has no certificate", path.display()))?;
    Ok((leaf, several))
}

fn authorities(path: &Path) -> Result<Vec<Certificate>> {
    let reading = || format!("the chain {}", path.display());
    let bytes = read_at_most(path, FILE_MAX)?;
    let text = std::str::from_utf8(&bytes).with_context(reading)?;
    Certificate::chain_from_pem(text).with_context(reading)
}
