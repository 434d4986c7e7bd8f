//! Private keys in the Transit engine of HashiCorp Vault or OpenBao: the key never leaves the server, which signs for who has a token.
//!
//! The environment is read as Sigstore's Go library reads it: `VAULT_ADDR`, `VAULT_TOKEN` (else `~/.vault-token`),
//! `TRANSIT_SECRET_ENGINE_PATH`, and of Vault's own client `VAULT_NAMESPACE` and `VAULT_CACERT`; `VAULT_SKIP_VERIFY` is not. A token in a
//! file (key_secret_file) goes before the others and is read again when it has changed, as agents and injectors write it.
//!
//! Who controls the server can sign anything with the key, which is its office, or nothing. It cannot make us release a signature by another
//! key or key version, keep a large answer, or wait for long. The token is in no error, no log line and no `Debug`.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock, Weak};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use client::{Agent, Answer, Call, HeaderName, Settings, printable};
use keys::{Digest, HashAlgorithm, KeyType, PublicKey};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use url::Url;
use zeroize::Zeroizing;

use crate::env::Environment;
use crate::{SignerError, file};

const TOKEN: HeaderName = HeaderName::from_static("x-vault-token");
const NAMESPACE: HeaderName = HeaderName::from_static("x-vault-namespace");
/// Servers may be set to refuse requests without it: no link or form of a browser can send it.
const REQUEST: HeaderName = HeaderName::from_static("x-vault-request");
/// A key with some hundred versions is far below it.
const ANSWER_MAX: usize = 256 * 1024;
/// The shortest wait between two looks at a token, also of one that is about to end.
const RENEW_MIN: Duration = Duration::from_secs(1);
/// The longest: a token's life may have been changed on the server.
const RENEW_MAX: Duration = Duration::from_hours(1);
/// Twice the wait after a renewal that failed.
const AGAIN: Duration = Duration::from_secs(10);
/// What counts as no end.
const ENDLESS: Duration = Duration::from_hours(24 * 365);

/// A key in Transit, of one version.
pub(crate) struct TransitKey {
    server: Arc<Server>,
    sign: Url,
    public: PublicKey,
    version: u64,
}

/// Where and as whom we ask.
struct Server {
    agent: Agent,
    /// Address, and the path of the engine below `v1`.
    address: Url,
    namespace: Option<String>,
    token: RwLock<Zeroizing<String>>,
    token_file: Option<PathBuf>,
    place: String,
}

#[derive(Deserialize)]
struct Reply<T> {
    data: T,
}

#[derive(Deserialize)]
struct KeyReply {
    #[serde(rename = "type")]
    kind: String,
    latest_version: u64,
    /// By version. For keys that are no pairs the values are numbers.
    keys: BTreeMap<String, serde_json::Value>,
}

#[derive(Serialize)]
struct SignRequest {
    input: String,
    key_version: u64,
    prehashed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    hash_algorithm: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signature_algorithm: Option<&'static str>,
    marshaling_algorithm: &'static str,
}

#[derive(Deserialize)]
struct SignReply {
    signature: String,
}

#[derive(Deserialize)]
struct TokenReply {
    /// Seconds left; 0 when it does not end.
    ttl: u64,
    renewable: bool,
}

#[derive(Deserialize)]
struct RenewReply {
    auth: Renewed,
}

#[derive(Deserialize)]
struct Renewed {
    lease_duration: u64,
}

/// What Vault says when it refuses.
#[derive(Deserialize)]
struct Complaint {
    errors: Vec<String>,
}

