//! What stands under the tags of before cosign 3, and whole images on their way from one place to another.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    unreachable_pub,
    missing_docs,
    dead_code,
    reason = "a panic is a test's way to fail"
)]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::http::StatusCode;
use bytes::Bytes;
use common::{Behaviour, Fake, client};
use oci::{
    Annotations, BUNDLE_PREDICATE_TYPE, CopyError, Descriptor, IMAGE_TYPE, INDEX_TYPE, Layout,
    LayoutError, LegacyKind, OciError, Place, Reference, Select, copy,
};
use serde_json::{Value, json};

const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
const SIMPLE: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
const SIGNATURE: &str = "dev.cosignproject.cosign/signature";

fn layer(payload: &str, signature: &str) -> (Descriptor, Bytes) {
    let annotations = BTreeMap::from([(SIGNATURE.to_owned(), signature.to_owned())]);
    let descriptor = Descriptor {
        annotations: Some(annotations),
        ..Descriptor::of(SIMPLE, payload.as_bytes())
    };
    (descriptor, Bytes::copy_from_slice(payload.as_bytes()))
}

async fn sign(fake: &Fake, image: &Descriptor, signature: &str) -> Result<(), OciError> {
    let layers = vec![layer("payload", signature)];
    client()
        .attach_legacy(
            &fake.repository(),
            &image.digest,
            LegacyKind::Signature,
            layers,
        )
        .await
        .map(drop)
}

async fn signatures(fake: &Fake, image: &Descriptor) -> BTreeSet<String> {
    let found = client()
        .attached(&fake.repository(), &image.digest, &[LegacyKind::Signature])
        .await;
    assert!(found.problems.is_empty(), "{:?}", found.problems);
    found
        .legacy
        .iter()
        .map(|layer| {
            assert_eq!(&layer.content[..], b"payload");
            layer.annotations()[SIGNATURE].clone()
        })
        .collect()
}

#[tokio::test]
async fn a_signature_is_attached_as_cosign_did_it() {
    let fake = Fake::start(Behaviour {
        strict: true,
        ..Behaviour::default()
    })
    .await;
    let image = fake.image();
    sign(&fake, &image, "one").await.unwrap();
    let tag = LegacyKind::Signature.tag(&image.digest);
    let manifest = fake.manifest(&tag).unwrap();
    assert_eq!(manifest["layers"], json!([layer("payload", "one").0]));
    let config = manifest["config"]["digest"].as_str().unwrap();
    let config: Value = serde_json::from_slice(&fake.blob(config).unwrap()).unwrap();
    assert_eq!(
        config["rootfs"],
        json!({ "type": "layers", "diff_ids": [layer("payload", "one").0.digest.to_string()] })
    );
    // Two signatures may be over one payload; the same one twice is one.
    sign(&fake, &image, "two").await.unwrap();
    sign(&fake, &image, "one").await.unwrap();
    let manifest = fake.manifest(&tag).unwrap();
    assert_eq!(manifest["layers"].as_array().unwrap().len(), 2);
    let both = ["one", "two"].map(str::to_owned);
    assert_eq!(signatures(&fake, &image).await, both.into());
}

#[tokio::test]
async fn what_says_more_is_added_and_what_is_no_image_is_left_alone() {
    let fake = Fake::start(Behaviour::default()).await;
    let (image, at) = (fake.image(), fake.repository());
    let attach = async |layer: (Descriptor, Bytes)| {
        client()
            .attach_legacy(&at, &image.digest, LegacyKind::Signature, vec![layer])
            .await
    };
    let tag = LegacyKind::Signature.tag(&image.digest);
    let count = || {
        fake.manifest(&tag).unwrap()["layers"]
            .as_array()
            .unwrap()
            .len()
    };
    attach(layer("payload", "one")).await.unwrap();
    let mut richer = layer("payload", "one");
    richer.0.annotations.as_mut().unwrap().insert(
        "dev.sigstore.cosign/certificate".to_owned(),
        "PEM".to_owned(),
    );
    for _ in 0..2 {
        attach(richer.clone()).await.unwrap();
        attach(layer("payload", "one")).await.unwrap();
        assert_eq!(count(), 2);
    }
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [] });
    fake.put(&tag, INDEX_TYPE, index.to_string().as_bytes());
    let refused = attach(layer("payload", "two")).await;
    assert!(
        matches!(refused, Err(OciError::Malformed { .. })),
        "{refused:?}"
    );
    assert_eq!(fake.manifest(&tag).unwrap(), index);
}

