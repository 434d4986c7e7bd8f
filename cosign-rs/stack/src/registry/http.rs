//! The registry's API. Repository names contain slashes, so the path is read from its end, here and not by the router.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use http_body_util::BodyExt as _;
use serde_json::json;
use tokio_util::io::ReaderStream;

use super::name::{Digest, Reference, Repository};
use super::storage::{MANIFEST_MAX, Storage, StorageError};

/// Entries of one page of referrers or tags. Small enough that clients' paging is exercised.
const PAGE: usize = 100;

/// Media type of an index, which a list of referrers is.
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
const OCI_SUBJECT: HeaderName = HeaderName::from_static("oci-subject");
const OCI_FILTERS_APPLIED: HeaderName = HeaderName::from_static("oci-filters-applied");
const UPLOAD_ID: HeaderName = HeaderName::from_static("docker-upload-uuid");

/// How the registry behaves.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where its files are.
    pub folder: PathBuf,
    /// Whether it has the referrers API; without it clients fall back to a tag.
    pub referrers: bool,
}

struct Registry {
    storage: Storage,
    referrers: bool,
}

/// Brings the registry to life.
pub async fn build(settings: &Settings) -> Result<Router, StorageError> {
    let storage = Storage::open(&settings.folder).await?;
    let registry = Arc::new(Registry {
        storage,
        referrers: settings.referrers,
    });
    Ok(Router::new()
        .route(
            "/v2/",
            get(async || {
                (
                    [("docker-distribution-api-version", "registry/2.0")],
                    axum::Json(json!({})),
                )
            }),
        )
        .route("/v2/{*path}", any(dispatch))
        .with_state(registry)
        .merge(serve::Health::serving().routes()))
}

/// What a path asks for.
enum Target {
    Uploads,
    Upload(String),
    Blob(Digest),
    Manifest(Reference),
    Tags,
    Referrers(Digest),
}

fn target(path: &str) -> Result<(Repository, Target), Refusal> {
    let name = |text: &str| {
        Repository::parse(text).ok_or(Refusal::new(
            StatusCode::BAD_REQUEST,
            "NAME_INVALID",
            "malformed repository name",
        ))
    };
    let digest = |text: &str| {
        Digest::parse(text).ok_or(Refusal::new(
            StatusCode::BAD_REQUEST,
            "DIGEST_INVALID",
            "a digest is sha256: and 64 hex digits",
        ))
    };
    let unknown = || Refusal::new(StatusCode::NOT_FOUND, "NAME_UNKNOWN", "no such endpoint");
    let (rest, last) = path.rsplit_once('/').ok_or_else(unknown)?;
    if let Some(repository) = rest.strip_suffix("/blobs/uploads") {
        let target = if last.is_empty() {
            Target::Uploads
        } else {
            Target::Upload(last.to_owned())
        };
        return Ok((name(repository)?, target));
    }
    let (repository, kind) = rest.rsplit_once('/').ok_or_else(unknown)?;
    let target = match (kind, last) {
        ("blobs", "uploads") => Target::Uploads,
        ("blobs", _) => Target::Blob(digest(last)?),
        ("manifests", _) => Target::Manifest(Reference::parse(last).ok_or(Refusal::new(
            StatusCode::BAD_REQUEST,
            "MANIFEST_INVALID",
            "malformed tag or digest",
        ))?),
        ("tags", "list") => Target::Tags,
        ("referrers", _) => Target::Referrers(digest(last)?),
        _ => return Err(unknown()),
    };
    Ok((name(repository)?, target))
}

