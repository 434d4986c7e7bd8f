//! The upstream servers: installed as Go modules, started with the same keys as ours.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::peers::install::folder;
use crate::run::{self, live};

/// A server of upstream's.
pub(crate) struct Peer {
    /// What it is called in the output, and its file in the folder of the Go programs.
    pub(crate) name: &'static str,
    package: &'static str,
    version: &'static str,
}

/// Rekor v2 that keeps its tiles on a file system.
pub(crate) const REKOR: Peer = Peer {
    name: "rekor-server-posix",
    package: "github.com/sigstore/rekor-tiles/v2/cmd/rekor-server/posix",
    version: "v2.3.0",
};

/// The certificate authority.
pub(crate) const FULCIO: Peer = Peer {
    name: "fulcio",
    package: "github.com/sigstore/fulcio",
    version: "v1.8.8",
};

/// The timestamp authority.
pub(crate) const TSA: Peer = Peer {
    name: "timestamp-server",
    package: "github.com/sigstore/timestamp-authority/v2/cmd/timestamp-server",
    version: "v2.1.3",
};

impl Peer {
    /// The program, if it is installed.
    pub(crate) fn program(&self) -> Option<PathBuf> {
        let program = folder().join("go").join(self.name);
        program.is_file().then_some(program)
    }

    /// [`program`](Self::program), and a word to the reader where there is none.
    pub(crate) fn program_or_tell(&self) -> Option<PathBuf> {
        let program = self.program();
        if program.is_none() {
            println!(
                "\npeer {}: not installed (cargo xtask bench install)",
                self.name
            );
        }
        program
    }

    /// Its name with its version, for a table.
    pub(crate) fn title(&self) -> String {
        format!("{} {}", self.name, self.version)
    }

    fn install(&self) -> Result<()> {
        let place = folder().join("go");
        fs::create_dir_all(&place)?;
        live(
            Command::new("go")
                .arg("install")
                .arg(format!("{}@{}", self.package, self.version))
                .env("GOBIN", &place)
                .env("CGO_ENABLED", "0"),
        )?;
        // Go names a program by the last word of its package.
        let built = self.package.rsplit('/').next().unwrap_or(self.name);
        if built != self.name {
            fs::rename(place.join(built), place.join(self.name))?;
        }
        Ok(())
    }
}

/// Installs those that are missing.
pub(crate) fn install() -> Result<bool> {
    if !run::installed("go") {
        println!("go is not installed: the upstream servers are Go programs");
        return Ok(false);
    }
    for peer in [REKOR, FULCIO, TSA] {
        if peer.program().is_none() {
            println!("{}", peer.title());
            peer.install()?;
        }
    }
    Ok(true)
}
