//! Proposals of every kind against upstream's own code: the same bytes and search keys, or refused by both.
//!
//! `testdata/rekor-v1/<kind>.jsonl`: `{"name", "proposal", "body", "keys", "attestation"}` as Rekor makes them (1.5.2; envelopes 1.5.4; what needs OpenPGP 1.5.5), or `upstream`, its error.
//! `error` is what we answer; it stands beside a `body` where we are stricter. `testdata/packages` has packages in the same way.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::indexing_slicing,
    reason = "a panic is the failure report; tests read files"
)]

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::read::GzDecoder;
use jiff::Timestamp;
use keys::Algorithm;
use kinds::{Accepted, Kind, ProposeError, Proposed, Rules};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
struct Case {
    name: String,
    proposal: Value,
    body: Option<String>,
    #[serde(default)]
    keys: Vec<String>,
    attestation: Option<String>,
    upstream: Option<String>,
    error: Option<String>,
}

fn cases(kind: Kind) -> Vec<Case> {
    let file = format!("../../../testdata/rekor-v1/{}.jsonl", kind.name());
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    let text = std::fs::read_to_string(path).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The packages of `testdata/packages`, proposed. In bodies there the key may be left out.
fn packages(kind: Kind, propose: impl Fn(&Value) -> Value) -> Vec<Case> {
    let file = format!("../../../testdata/packages/{}.jsonl.gz", kind.name());
    let file = File::open(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
    let lines = BufReader::new(GzDecoder::new(file)).lines();
    lines
        .map(|line| {
            let mut case: Value = serde_json::from_str(&line.unwrap()).unwrap();
            let proposal = propose(&case);
            case["proposal"] =
                json!({"kind": kind.name(), "apiVersion": "0.0.1", "spec": proposal});
            let key = "/spec/publicKey/content";
            if let Some(body) = case["body"].as_str() {
                let mut body: Value = serde_json::from_str(body).unwrap();
                if body.pointer(key) == Some(&json!(""))
                    && let Ok(admitted) = admit(&case["proposal"])
                {
                    let ours: Value = serde_json::from_slice(admitted.body()).unwrap();
                    *body.pointer_mut(key).unwrap() = ours.pointer(key).unwrap().clone();
                }
                case["body"] = json!(body.to_string());
            }
            serde_json::from_value(case).unwrap()
        })
        .collect()
}

fn admit(proposal: &Value) -> Result<Accepted, ProposeError> {
    let algorithms: Vec<Algorithm> = Algorithm::all().collect();
    let now: Timestamp = "2026-11-02T00:00:00Z".parse().unwrap();
    Proposed::parse(proposal.to_string().as_bytes(), &Kind::ALL)?
        .admit(&Rules::of_admission(&algorithms, now))
}

fn check(kind: Kind, least: usize) {
    check_all(kind, &cases(kind), least);
}

fn check_all(kind: Kind, cases: &[Case], least: usize) {
    let mut wrong = Vec::new();
    for case in cases {
        let name = format!("{} {}", kind.name(), case.name);
        match (admit(&case.proposal), &case.error) {
            (Err(error), Some(expected)) => {
                if !error.to_string().contains(expected.as_str()) {
                    wrong.push(format!("{name}: answered {error:?}, expected {expected:?}"));
                }
            }
            (Err(error), None) => wrong.push(format!("{name}: refused: {error}")),
            (Ok(_), Some(expected)) => {
                wrong.push(format!("{name}: accepted, expected {expected:?}"));
            }
            (Ok(accepted), None) => {
                if let Some(upstream) = &case.upstream {
                    wrong.push(format!("{name}: accepted, upstream says {upstream:?}"));
                }
                let body = String::from_utf8(accepted.body().to_vec()).unwrap();
                if Some(&body) != case.body.as_ref() {
                    wrong.push(format!("{name}: body\n  {body}\n  {:?}", case.body));
                }
                let mut found = entry::search_keys(accepted.body());
                found.extend_from_slice(accepted.keys());
                let found: Vec<_> = found.iter().map(|key| key.to_lowercase()).collect();
                for key in &case.keys {
                    if !found.contains(&key.to_lowercase()) {
                        wrong.push(format!("{name}: not found by {key}"));
                    }
                }
                let kept = accepted
                    .attestation()
                    .map(|kept| format!("sha256:{}", kept.digest.to_hex()));
                if kept != case.attestation {
                    wrong.push(format!("{name}: attestation {kept:?}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let accepted = cases.iter().filter(|case| case.error.is_none()).count();
    assert!(accepted >= least, "only {accepted}: data was lost");
}

#[test]
fn dsse() {
    check(Kind::Dsse, 8);
}

#[test]
fn intoto() {
    check(Kind::Intoto, 4);
}

#[test]
fn rekord() {
    check(Kind::Rekord, 60);
}

#[test]
fn rfc3161() {
    check(Kind::Rfc3161, 5);
}

#[test]
fn cose() {
    check(Kind::Cose, 8);
}

#[test]
fn tuf() {
    check(Kind::Tuf, 7);
}

#[test]
fn jar() {
    let cases = packages(
        Kind::Jar,
        |case| json!({"archive": {"content": case["package"]}}),
    );
    check_all(Kind::Jar, &cases, 20);
}

/// Upstream's body has the first certificate that the sender put there; found is the entry by those that signed.
#[test]
fn a_jar_is_found_by_who_signed_it() {
    let cases = packages(
        Kind::Jar,
        |case| json!({"archive": {"content": case["package"]}}),
    );
    for (name, signed) in [("plain", true), ("other-certificate-in-front", false)] {
        let case = cases.iter().find(|case| case.name == name).unwrap();
        let accepted = admit(&case.proposal).unwrap();
        let body: Value = serde_json::from_slice(accepted.body()).unwrap();
        let first = &body["spec"]["signature"]["publicKey"]["content"];
        let first = STANDARD.decode(first.as_str().unwrap()).unwrap();
        let mut keys = Vec::new();
        entry::digest_keys(&first, &mut keys);
        assert!(!keys.is_empty());
        for key in &keys {
            assert_eq!(accepted.keys().contains(key), signed, "{name}: {key}");
        }
        // The archive, the signature and one signer, the latter two in both spellings.
        assert_eq!(accepted.keys().len(), 5, "{:?}", accepted.keys());
        let found = entry::search_keys(accepted.body());
        assert!(found.iter().all(|key| !keys.contains(key)), "{found:?}");
    }
}

#[test]
fn helm() {
    check(Kind::Helm, 9);
}

#[test]
fn rpm() {
    let cases = packages(
        Kind::Rpm,
        |case| json!({"package": {"content": case["package"]}, "publicKey": {"content": case["key"]}}),
    );
    check_all(Kind::Rpm, &cases, 14);
}

#[test]
fn alpine() {
    let cases = packages(Kind::Alpine, |case| {
        let key = STANDARD.encode(case["key"].as_str().unwrap());
        json!({"package": {"content": case["package"]}, "publicKey": {"content": key}})
    });
    check_all(Kind::Alpine, &cases, 20);
}

/// The one base64 text at a pointer, with a bit changed.
fn flipped(proposal: &Value, pointer: &str, position: usize) -> Option<Value> {
    let mut changed = proposal.clone();
    let text = changed.pointer_mut(pointer)?;
    let mut bytes = STANDARD.decode(text.as_str()?).ok()?;
    let len = bytes.len();
    *bytes.get_mut(position % len.max(1))? ^= 1 << (position % 8);
    *text = Value::String(STANDARD.encode(bytes));
    Some(changed)
}

fn chart_hash(body: &str) -> Value {
    let body: Value = serde_json::from_str(body).unwrap();
    body.pointer("/spec/chart/hash").unwrap().clone()
}

/// Every byte of what is signed and of the signature: a change is refused, or it is in something that does not go in (a comment line).
#[test]
fn what_was_tampered_with_is_refused() {
    let (mut refused, mut same) = (0, 0);
    for (kind, pointers) in [
        (
            Kind::Rekord,
            ["/spec/data/content", "/spec/signature/content"].as_slice(),
        ),
        (Kind::Cose, ["/spec/message", "/spec/data/aad"].as_slice()),
        (Kind::Helm, ["/spec/chart/provenance/content"].as_slice()),
    ] {
        for case in cases(kind).iter().filter(|case| case.error.is_none()) {
            for pointer in pointers {
                for position in (0..700).step_by(7) {
                    let Some(changed) = flipped(&case.proposal, pointer, position) else {
                        continue;
                    };
                    match admit(&changed) {
                        Err(_) => refused += 1,
                        Ok(accepted) => {
                            let body = String::from_utf8(accepted.body().to_vec()).unwrap();
                            let same_leaf = Some(&body) == case.body.as_ref();
                            // A COSE message's unprotected header is in the digest of the message, and not signed.
                            let unsigned = kind == Kind::Cose && case.name == "kid"
                                // Nor is the id of the key in a minisign signature; here the key came without.
                                || case.name == "minisign-raw"
                                // What is below the text of a provenance file: bits of a signature packet that say nothing.
                                || kind == Kind::Helm && chart_hash(&body) == chart_hash(case.body.as_ref().unwrap())
                                // Armor goes in as it came, with its headers, its checksum and what stands around it.
                                || case.name.starts_with("pgp-") && *pointer == "/spec/signature/content";
                            assert!(same_leaf || unsigned, "{} {position}", case.name);
                            same += 1;
                        }
                    }
                }
            }
        }
    }
    assert!(refused > 5000, "{refused}");
    assert!(same < refused / 3, "{same}");
}

/// Cut anywhere, and with any bit changed anywhere: an answer, and no panic.
#[test]
fn no_proposal_makes_it_panic() {
    for kind in [
        Kind::Rekord,
        Kind::Rfc3161,
        Kind::Cose,
        Kind::Tuf,
        Kind::Helm,
    ] {
        for case in cases(kind) {
            for pointer in [
                "/spec/signature/publicKey/content",
                "/spec/signature/content",
                "/spec/tsr/content",
                "/spec/message",
                "/spec/publicKey",
                "/spec/publicKey/content",
                "/spec/chart/provenance/content",
                "/spec/metadata/content",
                "/spec/root/content",
            ] {
                let Some(Value::String(text)) = case.proposal.pointer(pointer) else {
                    continue;
                };
                let bytes = STANDARD.decode(text).unwrap();
                for cut in (0..bytes.len()).step_by(bytes.len() / 50 + 1) {
                    let mut changed = case.proposal.clone();
                    let short = bytes.get(..cut).unwrap();
                    *changed.pointer_mut(pointer).unwrap() = STANDARD.encode(short).into();
                    let _ = admit(&changed);
                    let _ = admit(&flipped(&case.proposal, pointer, cut).unwrap());
                }
            }
        }
    }
}
