//! The doors, and what must hold behind each.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bundle::legacy::{Legacy, SimpleSigning};
use bundle::{Bundle, Content, Signer};
use ct::Sct;
use keys::{Algorithm, PublicKey};
use kinds::{Kind, Rules};
use note::{Checkpoint, Note};
use pki::{Certificate, Csr, FulcioExtensions};
use serde_json::{Value, json};
use trust::{ClientTrustConfig, SigningConfig, TrustedRoot};

use crate::seeds::{decoded, files, lines, written};
use crate::{Target, replies};

pub(crate) const ALL: &[Target] = &[
    door("add-chain", add_chain, add_chain_seeds),
    door("alpine", alpine, || {
        decoded(lines("packages/alpine.jsonl.gz", "package"))
    }),
    door("bundle", bundle, || {
        files("sigstore-conformance", |name| {
            name == "bundle.sigstore.json"
        })
    }),
    door("certificate", certificate, certificates),
    door("checkpoint", checkpoint, notes),
    door("csr", csr, || vec![base64(CSR)]),
    door("digitally-signed-list", sct_list, sct_lists),
    door("fulcio-issuers", fulcio_issuers, || {
        vec![ISSUERS.as_bytes().to_vec()]
    }),
    door("fulcio-request", fulcio_request, fulcio_requests),
    door("jar", jar, || {
        decoded(lines("packages/jar.jsonl.gz", "package"))
    }),
    door("jwks", jwks, || vec![JWKS.as_bytes().to_vec()]),
    door("kit", cosign_rs::doors::kit, cosign_rs::doors::kits),
    door("legacy-signature", legacy_signature, || {
        vec![
            LEGACY.as_bytes().to_vec(),
            LEGACY_ENVELOPE.as_bytes().to_vec(),
        ]
    }),
    door("oci-index", oci_index, || {
        vec![OCI_INDEX.as_bytes().to_vec()]
    }),
    door("oci-reference", oci_reference, || {
        vec![REFERENCE.as_bytes().to_vec()]
    }),
    door("openpgp", openpgp, openpgp_seeds),
    door("policy", policy, || {
        files("policies", |name| name == "two-of-three.json")
    }),
    door("private-key", private_key, || {
        // Their derivation takes a tenth of a second, and what comes after it is in other cases.
        files("private-keys", |name| name == "key.pem")
            .into_iter()
            .filter(|pem| !pem.windows(9).any(|word| word == b"ENCRYPTED"))
            .collect()
    }),
    door("public-key", public_key, || {
        vec![keys::pem::encode("PUBLIC KEY", &base64(KEY)).into_bytes()]
    }),
    door("registry-replies", replies::run, replies::seeds),
    door("rekor-v1", rekor_v1, || {
        let kinds = [
            "alpine", "cose", "helm", "jar", "rekord", "rfc3161", "rpm", "tuf",
        ];
        kinds
            .iter()
            .flat_map(|kind| written(lines(&format!("rekor-v1/{kind}.jsonl"), "proposal")))
            .collect()
    }),
    door("rekor-v2", rekor_v2, rekor_requests),
    door("rpm", rpm, || {
        decoded(lines("packages/rpm.jsonl.gz", "package"))
    }),
    door("signing-config", signing_config, || {
        files("trust", |name| name == "public-good-signing.json")
    }),
    door("statement", statement, || {
        files("sigstore-conformance", |name| name == "statement.json")
    }),
    door("tile-leaf", tile_leaf, tile_leaves),
    door("tile-path", tile_path, || {
        vec![b"tile/3/x001/x234/067.p/12".to_vec()]
    }),
    door("timestamp-request", timestamp_request, || {
        vec![base64(TIMESTAMP_REQUEST)]
    }),
    door(
        "timestamp-request-json",
        timestamp_request_json,
        timestamp_requests_json,
    ),
    door("timestamp-token", timestamp_token, timestamps),
    door("token", token, tokens),
    door("trusted-root", trusted_root, || {
        files("trust", |name| name == "public-good.json")
    }),
    door("tuf", tuf, || {
        written(lines("rekor-v1/tuf.jsonl", "proposal"))
    }),
    door("witness-policy", witness_policy, || {
        vec![POLICY.as_bytes().to_vec()]
    }),
    door("witness-submission", witness_submission, || {
        let note = notes().into_iter().next().unwrap_or_default();
        vec![
            [
                b"old 5\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n\n".as_slice(),
                &note,
            ]
            .concat(),
        ]
    }),
];

