//! The loop against a server that answers, refuses, or hangs up.
#![allow(clippy::unwrap_used, reason = "a panic is the failure report")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use load::drive::{self, Plan};
use load::requests::Kind;
use url::Url;

const GRANTED: &[u8] = &[0x30, 0x05, 0x30, 0x03, 0x02, 0x01, 0x00];

async fn serve(router: Router) -> Url {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    format!("http://{address}").parse().unwrap()
}

fn plan(connections: usize) -> Plan {
    Plan {
        connections,
        time: Duration::from_mins(1),
        rate: None,
    }
}

#[tokio::test]
async fn every_request_is_sent_once() {
    let seen = Arc::new(AtomicUsize::new(0));
    let count = seen.clone();
    let router = Router::new().route(
        "/api/v1/timestamp",
        post(async move |headers: HeaderMap, body: Bytes| {
            assert_eq!(
                headers.get("content-type").unwrap(),
                "application/timestamp-query"
            );
            tsp::Request::parse_der(&body).unwrap();
            count.fetch_add(1, Ordering::Relaxed);
            (StatusCode::CREATED, GRANTED)
        }),
    );
    let base = serve(router).await;
    let requests = Kind::Tsa.make(50).unwrap();
    let figures = drive::run(&Kind::Tsa, &base, requests, plan(4))
        .await
        .unwrap();
    assert_eq!(seen.load(Ordering::Relaxed), 50);
    // Four of them came before the clock started.
    assert_eq!((figures.answered, figures.errors), (46, 0));
    assert!(figures.per_second > 0.0 && figures.p50 <= figures.max);
}

/// One connection, and a server that is away for a while: those who would have asked meanwhile have waited, too.
#[tokio::test]
async fn at_a_rate_a_request_waits_from_when_it_was_due() {
    const AWAY: Duration = Duration::from_millis(300);
    let seen = Arc::new(AtomicUsize::new(0));
    let router = Router::new().route(
        "/api/v1/timestamp",
        post(async move || {
            if seen.fetch_add(1, Ordering::Relaxed) == 1 {
                tokio::time::sleep(AWAY).await;
            }
            GRANTED
        }),
    );
    let base = serve(router).await;
    let plan = Plan {
        rate: Some(100),
        ..plan(1)
    };
    let requests = Kind::Tsa.make(21).unwrap();
    let figures = drive::run(&Kind::Tsa, &base, requests, plan).await.unwrap();
    assert_eq!((figures.answered, figures.errors), (20, 0));
    // The last was due 190 ms after the first, and all of them within the time that the server was away.
    assert!(figures.p50 >= 100_000, "{figures}");
    assert!(figures.max >= 300_000, "{figures}");

    // An end that comes before the requests do.
    let requests = Kind::Tsa.make(50).unwrap();
    let plan = Plan {
        rate: Some(100),
        time: Duration::from_millis(95),
        connections: 2,
    };
    let figures = drive::run(&Kind::Tsa, &base, requests, plan).await.unwrap();
    assert!((1..=10).contains(&figures.answered), "{figures}");
}

#[tokio::test]
async fn a_refusal_is_an_error_whatever_its_status_is() {
    let seen = Arc::new(AtomicUsize::new(0));
    let router = Router::new().route(
        "/below/api/v1/timestamp",
        post(async move || match seen.fetch_add(1, Ordering::Relaxed) {
            4 => (StatusCode::OK, b"no timestamp".as_slice()),
            5 => (StatusCode::SERVICE_UNAVAILABLE, GRANTED),
            _ => (StatusCode::OK, GRANTED),
        }),
    );
    let base = serve(router).await.join("below").unwrap();
    let requests = Kind::Tsa.make(20).unwrap();
    let figures = drive::run(&Kind::Tsa, &base, requests, plan(2))
        .await
        .unwrap();
    assert_eq!((figures.answered, figures.errors), (16, 2));
    assert!(figures.to_string().contains("no timestamp"));
}

#[tokio::test]
async fn a_connection_that_the_server_ends_is_opened_again() {
    let router = Router::new().route(
        "/api/v1/timestamp",
        post(async || ([("connection", "close")], GRANTED)),
    );
    let base = serve(router).await;
    let requests = Kind::Tsa.make(20).unwrap();
    let figures = drive::run(&Kind::Tsa, &base, requests, plan(2))
        .await
        .unwrap();
    assert_eq!((figures.answered, figures.errors), (18, 0));
}

#[tokio::test]
async fn nobody_there_and_too_few_requests_are_no_figures() {
    let requests = Kind::Tsa.make(3).unwrap();
    let nobody: Url = "http://127.0.0.1:9".parse().unwrap();
    assert!(
        drive::run(&Kind::Tsa, &nobody, requests.clone(), plan(1))
            .await
            .is_err()
    );
    assert!(
        drive::run(&Kind::Tsa, &nobody, requests, plan(3))
            .await
            .is_err()
    );
}

#[tokio::test]
async fn the_stack_without_a_log_checks_signatures() {
    let base = serve(load::bare::router()).await;
    let mut requests = Kind::Log.make(20).unwrap();
    let figures = drive::run(&Kind::Log, &base, requests.clone(), plan(2))
        .await
        .unwrap();
    assert_eq!((figures.answered, figures.errors), (18, 0));
    let last = requests.last_mut().unwrap();
    let changed = String::from_utf8(last.body.to_vec()).unwrap();
    // Another digest under the same signature.
    last.body = changed
        .replacen("\"digest\":\"", "\"digest\":\"AAAA", 1)
        .into();
    let figures = drive::run(&Kind::Log, &base, requests, plan(2))
        .await
        .unwrap();
    assert_eq!((figures.answered, figures.errors), (17, 1));
}
