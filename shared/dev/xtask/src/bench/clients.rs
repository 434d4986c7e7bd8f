//! The clients as whole processes: what a person or a build job waits for, and what it takes of the machine.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use super::table::ratio;
use super::{build, machine, programs};
use crate::dist;
use crate::peers::stack::{IDENTITY, Stack};
use crate::peers::{cosign_program, present, sigstore_go_program, sigstore_verify};
use crate::run::{self, live, quiet};

/// So many processes of each kind.
const RUNS: u32 = 41;
/// Signing takes longer and makes traces.
const SIGNATURES: u32 = 15;
/// Bundles of the image that has many.
const BUNDLES: u32 = 5;
/// Images of the batch.
const IMAGES: u32 = 1000;
/// A file that is larger than anything that a client should hold: 1 GiB.
const LARGE: u64 = 1 << 30;

/// The public suite's bundles: who signed them.
const SUITE_IDENTITY: &str = "https://github.com/sigstore-conformance/extremely-dangerous-public-oidc-beacon/.github/workflows/extremely-dangerous-oidc-beacon.yml@refs/heads/main";
const SUITE_ISSUER: &str = "https://token.actions.githubusercontent.com";

/// What the load tool says about a command.
#[derive(Clone, Deserialize)]
struct Figures {
    runs: u32,
    wall_median_ms: f64,
    wall_least_ms: f64,
    cpu_ms: f64,
    resident_max_kib: u32,
}

/// A program with its arguments, under the name that stands in the table.
struct Contestant {
    name: &'static str,
    command: Command,
}

impl Contestant {
    fn new(name: &'static str, command: Command) -> Self {
        Self { name, command }
    }

    /// By a process of the load tool's own, so that the memory is of this command alone.
    fn measure(&self, runs: u32) -> Result<Figures> {
        let mut tool = Command::new(programs().join("load"));
        tool.args(["process", "--output", "json", "--runs"])
            .arg(runs.to_string())
            .arg("--")
            .arg(self.command.get_program())
            .args(self.command.get_args());
        for (name, value) in self.command.get_envs() {
            match value {
                Some(value) => tool.env(name, value),
                None => tool.env_remove(name),
            };
        }
        let measured = quiet(&mut tool)?.expect(0)?;
        serde_json::from_str(&measured.stdout).context("the load tool's answer")
    }
}

/// Measures each, ours first, and prints the table with how many times more the others take.
fn race(ours: &Contestant, peers: &[Contestant], runs: u32) -> Result<()> {
    println!(
        "{:>16} {:>9} {:>10} {:>9} {:>8} {:>13} {:>12} {:>11}",
        "",
        "processes",
        "median ms",
        "least ms",
        "CPU ms",
        "resident MiB",
        "wall, times",
        "CPU, times"
    );
    let first = ours.measure(runs)?;
    line(ours.name, &first, &first);
    for peer in peers {
        match peer.measure(runs) {
            Ok(figures) => line(peer.name, &figures, &first),
            // Some cannot read what others can: that is no figure, and no fault of ours.
            Err(error) => println!("{:>16} cannot: {}", peer.name, first_line(&error)),
        }
    }
    Ok(())
}

fn line(name: &str, figures: &Figures, first: &Figures) {
    println!(
        "{name:>16} {:>9} {:>10.2} {:>9.2} {:>8.2} {:>13.1} {:>12} {:>11}",
        figures.runs,
        figures.wall_median_ms,
        figures.wall_least_ms,
        figures.cpu_ms,
        f64::from(figures.resident_max_kib) / 1024.0,
        ratio(figures.wall_median_ms, first.wall_median_ms),
        ratio(figures.cpu_ms, first.cpu_ms),
    );
}

fn first_line(error: &anyhow::Error) -> String {
    let text = format!("{error:#}");
    let said = text.lines().find(|line| line.contains("load: "));
    said.unwrap_or(&text).chars().take(200).collect()
}

