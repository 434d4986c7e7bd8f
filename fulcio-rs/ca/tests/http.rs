//! The authority over HTTP, with a small identity provider on loopback: what it issues, and what it refuses with which words.
//!
//! No CT log takes part here: `sigstack`'s tests run the authority with its log.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::needless_pass_by_value,
    clippy::format_collect,
    reason = "a panic is the failure report"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use axum::body::Body;
use axum::http::{Request, StatusCode};
use axum::routing::get;
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use fulcio_rs::{Deps, Issuers, Policy};
use http_body_util::BodyExt as _;
use jiff::Timestamp;
use keys::{Algorithm, PublicKey};
use pki::profile::{self, Authority, AuthorityParameters};
use pki::{Certificate, Field, FulcioExtensions, Purpose, SubjectName, path};
use serde_json::{Value, json};
use serve::Clock;
use signer::Signer;
use tower::ServiceExt as _;

fn now() -> Timestamp {
    "2026-11-23T12:00:00Z".parse().unwrap()
}

/// An identity provider: discovery and keys, counted, and a switch to take it down.
struct Provider {
    url: String,
    key: std::sync::Mutex<Signer>,
    /// Published beside the one that signs.
    others: std::sync::Mutex<Vec<Signer>>,
    down: AtomicBool,
    /// Takes requests and never answers.
    hangs: AtomicBool,
    asked: AtomicUsize,
}

impl Provider {
    async fn start() -> Arc<Self> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://127.0.0.1:{}", listener.local_addr().unwrap().port());
        let provider = Arc::new(Self {
            url,
            key: std::sync::Mutex::new(Signer::generate(Algorithm::EcdsaP256Sha256).unwrap()),
            others: std::sync::Mutex::default(),
            down: AtomicBool::new(false),
            hangs: AtomicBool::new(false),
            asked: AtomicUsize::new(0),
        });
        let (discovery, keys) = (provider.clone(), provider.clone());
        let router = Router::new()
            .route(
                "/.well-known/openid-configuration",
                get(async move || {
                    discovery.asked.fetch_add(1, Ordering::SeqCst);
                    if discovery.hangs.load(Ordering::SeqCst) {
                        std::future::pending::<()>().await;
                    }
                    if discovery.down.load(Ordering::SeqCst) {
                        return Err(StatusCode::NOT_FOUND);
                    }
                    Ok(Json(json!({"issuer": discovery.url, "jwks_uri": format!("{}/keys", discovery.url)})))
                }),
            )
            .route("/keys", get(async move || Json(json!({"keys": keys.jwks()}))));
        tokio::spawn(async move { axum::serve(listener, router).await });
        provider
    }

    fn jwks(&self) -> Vec<Value> {
        let part = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let jwk = |key: &Signer| {
            let raw = key.public_key().raw();
            json!({"kty": "EC", "crv": "P-256", "x": part(&raw[1..33]), "y": part(&raw[33..]), "kid": hex(&key.public_key().key_id())})
        };
        let others = self.others.lock().unwrap();
        others
            .iter()
            .chain([&*self.key.lock().unwrap()])
            .map(jwk)
            .collect()
    }

    fn token(&self, changes: Value) -> String {
        let mut claims = json!({
            "iss": self.url, "aud": "sigstore", "sub": "subject-7", "email": "dev@example.com", "email_verified": true,
            "exp": now().as_second() + 60,
        });
        for (name, value) in changes.as_object().unwrap() {
            claims[name] = value.clone();
        }
        let key = self.key.lock().unwrap();
        let header = json!({"alg": "ES256", "kid": hex(&key.public_key().key_id())});
        let signed = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(header.to_string()),
            URL_SAFE_NO_PAD.encode(claims.to_string())
        );
        let signature = fixed(&key.sign_local(signed.as_bytes()).unwrap());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// r || s out of the DER of a P-256 signature.
fn fixed(der: &[u8]) -> Vec<u8> {
    let (mut rest, mut out) = (&der[2..], Vec::new());
    for _ in 0..2 {
        let size = usize::from(rest[1]);
        let number: Vec<u8> = rest[2..2 + size]
            .iter()
            .copied()
            .skip_while(|byte| *byte == 0)
            .collect();
        out.extend(std::iter::repeat_n(0, 32 - number.len()));
        out.extend(number);
        rest = &rest[2 + size..];
    }
    out
}

