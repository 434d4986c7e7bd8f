//! SCTs of the public CT logs in bundles of the public suite, and our own encodings both ways.
#![allow(clippy::unwrap_used, reason = "a panic is the failure report")]

use ct::{
    CtError, LeafEntry, Sct, embedded_scts, entry_of_leaf, leaf_index_extension, parse_leaf_index,
    parse_tile_leaf,
};
use keys::{Algorithm, PublicKey};
use pki::Certificate;
use wire::bundle::Bundle;
use wire::trustroot::TrustedRoot;

fn leaf(bundle: &[u8]) -> Certificate {
    let bundle: Bundle = wire::parse(bundle).unwrap();
    Certificate::from_der(
        &bundle
            .verification_material
            .certificate
            .unwrap()
            .raw_bytes
            .0,
    )
    .unwrap()
}

fn logs_and_issuer(root: &[u8], leaf: &Certificate) -> (Vec<PublicKey>, Certificate) {
    let root: TrustedRoot = wire::parse(root).unwrap();
    let logs = root
        .ctlogs
        .iter()
        .filter_map(|log| PublicKey::from_spki_der(&log.public_key.raw_bytes.0).ok())
        .collect();
    let issuer = root
        .certificate_authorities
        .iter()
        .flat_map(|authority| &authority.cert_chain.certificates)
        .map(|certificate| Certificate::from_der(&certificate.raw_bytes.0).unwrap())
        .find(|certificate| leaf.is_signed_by(certificate.public_key()))
        .unwrap();
    (logs, issuer)
}

const SUITE: &str = "../../../testdata/sigstore-conformance/bundle-verify";

#[test]
fn scts_of_the_real_logs_verify() {
    for case in ["bundle-with-sct-with-extensions", "rekor2-happy-path"] {
        #[expect(clippy::disallowed_methods, reason = "a test reads its data")]
        let read = |name: &str| {
            std::fs::read(format!(
                "{}/{SUITE}/{case}/{name}",
                env!("CARGO_MANIFEST_DIR")
            ))
            .unwrap()
        };
        let leaf = leaf(&read("bundle.sigstore.json"));
        let (logs, issuer) = logs_and_issuer(&read("trusted_root.json"), &leaf);
        let scts = embedded_scts(&leaf).unwrap();
        assert_eq!(scts.len(), 1);
        let sct = scts.first().unwrap();
        let log = logs.iter().find(|log| log.key_id() == sct.log_id).unwrap();
        let entry = entry_of_leaf(&leaf, &issuer).unwrap();
        assert_eq!(sct.verify(&entry, log), Ok(()), "{case}");
        assert_eq!(
            parse_leaf_index(&sct.extensions).unwrap().is_some(),
            case.contains("extensions")
        );
        let mut later = sct.clone();
        later.timestamp_ms += 1;
        assert_eq!(later.verify(&entry, log), Err(CtError::Signature));
        let other = entry_of_leaf(&leaf, &leaf).unwrap();
        assert_eq!(
            sct.verify(&other, log),
            Err(CtError::Signature),
            "the issuer's key is part of it"
        );
        assert_eq!(Sct::parse(&sct.encode().unwrap()).as_ref(), Ok(sct));
    }
}

#[test]
fn lists_and_leaves_survive_and_cut_ones_are_refused() {
    let signer = signer::Signer::generate(Algorithm::EcdsaP256Sha256).unwrap();
    let sct = Sct::new(
        signer.public_key(),
        7,
        leaf_index_extension(70_000).unwrap(),
        vec![1, 2, 3],
    );
    let list = Sct::encode_list(&[sct.clone(), sct.clone()]).unwrap();
    assert_eq!(Sct::parse_list(&list), Ok(vec![sct.clone(), sct.clone()]));
    for cut in 0..list.len() {
        assert!(Sct::parse_list(&list[..cut]).is_err(), "{cut}");
    }
    assert!(Sct::parse_list(&Sct::encode_list(&vec![sct; 17]).unwrap()).is_err());
    assert_eq!(
        leaf_index_extension(0x70),
        Some(vec![0, 0, 5, 0, 0, 0, 0, 0x70])
    );
    assert_eq!(
        parse_leaf_index(&leaf_index_extension(u64::pow(2, 40) - 1).unwrap()),
        Ok(Some(u64::pow(2, 40) - 1))
    );
    assert_eq!(leaf_index_extension(u64::pow(2, 40)), None);
    let leaf = LeafEntry {
        entry: ct::Entry::Precertificate {
            issuer_key_hash: [9; 32],
            tbs: vec![1; 300],
        },
        precertificate: Some(vec![2; 400]),
        chain: vec![[3; 32], [4; 32]],
    };
    let bytes = leaf.tile_leaf(5, &[]).unwrap();
    let parsed = parse_tile_leaf(&[bytes.clone(), vec![0xff; 9]].concat()).unwrap();
    assert_eq!(
        (parsed.leaf, parsed.timestamp_ms, parsed.length),
        (leaf, 5, bytes.len())
    );
    for cut in 0..bytes.len() {
        assert!(parse_tile_leaf(&bytes[..cut]).is_err(), "{cut}");
    }
}
