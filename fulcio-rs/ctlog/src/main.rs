//! The CT log as a program.

fn main() -> std::process::ExitCode {
    ctlog_rs::commands::main()
}
