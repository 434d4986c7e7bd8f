//! Services that run, and what a trusted root says of them.
//!
//! What is asked: Fulcio's chain (`/api/v2/trustBundle`), the timestamp authority's (`/api/v1/timestamp/certchain`), the keys of the logs
//! (`/api/v2/log/publicKey` of rekor-rs, `/api/v1/log/publicKey` of Rekor v1, `/log.v3.json` of static CT logs). Other logs do not tell their
//! key: it comes as a file. What the network said is shown with its SHA-256 before anybody signs it: whoever signs compares it with what
//! the service's own machine says.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use client::{Agent, Call};
use jiff::Timestamp as Time;
use keys::PublicKey;
use pki::Certificate;
use trust::ServiceKind;
use trust::author::{self, AuthorityKind, LogKind};
use url::Url;
use wire::trustroot as shape;

use crate::error::RepositoryError;

/// The largest answer: a bundle of chains.
const ANSWER_MAX: usize = 256 << 10;

/// Services of one deployment.
#[derive(Clone, Debug, Default)]
pub struct Services {
    /// Certificate authorities.
    pub fulcio: Vec<Url>,
    /// CT logs, each with its key if it does not tell it.
    pub ctlog: Vec<(Url, Option<PublicKey>)>,
    /// Rekor v2 logs, likewise. The first one is signed with.
    pub rekor: Vec<(Url, Option<PublicKey>)>,
    /// Rekor v1 logs, likewise. They are trusted; signed with only where there is no v2 log.
    pub rekor_v1: Vec<(Url, Option<PublicKey>)>,
    /// Timestamp authorities.
    pub tsa: Vec<Url>,
    /// Identity providers.
    pub oidc: Vec<Url>,
}

/// What was found.
#[derive(Clone, Debug)]
pub struct Found {
    /// Whom to trust.
    pub root: shape::TrustedRoot,
    /// Whom to call.
    pub config: shape::SigningConfig,
    /// Keys and certificates with their SHA-256, to compare.
    pub seen: Vec<String>,
}

/// Asks all of them. All are valid, and signed with, from `since` on.
pub async fn discover(
    agent: &Agent,
    services: &Services,
    operator: &str,
    since: Time,
) -> Result<Found, RepositoryError> {
    let mut found = Found {
        root: author::empty_root(),
        config: author::empty_config(),
        seen: Vec::new(),
    };
    for url in &services.fulcio {
        let chains = fulcio_chains(agent, url).await?;
        for chain in &chains {
            found.seen.push(format!("{url}: {}", chain_seen(chain)));
            author::add_authority(
                &mut found.root,
                AuthorityKind::Certificates,
                url.as_str(),
                chain,
                since,
            )?;
        }
        author::open_service(
            &mut found.config,
            ServiceKind::Fulcio,
            url.as_str(),
            1,
            operator,
            since,
        )?;
    }
    for url in &services.oidc {
        author::open_service(
            &mut found.config,
            ServiceKind::Oidc,
            url.as_str(),
            1,
            operator,
            since,
        )?;
    }
    let logs = [
        (LogKind::RekorV2, &services.rekor),
        (LogKind::RekorV1, &services.rekor_v1),
        (LogKind::Ct, &services.ctlog),
    ];
    for (kind, list) in logs {
        for (url, key) in list {
            let key = log_key(agent, kind, url, key.as_ref()).await?;
            found
                .seen
                .push(format!("{url}: log key {}", hex::encode(key.key_id())));
            author::add_log(&mut found.root, kind, url.as_str(), &key, since)?;
        }
    }
    let (version, signed_with) = if services.rekor.is_empty() {
        (1, &services.rekor_v1)
    } else {
        (2, &services.rekor)
    };
    for (url, _) in signed_with {
        author::open_service(
            &mut found.config,
            ServiceKind::Rekor,
            url.as_str(),
            version,
            operator,
            since,
        )?;
    }
    for url in &services.tsa {
        let chain = tsa_chain(agent, url).await?;
        found.seen.push(format!("{url}: {}", chain_seen(&chain)));
        author::add_authority(
            &mut found.root,
            AuthorityKind::Timestamps,
            url.as_str(),
            &chain,
            since,
        )?;
        let endpoint = tsa_endpoint(url);
        author::open_service(
            &mut found.config,
            ServiceKind::Tsa,
            &endpoint,
            1,
            operator,
            since,
        )?;
    }
    Ok(found)
}

/// The whole path: clients post to it as it is.
pub fn tsa_endpoint(base: &Url) -> String {
    format!("{}/api/v1/timestamp", base.as_str().trim_end_matches('/'))
}

