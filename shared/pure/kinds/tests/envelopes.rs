//! What a Rekor v1 log takes in, and in which bytes: those of the public log.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a panic is the failure report; tests read files"
)]

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use entry::REKOR_V2_ALGORITHMS;
use jiff::Timestamp;
use keys::{Algorithm, sha256};
use kinds::{Accepted, Kind, ProposeError, Proposed, Rules};
use serde_json::{Value, json};
use signer::Signer;

fn testdata() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../testdata")
}

fn admit(proposal: &Value) -> Result<Accepted, ProposeError> {
    let rules = Rules::of_admission(&REKOR_V2_ALGORITHMS, Timestamp::UNIX_EPOCH);
    Proposed::parse(proposal.to_string().as_bytes(), &Kind::ALL)?.admit(&rules)
}

/// The search key of the signature in a hashedrekord.
fn first_signature(accepted: &Accepted) -> String {
    let body: Value = serde_json::from_slice(accepted.body()).unwrap();
    let signature = body["spec"]["signature"]["content"].as_str().unwrap();
    entry::signature_key(&STANDARD.decode(signature).unwrap())
}

/// All that an entry is found by.
fn found_by(accepted: &Accepted) -> Vec<String> {
    let derived = entry::search_keys(accepted.body());
    let derived = derived.iter().map(|key| key.to_lowercase());
    derived.chain(accepted.keys().iter().cloned()).collect()
}

fn b64(bytes: impl AsRef<[u8]>) -> String {
    STANDARD.encode(bytes)
}

fn entries(bundle: &Value) -> Vec<(String, Vec<u8>)> {
    let entries = bundle["verificationMaterial"]["tlogEntries"].as_array();
    let entries = entries.into_iter().flatten();
    entries
        .map(|entry| {
            let kind = &entry["kindVersion"];
            let kind = format!(
                "{} {}",
                kind["kind"].as_str().unwrap(),
                kind["version"].as_str().unwrap()
            );
            let body = STANDARD.decode(entry["canonicalizedBody"].as_str().unwrap());
            (kind, body.unwrap())
        })
        .collect()
}

/// The body of a hashedrekord has the members of a proposal.
#[test]
fn the_public_logs_hashedrekords_come_out_byte_for_byte() {
    let file = std::fs::File::open(testdata().join("cpython/releases.jsonl.gz")).unwrap();
    let mut seen = 0;
    for line in BufReader::new(flate2::read::GzDecoder::new(file)).lines() {
        let line: Value = serde_json::from_str(&line.unwrap()).unwrap();
        for (kind, body) in entries(&line["bundle"]) {
            if kind != "hashedrekord 0.0.1" {
                continue;
            }
            let accepted = Proposed::parse(&body, &Kind::ALL)
                .unwrap()
                .admit(&Rules::of_lookup());
            let accepted = accepted.unwrap_or_else(|error| panic!("{}: {error}", line["url"]));
            assert_eq!(accepted.body(), body, "{}", line["url"]);
            let digest = format!("sha256:{}", line["sha256"].as_str().unwrap());
            let identity = line["identity"].as_str().unwrap().to_lowercase();
            assert!(found_by(&accepted).contains(&digest), "{}", line["url"]);
            assert!(found_by(&accepted).contains(&identity), "{}", line["url"]);
            seen += 1;
        }
    }
    assert!(seen >= 500, "only {seen} entries: data was lost");
}

