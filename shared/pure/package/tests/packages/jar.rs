//! Signed JAR files: `testdata/packages/jar.jsonl.gz`.

use std::io::Write as _;

use crate::cases;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::DeflateEncoder;
use package::jar::MAX_METADATA;
use package::{Jar, PackageError};
use proptest::prelude::*;
use serde_json::json;

fn check(package: &[u8]) -> Result<serde_json::Value, String> {
    let jar = Jar::verify(package).map_err(|error| error.to_string())?;
    Ok(json!({
        "content": STANDARD.encode(jar.signature_pem()),
        "publicKey": { "content": STANDARD.encode(jar.certificate_pem()) },
    }))
}

#[test]
fn upstream_writes_the_same_signatures() {
    cases::walk(
        "jar",
        120,
        |case| check(&case.package),
        |body| body["spec"]["signature"].clone(),
    );
}

fn case(name: &str) -> Vec<u8> {
    cases::read("jar")
        .into_iter()
        .find(|case| case.name == name)
        .unwrap()
        .package
}

#[test]
fn the_search_key_is_the_hash_of_the_signature() {
    let case = cases::read("jar").swap_remove(0);
    let jar = Jar::verify(&case.package).unwrap();
    assert_eq!(
        case.keys[0],
        hex::encode(keys::sha256(jar.signature_pem().as_bytes()))
    );
    assert_eq!(
        case.keys[1],
        format!("sha256:{}", hex::encode(keys::sha256(&case.package)))
    );
    assert_eq!(case.keys.len(), 2);
}

#[test]
fn a_cut_archive_is_refused_at_every_length() {
    let package = case("plain");
    for length in 0..package.len() {
        assert!(Jar::verify(&package[..length]).is_err(), "cut at {length}");
    }
}

#[test]
fn no_changed_bit_goes_unnoticed() {
    let package = case("signed-attributes");
    let jar = Jar::verify(&package).unwrap();
    for position in 0..package.len() {
        let mut changed = package.clone();
        changed[position] ^= 1;
        // Times, versions and attributes of files in a zip archive are nobody's business; all else is.
        if let Ok(found) = Jar::verify(&changed) {
            assert_eq!(
                found.certificate_pem(),
                jar.certificate_pem(),
                "byte {position} was changed"
            );
        }
    }
}

/// A zip archive of deflated files, each with the size that is claimed for it.
fn archive(files: &[(&str, &[u8], u32)]) -> Vec<u8> {
    let (mut local, mut central) = (Vec::new(), Vec::new());
    let short = |number: usize| u16::try_from(number).unwrap().to_le_bytes();
    let long = |number: usize| u32::try_from(number).unwrap().to_le_bytes();
    for (name, packed, size) in files {
        let begin = local.len();
        // Flags, method, time, date, checksum, sizes: the same in both headers.
        let shared = [
            &[0, 0][..],
            &[8, 0],
            &[0; 8],
            &long(packed.len()),
            &size.to_le_bytes(),
            &short(name.len()),
            &[0, 0],
        ]
        .concat();
        local.extend([b"PK\x03\x04\x14\0", &shared[..], name.as_bytes(), packed].concat());
        central.extend(
            [
                b"PK\x01\x02\x14\0\x14\0",
                &shared[..],
                &[0; 10],
                &long(begin),
                name.as_bytes(),
            ]
            .concat(),
        );
    }
    let end = [
        b"PK\x05\x06\0\0\0\0",
        &short(files.len())[..],
        &short(files.len()),
        &long(central.len()),
        &long(local.len()),
        &[0, 0],
    ]
    .concat();
    [local, central, end].concat()
}

fn deflated_zeros(length: usize) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(&vec![0; length]).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn bombs_are_refused_within_the_bound() {
    let zeros = deflated_zeros(64 << 20);
    let size = u32::try_from(zeros.len()).unwrap();
    let metadata = u32::try_from(MAX_METADATA).unwrap();
    // Said to be as large as it is: refused before a byte is inflated.
    assert_eq!(
        Jar::verify(&archive(&[("META-INF/MANIFEST.MF", &zeros, 64 << 20)])),
        Err(PackageError::TooLarge {
            what: "jar: a file in META-INF",
            limit: MAX_METADATA
        })
    );
    // Said to be smaller: inflated as far as that, and refused.
    let small = deflated_zeros(0);
    for claim in [size, metadata] {
        assert_eq!(
            Jar::verify(&archive(&[
                ("META-INF/MANIFEST.MF", &zeros, claim),
                ("META-INF/X.SF", &small, 0),
                ("META-INF/X.RSA", &small, 0),
            ])),
            Err(PackageError::Malformed("zip archive"))
        );
    }
}

/// A signed manifest may name more than is inflated: the claim is enough to refuse it. A file is hashed once for each function that it has a digest
/// of, and that counts too.
#[test]
fn the_work_for_an_archive_has_a_limit() {
    for name in ["bomb", "zeros-every-digest"] {
        let package = case(name);
        let length = u64::try_from(package.len()).unwrap();
        assert_eq!(
            Jar::verify(&package),
            Err(PackageError::TooLarge {
                what: "jar: bytes to inflate and to hash",
                limit: (32 << 20) + 100 * length,
            }),
            "{name}"
        );
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_no_archive(bytes in proptest::collection::vec(any::<u8>(), 0..2048)) {
        prop_assert!(Jar::verify(&bytes).is_err());
    }

    #[test]
    fn arbitrary_signatures_do_not_panic(
        manifest in "(Name: [a-c]\r?\n|[A-Z-]{1,9}: x\n| y\r\n|\r?\n){0,12}",
        position in any::<proptest::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let stored = |contents: &[u8]| {
            let mut encoder = DeflateEncoder::new(Vec::new(), Compression::none());
            encoder.write_all(contents).unwrap();
            encoder.finish().unwrap()
        };
        let packed = stored(manifest.as_bytes());
        let size = u32::try_from(manifest.len()).unwrap();
        let package = archive(&[
            ("META-INF/MANIFEST.MF", &packed, size),
            ("META-INF/X.SF", &packed, size),
            ("META-INF/X.RSA", &packed, size),
        ]);
        prop_assert!(Jar::verify(&package).is_err());
        let mut package = case("timestamp");
        let at = position.index(package.len());
        package[at] = byte;
        let _ = Jar::verify(&package);
    }
}
