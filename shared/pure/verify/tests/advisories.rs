//! What went wrong in other verifiers, each once, by its advisory: signatures over files and statements in bundles.
//!
//! Those about registries that send without end (GHSA-vfp6-jrw2-99g9, GHSA-88jx-383q-w4qc, GHSA-95pr-fxf5-86gv) are in the tests of the crate `oci` too.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic is the failure report"
)]

use bundle::{Bundle, Content, MAX_WITNESSES, Signer as Who};
use dsse::MAX_SUBJECTS;
use entry::Verifier;
use jiff::SignedDuration;
use keys::{Algorithm, Digest, HashAlgorithm};
use signer::Signer;
use testkit::{Ca, Minted, SctList, Sigstore, statement};
use trust::Validity;
use verify::{Artifact, Expect, IdentityPolicy, Matcher, Step, Verified, VerifyError};

const FILE: &[u8] = b"the artifact\n";

fn alice() -> Expect {
    Expect::Identity(IdentityPolicy {
        subject: Matcher::Exact(Sigstore::SUBJECT.to_owned()),
        issuer: Matcher::Exact(Sigstore::ISSUER.to_owned()),
        extensions: Vec::new(),
    })
}

fn verify(sigstore: &Sigstore, bundle: &Bundle) -> Result<Verified, VerifyError> {
    verify::bundle(
        bundle,
        &Artifact::from_bytes(FILE),
        &sigstore.root(),
        &alice(),
    )
}

#[track_caller]
fn refused(outcome: Result<Verified, VerifyError>) -> (Step, &'static str) {
    let error = outcome.expect_err("accepted");
    (error.step(), error.code())
}

/// A second signature of the same key and certificate, over something else.
fn another_by_the_same(sigstore: &Sigstore, first: &Minted) -> Minted {
    sigstore.sign_with(
        b"something else\n",
        first.signer.clone(),
        first.leaf.clone(),
    )
}

/// cosign before 1.12: the log entry that came with a signature was in the log, and another signature's.
#[test]
fn ghsa_ccxc_vr6p_4858_the_entry_is_another_signatures() {
    let sigstore = Sigstore::default();
    let first = sigstore.sign(FILE);
    let other = another_by_the_same(&sigstore, &first);
    let mut bundle = first.bundle;
    bundle.entries = other.bundle.entries;
    assert_eq!(
        refused(verify(&sigstore, &bundle)),
        (Step::Binding, "log-entry-mismatch")
    );
    // An entry of the right one beside it does not help.
    let first = sigstore.sign(FILE);
    let other = another_by_the_same(&sigstore, &first);
    let mut bundle = first.bundle;
    bundle.entries.extend(other.bundle.entries);
    assert_eq!(
        refused(verify(&sigstore, &bundle)),
        (Step::Binding, "log-entry-mismatch")
    );
}

/// CVE-2026-22703: with an old bundle and a trusted root, cosign before 3.0.4 returned before it compared entry and artifact.
#[test]
fn ghsa_whqx_f9j3_ch6m_the_entry_is_about_another_artifact() {
    let sigstore = Sigstore::default();
    let minted = sigstore.sign(FILE);
    let key = Verifier::Certificate(minted.leaf.clone());
    let other = Digest::of(HashAlgorithm::Sha256, b"something else\n");
    // It is in the log, and by the same signer: only that it is about another artifact speaks against it.
    let signature = minted.signer.sign_local(b"something else\n").unwrap();
    let mut bundle = minted.bundle;
    bundle.entries = vec![sigstore.record(&other, &signature, key)];
    assert_eq!(
        refused(verify(&sigstore, &bundle)),
        (Step::Binding, "log-entry-mismatch")
    );
}

/// cosign before 1.12: certificate, signature and log entry of a blob could come from three different signers.
#[test]
fn ghsa_8gw7_4j42_w388_the_certificate_is_not_the_one_that_was_logged() {
    let sigstore = Sigstore::default();
    let minted = sigstore.sign(FILE);
    // The same key and the same person, and another certificate than the entry has.
    let again = sigstore.issue(sigstore.leaf(&minted.signer));
    let mut bundle = minted.bundle.clone();
    bundle.signer = Who::Certificate {
        leaf: again,
        intermediates: Vec::new(),
    };
    assert_eq!(
        refused(verify(&sigstore, &bundle)),
        (Step::Binding, "log-entry-mismatch")
    );
    // Another person's certificate.
    let mut bundle = minted.bundle;
    bundle.signer = sigstore.sign(FILE).bundle.signer;
    assert_eq!(
        refused(verify(&sigstore, &bundle)),
        (Step::Signature, "bad-signature")
    );
}

/// cosign before 1.10.1: an attestation with a good signature passed for any image and any predicate type.
#[test]
fn ghsa_vjxv_45g9_9296_a_statement_is_about_its_subjects_alone() {
    let sigstore = Sigstore::default();
    let other = statement(&Digest::of(HashAlgorithm::Sha256, b"something else\n"));
    let minted = sigstore.attest(&other);
    assert_eq!(
        refused(verify(&sigstore, &minted.bundle)),
        (Step::Signature, "wrong-subject")
    );
}

