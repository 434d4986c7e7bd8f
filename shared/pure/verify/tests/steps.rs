//! A bundle that holds, with one thing broken at a time: for each step there is one that only this step refuses.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a panic is the failure report"
)]

use bundle::{Bundle, Content, Signer as Who};
use entry::Verifier;
use jiff::SignedDuration;
use keys::{Algorithm, Digest, HashAlgorithm};
use pki::{Field, SubjectName};
use signer::Signer;
use testkit::{Ca, CtLog, Log, Minted, SctList, Sigstore, Tsa, statement};
use tlog::{LeafIndex, TreeHead, TreeSize, hash};
use trust::{TrustedRoot, Validity};
use verify::{
    Artifact, Expect, Identities, IdentityPolicy, Matcher, Step, StepOutcome, Verified, VerifyError,
};

const FILE: &[u8] = b"the artifact\n";

fn policy(subject: &str) -> IdentityPolicy {
    IdentityPolicy {
        subject: Matcher::Exact(subject.to_owned()),
        issuer: Matcher::Exact(Sigstore::ISSUER.to_owned()),
        extensions: Vec::new(),
    }
}

fn alice() -> Expect {
    Expect::Identity(policy(Sigstore::SUBJECT))
}

fn verify(bundle: &Bundle, root: &TrustedRoot) -> Result<Verified, VerifyError> {
    verify::bundle(bundle, &Artifact::from_bytes(FILE), root, &alice())
}

/// Step and reason of the refusal.
#[track_caller]
fn refused(outcome: Result<Verified, VerifyError>) -> (Step, &'static str) {
    let error = outcome.expect_err("a broken bundle was accepted");
    (error.step(), error.code())
}

#[test]
fn what_is_minted_holds() {
    let sigstore = Sigstore::default();
    let minted = sigstore.sign(FILE);
    let verified = verify(&minted.bundle, &sigstore.root()).unwrap();
    let identity = verified.identity().unwrap();
    assert_eq!(identity.subject().value(), Sigstore::SUBJECT);
    assert_eq!(identity.issuer(), Sigstore::ISSUER);
    assert_eq!(verified.times().len(), 1);
    assert_eq!(verified.times()[0].time, sigstore.now);
    assert_eq!(verified.entries().len(), 1);
    assert!(verified.entries()[0].is_proven());
    let digest = Digest::of(HashAlgorithm::Sha256, FILE);
    assert_eq!(verified.digest(), Some(&digest));
    // Also after a trip through its JSON, by digest alone, by key, and by the very certificate.
    let read = Bundle::parse(&minted.bundle.to_json().unwrap()).unwrap();
    assert_eq!(read, minted.bundle);
    for expect in [
        alice(),
        Expect::Key(minted.signer.public_key().clone()),
        Expect::ExactCertificate(minted.leaf),
    ] {
        let artifact = Artifact::from_digest(digest);
        verify::bundle(&read, &artifact, &sigstore.root(), &expect).unwrap();
    }
}

#[test]
fn a_statement_holds_for_its_subject_only() {
    let sigstore = Sigstore::default();
    let minted = sigstore.attest(&statement(&Digest::of(HashAlgorithm::Sha256, FILE)));
    let verified = verify(&minted.bundle, &sigstore.root()).unwrap();
    assert_eq!(
        verified.statement().unwrap().predicate_type,
        "https://example.org/predicate/v1"
    );
    let other = Artifact::from_bytes(b"other");
    assert_eq!(
        refused(verify::bundle(
            &minted.bundle,
            &other,
            &sigstore.root(),
            &alice()
        )),
        (Step::Signature, "wrong-subject")
    );
}

