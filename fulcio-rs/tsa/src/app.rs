//! Bringing the authority to life.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::extract::Request as HttpRequest;
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use keys::HashAlgorithm;
use pki::Certificate;
use serve::{Clock, Closing, Health, Service};
use signer::Signer;
use tokio::sync::Mutex;
use tsp::{Request, verify_answer};

use crate::admit::{Door, is_valid_at};
use crate::config::{Config, TsaConfig};
use crate::desk::{BuildError, Desk, Officer};
use crate::figures;
use crate::http::{self, State};
use crate::time::{Memory, Ticks, Timekeeper};

/// The largest chain file that is read: three certificates have 4 kB.
const MAX_CHAIN_FILE: u64 = 256 * 1024;

/// From one look at the chain's file to the next. It is looked at and not watched: that sees a folder swapped by a symbolic link, as Kubernetes
/// does it.
const LOOK: Duration = Duration::from_secs(5);

/// How long an answer of `/readyz` counts: each makes a token, and a key in a token or behind a network has better things to do.
const PROBE_LASTS: Duration = Duration::from_secs(5);

/// What the authority needs from outside.
#[derive(Clone, Debug)]
pub struct Deps {
    /// The authority's key.
    pub signer: Signer,
    /// Its chain, leaf first.
    pub chain: Vec<Certificate>,
    /// The time of day, for the certificates.
    pub clock: Clock,
    /// The time, for tokens.
    pub time: Timekeeper,
}

/// A running authority.
#[derive(Clone, Debug)]
pub struct App {
    /// What it answers.
    pub router: Router,
    /// Who signs.
    pub desk: Desk,
}

/// Checks chain and key and makes the routes.
pub fn build(config: &TsaConfig, deps: Deps) -> Result<App, BuildError> {
    let Deps {
        signer,
        chain,
        clock,
        time,
    } = deps;
    let desk = Desk::new(Officer::new(config, signer, chain, clock.now())?);
    let policies = config.accepted_policies.clone();
    let door = Door::new(policies, config.resolution, time.clone());
    let state = State {
        door: door.clone(),
        desk: desk.clone(),
        created: config.created,
    };
    let probe = Probe {
        desk: desk.clone(),
        door,
        last: Arc::default(),
    };
    let router = http::routes(state)
        .merge(health(desk.clone(), clock, time))
        .merge(readiness(probe))
        .layer(middleware::from_fn(figures::count));
    Ok(App { router, desk })
}

/// `/healthz` and `/metrics`. Before each answer the chain's validity is looked at: an authority whose certificates have run out cannot work.
fn health(desk: Desk, clock: Clock, time: Timekeeper) -> Router {
    let health = Health::serving();
    let routes = health.routes();
    routes.layer(middleware::from_fn(
        move |request: HttpRequest, next: Next| {
            let officer = desk.officer();
            let (chain, now) = (officer.authority().chain(), clock.now());
            let doubt = time.now().err();
            figures::standing(chain, now, doubt.map(|doubt| doubt.reason()));
            match (is_valid_at(chain, now), health.failure()) {
                (false, None) => {
                    health.fail(format!("the certificate chain is not valid at {now}"));
                }
                (true, Some(_)) => health.recover(),
                (true, None) | (false, Some(_)) => {}
            }
            next.run(request)
        },
    ))
}

/// Finds out whether a request would get a token.
#[derive(Clone, Debug)]
struct Probe {
    desk: Desk,
    door: Door,
    /// When it was last found out by whom, and what. Whoever asks meanwhile waits, and gets the same answer.
    last: Arc<Mutex<Option<Found>>>,
}

#[derive(Debug)]
struct Found {
    officer: Arc<Officer>,
    at: std::time::Instant,
    works: bool,
}

/// `GET /readyz`: a token is made and verified, by the same road as for everybody.
fn readiness(probe: Probe) -> Router {
    let ready = async move || -> Response {
        if probe.works().await {
            (StatusCode::OK, "ready\n").into_response()
        } else {
            (StatusCode::SERVICE_UNAVAILABLE, "not ready\n").into_response()
        }
    };
    Router::new().route("/readyz", get(ready))
}

