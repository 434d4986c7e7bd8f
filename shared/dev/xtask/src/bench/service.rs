//! The services under load: ours as its own program with a fresh state, then the upstream one with the same keys.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use super::table::{Contestant, Table, Work, measure};
use super::{build, machine, peer, programs};
use crate::peers::stack::{Server, free_port};
use crate::run::{self, quiet};

/// One client, a busy service, and more than the machine has cores for.
const LEVELS: &[u32] = &[1, 16, 64];
/// A log with a batch interval shows what it can do only when many wait for one batch.
const LOG_LEVELS: &[u32] = &[1, 16, 64, 512];
/// The upstream log asks itself once a second whether an entry is in: how much it can do shows when very many ask it.
const SLOW_LOG_LEVELS: &[u32] = &[1, 16, 64, 512, 2048];
/// As many people as there are connections at the middle level.
const PEOPLE: u32 = 16;

/// `sigstack init` in a folder of its own: keys, trust files and settings for each service, and nothing running.
struct Site {
    folder: TempDir,
}

impl Site {
    fn new() -> Result<Self> {
        let place = run::target().join("bench");
        fs::create_dir_all(&place)?;
        let site = Self {
            folder: tempfile::tempdir_in(place)?,
        };
        println!("{}", machine::describe(site.folder.path())?);
        quiet(
            Command::new(programs().join("sigstack"))
                .args(["init", "--port-base", &row_of_ports()?.to_string()])
                .arg("--state")
                .arg(site.state()),
        )?
        .expect(0)?;
        Ok(site)
    }

    fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// A file of the state.
    fn file(&self, name: &str) -> PathBuf {
        self.state().join(name)
    }

    fn log(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.log"))
    }

    fn sigstack(&self, arguments: &[&str]) -> Result<String> {
        let finished = quiet(
            Command::new(programs().join("sigstack"))
                .args(arguments)
                .arg("--state")
                .arg(self.state()),
        )?
        .expect(0)?;
        Ok(finished.stdout.trim().to_owned())
    }

    /// Where a service of this site is to answer.
    fn address(&self, service: &str) -> Result<String> {
        self.sigstack(&["address", service])
    }

    fn port(&self, service: &str) -> Result<u16> {
        let address = self.address(service)?;
        let port = address.rsplit(':').next().unwrap_or_default();
        port.parse()
            .with_context(|| format!("no port in {address}"))
    }

    /// Starts one of our programs with its settings of this site.
    fn start(&self, program: &str, service: &str) -> Result<Server> {
        let settings = self.file(&format!("{service}/{service}.toml"));
        Server::start(
            Command::new(programs().join(program))
                .arg("--config")
                .arg(settings),
            self.port(service)?,
            &self.log(program),
        )
    }
}

/// The first of seven ports that are free at this moment.
fn row_of_ports() -> Result<u16> {
    for _ in 0..100 {
        let first = free_port()?;
        let last = first.saturating_add(6);
        let free = (first..=last).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok());
        if free && last < u16::MAX {
            return Ok(first);
        }
    }
    anyhow::bail!("no seven free ports in a row")
}

fn contestant<'a>(name: &'a str, server: &Server) -> Contestant<'a> {
    Contestant {
        name,
        url: format!("http://{}", server.address),
        process: server.id(),
    }
}

/// Prints the ratios, and answers whether all of it counts.
fn conclude(ours: &Table, theirs: &[Table]) -> bool {
    for table in theirs {
        ours.against(table);
    }
    let clean = ours.is_clean() && theirs.iter().all(Table::is_clean);
    if !clean {
        println!("\nREQUESTS FAILED: what stands above are no figures");
    }
    clean
}

pub(crate) fn log() -> Result<bool> {
    build(&["load", "sigstack", "rekor-rs"])?;
    let site = Site::new()?;
    let work = |seconds, levels| Work {
        kind: vec!["log".into()],
        levels,
        seconds,
        rate_max: 10_000,
    };
    let ours = {
        let server = site.start("rekor-rs", "rekor")?;
        measure(&contestant("rekor-rs", &server), &work(5, LOG_LEVELS))?
    };
    let mut theirs = Vec::new();
    if let Some(program) = peer::REKOR.program_or_tell() {
        // A run has to see some of its rounds: the defaults publish a checkpoint every ten seconds.
        let tuned: &[&str] = &["--checkpoint-interval", "100ms", "--batch-max-age", "100ms"];
        for (how, flags, seconds, levels) in [
            ("default settings", &[][..], 30, &[64, 512][..]),
            ("a checkpoint every 100 ms", tuned, 10, SLOW_LOG_LEVELS),
        ] {
            let name = format!("{}, {how}", peer::REKOR.title());
            let server = rekor(&site, &program, flags)?;
            let work = Work {
                rate_max: 1_000,
                ..work(seconds, levels)
            };
            theirs.push(measure(&contestant(&name, &server), &work)?);
        }
    }
    Ok(conclude(&ours, &theirs))
}

fn rekor(site: &Site, program: &Path, flags: &[&str]) -> Result<Server> {
    let port = free_port()?;
    let data = tempfile::tempdir_in(site.folder.path())?.keep();
    Server::start(
        Command::new(program)
            .arg("serve")
            .args(["--http-address", "127.0.0.1", "--http-port"])
            .arg(port.to_string())
            .args(["--grpc-port", &free_port()?.to_string()])
            .args(["--http-metrics-port", &free_port()?.to_string()])
            .args(["--hostname", "localhost", "--log-level", "warn"])
            .arg("--signer-filepath")
            .arg(site.file("rekor/key.pem"))
            .arg("--storage-dir")
            .arg(data)
            .args(flags),
        port,
        &site.log("rekor-server-posix"),
    )
}

