//! The CT log as a program.

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

const ABOUT: &str = "A CT log for code-signing certificates.\n\n`ctlog-rs fsck --config FILE` recomputes a log that is not running.";

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_some_and(|first| first == "fsck") {
        return match (arguments.next(), arguments.next(), arguments.next()) {
            (Some(flag), Some(settings), None) if flag == "--config" => fsck(Path::new(&settings)),
            _ => complain("usage: ctlog-rs fsck --config FILE"),
        };
    }
    let build = async |settings: std::path::PathBuf| ctlog_rs::service(&settings).await;
    serve::program("ctlog-rs", env!("CARGO_PKG_VERSION"), ABOUT, build)
}

fn fsck(settings: &Path) -> ExitCode {
    match ctlog_rs::fsck::run(settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => complain(&format!("ctlog-rs: {error:#}")),
    }
}

fn complain(message: &str) -> ExitCode {
    // Standard error may be closed; then nobody reads this anyway.
    let _ = writeln!(std::io::stderr(), "{message}");
    ExitCode::FAILURE
}
