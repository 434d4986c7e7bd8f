//! Bytes from strangers: an answer, and no panic, in bounded time. Known answers stand in `kinds`, which knows what upstream says.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic is the failure report"
)]

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
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
        too_large("OpenPGP packets", 1024)
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

/// An Ed25519 key that signs for itself.
struct Own(Ed25519KeyPair);

impl Own {
    fn new() -> Self {
        Self(Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap())
    }

    fn body(&self) -> Vec<u8> {
        [&[4, 0, 0, 0, 1, 27], self.0.public_key().as_ref()].concat()
    }

    fn hashed(&self) -> Vec<u8> {
        [&[0x99, 0, 38], self.body().as_slice()].concat()
    }

    /// A packet with a signature of this kind over what begins with `signed`.
    fn signature(&self, kind: u8, signed: &[u8]) -> Vec<u8> {
        let fingerprint = digest(&SHA1_FOR_LEGACY_USE_ONLY, &self.hashed());
        let short = |length: usize| u8::try_from(length).unwrap();
        // It was made in the first second, the key may sign data, and this is the key.
        let says = [
            &[5, 2, 0, 0, 0, 1, 2, 27, 2, 9, 16],
            &fingerprint.as_ref()[12..],
        ]
        .concat();
        let hashed = [&[4, kind, 27, 8, 0, short(says.len())], says.as_slice()].concat();
        let trailer = [4, 0xff, 0, 0, 0, short(hashed.len())];
        let digest = digest(&SHA256, &[signed, &hashed, &trailer].concat());
        let value = self.0.sign(digest.as_ref());
        let body = [
            hashed.as_slice(),
            &[0, 0],
            &digest.as_ref()[..2],
            value.as_ref(),
        ];
        packet(2, &body.concat())
    }

    /// A user id with `count` signatures over it.
    fn user_id(&self, id: &[u8], count: usize) -> Vec<u8> {
        let length = u32::try_from(id.len()).unwrap().to_be_bytes();
        let signed = [self.hashed().as_slice(), &[0xb4], &length, id].concat();
        let signatures = self.signature(0x13, &signed).repeat(count);
        [packet(13, id), signatures].concat()
    }

    fn certificate(&self) -> Vec<u8> {
        [packet(6, &self.body()), self.user_id(b"a", 1)].concat()
    }
}

const fn too_large<T>(what: &'static str, limit: usize) -> Result<T, PgpError> {
    Err(PgpError::TooLarge { what, limit })
}

/// A request has room for thousands of certificates and signatures.
#[test]
fn a_keyring_costs_little_to_read_and_to_try() {
    let own = Own::new();
    let ring = |count| own.certificate().repeat(count);
    let blocks = |blocks: &[Vec<u8>]| {
        let armored = blocks.iter();
        let armored = armored.map(|block| armor::encode(armor::PUBLIC_KEY, block) + "\n");
        Keyring::parse(armored.collect::<String>().as_bytes())
    };
    let many = Keyring::parse(&ring(64)).unwrap();
    assert_eq!(many.certificates().len(), 64);
    // The same key many times, with a signature that holds and one that does not.
    let signature = Signature::from_packets(&own.signature(1, b"a\r\nb")).unwrap();
    assert_eq!(signature.verify(&many, b"a\nb"), Ok(()));
    assert_eq!(signature.verify(&many, b"a\nc"), Err(PgpError::Signature));

    let certificates = "certificates of a keyring";
    assert_eq!(Keyring::parse(&ring(65)), too_large(certificates, 64));
    assert_eq!(blocks(&[ring(33), ring(32)]), too_large(certificates, 64));

    let with = |ids: &[Vec<u8>]| Keyring::parse(&[packet(6, &own.body()), ids.concat()].concat());
    assert!(with(&[own.user_id(b"a", 256), own.user_id(b"b", 256)]).is_ok());
    assert_eq!(
        with(&[own.user_id(b"a", 256), own.user_id(b"b", 257)]),
        too_large("signatures by the keys of a keyring over themselves", 512)
    );
    assert!(with(&[own.user_id(&[b'a'; 2048], 1)]).is_ok());
    assert_eq!(
        with(&[own.user_id(&[b'a'; 2049], 1)]),
        too_large("bytes of a user id", 2048)
    );

    let half = [own.certificate(), packet(17, b"picture").repeat(509)].concat();
    assert!(blocks(&[half.clone(), half.clone()]).is_ok());
    assert_eq!(
        blocks(&[half.clone(), half, own.certificate()]),
        too_large("OpenPGP packets", 1024)
    );
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