/// The one that is handed out.
fn ours(command: &str) -> Command {
    let mut program = Command::new(run::target().join("dist/cosign-rs"));
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
    build(&["load"])?;
    let program = dist::build()?;
    let rust = sigstore_verify::built();
    let home = tempfile::tempdir()?;
    println!("\n{}", machine::describe(home.path())?);
    let size = fs::metadata(program)?.len();
    println!("cosign-rs, stripped: {size} bytes");
    println!("\nnothing, as the floor of these figures");
    race(
        &Contestant::new("/bin/true", Command::new("/bin/true")),
        &[],
        RUNS,
    )?;

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
        let artifact = suite.join("a.txt");
        let arguments = verify_blob(&bundle, &root, &artifact);
        let mut mine = ours("verify-blob");
        mine.args(&arguments);
        let mut peers = Vec::new();
        match &rust {
            Ok(program) => {
                let mut command = Command::new(program);
                command.arg(&bundle).arg(&root);
                command.args([SUITE_IDENTITY, SUITE_ISSUER]).arg(&artifact);
                peers.push(Contestant::new("sigstore-verify", command));
            }
            Err(error) => println!("peer sigstore-verify: {error:#}"),
        }
        if present("sigstore-go") {
            let mut command = Command::new(sigstore_go_program());
            command.arg("-artifact").arg(&artifact);
            command.args([
                "-expectedIssuer",
                SUITE_ISSUER,
                "-expectedSAN",
                SUITE_IDENTITY,
            ]);
            command.arg("-trustedrootJSONpath").arg(&root).arg(&bundle);
            command.env("HOME", home.path());
            peers.push(Contestant::new("sigstore-go", command));
        }
        if present("cosign") {
            let mut command = cosign(home.path(), "verify-blob");
            command.args(&arguments);
            peers.push(Contestant::new("cosign", command));
        }
        race(&Contestant::new("cosign-rs", mine), &peers, RUNS)?;
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

/// A stack, its registry, and how both programs are told about them.
struct Scene {
    stack: Stack,
    registry: String,
    token: String,
    home: PathBuf,
}

impl Scene {
    fn new() -> Result<Self> {
        let stack = Stack::start_from(&programs())?;
        let registry = stack.address("registry")?;
        Ok(Self {
            registry: registry.trim_start_matches("http://").to_owned(),
            token: stack.token()?,
            home: stack.path("home"),
            stack,
        })
    }

    /// How many requests its registry has answered, by its own figures.
    fn registry_requests(&self) -> Result<u32> {
        let figures = quiet(
            Command::new("curl").args(["-sf", &format!("http://{}/metrics", self.registry)]),
        )?
        .expect(0)?;
        let registry = |line: &&str| {
            line.starts_with("http_requests_total{") && line.contains("service=\"registry\"")
        };
        let counts: Vec<u32> = figures
            .stdout
            .lines()
            .filter(registry)
            .filter_map(|line| line.rsplit(' ').next()?.parse().ok())
            .collect();
        if counts.is_empty() {
            bail!("the registry has no http_requests_total in its /metrics");
        }
        Ok(counts.iter().sum())
    }

    fn image(&self, name: &str) -> Result<String> {
        self.stack
            .push_image(&format!("{}/bench/{name}:v1", self.registry))
    }

    fn our_sign(&self, command: &str) -> Command {
        let mut program = ours(command);
        program
            .args(["--yes", "--identity-token", &self.token, "--trust-config"])
            .arg(self.stack.client_trust_config());
        program
    }

    fn their_sign(&self) -> Command {
        let mut program = cosign(&self.home, "sign");
        program
            .args([
                "--yes",
                "--allow-http-registry",
                "--identity-token",
                &self.token,
            ])
            .arg("--signing-config")
            .arg(self.stack.signing_config())
            .arg("--trusted-root")
            .arg(self.stack.trusted_root());
        program
    }

    fn our_verify(&self) -> Command {
        let mut program = ours("verify");
        program
            .arg("--trusted-root")
            .arg(self.stack.trusted_root())
            .args(self.stack.expect(IDENTITY));
        program
    }

    fn their_verify(&self) -> Command {
        let mut program = cosign(&self.home, "verify");
        program
            .arg("--allow-http-registry")
            .arg("--trusted-root")
            .arg(self.stack.trusted_root())
            .args(self.stack.expect(IDENTITY));
        program
    }
}

pub(crate) fn image() -> Result<bool> {
    build(&["sigstack", "load"])?;
    dist::build()?;
    let scene = Scene::new()?;
    println!("{}", machine::describe(&scene.home)?);
    signing(&scene)?;
    for bundles in [1, BUNDLES] {
        println!("\nverify one image with {bundles} bundle(s)");
        let image = scene.image(&format!("verified-{bundles}"))?;
        for _ in 0..bundles {
            quiet(scene.our_sign("sign").arg(&image))?.expect(0)?;
        }
        let mut mine = scene.our_verify();
        mine.arg(&image);
        let mut peers = Vec::new();
        if present("cosign") {
            let mut command = scene.their_verify();
            command.arg(&image);
            peers.push(Contestant::new("cosign", command));
        }
        race(&Contestant::new("cosign-rs", mine), &peers, RUNS)?;
    }
    batch(&scene)?;
    large(&scene)?;
    Ok(true)
}

/// Certificate, timestamp, log entry, attached in the registry. A repository for each signature: signing must not meet what was signed before.
fn signing(scene: &Scene) -> Result<()> {
    println!("\nsign an image with an identity token, {SIGNATURES} images");
    let mut taken: Vec<(&str, Vec<f64>)> = vec![("cosign-rs", Vec::new())];
    if present("cosign") {
        taken.push(("cosign", Vec::new()));
    }
    for number in 0..SIGNATURES {
        for (name, times) in &mut taken {
            let image = scene.image(&format!("{name}-{number}"))?;
            let mut command = if *name == "cosign" {
                scene.their_sign()
            } else {
                scene.our_sign("sign")
            };
            let start = Instant::now();
            quiet(command.arg(image))?.expect(0)?;
            times.push(start.elapsed().as_secs_f64() * 1e3);
        }
    }
    let median = |times: &[f64]| {
        let mut sorted = times.to_vec();
        sorted.sort_unstable_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied().unwrap_or_default()
    };
    let first = taken.first().map_or(0.0, |(_, times)| median(times));
    for (name, times) in &taken {
        let median = median(times);
        println!(
            "{name:>16}: median {median:.1} ms, {} times",
            ratio(median, first)
        );
    }
    Ok(())
}

/// Many images in one run: signed by one certificate, then verified, once by their names as flags and once as lines.
fn batch(scene: &Scene) -> Result<()> {
    println!("\n{IMAGES} images in one run of cosign-rs");
    let images = (0..IMAGES)
        .map(|number| scene.image(&format!("batch-{number}")))
        .collect::<Result<Vec<_>>>()?;
    let per_second = |start: Instant| f64::from(IMAGES) / start.elapsed().as_secs_f64();
    let start = Instant::now();
    quiet(scene.our_sign("sign").args(&images))?.expect(0)?;
    println!("{:>16}: {:.0} images/s", "sign", per_second(start));
    let before = scene.registry_requests()?;
    let start = Instant::now();
    quiet(scene.our_verify().args(&images))?.expect(0)?;
    println!(
        "{:>16}: {:.0} images/s, {} registry requests an image",
        "verify",
        per_second(start),
        ratio(
            f64::from(scene.registry_requests()?.saturating_sub(before)),
            f64::from(IMAGES)
        ),
    );
    let start = Instant::now();
    let mut command = scene.our_verify();
    let mut child = command
        .arg("--stdin")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    if let Some(mut lines) = child.stdin.take() {
        for image in &images {
            writeln!(lines, "{image}")?;
        }
    }
    if !child.wait()?.success() {
        bail!("verify --stdin failed");
    }
    println!(
        "{:>16}: {:.0} images/s",
        "verify --stdin",
        per_second(start)
    );
    Ok(())
}

/// The memory that a large file takes: it is hashed as a stream.
fn large(scene: &Scene) -> Result<()> {
    println!("\na file of {} MiB (sign-blob, verify-blob)", LARGE >> 20);
    let file = scene.stack.path("large");
    fs::File::create(&file)?.set_len(LARGE)?;
    let bundle = scene.stack.path("large.sigstore.json");
    let mut sign = scene.our_sign("sign-blob");
    sign.arg("--bundle").arg(&bundle).arg(&file);
    race(&Contestant::new("cosign-rs", sign), &[], 1)?;
    let words = |program: &mut Command| {
        program
            .arg("--bundle")
            .arg(&bundle)
            .arg("--trusted-root")
            .arg(scene.stack.trusted_root())
            .args(scene.stack.expect(IDENTITY))
            .arg(&file);
    };
    let mut mine = ours("verify-blob");
    words(&mut mine);
    let mut peers = Vec::new();
    if present("cosign") {
        let mut command = cosign(&scene.home, "verify-blob");
        words(&mut command);
        peers.push(Contestant::new("cosign", command));
    }
    race(&Contestant::new("cosign-rs", mine), &peers, 3)
}
