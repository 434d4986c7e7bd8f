//! Starting and stopping the services of one stack in this process.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serve::{Clock, Closing, ListenAddress, Listeners, Service, Stop, StopHandle};
use tokio::task::JoinHandle;

use crate::args::{Part, Up};
use crate::layout;
use crate::material::Material;
use crate::parts;
use crate::state::{Addresses, Name, State};

/// First of the ports in a row if nobody says otherwise: not registered with IANA, and below the range that kernels give away.
const PORT_BASE: u16 = 7710;

/// How long a stop waits for a service beyond its own limit.
const STOP_MAX: Duration = Duration::from_secs(15);

/// What to start.
#[derive(Clone, Debug)]
pub struct Options {
    /// The state folder.
    pub state: PathBuf,
    /// Which ports.
    pub ports: Ports,
    /// `localhost` or an IP address to listen on.
    pub host: String,
    /// Whether the registry has the referrers API.
    pub referrers: bool,
}

/// Which ports the services get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ports {
    /// Those of the last start; the first time, the default ones.
    Kept,
    /// A row that begins here.
    From(u16),
    /// Whatever is free.
    Free,
}

/// Running services.
#[derive(Debug)]
pub struct Stack {
    state: State,
    addresses: Addresses,
    running: Vec<Running>,
}

#[derive(Debug)]
struct Running {
    name: Name,
    handle: StopHandle,
    task: JoinHandle<()>,
    /// What runs beside the answers: closing a log, following files, looking at clocks.
    closing: Closing,
}

impl Options {
    /// From the command line.
    pub fn of(up: &Up) -> Self {
        let ports = match up.port_base {
            None => Ports::Kept,
            Some(0) => Ports::Free,
            Some(base) => Ports::From(base),
        };
        Self {
            state: up.state.clone(),
            ports,
            host: up.listen.clone(),
            referrers: !up.no_referrers,
        }
    }

    /// A stack on loopback at free ports, as tests and the demo want it.
    pub fn free(state: impl Into<PathBuf>) -> Self {
        Self {
            state: state.into(),
            ports: Ports::Free,
            host: "localhost".to_owned(),
            referrers: true,
        }
    }
}

impl Stack {
    /// Makes or continues the state and starts every service.
    pub async fn start(options: &Options) -> Result<Self> {
        let state = State::open(&options.state)?;
        // Sockets first: their ports stand in every other file.
        let sockets = bind(options, &state).await?;
        let addresses = Addresses::on_localhost(|name| port(&sockets, name));
        lay_out(&state, &addresses, options).await?;

        let mut stack = Self {
            state,
            addresses,
            running: Vec::new(),
        };
        for (name, listeners) in sockets {
            stack
                .start_one(name, listeners)
                .await
                .with_context(|| format!("starting {}", name.as_str()))?;
        }
        Ok(stack)
    }

    async fn start_one(&mut self, name: Name, listeners: Listeners) -> Result<()> {
        let service = service(name, &self.state.path(&name.settings_file())).await?;
        let (handle, stop) = Stop::new();
        let task = tokio::spawn(serve::run(
            listeners,
            name.as_str(),
            service.router,
            service.server.limits,
            stop,
        ));
        self.running.push(Running {
            name,
            handle,
            task,
            closing: service.closing,
        });
        Ok(())
    }

    /// Where the services answer.
    pub const fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// The state folder.
    pub fn folder(&self) -> &Path {
        self.state.folder()
    }

    /// Stops everything in order.
    pub async fn stop(mut self) {
        self.stop_some(|_| true).await;
    }

    /// Stops everything but the registry.
    pub async fn stop_all_but_the_registry(&mut self) {
        self.stop_some(|name| name != Name::Registry).await;
    }

    async fn stop_some(&mut self, which: impl Fn(Name) -> bool) {
        let (stopping, staying) = std::mem::take(&mut self.running)
            .into_iter()
            .partition(|running| which(running.name));
        self.running = staying;
        let stopping: Vec<Running> = stopping;
        for running in &stopping {
            running.handle.stop();
        }
        for running in stopping {
            let stopped = async {
                let _ended = running.task.await;
                running.closing.finish().await;
            };
            if tokio::time::timeout(STOP_MAX, stopped).await.is_err() {
                tracing::warn!(service = running.name.as_str(), "did not stop in time");
            }
        }
    }

    /// Waits until the stop is given or a service ends by itself.
    pub async fn run(mut self, mut stop: Stop) -> Result<()> {
        let ended = async {
            let mut turn = tokio::time::interval(Duration::from_secs(1));
            loop {
                turn.tick().await;
                if let Some(dead) = self
                    .running
                    .iter()
                    .find(|running| running.task.is_finished())
                {
                    return dead.name;
                }
            }
        };
        let ended = tokio::select! {
            name = ended => Some(name),
            () = stop.wait() => None,
        };
        self.stop_some(|_| true).await;
        match ended {
            None => Ok(()),
            Some(name) => bail!(
                "{} ended by itself; its log lines above say why",
                name.as_str()
            ),
        }
    }

    /// How to use the stack, for people.
    pub fn describe(&self) -> String {
        describe(self.state.folder(), &self.addresses)
    }
}