async fn dispatch(
    State(registry): State<Arc<Registry>>,
    Query(query): Query<BTreeMap<String, String>>,
    request: Request,
) -> Result<Response, Refusal> {
    let path = request.uri().path().trim_start_matches("/v2/").to_owned();
    let method = request.method().clone();
    let (repository, target) = target(&path)?;
    let reading = method == Method::GET || method == Method::HEAD;
    match target {
        Target::Uploads if method == Method::POST => {
            registry
                .begin(&repository, &query, request.into_body())
                .await
        }
        Target::Upload(id) if method == Method::PATCH => {
            registry.append(&repository, &id, request).await
        }
        Target::Upload(id) if method == Method::PUT => {
            registry.finish(&repository, &id, &query, request).await
        }
        Target::Upload(id) if method == Method::GET => registry.progress(&repository, &id).await,
        Target::Upload(id) if method == Method::DELETE => {
            registry
                .storage
                .cancel(&id)
                .await
                .map_err(|error| refuse(&error, "BLOB_UPLOAD_UNKNOWN"))?;
            Ok(StatusCode::NO_CONTENT.into_response())
        }
        Target::Blob(digest) if reading => registry.blob(&repository, &digest, &method).await,
        Target::Manifest(reference) if reading => {
            registry.manifest(&repository, &reference, &method).await
        }
        Target::Manifest(reference) if method == Method::PUT => {
            registry
                .put_manifest(&repository, &reference, request)
                .await
        }
        Target::Manifest(reference) if method == Method::DELETE => {
            registry
                .storage
                .delete_manifest(&repository, &reference)
                .await
                .map_err(|error| refuse(&error, "MANIFEST_UNKNOWN"))?;
            Ok(StatusCode::ACCEPTED.into_response())
        }
        Target::Tags if reading => registry.tags(&repository, &query).await,
        Target::Referrers(digest) if reading && registry.referrers => {
            registry.referrers(&repository, &digest, &query).await
        }
        Target::Referrers(_) if reading => Err(Refusal::new(
            StatusCode::NOT_FOUND,
            "UNSUPPORTED",
            "the referrers API is switched off",
        )),
        _ => Err(Refusal::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "UNSUPPORTED",
            "this method is not offered here",
        )),
    }
}

impl Registry {
    async fn begin(
        &self,
        repository: &Repository,
        query: &BTreeMap<String, String>,
        body: Body,
    ) -> Result<Response, Refusal> {
        let digest = |text: &String| {
            Digest::parse(text).ok_or(Refusal::new(
                StatusCode::BAD_REQUEST,
                "DIGEST_INVALID",
                "malformed digest",
            ))
        };
        if let (Some(mount), Some(from)) = (query.get("mount"), query.get("from")) {
            let digest = digest(mount)?;
            if let Some(from) = Repository::parse(from)
                && self
                    .storage
                    .mount(&from, repository, &digest)
                    .await
                    .map_err(|error| upload(&error))?
            {
                return Ok(created(&blob_path(repository, &digest), &digest));
            }
        }
        let id = self.storage.begin().await.map_err(|error| upload(&error))?;
        if let Some(claimed) = query.get("digest") {
            let digest = digest(claimed)?;
            self.receive(&id, None, body).await?;
            self.storage
                .finish(&id, repository, &digest)
                .await
                .map_err(|error| upload(&error))?;
            return Ok(created(&blob_path(repository, &digest), &digest));
        }
        Ok(accepted(repository, &id, 0))
    }

    async fn append(
        &self,
        repository: &Repository,
        id: &str,
        request: Request,
    ) -> Result<Response, Refusal> {
        let at = content_range(request.headers())?;
        let length = self.receive(id, at, request.into_body()).await?;
        Ok(accepted(repository, id, length))
    }

    async fn finish(
        &self,
        repository: &Repository,
        id: &str,
        query: &BTreeMap<String, String>,
        request: Request,
    ) -> Result<Response, Refusal> {
        let digest = query
            .get("digest")
            .and_then(|text| Digest::parse(text))
            .ok_or(Refusal::new(
                StatusCode::BAD_REQUEST,
                "DIGEST_INVALID",
                "the query has no sha256 digest",
            ))?;
        let at = content_range(request.headers())?;
        self.receive(id, at, request.into_body()).await?;
        self.storage
            .finish(id, repository, &digest)
            .await
            .map_err(|error| upload(&error))?;
        Ok(created(&blob_path(repository, &digest), &digest))
    }

