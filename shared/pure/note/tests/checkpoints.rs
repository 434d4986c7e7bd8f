//! Checkpoints of the public logs and of their conformance suite, and what is made of them when one thing is wrong.
//!
//! The texts are from sigstore/sigstore-conformance (test/assets/bundle-verify, Apache-2.0), the keys from its trusted roots.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs,
    reason = "a panic is a test's report"
)]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::Signer as _;
use keys::{KeyType, PublicKey};
use note::{
    CheckpointError, KeyError, KeyHint, NoteError, OpenError, VerifierKey, open, prepare, tree_head,
};
use tlog::{Hash, TreeHead, TreeSize};

const V2_NAME: &str = "log2025-alpha1.rekor.sigstage.dev";
const V2_KEY: &str = "MCowBQYDK2VwAyEAPn+AREHoBaZ7wgS1zBqpxmLSGnyhxXj4lFxSdWVB8o8=";
const V2_ID: &str = "8w1amZ2S5mJIQkQmPxdMuOrL/oJkvFg9MnQXmeOCXck=";
const V2_TEXT: &str =
    "log2025-alpha1.rekor.sigstage.dev\n736\nrs1YPY0ydAV0lxgfrq5pE4oRpUJwo3syeps5+eGUTDI=\n\n";
const V2_LINE: &str = "\u{2014} log2025-alpha1.rekor.sigstage.dev 8w1amdbj1mjNN674dHAkD92+QZoEgBC7o0mXYSTRluDjQrOPjrps3zQB9ut+ShLepyZPsWBDi5IB3yXyjgjQT6OG9A8=\n";
/// Of the same origin, by a key that the trusted root does not have.
const V2_OTHER_LINE: &str = "\u{2014} log2025-alpha1.rekor.sigstage.dev mixjVTBEAiAv6tS03L1YvDipqsZBkJ/aL62be4XzHfDEHYXqNza0cAIgT2PcBzKxE4kHLlw2U1QtO4/YXfPdy5QtFpDw1lWkIXs=\n";
const WITNESS_LINE: &str = "\u{2014} witness.example O8PH5AAAAABopO8+4O9uzScQrNEnGdKLYXSPoUjH1Se4n92W+wT/j5Kel/4J2XWE4bEe9bpIVUD6EGOeUDFkSWz/rbDhvVcJ/2OrDw==\n";

const V1_NAME: &str = "rekor.sigstore.dev";
const V1_KEY: &str = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE2G2Y+2tabdTV5BcGiBIx0a9fAFwrkBbmLSGtks4L3qX6yYY0zufBnhC8Ur/iy55GhWP/9A/bY2LhC30M9+RYtw==";
const V1_ID: &str = "wNI9atQGlz+VWfO6LRygH4QUfY/8W4RFwiT5i5WRgB0=";
const V1_NOTE: &str = "rekor.sigstore.dev - 2605736670972794746\n75610772\nIL195Y7hH/58W3HcMyx1WJ9QCw9E/GeKMLCp8tgosF4=\n\n\u{2014} rekor.sigstore.dev wNI9ajBGAiEA+7zkyZgfW3GbguuL/3vx1xndNHhYPkFZ0sRB1ntpJTACIQDbD4USXnaxUtRX6eZMKbcPR/Nvtu0rDmaTKtUomNIHsg==\n";
const V1_WRONG_SIGNATURE: &str = "rekor.sigstore.dev - 2605736670972794746\n23083062\ndauhleYK4YyAdxwwDtR0l0KnSOWZdG2bwqHftlanvcI=\nTimestamp: 1689177396617352539\n\n\u{2014} rekor.sigstore.dev wNI9ajBFAiBxaGyEtxkzZLkaCSEJqFuSS3dJjEZCNiyByVs1CNVQ8gIhAOoNnXtmMtTctV2oRnSRUZAo4EWUYPK/vBsqOzAU6TMs\n";
const V1_OTHER_HINT: &str = "rekor.sigstore.dev - 2605736670972794746\n23083062\ndauhleYK4YyAdxwwDtR0l0KnSOWZdG2bwqHftlanvcI=\nTimestamp: 1689177396617352539\n\n\u{2014} rekor.sigstore.dev xNI9ajBFAiBxaGyEtxkzFLkaCSEJqFuSS3dJjEZCNiyByVs1CNVQ8gIhAOoNnXtmMtTctV2oRnSRUZAo4EWUYPK/vBsqOzAU6TMs\n";

