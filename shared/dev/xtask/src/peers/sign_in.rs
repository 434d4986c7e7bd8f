//! People and programs that sign in: in Chromium and by a secret at an identity provider that shares nothing with us, and at a terminal.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use super::issuers::{Serving, script};
use super::site::Site;
use super::stack::{IDENTITY, Stack, free_port};
use super::{install, present};
use crate::report::Report;
use crate::run::{self, installed, quiet};

pub(crate) fn check(report: &mut Report, stack: &Stack) -> Result<()> {
    let title = "sign-in at oidc-provider: in headless Chromium, and as a client with a secret";
    if !present("oidc-provider") {
        report.skip(title, "oidc-provider");
    } else if !installed("chromium") {
        report.skip(title, "chromium");
    } else {
        report.check(title, provider);
    }
    let title = "a person at a terminal (tmux): a code for another device, a code that is typed, passwords of a key";
    if installed("tmux") && installed("curl") {
        report.check(title, || terminal(stack));
    } else {
        report.skip(title, "tmux, curl");
    }
    Ok(())
}

fn provider() -> Result<()> {
    let site = Site::new(&run::target().join("debug"))?;
    let (people, bots, back) = (free_port()?, free_port()?, free_port()?);
    let redirect = format!("http://localhost:{back}/signed-in");
    let ready = site.folder().join("provider-is-ready");
    let log = fs::File::create(site.log("oidc-provider"))?;
    let _provider = Serving(
        Command::new("node")
            .arg(script("sign-in.mjs"))
            .args([&people.to_string(), &bots.to_string(), &redirect])
            .arg(install::folder().join("oidc"))
            .arg(&ready)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?,
    );
    fs::write(
        site.file("fulcio/issuers.yaml"),
        format!(
            "oidc-issuers:\n  http://localhost:{people}:\n    issuer-url: http://localhost:{people}\n    client-id: sigstore\n    type: email\n  \
             http://localhost:{bots}:\n    issuer-url: http://localhost:{bots}\n    client-id: sigstore\n    type: username\n    subject-domain: localhost\n"
        ),
    )?;
    let _ct_log = site.start("ctlog-rs", "ctlog")?;
    let _fulcio = site.start("fulcio-rs", "fulcio")?;
    let _tsa = site.start("tsa-rs", "tsa")?;
    let _rekor = site.start("rekor-rs", "rekor")?;
    until("the provider listens", || Ok(ready.exists()))
        .with_context(|| fs::read_to_string(site.log("oidc-provider")).unwrap_or_default())?;
    let (one, two) = (site.folder().join("one"), site.folder().join("two"));
    fs::write(&one, "a file that somebody signs\n")?;
    fs::write(&two, "another file that somebody signs\n")?;
    // $BROWSER is one word.
    let steps = site.folder().join("browser.log");
    let browser = executable(
        &site.folder().join("browser"),
        &format!(
            "#!/bin/sh\necho opened >> {steps}\nexec node {script} \"$1\" {steps}\n",
            script = script("chromium.mjs").display(),
            steps = steps.display()
        ),
    )?;
    let sign = || {
        let mut sign = Command::new(run::ours("cosign-rs"));
        sign.args(["sign-blob", "--trust-config"])
            .arg(site.file("client_trust_config.json"))
            .env("HOME", site.folder())
            .env("BROWSER", &browser);
        sign
    };
    let verify = |file: &Path, identity: &str, port: u16| -> Result<()> {
        let mut bundle = file.to_owned().into_os_string();
        bundle.push(".sigstore.json");
        let mut verify = Command::new(run::ours("cosign-rs"));
        verify
            .args(["verify-blob", "--certificate-identity", identity])
            .args([
                "--certificate-oidc-issuer",
                &format!("http://localhost:{port}"),
            ])
            .arg("--trusted-root")
            .arg(site.file("trusted_root.json"))
            .arg("--bundle")
            .arg(bundle)
            .arg(file);
        quiet(&mut verify)?.expect(0).map(drop)
    };
    // Two files, and one login.
    quiet(
        sign()
            .args(["--oidc-issuer", &format!("http://localhost:{people}")])
            .args(["--oidc-redirect-url", &redirect])
            .args([&one, &two]),
    )?
    .expect(0)
    .with_context(|| fs::read_to_string(&steps).unwrap_or_default())?;
    for file in [&one, &two] {
        verify(file, "person@example.com", people)?;
    }
    let told = fs::read_to_string(&steps)?;
    ensure!(
        told.matches("opened").count() == 1 && told.ends_with("done\n"),
        "the browser's steps: {told}"
    );
    // As the client itself, without anybody.
    let secret = site.folder().join("secret");
    fs::write(&secret, "the secret of the release bot\n")?;
    quiet(
        sign()
            .env_remove("BROWSER")
            .args(["--fulcio-auth-flow", "client_credentials"])
            .args(["--oidc-issuer", &format!("http://localhost:{bots}")])
            .args([
                "--oidc-client-id",
                "release-bot",
                "--oidc-client-secret-file",
            ])
            .arg(&secret)
            .arg(&one),
    )?
    .expect(0)?;
    verify(&one, "release-bot!localhost", bots)
}

