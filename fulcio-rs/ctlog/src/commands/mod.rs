//! What operators do besides serving.

mod backup;
mod freeze;
mod fsck;
mod init;
mod rotate;

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use clap::{CommandFactory as _, Parser as _};
use note::VerifierKey;
use sequencer::{CheckpointSigner as _, TreeHeadSigner};
use signer::Signer;
use store::fs::Folder;
use store::{Disk, Lock};
use tokio::runtime::{Builder, Runtime};
use url::Url;

use crate::app;
use crate::args::{Arguments, Command, Serve};
use crate::config::{Config, LogConfig};
use crate::issuers;

/// Runs the program.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Standard error may be closed; then nobody reads this anyway.
            let _ = io::Write::write_fmt(&mut io::stderr(), format_args!("ctlog-rs: {error:#}\n"));
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
        Command::Serve(Serve { config }) => {
            let Some(config) = config else {
                serve::program::nothing_to_serve(Arguments::command());
            };
            let build = async |settings: PathBuf| app::service(&settings).await;
            serve::program::start("ctlog-rs", &config, build)
        }
        Command::Init(init) => runtime()?.block_on(init::run(&init)),
        Command::Rotate(rotate) => rotate::run(&rotate),
        Command::Freeze(one) => freeze::run(&one.settings.config, one.url.as_ref()),
        Command::Fsck(settings) => fsck::run(&settings.config),
        Command::Backup {
            settings,
            to,
            no_check,
        } => backup::run(&settings.config, &to, !no_check),
        Command::Restore(restore) => backup::restore(&restore),
        Command::Completion { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "ctlog-rs", &mut script);
            io::Write::write_all(&mut io::stdout(), &script).context("standard output")
        }
        Command::Man { folder } => std::fs::create_dir_all(&folder)
            .and_then(|()| clap_mangen::generate_to(Arguments::command(), &folder))
            .with_context(|| format!("cannot write into {}", folder.display())),
    }
}

fn runtime() -> io::Result<Runtime> {
    Builder::new_multi_thread().enable_all().build()
}

/// The logs of a settings file, for commands that go through them.
struct Shelf {
    places: Vec<Place>,
    runtime: Runtime,
}

/// One log.
struct Place {
    config: LogConfig,
    /// Its folder in a backup.
    name: String,
    files: Arc<dyn Disk>,
    issuers: Issuers,
    signer: TreeHeadSigner,
}

/// The certificates above its leaves.
struct Issuers {
    folder: PathBuf,
    files: Folder,
}

impl Issuers {
    fn open(folder: PathBuf) -> anyhow::Result<Self> {
        Ok(Self {
            files: open(&folder)?,
            folder,
        })
    }
}

impl Shelf {
    fn open(settings: &Path) -> anyhow::Result<Self> {
        let runtime = runtime()?;
        let mut places = Vec::new();
        for config in Config::load(settings)?.logs {
            let signer = runtime.block_on(Signer::open(&config.key));
            let signer = signer
                .context("log.key")
                .with_context(|| config.url.to_string())?;
            places.push(Place {
                name: name(&config.origin()),
                files: Arc::new(open(&config.folder.join("log"))?),
                issuers: Issuers::open(config.folder.join(issuers::FOLDER))?,
                signer: app::checkpoints(&config, &signer)?,
                config,
            });
        }
        Ok(Self { places, runtime })
    }
}

impl Place {
    fn verifier(&self) -> &VerifierKey {
        self.signer.verifier()
    }

    fn at(&self) -> String {
        self.config.folder.display().to_string()
    }

    /// Takes the log for this process alone.
    fn lock(&self) -> anyhow::Result<Box<dyn Lock>> {
        let lock = self.files.lock().with_context(|| self.at())?;
        lock.with_context(|| format!("another process uses {}", self.at()))
    }

    /// The copy of the last checkpoint, where the settings name one that is there.
    fn checkpoint_copy(&self) -> anyhow::Result<Option<Vec<u8>>> {
        let Some((files, path)) = sequencer::copy_place(&self.config.engine())? else {
            return Ok(None);
        };
        let bytes = files.read(&path, u64::try_from(note::MAX_NOTE_BYTES)?)?;
        Ok(bytes.filter(|bytes| !bytes.is_empty()))
    }
}

fn open(folder: &Path) -> anyhow::Result<Folder> {
    Folder::open(folder).with_context(|| format!("cannot open {}", folder.display()))
}

/// The log of this URL, or the only one.
fn one(config: &Config, url: Option<&Url>) -> anyhow::Result<LogConfig> {
    match (config.log(url), url) {
        (Some(log), _) => Ok(log.clone()),
        (None, Some(url)) => bail!("no log has the URL {url} in the settings"),
        (None, None) => bail!("there are several logs in the settings: say which one, with --url"),
    }
}

/// A name as a folder may have it.
fn name(origin: &str) -> String {
    let plain = |letter: char| {
        if letter.is_ascii_alphanumeric() || matches!(letter, '.' | '-') {
            letter
        } else {
            '_'
        }
    };
    origin.chars().map(plain).collect()
}
