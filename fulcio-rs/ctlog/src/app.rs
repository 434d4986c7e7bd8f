//! Bringing the logs to life.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use keys::Algorithm;
use note::VerifierKey;
use pki::Certificate;
use sequencer::{CheckpointSigner as _, LeafHashes, Log, OpenError, TreeHeadSigner, WeakLog};
use serve::{
    Clock, Closing, Health, Listeners, Routes, Server, Service, Stop, Switch, Tls, TlsFiles,
};
use signer::Signer;
use thiserror::Error;

use crate::config::{Config, LogConfig};
use crate::figures;
use crate::http::{self, About, State};
use crate::issuers::{self, Issuers};
use crate::leaf::CertificateLeaf;
use crate::roots::{self, Roots};
use crate::submit::{Logs, Parts, Submissions};

/// How often the settings are looked at for new logs.
const LOOK: Duration = Duration::from_secs(2);

/// What a log needs from outside.
#[derive(Clone, Debug)]
pub struct Deps {
    /// The log's key.
    pub signer: Signer,
    /// The certificates that chains must end in.
    pub roots: Roots,
    /// The time.
    pub clock: Clock,
}

/// Why the log cannot run.
#[derive(Debug, Error)]
pub enum BuildError {
    /// Not an ECDSA P-256 key.
    #[error("the log's key is {0}, and a CT log signs with ecdsa-sha2-256-nistp256")]
    Key(&'static str),
    /// No root, and nowhere to ask for some: nothing could be submitted.
    #[error(
        "the log has no roots: give log.roots, a file of certificates, or log.trust_bundle, the address of a CA"
    )]
    NoRoots,
    /// The log's name is no name of a key.
    #[error("the log's URL cannot be the name of a key")]
    Origin(#[source] note::KeyError),
    /// The engine refused.
    #[error("cannot open the log")]
    Open(#[source] OpenError),
    /// The folder of issuers cannot be opened.
    #[error("cannot open the folder of issuers")]
    Issuers(#[source] io::Error),
}

/// A running log. It is closed, with everything written, when the last clone of its router, and of what else is in here, is gone.
#[derive(Clone, Debug)]
pub struct App {
    /// What it answers, without what belongs to the whole service: health and figures.
    pub log_router: Router,
    /// What a service with this one log answers.
    pub router: Router,
    /// The engine below, for tools that run in the same process.
    pub log: Log<CertificateLeaf>,
    /// The way in.
    pub submissions: Submissions,
    /// What the log believes.
    pub roots: Roots,
}

/// The log's key as the engine uses it, and as others verify with it.
pub(crate) fn checkpoints(
    config: &LogConfig,
    signer: &Signer,
) -> Result<TreeHeadSigner, BuildError> {
    if signer.algorithm() != Algorithm::EcdsaP256Sha256 {
        return Err(BuildError::Key(signer.algorithm().registry_name()));
    }
    TreeHeadSigner::new(&config.origin(), signer.clone()).map_err(BuildError::Origin)
}

/// Opens a log and makes its routes. Must be called within a tokio runtime.
pub async fn build(config: &LogConfig, deps: Deps) -> Result<App, BuildError> {
    build_beside(config, deps, true).await
}

/// `alone`: it is the only log of its process, and so is found at the root besides.
async fn build_beside(config: &LogConfig, deps: Deps, alone: bool) -> Result<App, BuildError> {
    let Deps {
        signer,
        roots,
        clock,
    } = deps;
    let checkpoints = checkpoints(config, &signer)?;
    if roots.is_empty() && config.roots.bundle.is_none() {
        return Err(BuildError::NoRoots);
    }
    let issuers =
        Issuers::open(&config.folder.join(issuers::FOLDER)).map_err(BuildError::Issuers)?;
    let verifier: VerifierKey = checkpoints.verifier().clone();
    let clock: sequencer::Clock = Arc::new(move || clock.now());
    let log = Log::open(config.engine(), Arc::new(checkpoints), clock)
        .await
        .map_err(BuildError::Open)?;
    let health = Health::serving();
    watch(&log, &health);
    let origin = config.origin();
    tokio::spawn(figures::follow(origin.clone(), log.downgrade()));
    let submissions = Submissions::new(Parts {
        log: log.clone(),
        signer: signer.clone(),
        roots: roots.clone(),
        issuers: issuers.clone(),
        window: config.window,
        leaf_index: config.leaf_index,
        origin: origin.clone(),
    });
    let key = signer.public_key();
    let state = State {
        hashes: LeafHashes::follow(&log),
        log: log.clone(),
        submissions: submissions.clone(),
        verifier,
        roots: roots.clone(),
        issuers,
        about: Arc::new(About {
            origin: origin.into(),
            url: config.url.as_str().trim_end_matches('/').to_owned() + "/",
            log_id: key.key_id(),
            key: key.spki_der().to_vec(),
            window: config.window,
        }),
    };
    let log_router = http::routes(state, config.prefix(), alone);
    let mut app = App {
        router: Router::new(),
        log_router,
        log,
        submissions,
        roots,
    };
    app.router = whole(std::slice::from_ref(&app), &health);
    Ok(app)
}

/// What a service with these logs answers.
fn whole(apps: &[App], health: &Health) -> Router {
    let mut router = Router::new();
    for app in apps {
        router = router.merge(app.log_router.clone());
    }
    router
        .merge(health.routes())
        .merge(readiness(apps.to_vec(), health.clone()))
}

/// `/readyz`: may clients send entries here? That a frozen log takes none is as it should be, as long as there is another one.
fn readiness(apps: Vec<App>, health: Health) -> Router {
    let ready = async move || {
        if health.failure().is_some() {
            return (StatusCode::SERVICE_UNAVAILABLE, "not ready\n");
        }
        let open = apps.iter().filter(|app| !app.log.is_frozen());
        let mut some = false;
        for app in open {
            some = true;
            if app.roots.is_empty() {
                return (StatusCode::SERVICE_UNAVAILABLE, "no roots yet\n");
            }
            if app.log.is_full() {
                return (StatusCode::SERVICE_UNAVAILABLE, "overloaded\n");
            }
        }
        if some {
            (StatusCode::OK, "ready\n")
        } else {
            (StatusCode::SERVICE_UNAVAILABLE, "frozen: reads only\n")
        }
    };
    Router::new().route("/readyz", get(ready))
}

/// The service is as healthy as each of its logs. Ends when the log ends.
fn watch(log: &Log<CertificateLeaf>, health: &Health) {
    let (stopped, health) = (log.stopped(), health.clone());
    tokio::spawn(async move {
        if let Some(reason) = stopped.await {
            health.fail(reason);
        }
    });
}

/// The logs of a settings file, running, for a program that has other things to do as well.
#[derive(Debug)]
pub struct Site {
    /// Where they are to be served.
    pub server: Server,
    /// What they answer; new logs of the settings are taken up.
    pub routes: Routes,
    /// The way into them.
    pub logs: Logs,
    /// Of all of them.
    pub health: Health,
}

impl Site {
    /// Opens the logs of a settings file; `roots` are believed besides those of the settings. They are closed with `closing`, or with their
    /// routes.
    pub async fn open(
        settings: &Path,
        roots: &[Certificate],
        closing: &Closing,
    ) -> anyhow::Result<Self> {
        let Config {
            server,
            logs,
            may_grow,
        } = Config::load(settings)?;
        let health = Health::serving();
        let mut running = Running {
            settings: settings.to_owned(),
            roots: roots.to_vec(),
            health: health.clone(),
            logs: Logs::default(),
            apps: Vec::new(),
            known: BTreeSet::new(),
            open: Arc::default(),
            alone: logs.len() == 1,
        };
        for log in &logs {
            running.add(log).await?;
        }
        let router = whole(&running.apps, &health);
        let logs = running.logs.clone();
        running.close_at_the_end(closing);
        let routes = if may_grow {
            let (switch, routes) = Routes::switchable(router);
            tokio::spawn(running.follow(switch));
            routes
        } else {
            // The logs end with their routes.
            router.into()
        };
        Ok(Self {
            server,
            routes,
            logs,
            health,
        })
    }
}

/// What looks at the settings for new logs.
struct Running {
    settings: PathBuf,
    roots: Vec<Certificate>,
    health: Health,
    logs: Logs,
    apps: Vec<App>,
    /// Folders of the logs that are open.
    known: BTreeSet<PathBuf>,
    /// The same logs, for whoever closes them.
    open: Arc<Mutex<Vec<WeakLog<CertificateLeaf>>>>,
    /// Whether there was one log at the start: it stays at the root, where its clients found it.
    alone: bool,
}

impl Running {
    async fn add(&mut self, config: &LogConfig) -> anyhow::Result<()> {
        let named = || config.url.to_string();
        anyhow::ensure!(
            config.prefix().is_some() || !self.alone || self.apps.is_empty(),
            "{}: the first log answers without a path, as it was alone when the service started; restart it for this one",
            config.url
        );
        let signer = Signer::open(&config.key).await;
        let signer = signer.context("log.key").with_context(named)?;
        let roots = roots::open(&config.roots, &config.folder, &self.roots).await;
        let deps = Deps {
            signer,
            roots: roots.with_context(named)?,
            clock: Clock::system(),
        };
        let alone = self.alone && self.apps.is_empty();
        let app = build_beside(config, deps, alone).await;
        let app = app.with_context(named)?;
        watch(&app.log, &self.health);
        let head = app.log.published().head;
        tracing::info!(
            origin = config.origin(),
            size = %head.size,
            root = %head.root,
            frozen = app.log.is_frozen(),
            "the log is open"
        );
        self.logs.push(app.submissions.clone());
        self.open
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(app.log.downgrade());
        self.apps.push(app);
        self.known.insert(config.folder.clone());
        Ok(())
    }

    fn close_at_the_end(&self, closing: &Closing) {
        let (begun, open) = (closing.begun(), self.open.clone());
        closing.add(async move {
            begun.await;
            let logs = std::mem::take(&mut *open.lock().unwrap_or_else(PoisonError::into_inner));
            for log in logs.iter().filter_map(WeakLog::upgrade) {
                log.close().await;
            }
        });
    }

    /// Takes up new tables of the settings. What else is changed in them waits for the next start.
    async fn follow(mut self, switch: Switch) {
        let mut told = String::new();
        loop {
            // When nobody answers with these routes any more, the service has ended.
            tokio::select! {
                () = switch.unused() => return,
                () = tokio::time::sleep(LOOK) => {}
            }
            let config = match Config::load(&self.settings) {
                Ok(config) => config,
                Err(error) => {
                    tell(&mut told, format!("{error}"));
                    continue;
                }
            };
            let new = |log: &&LogConfig| !self.known.contains(&log.folder);
            let new: Vec<LogConfig> = config.logs.iter().filter(new).cloned().collect();
            for log in &new {
                match self.add(log).await {
                    Ok(()) => switch.set(whole(&self.apps, &self.health)),
                    Err(error) => tell(&mut told, format!("{error:#}")),
                }
            }
        }
    }
}

/// Once for each thing.
fn tell(told: &mut String, what: String) {
    if *told != what {
        tracing::error!(cause = what, "a new log of the settings is not taken up");
        *told = what;
    }
}

/// The logs of a settings file, ready to be put on a socket.
pub async fn service(settings: &Path) -> anyhow::Result<Service> {
    let closing = Closing::default();
    let site = Site::open(settings, &[], &closing).await?;
    Ok(Service {
        closing,
        server: site.server,
        router: site.routes,
    })
}

/// Runs the logs of a settings file in the process of another service, at their own address, until `closing`. `roots` are believed besides
/// those of the settings.
pub async fn serve_beside(
    settings: &Path,
    roots: &[Certificate],
    closing: &Closing,
) -> anyhow::Result<Logs> {
    let Site {
        server,
        routes,
        logs,
        ..
    } = Site::open(settings, roots, closing).await?;
    let tls = server.tls.as_ref().map(|files| {
        Tls::load(&TlsFiles {
            certificate: serve::settings::beside(settings, &files.certificate),
            key: serve::settings::beside(settings, &files.key),
        })
    });
    let tls = tls.transpose().context("server.tls_certificate")?;
    let listeners = Listeners::bind(&server.listen).await?.with_tls(tls);
    let (handle, stop) = Stop::new();
    let serving = tokio::spawn(serve::run(
        listeners,
        "ctlog-rs",
        routes,
        server.limits,
        stop,
    ));
    let begun = closing.begun();
    closing.add(async move {
        begun.await;
        handle.stop();
        // It fails only when the runtime is going away.
        let _ = serving.await;
    });
    Ok(logs)
}
