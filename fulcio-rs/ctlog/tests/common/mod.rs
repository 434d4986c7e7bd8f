//! A certificate authority and a log in memory, and what a client does with them.
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

use std::path::Path;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use ct::{AddChainReply, AddChainRequest, Sct};
use ctlog_rs::app::{self, App, Deps};
use ctlog_rs::config::LogConfig;
use ctlog_rs::roots::Roots;
use http_body_util::BodyExt as _;
use jiff::Timestamp;
use keys::Algorithm;
use note::VerifierKey;
use pki::profile::{self, Authority, AuthorityParameters, LeafParameters};
use pki::{Certificate, FulcioExtensions, SubjectName};
use serde_json::Value;
use serve::Clock;
use signer::Signer;
use tlog::{Hash, hash};
use tower::ServiceExt as _;

pub const START: &str = "2026-11-23T12:00:01Z";
pub const START_MS: u64 = 1_795_435_201_000;

pub fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

pub fn key() -> Signer {
    Signer::generate(Algorithm::EcdsaP256Sha256).unwrap()
}

pub struct Ca {
    /// The intermediate, then the root.
    pub chain: Vec<Certificate>,
    pub key: Signer,
    pub root_key: Signer,
}

impl Ca {
    pub fn new() -> Self {
        let (root_key, key) = (
            Signer::generate(Algorithm::EcdsaP384Sha384).unwrap(),
            Signer::generate(Algorithm::EcdsaP384Sha384).unwrap(),
        );
        let root = authority(Authority::Root, &root_key, None, &root_key);
        let intermediate = authority(
            Authority::CodeSigningIntermediate,
            &key,
            Some(&root),
            &root_key,
        );
        Self {
            chain: vec![intermediate, root],
            key,
            root_key,
        }
    }

    pub fn leaf(number: u32) -> LeafParameters {
        let mut serial = [1; 20];
        serial[16..].copy_from_slice(&number.to_be_bytes());
        LeafParameters {
            subject: SubjectName::Email("dev@example.com".into()),
            key: key().public_key().clone(),
            extensions: FulcioExtensions::default(),
            serial,
            not_before: at("2026-11-23T12:00:00Z"),
            not_after: at("2026-11-23T12:10:00Z"),
        }
    }

    pub fn precertificate(&self, number: u32) -> Certificate {
        self.precertificate_of(Self::leaf(number))
    }

    pub fn precertificate_of(&self, leaf: LeafParameters) -> Certificate {
        let prepared = profile::prepare_leaf(leaf, &self.chain[0]).unwrap();
        let signature = self.key.sign_local(prepared.to_be_signed()).unwrap();
        prepared.seal(&signature).unwrap().certificate().clone()
    }

    /// A precertificate with those above it.
    pub fn submission(&self, number: u32) -> Vec<Certificate> {
        [&[self.precertificate(number)][..], &self.chain].concat()
    }

    /// A certificate without SCTs, with those above it.
    pub fn final_submission(&self, number: u32) -> Vec<Certificate> {
        let unsigned =
            profile::prepare_leaf_without_ct(&Self::leaf(number), &self.chain[0]).unwrap();
        let signature = self.key.sign_local(unsigned.to_be_signed()).unwrap();
        [&[unsigned.seal(&signature).unwrap()][..], &self.chain].concat()
    }
}

pub fn authority(
    kind: Authority,
    key: &Signer,
    issuer: Option<&Certificate>,
    signer: &Signer,
) -> Certificate {
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
    let signature = signer.sign_local(unsigned.to_be_signed()).unwrap();
    unsigned.seal(&signature).unwrap()
}

pub fn config(folder: &Path) -> LogConfig {
    LogConfig::new(
        "http://localhost:6962/test".parse().unwrap(),
        signer::KeyRef::file(folder.join("unused")),
        folder,
    )
}

pub struct Log {
    pub router: Router,
    pub key: Signer,
    pub clock: Clock,
    pub roots: Roots,
}

pub async fn log(folder: &Path, ca: &Ca, key: &Signer) -> Log {
    log_of(&config(folder), ca, key).await
}

pub async fn log_of(config: &LogConfig, ca: &Ca, key: &Signer) -> Log {
    let clock = Clock::fixed(at(START));
    let roots = Roots::new(&ca.chain[1..]).unwrap();
    let deps = Deps {
        signer: key.clone(),
        roots: roots.clone(),
        clock: clock.clone(),
    };
    let App { router, .. } = app::build(config, deps).await.unwrap();
    Log {
        router,
        key: key.clone(),
        clock,
        roots,
    }
}

impl Log {
    pub fn verifier(&self) -> VerifierKey {
        VerifierKey::rfc6962("localhost:6962/test", self.key.public_key().clone()).unwrap()
    }

    pub async fn answer(&self, request: Request<Body>) -> (StatusCode, HeaderMap, Vec<u8>) {
        let answer = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = answer.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes().to_vec();
        (parts.status, parts.headers, bytes)
    }

    pub async fn get(&self, path: &str) -> (StatusCode, Vec<u8>) {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let (status, _, body) = self.answer(request).await;
        (status, body)
    }

    /// The JSON of a question that is to be answered.
    pub async fn ask(&self, path: &str) -> Value {
        let (status, body) = self.get(path).await;
        let text = String::from_utf8(body).unwrap();
        assert_eq!(status, StatusCode::OK, "{path}: {text}");
        serde_json::from_str(&text).unwrap()
    }

    /// Status and text of a question.
    pub async fn refused(&self, path: &str) -> (u16, String) {
        let (status, body) = self.get(path).await;
        (status.as_u16(), String::from_utf8(body).unwrap())
    }

    pub async fn post(&self, path: &str, body: impl Into<Body>) -> (StatusCode, String) {
        let request = Request::post(path).body(body.into()).unwrap();
        let (status, _, body) = self.answer(request).await;
        (status, String::from_utf8(body).unwrap())
    }

    pub async fn add(&self, path: &str, chain: &[Certificate]) -> (StatusCode, String) {
        let chain = chain.iter().map(|certificate| certificate.der().into());
        let request = AddChainRequest {
            chain: chain.collect(),
        };
        self.post(path, serde_json::to_vec(&request).unwrap()).await
    }

    pub async fn sct(&self, chain: &[Certificate]) -> Sct {
        self.sct_at("/ct/v1/add-pre-chain", chain).await
    }

    pub async fn sct_at(&self, path: &str, chain: &[Certificate]) -> Sct {
        let (status, body) = self.add(path, chain).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        serde_json::from_str::<AddChainReply>(&body)
            .unwrap()
            .sct()
            .unwrap()
    }
}

/// RFC 6962 2.1, word for word.
pub fn naive_root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => hash::EMPTY,
        [leaf] => *leaf,
        _ => {
            let mut k = 1;
            while k * 2 < leaves.len() {
                k *= 2;
            }
            hash::node(&naive_root(&leaves[..k]), &naive_root(&leaves[k..]))
        }
    }
}
