//! Our services with their keys elsewhere: in SoftHSM, in OpenBao and under a password, and the same keys as before, so that the same trust
//! files hold. cosign verifies what comes out.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};

use super::site::Site;
use super::stack::{IDENTITY, Server, free_port};
use super::{cosign_program, install, present, refused};
use crate::report::Report;
use crate::run::{self, quiet};

const PIN: &str = "2468";
const PASSWORD: &str = "a password of several words";
const ROOT_TOKEN: &str = "the-root-token-of-a-test";
const MODULES: [&str; 3] = [
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
];

pub(crate) fn check(report: &mut Report) -> Result<()> {
    let title = "services with keys in SoftHSM, in OpenBao and under a password: cosign-rs signs, cosign verifies";
    for (name, there) in [
        ("softhsm2", run::installed("softhsm2-util")),
        ("openbao", install::openbao_is_there()),
        ("cosign", present("cosign")),
    ] {
        if !there {
            report.skip(title, name);
            return Ok(());
        }
    }
    report.check(title, round);
    Ok(())
}

fn round() -> Result<()> {
    let programs = run::target().join("debug");
    let site = Site::new(&programs)?;
    let bao = Bao::start(&site)?;
    // The CA and the v2 log in the token, the timestamp authority in Transit, the CT log and the v1 log under a password.
    let module = softhsm(&site)?;
    for (service, label) in [("fulcio", "ca"), ("rekor", "log")] {
        import_into_token(&site, service, label)?;
        let uri = format!("pkcs11:token=site;object={label}?module-path={module}&pin-value={PIN}");
        point(&site, service, "key.pem", &format!("key = \"{uri}\""))?;
    }
    bao.import(&site, "tsa")?;
    secret(&site.file("tsa/token"), ROOT_TOKEN)?;
    point(
        &site,
        "tsa",
        "key.pem",
        "key = \"hashivault://tsa\"\nkey_secret_file = \"token\"",
    )?;
    for (service, file) in [("ctlog", "key.pem"), ("rekor", "v1.pem")] {
        encrypt(&site, service, file)?;
    }

    let start = |program: &str, service: &str| {
        Server::start(
            Command::new(programs.join(program))
                .arg("--config")
                .arg(site.file(&format!("{service}/{service}.toml")))
                .env("SOFTHSM2_CONF", site.folder().join("softhsm2.conf"))
                .env("VAULT_ADDR", &bao.address),
            site.port(service)?,
            &site.log(program),
        )
    };
    let _issuer = Server::start(
        Command::new(programs.join("sigstack"))
            .args(["serve", "issuer", "--config"])
            .arg(site.file("issuer/issuer.toml")),
        site.port("issuer")?,
        &site.log("issuer"),
    )?;
    let _ct_log = start("ctlog-rs", "ctlog")?;
    let _fulcio = start("fulcio-rs", "fulcio")?;
    let _tsa = start("tsa-rs", "tsa")?;
    let rekor = start("rekor-rs", "rekor")?;
    sign_and_verify(&site, &programs)?;
    drop(rekor);
    // For operators too: only the public half is asked for.
    quiet(
        Command::new(programs.join("rekor-rs"))
            .args(["fsck", "--config"])
            .arg(site.file("rekor/rekor.toml"))
            .env("SOFTHSM2_CONF", site.folder().join("softhsm2.conf")),
    )?
    .expect(0)?;
    Ok(())
}

/// With the v2 log by our own command line, and with the v1 log by cosign.
fn sign_and_verify(site: &Site, programs: &Path) -> Result<()> {
    let file = site.folder().join("file");
    fs::write(
        &file,
        "a file that is signed with keys that are elsewhere\n",
    )?;
    for version in ["v2", "v1"] {
        let bundle = site.folder().join(format!("{version}.sigstore.json"));
        let token = site.sigstack(&["token", "--email", IDENTITY])?;
        let mut sign = if version == "v2" {
            let mut ours = Command::new(programs.join("cosign-rs"));
            ours.args(["sign-blob", "--trust-config"])
                .arg(site.file("client_trust_config.json"));
            ours
        } else {
            let mut theirs = Command::new(cosign_program());
            theirs
                .env("HOME", site.folder())
                .args(["sign-blob", "--yes", "--signing-config"])
                .arg(site.file("signing_config_rekor_v1.json"))
                .arg("--trusted-root")
                .arg(site.file("trusted_root.json"));
            theirs
        };
        sign.args(["--identity-token", &token, "--bundle"])
            .arg(&bundle)
            .arg(&file);
        quiet(&mut sign)?.expect(0)?;
        let verify = |identity: &str| {
            quiet(
                Command::new(cosign_program())
                    .env("HOME", site.folder())
                    .args(["verify-blob", "--certificate-identity", identity])
                    .args(["--certificate-oidc-issuer", &site.address("issuer")?])
                    .arg("--trusted-root")
                    .arg(site.file("trusted_root.json"))
                    .arg("--bundle")
                    .arg(&bundle)
                    .arg(&file),
            )
        };
        verify(IDENTITY)?.expect(0)?;
        refused(&verify("mallory@example.com")?)?;
    }
    Ok(())
}

