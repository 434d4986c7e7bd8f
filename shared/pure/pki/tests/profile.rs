//! The certificates that we issue read back as Fulcio's profile, and paths hold exactly when they should.
#![allow(clippy::unwrap_used, reason = "a panic is the failure report")]

use jiff::{SignedDuration, Timestamp};
use keys::{Algorithm, PublicKey};
use pki::lint::{self, Expected, Transparency};
use pki::profile::{self, Authority, AuthorityParameters, LeafParameters, ProfileError};
use pki::{
    Certificate, Csr, CsrError, Field, FulcioExtensions, PathError, Purpose, SubjectName, oid, path,
};
use signer::Signer;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn key(algorithm: Algorithm) -> Signer {
    Signer::generate(algorithm).unwrap()
}

fn authority(
    kind: Authority,
    key: &PublicKey,
    issuer: Option<(&Certificate, &Signer)>,
    own: Option<&Signer>,
) -> Certificate {
    let parameters = AuthorityParameters {
        authority: kind,
        organization: "Example".into(),
        common_name: format!("{kind:?}"),
        key: key.clone(),
        serial: [0xff; 20],
        not_before: at("2026-01-01T00:00:00Z"),
        not_after: at("2061-01-01T00:00:00Z"),
    };
    let unsigned = profile::prepare_authority(&parameters, issuer.map(|issuer| issuer.0)).unwrap();
    let signer = issuer.map(|issuer| issuer.1).or(own).unwrap();
    let signature = signer.sign_local(unsigned.to_be_signed()).unwrap();
    unsigned.seal(&signature).unwrap()
}

struct Chain {
    root: Certificate,
    intermediate: Certificate,
    signer: Signer,
}

fn chain() -> Chain {
    let (root_key, signer) = (
        key(Algorithm::EcdsaP384Sha384),
        key(Algorithm::EcdsaP256Sha256),
    );
    let root = authority(
        Authority::Root,
        root_key.public_key(),
        None,
        Some(&root_key),
    );
    let intermediate = authority(
        Authority::CodeSigningIntermediate,
        signer.public_key(),
        Some((&root, &root_key)),
        None,
    );
    Chain {
        root,
        intermediate,
        signer,
    }
}

fn parameters(key: &Signer) -> LeafParameters {
    let mut extensions = FulcioExtensions::default();
    extensions.set_issuer("https://issuer.example");
    extensions.set(Field::SourceRepositoryUri, "https://github.com/a/b");
    extensions.set(Field::BuildTrigger, "");
    LeafParameters {
        subject: SubjectName::Email("dev@example.com".into()),
        key: key.public_key().clone(),
        extensions,
        serial: [0; 20],
        not_before: at("2026-11-23T12:00:00Z"),
        not_after: at("2026-11-23T12:10:00Z"),
    }
}

fn leaf(chain: &Chain, parameters: LeafParameters) -> Certificate {
    let prepared = profile::prepare_leaf(parameters, &chain.intermediate).unwrap();
    let signature = chain.signer.sign_local(prepared.to_be_signed()).unwrap();
    let precertificate = prepared.seal(&signature).unwrap();
    assert!(
        precertificate
            .certificate()
            .extension(oid::CT_POISON)
            .unwrap()
            .0,
        "the poison is critical"
    );
    let prepared = precertificate.with_scts(&[0, 0]).unwrap();
    let signature = chain.signer.sign_local(prepared.to_be_signed()).unwrap();
    prepared.seal(&signature).unwrap()
}

