//! cosign signs by what it learned from our repository: with the services whose turn it is, and what was signed before stays good.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::PoisonError;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::Scene;
use super::clients::Visit;
use crate::peers::stack::{IDENTITY, Stack};
use crate::peers::{cosign_program, refused};
use crate::run::{Finished, quiet};

/// Whose turn it is to sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// The services that were there from the beginning.
    First,
    /// The log is the second one.
    SecondLog,
    /// So is the certificate authority, with its CT log.
    Second,
}

/// A signature, and whom it names.
#[derive(Clone)]
pub(super) struct Signed {
    bundle: PathBuf,
    /// The flags of [`Stack::expect`].
    signer: [String; 4],
}

/// cosign that knows nothing but what is in this home.
pub(super) fn cosign_at(home: &Path) -> Command {
    let mut command = Command::new(cosign_program());
    command.env("HOME", home).env_remove("TUF_ROOT");
    command
}

pub(super) fn verify_blob(
    mut cosign: Command,
    artifact: &Path,
    bundle: &Path,
    signer: &[String],
) -> Result<Finished> {
    quiet(
        cosign
            .arg("verify-blob")
            .args(signer)
            .arg("--bundle")
            .arg(bundle)
            .arg(artifact),
    )
}

/// Signs in a home that follows our repository, and verifies the signature there.
pub(super) fn sign(visit: &Visit<'_>, turn: Turn) -> Result<Signed> {
    let scene = visit.scene;
    let authority = scene.authority(turn);
    let bundle = visit.home.join("signed.sigstore.json");
    quiet(
        cosign_at(visit.home)
            .args(["sign-blob", "--yes", "--identity-token"])
            .arg(authority.token()?)
            .arg("--bundle")
            .arg(&bundle)
            .arg(&scene.artifact),
    )?
    .expect(0)
    .context("sign-blob")?;
    let signed = Signed {
        bundle,
        signer: authority.expect(IDENTITY),
    };
    verify(visit, &signed).context("verify-blob of what was just signed")?;
    Ok(signed)
}

fn verify(visit: &Visit<'_>, signed: &Signed) -> Result<()> {
    let scene = visit.scene;
    verify_blob(
        cosign_at(visit.home),
        &scene.artifact,
        &signed.bundle,
        &signed.signer,
    )?
    .expect(0)
    .map(drop)
}

/// A signature that was just made is by those whose turn it is, and by no other identity; what was signed after earlier changes is still good. It is
/// kept for the changes to come.
pub(super) fn keep(visit: &Visit<'_>, signed: Signed, turn: Turn) -> Result<()> {
    let scene = visit.scene;
    let mut alone = cosign_at(visit.home);
    alone
        .arg("verify-blob")
        .arg("--trusted-root")
        .arg(scene.alone(turn)?)
        .args(&signed.signer)
        .arg("--bundle")
        .arg(&signed.bundle)
        .arg(&scene.artifact);
    quiet(&mut alone)?
        .expect(0)
        .with_context(|| format!("verify-blob by those alone whose turn it is ({turn:?})"))?;
    let mut all = scene.signed.lock().unwrap_or_else(PoisonError::into_inner);
    for earlier in all.iter() {
        verify(visit, earlier)
            .with_context(|| format!("signed earlier: {}", earlier.bundle.display()))?;
    }
    let mut other = signed.signer.clone();
    if let Some(identity) = other.get_mut(1) {
        "mallory@example.com".clone_into(identity);
    }
    refused(&verify_blob(
        cosign_at(visit.home),
        &scene.artifact,
        &signed.bundle,
        &other,
    )?)?;
    let bundle = scene
        .stack
        .path(&format!("repository-{}.sigstore.json", all.len()));
    fs::copy(&signed.bundle, &bundle)?;
    all.push(Signed { bundle, ..signed });
    Ok(())
}

impl Scene<'_> {
    fn log(&self, turn: Turn) -> &Stack {
        match turn {
            Turn::First => self.stack,
            Turn::SecondLog | Turn::Second => &self.second,
        }
    }

    fn authority(&self, turn: Turn) -> &Stack {
        match turn {
            Turn::First | Turn::SecondLog => self.stack,
            Turn::Second => &self.second,
        }
    }

    /// The published trusted root with one log, one authority and its CT log.
    fn alone(&self, turn: Turn) -> Result<PathBuf> {
        let mut root = self.exported("trustedRoot")?;
        for (part, name, stack, service) in [
            ("tlogs", "baseUrl", self.log(turn), "rekor"),
            (
                "certificateAuthorities",
                "uri",
                self.authority(turn),
                "fulcio",
            ),
            ("ctlogs", "baseUrl", self.authority(turn), "ctlog"),
        ] {
            let address = stack.address(service)?;
            let list = root
                .get_mut(part)
                .and_then(Value::as_array_mut)
                .with_context(|| format!("no {part}"))?;
            list.retain(|one| {
                let named = one.get(name).and_then(Value::as_str);
                named.is_some_and(|named| named.trim_end_matches('/') == address)
            });
            ensure!(!list.is_empty(), "no {address} among {part}");
        }
        let file = self.stack.path(&format!("alone-{turn:?}.json"));
        // Whole at once: several threads write the same.
        let mut new = tempfile::NamedTempFile::new_in(self.stack.path("signers"))?;
        serde_json::to_writer(&mut new, &root)?;
        new.persist(&file)?;
        Ok(file)
    }

    /// A part of the published trust config.
    fn exported(&self, part: &str) -> Result<Value> {
        let exported = quiet(&mut self.command(&["export", "trust-config", "-"]))?.expect(0)?;
        let mut config: Value = serde_json::from_str(&exported.stdout)?;
        let part = config.get_mut(part).context("no such part")?;
        Ok(part.take())
    }

    /// Clients' clocks cannot be moved, so the windows are: the newest of these services has its turn from now on, as it has by what is published when the
    /// days until then are over.
    pub(super) fn begin_now(&self, services: &str) -> Result<()> {
        let mut config = self.exported("signingConfig")?;
        let now = quiet(Command::new("date").args(["-u", "+%Y-%m-%dT%H:%M:%SZ"]))?.expect(0)?;
        let now = now.stdout.trim();
        for (place, end) in [(0, "start"), (1, "end")] {
            let moment = config
                .pointer_mut(&format!("/{services}/{place}/validFor/{end}"))
                .with_context(|| format!("no {end} of {services} {place}"))?;
            ensure!(
                moment.as_str().is_some_and(|moment| moment > now),
                "{services}: {end} is {moment}, which is over"
            );
            *moment = now.into();
        }
        let file = self
            .stack
            .file("begins.json", &serde_json::to_string(&config)?)?;
        self.root(&["propose", "--signing-config", &file.display().to_string()])
    }
}
