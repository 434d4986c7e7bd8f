//! Tokens that we make verify, each broken part is refused for its reason, and openssl agrees.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a panic is the failure report; openssl reads files"
)]

use std::time::Duration;

use jiff::Timestamp;
use keys::{Algorithm, Digest, HashAlgorithm};
use pki::Certificate;
use pki::profile::{self, Authority as Kind, AuthorityParameters};
use signer::Signer;
use tsp::{Authority, Malformed, Rejection, Request, RequestError, Resolution, Stated, TspError};

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

const NOW: &str = "2026-11-23T12:00:00.9Z";

struct Tsa {
    authority: Authority,
    signer: Signer,
}

fn certificate(kind: Kind, key: &Signer, issuer: Option<(&Certificate, &Signer)>) -> Certificate {
    let parameters = AuthorityParameters {
        authority: kind,
        organization: "Example".into(),
        common_name: format!("{kind:?}"),
        key: key.public_key().clone(),
        serial: [7; 20],
        not_before: at("2026-01-01T00:00:00Z"),
        not_after: at("2027-01-01T00:00:00Z"),
    };
    let unsigned = profile::prepare_authority(&parameters, issuer.map(|issuer| issuer.0)).unwrap();
    let signature = issuer
        .map_or(key, |issuer| issuer.1)
        .sign_local(unsigned.to_be_signed())
        .unwrap();
    unsigned.seal(&signature).unwrap()
}

fn tsa(algorithm: Algorithm) -> Tsa {
    let (root_key, signer) = (
        Signer::generate(Algorithm::EcdsaP384Sha384).unwrap(),
        Signer::generate(algorithm).unwrap(),
    );
    let root = certificate(Kind::Root, &root_key, None);
    let leaf = certificate(Kind::TimestampingLeaf, &signer, Some((&root, &root_key)));
    Tsa {
        authority: Authority::new(vec![leaf, root], None, false, at(NOW)).unwrap(),
        signer,
    }
}

fn request(data: &[u8], hash: HashAlgorithm) -> Request {
    Request {
        imprint: Digest::of(hash, data),
        policy: None,
        nonce: Some(vec![0x11, 0x22]),
        certificates: true,
    }
}

fn token(tsa: &Tsa, request: &Request) -> Vec<u8> {
    token_of(tsa, request, Stated::seconds(at(NOW)))
}

fn token_of(tsa: &Tsa, request: &Request, stated: Stated) -> Vec<u8> {
    let prepared = tsp::prepare(&tsa.authority, request, [1; 20], stated).unwrap();
    let signature = tsa.signer.sign_local(prepared.to_be_signed()).unwrap();
    prepared.seal(&signature).unwrap()
}

#[test]
fn tokens_of_every_key_and_hash_verify() {
    for algorithm in [
        Algorithm::EcdsaP256Sha256,
        Algorithm::EcdsaP384Sha384,
        Algorithm::EcdsaP521Sha512,
        Algorithm::Ed25519,
        Algorithm::RsaPkcs1Sha256_2048,
    ] {
        let tsa = tsa(algorithm);
        for hash in HashAlgorithm::ALL {
            let mut request = request(b"signature", hash);
            for certificates in [true, false] {
                request.certificates = certificates;
                let response = token(&tsa, &request);
                let verified = tsp::verify(&response, b"signature", tsa.authority.chain()).unwrap();
                assert_eq!(verified.time(), at("2026-11-23T12:00:00Z"));
            }
        }
    }
}

