//! Our command line against upstream's services: its certificate authority, its timestamp authority and its log take the place of ours, with
//! the same keys, so that the same trust files hold. Only the identity provider and the CT log stay.

use std::process::Command;

use anyhow::Result;

use super::cosign_program;
use super::site::Site;
use super::stack::{IDENTITY, Server};
use super::upstream::{self, FULCIO, REKOR, TSA};
use super::{present, refused};
use crate::report::Report;
use crate::run::{self, quiet};

pub(crate) fn check(report: &mut Report) -> Result<()> {
    let title = "cosign-rs signs with upstream's Fulcio, timestamp authority and Rekor v2, and cosign verifies it";
    let programs = (FULCIO.program(), TSA.program(), REKOR.program());
    let (Some(fulcio), Some(tsa), Some(rekor)) = programs else {
        report.skip(title, "fulcio, timestamp-server, rekor-server-posix");
        return Ok(());
    };
    if !present("cosign") {
        report.skip(title, "cosign");
        return Ok(());
    }
    report.check(title, || {
        let programs = run::target().join("debug");
        let site = Site::new(&programs)?;
        let _issuer = Server::start(
            Command::new(programs.join("sigstack"))
                .args(["serve", "issuer", "--config"])
                .arg(site.file("issuer/issuer.toml")),
            site.port("issuer")?,
            &site.log("issuer"),
        )?;
        let _ct_log = site.start("ctlog-rs", "ctlog")?;
        let _fulcio = upstream::fulcio(&site, &fulcio, site.port("fulcio")?, true)?;
        let _tsa = upstream::tsa(&site, &tsa, site.port("tsa")?)?;
        let _rekor = upstream::rekor(
            &site,
            &rekor,
            site.port("rekor")?,
            &["--checkpoint-interval", "100ms", "--batch-max-age", "100ms"],
        )?;
        round(&site)
    });
    Ok(())
}

fn round(site: &Site) -> Result<()> {
    let programs = run::target().join("debug");
    let file = site.folder().join("file");
    std::fs::write(&file, "a file that is signed with upstream's services\n")?;
    // A signed file and a statement about it: the log takes both as a hashedrekord.
    let predicate = site.folder().join("predicate.json");
    std::fs::write(
        &predicate,
        "{\"buildDefinition\": {}, \"runDetails\": {}}\n",
    )?;
    for command in ["sign-blob", "attest-blob"] {
        let bundle = site.folder().join(format!("{command}.sigstore.json"));
        let mut sign = Command::new(programs.join("cosign-rs"));
        sign.arg(command)
            .args([
                "--identity-token",
                &site.sigstack(&["token", "--email", IDENTITY])?,
            ])
            .arg("--trust-config")
            .arg(site.file("client_trust_config.json"))
            .arg("--bundle")
            .arg(&bundle);
        if command == "attest-blob" {
            sign.args(["--type", "slsaprovenance1", "--predicate"])
                .arg(&predicate);
        }
        quiet(sign.arg(&file))?.expect(0)?;
        for verifier in [programs.join("cosign-rs"), cosign_program()] {
            let verify = |identity: &str| {
                let mut verify = Command::new(&verifier);
                if command == "sign-blob" {
                    verify.arg("verify-blob");
                } else {
                    verify.args(["verify-blob-attestation", "--type", "slsaprovenance1"]);
                }
                verify
                    .env("HOME", site.folder())
                    .arg("--trusted-root")
                    .arg(site.file("trusted_root.json"))
                    .args(["--certificate-identity", identity])
                    .args(["--certificate-oidc-issuer", &site.address("issuer")?])
                    .arg("--bundle")
                    .arg(&bundle)
                    .arg(&file);
                quiet(&mut verify)
            };
            verify(IDENTITY)?.expect(0)?;
            refused(&verify("mallory@example.com")?)?;
        }
    }
    Ok(())
}
