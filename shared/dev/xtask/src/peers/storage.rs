//! Where signatures are kept: what cosign 2.5 attached under its tags, what cosign-rs writes for it, and images on their way from one registry to
//! another and through a folder, with what belongs to them.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, ensure};

use super::rekor_v1::cosign_2_plain;
use super::stack::{IDENTITY, Server, Stack};
use super::{cosign, image_policy, images, present, refused};
use crate::report::Report;
use crate::run::{self, Finished, quiet};

pub(super) const PASSWORD: (&str, &str) = ("COSIGN_PASSWORD", "a password");
const PREDICATE: &str = "https://example.com/v1";

pub(crate) fn check(report: &mut Report, stack: &Stack) -> Result<()> {
    for registry in [
        "docker-registry",
        "a registry with referrers (go-containerregistry)",
    ] {
        if !present(registry) {
            report.skip(&format!("storage on {registry}"), registry);
            continue;
        }
        let server = images::start(registry, stack)?;
        if present("cosign 2.5") {
            old(report, stack, registry, &server)?;
        } else {
            report.skip(
                &format!("{registry}: signatures of cosign 2.5"),
                "cosign 2.5",
            );
        }
        moved(report, stack, registry, &server)?;
        image_policy::check(report, stack, registry, &server)?;
    }
    Ok(())
}

