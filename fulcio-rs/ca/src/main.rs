//! The certificate authority as a program.

use std::process::ExitCode;

const ABOUT: &str =
    "A certificate authority that turns an identity token into a ten-minute certificate.";

fn main() -> ExitCode {
    let build = async |settings: std::path::PathBuf| fulcio_rs::service(&settings).await;
    serve::program("fulcio-rs", env!("CARGO_PKG_VERSION"), ABOUT, build)
}
