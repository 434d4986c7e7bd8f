//! Doors for the crate `fuzz`, which hands them bytes that nobody meant for them. Nobody else has a use for them.

use keys::{Digest, HashAlgorithm};

use crate::kit::Kit;

/// A kit: one that is read is written as it stood, and what is in it is read or refused.
///
/// # Panics
/// If it is written otherwise.
pub fn kit(bytes: &[u8]) {
    let Ok(kit) = Kit::parse(bytes) else {
        return;
    };
    assert!(
        kit.to_bytes().is_ok_and(|written| written == bytes),
        "written as it stood"
    );
    for item in &kit.legacy {
        let _read_or_refused = item.read();
    }
    for bundle in &kit.bundles {
        let _read_or_refused = bundle::Bundle::parse(bundle);
    }
}

/// Kits of an image and of a file.
pub fn kits() -> Vec<Vec<u8>> {
    let manifest = b"{\"layers\":[]}".to_vec();
    let legacy = serde_json::from_str(
        r#"{"kind":"signature","annotations":{"dev.cosignproject.cosign/signature":"c2ln"},"layer":"e30="}"#,
    );
    let image = Kit {
        name: "registry.example/app:v1".into(),
        artifact: Digest::of(HashAlgorithm::Sha256, &manifest),
        created: jiff::Timestamp::UNIX_EPOCH,
        manifest: Some(manifest),
        bundles: vec![b"{}".to_vec()],
        legacy: legacy.into_iter().collect(),
        policy: Some(b"{}".to_vec()),
        root: b"{}".to_vec(),
    };
    let file = Kit {
        manifest: None,
        legacy: Vec::new(),
        policy: None,
        ..image.clone()
    };
    let kits = [image, file].into_iter();
    kits.filter_map(|kit| kit.to_bytes().ok()).collect()
}
