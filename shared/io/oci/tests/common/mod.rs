//! A registry in memory that can be told to misbehave.

use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use oci::{Descriptor, IMAGE_TYPE, INDEX_TYPE, Keychain, Registry, Repository, Settings};
use serde_json::{Value, json};
use tokio::sync::Barrier;

/// How it behaves.
#[derive(Default)]
pub struct Behaviour {
    /// It has the referrers API, with this many entries on a page.
    pub referrers: Option<usize>,
    /// It answers a manifest's subject with `OCI-Subject`.
    pub subject_header: bool,
    /// So many readers of a fallback tag have to come before the first is answered.
    pub gather: Option<Arc<Barrier>>,
    /// So many times it refuses to list, with this status.
    pub refuse_listing: Option<(AtomicUsize, StatusCode)>,
    /// So many pieces of an upload arrive by half, and the answer is an error.
    pub break_uploads: AtomicUsize,
    /// So many downloads of blobs end in the middle.
    pub break_downloads: AtomicUsize,
    /// It takes a manifest only when everything that it names is there.
    pub strict: bool,
    /// So many times it refuses to show what stands under a tag of before cosign 3, with this status.
    pub refuse_old_tags: Option<StatusCode>,
    /// It deletes no tags, with this status, but manifests by their digests, and with them all tags that they have.
    pub refuse_tag_deletion: Option<StatusCode>,
    /// It lists so many referrers at most: none, as some that answer so to everything, or not those that came with the tag.
    pub lists_at_most: Option<usize>,
    /// It wants a token, of its own service, for this name and password.
    pub password: Option<&'static str>,
}

pub struct Fake {
    pub behaviour: Behaviour,
    pub address: String,
    blobs: Mutex<HashMap<String, Vec<u8>>>,
    manifests: Mutex<BTreeMap<String, (String, Vec<u8>)>>,
    parts: Mutex<HashMap<String, Vec<u8>>>,
    pub uploads: AtomicUsize,
    /// Under what which manifest was written, in this order.
    pub written: Mutex<Vec<(String, Descriptor, Value)>>,
    /// Everything that was asked.
    pub requests: AtomicUsize,
}

fn happens(left: &AtomicUsize) -> bool {
    left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
        left.checked_sub(1)
    })
    .is_ok()
}

pub fn quick() -> Settings {
    let mut settings = Settings {
        settle: Duration::from_millis(40),
        ..Settings::default()
    };
    settings.agent.first_pause = Duration::ZERO;
    settings
}

pub fn client() -> Registry {
    Registry::new(quick())
}

pub fn client_with(keychain: Keychain) -> Registry {
    Registry::new(Settings {
        keychain,
        ..quick()
    })
}

impl Fake {
    pub async fn start(behaviour: Behaviour) -> Arc<Self> {
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .unwrap();
        let fake = Arc::new(Self {
            behaviour,
            address: listener.local_addr().unwrap().to_string(),
            blobs: Mutex::default(),
            manifests: Mutex::default(),
            parts: Mutex::default(),
            uploads: AtomicUsize::new(0),
            written: Mutex::default(),
            requests: AtomicUsize::new(0),
        });
        let counted = Arc::clone(&fake);
        let router = Router::new()
            .route(
                "/v2/",
                any(async move || {
                    counted.requests.fetch_add(1, Ordering::SeqCst);
                    "{}"
                }),
            )
            .route("/token", any(token))
            .route("/v2/{*path}", any(serve))
            .with_state(Arc::clone(&fake));
        tokio::spawn(async move { axum::serve(listener, router).await });
        fake
    }

    pub fn repository(&self) -> Repository {
        Repository::parse(&format!("{}/team/app", self.address)).unwrap()
    }

    /// Puts an image there, without asking.
    pub fn image(&self) -> Descriptor {
        let manifest = json!({ "schemaVersion": 2, "mediaType": IMAGE_TYPE, "layers": [] });
        self.put("v1", IMAGE_TYPE, manifest.to_string().as_bytes())
    }

