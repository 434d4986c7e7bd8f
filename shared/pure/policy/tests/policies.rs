//! Policies before signatures that hold: each requirement has one that only it keeps out.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic is the failure report"
)]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bundle::Bundle;
use keys::{Algorithm, Digest, HashAlgorithm};
use note::{CosignerKey, Note};
use pki::{Field, SubjectName};
use policy::{Asked, Decision, Policy, SIGNATURE};
use serde_json::{Value, json};
use signer::Signer;
use testkit::{Leaf, Log, Minted, PromisingLog, SctList, Sigstore, Tsa};
use trust::{TrustedRoot, Validity};
use verify::{Artifact, Verified};

const FILE: &[u8] = b"the artifact\n";
const SLSA: &str = "https://slsa.dev/provenance/v1";
const WORKFLOW: &str = "https://github.com/o/r/.github/workflows/release.yml";

struct Scene {
    sigstore: Sigstore,
}

impl Scene {
    fn new() -> Self {
        Self {
            sigstore: Sigstore::default(),
        }
    }

    fn leaf(&self, subject: &SubjectName, signer: &Signer) -> Leaf {
        let usual = self.sigstore.leaf(signer);
        Leaf::new(
            signer.public_key(),
            subject.clone(),
            Sigstore::ISSUER,
            usual.not_before,
        )
    }

    fn key() -> Signer {
        Signer::generate(Algorithm::EcdsaP256Sha256).unwrap()
    }

    /// The file, signed by somebody.
    fn signed(&self, subject: &SubjectName) -> Minted {
        let signer = Self::key();
        let leaf = self.sigstore.issue(self.leaf(subject, &signer));
        self.sigstore.sign_with(FILE, signer, leaf)
    }

    fn mail(&self, name: &str) -> Minted {
        self.signed(&SubjectName::Email(format!("{name}@example.org")))
    }

    fn workflow(&self, git_ref: &str) -> Minted {
        self.signed(&SubjectName::Uri(format!("{WORKFLOW}@{git_ref}")))
    }

    /// A statement about the file.
    fn stated(&self, subject: &SubjectName, kind: &str, predicate: &Value, source: &str) -> Minted {
        let signer = Self::key();
        let mut leaf = self.leaf(subject, &signer);
        leaf.extensions.set(Field::SourceRepositoryUri, source);
        let leaf = self.sigstore.issue(leaf);
        let digest = Digest::of(HashAlgorithm::Sha256, FILE);
        let statement = json!({
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{ "digest": { "sha256": digest.to_hex() } }],
            "predicateType": kind,
            "predicate": predicate,
        });
        self.sigstore
            .attest_with(statement.to_string().as_bytes(), signer, leaf)
    }

    /// Those of the bundles that one of the policy's expectations accepts, judged.
    fn judge(&self, policy: &Value, asked: Asked<'_>, bundles: &[&Bundle]) -> Decision {
        Self::judge_by(&self.sigstore.root(), policy, asked, bundles)
    }

    /// The same by another trusted root.
    fn judge_by(
        root: &TrustedRoot,
        policy: &Value,
        asked: Asked<'_>,
        bundles: &[&Bundle],
    ) -> Decision {
        let policy = Policy::parse(policy.to_string().as_bytes()).unwrap();
        let held: Vec<Verified> = bundles
            .iter()
            .filter_map(|bundle| {
                policy.expectations().iter().find_map(|expect| {
                    let artifact = Artifact::from_bytes(FILE);
                    verify::bundle(bundle, &artifact, root, expect).ok()
                })
            })
            .collect();
        policy.judge(asked, &held.iter().collect::<Vec<_>>())
    }
}

/// Anybody of that house.
fn house(requirements: &Value) -> Value {
    json!({
        "certificateIdentities": { "identities": [
            { "issuer": Sigstore::ISSUER, "san": { "type": "EMAIL", "regexp": ".+@example\\.org" } },
            { "issuer": Sigstore::ISSUER, "san": { "type": "URI", "regexp": "https://github\\.com/o/r/.+" } },
        ] },
        "requirements": requirements,
    })
}

fn codes(decision: &Decision) -> Vec<&'static str> {
    decision
        .considered()
        .iter()
        .filter_map(|considered| considered.why_not.as_ref())
        .map(policy::Why::code)
        .collect()
}

