//! Keys in a real token (SoftHSM), found, asked and lost as operators do. Without SoftHSM these tests skip themselves by name.
//!
//! A module reads its environment once for a whole process, and a process cannot set its own variables without `unsafe`: so this program
//! makes the tokens and runs itself again with `SOFTHSM2_CONF` set.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a panic is the failure report, and a skip has to be seen"
)]

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use keys::{Algorithm, Digest, HashAlgorithm, PublicKey};
use signer::{KeyRef, Signer, SignerError};

const MODULES: [&str; 3] = [
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
];
const PIN: &str = "12 34";
const TOKEN: &str = "log keys";
/// Kind for pkcs11-tool, id, and what we make of it.
const KEYS: [(&str, &str, Algorithm); 5] = [
    ("EC:prime256v1", "01", Algorithm::EcdsaP256Sha256),
    ("EC:secp384r1", "02", Algorithm::EcdsaP384Sha384),
    ("EC:secp521r1", "03", Algorithm::EcdsaP521Sha512),
    ("EC:edwards25519", "04", Algorithm::Ed25519),
    ("rsa:2048", "05", Algorithm::RsaPkcs1Sha256_2048),
];

fn run(folder: &Path, program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .env("SOFTHSM2_CONF", folder.join("softhsm2.conf"))
        .output()
        .unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {complaint}"
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn tool(folder: &Path, module: &str, arguments: &[&str]) -> String {
    let common = [
        "--module",
        module,
        "--token-label",
        TOKEN,
        "--login",
        "--pin",
        PIN,
    ];
    run(folder, "pkcs11-tool", &[&common, arguments].concat())
}

/// Tokens in a new folder, and this test again as a process that sees them. `None` in that process, and where nothing is installed.
fn outside(test: &str, prepare: impl FnOnce(&Path, &str)) -> Option<(PathBuf, String)> {
    let module = MODULES
        .into_iter()
        .find(|module| Path::new(module).is_file());
    let tools = ["softhsm2-util", "pkcs11-tool", "openssl"];
    let missing = tools
        .into_iter()
        .find(|tool| Command::new(tool).arg("--help").output().is_err());
    let (Some(module), None) = (module, missing) else {
        eprintln!("SKIPPED {test}: SoftHSM, pkcs11-tool or openssl is not here");
        return None;
    };
    if let Some(folder) = std::env::var_os("KEYS_TEST_FOLDER") {
        return Some((folder.into(), module.to_owned()));
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    fs::create_dir(path.join("tokens")).unwrap();
    let settings = format!(
        "directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n",
        path.join("tokens").display()
    );
    fs::write(path.join("softhsm2.conf"), settings).unwrap();
    let init = [
        "--init-token",
        "--free",
        "--so-pin",
        "5678",
        "--pin",
        PIN,
        "--label",
        TOKEN,
    ];
    run(path, "softhsm2-util", &init);
    prepare(path, module);
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env("SOFTHSM2_CONF", path.join("softhsm2.conf"))
        .env("KEYS_TEST_FOLDER", path)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}"
    );
    None
}

fn secret(folder: &Path, name: &str, text: &str) {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = fs::OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(0o600);
    file.open(folder.join(name))
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
}

async fn open(folder: &Path, uri: &str, secret: Option<&str>) -> Result<Signer, SignerError> {
    Signer::open(&KeyRef::parse(uri, secret.map(Path::new), folder).unwrap()).await
}

