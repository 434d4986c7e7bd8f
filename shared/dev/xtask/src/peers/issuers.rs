//! Who gets a certificate of ours, and with whose tokens: clients and identity providers that share nothing with us.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use super::site::Site;
use super::stack::{IDENTITY, Server, Stack, free_port, stop};
use super::upstream::{self, FULCIO};
use super::{install, ours_sign, present, refused};
use crate::report::Report;
use crate::run::{self, Finished, quiet};

/// A file beside this crate.
pub(super) fn script(name: &str) -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.join("peers").join(name)
}

pub(crate) fn check(report: &mut Report, stack: &Stack) -> Result<()> {
    let title = "gitsign signs a commit with our services and verifies it, and refuses others";
    if present("gitsign") && run::installed("git") {
        report.check(title, || gitsign(stack, None));
    } else {
        report.skip(title, "gitsign");
    }
    let title =
        "sigstore-java gets a certificate over gRPC, signs and verifies; cosign-rs verifies it";
    if present("sigstore-java") {
        report.check(title, || java(stack));
    } else {
        report.skip(title, "sigstore-java");
    }
    let title =
        "tokens of oidc-provider, by each algorithm: cosign-rs signs, sigstore-python verifies";
    if present("oidc-provider") {
        report.check(title, provider);
    } else {
        report.skip(title, "oidc-provider");
    }
    shapes(report)
}

/// A commit, which gitsign verifies online, and one that pretends; with a timestamp of the authority at this URL.
pub(super) fn gitsign(stack: &Stack, authority: Option<&str>) -> Result<()> {
    let gitsign = install::folder().join("debian/usr/bin/gitsign");
    let repository = stack.path(authority.map_or("repository", |_| "stamped-repository"));
    fs::create_dir_all(&repository)?;
    let rekor_key = stack.file("rekor.pub.pem", &rekor_v1_key(stack)?)?;
    let (home, issuer) = (stack.path("gitsign-home"), stack.issuer());
    fs::create_dir_all(&home)?;
    let program = |program: &Path| -> Result<Command> {
        let mut command = Command::new(program);
        command
            .current_dir(&repository)
            .env("HOME", &home)
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GITSIGN_FULCIO_URL", stack.address("fulcio")?)
            .env("GITSIGN_REKOR_URL", stack.address("rekor")?)
            .env("GITSIGN_OIDC_ISSUER", issuer)
            .env("GITSIGN_OIDC_CLIENT_ID", "sigstore")
            .env("SIGSTORE_REKOR_PUBLIC_KEY", &rekor_key)
            .env("SIGSTORE_ROOT_FILE", stack.state().join("fulcio/chain.pem"))
            .env(
                "SIGSTORE_CT_LOG_PUBLIC_KEY_FILE",
                stack.state().join("fulcio/ctlog.pub.pem"),
            );
        Ok(command)
    };
    let git = |arguments: &[&str]| -> Result<Finished> {
        let mut git = program(Path::new("git"))?;
        git.args([
            "-c",
            "user.name=Dev",
            "-c",
            &format!("user.email={IDENTITY}"),
        ])
        .args(["-c", "gpg.format=x509", "-c"])
        .arg(format!("gpg.x509.program={}", gitsign.display()))
        .env("SIGSTORE_ID_TOKEN", stack.token()?)
        .args(arguments);
        quiet(&mut git)?.expect(0)
    };
    // What it takes by TUF, and what it still wants as files.
    quiet(
        program(&gitsign)?
            .args(["initialize", "--mirror", &stack.address("tuf")?, "--root"])
            .arg(stack.state().join("tuf/published/root.json")),
    )?
    .expect(0)?;
    git(&["init", "-q"])?;
    if let Some(url) = authority {
        let chain = stack.state().join("tsa/chain.pem").display().to_string();
        git(&["config", "gitsign.timestampServerURL", url])?;
        git(&["config", "gitsign.timestampCertChain", &chain])?;
    }
    git(&[
        "commit",
        "-q",
        "-S",
        "--allow-empty",
        "-m",
        "a signed commit",
    ])?;
    git(&["verify-commit", "HEAD"])?;
    let verify = |commit: &str, identity: &str| -> Result<Finished> {
        let mut verify = program(&gitsign)?;
        verify
            .args(["verify", "--certificate-oidc-issuer", issuer])
            .args(["--certificate-identity", identity, commit]);
        quiet(&mut verify)
    };
    verify("HEAD", IDENTITY)?.expect(0)?;
    refused(&verify("HEAD", "mallory@example.com")?)?;
    // The same signature on another message.
    let commit = git(&["cat-file", "commit", "HEAD"])?.stdout;
    let forged = repository.join("forged");
    fs::write(
        &forged,
        commit.replace("a signed commit", "a forged commit"),
    )?;
    let forged = git(&["hash-object", "-t", "commit", "-w", "forged"])?.stdout;
    refused(&verify(forged.trim(), IDENTITY)?)
}

