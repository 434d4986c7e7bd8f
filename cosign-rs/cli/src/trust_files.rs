//! The files that say whom to trust and whom to call.

use std::path::Path;

use anyhow::{Context as _, Result};
use trust::{ClientTrustConfig, SigningConfig, TrustedRoot};

use crate::args;
use crate::failure::{advice, say};

/// The trusted root of the public-good instance, which is what people mean who name none.
const PUBLIC_GOOD: &[u8] = include_bytes!("../../../testdata/trust/public-good.json");
/// The services of the public-good instance, with its Rekor v2 log.
const PUBLIC_GOOD_SIGNING: &[u8] =
    include_bytes!("../../../testdata/trust/public-good-signing.json");
/// When both were taken from sigstore/root-signing. They are as old as this program and learn nothing new.
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
    root_of(path)
}

fn root_of(path: &Path) -> Result<TrustedRoot> {
    let bytes = read(path)?;
    TrustedRoot::parse(&bytes)
        .map_err(|error| mixed_up(&bytes, path, "trusted root", error))
        .with_context(|| format!("the trusted root {}", path.display()))
}

fn config_of(path: &Path) -> Result<SigningConfig> {
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
pub(crate) fn for_signing(
    trust: &args::Trust,
    services: &args::Services,
) -> Result<(TrustedRoot, SigningConfig)> {
    if let Some(path) = &trust.trust_config {
        let config = trust_config(path)?;
        return Ok((config.root, config.signing));
    }
    match (&trust.trusted_root, &services.signing_config) {
        (Some(root), Some(config)) => Ok((root_of(root)?, config_of(config)?)),
        (None, None) => {
            say(&format!(
                "note: signing with the public-good instance as of {PUBLIC_GOOD_TAKEN}: your identity goes into its public logs; --trust-config names another one"
            ));
            Ok((
                TrustedRoot::parse(PUBLIC_GOOD).context("the built-in trusted root")?,
                SigningConfig::parse(PUBLIC_GOOD_SIGNING).context("the built-in signing config")?,
            ))
        }
        (Some(_), None) => Err(advice(
            "a trusted root without a signing config: which certificate authority, log and timestamp authority sign with you?",
            "pass --signing-config too, or --trust-config, which has both; `sigstack up` writes all three",
        )),
        (None, Some(_)) => Err(advice(
            "a signing config without a trusted root: nobody could tell whether what its services answer holds",
            "pass --trusted-root too, or --trust-config, which has both",
        )),
    }
}

/// The same for a key of one's own, which signs without anybody's help too: none where it is not logged and nobody else is named.
pub(crate) fn for_signing_with_key(
    trust: &args::Trust,
    services: &args::Services,
    logged: bool,
) -> Result<Option<(TrustedRoot, SigningConfig)>> {
    let nobody = trust.trust_config.is_none() && services.signing_config.is_none();
    if !logged && nobody {
        return Ok(None);
    }
    for_signing(trust, services).map(Some)
}

/// Whether the public-good instance is called because nobody named another one.
pub(crate) const fn is_public_by_default(trust: &args::Trust, services: &args::Services) -> bool {
    trust.trust_config.is_none()
        && trust.trusted_root.is_none()
        && services.signing_config.is_none()
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

    #[test]
    fn the_built_in_root_is_readable_and_names_all_four_kinds() {
        let root = TrustedRoot::parse(PUBLIC_GOOD).unwrap();
        assert_eq!(root.tlogs.len(), 2);
        assert_eq!(root.ctlogs.len(), 2);
        assert_eq!(root.authorities.len(), 2);
        assert_eq!(root.timestamp_authorities.len(), 1);
    }

    #[test]
    fn the_built_in_services_are_those_of_the_built_in_root() {
        let config = SigningConfig::parse(PUBLIC_GOOD_SIGNING).unwrap();
        let now = format!("{PUBLIC_GOOD_TAKEN}T00:00:00Z").parse().unwrap();
        let services = sign::Services::select(&config, now, 0).unwrap();
        assert_eq!(
            services.fulcio().map(url::Url::as_str),
            Some("https://fulcio.sigstore.dev/")
        );
        let root = TrustedRoot::parse(PUBLIC_GOOD).unwrap();
        let log = services.logs()[0].as_str().trim_end_matches('/');
        assert!(
            root.tlogs.iter().any(|known| known.base_url == log),
            "{log}"
        );
    }

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
