//! One rule broken at a time: each forged token is signed properly, so that only the rule itself can refuse it.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic is the failure report"
)]

use std::time::Duration;

use const_oid::ObjectIdentifier as Oid;
use der::Encode as _;
use jiff::Timestamp;
use keys::{Algorithm, HashAlgorithm, PublicKey};
use pki::{Certificate, PathError, Purpose, tlv};
use signer::Signer;
use tsp::{Authority, Rejection, Request, Stated, TspError, prepare, rejection, verify};

const DATA: &[u8] = b"a signature";
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;

fn wrap(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    tlv::wrap(tag, &parts.concat()).unwrap()
}

fn oid(text: &str) -> Vec<u8> {
    Oid::new_unwrap(text).to_der().unwrap()
}

fn algorithm(text: &str) -> Vec<u8> {
    wrap(SEQUENCE, &[&oid(text)])
}

const SHA256: &str = "2.16.840.1.101.3.4.2.1";
const ECDSA_SHA256: &str = "1.2.840.10045.4.3.2";
const TST_INFO: &str = "1.2.840.113549.1.9.16.1.4";
const CONTENT_TYPE: &str = "1.2.840.113549.1.9.3";
const MESSAGE_DIGEST: &str = "1.2.840.113549.1.9.4";
const SIGNING_CERTIFICATE: &str = "1.2.840.113549.1.9.16.2.12";
const SIGNING_CERTIFICATE_V2: &str = "1.2.840.113549.1.9.16.2.47";

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn sha256(data: &[u8]) -> Vec<u8> {
    HashAlgorithm::Sha256.digest(data).bytes().to_vec()
}

/// What a certificate of these tests says.
struct Paper<'a> {
    subject: &'a str,
    issuer: &'a str,
    key: &'a PublicKey,
    serial: &'a [u8],
    validity: [&'a str; 2],
    /// Identifier, critical, value.
    extensions: Vec<(&'a str, bool, Vec<u8>)>,
}

const KEY_USAGE: &str = "2.5.29.15";
const BASIC: &str = "2.5.29.19";
const EKU: &str = "2.5.29.37";
const TIME_STAMPING: &str = "1.3.6.1.5.5.7.3.8";
const CODE_SIGNING: &str = "1.3.6.1.5.5.7.3.3";

fn purposes(list: &[&str]) -> Vec<u8> {
    let list: Vec<Vec<u8>> = list.iter().map(|purpose| oid(purpose)).collect();
    wrap(SEQUENCE, &[&list.concat()])
}

fn name(common_name: &str) -> Vec<u8> {
    let text = wrap(0x0c, &[common_name.as_bytes()]);
    let part = wrap(SEQUENCE, &[&oid("2.5.4.3"), &text]);
    wrap(SEQUENCE, &[&wrap(SET, &[&part])])
}

impl Paper<'_> {
    fn signed_by(&self, signer: &Signer) -> Certificate {
        let extensions: Vec<Vec<u8>> = self
            .extensions
            .iter()
            .map(|(id, critical, value)| {
                let flag: &[u8] = if *critical { &[1, 1, 0xff] } else { &[] };
                wrap(SEQUENCE, &[&oid(id), flag, &wrap(4, &[value])])
            })
            .collect();
        let times = self.validity.map(|time| {
            wrap(
                if time.len() == 13 { 0x17 } else { 0x18 },
                &[time.as_bytes()],
            )
        });
        let tbs = wrap(
            SEQUENCE,
            &[
                &[0xa0, 3, 2, 1, 2],
                &wrap(2, &[self.serial]),
                &algorithm(ECDSA_SHA256),
                &name(self.issuer),
                &wrap(SEQUENCE, &[&times.concat()]),
                &name(self.subject),
                self.key.spki_der(),
                &wrap(0xa3, &[&wrap(SEQUENCE, &[&extensions.concat()])]),
            ],
        );
        let signature = signer.sign_local(&tbs).unwrap();
        let der = wrap(
            SEQUENCE,
            &[
                &tbs,
                &algorithm(ECDSA_SHA256),
                &wrap(3, &[&[0], &signature]),
            ],
        );
        Certificate::from_der(&der).unwrap()
    }
}

