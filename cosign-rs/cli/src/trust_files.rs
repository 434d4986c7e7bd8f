//! The files that say whom to trust and whom to call.

use std::path::Path;

use anyhow::{Context as _, Result};
use trust::{ClientTrustConfig, SigningConfig, TrustedRoot};

use crate::args;
use crate::failure::{advice, say};

/// The trusted root of the public-good instance, which is what people mean who name none.
const PUBLIC_GOOD: &[u8] = include_bytes!("../../../testdata/trust/public-good.json");
/// When it was taken from sigstore/root-signing. It is as old as this program and learns nothing new.
const PUBLIC_GOOD_TAKEN: &str = "2026-08-21";
/// The most that is read of one of these files; the parser takes no larger document either.
const FILE_MAX: u64 = 16 << 20;

/// Whom to trust.
pub(crate) fn trusted_root(trust: &args::Trust) -> Result<TrustedRoot> {
    if let Some(path) = &trust.trust_config {
        return Ok(trust_config(path)?.root);
    }
    let Some(path) = &trust.trusted_root else {
        say(&format!(
            "note: trusting the public-good instance as of {PUBLIC_GOOD_TAKEN}; --trusted-root names another one"
        ));
        return TrustedRoot::parse(PUBLIC_GOOD).context("the built-in trusted root");
    };
    TrustedRoot::parse(&read(path)?).with_context(|| format!("the trusted root {}", path.display()))
}

/// Whom to trust and whom to call. A signing config has no default: whoever signs says into which log.
pub(crate) fn for_signing(
    trust: &args::Trust,
    services: &args::Services,
) -> Result<(TrustedRoot, SigningConfig)> {
    if let Some(path) = &trust.trust_config {
        let config = trust_config(path)?;
        return Ok((config.root, config.signing));
    }
    let Some(path) = &services.signing_config else {
        return Err(advice(
            "no signing config: which certificate authority, log and timestamp authority sign with you?",
            "pass --trust-config, or --signing-config with --trusted-root; `sigstack up` writes all three",
        ));
    };
    let config = SigningConfig::parse(&read(path)?)
        .with_context(|| format!("the signing config {}", path.display()))?;
    Ok((trusted_root(trust)?, config))
}

fn trust_config(path: &Path) -> Result<ClientTrustConfig> {
    ClientTrustConfig::parse(&read(path)?)
        .with_context(|| format!("the trust config {}", path.display()))
}

/// Reads a whole file of at most [`FILE_MAX`] bytes.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>> {
    read_at_most(path, FILE_MAX)
}

/// Reads a whole file that must not be larger.
pub(crate) fn read_at_most(path: &Path, limit: u64) -> Result<Vec<u8>> {
    use std::io::Read as _;
    let reading = || format!("reading {}", path.display());
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .with_context(reading)?
        .take(limit.saturating_add(1))
        .read_to_end(&mut bytes)
        .with_context(reading)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > limit {
        anyhow::bail!("{} is larger than {limit} bytes", path.display());
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_root_is_readable_and_names_all_four_kinds() {
        let root = TrustedRoot::parse(PUBLIC_GOOD).unwrap();
        assert_eq!(root.tlogs.len(), 2);
        assert_eq!(root.ctlogs.len(), 2);
        assert_eq!(root.authorities.len(), 2);
        assert_eq!(root.timestamp_authorities.len(), 1);
    }

    #[test]
    fn a_file_over_the_limit_is_refused_before_it_is_all_read() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), [0; 11]).unwrap();
        assert!(read_at_most(file.path(), 10).is_err());
        assert_eq!(read_at_most(file.path(), 11).unwrap().len(), 11);
    }
}
