//! The programs that the demo runs: this one as cosign-rs, and cosign if it is installed.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use tokio::process::Command;

/// No step takes this long; a browser that never comes back does.
const PATIENCE: Duration = Duration::from_mins(2);

/// Variables that would make a client ask somebody else, or find another identity than the demo's.
const CLEARED: &[&str] = &[
    "SIGSTORE_ID_TOKEN",
    "SIGSTORE_ROOT_FILE",
    "SIGSTORE_REKOR_PUBLIC_KEY",
    "SIGSTORE_CT_LOG_PUBLIC_KEY_FILE",
    "SIGSTORE_TSA_CERTIFICATE_FILE",
    "ACTIONS_ID_TOKEN_REQUEST_URL",
    "ACTIONS_ID_TOKEN_REQUEST_TOKEN",
    "COSIGN_REPOSITORY",
    "http_proxy",
    "HTTP_PROXY",
];

/// How to run them.
pub(super) struct Programs {
    own: PathBuf,
    home: PathBuf,
    email: String,
    trusted_root: String,
    signing_config: String,
}

/// What a program said, and how it ended.
pub(super) struct Said {
    program: &'static str,
    code: Option<i32>,
    output: String,
    errors: String,
}

impl Programs {
    pub(super) fn new(state: &Path, email: &str) -> Result<Self> {
        let state = state.canonicalize()?;
        // A home without anybody's registry passwords or caches.
        let home = state.join("home");
        std::fs::create_dir_all(&home)?;
        Ok(Self {
            own: std::env::current_exe()?,
            home,
            email: email.to_owned(),
            trusted_root: state.join("trusted_root.json").display().to_string(),
            signing_config: state.join("signing_config.json").display().to_string(),
        })
    }

    /// cosign-rs with services to call; it logs in with a browser, which is this program too.
    pub(super) async fn sign(&self, arguments: &[&str]) -> Result<Said> {
        let mut command = self.own_cosign(arguments.iter());
        command.args([
            "--trusted-root",
            &self.trusted_root,
            "--signing-config",
            &self.signing_config,
        ]);
        command
            .env("BROWSER", format!("{} browse %s", self.own.display()))
            .env("SIGSTACK_EMAIL", &self.email);
        finish(command, "cosign-rs").await
    }

    /// The same with a token instead of a login.
    pub(super) async fn sign_with_token(&self, arguments: &[&str], token: &str) -> Result<Said> {
        let mut command = self.own_cosign(arguments.iter());
        command.args([
            "--trusted-root",
            &self.trusted_root,
            "--signing-config",
            &self.signing_config,
        ]);
        // The variable and not the flag: other users of a machine see arguments.
        command.env("SIGSTORE_ID_TOKEN", token);
        finish(command, "cosign-rs").await
    }

    /// cosign-rs with nothing but the trusted root.
    pub(super) async fn verify(&self, arguments: &[String]) -> Result<Said> {
        let mut command = self.own_cosign(arguments.iter());
        command.args(["--trusted-root", &self.trusted_root]);
        finish(command, "cosign-rs").await
    }

    fn own_cosign(&self, arguments: impl Iterator<Item = impl AsRef<OsStr>>) -> Command {
        let mut command = Command::new(&self.own);
        command.arg("cosign").args(arguments);
        self.prepare(&mut command);
        command
    }

    fn prepare(&self, command: &mut Command) {
        for name in CLEARED {
            command.env_remove(name);
        }
        command
            .env("HOME", &self.home)
            .env("NO_COLOR", "1")
            .env_remove("DOCKER_CONFIG")
            .env_remove("XDG_DATA_HOME");
    }

    /// Which cosign is installed, if one is.
    pub(super) async fn peer(&self) -> Option<String> {
        let mut command = Command::new("cosign");
        command.arg("version");
        self.prepare(&mut command);
        let said = finish(command, "cosign").await.ok()?;
        let version = said
            .output
            .lines()
            .find(|line| line.starts_with("GitVersion"))?;
        Some(format!("cosign {}", version.split(':').nth(1)?.trim()))
    }

    /// The installed cosign with nothing but the trusted root.
    pub(super) async fn verify_with_peer(&self, arguments: &[String]) -> Result<Said> {
        let mut command = Command::new("cosign");
        command
            .args(arguments)
            .args(["--trusted-root", &self.trusted_root, "--new-bundle-format"]);
        self.prepare(&mut command);
        finish(command, "cosign").await
    }
}

async fn finish(mut command: Command, program: &'static str) -> Result<Said> {
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(PATIENCE, command.output())
        .await
        .with_context(|| format!("{program} did not end"))?;
    let output = output.with_context(|| format!("{program} cannot be run"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(Said {
        program,
        code: output.status.code(),
        output: text(&output.stdout),
        errors: text(&output.stderr),
    })
}

impl Said {
    /// It has to have succeeded; what it said to people.
    pub(super) fn accepted(self) -> Result<String> {
        match self.code {
            Some(0) => Ok(self.errors),
            code => bail!(
                "{} ended with {}:\n{}",
                self.program,
                ending(code),
                self.errors
            ),
        }
    }

    /// It has to have refused with this exit code, and to have said why, with these words; what it said.
    pub(super) fn refused(self, code: i32, reasons: &[&str]) -> Result<String> {
        ensure!(
            self.code == Some(code),
            "{} ended with {} where it had to refuse with exit {code}:\n{}{}",
            self.program,
            ending(self.code),
            self.output,
            self.errors
        );
        for reason in reasons {
            ensure!(
                self.errors.contains(reason),
                "refused, but '{reason}' is not in the reason given:\n{}",
                self.errors
            );
        }
        Ok(self.errors)
    }
}

fn ending(code: Option<i32>) -> String {
    code.map_or_else(|| "a signal".to_owned(), |code| format!("exit {code}"))
}
