//! The log over HTTP: what it takes in, what it refuses, and that its promises hold.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs,
    reason = "a panic is a test's report"
)]

mod common;

use std::io::Read as _;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use common::{Ca, START_MS, at, authority, config, key, log, log_of};
use ct::{entry_of_precertificate, parse_leaf_index, parse_tile_leaf};
use ctlog_rs::admit::Window;
use jiff::SignedDuration;
use keys::{Algorithm, sha256};
use p256::ecdsa::signature::Verifier as _;
use p256::pkcs8::DecodePublicKey as _;
use pki::Certificate;
use pki::profile::{self, Authority};
use signer::Signer;
use wire::encoding::Bytes;

#[tokio::test]
async fn an_sct_is_a_promise_that_the_tiles_keep() {
    let (folder, ca) = (tempfile::tempdir().unwrap(), Ca::new());
    let log = log(folder.path(), &ca, &key()).await;
    let precertificate = ca.precertificate(0);
    let chain = [&[precertificate.clone()][..], &ca.chain].concat();
    let sct = log.sct(&chain).await;
    let entry = entry_of_precertificate(&precertificate, &ca.chain[0]).unwrap();
    assert_eq!(sct.verify(&entry, log.key.public_key()), Ok(()));
    assert_eq!(parse_leaf_index(&sct.extensions), Ok(Some(0)));
    assert_eq!(sct.timestamp_ms, START_MS);
    // Again, an hour later and without the root: the same time and index.
    log.clock.advance(std::time::Duration::from_hours(1));
    let again = log.sct(&chain[..2]).await;
    assert_eq!(
        (again.timestamp_ms, &again.extensions),
        (sct.timestamp_ms, &sct.extensions)
    );
    assert_eq!(again.verify(&entry, log.key.public_key()), Ok(()));
    let (_, data) = log.get("/tile/data/000.p/1").await;
    let parsed = parse_tile_leaf(&data).unwrap();
    assert_eq!(
        parsed.leaf.precertificate.as_deref(),
        Some(precertificate.der())
    );
    assert_eq!(
        parsed.leaf.chain,
        [sha256(ca.chain[0].der()), sha256(ca.chain[1].der())]
    );
    // The same, packed, for those who take it so.
    for (accepted, packed) in [
        ("gzip", true),
        ("br, gzip;q=0.5", true),
        ("gzip;q=0, identity", false),
        ("identity", false),
    ] {
        let request = Request::get("/tile/data/000.p/1").header("accept-encoding", accepted);
        let (_, headers, body) = log.answer(request.body(Body::empty()).unwrap()).await;
        assert_eq!(headers.contains_key("content-encoding"), packed);
        assert_eq!(headers["vary"], "accept-encoding");
        let mut unpacked = Vec::new();
        if packed {
            let mut reader = flate2::read::GzDecoder::new(body.as_slice());
            reader.read_to_end(&mut unpacked).unwrap();
        } else {
            unpacked = body;
        }
        assert_eq!(unpacked, data, "{accepted}");
    }
    let fingerprint = hex::encode(parsed.leaf.chain[0]);
    assert_eq!(
        log.get(&format!("/issuer/{fingerprint}")).await,
        (StatusCode::OK, ca.chain[0].der().to_vec())
    );
    for path in ["/checkpoint", "/test/checkpoint"] {
        let (_, checkpoint) = log.get(path).await;
        let opened = note::open(&checkpoint, &[log.verifier()]).unwrap();
        assert_eq!(opened.head().size.get(), 1);
    }
    assert_eq!(log.get("/tile/0/000.p/1").await.1.len(), 32);
    for path in [
        "/tile/0/000.p/2",
        "/tile/data/001",
        "/issuer/00",
        "/nothing",
    ] {
        assert_eq!(log.get(path).await.0, StatusCode::NOT_FOUND, "{path}");
    }
    let about = log.ask("/test/log.v3.json").await;
    assert_eq!(
        about["log_id"],
        Bytes::encode(&log.key.public_key().key_id())
    );
    assert_eq!(about["submission_url"], "http://localhost:6962/test/");
    assert_eq!(log.refused("/readyz").await, (200, "ready\n".to_owned()));
}

