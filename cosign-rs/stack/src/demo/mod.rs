//! `sigstack demo`: the whole story on an otherwise empty machine.
//!
//! Everything is real: the services listen on sockets, the image is built from files and pushed to a registry, the signing and verifying is
//! the command line of cosign-rs, run as a process of its own, and the login goes through the browser flow with a browser that fills in the
//! form by itself. For the offline part the registry stays up, since the image is in it, and every service that could be asked about a
//! signature is stopped: what is left to verify with is the trusted root file.

mod image;
mod programs;
mod remote;
mod report;

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Value, json};
use serve::{Stop, logging};

use self::image::Image;
use self::programs::Programs;
use self::remote::{Attached, Remote};
use self::report::Report;
use crate::args::{Demo, Token};
use crate::state::Name;
use crate::token;
use crate::up::{Options, Stack};

/// Who signs the image.
const PERSON: &str = "alice@example.org";
/// Whose signature is asked for in vain.
const STRANGER: &str = "mallory@example.org";
/// The job that attests how the image was built.
const JOB: &str = "repo=example/app,ref=refs/tags/v1.0.0,workflow=release.yml";
const JOB_IDENTITY: &str =
    "https://github.com/example/app/.github/workflows/release.yml@refs/tags/v1.0.0";
const PREDICATE_TYPE: &str = "https://slsa.dev/provenance/v1";

