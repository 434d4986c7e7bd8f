//! The files that say whom to trust and whom to call.

use std::path::Path;

use anyhow::{Context as _, Result};
use trust::{ClientTrustConfig, SigningConfig, TrustedRoot};
use verify::Expect;

use crate::args;
use crate::failure::{advice, usage};
use crate::trust_domain;

/// The most that is read of one of these files; the parser takes no larger document either.
const FILE_MAX: u64 = 16 << 20;

/// Whom to trust: a file, or what the trust domain's repository says.
pub(crate) async fn trusted_root(trust: &args::Trust) -> Result<TrustedRoot> {
    if let Some(path) = &trust.trust_config {
        return Ok(trust_config(path)?.root);
    }
    match &trust.trusted_root {
        Some(path) => root_of(path),
        None => trust_domain::trusted_root(&trust.following).await,
    }
}

/// The trusted root in a file.
pub(crate) fn root_of(path: &Path) -> Result<TrustedRoot> {
    let bytes = read(path)?;
    TrustedRoot::parse(&bytes)
        .map_err(|error| mixed_up(&bytes, path, "trusted root", error))
        .with_context(|| format!("the trusted root {}", path.display()))
}

/// The signing config in a file.
pub(crate) fn config_of(path: &Path) -> Result<SigningConfig> {
    let bytes = read(path)?;
    SigningConfig::parse(&bytes)
        .map_err(|error| mixed_up(&bytes, path, "signing config", error))
        .with_context(|| format!("the signing config {}", path.display()))
}

/// The three kinds of file look alike: when one is passed as another, that is the error, and not the first member that does not fit.
fn mixed_up(
    bytes: &[u8],
    path: &Path,
    wanted: &str,
    error: impl std::error::Error + Send + Sync + 'static,
) -> anyhow::Error {
    let document: Option<serde_json::Value> = serde_json::from_slice(bytes).ok();
    let media_type = document
        .as_ref()
        .and_then(|document| document.get("mediaType")?.as_str());
    let media_type = media_type.unwrap_or_default();
    let kinds = [
        ("trusted root", "trustedroot", "--trusted-root"),
        ("signing config", "signingconfig", "--signing-config"),
        ("trust config", "clienttrustconfig", "--trust-config"),
    ];
    let other = kinds.into_iter().find(|(kind, word, _)| {
        *kind != wanted && media_type.contains(&format!("dev.sigstore.{word}"))
    });
    match other {
        Some((kind, _, flag)) => advice(
            format!("{} is a {kind}, not a {wanted}", path.display()),
            format!("pass it with {flag}"),
        ),
        None => error.into(),
    }
}

/// Whom to trust and whom to call. A signing config without the trusted root of the same instance is of no use, nor the other way round, so that
/// either both are named or neither.
pub(crate) async fn for_signing(
    trust: &args::Trust,
    services: &args::Services,
) -> Result<(TrustedRoot, SigningConfig)> {
    if let Some(path) = &trust.trust_config {
        let config = trust_config(path)?;
        return Ok((config.root, config.signing));
    }
    match (&trust.trusted_root, &services.signing_config) {
        (Some(root), Some(config)) => Ok((root_of(root)?, config_of(config)?)),
        (None, None) => trust_domain::for_signing(&trust.following).await,
        (Some(_), None) => Err(usage(
            "a trusted root without a signing config: which certificate authority, log and timestamp authority sign with you?",
            "pass --signing-config too, or --trust-config, which has both; `sigstack up` writes all three",
        )),
        (None, Some(_)) => Err(usage(
            "a signing config without a trusted root: nobody could tell whether what its services answer holds",
            "pass --trusted-root too, or --trust-config, which has both",
        )),
    }
}

/// The same for a key of one's own, which signs without anybody's help too: none where it is not logged and nobody else is named.
pub(crate) async fn for_signing_with_key(
    trust: &args::Trust,
    services: &args::Services,
    logged: bool,
) -> Result<Option<(TrustedRoot, SigningConfig)>> {
    if !logged && is_unnamed(trust) && services.signing_config.is_none() {
        return Ok(None);
    }
    for_signing(trust, services).await.map(Some)
}

/// Whom to trust when verifying. A signature that nobody but the key's holder has seen needs nobody's word, unless somebody is named.
pub(crate) async fn for_verifying(expect: &Expect, trust: &args::Trust) -> Result<TrustedRoot> {
    match expect {
        Expect::UnloggedKey(_) if is_unnamed(trust) => Ok(TrustedRoot::default()),
        _ => trusted_root(trust).await,
    }
}

/// No flag says whom to trust.
const fn is_unnamed(trust: &args::Trust) -> bool {
    trust.trust_config.is_none()
        && trust.trusted_root.is_none()
        && trust.following.trust_domain.is_none()
}

fn trust_config(path: &Path) -> Result<ClientTrustConfig> {
    let bytes = read(path)?;
    ClientTrustConfig::parse(&bytes)
        .map_err(|error| mixed_up(&bytes, path, "trust config", error))
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

    const PUBLIC_GOOD: &[u8] = include_bytes!("../../../testdata/trust/public-good.json");
    const PUBLIC_GOOD_SIGNING: &[u8] =
        include_bytes!("../../../testdata/trust/public-good-signing.json");

    #[test]
    fn a_file_of_another_kind_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), PUBLIC_GOOD).unwrap();
        let root = format!("{:#}", config_of(file.path()).unwrap_err());
        assert!(
            root.ends_with("is a trusted root, not a signing config"),
            "{root}"
        );
        let root = format!("{:#}", trust_config(file.path()).unwrap_err());
        assert!(
            root.ends_with("is a trusted root, not a trust config"),
            "{root}"
        );
        std::fs::write(file.path(), PUBLIC_GOOD_SIGNING).unwrap();
        let config = format!("{:#}", root_of(file.path()).unwrap_err());
        assert!(
            config.ends_with("is a signing config, not a trusted root"),
            "{config}"
        );
        std::fs::write(file.path(), "{}").unwrap();
        let neither = format!("{:#}", root_of(file.path()).unwrap_err());
        assert!(!neither.contains("is a signing config"), "{neither}");
    }

    #[test]
    fn a_file_over_the_limit_is_refused_before_it_is_all_read() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), [0; 11]).unwrap();
        assert!(read_at_most(file.path(), 10).is_err());
        assert_eq!(read_at_most(file.path(), 11).unwrap().len(), 11);
    }
}
