//! What a log takes in, in which bytes, and that a verifier reads the same out of them.
#![allow(clippy::unwrap_used, reason = "a panic is the failure report")]

use entry::{
    Accepted, AdmitError, BindError, Body, BodyError, Content, Proposed, REKOR_V2_ALGORITHMS,
    Signed, Verifier,
};
use keys::{Algorithm, Digest, HashAlgorithm};
use signer::Signer;

fn signed(signer: &Signer, message: &[u8]) -> Signed {
    Signed {
        signature: signer.sign_local(message).unwrap(),
        verifier: Verifier::Key(signer.public_key().clone()),
    }
}

fn admit(proposed: &Proposed) -> Result<Accepted, AdmitError> {
    let bytes = serde_json::to_vec(&proposed.to_wire()).unwrap();
    Proposed::parse(&bytes)?.admit(&REKOR_V2_ALGORITHMS)
}

#[test]
fn a_hashedrekord_goes_in_canonically_and_binds_what_it_says() {
    let signer = Signer::generate(Algorithm::EcdsaP256Sha256).unwrap();
    let (digest, signed) = (
        Digest::of(HashAlgorithm::Sha256, b"file"),
        signed(&signer, b"file"),
    );
    let accepted = admit(&Proposed::hashedrekord(
        &digest,
        &signed,
        signer.algorithm(),
    ))
    .unwrap();
    assert!(accepted.body().starts_with(
        b"{\"apiVersion\":\"0.0.2\",\"kind\":\"hashedrekord\",\"spec\":{\"hashedRekordV002\":{\"data\":{\"algorithm\":\"SHA2_256\",\"digest\":"
    ));
    let body = Body::parse("hashedrekord", "0.0.2", accepted.body()).unwrap();
    assert_eq!(
        body.bind(
            Content::Message(&digest),
            &signed.signature,
            &signed.verifier
        ),
        Ok(())
    );
    let other = Digest::of(HashAlgorithm::Sha256, b"other");
    assert_eq!(
        body.bind(
            Content::Message(&other),
            &signed.signature,
            &signed.verifier
        ),
        Err(BindError::Digest)
    );
    assert_eq!(
        body.bind(Content::Message(&digest), b"other", &signed.verifier),
        Err(BindError::Signature)
    );
    let foreign = Verifier::Key(
        Signer::generate(Algorithm::EcdsaP256Sha256)
            .unwrap()
            .public_key()
            .clone(),
    );
    assert_eq!(
        body.bind(Content::Message(&digest), &signed.signature, &foreign),
        Err(BindError::Verifier)
    );
    let mut spaced = accepted.body().to_vec();
    spaced.push(b' ');
    assert_eq!(
        Body::parse("hashedrekord", "0.0.2", &spaced),
        Err(BodyError::NotCanonical)
    );
    assert!(matches!(
        Body::parse("dsse", "0.0.2", accepted.body()),
        Err(BodyError::OtherKind { .. })
    ));
    assert!(matches!(
        Body::parse("intoto", "0.0.3", accepted.body()),
        Err(BodyError::Kind { .. })
    ));
}

#[test]
fn what_does_not_hold_stays_out() {
    let signer = Signer::generate(Algorithm::EcdsaP256Sha256).unwrap();
    let good = signed(&signer, b"file");
    let digest = Digest::of(HashAlgorithm::Sha256, b"file");
    let other = Digest::of(HashAlgorithm::Sha256, b"other");
    assert_eq!(
        admit(&Proposed::hashedrekord(&other, &good, signer.algorithm())),
        Err(AdmitError::Signature)
    );
    let short = Digest::of(HashAlgorithm::Sha384, b"file");
    assert!(matches!(
        admit(&Proposed::hashedrekord(&short, &good, signer.algorithm())),
        Err(AdmitError::Invalid { what: "digest", .. })
    ));
    assert!(matches!(
        admit(&Proposed::hashedrekord(
            &digest,
            &good,
            Algorithm::EcdsaP384Sha384
        )),
        Err(AdmitError::Invalid {
            what: "verifier",
            ..
        })
    ));
    let ed25519 = Signer::generate(Algorithm::Ed25519).unwrap();
    let pure = signed(&ed25519, b"file");
    assert!(matches!(
        admit(&Proposed::hashedrekord(&digest, &pure, Algorithm::Ed25519)),
        Err(AdmitError::Algorithm(..))
    ));
    for text in [
        "",
        "{}",
        "[]",
        "{\"hashedRekordRequestV002\":{}}",
        "{\"unknown\":1}",
    ] {
        assert!(
            matches!(
                Proposed::parse(text.as_bytes()),
                Err(AdmitError::Malformed(_))
            ),
            "{text}"
        );
    }
}

#[test]
fn an_envelope_goes_in_with_all_its_signatures() {
    let signers = [
        Signer::generate(Algorithm::EcdsaP256Sha256).unwrap(),
        Signer::generate(Algorithm::EcdsaP384Sha384).unwrap(),
    ];
    let pae = dsse::pae(dsse::IN_TOTO, b"{}");
    let envelope = wire::bundle::Envelope {
        payload: b"{}".as_slice().into(),
        payload_type: dsse::IN_TOTO.into(),
        signatures: signers
            .iter()
            .map(|signer| wire::bundle::EnvelopeSignature {
                sig: signer.sign_local(&pae).unwrap().into(),
                keyid: String::new(),
            })
            .collect(),
    };
    let verifier = |signer: &Signer| wire::rekor::Verifier {
        public_key: Some(wire::rekor::RawKey {
            raw_bytes: signer.public_key().spki_der().into(),
        }),
        x509_certificate: None,
        key_details: wire::encoding::EnumValue::name(signer.algorithm().wire_name()),
    };
    let request = |verifiers: Vec<wire::rekor::Verifier>| {
        Proposed::Dsse(wire::rekor::DsseRequest {
            envelope: envelope.clone(),
            verifiers,
        })
    };
    let accepted = admit(&request(signers.iter().map(verifier).collect())).unwrap();
    let Body::Dsse { payload, signed } = Body::parse("dsse", "0.0.2", accepted.body()).unwrap()
    else {
        panic!("another kind")
    };
    assert_eq!(payload, Digest::of(HashAlgorithm::Sha256, b"{}"));
    assert!(
        signed
            .windows(2)
            .all(|pair| pair[0].signature < pair[1].signature),
        "sorted by their bytes"
    );
    assert_eq!(
        admit(&request(vec![verifier(&signers[0])])),
        Err(AdmitError::Signature)
    );
    let third = Signer::generate(Algorithm::EcdsaP256Sha256).unwrap();
    let mut too_many: Vec<_> = signers.iter().map(verifier).collect();
    too_many.push(verifier(&third));
    assert!(matches!(
        admit(&request(too_many)),
        Err(AdmitError::Invalid {
            what: "verifiers",
            ..
        })
    ));
    assert!(matches!(
        admit(&request(Vec::new())),
        Err(AdmitError::Invalid {
            what: "verifiers",
            ..
        })
    ));
}
