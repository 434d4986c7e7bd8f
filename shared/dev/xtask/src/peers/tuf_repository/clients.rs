//! The clients that follow our trust root: how each comes to a repository for the first time, and how it comes again.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};

use super::Scene;
use super::signing::{cosign_at, verify_blob};
use crate::peers::stack::IDENTITY;
use crate::peers::{install, python_program};
use crate::run::{self, Finished, quiet};

/// The targets that clients of Sigstore ask for.
const TARGETS: [&str; 2] = ["trusted_root.json", "signing_config.v0.2.json"];

/// A client: how it comes from a root to the trusted root.
#[derive(Clone, Copy)]
pub(super) struct Client {
    pub(super) name: &'static str,
    pub(super) follow: fn(&Visit<'_>) -> Result<Finished>,
    /// Whether it spends its time waiting, so that several of it at once cost nothing.
    pub(super) waits: bool,
    /// Whether it goes on from the newest root that it saw. One that does not begins at the root that it is given, each time.
    pub(super) keeps_root: bool,
}

/// One call of a client.
#[derive(Clone, Copy)]
pub(super) struct Visit<'a> {
    pub(super) scene: &'a Scene<'a>,
    pub(super) url: &'a str,
    /// The root that it was given.
    pub(super) root: &'a Path,
    /// What it keeps.
    pub(super) home: &'a Path,
    /// It was not here before.
    pub(super) first: bool,
}

pub(super) const CLIENTS: [Client; 7] = [
    Client {
        name: "python-tuf",
        follow: python_tuf,
        waits: false,
        keeps_root: true,
    },
    Client {
        name: "tuf-js",
        follow: tuf_js,
        waits: false,
        keeps_root: true,
    },
    Client {
        name: "sigstore-js (TUF)",
        follow: sigstore_js,
        waits: false,
        keeps_root: true,
    },
    Client {
        name: "sigstore-python",
        follow: sigstore_python,
        waits: false,
        keeps_root: true,
    },
    Client {
        name: "gh",
        follow: gh,
        // It asks for the next root three times, a second apart, before it believes that there is none.
        waits: true,
        keeps_root: false,
    },
    Client {
        name: "cosign",
        follow: cosign,
        waits: false,
        keeps_root: true,
    },
    Client {
        name: "cosign-rs",
        follow: ours,
        waits: false,
        keeps_root: true,
    },
];

fn script(program: PathBuf, name: &str) -> Command {
    let mut command = Command::new(program);
    command
        .arg(
            Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("peers")
                .join(name),
        )
        .env("NODE_PATH", install::folder().join("js/node_modules"));
    command
}

fn python_tuf(visit: &Visit<'_>) -> Result<Finished> {
    let python = install::folder().join("python/bin/python");
    quiet(
        script(python, "python-tuf.py")
            .arg(visit.url)
            .arg(visit.root)
            .arg(visit.home.join("cache"))
            .args(TARGETS),
    )
}

fn tuf_js(visit: &Visit<'_>) -> Result<Finished> {
    javascript(visit, "tuf-js")
}

fn sigstore_js(visit: &Visit<'_>) -> Result<Finished> {
    javascript(visit, "sigstore-js")
}

fn javascript(visit: &Visit<'_>, library: &str) -> Result<Finished> {
    quiet(
        script("node".into(), "tuf.js")
            .arg(library)
            .arg(visit.url)
            .arg(visit.root)
            .arg(visit.home.join("cache"))
            .args(TARGETS),
    )
}

fn sigstore_python(visit: &Visit<'_>) -> Result<Finished> {
    let stranger = || {
        let mut command = Command::new(python_program());
        command
            .env("HOME", visit.home)
            .env_remove("XDG_DATA_HOME")
            .env_remove("XDG_CACHE_HOME")
            .args(["--instance", visit.url]);
        command
    };
    if visit.first {
        let trusted = quiet(
            stranger()
                .args(["trust-instance", "--verbose"])
                .arg(visit.root),
        )?;
        if trusted.code != Some(0) {
            return Ok(trusted);
        }
    }
    quiet(
        stranger()
            .args([
                "verify",
                "identity",
                // Says why it refuses.
                "--verbose",
                "--cert-identity",
                IDENTITY,
                "--cert-oidc-issuer",
                visit.scene.stack.issuer(),
                "--bundle",
            ])
            .arg(&visit.scene.bundle)
            .arg(&visit.scene.artifact),
    )
}

fn gh(visit: &Visit<'_>) -> Result<Finished> {
    let finished = quiet(
        Command::new(install::gh_program())
            .args([
                "attestation",
                "trusted-root",
                "--tuf-url",
                visit.url,
                "--tuf-root",
            ])
            .arg(visit.root)
            .env("HOME", visit.home)
            .env_remove("XDG_CACHE_HOME"),
    )?;
    ensure!(
        finished.code != Some(0) || finished.stdout.contains("trustedroot"),
        "no trusted root:\n{}",
        finished.all()
    );
    Ok(finished)
}

fn cosign(visit: &Visit<'_>) -> Result<Finished> {
    if visit.first {
        let initialized = initialize(cosign_at(visit.home), visit)?;
        if initialized.code != Some(0) {
            return Ok(initialized);
        }
    }
    let scene = visit.scene;
    verify_blob(
        cosign_at(visit.home),
        &scene.artifact,
        &scene.bundle,
        &scene.stack.expect(IDENTITY),
    )
}

fn ours(visit: &Visit<'_>) -> Result<Finished> {
    let command = || {
        let mut command = Command::new(run::ours("cosign-rs"));
        command
            .env("HOME", visit.home)
            .env_remove("XDG_CACHE_HOME")
            .env_remove("TUF_ROOT");
        command
    };
    if visit.first {
        let initialized = initialize(command(), visit)?;
        if initialized.code != Some(0) {
            return Ok(initialized);
        }
    }
    let scene = visit.scene;
    let mut verify = command();
    verify.args(["verify-blob", "--trust-refresh", "always"]);
    quiet(
        verify
            .args(scene.stack.expect(IDENTITY))
            .arg("--bundle")
            .arg(&scene.bundle)
            .arg(&scene.artifact),
    )
}

fn initialize(mut command: Command, visit: &Visit<'_>) -> Result<Finished> {
    quiet(
        command
            .args(["initialize", "--mirror", visit.url, "--root"])
            .arg(visit.root),
    )
}
