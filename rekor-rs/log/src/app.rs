//! Bringing the log to life.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;

use anyhow::Context as _;
use axum::{Router, middleware};
use note::VerifierKey;
use sequencer::{CheckpointSigner as _, Leaf, Log, NoteSigner, OpenError, WeakLog};
use serve::{Clock, Closing, Health, Routes, Service, Switch};
use signer::Signer;
use thiserror::Error;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::admit::Door;
use crate::config::{BODY, Config, KEY_ALGORITHM, LogConfig};
use crate::figures;
use crate::forward::Forward;
use crate::gate::Gate;
use crate::grpc;
use crate::http::{self, State, Writes};
use crate::leaf::Entry;
use crate::search::http::{SearchApi, V2};
use crate::search::{self, Identity, Search, SearchPlace};
use crate::storage::{Ground, Storage};
use crate::v1::config::{ShardConfig, V1Config};
use crate::v1::shards::Shard;
use crate::v1::{self, Access, Attestations, GiveUp, Shards, Trees, V1};
use crate::witnessing::{Witnessing, WitnessingConfig};

/// How often a process that stands by tries to become the writer.
const TURN: Duration = Duration::from_secs(1);
/// How often the settings are looked at for new trees.
const LOOK: Duration = Duration::from_secs(2);

/// What the logs need from outside.
#[derive(Clone, Debug)]
pub struct Deps {
    /// The v2 log's key.
    pub signer: Signer,
    /// The v1 log, with a key for each of its shards.
    pub v1: Option<(V1Config, Vec<Signer>)>,
    /// Where the search index is.
    pub search: Option<SearchPlace>,
    /// Who cosigns the v2 log's checkpoints.
    pub witnessing: Option<WitnessingConfig>,
    /// Where the logs are kept.
    pub storage: Storage,
    /// The time.
    pub clock: Clock,
}

impl Deps {
    /// The keys of these settings, loaded.
    pub async fn of(config: &Config, storage: Storage, clock: Clock) -> anyhow::Result<Self> {
        let signer = Signer::open(&config.log.key).await.context("log.key")?;
        let v1 = match config.v1.clone() {
            None => None,
            Some(v1) => {
                let mut keys = Vec::new();
                for shard in &v1.shards {
                    let key = Signer::open(&shard.key).await;
                    keys.push(
                        key.with_context(|| format!("v1.shards.key of tree {}", shard.tree_id))?,
                    );
                }
                Some((v1, keys))
            }
        };
        Ok(Self {
            signer,
            v1,
            search: config.search.clone(),
            witnessing: config.witnessing.clone(),
            storage,
            clock,
        })
    }
}

/// What a process does with the logs of its settings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// Writes them, or does not start.
    #[default]
    Writer,
    /// Writes them; while another process does, serves reads, and then takes over.
    Standby,
    /// Only serves reads, whoever writes.
    Reader,
}