struct Ca {
    router: Router,
    chain: Vec<Certificate>,
    clock: Clock,
}

fn ca(issuers: &str) -> Ca {
    let (root_key, key) = (
        Signer::generate(Algorithm::EcdsaP384Sha384).unwrap(),
        Signer::generate(Algorithm::EcdsaP384Sha384).unwrap(),
    );
    let certificate = |kind, key: &Signer, issuer: Option<&Certificate>, signer: &Signer| {
        let parameters = AuthorityParameters {
            authority: kind,
            organization: "Example".into(),
            common_name: format!("{kind:?}"),
            key: key.public_key().clone(),
            serial: [3; 20],
            not_before: "2026-01-01T00:00:00Z".parse().unwrap(),
            not_after: "2036-01-01T00:00:00Z".parse().unwrap(),
        };
        let unsigned = profile::prepare_authority(&parameters, issuer).unwrap();
        let signature = signer.sign_local(unsigned.to_be_signed()).unwrap();
        unsigned.seal(&signature).unwrap()
    };
    let root = certificate(Authority::Root, &root_key, None, &root_key);
    let intermediate = certificate(
        Authority::CodeSigningIntermediate,
        &key,
        Some(&root),
        &root_key,
    );
    let chain = vec![intermediate, root];
    let clock = Clock::fixed(now());
    let settings = client::Settings {
        attempts: 1,
        ..client::Settings::default()
    };
    let deps = Deps {
        signer: key,
        chain: chain.clone(),
        next: Vec::new(),
        retired: Vec::new(),
        ct_log: None,
        issuers: Issuers::parse(issuers.as_bytes(), &settings).unwrap(),
        policy: Policy::default(),
        clock: clock.clone(),
    };
    Ca {
        router: fulcio_rs::build(deps).unwrap(),
        chain,
        clock,
    }
}

fn issuers(provider: &Provider, kind: &str) -> String {
    let url = &provider.url;
    format!(
        "oidc-issuers:\n  {url}:\n    issuer-url: {url}\n    client-id: sigstore\n    type: {kind}\n"
    )
}

impl Ca {
    async fn send(&self, request: Request<Body>) -> (StatusCode, Vec<u8>) {
        let answer = self.router.clone().oneshot(request).await.unwrap();
        let status = answer.status();
        (
            status,
            answer
                .into_body()
                .collect()
                .await
                .unwrap()
                .to_bytes()
                .to_vec(),
        )
    }

    async fn post(&self, path: &str, token: Option<&str>, body: &Value) -> (StatusCode, Value) {
        // sigstore-python and sigstore-rs ask for PEM and read JSON.
        let mut request = Request::post(path)
            .header("content-type", "application/json")
            .header("accept", "application/pem-certificate-chain");
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let (status, body) = self
            .send(request.body(Body::from(body.to_string())).unwrap())
            .await;
        (
            status,
            serde_json::from_slice(&body)
                .unwrap_or_else(|_| Value::String(String::from_utf8(body).unwrap())),
        )
    }

    async fn sign(&self, token: &str, body: &Value) -> (StatusCode, Value) {
        self.post("/api/v2/signingCert", Some(token), body).await
    }
}

fn request(key: &Signer, proof_of: &str) -> Value {
    json!({"publicKeyRequest": {
        "publicKey": {"algorithm": "RSA", "content": key.public_key().to_pem(), "unknown": 1},
        "proofOfPossession": STANDARD.encode(key.sign_local(proof_of.as_bytes()).unwrap()),
    }, "unknown": true})
}

fn leaf(answer: &Value) -> Certificate {
    let text = answer["signedCertificateDetachedSct"]["chain"]["certificates"][0]
        .as_str()
        .unwrap();
    assert!(!text.ends_with('\n'), "PEM is trimmed");
    Certificate::from_pem(text).unwrap()
}