    pub fn put(&self, tag: &str, media_type: &str, content: &[u8]) -> Descriptor {
        let descriptor = Descriptor::of(media_type, content);
        let mut manifests = self.manifests.lock().unwrap();
        for target in [tag.to_owned(), descriptor.digest.to_string()] {
            manifests.insert(target, (media_type.to_owned(), content.to_vec()));
        }
        descriptor
    }

    pub fn put_blob(&self, media_type: &str, content: &[u8]) -> Descriptor {
        let descriptor = Descriptor::of(media_type, content);
        let mut blobs = self.blobs.lock().unwrap();
        blobs.insert(descriptor.digest.to_string(), content.to_vec());
        descriptor
    }

    /// Stores other bytes under a digest.
    pub fn spoil(&self, digest: &str) {
        if let Some(blob) = self.blobs.lock().unwrap().get_mut(digest) {
            for byte in blob {
                *byte ^= 1;
            }
        }
        if let Some((_, manifest)) = self.manifests.lock().unwrap().get_mut(digest) {
            manifest.push(b' ');
        }
    }

    pub fn blob(&self, digest: &str) -> Option<Vec<u8>> {
        self.blobs.lock().unwrap().get(digest).cloned()
    }

    /// Forgets a tag.
    #[allow(dead_code, reason = "not every test needs it")]
    pub fn forget(&self, target: &str) {
        self.manifests.lock().unwrap().remove(target);
    }

    /// Is everything there that a manifest names?
    fn is_whole(&self, manifest: &Value) -> bool {
        let digests = |value: Option<&Value>| -> Vec<String> {
            let all = value.and_then(Value::as_array).cloned().unwrap_or_default();
            let digest = |named: &Value| Some(named.get("digest")?.as_str()?.to_owned());
            all.iter().filter_map(digest).collect()
        };
        let config = manifest.get("config").map(|config| json!([config]));
        let blobs = self.blobs.lock().unwrap();
        let manifests = self.manifests.lock().unwrap();
        digests(manifest.get("layers"))
            .into_iter()
            .chain(digests(config.as_ref()))
            .all(|digest| blobs.contains_key(&digest))
            && digests(manifest.get("manifests"))
                .into_iter()
                .all(|digest| manifests.contains_key(&digest))
    }

    pub fn manifest(&self, target: &str) -> Option<Value> {
        let manifests = self.manifests.lock().unwrap();
        manifests
            .get(target)
            .map(|(_, content)| serde_json::from_slice(content).unwrap())
    }

    fn referrers(&self, subject: &str) -> Vec<Value> {
        let manifests = self.manifests.lock().unwrap();
        manifests
            .iter()
            .filter(|(target, _)| target.starts_with("sha256:"))
            .filter_map(|(target, (media_type, content))| {
                let manifest: Value = serde_json::from_slice(content).ok()?;
                let entry =
                    json!({ "mediaType": media_type, "digest": target, "size": content.len() });
                (manifest.pointer("/subject/digest")? == subject).then_some(entry)
            })
            .collect()
    }
}

