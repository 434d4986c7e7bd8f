//! The timestamp authority as a program.

use std::process::ExitCode;

const ABOUT: &str = "An RFC 3161 timestamp authority.";

fn main() -> ExitCode {
    let build = async |settings: std::path::PathBuf| tsa_rs::service(&settings).await;
    serve::program("tsa-rs", env!("CARGO_PKG_VERSION"), ABOUT, build)
}