/// Every chain that a Fulcio issues under.
pub async fn fulcio_chains(
    agent: &Agent,
    base: &Url,
) -> Result<Vec<Vec<Certificate>>, RepositoryError> {
    let url = below(base, "api/v2/trustBundle")?;
    let body = get(agent, &url).await?;
    let bundle: wire::fulcio::TrustBundle = serde_json::from_slice(&body)
        .map_err(|error| service(&url, format!("no trust bundle: {error}")))?;
    let chains: Vec<Vec<Certificate>> = bundle
        .chains
        .iter()
        .map(|chain| {
            chain
                .certificates
                .iter()
                .map(|pem| {
                    Certificate::from_pem(pem).map_err(|error| service(&url, error.to_string()))
                })
                .collect()
        })
        .collect::<Result<_, _>>()?;
    if chains.is_empty() || chains.iter().any(Vec::is_empty) {
        return Err(service(&url, "it names no chain".to_owned()));
    }
    Ok(chains)
}

/// The chain of a timestamp authority, its own certificate first.
pub async fn tsa_chain(agent: &Agent, base: &Url) -> Result<Vec<Certificate>, RepositoryError> {
    let url = below(base, "api/v1/timestamp/certchain")?;
    let body = get(agent, &url).await?;
    let chain = Certificate::chain_from_pem(&String::from_utf8_lossy(&body))
        .map_err(|error| service(&url, error.to_string()))?;
    if chain.is_empty() {
        return Err(service(&url, "an empty chain".to_owned()));
    }
    Ok(chain)
}

/// The key of a log, asked for if it was not given; for Rekor v2 it has to open the log's checkpoint under the name that clients look for.
pub async fn log_key(
    agent: &Agent,
    kind: LogKind,
    base: &Url,
    given: Option<&PublicKey>,
) -> Result<PublicKey, RepositoryError> {
    let key = match given {
        Some(key) => key.clone(),
        None => ask_key(agent, kind, base).await?,
    };
    if kind == LogKind::RekorV2 {
        let url = below(base, "api/v2/checkpoint")?;
        let checkpoint = get(agent, &url).await?;
        let origin = checkpoint
            .split(|byte| *byte == b'\n')
            .next()
            .unwrap_or_default();
        let origin = String::from_utf8_lossy(origin).into_owned();
        let host = base.host_str().unwrap_or_default();
        if origin != host {
            return Err(service(
                &url,
                format!(
                    "the log calls itself {origin:?}, and clients look for {host:?}, the host of its URL: no checkpoint of it would verify"
                ),
            ));
        }
    }
    Ok(key)
}

async fn ask_key(agent: &Agent, kind: LogKind, base: &Url) -> Result<PublicKey, RepositoryError> {
    let path = match kind {
        LogKind::RekorV1 => "api/v1/log/publicKey",
        LogKind::RekorV2 => "api/v2/log/publicKey",
        LogKind::Ct => "log.v3.json",
    };
    let url = below(base, path)?;
    let body = get(agent, &url).await.map_err(|error| match error {
        RepositoryError::Service { url, what } => RepositoryError::Service {
            url,
            what: format!("{what}; a log that does not tell its key is named with a file of it, as URL=KEY.pem"),
        },
        other => other,
    })?;
    let key = match kind {
        LogKind::Ct => {
            let log: serde_json::Value =
                serde_json::from_slice(&body).map_err(|error| service(&url, error.to_string()))?;
            let der = log
                .get("key")
                .and_then(serde_json::Value::as_str)
                .and_then(|text| STANDARD.decode(text).ok());
            let der = der.ok_or_else(|| service(&url, "it has no key".to_owned()))?;
            PublicKey::from_spki_der(&der)
        }
        _ => PublicKey::from_pem(&String::from_utf8_lossy(&body)),
    };
    key.map_err(|error| service(&url, error.to_string()))
}

async fn get(agent: &Agent, url: &Url) -> Result<Vec<u8>, RepositoryError> {
    let call = Call::get(url.clone()).limit(ANSWER_MAX);
    let answer = agent
        .send(&call)
        .await
        .map_err(|error| service(url, error.to_string()))?;
    let answer = answer
        .expect(&[200])
        .map_err(|error| service(url, error.to_string()))?;
    Ok(answer.body.to_vec())
}

fn below(base: &Url, path: &str) -> Result<Url, RepositoryError> {
    let text = format!("{}/{path}", base.as_str().trim_end_matches('/'));
    Url::parse(&text).map_err(|error| service(base, error.to_string()))
}

fn chain_seen(chain: &[Certificate]) -> String {
    let shown: Vec<String> = chain
        .iter()
        .map(|one| {
            format!(
                "{} (SHA-256 {})",
                one.subject_text(),
                hex::encode(keys::sha256(one.der()))
            )
        })
        .collect();
    shown.join(" under ")
}

fn service(url: &Url, what: String) -> RepositoryError {
    RepositoryError::Service {
        url: url.to_string(),
        what,
    }
}
