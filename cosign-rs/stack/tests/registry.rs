//! The development registry, over HTTP, with the words of the distribution specification.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic in a test is its failure report"
)]

use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};
use serve::{Limits, ListenAddress, Listeners, Stop, StopHandle};
use sigstack::registry::{self, Digest};
use tempfile::TempDir;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";

struct Running {
    base: String,
    client: Client,
    folder: TempDir,
    _stop: StopHandle,
}

async fn start(referrers: bool) -> Running {
    let folder = tempfile::tempdir().unwrap();
    let router = registry::build(&registry::Settings {
        folder: folder.path().to_owned(),
        referrers,
    })
    .await
    .unwrap();
    let listeners = Listeners::bind(&ListenAddress::localhost(0)).await.unwrap();
    let base = listeners.base_url();
    let (handle, stop) = Stop::new();
    tokio::spawn(serve::run(
        listeners,
        "registry",
        router,
        Limits::default(),
        stop,
    ));
    Running {
        base,
        client: Client::builder().no_proxy().build().unwrap(),
        folder,
        _stop: handle,
    }
}

fn digest(content: &[u8]) -> String {
    Digest::of(content).to_string()
}

fn descriptor(media_type: &str, content: &[u8]) -> Value {
    json!({ "mediaType": media_type, "digest": digest(content), "size": content.len() })
}

async fn code(response: Response) -> (StatusCode, String) {
    let status = response.status();
    let body: Value = response.json().await.unwrap();
    (
        status,
        body["errors"][0]["code"].as_str().unwrap().to_owned(),
    )
}

impl Running {
    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    async fn get(&self, path: &str) -> Response {
        self.client.get(self.url(path)).send().await.unwrap()
    }

    async fn push_blob(&self, repository: &str, content: &[u8]) -> Response {
        let begun = self
            .client
            .post(self.url(&format!("/v2/{repository}/blobs/uploads/")))
            .send()
            .await
            .unwrap();
        assert_eq!(begun.status(), StatusCode::ACCEPTED);
        let location = begun.headers()["location"].to_str().unwrap().to_owned();
        self.client
            .put(self.url(&format!("{location}?digest={}", digest(content))))
            .body(content.to_vec())
            .send()
            .await
            .unwrap()
    }

    async fn push_manifest(&self, repository: &str, reference: &str, content: &[u8]) -> Response {
        let url = self.url(&format!("/v2/{repository}/manifests/{reference}"));
        self.client
            .put(url)
            .header("content-type", MANIFEST)
            .body(content.to_vec())
            .send()
            .await
            .unwrap()
    }

    /// An image of one layer, tagged `latest`; its digest.
    async fn push_image(&self, repository: &str) -> String {
        self.push_blob(repository, b"{}").await;
        self.push_blob(repository, b"layer").await;
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST,
            "config": descriptor("application/vnd.oci.image.config.v1+json", b"{}"),
            "layers": [descriptor("application/vnd.oci.image.layer.v1.tar", b"layer")],
        });
        let content = manifest.to_string();
        assert_eq!(
            self.push_manifest(repository, "latest", content.as_bytes())
                .await
                .status(),
            StatusCode::CREATED
        );
        digest(content.as_bytes())
    }

    async fn attach(
        &self,
        repository: &str,
        subject: &str,
        artifact_type: Option<&str>,
        note: &str,
    ) -> Response {
        self.push_blob(repository, b"{}").await;
        let mut manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST,
            "config": descriptor("application/vnd.oci.empty.v1+json", b"{}"), "layers": [],
            "subject": { "mediaType": MANIFEST, "digest": subject, "size": 1 },
            "annotations": { "note": note },
        });
        if let Some(artifact_type) = artifact_type {
            manifest["artifactType"] = json!(artifact_type);
        }
        let content = manifest.to_string();
        self.push_manifest(repository, &digest(content.as_bytes()), content.as_bytes())
            .await
    }
}

