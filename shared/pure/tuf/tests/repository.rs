//! A repository made role by role, read back, and every way in which a file must be refused.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic in a test is its failure report"
)]

use std::collections::BTreeMap;

use ed25519_dalek::Signer as _;
use ed25519_dalek::pkcs8::EncodePublicKey as _;
use jiff::{SignedDuration, Timestamp as Time};
use keys::PublicKey;
use tuf::{
    AuthorError, Envelope, EnvelopeError, FileMeta, Key, KeyError, KeyId, Metadata, MetadataError,
    Prepared, Role, RoleKeys, Root, Signed, Snapshot, TargetFile, TargetName, Targets, Timestamp,
    Version, prepare,
};

enum Secret {
    P256(p256::ecdsa::SigningKey),
    Ed25519(ed25519_dalek::SigningKey),
}

impl Secret {
    fn p256(seed: u8) -> Self {
        Self::P256(p256::ecdsa::SigningKey::from_slice(&[seed; 32]).unwrap())
    }

    fn ed25519(seed: u8) -> Self {
        Self::Ed25519(ed25519_dalek::SigningKey::from_bytes(&[seed; 32]))
    }

    fn key(&self) -> Key {
        let der = match self {
            Self::P256(key) => p256::PublicKey::from(key.verifying_key())
                .to_public_key_der()
                .unwrap(),
            Self::Ed25519(key) => key.verifying_key().to_public_key_der().unwrap(),
        };
        Key::new(PublicKey::from_spki_der(der.as_bytes()).unwrap()).unwrap()
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        match self {
            Self::P256(key) => {
                let signature: p256::ecdsa::Signature = key.sign(message);
                signature.to_der().as_bytes().to_vec()
            }
            Self::Ed25519(key) => key.sign(message).to_bytes().to_vec(),
        }
    }

    fn onto(&self, prepared: &mut Prepared) {
        let signature = self.sign(prepared.to_be_signed());
        prepared.sign(&self.key().id(), signature).unwrap();
    }
}

fn now() -> Time {
    "2026-11-22T10:00:00Z".parse().unwrap()
}

fn later() -> Time {
    now() + SignedDuration::from_hours(24)
}

fn root(version: u64, offline: &[&Secret], threshold: usize, online: &Secret) -> Root {
    let offline = RoleKeys::new(offline.iter().map(|secret| secret.key()), threshold).unwrap();
    let online = RoleKeys::single(online.key());
    Root {
        version: Version::new(version).unwrap(),
        expires: later(),
        root: offline.clone(),
        targets: offline,
        snapshot: online.clone(),
        timestamp: online,
    }
}

fn seal<M: Metadata>(metadata: &M, role: &RoleKeys, secrets: &[&Secret]) -> Signed {
    let mut prepared = prepare(metadata, &[role], now()).unwrap();
    for secret in secrets {
        secret.onto(&mut prepared);
    }
    prepared.seal().unwrap()
}

#[test]
fn what_is_written_is_read_back() {
    let (one, two, online) = (Secret::p256(1), Secret::ed25519(2), Secret::p256(3));
    let root = root(1, &[&one, &two], 2, &online);
    let name = TargetName::new("trusted_root.json").unwrap();
    let targets = Targets {
        version: Version::ONE,
        expires: later(),
        targets: BTreeMap::from([(name.clone(), TargetFile::of(b"{}"))]),
    };

    let root_file = seal(&root, &root.root, &[&one, &two]);
    let targets_file = seal(&targets, &root.targets, &[&one, &two]);
    let snapshot = Snapshot {
        version: Version::ONE,
        expires: later(),
        targets: targets_file.meta(),
    };
    let snapshot_file = seal(&snapshot, &root.snapshot, &[&online]);
    let timestamp = Timestamp {
        version: Version::ONE,
        expires: later(),
        snapshot: snapshot_file.meta(),
    };
    let timestamp_file = seal(&timestamp, &root.timestamp, &[&online]);

    let names: Vec<_> = [&root_file, &targets_file, &snapshot_file, &timestamp_file]
        .map(Signed::file_name)
        .to_vec();
    assert_eq!(
        names,
        [
            "1.root.json",
            "1.targets.json",
            "1.snapshot.json",
            "timestamp.json"
        ]
    );
    assert_eq!(
        targets.targets[&name].file_name(&name),
        "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a.trusted_root.json"
    );

    let read = Envelope::parse(root_file.bytes(), Role::Root.size_max()).unwrap();
    let trusted: Root = read.content_unverified().unwrap();
    assert_eq!(trusted, root);
    assert_eq!(read.open::<Root>(&trusted.root).unwrap(), root);
    assert_eq!(
        open::<Timestamp>(&timestamp_file, &trusted.timestamp).unwrap(),
        timestamp
    );
    assert_eq!(
        open::<Snapshot>(&snapshot_file, &trusted.snapshot).unwrap(),
        snapshot
    );
    assert_eq!(
        open::<Targets>(&targets_file, &trusted.targets).unwrap(),
        targets
    );
}

