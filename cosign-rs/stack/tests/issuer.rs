//! The development issuer, over HTTP: every flow that a client has, and what it refuses.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic in a test is its failure report"
)]

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use keys::{Algorithm, PublicKey};
use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use serve::{Clock, Limits, ListenAddress, Listeners, Stop, StopHandle};
use signer::Signer;
use sigstack::browser;
use sigstack::issuer::{self, Minter, Settings};

// RFC 7636 appendix B.
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

struct Running {
    base: String,
    clock: Clock,
    client: Client,
    _stop: StopHandle,
}

async fn start() -> Running {
    let listeners = Listeners::bind(&ListenAddress::localhost(0)).await.unwrap();
    let base = listeners.base_url();
    let clock = Clock::fixed("2026-11-22T10:00:00Z".parse().unwrap());
    let minter = Minter::new(
        base.clone(),
        Signer::generate(Algorithm::RsaPkcs1Sha256_2048).unwrap(),
    )
    .unwrap();
    let router = issuer::build(Settings {
        minter,
        clients: vec!["sigstore".to_owned()],
        clock: clock.clone(),
    });
    let (handle, stop) = Stop::new();
    tokio::spawn(serve::run(
        listeners,
        "issuer",
        router,
        Limits::default(),
        stop,
    ));
    let client = Client::builder()
        .redirect(Policy::none())
        .no_proxy()
        .build()
        .unwrap();
    Running {
        base,
        clock,
        client,
        _stop: handle,
    }
}

impl Running {
    async fn get(&self, path: &str) -> Value {
        self.client
            .get(format!("{}{path}", self.base))
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap()
    }

    async fn post(&self, path: &str, form: &[(&str, &str)]) -> (StatusCode, Value) {
        let response = self
            .client
            .post(format!("{}{path}", self.base))
            .form(form)
            .send()
            .await
            .unwrap();
        (response.status(), response.json().await.unwrap())
    }

    /// Where the issuer sends a browser that signs in at once.
    async fn authorize(&self, extra: &[(&str, &str)]) -> reqwest::Response {
        let mut query = vec![
            ("response_type", "code"),
            ("client_id", "sigstore"),
            ("redirect_uri", "http://localhost:1/auth/callback"),
            ("scope", "openid email"),
            ("state", "st&te"),
            ("nonce", "n0nce"),
            ("code_challenge", CHALLENGE),
            ("code_challenge_method", "S256"),
        ];
        query.retain(|(name, _)| extra.iter().all(|(other, _)| other != name));
        query.extend(extra.iter().filter(|(_, value)| !value.is_empty()));
        self.client
            .get(format!("{}/authorize", self.base))
            .query(&query)
            .send()
            .await
            .unwrap()
    }

    async fn code(&self) -> String {
        let response = self.authorize(&[("auto_login", "alice@example.org")]).await;
        parameters(&response)
            .into_iter()
            .find(|(name, _)| name == "code")
            .unwrap()
            .1
    }

    async fn redeem(&self, code: &str) -> (StatusCode, Value) {
        self.post(
            "/token",
            &[
                ("grant_type", "authorization_code"),
                ("client_id", "sigstore"),
                ("code", code),
                ("redirect_uri", "http://localhost:1/auth/callback"),
                ("code_verifier", VERIFIER),
            ],
        )
        .await
    }

    /// Checks the signature with the published key set and returns the claims.
    async fn open(&self, token: &str, keys_path: &str) -> Value {
        let parts: Vec<&str> = token.split('.').collect();
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).unwrap();
        let header: Value = serde_json::from_slice(&decode(parts[0])).unwrap();
        let set = self.get(keys_path).await;
        let jwk = set["keys"]
            .as_array()
            .unwrap()
            .iter()
            .find(|jwk| jwk["kid"] == header["kid"])
            .unwrap();
        assert_eq!(
            (header["alg"].as_str(), jwk["kty"].as_str()),
            (Some("RS256"), Some("RSA"))
        );
        let number = |name: &str| decode(jwk[name].as_str().unwrap());
        let key = PublicKey::from_rsa_components(&number("n"), &number("e")).unwrap();
        let signed = format!("{}.{}", parts[0], parts[1]);
        key.verify(
            Algorithm::RsaPkcs1Sha256_2048,
            signed.as_bytes(),
            &decode(parts[2]),
        )
        .unwrap();
        serde_json::from_slice(&decode(parts[1])).unwrap()
    }
}

fn parameters(response: &reqwest::Response) -> Vec<(String, String)> {
    assert_eq!(response.status(), StatusCode::SEE_OTHER);
    let location = url::Url::parse(response.headers()["location"].to_str().unwrap()).unwrap();
    location.query_pairs().into_owned().collect()
}

