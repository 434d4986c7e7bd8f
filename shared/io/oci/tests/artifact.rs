//! Artifacts of files: what is written, what is read again, and what is none.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    unreachable_pub,
    missing_docs,
    dead_code,
    reason = "a panic is a test's way to fail; the registry is shared with other tests"
)]

mod common;

use bytes::Bytes;
use common::{Behaviour, Fake, client};
use oci::{ArtifactFile, ArtifactKind, IMAGE_TYPE, OciError, Reference};
use serde_json::json;

const KIND: ArtifactKind = ArtifactKind {
    artifact_type: "application/vnd.example.folder",
    name: "example.com/name",
};

fn file(name: &str, content: &str) -> ArtifactFile {
    ArtifactFile {
        name: name.to_owned(),
        media_type: "text/plain",
        content: Bytes::copy_from_slice(content.as_bytes()),
    }
}

fn tagged(fake: &Fake) -> Reference {
    Reference::parse(&format!("{}:latest", fake.repository())).unwrap()
}

#[tokio::test]
async fn files_come_back_under_their_names_and_the_same_ones_are_written_once() {
    let fake = Fake::start(Behaviour::default()).await;
    let (registry, at) = (client(), tagged(&fake));
    let files = [file("a", "one"), file("b/c", "two"), file("b/d", "one")];
    let (digest, written) = registry.push_artifact(&at, KIND, &files).await.unwrap();
    assert!(written);
    let again = registry.push_artifact(&at, KIND, &files).await.unwrap();
    assert_eq!(again, (digest, false));
    for reference in [at.clone(), fake.repository().at(digest)] {
        let artifact = registry.artifact(&reference, KIND).await.unwrap();
        assert_eq!(artifact.digest(), digest);
        assert_eq!(artifact.names().collect::<Vec<_>>(), ["a", "b/c", "b/d"]);
        let read = async |name, limit| registry.artifact_file(&artifact, name, limit).await;
        assert_eq!(read("b/d", 3).await.unwrap().unwrap(), "one");
        assert_eq!(read("b", 3).await.unwrap(), None);
        assert!(matches!(
            read("b/c", 2).await,
            Err(OciError::Malformed { .. })
        ));
    }
    let newer = [file("a", "three")];
    let (other, written) = registry.push_artifact(&at, KIND, &newer).await.unwrap();
    assert!(written && other != digest);
    // Under a digest nothing can be put.
    let pinned = fake.repository().at(digest);
    assert!(registry.push_artifact(&pinned, KIND, &newer).await.is_err());
}

#[tokio::test]
async fn what_is_no_such_artifact_is_refused() {
    let fake = Fake::start(Behaviour::default()).await;
    let (registry, at) = (client(), tagged(&fake));
    let content = Bytes::from_static(b"one");
    let blob = registry
        .push_blob(&fake.repository(), "text/plain", content)
        .await
        .unwrap();
    let mut layer = serde_json::to_value(&blob).unwrap();
    layer["annotations"] = json!({ KIND.name: "a" });
    for (kind, layers, expected) in [
        (json!(null), json!([]), "it is an image"),
        (json!("text/html"), json!([]), "it is text/html"),
        (
            json!(KIND.artifact_type),
            json!([layer, layer]),
            "two files",
        ),
        (json!(KIND.artifact_type), json!("none"), "invalid type"),
    ] {
        let manifest = json!({ "schemaVersion": 2, "mediaType": IMAGE_TYPE, "artifactType": kind, "layers": layers });
        let manifest = Bytes::from(manifest.to_string());
        registry
            .push_manifest(&fake.repository(), "latest", IMAGE_TYPE, manifest)
            .await
            .unwrap();
        let error = registry.artifact(&at, KIND).await.unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
}