/// Each verifies what the other one attached.
fn old(report: &mut Report, stack: &Stack, registry: &str, server: &Server) -> Result<()> {
    let image = &stack.push_image(&format!("{}/old/app:v1", server.address))?;
    let predicate = stack.file("old-predicate.json", "{\"made\": \"by hand\"}\n")?;
    report.check(
        &format!("{registry}: cosign-rs verifies an image that cosign 2.5 signed with an identity"),
        || {
            let mut sign = cosign_2_plain(stack, "sign")?;
            services(stack, &mut sign)?;
            quiet(sign.arg(image))?.expect(0)?;
            verify(stack, "verify", &stack.expect(IDENTITY), image)?.expect(0)?;
            refused(&verify(
                stack,
                "verify",
                &stack.expect("mallory@example.com"),
                image,
            )?)?;
            let none = verify(stack, "verify-attestation", &stack.expect(IDENTITY), image)?;
            refused(&none)
        },
    );
    report.check(
        &format!("{registry}: cosign-rs verifies an attestation of cosign 2.5, of its type only"),
        || {
            let mut attest = cosign_2_plain(stack, "attest")?;
            services(stack, &mut attest)?;
            attest
                .args(["--type", PREDICATE])
                .arg("--predicate")
                .arg(&predicate);
            quiet(attest.arg(image))?.expect(0)?;
            let of_type = |predicate: &str| {
                let mut flags = vec!["--type".to_owned(), predicate.to_owned()];
                flags.extend(stack.expect(IDENTITY));
                verify(stack, "verify-attestation", &flags, image)
            };
            of_type(PREDICATE)?.expect(0)?;
            // GHSA-vjxv-45g9-9296: an attestation of another type is none.
            refused(&of_type("slsaprovenance1")?)
        },
    );
    let recorded = &stack.push_image(&format!("{}/old/intoto:v1", server.address))?;
    report.check(
        &format!("{registry}: cosign-rs verifies an attestation that cosign 2.5 recorded as cosign 1 did (intoto 0.0.1)"),
        || {
            let mut attest = cosign_2_plain(stack, "attest")?;
            services(stack, &mut attest)?;
            attest
                .args(["--rekor-entry-type", "intoto", "--type", PREDICATE])
                .arg("--predicate")
                .arg(&predicate);
            quiet(attest.arg(recorded))?.expect(0)?;
            let mut flags = vec!["--type".to_owned(), PREDICATE.to_owned(), "--explain".to_owned()];
            flags.extend(stack.expect(IDENTITY));
            let verified = verify(stack, "verify-attestation", &flags, recorded)?.expect(0)?;
            ensure!(verified.all().contains("intoto 0.0.1"), "{}", verified.all());
            Ok(())
        },
    );
    let (private, public) = keys(stack)?;
    let keyed = ["--key".to_owned(), public.display().to_string()];
    let unlogged = [keyed.as_slice(), &["--insecure-ignore-tlog".to_owned()]].concat();
    let signed = &stack.push_image(&format!("{}/old/keyed:v1", server.address))?;
    report.check(
        &format!("{registry}: cosign-rs verifies an image that cosign 2.5 signed with a key, in the log and without"),
        || {
            let mut sign = cosign_2_plain(stack, "sign")?;
            sign.args(["--yes", "--allow-http-registry", "--rekor-url", &stack.address("rekor")?])
                .arg("--key")
                .arg(&private)
                .env(PASSWORD.0, PASSWORD.1);
            quiet(sign.arg(signed))?.expect(0)?;
            verify(stack, "verify", &keyed, signed)?.expect(0)?;
            refused(&verify(stack, "verify", &stack.expect(IDENTITY), signed)?)?;
            let other = stack.push_image(&format!("{}/old/unlogged:v1", server.address))?;
            let mut sign = cosign_2_plain(stack, "sign")?;
            sign.args(["--yes", "--allow-http-registry", "--tlog-upload=false"])
                .arg("--key")
                .arg(&private)
                .env(PASSWORD.0, PASSWORD.1);
            quiet(sign.arg(&other))?.expect(0)?;
            refused(&verify(stack, "verify", &keyed, &other)?)?;
            verify(stack, "verify", &unlogged, &other)?.expect(0).map(drop)
        },
    );
    let keyless = &stack.push_image(&format!("{}/old/keyless:v1", server.address))?;
    report.check(
        &format!("{registry}: cosign 2.5 verifies what cosign-rs signs for it with an identity, in a Rekor v1 log"),
        || {
            let of_type = ["--type".to_owned(), PREDICATE.to_owned()];
            let predicate = predicate.display().to_string();
            let attested = [&of_type[..], &["--predicate".to_owned(), predicate]].concat();
            let sign = |command: &str, config: &str, extra: &[String]| {
                let mut sign = Command::new(run::ours("cosign-rs"));
                sign.args([command, "--format", "both", "--trust-config"])
                    .arg(stack.state().join(config))
                    .args(["--identity-token", &stack.token()?])
                    .args(extra)
                    .arg(keyless);
                quiet(&mut sign)
            };
            let without = sign("sign", "client_trust_config.json", &[])?;
            ensure!(without.all().contains("names no Rekor v1 log"), "{}", without.all());
            refused(&without)?;
            for (command, verify_by, made, kind) in [
                ("sign", "verify", &[][..], &[][..]),
                ("attest", "verify-attestation", &attested[..], &of_type[..]),
            ] {
                sign(command, "client_trust_config_rekor_v1.json", made)?.expect(0)?;
                let flags = [kind, &stack.expect(IDENTITY)].concat();
                let verified = verify(stack, verify_by, &flags, keyless)?.expect(0)?;
                ensure!(verified.all().contains("2 x"), "{}", verified.all());
                let theirs = |who: &str| -> Result<Finished> {
                    let mut theirs = cosign_2_plain(stack, verify_by)?;
                    theirs.arg("--allow-http-registry").args(kind).args(stack.expect(who));
                    quiet(theirs.arg(keyless))
                };
                theirs(IDENTITY)?.expect(0)?;
                refused(&theirs("mallory@example.com")?)?;
            }
            Ok(())
        },
    );
    let ours = &stack.push_image(&format!("{}/old/ours:v1", server.address))?;
    report.check(
        &format!("{registry}: cosign 2.5 verifies what cosign-rs signs for it, and cosign-rs both formats"),
        || {
            for (command, extra) in [
                ("sign", vec![]),
                (
                    "attest",
                    vec![
                        "--type".to_owned(),
                        PREDICATE.to_owned(),
                        "--predicate".to_owned(),
                        predicate.display().to_string(),
                    ],
                ),
            ] {
                let mut sign = Command::new(run::ours("cosign-rs"));
                sign.args([command, "--format", "both", "--tlog-upload=false", "--key"])
                    .arg(&private)
                    .args(extra)
                    .arg(ours)
                    .env(PASSWORD.0, PASSWORD.1);
                quiet(&mut sign)?.expect(0)?;
            }
            for (command, extra) in [
                ("verify", vec![]),
                ("verify-attestation", vec!["--type".to_owned(), PREDICATE.to_owned()]),
            ] {
                let flags = [unlogged.as_slice(), &extra].concat();
                let verified = verify(stack, command, &flags, ours)?.expect(0)?;
                ensure!(verified.all().contains("2 x"), "{}", verified.all());
                let theirs = || -> Result<Command> {
                    let mut theirs = cosign_2_plain(stack, command)?;
                    theirs
                        .args(["--allow-http-registry", "--insecure-ignore-tlog=true"])
                        .args(&extra);
                    Ok(theirs)
                };
                quiet(theirs()?.args(&keyed).arg(ours))?.expect(0)?;
                let stranger = stranger(stack)?;
                refused(&quiet(theirs()?.arg("--key").arg(stranger).arg(ours))?)?;
            }
            Ok(())
        },
    );
    Ok(())
}

pub(super) fn services(stack: &Stack, command: &mut Command) -> Result<()> {
    command
        .args([
            "--yes",
            "--allow-http-registry",
            "--identity-token",
            &stack.token()?,
        ])
        .args(["--fulcio-url", &stack.address("fulcio")?])
        .args(["--rekor-url", &stack.address("rekor")?]);
    Ok(())
}

pub(super) fn verify(
    stack: &Stack,
    command: &str,
    flags: &[String],
    image: &str,
) -> Result<Finished> {
    quiet(stack.cosign_rs(command).args(flags).arg(image))
}

/// A pair of keys in cosign's format.
pub(super) fn keys(stack: &Stack) -> Result<(PathBuf, PathBuf)> {
    made(stack, "old")
}

