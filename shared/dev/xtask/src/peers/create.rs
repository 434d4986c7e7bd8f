//! Trusted roots and signing configs by hand: `trusted-root create` and `signing-config create` of cosign and of ours, from the same flags. Both files
//! must say the same, in cosign's older flags too, and signatures are made and verified with ours.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::stack::{IDENTITY, Stack};
use super::{cosign_program, present, refused};
use crate::report::Report;
use crate::run::{self, Finished, quiet};

const START: &str = "2026-01-01T00:00:00Z";
const END: &str = "2099-01-01T00:00:00Z";

pub(crate) fn check(report: &mut Report, stack: &Stack) -> Result<()> {
    let scene = Scene::new(stack)?;
    report.check(
        "cosign-rs signs and verifies with a trusted root and a signing config that it made",
        || scene.ours_work(),
    );
    let titles = [
        "cosign and cosign-rs make the same trusted root of the same flags",
        "cosign and cosign-rs make the same trusted root of cosign's older flags",
        "cosign and cosign-rs make the same signing config of the same flags",
        "cosign and cosign-rs begin with the same default services",
        "cosign verifies by a trusted root that cosign-rs made",
    ];
    if !present("cosign") {
        for title in titles {
            report.skip(title, "cosign");
        }
        return Ok(());
    }
    let [newer, older, config, defaults, verifies] = titles;
    report.check(newer, || scene.same("trusted-root", &scene.root_flags()));
    report.check(older, || scene.same("trusted-root", &scene.older_flags()));
    report.check(config, || {
        scene.same("signing-config", &scene.config_flags())
    });
    report.check(defaults, || {
        for (kind, more) in [
            ("trusted-root", vec![]),
            (
                "trusted-root",
                vec![
                    "--no-default-ctfe".to_owned(),
                    "--no-default-tsa".to_owned(),
                ],
            ),
            ("signing-config", vec![]),
            ("signing-config", vec!["--no-default-rekor".to_owned()]),
        ] {
            let begin = vec!["--with-default-services".to_owned()];
            scene.same(kind, &[begin, more].concat())?;
        }
        Ok(())
    });
    report.check(verifies, || {
        let root = scene.create(&run::ours("cosign-rs"), "trusted-root", &scene.root_flags())?;
        let artifact = stack.file("created-cosign.txt", "a file under a root made by hand\n")?;
        let bundle = stack.path("created-cosign.sigstore.json");
        super::ours_sign(stack, &artifact, &bundle)?.expect(0)?;
        let verify =
            |identity| scene.verify(&cosign_program(), &root, &artifact, &bundle, identity);
        verify(IDENTITY)?.expect(0)?;
        refused(&verify("mallory@example.com")?)
    });
    Ok(())
}

/// What the stack's services are known by, as files.
struct Scene<'a> {
    stack: &'a Stack,
    folder: PathBuf,
    root: Value,
    /// The endpoint, which a trusted root does not need to have.
    timestamps: String,
}

impl<'a> Scene<'a> {
    fn new(stack: &'a Stack) -> Result<Self> {
        let root: Value = serde_json::from_slice(&fs::read(stack.trusted_root())?)?;
        let config: Value = serde_json::from_slice(&fs::read(stack.signing_config())?)?;
        let timestamps = config.pointer("/tsaUrls/0/url").and_then(Value::as_str);
        let timestamps = timestamps.context("no timestamp authority")?.to_owned();
        let folder = stack.path("created");
        fs::create_dir_all(&folder)?;
        let scene = Self {
            stack,
            folder,
            root,
            timestamps,
        };
        for (list, name) in [
            ("certificateAuthorities", "fulcio"),
            ("timestampAuthorities", "tsa"),
        ] {
            let certificates = scene.first(list).pointer("/certChain/certificates");
            let certificates = certificates.and_then(Value::as_array);
            let certificates = certificates.context("no certificates")?;
            let pem: Result<String> = certificates
                .iter()
                .map(|one| pem("CERTIFICATE", one.get("rawBytes")))
                .collect();
            fs::write(scene.file(name), pem?)?;
        }
        for (list, name) in [("tlogs", "rekor"), ("ctlogs", "ctfe")] {
            let key = pem(
                "PUBLIC KEY",
                scene.first(list).pointer("/publicKey/rawBytes"),
            )?;
            fs::write(scene.file(name), key)?;
        }
        Ok(scene)
    }

