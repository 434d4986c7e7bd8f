//! What hostile registries did to other verifiers, each by its advisory: they sent without end, and the verifier read until the machine had no
//! memory or no time left. Those about signatures themselves are in the crate `verify`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    unreachable_pub,
    missing_docs,
    dead_code,
    reason = "a panic is a test's way to fail"
)]

mod common;

use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::any;
use bytes::Bytes;
use common::{Behaviour, Fake, client};
use futures_util::{StreamExt as _, stream};
use oci::{Descriptor, Found, IMAGE_TYPE, INDEX_TYPE, LegacyKind, OciError, Repository};
use serde_json::json;

const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
const SIMPLE: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
/// No look at an image may take longer, however slow the machine.
const PATIENCE: Duration = Duration::from_mins(1);
/// Pieces of 64 KiB that may have been sent when the client hangs up: its limits, and what the kernel holds of each answer (up to 32 MiB).
const PIECES: usize = 16 * 96;

struct Hostile {
    at: Repository,
    pieces: Arc<AtomicUsize>,
    requests: Arc<AtomicUsize>,
}

/// A registry that answers this; `None` is a body without end.
async fn hostile(
    answer: impl Fn(&str) -> (StatusCode, &'static str, String, Option<String>)
    + Clone
    + Send
    + Sync
    + 'static,
) -> Hostile {
    let (pieces, requests) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
    let (sent, asked) = (Arc::clone(&pieces), Arc::clone(&requests));
    let serve = move |request: Request| {
        asked.fetch_add(1, Ordering::SeqCst);
        let (status, media_type, link, body) = answer(request.uri().path());
        let body = body.map_or_else(
            || {
                let sent = Arc::clone(&sent);
                // The client's turn after each piece: else what the kernel's buffers hold, 32 MiB on some machines, would be counted as read.
                Body::from_stream(stream::repeat(Bytes::from(vec![b' '; 1 << 16])).then(
                    move |piece| {
                        sent.fetch_add(1, Ordering::SeqCst);
                        async move {
                            tokio::task::yield_now().await;
                            Ok::<_, Infallible>(piece)
                        }
                    },
                ))
            },
            Body::from,
        );
        let mut response: Response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, media_type.parse().unwrap());
        if !link.is_empty() {
            headers.insert(header::LINK, link.parse().unwrap());
        }
        async move { response }
    };
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new().route("/{*path}", any(serve));
    tokio::spawn(async move { axum::serve(listener, router).await });
    Hostile {
        at: Repository::parse(&format!("{address}/team/app")).unwrap(),
        pieces,
        requests,
    }
}

fn nothing() -> (StatusCode, &'static str, String, Option<String>) {
    let none = Some("{}".to_owned());
    (
        StatusCode::NOT_FOUND,
        "application/json",
        String::new(),
        none,
    )
}

fn ok(
    media_type: &'static str,
    body: Option<String>,
) -> (StatusCode, &'static str, String, Option<String>) {
    (StatusCode::OK, media_type, String::new(), body)
}

async fn look(at: &Repository, image: &Descriptor) -> Found {
    let client = client();
    let kinds = [LegacyKind::Signature, LegacyKind::Attestation];
    let looking = client.attached(at, &image.digest, &kinds);
    let found = tokio::time::timeout(PATIENCE, looking).await;
    found.expect("it was read without end")
}