#[tokio::test]
async fn what_is_no_list_of_signatures_is_not_the_same_as_unsigned() {
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [] });
    let bare = json!({ "schemaVersion": 2 });
    for (media_type, manifest) in [
        (INDEX_TYPE, index.clone()),
        (INDEX_TYPE, bare.clone()),
        (IMAGE_TYPE, index),
        (IMAGE_TYPE, bare),
        (IMAGE_TYPE, json!({ "layers": null })),
    ] {
        let fake = Fake::start(Behaviour::default()).await;
        let image = fake.image();
        let tag = LegacyKind::Signature.tag(&image.digest);
        let text = manifest.to_string();
        fake.put(&tag, media_type, text.as_bytes());
        let kinds = [LegacyKind::Signature];
        let found = client()
            .attached(&fake.repository(), &image.digest, &kinds)
            .await;
        assert_eq!(
            (found.legacy.len(), found.problems.len()),
            (0, 1),
            "{media_type} {text}"
        );

        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::create(folder.path()).unwrap();
        let stored = layout.put_blob(media_type, text.as_bytes()).unwrap();
        let mut entry = serde_json::to_value(&stored).unwrap();
        entry["annotations"] = json!({ "org.opencontainers.image.ref.name": tag });
        let listed = json!({ "schemaVersion": 2, "manifests": [entry] }).to_string();
        std::fs::write(folder.path().join("index.json"), listed).unwrap();
        let found = layout.attached(&image.digest, &kinds).unwrap();
        assert_eq!(
            (found.legacy.len(), found.problems.len()),
            (0, 1),
            "{media_type} {text}"
        );
        if media_type == INDEX_TYPE {
            // Nor is it copied as one.
            let to = Place::Layout(Layout::create(&folder.path().join("to")).unwrap());
            let from = Place::Registry(client(), fake.repository());
            let whole = image_of(&fake).await;
            let copied = copy(&from, &whole, &to, None, Select::ALL).await;
            assert!(copied.is_err(), "{copied:?}");
        }
    }
    // An image behind the fallback tag is no empty list of referrers.
    let fake = Fake::start(Behaviour::default()).await;
    let image = fake.image();
    let tag = image.digest.to_string().replace(':', "-");
    fake.put(&tag, IMAGE_TYPE, br#"{"layers":[]}"#);
    let found = client().bundles(&fake.repository(), &image.digest).await;
    assert_eq!((found.attached.len(), found.problems.len()), (0, 1));
}

#[tokio::test]
async fn writers_at_the_same_time_lose_nothing_under_a_tag() {
    const WRITERS: usize = 24;
    let fake = Fake::start(Behaviour::default()).await;
    let image = fake.image();
    let writing: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let (fake, image) = (Arc::clone(&fake), image.clone());
            tokio::spawn(async move { sign(&fake, &image, &writer.to_string()).await })
        })
        .collect();
    for written in writing {
        written.await.unwrap().unwrap();
    }
    let expected = (0..WRITERS).map(|writer| writer.to_string()).collect();
    assert_eq!(signatures(&fake, &image).await, expected);
}

#[tokio::test]
async fn both_kinds_are_found_and_a_refusal_is_not_the_same_as_unsigned() {
    for status in [
        StatusCode::TOO_MANY_REQUESTS,
        StatusCode::INTERNAL_SERVER_ERROR,
        StatusCode::FORBIDDEN,
    ] {
        let fake = Fake::start(Behaviour {
            refuse_old_tags: Some(status),
            ..Behaviour::default()
        })
        .await;
        let image = fake.image();
        client()
            .attach(
                &fake.repository(),
                &image,
                BUNDLE,
                Bytes::from_static(b"new"),
                &Annotations::new(),
            )
            .await
            .unwrap();
        let found = client()
            .attached(&fake.repository(), &image.digest, &[LegacyKind::Signature])
            .await;
        assert_eq!((found.attached.len(), found.problems.len()), (1, 1));
    }
    let fake = Fake::start(Behaviour::default()).await;
    let image = fake.image();
    sign(&fake, &image, "old").await.unwrap();
    client()
        .attach(
            &fake.repository(),
            &image,
            BUNDLE,
            Bytes::from_static(b"new"),
            &Annotations::new(),
        )
        .await
        .unwrap();
    let at = fake.repository();
    let found = client()
        .attached(&at, &image.digest, &LegacyKind::ALL)
        .await;
    assert_eq!((found.attached.len(), found.legacy.len()), (1, 1));
    assert!(found.problems.is_empty());
    let found = client()
        .attached(&at, &image.digest, &[LegacyKind::Attestation])
        .await;
    assert_eq!((found.attached.len(), found.legacy.len()), (1, 0));
}