#[test]
fn record() {
    let sigstore = Sigstore::default();
    let good = sigstore.sign(FILE).bundle;
    let root = sigstore.root();
    let broken = |change: &dyn Fn(&mut Bundle)| {
        let mut bundle = good.clone();
        change(&mut bundle);
        refused(verify(&bundle, &root))
    };
    let proof = |bundle: &mut Bundle, change: &dyn Fn(&mut entry::InclusionProof)| {
        change(bundle.entries[0].proof.as_mut().unwrap());
    };

    assert_eq!(
        broken(&|bundle| bundle.entries.clear()),
        (Step::Record, "no-log-entry")
    );
    assert_eq!(
        broken(&|bundle| bundle.entries[0].log_id = vec![0; 32]),
        (Step::Record, "no-log-entry")
    );
    assert_eq!(
        broken(&|bundle| bundle.entries.push(good.entries[0].clone())),
        (Step::Record, "duplicate-log-entry")
    );
    assert_eq!(
        broken(&|bundle| bundle.entries[0].proof = None),
        (Step::Record, "log-entry-unproven")
    );
    assert_eq!(
        broken(&|bundle| bundle.entries[0].index += 1),
        (Step::Record, "log-entry-unproven"),
        "an index that nothing proves"
    );
    assert_eq!(
        broken(&|bundle| bundle.entries[0].promise = Some(vec![1])),
        (Step::Record, "log-entry-unproven"),
        "a promise without a time"
    );
    assert_eq!(
        broken(&|bundle| {
            bundle.entries[0].promise = Some(vec![1]);
            bundle.entries[0].integrated_time = Some(sigstore.now);
        }),
        (Step::Record, "bad-promise")
    );
    assert_eq!(
        broken(&|bundle| proof(bundle, &|proof| proof.hashes[0] = hash::EMPTY)),
        (Step::Record, "bad-inclusion-proof")
    );
    assert_eq!(
        broken(&|bundle| proof(bundle, &|proof| proof.index = LeafIndex::new(6))),
        (Step::Record, "bad-inclusion-proof")
    );
    assert_eq!(
        broken(&|bundle| proof(bundle, &|proof| {
            proof.size = TreeSize::new(proof.size.get() + 1);
        })),
        (Step::Record, "proof-for-other-tree")
    );
    assert_eq!(
        broken(&|bundle| bundle.entries[0].body.push(b' ')),
        (Step::Record, "bad-inclusion-proof")
    );
    assert_eq!(
        broken(&|bundle| proof(bundle, &|proof| {
            let forger = Log::new("rekor.example.org");
            proof.checkpoint = forger.checkpoint(TreeHead {
                size: proof.size,
                root: proof.root,
            });
        })),
        (Step::Record, "bad-checkpoint")
    );
    // Another tree that the log did sign.
    let mut other = good.clone();
    let checkpoint = sigstore.sign(FILE).bundle.entries[0]
        .proof
        .clone()
        .unwrap()
        .checkpoint;
    proof(&mut other, &|proof| {
        proof.checkpoint.clone_from(&checkpoint);
    });
    assert_eq!(
        refused(verify(&other, &root)),
        (Step::Record, "proof-for-other-tree")
    );
}

#[test]
fn an_entry_of_an_unknown_log_counts_for_nothing() {
    let sigstore = Sigstore::default();
    let mut bundle = sigstore.sign(FILE).bundle;
    let stranger = Log::new("stranger.example.org").add("hashedrekord", "0.0.2", b"{}");
    bundle.entries.push(stranger.clone());
    let verified = verify(&bundle, &sigstore.root()).unwrap();
    assert_eq!(verified.entries().len(), 1);
    bundle.entries = vec![stranger];
    assert_eq!(
        refused(verify(&bundle, &sigstore.root())),
        (Step::Record, "no-log-entry")
    );
}

#[test]
fn time() {
    let sigstore = Sigstore::default();
    let good = sigstore.sign(FILE).bundle;
    let root = sigstore.root();
    let broken = |change: &dyn Fn(&mut Bundle)| {
        let mut bundle = good.clone();
        change(&mut bundle);
        refused(verify(&bundle, &root))
    };
    assert_eq!(
        broken(&|bundle| bundle.timestamps.clear()),
        (Step::Time, "no-time"),
        "nobody states a time, which only a certificate needs"
    );
    assert_eq!(
        broken(&|bundle| bundle.timestamps = vec![sigstore.tsa.stamp(b"other", sigstore.now)]),
        (Step::Time, "bad-timestamp")
    );
    assert_eq!(
        broken(&|bundle| {
            let stranger = Tsa::new(sigstore.since);
            let stamp = stranger.stamp(good.content.signature(), sigstore.now);
            // Each one that is there must hold, also beside a good one.
            bundle.timestamps.push(stamp);
        }),
        (Step::Time, "bad-timestamp")
    );
    let mut expired = sigstore.root();
    expired.timestamp_authorities[0].validity.end =
        Some(sigstore.now - SignedDuration::from_secs(1));
    assert_eq!(
        refused(verify(&good, &expired)),
        (Step::Time, "timestamp-authority-not-valid")
    );
    let mut closed = sigstore.root();
    closed.timestamp_authorities[0].validity.end = Some(sigstore.now);
    verify(&good, &closed).expect("validity includes its last moment");
    let mut retired = sigstore.root();
    retired.tlogs[0].validity.end = Some(sigstore.now - SignedDuration::from_secs(1));
    assert_eq!(refused(verify(&good, &retired)).1, "log-not-valid");
}

