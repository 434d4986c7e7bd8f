//! The command line `cosign-rs`: signs and verifies container images, files and statements about them, without keeping a key or with one.
//!
//! ```text
//! argv -> args -> plan (trust, expectation, references: all read before anything runs)
//!   sign    plan -> sign::Session -> bundle, verified already -> file, or registry
//!   verify  artifact and bundles <- files, or registry;  then one pure pass: verify::bundle
//! ```
//!
//! Data goes to standard output, talk to standard error. The exit code says what kind of trouble there was (`failure::Outcome`); `root status`
//! has codes of its own.
//!
//! Verifying calls nobody but the registry that holds the image and, once a day, the trust domain's repository; with `--offline`, or with a
//! trusted root from a file, not even that. What cosign before 3 attached is read too.

mod args;
mod artifact;
mod bundle_file;
mod commands;
mod consent;
#[doc(hidden)]
pub mod doors;
mod expectation;
mod explained;
mod failure;
mod forge;
mod identity;
mod judge;
mod kit;
mod loose;
mod patience;
mod predicate;
mod private_key;
mod rego;
mod report;
mod retired;
mod root;
mod switches;
mod tag_trust;
mod tls_files;
mod trust_domain;
mod trust_files;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _};

use crate::args::Arguments;

/// Runs the command line; `arguments` begins with the program's name.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let mut command = args::with_environment_of(Arguments::command(), &arguments);
    let arguments = switches::without_values(&mut command, arguments);
    let parsed = command
        .try_get_matches_from_mut(arguments)
        .and_then(|matches| Arguments::from_arg_matches(&matches));
    let arguments = match parsed {
        Ok(arguments) => arguments,
        Err(error) => return retired::explain(error),
    };
    failure::listen(arguments.verbose);
    // One thread: what takes time here is waiting for others, and a process that verifies one file lives for five milliseconds.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    if let Some(path) = &arguments.output_file
        && let Err(error) = report::print_into(path)
    {
        failure::tell(&error);
        return ExitCode::from(failure::Outcome::of(&error).code());
    }
    let json = arguments.command.wants_json();
    let outcome = runtime.map_err(anyhow::Error::from).and_then(|runtime| {
        let outcome = runtime.block_on(commands::run(arguments));
        // A thread may wait for somebody to type something, whom nobody waits for any more.
        runtime.shutdown_background();
        outcome
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if let Some(failure::Exit(code)) = error.downcast_ref() {
                return ExitCode::from(*code);
            }
            let (error, explained) = failure::Told::split(error);
            failure::tell(&error);
            if json {
                // Standard error has it already.
                let _unread = report::print_json(&failure::Failure::of(&error, explained));
            }
            ExitCode::from(failure::Outcome::of(&error).code())
        }
    }
}
