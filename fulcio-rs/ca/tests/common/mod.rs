//! An authority made of files, as operators make it, with an identity provider and a CT log on loopback that can be taken down.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs,
    unreachable_pub,
    reason = "each test file uses its part; a panic is a test's report"
)]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ct::{AddChainReply, AddChainRequest, Sct};
use fulcio_rs::Follower;
use jiff::{SignedDuration, Timestamp};
use keys::{Algorithm, Digest, HashAlgorithm, PublicKey};
use pki::Certificate;
use pki::profile::{self, Authority, AuthorityParameters};
use serde_json::{Value, json};
use serve::{Limits, ListenAddress, Listeners, Stop, StopHandle, Tls};
use signer::Signer;
use tempfile::TempDir;
use tower::ServiceExt as _;

pub const EMAIL: &str = "dev@example.com";

/// An identity provider with one P-256 key.
pub struct Provider {
    pub url: String,
    key: Signer,
}

impl Provider {
    pub async fn start() -> Arc<Self> {
        let (listener, url) = listen().await;
        let key = Signer::generate(Algorithm::EcdsaP256Sha256).unwrap();
        let provider = Arc::new(Self { url, key });
        let raw = provider.key.public_key().raw().to_vec();
        let part = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let jwk = json!({"kty": "EC", "crv": "P-256", "x": part(&raw[1..33]), "y": part(&raw[33..]), "kid": "1"});
        let document =
            json!({"issuer": provider.url, "jwks_uri": format!("{}/keys", provider.url)});
        let router = Router::new()
            .route(
                "/.well-known/openid-configuration",
                get(async move || Json(document)),
            )
            .route("/keys", get(async move || Json(json!({"keys": [jwk]}))));
        tokio::spawn(async move { axum::serve(listener, router).await });
        provider
    }

    pub fn token(&self) -> String {
        self.token_with(&json!({}))
    }

    pub fn token_with(&self, changes: &Value) -> String {
        let mut claims = json!({
            "iss": self.url, "aud": "sigstore", "sub": "subject-7", "email": EMAIL, "email_verified": true,
            "exp": Timestamp::now().as_second() + 600,
        });
        for (name, value) in changes.as_object().unwrap() {
            claims[name] = value.clone();
        }
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let header = json!({"alg": "ES256", "kid": "1"});
        let signed = format!("{}.{}", part(&header), part(&claims));
        let der = self.key.sign_local(signed.as_bytes()).unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(fixed(&der)))
    }
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

/// A CT log that keeps nothing and refuses everything while it is down.
pub struct Log {
    pub url: String,
    pub key: PublicKey,
    pub down: Arc<AtomicBool>,
}

impl Log {
    pub async fn start() -> Self {
        let (listener, url) = listen().await;
        let signer = key();
        let key = signer.public_key().clone();
        let down = Arc::new(AtomicBool::new(false));
        let (add_down, roots_down) = (down.clone(), down.clone());
        let add = async move |Json(request): Json<AddChainRequest>| {
            if add_down.load(Ordering::SeqCst) {
                return Err(StatusCode::FORBIDDEN);
            }
            let certificate = |at: usize| Certificate::from_der(&request.chain[at].0).unwrap();
            let entry = ct::entry_of_precertificate(&certificate(0), &certificate(1)).unwrap();
            let at = u64::try_from(Timestamp::now().as_millisecond()).unwrap();
            let signed = ct::to_be_signed(&entry, at, &[]).unwrap();
            let signature = signer.sign_local(&signed).unwrap();
            let sct = Sct::new(signer.public_key(), at, Vec::new(), signature);
            Ok(Json(AddChainReply::new(&sct).unwrap()))
        };
        let roots = async move || {
            if roots_down.load(Ordering::SeqCst) {
                return Err(StatusCode::FORBIDDEN);
            }
            Ok(Json(json!({"certificates": []})))
        };
        let router = Router::new()
            .route("/ct/v1/add-pre-chain", post(add))
            .route("/ct/v1/get-roots", get(roots));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, key, down }
    }
}