impl TransitKey {
    /// Reads the public key. Without a version it is the latest one, and it stays: who rotates the key restarts the service, and a log or
    /// an authority whose certificates are about another version then refuses to start.
    pub(crate) async fn open(
        name: &str,
        version: Option<u64>,
        token_file: Option<PathBuf>,
        environment: Environment<'_>,
    ) -> Result<Self, SignerError> {
        let server = Arc::new(Server::new(name, token_file, environment)?);
        let engine = environment("TRANSIT_SECRET_ENGINE_PATH");
        let engine = engine.as_deref().unwrap_or("transit");
        let url = |verb: &str| server.below(&format!("{}/{verb}/{name}", engine.trim_matches('/')));
        let Reply { data: key } = server
            .ask::<Reply<KeyReply>>(Call::get(url("keys")?))
            .await?;
        let version = version.unwrap_or(key.latest_version);
        let public = key.keys.get(&version.to_string());
        let public = public.ok_or_else(|| {
            let newest = key.latest_version;
            server.wrong(format!("has no version {version}; its newest is {newest}"))
        })?;
        let public = public_key(&key.kind, public).ok_or_else(|| {
            let kind = printable(&key.kind);
            server.wrong(format!(
                "is a key of type {kind}, which does not sign here: expected ecdsa-p256, -p384 or -p521, ed25519 or rsa-2048, -3072 or -4096"
            ))
        })?;
        let sign = url("sign")?;
        server.keep_token().await;
        Ok(Self {
            server,
            sign,
            public,
            version,
        })
    }

    pub(crate) fn public_key(&self) -> &PublicKey {
        &self.public
    }

    pub(crate) async fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignerError> {
        match self.public.default_algorithm().hash() {
            Some(hash) => self.sign_digest(&hash.digest(message)).await,
            None => self.ask(message, None).await,
        }
    }

    /// For ECDSA and RSA, which the caller has checked, and for [`sign`](Self::sign).
    pub(crate) async fn sign_digest(&self, digest: &Digest) -> Result<Vec<u8>, SignerError> {
        self.ask(digest.bytes(), Some(digest.algorithm())).await
    }

    /// To repeat it does no harm: it is the same statement, by the same key.
    async fn ask(&self, input: &[u8], hash: Option<HashAlgorithm>) -> Result<Vec<u8>, SignerError> {
        let rsa = matches!(
            self.public.key_type(),
            KeyType::Rsa2048 | KeyType::Rsa3072 | KeyType::Rsa4096
        );
        let request = SignRequest {
            input: STANDARD.encode(input),
            key_version: self.version,
            prehashed: hash.is_some(),
            hash_algorithm: hash.map(|hash| match hash {
                HashAlgorithm::Sha256 => "sha2-256",
                HashAlgorithm::Sha384 => "sha2-384",
                HashAlgorithm::Sha512 => "sha2-512",
            }),
            signature_algorithm: rsa.then_some("pkcs1v15"),
            marshaling_algorithm: "asn1",
        };
        let body = serde_json::to_vec(&request).map_err(|_| SignerError::Failed)?;
        let call = Call::post(self.sign.clone(), "application/json", body);
        let Reply { data } = self.server.ask::<Reply<SignReply>>(call).await?;
        self.signature(&data.signature)
    }

    /// `vault:v3:BASE64`.
    fn signature(&self, text: &str) -> Result<Vec<u8>, SignerError> {
        let mut parts = text.splitn(3, ':');
        let (prefix, version, encoded) = (parts.next(), parts.next(), parts.next());
        let (Some("vault"), Some(version), Some(encoded)) = (prefix, version, encoded) else {
            return Err(self
                .server
                .wrong("answered with a signature in no form that is known"));
        };
        if version != format!("v{}", self.version) {
            let (found, wanted) = (printable(version), self.version);
            return Err(self.server.wrong(format!(
                "answered with a signature of version {found}, and v{wanted} was asked for"
            )));
        }
        let decoded = STANDARD.decode(encoded);
        decoded.map_err(|_| {
            self.server
                .wrong("answered with a signature that is not base64")
        })
    }
}

impl fmt::Debug for TransitKey {
    /// The place and the public key.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = &self.server.place;
        write!(
            formatter,
            "TransitKey({place} v{}, {:?})",
            self.version, self.public
        )
    }
}

/// None for keys that are no pairs, and kinds that we do not know.
fn public_key(kind: &str, value: &serde_json::Value) -> Option<PublicKey> {
    let text = value.get("public_key")?.as_str()?;
    let key = if kind == "ed25519" {
        PublicKey::from_raw(KeyType::Ed25519, &STANDARD.decode(text).ok()?)
    } else {
        PublicKey::from_pem(text)
    };
    key.ok()
}