/// The public key of the v1 log, PEM, as the trusted root has it.
fn rekor_v1_key(stack: &Stack) -> Result<String> {
    let root: Value = serde_json::from_slice(&fs::read(stack.trusted_root())?)?;
    let logs = root.get("tlogs").and_then(Value::as_array);
    let mut keys = logs
        .into_iter()
        .flatten()
        .filter_map(|log| log.get("publicKey"));
    let key = keys.find(|key| {
        let details = key.get("keyDetails").and_then(Value::as_str);
        details.is_some_and(|details| details.contains("ECDSA"))
    });
    let bytes = key
        .and_then(|key| key.get("rawBytes"))
        .and_then(Value::as_str);
    let bytes = bytes.context("the trusted root has no ECDSA log")?;
    Ok(format!(
        "-----BEGIN PUBLIC KEY-----\n{bytes}\n-----END PUBLIC KEY-----\n"
    ))
}

/// It speaks gRPC to the authority's own port, and always with TLS: a second instance has a certificate, with the same key and for the
/// same log.
fn java(stack: &Stack) -> Result<()> {
    let fulcio = stack.state().join("fulcio");
    let openssl = quiet(
        Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-nodes", "-days", "2"])
            .args([
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
                "-subj",
                "/CN=localhost",
            ])
            .args(["-addext", "subjectAltName=DNS:localhost"])
            .args(["-addext", "basicConstraints=critical,CA:FALSE"])
            .args(["-keyout", "tls.key", "-out", "tls.pem"])
            .current_dir(&fulcio),
    )?;
    openssl.expect(0)?;
    let trust = stack.path("java-trust.p12");
    let keytool = quiet(
        Command::new("keytool")
            .args(["-importcert", "-noprompt", "-alias", "localhost", "-file"])
            .arg(fulcio.join("tls.pem"))
            .args([
                "-storetype",
                "PKCS12",
                "-storepass",
                "password",
                "-keystore",
            ])
            .arg(&trust),
    )?;
    keytool.expect(0)?;
    let port = free_port()?;
    let settings = fs::read_to_string(fulcio.join("fulcio.toml"))?;
    let (_, rest) = settings.split_once("[ca]").context("fulcio.toml")?;
    let settings = fulcio.join("java.toml");
    fs::write(
        &settings,
        format!(
            "[server]\nlisten = \"localhost:{port}\"\ntls_certificate = \"tls.pem\"\ntls_key = \"tls.key\"\n\n[ca]{rest}"
        ),
    )?;
    let _fulcio = Server::start(
        Command::new(run::ours("fulcio-rs"))
            .arg("--config")
            .arg(&settings),
        port,
        &stack.path("fulcio-java.log"),
    )?;
    let mut config: Value = serde_json::from_slice(&fs::read(stack.signing_config())?)?;
    let url = config.pointer_mut("/caUrls/0/url").context("caUrls")?;
    *url = format!("https://localhost:{port}").into();
    let config = stack.file("signing_config_java.json", &config.to_string())?;

    let artifact = stack.file("java.txt", "a file that Java signs\n")?;
    let changed = stack.file("java-changed.txt", "a file that nobody signs\n")?;
    let bundle = stack.path("java.sigstore.json");
    let java = |arguments: &[&Path]| {
        quiet(
            Command::new("java")
                .arg(format!("-Djavax.net.ssl.trustStore={}", trust.display()))
                .arg("-Djavax.net.ssl.trustStorePassword=password")
                .arg("-cp")
                .arg(install::folder().join("java/lib/*"))
                .arg(script("Sign.java"))
                .args(arguments)
                .env("HOME", stack.path("home")),
        )
    };
    // Its bundles cannot name the first entry of a log: it takes the index 0 for one that is missing.
    ours_sign(stack, &artifact, &bundle)?.expect(0)?;
    let (root, token) = (stack.trusted_root(), stack.token()?);
    java(&[
        "sign".as_ref(),
        &root,
        &config,
        token.as_ref(),
        &artifact,
        &bundle,
    ])?
    .expect(0)?;
    let verify = |file: &Path, identity: &str| {
        let (identity, issuer) = (identity.as_ref(), stack.issuer().as_ref());
        java(&["verify".as_ref(), &root, &bundle, file, identity, issuer])
    };
    verify(&artifact, IDENTITY)?.expect(0)?;
    refused(&verify(&artifact, "mallory@example.com")?)?;
    refused(&verify(&changed, IDENTITY)?)?;
    quiet(
        stack
            .cosign_rs("verify-blob")
            .args(stack.expect(IDENTITY))
            .arg("--bundle")
            .arg(&bundle)
            .arg(&artifact),
    )?
    .expect(0)
    .map(drop)
}

/// A child that serves something, stopped when dropped.
pub(super) struct Serving(pub(super) Child);

impl Drop for Serving {
    fn drop(&mut self) {
        stop(&mut self.0);
    }
}

