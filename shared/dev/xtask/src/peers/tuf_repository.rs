//! A trust root of our own, made and changed with `cosign-rs root` as its documents say, and every client that we know of reading it: after each
//! change, and from each root that there ever was.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use anyhow::{Context as _, Result, bail, ensure};

use super::stack::{IDENTITY, Server, Stack, free_port};
use super::upstream::VERSITYGW;
use super::{cosign_program, install, present, python_program};
use crate::report::Report;
use crate::run::{self, Finished, quiet};

/// The targets that clients of Sigstore ask for.
const TARGETS: [&str; 2] = ["trusted_root.json", "signing_config.v0.2.json"];

/// A client: how it comes from a root to the trusted root.
#[derive(Clone, Copy)]
struct Client {
    name: &'static str,
    follow: fn(&Scene<'_>, &Path, &Path) -> Result<Finished>,
}

const CLIENTS: [Client; 6] = [
    Client {
        name: "python-tuf",
        follow: python_tuf,
    },
    Client {
        name: "tuf-js",
        follow: tuf_js,
    },
    Client {
        name: "sigstore-js (TUF)",
        follow: sigstore_js,
    },
    Client {
        name: "sigstore-python",
        follow: sigstore_python,
    },
    Client {
        name: "gh",
        follow: gh,
    },
    Client {
        name: "cosign",
        follow: cosign,
    },
];

/// The commands of a change.
type Change = fn(&Scene<'_>) -> Result<()>;

/// Changes, each with its commands.
const STEPS: [(&str, Change); 9] = [
    ("init", |scene| scene.sign_and_publish(&["alice", "bob"])),
    ("a timestamp refresh", |scene| {
        scene.root(&["refresh", "--force"])
    }),
    ("the rotation of one root key", |scene| {
        scene.root(&[
            "rotate",
            "root,targets",
            "--add",
            &scene.signer("dave")?,
            "--remove",
            "carol",
        ])?;
        scene.sign_and_publish(&["dave", "bob", "alice"])
    }),
    ("the rotation of all root keys", |scene| {
        let new = ["erin", "frank", "grace"].map(|name| scene.signer(name));
        let mut arguments = vec!["rotate".to_owned(), "root,targets".to_owned()];
        for signer in new {
            arguments.extend(["--add".to_owned(), signer?]);
        }
        for old in ["alice", "bob", "dave"] {
            arguments.extend(["--remove".to_owned(), old.to_owned()]);
        }
        scene.root(&arguments.iter().map(String::as_str).collect::<Vec<_>>())?;
        scene.sign_and_publish(&["frank", "alice", "erin", "bob"])
    }),
    ("a higher threshold", |scene| {
        scene.root(&["rotate", "root,targets", "--threshold", "3"])?;
        scene.sign_and_publish(&["grace", "frank", "erin"])
    }),
    ("a lower threshold", |scene| {
        scene.root(&["rotate", "root,targets", "--threshold", "2"])?;
        scene.sign_and_publish(&["erin", "grace", "frank"])
    }),
    ("a new log shard", |scene| {
        let log = scene.second.address("rekor")?;
        // Sooner than clients can know of it is refused.
        let soon = quiet(
            scene
                .command(&["add-shard", &log, "--start", "2026-01-01T00:00:00Z"])
                .env("HOME", scene.stack.path("home")),
        )?;
        ensure!(
            soon.code == Some(1) && soon.all().contains("too soon"),
            "{}",
            soon.all()
        );
        scene.root(&["add-shard", &log])?;
        scene.sign_and_publish(&["erin", "grace"])
    }),
    ("a new certificate authority", |scene| {
        scene.root(&["add-ca", &scene.second.address("fulcio")?])?;
        scene.sign_and_publish(&["erin", "grace"])
    }),
    ("an exchanged online key", |scene| {
        let key = scene.private_key("online2")?;
        scene.root(&["rotate", "online", "--key", &key.display().to_string()])?;
        scene.sign_and_publish(&["erin", "grace"])?;
        scene.root(&["refresh", "--force"])
    }),
];

pub(crate) fn check(report: &mut Report, stack: &Stack) -> Result<()> {
    let mut scene = None;
    report.check(
        "cosign-rs root makes a repository out of running services",
        || {
            scene = Some(Scene::begin(stack)?);
            Ok(())
        },
    );
    let Some(mut scene) = scene else {
        return Ok(());
    };
    for client in CLIENTS.iter().filter(|client| !present(client.name)) {
        report.skip(
            &format!("{} follows our repository", client.name),
            client.name,
        );
    }
    let clients: Vec<Client> = CLIENTS
        .into_iter()
        .filter(|client| present(client.name))
        .collect();
    for (name, change) in STEPS {
        let mut changed = false;
        report.check(&format!("cosign-rs root: {name}"), || {
            change(&scene)?;
            scene.serve()?;
            changed = true;
            Ok(())
        });
        if !changed {
            return Ok(());
        }
        let outcomes: Vec<(&str, Result<()>)> = thread::scope(|threads| {
            let running: Vec<_> = clients
                .iter()
                .map(|client| {
                    (
                        client.name,
                        threads.spawn(|| scene.start_at_every_root(*client)),
                    )
                })
                .collect();
            running
                .into_iter()
                .map(|(name, thread)| {
                    (
                        name,
                        thread
                            .join()
                            .unwrap_or_else(|_| bail!("the check itself ended")),
                    )
                })
                .collect()
        });
        for (client, outcome) in outcomes {
            report.check(
                &format!("{client} reads our repository after {name}, from every earlier root"),
                || outcome,
            );
        }
    }
    if present("cosign") {
        report.check(
            "cosign signs with what it learned from our repository, and verifies it",
            || cosign_signs(&scene),
        );
    }
    bucket(report, &scene);
    report.check("cosign-rs root status has nothing to do at the end", || {
        quiet(&mut scene.command(&["status", "--output", "json"]))?.expect(0)?;
        Ok(())
    });
    Ok(())
}

/// A bucket behind a gateway that answers strangers with 403, as S3 does: the copy is made, and then found to be of no use to clients.
fn bucket(report: &mut Report, scene: &Scene<'_>) {
    let title = "cosign-rs root publishes to a bucket, and notices that clients get 403 there";
    let Some(gateway) = VERSITYGW.program() else {
        report.skip(title, VERSITYGW.name);
        return;
    };
    report.check(title, || {
        let folder = scene.stack.path("buckets");
        fs::create_dir_all(folder.join("root"))?;
        let port = free_port()?;
        let address = format!("http://127.0.0.1:{port}");
        let _gateway = Server::start(
            Command::new(gateway)
                .args(["--port", &format!("127.0.0.1:{port}"), "posix"])
                .arg(&folder)
                .env("ROOT_ACCESS_KEY", "access")
                .env("ROOT_SECRET_KEY", "secret"),
            port,
            &scene.stack.path("gateway.log"),
        )?;
        let policy = scene.state.join("policy.toml");
        let before = fs::read_to_string(&policy)?;
        let publish = format!(
            "\n[[publish]]\nbucket = \"root\"\nprefix = \"tuf\"\nendpoint = \"{address}\"\n"
        );
        let refresh = |text: &str| {
            fs::write(&policy, text)?;
            quiet(
                scene
                    .command(&["refresh", "--force"])
                    .env("AWS_ACCESS_KEY_ID", "access")
                    .env("AWS_SECRET_ACCESS_KEY", "secret"),
            )
        };
        refresh(&format!("{before}{publish}"))?.expect(0)?;
        for file in ["timestamp.json", "1.root.json", "root.json"] {
            let there = fs::read(folder.join("root/tuf").join(file))?;
            ensure!(
                there == fs::read(scene.state.join("published").join(file))?,
                "{file} differs"
            );
        }
        let probed = refresh(&format!("{before}{publish}url = \"{address}/root/tuf\"\n"))?;
        fs::write(&policy, &before)?;
        ensure!(
            probed.code == Some(1) && probed.stderr.contains("is answered with 403"),
            "{}",
            probed.all()
        );
        Ok(())
    });
}

struct Scene<'a> {
    stack: &'a Stack,
    /// Has the second log and the second authority.
    second: Stack,
    state: PathBuf,
    port: u16,
    server: Option<Server>,
    artifact: PathBuf,
    bundle: PathBuf,
}

impl<'a> Scene<'a> {
    /// Three people, an online key, and the services of the stack.
    fn begin(stack: &'a Stack) -> Result<Self> {
        let mut scene = Self {
            stack,
            second: Stack::start()?,
            state: stack.path("trust"),
            port: free_port()?,
            server: None,
            artifact: stack.file(
                "repository.txt",
                "a file whose verifiers trust our repository\n",
            )?,
            bundle: stack.path("repository.sigstore.json"),
        };
        fs::create_dir_all(stack.path("signers"))?;
        let mut arguments = vec!["init".to_owned(), "--threshold".to_owned(), "2".to_owned()];
        for name in ["alice", "bob", "carol"] {
            arguments.extend(["--signer".to_owned(), scene.signer(name)?]);
        }
        let online = scene.private_key("online")?.display().to_string();
        arguments.extend(["--online".to_owned(), online]);
        for (flag, service) in [
            ("--fulcio", "fulcio"),
            ("--ctlog", "ctlog"),
            ("--rekor", "rekor"),
            ("--rekor-v1", "rekor"),
            ("--tsa", "tsa"),
            ("--oidc", "issuer"),
        ] {
            arguments.extend([flag.to_owned(), stack.address(service)?]);
        }
        scene.root(&arguments.iter().map(String::as_str).collect::<Vec<_>>())?;
        // What is signed from here on is within the windows that were written.
        super::ours_sign(stack, &scene.artifact, &scene.bundle)?.expect(0)?;
        scene.state = scene.state.canonicalize()?;
        Ok(scene)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(run::ours("cosign-rs"));
        command
            .args(["root", "--state"])
            .arg(&self.state)
            .args(arguments);
        command
    }