/// RFC 6962 section 3.2 written out, and the signature verified by another library. What is signed is cut out of the final certificate
/// by hand: its body with the extension of the SCTs taken away.
#[tokio::test]
async fn an_sct_in_a_certificate_verifies_with_other_code() {
    use x509_cert::der::{Decode as _, Encode as _};
    use x509_cert::ext::pkix::sct::SignedCertificateTimestampList;

    let (folder, ca) = (tempfile::tempdir().unwrap(), Ca::new());
    let log = log(folder.path(), &ca, &key()).await;
    let prepared = profile::prepare_leaf(Ca::leaf(5), &ca.chain[0]).unwrap();
    let signature = ca.key.sign_local(prepared.to_be_signed()).unwrap();
    let precertificate = prepared.seal(&signature).unwrap();
    let chain = [&[precertificate.certificate().clone()][..], &ca.chain].concat();
    let sct = log.sct(&chain).await;
    let list = ct::Sct::encode_list(&[sct]).unwrap();
    let prepared = precertificate.with_scts(&list).unwrap();
    let signature = ca.key.sign_local(prepared.to_be_signed()).unwrap();
    let leaf = prepared.seal(&signature).unwrap();

    let parsed = x509_cert::Certificate::from_der(leaf.der()).unwrap();
    let tbs = parsed.tbs_certificate();
    let extensions = tbs.extensions().unwrap();
    let list = extensions
        .iter()
        .find(|extension| extension.extn_id.to_string() == "1.3.6.1.4.1.11129.2.4.2")
        .unwrap();
    let list = SignedCertificateTimestampList::from_der(list.extn_value.as_bytes()).unwrap();
    let scts = list.parse_timestamps().unwrap();
    assert_eq!(scts.len(), 1);
    let sct = scts[0].parse_timestamp().unwrap();
    assert_eq!(sct.log_id.key_id, log.key.public_key().key_id());

    // The body without the last extension, which is the one of the SCTs.
    let others: Vec<u8> = extensions
        .iter()
        .filter(|extension| extension.extn_id.to_string() != "1.3.6.1.4.1.11129.2.4.2")
        .flat_map(|extension| extension.to_der().unwrap())
        .collect();
    let wrap = |tag: u8, contents: &[u8]| {
        let length = u16::try_from(contents.len()).unwrap().to_be_bytes();
        let mut bytes = vec![tag];
        match length {
            [0, short] if short < 128 => bytes.push(short),
            [0, short] => bytes.extend([0x81, short]),
            [high, low] => bytes.extend([0x82, high, low]),
        }
        bytes.extend(contents);
        bytes
    };
    let whole = tbs.to_der().unwrap();
    let explicit = wrap(0xa3, &extensions.to_der().unwrap());
    let start = whole.len() - explicit.len();
    assert_eq!(whole[start..], explicit);
    let header = if whole[1] == 0x82 { 4 } else { 3 };
    let body = [&whole[header..start], &wrap(0xa3, &wrap(0x30, &others))].concat();
    let body = wrap(0x30, &body);

    let mut signed = vec![0, 0];
    signed.extend(sct.timestamp.to_be_bytes());
    signed.extend([0, 1]);
    signed.extend(sha256(ca.chain[0].public_key().spki_der()));
    signed.extend(&u32::try_from(body.len()).unwrap().to_be_bytes()[1..]);
    signed.extend(&body);
    let extensions = sct.extensions.as_slice();
    assert_eq!(extensions, [0, 0, 5, 0, 0, 0, 0, 0]);
    signed.extend([0, 8]);
    signed.extend(extensions);
    let verifier =
        p256::ecdsa::VerifyingKey::from_public_key_der(log.key.public_key().spki_der()).unwrap();
    let signature = p256::ecdsa::Signature::from_der(sct.signature.signature.as_slice()).unwrap();
    verifier.verify(&signed, &signature).unwrap();
    signed[2] ^= 1;
    assert!(verifier.verify(&signed, &signature).is_err());
}