#[tokio::test]
async fn every_kind_of_key_signs() {
    let Some((folder, module)) = outside("every_kind_of_key_signs", |folder, module| {
        for (kind, id, _) in KEYS {
            tool(
                folder,
                module,
                &[
                    "--keypairgen",
                    "--key-type",
                    kind,
                    "--id",
                    id,
                    "--label",
                    "log",
                ],
            );
        }
    }) else {
        return;
    };
    secret(&folder, "pin", &format!("{PIN}\n"));
    for (_, id, algorithm) in KEYS {
        let uri = format!("pkcs11:token=log%20keys;object=log;id=%{id}?module-path={module}");
        let signer = open(&folder, &uri, Some("pin")).await.unwrap();
        assert_eq!(signer.algorithm(), algorithm);
        // The same public key as another program reads; this one cannot read other curves.
        if ["01", "05"].contains(&id) {
            let name = format!("{id}.der");
            let read = ["--read-object", "--type", "pubkey", "--id", id, "-o", &name];
            tool(&folder, &module, &read);
            let theirs = PublicKey::from_spki_der(&fs::read(folder.join(name)).unwrap()).unwrap();
            assert_eq!(signer.public_key(), &theirs, "{id}");
        }
        for message in [&b""[..], b"message", &[7; 5000]] {
            let signature = signer.sign(message).await.unwrap();
            assert_eq!(
                signer.public_key().verify(algorithm, message, &signature),
                Ok(())
            );
        }
        let hash = algorithm.hash().unwrap_or(HashAlgorithm::Sha256);
        let signed = signer.sign_digest(&Digest::of(hash, b"message")).await;
        if algorithm == Algorithm::Ed25519 {
            assert!(matches!(signed, Err(SignerError::NoDigests(_))));
        } else {
            let key = signer.public_key();
            let verified = key.verify(algorithm, b"message", &signed.unwrap());
            assert_eq!(verified, Ok(()));
        }
        assert!(matches!(
            signer.sign_local(b""),
            Err(SignerError::Elsewhere)
        ));
        assert!(matches!(signer.to_pkcs8_pem(), Err(SignerError::Elsewhere)));
        // Many at once share the sessions.
        let all = (0..40_u8).map(|number| {
            let signer = signer.clone();
            tokio::spawn(async move { (number, signer.sign(&[number]).await) })
        });
        for task in all.collect::<Vec<_>>() {
            let (number, signature) = task.await.unwrap();
            let verified = signer
                .public_key()
                .verify(algorithm, &[number], &signature.unwrap());
            assert_eq!(verified, Ok(()));
        }
    }
}

#[tokio::test]
async fn a_certificate_stands_for_the_public_key() {
    let Some((folder, module)) = outside(
        "a_certificate_stands_for_the_public_key",
        |folder, module| {
            run(
                folder,
                "openssl",
                &[
                    "req",
                    "-x509",
                    "-newkey",
                    "ec",
                    "-pkeyopt",
                    "ec_paramgen_curve:P-256",
                    "-nodes",
                    "-keyout",
                    "key.pem",
                    "-out",
                    "cert.pem",
                    "-subj",
                    "/CN=t",
                    "-addext",
                    "basicConstraints=critical,CA:TRUE",
                ],
            );
            run(
                folder,
                "openssl",
                &[
                    "x509", "-in", "cert.pem", "-outform", "der", "-out", "cert.der",
                ],
            );
            run(
                folder,
                "openssl",
                &[
                    "pkey", "-in", "key.pem", "-outform", "der", "-out", "key.der",
                ],
            );
            for (kind, file) in [("privkey", "key.der"), ("cert", "cert.der")] {
                tool(
                    folder,
                    module,
                    &[
                        "--write-object",
                        file,
                        "--type",
                        kind,
                        "--id",
                        "0a",
                        "--label",
                        "ca",
                    ],
                );
            }
        },
    ) else {
        return;
    };
    let uri = format!("pkcs11:token=log%20keys;id=%0a?module-path={module}&pin-value=12%2034");
    let signer = open(&folder, &uri, None).await.unwrap();
    let pem = fs::read_to_string(folder.join("key.pem")).unwrap();
    let theirs = Signer::from_pem(&pem, None).unwrap();
    assert_eq!(signer.public_key(), theirs.public_key());
    signer.sign(b"message").await.unwrap();
    // Without its certificate nobody knows what it signs as.
    tool(
        &folder,
        &module,
        &["--delete-object", "--type", "cert", "--id", "0a"],
    );
    let error = open(&folder, &uri, None).await.unwrap_err().to_string();
    assert!(
        error.contains("neither a public key nor a certificate"),
        "{error}"
    );
}

