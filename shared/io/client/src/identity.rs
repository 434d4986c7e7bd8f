//! An identity token as a client has it: opaque but for the few claims that the request for a certificate needs.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde::Deserialize;
use thiserror::Error;
use zeroize::Zeroizing;

/// The longest token; providers' tokens have one to three kilobytes.
const TOKEN_MAX: usize = 16 * 1024;

/// A token that proves who somebody is to Fulcio. Whoever has it is that person for some minutes, so it is never printed.
///
/// Nothing about it is verified here: Fulcio does that. The claims are read because the proof of possession signs one of them, and so that
/// an expired token is told before anything is sent.
#[derive(Clone)]
pub struct IdentityToken {
    text: Zeroizing<String>,
    claims: Claims,
}

#[derive(Clone, Deserialize)]
struct Claims {
    #[serde(default)]
    iss: String,
    #[serde(default)]
    sub: String,
    #[serde(default)]
    email: Option<String>,
    #[serde(default)]
    email_verified: Option<Truth>,
    #[serde(default)]
    exp: Option<f64>,
    /// What CI systems say besides.
    #[serde(flatten)]
    others: BTreeMap<String, serde_json::Value>,
}

/// Claims of CI systems that a certificate authority puts into certificates, in some form.
const PUBLISHED: [&str; 16] = [
    "repository",
    "repository_owner",
    "project_path",
    "organization_slug",
    "pipeline_slug",
    "ref",
    "ref_path",
    "sha",
    "workflow",
    "job_workflow_ref",
    "ci_config_ref_uri",
    "event_name",
    "pipeline_source",
    "environment",
    "runner_environment",
    "run_id",
];

/// Some providers write booleans as text.
#[derive(Clone, Deserialize)]
#[serde(untagged)]
enum Truth {
    Boolean(bool),
    Text(String),
}

impl Truth {
    fn holds(&self) -> bool {
        match self {
            Self::Boolean(truth) => *truth,
            Self::Text(text) => text == "true" || text == "True",
        }
    }
}

/// Why text is no identity token, or not one to sign with.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TokenError {
    /// Not three parts of base64url.
    #[error("not an identity token (a JWT has three parts of base64url, separated by dots)")]
    Shape,
    /// Longer than any provider's.
    #[error("a token of {0} bytes, at most {TOKEN_MAX}")]
    TooLong(usize),
    /// The middle part is no JSON object of claims.
    #[error("the token's claims cannot be read")]
    Claims,
    /// An address that the provider does not vouch for.
    #[error("the identity provider has not verified the e-mail address {0}")]
    Unverified(String),
    /// Nobody.
    #[error("the token names nobody: it has neither email nor sub")]
    Nobody,
    /// Too late.
    #[error("the token expired at {0}")]
    Expired(Timestamp),
}

impl IdentityToken {
    /// Takes a token, of any algorithm.
    pub fn parse(text: &str) -> Result<Self, TokenError> {
        let text = text.trim();
        if text.len() > TOKEN_MAX {
            return Err(TokenError::TooLong(text.len()));
        }
        let parts: Vec<&str> = text.split('.').collect();
        let [header, payload, signature] = parts.as_slice() else {
            return Err(TokenError::Shape);
        };
        for part in [header, signature] {
            if part.is_empty() || URL_SAFE_NO_PAD.decode(part).is_err() {
                return Err(TokenError::Shape);
            }
        }
        let payload = URL_SAFE_NO_PAD
            .decode(payload)
            .map_err(|_| TokenError::Shape)?;
        // serde reads a list as a struct too.
        if !payload.starts_with(b"{") {
            return Err(TokenError::Claims);
        }
        let claims = serde_json::from_slice(&payload).map_err(|_| TokenError::Claims)?;
        Ok(Self {
            text: Zeroizing::new(text.to_owned()),
            claims,
        })
    }

    /// The token, for the request that needs it.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Who made it.
    pub fn issuer(&self) -> &str {
        &self.claims.iss
    }

