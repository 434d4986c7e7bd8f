//! A site: keys, trust files and settings for each service, and nothing running until it is started.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use super::stack::{Server, free_ports};
use crate::run::{self, quiet};

/// `sigstack init` in a folder of its own: keys, trust files and settings for each service, and nothing running.
pub(crate) struct Site {
    folder: TempDir,
    programs: PathBuf,
}

impl Site {
    /// With the programs in this folder.
    pub(crate) fn new(programs: &Path) -> Result<Self> {
        let place = run::target().join("sites");
        fs::create_dir_all(&place)?;
        let site = Self {
            folder: tempfile::tempdir_in(place)?,
            programs: programs.to_owned(),
        };
        quiet(
            Command::new(site.programs.join("sigstack"))
                .args(["init", "--port-base", &free_ports(7)?.to_string()])
                .arg("--state")
                .arg(site.state()),
        )?
        .expect(0)?;
        Ok(site)
    }

    /// Where everything is.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// A file of the state.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.state().join(name)
    }

    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.log"))
    }

    pub(crate) fn sigstack(&self, arguments: &[&str]) -> Result<String> {
        let finished = quiet(
            Command::new(self.programs.join("sigstack"))
                .args(arguments)
                .arg("--state")
                .arg(self.state()),
        )?
        .expect(0)?;
        Ok(finished.stdout.trim().to_owned())
    }

    /// Where a service of this site is to answer.
    pub(crate) fn address(&self, service: &str) -> Result<String> {
        self.sigstack(&["address", service])
    }

    pub(crate) fn port(&self, service: &str) -> Result<u16> {
        let address = self.address(service)?;
        let port = address.rsplit(':').next().unwrap_or_default();
        port.parse()
            .with_context(|| format!("no port in {address}"))
    }

    /// Starts one of our programs with its settings of this site.
    pub(crate) fn start(&self, program: &str, service: &str) -> Result<Server> {
        let settings = self.file(&format!("{service}/{service}.toml"));
        Server::start(
            Command::new(self.programs.join(program))
                .arg("--config")
                .arg(settings),
            self.port(service)?,
            &self.log(program),
        )
    }
}
