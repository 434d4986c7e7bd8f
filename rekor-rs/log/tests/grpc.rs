//! The gRPC interface, asked with tonic's client over the routes. (Over a socket it is asked by upstream's own client, see the peers.)
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs,
    reason = "a panic is a test's report"
)]

use axum::Router;
use axum::http::uri::PathAndQuery;
use keys::{Algorithm, sha256};
use note::VerifierKey;
use prost::Message;
use rekor_rs::app::{self, App, Deps};
use rekor_rs::config::{Duplicates, LogConfig};
use rekor_rs::grpc::messages::{
    CreateEntryRequest, DsseEnvelope, DsseRequest, DsseSignature, Empty, EntryBundleRequest,
    HashedRekordRequest, HealthCheckRequest, HealthCheckResponse, HttpBody, Key, RawBytes,
    RequestSpec, Signature, TileRequest, TransparencyLogEntry, Verifier,
};
use rekor_rs::storage::Storage;
use serve::Clock;
use signer::Signer;
use tempfile::TempDir;
use tlog::{Hash, LeafIndex, hash, proof};
use tonic::{Code, Request, Response, Status};
use tonic_prost::ProstCodec;

/// `PKIX_ECDSA_P256_SHA_256` of the protobuf-specs.
const P256: i32 = 5;

struct Instance {
    router: Router,
    verifier: VerifierKey,
    _folder: TempDir,
}

async fn instance() -> Instance {
    let folder = tempfile::tempdir().unwrap();
    let config = LogConfig {
        origin: "localhost".to_owned(),
        key: signer::KeyRef::file("unused"),
        home: folder.path().join("log").into(),
        checkpoint_copy: None,
        duplicates: Duplicates::Conflict,
        dsse: true,
        queue: 64,
    };
    let signer = Signer::generate(Algorithm::Ed25519).unwrap();
    let deps = Deps {
        signer: signer.clone(),
        v1: None,
        search: None,
        witnessing: None,
        storage: Storage::Folders,
        clock: Clock::fixed("2026-11-23T12:00:00Z".parse().unwrap()),
    };
    let App { router, .. } = app::build(&config, deps).await.unwrap();
    Instance {
        router,
        verifier: VerifierKey::new("localhost", signer.public_key().clone()).unwrap(),
        _folder: folder,
    }
}