#[test]
fn a_leaf_has_fulcios_profile() {
    let (chain, key) = (chain(), key(Algorithm::EcdsaP256Sha256));
    let leaf = leaf(&chain, parameters(&key));
    assert_eq!(
        leaf.subject_names(),
        [SubjectName::Email("dev@example.com".into())]
    );
    assert!(
        leaf.extension(oid::SUBJECT_ALT_NAME).unwrap().0,
        "critical, since the subject is empty"
    );
    assert_eq!(
        leaf.purposes(),
        Some((false, [oid::CODE_SIGNING].as_slice()))
    );
    assert_eq!(leaf.extension(oid::BASIC_CONSTRAINTS), None);
    assert_eq!(leaf.authority_key_id(), chain.intermediate.subject_key_id());
    assert_eq!(leaf.serial().len(), 20);
    assert_eq!(
        leaf.not_after().duration_since(leaf.not_before()),
        SignedDuration::from_mins(10)
    );
    let extensions = FulcioExtensions::from_certificate(&leaf).unwrap();
    assert_eq!(extensions.issuer(), Some("https://issuer.example"));
    assert_eq!(
        extensions.get(Field::IssuerV1),
        Some("https://issuer.example")
    );
    assert_eq!(extensions.get(Field::BuildTrigger), None);
    let order: Vec<_> = leaf.extensions().map(|(id, _, _)| id.to_string()).collect();
    assert_eq!(
        order,
        [
            "2.5.29.15",
            "2.5.29.37",
            "2.5.29.14",
            "2.5.29.35",
            "2.5.29.17",
            "1.3.6.1.4.1.57264.1.1",
            "1.3.6.1.4.1.57264.1.8",
            "1.3.6.1.4.1.57264.1.12",
            "1.3.6.1.4.1.11129.2.4.2"
        ]
    );
    assert!(leaf.is_signed_by(chain.intermediate.public_key()));
    assert!(!leaf.is_signed_by(chain.root.public_key()));
}

#[test]
fn a_path_holds_in_its_time_and_to_its_root_only() {
    let (ours, key) = (chain(), key(Algorithm::EcdsaP256Sha256));
    let leaf = leaf(&ours, parameters(&key));
    let verify = |intermediates: &[Certificate], anchors: &[Certificate], time: &str, purpose| {
        path::verify(&leaf, intermediates, anchors, at(time), purpose)
    };
    let (good, root, between) = (
        "2026-11-23T12:10:00Z",
        [ours.root.clone()],
        [ours.intermediate.clone()],
    );
    let path = verify(&between, &root, good, Purpose::CodeSigning).unwrap();
    assert_eq!(
        path.certificates(),
        [leaf.clone(), ours.intermediate.clone(), ours.root.clone()]
    );
    assert!(
        verify(&[], &between, good, Purpose::CodeSigning).is_ok(),
        "an intermediate may be the anchor"
    );
    for late in ["2026-11-23T12:10:01Z", "2026-11-23T11:59:59Z"] {
        assert!(matches!(
            verify(&between, &root, late, Purpose::CodeSigning),
            Err(PathError::NotValidAt { .. })
        ));
    }
    assert_eq!(
        verify(&between, &[], good, Purpose::CodeSigning).unwrap_err(),
        PathError::NoAnchor
    );
    assert!(matches!(
        verify(&[], &root, good, Purpose::CodeSigning),
        Err(PathError::NoPath(_))
    ));
    assert!(matches!(
        verify(&between, &[chain().root], good, Purpose::CodeSigning),
        Err(PathError::NoPath(_))
    ));
    assert!(matches!(
        verify(&between, &root, good, Purpose::TimeStamping),
        Err(PathError::Purpose(_))
    ));
}

#[test]
fn an_authority_is_no_leaf_and_a_leaf_is_no_authority() {
    let ours = chain();
    let now = at("2026-06-01T00:00:00Z");
    assert_eq!(
        path::verify(
            &ours.intermediate,
            &[],
            std::slice::from_ref(&ours.root),
            now,
            Purpose::CodeSigning
        )
        .unwrap_err(),
        PathError::LeafIsCa
    );
    let key = key(Algorithm::EcdsaP256Sha256);
    let leaf = leaf(&ours, parameters(&key));
    assert!(matches!(
        profile::prepare_leaf(parameters(&key), &leaf),
        Err(ProfileError::Issuer(_))
    ));
}

