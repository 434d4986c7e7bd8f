//! The command line as it is handed out: `cargo xtask dist`.
//!
//! It is started for one image in a build and for each of a thousand in a gate, and lives for some milliseconds: most of them go into being
//! loaded. So it is built for size, in one piece, and ends at a panic instead of unwinding. Services are built with `--release`.

use std::path::PathBuf;

use anyhow::Result;

use crate::run;

/// What no profile can say. Functions with the same code become one; and what never unwinds needs no tables to unwind by.
const FLAGS: &str = "-C force-unwind-tables=no";
/// Of the linker that comes with the compiler on this platform.
const FOLD: &str = "-C link-arg=-Wl,--icf=all";

/// Builds it, and says where it is.
pub(crate) fn build() -> Result<PathBuf> {
    let flags = if cfg!(all(
        target_os = "linux",
        target_arch = "x86_64",
        target_env = "gnu"
    )) {
        format!("{FLAGS} {FOLD}")
    } else {
        FLAGS.to_owned()
    };
    run::live(
        run::cargo(["build", "--quiet", "--profile", "dist", "-p", "cosign-rs"])
            .env("RUSTFLAGS", flags),
    )?;
    Ok(run::target().join("dist/cosign-rs"))
}