async fn listen() -> (tokio::net::TcpListener, String) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://127.0.0.1:{}", listener.local_addr().unwrap().port());
    (listener, url)
}

/// A root and an intermediate with its key.
#[derive(Clone)]
pub struct Pair {
    pub key: Signer,
    pub chain: Vec<Certificate>,
}

impl Pair {
    pub fn new(name: &str) -> Self {
        let generate = || Signer::generate(Algorithm::EcdsaP256Sha256).unwrap();
        let (root_key, key) = (generate(), generate());
        let make = |authority, key: &Signer, issuer: Option<&Certificate>| {
            let parameters = AuthorityParameters {
                authority,
                organization: "Example".into(),
                common_name: format!("{name} {authority:?}"),
                key: key.public_key().clone(),
                serial: signer::random::bytes().unwrap(),
                not_before: Timestamp::now() - SignedDuration::from_hours(1),
                not_after: Timestamp::now() + SignedDuration::from_hours(24 * 365),
            };
            let unsigned = profile::prepare_authority(&parameters, issuer).unwrap();
            let signature = root_key.sign_local(unsigned.to_be_signed()).unwrap();
            unsigned.seal(&signature).unwrap()
        };
        let root = make(Authority::Root, &root_key, None);
        let intermediate = make(Authority::CodeSigningIntermediate, &key, Some(&root));
        Self {
            key,
            chain: vec![intermediate, root],
        }
    }

    pub fn chain_pem(&self) -> String {
        self.chain.iter().map(Certificate::to_pem).collect()
    }

    pub fn issued(&self, leaf: &Certificate) -> bool {
        leaf.is_signed_by(self.chain[0].public_key())
    }
}

/// A folder with the settings of an authority.
pub struct Site {
    pub folder: TempDir,
    pub provider: Arc<Provider>,
    pub log: Log,
    pub pair: Pair,
}

impl Site {
    /// With a key of its own and a log; `ca` are further lines of `[ca]`.
    pub async fn new(ca: &str) -> Self {
        let site = Self {
            folder: tempfile::tempdir().unwrap(),
            provider: Provider::start().await,
            log: Log::start().await,
            pair: Pair::new("first"),
        };
        site.put_key("key.pem", &site.pair.key);
        site.put("chain.pem", &site.pair.chain_pem());
        site.put("ctlog.pub.pem", &site.log.key.to_pem());
        site.put("issuers.yaml", &site.issuers());
        site.put_settings(&format!(
            "key = 'key.pem'\nchain = 'chain.pem'\nissuers = 'issuers.yaml'\n{ca}"
        ));
        site
    }

    pub fn issuers(&self) -> String {
        let url = &self.provider.url;
        format!(
            "oidc-issuers:\n  {url}:\n    issuer-url: {url}\n    client-id: sigstore\n    type: email\n"
        )
    }

