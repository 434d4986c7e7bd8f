//! The registry client against a registry of this test's own.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    unreachable_pub,
    missing_docs,
    reason = "a panic is a test's way to fail"
)]

mod common;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::http::StatusCode;
use bytes::Bytes;
use common::{Behaviour, Fake, client, client_with};
use oci::{
    Annotations, BUNDLE_CONTENT, CREATED, Credentials, Descriptor, IMAGE_TYPE, INDEX_TYPE,
    Keychain, LegacyKind, OciError, Reference,
};
use serde_json::json;
use tokio::sync::Barrier;

const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";

fn annotations() -> Annotations {
    Annotations::from([
        (CREATED.to_owned(), "2026-01-01T00:00:00Z".to_owned()),
        (BUNDLE_CONTENT.to_owned(), "dsse-envelope".to_owned()),
    ])
}

/// Ours name the bundle's blob as well.
fn noted(bundle: &str) -> Annotations {
    let layer = Descriptor::of(BUNDLE, bundle.as_bytes());
    let mut annotations = annotations();
    annotations.insert(
        "dev.cosign-rs.bundle.blob".to_owned(),
        format!("{} {}", layer.digest, layer.size),
    );
    annotations
}

fn fallback(image: &Descriptor) -> String {
    image.digest.to_string().replace(':', "-")
}

async fn attach(fake: &Fake, image: &Descriptor, bundle: &str) -> Result<Descriptor, OciError> {
    let bundle = Bytes::copy_from_slice(bundle.as_bytes());
    client()
        .attach(&fake.repository(), image, BUNDLE, bundle, &annotations())
        .await
}

async fn bundles(fake: &Fake, image: &Descriptor) -> BTreeSet<String> {
    let found = client().bundles(&fake.repository(), &image.digest).await;
    assert!(found.problems.is_empty(), "{:?}", found.problems);
    found
        .attached
        .iter()
        .map(|attached| String::from_utf8(attached.bundle.to_vec()).unwrap())
        .collect()
}

fn set<const N: usize>(bundles: [&str; N]) -> BTreeSet<String> {
    bundles.map(str::to_owned).into()
}

#[tokio::test]
async fn a_bundle_is_attached_as_cosign_does_it() {
    for (referrers, subject_header) in [(Some(10), true), (Some(10), false), (None, false)] {
        let fake = Fake::start(Behaviour {
            referrers,
            subject_header,
            ..Behaviour::default()
        })
        .await;
        let image = fake.image();
        let attached = attach(&fake, &image, "{}x").await.unwrap();
        let manifest = fake.manifest(&attached.digest.to_string()).unwrap();
        assert_eq!(
            manifest,
            json!({
                "schemaVersion": 2,
                "mediaType": IMAGE_TYPE,
                "artifactType": BUNDLE,
                "config": {
                    "mediaType": "application/vnd.oci.empty.v1+json",
                    "digest": "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
                    "size": 2,
                    "artifactType": BUNDLE,
                },
                "layers": [Descriptor::of(BUNDLE, b"{}x")],
                "subject": image,
                "annotations": noted("{}x"),
            })
        );
        let tagged = fake.manifest(&fallback(&image));
        assert_eq!(
            tagged,
            referrers.is_none().then(|| json!({
                "schemaVersion": 2,
                "mediaType": INDEX_TYPE,
                "manifests": [attached],
            }))
        );
        assert_eq!(bundles(&fake, &image).await, set(["{}x"]));

        let uploads = fake.uploads.load(Ordering::SeqCst);
        attach(&fake, &image, "{}x").await.unwrap();
        assert_eq!(
            fake.uploads.load(Ordering::SeqCst),
            uploads,
            "nothing is written twice"
        );
    }
}

#[tokio::test]
async fn every_page_of_referrers_is_read_and_the_tag_too() {
    let fake = Fake::start(Behaviour {
        referrers: Some(2),
        subject_header: true,
        ..Behaviour::default()
    })
    .await;
    let image = fake.image();
    for bundle in ["a", "b", "c", "d", "e"] {
        attach(&fake, &image, bundle).await.unwrap();
    }
    // An older client left one behind the tag, with the configuration's type in the entry.
    let layer = fake.put_blob(BUNDLE, b"f");
    let manifest = json!({ "schemaVersion": 2, "mediaType": IMAGE_TYPE, "layers": [layer], "subject": image, "by": "hand" });
    let mut entry = fake.put("x", IMAGE_TYPE, manifest.to_string().as_bytes());
    entry.artifact_type = Some("application/vnd.oci.empty.v1+json".to_owned());
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [entry] });
    fake.put(&fallback(&image), INDEX_TYPE, index.to_string().as_bytes());
    assert_eq!(
        bundles(&fake, &image).await,
        set(["a", "b", "c", "d", "e", "f"])
    );
}

