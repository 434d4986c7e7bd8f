//! A log of its own, as `rekor-rs init` makes it, before upstream's gRPC client and verifier, Tessera's fsck and a witness of somebody else;
//! and our witness before upstream's log.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use tempfile::TempDir;

use super::install::folder;
use super::stack::{Server, free_port};
use super::upstream::{FSCK, LITEWITNESS, REKOR};
use crate::report::Report;
use crate::run::{self, cargo, installed, quiet};

/// Name of the other witness.
const WITNESS: &str = "witness.example/w1";
/// SHA-256 of nothing, base64: the root of a log that the witness has not seen yet.
const EMPTY_ROOT: &str = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";
/// Makes the tables of the witness's database and puts a log in; its own tool for that is not published with its dependencies.
const ADD_LOG: &str = "import sqlite3, sys\n\
d = sqlite3.connect(sys.argv[1])\n\
d.execute('CREATE TABLE log (origin TEXT PRIMARY KEY, tree_size INTEGER NOT NULL, tree_hash TEXT NOT NULL)')\n\
d.execute('CREATE TABLE key (origin TEXT NOT NULL, key TEXT NOT NULL, FOREIGN KEY(origin) REFERENCES log(origin))')\n\
d.execute('INSERT INTO log VALUES (?, 0, ?)', (sys.argv[2], sys.argv[4]))\n\
d.execute('INSERT INTO key VALUES (?, ?)', (sys.argv[2], sys.argv[3]))\n\
d.commit()\n";

/// Built from `peers/grpc.go`.
pub(crate) const CLIENT: &str = "rekor-grpc";

pub(crate) fn check(report: &mut Report) -> Result<()> {
    grpc_and_tiles(report);
    description(report);
    our_log(report);
    our_witness(report);
    Ok(())
}

fn client() -> Option<PathBuf> {
    let program = folder().join("go").join(CLIENT);
    program.is_file().then_some(program)
}

fn grpc_and_tiles(report: &mut Report) {
    let title = "rekor-tiles' gRPC client adds an entry to our log, and its verifier believes it";
    let Some(client) = client() else {
        return report.skip(title, CLIENT);
    };
    let mut log = None;
    report.check(title, || {
        let started = Log::start(|_| Ok(String::new()))?;
        quiet(
            Command::new(&client)
                .args(["-address", &started.server.address])
                .args(["-log", &started.vkey()?]),
        )?
        .expect(0)?;
        log = Some(started);
        Ok(())
    });
    let title = "Tessera's fsck recomputes our tiles";
    let (Some(log), Some(fsck)) = (log, FSCK.program()) else {
        return report.skip(title, FSCK.name);
    };
    report.check(title, || {
        // Beyond one tile, so that there is a second level.
        quiet(
            cargo(["run", "--quiet", "--package", "load", "--", "log"])
                .arg(format!("http://{}", log.server.address))
                .args(["--requests", "700", "--seconds", "60"]),
        )?
        .expect(0)?;
        let checked = quiet(
            Command::new(&fsck)
                .arg("-storage_url")
                .arg(format!("http://{}/", log.server.address))
                .arg("-public_key")
                .arg(log.folder.path().join("log.vkey"))
                .arg("-ui=false"),
        )?
        .expect(0)?;
        let said = checked.all();
        ensure!(
            said.contains("Successfully fsck'd log with size 701"),
            "{said}"
        );
        Ok(())
    });
}

/// Requests made from the description, good and bad ones: none is answered 5xx, with a status that it does not name, or in another shape.
fn description(report: &mut Report) {
    let title = "schemathesis asks our log what its OpenAPI document says";
    let program = folder().join("schemathesis/bin/schemathesis");
    if !program.is_file() {
        return report.skip(title, "schemathesis");
    }
    report.check(title, || {
        let log = Log::start_with(&[], |_| Ok(String::new()))?;
        quiet(
            Command::new(&program)
                .arg("run")
                .arg(format!("http://{}/openapi.json", log.server.address))
                .args(["--phases", "coverage,fuzzing", "--max-examples", "40"])
                .args(["--seed", "7", "--checks"])
                .arg(
                    "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance",
                )
                .current_dir(log.folder.path()),
        )?
        .expect(0)
        .map(drop)
    });
}

