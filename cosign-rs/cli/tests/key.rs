//! Keys of one's own: made, taken over, signed and verified with, by the program as scripts see it.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a panic in a test is its failure report"
)]

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use keys::Algorithm;
use signer::Signer;
use tempfile::TempDir;
use testkit::{SctList, Sigstore};

const PASSWORD: &str = "correct horse battery staple";

struct Scene(TempDir);

struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Scene {
    fn new() -> Self {
        let scene = Self(tempfile::tempdir().unwrap());
        std::fs::write(scene.path("file"), "a file that somebody signed\n").unwrap();
        std::fs::write(scene.path("other"), "another file\n").unwrap();
        scene
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }

    fn with(&self, variables: &[(&str, &str)], words: &str) -> Said {
        let output = Command::new(env!("CARGO_BIN_EXE_cosign-rs"))
            .current_dir(self.0.path())
            .env_clear()
            .env("HOME", self.0.path())
            .envs(variables.iter().copied())
            .args(words.split_whitespace())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        Said {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    fn run(&self, words: &str) -> Said {
        self.with(&[("COSIGN_PASSWORD", PASSWORD)], words)
    }
}

impl Said {
    fn accepted(self) -> Self {
        assert_eq!(self.code, Some(0), "{}{}", self.out, self.err);
        self
    }

    fn refused(self, reason: &str) {
        assert!(
            self.code.is_some_and(|code| code > 0),
            "{}{}",
            self.out,
            self.err
        );
        assert!(self.err.contains(reason), "expected {reason}: {}", self.err);
    }
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o777
}

#[test]
fn a_pair_is_made_once_and_its_private_half_is_the_owners() {
    let scene = Scene::new();
    let made = scene.run("generate-key-pair").accepted();
    assert_eq!(made.out, "", "keys are not data for standard output");
    assert_eq!(mode(&scene.path("cosign.key")), 0o600);
    let private = std::fs::read_to_string(scene.path("cosign.key")).unwrap();
    assert!(private.starts_with("-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----"));
    scene.run("generate-key-pair").refused("is there already");
    let kept = std::fs::read_to_string(scene.path("cosign.key")).unwrap();
    assert_eq!(kept, private);
    let public = scene.run("public-key --key cosign.key").accepted();
    assert_eq!(
        public.out,
        std::fs::read_to_string(scene.path("cosign.pub")).unwrap()
    );
    scene
        .with(
            &[("COSIGN_PASSWORD", "wrong")],
            "public-key --key cosign.key",
        )
        .refused("password");
    scene
        .with(&[], "public-key --key cosign.key")
        .refused("set COSIGN_PASSWORD");
    scene
        .run("generate-key-pair --output-key-prefix b --signing-algorithm ed25519")
        .code
        .filter(|code| *code != 0)
        .expect("a key that no log takes signatures of is not made");
}

#[test]
fn what_a_key_signed_without_a_log_is_verified_only_when_asked_for() {
    let scene = Scene::new();
    for algorithm in [
        "ecdsa-sha2-256-nistp256",
        "ecdsa-sha2-384-nistp384",
        "ecdsa-sha2-512-nistp521",
        "rsa-sign-pkcs1-2048-sha256",
    ] {
        let prefix = format!("k-{algorithm}");
        scene
            .run(&format!(
                "generate-key-pair --output-key-prefix {prefix} --signing-algorithm {algorithm}"
            ))
            .accepted();
        let (bundle, verify) = (
            format!("{prefix}.json"),
            "verify-blob --insecure-ignore-tlog",
        );
        scene
            .run(&format!(
                "sign-blob --key {prefix}.key --tlog-upload=false --bundle {bundle} file"
            ))
            .accepted();
        let said = scene
            .run(&format!(
                "{verify} --key {prefix}.pub --bundle {bundle} file"
            ))
            .accepted();
        assert!(
            said.err.contains("signed with the given key"),
            "{}",
            said.err
        );
        scene
            .run(&format!(
                "{verify} --key {prefix}.pub --bundle {bundle} other"
            ))
            .refused("error: ");
        scene
            .run(&format!(
                "verify-blob --offline --key {prefix}.pub --bundle {bundle} file"
            ))
            .refused("log");
    }
    // Another key's holder has not signed it.
    scene
        .run("verify-blob --insecure-ignore-tlog --key k-ecdsa-sha2-384-nistp384.pub --bundle k-ecdsa-sha2-256-nistp256.json file")
        .refused("error: ");
    // The private half is not for verifying with.
    scene
        .run("verify-blob --insecure-ignore-tlog --key k-ecdsa-sha2-256-nistp256.key --bundle k-ecdsa-sha2-256-nistp256.json file")
        .refused("is a private key");
}

#[test]
fn statements_are_signed_with_a_key_too() {
    let scene = Scene::new();
    scene.run("generate-key-pair").accepted();
    std::fs::write(scene.path("predicate.json"), "{}").unwrap();
    scene
        .run("attest-blob --key cosign.key --tlog-upload=false --predicate predicate.json --type custom --bundle a.json file")
        .accepted();
    scene
        .run("verify-blob-attestation --insecure-ignore-tlog --key cosign.pub --type custom --bundle a.json file")
        .accepted();
    scene
        .run("verify-blob-attestation --insecure-ignore-tlog --key cosign.pub --type slsaprovenance1 --bundle a.json file")
        .refused("of type");
}

#[test]
fn a_weaker_check_goes_with_a_key_alone() {
    let scene = Scene::new();
    let identity = "--certificate-identity a@b.c --certificate-oidc-issuer https://i";
    scene
        .run(&format!(
            "verify-blob --insecure-ignore-tlog {identity} --bundle b file"
        ))
        .refused("--insecure-ignore-tlog without --key");
    scene
        .run("sign-blob --tlog-upload=false --identity-token x --bundle b file")
        .refused("--tlog-upload=false without --key");
    // Whom somebody names is asked, or it is an error; and a PIN is not repeated.
    scene
        .run("generate-key-pair --output-key-prefix n")
        .accepted();
    let sign = "sign-blob --key n.key --tlog-upload=false";
    let verify = "verify-blob --key n.pub --insecure-ignore-tlog";
    for (command, trust, code) in [
        // Whom to call is not said: no command line.
        (sign, "--trusted-root nowhere.json", 2),
        (verify, "--trusted-root nowhere.json", 1),
        (sign, "--trust-domain nobody", 1),
        (verify, "--trust-domain nobody", 1),
    ] {
        let said = scene.run(&format!("{command} --offline {trust} --bundle n.json file"));
        assert_eq!(said.code, Some(code), "{command} {trust}: {}", said.err);
    }
    let said = scene.run(
        "verify-blob --key pkcs11:token=t;object=o?module-path=/none.so&pin-value=SECRET9 --bundle n.json file",
    );
    assert_eq!(said.code, Some(1));
    assert!(!said.err.contains("SECRET9"), "{}", said.err);
    // Who names no services is asked before the key's use becomes public.
    scene.run("generate-key-pair").accepted();
    scene
        .run("sign-blob --offline --key cosign.key --bundle b file")
        .refused("agree with --yes");
    assert!(!scene.path("b").exists());
}

#[test]
fn keys_of_others_are_taken_over_and_read_from_variables() {
    let scene = Scene::new();
    let key = Signer::generate(Algorithm::EcdsaP256Sha256).unwrap();
    let pem = key.to_pkcs8_pem().unwrap();
    std::fs::write(scene.path("plain.pem"), pem.as_bytes()).unwrap();
    scene.run("import-key-pair --key plain.pem").accepted();
    assert_eq!(
        std::fs::read_to_string(scene.path("import-cosign.pub")).unwrap(),
        key.public_key().to_pem()
    );
    scene
        .run("sign-blob --key import-cosign.key --tlog-upload=false --bundle i.json file")
        .accepted();
    let public = key.public_key().to_pem();
    scene
        .with(
            &[("RELEASE_KEY", public.as_str())],
            "verify-blob --insecure-ignore-tlog --key env://RELEASE_KEY --bundle i.json file",
        )
        .accepted();
    scene
        .with(
            &[("RELEASE_PRIVATE", pem.as_str())],
            "sign-blob --key env://RELEASE_PRIVATE --tlog-upload=false --bundle e.json file",
        )
        .accepted();
    std::fs::write(scene.path("garbage.pem"), "no key").unwrap();
    scene
        .run("import-key-pair --key garbage.pem --output-key-prefix g")
        .refused("the private key garbage.pem");
    assert!(!scene.path("g.key").exists());
}

#[test]
fn a_pin_does_not_come_into_a_trust_roots_policy() {
    let scene = Scene::new();
    scene
        .run("root init --development --online pkcs11:token=t;object=o?module-path=/none.so&pin-value=98765")
        .refused("a PIN does not belong into policy.toml");
    assert!(!scene.path("trust/policy.toml").exists());
}

/// A Sigstore of now, the certificate `own.pem` for the key `own.key`, which no CT log has seen, and what is above it in `chain.pem`.
fn certified(scene: &Scene) -> (Sigstore, Signer, pki::Certificate) {
    let sigstore = Sigstore::new(jiff::Timestamp::now() - jiff::SignedDuration::from_hours(1));
    let signer = Signer::generate(Algorithm::EcdsaP256Sha256).unwrap();
    let leaf = sigstore.ca.issue(sigstore.leaf(&signer), SctList::None);
    let key = signer.to_pkcs8_pem().unwrap();
    signer::write_private(&scene.path("own.key"), &key).unwrap();
    let chain: String = sigstore
        .ca
        .chain()
        .iter()
        .map(pki::Certificate::to_pem)
        .collect();
    for (name, text) in [
        ("own.pub", signer.public_key().to_pem()),
        ("own.pem", leaf.to_pem()),
        ("chain.pem", chain),
    ] {
        std::fs::write(scene.path(name), text).unwrap();
    }
    std::fs::write(scene.path("own.der"), leaf.der()).unwrap();
    (sigstore, signer, leaf)
}

#[test]
fn a_certificate_of_ones_own_is_checked_and_put_into_the_bundle() {
    let scene = Scene::new();
    let (_, _, leaf) = certified(&scene);
    let sign = "sign-blob --key own.key --tlog-upload=false --bundle b";
    for named in [
        "--certificate own.pem",
        "--cert own.der --cert-chain chain.pem",
    ] {
        scene.run(&format!("{sign} {named} file")).accepted();
        let bundle = std::fs::read(scene.path("b")).unwrap();
        let bundle = bundle::Bundle::parse(&bundle).unwrap();
        let bundle::Signer::Certificate {
            leaf: found,
            intermediates,
        } = bundle.signer
        else {
            panic!("there is no certificate in the bundle")
        };
        assert_eq!((found, intermediates), (leaf.clone(), Vec::new()));
        let verify = "verify-blob --key own.pub --insecure-ignore-tlog --bundle b";
        scene.run(&format!("{verify} file")).accepted();
        scene.run(&format!("{verify} other")).refused("signature");
        std::fs::remove_file(scene.path("b")).unwrap();
    }
    std::fs::write(scene.path("predicate"), "{}").unwrap();
    scene
        .run("attest-blob --key own.key --certificate own.pem --tlog-upload=false --predicate predicate --bundle a file")
        .accepted();
    scene
        .run("verify-blob-attestation --key own.pub --insecure-ignore-tlog --bundle a file")
        .accepted();

    scene.run("generate-key-pair").accepted();
    let strange = Sigstore::default().ca.chain();
    std::fs::write(scene.path("strange.pem"), strange[1].to_pem()).unwrap();
    std::fs::write(scene.path("root.pem"), strange[0].to_pem()).unwrap();
    std::fs::write(scene.path("empty.pem"), "").unwrap();
    let other = "sign-blob --key cosign.key --tlog-upload=false --bundle b";
    scene
        .run(&format!("{other} --certificate own.pem file"))
        .refused("another key");
    for (named, reason) in [
        (
            "--certificate own.pem --certificate-chain strange.pem",
            "does not lead",
        ),
        (
            "--certificate own.pem --certificate-chain empty.pem",
            "no PEM block",
        ),
        ("--certificate chain.pem", "several certificates"),
        ("--certificate own.pub", "the certificate own.pub"),
        ("--certificate-chain chain.pem", "--certificate"),
    ] {
        scene.run(&format!("{sign} {named} file")).refused(reason);
    }
    scene
        .run("sign-blob --certificate own.pem --bundle b file")
        .refused("--key");
    scene
        .run("sign-blob --key own.key --tlog-upload=false --certificate own.pem --bundle own.pem file")
        .refused("would be overwritten");
    assert!(!scene.path("b").exists());
}

#[test]
fn a_certificate_in_no_ct_log_is_verified_by_its_name_where_the_flag_says_so() {
    let scene = Scene::new();
    let (sigstore, signer, leaf) = certified(&scene);
    let file = std::fs::read(scene.path("file")).unwrap();
    let bundle = sigstore.sign_with(&file, signer, leaf).bundle;
    std::fs::write(scene.path("b"), bundle.to_json().unwrap()).unwrap();
    std::fs::write(scene.path("root"), sigstore.root().to_json().unwrap()).unwrap();
    let verify = format!(
        "verify-blob --trusted-root root --bundle b --certificate-identity {} --certificate-oidc-issuer {}",
        Sigstore::SUBJECT,
        Sigstore::ISSUER
    );
    scene
        .run(&format!("{verify} file"))
        .refused("--insecure-ignore-sct");
    scene
        .run(&format!("{verify} --insecure-ignore-sct file"))
        .accepted();
    scene
        .run(&format!("{verify} --insecure-ignore-sct other"))
        .refused("signature");
    scene
        .run("verify-blob --trusted-root root --bundle b --insecure-ignore-sct --certificate-identity bob@example.org --certificate-oidc-issuer-regexp .* file")
        .refused("expected bob@example.org");
    scene
        .run("verify-blob --trusted-root root --bundle b --insecure-ignore-sct file")
        .refused("nobody is named");
    scene
        .run("verify-blob --bundle b --insecure-ignore-sct --key own.pub file")
        .refused("a key has no certificate");
}

#[test]
fn a_pair_that_is_imported_replaces_another_one_only_when_it_is_said() {
    let scene = Scene::new();
    certified(&scene);
    scene
        .run("generate-key-pair --output-key-prefix pair")
        .accepted();
    let read = |name: &str| std::fs::read_to_string(scene.path(name)).unwrap();
    let before = (read("pair.key"), read("pair.pub"));
    let import = "import-key-pair --key own.key --output-key-prefix pair";
    scene.run(import).refused("or replace it with --yes");
    // What cannot be imported replaces nothing.
    scene
        .run("import-key-pair --yes --key own.pub --output-key-prefix pair")
        .refused("own.pub");
    assert_eq!((read("pair.key"), read("pair.pub")), before);
    scene.run(&format!("{import} --yes")).accepted();
    assert_eq!(read("pair.pub"), read("own.pub"));
    assert_eq!(mode(&scene.path("pair.key")), 0o600);
    let shown = scene.run("public-key --key pair.key").accepted();
    assert_eq!(shown.out, read("own.pub"));
    let names = std::fs::read_dir(scene.0.path()).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let left: Vec<String> = names.filter(|name| name.starts_with("pair.")).collect();
    assert_eq!(left.len(), 2, "{left:?}");
    // Where nothing was there it is as without the flag.
    scene
        .run("import-key-pair -y --key own.key -o fresh")
        .accepted();
    assert_eq!(read("fresh.pub"), read("own.pub"));
}

#[test]
fn places_for_pairs_that_are_not_ours_are_explained() {
    let scene = Scene::new();
    for (place, hint) in [
        (
            "k8s://prod/signing",
            "kubectl -n prod create secret generic signing",
        ),
        (
            "github://o/r",
            "gh secret set COSIGN_PRIVATE_KEY --repo o/r",
        ),
        (
            "gitlab://g/p",
            "glab variable set COSIGN_PRIVATE_KEY --repo g/p",
        ),
        (
            "--kms hashivault://release",
            "vault write transit/keys/release type=ecdsa-p256",
        ),
        (
            "--kms awskms:///alias/release",
            "aws kms create-key --key-usage SIGN_VERIFY",
        ),
        (
            "--kms gcpkms://projects/p/locations/global/keyRings/r/cryptoKeys/release",
            "gcloud kms keys create release",
        ),
        (
            "--kms azurekms://v.vault.azure.net/release",
            "az keyvault key create --name release",
        ),
        ("somewhere", "--output-key-prefix"),
    ] {
        let said = scene.run(&format!("generate-key-pair {place}"));
        assert_eq!(said.code, Some(2), "{place}: {}", said.err);
        said.refused(hint);
    }
    let made = std::fs::read_dir(scene.0.path()).unwrap().count();
    assert_eq!(made, 2, "nothing is made beside the two files of the scene");
    scene
        .run("verify --k8s-keychain --key k localhost:1/i")
        .refused("credHelpers");
}

#[test]
fn what_goes_to_standard_output_goes_into_a_file_where_one_is_named() {
    let scene = Scene::new();
    certified(&scene);
    let read = |name: &str| std::fs::read_to_string(scene.path(name)).unwrap();
    std::fs::write(scene.path("out"), "of before, and longer".repeat(100)).unwrap();
    for words in [
        "--output-file out public-key --key own.key",
        "public-key --key own.key --output-file=out",
    ] {
        let said = scene.run(words).accepted();
        assert_eq!((said.out.as_str(), read("out")), ("", read("own.pub")));
    }
    let signed = "sign-blob --key own.key --tlog-upload=false --bundle - file --output-file b";
    assert_eq!(scene.run(signed).accepted().out, "");
    scene
        .run("verify-blob --key own.pub --insecure-ignore-tlog --bundle b file")
        .accepted();
    scene
        .run("public-key --key own.key --output-file nowhere/out")
        .refused("nowhere/out");
    // A key that is gone cannot be made again.
    let key = read("own.key");
    scene
        .run("public-key --key own.key --output-file own.key")
        .refused("is a private key");
    assert_eq!(read("own.key"), key);
}
