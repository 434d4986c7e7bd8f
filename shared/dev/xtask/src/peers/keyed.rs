//! Signatures with keys of one's own: what cosign-rs makes and signs cosign reads and verifies, and the other way round.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::stack::Stack;
use super::{cosign, install, present, refused};
use crate::report::Report;
use crate::run::{self, Finished, quiet};

/// Sigstore's handler of the plug-in protocol, as a program.
pub(crate) const PLUGIN: &str = "sigstore-kms-peer";

const PASSWORD: (&str, &str) = ("COSIGN_PASSWORD", "a password of several words");

pub(crate) fn check(report: &mut Report, stack: &Stack) -> Result<()> {
    let title = "keys of one's own: cosign and cosign-rs make them, sign with each other's and verify each other's signatures";
    if !present("cosign") {
        report.skip(title, "cosign");
        return Ok(());
    }
    let file = stack.file("keyed.txt", "a file that is signed with keys\n")?;
    let other = stack.file("keyed-other.txt", "a file that is not\n")?;
    plugged(report, stack, &file, &other);
    report.check(title, || {
        let folder = stack.path("keyed");
        std::fs::create_dir_all(&folder)?;
        make(cosign(stack, "generate-key-pair"), &folder, "theirs")?.expect(0)?;
        make(ours(), &folder, "ours")?.expect(0)?;
        for pair in ["theirs", "ours"] {
            let (private, public) = (
                folder.join(format!("{pair}.key")),
                folder.join(format!("{pair}.pub")),
            );
            for (signer, sign) in [
                ("cosign", cosign(stack, "sign-blob")),
                ("cosign-rs", stack.cosign_rs("sign-blob")),
            ] {
                let bundle = folder.join(format!("{pair}-{signer}.json"));
                let mut sign = sign;
                let services = if signer == "cosign" {
                    ["--signing-config", "--trusted-root"]
                        .into_iter()
                        .zip([stack.signing_config(), stack.trusted_root()])
                        .collect::<Vec<_>>()
                } else {
                    // The trusted root is in its line already.
                    vec![("--signing-config", stack.signing_config())]
                };
                for (flag, value) in services {
                    sign.arg(flag).arg(value);
                }
                let signed = quiet(
                    sign.args(["--yes", "--key"])
                        .arg(&private)
                        .arg("--bundle")
                        .arg(&bundle)
                        .arg(&file)
                        .env(PASSWORD.0, PASSWORD.1),
                )?;
                signed.expect(0)?;
                for (verifier, of) in [("cosign", true), ("cosign-rs", false)] {
                    let verify = |file: &Path| {
                        let mut verify = if of {
                            let mut verify = cosign(stack, "verify-blob");
                            verify.arg("--trusted-root").arg(stack.trusted_root());
                            verify
                        } else {
                            stack.cosign_rs("verify-blob")
                        };
                        quiet(
                            verify
                                .arg("--key")
                                .arg(&public)
                                .arg("--bundle")
                                .arg(&bundle)
                                .arg(file),
                        )
                    };
                    let held = verify(&file)?.expect(0);
                    held.map_err(|error| error.context(format!("{verifier} of {signer}")))?;
                    refused(&verify(&other)?)?;
                }
            }
        }
        Ok(())
    });
    Ok(())
}

/// What our tests of plug-ins cannot show: that the protocol is theirs.
fn plugged(report: &mut Report, stack: &Stack, file: &Path, other: &Path) {
    let title = "a key behind a plug-in of sigstore's handler: cosign and cosign-rs sign with it and verify each other's signatures";
    let programs = install::folder().join("go");
    if !programs.join(PLUGIN).is_file() {
        report.skip(title, PLUGIN);
        return;
    }
    report.check(title, || {
        let folder = stack.path("plugged");
        std::fs::create_dir_all(&folder)?;
        let path = std::env::var("PATH")?;
        let path = format!("{}:{path}", programs.display());
        for curve in ["P-256", "P-384"] {
            let private = folder.join(format!("{curve}.pem"));
            let mut make = Command::new("openssl");
            make.args(["genpkey", "-algorithm", "EC", "-pkeyopt"])
                .arg(format!("ec_paramgen_curve:{curve}"))
                .arg("-out")
                .arg(&private);
            quiet(&mut make)?.expect(0)?;
            let key = format!("peer://{}", private.display());
            // cosign signs with SHA-256 whatever the key's curve, which is what it verifies too.
            for signer in ["cosign", "cosign-rs"] {
                if (signer, curve) == ("cosign", "P-384") {
                    continue;
                }
                let bundle = folder.join(format!("{curve}-{signer}.json"));
                let mut sign = if signer == "cosign" {
                    let mut sign = cosign(stack, "sign-blob");
                    sign.arg("--trusted-root").arg(stack.trusted_root());
                    sign
                } else {
                    stack.cosign_rs("sign-blob")
                };
                let signed = quiet(
                    sign.arg("--signing-config")
                        .arg(stack.signing_config())
                        .args(["--yes", "--key", &key])
                        .arg("--bundle")
                        .arg(&bundle)
                        .arg(file)
                        .env("PATH", &path),
                )?;
                signed
                    .expect(0)
                    .map_err(|error| error.context(format!("{signer} signs, {curve}")))?;
                for verifier in ["cosign", "cosign-rs"] {
                    if (verifier, curve) == ("cosign", "P-384") {
                        continue;
                    }
                    let verify = |file: &Path| {
                        let mut verify = if verifier == "cosign" {
                            let mut verify = cosign(stack, "verify-blob");
                            verify.arg("--trusted-root").arg(stack.trusted_root());
                            verify
                        } else {
                            stack.cosign_rs("verify-blob")
                        };
                        quiet(
                            verify
                                .args(["--key", &key])
                                .arg("--bundle")
                                .arg(&bundle)
                                .arg(file)
                                .env("PATH", &path),
                        )
                    };
                    let held = verify(file)?.expect(0);
                    held.map_err(|error| {
                        error.context(format!("{verifier} of {signer}, {curve}"))
                    })?;
                    refused(&verify(other)?)?;
                }
            }
        }
        // Nobody of that name on PATH.
        let missing = quiet(
            stack
                .cosign_rs("sign-blob")
                .args(["--yes", "--key", "nobody://key"])
                .arg(file),
        )?;
        anyhow::ensure!(
            missing.code != Some(0) && missing.stderr.contains("sigstore-kms-nobody"),
            "{}",
            missing.stderr
        );
        Ok(())
    });
}

fn ours() -> Command {
    let mut program = Command::new(run::ours("cosign-rs"));
    program.arg("generate-key-pair");
    program
}

fn make(mut generate: Command, folder: &Path, prefix: &str) -> Result<Finished> {
    quiet(
        generate
            .arg("--output-key-prefix")
            .arg(folder.join(prefix))
            .env(PASSWORD.0, PASSWORD.1),
    )
}
