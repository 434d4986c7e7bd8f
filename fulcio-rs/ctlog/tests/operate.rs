//! The program as an operator uses it: processes, signals and files.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs,
    reason = "a panic is a test's report"
)]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use common::Ca;
use ct::{AddChainReply, AddChainRequest, Sct, parse_leaf_index};
use keys::PublicKey;
use note::VerifierKey;
use pki::Certificate;
use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_ctlog-rs");
const PATIENCE: Duration = Duration::from_mins(1);

fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(PROGRAM).args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

fn works(arguments: &[&str]) -> String {
    let (code, out, said) = run(arguments);
    assert_eq!(code, Some(0), "{arguments:?}: {said}");
    out
}

fn fails(arguments: &[&str]) -> String {
    let (code, out, said) = run(arguments);
    assert_eq!(code, Some(1), "{arguments:?}: {out}");
    said
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// A log made by `init`, in a folder of its own.
struct Site {
    folder: tempfile::TempDir,
    port: u16,
    ca: Ca,
}

impl Site {
    fn init(more: &[&str]) -> Self {
        let site = Self {
            folder: tempfile::tempdir().unwrap(),
            port: free_port(),
            ca: Ca::new(),
        };
        fs::write(site.path("ca.pem"), site.ca.chain[1].to_pem()).unwrap();
        let (url, listen) = (site.url("1"), format!("localhost:{}", site.port));
        let (home, roots) = (site.text("."), site.text("ca.pem"));
        let mut arguments = vec![
            "init", "--url", &url, "--folder", &home, "--listen", &listen,
        ];
        arguments.extend(["--roots", &roots]);
        arguments.extend(more);
        let said = works(&arguments);
        assert!(said.contains("tested      the log was opened"), "{said}");
        site
    }

    fn url(&self, name: &str) -> String {
        format!("http://localhost:{}/{name}", self.port)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    fn settings(&self) -> String {
        self.text("ctlog-rs.toml")
    }

    fn key(&self, name: &str) -> PublicKey {
        let file = format!("keys/localhost_{}_{name}.pub.pem", self.port);
        PublicKey::from_pem(&fs::read_to_string(self.path(&file)).unwrap()).unwrap()
    }

    fn verifier(&self, name: &str) -> VerifierKey {
        VerifierKey::rfc6962(&format!("localhost:{}/{name}", self.port), self.key(name)).unwrap()
    }

    fn serve(&self) -> Service {
        let child = Command::new(PROGRAM)
            .args(["--config", &self.settings()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let service = Service {
            child,
            port: self.port,
        };
        service.until("/healthz", |status, _| status == 200);
        service
    }
}

struct Service {
    child: Child,
    port: u16,
}

impl Service {
    fn ask(&self, method: &str, path: &str, body: &str) -> Option<(u16, String)> {
        ask(self.port, method, path, body)
    }

    fn get(&self, path: &str) -> (u16, String) {
        self.ask("GET", path, "").unwrap()
    }

    fn until(&self, path: &str, good: impl Fn(u16, &str) -> bool) -> String {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            if let Some((status, body)) = self.ask("GET", path, "")
                && good(status, &body)
            {
                return body;
            }
            std::thread::yield_now();
        }
        panic!("{path} of port {} is not as it should be", self.port)
    }

    fn add(&self, log: &str, chain: &[Certificate]) -> Result<Sct, (u16, String)> {
        add(self.port, log, chain).expect("an answer")
    }

    fn stop(mut self) {
        let id = self.child.id().to_string();
        Command::new("kill").args(["-TERM", &id]).status().unwrap();
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn ask(port: u16, method: &str, path: &str, body: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).ok()?;
    stream.write_all(body.as_bytes()).ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.split(' ').nth(1)?.parse().ok()?;
    let (_, body) = answer.split_once("\r\n\r\n")?;
    Some((status, body.to_owned()))
}

fn add(port: u16, log: &str, chain: &[Certificate]) -> Option<Result<Sct, (u16, String)>> {
    let chain = chain.iter().map(|certificate| certificate.der().into());
    let request = AddChainRequest {
        chain: chain.collect(),
    };
    let body = serde_json::to_string(&request).unwrap();
    let (status, said) = ask(port, "POST", &format!("/{log}/ct/v1/add-pre-chain"), &body)?;
    if status != 200 {
        return Some(Err((status, said)));
    }
    // A process that was killed may have said half of it.
    let reply: AddChainReply = serde_json::from_str(&said).ok()?;
    Some(Ok(reply.sct().unwrap()))
}

fn place(sct: &Sct) -> (u64, u64) {
    let index = parse_leaf_index(&sct.extensions).unwrap().unwrap();
    (index, sct.timestamp_ms)
}

#[test]
fn a_new_log_is_whole_and_not_made_twice() {
    let site = Site::init(&[]);
    let root: Value =
        serde_json::from_str(&fs::read_to_string(site.path("trusted_root.fragment.json")).unwrap())
            .unwrap();
    let log = &root["ctlogs"][0];
    assert_eq!(log["baseUrl"], site.url("1"));
    let id = wire::encoding::Bytes::encode(&site.key("1").key_id());
    assert_eq!(log["logId"]["keyId"], id);
    assert_eq!(log["publicKey"]["keyDetails"], "PKIX_ECDSA_P256_SHA_256");
    let (url, home, roots) = (site.url("1"), site.text("."), site.text("ca.pem"));
    let again = fails(&["init", "--url", &url, "--folder", &home, "--roots", &roots]);
    assert!(again.contains("has a log already"), "{again}");
    let odd = fails(&[
        "init",
        "--url",
        "ftp://h/1",
        "--folder",
        "/nowhere",
        "--roots",
        &roots,
    ]);
    assert!(odd.contains("expected http or https"), "{odd}");

    let service = site.serve();
    assert_eq!(service.get("/readyz"), (200, "ready\n".to_owned()));
    let chain = site.ca.submission(1);
    assert_eq!(place(&service.add("1", &chain).unwrap()).0, 0);
    let checkpoint = service.get("/1/checkpoint").1;
    note::open(checkpoint.as_bytes(), &[site.verifier("1")]).unwrap();
    let busy = fails(&["fsck", "--config", &site.settings()]);
    assert!(busy.contains("another process uses"), "{busy}");
    let figures = service.get("/metrics").1;
    for line in ["ctlog_new_entries 1", "ctlog_submissions{result=\"OK\"} 1"] {
        assert!(figures.contains(line), "{line}: {figures}");
    }
    assert!(figures.contains("http_rsps{"), "{figures}");
    service.stop();
    let report = works(&["fsck", "--config", &site.settings()]);
    assert!(
        report.contains("entries    1\n") && report.contains("issuers    2\n"),
        "{report}"
    );
    // A certificate that a leaf names is a part of the log.
    let name = hex::encode(keys::sha256(site.ca.chain[0].der()));
    let issuers = format!("localhost_{}_1/issuers/{name}", site.port);
    fs::remove_file(site.path(&issuers)).unwrap();
    let missing = fails(&["fsck", "--config", &site.settings()]);
    assert!(missing.contains("is missing"), "{missing}");
}

/// A year in the life of a log: the next shard begins while clients write, the old one takes what is its, and is frozen.
#[test]
fn logs_are_rotated_and_frozen() {
    let site = Site::init(&["--not-after-limit", "2026-11-23T12:10:01Z"]);
    let service = site.serve();
    let leaf = |end: &str, number: u32| {
        let mut leaf = Ca::leaf(number);
        leaf.not_after = end.parse().unwrap();
        let precertificate = site.ca.precertificate_of(leaf);
        [&[precertificate][..], &site.ca.chain].concat()
    };
    let (early, late) = ("2026-11-23T12:10:00Z", "2026-11-23T12:10:01Z");
    service.add("1", &leaf(early, 1)).unwrap();
    let (status, said) = service.add("1", &leaf(late, 2)).unwrap_err();
    assert_eq!(status, 400);
    assert!(said.contains("NOT_AFTER_OUTSIDE_WINDOW"), "{said}");

    let next = site.url("2");
    let said = works(&[
        "rotate",
        "--config",
        &site.settings(),
        "--url",
        &next,
        "--not-after-start",
        late,
    ]);
    assert!(said.contains("service     has the new log"), "{said}");
    let id = wire::encoding::Bytes::encode(&site.key("2").key_id());
    assert!(said.contains(&id), "{said}");
    let twice = fails(&["rotate", "--config", &site.settings(), "--url", &next]);
    assert!(twice.contains("already"), "{twice}");
    // Each takes its own, with a key and a tree of its own.
    assert_eq!(place(&service.add("2", &leaf(late, 2)).unwrap()).0, 0);
    assert_eq!(place(&service.add("1", &leaf(early, 3)).unwrap()).0, 1);
    assert_eq!(service.add("2", &leaf(early, 4)).unwrap_err().0, 400);
    for (name, size) in [("1", 2), ("2", 1)] {
        let checkpoint = service.get(&format!("/{name}/checkpoint")).1;
        let opened = note::open(checkpoint.as_bytes(), &[site.verifier(name)]).unwrap();
        assert_eq!(opened.head().size.get(), size);
    }
    // The first one is still where its clients found it; the second one is not in its way.
    assert!(service.get("/checkpoint").1.contains("/1\n"));
    let running = fails(&[
        "freeze",
        "--config",
        &site.settings(),
        "--url",
        &site.url("1"),
    ]);
    assert!(running.contains("another process uses"), "{running}");
    service.stop();

    let which = fails(&["freeze", "--config", &site.settings()]);
    assert!(which.contains("say which one"), "{which}");
    let last = works(&[
        "freeze",
        "--config",
        &site.settings(),
        "--url",
        &site.url("1"),
    ]);
    let opened = note::open(last.as_bytes(), &[site.verifier("1")]).unwrap();
    assert_eq!(opened.head().size.get(), 2);
    assert!(opened.checkpoint().extensions.is_empty(), "static-ct-api");
    let service = site.serve();
    let (status, said) = service.add("1", &leaf(early, 1)).unwrap_err();
    assert_eq!(status, 410, "{said}");
    assert!(said.contains("LOG_FROZEN"), "{said}");
    assert_eq!(service.get("/1/checkpoint"), (200, last));
    let head: Value = serde_json::from_str(&service.get("/1/ct/v1/get-sth").1).unwrap();
    assert_eq!(head["tree_size"], 2);
    assert_eq!(service.get("/readyz").0, 200, "the other one takes entries");
    assert_eq!(place(&service.add("2", &leaf(late, 5)).unwrap()).0, 1);
    service.stop();
    let report = works(&["fsck", "--config", &site.settings()]);
    assert_eq!(report.matches("sound:").count(), 2, "{report}");
}

#[test]
fn a_copy_brings_a_log_back_and_begins_no_second_history() {
    let site = Site::init(&[]);
    let service = site.serve();
    let scts: Vec<Sct> = (0..300)
        .map(|number| service.add("1", &site.ca.submission(number)).unwrap())
        .collect();
    // While it runs.
    let copy = site.text("copy");
    let said = works(&["backup", "--config", &site.settings(), "--to", &copy]);
    assert!(said.contains("entries    300\n"), "{said}");
    let checkpoint = service.get("/1/checkpoint").1;
    service.stop();
    let there = fails(&["restore", "--config", &site.settings(), "--from", &copy]);
    assert!(there.contains("is not empty"), "{there}");
    let name = format!("localhost_{}_1", site.port);
    fs::rename(site.path(&name), site.path("old")).unwrap();
    let said = works(&["restore", "--config", &site.settings(), "--from", &copy]);
    assert!(said.contains("restored"), "{said}");
    let service = site.serve();
    assert_eq!(service.get("/1/checkpoint").1, checkpoint);
    let again = service.add("1", &site.ca.submission(7));
    // Other keys in it, so another leaf: it is new.
    assert_eq!(place(&again.unwrap()).0, 300);
    let entries = service.get("/1/ct/v1/get-entries?start=299&end=299");
    assert_eq!(entries.0, 200, "{}", entries.1);
    assert_eq!(scts.len(), 300);
    service.stop();
    // The log has given out a checkpoint that the copy does not reach.
    fs::rename(site.path(&name), site.path("newer")).unwrap();
    let behind = fails(&["restore", "--config", &site.settings(), "--from", &copy]);
    assert!(behind.contains("second history"), "{behind}");
}

/// `kill -9` under load, several times: nothing acknowledged is lost, replays get the same SCT, and every issuer is there.
#[test]
fn nothing_acknowledged_is_lost_when_it_is_killed() {
    let site = Arc::new(Site::init(&[]));
    let chains: Arc<Vec<_>> = Arc::new((0..400).map(|number| site.ca.submission(number)).collect());
    let mut acknowledged: BTreeMap<u32, (u64, u64)> = BTreeMap::new();
    let next = Arc::new(AtomicU32::new(0));
    for round in 1..=3_u32 {
        let mut service = site.serve();
        let port = service.port;
        let lanes: Vec<_> = (0..8)
            .map(|_| {
                let (chains, next) = (chains.clone(), next.clone());
                std::thread::spawn(move || {
                    let mut heard = Vec::new();
                    loop {
                        let number = next.fetch_add(1, Ordering::SeqCst);
                        let Some(chain) = chains.get(usize::try_from(number).unwrap()) else {
                            return heard;
                        };
                        match add(port, "1", chain) {
                            Some(Ok(sct)) => heard.push((number, place(&sct))),
                            Some(Err(refused)) => panic!("{refused:?}"),
                            None => return heard,
                        }
                    }
                })
            })
            .collect();
        while next.load(Ordering::SeqCst) < round * 100 {
            std::thread::yield_now();
        }
        service.child.kill().unwrap();
        service.child.wait().unwrap();
        for lane in lanes {
            for (number, place) in lane.join().unwrap() {
                assert_eq!(acknowledged.insert(number, place), None);
            }
        }
        let report = works(&["fsck", "--config", &site.settings()]);
        assert!(report.contains("issuers    2\n"), "{report}");
    }
    assert!(acknowledged.len() > 200, "{}", acknowledged.len());
    let mut places: Vec<u64> = acknowledged.values().map(|(index, _)| *index).collect();
    places.sort_unstable();
    places.dedup();
    assert_eq!(places.len(), acknowledged.len(), "no place was given twice");
    let service = site.serve();
    for (number, before) in &acknowledged {
        let sct = service.add("1", &chains[usize::try_from(*number).unwrap()]);
        assert_eq!(place(&sct.unwrap()), *before);
    }
    service.stop();
}

/// New roots are taken while it runs; what cannot be read takes none away.
#[test]
fn roots_are_taken_up_and_never_lost_while_it_runs() {
    let site = Site::init(&[]);
    let other = Ca::new();
    let service = site.serve();
    let theirs = other.submission(1);
    assert_eq!(service.add("1", &theirs).unwrap_err().0, 400);
    let both = format!(
        "{}\n# another\n{}",
        site.ca.chain[1].to_pem(),
        other.chain[1].to_pem()
    );
    // As Kubernetes does it: the name becomes a link to another file.
    fs::write(site.path("both.pem"), both).unwrap();
    std::os::unix::fs::symlink("both.pem", site.path("link")).unwrap();
    fs::rename(site.path("link"), site.path("roots.pem")).unwrap();
    let root = wire::encoding::Bytes::encode(other.chain[1].der());
    service.until("/1/ct/v1/get-roots", |_, body| body.contains(&root));
    service.add("1", &theirs).unwrap();
    for text in ["", "garbage", "-----BEGIN CERTIFICATE-----\nAAAA"] {
        fs::write(site.path("both.pem"), text).unwrap();
    }
    let third = Ca::new();
    fs::write(site.path("both.pem"), third.chain[1].to_pem()).unwrap();
    let root = wire::encoding::Bytes::encode(third.chain[1].der());
    service.until("/1/ct/v1/get-roots", |_, body| body.contains(&root));
    // The first ones are gone from the file, and the log still serves theirs.
    service.add("1", &other.submission(2)).unwrap();
    service.add("1", &site.ca.submission(3)).unwrap();
    service.stop();
    let service = site.serve();
    assert_eq!(service.add("1", &other.submission(4)).unwrap_err().0, 400);
    service.add("1", &third.submission(5)).unwrap();
    service.stop();
}

/// A CA that answers whatever the test says: the roots of its trust bundle are the log's.
#[test]
fn the_trust_bundle_of_a_ca_is_believed_as_a_whole_or_not_at_all() {
    use std::sync::Mutex;
    let (first, second) = (Ca::new(), Ca::new());
    let bundle = |cas: &[&Ca]| {
        let chains = cas.iter().map(|ca| {
            let pems: Vec<String> = ca.chain.iter().map(Certificate::to_pem).collect();
            serde_json::json!({ "certificates": pems })
        });
        serde_json::json!({ "chains": chains.collect::<Vec<_>>() }).to_string()
    };
    let mut broken: Value = serde_json::from_str(&bundle(&[&first, &second])).unwrap();
    broken["chains"][1]["certificates"][1] = first.chain[1].to_pem().into();
    let answer = Arc::new(Mutex::new("{\"chains\":[]}".to_owned()));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let ca_port = listener.local_addr().unwrap().port();
    let said = answer.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut head = [0; 4096];
            let read = stream.read(&mut head).unwrap();
            assert!(head[..read].starts_with(b"GET /api/v2/trustBundle "));
            let body = said.lock().unwrap().clone();
            let length = body.len();
            let _ = write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
            );
        }
    });
    let site = Site::init(&[]);
    let text = fs::read_to_string(site.settings()).unwrap();
    let source = format!("trust_bundle = \"http://localhost:{ca_port}\"\ntrust_bundle_seconds = 5");
    fs::write(
        site.settings(),
        text.replace("roots = \"roots.pem\"", &source),
    )
    .unwrap();
    let service = site.serve();
    assert_eq!(service.get("/readyz"), (503, "no roots yet\n".to_owned()));
    let set = |text: String| *answer.lock().unwrap() = text;
    set(broken.to_string());
    assert_eq!(service.add("1", &first.submission(1)).unwrap_err().0, 400);
    set(bundle(&[&first]));
    service.until("/readyz", |status, _| status == 200);
    service.add("1", &first.submission(1)).unwrap();
    assert_eq!(service.add("1", &second.submission(1)).unwrap_err().0, 400);
    set(bundle(&[&first, &second]));
    let root = wire::encoding::Bytes::encode(second.chain[1].der());
    service.until("/1/ct/v1/get-roots", |_, body| body.contains(&root));
    service.add("1", &second.submission(1)).unwrap();
    // From here on the CA talks nonsense, also at the next start.
    set("nonsense".to_owned());
    service.stop();
    let service = site.serve();
    assert_eq!(service.get("/readyz").0, 200);
    service.add("1", &second.submission(2)).unwrap();
    service.stop();
}

