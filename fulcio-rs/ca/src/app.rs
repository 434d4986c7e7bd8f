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
use url::Url;

use crate::config::{Config, CtLogConfig};
use crate::ctlog::CtLog;
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
    /// URL and key of the CT log; none by an explicit word only.
    pub ct_log: Option<(Url, PublicKey)>,
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
    /// The log's URL is none.
    #[error("the CT log's URL")]
    CtLog(#[from] url::ParseError),
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
    let ct_log = ct_log.map(|(url, key)| CtLog::new(&url, key)).transpose()?;
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
    let ct_log = match &config.ct_log {
        CtLogConfig::Nobody => None,
        CtLogConfig::Log { url, public_key } => {
            let key = read(public_key).and_then(|text| Ok(PublicKey::from_pem(&text)?));
            let key =
                key.with_context(|| format!("ct_log.public_key: {}", public_key.display()))?;
            Some((url.clone(), key))
        }
    };
    let issuers = issuers(&config)?;
    let deps = Deps {
        signer: Signer::open(&config.authority.key)
            .await
            .context("ca.key")?,
        chain: read(&config.authority.chain)
            .and_then(|text| Ok(Certificate::chain_from_pem(&text)?))
            .with_context(|| format!("ca.chain: {}", config.authority.chain.display()))?,
        ct_log,
        issuers,
        clock: Clock::system(),
    };
    Ok(Service {
        closing: serve::Closing::default(),
        router: build(deps)?.into(),
        server: config.server,
    })
}

/// The identity providers of the settings.
fn issuers(config: &Config) -> anyhow::Result<Issuers> {
    let path = &config.authority.issuers;
    let settings = client::Settings {
        attempts: 2,
        // A client waits for it, and has less patience than a request's limit.
        connect_timeout: Duration::from_secs(3),
        read_timeout: Duration::from_secs(4),
        call_timeout: Duration::from_secs(4),
        ..client::Settings::default()
    };
    let issuers = Issuers::parse(read(path)?.as_bytes(), &settings)
        .with_context(|| path.display().to_string())?;
    for warning in issuers.warnings() {
        tracing::warn!(file = %path.display(), "{warning}");
    }
    Ok(if config.authority.single_use_tokens {
        issuers.using_tokens_once()
    } else {
        issuers
    })
}

fn read(path: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    let file = std::fs::File::open(path).with_context(|| path.display().to_string())?;
    file.take(MAX_FILE)
        .read_to_string(&mut text)
        .with_context(|| path.display().to_string())?;
    Ok(text)
}
