//! The clients as whole processes: what a person or a build job waits for.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::table::ratio;
use super::{build, machine, programs};
use crate::peers::stack::{IDENTITY, Stack};
use crate::peers::{cosign_program, present};
use crate::run::{self, live};

/// So many processes of each kind; the figures are the median and the least.
const RUNS: usize = 41;
/// Signing takes longer and makes traces.
const SIGNATURES: usize = 15;

/// The public suite's bundles: who signed them.
const SUITE_IDENTITY: &str = "https://github.com/sigstore-conformance/extremely-dangerous-public-oidc-beacon/.github/workflows/extremely-dangerous-oidc-beacon.yml@refs/heads/main";
const SUITE_ISSUER: &str = "https://token.actions.githubusercontent.com";

/// Wall times of one kind of process.
struct Times {
    name: &'static str,
    taken: Vec<Duration>,
}

impl Times {
    fn new(name: &'static str) -> Self {
        Self {
            name,
            taken: Vec::new(),
        }
    }

    /// Runs a command once and keeps how long it took. That it succeeds is part of the figure.
    fn take(&mut self, command: &mut Command) -> Result<()> {
        let start = Instant::now();
        let output = command
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("cannot start {command:?}"))?;
        let took = start.elapsed();
        if !output.status.success() {
            bail!(
                "{}: {}",
                self.name,
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        self.taken.push(took);
        Ok(())
    }

    fn sorted(&self) -> Vec<f64> {
        let mut taken = self.taken.clone();
        taken.sort_unstable();
        taken.iter().map(|took| took.as_secs_f64() * 1e3).collect()
    }

    fn median(&self) -> f64 {
        let sorted = self.sorted();
        sorted.get(sorted.len() / 2).copied().unwrap_or_default()
    }

    fn print(&self) {
        let least = self.sorted().first().copied().unwrap_or_default();
        println!(
            "{:>12}: median {:.2} ms, least {least:.2} ms ({} processes)",
            self.name,
            self.median(),
            self.taken.len()
        );
    }
}

/// Prints both, or says that the peer is missing; the ratio last.
fn conclude(ours: &Times, peer: &Times) {
    ours.print();
    if peer.taken.is_empty() {
        println!("peer cosign: not installed (cargo xtask peers install)");
        return;
    }
    peer.print();
    println!(
        "cosign-rs : cosign, wall time of the median: 1 : {}",
        ratio(peer.median(), ours.median())
    );
}

fn ours(command: &str) -> Command {
    let mut program = Command::new(programs().join("cosign-rs"));
    program.arg(command);
    program
}

/// cosign with a home of its own, so that nothing of this machine's configuration takes part.
fn cosign(home: &Path, command: &str) -> Command {
    let mut program = Command::new(cosign_program());
    program
        .arg(command)
        .env("HOME", home)
        .env("TUF_ROOT", home.join("tuf"));
    program
}

pub(crate) fn verify() -> Result<bool> {
    live(&mut run::cargo(["bench", "-p", "verify"]))?;
    build(&["cosign-rs"])?;
    let home = tempfile::tempdir()?;
    println!("\n{}", machine::describe(home.path())?);
    let mut nothing = Times::new("/bin/true");
    for _ in 0..RUNS {
        nothing.take(&mut Command::new("/bin/true"))?;
    }
    nothing.print();

    let data = run::root().join("testdata");
    let suite = data.join("sigstore-conformance");
    let cases = suite.join("bundle-verify");
    for (title, case, root) in [
        (
            "a Rekor v1 bundle of the public instance",
            "happy-path-v0.3",
            data.join("trust/public-good.json"),
        ),
        (
            "a Rekor v2 bundle with a timestamp",
            "rekor2-happy-path",
            cases.join("rekor2-happy-path/trusted_root.json"),
        ),
    ] {
        println!("\nverify-blob, {title}, one process each");
        let bundle = cases.join(case).join("bundle.sigstore.json");
        let arguments = verify_blob(&bundle, &root, &suite.join("a.txt"));
        let (mut mine, mut peer) = (Times::new("cosign-rs"), Times::new("cosign"));
        for _ in 0..RUNS {
            mine.take(ours("verify-blob").args(&arguments))?;
            if present("cosign") {
                peer.take(cosign(home.path(), "verify-blob").args(&arguments))?;
            }
        }
        conclude(&mine, &peer);
    }
    Ok(true)
}

/// The same words for both programs.
fn verify_blob(bundle: &Path, root: &Path, artifact: &Path) -> Vec<PathBuf> {
    let flag = |text: &str| PathBuf::from(text);
    vec![
        flag("--bundle"),
        bundle.to_owned(),
        flag("--trusted-root"),
        root.to_owned(),
        flag("--certificate-identity"),
        flag(SUITE_IDENTITY),
        flag("--certificate-oidc-issuer"),
        flag(SUITE_ISSUER),
        artifact.to_owned(),
    ]
}

pub(crate) fn image() -> Result<bool> {
    build(&["sigstack", "cosign-rs"])?;
    let stack = Stack::start_from(&programs())?;
    println!("{}", machine::describe(&stack.path("home"))?);
    let registry = stack.address("registry")?;
    let registry = registry.trim_start_matches("http://").to_owned();
    let token = stack.token()?;
    let home = stack.path("home");

    println!(
        "\nsign an image with an identity token: certificate, timestamp, log entry, attached in the registry"
    );
    let (mut mine, mut peer) = (Times::new("cosign-rs"), Times::new("cosign"));
    for number in 0..SIGNATURES {
        // A repository for each signature: signing must not meet what was signed before.
        let image = stack.push_image(&format!("{registry}/bench/ours-{number}:v1"))?;
        mine.take(
            ours("sign")
                .args(["--yes", "--identity-token", &token, "--trust-config"])
                .arg(stack.client_trust_config())
                .arg(image),
        )?;
        if present("cosign") {
            let image = stack.push_image(&format!("{registry}/bench/peer-{number}:v1"))?;
            peer.take(
                cosign(&home, "sign")
                    .args(["--yes", "--allow-http-registry", "--identity-token", &token])
                    .arg("--signing-config")
                    .arg(stack.signing_config())
                    .arg("--trusted-root")
                    .arg(stack.trusted_root())
                    .arg(image),
            )?;
        }
    }
    conclude(&mine, &peer);

    println!("\nverify one image with one signature");
    let image = stack.push_image(&format!("{registry}/bench/ours-0:v1"))?;
    let (mut mine, mut peer) = (Times::new("cosign-rs"), Times::new("cosign"));
    for _ in 0..RUNS {
        mine.take(
            ours("verify")
                .arg("--trusted-root")
                .arg(stack.trusted_root())
                .args(stack.expect(IDENTITY))
                .arg(&image),
        )?;
        if present("cosign") {
            peer.take(
                cosign(&home, "verify")
                    .arg("--allow-http-registry")
                    .arg("--trusted-root")
                    .arg(stack.trusted_root())
                    .args(stack.expect(IDENTITY))
                    .arg(&image),
            )?;
        }
    }
    conclude(&mine, &peer);
    Ok(true)
}
