//! Signatures and attestations of before cosign 3, with one thing broken at a time; among them those that older verifiers let pass.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic is the failure report"
)]

use std::collections::BTreeMap;

use bundle::Content;
use bundle::legacy::{Legacy, SimpleSigning};
use dsse::{Envelope, IN_TOTO};
use entry::{LogEntry, Verifier};
use keys::{Algorithm, Digest, HashAlgorithm};
use pki::Certificate;
use serde_json::json;
use signer::Signer;
use testkit::{PromisingLog, Sigstore, statement};
use trust::{TrustedRoot, Validity};
use verify::{Expect, IdentityPolicy, Matcher, Step, Verified, VerifyError};

struct Old {
    sigstore: Sigstore,
    log: PromisingLog,
    root: TrustedRoot,
    image: Digest,
}

impl Old {
    fn new() -> Self {
        let sigstore = Sigstore::default();
        let log = PromisingLog::new("https://rekor-v1.example.org");
        let mut root = sigstore.root();
        root.tlogs
            .push(log.trusted(Validity::since(sigstore.since)));
        Self {
            sigstore,
            log,
            root,
            image: Digest::of(HashAlgorithm::Sha256, b"a manifest"),
        }
    }

    fn signer(&self) -> (Signer, Certificate) {
        let signer = Signer::generate(Algorithm::EcdsaP256Sha256).unwrap();
        let leaf = self.sigstore.issue(self.sigstore.leaf(&signer));
        (signer, leaf)
    }

    fn payload(&self) -> Vec<u8> {
        let optional = BTreeMap::from([("a".to_owned(), json!("b"))]);
        SimpleSigning::new("localhost:5000/team/app", &self.image, optional)
            .to_json()
            .unwrap()
    }

    /// As Alice, with a certificate and the log's promise.
    fn keyless(&self, payload: Vec<u8>) -> Legacy {
        let (signer, leaf) = self.signer();
        self.signed(payload, &signer, Some(leaf))
    }

    fn signed(&self, payload: Vec<u8>, signer: &Signer, leaf: Option<Certificate>) -> Legacy {
        let signature = signer.sign_local(&payload).unwrap();
        let by = leaf.clone().map_or_else(
            || Verifier::Key(signer.public_key().clone()),
            Verifier::Certificate,
        );
        let entry = self
            .log
            .hashedrekord(&payload, &signature, &by, self.sigstore.now);
        Legacy {
            layer: payload,
            signer: holder(leaf),
            entries: vec![entry],
            timestamps: Vec::new(),
            content: Content::Message {
                signature,
                digest: None,
            },
        }
    }

    fn attested(&self, statement: &[u8]) -> Legacy {
        let (signer, leaf) = self.signer();
        let pae = dsse::pae(IN_TOTO, statement);
        let envelope = Envelope {
            payload: statement.to_vec(),
            payload_type: IN_TOTO.into(),
            signature: signer.sign_local(&pae).unwrap(),
            keyid: String::new(),
        };
        let layer = serde_json::to_vec(&envelope.to_wire()).unwrap();
        let entry = self.log.dsse(
            &layer,
            statement,
            &envelope.signature,
            &Verifier::Certificate(leaf.clone()),
            self.sigstore.now,
        );
        Legacy {
            layer,
            signer: holder(Some(leaf)),
            entries: vec![entry],
            timestamps: Vec::new(),
            content: Content::Envelope(envelope),
        }
    }

    fn verify(&self, item: &Legacy) -> Result<Verified, VerifyError> {
        verify::legacy(item, &self.image, &self.root, &alice())
    }
}

fn holder(leaf: Option<Certificate>) -> bundle::Signer {
    match leaf {
        Some(leaf) => bundle::Signer::Certificate {
            leaf,
            intermediates: Vec::new(),
        },
        None => bundle::Signer::Key {
            hint: String::new(),
        },
    }
}

