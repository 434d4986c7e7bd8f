//! Bringing the authority to life.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use axum::{Router, middleware};
use keys::PublicKey;
use pki::Certificate;
use serve::reload::Look;
use serve::{Allowance, Clock, Health, Live, Service};
use signer::{Signer, Watch};
use thiserror::Error;

use crate::api::State;
use crate::chain::{Chain, ChainError};
use crate::config::{BODY, Config};
use crate::ctlog::settings::CtLogConfig;
use crate::ctlog::{CtLog, RemoteLog};
use crate::figures::{self, Shown};
use crate::follow::{self, Follower};
use crate::issue::{Authority, Policy};
use crate::issuers::Issuers;
use crate::{grpc, http, ready};

/// What the authority needs from outside.
#[derive(Debug)]
pub struct Deps {
    /// The issuing key.
    pub signer: Signer,
    /// Issuing certificate first, root last.
    pub chain: Vec<Certificate>,
    /// Chains that will issue: clients are told of them before they do.
    pub next: Vec<Vec<Certificate>>,
    /// Chains that have issued: clients are told of them as long as their certificates are verified.
    pub retired: Vec<Vec<Certificate>>,
    /// Who witnesses certificates; nobody by an explicit word only.
    pub ct_log: Option<CtLog>,
    /// The identity providers.
    pub issuers: Issuers,
    /// What is issued.
    pub policy: Policy,
    /// The time.
    pub clock: Clock,
}

/// Why the authority cannot run.
#[derive(Debug, Error)]
pub enum BuildError {
    /// The chain it issues under.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// A chain of the past or of the future.
    #[error("a chain under next or retired")]
    OtherChain(#[source] ChainError),
}

/// Checks key and chains and makes the routes.
pub fn build(deps: Deps) -> Result<Router, BuildError> {
    let Deps {
        signer,
        chain,
        next,
        retired,
        ct_log,
        issuers,
        policy,
        clock,
    } = deps;
    serve::metrics::init();
    let known = |chains: Vec<Vec<Certificate>>| {
        let chains = chains.into_iter().map(Chain::known);
        chains
            .collect::<Result<Vec<_>, _>>()
            .map_err(BuildError::OtherChain)
    };
    let allowance = policy.identity_rate;
    let authority = Authority {
        chain: Chain::active(chain, signer.public_key(), clock.now())?,
        next: known(next)?,
        retired: known(retired)?,
        signer,
        ephemeral: false,
        ct_log,
        policy,
        allowance: allowance.map(|(rate, burst)| Arc::new(Allowance::new(rate, burst))),
        watch: Watch::default(),
    };
    Shown::default().show(&authority, clock.now());
    Ok(routes(State {
        authority: Live::new(authority),
        issuers: Live::new(issuers),
        clock,
    }))
}

fn routes(state: State) -> Router {
    figures::build_info();
    if state.authority.now().ct_log.is_none() {
        tracing::warn!("no CT log: certificates carry no SCT, and most clients refuse them");
    }
    let health = Health::serving().with_services(grpc::SERVICES);
    let router = http::routes(state.clone())
        .merge(grpc::routes(state.clone(), BODY))
        .merge(serve::grpc::health(&health))
        .merge(health.routes());
    let ready = ready::route(http::otherwise(router.clone()), state);
    http::otherwise(router.merge(ready)).layer(middleware::from_fn(figures::time))
}

/// The authority of a settings file, ready to be put on a socket. It follows its files: see [`Follower`].
pub async fn service(settings: &Path) -> anyhow::Result<Service> {
    let (service, follower) = open(settings).await?;
    tokio::spawn(follower.follow());
    Ok(service)
}

/// As [`service`], but whoever calls it says when the files are looked at.
pub async fn open(settings: &Path) -> anyhow::Result<(Service, Follower)> {
    let seen = Look::at([settings]);
    let config = Config::load(settings)?;
    let closing = serve::Closing::default();
    let clock = Clock::system();
    let follower = Follower::begin(
        settings,
        seen,
        &config.authority,
        clock.clone(),
        async |authority| witness(&config.ct_log, authority, &closing).await,
    )
    .await?;
    let state = State {
        authority: follower.authority().clone(),
        issuers: follower.issuers().clone(),
        clock,
    };
    let service = Service {
        closing,
        router: routes(state).into(),
        server: config.server,
    };
    Ok((service, follower))
}

/// The witness that the settings name. Logs that run in this process are served at their own address, until `closing`.
async fn witness(
    config: &CtLogConfig,
    authority: &Authority,
    closing: &serve::Closing,
) -> anyhow::Result<Option<CtLog>> {
    match config {
        CtLogConfig::Nobody => Ok(None),
        CtLogConfig::Log {
            url,
            public_key,
            origin,
            authorities,
            patience,
        } => {
            let key = follow::read(public_key).and_then(|text| Ok(PublicKey::from_pem(&text)?));
            let key =
                key.with_context(|| format!("ct_log.public_key: {}", public_key.display()))?;
            let authorities_pem = match authorities {
                Some(file) => follow::read(file)
                    .context("ct_log.authorities")?
                    .into_bytes(),
                None => Vec::new(),
            };
            let log = CtLog::at(RemoteLog {
                url: url.clone(),
                key,
                origin: origin.clone(),
                authorities_pem,
                patience: *patience,
            });
            Ok(Some(log.context("ct_log.url")?))
        }
        CtLogConfig::Here { settings } => {
            // What the authority's chains end in are roots of its log without a further word.
            let logs = ctlog_rs::app::serve_beside(settings, &authority.roots(), closing).await;
            let logs = logs.with_context(|| format!("ct_log.settings: {}", settings.display()))?;
            Ok(Some(CtLog::here(logs)))
        }
    }
}