#[tokio::test]
async fn a_token_and_a_proof_become_a_certificate() {
    let provider = Provider::start().await;
    let ca = ca(&issuers(&provider, "email"));
    for algorithm in [
        Algorithm::EcdsaP256Sha256,
        Algorithm::EcdsaP384Sha384,
        Algorithm::EcdsaP521Sha512,
        Algorithm::Ed25519,
        Algorithm::RsaPkcs1Sha256_2048,
    ] {
        let key = Signer::generate(algorithm).unwrap();
        let (status, answer) = ca
            .sign(
                &provider.token(json!({})),
                &request(&key, "dev@example.com"),
            )
            .await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        let leaf = leaf(&answer);
        assert_eq!(leaf.public_key(), key.public_key());
        assert_eq!(
            leaf.subject_names(),
            [SubjectName::Email("dev@example.com".into())]
        );
        let extensions = FulcioExtensions::from_certificate(&leaf).unwrap();
        assert_eq!(extensions.issuer(), Some(provider.url.as_str()));
        assert_eq!(extensions.get(Field::TokenSubject), Some("subject-7"));
        path::verify(
            &leaf,
            &ca.chain[..1],
            &ca.chain[1..],
            now(),
            Purpose::CodeSigning,
        )
        .unwrap();
        assert_eq!(leaf.not_before(), now());
    }
    // A proof over sub is as good, since both names stand in the verified token.
    let key = Signer::generate(Algorithm::EcdsaP256Sha256).unwrap();
    assert_eq!(
        ca.sign(&provider.token(json!({})), &request(&key, "subject-7"))
            .await
            .0,
        StatusCode::OK
    );
    // The token may come in the body, in snake case too, and the body's counts first.
    let mut body = request(&key, "dev@example.com");
    body["credentials"] = json!({"oidc_identity_token": provider.token(json!({}))});
    assert_eq!(
        ca.post("/api/v2/signingCert", Some("nonsense"), &body)
            .await
            .0,
        StatusCode::OK
    );
    assert_eq!(
        provider.asked.load(Ordering::SeqCst),
        1,
        "the keys are cached"
    );
}

#[tokio::test]
async fn a_request_of_pythons_kind_and_the_legacy_ones() {
    let provider = Provider::start().await;
    let ca = ca(&issuers(&provider, "email"));
    let pair = rcgen::KeyPair::generate().unwrap();
    let mut parameters = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
    parameters.distinguished_name = rcgen::DistinguishedName::new();
    parameters.is_ca = rcgen::IsCa::ExplicitNoCa;
    let csr = parameters.serialize_request(&pair).unwrap().pem().unwrap();
    let body = json!({"certificateSigningRequest": STANDARD.encode(&csr)});
    let (status, answer) = ca.sign(&provider.token(json!({})), &body).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert_eq!(
        leaf(&answer).public_key(),
        &PublicKey::from_pem(&pair.public_key_pem()).unwrap()
    );

    let key = Signer::generate(Algorithm::EcdsaP256Sha256).unwrap();
    let proof = STANDARD.encode(key.sign_local(b"dev@example.com").unwrap());
    let with_key = |content: &str, csr: Value| json!({"publicKey": {"content": content, "algorithm": "ecdsa"}, "signedEmailAddress": proof, "certificateSigningRequest": csr});
    for body in [
        with_key(&STANDARD.encode(key.public_key().to_pem()), Value::Null),
        with_key(&STANDARD.encode(key.public_key().spki_der()), json!("")),
        json!({"publicKey": {"content": null, "algorithm": ""}, "signedEmailAddress": null, "certificateSigningRequest": STANDARD.encode(&csr)}),
    ] {
        let (status, answer) = ca
            .post(
                "/api/v1/signingCert",
                Some(&provider.token(json!({}))),
                &body,
            )
            .await;
        assert_eq!(status, StatusCode::CREATED);
        assert_eq!(
            Certificate::chain_from_pem(answer.as_str().unwrap())
                .unwrap()
                .len(),
            3
        );
    }
    let (status, roots) = ca
        .send(
            Request::get("/api/v1/rootCert")
                .body(Body::empty())
                .unwrap(),
        )
        .await;
    assert_eq!(
        (
            status,
            Certificate::chain_from_pem(&String::from_utf8(roots).unwrap())
                .unwrap()
                .len()
        ),
        (StatusCode::OK, 2)
    );
    let (_, bundle) = ca
        .send(
            Request::get("/api/v2/trustBundle")
                .body(Body::empty())
                .unwrap(),
        )
        .await;
    let bundle: Value = serde_json::from_slice(&bundle).unwrap();
    assert!(
        bundle["chains"][0]["certificates"][0]
            .as_str()
            .unwrap()
            .ends_with("-----\n")
    );
    let (_, configuration) = ca
        .send(
            Request::get("/api/v2/configuration")
                .body(Body::empty())
                .unwrap(),
        )
        .await;
    let configuration: Value = serde_json::from_slice(&configuration).unwrap();
    assert_eq!(configuration["issuers"][0]["challengeClaim"], "email");
}