#[test]
fn a_foreign_signature_seals_nothing() {
    let (ours, key) = (chain(), key(Algorithm::EcdsaP256Sha256));
    let prepared = profile::prepare_leaf(parameters(&key), &ours.intermediate).unwrap();
    let foreign = key.sign_local(prepared.to_be_signed()).unwrap();
    assert!(matches!(
        prepared.seal(&foreign),
        Err(ProfileError::Signature)
    ));
}

#[test]
fn every_name_kind_reads_back_and_non_ascii_is_refused() {
    for name in [
        SubjectName::Uri("https://github.com/a/b/.github/workflows/c.yml@refs/heads/main".into()),
        SubjectName::UserName("grüße!example.com".into()),
        SubjectName::Dns("example.com".into()),
    ] {
        let (ours, key) = (chain(), key(Algorithm::Ed25519));
        let mut parameters = parameters(&key);
        parameters.subject = name.clone();
        let leaf = leaf(&ours, parameters);
        assert_eq!(leaf.subject_names(), [name]);
        let time = leaf.not_before() + SignedDuration::from_secs(1);
        path::verify(
            &leaf,
            &[ours.intermediate],
            &[ours.root],
            time,
            Purpose::CodeSigning,
        )
        .unwrap();
    }
    let mut parameters = parameters(&key(Algorithm::Ed25519));
    parameters.subject = SubjectName::Email("grüße@example.com".into());
    assert!(matches!(
        profile::prepare_leaf(parameters, &chain().intermediate),
        Err(ProfileError::Value(_))
    ));
}

#[test]
fn a_request_proves_possession() {
    let pair = rcgen::KeyPair::generate().unwrap();
    let mut asked = rcgen::CertificateParams::new(vec!["ignored.example".to_owned()]).unwrap();
    asked
        .distinguished_name
        .push(rcgen::DnType::CommonName, "grüße");
    let pem = asked.serialize_request(&pair).unwrap().pem().unwrap();
    let csr = Csr::from_pem(&pem).unwrap();
    assert_eq!(
        csr.public_key(),
        &PublicKey::from_pem(&pair.public_key_pem()).unwrap()
    );
    let block = keys::pem::decode(&pem, &["CERTIFICATE REQUEST"])
        .unwrap()
        .der;
    let mut broken = block.clone();
    *broken.last_mut().unwrap() ^= 1;
    assert!(matches!(
        Csr::from_der(&broken),
        Err(CsrError::Signature | CsrError::Malformed(_))
    ));
    assert!(matches!(
        Csr::from_der(&block[..block.len() - 1]),
        Err(CsrError::Malformed(_))
    ));
    assert!(matches!(
        Csr::from_der(&vec![0x30; 20_000]),
        Err(CsrError::Malformed(_))
    ));
}

fn expected<'a>(
    chain: &'a Chain,
    meant: &'a LeafParameters,
    transparency: Transparency,
) -> Expected<'a> {
    Expected {
        issuer: &chain.intermediate,
        key: &meant.key,
        subject: &meant.subject,
        extensions: &meant.extensions,
        longest: SignedDuration::from_mins(10),
        transparency,
    }
}

/// Precertificate, leaf with an SCT of four bytes, leaf without.
fn all_kinds(chain: &Chain, meant: &LeafParameters) -> [(Certificate, Transparency); 3] {
    let sign = |bytes: &[u8]| chain.signer.sign_local(bytes).unwrap();
    let alone = profile::prepare_leaf_without_ct(meant, &chain.intermediate).unwrap();
    let signature = sign(alone.to_be_signed());
    let alone = alone.seal(&signature).unwrap();
    let prepared = profile::prepare_leaf(meant.clone(), &chain.intermediate).unwrap();
    let signature = sign(prepared.to_be_signed());
    let precertificate = prepared.seal(&signature).unwrap();
    let poisoned = precertificate.certificate().clone();
    let prepared = precertificate.with_scts(&[0, 6, 0, 4, 1, 2, 3, 4]).unwrap();
    let signature = sign(prepared.to_be_signed());
    let leaf = prepared.seal(&signature).unwrap();
    [
        (poisoned, Transparency::Poison),
        (leaf, Transparency::Embedded),
        (alone, Transparency::None),
    ]
}

