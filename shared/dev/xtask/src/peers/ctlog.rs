//! Our CT log against the clients of others, and our certificate authority against a CT log of others.
//!
//! The log is read by certificate-transparency-go's `ctclient` (RFC 6962: tree heads, proofs and entries, each verified there) and recomputed by
//! TesseraCT's `fsck` (static-ct-api). It runs in the process of the authority here; everywhere else in these checks it is a process of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::site::Site;
use super::stack::{IDENTITY, Server};
use super::upstream::{self, CTCLIENT, CTFE, TESSERACT, TESSERACT_FSCK, TRILLIAN};
use super::{cluster, cosign_program, present, refused};
use crate::report::Report;
use crate::run::{self, quiet};

pub(crate) fn check(report: &mut Report) -> Result<()> {
    let title = "our CT log, in the CA's process: cosign verifies what it witnessed, ctclient reads it, adds to it and verifies its proofs, \
                 TesseraCT's fsck recomputes it";
    let peers = (CTCLIENT.program(), TESSERACT_FSCK.program());
    match (peers, present("cosign")) {
        ((Some(ctclient), Some(fsck)), true) => {
            report.check(title, || ours(&ctclient, &fsck));
        }
        _ => report.skip(title, "ctclient, tesseract-fsck, cosign"),
    }
    let title = "our CA has its certificates witnessed by TesseraCT, under another name than its address, and cosign verifies them";
    let there = present("cosign") && run::installed("openssl");
    match (TESSERACT.program(), there) {
        (Some(tesseract), true) => report.check(title, || theirs(&tesseract)),
        _ => report.skip(title, "tesseract-posix, cosign, openssl"),
    }
    let title = "our CA has its certificates witnessed by CTFE on Trillian, and cosign verifies them; ctclient finds them there";
    let programs = [CTFE]
        .iter()
        .chain(&TRILLIAN)
        .all(|peer| peer.program().is_some());
    let there = there && programs && upstream::trillian_tables().is_file();
    match (cluster::postgresql(), CTCLIENT.program(), there) {
        (Some(postgresql), Some(ctclient), true) => {
            report.check(title, || ctfe(&postgresql, &ctclient));
        }
        _ => report.skip(
            title,
            "ct_server, trillian, PostgreSQL, ctclient, cosign, openssl",
        ),
    }
    Ok(())
}

/// What a site has running besides the CA and its log.
fn around(site: &Site) -> Result<[Server; 3]> {
    let issuer = Server::start(
        Command::new(run::ours("sigstack"))
            .args(["serve", "issuer", "--config"])
            .arg(site.file("issuer/issuer.toml")),
        site.port("issuer")?,
        &site.log("issuer"),
    )?;
    let tsa = site.start("tsa-rs", "tsa")?;
    let rekor = site.start("rekor-rs", "rekor")?;
    Ok([issuer, tsa, rekor])
}

fn site() -> Result<Site> {
    Site::new(&run::target().join("debug"))
}

/// Puts other lines into the CA's `[ct_log]`.
fn witnessed_by(site: &Site, lines: &str) -> Result<()> {
    let settings = site.file("fulcio/fulcio.toml");
    let text = fs::read_to_string(&settings)?;
    let (before, _) = text.split_once("[ct_log]").context("no [ct_log]")?;
    fs::write(&settings, format!("{before}[ct_log]\n{lines}\n"))?;
    Ok(())
}

/// Signs a file with cosign-rs and has cosign verify it; the bundle.
fn signed(site: &Site, number: usize) -> Result<PathBuf> {
    let file = site.folder().join(format!("file-{number}"));
    fs::write(&file, format!("a file, number {number}\n"))?;
    let bundle = site.folder().join(format!("{number}.sigstore.json"));
    quiet(
        Command::new(run::ours("cosign-rs"))
            .args(["sign-blob", "--trust-config"])
            .arg(site.file("client_trust_config.json"))
            .args([
                "--identity-token",
                &site.sigstack(&["token", "--email", IDENTITY])?,
            ])
            .arg("--bundle")
            .arg(&bundle)
            .arg(&file),
    )?
    .expect(0)?;
    let verify = |identity: &str| {
        quiet(
            Command::new(cosign_program())
                .env("HOME", site.folder())
                .args(["verify-blob", "--certificate-identity", identity])
                .args(["--certificate-oidc-issuer", &site.address("issuer")?])
                .arg("--trusted-root")
                .arg(site.file("trusted_root.json"))
                .arg("--bundle")
                .arg(&bundle)
                .arg(&file),
        )
    };
    verify(IDENTITY)?.expect(0)?;
    refused(&verify("mallory@example.com")?)?;
    Ok(bundle)
}