impl Probe {
    async fn works(&self) -> bool {
        let officer = self.desk.officer();
        // Costs nothing, and so is asked each time.
        let stated = match self.door.time(officer.authority()) {
            Ok(stated) => stated,
            Err(why) => {
                tracing::warn!(%why, "not ready");
                return false;
            }
        };
        let mut last = self.last.lock().await;
        if let Some(found) = last.as_ref()
            && Arc::ptr_eq(&found.officer, &officer)
            && found.at.elapsed() < PROBE_LASTS
        {
            return found.works;
        }
        let request = Request {
            imprint: HashAlgorithm::Sha256.digest(b"readyz"),
            policy: None,
            nonce: Some(vec![1]),
            certificates: false,
        };
        let works = match officer.stamp(&request, stated).await {
            Ok(token) => {
                let verified = verify_answer(&token, &request, officer.authority().chain());
                verified
                    .inspect_err(|why| tracing::error!(%why, "not ready"))
                    .is_ok()
            }
            Err(why) => {
                tracing::error!(
                    error = format!("{:#}", anyhow::Error::from(why)),
                    "not ready"
                );
                false
            }
        };
        *last = Some(Found {
            officer,
            at: std::time::Instant::now(),
            works,
        });
        works
    }
}

/// The authority of a settings file, ready to be put on a socket.
pub async fn service(settings: &Path) -> anyhow::Result<Service> {
    let config = Config::load(settings)?;
    let clock = Clock::system();
    let text = read_chain(&config.chain)
        .with_context(|| format!("tsa.chain: {}", config.chain.display()))?;
    let time = Timekeeper::new(
        clock.clone(),
        Ticks::system(),
        config.time.watch.clone(),
        config.time.state_file.as_ref().map(Memory::at),
    )
    .context("time.state_file")?;
    let deps = Deps {
        signer: Signer::open(&config.key).await.context("tsa.key")?,
        chain: Certificate::chain_from_pem(&text)
            .with_context(|| format!("tsa.chain: {}", config.chain.display()))?,
        clock: clock.clone(),
        time: time.clone(),
    };
    let App { router, desk } = build(&config.tsa, deps)?;
    let closing = Closing::default();
    if time.is_watched() {
        closing.add(time.watch(closing.begun()));
    }
    closing.add(take_new_chains(
        Files {
            config: config.clone(),
            clock,
            desk,
            taken: text,
        },
        closing.begun(),
    ));
    Ok(Service {
        closing,
        server: config.server,
        router: router.into(),
    })
}

/// Key and chain as the settings name them.
struct Files {
    config: Config,
    clock: Clock,
    desk: Desk,
    /// The chain file that is in use.
    taken: String,
}

/// Takes key and chain again when the chain's file has changed. They may be replaced in any order, and together: as long as they do not fit,
/// the old ones stay.
async fn take_new_chains(mut files: Files, end: impl Future<Output = ()>) {
    let following = async {
        let mut turn = tokio::time::interval(LOOK);
        turn.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut told = String::new();
        loop {
            turn.tick().await;
            files.look(&mut told).await;
        }
    };
    tokio::select! {
        () = end => {}
        () = following => {}
    }
}

impl Files {
    async fn look(&mut self, told: &mut String) {
        match self.refresh().await {
            Ok(true) => {
                told.clear();
                tracing::info!(chain = %self.config.chain.display(), "took a new key and certificate chain");
            }
            Ok(false) => told.clear(),
            Err(error) => {
                // Once, and not every few seconds.
                let text = format!("{error:#}");
                if text != *told {
                    tracing::warn!(
                        error = text,
                        "the new key and certificate chain cannot be used, the old ones stay"
                    );
                    *told = text;
                }
            }
        }
    }