#[tokio::test]
async fn an_image_is_pushed_and_pulled_by_tag_and_digest() {
    let registry = start(true).await;
    assert_eq!(registry.get("/v2/").await.status(), StatusCode::OK);
    let digest = registry.push_image("team/app").await;
    for reference in ["latest", &digest] {
        let pulled = registry
            .get(&format!("/v2/team/app/manifests/{reference}"))
            .await;
        assert_eq!(
            pulled.headers()["docker-content-digest"].to_str().unwrap(),
            digest
        );
        assert_eq!(pulled.headers()["content-type"].to_str().unwrap(), MANIFEST);
        assert_eq!(
            Digest::of(&pulled.bytes().await.unwrap()).to_string(),
            digest
        );
        let head = registry
            .client
            .head(registry.url(&format!("/v2/team/app/manifests/{reference}")))
            .send()
            .await
            .unwrap();
        assert_eq!(
            head.headers()["docker-content-digest"].to_str().unwrap(),
            digest
        );
    }
    let blob = registry
        .get(&format!("/v2/team/app/blobs/{}", Digest::of(b"layer")))
        .await;
    assert_eq!(blob.headers()["content-length"], "5");
    assert_eq!(blob.bytes().await.unwrap(), "layer");
    let tags: Value = registry
        .get("/v2/team/app/tags/list")
        .await
        .json()
        .await
        .unwrap();
    assert_eq!(tags, json!({ "name": "team/app", "tags": ["latest"] }));
}

#[tokio::test]
async fn a_blob_is_pushed_in_one_request_in_pieces_and_by_mounting() {
    let registry = start(true).await;
    let content = b"0123456789";
    let whole = registry.url(&format!(
        "/v2/a/blobs/uploads/?digest={}",
        Digest::of(content)
    ));
    assert_eq!(
        registry
            .client
            .post(whole)
            .body(&content[..])
            .send()
            .await
            .unwrap()
            .status(),
        StatusCode::CREATED
    );

    let begun = registry
        .client
        .post(registry.url("/v2/b/blobs/uploads/"))
        .send()
        .await
        .unwrap();
    let location = registry.url(begun.headers()["location"].to_str().unwrap());
    let piece = |range: &str, bytes: &'static [u8]| {
        registry
            .client
            .patch(&location)
            .header("content-range", range)
            .body(bytes)
            .send()
    };
    assert_eq!(
        piece("0-3", b"0123").await.unwrap().headers()["range"],
        "0-3"
    );
    assert_eq!(
        code(piece("0-3", b"0123").await.unwrap()).await,
        (
            StatusCode::RANGE_NOT_SATISFIABLE,
            "BLOB_UPLOAD_INVALID".to_owned()
        )
    );
    let progress = registry.client.get(&location).send().await.unwrap();
    assert_eq!(
        (
            progress.status(),
            progress.headers()["range"].to_str().unwrap()
        ),
        (StatusCode::NO_CONTENT, "0-3")
    );
    assert_eq!(
        piece("4-9", b"456789").await.unwrap().status(),
        StatusCode::ACCEPTED
    );
    let done = registry
        .client
        .put(format!("{location}?digest={}", Digest::of(content)))
        .send()
        .await
        .unwrap();
    assert_eq!(done.status(), StatusCode::CREATED);

    let mount = |from: &str| {
        registry
            .client
            .post(registry.url(&format!(
                "/v2/c/blobs/uploads/?mount={}&from={from}",
                Digest::of(content)
            )))
            .send()
    };
    assert_eq!(
        mount("nowhere").await.unwrap().status(),
        StatusCode::ACCEPTED
    );
    assert_eq!(mount("a").await.unwrap().status(), StatusCode::CREATED);
    assert_eq!(
        registry
            .get(&format!("/v2/c/blobs/{}", Digest::of(content)))
            .await
            .bytes()
            .await
            .unwrap(),
        &content[..]
    );
    // A repository has only what was pushed to it or mounted into it.
    let elsewhere = registry
        .get(&format!("/v2/d/blobs/{}", Digest::of(content)))
        .await;
    assert_eq!(
        code(elsewhere).await,
        (StatusCode::NOT_FOUND, "BLOB_UNKNOWN".to_owned())
    );
}