/// Envelopes of bundles, put into proposals again.
#[test]
fn envelopes_of_bundles_come_out_as_their_log_had_them() {
    let mut seen = Vec::new();
    for name in [
        "happy-path-intoto-in-dsse-v3",
        "intoto-with-custom-trust-root",
    ] {
        let path = testdata()
            .join("sigstore-conformance/bundle-verify")
            .join(name);
        let bundle = std::fs::read(path.join("bundle.sigstore.json")).unwrap();
        let bundle: Value = serde_json::from_slice(&bundle).unwrap();
        let envelope = &bundle["dsseEnvelope"];
        for (kind, body) in entries(&bundle) {
            let stored: Value = serde_json::from_slice(&body).unwrap();
            let stored = &stored["spec"];
            let accepted = match kind.as_str() {
                "dsse 0.0.1" => {
                    let verifier = &stored["signatures"][0]["verifier"];
                    let accepted = admit(&json!({"kind": "dsse", "apiVersion": "0.0.1", "spec": {
                        "proposedContent": {"envelope": envelope.to_string(), "verifiers": [verifier]},
                    }}));
                    // The text of the envelope is not in the bundle, so neither is its digest.
                    let accepted = accepted.unwrap();
                    let mut made: Value = serde_json::from_slice(accepted.body()).unwrap();
                    made["spec"]["envelopeHash"] = stored["envelopeHash"].clone();
                    assert_eq!(made.to_string(), String::from_utf8(body).unwrap(), "{name}");
                    accepted
                }
                "intoto 0.0.2" => {
                    let text = |value: &Value| b64(value.as_str().unwrap());
                    let accepted = admit(
                        &json!({"kind": "intoto", "apiVersion": "0.0.2", "spec": {"content": {
                            "envelope": {
                                "payloadType": envelope["payloadType"],
                                "payload": text(&envelope["payload"]),
                                "signatures": [{
                                    "sig": text(&envelope["signatures"][0]["sig"]),
                                    "publicKey": stored["content"]["envelope"]["signatures"][0]["publicKey"],
                                }],
                            },
                            "hash": stored["content"]["hash"],
                        }}}),
                    );
                    let accepted = accepted.unwrap();
                    // Whoever made this case kept the payload in the body, which a log does not.
                    let mut expected: Value = serde_json::from_slice(&body).unwrap();
                    let envelope_of = &mut expected["spec"]["content"]["envelope"];
                    assert!(
                        envelope_of
                            .as_object_mut()
                            .unwrap()
                            .remove("payload")
                            .is_some()
                    );
                    let made = String::from_utf8(accepted.body().to_vec()).unwrap();
                    assert_eq!(made, expected.to_string(), "{name}");
                    let payload = STANDARD
                        .decode(envelope["payload"].as_str().unwrap())
                        .unwrap();
                    assert_eq!(accepted.attestation().unwrap().payload, payload);
                    accepted
                }
                other => panic!("{name}: {other}"),
            };
            let payload = STANDARD
                .decode(envelope["payload"].as_str().unwrap())
                .unwrap();
            let statement: Value = serde_json::from_slice(&payload).unwrap();
            let digest = statement["subject"][0]["digest"]["sha256"]
                .as_str()
                .unwrap();
            assert!(
                found_by(&accepted).contains(&format!("sha256:{digest}")),
                "{name}: {:?}",
                accepted.keys()
            );
            seen.push(kind);
        }
    }
    seen.sort();
    assert_eq!(seen, ["dsse 0.0.1", "intoto 0.0.2"]);
}

fn hashedrekord(signer: &Signer, message: &[u8]) -> Value {
    json!({"kind": "hashedrekord", "apiVersion": "0.0.1", "spec": {
        "data": {"hash": {"algorithm": "sha256", "value": hex::encode(sha256(message))}},
        "signature": {
            "content": b64(signer.sign_local(message).unwrap()),
            "publicKey": {"content": b64(signer.public_key().to_pem())},
        },
    }})
}

#[test]
fn what_is_sent_in_another_form_goes_in_in_one_form() {
    let signer = Signer::generate(Algorithm::EcdsaP256Sha256).unwrap();
    let first = hashedrekord(&signer, b"file");
    let mut second = first.clone();
    let pem = signer.public_key().to_pem().replace('\n', "\r\n");
    second["spec"]["signature"]["publicKey"]["content"] = json!(b64(format!("\n{pem}\n")));
    second["spec"]["signature"]["publicKey"]["url"] = json!("https://example.org/key");
    second["spec"]["signature"]["format"] = json!("x509");
    let (first, second) = (admit(&first).unwrap(), admit(&second).unwrap());
    assert_eq!(first.body(), second.body());
    assert_eq!(
        (first.kind(), first.version()),
        (Kind::HashedRekord, "0.0.1")
    );
    assert!(first.attestation().is_none());
    let key = hex::encode(sha256(signer.public_key().to_pem().as_bytes()));
    let digest = hex::encode(sha256(b"file"));
    assert!(first.keys().is_empty(), "all of them follow from the body");
    let signature = first_signature(&first);
    assert_eq!(
        found_by(&first),
        [
            format!("sha256:{digest}"),
            signature,
            format!("sha256:{key}"),
            key
        ]
    );
}

type Change<'a> = &'a dyn Fn(&mut Value);

