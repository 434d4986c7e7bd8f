//! An identity provider on loopback that does as it is told, and tokens of every kind.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use keys::Algorithm;
use serde::Deserialize;
use serde_json::{Value, json};
use signer::Signer;

pub(crate) fn now() -> Timestamp {
    "2026-11-23T12:00:00Z".parse().unwrap()
}

/// What it answers.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Answer {
    /// Its document and its keys.
    Usual,
    /// 404 to everything.
    Down,
    /// A document of this issuer.
    DocumentOf(String),
    /// Keys at this address.
    KeysAt(String),
    /// A document that announces these algorithms.
    Announces(Vec<String>),
    /// A document or keys of so many bytes.
    LargeDocument(usize),
    LargeKeys(usize),
    /// A document or keys that are none.
    NoDocument,
    NoKeys,
    /// The same path of another host.
    RedirectDiscovery(String),
    RedirectKeys(String),
}

/// What is done to a token.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Forgery {
    /// `alg` is none, and there is no signature.
    None,
    /// HMAC with the bytes of the provider's public key, in PEM.
    PublicKeyAsSecret,
    /// Another name for the algorithm in the header.
    Algorithm(String),
    /// Another key's name.
    KeyId(String),
    /// Signed by somebody else under the same key's name.
    Stranger,
    /// A claim changed after signing.
    Changed,
    /// Header parameters that must be understood.
    Critical,
    /// A key in the header.
    OwnKey,
    /// Padding behind the parts.
    Padded,
    /// Something else altogether.
    Text(String),
    /// So many dots.
    Dots(usize),
    /// A claim of so many bytes.
    Large(usize),
}

pub(crate) struct Provider {
    pub(crate) url: String,
    pub(crate) key: Signer,
    pub(crate) answer: Mutex<Answer>,
    pub(crate) requests: AtomicUsize,
    discoveries: AtomicUsize,
}

const DISCOVERY: &str = "/.well-known/openid-configuration";

impl Provider {
    fn new(url: String) -> Arc<Self> {
        Arc::new(Self {
            url,
            key: Signer::generate(Algorithm::EcdsaP256Sha256).unwrap(),
            answer: Mutex::new(Answer::Usual),
            requests: AtomicUsize::new(0),
            discoveries: AtomicUsize::new(0),
        })
    }

    pub(crate) async fn start() -> Arc<Self> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let provider = Self::new(format!("http://127.0.0.1:{port}"));
        let router = provider.router();
        tokio::spawn(async move { axum::serve(listener, router).await });
        provider
    }

    /// With TLS, by an authority of its own (PEM).
    pub(crate) async fn start_with_tls() -> (Arc<Self>, String) {
        let mut parameters = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        parameters.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
        let root_key = rcgen::KeyPair::generate().unwrap();
        let root = parameters.self_signed(&root_key).unwrap();
        let issuer = rcgen::Issuer::new(parameters, root_key);
        let key = rcgen::KeyPair::generate().unwrap();
        let mut leaf = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        leaf.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
        let leaf = leaf.signed_by(&key, &issuer).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let (certificate, key_file) = (folder.path().join("c"), folder.path().join("k"));
        std::fs::write(&certificate, leaf.pem()).unwrap();
        std::fs::write(&key_file, key.serialize_pem()).unwrap();
        std::fs::set_permissions(&key_file, std::fs::Permissions::from_mode(0o600)).unwrap();
        let files = serve::TlsFiles {
            certificate,
            key: key_file,
        };
        let address: serve::ListenAddress = "localhost:0".parse().unwrap();
        let listeners = serve::Listeners::bind(&address).await.unwrap();
        let port = listeners.address().local().port();
        let listeners = listeners.with_tls(Some(serve::Tls::load(&files).unwrap()));
        let provider = Self::new(format!("https://localhost:{port}"));
        let router = provider.router();
        tokio::spawn(async move {
            let (_handle, stop) = serve::Stop::new();
            serve::run(
                listeners,
                "provider",
                router,
                serve::Limits::default(),
                stop,
            )
            .await;
        });
        (provider, root.pem())
    }

    fn router(self: &Arc<Self>) -> Router {
        Router::new().fallback(answer).with_state(self.clone())
    }

    /// How often its document was asked for.
    pub(crate) fn asked(&self) -> usize {
        self.discoveries.load(Ordering::SeqCst)
    }

    fn key_id(&self) -> String {
        self.key
            .public_key()
            .key_id()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    fn jwk(&self) -> Value {
        let raw = self.key.public_key().raw();
        let part = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        json!({"kty": "EC", "crv": "P-256", "x": part(&raw[1..33]), "y": part(&raw[33..]), "kid": self.key_id()})
    }

    /// A token with these claims, and with audience and times where they have none.
    pub(crate) fn token(&self, claims: &Value) -> String {
        self.forged(claims, None)
    }

    pub(crate) fn forged(&self, claims: &Value, forgery: Option<Forgery>) -> String {
        let mut all = json!({"aud": "sigstore", "iat": now().as_second(), "nbf": now().as_second(), "exp": now().as_second() + 60});
        all.as_object_mut()
            .unwrap()
            .extend(claims.as_object().unwrap().clone());
        let mut header = json!({"alg": "ES256", "typ": "JWT", "kid": self.key_id()});
        let own = Signer::generate(Algorithm::EcdsaP256Sha256).unwrap();
        let mut key = &self.key;
        match &forgery {
            Some(Forgery::Text(text)) => return text.clone(),
            Some(Forgery::Dots(count)) => return ".".repeat(*count),
            Some(Forgery::None) => header["alg"] = json!("none"),
            Some(Forgery::PublicKeyAsSecret) => header["alg"] = json!("HS256"),
            Some(Forgery::Algorithm(name)) => header["alg"] = json!(name),
            Some(Forgery::KeyId(id)) => header["kid"] = json!(id),
            Some(Forgery::Critical) => header["crit"] = json!(["exp"]),
            Some(Forgery::Stranger) => key = &own,
            Some(Forgery::OwnKey) => {
                key = &own;
                let raw = own.public_key().raw();
                let part = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
                header["jwk"] = json!({"kty": "EC", "crv": "P-256", "x": part(&raw[1..33]), "y": part(&raw[33..])});
            }
            Some(Forgery::Large(size)) => all["filler"] = json!("x".repeat(*size)),
            Some(Forgery::Changed | Forgery::Padded) | None => {}
        }
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let (header, signed_claims) = (encode(&header), encode(&all));
        let signed = format!("{header}.{signed_claims}");
        let signature = match &forgery {
            Some(Forgery::None) => Vec::new(),
            Some(Forgery::PublicKeyAsSecret) => {
                hmac(self.key.public_key().to_pem().as_bytes(), signed.as_bytes())
            }
            _ => fixed(&key.sign_local(signed.as_bytes()).unwrap()),
        };
        let signature = URL_SAFE_NO_PAD.encode(signature);
        match &forgery {
            Some(Forgery::Changed) => {
                all["sub"] = json!("somebody-else");
                format!("{header}.{}.{signature}", encode(&all))
            }
            Some(Forgery::Padded) => format!("{signed}.{signature}=="),
            _ => format!("{signed}.{signature}"),
        }
    }
}

