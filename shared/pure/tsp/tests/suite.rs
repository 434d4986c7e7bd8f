//! The tokens of the public suite's bundles, each against every authority of its trusted root.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a panic is the failure report; a test reads its data"
)]

use std::path::Path;

use pki::{Certificate, PathError};
use tsp::{TspError, verify};
use wire::bundle::Bundle;
use wire::trustroot::TrustedRoot;

const SUITE: &str = "../../../testdata/sigstore-conformance/bundle-verify";

/// The time that a case's only token states, or why the last of the authorities did not make it.
fn check(case: &str) -> Result<String, TspError> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(SUITE).join(case);
    let read = |name: &str| std::fs::read(folder.join(name)).unwrap();
    let bundle: Bundle = wire::parse(&read("bundle.sigstore.json")).unwrap();
    let root: TrustedRoot = wire::parse(&read("trusted_root.json")).unwrap();
    let signature = match (&bundle.message_signature, &bundle.dsse_envelope) {
        (Some(signature), None) => signature.signature.0.clone(),
        (None, Some(envelope)) => envelope.signatures.first().unwrap().sig.0.clone(),
        _ => unreachable!("{case}: one signature"),
    };
    let timestamps = bundle.verification_material.timestamp_verification_data;
    let timestamps = timestamps.unwrap().rfc3161_timestamps;
    assert_eq!(timestamps.len(), 1, "{case}");
    let token = &timestamps.first().unwrap().signed_timestamp.0;
    let mut last = Err(TspError::NoAuthority);
    for authority in &root.timestamp_authorities {
        let chain: Vec<Certificate> = authority
            .cert_chain
            .certificates
            .iter()
            .map(|certificate| Certificate::from_der(&certificate.raw_bytes.0).unwrap())
            .collect();
        let verified = verify(token, &signature, &chain);
        last = verified.map(|verified| verified.time().to_string());
        if last.is_ok() {
            break;
        }
    }
    last
}

#[test]
fn good_tokens_verify_with_the_time_that_openssl_prints() {
    for (case, time) in [
        ("rekor2-happy-path", "2025-06-12T12:02:20Z"),
        ("rekor2-dsse-happy-path", "2026-05-13T19:23:33Z"),
        (
            "rekor2-timestamp-with-embedded-cert",
            "2025-08-06T18:51:36Z",
        ),
        (
            "rekor2-timestamp-without-embedded-cert",
            "2025-08-06T19:03:51Z",
        ),
        (
            "rekor2-timestamp-with-expired-cert-chain",
            "2025-08-07T15:32:26Z",
        ),
        (
            "trust-root-tsa-validity-end-inclusive",
            "2025-06-12T12:02:20Z",
        ),
        // Bad for a reason that the token does not know: the trusted root's window, the leaf's validity.
        (
            "rekor2-timestamp-outside-trust-root-tsa-validity_fail",
            "2025-06-12T12:02:20Z",
        ),
        (
            "intoto-tsa-timestamp-outside-cert-validity_fail",
            "2023-02-02T00:00:00Z",
        ),
    ] {
        assert_eq!(check(case).as_deref(), Ok(time), "{case}");
    }
}

#[test]
fn bad_tokens_are_refused_for_what_is_wrong_with_them() {
    assert_eq!(
        check("rekor2-timestamp-payload-mismatch_fail"),
        Err(TspError::Imprint)
    );
    for case in [
        "rekor2-timestamp-untrusted-tsa-with-embedded-cert_fail",
        "rekor2-timestamp-untrusted-tsa-without-embedded-cert_fail",
    ] {
        assert_eq!(check(case), Err(TspError::OtherSigner), "{case}");
    }
    let expired = check("rekor2-timestamp-outside-tsa-cert-validity_fail");
    assert!(
        matches!(expired, Err(TspError::Path(PathError::NotValidAt { .. }))),
        "{expired:?}"
    );
}