#[tokio::test]
async fn writers_at_the_same_time_lose_nothing_on_the_fallback_tag() {
    const WRITERS: usize = 8;
    let fake = Fake::start(Behaviour {
        gather: Some(Arc::new(Barrier::new(WRITERS))),
        ..Behaviour::default()
    })
    .await;
    let image = fake.image();
    let writing: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let (fake, image) = (Arc::clone(&fake), image.clone());
            tokio::spawn(async move { attach(&fake, &image, &format!("{writer}")).await })
        })
        .collect();
    for written in writing {
        written.await.unwrap().unwrap();
    }
    let expected: BTreeSet<String> = (0..WRITERS).map(|writer| writer.to_string()).collect();
    assert_eq!(bundles(&fake, &image).await, expected);
}

#[tokio::test]
async fn what_others_wrote_behind_the_tag_stays_as_it_is() {
    let fake = Fake::start(Behaviour::default()).await;
    let image = fake.image();
    let theirs = json!({
        "mediaType": IMAGE_TYPE, "size": 3, "unknown": { "member": [1, 2] },
        "digest": "sha256:0000000000000000000000000000000000000000000000000000000000000000",
    });
    let strange = json!({ "no": "digest" });
    let index = json!({
        "schemaVersion": 2, "mediaType": INDEX_TYPE, "annotations": { "a": "b" },
        "manifests": [strange, theirs],
    });
    fake.put(&fallback(&image), INDEX_TYPE, index.to_string().as_bytes());
    attach(&fake, &image, "ours").await.unwrap();
    let index = fake.manifest(&fallback(&image)).unwrap();
    assert_eq!(index["annotations"], json!({ "a": "b" }));
    let manifests = index["manifests"].as_array().unwrap();
    assert_eq!(manifests.len(), 3);
    assert!(manifests.contains(&theirs) && manifests.contains(&strange));

    let other = Descriptor::of(IMAGE_TYPE, b"other");
    fake.put(&fallback(&other), IMAGE_TYPE, b"{}");
    let refused = attach(&fake, &other, "ours").await.unwrap_err();
    assert!(
        matches!(&refused, OciError::Malformed { .. }),
        "somebody's image is not overwritten: {refused}"
    );
}

#[tokio::test]
async fn a_throttled_list_is_waited_for_and_a_refused_one_is_a_problem() {
    let refusing = |times, status| Behaviour {
        referrers: Some(10),
        subject_header: true,
        refuse_listing: Some((AtomicUsize::new(times), status)),
        ..Behaviour::default()
    };
    let fake = Fake::start(refusing(2, StatusCode::TOO_MANY_REQUESTS)).await;
    let image = fake.image();
    attach(&fake, &image, "a").await.unwrap();
    assert_eq!(bundles(&fake, &image).await, set(["a"]));

    for status in [
        StatusCode::TOO_MANY_REQUESTS,
        StatusCode::INTERNAL_SERVER_ERROR,
        StatusCode::FORBIDDEN,
    ] {
        let fake = Fake::start(refusing(usize::MAX, status)).await;
        let image = fake.image();
        let found = client().bundles(&fake.repository(), &image.digest).await;
        assert_eq!(found.attached.len(), 0);
        assert_eq!(
            found.problems.len(),
            1,
            "{status}: not the same as unsigned"
        );
    }
}

#[tokio::test]
async fn other_bytes_than_the_digest_says_are_refused() {
    let fake = Fake::start(Behaviour {
        referrers: Some(10),
        subject_header: true,
        ..Behaviour::default()
    })
    .await;
    let at = fake.repository();
    let image = fake.image();
    let read = client()
        .image(&Reference::parse(&format!("{at}:v1")).unwrap())
        .await
        .unwrap();
    assert_eq!(read.descriptor, image);
    fake.spoil(&image.digest.to_string());
    let refused = client().image(&at.at(image.digest)).await;
    assert!(matches!(refused, Err(OciError::Digest { .. })));
    let missing = Reference::parse(&format!("{at}:v2")).unwrap();
    let refused = client().image(&missing).await;
    assert!(matches!(refused, Err(OciError::NotFound { .. })));

    let attached = attach(&fake, &image, "a bundle").await.unwrap();
    let layer = Descriptor::of(BUNDLE, b"a bundle");
    for spoiled in [layer.digest, attached.digest] {
        fake.spoil(&spoiled.to_string());
        let found = client().bundles(&at, &image.digest).await;
        assert_eq!((found.attached.len(), found.problems.len()), (0, 1));
        assert!(matches!(found.problems[0].why, OciError::Digest { .. }));
    }
    let mut sink = Vec::new();
    let refused = client().blob_into(&at, &layer, &mut sink).await;
    assert!(matches!(refused, Err(OciError::Digest { .. })));
}

