//! The logs as a program.

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

const ABOUT: &str = "A transparency log of signatures: Rekor v2, and Rekor v1 beside it.\n\n\
`rekor-rs fsck --config FILE` recomputes the logs of a settings file.\n\
`rekor-rs freeze --config FILE [--tree ID]` closes the v2 log, or a v1 tree, for good: its last checkpoint says so.\n\
Neither works on a log that is running.";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args_os()
        .skip(1)
        .map(|argument| argument.to_string_lossy().into_owned())
        .collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["fsck", "--config", settings] => rekor_rs::fsck::run(Path::new(settings)),
        ["freeze", "--config", settings] => rekor_rs::freeze::run(Path::new(settings), None),
        ["freeze", "--config", settings, "--tree", tree] => match tree.parse() {
            Ok(tree) => rekor_rs::freeze::run(Path::new(settings), Some(tree)),
            Err(_) => return complain(&format!("--tree {tree}: expected the number of a v1 tree")),
        },
        ["fsck", ..] => return complain("usage: rekor-rs fsck --config FILE"),
        ["freeze", ..] => return complain("usage: rekor-rs freeze --config FILE [--tree ID]"),
        _ => {
            let build = async |settings: std::path::PathBuf| rekor_rs::service(&settings).await;
            return serve::program("rekor-rs", env!("CARGO_PKG_VERSION"), ABOUT, build);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => complain(&format!("rekor-rs: {error:#}")),
    }
}

fn complain(message: &str) -> ExitCode {
    // Standard error may be closed; then nobody reads this anyway.
    let _ = writeln!(std::io::stderr(), "{message}");
    ExitCode::FAILURE
}