/// An authority with a root, and everything that goes into one of its tokens.
struct Forge {
    signer: Signer,
    root_key: Signer,
    root: Certificate,
    leaf: Certificate,
    status: Vec<u8>,
    info: Vec<u8>,
    content_type: Vec<u8>,
    digest_algorithm: Vec<u8>,
    signature_algorithm: Vec<u8>,
    signer_name: Vec<u8>,
    attributes: Vec<(String, Vec<Vec<u8>>)>,
    certificates: Option<Vec<u8>>,
    signers: usize,
    unsigned: Vec<u8>,
}

fn leaf_paper(key: &PublicKey) -> Paper<'_> {
    Paper {
        subject: "authority",
        issuer: "root",
        key,
        serial: &[7],
        validity: ["260101000000Z", "270101000000Z"],
        extensions: vec![
            (KEY_USAGE, true, vec![3, 2, 7, 0x80]),
            (EKU, true, purposes(&[TIME_STAMPING])),
        ],
    }
}

fn info(parts: &[&[u8]]) -> Vec<u8> {
    let imprint = imprint(&algorithm(SHA256), &sha256(DATA));
    let head = [&[2, 1, 1][..], &oid("1.2.3"), &imprint, &[2, 1, 99]].concat();
    wrap(SEQUENCE, &[&head, &parts.concat()])
}

fn imprint(algorithm: &[u8], digest: &[u8]) -> Vec<u8> {
    wrap(SEQUENCE, &[algorithm, &wrap(4, &[digest])])
}

fn gen_time(text: &str) -> Vec<u8> {
    wrap(0x18, &[text.as_bytes()])
}

const NOON: &str = "20260601120000Z";

impl Forge {
    fn new() -> Self {
        let signer = Signer::generate(Algorithm::EcdsaP256Sha256).unwrap();
        let root_key = Signer::generate(Algorithm::EcdsaP256Sha256).unwrap();
        let root = Paper {
            subject: "root",
            issuer: "root",
            key: root_key.public_key(),
            serial: &[1],
            validity: ["250101000000Z", "350101000000Z"],
            extensions: vec![
                (KEY_USAGE, true, vec![3, 2, 2, 0x04]),
                (BASIC, true, vec![0x30, 3, 1, 1, 0xff]),
            ],
        }
        .signed_by(&root_key);
        let leaf = leaf_paper(signer.public_key()).signed_by(&root_key);
        let mut forge = Self {
            signer,
            root_key,
            root,
            leaf,
            status: vec![2, 1, 0],
            info: info(&[&gen_time(NOON)]),
            content_type: oid(TST_INFO),
            digest_algorithm: algorithm(SHA256),
            signature_algorithm: algorithm(ECDSA_SHA256),
            signer_name: Vec::new(),
            attributes: Vec::new(),
            certificates: None,
            signers: 1,
            unsigned: Vec::new(),
        };
        forge.follow();
        forge
    }

    /// Everything that depends on the leaf or on the content.
    fn follow(&mut self) {
        self.signer_name = wrap(
            SEQUENCE,
            &[self.leaf.issuer_der(), &wrap(2, &[self.leaf.serial()])],
        );
        self.attributes = vec![
            (CONTENT_TYPE.into(), vec![oid(TST_INFO)]),
            (MESSAGE_DIGEST.into(), vec![wrap(4, &[&sha256(&self.info)])]),
            (
                SIGNING_CERTIFICATE_V2.into(),
                vec![certificate_id(&sha256(self.leaf.der()))],
            ),
        ];
    }

    fn with_info(mut self, info: Vec<u8>) -> Self {
        self.info = info;
        self.follow();
        self
    }