#[tokio::test]
async fn each_refusal_has_upstreams_words_and_a_reason() {
    let provider = Provider::start().await;
    let ca = ca(&issuers(&provider, "email"));
    let key = Signer::generate(Algorithm::EcdsaP256Sha256).unwrap();
    let good = request(&key, "dev@example.com");
    let token = |changes| provider.token(changes);
    let forged = {
        let text = token(json!({}));
        let (signed, _) = text.rsplit_once('.').unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode([1; 64]))
    };
    let mut no_key = good.clone();
    no_key["publicKeyRequest"]["publicKey"]["content"] = json!("no key");
    let mut weak = good.clone();
    weak["publicKeyRequest"]["publicKey"]["content"] = json!(weak_rsa());
    let identity = "There was an error processing the identity token";
    for (token, body, message, reason) in [
        (
            token(json!({"exp": now().as_second()})),
            &good,
            identity,
            "TOKEN_EXPIRED",
        ),
        (
            token(json!({"nbf": now().as_second() + 301})),
            &good,
            identity,
            "TOKEN_NOT_YET_VALID",
        ),
        (
            token(json!({"aud": "other"})),
            &good,
            identity,
            "TOKEN_WRONG_AUDIENCE",
        ),
        (
            token(json!({"iss": "https://issuer.evil"})),
            &good,
            identity,
            "UNKNOWN_ISSUER",
        ),
        (
            token(json!({"email_verified": false})),
            &good,
            identity,
            "EMAIL_NOT_VERIFIED",
        ),
        (
            token(json!({"email": null})),
            &good,
            identity,
            "TOKEN_MISSING_CLAIM",
        ),
        (
            token(json!({"email": "a@b, c@d"})),
            &good,
            identity,
            "UNFIT_CLAIM",
        ),
        (forged, &good, identity, "TOKEN_BAD_SIGNATURE"),
        ("a.b.c".to_owned(), &good, identity, "TOKEN_MALFORMED"),
        (".".repeat(60_000), &good, identity, "TOKEN_MALFORMED"),
        (
            token(json!({})),
            &no_key,
            "The public key supplied in the request could not be parsed",
            "KEY_MALFORMED",
        ),
        (
            token(json!({})),
            &json!({}),
            "The public key supplied in the request could not be parsed",
            "KEY_MALFORMED",
        ),
        (
            token(json!({})),
            &weak,
            "The public key supplied in the request is insecure",
            "KEY_INSECURE",
        ),
        (
            token(json!({})),
            &request(&key, "mallory@example.com"),
            "The signature supplied in the request could not be verified",
            "PROOF_INVALID",
        ),
        (
            token(json!({})),
            &json!({"certificateSigningRequest": STANDARD.encode("no request")}),
            "The certificate signing request could not be parsed",
            "CSR_MALFORMED",
        ),
    ] {
        let (status, answer) = ca.sign(&token, body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{reason}: {answer}");
        assert_eq!(
            (&answer["code"], &answer["message"]),
            (&json!(3), &json!(message)),
            "{reason}"
        );
        assert_eq!(answer["details"][0]["reason"], reason);
    }
    let (status, answer) = ca.post("/api/v2/signingCert", None, &good).await;
    assert_eq!(
        (status, &answer["details"][0]["reason"]),
        (StatusCode::BAD_REQUEST, &json!("NO_TOKEN"))
    );
    let (status, _) = ca
        .send(
            Request::get("/api/v2/signingCert")
                .body(Body::empty())
                .unwrap(),
        )
        .await;
    assert_eq!(status, StatusCode::NOT_IMPLEMENTED);
    let (status, _) = ca
        .send(Request::get("/nothing").body(Body::empty()).unwrap())
        .await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    let (status, _) = ca
        .send(
            Request::post("/api/v2/signingCert")
                .body(Body::from("{"))
                .unwrap(),
        )
        .await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_page_in_a_browser_may_ask() {
    let provider = Provider::start().await;
    let ca = ca(&issuers(&provider, "email"));
    let asked = Request::options("/api/v2/signingCert")
        .header("origin", "https://page.example")
        .header("access-control-request-method", "POST")
        .header(
            "access-control-request-headers",
            "authorization,content-type,x-requested-with",
        );
    let allowed = ca
        .router
        .clone()
        .oneshot(asked.body(Body::empty()).unwrap());
    let allowed = allowed.await.unwrap();
    assert!(allowed.status().is_success());
    let header = |name: &str| allowed.headers()[name].to_str().unwrap().to_lowercase();
    assert_eq!(header("access-control-allow-origin"), "*");
    assert!(header("access-control-allow-methods").contains("post"));
    for name in ["authorization", "content-type", "x-requested-with"] {
        let names = header("access-control-allow-headers");
        assert!(names.contains(name), "{name}: {names}");
    }
    let key = Signer::generate(Algorithm::EcdsaP256Sha256).unwrap();
    let body = request(&key, "dev@example.com").to_string();
    let signs = Request::post("/api/v2/signingCert")
        .header("origin", "https://page.example")
        .header(
            "authorization",
            format!("Bearer {}", provider.token(json!({}))),
        );
    let answer = ca
        .router
        .clone()
        .oneshot(signs.body(Body::from(body)).unwrap());
    let answer = answer.await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.headers()["access-control-allow-origin"], "*");
    let exposed = &answer.headers()["access-control-expose-headers"];
    assert!(exposed.to_str().unwrap().contains("x-request-id"));
}