/// Why the log cannot run.
#[derive(Debug, Error)]
pub enum BuildError {
    /// Not an Ed25519 key.
    #[error("the log's key is {0}, and a Rekor v2 log signs with ed25519")]
    Key(&'static str),
    /// The origin is no key name.
    #[error("the origin cannot be the name of a key")]
    Origin(#[source] note::KeyError),
    /// The engine refused.
    #[error("cannot open the log")]
    Open(#[source] OpenError),
    /// The v1 log cannot run.
    #[error("cannot open the v1 log")]
    V1(#[source] anyhow::Error),
    /// The index cannot be used.
    #[error("cannot open the search index")]
    Search(#[source] anyhow::Error),
    /// The witnesses cannot be asked.
    #[error("cannot begin to ask the witnesses")]
    Witnessing(#[source] anyhow::Error),
}

impl BuildError {
    /// Another process writes one of the logs.
    fn is_locked(&self) -> bool {
        match self {
            Self::Open(error) => matches!(error, OpenError::Locked),
            Self::V1(error) => matches!(error.downcast_ref(), Some(OpenError::Locked)),
            _ => false,
        }
    }
}

/// A running log. It is closed, with everything written, when the last clone of its router is gone.
#[derive(Debug)]
pub struct App {
    /// What it answers.
    pub router: Router,
    /// The engine below, for tools that run in the same process.
    pub log: Log<Entry>,
    /// The v1 log.
    pub v1: Option<V1Log>,
    ground: Ground,
}

impl App {
    /// Waits until this process does not lead one of the logs any more, or one of them has stopped; also one that is begun later. In a folder only the
    /// latter happens, and only a restart helps; so this is for logs of a cluster.
    fn ended(&self) -> impl Future<Output = ()> + Send + use<> {
        let stopped = self.log.stopped();
        let ground = self.ground.clone();
        let v1 = self.v1.as_ref().map(V1Log::ended);
        async move {
            let v1 = async {
                match v1 {
                    Some(v1) => v1.await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = ground.lost() => {}
                _ = stopped => {}
                () = v1 => {}
            }
        }
    }
}

/// The v1 log, whose trees change when a new one is begun.
#[derive(Clone, Debug)]
pub struct V1Log {
    /// The trees of now.
    pub trees: Trees,
    put: Arc<watch::Sender<Shards>>,
    config: V1Config,
    search: Option<Search>,
    storage: Storage,
    clock: Clock,
    health: Health,
    attestations: Option<Attestations>,
    /// The tree that takes entries: says that another one does, and keeps none of them open.
    turns: Arc<watch::Sender<u64>>,
}

impl V1Log {
    /// Begins a new tree behind those that are there: entries go into it from now on. Nobody is turned away meanwhile. One at a time.
    pub async fn rotate(&self, shard: &ShardConfig, signer: Signer) -> anyhow::Result<()> {
        let shards = self.trees.now();
        let known = shards.by_tree(shard.tree_id).is_some();
        anyhow::ensure!(!known, "tree {} is there already", shard.tree_id);
        let access = Access::Write;
        // Everything that can fail comes before the old tree is closed.
        let mut next = Shard::open(
            &self.config,
            shard,
            signer,
            &self.clock,
            &self.storage,
            access,
            u64::MAX,
        )
        .await?;
        if let Some(search) = &self.search {
            next.follow(search, &self.config.host).await?;
        }
        watch(&next.log, &self.health);
        count_checkpoints(&next);
        let next = shards.followed_by(next).await?;
        self.put(next, "a new v1 tree takes entries");
        Ok(())
    }

    /// [`App::ended`] for these trees, those that follow them, and the attestations. Keeps none of them open.
    fn ended(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut turns = self.turns.subscribe();
        let put = Arc::downgrade(&self.put);
        let mut ends = JoinSet::new();
        for shard in self.trees.now().all().cloned() {
            ends.spawn(shard.ended());
        }
        if let Some(attestations) = &self.attestations {
            ends.spawn(attestations.lost());
        }
        async move {
            loop {
                tokio::select! {
                    Some(_) = ends.join_next() => return,
                    turned = turns.changed() => {
                        let trees = put.upgrade().map(|put| Trees::of(&put).now());
                        match (turned, trees) {
                            (Ok(()), Some(trees)) => ends.spawn(trees.active().clone().ended()),
                            // The routes are gone, and the trees with them.
                            _ => return,
                        };
                    }
                }
            }
        }
    }

    /// Reads the next tree of the settings too, when whoever writes the logs has begun it; says whether it was.
    async fn take_up(&self, shard: &ShardConfig, signer: Signer) -> anyhow::Result<bool> {
        let shards = self.trees.now();
        let next = shards.taking_up(&self.config, shard, signer, &self.clock, &self.storage);
        let Some(mut next) = next.await? else {
            return Ok(false);
        };
        if let Some(search) = &self.search {
            next.follow(search, &self.config.host).await?;
        }
        watch(&next.log, &self.health);
        self.put(shards.with(next), "a new v1 tree is read");
        Ok(true)
    }

    fn put(&self, shards: Shards, what: &'static str) {
        let active = shards.active();
        let (tree, offset) = (active.tree_id, active.offset);
        tracing::info!(tree, offset, "{what}");
        self.put.send_replace(shards);
        self.turns.send_replace(tree);
    }
}

/// Opens the logs to write them, and makes their routes. Must be called within a tokio runtime.
pub async fn build(config: &LogConfig, deps: Deps) -> Result<App, BuildError> {
    let keys = Keys::of(config, &deps)?;
    let gate = Gate::new();
    let health = Health::serving();
    let search = match &deps.search {
        Some(place) => {
            let opened = Box::pin(Search::open(place, &deps.storage)).await;
            Some(opened.map_err(BuildError::Search)?)
        }
        None => None,
    };
    let clock = deps.clock.clone();
    let clock: sequencer::Clock = Arc::new(move || clock.now());
    let signer = Arc::new(keys.signer.clone());
    let ground = deps.storage.ground(&config.home);
    let ground = ground.map_err(BuildError::Open)?;
    let log = ground.write::<Entry>(config.engine(), signer, clock).await;
    let log = log.map_err(BuildError::Open)?;
    let v1 = open_v1(&deps, Access::Write, search.clone(), &health).await?;
    watch(&log, &health);
    let witnessing = match &deps.witnessing {
        Some(witnessing) => {
            let started = Witnessing::start(witnessing, ground.files(), &log, &keys.verifier).await;
            Some(started.map_err(BuildError::Witnessing)?)
        }
        None => None,
    };
    let state = State {
        log: log.clone(),
        writes: Writes::Here,
        witnessing,
        door: Door::new(gate.clone(), config.dsse),
        duplicates: config.duplicates,
        public_key: keys.verifier.public_key().to_pem(),
        log_id: keys.verifier.id().to_vec(),
    };
    let search = match search {
        Some(search) => {
            search.tidy();
            Some(search_api(config, &keys, search, &log, v1.as_ref(), &gate).await?)
        }
        None => None,
    };
    let router = routes(state, v1.as_ref(), search, &gate, &health);
    Ok(App {
        router,
        log,
        v1,
        ground,
    })
}

async fn search_api(
    config: &LogConfig,
    keys: &Keys,
    search: Search,
    log: &Log<Entry>,
    v1: Option<&V1Log>,
    gate: &Gate,
) -> Result<SearchApi, BuildError> {
    let identity = Identity {
        origin: &config.origin,
        log_id: keys.verifier.id(),
    };
    let tree = Box::pin(search.follow(identity, log, v2_keys)).await;
    Ok(SearchApi {
        v2: V2 {
            tree: tree.map_err(BuildError::Search)?,
            log: log.clone(),
            log_id: keys.verifier.id().to_vec(),
        },
        v1: v1.map(|v1| v1.trees.clone()),
        search,
        gate: gate.clone(),
    })
}

/// Opens the logs to read them, whoever writes them. What the witnesses cosigned is read from it, and so is a search index that it fills.
async fn build_reader(
    settings: &Path,
    config: &LogConfig,
    deps: &Deps,
    writes: Writes,
) -> Result<(Router, Died), BuildError> {
    let keys = Keys::of(config, deps)?;
    let gate = Gate::new();
    let health = Health::serving();
    let ground = deps.storage.ground(&config.home);
    let ground = ground.map_err(BuildError::Open)?;
    let log = ground.read::<Entry>(keys.verifier.clone()).await;
    let log = log.map_err(BuildError::Open)?;
    watch(&log, &health);
    let search = match &deps.search {
        Some(place) => {
            let opened = Box::pin(Search::open_beside(place, &deps.storage)).await;
            opened.map_err(BuildError::Search)?
        }
        None => None,
    };
    let v1 = open_v1(deps, Access::Read, search.clone(), &health).await?;
    let search = match search {
        Some(search) => Some(search_api(config, &keys, search, &log, v1.as_ref(), &gate).await?),
        None => None,
    };
    let witnessing = match &deps.witnessing {
        Some(witnessing) => {
            Some(Witnessing::follow(witnessing, ground.files(), &log, &keys.verifier).await)
        }
        None => None,
    };
    let state = State {
        log,
        writes,
        witnessing,
        door: Door::new(gate.clone(), config.dsse),
        duplicates: config.duplicates,
        public_key: keys.verifier.public_key().to_pem(),
        log_id: keys.verifier.id().to_vec(),
    };
    let mut followers = JoinSet::new();
    let stopped = state.log.stopped();
    followers.spawn(async move { drop(stopped.await) });
    if let Some(v1) = &v1 {
        followers.spawn(v1.ended());
    }
    let router = routes(state, v1.as_ref(), search, &gate, &health);
    if let Some(v1) = v1 {
        tokio::spawn(follow_settings(settings.to_owned(), v1, Access::Read));
    }
    Ok((router, Died(followers)))
}

/// Those who follow the writer of each log. One that cannot go on shows for ever what it has seen last.
struct Died(JoinSet<()>);

impl Died {
    /// Waits until one of them cannot.
    async fn one(&mut self) {
        if self.0.join_next().await.is_none() {
            std::future::pending::<()>().await;
        }
    }
}

struct Keys {
    signer: NoteSigner,
    verifier: VerifierKey,
}

impl Keys {
    fn of(config: &LogConfig, deps: &Deps) -> Result<Self, BuildError> {
        let algorithm = deps.signer.algorithm();
        if algorithm != KEY_ALGORITHM {
            return Err(BuildError::Key(algorithm.registry_name()));
        }
        let signer = NoteSigner::new(&config.origin, deps.signer.clone());
        let signer = signer.map_err(BuildError::Origin)?;
        Ok(Self {
            verifier: signer.verifier().clone(),
            signer,
        })
    }
}

fn routes(
    state: State,
    v1: Option<&V1Log>,
    search: Option<SearchApi>,
    gate: &Gate,
    health: &Health,
) -> Router {
    let writes = state.writes.clone();
    let mut router = http::routes(state.clone())
        .merge(grpc::routes(state, health.clone(), BODY))
        .merge(health.routes())
        .merge(http::readiness(writes.clone(), health.clone()))
        .merge(http::description())
        .merge(http::front_page());
    if let Some(v1) = v1 {
        router = router.merge(v1::routes(V1 {
            trees: v1.trees.clone(),
            kept: v1.put.clone(),
            writes,
            search: v1.search.clone(),
            gate: gate.clone(),
            attestations: v1.attestations.clone(),
            kinds: v1.config.kinds.clone(),
            clock: v1.clock.clone(),
        }));
    }
    if let Some(search) = search {
        router = router.merge(search::http::routes(search));
    }
    for name in ["rekor_v2_build_info", "rekor_build_info"] {
        metrics::gauge!(name, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    }
    router
        .fallback(http::unknown_path)
        .method_not_allowed_fallback(http::unknown_method)
        .layer(middleware::from_fn(figures::count))
        .layer(http::browsers())
}

fn v2_keys(framed: &[u8]) -> Vec<String> {
    let body = framed.split_first_chunk::<2>().map(|(_, body)| body);
    body.map(entry::search_keys).unwrap_or_default()
}

/// The service is as healthy as each of its logs. Ends when the log ends.
fn watch<L: Leaf>(log: &Log<L>, health: &Health) {
    let stopped = log.stopped();
    let health = health.clone();
    tokio::spawn(async move {
        if let Some(reason) = stopped.await {
            health.fail(reason);
        }
    });
}

/// Counts the checkpoints of a v1 tree that come to be shown; those that are replaced within the same moment as one. Ends with the log.
fn count_checkpoints(shard: &Shard) {
    let tree_id = shard.tree_id;
    let weak = shard.log.downgrade();
    let mut grown = Box::pin(shard.log.grown(shard.log.published().head.size));
    figures::checkpoints_published(tree_id, 0);
    tokio::spawn(async move {
        while grown.await {
            let Some(log) = weak.upgrade() else { return };
            figures::checkpoints_published(tree_id, 1);
            grown = Box::pin(log.grown(log.published().head.size));
        }
    });
}

async fn open_v1(
    deps: &Deps,
    access: Access,
    search: Option<Search>,
    health: &Health,
) -> Result<Option<V1Log>, BuildError> {
    let Some((mut config, signers)) = deps.v1.clone() else {
        return Ok(None);
    };
    let (clock, storage) = (&deps.clock, &deps.storage);
    let shards = match access {
        Access::Write => Shards::open(&config, signers, clock, storage).await,
        Access::Read => Shards::open_to_read(&config, signers, clock, storage).await,
    };
    let mut shards = shards.map_err(BuildError::V1)?;
    // Those that a reader does not have yet, it takes up later.
    config.shards.truncate(shards.all().count());
    if let Some(search) = &search {
        let followed = shards.follow(search, &config.host).await;
        followed.map_err(BuildError::Search)?;
    }
    for shard in shards.all() {
        watch(&shard.log, health);
        let head = shard.log.published().head;
        tracing::info!(tree = shard.tree_id, offset = shard.offset, size = %head.size, root = %head.root, "the v1 shard is open");
    }
    if access == Access::Write {
        count_checkpoints(shards.active());
    }
    let attestations = match &config.attestations {
        Some(home) => {
            let ground = deps.storage.ground(home).map_err(BuildError::Open)?;
            let largest = config.attestation_bytes;
            let open = move || Attestations::open(ground, access, largest);
            let opened = tokio::task::spawn_blocking(open).await;
            let opened = opened.context("v1.attestations").map_err(BuildError::V1)?;
            let opened = opened.context("v1.attestations");
            Some(opened.map_err(BuildError::V1)?)
        }
        None => None,
    };
    let turns = Arc::new(watch::Sender::new(shards.active().tree_id));
    let (put, trees) = Trees::new(shards);
    Ok(Some(V1Log {
        trees,
        put: Arc::new(put),
        attestations,
        turns,
        config,
        search,
        storage: deps.storage.clone(),
        clock: deps.clock.clone(),
        health: health.clone(),
    }))
}

/// The log of a settings file, ready to be put on a socket.
pub async fn service(settings: &Path) -> anyhow::Result<Service> {
    Box::pin(service_as(settings, Role::Writer)).await
}

/// [`service`] in a role.
pub async fn service_as(settings: &Path, role: Role) -> anyhow::Result<Service> {
    let config = Config::load(settings)?;
    let server = config.server.clone();
    let storage = Storage::open(config.cluster.as_ref()).await?;
    let deps = Deps::of(&config, storage, Clock::system()).await?;
    let closing = Closing::default();
    let router = match role {
        // Its health says when it cannot go on; then it has to be started again.
        Role::Reader => build_reader(settings, &config.log, &deps, Writes::Nowhere)
            .await?
            .0
            .into(),
        Role::Writer => start(settings, &config, deps, &closing).await?.0.into(),
        Role::Standby => {
            let instance = Instance {
                writes: elsewhere(&config, &deps, server.limits.request)?,
                settings: settings.to_owned(),
                config,
                deps,
                closing: closing.clone(),
            };
            instance.begin().await?
        }
    };
    Ok(Service {
        server,
        router,
        closing,
    })
}

/// What an instance does with entries while another one leads.
fn elsewhere(config: &Config, deps: &Deps, request: Duration) -> anyhow::Result<Writes> {
    match deps.storage.ground(&config.log.home)? {
        Ground::Folder(_) => Ok(Writes::Elsewhere(None)),
        // A client that waits for us waits for the leader and for the way there.
        Ground::Tree(tree) => {
            let forward = Forward::new(tree, request.mul_f64(0.8));
            Ok(Writes::Elsewhere(Some(Arc::new(forward))))
        }
    }
}

/// Opens the logs to write them, and what ends with that.
async fn start(
    settings: &Path,
    config: &Config,
    deps: Deps,
    closing: &Closing,
) -> Result<(Router, impl Future<Output = ()> + Send + use<>), BuildError> {
    let app = build(&config.log, deps).await?;
    let head = app.log.published().head;
    tracing::info!(origin = config.log.origin, size = %head.size, root = %head.root, "the log is open");
    let open = Open {
        log: app.log.downgrade(),
        trees: app.v1.as_ref().map(|v1| Arc::downgrade(&v1.put)),
        attestations: app
            .v1
            .as_ref()
            .and_then(|v1| Some(v1.attestations.as_ref()?.give_up())),
    };
    let ended = app.ended();
    close_at_the_end(&app, &open, closing);
    if let Some(v1) = app.v1 {
        tokio::spawn(follow_settings(settings.to_owned(), v1, Access::Write));
    }
    // Before anything else is done all of them are closed: a log that goes on would keep the right to write that we may wait for.
    let ended = async move {
        ended.await;
        open.close().await;
    };
    Ok((app.router, ended))
}

/// Handles on logs that do not keep them open: the routes may be gone, and the logs with them.
#[derive(Clone)]
struct Open {
    log: WeakLog<Entry>,
    trees: Option<Weak<watch::Sender<Shards>>>,
    attestations: Option<GiveUp>,
}

impl Open {
    /// Has everything written, and gives up the right to write.
    async fn close(self) {
        let mut closing = JoinSet::new();
        let trees = self.trees.and_then(|trees| trees.upgrade());
        let shards = trees.map(|trees| Trees::of(&trees).now());
        for shard in shards.iter().flat_map(Shards::all).cloned() {
            closing.spawn(async move { shard.log.close().await });
        }
        if let Some(log) = self.log.upgrade() {
            closing.spawn(async move { log.close().await });
        }
        while closing.join_next().await.is_some() {}
        // Last: an entry that is written has its attestation.
        if let Some(attestations) = self.attestations {
            attestations.now().await;
        }
    }
}

/// Has the logs closed when the service ends.
fn close_at_the_end(app: &App, open: &Open, closing: &Closing) {
    let begun = closing.begun();
    // Then [`start`] closes them, and this instance may lead again and again.
    let ended = matches!(app.ground, Ground::Tree(_)).then(|| app.ended());
    let open = open.clone();
    closing.add(async move {
        let Some(ended) = ended else {
            begun.await;
            return open.close().await;
        };
        tokio::select! {
            () = begun => open.close().await,
            () = ended => {}
        }
    });
}

/// A process that writes the logs when nobody else does, and serves reads while somebody does.
struct Instance {
    settings: PathBuf,
    config: Config,
    deps: Deps,
    writes: Writes,
    closing: Closing,
}

impl Instance {
    /// Begins in one of the two states; a task goes on from there.
    async fn begin(self) -> anyhow::Result<Routes> {
        let started = start(
            &self.settings,
            &self.config,
            self.deps.clone(),
            &self.closing,
        )
        .await;
        match started {
            Ok((router, ended)) => {
                let (switch, routes) = Routes::switchable(router);
                // In a folder nobody can take over, and a log that has stopped there needs a person.
                if matches!(self.deps.storage, Storage::Cluster(_)) {
                    tokio::spawn(async move {
                        ended.await;
                        tracing::warn!("this instance does not lead the logs any more");
                        self.go_on(&switch).await;
                    });
                }
                Ok(routes.in_the_manner(v1::manner))
            }
            Err(error) if error.is_locked() => {
                tracing::warn!(
                    "another process writes these logs: serving reads only, until it has ended"
                );
                let (reader, died) = self.reader().await?;
                let (switch, routes) = Routes::switchable(reader);
                tokio::spawn(async move { self.stand_by(&switch, Some(died)).await });
                Ok(routes.in_the_manner(v1::manner))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// After having led: reads, and then as [`Self::stand_by`].
    async fn go_on(self, switch: &Switch) {
        self.stand_by(switch, None).await;
    }

    /// The settings of now: there may be a tree that was not there when this process started.
    async fn now(&self) -> anyhow::Result<(Config, Deps)> {
        let path = self.settings.clone();
        let config = tokio::task::spawn_blocking(move || Config::load(&path)).await??;
        let storage = self.deps.storage.clone();
        let deps = Deps::of(&config, storage, self.deps.clock.clone()).await?;
        Ok((config, deps))
    }

    async fn reader(&self) -> Result<(Router, Died), BuildError> {
        let writes = self.writes.clone();
        build_reader(&self.settings, &self.config.log, &self.deps, writes).await
    }

    /// Serves reads, if it can.
    async fn read(&self, switch: &Switch) -> Option<Died> {
        match self.reader().await {
            Ok((router, died)) => {
                switch.set(router);
                Some(died)
            }
            Err(error) => {
                let cause = format!("{:#}", anyhow::Error::from(error));
                tracing::error!(cause, "cannot serve reads, trying again");
                None
            }
        }
    }

    /// Waits until it makes sense to try to lead; false when who reads died meanwhile, and reads have to be served anew.
    async fn vacant(&self, reads: Option<&mut Died>) -> bool {
        let vacant = async {
            match self.deps.storage.ground(&self.config.log.home) {
                Ok(ground) => ground.vacant(TURN).await,
                Err(_) => tokio::time::sleep(TURN).await,
            }
        };
        let Some(reads) = reads else {
            // Until it serves reads: not longer than this.
            let _ = tokio::time::timeout(TURN, vacant).await;
            return true;
        };
        tokio::select! {
            () = vacant => true,
            () = reads.one() => false,
        }
    }

    /// Tries to become the writer whenever nobody is, and serves reads meanwhile; ends when it is one in a folder. `reads` says whether the
    /// routes of now are those of a reader.
    async fn stand_by(self, switch: &Switch, mut reads: Option<Died>) {
        let mut told = String::new();
        loop {
            if reads.is_none() {
                reads = self.read(switch).await;
            }
            if !self.vacant(reads.as_mut()).await {
                tracing::warn!(
                    "who followed the writer of the logs could not go on: reading them anew"
                );
                reads = None;
                continue;
            }
            let started = match self.now().await {
                Ok((config, deps)) => {
                    let started = start(&self.settings, &config, deps, &self.closing).await;
                    started.map_err(|error| (error.is_locked(), anyhow::Error::from(error)))
                }
                Err(error) => Err((false, error)),
            };
            match started {
                Ok((router, ended)) => {
                    tracing::warn!("the other process has ended: this one writes the logs now");
                    switch.set(router);
                    if !matches!(self.deps.storage, Storage::Cluster(_)) {
                        return;
                    }
                    ended.await;
                    tracing::warn!("this instance does not lead the logs any more");
                    told.clear();
                    reads = None;
                }
                Err((true, _)) => {
                    told.clear();
                    // One tree was free, and another one is still somebody's.
                    tokio::time::sleep(TURN).await;
                }
                Err((false, error)) => {
                    // Once, and not every second.
                    let text = format!("{error:#}");
                    if text != told {
                        tracing::error!(cause = text, "cannot take over, still serving reads only");
                        told = text;
                    }
                    tokio::time::sleep(TURN).await;
                }
            }
        }
    }
}

/// Looks whether the settings have new trees behind those of now, and begins them; or reads them, when whoever writes the logs has begun them. Ends
/// with the log.
async fn follow_settings(settings: PathBuf, v1: V1Log, access: Access) {
    // The routes hold the trees and the attestations; this task must not.
    let V1Log {
        trees,
        put,
        config,
        search,
        storage,
        clock,
        health,
        attestations,
        turns,
    } = v1;
    let weak = Arc::downgrade(&put);
    drop((put, trees, attestations));
    let mut config = config;
    let mut told = String::new();
    loop {
        tokio::time::sleep(LOOK).await;
        let Some(put) = weak.upgrade() else { return };
        let v1 = V1Log {
            trees: Trees::of(&put),
            put,
            config: config.clone(),
            search: search.clone(),
            storage: storage.clone(),
            clock: clock.clone(),
            health: health.clone(),
            attestations: None,
            turns: turns.clone(),
        };
        match go_on_as_told(&settings, &v1, access).await {
            Ok(Some(now)) => {
                config = now;
                told.clear();
            }
            Ok(None) => told.clear(),
            Err(error) => {
                let text = format!("{error:#}");
                if text != told {
                    tracing::error!(
                        cause = text,
                        "the trees of the settings cannot be used, going on with those of now"
                    );
                    told = text;
                }
            }
        }
    }
}

/// Goes on to the next tree of the settings. The settings up to that one, if there was one.
async fn go_on_as_told(
    settings: &Path,
    v1: &V1Log,
    access: Access,
) -> anyhow::Result<Option<V1Config>> {
    let path = settings.to_owned();
    let read = tokio::task::spawn_blocking(move || Config::load(&path)).await?;
    let Some(mut now) = read?.v1 else {
        return Ok(None);
    };
    let ids = |config: &V1Config| -> Vec<u64> {
        config.shards.iter().map(|shard| shard.tree_id).collect()
    };
    let (old, new) = (ids(&v1.config), ids(&now));
    if !new.starts_with(&old) {
        anyhow::bail!("the trees {old:?} became {new:?}: a new tree goes to the end");
    }
    let Some(shard) = now.shards.get(old.len()) else {
        return Ok(None);
    };
    let signer = Signer::open(&shard.key).await;
    let signer = signer.with_context(|| format!("v1.shards.key of tree {}", shard.tree_id))?;
    match access {
        Access::Write => v1.rotate(shard, signer).await?,
        Access::Read if v1.take_up(shard, signer).await? => {}
        Access::Read => return Ok(None),
    }
    now.shards.truncate(old.len().saturating_add(1));
    Ok(Some(now))
}