/// Puts other lines into a service's settings where the key's file stood, and takes the file away.
fn point(site: &Site, service: &str, file: &str, lines: &str) -> Result<()> {
    let settings = site.file(&format!("{service}/{service}.toml"));
    let text = fs::read_to_string(&settings)?;
    let line = format!("key = \"{file}\"");
    anyhow::ensure!(text.contains(&line), "{line} is not in {text}");
    fs::write(&settings, text.replace(&line, lines))?;
    fs::remove_file(site.file(&format!("{service}/{file}"))).context("the key's file")
}

fn secret(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text)?;
    Ok(fs::set_permissions(
        path,
        fs::Permissions::from_mode(0o600),
    )?)
}

/// An empty token; the module's path.
fn softhsm(site: &Site) -> Result<&'static str> {
    let module = MODULES
        .into_iter()
        .find(|module| Path::new(module).is_file());
    let tokens = site.folder().join("tokens");
    fs::create_dir(&tokens)?;
    let settings = format!(
        "directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n",
        tokens.display()
    );
    fs::write(site.folder().join("softhsm2.conf"), settings)?;
    util(
        site,
        &[
            "--init-token",
            "--free",
            "--label",
            "site",
            "--pin",
            PIN,
            "--so-pin",
            "13579",
        ],
    )?;
    module.context("softhsm2 is installed and its module is in none of its places")
}

fn util(site: &Site, arguments: &[&str]) -> Result<()> {
    let mut util = Command::new("softhsm2-util");
    util.args(arguments)
        .env("SOFTHSM2_CONF", site.folder().join("softhsm2.conf"));
    quiet(&mut util)?.expect(0).map(drop)
}

fn import_into_token(site: &Site, service: &str, label: &str) -> Result<()> {
    let key = site
        .file(&format!("{service}/key.pem"))
        .display()
        .to_string();
    // The util wants an id, of its own for each key.
    let id = if label == "ca" { "01" } else { "02" };
    util(
        site,
        &[
            "--import", &key, "--token", "site", "--pin", PIN, "--label", label, "--id", id,
        ],
    )
}

fn encrypt(site: &Site, service: &str, file: &str) -> Result<()> {
    let (plain, boxed) = (
        format!("{service}/{file}"),
        format!("{service}/encrypted-{file}"),
    );
    let mut openssl = Command::new("openssl");
    openssl
        .args(["pkcs8", "-topk8", "-scrypt", "-passout"])
        .arg(format!("pass:{PASSWORD}"))
        .arg("-in")
        .arg(site.file(&plain))
        .arg("-out")
        .arg(site.file(&boxed));
    quiet(&mut openssl)?.expect(0)?;
    fs::set_permissions(site.file(&boxed), fs::Permissions::from_mode(0o600))?;
    secret(&site.file(&format!("{service}/password")), PASSWORD)?;
    let lines = format!("key = \"encrypted-{file}\"\nkey_secret_file = \"password\"");
    point(site, service, file, &lines)
}

/// A development server with an empty Transit engine.
struct Bao {
    address: String,
    _server: Server,
}

impl Bao {
    fn start(site: &Site) -> Result<Self> {
        let port = free_port()?;
        let listen = format!("127.0.0.1:{port}");
        let server = Server::start(
            Command::new(program())
                .args(["server", "-dev", "-dev-no-store-token"])
                .args([
                    "-dev-root-token-id",
                    ROOT_TOKEN,
                    "-dev-listen-address",
                    &listen,
                ])
                .env("HOME", site.folder()),
            port,
            &site.log("openbao"),
        )?;
        let bao = Self {
            address: format!("http://{listen}"),
            _server: server,
        };
        bao.run(site, &["secrets", "enable", "transit"])?;
        Ok(bao)
    }

    fn run(&self, site: &Site, arguments: &[&str]) -> Result<()> {
        let mut bao = Command::new(program());
        bao.args(arguments)
            .env("HOME", site.folder())
            .env("BAO_ADDR", &self.address)
            .env("BAO_TOKEN", ROOT_TOKEN);
        // It listens a moment before it is unsealed.
        let mut last = quiet(&mut bao)?;
        for _ in 0..20 {
            if last.code == Some(0) {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(250));
            last = quiet(&mut bao)?;
        }
        last.expect(0).map(drop)
    }

    /// The key of a service, under its name.
    fn import(&self, site: &Site, service: &str) -> Result<()> {
        let pem = fs::read_to_string(site.file(&format!("{service}/key.pem")))?;
        let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
        let path = format!("transit/keys/{service}");
        self.run(
            site,
            &["transit", "import", &path, &body, "type=ecdsa-p256"],
        )
    }
}

fn program() -> std::path::PathBuf {
    install::folder().join("openbao/bin/bao")
}