    async fn refresh(&mut self) -> anyhow::Result<bool> {
        let path = self.config.chain.clone();
        let keys: Vec<_> = self
            .config
            .key
            .files()
            .into_iter()
            .map(Path::to_owned)
            .collect();
        let read = move || {
            for path in keys.iter().chain([&path]) {
                serve::reload::check_regular(path)?;
            }
            read_chain(&path)
        };
        let text = tokio::task::spawn_blocking(read).await?;
        let text = text.context("tsa.chain")?;
        if text == self.taken {
            return Ok(false);
        }
        let chain = Certificate::chain_from_pem(&text).context("tsa.chain")?;
        let signer = Signer::open(&self.config.key).await.context("tsa.key")?;
        let officer = Officer::new(&self.config.tsa, signer, chain, self.clock.now())?;
        self.desk.replace(officer);
        self.taken = text;
        Ok(true)
    }
}

fn read_chain(path: &Path) -> anyhow::Result<String> {
    use std::io::Read as _;
    let mut text = String::new();
    let file = std::fs::File::open(path)?;
    file.take(MAX_CHAIN_FILE).read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    use clap::Parser as _;

    use crate::args::{Arguments, Command};
    use crate::commands::init;

    async fn make(folder: &Path) {
        let url = [
            "tsa-rs",
            "init",
            "--url",
            "http://localhost:3004",
            "--folder",
        ];
        let folder = folder.to_str().unwrap();
        let arguments = Arguments::try_parse_from(url.into_iter().chain([folder])).unwrap();
        let Some(Command::Init(arguments)) = arguments.command else {
            panic!("init");
        };
        init::run(&arguments).await.unwrap();
    }

    #[tokio::test]
    async fn key_and_chain_are_replaced_in_any_order_and_by_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        make(&at("one")).await;
        make(&at("two")).await;
        // The service sees `now`, which is a link to one of them.
        std::os::unix::fs::symlink("one", at("now")).unwrap();
        let config = Config::load(&at("now/tsa-rs.toml")).unwrap();
        let text = read_chain(&config.chain).unwrap();
        let chain = |name: &str| {
            let text = read_chain(&at(name).join("chain.pem")).unwrap();
            Certificate::chain_from_pem(&text).unwrap()
        };
        let clock = Clock::system();
        let deps = Deps {
            signer: Signer::open(&config.key).await.unwrap(),
            chain: chain("one"),
            clock: clock.clone(),
            time: Timekeeper::unwatched(clock.clone()),
        };
        let App { desk, .. } = build(&config.tsa, deps).unwrap();
        let mut files = Files {
            config,
            clock,
            desk: desk.clone(),
            taken: text,
        };
        let serves = |name: &str| desk.officer().authority().chain() == chain(name);
        assert!(!files.refresh().await.unwrap());

        std::fs::remove_file(at("now")).unwrap();
        assert!(files.refresh().await.is_err());
        std::os::unix::fs::symlink("two", at("now")).unwrap();
        assert!(files.refresh().await.unwrap());
        assert!(serves("two") && !files.refresh().await.unwrap());

        // One after the other: as long as they do not fit, nothing changes.
        make(&at("three")).await;
        std::fs::copy(at("three/chain.pem"), at("two/chain.pem")).unwrap();
        let error = format!("{:#}", files.refresh().await.unwrap_err());
        assert!(error.contains("is not the key's"), "{error}");
        assert!(!serves("three"));
        std::fs::copy(at("three/key.pem"), at("two/key.pem")).unwrap();
        assert!(files.refresh().await.unwrap());
        assert!(serves("three"));

        std::fs::write(at("two/chain.pem"), "").unwrap();
        assert!(files.refresh().await.is_err());
        assert!(serves("three"));

        // A pipe is not waited for.
        for name in ["chain.pem", "key.pem"] {
            std::fs::remove_file(at("two").join(name)).unwrap();
            let made = std::process::Command::new("mkfifo")
                .arg(at("two").join(name))
                .status();
            assert!(made.unwrap().success());
            let patience = std::time::Duration::from_secs(20);
            let refreshed = tokio::time::timeout(patience, files.refresh()).await;
            let error = refreshed.expect("it waits for the pipe").unwrap_err();
            assert!(
                format!("{error:#}").contains("is no regular file"),
                "{error:#}"
            );
            assert!(serves("three"));
            std::fs::remove_file(at("two").join(name)).unwrap();
            std::fs::copy(at("one").join(name), at("two").join(name)).unwrap();
        }
        assert!(files.refresh().await.unwrap());
        assert!(serves("one"));
    }
}
