//! The Rekor v2 log as a program.

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

const ABOUT: &str = "A Rekor v2 transparency log.\n\n`rekor-rs fsck --config FILE` recomputes a log that is not running.";

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_some_and(|first| first == "fsck") {
        return match (arguments.next(), arguments.next(), arguments.next()) {
            (Some(flag), Some(settings), None) if flag == "--config" => fsck(Path::new(&settings)),
            _ => complain("usage: rekor-rs fsck --config FILE"),
        };
    }
    let build = async |settings: std::path::PathBuf| rekor_rs::service(&settings).await;
    serve::program("rekor-rs", env!("CARGO_PKG_VERSION"), ABOUT, build)
}

fn fsck(settings: &Path) -> ExitCode {
    match rekor_rs::fsck::run(settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => complain(&format!("rekor-rs: {error:#}")),
    }
}

fn complain(message: &str) -> ExitCode {
    // Standard error may be closed; then nobody reads this anyway.
    let _ = writeln!(std::io::stderr(), "{message}");
    ExitCode::FAILURE
}
