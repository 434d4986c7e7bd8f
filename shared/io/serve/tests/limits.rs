//! What `serve::run` promises, seen from a client's socket.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a panic in a test is its failure report"
)]

use std::time::{Duration, Instant};

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse as _;
use axum::routing::{get, post};
use bytes::Bytes;
use serve::{Health, Limits, ListenAddress, Listeners, Problem, Routes, Stop, StopHandle};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

struct Running {
    port: u16,
    handle: StopHandle,
    task: JoinHandle<()>,
}

async fn start(router: impl Into<Routes>, limits: Limits) -> Running {
    let listeners = Listeners::bind(&ListenAddress::localhost(0)).await.unwrap();
    let port = listeners.port();
    let (handle, stop) = Stop::new();
    let router = router.into();
    let task = tokio::spawn(serve::run(listeners, "test", router, limits, stop));
    Running { port, handle, task }
}

async fn connect(running: &Running) -> TcpStream {
    TcpStream::connect(("127.0.0.1", running.port))
        .await
        .unwrap()
}

/// Sends `request` and reads until the server closes.
async fn ask(running: &Running, request: &str) -> String {
    let mut stream = connect(running).await;
    stream.write_all(request.as_bytes()).await.unwrap();
    read(&mut stream).await
}

async fn read(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    // A reset is an end as well: the server may close before it has read all that we sent.
    let _end = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut answer))
        .await
        .expect("no end");
    String::from_utf8(answer).unwrap()
}

fn short() -> Limits {
    Limits {
        header: Duration::from_millis(150),
        request: Duration::from_millis(150),
        ..Limits::default()
    }
}

const GET: &str = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

#[tokio::test]
async fn a_handler_knows_when_its_request_is_given_up() {
    let left = async || {
        let left = serve::deadline().map(|end| end.saturating_duration_since(Instant::now()));
        format!("left {:?}.", left.map(|left| left.as_millis()))
    };
    let limits = Limits {
        request: Duration::from_millis(2500),
        ..Limits::default()
    };
    let running = start(Router::new().route("/", get(left)), limits).await;
    let answer = ask(&running, GET).await;
    let milliseconds = answer
        .split_once("left Some(")
        .and_then(|(_, rest)| rest.split_once(')'));
    let milliseconds: u64 = milliseconds.unwrap().0.parse().unwrap();
    assert!((1..=2500).contains(&milliseconds), "{answer}");
    assert_eq!(serve::deadline(), None);
}

#[tokio::test]
async fn a_head_that_is_never_finished_ends_the_connection() {
    let running = start(Router::new().route("/", get(async || "x")), short()).await;
    for beginning in [
        "",
        "P",
        "PRI * HTTP/2.0\r\n",
        "GET / HTTP/1.1\r\nHost: local",
    ] {
        let start = Instant::now();
        let answer = ask(&running, beginning).await;
        assert!(!answer.contains("200 OK"), "{beginning:?}: {answer}");
        assert!(start.elapsed() < Duration::from_secs(5), "{beginning:?}");
    }
}

#[tokio::test]
async fn an_idle_connection_ends() {
    let running = start(Router::new().route("/", get(async || "hello")), short()).await;
    let mut stream = connect(&running).await;
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await
        .unwrap();
    assert!(read(&mut stream).await.ends_with("hello"));
}

#[tokio::test]
async fn a_connection_has_a_longest_life_even_if_it_keeps_asking() {
    let limits = Limits {
        connection: Duration::from_millis(200),
        ..Limits::default()
    };
    let running = start(Router::new().route("/", get(async || "hello")), limits).await;
    let mut stream = connect(&running).await;
    let mut turns = 0_u32;
    loop {
        turns += 1;
        if stream
            .write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            .await
            .is_err()
        {
            break;
        }
        let mut buffer = [0; 1024];
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(_) => assert!(turns < 10_000_000, "no end"),
        }
    }
}

