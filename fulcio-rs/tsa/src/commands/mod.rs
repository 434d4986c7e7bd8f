//! What operators do besides serving.

pub mod init;

use std::io;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{CommandFactory as _, Parser as _};

use crate::args::{Arguments, Command};

/// Runs the program.
pub fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Standard error may be closed; then nobody reads this anyway.
            let _ = io::Write::write_fmt(&mut io::stderr(), format_args!("tsa-rs: {error:#}\n"));
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> anyhow::Result<()> {
    if let Some(address) = arguments.check_health {
        return serve::program::check_health(&address);
    }
    match arguments.command.unwrap_or(Command::Serve(arguments.serve)) {
        Command::Serve(serve) => {
            let Some(config) = serve.config else {
                serve::program::nothing_to_serve(Arguments::command());
            };
            let build = async |settings: std::path::PathBuf| crate::service(&settings).await;
            serve::program::start("tsa-rs", &config, build)
        }
        Command::Init(init) => {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .enable_all()
                .build()?;
            runtime.block_on(init::run(&init))
        }
        Command::Completion { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "tsa-rs", &mut script);
            io::Write::write_all(&mut io::stdout(), &script).context("standard output")
        }
        Command::Man { folder } => std::fs::create_dir_all(&folder)
            .and_then(|()| clap_mangen::generate_to(Arguments::command(), &folder))
            .with_context(|| format!("cannot write into {}", folder.display())),
    }
}
