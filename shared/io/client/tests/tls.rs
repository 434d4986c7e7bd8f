//! Whom the agent believes when it calls with TLS.
#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a panic is a test's way to fail"
)]

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use client::{Agent, Answer, Call, CallError, Settings};
use rcgen::{Certificate, CertificateParams, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use url::Url;

/// A server on loopback with a certificate of nobody's, and that certificate.
fn server() -> (Url, Vec<u8>) {
    server_for("localhost", None)
}

/// A server with a certificate for this name; it lets in only who shows a certificate of `clients`, if there are any.
fn server_for(name: &str, clients: Option<&Certificate>) -> (Url, Vec<u8>) {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec![name.to_owned()])
        .unwrap()
        .self_signed(&key)
        .unwrap();
    let builder = ServerConfig::builder();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(clients) => {
            let mut roots = RootCertStore::empty();
            roots.add(clients.der().clone()).unwrap();
            let verifier = WebPkiClientVerifier::builder(Arc::new(roots));
            builder.with_client_cert_verifier(verifier.build().unwrap())
        }
    };
    let config = builder
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::Pkcs8(key.serialize_der().into()),
        )
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let connection = ServerConnection::new(config.clone()).unwrap();
            let mut stream = StreamOwned::new(connection, stream.unwrap());
            let mut seen = Vec::new();
            let mut piece = [0; 1024];
            // A client that does not believe us hangs up here.
            while let Ok(length @ 1..) = stream.read(&mut piece) {
                seen.extend(piece.iter().take(length));
                if seen.ends_with(b"\r\n\r\n") {
                    let _gone = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
                    seen.clear();
                }
            }
        }
    });
    let url = Url::parse(&format!("https://localhost:{port}/")).unwrap();
    (url, certificate.pem().into_bytes())
}

async fn call(url: &Url, settings: Settings) -> Result<Answer, CallError> {
    let agent = Agent::new(Settings {
        first_pause: Duration::ZERO,
        ..settings
    });
    agent.send(&Call::get(url.clone())).await
}

#[tokio::test]
async fn a_server_is_believed_by_a_root_that_was_given_and_by_no_other() {
    let (url, root) = server();
    let (_, other_root) = server();
    let with = |extra_roots_pem: Vec<u8>| Settings {
        extra_roots_pem,
        ..Settings::default()
    };
    assert_eq!(call(&url, with(root)).await.unwrap().body, "ok");
    for stranger in [with(other_root), Settings::default()] {
        let error = call(&url, stranger).await.unwrap_err();
        assert!(matches!(error, CallError::Unreachable { .. }), "{error:?}");
    }
    let any = Settings {
        any_certificate: true,
        ..Settings::default()
    };
    assert_eq!(call(&url, any).await.unwrap().body, "ok");
}

#[tokio::test]
async fn roots_that_are_none_are_told_before_anything_is_sent() {
    let (url, _) = server();
    let settings = Settings {
        extra_roots_pem: b"-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n".to_vec(),
        ..Settings::default()
    };
    let error = call(&url, settings).await.unwrap_err();
    assert!(matches!(error, CallError::Setup(_)), "{error:?}");
}

#[tokio::test]
async fn a_server_that_asks_who_we_are_is_shown_our_certificate() {
    let key = KeyPair::generate().unwrap();
    let ours = CertificateParams::new(vec!["client.example".to_owned()])
        .unwrap()
        .self_signed(&key)
        .unwrap();
    let (url, root) = server_for("localhost", Some(&ours));
    let with = |identity: Option<String>| Settings {
        extra_roots_pem: root.clone(),
        client_identity_pem: identity.map(|pem| pem.into_bytes().into()),
        ..Settings::default()
    };
    let identity = format!("{}\n{}", ours.pem(), key.serialize_pem());
    let answer = call(&url, with(Some(identity))).await.unwrap();
    assert_eq!(answer.body, "ok");
    let stranger = KeyPair::generate().unwrap();
    let other = CertificateParams::new(vec!["client.example".to_owned()])
        .unwrap()
        .self_signed(&stranger)
        .unwrap();
    let other = format!("{}\n{}", other.pem(), stranger.serialize_pem());
    for refused in [None, Some(other)] {
        let error = call(&url, with(refused)).await.unwrap_err();
        assert!(matches!(error, CallError::Unreachable { .. }), "{error:?}");
    }
    // A certificate without its key, and a key of another one.
    for wrong in [
        ours.pem(),
        format!("{}\n{}", ours.pem(), stranger.serialize_pem()),
    ] {
        let error = call(&url, with(Some(wrong))).await.unwrap_err();
        assert!(matches!(error, CallError::Setup(_)), "{error:?}");
    }
}

#[tokio::test]
async fn the_name_in_the_certificate_may_be_another_one_than_the_url_s_if_the_caller_says_so() {
    let (url, root) = server_for("registry.example", None);
    let with = |name: Option<&str>| Settings {
        extra_roots_pem: root.clone(),
        server_name: name.map(str::to_owned),
        ..Settings::default()
    };
    let answer = call(&url, with(Some("registry.example"))).await.unwrap();
    assert_eq!(answer.body, "ok");
    for refused in [None, Some("other.example")] {
        let error = call(&url, with(refused)).await.unwrap_err();
        assert!(matches!(error, CallError::Unreachable { .. }), "{error:?}");
    }
    let error = call(&url, with(Some("no name"))).await.unwrap_err();
    assert!(matches!(error, CallError::Setup(_)), "{error:?}");
}
