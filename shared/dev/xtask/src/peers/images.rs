//! Images on registries that we did not write: one without the referrers API (the fallback tag is used) and one with it.

use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::stack::{IDENTITY, Server, Stack, free_port};
use super::{cosign, present, referrers_program, refused};
use crate::report::Report;
use crate::run::{self, Finished, quiet};

pub(crate) fn check(report: &mut Report, stack: &Stack) -> Result<()> {
    for registry in [
        "docker-registry",
        "a registry with referrers (go-containerregistry)",
    ] {
        if !present(registry) {
            report.skip(&format!("images on {registry}"), registry);
            continue;
        }
        let mut server = None;
        report.check(&format!("{registry} starts"), || {
            server = Some(start(registry, stack)?);
            Ok(())
        });
        if let Some(server) = server {
            on(report, stack, registry, &server)?;
        }
    }
    Ok(())
}

pub(super) fn start(registry: &str, stack: &Stack) -> Result<Server> {
    let port = free_port()?;
    let log = stack.path(&format!("registry-{port}.log"));
    if registry == "docker-registry" {
        let data = stack.path(&format!("docker-registry-{port}"));
        let settings = stack.file(
            &format!("docker-registry-{port}.yml"),
            &format!(
                "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}, delete: {{enabled: true}}}}\nhttp: {{addr: 'localhost:{port}'}}\n",
                data.display()
            ),
        )?;
        Server::start(
            Command::new("docker-registry").arg("serve").arg(settings),
            port,
            &log,
        )
    } else {
        Server::start(
            Command::new(referrers_program()).args(["-listen", &format!("localhost:{port}")]),
            port,
            &log,
        )
    }
}

fn on(report: &mut Report, stack: &Stack, registry: &str, server: &Server) -> Result<()> {
    let image = stack.push_image(&format!("{}/team/app:v1", server.address));
    let mut reference = String::new();
    report.check(&format!("push an image to {registry}"), || {
        reference = image?;
        Ok(())
    });
    if reference.is_empty() {
        return Ok(());
    }
    let image = reference.as_str();
    report.check(
        &format!("{registry}: cosign-rs signs an image and verifies it"),
        || {
            ours_sign(stack, image)?.expect(0)?;
            ours_verify(stack, image, IDENTITY)?.expect(0)?;
            refused(&ours_verify(stack, image, "mallory@example.com")?)
        },
    );
    report.check(
        &format!("{registry}: the signature is found the way that this registry offers"),
        || {
            let tag = image
                .rsplit_once('@')
                .map(|(_, digest)| digest.replace(':', "-"))
                .context("an image without a digest")?;
            let status = server.status(&format!("/v2/team/app/manifests/{tag}"))?;
            let expected = if registry == "docker-registry" {
                200
            } else {
                404
            };
            if status != expected {
                bail!("the fallback tag {tag} answers {status}, expected {expected}");
            }
            Ok(())
        },
    );
    if !present("cosign") {
        report.skip(
            &format!("{registry}: cosign and cosign-rs verify each other's images"),
            "cosign",
        );
        return Ok(());
    }
    report.check(
        &format!("{registry}: cosign verifies the image that cosign-rs signed"),
        || {
            cosign_verify(stack, image, IDENTITY)?.expect(0)?;
            refused(&cosign_verify(stack, image, "mallory@example.com")?)
        },
    );
    let second = stack.push_image(&format!("{}/team/other:v1", server.address))?;
    report.check(
        &format!("{registry}: cosign-rs verifies an image that cosign signed"),
        || {
            cosign_sign(stack, &second)?.expect(0)?;
            ours_verify(stack, &second, IDENTITY)?.expect(0)?;
            refused(&ours_verify(stack, &second, "mallory@example.com")?)
        },
    );
    report.check(
        &format!("{registry}: both sign one image and neither signature is lost"),
        || {
            cosign_sign(stack, image)?.expect(0)?;
            ours_sign(stack, image)?.expect(0)?;
            let verified = ours_verify(stack, image, IDENTITY)?.expect(0)?;
            let rows: serde_json::Value = serde_json::from_str(&verified.stdout)?;
            match rows.as_array().map(Vec::len) {
                Some(3) => Ok(()),
                count => bail!(
                    "expected 3 signatures, found {count:?}: {}",
                    verified.stdout
                ),
            }
        },
    );
    report.check(
        &format!("{registry}: attestations cross over in both directions"),
        || {
            let predicate = stack.file(
                "predicate.json",
                "{\"buildDefinition\": {\"buildType\": \"https://example.com/t\"}, \"runDetails\": {\"builder\": {\"id\": \"by hand\"}}}\n",
            )?;
            quiet(
                cosign(stack, "attest")
                    .args([
                        "--yes",
                        "--allow-http-registry",
                        "--identity-token",
                        &stack.token()?,
                        "--type",
                        "https://example.com/v1",
                    ])
                    .arg("--predicate")
                    .arg(&predicate)
                    .arg("--signing-config")
                    .arg(stack.signing_config())
                    .arg("--trusted-root")
                    .arg(stack.trusted_root())
                    .arg(&second),
            )?
            .expect(0)?;
            quiet(
                stack
                    .cosign_rs("verify-attestation")
                    .args(["--type", "https://example.com/v1"])
                    .args(stack.expect(IDENTITY))
                    .arg(&second),
            )?
            .expect(0)?;
            quiet(
                Command::new(run::ours("cosign-rs"))
                    .args([
                        "attest",
                        "--yes",
                        "--identity-token",
                        &stack.token()?,
                        "--type",
                        "slsaprovenance1",
                        "--predicate",
                    ])
                    .arg(&predicate)
                    .arg("--trust-config")
                    .arg(stack.client_trust_config())
                    .arg(image),
            )?
            .expect(0)?;
            quiet(
                cosign(stack, "verify-attestation")
                    .args(["--allow-http-registry", "--type", "slsaprovenance1"])
                    .args(stack.expect(IDENTITY))
                    .arg("--trusted-root")
                    .arg(stack.trusted_root())
                    .arg(image),
            )?
            .expect(0)?;
            Ok(())
        },
    );
    report.check(
        &format!("{registry}: cosign and cosign-rs judge an attestation alike by Rego policies"),
        || judged_alike(stack, image),
    );
    Ok(())
}