    /// Of the logs the one that the stack signs with: Rekor v2.
    fn first(&self, list: &str) -> &Value {
        let instances = self.root.get(list).and_then(Value::as_array);
        let instances = instances.map(Vec::as_slice);
        let instances = instances.unwrap_or_default();
        let rekor = self.stack.address("rekor").unwrap_or_default();
        let chosen = instances
            .iter()
            .find(|one| list == "tlogs" && one["baseUrl"] == rekor.trim_end_matches('/'));
        chosen.or(instances.first()).unwrap_or(&Value::Null)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.pem"))
    }

    fn url(&self, list: &str) -> String {
        let one = self.first(list);
        let url = one["baseUrl"].as_str().or(one["uri"].as_str());
        url.unwrap_or_default().to_owned()
    }

    fn root_flags(&self) -> Vec<String> {
        let file = |name: &str| self.file(name).display().to_string();
        vec![
            "--fulcio".to_owned(),
            format!(
                "url={},certificate-chain={},end-time={END}",
                self.url("certificateAuthorities"),
                file("fulcio")
            ),
            "--rekor".to_owned(),
            format!(
                "url={},public-key={},start-time={START},origin=localhost",
                self.url("tlogs"),
                file("rekor")
            ),
            "--rekor".to_owned(),
            format!(
                "url=https://old.example.com,public-key={},start-time={START},end-time={END}",
                file("ctfe")
            ),
            "--ctfe".to_owned(),
            format!(
                "url={},public-key={},start-time={START}",
                self.url("ctlogs"),
                file("ctfe")
            ),
            "--tsa".to_owned(),
            format!(
                "url={},certificate-chain={},start-time={START}",
                self.url("timestampAuthorities"),
                file("tsa")
            ),
        ]
    }

    fn older_flags(&self) -> Vec<String> {
        let file = |name: &str| self.file(name).display().to_string();
        [
            ("--certificate-chain", file("fulcio")),
            ("--fulcio-uri", self.url("certificateAuthorities")),
            ("--rekor-key", format!("{},localhost", file("rekor"))),
            ("--rekor-url", self.url("tlogs")),
            ("--rekor-start-time", START.to_owned()),
            ("--rekor-end-time", END.to_owned()),
            ("--ctfe-key", file("ctfe")),
            ("--ctfe-url", self.url("ctlogs")),
            ("--timestamp-certificate-chain", file("tsa")),
            ("--timestamp-uri", self.url("timestampAuthorities")),
        ]
        .into_iter()
        .flat_map(|(flag, value)| [flag.to_owned(), value])
        .collect()
    }

    fn config_flags(&self) -> Vec<String> {
        let service = |url: &str, version: u32| {
            format!("url={url},api-version={version},start-time={START},operator=sigstack")
        };
        [
            ("--fulcio", service(&self.url("certificateAuthorities"), 1)),
            ("--rekor", service(&self.url("tlogs"), 2)),
            (
                "--rekor",
                format!("{},end-time={END}", service("https://old.example.com", 1)),
            ),
            ("--rekor-config", "ANY".to_owned()),
            ("--oidc-provider", service(self.stack.issuer(), 1)),
            ("--tsa", service(&self.timestamps, 1)),
            ("--tsa-config", "exact:1".to_owned()),
        ]
        .into_iter()
        .flat_map(|(flag, value)| [flag.to_owned(), value])
        .collect()
    }

    fn command(&self, program: &Path) -> Result<Command> {
        let name = program.file_name().unwrap_or_default().to_string_lossy();
        let home = self.folder.join(format!("home-{name}"));
        fs::create_dir_all(&home)?;
        let mut command = Command::new(program);
        command
            .env("HOME", &home)
            .env("TUF_ROOT", home.join("cache"))
            .env("TUF_MIRROR", self.stack.address("tuf")?)
            .env(
                "TUF_ROOT_JSON",
                self.stack.state().join("tuf/published/1.root.json"),
            );
        Ok(command)
    }

