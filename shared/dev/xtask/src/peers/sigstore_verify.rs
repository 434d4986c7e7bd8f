//! The crate sigstore-verify as a program of a folder of its own: a contestant of the bench, which has it built when it needs it.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use super::install;
use crate::run::quiet;

const VERSION: &str = "0.15.1";
const PROGRAM: &str = include_str!("../../peers/sigstore-verify.rs");

/// Builds it as a release, and says where it is.
pub(crate) fn built() -> Result<PathBuf> {
    let folder = install::folder().join("crates/sigstore-verify");
    fs::create_dir_all(folder.join("src"))?;
    // A workspace of its own, as it stands below ours.
    let manifest = format!(
        "[package]\nname = \"peer\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[dependencies]\nsigstore-verify = {{ version = \"={VERSION}\", \
         default-features = false, features = [\"aws-lc-rs\"] }}\n\n[profile.release]\nlto = \"fat\"\ncodegen-units = 1\n\n[workspace]\n"
    );
    fs::write(folder.join("Cargo.toml"), manifest)?;
    fs::write(folder.join("src/main.rs"), PROGRAM)?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    quiet(
        Command::new(cargo)
            .args(["build", "--quiet", "--release", "--target-dir", "target"])
            .current_dir(&folder),
    )?
    .expect(0)?;
    Ok(folder.join("target/release/peer"))
}