#[test]
fn two_of_many_are_two_people() {
    let scene = Scene::new();
    let two = house(&json!({ "signers": 2 }));
    let (alice, again, bob) = (scene.mail("alice"), scene.mail("alice"), scene.mail("bob"));
    let judge = |bundles: &[&Minted]| {
        let bundles: Vec<&Bundle> = bundles.iter().map(|minted| &minted.bundle).collect();
        scene.judge(&two, Asked::Signature, &bundles)
    };
    assert!(judge(&[&alice, &bob]).is_accepted());
    assert_eq!(judge(&[&alice, &bob]).signers().len(), 2);
    for one in [&[&alice][..], &[&alice, &alice], &[&alice, &again], &[]] {
        let decision = judge(one);
        assert!(!decision.is_accepted());
        assert_eq!(decision.reasons()[0].code(), "too-few-signers");
    }
}

#[test]
fn a_workflow_is_one_signer_on_all_its_branches() {
    let scene = Scene::new();
    let (main, tag) = (
        scene.workflow("refs/heads/main"),
        scene.workflow("refs/tags/v1"),
    );
    let bundles = [&main.bundle, &tag.bundle];
    let two = house(&json!({ "signers": 2 }));
    let decision = scene.judge(&two, Asked::Signature, &bundles);
    assert_eq!(
        decision.reasons()[0].to_string(),
        "signature: 1 distinct signer(s) count, 2 needed"
    );
    let one = house(&json!({ "signers": 1 }));
    assert!(scene.judge(&one, Asked::Signature, &bundles).is_accepted());
    for other in [
        "refs/heads/a@refs/heads/b".to_owned(),
        "0123456789abcdef0123456789abcdef01234567".to_owned(),
        "0123456789ABCDEF".repeat(4),
    ] {
        let other = scene.workflow(&other);
        let decision = scene.judge(&two, Asked::Signature, &[&main.bundle, &other.bundle]);
        assert!(!decision.is_accepted());
    }
}

#[test]
fn keys_and_people_count_together() {
    let scene = Scene::new();
    let (holder, alice) = (scene.mail("nobody"), scene.mail("alice"));
    let spki = STANDARD.encode(holder.signer.public_key().spki_der());
    let policy = |valid_for: Value| {
        json!({
            "certificateIdentities": { "identities": [
                { "issuer": Sigstore::ISSUER, "san": { "value": "alice@example.org" } },
            ] },
            "publicKeys": { "publicKeys": [
                { "rawBytes": spki, "keyDetails": "PKIX_ECDSA_P256_SHA_256", "validFor": valid_for },
            ] },
            "requirements": { "signers": 2 },
        })
    };
    let both = [&alice.bundle, &holder.bundle];
    let judge = |valid: Value| scene.judge(&policy(valid), Asked::Signature, &both);
    assert!(judge(Value::Null).is_accepted());
    assert!(judge(json!({ "start": "2026-01-01T00:00:00Z" })).is_accepted());
    let over = judge(json!({ "start": "2025-01-01T00:00:00Z", "end": "2026-01-01T00:00:00Z" }));
    assert!(!over.is_accepted());
    assert_eq!(codes(&over), ["signer-not-allowed"]);
}

#[test]
fn a_key_is_what_its_policy_says_it_is() {
    let spki = STANDARD.encode(Scene::key().public_key().spki_der());
    let parsed = |member: &str, value: Value| {
        let mut key = json!({ "rawBytes": spki });
        key[member] = value;
        let policy = json!({ "publicKeys": { "publicKeys": [key] } });
        Policy::parse(policy.to_string().as_bytes())
    };
    for fits in [json!("PKIX_ECDSA_P256_SHA_256"), json!(5), json!(0)] {
        assert!(parsed("keyDetails", fits).is_ok());
    }
    for other in [
        json!("PKIX_ED25519"),
        json!(7),
        json!("PKIX_ECDSA"),
        json!(99),
    ] {
        let error = parsed("keyDetails", other).unwrap_err().to_string();
        assert!(error.contains("does not fit the key"), "{error}");
    }
    let error = parsed("validfor", json!({})).unwrap_err().to_string();
    assert!(error.contains("unknown field"), "{error}");
}