#[tokio::test]
async fn a_second_start_continues_the_log() {
    let (folder, ca, key) = (tempfile::tempdir().unwrap(), Ca::new(), key());
    let first = log(folder.path(), &ca, &key).await;
    let kept = ca.submission(1);
    let sct = first.sct(&kept).await;
    drop(first);
    let second = log(folder.path(), &ca, &key).await;
    assert_eq!(second.sct(&kept).await.extensions, sct.extensions);
    let next = second.sct(&ca.submission(2)).await;
    assert_eq!(parse_leaf_index(&next.extensions), Ok(Some(1)));
}

#[tokio::test]
async fn without_the_switch_there_is_no_extension() {
    let (folder, ca) = (tempfile::tempdir().unwrap(), Ca::new());
    let mut config = config(folder.path());
    config.leaf_index = false;
    let log = log_of(&config, &ca, &key()).await;
    assert!(log.sct(&ca.submission(1)).await.extensions.is_empty());
}

/// A certificate under a key of its own, made by another library: what our profiles would not make.
fn odd(
    ca: &Ca,
    purposes: Vec<rcgen::ExtendedKeyUsagePurpose>,
    extensions: &[(&[u64], bool, &[u8])],
) -> Certificate {
    let mut parameters = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
    parameters.not_before = rcgen::date_time_ymd(2026, 11, 23);
    parameters.not_after = rcgen::date_time_ymd(2026, 11, 24);
    parameters.extended_key_usages = purposes;
    for (oid, critical, value) in extensions {
        let mut extension = rcgen::CustomExtension::from_oid_content(oid, value.to_vec());
        extension.set_criticality(*critical);
        parameters.custom_extensions.push(extension);
    }
    let own = rcgen::KeyPair::generate().unwrap();
    let signed = parameters.signed_by(&own, &intermediate(ca)).unwrap();
    let signed = Certificate::from_der(signed.der()).unwrap();
    assert_eq!(signed.issuer_der(), ca.chain[0].subject_der());
    signed
}

/// The intermediate, as that library signs with it.
fn intermediate(ca: &Ca) -> rcgen::Issuer<'static, rcgen::KeyPair> {
    let mut parameters = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
    parameters.distinguished_name = rcgen::DistinguishedName::new();
    for (kind, name) in [
        (rcgen::DnType::OrganizationName, "Example"),
        (rcgen::DnType::CommonName, "CodeSigningIntermediate"),
    ] {
        parameters.distinguished_name.push(kind, name);
    }
    let pem = ca.key.to_pkcs8_pem().unwrap();
    let key = rcgen::KeyPair::from_pem_and_sign_algo(&pem, &rcgen::PKCS_ECDSA_P384_SHA384);
    rcgen::Issuer::new(parameters, key.unwrap())
}

const POISON: &[u64] = &[1, 3, 6, 1, 4, 1, 11129, 2, 4, 3];
const SCTS: &[u64] = &[1, 3, 6, 1, 4, 1, 11129, 2, 4, 2];