    /// What the proof of possession signs: the verified e-mail address, else `sub`. As all clients of Fulcio choose.
    pub fn subject_for_proof(&self) -> Result<&str, TokenError> {
        match self.claims.email.as_deref() {
            Some(email) if !email.is_empty() => {
                let verified = self.claims.email_verified.as_ref();
                if verified.is_some_and(Truth::holds) {
                    Ok(email)
                } else {
                    Err(TokenError::Unverified(email.to_owned()))
                }
            }
            _ if self.claims.sub.is_empty() => Err(TokenError::Nobody),
            _ => Ok(&self.claims.sub),
        }
    }

    /// What it says about a job's project that comes into a certificate, in some form.
    pub fn published_claims(&self) -> impl Iterator<Item = (&'static str, &str)> {
        PUBLISHED
            .into_iter()
            .filter_map(|name| Some((name, self.other(name)?)))
    }

    /// The project of the job that it is of, if it says that not everybody can see that project (GitHub, GitLab).
    pub fn private_project(&self) -> Option<&str> {
        let hidden = |claim| self.other(claim).is_some_and(|seen| seen != "public");
        if hidden("repository_visibility") {
            return Some(self.other("repository").unwrap_or_default());
        }
        hidden("project_visibility").then(|| self.other("project_path").unwrap_or_default())
    }

    fn other(&self, name: &str) -> Option<&str> {
        self.claims.others.get(name)?.as_str()
    }

    /// The names that a certificate for this token may have, with the issuer that it may state: what follows from the token by the rules of Sigstore's own
    /// authority (fulcio: docs/oidc.md). Another authority may have other rules, and then its certificates have none of these.
    pub fn foreseeable_names(&self) -> Vec<(String, String)> {
        let mut subjects = Vec::new();
        if let Some(workflow) = self.other("job_workflow_ref") {
            subjects.push(format!("https://github.com/{workflow}"));
        } else if let Some(pipeline) = self.other("ci_config_ref_uri") {
            subjects.push(format!("https://{pipeline}"));
        } else if let (Some(organization), Some(pipeline)) =
            (self.other("organization_slug"), self.other("pipeline_slug"))
        {
            subjects.push(format!("https://buildkite.com/{organization}/{pipeline}"));
        } else if let Ok(subject) = self.subject_for_proof() {
            subjects.push(subject.to_owned());
        }
        let mut issuers = vec![self.claims.iss.clone()];
        // Where a provider passes on who signed in elsewhere (Dex), that other one is stated.
        let federated = self.claims.others.get("federated_claims");
        issuers.extend(
            federated
                .and_then(|claims| claims.get("connector_id")?.as_str())
                .map(str::to_owned),
        );
        let named = |subject: &String| {
            let issuers = issuers.iter().filter(|issuer| !issuer.is_empty());
            let pairs = issuers.map(|issuer| (subject.clone(), issuer.clone()));
            pairs.collect::<Vec<_>>()
        };
        subjects.iter().flat_map(named).collect()
    }

    /// Whether it is made for this audience; none if it does not say for whom it is made.
    pub fn is_for(&self, audience: &str) -> Option<bool> {
        match self.claims.others.get("aud")? {
            serde_json::Value::String(one) => Some(one == audience),
            serde_json::Value::Array(several) => {
                Some(several.iter().any(|one| one.as_str() == Some(audience)))
            }
            _ => None,
        }
    }

    /// Until when it is good, if it says so.
    pub fn expires(&self) -> Option<Timestamp> {
        let seconds = self.claims.exp.filter(|seconds| seconds.is_finite())?;
        let duration = jiff::SignedDuration::try_from_secs_f64(seconds).ok()?;
        Timestamp::from_duration(duration).ok()
    }