#[test]
fn leaf() {
    let sigstore = Sigstore::default();
    let root = sigstore.root();
    let signer = Signer::generate(Algorithm::EcdsaP256Sha256).unwrap();
    let signed = |leaf| sigstore.sign_with(FILE, signer.clone(), leaf).bundle;
    let outcome = |bundle: &Bundle| refused(verify(bundle, &root));

    let mut early = sigstore.leaf(&signer);
    early.not_after = sigstore.now - SignedDuration::from_secs(1);
    assert_eq!(
        outcome(&signed(sigstore.issue(early))),
        (Step::Leaf, "bad-certificate")
    );
    let mut late = sigstore.leaf(&signer);
    late.not_before = sigstore.now + SignedDuration::from_secs(1);
    assert_eq!(
        outcome(&signed(sigstore.issue(late))),
        (Step::Leaf, "bad-certificate")
    );
    let mut last_moment = sigstore.leaf(&signer);
    last_moment.not_after = sigstore.now;
    verify(&signed(sigstore.issue(last_moment)), &root).expect("validity includes its last moment");

    let forger = Ca::new(sigstore.since);
    let forged = forger.issue(sigstore.leaf(&signer), SctList::Of(&[&sigstore.ct]));
    assert_eq!(outcome(&signed(forged)), (Step::Leaf, "bad-certificate"));

    let unseen = sigstore.ca.issue(sigstore.leaf(&signer), SctList::None);
    assert_eq!(outcome(&signed(unseen)), (Step::Leaf, "bad-sct"));
    let stranger = CtLog::default();
    let elsewhere = sigstore
        .ca
        .issue(sigstore.leaf(&signer), SctList::Of(&[&stranger]));
    assert_eq!(outcome(&signed(elsewhere)), (Step::Leaf, "bad-sct"));
    let both = sigstore.ca.issue(
        sigstore.leaf(&signer),
        SctList::Of(&[&stranger, &sigstore.ct]),
    );
    verify(&signed(both), &root).expect("one known log is enough");

    let good = sigstore.sign(FILE).bundle;
    let mut retired = sigstore.root();
    retired.authorities[0].validity.end = Some(sigstore.now - SignedDuration::from_secs(1));
    assert_eq!(
        refused(verify(&good, &retired)),
        (Step::Leaf, "no-certificate-authority")
    );
    let mut unlisted = sigstore.root();
    unlisted.ctlogs[0].validity = Validity::since(sigstore.now);
    assert_eq!(refused(verify(&good, &unlisted)), (Step::Leaf, "bad-sct"));
}

#[test]
fn signature() {
    let sigstore = Sigstore::default();
    let root = sigstore.root();
    let Minted { bundle, leaf, .. } = sigstore.sign(FILE);
    let other = Artifact::from_bytes(b"other");
    assert_eq!(
        refused(verify::bundle(&bundle, &other, &root, &alice())),
        (Step::Signature, "digest-mismatch")
    );
    let mut without_hint = bundle.clone();
    if let Content::Message { digest, .. } = &mut without_hint.content {
        *digest = None;
    }
    verify(&without_hint, &root).expect("the hint may be missing");
    assert_eq!(
        refused(verify::bundle(&without_hint, &other, &root, &alice())),
        (Step::Signature, "bad-signature")
    );
    let sha512 = Artifact::from_digest(Digest::of(HashAlgorithm::Sha512, FILE));
    assert_eq!(
        refused(verify::bundle(&without_hint, &sha512, &root, &alice())),
        (Step::Signature, "needs-artifact")
    );
    // Somebody else's signature, stamped and recorded, under Alice's certificate.
    let thief = Signer::generate(Algorithm::EcdsaP256Sha256).unwrap();
    let mut stolen = sigstore
        .sign_with(FILE, thief.clone(), sigstore.issue(sigstore.leaf(&thief)))
        .bundle;
    stolen.signer = Who::Certificate {
        leaf,
        intermediates: Vec::new(),
    };
    assert_eq!(
        refused(verify(&stolen, &root)),
        (Step::Signature, "bad-signature")
    );
}

