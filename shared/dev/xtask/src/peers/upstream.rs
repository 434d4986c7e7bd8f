//! Servers of others, installed as Go modules; those of Sigstore are started with the same keys as ours.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::cluster::{Certificates, Postgres};
use super::install::folder;
use super::site::Site;
use super::stack::{Server, free_port};
use crate::run::{live, quiet};

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

/// The client of Rekor v1 that knows every kind of entry. (Later versions want a newer Go.)
pub(crate) const REKOR_CLI: Peer = Peer {
    name: "rekor-cli",
    package: "github.com/sigstore/rekor/cmd/rekor-cli",
    version: "v1.5.4",
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

/// An S3 server over a folder, with conditional writes.
pub(crate) const VERSITYGW: Peer = Peer {
    name: "versitygw",
    package: "github.com/versity/versitygw/cmd/versitygw",
    version: "v1.8.0",
};

/// A witness by the authors of the specification. (Later versions want a newer Go.)
pub(crate) const LITEWITNESS: Peer = Peer {
    name: "litewitness",
    package: "filippo.io/torchwood/cmd/litewitness",
    version: "v0.9.0",
};

/// Recomputes a log from its tiles.
pub(crate) const FSCK: Peer = Peer {
    name: "fsck",
    package: "github.com/transparency-dev/tessera/cmd/fsck",
    version: "v1.0.4",
};

/// The client of RFC 6962 logs by the authors of CTFE.
pub(crate) const CTCLIENT: Peer = Peer {
    name: "ctclient",
    package: "github.com/google/certificate-transparency-go/client/ctclient",
    version: "v1.3.3",
};

/// A CT log of static-ct-api that keeps its tiles on a file system. (The next version is of modules that no proxy has.)
pub(crate) const TESSERACT: Peer = Peer {
    name: "tesseract-posix",
    package: "github.com/transparency-dev/tesseract/cmd/tesseract/posix",
    version: "v0.1.1",
};

/// Recomputes a CT log from its tiles.
pub(crate) const TESSERACT_FSCK: Peer = Peer {
    name: "tesseract-fsck",
    package: "github.com/transparency-dev/tesseract/cmd/fsck",
    version: "v0.1.1",
};

/// The CT log that Sigstore's public instance has: the front of a Trillian log.
pub(crate) const CTFE: Peer = Peer {
    name: "ct_server",
    package: "github.com/google/certificate-transparency-go/trillian/ctfe/ct_server",
    version: "v1.3.3",
};

/// What is behind it: a server, whoever puts leaves into the tree, and what makes trees.
pub(crate) const TRILLIAN: [Peer; 3] = [
    trillian(
        "trillian_log_server",
        "github.com/google/trillian/cmd/trillian_log_server",
    ),
    trillian(
        "trillian_log_signer",
        "github.com/google/trillian/cmd/trillian_log_signer",
    ),
    trillian("createtree", "github.com/google/trillian/cmd/createtree"),
];

const TRILLIAN_VERSION: &str = "v1.7.3";

const fn trillian(name: &'static str, package: &'static str) -> Peer {
    Peer {
        name,
        package,
        version: TRILLIAN_VERSION,
    }
}

/// The tables that Trillian wants to find in PostgreSQL, a file of its module.
pub(crate) fn trillian_tables() -> PathBuf {
    folder().join("go/trillian.sql")
}

/// A program of ours around Tessera's POSIX driver, for the bench of the bare engine.
pub(crate) const TESSERA: &str = "tessera-raw";
/// Of the module in it; the one of [`FSCK`].
pub(crate) const TESSERA_VERSION: &str = "v1.0.4";

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
                "\npeer {}: not installed (cargo xtask peers install)",
                self.name
            );
        }
        program
    }

    /// Its name with its version, for a table.
    pub(crate) fn title(&self) -> String {
        format!("{} {}", self.name, self.version)
    }

    fn install(&self, flags: &[&str]) -> Result<()> {
        let place = folder().join("go");
        // Apart from the others: some have the same last word in their packages.
        let built = place.join("built");
        fs::create_dir_all(&built)?;
        live(
            Command::new("go")
                .arg("install")
                .args(flags)
                .arg(format!("{}@{}", self.package, self.version))
                .env("GOBIN", &built)
                .env("CGO_ENABLED", "0"),
        )?;
        // Go names a program by the last word of its package.
        let name = self.package.rsplit('/').next().unwrap_or(self.name);
        fs::rename(built.join(name), place.join(self.name))?;
        Ok(())
    }
}

/// Installs those that are missing.
pub(crate) fn install() -> Result<()> {
    for peer in [
        REKOR,
        REKOR_CLI,
        FULCIO,
        TSA,
        VERSITYGW,
        LITEWITNESS,
        FSCK,
        CTCLIENT,
        TESSERACT,
        TESSERACT_FSCK,
        CTFE,
    ] {
        if peer.program().is_none() {
            peer.install(&[])?;
        }
    }
    for peer in TRILLIAN {
        if peer.program().is_none() {
            // Without the other databases, each of which brings a client of its own.
            peer.install(&["-tags", "postgresql"])?;
        }
    }
    install_trillian_tables()
}

fn install_trillian_tables() -> Result<()> {
    if trillian_tables().is_file() {
        return Ok(());
    }
    let module = format!("github.com/google/trillian@{TRILLIAN_VERSION}");
    let said = quiet(Command::new("go").args(["mod", "download", "-json", &module]))?;
    let said: Value = serde_json::from_str(&said.expect(0)?.stdout)?;
    let folder = said.get("Dir").and_then(Value::as_str);
    let folder = Path::new(folder.context("go names no folder")?);
    let tables = fs::read(folder.join("storage/postgresql/schema/storage.sql"))?;
    Ok(fs::write(trillian_tables(), tables)?)
}

