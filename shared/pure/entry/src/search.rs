//! What entries are found by.

use keys::{Digest, HashAlgorithm};
use pki::Certificate;
use pki::ext::FulcioExtensions;
use serde::Deserialize;

use crate::body::{Body, Signed, Verifier};

/// Before an issuer, as nearly all entries of a log have one of a few.
const ISSUER: &str = "issuer:";

/// The search keys that follow from a body of any kind and version; none when it is of a kind that is not read.
///
/// Digests of artifact, payload and signature (`sha256:<hex>`); of the signer's certificate and key in PEM, with `sha256:` and without, as Rekor v1
/// has them; the names in the certificate; and `issuer:<url>`. Letters in either case.
pub fn search_keys(body: &[u8]) -> Vec<String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Head {
        kind: String,
        api_version: String,
    }
    let mut keys = Vec::new();
    let Ok(head) = wire::parse::<Head>(body) else {
        return keys;
    };
    match Body::parse(&head.kind, &head.api_version, body) {
        Ok(Body::HashedRekord { digest, signed, .. }) => {
            keys.push(digest_key(&digest));
            of_signed(&signed, &mut keys);
        }
        Ok(Body::Dsse { payload, signed }) => {
            keys.push(digest_key(&payload));
            for signed in &signed {
                of_signed(signed, &mut keys);
            }
        }
        Ok(Body::Intoto {
            document,
            payload,
            verifier,
        }) => {
            keys.push(digest_key(&document));
            keys.extend(payload.as_ref().map(digest_key));
            verifier_keys(&verifier, &mut keys);
        }
        Err(_) => {}
    }
    keys
}

/// The key of an issuer.
pub fn issuer_key(issuer: &str) -> String {
    format!("{ISSUER}{issuer}")
}

/// The key of a signature.
pub fn signature_key(signature: &[u8]) -> String {
    digest_key(&Digest::of(HashAlgorithm::Sha256, signature))
}

fn of_signed(signed: &Signed, keys: &mut Vec<String>) {
    keys.push(signature_key(&signed.signature));
    verifier_keys(&signed.verifier, keys);
}

/// The keys of a signer: of the key, and of the certificate with its names.
pub fn verifier_keys(verifier: &Verifier, keys: &mut Vec<String>) {
    digest_keys(verifier.key().to_pem().as_bytes(), keys);
    if let Verifier::Certificate(certificate) = verifier {
        of_certificate(certificate, keys);
    }
}

fn of_certificate(certificate: &Certificate, keys: &mut Vec<String>) {
    digest_keys(certificate.to_pem().as_bytes(), keys);
    let names = certificate.subject_names().iter();
    keys.extend(names.map(|name| name.value().to_owned()));
    let issuer = FulcioExtensions::from_certificate(certificate).ok();
    keys.extend(issuer.and_then(|extensions| extensions.issuer().map(issuer_key)));
}

/// The two keys of a signer's canonical text, as Rekor v1 has them: its SHA-256 with the name of the algorithm, and without.
pub fn digest_keys(text: &[u8], keys: &mut Vec<String>) {
    let digest = Digest::of(HashAlgorithm::Sha256, text);
    keys.push(digest_key(&digest));
    keys.push(digest.to_hex());
}

fn digest_key(digest: &Digest) -> String {
    format!("{}:{}", digest.algorithm().name(), digest.to_hex())
}
