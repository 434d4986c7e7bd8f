//! Runs the commands that the documents show, so that none of them can rot.
//!
//! Every fenced block marked `sh` of README.md is run, in order, by one shell that stops at the first failure, with our debug
//! programs on the search path and a fresh folder as the current one. Blocks marked `console` show the two long commands, which
//! are steps of their own.

use std::process::Command;

use anyhow::{Result, bail};

use crate::report::Report;
use crate::run::{self, quiet};

pub(crate) fn check(report: &mut Report) -> Result<()> {
    let text = std::fs::read_to_string(run::root().join("README.md"))?;
    report.check("the commands of README.md", || {
        let script = blocks(&text);
        if script.lines().count() < 5 {
            bail!("README.md has lost its sh blocks");
        }
        let folder = tempfile::tempdir()?;
        let path = std::env::var("PATH").unwrap_or_default();
        quiet(
            Command::new("bash")
                .args(["-euo", "pipefail", "-c", &script])
                .current_dir(folder.path())
                .env(
                    "PATH",
                    format!("{}:{path}", run::target().join("debug").display()),
                )
                .env("HOME", folder.path()),
        )?
        .expect(0)?;
        Ok(())
    });
    Ok(())
}

/// The contents of all fenced blocks marked `sh`.
fn blocks(text: &str) -> String {
    let mut script = String::new();
    let mut inside = false;
    for line in text.lines() {
        match (inside, line.trim_end()) {
            (false, "```sh") => inside = true,
            (true, "```") => inside = false,
            (true, line) => {
                script.push_str(line);
                script.push('\n');
            }
            (false, _) => {}
        }
    }
    script
}
