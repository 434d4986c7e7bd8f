//! Verification of one bundle in one process: parsing is part of it, the trusted root is read once.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    missing_docs,
    reason = "a benchmark reads its data"
)]

use std::path::Path;

use bundle::Bundle;
use trust::TrustedRoot;
use verify::{Artifact, Expect, IdentityPolicy, Matcher};

const IDENTITY: &str = "https://github.com/sigstore-conformance/extremely-dangerous-public-oidc-beacon/.github/workflows/extremely-dangerous-oidc-beacon.yml@refs/heads/main";

fn main() {
    divan::main();
}

struct Case {
    bundle: Vec<u8>,
    root: TrustedRoot,
    artifact: Artifact,
    expect: Expect,
}

fn case(name: &str, root: &str) -> Case {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../testdata");
    let suite = data.join("sigstore-conformance/bundle-verify");
    Case {
        bundle: std::fs::read(suite.join(name).join("bundle.sigstore.json")).unwrap(),
        root: TrustedRoot::parse(&std::fs::read(data.join(root)).unwrap()).unwrap(),
        artifact: Artifact::from_bytes(&std::fs::read(suite.join("a.txt")).unwrap()),
        expect: Expect::Identity(IdentityPolicy {
            subject: Matcher::Exact(IDENTITY.into()),
            issuer: Matcher::Exact("https://token.actions.githubusercontent.com".into()),
            extensions: Vec::new(),
        }),
    }
}

fn run(bencher: divan::Bencher<'_, '_>, case: &Case) {
    bencher.bench(|| {
        let bundle = Bundle::parse(&case.bundle).unwrap();
        verify::bundle(&bundle, &case.artifact, &case.root, &case.expect).unwrap()
    });
}

/// A Rekor v1 bundle: promise, proof and checkpoint.
#[divan::bench]
fn rekor_v1_bundle(bencher: divan::Bencher<'_, '_>) {
    run(bencher, &case("happy-path-v0.3", "trust/public-good.json"));
}

/// A Rekor v2 bundle: timestamp, proof and checkpoint.
#[divan::bench]
fn rekor_v2_bundle_with_timestamp(bencher: divan::Bencher<'_, '_>) {
    run(
        bencher,
        &case(
            "rekor2-happy-path",
            "sigstore-conformance/bundle-verify/rekor2-happy-path/trusted_root.json",
        ),
    );
}
