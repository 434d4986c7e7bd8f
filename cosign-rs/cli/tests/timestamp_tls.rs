//! A timestamp authority behind TLS of its own, which lets in only who shows a certificate.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic in a test is its failure report"
)]

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use keys::Algorithm;
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use signer::Signer;
use testkit::{Sigstore, Tsa};

fn certificate(name: &str) -> (rcgen::Certificate, KeyPair) {
    let key = KeyPair::generate().unwrap();
    let made = CertificateParams::new(vec![name.to_owned()]).unwrap();
    (made.self_signed(&key).unwrap(), key)
}

/// The authority's address; its certificate is for another name than it is called by.
fn serve(tsa: Tsa, folder: &Path) -> String {
    let (own, key) = certificate("tsa.corp.example");
    let (client, client_key) = certificate("client.corp.example");
    let (_, stranger) = certificate("client.corp.example");
    for (name, text) in [
        ("ca.pem", own.pem()),
        ("client.pem", client.pem()),
        ("client.key", client_key.serialize_pem()),
        ("stranger.key", stranger.serialize_pem()),
    ] {
        std::fs::write(folder.join(name), text).unwrap();
    }
    let mut clients = RootCertStore::empty();
    clients.add(client.der().clone()).unwrap();
    let clients = WebPkiClientVerifier::builder(Arc::new(clients));
    let config = ServerConfig::builder()
        .with_client_cert_verifier(clients.build().unwrap())
        .with_single_cert(
            vec![own.der().clone()],
            PrivateKeyDer::Pkcs8(key.serialize_der().into()),
        )
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let connection = ServerConnection::new(config.clone()).unwrap();
            answer(StreamOwned::new(connection, stream.unwrap()), &tsa);
        }
    });
    format!("https://localhost:{port}/api/v1/timestamp")
}

fn answer(mut stream: StreamOwned<ServerConnection, TcpStream>, tsa: &Tsa) {
    let mut seen = Vec::new();
    let mut piece = [0; 1024];
    // A client that does not believe us, or is not let in, hangs up here.
    while let Ok(length @ 1..) = stream.read(&mut piece) {
        seen.extend_from_slice(&piece[..length]);
        let Some(head) = seen.windows(4).position(|end| end == b"\r\n\r\n") else {
            continue;
        };
        let Ok(request) = tsp::Request::parse_der(&seen[head + 4..]) else {
            continue;
        };
        let reply = tsa.answer(&request, Timestamp::now());
        let head = format!(
            "HTTP/1.1 201 Created\r\ncontent-type: application/timestamp-reply\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
            reply.len()
        );
        let _gone = stream.write_all(&[head.as_bytes(), &reply].concat());
        return;
    }
}

#[test]
fn a_timestamp_authority_is_believed_and_shown_who_we_are_as_the_flags_say() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let sigstore = Sigstore::new(Timestamp::now() - SignedDuration::from_hours(1));
    let url = serve(sigstore.tsa.clone(), folder);
    let signer = Signer::generate(Algorithm::EcdsaP256Sha256).unwrap();
    signer::write_private(&folder.join("key.pem"), &signer.to_pkcs8_pem().unwrap()).unwrap();
    let config = format!(
        r#"{{"mediaType":"application/vnd.dev.sigstore.signingconfig.v0.2+json","tsaUrls":[{{"url":"{url}","majorApiVersion":1,"operator":"corp","validFor":{{"start":"2026-01-01T00:00:00Z"}}}}],"tsaConfig":{{"selector":"ANY"}}}}"#
    );
    for (name, text) in [
        ("file", "a file\n".to_owned()),
        ("key.pub", signer.public_key().to_pem()),
        ("config.json", config),
        ("root.json", sigstore.root().to_json().unwrap()),
    ] {
        std::fs::write(folder.join(name), text).unwrap();
    }
    let run = |words: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_cosign-rs"))
            .args(words.split_whitespace())
            .current_dir(folder)
            .env_clear()
            .env("HOME", folder)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        (output.status.success(), said)
    };
    let sign = "sign-blob --timeout 20s --key key.pem --tlog-upload=false --trusted-root root.json --signing-config config.json --bundle b file";
    let believed = "--timestamp-client-cacert ca.pem";
    let named = "--timestamp-server-name tsa.corp.example";
    let shown = "--timestamp-client-cert client.pem --timestamp-client-key client.key";
    let (good, said) = run(&format!("{sign} {believed} {named} {shown}"));
    assert!(good, "{said}");
    let verify =
        "verify-blob --key key.pub --insecure-ignore-tlog --trusted-root root.json --bundle b file";
    let (good, said) = run(verify);
    assert!(good, "{said}");
    assert!(
        said.contains("timestamp of https://tsa.example.org"),
        "{said}"
    );
    std::fs::remove_file(folder.join("b")).unwrap();
    let alone = "--timestamp-client-cert client.pem";
    let strange = format!("{alone} --timestamp-client-key stranger.key");
    for (flags, reason) in [
        (format!("{believed} {shown}"), "no timestamp from"),
        (format!("{named} {shown}"), "no timestamp from"),
        (format!("{believed} {named}"), "no timestamp from"),
        (format!("{believed} {named} {strange}"), "no timestamp from"),
        (
            format!("{believed} {named} {alone}"),
            "--timestamp-client-key",
        ),
        (
            format!("--timestamp-client-cacert file {named} {shown}"),
            "file has no certificate in PEM",
        ),
    ] {
        let (good, said) = run(&format!("{sign} {flags}"));
        assert!(!good, "{flags}");
        assert!(said.contains(reason), "{flags}: expected {reason}: {said}");
        assert!(!folder.join("b").exists());
    }
}
