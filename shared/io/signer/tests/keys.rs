//! Keys of every kind sign what `keys` verifies, and key files are kept from others.
#![allow(clippy::unwrap_used, reason = "a panic is the failure report")]

use std::os::unix::fs::PermissionsExt as _;

use keys::{Algorithm, Digest, HashAlgorithm};
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

/// Digests and messages alike, and the one algorithm's signature is not the other's.
#[tokio::test]
async fn a_key_signs_with_each_algorithm_that_goes_with_it() {
    let message = b"message";
    for (made, asked) in [
        (Algorithm::Ed25519, Algorithm::Ed25519Ph),
        (Algorithm::RsaPkcs1Sha256_2048, Algorithm::RsaPssSha256_2048),
    ] {
        let own = Signer::generate(made).unwrap();
        let other = own.clone().with_algorithm(asked).unwrap();
        assert_eq!(other.algorithm(), asked);
        assert_eq!(other.public_key(), own.public_key());
        let key = own.public_key();
        let digest = Digest::of(asked.hash().unwrap(), message);
        for signature in [
            other.sign(message).await.unwrap(),
            other.sign_digest(&digest).await.unwrap(),
        ] {
            assert_eq!(key.verify(asked, message, &signature), Ok(()));
            assert!(key.verify(made, message, &signature).is_err());
        }
        // And back again.
        let back = other.with_algorithm(made).unwrap();
        let signature = back.sign(message).await.unwrap();
        assert_eq!(key.verify(made, message, &signature), Ok(()));
        for wrong in [Algorithm::EcdsaP256Sha256, Algorithm::RsaPssSha256_4096] {
            assert!(matches!(
                own.clone().with_algorithm(wrong),
                Err(SignerError::OtherAlgorithm { .. })
            ));
        }
    }
    for algorithm in [Algorithm::Ed25519Ph, Algorithm::RsaPssSha256_3072] {
        let made = Signer::generate(algorithm).unwrap();
        assert_eq!(made.algorithm(), algorithm);
    }
    // Old clients did so; nobody has to any more.
    let large = Signer::generate(Algorithm::EcdsaP384Sha384).unwrap();
    assert!(matches!(
        large.with_algorithm(Algorithm::EcdsaP384Sha256),
        Err(SignerError::OtherAlgorithm { .. })
    ));
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
    for mode in [0o660, 0o604, 0o666] {
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
        Signer::generate(Algorithm::EcdsaP384Sha256),
        Err(SignerError::Unsupported(_))
    ));
    let signer = Signer::generate(Algorithm::Ed25519).unwrap();
    assert!(format!("{signer:?}").starts_with("Signer(Local(LocalKey(PublicKey(Ed25519 "));
}

#[test]
fn openssl_reads_our_keys_and_we_read_its() {
    let folder = tempfile::tempdir().unwrap();
    let openssl = |arguments: &[&str]| {
        let mut command = std::process::Command::new("openssl");
        let output = command.args(arguments).current_dir(folder.path()).output();
        output.ok().map(|output| {
            let complaint = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{arguments:?}: {complaint}");
            String::from_utf8(output.stdout).unwrap()
        })
    };
    if openssl(&["version"]).is_none() {
        use std::io::Write as _;
        let name = "openssl_reads_our_keys_and_we_read_its";
        let _ = writeln!(std::io::stderr(), "SKIPPED {name}: no openssl here");
        return;
    }
    for (algorithm, kind) in ALGORITHMS.into_iter().zip([
        &["EC", "-pkeyopt", "ec_paramgen_curve:P-256"][..],
        &["EC", "-pkeyopt", "ec_paramgen_curve:P-384"],
        &["EC", "-pkeyopt", "ec_paramgen_curve:P-521"],
        &["ed25519"],
        &["RSA", "-pkeyopt", "rsa_keygen_bits:2048"],
    ]) {
        Signer::create(&folder.path().join("ours.pem"), algorithm).unwrap();
        openssl(&[&["genpkey", "-out", "theirs.pem", "-algorithm"], kind].concat()).unwrap();
        for name in ["ours.pem", "theirs.pem"] {
            let path = folder.path().join(name);
            let signer = Signer::load(&path).unwrap();
            assert_eq!(signer.algorithm(), algorithm, "{name}");
            let public = openssl(&["pkey", "-in", name, "-pubout"]).unwrap();
            assert_eq!(signer.public_key().to_pem(), public, "{name}");
            std::fs::remove_file(&path).unwrap();
        }
    }
}

#[tokio::test]
async fn a_digest_is_signed_as_its_message_would_be() {
    let curves = [
        (Algorithm::EcdsaP256Sha256, HashAlgorithm::Sha256),
        (Algorithm::EcdsaP384Sha384, HashAlgorithm::Sha384),
        (Algorithm::EcdsaP521Sha512, HashAlgorithm::Sha512),
    ];
    for (algorithm, hash) in curves {
        let signer = Signer::generate(algorithm).unwrap();
        let digest = Digest::of(hash, b"message");
        let signature = signer.sign_digest(&digest).await.unwrap();
        let key = signer.public_key();
        assert_eq!(key.verify(algorithm, b"message", &signature), Ok(()));
        for other in HashAlgorithm::ALL
            .into_iter()
            .filter(|other| *other != hash)
        {
            let refused = signer.sign_digest(&Digest::of(other, b"message")).await;
            assert!(matches!(
                refused,
                Err(SignerError::OtherDigest { found, .. }) if found == other
            ));
        }
    }
    let rsa = Signer::generate(Algorithm::RsaPkcs1Sha256_2048).unwrap();
    let digest = Digest::of(HashAlgorithm::Sha256, b"message");
    assert_eq!(
        rsa.sign_digest(&digest).await.unwrap(),
        rsa.sign(b"message").await.unwrap(),
        "PKCS#1 v1.5 has no randomness"
    );
    let other = rsa
        .sign_digest(&Digest::of(HashAlgorithm::Sha512, b"message"))
        .await;
    assert!(matches!(other, Err(SignerError::OtherDigest { .. })));
    let refused = Signer::generate(Algorithm::Ed25519)
        .unwrap()
        .sign_digest(&digest)
        .await;
    assert!(matches!(refused, Err(SignerError::NoDigests(_))));
}