fn alice() -> Expect {
    Expect::Identity(IdentityPolicy {
        subject: Matcher::Exact(Sigstore::SUBJECT.to_owned()),
        issuer: Matcher::Exact(Sigstore::ISSUER.to_owned()),
        extensions: Vec::new(),
    })
}

#[track_caller]
fn refused(outcome: Result<Verified, VerifyError>) -> (Step, &'static str) {
    let error = outcome.expect_err("a broken signature was accepted");
    (error.step(), error.code())
}

#[test]
fn a_signature_holds_for_its_image_only() {
    let old = Old::new();
    let item = old.keyless(old.payload());
    let verified = old.verify(&item).unwrap();
    assert_eq!(
        verified.identity().unwrap().subject().value(),
        Sigstore::SUBJECT
    );
    assert_eq!(verified.digest(), Some(&old.image));
    assert!(verified.statement().is_none());
    let claims = verified.claims().unwrap();
    assert_eq!(claims.optional().unwrap()["a"], json!("b"));
    assert_eq!(verified.entries().len(), 1);
    assert!(!verified.entries()[0].is_proven());
    assert_eq!(verified.entries()[0].promised_at(), Some(old.sigstore.now));
    // Through its annotations and back.
    let again = Legacy::signature(item.layer.clone(), &item.annotations(&[])).unwrap();
    assert_eq!(again, item);

    let other = Digest::of(HashAlgorithm::Sha256, b"another manifest");
    assert_eq!(
        refused(verify::legacy(&item, &other, &old.root, &alice())),
        (Step::Signature, "wrong-subject")
    );
    // The payload was moved to another image, signature and all else left as it was.
    let mut moved = item.clone();
    moved.layer = SimpleSigning::new("a", &other, BTreeMap::new())
        .to_json()
        .unwrap();
    assert_eq!(
        refused(verify::legacy(&moved, &other, &old.root, &alice())),
        (Step::Signature, "bad-signature")
    );
    // A true signature of Alice's over something that is no payload.
    for payload in [
        b"{}".to_vec(),
        b"a file".to_vec(),
        String::from_utf8(old.payload())
            .unwrap()
            .replace("cosign container image", "atomic container")
            .into_bytes(),
    ] {
        assert_eq!(
            refused(old.verify(&old.keyless(payload))),
            (Step::Signature, "not-a-simple-signature")
        );
    }
}

#[test]
fn a_promise_is_for_this_very_signature() {
    let old = Old::new();
    let item = old.keyless(old.payload());
    let with = |entry: Vec<LogEntry>| {
        let mut changed = item.clone();
        changed.entries = entry;
        refused(old.verify(&changed))
    };
    assert_eq!(with(Vec::new()), (Step::Record, "no-log-entry"));
    // GHSA-ccxc-vr6p-4858 and GHSA-whqx-f9j3-ch6m: a true promise, for another signature, another payload, another signer.
    let again = old.keyless(old.payload());
    assert_eq!(
        with(again.entries),
        (Step::Binding, "log-entry-mismatch"),
        "Alice's other signature"
    );
    let elsewhere = old.keyless(b"another payload".to_vec());
    assert_eq!(
        with(elsewhere.entries),
        (Step::Binding, "log-entry-mismatch")
    );
    let bundle::Signer::Certificate { leaf, .. } = &item.signer else {
        panic!("no certificate")
    };
    let bare = old.log.hashedrekord(
        &item.layer,
        item.content.signature(),
        &Verifier::Key(leaf.public_key().clone()),
        old.sigstore.now,
    );
    assert_eq!(with(vec![bare]), (Step::Binding, "log-entry-mismatch"));
    let other = old.log.hashedrekord(
        b"another payload",
        item.content.signature(),
        &Verifier::Certificate(leaf.clone()),
        old.sigstore.now,
    );
    assert_eq!(with(vec![other]), (Step::Binding, "log-entry-mismatch"));
    // Not the log's word: time, index or body changed after it was given.
    let good = &item.entries[0];
    for change in [
        |entry: &mut LogEntry| entry.index += 1,
        |entry: &mut LogEntry| {
            entry.integrated_time = entry
                .integrated_time
                .map(|at| at + jiff::SignedDuration::from_secs(1));
        },
        |entry: &mut LogEntry| entry.body.push(b' '),
        |entry: &mut LogEntry| entry.promise = Some(vec![1]),
    ] {
        let mut changed = good.clone();
        change(&mut changed);
        assert_eq!(with(vec![changed]), (Step::Record, "bad-promise"));
    }
    let mut unpromised = good.clone();
    unpromised.promise = None;
    assert_eq!(with(vec![unpromised]), (Step::Record, "log-entry-unproven"));
    let stranger = PromisingLog::new("https://elsewhere.example.org");
    let unknown = stranger.hashedrekord(
        &item.layer,
        item.content.signature(),
        &Verifier::Certificate(leaf.clone()),
        old.sigstore.now,
    );
    assert_eq!(with(vec![unknown]), (Step::Record, "no-log-entry"));
}

