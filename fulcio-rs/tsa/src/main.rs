//! The timestamp authority as a program.

fn main() -> std::process::ExitCode {
    tsa_rs::commands::main()
}
