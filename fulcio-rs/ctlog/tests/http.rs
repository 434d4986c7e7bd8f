//! The log over HTTP: what it takes in, what it refuses, and that its promises hold.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic is the failure report"
)]

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use ct::{
    AddChainReply, AddChainRequest, Sct, entry_of_precertificate, parse_leaf_index, parse_tile_leaf,
};
use ctlog_rs::app::{self, Deps};
use ctlog_rs::config::LogConfig;
use http_body_util::BodyExt as _;
use jiff::Timestamp;
use keys::{Algorithm, sha256};
use note::VerifierKey;
use pki::profile::{self, Authority, AuthorityParameters, LeafParameters};
use pki::{Certificate, FulcioExtensions, SubjectName};
use serve::Clock;
use signer::Signer;
use tower::ServiceExt as _;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

struct Ca {
    chain: Vec<Certificate>,
    key: Signer,
}

impl Ca {
    fn new() -> Self {
        let (root_key, key) = (
            Signer::generate(Algorithm::EcdsaP384Sha384).unwrap(),
            Signer::generate(Algorithm::EcdsaP384Sha384).unwrap(),
        );
        let certificate = |kind, key: &Signer, issuer: Option<&Certificate>| {
            let parameters = AuthorityParameters {
                authority: kind,
                organization: "Example".into(),
                common_name: format!("{kind:?}"),
                key: key.public_key().clone(),
                serial: [3; 20],
                not_before: at("2026-01-01T00:00:00Z"),
                not_after: at("2036-01-01T00:00:00Z"),
            };
            let unsigned = profile::prepare_authority(&parameters, issuer).unwrap();
            let signature = root_key.sign_local(unsigned.to_be_signed()).unwrap();
            unsigned.seal(&signature).unwrap()
        };
        let root = certificate(Authority::Root, &root_key, None);
        let intermediate = certificate(Authority::CodeSigningIntermediate, &key, Some(&root));
        Self {
            chain: vec![intermediate, root],
            key,
        }
    }

    fn precertificate(&self, number: u8) -> Certificate {
        let leaf = LeafParameters {
            subject: SubjectName::Email("dev@example.com".into()),
            key: Signer::generate(Algorithm::EcdsaP256Sha256)
                .unwrap()
                .public_key()
                .clone(),
            extensions: FulcioExtensions::default(),
            serial: [number; 20],
            not_before: at("2026-11-23T12:00:00Z"),
            not_after: at("2026-11-23T12:10:00Z"),
        };
        let prepared = profile::prepare_leaf(leaf, &self.chain[0]).unwrap();
        let signature = self.key.sign_local(prepared.to_be_signed()).unwrap();
        prepared.seal(&signature).unwrap().certificate().clone()
    }
}

struct Log {
    router: Router,
    key: Signer,
    clock: Clock,
}

async fn log(folder: &std::path::Path, ca: &Ca, key: &Signer, leaf_index: bool) -> Log {
    let clock = Clock::fixed(at("2026-11-23T12:00:01Z"));
    let config = LogConfig {
        url: "http://localhost:6962/test".parse().unwrap(),
        key: signer::KeyRef::file(folder.join("unused")),
        roots: folder.join("unused"),
        folder: folder.to_owned(),
        checkpoint_copy: None,
        leaf_index,
        queue: 64,
    };
    let deps = Deps {
        signer: key.clone(),
        roots: vec![ca.chain[1].clone()],
        clock: clock.clone(),
    };
    Log {
        router: app::build(&config, deps).await.unwrap().router,
        key: key.clone(),
        clock,
    }
}

impl Log {
    async fn get(&self, path: &str) -> (StatusCode, Vec<u8>) {
        self.send(Request::get(path).body(Body::empty()).unwrap())
            .await
    }

    async fn send(&self, request: Request<Body>) -> (StatusCode, Vec<u8>) {
        let answer = self.router.clone().oneshot(request).await.unwrap();
        let status = answer.status();
        (
            status,
            answer
                .into_body()
                .collect()
                .await
                .unwrap()
                .to_bytes()
                .to_vec(),
        )
    }

    async fn add(&self, path: &str, chain: &[Certificate]) -> (StatusCode, Vec<u8>) {
        let request = AddChainRequest {
            chain: chain
                .iter()
                .map(|certificate| certificate.der().into())
                .collect(),
        };
        self.send(
            Request::post(path)
                .body(Body::from(serde_json::to_vec(&request).unwrap()))
                .unwrap(),
        )
        .await
    }

    async fn sct(&self, chain: &[Certificate]) -> Sct {
        let (status, body) = self.add("/ct/v1/add-pre-chain", chain).await;
        assert_eq!(status, StatusCode::OK, "{}", String::from_utf8_lossy(&body));
        serde_json::from_slice::<AddChainReply>(&body)
            .unwrap()
            .sct()
            .unwrap()
    }
}

fn key() -> Signer {
    Signer::generate(Algorithm::EcdsaP256Sha256).unwrap()
}