async fn answer(State(provider): State<Arc<Provider>>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    provider.requests.fetch_add(1, Ordering::SeqCst);
    let told = provider.answer.lock().unwrap().clone();
    let url = &provider.url;
    let keys = json!({"keys": [provider.jwk()]});
    if let Some(prefix) = path.strip_suffix(DISCOVERY) {
        provider.discoveries.fetch_add(1, Ordering::SeqCst);
        let mut document =
            json!({"issuer": format!("{url}{prefix}"), "jwks_uri": format!("{url}/keys")});
        match told {
            Answer::Down => return StatusCode::NOT_FOUND.into_response(),
            Answer::NoDocument => return "<html>".into_response(),
            Answer::RedirectDiscovery(to) => {
                return Redirect::temporary(&format!("{to}{path}")).into_response();
            }
            Answer::DocumentOf(issuer) => document["issuer"] = json!(issuer),
            Answer::KeysAt(address) => document["jwks_uri"] = json!(address),
            Answer::Announces(names) => {
                document["id_token_signing_alg_values_supported"] = json!(names);
            }
            Answer::LargeDocument(size) => document["filler"] = json!("x".repeat(size)),
            _ => {}
        }
        return axum::Json(document).into_response();
    }
    match told {
        Answer::Down => StatusCode::NOT_FOUND.into_response(),
        Answer::NoKeys => axum::Json(json!({"keys": []})).into_response(),
        Answer::LargeKeys(size) => {
            axum::Json(json!({"keys": [provider.jwk()], "filler": "x".repeat(size)}))
                .into_response()
        }
        Answer::RedirectKeys(to) if path == "/keys" => {
            Redirect::temporary(&format!("{to}/other-keys")).into_response()
        }
        _ => axum::Json(keys).into_response(),
    }
}

/// RFC 2104 with SHA-256.
fn hmac(secret: &[u8], message: &[u8]) -> Vec<u8> {
    let mut block = [0; 64];
    if secret.len() > 64 {
        block[..32].copy_from_slice(&keys::digest::sha256(secret));
    } else {
        block[..secret.len()].copy_from_slice(secret);
    }
    let inner = [&block.map(|byte| byte ^ 0x36)[..], message].concat();
    let outer = [
        &block.map(|byte| byte ^ 0x5c)[..],
        &keys::digest::sha256(&inner),
    ]
    .concat();
    keys::digest::sha256(&outer).to_vec()
}

/// r || s out of the DER of a P-256 signature.
fn fixed(der: &[u8]) -> Vec<u8> {
    let (mut rest, mut out) = (&der[2..], Vec::new());
    for _ in 0..2 {
        let size = usize::from(rest[1]);
        let number = rest[2..2 + size]
            .iter()
            .copied()
            .skip_while(|byte| *byte == 0);
        let number: Vec<u8> = number.collect();
        out.extend(std::iter::repeat_n(0, 32 - number.len()));
        out.extend(number);
        rest = &rest[2 + size..];
    }
    out
}