    fn with_leaf(mut self, change: impl FnOnce(&mut Paper<'_>)) -> Self {
        let mut paper = leaf_paper(self.signer.public_key());
        change(&mut paper);
        self.leaf = paper.signed_by(&self.root_key);
        self.follow();
        self
    }

    fn attribute(&mut self, id: &str) -> &mut Vec<Vec<u8>> {
        let found = self.attributes.iter_mut().find(|(name, _)| name == id);
        &mut found.unwrap().1
    }

    fn response(&self) -> Vec<u8> {
        let attributes: Vec<Vec<u8>> = self
            .attributes
            .iter()
            .map(|(id, values)| wrap(SEQUENCE, &[&oid(id), &wrap(SET, &[&values.concat()])]))
            .collect();
        let attributes = attributes.concat();
        let signed = wrap(SET, &[&attributes]);
        let signature = self.signer.sign_local(&signed).unwrap();
        let signer = wrap(
            SEQUENCE,
            &[
                &[2, 1, 1],
                &self.signer_name,
                &self.digest_algorithm,
                &wrap(0xa0, &[&attributes]),
                &self.signature_algorithm,
                &wrap(4, &[&signature]),
                &self.unsigned,
            ],
        );
        let content = wrap(
            SEQUENCE,
            &[&self.content_type, &wrap(0xa0, &[&wrap(4, &[&self.info])])],
        );
        let data = wrap(
            SEQUENCE,
            &[
                &[2, 1, 3],
                &wrap(SET, &[&self.digest_algorithm]),
                &content,
                &self.certificates.clone().unwrap_or_default(),
                &wrap(SET, &[&signer.repeat(self.signers)]),
            ],
        );
        let token = wrap(
            SEQUENCE,
            &[&oid("1.2.840.113549.1.7.2"), &wrap(0xa0, &[&data])],
        );
        wrap(SEQUENCE, &[&wrap(SEQUENCE, &[&self.status]), &token])
    }

    fn chain(&self) -> Vec<Certificate> {
        vec![self.leaf.clone(), self.root.clone()]
    }

    fn verdict(&self) -> Result<Timestamp, TspError> {
        verify(&self.response(), DATA, &self.chain()).map(|verified| verified.time())
    }
}

/// The value of a signingCertificateV2 with the default hash, or of a signingCertificate.
fn certificate_id(hash: &[u8]) -> Vec<u8> {
    let id = wrap(SEQUENCE, &[&wrap(4, &[hash])]);
    wrap(SEQUENCE, &[&wrap(SEQUENCE, &[&id])])
}

fn broken(change: impl FnOnce(&mut Forge)) -> Result<Timestamp, TspError> {
    let mut forge = Forge::new();
    change(&mut forge);
    forge.verdict()
}

fn malformed(verdict: &Result<Timestamp, TspError>, text: &str) {
    match verdict {
        Err(TspError::Malformed(why)) => assert_eq!(why.to_string(), format!("malformed {text}")),
        other => unreachable!("{text}: {other:?}"),
    }
}

#[test]
fn the_forge_makes_good_tokens_too() {
    assert_eq!(Forge::new().verdict(), Ok(at("2026-06-01T12:00:00Z")));
    let with_all = |forge: &mut Forge| {
        let sha1 = [0_u8; 0];
        forge.certificates = Some(wrap(0xa0, &[forge.root.der(), forge.leaf.der(), &sha1]));
        forge.unsigned = wrap(0xa1, &[]);
        // statusString
        forge.status = [&[2, 1, 0][..], &wrap(SEQUENCE, &[&wrap(0x0c, &[b"ok"])])].concat();
    };
    assert!(broken(with_all).is_ok());
}

#[test]
fn only_granted_is_granted() {
    for status in 1..=5 {
        let verdict = broken(|forge| forge.status = vec![2, 1, status]);
        assert_eq!(verdict, Err(TspError::Status(status)));
    }
    let authority = Forge::new();
    let refused = rejection(Rejection::BadAlgorithm, "no").unwrap();
    assert_eq!(
        verify(&refused, DATA, &authority.chain()),
        Err(TspError::Status(2))
    );
    // Granted, and no token.
    let verdict = verify(&[0x30, 5, 0x30, 3, 2, 1, 0], DATA, &authority.chain());
    malformed(
        &verdict.map(|verified| verified.time()),
        "timestamp response: no token",
    );
}

#[test]
fn a_token_over_other_data_is_refused() {
    let forge = Forge::new();
    assert_eq!(
        verify(&forge.response(), b"another", &forge.chain()),
        Err(TspError::Imprint)
    );
}

#[test]
fn the_signer_is_the_authoritys_own_leaf() {
    let (one, other) = (Forge::new(), Forge::new());
    // Same names and serial number, another key.
    assert_eq!(
        verify(&one.response(), DATA, &other.chain()),
        Err(TspError::OtherSigner)
    );
    let serial = broken(|forge| {
        let issuer = forge.leaf.issuer_der().to_vec();
        forge.signer_name = wrap(SEQUENCE, &[&issuer, &wrap(2, &[&[8]])]);
    });
    assert_eq!(serial, Err(TspError::OtherSigner));
    let issuer = broken(|forge| {
        forge.signer_name = wrap(SEQUENCE, &[&name("somebody"), &wrap(2, &[&[7]])]);
    });
    assert_eq!(issuer, Err(TspError::OtherSigner));
    // A certificate in the token that says that it is the signer's and is not.
    let impostor = broken(|forge| {
        let certificate = other.leaf.der();
        forge.certificates = Some(wrap(0xa0, &[certificate]));
    });
    assert_eq!(impostor, Err(TspError::OtherSigner));
    let bound_elsewhere = broken(|forge| {
        *forge.attribute(SIGNING_CERTIFICATE_V2) = vec![certificate_id(&sha256(other.leaf.der()))];
    });
    assert_eq!(bound_elsewhere, Err(TspError::OtherSigner));
    // The old binding is enough, and where both are there both must hold.
    let sha1 = |bytes: &[u8]| {
        use sha1::Digest as _;
        sha1::Sha1::digest(bytes).to_vec()
    };
    let old = |hash: Vec<u8>| (SIGNING_CERTIFICATE.to_owned(), vec![certificate_id(&hash)]);
    let only_old = broken(|forge| {
        forge.attributes[2] = old(sha1(forge.leaf.der()));
    });
    assert!(only_old.is_ok());
    let both = broken(|forge| forge.attributes.push(old(sha1(other.leaf.der()))));
    assert_eq!(both, Err(TspError::OtherSigner));
    assert_eq!(
        verify(&one.response(), DATA, &[]),
        Err(TspError::NoAuthority)
    );
    assert_eq!(
        verify(&one.response(), DATA, &one.chain()[..1]),
        Err(TspError::NoAuthority)
    );
}

#[test]
fn what_is_signed_is_what_is_stated() {
    let content = broken(|forge| {
        *forge.attribute(CONTENT_TYPE) = vec![oid("1.2.840.113549.1.7.1")];
    });
    assert_eq!(content, Err(TspError::Signature("content type")));
    let digest = broken(|forge| {
        *forge.attribute(MESSAGE_DIGEST) = vec![wrap(4, &[&sha256(b"other")])];
    });
    assert_eq!(digest, Err(TspError::Signature("message digest")));
    // The time moved by a second after it was signed.
    let moved = broken(|forge| forge.info = info(&[&gen_time("20260601120001Z")]));
    assert_eq!(moved, Err(TspError::Signature("message digest")));
    let mut forge = Forge::new();
    let mut response = forge.response();
    *response.last_mut().unwrap() ^= 1;
    assert_eq!(
        verify(&response, DATA, &forge.chain()),
        Err(TspError::Signature("signature"))
    );
    forge.signer = Signer::generate(Algorithm::EcdsaP256Sha256).unwrap();
    assert_eq!(forge.verdict(), Err(TspError::Signature("signature")));
}

#[test]
fn the_signature_algorithm_is_one_of_the_authoritys_key() {
    for id in [
        "1.2.840.10045.4.1",     // ecdsa-with-SHA1
        "1.2.840.113549.1.1.11", // sha256WithRSAEncryption
        "1.3.101.112",
        "1.2.840.10045.2.1",
    ] {
        let verdict = broken(|forge| forge.signature_algorithm = algorithm(id));
        assert_eq!(verdict, Err(TspError::Algorithm(Oid::new_unwrap(id))));
    }
    let sha1 = broken(|forge| forge.digest_algorithm = algorithm("1.3.14.3.2.26"));
    malformed(&sha1, "SignerInfo: digest algorithm is not SHA-2");
}

#[test]
fn each_attribute_stands_there_once_with_one_value() {
    for (position, id) in [CONTENT_TYPE, MESSAGE_DIGEST, SIGNING_CERTIFICATE_V2]
        .into_iter()
        .enumerate()
    {
        let missing = broken(|forge| {
            forge.attributes.remove(position);
        });
        let missing_text = [
            "signed attributes: no contentType",
            "signed attributes: no messageDigest",
            "signed attributes: no signingCertificate",
        ][position];
        malformed(&missing, missing_text);
        let twice = broken(|forge| {
            let copy = forge.attributes[position].clone();
            forge.attributes.push(copy);
        });
        malformed(&twice, "signed attribute: twice");
        let two_values = broken(|forge| {
            let values = forge.attribute(id);
            let copy = values[0].clone();
            values.push(copy);
        });
        malformed(&two_values, "signed attribute");
    }
}

#[test]
fn there_is_exactly_one_signer_and_it_signed_attributes() {
    for signers in [0, 2] {
        let verdict = broken(|forge| forge.signers = signers);
        malformed(&verdict, "SignedData: not exactly one signer");
    }
    let unsigned = broken(|forge| forge.unsigned = wrap(0xa2, &[]));
    malformed(&unsigned, "SignerInfo");
    let content = broken(|forge| forge.content_type = oid("1.2.840.113549.1.7.1"));
    malformed(&content, "SignedData content: not TSTInfo");
    let twice = broken(|forge| {
        let certificates = wrap(0xa0, &[forge.leaf.der()]);
        forge.certificates = Some(certificates.repeat(2));
    });
    malformed(&twice, "SignedData");
}

#[test]
fn the_chain_holds_at_the_stated_time_and_only_then() {
    let stated = |time: &str| Forge::new().with_info(info(&[&gen_time(time)])).verdict();
    assert!(stated("20260101000000Z").is_ok());
    assert!(stated("20270101000000Z").is_ok());
    for outside in [
        "20251231235959Z",
        "20270101000001Z",
        "20270101000000.000001Z",
    ] {
        let verdict = stated(outside);
        let not_valid = matches!(&verdict, Err(TspError::Path(PathError::NotValidAt { .. })));
        assert!(not_valid, "{outside}: {verdict:?}");
    }
}

#[test]
fn the_leaf_is_made_for_timestamps_alone() {
    let purpose = Err(TspError::Path(PathError::Purpose(Purpose::TimeStamping)));
    let with = |critical: bool, list: &[&str]| {
        let value = purposes(list);
        Forge::new()
            .with_leaf(|paper| paper.extensions[1] = (EKU, critical, value))
            .verdict()
    };
    assert!(with(true, &[TIME_STAMPING]).is_ok());
    assert_eq!(with(false, &[TIME_STAMPING]), purpose);
    assert_eq!(with(true, &[CODE_SIGNING]), purpose);
    assert_eq!(with(true, &[TIME_STAMPING, CODE_SIGNING]), purpose);
    assert_eq!(with(true, &[TIME_STAMPING, "1.2.3.4"]), purpose);
    let none = Forge::new().with_leaf(|paper| paper.extensions.truncate(1));
    assert_eq!(none.verdict(), purpose);
    let no_signing = Forge::new().with_leaf(|paper| paper.extensions[0].2 = vec![3, 2, 5, 0x20]);
    assert_eq!(no_signing.verdict(), purpose);
    let ca = Forge::new().with_leaf(|paper| {
        paper
            .extensions
            .push((BASIC, true, vec![0x30, 3, 1, 1, 0xff]));
    });
    assert_eq!(ca.verdict(), Err(TspError::Path(PathError::LeafIsCa)));
    let mut stranger = Forge::new();
    stranger.root = Forge::new().root;
    let verdict = stranger.verdict();
    assert!(
        matches!(verdict, Err(TspError::Path(PathError::NoPath(_)))),
        "{verdict:?}"
    );
}

#[test]
fn the_hash_of_the_imprint_is_sha_2() {
    for (id, digest) in [
        ("1.3.14.3.2.26", vec![0; 20]),
        ("1.2.840.113549.2.5", vec![0; 16]),
        (SHA256, vec![0; 20]),
        ("2.16.840.1.101.3.4.2.8", vec![0; 32]),
    ] {
        let head = [&[2, 1, 1][..], &oid("1.2.3")].concat();
        let imprint = imprint(&algorithm(id), &digest);
        let info = wrap(SEQUENCE, &[&head, &imprint, &[2, 1, 99], &gen_time(NOON)]);
        malformed(
            &Forge::new().with_info(info).verdict(),
            "message imprint (or not SHA-2)",
        );
    }
    for hash in [HashAlgorithm::Sha384, HashAlgorithm::Sha512] {
        let id = ["2.16.840.1.101.3.4.2.2", "2.16.840.1.101.3.4.2.3"]
            [usize::from(hash == HashAlgorithm::Sha512)];
        let imprint = imprint(&algorithm(id), hash.digest(DATA).bytes());
        let head = [&[2, 1, 1][..], &oid("1.2.3")].concat();
        let info = wrap(SEQUENCE, &[&head, &imprint, &[2, 1, 99], &gen_time(NOON)]);
        assert!(Forge::new().with_info(info).verdict().is_ok());
    }
}

#[test]
fn times_are_whole_or_parts_of_seconds_in_utc() {
    let read = |text: &str| Forge::new().with_info(info(&[&gen_time(text)])).verdict();
    assert_eq!(
        read("20260601120000.25Z"),
        Ok(at("2026-06-01T12:00:00.25Z"))
    );
    for wrong in [
        "",
        "Z",
        "20260601120000",
        "202606011200Z",
        "20260601120000+0100",
        "20260601120000.Z",
        "20260601120000.10Z",
        "20260601120000.1234567891Z",
        "20260631120000Z",
        "20260601126000Z",
        "2026060112000 Z",
        "+0260601120000Z",
    ] {
        malformed(&read(wrong), "genTime");
    }
}

#[test]
fn the_accuracy_is_read_and_what_follows_it_is_checked() {
    let read = |parts: &[&[u8]]| {
        let time = gen_time(NOON);
        let parts = [&[time.as_slice()], parts].concat();
        let forge = Forge::new().with_info(info(&parts));
        verify(&forge.response(), DATA, &forge.chain())
    };
    let accuracy = |parts: &[&[u8]]| read(parts).map(|verified| verified.accuracy());
    assert_eq!(accuracy(&[]), Ok(None));
    assert_eq!(
        accuracy(&[&[0x30, 3, 2, 1, 1]]),
        Ok(Some(Duration::from_secs(1)))
    );
    assert_eq!(
        accuracy(&[&[0x30, 8, 0x80, 2, 1, 0xf4, 0x81, 2, 0, 0xc8]]),
        Ok(Some(Duration::from_micros(500_200)))
    );
    let nonce = [2, 1, 5];
    let tsa = wrap(0xa0, &[&wrap(0xa4, &[&name("authority")])]);
    let extension = wrap(SEQUENCE, &[&oid("1.2.3"), &wrap(4, &[b"x"])]);
    let critical = wrap(SEQUENCE, &[&oid("1.2.3"), &[1, 1, 0xff], &wrap(4, &[b"x"])]);
    let all: [&[u8]; 5] = [
        &[0x30, 3, 2, 1, 1],
        &[1, 1, 0xff],
        &nonce,
        &tsa,
        &wrap(0xa1, &[&extension]),
    ];
    assert_eq!(accuracy(&all), Ok(Some(Duration::from_secs(1))));
    for (parts, text) in [
        (&[&[0x30, 3, 2, 1, 0xff][..]][..], "accuracy"),
        (&[&[0x30, 4, 0x80, 2, 3, 0xe8]], "accuracy"),
        (&[&[0x30, 6, 2, 1, 1, 2, 1, 1]], "accuracy"),
        (&[&[0x30, 7, 2, 5, 1, 0, 0, 0, 0]], "accuracy"),
        (
            &[&nonce, &nonce],
            "TSTInfo: members that do not belong there",
        ),
        (&[&tsa, &nonce], "TSTInfo: members that do not belong there"),
        (
            &[&wrap(0xa1, &[&critical])],
            "TSTInfo: a critical extension",
        ),
    ] {
        malformed(&read(parts).map(|verified| verified.time()), text);
    }
}

#[test]
fn no_cut_and_no_flipped_byte_gets_through_or_panics() {
    let forge = Forge::new();
    let (response, chain) = (forge.response(), forge.chain());
    for length in 0..response.len() {
        assert!(
            verify(&response[..length], DATA, &chain).is_err(),
            "{length}"
        );
    }
    assert!(verify(&[&response[..], &[0]].concat(), DATA, &chain).is_err());
    // What a token says outside the signature and is not looked at: versions, the hash list of SignedData, parameters.
    let mut survivors = 0;
    for position in 0..response.len() {
        let mut copy = response.clone();
        copy[position] ^= 0x01;
        if let Ok(verified) = verify(&copy, DATA, &chain) {
            assert_eq!(verified.time(), at("2026-06-01T12:00:00Z"));
            survivors += 1;
        }
    }
    assert!(survivors < 24, "{survivors} bytes can be changed");
    assert!(matches!(
        verify(&vec![0x30; 70_000], DATA, &chain),
        Err(TspError::Malformed(_))
    ));
}

#[test]
fn what_we_prepare_and_seal_verifies_for_every_kind_of_key() {
    for algorithm in [
        Algorithm::EcdsaP256Sha256,
        Algorithm::EcdsaP384Sha384,
        Algorithm::EcdsaP521Sha512,
        Algorithm::Ed25519,
        Algorithm::RsaPkcs1Sha256_2048,
    ] {
        let forge = Forge::new();
        let key = Signer::generate(algorithm).unwrap();
        let leaf = Paper {
            // The top bit: a serial number with a leading zero.
            serial: &[0, 0x90, 1],
            validity: ["260101000000Z", "20560101000000Z"],
            ..leaf_paper(key.public_key())
        }
        .signed_by(&forge.root_key);
        let root = Paper {
            subject: "root",
            issuer: "root",
            key: forge.root_key.public_key(),
            serial: &[1],
            validity: ["250101000000Z", "20560101000000Z"],
            extensions: vec![(BASIC, true, vec![0x30, 3, 1, 1, 0xff])],
        }
        .signed_by(&forge.root_key);
        let chain = vec![leaf, root];
        for now in [
            "2026-06-01T12:00:00.9Z",
            "2049-12-31T23:59:59Z",
            "2050-01-01T00:00:00Z",
        ] {
            let now = at(now);
            let authority = Authority::new(chain.clone(), None, true, now).unwrap();
            let request = Request {
                imprint: HashAlgorithm::Sha384.digest(DATA),
                policy: None,
                nonce: Some(vec![0, 0xff]),
                certificates: true,
            };
            let prepared = prepare(&authority, &request, [0xff; 20], Stated::seconds(now)).unwrap();
            let signature = key.sign_local(prepared.to_be_signed()).unwrap();
            let response = prepared.seal(&signature).unwrap();
            let verified = verify(&response, DATA, &chain).unwrap();
            assert_eq!(verified.time().as_second(), now.as_second());
            assert_eq!(verified.accuracy(), Some(Duration::from_secs(1)));
            // Somebody else's signature does not close a token.
            let prepared = || prepare(&authority, &request, [0; 20], Stated::seconds(now)).unwrap();
            assert!(prepared().seal(&signature).is_err());
            // Who does not look closes it, and every verifier refuses it.
            let bad = prepared().seal_unchecked(&signature).unwrap();
            assert!(verify(&bad, DATA, &chain).is_err());
            let signature = key.sign_local(prepared().to_be_signed()).unwrap();
            let unchecked = prepared().seal_unchecked(&signature).unwrap();
            assert_eq!(unchecked, prepared().seal(&signature).unwrap());
        }
    }
}

#[test]
fn an_authority_is_a_chain_in_order() {
    let forge = Forge::new();
    let other = Forge::new();
    let now = at("2026-06-01T12:00:00Z");
    let refused = |chain: Vec<Certificate>| Authority::new(chain, None, false, now).unwrap_err();
    assert_eq!(refused(Vec::new()), PathError::NoAnchor);
    assert_eq!(refused(vec![forge.leaf.clone()]), PathError::NoAnchor);
    assert!(Authority::new(forge.chain(), None, false, now).is_ok());
    for chain in [
        vec![forge.leaf.clone(), other.root.clone()],
        vec![forge.leaf.clone(), other.root.clone(), forge.root.clone()],
    ] {
        assert!(matches!(refused(chain), PathError::NoPath(_)));
    }
    assert_eq!(
        refused(vec![forge.root.clone(), forge.leaf.clone()]),
        PathError::LeafIsCa
    );
}

#[test]
fn a_token_brings_no_more_certificates_than_a_chain_has() {
    let with = |count: usize| {
        broken(|forge| {
            let certificates = forge.root.der().repeat(count);
            forge.certificates = Some(wrap(0xa0, &[&certificates]));
        })
    };
    assert!(with(16).is_ok());
    malformed(&with(17), "certificates: more than any chain has");
}