#[test]
fn hashedrekords_that_do_not_hold_are_refused() {
    let signer = Signer::generate(Algorithm::EcdsaP256Sha256).unwrap();
    let good = hashedrekord(&signer, b"file");
    let other = Signer::generate(Algorithm::EcdsaP256Sha256).unwrap();
    let cases: [(Change<'_>, &str); 13] = [
        (
            &|p| p["spec"]["data"]["hash"]["value"] = json!(hex::encode(sha256(b"x"))),
            "verifying signature",
        ),
        (
            &|p| {
                p["spec"]["signature"]["publicKey"]["content"] =
                    json!(b64(other.public_key().to_pem()));
            },
            "verifying signature",
        ),
        (
            &|p| p["spec"]["signature"]["content"] = json!("AAAA"),
            "verifying signature",
        ),
        (
            &|p| p["spec"]["signature"]["content"] = json!(""),
            "signature.content in body is required",
        ),
        (
            &|p| p["spec"]["signature"]["content"] = json!("%%"),
            "not base64",
        ),
        (
            &|p| p["spec"]["signature"]["publicKey"]["content"] = json!("AAAA"),
            "invalid public key",
        ),
        (
            &|p| {
                p["spec"]["signature"]["publicKey"]["content"] = json!(b64(
                    "-----BEGIN RSA PUBLIC KEY-----\nAAAA\n-----END RSA PUBLIC KEY-----\n"
                ));
            },
            "cannot handle type RSA PUBLIC KEY",
        ),
        (
            &|p| p["spec"]["data"]["hash"]["algorithm"] = json!("sha1"),
            "should be one of [sha256 sha384 sha512]",
        ),
        (
            &|p| p["spec"]["data"]["hash"]["algorithm"] = json!("sha512"),
            "invalid value for hash",
        ),
        (
            &|p| p["spec"]["data"]["hash"]["value"] = json!("zz"),
            "not hexadecimal",
        ),
        (
            &|p| {
                p["spec"]["data"]["hash"] =
                    json!({"algorithm": "sha512", "value": "00".repeat(64)});
            },
            "entry algorithms are not allowed",
        ),
        (
            &|p| {
                p["spec"].as_object_mut().unwrap().remove("data");
            },
            "missing field `data`",
        ),
        (
            &|p| p["apiVersion"] = json!("0.0.9"),
            "has no version '0.0.9'",
        ),
    ];
    for (change, reason) in cases {
        let mut proposal = good.clone();
        change(&mut proposal);
        match admit(&proposal) {
            Err(ProposeError::Invalid(why)) if why.contains(reason) => {}
            other => panic!("expected {reason:?}, got {other:?}"),
        }
    }
    for (text, expected) in [
        ("{}", 602),
        (r#"{"kind":"hashedrekord","spec":{}}"#, 602),
        (r#"{"kind":"hashedrekord","apiVersion":"0.0.1"}"#, 602),
        (
            r#"{"kind":"hashedrekord","apiVersion":"0.0.1","spec":null}"#,
            602,
        ),
        (r#"{"kind":"hashedrekord","apiVersion":"1","spec":{}}"#, 605),
        (r#"{"kind":"nonsense","apiVersion":"0.0.1","spec":{}}"#, 606),
    ] {
        match Proposed::parse(text.as_bytes(), &Kind::ALL) {
            Err(ProposeError::Schema { code, .. }) => assert_eq!(code, expected, "{text}"),
            other => panic!("{text}: {other:?}"),
        }
    }
    for text in [
        "",
        "{",
        "[]",
        "7",
        r#"{"kind":"dsse","kind":"dsse"}"#,
        r#"{"kind":7}"#,
    ] {
        assert!(
            matches!(
                Proposed::parse(text.as_bytes(), &Kind::ALL),
                Err(ProposeError::Malformed(_))
            ),
            "{text}"
        );
    }
}

#[test]
fn each_kind_of_key_signs_as_the_log_knows_it() {
    for algorithm in REKOR_V2_ALGORITHMS {
        // Making RSA keys takes seconds; the crate `keys` tests their verification.
        let Ok(signer) = Signer::generate(algorithm) else {
            continue;
        };
        let digest = algorithm.hash().unwrap().digest(b"file");
        let mut proposal = hashedrekord(&signer, b"file");
        proposal["spec"]["data"]["hash"] =
            json!({"algorithm": digest.algorithm().name(), "value": digest.to_hex()});
        admit(&proposal).unwrap_or_else(|error| panic!("{algorithm:?}: {error}"));
    }
    // Pure Ed25519 cannot be checked with a digest alone.
    let pure = Signer::generate(Algorithm::Ed25519).unwrap();
    let mut proposal = hashedrekord(&pure, b"file");
    let digest = keys::HashAlgorithm::Sha512.digest(b"file");
    proposal["spec"]["data"]["hash"] = json!({"algorithm": "sha512", "value": digest.to_hex()});
    let refused = admit(&proposal).unwrap_err().to_string();
    assert!(refused.contains("verifying signature"), "{refused}");
}

fn envelope(signers: &[&Signer], payload: &[u8]) -> Value {
    let pae = dsse::pae(dsse::IN_TOTO, payload);
    let signatures: Vec<_> = signers
        .iter()
        .map(|signer| json!({"keyid": "", "sig": b64(signer.sign_local(&pae).unwrap())}))
        .collect();
    json!({"payloadType": dsse::IN_TOTO, "payload": b64(payload), "signatures": signatures})
}

fn dsse_proposal(envelope: &Value, verifiers: &[&Signer]) -> Value {
    let verifiers: Vec<_> = verifiers
        .iter()
        .map(|signer| b64(signer.public_key().to_pem()))
        .collect();
    json!({"kind": "dsse", "apiVersion": "0.0.1", "spec": {
        "proposedContent": {"envelope": envelope.to_string(), "verifiers": verifiers},
    }})
}

#[test]
fn every_signature_of_an_envelope_needs_its_verifier() {
    let one = Signer::generate(Algorithm::EcdsaP256Sha256).unwrap();
    let two = Signer::generate(Algorithm::Ed25519).unwrap();
    let three = Signer::generate(Algorithm::EcdsaP384Sha384).unwrap();
    let envelope = envelope(&[&one, &two, &three], b"{}");
    let accepted = admit(&dsse_proposal(&envelope, &[&three, &two, &one])).unwrap();
    let body: Value = serde_json::from_slice(accepted.body()).unwrap();
    let stored: Vec<_> = body["spec"]["signatures"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| s["signature"].as_str().unwrap())
        .collect();
    assert_eq!(stored.len(), 3);
    assert!(stored.is_sorted(), "in the order of their text");
    let digest = hex::encode(sha256(envelope.to_string().as_bytes()));
    assert_eq!(
        body["spec"]["envelopeHash"],
        json!({"algorithm": "sha256", "value": digest})
    );

    let missing = admit(&dsse_proposal(&envelope, &[&one, &two]))
        .unwrap_err()
        .to_string();
    assert!(
        missing.contains("all signatures must have a key"),
        "{missing}"
    );
    let mut set = dsse_proposal(&envelope, &[&one, &two, &three]);
    set["spec"]["payloadHash"] = json!({"algorithm": "sha256", "value": "00"});
    assert!(
        admit(&set)
            .unwrap_err()
            .to_string()
            .contains("but not both")
    );
    let many = vec![&one; 11];
    assert!(
        admit(&dsse_proposal(&envelope, &many))
            .unwrap_err()
            .to_string()
            .contains("11 verifiers, at most 10")
    );
    let mut none = envelope.clone();
    none["signatures"] = json!([]);
    assert!(
        admit(&dsse_proposal(&none, &[&one]))
            .unwrap_err()
            .to_string()
            .contains("1 or more signatures")
    );
}

#[test]
fn intoto_proposals_are_checked_and_their_attestation_is_kept() {
    let signer = Signer::generate(Algorithm::EcdsaP256Sha256).unwrap();
    let statement = br#"{"subject":[{"digest":{"sha256":"AB","sha1":"cd"}}],"predicate":{"materials":[{"digest":{"sha256":"ef"}}]}}"#;
    let envelope = envelope(&[&signer], statement);
    let pem = b64(signer.public_key().to_pem());
    let old = json!({"kind": "intoto", "apiVersion": "0.0.1", "spec": {
        "content": {"envelope": envelope.to_string(), "hash": {"algorithm": "sha256", "value": "ignored"}},
        "publicKey": pem,
    }});
    let accepted = admit(&old).unwrap();
    assert_eq!(accepted.attestation().unwrap().payload, statement);
    for key in ["sha256:ab", "sha1:cd", "sha256:ef"] {
        assert!(
            found_by(&accepted).iter().any(|found| found == key),
            "{key}"
        );
    }
    let digest = hex::encode(sha256(envelope.to_string().as_bytes()));
    assert!(found_by(&accepted).contains(&format!("sha256:{digest}")));

    let new = json!({"kind": "intoto", "apiVersion": "0.0.2", "spec": {"content": {
        "envelope": {
            "payloadType": dsse::IN_TOTO,
            "payload": b64(b64(statement)),
            "signatures": [{"sig": b64(envelope["signatures"][0]["sig"].as_str().unwrap()), "publicKey": pem, "keyid": "k"}],
        },
        "hash": {"algorithm": "sha256", "value": digest},
    }}});
    let accepted = admit(&new).unwrap();
    let body: Value = serde_json::from_slice(accepted.body()).unwrap();
    let content = &body["spec"]["content"];
    assert_eq!(
        content["payloadHash"]["value"],
        json!(hex::encode(sha256(statement)))
    );
    assert_eq!(content["envelope"]["signatures"][0]["keyid"], "k");
    assert!(content["envelope"].get("payload").is_none());

    let refused = |change: &dyn Fn(&mut Value)| {
        let mut proposal = new.clone();
        change(&mut proposal["spec"]["content"]);
        admit(&proposal).unwrap_err().to_string()
    };
    // Upstream lets this one in, with the digest that the client made up.
    let unchecked = refused(&|content| {
        content["envelope"]["payload"] = json!("");
        content["payloadHash"] = json!({"algorithm": "sha256", "value": "00".repeat(32)});
    });
    assert!(
        unchecked.contains("payload in body is required"),
        "{unchecked}"
    );
    let once = refused(&|content| content["envelope"]["payload"] = json!(b64(statement)));
    assert!(once.contains("base64 once"), "{once}");
    let other = refused(&|content| content["envelope"]["payload"] = json!(b64(b64(b"{}"))));
    assert!(
        other.contains("signature 1 is not by its publicKey"),
        "{other}"
    );
    let url_safe = URL_SAFE_NO_PAD.encode(statement);
    let mut same = new.clone();
    same["spec"]["content"]["envelope"]["payload"] = json!(b64(url_safe));
    assert_eq!(
        admit(&same).unwrap().body(),
        accepted.body(),
        "either alphabet"
    );
}

/// A build of hundreds of files: one limit, and the entry says what is beyond it.
#[test]
fn a_statement_of_many_subjects_is_found_by_all_that_have_room() {
    let signer = Signer::generate(Algorithm::EcdsaP256Sha256).unwrap();
    let digest = |number: u32| hex::encode(sha256(&number.to_be_bytes()));
    let admit = |count: u32| {
        let subjects: Vec<_> = (0..count)
            .map(|number| json!({"name": "a", "digest": {"sha256": digest(number)}}))
            .collect();
        let statement = json!({"subject": subjects}).to_string();
        let envelope = envelope(&[&signer], statement.as_bytes());
        admit(&dsse_proposal(&envelope, &[&signer])).unwrap()
    };
    let all = admit(900);
    assert_eq!(all.left_out(), 0);
    for number in 0..900 {
        let key = format!("sha256:{}", digest(number));
        assert!(all.keys().contains(&key), "{number}");
    }
    let more = admit(2000);
    let length = more.keys().join("\n").len();
    assert!(length <= kinds::MAX_KEYS && length > kinds::MAX_KEYS - 72);
    // The envelope's own digest is one of them.
    assert_eq!(more.keys().len() + more.left_out(), 2001);
}

#[test]
fn a_chain_must_hold_together() {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut authority = rcgen::CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority_key = rcgen::KeyPair::generate().unwrap();
    let root = authority.self_signed(&authority_key).unwrap();
    let issuer = rcgen::Issuer::from_params(&authority, &authority_key);
    let mut leaf = rcgen::CertificateParams::new(Vec::new()).unwrap();
    leaf.subject_alt_names = vec![rcgen::SanType::Rfc822Name(
        "Dev@Example.com".try_into().unwrap(),
    )];
    let leaf = leaf.signed_by(&key, &issuer).unwrap();
    let other = authority
        .self_signed(&rcgen::KeyPair::generate().unwrap())
        .unwrap();
    let signer = Signer::from_pkcs8_pem(&key.serialize_pem()).unwrap();
    let proposal = |pem: String| {
        let mut proposal = hashedrekord(&signer, b"file");
        proposal["spec"]["signature"]["publicKey"]["content"] = json!(b64(pem));
        proposal
    };
    let alone = admit(&proposal(leaf.pem())).unwrap();
    assert!(
        found_by(&alone).iter().any(|key| key == "dev@example.com"),
        "{:?}",
        found_by(&alone)
    );
    let chain = admit(&proposal(leaf.pem() + &root.pem())).unwrap();
    assert_ne!(chain.body(), alone.body());
    for (pem, reason) in [
        (leaf.pem() + &other.pem(), "the certificate chain breaks"),
        (root.pem() + &leaf.pem(), "the certificate chain breaks"),
        (leaf.pem() + &root.pem().repeat(10), "too many certificates"),
        (
            leaf.pem() + &signer.public_key().to_pem(),
            "cannot handle type PUBLIC KEY",
        ),
    ] {
        let refused = admit(&proposal(pem)).unwrap_err().to_string();
        assert!(refused.contains(reason), "{refused}");
    }
}