    /// Writes a body as it comes, so that a layer is never in memory as a whole.
    async fn receive(&self, id: &str, mut at: Option<u64>, mut body: Body) -> Result<u64, Refusal> {
        let mut length = self
            .storage
            .offset(id)
            .await
            .map_err(|error| upload(&error))?;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| {
                Refusal::new(
                    StatusCode::BAD_REQUEST,
                    "BLOB_UPLOAD_INVALID",
                    "the body ended early or is too large",
                )
            })?;
            if let Ok(chunk) = frame.into_data() {
                length = self
                    .storage
                    .append(id, at.take(), &chunk)
                    .await
                    .map_err(|error| upload(&error))?;
            }
        }
        Ok(length)
    }

    async fn progress(&self, repository: &Repository, id: &str) -> Result<Response, Refusal> {
        let length = self
            .storage
            .offset(id)
            .await
            .map_err(|error| upload(&error))?;
        let mut response = accepted(repository, id, length);
        *response.status_mut() = StatusCode::NO_CONTENT;
        Ok(response)
    }

    async fn blob(
        &self,
        repository: &Repository,
        digest: &Digest,
        method: &Method,
    ) -> Result<Response, Refusal> {
        let (file, length) = self
            .storage
            .read_blob(repository, digest)
            .await
            .map_err(|error| refuse(&error, "BLOB_UNKNOWN"))?;
        let body = if method == Method::HEAD {
            Body::empty()
        } else {
            Body::from_stream(ReaderStream::new(file))
        };
        let headers = [
            (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
            (header::CONTENT_LENGTH, length.to_string()),
            (CONTENT_DIGEST, digest.to_string()),
        ];
        Ok((headers, body).into_response())
    }

    async fn manifest(
        &self,
        repository: &Repository,
        reference: &Reference,
        method: &Method,
    ) -> Result<Response, Refusal> {
        let stored = self
            .storage
            .read_manifest(repository, reference)
            .await
            .map_err(|error| refuse(&error, "MANIFEST_UNKNOWN"))?;
        let headers = [
            (header::CONTENT_TYPE, stored.media_type),
            (header::CONTENT_LENGTH, stored.content.len().to_string()),
            (CONTENT_DIGEST, stored.digest.to_string()),
        ];
        let body = if method == Method::HEAD {
            Body::empty()
        } else {
            Body::from(stored.content)
        };
        Ok((headers, body).into_response())
    }

    async fn put_manifest(
        &self,
        repository: &Repository,
        reference: &Reference,
        request: Request,
    ) -> Result<Response, Refusal> {
        let invalid = |message| Refusal::new(StatusCode::BAD_REQUEST, "MANIFEST_INVALID", message);
        let content_type = request
            .headers()
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .map(|value| {
                value
                    .split(';')
                    .next()
                    .unwrap_or_default()
                    .trim()
                    .to_owned()
            })
            .filter(|value| !value.is_empty())
            .ok_or(invalid("no Content-Type"))?;
        let content = axum::body::to_bytes(request.into_body(), MANIFEST_MAX + 1)
            .await
            .map_err(|_| {
                Refusal::new(
                    StatusCode::PAYLOAD_TOO_LARGE,
                    "MANIFEST_INVALID",
                    "a manifest has at most 4 MiB",
                )
            })?;
        let taken = self
            .storage
            .put_manifest(repository, reference, &content_type, &content)
            .await
            .map_err(|error| refuse(&error, "MANIFEST_INVALID"))?;
        let mut response = created(
            &format!("/v2/{}/manifests/{}", repository.as_str(), taken.digest),
            &taken.digest,
        );
        if let (Some(subject), true) = (taken.subject, self.referrers) {
            // Its absence tells clients to keep a fallback tag (OCI distribution 1.1, "Pushing Manifests with Subject").
            insert(response.headers_mut(), OCI_SUBJECT, &subject.to_string());
        }
        Ok(response)
    }

    async fn tags(
        &self,
        repository: &Repository,
        query: &BTreeMap<String, String>,
    ) -> Result<Response, Refusal> {
        let tags = self
            .storage
            .tags(repository)
            .await
            .map_err(|error| refuse(&error, "NAME_UNKNOWN"))?;
        let limit = query
            .get("n")
            .and_then(|text| text.parse().ok())
            .unwrap_or(PAGE)
            .min(PAGE);
        let last = query.get("last").map(String::as_str).unwrap_or_default();
        let rest: Vec<&str> = tags
            .iter()
            .map(super::name::Tag::as_str)
            .filter(|tag| *tag > last)
            .collect();
        let page: Vec<&str> = rest.iter().take(limit).copied().collect();
        let next = (rest.len() > page.len())
            .then(|| page.last())
            .flatten()
            .map(|last| {
                format!(
                    "</v2/{}/tags/list?n={limit}&last={last}>; rel=\"next\"",
                    repository.as_str()
                )
            });
        let mut response =
            axum::Json(json!({ "name": repository.as_str(), "tags": page })).into_response();
        if let Some(next) = next {
            insert(response.headers_mut(), header::LINK, &next);
        }
        Ok(response)
    }

    async fn referrers(
        &self,
        repository: &Repository,
        digest: &Digest,
        query: &BTreeMap<String, String>,
    ) -> Result<Response, Refusal> {
        let mut all = self
            .storage
            .referrers(repository, digest)
            .await
            .map_err(|error| refuse(&error, "NAME_UNKNOWN"))?;
        let artifact_type = query
            .get("artifactType")
            .filter(|wanted| !wanted.is_empty());
        if let Some(wanted) = artifact_type {
            all.retain(|descriptor| descriptor.artifact_type.as_ref() == Some(wanted));
        }
        let last = query
            .get("last")
            .and_then(|text| Digest::parse(text))
            .map(|digest| digest.to_string())
            .unwrap_or_default();
        all.retain(|descriptor| descriptor.digest > last);
        let more = all.len() > PAGE;
        all.truncate(PAGE);
        let next = all.last().filter(|_| more).map(|descriptor| {
            let filter = artifact_type
                .map(|wanted| format!("&artifactType={}", encoded(wanted)))
                .unwrap_or_default();
            format!(
                "</v2/{}/referrers/{digest}?last={}{filter}>; rel=\"next\"",
                repository.as_str(),
                descriptor.digest
            )
        });
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": all });
        let mut response = ([(header::CONTENT_TYPE, INDEX)], index.to_string()).into_response();
        if artifact_type.is_some() {
            insert(response.headers_mut(), OCI_FILTERS_APPLIED, "artifactType");
        }
        if let Some(next) = next {
            insert(response.headers_mut(), header::LINK, &next);
        }
        Ok(response)
    }
}