#[test]
fn binding() {
    let sigstore = Sigstore::default();
    let root = sigstore.root();
    let minted = sigstore.sign(FILE);
    let digest = Digest::of(HashAlgorithm::Sha256, FILE);
    let certificate = Verifier::Certificate(minted.leaf.clone());
    let with = |entry| {
        let mut bundle = minted.bundle.clone();
        bundle.entries = vec![entry];
        refused(verify(&bundle, &root))
    };
    // Each entry is a true one of the log: about another signature, another artifact, and the key without its certificate.
    let again = minted.signer.sign_local(FILE).unwrap();
    let elsewhere = minted.signer.sign_local(b"other").unwrap();
    let other = Digest::of(HashAlgorithm::Sha256, b"other");
    let signature = minted.bundle.content.signature();
    let bare = Verifier::Key(minted.signer.public_key().clone());
    for entry in [
        sigstore.record(&digest, &again, certificate.clone()),
        sigstore.record(&other, &elsewhere, certificate),
        sigstore.record(&digest, signature, bare),
    ] {
        assert_eq!(with(entry), (Step::Binding, "log-entry-mismatch"));
    }
    assert_eq!(
        with(sigstore.log.add("hashedrekord", "0.0.2", b"{}")),
        (Step::Binding, "bad-log-entry")
    );
    assert_eq!(
        with(sigstore.log.add("rpm", "0.0.1", b"{}")),
        (Step::Binding, "bad-log-entry")
    );
    // Among several entries each must be about this signature.
    let mut two = minted.bundle.clone();
    let again = minted.signer.sign_local(FILE).unwrap();
    two.entries
        .push(sigstore.record(&digest, &again, Verifier::Certificate(minted.leaf.clone())));
    assert_eq!(
        refused(verify(&two, &root)),
        (Step::Binding, "log-entry-mismatch")
    );
}

#[test]
fn identity() {
    let sigstore = Sigstore::default();
    let root = sigstore.root();
    let artifact = Artifact::from_bytes(FILE);
    let bundle = sigstore.sign(FILE).bundle;
    let expecting = |policy| {
        refused(verify::bundle(
            &bundle,
            &artifact,
            &root,
            &Expect::Identity(policy),
        ))
    };
    assert_eq!(
        expecting(policy("mallory@example.org")),
        (Step::Identity, "wrong-identity")
    );
    let mut issuer = policy(Sigstore::SUBJECT);
    issuer.issuer = Matcher::Exact("https://other.example.org".into());
    assert_eq!(expecting(issuer), (Step::Identity, "wrong-issuer"));
    let mut extension = policy(Sigstore::SUBJECT);
    extension.extensions = vec![(
        Field::all()
            .find(|field| field.number() == 12)
            .expect("source repository URI"),
        Matcher::Exact("https://example.org/repository".into()),
    )];
    assert_eq!(expecting(extension), (Step::Identity, "wrong-extension"));
    let mut pattern = policy(Sigstore::SUBJECT);
    pattern.subject = Matcher::pattern("alice").unwrap();
    assert_eq!(
        expecting(pattern),
        (Step::Identity, "wrong-identity"),
        "a pattern must match all of it"
    );

    let stranger = Signer::generate(Algorithm::EcdsaP256Sha256).unwrap();
    let of = |expect: &Expect| refused(verify::bundle(&bundle, &artifact, &root, expect));
    assert_eq!(
        of(&Expect::Key(stranger.public_key().clone())),
        (Step::Leaf, "wrong-key")
    );
    let others = sigstore.issue(sigstore.leaf(&stranger));
    assert_eq!(
        of(&Expect::ExactCertificate(others)),
        (Step::Identity, "wrong-certificate")
    );
    let mut keyed = bundle.clone();
    keyed.signer = Who::Key {
        hint: "hint".into(),
    };
    assert_eq!(
        refused(verify(&keyed, &root)),
        (Step::Leaf, "no-certificate")
    );

    // A certificate without an issuer names nobody.
    let signer = Signer::generate(Algorithm::EcdsaP256Sha256).unwrap();
    let mut anonymous = sigstore.leaf(&signer);
    anonymous.extensions = pki::FulcioExtensions::default();
    anonymous.subject = SubjectName::Email(Sigstore::SUBJECT.into());
    let anonymous = sigstore.issue(anonymous);
    let bundle = sigstore.sign_with(FILE, signer, anonymous).bundle;
    assert_eq!(
        refused(verify(&bundle, &root)),
        (Step::Identity, "no-identity")
    );
}

