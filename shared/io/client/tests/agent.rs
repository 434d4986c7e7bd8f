//! The agent against a server that misbehaves.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs,
    reason = "a panic is a test's way to fail"
)]

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Redirect};
use axum::routing::{any, get};
use client::{
    Agent, Call, CallError, Fulcio, FulcioError, IdentityToken, Rekor, RekorError, Repeat,
    Settings, Tsa, TsaError,
};
use url::Url;

#[derive(Clone, Default)]
struct Count(Arc<AtomicUsize>);

impl Count {
    fn next(&self) -> usize {
        self.0.fetch_add(1, Ordering::SeqCst)
    }
    fn total(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

async fn start(router: Router) -> Url {
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    Url::parse(&url).unwrap()
}

fn agent() -> Agent {
    Agent::new(Settings {
        first_pause: Duration::ZERO,
        ..Settings::default()
    })
}

fn at(base: &Url, path: &str) -> Call {
    Call::get(base.join(path).unwrap())
}

#[tokio::test]
async fn throttling_passes_and_a_long_one_is_the_answer() {
    let count = Count::default();
    let router = Router::new()
        .route(
            "/soon",
            any(|State(count): State<Count>| async move {
                if count.next() < 2 {
                    (StatusCode::TOO_MANY_REQUESTS, [(header::RETRY_AFTER, "0")]).into_response()
                } else {
                    "done".into_response()
                }
            }),
        )
        .route(
            "/later",
            any(|State(count): State<Count>| async move {
                count.next();
                (
                    StatusCode::TOO_MANY_REQUESTS,
                    [(header::RETRY_AFTER, "3600")],
                )
            }),
        )
        .route(
            "/broken",
            any(|State(count): State<Count>| async move {
                count.next();
                (
                    StatusCode::INTERNAL_SERVER_ERROR,
                    r#"{"message":"no disk"}"#,
                )
            }),
        )
        .with_state(count.clone());
    let base = start(router).await;
    let agent = agent();

    let answer = agent.send(&at(&base, "/soon")).await.unwrap();
    assert_eq!(
        (answer.status, &answer.body[..]),
        (StatusCode::OK, &b"done"[..])
    );
    assert_eq!(count.total(), 3);

    let answer = agent.send(&at(&base, "/later")).await.unwrap();
    assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(count.total(), 4, "asked once, since an hour is too long");

    let answer = agent.send(&at(&base, "/broken")).await.unwrap();
    assert_eq!(count.total(), 8, "four attempts");
    let refused = answer.expect(&[200]).unwrap_err().to_string();
    assert!(
        refused.ends_with("/broken answered 500 Internal Server Error: no disk"),
        "{refused}"
    );

    let once = at(&base, "/broken").repeat(Repeat::Unsent);
    agent.send(&once).await.unwrap();
    assert_eq!(count.total(), 9, "it was seen, so it is not sent again");
}

#[tokio::test]
async fn answers_have_a_limit_announced_or_not() {
    let endless = || async {
        let pieces = (0..64).map(|_| Ok::<_, std::io::Error>(vec![b'a'; 1024]));
        Body::from_stream(futures(pieces))
    };
    let router = Router::new()
        .route("/endless", get(endless))
        .route("/large", get(|| async { vec![b'a'; 64 * 1024] }));
    let base = start(router).await;
    for path in ["/endless", "/large"] {
        let refused = agent().send(&at(&base, path).limit(64 * 1024 - 1)).await;
        assert!(
            matches!(refused, Err(CallError::TooLarge { limit: 65535, .. })),
            "{path}"
        );
        let taken = agent()
            .send(&at(&base, path).limit(64 * 1024))
            .await
            .unwrap();
        assert_eq!(taken.body.len(), 64 * 1024);
    }
}

fn futures<T: Send>(
    pieces: impl Iterator<Item = T> + Send,
) -> impl futures_util::Stream<Item = T> + Send {
    futures_util::stream::iter(pieces)
}

#[tokio::test]
async fn redirects_stay_with_the_host_and_tokens_with_them() {
    let elsewhere = start(Router::new().route("/", get(|| async { "caught" }))).await;
    let router = Router::new()
        .route("/here", get(|| async { Redirect::temporary("/there") }))
        .route("/there", get(|| async { "there" }))
        .route("/loop", get(|| async { Redirect::temporary("/loop") }))
        .route(
            "/away",
            get(move || async move { Redirect::temporary(elsewhere.as_str()) }),
        );
    let base = start(router).await;
    assert_eq!(
        &agent().send(&at(&base, "/here")).await.unwrap().body[..],
        b"there"
    );
    for path in ["/away", "/loop"] {
        let refused = agent().send(&at(&base, path)).await;
        assert!(
            matches!(refused, Err(CallError::Redirect { .. })),
            "{path}: {refused:?}"
        );
    }
}

#[tokio::test]
async fn only_this_machine_is_called_without_tls() {
    let call = Call::get(Url::parse("http://192.0.2.1/x?secret=1").unwrap());
    match agent().send(&call).await {
        Err(CallError::Plain(whom)) => assert_eq!(whom, "http://192.0.2.1/x"),
        other => panic!("{other:?}"),
    }
    let call = Call::get(Url::parse("file:///etc/passwd").unwrap());
    assert!(matches!(
        agent().send(&call).await,
        Err(CallError::Plain(_))
    ));
}

#[tokio::test]
async fn nobody_there_is_told_with_the_number_of_attempts_and_without_the_query() {
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let url = Url::parse(&format!("http://127.0.0.1:{port}/x?secret=1")).unwrap();
    let error = agent().send(&Call::get(url)).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("cannot reach http://127.0.0.1:{port}/x in 4 attempts")
    );
    assert!(!format!("{error:?}").contains("secret"));
}

#[tokio::test]
async fn the_services_say_why_they_refuse() {
    let router = Router::new()
        .route(
            "/fulcio/api/v2/signingCert",
            any(|headers: HeaderMap| async move {
                assert_eq!(headers[header::AUTHORIZATION], "Bearer e30.e30.YQ");
                (
                    StatusCode::UNAUTHORIZED,
                    r#"{"code":16,"message":"unknown issuer"}"#,
                )
            }),
        )
        .route(
            "/detached/api/v2/signingCert",
            any(|| async { r#"{"signedCertificateDetachedSct":{"chain":{"certificates":[]}}}"# }),
        )
        .route(
            "/rekor/api/v2/log/entries",
            any(|| async { (StatusCode::CONFLICT, [("x-log-index", "42")]) }),
        )
        .route("/tsa", any(|| async { "<html>" }));
    let base = start(router).await;
    let below = |path: &str| base.join(path).unwrap();
    let agent = agent();
    let token = IdentityToken::parse("e30.e30.YQ").unwrap();
    let key = keys::PublicKey::from_raw(keys::KeyType::Ed25519, &[9; 32]).unwrap();

    let refused = Fulcio::new(&agent, &below("/fulcio/"))
        .certificate(&token, &key, b"proof")
        .await
        .unwrap_err();
    let FulcioError::Refused(refused) = refused else {
        panic!("{refused:?}")
    };
    assert!(
        refused
            .to_string()
            .ends_with("401 Unauthorized: unknown issuer")
    );
    let refused = Fulcio::new(&agent, &below("/detached"))
        .certificate(&token, &key, b"proof")
        .await;
    assert!(matches!(refused, Err(FulcioError::DetachedSct)));

    let duplicate = Rekor::new(&agent, &below("/rekor"))
        .add(&wire::rekor::CreateEntryRequest::default())
        .await;
    assert!(matches!(
        duplicate,
        Err(RekorError::Duplicate { index: Some(42) })
    ));

    let page = Tsa::new(&agent, &below("/tsa"))
        .timestamp(b"signature")
        .await;
    assert!(matches!(page, Err(TsaError::MediaType(_))));
}