#[test]
fn each_required_predicate_type_must_be_there_by_enough_signers() {
    let scene = Scene::new();
    let policy = house(&json!({ "signers": 2, "predicateTypes": [SLSA] }));
    let by = |name: &str, kind: &str| {
        let subject = SubjectName::Email(format!("{name}@example.org"));
        scene.stated(&subject, kind, &json!({}), "")
    };
    let signatures = [scene.mail("alice"), scene.mail("bob")];
    let (first, second) = (by("alice", SLSA), by("bob", SLSA));
    let other = by("bob", "https://spdx.dev/Document");
    let judge = |further: &[&Minted]| {
        let bundles: Vec<&Bundle> = signatures
            .iter()
            .chain(further.iter().copied())
            .map(|minted| &minted.bundle)
            .collect();
        scene.judge(&policy, Asked::Signature, &bundles)
    };
    assert!(judge(&[&first, &second]).is_accepted());
    assert!(!judge(&[&first]).is_accepted());
    let wrong = judge(&[&first, &other]);
    assert!(!wrong.is_accepted());
    assert_eq!(codes(&wrong), ["other-kind"]);
    // Two statements are no two signatures.
    let bundles = [&first.bundle, &second.bundle];
    let unsigned = scene.judge(&policy, Asked::Signature, &bundles);
    assert!(!unsigned.is_accepted());
    // cosign's own statement is one.
    let signed = [by("alice", SIGNATURE), by("bob", SIGNATURE)];
    let bundles = [
        &first.bundle,
        &second.bundle,
        &signed[0].bundle,
        &signed[1].bundle,
    ];
    assert!(
        scene
            .judge(&policy, Asked::Signature, &bundles)
            .is_accepted()
    );
    assert!(
        scene
            .judge(&policy, Asked::Attestation(SLSA), &bundles)
            .is_accepted()
    );
}

#[test]
fn builders_and_sources_must_be_stated_and_allowed() {
    let scene = Scene::new();
    let subject = || SubjectName::Uri(format!("{WORKFLOW}@refs/tags/v1"));
    let slsa = |builder: &str, source: &str| {
        json!({
            "runDetails": { "builder": { "id": builder } },
            "buildDefinition": { "externalParameters": { "workflow": { "repository": source } } },
        })
    };
    let (builder, source) = ("https://builder.example/v1", "https://github.com/o/r");
    let policy = house(&json!({
        "builders": [{ "value": builder }],
        "sourceRepositories": [{ "regexp": "https://github\\.com/o/[^/]+" }],
    }));
    for (predicate, certified, code) in [
        (slsa(builder, source), source, None),
        (slsa(builder, source), "", None),
        (
            slsa("https://other.example", source),
            source,
            Some("builder-not-allowed"),
        ),
        (
            slsa(builder, "https://github.com/evil/r"),
            source,
            Some("source-not-allowed"),
        ),
        (
            slsa(builder, source),
            "https://github.com/evil/r",
            Some("source-not-allowed"),
        ),
        (json!({}), source, Some("builder-not-allowed")),
        (
            json!({ "runDetails": { "builder": { "id": builder } } }),
            "",
            Some("source-not-allowed"),
        ),
        (json!({ "runDetails": 1 }), source, Some("bad-provenance")),
    ] {
        let minted = scene.stated(&subject(), SLSA, &predicate, certified);
        let decision = scene.judge(&policy, Asked::Attestation(SLSA), &[&minted.bundle]);
        assert_eq!(decision.is_accepted(), code.is_none(), "{predicate}");
        assert_eq!(codes(&decision).first().copied(), code, "{predicate}");
    }
    // What states neither is not allowed because nothing speaks against it.
    let silent = scene.workflow("refs/heads/main");
    let decision = scene.judge(&policy, Asked::Signature, &[&silent.bundle]);
    assert_eq!(codes(&decision), ["builder-not-allowed"]);
}