/// Rekor v2 at this port, with the site's key.
pub(crate) fn rekor(site: &Site, program: &Path, port: u16, flags: &[&str]) -> Result<Server> {
    let data = tempfile::tempdir_in(site.folder())?.keep();
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

/// The timestamp authority at this port, with the site's key and chain.
pub(crate) fn tsa(site: &Site, program: &Path, port: u16) -> Result<Server> {
    Server::start(
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
    )
}

/// The certificate authority at this port, with the site's key, chain and issuers.
pub(crate) fn fulcio(site: &Site, program: &Path, port: u16, witnessed: bool) -> Result<Server> {
    let (grpc, metrics) = (free_port()?, free_port()?);
    let mut command = Command::new(program);
    command
        .args(["serve", "--host", "127.0.0.1", "--port"])
        .arg(port.to_string())
        .args(["--grpc-host", "127.0.0.1", "--grpc-port"])
        .arg(grpc.to_string())
        .args(["--metrics-port", &metrics.to_string()])
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

/// As fast as it goes: whoever waits for an SCT waits for a batch.
pub(crate) fn tesseract(site: &Site, program: &Path) -> Result<Server> {
    // It reads the older form of the key only.
    let key = site.folder().join("sec1.pem");
    quiet(
        Command::new("openssl")
            .args(["pkey", "-traditional", "-in"])
            .arg(site.file("ctlog/key.pem"))
            .arg("-out")
            .arg(&key),
    )?
    .expect(0)?;
    let data = tempfile::tempdir_in(site.folder())?.keep();
    let port = site.port("ctlog")?;
    Server::start(
        Command::new(program)
            .args(["-logtostderr", "-origin", "ctlog.example.org"])
            .args(["-http_endpoint", &format!("localhost:{port}")])
            .args(["-ext_key_usages", "CodeSigning"])
            .args(["-checkpoint_interval", "200ms", "-batch_max_age", "50ms"])
            .arg("-private_key")
            .arg(&key)
            .arg("-roots_pem_file")
            .arg(site.file("ctlog/roots.pem"))
            .arg("-storage_dir")
            .arg(data),
        port,
        &site.log("tesseract-posix"),
    )
}

/// CTFE, with the key and the roots of the site's log, at the log's port and under the path `ctfe`; and what it needs.
pub(crate) struct Ctfe {
    _servers: [Server; 3],
    _database: Postgres,
}

pub(crate) fn ctfe(site: &Site, postgresql: &Path) -> Result<Ctfe> {
    let [log_server, log_signer, createtree] = TRILLIAN;
    let program = |peer: &Peer| peer.program().with_context(|| peer.name.to_owned());
    let database = Postgres::start(postgresql, &Certificates::make(site.folder())?)?;
    database.read(&trillian_tables())?;
    let (port, signer_port) = (free_port()?, free_port()?);
    let endpoint = format!("localhost:{port}");
    let trillian = |peer: &Peer, endpoint: &str| -> Result<Command> {
        let mut command = Command::new(program(peer)?);
        command
            .args(["--logtostderr", "--http_endpoint=", "--quota_system=noop"])
            .args(["--storage_system=postgresql", "--postgresql_uri"])
            .arg(format!(
                "postgresql://log@{}/postgres?sslmode=disable",
                database.address()
            ))
            .arg(format!("--rpc_endpoint={endpoint}"));
        Ok(command)
    };
    let server = Server::start(
        &mut trillian(&log_server, &endpoint)?,
        port,
        &site.log(log_server.name),
    )?;
    let tree =
        quiet(Command::new(program(&createtree)?).arg(format!("--admin_server={endpoint}")))?;
    let tree = tree.expect(0)?.stdout;
    let signer = Server::start(
        trillian(&log_signer, &format!("localhost:{signer_port}"))?
            .args(["--force_master", "--sequencer_interval=50ms"]),
        signer_port,
        &site.log(log_signer.name),
    )?;
    // It reads keys in files under a password only.
    let key = site.folder().join("ctfe.pem");
    quiet(
        Command::new("openssl")
            .args([
                "pkey",
                "-traditional",
                "-aes128",
                "-passout",
                "pass:ctfe",
                "-in",
            ])
            .arg(site.file("ctlog/key.pem"))
            .arg("-out")
            .arg(&key),
    )?
    .expect(0)?;
    let settings = site.folder().join("ctfe.cfg");
    fs::write(
        &settings,
        format!(
            "config {{ log_id: {} prefix: \"ctfe\" roots_pem_file: \"{}\" ext_key_usages: \"CodeSigning\" max_merge_delay_sec: 86400 \
             private_key: {{ [type.googleapis.com/keyspb.PEMKeyFile] {{ path: \"{}\" password: \"ctfe\" }} }} }}\n",
            tree.trim(),
            site.file("ctlog/roots.pem").display(),
            key.display()
        ),
    )?;
    let port = site.port("ctlog")?;
    let front = Server::start(
        Command::new(program(&CTFE)?)
            .args(["--logtostderr", "--log_rpc_server", &endpoint])
            .arg(format!("--http_endpoint=localhost:{port}"))
            .arg("--log_config")
            .arg(settings),
        port,
        &site.log(CTFE.name),
    )?;
    Ok(Ctfe {
        _servers: [front, signer, server],
        _database: database,
    })
}