#[tokio::test]
async fn content_that_is_not_what_it_claims_is_refused() {
    let registry = start(true).await;
    let claimed = Digest::of(b"other");
    let whole = registry.url(&format!("/v2/a/blobs/uploads/?digest={claimed}"));
    let response = registry.client.post(whole).body("x").send().await.unwrap();
    assert_eq!(
        code(response).await,
        (StatusCode::BAD_REQUEST, "DIGEST_INVALID".to_owned())
    );
    assert_eq!(
        registry
            .get(&format!("/v2/a/blobs/{claimed}"))
            .await
            .status(),
        StatusCode::NOT_FOUND
    );
    let response = registry
        .push_manifest("a", &claimed.to_string(), b"{}")
        .await;
    assert_eq!(
        code(response).await,
        (StatusCode::BAD_REQUEST, "DIGEST_INVALID".to_owned())
    );
    let uploads = std::fs::read_dir(registry.folder.path().join("uploads"))
        .unwrap()
        .count();
    assert_eq!(uploads, 0, "a refused upload leaves nothing behind");
}

#[tokio::test]
async fn a_manifest_needs_its_parts_and_its_media_type() {
    let registry = start(true).await;
    let missing = json!({ "config": descriptor("x", b"nothing"), "layers": [] }).to_string();
    let response = registry
        .push_manifest("a", "latest", missing.as_bytes())
        .await;
    assert_eq!(
        code(response).await,
        (StatusCode::NOT_FOUND, "MANIFEST_BLOB_UNKNOWN".to_owned())
    );
    let child = json!({ "manifests": [descriptor(MANIFEST, b"nothing")] }).to_string();
    let response = registry
        .push_manifest("a", "latest", child.as_bytes())
        .await;
    assert_eq!(code(response).await.1, "MANIFEST_BLOB_UNKNOWN");
    for content in [
        &b"not json"[..],
        br#"{"mediaType":"application/vnd.oci.image.index.v1+json"}"#,
        br#"{"config":{"mediaType":"x","digest":"sha512:00","size":1}}"#,
    ] {
        let response = registry.push_manifest("a", "latest", content).await;
        assert_eq!(
            code(response).await,
            (StatusCode::BAD_REQUEST, "MANIFEST_INVALID".to_owned())
        );
    }
    let untyped = registry
        .client
        .put(registry.url("/v2/a/manifests/latest"))
        .body("{}")
        .send()
        .await
        .unwrap();
    assert_eq!(code(untyped).await.1, "MANIFEST_INVALID");
    let large = vec![b' '; (4 << 20) + 1];
    let limits = registry.push_manifest("a", "latest", &large).await.status();
    assert_eq!(limits, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn referrers_are_listed_filtered_and_paged() {
    let registry = start(true).await;
    let subject = registry.push_image("a").await;
    let path = format!("/v2/a/referrers/{subject}");
    let none: Value = registry.get(&path).await.json().await.unwrap();
    assert_eq!(none["manifests"], json!([]));
    let attached = registry
        .attach("a", &subject, Some(BUNDLE), "signature")
        .await;
    assert_eq!(attached.headers()["oci-subject"].to_str().unwrap(), subject);
    registry.attach("a", &subject, None, "other").await;

    let all = registry.get(&path).await;
    assert_eq!(
        all.headers()["content-type"],
        "application/vnd.oci.image.index.v1+json"
    );
    assert!(all.headers().get("oci-filters-applied").is_none());
    let all: Value = all.json().await.unwrap();
    let types: Vec<&str> = all["manifests"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["artifactType"].as_str().unwrap())
        .collect();
    assert!(
        types.len() == 2
            && types.contains(&BUNDLE)
            && types.contains(&"application/vnd.oci.empty.v1+json"),
        "{types:?}"
    );

    let filtered = registry
        .client
        .get(registry.url(&path))
        .query(&[("artifactType", BUNDLE)])
        .send()
        .await
        .unwrap();
    assert_eq!(filtered.headers()["oci-filters-applied"], "artifactType");
    let filtered: Value = filtered.json().await.unwrap();
    assert_eq!(filtered["manifests"].as_array().unwrap().len(), 1);
    assert_eq!(filtered["manifests"][0]["annotations"]["note"], "signature");

    for count in 0..120 {
        registry
            .attach("a", &subject, Some(BUNDLE), &format!("number {count}"))
            .await;
    }
    let mut next = Some(format!(
        "{path}?artifactType={}",
        BUNDLE.replace('+', "%2B")
    ));
    let (mut seen, mut pages) = (std::collections::BTreeSet::new(), 0);
    while let Some(path) = next {
        let page = registry.get(&path).await;
        next = page.headers().get("link").map(|link| {
            link.to_str()
                .unwrap()
                .split(['<', '>'])
                .nth(1)
                .unwrap()
                .to_owned()
        });
        let page: Value = page.json().await.unwrap();
        seen.extend(
            page["manifests"]
                .as_array()
                .unwrap()
                .iter()
                .map(|entry| entry["digest"].as_str().unwrap().to_owned()),
        );
        pages += 1;
    }
    assert_eq!((seen.len(), pages), (121, 2));
}

#[tokio::test]
async fn without_the_referrers_api_clients_see_an_older_registry() {
    let registry = start(false).await;
    let subject = registry.push_image("a").await;
    let attached = registry
        .attach("a", &subject, Some(BUNDLE), "signature")
        .await;
    assert_eq!(attached.status(), StatusCode::CREATED);
    assert!(attached.headers().get("oci-subject").is_none());
    assert_eq!(
        registry
            .get(&format!("/v2/a/referrers/{subject}"))
            .await
            .status(),
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn a_deleted_manifest_leaves_tags_and_referrers() {
    let registry = start(true).await;
    let subject = registry.push_image("a").await;
    registry
        .attach("a", &subject, Some(BUNDLE), "signature")
        .await;
    let list: Value = registry
        .get(&format!("/v2/a/referrers/{subject}"))
        .await
        .json()
        .await
        .unwrap();
    let attached = list["manifests"][0]["digest"].as_str().unwrap();
    let delete = |reference: &str| {
        registry
            .client
            .delete(registry.url(&format!("/v2/a/manifests/{reference}")))
            .send()
    };
    assert_eq!(
        delete(attached).await.unwrap().status(),
        StatusCode::ACCEPTED
    );
    let list: Value = registry
        .get(&format!("/v2/a/referrers/{subject}"))
        .await
        .json()
        .await
        .unwrap();
    assert_eq!(list["manifests"], json!([]));
    assert_eq!(
        delete(&subject).await.unwrap().status(),
        StatusCode::ACCEPTED
    );
    assert_eq!(
        registry.get("/v2/a/manifests/latest").await.status(),
        StatusCode::NOT_FOUND
    );
    assert_eq!(
        delete("latest").await.unwrap().status(),
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn names_that_could_leave_the_folder_are_refused() {
    let registry = start(true).await;
    for path in [
        "/v2/a/_tags/manifests/x",
        "/v2/A/manifests/x",
        "/v2/a/manifests/%2e%2e",
        "/v2/a%2f..%2fb/manifests/x",
        "/v2/a/blobs/sha256:00",
    ] {
        let status = registry.get(path).await.status();
        assert!(
            status == StatusCode::BAD_REQUEST || status == StatusCode::NOT_FOUND,
            "{path}: {status}"
        );
    }
    assert_eq!(
        registry.get("/v2/a/manifests/x").await.status(),
        StatusCode::NOT_FOUND
    );
    let method = registry
        .client
        .delete(registry.url(&format!("/v2/a/blobs/{}", Digest::of(b""))))
        .send()
        .await
        .unwrap();
    assert_eq!(method.status(), StatusCode::METHOD_NOT_ALLOWED);
}