    pub fn put_settings(&self, ca: &str) {
        let url = &self.log.url;
        self.put(
            "fulcio.toml",
            &format!(
                "[server]\nlisten = 'localhost:0'\n[ca]\n{ca}\n[ct_log]\nurl = '{url}'\npublic_key = 'ctlog.pub.pem'\n"
            ),
        );
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn put(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    pub fn put_key(&self, name: &str, key: &Signer) {
        put_secret(&self.path(name), &key.to_pkcs8_pem().unwrap());
    }

    pub async fn open(&self) -> Running {
        let (service, follower) = fulcio_rs::open(&self.path("fulcio.toml")).await.unwrap();
        Running {
            router: service.router.now(),
            limits: service.server.limits,
            follower,
        }
    }

    pub async fn refused(&self) -> String {
        match fulcio_rs::open(&self.path("fulcio.toml")).await {
            Ok(_) => panic!("it opened"),
            Err(error) => format!("{error:#}"),
        }
    }
}

pub fn put_secret(path: &Path, text: &str) {
    // A key file that others may read for a moment would be refused if it were looked at then.
    let hidden = path.with_extension("hidden");
    fs::write(&hidden, text).unwrap();
    fs::set_permissions(&hidden, fs::Permissions::from_mode(0o600)).unwrap();
    fs::rename(&hidden, path).unwrap();
}

/// An authority whose files are looked at when the test says so.
pub struct Running {
    pub router: Router,
    pub limits: Limits,
    pub follower: Follower,
}

/// An answer over HTTP.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    pub fn reason(&self) -> String {
        self.json()["details"][0]["reason"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    pub fn leaf(&self) -> Certificate {
        let answer = self.json();
        let embedded = &answer["signedCertificateEmbeddedSct"]["chain"]["certificates"][0];
        let detached = &answer["signedCertificateDetachedSct"]["chain"]["certificates"][0];
        let pem = embedded.as_str().or(detached.as_str());
        Certificate::from_pem(pem.unwrap_or_else(|| panic!("{answer}"))).unwrap()
    }
}

impl Running {
    pub async fn send(&self, request: Request<Body>) -> Answer {
        let answer = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = answer.into_parts();
        Answer {
            status: parts.status,
            headers: parts.headers,
            body: to_bytes(body, 1 << 24).await.unwrap().to_vec(),
        }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(Request::get(path).body(Body::empty()).unwrap())
            .await
    }

    pub async fn sign(&self, token: &str, body: &Value) -> Answer {
        let request = Request::post("/api/v2/signingCert")
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", "application/json");
        self.send(request.body(Body::from(body.to_string())).unwrap())
            .await
    }

    /// Puts it on a socket.
    pub async fn serve(&self, tls: Option<Tls>) -> Served {
        let listeners = Listeners::bind(&ListenAddress::localhost(0)).await.unwrap();
        let listeners = listeners.with_tls(tls);
        let port = listeners.port();
        let (handle, stop) = Stop::new();
        tokio::spawn(serve::run(
            listeners,
            "fulcio-rs",
            self.router.clone(),
            self.limits,
            stop,
        ));
        Served {
            port,
            _stop: handle,
        }
    }
}

pub struct Served {
    pub port: u16,
    _stop: StopHandle,
}

pub fn key() -> Signer {
    Signer::generate(Algorithm::EcdsaP256Sha256).unwrap()
}

/// A request with a key and a proof over a name.
pub fn request(key: &Signer, proof_of: &str) -> Value {
    json!({"publicKeyRequest": {
        "publicKey": {"algorithm": "ECDSA", "content": key.public_key().to_pem()},
        "proofOfPossession": STANDARD.encode(key.sign_local(proof_of.as_bytes()).unwrap()),
    }})
}

/// A Transit engine with one P-256 key that can be taken down.
pub async fn transit(key: Signer, down: Arc<AtomicBool>) -> String {
    let router = Router::new().fallback(move |request: axum::extract::Request| {
        let (key, down) = (key.clone(), down.clone());
        async move {
            let path = request.uri().path().to_owned();
            if down.load(Ordering::SeqCst) {
                return Err(StatusCode::BAD_REQUEST);
            }
            let data = if path.ends_with("lookup-self") {
                json!({"ttl": 0, "renewable": false})
            } else if path.starts_with("/v1/transit/keys/") {
                let versions = json!({"1": {"public_key": key.public_key().to_pem()}});
                json!({"type": "ecdsa-p256", "latest_version": 1, "keys": versions})
            } else {
                let body = axum::body::to_bytes(request.into_body(), 1 << 16)
                    .await
                    .unwrap();
                let body: Value = serde_json::from_slice(&body).unwrap();
                let digest = STANDARD.decode(body["input"].as_str().unwrap()).unwrap();
                let digest = Digest::new(HashAlgorithm::Sha256, &digest).unwrap();
                let signature = STANDARD.encode(key.sign_digest(&digest).await.unwrap());
                json!({"signature": format!("vault:v1:{signature}")})
            };
            Ok(Json(json!({ "data": data })))
        }
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}