#[tokio::test]
async fn one_bad_referrer_does_not_hide_the_good_ones() {
    let fake = Fake::start(Behaviour {
        referrers: Some(10),
        subject_header: true,
        ..Behaviour::default()
    })
    .await;
    let image = fake.image();
    attach(&fake, &image, "good").await.unwrap();
    let huge = Descriptor {
        size: 1 << 40,
        ..Descriptor::of(BUNDLE, b"huge")
    };
    for (layers, tag) in [(json!([huge]), "1"), (json!("no list"), "2")] {
        let manifest = json!({ "mediaType": IMAGE_TYPE, "layers": layers, "subject": image });
        fake.put(tag, IMAGE_TYPE, manifest.to_string().as_bytes());
    }
    // Referrers that are no bundles are no problem.
    let sbom = Descriptor::of("application/spdx+json", b"sbom");
    let manifest = json!({ "mediaType": IMAGE_TYPE, "layers": [sbom], "subject": image });
    fake.put("3", IMAGE_TYPE, manifest.to_string().as_bytes());
    let oversized = json!({ "mediaType": IMAGE_TYPE, "layers": [], "subject": image, "x": "y".repeat(oci::MANIFEST_MAX) });
    fake.put("4", IMAGE_TYPE, oversized.to_string().as_bytes());

    let found = client().bundles(&fake.repository(), &image.digest).await;
    assert_eq!(found.attached.len(), 1);
    assert_eq!(&found.attached[0].bundle[..], b"good");
    assert_eq!(found.problems.len(), 3, "{:?}", found.problems);
}

#[tokio::test]
async fn blobs_stream_and_are_mounted() {
    let fake = Fake::start(Behaviour::default()).await;
    let at = fake.repository();
    let content = Bytes::from(vec![7; 300_000]);
    let client = client();
    let blob = client
        .push_blob(&at, "application/octet-stream", content.clone())
        .await
        .unwrap();
    let mut sink = Vec::new();
    client.blob_into(&at, &blob, &mut sink).await.unwrap();
    assert_eq!(sink, content);
    let shorter = Descriptor {
        size: blob.size - 1,
        ..blob.clone()
    };
    assert!(client.blob_into(&at, &shorter, &mut sink).await.is_err());
    assert!(client.blob(&at, &shorter, 1 << 20).await.is_err());
    let refused = client.blob(&at, &blob, 1000).await;
    assert!(matches!(refused, Err(OciError::Malformed { .. })));
    assert!(client.mount(&at, &blob.digest, &at).await.unwrap());
}

#[tokio::test]
async fn the_token_service_is_asked_with_the_password_and_the_registry_with_the_token() {
    let fake = Fake::start(Behaviour {
        password: Some("secret"),
        ..Behaviour::default()
    })
    .await;
    let image = fake.image();
    let at = fake.repository();
    let given = |password: &str, of: &oci::Repository| {
        let credentials = Credentials::Password {
            user: "user".to_owned(),
            password: password.to_owned().into(),
        };
        client_with(Keychain::given(credentials, [of]))
    };
    let with = |password: &str| given(password, &at);
    let attach = |client: oci::Registry| {
        let (at, image) = (at.clone(), image.clone());
        async move {
            client
                .attach(
                    &at,
                    &image,
                    BUNDLE,
                    Bytes::from_static(b"x"),
                    &annotations(),
                )
                .await
        }
    };
    attach(with("secret")).await.unwrap();
    let found = with("secret").bundles(&at, &image.digest).await;
    assert_eq!((found.attached.len(), found.problems.len()), (1, 0));

    let refused = attach(with("wrong")).await.unwrap_err();
    assert!(matches!(refused, OciError::Denied { .. }), "{refused}");
    // What was given for another registry is not shown to this one.
    let elsewhere = oci::Repository::parse("registry.example.org/team/app").unwrap();
    let refused = attach(given("secret", &elsewhere)).await.unwrap_err();
    assert!(matches!(refused, OciError::Denied { .. }), "{refused}");
    let refused = attach(client()).await.unwrap_err();
    match refused {
        OciError::Denied { anonymous, .. } => assert!(anonymous),
        other => panic!("{other}"),
    }
    let found = client().bundles(&at, &image.digest).await;
    assert_eq!((found.attached.len(), found.problems.len()), (0, 2));
}

