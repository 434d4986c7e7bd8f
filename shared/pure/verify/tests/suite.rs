//! The public suite's bundles: every good one verifies, every bad one is refused for the reason that it was made for.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::panic,
    reason = "a panic is the failure report; a test reads its data"
)]

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};

use bundle::Bundle;
use keys::{Digest, HashAlgorithm, PublicKey};
use trust::TrustedRoot;
use verify::{Artifact, Expect, IdentityPolicy, Matcher};

const IDENTITY: &str = "https://github.com/sigstore-conformance/extremely-dangerous-public-oidc-beacon/.github/workflows/extremely-dangerous-oidc-beacon.yml@refs/heads/main";
const ISSUER: &str = "https://token.actions.githubusercontent.com";

fn testdata() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../testdata")
}

fn public_good() -> TrustedRoot {
    TrustedRoot::parse(&std::fs::read(testdata().join("trust/public-good.json")).unwrap()).unwrap()
}

fn identity(subject: &str, issuer: &str) -> Expect {
    Expect::Identity(IdentityPolicy {
        subject: Matcher::Exact(subject.to_owned()),
        issuer: Matcher::Exact(issuer.to_owned()),
        extensions: Vec::new(),
    })
}

/// How one case ends: `ok`, or a word for why not.
fn check(suite: &Path, folder: &Path, by_digest: bool) -> String {
    let own = |name: &str| std::fs::read(folder.join(name)).ok();
    let text = |name: &str, default: &str| {
        own(name).map_or(default.to_owned(), |bytes| {
            String::from_utf8(bytes).unwrap().trim().to_owned()
        })
    };
    let Ok(root) = own("trusted_root.json")
        .map_or_else(|| Ok(public_good()), |bytes| TrustedRoot::parse(&bytes))
    else {
        return "bad-trusted-root".into();
    };
    let expect = match own("key.pub") {
        Some(key) => match PublicKey::from_pem(std::str::from_utf8(&key).unwrap()) {
            Ok(key) => Expect::Key(key),
            Err(_) => return "bad-key".into(),
        },
        None => identity(&text("identity", IDENTITY), &text("issuer", ISSUER)),
    };
    let file = own("artifact").unwrap_or_else(|| std::fs::read(suite.join("a.txt")).unwrap());
    let artifact = if by_digest {
        Artifact::from_digest(Digest::of(HashAlgorithm::Sha256, &file))
    } else {
        Artifact::from_bytes(&file)
    };
    let Ok(bundle) = Bundle::parse(&own("bundle.sigstore.json").unwrap()) else {
        return "bad-bundle".into();
    };
    match verify::bundle(&bundle, &artifact, &root, &expect) {
        Ok(_) => "ok".into(),
        Err(error) => error.code().into(),
    }
}

