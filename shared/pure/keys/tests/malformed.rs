//! Encodings that are nearly right, with the p256 crate as the maker of what is right.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic is the failure report"
)]

use keys::{Algorithm, KeyError, KeyType, PublicKey, SignatureError};
use p256::ecdsa::signature::{Signer as _, Verifier as _};
use p256::ecdsa::{Signature, SigningKey};
use p256::pkcs8::EncodePublicKey as _;

const MESSAGE: &[u8] = b"message";

fn secret() -> SigningKey {
    SigningKey::from_slice(&[9; 32]).unwrap()
}

fn key() -> PublicKey {
    let der = secret().verifying_key().to_public_key_der().unwrap();
    PublicKey::from_spki_der(der.as_bytes()).unwrap()
}

/// Identifier octet, short length, contents.
fn tlv(tag: u8, contents: &[u8]) -> Vec<u8> {
    let length = u8::try_from(contents.len()).unwrap();
    assert!(length < 0x80);
    [&[tag, length], contents].concat()
}

/// The contents octets of a positive INTEGER.
fn integer(bytes: &[u8]) -> Vec<u8> {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    let bytes = &bytes[zeros..];
    if bytes.first().is_none_or(|first| *first >= 0x80) {
        [&[0], bytes].concat()
    } else {
        bytes.to_vec()
    }
}

/// The order of P-256.
const ORDER: &str = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";

/// `a - b`, or `a + b`, of numbers of 33 bytes.
fn calculate(a: &[u8], b: &[u8], minus: bool) -> Vec<u8> {
    let wide = |bytes: &[u8]| [vec![0; 33 - bytes.len()], bytes.to_vec()].concat();
    let (a, b) = (wide(a), wide(b));
    let mut carry = 0_i32;
    let mut result = vec![0_u8; 33];
    for position in (0..33).rev() {
        let second = i32::from(b[position]);
        let sum = i32::from(a[position]) + if minus { -second } else { second } + carry;
        carry = sum.div_euclid(256);
        result[position] = u8::try_from(sum.rem_euclid(256)).unwrap();
    }
    assert_eq!(carry, 0);
    result
}

#[test]
fn ecdsa_signatures_are_der_and_within_range() {
    let signature: Signature = secret().sign(MESSAGE);
    let (r, s) = signature.split_bytes();
    let order = hex::decode(ORDER).unwrap();
    let sequence = |parts: &[&[u8]]| tlv(0x30, &parts.concat());
    let pair = |r: &[u8], s: &[u8]| sequence(&[&tlv(2, r), &tlv(2, s)]);
    let (r, s) = (integer(&r), integer(&s));
    let verify = |signature: &[u8]| key().verify(Algorithm::EcdsaP256Sha256, MESSAGE, signature);

    assert_eq!(verify(&pair(&r, &s)), Ok(()));
    // The other root: ECDSA allows both, and so do Go and OpenSSL.
    let mirrored = integer(&calculate(&order, &s, true));
    assert_eq!(verify(&pair(&r, &mirrored)), Ok(()));
    let oracle = Signature::from_der(&pair(&r, &mirrored)).unwrap();
    assert!(secret().verifying_key().verify(MESSAGE, &oracle).is_ok());

    let zero = integer(&[]);
    let large = integer(&order);
    let padded = |number: &[u8]| [&[0, 0], number].concat();
    let cut = |number: &[u8]| number[1..].to_vec();
    let beyond = |number: &[u8]| integer(&calculate(number, &order, false));
    let both = [tlv(2, &r), tlv(2, &s)].concat();
    for (what, wrong) in [
        ("r is 0", pair(&zero, &s)),
        ("s is 0", pair(&r, &zero)),
        ("both are 0", pair(&zero, &zero)),
        ("r is the order", pair(&large, &s)),
        ("s is the order", pair(&r, &large)),
        ("r + order", pair(&beyond(&r), &s)),
        ("s + order", pair(&r, &beyond(&s))),
        ("r without its first byte", pair(&cut(&r), &s)),
        ("r with zeros before it", pair(&padded(&r), &s)),
        ("s with zeros before it", pair(&r, &padded(&s))),
        ("empty integers", pair(&[], &[])),
        ("three integers", sequence(&[&both, &tlv(2, &s)])),
        ("one integer", sequence(&[&tlv(2, &r)])),
        ("bytes behind s", sequence(&[&both, &[0]])),
        ("NULL behind s", sequence(&[&both, &[5, 0]])),
        ("a SET", tlv(0x31, &both)),
        ("octet strings", sequence(&[&tlv(4, &r), &tlv(4, &s)])),
        (
            "long length",
            [
                &[0x30, 0x81, u8::try_from(both.len()).unwrap()],
                both.as_slice(),
            ]
            .concat(),
        ),
        (
            "indefinite length",
            [&[0x30, 0x80], both.as_slice(), &[0, 0]].concat(),
        ),
        ("bytes behind all", [pair(&r, &s), vec![0]].concat()),
        ("no sequence", both.clone()),
        ("r and s swapped", pair(&s, &r)),
    ] {
        assert_eq!(verify(&wrong), Err(SignatureError::Bad), "{what}");
    }
    // A number that was negative for want of its zero.
    if r[0] == 0 {
        assert_eq!(verify(&pair(&r[1..], &s)), Err(SignatureError::Bad));
    }
}