/// The provider's tokens are of a person, with `sub` and e-mail address two different things.
fn provider() -> Result<()> {
    const PERSON: &str = "person@example.com";
    let site = Site::new(&run::target().join("debug"))?;
    let ports: Vec<String> = (0..4)
        .map(|_| Ok(free_port()?.to_string()))
        .collect::<Result<_>>()?;
    let out = site.folder().join("tokens.json");
    let log = fs::File::create(site.log("oidc-provider"))?;
    let _provider = Serving(
        Command::new("node")
            .arg(script("provider.mjs"))
            .arg(ports.join(","))
            .arg(install::folder().join("oidc"))
            .arg(&out)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?,
    );
    let mut issuers = "oidc-issuers:\n".to_owned();
    for port in &ports {
        let url = format!("http://localhost:{port}");
        issuers.push_str(&format_issuer(&url));
    }
    fs::write(site.file("fulcio/issuers.yaml"), issuers)?;
    let _ct_log = site.start("ctlog-rs", "ctlog")?;
    let _fulcio = site.start("fulcio-rs", "fulcio")?;
    let _tsa = site.start("tsa-rs", "tsa")?;
    let _rekor = site.start("rekor-rs", "rekor")?;
    let begun = Instant::now();
    while !out.exists() {
        if begun.elapsed() > Duration::from_mins(1) {
            let said = fs::read_to_string(site.log("oidc-provider")).unwrap_or_default();
            bail!("no tokens after a minute; oidc-provider said: {said}");
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    let tokens: serde_json::Map<String, Value> = serde_json::from_slice(&fs::read(&out)?)?;
    ensure!(tokens.len() == ports.len(), "{} tokens", tokens.len());
    let file = site.folder().join("file");
    fs::write(&file, "a file that somebody signs\n")?;
    for (issuer, token) in &tokens {
        let bundle = site.folder().join("provider.sigstore.json");
        let trust = site.file("client_trust_config.json");
        quiet(
            Command::new(run::ours("cosign-rs"))
                .args(["sign-blob", "--yes", "--identity-token"])
                .arg(token.as_str().unwrap_or_default())
                .arg("--trust-config")
                .arg(&trust)
                .arg("--bundle")
                .arg(&bundle)
                .arg(&file),
        )?
        .expect(0)
        .with_context(|| issuer.clone())?;
        let verify = |identity: &str, issuer: &str| {
            quiet(
                Command::new(install::folder().join("python/bin/sigstore"))
                    .arg("--trust-config")
                    .arg(&trust)
                    .args([
                        "verify",
                        "identity",
                        "--offline",
                        "--cert-identity",
                        identity,
                    ])
                    .args(["--cert-oidc-issuer", issuer, "--bundle"])
                    .arg(&bundle)
                    .arg(&file)
                    .env("HOME", site.folder()),
            )
        };
        if present("sigstore-python") {
            verify(PERSON, issuer)?.expect(0)?;
            refused(&verify(PERSON, "http://localhost:1")?)?;
        }
    }
    Ok(())
}

fn format_issuer(url: &str) -> String {
    format!("  {url}:\n    issuer-url: {url}\n    client-id: sigstore\n    type: email\n")
}

/// Tokens as CI systems and workloads have them, and the certificates compared with the documented table: ours, and upstream's, which says
/// whether the table is right.
fn shapes(report: &mut Report) -> Result<()> {
    // Upstream's built-in types do not write what its document and its templates have.
    const UNWRITTEN: &[&str] = &["github:23", "gitlab:23"];
    let python = install::folder().join("python/bin/python");
    let title =
        "tokens of GitHub, GitLab, Buildkite and SPIFFE: every extension is the documented table's";
    if !present("sigstore-python") {
        report.skip(title, "sigstore-python (its Python)");
        return Ok(());
    }
    let site = Site::new(&run::target().join("debug"))?;
    let port = free_port()?.to_string();
    let issuers = fs::read_to_string(script("issuers.yaml"))?;
    let base = format!("http://localhost:{port}");
    fs::write(
        site.file("fulcio/issuers.yaml"),
        issuers.replace("BASE", &base),
    )?;
    let _ct_log = site.start("ctlog-rs", "ctlog")?;
    let compare = |fulcio: &str, unwritten: &[&str]| {
        quiet(
            Command::new(&python)
                .arg(script("issuers.py"))
                .args([&port, fulcio])
                .args(unwritten),
        )?
        .expect(0)
        .map(drop)
    };
    report.check(title, || {
        let _fulcio = site.start("fulcio-rs", "fulcio")?;
        compare(&site.address("fulcio")?, &[])
    });
    let title = "the same table holds for upstream's Fulcio";
    let Some(program) = FULCIO.program() else {
        report.skip(title, "fulcio");
        return Ok(());
    };
    report.check(title, || {
        let theirs = upstream::fulcio(&site, &program, free_port()?, true)?;
        compare(&format!("http://{}", theirs.address), UNWRITTEN)
    });
    Ok(())
}
