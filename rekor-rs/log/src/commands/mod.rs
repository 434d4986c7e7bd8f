//! What operators do besides serving.

pub mod backup;
pub mod export;
pub mod freeze;
pub mod fsck;
pub mod init;
pub mod keygen;
pub mod reindex;
pub mod rotate;

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use clap::{CommandFactory as _, Parser as _};
use note::VerifierKey;
use sequencer::{CheckpointSigner as _, NoteSigner};
use signer::Signer;
use store::{Disk, Lock};
use tokio::runtime::{Builder, Runtime};

use crate::app::{self, Role};
use crate::args::{Arguments, Command, Serve};
use crate::config::Config;
use crate::storage::{Ground, Home, Storage};
use crate::witness;

/// Runs the program.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Standard error may be closed; then nobody reads this anyway.
            let _ = io::Write::write_fmt(&mut io::stderr(), format_args!("rekor-rs: {error:#}\n"));
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> anyhow::Result<()> {
    if let Some(address) = arguments.check_health {
        return serve::program::check_health(&address);
    }
    let command = arguments.command.unwrap_or(Command::Serve(arguments.serve));
    match command {
        Command::Serve(serve) => serve_logs(serve),
        Command::Witness(settings) => {
            let build = async |settings: PathBuf| witness::service(&settings).await;
            serve::program::start("rekor-witness", &settings.config, build)
        }
        Command::Init(init) => {
            let runtime = Builder::new_multi_thread().enable_all().build()?;
            runtime.block_on(init::run(init))
        }
        Command::Fsck(settings) => fsck::run(&settings.config),
        Command::Backup {
            settings,
            to,
            no_check,
        } => backup::run(&settings.config, &to, !no_check),
        Command::Restore(restore) => backup::restore(&restore),
        Command::Rotate(rotate) => rotate::run(&rotate),
        Command::Reindex(settings) => reindex::run(&settings.config),
        Command::Freeze { settings, tree } => freeze::run(&settings.config, tree),
        Command::Export(export) => export::run(export),
        Command::Keygen(keygen) => keygen::run(&keygen),
        Command::Completion { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "rekor-rs", &mut script);
            io::Write::write_all(&mut io::stdout(), &script).context("standard output")
        }
        Command::Man { folder } => std::fs::create_dir_all(&folder)
            .and_then(|()| clap_mangen::generate_to(Arguments::command(), &folder))
            .with_context(|| format!("cannot write into {}", folder.display())),
    }
}

fn serve_logs(arguments: Serve) -> anyhow::Result<()> {
    let Some(config) = arguments.config else {
        serve::program::nothing_to_serve(Arguments::command());
    };
    let role = match (arguments.read_only, arguments.no_standby) {
        (true, _) => Role::Reader,
        (false, true) => Role::Writer,
        (false, false) => Role::Standby,
    };
    let build = async move |settings: PathBuf| app::service_as(&settings, role).await;
    serve::program::start("rekor-rs", &config, build)
}

/// The logs of a settings file, for commands that go through them.
pub(crate) struct Site {
    pub(crate) config: Config,
    /// The v2 log, then the v1 trees.
    pub(crate) places: Vec<Place>,
    pub(crate) storage: Storage,
    /// A database answers on it; commands themselves run on the thread of the program, which may block.
    pub(crate) runtime: Runtime,
}

/// One tree.
pub(crate) struct Place {
    /// First line of its checkpoints.
    pub(crate) origin: String,
    /// Its folder in a backup.
    pub(crate) name: String,
    /// Where it is, for people.
    pub(crate) at: String,
    pub(crate) ground: Ground,
    pub(crate) files: Arc<dyn Disk>,
    pub(crate) engine: sequencer::Config,
    pub(crate) signer: NoteSigner,
    /// Of a v1 tree.
    pub(crate) tree: Option<u64>,
}

impl Place {
    pub(crate) fn verifier(&self) -> &VerifierKey {
        self.signer.verifier()
    }

    /// The id of the log's key, as entries carry it.
    pub(crate) fn log_id(&self) -> Vec<u8> {
        match self.tree {
            None => self.verifier().id().to_vec(),
            Some(_) => self.verifier().public_key().key_id().to_vec(),
        }
    }

    /// Takes the log for this process alone.
    pub(crate) fn lock(&self) -> anyhow::Result<Box<dyn Lock>> {
        let lock = self.files.lock().with_context(|| self.at.clone())?;
        lock.with_context(|| format!("another process uses {}", self.at))
    }