#[tokio::test]
async fn what_two_images_have_under_their_tags_is_deleted_from_one_of_them() {
    for status in [
        None,
        Some(StatusCode::METHOD_NOT_ALLOWED),
        Some(StatusCode::CONFLICT),
    ] {
        let fake = Fake::start(Behaviour {
            refuse_tag_deletion: status,
            ..Behaviour::default()
        })
        .await;
        let (first, at) = (fake.image(), fake.repository());
        let second = fake.put("v2", IMAGE_TYPE, br#"{"schemaVersion":2,"layers":[ ]}"#);
        let sbom = Bytes::from_static(b"sbom");
        for image in [&first, &second] {
            let layers = vec![(Descriptor::of("text/spdx", &sbom), sbom.clone())];
            client()
                .attach_legacy(&at, &image.digest, LegacyKind::Sbom, layers)
                .await
                .unwrap();
        }
        let under = |image: &Descriptor| fake.manifest(&LegacyKind::Sbom.tag(&image.digest));
        assert_eq!(under(&first), under(&second));
        let deleted = client()
            .delete_legacy(&at, &first.digest, LegacyKind::Sbom)
            .await;
        let refused = status == Some(StatusCode::CONFLICT);
        assert_eq!(deleted.is_err(), refused, "{deleted:?}");
        assert_eq!(under(&first).is_some(), refused);
        assert!(under(&second).is_some());
    }
}

#[tokio::test]
async fn a_registry_that_offers_too_much_is_not_read_to_the_end() {
    let fake = Fake::start(Behaviour::default()).await;
    let image = fake.image();
    let tag = LegacyKind::Signature.tag(&image.digest);
    let (small, content) = layer("payload", "s");
    fake.put_blob(SIMPLE, &content);
    let many: Vec<&Descriptor> = std::iter::repeat_n(&small, 1001).collect();
    let manifest = json!({ "schemaVersion": 2, "mediaType": IMAGE_TYPE, "layers": many });
    fake.put(&tag, IMAGE_TYPE, manifest.to_string().as_bytes());
    let found = client()
        .attached(&fake.repository(), &image.digest, &[LegacyKind::Signature])
        .await;
    assert_eq!((found.legacy.len(), found.problems.len()), (1000, 1));

    // Each of them is not too large, and all of them are.
    let large = vec![b'x'; 15 << 20];
    let layer = fake.put_blob(SIMPLE, &large);
    let layer = Descriptor {
        media_type: SIMPLE.to_owned(),
        ..layer
    };
    let many: Vec<&Descriptor> = std::iter::repeat_n(&layer, 20).collect();
    let manifest = json!({ "schemaVersion": 2, "mediaType": IMAGE_TYPE, "layers": many });
    fake.put(&tag, IMAGE_TYPE, manifest.to_string().as_bytes());
    let found = client()
        .attached(&fake.repository(), &image.digest, &[LegacyKind::Signature])
        .await;
    assert_eq!((found.legacy.len(), found.problems.len()), (8, 12));
}

/// An index of two platforms; a bundle at the index, one at an image, something that refers to that one, and tags of the old kind.
async fn furnished(fake: &Fake) -> Descriptor {
    let image = |name: &str| {
        let layer = fake.put_blob("application/octet-stream", name.as_bytes());
        let config = fake.put_blob("application/vnd.oci.image.config.v1+json", b"{}");
        let manifest = json!({
            "schemaVersion": 2, "mediaType": IMAGE_TYPE, "config": config, "layers": [layer],
        });
        let manifest = manifest.to_string();
        let descriptor = Descriptor::of(IMAGE_TYPE, manifest.as_bytes());
        fake.put(
            &descriptor.digest.to_string(),
            IMAGE_TYPE,
            manifest.as_bytes(),
        )
    };
    let (amd64, arm64) = (image("amd64"), image("arm64"));
    let platform = |of: &Descriptor, architecture: &str| {
        let mut entry = serde_json::to_value(of).unwrap();
        entry["platform"] = json!({ "os": "linux", "architecture": architecture });
        entry
    };
    let index = json!({
        "schemaVersion": 2, "mediaType": INDEX_TYPE,
        "manifests": [platform(&amd64, "amd64"), platform(&arm64, "arm64")],
    });
    let index = fake.put("v1", INDEX_TYPE, index.to_string().as_bytes());
    let at = fake.repository();
    let bundle = |about: Descriptor, text: &'static str, predicate: &str| {
        let annotations =
            Annotations::from([(BUNDLE_PREDICATE_TYPE.to_owned(), predicate.to_owned())]);
        let at = at.clone();
        async move {
            client()
                .attach(
                    &at,
                    &about,
                    BUNDLE,
                    Bytes::from_static(text.as_bytes()),
                    &annotations,
                )
                .await
                .unwrap()
        }
    };
    let sign = "https://sigstore.dev/cosign/sign/v1";
    bundle(index.clone(), "of the index", sign).await;
    let first = bundle(
        arm64.clone(),
        "of an image",
        "https://slsa.dev/provenance/v1",
    )
    .await;
    bundle(first, "of the bundle", sign).await;
    for about in [&index, &amd64] {
        self::sign(fake, about, "old").await.unwrap();
    }
    let (sbom, content) = (
        Descriptor::of("text/spdx", b"sbom"),
        Bytes::from_static(b"sbom"),
    );
    client()
        .attach_legacy(&at, &amd64.digest, LegacyKind::Sbom, vec![(sbom, content)])
        .await
        .unwrap();
    index
}