fn encoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

fn blob_path(repository: &Repository, digest: &Digest) -> String {
    format!("/v2/{}/blobs/{digest}", repository.as_str())
}

fn insert(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    // Every value here is made of checked names; one that is no header value is left out.
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

fn created(location: &str, digest: &Digest) -> Response {
    let mut response = StatusCode::CREATED.into_response();
    insert(response.headers_mut(), header::LOCATION, location);
    insert(response.headers_mut(), CONTENT_DIGEST, &digest.to_string());
    response
}

fn accepted(repository: &Repository, id: &str, length: u64) -> Response {
    let mut response = StatusCode::ACCEPTED.into_response();
    insert(
        response.headers_mut(),
        header::LOCATION,
        &format!("/v2/{}/blobs/uploads/{id}", repository.as_str()),
    );
    insert(
        response.headers_mut(),
        header::RANGE,
        &format!("0-{}", length.saturating_sub(1)),
    );
    insert(response.headers_mut(), UPLOAD_ID, id);
    response
}

/// The first byte of `Content-Range: 0-99` (the distribution specification's form, without a unit).
fn content_range(headers: &HeaderMap) -> Result<Option<u64>, Refusal> {
    let Some(value) = headers.get(header::CONTENT_RANGE) else {
        return Ok(None);
    };
    let start = value
        .to_str()
        .ok()
        .and_then(|text| text.split_once('-'))
        .and_then(|(start, _)| start.trim().parse().ok());
    start.map(Some).ok_or(Refusal::new(
        StatusCode::BAD_REQUEST,
        "BLOB_UPLOAD_INVALID",
        "malformed Content-Range",
    ))
}

fn upload(error: &StorageError) -> Refusal {
    refuse(error, "BLOB_UPLOAD_UNKNOWN")
}

/// An error answer in the registry's own form.
#[derive(Debug)]
struct Refusal {
    status: StatusCode,
    code: &'static str,
    message: String,
}

impl Refusal {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
        }
    }
}

fn refuse(error: &StorageError, missing: &'static str) -> Refusal {
    let message = error.to_string();
    match error {
        StorageError::NotFound(_) => Refusal::new(StatusCode::NOT_FOUND, missing, message),
        StorageError::DigestMismatch { .. } => {
            Refusal::new(StatusCode::BAD_REQUEST, "DIGEST_INVALID", message)
        }
        StorageError::Offset { .. } => Refusal::new(
            StatusCode::RANGE_NOT_SATISFIABLE,
            "BLOB_UPLOAD_INVALID",
            message,
        ),
        StorageError::TooLarge { .. } => {
            Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "SIZE_INVALID", message)
        }
        StorageError::Busy => {
            Refusal::new(StatusCode::TOO_MANY_REQUESTS, "TOOMANYREQUESTS", message)
        }
        StorageError::Manifest(_) => {
            Refusal::new(StatusCode::BAD_REQUEST, "MANIFEST_INVALID", message)
        }
        StorageError::MissingPart(_) => {
            Refusal::new(StatusCode::NOT_FOUND, "MANIFEST_BLOB_UNKNOWN", message)
        }
        StorageError::Io(_) | StorageError::Random(_) => {
            tracing::error!(cause = ?error, "registry storage");
            Refusal::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "UNKNOWN",
                "storage failed",
            )
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (
            self.status,
            axum::Json(json!({ "errors": [{ "code": self.code, "message": self.message }] })),
        )
            .into_response()
    }
}