impl Server {
    fn new(
        name: &str,
        token_file: Option<PathBuf>,
        environment: Environment<'_>,
    ) -> Result<Self, SignerError> {
        let variable = |name: &str, why| SignerError::Variable {
            name: name.to_owned(),
            why,
        };
        let address = environment("VAULT_ADDR")
            .ok_or_else(|| variable("VAULT_ADDR", "is not set: it is the address of the server"))?;
        let address = Url::parse(&address)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
            .filter(|url| url.username().is_empty() && url.password().is_none())
            .ok_or_else(|| {
                variable(
                    "VAULT_ADDR",
                    "is no address such as https://vault.example.org:8200",
                )
            })?;
        let (token, token_file) = first_token(token_file, environment)?;
        let extra_roots_pem = match environment("VAULT_CACERT") {
            None => Vec::new(),
            Some(path) => std::fs::read(&path).map_err(file::error(
                path.as_ref(),
                "cannot read the certificates of VAULT_CACERT",
            ))?,
        };
        let agent = Agent::new(Settings {
            // A client of the service waits meanwhile.
            connect_timeout: Duration::from_secs(3),
            read_timeout: Duration::from_secs(5),
            call_timeout: Duration::from_secs(5),
            attempts: 3,
            first_pause: Duration::from_millis(100),
            longest_pause: Duration::from_secs(2),
            extra_roots_pem,
            ..Settings::default()
        });
        Ok(Self {
            agent,
            place: format!(
                "hashivault://{name} at {}",
                address.origin().ascii_serialization()
            ),
            address,
            namespace: environment("VAULT_NAMESPACE"),
            token: RwLock::new(token),
            token_file,
        })
    }

    fn wrong(&self, what: impl Into<String>) -> SignerError {
        SignerError::Vault {
            place: self.place.clone(),
            what: what.into(),
        }
    }

    fn below(&self, path: &str) -> Result<Url, SignerError> {
        let mut url = self.address.clone();
        let failed = || SignerError::Failed;
        url.path_segments_mut()
            .map_err(|()| failed())?
            .pop_if_empty()
            .push("v1")
            .extend(path.split('/'));
        Ok(url)
    }

    /// Asks, and once more with the token that has come into the file meanwhile.
    async fn ask<T: DeserializeOwned>(&self, call: Call) -> Result<T, SignerError> {
        let mut answer = self.send(&call).await?;
        if answer.status.as_u16() == 403 && self.reread() {
            answer = self.send(&call).await?;
        }
        if answer.status.as_u16() != 200 {
            return Err(self.refused(&answer));
        }
        serde_json::from_slice(&answer.body).map_err(|error| {
            self.wrong(format!(
                "answered with something else than expected: {error}"
            ))
        })
    }

    async fn send(&self, call: &Call) -> Result<Answer, SignerError> {
        let mut call = call
            .clone()
            .limit(ANSWER_MAX)
            .header(REQUEST, "true")
            .credential(TOKEN, &self.token());
        if let Some(namespace) = &self.namespace {
            call = call.header(NAMESPACE, namespace);
        }
        self.agent.send(&call).await.map_err(|error| {
            let mut text = error.to_string();
            let mut cause = std::error::Error::source(&error);
            while let Some(deeper) = cause {
                text = format!("{text}: {deeper}");
                cause = deeper.source();
            }
            self.wrong(text)
        })
    }

    fn refused(&self, answer: &Answer) -> SignerError {
        let status = answer.status.as_u16();
        let said = serde_json::from_slice::<Complaint>(&answer.body).ok();
        let said = said.map(|complaint| complaint.errors.join("; "));
        let said = said.filter(|text| !text.trim().is_empty());
        let hint = match status {
            403 => " (the token must be allowed to read keys/ and update sign/ of this key)",
            404 => " (no such key, or no Transit engine at TRANSIT_SECRET_ENGINE_PATH)",
            503 => " (sealed, or not yet ready)",
            _ => "",
        };
        let said = said
            .map(|text| format!(": {}", printable(text.trim())))
            .unwrap_or_default();
        self.wrong(format!("answered {status}{said}{hint}"))
    }

