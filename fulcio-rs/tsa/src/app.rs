//! Bringing the authority to life.

use std::path::Path;

use anyhow::Context as _;
use axum::Router;
use axum::extract::Request;
use axum::middleware::{self, Next};
use pki::{Certificate, PathError};
use serve::{Clock, Health, Service};
use signer::Signer;
use thiserror::Error;
use tsp::Authority;

use crate::admit::Door;
use crate::config::{Certificates, Config, TsaConfig};
use crate::http::{self, State};

/// The largest chain file that is read: three certificates have 4 kB.
const MAX_CHAIN_FILE: u64 = 256 * 1024;

/// What the authority needs from outside.
#[derive(Clone, Debug)]
pub struct Deps {
    /// The authority's key.
    pub signer: Signer,
    /// Its chain, leaf first.
    pub chain: Vec<Certificate>,
    /// The time.
    pub clock: Clock,
}

/// Why the authority cannot run.
#[derive(Debug, Error)]
pub enum BuildError {
    /// A leaf alone, or nothing.
    #[error("the chain has {0} certificates; the signer's own and its root are the least")]
    Short(usize),
    /// The leaf is about another key.
    #[error("the first certificate of the chain is not the key's")]
    Key,
    /// A link does not hold, or the leaf is not made for timestamps alone.
    #[error("the chain cannot be used")]
    Path(#[source] PathError),
}

/// Checks chain and key and makes the routes.
pub fn build(config: &TsaConfig, deps: Deps) -> Result<Router, BuildError> {
    let Deps {
        signer,
        chain,
        clock,
    } = deps;
    let leaf = match chain.as_slice() {
        [leaf, _, ..] => leaf,
        short => return Err(BuildError::Short(short.len())),
    };
    if leaf.public_key() != signer.public_key() {
        return Err(BuildError::Key);
    }
    let pem = chain.iter().map(Certificate::to_pem).collect::<String>();
    let whole_chain = config.certificates == Certificates::Chain;
    let authority = Authority::new(chain, Some(config.policy), whole_chain, clock.now());
    let authority = authority.map_err(BuildError::Path)?;
    let door = Door::new(authority, config.accepted_policies.clone(), clock);
    let state = State {
        door: door.clone(),
        signer,
        chain: pem.into(),
    };
    Ok(http::routes(state).merge(health(door)))
}

/// `/healthz` and `/metrics`. Before each answer the chain's validity is looked at: an authority whose certificates have run out cannot work.
fn health(door: Door) -> Router {
    let health = Health::serving();
    let routes = health.routes();
    routes.layer(middleware::from_fn(move |request: Request, next: Next| {
        match (door.check_time(), health.failure()) {
            (Err(why), None) => health.fail(why.to_string()),
            (Ok(_), Some(_)) => health.recover(),
            (Ok(_), None) | (Err(_), Some(_)) => {}
        }
        next.run(request)
    }))
}

/// The authority of a settings file, ready to be put on a socket.
pub async fn service(settings: &Path) -> anyhow::Result<Service> {
    let config = Config::load(settings)?;
    let deps = Deps {
        signer: Signer::open(&config.key).await.context("tsa.key")?,
        chain: read_chain(&config.chain)
            .with_context(|| format!("tsa.chain: {}", config.chain.display()))?,
        clock: Clock::system(),
    };
    let router = build(&config.tsa, deps)?;
    Ok(Service {
        closing: serve::Closing::default(),
        server: config.server,
        router: router.into(),
    })
}

fn read_chain(path: &Path) -> anyhow::Result<Vec<Certificate>> {
    use std::io::Read as _;
    let mut text = String::new();
    let file = std::fs::File::open(path)?;
    file.take(MAX_CHAIN_FILE).read_to_string(&mut text)?;
    Ok(Certificate::chain_from_pem(&text)?)
}