    fn root(&self, arguments: &[&str]) -> Result<()> {
        quiet(&mut self.command(arguments))?.expect(0).map(drop)
    }

    /// Every other one of the keys is Ed25519.
    fn private_key(&self, name: &str) -> Result<PathBuf> {
        let file = self.stack.path("signers").join(format!("{name}.key"));
        if file.is_file() {
            return Ok(file);
        }
        let algorithm: &[&str] = match name.len() % 2 {
            0 => &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
            _ => &["-algorithm", "ED25519"],
        };
        quiet(
            Command::new("openssl")
                .arg("genpkey")
                .args(algorithm)
                .arg("-out")
                .arg(&file),
        )?
        .expect(0)?;
        quiet(Command::new("chmod").arg("600").arg(&file))?.expect(0)?;
        Ok(file)
    }

    /// `NAME=FILE` of a public key.
    fn signer(&self, name: &str) -> Result<String> {
        let private = self.private_key(name)?;
        let public = private.with_extension("pem");
        quiet(
            Command::new("openssl")
                .args(["pkey", "-pubout", "-in"])
                .arg(private)
                .arg("-out")
                .arg(&public),
        )?
        .expect(0)?;
        Ok(format!("{name}={}", public.display()))
    }

    /// Each signer takes the files to a folder of their own and brings them back; then they are merged and published.
    fn sign_and_publish(&self, signers: &[&str]) -> Result<()> {
        for entry in fs::read_dir(self.state.join("staged"))? {
            let file = entry?.path();
            if file.extension().is_none_or(|ending| ending != "json") {
                continue;
            }
            for name in signers {
                let own = self.stack.path("signers").join(format!("{name}.json"));
                let key = self.private_key(name)?;
                let mut sign = Command::new(run::ours("cosign-rs"));
                sign.args(["root", "sign", "--yes", "--key"])
                    .arg(&key)
                    .arg("--out")
                    .arg(&own)
                    .arg(&file);
                let signed = quiet(&mut sign)?;
                // Those who have no part in this role are told so.
                if signed.code == Some(1) && signed.stderr.contains("is no signer of") {
                    continue;
                }
                signed.expect(0)?;
                self.root(&["merge", &own.display().to_string()])?;
            }
        }
        self.root(&["publish"])
    }