/// The public key of somebody else.
pub(super) fn stranger(stack: &Stack) -> Result<PathBuf> {
    Ok(made(stack, "stranger")?.1)
}

fn made(stack: &Stack, name: &str) -> Result<(PathBuf, PathBuf)> {
    let (private, public) = (
        stack.path(&format!("{name}.key")),
        stack.path(&format!("{name}.pub")),
    );
    if !private.exists() {
        let mut generate = Command::new(run::ours("cosign-rs"));
        generate
            .args(["generate-key-pair", "--output-key-prefix"])
            .arg(stack.path(name))
            .env(PASSWORD.0, PASSWORD.1);
        quiet(&mut generate)?.expect(0)?;
    }
    Ok((private, public))
}

/// A signed image is copied, saved and loaded, and verifies where it arrives; cosign reads what was saved.
fn moved(report: &mut Report, stack: &Stack, registry: &str, server: &Server) -> Result<()> {
    let image = &stack.push_image(&format!("{}/here/app:v1", server.address))?;
    let digest = image.split_once('@').map_or("", |(_, digest)| digest);
    let there = |place: &str| format!("{}/{place}:v1", server.address);
    let at = |place: &str| format!("{}/{place}@{digest}", server.address);
    let (private, public) = keys(stack)?;
    let key = [
        "--key".to_owned(),
        public.display().to_string(),
        "--insecure-ignore-tlog".to_owned(),
    ];
    let ours = |arguments: &[&str]| -> Result<Finished> {
        quiet(
            Command::new(run::ours("cosign-rs"))
                .args(arguments)
                .env(PASSWORD.0, PASSWORD.1),
        )
    };
    let folder = stack.path(&format!("saved-{}", server.id()));
    let saved = folder.display().to_string();
    let private = private.display().to_string();
    report.check(
        &format!(
            "{registry}: an image is copied, saved and loaded with its signatures of both formats"
        ),
        || {
            ours(&[
                "sign",
                "--format",
                "both",
                "--tlog-upload=false",
                "--key",
                &private,
                image,
            ])?
            .expect(0)?;
            ours(&["copy", image, &there("copied/app")])?.expect(0)?;
            ours(&["save", "--dir", &saved, image])?.expect(0)?;
            ours(&["load", "--dir", &saved, &there("loaded/app")])?.expect(0)?;
            for place in ["copied/app", "loaded/app"] {
                let verified = verify(stack, "verify", &key, &at(place))?.expect(0)?;
                ensure!(verified.all().contains("2 x"), "{}", verified.all());
            }
            let local = [key.as_slice(), &["--local-image".to_owned()]].concat();
            let verified = verify(stack, "verify", &local, &saved)?.expect(0)?;
            ensure!(verified.all().contains("2 x"), "{}", verified.all());
            let tree = ours(&["tree", &at("loaded/app")])?.expect(0)?;
            ensure!(
                tree.stdout.matches("signature").count() == 2,
                "{}",
                tree.stdout
            );
            let found = ours(&["download", "signature", &at("loaded/app")])?.expect(0)?;
            ensure!(found.stdout.lines().count() == 2, "{}", found.stdout);
            Ok(())
        },
    );
    report.check(
        &format!("{registry}: clean deletes signatures and nothing else"),
        || {
            refused(&ours(&["clean", &at("copied/app")])?)?;
            ours(&["clean", "-f", &at("copied/app")])?.expect(0)?;
            refused(&verify(stack, "verify", &key, &at("copied/app"))?)?;
            let tree = ours(&["tree", &at("copied/app")])?.expect(0)?;
            ensure!(
                tree.stdout.contains("nothing is attached"),
                "{}",
                tree.stdout
            );
            verify(stack, "verify", &key, image)?.expect(0).map(drop)
        },
    );
    if !present("cosign") {
        report.skip(
            &format!("{registry}: cosign loads what cosign-rs saved"),
            "cosign",
        );
        return Ok(());
    }
    report.check(
        &format!("{registry}: cosign loads what cosign-rs saved, and cosign-rs what cosign saved"),
        || {
            // cosign writes a referrer before the bundle that it names, which a strict registry refuses.
            if registry != "docker-registry" {
                quiet(
                    cosign(stack, "load")
                        .args(["--allow-http-registry", "--dir", &saved])
                        .arg(there("by/cosign")),
                )?
                .expect(0)?;
                verify(stack, "verify", &key, &at("by/cosign"))?.expect(0)?;
            }
            let theirs = stack.path(&format!("theirs-{}", server.id()));
            quiet(
                cosign(stack, "save")
                    .args(["--allow-http-registry", "--dir"])
                    .arg(&theirs)
                    .arg(image),
            )?
            .expect(0)?;
            let theirs = theirs.display().to_string();
            ours(&["load", "--dir", &theirs, &there("from/cosign")])?.expect(0)?;
            verify(stack, "verify", &key, &at("from/cosign"))?
                .expect(0)
                .map(drop)
        },
    );
    Ok(())
}
