//! The certificate authority as a program.

fn main() -> std::process::ExitCode {
    fulcio_rs::commands::main()
}
