//! Alpine packages: `testdata/packages/alpine.jsonl.gz`.

use std::io::Write as _;

use crate::cases;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;
use keys::PublicKey;
use package::apk::{MAX_CONTROL, MAX_METADATA};
use package::{Apk, PackageError};
use proptest::prelude::*;

fn check(package: &[u8], key: &str) -> Result<serde_json::Value, String> {
    let key = PublicKey::from_pem(key).map_err(|error| error.to_string())?;
    let apk = Apk::parse(package).map_err(|error| error.to_string())?;
    apk.verify(&key).map_err(|error| error.to_string())?;
    Ok(serde_json::to_value(apk.pkginfo()).unwrap())
}

#[test]
fn upstream_reads_the_same_facts() {
    cases::walk(
        "alpine",
        50,
        |case| check(&case.package, case.key.as_deref().unwrap_or_default()),
        |body| body["spec"]["package"]["pkginfo"].clone(),
    );
}

fn good() -> (Vec<u8>, PublicKey) {
    let case = cases::read("alpine")
        .into_iter()
        .find(|case| case.name == "rsa-sha1")
        .unwrap();
    let key = PublicKey::from_pem(case.key.as_deref().unwrap()).unwrap();
    (case.package, key)
}

#[test]
fn a_cut_package_is_refused_at_every_length() {
    let (package, key) = good();
    for length in 0..package.len() {
        assert!(
            Apk::parse(&package[..length]).is_err(),
            "cut at {length} of {}",
            package.len()
        );
    }
    assert_eq!(Apk::parse(&package).unwrap().verify(&key), Ok(()));
}

#[test]
fn no_changed_bit_goes_unnoticed() {
    let (package, key) = good();
    let facts = Apk::parse(&package).unwrap();
    let control = package
        .windows(facts.control().len())
        .position(|window| window == facts.control())
        .unwrap();
    for position in 0..package.len() {
        let mut changed = package.clone();
        changed[position] ^= 1;
        let Ok(apk) = Apk::parse(&changed) else {
            continue;
        };
        // In front of the control member only what the signature is wrapped in may change.
        assert!(
            apk.verify(&key).is_err() || position < control && apk.signature() == facts.signature(),
            "byte {position} was changed"
        );
    }
}

fn gzip_of_zeros(length: u64) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    let zeros = vec![0; 1 << 20];
    let mut left = usize::try_from(length).unwrap();
    while left > 0 {
        let piece = left.min(zeros.len());
        encoder.write_all(&zeros[..piece]).unwrap();
        left -= piece;
    }
    encoder.finish().unwrap()
}

#[test]
fn bombs_are_refused_within_the_bound() {
    let small = gzip_of_zeros(1024);
    for (what, limit, package) in [
        (
            "apk: signature member",
            MAX_METADATA,
            gzip_of_zeros(MAX_METADATA + 1),
        ),
        (
            "apk: control member",
            MAX_CONTROL,
            [small.clone(), gzip_of_zeros(MAX_CONTROL + 1)].concat(),
        ),
        // What would inflate to much more costs no more than that.
        (
            "apk: signature member",
            MAX_METADATA,
            gzip_of_zeros(64 * MAX_METADATA),
        ),
    ] {
        assert_eq!(
            Apk::parse(&package),
            Err(PackageError::TooLarge { what, limit })
        );
    }
    assert_eq!(
        Apk::parse(&[small, gzip_of_zeros(MAX_CONTROL)].concat()),
        Err(PackageError::Unsigned("apk: no file .SIGN.*"))
    );
}

#[test]
fn the_members_of_an_archive_are_counted() {
    let mut header = [0_u8; 512];
    header[0] = b'x';
    header[156] = b'0';
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let gzip = |members: usize| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        for _ in 0..members {
            encoder.write_all(&header).unwrap();
        }
        encoder.finish().unwrap()
    };
    assert_eq!(
        Apk::parse(&[gzip(1025), gzip(1)].concat()),
        Err(PackageError::TooLarge {
            what: "tar archive: members",
            limit: 1024
        })
    );
    assert_eq!(
        Apk::parse(&[gzip(1024), gzip(1)].concat()),
        Err(PackageError::Unsigned("apk: no file .SIGN.*"))
    );
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_no_package(bytes in proptest::collection::vec(any::<u8>(), 0..2048)) {
        prop_assert!(Apk::parse(&bytes).is_err());
    }

    #[test]
    fn archives_of_arbitrary_bytes_do_not_panic(tar in proptest::collection::vec(any::<u8>(), 0..2048), at in 0_usize..512) {
        let (package, _) = good();
        let inflated = {
            let mut inflated = Vec::new();
            std::io::Read::read_to_end(&mut flate2::bufread::GzDecoder::new(&package[..]), &mut inflated).unwrap();
            inflated
        };
        let mut mixed = inflated;
        for (to, from) in mixed.iter_mut().skip(at).zip(&tar) {
            *to = *from;
        }
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(&mixed).unwrap();
        let _ = Apk::parse(&[encoder.finish().unwrap(), package].concat());
    }
}

#[test]
fn a_signature_in_pem_is_the_signature() {
    let find = |name: &str| {
        cases::read("alpine")
            .into_iter()
            .find(|case| case.name == name)
            .unwrap()
            .package
    };
    let (plain, armored) = (find("rsa-sha1"), find("pem-signature"));
    let plain = Apk::parse(&plain).unwrap();
    assert_eq!(plain.signature().len(), 256);
    assert_eq!(
        STANDARD.encode(plain.signature()),
        STANDARD.encode(Apk::parse(&armored).unwrap().signature())
    );
}
