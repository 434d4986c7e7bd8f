//! The command line as it is handed out: `cargo xtask dist`.
//!
//! It is started for one image in a build and for each of a thousand in a gate, and lives for some milliseconds: most of them go into being
//! loaded. So it is built for size, in one piece, and ends at a panic instead of unwinding. Services are built with `--release`.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::run;

/// Tables by which a stack is unwound: a tenth of the program, which nobody reads where a panic ends the process and there are no symbols.
const NO_UNWINDING: &str = "SECTIONS { /DISCARD/ : { *(.eh_frame) *(.eh_frame_hdr) *(.gcc_except_table*) } } INSERT AFTER .rodata;\n";

/// Builds it, and says where it is.
pub(crate) fn build() -> Result<PathBuf> {
    let mut command = run::cargo(["rustc", "--quiet", "--profile", "dist"]);
    command.args(["-p", "cosign-rs", "--bin", "cosign-rs"]);
    if cfg!(all(
        target_os = "linux",
        target_arch = "x86_64",
        target_env = "gnu"
    )) {
        // Of the linker that comes with the compiler on this platform.
        let script = run::target().join("dist.ld");
        fs::write(&script, NO_UNWINDING).with_context(|| script.display().to_string())?;
        // Functions with the same code become one.
        command.args(["--", "-C", "link-arg=-Wl,--icf=all", "-C"]);
        command.arg(format!("link-arg=-Wl,-T,{}", script.display()));
    }
    run::live(&mut command)?;
    Ok(run::target().join("dist/cosign-rs"))
}
