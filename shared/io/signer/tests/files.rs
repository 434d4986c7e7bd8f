//! Key files as OpenSSL and cosign write them are read; what was changed, is too costly or has another password is refused with its reason.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a panic is the failure report"
)]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use keys::PublicKey;
use signer::{KeyRef, Signer, SignerError};

/// A case's file, if it is there.
fn part(case: &Path, name: &str) -> Option<String> {
    fs::read_to_string(case.join(name)).ok()
}

#[tokio::test]
async fn every_case_is_read_or_refused_as_it_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../testdata/private-keys");
    let (mut read, mut refused, mut wrong) = (0, 0, Vec::new());
    for case in fs::read_dir(root).unwrap() {
        let case = case.unwrap().path();
        if !case.is_dir() {
            continue;
        }
        let text = part(&case, "key.pem").unwrap();
        let password = part(&case, "password");
        let password = password.as_deref().map(|text| text.trim_end().as_bytes());
        let start = Instant::now();
        let signer = Signer::from_pem(&text, password);
        let took = start.elapsed();
        let name = case.file_name().unwrap().to_str().unwrap();
        if name.ends_with("_fail") {
            let error =
                signer.map_or_else(|error| error.to_string(), |key| format!("read: {key:?}"));
            let expected = part(&case, "error").unwrap();
            if !error.contains(expected.trim_end()) {
                wrong.push(format!("{name}: {error}"));
            }
            // What is too costly is refused before it has cost anything.
            let costly = error.contains("too costly") && took > Duration::from_millis(100);
            assert!(!costly, "{name}: {took:?}");
            refused += 1;
        } else {
            let signer = signer.unwrap_or_else(|error| panic!("{name}: {error}"));
            let public = PublicKey::from_pem(&part(&case, "public.pem").unwrap()).unwrap();
            assert_eq!(signer.public_key(), &public, "{name}");
            let signature = signer.sign(name.as_bytes()).await.unwrap();
            let verified = public.verify(signer.algorithm(), name.as_bytes(), &signature);
            assert_eq!(verified, Ok(()), "{name}");
            // The same key comes out of what we would write.
            let again = Signer::from_pem(&signer.to_pkcs8_pem().unwrap(), None).unwrap();
            assert_eq!(again.public_key(), &public, "{name}");
            read += 1;
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
    assert!(
        read >= 13 && refused >= 39,
        "{read} read, {refused} refused"
    );
}

/// Whatever was cut off: refused, and no panic.
#[test]
fn every_shorter_file_is_refused() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../testdata/private-keys");
    for case in [
        "pbes2-aes256-ed25519",
        "cosign-p256",
        "sec1-p521",
        "pkcs8-p384",
    ] {
        let text = part(&root.join(case), "key.pem").unwrap();
        let password = part(&root.join(case), "password");
        let password = password.as_deref().map(|text| text.trim_end().as_bytes());
        let block = keys::pem::decode_all(&text).unwrap().pop().unwrap();
        for length in 0..block.der.len() {
            let shorter = keys::pem::encode(&block.label, block.der.get(..length).unwrap());
            assert!(
                Signer::from_pem(&shorter, password).is_err(),
                "{case} {length}"
            );
        }
    }
}

proptest::proptest! {
    #[test]
    fn no_setting_makes_a_panic(
        start in proptest::sample::select(&["", "pkcs11:", "pkcs11:token=t;object=o?module-path=/m&", "env://", "hashivault://"][..]),
        rest in "[ -~é%;&=?]{0,60}",
    ) {
        let text = format!("{start}{rest}");
        if let Ok(key) = KeyRef::parse(&text, None, Path::new("/etc")) {
            // What is shown names the same key again, less the PIN.
            let shown = key.to_string();
            let again = KeyRef::parse(&shown, None, Path::new("/etc"));
            proptest::prop_assert_eq!(again.unwrap().to_string(), shown);
        }
    }
}

/// A folder with a key and its password, both as `mode` says.
fn folder(mode: u32) -> tempfile::TempDir {
    let case = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../../testdata/private-keys/pbes2-aes256-ed25519");
    let folder = tempfile::tempdir().unwrap();
    for name in ["key.pem", "password"] {
        let path = folder.path().join(name);
        fs::copy(case.join(name), &path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }
    folder
}

#[tokio::test]
async fn a_settings_file_names_key_and_password() {
    let folder = folder(0o600);
    let parse = |text: &str, secret: Option<&str>| {
        KeyRef::parse(text, secret.map(Path::new), folder.path()).unwrap()
    };
    let key = parse("key.pem", Some("password"));
    let signer = Signer::open(&key).await.unwrap();
    assert_eq!(signer.algorithm(), keys::Algorithm::Ed25519);
    assert!(matches!(
        Signer::open(&parse("key.pem", None)).await,
        Err(SignerError::NoPassword)
    ));
    assert!(matches!(
        Signer::open(&parse("missing.pem", None)).await,
        Err(SignerError::File { .. })
    ));
    assert!(!format!("{signer:?} {key:?}").contains("horse"));
}

#[tokio::test]
async fn neither_key_nor_password_may_be_read_by_others() {
    let folder = folder(0o600);
    for name in ["key.pem", "password"] {
        let path = folder.path().join(name);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let key = KeyRef::parse("key.pem", Some(Path::new("password")), folder.path()).unwrap();
        let error = Signer::open(&key).await.unwrap_err();
        assert!(
            matches!(&error, SignerError::Exposed { path, mode: 0o644 } if path.ends_with(name)),
            "{error}"
        );
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }
}

#[tokio::test]
async fn a_variable_may_have_the_key() {
    let folder = folder(0o600);
    let text = fs::read_to_string(folder.path().join("key.pem")).unwrap();
    let environment = move |name: &str| match name {
        "LOG_KEY" => Some(text.clone()),
        "LONG" => Some("x".repeat(65_537)),
        _ => None,
    };
    let open = async |name: &str| {
        let key = KeyRef::parse(name, Some(Path::new("password")), folder.path()).unwrap();
        Signer::open_in(&key, &environment).await
    };
    assert!(open("env://LOG_KEY").await.is_ok());
    for (name, why) in [("env://OTHER", "is not set"), ("env://LONG", "65536")] {
        let error = open(name).await.unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
}

#[test]
fn a_box_of_ours_opens_with_its_password_alone() {
    for password in [&b"correct horse"[..], b""] {
        let key = Signer::generate(keys::Algorithm::EcdsaP256Sha256).unwrap();
        let pem = key.to_cosign_pem(password).unwrap();
        assert!(pem.starts_with("-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\n"));
        let again = Signer::from_pem(&pem, Some(password)).unwrap();
        assert_eq!(again.public_key(), key.public_key());
        assert!(matches!(
            Signer::from_pem(&pem, Some(b"another")),
            Err(SignerError::WrongPassword)
        ));
        let other = key.to_cosign_pem(password).unwrap();
        assert_ne!(pem, other, "each box has a salt and a nonce of its own");
    }
}
