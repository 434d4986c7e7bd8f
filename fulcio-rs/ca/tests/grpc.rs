//! The authority over gRPC, asked by tonic's client on a real socket, in the clear and with TLS, beside JSON on the same port.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a panic is a test's report"
)]

mod common;

use std::fs;
use std::sync::Arc;

use axum::http::Request as HttpRequest;
use axum::http::uri::PathAndQuery;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use common::{EMAIL, Site, key};
use fulcio_rs::grpc::messages::{
    Certificate as CertificateOf, Configuration, CreateSigningCertificateRequest, Credential,
    Credentials, IssuerName, LegacyKey, LegacyRequest, PublicKey, PublicKeyRequest, RequestKey,
    SigningCertificate, TrustBundle,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use keys::Algorithm;
use pki::Certificate;
use prost::Message;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use serve::grpc::messages::{
    Empty, ErrorInfo, HealthCheckRequest, HealthCheckResponse, HttpBody, RequestInfo, RpcStatus,
};
use serve::{Tls, TlsFiles};
use signer::Signer;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic::{Code, Request, Response, Status};
use tonic_prost::ProstCodec;

const CREATE: &str = "/dev.sigstore.fulcio.v2.CA/CreateSigningCertificate";

/// How a socket is reached.
#[derive(Clone)]
struct Way {
    port: u16,
    trusted: Option<CertificateDer<'static>>,
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

impl Way {
    async fn connect(&self, protocol: &[u8]) -> Box<dyn Stream> {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        let Some(trusted) = &self.trusted else {
            return Box::new(stream);
        };
        let mut roots = RootCertStore::empty();
        roots.add(trusted.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![protocol.to_vec()];
        let name = ServerName::try_from("localhost").unwrap();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        Box::new(connector.connect(name, stream).await.unwrap())
    }

    async fn ask<I, O>(&self, method: &str, request: Request<I>) -> Result<O, Status>
    where
        I: Message + Default + 'static,
        O: Message + Default + 'static,
    {
        let io = TokioIo::new(self.connect(b"h2").await);
        let (sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io)
            .await
            .unwrap();
        tokio::spawn(connection);
        let service = tower::service_fn(move |request: HttpRequest<tonic::body::Body>| {
            let mut sender = sender.clone();
            async move { sender.send_request(request).await }
        });
        let scheme = if self.trusted.is_some() {
            "https"
        } else {
            "http"
        };
        let origin = format!("{scheme}://localhost:{}", self.port);
        let mut client = tonic::client::Grpc::with_origin(service, origin.parse().unwrap())
            .max_decoding_message_size(1 << 20);
        client.ready().await.unwrap();
        let path = PathAndQuery::try_from(method).unwrap();
        let answer = client.unary(request, path, ProstCodec::<I, O>::default());
        answer.await.map(Response::into_inner)
    }

    /// JSON on the same port, in HTTP/1.1.
    async fn get(&self, path: &str) -> String {
        self.rest("GET", path, "", "").await
    }

    async fn rest(&self, method: &str, path: &str, token: &str, body: &str) -> String {
        let mut stream = self.connect(b"http/1.1").await;
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer {token}\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        let _end = stream.read_to_string(&mut answer).await;
        answer
    }
}

fn request(key: &Signer, proof_of: &str, token: Option<String>) -> CreateSigningCertificateRequest {
    let credentials = token.map(Credential::OidcIdentityToken);
    CreateSigningCertificateRequest {
        credentials: credentials.map(|credentials| Credentials {
            credentials: Some(credentials),
        }),
        key: Some(RequestKey::PublicKeyRequest(PublicKeyRequest {
            public_key: Some(PublicKey {
                algorithm: 2,
                content: key.public_key().to_pem(),
            }),
            proof_of_possession: key.sign_local(proof_of.as_bytes()).unwrap(),
        })),
    }
}

fn leaf(answer: SigningCertificate) -> Certificate {
    let Some(CertificateOf::EmbeddedSct(embedded)) = answer.certificate else {
        panic!("the SCT is not in the certificate");
    };
    let chain = embedded.chain.unwrap().certificates;
    assert_eq!(chain.len(), 3);
    Certificate::from_pem(&chain[0]).unwrap()
}

/// The words for machines, and the request's id.
fn details(status: &Status) -> (Vec<String>, Option<String>) {
    let details = RpcStatus::decode(status.details()).unwrap();
    assert_eq!(details.code, i32::from(status.code()));
    assert_eq!(details.message, status.message());
    let (mut reasons, mut id) = (Vec::new(), None);
    for any in details.details {
        match any.type_url.as_str() {
            "type.googleapis.com/google.rpc.ErrorInfo" => {
                reasons.push(ErrorInfo::decode(any.value.as_slice()).unwrap().reason);
            }
            "type.googleapis.com/google.rpc.RequestInfo" => {
                id = Some(
                    RequestInfo::decode(any.value.as_slice())
                        .unwrap()
                        .request_id,
                );
            }
            other => panic!("{other}"),
        }
    }
    (reasons, id)
}

async fn everything(site: &Site, way: &Way) {
    let key = key();
    let token = site.provider.token();
    // The token in the request, in the header, and where upstream's gateway puts it.
    let answer: SigningCertificate = way
        .ask(
            CREATE,
            Request::new(request(&key, EMAIL, Some(token.clone()))),
        )
        .await
        .unwrap();
    let certificate = leaf(answer);
    assert_eq!(certificate.public_key(), key.public_key());
    assert!(site.pair.issued(&certificate));
    let issuer = &site.pair.chain[0];
    let entry = ct::entry_of_leaf(&certificate, issuer).unwrap();
    let [sct] = ct::embedded_scts(&certificate).unwrap().try_into().unwrap();
    sct.verify(&entry, &site.log.key).unwrap();
    for (name, value) in [
        ("authorization", format!("Bearer {token}")),
        ("oidcidentitytoken", token.clone()),
    ] {
        let mut with = Request::new(request(&key, EMAIL, None));
        with.metadata_mut().insert(name, value.parse().unwrap());
        leaf(way.ask(CREATE, with).await.unwrap());
    }
    let mut twice = Request::new(request(&key, EMAIL, None));
    for _ in 0..2 {
        let value = token.parse().unwrap();
        twice.metadata_mut().append("oidcidentitytoken", value);
    }
    let refused = way.ask::<_, SigningCertificate>(CREATE, twice).await;
    assert_eq!(details(&refused.unwrap_err()).0, ["NO_TOKEN"]);

    // A request for a certificate instead of key and proof.
    let pair = rcgen::KeyPair::generate().unwrap();
    let csr = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
    let csr = csr.serialize_request(&pair).unwrap().pem().unwrap();
    let mut by_csr = request(&key, EMAIL, Some(token.clone()));
    by_csr.key = Some(RequestKey::CertificateSigningRequest(csr.into_bytes()));
    leaf(way.ask(CREATE, Request::new(by_csr)).await.unwrap());

    // The legacy service, with a key in DER as gitsign sends it.
    let legacy = LegacyRequest {
        public_key: Some(LegacyKey {
            algorithm: "ecdsa".to_owned(),
            content: key.public_key().spki_der().to_vec(),
        }),
        signed_email_address: key.sign_local(EMAIL.as_bytes()).unwrap(),
        certificate_signing_request: Vec::new(),
    };
    let mut legacy = Request::new(legacy);
    let bearer = format!("Bearer {token}").parse().unwrap();
    legacy.metadata_mut().insert("authorization", bearer);
    let method = "/dev.sigstore.fulcio.v1beta.CA/CreateSigningCertificate";
    let answer: HttpBody = way.ask(method, legacy).await.unwrap();
    assert_eq!(answer.content_type, "application/pem-certificate-chain");
    let chain = Certificate::chain_from_pem(std::str::from_utf8(&answer.data).unwrap()).unwrap();
    assert_eq!(chain[0].public_key(), key.public_key());
    assert_eq!(chain[1..], site.pair.chain);
    let method = "/dev.sigstore.fulcio.v1beta.CA/GetRootCertificate";
    let roots: HttpBody = way.ask(method, Request::new(Empty {})).await.unwrap();
    assert_eq!(roots.data, site.pair.chain_pem().as_bytes());

    let method = "/dev.sigstore.fulcio.v2.CA/GetTrustBundle";
    let bundle: TrustBundle = way.ask(method, Request::new(Empty {})).await.unwrap();
    assert_eq!(
        bundle.chains[0].certificates.concat(),
        site.pair.chain_pem()
    );
    let method = "/dev.sigstore.fulcio.v2.CA/GetConfiguration";
    let configuration: Configuration = way.ask(method, Request::new(Empty {})).await.unwrap();
    let [issuer] = configuration.issuers.try_into().unwrap();
    assert_eq!(
        issuer.issuer,
        Some(IssuerName::IssuerUrl(site.provider.url.clone()))
    );
    assert_eq!(
        (issuer.audience.as_str(), issuer.challenge_claim.as_str()),
        ("sigstore", "email")
    );

    let health = async |service: &str| {
        let service = service.to_owned();
        let request = Request::new(HealthCheckRequest { service });
        way.ask::<_, HealthCheckResponse>("/grpc.health.v1.Health/Check", request)
            .await
    };
    for known in [
        "",
        "dev.sigstore.fulcio.v2.CA",
        "dev.sigstore.fulcio.v1beta.CA",
    ] {
        assert_eq!(health(known).await.unwrap().status, 1, "{known}");
    }
    assert_eq!(health("other").await.unwrap_err().code(), Code::NotFound);

    for (path, expected) in [
        ("/api/v2/trustBundle", "-----BEGIN CERTIFICATE-----"),
        ("/api/v2/configuration", &site.provider.url),
        ("/api/v1/rootCert", &site.pair.chain_pem()),
        ("/healthz", "SERVING"),
        ("/readyz", "READY"),
    ] {
        let answer = way.get(path).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert!(answer.contains(expected), "{answer}");
    }
    let body = common::request(&key, EMAIL).to_string();
    let path = "/api/v2/signingCert";
    let answer = way.rest("POST", path, &token, &body).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(answer.contains("signedCertificateEmbeddedSct"), "{answer}");
    let proof = key.sign_local(EMAIL.as_bytes()).unwrap();
    let legacy = json!({
        "publicKey": {"content": STANDARD.encode(key.public_key().spki_der()), "algorithm": "ecdsa"},
        "signedEmailAddress": STANDARD.encode(proof),
    });
    let path = "/api/v1/signingCert";
    let answer = way.rest("POST", path, &token, &legacy.to_string()).await;
    assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
    assert_eq!(answer.matches("-----BEGIN CERTIFICATE-----").count(), 3);
}

#[tokio::test]
async fn both_services_are_there_in_the_clear() {
    let site = Site::new("").await;
    let served = site.open().await.serve(None).await;
    let way = Way {
        port: served.port,
        trusted: None,
    };
    everything(&site, &way).await;
    let figures = way.get("/metrics").await;
    for line in [
        r#"grpc_server_started_total{grpc_type="unary",grpc_service="dev.sigstore.fulcio.v2.CA",grpc_method="CreateSigningCertificate"}"#,
        r#"grpc_server_msg_sent_total{grpc_type="unary",grpc_service="dev.sigstore.fulcio.v2.CA",grpc_method="GetTrustBundle"}"#,
        r#"grpc_server_handled_total{grpc_type="unary",grpc_service="dev.sigstore.fulcio.v2.CA",grpc_method="CreateSigningCertificate",grpc_code="InvalidArgument"}"#,
        r#"grpc_server_handled_total{grpc_type="unary",grpc_service="grpc.health.v1.Health",grpc_method="Check",grpc_code="OK"}"#,
        "grpc_server_handling_seconds_bucket{",
        "fulcio_new_certs ",
    ] {
        assert!(figures.contains(line), "{line} is not in {figures}");
    }
}

#[tokio::test]
async fn both_services_are_there_with_tls() {
    let site = Site::new("").await;
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let files = TlsFiles {
        certificate: site.path("tls.crt"),
        key: site.path("tls.key"),
    };
    fs::write(&files.certificate, made.cert.pem()).unwrap();
    common::put_secret(&files.key, &made.signing_key.serialize_pem());
    let tls = Tls::load(&files).unwrap();
    let served = site.open().await.serve(Some(tls)).await;
    let way = Way {
        port: served.port,
        trusted: Some(made.cert.der().clone()),
    };
    everything(&site, &way).await;
}

#[tokio::test]
async fn refusals_are_those_of_json_with_reason_and_request() {
    let site = Site::new("identity_rate = 1\nidentity_burst = 1").await;
    let running = site.open().await;
    let served = running.serve(None).await;
    let way = Way {
        port: served.port,
        trusted: None,
    };
    let create = async |request: CreateSigningCertificateRequest| {
        let answer = way.ask::<_, SigningCertificate>(CREATE, Request::new(request));
        answer.await.map(leaf).unwrap_err()
    };
    let key = key();
    let weak = Signer::generate(Algorithm::EcdsaP256Sha256).unwrap();
    let token = |changes: Value| Some(site.provider.token_with(&changes));
    let mut no_key = request(&key, EMAIL, token(json!({})));
    no_key.key = None;
    let mut csr = request(&key, EMAIL, token(json!({})));
    csr.key = Some(RequestKey::CertificateSigningRequest(
        b"no request".to_vec(),
    ));
    let identity = "There was an error processing the identity token";
    for (request, sentence, reason) in [
        (request(&key, EMAIL, None), identity, "NO_TOKEN"),
        (
            request(&key, EMAIL, token(json!({"exp": 1}))),
            identity,
            "TOKEN_EXPIRED",
        ),
        (
            request(&key, EMAIL, token(json!({"aud": "other"}))),
            identity,
            "TOKEN_WRONG_AUDIENCE",
        ),
        (
            no_key,
            "The public key supplied in the request could not be parsed",
            "KEY_MALFORMED",
        ),
        (
            csr,
            "The certificate signing request could not be parsed",
            "CSR_MALFORMED",
        ),
        (
            request(&weak, "somebody@example.com", token(json!({}))),
            "The signature supplied in the request could not be verified",
            "PROOF_INVALID",
        ),
    ] {
        let status = create(request).await;
        assert_eq!(
            (status.code(), status.message()),
            (Code::InvalidArgument, sentence),
            "{reason}"
        );
        let (reasons, id) = details(&status);
        assert_eq!(reasons, [reason]);
        let header = status.metadata().get("x-request-id").unwrap();
        assert_eq!(id.as_deref(), header.to_str().ok());
    }

    // Back ends that fail are no fault of the client.
    site.log
        .down
        .store(true, std::sync::atomic::Ordering::SeqCst);
    let other = token(json!({"sub": "other"}));
    let status = create(request(&key, EMAIL, other)).await;
    assert_eq!(
        (status.code(), status.message()),
        (Code::Internal, "Error entering certificate in CTL")
    );
    let (reasons, _) = details(&status);
    assert!(reasons[0].starts_with("CT_LOG_"), "{reasons:?}");
    site.log
        .down
        .store(false, std::sync::atomic::Ordering::SeqCst);

    let first = Request::new(request(&key, EMAIL, token(json!({}))));
    way.ask::<_, SigningCertificate>(CREATE, first)
        .await
        .unwrap();
    let status = create(request(&key, EMAIL, token(json!({})))).await;
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert_eq!(details(&status).0, ["IDENTITY_RATE"]);
    let wait: u32 = status
        .metadata()
        .get("retry-after")
        .unwrap()
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!((1..=60).contains(&wait), "{wait}");

    // What never comes as far as a method is refused in the manner of gRPC, too.
    for method in [
        "/dev.sigstore.fulcio.v2.CA/DeleteCertificate",
        "/dev.sigstore.fulcio.v3.CA/GetTrustBundle",
    ] {
        let unknown = way.ask::<_, Empty>(method, Request::new(Empty {})).await;
        assert_eq!(unknown.unwrap_err().code(), Code::Unimplemented, "{method}");
    }
    let huge = request(&key, EMAIL, Some(STANDARD.encode(vec![0; 7 << 20])));
    let status = create(huge).await;
    assert!(
        matches!(status.code(), Code::ResourceExhausted | Code::OutOfRange),
        "{status}"
    );
}
