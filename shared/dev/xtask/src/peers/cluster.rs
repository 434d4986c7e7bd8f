//! The log in PostgreSQL and an S3 bucket: the tests of `cluster` against real servers, which they also break.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use super::stack::{Server, free_port};
use super::upstream::VERSITYGW;
use crate::report::Report;
use crate::run::{cargo, installed, live, quiet};

/// Where Debian keeps the servers of each version.
const DEBIAN: &str = "/usr/lib/postgresql";
/// Of a server that lives for one test.
const ACCOUNT: [(&str, &str); 2] = [
    ("AWS_ACCESS_KEY_ID", "cluster-test"),
    ("AWS_SECRET_ACCESS_KEY", "for-a-server-on-loopback"),
];

/// Lines of each instance that are told of when a test failed.
const TOLD: usize = 40;

pub(crate) fn check(report: &mut Report) -> Result<()> {
    let title = "the log engine on PostgreSQL and an S3 bucket: paused, killed and restarted";
    let Some(postgresql) = postgresql() else {
        report.skip(title, "PostgreSQL");
        return Ok(());
    };
    let Some(gateway) = VERSITYGW.program() else {
        report.skip(title, VERSITYGW.name);
        return Ok(());
    };
    if !installed("openssl") {
        report.skip(title, "openssl");
        return Ok(());
    }
    let mut servers = None;
    report.check("PostgreSQL and an S3 server start", || {
        servers = Some(Servers::start(&postgresql, &gateway)?);
        Ok(())
    });
    let Some(servers) = servers else {
        return Ok(());
    };
    report.check(title, || servers.test("cluster", "servers"));
    report.check(
        "the search index: one suite on SQLite and on PostgreSQL, which crashes",
        || servers.test("search", "index"),
    );
    report.check(
        "three instances of rekor-rs on them: the leader is killed under load",
        || servers.test("rekor-rs", "cluster"),
    );
    Ok(())
}

/// What these tests need, on loopback and with TLS.
struct Servers {
    _folder: TempDir,
    certificates: Certificates,
    database: Postgres,
    bucket: Server,
}

impl Servers {
    fn start(postgresql: &Path, gateway: &Path) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let certificates = Certificates::make(folder.path())?;
        Ok(Self {
            database: Postgres::start(postgresql, &certificates)?,
            bucket: start_gateway(gateway, folder.path(), &certificates)?,
            certificates,
            _folder: folder,
        })
    }

    /// Runs one test file of a package with the addresses of the servers.
    fn test(&self, package: &str, test: &str) -> Result<()> {
        let logs = tempfile::tempdir()?;
        let tested = live(
            cargo(["test", "--quiet", "--package", package, "--test", test])
                .env("REKOR_TEST_LOGS", logs.path())
                .env("CLUSTER_TEST_DATABASE", self.database.address())
                .env("CLUSTER_TEST_RESTART", self.database.restart())
                .env("CLUSTER_TEST_ROOTS", &self.certificates.authority)
                .env(
                    "CLUSTER_TEST_BUCKET",
                    self.bucket.address.replace("localhost", "127.0.0.1"),
                )
                .envs(ACCOUNT),
        );
        if tested.is_err() {
            tell_of_turns(logs.path())?;
        }
        tested
    }
}

/// What the instances of a test that failed said of their turns, and of what went wrong.
fn tell_of_turns(logs: &Path) -> Result<()> {
    for entry in fs::read_dir(logs)? {
        let path = entry?.path();
        let text = fs::read_to_string(&path)?;
        let told: Vec<&str> = text
            .lines()
            .filter(|line| {
                let turn = line.contains("cluster::lease") || line.contains("rekor_rs::app");
                // Nobody leads for a moment, and then each request is warned of.
                let warned = line.contains(" WARN ") && !line.contains(" request{");
                turn || warned || line.contains(" ERROR ")
            })
            .collect();
        println!("{}, the last of {}:", path.display(), told.len());
        for line in told.iter().rev().take(TOLD).rev() {
            println!("  {}", line.chars().take(300).collect::<String>());
        }
    }
    Ok(())
}

/// The folder of PostgreSQL's programs, the newest version of those that are installed.
pub(crate) fn postgresql() -> Option<PathBuf> {
    let versions = fs::read_dir(DEBIAN).into_iter().flatten().flatten();
    let newest = versions
        .filter_map(|entry| {
            let version: u32 = entry.file_name().to_str()?.parse().ok()?;
            let programs = entry.path().join("bin");
            programs
                .join("initdb")
                .is_file()
                .then_some((version, programs))
        })
        .max()
        .map(|(_, programs)| programs);
    newest.or_else(|| {
        let path = std::env::var_os("PATH")?;
        let mut folders = std::env::split_paths(&path);
        folders.find(|folder| folder.join("initdb").is_file() && folder.join("pg_ctl").is_file())
    })
}

/// An authority for these tests, and a server's certificate by it: both servers speak TLS, as they would elsewhere.
pub(crate) struct Certificates {
    authority: PathBuf,
    chain: PathBuf,
    key: PathBuf,
}

