//! The command line as it is handed out: `cargo xtask dist`.
//!
//! It is started for one image in a build and for each of a thousand in a gate, and lives for some milliseconds: most of them go into being
//! loaded. So it is built for size, in one piece, and ends at a panic instead of unwinding. Services are built with `--release`.

use std::path::PathBuf;

use anyhow::Result;

use crate::run;

/// Of the linker that comes with the compiler on this platform: functions with the same code become one.
const FOLD: &[&str] = &["--", "-C", "link-arg=-Wl,--icf=all"];

/// Builds it, and says where it is.
pub(crate) fn build() -> Result<PathBuf> {
    let mut command = run::cargo(["rustc", "--quiet", "--profile", "dist"]);
    command.args(["-p", "cosign-rs", "--bin", "cosign-rs"]);
    if cfg!(all(
        target_os = "linux",
        target_arch = "x86_64",
        target_env = "gnu"
    )) {
        command.args(FOLD);
    }
    run::live(&mut command)?;
    Ok(run::target().join("dist/cosign-rs"))
}