fn key(spki: &str) -> PublicKey {
    PublicKey::from_spki_der(&STANDARD.decode(spki).unwrap()).unwrap()
}

/// The log as a trusted root states it.
fn trusted(name: &str, spki: &str, id: &str) -> VerifierKey {
    VerifierKey::with_log_id(name, key(spki), &STANDARD.decode(id).unwrap()).unwrap()
}

fn v2() -> VerifierKey {
    trusted(V2_NAME, V2_KEY, V2_ID)
}

fn v1() -> VerifierKey {
    trusted(V1_NAME, V1_KEY, V1_ID)
}

#[test]
fn key_ids_follow_the_rules_of_both_generations() {
    assert_eq!(
        VerifierKey::new(V2_NAME, key(V2_KEY)).unwrap().id(),
        STANDARD.decode(V2_ID).unwrap()
    );
    assert_eq!(
        VerifierKey::rekor_v1(V1_NAME, key(V1_KEY)).unwrap().id(),
        STANDARD.decode(V1_ID).unwrap()
    );
    let production = "MCowBQYDK2VwAyEAt8rlp1knGwjfbcXAYPYAkn0XiLz1x8O4t0YkEhie244=";
    let production = VerifierKey::new("log2025-1.rekor.sigstore.dev", key(production)).unwrap();
    assert_eq!(production.hint().to_string(), "cf119915");
    let vkey = production.to_vkey().unwrap();
    assert!(
        vkey.starts_with("log2025-1.rekor.sigstore.dev+cf119915+AbfK"),
        "{vkey}"
    );
    assert_eq!(vkey.parse::<VerifierKey>().unwrap().id(), production.id());
}

#[test]
fn valid_checkpoints_open_wherever_the_log_s_line_stands() {
    for lines in [
        V2_LINE.to_owned(),
        format!("{V2_LINE}{WITNESS_LINE}"),
        format!("{WITNESS_LINE}{V2_LINE}"),
        format!("{V2_LINE}{V2_OTHER_LINE}"),
        format!("{V2_LINE}{V2_OTHER_LINE}{WITNESS_LINE}"),
    ] {
        let opened = open(format!("{V2_TEXT}{lines}").as_bytes(), &[v1(), v2()]).unwrap();
        assert_eq!(
            (opened.origin(), opened.head().size),
            (V2_NAME, TreeSize::new(736))
        );
        assert_eq!(opened.key().name(), V2_NAME);
        assert_eq!(opened.timestamp_ms(), None);
    }
    let opened = open(V1_NOTE.as_bytes(), &[v2(), v1()]).unwrap();
    assert_eq!(opened.origin(), "rekor.sigstore.dev - 2605736670972794746");
    assert_eq!(opened.head().size, TreeSize::new(75_610_772));
    // A key that is listed twice, for two periods.
    open(V1_NOTE.as_bytes(), &[v1(), v1()]).unwrap();
}

#[test]
fn a_signature_by_nobody_we_trust_is_none() {
    let none = |envelope: &str, keys: &[VerifierKey]| {
        matches!(
            open(envelope.as_bytes(), keys),
            Err(OpenError::NoTrustedSignature { .. })
        )
    };
    assert!(none(
        &format!("{V2_TEXT}{V2_OTHER_LINE}{WITNESS_LINE}"),
        &[v2()]
    ));
    assert!(none(&format!("{V2_TEXT}{V2_LINE}"), &[v1()]));
    assert!(none(&format!("{V2_TEXT}{V2_LINE}"), &[]));
    assert!(none(V1_OTHER_HINT, &[v1()]));
    // The suite's no-matching-signature case: the same signature under another host's name.
    assert!(none(
        &format!("{V2_TEXT}{V2_LINE}").replace("sigstage", "github"),
        &[v2()]
    ));
    let error = open(V1_OTHER_HINT.as_bytes(), &[v1()])
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("rekor.sigstore.dev (key c4d23d6a)"),
        "{error}"
    );
}