/// cosign before 3.0.5: of new bundles the predicate type was not looked at. Here it comes with the result, from the signed bytes.
#[test]
fn ghsa_w6c6_c85g_mmv6_the_predicate_type_is_the_signed_one() {
    let sigstore = Sigstore::default();
    let digest = Digest::of(HashAlgorithm::Sha256, FILE);
    let minted = sigstore.attest(&statement(&digest));
    let verified = verify(&sigstore, &minted.bundle).unwrap();
    assert_eq!(
        verified.statement().unwrap().predicate_type,
        "https://example.org/predicate/v1"
    );
    let mut bundle = minted.bundle;
    let Content::Envelope(envelope) = &mut bundle.content else {
        panic!("no envelope")
    };
    let text = String::from_utf8(envelope.payload.clone()).unwrap();
    envelope.payload = text
        .replace(
            "https://example.org/predicate/v1",
            "https://spdx.dev/Document",
        )
        .into_bytes();
    assert_eq!(
        refused(verify(&sigstore, &bundle)),
        (Step::Signature, "bad-signature")
    );
}

/// sigstore/cosign#4663: only the leaf's validity was looked at, not that of the authorities above it.
#[test]
fn cosign_4663_the_whole_chain_must_be_valid_at_the_time() {
    let mut sigstore = Sigstore::default();
    // Its certificates begin to be valid a day after everything was signed.
    sigstore.ca = Ca::new(sigstore.now + SignedDuration::from_hours(24));
    let signer = Signer::generate(Algorithm::EcdsaP256Sha256).unwrap();
    let leaf = sigstore
        .ca
        .issue(sigstore.leaf(&signer), SctList::Of(&[&sigstore.ct]));
    let minted = sigstore.sign_with(FILE, signer, leaf);
    let mut root = sigstore.root();
    root.authorities = vec![sigstore.ca.trusted(
        "https://fulcio.example.org",
        Validity::since(sigstore.since),
    )];
    let outcome = verify::bundle(&minted.bundle, &Artifact::from_bytes(FILE), &root, &alice());
    assert_eq!(refused(outcome), (Step::Leaf, "bad-certificate"));
}

/// GHSA-88jx-383q-w4qc, GHSA-95pr-fxf5-86gv: what is there without end is read to an end.
#[test]
fn ghsa_88jx_383q_w4qc_counts_have_an_end() {
    let sigstore = Sigstore::default();
    let minted = sigstore.sign(FILE);
    let json = |change: &dyn Fn(&mut Bundle)| {
        let mut bundle = minted.bundle.clone();
        change(&mut bundle);
        Bundle::parse(&bundle.to_json().unwrap())
    };
    assert!(json(&|_| {}).is_ok());
    let stamp = minted.bundle.timestamps[0].clone();
    assert!(json(&|bundle| bundle.timestamps = vec![stamp.clone(); MAX_WITNESSES + 1]).is_err());
    let entry = minted.bundle.entries[0].clone();
    assert!(json(&|bundle| bundle.entries = vec![entry.clone(); MAX_WITNESSES + 1]).is_err());

    let digest = Digest::of(HashAlgorithm::Sha256, FILE).to_hex();
    let subject = format!("{{\"digest\": {{\"sha256\": \"{digest}\"}}}}");
    let with = |count: usize| {
        let subjects = vec![subject.as_str(); count].join(",");
        let text = format!(
            "{{\"_type\": \"https://in-toto.io/Statement/v1\", \"subject\": [{subjects}], \"predicateType\": \"https://example.org\", \"predicate\": {{}}}}"
        );
        verify(&sigstore, &sigstore.attest(text.as_bytes()).bundle)
    };
    with(MAX_SUBJECTS).unwrap();
    assert_eq!(
        refused(with(MAX_SUBJECTS + 1)),
        (Step::Signature, "not-a-statement")
    );
}

/// cosign 3.0.5 and 3.1: entries that are not what they should be ended the process.
#[test]
fn malformed_entries_are_errors_and_no_panics() {
    let sigstore = Sigstore::default();
    let minted = sigstore.sign(FILE);
    for body in [
        &b""[..],
        b"null",
        b"[]",
        b"{}",
        b"{\"apiVersion\":\"0.0.2\",\"kind\":\"hashedrekord\"}",
        b"{\"apiVersion\":\"0.0.2\",\"kind\":\"hashedrekord\",\"spec\":null}",
        b"{\"apiVersion\":\"0.0.2\",\"kind\":\"hashedrekord\",\"spec\":{\"hashedRekordV002\":{}}}",
        b"\xff\xfe",
    ] {
        for (kind, version) in [
            ("hashedrekord", "0.0.2"),
            ("hashedrekord", "0.0.1"),
            ("dsse", "0.0.1"),
            ("intoto", "0.0.2"),
            ("", ""),
        ] {
            let mut bundle = minted.bundle.clone();
            // The log has it: only what is in it is wrong.
            bundle.entries = vec![sigstore.log.add(kind, version, body)];
            let (step, code) = refused(verify(&sigstore, &bundle));
            assert!(
                matches!(
                    (step, code),
                    (Step::Binding, "bad-log-entry" | "log-entry-mismatch")
                ),
                "{kind} {version}: {step:?} {code}"
            );
        }
    }
    let mut bundle = minted.bundle;
    bundle.entries[0].proof.as_mut().unwrap().hashes.clear();
    assert_eq!(
        refused(verify(&sigstore, &bundle)),
        (Step::Record, "bad-inclusion-proof")
    );
}