pub(crate) fn tsa() -> Result<bool> {
    build(&["load", "sigstack", "tsa-rs"])?;
    let site = Site::new()?;
    let work = Work {
        kind: vec!["tsa".into()],
        levels: LEVELS,
        seconds: 5,
        rate_max: 20_000,
    };
    let ours = {
        let server = site.start("tsa-rs", "tsa")?;
        measure(&contestant("tsa-rs", &server), &work)?
    };
    let mut theirs = Vec::new();
    if let Some(program) = peer::TSA.program_or_tell() {
        let port = free_port()?;
        let server = Server::start(
            Command::new(program)
                .args(["serve", "--host", "127.0.0.1", "--port"])
                .arg(port.to_string())
                .args(["--log-type", "prod", "--disable-ntp-monitoring"])
                .args(["--timestamp-signer", "file", "--file-signer-key-path"])
                .arg(site.file("tsa/key.pem"))
                .arg("--certificate-chain-path")
                .arg(site.file("tsa/chain.pem")),
            port,
            &site.log("timestamp-server"),
        )?;
        theirs.push(measure(&contestant(&peer::TSA.title(), &server), &work)?);
    }
    Ok(conclude(&ours, &theirs))
}

pub(crate) fn ca() -> Result<bool> {
    build(&["load", "sigstack", "fulcio-rs", "ctlog-rs"])?;
    let site = Site::new()?;
    let issuer = site.file("issuer/issuer.toml");
    let _issuer = Server::start(
        Command::new(programs().join("sigstack"))
            .args(["serve", "issuer", "--config"])
            .arg(issuer),
        site.port("issuer")?,
        &site.log("issuer"),
    )?;
    let _ct_log = site.start("ctlog-rs", "ctlog")?;
    let work = Work {
        kind: vec!["ca".into(), "--tokens".into(), tokens(&site)?],
        levels: LEVELS,
        seconds: 5,
        rate_max: 5_000,
    };
    let mut clean = true;
    for witnessed in [false, true] {
        let with = if witnessed {
            "with ctlog-rs"
        } else {
            "without a CT log"
        };
        let ours = {
            let server = our_fulcio(&site, witnessed)?;
            measure(&contestant(&format!("fulcio-rs {with}"), &server), &work)?
        };
        let mut theirs = Vec::new();
        if let Some(program) = peer::FULCIO.program_or_tell() {
            let server = upstream_fulcio(&site, &program, witnessed)?;
            let name = format!("{} {with}", peer::FULCIO.title());
            theirs.push(measure(&contestant(&name, &server), &work)?);
        }
        clean &= conclude(&ours, &theirs);
    }
    Ok(clean)
}

/// A file of tokens that outlive the bench.
fn tokens(site: &Site) -> Result<OsString> {
    let mut text = String::new();
    for number in 0..PEOPLE {
        let email = format!("person{number}@example.com");
        let token = site.sigstack(&["token", "--email", &email, "--seconds", "3600"])?;
        writeln!(text, "{token}")?;
    }
    let path = site.folder.path().join("tokens");
    fs::write(&path, text)?;
    Ok(path.into())
}

fn our_fulcio(site: &Site, witnessed: bool) -> Result<Server> {
    if witnessed {
        return site.start("fulcio-rs", "fulcio");
    }
    let port = free_port()?;
    let settings = site.file("fulcio/unwitnessed.toml");
    fs::write(
        &settings,
        format!(
            "[server]\nlisten = \"localhost:{port}\"\n\n[ca]\nkey = \"key.pem\"\nchain = \"chain.pem\"\nissuers = \"issuers.yaml\"\n\n\
             [ct_log]\nnone = true\n"
        ),
    )?;
    Server::start(
        Command::new(programs().join("fulcio-rs"))
            .arg("--config")
            .arg(settings),
        port,
        &site.log("fulcio-rs-unwitnessed"),
    )
}

fn upstream_fulcio(site: &Site, program: &Path, witnessed: bool) -> Result<Server> {
    let port = free_port()?;
    let mut command = Command::new(program);
    command
        .args(["serve", "--host", "127.0.0.1", "--port"])
        .arg(port.to_string())
        .args(["--grpc-host", "127.0.0.1", "--grpc-port"])
        .arg(free_port()?.to_string())
        .args(["--metrics-port", &free_port()?.to_string()])
        .args(["--log_type", "prod", "--ca", "fileca", "--fileca-key"])
        .arg(site.file("fulcio/key.pem"))
        .arg("--fileca-cert")
        .arg(site.file("fulcio/chain.pem"))
        // It wants a password and does not use it, since the key is not encrypted.
        .args(["--fileca-key-passwd", "unused", "--fileca-watch=false"])
        .arg("--legacy-unix-domain-socket")
        .arg(format!("@fulcio-bench-{port}"))
        .arg("--config-path")
        .arg(site.file("fulcio/issuers.yaml"));
    if witnessed {
        command
            .args(["--ct-log-url", &site.address("ctlog")?])
            .arg("--ct-log-public-key-path")
            .arg(site.file("fulcio/ctlog.pub.pem"));
    } else {
        command.args(["--ct-log-url", ""]);
    }
    Server::start(&mut command, port, &site.log("fulcio"))
}