/// `sigstack init`: everything a start writes, and no start.
pub async fn init(options: &Options) -> Result<Addresses> {
    let state = State::open(&options.state)?;
    let addresses = match options.ports {
        Ports::Free => {
            bail!("without starting anything no port can be found out to be free: give --port-base")
        }
        Ports::From(base) => Addresses::on_localhost(|name| nth_port(base, name)),
        Ports::Kept => kept(&state)?
            .unwrap_or_else(|| Addresses::on_localhost(|name| nth_port(PORT_BASE, name))),
    };
    lay_out(&state, &addresses, options).await?;
    Ok(addresses)
}

async fn lay_out(state: &State, addresses: &Addresses, options: &Options) -> Result<()> {
    let clock = Clock::system();
    let material = Material::load_or_make(state, clock.now())?;
    let files = layout::write(
        state,
        &material,
        addresses,
        &options.host,
        options.referrers,
    )?;
    let repository = state.path(Name::Tuf.as_str());
    parts::publish(&repository, &material.tuf, &files, &clock).await
}

fn kept(state: &State) -> Result<Option<Addresses>> {
    let Some(text) = state.read(Addresses::FILE)? else {
        return Ok(None);
    };
    Ok(Some(
        serde_json::from_slice(&text).map_err(|error| state.damaged(Addresses::FILE, error))?,
    ))
}

fn nth_port(base: u16, name: Name) -> u16 {
    let position = Name::ALL
        .iter()
        .position(|other| *other == name)
        .unwrap_or_default();
    base.saturating_add(u16::try_from(position).unwrap_or_default())
}

fn port(sockets: &[(Name, Listeners)], name: Name) -> u16 {
    sockets
        .iter()
        .find(|(other, _)| *other == name)
        .map_or(0, |(_, listeners)| listeners.port())
}

async fn bind(options: &Options, state: &State) -> Result<Vec<(Name, Listeners)>> {
    let kept = kept(state)?;
    let mut sockets = Vec::new();
    for name in Name::ALL {
        let port = match options.ports {
            Ports::Free => 0,
            Ports::From(base) => nth_port(base, name),
            Ports::Kept => kept
                .as_ref()
                .and_then(|kept| kept.port(name))
                .unwrap_or_else(|| nth_port(PORT_BASE, name)),
        };
        let address = listen_address(&options.host, port)?;
        let listeners = Listeners::bind(&address)
            .await
            .with_context(|| format!("{} (other ports: --port-base)", name.as_str()))?;
        sockets.push((name, listeners));
    }
    Ok(sockets)
}

fn listen_address(host: &str, port: u16) -> Result<ListenAddress> {
    let text = if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    };
    Ok(text.parse()?)
}

/// Brings one service to life from its settings file, exactly as its own program does.
async fn service(name: Name, settings: &Path) -> Result<Service> {
    match name {
        Name::Issuer => parts::build(Part::Issuer, settings).await,
        Name::Registry => parts::build(Part::Registry, settings).await,
        Name::Tuf => parts::build(Part::Tuf, settings).await,
        Name::Tsa => tsa_rs::service(settings).await,
        Name::Rekor => rekor_rs::service(settings).await,
        Name::Fulcio => fulcio_rs::service(settings).await,
        Name::Ctlog => ctlog_rs::service(settings).await,
    }
}

fn describe(folder: &Path, addresses: &Addresses) -> String {
    let folder = folder.display();
    let mut text = format!("sigstack is running on {folder}\n\n");
    for (name, what) in [
        (Name::Issuer, "identity provider (log in with any address)"),
        (Name::Fulcio, "certificate authority"),
        (Name::Ctlog, "certificate transparency log"),
        (Name::Tsa, "timestamp authority"),
        (Name::Rekor, "transparency log (Rekor v2, v1)"),
        (Name::Registry, "container registry"),
        (Name::Tuf, "TUF repository"),
    ] {
        // A String takes everything.
        let _written = writeln!(
            text,
            "  {:<9} {:<24} {what}",
            name.as_str(),
            addresses.of(name)
        );
    }
    let registry = addresses.registry.trim_start_matches("http://");
    let (issuer, tuf) = (&addresses.issuer, &addresses.tuf);
    let _written = write!(
        text,
        r"
Trust files in {folder}: trusted_root.json, signing_config.json, client_trust_config.json
  for clients that sign with Rekor v1: signing_config_rekor_v1.json, client_trust_config_rekor_v1.json

  export STATE={folder}
  export TOKEN=$(sigstack token --state $STATE --email you@example.org)

cosign-rs, and cosign 3.1 (the same flags)
  cosign-rs sign-blob --trusted-root $STATE/trusted_root.json --signing-config $STATE/signing_config.json \
      --identity-token $TOKEN --bundle FILE.sigstore.json FILE
  cosign-rs verify-blob --trusted-root $STATE/trusted_root.json --bundle FILE.sigstore.json \
      --certificate-identity you@example.org --certificate-oidc-issuer {issuer} FILE
  images: sign and verify {registry}/NAME@sha256:..

cosign by TUF
  cosign initialize --mirror {tuf} --root $STATE/tuf/published/root.json

sigstore-python
  sigstore --trust-config $STATE/client_trust_config.json sign --identity-token $TOKEN --bundle FILE.sigstore.json FILE
  sigstore --trust-config $STATE/client_trust_config.json verify identity --bundle FILE.sigstore.json \
      --cert-identity you@example.org --cert-oidc-issuer {issuer} FILE

Ctrl-C stops it; the next start continues the same logs with the same keys.
"
    );
    text
}
