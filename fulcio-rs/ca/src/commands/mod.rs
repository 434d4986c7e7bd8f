//! What operators do besides serving.

mod ca;
mod explain;

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{CommandFactory as _, Parser as _};
use tokio::runtime::Builder;

use crate::app;
use crate::args::{Arguments, Command, Serve};

/// Runs the program.
pub fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Standard error may be closed; then nobody reads this anyway.
            let _ = io::stderr().write_fmt(format_args!("fulcio-rs: {error:#}\n"));
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> anyhow::Result<()> {
    if let Some(address) = arguments.check_health {
        return serve::program::check_health(&address);
    }
    match arguments.command.unwrap_or(Command::Serve(arguments.serve)) {
        Command::Serve(serve) => serve_authority(serve),
        Command::Ca(ceremony) => {
            let runtime = Builder::new_multi_thread().enable_all().build()?;
            runtime.block_on(ca::run(*ceremony))
        }
        Command::ExplainToken(arguments) => {
            let runtime = Builder::new_multi_thread().enable_all().build()?;
            runtime.block_on(explain::run(&arguments))
        }
        Command::Completion { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "fulcio-rs", &mut script);
            io::stdout().write_all(&script).context("standard output")
        }
        Command::Man { folder } => std::fs::create_dir_all(&folder)
            .and_then(|()| clap_mangen::generate_to(Arguments::command(), &folder))
            .with_context(|| format!("cannot write into {}", folder.display())),
    }
}

fn serve_authority(arguments: Serve) -> anyhow::Result<()> {
    let Some(config) = arguments.config else {
        serve::program::nothing_to_serve(Arguments::command());
    };
    let build = async |settings: PathBuf| app::service(&settings).await;
    serve::program::start("fulcio-rs", &config, build)
}