#[test]
fn a_wrong_signature_of_a_trusted_key_refuses_all() {
    let wrong = |envelope: &str| {
        matches!(
            open(envelope.as_bytes(), &[v1(), v2()]),
            Err(OpenError::WrongSignature { .. })
        )
    };
    assert!(wrong(V1_WRONG_SIGNATURE));
    assert!(wrong(
        &format!("{V2_TEXT}{V2_LINE}").replace("\n736\n", "\n737\n")
    ));
    assert!(wrong(
        &format!("{V2_TEXT}{V2_LINE}").replace("\n\n", "\nmore\n\n")
    ));
    // Good and bad lines of one key: the bad one is a lie in either order.
    let bad = V2_LINE.replace("QrOP", "QrOQ");
    assert!(wrong(&format!("{V2_TEXT}{V2_LINE}{bad}")));
    assert!(wrong(&format!("{V2_TEXT}{bad}{V2_LINE}")));
}

#[test]
fn a_text_that_is_no_checkpoint_is_refused() {
    let refused = |text: &str| match open(format!("{text}\n{V2_LINE}").as_bytes(), &[v2()]) {
        Err(OpenError::Checkpoint(error)) => error,
        other => panic!("{text:?}: {other:?}"),
    };
    let root = "rs1YPY0ydAV0lxgfrq5pE4oRpUJwo3syeps5+eGUTDI=";
    // Without its origin line the size becomes the origin, and the root the size.
    assert_eq!(refused(&format!("736\n{root}\n")), CheckpointError::Size);
    assert_eq!(
        refused(&format!("{V2_NAME}\n{root}\n")),
        CheckpointError::Size
    );
    assert_eq!(refused(&format!("{V2_NAME}\n736\n")), CheckpointError::Root);
    for size in [
        "",
        "0736",
        "+736",
        "-1",
        "18446744073709551616",
        "7 36",
        "0x1",
    ] {
        assert_eq!(
            refused(&format!("{V2_NAME}\n{size}\n{root}\n")),
            CheckpointError::Size,
            "{size}"
        );
    }
    for root in [
        "",
        "rs1Y",
        &root[..43],
        "rs1YPY0ydAV0lxgfrq5pE4oRpUJwo3syeps5-eGUTDI=",
    ] {
        assert_eq!(
            refused(&format!("{V2_NAME}\n736\n{root}\n")),
            CheckpointError::Root,
            "{root}"
        );
    }
    assert_eq!(
        refused(&format!("\n736\n{root}\n")),
        CheckpointError::Origin
    );
    assert_eq!(
        refused(&format!("{V2_NAME}\n736\n{root}\n\nx\n")),
        CheckpointError::Extension
    );
    let unsigned = open(V2_TEXT.as_bytes(), &[v2()]).unwrap_err();
    assert_eq!(unsigned, OpenError::Note(NoteError::NoSignature));
}

fn ed25519() -> (ed25519_dalek::SigningKey, PublicKey) {
    let signer = ed25519_dalek::SigningKey::from_bytes(&[7; 32]);
    let key = PublicKey::from_raw(KeyType::Ed25519, signer.verifying_key().as_bytes()).unwrap();
    (signer, key)
}

fn p256() -> (p256::ecdsa::SigningKey, PublicKey) {
    let signer = p256::ecdsa::SigningKey::from_slice(&[7; 32]).unwrap();
    let point = signer.verifying_key().to_sec1_point(false);
    (
        signer,
        PublicKey::from_raw(KeyType::EcdsaP256, point.as_bytes()).unwrap(),
    )
}

fn head() -> TreeHead {
    TreeHead {
        size: TreeSize::new(12),
        root: Hash::new([9; 32]),
    }
}

#[test]
fn what_is_sealed_opens() {
    let (signer, key) = ed25519();
    let verifier = VerifierKey::new("log.example/2026", key).unwrap();
    let prepared = prepare(&verifier, head());
    let signature = signer.sign(prepared.to_be_signed()).to_vec();
    let envelope = prepared.clone().seal(signature.clone()).unwrap();
    let opened = open(&envelope, std::slice::from_ref(&verifier)).unwrap();
    assert_eq!(
        (*opened.head(), opened.origin()),
        (head(), "log.example/2026")
    );

    let mut wrong = signature.clone();
    wrong[0] ^= 1;
    assert!(matches!(
        prepared.seal(wrong),
        Err(OpenError::WrongSignature { .. })
    ));
    let other = TreeHead {
        size: TreeSize::new(13),
        ..head()
    };
    assert!(matches!(
        prepare(&verifier, other).seal(signature),
        Err(OpenError::WrongSignature { .. })
    ));
}