fn open<M: Metadata>(file: &Signed, by: &RoleKeys) -> Result<M, EnvelopeError> {
    Envelope::parse(file.bytes(), file.role().size_max())?.open(by)
}

fn timestamp() -> Timestamp {
    Timestamp {
        version: Version::ONE,
        expires: later(),
        snapshot: FileMeta {
            version: Version::ONE,
            file: TargetFile::of(b"x"),
        },
    }
}

#[test]
fn the_signed_form_is_the_specifications() {
    let prepared = prepare(
        &timestamp(),
        &[&RoleKeys::single(Secret::p256(1).key())],
        now(),
    )
    .unwrap();
    assert_eq!(
        String::from_utf8(prepared.to_be_signed().to_vec()).unwrap(),
        concat!(
            r#"{"_type":"timestamp","expires":"2026-11-23T10:00:00Z","meta":{"snapshot.json":{"hashes":"#,
            r#"{"sha256":"2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"},"length":1,"version":1}},"#,
            r#""spec_version":"1.0.0","version":1}"#
        )
    );
}

#[test]
fn a_key_id_is_the_hash_of_the_canonical_key() {
    // RFC 8032 section 7.1, test 1; the id calculated with python-securesystemslib's formula over the same JSON.
    let seed =
        hex::decode("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60").unwrap();
    let secret = Secret::Ed25519(ed25519_dalek::SigningKey::from_bytes(
        &seed.try_into().unwrap(),
    ));
    let canonical = concat!(
        r#"{"keytype":"ed25519","keyval":{"public":"d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"},"#,
        r#""scheme":"ed25519"}"#
    );
    assert_eq!(
        secret.key().id().as_str(),
        hex::encode(keys::sha256(canonical.as_bytes()))
    );
}

#[test]
fn a_new_root_needs_the_old_keys_and_its_own() {
    let (old, new, online) = (Secret::p256(1), Secret::p256(2), Secret::p256(3));
    let first = root(1, &[&old], 1, &online);
    let second = root(2, &[&new], 1, &online);
    for only in [&old, &new] {
        let mut prepared = prepare(&second, &[&first.root, &second.root], now()).unwrap();
        only.onto(&mut prepared);
        assert_eq!(
            prepared.seal().unwrap_err(),
            AuthorError::Threshold {
                valid: 0,
                threshold: 1
            }
        );
    }
    let mut prepared = prepare(&second, &[&first.root, &second.root], now()).unwrap();
    old.onto(&mut prepared);
    new.onto(&mut prepared);
    let sealed = prepared.seal().unwrap();
    assert!(
        open::<Root>(&sealed, &first.root).is_ok() && open::<Root>(&sealed, &second.root).is_ok()
    );
}

#[test]
fn the_author_refuses_what_clients_would() {
    let (one, two) = (Secret::p256(1), Secret::p256(2));
    let role = RoleKeys::single(one.key());
    let late = prepare(&timestamp(), &[&role], later());
    assert!(matches!(
        late,
        Err(AuthorError::Expired {
            role: Role::Timestamp,
            ..
        })
    ));
    assert_eq!(
        prepare(&timestamp(), &[], now()).unwrap_err(),
        AuthorError::NoSigners
    );

    let mut prepared = prepare(&timestamp(), &[&role], now()).unwrap();
    let stranger = two.sign(prepared.to_be_signed());
    assert_eq!(
        prepared.sign(&two.key().id(), stranger.clone()),
        Err(AuthorError::UnknownKey(two.key().id()))
    );
    assert_eq!(
        prepared.sign(&one.key().id(), stranger),
        Err(AuthorError::WrongSignature(one.key().id()))
    );
    assert_eq!(
        prepared.seal().unwrap_err(),
        AuthorError::Threshold {
            valid: 0,
            threshold: 1
        }
    );
}