#[test]
fn every_case_ends_as_it_should() {
    let suite = testdata().join("sigstore-conformance/bundle-verify");
    let expected: BTreeMap<&str, &str> = EXPECTED.iter().copied().collect();
    let mut wrong = Vec::new();
    let mut seen = 0;
    for folder in std::fs::read_dir(&suite)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
    {
        let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
        seen += 1;
        for by_digest in [false, true] {
            let found = check(&suite, &folder, by_digest);
            let wanted = expected.get(name.as_str()).copied().unwrap_or("ok");
            assert_eq!(
                wanted == "ok",
                !name.ends_with("_fail"),
                "{name} is missing in the table"
            );
            if found != wanted {
                wrong.push(format!(
                    "{name} (digest: {by_digest}): {found}, expected {wanted}"
                ));
            }
        }
    }
    assert!(seen >= 70, "only {seen} cases: data was lost");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The reason of each refusal; a case that fails for another reason than the one it was made for shows here.
const EXPECTED: &[(&str, &str)] = &[
    ("bundle-empty-certificate-chain_fail", "bad-bundle"),
    ("bundle-from-wrong-instance_fail", "no-log-entry"),
    ("bundle-invalid-base64-signature_fail", "bad-bundle"),
    ("bundle-malformed-json_fail", "bad-bundle"),
    ("bundle-negative-log-index_fail", "bad-bundle"),
    ("bundle-unknown-version_fail", "bad-bundle"),
    ("bundle-with-root-cert_fail", "bad-bundle"),
    ("checkpoint-bad-keyhint_fail", "bad-checkpoint"),
    ("checkpoint-wrong-roothash_fail", "proof-for-other-tree"),
    ("dsse-invalid-sig_fail", "bad-signature"),
    ("dsse-mismatch-envelope_fail", "log-entry-mismatch"),
    ("dsse-mismatch-sig_fail", "log-entry-mismatch"),
    ("inclusion-proof-corrupted-hash_fail", "bad-inclusion-proof"),
    ("incorrect-public-key_fail", "bad-promise"),
    ("integrated-time-in-future_fail", "bad-certificate"),
    ("intoto-expired-certificate_fail", "bad-certificate"),
    ("intoto-log-entry-mismatch_fail", "bad-log-entry"),
    ("intoto-missing-inclusion-proof_fail", "bad-bundle"),
    (
        "intoto-set-outside-signing-cert-validity_fail",
        "bad-certificate",
    ),
    (
        "intoto-tsa-timestamp-outside-cert-validity_fail",
        "bad-certificate",
    ),
    ("invalid-checkpoint-signature_fail", "bad-checkpoint"),
    ("invalid-ct-key_fail", "bad-sct"),
    ("invalid-inclusion-proof_fail", "bad-bundle"),
    ("managed-key-no-key_fail", "no-certificate"),
    ("managed-key-wrong-key_fail", "bad-key"),
    ("message-digest-mismatch_fail", "digest-mismatch"),
    (
        "rekor2-checkpoint-missing-log-signature_fail",
        "bad-checkpoint",
    ),
    ("rekor2-checkpoint-missing-origin_fail", "bad-checkpoint"),
    ("rekor2-checkpoint-missing-root-hash_fail", "bad-checkpoint"),
    ("rekor2-checkpoint-missing-size_fail", "bad-checkpoint"),
    (
        "rekor2-checkpoint-no-matching-signature_fail",
        "bad-checkpoint",
    ),
    ("rekor2-dsse-invalid-sig_fail", "bad-signature"),
    ("rekor2-dsse-mismatch-envelope_fail", "log-entry-mismatch"),
    ("rekor2-dsse-mismatch-sig_fail", "log-entry-mismatch"),
    ("rekor2-no-inclusion-proof_fail", "bad-bundle"),
    ("rekor2-no-timestamp_fail", "no-time"),
    (
        "rekor2-timestamp-outside-trust-root-tsa-validity_fail",
        "timestamp-authority-not-valid",
    ),
    (
        "rekor2-timestamp-outside-tsa-cert-validity_fail",
        "bad-timestamp",
    ),
    ("rekor2-timestamp-payload-mismatch_fail", "bad-timestamp"),
    (
        "rekor2-timestamp-untrusted-tsa-with-embedded-cert_fail",
        "bad-timestamp",
    ),
    (
        "rekor2-timestamp-untrusted-tsa-without-embedded-cert_fail",
        "bad-timestamp",
    ),
    ("rekor2-timestamp-with-incorrect-time_fail", "bad-bundle"),
    ("set-invalid-signature_fail", "bad-promise"),
    ("signature-mismatch_fail", "bad-signature"),
    (
        "trust-root-tlog-missing-validity-start_fail",
        "bad-trusted-root",
    ),
    ("wrong-hashedrekord-artifact_fail", "log-entry-mismatch"),
    ("wrong-hashedrekord-cert-and-sig_fail", "log-entry-mismatch"),
    ("wrong-hashedrekord-entry_fail", "log-entry-mismatch"),
    ("wrong-material_fail", "digest-mismatch"),
];

#[test]
fn cpython_releases_verify() {
    let file = std::fs::File::open(testdata().join("cpython/releases.jsonl.gz")).unwrap();
    let root = public_good();
    let mut seen = 0;
    for line in BufReader::new(flate2::read::GzDecoder::new(file)).lines() {
        let line: serde_json::Value = serde_json::from_str(&line.unwrap()).unwrap();
        let text = |name: &str| line[name].as_str().unwrap();
        let bundle = Bundle::parse(&serde_json::to_vec(&line["bundle"]).unwrap())
            .unwrap_or_else(|error| panic!("{}: {error}", text("url")));
        let artifact =
            Artifact::from_digest(Digest::parse(&format!("sha256:{}", text("sha256"))).unwrap());
        let verified = verify::bundle(
            &bundle,
            &artifact,
            &root,
            &identity(text("identity"), text("issuer")),
        );
        if let Err(error) = verified {
            panic!("{}: {error}", text("url"));
        }
        seen += 1;
    }
    assert!(seen >= 800, "only {seen} bundles: data was lost");
}
