//! Child processes, and the steps that are one cargo command each.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::report::Report;

/// The checkout's top folder.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(3).unwrap_or(here).to_path_buf()
}

/// Where cargo puts what it builds.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// A program that we built, in the debug profile.
pub(crate) fn ours(name: &str) -> PathBuf {
    target().join("debug").join(name)
}

/// `cargo` with the checkout as its folder.
pub(crate) fn cargo<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(root());
    command
}

/// Runs a command with our terminal; an error when it does not end with 0.
pub(crate) fn live(command: &mut Command) -> Result<()> {
    let status = command
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("cannot start {command:?}"))?;
    if !status.success() {
        bail!("{command:?} ended with {status}");
    }
    Ok(())
}

/// What a finished command left.
#[derive(Debug)]
pub(crate) struct Finished {
    /// The exit code; none when a signal ended it.
    pub(crate) code: Option<i32>,
    /// Standard output, as text.
    pub(crate) stdout: String,
    /// Standard error, as text.
    pub(crate) stderr: String,
}

impl Finished {
    /// An error with everything it printed unless it ended with `code`.
    pub(crate) fn expect(self, code: i32) -> Result<Self> {
        if self.code == Some(code) {
            return Ok(self);
        }
        bail!(
            "ended with {:?}, expected {code}\nstdout: {}\nstderr: {}",
            self.code,
            tail(&self.stdout),
            tail(&self.stderr)
        )
    }

    /// Both streams, one after the other.
    pub(crate) fn all(&self) -> String {
        format!("{}\n{}", self.stdout, self.stderr)
    }
}

fn tail(text: &str) -> &str {
    let mut start = text.len().saturating_sub(3_000);
    while !text.is_char_boundary(start) {
        start = start.saturating_add(1);
    }
    text.get(start..).unwrap_or_default()
}

/// Runs a command to its end and keeps what it printed. Killed after two minutes, so that a peer that waits for a person is a failure.
pub(crate) fn quiet(command: &mut Command) -> Result<Finished> {
    let mut wrapped = Command::new("timeout");
    wrapped
        .arg("120")
        .arg(command.get_program())
        .args(command.get_args());
    if let Some(folder) = command.get_current_dir() {
        wrapped.current_dir(folder);
    }
    for (key, value) in command.get_envs() {
        match value {
            Some(value) => wrapped.env(key, value),
            None => wrapped.env_remove(key),
        };
    }
    let output = wrapped
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {command:?}"))?;
    Ok(Finished {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// Is this program on the search path?
pub(crate) fn installed(program: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| installed_in(&path, program))
}

/// The same for another search path.
pub(crate) fn installed_in(path: &OsStr, program: &str) -> bool {
    std::env::split_paths(path).any(|folder| folder.join(program).is_file())
}

pub(crate) fn format(report: &mut Report) -> Result<()> {
    report.check("cargo fmt", || {
        live(&mut cargo(["fmt", "--all", "--check"]))
    });
    Ok(())
}

pub(crate) fn lints(report: &mut Report) -> Result<()> {
    report.check("cargo clippy", || {
        live(&mut cargo([
            "clippy",
            "--quiet",
            "--workspace",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ]))
    });
    Ok(())
}

pub(crate) fn documentation(report: &mut Report) -> Result<()> {
    report.check("cargo doc", || {
        live(
            cargo(["doc", "--quiet", "--workspace", "--no-deps"])
                .env("RUSTDOCFLAGS", "-D warnings"),
        )
    });
    Ok(())
}

pub(crate) fn licences(report: &mut Report) -> Result<()> {
    if !installed("cargo-deny") {
        report.skip("cargo deny (bans, licences, sources)", "cargo-deny");
        return Ok(());
    }
    report.check("cargo deny (bans, licences, sources)", || {
        live(&mut cargo([
            "deny",
            "--offline",
            "check",
            "--hide-inclusion-graph",
            "bans",
            "licenses",
            "sources",
        ]))
    });
    Ok(())
}

pub(crate) fn build_debug(report: &mut Report) -> Result<()> {
    report.check("cargo build --workspace --all-targets", || {
        live(&mut cargo([
            "build",
            "--quiet",
            "--workspace",
            "--all-targets",
        ]))
    });
    Ok(())
}

pub(crate) fn tests(report: &mut Report) -> Result<()> {
    // Tests that ask another program skip themselves without it, which `cargo test` does not count.
    for (what, program) in [
        ("OpenSSL reads our keys and tokens, and we its", "openssl"),
        ("keys in a PKCS#11 token", "softhsm2-util"),
        ("keys in a PKCS#11 token", "pkcs11-tool"),
    ] {
        if !installed(program) {
            report.skip(what, program);
        }
    }
    if !crate::peers::install::openbao_is_there() {
        report.skip("keys in a Transit engine", "openbao");
    }
    report.check("cargo test --workspace", || {
        live(&mut cargo([
            "test",
            "--quiet",
            "--workspace",
            "--no-fail-fast",
        ]))
    });
    Ok(())
}
