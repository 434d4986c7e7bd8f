//! A trust root of our own, made and changed with `cosign-rs root` as its documents say, and every client that we know of reading it: after each
//! change, and from each root that there ever was. cosign signs each time with what it learned there, and what was signed before stays good. At the
//! end the online key is stolen.

mod clients;
mod drill;
mod signing;

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;
use std::thread;

use anyhow::{Context as _, Result, bail, ensure};

use super::present;
use super::stack::{Server, Stack, free_port};
use super::upstream::VERSITYGW;
use crate::report::Report;
use crate::run::{self, quiet};
use clients::{CLIENTS, Client, Visit};
use signing::{Signed, Turn};

/// The commands of a change.
type Change = fn(&Scene<'_>) -> Result<()>;

/// A change, and whose turn it then is to sign.
struct Step {
    name: &'static str,
    change: Change,
    turn: Turn,
    /// The metadata is of no new kind, and only those who sign see a difference.
    for_signers: bool,
}

impl Step {
    const fn new(name: &'static str, turn: Turn, change: Change) -> Self {
        Self {
            name,
            change,
            turn,
            for_signers: false,
        }
    }

    const fn for_signers(self) -> Self {
        Self {
            for_signers: true,
            ..self
        }
    }
}

/// Changes, each with its commands.
const STEPS: [Step; 11] = [
    Step::new("init", Turn::First, |scene| {
        scene.sign_and_publish(&["alice", "bob"])
    }),
    Step::new("a timestamp refresh", Turn::First, |scene| {
        scene.root(&["refresh", "--force"])
    }),
    Step::new("the rotation of one root key", Turn::First, |scene| {
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
    Step::new("the rotation of all root keys", Turn::First, |scene| {
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
    Step::new("a higher threshold", Turn::First, |scene| {
        scene.root(&["rotate", "root,targets", "--threshold", "3"])?;
        scene.sign_and_publish(&["grace", "frank", "erin"])
    }),
    Step::new("a lower threshold", Turn::First, |scene| {
        scene.root(&["rotate", "root,targets", "--threshold", "2"])?;
        scene.sign_and_publish(&["erin", "grace", "frank"])
    }),
    Step::new("a new log shard", Turn::First, |scene| {
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
    Step::new("the begin of the new log shard", Turn::SecondLog, |scene| {
        scene.begin_now("rekorTlogUrls")?;
        scene.sign_and_publish(&["erin", "grace"])
    })
    .for_signers(),
    Step::new("a new certificate authority", Turn::SecondLog, |scene| {
        scene.root(&["add-ca", &scene.second.address("fulcio")?])?;
        scene.root(&["add-log", "ctlog", &scene.second.address("ctlog")?])?;
        scene.sign_and_publish(&["erin", "grace"])
    }),
    Step::new(
        "the begin of the new certificate authority",
        Turn::Second,
        |scene| {
            scene.begin_now("caUrls")?;
            scene.sign_and_publish(&["erin", "grace"])
        },
    )
    .for_signers(),
    Step::new(
        "the end of the old log and authority",
        Turn::Second,
        |scene| {
            let rekor = scene.stack.address("rekor")?;
            // It is there in both versions of its protocol.
            scene.root(&["retire", "rekor", &rekor])?;
            scene.root(&["retire", "rekor", &rekor])?;
            scene.root(&["retire", "fulcio", &scene.stack.address("fulcio")?])?;
            scene.root(&["retire", "ctlog", &scene.stack.address("ctlog")?])?;
            scene.sign_and_publish(&["erin", "grace"])
        },
    )
    .for_signers(),
];

/// Its clients have a past; see [`drill`].
const DRILL: Step = Step::new(
    "the exchange of a stolen online key",
    Turn::Second,
    |scene| {
        let key = scene.private_key("online2")?;
        scene.root(&["rotate", "online", "--key", &key.display().to_string()])?;
        scene.sign_and_publish(&["erin", "grace"])?;
        scene.root(&["refresh", "--force"])
    },
);

/// The client that signs too.
const SIGNER: &str = "cosign";

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
    for step in &STEPS {
        if !change(report, &mut scene, step) {
            return Ok(());
        }
        follow(report, &scene, step, &clients);
    }
    if !drill::check(report, &mut scene, &clients) {
        return Ok(());
    }
    bucket(report, &scene);
    report.check("cosign-rs root status has nothing to do at the end", || {
        quiet(&mut scene.command(&["status", "--output", "json"]))?.expect(0)?;
        Ok(())
    });
    Ok(())
}

/// Makes a change; whether it is made.
fn change(report: &mut Report, scene: &mut Scene<'_>, step: &Step) -> bool {
    let mut changed = false;
    report.check(&format!("cosign-rs root: {}", step.name), || {
        (step.change)(scene)?;
        scene.serve()?;
        changed = true;
        Ok(())
    });
    changed
}

/// All clients after a change.
fn follow(report: &mut Report, scene: &Scene<'_>, step: &Step, clients: &[Client]) {
    let name = step.name;
    let signs = |client: &Client| client.name == SIGNER;
    let clients = clients
        .iter()
        .filter(|client| signs(client) || !step.for_signers);
    let outcomes = side_by_side(clients, |client| {
        scene.start_at_every_root(**client, signs(client).then_some(step.turn))
    });
    for (client, outcome) in outcomes {
        let does = if signs(client) {
            "reads our repository, signs and verifies by it,"
        } else {
            "reads our repository"
        };
        report.check(
            &format!(
                "{} {does} after {name}, from every earlier root",
                client.name
            ),
            || outcome,
        );
    }
}

/// Does the same for each of them, in a thread of its own.
fn side_by_side<T: Sync, R: Send>(
    each: impl Iterator<Item = T>,
    work: impl Fn(&T) -> Result<R> + Sync,
) -> Vec<(T, Result<R>)> {
    let each: Vec<T> = each.collect();
    let results: Vec<Result<R>> = thread::scope(|threads| {
        let work = &work;
        let running: Vec<_> = each
            .iter()
            .map(|one| threads.spawn(move || work(one)))
            .collect();
        running
            .into_iter()
            .map(|thread| {
                thread
                    .join()
                    .unwrap_or_else(|_| bail!("the check itself ended"))
            })
            .collect()
    });
    each.into_iter().zip(results).collect()
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
    /// Signed by cosign-rs before there was a repository.
    bundle: PathBuf,
    /// What cosign signed, a signature after each change.
    signed: Mutex<Vec<Signed>>,
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
            signed: Mutex::default(),
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

    /// All that were ever published, the newest last.
    fn roots(&self) -> Vec<PathBuf> {
        let published = self.state.join("published");
        (1..=1_000)
            .map(|version| published.join(format!("{version}.root.json")))
            .take_while(|file| file.is_file())
            .collect()
    }

    /// Starts the client anew at each root that was ever published. One that signs does so each time, by the services whose turn it is.
    fn start_at_every_root(&self, client: Client, turn: Option<Turn>) -> Result<()> {
        let roots = self.roots();
        ensure!(!roots.is_empty(), "no root is published");
        let newest = roots.last().cloned();
        let start = |root: &PathBuf| {
            let home = tempfile::tempdir()?;
            let visit = Visit {
                scene: self,
                url: &self.url(),
                root,
                home: home.path(),
                first: true,
            };
            (client.follow)(&visit)?.expect(0)?;
            if let Some(turn) = turn {
                let signed = signing::sign(&visit, turn)?;
                if Some(root) == newest.as_ref() {
                    signing::keep(&visit, signed, turn)?;
                }
            }
            Ok(())
        };
        let outcomes = if client.waits {
            side_by_side(roots.into_iter(), start)
        } else {
            let each = roots.into_iter();
            each.map(|root| (start(&root), root))
                .map(|(outcome, root)| (root, outcome))
                .collect()
        };
        for (root, outcome) in outcomes {
            outcome.with_context(|| format!("from {}", root.display()))?;
        }
        Ok(())
    }
}
