//! The commands about the program itself.

use std::path::Path;

use anyhow::{Context as _, Result};
use clap::CommandFactory as _;
use serde::Serialize;

use crate::args::Arguments;
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
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "cosign-rs", &mut script);
    report::print(std::str::from_utf8(&script)?.trim_end())
}

pub(super) fn man(folder: &Path) -> Result<()> {
    let writing = || format!("writing man pages to {}", folder.display());
    std::fs::create_dir_all(folder).with_context(writing)?;
    clap_mangen::generate_to(Arguments::command(), folder).with_context(writing)
}
