//! The command line as a program.

use std::process::ExitCode;

fn main() -> ExitCode {
    cosign_rs::run(std::env::args_os())
}