impl Certificates {
    pub(crate) fn make(folder: &Path) -> Result<Self> {
        let at = |name: &str| folder.join(name);
        let openssl = |arguments: &[&str]| -> Result<()> {
            quiet(Command::new("openssl").args(arguments).current_dir(folder))?
                .expect(0)
                .map(drop)
        };
        let key = [
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
        ];
        fs::write(
            at("leaf.cnf"),
            "subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n",
        )?;
        let authority = ["req", "-x509", "-days", "2", "-subj", "/CN=cluster test"];
        let names = ["-keyout", "authority.key", "-out", "authority.pem"];
        openssl(&[&authority[..], &key, &names].concat())?;
        let request = ["req", "-new", "-subj", "/CN=127.0.0.1"];
        let names = ["-keyout", "server.key", "-out", "server.csr"];
        openssl(&[&request[..], &key, &names].concat())?;
        openssl(&[
            "x509",
            "-req",
            "-days",
            "2",
            "-in",
            "server.csr",
            "-CA",
            "authority.pem",
            "-CAkey",
            "authority.key",
            "-CAcreateserial",
            "-extfile",
            "leaf.cnf",
            "-out",
            "server.pem",
        ])?;
        Ok(Self {
            authority: at("authority.pem"),
            chain: at("server.pem"),
            key: at("server.key"),
        })
    }
}

/// A database server of these tests alone; stopped when dropped.
pub(crate) struct Postgres {
    folder: TempDir,
    programs: PathBuf,
    port: u16,
}

impl Postgres {
    pub(crate) fn start(programs: &Path, certificates: &Certificates) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let server = Self {
            folder,
            programs: programs.to_owned(),
            port: free_port()?,
        };
        // It refuses to run as root, so it gets a user, who has to get at the folder.
        if is_root() {
            fs::set_permissions(server.folder.path(), fs::Permissions::from_mode(0o755))?;
            quiet(
                Command::new("install")
                    .args(["-d", "-o", user(), "-m", "700"])
                    .arg(server.data()),
            )?
            .expect(0)?;
        }
        quiet(
            server
                .program("initdb")
                .args(["--auth", "trust", "--username", "log"]),
        )?
        .expect(0)?;
        // It wants both beside its data, and its key to be its own.
        for (from, name) in [
            (&certificates.chain, "server.crt"),
            (&certificates.key, "server.key"),
        ] {
            let mut install = Command::new("install");
            install.args(["-m", "600"]);
            if is_root() {
                install.args(["-o", user()]);
            }
            quiet(install.arg(from).arg(server.data().join(name)))?.expect(0)?;
        }
        let options = format!(
            "-p {} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c ssl=on",
            server.port
        );
        quiet(
            server
                .program("pg_ctl")
                .args(["-w", "-o", &options, "-l"])
                .arg(server.data().join("server.log"))
                .arg("start"),
        )?
        .expect(0)
        .with_context(|| {
            fs::read_to_string(server.data().join("server.log")).unwrap_or_default()
        })?;
        Ok(server)
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Does what a file of SQL says.
    pub(crate) fn read(&self, file: &Path) -> Result<()> {
        quiet(
            Command::new(self.programs.join("psql"))
                .args(["-q", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-p"])
                .arg(self.port.to_string())
                .args(["-U", "log", "-d", "postgres", "-f"])
                .arg(file),
        )?
        .expect(0)
        .map(drop)
    }

    /// One of its programs on its data, as its user.
    fn program(&self, name: &str) -> Command {
        let mut command = if is_root() {
            let mut command = Command::new("setpriv");
            command
                .args(["--reuid", user(), "--regid", &group(), "--clear-groups"])
                .arg(self.programs.join(name));
            command
        } else {
            Command::new(self.programs.join(name))
        };
        command.arg("-D").arg(self.data()).current_dir("/");
        command
    }

    /// Ends it as a crash would, and starts it again; for a shell.
    fn restart(&self) -> String {
        let mut command = self.program("pg_ctl");
        command
            .args(["-w", "-m", "immediate", "-l"])
            .arg(self.data().join("server.log"))
            .arg("restart");
        let words = [command.get_program()]
            .into_iter()
            .chain(command.get_args())
            .map(|word| format!("'{}'", word.to_string_lossy()));
        words.collect::<Vec<_>>().join(" ")
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // When it does not stop, its folder goes all the same, and it notices.
        let _ = quiet(
            self.program("pg_ctl")
                .args(["-w", "-m", "immediate", "stop"]),
        );
    }
}

fn is_root() -> bool {
    quiet(Command::new("id").arg("-u")).is_ok_and(|finished| finished.stdout.trim() == "0")
}

/// Debian's package makes the first; the second is everywhere.
fn user() -> &'static str {
    let known = quiet(Command::new("id").args(["-u", "postgres"]));
    if known.is_ok_and(|finished| finished.code == Some(0)) {
        "postgres"
    } else {
        "nobody"
    }
}

/// The number of the user's group, whose name may be another.
fn group() -> String {
    let asked = quiet(Command::new("id").args(["-g", user()]));
    asked.map_or_else(
        |_| String::new(),
        |finished| finished.stdout.trim().to_owned(),
    )
}

/// An S3 server over a folder, with the bucket `logs`.
fn start_gateway(program: &Path, folder: &Path, certificates: &Certificates) -> Result<Server> {
    let objects = folder.join("objects");
    fs::create_dir_all(objects.join("logs"))?;
    let port = free_port()?;
    let [(_, access), (_, secret)] = ACCOUNT;
    Server::start(
        Command::new(program)
            .args(["--access", access, "--secret", secret])
            .args(["--quiet", "--keep-alive", "--port"])
            .arg(format!("127.0.0.1:{port}"))
            .arg("--cert")
            .arg(&certificates.chain)
            .arg("--key")
            .arg(&certificates.key)
            .arg("posix")
            .arg(objects),
        port,
        &folder.join("gateway.log"),
    )
}

/// PostgreSQL's servers by Debian's package, where there are none.
pub(crate) fn install() -> Result<()> {
    if postgresql().is_some() || installed("initdb") {
        return Ok(());
    }
    quiet(Command::new("apt-get").arg("update"))?.expect(0)?;
    quiet(Command::new("apt-get").args([
        "install",
        "-y",
        "--no-install-recommends",
        "postgresql",
    ]))?
    .expect(0)?;
    Ok(())
}