const fn door(name: &'static str, run: fn(&[u8]), seeds: fn() -> Vec<Vec<u8>>) -> Target {
    Target { name, run, seeds }
}

/// Made with OpenSSL 3.0 from a key that was thrown away; with a basicConstraints request, as sigstore-python sends.
const CSR: &str = "MIHZMIGBAgEAMAAwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAAQKiQpipROucvGdsa47hMSn5nJQjjhkD7Sbk5avW1/Qtt/oppg3/oq2\
dpLRhZCOH8HMWY3N3vk9c2kOsSsHcmymoB8wHQYJKoZIhvcNAQkOMRAwDjAMBgNVHRMBAf8EAjAAMAoGCCqGSM49BAMCA0cAMEQCIBO/shHn\
NifT7ic8/UvVZhcfxLcul7NGiSpu8+Tc/IwEAiBz0LK5Z8UgRUnY0oxxM6BUGKosRLP7xV4eEgEuvS3R9A==";
/// The key of it.
const KEY: &str = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAECokKYqUTrnLxnbGuO4TEp+ZyUI44ZA+0m5OWr1tf0Lbf6KaYN/6KtnaS0YWQjh/BzFmNzd75\
PXNpDrErB3Jspg==";
/// `openssl ts -query` with a policy and a nonce.
const TIMESTAMP_REQUEST: &str = "MEcCAQEwMTANBglghkgBZQMEAgEFAAQgqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqoGAioDAgg7Ve9CmKtQnwEB/w==";
const JWKS: &str = r#"{"keys":[{"kty":"EC","crv":"P-256","kid":"a","alg":"ES256","use":"sig","x":"CokKYqUTrnLxnbGuO4TEp-ZyUI44ZA-0m5OWr1tf0LY","y":"3-immDf-irZ2ktGFkI4fwcxZjc3e-T1zaQ6xKwdybKY"},{"kty":"RSA","kid":"b","n":"sXchDaQebHnPiGvyDOAT4saGEUetSyo9MKLOoWFsueri23bOdgWp4Dy1WlUzewbgBHod5pcM9H95GQRV3JDXboIRROSBigeC5yjU1hGzHHyXss8UDprecbAYxknTcQkhslANGRUZmdTOQ5qTRsLAt6BTYuyvVRdhS8exSZEy_c4gs_7svlJJQ4H9_NxsiIoLwAEk7-Q3UXERGYw_75IDrGA84-lA_-Ct4eTlXHBIY2EaV7t7LjJaynVJCpkv4LKjTTAumiGUIuQhrNhZLuF_RJLqHpM2kgWFLU7-VTdL1VbC2tejvcI2BlMkEpk1BzBZI0KQB0GaDWFLN-aEAw3vRw","e":"AQAB"}]}"#;
const ISSUERS: &str = "oidc-issuers:
  https://accounts.example.com: &a
    issuer-url: https://accounts.example.com
    client-id: sigstore
    type: email
    issuer-claim: $.federated_claims.connector_id
  https://token.actions.githubusercontent.com:
    issuer-url: https://token.actions.githubusercontent.com
    client-id: sigstore
    type: github-workflow
";
/// A layer and its annotations, as cosign before version 3 attached them.
const LEGACY: &str = r#"{"layer":"{\"critical\":{\"identity\":{\"docker-reference\":\"localhost:5000/a\"},\"image\":{\"docker-manifest-digest\":\"sha256:2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881\"},\"type\":\"cosign container image signature\"},\"optional\":null}","annotations":{"dev.cosignproject.cosign/signature":"c2ln","dev.sigstore.cosign/bundle":"{\"SignedEntryTimestamp\":\"c2V0\",\"Payload\":{\"body\":\"eyJhcGlWZXJzaW9uIjoiMC4wLjEiLCJraW5kIjoiaGFzaGVkcmVrb3JkIiwic3BlYyI6e319\",\"integratedTime\":1700000000,\"logIndex\":7,\"logID\":\"c0d23d6a\"}}","dev.sigstore.cosign/rfc3161timestamp":"{\"SignedRFC3161Timestamp\":\"dHM=\"}"}}"#;
const LEGACY_ENVELOPE: &str = r#"{"layer":"{\"payloadType\":\"application/vnd.in-toto+json\",\"payload\":\"e30=\",\"signatures\":[{\"keyid\":\"\",\"sig\":\"c2ln\"}]}","annotations":{"predicateType":"https://slsa.dev/provenance/v1"}}"#;
const OCI_INDEX: &str = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881","size":7,"platform":{"os":"linux","architecture":"arm","variant":"v7"}}]}"#;
const REFERENCE: &str = "registry.example.com:5000/team/app:v1@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const POLICY: &str = "log example.com/log+95e0b1ae+AScSZ4bIYfBbFdNVdRMyjUT0LZqKqzFq1kJDmP0KzUWQ
witness a b.example+00000000+AAAA https://b.example/
group g any a
quorum g
";