/// An RSA key of 1024 bits.
fn weak_rsa() -> String {
    let modulus = [&[0x02, 0x81, 0x81, 0x00, 0x80][..], &[1; 127]].concat();
    let body = [&modulus[..], &[0x02, 0x03, 0x01, 0x00, 0x01]].concat();
    let key = [&[0x30, 0x81, u8::try_from(body.len()).unwrap()][..], &body].concat();
    keys::pem::encode("RSA PUBLIC KEY", &key)
}

#[tokio::test]
async fn a_workflow_is_named_with_everything_that_its_token_says() {
    let provider = Provider::start().await;
    let ca = ca(&issuers(&provider, "github-workflow"));
    let key = Signer::generate(Algorithm::EcdsaP256Sha256).unwrap();
    let claims = json!({
        "sub": "repo:octo/app:ref:refs/heads/main", "email": null, "email_verified": null,
        "job_workflow_ref": "octo/ci/.github/workflows/build.yml@refs/heads/main", "job_workflow_sha": "1a", "sha": "2b",
        "event_name": "push", "repository": "octo/app", "workflow": "build", "ref": "refs/heads/main", "runner_environment": "github-hosted",
        "repository_id": "7", "repository_owner": "octo", "repository_owner_id": "8", "repository_visibility": "public",
        "workflow_ref": "octo/app/.github/workflows/main.yml@refs/heads/main", "workflow_sha": "3c", "run_id": "99", "run_attempt": "2",
    });
    let (status, answer) = ca
        .sign(
            &provider.token(claims.clone()),
            &request(&key, "repo:octo/app:ref:refs/heads/main"),
        )
        .await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let leaf = leaf(&answer);
    let workflow = "https://github.com/octo/ci/.github/workflows/build.yml@refs/heads/main";
    assert_eq!(leaf.subject_names(), [SubjectName::Uri(workflow.into())]);
    let extensions = FulcioExtensions::from_certificate(&leaf).unwrap();
    for (field, value) in [
        (Field::GithubWorkflowTrigger, "push"),
        (Field::GithubWorkflowSha, "2b"),
        (Field::GithubWorkflowRepository, "octo/app"),
        (Field::BuildSignerUri, workflow),
        (Field::BuildSignerDigest, "1a"),
        (Field::SourceRepositoryUri, "https://github.com/octo/app"),
        (Field::SourceRepositoryOwnerUri, "https://github.com/octo"),
        (
            Field::BuildConfigUri,
            "https://github.com/octo/app/.github/workflows/main.yml@refs/heads/main",
        ),
        (
            Field::RunInvocationUri,
            "https://github.com/octo/app/actions/runs/99/attempts/2",
        ),
        (Field::SourceRepositoryVisibilityAtSigning, "public"),
        (Field::TokenSubject, "repo:octo/app:ref:refs/heads/main"),
    ] {
        assert_eq!(extensions.get(field), Some(value), "{field:?}");
    }
    assert_eq!(extensions.get(Field::DeploymentEnvironment), None);
    for name in [
        "job_workflow_ref",
        "sha",
        "event_name",
        "repository_id",
        "run_attempt",
    ] {
        let mut missing = claims.clone();
        missing[name] = Value::Null;
        let (status, answer) = ca
            .sign(
                &provider.token(missing),
                &request(&key, "repo:octo/app:ref:refs/heads/main"),
            )
            .await;
        assert_eq!(
            (status, &answer["details"][0]["reason"]),
            (StatusCode::BAD_REQUEST, &json!("TOKEN_MISSING_CLAIM")),
            "{name}"
        );
    }
}

