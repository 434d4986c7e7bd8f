//! What scripts ask a stack: is it up, where is a service, and give me an image to sign.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::demo;
use crate::state::{Addresses, Name};

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(50);

/// Waits until every service of a stack answers that it works.
pub async fn wait(state: &Path, limit: Duration) -> Result<()> {
    let start = Instant::now();
    loop {
        let silent = match silent(state) {
            Ok(None) => return Ok(()),
            Ok(Some(why)) | Err(why) => why,
        };
        if start.elapsed() > limit {
            bail!(
                "the stack on {} is not up after {} s: {silent:#}; `sigstack up` says why",
                state.display(),
                limit.as_secs()
            );
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Why a service does not answer; none if all do.
fn silent(state: &Path) -> Result<Option<anyhow::Error>> {
    let addresses = Addresses::read(state)?;
    let folder = state;
    for name in Name::ALL {
        let port = addresses
            .port(name)
            .with_context(|| format!("{} has no port", name.as_str()))?;
        let address = serve::ListenAddress::localhost(port);
        if let Err(error) = serve::program::check_health(&address) {
            return Ok(Some(error.context(name.as_str())));
        }
    }
    if is_this_one(folder, &addresses)? {
        return Ok(None);
    }
    Ok(Some(anyhow::anyhow!(
        "another stack answers at {}",
        addresses.rekor
    )))
}

/// Whether the log that answers has the key in the folder's trusted root: a stack that found its ports taken is not up, whoever has them.
fn is_this_one(state: &Path, addresses: &Addresses) -> Result<bool> {
    let port = addresses.port(Name::Rekor).context("rekor has no port")?;
    let address = serve::ListenAddress::localhost(port);
    let pem = serve::program::get(&address, "/api/v1/log/publicKey")?;
    let key: String = pem
        .lines()
        .filter(|line| !line.starts_with("-----"))
        .collect();
    let trusted = std::fs::read_to_string(state.join("trusted_root.json"))?;
    Ok(!key.is_empty() && trusted.contains(&key))
}

/// The base URL of a service.
pub fn address(state: &Path, service: Name) -> Result<String> {
    Ok(Addresses::read(state)?.of(service).to_owned())
}

/// Pushes the demo's image and gives its reference by digest.
pub async fn image(state: &Path, reference: &str) -> Result<String> {
    let (registry, path) = match reference.split_once('/') {
        Some((host, path)) if host.contains(':') => (format!("http://{host}"), path),
        _ => (Addresses::read(state)?.registry, reference),
    };
    let (name, tag) = path.split_once(':').unwrap_or((path, "latest"));
    demo::push(&registry, name, tag).await
}