#[test]
fn every_broken_part_is_refused_for_its_reason() {
    let (ours, other) = (
        tsa(Algorithm::EcdsaP256Sha256),
        tsa(Algorithm::EcdsaP256Sha256),
    );
    let response = token(&ours, &request(b"signature", HashAlgorithm::Sha256));
    let chain = ours.authority.chain();
    assert_eq!(
        tsp::verify(&response, b"other", chain),
        Err(TspError::Imprint)
    );
    assert_eq!(
        tsp::verify(&response, b"signature", &[]),
        Err(TspError::NoAuthority)
    );
    assert_eq!(
        tsp::verify(&response, b"signature", &chain[..1]),
        Err(TspError::NoAuthority)
    );
    assert_eq!(
        tsp::verify(&response, b"signature", other.authority.chain()),
        Err(TspError::OtherSigner)
    );
    assert!(tsp::verify(&[&response[..], &[0]].concat(), b"signature", chain).is_err());
    for cut in 0..response.len() {
        assert!(
            tsp::verify(&response[..cut], b"signature", chain).is_err(),
            "{cut}"
        );
    }
    // Every single bit flip is refused, or hits a part that nothing depends on: there is none but the version numbers.
    let mut survivors = Vec::new();
    for position in 0..response.len() {
        let mut broken = response.clone();
        broken[position] ^= 1;
        if tsp::verify(&broken, b"signature", chain).is_ok() {
            survivors.push(position);
        }
    }
    assert!(
        survivors.len() < response.len() / 2,
        "{} of {} bytes do not matter",
        survivors.len(),
        response.len()
    );
    let rejected = tsp::rejection(Rejection::BadRequest, "no").unwrap();
    assert_eq!(
        tsp::verify(&rejected, b"signature", chain),
        Err(TspError::Status(2))
    );
    assert!(matches!(
        tsp::verify(&vec![0x30; 70_000], b"", chain),
        Err(TspError::Malformed(Malformed { .. }))
    ));
}

#[test]
fn an_authority_is_not_taken_with_a_chain_that_is_none() {
    let ours = tsa(Algorithm::EcdsaP256Sha256);
    let mut chain = ours.authority.chain().to_vec();
    assert!(Authority::new(chain[..1].to_vec(), None, false, at(NOW)).is_err());
    assert!(
        Authority::new(chain.clone(), None, false, at("2030-01-01T00:00:00Z")).is_err(),
        "expired"
    );
    chain.reverse();
    assert!(
        Authority::new(chain, None, false, at(NOW)).is_err(),
        "root first"
    );
    let prepared = tsp::prepare(
        &ours.authority,
        &request(b"x", HashAlgorithm::Sha256),
        [1; 20],
        Stated::seconds(at(NOW)),
    )
    .unwrap();
    assert!(prepared.seal(b"no signature").is_err());
}

#[test]
fn requests_are_read_in_both_forms() {
    let wanted = request(b"signature", HashAlgorithm::Sha384);
    assert_eq!(
        Request::parse_der(&wanted.to_der().unwrap()),
        Ok(wanted.clone())
    );
    let der = wanted.to_der().unwrap();
    for cut in 0..der.len() {
        assert!(Request::parse_der(&der[..cut]).is_err(), "{cut}");
    }
    // SHA-384 with parameters that are no NULL: the token's imprint could not be the same.
    let null = der
        .windows(4)
        .position(|part| part == [5, 0, 4, 48])
        .unwrap();
    let mut parameters = der.clone();
    parameters[null] = 4;
    assert!(matches!(
        Request::parse_der(&parameters),
        Err(RequestError::Malformed(_))
    ));
    let hash = wire::encoding::Bytes::encode(wanted.imprint.bytes());
    let json = |algorithm: &str, more: &str| {
        format!("{{\"artifactHash\":\"{hash}\",\"hashAlgorithm\":\"{algorithm}\"{more}}}")
    };
    let parse = |text: String| Request::parse_json(text.as_bytes());
    assert_eq!(
        parse(json("SHA384", ",\"nonce\":4386,\"certificates\":true")),
        Ok(wanted)
    );
    let length = |algorithm, found| Err(RequestError::DigestLength { algorithm, found });
    assert_eq!(parse(json("sha256", "")), length(HashAlgorithm::Sha256, 48));
    assert_eq!(
        parse("{\"hashAlgorithm\":\"sha512\"}".into()),
        length(HashAlgorithm::Sha512, 0)
    );
    assert_eq!(parse(json("sha1", "")), Err(RequestError::WeakHash));
    assert!(matches!(
        parse(json("crc32", "")),
        Err(RequestError::UnknownHash(_))
    ));
    let long = vec!["1"; 129].join(".");
    assert_eq!(
        parse(json("sha384", &format!(",\"tsaPolicyOID\":\"{long}\""))),
        Err(RequestError::Oid)
    );
    assert!(matches!(
        parse(json("sha384", &" ".repeat(1100))),
        Err(RequestError::TooLarge { most: 1024, .. })
    ));
    assert!(matches!(
        parse("{}".into()),
        Err(RequestError::UnknownHash(_))
    ));
    // An array is no request, not even of the members in our own order.
    for array in ["[]", &format!("[\"{hash}\",\"sha384\",false,1,null]")] {
        assert!(
            matches!(parse(array.to_owned()), Err(RequestError::Malformed(_))),
            "{array}"
        );
    }
}

