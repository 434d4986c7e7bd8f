//! The program.

use std::process::ExitCode;

fn main() -> ExitCode {
    load::program::run(std::env::args_os())
}