/// cosign before 2.2.1 read attachments of any size into memory.
#[tokio::test]
async fn ghsa_vfp6_jrw2_99g9_what_never_ends_is_not_read_to_the_end() {
    let image = Descriptor::of(IMAGE_TYPE, b"an image");
    let layer = Descriptor::of(BUNDLE, b"a bundle");
    let referrer = json!({ "layers": [layer], "subject": image }).to_string();
    let entry = Descriptor::of(IMAGE_TYPE, referrer.as_bytes());
    let index = json!({ "mediaType": INDEX_TYPE, "manifests": [entry] }).to_string();
    let signature = json!({ "mediaType": IMAGE_TYPE, "layers": [
        Descriptor { media_type: SIMPLE.to_owned(), ..layer.clone() },
    ] })
    .to_string();
    // Which of them has no end: a list, a list behind a tag, a manifest, an old manifest, a blob.
    for endless in [
        "/referrers/",
        "/manifests/sha256-",
        "/manifests/sha256:",
        ".sig",
        "/blobs/",
    ] {
        let (index, referrer, signature) = (index.clone(), referrer.clone(), signature.clone());
        let listed = endless != "/manifests/sha256-";
        let registry = hostile(move |path| {
            let body = |text: &String| (!path.contains(endless)).then(|| text.clone());
            if path.contains("/referrers/") {
                if listed {
                    ok(INDEX_TYPE, body(&index))
                } else {
                    nothing()
                }
            } else if path.contains("/manifests/sha256:") {
                ok(IMAGE_TYPE, body(&referrer))
            } else if path.contains(".sig") {
                ok(IMAGE_TYPE, body(&signature))
            } else if path.contains("/manifests/sha256-") && !path.contains('.') {
                ok(INDEX_TYPE, body(&index))
            } else if path.contains("/blobs/") {
                ok("application/octet-stream", body(&"a bundle".to_owned()))
            } else {
                nothing()
            }
        })
        .await;
        let found = look(&registry.at, &image).await;
        assert!(
            !found.problems.is_empty(),
            "{endless} is not known to be nothing"
        );
        let pieces = registry.pieces.load(Ordering::SeqCst);
        assert!((1..PIECES).contains(&pieces), "{endless}: {pieces} pieces");
    }
    // The image itself.
    let registry = hostile(|_| ok(IMAGE_TYPE, None)).await;
    let read = client();
    let reference = registry.at.at(image.digest);
    let read = tokio::time::timeout(PATIENCE, read.image(&reference)).await;
    assert!(read.expect("it was read without end").is_err());
    assert!(registry.pieces.load(Ordering::SeqCst) < PIECES);
}

/// cosign before 2.2.1 followed a list of attestations for as long as the registry went on with it.
#[tokio::test]
async fn ghsa_88jx_383q_w4qc_a_list_without_a_last_page_is_given_up() {
    let image = Descriptor::of(IMAGE_TYPE, b"an image");
    let registry = hostile(|path| {
        if !path.contains("/referrers/") {
            return nothing();
        }
        let page = json!({ "mediaType": INDEX_TYPE, "manifests": [] }).to_string();
        let next = "</v2/team/app/referrers/x>; rel=\"next\"".to_owned();
        (StatusCode::OK, INDEX_TYPE, next, Some(page))
    })
    .await;
    let found = look(&registry.at, &image).await;
    let problems: Vec<&OciError> = found.problems.iter().map(|problem| &problem.why).collect();
    assert!(
        matches!(problems.as_slice(), [OciError::TooMany { .. }]),
        "{problems:?}"
    );
    assert!(registry.requests.load(Ordering::SeqCst) < 120);
}

/// A list may also be long before its last page: entries of two bytes, each of which takes many times that in memory, or few that are large.
#[tokio::test]
async fn ghsa_88jx_383q_w4qc_a_list_with_large_pages_is_given_up() {
    let image = Descriptor::of(IMAGE_TYPE, b"an image");
    let pages = [json!(vec![1; 6000]), json!(["x".repeat(3 << 20)])];
    for (manifests, most) in pages.into_iter().zip([10, 20]) {
        let page = json!({ "mediaType": INDEX_TYPE, "manifests": manifests }).to_string();
        let registry = hostile(move |path| {
            if !path.contains("/referrers/") {
                return nothing();
            }
            let next = "</v2/team/app/referrers/x>; rel=\"next\"".to_owned();
            (StatusCode::OK, INDEX_TYPE, next, Some(page.clone()))
        })
        .await;
        let found = look(&registry.at, &image).await;
        let problems: Vec<&OciError> = found.problems.iter().map(|problem| &problem.why).collect();
        assert!(
            matches!(problems.as_slice(), [OciError::TooMany { .. }]),
            "{problems:?}"
        );
        let requests = registry.requests.load(Ordering::SeqCst);
        assert!(requests < most, "{requests}");
    }
}

/// cosign before 2.2.1 looked at as many signatures as a manifest has, which may be more than a machine has time for.
#[tokio::test]
async fn ghsa_95pr_fxf5_86gv_a_manifest_of_many_signatures_is_cut() {
    const LAYERS: usize = 5000;
    let fake = Fake::start(Behaviour::default()).await;
    let image = fake.image();
    let layer = fake.put_blob(SIMPLE, b"payload");
    let manifest = json!({ "mediaType": IMAGE_TYPE, "layers": vec![layer; LAYERS] });
    let tag = LegacyKind::Signature.tag(&image.digest);
    fake.put(&tag, IMAGE_TYPE, manifest.to_string().as_bytes());
    let found = look(&fake.repository(), &image).await;
    assert!(found.legacy.len() <= 1000);
    assert!(matches!(found.problems[0].why, OciError::TooMany { .. }));
    assert!(fake.requests.load(Ordering::SeqCst) < 1020);
}