/// GHSA-4qg8-fj49-pxjh, timestamp-authority#1402: what grows without end in a request is refused before it costs anything.
#[test]
fn policies_and_nonces_have_an_end() {
    let plain = request(b"signature", HashAlgorithm::Sha256);
    let der = |policy: &[u8], nonce: &[u8]| {
        let imprint = &plain.to_der().unwrap()[5..5 + 51];
        let policy = pki::tlv::wrap(6, policy).unwrap();
        let nonce = pki::tlv::wrap(2, nonce).unwrap();
        let body = [&[2, 1, 1][..], imprint, &policy, &nonce].concat();
        Request::parse_der(&pki::tlv::wrap(0x30, &body).unwrap())
    };
    assert!(der(&[42, 3, 4], &[1]).is_ok());
    // One component of a thousand bytes, a thousand components, and one that does not end.
    let mut component = vec![0xff; 1000];
    component.push(0x7f);
    for policy in [
        &[&[42][..], &component].concat()[..],
        &[&[42][..], &[1; 1000]].concat(),
        &[42, 0x80],
        &[],
    ] {
        assert_eq!(
            der(policy, &[1]),
            Err(RequestError::Oid),
            "{}",
            policy.len()
        );
    }
    assert!(matches!(
        der(&[42, 3, 4], &vec![1; 17_000]),
        Err(RequestError::TooLarge { .. })
    ));
    assert_eq!(
        der(&[42, 3, 4], &[1; 128]).unwrap().nonce,
        Some(vec![1; 128])
    );
    for nonce in [&[1; 129][..], &[], &[0x80], &[0, 1], &[0xff, 0xff]] {
        assert_eq!(
            der(&[42, 3, 4], nonce),
            Err(RequestError::Nonce),
            "{nonce:?}"
        );
    }

    let hash = wire::encoding::Bytes::encode(plain.imprint.bytes());
    let json = |name: &str, value: &str| {
        let text = format!(
            "{{\"artifactHash\":\"{hash}\",\"hashAlgorithm\":\"sha256\",\"{name}\":{value}}}"
        );
        Request::parse_json(text.as_bytes())
    };
    for (number, contents) in [
        ("0", &[0][..]),
        ("127", &[0x7f]),
        ("128", &[0, 0x80]),
        ("255", &[0, 0xff]),
        ("256", &[1, 0]),
        ("18446744073709551616", &[1, 0, 0, 0, 0, 0, 0, 0, 0]),
    ] {
        assert_eq!(
            json("nonce", number).unwrap().nonce.as_deref(),
            Some(contents),
            "{number}"
        );
    }
    assert_eq!(json("nonce", "null").unwrap().nonce, None);
    let longest = "9".repeat(307);
    assert!(json("nonce", &longest).is_ok());
    for number in [
        "-1",
        "1.0",
        "1e3",
        "\"1\"",
        "[]",
        &"9".repeat(309),
        &"9".repeat(800),
    ] {
        assert_eq!(json("nonce", number), Err(RequestError::Nonce), "{number}");
    }
    assert!(matches!(
        json("nonce", &"9".repeat(1000)),
        Err(RequestError::TooLarge { .. })
    ));
    for policy in [
        "1.".repeat(500),
        "1.2.x".into(),
        "7.7".into(),
        format!("1.2{}", ".1".repeat(200)),
    ] {
        let found = json("tsaPolicyOID", &format!("\"{policy}\""));
        assert!(
            matches!(
                found,
                Err(RequestError::Oid | RequestError::TooLarge { .. })
            ),
            "{policy}: {found:?}"
        );
    }
}