#[tokio::test]
async fn each_refusal_has_its_reason() {
    use rcgen::ExtendedKeyUsagePurpose::{CodeSigning, ServerAuth};
    const PRE: &str = "/ct/v1/add-pre-chain";
    const FINAL: &str = "/ct/v1/add-chain";

    let (folder, ours, other) = (tempfile::tempdir().unwrap(), Ca::new(), Ca::new());
    let mut config = config(folder.path());
    config.window = Window {
        start: Some(at("2026-11-01T00:00:00Z")),
        limit: Some(at("2026-12-01T00:00:00Z")),
    };
    let log = log_of(&config, &ours, &key()).await;
    let precertificate = ours.precertificate(1);
    let [intermediate, root] = [&ours.chain[0], &ours.chain[1]];
    let with = |leaf: Certificate| [&[leaf][..], &ours.chain].concat();
    let null: &[u8] = &[5, 0];
    let ending = |text: &str| {
        let mut leaf = Ca::leaf(7);
        leaf.not_after = at(text);
        leaf.not_before = leaf.not_after - SignedDuration::from_mins(10);
        with(ours.precertificate_of(leaf))
    };
    // A second intermediate that its own kin has signed: round and round.
    let cousin_key = Signer::generate(Algorithm::EcdsaP384Sha384).unwrap();
    let cousin = authority(
        Authority::CodeSigningIntermediate,
        &cousin_key,
        Some(intermediate),
        &ours.key,
    );
    let back = authority(
        Authority::CodeSigningIntermediate,
        &ours.key,
        Some(&cousin),
        &cousin_key,
    );
    for (what, path, chain, reason) in [
        (
            "another authority's",
            PRE,
            other.submission(1),
            "UNKNOWN_ROOT",
        ),
        (
            "another authority's leaf under ours",
            PRE,
            with(other.precertificate(1)),
            "CHAIN_BROKEN",
        ),
        (
            "a chain without a leaf",
            PRE,
            ours.chain.clone(),
            "CHAIN_BROKEN",
        ),
        (
            "a leaf alone",
            PRE,
            vec![precertificate.clone()],
            "UNKNOWN_ROOT",
        ),
        (
            "a chain upside down",
            PRE,
            vec![precertificate.clone(), root.clone(), intermediate.clone()],
            "CHAIN_BROKEN",
        ),
        (
            "a root twice",
            PRE,
            vec![
                precertificate.clone(),
                intermediate.clone(),
                root.clone(),
                root.clone(),
            ],
            "CHAIN_BROKEN",
        ),
        (
            "round and round",
            PRE,
            [
                &[precertificate.clone()][..],
                &[back.clone(), cousin.clone()],
                &[back, cousin],
            ]
            .concat(),
            "UNKNOWN_ROOT",
        ),
        (
            "a leaf above a leaf",
            PRE,
            vec![
                precertificate.clone(),
                precertificate.clone(),
                intermediate.clone(),
            ],
            "CHAIN_BROKEN",
        ),
        (
            "a precertificate for add-chain",
            FINAL,
            ours.submission(1),
            "WRONG_KIND",
        ),
        (
            "a certificate for add-pre-chain",
            PRE,
            ours.final_submission(1),
            "WRONG_KIND",
        ),
        (
            "a poison that is not critical",
            PRE,
            with(odd(&ours, vec![CodeSigning], &[(POISON, false, null)])),
            "WRONG_KIND",
        ),
        (
            "a poison with something in it",
            PRE,
            with(odd(&ours, vec![CodeSigning], &[(POISON, true, &[4, 1, 0])])),
            "WRONG_KIND",
        ),
        (
            "a poison that is not critical, for add-chain",
            FINAL,
            with(odd(&ours, vec![CodeSigning], &[(POISON, false, null)])),
            "WRONG_KIND",
        ),
        (
            "poison and SCTs",
            PRE,
            with(odd(
                &ours,
                vec![CodeSigning],
                &[(POISON, true, null), (SCTS, false, &[4, 2, 0, 0])],
            )),
            "WRONG_KIND",
        ),
        (
            "a web server's",
            PRE,
            with(odd(&ours, vec![ServerAuth], &[(POISON, true, null)])),
            "WRONG_PURPOSE",
        ),
        (
            "for nothing in particular",
            PRE,
            with(odd(&ours, Vec::new(), &[(POISON, true, null)])),
            "WRONG_PURPOSE",
        ),
        (
            "before the window",
            PRE,
            ending("2026-10-31T23:59:59Z"),
            "NOT_AFTER_OUTSIDE_WINDOW",
        ),
        (
            "behind the window",
            PRE,
            ending("2026-12-01T00:00:00Z"),
            "NOT_AFTER_OUTSIDE_WINDOW",
        ),
        ("nothing", PRE, Vec::new(), "REQUEST_MALFORMED"),
        (
            "eleven",
            PRE,
            vec![precertificate.clone(); 11],
            "CHAIN_TOO_LONG",
        ),
        (
            "hundreds",
            PRE,
            vec![precertificate.clone(); 300],
            "CHAIN_TOO_LONG",
        ),
    ] {
        let (status, text) = log.add(path, &chain).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{what}: {text}");
        assert!(text.contains(reason), "{what}: {reason}: {text}");
    }
    let many = format!("{{\"chain\":[{}\"AA==\"]}}", "\"AA==\",".repeat(9_999));
    let (status, text) = log.post(PRE, many).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(text.contains("CHAIN_TOO_LONG"), "{text}");
    // A chain that is taken, in an array instead of an object, is nobody's request.
    let taken: Vec<Bytes> = [&[precertificate.clone()][..], &ours.chain]
        .concat()
        .iter()
        .map(|certificate| certificate.der().into())
        .collect();
    let array = serde_json::to_string(&[taken]).unwrap();
    for body in [
        "",
        "{}",
        "[]",
        "{\"chain\":[1]}",
        "{\"chain\":[\"?\"]}",
        &array,
    ] {
        let (status, text) = log.post(PRE, body.to_owned()).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{body}");
        assert!(text.contains("REQUEST_MALFORMED"), "{text}");
    }
    let large = vec![0x30; pki::cert::MAX_CERTIFICATE + 1];
    for (position, der) in [
        (0, vec![0; 3]),
        (1, vec![0; 3]),
        (0, large.clone()),
        (2, large),
    ] {
        let mut chain: Vec<Vec<u8>> = ours
            .submission(1)
            .iter()
            .map(|certificate| certificate.der().to_vec())
            .collect();
        chain[position] = der;
        let chain: Vec<String> = chain.iter().map(|der| Bytes::encode(der)).collect();
        let body = serde_json::json!({ "chain": chain }).to_string();
        let (status, text) = log.post(PRE, body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert!(text.contains("CERTIFICATE_MALFORMED"), "{text}");
        assert!(text.contains(&format!("certificate {position} ")), "{text}");
    }
    assert_eq!(log.get(PRE).await.0, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(
        log.get("/tile/0/000.p/1").await.0,
        StatusCode::NOT_FOUND,
        "nothing went in"
    );
    // And what is right goes in, at both ends of the window.
    for (index, end) in [(0, "2026-11-01T00:00:00Z"), (1, "2026-11-30T23:59:59Z")] {
        let sct = log.sct(&ending(end)).await;
        assert_eq!(parse_leaf_index(&sct.extensions), Ok(Some(index)));
    }
    let sct = log.sct_at(FINAL, &ours.final_submission(9)).await;
    assert_eq!(parse_leaf_index(&sct.extensions), Ok(Some(2)));
    // With the one above it, which the log has to find a root for.
    let short = [&[precertificate][..], &ours.chain[..1]].concat();
    let sct = log.sct(&short).await;
    assert_eq!(parse_leaf_index(&sct.extensions), Ok(Some(3)));
}

/// The memory of verified chains must not make a wrong leaf right, nor outlive the roots that it is about.
#[tokio::test]
async fn a_chain_that_is_known_says_nothing_about_the_leaf() {
    let (folder, ca, other) = (tempfile::tempdir().unwrap(), Ca::new(), Ca::new());
    let log = log(folder.path(), &ca, &key()).await;
    for number in 0..3 {
        log.sct(&ca.submission(number)).await;
    }
    let forged = [&[other.precertificate(1)][..], &ca.chain].concat();
    let (status, text) = log.add("/ct/v1/add-pre-chain", &forged).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(text.contains("CHAIN_BROKEN"), "{text}");
    // Another authority's chain is refused until it is a root, and taken from then on.
    let theirs = other.submission(2);
    let refused = log.add("/ct/v1/add-pre-chain", &theirs).await;
    assert!(refused.1.contains("UNKNOWN_ROOT"), "{}", refused.1);
    assert_eq!(log.roots.add(&other.chain[1..]).unwrap(), 1);
    log.sct(&theirs).await;
    log.sct(&ca.submission(4)).await;
    let roots = log.ask("/test/ct/v1/get-roots").await;
    let mut roots: Vec<&str> = roots["certificates"]
        .as_array()
        .unwrap()
        .iter()
        .map(|root| root.as_str().unwrap())
        .collect();
    roots.sort_unstable();
    let mut expected = [&ca, &other].map(|ca| Bytes::encode(ca.chain[1].der()));
    expected.sort_unstable();
    assert_eq!(roots, expected);
}

/// Many at once, the same ones twice: each gets one place, and all answers about one entry are the same.
#[tokio::test(flavor = "multi_thread")]
async fn replays_at_the_same_time_get_one_place() {
    let (folder, ca) = (tempfile::tempdir().unwrap(), Ca::new());
    let log = std::sync::Arc::new(log(folder.path(), &ca, &key()).await);
    let chains: Vec<_> = (0..20).map(|number| ca.submission(number)).collect();
    let tasks: Vec<_> = (0..80)
        .map(|turn| {
            let (log, chain) = (log.clone(), chains[turn % 20].clone());
            tokio::spawn(async move { (turn % 20, log.sct(&chain).await) })
        })
        .collect();
    let mut places = std::collections::BTreeMap::new();
    for task in tasks {
        let (number, sct) = task.await.unwrap();
        let index = parse_leaf_index(&sct.extensions).unwrap().unwrap();
        let place = (index, sct.timestamp_ms);
        assert_eq!(*places.entry(number).or_insert(place), place);
    }
    let mut indexes: Vec<u64> = places.values().map(|(index, _)| *index).collect();
    indexes.sort_unstable();
    assert_eq!(indexes, (0..20).collect::<Vec<_>>());
}

/// The order of the writes: an entry whose issuers could not be made durable is not appended, and the client may come again.
#[tokio::test]
async fn without_its_issuers_on_the_disk_there_is_no_entry() {
    let (folder, ca, key) = (tempfile::tempdir().unwrap(), Ca::new(), key());
    let log = log(folder.path(), &ca, &key).await;
    let chain = ca.submission(1);
    let issuers = folder.path().join("issuers");
    std::fs::remove_dir(&issuers).unwrap();
    std::fs::write(&issuers, "in the way").unwrap();
    let (status, text) = log.add("/ct/v1/add-pre-chain", &chain).await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    assert!(
        text.contains("LOG_FAILED") && !text.contains("issuers"),
        "{text}"
    );
    assert_eq!(log.get("/tile/0/000.p/1").await.0, StatusCode::NOT_FOUND);
    std::fs::remove_file(&issuers).unwrap();
    std::fs::create_dir(&issuers).unwrap();
    let sct = log.sct(&chain).await;
    assert_eq!(parse_leaf_index(&sct.extensions), Ok(Some(0)));
    let name = hex::encode(sha256(ca.chain[0].der()));
    assert_eq!(
        std::fs::read(issuers.join(name)).unwrap(),
        ca.chain[0].der()
    );
    // A crash between the two leaves issuers that nothing refers to: the next submission is the first entry.
    drop(log);
    let other = tempfile::tempdir().unwrap();
    let copied = other.path().join("issuers");
    std::fs::create_dir(&copied).unwrap();
    for file in std::fs::read_dir(&issuers).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), copied.join(file.file_name())).unwrap();
    }
    let log = common::log(other.path(), &ca, &key).await;
    let sct = log.sct(&chain).await;
    assert_eq!(parse_leaf_index(&sct.extensions), Ok(Some(0)));
}

#[tokio::test]
async fn a_full_queue_is_answered_with_when_to_come_again() {
    use ctlog_rs::submit::AddError;
    for (error, status, reason) in [
        (
            AddError::Overloaded(std::time::Duration::from_secs(7)),
            503,
            "LOG_OVERLOADED",
        ),
        (AddError::Frozen, 410, "LOG_FROZEN"),
    ] {
        assert_eq!(error.reason(), reason);
        let problem = serve::Problem::from(error);
        assert_eq!(problem.status().as_u16(), status);
        assert_eq!(problem.retry_after(), (status == 503).then_some(7));
    }
}