async fn image_of(fake: &Fake) -> oci::Image {
    let reference = Reference::parse(&format!("{}:v1", fake.repository())).unwrap();
    client().image(&reference).await.unwrap()
}

#[tokio::test]
async fn an_image_is_saved_and_loaded_with_everything_that_belongs_to_it() {
    for (source_lists, target_lists) in [(Some(1), None), (None, Some(1))] {
        let source = Fake::start(Behaviour {
            referrers: source_lists,
            subject_header: source_lists.is_some(),
            ..Behaviour::default()
        })
        .await;
        furnished(&source).await;
        let image = image_of(&source).await;
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::create(&folder.path().join("saved")).unwrap();
        let from = Place::Registry(client(), source.repository());
        let saved = Place::Layout(layout.clone());
        let copied = copy(&from, &image, &saved, Some("v1"), Select::ALL)
            .await
            .unwrap();
        assert_eq!(
            (copied.manifests, copied.referrers, copied.legacy),
            (3, 3, 3)
        );
        let again = copy(&from, &image, &saved, Some("v1"), Select::ALL)
            .await
            .unwrap();
        assert_eq!(again, copied);

        // Blobs before manifests, images before indexes and what refers to them: or this one refuses.
        let target = Fake::start(Behaviour {
            strict: true,
            referrers: target_lists,
            subject_header: target_lists.is_some(),
            ..Behaviour::default()
        })
        .await;
        let opened = Layout::open(layout.folder()).unwrap();
        let root = opened.image().unwrap();
        assert_eq!(root.descriptor.digest, image.descriptor.digest);
        let to = Place::Registry(client(), target.repository());
        let loaded = copy(&Place::Layout(opened), &root, &to, Some("v1"), Select::ALL)
            .await
            .unwrap();
        assert_eq!(loaded, copied);
        assert_eq!(
            image_of(&target).await.descriptor.digest,
            image.descriptor.digest
        );
        for kind in [LegacyKind::Signature, LegacyKind::Sbom] {
            for child in image.children().unwrap() {
                let tag = kind.tag(&child.digest);
                assert_eq!(source.manifest(&tag), target.manifest(&tag));
            }
        }
        // Through an archive too.
        let tar = folder.path().join("saved.tar");
        let mut archive = tar::Builder::new(std::fs::File::create(&tar).unwrap());
        archive.append_dir_all(".", layout.folder()).unwrap();
        archive.finish().unwrap();
        let archive = Layout::open_archive(&tar).unwrap();
        assert_eq!(archive.image().unwrap().descriptor, root.descriptor);
        let found = archive
            .attached(&root.descriptor.digest, &LegacyKind::ALL)
            .unwrap();
        assert_eq!((found.attached.len(), found.legacy.len()), (1, 1));
        // And nothing is written into it, where it would be lost.
        let place = Place::Layout(archive.clone());
        assert!(matches!(
            place.check_attachable(false),
            Err(CopyError::Layout(LayoutError::Archive { path })) if path == tar
        ));
        let refused = place
            .attach(
                &root.descriptor,
                BUNDLE,
                Bytes::from_static(b"lost"),
                &Annotations::new(),
            )
            .await;
        assert!(matches!(
            refused,
            Err(CopyError::Layout(LayoutError::Archive { .. }))
        ));
        assert!(archive.put_blob(BUNDLE, b"lost").is_err());
    }
}