#[test]
fn one_of_several_identities_is_enough_and_the_nearest_miss_is_told() {
    let sigstore = Sigstore::default();
    let minted = sigstore.sign(FILE);
    let artifact = Artifact::from_bytes(FILE);
    let mut elsewhere = policy(Sigstore::SUBJECT);
    elsewhere.issuer = Matcher::Exact("https://other.example".into());
    let against = |policies: Vec<IdentityPolicy>| {
        let expect = Expect::AnyOf(Identities::new(policies).unwrap());
        verify::bundle(&minted.bundle, &artifact, &sigstore.root(), &expect)
    };
    against(vec![policy("bob@example.org"), policy(Sigstore::SUBJECT)]).unwrap();
    assert_eq!(
        refused(against(vec![policy("bob@example.org"), elsewhere.clone()])),
        (Step::Identity, "wrong-identity")
    );
    let mut with_extension = policy(Sigstore::SUBJECT);
    with_extension
        .extensions
        .push((Field::BuildTrigger, Matcher::Exact("push".into())));
    assert_eq!(
        refused(against(vec![policy("bob@example.org"), with_extension])),
        (Step::Identity, "wrong-extension")
    );
    let nobody = against(vec![policy("bob@example.org"), policy("carol@example.org")]).unwrap_err();
    assert_eq!(
        nobody.to_string(),
        "signed by alice@example.org, expected bob@example.org or carol@example.org (issuer matches)"
    );
    // Whoever is expected of one issuer is not expected of another one.
    let mut bob_elsewhere = elsewhere;
    bob_elsewhere.subject = Matcher::Exact("bob@example.org".into());
    refused(against(vec![bob_elsewhere, policy("carol@example.org")]));
}

#[test]
fn a_verification_is_told_step_by_step() {
    let sigstore = Sigstore::default();
    let good = sigstore.sign(FILE).bundle;
    let artifact = Artifact::from_bytes(FILE);
    let told = |bundle: &Bundle, artifact: &Artifact, expect: &Expect| {
        let (outcome, trace) = verify::explain(bundle, artifact, &sigstore.root(), expect);
        let steps: Vec<Step> = trace.steps().iter().map(|told| told.step).collect();
        assert_eq!(
            steps,
            [
                Step::Record,
                Step::Time,
                Step::Leaf,
                Step::Signature,
                Step::Binding,
                Step::Identity
            ]
        );
        (outcome.map_err(|error| (error.step(), error.code())), trace)
    };
    let (outcome, trace) = told(&good, &artifact, &alice());
    outcome.unwrap();
    assert!(
        trace
            .steps()
            .iter()
            .all(|told| told.outcome == StepOutcome::Held && !told.facts.is_empty())
    );
    let identity = &trace.steps()[5];
    assert!(
        identity
            .facts
            .iter()
            .any(|fact| fact.name == "subject" && fact.value == Sigstore::SUBJECT)
    );
    let bob = Expect::Identity(policy("bob@example.org"));
    let mut unknown_log = good.clone();
    unknown_log.entries[0].log_id = vec![0; 32];
    let mut changed = good.clone();
    changed.timestamps[0] = vec![0x30, 0];
    for (bundle, artifact, expect, at) in [
        (&good, &artifact, &bob, 5),
        (&good, &Artifact::from_bytes(b"other"), &alice(), 3),
        (&changed, &artifact, &alice(), 1),
        (&unknown_log, &artifact, &alice(), 0),
    ] {
        let (outcome, trace) = told(bundle, artifact, expect);
        let (step, code) = outcome.unwrap_err();
        for (place, told) in trace.steps().iter().enumerate() {
            match place.cmp(&at) {
                std::cmp::Ordering::Less => assert_eq!(told.outcome, StepOutcome::Held),
                std::cmp::Ordering::Equal => {
                    assert_eq!(told.step, step);
                    let StepOutcome::Refused { code: told, why } = &told.outcome else {
                        panic!("{told:?}")
                    };
                    assert_eq!(*told, code);
                    assert!(!why.is_empty());
                }
                std::cmp::Ordering::Greater => assert_eq!(told.outcome, StepOutcome::NotReached),
            }
        }
        assert!(
            trace.claims().iter().any(|fact| fact.name == "subject"),
            "what the bundle claims is told also where nothing holds"
        );
    }
}

