//! Requests, made in advance: each valid, no two alike.

use std::num::NonZero;
use std::thread;

use anyhow::{Context as _, Result, anyhow};
use bytes::Bytes;
use entry::{Proposed, Signed, Verifier};
use keys::{Algorithm, Digest, HashAlgorithm};
use oidc::Token;
use signer::LocalKey;
use wire::encoding::Bytes as Base64;
use wire::fulcio::{PublicKey, PublicKeyRequest, SigningCertificateRequest};

/// Which service is asked, and for what.
#[derive(Clone, Debug)]
pub enum Kind {
    /// A Rekor v2 log: a hashedrekord entry, by a new P-256 key over a random digest.
    Log,
    /// A Rekor v1 log: the same.
    LogV1,
    /// A certificate authority: a certificate for a new P-256 key. The tokens are used in turn.
    Ca {
        /// Identity tokens that the authority believes.
        tokens: Vec<String>,
    },
    /// A timestamp authority: a token with the signer's certificate over a random digest, with a nonce.
    Tsa,
}

/// One request, ready to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The body.
    pub body: Bytes,
    /// `Authorization`, where the service wants one.
    pub authorization: Option<String>,
}

impl Kind {
    /// Where the service takes it, below its base URL.
    pub const fn path(&self) -> &'static str {
        match self {
            Self::Log => "api/v2/log/entries",
            Self::LogV1 => "api/v1/log/entries",
            Self::Ca { .. } => "api/v2/signingCert",
            Self::Tsa => "api/v1/timestamp",
        }
    }

    /// `Content-Type` of the body.
    pub const fn media_type(&self) -> &'static str {
        match self {
            Self::Log | Self::LogV1 | Self::Ca { .. } => "application/json",
            Self::Tsa => "application/timestamp-query",
        }
    }

    /// What stands in every answer that gives what was asked for.
    pub const fn mark(&self) -> &'static [u8] {
        match self {
            Self::Log | Self::LogV1 => b"\"inclusionProof\"",
            Self::Ca { .. } => b"BEGIN CERTIFICATE",
            // RFC 3161 2.4.2: PKIStatusInfo with the status granted and nothing else.
            Self::Tsa => &[0x30, 0x03, 0x02, 0x01, 0x00],
        }
    }

    /// Makes `count` requests, on all cores: nobody is measured yet.
    pub fn make(&self, count: usize) -> Result<Vec<Request>> {
        let threads = thread::available_parallelism().map_or(1, NonZero::get);
        let each = count.div_ceil(threads);
        thread::scope(|scope| {
            let parts: Vec<_> = (0..threads)
                .map(|part| {
                    let from = part.saturating_mul(each).min(count);
                    let to = from.saturating_add(each).min(count);
                    scope.spawn(move || {
                        (from..to)
                            .map(|number| self.one(number))
                            .collect::<Result<Vec<_>>>()
                    })
                })
                .collect();
            let mut all = Vec::with_capacity(count);
            for part in parts {
                let made = part
                    .join()
                    .map_err(|_| anyhow!("a thread that makes requests panicked"))?;
                all.extend(made?);
            }
            Ok(all)
        })
    }

    fn one(&self, number: usize) -> Result<Request> {
        match self {
            Self::Log => log(),
            Self::LogV1 => log_v1(),
            Self::Ca { tokens } => {
                let turn = number.checked_rem(tokens.len()).unwrap_or_default();
                certificate(tokens.get(turn).context("no identity token is given")?)
            }
            Self::Tsa => timestamp(),
        }
    }
}

fn log() -> Result<Request> {
    let digest = random_digest()?;
    let key = LocalKey::generate(Algorithm::EcdsaP256Sha256)?;
    let signed = Signed {
        signature: key.sign_digest(&digest)?,
        verifier: Verifier::Key(key.public_key().clone()),
    };
    let request = Proposed::hashedrekord(&digest, &signed, key.algorithm()).to_wire();
    Ok(Request {
        body: serde_json::to_vec(&request)?.into(),
        authorization: None,
    })
}

fn log_v1() -> Result<Request> {
    let digest = random_digest()?;
    let key = LocalKey::generate(Algorithm::EcdsaP256Sha256)?;
    let proposal = serde_json::json!({"kind": "hashedrekord", "apiVersion": "0.0.1", "spec": {
        "data": {"hash": {"algorithm": "sha256", "value": digest.to_hex()}},
        "signature": {
            "content": Base64::encode(&key.sign_digest(&digest)?),
            "publicKey": {"content": Base64::encode(key.public_key().to_pem().as_bytes())},
        },
    }});
    Ok(Request {
        body: serde_json::to_vec(&proposal)?.into(),
        authorization: None,
    })
}

