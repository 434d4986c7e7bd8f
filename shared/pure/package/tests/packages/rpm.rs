//! RPM packages: `testdata/packages/rpm.jsonl.gz`.

use crate::cases;
use keys::HashAlgorithm;
use package::rpm::{Covers, Signature};
use package::{PackageError, Rpm};
use proptest::prelude::*;

/// Compares the first two bytes of the digest with those that stand in a version 4 signature (RFC 9580 5.2.3): the bytes that are said to be
/// signed are the very ones, without any public key.
fn hash_tag(signature: &Signature<'_>) -> Option<bool> {
    let (header, packet) = match *signature.packets {
        [0x88 | 0xc2, _, ref rest @ ..] => (2, rest),
        [0x89, _, _, ref rest @ ..] => (3, rest),
        _ => return None,
    };
    assert!(header == 2 || header == 3);
    let [4, _, _, hash, high, low, ..] = *packet else {
        return None;
    };
    let hash = match hash {
        8 => HashAlgorithm::Sha256,
        10 => HashAlgorithm::Sha512,
        _ => return None,
    };
    let hashed = 6 + usize::from(u16::from_be_bytes([high, low]));
    let unhashed = usize::from(u16::from_be_bytes([packet[hashed], packet[hashed + 1]]));
    let tag = &packet[hashed + 2 + unhashed..][..2];
    let length = u32::try_from(hashed).unwrap().to_be_bytes();
    let message = [signature.signed, &packet[..hashed], &[4, 0xff], &length].concat();
    Some(&hash.digest(&message).bytes()[..2] == tag)
}

/// Without a public key: a signature that is by another key, or whose numbers are wrong, is found where OpenPGP is verified.
fn check(package: &[u8]) -> Result<serde_json::Value, String> {
    let rpm = Rpm::parse(package).map_err(|error| error.to_string())?;
    for signature in rpm.signatures() {
        match hash_tag(signature) {
            Some(true) => {}
            Some(false) => return Err("openpgp: hash tag".into()),
            None => return Err("openpgp: no signature".into()),
        }
    }
    Ok(serde_json::to_value(rpm.headers()).unwrap())
}

#[test]
fn upstream_reads_the_same_facts() {
    let mut wrong = Vec::new();
    let cases = cases::read("rpm");
    for case in &cases {
        let found = check(&case.package);
        match (&case.body, &found) {
            (Some(body), Ok(headers)) if &body["spec"]["package"]["headers"] != headers => {
                wrong.push(format!("{}: {headers}", case.name));
            }
            _ => {}
        }
    }
    assert!(cases.len() > 50, "data was lost");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn case(name: &str) -> Vec<u8> {
    cases::read("rpm")
        .into_iter()
        .find(|case| case.name == name)
        .unwrap()
        .package
}

#[test]
fn all_signatures_are_handed_out_with_what_they_cover() {
    let package = case("header-and-payload");
    let rpm = Rpm::parse(&package).unwrap();
    let found: Vec<_> = rpm.signatures().iter().map(|s| (s.tag, s.covers)).collect();
    assert_eq!(
        found,
        [(268, Covers::Header), (1002, Covers::HeaderAndPayload)]
    );
    for signature in rpm.signatures() {
        assert_eq!(hash_tag(signature), Some(true), "{}", signature.tag);
    }
    let body = rpm.signatures()[1].signed;
    assert!(package.ends_with(body) && body.starts_with(&[0x8e, 0xad, 0xe8, 1]));

    let package = case("header-only");
    let rpm = Rpm::parse(&package).unwrap();
    let [signature] = rpm.signatures() else {
        panic!("one signature");
    };
    assert_eq!(hash_tag(signature), Some(true));
    for (name, error) in [
        ("not-signed", "rpm: no signature"),
        (
            "header-only-no-payload-digest",
            "rpm: the only signature is over the header, which has no digest of the payload",
        ),
    ] {
        let package = case(name);
        assert_eq!(Rpm::parse(&package), Err(PackageError::Unsigned(error)));
    }
}

#[test]
fn a_cut_package_is_refused_at_every_length() {
    let package = case("header-and-payload");
    for length in 0..package.len() {
        assert!(Rpm::parse(&package[..length]).is_err(), "cut at {length}");
    }
}

#[test]
fn no_changed_bit_goes_unnoticed() {
    let package = case("header-and-payload");
    let rpm = Rpm::parse(&package).unwrap();
    let body = package.len() - rpm.signatures()[1].signed.len();
    for position in 0..package.len() {
        let mut changed = package.clone();
        changed[position] ^= 1;
        // Behind the signature header a digest sees it; in front of it stand the digests, the signatures, and things that nobody reads.
        if let Ok(changed) = Rpm::parse(&changed) {
            assert!(position < body, "byte {position} was changed");
            assert_eq!(
                changed.headers().get("Name"),
                rpm.headers().get("Name"),
                "byte {position} was changed"
            );
        }
    }
}

/// A package whose signature header has these tags (number, type, offset, count) over `store`.
fn with_signature_header(tags: &[[u32; 4]], count: u32, store: &[u8], length: u32) -> Vec<u8> {
    let mut package = case("header-and-payload")[..96].to_vec();
    package.extend([0x8e, 0xad, 0xe8, 1, 0, 0, 0, 0]);
    package.extend(count.to_be_bytes());
    package.extend(length.to_be_bytes());
    package.extend(tags.iter().flatten().flat_map(|word| word.to_be_bytes()));
    package.extend(store);
    package
}

#[test]
fn what_a_header_claims_is_checked_before_it_is_believed() {
    let what = "rpm: signature header";
    let too_large = |limit: u32| PackageError::TooLarge {
        what,
        limit: limit.into(),
    };
    for (package, error) in [
        (
            with_signature_header(&[], u32::MAX, &[], 0),
            too_large(package::rpm::MAX_TAGS),
        ),
        (
            with_signature_header(&[], 0, &[], u32::MAX),
            too_large(package::rpm::MAX_STORE),
        ),
        (
            with_signature_header(&[], 65_535, &[], 0),
            PackageError::Malformed(what),
        ),
        (
            with_signature_header(&[[1, 7, 0, u32::MAX]], 1, &[0; 8], 8),
            PackageError::Malformed(what),
        ),
        (
            with_signature_header(&[[1, 5, 0, u32::MAX]], 1, &[0; 8], 8),
            PackageError::Malformed(what),
        ),
        (
            with_signature_header(&[[1, 8, 0, 9]], 1, &[0; 8], 8),
            PackageError::Malformed(what),
        ),
        // The same long text again and again would be read in quadratic time.
        (
            with_signature_header(&[[1, 6, 0, 1]; 3], 3, &[&[b'a'; 63][..], &[0]].concat(), 64),
            PackageError::Malformed(what),
        ),
    ] {
        assert_eq!(Rpm::parse(&package), Err(error));
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_no_package(bytes in proptest::collection::vec(any::<u8>(), 0..2048)) {
        prop_assert!(Rpm::parse(&bytes).is_err());
    }

    #[test]
    fn mutated_packages_do_not_panic(changes in proptest::collection::vec((96_usize..2600, any::<u8>()), 1..8)) {
        let mut package = case("header-and-payload");
        for (position, byte) in changes {
            if let Some(place) = package.get_mut(position) {
                *place = byte;
            }
        }
        if let Ok(rpm) = Rpm::parse(&package) {
            prop_assert!(rpm.signatures().iter().all(|signature| signature.signed.len() <= package.len()));
        }
    }
}