const CERTIFICATES: usize = 3;

fn ours(ctclient: &Path, fsck: &Path) -> Result<()> {
    let site = site()?;
    witnessed_by(&site, "settings = \"../ctlog/ctlog.toml\"")?;
    let _around = around(&site)?;
    let fulcio = site.start("fulcio-rs", "fulcio")?;
    let mut bundles = Vec::new();
    for number in 0..CERTIFICATES {
        bundles.push(signed(&site, number)?);
    }
    let log = Log {
        program: ctclient,
        uri: site.address("ctlog")?,
        key: site.file("fulcio/ctlog.pub.pem"),
    };
    let first = log.head()?;
    ensure!(first.size == CERTIFICATES, "{} entries", first.size);
    let last = (CERTIFICATES - 1).to_string();
    let entries = log.ask(&["get-entries", "--first", "0", "--last", &last, "--chain"])?;
    ensure!(
        entries.matches("pre-certificate from issuer").count() == CERTIFICATES
            && !entries.contains("Failed to unmarshal"),
        "{entries}"
    );
    ensure!(
        log.ask(&["get-roots"])?.contains("Certificate:"),
        "no roots"
    );

    // A certificate with its SCT, which is another entry than its precertificate.
    let chain = chain(&site, bundles.first().context("a bundle")?)?;
    let said = log.ask(&["upload", "--cert_chain", &chain.display().to_string()])?;
    ensure!(said.contains("Uploaded chain"), "{said}");
    let hash = said
        .lines()
        .find_map(|line| line.strip_prefix("LeafHash: "))
        .with_context(|| said.clone())?;
    let proof = log.ask(&["get-inclusion-proof", "--leaf_hash", hash])?;
    ensure!(proof.contains("Verified that hash"), "{proof}");
    let nobody = "00".repeat(32);
    refused(&log.run(&["get-inclusion-proof", "--leaf_hash", &nobody])?)?;
    let second = log.head()?;
    ensure!(second.size == CERTIFICATES + 1, "{} entries", second.size);
    let consistent = |size: &str, prev: &str, hash: &str, prev_hash: &str| {
        log.run(&[
            "get-consistency-proof",
            "--size",
            size,
            "--tree_hash",
            hash,
            "--prev_size",
            prev,
            "--prev_hash",
            prev_hash,
        ])
    };
    let (size, prev) = (second.size.to_string(), first.size.to_string());
    let proven = consistent(&size, &prev, &second.root, &first.root)?.expect(0)?;
    ensure!(proven.all().contains("Verified that"), "{}", proven.all());
    refused(&consistent(&size, &prev, &second.root, &second.root)?)?;

    let key = fs::read_to_string(&log.key)?;
    let key: String = key.lines().filter(|line| !line.contains('-')).collect();
    let checkpoint = quiet(Command::new("curl").args(["-sf", &format!("{}/checkpoint", log.uri)]))?;
    let checkpoint = checkpoint.expect(0)?.stdout;
    let origin = checkpoint.lines().next().context("an origin")?;
    let recompute = |origin: &str| {
        quiet(
            Command::new(fsck)
                .args(["-ui=false", "-monitoring_url", &log.uri])
                .args(["-origin", origin, "-public_key", &key]),
        )
    };
    // Its exit code is 0 in any case: what counts is what it says.
    let sound = format!("Successfully fsck'd log with size {size}");
    let said = recompute(origin)?.expect(0)?.all();
    ensure!(said.contains(&sound), "{said}");
    let said = recompute("ctlog.example.org/other")?.all();
    ensure!(!said.contains("Successfully"), "{said}");
    drop(fulcio);
    // The log is whole behind a process that was killed.
    quiet(
        Command::new(run::ours("ctlog-rs"))
            .args(["fsck", "--config"])
            .arg(site.file("ctlog/ctlog.toml")),
    )?
    .expect(0)?;
    Ok(())
}