#[tokio::test]
async fn discovery_names_the_issuer_exactly() {
    let issuer = start().await;
    let people = issuer.get("/.well-known/openid-configuration").await;
    assert_eq!(people["issuer"], issuer.base);
    assert_eq!(people["code_challenge_methods_supported"], json!(["S256"]));
    let jobs = issuer.get("/github/.well-known/openid-configuration").await;
    assert_eq!(jobs["issuer"], format!("{}/github", issuer.base));
    assert_eq!(issuer.get("/github/keys").await, issuer.get("/keys").await);
}

#[tokio::test]
async fn a_code_becomes_a_token_with_the_nonce_of_its_request_and_only_once() {
    let issuer = start().await;
    let response = issuer
        .authorize(&[("auto_login", "alice@example.org")])
        .await;
    let answer = parameters(&response);
    assert!(
        answer.contains(&("state".to_owned(), "st&te".to_owned())),
        "{answer:?}"
    );
    let code = &answer.iter().find(|(name, _)| name == "code").unwrap().1;
    let (status, body) = issuer.redeem(code).await;
    assert_eq!(status, StatusCode::OK);
    let claims = issuer
        .open(body["id_token"].as_str().unwrap(), "/keys")
        .await;
    let now = issuer.clock.now().as_second();
    assert_eq!(
        claims,
        json!({
            "iss": issuer.base, "sub": "alice@example.org", "aud": "sigstore", "email": "alice@example.org", "email_verified": true,
            "nonce": "n0nce", "iat": now, "nbf": now, "exp": now + 600,
        })
    );
    let (status, body) = issuer.redeem(code).await;
    assert_eq!(
        (status, body),
        (StatusCode::BAD_REQUEST, json!({ "error": "invalid_grant" }))
    );
}

#[tokio::test]
async fn a_code_expires() {
    let issuer = start().await;
    let code = issuer.code().await;
    issuer.clock.advance(Duration::from_mins(5));
    assert_eq!(
        issuer.redeem(&code).await.1,
        json!({ "error": "invalid_grant" })
    );
}

#[tokio::test]
async fn a_wrong_client_or_redirect_gets_a_page_and_no_redirect() {
    let issuer = start().await;
    for wrong in [
        ("client_id", "other"),
        ("redirect_uri", "https://example.org/"),
        ("redirect_uri", ""),
        ("state", &*"x".repeat(3000)),
    ] {
        let response = issuer
            .authorize(&[wrong, ("auto_login", "alice@example.org")])
            .await;
        assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{}", wrong.0);
        assert!(response.headers().get("location").is_none());
    }
}

