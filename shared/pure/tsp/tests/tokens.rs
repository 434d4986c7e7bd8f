//! Tokens that we make verify, each broken part is refused for its reason, and openssl agrees.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a panic is the failure report; openssl reads files"
)]

use jiff::Timestamp;
use keys::{Algorithm, Digest, HashAlgorithm};
use pki::Certificate;
use pki::profile::{self, Authority as Kind, AuthorityParameters};
use signer::Signer;
use tsp::{Authority, Malformed, Rejection, Request, RequestError, TspError};

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
    let prepared = tsp::prepare(&tsa.authority, request, [1; 20], at(NOW)).unwrap();
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
        at(NOW),
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
    assert_eq!(parse(json("sha256", "")), Err(RequestError::DigestLength));
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
        Err(RequestError::Malformed(_))
    ));
    assert!(matches!(
        parse("{}".into()),
        Err(RequestError::Malformed(_))
    ));
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
