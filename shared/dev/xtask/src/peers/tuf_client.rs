//! One cache for two programs: what `cosign-rs` learned of the stack's TUF repository, cosign uses, and the other way round.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::stack::{IDENTITY, Stack};
use super::{cosign_program, present, refused};
use crate::report::Report;
use crate::run::{self, Finished, quiet};

pub(crate) fn check(report: &mut Report, stack: &Stack) -> Result<()> {
    let artifact = stack.file("tuf-client.txt", "a file whose verifiers share a cache\n")?;
    let bundle = stack.path("tuf-client.sigstore.json");
    super::ours_sign(stack, &artifact, &bundle)?.expect(0)?;
    let scene = Scene {
        stack,
        mirror: stack.address("tuf")?,
        root: stack.state().join("tuf/published/1.root.json"),
        artifact,
        bundle,
    };
    report.check("cosign-rs follows the stack's TUF repository", || {
        scene
            .initialize(&run::ours("cosign-rs"), "ours")?
            .expect(0)?;
        scene
            .verify(&run::ours("cosign-rs"), "ours", IDENTITY, &["--offline"])?
            .expect(0)?;
        refused(&scene.verify(
            &run::ours("cosign-rs"),
            "ours",
            "mallory@example.com",
            &["--offline"],
        )?)
    });
    let both = "cosign and cosign-rs use each other's TUF cache";
    if !present("cosign") {
        report.skip(both, "cosign");
        return Ok(());
    }
    report.check(both, || {
        scene
            .verify(&cosign_program(), "ours", IDENTITY, &[])?
            .expect(0)?;
        scene.initialize(&cosign_program(), "theirs")?.expect(0)?;
        scene
            .verify(&run::ours("cosign-rs"), "theirs", IDENTITY, &["--offline"])?
            .expect(0)?;
        Ok(())
    });
    Ok(())
}

struct Scene<'a> {
    stack: &'a Stack,
    mirror: String,
    root: PathBuf,
    artifact: PathBuf,
    bundle: PathBuf,
}

impl Scene<'_> {
    /// A program whose home has a cache of this name. The root is named too: cosign does not keep it for others.
    fn command(&self, program: &Path, home: &str) -> Result<Command> {
        let home = self.stack.path(&format!("tuf-client-{home}"));
        fs::create_dir_all(&home)?;
        let mut command = Command::new(program);
        command
            .env("HOME", &home)
            .env("TUF_ROOT", home.join("cache"))
            .env("TUF_MIRROR", &self.mirror)
            .env("TUF_ROOT_JSON", &self.root);
        Ok(command)
    }

    fn initialize(&self, program: &Path, home: &str) -> Result<Finished> {
        quiet(
            self.command(program, home)?
                .args(["initialize", "--mirror", &self.mirror, "--root"])
                .arg(&self.root),
        )
    }

    fn verify(
        &self,
        program: &Path,
        home: &str,
        identity: &str,
        more: &[&str],
    ) -> Result<Finished> {
        quiet(
            self.command(program, home)?
                .arg("verify-blob")
                .args(["--certificate-identity", identity])
                .args(["--certificate-oidc-issuer", self.stack.issuer()])
                .args(more)
                .arg("--bundle")
                .arg(&self.bundle)
                .arg(&self.artifact),
        )
    }
}
