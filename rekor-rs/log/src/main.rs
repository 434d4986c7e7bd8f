//! The logs as a program.

fn main() -> std::process::ExitCode {
    rekor_rs::commands::main()
}