#[tokio::test]
async fn signatures_alone_are_copied_and_what_is_there_already_stays() {
    let source = Fake::start(Behaviour::default()).await;
    let index = furnished(&source).await;
    let image = image_of(&source).await;
    let target = Fake::start(Behaviour::default()).await;
    sign(&target, &index, "theirs").await.unwrap();
    let only = Select {
        image: false,
        signatures: true,
        attestations: false,
        sboms: false,
        others: false,
    };
    let (from, to) = (
        Place::Registry(client(), source.repository()),
        Place::Registry(client(), target.repository()),
    );
    let copied = copy(&from, &image, &to, None, only).await.unwrap();
    // The attestation stays behind, and the signature of it with it.
    assert_eq!(
        (copied.manifests, copied.referrers, copied.legacy),
        (0, 1, 2)
    );
    assert!(target.manifest("v1").is_none());
    let both = ["old", "theirs"].map(str::to_owned);
    assert_eq!(signatures(&target, &index).await, both.into());
}

#[tokio::test]
async fn signatures_of_before_cosign_3_that_refer_to_an_image_are_signatures() {
    let source = Fake::start(Behaviour {
        referrers: Some(10),
        subject_header: true,
        ..Behaviour::default()
    })
    .await;
    let image = source.image();
    let (old, content) = layer("payload", "old");
    source.put_blob(SIMPLE, &content);
    let refer = |layers: Vec<&Descriptor>| {
        let manifest = json!({ "schemaVersion": 2, "mediaType": IMAGE_TYPE, "layers": layers, "subject": image });
        let manifest = manifest.to_string();
        let digest = Descriptor::of("", manifest.as_bytes()).digest.to_string();
        source.put(&digest, IMAGE_TYPE, manifest.as_bytes())
    };
    refer(vec![&old]);
    let target = Fake::start(Behaviour::default()).await;
    let (from, to) = (
        Place::Registry(client(), source.repository()),
        Place::Registry(client(), target.repository()),
    );
    let mut only = Select {
        image: false,
        signatures: false,
        attestations: true,
        sboms: false,
        others: true,
    };
    let root = image_of(&source).await;
    let copied = copy(&from, &root, &to, None, only).await.unwrap();
    assert_eq!(copied.referrers, 0);
    only.signatures = true;
    let copied = copy(&from, &root, &to, None, only).await.unwrap();
    assert_eq!(copied.referrers, 1);
    assert_eq!(signatures(&target, &image).await, ["old".to_owned()].into());

    // As many as under a tag, and nobody reads what he did not ask for.
    refer(vec![&old; 1001]);
    let at = source.repository();
    let found = client()
        .attached(&at, &image.digest, &[LegacyKind::Signature])
        .await;
    assert_eq!((found.legacy.len(), found.problems.len()), (1, 1));
    let blobs = client()
        .attached(&at, &image.digest, &[LegacyKind::Attestation])
        .await;
    assert!(blobs.legacy.is_empty() && blobs.problems.is_empty());
}