async fn token(uri: Uri, request: Request) -> Response {
    let query = uri.query().unwrap_or_default();
    let asked = request.headers().get(header::AUTHORIZATION).cloned();
    // user:secret
    let known = asked.is_some_and(|value| value == "Basic dXNlcjpzZWNyZXQ=");
    if !known {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let may_write = query.contains("push");
    json!({ "token": if may_write { "writer" } else { "reader" } })
        .to_string()
        .into_response()
}

fn not_found() -> Response {
    (
        StatusCode::NOT_FOUND,
        "{\"errors\":[{\"code\":\"UNKNOWN\",\"message\":\"no such thing\"}]}",
    )
        .into_response()
}

async fn serve(State(fake): State<Arc<Fake>>, request: Request) -> Response {
    fake.requests.fetch_add(1, Ordering::SeqCst);
    let path = request.uri().path().to_owned();
    let headers = request.headers().clone();
    let header = |name: header::HeaderName| {
        let value = headers.get(name)?;
        Some(value.to_str().unwrap().to_owned())
    };
    let content_type = header(header::CONTENT_TYPE);
    let accept = header(header::ACCEPT);
    let range = header(header::RANGE);
    let content_range = header(header::CONTENT_RANGE);
    let query = request.uri().query().unwrap_or_default().to_owned();
    let method = request.method().clone();
    if fake.behaviour.password.is_some() {
        let writes = ![Method::GET, Method::HEAD].contains(&method);
        let shown = request.headers().get(header::AUTHORIZATION).cloned();
        let allowed = match shown.as_ref().and_then(|value| value.to_str().ok()) {
            Some("Bearer writer") => true,
            Some("Bearer reader") => !writes,
            _ => false,
        };
        if !allowed {
            let actions = if writes { "pull,push" } else { "pull" };
            let challenge = format!(
                "Bearer realm=\"http://{}/token\",service=\"fake\",scope=\"repository:team/app:{actions}\"",
                fake.address
            );
            return (
                StatusCode::UNAUTHORIZED,
                [(header::WWW_AUTHENTICATE, challenge)],
            )
                .into_response();
        }
    }
    let body = to_bytes(request.into_body(), 64 << 20).await.unwrap();
    let path = path.strip_prefix("/v2/team/app/").unwrap_or_default();
    let (kind, target) = path.split_once('/').unwrap_or_default();
    match (kind, method) {
        ("blobs", Method::POST) if query.contains("mount=") => StatusCode::CREATED.into_response(),
        ("blobs", Method::POST) => {
            let id = fake.uploads.fetch_add(1, Ordering::SeqCst);
            let location = format!("/v2/team/app/blobs/uploads/{id}?state=x");
            (StatusCode::ACCEPTED, [(header::LOCATION, location)]).into_response()
        }
        ("blobs", Method::PATCH | Method::GET) if target.starts_with("uploads/") => {
            let mut parts = fake.parts.lock().unwrap();
            let part = parts.entry(target.to_owned()).or_default();
            let from = content_range
                .and_then(|range| range.split_once('-').map(|(from, _)| from.parse().unwrap()));
            if from.is_some_and(|from: usize| from != part.len()) {
                return StatusCode::RANGE_NOT_SATISFIABLE.into_response();
            }
            let broken = from.is_some() && happens(&fake.behaviour.break_uploads);
            let arrived = if broken { body.len() / 2 } else { body.len() };
            part.extend_from_slice(&body[..arrived]);
            if broken {
                return StatusCode::INTERNAL_SERVER_ERROR.into_response();
            }
            let status = if from.is_some() {
                StatusCode::ACCEPTED
            } else {
                StatusCode::NO_CONTENT
            };
            let range = format!("0-{}", part.len().saturating_sub(1));
            let location = format!("/v2/team/app/blobs/{target}?state=x");
            (
                status,
                [(header::LOCATION, location), (header::RANGE, range)],
            )
                .into_response()
        }
        ("blobs", Method::PUT) => {
            let mut content = fake
                .parts
                .lock()
                .unwrap()
                .remove(target)
                .unwrap_or_default();
            content.extend_from_slice(&body);
            let stored = Descriptor::of("", &content);
            let digest = stored.digest.to_string().replace(':', "%3A");
            if query == format!("state=x&digest={digest}") {
                fake.put_blob("", &content);
                StatusCode::CREATED.into_response()
            } else {
                StatusCode::BAD_REQUEST.into_response()
            }
        }
        ("blobs", method) => match fake.blob(target) {
            Some(content) if method == Method::GET => {
                let from: usize = range
                    .and_then(|range| {
                        let from = range.strip_prefix("bytes=")?.strip_suffix('-')?;
                        Some(from.parse().unwrap())
                    })
                    .unwrap_or(0);
                let status = if from > 0 {
                    StatusCode::PARTIAL_CONTENT
                } else {
                    StatusCode::OK
                };
                let rest = content[from..].to_vec();
                if happens(&fake.behaviour.break_downloads) {
                    let half = rest[..rest.len() / 2].to_vec();
                    let pieces = vec![Ok(half), Err(std::io::Error::other("broken"))];
                    let body = Body::from_stream(futures_util::stream::iter(pieces));
                    let length = rest.len().to_string();
                    return (status, [(header::CONTENT_LENGTH, length)], body).into_response();
                }
                (status, rest).into_response()
            }
            Some(_) => StatusCode::OK.into_response(),
            None => not_found(),
        },
        ("manifests", Method::DELETE)
            if !target.contains(':') && fake.behaviour.refuse_tag_deletion.is_some() =>
        {
            fake.behaviour.refuse_tag_deletion.unwrap().into_response()
        }
        ("manifests", Method::DELETE) => {
            let mut manifests = fake.manifests.lock().unwrap();
            let there = manifests.remove(target).is_some();
            if target.starts_with("sha256:") {
                manifests.retain(|_, (_, content)| {
                    Descriptor::of("", content).digest.to_string() != target
                });
            }
            drop(manifests);
            if there {
                StatusCode::ACCEPTED.into_response()
            } else {
                not_found()
            }
        }
        ("manifests", Method::PUT) => {
            let manifest: Value = serde_json::from_slice(&body).unwrap();
            if fake.behaviour.strict && !fake.is_whole(&manifest) {
                return not_found();
            }
            let stored = fake.put(target, &content_type.unwrap(), &body);
            let written = (target.to_owned(), stored, manifest.clone());
            fake.written.lock().unwrap().push(written);
            match manifest.pointer("/subject/digest").and_then(Value::as_str) {
                Some(subject) if fake.behaviour.subject_header => {
                    (StatusCode::CREATED, [("oci-subject", subject)]).into_response()
                }
                _ => StatusCode::CREATED.into_response(),
            }
        }
        ("manifests", _) if target.contains('.') && fake.behaviour.refuse_old_tags.is_some() => {
            fake.behaviour.refuse_old_tags.unwrap().into_response()
        }
        ("manifests", _) => {
            let answer = {
                let manifests = fake.manifests.lock().unwrap();
                manifests.get(target).cloned()
            };
            if target.starts_with("sha256-")
                && let Some(barrier) = &fake.behaviour.gather
                && answer.is_none()
            {
                // All of them read "nothing there" before anybody writes.
                barrier.wait().await;
            }
            match answer {
                // As registries do for clients that would not understand it.
                Some((media_type, _))
                    if accept.is_some_and(|accept| !accept.contains(&media_type)) =>
                {
                    not_found()
                }
                Some((media_type, content)) => {
                    ([(header::CONTENT_TYPE, media_type)], content).into_response()
                }
                None => not_found(),
            }
        }
        ("referrers", _) => listing(&fake, target, &query),
        _ => not_found(),
    }
}

fn listing(fake: &Fake, target: &str, query: &str) -> Response {
    if let Some((left, status)) = &fake.behaviour.refuse_listing
        && left
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                left.checked_sub(1)
            })
            .is_ok()
    {
        return (*status, [(header::RETRY_AFTER, "0")]).into_response();
    }
    let Some(page) = fake.behaviour.referrers else {
        return not_found();
    };
    let mut all = fake.referrers(target);
    all.truncate(fake.behaviour.lists_at_most.unwrap_or(usize::MAX));
    let from: usize = query
        .strip_prefix("from=")
        .and_then(|from| from.parse().ok())
        .unwrap_or(0);
    let shown: Vec<&Value> = all.iter().skip(from).take(page).collect();
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": shown });
    let mut answer = Response::new(Body::from(index.to_string()));
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, INDEX_TYPE.parse().unwrap());
    if from + page < all.len() {
        let link = format!(
            "</v2/team/app/referrers/{target}?from={}>; rel=\"next\"",
            from + page
        );
        headers.insert(header::LINK, link.parse().unwrap());
    }
    answer
}
