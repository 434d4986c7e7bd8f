//! Keys of every kind sign what `keys` verifies, and key files are kept from others.
#![allow(clippy::unwrap_used, reason = "a panic is the failure report")]

use std::os::unix::fs::PermissionsExt as _;

use keys::Algorithm;
use signer::{Signer, SignerError};

const ALGORITHMS: [Algorithm; 5] = [
    Algorithm::EcdsaP256Sha256,
    Algorithm::EcdsaP384Sha384,
    Algorithm::EcdsaP521Sha512,
    Algorithm::Ed25519,
    Algorithm::RsaPkcs1Sha256_2048,
];

#[tokio::test]
async fn every_kind_signs_and_survives_its_file() {
    let folder = tempfile::tempdir().unwrap();
    for algorithm in ALGORITHMS {
        let path = folder.path().join(algorithm.registry_name());
        let made = Signer::create(&path, algorithm).unwrap();
        let read = Signer::load_or_create(&path, algorithm).unwrap();
        assert_eq!(made.public_key(), read.public_key());
        assert_eq!(read.algorithm(), algorithm);
        let signature = read.sign(b"message").await.unwrap();
        assert_eq!(
            made.public_key().verify(algorithm, b"message", &signature),
            Ok(())
        );
        assert!(
            made.public_key()
                .verify(algorithm, b"massage", &signature)
                .is_err()
        );
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }
}

#[test]
fn a_key_file_is_never_replaced_and_never_read_when_others_can() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key.pem");
    let first = Signer::create(&path, Algorithm::Ed25519).unwrap();
    assert!(matches!(
        Signer::create(&path, Algorithm::Ed25519),
        Err(SignerError::File { .. })
    ));
    assert_eq!(
        Signer::load(&path).unwrap().public_key(),
        first.public_key()
    );
    for mode in [0o640, 0o604, 0o666] {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        assert!(
            matches!(Signer::load(&path), Err(SignerError::Exposed { mode: found, .. }) if found == mode)
        );
    }
}

#[test]
fn nonsense_is_refused_and_nothing_secret_is_shown() {
    assert!(matches!(
        Signer::from_pkcs8_pem("hello"),
        Err(SignerError::Malformed(_))
    ));
    assert!(matches!(
        Signer::from_pkcs8_pem(&keys::pem::encode("PRIVATE KEY", b"hello")),
        Err(SignerError::Malformed(_))
    ));
    assert!(matches!(
        Signer::generate(Algorithm::Ed25519Ph),
        Err(SignerError::Unsupported(_))
    ));
    let signer = Signer::generate(Algorithm::Ed25519).unwrap();
    assert!(format!("{signer:?}").starts_with("Signer(Local(LocalKey(PublicKey(Ed25519 "));
}