fn certificate(token: &str) -> Result<Request> {
    let parsed = Token::parse(token).context("not an identity token")?;
    let subject = parsed.unverified().proof_subject()?;
    let key = LocalKey::generate(Algorithm::EcdsaP256Sha256)?;
    let request = SigningCertificateRequest {
        public_key_request: Some(PublicKeyRequest {
            public_key: PublicKey {
                algorithm: Some("ECDSA".into()),
                content: key.public_key().to_pem(),
            },
            proof_of_possession: key.sign(subject.as_bytes())?.into(),
        }),
        ..SigningCertificateRequest::default()
    };
    Ok(Request {
        body: serde_json::to_vec(&request)?.into(),
        authorization: Some(format!("Bearer {token}")),
    })
}

fn timestamp() -> Result<Request> {
    let mut nonce = signer::random::bytes::<8>()?;
    // A positive number of eight bytes in DER's shortest form: the first is neither zero nor above 0x7f.
    if let Some(first) = nonce.first_mut() {
        *first = (*first & 0x7f) | 0x40;
    }
    let request = tsp::Request {
        imprint: random_digest()?,
        policy: None,
        nonce: Some(nonce.to_vec()),
        certificates: true,
    };
    let der = request.to_der().context("writing a timestamp request")?;
    Ok(Request {
        body: der.into(),
        authorization: None,
    })
}

fn random_digest() -> Result<Digest> {
    Ok(Digest::new(
        HashAlgorithm::Sha256,
        &signer::random::bytes::<32>()?,
    )?)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use entry::REKOR_V2_ALGORITHMS;

    use super::*;

    fn three(kind: &Kind) -> Vec<Request> {
        let requests = kind.make(3).unwrap();
        let distinct: HashSet<_> = requests
            .iter()
            .map(|request| request.body.clone())
            .collect();
        assert_eq!(distinct.len(), 3);
        requests
    }

    #[test]
    fn a_log_takes_them() {
        for request in three(&Kind::Log) {
            let proposed = Proposed::parse(&request.body).unwrap();
            proposed.admit(&REKOR_V2_ALGORITHMS).unwrap();
        }
    }

    #[test]
    fn a_log_of_the_first_version_takes_them() {
        for request in three(&Kind::LogV1) {
            let proposed = kinds::Proposed::parse(&request.body, &kinds::Kind::ALL).unwrap();
            let rules =
                kinds::Rules::of_admission(&REKOR_V2_ALGORITHMS, jiff::Timestamp::UNIX_EPOCH);
            proposed.admit(&rules).unwrap();
        }
    }

    #[test]
    fn the_proof_is_by_the_key_over_the_name_in_the_token() {
        let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let token = |name: &str| {
            format!(
                "{}.{}.{}",
                part(r#"{"alg":"RS256"}"#),
                part(&format!(r#"{{"sub":"1","email":"{name}"}}"#)),
                part("-")
            )
        };
        let tokens = vec![token("a@example.com"), token("b@example.com")];
        let kind = Kind::Ca {
            tokens: tokens.clone(),
        };
        let names = ["a@example.com", "b@example.com", "a@example.com"];
        for (request, name) in three(&kind).into_iter().zip(names) {
            let sent: SigningCertificateRequest = wire::parse(&request.body).unwrap();
            let asked = sent.public_key_request.unwrap();
            let key = keys::PublicKey::from_pem(&asked.public_key.content).unwrap();
            key.verify(
                Algorithm::EcdsaP256Sha256,
                name.as_bytes(),
                &asked.proof_of_possession.0,
            )
            .unwrap();
            assert_eq!(
                request.authorization.unwrap(),
                format!("Bearer {}", token(name))
            );
        }
        assert!(Kind::Ca { tokens: Vec::new() }.make(1).is_err());
    }

    #[test]
    fn a_timestamp_authority_reads_them() {
        for request in three(&Kind::Tsa) {
            let parsed = tsp::Request::parse_der(&request.body).unwrap();
            assert!(parsed.certificates && parsed.nonce.is_some());
        }
    }
}
