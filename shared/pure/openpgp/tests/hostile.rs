//! Bytes from strangers: an answer, and no panic, in bounded time. Known answers stand in `kinds`, which knows what upstream says.

#![allow(clippy::unwrap_used, reason = "a panic is the failure report")]

use openpgp::{Cleartext, Keyring, PgpError, Signature, armor};
use proptest::prelude::*;

/// A packet with a header of the new format and a length of four bytes.
fn packet(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    [&[0xc0 | kind, 255], length.as_slice(), body].concat()
}

/// An Ed25519 key of version 4.
const KEY: [u8; 38] = {
    // The base point of the curve (RFC 8032 5.1).
    let mut body = [0x66; 38];
    (body[0], body[5], body[6]) = (4, 27, 0x58);
    body
};

#[test]
fn there_is_a_limit_to_everything() {
    let too_many = packet(13, b"id").repeat(1025);
    assert_eq!(
        Keyring::parse(&[packet(6, &KEY), too_many].concat()),
        Err(PgpError::TooLarge {
            what: "OpenPGP packets",
            limit: 1024
        })
    );
    let large = vec![0xff; 600 * 1024];
    for error in [
        Keyring::parse(&large).unwrap_err(),
        Signature::parse(&large).unwrap_err(),
    ] {
        assert!(matches!(error, PgpError::TooLarge { .. }), "{error}");
    }
    assert!(matches!(
        Cleartext::parse(&vec![b'a'; 2 << 20]),
        Err(PgpError::TooLarge { .. })
    ));
}

#[test]
fn what_a_length_claims_is_checked_before_it_is_believed() {
    for claim in [
        [0xc6, 255, 0xff, 0xff, 0xff, 0xff].as_slice(),
        &[0x9a, 0xff, 0xff, 0xff, 0xff],
        // Lengths that are not known at the beginning: old format, and partial ones.
        &[0x9b, 4],
        &[0xc6, 0xe1, 4, 4],
    ] {
        assert_eq!(
            Keyring::parse(claim),
            Err(PgpError::Malformed("packet header")),
            "{claim:x?}"
        );
    }
}

/// A signature in a signature in a signature.
#[test]
fn signatures_are_not_nested_without_end() {
    let mut inner = Vec::new();
    for _ in 0..3 {
        let mut subpackets = vec![5, 2, 0, 0, 0, 1];
        if !inner.is_empty() {
            subpackets.push(u8::try_from(inner.len() + 1).unwrap());
            subpackets.push(32);
            subpackets.append(&mut inner);
        }
        let length = u16::try_from(subpackets.len()).unwrap().to_be_bytes();
        inner = [&[4, 0x19, 27, 8], length.as_slice(), &subpackets, &[0; 68]].concat();
    }
    let refused = Signature::from_packets(&packet(2, &inner));
    assert_eq!(refused, Err(PgpError::Malformed("signature subpacket")));
}

#[test]
fn a_key_that_says_nothing_of_itself_is_none() {
    let key = packet(6, &KEY);
    assert_eq!(
        Keyring::parse(&[key, packet(13, b"Mallory <m@example.com>")].concat()),
        Err(PgpError::Certificate("it has no user id that it signed"))
    );
    assert_eq!(
        Keyring::parse(b""),
        Err(PgpError::Malformed("public key: there is none"))
    );
    // A version that is not known is nothing.
    let mut old = KEY;
    old[0] = 3;
    assert_eq!(
        Keyring::parse(&packet(6, &old)),
        Err(PgpError::Malformed("public key: there is none"))
    );
}

#[test]
fn a_private_key_is_called_one() {
    for kind in [5, 7] {
        assert_eq!(
            Keyring::parse(&packet(kind, b"secret")),
            Err(PgpError::PrivateKey)
        );
    }
    let text = armor::encode(armor::PRIVATE_KEY, b"secret");
    assert_eq!(Keyring::parse(text.as_bytes()), Err(PgpError::PrivateKey));
}

proptest! {
    #[test]
    fn nothing_panics(
        kinds in proptest::collection::vec((prop_oneof![Just(2_u8), Just(6), Just(13), Just(14), any::<u8>()], proptest::collection::vec(any::<u8>(), 0..120)), 0..6),
        text in any::<String>(),
    ) {
        let bytes: Vec<u8> = kinds.iter().flat_map(|(kind, body)| packet(kind & 0x3f, body)).collect();
        let _ = Keyring::parse(&bytes);
        let _ = Signature::parse(&bytes);
        let armored = armor::encode(armor::SIGNATURE, &bytes);
        let _ = Signature::parse(armored.as_bytes());
        let _ = Cleartext::parse(format!("-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n{text}\n{armored}\n").as_bytes());
        let _ = armor::decode(text.as_bytes());
    }

    #[test]
    fn armor_gives_back_what_went_in(data in proptest::collection::vec(any::<u8>(), 0..500)) {
        let text = armor::encode(armor::SIGNATURE, &data);
        prop_assert!(text.lines().all(|line| line.len() <= 64));
        prop_assert_eq!(armor::decode(text.as_bytes()).unwrap().unwrap().data, data);
    }
}