#[tokio::test]
async fn two_hundred_writers_lose_nothing_on_the_fallback_tag() {
    const WRITERS: usize = 200;
    let fake = Fake::start(Behaviour {
        // All of them read before anybody writes: the worst beginning.
        gather: Some(Arc::new(Barrier::new(WRITERS))),
        ..Behaviour::default()
    })
    .await;
    let image = fake.image();
    let writing: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let (fake, image) = (Arc::clone(&fake), image.clone());
            tokio::spawn(async move { attach(&fake, &image, &format!("{writer}")).await })
        })
        .collect();
    for written in writing {
        written.await.unwrap().unwrap();
    }
    let expected: BTreeSet<String> = (0..WRITERS).map(|writer| writer.to_string()).collect();
    assert_eq!(bundles(&fake, &image).await, expected);
}

#[tokio::test]
async fn a_list_with_nothing_in_it_is_not_believed() {
    let fake = Fake::start(Behaviour {
        referrers: Some(10),
        lists_at_most: Some(0),
        ..Behaviour::default()
    })
    .await;
    let image = fake.image();
    // Its writer saw that it was not listed, and named it behind the tag.
    attach(&fake, &image, "a").await.unwrap();
    assert!(fake.manifest(&fallback(&image)).is_some());
    assert_eq!(bundles(&fake, &image).await, set(["a"]));
}

/// As where a mirror brought tags to a registry that keeps referrers: who has not enough with what it lists finds the rest.
#[tokio::test]
async fn what_stands_behind_the_tag_alone_is_found_too() {
    let fake = Fake::start(Behaviour {
        referrers: Some(10),
        lists_at_most: Some(1),
        ..Behaviour::default()
    })
    .await;
    let image = fake.image();
    for bundle in ["a", "b", "c"] {
        attach(&fake, &image, bundle).await.unwrap();
    }
    assert_eq!(bundles(&fake, &image).await, set(["a", "b", "c"]));
    let (client, at) = (client(), fake.repository());
    let kinds = [LegacyKind::Signature];
    let mut found = client.first_attached(&at, &image.digest, &kinds).await;
    assert_eq!(found.attached.len(), 1);
    client
        .further_attached(&at, &image.digest, &kinds, &mut found)
        .await;
    assert_eq!((found.attached.len(), found.problems.len()), (3, 0));
    let before = fake.requests.load(Ordering::SeqCst);
    client
        .further_attached(&at, &image.digest, &kinds, &mut found)
        .await;
    assert_eq!(fake.requests.load(Ordering::SeqCst), before);
}

/// What a list says of sizes is a stranger's word, and must not take from the others what may be read.
#[tokio::test]
async fn what_only_says_that_it_is_large_hides_nothing() {
    let fake = Fake::start(Behaviour::default()).await;
    let image = fake.image();
    let entry = |number: u64, size: u64| {
        let digest = format!("sha256:{number:064x}");
        json!({
            "mediaType": IMAGE_TYPE, "digest": digest, "size": 2, "artifactType": BUNDLE,
            "annotations": { "dev.cosign-rs.bundle.blob": format!("{digest} {size}") },
        })
    };
    let mut entries = vec![entry(0, 128 << 20)];
    entries.extend((1..=8).map(|number| entry(number, 16 << 20)));
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": entries });
    fake.put(&fallback(&image), INDEX_TYPE, index.to_string().as_bytes());
    attach(&fake, &image, "small").await.unwrap();
    let found = client().bundles(&fake.repository(), &image.digest).await;
    let read: Vec<&[u8]> = found.attached.iter().map(|read| &read.bundle[..]).collect();
    assert_eq!(read, [b"small"]);
    assert_eq!(found.problems.len(), 9);
}