/// timestamp-authority#1405: an answer without the nonce that was sent is an answer to somebody else.
#[test]
fn an_answer_is_the_one_to_its_request() {
    let tsa = tsa(Algorithm::EcdsaP256Sha256);
    let chain = tsa.authority.chain();
    let other_policy = tsp::DEFAULT_POLICY.push_arc(7).unwrap();
    let plain = Request {
        nonce: None,
        ..request(b"signature", HashAlgorithm::Sha256)
    };
    let with_nonce = Request {
        nonce: Some(vec![0x11, 0x22]),
        ..plain.clone()
    };
    let with_policy = Request {
        policy: Some(other_policy),
        ..plain.clone()
    };
    let all = [&plain, &with_nonce, &with_policy];
    for asked in all {
        assert!(tsp::verify_answer(&token(&tsa, asked), asked, chain).is_ok());
    }
    let check = |answered: &Request, asked: &Request| {
        tsp::verify_answer(&token(&tsa, answered), asked, chain).unwrap_err()
    };
    assert_eq!(check(&plain, &with_nonce), TspError::Nonce);
    assert_eq!(check(&with_nonce, &plain), TspError::Nonce);
    let other = Request {
        nonce: Some(vec![0x11, 0x23]),
        ..plain.clone()
    };
    assert_eq!(check(&other, &with_nonce), TspError::Nonce);
    assert_eq!(
        check(&plain, &with_policy),
        TspError::Policy(tsp::DEFAULT_POLICY)
    );
    let more = Request {
        imprint: Digest::of(HashAlgorithm::Sha256, b"other"),
        ..plain.clone()
    };
    assert_eq!(check(&more, &plain), TspError::Imprint);
}

#[test]
fn time_and_accuracy_are_stated_as_they_are_known() {
    let tsa = tsa(Algorithm::EcdsaP256Sha256);
    let wanted = request(b"signature", HashAlgorithm::Sha256);
    for (now, error, resolution, time, accuracy) in [
        ("12:00:00.9", 0, Resolution::Seconds, "12:00:00", 1_000),
        ("12:00:00.9", 1, Resolution::Seconds, "12:00:00", 1_001),
        (
            "12:00:00",
            2_500_000,
            Resolution::Seconds,
            "12:00:00",
            3_500,
        ),
        ("12:00:00", 0, Resolution::Milliseconds, "12:00:00", 2),
        (
            "12:00:00.1239",
            500,
            Resolution::Milliseconds,
            "12:00:00.123",
            3,
        ),
        // No zero at the end of a fraction.
        (
            "12:00:00.1200",
            3_000,
            Resolution::Milliseconds,
            "12:00:00.119",
            5,
        ),
        (
            "12:00:00.1",
            998_000,
            Resolution::Milliseconds,
            "12:00:00.099",
            1_000,
        ),
    ] {
        let stamp = |text: &str| at(&format!("2026-11-23T{text}Z"));
        let stated = Stated::new(stamp(now), Duration::from_micros(error), resolution);
        let verified = tsp::verify(
            &token_of(&tsa, &wanted, stated),
            b"signature",
            tsa.authority.chain(),
        )
        .unwrap();
        assert_eq!(verified.time(), stamp(time), "{now}");
        assert_eq!(
            verified.accuracy(),
            Some(Duration::from_millis(accuracy)),
            "{now}"
        );
        assert_eq!(
            (stated.time(), stated.accuracy()),
            (stamp(time), Duration::from_millis(accuracy))
        );
    }
}

