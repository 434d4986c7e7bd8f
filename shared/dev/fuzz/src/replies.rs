//! A registry that answers with these bytes, status line and headers and all, whatever it is asked.
//!
//! The seed is a list of replies with [`BETWEEN`] between them; which of them is sent depends on the path that is asked for ([`which`]), so that it is the
//! same in every run. In each of them `PORT` is where the registry is.

use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use keys::{Digest, HashAlgorithm};
use oci::{Descriptor, IMAGE_TYPE, INDEX_TYPE, LegacyKind, Reference, Registry, Settings};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

const BETWEEN: &[u8] = b"\n%%\n";
/// What clients send before we give up.
const REQUEST_MAX: usize = 16 << 10;
/// The registry's answers to one look at an image, which may send its client in circles: for a hundred pages, and for a while longer.
const ANSWERS_MAX: usize = 150;

/// One client, as it is slow to make, and the runtime that its connections belong to.
static CLIENT: LazyLock<Mutex<(Runtime, Registry)>> = LazyLock::new(|| {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let mut settings = Settings::default();
    settings.agent.connect_timeout = Duration::from_millis(500);
    settings.agent.read_timeout = Duration::from_millis(500);
    settings.agent.call_timeout = Duration::from_secs(2);
    settings.agent.attempts = 2;
    settings.agent.first_pause = Duration::ZERO;
    settings.agent.longest_pause = Duration::from_millis(1);
    let registry = runtime.block_on(async { Registry::new(settings) });
    Mutex::new((runtime, registry))
});

pub(crate) fn run(bytes: &[u8]) {
    let client = CLIENT.lock().unwrap_or_else(PoisonError::into_inner);
    let (runtime, registry) = &*client;
    let replies = Arc::new(split(bytes));
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let serving = serve(listener, replies, port);
        tokio::select! {
            () = look(registry, port) => {}
            () = serving => {}
        }
    });
}

/// Asks for everything that is read of an image.
async fn look(registry: &Registry, port: u16) {
    let name = format!("127.0.0.1:{port}/team/app:v1");
    let reference = Reference::parse(&name).expect("a reference");
    let at = &reference.repository;
    let image = registry.image(&reference).await;
    if let Ok(image) = &image {
        let digest = Digest::of(HashAlgorithm::Sha256, &image.manifest);
        assert_eq!(image.descriptor.digest, digest, "computed, and not told");
        let _any = image.children();
    }
    // Of the image as it is in the seeds, too, where it cannot be read.
    let digest = image.map_or_else(
        |_| Descriptor::of(IMAGE_TYPE, manifest().as_bytes()).digest,
        |image| image.descriptor.digest,
    );
    let found = registry.attached(at, &digest, &LegacyKind::ALL).await;
    for layer in &found.legacy {
        let own = Digest::of(layer.descriptor.digest.algorithm(), &layer.content);
        assert_eq!(own, layer.descriptor.digest, "what its digest says");
    }
    let _any = registry.referrers(at, &digest).await;
}

async fn serve(listener: TcpListener, replies: Arc<Vec<Vec<u8>>>, port: u16) {
    for _ in 0..ANSWERS_MAX {
        let Ok((stream, _)) = listener.accept().await else {
            return;
        };
        // Clients connect and then ask nothing.
        let replies = Arc::clone(&replies);
        tokio::spawn(async move { answer(stream, &replies, port).await });
    }
}

async fn answer(mut stream: TcpStream, replies: &[Vec<u8>], port: u16) -> std::io::Result<()> {
    let mut request = Vec::new();
    while !request.windows(4).any(|end| end == b"\r\n\r\n") && request.len() < REQUEST_MAX {
        // Nothing more comes, or a TLS handshake, which would be waited for until it times out.
        if stream.read_buf(&mut request).await? == 0 || request.starts_with(&[0x16]) {
            return Ok(());
        }
    }
    let request = String::from_utf8_lossy(&request);
    let reply = which(&request).and_then(|place| replies.get(place));
    let reply = reply.map_or(&b""[..], Vec::as_slice);
    stream.write_all(&with_port(reply, port)).await?;
    stream.shutdown().await
}

/// The place of the reply to a request.
fn which(request: &str) -> Option<usize> {
    let path = request.split(' ').nth(1)?;
    let shown = request.to_ascii_lowercase().contains("\r\nauthorization:");
    Some(if path.contains("/manifests/v1") {
        usize::from(shown)
    } else if path.contains("/token") {
        2
    } else if path.contains("page=") {
        8
    } else if path.contains("/referrers/") {
        3
    } else if path.contains("/manifests/sha256:") {
        5
    } else if path.contains("/manifests/") && path.contains('.') {
        6
    } else if path.contains("/manifests/") {
        4
    } else if path.contains("/blobs/") {
        7
    } else {
        return None;
    })
}