struct Log<'a> {
    program: &'a Path,
    uri: String,
    key: PathBuf,
}

struct Head {
    size: usize,
    /// In hexadecimal.
    root: String,
}

impl Log<'_> {
    fn run(&self, arguments: &[&str]) -> Result<run::Finished> {
        quiet(
            Command::new(self.program)
                .args(arguments)
                .args(["--log_uri", &self.uri, "--pub_key"])
                .arg(&self.key),
        )
    }

    fn ask(&self, arguments: &[&str]) -> Result<String> {
        Ok(self.run(arguments)?.expect(0)?.stdout)
    }

    /// ctclient has verified its signature.
    fn head(&self) -> Result<Head> {
        let said = self.ask(&["get-sth"])?;
        let word = |before: &str| {
            let (_, rest) = said.split_once(before)?;
            rest.split(|letter: char| !letter.is_ascii_alphanumeric())
                .next()
        };
        Ok(Head {
            size: word("(size=").with_context(|| said.clone())?.parse()?,
            root: word(", hash ").with_context(|| said.clone())?.to_owned(),
        })
    }
}

/// The certificate of a bundle with those above it, PEM.
fn chain(site: &Site, bundle: &Path) -> Result<PathBuf> {
    let bundle: Value = serde_json::from_slice(&fs::read(bundle)?)?;
    let leaf = bundle
        .pointer("/verificationMaterial/certificate/rawBytes")
        .and_then(Value::as_str)
        .context("no certificate in the bundle")?;
    let above = fs::read_to_string(site.file("fulcio/chain.pem"))?;
    let path = site.folder().join("chain.pem");
    fs::write(
        &path,
        format!("-----BEGIN CERTIFICATE-----\n{leaf}\n-----END CERTIFICATE-----\n{above}"),
    )?;
    Ok(path)
}

fn theirs(tesseract: &Path) -> Result<()> {
    let site = site()?;
    let _around = around(&site)?;
    let _log = upstream::tesseract(&site, tesseract)?;
    let lines = format!(
        "url = \"{}\"\npublic_key = \"ctlog.pub.pem\"\norigin = \"ctlog.example.org\"",
        site.address("ctlog")?
    );
    witnessed_by(&site, &lines)?;
    let _fulcio = site.start("fulcio-rs", "fulcio")?;
    for number in 0..2 {
        signed(&site, number)?;
    }
    let said = fs::read_to_string(site.log("tesseract-posix"))?;
    ensure!(
        !said.contains("does not start with"),
        "TesseraCT was called by another name: {said}"
    );
    Ok(())
}

/// Without the extension `leaf_index`, and in no time that could be promised: its tree grows when its signer comes by.
fn ctfe(postgresql: &Path, ctclient: &Path) -> Result<()> {
    let site = site()?;
    let _around = around(&site)?;
    let _log = upstream::ctfe(&site, postgresql)?;
    let uri = format!("{}/ctfe", site.address("ctlog")?);
    witnessed_by(
        &site,
        &format!("url = \"{uri}\"\npublic_key = \"ctlog.pub.pem\""),
    )?;
    let _fulcio = site.start("fulcio-rs", "fulcio")?;
    for number in 0..CERTIFICATES {
        signed(&site, number)?;
    }
    let log = Log {
        program: ctclient,
        uri,
        key: site.file("fulcio/ctlog.pub.pem"),
    };
    let begun = Instant::now();
    loop {
        let size = log.head()?.size;
        if size == CERTIFICATES {
            break;
        }
        ensure!(
            size < CERTIFICATES && begun.elapsed() < Duration::from_secs(30),
            "{size} entries"
        );
    }
    let last = (CERTIFICATES - 1).to_string();
    let entries = log.ask(&["get-entries", "--first", "0", "--last", &last])?;
    ensure!(
        entries.matches("pre-certificate from issuer").count() == CERTIFICATES,
        "{entries}"
    );
    Ok(())
}