fn base64(text: &str) -> Vec<u8> {
    STANDARD.decode(text).expect("base64")
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

fn now() -> jiff::Timestamp {
    jiff::Timestamp::from_second(1_790_000_000).expect("in range")
}

// The issuers.

fn token(bytes: &[u8]) {
    let Some(text) = text(bytes) else { return };
    let Ok(token) = oidc::Token::parse(text) else {
        return;
    };
    let keys = oidc::Jwks::parse(JWKS.as_bytes()).expect("our key set");
    let expect = oidc::Expect {
        issuer: "https://accounts.example.com",
        audience: "sigstore",
    };
    assert!(
        token.verify(&keys, &expect, now()).is_err(),
        "nobody signed this token"
    );
}

fn tokens() -> Vec<Vec<u8>> {
    let claims = json!({
        "iss": "https://accounts.example.com", "aud": ["sigstore", "other"], "sub": "1", "exp": 1_790_000_300, "iat": 1_790_000_000,
        "nbf": 1_790_000_000, "email": "a@example.com", "email_verified": "true", "federated_claims": {"connector_id": "c"},
    });
    let headers = [
        json!({"alg": "ES256", "kid": "a", "typ": "JWT"}),
        json!({"alg": "RS256", "kid": "b"}),
        json!({"alg": "none"}),
    ];
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    headers
        .iter()
        .map(|header| {
            let signature = URL_SAFE_NO_PAD.encode([1_u8; 64]);
            format!("{}.{}.{signature}", encode(header), encode(&claims)).into_bytes()
        })
        .collect()
}

fn jwks(bytes: &[u8]) {
    let _ = oidc::Jwks::parse(bytes);
}

fn csr(bytes: &[u8]) {
    let _ = Csr::from_der(bytes);
    if let Some(text) = text(bytes) {
        let _ = Csr::from_pem(text);
    }
}

fn fulcio_issuers(bytes: &[u8]) {
    let Ok(issuers) = fulcio_rs::Issuers::parse(bytes, &client::Settings::default()) else {
        return;
    };
    assert!(
        !issuers.describe().is_empty(),
        "a file without issuers is refused"
    );
}

fn fulcio_request(bytes: &[u8]) {
    let parsed = serde_json::from_slice::<wire::fulcio::SigningCertificateRequest>(bytes);
    let Ok(request) = parsed else { return };
    let written = serde_json::to_vec(&request).expect("a request is written");
    let again = serde_json::from_slice::<wire::fulcio::SigningCertificateRequest>(&written);
    assert!(again.is_ok_and(|again| again == request));
}

fn fulcio_requests() -> Vec<Vec<u8>> {
    let pem = keys::pem::encode("PUBLIC KEY", &base64(KEY));
    vec![
        json!({
            "credentials": {"oidcIdentityToken": "a.b.c"},
            "publicKeyRequest": {"publicKey": {"algorithm": "ECDSA", "content": pem}, "proofOfPossession": "AAAA"},
        })
        .to_string()
        .into_bytes(),
        json!({"certificate_signing_request": "AAAA"})
            .to_string()
            .into_bytes(),
    ]
}

fn add_chain(bytes: &[u8]) {
    let roots = ctlog_rs::roots::Roots::new(&[]).expect("no roots");
    for kind in [
        ctlog_rs::admit::Kind::Certificate,
        ctlog_rs::admit::Kind::Precertificate,
    ] {
        let admitted = ctlog_rs::admit::would_take(bytes, kind, &roots);
        assert!(admitted.is_err(), "a log without roots takes nothing");
    }
}

fn add_chain_seeds() -> Vec<Vec<u8>> {
    certificates()
        .iter()
        .map(|der| {
            let der = STANDARD.encode(der);
            json!({"chain": [der, der]}).to_string().into_bytes()
        })
        .collect()
}

fn timestamp_request(bytes: &[u8]) {
    let _ = tsp::Request::parse_der(bytes);
}

fn timestamp_request_json(bytes: &[u8]) {
    let _ = tsp::Request::parse_json(bytes);
}

fn timestamp_requests_json() -> Vec<Vec<u8>> {
    vec![
        json!({
            "artifactHash": STANDARD.encode([1_u8; 32]), "hashAlgorithm": "sha256", "certificates": true, "nonce": 1_u64 << 60,
            "tsaPolicyOID": "1.2.3.4",
        })
        .to_string()
        .into_bytes(),
    ]
}

// Certificates, keys, and what witnesses them.

fn certificate(bytes: &[u8]) {
    let Ok(certificate) = Certificate::from_der(bytes) else {
        return;
    };
    assert_eq!(certificate.der(), bytes, "kept as it came");
    let _ = certificate.subject_names();
    let _ = FulcioExtensions::from_certificate(&certificate);
    let _ = ct::embedded_scts(&certificate);
    let _ = ct::entry_of_leaf(&certificate, &certificate);
}

fn certificates() -> Vec<Vec<u8>> {
    conformance_bundles()
        .into_iter()
        .filter_map(|bundle| match bundle.signer {
            Signer::Certificate { leaf, .. } => Some(leaf.der().to_vec()),
            Signer::Key { .. } => None,
        })
        .take(6)
        .collect()
}

fn conformance_bundles() -> Vec<Bundle> {
    files("sigstore-conformance", |name| {
        name == "bundle.sigstore.json"
    })
    .iter()
    .filter_map(|bytes| Bundle::parse(bytes).ok())
    .collect()
}

fn public_key(bytes: &[u8]) {
    let from_der = PublicKey::from_spki_der(bytes).ok();
    let from_pem = text(bytes).and_then(|text| PublicKey::from_pem(text).ok());
    for key in [from_der, from_pem].into_iter().flatten() {
        let again = PublicKey::from_pem(&key.to_pem());
        assert!(again.is_ok_and(|again| again == key));
        for algorithm in Algorithm::all() {
            assert!(key.verify(algorithm, b"message", bytes).is_err());
        }
    }
}

fn private_key(bytes: &[u8]) {
    let Some(text) = text(bytes) else { return };
    // Without a password: what it protects is not reached, and its parameters are.
    if let Ok(key) = signer::Signer::from_pem(text, None) {
        let signature = key.sign_local(b"message").expect("a key signs");
        let algorithm = key.algorithm();
        assert!(
            key.public_key()
                .verify(algorithm, b"message", &signature)
                .is_ok()
        );
    }
}

fn sct_list(bytes: &[u8]) {
    if let Ok(sct) = Sct::parse(bytes) {
        assert_eq!(sct.encode().as_deref(), Ok(bytes), "written as it stood");
    }
    if let Ok(list) = Sct::parse_list(bytes) {
        assert_eq!(
            Sct::encode_list(&list).as_deref(),
            Ok(bytes),
            "written as it stood"
        );
    }
}

fn sct_lists() -> Vec<Vec<u8>> {
    certificates()
        .iter()
        .filter_map(|der| ct::embedded_scts(&Certificate::from_der(der).ok()?).ok())
        .filter_map(|scts| Sct::encode_list(&scts).ok())
        .collect()
}

fn timestamp_token(bytes: &[u8]) {
    let root = TrustedRoot::parse(&public_good()).expect("the public-good root");
    for authority in &root.timestamp_authorities {
        assert!(
            tsp::verify(bytes, b"nobody stamped this", &authority.chain).is_err(),
            "a token over other data"
        );
    }
    let _ = tsp::verify_embedded(bytes);
}

fn timestamps() -> Vec<Vec<u8>> {
    conformance_bundles()
        .into_iter()
        .flat_map(|bundle| bundle.timestamps)
        .take(4)
        .collect()
}

fn public_good() -> Vec<u8> {
    files("trust", |name| name == "public-good.json")
        .into_iter()
        .next()
        .expect("the public-good root")
}

// Logs.

fn checkpoint(bytes: &[u8]) {
    if let Ok(note) = Note::parse(bytes) {
        assert_eq!(note.to_bytes(), bytes, "written as it stood");
        if let Ok(checkpoint) = Checkpoint::parse(note.text()) {
            assert_eq!(checkpoint.to_text(), note.text(), "written as it stood");
        }
    }
    assert!(note::open(bytes, &[]).is_err(), "nobody is trusted");
}

fn notes() -> Vec<Vec<u8>> {
    conformance_bundles()
        .into_iter()
        .flat_map(|bundle| bundle.entries)
        .filter_map(|entry| entry.proof)
        .map(|proof| proof.checkpoint.into_bytes())
        .filter(|note| !note.is_empty())
        .take(6)
        .collect()
}

fn tile_path(bytes: &[u8]) {
    let Some(path) = text(bytes) else { return };
    if let Ok(tile) = path.parse::<tlog::TileId>() {
        assert_eq!(tile.to_string(), path, "one path for one tile");
    }
    if let Ok(bundle) = tlog::BundleId::parse(path, "entries") {
        assert_eq!(bundle.path("entries"), path, "one path for one bundle");
    }
}

fn tile_leaf(bytes: &[u8]) {
    let _ = ct::parse_tile_leaf(bytes);
    let _ = ct::parse_leaf_index(bytes);
}

fn tile_leaves() -> Vec<Vec<u8>> {
    certificates()
        .into_iter()
        .filter_map(|der| {
            let leaf = ct::LeafEntry {
                entry: ct::Entry::Certificate(der),
                precertificate: None,
                chain: vec![[7; 32]],
            };
            leaf.tile_leaf(1_700_000_000_000, &ct::leaf_index_extension(7)?)
                .ok()
        })
        .collect()
}

fn rekor_v2(bytes: &[u8]) {
    let Ok(proposed) = entry::Proposed::parse(bytes) else {
        return;
    };
    let algorithms: Vec<Algorithm> = Algorithm::all().collect();
    let _ = proposed.admit(&algorithms);
}

fn rekor_requests() -> Vec<Vec<u8>> {
    let verifier = json!({"publicKey": {"rawBytes": KEY}, "keyDetails": "PKIX_ECDSA_P256_SHA_256"});
    let digest = STANDARD.encode([1_u8; 32]);
    let signature = STANDARD.encode([0x30, 6, 2, 1, 1, 2, 1, 1]);
    vec![
        json!({"hashedRekordRequestV002": {
            "digest": digest,
            "signature": {"content": signature, "verifier": verifier},
        }})
        .to_string()
        .into_bytes(),
        json!({"dsseRequestV002": {
            "envelope": {"payload": "e30=", "payloadType": "application/vnd.in-toto+json", "signatures": [{"sig": signature, "keyid": ""}]},
            "verifiers": [verifier],
        }})
        .to_string()
        .into_bytes(),
    ]
}

fn rekor_v1(bytes: &[u8]) {
    let Ok(proposed) = kinds::Proposed::parse(bytes, &Kind::ALL) else {
        return;
    };
    let algorithms: Vec<Algorithm> = Algorithm::all().collect();
    let rules = Rules::of_admission(&algorithms, now());
    let Ok(accepted) = proposed.admit(&rules) else {
        return;
    };
    assert!(
        serde_json::from_slice::<Value>(accepted.body()).is_ok(),
        "a body is JSON"
    );
    assert!(accepted.keys().len() <= kinds::MAX_KEYS);
}

fn witness_policy(bytes: &[u8]) {
    let _ = witness::Policy::parse(bytes);
}

fn policy(bytes: &[u8]) {
    if let Ok(policy) = policy::Policy::parse(bytes) {
        assert!(!policy.expectations().is_empty(), "somebody is expected");
        let decision = policy.judge(policy::Asked::Any, &[]);
        assert!(!decision.is_accepted(), "nothing is not enough");
    }
}

fn witness_submission(bytes: &[u8]) {
    let _ = witness::Submission::parse(bytes);
}

// What packages are signed with.

fn openpgp(bytes: &[u8]) {
    if let Ok(ring) = openpgp::Keyring::parse(bytes) {
        let again = openpgp::Keyring::parse(ring.to_armor().as_bytes());
        let again = again.expect("what was written is read");
        assert_eq!(again.to_armor(), ring.to_armor(), "written the same again");
    }
    let _ = openpgp::Signature::parse(bytes);
    let _ = openpgp::Cleartext::parse(bytes);
}

fn openpgp_seeds() -> Vec<Vec<u8>> {
    let proposals = lines("rekor-v1/rekord.jsonl", "proposal");
    let member = |proposal: &Value, path: &str| {
        let content = proposal.pointer(path)?.as_str()?;
        let content = STANDARD.decode(content).ok()?;
        content
            .windows(5)
            .any(|word| word == b" PGP ")
            .then_some(content)
    };
    proposals
        .iter()
        .flat_map(|proposal| {
            [
                member(proposal, "/spec/signature/publicKey/content"),
                member(proposal, "/spec/signature/content"),
            ]
        })
        .flatten()
        .take(16)
        .collect()
}

fn alpine(bytes: &[u8]) {
    let _ = package::Apk::parse(bytes);
}

fn rpm(bytes: &[u8]) {
    let _ = package::Rpm::parse(bytes);
}

fn jar(bytes: &[u8]) {
    let _ = package::Jar::verify(bytes);
}

// What verifiers read.

fn bundle(bytes: &[u8]) {
    let Ok(bundle) = Bundle::parse(bytes) else {
        return;
    };
    // Old versions may lack what the newest one demands.
    if bundle.version == bundle::Version::V03 {
        let written = bundle.to_json().expect("a bundle is written");
        let again = Bundle::parse(&written).expect("what was written is read");
        assert_eq!(again, bundle);
    }
    if let Content::Envelope(envelope) = &bundle.content {
        let _ = dsse::Statement::parse(&envelope.payload);
    }
}

fn statement(bytes: &[u8]) {
    let _ = dsse::Statement::parse(bytes);
}

fn trusted_root(bytes: &[u8]) {
    if let Ok(root) = TrustedRoot::parse(bytes) {
        let written = root.to_json().expect("a root is written");
        TrustedRoot::parse(written.as_bytes()).expect("what was written is read");
    }
    let _ = ClientTrustConfig::parse(bytes);
}

fn signing_config(bytes: &[u8]) {
    if let Ok(config) = SigningConfig::parse(bytes) {
        let written = config.to_json().expect("a config is written");
        let again = SigningConfig::parse(written.as_bytes());
        assert!(again.is_ok_and(|again| again == config));
    }
}

fn tuf(bytes: &[u8]) {
    let Ok(envelope) = tuf::Envelope::parse(bytes, 1 << 20) else {
        return;
    };
    let _ = envelope.content_unverified::<tuf::Root>();
    let _ = envelope.content_unverified::<tuf::Targets>();
}

fn oci_reference(bytes: &[u8]) {
    let Some(text) = text(bytes) else { return };
    if let Ok(reference) = oci::Reference::parse(text) {
        let again = oci::Reference::parse(&reference.to_string());
        assert!(again.is_ok_and(|again| again == reference));
    }
}

fn legacy_signature(bytes: &[u8]) {
    let Ok(document) = serde_json::from_slice::<Value>(bytes) else {
        return;
    };
    let layer = document.get("layer").and_then(Value::as_str);
    let layer = layer.unwrap_or_default().as_bytes();
    let annotations: BTreeMap<String, String> = document
        .get("annotations")
        .cloned()
        .and_then(|annotations| serde_json::from_value(annotations).ok())
        .unwrap_or_default();
    // What was read is written so that the same is read again; roots in a chain apart, which nobody looks at.
    if let Ok(read) = Legacy::signature(layer.to_vec(), &annotations) {
        let again = Legacy::signature(layer.to_vec(), &read.annotations(&[]));
        assert!(
            again.is_ok_and(|again| again.content == read.content && again.entries == read.entries)
        );
    }
    if let Ok(read) = Legacy::attestation(layer.to_vec(), &annotations) {
        let again = Legacy::attestation(layer.to_vec(), &read.annotations(&[]));
        assert!(
            again.is_ok_and(|again| again.content == read.content && again.entries == read.entries)
        );
    }
    if let Ok(claims) = SimpleSigning::parse(layer) {
        let written = claims.to_json().expect("JSON");
        assert!(SimpleSigning::parse(&written).is_ok_and(|again| again.image() == claims.image()));
    }
}

fn oci_index(bytes: &[u8]) {
    let image = oci::Image {
        descriptor: oci::Descriptor::of(oci::INDEX_TYPE, bytes),
        manifest: bytes.to_vec().into(),
    };
    for child in image.children().unwrap_or_default() {
        if let Some(platform) = &child.platform {
            let _any = platform.to_string().parse::<oci::Platform>();
        }
        for kind in oci::LegacyKind::ALL {
            assert!(kind.tag(&child.digest).len() <= 200);
        }
    }
}