    /// The copy of the last checkpoint, where the settings name one that is there.
    pub(crate) fn checkpoint_copy(&self) -> anyhow::Result<Option<Vec<u8>>> {
        let Some((files, path)) = sequencer::copy_place(&self.engine)? else {
            return Ok(None);
        };
        let bytes = files.read(&path, u64::try_from(note::MAX_NOTE_BYTES)?)?;
        Ok(bytes.filter(|bytes| !bytes.is_empty()))
    }
}

impl Site {
    pub(crate) fn open(settings: &Path) -> anyhow::Result<Self> {
        let config = Config::load(settings)?;
        let runtime = Builder::new_multi_thread().enable_all().build()?;
        let storage = runtime.block_on(Storage::open(config.cluster.as_ref()))?;
        let at = |home: &Home| match storage {
            Storage::Folders | Storage::Opened(_) => home.folder.display().to_string(),
            Storage::Cluster(_) => format!("the tree {}", home.tree),
        };
        let signer = runtime.block_on(Signer::open(&config.log.key));
        let signer = signer.context("log.key")?;
        let ground = storage.ground(&config.log.home)?;
        let mut places = vec![Place {
            origin: config.log.origin.clone(),
            name: "v2".to_owned(),
            at: at(&config.log.home),
            files: ground.files(),
            ground,
            engine: config.log.engine(),
            signer: NoteSigner::new(&config.log.origin, signer)?,
            tree: None,
        }];
        if let Some(v1) = &config.v1 {
            for shard in &v1.shards {
                let signer = runtime.block_on(Signer::open(&shard.key));
                let signer =
                    signer.with_context(|| format!("v1.shards.key of tree {}", shard.tree_id))?;
                let ground = storage.ground(&shard.home)?;
                places.push(Place {
                    origin: format!("{} - {}", v1.host, shard.tree_id),
                    name: format!("v1-{}", shard.tree_id),
                    at: at(&shard.home),
                    files: ground.files(),
                    ground,
                    engine: shard.engine(v1),
                    signer: NoteSigner::rekor_v1(&v1.host, shard.tree_id, signer)?,
                    tree: Some(shard.tree_id),
                });
            }
        }
        Ok(Self {
            config,
            places,
            storage,
            runtime,
        })
    }

    /// Waits as long as the lease of an instance lasts that was killed. One that lives renews its lease, and still has it then.
    pub(crate) fn outlast_leases(&self) {
        let Some(cluster) = &self.config.cluster else {
            return;
        };
        let lasts = cluster.lease.lasts.saturating_add(cluster.lease.renewed);
        let vacant = async {
            for place in &self.places {
                place.ground.vacant(cluster.lease.renewed).await;
            }
        };
        let _ = self
            .runtime
            .block_on(async { tokio::time::timeout(lasts, vacant).await });
    }

    /// The v2 log, or this v1 tree.
    pub(crate) fn place(&self, tree: Option<u64>) -> anyhow::Result<&Place> {
        let mut places = self.places.iter();
        places
            .find(|place| place.tree == tree)
            .with_context(|| format!("no tree {} in the settings", tree.unwrap_or_default()))
    }

    /// Where attestations are, if they are kept.
    pub(crate) fn attestations(&self) -> anyhow::Result<Option<Arc<dyn Disk>>> {
        let v1 = self.config.v1.as_ref();
        let Some(home) = v1.and_then(|v1| v1.attestations.as_ref()) else {
            return Ok(None);
        };
        Ok(Some(self.storage.ground(home)?.files()))
    }
}

/// Talk for a person who waits: on standard error, and only when somebody looks at it.
pub(crate) struct Progress {
    what: &'static str,
    shown: bool,
    last: std::time::Instant,
}

impl Progress {
    pub(crate) fn new(what: &'static str) -> Self {
        Self {
            what,
            shown: io::IsTerminal::is_terminal(&io::stderr()),
            last: std::time::Instant::now(),
        }
    }

    pub(crate) fn tell(&mut self, done: u64, all: u64) {
        let often = self.last.elapsed() < std::time::Duration::from_millis(200);
        if !self.shown || (often && done < all) {
            return;
        }
        self.last = std::time::Instant::now();
        let percent = done.saturating_mul(100).checked_div(all).unwrap_or(100);
        let end = if done < all { "" } else { "\n" };
        let line = format!("\r{}: {percent} % ({done} of {all}){end}", self.what);
        // It is talk: nothing depends on it.
        let _ = io::Write::write_all(&mut io::stderr(), line.as_bytes());
    }
}
