//! A trust domain whose repository has a certificate of a private authority.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic in a test is its failure report"
)]

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/tuf/public-good")
}

/// The public-good repository as it was on 2026-08-22, behind a certificate of nobody's; and that certificate.
fn serve() -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["localhost".to_owned()])
        .unwrap()
        .self_signed(&key)
        .unwrap();
    let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let connection = ServerConnection::new(config.clone()).unwrap();
            let stream = StreamOwned::new(connection, stream.unwrap());
            std::thread::spawn(move || answer(stream));
        }
    });
    (format!("https://localhost:{port}"), certificate.pem())
}

fn answer(mut stream: StreamOwned<ServerConnection, std::net::TcpStream>) {
    let mut seen = Vec::new();
    let mut piece = [0; 1024];
    // A client that does not believe us hangs up here.
    while let Ok(length @ 1..) = stream.read(&mut piece) {
        seen.extend_from_slice(&piece[..length]);
        if !seen.ends_with(b"\r\n\r\n") {
            continue;
        }
        let request = String::from_utf8(std::mem::take(&mut seen)).unwrap();
        let path = request.split(' ').nth(1).unwrap().trim_start_matches('/');
        let (status, body) = match std::fs::read(repository().join(path)) {
            Ok(body) => ("200 OK", body),
            Err(_) => ("404 Not Found", Vec::new()),
        };
        let head = format!(
            "HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        let _gone = stream.write_all(&[head.as_bytes(), &body].concat());
    }
}

fn run(folder: &Path, words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_cosign-rs"))
        .args(words)
        .args(["--now", "2026-08-22"])
        .current_dir(folder)
        .env_clear()
        .env("HOME", folder)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

#[test]
fn a_private_authority_is_believed_where_it_is_named_and_remembered_where_it_was_initialised() {
    let (mirror, authority) = serve();
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    std::fs::write(folder.join("ca.pem"), authority).unwrap();
    std::fs::write(folder.join("none.pem"), "not PEM").unwrap();
    let root = repository().join("12.root.json").display().to_string();
    let initialize = ["initialize", "--mirror", &mirror, "--root", &root];
    let refused = |output: &Output, words: &str| {
        assert_ne!(output.status.code(), Some(0));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(words), "{said}");
    };
    refused(&run(folder, &initialize), "certificate");
    let none = [&initialize[..], &["--mirror-cacert", "none.pem"]].concat();
    refused(&run(folder, &none), "none.pem has no certificate in PEM");
    let told = [&initialize[..], &["--mirror-cacert", "ca.pem"]].concat();
    let output = run(folder, &told);
    assert!(output.status.success(), "{output:?}");
    std::fs::remove_file(folder.join("ca.pem")).unwrap();
    let output = run(folder, &["trust", "refresh"]);
    assert!(output.status.success(), "{output:?}");
    // Told anew without it, it is forgotten, after the repository has answered.
    refused(&run(folder, &initialize), "certificate");
    let output = run(folder, &["trust", "refresh"]);
    assert!(output.status.success(), "{output:?}");
}