/// Rego modules about the attestation of type slsaprovenance1 that the image has, and what becomes of them.
const REGO: &[(&str, bool)] = &[
    (
        "package signature\nallow { input.predicate.runDetails.builder.id == \"by hand\" }\n",
        true,
    ),
    (
        "package signature\nallow { input.predicate.runDetails.builder.id == \"a machine\" }\n",
        false,
    ),
    (
        "package signature\ndefault allow = false\nallow { input.predicateType == \"https://slsa.dev/provenance/v1\" }\n",
        true,
    ),
    ("package signature\ndefault allow = false\n", false),
    (
        "package signature\nimport rego.v1\nallow if startswith(input.predicateType, \"https://slsa.dev/\")\n",
        true,
    ),
    (
        "package signature\nallow if startswith(input.predicateType, \"https://slsa.dev/\")\n",
        false,
    ),
    (
        "package signature\nimport future.keywords\nallow if { some s in input.subject; s.digest.sha256 }\n",
        true,
    ),
    ("package signature\nallow if { false }\n", false),
    ("package signature\nallow\n", false),
    (
        "package signature\nallow { every s in input.subject { s.digest.md5 } }\n",
        false,
    ),
    (
        "package signature\nallow { \"x\" in input.subject }\n",
        false,
    ),
    ("package signature\nallow = \"yes\"\n", false),
    ("package sigstore\nallow { true }\n", false),
    ("package signature\nallow {\n", false),
];

fn judged_alike(stack: &Stack, image: &str) -> Result<()> {
    for (place, (module, expected)) in REGO.iter().enumerate() {
        let policy = stack.file(&format!("policy-{place}.rego"), module)?;
        let theirs = quiet(
            cosign(stack, "verify-attestation")
                .args(["--allow-http-registry", "--type", "slsaprovenance1"])
                .args(stack.expect(IDENTITY))
                .arg("--trusted-root")
                .arg(stack.trusted_root())
                .arg("--policy")
                .arg(&policy)
                .arg(image),
        )?;
        let ours = quiet(
            stack
                .cosign_rs("verify-attestation")
                .args(["--type", "slsaprovenance1"])
                .args(stack.expect(IDENTITY))
                .arg("--policy")
                .arg(&policy)
                .arg(image),
        )?;
        let accepted = [&theirs, &ours].map(|finished| finished.code == Some(0));
        if accepted != [*expected; 2] {
            bail!(
                "expected {expected}, cosign and cosign-rs say {accepted:?} of\n{module}\ncosign: {}\ncosign-rs: {}",
                theirs.stderr,
                ours.stderr
            );
        }
    }
    Ok(())
}

fn ours_sign(stack: &Stack, image: &str) -> Result<Finished> {
    quiet(
        Command::new(run::ours("cosign-rs"))
            .args([
                "sign",
                "--yes",
                "--identity-token",
                &stack.token()?,
                "--trust-config",
            ])
            .arg(stack.client_trust_config())
            .arg(image),
    )
}

fn ours_verify(stack: &Stack, image: &str, identity: &str) -> Result<Finished> {
    quiet(
        stack
            .cosign_rs("verify")
            .args(stack.expect(identity))
            .arg(image),
    )
}

fn cosign_sign(stack: &Stack, image: &str) -> Result<Finished> {
    quiet(
        cosign(stack, "sign")
            .args([
                "--yes",
                "--allow-http-registry",
                "--identity-token",
                &stack.token()?,
                "--signing-config",
            ])
            .arg(stack.signing_config())
            .arg("--trusted-root")
            .arg(stack.trusted_root())
            .arg(image),
    )
}

fn cosign_verify(stack: &Stack, image: &str, identity: &str) -> Result<Finished> {
    quiet(
        cosign(stack, "verify")
            .arg("--allow-http-registry")
            .args(stack.expect(identity))
            .arg("--trusted-root")
            .arg(stack.trusted_root())
            .arg(image),
    )
}
