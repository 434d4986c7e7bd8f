//! The drill for the day on which the online key is stolen. A thief signs snapshots and timestamps far ahead of ours, and stands between us and our
//! clients; we exchange the key; clients come again.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::clients::{Client, Visit};
use super::{DRILL, Scene, change, follow, side_by_side};
use crate::peers::refused;
use crate::report::Report;
use crate::run::{Finished, quiet};

/// How far ahead of ours the thief's versions are.
const AHEAD: u64 = 1_000_000;

/// Clients that were robbed before the exchange, the exchange, and what each client makes of either side after it. Whether the key is exchanged.
pub(super) fn check(report: &mut Report, scene: &mut Scene<'_>, clients: &[Client]) -> bool {
    let mut theft = None;
    report.check(
        "a thief signs snapshot and timestamp with the online key",
        || {
            theft = Some(Theft::of(scene)?);
            Ok(())
        },
    );
    let Some(theft) = theft else {
        return false;
    };
    let mut victims = Vec::new();
    for (client, outcome) in side_by_side(clients.iter(), |client| {
        Victim::robbed(scene, **client, &theft)
    }) {
        let title = format!(
            "{} believes the thief, and takes our versions for a rollback",
            client.name
        );
        report.check(&title, || {
            victims.push(outcome?);
            Ok(())
        });
    }
    if !change(report, scene, &DRILL) {
        return false;
    }
    follow(report, scene, &DRILL, clients);
    let goes_on = match theft.goes_on(scene) {
        Ok(folder) => folder,
        Err(error) => {
            report.check("the thief goes on", || bail!(error));
            return true;
        }
    };
    for (victim, outcome) in side_by_side(victims.iter(), |victim| {
        victim.after(scene, &theft, &goes_on)
    }) {
        let title = format!(
            "{} recovers by the new root, and refuses what the thief signs from then on",
            victim.client.name
        );
        report.check(&title, || outcome);
    }
    true
}

/// What the thief took, and what they make of it.
struct Theft {
    key: PathBuf,
    key_id: String,
    /// The repository as it was, with the thief's snapshot and timestamp.
    before: PathBuf,
}

/// One client, and the way by which it reaches us or the thief.
struct Victim {
    client: Client,
    home: TempDir,
    door: Door,
    root: PathBuf,
}

impl Theft {
    /// The thief has the key, and what everybody has.
    fn of(scene: &Scene<'_>) -> Result<Self> {
        let published = scene.state.join("published");
        let root: Value = serde_json::from_slice(&fs::read(published.join("root.json"))?)?;
        let key_id = root
            .pointer("/signed/roles/timestamp/keyids/0")
            .and_then(Value::as_str)
            .context("no key of timestamp")?;
        let theft = Self {
            key: scene.private_key("online")?,
            key_id: key_id.to_owned(),
            before: scene.stack.path("thief-before"),
        };
        theft.forge(&published, &theft.before, AHEAD)?;
        Ok(theft)
    }

    /// A copy of `published` whose snapshot and timestamp are the thief's, each so many versions ahead.
    fn forge(&self, published: &Path, copy: &Path, ahead: u64) -> Result<()> {
        quiet(Command::new("cp").arg("-r").arg(published).arg(copy))?.expect(0)?;
        let timestamp = signed(&copy.join("timestamp.json"))?;
        let version = version(&timestamp, "/meta/snapshot.json/version")?;
        let snapshot = signed(&copy.join(format!("{version}.snapshot.json")))?;
        let next = version.saturating_add(ahead);
        self.write(copy, &format!("{next}.snapshot.json"), snapshot, next)?;
        let next_timestamp = self::version(&timestamp, "/version")?.saturating_add(ahead);
        let mut timestamp = timestamp;
        *timestamp
            .pointer_mut("/meta/snapshot.json")
            .context("no snapshot")? = json!({ "version": next });
        self.write(copy, "timestamp.json", timestamp, next_timestamp)
    }

    fn write(&self, folder: &Path, name: &str, mut signed: Value, version: u64) -> Result<()> {
        *signed.get_mut("version").context("no version")? = version.into();
        // Members in order and no space: the canonical form of what has neither fractions nor control characters.
        let message = folder.join("message");
        fs::write(&message, serde_json::to_string(&signed)?)?;
        let signature = folder.join("signature");
        quiet(
            Command::new("openssl")
                .args(["dgst", "-sha256", "-sign"])
                .arg(&self.key)
                .arg("-out")
                .arg(&signature)
                .arg(&message),
        )?
        .expect(0)?;
        let mut hex = String::new();
        for byte in fs::read(&signature)? {
            write!(hex, "{byte:02x}")?;
        }
        let metadata =
            json!({ "signatures": [{ "keyid": self.key_id, "sig": hex }], "signed": signed });
        fs::write(folder.join(name), serde_json::to_vec(&metadata)?)?;
        Ok(())
    }

    /// After the exchange the thief still has the key, and gives out the new root too, because clients ask for it.
    fn goes_on(&self, scene: &Scene<'_>) -> Result<PathBuf> {
        let copy = scene.stack.path("thief-after");
        self.forge(&scene.state.join("published"), &copy, 2 * AHEAD)?;
        Ok(copy)
    }
}

fn signed(file: &Path) -> Result<Value> {
    let mut metadata: Value =
        serde_json::from_slice(&fs::read(file).with_context(|| file.display().to_string())?)?;
    Ok(metadata.get_mut("signed").context("no signed")?.take())
}