    /// Is it still good?
    pub fn check_time(&self, now: Timestamp) -> Result<(), TokenError> {
        match self.expires() {
            Some(end) if end <= now => Err(TokenError::Expired(end)),
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for IdentityToken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("IdentityToken")
            .field("issuer", &self.claims.iss)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(claims: &str) -> Result<IdentityToken, TokenError> {
        let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
        IdentityToken::parse(&format!(
            "{}.{}.{}",
            part(r#"{"alg":"EdDSA"}"#),
            part(claims),
            part("sig")
        ))
    }

    #[test]
    fn the_proof_signs_the_verified_address_or_the_subject() {
        let subject = |claims: &str| token(claims)?.subject_for_proof().map(str::to_owned);
        assert_eq!(
            subject(r#"{"email":"a@b.c","email_verified":true,"sub":"x"}"#).unwrap(),
            "a@b.c"
        );
        assert_eq!(
            subject(r#"{"email":"a@b.c","email_verified":"true"}"#).unwrap(),
            "a@b.c"
        );
        assert_eq!(subject(r#"{"sub":"repo:x","email":""}"#).unwrap(), "repo:x");
        assert_eq!(
            subject(r#"{"email":"a@b.c","sub":"x"}"#),
            Err(TokenError::Unverified("a@b.c".into()))
        );
        assert_eq!(subject("{}"), Err(TokenError::Nobody));
    }

    #[test]
    fn names_in_certificates_follow_from_the_token() {
        for (claims, expected) in [
            (
                r#"{"iss":"https://i","email":"a@b.c","email_verified":true,"federated_claims":{"connector_id":"https://f"}}"#,
                &[("a@b.c", "https://i"), ("a@b.c", "https://f")][..],
            ),
            (r#"{"iss":"https://i","email":"a@b.c"}"#, &[]),
            (r#"{"sub":"nobody's word"}"#, &[]),
            (
                r#"{"iss":"https://g","sub":"repo:o/r","job_workflow_ref":"o/r/.github/workflows/w.yml@refs/heads/main"}"#,
                &[(
                    "https://github.com/o/r/.github/workflows/w.yml@refs/heads/main",
                    "https://g",
                )],
            ),
            (
                r#"{"iss":"https://l","sub":"x","ci_config_ref_uri":"gitlab.com/g/p//.gitlab-ci.yml@refs/heads/main"}"#,
                &[(
                    "https://gitlab.com/g/p//.gitlab-ci.yml@refs/heads/main",
                    "https://l",
                )],
            ),
            (
                r#"{"iss":"https://s","sub":"spiffe://d/w"}"#,
                &[("spiffe://d/w", "https://s")],
            ),
        ] {
            let found = token(claims).unwrap().foreseeable_names();
            let found: Vec<(&str, &str)> = found
                .iter()
                .map(|(subject, issuer)| (subject.as_str(), issuer.as_str()))
                .collect();
            assert_eq!(found, expected, "{claims}");
        }
    }

    #[test]
    fn what_is_no_token_is_refused() {
        for text in [
            "",
            "a.b",
            "a.b.c.d",
            "!.e30.c",
            "YQ.!.YQ",
            ".e30.",
            "a b.e30.YQ",
        ] {
            assert_eq!(
                IdentityToken::parse(text).unwrap_err(),
                TokenError::Shape,
                "{text}"
            );
        }
        assert_eq!(token("[]").unwrap_err(), TokenError::Claims);
        assert_eq!(
            IdentityToken::parse(&"a".repeat(TOKEN_MAX + 1)).unwrap_err(),
            TokenError::TooLong(TOKEN_MAX + 1)
        );
    }

    #[test]
    fn time_is_told_and_the_token_is_not() {
        let good = token(r#"{"iss":"https://i","sub":"x","exp":1800000000}"#).unwrap();
        let end = Timestamp::from_second(1_800_000_000).unwrap();
        assert_eq!(good.expires(), Some(end));
        assert_eq!(good.check_time(end), Err(TokenError::Expired(end)));
        assert!(!format!("{good:?}").contains(good.as_str()));
        assert!(
            token(r#"{"exp":1e300,"sub":"x"}"#)
                .unwrap()
                .expires()
                .is_none()
        );
    }
}