#[tokio::test]
async fn what_is_wrong_is_said_and_the_pin_is_not() {
    let Some((folder, module)) = outside(
        "what_is_wrong_is_said_and_the_pin_is_not",
        |folder, module| {
            for label in ["one", "two", "two"] {
                tool(
                    folder,
                    module,
                    &[
                        "--keypairgen",
                        "--key-type",
                        "EC:prime256v1",
                        "--label",
                        label,
                    ],
                );
            }
            let init = [
                "--init-token",
                "--free",
                "--so-pin",
                "5678",
                "--pin",
                PIN,
                "--label",
                "other",
            ];
            run(folder, "softhsm2-util", &init);
            run(folder, "softhsm2-util", &init);
        },
    ) else {
        return;
    };
    for (path, query, expected) in [
        ("token=no;object=one", "&pin-value=12%2034", "no such token"),
        (
            "token=other;object=one",
            "&pin-value=12%2034",
            "several tokens",
        ),
        (
            "token=log%20keys;object=no",
            "&pin-value=12%2034",
            "no such private key",
        ),
        (
            "token=log%20keys;object=two",
            "&pin-value=12%2034",
            "several private keys",
        ),
        ("token=log%20keys;object=one", "", "asks for a PIN"),
        (
            "token=log%20keys;object=one",
            "&pin-source=nowhere",
            "cannot open it",
        ),
        (
            "token=log%20keys;object=one",
            "&pin-value=99887766",
            "has refused the PIN",
        ),
    ] {
        let uri = format!("pkcs11:{path}?module-path={module}{query}");
        let error = open(&folder, &uri, None).await.unwrap_err();
        let text = format!("{error} {error:?}");
        assert!(text.contains(expected), "{path}: {text}");
        assert!(
            !text.contains("12 34") && !text.contains("99887766"),
            "{text}"
        );
    }
    let missing = "pkcs11:token=t;object=o?module-path=/nowhere/module.so";
    let error = open(&folder, missing, None).await.unwrap_err().to_string();
    assert!(error.contains("loading the module"), "{error}");
    let none = folder.join("key.so");
    fs::write(&none, "not a library").unwrap();
    let uri = format!("pkcs11:token=t;object=o?module-path={}", none.display());
    assert!(open(&folder, &uri, None).await.is_err());
}

/// The module is finalised and started again under the key, as a restart of a token's service does it: sessions and login are gone.
#[tokio::test]
async fn a_lost_session_is_opened_again() {
    let Some((folder, module)) = outside("a_lost_session_is_opened_again", |folder, module| {
        tool(
            folder,
            module,
            &[
                "--keypairgen",
                "--key-type",
                "EC:prime256v1",
                "--label",
                "log",
            ],
        );
    }) else {
        return;
    };
    let uri = format!("pkcs11:token=log%20keys;object=log?module-path={module}&pin-value=12%2034");
    let signer = open(&folder, &uri, None).await.unwrap();
    signer.sign(b"before").await.unwrap();
    let library = cryptoki::context::Pkcs11::new(&module).unwrap();
    library.clone().finalize().unwrap();
    // Nothing is there: an error with its reason, and the process lives.
    let error = signer.sign(b"between").await.unwrap_err().to_string();
    assert!(error.contains("pkcs11:token=log%20keys"), "{error}");
    let flags = cryptoki::context::CInitializeFlags::OS_LOCKING_OK;
    library
        .initialize(cryptoki::context::CInitializeArgs::new(flags))
        .unwrap();
    for _ in 0..8 {
        signer.sign(b"after").await.unwrap();
    }
    // Another key under the same label is not asked: its signatures would be nobody's.
    tool(
        &folder,
        &module,
        &["--delete-object", "--type", "privkey", "--label", "log"],
    );
    tool(
        &folder,
        &module,
        &["--delete-object", "--type", "pubkey", "--label", "log"],
    );
    tool(
        &folder,
        &module,
        &[
            "--keypairgen",
            "--key-type",
            "EC:prime256v1",
            "--label",
            "log",
        ],
    );
    library.clone().finalize().unwrap();
    library
        .initialize(cryptoki::context::CInitializeArgs::new(flags))
        .unwrap();
    let refused = signer.sign(b"exchanged").await;
    assert!(
        matches!(refused, Err(SignerError::Unverified(_))),
        "{refused:?}"
    );
}

/// No worker of the runtime waits for it, and this process ends although its call never does.
#[tokio::test]
async fn a_module_that_hangs_keeps_nothing_else_from_going_on() {
    let folder = tempfile::tempdir().unwrap();
    let source =
        "#include <unistd.h>\nlong C_GetFunctionList(void **list) { for (;;) sleep(1); }\n";
    fs::write(folder.path().join("hang.c"), source).unwrap();
    let arguments = ["-shared", "-fPIC", "-o", "hang.so", "hang.c"];
    // The crypto library needs a C compiler too.
    run(folder.path(), "cc", &arguments);
    let module = folder.path().join("hang.so");
    let uri = format!("pkcs11:token=t;object=o?module-path={}", module.display());
    let opening = open(folder.path(), &uri, None);
    let waited = tokio::time::timeout(std::time::Duration::from_millis(300), opening).await;
    assert!(waited.is_err(), "{waited:?}");
}
