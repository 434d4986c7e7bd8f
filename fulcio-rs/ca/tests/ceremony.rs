//! `fulcio-rs ca`: what it makes is what the service takes, nothing is overwritten, and upstream's chains are judged as upstream judges them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    reason = "a panic is a test's report"
)]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

use keys::KeyType;
use pki::{Certificate, Csr, oid};
use signer::{KeyRef, Signer};

fn run(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_fulcio-rs"))
        .args(arguments)
        .current_dir(folder)
        .env("SOFTHSM2_CONF", folder.join("softhsm2.conf"))
        .output()
        .unwrap()
}

fn ok(folder: &Path, arguments: &[&str]) -> String {
    let output = run(folder, arguments);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

fn refused(folder: &Path, arguments: &[&str]) -> String {
    let output = run(folder, arguments);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}");
    String::from_utf8(output.stderr).unwrap()
}

fn chain(path: &Path) -> Vec<Certificate> {
    Certificate::chain_from_pem(&fs::read_to_string(path).unwrap()).unwrap()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn root_and_intermediate_are_made_once() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join("ca").join(name);
    let init = ["ca", "init", "--folder", "ca", "--organization", "Example"];
    let said = ok(folder.path(), &init);
    assert!(said.contains("root.key.pem"), "{said}");
    let [intermediate, root] = chain(&at("chain.pem")).try_into().unwrap();
    assert_eq!(chain(&at("root.pem")), std::slice::from_ref(&root));
    for certificate in [&intermediate, &root] {
        assert_eq!(certificate.public_key().key_type(), KeyType::EcdsaP384);
        assert!(certificate.is_ca() && certificate.may_sign_certificates());
        assert!(certificate.subject_text().contains("O=Example"));
    }
    assert_eq!(
        intermediate.purposes(),
        Some((false, [oid::CODE_SIGNING].as_slice()))
    );
    assert_eq!(
        (intermediate.path_length(), root.path_length()),
        (Some(0), Some(1))
    );
    assert!(intermediate.not_after() < root.not_after());
    for (name, certificate) in [("key.pem", &intermediate), ("root.key.pem", &root)] {
        assert_eq!(mode(&at(name)), 0o600, "{name}");
        let key = Signer::load(&at(name)).unwrap();
        assert_eq!(key.public_key(), certificate.public_key());
    }
    let check = ["ca", "check", "--chain", "ca/chain.pem", "--key"];
    let said = ok(folder.path(), &[&check[..], &["ca/key.pem"]].concat());
    assert_eq!(said.lines().count(), 2);
    let said = refused(folder.path(), &[&check[..], &["ca/root.key.pem"]].concat());
    assert!(said.contains("is not the key's"), "{said}");

    // Nothing is overwritten, whichever of the files is there, and nothing new is made then.
    for name in ["root.key.pem", "key.pem", "root.pem", "chain.pem"] {
        let before = fs::read(at(name)).unwrap();
        let other = tempfile::tempdir_in(folder.path()).unwrap();
        let there = other.path().join(name);
        fs::write(&there, &before).unwrap();
        let place = other.path().to_str().unwrap();
        let said = refused(
            folder.path(),
            &["ca", "init", "--folder", place, "--organization", "Example"],
        );
        assert!(said.contains("nothing is overwritten"), "{said}");
        assert_eq!(fs::read(&there).unwrap(), before);
        assert_eq!(fs::read_dir(other.path()).unwrap().count(), 1);
    }
    let said = refused(
        folder.path(),
        &[
            "ca",
            "init",
            "--folder",
            "x",
            "--organization",
            "E",
            "--root-years",
            "2",
            "--years",
            "3",
        ],
    );
    assert!(said.contains("ends with its root"), "{said}");
}

