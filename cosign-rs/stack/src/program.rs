//! The program behind `main`: arguments to command, errors to standard error, exit 0 or 1, or 2 for what is no command line.

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::Parser as _;
use jiff::Timestamp;
use serve::{Stop, logging};

use crate::args::{Arguments, Command};
use crate::up::{self, Options, Stack};
use crate::{browser, demo, parts, scripts, token};

/// Runs the command line.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        // clap's own text: help to standard output with success, a mistake to standard error without.
        Err(error) => {
            let _unread = error.print();
            return if error.use_stderr() {
                ExitCode::from(2)
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    if let Command::Cosign { arguments } = arguments.command {
        return cosign(arguments);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error.into()),
    };
    match runtime.block_on(command(arguments.command)) {
        Ok(code) => code,
        Err(error) => failed(&error),
    }
}

fn cosign(arguments: Vec<OsString>) -> ExitCode {
    cosign_rs::run(std::iter::once(OsString::from("cosign-rs")).chain(arguments))
}

async fn command(command: Command) -> Result<ExitCode> {
    match command {
        Command::Up(up) => {
            logging::init(logging::Format::Text, &up.log);
            let stop = Stop::on_signals()?;
            let stack = Stack::start(&Options::of(&up)).await?;
            print(&stack.describe())?;
            stack.run(stop).await?;
        }
        Command::Init(up) => {
            logging::init(logging::Format::Text, &up.log);
            let addresses = up::init(&Options::of(&up)).await?;
            print(&format!(
                "{} is ready for services at {} to {}\n",
                up.state.display(),
                addresses.issuer,
                addresses.tuf
            ))?;
        }
        Command::Token(arguments) => print(&format!(
            "{}\n",
            token::make(&arguments, Timestamp::now()).await?
        ))?,
        Command::Demo(arguments) => return Box::pin(demo::run(&arguments)).await,
        Command::Wait { state, seconds } => {
            scripts::wait(&state, Duration::from_secs(seconds)).await?;
        }
        Command::Address { service, state } => {
            print(&format!("{}\n", scripts::address(&state, service)?))?;
        }
        Command::Image { reference, state } => {
            print(&format!("{}\n", scripts::image(&state, &reference).await?))?;
        }
        Command::Serve { service, config } => {
            serve::settings::start_logging(&config);
            let built = parts::build(service, &config).await?;
            let listeners = serve::Listeners::bind(&built.server.listen).await?;
            serve::run(
                listeners,
                "sigstack",
                built.router,
                built.server.limits,
                Stop::on_signals()?,
            )
            .await;
        }
        Command::CheckHealth { address } => serve::program::check_health(&address)?,
        Command::Browse { link, email } => {
            browser::sign_in(&link, &email).await?;
        }
        Command::Cosign { arguments } => return Ok(cosign(arguments)),
    }
    Ok(ExitCode::SUCCESS)
}

fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

fn failed(error: &anyhow::Error) -> ExitCode {
    // Standard error may be closed; then nobody reads this anyway.
    let _unread = writeln!(std::io::stderr(), "sigstack: {error:#}");
    ExitCode::FAILURE
}
