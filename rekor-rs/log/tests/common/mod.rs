//! The program as processes: a log that `init` makes, and services that tests start, ask and kill.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs,
    unreachable_pub,
    reason = "each test file uses its part; a panic is a test's report"
)]

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keys::{Algorithm, sha256};
use note::VerifierKey;
use serde_json::{Value, json};
use signer::Signer;

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_rekor-rs");
pub const PATIENCE: Duration = Duration::from_mins(1);

pub fn run(arguments: &[&str]) -> Output {
    let output = Command::new(PROGRAM).args(arguments).output().unwrap();
    assert!(
        output.stderr.is_empty() || !output.status.success(),
        "talk of a command that worked: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

pub fn works(arguments: &[&str]) -> String {
    let output = run(arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{arguments:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

pub fn fails(arguments: &[&str]) -> String {
    let output = run(arguments);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}");
    String::from_utf8(output.stderr).unwrap()
}

pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// A log made by `init`, in a folder of its own.
pub struct Site {
    pub folder: tempfile::TempDir,
    pub port: u16,
}

impl Site {
    pub fn init(more: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = free_port();
        let listen = format!("localhost:{port}");
        let url = format!("http://localhost:{port}");
        let home = folder.path().to_str().unwrap();
        let mut arguments = vec!["init", "--url", &url, "--folder", home, "--listen", &listen];
        arguments.extend(more);
        works(&arguments);
        Self { folder, port }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    pub fn settings(&self) -> String {
        self.text("rekor-rs.toml")
    }

    /// Settings of the same logs for another port.
    pub fn settings_at(&self, name: &str, port: u16) -> String {
        let text = fs::read_to_string(self.settings()).unwrap();
        let here = format!("localhost:{}", self.port);
        let text = text.replace(&here, &format!("localhost:{port}"));
        fs::write(self.path(name), text).unwrap();
        self.text(name)
    }

    pub fn verifier(&self) -> VerifierKey {
        let text = fs::read_to_string(self.path("log.vkey")).unwrap();
        text.trim_end().parse().unwrap()
    }

    pub fn serve(&self, more: &[&str]) -> Service {
        Service::start(&self.settings(), self.port, more)
    }
}

/// What services say goes nowhere, unless somebody wants to see it.
fn log_file(port: u16) -> Stdio {
    std::env::var_os("REKOR_TEST_LOGS").map_or_else(Stdio::null, |folder| {
        let path = PathBuf::from(folder).join(format!("{port}.log"));
        let file = fs::OpenOptions::new().create(true).append(true).open(path);
        file.unwrap().into()
    })
}

pub struct Service {
    child: Child,
    pub port: u16,
}

impl Service {
    pub fn start(settings: &str, port: u16, more: &[&str]) -> Self {
        Self::start_saying(settings, port, more, log_file(port))
    }

    /// With its log lines to some other place.
    pub fn start_saying(settings: &str, port: u16, more: &[&str], to: Stdio) -> Self {
        let child = Command::new(PROGRAM)
            .args(["--config", settings])
            .args(more)
            .stdout(Stdio::null())
            .stderr(to)
            .spawn()
            .unwrap();
        let service = Self { child, port };
        service.until("/healthz", |status, _| status == 200);
        service
    }

    pub fn ask(&self, method: &str, path: &str, body: &str) -> Option<(u16, String)> {
        ask(self.port, method, path, body)
    }

    pub fn get(&self, path: &str) -> (u16, String) {
        self.ask("GET", path, "").expect("an answer")
    }

    /// Asks until the answer is as it should be.
    pub fn until(&self, path: &str, good: impl Fn(u16, &str) -> bool) -> String {
        let begun = Instant::now();
        loop {
            let answer = self.ask("GET", path, "");
            if let Some((status, body)) = &answer
                && good(*status, body)
            {
                return body.clone();
            }
            assert!(
                begun.elapsed() < PATIENCE,
                "{path} does not become what it should: {answer:?}"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Adds an entry to the v2 log; its index when it was taken.
    pub fn add(&self, number: u32) -> Option<u64> {
        let (status, body) = self.ask("POST", "/api/v2/log/entries", &v2(number))?;
        if status != 201 {
            return None;
        }
        let entry: Value = serde_json::from_str(&body).unwrap();
        Some(entry["logIndex"].as_str().unwrap().parse().unwrap())
    }

    /// Adds an entry to the v1 log; its id and index.
    pub fn add_v1(&self, number: u32) -> (String, u64) {
        self.propose(&v1(number))
    }

    /// [`Self::add_v1`] of any kind.
    pub fn propose(&self, proposal: &str) -> (String, u64) {
        let (status, body) = self.ask("POST", "/api/v1/log/entries", proposal).unwrap();
        assert_eq!(status, 201, "{body}");
        let entries: BTreeMap<String, Value> = serde_json::from_str(&body).unwrap();
        let (id, entry) = entries.into_iter().next().unwrap();
        (id, entry["logIndex"].as_u64().unwrap())
    }

    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// As a service manager does it.
    pub fn stop(mut self) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").arg(id).status().unwrap().success());
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn v2(number: u32) -> String {
    let message = number.to_be_bytes();
    let key = Signer::generate(Algorithm::EcdsaP256Sha256).unwrap();
    json!({ "hashedRekordRequestV002": {
        "digest": STANDARD.encode(sha256(&message)),
        "signature": { "content": STANDARD.encode(key.sign_local(&message).unwrap()), "verifier": {
            "publicKey": { "rawBytes": STANDARD.encode(key.public_key().spki_der()) },
            "keyDetails": "PKIX_ECDSA_P256_SHA_256" } },
    }})
    .to_string()
}

pub fn v1(number: u32) -> String {
    let message = number.to_be_bytes();
    let key = Signer::generate(Algorithm::EcdsaP256Sha256).unwrap();
    json!({ "kind": "hashedrekord", "apiVersion": "0.0.1", "spec": {
        "data": { "hash": { "algorithm": "sha256", "value": hex::encode(sha256(&message)) } },
        "signature": {
            "content": STANDARD.encode(key.sign_local(&message).unwrap()),
            "publicKey": { "content": STANDARD.encode(key.public_key().to_pem()) } },
    }})
    .to_string()
}

/// An intoto entry of a statement of its own, which the log keeps as an attestation.
pub fn intoto(number: u32) -> String {
    let statement = format!("{{\"number\":{number}}}");
    let kind = "application/vnd.in-toto+json";
    let pae = format!(
        "DSSEv1 {} {kind} {} {statement}",
        kind.len(),
        statement.len()
    );
    let key = Signer::generate(Algorithm::EcdsaP256Sha256).unwrap();
    let signature = STANDARD.encode(key.sign_local(pae.as_bytes()).unwrap());
    json!({ "kind": "intoto", "apiVersion": "0.0.2", "spec": { "content": {
        "envelope": {
            "payloadType": kind,
            "payload": STANDARD.encode(STANDARD.encode(statement)),
            "signatures": [{
                "sig": STANDARD.encode(signature),
                "publicKey": STANDARD.encode(key.public_key().to_pem()) }] },
        "hash": { "algorithm": "sha256", "value": hex::encode(sha256(&number.to_be_bytes())) },
    }}})
    .to_string()
}

pub fn ask(port: u16, method: &str, path: &str, body: &str) -> Option<(u16, String)> {
    ask_for(None, port, method, path, body)
}

/// [`ask`] as a proxy does for a client.
pub fn ask_for(
    client: Option<&str>,
    port: u16,
    method: &str,
    path: &str,
    body: &str,
) -> Option<(u16, String)> {
    let client = client.map_or_else(String::new, |client| {
        format!("X-Forwarded-For: {client}\r\n")
    });
    let mut stream = TcpStream::connect(("localhost", port)).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{client}\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, body.to_owned()))
}