#[test]
fn times_and_thresholds() {
    let scene = Scene::new();
    let alice = scene.mail("alice");
    let judge = |policy: &Value| {
        let decision = scene.judge(policy, Asked::Signature, &[&alice.bundle]);
        (decision.is_accepted(), codes(&decision).first().copied())
    };
    for (requirements, code) in [
        (
            json!({ "notBefore": "2026-06-01T13:00:00Z", "notAfter": "2026-06-01T13:00:00Z" }),
            None,
        ),
        (
            json!({ "notBefore": "2026-06-01T13:00:01Z" }),
            Some("outside-time-window"),
        ),
        (
            json!({ "notAfter": "2026-06-01T12:59:59Z" }),
            Some("outside-time-window"),
        ),
    ] {
        assert_eq!(judge(&house(&requirements)), (code.is_none(), code));
    }
    for (member, holds) in [
        ("tlogOptions", 1),
        ("ctlogOptions", 1),
        ("tsaOptions", 1),
        ("integratedTsOptions", 0),
        ("observerOptions", 1),
    ] {
        for threshold in 1..=2 {
            let mut policy = house(&Value::Null);
            policy[member] = json!({ "threshold": threshold });
            let (accepted, code) = judge(&policy);
            assert_eq!(accepted, threshold <= holds, "{member} {threshold}");
            assert_eq!(code.is_some(), !accepted, "{member} {threshold}");
        }
    }
}

/// Logs, CT logs, timestamp authorities and promises, two of each: they are as many as those who run them.
#[test]
fn one_operator_is_one_witness_however_many_services_it_runs() {
    let scene = Scene::new();
    let sigstore = &scene.sigstore;
    let since = Validity::since(sigstore.since);
    let (log, tsa) = (Log::new("second.example.org"), Tsa::new(sigstore.since));
    let ct = testkit::CtLog::default();
    let promising = ["https://one.example.org", "https://two.example.org"].map(PromisingLog::new);
    let signer = Scene::key();
    let subject = SubjectName::Email("alice@example.org".into());
    let leaf = scene.leaf(&subject, &signer);
    let leaf = sigstore.ca.issue(leaf, SctList::Of(&[&sigstore.ct, &ct]));
    let mut bundle = sigstore.sign_with(FILE, signer, leaf.clone()).bundle;
    let first = bundle.entries[0].clone();
    bundle
        .entries
        .push(log.add(&first.kind, &first.version, &first.body));
    let signature = bundle.content.signature().to_vec();
    bundle.timestamps.push(tsa.stamp(&signature, sigstore.now));
    let by = entry::Verifier::Certificate(leaf);
    for log in &promising {
        bundle
            .entries
            .push(log.hashedrekord(FILE, &signature, &by, sigstore.now));
    }
    let root = |operators: [&str; 2]| {
        let mut root = sigstore.root();
        root.tlogs.push(log.trusted(since));
        root.tlogs
            .extend(promising.iter().map(|log| log.trusted(since)));
        root.ctlogs
            .push(ct.trusted("https://ct.example.org", since));
        let tsa = tsa.trusted("https://tsa.example.net", since);
        root.timestamp_authorities.push(tsa);
        let all = root.tlogs.iter_mut().chain(&mut root.ctlogs);
        for (place, log) in all.enumerate() {
            log.operator = operators[place % 2].to_owned();
        }
        for (authority, operator) in root.timestamp_authorities.iter_mut().zip(operators) {
            authority.operator = operator.to_owned();
        }
        root
    };
    let judge = |operators: [&str; 2], member: &str, threshold: usize| {
        let mut policy = house(&Value::Null);
        policy[member] = json!({ "threshold": threshold });
        Scene::judge_by(&root(operators), &policy, Asked::Signature, &[&bundle])
    };
    for member in [
        "tlogOptions",
        "ctlogOptions",
        "tsaOptions",
        "integratedTsOptions",
        "observerOptions",
    ] {
        assert!(judge(["one", "two"], member, 2).is_accepted(), "{member}");
        assert!(!judge(["one", "two"], member, 3).is_accepted(), "{member}");
        // Of the same operator; by nobody's word of two; of one and somebody who may be the same.
        for operators in [["one", "one"], ["", ""], ["one", ""], ["", "two"]] {
            assert!(judge(operators, member, 1).is_accepted(), "{member}");
            let decision = judge(operators, member, 2);
            assert!(!decision.is_accepted(), "{member} {operators:?}");
            assert_eq!(codes(&decision), ["too-few-witnesses"]);
        }
    }
    let decision = judge(["", ""], "tsaOptions", 2);
    assert_eq!(
        decision.considered()[0]
            .why_not
            .as_ref()
            .unwrap()
            .to_string(),
        "1 timestamp authorit(ies) of distinct operators, 2 needed (for 2 of them the trusted root names no operator, and they are not known to be of several)"
    );
}

