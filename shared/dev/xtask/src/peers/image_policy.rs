//! What skopeo and podman ask before they take an image, a policy of containers/image with `sigstoreSigned` in it, about what cosign-rs signs in the format
//! of cosign before 3, which is the one that it reads. skopeo is not packaged with it everywhere: a program of ours asks the library.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::stack::{IDENTITY, Server, Stack};
use super::{install, refused, storage};
use crate::report::Report;
use crate::run::{self, Finished, quiet};

/// What the program is called in reports.
pub(super) const NAME: &str = "skopeo's policy (containers/image)";
/// What its file is called.
pub(super) const PROGRAM: &str = "image-policy";

pub(super) fn is_there() -> bool {
    program().is_file()
}

fn program() -> PathBuf {
    install::folder().join("go").join(PROGRAM)
}

pub(super) fn check(
    report: &mut Report,
    stack: &Stack,
    registry: &str,
    server: &Server,
) -> Result<()> {
    let title = format!(
        "{registry}: a sigstoreSigned policy allows what cosign-rs signed with its key, and nothing else"
    );
    let by_identity = format!(
        "{registry}: a sigstoreSigned policy allows what cosign 2.5 signed with an identity of ours, and so does cosign-rs"
    );
    if !super::present(NAME) {
        report.skip(&title, NAME);
        report.skip(&by_identity, NAME);
        return Ok(());
    }
    let policy = Policy {
        stack,
        server,
        registries: registries(stack, server)?,
    };
    report.check(&title, || {
        let signed = push(stack, server, "policy/signed")?;
        let unsigned = push(stack, server, "policy/unsigned")?;
        let (private, public) = storage::keys(stack)?;
        let mut sign = Command::new(run::ours("cosign-rs"));
        sign.args(["sign", "--format", "legacy", "--tlog-upload=false", "--key"])
            .arg(&private)
            .arg(&signed.1)
            .env(storage::PASSWORD.0, storage::PASSWORD.1);
        quiet(&mut sign)?.expect(0)?;
        let asked = policy.ask(&json!({ "keyPath": public }), &signed.0)?;
        ensure!(asked.expect(0)?.stdout.contains("allowed"));
        let stranger = json!({ "keyPath": storage::stranger(stack)? });
        refused(&policy.ask(&stranger, &signed.0)?)?;
        refused(&policy.ask(&json!({ "keyPath": public }), &unsigned.0)?)
    });
    if !super::present("cosign 2.5") {
        report.skip(&by_identity, "cosign 2.5");
        return Ok(());
    }
    report.check(&by_identity, || {
        let signed = push(stack, server, "policy/identity")?;
        let mut sign = super::rekor_v1::cosign_2_plain(stack, "sign")?;
        storage::services(stack, &mut sign)?;
        quiet(sign.arg(&signed.1))?.expect(0)?;
        let asked = |email: &str| -> Result<Finished> {
            // The files that cosign 2.5 has for the same purpose.
            let by = json!({
                "fulcio": {
                    "caPath": stack.path("SIGSTORE_ROOT_FILE.pem"),
                    "oidcIssuer": stack.address("issuer")?,
                    "subjectEmail": email,
                },
                "rekorPublicKeyPath": stack.path("SIGSTORE_REKOR_PUBLIC_KEY.pem"),
            });
            policy.ask(&by, &signed.0)
        };
        asked(IDENTITY)?.expect(0)?;
        refused(&asked("mallory@example.com")?)?;
        storage::verify(stack, "verify", &stack.expect(IDENTITY), &signed.1)?
            .expect(0)
            .map(drop)
    });
    Ok(())
}

/// An image by its tag, which is what the library takes, and by its digest.
fn push(stack: &Stack, server: &Server, name: &str) -> Result<(String, String)> {
    let tagged = format!("{}/{name}:v1", server.address);
    let exact = stack.push_image(&tagged)?;
    Ok((tagged, exact))
}

struct Policy<'a> {
    stack: &'a Stack,
    server: &'a Server,
    registries: PathBuf,
}

impl Policy<'_> {
    /// Is the image allowed, where one of this signer must have signed it?
    fn ask(&self, signer: &Value, image: &str) -> Result<Finished> {
        let mut requirement = json!({
            "type": "sigstoreSigned",
            // cosign's signatures name the repository and no tag.
            "signedIdentity": { "type": "matchRepository" },
        });
        if let (Some(all), Some(signer)) = (requirement.as_object_mut(), signer.as_object()) {
            all.extend(signer.clone());
        }
        let policy = json!({
            "default": [{ "type": "reject" }],
            "transports": { "docker": { (self.server.address.clone()): [requirement] } },
        });
        let file = self.stack.file("image-policy.json", &policy.to_string())?;
        ask(&file, &self.registries, image)
    }
}

fn ask(policy: &Path, registries: &Path, image: &str) -> Result<Finished> {
    quiet(
        Command::new(program())
            .arg("-policy")
            .arg(policy)
            .arg("-registries.d")
            .arg(registries)
            .arg(image),
    )
}

/// The library looks for sigstore's signatures only where it is told to.
fn registries(stack: &Stack, server: &Server) -> Result<PathBuf> {
    let name = format!("registries-{}.d", server.id());
    std::fs::create_dir_all(stack.path(&name))?;
    let text = format!(
        "docker:\n  {}:\n    use-sigstore-attachments: true\n",
        server.address
    );
    stack.file(&format!("{name}/all.yaml"), &text)?;
    Ok(stack.path(&name))
}
