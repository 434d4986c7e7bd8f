//! Clients that learn by TUF whom to trust and whom to call: from the stack's repository alone, starting at its first root.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use super::stack::{IDENTITY, Stack};
use super::{cosign_program, present, python_program, refused};
use crate::report::Report;
use crate::run::{Finished, quiet};

pub(crate) fn check(report: &mut Report, stack: &Stack) -> Result<()> {
    let artifact = stack.file("tuf.txt", "a file whose verifiers trust a repository\n")?;
    let bundle = stack.path("tuf.sigstore.json");
    super::ours_sign(stack, &artifact, &bundle)?.expect(0)?;
    let published = stack.state().join("tuf/published/1.root.json");
    let root = stack.path("tuf-root.json");
    fs::copy(&published, &root)?;
    let scene = Scene {
        stack,
        repository: stack.address("tuf")?,
        root,
        artifact,
        bundle,
    };
    let clients: [(&str, Follow); 2] = [("cosign", cosign), ("sigstore-python", python)];
    for (name, follow) in clients {
        let title = format!("{name} follows the stack's TUF repository");
        if !present(name) {
            report.skip(&title, name);
            continue;
        }
        report.check(&title, || {
            follow(&scene, IDENTITY)?.expect(0)?;
            refused(&follow(&scene, "mallory@example.com")?)
        });
    }
    Ok(())
}

/// Starts at the first root, then verifies the bundle as by this identity.
type Follow = fn(&Scene<'_>, &str) -> Result<Finished>;

struct Scene<'a> {
    stack: &'a Stack,
    repository: String,
    root: PathBuf,
    artifact: PathBuf,
    bundle: PathBuf,
}

impl Scene<'_> {
    /// A program with a home in which no repository is known yet.
    fn stranger(&self, program: PathBuf, home: &str) -> Result<Command> {
        let home = self.stack.path(home);
        fs::create_dir_all(&home)?;
        let mut command = Command::new(program);
        command.env("HOME", &home).env_remove("TUF_ROOT");
        Ok(command)
    }
}

fn cosign(scene: &Scene<'_>, identity: &str) -> Result<Finished> {
    let stranger = || scene.stranger(cosign_program(), "tuf-home-cosign");
    quiet(
        stranger()?
            .args(["initialize", "--mirror", &scene.repository, "--root"])
            .arg(&scene.root),
    )?
    .expect(0)?;
    quiet(
        stranger()?
            .arg("verify-blob")
            .args(scene.stack.expect(identity))
            .arg("--bundle")
            .arg(&scene.bundle)
            .arg(&scene.artifact),
    )
}

fn python(scene: &Scene<'_>, identity: &str) -> Result<Finished> {
    let stranger = || -> Result<Command> {
        let mut sigstore = scene.stranger(python_program(), "tuf-home-python")?;
        sigstore.args(["--instance", &scene.repository]);
        Ok(sigstore)
    };
    quiet(stranger()?.arg("trust-instance").arg(&scene.root))?.expect(0)?;
    quiet(
        stranger()?
            .args(["verify", "identity", "--cert-identity", identity])
            .args(["--cert-oidc-issuer", scene.stack.issuer(), "--bundle"])
            .arg(&scene.bundle)
            .arg(&scene.artifact),
    )
}
