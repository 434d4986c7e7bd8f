//! The commands about the program itself.

use std::path::Path;

use anyhow::{Context as _, Result};
use clap::CommandFactory as _;
use serde::Serialize;

use crate::args::{Arguments, Schema};
use crate::report;

#[derive(Serialize)]
struct About {
    version: &'static str,
    os: &'static str,
    arch: &'static str,
}

pub(super) fn version(json: bool) -> Result<()> {
    let about = About {
        version: env!("CARGO_PKG_VERSION"),
        os: std::env::consts::OS,
        arch: std::env::consts::ARCH,
    };
    if json {
        report::print_json(&about)
    } else {
        report::print(&format!(
            "cosign-rs {} {}/{}",
            about.version, about.os, about.arch
        ))
    }
}

pub(super) fn completion(shell: clap_complete::Shell) -> Result<()> {
    report::print(script(shell)?.trim_end())
}

fn script(shell: clap_complete::Shell) -> Result<String> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut visible(), "cosign-rs", &mut script);
    // For bash, clap_complete 4.6 writes the hyphen of the name in two ways, and its own cases do not meet.
    Ok(String::from_utf8(script)?.replace("cosign__subcmd__rs", "cosign__rs"))
}

/// The command line without what is not for people: completion would offer it.
fn visible() -> clap::Command {
    let mut all = Arguments::command();
    let flags: Vec<_> = all.get_arguments().cloned().collect();
    // Before it is built a command has none of its flags and commands, and `help` none of theirs.
    all.build();
    let shown = all
        .get_subcommands()
        .filter(|command| !command.is_hide_set() && command.get_name() != "help");
    let shown: Vec<_> = shown.cloned().collect();
    clap::Command::new("cosign-rs")
        .about(all.get_about().cloned().unwrap_or_default())
        .args(flags)
        .subcommands(shown)
}

pub(super) fn schema(of: Schema) -> Result<()> {
    let schema = match of {
        Schema::Result => include_str!("../../schema/result.json"),
        Schema::Policy => include_str!("../../schema/policy.json"),
    };
    report::print(schema.trim_end())
}

pub(super) fn man(folder: &Path) -> Result<()> {
    let writing = || format!("writing man pages to {}", folder.display());
    std::fs::create_dir_all(folder).with_context(writing)?;
    clap_mangen::generate_to(Arguments::command(), folder).with_context(writing)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// What bash offers for the last of these words.
    fn offered(words: &[&str]) -> String {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("completion.bash");
        std::fs::write(&file, script(clap_complete::Shell::Bash).unwrap()).unwrap();
        let (last, before) = words.split_last().unwrap();
        let run = format!(
            "source {}; COMP_WORDS=({}); COMP_CWORD={}; _cosign__rs cosign-rs {last} {}; echo \"${{COMPREPLY[@]}}\"",
            file.display(),
            words.join(" "),
            words.len() - 1,
            before.last().unwrap(),
        );
        let output = Command::new("bash")
            .args(["--norc", "-c", &run])
            .output()
            .unwrap();
        assert!(
            output.stderr.is_empty(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    }

    #[test]
    fn bash_completes_commands_and_their_flags() {
        if Command::new("bash").arg("--version").output().is_err() {
            return;
        }
        let commands = offered(&["cosign-rs", "ver"]);
        assert_eq!(
            commands.trim(),
            "verify verify-server verify-attestation verify-blob verify-blob-attestation version"
        );
        let flags = offered(&["cosign-rs", "verify-blob", "--certificate-i"]);
        assert_eq!(
            flags.trim(),
            "--certificate-identity --certificate-identity-regexp"
        );
        let shells = offered(&["cosign-rs", "completion", "z"]);
        assert_eq!(shells.trim(), "zsh");
    }
}