#[test]
fn what_the_certificate_must_say_is_compared_byte_by_byte() {
    let scene = Scene::new();
    let subject = SubjectName::Uri(format!("{WORKFLOW}@refs/tags/v1"));
    let minted = scene.stated(&subject, SLSA, &json!({}), "https://github.com/o/r");
    let policy = |kind: &str, arc: u32, value: &[u8]| {
        json!({ "certificateIdentities": { "identities": [{
            "issuer": Sigstore::ISSUER,
            "san": { "type": kind, "value": format!("{WORKFLOW}@refs/tags/v1") },
            "oids": [{ "oid": { "id": [1, 3, 6, 1, 4, 1, 57264, 1, arc] }, "value": STANDARD.encode(value) }],
        }] } })
    };
    let judge = |policy: &Value| {
        scene
            .judge(policy, Asked::Any, &[&minted.bundle])
            .is_accepted()
    };
    let source = b"https://github.com/o/r";
    let der = [&[0x0c, 22][..], source].concat();
    assert!(judge(&policy("URI", 12, source)));
    assert!(judge(&policy("URI", 12, &der)));
    assert!(judge(&policy("URI", 1, Sigstore::ISSUER.as_bytes())));
    assert!(!judge(&policy("URI", 12, b"https://github.com/o/other")));
    assert!(!judge(&policy("URI", 13, source)));
    assert!(!judge(&policy("EMAIL", 12, source)));
}

#[test]
fn a_quorum_of_witnesses() {
    let scene = Scene::new();
    let keys: Vec<(CosignerKey, Signer)> = ["w.example/one", "w.example/two"]
        .into_iter()
        .map(|name| {
            let signer = Signer::generate(Algorithm::Ed25519).unwrap();
            let key = CosignerKey::ed25519(name, signer.public_key().clone()).unwrap();
            (key, signer)
        })
        .collect();
    let policy = |threshold: &str| {
        let mut lines: Vec<String> = keys
            .iter()
            .enumerate()
            .map(|(place, (key, _))| format!("witness w{place} {}", key.to_vkey()))
            .collect();
        lines.push(format!("group all {threshold} w0 w1"));
        lines.push("quorum all".into());
        house(&json!({ "witnesses": lines }))
    };
    let alice = scene.mail("alice");
    let cosigned = |witnesses: &[usize], break_it: bool| {
        let mut bundle = alice.bundle.clone();
        let proof = bundle.entries[0].proof.as_mut().unwrap();
        let mut note = Note::parse(proof.checkpoint.as_bytes()).unwrap();
        for place in witnesses {
            let (key, signer) = &keys[*place];
            let prepared = key.prepare(&note, 1_780_000_000).unwrap();
            let signature = signer.sign_local(prepared.to_be_signed()).unwrap();
            note = note.with_signatures([prepared.seal(&signature).unwrap().line()]);
        }
        proof.checkpoint = String::from_utf8(note.to_bytes()).unwrap();
        if break_it {
            // The log's own line stays whole.
            let text = proof.checkpoint.trim_end().to_owned();
            let (head, last) = text.rsplit_once('\n').unwrap();
            let mut line = last.to_owned();
            let at = line.len() - 20;
            let other = if &line[at..=at] == "A" { "B" } else { "A" };
            line.replace_range(at..=at, other);
            proof.checkpoint = format!("{head}\n{line}\n");
        }
        bundle
    };
    let judge = |threshold: &str, bundle: &Bundle| {
        let decision = scene.judge(&policy(threshold), Asked::Signature, &[bundle]);
        (decision.is_accepted(), codes(&decision).first().copied())
    };
    let refused = (false, Some("no-witness-quorum"));
    assert_eq!(judge("all", &cosigned(&[0, 1], false)), (true, None));
    assert_eq!(judge("all", &cosigned(&[0], false)), refused);
    assert_eq!(judge("any", &cosigned(&[1], false)), (true, None));
    assert_eq!(judge("any", &cosigned(&[], false)), refused);
    assert_eq!(judge("any", &cosigned(&[1], true)), refused);
}

