//! Making tokens: header, claims, signature (RFC 7519, RFC 7515).

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use keys::Algorithm;
use serde_json::{Value, json};
use signer::Signer;
use thiserror::Error;

/// How long a token lives unless asked otherwise: what Dex gives for Sigstore is one minute, too short for people who paste.
pub const LIFE: Duration = Duration::from_mins(10);

/// A token cannot be made.
#[derive(Debug, Error)]
pub enum TokenError {
    /// Not an address.
    #[error("'{0}' is not an e-mail address")]
    Email(String),
    /// A wrong `name=value` of a GitHub job.
    #[error(
        "'{0}': expected repo=OWNER/NAME and, if wanted, ref=, workflow=, sha=, event=, run_id= or visibility="
    )]
    Job(String),
    /// The key is of another kind.
    #[error("the issuer's key is not RSA with 2048 bits")]
    Key,
    /// The key could not sign.
    #[error("signing failed")]
    Sign(#[from] signer::SignerError),
}

/// Makes tokens for both issuers.
#[derive(Clone, Debug)]
pub struct Minter {
    base: String,
    signer: Signer,
    key_id: String,
    jwk: Value,
}

/// What a GitHub Actions job says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GitHubJob {
    repository: String,
    reference: String,
    workflow: String,
    sha: String,
    event: String,
    run_id: String,
    visibility: String,
}

impl Minter {
    /// `base` is the issuer's URL without a slash at the end.
    pub fn new(base: impl Into<String>, signer: Signer) -> Result<Self, TokenError> {
        if signer.algorithm() != Algorithm::RsaPkcs1Sha256_2048 {
            return Err(TokenError::Key);
        }
        let (modulus, exponent) = rsa_numbers(signer.public_key().raw()).ok_or(TokenError::Key)?;
        let (n, e) = (
            URL_SAFE_NO_PAD.encode(modulus),
            URL_SAFE_NO_PAD.encode(exponent),
        );
        // RFC 7638: the thumbprint is over exactly these members in this order.
        let thumbprint = keys::sha256(format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}"}}"#).as_bytes());
        let key_id = URL_SAFE_NO_PAD.encode(thumbprint);
        let jwk =
            json!({ "kty": "RSA", "use": "sig", "alg": "RS256", "kid": key_id, "n": n, "e": e });
        Ok(Self {
            base: base.into(),
            signer,
            key_id,
            jwk,
        })
    }

    /// The issuer of people.
    pub fn issuer(&self) -> &str {
        &self.base
    }

    /// The issuer of GitHub-style jobs.
    pub fn github_issuer(&self) -> String {
        format!("{}/github", self.base)
    }

    /// The key set of both.
    pub fn key_set(&self) -> Value {
        json!({ "keys": [self.jwk] })
    }

    /// A token for a person.
    pub async fn email(
        &self,
        email: &str,
        audience: &str,
        nonce: Option<&str>,
        now: Timestamp,
        life: Duration,
    ) -> Result<String, TokenError> {
        if !is_email(email) {
            return Err(TokenError::Email(email.chars().take(100).collect()));
        }
        let mut claims = claims(&self.base, email, audience, now, life);
        claims.insert("email", json!(email));
        claims.insert("email_verified", json!(true));
        if let Some(nonce) = nonce {
            claims.insert("nonce", json!(nonce));
        }
        self.sign(&claims).await
    }

    /// A token for a job, with all the claims that Fulcio's type `github-workflow` requires.
    pub async fn github(
        &self,
        job: &GitHubJob,
        audience: &str,
        now: Timestamp,
        life: Duration,
    ) -> Result<String, TokenError> {
        let GitHubJob {
            repository,
            reference,
            workflow,
            sha,
            event,
            run_id,
            visibility,
        } = job;
        let owner = repository.split('/').next().unwrap_or_default();
        let path = format!("{repository}/.github/workflows/{workflow}@{reference}");
        let mut claims = claims(
            &self.github_issuer(),
            &format!("repo:{repository}:ref:{reference}"),
            audience,
            now,
            life,
        );
        claims.extend([
            ("job_workflow_ref", json!(path)),
            ("job_workflow_sha", json!(sha)),
            ("workflow_ref", json!(path)),
            ("workflow_sha", json!(sha)),
            ("workflow", json!(workflow)),
            ("sha", json!(sha)),
            ("ref", json!(reference)),
            ("event_name", json!(event)),
            ("repository", json!(repository)),
            ("repository_id", json!("1001")),
            ("repository_owner", json!(owner)),
            ("repository_owner_id", json!("2002")),
            ("repository_visibility", json!(visibility)),
            ("runner_environment", json!("self-hosted")),
            ("run_id", json!(run_id)),
            ("run_attempt", json!("1")),
        ]);
        self.sign(&claims).await
    }

