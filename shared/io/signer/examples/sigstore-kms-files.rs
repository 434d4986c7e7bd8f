//! A plug-in as others are made: keys in files, `files:///path/to/key.pem`, over protocol v1 of Sigstore's plug-ins.
//!
//! A real one asks the key management of a cloud where this one reads a file. What it must do: take the two arguments, the message on standard
//! input unless a digest stands in the arguments, and answer with one JSON object on standard output. Errors stand in `errorMessage`.
//!
//! ```text
//! cargo build -p signer --example sigstore-kms-files     # and its folder onto PATH
//! cosign-rs sign-blob --key files:///path/to/key.pem ...
//! ```

use std::io::{Read as _, Write as _};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keys::{Algorithm, Digest, HashAlgorithm, PublicKey};
use serde_json::{Value, json};
use signer::LocalKey;

/// The largest message.
const MESSAGE_MAX: u64 = 64 << 20;

fn main() {
    let answer = answer().unwrap_or_else(|why| json!({ "errorMessage": why }));
    // Nobody is there to be told that nobody is there.
    let _ = write!(std::io::stdout(), "{answer}");
}

fn answer() -> Result<Value, String> {
    let mut arguments = std::env::args().skip(1);
    let protocol = arguments.next().unwrap_or_default();
    if protocol != "v1" {
        return Err(format!("expected protocol v1, got {protocol:?}"));
    }
    let question: Value = serde_json::from_str(&arguments.next().unwrap_or_default())
        .map_err(|error| format!("the arguments: {error}"))?;
    let text = |pointer: &str| question.pointer(pointer).and_then(Value::as_str);
    let file = text("/initOptions/keyResourceID").ok_or("no keyResourceID")?;
    match text("/methodName").ok_or("no methodName")? {
        "defaultAlgorithm" => Ok(json!({ "defaultAlgorithm": { "defaultAlgorithm": names()[0] } })),
        "supportedAlgorithms" => {
            Ok(json!({ "supportedAlgorithms": { "supportedAlgorithms": names() } }))
        }
        "createKey" => {
            let name = text("/createKey/algorithm").unwrap_or(names()[0]);
            let known = ALGORITHMS
                .iter()
                .find(|known| known.registry_name() == name);
            let algorithm = *known.ok_or_else(|| format!("no keys of algorithm {name}"))?;
            let made = signer::Signer::create(Path::new(file), algorithm);
            let made = made.map_err(|error| error.to_string())?;
            Ok(json!({ "createKey": { "publicKeyPEM": pem(made.public_key()) } }))
        }
        "publicKey" => {
            let key = load(file)?;
            Ok(json!({ "publicKey": { "publicKeyPEM": pem(key.public_key()) } }))
        }
        "signMessage" => {
            let key = load(file)?;
            let options = "/signMessage/signOptions/messageOptions";
            let signature = match text(&format!("{options}/digest")) {
                Some(digest) => {
                    let hash = question.pointer(&format!("{options}/hashFunc"));
                    let hash = hash.or_else(|| question.pointer("/initOptions/hashFunc"));
                    key.sign_digest(&digest_of(hash, digest)?)
                }
                None => key.sign(&message()?),
            };
            let signature = signature.map_err(|error| error.to_string())?;
            Ok(json!({ "signMessage": { "signature": STANDARD.encode(signature) } }))
        }
        "verifySignature" => {
            let key = load(file)?;
            let signature = text("/verifySignature/signature").unwrap_or_default();
            let signature = STANDARD
                .decode(signature)
                .map_err(|error| error.to_string())?;
            let verified = key
                .public_key()
                .verify(key.algorithm(), &message()?, &signature);
            verified.map_err(|error| error.to_string())?;
            Ok(json!({ "verifySignature": {} }))
        }
        other => Err(format!("unsupported method: {other}")),
    }
}

const ALGORITHMS: [Algorithm; 3] = [
    Algorithm::EcdsaP256Sha256,
    Algorithm::EcdsaP384Sha384,
    Algorithm::RsaPkcs1Sha256_2048,
];

fn names() -> [&'static str; 3] {
    ALGORITHMS.map(Algorithm::registry_name)
}

fn load(file: &str) -> Result<LocalKey, String> {
    let text = std::fs::read_to_string(file).map_err(|error| format!("{file}: {error}"))?;
    LocalKey::from_pem(&text).map_err(|error| error.to_string())
}

fn pem(key: &PublicKey) -> String {
    STANDARD.encode(key.to_pem())
}

fn message() -> Result<Vec<u8>, String> {
    let mut message = Vec::new();
    let read = std::io::stdin().take(MESSAGE_MAX).read_to_end(&mut message);
    read.map_err(|error| error.to_string())?;
    Ok(message)
}

/// Hashes have the numbers of Go's `crypto.Hash`.
fn digest_of(number: Option<&Value>, digest: &str) -> Result<Digest, String> {
    let hash = match number.and_then(Value::as_u64) {
        Some(5) => HashAlgorithm::Sha256,
        Some(6) => HashAlgorithm::Sha384,
        Some(7) => HashAlgorithm::Sha512,
        other => return Err(format!("no hash has the number {other:?}")),
    };
    let bytes = STANDARD.decode(digest).map_err(|error| error.to_string())?;
    Digest::new(hash, &bytes).map_err(|error| error.to_string())
}