#[test]
fn ed25519_takes_no_second_form_of_a_signature() {
    // RFC 8032 7.1 test 1, and the same with the order of the group added to S (5.1.7: S must be below it).
    let raw = hex::decode("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
    let key = PublicKey::from_raw(KeyType::Ed25519, &raw.unwrap()).unwrap();
    let good = hex::decode(
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    )
    .unwrap();
    assert_eq!(key.verify(Algorithm::Ed25519, b"", &good), Ok(()));
    let order = hex::decode("1000000000000000000000000000000014def9dea2f79cd65812631a5cf5d3ed");
    let big_endian: Vec<u8> = good[32..].iter().rev().copied().collect();
    let mut sum = calculate(&big_endian, &order.unwrap(), false);
    assert_eq!(sum.remove(0), 0);
    sum.reverse();
    let second = [&good[..32], &sum].concat();
    assert_eq!(
        key.verify(Algorithm::Ed25519, b"", &second),
        Err(SignatureError::Bad)
    );
}

const EC: [u8; 9] = [6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1];
const P256: [u8; 10] = [6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
const ED25519: [u8; 5] = [6, 3, 0x2b, 0x65, 0x70];
const RSA: [u8; 11] = [6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1];

fn spki(algorithm: &[&[u8]], bits: &[u8]) -> Vec<u8> {
    let parts = [tlv(0x30, &algorithm.concat()), tlv(3, bits)].concat();
    tlv(0x30, &parts)
}

#[test]
fn keys_are_der_with_the_parameters_of_their_kind() {
    let good = key();
    let whole = [&[0], good.raw()].concat();
    assert_eq!(spki(&[&EC, &P256], &whole), good.spki_der());
    let body = &good.spki_der()[2..];
    for (what, wrong) in [
        ("no curve", spki(&[&EC], &whole)),
        ("NULL for a curve", spki(&[&EC, &[5, 0]], &whole)),
        ("two parameters", spki(&[&EC, &P256, &P256], &whole)),
        (
            "unused bits",
            spki(&[&EC, &P256], &[&[1], good.raw()].concat()),
        ),
        ("an octet string", {
            let parts = [tlv(0x30, &[&EC[..], &P256].concat()), tlv(4, good.raw())];
            tlv(0x30, &parts.concat())
        }),
        (
            "long length",
            [&[0x30, 0x81, u8::try_from(body.len()).unwrap()], body].concat(),
        ),
        ("indefinite length", [&[0x30, 0x80], body, &[0, 0]].concat()),
        ("bytes behind it", [good.spki_der(), &[0]].concat()),
        ("cut", good.spki_der()[..90].to_vec()),
        ("Ed25519 with NULL", spki(&[&ED25519, &[5, 0]], &[0; 33])),
        ("nothing", Vec::new()),
    ] {
        let found = PublicKey::from_spki_der(&wrong);
        assert!(
            matches!(found, Err(KeyError::Malformed(_))),
            "{what}: {found:?}"
        );
    }
}

#[test]
fn points_are_on_the_curve_and_uncompressed() {
    let good = key();
    let raw = good.raw();
    let prime = hex::decode("ffffffff00000001000000000000000000000000ffffffffffffffffffffffff");
    let mut off = raw.to_vec();
    off[64] ^= 1;
    for (what, point) in [
        ("infinity", vec![0]),
        ("infinity of full length", vec![0; 65]),
        ("nothing", Vec::new()),
        ("compressed", [&[2 + (raw[64] & 1)], &raw[1..33]].concat()),
        ("hybrid", [&[6 + (raw[64] & 1)], &raw[1..]].concat()),
        ("off the curve", off),
        (
            "x is the prime",
            [&[4], prime.unwrap().as_slice(), &raw[33..]].concat(),
        ),
        ("a byte short", raw[..64].to_vec()),
        ("a byte more", [raw, &[0]].concat()),
        ("coordinates only", raw[1..].to_vec()),
    ] {
        let found = PublicKey::from_raw(KeyType::EcdsaP256, &point);
        assert!(
            matches!(found, Err(KeyError::Insecure(_))),
            "{what}: {found:?}"
        );
    }
    // Points of small order, and what is no point at all.
    for point in [
        [0; 32],
        {
            let mut one = [0; 32];
            one[0] = 1;
            one
        },
        [0xff; 32],
        {
            let mut two = [0; 32];
            two[0] = 2;
            two
        },
    ] {
        let found = PublicKey::from_raw(KeyType::Ed25519, &point);
        assert!(matches!(found, Err(KeyError::Insecure(_))), "{found:?}");
    }
}

#[test]
fn rsa_keys_have_null_parameters_and_an_odd_modulus() {
    let modulus = [&[0x80][..], &[1; 255]].concat();
    let good = PublicKey::from_rsa_components(&modulus, &[1, 0, 1]).unwrap();
    // SEQUENCE (2-byte length) { SEQUENCE { rsaEncryption, NULL }, BIT STRING }
    let der = good.spki_der();
    assert_eq!(der[4..6], [0x30, 13]);
    assert_eq!(der[6..17], RSA);
    assert_eq!(der[17..19], [5, 0]);
    let mut without = der.to_vec();
    without.drain(17..19);
    without[5] -= 2;
    without[3] -= 2;
    let found = PublicKey::from_spki_der(&without);
    assert!(matches!(found, Err(KeyError::Malformed(_))), "{found:?}");
    let mut even = modulus;
    even[255] = 2;
    let found = PublicKey::from_rsa_components(&even, &[1, 0, 1]);
    assert!(matches!(found, Err(KeyError::Insecure(_))), "{found:?}");
    let negative = {
        // The modulus without the zero before its top bit: a negative INTEGER.
        let mut key = vec![0x30, 0x82, 1, 0x09, 2, 0x82, 1, 0];
        key.extend([0x80]);
        key.extend([1; 255]);
        key.extend([2, 3, 1, 0, 1]);
        key
    };
    let found = PublicKey::from_pkcs1_der(&negative);
    assert!(matches!(found, Err(KeyError::Malformed(_))), "{found:?}");
}
