//! Keys of plug-ins: of one that works (`examples/sigstore-kms-files.rs`), and of programs that do what none should.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a panic is the failure report, and a skip has to be seen"
)]

use std::fs;
use std::io::IsTerminal as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use keys::{Algorithm, Digest, HashAlgorithm};
use signer::{KeyRef, Signer, SignerError};

/// Beside this test's program, where cargo puts the examples.
fn example() -> PathBuf {
    let this = std::env::current_exe().unwrap();
    let built = this.ancestors().nth(2).unwrap();
    let found = built.join("examples/sigstore-kms-files");
    assert!(found.is_file(), "{}: cargo test builds it", found.display());
    found
}

struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let bench = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        fs::create_dir(bench.path("bin")).unwrap();
        symlink(example(), bench.path("bin/sigstore-kms-files")).unwrap();
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A key file, and its name for the plug-in.
    fn key(&self, algorithm: Algorithm) -> (Signer, String) {
        let file = self.path("key.pem");
        let _ = fs::remove_file(&file);
        let key = Signer::create(&file, algorithm).unwrap();
        (key, format!("files://{}", file.display()))
    }

    /// A plug-in that does what this script says. `$2` has the question.
    fn script(&self, name: &str, text: &str) {
        let file = self.path(&format!("bin/sigstore-kms-{name}"));
        fs::write(&file, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    }

    async fn open(&self, key: &str) -> Result<Signer, SignerError> {
        self.open_in(key, &self.path("bin").display().to_string())
            .await
    }

    async fn open_in(&self, key: &str, path: &str) -> Result<Signer, SignerError> {
        let key = KeyRef::parse(key, None, Path::new("/")).unwrap();
        let path = |name: &str| (name == "PATH").then(|| path.to_owned());
        for _ in 0..100 {
            match Signer::open_in(&key, &path).await {
                // Another test has forked while this one's script was open for writing.
                Err(error) if error.to_string().contains("Text file busy") => {}
                opened => return opened,
            }
        }
        panic!("{key}: busy");
    }

    async fn refusal(&self, key: &str) -> String {
        let error = self.open(key).await.unwrap_err();
        assert!(matches!(error, SignerError::Plugin { .. }), "{error}");
        assert!(error.may_pass());
        error.to_string()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_signs_like_the_key_itself() {
    let bench = Bench::new();
    for algorithm in [
        Algorithm::EcdsaP256Sha256,
        Algorithm::EcdsaP384Sha384,
        Algorithm::EcdsaP521Sha512,
        Algorithm::RsaPkcs1Sha256_2048,
        Algorithm::Ed25519,
    ] {
        let (key, name) = bench.key(algorithm);
        let signer = bench.open(&name).await.unwrap();
        assert_eq!(signer.public_key(), key.public_key());
        assert_eq!(signer.algorithm(), algorithm);
        let long = vec![7; 300_000];
        for message in [&b""[..], b"message", &long] {
            let signature = signer.sign(message).await.unwrap();
            key.public_key()
                .verify(algorithm, message, &signature)
                .unwrap();
        }
        let digest = |hash: HashAlgorithm| Digest::of(hash, b"message");
        let Some(hash) = algorithm.hash() else {
            let error = signer.sign_digest(&digest(HashAlgorithm::Sha512)).await;
            assert!(matches!(error, Err(SignerError::NoDigests(_))));
            continue;
        };
        let signature = signer.sign_digest(&digest(hash)).await.unwrap();
        key.public_key()
            .verify(algorithm, b"message", &signature)
            .unwrap();
        // The private key is where it is.
        assert!(matches!(signer.to_pkcs8_pem(), Err(SignerError::Elsewhere)));
        assert!(matches!(
            signer.sign_local(b"x"),
            Err(SignerError::Elsewhere)
        ));
        assert!(format!("{signer:?}").contains("files://"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_signatures_at_once() {
    let bench = Bench::new();
    let (key, name) = bench.key(Algorithm::EcdsaP256Sha256);
    let signer = bench.open(&name).await.unwrap();
    let mut asked = tokio::task::JoinSet::new();
    for number in 0..40_u8 {
        let signer = signer.clone();
        asked.spawn(async move { (number, signer.sign(&[number]).await.unwrap()) });
    }
    while let Some(answer) = asked.join_next().await {
        let (number, signature) = answer.unwrap();
        key.public_key()
            .verify(key.algorithm(), &[number], &signature)
            .unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_was_exchanged_signs_nothing() {
    let bench = Bench::new();
    let (_, name) = bench.key(Algorithm::EcdsaP256Sha256);
    let signer = bench.open(&name).await.unwrap();
    bench.key(Algorithm::EcdsaP256Sha256);
    assert!(matches!(
        signer.sign(b"message").await,
        Err(SignerError::Unverified(_))
    ));
    let digest = Digest::of(HashAlgorithm::Sha256, b"message");
    assert!(matches!(
        signer.sign_digest(&digest).await,
        Err(SignerError::Unverified(_))
    ));
    fs::remove_file(bench.path("key.pem")).unwrap();
    let error = signer.sign(b"message").await.unwrap_err().to_string();
    assert!(error.contains("the plug-in says: "), "{error}");
    assert!(error.contains("key.pem"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_program_is_found_on_absolute_folders_of_path_alone() {
    let bench = Bench::new();
    let (_, name) = bench.key(Algorithm::EcdsaP256Sha256);
    let missing = bench.refusal("nowhere://key").await;
    assert!(
        missing.contains("no program sigstore-kms-nowhere on PATH"),
        "{missing}"
    );
    for path in ["", "bin", ".", ":", "/nowhere"] {
        assert!(bench.open_in(&name, path).await.is_err(), "{path:?}");
    }
    // One that may not be executed, and a folder of that name, are passed over.
    fs::create_dir(bench.path("first")).unwrap();
    let unfit = bench.path("first/sigstore-kms-files");
    let both = format!(
        "relative:{}:{}",
        bench.path("first").display(),
        bench.path("bin").display()
    );
    fs::write(&unfit, "#!/bin/sh\n").unwrap();
    bench.open_in(&name, &both).await.unwrap();
    fs::remove_file(&unfit).unwrap();
    fs::create_dir(&unfit).unwrap();
    bench.open_in(&name, &both).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_reference_is_for_a_shell() {
    let bench = Bench::new();
    let written = bench.path("arguments");
    let text = format!(
        "printf '%s\\n' \"$#\" \"$1\" \"$2\" > '{}'",
        written.display()
    );
    bench.script("told", &text);
    bench
        .refusal("told://a; touch x $(id) \"quoted\" 'b'")
        .await;
    let told = fs::read_to_string(written).unwrap();
    let mut lines = told.lines();
    assert_eq!((lines.next(), lines.next()), (Some("2"), Some("v1")));
    let question: serde_json::Value = serde_json::from_str(lines.next().unwrap()).unwrap();
    // As sigstore/sigstore's own client writes it, but for members without a value.
    assert_eq!(
        question,
        serde_json::json!({
            "initOptions": {
                "protocolVersion": "v1",
                "keyResourceID": "a; touch x $(id) \"quoted\" 'b'",
                "hashFunc": 5,
                "rpcOptions": {"keyVersion": "", "remoteVerification": false},
            },
            "methodName": "publicKey",
            "publicKey": {
                "publicKeyOptions": {
                    "rpcOptions": {"keyVersion": "", "remoteVerification": false},
                },
            },
        })
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_broken_plugin_does_is_said() {
    let bench = Bench::new();
    for (name, script, expected) in [
        ("silent", "exit 0", "gave no answer"),
        (
            "failing",
            "echo no credentials >&2; exit 3",
            "ended with 3; it wrote: no credentials",
        ),
        ("killed", "kill -9 $$", "by a signal"),
        ("cut", "echo '{}'; kill -9 $$", "was ended by a signal"),
        ("talkative", "yes '{}'", "more than 65536 bytes"),
        ("garbage", "echo not JSON", "gave no answer"),
        (
            "other",
            "echo '{\"signMessage\":{\"signature\":\"\"}}'",
            "without a public key",
        ),
        ("empty", "echo '{}'", "without a public key"),
        (
            "error",
            "echo '{\"errorMessage\":\"no such key\\u001b[31m\"}'; exit 1",
            "the plug-in says: no such key [31m",
        ),
        (
            "encoding",
            "echo '{\"publicKey\":{\"publicKeyPEM\":\"%\"}}'",
            "no text",
        ),
        (
            "nokey",
            "echo '{\"publicKey\":{\"publicKeyPEM\":\"eA==\"}}'",
            "of no use",
        ),
        (
            "null",
            "echo '{\"publicKey\":null,\"errorMessage\":\"\"}'",
            "without a public key",
        ),
    ] {
        bench.script(name, script);
        let said = bench.refusal(&format!("{name}://key")).await;
        assert!(said.contains(expected), "{name}: {said}");
        assert!(said.starts_with(&format!("{name}://key: ")), "{said}");
        assert!(!said.chars().any(char::is_control), "{said:?}");
    }
    // Words of any length are cut, and so is what the reader of the answer quotes of it.
    for (name, answer) in [
        ("wordy", "{\"errorMessage\":\"$words\"}"),
        ("misplaced", "{\"publicKey\":\"$words\"}"),
        (
            "unreadable",
            "{\"publicKey\":{\"publicKeyPEM\":\"$words\"}}",
        ),
    ] {
        let answer = answer.replace('"', "\\\"");
        let words = "words=$(head -c 60000 /dev/zero | tr '\\0' A)";
        bench.script(name, &format!("{words}; echo \"{answer}\""));
        let said = bench.refusal(&format!("{name}://key")).await;
        assert!(said.len() < 600, "{name}: {} bytes", said.len());
    }
    // A complaint of any length holds nobody up, and its end is what is shown.
    bench.script(
        "lengthy",
        "yes complaint | head -c 3000000 >&2; echo the end >&2",
    );
    let said = bench.refusal("lengthy://key").await;
    assert!(said.contains("the end") && said.len() < 1000, "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_may_complain_and_fail_and_still_answer() {
    let bench = Bench::new();
    let (key, name) = bench.key(Algorithm::EcdsaP256Sha256);
    let script = format!("echo debug >&2\n'{}' \"$@\"\nexit 7", example().display());
    bench.script("wrapped", &script);
    let signer = bench.open(&name.replacen("files", "wrapped", 1)).await;
    let signature = signer.unwrap().sign(b"x").await.unwrap();
    key.public_key()
        .verify(key.algorithm(), b"x", &signature)
        .unwrap();
}

/// The number that a script writes into a file, when it has.
async fn number_in(file: &Path) -> String {
    let begun = Instant::now();
    loop {
        match fs::read_to_string(file) {
            Ok(text) if text.ends_with('\n') => return text.trim().to_owned(),
            _ => assert!(begun.elapsed() < Duration::from_secs(30)),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn ends(process: &str) {
    let begun = Instant::now();
    let running = PathBuf::from(format!("/proc/{process}/status"));
    let gone = || fs::read_to_string(&running).map_or(true, |status| status.contains("(zombie)"));
    while !gone() {
        assert!(begun.elapsed() < Duration::from_secs(30));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A plug-in that answers the first question, and does this at the second.
async fn asked_twice(bench: &Bench, second: &str) -> tokio::task::JoinHandle<()> {
    let script = format!(
        "case \"$2\" in *publicKey*) exec '{}' \"$@\";; *) {second};; esac",
        example().display()
    );
    bench.script("slow", &script);
    let (_, name) = bench.key(Algorithm::EcdsaP256Sha256);
    let signer = bench.open(&name.replacen("files", "slow", 1)).await;
    let signer = signer.unwrap();
    tokio::spawn(async move { signer.sign(b"x").await.map(drop).unwrap() })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_hangs_is_ended() {
    let bench = Bench::new();
    let written = bench.path("process");
    let second = format!("echo $$ > '{}'; exec sleep 600", written.display());
    let asking = asked_twice(&bench, &second).await;
    let process = number_in(&written).await;
    // Whoever asked goes away, as after ten seconds.
    asking.abort();
    ends(&process).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_plugin_has_started_ends_with_it() {
    if std::io::stdin().is_terminal() {
        eprintln!("SKIPPED: beside a terminal, a plug-in is in our own group of processes");
        return;
    }
    let bench = Bench::new();
    let written = bench.path("process");
    let second = format!("sleep 600 & echo $! > '{}'; wait", written.display());
    let asking = asked_twice(&bench, &second).await;
    let process = number_in(&written).await;
    asking.abort();
    ends(&process).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_left_behind_holds_nobody_up() {
    let bench = Bench::new();
    let (_, name) = bench.key(Algorithm::EcdsaP256Sha256);
    let script = format!(
        "sleep 20 >/dev/null &\nexec '{}' \"$@\"",
        example().display()
    );
    bench.script("leaving", &script);
    let begun = Instant::now();
    let signer = bench.open(&name.replacen("files", "leaving", 1)).await;
    signer.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(15));
}

/// A plug-in out of sigstore's own handler (`cargo xtask peers install` builds it), else this test skips itself by name.
#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_of_sigstores_handler_understands_us() {
    let this = std::env::current_exe().unwrap();
    let target = this.ancestors().nth(3).unwrap();
    let folder = target.join("peers/go");
    if !folder.join("sigstore-kms-peer").is_file() {
        eprintln!("SKIPPED: sigstore-kms-peer is not here (cargo xtask peers install)");
        return;
    }
    let bench = Bench::new();
    for algorithm in [
        Algorithm::EcdsaP256Sha256,
        Algorithm::EcdsaP384Sha384,
        Algorithm::RsaPkcs1Sha256_2048,
        Algorithm::Ed25519,
    ] {
        let (key, name) = bench.key(algorithm);
        let name = name.replacen("files", "peer", 1);
        let path = folder.display().to_string();
        let signer = bench.open_in(&name, &path).await.unwrap();
        assert_eq!(signer.public_key(), key.public_key());
        let signature = signer.sign(b"message").await.unwrap();
        key.public_key()
            .verify(algorithm, b"message", &signature)
            .unwrap();
        if let Some(hash) = algorithm.hash() {
            let digest = Digest::of(hash, b"message");
            let signature = signer.sign_digest(&digest).await.unwrap();
            key.public_key()
                .verify(algorithm, b"message", &signature)
                .unwrap();
        }
    }
    let missing = format!("peer://{}", bench.path("missing.pem").display());
    let error = bench.open_in(&missing, &folder.display().to_string()).await;
    let error = error.unwrap_err().to_string();
    assert!(error.contains("the plug-in says: "), "{error}");
}