#[test]
fn completions_and_pages() {
    let folder = tempfile::tempdir().unwrap();
    let script = works(&["completion", "bash"]);
    assert!(script.contains("rotate"), "{script}");
    works(&["man", folder.path().to_str().unwrap()]);
    assert!(folder.path().join("ctlog-rs-freeze.1").is_file());
    assert!(works(&["--version"]).starts_with("ctlog-rs "));
    let (code, _, nothing) = run(&["serve"]);
    assert_eq!(code, Some(2), "{nothing}");
    assert!(nothing.contains("--config"), "{nothing}");
}

/// A settings file of logs that share nothing but the machine: name, file of roots and window of each.
fn several(folder: &std::path::Path, logs: &[(&str, &str, &str)]) -> PathBuf {
    let port = free_port();
    let mut text = format!("[server]\nlisten = \"localhost:{port}\"\n");
    for (name, roots, window) in logs {
        signer::Signer::load_or_create(
            &folder.join(format!("{name}.pem")),
            keys::Algorithm::EcdsaP256Sha256,
        )
        .unwrap();
        let table = format!(
            "[[log]]\nurl = \"http://localhost:{port}/{name}\"\nkey = \"{name}.pem\"\nfolder = \"{name}\"\nroots = \"{roots}\"\n{window}\n"
        );
        text.push_str(&table);
    }
    let settings = folder.join(format!("{port}.toml"));
    fs::write(&settings, text).unwrap();
    settings
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_takes_nothing_any_more_keeps_no_root_from_the_others() {
    use ctlog_rs::admit::Kind;
    use ctlog_rs::app::Site;
    use pki::profile::Authority;

    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let root = || {
        let key = common::key();
        common::authority(Authority::Root, &key, None, &key)
    };
    let full: String = (0..64).map(|_| root().to_pem()).collect();
    for folder in [first.path(), second.path()] {
        fs::write(folder.join("full"), &full).unwrap();
        fs::write(folder.join("one"), root().to_pem()).unwrap();
    }
    let (now, ca) = (common::at(common::START), Ca::new());
    let submission: Vec<Vec<u8>> = ca
        .submission(1)
        .iter()
        .map(|of| of.der().to_vec())
        .collect();
    let closing = serve::Closing::default();
    let past = ("past", "full", "not_after_limit = \"2026-11-23T12:00:01Z\"");
    let frozen = ("frozen", "full", "");
    let open = ("open", "one", "not_after_limit = \"2027-01-01T00:00:00Z\"");
    let later = (
        "later",
        "full",
        "not_after_start = \"2027-01-01T00:00:00Z\"",
    );

    // A log that will be needed has no room: the roots are taken by none, and the log is named.
    let settings = several(first.path(), &[open, later]);
    let site = Site::open(&settings, &[], &closing).await.unwrap();
    let error = site.logs.believe(&ca.chain[1..], now).unwrap_err();
    assert!(error.to_string().ends_with("/later"), "{error}");
    let refused = site
        .logs
        .add(Kind::Precertificate, submission.clone())
        .await;
    assert_eq!(refused.unwrap_err().reason(), "UNKNOWN_ROOT");

    // One that is frozen, and one whose time is over, may be as full as they like.
    let settings = several(second.path(), &[past, frozen, open]);
    let file = settings.to_str().unwrap().to_owned();
    let port = settings.file_stem().unwrap().to_str().unwrap();
    let url = format!("http://localhost:{port}/frozen");
    works(&["freeze", "--config", &file, "--url", &url]);
    let site = Site::open(&settings, &[], &closing).await.unwrap();
    site.logs.believe(&ca.chain[1..], now).unwrap();
    let sct = site.logs.add(Kind::Precertificate, submission).await;
    let key = site.logs.key(&sct.unwrap().log_id).unwrap();
    let open = fs::read_to_string(second.path().join("open.pem")).unwrap();
    let open = signer::Signer::from_pkcs8_pem(&open).unwrap();
    assert_eq!(key, *open.public_key());
    // Until its time is over the log counts.
    let early = common::at("2026-11-23T12:00:00Z");
    let error = site.logs.believe(&[root()], early).unwrap_err();
    assert!(error.to_string().ends_with("/past"), "{error}");
}

/// The service with its lines about requests alone, which are those that wait; and how it ends after a request.
fn lines_of_requests(site: &Site, end: impl FnOnce(&str)) -> (Option<i32>, String) {
    let mut child = Command::new(PROGRAM)
        .args(["--config", &site.settings()])
        .env("RUST_LOG", "off,serve::observe=info")
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (id, said) = (child.id().to_string(), child.stderr.take().unwrap());
    let mut service = Service {
        child,
        port: site.port,
    };
    service.until("/healthz", |status, _| status == 200);
    assert_eq!(service.get("/1/checkpoint").0, 200);
    end(&id);
    let code = service.child.wait().unwrap().code();
    (code, std::io::read_to_string(said).unwrap())
}

fn terminate(id: &str) {
    Command::new("kill").args(["-TERM", id]).status().unwrap();
}

#[test]
fn the_last_requests_are_in_the_log_of_a_service_that_stops() {
    let site = Site::init(&[]);
    let (code, said) = lines_of_requests(&site, terminate);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("checkpoint"), "{said}");

    // One that is told twice ends without waiting for the request that is under way.
    let (code, said) = lines_of_requests(&site, |id| {
        let mut open = TcpStream::connect(("127.0.0.1", site.port)).unwrap();
        let head = "POST /1/ct/v1/add-chain HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n";
        open.write_all(head.as_bytes()).unwrap();
        // It asks for the body: so it has the request.
        open.read_exact(&mut [0; 12]).unwrap();
        terminate(id);
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", site.port)).is_ok() {
            assert!(begun.elapsed() < PATIENCE);
        }
        terminate(id);
        // Until it closes.
        let _ = open.read_to_end(&mut Vec::new());
    });
    assert_eq!(code, Some(130), "{said}");
    assert!(said.contains("checkpoint"), "{said}");
}