    fn serve(&mut self) -> Result<()> {
        if self.server.is_some() {
            return Ok(());
        }
        let listen = format!("localhost:{}", self.port);
        let log = self.stack.path("root-serve.log");
        self.server = Some(Server::start(
            &mut self.command(&["serve", "--listen", &listen]),
            self.port,
            &log,
        )?);
        Ok(())
    }

    fn url(&self) -> String {
        format!("http://localhost:{}", self.port)
    }

    /// Starts the client anew at each root that was ever published.
    fn start_at_every_root(&self, client: Client) -> Result<()> {
        let published = self.state.join("published");
        let roots = (1..)
            .map(|version| published.join(format!("{version}.root.json")))
            .take_while(|file| file.is_file());
        let mut started = 0;
        for root in roots {
            let home = tempfile::tempdir()?;
            let finished = (client.follow)(self, &root, home.path())
                .with_context(|| format!("from {}", root.display()))?;
            finished
                .expect(0)
                .with_context(|| format!("from {}", root.display()))?;
            started += 1;
        }
        ensure!(started > 0, "no root is published");
        Ok(())
    }
}

fn script(program: PathBuf, name: &str) -> Command {
    let mut command = Command::new(program);
    command
        .arg(
            Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("peers")
                .join(name),
        )
        .env("NODE_PATH", install::folder().join("js/node_modules"));
    command
}

fn python_tuf(scene: &Scene<'_>, root: &Path, home: &Path) -> Result<Finished> {
    let python = install::folder().join("python/bin/python");
    quiet(
        script(python, "python-tuf.py")
            .arg(scene.url())
            .arg(root)
            .arg(home.join("cache"))
            .args(TARGETS),
    )
}

fn tuf_js(scene: &Scene<'_>, root: &Path, home: &Path) -> Result<Finished> {
    quiet(
        script("node".into(), "tuf.js")
            .arg("tuf-js")
            .arg(scene.url())
            .arg(root)
            .arg(home.join("cache"))
            .args(TARGETS),
    )
}

fn sigstore_js(scene: &Scene<'_>, root: &Path, home: &Path) -> Result<Finished> {
    quiet(
        script("node".into(), "tuf.js")
            .arg("sigstore-js")
            .arg(scene.url())
            .arg(root)
            .arg(home.join("cache"))
            .args(TARGETS),
    )
}

fn sigstore_python(scene: &Scene<'_>, root: &Path, home: &Path) -> Result<Finished> {
    let stranger = || {
        let mut command = Command::new(python_program());
        command
            .env("HOME", home)
            .env_remove("XDG_DATA_HOME")
            .env_remove("XDG_CACHE_HOME")
            .args(["--instance", &scene.url()]);
        command
    };
    quiet(stranger().arg("trust-instance").arg(root))?.expect(0)?;
    quiet(
        stranger()
            .args([
                "verify",
                "identity",
                "--cert-identity",
                IDENTITY,
                "--cert-oidc-issuer",
                scene.stack.issuer(),
                "--bundle",
            ])
            .arg(&scene.bundle)
            .arg(&scene.artifact),
    )
}

fn gh(scene: &Scene<'_>, root: &Path, home: &Path) -> Result<Finished> {
    let finished = quiet(
        Command::new(install::gh_program())
            .args([
                "attestation",
                "trusted-root",
                "--tuf-url",
                &scene.url(),
                "--tuf-root",
            ])
            .arg(root)
            .env("HOME", home)
            .env_remove("XDG_CACHE_HOME"),
    )?;
    ensure!(
        finished.code != Some(0) || finished.stdout.contains("trustedroot"),
        "no trusted root:\n{}",
        finished.all()
    );
    Ok(finished)
}

fn cosign_at(home: &Path) -> Command {
    let mut command = Command::new(cosign_program());
    command.env("HOME", home).env_remove("TUF_ROOT");
    command
}

fn cosign(scene: &Scene<'_>, root: &Path, home: &Path) -> Result<Finished> {
    quiet(
        cosign_at(home)
            .args(["initialize", "--mirror", &scene.url(), "--root"])
            .arg(root),
    )?
    .expect(0)?;
    quiet(
        cosign_at(home)
            .arg("verify-blob")
            .args(scene.stack.expect(IDENTITY))
            .arg("--bundle")
            .arg(&scene.bundle)
            .arg(&scene.artifact),
    )
}

/// Signs with the services that the repository names, and verifies what comes out.
fn cosign_signs(scene: &Scene<'_>) -> Result<()> {
    let home = tempfile::tempdir()?;
    let root = scene.state.join("published/1.root.json");
    cosign(scene, &root, home.path())?.expect(0)?;
    let bundle = scene.stack.path("repository-cosign.sigstore.json");
    quiet(
        cosign_at(home.path())
            .args([
                "sign-blob",
                "--yes",
                "--identity-token",
                &scene.stack.token()?,
                "--bundle",
            ])
            .arg(&bundle)
            .arg(&scene.artifact),
    )?
    .expect(0)?;
    let verify = |identity: &str| {
        quiet(
            cosign_at(home.path())
                .arg("verify-blob")
                .args(scene.stack.expect(identity))
                .arg("--bundle")
                .arg(&bundle)
                .arg(&scene.artifact),
        )
    };
    verify(IDENTITY)?.expect(0)?;
    super::refused(&verify("mallory@example.com")?)
}
