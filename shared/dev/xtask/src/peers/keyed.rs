//! Signatures with keys of one's own: what cosign-rs makes and signs cosign reads and verifies, and the other way round.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::stack::Stack;
use super::{cosign, present, refused};
use crate::report::Report;
use crate::run::{self, Finished, quiet};

const PASSWORD: (&str, &str) = ("COSIGN_PASSWORD", "a password of several words");

pub(crate) fn check(report: &mut Report, stack: &Stack) -> Result<()> {
    let title = "keys of one's own: cosign and cosign-rs make them, sign with each other's and verify each other's signatures";
    if !present("cosign") {
        report.skip(title, "cosign");
        return Ok(());
    }
    let file = stack.file("keyed.txt", "a file that is signed with keys\n")?;
    let other = stack.file("keyed-other.txt", "a file that is not\n")?;
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