fn executable(path: &Path, text: &str) -> Result<PathBuf> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::write(path, text)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
    Ok(path.to_owned())
}

/// Looks until it is so, for a minute at most.
fn until(what: &str, mut so: impl FnMut() -> Result<bool>) -> Result<()> {
    let begun = Instant::now();
    while !so()? {
        if begun.elapsed() > Duration::from_mins(1) {
            bail!("after a minute it is not so that {what}");
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

/// A terminal of its own, gone with the value.
struct Terminal {
    socket: PathBuf,
}

impl Terminal {
    fn open(folder: &Path) -> Result<Self> {
        let terminal = Self {
            socket: folder.join("tmux"),
        };
        let mut open =
            terminal.tmux(&["new-session", "-d", "-x", "200", "-y", "50", "bash --norc"]);
        quiet(open.env_remove("TMUX").env("PS1", "$ "))?.expect(0)?;
        Ok(terminal)
    }

    fn tmux(&self, arguments: &[&str]) -> Command {
        let mut tmux = Command::new("tmux");
        tmux.arg("-S").arg(&self.socket).args(arguments);
        tmux
    }

    fn types(&self, text: &str) -> Result<()> {
        quiet(&mut self.tmux(&["send-keys", "-l", "--", text]))?.expect(0)?;
        quiet(&mut self.tmux(&["send-keys", "Enter"]))?
            .expect(0)
            .map(drop)
    }

    /// All that was shown, long lines whole.
    fn shows(&self) -> Result<String> {
        let mut capture = self.tmux(&["capture-pane", "-p", "-J", "-S", "-500"]);
        Ok(quiet(&mut capture)?.expect(0)?.stdout)
    }

    /// Waits until this is shown, and gives all.
    fn until(&self, text: &str) -> Result<String> {
        let mut shown = String::new();
        until(&format!("the terminal shows {text:?}"), || {
            shown = self.shows()?;
            Ok(shown.contains(text))
        })
        .with_context(|| shown.clone())?;
        Ok(shown)
    }

    /// Waits until the command has ended, and gives its exit code.
    fn ended(&self) -> Result<String> {
        let mut code = None;
        until("the command has ended", || {
            let shown = self.shows()?;
            let mut lines = shown.lines();
            code = lines.find_map(|line| line.trim().strip_prefix("ended: ").map(str::to_owned));
            Ok(code.is_some())
        })
        .with_context(|| self.shows().unwrap_or_default())?;
        code.context("no code")
    }

    fn succeeded(&self) -> Result<()> {
        let code = self.ended()?;
        ensure!(code == "0", "exit code {code}: {}", self.shows()?);
        Ok(())
    }

    fn clear(&self) -> Result<()> {
        self.types("clear; tmux clear-history")?;
        until("the terminal is empty", || {
            Ok(self.shows()?.trim().lines().count() <= 1)
        })
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ended = quiet(&mut self.tmux(&["kill-server"]));
    }
}

fn terminal(stack: &Stack) -> Result<()> {
    let folder = stack.path("terminal");
    fs::create_dir_all(&folder)?;
    let terminal = Terminal::open(&folder)?;
    let program = run::ours("cosign-rs");
    let config = stack.client_trust_config();
    let (home, shown) = (folder.display(), program.display());
    terminal.types(&format!(
        "cd {home}; export HOME={home}; unset BROWSER DISPLAY WAYLAND_DISPLAY SIGSTORE_ID_TOKEN; echo a file > file; alias sign='{shown} sign-blob --trust-config {}'",
        config.display()
    ))?;
    terminal.clear()?;
    // By ssh: a code for the device at hand.
    terminal.types("SSH_CONNECTION=1 sign file; echo ended: $?")?;
    let seen = terminal.until("and check that it shows the code")?;
    let code = seen
        .split("shows the code ")
        .nth(1)
        .and_then(|rest| rest.split_whitespace().next())
        .context("no code")?;
    quiet(
        Command::new("curl")
            .args(["-sf", "--data-urlencode", &format!("user_code={code}")])
            .args(["--data-urlencode", &format!("email={IDENTITY}")])
            .arg(format!("{}/device", stack.issuer())),
    )?
    .expect(0)?;
    terminal.succeeded()?;
    verified(stack, &folder)?;
    terminal.clear()?;
    // A code that is shown in a browser somewhere, and typed here.
    terminal.types("sign --fulcio-auth-flow oob file; echo ended: $?")?;
    let seen = terminal.until("The code: ")?;
    let link = seen
        .split_whitespace()
        .find(|word| word.starts_with(stack.issuer()))
        .context("no link")?;
    let page = quiet(Command::new("curl").args(["-sf", &format!("{link}&auto_login={IDENTITY}")]))?
        .expect(0)?
        .stdout;
    let code = page
        .split("<code>")
        .nth(1)
        .and_then(|rest| rest.split('<').next())
        .with_context(|| page.clone())?;
    terminal.types(code)?;
    terminal.succeeded()?;
    verified(stack, &folder)?;
    terminal.clear()?;
    // A key: its password is typed and not shown, and a wrong one says so.
    terminal.types(&format!("{shown} generate-key-pair; echo ended: $?"))?;
    terminal.until("Password for the new private key")?;
    terminal.types("open sesame")?;
    terminal.until("The same again")?;
    terminal.types("open sesame")?;
    terminal.succeeded()?;
    let seen = terminal.shows()?;
    ensure!(!seen.contains("sesame"), "the password is shown: {seen}");
    terminal.clear()?;
    terminal.types("sign --key cosign.key file; echo ended: $?")?;
    terminal.until("Password of the private key")?;
    terminal.types("wrong")?;
    ensure!(terminal.ended()? != "0", "a wrong password opens the key");
    terminal.clear()?;
    terminal.types("sign --key cosign.key file; echo ended: $?")?;
    terminal.until("Password of the private key")?;
    terminal.types("open sesame")?;
    terminal.succeeded()?;
    let mut verify = stack.cosign_rs("verify-blob");
    verify
        .args([
            "--key",
            "cosign.pub",
            "--bundle",
            "file.sigstore.json",
            "file",
        ])
        .current_dir(&folder);
    quiet(&mut verify)?.expect(0).map(drop)
}

/// The bundle in the folder holds, and is away for the next one.
fn verified(stack: &Stack, folder: &Path) -> Result<()> {
    let mut verify = stack.cosign_rs("verify-blob");
    verify
        .args(stack.expect(IDENTITY))
        .args(["--bundle", "file.sigstore.json", "file"])
        .current_dir(folder);
    quiet(&mut verify)?.expect(0)?;
    Ok(fs::remove_file(folder.join("file.sigstore.json"))?)
}