#[test]
fn certificates_and_signatures_cannot_be_mixed() {
    // GHSA-8gw7-4j42-w388: signature of one, certificate of another.
    let old = Old::new();
    let item = old.keyless(old.payload());
    let (thief, others) = old.signer();
    let mut mixed = item.clone();
    mixed.signer = holder(Some(others));
    assert_eq!(
        refused(old.verify(&mixed)),
        (Step::Signature, "bad-signature")
    );
    let mut stolen = old.signed(old.payload(), &thief, None);
    assert_eq!(refused(old.verify(&stolen)), (Step::Leaf, "no-certificate"));
    stolen.signer = item.signer.clone();
    assert_eq!(
        refused(old.verify(&stolen)),
        (Step::Signature, "bad-signature")
    );
    // The time of the promise must be one at which the certificate was valid.
    let bundle::Signer::Certificate { leaf, .. } = &item.signer else {
        panic!("no certificate")
    };
    let mut late = item.clone();
    late.entries = vec![old.log.hashedrekord(
        &item.layer,
        item.content.signature(),
        &Verifier::Certificate(leaf.clone()),
        leaf.not_after() + jiff::SignedDuration::from_secs(1),
    )];
    assert_eq!(refused(old.verify(&late)), (Step::Leaf, "bad-certificate"));
}

#[test]
fn keys_are_verified_with_a_log_and_without_one_where_the_caller_says_so() {
    let old = Old::new();
    let signer = Signer::generate(Algorithm::EcdsaP256Sha256).unwrap();
    let key = signer.public_key().clone();
    let item = old.signed(old.payload(), &signer, None);
    let with = |item: &Legacy, expect: &Expect| verify::legacy(item, &old.image, &old.root, expect);
    let verified = with(&item, &Expect::Key(key.clone())).unwrap();
    assert!(verified.identity().is_none() && verified.claims().is_some());
    let mut unlogged = item.clone();
    unlogged.entries.clear();
    assert_eq!(
        refused(with(&unlogged, &Expect::Key(key.clone()))),
        (Step::Record, "no-log-entry")
    );
    with(&unlogged, &Expect::UnloggedKey(key)).unwrap();
    let stranger = Signer::generate(Algorithm::EcdsaP256Sha256).unwrap();
    let stranger = stranger.public_key().clone();
    for expect in [Expect::Key(stranger.clone()), Expect::UnloggedKey(stranger)] {
        assert_eq!(
            refused(with(&item, &expect)),
            (Step::Signature, "bad-signature")
        );
    }
}