fn split(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut replies = vec![Vec::new()];
    let mut rest = bytes;
    while let Some((first, after)) = rest.split_first() {
        if let Some(next) = rest.strip_prefix(BETWEEN) {
            replies.push(Vec::new());
            rest = next;
            continue;
        }
        if let Some(reply) = replies.last_mut() {
            reply.push(*first);
        }
        rest = after;
    }
    replies
}

fn with_port(reply: &[u8], port: u16) -> Vec<u8> {
    let mut sent = Vec::with_capacity(reply.len());
    let mut rest = reply;
    while let Some((first, after)) = rest.split_first() {
        if let Some(next) = rest.strip_prefix(b"PORT") {
            sent.extend_from_slice(port.to_string().as_bytes());
            rest = next;
            continue;
        }
        sent.push(*first);
        rest = after;
    }
    sent
}

fn manifest() -> String {
    json!({ "schemaVersion": 2, "mediaType": IMAGE_TYPE, "layers": [] }).to_string()
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let bundle = "application/vnd.dev.sigstore.bundle.v0.3+json";
    let image = Descriptor::of(IMAGE_TYPE, manifest().as_bytes());
    let layer = Descriptor::of(bundle, b"a blob");
    let referrer = json!({ "mediaType": IMAGE_TYPE, "layers": [layer], "subject": image });
    let referrer = referrer.to_string();
    let mut entry = Descriptor::of(IMAGE_TYPE, referrer.as_bytes());
    let index = |entry: &Descriptor| {
        json!({ "schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [entry] }).to_string()
    };
    let plain = index(&entry);
    entry.artifact_type = Some(bundle.to_owned());
    entry.annotations = Some(
        [(
            "dev.cosign-rs.bundle.blob".to_owned(),
            format!("{} {}", layer.digest, layer.size),
        )]
        .into(),
    );
    let noted = index(&entry);
    let old: Value = json!({ "mediaType": IMAGE_TYPE, "layers": [
        { "mediaType": "application/vnd.dev.cosign.simplesigning.v1+json", "digest": layer.digest.to_string(), "size": layer.size,
          "annotations": { "dev.cosignproject.cosign/signature": "c2ln" } },
    ] });
    let ok = |media_type: &str, further: &str, body: &str| {
        format!(
            "HTTP/1.1 200 OK\r\nContent-Type: {media_type}\r\nConnection: close\r\n{further}\r\n{body}"
        )
    };
    let challenge = "HTTP/1.1 401 Unauthorized\r\nConnection: close\r\nWWW-Authenticate: Bearer realm=\"http://127.0.0.1:PORT/token\",service=\"s\",scope=\"repository:team/app:pull\"\r\nContent-Length: 0\r\n\r\n";
    let throttled = "HTTP/1.1 429 Too Many Requests\r\nConnection: close\r\nRetry-After: 1\r\nContent-Length: 2\r\n\r\n{}";
    let nothing = "HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Type: application/json\r\n\r\n{\"errors\":[{\"code\":\"UNKNOWN\",\"message\":\"none\"}]}";
    let next = "Link: </v2/team/app/referrers/x?page=2>; rel=\"next\"\r\n";
    let token = ok(
        "application/json",
        "",
        "{\"token\":\"t\",\"expires_in\":60}",
    );
    let (shown, second) = (
        ok(IMAGE_TYPE, "", &manifest()),
        ok(IMAGE_TYPE, "", &referrer),
    );
    let (tagged, blob) = (
        ok(IMAGE_TYPE, "", &old.to_string()),
        ok("application/octet-stream", "", "a blob"),
    );
    let listed = ok(INDEX_TYPE, "", &plain);
    let paged = ok(INDEX_TYPE, next, &noted);
    let [shown, listed, paged, second, tagged, blob, token] =
        [&shown, &listed, &paged, &second, &tagged, &blob, &token].map(String::as_str);
    [
        // A native list, in one page; no lists at all; a token, and two pages; throttled.
        [shown, "", "", listed, nothing, second, tagged, blob, ""],
        [shown, "", "", nothing, listed, second, nothing, blob, ""],
        [
            challenge, shown, token, paged, nothing, second, nothing, blob, listed,
        ],
        [
            throttled, "", "", throttled, nothing, throttled, nothing, throttled, "",
        ],
    ]
    .map(|replies| replies.map(str::as_bytes).join(BETWEEN))
    .into()
}