#[tokio::test]
async fn other_mistakes_go_back_to_the_client() {
    let issuer = start().await;
    for (wrong, error) in [
        (("response_type", "token"), "unsupported_response_type"),
        (("scope", "email"), "invalid_scope"),
        (("code_challenge", ""), "invalid_request"),
        (("code_challenge_method", "plain"), "invalid_request"),
    ] {
        let answer = parameters(
            &issuer
                .authorize(&[wrong, ("auto_login", "alice@example.org")])
                .await,
        );
        assert!(
            answer.contains(&("error".to_owned(), error.to_owned())),
            "{answer:?}"
        );
        assert!(!answer.iter().any(|(name, _)| name == "code"), "{answer:?}");
    }
    let response = issuer.authorize(&[("auto_login", "not an address")]).await;
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_browser_fills_in_the_page() {
    let issuer = start().await;
    // The client's side of the flow: a listener that hears the code.
    let client = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let redirect = format!(
        "http://127.0.0.1:{}/auth/callback",
        client.local_addr().unwrap().port()
    );
    let heard = tokio::spawn(async move {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let (mut stream, _) = client.accept().await.unwrap();
        let mut buffer = vec![0; 4096];
        let length = stream.read(&mut buffer).await.unwrap();
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\ndone")
            .await
            .unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    });
    let link = url::Url::parse_with_params(
        &format!("{}/authorize", issuer.base),
        [
            ("response_type", "code"),
            ("client_id", "sigstore"),
            ("redirect_uri", &redirect),
            ("scope", "openid email"),
            ("state", "a\"<b>&c"),
            ("code_challenge", CHALLENGE),
            ("code_challenge_method", "S256"),
        ],
    )
    .unwrap();
    assert_eq!(
        browser::sign_in(link.as_str(), "bob@example.org")
            .await
            .unwrap(),
        "done"
    );
    let request = heard.await.unwrap();
    let path = request.split(' ').nth(1).unwrap();
    let back = url::Url::parse(&format!("http://localhost{path}")).unwrap();
    let answer: Vec<(String, String)> = back.query_pairs().into_owned().collect();
    assert!(
        answer.contains(&("state".to_owned(), "a\"<b>&c".to_owned())),
        "{answer:?}"
    );
    assert!(answer.iter().any(|(name, _)| name == "code"));
}

#[tokio::test]
async fn a_person_without_a_redirect_copies_the_code() {
    let issuer = start().await;
    let oob = ("redirect_uri", "urn:ietf:wg:oauth:2.0:oob");
    let response = issuer
        .authorize(&[oob, ("auto_login", "alice@example.org")])
        .await;
    let page = response.text().await.unwrap();
    let code = page
        .split_once("<code>")
        .unwrap()
        .1
        .split_once("</code>")
        .unwrap()
        .0;
    let form = [
        ("grant_type", "authorization_code"),
        ("client_id", "sigstore"),
        ("code", code),
        oob,
        ("code_verifier", VERIFIER),
    ];
    assert_eq!(issuer.post("/token", &form).await.0, StatusCode::OK);
}

#[tokio::test]
async fn a_device_is_signed_in_from_another_one() {
    let issuer = start().await;
    let (status, codes) = issuer
        .post(
            "/device/code",
            &[("client_id", "sigstore"), ("scope", "openid email")],
        )
        .await;
    assert_eq!(status, StatusCode::OK);
    let device_code = codes["device_code"].as_str().unwrap().to_owned();
    let poll = [
        ("grant_type", "urn:ietf:params:oauth:grant-type:device_code"),
        ("client_id", "sigstore"),
        ("device_code", device_code.as_str()),
    ];
    assert_eq!(
        issuer.post("/token", &poll).await.1,
        json!({ "error": "authorization_pending" })
    );
    assert_eq!(
        issuer.post("/token", &poll).await.1,
        json!({ "error": "slow_down" })
    );
    let page = issuer
        .client
        .get(codes["verification_uri_complete"].as_str().unwrap())
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    assert!(page.contains(codes["user_code"].as_str().unwrap()));
    let approve = [
        ("user_code", codes["user_code"].as_str().unwrap()),
        ("email", "carol@example.org"),
    ];
    let approved = issuer
        .client
        .post(codes["verification_uri"].as_str().unwrap())
        .form(&approve)
        .send()
        .await
        .unwrap();
    assert_eq!(approved.status(), StatusCode::OK);
    issuer.clock.advance(Duration::from_secs(10));
    let (status, body) = issuer.post("/token", &poll).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(
        issuer
            .open(body["id_token"].as_str().unwrap(), "/keys")
            .await["email"],
        "carol@example.org"
    );
    assert_eq!(
        issuer.post("/token", &poll).await.1,
        json!({ "error": "invalid_grant" })
    );
    assert_eq!(
        issuer
            .post("/device/code", &[("client_id", "other")])
            .await
            .1,
        json!({ "error": "invalid_client" })
    );
    assert_eq!(
        issuer.post("/token", &[("grant_type", "password")]).await.1,
        json!({ "error": "unsupported_grant_type" })
    );
}

#[tokio::test]
async fn a_job_token_has_all_the_claims_of_the_github_type() {
    let issuer = start().await;
    let minter = Minter::new(
        "http://localhost:1",
        Signer::generate(Algorithm::RsaPkcs1Sha256_2048).unwrap(),
    )
    .unwrap();
    let job = issuer::GitHubJob::parse("repo=octo/app,ref=refs/tags/v1").unwrap();
    let now: Timestamp = issuer.clock.now();
    let token = minter
        .github(&job, "sigstore", now, Duration::from_mins(1))
        .await
        .unwrap();
    let claims: Value = serde_json::from_slice(
        &URL_SAFE_NO_PAD
            .decode(token.split('.').nth(1).unwrap())
            .unwrap(),
    )
    .unwrap();
    assert_eq!(claims["iss"], "http://localhost:1/github");
    assert_eq!(claims["sub"], "repo:octo/app:ref:refs/tags/v1");
    assert_eq!(
        claims["job_workflow_ref"],
        "octo/app/.github/workflows/release.yml@refs/tags/v1"
    );
    for name in [
        "job_workflow_ref",
        "sha",
        "event_name",
        "repository",
        "workflow",
        "ref",
        "job_workflow_sha",
        "runner_environment",
        "repository_id",
        "repository_owner",
        "repository_owner_id",
        "repository_visibility",
        "workflow_ref",
        "workflow_sha",
        "run_id",
        "run_attempt",
    ] {
        assert!(
            claims[name].as_str().is_some_and(|value| !value.is_empty()),
            "{name}"
        );
    }
    let wrong = Minter::new("x", Signer::generate(Algorithm::EcdsaP256Sha256).unwrap());
    assert!(matches!(wrong, Err(issuer::TokenError::Key)));
}