#[tokio::test]
async fn an_sct_is_a_promise_that_the_tiles_keep() {
    let (folder, ca) = (tempfile::tempdir().unwrap(), Ca::new());
    let log = log(folder.path(), &ca, &key(), true).await;
    let number = 0;
    {
        let precertificate = ca.precertificate(number);
        let chain = [&[precertificate.clone()][..], &ca.chain].concat();
        let sct = log.sct(&chain).await;
        let entry = entry_of_precertificate(&precertificate, &ca.chain[0]).unwrap();
        assert_eq!(sct.verify(&entry, log.key.public_key()), Ok(()));
        assert_eq!(
            parse_leaf_index(&sct.extensions),
            Ok(Some(u64::from(number)))
        );
        assert_eq!(sct.timestamp_ms, 1_795_435_201_000);
        // Again, an hour later and without the root: the same time and index.
        log.clock.advance(std::time::Duration::from_hours(1));
        let again = log.sct(&chain[..2]).await;
        assert_eq!(
            (again.timestamp_ms, &again.extensions),
            (sct.timestamp_ms, &sct.extensions)
        );
        assert_eq!(again.verify(&entry, log.key.public_key()), Ok(()));
        {
            let (_, data) = log.get("/tile/data/000.p/1").await;
            let parsed = parse_tile_leaf(&data).unwrap();
            assert_eq!(
                parsed.leaf.precertificate.as_deref(),
                Some(precertificate.der())
            );
            assert_eq!(
                parsed.leaf.chain,
                [sha256(ca.chain[0].der()), sha256(ca.chain[1].der())]
            );
            let fingerprint: String = parsed.leaf.chain[0]
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect::<Vec<_>>()
                .concat();
            assert_eq!(
                log.get(&format!("/issuer/{fingerprint}")).await,
                (StatusCode::OK, ca.chain[0].der().to_vec())
            );
        }
    }
    let verifier =
        VerifierKey::rfc6962("localhost:6962/test", log.key.public_key().clone()).unwrap();
    for path in ["/checkpoint", "/test/checkpoint"] {
        let (_, checkpoint) = log.get(path).await;
        let opened = note::open(&checkpoint, std::slice::from_ref(&verifier)).unwrap();
        assert_eq!(opened.head().size.get(), 1);
    }
    assert_eq!(log.get("/tile/0/000.p/1").await.1.len(), 32);
    for path in [
        "/tile/0/000.p/2",
        "/tile/data/001",
        "/issuer/00",
        "/nothing",
    ] {
        assert_eq!(log.get(path).await.0, StatusCode::NOT_FOUND, "{path}");
    }
    let (_, roots) = log.get("/test/ct/v1/get-roots").await;
    assert!(
        String::from_utf8(roots)
            .unwrap()
            .contains(&wire::encoding::Bytes::encode(ca.chain[1].der()))
    );
}

#[tokio::test]
async fn a_second_start_continues_the_log() {
    let (folder, ca, key) = (tempfile::tempdir().unwrap(), Ca::new(), key());
    let chain = |number| [&[ca.precertificate(number)][..], &ca.chain].concat();
    let first = log(folder.path(), &ca, &key, true).await;
    let kept = chain(1);
    let sct = first.sct(&kept).await;
    drop(first);
    let second = log(folder.path(), &ca, &key, true).await;
    assert_eq!(second.sct(&kept).await.extensions, sct.extensions);
    assert_eq!(
        parse_leaf_index(&second.sct(&chain(2)).await.extensions),
        Ok(Some(1))
    );
}

#[tokio::test]
async fn without_the_switch_there_is_no_extension() {
    let (folder, ca) = (tempfile::tempdir().unwrap(), Ca::new());
    let log = log(folder.path(), &ca, &key(), false).await;
    let chain = [&[ca.precertificate(1)][..], &ca.chain].concat();
    assert!(log.sct(&chain).await.extensions.is_empty());
}

#[tokio::test]
async fn each_refusal_has_its_reason() {
    let (folder, ours, other) = (tempfile::tempdir().unwrap(), Ca::new(), Ca::new());
    let log = log(folder.path(), &ours, &key(), true).await;
    let precertificate = ours.precertificate(1);
    let chain = [&[precertificate.clone()][..], &ours.chain].concat();
    let foreign = [&[other.precertificate(1)][..], &other.chain].concat();
    let mixed = [&[other.precertificate(1)][..], &ours.chain].concat();
    for (path, chain, reason) in [
        ("/ct/v1/add-pre-chain", foreign, "UNKNOWN_ROOT"),
        ("/ct/v1/add-pre-chain", mixed, "CHAIN_BROKEN"),
        ("/ct/v1/add-pre-chain", ours.chain.clone(), "CHAIN_BROKEN"),
        (
            "/ct/v1/add-pre-chain",
            vec![precertificate.clone()],
            "UNKNOWN_ROOT",
        ),
        ("/ct/v1/add-chain", chain.clone(), "WRONG_KIND"),
        ("/ct/v1/add-pre-chain", Vec::new(), "REQUEST_MALFORMED"),
        (
            "/ct/v1/add-pre-chain",
            vec![precertificate; 11],
            "REQUEST_MALFORMED",
        ),
    ] {
        let (status, body) = log.add(path, &chain).await;
        let text = String::from_utf8(body).unwrap();
        assert_eq!(status, StatusCode::BAD_REQUEST, "{reason}: {text}");
        assert!(text.contains(reason), "{reason}: {text}");
    }
    for body in ["", "{}", "[]", "{\"chain\":[\"AAAA\"]}", "{\"chain\":[1]}"] {
        let request = Request::post("/ct/v1/add-pre-chain")
            .body(Body::from(body))
            .unwrap();
        assert_eq!(log.send(request).await.0, StatusCode::BAD_REQUEST, "{body}");
    }
    assert_eq!(
        log.get("/tile/0/000.p/1").await.0,
        StatusCode::NOT_FOUND,
        "nothing went in"
    );
}
