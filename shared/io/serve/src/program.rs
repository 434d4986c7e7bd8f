//! The `main` of a service: `rekor-rs --config rekor.toml`.

use std::ffi::OsString;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;

use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::listen::{ListenAddress, Listeners};
use crate::routes::Routes;
use crate::settings::{self, Server};
use crate::stop::Stop;
use crate::tls::{Tls, TlsFiles};

/// How long `--check-health` waits; a container engine asks every few seconds.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(3);

/// A service that is ready to be put on a socket.
#[derive(Debug)]
pub struct Service {
    /// Its `[server]` settings.
    pub server: Server,
    /// What it answers.
    pub router: Routes,
    /// What is to be done when it has stopped answering, while its runtime still runs.
    pub closing: Closing,
}

/// The orderly end of a service: files closed, leases given up. What would happen without it happens when it is killed.
#[derive(Clone, Debug, Default)]
pub struct Closing(Arc<Mutex<JoinSet<()>>>, watch::Sender<bool>);

impl Closing {
    /// Resolves when the service has stopped answering. What [`Closing::add`] was given is waited for.
    pub fn begun(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut begun = self.1.subscribe();
        async move {
            // A sender that is gone is an end, too.
            let _ = begun.wait_for(|begun| *begun).await;
        }
    }

    /// A task that ends some time after [`Closing::begun`]; the program waits for it. Must be called within the runtime.
    pub fn add(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.spawn(task);
    }

    /// Begins the end, and waits for all that was added.
    pub async fn finish(&self) {
        self.1.send_replace(true);
        let mut tasks = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        while tasks.join_next().await.is_some() {}
    }
}

/// Ends the process as clap does where an argument is missing (exit code 2): a service was started without its settings.
pub fn nothing_to_serve(mut command: clap::Command) -> ! {
    let text = "what is to be served? Give --config FILE, or see --help";
    command
        .error(clap::error::ErrorKind::MissingRequiredArgument, text)
        .exit()
}

/// How long an orderly end may take.
const CLOSING: Duration = Duration::from_secs(10);
/// How long work that blocks may go on after it.
const LEAVING: Duration = Duration::from_secs(1);

enum Command {
    Run(PathBuf),
    CheckHealth(ListenAddress),
    Print(String),
}

/// Runs a service from its command line until a signal stops it:
///
/// * `NAME --config FILE`
/// * `NAME --check-health ADDRESS`: asks a running one, for container engines whose image has no other tool
/// * `NAME --version`, `NAME --help`
///
/// `build` reads the settings file and makes the service; its error is printed with its causes, and the exit code is 1.
pub fn program<B, F>(name: &'static str, version: &str, about: &str, build: B) -> ExitCode
where
    B: FnOnce(PathBuf) -> F,
    F: Future<Output = anyhow::Result<Service>>,
{
    let result = match command(name, version, about, std::env::args_os().skip(1)) {
        Ok(Command::Run(path)) => start(name, &path, build),
        Ok(Command::CheckHealth(address)) => check_health(&address),
        Ok(Command::Print(text)) => writeln!(std::io::stdout(), "{text}").map_err(Into::into),
        Err(error) => Err(error),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Standard error may be closed; then nobody reads this anyway.
            let _unread = writeln!(std::io::stderr(), "{name}: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn command(
    name: &str,
    version: &str,
    about: &str,
    mut arguments: impl Iterator<Item = OsString>,
) -> anyhow::Result<Command> {
    let usage =
        format!("usage: {name} --config FILE | --check-health HOST:PORT | --version | --help");
    let wrong = || anyhow::anyhow!("{usage}");
    let unexpected = |word: &OsString| anyhow::anyhow!("unexpected {}; {usage}", word.display());
    let first = arguments.next().ok_or_else(wrong)?;
    let command = match first.to_str() {
        Some("--config" | "-c") => Command::Run(arguments.next().ok_or_else(wrong)?.into()),
        Some("--check-health") => {
            let address = arguments
                .next()
                .and_then(|text| text.into_string().ok())
                .ok_or_else(wrong)?;
            Command::CheckHealth(address.parse()?)
        }
        Some("--version" | "-V") => Command::Print(format!("{name} {version}")),
        Some("--help" | "-h") => Command::Print(format!(
            "{about}\n\n{usage}\n\n\
             FILE holds the settings, as TOML; {name}.example.toml in the source names and explains all of them.\n\
             --check-health asks a running service that listens without TLS, and exits with 0 when it works. GET /healthz and GET /metrics answer on\n\
             the same port as the service."
        )),
        _ => return Err(unexpected(&first)),
    };
    match arguments.next() {
        None => Ok(command),
        Some(more) => Err(unexpected(&more)),
    }
}

/// Runs the service of a settings file until a signal stops it.
pub fn start<B, F>(name: &'static str, path: &Path, build: B) -> anyhow::Result<()>
where
    B: FnOnce(PathBuf) -> F,
    F: Future<Output = anyhow::Result<Service>>,
{
    let _lines = crate::logging::AtTheEnd;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let served = runtime.block_on(async {
        // Before the service is made: what it recovers on the way is worth a line in the log.
        settings::start_logging(path);
        // What is counted while it comes to life counts too.
        crate::metrics::init();
        let service = build(path.to_owned()).await?;
        let tls = service.server.tls.as_ref().map(|files| {
            Tls::load(&TlsFiles {
                certificate: settings::beside(path, &files.certificate),
                key: settings::beside(path, &files.key),
            })
        });
        let tls = tls.transpose().context("server.tls_certificate")?;
        let listeners = Listeners::bind(&service.server.listen).await?;
        let listeners = listeners.with_tls(tls);
        let stop = Stop::on_signals()?;
        let Service {
            server,
            router,
            closing,
        } = service;
        crate::run(listeners, name, router, server.limits, stop).await;
        // It is at an end anyway, and must not be kept from it by a key or a database that does not answer.
        if tokio::time::timeout(CLOSING, closing.finish())
            .await
            .is_err()
        {
            tracing::warn!(service = name, "not everything was closed in time");
        }
        Ok(())
    });
    // A call to a disk or a key that does not come back must not keep the process alive.
    runtime.shutdown_timeout(LEAVING);
    served
}

/// Asks the service at `address` whether it works; an error if it does not or does not answer in three seconds.
pub fn check_health(address: &ListenAddress) -> anyhow::Result<()> {
    get(address, "/healthz").map(drop)
}

/// A short text from a service of ours at `address`; an error if it answers anything but 200, or not in three seconds.
pub fn get(address: &ListenAddress, path: &str) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address.local(), HEALTH_TIMEOUT)?;
    stream.set_read_timeout(Some(HEALTH_TIMEOUT))?;
    stream.set_write_timeout(Some(HEALTH_TIMEOUT))?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(4096).read_to_end(&mut answer)?;
    // A TLS listener answers with an alert, which is no text of ours.
    anyhow::ensure!(
        answer.starts_with(b"HTTP/"),
        "{address} does not answer in HTTP: it is something else, or with TLS"
    );
    let answer = String::from_utf8(answer)?;
    anyhow::ensure!(answer.starts_with("HTTP/1.1 200 "), "not serving");
    let (_, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
    Ok(body.to_owned())
}