fn our_log(report: &mut Report) {
    let title = "a witness of somebody else's cosigns our log, and upstream's verifier sees both";
    let (Some(client), Some(witness)) = (client(), LITEWITNESS.program()) else {
        return report.skip(title, LITEWITNESS.name);
    };
    for program in ["ssh-agent", "ssh-add", "ssh-keygen", "python3"] {
        if !installed(program) {
            return report.skip(title, program);
        }
    }
    report.check(title, || {
        let mut other = None;
        let log = Log::start(|folder| {
            let started = Litewitness::start(&witness, folder)?;
            let policy = format!(
                "witness other {} http://{}/\nquorum other\n",
                started.vkey, started.server.address
            );
            fs::write(folder.join("witnesses.policy"), policy)?;
            other = Some(started);
            Ok(
                "\n[witnessing]\npolicy = \"witnesses.policy\"\ninterval_seconds = 0.1\n"
                    .to_owned(),
            )
        })?;
        let other = other.context("the witness")?;
        quiet(
            Command::new(&client)
                .args(["-address", &log.server.address])
                .args(["-log", &log.vkey()?, "-witness", &other.vkey]),
        )?
        .expect(0)
        .map(drop)
    });
}

fn our_witness(report: &mut Report) {
    let title = "our witness cosigns the log of upstream's rekor-tiles";
    let (Some(client), Some(rekor)) = (client(), REKOR.program()) else {
        return report.skip(title, REKOR.name);
    };
    report.check(title, || {
        let folder = tempfile::tempdir()?;
        let at = |name: &str| folder.path().join(name);
        let (port, grpc, witness_port) = (free_port()?, free_port()?, free_port()?);
        let keygen = |file: &str, name: &str, more: &[&str]| -> Result<String> {
            let made = quiet(
                ours().args(["keygen", "--out"])
                    .arg(at(file))
                    .args(["--name", name])
                    .args(more),
            )?
            .expect(0)?;
            Ok(made.stdout.trim().to_owned())
        };
        let log_key = keygen("log.pem", "localhost", &[])?;
        let witness_key = keygen("witness.pem", "witness.example/ours", &["--witness"])?;
        fs::write(
            at("witness.toml"),
            format!(
                "[server]\nlisten = \"localhost:{witness_port}\"\n[witness]\nname = \"witness.example/ours\"\nkey = \"witness.pem\"\n\
                 folder = \"seen\"\n[[logs]]\nvkey = \"{log_key}\"\n"
            ),
        )?;
        let _witness = Server::start(
            ours().args(["witness", "--config"]).arg(at("witness.toml")),
            witness_port,
            &at("witness.log"),
        )?;
        fs::write(
            at("witnesses.policy"),
            format!("witness ours {witness_key} http://localhost:{witness_port}\nquorum ours\n"),
        )?;
        let _log = Server::start(
            Command::new(&rekor)
                .arg("serve")
                .args(["--http-address", "127.0.0.1", "--grpc-address", "127.0.0.1"])
                .args(["--http-port", &port.to_string()])
                .args(["--grpc-port", &grpc.to_string()])
                .args(["--http-metrics-port", &free_port()?.to_string()])
                .args(["--hostname", "localhost", "--log-level", "warn"])
                .args(["--checkpoint-interval", "200ms", "--batch-max-age", "100ms"])
                .arg("--signer-filepath")
                .arg(at("log.pem"))
                .arg("--storage-dir")
                .arg(at("tiles"))
                .arg("--witness-policy-path")
                .arg(at("witnesses.policy")),
            port,
            &at("rekor.log"),
        )?;
        let asked = quiet(
            Command::new(&client)
                .args(["-address", &format!("localhost:{grpc}"), "-reads=false"])
                .args(["-log", &log_key, "-witness", &witness_key]),
        )?;
        asked.expect(0).map(drop).with_context(|| {
            let logs = ["witness.log", "rekor.log"].map(|log| fs::read_to_string(at(log)));
            format!("{logs:?}")
        })
    });
}