#[test]
fn what_is_no_policy_is_refused_with_its_reason() {
    let person = json!({ "identities": [{ "issuer": "i", "san": { "value": "a" } }] });
    let with =
        |member: &str, value: Value| json!({ "certificateIdentities": person, member: value });
    let requiring = |value: Value| with("requirements", value);
    let san = |san: Value| json!({ "certificateIdentities": { "identities": [{ "issuer": "i", "san": san }] } });
    for (policy, expected) in [
        (json!({}), "names nobody"),
        (json!({ "requirements": { "signers": 1 } }), "names nobody"),
        (
            json!({ "certificateIdentities": { "identities": [] } }),
            "has 0 items",
        ),
        (json!({ "publicKeys": { "publicKeys": [] } }), "has 0 items"),
        (
            json!({ "certificateIdentities": { "identities": [{ "issuer": "", "san": { "value": "a" } }] } }),
            "issuer is empty",
        ),
        (san(json!({})), "exactly one of value and regexp"),
        (
            san(json!({ "value": "" })),
            "exactly one of value and regexp",
        ),
        (
            san(json!({ "value": "a", "regexp": "a" })),
            "exactly one of value and regexp",
        ),
        (san(json!({ "regexp": "(" })), "no regular expression"),
        (san(json!({ "type": "DNS", "value": "a" })), "san.type"),
        (with("unknown", json!(1)), "unknown field"),
        (with("tlogOptions", json!({})), "it says nothing"),
        (
            with("tlogOptions", json!({ "threshold": 0 })),
            "is 0, expected",
        ),
        (
            with("tlogOptions", json!({ "threshold": -1 })),
            "is -1, expected",
        ),
        (
            with("tlogOptions", json!({ "disable": true })),
            "proves nothing without a log",
        ),
        (
            with(
                "tlogOptions",
                json!({ "threshold": 1, "performOnlineVerification": true }),
            ),
            "no log is asked",
        ),
        (
            with("ctlogOptions", json!({ "disable": true })),
            "no CT log has seen",
        ),
        (
            with("tsaOptions", json!({ "threshold": 1, "disable": true })),
            "exclude one another",
        ),
        (requiring(json!({ "signers": 0 })), "is 0, expected"),
        (
            requiring(json!({ "signers": 2 })),
            "only 1 signer(s) are named",
        ),
        (
            // One workflow on two refs, which is one signer.
            json!({
                "certificateIdentities": { "identities": [
                    { "issuer": "i", "san": { "value": format!("{WORKFLOW}@refs/heads/main") } },
                    { "issuer": "i", "san": { "value": format!("{WORKFLOW}@refs/tags/v1") } },
                ] },
                "requirements": { "signers": 2 },
            }),
            "only 1 signer(s) are named",
        ),
        (requiring(json!({ "predicateTypes": [] })), "has 0 items"),
        (requiring(json!({ "builders": [] })), "has 0 items"),
        (
            requiring(json!({ "builders": [{}] })),
            "exactly one of value and regexp",
        ),
        (
            requiring(json!({ "sourceRepositories": [] })),
            "has 0 items",
        ),
        (
            requiring(
                json!({ "notBefore": "2026-02-01T00:00:00Z", "notAfter": "2026-01-01T00:00:00Z" }),
            ),
            "is before notBefore",
        ),
        (requiring(json!({ "witnesses": [] })), "no quorum line"),
        (
            requiring(json!({ "witnesses": ["quorum none"] })),
            "its quorum is none",
        ),
        (requiring(json!({ "nonsense": true })), "unknown field"),
    ] {
        let error = Policy::parse(policy.to_string().as_bytes()).unwrap_err();
        assert!(error.to_string().contains(expected), "{policy}: {error}");
    }
    let long = vec![b' '; policy::MAX_POLICY + 1];
    assert!(matches!(
        Policy::parse(&long),
        Err(policy::PolicyError::TooLong(_))
    ));
    let twice = br#"{"publicKeys": null, "publicKeys": null}"#;
    assert!(
        Policy::parse(twice)
            .unwrap_err()
            .to_string()
            .contains("duplicate")
    );
}
