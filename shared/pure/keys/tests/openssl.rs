//! OpenSSL as the other side: its signatures verify under their own algorithm and no other, and its odd keys are refused.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a panic is the failure report; a test reads its data"
)]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keys::{Algorithm, HashAlgorithm, KeyError, PublicKey, SignatureError};
use serde_json::Value;

fn data() -> Value {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../../testdata/keys/openssl.json"
    );
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

struct Case {
    algorithm: Algorithm,
    key: PublicKey,
    signature: Vec<u8>,
}

fn cases(data: &Value) -> Vec<Case> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    data["signatures"]
        .as_array()
        .unwrap()
        .iter()
        .map(|case| Case {
            algorithm: Algorithm::from_wire_name(&text(&case["algorithm"])).unwrap(),
            key: PublicKey::from_pem(&text(&case["publicKey"])).unwrap(),
            signature: STANDARD.decode(text(&case["signature"])).unwrap(),
        })
        .collect()
}

#[test]
fn each_signature_verifies_under_its_own_algorithm_and_key_only() {
    let data = data();
    let message = data["message"].as_str().unwrap().as_bytes();
    let cases = cases(&data);
    // All of the registry but Ed25519ph, which OpenSSL 3.0 does not make.
    assert_eq!(cases.len(), Algorithm::all().count() - 1);
    for case in &cases {
        let (key, own, signature) = (&case.key, case.algorithm, &case.signature);
        assert_eq!(key.verify(own, message, signature), Ok(()), "{own:?}");
        for other in Algorithm::all().filter(|other| *other != own) {
            let expected = if other.key_type() == key.key_type() {
                SignatureError::Bad
            } else {
                SignatureError::WrongAlgorithm {
                    algorithm: other,
                    key_type: key.key_type(),
                }
            };
            let found = key.verify(other, message, signature);
            assert_eq!(found, Err(expected), "{own:?} as {other:?}");
        }
        for other in &cases {
            if other.key != *key && other.key.key_type() == key.key_type() {
                let found = other.key.verify(own, message, signature);
                assert_eq!(found, Err(SignatureError::Bad));
            }
        }
    }
}

#[test]
fn a_digest_stands_for_the_message_where_the_algorithm_hashes() {
    let data = data();
    let message = data["message"].as_str().unwrap().as_bytes();
    for case in cases(&data) {
        for hash in HashAlgorithm::ALL {
            let digest = hash.digest(message);
            let found = case
                .key
                .verify_digest(case.algorithm, &digest, &case.signature);
            let expected = if case.algorithm.hash() == Some(hash) {
                Ok(())
            } else {
                Err(SignatureError::WrongDigest {
                    algorithm: case.algorithm,
                    found: hash,
                })
            };
            assert_eq!(found, expected, "{:?} {hash:?}", case.algorithm);
        }
    }
}

#[test]
fn a_changed_cut_or_padded_signature_is_bad() {
    let data = data();
    let message = data["message"].as_str().unwrap().as_bytes();
    for case in cases(&data) {
        let bad = |signature: &[u8]| {
            let found = case.key.verify(case.algorithm, message, signature);
            assert_eq!(found, Err(SignatureError::Bad), "{:?}", case.algorithm);
        };
        bad(&[]);
        bad(&case.signature[1..]);
        bad(&case.signature[..case.signature.len() - 1]);
        bad(&[&[0], case.signature.as_slice()].concat());
        bad(&[case.signature.as_slice(), &[0]].concat());
        for position in (0..case.signature.len()).step_by(7) {
            let mut flipped = case.signature.clone();
            flipped[position] ^= 0x10;
            bad(&flipped);
        }
        let found = case.key.verify(case.algorithm, b"another", &case.signature);
        assert_eq!(found, Err(SignatureError::Bad));
    }
}

#[test]
fn keys_that_are_weak_or_unusual_are_refused() {
    let data = data();
    let refused = data["refusedKeys"].as_object().unwrap();
    assert_eq!(refused.len(), 11);
    for (what, pem) in refused {
        let found = PublicKey::from_pem(pem.as_str().unwrap());
        let expected = match what.as_str() {
            // Parameters that are no named curve: RFC 5480 2.1.1 forbids them.
            "P-256, explicit parameters" => matches!(found, Err(KeyError::Malformed(_))),
            _ => matches!(found, Err(KeyError::Insecure(_))),
        };
        assert!(expected, "{what}: {found:?}");
    }
}