#[test]
fn who_vouches_is_in_the_result() {
    let sigstore = Sigstore::default();
    let minted = sigstore.sign(FILE);
    let verified = verify(&minted.bundle, &sigstore.root()).unwrap();
    assert_eq!(verified.key(), minted.signer.public_key());
    let certified = verified.certified().unwrap();
    assert_eq!(certified.certificate(), &minted.leaf);
    assert_eq!(certified.authority(), "https://fulcio.example.org");
    assert_eq!(certified.ct_logs().len(), 1);
    assert_eq!(certified.ct_logs()[0].url, "https://ctlog.example.org");
    let seen = verified.entries()[0].checkpoint().unwrap();
    assert_eq!(seen.origin(), "rekor.example.org");
    // Seven entries were there before.
    assert_eq!(seen.size(), 8);
    assert!(seen.note().starts_with("rekor.example.org\n8\n"));
}

/// Of an authority of one's own, which asks no CT log and writes down no provider.
#[test]
fn a_certificate_in_no_ct_log_holds_only_where_none_is_asked_for() {
    let sigstore = Sigstore::default();
    let root = sigstore.root();
    let unwatched = |subject: &str, issuer: &str| {
        let identities = Identities::new(vec![IdentityPolicy {
            subject: Matcher::Exact(subject.to_owned()),
            issuer: Matcher::pattern(issuer).unwrap(),
            extensions: Vec::new(),
        }]);
        Expect::UnwatchedCertificate(identities.unwrap())
    };
    let minted = |named: bool, scts: SctList<'_>| {
        let signer = Signer::generate(Algorithm::EcdsaP256Sha256).unwrap();
        let mut leaf = sigstore.leaf(&signer);
        if !named {
            leaf.extensions = pki::FulcioExtensions::default();
        }
        let leaf = sigstore.ca.issue(leaf, scts);
        sigstore.sign_with(FILE, signer, leaf).bundle
    };
    let judge = |bundle: &Bundle, root: &TrustedRoot, expect: &Expect| {
        verify::bundle(bundle, &Artifact::from_bytes(FILE), root, expect)
    };
    let bundle = minted(true, SctList::None);
    assert_eq!(
        refused(judge(&bundle, &root, &alice())),
        (Step::Leaf, "bad-sct")
    );
    let held = judge(
        &bundle,
        &root,
        &unwatched(Sigstore::SUBJECT, Sigstore::ISSUER),
    );
    assert_eq!(held.unwrap().certified().unwrap().ct_logs(), []);
    let nameless = minted(false, SctList::None);
    let held = judge(&nameless, &root, &unwatched(Sigstore::SUBJECT, "^$"));
    assert_eq!(held.unwrap().identity().unwrap().issuer(), "");
    // Everything else is asked as ever.
    for (bundle, subject, issuer, reason) in [
        (&bundle, Sigstore::SUBJECT, "^$", "wrong-issuer"),
        (&bundle, "bob@example.org", ".*", "wrong-identity"),
        (&nameless, Sigstore::SUBJECT, ".+", "wrong-issuer"),
    ] {
        let outcome = judge(bundle, &root, &unwatched(subject, issuer));
        assert_eq!(refused(outcome), (Step::Identity, reason));
    }
    let mut strange = root.clone();
    strange.authorities = Sigstore::default().root().authorities;
    let outcome = judge(&bundle, &strange, &unwatched(Sigstore::SUBJECT, ".*"));
    assert_eq!(refused(outcome), (Step::Leaf, "bad-certificate"));
    let mut untimed = bundle.clone();
    untimed.timestamps.clear();
    let outcome = judge(&untimed, &root, &unwatched(Sigstore::SUBJECT, ".*"));
    assert_eq!(refused(outcome).1, "no-time");
    // An SCT that is there has to hold; one of a log that nobody knows says nothing.
    let watched = minted(true, SctList::Of(&[&sigstore.ct]));
    let mut other_key = root.clone();
    let other =
        CtLog::default().trusted("https://ctlog.example.org", Validity::since(sigstore.since));
    other_key.ctlogs[0].key = other.key;
    let outcome = judge(&watched, &other_key, &unwatched(Sigstore::SUBJECT, ".*"));
    assert_eq!(refused(outcome), (Step::Leaf, "bad-sct"));
    let mut unknown = root;
    unknown.ctlogs.clear();
    judge(&watched, &unknown, &unwatched(Sigstore::SUBJECT, ".*")).unwrap();
}
