//! The timestamp authority beside upstream's, with a real time server, with finer times, and while its key is replaced.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use super::site::Site;
use super::stack::{IDENTITY, Server, Stack, free_port, stop};
use super::upstream::{self, TSA};
use super::{VERIFIERS, install, issuers, present, refused};
use crate::report::Report;
use crate::run::{self, Finished, quiet};

/// A plain program that asks.
fn ask(arguments: &[&str]) -> Result<Finished> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/timestamps.py");
    quiet(Command::new("python3").arg(script).args(arguments))
}

pub(crate) fn check(report: &mut Report, stack: &Stack) -> Result<()> {
    let site = Site::new(&run::target().join("debug"))?;
    let title = "tsa-rs and upstream's timestamp-server answer the same requests with the same status and message";
    match TSA.program() {
        None => report.skip(title, TSA.name),
        Some(program) => report.check(title, || {
            let ours = site.start("tsa-rs", "tsa")?;
            let theirs = upstream::tsa(&site, &program, free_port()?)?;
            let url = |server: &Server| format!("http://{}", server.address);
            ask(&["same", &url(&ours), &url(&theirs)])?
                .expect(0)
                .map(drop)
        }),
    }
    report.check(
        "tsa-rs takes a new key and chain under load, and no request fails",
        || reload(&site),
    );
    let title = "timestamps in milliseconds: every client verifies them";
    report.check(title, || milliseconds(stack));
    let title = "tsa-rs states the accuracy that chrony vouches for, and no time without it";
    match chronyd() {
        None => report.skip(title, "chrony"),
        Some(program) => report.check(title, || checked_time(&site, &program)),
    }
    Ok(())
}

fn reload(site: &Site) -> Result<()> {
    for name in ["old", "new"] {
        let port = free_port()?;
        quiet(
            Command::new(run::ours("tsa-rs"))
                .args(["init", "--url", &format!("http://localhost:{port}")])
                .args(["--listen", &format!("localhost:{port}"), "--folder"])
                .arg(site.folder().join(name)),
        )?
        .expect(0)?;
    }
    let settings = site.folder().join("old/tsa-rs.toml");
    let text = fs::read_to_string(&settings)?;
    let port = text
        .lines()
        .find_map(|line| {
            line.strip_prefix("listen = \"localhost:")?
                .strip_suffix('"')
        })
        .context("tsa-rs.toml has no listen")?;
    let server = Server::start(
        Command::new(run::ours("tsa-rs"))
            .arg("--config")
            .arg(&settings),
        port.parse()?,
        &site.log("tsa-reload"),
    )?;
    let folder = |name: &str| site.folder().join(name).display().to_string();
    let url = format!("http://{}", server.address);
    ask(&["reload", &url, &folder("old"), &folder("new")])?.expect(0)?;
    Ok(())
}

/// With the stack's key and chain, so that its trusted root holds. Verified by everybody who is installed.
fn milliseconds(stack: &Stack) -> Result<()> {
    let port = free_port()?;
    let settings = stack.state().join("tsa/milliseconds.toml");
    fs::write(
        &settings,
        format!(
            "[server]\nlisten = \"localhost:{port}\"\n\n[tsa]\nkey = \"key.pem\"\nchain = \"chain.pem\"\nresolution = \"milliseconds\"\n"
        ),
    )?;
    let server = Server::start(
        Command::new(run::ours("tsa-rs"))
            .arg("--config")
            .arg(&settings),
        port,
        &stack.path("tsa-milliseconds.log"),
    )?;
    openssl(stack, &server)?;
    let url = format!("http://{}/api/v1/timestamp", server.address);
    if present("gitsign") {
        // It takes no certificate that may be younger than the timestamp says it is, and everything here happens within one second: with
        // whole seconds it refuses.
        issuers::gitsign(stack, Some(&url))?;
    }
    let text = fs::read(stack.client_trust_config())?;
    let mut config: Value = serde_json::from_slice(&text)?;
    let place = config.pointer_mut("/signingConfig/tsaUrls/0/url");
    *place.context("tsaUrls")? = url.into();
    let trust = stack.file("client_trust_config_milliseconds.json", &config.to_string())?;
    let artifact = stack.file("milliseconds.txt", "a file of this millisecond\n")?;
    for number in 0..3 {
        let bundle = stack.path(&format!("milliseconds-{number}.sigstore.json"));
        quiet(
            Command::new(run::ours("cosign-rs"))
                .args(["sign-blob", "--yes", "--identity-token", &stack.token()?])
                .arg("--trust-config")
                .arg(&trust)
                .arg("--bundle")
                .arg(&bundle)
                .arg(&artifact),
        )?
        .expect(0)?;
        for verifier in VERIFIERS.iter().filter(|verifier| present(verifier.name)) {
            (verifier.verify)(stack, &artifact, &bundle, IDENTITY)?
                .expect(0)
                .with_context(|| verifier.name)?;
            refused(&(verifier.verify)(
                stack,
                &artifact,
                &bundle,
                "mallory@example.com",
            )?)?;
        }
    }
    Ok(())
}

