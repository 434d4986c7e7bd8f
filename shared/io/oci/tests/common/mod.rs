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
    /// It wants a token, of its own service, for this name and password.
    pub password: Option<&'static str>,
}

pub struct Fake {
    pub behaviour: Behaviour,
    pub address: String,
    blobs: Mutex<HashMap<String, Vec<u8>>>,
    manifests: Mutex<BTreeMap<String, (String, Vec<u8>)>>,
    pub uploads: AtomicUsize,
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
            uploads: AtomicUsize::new(0),
        });
        let router = Router::new()
            .route("/v2/", any(async || "{}"))
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
    let path = request.uri().path().to_owned();
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
            fake.uploads.fetch_add(1, Ordering::SeqCst);
            let location = "/v2/team/app/blobs/uploads/1?state=x";
            (StatusCode::ACCEPTED, [(header::LOCATION, location)]).into_response()
        }
        ("blobs", Method::PUT) => {
            let stored = fake.put_blob("", &body);
            let digest = stored.digest.to_string().replace(':', "%3A");
            if query == format!("state=x&digest={digest}") {
                StatusCode::CREATED.into_response()
            } else {
                StatusCode::BAD_REQUEST.into_response()
            }
        }
        ("blobs", _) => match fake.blobs.lock().unwrap().get(target) {
            Some(content) => content.clone().into_response(),
            None => not_found(),
        },
        ("manifests", Method::PUT) => {
            let media_type = if target.starts_with("sha256-") {
                INDEX_TYPE
            } else {
                IMAGE_TYPE
            };
            fake.put(target, media_type, &body);
            let manifest: Value = serde_json::from_slice(&body).unwrap();
            match manifest.pointer("/subject/digest").and_then(Value::as_str) {
                Some(subject) if fake.behaviour.subject_header => {
                    (StatusCode::CREATED, [("oci-subject", subject)]).into_response()
                }
                _ => StatusCode::CREATED.into_response(),
            }
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
    let all = fake.referrers(target);
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
