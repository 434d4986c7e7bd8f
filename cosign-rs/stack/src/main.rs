//! The program.

use std::process::ExitCode;

fn main() -> ExitCode {
    sigstack::program::run(std::env::args_os())
}