#[tokio::test]
async fn a_slow_handler_is_a_gateway_timeout_with_a_problem() {
    let running = start(
        Router::new().route("/", get(std::future::pending::<()>)),
        short(),
    )
    .await;
    let answer = ask(&running, GET).await;
    assert!(answer.starts_with("HTTP/1.1 504 "), "{answer}");
    assert!(answer.contains(r#""code":4"#), "{answer}");
}

#[tokio::test]
async fn a_slow_body_is_a_timeout_too() {
    let running = start(
        Router::new().route("/", post(async |body: Bytes| body)),
        short(),
    )
    .await;
    let answer = ask(
        &running,
        "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\nConnection: close\r\n\r\nabc",
    )
    .await;
    assert!(answer.starts_with("HTTP/1.1 504 "), "{answer}");
}

#[tokio::test]
async fn a_large_body_is_refused_by_its_length_and_while_it_is_read() {
    let limits = Limits {
        body: 8,
        ..Limits::default()
    };
    let running = start(
        Router::new().route("/", post(async |body: Bytes| body)),
        limits,
    )
    .await;
    let head = "POST / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n";
    let fits = ask(
        &running,
        &format!("{head}Content-Length: 8\r\n\r\n12345678"),
    )
    .await;
    assert!(fits.starts_with("HTTP/1.1 200 "), "{fits}");
    // More than the system keeps for a reader: whoever writes all of it before it reads must get to the end.
    let much = 16 << 20;
    let whole = format!("{head}Content-Length: {much}\r\n\r\n{}", "x".repeat(much));
    for request in [
        whole.clone(),
        format!("{head}Content-Length: 9\r\n\r\n123456789"),
        format!("{head}Content-Length: 99999999999\r\n\r\n123"),
        format!("{head}Transfer-Encoding: chunked\r\n\r\n9\r\n123456789\r\n0\r\n\r\n"),
    ] {
        let answer = ask(&running, &request).await;
        assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
        let json = answer.contains("content-type: application/json");
        assert_eq!(json, request.contains("Content-Length"), "{answer}");
    }
    // Who asks first is told at once, and has sent nothing.
    let asking = format!("{head}Expect: 100-continue\r\nContent-Length: {much}\r\n\r\n");
    let answer = ask(&running, &asking).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");

    // Who announces much and does not send it is not waited for.
    let limits = Limits { body: 8, ..short() };
    let running = start(
        Router::new().route("/", post(async |body: Bytes| body)),
        limits,
    )
    .await;
    let begun = Instant::now();
    let answer = ask(&running, whole.get(..2000).unwrap()).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert!(begun.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn large_bodies_have_room_together_and_small_ones_always() {
    let limits = Limits {
        body: 200 << 10,
        bodies: 200 << 10,
        ..Limits::default()
    };
    let router = Router::new().route("/", post(async |body: Bytes| body.len().to_string()));
    let running = start(router, limits).await;
    let head = "POST / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n";
    let large = format!("{head}Content-Length: {}\r\n\r\n", 200 << 10);
    let whole = large.clone() + &"x".repeat(200 << 10);

    let mut slow = connect(&running).await;
    let asking = large.replace("\r\n\r\n", "\r\nExpect: 100-continue\r\n\r\n");
    slow.write_all(asking.as_bytes()).await.unwrap();
    // The server says this when it begins to read, and so has made room.
    let mut begun = [0; 25];
    slow.read_exact(&mut begun).await.unwrap();
    assert_eq!(&begun, b"HTTP/1.1 100 Continue\r\n\r\n");
    let mut refused = ask(&running, &large).await;
    assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
    assert!(refused.contains("retry-after: 5"), "{refused}");
    refused = ask(
        &running,
        &format!("{head}Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"),
    )
    .await;
    assert!(
        refused.starts_with("HTTP/1.1 503 "),
        "of unknown size: {refused}"
    );
    let small = ask(&running, &format!("{head}Content-Length: 1\r\n\r\nx")).await;
    assert!(small.starts_with("HTTP/1.1 200 "), "{small}");

    slow.write_all(&vec![b'x'; 200 << 10]).await.unwrap();
    let answer = read(&mut slow).await;
    assert!(answer.ends_with("204800"), "{answer}");
    let answer = ask(&running, &whole).await;
    assert!(
        answer.ends_with("204800"),
        "the room is free again: {answer}"
    );
}

#[tokio::test]
async fn answers_that_nobody_takes_have_room_and_time_together() {
    // More than the kernel keeps for a connection.
    const ANSWER: usize = 16 << 20;
    let limits = Limits {
        answers: 2 * ANSWER,
        answer: Duration::from_secs(2),
        ..Limits::default()
    };
    let large = || {
        Bytes::from(
            (0..ANSWER)
                .map(|at| b'a' + u8::try_from(at % 23).unwrap())
                .collect::<Vec<_>>(),
        )
    };
    let content = large();
    let router = Router::new()
        .route("/", get(async move || content.clone()))
        .route("/small", get(async || "x"));
    let running = start(router, limits).await;
    let whole = ask(&running, GET).await;
    let (head, body) = whole.split_once("\r\n\r\n").unwrap();
    assert!(
        head.contains(&format!("content-length: {ANSWER}")),
        "{head}"
    );
    assert!(body.as_bytes() == large(), "it came as it was");

    // Whoever has the head of one and reads no more holds its room.
    let mut holders = Vec::new();
    for _ in 0..2 {
        let mut stream = connect(&running).await;
        stream.write_all(GET.as_bytes()).await.unwrap();
        stream.read_exact(&mut [0; 12]).await.unwrap();
        holders.push(stream);
    }
    let refused = ask(&running, GET).await;
    assert!(refused.starts_with("HTTP/1.1 503 "), "{}", &refused[..200]);
    assert!(refused.contains("SERVER_BUSY"), "{refused}");
    let small = ask(&running, &GET.replace("GET /", "GET /small")).await;
    assert!(small.starts_with("HTTP/1.1 200 "), "{small}");

    // Its time ends, also where the client never asks for more.
    let begun = Instant::now();
    loop {
        let answer = ask(&running, GET).await;
        if answer.starts_with("HTTP/1.1 200 ") {
            assert!(answer.ends_with(body));
            break;
        }
        assert!(
            begun.elapsed() < Duration::from_secs(20),
            "the room is never free"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // What was thrown away does not pass for the whole.
    let cut = read(&mut holders.remove(0)).await;
    assert!(cut.len() < ANSWER, "{}", cut.len());
}

#[tokio::test]
async fn a_panic_is_an_answer_without_its_message() {
    let running = start(
        Router::new().route("/", get(async || -> &'static str { panic!("the secret") })),
        Limits::default(),
    )
    .await;
    for _again in 0..2 {
        let answer = ask(&running, GET).await;
        assert!(
            answer.starts_with("HTTP/1.1 500 ") && answer.contains(r#""code":13"#),
            "{answer}"
        );
        assert!(!answer.contains("secret"), "{answer}");
    }
}

#[tokio::test]
async fn a_plain_request_id_comes_back_and_any_other_is_replaced() {
    let running = start(
        Router::new().route("/", get(async || "x")),
        Limits::default(),
    )
    .await;
    let with = |id: &str| {
        format!(
            "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nx-request-id: {id}\r\n\r\n"
        )
    };
    assert!(
        ask(&running, &with("abc-1.2_3"))
            .await
            .contains("x-request-id: abc-1.2_3\r\n")
    );
    let replaced = ask(&running, &with("a b\"c")).await;
    assert!(
        replaced.contains("x-request-id: ") && !replaced.contains("a b"),
        "{replaced}"
    );
    let long = "a".repeat(65);
    assert!(!ask(&running, &with(&long)).await.contains(&long));
}

#[tokio::test]
async fn health_and_figures_are_there() {
    let health = Health::serving();
    let running = start(
        Router::new()
            .route("/", get(async || "x"))
            .merge(health.routes()),
        Limits::default(),
    )
    .await;
    let path =
        |path: &str| format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    assert!(
        ask(&running, &path("/healthz"))
            .await
            .ends_with(r#"{"status":"SERVING"}"#)
    );
    ask(&running, GET).await;
    let figures = ask(&running, &path("/metrics")).await;
    assert!(
        figures
            .contains(r#"http_requests_total{service="test",method="get",route="/",code="200"}"#),
        "{figures}"
    );
    health.fail("disk full");
    let failing = ask(&running, &path("/healthz")).await;
    assert!(
        failing.starts_with("HTTP/1.1 503 ") && failing.ends_with(r#""status":"NOT_SERVING"}"#),
        "{failing}"
    );
    assert!(!failing.contains("disk"), "{failing}");
}

#[tokio::test]
async fn the_connection_cap_holds_and_waits_rather_than_refuses() {
    let limits = Limits {
        connections: 1,
        ..Limits::default()
    };
    let running = start(Router::new().route("/", get(async || "x")), limits).await;
    let mut holds = connect(&running).await;
    holds
        .write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await
        .unwrap();
    let mut buffer = [0; 1024];
    assert!(holds.read(&mut buffer).await.unwrap() > 0);
    let mut waits = connect(&running).await;
    waits.write_all(GET.as_bytes()).await.unwrap();
    let early = tokio::time::timeout(Duration::from_millis(200), waits.read(&mut buffer)).await;
    assert!(early.is_err(), "served beyond the cap");
    drop(holds);
    assert!(read(&mut waits).await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn whoever_is_silent_makes_room_when_there_is_none() {
    let limits = Limits {
        connections: 2,
        header: Duration::from_mins(5),
        request: Duration::from_mins(5),
        ..Limits::default()
    };
    let gate = std::sync::Arc::new(tokio::sync::Notify::new());
    let waits = gate.clone();
    let router = Router::new().route("/", get(async || "x")).route(
        "/slow",
        get(async move || {
            waits.notified().await;
            "done"
        }),
    );
    let running = start(router, limits).await;
    // One whose answer is being made stays; whoever says nothing, begins a head, or has asked and is kept goes.
    let mut busy = connect(&running).await;
    busy.write_all(GET.replace("GET /", "GET /slow").as_bytes())
        .await
        .unwrap();
    for said in ["", "GET / HT", "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"] {
        let mut silent = connect(&running).await;
        silent.write_all(said.as_bytes()).await.unwrap();
        let answer = ask(&running, GET).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{said:?}: {answer}");
        let _end = read(&mut silent).await;
    }
    gate.notify_one();
    let answer = read(&mut busy).await;
    assert!(answer.ends_with("done"), "{answer}");
}

/// Sends all of a request's head and one byte of two.
async fn holds_back(running: &Running) -> TcpStream {
    let mut stream = connect(running).await;
    stream
        .write_all(b"POST /body HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nConnection: close\r\n\r\n1")
        .await
        .unwrap();
    stream
}

#[tokio::test]
async fn a_client_with_most_places_makes_room_for_another_one() {
    let limits = Limits {
        connections: 4,
        header: Duration::from_mins(5),
        request: Duration::from_mins(5),
        ..Limits::default()
    };
    let begun = std::sync::Arc::new(tokio::sync::Semaphore::new(0));
    let gate = std::sync::Arc::new(tokio::sync::Notify::new());
    let (begins, waits) = (begun.clone(), gate.clone());
    let router = Router::new()
        .route("/", get(async || "x"))
        .route("/body", post(async |body: Bytes| body))
        .route(
            "/slow",
            post(async move |_: Bytes| {
                begins.add_permits(1);
                waits.notified().await;
                "done"
            }),
        );
    let running = start(router, limits).await;
    // The oldest has sent everything, and is answered later.
    let mut busy = connect(&running).await;
    busy.write_all(b"POST /slow HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nConnection: close\r\n\r\n1")
        .await
        .unwrap();
    begun.acquire().await.unwrap().forget();
    let mut first = holds_back(&running).await;
    let mut second = holds_back(&running).await;
    let mut third = holds_back(&running).await;
    // One of the same client waits, and so does nobody for whom room is made.
    let mut same = connect(&running).await;
    same.write_all(GET.as_bytes()).await.unwrap();
    let mut buffer = [0; 1];
    let early = tokio::time::timeout(Duration::from_millis(300), same.read(&mut buffer)).await;
    assert!(early.is_err(), "served beyond the cap");

    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let server = ([127, 0, 0, 1], running.port).into();
    let mut other = socket.connect(server).await.unwrap();
    other.write_all(GET.as_bytes()).await.unwrap();
    let answer = read(&mut other).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(read(&mut first).await, "");
    // Nobody else had to go.
    for stream in [&mut second, &mut third] {
        stream.write_all(b"2").await.unwrap();
        let answer = read(stream).await;
        assert!(answer.ends_with("12"), "{answer}");
    }
    assert!(read(&mut same).await.starts_with("HTTP/1.1 200 "));
    gate.notify_one();
    let answer = read(&mut busy).await;
    assert!(answer.ends_with("done"), "{answer}");
}

#[tokio::test]
async fn a_stop_lets_running_requests_finish_and_then_ends() {
    let entered = std::sync::Arc::new(tokio::sync::Notify::new());
    let leave = std::sync::Arc::new(tokio::sync::Notify::new());
    let (inside, go) = (entered.clone(), leave.clone());
    let router = Router::new().route(
        "/",
        get(async move || {
            inside.notify_one();
            go.notified().await;
            "finished"
        }),
    );
    let running = start(router, Limits::default()).await;
    let mut stream = connect(&running).await;
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await
        .unwrap();
    entered.notified().await;
    running.handle.stop();
    leave.notify_one();
    assert!(read(&mut stream).await.ends_with("finished"));
    tokio::time::timeout(Duration::from_secs(10), running.task)
        .await
        .expect("did not stop")
        .unwrap();
    assert!(
        TcpStream::connect(("127.0.0.1", running.port))
            .await
            .is_err()
    );
}

#[tokio::test]
async fn a_request_that_never_ends_does_not_hold_up_a_stop() {
    let entered = std::sync::Arc::new(tokio::sync::Notify::new());
    let inside = entered.clone();
    let router = Router::new().route(
        "/",
        get(async move || {
            inside.notify_one();
            std::future::pending::<()>().await;
        }),
    );
    let running = start(
        router,
        Limits {
            drain: Duration::from_millis(100),
            ..Limits::default()
        },
    )
    .await;
    let mut stream = connect(&running).await;
    stream.write_all(GET.as_bytes()).await.unwrap();
    entered.notified().await;
    drop(running.handle);
    tokio::time::timeout(Duration::from_secs(10), running.task)
        .await
        .expect("did not stop")
        .unwrap();
}

#[tokio::test]
async fn one_client_does_not_take_it_all() {
    let rate = serve::Rate {
        per_second: 1,
        burst: 3,
        behind_proxy: true,
    };
    let limits = Limits {
        rate: Some(rate),
        ..Limits::default()
    };
    let router = Router::new()
        .route("/", get(async || "hello"))
        .merge(Health::serving().routes());
    let running = start(router, limits).await;
    let from = |client: &str| {
        format!(
            "GET / HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: {client}\r\nConnection: close\r\n\r\n"
        )
    };
    for _ in 0..3 {
        let answer = ask(&running, &from("192.0.2.1")).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
    let refused = ask(&running, &from("203.0.113.9, 192.0.2.1")).await;
    assert!(refused.starts_with("HTTP/1.1 429 "), "{refused}");
    assert!(refused.contains("retry-after: 1"), "{refused}");
    assert!(refused.contains("CLIENT_RATE"), "{refused}");
    let other = ask(&running, &from("192.0.2.2")).await;
    assert!(other.starts_with("HTTP/1.1 200 "), "{other}");
    for _ in 0..5 {
        let health = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: 192.0.2.1\r\nConnection: close\r\n\r\n";
        assert!(ask(&running, health).await.starts_with("HTTP/1.1 200 "));
    }
}

#[tokio::test]
async fn another_manner_says_all_that_the_refusal_said_in_its_head() {
    let refused = async || {
        let mut answer = Problem::unavailable("later", 7).into_response();
        for way in ["Basic realm=\"a\"", "Bearer realm=\"b\""] {
            let way = way.parse().unwrap();
            answer.headers_mut().append(header::WWW_AUTHENTICATE, way);
        }
        answer
    };
    let routes = Routes::from(Router::new().route("/", get(refused)));
    let routes = routes.in_the_manner(|_, _| {
        let own = [(header::CONTENT_TYPE, "text/plain")];
        Some((StatusCode::SERVICE_UNAVAILABLE, own, "in other words").into_response())
    });
    let running = start(routes, Limits::default()).await;
    let answer = ask(&running, GET).await;
    assert!(answer.ends_with("\r\n\r\nin other words"), "{answer}");
    for line in [
        "retry-after: 7",
        "www-authenticate: Basic realm=\"a\"",
        "www-authenticate: Bearer realm=\"b\"",
        "content-type: text/plain",
        "content-length: 14",
    ] {
        assert_eq!(answer.matches(line).count(), 1, "{line}: {answer}");
    }
    assert_eq!(answer.matches("content-type").count(), 1, "{answer}");
}