#[tokio::test]
async fn what_a_registry_speaks_is_found_out_whatever_is_read_first() {
    let fake = Fake::start(Behaviour::default()).await;
    let image = fake.image();
    attach(&fake, &image, "a").await.unwrap();
    // This machine too, and not known for it: TLS is likelier, and wrong.
    let port = fake.address.rsplit(':').next().unwrap();
    let at = oci::Repository::parse(&format!("0.0.0.0:{port}/team/app")).unwrap();
    let client = || {
        oci::Registry::new(oci::Settings {
            plain_http: true,
            ..common::quick()
        })
    };
    let layer = Descriptor::of(BUNDLE, b"a");
    let mut sink = Vec::new();
    client().blob_into(&at, &layer, &mut sink).await.unwrap();
    assert_eq!(sink, b"a");
    let found = client().bundles(&at, &image.digest).await;
    assert_eq!((found.attached.len(), found.problems.len()), (1, 0));
    // Calls that were made before the first of them was answered.
    let shared = client();
    let (mut one, mut two) = (Vec::new(), Vec::new());
    let (first, second, found) = tokio::join!(
        shared.blob_into(&at, &layer, &mut one),
        shared.blob_into(&at, &layer, &mut two),
        shared.attached(&at, &image.digest, &[LegacyKind::Signature]),
    );
    first.unwrap();
    second.unwrap();
    assert_eq!((found.attached.len(), found.problems.len()), (1, 0));
}

#[tokio::test]
async fn looking_for_bundles_takes_few_requests() {
    const BUNDLES: usize = 5;
    for (referrers, subject_header) in [(Some(10), true), (None, false)] {
        let fake = Fake::start(Behaviour {
            referrers,
            subject_header,
            ..Behaviour::default()
        })
        .await;
        let image = fake.image();
        for bundle in 0..BUNDLES {
            attach(&fake, &image, &format!("bundle {bundle}"))
                .await
                .unwrap();
        }
        let reference = Reference::parse(&format!("{}:v1", fake.repository())).unwrap();
        let before = fake.requests.load(Ordering::SeqCst);
        let client = client();
        let read = client.image(&reference).await.unwrap();
        let found = client
            .first_attached(
                &fake.repository(),
                &read.descriptor.digest,
                &[LegacyKind::Signature],
            )
            .await;
        assert_eq!((found.attached.len(), found.problems.len()), (BUNDLES, 0));
        let requests = fake.requests.load(Ordering::SeqCst) - before;
        // The image; referrers and old tag at the same time, and the fallback tag where the registry lists nothing; and the bundles. Where the
        // list tells annotations, as a fallback tag does, a bundle's manifest need not be read.
        let (lists, each) = if referrers.is_some() { (3, 2) } else { (4, 1) };
        assert_eq!(requests, lists + each * BUNDLES);
    }
}

#[tokio::test]
async fn what_breaks_off_goes_on_where_it_was() {
    let fake = Fake::start(Behaviour {
        break_uploads: AtomicUsize::new(2),
        break_downloads: AtomicUsize::new(2),
        ..Behaviour::default()
    })
    .await;
    let at = fake.repository();
    // Three pieces.
    let content: Vec<u8> = (0..20_000_000_u32)
        .map(|number| number.to_le_bytes()[1])
        .collect();
    let blob = Descriptor::of("application/octet-stream", &content);
    let client = client();
    client
        .push_blob_from(&at, &blob, &mut &content[..])
        .await
        .unwrap();
    assert_eq!(fake.blob(&blob.digest.to_string()).unwrap(), content);
    let mut sink = Vec::new();
    client.blob_into(&at, &blob, &mut sink).await.unwrap();
    assert_eq!(sink, content);

    // A stream that is shorter, longer, or of other bytes than the descriptor says.
    let other = vec![7; content.len()];
    let longer = [&content[..], b"x"].concat();
    let blob = Descriptor {
        digest: Descriptor::of("", b"else").digest,
        ..blob
    };
    for wrong in [&content[1..], &longer[..], &other[..]] {
        let refused = client.push_blob_from(&at, &blob, &mut &wrong[..]).await;
        assert!(refused.is_err());
    }
    assert!(fake.blob(&blob.digest.to_string()).is_none());
}

#[tokio::test]
async fn a_download_that_never_ends_well_is_given_up() {
    let fake = Fake::start(Behaviour {
        break_downloads: AtomicUsize::new(usize::MAX),
        ..Behaviour::default()
    })
    .await;
    let blob = fake.put_blob("", &vec![7; 1 << 20]);
    let mut sink = Vec::new();
    let refused = client()
        .blob_into(&fake.repository(), &blob, &mut sink)
        .await;
    assert!(refused.is_err());
}