    fn token(&self) -> Zeroizing<String> {
        self.token
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Has another token come into the file?
    fn reread(&self) -> bool {
        let Some(path) = &self.token_file else {
            return false;
        };
        match file::read_secret(path) {
            Ok(token) => {
                let mut held = self.token.write().unwrap_or_else(PoisonError::into_inner);
                let other = *held != token;
                *held = token;
                other
            }
            Err(error) => {
                tracing::warn!(%error, "the token of Vault cannot be read again");
                false
            }
        }
    }

    /// Looks how long the token lives, and begins to prolong it where it ends. A token that may not be looked at is used as it is.
    async fn keep_token(self: &Arc<Self>) {
        match self.look_up().await {
            Ok(TokenReply { ttl: 0, .. }) => {}
            Ok(TokenReply { ttl, renewable }) => {
                if !renewable && self.token_file.is_none() {
                    tracing::warn!(key = %self.place, seconds = ttl, "the token ends and cannot be renewed: from then on nothing is signed");
                    return;
                }
                tokio::spawn(renew(
                    Arc::downgrade(self),
                    Duration::from_secs(ttl),
                    renewable,
                ));
            }
            Err(error) => {
                tracing::warn!(%error, "nobody knows how long the token lives, and it is not renewed");
            }
        }
    }

    async fn look_up(&self) -> Result<TokenReply, SignerError> {
        let call = Call::get(self.below("auth/token/lookup-self")?);
        self.ask::<Reply<TokenReply>>(call)
            .await
            .map(|reply| reply.data)
    }

    async fn renew(&self) -> Result<Duration, SignerError> {
        let call = Call::post(
            self.below("auth/token/renew-self")?,
            "application/json",
            "{}",
        );
        let RenewReply { auth } = self.ask(call).await?;
        Ok(Duration::from_secs(auth.lease_duration))
    }
}

/// At half of what is left, again and again, until the key is dropped or the token has ended. A token in a file is read again first.
async fn renew(server: Weak<Server>, mut left: Duration, mut renewable: bool) {
    let mut end = Instant::now() + left;
    loop {
        tokio::time::sleep((left / 2).clamp(RENEW_MIN, RENEW_MAX)).await;
        let Some(server) = server.upgrade() else {
            return;
        };
        // Another token has another life.
        let changed = server.reread();
        let outcome = if renewable && !changed {
            server.renew().await
        } else {
            server.look_up().await.map(|token| {
                renewable = token.renewable;
                match token.ttl {
                    0 => ENDLESS,
                    seconds => Duration::from_secs(seconds),
                }
            })
        };
        match outcome {
            Ok(now) => {
                left = now;
                end = Instant::now() + left.min(ENDLESS);
            }
            Err(error) if server.token_file.is_none() && Instant::now() >= end => {
                tracing::error!(%error, "the token has ended: nothing is signed until the service starts with another one");
                return;
            }
            Err(error) => {
                tracing::warn!(%error, "the token was not renewed");
                left = (left / 2).max(AGAIN);
            }
        }
    }
}

/// The token, and the file that it may change in.
fn first_token(
    token_file: Option<PathBuf>,
    environment: Environment<'_>,
) -> Result<(Zeroizing<String>, Option<PathBuf>), SignerError> {
    if let Some(path) = token_file {
        return Ok((file::read_secret(&path)?, Some(path)));
    }
    if let Some(token) = environment("VAULT_TOKEN") {
        return Ok((Zeroizing::new(token), None));
    }
    let home = environment("HOME").map(|home| PathBuf::from(home).join(".vault-token"));
    match home.filter(|path| path.is_file()) {
        Some(path) => Ok((file::read_secret(&path)?, Some(path))),
        None => Err(SignerError::Variable {
            name: "VAULT_TOKEN".to_owned(),
            why: "is not set, and neither is key_secret_file, and there is no ~/.vault-token: one of them has the token",
        }),
    }
}