#[test]
fn what_we_issue_passes_the_lint_of_its_own_kind_only() {
    let kinds = [
        SubjectName::Email("dev@example.com".into()),
        SubjectName::Uri("https://github.com/a/b/.github/workflows/c.yml@refs/heads/main".into()),
        SubjectName::UserName("dev!example.com".into()),
    ];
    for algorithm in [
        Algorithm::EcdsaP256Sha256,
        Algorithm::EcdsaP521Sha512,
        Algorithm::Ed25519,
        Algorithm::RsaPkcs1Sha256_2048,
    ] {
        let (mut chain, key) = (chain(), key(algorithm));
        chain.signer = key.clone();
        // Each algorithm as that of the issuer too; a root of its own.
        chain.intermediate = authority(Authority::Root, key.public_key(), None, Some(&key));
        for subject in &kinds {
            let meant = LeafParameters {
                subject: subject.clone(),
                ..parameters(&key)
            };
            for (certificate, found) in all_kinds(&chain, &meant) {
                for wanted in [
                    Transparency::Poison,
                    Transparency::Embedded,
                    Transparency::None,
                ] {
                    let linted = lint::leaf(certificate.der(), &expected(&chain, &meant, wanted));
                    assert_eq!(linted.is_ok(), wanted == found, "{linted:?}");
                }
            }
        }
    }
}

#[test]
fn no_bit_of_a_body_may_be_another_but_those_that_only_the_issuer_knows() {
    let (chain, key) = (chain(), key(Algorithm::EcdsaP256Sha256));
    let meant = LeafParameters {
        serial: [0x55; 20],
        ..parameters(&key)
    };
    for (certificate, transparency) in all_kinds(&chain, &meant) {
        let expected = expected(&chain, &meant, transparency);
        let der = certificate.der().to_vec();
        lint::leaf(&der, &expected).unwrap();
        let find = |wanted: &[u8]| {
            let start = der
                .windows(wanted.len())
                .position(|window| window == wanted);
            start.map(|start| start..start + wanted.len())
        };
        // The serial number, the seconds and minutes of two times, and what the log says are free.
        let free: Vec<_> = [
            find(&[0x55; 20]),
            find(b"261123120000Z"),
            find(b"261123121000Z"),
            find(&[1, 2, 3, 4]),
        ]
        .into_iter()
        .flatten()
        .collect();
        let body = find(certificate.tbs_der()).unwrap();
        for position in 0..body.end {
            if free.iter().any(|range| range.contains(&position)) {
                continue;
            }
            for bit in 0..8 {
                let mut changed = der.clone();
                if let Some(byte) = changed.get_mut(position) {
                    *byte ^= 1 << bit;
                }
                assert!(
                    lint::leaf(&changed, &expected).is_err(),
                    "bit {bit} of byte {position}"
                );
            }
        }
        for end in 0..der.len() {
            assert!(lint::leaf(der.get(..end).unwrap(), &expected).is_err());
        }
        let longer = [der.as_slice(), &[0]].concat();
        assert!(lint::leaf(&longer, &expected).is_err());
    }
}

