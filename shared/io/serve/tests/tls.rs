//! TLS as a client meets it, before and after the certificate was replaced.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a panic in a test is its failure report"
)]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serve::{Limits, ListenAddress, Listeners, Stop, Tls, TlsError, TlsFiles};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

struct Pair {
    certificate: String,
    key: String,
    der: CertificateDer<'static>,
}

fn pair() -> Pair {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    Pair {
        certificate: made.cert.pem(),
        key: made.signing_key.serialize_pem(),
        der: made.cert.der().clone(),
    }
}

fn put(path: &Path, text: &str, mode: u32) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn files(folder: &Path, pair: &Pair) -> TlsFiles {
    let files = TlsFiles {
        certificate: folder.join("tls.crt"),
        key: folder.join("tls.key"),
    };
    put(&files.certificate, &pair.certificate, 0o644);
    put(&files.key, &pair.key, 0o640);
    files
}

/// Asks with HTTP/1.1 over TLS, believing only this certificate; what ALPN led to, and the answer.
async fn ask(port: u16, trusted: &Pair, protocol: &[u8]) -> std::io::Result<(Vec<u8>, String)> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.der.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    let stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let name = ServerName::try_from("localhost").unwrap();
    let mut stream = TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await?;
    let agreed = stream
        .get_ref()
        .1
        .alpn_protocol()
        .unwrap_or_default()
        .to_vec();
    if protocol == b"h2" {
        return Ok((agreed, String::new()));
    }
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .await?;
    let mut answer = String::new();
    // The server may leave out the close notification.
    let _end = stream.read_to_string(&mut answer).await;
    Ok((agreed, answer))
}

#[tokio::test]
async fn a_certificate_is_replaced_while_the_service_runs() {
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (pair(), pair());
    let files = files(folder.path(), &old);
    let tls = Tls::load(&files).unwrap();
    let listeners = Listeners::bind(&ListenAddress::localhost(0)).await.unwrap();
    let listeners = listeners.with_tls(Some(tls.clone()));
    let port = listeners.port();
    assert_eq!(listeners.base_url(), format!("https://localhost:{port}"));
    let (_handle, stop) = Stop::new();
    let router = Router::new().route("/", get(async || "over TLS"));
    let limits = Limits {
        header: Duration::from_millis(300),
        ..Limits::default()
    };
    tokio::spawn(serve::run(listeners, "test", router, limits, stop));

    let (agreed, answer) = ask(port, &old, b"http/1.1").await.unwrap();
    assert!(
        agreed == b"http/1.1" && answer.ends_with("over TLS"),
        "{answer}"
    );
    let (agreed, _) = ask(port, &old, b"h2").await.unwrap();
    assert_eq!(agreed, b"h2");
    ask(port, &new, b"http/1.1").await.unwrap_err();

    // Half replaced: the old one stays. Wholly replaced: the new one is there. Broken: the new one stays.
    assert!(!tls.refresh().unwrap());
    put(&files.certificate, &new.certificate, 0o644);
    assert!(matches!(tls.refresh(), Err(TlsError::Pair(_))));
    ask(port, &old, b"http/1.1").await.unwrap();
    put(&files.key, &new.key, 0o600);
    assert!(tls.refresh().unwrap());
    ask(port, &new, b"http/1.1").await.unwrap();
    ask(port, &old, b"http/1.1").await.unwrap_err();
    fs::remove_file(&files.certificate).unwrap();
    assert!(matches!(tls.refresh(), Err(TlsError::Read { .. })));
    ask(port, &new, b"http/1.1").await.unwrap();

    // Plain HTTP is no handshake; somebody who says nothing is sent away.
    let mut plain = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _reset = plain.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP"));
    let mut silent = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let end = tokio::time::timeout(Duration::from_secs(20), silent.read(&mut [0; 1])).await;
    assert!(matches!(end, Ok(Ok(0) | Err(_))), "still open");
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let good = pair();
    let files = files(folder.path(), &good);
    put(&files.key, &good.key, 0o644);
    assert!(matches!(Tls::load(&files), Err(TlsError::Exposed(path)) if path == files.key));
    put(&files.key, "no key", 0o600);
    assert!(matches!(
        Tls::load(&files),
        Err(TlsError::Pem {
            what: "private key",
            ..
        })
    ));
    put(&files.key, &pair().key, 0o600);
    assert!(matches!(Tls::load(&files), Err(TlsError::Pair(_))));
    put(&files.key, &good.key, 0o600);
    put(&files.certificate, "", 0o600);
    assert!(matches!(
        Tls::load(&files),
        Err(TlsError::Pem {
            what: "certificate",
            ..
        })
    ));
}