#[tokio::test]
async fn what_is_listed_and_deleted_is_skipped_and_indexes_are_not_endless() {
    let source = Fake::start(Behaviour::default()).await;
    let index = furnished(&source).await;
    let at = source.repository();
    let listed = client().referrers(&at, &index.digest).await.unwrap();
    source.forget(&listed[0].digest.to_string());
    let folder = tempfile::tempdir().unwrap();
    let to = Place::Layout(Layout::create(folder.path()).unwrap());
    let from = Place::Registry(client(), at);
    let image = image_of(&source).await;
    let copied = copy(&from, &image, &to, None, Select::ALL).await.unwrap();
    assert_eq!((copied.missing, copied.referrers), (1, 2));

    let mut inner = source.put("v0", IMAGE_TYPE, br#"{"layers":[]}"#);
    for depth in 0..9 {
        let manifest = json!({
            "schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [inner, inner], "depth": depth,
        });
        inner = source.put("v1", INDEX_TYPE, manifest.to_string().as_bytes());
        let image = image_of(&source).await;
        let copied = copy(&from, &image, &to, None, Select::ALL).await;
        match depth {
            8 => assert!(matches!(copied, Err(CopyError::TooMany)), "{copied:?}"),
            _ => assert_eq!(copied.unwrap().manifests, depth + 2),
        }
    }
}

#[tokio::test]
async fn what_is_missing_or_changed_at_the_source_is_an_error() {
    let source = Fake::start(Behaviour::default()).await;
    furnished(&source).await;
    let image = image_of(&source).await;
    let child = image.children().unwrap()[0].digest.to_string();
    let layer = source.manifest(&child).unwrap()["layers"][0]["digest"].clone();
    source.spoil(layer.as_str().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let to = Place::Layout(Layout::create(folder.path()).unwrap());
    let from = Place::Registry(client(), source.repository());
    let refused = copy(&from, &image, &to, None, Select::ALL).await;
    assert!(
        matches!(refused, Err(CopyError::Registry(OciError::Digest { .. }))),
        "{refused:?}"
    );
    source.forget(&child);
    let refused = copy(&from, &image, &to, None, Select::ALL).await;
    assert!(
        matches!(refused, Err(CopyError::Registry(OciError::NotFound { .. }))),
        "{refused:?}"
    );
}

/// A copy may be killed at any moment: at none of them something is written before what it names, or is about.
#[tokio::test]
async fn nothing_is_written_before_what_it_is_about() {
    let source = Fake::start(Behaviour::default()).await;
    let index = |tag: &str, of: &[&Descriptor]| {
        let manifest = json!({ "schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": of });
        source.put(tag, INDEX_TYPE, manifest.to_string().as_bytes())
    };
    // An index within an index, which stands beside it too, and before it.
    let inner = furnished(&source).await;
    let middle = index("middle", &[&inner]);
    let image = source.image();
    sign(&source, &image, "old").await.unwrap();
    let outer = index("v1", &[&inner, &middle, &image]);
    let at = source.repository();
    for about in [&outer, &middle, &image] {
        let text = Bytes::from(about.digest.to_string());
        let none = Annotations::new();
        client()
            .attach(&at, about, BUNDLE, text, &none)
            .await
            .unwrap();
    }
    let from = Place::Registry(client(), at);
    let whole = image_of(&source).await;
    for referrers in [Some(10), None] {
        let target = Fake::start(Behaviour {
            strict: true,
            referrers,
            subject_header: referrers.is_some(),
            ..Behaviour::default()
        })
        .await;
        let to = Place::Registry(client(), target.repository());
        let copied = copy(&from, &whole, &to, Some("v1"), Select::ALL)
            .await
            .unwrap();
        assert_eq!(
            (copied.manifests, copied.referrers, copied.legacy),
            (6, 6, 4)
        );
        let written = target.written.lock().unwrap().clone();
        let mut there: BTreeSet<String> = BTreeSet::new();
        for (name, stored, manifest) in &written {
            let named = manifest["manifests"].as_array().into_iter().flatten();
            let subject = manifest.get("subject");
            let mut about: Vec<String> = named
                .chain(subject)
                .map(|named| named["digest"].as_str().unwrap().to_owned())
                .collect();
            // What a tag is made of.
            about.extend(name.strip_prefix("sha256-").map(|rest| {
                let digits = rest.split('.').next().unwrap();
                format!("sha256:{digits}")
            }));
            for digest in about {
                assert!(there.contains(&digest), "{name} is about {digest}");
            }
            there.insert(stored.digest.to_string());
        }
        let names: Vec<&str> = written.iter().map(|(name, _, _)| name.as_str()).collect();
        assert_eq!(names.iter().filter(|name| **name == "v1").count(), 1);
        assert_eq!(names.last(), Some(&"v1"), "the name comes last");
    }
}

/// What was written and is not there is noticed before the name stands for it.
#[tokio::test]
async fn a_name_is_given_only_when_everything_is_there() {
    let source = Fake::start(Behaviour::default()).await;
    furnished(&source).await;
    let from = Place::Registry(client(), source.repository());
    let whole = image_of(&source).await;
    let target = Fake::start(Behaviour {
        referrers: Some(10),
        // It says that it took note, and lists nothing.
        subject_header: true,
        lists_at_most: Some(0),
        ..Behaviour::default()
    })
    .await;
    let to = Place::Registry(client(), target.repository());
    let copied = copy(&from, &whole, &to, Some("v1"), Select::ALL).await;
    assert!(matches!(copied, Err(CopyError::Lost { .. })), "{copied:?}");
    assert!(target.manifest("v1").is_none());
}