/// Runs the demo; exit 1 if any step does not do what it should.
pub async fn run(arguments: &Demo) -> Result<ExitCode> {
    logging::init(logging::Format::Text, "error");
    let mut report = Report::on_stdout();
    let folder = Folder::open(arguments)?;
    report.part("Sigstore in Rust: sign without a key, verify without a network");
    let mut interrupted = Stop::on_signals()?;
    let result = tokio::select! {
        result = story(&mut report, &folder.path) => result,
        // Not the default, which would leave the folder behind.
        () = interrupted.wait() => Err(anyhow::anyhow!("interrupted")),
    };
    if let Err(error) = &result {
        report.note(&format!("stopped: {error:#}"));
    }
    if folder.keep {
        report.note(&format!(
            "the stack's state is in {}",
            folder.path.display()
        ));
    }
    Ok(if report.summary(result.is_err()) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Builds the demo's image, pushes it to a registry on this machine and gives its reference by digest. The name is part of the image, so that two
/// names are two images.
pub(crate) async fn push(registry: &str, name: &str, tag: &str) -> Result<String> {
    let image = Image::build(&format!("hello from {name}:{tag}\n"))?;
    let remote = Remote::new(registry, name)?;
    remote.push(&image, tag).await?;
    Ok(remote.reference(&image.digest))
}

/// The state folder of the demo; a temporary one goes with it.
struct Folder {
    path: PathBuf,
    keep: bool,
}

impl Folder {
    fn open(arguments: &Demo) -> Result<Self> {
        if let Some(path) = &arguments.state {
            refuse_used(path)?;
            return Ok(Self {
                path: path.clone(),
                keep: true,
            });
        }
        let name = format!(
            "sigstack-demo-{}",
            hex::encode(signer::random::bytes::<6>()?)
        );
        let path = std::env::temp_dir().join(name);
        DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .with_context(|| path.display().to_string())?;
        Ok(Self {
            path,
            keep: arguments.keep,
        })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.keep {
            // A folder that stays behind in the temporary folder is no harm.
            let _left = std::fs::remove_dir_all(&self.path);
        }
    }
}

/// The story counts what it finds at its image, and would find what was there before too.
fn refuse_used(path: &Path) -> Result<()> {
    let used = match std::fs::read_dir(path) {
        Ok(mut entries) => entries.next().is_some(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
        Err(error) => return Err(error).with_context(|| path.display().to_string()),
    };
    ensure!(
        !used,
        "{} is not empty: the demo begins with a new folder; name another one, or run it without --state",
        path.display()
    );
    Ok(())
}

/// What the steps have in common.
struct Scene {
    programs: Programs,
    issuer: String,
    remote: Remote,
    image: Image,
}

impl Scene {
    fn target(&self) -> String {
        self.remote.reference(&self.image.digest)
    }

    fn by_person(&self) -> [String; 4] {
        identity(PERSON, &self.issuer)
    }

    fn by_job(&self) -> [String; 4] {
        identity(JOB_IDENTITY, &format!("{}/github", self.issuer))
    }
}

fn identity(subject: &str, issuer: &str) -> [String; 4] {
    [
        "--certificate-identity",
        subject,
        "--certificate-oidc-issuer",
        issuer,
    ]
    .map(str::to_owned)
}

async fn story(report: &mut Report<std::io::Stdout>, folder: &Path) -> Result<()> {
    report.part("1. A Sigstore of our own");
    let title = "make keys, start CA, CT log, TSA, Rekor, issuer, registry, TUF repository";
    let mut stack = report
        .step(title, Box::pin(Stack::start(&Options::free(folder))))
        .await?;
    let told = tell(report, folder, &mut stack).await;
    // The services end in order also when a step failed.
    stack.stop().await;
    told
}

async fn tell(
    report: &mut Report<std::io::Stdout>,
    folder: &Path,
    stack: &mut Stack,
) -> Result<()> {
    let addresses = stack.addresses().clone();
    for name in Name::ALL {
        report.note(&format!("{:<9} {}", name.as_str(), addresses.of(name)));
    }

    report.part("2. An image");
    let image = report
        .step(
            "build an image of three layers from files of this machine",
            async { Image::build("signed") },
        )
        .await?;
    report.note(&format!(
        "{} files, {:.1} MB compressed, {}",
        image.files(),
        megabytes(image.size()),
        image.digest
    ));
    let remote = Remote::new(&addresses.registry, "demo/app")?;
    report
        .step("push it to the registry", remote.push(&image, "v1"))
        .await?;
    let scene = Scene {
        programs: Programs::new(folder, PERSON)?,
        issuer: addresses.issuer.clone(),
        remote,
        image,
    };

    report.part("3. Sign and attest, without a key");
    sign(report, &scene, folder).await?;

    report.part("4. Verify while the services run");
    verify(
        report,
        &scene,
        "verify the signature: this person, this issuer",
    )
    .await?;
    verify_attestation(
        report,
        &scene,
        "verify the attestation: this workflow, this issuer",
    )
    .await?;

    report.part("5. Verify offline");
    let offline = async {
        stack.stop_all_but_the_registry().await;
        for name in Name::ALL.into_iter().filter(|name| *name != Name::Registry) {
            let port = addresses.port(name).context("an address without a port")?;
            let answers = tokio::net::TcpStream::connect(("localhost", port))
                .await
                .is_ok();
            ensure!(!answers, "{} still answers", name.as_str());
        }
        Ok(())
    };
    report
        .step(
            "stop every service but the registry, and check that none answers",
            offline,
        )
        .await?;
    report
        .note("left: the image and its signatures in the registry, and the file trusted_root.json");
    verify(report, &scene, "verify the signature").await?;
    verify_attestation(report, &scene, "verify the attestation").await?;

    report.part("6. Refused, each for its own reason");
    refuse(report, &scene, &addresses.registry).await?;

    report.part("7. By somebody else's program");
    peer(report, &scene).await
}

async fn sign(report: &mut Report<std::io::Stdout>, scene: &Scene, folder: &Path) -> Result<()> {
    let work = async {
        let said = scene
            .programs
            .sign(&["sign", "--yes", &scene.target()])
            .await?;
        said.accepted()
    };
    let said = report
        .step(
            "sign as a person: log in with the browser, get a certificate, log it",
            work,
        )
        .await?;
    report.quote(&said);

    let predicate = folder.join("provenance.json");
    let content = json!({
        "buildDefinition": {
            "buildType": "https://example.org/sigstack/demo/v1",
            "externalParameters": { "greeting": "signed" },
            "resolvedDependencies": [],
        },
        "runDetails": { "builder": { "id": JOB_IDENTITY }, "metadata": { "startedOn": Timestamp::now().to_string() } },
    });
    std::fs::write(&predicate, serde_json::to_vec_pretty(&content)?)?;
    let arguments = Token {
        state: folder.to_owned(),
        email: None,
        github: Some(JOB.to_owned()),
        audience: "sigstore".to_owned(),
        seconds: 300,
    };
    let work = async {
        let token = token::make(&arguments, Timestamp::now()).await?;
        let predicate = predicate.display().to_string();
        let arguments = [
            "attest",
            "--yes",
            "--type",
            "slsaprovenance1",
            "--predicate",
            &predicate,
            &scene.target(),
        ];
        let said = scene.programs.sign_with_token(&arguments, &token).await?;
        said.accepted()
    };
    let said = report
        .step("attest its provenance as a GitHub Actions job would", work)
        .await?;
    report.quote(&said);

    let expected = async {
        let attached = scene.remote.attached(&scene.image.digest).await?;
        ensure!(
            attached.len() == 2,
            "the registry lists {} bundles for the image, not two",
            attached.len()
        );
        Ok(())
    };
    report
        .step(
            "find both as referrers of the image in the registry",
            expected,
        )
        .await
}

async fn verify(report: &mut Report<std::io::Stdout>, scene: &Scene, title: &str) -> Result<()> {
    let work = async {
        let mut arguments = vec!["verify".to_owned()];
        arguments.extend(scene.by_person());
        arguments.push(scene.target());
        scene.programs.verify(&arguments).await?.accepted()
    };
    report.step(title, work).await?;
    Ok(())
}

async fn verify_attestation(
    report: &mut Report<std::io::Stdout>,
    scene: &Scene,
    title: &str,
) -> Result<()> {
    let work = async {
        let mut arguments = vec![
            "verify-attestation".to_owned(),
            "--type".to_owned(),
            "slsaprovenance1".to_owned(),
        ];
        arguments.extend(scene.by_job());
        arguments.push(scene.target());
        scene.programs.verify(&arguments).await?.accepted()
    };
    report.step(title, work).await?;
    Ok(())
}

async fn refuse(report: &mut Report<std::io::Stdout>, scene: &Scene, registry: &str) -> Result<()> {
    let work = async {
        let mut arguments = vec!["verify".to_owned()];
        arguments.extend(identity(STRANGER, &scene.issuer));
        arguments.push(scene.target());
        scene
            .programs
            .verify(&arguments)
            .await?
            .refused(12, &[PERSON, STRANGER])
    };
    let said = report
        .step("a signature by somebody else than expected", work)
        .await?;
    report.quote(&said);

    let signature = signature_of(scene).await?;
    let changed = Image::build("changed")?;
    let remote = Remote::new(registry, "demo/changed")?;
    let work = async {
        remote.push(&changed, "v1").await?;
        remote.attach(&signature, &changed).await?;
        let mut arguments = vec!["verify".to_owned()];
        arguments.extend(scene.by_person());
        arguments.push(remote.reference(&changed.digest));
        scene
            .programs
            .verify(&arguments)
            .await?
            .refused(21, &["digest"])
    };
    let said = report
        .step("the same signature at an image with one changed file", work)
        .await?;
    report.quote(&said);

    let remote = Remote::new(registry, "demo/relogged")?;
    let work = async {
        remote.push(&scene.image, "v1").await?;
        remote.attach(&relogged(&signature)?, &scene.image).await?;
        let mut arguments = vec!["verify".to_owned()];
        arguments.extend(scene.by_person());
        arguments.push(remote.reference(&scene.image.digest));
        scene
            .programs
            .verify(&arguments)
            .await?
            .refused(22, &["log"])
    };
    let said = report
        .step(
            "a signature whose log entry was changed after it was logged",
            work,
        )
        .await?;
    report.quote(&said);
    Ok(())
}

/// The bundle that is not the attestation.
async fn signature_of(scene: &Scene) -> Result<Attached> {
    let is_attestation = |bundle: &Value| {
        let payload = bundle
            .pointer("/dsseEnvelope/payload")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let payload = STANDARD.decode(payload).unwrap_or_default();
        String::from_utf8_lossy(&payload).contains(PREDICATE_TYPE)
    };
    let attached = scene.remote.attached(&scene.image.digest).await?;
    attached
        .into_iter()
        .find(|attached| !is_attestation(&attached.bundle))
        .context("no signature at the image")
}

/// The bundle with one character of its log entry changed, as if the log had another entry there.
fn relogged(signature: &Attached) -> Result<Attached> {
    let mut changed = signature.clone();
    let body = changed
        .bundle
        .pointer_mut("/verificationMaterial/tlogEntries/0/canonicalizedBody")
        .context("no log entry in the bundle")?;
    let text =
        String::from_utf8(STANDARD.decode(body.as_str().context("a body that is no text")?)?)?;
    // Still JSON, still an entry: only the digest that was logged is another one.
    let digest = text
        .split_once("\"digest\":\"")
        .context("no digest in the log entry")?
        .1
        .get(..1)
        .context("an empty digest")?;
    let other = if digest == "A" { "B" } else { "A" };
    let text = text.replacen(
        &format!("\"digest\":\"{digest}"),
        &format!("\"digest\":\"{other}"),
        1,
    );
    *body = json!(STANDARD.encode(text));
    Ok(changed)
}

async fn peer(report: &mut Report<std::io::Stdout>, scene: &Scene) -> Result<()> {
    let Some(peer) = scene.programs.peer().await else {
        report.note("cosign is not installed here, so this part is left out; with cosign 3.1 on the PATH it verifies the same image");
        return Ok(());
    };
    report.note(&peer);
    let work = async {
        let mut arguments = vec!["verify".to_owned()];
        arguments.extend(scene.by_person());
        arguments.push(scene.target());
        scene
            .programs
            .verify_with_peer(&arguments)
            .await?
            .accepted()
    };
    report
        .step("verify the signature with it, offline as well", work)
        .await?;
    Ok(())
}

fn megabytes(bytes: usize) -> f64 {
    // Exact up to 4 GB, and rounded to one digit when it is shown.
    f64::from(u32::try_from(bytes).unwrap_or(u32::MAX)) / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_used_folder_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        refuse_used(folder.path()).unwrap();
        refuse_used(&folder.path().join("new")).unwrap();
        std::fs::write(folder.path().join("something"), "").unwrap();
        let refused = refuse_used(folder.path()).unwrap_err().to_string();
        assert!(refused.contains("is not empty"), "{refused}");
    }
}