#[test]
fn what_was_not_meant_is_named() {
    let (chain, key) = (chain(), key(Algorithm::EcdsaP256Sha256));
    let lint = |made: &LeafParameters, meant: &LeafParameters| {
        let [_, (leaf, _), _] = all_kinds(&chain, made);
        let linted = lint::leaf(leaf.der(), &expected(&chain, meant, Transparency::Embedded));
        linted.unwrap_err().rule
    };
    let good = parameters(&key);
    let change = |change: fn(&mut LeafParameters)| {
        let mut changed = good.clone();
        change(&mut changed);
        changed
    };
    for (made, rule) in [
        (
            change(|leaf| leaf.not_after = at("2026-11-23T12:10:01Z")),
            "valid no longer",
        ),
        (
            change(|leaf| leaf.not_after = at("2026-11-23T12:00:00Z")),
            "begins before it ends",
        ),
        (
            change(|leaf| leaf.not_before = at("2025-12-31T23:59:59Z")),
            "valid no longer",
        ),
        (
            change(|leaf| leaf.subject = SubjectName::Email("dav@example.com".into())),
            "the identity's",
        ),
        (
            change(|leaf| leaf.subject = SubjectName::Uri("mailto:dev@example.com".into())),
            "a mail address",
        ),
        (
            change(|leaf| leaf.extensions.set(Field::Issuer, "https://other.example")),
            "both its extensions",
        ),
        (
            change(|leaf| leaf.extensions.set(Field::BuildTrigger, "push")),
            "what the token said",
        ),
        (
            change(|leaf| leaf.key = self::key(Algorithm::EcdsaP256Sha256).public_key().clone()),
            "possession was proven",
        ),
    ] {
        let found = lint(&made, &good);
        assert!(found.contains(rule), "{found}: {rule}");
    }
    // Of another issuer.
    let other = self::chain();
    let [_, (leaf, _), _] = all_kinds(&chain, &good);
    let linted = lint::leaf(leaf.der(), &expected(&other, &good, Transparency::Embedded));
    assert!(linted.unwrap_err().rule.contains("authorityKeyIdentifier"));
}

#[test]
fn a_request_of_ours_becomes_an_intermediate() {
    let (root_key, own) = (
        key(Algorithm::EcdsaP384Sha384),
        key(Algorithm::EcdsaP384Sha384),
    );
    let root = authority(
        Authority::Root,
        root_key.public_key(),
        None,
        Some(&root_key),
    );
    let unsigned = profile::prepare_request("Example", "issuing", own.public_key()).unwrap();
    let other = root_key.sign_local(unsigned.to_be_signed()).unwrap();
    let unsigned_again = profile::prepare_request("Example", "issuing", own.public_key()).unwrap();
    assert!(matches!(
        unsigned_again.seal(&other),
        Err(ProfileError::Signature)
    ));
    let signature = own.sign_local(unsigned.to_be_signed()).unwrap();
    let request = unsigned.seal(&signature).unwrap();
    let request = Csr::from_pem(&request.to_pem()).unwrap();
    assert_eq!(request.public_key(), own.public_key());
    let (from, to) = (at("2026-01-01T00:00:00Z"), at("2031-01-01T00:00:00Z"));
    let unsigned =
        profile::prepare_requested_intermediate(&request, &[7; 20], from, to, &root).unwrap();
    let signature = root_key.sign_local(unsigned.to_be_signed()).unwrap();
    let intermediate = unsigned.seal(&signature).unwrap();
    assert_eq!(intermediate.subject_der(), request.subject_der());
    assert_eq!(intermediate.path_length(), Some(0));
    assert_eq!(
        intermediate.purposes(),
        Some((false, [oid::CODE_SIGNING].as_slice()))
    );
    assert!(intermediate.is_signed_by(root.public_key()));
}

/// Strangers send certificates to logs: what is done for each extension must not grow with their number.
#[test]
fn an_extension_stands_once_among_however_many() {
    let certificate = |ids: &[u64]| {
        let mut parameters = rcgen::CertificateParams::new(Vec::new()).unwrap();
        parameters.custom_extensions = ids
            .iter()
            .map(|id| rcgen::CustomExtension::from_oid_content(&[1, 3, 6, 1, *id], vec![5, 0]))
            .collect();
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let signed = parameters.self_signed(&key).unwrap();
        Certificate::from_der(signed.der())
    };
    let many: Vec<u64> = (1..=3000).rev().collect();
    assert_eq!(certificate(&many).unwrap().extensions().count(), 3000);
    for (first, second) in [(0, 1), (0, 2999), (1500, 2998)] {
        let mut twice = many.clone();
        twice[second] = twice[first];
        let expected = const_oid::ObjectIdentifier::new_unwrap("1.3.6.1")
            .push_arc(u32::try_from(twice[first]).unwrap())
            .unwrap();
        assert_eq!(
            certificate(&twice),
            Err(pki::CertError::Duplicate(expected))
        );
    }
}
