//! The services that only this program has, from their settings files: identity provider, registry, TUF repository. The stack and the
//! containers start them the same way.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::Deserialize;
use serve::{Clock, Limits, ServerSettings, Service, settings};
use signer::Signer;

use crate::args::Part;
use crate::issuer::{self, Minter};
use crate::trust_files::TrustFiles;
use crate::{registry, repository};

/// Layers are large, and a push over a slow disk takes its time.
const REGISTRY_LIMITS: Limits = Limits {
    header: Duration::from_secs(15),
    request: Duration::from_mins(10),
    connection: Duration::from_mins(30),
    drain: Duration::from_secs(2),
    body: 1 << 30,
    // They go to the disk as they come.
    bodies: usize::MAX,
    answers: usize::MAX,
    answer: Duration::from_mins(10),
    connections: 256,
    streams: 64,
    rate: None,
};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawIssuer {
    server: ServerSettings,
    issuer: IssuerTable,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct IssuerTable {
    url: String,
    key: PathBuf,
    clients: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRegistry {
    server: ServerSettings,
    registry: RegistryTable,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RegistryTable {
    folder: PathBuf,
    referrers: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTuf {
    server: ServerSettings,
    tuf: TufTable,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TufTable {
    folder: PathBuf,
}

/// Brings a part to life from its settings file.
pub(crate) async fn build(part: Part, config: &Path) -> Result<Service> {
    match part {
        Part::Issuer => {
            let raw: RawIssuer = settings::load(config)?;
            let signer = Signer::load(&settings::beside(config, &raw.issuer.key))?;
            let minter = Minter::new(raw.issuer.url, signer)?;
            let router = issuer::build(issuer::Settings {
                minter,
                clients: raw.issuer.clients,
                clock: Clock::system(),
            });
            Ok(Service {
                closing: serve::Closing::default(),
                server: raw.server.checked(Limits::default())?,
                router: router.into(),
            })
        }
        Part::Registry => {
            let raw: RawRegistry = settings::load(config)?;
            let folder = settings::beside(config, &raw.registry.folder);
            let router = registry::build(&registry::Settings {
                folder,
                referrers: raw.registry.referrers,
            })
            .await?;
            Ok(Service {
                closing: serve::Closing::default(),
                server: raw.server.checked(REGISTRY_LIMITS)?,
                router: router.into(),
            })
        }
        Part::Tuf => {
            let raw: RawTuf = settings::load(config)?;
            let router =
                repository::build(&settings::beside(config, &raw.tuf.folder), Clock::system())?;
            Ok(Service {
                closing: serve::Closing::default(),
                server: raw.server.checked(Limits::default())?,
                router: router.into(),
            })
        }
    }
}

/// Publishes the trust files as TUF targets.
pub(crate) async fn publish(
    folder: &Path,
    signers: &repository::Signers,
    files: &TrustFiles,
    clock: &Clock,
) -> Result<()> {
    let targets = std::collections::BTreeMap::from([
        (
            ::repository::TRUSTED_ROOT.to_owned(),
            files.trusted_root.clone(),
        ),
        (
            ::repository::SIGNING_CONFIG.to_owned(),
            files.signing_config.clone(),
        ),
    ]);
    repository::refresh(folder, signers, &targets, clock.now())
        .await
        .context("the TUF repository")
}