#[tokio::test]
async fn new_keys_are_found_and_a_provider_is_asked_with_restraint() {
    let provider = Provider::start().await;
    let ca = ca(&issuers(&provider, "email"));
    let key = Signer::generate(Algorithm::EcdsaP256Sha256).unwrap();
    let body = request(&key, "dev@example.com");
    assert_eq!(
        ca.sign(
            &provider.token(json!({"exp": now().as_second() + 86_400})),
            &body
        )
        .await
        .0,
        StatusCode::OK
    );
    *provider.key.lock().unwrap() = Signer::generate(Algorithm::EcdsaP256Sha256).unwrap();
    let rotated = provider.token(json!({"exp": now().as_second() + 86_400}));
    // Ten tokens with an unknown key within the interval: the provider is not asked at all.
    for _ in 0..10 {
        assert_eq!(
            ca.sign(&rotated, &body).await.1["details"][0]["reason"],
            "TOKEN_UNKNOWN_KEY"
        );
    }
    assert_eq!(provider.asked.load(Ordering::SeqCst), 1);
    ca.clock.advance(std::time::Duration::from_secs(11));
    assert_eq!(ca.sign(&rotated, &body).await.0, StatusCode::OK);
    assert_eq!(provider.asked.load(Ordering::SeqCst), 2);
    // While the provider is down the keys that we have go on working, and it is asked again only after a pause.
    provider.down.store(true, Ordering::SeqCst);
    ca.clock.advance(std::time::Duration::from_secs(3601));
    for _ in 0..10 {
        assert_eq!(ca.sign(&rotated, &body).await.0, StatusCode::OK);
    }
    assert_eq!(provider.asked.load(Ordering::SeqCst), 3);
    // Whether a key is one of its new ones, nobody can say then: that is not the client's fault, who may come again.
    let before = provider.key.lock().unwrap().clone();
    *provider.key.lock().unwrap() = Signer::generate(Algorithm::EcdsaP256Sha256).unwrap();
    let unknown = provider.token(json!({"exp": now().as_second() + 86_400}));
    for _ in 0..3 {
        let (status, answer) = ca.sign(&unknown, &body).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{answer}");
        assert_eq!(answer["details"][0]["reason"], "ISSUER_UNAVAILABLE");
    }
    assert_eq!(provider.asked.load(Ordering::SeqCst), 3);
    // A known key with a wrong signature is what it is.
    let (head, signature) = rotated.rsplit_once('.').unwrap();
    let wrong: String = signature.chars().rev().collect();
    let (status, answer) = ca.sign(&format!("{head}.{wrong}"), &body).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{answer}");
    provider.down.store(false, Ordering::SeqCst);
    ca.clock.advance(std::time::Duration::from_secs(6));
    assert_eq!(ca.sign(&unknown, &body).await.0, StatusCode::OK);
    *provider.key.lock().unwrap() = before;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_change_under_load_lose_no_request() {
    let provider = Provider::start().await;
    let ca = Arc::new(ca(&issuers(&provider, "email")));
    let over = Arc::new(AtomicBool::new(false));
    let answered: Arc<Vec<AtomicUsize>> = Arc::new((0..8).map(|_| AtomicUsize::new(0)).collect());
    let body = request(
        &Signer::generate(Algorithm::EcdsaP256Sha256).unwrap(),
        "dev@example.com",
    );
    // The clock jumps between requests: one that came an hour before it is answered would be one of a clock that was set back since.
    let jumping = Arc::new(tokio::sync::RwLock::new(()));
    let clients: Vec<_> = (0..8)
        .map(|number| {
            let (ca, provider, body) = (ca.clone(), provider.clone(), body.clone());
            let (over, answered) = (over.clone(), answered.clone());
            let jumping = jumping.clone();
            tokio::spawn(async move {
                while !over.load(Ordering::SeqCst) {
                    let standing = jumping.read().await;
                    // By the key of now.
                    let token = provider.token(json!({"exp": now().as_second() + 1_000_000}));
                    let (status, answer) = ca.sign(&token, &body).await;
                    assert_eq!(status, StatusCode::OK, "{answer}");
                    drop(standing);
                    answered[number].fetch_add(1, Ordering::SeqCst);
                    // Nothing here waits for a socket.
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    // Of each client, so that nobody has a token in hand of a key that has gone since.
    let some_more = async || {
        let counts = || answered.iter().map(|count| count.load(Ordering::SeqCst));
        let goals: Vec<usize> = counts().map(|count| count + 3).collect();
        while counts().zip(&goals).any(|(count, goal)| count < *goal) {
            assert!(clients.iter().all(|client| !client.is_finished()));
            tokio::task::yield_now().await;
        }
    };
    let later = async |seconds| {
        let _nobody = jumping.write().await;
        ca.clock.advance(std::time::Duration::from_secs(seconds));
    };
    let new = || Signer::generate(Algorithm::EcdsaP256Sha256).unwrap();
    for _ in 0..5 {
        some_more().await;
        // The next key is published and found with the others when they are old; then it signs, and the one before is gone.
        let next = new();
        provider.others.lock().unwrap().push(next.clone());
        later(3601).await;
        some_more().await;
        let old = std::mem::replace(&mut *provider.key.lock().unwrap(), next);
        *provider.others.lock().unwrap() = vec![old];
        some_more().await;
        provider.others.lock().unwrap().clear();
        later(3601).await;
        some_more().await;
        // And one that nobody was told of: who comes with it first has it fetched, and the others wait for that.
        later(11).await;
        let old = provider.key.lock().unwrap().clone();
        provider.others.lock().unwrap().push(old);
        *provider.key.lock().unwrap() = new();
        some_more().await;
        provider.others.lock().unwrap().clear();
    }
    over.store(true, Ordering::SeqCst);
    for client in clients {
        client.await.unwrap();
    }
    // Once at the start, and once for each change.
    assert_eq!(provider.asked.load(Ordering::SeqCst), 1 + 5 * 3);
}

#[tokio::test]
async fn a_provider_that_hangs_holds_up_nobody_who_has_its_keys() {
    let provider = Provider::start().await;
    let ca = ca(&issuers(&provider, "email"));
    let key = Signer::generate(Algorithm::EcdsaP256Sha256).unwrap();
    let body = request(&key, "dev@example.com");
    let token = provider.token(json!({"exp": now().as_second() + 200_000}));
    assert_eq!(ca.sign(&token, &body).await.0, StatusCode::OK);
    provider.hangs.store(true, Ordering::SeqCst);
    ca.clock.advance(std::time::Duration::from_secs(3601));
    {
        // The first one asks, and goes away before there is an answer.
        let first = ca.sign(&token, &body);
        let asked = async {
            while provider.asked.load(Ordering::SeqCst) < 2 {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            _ = first => panic!("the provider hangs"),
            () = asked => {}
        }
    }
    for _ in 0..10 {
        assert_eq!(ca.sign(&token, &body).await.0, StatusCode::OK);
    }
    assert_eq!(provider.asked.load(Ordering::SeqCst), 2);
    // But keys that nobody could confirm for a day are not believed.
    provider.hangs.store(false, Ordering::SeqCst);
    provider.down.store(true, Ordering::SeqCst);
    ca.clock.advance(std::time::Duration::from_hours(24));
    let (status, answer) = ca.sign(&token, &body).await;
    assert_eq!(
        (status, &answer["details"][0]["reason"]),
        (
            StatusCode::SERVICE_UNAVAILABLE,
            &json!("ISSUER_UNAVAILABLE")
        ),
        "{answer}"
    );
}

#[tokio::test]
async fn no_certificate_outlives_its_authority() {
    let provider = Provider::start().await;
    let ca = ca(&issuers(&provider, "email"));
    let key = Signer::generate(Algorithm::EcdsaP256Sha256).unwrap();
    let body = request(&key, "dev@example.com");
    let end: Timestamp = "2036-01-01T00:00:00Z".parse().unwrap();
    let token = provider.token(json!({"exp": end.as_second() + 60}));
    let until = |before: i64| u64::try_from(end.as_second() - now().as_second() - before).unwrap();
    ca.clock.advance(std::time::Duration::from_secs(until(601)));
    assert_eq!(ca.sign(&token, &body).await.0, StatusCode::OK);
    ca.clock.advance(std::time::Duration::from_secs(2));
    let (status, answer) = ca.sign(&token, &body).await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(answer["details"][0]["reason"], "CA_FAILED");
}

#[tokio::test]
async fn a_provider_that_was_never_up_is_no_fault_of_the_client() {
    let provider = Provider::start().await;
    provider.down.store(true, Ordering::SeqCst);
    let ca = ca(&issuers(&provider, "email"));
    let key = Signer::generate(Algorithm::EcdsaP256Sha256).unwrap();
    let (status, answer) = ca
        .sign(
            &provider.token(json!({})),
            &request(&key, "dev@example.com"),
        )
        .await;
    assert_eq!(
        (status, &answer["details"][0]["reason"]),
        (
            StatusCode::SERVICE_UNAVAILABLE,
            &json!("ISSUER_UNAVAILABLE")
        )
    );
    provider.down.store(false, Ordering::SeqCst);
    ca.clock.advance(std::time::Duration::from_secs(6));
    assert_eq!(
        ca.sign(
            &provider.token(json!({})),
            &request(&key, "dev@example.com")
        )
        .await
        .0,
        StatusCode::OK
    );
}

#[test]
fn files_of_issuers_say_what_is_wrong_with_them() {
    let parse = |text: &str| {
        Issuers::parse(text.as_bytes(), &client::Settings::default())
            .map_err(|error| error.to_string())
    };
    let one = |fields: &str| {
        format!("oidc-issuers:\n  https://a.example:\n    issuer-url: https://a.example\n{fields}")
    };
    for (text, wanted) in [
        (String::new(), "no issuer"),
        ("oidc-issuers: {}".to_owned(), "no issuer"),
        (one("    type: email\n"), "client-id is missing"),
        (one("    client-id: x\n    type: email\n    issuer-claim: a.b\n"), "no path to one claim"),
        ("oidc-issuers:\n  https://a.example:\n    issuer-url: https://b.example\n    client-id: x\n    type: email\n".to_owned(), "issuer-url"),
    ] {
        let error = parse(&text).unwrap_err();
        assert!(error.contains(wanted), "{text}: {error}");
    }
    let json = r#"{"OIDCIssuers":{"https://a.example":{"IssuerURL":"https://a.example","ClientID":"sigstore","Type":"email"}}}"#;
    assert_eq!(parse(json).unwrap().describe().len(), 1);
}