    fn create(&self, program: &Path, kind: &str, flags: &[String]) -> Result<PathBuf> {
        let name = program.file_name().unwrap_or_default().to_string_lossy();
        let out = self.folder.join(format!("{kind}-{name}.json"));
        let mut command = self.command(program)?;
        command.args([kind, "create"]).args(flags);
        quiet(command.arg("--out").arg(&out))?.expect(0)?;
        Ok(out)
    }

    fn same(&self, kind: &str, flags: &[String]) -> Result<()> {
        let read = |program: &Path| -> Result<Value> {
            let file = self.create(program, kind, flags)?;
            Ok(plain(serde_json::from_slice(&fs::read(file)?)?))
        };
        let (theirs, ours) = (read(&cosign_program())?, read(&run::ours("cosign-rs"))?);
        ensure!(
            theirs == ours,
            "{}\ncosign: {theirs:#}\ncosign-rs: {ours:#}",
            flags.join(" ")
        );
        Ok(())
    }

    fn ours_work(&self) -> Result<()> {
        let program = run::ours("cosign-rs");
        let root = self.create(&program, "trusted-root", &self.root_flags())?;
        let mut flags = self.config_flags();
        // The log that is over is nobody's.
        flags.retain(|flag| !flag.contains("old.example.com"));
        let at = flags
            .windows(2)
            .position(|pair| pair == ["--rekor", "--rekor-config"]);
        flags.remove(at.context("no flag to leave out")?);
        let config = self.create(&program, "signing-config", &flags)?;
        let artifact = self
            .stack
            .file("created.txt", "a file that is signed by hand-made files\n")?;
        let bundle = self.stack.path("created.sigstore.json");
        quiet(
            self.command(&program)?
                .args([
                    "sign-blob",
                    "--yes",
                    "--identity-token",
                    &self.stack.token()?,
                ])
                .arg("--trusted-root")
                .arg(&root)
                .arg("--signing-config")
                .arg(&config)
                .arg("--bundle")
                .arg(&bundle)
                .arg(&artifact),
        )?
        .expect(0)?;
        let verify = |identity| self.verify(&program, &root, &artifact, &bundle, identity);
        verify(IDENTITY)?.expect(0)?;
        refused(&verify("mallory@example.com")?)
    }

    fn verify(
        &self,
        program: &Path,
        root: &Path,
        artifact: &Path,
        bundle: &Path,
        identity: &str,
    ) -> Result<Finished> {
        quiet(
            self.command(program)?
                .env_remove("TUF_ROOT_JSON")
                .env_remove("TUF_MIRROR")
                .args(["verify-blob", "--certificate-identity", identity])
                .args(["--certificate-oidc-issuer", self.stack.issuer()])
                .arg("--trusted-root")
                .arg(root)
                .arg("--bundle")
                .arg(bundle)
                .arg(artifact),
        )
    }
}

fn pem(label: &str, base64: Option<&Value>) -> Result<String> {
    let text = base64.and_then(Value::as_str).context("no bytes")?;
    // Written anew, so that what is no base64 is told here.
    let text = STANDARD.encode(STANDARD.decode(text)?);
    let lines: Vec<&str> = text
        .as_bytes()
        .chunks(64)
        .filter_map(|line| std::str::from_utf8(line).ok())
        .collect();
    Ok(format!(
        "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
        lines.join("\n")
    ))
}

/// Without what says the same in another way: lists are in any order, empty members may be left out, and the subject is for readers (cosign takes the
/// root's, others the lowest authority's).
fn plain(value: Value) -> Value {
    match value {
        Value::Object(members) => members
            .into_iter()
            .filter(|(name, _)| name != "subject")
            .map(|(name, value)| (name, plain(value)))
            .filter(|(_, value)| !is_empty(value))
            .collect(),
        Value::Array(values) => {
            let chain = values.iter().any(|value| value.get("rawBytes").is_some());
            let mut values: Vec<Value> = values.into_iter().map(plain).collect();
            if !chain {
                values.sort_by_key(ToString::to_string);
            }
            Value::Array(values)
        }
        other => other,
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Object(members) => members.is_empty(),
        Value::Array(values) => values.is_empty(),
        Value::Null => true,
        _ => false,
    }
}