#[test]
fn attestations_hold_for_their_subject_and_their_timestamp_is_over_the_layer() {
    let old = Old::new();
    let item = old.attested(&statement(&old.image));
    let verified = old.verify(&item).unwrap();
    assert_eq!(
        verified.statement().unwrap().predicate_type,
        "https://example.org/predicate/v1"
    );
    assert!(verified.claims().is_none());
    let again = Legacy::attestation(item.layer.clone(), &item.annotations(&[])).unwrap();
    assert_eq!(again, item);
    let other = Digest::of(HashAlgorithm::Sha256, b"another manifest");
    assert_eq!(
        refused(verify::legacy(&item, &other, &old.root, &alice())),
        (Step::Signature, "wrong-subject")
    );
    let another = old.attested(&statement(&other));
    let mut mixed = item.clone();
    mixed.entries = another.entries;
    assert_eq!(
        refused(old.verify(&mixed)),
        (Step::Binding, "log-entry-mismatch")
    );
    let mut stamped = item.clone();
    stamped.timestamps = vec![old.sigstore.tsa.stamp(&item.layer, old.sigstore.now)];
    assert_eq!(old.verify(&stamped).unwrap().times().len(), 2);
    // As in a bundle, which is not how it was.
    let signature = item.content.signature();
    stamped.timestamps = vec![old.sigstore.tsa.stamp(signature, old.sigstore.now)];
    assert_eq!(refused(old.verify(&stamped)), (Step::Time, "bad-timestamp"));
    let mut signed = old.keyless(old.payload());
    let signature = signed.content.signature().to_vec();
    signed.timestamps = vec![old.sigstore.tsa.stamp(&signature, old.sigstore.now)];
    assert_eq!(old.verify(&signed).unwrap().times().len(), 2);
}

/// Entries of intoto 0.0.1 keep no signature: they are about a layer as a whole.
#[test]
fn an_entry_without_a_signature_is_about_the_whole_layer() {
    let old = Old::new();
    let good = old.attested(&statement(&old.image));
    let bundle::Signer::Certificate { leaf, .. } = &good.signer else {
        panic!("no certificate")
    };
    let Content::Envelope(envelope) = &good.content else {
        panic!("no envelope")
    };
    let (by, now) = (Verifier::Certificate(leaf.clone()), old.sigstore.now);
    let with = |item: &Legacy, entry: LogEntry| {
        let mut changed = item.clone();
        changed.entries = vec![entry];
        old.verify(&changed)
    };
    let payload = envelope.payload.as_slice();
    let recorded = old.log.intoto(&good.layer, Some(payload), &by, now);
    for entry in [
        recorded.clone(),
        old.log.intoto(&good.layer, None, &by, now),
    ] {
        let verified = with(&good, entry).unwrap();
        assert_eq!(verified.entries()[0].kind(), ("intoto", "0.0.1"));
    }
    let mismatch = (Step::Binding, "log-entry-mismatch");
    let key = Verifier::Key(leaf.public_key().clone());
    for (what, entry) in [
        (
            "a document",
            old.log.intoto(b"other", Some(payload), &by, now),
        ),
        (
            "a payload",
            old.log.intoto(&good.layer, Some(b"other"), &by, now),
        ),
        (
            "a signer",
            old.log.intoto(&good.layer, Some(payload), &key, now),
        ),
    ] {
        assert_eq!(refused(with(&good, entry)), mismatch, "of another {what}");
    }
    // The same envelope written otherwise is another document, and so is one with another signature over the same payload.
    let mut spaced = good.clone();
    spaced.layer.push(b'\n');
    assert_eq!(refused(with(&spaced, recorded.clone())), mismatch);
    let again = old.attested(&statement(&old.image));
    assert_eq!(refused(with(&again, recorded.clone())), mismatch);
    // A bundle has no such document, so that nothing says which signature is meant.
    let mut bundle = good.to_bundle();
    bundle.entries = vec![recorded];
    let artifact = verify::Artifact::from_digest(old.image);
    assert_eq!(
        refused(verify::bundle(&bundle, &artifact, &old.root, &alice())),
        mismatch
    );
}