/// A question by OpenSSL, asked with curl, and its answer verified; what it says about time.
fn stamped(folder: &Path, server: &Server, root: &Path, leaf: &Path) -> Result<String> {
    fs::write(folder.join("stamped"), "something to stamp\n")?;
    let openssl = |arguments: &[&str]| {
        quiet(Command::new("openssl").args(arguments).current_dir(folder))?.expect(0)
    };
    openssl(&[
        "ts",
        "-query",
        "-data",
        "stamped",
        "-sha256",
        "-cert",
        "-out",
        "stamped.tsq",
    ])?;
    quiet(
        Command::new("curl")
            .args([
                "--silent",
                "--show-error",
                "--fail-with-body",
                "--data-binary",
                "@stamped.tsq",
            ])
            .args([
                "-H",
                "Content-Type: application/timestamp-query",
                "-o",
                "stamped.tsr",
            ])
            .arg(format!("http://{}/api/v1/timestamp", server.address))
            .current_dir(folder),
    )?
    .expect(0)?;
    let (root, leaf) = (root.display().to_string(), leaf.display().to_string());
    let verify = [
        "ts",
        "-verify",
        "-queryfile",
        "stamped.tsq",
        "-in",
        "stamped.tsr",
    ];
    openssl(&[&verify[..], &["-CAfile", &root, "-untrusted", &leaf]].concat())?;
    Ok(openssl(&["ts", "-reply", "-in", "stamped.tsr", "-text"])?.stdout)
}

fn openssl(stack: &Stack, server: &Server) -> Result<()> {
    let chain = stack.state().join("tsa/chain.pem");
    let folder = stack.path("home");
    for _ in 0..20 {
        let text = stamped(&folder, server, &chain, &chain)?;
        ensure!(
            text.contains("Accuracy: unspecified seconds, 0x02 millis"),
            "{text}"
        );
        let time = text
            .lines()
            .find_map(|line| line.strip_prefix("Time stamp: "));
        if time.is_some_and(|time| time.contains('.')) {
            return Ok(());
        }
    }
    bail!("twenty times in a row there was no fraction")
}

/// Debian's chrony, unpacked.
fn chronyd() -> Option<PathBuf> {
    let program = install::folder().join("chrony/usr/sbin/chronyd");
    program.is_file().then_some(program)
}

/// A time server that does not touch the clock, and the authority that asks it.
fn checked_time(site: &Site, program: &Path) -> Result<()> {
    let ntp = free_udp_port()?;
    let settings = site.folder().join("chrony.conf");
    fs::write(
        &settings,
        format!(
            "port {ntp}\ncmdport 0\nbindaddress 127.0.0.1\nbindcmdaddress /\nallow 127.0.0.1\nlocal stratum 1\npidfile {}\n",
            site.folder().join("chrony.pid").display()
        ),
    )?;
    let user = quiet(Command::new("id").arg("-un"))?.expect(0)?.stdout;
    let log = fs::File::create(site.log("chrony"))?;
    let mut chrony = Command::new(program)
        .args(["-d", "-x", "-U", "-u", user.trim(), "-f"])
        .arg(&settings)
        .stdin(std::process::Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()?;
    let done = vouched(site, ntp);
    stop(&mut chrony);
    done?;
    // And with nobody there.
    let server = watched(site, free_udp_port()?)?;
    let waited = ready(&server, Duration::from_secs(3));
    ensure!(
        waited.is_err(),
        "it is ready, and nobody has told it the time"
    );
    let digest = "A".repeat(43);
    let refusal = quiet(
        Command::new("curl")
            .args(["--silent", "-H", "Content-Type: application/json", "--data"])
            .arg(format!(
                "{{\"artifactHash\":\"{digest}=\",\"hashAlgorithm\":\"sha256\"}}"
            ))
            .arg(format!("http://{}/api/v1/timestamp", server.address)),
    )?;
    ensure!(
        refusal.stdout.contains("\"code\":503") && refusal.stdout.contains("time_not_available"),
        "{}",
        refusal.all()
    );
    Ok(())
}

fn vouched(site: &Site, ntp: u16) -> Result<()> {
    let server = watched(site, ntp)?;
    ready(&server, Duration::from_secs(20))
        .with_context(|| fs::read_to_string(site.log("tsa-watched")).unwrap_or_default())?;
    let chain = site.file("tsa/chain.pem");
    let text = stamped(site.folder(), &server, &chain, &chain)?;
    // A second for the cutting, and at least five milliseconds for the clock.
    let accuracy = text
        .lines()
        .find_map(|line| line.strip_prefix("Accuracy: "));
    let accuracy = accuracy.unwrap_or_default();
    ensure!(
        accuracy.starts_with("0x01 seconds, 0x") && accuracy.contains("millis"),
        "{text}"
    );
    Ok(())
}

fn watched(site: &Site, ntp: u16) -> Result<Server> {
    let port = free_port()?;
    let settings = site.file("tsa/watched.toml");
    fs::write(
        &settings,
        format!(
            "[server]\nlisten = \"localhost:{port}\"\n\n[tsa]\nkey = \"key.pem\"\nchain = \"chain.pem\"\n\n\
             [time]\nntp = [\"127.0.0.1:{ntp}\"]\ntimeout_seconds = 1\nstate_file = \"latest\"\n"
        ),
    )?;
    Server::start(
        Command::new(run::ours("tsa-rs"))
            .arg("--config")
            .arg(&settings),
        port,
        &site.log("tsa-watched"),
    )
}

fn ready(server: &Server, limit: Duration) -> Result<()> {
    let begun = std::time::Instant::now();
    while begun.elapsed() < limit {
        if server.status("/readyz")? == 200 {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    bail!("not ready after {limit:?}")
}

fn free_udp_port() -> Result<u16> {
    let socket = std::net::UdpSocket::bind(("127.0.0.1", 0))?;
    Ok(socket.local_addr()?.port())
}