#[tokio::test]
async fn a_root_that_is_elsewhere_signs_a_request() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    ok(
        folder.path(),
        &[
            "ca",
            "init",
            "--folder",
            "vault",
            "--organization",
            "Example",
        ],
    );
    for (name, text) in [("password", "of the service\n"), ("empty", "\n")] {
        fs::write(at(name), text).unwrap();
        fs::set_permissions(at(name), fs::Permissions::from_mode(0o600)).unwrap();
    }
    let said = refused(
        folder.path(),
        &[
            "ca",
            "init",
            "--csr-only",
            "--folder",
            "none",
            "--organization",
            "Example",
            "--password-file",
            "empty",
        ],
    );
    assert!(said.contains("password"), "{said}");
    ok(
        folder.path(),
        &[
            "ca",
            "init",
            "--csr-only",
            "--folder",
            "service",
            "--organization",
            "Example",
            "--name",
            "issuing 2026",
            "--password-file",
            "password",
        ],
    );
    let csr = fs::read_to_string(at("service/intermediate.csr.pem")).unwrap();
    let csr = Csr::from_pem(&csr).unwrap();
    let pem = fs::read_to_string(at("service/key.pem")).unwrap();
    assert!(pem.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----"));
    assert_eq!(mode(&at("service/key.pem")), 0o600);
    let sign = [
        "ca",
        "sign-intermediate",
        "--csr",
        "service/intermediate.csr.pem",
        "--root",
        "vault/root.pem",
        "--root-key",
        "vault/root.key.pem",
        "--years",
        "3",
        "--out",
        "service/chain.pem",
    ];
    ok(folder.path(), &sign);
    let [intermediate, root] = chain(&at("service/chain.pem")).try_into().unwrap();
    assert_eq!(chain(&at("vault/root.pem")), [root]);
    assert_eq!(intermediate.public_key(), csr.public_key());
    assert!(intermediate.subject_text().contains("CN=issuing 2026"));
    assert_eq!(intermediate.path_length(), Some(0));
    let said = refused(folder.path(), &sign);
    assert!(said.contains("nothing is overwritten"), "{said}");
    let check = [
        "ca",
        "check",
        "--chain",
        "service/chain.pem",
        "--key",
        "service/key.pem",
        "--key-secret-file",
        "password",
    ];
    ok(folder.path(), &check);
    let key = KeyRef::parse(
        "service/key.pem",
        Some(Path::new("password")),
        folder.path(),
    );
    let key = Signer::open(&key.unwrap()).await.unwrap();
    assert_eq!(key.public_key(), csr.public_key());

    // Another root's key does not sign for this root, and a request that was changed is none.
    ok(
        folder.path(),
        &[
            "ca",
            "init",
            "--folder",
            "other",
            "--organization",
            "Example",
        ],
    );
    let mut wrong = sign;
    wrong[7] = "other/root.key.pem";
    wrong[11] = "service/wrong.pem";
    assert!(refused(folder.path(), &wrong).contains("is not the key's"));
    let mut der = keys::pem::decode(&csr.to_pem(), &["CERTIFICATE REQUEST"])
        .unwrap()
        .der;
    let name = der
        .windows(7)
        .position(|window| window == b"Example")
        .unwrap();
    der[name] = b'e';
    fs::write(
        at("service/intermediate.csr.pem"),
        keys::pem::encode("CERTIFICATE REQUEST", &der),
    )
    .unwrap();
    let mut changed = sign;
    changed[11] = "service/changed.pem";
    assert!(refused(folder.path(), &changed).contains("does not verify"));
    assert!(!at("service/wrong.pem").exists() && !at("service/changed.pem").exists());
}

#[test]
fn keys_that_are_there_are_used() {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("mine.pem");
    let mine = Signer::create(&key, keys::Algorithm::EcdsaP256Sha256).unwrap();
    ok(
        folder.path(),
        &[
            "ca",
            "init",
            "--folder",
            "ca",
            "--organization",
            "Example",
            "--key",
            "mine.pem",
        ],
    );
    let made = folder.path().join("ca");
    assert_eq!(
        chain(&made.join("chain.pem"))[0].public_key(),
        mine.public_key()
    );
    assert!(!made.join("key.pem").exists());
    let said = refused(
        folder.path(),
        &[
            "ca",
            "init",
            "--folder",
            "same",
            "--organization",
            "Example",
            "--key",
            "mine.pem",
            "--root-key",
            "mine.pem",
        ],
    );
    assert!(said.contains("the same key"), "{said}");
}

#[test]
fn upstreams_chains_are_judged_as_upstream_judges_them() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/fulcio-fileca");
    let folder = tempfile::tempdir().unwrap();
    let (mut good, mut bad) = (0, 0);
    for case in fs::read_dir(root).unwrap() {
        let case = case.unwrap().path();
        if !case.is_dir() {
            continue;
        }
        let file = case.join("chain.pem");
        let check = ["ca", "check", "--chain", file.to_str().unwrap()];
        if case.to_str().unwrap().ends_with("_fail") {
            let said = refused(folder.path(), &check);
            let wanted = fs::read_to_string(case.join("error")).unwrap();
            assert!(said.contains(wanted.trim_end()), "{said}");
            bad += 1;
        } else {
            ok(folder.path(), &check);
            good += 1;
        }
    }
    assert_eq!((good, bad), (6, 2));
}