fn ours() -> Command {
    Command::new(run::target().join("debug/rekor-rs"))
}

/// A log of ours, made by `rekor-rs init`.
struct Log {
    folder: TempDir,
    server: Server,
}

impl Log {
    /// `more` is put behind the settings, once the folder and its key are there.
    fn start(more: impl FnOnce(&Path) -> Result<String>) -> Result<Self> {
        Self::start_with(&["--without-v1", "--without-search"], more)
    }

    fn start_with(without: &[&str], more: impl FnOnce(&Path) -> Result<String>) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let port = free_port()?;
        quiet(
            ours()
                .arg("init")
                .args(without)
                .args(["--url", &format!("http://localhost:{port}")])
                .args(["--listen", &format!("localhost:{port}")])
                .arg("--folder")
                .arg(folder.path()),
        )?
        .expect(0)?;
        let settings = folder.path().join("rekor-rs.toml");
        let text = fs::read_to_string(&settings)?;
        fs::write(&settings, text + &more(folder.path())?)?;
        let server = Server::start(
            ours().arg("--config").arg(&settings),
            port,
            &folder.path().join("rekor-rs.log"),
        )?;
        Ok(Self { folder, server })
    }

    fn vkey(&self) -> Result<String> {
        let text = fs::read_to_string(self.folder.path().join("log.vkey"))?;
        Ok(text.trim().to_owned())
    }
}

/// A witness that keeps its key in an SSH agent.
struct Litewitness {
    server: Server,
    vkey: String,
    agent: Child,
}

impl Litewitness {
    fn start(program: &Path, folder: &Path) -> Result<Self> {
        let at = |name: &str| folder.join(name);
        let vkey = fs::read_to_string(at("log.vkey"))?;
        quiet(
            Command::new("python3")
                .args(["-c", ADD_LOG])
                .arg(at("witness.db"))
                .args(["localhost", vkey.trim(), EMPTY_ROOT]),
        )?
        .expect(0)?;
        quiet(
            Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-f"])
                .arg(at("witness.key")),
        )?
        .expect(0)?;
        let agent = Command::new("ssh-agent")
            .arg("-D")
            .arg("-a")
            .arg(at("agent"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .context("cannot start ssh-agent")?;
        until("the SSH agent is there", || {
            Ok(at("agent").exists().then_some(()))
        })?;
        quiet(
            Command::new("ssh-add")
                .env("SSH_AUTH_SOCK", at("agent"))
                .arg(at("witness.key")),
        )?
        .expect(0)?;
        let printed = quiet(
            Command::new("ssh-keygen")
                .arg("-lf")
                .arg(at("witness.key.pub")),
        )?
        .expect(0)?;
        let fingerprint = printed.stdout.split(' ').nth(1).unwrap_or_default();
        let port = free_port()?;
        let log = at("litewitness.log");
        let server = Server::start(
            Command::new(program)
                .arg("-db")
                .arg(at("witness.db"))
                .args(["-key", fingerprint, "-name", WITNESS])
                .args(["-listen", &format!("localhost:{port}")])
                .arg("-ssh-agent")
                .arg(at("agent")),
            port,
            &log,
        )?;
        let vkey = until("the witness says its key", || {
            let said = fs::read_to_string(&log)?;
            let key = said.split("vkey=").nth(1);
            let key = key.and_then(|rest| rest.split_whitespace().next());
            Ok(key.map(str::to_owned))
        })?;
        Ok(Self {
            server,
            vkey,
            agent,
        })
    }
}

impl Drop for Litewitness {
    fn drop(&mut self) {
        // It may have ended with its socket's folder.
        let _ = self.agent.kill();
        let _ = self.agent.wait();
    }
}

fn until<T>(what: &str, look: impl Fn() -> Result<Option<T>>) -> Result<T> {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(10) {
        if let Some(found) = look()? {
            return Ok(found);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    bail!("not within ten seconds: {what}")
}