fn version(signed: &Value, pointer: &str) -> Result<u64> {
    let version = signed.pointer(pointer).and_then(Value::as_u64);
    version.with_context(|| format!("no {pointer}"))
}

impl Victim {
    /// Comes for the first time while the thief stands in the way, and cannot know; then our own versions are a rollback to it.
    fn robbed(scene: &Scene<'_>, client: Client, theft: &Theft) -> Result<Self> {
        let victim = Self {
            client,
            home: tempfile::tempdir()?,
            door: Door::to(&theft.before)?,
            root: scene.state.join("published/1.root.json"),
        };
        victim
            .visit(scene, victim.home.path(), true)?
            .expect(0)
            .context("the thief's repository, as good as ours")?;
        victim.door.leads_to(&scene.state.join("published"));
        is_refused(&victim.visit(scene, victim.home.path(), false)?, ROLLBACK)
            .context("our repository, far behind the thief's")?;
        Ok(victim)
    }

    fn visit(&self, scene: &Scene<'_>, home: &Path, first: bool) -> Result<Finished> {
        self.visit_from(scene, &self.root, home, first)
    }

    fn visit_from(
        &self,
        scene: &Scene<'_>,
        root: &Path,
        home: &Path,
        first: bool,
    ) -> Result<Finished> {
        (self.client.follow)(&Visit {
            scene,
            url: &self.door.url,
            root,
            home,
            first,
        })
    }

    /// The key is exchanged.
    fn after(&self, scene: &Scene<'_>, theft: &Theft, goes_on: &Path) -> Result<()> {
        let ours = scene.state.join("published");
        let home = self.home.path();
        self.door.leads_to(&ours);
        self.visit(scene, home, false)?
            .expect(0)
            .context("recovers by the new root")?;
        self.door.leads_to(&theft.before);
        let newest = scene.roots().pop().context("no root is published")?;
        // One that keeps no root is given the one that it saw.
        let root = if self.client.keeps_root {
            &self.root
        } else {
            &newest
        };
        is_refused(&self.visit_from(scene, root, home, false)?, UNSIGNED)
            .context("the thief's repository without the new root")?;
        self.door.leads_to(goes_on);
        is_refused(&self.visit(scene, home, false)?, UNSIGNED)
            .context("the thief's repository with the new root")?;
        let newcomer = tempfile::tempdir()?;
        is_refused(&self.visit(scene, newcomer.path(), true)?, UNSIGNED)
            .context("the thief's repository with the new root, for one who was never here")?;
        self.door.leads_to(&ours);
        self.visit(scene, home, false)?
            .expect(0)
            .context("our repository again")?;
        Ok(())
    }
}

/// What clients say to a timestamp that is older than the one they have.
const ROLLBACK: [&str; 3] = ["must be >=", "is less than current version", "a rollback"];

/// And to one that nobody signed whom the root names.
const UNSIGNED: [&str; 3] = [
    "not enough signatures, got 0",
    "timestamp was signed by 0/1 keys",
    "0 of the 1 signatures",
];

fn is_refused(finished: &Finished, words: [&str; 3]) -> Result<()> {
    refused(finished)?;
    // Without the line breaks and the margins that some of them make.
    let said: Vec<&str> = finished.stderr.split_whitespace().collect();
    let said = said.join(" ");
    ensure!(
        words.iter().any(|words| said.contains(words)),
        "refused, but not with one of {words:?}:\n{}",
        finished.all()
    );
    Ok(())
}

/// Where a client looks for our repository; what it finds there is whose folder the door leads to.
struct Door {
    url: String,
    folder: Arc<Mutex<PathBuf>>,
    closed: Arc<AtomicBool>,
    address: std::net::SocketAddr,
}

impl Door {
    fn to(folder: &Path) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let door = Self {
            url: format!("http://localhost:{}", address.port()),
            folder: Arc::new(Mutex::new(folder.to_owned())),
            closed: Arc::new(AtomicBool::new(false)),
            address,
        };
        let (folder, closed) = (door.folder.clone(), door.closed.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if closed.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(stream) = stream else {
                    continue;
                };
                let folder = folder.clone();
                std::thread::spawn(move || {
                    let folder = folder
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .clone();
                    // A client that went away is its own concern.
                    let _ = answer(&stream, &folder);
                });
            }
        });
        Ok(door)
    }

    fn leads_to(&self, folder: &Path) {
        let mut leads_to = self.folder.lock().unwrap_or_else(PoisonError::into_inner);
        folder.clone_into(&mut leads_to);
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.closed.store(true, Ordering::Relaxed);
        // Wakes the thread that waits for clients.
        let _ = TcpStream::connect(self.address);
    }
}

fn answer(mut stream: &TcpStream, folder: &Path) -> Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut lines = BufReader::new(stream.take(16_384));
    let mut request = String::new();
    lines.read_line(&mut request)?;
    let mut line = String::new();
    while lines.read_line(&mut line)? > 2 {
        line.clear();
    }
    let path = request.split(' ').nth(1).unwrap_or_default();
    let path = path.trim_start_matches('/');
    ensure!(!path.contains(".."), "no file {path}");
    let (status, content) = match fs::read(folder.join(path)) {
        Ok(content) => ("200 OK", content),
        Err(_) => ("404 Not Found", Vec::new()),
    };
    let length = content.len();
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    )?;
    stream.write_all(&content)?;
    Ok(())
}
