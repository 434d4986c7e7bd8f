//! One `sigstack` as a child process, and how the checks speak to it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use crate::run::{self, quiet};

/// Who signs in these checks.
pub(crate) const IDENTITY: &str = "dev@example.com";

/// A running stack; stopped when dropped.
pub(crate) struct Stack {
    folder: TempDir,
    child: Child,
    issuer: String,
}

impl Stack {
    /// Starts it on ports that nobody uses and waits until every service answers.
    pub(crate) fn start() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let state = folder.path().join("state");
        let log = fs::File::create(folder.path().join("sigstack.log"))?;
        fs::create_dir_all(folder.path().join("home"))?;
        let child = Command::new(run::ours("sigstack"))
            .args(["up", "--port-base", "0", "--state"])
            .arg(&state)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("cannot start sigstack")?;
        let mut stack = Self {
            folder,
            child,
            issuer: String::new(),
        };
        let waited = quiet(
            Command::new(run::ours("sigstack"))
                .args(["wait", "--state"])
                .arg(&state),
        )?;
        if waited.code != Some(0) {
            let log = fs::read_to_string(stack.path("sigstack.log")).unwrap_or_default();
            waited.expect(0).with_context(|| log)?;
        }
        let issuer = quiet(
            Command::new(run::ours("sigstack"))
                .args(["address", "issuer", "--state"])
                .arg(&state),
        )?
        .expect(0)?;
        issuer.stdout.trim().clone_into(&mut stack.issuer);
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

    pub(crate) fn signing_config(&self) -> PathBuf {
        self.state().join("signing_config.json")
    }

    pub(crate) fn client_trust_config(&self) -> PathBuf {
        self.state().join("client_trust_config.json")
    }

    pub(crate) fn issuer(&self) -> &str {
        &self.issuer
    }

    /// A fresh identity token for [`IDENTITY`].
    pub(crate) fn token(&self) -> Result<String> {
        let finished = quiet(
            Command::new(run::ours("sigstack"))
                .args(["token", "--email", IDENTITY, "--state"])
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
        let mut cosign = Command::new(run::ours("cosign-rs"));
        cosign
            .arg(command)
            .arg("--trusted-root")
            .arg(self.trusted_root());
        cosign
    }

    /// Pushes a small image of two layers to a registry and gives its reference by digest.
    pub(crate) fn push_image(&self, reference: &str) -> Result<String> {
        let finished = quiet(
            Command::new(run::ours("sigstack"))
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
    pub(crate) fn start(command: &mut Command, port: u16, log: &Path) -> Result<Self> {
        let log = fs::File::create(log)?;
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
        quiet(Command::new("bash").args([
            "-c",
            &format!("for i in $(seq 100); do (echo > /dev/tcp/localhost/{port}) 2> /dev/null && exit 0; read -rt 0.1 < <(:) || :; done; exit 1"),
        ]))?
        .expect(0)
        .context("the server does not listen")?;
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        stop(&mut self.child);
    }
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> Result<u16> {
    Ok(std::net::TcpListener::bind(("127.0.0.1", 0))?
        .local_addr()?
        .port())
}