#[test]
fn ecdsa_keys_sign_text_and_tree_heads() {
    use p256::ecdsa::{DerSignature, signature::Signer as _};
    let (signer, key) = p256();
    let verifier = VerifierKey::new("log.example", key.clone()).unwrap();
    assert_eq!(
        verifier.id(),
        key.key_id(),
        "type 2: the hash of the public key alone"
    );
    let prepared = prepare(&verifier, head());
    let signature: DerSignature = signer.sign(prepared.to_be_signed());
    let text_envelope = prepared.seal(signature.as_bytes().to_vec()).unwrap();

    let verifier = VerifierKey::rfc6962("log.example", key.clone()).unwrap();
    let time = 1_700_000_000_123;
    let signature: DerSignature = signer.sign(&tree_head::to_be_signed(&head(), time));
    let line = tree_head::ecdsa_signature(time, signature.as_bytes()).unwrap();
    let envelope = prepare(&verifier, head()).seal(line.clone()).unwrap();
    let opened = open(&envelope, std::slice::from_ref(&verifier)).unwrap();
    assert_eq!(opened.timestamp_ms(), Some(time));
    assert_eq!(
        verifier
            .to_vkey()
            .unwrap()
            .parse::<VerifierKey>()
            .unwrap()
            .hint(),
        verifier.hint()
    );

    // Neither the time nor the head may change, nor the lengths, nor the type.
    for change in [7, 8, 9, 11, 20] {
        let mut line = line.clone();
        line[change] ^= 1;
        assert!(
            matches!(
                prepare(&verifier, head()).seal(line),
                Err(OpenError::WrongSignature { .. })
            ),
            "{change}"
        );
    }
    for short in 1..12 {
        assert!(
            prepare(&verifier, head())
                .seal(line[..short].to_vec())
                .is_err(),
            "{short}"
        );
    }
    assert!(matches!(
        open(&text_envelope, &[verifier]),
        Err(OpenError::NoTrustedSignature { .. })
    ));
    let (_, ed25519) = ed25519();
    assert_eq!(
        VerifierKey::rfc6962("log.example", ed25519).unwrap_err(),
        KeyError::NoTreeHead(KeyType::Ed25519)
    );
}

#[test]
fn a_key_speaks_for_its_own_origin_only() {
    let (signer, key) = ed25519();
    let verifier = VerifierKey::new("log.example", key).unwrap();
    let opened = |origin: &str| {
        let text = format!("{origin}\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n");
        let signature = signer.sign(text.as_bytes()).to_vec();
        let line = STANDARD.encode([verifier.hint().as_bytes().to_vec(), signature].concat());
        open(
            format!("{text}\n\u{2014} log.example {line}\n").as_bytes(),
            std::slice::from_ref(&verifier),
        )
        .map(|_| ())
    };
    assert_eq!(opened("log.example"), Ok(()));
    assert_eq!(
        opened("log.example - 123"),
        Ok(()),
        "Rekor v1 adds the tree's number"
    );
    for origin in [
        "log.example - ",
        "log.example - 12a",
        "log.example-1",
        "log.example.org",
        "log",
        "other",
    ] {
        assert!(
            matches!(opened(origin), Err(OpenError::OtherOrigin { .. })),
            "{origin}"
        );
    }
}

#[test]
fn key_names_and_texts_are_checked() {
    let (_, key) = ed25519();
    for name in ["", "a b", "a+b", "a\tb", "a\u{2003}b"] {
        assert_eq!(
            VerifierKey::new(name, key.clone()).unwrap_err(),
            KeyError::Name,
            "{name:?}"
        );
    }
    assert_eq!(
        VerifierKey::with_log_id("a", key.clone(), &[1, 2, 3]).unwrap_err(),
        KeyError::ShortId
    );
    let good = VerifierKey::new("a", key).unwrap().to_vkey().unwrap();
    let (name_and_hint, encoded) = good.rsplit_once('+').unwrap();
    for text in [
        "",
        "a",
        "a+b",
        "a+00000000",
        &format!("a+0000000G+{encoded}"),
        &format!("{name_and_hint}+AQ=="),
        &format!("{name_and_hint}+*"),
    ] {
        assert_eq!(
            text.parse::<VerifierKey>().unwrap_err(),
            KeyError::Text,
            "{text}"
        );
    }
    let other = format!("a+00000000+{encoded}")
        .parse::<VerifierKey>()
        .unwrap_err();
    assert!(matches!(other, KeyError::Hint { stated, .. } if stated == KeyHint::new([0; 4])));
}
