//! Runs the commands that the documents show, so that none of them can rot.
//!
//! Every fenced block marked `sh` of README.md is run, in order, by one shell that stops at the first failure, with our debug
//! programs on the search path and a fresh folder as the current one that has nothing of the checkout but `testdata`. A word after `sh` names
//! a program of somebody else's that the block needs. Blocks marked `console` show what takes long: the two commands, which are steps of
//! their own, and the release build.

use std::process::Command;

use anyhow::{Result, bail};

use crate::peers;
use crate::report::Report;
use crate::run::{self, quiet};

pub(crate) fn check(report: &mut Report) -> Result<()> {
    let text = std::fs::read_to_string(run::root().join("README.md"))?;
    let folders = [
        run::target().join("debug"),
        peers::install::folder().join("debian/usr/bin"),
        peers::install::folder().join("python/bin"),
    ];
    let system = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths(folders.into_iter().chain(std::env::split_paths(&system)))?;
    let mut script = String::new();
    for block in blocks(&text) {
        if let Some(missing) = block
            .needs
            .iter()
            .find(|program| !run::installed_in(&path, program))
        {
            report.skip(&format!("README.md with {missing}"), missing);
            continue;
        }
        script.push_str(&block.script);
    }
    report.check("the commands of README.md", || {
        if script.lines().count() < 10 {
            bail!("README.md has lost its sh blocks");
        }
        let folder = tempfile::tempdir()?;
        std::os::unix::fs::symlink(run::root().join("testdata"), folder.path().join("testdata"))?;
        quiet(
            Command::new("bash")
                .args(["-euo", "pipefail", "-c", &script])
                .current_dir(folder.path())
                .env("PATH", &path)
                .env("HOME", folder.path()),
        )?
        .expect(0)?;
        Ok(())
    });
    Ok(())
}

/// A fenced block to run.
struct Block<'a> {
    needs: Vec<&'a str>,
    script: String,
}

/// All fenced blocks marked `sh`.
fn blocks(text: &str) -> Vec<Block<'_>> {
    let mut blocks = Vec::new();
    let mut open: Option<Block<'_>> = None;
    for line in text.lines() {
        let line = line.trim_end();
        match &mut open {
            None => {
                let mut words = line.strip_prefix("```").unwrap_or_default().split(' ');
                if words.next() == Some("sh") {
                    open = Some(Block {
                        needs: words.collect(),
                        script: String::new(),
                    });
                }
            }
            Some(_) if line == "```" => blocks.extend(open.take()),
            Some(block) => {
                block.script.push_str(line);
                block.script.push('\n');
            }
        }
    }
    blocks
}
