//! Bringing the authority to life.

use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use keys::PublicKey;
use pki::{Certificate, oid};
use serve::{Clock, Health, Service};
use signer::Signer;
use thiserror::Error;

use crate::config::Config;
use crate::ctlog::settings::CtLogConfig;
use crate::ctlog::{CtLog, RemoteLog};
use crate::http::{self, State};
use crate::issue::Authority;
use crate::issuers::{Issuers, MAX_FILE};

/// What the authority needs from outside.
#[derive(Debug)]
pub struct Deps {
    /// The issuing key.
    pub signer: Signer,
    /// Issuing certificate first, root last.
    pub chain: Vec<Certificate>,
    /// Who witnesses certificates; nobody by an explicit word only.
    pub ct_log: Option<CtLog>,
    /// The identity providers.
    pub issuers: Issuers,
    /// The time.
    pub clock: Clock,
}

/// Why the authority cannot run.
#[derive(Debug, Error)]
pub enum BuildError {
    /// No certificate.
    #[error("the chain is empty")]
    NoChain,
    /// The first certificate is about another key.
    #[error("the first certificate of the chain is not the key's")]
    Key,
    /// A certificate of the chain may not do what it has to.
    #[error("the certificate {subject:?} of the chain {what}")]
    Chain {
        /// Its subject.
        subject: String,
        /// What is wrong with it.
        what: &'static str,
    },
}

/// Checks key and chain and makes the routes.
pub fn build(deps: Deps) -> Result<Router, BuildError> {
    let Deps {
        signer,
        chain,
        ct_log,
        issuers,
        clock,
    } = deps;
    check_chain(&chain, &signer, &clock)?;
    if ct_log.is_none() {
        tracing::warn!("no CT log: certificates carry no SCT, and most clients refuse them");
    }
    let state = State {
        authority: Arc::new(Authority {
            signer,
            chain,
            ct_log,
        }),
        issuers: Arc::new(issuers),
        clock,
    };
    Ok(http::routes(state).merge(Health::serving().routes()))
}

fn check_chain(chain: &[Certificate], signer: &Signer, clock: &Clock) -> Result<(), BuildError> {
    let issuing = chain.first().ok_or(BuildError::NoChain)?;
    if issuing.public_key() != signer.public_key() {
        return Err(BuildError::Key);
    }
    let now = clock.now();
    for (position, certificate) in chain.iter().enumerate() {
        let wrong = |what| {
            Err(BuildError::Chain {
                subject: certificate.subject_text(),
                what,
            })
        };
        // The last one is a root, or trusted as it is.
        let issuer = chain.get(position.saturating_add(1)).unwrap_or(certificate);
        if !certificate.is_ca() || !certificate.may_sign_certificates() {
            return wrong("may not sign certificates");
        }
        if !certificate.is_valid_at(now) {
            return wrong("is not valid now");
        }
        if certificate.issuer_der() != issuer.subject_der()
            || !certificate.is_signed_by(issuer.public_key())
        {
            return wrong("is not signed by the next one");
        }
        if certificate
            .purposes()
            .is_some_and(|(_, purposes)| !purposes.contains(&oid::CODE_SIGNING))
        {
            return wrong("is not for code signing");
        }
    }
    Ok(())
}

/// The authority of a settings file, ready to be put on a socket.
pub async fn service(settings: &Path) -> anyhow::Result<Service> {
    let config = Config::load(settings)?;
    let closing = serve::Closing::default();
    let chain = read(&config.authority.chain)
        .and_then(|text| Ok(Certificate::chain_from_pem(&text)?))
        .with_context(|| format!("ca.chain: {}", config.authority.chain.display()))?;
    let ct_log = witness(&config.ct_log, &chain, &closing).await?;
    let issuers = &config.authority.issuers;
    let deps = Deps {
        signer: Signer::open(&config.authority.key)
            .await
            .context("ca.key")?,
        chain,
        ct_log,
        issuers: Issuers::parse(
            read(issuers)?.as_bytes(),
            &client::Settings {
                attempts: 2,
                // A client waits for it, and has less patience than a request's limit.
                connect_timeout: Duration::from_secs(3),
                read_timeout: Duration::from_secs(4),
                call_timeout: Duration::from_secs(4),
                ..client::Settings::default()
            },
        )
        .with_context(|| issuers.display().to_string())?,
        clock: Clock::system(),
    };
    Ok(Service {
        closing,
        router: build(deps)?.into(),
        server: config.server,
    })
}

/// The witness that the settings name. Logs that run in this process are served at their own address, until `closing`.
async fn witness(
    config: &CtLogConfig,
    chain: &[Certificate],
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
            let key = read(public_key).and_then(|text| Ok(PublicKey::from_pem(&text)?));
            let key =
                key.with_context(|| format!("ct_log.public_key: {}", public_key.display()))?;
            let authorities_pem = match authorities {
                Some(file) => read(file).context("ct_log.authorities")?.into_bytes(),
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
            // What the authority's chain ends in is a root of its log without a further word.
            let roots: Vec<Certificate> = chain.last().cloned().into_iter().collect();
            let logs = ctlog_rs::app::serve_beside(settings, &roots, closing).await;
            let logs = logs.with_context(|| format!("ct_log.settings: {}", settings.display()))?;
            Ok(Some(CtLog::here(logs)))
        }
    }
}

fn read(path: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    let file = std::fs::File::open(path).with_context(|| path.display().to_string())?;
    file.take(MAX_FILE)
        .read_to_string(&mut text)
        .with_context(|| path.display().to_string())?;
    Ok(text)
}