    async fn sign(&self, claims: &BTreeMap<&str, Value>) -> Result<String, TokenError> {
        let header = json!({ "alg": "RS256", "kid": self.key_id, "typ": "JWT" });
        let body = URL_SAFE_NO_PAD.encode(json!(claims).to_string());
        let signed = format!("{}.{body}", URL_SAFE_NO_PAD.encode(header.to_string()));
        let signature = self.signer.sign(signed.as_bytes()).await?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

fn claims<'a>(
    issuer: &str,
    subject: &str,
    audience: &str,
    now: Timestamp,
    life: Duration,
) -> BTreeMap<&'a str, Value> {
    let issued = now.as_second();
    let end = issued.saturating_add(i64::try_from(life.as_secs()).unwrap_or(i64::MAX));
    BTreeMap::from([
        ("iss", json!(issuer)),
        ("sub", json!(subject)),
        ("aud", json!(audience)),
        ("iat", json!(issued)),
        ("nbf", json!(issued)),
        ("exp", json!(end)),
    ])
}

/// One `@` between a name and a host, no space, no control character, not too long (RFC 5321: 254).
pub(super) fn is_email(text: &str) -> bool {
    let plain = |part: &str| {
        !part.is_empty()
            && part.chars().all(|symbol| {
                !symbol.is_control() && !symbol.is_whitespace() && !"<>\",;@".contains(symbol)
            })
    };
    text.len() <= 254
        && text
            .split_once('@')
            .is_some_and(|(name, host)| plain(name) && plain(host))
}

impl GitHubJob {
    /// From `repo=OWNER/NAME,ref=refs/heads/main,...`.
    pub fn parse(text: &str) -> Result<Self, TokenError> {
        let wrong = |part: &str| TokenError::Job(part.chars().take(100).collect());
        let mut job = Self {
            repository: String::new(),
            reference: "refs/heads/main".to_owned(),
            workflow: "release.yml".to_owned(),
            sha: "0123456789abcdef0123456789abcdef01234567".to_owned(),
            event: "push".to_owned(),
            run_id: "1".to_owned(),
            visibility: "public".to_owned(),
        };
        for part in text.split(',') {
            let (name, value) = part.split_once('=').ok_or_else(|| wrong(part))?;
            if value.is_empty()
                || value.len() > 256
                || value
                    .chars()
                    .any(|symbol| symbol.is_whitespace() || symbol.is_control())
            {
                return Err(wrong(part));
            }
            let field = match name {
                "repo" | "repository" => &mut job.repository,
                "ref" => &mut job.reference,
                "workflow" => &mut job.workflow,
                "sha" => &mut job.sha,
                "event" => &mut job.event,
                "run_id" => &mut job.run_id,
                "visibility" => &mut job.visibility,
                _ => return Err(wrong(part)),
            };
            value.clone_into(field);
        }
        let whole = job
            .repository
            .split('/')
            .filter(|part| !part.is_empty())
            .count()
            == 2;
        if whole { Ok(job) } else { Err(wrong(text)) }
    }
}

/// Modulus and exponent, unsigned and big-endian, of `RSAPublicKey ::= SEQUENCE { INTEGER, INTEGER }` (RFC 8017 A.1.1). The bytes
/// come from a key that was parsed already; this only finds the two numbers in them.
fn rsa_numbers(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (sequence, _) = element(der, 0x30)?;
    let (modulus, rest) = element(sequence, 0x02)?;
    let (exponent, _) = element(rest, 0x02)?;
    let unsigned = |number: &'_ [u8]| number.iter().position(|byte| *byte != 0);
    Some((
        modulus.get(unsigned(modulus)?..)?,
        exponent.get(unsigned(exponent)?..)?,
    ))
}

fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let rest = der.strip_prefix(&[tag])?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = if *first < 0x80 {
        (usize::from(*first), rest)
    } else {
        let (octets, rest) = rest.split_at_checked(usize::from(*first & 0x7f))?;
        let length = octets.iter().try_fold(0_usize, |sum, octet| {
            sum.checked_mul(256)?.checked_add(usize::from(*octet))
        })?;
        (length, rest)
    };
    rest.split_at_checked(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs() {
        let job = GitHubJob::parse("repo=octo/app,ref=refs/tags/v1,workflow=ci.yml").unwrap();
        assert_eq!(
            (
                job.repository.as_str(),
                job.reference.as_str(),
                job.workflow.as_str()
            ),
            ("octo/app", "refs/tags/v1", "ci.yml")
        );
        for bad in [
            "",
            "repo=octo",
            "repo=/app",
            "repo=a/b/c",
            "ref=x",
            "repo=a/b,color=red",
            "repo=a/b,ref=",
            "repo=a/b,ref=x y",
        ] {
            assert!(
                matches!(GitHubJob::parse(bad), Err(TokenError::Job(_))),
                "{bad}"
            );
        }
    }

    #[test]
    fn addresses() {
        assert!(is_email("alice@example.org") && is_email("ä@localhost"));
        for bad in ["", "@", "a@", "@b", "a b@c", "a@b@c", "a@b\n", "<a@b>"] {
            assert!(!is_email(bad), "{bad}");
        }
    }

    #[test]
    fn numbers_of_an_rsa_key() {
        let der = [
            0x30, 0x0a, 0x02, 0x03, 0x00, 0xc0, 0x01, 0x02, 0x03, 0x01, 0x00, 0x01,
        ];
        assert_eq!(
            rsa_numbers(&der),
            Some((&[0xc0, 0x01][..], &[0x01, 0x00, 0x01][..]))
        );
        for length in 0..der.len() {
            assert_eq!(rsa_numbers(&der[..length]), None, "{length}");
        }
    }
}
