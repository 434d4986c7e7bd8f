//! One `sigstack` as a child process, and how the checks speak to it.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;

use crate::run::{self, quiet};

/// Who signs in these checks.
pub(crate) const IDENTITY: &str = "dev@example.com";

/// A running stack; stopped when dropped.
pub(crate) struct Stack {
    folder: TempDir,
    /// Where our programs are.
    programs: PathBuf,
    child: Child,
    issuer: String,
    /// The version of Rekor that clients are told to sign with.
    rekor: u32,
}

impl Stack {
    /// Starts it on ports that nobody uses and waits until every service answers.
    pub(crate) fn start() -> Result<Self> {
        Self::start_from(&run::target().join("debug"))
    }

    /// [`start`](Self::start) with the programs of one profile.
    pub(crate) fn start_from(programs: &Path) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let state = folder.path().join("state");
        let log = fs::File::create(folder.path().join("sigstack.log"))?;
        fs::create_dir_all(folder.path().join("home"))?;
        let child = Command::new(programs.join("sigstack"))
            .args(["up", "--port-base", "0", "--state"])
            .arg(&state)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("cannot start sigstack")?;
        let mut stack = Self {
            folder,
            programs: programs.to_owned(),
            child,
            issuer: String::new(),
            rekor: 2,
        };
        let waited = quiet(
            Command::new(programs.join("sigstack"))
                .args(["wait", "--state"])
                .arg(&state),
        )?;
        if waited.code != Some(0) {
            let log = fs::read_to_string(stack.path("sigstack.log")).unwrap_or_default();
            waited.expect(0).with_context(|| log)?;
        }
        stack.issuer = stack.address("issuer")?;
        Ok(stack)
    }

    /// A path in the checks' own folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file into the checks' own folder.
    pub(crate) fn file(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.path(name);
        fs::write(&path, text)?;
        Ok(path)
    }

    /// The stack's own folder.
    pub(crate) fn state(&self) -> PathBuf {
        self.path("state")
    }

    pub(crate) fn trusted_root(&self) -> PathBuf {
        self.state().join("trusted_root.json")
    }

    /// From here on clients sign with this version of Rekor.
    pub(crate) fn sign_with_rekor(&mut self, version: u32) {
        self.rekor = version;
    }

    pub(crate) fn signing_config(&self) -> PathBuf {
        self.for_signers("signing_config")
    }

    pub(crate) fn client_trust_config(&self) -> PathBuf {
        self.for_signers("client_trust_config")
    }

    fn for_signers(&self, name: &str) -> PathBuf {
        let name = match self.rekor {
            1 => format!("{name}_rekor_v1.json"),
            _ => format!("{name}.json"),
        };
        self.state().join(name)
    }

    pub(crate) fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The base URL of one of its services.
    pub(crate) fn address(&self, service: &str) -> Result<String> {
        let finished = quiet(
            Command::new(self.programs.join("sigstack"))
                .args(["address", service, "--state"])
                .arg(self.state()),
        )?
        .expect(0)?;
        Ok(finished.stdout.trim().to_owned())
    }

    /// A fresh identity token for [`IDENTITY`].
    pub(crate) fn token(&self) -> Result<String> {
        let finished = quiet(
            Command::new(self.programs.join("sigstack"))
                .args(["token", "--email", IDENTITY, "--state"])
                .arg(self.state()),
        )?
        .expect(0)?;
        Ok(finished.stdout.trim().to_owned())
    }

    /// The same for another audience than the certificate authority's.
    pub(crate) fn token_for(&self, audience: &str) -> Result<String> {
        let finished = quiet(
            Command::new(self.programs.join("sigstack"))
                .args([
                    "token",
                    "--email",
                    IDENTITY,
                    "--audience",
                    audience,
                    "--state",
                ])
                .arg(self.state()),
        )?
        .expect(0)?;
        Ok(finished.stdout.trim().to_owned())
    }

    /// The flags that say whom a verifier expects; the same in cosign and cosign-rs.
    pub(crate) fn expect(&self, identity: &str) -> [String; 4] {
        [
            "--certificate-identity".to_owned(),
            identity.to_owned(),
            "--certificate-oidc-issuer".to_owned(),
            self.issuer.clone(),
        ]
    }

    /// One of our verifying commands with the stack's trusted root.
    pub(crate) fn cosign_rs(&self, command: &str) -> Command {
        let mut cosign = Command::new(self.programs.join("cosign-rs"));
        cosign
            .arg(command)
            .arg("--trusted-root")
            .arg(self.trusted_root());
        cosign
    }

    /// Pushes a small image of two layers to a registry and gives its reference by digest.
    pub(crate) fn push_image(&self, reference: &str) -> Result<String> {
        let finished = quiet(
            Command::new(self.programs.join("sigstack"))
                .args(["image", "--state"])
                .arg(self.state())
                .arg(reference),
        )?
        .expect(0)?;
        Ok(finished.stdout.trim().to_owned())
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        stop(&mut self.child);
    }
}

/// Ends a child that we started.
pub(crate) fn stop(child: &mut Child) {
    // Both fail only when it has ended by itself, which is what we want.
    let _ = child.kill();
    let _ = child.wait();
}

/// A server of somebody else, stopped when dropped.
pub(crate) struct Server {
    child: Child,
    /// host:port
    pub(crate) address: String,
}

impl Server {
    /// Starts a command that listens on `port` and waits until it does.
    pub(crate) fn start(command: &mut Command, port: u16, path: &Path) -> Result<Self> {
        let log = fs::File::create(path)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {command:?}"))?;
        let server = Self {
            child,
            address: format!("localhost:{port}"),
        };
        for _ in 0..100 {
            if TcpStream::connect(("localhost", port)).is_ok() {
                return Ok(server);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let said = fs::read_to_string(path).unwrap_or_default();
        bail!(
            "{} does not listen after 5 s; it said: {said}",
            server.address
        )
    }

    /// The status of the answer to a GET of `path`.
    pub(crate) fn status(&self, path: &str) -> Result<u16> {
        let mut stream = TcpStream::connect(&self.address)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let accept = "application/vnd.oci.image.index.v1+json";
        write!(
            stream,
            "GET {path} HTTP/1.0\r\nHost: {}\r\nAccept: {accept}\r\n\r\n",
            self.address
        )?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line)?;
        line.split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok())
            .with_context(|| format!("no HTTP answer: {line}"))
    }

    /// The process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        stop(&mut self.child);
    }
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> Result<u16> {
    free_ports(1)
}

/// So many ports in a row, none of which this process has named before; the first one. Below those that the kernel takes for outgoing connections,
/// one of which would else be there before the service that the port is for.
pub(crate) fn free_ports(count: u16) -> Result<u16> {
    const PORTS: std::ops::Range<u16> = 12_000..32_000;
    // Another process of this program begins elsewhere.
    static NEXT: LazyLock<Mutex<u16>> = LazyLock::new(|| {
        let spread = std::process::id().wrapping_mul(97) % 20_000;
        Mutex::new(PORTS.start + u16::try_from(spread).unwrap_or(0))
    });
    let mut next = NEXT.lock().unwrap_or_else(PoisonError::into_inner);
    for _ in 0..PORTS.len() {
        let first = *next;
        let end = first.saturating_add(count);
        if end > PORTS.end {
            *next = PORTS.start;
            continue;
        }
        *next = end;
        if (first..end).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok()) {
            return Ok(first);
        }
    }
    anyhow::bail!("no {count} free ports in a row")
}