/// timestamp-authority#1389, #1416: purposes that nobody knows count too, and a leaf is no CA.
#[test]
fn a_leaf_is_made_for_timestamps_and_nothing_else() {
    use rcgen::{
        BasicConstraints, CertificateParams, CustomExtension, IsCa, Issuer, KeyPair,
        KeyUsagePurpose,
    };
    const STAMPING: &[u8] = &[6, 8, 0x2b, 6, 1, 5, 5, 7, 3, 8];
    const UNKNOWN: &[u8] = &[6, 3, 0x2a, 3, 4];
    const ANY: &[u8] = &[6, 4, 0x55, 0x1d, 0x25, 0];
    let parameters = || {
        let mut parameters = CertificateParams::default();
        parameters.not_before = rcgen::date_time_ymd(2026, 1, 1);
        parameters.not_after = rcgen::date_time_ymd(2027, 1, 1);
        parameters
    };
    let root_key = KeyPair::generate().unwrap();
    let mut root = parameters();
    root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    root.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let root_certificate =
        Certificate::from_der(root.self_signed(&root_key).unwrap().der()).unwrap();
    let issuer = Issuer::from_params(&root, &root_key);
    let take = |purposes: &[&[u8]], critical: bool, is_ca: IsCa| {
        let mut leaf = parameters();
        leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        leaf.is_ca = is_ca;
        let content = pki::tlv::wrap(0x30, &purposes.concat()).unwrap();
        let mut extension = CustomExtension::from_oid_content(&[2, 5, 29, 37], content);
        extension.set_criticality(critical);
        leaf.custom_extensions = vec![extension];
        let leaf = leaf
            .signed_by(&KeyPair::generate().unwrap(), &issuer)
            .unwrap();
        let chain = vec![
            Certificate::from_der(leaf.der()).unwrap(),
            root_certificate.clone(),
        ];
        Authority::new(chain, None, false, at(NOW)).map(drop)
    };
    assert_eq!(take(&[STAMPING], true, IsCa::NoCa), Ok(()));
    let purpose = Err(pki::PathError::Purpose(pki::Purpose::TimeStamping));
    assert_eq!(take(&[STAMPING, UNKNOWN], true, IsCa::NoCa), purpose);
    assert_eq!(take(&[UNKNOWN, STAMPING], true, IsCa::NoCa), purpose);
    assert_eq!(take(&[STAMPING, ANY], true, IsCa::NoCa), purpose);
    assert_eq!(take(&[UNKNOWN], true, IsCa::NoCa), purpose);
    assert_eq!(take(&[STAMPING], false, IsCa::NoCa), purpose);
    let ca = IsCa::Ca(BasicConstraints::Constrained(0));
    assert_eq!(take(&[STAMPING], true, ca), Err(pki::PathError::LeafIsCa));
}

#[test]
fn openssl_accepts_our_tokens() {
    let Ok(version) = std::process::Command::new("openssl")
        .arg("version")
        .output()
    else {
        use std::io::Write as _;
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED openssl_accepts_our_tokens: no openssl here"
        );
        return;
    };
    assert!(version.status.success());
    let ours = tsa(Algorithm::EcdsaP384Sha384);
    let wanted = request(b"signature", HashAlgorithm::Sha256);
    let folder = std::env::temp_dir().join(format!("tsp-openssl-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("data"), b"signature").unwrap();
    std::fs::write(folder.join("response.tsr"), token(&ours, &wanted)).unwrap();
    std::fs::write(folder.join("request.tsq"), wanted.to_der().unwrap()).unwrap();
    std::fs::write(folder.join("root.pem"), ours.authority.chain()[1].to_pem()).unwrap();
    for input in [["-queryfile", "request.tsq"], ["-data", "data"]] {
        let output = std::process::Command::new("openssl")
            .args([
                "ts",
                "-verify",
                "-in",
                "response.tsr",
                "-CAfile",
                "root.pem",
                "-attime",
                "1795435200",
            ])
            .args(input)
            .current_dir(&folder)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    std::fs::remove_dir_all(&folder).unwrap();
}