#[test]
fn one_key_counts_once() {
    let one = Secret::p256(1);
    assert_eq!(
        RoleKeys::new([one.key(), one.key()], 2).unwrap_err(),
        KeyError::Threshold {
            threshold: 2,
            keys: 1
        }
    );
    assert_eq!(
        RoleKeys::new([one.key()], 0).unwrap_err(),
        KeyError::Threshold {
            threshold: 0,
            keys: 1
        }
    );
    let two = RoleKeys::new([one.key(), Secret::p256(2).key()], 2).unwrap();
    let id = one.key().id();
    let signature = one.sign(b"m");
    let twice: [(&KeyId, &[u8]); 2] = [(&id, &signature), (&id, &signature)];
    assert_eq!(two.count(b"m", twice), 1);
}

#[test]
fn a_changed_file_is_refused_at_its_step() {
    let secret = Secret::p256(1);
    let role = RoleKeys::single(secret.key());
    let file = seal(&timestamp(), &role, &[&secret]);
    let text = String::from_utf8(file.bytes().to_vec()).unwrap();
    let changed = |from: &str, to: &str| {
        assert!(text.contains(from), "{text}");
        Envelope::parse(text.replace(from, to).as_bytes(), 16_384)
            .and_then(|read| read.open::<Timestamp>(&role))
    };
    let threshold = EnvelopeError::Threshold {
        valid: 0,
        threshold: 1,
    };
    assert_eq!(
        changed(r#""version": 1"#, r#""version": 2"#).unwrap_err(),
        threshold
    );
    assert_eq!(
        changed(r#""sig": ""#, r#""sig": "00"#).unwrap_err(),
        threshold
    );
    assert_eq!(
        changed(r#""sig": ""#, r#""sig": "zz"#).unwrap_err(),
        threshold
    );
    assert!(matches!(
        changed(r#""length": 1"#, r#""length": 1.5"#).unwrap_err(),
        EnvelopeError::Canonical(_)
    ));
    assert!(matches!(
        changed(r#""signatures""#, r#""signature""#).unwrap_err(),
        EnvelopeError::Syntax(_)
    ));
    let space = changed("  ", " ").unwrap();
    assert_eq!(space, timestamp());

    let wrong = Envelope::parse(file.bytes(), 16_384)
        .unwrap()
        .open::<Snapshot>(&role)
        .unwrap_err();
    assert!(
        matches!(
            wrong,
            EnvelopeError::Metadata(MetadataError::Type {
                expected: Role::Snapshot,
                ..
            })
        ),
        "{wrong}"
    );
    assert!(matches!(
        Envelope::parse(file.bytes(), 10),
        Err(EnvelopeError::TooLarge { limit: 10, .. })
    ));
}

#[test]
fn a_key_id_may_stand_only_once_in_the_list() {
    let text = br#"{"signed":{},"signatures":[{"keyid":"a","sig":""},{"keyid":"a","sig":""}]}"#;
    assert_eq!(
        Envelope::parse(text, 1000).unwrap_err(),
        EnvelopeError::Signatures("one key id twice")
    );
}

#[test]
fn names_and_versions_have_their_bounds() {
    for name in [
        "",
        "a/b",
        "..",
        ".hidden",
        "a b",
        "ä",
        "a\\b",
        &"a".repeat(181),
    ] {
        assert!(
            matches!(TargetName::new(name), Err(MetadataError::TargetName(_))),
            "{name}"
        );
    }
    assert!(
        Version::new(0).is_err()
            && Version::new(1 << 53).is_err()
            && Version::new((1 << 53) - 1).is_ok()
    );
}