#[test]
fn help_completions_and_pages_are_there() {
    let folder = tempfile::tempdir().unwrap();
    for (arguments, wanted) in [
        (&["--help"][..], "--check-health"),
        (&["ca", "init", "--help"], "--csr-only"),
        (&["--version"], "fulcio-rs "),
        (&["completion", "bash"], "sign-intermediate"),
    ] {
        assert!(ok(folder.path(), arguments).contains(wanted), "{wanted}");
    }
    ok(folder.path(), &["man", "pages"]);
    assert!(folder.path().join("pages/fulcio-rs-ca-init.1").is_file());
    let nothing = run(folder.path(), &[]);
    assert_eq!(nothing.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&nothing.stderr).contains("--config"));
}

const MODULES: [&str; 3] = [
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
];

#[test]
fn keys_in_a_token_are_used() {
    let module = MODULES
        .into_iter()
        .find(|module| Path::new(module).is_file());
    let (Some(module), Ok(_)) = (module, Command::new("softhsm2-util").arg("--help").output())
    else {
        eprintln!("SKIPPED keys_in_a_token_are_used: SoftHSM is not here");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("tokens")).unwrap();
    let settings = format!(
        "directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n",
        folder.path().join("tokens").display()
    );
    fs::write(folder.path().join("softhsm2.conf"), settings).unwrap();
    let util = |arguments: &[&str]| {
        let done = Command::new("softhsm2-util")
            .args(arguments)
            .current_dir(folder.path())
            .env("SOFTHSM2_CONF", folder.path().join("softhsm2.conf"))
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{arguments:?}: {errors}");
    };
    util(&[
        "--init-token",
        "--free",
        "--label",
        "ca",
        "--pin",
        "2468",
        "--so-pin",
        "13579",
    ]);
    for (label, id) in [("root", "01"), ("issuing", "02")] {
        let file = folder.path().join(label);
        Signer::create(&file, keys::Algorithm::EcdsaP384Sha384).unwrap();
        util(&[
            "--import", label, "--token", "ca", "--label", label, "--id", id, "--pin", "2468",
        ]);
        fs::remove_file(file).unwrap();
    }
    let pin = folder.path().join("pin");
    fs::write(&pin, "2468\n").unwrap();
    fs::set_permissions(&pin, fs::Permissions::from_mode(0o600)).unwrap();
    let uri = |label: &str| format!("pkcs11:token=ca;object={label}?module-path={module}");
    let (root, issuing) = (uri("root"), uri("issuing"));
    let said = ok(
        folder.path(),
        &[
            "ca",
            "init",
            "--folder",
            "ca",
            "--organization",
            "Example",
            "--root-key",
            &root,
            "--root-key-secret-file",
            "pin",
            "--key",
            &issuing,
            "--key-secret-file",
            "pin",
        ],
    );
    assert!(!said.contains("2468"), "{said}");
    let names: Vec<_> = fs::read_dir(folder.path().join("ca"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(names.len(), 2, "certificates only: {names:?}");
    ok(
        folder.path(),
        &[
            "ca",
            "check",
            "--chain",
            "ca/chain.pem",
            "--key",
            &issuing,
            "--key-secret-file",
            "pin",
        ],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_in_transit_is_used() {
    let folder = tempfile::tempdir().unwrap();
    let key = common::key();
    let address = common::transit(key.clone(), std::sync::Arc::default()).await;
    let run = |arguments: &[&str]| {
        let done = Command::new(env!("CARGO_BIN_EXE_fulcio-rs"))
            .args(arguments)
            .current_dir(folder.path())
            .env("VAULT_ADDR", &address)
            .env("VAULT_TOKEN", "a-token")
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{arguments:?}: {errors}");
    };
    run(&[
        "ca",
        "init",
        "--folder",
        "ca",
        "--organization",
        "Example",
        "--key",
        "hashivault://ca",
    ]);
    let made = chain(&folder.path().join("ca/chain.pem"));
    assert_eq!(made[0].public_key(), key.public_key());
    run(&[
        "ca",
        "check",
        "--chain",
        "ca/chain.pem",
        "--key",
        "hashivault://ca",
    ]);
}