impl Instance {
    async fn ask<I, O>(&self, method: &'static str, request: Request<I>) -> Result<O, Status>
    where
        I: Message + Default + 'static,
        O: Message + Default + 'static,
    {
        let service = tower::util::MapRequest::new(
            self.router.clone(),
            |request: axum::http::Request<tonic::body::Body>| request.map(axum::body::Body::new),
        );
        let mut client = tonic::client::Grpc::new(service);
        let path = PathAndQuery::from_static(method);
        client.ready().await.unwrap();
        let answer = client.unary(request, path, ProstCodec::<I, O>::default());
        answer.await.map(Response::into_inner)
    }

    async fn create(&self, request: CreateEntryRequest) -> Result<TransparencyLogEntry, Status> {
        let method = "/dev.sigstore.rekor.v2.Rekor/CreateEntry";
        self.ask(method, Request::new(request)).await
    }
}

fn verifier(signer: &Signer) -> Verifier {
    Verifier {
        verifier: Some(Key::PublicKey(RawBytes {
            raw_bytes: signer.public_key().spki_der().to_vec(),
        })),
        key_details: P256,
    }
}

fn hashedrekord(message: &[u8]) -> HashedRekordRequest {
    let signer = Signer::generate(Algorithm::EcdsaP256Sha256).unwrap();
    HashedRekordRequest {
        digest: sha256(message).to_vec(),
        signature: Some(Signature {
            content: signer.sign_local(message).unwrap(),
            verifier: Some(verifier(&signer)),
        }),
    }
}

fn request(request: HashedRekordRequest) -> CreateEntryRequest {
    CreateEntryRequest {
        spec: Some(RequestSpec::HashedRekord(request)),
    }
}

fn check(instance: &Instance, entry: &TransparencyLogEntry) {
    let inclusion = entry.inclusion_proof.as_ref().unwrap();
    let envelope = &inclusion.checkpoint.as_ref().unwrap().envelope;
    let opened = note::open(
        envelope.as_bytes(),
        std::slice::from_ref(&instance.verifier),
    )
    .unwrap();
    let hashes = inclusion.hashes.iter();
    let hashes: Vec<Hash> = hashes.map(|hash| Hash::from_slice(hash).unwrap()).collect();
    let index = LeafIndex::new(u64::try_from(inclusion.log_index).unwrap());
    let leaf = hash::leaf(&entry.canonicalized_body);
    proof::verify_inclusion(&leaf, index, &hashes, opened.head()).unwrap();
    assert_eq!(inclusion.root_hash, opened.head().root.as_bytes());
    assert_eq!(
        u64::try_from(inclusion.tree_size).unwrap(),
        opened.head().size.get()
    );
    assert_eq!(entry.log_index, inclusion.log_index);
    assert_eq!(
        entry.log_id.as_ref().unwrap().key_id,
        instance.verifier.id()
    );
    assert_eq!(entry.integrated_time, 0);
}

#[tokio::test]
async fn an_entry_goes_in_once_and_is_proven() {
    let instance = instance().await;
    let first = hashedrekord(b"one");
    let entry = instance.create(request(first.clone())).await.unwrap();
    check(&instance, &entry);
    let kind = entry.kind_version.unwrap();
    assert_eq!(
        (kind.kind.as_str(), kind.version.as_str()),
        ("hashedrekord", "0.0.2")
    );
    // The body is the one of the JSON interface: the key's algorithm by name.
    let body: serde_json::Value = serde_json::from_slice(&entry.canonicalized_body).unwrap();
    let verifier = &body["spec"]["hashedRekordV002"]["signature"]["verifier"];
    assert_eq!(verifier["keyDetails"], "PKIX_ECDSA_P256_SHA_256");

    check(
        &instance,
        &instance
            .create(request(hashedrekord(b"two")))
            .await
            .unwrap(),
    );
    let again = instance.create(request(first)).await.unwrap_err();
    assert_eq!(again.code(), Code::AlreadyExists);
    assert_eq!(again.metadata().get("x-log-index").unwrap(), "0");

    let signer = Signer::generate(Algorithm::EcdsaP256Sha256).unwrap();
    let dsse = DsseRequest {
        envelope: Some(DsseEnvelope {
            payload: b"payload".to_vec(),
            payload_type: "text/plain".to_owned(),
            signatures: vec![DsseSignature {
                sig: signer
                    .sign_local(&dsse::pae("text/plain", b"payload"))
                    .unwrap(),
                keyid: String::new(),
            }],
        }),
        verifiers: vec![self::verifier(&signer)],
    };
    let dsse = CreateEntryRequest {
        spec: Some(RequestSpec::Dsse(dsse)),
    };
    let entry = instance.create(dsse).await.unwrap();
    check(&instance, &entry);
    assert_eq!(entry.kind_version.unwrap().kind, "dsse");
}

#[tokio::test]
async fn what_is_wrong_has_a_code_and_a_reason() {
    let instance = instance().await;
    let good = hashedrekord(b"one");
    let change = |change: fn(&mut HashedRekordRequest)| {
        let mut changed = good.clone();
        change(&mut changed);
        request(changed)
    };
    for (request, why) in [
        (CreateEntryRequest { spec: None }, "missing spec"),
        (
            change(|request| request.signature = None),
            "missing signature",
        ),
        (
            change(|request| request.signature.as_mut().unwrap().verifier = None),
            "missing signature.verifier",
        ),
        (
            change(|request| request.digest.truncate(31)),
            "invalid digest",
        ),
        (change(|request| request.digest[0] ^= 1), "does not verify"),
        (
            change(|request| {
                request
                    .signature
                    .as_mut()
                    .unwrap()
                    .verifier
                    .as_mut()
                    .unwrap()
                    .key_details = 99;
            }),
            "verifier",
        ),
        (
            change(|request| {
                request
                    .signature
                    .as_mut()
                    .unwrap()
                    .verifier
                    .as_mut()
                    .unwrap()
                    .verifier = None;
            }),
            "verifier",
        ),
        (
            CreateEntryRequest {
                spec: Some(RequestSpec::Dsse(DsseRequest::default())),
            },
            "missing envelope",
        ),
    ] {
        let refused = instance.create(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
        assert!(
            refused.message().contains(why),
            "{}: {why}",
            refused.message()
        );
    }
    let mut odd = Request::new(request(good));
    odd.metadata_mut()
        .insert("wait", "for ever".parse().unwrap());
    let refused = instance
        .ask::<_, TransparencyLogEntry>("/dev.sigstore.rekor.v2.Rekor/CreateEntry", odd)
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    let large = request(HashedRekordRequest {
        digest: vec![0; 5 << 20],
        signature: None,
    });
    let refused = instance.create(large).await.unwrap_err();
    assert_eq!(refused.code(), Code::OutOfRange, "{refused}");
    let unknown: Result<Empty, _> = instance
        .ask(
            "/dev.sigstore.rekor.v2.Rekor/DeleteEntry",
            Request::new(Empty {}),
        )
        .await;
    assert_eq!(unknown.unwrap_err().code(), Code::Unimplemented);
}

#[tokio::test]
async fn requests_are_counted_under_upstreams_names() {
    serve::metrics::init();
    let instance = instance().await;
    let entry = request(hashedrekord(b"counted"));
    instance.create(entry.clone()).await.unwrap();
    instance.create(entry).await.unwrap_err();
    let request = axum::http::Request::get("/metrics").body(axum::body::Body::empty());
    let answer = tower::ServiceExt::oneshot(instance.router.clone(), request.unwrap());
    let figures = answer.await.unwrap().into_body();
    let figures = http_body_util::BodyExt::collect(figures).await.unwrap();
    let figures = String::from_utf8(figures.to_bytes().to_vec()).unwrap();
    let method = r#"grpc_service="dev.sigstore.rekor.v2.Rekor",grpc_method="CreateEntry""#;
    for line in [
        format!(r#"grpc_server_handled_total{{grpc_type="unary",{method},grpc_code="OK"}}"#),
        format!(
            r#"grpc_server_handled_total{{grpc_type="unary",{method},grpc_code="AlreadyExists"}}"#
        ),
        format!(r#"grpc_server_handling_seconds_count{{grpc_type="unary",{method}}}"#),
        format!(r#"rekor_v2_grpc_api_request_size_count{{{method},grpc_packet_part="payload"}}"#),
    ] {
        assert!(figures.contains(&line), "{line} is not in\n{figures}");
    }
}

#[tokio::test]
async fn everything_can_be_read() {
    let instance = instance().await;
    let entry = instance
        .create(request(hashedrekord(b"one")))
        .await
        .unwrap();
    let read = async |method, path: &str| {
        let index = path.to_owned();
        if method == "tile" {
            let request = Request::new(TileRequest { level: 0, index });
            let method = "/dev.sigstore.rekor.v2.Rekor/GetTile";
            instance.ask::<_, HttpBody>(method, request).await
        } else {
            let request = Request::new(EntryBundleRequest { index });
            let method = "/dev.sigstore.rekor.v2.Rekor/GetEntryBundle";
            instance.ask::<_, HttpBody>(method, request).await
        }
    };
    let leaf = hash::leaf(&entry.canonicalized_body);
    assert_eq!(read("tile", "000.p/1").await.unwrap().data, leaf.as_bytes());
    let bundle = read("bundle", "000.p/1").await.unwrap();
    assert_eq!(bundle.content_type, "application/octet-stream");
    assert_eq!(bundle.data[2..], entry.canonicalized_body);
    for (method, path) in [
        ("tile", "000"),
        ("tile", "../000"),
        ("bundle", "001.p/1"),
        ("bundle", ""),
    ] {
        assert_eq!(
            read(method, path).await.unwrap_err().code(),
            Code::NotFound,
            "{path}"
        );
    }
    let method = "/dev.sigstore.rekor.v2.Rekor/GetCheckpoint";
    let checkpoint: HttpBody = instance.ask(method, Request::new(Empty {})).await.unwrap();
    let envelope = entry.inclusion_proof.unwrap().checkpoint.unwrap().envelope;
    assert_eq!(checkpoint.data, envelope.as_bytes());

    let health = async |service: &str| {
        let request = HealthCheckRequest {
            service: service.to_owned(),
        };
        let method = "/grpc.health.v1.Health/Check";
        instance
            .ask::<_, HealthCheckResponse>(method, Request::new(request))
            .await
    };
    for service in ["", "dev.sigstore.rekor.v2.Rekor"] {
        assert_eq!(health(service).await.unwrap().status, 1);
    }
    assert_eq!(health("other").await.unwrap_err().code(), Code::NotFound);
}
